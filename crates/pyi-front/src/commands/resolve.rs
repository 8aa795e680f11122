//! `pyi resolve`: settles conflicts that a merge kept, and lists those that are left.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, ArgMatches, Command};
use pyi_engine::{Bytes, Conflict, Repository, Take, Value, Workspace};

use super::{Verb, conflict_json, conflict_lines};
use crate::cli::{flag, message, option, optional, text, word};
use crate::context::Context;
use crate::failure::{DONE, Failure, NEGATIVE, Result};
use crate::json::{Json, object};
use crate::revision::open_workspace;
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "resolve",
    about: "Settle conflicts that `join --keep` left, or list them",
    arguments,
    run,
};

/// The options of which each path takes one.
const SIDES: [&str; 4] = ["ours", "theirs", "base", "present"];

fn arguments(command: Command) -> Command {
    command
        .arg(word("name", "NAME", "The workspace").required(true))
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .num_args(0..)
                .value_parser(clap::value_parser!(std::ffi::OsString))
                .help("What to settle; a key of the state is state:KEY [default: list what is not settled]"),
        )
        .arg(flag("ours", "Take our version").conflicts_with_all(["theirs", "base", "present", "file"]))
        .arg(flag("theirs", "Take their version").conflicts_with_all(["base", "present", "file"]))
        .arg(flag("base", "Take the version before both changed it").conflicts_with_all(["present", "file"]))
        .arg(flag("present", "Take what stands there now").conflicts_with("file"))
        .arg(option("file", "FILE", "Take this file's content; - is the standard input"))
        .arg(flag("all", "Settle everything that is left").conflicts_with_all(["paths", "file"]))
        .arg(message("The checkpoint's message [default: `resolve`]"))
        .after_help(
            "Settled conflicts are a checkpoint of their own. Nothing is settled if one of the paths cannot be. The exit status is 1 as long as\n\
             conflicts are left.\n\n\
             Examples:\n  \
             pyi resolve attempt-1\n  \
             pyi resolve attempt-1 src/a.py --theirs\n  \
             pyi resolve attempt-1 README.md --file merged.md\n  \
             pyi resolve attempt-1 --all --ours",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let name = text(matches, "name");
    let paths: Vec<Vec<u8>> = matches
        .get_many::<std::ffi::OsString>("paths")
        .into_iter()
        .flatten()
        .map(|path| path.as_bytes().to_vec())
        .collect();
    let take = take(matches)?;
    let settles_all = matches.get_flag("all");
    let (workspace, settled) = match take {
        Some(take) if settles_all || !paths.is_empty() => {
            if matches!(take, Take::Data(_)) && paths.len() > 1 {
                return Err(Failure::usage("--file settles one path; name one, or take a side"));
            }
            let workspace = open_workspace(&repository, name)?;
            let settled = settle(&workspace, paths, settles_all, &take, matches)?;
            (workspace, settled)
        }
        None if paths.is_empty() && !settles_all => (repository.view_workspace(name)?, Vec::new()),
        _ => {
            return Err(Failure::usage(
                "name what to settle (or --all) and how: --ours, --theirs, --base, --present or --file; nothing at all lists what is left",
            ));
        }
    };
    let left = workspace.conflicts()?;
    answer(context, &repository, &workspace, name, &settled, &left)?;
    if left.is_empty() {
        return Ok(DONE);
    }
    let count = text::count(left.len() as u64, "conflict");
    let verb = if left.len() == 1 { "is" } else { "are" };
    Err(Failure::new(
        NEGATIVE,
        format!(
            "{count} in {name} {verb} not settled; pyi resolve {name} PATH --ours, --theirs, --base, --present or --file"
        ),
    ))
}

fn take(matches: &ArgMatches) -> Result<Option<Take>> {
    if let Some(file) = optional(matches, "file") {
        let mut bytes = Vec::new();
        let read = match file {
            "-" => std::io::stdin().read_to_end(&mut bytes).map(drop),
            _ => std::fs::read(file).map(|content| bytes = content),
        };
        read.map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
        return Ok(Some(Take::Data(Bytes::from(bytes))));
    }
    let chosen = SIDES.into_iter().find(|side| matches.get_flag(side));
    Ok(chosen.map(|side| match side {
        "ours" => Take::Ours,
        "theirs" => Take::Theirs,
        "base" => Take::Base,
        _ => Take::Present,
    }))
}

/// Settles all of it or nothing; returns what.
fn settle(
    workspace: &Workspace,
    mut paths: Vec<Vec<u8>>,
    all: bool,
    take: &Take,
    matches: &ArgMatches,
) -> Result<Vec<Vec<u8>>> {
    if all {
        paths = workspace
            .conflicts()?
            .into_iter()
            .map(|conflict| conflict.path)
            .collect();
    }
    if paths.is_empty() {
        return Ok(paths);
    }
    for path in &paths {
        if let Err(error) = workspace.resolve(path, take) {
            // What was settled before it is no checkpoint yet.
            workspace.restore(workspace.head().id())?;
            return Err(error.into());
        }
    }
    workspace.checkpoint(optional(matches, "message").unwrap_or("resolve"), Value::Null)?;
    Ok(paths)
}

fn answer(
    context: &Context,
    repository: &Repository,
    workspace: &Workspace,
    name: &str,
    settled: &[Vec<u8>],
    left: &[Conflict],
) -> Result<()> {
    let head = workspace.head();
    let json = object([
        ("workspace", Json::from(name)),
        ("checkpoint", Json::from(head.id())),
        (
            "resolved",
            Json::Array(settled.iter().map(|path| Json::from(path.as_slice())).collect()),
        ),
        (
            "conflicts",
            left.iter()
                .map(|conflict| conflict_json(repository, conflict))
                .collect::<Result<_>>()?,
        ),
    ]);
    let lines = || {
        let mut lines = conflict_lines(left);
        if left.is_empty() {
            lines.extend_from_slice(format!("{name} is at {}, nothing clashes\n", text::short(head.id())).as_bytes());
        }
        lines
    };
    context.answer(|| json, lines)
}
