//! The repository that a command is for, found as git finds it, if it is of a kind that is read here.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pyi_engine::git::{GitDirectory, ObjectDatabase, ObjectFormat, read_regular};
use pyi_git::argv::Parsed;
use pyi_git::config::{Config, ConfigEntry, parse_bool};

use super::{Native, Reason, environment};

/// Where a system's configuration may be; git has one of them built in. All are looked at: more than git reads does no harm.
pub(crate) const SYSTEM_CONFIG: &[&str] = &[
    "/etc/gitconfig",
    "/usr/local/etc/gitconfig",
    "/opt/homebrew/etc/gitconfig",
];

/// Keys of `core` that change nothing for who reads refs and objects; those that git reads as booleans are apart, as it dies of others.
const CORE_HARMLESS: &[&str] = &[
    "askpass",
    "autocrlf",
    "editor",
    "excludesfile",
    "fsmonitor",
    "gitproxy",
    "hookspath",
    "pager",
    "sshcommand",
];
const CORE_BOOLEANS: &[&str] = &[
    "bare",
    "filemode",
    "ignorecase",
    "logallrefupdates",
    "preloadindex",
    "quotepath",
    "symlinks",
    "trustctime",
    "untrackedcache",
];
/// Sections that may change anything: other files, formats, tracing, defaults.
const SECTIONS_REFUSED: &[&str] = &[
    "attr",
    "extensions",
    "feature",
    "include",
    "includeif",
    "pack",
    "trace2",
];
/// Sections that git reads in every command, with values that may be wrong; each with the keys that have no wrong values.
const SECTIONS_READ: &[(&str, &[&str])] = &[
    ("author", &["name", "email"]),
    ("committer", &["name", "email"]),
    ("color", &[]),
    ("i18n", &[]),
    ("mailmap", &[]),
    ("push", &[]),
    ("user", &["name", "email", "signingkey"]),
];

/// A repository whose `.git` is a directory in its work tree.
pub(crate) struct GitRepository {
    top: PathBuf,
    /// From the top to the current directory, with `/` at the end; empty at the top.
    prefix: Vec<u8>,
    git: GitDirectory,
    config: Config,
}

impl GitRepository {
    /// Finds it from the current directory upwards.
    pub(crate) fn open(parsed: &Parsed<'_>) -> Native<Self> {
        let (here, config) = globals(parsed)?;
        let (top, dot_git) = find(&here)?;
        let own = here.strip_prefix(&top).unwrap_or(Path::new("")).as_os_str().as_bytes();
        let mut prefix = own.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let local = read_config(&dot_git.join("config"))?;
        let mut whole = users_config()?;
        whole.append(&local);
        whole.append(&config);
        check_config(&whole)?;
        // Git looks for these in the repository's own file only.
        let version = local
            .integer("core", None, "repositoryformatversion")
            .ok()
            .flatten()
            .unwrap_or(0);
        let extended = local.entries().iter().any(|entry| entry.section == "extensions");
        if !(0..=1).contains(&version) || (extended && version == 0) {
            return Err(Reason::of("config", "core.repositoryformatversion"));
        }
        let git = GitDirectory::with_config(&dot_git, &local)?;
        if !git.refs_are_files() {
            return Err(Reason::of("config", "extensions"));
        }
        Ok(GitRepository {
            top,
            prefix,
            git,
            config: whole,
        })
    }

    /// The work tree.
    pub(crate) fn top(&self) -> &Path {
        &self.top
    }

