//! `git rev-list`.

use super::args::{self, Takes};
use super::log::start;
use super::pathspec::Pathspec;
use super::revision::range;
use super::walk::Walk;
use super::{Call, Run, unavailable};
use crate::Oid;

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("#", Takes::Value),
            ("n|max-count", Takes::Value),
            ("skip", Takes::Value),
            ("count", Takes::Nothing),
            ("left-right", Takes::Nothing),
            ("parents", Takes::Nothing),
            ("reverse", Takes::Nothing),
            ("first-parent", Takes::Nothing),
            ("no-merges", Takes::Nothing),
            ("merges", Takes::Nothing),
            ("all", Takes::Nothing),
        ],
    )?;
    let limit = given.limit()?;
    let (revisions, paths) = call.revisions_and_paths(&given.rest, given.dashes)?;
    if revisions.is_empty() && !given.has("all") {
        return unavailable("git rev-list without a revision");
    }
    let pathspec = Pathspec::parse(call, &paths)?;
    if given.has("left-right") {
        return left_right(call, &given, &revisions, &pathspec);
    }
    if given.has("parents") && !pathspec.is_empty() {
        return unavailable("git rev-list --parents with paths");
    }
    let mut walk = Walk::new(pathspec, given.has("first-parent"));
    start(call, &mut walk, &revisions, given.has("all"))?;
    let mut skip = given.number("skip")?.unwrap_or(0);
    let mut shown = Vec::new();
    while limit.is_none_or(|limit| shown.len() < limit) {
        let Some(commit) = walk.next(call)? else { break };
        let merge = commit.parents.len() > 1;
        if (merge && given.has("no-merges")) || (!merge && given.has("merges")) {
            continue;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        shown.push(commit);
    }
    if given.has("count") {
        call.line(&[shown.len().to_string().as_bytes()]);
        return Ok(0);
    }
    if given.has("reverse") {
        shown.reverse();
    }
    for commit in shown {
        let mut line = commit.oid.to_hex();
        if given.has("parents") {
            for parent in &commit.parents {
                line.push(' ');
                line.push_str(&parent.to_hex());
            }
        }
        call.line(&[line.as_bytes()]);
    }
    Ok(0)
}

/// How many commits each side of `a...b` has that the other has not.
fn left_right(call: &mut Call<'_>, given: &args::Given, revisions: &[Vec<u8>], pathspec: &Pathspec) -> Run<i32> {
    let others = given
        .options
        .iter()
        .any(|(name, _)| name != "left-right" && name != "count");
    let [one] = revisions else {
        return unavailable("git rev-list --left-right of anything but a...b");
    };
    let Some((left, right, true)) = range(one).filter(|_| given.has("count") && !others) else {
        return unavailable("git rev-list --left-right of anything but a...b, or without --count");
    };
    let (Some(left), Some(right)) = (call.resolve_commit(&left)?, call.resolve_commit(&right)?) else {
        return unavailable("git rev-list of something else than commits");
    };
    let counts = (
        only(call, &left, &right, pathspec)?,
        only(call, &right, &left, pathspec)?,
    );
    call.line(&[format!("{}\t{}", counts.0, counts.1).as_bytes()]);
    Ok(0)
}

fn only(call: &mut Call<'_>, of: &Oid, without: &Oid, pathspec: &Pathspec) -> Run<usize> {
    let mut walk = Walk::new(pathspec.clone(), false);
    walk.exclude(call, without)?;
    walk.add(call, of)?;
    let mut count = 0;
    while walk.next(call)?.is_some() {
        count += 1;
    }
    Ok(count)
}
