//! `git ls-files`.

use super::args::{self, Takes};
use super::ignored::Ignored;
use super::pathspec::Pathspec;
use super::quote::quoted;
use super::{Call, Found, Run, View, say, unavailable};
use crate::path::directories_above;

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("c|cached", Takes::Nothing),
            ("s|stage", Takes::Nothing),
            ("m|modified", Takes::Nothing),
            ("d|deleted", Takes::Nothing),
            ("o|others", Takes::Nothing),
            ("exclude-standard", Takes::Nothing),
            ("error-unmatch", Takes::Nothing),
            ("z", Takes::Nothing),
        ],
    )?;
    let pathspec = match given.rest.is_empty() {
        true => Pathspec::here(call),
        false => Pathspec::parse(call, &given.rest)?,
    };
    let zero = given.has("z");
    let end: &[u8] = if zero { b"\0" } else { b"\n" };
    let show = |call: &Call<'_>, path: &[u8]| {
        let path = call.relative(path);
        if zero { path } else { quoted(&path) }
    };
    let kinds = ["cached", "modified", "deleted", "others"];
    let asked: Vec<&str> = kinds.into_iter().filter(|kind| given.has(kind)).collect();
    if asked.len() > 1 || (given.has("stage") && !asked.is_empty()) {
        return unavailable("git ls-files with several kinds of files");
    }
    let kind = asked.first().copied().unwrap_or("cached");
    if given.has("error-unmatch") {
        if kind != "cached" {
            return unavailable("git ls-files --error-unmatch with other files");
        }
        let files = call.matching(&pathspec, View::Index)?;
        let missing = pathspec.unmatched(files.iter().map(|(path, _)| path.as_slice()));
        if let Some(item) = missing.first() {
            let message = [
                b"pathspec '",
                item.given.as_slice(),
                b"' did not match any file(s) known to git",
            ]
            .concat();
            for (path, _) in &files {
                let path = show(call, path);
                say(&mut call.out, &[&path, end]);
            }
            call.error(message);
            call.err.extend_from_slice(b"Did you forget to 'git add'?\n");
            return Ok(1);
        }
    }
    match kind {
        "others" => {
            let standard = given.has("exclude-standard");
            let mut ignored = Ignored::new(call)?;
            if super::add::missing_directory(call, &pathspec, &mut ignored)?.is_some() {
                return unavailable("a directory that is not there");
            }
            if let Some(found) = call.site.untracked(false, !standard, &pathspec.roots())? {
                for path in found.iter().filter(|path| pathspec.matches(path)) {
                    let path = show(call, path);
                    say(&mut call.out, &[&path, end]);
                }
                return Ok(0);
            }
            for change in call.site.changes(View::Index, View::Work)? {
                if change.old.is_some() || !pathspec.matches(&change.path) {
                    continue;
                }
                if standard && ignored.is_ignored(call, &change.path, false)? {
                    continue;
                }
                let path = show(call, &change.path);
                say(&mut call.out, &[&path, end]);
            }
        }
        "modified" | "deleted" => {
            for change in call.site.tracked_changes(View::Index, &pathspec.roots())? {
                let gone = change.new.is_none();
                if gone && below_a_link(call, &change.path)? {
                    return unavailable("files that are looked for through a link");
                }
                if change.old.is_some() && (gone || kind == "modified") && pathspec.matches(&change.path) {
                    let path = show(call, &change.path);
                    say(&mut call.out, &[&path, end]);
                }
            }
        }
        _ => {
            for (path, version) in call.matching(&pathspec, View::Index)? {
                if given.has("stage") {
                    let name = call.site.name(&version)?;
                    let start = format!("{:06o} {name} 0\t", version.mode);
                    call.out.extend_from_slice(start.as_bytes());
                }
                let path = show(call, &path);
                say(&mut call.out, &[&path, end]);
            }
        }
    }
    Ok(0)
}

/// Whether a path leads through a symlink: git finds there what the link leads to, and only here.
fn below_a_link(call: &mut Call<'_>, path: &[u8]) -> Run<bool> {
    for above in directories_above(path) {
        match call.site.find(View::Work, above)? {
            Some(Found::Directory) => {}
            Some(Found::File(version)) => return Ok(version.kind() == 0o120_000),
            None => break,
        }
    }
    Ok(false)
}
