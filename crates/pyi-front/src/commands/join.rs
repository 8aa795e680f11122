//! `pyi join`: merge another version into a named workspace.

use clap::{ArgMatches, Command};
use pyi_engine::{Conflict, Id, Repository, Value, Version};

use super::{Verb, change_lines, changes_json, entry_json};
use crate::cli::{message, option, optional, text, word};
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
        .arg(message("The checkpoint's message [default: `join OTHER`]"))
        .after_help(format!(
            "Files are merged by path and, in text, by lines; state by key. If that is clean, a checkpoint with both as parents\n\
             is made. If not, the conflicts are listed, nothing changes, and the exit status is 1.\n\n{REVISION_HELP}\n\n\
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
    let conflicts = workspace.merge(&Version::Id(other.id), base.as_ref())?;
    if !conflicts.is_empty() {
        answer(context, &repository, name, &before, Outcome::Conflicts(&conflicts), "")?;
        let count = text::count(conflicts.len() as u64, "conflict");
        return Err(Failure::new(
            NEGATIVE,
            format!(
                "{count} between {name} and {spec}, nothing was changed; settle them in one of the two and join again"
            ),
        ));
    }
    let changes = workspace.diff(None, false)?;
    let message = optional(matches, "message").map_or_else(|| format!("join {spec}"), str::to_owned);
    let made = workspace.checkpoint(&message, Value::Null)?;
    answer(context, &repository, name, made.id(), Outcome::Joined(&changes), "")?;
    Ok(DONE)
}

/// What became of it.
enum Outcome<'a> {
    Already,
    Joined(&'a [pyi_engine::Change]),
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
        Outcome::Joined(changes) => (changes, &[][..]),
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
        for conflict in conflicts {
            lines.extend_from_slice(b"C ");
            lines.extend(text::quoted(&conflict.path));
            lines.extend_from_slice(format!(": {}\n", conflict.reason).as_bytes());
        }
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

fn conflict_json(repository: &Repository, conflict: &Conflict) -> Result<Json> {
    Ok(object([
        ("path", Json::from(conflict.path.as_slice())),
        ("reason", Json::from(&*conflict.reason)),
        ("base", entry_json(repository, conflict.base.as_ref())?),
        ("ours", entry_json(repository, conflict.ours.as_ref())?),
        ("theirs", entry_json(repository, conflict.theirs.as_ref())?),
    ]))
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
