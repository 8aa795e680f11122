//! `git checkout` and `git switch`.

use std::collections::HashSet;

use super::args::{self, Given, Takes};
use super::branch::create;
use super::diff::{Options, pairs};
use super::pathspec::Pathspec;
use super::refs::{HEADS, Head};
use super::restore::put_paths;
use super::status_long::{About, tracking_lines};
use super::{Call, Found, Run, Stop, View, log_name, say, unavailable};
use crate::Oid;
use crate::path::directories_above;

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("q|quiet", Takes::Nothing),
            ("b", Takes::Value),
            ("B", Takes::Value),
            ("f|force", Takes::Nothing),
            ("detach", Takes::Nothing),
        ],
    )?;
    let excluding = [given.has("b"), given.has("B"), given.has("detach")];
    if excluding.into_iter().filter(|given| *given).count() > 1 {
        return unavailable("git checkout with options that exclude each other");
    }
    // From `a...b` git goes to where both meet, and of several words before `--` it complains.
    let before = given
        .rest
        .get(..given.dashes.unwrap_or(given.rest.len()))
        .unwrap_or_default();
    if before.iter().any(|word| super::revision::is_meeting(word)) || given.dashes.is_some_and(|at| at > 1) {
        return unavailable("git checkout of a range");
    }
    if let Some(name) = given.value("b").or(given.value("B")) {
        let name = name.to_vec();
        if given.rest.len() > 1 || given.dashes.is_some_and(|at| at < given.rest.len()) {
            return unavailable("git checkout -b with paths");
        }
        return new_branch(call, &given, &name, given.has("B"));
    }
    let first = given.rest.first().cloned();
    let before_dashes = given.dashes.unwrap_or(given.rest.len());
    match (first, given.dashes) {
        (None, _) => {
            if given.has("detach") {
                return go(call, &given, b"HEAD", false);
            }
            if call.site.is_directory() && given.has("force") {
                return go(call, &given, b"HEAD", false);
            }
            if call.site.is_directory() && call.head_oid()?.is_none() {
                return unavailable("git checkout before the first commit");
            }
            show_changes(call, &given)?;
            show_tracking(call, &given)?;
            Ok(0)
        }
        (Some(_), Some(0)) => paths(call, &given, View::Index, &given.rest, false),
        (Some(first), dashes) => {
            let revision = call.resolve(&first)?;
            if before_dashes == 1 && dashes.is_some() && given.rest.len() == 1 {
                return go(call, &given, &first, false);
            }
            let rest = given.rest.get(1..).unwrap_or_default();
            match revision {
                Some(_) if rest.is_empty() => {
                    if dashes.is_none() && call.is_file_name(&first) && call.find_ref(&first)?.is_none() {
                        return unavailable("git checkout of what is a revision and a path");
                    }
                    go(call, &given, &first, false)
                }
                Some(_) if given.has("detach") => unavailable("git checkout --detach with paths"),
                Some(_) if dashes.is_none() && !matches!(call.find_file(&first), Ok(None)) => {
                    unavailable("git checkout of what is a revision and a path")
                }
                Some(oid) => {
                    let Some(tree) = call.peel(&oid, Some(crate::ObjectKind::Tree))? else {
                        return unavailable("git checkout from something else than a commit");
                    };
                    let from = call.peel(&oid, None)?.unwrap_or(tree);
                    paths(call, &given, View::Of(from), rest, true)
                }
                None if dashes == Some(1) => {
                    let text = String::from_utf8_lossy(&first).into_owned();
                    Err(call.die(format!("invalid reference: {text}")))
                }
                None if given.has("detach") => {
                    let text = String::from_utf8_lossy(&first).into_owned();
                    Err(call.die(format!("git checkout: --detach does not take a path argument '{text}'")))
                }
                None if first == b"-" => go(call, &given, &first, false),
                None if dashes.is_none() && is_remote(call, &first)? => {
                    unavailable("git checkout of a remote's branch")
                }
                None => paths(call, &given, View::Index, &given.rest, dashes.is_none()),
            }
        }
    }
}

