//! Going through history: newest first, without what is excluded, and only through what touches the paths.

use std::collections::{BinaryHeap, VecDeque};

use super::names::ReadCommit;
use super::pathspec::Pathspec;
use super::{Call, Run, View, unavailable};
use crate::Oid;
use crate::oid_set::{OidMap, OidSet};

/// A commit that waits: newest first; of the same second, the one that was found first.
struct Waiting {
    commit: Box<ReadCommit>,
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

/// Commits that git still looks at when only what is left out waits: one that is older could be a child of one that is newer.
const SLOP: usize = 5;

/// A walk.
pub(crate) struct Walk {
    heap: BinaryHeap<Waiting>,
    seen: OidSet,
    /// What was found to be left out so far.
    excluded: OidSet,
    /// Parents that were read to compare with them, and will wait next.
    ahead: Vec<ReadCommit>,
    pathspec: Pathspec,
    /// Where what the pathspec means can be.
    within: Vec<Vec<u8>>,
    first_parent: bool,
    /// Older commits are not shown, nor what is before them.
    since: Option<i64>,
    next: u64,
    /// What is shown where something is left out, oldest last.
    limited: Option<VecDeque<Box<ReadCommit>>>,
}

impl Walk {
    pub(crate) fn new(pathspec: Pathspec, first_parent: bool) -> Self {
        Walk {
            heap: BinaryHeap::new(),
            seen: OidSet::default(),
            excluded: OidSet::default(),
            ahead: Vec::new(),
            within: pathspec.roots(),
            pathspec,
            first_parent,
            since: None,
            next: 0,
            limited: None,
        }
    }

    /// Commits before this second end it.
    pub(crate) fn stop_before(&mut self, seconds: i64) {
        self.since = Some(seconds);
    }

    /// Leaves out a commit and everything before it.
    pub(crate) fn exclude(&mut self, call: &mut Call<'_>, oid: &Oid) -> Run<()> {
        self.excluded.insert(*oid);
        self.push(call, oid).map(drop)
    }

    /// Begins at a commit.
    pub(crate) fn add(&mut self, call: &mut Call<'_>, oid: &Oid) -> Run<()> {
        self.push(call, oid).map(drop)
    }

    /// Puts a commit among those that wait, if it is new: then its parents.
    fn push(&mut self, call: &mut Call<'_>, oid: &Oid) -> Run<Option<Vec<Oid>>> {
        if !self.seen.insert(*oid) {
            return Ok(None);
        }
        let commit = match self.ahead.iter().position(|known| known.oid == *oid) {
            Some(at) => self.ahead.swap_remove(at),
            None => call.commit(oid)?,
        };
        call.site.note_tree(oid, &commit.tree);
        let parents = commit.parents.clone();
        self.heap.push(Waiting {
            commit: Box::new(commit),
            number: self.next,
        });
        self.next += 1;
        Ok(Some(parents))
    }

    /// The next commit that is to be shown. O(1) amortised over the commits that are looked at, and a comparison of trees for each if there are paths.
    pub(crate) fn next(&mut self, call: &mut Call<'_>) -> Run<Option<Box<ReadCommit>>> {
        if !self.excluded.is_empty() {
            let mut limited = match self.limited.take() {
                Some(limited) => limited,
                None => self.limit(call)?,
            };
            let next = limited.pop_front();
            self.limited = Some(limited);
            return Ok(next);
        }
        while let Some(Waiting { commit, .. }) = self.heap.pop() {
            if self.since.is_some_and(|since| commit.seconds < since) {
                continue;
            }
            let (shown, parents) = self.simplify(call, &commit)?;
            for parent in &parents {
                self.push(call, parent)?;
            }
            self.ahead.clear();
            if shown {
                return Ok(Some(commit));
            }
            // The next one that touches the paths may be far.
            call.site.show(&mut call.out)?;
        }
        Ok(None)
    }

