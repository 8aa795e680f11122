//! What a power loss does to each change that was not flushed, and which combinations a test looks at.

use crate::rng::Rng;

/// What becomes of one unflushed change: a sector write, a change of a file's size, a change of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It never reached the disk.
    Dropped,
    /// It did.
    Kept,
    /// The first half of a sector did; any other change is dropped.
    TornHead,
    /// The second half of a sector did; any other change is kept.
    TornTail,
}

/// Chooses combinations: all of them while they are few, samples beyond.
#[derive(Clone, Copy, Debug)]
pub struct Subsets {
    /// All subsets (kept or dropped) up to so many changes.
    pub all_up_to: usize,
    /// So many samples above it, torn sectors among them; nothing kept and everything kept are always there.
    pub samples: usize,
}

impl Subsets {
    /// The combinations for so many changes. O(combinations x changes).
    pub fn fates(&self, changes: usize, rng: &mut Rng) -> Vec<Vec<Fate>> {
        if changes <= self.all_up_to {
            let bit = |subset: u64, at: usize| {
                if subset >> at & 1 == 1 {
                    Fate::Kept
                } else {
                    Fate::Dropped
                }
            };
            let all = (0..1u64 << changes).map(|subset| (0..changes).map(|at| bit(subset, at)).collect());
            return all.collect();
        }
        let mut out = vec![vec![Fate::Dropped; changes], vec![Fate::Kept; changes]];
        while out.len() < self.samples {
            // Few, half or most are kept: losses of a single change are as telling as those of nearly all.
            let kept_of_16 = [1, 4, 8, 12, 15][rng.below(5) as usize];
            let draw = |_| match rng.below(64) {
                0 => Fate::TornHead,
                1 => Fate::TornTail,
                n if n % 16 < kept_of_16 => Fate::Kept,
                _ => Fate::Dropped,
            };
            out.push((0..changes).map(draw).collect());
        }
        out
    }
}