pub(crate) fn run_switch(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("q|quiet", Takes::Nothing),
            ("c|create", Takes::Value),
            ("C|force-create", Takes::Value),
            ("d|detach", Takes::Nothing),
        ],
    )?;
    let excluding = [given.has("create"), given.has("force-create"), given.has("detach")];
    if excluding.into_iter().filter(|given| *given).count() > 1 {
        return unavailable("git switch with options that exclude each other");
    }
    if given.rest.iter().any(|word| super::revision::is_meeting(word)) {
        return unavailable("git switch to a range");
    }
    if let Some(name) = given.value("create").or(given.value("force-create")) {
        let name = name.to_vec();
        return new_branch(call, &given, &name, given.has("force-create"));
    }
    let [name] = &given.rest[..] else {
        if given.rest.is_empty() && !given.has("detach") {
            return Err(call.die("missing branch or commit argument"));
        }
        return unavailable("git switch with several names");
    };
    go(call, &given, name, true)
}

/// Says which tracked files differ from the commit.
fn show_changes(call: &mut Call<'_>, given: &Given) -> Run<()> {
    if given.has("quiet") {
        return Ok(call.site.look_at_files()?);
    }
    let Some(head) = call.head_oid()? else {
        return Ok(());
    };
    show_changes_of(call, given, &head)
}

fn new_branch(call: &mut Call<'_>, given: &Given, name: &[u8], force: bool) -> Run<i32> {
    let start = given.rest.first().map_or(&b"HEAD"[..], Vec::as_slice).to_vec();
    let full = call.branch_name(name)?;
    let head = call.head_oid()?;
    if call.site.is_directory() {
        let follows = call
            .find_ref(&start)?
            .is_some_and(|(from, _)| from.starts_with(b"refs/remotes/"));
        let is_detached = matches!(call.head()?, Head::Detached(_));
        if follows || start == b"-" || (is_detached && call.resolve_commit(&start)? != head) {
            return unavailable("git checkout of such a new branch");
        }
    }
    if call.read_ref(&full)?.is_some() && !force {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(call.die(format!("a branch named '{name}' already exists")));
    }
    let text = String::from_utf8_lossy(name).into_owned();
    let Some(oid) = call.resolve_commit(&start)? else {
        if head.is_none() && given.rest.is_empty() {
            call.set_head(&Head::Branch(full), b"")?;
            if !given.has("quiet") {
                call.err
                    .extend_from_slice(format!("Switched to a new branch '{text}'\n").as_bytes());
            }
            return Ok(0);
        }
        let there = call.resolve(&start)?.is_some();
        let start = String::from_utf8_lossy(&start).into_owned();
        if call.command == "switch" && there {
            return Err(call.die(format!("Cannot switch branch to a non-commit '{start}'")));
        }
        if call.command == "switch" {
            return Err(call.die(format!("invalid reference: {start}")));
        }
        return Err(call.die(format!(
            "'{start}' is not a commit and a branch '{text}' cannot be created from it"
        )));
    };
    let moved = head != Some(oid) || !given.rest.is_empty() || (force && call.command == "checkout");
    let from = from_name(call)?;
    if moved {
        switch_tree(call, head, &oid, given.has("force"))?;
        show_changes_of(call, given, &oid)?;
    } else if call.command == "checkout" && given.has("quiet") {
        // Only a quiet one goes the long way to where it is.
        call.site.look_at_files()?;
    }
    let existed = call.read_ref(&full)?.is_some();
    let start = if start == b"@" { b"HEAD".to_vec() } else { start };
    let head_before = call.head()?;
    let full = create(call, name, &start, &oid, force)?;
    let message = log_name::moving(&from, name);
    call.set_head(&Head::Branch(full.clone()), &message)?;
    if !given.has("quiet") {
        let what = if head_before == Head::Branch(full.clone()) {
            "Reset branch"
        } else if existed {
            "Switched to and reset branch"
        } else {
            "Switched to a new branch"
        };
        call.err.extend_from_slice(format!("{what} '{text}'\n").as_bytes());
    }
    show_tracking(call, given)?;
    Ok(0)
}

