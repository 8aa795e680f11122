//! Histories for tests: short lists of steps by two writers, drawn by proptest.

use proptest::prelude::*;

/// One step. `who` is the writer, 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Commits a batch of blobs of about so many bytes each.
    Commit {
        /// The writer.
        who: usize,
        /// How many blobs.
        blobs: usize,
        /// Bytes of each.
        bytes: usize,
    },
    /// Moves a ref to the last blob that was acknowledged.
    Move {
        /// The writer.
        who: usize,
        /// Which ref.
        key: u8,
    },
    /// Flushes the store.
    Flush {
        /// The writer.
        who: usize,
    },
    /// Closes the store and opens it again.
    Reopen {
        /// The writer.
        who: usize,
    },
    /// Kills the process between two calls; a new one opens the store.
    Kill {
        /// The writer.
        who: usize,
    },
}

/// Histories of up to so many steps: mostly commits and moves.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let who = 0..2usize;
    let step = prop_oneof![
        6 => (who.clone(), 1..4usize, 0..900usize).prop_map(|(who, blobs, bytes)| Step::Commit { who, blobs, bytes }),
        5 => (who.clone(), 0..4u8).prop_map(|(who, key)| Step::Move { who, key }),
        2 => who.clone().prop_map(|who| Step::Flush { who }),
        1 => who.clone().prop_map(|who| Step::Reopen { who }),
        1 => who.prop_map(|who| Step::Kill { who }),
    ];
    proptest::collection::vec(step, 1..=most)
}
