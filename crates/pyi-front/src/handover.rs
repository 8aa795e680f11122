//! Handing over to the installed git: same arguments, same descriptors, same process, its exit status.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};

/// Holds the process id while a git that stands before us on PATH is tried: if that is a copy of this program, it sees its own id
/// (exec keeps it) and stops instead of going round in circles.
const GUARD: &str = "PYI_GIT_HANDED_OVER";

/// Becomes git. Comes back only if there is none.
pub(crate) fn git(args: &[OsString]) -> Result<u8> {
    let mut command = command(args)?;
    let error = command.exec();
    Err(cannot_run(&command, &error))
}

/// Lets git answer, and passes on what stands behind the first `shown` bytes: those were said here already, the same as git says them.
pub(crate) fn rest_of_git(args: &[OsString], shown: u64) -> Result<u8> {
    let mut command = command(args)?;
    let mut git = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run(&command, &error))?;
    if let Some(mut said) = git.stdout.take() {
        let passed_on = io::copy(&mut said.by_ref().take(shown), &mut io::sink())
            .and_then(|_| io::copy(&mut said, &mut io::stdout().lock()));
        passed_on.map_err(|error| Failure::failed(format!("cannot pass on what git says: {error}")))?;
    }
    let status = git.wait().map_err(|error| cannot_run(&command, &error))?;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(128))
}

fn cannot_run(command: &Command, error: &io::Error) -> Failure {
    let program = Path::new(command.get_program()).display();
    Failure::failed(format!("cannot run {program}: {error}; repair or reinstall git"))
}

fn command(args: &[OsString]) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = fs::metadata("/proc/self/exe")
        .or_else(|_| std::env::current_exe().and_then(fs::metadata))
        .ok();
    let id = std::process::id().to_string();
    let circled = std::env::var_os(GUARD).is_some_and(|value| value == OsStr::new(&id));
    let Some(found) = find_git(&path, here.as_ref()) else {
        return Err(no_git());
    };
    let mut command = Command::new(&found.program);
    // What the shell would have called it: git derives nothing else from it.
    command.arg0("git").args(args);
    if found.before_us {
        if circled {
            return Err(no_git());
        }
        command.env(GUARD, id);
    }
    Ok(command)
}

/// The git that hand-overs go to, if there is one.
pub(crate) fn installed_git() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = fs::metadata("/proc/self/exe").ok();
    find_git(&path, here.as_ref()).map(|found| found.program)
}

fn no_git() -> Failure {
    Failure::failed("no git on PATH besides pyi itself; install git (`apt-get install git`)")
}

struct Found {
    program: PathBuf,
    /// It stands before this program on PATH.
    before_us: bool,
}

/// The first `git` on PATH behind the last place where this program stands as `git`; or else the first before it. This program,
/// under whatever name, is known by its device and inode.
fn find_git(path: &OsStr, here: Option<&Metadata>) -> Option<Found> {
    let is_us = |file: &Metadata| here.is_some_and(|here| (here.dev(), here.ino()) == (file.dev(), file.ino()));
    let mut before = None;
    let mut behind = None;
    for directory in std::env::split_paths(path) {
        let candidate = if directory.as_os_str().is_empty() {
            Path::new(".").join("git")
        } else {
            directory.join("git")
        };
        let Ok(file) = fs::metadata(&candidate) else { continue };
        if is_us(&file) {
            before = before.or(behind.take());
        } else if behind.is_none() && file.is_file() && file.permissions().mode() & 0o111 != 0 {
            behind = Some(candidate);
        }
    }
    match (behind, before) {
        (Some(program), _) => Some(Found {
            program,
            before_us: false,
        }),
        (None, Some(program)) => Some(Found {
            program,
            before_us: true,
        }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_looked_for_behind_ourselves_and_then_before() {
        let top = tempfile::tempdir().unwrap();
        let place = |name: &str| top.path().join(name);
        for name in ["us", "one", "two", "empty"] {
            fs::create_dir(place(name)).unwrap();
        }
        for name in ["one", "two"] {
            fs::write(place(name).join("git"), name).unwrap();
            fs::set_permissions(place(name).join("git"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(place("us").join("pyi"), "us").unwrap();
        std::os::unix::fs::symlink("pyi", place("us").join("git")).unwrap();
        let us = fs::metadata(place("us").join("pyi")).unwrap();
        let find = |names: &[&str]| {
            let path = std::env::join_paths(names.iter().map(|name| place(name))).unwrap();
            find_git(&path, Some(&us)).map(|found| (found.program, found.before_us))
        };
        assert_eq!(
            find(&["us", "empty", "one", "two"]),
            Some((place("one").join("git"), false))
        );
        assert_eq!(find(&["one", "us", "two"]), Some((place("two").join("git"), false)));
        assert_eq!(find(&["one", "two", "us"]), Some((place("one").join("git"), true)));
        assert_eq!(find(&["us", "empty"]), None);
    }
}
