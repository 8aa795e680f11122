//! Going through history: newest first, without what is excluded, and only through what touches the paths.

use std::collections::{BinaryHeap, HashSet};

use super::names::ReadCommit;
use super::pathspec::Pathspec;
use super::{Call, Run, View, unavailable};
use crate::Oid;

/// A commit that waits: newest first; of the same second, the one that was found first.
struct Waiting {
    commit: ReadCommit,
    number: u64,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let newer = self.commit.seconds.cmp(&other.commit.seconds);
        newer.then(other.number.cmp(&self.number))
    }
}

/// A walk.
pub(crate) struct Walk {
    heap: BinaryHeap<Waiting>,
    seen: HashSet<Oid>,
    excluded: HashSet<Oid>,
    pathspec: Pathspec,
    /// Where what the pathspec means can be.
    within: Vec<Vec<u8>>,
    first_parent: bool,
    next: u64,
}

impl Walk {
    pub(crate) fn new(pathspec: Pathspec, first_parent: bool) -> Self {
        Walk {
            heap: BinaryHeap::new(),
            seen: HashSet::new(),
            excluded: HashSet::new(),
            within: pathspec.roots(),
            pathspec,
            first_parent,
            next: 0,
        }
    }

    /// Leaves out a commit and everything before it. O(history of it).
    pub(crate) fn exclude(&mut self, call: &mut Call<'_>, oid: &Oid) -> Run<()> {
        let mut waiting = vec![*oid];
        while let Some(oid) = waiting.pop() {
            if self.excluded.insert(oid) {
                waiting.extend(call.commit(&oid)?.parents);
            }
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, call: &mut Call<'_>, oid: &Oid) -> Run<()> {
        if !self.excluded.contains(oid) && self.seen.insert(*oid) {
            let commit = call.commit(oid)?;
            self.heap.push(Waiting {
                commit,
                number: self.next,
            });
            self.next += 1;
        }
        Ok(())
    }

    /// The next commit that is to be shown.
    pub(crate) fn next(&mut self, call: &mut Call<'_>) -> Run<Option<ReadCommit>> {
        while let Some(Waiting { commit, .. }) = self.heap.pop() {
            let mut parents = commit.parents.clone();
            if self.first_parent {
                parents.truncate(1);
            }
            let mut shown = true;
            if !self.pathspec.is_empty() {
                if parents.is_empty() {
                    shown = self.touches(call, View::Empty, &commit.oid)?;
                }
                // What a merge counts as depends on which of its sides git knows to be left out when it comes to it.
                if commit.parents.len() > 1 && !self.excluded.is_empty() {
                    return unavailable("the paths of a merge where something is left out");
                }
                for parent in parents.clone() {
                    if !self.touches(call, View::Of(parent), &commit.oid)? {
                        // The same as this parent: what matters happened there.
                        shown = false;
                        parents = vec![parent];
                        break;
                    }
                }
            }
            for parent in &parents {
                self.add(call, parent)?;
            }
            if shown {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    fn touches(&self, call: &mut Call<'_>, old: View, new: &Oid) -> Run<bool> {
        let changes = call.site.changes_within(old, View::Of(*new), &self.within)?;
        Ok(changes.iter().any(|change| self.pathspec.matches(&change.path)))
    }
}
