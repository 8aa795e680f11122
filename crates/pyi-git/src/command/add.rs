//! `git add`.

use super::args::{self, Takes};
use super::ignored::Ignored;
use super::pathspec::{Item, Pathspec};
use super::{Call, Change, Found, Run, View, unavailable};
use crate::path::directories_above;

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("A|all", Takes::Nothing),
            ("no-ignore-removal", Takes::Nothing),
            ("u|update", Takes::Nothing),
            ("n|dry-run", Takes::Nothing),
            ("v|verbose", Takes::Nothing),
            ("f|force", Takes::Nothing),
        ],
    )?;
    let (all, update) = (given.has("all") || given.has("no-ignore-removal"), given.has("update"));
    if all && update {
        return Err(call.die("options '-A' and '-u' cannot be used together"));
    }
    if given.rest.is_empty() && !all && !update {
        call.err.extend_from_slice(b"Nothing specified, nothing added.\nhint: Maybe you wanted to say 'git add .'?\nhint: Disable this message with \"git config advice.addEmptyPathspec false\"\n");
        return Ok(0);
    }
    let pathspec = Pathspec::parse(call, &given.rest)?;
    let force = given.has("force");
    let (tracked, mut fresh) = changes(call, &pathspec, force, update)?;
    let mut ignored = Ignored::new(call)?;
    if update {
        fresh.clear();
    } else if !force && !call.site.is_directory() {
        let mut kept = Vec::with_capacity(fresh.len());
        for change in fresh {
            if !ignored.is_ignored(call, &change.path, false)? {
                kept.push(change);
            }
        }
        fresh = kept;
    }
    if !update && let Some(directory) = missing_directory(call, &pathspec, &mut ignored)? {
        let directory = String::from_utf8_lossy(&directory).into_owned();
        let warning = format!("warning: could not open directory '{directory}': No such file or directory\n");
        call.err.extend_from_slice(warning.as_bytes());
    }
    let refused = match update {
        true => {
            for item in &pathspec.items {
                if !item.path.is_empty() && !call.means_something(item, View::Index)? {
                    return unavailable("git add -u of a path that is not tracked");
                }
            }
            Vec::new()
        }
        false => check(call, &pathspec, &fresh, &mut ignored, force)?,
    };
    let (dry, verbose) = (given.has("dry-run"), given.has("verbose") || given.has("dry-run"));
    super::attributes::check_content(call, tracked.iter().chain(&fresh))?;
    if !refused.is_empty() {
        call.err
            .extend_from_slice(b"The following paths are ignored by one of your .gitignore files:\n");
        for path in &refused {
            let path = path.clone();
            super::say(&mut call.err, &[&path, b"\n"]);
        }
        call.err.extend_from_slice(b"hint: Use -f if you really want to add them.\nhint: Disable this message with \"git config advice.addIgnoredFile false\"\n");
    }
    for change in tracked.iter().chain(&fresh) {
        if verbose {
            let word: &[u8] = if change.new.is_some() { b"add '" } else { b"remove '" };
            call.line(&[word, &change.path, b"'"]);
        }
        if !dry {
            call.site.stage(&change.path, change.new.as_ref())?;
        }
    }
    Ok(i32::from(!refused.is_empty()))
}

/// What differs of tracked files, and the files that are not tracked.
fn changes(call: &mut Call<'_>, pathspec: &Pathspec, force: bool, update: bool) -> Run<(Vec<Change>, Vec<Change>)> {
    let within = pathspec.roots();
    if !call.site.is_directory() {
        let mut changes = call.site.changes(View::Index, View::Work)?;
        changes.retain(|change| pathspec.matches(&change.path));
        return Ok(changes.into_iter().partition(|change| change.old.is_some()));
    }
    if !update {
        call.site.expect_untracked(false, force, &within);
    }
    let mut tracked = call.site.tracked_changes(View::Index, &within)?;
    tracked.retain(|change| pathspec.matches(&change.path));
    let mut fresh = Vec::new();
    if !update {
        for path in call.site.untracked(false, force, &within)?.unwrap_or_default() {
            if !pathspec.matches(&path) {
                continue;
            }
            if let Some(Found::File(version)) = call.site.find(View::Work, &path)? {
                fresh.push(Change {
                    path,
                    old: None,
                    new: Some(version),
                });
            }
        }
    }
    Ok((tracked, fresh))
}

