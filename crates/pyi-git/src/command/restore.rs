//! `git restore`, and the paths that `git checkout` and `git reset` take from somewhere.

use std::collections::HashSet;

use super::args::{self, Takes};
use super::pathspec::Pathspec;
use super::{Call, Found, Run, Stop, Version, View, unavailable};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("S|staged", Takes::Nothing),
            ("W|worktree", Takes::Nothing),
            ("s|source", Takes::Value),
            ("q|quiet", Takes::Nothing),
        ],
    )?;
    if given.rest.is_empty() {
        return Err(call.die("you must specify path(s) to restore"));
    }
    let staged = given.has("staged");
    let work = given.has("worktree") || !staged;
    let source = match given.value("source") {
        Some(text) if super::revision::is_meeting(text) => {
            return unavailable("git restore from where revisions meet");
        }
        Some(text) => {
            let text = text.to_vec();
            match call.resolve(&text)? {
                Some(oid) => match call.peel(&oid, Some(crate::ObjectKind::Tree))? {
                    Some(_) => View::Of(call.peel(&oid, None)?.unwrap_or(oid)),
                    None => return unavailable("git restore from something else than a commit"),
                },
                None => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    return Err(call.die(format!("could not resolve {text}")));
                }
            }
        }
        None if staged => match call.head_oid()? {
            Some(head) => View::Of(head),
            None => return Err(call.die("could not resolve HEAD")),
        },
        None => View::Index,
    };
    let pathspec = Pathspec::parse(call, &given.rest)?;
    put_paths(call, &pathspec, source, staged, work, false)?;
    Ok(0)
}

/// Whether the index has this version at a path.
fn is_indexed(call: &mut Call<'_>, path: &[u8], version: &Version) -> Run<bool> {
    Ok(match call.site.find(View::Index, path)? {
        Some(Found::File(there)) => there.mode == version.mode && there.same_content(version),
        _ => false,
    })
}

/// Puts files of `source` into the index and the work tree; those that it has not go, unless they are to be kept. How many files
/// were written.
pub(crate) fn put_paths(
    call: &mut Call<'_>,
    pathspec: &Pathspec,
    source: View,
    index: bool,
    work: bool,
    keep: bool,
) -> Run<usize> {
    let files = call.matching(pathspec, source)?;
    let tracked = if keep {
        Vec::new()
    } else {
        call.matching(pathspec, View::Index)?
    };
    let mut is_missing = false;
    for item in &pathspec.items {
        let known = files.iter().chain(&tracked).any(|(path, _)| item.matches(path));
        if !known {
            let message = [
                b"pathspec '",
                item.given.as_slice(),
                b"' did not match any file(s) known to git",
            ]
            .concat();
            call.error(message);
            is_missing = true;
        }
    }
    if is_missing {
        return Err(Stop::Exit(1));
    }
    let mut count = 0;
    let kept: HashSet<&[u8]> = files.iter().map(|(path, _)| path.as_slice()).collect();
    for (path, _) in &tracked {
        if !kept.contains(path.as_slice()) {
            if index {
                call.site.stage(path, None)?;
            }
            if work {
                super::rm::take_away(call, path)?;
            }
        }
    }
    for (path, version) in &files {
        let mut changed = false;
        if index {
            let there = call.site.find(View::Index, path)?;
            let same = match there {
                Some(Found::File(there)) => !call.differs(Some(&there), Some(version))?,
                _ => false,
            };
            if !same {
                call.site.stage(path, Some(version))?;
                changed = true;
            }
        }
        if work {
            let there = call.site.find(View::Work, path)?;
            let same = match &there {
                Some(Found::Directory) => return unavailable("putting a file where a directory is"),
                // Git writes what it has no reason to believe to be the same.
                Some(Found::File(_)) if call.site.is_directory() => {
                    !changed && is_indexed(call, path, version)? && call.site.is_as_indexed(path, false)? == Some(true)
                }
                Some(Found::File(there)) => !call.differs(Some(there), Some(version))?,
                None => false,
            };
            if !same {
                super::attributes::check_written(call, path, version)?;
                call.site.put(path, Some(version))?;
                changed = true;
            }
        }
        count += usize::from(changed);
    }
    Ok(count)
}