/// How far HEAD's branch is from what it follows.
fn show_tracking(call: &mut Call<'_>, given: &Given) -> Run<()> {
    match call.head()? {
        Head::Branch(name) if call.site.is_directory() && !given.has("quiet") => {
            tracking_lines(call, &name, About::Status)
        }
        _ => Ok(()),
    }
}

/// Whether some remote has a branch of this name, which git would make a branch of.
fn is_remote(call: &mut Call<'_>, name: &[u8]) -> Run<bool> {
    let end = [b"/", name].concat();
    let refs = call.refs(b"refs/remotes/")?;
    Ok(refs.iter().any(|(full, _)| full.ends_with(&end)))
}

fn show_changes_of(call: &mut Call<'_>, given: &Given, oid: &Oid) -> Run<()> {
    if given.has("quiet") {
        // Git looks at them before it moves any.
        return Ok(call.site.look_at_files()?);
    }
    let mut options = Options::new(call)?;
    options.renames = None;
    let pairs = pairs(call, View::Of(*oid), View::Work, &Pathspec::default(), &options)?;
    if call.site.is_directory() {
        let told: HashSet<&[u8]> = pairs.iter().map(super::diff::Pair::path).collect();
        for change in call.site.changes(View::Of(*oid), View::Index)? {
            let is_both = change.old.is_some() && change.new.is_some();
            // Git does not see that a file is again what the commit has.
            if is_both && !told.contains(change.path.as_slice()) {
                return unavailable("a file that differs from the index and not from the commit");
            }
        }
    }
    for pair in pairs {
        let letter = [pair.letter()];
        call.line(&[&letter, b"\t", &super::quote::quoted(pair.path())]);
    }
    Ok(())
}

/// What a reflog says HEAD was.
fn from_name(call: &mut Call<'_>) -> Run<Vec<u8>> {
    Ok(match call.head()? {
        Head::Branch(name) => name.strip_prefix(HEADS).unwrap_or(&name).to_vec(),
        Head::Detached(oid) => oid.to_hex().into_bytes(),
    })
}

