//! Running the installed git where its own rules decide: revision syntax, identities, moving a ref.
//!
//! The repository is named by `--git-dir`, so nothing is discovered from the current directory; variables of the caller that would
//! point git elsewhere are taken out of the child's environment. What only reads runs neither hooks nor a file system monitor,
//! and fetches nothing from a promisor.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{Error, Result};

/// Variables that name a repository or change what its objects are.
const REDIRECTING: [&str; 15] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_CONFIG",
    "GIT_QUARANTINE_PATH",
    "GIT_REF_PARANOIA",
];

/// A git command on the repository at `git_dir`.
pub(crate) fn git(git_dir: &Path) -> Command {
    let mut command = Command::new("git");
    for name in REDIRECTING {
        command.env_remove(name);
    }
    command
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .arg("--git-dir")
        .arg(git_dir)
        .stdin(Stdio::null());
    command
}

/// A git command that only reads: without hooks and without a file system monitor.
pub(crate) fn git_reading(git_dir: &Path) -> Command {
    let mut command = git(git_dir);
    command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    command
}

/// Runs it to its end.
///
/// # Errors
/// `GitError` if there is no git to run.
pub(crate) fn run(mut command: Command) -> Result<Output> {
    command.output().map_err(|error| {
        let what: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        Error::git(format!(
            "cannot run `git {}`: {error}; is git installed and on PATH?",
            what.join(" ")
        ))
    })
}

/// What git had to say, in one line.
pub(crate) fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        format!("it ended with {}", output.status)
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_redirections_do_not_reach_git() {
        let command = git_reading(Path::new("/nowhere/.git"));
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_COMMON_DIR",
        ] {
            assert!(
                command
                    .get_envs()
                    .any(|(found, value)| found == name && value.is_none()),
                "{name}"
            );
        }
        let missing = run(Command::new("/nowhere/git")).unwrap_err();
        assert_eq!(missing.kind(), crate::ErrorKind::Git);
    }
}
