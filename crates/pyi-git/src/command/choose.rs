//! Which commits `log` and `rev-list` list: where the walk begins, and what is taken of what it comes to.

use super::args::{Given, Takes};
use super::names::ReadCommit;
use super::refs::{HEADS, Head};
use super::revision::range;
use super::walk::Walk;
use super::{Call, Run, unavailable};
use crate::ObjectKind;

/// Options about how many commits are listed.
pub(crate) const NUMBERS: &[(&str, Takes)] = &[("#", Takes::Value), ("n|max-count", Takes::Value)];
/// Options about which commits are listed; what [`start`] takes is among them.
pub(crate) const CHOICES: &[(&str, Takes)] = &[
    ("skip", Takes::Value),
    ("reverse", Takes::Nothing),
    ("first-parent", Takes::Nothing),
    ("no-merges", Takes::Nothing),
    ("merges", Takes::Nothing),
    ("all", Takes::Nothing),
];

/// What [`NUMBERS`] and [`CHOICES`] say of the commits of a walk.
pub(crate) struct Choice {
    limit: Option<usize>,
    skip: usize,
    no_merges: bool,
    only_merges: bool,
    is_reversed: bool,
}

impl Choice {
    pub(crate) fn of(given: &Given) -> Run<Self> {
        Ok(Choice {
            limit: given.limit()?,
            skip: given.number("skip")?.unwrap_or(0),
            no_merges: given.has("no-merges"),
            only_merges: given.has("merges"),
            is_reversed: given.has("reverse"),
        })
    }

    /// Hands the commits that are listed to `show`, in order, each with its number and what `look` finds in it; those in which it finds nothing do
    /// not count. Returns how many there are. O(commits that are looked at); only a list that is turned round is kept.
    pub(crate) fn each<T>(
        self,
        call: &mut Call<'_>,
        walk: &mut Walk,
        mut look: impl FnMut(&mut Call<'_>, &ReadCommit) -> Run<Option<T>>,
        mut show: impl FnMut(&mut Call<'_>, usize, &ReadCommit, T) -> Run<()>,
    ) -> Run<usize> {
        let mut skip = self.skip;
        let (mut count, mut kept) = (0, Vec::new());
        while self.limit.is_none_or(|limit| count < limit) {
            let Some(commit) = walk.next(call)? else { break };
            call.site.show(&mut call.out)?;
            let is_merge = commit.parents.len() > 1;
            if (is_merge && self.no_merges) || (!is_merge && self.only_merges) {
                continue;
            }
            let Some(found) = look(call, &commit)? else { continue };
            if skip > 0 {
                skip -= 1;
                continue;
            }
            if self.is_reversed {
                kept.push((commit, found));
            } else {
                show(call, count, &commit, found)?;
            }
            count += 1;
        }
        for (number, (commit, found)) in kept.into_iter().rev().enumerate() {
            call.site.show(&mut call.out)?;
            show(call, number, &commit, found)?;
        }
        Ok(count)
    }
}

/// Where a walk begins and what it leaves out.
pub(crate) fn start(call: &mut Call<'_>, walk: &mut Walk, revisions: &[Vec<u8>], all: bool) -> Run<()> {
    if all && !revisions.is_empty() {
        // Which of the same second comes first depends on where it stands.
        return unavailable("--all with other revisions");
    }
    let mut tips = Vec::new();
    let commit = |call: &mut Call<'_>, text: &[u8]| match call.resolve_commit(text)? {
        Some(oid) => Ok(oid),
        None => unavailable(format!("git log of {}", String::from_utf8_lossy(text))),
    };
    if revisions.is_empty() && !all {
        match call.head_oid()? {
            Some(head) => tips.push(head),
            None => {
                let Head::Branch(name) = call.head()? else {
                    return Ok(());
                };
                let name = name.strip_prefix(HEADS).unwrap_or(&name);
                let message = format!(
                    "your current branch '{}' does not have any commits yet",
                    String::from_utf8_lossy(name)
                );
                return Err(call.die(message));
            }
        }
    }
    for text in revisions {
        if let Some(text) = text.strip_prefix(b"^") {
            let oid = commit(call, text)?;
            walk.exclude(call, &oid)?;
        } else if let Some((from, to, symmetric)) = range(text) {
            let (from, to) = (commit(call, &from)?, commit(call, &to)?);
            if symmetric {
                for base in call.merge_bases(&from, &to)? {
                    walk.exclude(call, &base)?;
                }
                tips.push(from);
            } else {
                walk.exclude(call, &from)?;
            }
            tips.push(to);
        } else {
            tips.push(commit(call, text)?);
        }
    }
    if all {
        for (_, oid) in call.refs(b"refs/")? {
            if let Some(commit) = call.peel(&oid, Some(ObjectKind::Commit))? {
                tips.push(commit);
            }
        }
        tips.extend(call.head_oid()?);
    }
    for tip in tips {
        walk.add(call, &tip)?;
    }
    Ok(())
}
