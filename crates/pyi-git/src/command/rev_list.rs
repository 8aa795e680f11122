//! `git rev-list`.

use super::args::{self, Takes};
use super::log::start;
use super::pathspec::Pathspec;
use super::walk::Walk;
use super::{Call, Run, unavailable};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let table: &[(&str, Takes)] = &[
        ("#", Takes::Value),
        ("n|max-count", Takes::Value),
        ("skip", Takes::Value),
        ("count", Takes::Nothing),
        ("reverse", Takes::Nothing),
        ("first-parent", Takes::Nothing),
        ("no-merges", Takes::Nothing),
        ("merges", Takes::Nothing),
        ("all", Takes::Nothing),
    ];
    let given = args::parse(call, argv, table)?;
    let limit = match given.last_of(&["#", "max-count"]) {
        Some(name) => given.number(name)?,
        None => None,
    };
    let (revisions, paths) = call.revisions_and_paths(&given.rest, given.dashes)?;
    if revisions.is_empty() && !given.has("all") {
        return unavailable("git rev-list without a commit");
    }
    let pathspec = Pathspec::parse(call, &paths)?;
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
        shown.push(commit.oid);
    }
    if given.has("count") {
        call.line(&[shown.len().to_string().as_bytes()]);
        return Ok(0);
    }
    if given.has("reverse") {
        shown.reverse();
    }
    for oid in shown {
        call.line(&[oid.to_hex().as_bytes()]);
    }
    Ok(0)
}
