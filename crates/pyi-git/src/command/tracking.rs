//! What a branch follows, and how far the two are apart.

use std::collections::{BinaryHeap, HashMap};

use super::refs::HEADS;
use super::{Call, Run, unavailable};
use crate::Oid;

/// Reachable from the first, from the second, from a common one.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const STALE: u8 = 4;

/// What a branch follows.
pub(crate) struct Tracking {
    /// Its short name.
    pub(crate) name: Vec<u8>,
    /// Commits that only the branch has, and that only the other one has; `None`: the other one is gone.
    pub(crate) apart: Option<(usize, usize)>,
}

impl Tracking {
    /// ` [ahead 1, behind 2]`, ` [gone]` or nothing.
    pub(crate) fn brackets(&self) -> String {
        match self.apart {
            None => " [gone]".to_owned(),
            Some((0, 0)) => String::new(),
            Some((ahead, 0)) => format!(" [ahead {ahead}]"),
            Some((0, behind)) => format!(" [behind {behind}]"),
            Some((ahead, behind)) => format!(" [ahead {ahead}, behind {behind}]"),
        }
    }
}

/// The histories of two commits, as far as they are not common.
pub(crate) struct Apart {
    pub(crate) first: usize,
    pub(crate) second: usize,
}

impl Call<'_> {
    /// Where two histories part. O(commits down to what they have in common).
    pub(crate) fn apart(&mut self, first: &Oid, second: &Oid) -> Run<Apart> {
        let mut flags: HashMap<Oid, u8> = HashMap::new();
        let mut heap: BinaryHeap<(i64, std::cmp::Reverse<usize>, Oid)> = BinaryHeap::new();
        let mut number = 0;
        // Commits in the heap that are not known to be common.
        let mut fresh = 0usize;
        // What only one of them has, as far as that is known: what is common and not older may lead there.
        let mut oldest = i64::MAX;
        let mut parents_of: HashMap<Oid, Vec<Oid>> = HashMap::new();
        let mut queued: HashMap<Oid, bool> = HashMap::new();
        let mut waiting = vec![(*first, FIRST), (*second, SECOND)];
        loop {
            for (oid, more) in waiting.drain(..) {
                let known = flags.entry(oid).or_default();
                if *known & more == more {
                    continue;
                }
                let was_fresh = queued.get(&oid) == Some(&true) && *known & STALE == 0;
                *known |= more;
                let is_fresh = *known & STALE == 0;
                if queued.get(&oid) == Some(&true) {
                    if was_fresh && !is_fresh {
                        fresh -= 1;
                    }
                    continue;
                }
                let commit = self.commit(&oid)?;
                parents_of.insert(oid, commit.parents);
                queued.insert(oid, true);
                fresh += usize::from(is_fresh);
                if is_fresh {
                    oldest = oldest.min(commit.seconds);
                }
                heap.push((commit.seconds, std::cmp::Reverse(number), oid));
                number += 1;
            }
            if fresh == 0 && heap.peek().is_none_or(|(seconds, _, _)| *seconds < oldest) {
                break;
            }
            let Some((_, _, oid)) = heap.pop() else { break };
            queued.insert(oid, false);
            let mut now = flags.get(&oid).copied().unwrap_or_default();
            if now & STALE == 0 {
                fresh -= 1;
            }
            if now & (FIRST | SECOND | STALE) == FIRST | SECOND {
                now |= STALE;
            }
            for parent in parents_of.get(&oid).into_iter().flatten() {
                waiting.push((*parent, now));
            }
        }
        let count = |wanted: u8| flags.values().filter(|now| **now == wanted).count();
        Ok(Apart {
            first: count(FIRST),
            second: count(SECOND),
        })
    }

    /// The short name of a ref, if nothing else could be meant by it.
    pub(crate) fn shorten(&mut self, full: &[u8]) -> Run<Vec<u8>> {
        let rules: [(&[u8], &[u8]); 5] = [
            (b"refs/remotes/", b"/HEAD"),
            (b"refs/remotes/", b""),
            (HEADS, b""),
            (b"refs/tags/", b""),
            (b"refs/", b""),
        ];
        for (before, behind) in rules {
            let short = full.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
            let Some(short) = short.filter(|short| !short.is_empty()) else {
                continue;
            };
            for (other, end) in rules {
                let name = [other, short, end].concat();
                if name != full && self.read_ref(&name)?.is_some() {
                    return unavailable("a short name that is ambiguous");
                }
            }
            if self.site.admin(short)?.is_some() {
                return unavailable("a short name that is ambiguous");
            }
            return Ok(short.to_vec());
        }
        Ok(full.to_vec())
    }

    /// What a branch follows, by the configuration.
    pub(crate) fn tracking(&mut self, branch: &[u8]) -> Run<Option<Tracking>> {
        let Some(short) = branch.strip_prefix(HEADS) else {
            return Ok(None);
        };
        let values = |key: &str| -> Vec<Vec<u8>> {
            let all = self.config.all("branch", Some(short), key);
            all.filter_map(|entry| entry.value.clone()).collect()
        };
        let (remotes, merges) = (values("remote"), values("merge"));
        let (Some(remote), [merge]) = (remotes.last(), &merges[..]) else {
            return if merges.len() > 1 {
                unavailable("a branch that follows several")
            } else {
                Ok(None)
            };
        };
        let target = match remote.as_slice() {
            b"." => Some(merge.clone()),
            _ => self.fetched(remote, merge)?,
        };
        let Some(target) = target else { return Ok(None) };
        let Some(there) = self.read_ref(&target)? else {
            let name = self.shorten(&target)?;
            return Ok(Some(Tracking { name, apart: None }));
        };
        let name = self.shorten(&target)?;
        let Some(here) = self.read_ref(branch)? else {
            return unavailable("a branch without a commit that follows another");
        };
        let apart = match here == there {
            true => (0, 0),
            false => {
                let apart = self.apart(&here, &there)?;
                (apart.first, apart.second)
            }
        };
        Ok(Some(Tracking {
            name,
            apart: Some(apart),
        }))
    }

    /// Where a remote's branch is kept here.
    fn fetched(&mut self, remote: &[u8], branch: &[u8]) -> Run<Option<Vec<u8>>> {
        if self.config.value("remote", Some(remote), "url").is_none() {
            return unavailable("a remote without an address");
        }
        let specs: Vec<Vec<u8>> = self
            .config
            .all("remote", Some(remote), "fetch")
            .filter_map(|entry| entry.value.clone())
            .collect();
        for spec in &specs {
            let spec = spec.strip_prefix(b"+").unwrap_or(spec);
            let Some(colon) = spec.iter().position(|&byte| byte == b':') else {
                return unavailable("such a refspec");
            };
            let (from, to) = (
                spec.get(..colon).unwrap_or_default(),
                spec.get(colon + 1..).unwrap_or_default(),
            );
            match (from.strip_suffix(b"*"), to.strip_suffix(b"*")) {
                (Some(from), Some(to)) if !from.contains(&b'*') && !to.contains(&b'*') => {
                    if let Some(rest) = branch.strip_prefix(from) {
                        return Ok(Some([to, rest].concat()));
                    }
                }
                (None, None) if !from.contains(&b'*') && !from.starts_with(b"^") => {
                    if from == branch {
                        return Ok(Some(to.to_vec()));
                    }
                }
                _ => return unavailable("such a refspec"),
            }
        }
        Ok(None)
    }
}
