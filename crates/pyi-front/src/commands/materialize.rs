//! `pyi materialize`: a version as a real directory.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use pyi_engine::Repository;
use pyi_engine::sandbox::MaterializeOptions;

use super::Verb;
use crate::cli::{flag, path, place, text, word};
use crate::context::{Context, STORE_MARKER};
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::revision::{REVISION_HELP, Revision};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "materialize",
    about: "Write a version into a directory, for real tools",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("revision", "REVISION", "What to write").required(true))
        .arg(place("dir", "DIR", "Where to: an empty directory, or one that is made").required(true))
        .arg(flag("no-git", "Without a private git directory"))
        .after_help(format!(
            "Content from a git repository gets a private git directory that borrows the repository's objects, so that\n\
             `git status`, `diff` and `commit` work in DIR and touch nothing outside. `pyi capture` takes back what changes.\n\n\
             {REVISION_HELP}\n\n\
             Examples:\n  \
             pyi materialize attempt-1 /tmp/attempt-1\n  \
             pyi materialize main~2 old --no-git"
        ))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let revision = Revision::resolve(&repository, text(matches, "revision"))?;
    let workspace = revision.workspace(&repository)?;
    let directory = path(matches, "dir").map(PathBuf::as_path).unwrap_or(Path::new("."));
    let report = workspace.materialize(
        directory,
        &MaterializeOptions {
            git: !matches.get_flag("no-git"),
        },
    )?;
    if report.git {
        mark(directory, &repository)?;
    }
    context.answer(
        || {
            object([
                ("directory", Json::from(directory.as_os_str().as_encoded_bytes())),
                ("checkpoint", Json::from(&revision.id)),
                ("files", report.files.into()),
                ("bytes", report.bytes.into()),
                ("directories", report.directories.into()),
                ("git", report.git.into()),
            ])
        },
        || {
            let what = format!("{}, {}", text::count(report.files, "file"), text::size(report.bytes));
            format!("{} has {}: {what}\n", directory.display(), text::short(&revision.id)).into_bytes()
        },
    )?;
    Ok(DONE)
}

/// Leaves word in the private git directory of where its store is, so that `pyi` works inside the directory.
fn mark(directory: &Path, repository: &Repository) -> Result<()> {
    let marker = directory.join(".git").join(STORE_MARKER);
    let write = || fs::write(&marker, fs::canonicalize(repository.path())?.as_os_str().as_bytes());
    write().map_err(|error| {
        Failure::failed(format!(
            "cannot write {}: {error}; the directory is complete",
            marker.display()
        ))
    })
}