/// The paths that were named and are ignored; git's complaint about those that are not there.
fn check(
    call: &mut Call<'_>,
    pathspec: &Pathspec,
    fresh: &[Change],
    ignored: &mut Ignored,
    force: bool,
) -> Run<Vec<Vec<u8>>> {
    let mut refused: Vec<Vec<u8>> = Vec::new();
    for item in &pathspec.items {
        if item.wild && !force && call.site.find(View::Work, b".gitignore")?.is_some() {
            return unavailable("git add of a pattern beside ignore rules");
        }
        // A directory that is ignored hides what is in it, tracked or not.
        if !force
            && !item.wild
            && let Some(directory) = ignored_directory(call, ignored, item)?
        {
            refused.push(directory);
            continue;
        }
        if item.path.is_empty()
            || fresh.iter().any(|change| item.matches(&change.path))
            || call.means_something(item, View::Index)?
        {
            continue;
        }
        let there = call.site.find(View::Work, &item.path)?;
        let is_no_directory = item.given.ends_with(b"/") && !matches!(there, Some(Found::Directory));
        let Some(there) = there.filter(|_| !is_no_directory) else {
            let message = [b"pathspec '", item.given.as_slice(), b"' did not match any files"].concat();
            return Err(call.die(message));
        };
        if !force && !item.wild && matches!(there, Found::File(_)) && ignored.is_ignored(call, &item.path, false)? {
            refused.push(item.path.clone());
        }
    }
    refused.sort();
    refused.dedup();
    Ok(refused)
}

/// The directory that all paths are in, if it is gone and one above it is there: git looks into it, and says so.
pub(crate) fn missing_directory(
    call: &mut Call<'_>,
    pathspec: &Pathspec,
    ignored: &mut Ignored,
) -> Run<Option<Vec<u8>>> {
    let Some((first, others)) = pathspec.items.split_first() else {
        return Ok(None);
    };
    if pathspec.items.iter().any(|item| item.wild) {
        return Ok(None);
    }
    let whole = |item: &Item| {
        let slash: &[u8] = if item.given.ends_with(b"/") && !item.path.is_empty() {
            b"/"
        } else {
            b""
        };
        [item.path.as_slice(), slash].concat()
    };
    let mut common = whole(first);
    for item in others {
        let other = whole(item);
        let same = common.iter().zip(&other).take_while(|(a, b)| a == b).count();
        common.truncate(same);
    }
    let Some(end) = common.iter().rposition(|&byte| byte == b'/') else {
        return Ok(None);
    };
    common.truncate(end);
    let top = directories_above(&common).next().unwrap_or_default();
    let is_directory = |call: &mut Call<'_>, path: &[u8]| -> Run<bool> {
        Ok(matches!(call.site.find(View::Work, path)?, Some(Found::Directory)))
    };
    if top.is_empty() || !is_directory(call, top)? || is_directory(call, &common)? {
        return Ok(None);
    }
    if ignored.is_ignored(call, &common, true)? {
        return unavailable("git add of a path in an ignored directory that is gone");
    }
    common.push(b'/');
    Ok(Some(common))
}

/// The topmost directory of the work tree, of those above a path and the path itself, that is ignored.
fn ignored_directory(call: &mut Call<'_>, ignored: &mut Ignored, item: &Item) -> Run<Option<Vec<u8>>> {
    let path = &item.path;
    for part in directories_above(path).chain([path.as_slice()]) {
        if part.is_empty() || !matches!(call.site.find(View::Work, part)?, Some(Found::Directory)) {
            break;
        }
        if ignored.is_ignored(call, part, true)? {
            return Ok(Some(part.to_vec()));
        }
    }
    Ok(None)
}
