//! The real `pyi`, run on real directories beside the real git.

mod common;
mod differential;
mod docs;
mod git;
mod json;
mod moving_told;
mod native_told;
mod python;
mod router;
mod store;
mod suite_told;
mod usage;
mod verbs;
mod walks;
mod work_tree;
mod work_tree_told;
mod work_tree_words;
mod workspace_git;
