//! `git clean`: untracked files go.

use super::args::{self, Takes};
use super::ignored::Ignored;
use super::pathspec::Pathspec;
use super::quote::quoted;
use super::{Call, Found, Run, View, unavailable};
use crate::path::directories_above;

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("n|dry-run", Takes::Nothing),
            ("f|force", Takes::Nothing),
            ("d", Takes::Nothing),
            ("q|quiet", Takes::Nothing),
            ("x", Takes::Nothing),
        ],
    )?;
    let dry = given.has("dry-run");
    if !dry && !given.has("force") {
        return Err(call.die("clean.requireForce is true and -f not given: refusing to clean"));
    }
    let pathspec = Pathspec::parse(call, &given.rest)?;
    if !pathspec.is_empty() {
        return unavailable("git clean of paths");
    }
    let (directories, everything) = (given.has("d"), given.has("x"));
    let mut ignored = Ignored::new(call)?;
    let (mut gone, mut kept): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    for change in call.site.changes(View::Index, View::Work)? {
        if change.old.is_some() {
            continue;
        }
        if !everything && ignored.is_ignored(call, &change.path, false)? {
            kept.push(change.path);
        } else {
            gone.push(change.path);
        }
    }
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut removed: Vec<Vec<u8>> = Vec::new();
    for path in gone {
        let directory = untracked_directory(call, &path)?;
        let name = match directory {
            None => path.clone(),
            Some(_) if !directories => continue,
            Some(directory) => {
                if kept.iter().any(|kept| kept.starts_with(&directory)) {
                    return unavailable("git clean of a directory with ignored files in it");
                }
                directory
            }
        };
        removed.push(path);
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    let what: &[u8] = if dry { b"Would remove " } else { b"Removing " };
    for name in &names {
        if dry || !given.has("quiet") {
            call.line(&[what, &quoted(name)]);
        }
    }
    if !dry {
        for path in &removed {
            call.site.put(path, None)?;
        }
    }
    Ok(0)
}

/// The topmost directory above a path in which nothing is tracked, with a slash.
fn untracked_directory(call: &mut Call<'_>, path: &[u8]) -> Run<Option<Vec<u8>>> {
    for above in directories_above(path) {
        if !matches!(call.site.find(View::Index, above)?, Some(Found::Directory)) {
            return Ok(Some([above, b"/"].concat()));
        }
    }
    Ok(None)
}
