//! `pyi join`: merge another version into a named workspace.

use clap::{ArgMatches, Command};
use pyi_engine::{Conflict, Id, Repository, Value, Version};

use super::{Verb, change_lines, changes_json, conflict_json, conflict_lines};
use crate::cli::{flag, message, option, optional, text, word};
use crate::context::Context;
use crate::failure::{DONE, Failure, NEGATIVE, Result};
use crate::json::{Json, object};
use crate::revision::{REVISION_HELP, Revision, checkpoint, open_workspace};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "join",
    about: "Merge another version into a named workspace",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("name", "NAME", "The workspace that takes the changes").required(true))
        .arg(word("other", "OTHER", "The revision that they come from").required(true))
        .arg(option("base", "REVISION", "Count the changes from here [default: the newest common ancestor]"))
        .arg(flag("keep", "Join also if something clashes; `pyi resolve` settles that later"))
        .arg(message("The checkpoint's message [default: `join OTHER`]"))
        .after_help(format!(
            "Files are merged by path and, in text, by lines; state by key. If that is clean, a checkpoint with both as parents\n\
             is made. If not, the conflicts are listed, nothing changes, and the exit status is 1. With --keep the checkpoint is made all\n\
             the same: text that clashes stands between markers, anything else is as in NAME, and the exit status is 1 too.\n\n{REVISION_HELP}\n\n\
             Examples:\n  \
             pyi join attempt-1 attempt-2\n  \
             pyi join attempt-1 main -m 'catch up with main'"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let (name, spec) = (text(matches, "name"), text(matches, "other"));
    let workspace = open_workspace(&repository, name)?;
    let other = Revision::resolve(&repository, spec)?;
    let base = optional(matches, "base")
        .map(|base| Revision::resolve(&repository, base))
        .transpose()?;
    let before = *workspace.head().id();
    if base.is_none() && contains(&repository, &before, &other.id)? {
        answer(
            context,
            &repository,
            name,
            &before,
            Outcome::Already,
            &format!("{spec} is in it already"),
        )?;
        return Ok(DONE);
    }
    let base = base.map(|base| Version::Id(base.id));
    let (other, keeps) = (Version::Id(other.id), matches.get_flag("keep"));
    let conflicts = match keeps {
        true => workspace.merge_keeping(&other, base.as_ref())?,
        false => workspace.merge(&other, base.as_ref())?,
    };
    if !conflicts.is_empty() && !keeps {
        answer(context, &repository, name, &before, Outcome::Conflicts(&conflicts), "")?;
        let count = text::count(conflicts.len() as u64, "conflict");
        return Err(Failure::new(
            NEGATIVE,
            format!(
                "{count} between {name} and {spec}, nothing was changed; settle them in one of the two and join again, or --keep them"
            ),
        ));
    }
    let changes = workspace.diff(None, false)?;
    let message = optional(matches, "message").map_or_else(|| format!("join {spec}"), str::to_owned);
    let made = workspace.checkpoint(&message, Value::Null)?;
    let outcome = Outcome::Joined(&changes, &conflicts);
    answer(context, &repository, name, made.id(), outcome, "")?;
    if conflicts.is_empty() {
        return Ok(DONE);
    }
    let count = text::count(conflicts.len() as u64, "conflict");
    Err(Failure::new(
        NEGATIVE,
        format!("{count} between {name} and {spec} kept; `pyi resolve {name}` lists and settles them"),
    ))
}

/// What became of it.
enum Outcome<'a> {
    Already,
    /// What changed, and what clashes in it.
    Joined(&'a [pyi_engine::Change], &'a [Conflict]),
    Conflicts(&'a [Conflict]),
}

fn answer(
    context: &Context,
    repository: &Repository,
    name: &str,
    head: &Id,
    outcome: Outcome<'_>,
    remark: &str,
) -> Result<()> {
    let (changes, conflicts) = match outcome {
        Outcome::Already => (&[][..], &[][..]),
        Outcome::Joined(changes, conflicts) => (changes, conflicts),
        Outcome::Conflicts(conflicts) => (&[][..], conflicts),
    };
    let json = object([
        ("workspace", Json::from(name)),
        ("checkpoint", Json::from(head)),
        ("clean", conflicts.is_empty().into()),
        ("changes", changes_json(repository, changes)?),
        (
            "conflicts",
            conflicts
                .iter()
                .map(|conflict| conflict_json(repository, conflict))
                .collect::<Result<_>>()?,
        ),
    ]);
    let lines = || {
        let mut lines = change_lines(changes);
        lines.extend(conflict_lines(conflicts));
        if conflicts.is_empty() {
            let remark = if remark.is_empty() {
                String::new()
            } else {
                format!(", {remark}")
            };
            lines.extend_from_slice(format!("{name} is at {}{remark}\n", text::short(head)).as_bytes());
        }
        lines
    };
    context.answer(|| json, lines)
}

/// Whether `id` is `head` or before it. O(checkpoints newer than it).
fn contains(repository: &Repository, head: &Id, id: &Id) -> Result<bool> {
    let time_ns = checkpoint(repository, id)?.root().time_ns;
    for found in repository.log(head, None)? {
        let found = found?;
        if found.id() == id {
            return Ok(true);
        }
        if found.root().time_ns < time_ns {
            break;
        }
    }
    Ok(false)
}
