//! `pyi checkpoint`: an immutable version of a named workspace.

use clap::{ArgMatches, Command};

use super::Verb;
use super::capture::{capture, checkpointed};
use crate::cli::{flag, message, optional, path, place, text, word};
use crate::context::Context;
use crate::failure::{DONE, Result};
use crate::revision::open_workspace;

pub(super) const VERB: Verb = Verb {
    name: "checkpoint",
    about: "Make a checkpoint of a named workspace",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("name", "NAME", "The workspace").required(true))
        .arg(message("What this checkpoint is"))
        .arg(place("dir", "DIR", "Capture this directory first").long("dir"))
        .arg(flag("no-ignore", "With --dir: take what git ignores too").requires("dir"))
        .after_help(
            "A checkpoint is made even if nothing changed, as a mark; `pyi capture` makes one only of changes. It survives\n\
             kill -9 of any process when this returns.\n\n\
             Examples:\n  \
             pyi checkpoint attempt-1 -m 'tests pass'\n  \
             pyi checkpoint attempt-1 --dir /tmp/attempt-1 -m 'after the refactoring'",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let workspace = open_workspace(&repository, text(matches, "name"))?;
    let changes = match path(matches, "dir") {
        Some(directory) => capture(&workspace, directory, matches.get_flag("no-ignore"))?,
        None => Vec::new(),
    };
    let message = optional(matches, "message").unwrap_or_default();
    let made = workspace.checkpoint(message, pyi_engine::Value::Null)?;
    checkpointed(context, &workspace, made.id(), &changes, true)?;
    Ok(DONE)
}