/// Goes to a branch or commit.
fn go(call: &mut Call<'_>, given: &Given, name: &[u8], switch: bool) -> Run<i32> {
    if !given.has("detach") && !switch && (name == b"HEAD" || name == b"@") && call.head_oid()?.is_some() {
        // HEAD stays what it is, on a branch or not.
        if given.has("force")
            && let Some(head) = call.head_oid()?
        {
            super::reset::hard(call, &head)?;
        }
        let Some(head) = call.head_oid()? else { return Ok(0) };
        if call.site.is_directory() && name == b"@" {
            return unavailable("git checkout of @");
        }
        show_changes_of(call, given, &head)?;
        show_tracking(call, given)?;
        return Ok(0);
    }
    let before = match name {
        b"-" => call.branch_before(1)?,
        _ => match super::revision::before(name) {
            Some(number) => call.branch_before(number)?,
            None => None,
        },
    };
    let unknown: &[u8] = if switch && name == b"-" { b"@{-1}" } else { name };
    let name = before.as_deref().unwrap_or(unknown);
    let full = [HEADS, name].concat();
    let text = String::from_utf8_lossy(name).into_owned();
    let to_branch = !given.has("detach") && call.read_ref(&full)?.is_some();
    let Some(oid) = call.resolve_commit(name)? else {
        if call.resolve(name)?.is_some() {
            return Err(call.die(format!("Cannot switch branch to a non-commit '{text}'")));
        }
        if switch || given.dashes.is_some() {
            return Err(call.die(format!("invalid reference: {text}")));
        }
        call.error(format!("pathspec '{text}' did not match any file(s) known to git"));
        return Err(Stop::Exit(1));
    };
    if switch && !to_branch && !given.has("detach") {
        return unavailable("git switch to something else than a branch");
    }
    let head = call.head()?;
    let head_oid = call.head_oid()?;
    let from = from_name(call)?;
    let same = to_branch && head == Head::Branch(full.clone());
    switch_tree(call, head_oid, &oid, given.has("force"))?;
    show_changes_of(call, given, &oid)?;
    let quiet = given.has("quiet");
    if !quiet
        && let Head::Detached(before) = head
        && (before != oid || to_branch)
    {
        // Git looks for commits that no ref would reach any more.
        if !reached(call, &before, &oid)? {
            return unavailable("leaving commits that no branch has");
        }
        if before != oid {
            describe(call, "Previous HEAD position was", &before)?;
        }
    }
    if to_branch {
        let message = log_name::moving(&from, name);
        call.set_head(&Head::Branch(full), &message)?;
        if !quiet {
            let what = if same { "Already on" } else { "Switched to branch" };
            call.err.extend_from_slice(format!("{what} '{text}'\n").as_bytes());
        }
        show_tracking(call, given)?;
        return Ok(0);
    }
    let advice = !quiet && matches!(head, Head::Branch(_)) && !given.has("detach");
    if advice {
        let lines = format!(
            "Note: switching to '{text}'.\n\nYou are in 'detached HEAD' state. You can look around, make experimental\nchanges and commit them, and you can discard any commits you make in this\nstate without impacting any branches by switching back to a branch.\n\nIf you want to create a new branch to retain commits you create, you may\ndo so (now or later) by using -c with the switch command. Example:\n\n  git switch -c <new-branch-name>\n\nOr undo this operation with:\n\n  git switch -\n\nTurn off this advice by setting config variable advice.detachedHead to false\n\n"
        );
        call.err.extend_from_slice(lines.as_bytes());
    }
    let logged: &[u8] = if name == b"@" { b"HEAD" } else { name };
    let message = log_name::moving(&from, logged);
    call.set_head(&Head::Detached(oid), &message)?;
    if !quiet {
        describe(call, "HEAD is now at", &oid)?;
    }
    Ok(0)
}

fn describe(call: &mut Call<'_>, what: &str, oid: &Oid) -> Run<()> {
    let commit = call.commit(oid)?;
    let short = call.short(oid)?;
    say(
        &mut call.err,
        &[
            what.as_bytes(),
            b" ",
            short.as_bytes(),
            b" ",
            &commit.shown_subject()?,
            b"\n",
        ],
    );
    Ok(())
}

