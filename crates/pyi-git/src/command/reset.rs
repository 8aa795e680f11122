//! `git reset`.

use std::collections::BTreeMap;

use super::args::{self, Takes};
use super::diff::{Options, pairs};
use super::pathspec::Pathspec;
use super::{Call, Found, Run, Version, View, log_name, say, unavailable};
use crate::Oid;

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("soft", Takes::Nothing),
            ("mixed", Takes::Nothing),
            ("hard", Takes::Nothing),
            ("q|quiet", Takes::Nothing),
        ],
    )?;
    let mode = given.last_of(&["soft", "mixed", "hard"]);
    let quiet = given.has("quiet");
    let mut rest = given.rest.clone();
    let mut revision = b"HEAD".to_vec();
    let mut named = false;
    match (rest.first().cloned(), given.dashes) {
        (Some(first), dashes) if dashes != Some(0) => {
            if call.resolve(&first)?.is_some() {
                if dashes.is_none() && call.is_file_name(&first) {
                    let text = String::from_utf8_lossy(&first).into_owned();
                    return Err(call.die(format!("ambiguous argument '{text}': both revision and filename\nUse '--' to separate paths from revisions, like this:\n'git <command> [<revision>...] -- [<file>...]'")));
                }
                revision = first;
                named = true;
                rest.remove(0);
            } else if dashes.is_none() {
                let plain = first.iter().all(|byte| !b"*?[".contains(byte));
                let path = call.path_of(&first)?;
                if plain && !path.is_empty() && call.site.find(View::Work, &path)?.is_none() {
                    return Err(call.ambiguous(&first));
                }
            } else {
                return unavailable("git reset of a revision that is not there");
            }
        }
        _ => {}
    }
    let head = call.head_oid()?;
    let target = call.resolve_commit(&revision)?;
    if !rest.is_empty() {
        if let Some(mode @ ("soft" | "hard")) = mode {
            return Err(call.die(format!("Cannot do {mode} reset with paths.")));
        }
        if mode.is_some() {
            return unavailable("git reset --mixed with paths, which git warns of");
        }
        if target.is_none() && named {
            return unavailable("git reset of paths to a tree");
        }
        let pathspec = Pathspec::parse(call, &rest)?;
        let view = target.map_or(View::Empty, View::Of);
        for change in call.site.changes(View::Index, view)? {
            if pathspec.matches(&change.path) {
                call.site.stage(&change.path, change.new.as_ref())?;
            }
        }
        show_unstaged(call, quiet)?;
        return Ok(0);
    }
    let Some(target) = target else {
        if head.is_none() && !named {
            // Before the first commit there is nothing to go back to but nothing.
            if mode != Some("soft") {
                if mode == Some("hard") {
                    return unavailable("git reset --hard before the first commit");
                }
                if call.site.is_directory() {
                    return unavailable("git reset before the first commit");
                }
                call.site.set_index(View::Empty)?;
            }
            return Ok(0);
        }
        let text = String::from_utf8_lossy(&revision).into_owned();
        if let Some(oid) = call.resolve(&revision)? {
            let kind = call.kind(&oid)?;
            call.error(format!("object {oid} is a {kind}, not a commit"));
        }
        return Err(call.die(format!("Could not parse object '{text}'.")));
    };
    match mode {
        Some("soft") => {}
        Some("hard") => hard(call, &target)?,
        _ => call.site.set_index(View::Of(target))?,
    }
    if let Some(head) = head {
        call.site
            .set_admin(b"ORIG_HEAD", Some(format!("{head}\n").into_bytes().into()))?;
    } else if call.site.admin(b"ORIG_HEAD")?.is_some() {
        if call.site.is_directory() {
            return unavailable("git reset that takes ORIG_HEAD away");
        }
        call.site.set_admin(b"ORIG_HEAD", None)?;
    }
    let shown: &[u8] = if revision == b"@" { b"HEAD" } else { &revision };
    let message = log_name::reset(shown);
    call.move_head(&target, &message)?;
    match mode {
        Some("soft") => {}
        Some("hard") if quiet => {}
        Some("hard") => {
            let commit = call.commit(&target)?;
            let short = call.short(&target)?;
            say(
                &mut call.out,
                &[
                    b"HEAD is now at ",
                    short.as_bytes(),
                    b" ",
                    &commit.shown_subject()?,
                    b"\n",
                ],
            );
        }
        _ => show_unstaged(call, quiet)?,
    }
    Ok(0)
}

/// Says which files differ from the index; in a directory, what is found out on the way is kept with the index, `quiet` or not.
fn show_unstaged(call: &mut Call<'_>, quiet: bool) -> Run<()> {
    if quiet && !call.site.is_directory() {
        return Ok(());
    }
    let mut options = Options::new(call)?;
    options.renames = None;
    let pairs = pairs(call, View::Index, View::Work, &Pathspec::default(), &options)?;
    if quiet {
        return Ok(());
    }
    if call.site.is_directory() {
        for pair in pairs.iter().filter(|pair| pair.new.is_none()) {
            let is_hidden = matches!(call.site.find(View::Work, pair.path())?, Some(Found::Directory));
            if is_hidden || super::checkout::blocked(call, pair.path())? {
                return unavailable("a file that something else is in the place of");
            }
        }
    }
    if !pairs.is_empty() {
        call.line(&[b"Unstaged changes after reset:"]);
    }
    for pair in pairs {
        let letter = [pair.letter()];
        // Git does not quote here.
        call.line(&[&letter, b"\t", pair.path()]);
    }
    Ok(())
}

/// Index and tracked files become those of a commit. O(changed).
pub(crate) fn hard(call: &mut Call<'_>, target: &Oid) -> Run<()> {
    let view = View::Of(*target);
    if call.site.is_directory() {
        return hard_directory(call, view);
    }
    // What was tracked and is not in the commit goes; what is in the commit comes.
    for change in call.site.changes(View::Index, view)? {
        if change.new.is_none() && matches!(call.site.find(View::Work, &change.path)?, Some(Found::File(_))) {
            call.site.put(&change.path, None)?;
        }
    }
    for change in call.site.changes(View::Work, view)? {
        let Some(new) = &change.new else { continue };
        if change.old.is_none() && matches!(call.site.find(View::Work, &change.path)?, Some(Found::Directory)) {
            return unavailable("a reset in which a directory becomes a file");
        }
        super::attributes::check_written(call, &change.path, new)?;
        call.site.put(&change.path, Some(new))?;
    }
    Ok(call.site.set_index(view)?)
}

/// The same where files are looked at one by one: what differs from the index, or in the index from the commit.
fn hard_directory(call: &mut Call<'_>, view: View) -> Run<()> {
    let mut wanted: BTreeMap<Vec<u8>, Option<Version>> = BTreeMap::new();
    for change in call.site.tracked_changes(View::Index, &[])? {
        wanted.insert(change.path, change.old);
    }
    for change in call.site.changes(View::Index, view)? {
        wanted.insert(change.path, change.new);
    }
    for (path, version) in wanted {
        match version {
            Some(version) => call.site.put(&path, Some(&version))?,
            None => super::rm::take_away(call, &path)?,
        }
    }
    Ok(call.site.set_index(view)?)
}
