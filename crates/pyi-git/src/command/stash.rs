//! `git stash`: push, list, pop, apply, drop.

use super::args::{self, Takes};
use super::commit::store;
use super::identity::Capacity;
use super::pathspec::Pathspec;
use super::refs::{HEADS, Head};
use super::status::{Untracked, collect};
use super::status_long;
use super::{Call, Run, Stop, View, say, unavailable};
use crate::Oid;

const STASH: &[u8] = b"refs/stash";

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let (verb, rest) = match argv.split_first() {
        Some((word, rest)) if !word.starts_with(b"-") => (word.as_slice(), rest),
        _ => (&b"push"[..], argv),
    };
    match verb {
        b"push" => push(call, rest),
        b"list" if rest.is_empty() => list(call),
        b"pop" => pop(call, rest),
        b"drop" if rest.is_empty() => {
            let Some(oid) = call.read_ref(STASH)? else {
                call.error("refs/stash@{0} is not a valid reference");
                return unavailable("git stash drop without a stash");
            };
            drop_top(call, &oid, b"refs/stash@{0}")?;
            Ok(0)
        }
        _ => unavailable(format!("git stash {}", String::from_utf8_lossy(verb))),
    }
}

fn push(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(call, argv, &[("m|message", Takes::Value), ("q|quiet", Takes::Nothing)])?;
    if !given.rest.is_empty() {
        return unavailable("git stash push of paths");
    }
    let Some(head) = call.head_oid()? else {
        if !given.has("quiet") {
            call.err.extend_from_slice(b"You do not have the initial commit yet\n");
        }
        return Err(Stop::Exit(1));
    };
    let status = collect(call, Some(head), &Pathspec::default(), Untracked::No)?;
    if status.staged.is_empty() && status.changed.is_empty() {
        if !given.has("quiet") {
            call.line(&[b"No local changes to save"]);
        }
        return Ok(0);
    }
    let branch = match call.head()? {
        Head::Branch(name) => name.strip_prefix(HEADS).unwrap_or(&name).to_vec(),
        Head::Detached(_) => b"(no branch)".to_vec(),
    };
    let commit = call.commit(&head)?;
    let short = call.short(&head)?;
    let about = [branch.as_slice(), b": ", short.as_bytes(), b" ", &commit.subject()].concat();
    let author = call.identity(Capacity::Author)?;
    let committer = call.identity(Capacity::Committer)?;
    let index_text = [b"index on ", about.as_slice(), b"\n"].concat();
    let index = store(call, &[head], &author, &committer, &index_text)?;
    for change in call.site.changes(View::Index, View::Work)? {
        if change.old.is_some() {
            call.site.stage(&change.path, change.new.as_ref())?;
        }
    }
    let text = match given.value("message") {
        Some(message) => [b"On ", branch.as_slice(), b": ", message].concat(),
        None => [b"WIP on ", about.as_slice()].concat(),
    };
    let work = store(call, &[head, index], &author, &committer, &text)?;
    call.update_ref(STASH, Some(&work), &text)?;
    super::reset::hard(call, &head)?;
    call.move_head(&head, b"reset: moving to HEAD")?;
    if !given.has("quiet") {
        call.line(&[b"Saved working directory and index state ", &text]);
    }
    Ok(0)
}

fn list(call: &mut Call<'_>) -> Run<i32> {
    let mut number = 0;
    while let Some(entry) = call.logged(STASH, number)? {
        let name = format!("stash@{{{number}}}: ");
        call.line(&[name.as_bytes(), &entry.message]);
        number += 1;
    }
    Ok(0)
}

fn pop(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(call, argv, &[("q|quiet", Takes::Nothing)])?;
    if !given.rest.is_empty() {
        return unavailable("git stash pop of another stash than the last");
    }
    let Some(stash) = call.read_ref(STASH)? else {
        call.err.extend_from_slice(b"No stash entries found.\n");
        return Err(Stop::Exit(1));
    };
    let commit = call.commit(&stash)?;
    let (Some(base), Some(head)) = (commit.parents.first().copied(), call.head_oid()?) else {
        return unavailable("git stash pop of this stash");
    };
    let clean = collect(call, Some(head), &Pathspec::default(), Untracked::No)?;
    let same = call.site.changes(View::Of(base), View::Of(head))?.is_empty();
    if !same || !clean.staged.is_empty() || !clean.changed.is_empty() || commit.parents.len() != 2 {
        return unavailable("git stash pop onto anything but the clean commit that it was made on");
    }
    let changes = call.site.changes(View::Of(base), View::Of(stash))?;
    for change in &changes {
        if change.old.is_none() && call.site.find(View::Work, &change.path)?.is_some() {
            return unavailable("git stash pop over untracked files");
        }
    }
    for change in changes.iter().filter(|change| change.new.is_none()) {
        call.site.put(&change.path, None)?;
    }
    for change in &changes {
        let Some(new) = &change.new else { continue };
        call.site.put(&change.path, Some(new))?;
        // What the stash added stays added; what it changed is not staged again.
        if change.old.is_none() {
            call.site.stage(&change.path, Some(new))?;
        }
    }
    if !given.has("quiet") {
        let status = collect(call, Some(head), &Pathspec::default(), Untracked::Normal)?;
        status_long::print(call, &status, Untracked::Normal, status_long::About::Status)?;
    }
    drop_top(call, &stash, b"refs/stash@{0}").map(|()| 0)
}

fn drop_top(call: &mut Call<'_>, oid: &Oid, name: &[u8]) -> Run<()> {
    call.pop_log(STASH)?;
    match call.logged(STASH, 0)? {
        Some(entry) => {
            let text = format!("{}\n", entry.new).into_bytes();
            call.site.set_admin(STASH, Some(text.into()))?;
        }
        None => call.site.set_admin(STASH, None)?,
    }
    say(
        &mut call.out,
        &[b"Dropped ", name, b" (", oid.to_hex().as_bytes(), b")\n"],
    );
    Ok(())
}