    /// The directory that the command runs in.
    pub(crate) fn here(&self) -> PathBuf {
        self.top.join(OsStr::from_bytes(&self.prefix))
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Refs and the names of objects.
    pub(crate) fn git(&self) -> &GitDirectory {
        &self.git
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether bytes above 127 stand in paths as they are. Here they are quoted: an answer that has any is git's then.
    pub(crate) fn shows_all_bytes(&self) -> bool {
        self.config.boolean("core", None, "quotepath") == Ok(Some(false))
    }

    /// The objects, if none is replaced by another one.
    pub(crate) fn objects(&self) -> Native<&ObjectDatabase> {
        let loose = self.git.path().join("refs/replace");
        let packed = self.git.packed_refs()?;
        let is_replaced =
            fs::symlink_metadata(loose).is_ok() || packed.windows(14).any(|part| part == b" refs/replace/");
        if is_replaced {
            return Err(Reason::new("replaced-objects"));
        }
        Ok(self.git.objects()?)
    }

    /// Whether commits have the parents that they say, and git does not complain of what it knows of them.
    pub(crate) fn check_history(&self) -> Native<()> {
        let grafts = || fs::symlink_metadata(self.git.path().join("info/grafts")).is_ok();
        if self.git.has("shallow") || (self.git.has("info") && grafts()) {
            return Err(Reason::new("shallow-or-grafted"));
        }
        let hash = match self.git.format() {
            ObjectFormat::Sha1 => 1,
            ObjectFormat::Sha256 => 2,
        };
        let mut header = [0; 6];
        if let Ok(mut graph) = fs::File::open(self.git.path().join("objects/info/commit-graph"))
            && (graph.read_exact(&mut header).is_err() || header != [b'C', b'G', b'P', b'H', 1, hash])
        {
            return Err(Reason::new("commit-graph"));
        }
        Ok(())
    }
}

/// The directory to begin in, and what `-c` says.
fn globals(parsed: &Parsed<'_>) -> Native<(PathBuf, Config)> {
    let mut here = std::env::current_dir().map_err(|_| Reason::new("directory"))?;
    let mut config = Config::default();
    let mut moved = false;
    for given in parsed.globals() {
        let value = given.value.unwrap_or_default();
        match given.name() {
            Some("C") if value.is_empty() => {}
            Some("C") => {
                moved = true;
                here.push(OsStr::from_bytes(value));
            }
            Some("c") => config.push(assignment(value)?),
            Some("pager" | "optional-locks") => {}
            name => return Err(Reason::of("global-option", name.unwrap_or_default())),
        }
    }
    // As the kernel tells it, without links: git asks in the same way.
    if !moved && here.is_absolute() {
        return Ok((here, config));
    }
    let real = fs::canonicalize(&here).map_err(|_| Reason::new("directory"))?;
    Ok((real, config))
}

/// `section.key=value`, in letters that leave no doubt.
fn assignment(text: &[u8]) -> Native<ConfigEntry> {
    let doubt = || Reason::of("global-option", "c");
    let text = std::str::from_utf8(text).map_err(|_| doubt())?;
    let (name, value) = text.split_once('=').ok_or_else(doubt)?;
    let (section, rest) = name.split_once('.').ok_or_else(doubt)?;
    let (subsection, key) = match rest.rsplit_once('.') {
        Some((subsection, key)) => (Some(subsection), key),
        None => (None, rest),
    };
    let plain = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !plain(section) || !plain(key) {
        return Err(doubt());
    }
    Ok(ConfigEntry {
        section: section.to_ascii_lowercase(),
        subsection: subsection.map(|name| name.as_bytes().to_vec()),
        key: key.to_ascii_lowercase(),
        value: Some(value.as_bytes().to_vec()),
        line: 0,
    })
}

/// The work tree and its `.git`.
fn find(here: &Path) -> Native<(PathBuf, PathBuf)> {
    let odd = || Reason::new("repository-kind");
    let mut device = None;
    let ceilings = environment::ceilings();
    for directory in here.ancestors() {
        if directory != here && ceilings.iter().any(|ceiling| ceiling == directory) {
            return Err(Reason::new("no-repository"));
        }
        let own = fs::metadata(directory).map_err(|_| odd())?;
        if *device.get_or_insert(own.dev()) != own.dev() {
            return Err(odd());
        }
        let dot_git = directory.join(".git");
        let Ok(found) = fs::symlink_metadata(&dot_git) else {
            // A bare repository, or the inside of a git directory.
            if directory.join("HEAD").exists() {
                return Err(odd());
            }
            continue;
        };
        if !found.is_dir() || dot_git.join("commondir").exists() || !is_git_directory(&dot_git) {
            return Err(odd());
        }
        // SAFETY: has no preconditions and cannot fail.
        let user = unsafe { libc::geteuid() };
        if own.uid() != user || found.uid() != user {
            return Err(Reason::new("owner"));
        }
        return Ok((directory.to_path_buf(), dot_git));
    }
    Err(Reason::new("no-repository"))
}

fn is_git_directory(path: &Path) -> bool {
    let Ok(head) = read_regular(&path.join("HEAD")) else {
        return false;
    };
    let is_link = fs::symlink_metadata(path.join("HEAD")).is_ok_and(|head| head.is_symlink());
    let sound = match head.strip_prefix(b"ref:") {
        Some(target) => target.trim_ascii_start().starts_with(b"refs/"),
        None => pyi_git::Oid::from_hex(head.trim_ascii_end()).is_ok(),
    };
    sound && !is_link && path.join("objects").is_dir() && path.join("refs").is_dir()
}

fn read_config(path: &Path) -> Native<Config> {
    match read_regular(path) {
        Ok(text) => Config::parse(&text).map_err(|_| Reason::of("config", "malformed")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
        Err(_) => Err(Reason::of("config", "unreadable")),
    }
}

/// The configuration of the system and of the user.
fn users_config() -> Native<Config> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let mut config = Config::default();
    let mut add = |path: &Path| -> Native<()> {
        config.append(&read_config(path)?);
        Ok(())
    };
    for path in SYSTEM_CONFIG {
        add(Path::new(path))?;
    }
    // Variables that are set to nothing mean something else to git than ones that are not set.
    for name in ["GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL"] {
        if std::env::var_os(name).is_some_and(|value| value.is_empty()) {
            return Err(Reason::of("environment", name));
        }
    }
    if let Some(system) = named("GIT_CONFIG_SYSTEM") {
        add(&system)?;
    }
    if let Some(global) = named("GIT_CONFIG_GLOBAL") {
        add(&global)?;
        return Ok(config);
    }
    let home = named("HOME");
    let xdg = named("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    if let Some(xdg) = xdg {
        add(&xdg.join("git/config"))?;
    }
    if let Some(home) = home {
        add(&home.join(".gitconfig"))?;
    }
    Ok(config)
}

/// Whether nothing in the configuration changes what commands say that read refs and objects, or makes git stop.
fn check_config(config: &Config) -> Native<()> {
    for entry in config.entries() {
        let (section, key) = (entry.section.as_str(), entry.key.as_str());
        let value = entry.value.as_deref();
        let boolean = || parse_bool(value).is_ok();
        let sound = match section {
            "core" => match key {
                "repositoryformatversion" => value.is_some_and(|value| matches!(value, b"0" | b"1")),
                "bare" => parse_bool(value) == Ok(false),
                "logallrefupdates" => value == Some(b"always") || boolean(),
                _ if CORE_BOOLEANS.contains(&key) => boolean(),
                _ => value.is_some() && CORE_HARMLESS.contains(&key),
            },
            "extensions" => key == "objectformat" && value.is_some_and(|value| matches!(value, b"sha1" | b"sha256")),
            "color" if key == "ui" => {
                value.is_some_and(|value| matches!(value, b"auto" | b"always" | b"never")) || boolean()
            }
            "advice" => boolean(),
            "push" => match key {
                "default" => value.is_some_and(|value| {
                    matches!(value, b"simple" | b"current" | b"upstream" | b"matching" | b"nothing")
                }),
                "autosetupremote" | "followtags" => boolean(),
                _ => false,
            },
            "branch" if entry.subsection.is_none() => match key {
                "autosetuprebase" => {
                    value.is_some_and(|value| matches!(value, b"never" | b"local" | b"remote" | b"always"))
                }
                "autosetupmerge" => {
                    value.is_some_and(|value| matches!(value, b"always" | b"inherit" | b"simple")) || boolean()
                }
                _ => true,
            },
            // Drivers are read wherever files are shown.
            "diff" | "merge" => entry.subsection.is_none() && value.is_some(),
            _ if SECTIONS_REFUSED.contains(&section) => false,
            _ => match SECTIONS_READ.iter().find(|(read, _)| *read == section) {
                Some((_, keys)) => value.is_some() && keys.contains(&key),
                None => true,
            },
        };
        if !sound {
            let told = match SECTIONS_READ.iter().find(|(read, _)| *read == section) {
                Some((name, _)) => name,
                None => SECTIONS_REFUSED
                    .iter()
                    .find(|name| **name == section)
                    .unwrap_or(&"core"),
            };
            return Err(Reason::of("config", told));
        }
    }
    Ok(())
}
