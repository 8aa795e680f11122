//! `pyi import`: a git repository or a directory becomes a checkpoint and a branch.

use std::path::Path;

use clap::{ArgMatches, Command};
use pyi_engine::{Value, git, locate};

use super::Verb;
use crate::cli::{flag, option, optional, path, place, text};
use crate::context::{Context, current_directory, find_repository};
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::revision::found;
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "import",
    about: "Bring a git repository or a directory into the store",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(place("source", "SOURCE", "Git repository or directory [default: the repository here or above]"))
        .arg(option("rev", "REV", "Git revision to import [default: HEAD]"))
        .arg(option("branch", "NAME", "Branch to make for it").default_value("main"))
        .arg(flag("dir", "Take SOURCE as a plain directory, even if it is a git repository"))
        .arg(
            option("history", "WHICH", "lazy: this commit alone; full: each commit before it as a checkpoint too")
                .value_parser(["lazy", "full"])
            .hide_possible_values(true)
                .default_value("lazy"),
        )
        .after_help(
            "The store is made if there is none: in the git directory (.git/pyi) of the repository here or above, else of\n\
             SOURCE, else in .pyi. A branch that exists is left alone (exit status 1).\n\n\
             Examples:\n  \
             pyi import\n  \
             pyi import ~/project --rev v1.2 --branch v1.2\n  \
             pyi import data/ --dir --branch data",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let here = current_directory()?;
    let source = match path(matches, "source") {
        Some(source) => here.join(source),
        None if matches.get_flag("dir") => here,
        None => find_repository(&here)?.map(|found| found.directory).ok_or_else(|| {
            Failure::usage(format!(
                "no repository in {} or above; name a SOURCE, or --dir for this directory",
                here.display()
            ))
        })?,
    };
    if !source.is_dir() {
        return Err(Failure::usage(format!(
            "{} is no directory; give a git repository or a directory",
            source.display()
        )));
    }
    let branch = text(matches, "branch");
    let is_git = !matches.get_flag("dir") && locate::git_dir(&source)?.is_some();
    let repository = context.repository_for(&source)?;
    if found(repository.branch(branch))?.is_some() {
        return Err(Failure::negative(format!(
            "branch {branch:?} exists already; --branch NAME makes another one"
        )));
    }
    let workspace = if is_git {
        let history = if text(matches, "history") == "full" {
            git::History::Full
        } else {
            git::History::Lazy
        };
        repository.import_git(&source, optional(matches, "rev").unwrap_or("HEAD"), branch, history)?
    } else {
        refuse_git_options(matches, &source)?;
        repository.import_dir(&source, branch)?
    };
    let head = workspace.head();
    let (files, bytes) = totals(&workspace)?;
    let commit = head
        .root()
        .git
        .get("commit")
        .and_then(Value::as_text)
        .filter(|_| is_git);
    let json = || {
        object([
            ("branch", Json::from(branch)),
            ("checkpoint", Json::from(head.id())),
            ("commit", commit.into()),
            ("files", files.into()),
            ("bytes", bytes.into()),
            ("store", Json::from(repository.path().as_os_str().as_encoded_bytes())),
        ])
    };
    let line = || {
        let from = commit
            .map(|commit| format!(" from commit {}", commit.get(..12).unwrap_or(commit)))
            .unwrap_or_default();
        let (count, size) = (text::count(files, "file"), text::size(bytes));
        format!("{branch} is at {}{from}: {count}, {size}\n", text::short(head.id())).into_bytes()
    };
    context.answer(json, line)?;
    Ok(DONE)
}

fn refuse_git_options(matches: &ArgMatches, source: &Path) -> Result<()> {
    let lazy = text(matches, "history") == "lazy";
    if optional(matches, "rev").is_none() && lazy {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--rev and --history are for git repositories, and {} is taken as a directory; leave them out",
        source.display()
    )))
}

/// Files, and bytes of them.
pub(super) fn totals(workspace: &pyi_engine::Workspace) -> Result<(u64, u64)> {
    let mut bytes = 0;
    for entry in workspace.list(b"")? {
        bytes += entry.size_bytes;
    }
    Ok((workspace.len(), bytes))
}
