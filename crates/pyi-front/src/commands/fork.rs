//! `pyi fork`: a named workspace.

use clap::{ArgMatches, Command};

use pyi_engine::ErrorKind;

use super::Verb;
use crate::cli::{option, optional, text, word};
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::revision::{REVISION_HELP, Revision};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "fork",
    about: "Make a named workspace from a branch, workspace or checkpoint",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("name", "NAME", "The workspace's name").required(true))
        .arg(option("from", "REVISION", "Where it starts [default: branch main, or the only branch]"))
        .after_help(format!(
            "It costs the same whatever the size of the tree. A taken name is left alone (exit status 1).\n\n{REVISION_HELP}\n\n\
             Examples:\n  \
             pyi fork attempt-1\n  \
             pyi fork attempt-2 --from attempt-1\n  \
             pyi fork retry --from attempt-1~3"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let name = text(matches, "name");
    let (workspace, from) = match optional(matches, "from") {
        // Without any branch, a workspace begins with nothing.
        None if repository.branches()?.is_empty() => (repository.workspace("main")?, "nothing".to_owned()),
        from => {
            let (revision, from) = Revision::or_default(&repository, from)?;
            (revision.workspace(&repository)?, from)
        }
    };
    let fork = workspace.fork_named(name).map_err(|error| match error.kind() {
        ErrorKind::Conflict => Failure::negative(format!(
            "workspace {name:?} exists already; choose another name, or `pyi workspaces --drop {name}` first"
        )),
        _ => error.into(),
    })?;
    let head = fork.head();
    context.answer(
        || {
            object([
                ("workspace", Json::from(name)),
                ("checkpoint", Json::from(head.id())),
                ("from", Json::from(from.as_str())),
            ])
        },
        || format!("{name} is at {}, from {from}\n", text::short(head.id())).into_bytes(),
    )?;
    Ok(DONE)
}
