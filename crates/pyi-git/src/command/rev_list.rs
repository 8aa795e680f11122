//! `git rev-list`.

use super::args::{self, Takes};
use super::choose::{CHOICES, Choice, NUMBERS, start};
use super::names::ReadCommit;
use super::pathspec::Pathspec;
use super::revision::range;
use super::walk::Walk;
use super::{Call, Run, unavailable};
use crate::Oid;

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let mut table = [NUMBERS, CHOICES].concat();
    table.extend([
        ("count", Takes::Nothing),
        ("left-right", Takes::Nothing),
        ("parents", Takes::Nothing),
    ]);
    let given = args::parse(call, argv, &table)?;
    let choice = Choice::of(&given)?;
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
    let (count_only, with_parents) = (given.has("count"), given.has("parents"));
    let look = |_: &mut Call<'_>, _: &ReadCommit| Ok(Some(()));
    let count = choice.each(call, &mut walk, look, |call, _, commit, ()| {
        if count_only {
            return Ok(());
        }
        commit.oid.write_hex(&mut call.out);
        for parent in commit.parents.iter().filter(|_| with_parents) {
            call.out.push(b' ');
            parent.write_hex(&mut call.out);
        }
        call.out.push(b'\n');
        Ok(())
    })?;
    if count_only {
        call.line(&[count.to_string().as_bytes()]);
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
