//! `pyi changes`: what differs between two versions.

use std::collections::HashSet;

use clap::{ArgMatches, Command};
use pyi_engine::{Bytes, Change, Checkpoint, Entry, EntryKind, Id, Repository, Version};

use super::{Verb, change_json, change_lines};
use crate::cli::{flag, optional, text, word};
use crate::context::Context;
use crate::failure::{DONE, FAILED, Failure, NEGATIVE, Result};
use crate::json::{Json, object};
use crate::patch::{Counts, FilePair, Side, has_lines, is_content_same};
use crate::revision::{REVISION_HELP, Revision, checkpoint};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "changes",
    about: "Show what differs between two versions",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("a", "A", "The version to look at; with B, the older one").required(true))
        .arg(word("b", "B", "The newer version"))
        .arg(flag("patch", "Show the changed lines, as a patch for `git apply`").short('p'))
        .arg(flag("stat", "Count the changed lines"))
        .arg(flag("renames", "Show a file that was removed and one of the same content that was added as moved"))
        .arg(flag("exit-code", "Exit with 1 if there are differences (and with 3 if a version is not there)"))
        .after_help(format!(
            "With A alone: all that A changed, counted from where it began: back along first parents to the nearest checkpoint\n\
             that was imported or that a branch stands at. If A is such a checkpoint itself, from its first parent (or from\n\
             nothing). `pyi changes A^ A` is the last step alone.\n\
             A line is `A` (added), `D` (removed), `M` (content, mode or kind) and a path, or `R` and two paths.\n\n\
             {REVISION_HELP}\n\n\
             Examples:\n  \
             pyi changes attempt-1 --stat\n  \
             pyi changes main attempt-1 -p | git apply\n  \
             pyi changes --exit-code attempt-1 attempt-2"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let with_status = matches.get_flag("exit-code");
    let compared = compare(matches, context).map_err(|failure| match failure.status {
        // 1 is the answer to --exit-code and to nothing else.
        NEGATIVE if with_status => Failure::new(FAILED, failure.line()),
        _ => failure,
    })?;
    Ok(if with_status && compared { NEGATIVE } else { DONE })
}

/// Answers; whether there are differences.
fn compare(matches: &ArgMatches, context: &Context) -> Result<bool> {
    let repository = context.repository()?;
    let first = Revision::resolve(&repository, text(matches, "a"))?;
    let (old, new) = match optional(matches, "b") {
        Some(second) => (Some(first.id), Revision::resolve(&repository, second)?),
        None => (beginning(&repository, &first.id)?, first),
    };
    let versions = Versions {
        old: old.map(|id| checkpoint(&repository, &id)).transpose()?,
        new: new.checkpoint(&repository)?,
    };
    let changes = match &versions.old {
        Some(old) => {
            let workspace = repository.workspace_at(new.id)?;
            workspace.diff(Some(&Version::Checkpoint(old.clone())), matches.get_flag("renames"))?
        }
        None => everything(&versions.new)?,
    };
    let (patch, stat) = (matches.get_flag("patch"), matches.get_flag("stat"));
    let shown = changes
        .iter()
        .map(|change| versions.show(&repository, change, patch, stat))
        .collect::<Result<Vec<_>>>()?;
    let mut items = Vec::new();
    for (change, shown) in changes.iter().zip(&shown) {
        let mut item = change_json(&repository, change)?;
        if stat {
            item = item.with("insertions", shown.counts.map(|counts| counts.insertions));
            item = item.with("deletions", shown.counts.map(|counts| counts.deletions));
        }
        if patch {
            item = item.with("patch", Json::from(shown.patch.as_slice()));
        }
        items.push(item);
    }
    let json = || {
        object([
            ("old", old.as_ref().into()),
            ("new", Json::from(&new.id)),
            ("changes", Json::Array(items)),
        ])
    };
    let lines = || {
        let mut lines = if stat || !patch {
            listing(&changes, &shown, stat)
        } else {
            Vec::new()
        };
        if stat && patch && !changes.is_empty() {
            lines.push(b'\n');
        }
        shown.iter().for_each(|shown| lines.extend_from_slice(&shown.patch));
        lines
    };
    context.answer(json, lines)?;
    Ok(!changes.is_empty())
}

/// Where the work that led to `id` began; `None` if with nothing.
fn beginning(repository: &Repository, id: &Id) -> Result<Option<Id>> {
    let heads: HashSet<Id> = repository.branches()?.into_values().collect();
    let is_start = |checkpoint: &Checkpoint| {
        let imported = checkpoint.root().metadata.get("git").is_some();
        imported || heads.contains(checkpoint.id()) || checkpoint.root().parents.is_empty()
    };
    let mut at = checkpoint(repository, id)?;
    if is_start(&at) {
        return Ok(at.root().parents.first().copied());
    }
    while !is_start(&at) {
        let Some(parent) = at.root().parents.first().copied() else {
            break;
        };
        at = checkpoint(repository, &parent)?;
    }
    Ok(Some(*at.id()))
}

/// All files of a version, as added.
fn everything(version: &Checkpoint) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for entry in version.walk(b"")? {
        let entry = entry?;
        changes.push(Change {
            path: entry.path.clone(),
            kind: pyi_engine::ChangeKind::Added,
            old: None,
            new: Some(entry),
        });
    }
    Ok(changes)
}