fn reached(call: &mut Call<'_>, oid: &Oid, going_to: &Oid) -> Run<bool> {
    if super::merge_base::is_ancestor(call, oid, going_to)? {
        return Ok(true);
    }
    for (_, tip) in call.refs(b"refs/")? {
        if let Some(tip) = call.peel(&tip, Some(crate::ObjectKind::Commit))?
            && super::merge_base::is_ancestor(call, oid, &tip)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The index and the work tree go from one commit to another; what was changed and is the same in both stays.
pub(crate) fn switch_tree(call: &mut Call<'_>, from: Option<Oid>, to: &Oid, force: bool) -> Run<()> {
    if force {
        return super::reset::hard(call, to);
    }
    if call.site.is_directory() {
        return super::twoway::switch(call, from, to);
    }
    let old = from.map_or(View::Empty, View::Of);
    let changes = call.site.changes(old, View::Of(*to))?;
    let (mut staged, mut local, mut fresh, mut writes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut ignored = super::ignored::Ignored::new(call)?;
    let file = |found: Option<Found>| match found {
        Some(Found::File(version)) => Some(version),
        _ => None,
    };
    for change in &changes {
        let index_found = call.site.find(View::Index, &change.path)?;
        let work_found = call.site.find(View::Work, &change.path)?;
        if matches!(index_found, Some(Found::Directory))
            || matches!(work_found, Some(Found::Directory)) && change.new.is_some()
        {
            return unavailable("a checkout in which a directory becomes a file");
        }
        let (index, work) = (file(index_found), file(work_found));
        if change.new.is_none() && index.is_none() && work.is_some() {
            return unavailable("a checkout without a file that is not tracked any more and is still there");
        }
        if !call.differs(index.as_ref(), change.new.as_ref())? {
            // It is so already.
            continue;
        }
        if call.differs(index.as_ref(), change.old.as_ref())? {
            staged.push(change.path.clone());
        } else if index.is_some() && call.differs(work.as_ref(), index.as_ref())? {
            // A file that was deleted is simply written again.
            if work.is_some() || change.new.is_none() && work.is_some() {
                local.push(change.path.clone());
                continue;
            }
            writes.push(change);
        } else if index.is_none() && work.is_some() {
            let is_lost = call.differs(work.as_ref(), change.new.as_ref())?;
            // What is ignored may be overwritten.
            if is_lost && !ignored.is_ignored(call, &change.path, false)? {
                fresh.push(change.path.clone());
            } else {
                writes.push(change);
            }
        } else {
            if change.new.is_some() && work.is_none() && blocked(call, &change.path)? {
                return unavailable("a checkout in which a file becomes a directory");
            }
            writes.push(change);
        }
    }
    // Git meets them name by name in its trees, in the order of whole paths in its index.
    let by_names = |path: &Vec<u8>| path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    for paths in [&staged, &local, &fresh] {
        let mut sorted = paths.clone();
        sorted.sort_by_cached_key(by_names);
        if sorted != *paths {
            return unavailable("a refused checkout of files whose order is git's own");
        }
    }
    let mut refused = false;
    for (paths, what) in [
        (
            &staged,
            "Your local changes to the following files would be overwritten by checkout:",
        ),
        (
            &local,
            "Your local changes to the following files would be overwritten by checkout:",
        ),
        (
            &fresh,
            "The following untracked working tree files would be overwritten by checkout:",
        ),
    ] {
        if paths.is_empty() {
            continue;
        }
        refused = true;
        call.error(what);
        for path in paths {
            say(&mut call.err, &[b"\t", path, b"\n"]);
        }
        let hint: &[u8] = if std::ptr::eq(paths, &raw const fresh) {
            b"Please move or remove them before you switch branches.\n"
        } else {
            b"Please commit your changes or stash them before you switch branches.\n"
        };
        call.err.extend_from_slice(hint);
    }
    if refused {
        call.err.extend_from_slice(b"Aborting\n");
        return Err(Stop::Exit(1));
    }
    for change in writes.iter().filter(|change| change.new.is_none()) {
        call.site.stage(&change.path, None)?;
        call.site.put(&change.path, None)?;
    }
    for change in writes {
        if let Some(new) = &change.new {
            super::attributes::check_written(call, &change.path, new)?;
            call.site.stage(&change.path, Some(new))?;
            call.site.put(&change.path, Some(new))?;
        }
    }
    Ok(())
}

/// Whether a file stands where a directory has to be.
pub(crate) fn blocked(call: &mut Call<'_>, path: &[u8]) -> Run<bool> {
    for above in directories_above(path) {
        if matches!(call.site.find(View::Work, above)?, Some(Found::File(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn paths(call: &mut Call<'_>, given: &Given, source: View, words: &[Vec<u8>], counted: bool) -> Run<i32> {
    let pathspec = Pathspec::parse(call, words)?;
    let index = source != View::Index;
    let count = put_paths(call, &pathspec, source, index, true, true)?;
    if counted && !given.has("quiet") && given.dashes.is_none() {
        let from = match source {
            View::Of(oid) => {
                let oid = call.peel(&oid, Some(crate::ObjectKind::Tree))?.unwrap_or(oid);
                call.short(&oid)?
            }
            _ => "the index".to_owned(),
        };
        let s = if count == 1 { "" } else { "s" };
        call.err
            .extend_from_slice(format!("Updated {count} path{s} from {from}\n").as_bytes());
    }
    Ok(0)
}
