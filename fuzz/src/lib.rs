//! What each fuzzer does with its bytes. A decoder may refuse them; it must not panic, run for ever, take memory out of proportion,
//! or read something that is not read as the same again when it is written.

mod git;
mod patch;
mod store;
pub mod store_files {
    //! How an input of `cas_store` is put together.
    pub use crate::store::{FILES, FORMAT};
}
mod tree;

/// A target's name and body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("cas_batch", pyi_cas::fuzzing::batch),
    ("cas_index", pyi_cas::fuzzing::index),
    ("cas_merged_index", pyi_cas::fuzzing::merged_index),
    ("cas_payload", pyi_cas::fuzzing::payload),
    ("cas_ref_log", pyi_cas::fuzzing::ref_log),
    ("cas_segment", pyi_cas::fuzzing::segment),
    ("cas_store", store::store),
    ("git_argv", git::argv),
    ("git_attributes", git::attributes),
    ("git_config", git::config),
    ("git_delta", git::delta),
    ("git_ignore", git::ignore),
    ("git_index", git::index),
    ("git_midx", git::midx),
    ("git_object", git::object),
    ("git_pack", git::pack),
    ("git_patch", patch::patch),
    ("git_receive", git::receive),
    ("git_request", git::request),
    ("git_text", git::text),
    ("git_tree", git::tree),
    ("tree_array", tree::array),
    ("tree_cbor", tree::cbor),
    ("tree_checkpoint", tree::checkpoint),
    ("tree_journal", tree::journal),
    ("tree_node", tree::node),
    ("tree_records", tree::records),
];
