//! What ran where: one line for each command in a small file of the user's, and the commands that a difference has turned off.
//!
//! A line is appended in one write; lines of many processes do not mix. Whatever goes wrong here is no reason to say anything.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is larger makes room for a new one; the one before it is kept.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Who ran a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// This program.
    Native,
    /// The installed git.
    Git,
    /// Both, with the same answer.
    Equal,
    /// Both, with different answers.
    Mismatch,
}

impl Way {
    const ALL: [Way; 4] = [Way::Native, Way::Git, Way::Equal, Way::Mismatch];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Native => "native",
            Way::Git => "git",
            Way::Equal => "equal",
            Way::Mismatch => "mismatch",
        }
    }
}

/// How often each command went which way, and why.
pub(crate) type Counts = BTreeMap<String, BTreeMap<(Way, String), u64>>;

/// The directory of what is remembered; `None` if there is no place for it.
pub(crate) fn directory() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("pyi"))
}

fn file(directory: &Path) -> PathBuf {
    directory.join("git-report.log")
}

fn older(directory: &Path) -> PathBuf {
    directory.join("git-report.log.old")
}

fn off(directory: &Path) -> PathBuf {
    directory.join("git-off")
}

fn make(directory: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn append_to(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Counts a decision, unless `PYI_GIT_REPORT=off`.
pub(crate) fn count(command: &str, way: Way, reason: &str) {
    if std::env::var_os("PYI_GIT_REPORT").is_some_and(|value| value == "off") {
        return;
    }
    // In git's own test suite the home directory is the work tree that is looked at.
    if std::env::var_os("GIT_TEST_INSTALLED").is_some() && std::env::var_os("XDG_STATE_HOME").is_none() {
        return;
    }
    if let Some(directory) = directory() {
        let _ = append(&directory, command, way, reason);
    }
}

fn append(directory: &Path, command: &str, way: Way, reason: &str) -> std::io::Result<()> {
    let path = file(directory);
    let mut log = match append_to(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(directory)?;
            append_to(&path)?
        }
        opened => opened?,
    };
    if log.metadata()?.len() > FILE_MAX_BYTES {
        fs::rename(&path, older(directory))?;
        log = append_to(&path)?;
    }
    let command = if command.is_empty() { "-" } else { command };
    log.write_all(format!("{command}\t{}\t{reason}\n", way.name()).as_bytes())
}

/// Whether a difference has turned the command off.
pub(crate) fn is_off(command: &str) -> bool {
    // Asked of every command, before any other file: a link is read rather than a file looked at, since the standard library follows the first look that
    // fails by another one, into nowhere.
    let Some(directory) = directory() else { return false };
    match fs::read_link(off(&directory).join(command)) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::InvalidInput,
    }
}

/// Turns a command off until the report is reset.
pub(crate) fn turn_off(command: &str) {
    if let Some(directory) = directory() {
        let _ = make(&off(&directory)).and_then(|()| append_to(&off(&directory).join(command)));
    }
}

/// The commands that are off.
pub(crate) fn turned_off(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(off(directory)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// What was counted. A line that is cut short is left out.
pub(crate) fn read(directory: &Path) -> std::io::Result<Counts> {
    let mut counts = Counts::new();
    for path in [older(directory), file(directory)] {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in String::from_utf8_lossy(&text).lines() {
            let mut parts = line.split('\t');
            let (Some(command), Some(way), Some(reason)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let Some(way) = Way::ALL.into_iter().find(|known| known.name() == way) else {
                continue;
            };
            let of_command = counts.entry(command.to_owned()).or_default();
            *of_command.entry((way, reason.to_owned())).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Forgets what was counted, and turns on again what was off.
pub(crate) fn reset(directory: &Path) -> std::io::Result<()> {
    let absent = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    absent(fs::remove_file(older(directory)))?;
    absent(fs::remove_file(file(directory)))?;
    absent(fs::remove_dir_all(off(directory)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_counted() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join("a/pyi");
        assert!(read(&directory).unwrap().is_empty());
        append(&directory, "log", Way::Git, "command").unwrap();
        append(&directory, "log", Way::Git, "command").unwrap();
        append(&directory, "", Way::Git, "usage unknown-command").unwrap();
        append(&directory, "rev-parse", Way::Native, "").unwrap();
        let mut broken = append_to(&file(&directory)).unwrap();
        broken.write_all(b"log\tgit").unwrap();
        let counts = read(&directory).unwrap();
        assert_eq!(counts["log"][&(Way::Git, "command".to_owned())], 2);
        assert_eq!(counts["rev-parse"][&(Way::Native, String::new())], 1);
        assert_eq!(counts.len(), 3);
        reset(&directory).unwrap();
        assert!(read(&directory).unwrap().is_empty());
    }

    #[test]
    fn a_large_file_makes_room() {
        let top = tempfile::tempdir().unwrap();
        fs::write(file(top.path()), "log\tgit\tcommand\n".repeat(1 << 17)).unwrap();
        append(top.path(), "log", Way::Git, "command").unwrap();
        assert!(fs::metadata(file(top.path())).unwrap().len() < 100);
        assert_eq!(
            read(top.path()).unwrap()["log"][&(Way::Git, "command".to_owned())],
            (1 << 17) + 1
        );
    }
}
