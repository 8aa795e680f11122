//! `pyi capture`: what changed in a directory becomes a checkpoint of a workspace.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::{ArgMatches, Command};
use pyi_engine::sandbox::{CaptureOptions, Ignore};
use pyi_engine::{Change, Id, Workspace};

use super::{Verb, change_lines, changes_json};
use crate::cli::{flag, message, optional, path, place, text, word};
use crate::context::Context;
use crate::failure::{DONE, Result};
use crate::handover::installed_git;
use crate::json::{Json, object};
use crate::revision::open_workspace;
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "capture",
    about: "Take what changed in a directory back into a workspace",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("name", "NAME", "The workspace").required(true))
        .arg(place("dir", "DIR", "The directory").required(true))
        .arg(message("The checkpoint's message [default: `capture DIR`]"))
        .arg(flag("no-ignore", "Take what git ignores too"))
        .after_help(
            "The workspace's files become those of DIR, and a checkpoint is made if that changed anything. Files that were\n\
             not touched since `pyi materialize` are not read again. What git ignores is left out unless the workspace has it;\n\
             `.git` is always left out.\n\n\
             Examples:\n  \
             pyi capture attempt-1 /tmp/attempt-1\n  \
             pyi capture attempt-1 /tmp/attempt-1 --no-ignore -m 'with build output'",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let workspace = open_workspace(&repository, text(matches, "name"))?;
    let directory = path(matches, "dir").map(PathBuf::as_path).unwrap_or(Path::new("."));
    let changes = capture(&workspace, directory, matches.get_flag("no-ignore"))?;
    let made = !changes.is_empty();
    if made {
        let default = || format!("capture {}", directory.display());
        let message = optional(matches, "message").map_or_else(default, str::to_owned);
        workspace.checkpoint(&message, pyi_engine::Value::Null)?;
    }
    checkpointed(context, &workspace, workspace.head().id(), &changes, made)?;
    Ok(DONE)
}

/// Captures `directory` by the user's own rules of what to ignore.
pub(super) fn capture(workspace: &Workspace, directory: &Path, no_ignore: bool) -> Result<Vec<Change>> {
    let options = if no_ignore {
        CaptureOptions {
            ignore: Ignore::None,
            ..CaptureOptions::default()
        }
    } else {
        CaptureOptions {
            excludes_file: excludes_file(directory),
            ..CaptureOptions::default()
        }
    };
    Ok(workspace.capture(directory, &options)?)
}

/// The user's `core.excludesFile`; by default `git/ignore` where their configuration is.
fn excludes_file(directory: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let git = installed_git()?;
    let mut ask = Process::new(git);
    ask.arg("-C")
        .arg(directory)
        .args(["config", "--null", "--get", "--type=path", "core.excludesFile"]);
    let answer = ask.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if answer.status.success() {
        let name = answer.stdout.strip_suffix(b"\0").unwrap_or(&answer.stdout).to_vec();
        // Git takes an empty name as none; a relative one counts from the directory.
        return if name.is_empty() {
            None
        } else {
            Some(directory.join(std::ffi::OsString::from_vec(name)))
        };
    }
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let configuration = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(configuration.join("git/ignore")).filter(|file| file.is_file())
}

/// Says what a capture and a checkpoint did.
pub(super) fn checkpointed(
    context: &Context,
    workspace: &Workspace,
    id: &Id,
    changes: &[Change],
    made: bool,
) -> Result<()> {
    let name = workspace.name().unwrap_or_default();
    let json = object([
        ("workspace", Json::from(name)),
        ("checkpoint", Json::from(id)),
        ("made", made.into()),
        ("changes", changes_json(&workspace.repository(), changes)?),
    ]);
    let lines = || {
        let mut lines = change_lines(changes);
        let what = if made { "" } else { ", nothing changed" };
        lines.extend_from_slice(format!("{name} is at {}{what}\n", text::short(id)).as_bytes());
        lines
    };
    context.answer(|| json, lines)
}
