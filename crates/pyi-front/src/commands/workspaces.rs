//! `pyi workspaces`: what named workspaces there are.

use std::sync::Arc;

use clap::{ArgAction, ArgMatches, Command};
use pyi_engine::{Repository, Workspace};

use super::Verb;
use crate::cli::option;
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::revision::found;
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "workspaces",
    about: "List named workspaces, or give up their names",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(option("drop", "NAME", "Give up this name; may be given again").action(ArgAction::Append))
        .after_help(
            "A line has the name, the head's first digits, its time (UTC) and the first line of its message. The checkpoints of a\n\
             dropped workspace stay until retention ends.\n\n\
             Examples:\n  \
             pyi workspaces\n  \
             pyi workspaces --drop attempt-1 --drop attempt-2",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    if let Some(names) = matches.get_many::<String>("drop") {
        return drop_all(context, &repository, &names.map(String::as_str).collect::<Vec<_>>());
    }
    let mut all: Vec<Arc<Workspace>> = Vec::new();
    for name in repository.workspaces()? {
        // Somebody may have dropped it since.
        all.extend(found(repository.view_workspace(&name))?);
    }
    let row = |workspace: &Arc<Workspace>| {
        let head = workspace.head();
        vec![
            workspace.name().unwrap_or_default().to_owned(),
            text::short(head.id()),
            text::time(head.root().time_ns, false),
            text::first_line(&head.root().message),
        ]
    };
    let json = |workspace: &Arc<Workspace>| {
        let head = workspace.head();
        object([
            ("name", Json::from(workspace.name())),
            ("checkpoint", Json::from(head.id())),
            ("time", text::time(head.root().time_ns, true).into()),
            ("message", head.root().message.as_str().into()),
            ("files", workspace.len().into()),
            ("dirty", workspace.is_dirty().into()),
        ])
    };
    context.answer(
        || all.iter().map(json).collect(),
        || text::table(&all.iter().map(row).collect::<Vec<_>>(), 4),
    )?;
    Ok(DONE)
}

fn drop_all(context: &Context, repository: &Repository, names: &[&str]) -> Result<u8> {
    let mut known = repository.workspaces()?;
    known.extend(repository.superpositions()?);
    if let Some(unknown) = names.iter().find(|name| !known.iter().any(|known| known == *name)) {
        return Err(Failure::negative(format!(
            "workspace or superposition {unknown:?} does not exist and nothing was dropped; `pyi workspaces` and `pyi stats` list them"
        )));
    }
    for name in names {
        repository.drop_name(name)?;
    }
    context.answer(
        || object([("dropped", names.iter().map(|name| Json::from(*name)).collect())]),
        || {
            names
                .iter()
                .flat_map(|name| format!("{name} dropped\n").into_bytes())
                .collect()
        },
    )?;
    Ok(DONE)
}
