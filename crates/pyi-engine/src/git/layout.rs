//! How a git repository is laid out: what its configuration says of object names, refs and permissions.

use std::io;
use std::path::Path;

use pyi_git::ObjectFormat;
use pyi_git::config::Config;

use super::regular::read_regular;
use crate::{Error, Result};

/// Extensions that change nothing for who reads objects and refs as files.
const HARMLESS: [&str; 7] = [
    "noop",
    "noop-v1",
    "preciousobjects",
    "partialclone",
    "worktreeconfig",
    "relativeworktrees",
    "compatobjectformat",
];

/// What the configuration of a repository says.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The hash that names objects.
    pub(crate) format: ObjectFormat,
    /// Whether refs are files (and `packed-refs`) that we can read ourselves.
    pub(crate) refs_are_files: bool,
    /// Whether there is no main work tree.
    pub(crate) bare: bool,
    /// Whether objects may be missing because a promisor has them.
    pub(crate) partial: bool,
    /// Who may read and write new files.
    pub(crate) sharing: Sharing,
}

impl Layout {
    /// Reads `config` of a common git directory.
    ///
    /// # Errors
    /// `GitError` for a file that cannot be understood, or a repository of a kind that nobody knows yet.
    pub(crate) fn read(common_dir: &Path) -> Result<Self> {
        let path = common_dir.join("config");
        let mut config = read_config(&path)?;
        if config.boolean("extensions", None, "worktreeconfig").ok().flatten() == Some(true) {
            config.append(&read_config(&common_dir.join("config.worktree"))?);
        }
        Self::of(&config, &path)
    }

    /// What a configuration says that was read from `path`.
    ///
    /// # Errors
    /// `GitError` for a value that cannot be understood, or a repository of a kind that nobody knows yet.
    pub(crate) fn of(config: &Config, path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::git(format!("{}: {what}", path.display()));
        let flag = |config: &Config, section: &str, key: &str| {
            config
                .boolean(section, None, key)
                .map_err(|error| wrong(error.to_string()))
        };
        let version = config.integer("core", None, "repositoryformatversion");
        let version = version.map_err(|error| wrong(error.to_string()))?.unwrap_or(0);
        if !(0..=1).contains(&version) {
            return Err(wrong(format!(
                "repository format {version} is not known; a newer PYI may read it"
            )));
        }
        let mut format = ObjectFormat::Sha1;
        let mut refs_are_files = true;
        for entry in config
            .entries()
            .iter()
            .filter(|entry| entry.section == "extensions" && version == 1)
        {
            let value = entry.value.as_deref().unwrap_or_default();
            match entry.key.as_str() {
                "objectformat" => {
                    format = ObjectFormat::from_name(value).ok_or_else(|| {
                        let name = String::from_utf8_lossy(value).into_owned();
                        wrong(format!(
                            "object format {name:?} is not known; PYI reads sha1 and sha256"
                        ))
                    })?;
                }
                "refstorage" => refs_are_files &= value == b"files",
                key => refs_are_files &= HARMLESS.contains(&key),
            }
        }
        let promisor = config
            .entries()
            .iter()
            .any(|entry| entry.section == "remote" && entry.key == "promisor");
        Ok(Layout {
            format,
            refs_are_files,
            bare: flag(config, "core", "bare")?.unwrap_or(false),
            partial: promisor || config.value("extensions", None, "partialclone").is_some(),
            sharing: Sharing::of(config.value("core", None, "sharedrepository")),
        })
    }
}

fn read_config(path: &Path) -> Result<Config> {
    match read_regular(path) {
        Ok(text) => Config::parse(&text).map_err(|error| Error::git(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

/// `core.sharedRepository`: who shares the files of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// What the umask says.
    Umask,
    /// These permissions beside those of the umask.
    More(u32),
    /// Exactly these permissions.
    Exactly(u32),
}

impl Sharing {
    fn of(value: Option<&[u8]>) -> Self {
        let text = value
            .map(String::from_utf8_lossy)
            .unwrap_or_default()
            .to_ascii_lowercase();
        match text.as_str() {
            "group" | "true" | "yes" | "on" | "1" => Sharing::More(0o060),
            "all" | "world" | "everybody" | "2" => Sharing::More(0o064),
            octal => match u32::from_str_radix(octal, 8) {
                Ok(mode) if octal.starts_with('0') && mode & 0o600 == 0o600 => Sharing::Exactly(mode & 0o666),
                _ => Sharing::Umask,
            },
        }
    }

    /// The permissions of a finished object file that the umask made `mode`.
    pub(crate) fn of_file(self, mode: u32) -> u32 {
        match self {
            Sharing::Umask => mode & 0o444,
            Sharing::More(more) => (mode | more) & 0o444,
            Sharing::Exactly(mode) => mode & 0o444,
        }
    }

    /// The permissions of a new directory that the umask made `mode`: those who read may enter, and what is made
    /// in it belongs to the same group.
    pub(crate) fn of_directory(self, mode: u32) -> u32 {
        let with_entry = |mode: u32| mode | (mode & 0o444) >> 2;
        match self {
            Sharing::Umask => mode & 0o7777,
            Sharing::More(more) => (mode & 0o7777) | with_entry(more) | 0o2000,
            Sharing::Exactly(mode) => with_entry(mode) | 0o2000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn sharing_follows_the_documented_values() {
        assert_eq!(Sharing::of(None), Sharing::Umask);
        assert_eq!(Sharing::of(Some(b"group")), Sharing::More(0o060));
        assert_eq!(Sharing::of(Some(b"ALL")), Sharing::More(0o064));
        assert_eq!(Sharing::of(Some(b"0640")), Sharing::Exactly(0o640));
        assert_eq!(Sharing::More(0o060).of_file(0o600), 0o440);
        assert_eq!(Sharing::More(0o060).of_directory(0o700), 0o2770);
        assert_eq!(Sharing::Exactly(0o640).of_directory(0o777), 0o2750);
        assert_eq!(Sharing::Umask.of_file(0o644), 0o444);
    }

    #[test]
    fn a_strange_extension_leaves_refs_to_git() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("config");
        fs::write(
            &config,
            "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n",
        )?;
        let layout = Layout::read(dir.path())?;
        assert!(layout.refs_are_files && layout.format == ObjectFormat::Sha256);
        fs::write(
            &config,
            "[core]\n\trepositoryformatversion = 1\n[extensions]\n\trefStorage = reftable\n",
        )?;
        assert!(!Layout::read(dir.path())?.refs_are_files);
        fs::write(&config, "[core]\n\trepositoryformatversion = 9\n")?;
        assert!(Layout::read(dir.path()).is_err());
        Ok(())
    }
}
