//! `pyi rewind`: a named workspace goes back (or on) to a checkpoint.

use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{text, word};
use crate::context::Context;
use crate::failure::{DONE, Result};
use crate::json::{Json, object};
use crate::revision::{REVISION_HELP, Revision, open_workspace};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "rewind",
    about: "Take a named workspace back to a checkpoint",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("name", "NAME", "The workspace").required(true))
        .arg(word("checkpoint", "REVISION", "Where to").required(true))
        .after_help(format!(
            "Files, state and journal go back together, in the same time whatever their size. Nothing is lost: the checkpoint\n\
             left behind is named in the answer, and `pyi rewind NAME` with its id goes there again.\n\n{REVISION_HELP}\n\n\
             Examples:\n  \
             pyi rewind attempt-1 attempt-1^\n  \
             pyi rewind attempt-1 3f2a9c11d0b4"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let name = text(matches, "name");
    let workspace = open_workspace(&repository, name)?;
    let target = Revision::resolve(&repository, text(matches, "checkpoint"))?;
    let previous = workspace.head();
    workspace.restore(&target.id)?;
    context.answer(
        || {
            object([
                ("workspace", Json::from(name)),
                ("checkpoint", Json::from(&target.id)),
                ("previous", Json::from(previous.id())),
            ])
        },
        || {
            format!(
                "{name} is at {}, was at {}\n",
                text::short(&target.id),
                text::short(previous.id())
            )
            .into_bytes()
        },
    )?;
    Ok(DONE)
}
