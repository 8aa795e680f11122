//! `pyi publish`: a branch moves to a workspace's head.

use clap::{ArgMatches, Command};
use pyi_engine::{ErrorKind, Expect, Repository};

use super::Verb;
use crate::cli::{option, optional, text, word};
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::revision::{REVISION_HELP, Revision, found, open_workspace};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "publish",
    about: "Move a branch to a workspace's head",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("name", "NAME", "The workspace").required(true))
        .arg(word("branch", "BRANCH", "The branch").required(true))
        .arg(option(
            "expect",
            "REVISION|none",
            "Where the branch must be; none: it must not exist [default: where the workspace came from]",
        ))
        .after_help(format!(
            "The branch moves by compare-and-swap: if somebody else moved it, nothing changes and the exit status is 1.\n\n\
             {REVISION_HELP}\n\n\
             Examples:\n  \
             pyi publish attempt-1 main\n  \
             pyi publish attempt-1 done --expect none"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let (name, branch) = (text(matches, "name"), text(matches, "branch"));
    let workspace = open_workspace(&repository, name)?;
    let expect = match optional(matches, "expect") {
        None => Expect::Origin,
        Some("none") => Expect::Absent,
        Some(word) => Expect::Is(Revision::resolve(&repository, word)?.id),
    };
    let previous = found(repository.branch(branch))?;
    if workspace.is_dirty() {
        return Err(Failure::negative(format!(
            "{name} has events after its last checkpoint; `pyi checkpoint {name}`, then publish again"
        )));
    }
    workspace.publish(branch, expect).map_err(|error| match error.kind() {
        ErrorKind::Conflict => refused(&repository, name, branch, expect),
        _ => error.into(),
    })?;
    let head = workspace.head();
    context.answer(
        || {
            object([
                ("branch", Json::from(branch)),
                ("checkpoint", Json::from(head.id())),
                ("previous", previous.as_ref().into()),
                ("workspace", Json::from(name)),
            ])
        },
        || {
            let was = previous
                .map(|id| format!(", was at {}", text::short(&id)))
                .unwrap_or_default();
            format!("{branch} is at {}{was}\n", text::short(head.id())).into_bytes()
        },
    )?;
    Ok(DONE)
}

fn refused(repository: &Repository, name: &str, branch: &str, expect: Expect) -> Failure {
    let Ok(now) = repository.branch(branch) else {
        return Failure::negative(format!("branch {branch:?} does not exist; --expect none makes it"));
    };
    let now = text::short(&now);
    Failure::negative(match expect {
        Expect::Absent => format!("branch {branch:?} exists, at {now}; choose another name"),
        _ => format!(
            "branch {branch:?} is at {now}, which was not expected; `pyi join {name} branch:{branch}`, then publish with \
             --expect {now}"
        ),
    })
}
