//! `git show`.

use std::collections::HashSet;

use super::args::{self, Takes};
use super::diff::{Format, Options, Pair, TABLE, pairs, print, shows_nothing};
use super::log::{LOOKS, show, style};
use super::names::ReadCommit;
use super::pathspec::Pathspec;
use super::pretty::Style;
use super::{Call, Run, View, say, unavailable};
use crate::tree::TreeIter;
use crate::{ObjectKind, Oid};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let mut table: Vec<(&str, Takes)> = TABLE.to_vec();
    table.extend_from_slice(LOOKS);
    let given = args::parse(call, argv, &table)?;
    let style = style(call, &given)?;
    let mut options = Options::from(call, &given)?;
    options.or_patch();
    if options.zero {
        return unavailable("git show -z");
    }
    let (mut revisions, paths) = call.revisions_and_paths(&given.rest, given.dashes)?;
    let pathspec = Pathspec::parse(call, &paths)?;
    if revisions.is_empty() {
        revisions.push(b"HEAD".to_vec());
    }
    if revisions.len() > 1 {
        return unavailable("git show of several objects");
    }
    for revision in &revisions {
        let Some(oid) = call.resolve(revision)? else {
            if revision == b"HEAD" {
                let head = String::from_utf8_lossy(&call.site.admin(b"HEAD")?.unwrap_or_default()).into_owned();
                let name = head.trim().rsplit("refs/heads/").next().unwrap_or("").to_owned();
                return Err(call.die(format!("your current branch '{name}' does not have any commits yet")));
            }
            return unavailable("git show of a range");
        };
        let object = call.read(&oid)?;
        match object.kind {
            ObjectKind::Blob => {
                call.out.extend_from_slice(&object.data);
            }
            ObjectKind::Tree => tree(call, revision, &oid, &object.data)?,
            ObjectKind::Tag => return unavailable("git show of an annotated tag"),
            ObjectKind::Commit => {
                let commit = call.commit(&oid)?;
                if commit.parents.len() > 1 && !options.formats.is_empty() && pathspec.is_empty() {
                    merge(call, &commit, &style, &options)?;
                    continue;
                }
                let old = commit.parents.first().map_or(View::Empty, |parent| View::Of(*parent));
                if !pathspec.is_empty() {
                    if commit.parents.len() > 1 {
                        return unavailable("git show of a merge with paths");
                    }
                    let changes = call.site.changes(old, View::Of(oid))?;
                    if !changes.iter().any(|change| pathspec.matches(&change.path)) {
                        continue;
                    }
                }
                show(call, &commit, &style, &options, &pathspec)?;
            }
        }
    }
    Ok(0)
}

/// A merge: statistics against the first parent, and of the rest what differs from all parents.
fn merge(call: &mut Call<'_>, commit: &ReadCommit, style: &Style, options: &Options) -> Run<()> {
    let everything = Pathspec::default();
    let mut sides = Vec::with_capacity(commit.parents.len());
    for parent in &commit.parents {
        sides.push(pairs(
            call,
            View::Of(*parent),
            View::Of(commit.oid),
            &everything,
            options,
        )?);
    }
    let is_statistic = |format: &Format| {
        matches!(
            format,
            Format::Stat | Format::ShortStat | Format::NumStat | Format::Summary
        )
    };
    let mut shared = sides.first().cloned().unwrap_or_default();
    for others in sides.iter().skip(1) {
        let paths: HashSet<&[u8]> = others.iter().map(Pair::path).collect();
        shared.retain(|pair| paths.contains(pair.path()));
    }
    if !options.formats.iter().all(is_statistic) && !shared.is_empty() {
        let [_, second] = &sides[..] else {
            return unavailable("the differences of a merge of many");
        };
        let mut nothing = options.formats.iter().all(|format| *format == Format::Patch);
        for pair in shared {
            let other = second.iter().find(|other| other.path() == pair.path());
            nothing = match other {
                Some(other) if nothing => shows_nothing(call, [&pair, other])?,
                _ => false,
            };
        }
        if !nothing {
            return unavailable("the differences of a merge");
        }
    }
    let first = sides.into_iter().next();
    let mut statistics = options.clone();
    statistics.formats.retain(is_statistic);
    call.show_commit(commit, style)?;
    call.out.push(b'\n');
    match first {
        Some(pairs) if !pairs.is_empty() && !statistics.formats.is_empty() => print(call, &pairs, &statistics),
        _ => Ok(()),
    }
}

fn tree(call: &mut Call<'_>, name: &[u8], oid: &Oid, data: &[u8]) -> Run<()> {
    call.line(&[b"tree ", name]);
    call.out.push(b'\n');
    for entry in TreeIter::new(oid.format(), data) {
        let Ok(entry) = entry else { break };
        let slash: &[u8] = if entry.is_tree() { b"/" } else { b"" };
        say(&mut call.out, &[entry.name, slash, b"\n"]);
    }
    Ok(())
}
