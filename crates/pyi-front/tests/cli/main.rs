//! The real `pyi`, run on real directories beside the real git.

mod beside;
mod common;
mod completion;
mod differences_told;
mod differential;
mod docs;
mod early_told;
mod every_command;
mod git;
mod json;
mod moving_told;
mod native_told;
mod python;
mod router;
mod scene;
mod scene_kinds;
mod stale_told;
mod store;
mod suite_told;
mod usage;
mod verbs;
mod walks;
mod work_tree;
mod work_tree_told;
mod work_tree_words;
mod workspace_git;
