//! Which lines differ.
//!
//! `imara-diff` is Myers' algorithm with git's heuristics and git's way of sliding changes to where they read best.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

/// A run of lines that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

/// The lines of a content, each with its newline.
pub(crate) fn lines(content: &[u8]) -> Vec<&[u8]> {
    content.split_inclusive(|&byte| byte == b'\n').collect()
}

/// What differs between two contents.
pub(crate) fn changes(old: &[u8], new: &[u8]) -> Vec<Change> {
    let input = InternedInput::new(
        imara_diff::sources::byte_lines(old),
        imara_diff::sources::byte_lines(new),
    );
    let mut diff = Diff::compute(Algorithm::Myers, &input);
    diff.postprocess_lines(&input);
    let range = |range: Range<u32>| range.start as usize..range.end as usize;
    let hunks = diff.hunks().map(|hunk| Change {
        old: range(hunk.before),
        new: range(hunk.after),
    });
    hunks.collect()
}
