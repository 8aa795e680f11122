//! `pyi checkpoints`: the history of a workspace, branch or checkpoint.

use clap::{Arg, ArgMatches, Command, value_parser};
use pyi_engine::Checkpoint;

use super::Verb;
use crate::cli::{optional, word};
use crate::context::Context;
use crate::failure::{DONE, Result};
use crate::json::{Json, object};
use crate::revision::{REVISION_HELP, Revision, names_by_head};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "checkpoints",
    about: "List checkpoints, newest first",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("revision", "REVISION", "Where to begin [default: branch main, or the only branch]"))
        .arg(
            Arg::new("limit")
                .short('n')
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("At most N of them"),
        )
        .after_help(format!(
            "A line has the id's first digits, the time (UTC), the branches and workspaces that stand there, and the first line\n\
             of the message. Commits before an imported one are git's to list: `pyi log`.\n\n{REVISION_HELP}\n\n\
             Examples:\n  \
             pyi checkpoints attempt-1 -n 5\n  \
             pyi checkpoints --json"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let (revision, _) = Revision::or_default(&repository, optional(matches, "revision"))?;
    let limit = matches
        .get_one::<u64>("limit")
        .map(|limit| usize::try_from(*limit).unwrap_or(usize::MAX));
    let found = repository
        .log(&revision.id, limit)?
        .collect::<pyi_engine::Result<Vec<Checkpoint>>>()?;
    let names = names_by_head(&repository)?;
    let names_of = |checkpoint: &Checkpoint| names.get(checkpoint.id()).map(Vec::as_slice).unwrap_or_default();
    context.answer(
        || {
            let with_names = |checkpoint| {
                let names = names_of(checkpoint)
                    .iter()
                    .map(|name| Json::from(name.as_str()))
                    .collect::<Json>();
                checkpoint_json(checkpoint).with("names", names)
            };
            found.iter().map(with_names).collect()
        },
        || {
            found
                .iter()
                .flat_map(|checkpoint| line(checkpoint, names_of(checkpoint)).into_bytes())
                .collect()
        },
    )?;
    Ok(DONE)
}

fn line(checkpoint: &Checkpoint, names: &[String]) -> String {
    let root = checkpoint.root();
    let names = if names.is_empty() {
        String::new()
    } else {
        format!("({}) ", names.join(", "))
    };
    let line = format!(
        "{}  {}  {names}{}",
        text::short(checkpoint.id()),
        text::time(root.time_ns, false),
        text::first_line(&root.message)
    );
    format!("{}\n", line.trim_end())
}

/// What a checkpoint says of itself.
pub(super) fn checkpoint_json(checkpoint: &Checkpoint) -> Json {
    let root = checkpoint.root();
    object([
        ("id", Json::from(checkpoint.id())),
        ("time", text::time(root.time_ns, true).into()),
        ("message", root.message.as_str().into()),
        ("parents", root.parents.iter().map(Json::from).collect()),
        ("tree", Json::from(&root.files)),
        ("metadata", Json::from(&root.metadata)),
    ])
}
