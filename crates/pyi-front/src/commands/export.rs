//! `pyi export`: a version as a commit on a branch of a git repository.

use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, Command};
use pyi_engine::git::ExportOptions;

use super::Verb;
use crate::cli::{message, option, optional, path, place, text, word};
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::revision::{REVISION_HELP, Revision};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "export",
    about: "Leave a version as a commit on a branch of a git repository",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("revision", "REVISION", "What to export").required(true))
        .arg(place("repo", "REPO", "The git repository [default: the one here or above]"))
        .arg(option("branch", "NAME", "The branch of REPO").short('b').required(true))
        .arg(message("The commit's message [default: the checkpoint's]"))
        .arg(option("author", "'NAME <MAIL>'", "The author [default: who git says]"))
        .arg(
            option("parent", "REV", "A parent, as a revision of REPO; may be given again [default: the commit imported from]")
                .action(ArgAction::Append),
        )
        .after_help(format!(
            "The branch must not exist, or be at one of the commit's parents, and no work tree may have it checked out. Work trees\n\
             and indexes of REPO are not touched.\n\n{REVISION_HELP}\n\n\
             Examples:\n  \
             pyi export attempt-1 --branch attempt-1\n  \
             pyi export main ~/project -b next -m 'Add the parser' --author 'Ann <ann@example.org>'"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let revision = Revision::resolve(&repository, text(matches, "revision"))?;
    let target = match path(matches, "repo") {
        Some(target) => target.clone(),
        None => repository.git_dir().map(PathBuf::from).ok_or_else(|| {
            Failure::usage("the store stands in no git repository, and there is none here or above; name REPO")
        })?,
    };
    let branch = text(matches, "branch");
    let options = ExportOptions {
        branch: branch.to_owned(),
        message: optional(matches, "message").map(str::to_owned),
        author: optional(matches, "author").map(str::to_owned),
        parents: matches
            .get_many::<String>("parent")
            .map(|parents| parents.cloned().collect()),
    };
    let commit = revision.workspace(&repository)?.export_git(&target, &options)?;
    context.answer(
        || {
            object([
                ("branch", Json::from(branch)),
                ("commit", Json::from(commit.as_str())),
                ("checkpoint", Json::from(&revision.id)),
                ("repository", Json::from(target.as_os_str().as_encoded_bytes())),
            ])
        },
        || {
            let name = commit.get(..12).unwrap_or(&commit);
            format!("{branch} is at commit {name}, from {}\n", text::short(&revision.id)).into_bytes()
        },
    )?;
    Ok(DONE)
}