    /// Whether a commit is shown, and which of its parents the walk goes on with.
    fn simplify(&mut self, call: &mut Call<'_>, commit: &ReadCommit) -> Run<(bool, Vec<Oid>)> {
        let mut parents = commit.parents.clone();
        if self.first_parent {
            parents.truncate(1);
        }
        if self.pathspec.is_empty() {
            return Ok((true, parents));
        }
        if parents.is_empty() {
            return Ok((self.touches(call, View::Empty, &commit.oid)?, parents));
        }
        // What a merge counts as depends on which of its sides git knows to be left out when it comes to it.
        if commit.parents.len() > 1 && !self.excluded.is_empty() {
            return unavailable("the paths of a merge where something is left out");
        }
        for parent in &parents {
            if !self.seen.contains(parent) {
                let before = call.commit(parent)?;
                call.site.note_tree(parent, &before.tree);
                self.ahead.push(before);
            }
            if !self.touches(call, View::Of(*parent), &commit.oid)? {
                // The same as this parent: what matters happened there.
                return Ok((false, vec![*parent]));
            }
        }
        Ok((true, parents))
    }

    /// Goes on until only what is left out waits, and a little longer, as git does. O(commits that are newer than where both sides meet).
    fn limit(&mut self, call: &mut Call<'_>) -> Run<VecDeque<Box<ReadCommit>>> {
        let mut found: Vec<Box<ReadCommit>> = Vec::new();
        let mut read = Read::default();
        for one in &self.heap {
            read.add(one.commit.oid, one.commit.parents.clone(), &self.excluded);
        }
        for oid in self.excluded.clone() {
            read.leave_out_parents(&oid, &mut self.excluded);
        }
        let (mut last, mut slop) = (i64::MAX, SLOP);
        while let Some(Waiting { commit, .. }) = self.heap.pop() {
            read.take(&commit.oid, &self.excluded);
            if self.since.is_some_and(|since| commit.seconds < since) {
                self.excluded.insert(commit.oid);
            }
            let is_out = self.excluded.contains(&commit.oid);
            let (is_shown, parents) = match is_out {
                true => (false, commit.parents.clone()),
                false => self.simplify(call, &commit)?,
            };
            for parent in parents {
                if is_out {
                    read.leave_out(&parent, &mut self.excluded);
                }
                if let Some(parents) = self.push(call, &parent)? {
                    read.add(parent, parents, &self.excluded);
                }
                if is_out {
                    read.leave_out_parents(&parent, &mut self.excluded);
                }
            }
            self.ahead.clear();
            if !is_out {
                last = commit.seconds;
                if is_shown {
                    found.push(commit);
                }
                continue;
            }
            slop = match self.heap.peek() {
                None => break,
                Some(next) if last <= next.commit.seconds || read.wanted > 0 => SLOP,
                Some(_) => slop - 1,
            };
            if slop == 0 {
                break;
            }
        }
        found.retain(|commit| !self.excluded.contains(&commit.oid));
        Ok(found.into())
    }

    fn touches(&self, call: &mut Call<'_>, old: View, new: &Oid) -> Run<bool> {
        let is_meant = |path: &[u8]| self.pathspec.matches(path);
        Ok(call.site.changes_any(old, View::Of(*new), &self.within, &is_meant)?)
    }
}

/// Commits that were read while it is found out what is left out.
#[derive(Default)]
struct Read {
    parents: OidMap<Vec<Oid>>,
    waiting: OidSet,
    /// How many of those that wait are not left out.
    wanted: usize,
}

impl Read {
    fn add(&mut self, oid: Oid, parents: Vec<Oid>, excluded: &OidSet) {
        self.parents.insert(oid, parents);
        self.waiting.insert(oid);
        self.wanted += usize::from(!excluded.contains(&oid));
    }

    fn take(&mut self, oid: &Oid, excluded: &OidSet) {
        self.waiting.remove(oid);
        self.wanted -= usize::from(!excluded.contains(oid));
    }

    /// Leaves out a commit, and of those before it what was read.
    fn leave_out(&mut self, oid: &Oid, excluded: &mut OidSet) {
        let mut stack = vec![*oid];
        while let Some(oid) = stack.pop() {
            if excluded.insert(oid) {
                self.wanted -= usize::from(self.waiting.contains(&oid));
                stack.extend(self.parents.get(&oid).into_iter().flatten());
            }
        }
    }

    fn leave_out_parents(&mut self, oid: &Oid, excluded: &mut OidSet) {
        for parent in self.parents.get(oid).cloned().unwrap_or_default() {
            self.leave_out(&parent, excluded);
        }
    }
}
