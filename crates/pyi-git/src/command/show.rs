//! `git show`.

use super::args::{self, Takes};
use super::diff::{Options, TABLE};
use super::log::{LOOKS, show, style};
use super::pathspec::Pathspec;
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
                if commit.parents.len() > 1 && !options.formats.is_empty() {
                    return unavailable("git show of a merge");
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