struct Versions {
    old: Option<Checkpoint>,
    new: Checkpoint,
}

/// What is to be shown of one change.
#[derive(Default)]
struct Shown {
    counts: Option<Counts>,
    patch: Vec<u8>,
}

impl Versions {
    fn show(&self, repository: &Repository, change: &Change, patch: bool, stat: bool) -> Result<Shown> {
        let mut shown = Shown::default();
        if !(patch || stat) || !has_lines(change) {
            return Ok(shown);
        }
        let same = is_content_same(change);
        let side = |version: Option<&Checkpoint>, entry: Option<&Entry>| -> Result<Option<Side>> {
            let (Some(version), Some(entry)) = (version, entry) else {
                return Ok(None);
            };
            let content = if same {
                Bytes::new()
            } else {
                content(repository, version, entry)?
            };
            Ok(Some(Side {
                path: entry.path.clone(),
                mode: entry.mode,
                content,
            }))
        };
        let pair = FilePair {
            old: side(self.old.as_ref(), change.old.as_ref())?,
            new: side(Some(&self.new), change.new.as_ref())?,
        };
        if stat {
            shown.counts = pair.counts();
        }
        if patch {
            pair.write(&mut shown.patch);
        }
        Ok(shown)
    }
}

/// The content of an entry, as git's diff shows it.
fn content(repository: &Repository, version: &Checkpoint, entry: &Entry) -> Result<Bytes> {
    if entry.kind() != EntryKind::Gitlink {
        return Ok(version.read(&entry.path)?);
    }
    let name = repository.entry_ids().of(entry)?.to_string();
    // A SHA-1 name is padded with zeros to the length of an id.
    let name = name.strip_suffix(&"0".repeat(24)).unwrap_or(&name);
    Ok(Bytes::from(format!("Subproject commit {name}\n")))
}

fn listing(changes: &[Change], shown: &[Shown], stat: bool) -> Vec<u8> {
    if !stat {
        return change_lines(changes);
    }
    let mut out = Vec::new();
    let mut total = Counts::default();
    let numbers: Vec<String> = changes
        .iter()
        .zip(shown)
        .map(|(change, shown)| match shown.counts {
            Some(counts) => {
                total.insertions += counts.insertions;
                total.deletions += counts.deletions;
                format!("+{} -{}", counts.insertions, counts.deletions)
            }
            None if has_lines(change) => "binary".to_owned(),
            None => "-".to_owned(),
        })
        .collect();
    let width = numbers.iter().map(String::len).max().unwrap_or_default();
    for (change, numbers) in changes.iter().zip(&numbers) {
        out.extend_from_slice(format!("{numbers:>width$}  ").as_bytes());
        out.extend(text::change(change));
    }
    let files = text::count(changes.len() as u64, "file");
    out.extend_from_slice(format!("{files} changed, +{} -{}\n", total.insertions, total.deletions).as_bytes());
    out
}
