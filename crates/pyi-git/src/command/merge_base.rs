//! `git merge-base`: where histories meet.

use std::collections::{BinaryHeap, HashMap};

use super::args::{self, Takes};
use super::branch::is_ancestor;
use super::{Call, Run, Stop, unavailable};
use crate::Oid;

/// Reached from the first commit, from the second, and below something that is reached from both.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const BELOW: u8 = 4;

impl Call<'_> {
    /// The best common ancestors of two commits, newest first. O(commits that only one of them has).
    pub(crate) fn merge_bases(&mut self, first: &Oid, second: &Oid) -> Run<Vec<Oid>> {
        if first == second {
            return Ok(vec![*first]);
        }
        let mut flags: HashMap<Oid, u8> = HashMap::new();
        // Newest first; of the same second, whichever was found first.
        let mut waiting: BinaryHeap<(i64, std::cmp::Reverse<usize>, Oid)> = BinaryHeap::new();
        let mut number = 0;
        for (oid, flag) in [(first, FIRST), (second, SECOND)] {
            flags.insert(*oid, flag);
            waiting.push((self.commit(oid)?.seconds, std::cmp::Reverse(number), *oid));
            number += 1;
        }
        let mut found: Vec<(i64, Oid)> = Vec::new();
        while waiting
            .iter()
            .any(|(_, _, oid)| flags.get(oid).is_some_and(|flag| flag & BELOW == 0))
        {
            let Some((seconds, _, oid)) = waiting.pop() else { break };
            let mut flag = flags.get(&oid).copied().unwrap_or(0);
            if flag == FIRST | SECOND {
                if !found.iter().any(|(_, known)| *known == oid) {
                    found.push((seconds, oid));
                }
                flag |= BELOW;
            }
            for parent in self.commit(&oid)?.parents {
                let known = flags.entry(parent).or_insert(0);
                if *known & flag == flag {
                    continue;
                }
                *known |= flag;
                let seconds = self.commit(&parent)?.seconds;
                waiting.push((seconds, std::cmp::Reverse(number), parent));
                number += 1;
            }
        }
        found.retain(|(_, oid)| flags.get(oid).is_some_and(|flag| flag & BELOW == 0));
        found.sort_by_key(|(seconds, _)| std::cmp::Reverse(*seconds));
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
