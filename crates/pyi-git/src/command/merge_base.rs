//! `git merge-base`: where histories meet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;

use super::args::{self, Takes};
use super::{Call, Run, Stop, unavailable};
use crate::Oid;
use crate::oid_set::OidMap;

/// Reached from the first commit, from the second, and below something that is reached from both.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const BELOW: u8 = 4;

/// A commit on the way.
struct Reached {
    flag: u8,
    seconds: i64,
    parents: Vec<Oid>,
    /// How often it waits.
    waiting: usize,
}

/// Two histories, gone through until nothing new can be below both.
#[derive(Default)]
struct Painted {
    reached: OidMap<Reached>,
    /// Newest first; of the same second, whichever was found first.
    waiting: BinaryHeap<(i64, Reverse<usize>, Oid)>,
    /// How many wait that are not below what both have.
    open: usize,
    next: usize,
    /// What both have, as it was found.
    found: Vec<(i64, Oid)>,
}

impl Painted {
    fn of(call: &mut Call<'_>, first: &Oid, second: &Oid) -> Run<Self> {
        let mut painted = Painted::default();
        painted.reach(call, first, FIRST)?;
        painted.reach(call, second, SECOND)?;
        while painted.open > 0 {
            let Some((seconds, _, oid)) = painted.waiting.pop() else {
                break;
            };
            let Some(here) = painted.reached.get_mut(&oid) else {
                break;
            };
            here.waiting -= 1;
            painted.open -= usize::from(here.flag & BELOW == 0);
            let mut flag = here.flag;
            let parents = here.parents.clone();
            if flag == FIRST | SECOND {
                if !painted.found.iter().any(|(_, known)| *known == oid) {
                    painted.found.push((seconds, oid));
                }
                flag |= BELOW;
            }
            for parent in parents {
                painted.reach(call, &parent, flag)?;
            }
        }
        Ok(painted)
    }

    fn reach(&mut self, call: &mut Call<'_>, oid: &Oid, flag: u8) -> Run<()> {
        let reached = match self.reached.entry(*oid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let commit = call.commit(oid)?;
                place.insert(Reached {
                    flag: 0,
                    seconds: commit.seconds,
                    parents: commit.parents,
                    waiting: 0,
                })
            }
        };
        if reached.flag & flag == flag {
            return Ok(());
        }
        let was_open = reached.flag & BELOW == 0;
        reached.flag |= flag;
        let is_open = reached.flag & BELOW == 0;
        if was_open && !is_open {
            self.open -= reached.waiting;
        }
        reached.waiting += 1;
        self.open += usize::from(is_open);
        self.waiting.push((reached.seconds, Reverse(self.next), *oid));
        self.next += 1;
        Ok(())
    }

    fn has(&self, oid: &Oid, flag: u8) -> bool {
        self.reached.get(oid).is_some_and(|reached| reached.flag & flag != 0)
    }
}

/// Whether `old` is in the history of `new`. O(commits that only one of them has).
pub(crate) fn is_ancestor(call: &mut Call<'_>, old: &Oid, new: &Oid) -> Run<bool> {
    Ok(old == new || Painted::of(call, old, new)?.has(old, SECOND))
}

impl Call<'_> {
    /// The best common ancestors of two commits, newest first. O(commits that only one of them has).
    pub(crate) fn merge_bases(&mut self, first: &Oid, second: &Oid) -> Run<Vec<Oid>> {
        if first == second {
            return Ok(vec![*first]);
        }
        let painted = Painted::of(self, first, second)?;
        let mut found = painted.found.clone();
        found.retain(|(_, oid)| !painted.has(oid, BELOW));
        found.sort_by_key(|(seconds, _)| Reverse(*seconds));
        let mut best = Vec::with_capacity(found.len());
        for (at, (_, oid)) in found.iter().enumerate() {
            let mut is_below = false;
            for (other, (_, newer)) in found.iter().enumerate() {
                is_below |= other != at && is_ancestor(self, oid, newer)?;
            }
            if !is_below {
                best.push(*oid);
            }
        }
        Ok(best)
    }
}

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[("a|all", Takes::Nothing), ("is-ancestor", Takes::Nothing)],
    )?;
    let [first, second] = &given.rest[..] else {
        return unavailable("git merge-base of anything but two commits");
    };
    let mut commits = Vec::new();
    for text in [first, second] {
        match call.resolve_commit(text)? {
            Some(oid) => commits.push(oid),
            None if call.resolve(text)?.is_some() => {
                return unavailable("git merge-base of something else than a commit");
            }
            None => {
                let text = String::from_utf8_lossy(text).into_owned();
                return Err(call.die(format!("Not a valid object name {text}")));
            }
        }
    }
    let [first, second] = commits[..] else {
        return Err(Stop::Exit(1));
    };
    if given.has("is-ancestor") {
        return Ok(i32::from(!is_ancestor(call, &first, &second)?));
    }
    let bases = call.merge_bases(&first, &second)?;
    let shown = if given.has("all") { bases.len() } else { 1 };
    for base in bases.iter().take(shown) {
        call.line(&[base.to_hex().as_bytes()]);
    }
    Ok(i32::from(bases.is_empty()))
}
