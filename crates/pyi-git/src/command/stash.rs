//! `git stash`: push, list, pop, apply, drop.

use super::args::{self, Given, Takes};
use super::commit::store;
use super::diff::{Format, Options, TABLE, pairs, print};
use super::identity::Capacity;
use super::pathspec::Pathspec;
use super::refs::{HEADS, Head};
use super::status::{Untracked, collect};
use super::status_long;
use super::{Call, Found, Run, Stop, View, log_name, unavailable};
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
        b"show" if call.site.is_directory() => show(call, rest),
        b"pop" | b"apply" => pop(call, rest, verb == b"pop"),
        b"drop" => {
            let given = args::parse(call, rest, &[("q|quiet", Takes::Nothing)])?;
            let stash = named(call, &given)?;
            drop_top(call, &stash, given.has("quiet"))?;
            Ok(0)
        }
        _ => unavailable(format!("git stash {}", String::from_utf8_lossy(verb))),
    }
}

/// A stash that was asked for.
struct Stash {
    oid: Oid,
    /// 0 is the last.
    number: u64,
    /// As git calls it.
    name: Vec<u8>,
}

fn named(call: &mut Call<'_>, given: &Given) -> Run<Stash> {
    let (number, name) = match &given.rest[..] {
        [] => (Some(0), b"refs/stash@{0}".to_vec()),
        [word] if given.dashes.is_none() => {
            let digits = |text: &[u8]| -> Option<u64> {
                let plain = !text.is_empty() && text.len() < 10 && text.iter().all(u8::is_ascii_digit);
                std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
            };
            match word.strip_prefix(b"stash@{").and_then(|rest| rest.strip_suffix(b"}")) {
                Some(inside) => (digits(inside), word.clone()),
                None => (digits(word), [b"refs/stash@{", word.as_slice(), b"}"].concat()),
            }
        }
        _ => (None, Vec::new()),
    };
    let Some(number) = number else {
        return unavailable("git stash of a stash that is named in another way");
    };
    if call.read_ref(STASH)?.is_none() {
        if call.command == "stash" && given.rest.is_empty() && !call.site.is_directory() {
            call.err.extend_from_slice(b"No stash entries found.\n");
            return Err(Stop::Exit(1));
        }
        return unavailable("git stash without a stash");
    }
    match call.logged(STASH, number)? {
        Some(entry) => Ok(Stash {
            oid: entry.new,
            number,
            name,
        }),
        None => unavailable("git stash of a stash that is not there"),
    }
}

fn push(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(call, argv, &[("m|message", Takes::Value), ("q|quiet", Takes::Nothing)])?;
    if !given.rest.is_empty() {
        return unavailable("git stash push of paths");
    }
    let Some(head) = call.head_oid()? else {
        if call.site.is_directory() {
            // Git writes down what it finds out about files before it says so.
            return unavailable("git stash before the first commit");
        }
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
    let about = [
        branch.as_slice(),
        b": ",
        short.as_bytes(),
        b" ",
        &commit.shown_subject()?,
    ]
    .concat();
    let author = call.identity(Capacity::Author)?;
    let committer = call.identity(Capacity::Committer)?;
    let index_text = [b"index on ", about.as_slice(), b"\n"].concat();
    let index = store(call, &[head], &author, &committer, &index_text)?;
    for change in call.site.tracked_changes(View::Index, &[])? {
        // Git compares files with the commit here, and so does not see that one is gone which was only staged.
        let is_missed = change.new.is_none() && call.site.find(View::Of(head), &change.path)?.is_none();
        if is_missed {
            continue;
        }
        call.site.stage(&change.path, change.new.as_ref())?;
    }
    // What was staged to go and stands there all the same is saved too: the commit's file takes its place.
    for change in call.site.changes(View::Of(head), View::Index)? {
        if change.new.is_none()
            && let Some(Found::File(version)) = call.site.find(View::Work, &change.path)?
        {
            call.site.stage(&change.path, Some(&version))?;
        }
    }
    let text = match given.value("message") {
        Some(message) => [b"On ", branch.as_slice(), b": ", message].concat(),
        None => [b"WIP on ", about.as_slice()].concat(),
    };
    let work = store(call, &[head, index], &author, &committer, &text)?;
    call.update_ref(STASH, Some(&work), &text)?;
    super::reset::hard(call, &head)?;
    call.site
        .set_admin(b"ORIG_HEAD", Some(format!("{head}\n").into_bytes().into()))?;
    call.move_head(&head, &log_name::reset(b"HEAD"))?;
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

/// What a stash changed of files that were tracked.
fn show(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    if argv.iter().any(|word| word.starts_with(b"-u")) {
        // To other commands this is a patch, here it is files that were not tracked.
        return unavailable("git stash show -u");
    }
    let given = args::parse(call, argv, TABLE)?;
    let mut options = Options::from(call, &given)?;
    if options.formats.is_empty() && !options.nothing {
        options.formats.push(Format::Stat);
    }
    let stash = named(call, &given)?;
    let commit = call.commit(&stash.oid)?;
    let (Some(base), 2) = (commit.parents.first(), commit.parents.len()) else {
        return unavailable("git stash show of this stash");
    };
    let pairs = pairs(
        call,
        View::Of(*base),
        View::Of(stash.oid),
        &Pathspec::default(),
        &options,
    )?;
    print(call, &pairs, &options)?;
    Ok(0)
}

fn pop(call: &mut Call<'_>, argv: &[Vec<u8>], drops: bool) -> Run<i32> {
    let given = args::parse(call, argv, &[("q|quiet", Takes::Nothing)])?;
    let stash = named(call, &given)?;
    if drops && stash.number > 0 {
        return unavailable("git stash pop of another stash than the last");
    }
    let commit = call.commit(&stash.oid)?;
    let (Some(base), Some(head)) = (commit.parents.first().copied(), call.head_oid()?) else {
        return unavailable("git stash pop of this stash");
    };
    let clean = collect(call, Some(head), &Pathspec::default(), Untracked::No)?;
    let same = call.site.changes(View::Of(base), View::Of(head))?.is_empty();
    if !same || !clean.staged.is_empty() || !clean.changed.is_empty() || commit.parents.len() != 2 {
        return unavailable("git stash pop onto anything but the clean commit that it was made on");
    }
    let changes = call.site.changes(View::Of(base), View::Of(stash.oid))?;
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
    if call.site.is_directory() {
        if changes.is_empty() {
            return unavailable("git stash pop of what changes no file");
        }
        // The tree that the merge came to.
        let text = format!("{}\n", commit.tree).into_bytes();
        call.site.set_admin(b"AUTO_MERGE", Some(text.into()))?;
    }
    if !given.has("quiet") {
        let status = collect(call, Some(head), &Pathspec::default(), Untracked::Normal)?;
        status_long::print(call, &status, Untracked::Normal, status_long::About::Status)?;
    }
    if drops {
        drop_top(call, &stash, given.has("quiet"))?;
    }
    Ok(0)
}

fn drop_top(call: &mut Call<'_>, stash: &Stash, quiet: bool) -> Run<()> {
    if stash.number > 0 {
        return unavailable("git stash drop of another stash than the last");
    }
    call.pop_log(STASH)?;
    match call.logged(STASH, 0)? {
        Some(entry) => {
            let text = format!("{}\n", entry.new).into_bytes();
            call.site.set_admin(STASH, Some(text.into()))?;
        }
        None => call.site.set_admin(STASH, None)?,
    }
    if !quiet {
        let oid = stash.oid.to_hex();
        call.line(&[b"Dropped ", &stash.name, b" (", oid.as_bytes(), b")"]);
    }
    Ok(())
}
