//! A git repository to import from or export to: where its parts are, and which commit a revision names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyi_git::refname::{RefNameOptions, check_ref_format};
use pyi_git::tag::Tag;
use pyi_git::{Object, ObjectFormat, ObjectKind, Oid};

use super::command::{complaint, git_reading, run};
use super::layout::Layout;
use super::odb::ObjectDatabase;
use super::ref_files::{RefFiles, RefValue};
use crate::locate::{common_dir, git_dir};
use crate::{Error, Result};

/// Tags of tags of tags.
const TAGS_MAX: usize = 64;

/// An opened git repository. All calls may be made from any thread.
pub struct GitSource {
    refs: RefFiles,
    pub(crate) layout: Layout,
    objects: ObjectDatabase,
}

fn real(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|error| Error::io("open", path, &error))
}

impl GitSource {
    /// Opens the repository of a work tree, a linked work tree, a git directory or a bare repository.
    ///
    /// # Errors
    /// `NotFound` if there is no repository; `GitError` for one that cannot be understood; `Storage`.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_git_dir(Self::find(path)?)
    }

    /// The real path of the git directory for `path`.
    pub(crate) fn find(path: &Path) -> Result<PathBuf> {
        let Some(found) = git_dir(path)? else {
            return Err(Error::not_found(format!(
                "{}: not a git repository; name the top of a work tree or a .git directory",
                path.display()
            )));
        };
        real(&found)
    }

    /// Opens the repository with this git directory, a real path.
    pub(crate) fn open_git_dir(git_dir: PathBuf) -> Result<Self> {
        let common_dir = real(&common_dir(&git_dir)?)?;
        let layout = Layout::read(&common_dir)?;
        let objects = ObjectDatabase::of_format(&common_dir, layout.format)?;
        let refs = RefFiles {
            git_dir,
            common_dir,
            format: layout.format,
        };
        Ok(GitSource { refs, layout, objects })
    }

    /// The git directory: of a linked work tree, its own.
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        &self.refs.git_dir
    }

    /// The directory that holds objects and branches; the same for all work trees.
    #[must_use]
    pub fn common_dir(&self) -> &Path {
        &self.refs.common_dir
    }

    /// The repository's hash.
    #[must_use]
    pub fn format(&self) -> ObjectFormat {
        self.layout.format
    }

    /// The objects.
    #[must_use]
    pub fn objects(&self) -> &ObjectDatabase {
        &self.objects
    }

    /// The commit that a revision names, in git's own syntax: `HEAD`, a branch, a tag, a full name, `main~3`, ...
    ///
    /// # Errors
    /// `NotFound` if nothing has that name; `GitError` if it is no commit, or git refuses.
    pub fn resolve(&self, rev: &str) -> Result<Oid> {
        if rev.is_empty() || rev.contains('\0') {
            return Err(Error::invalid(format!(
                "{rev:?} is no revision; name a branch, a tag or a commit"
            )));
        }
        if let Ok(oid) = Oid::from_hex(rev.as_bytes())
            && oid.format() == self.format()
        {
            return self.peel(rev, oid);
        }
        if self.layout.refs_are_files {
            if rev == "HEAD" {
                return match self.follow(b"HEAD")? {
                    Some(oid) => self.peel(rev, oid),
                    None => Err(self.unknown(rev)),
                };
            }
            if let Some(oid) = self.by_short_name(rev.as_bytes())? {
                return self.peel(rev, oid);
            }
        }
        self.ask_git(rev)
    }

    /// What `refs/heads/<branch>` is at; `None` if there is no such branch.
    pub(crate) fn branch(&self, branch: &str) -> Result<Option<Oid>> {
        let name = format!("refs/heads/{branch}");
        if self.layout.refs_are_files {
            return self.follow(name.as_bytes());
        }
        match self.ask_git(&name) {
            Ok(oid) => Ok(Some(oid)),
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first ref that git would take a short name for. Names of files in the git directory other than `HEAD`, and
    /// everything with syntax in it, are left to git.
    fn by_short_name(&self, name: &[u8]) -> Result<Option<Oid>> {
        let one_level = RefNameOptions {
            one_level: true,
            ..RefNameOptions::default()
        };
        if check_ref_format(name, one_level).is_err() || self.refs.git_dir.join(OsStr::from_bytes(name)).is_file() {
            return Ok(None);
        }
        let prefixes: &[&[u8]] = if name.starts_with(b"refs/") {
            &[b""]
        } else {
            &[b"refs/", b"refs/tags/", b"refs/heads/", b"refs/remotes/"]
        };
        for prefix in prefixes {
            if let Some(oid) = self.follow(&[prefix, name].concat())? {
                return Ok(Some(oid));
            }
        }
        Ok(None)
    }

    /// The object that a ref leads to; `None` if the ref, or what it points at, does not exist.
    fn follow(&self, name: &[u8]) -> Result<Option<Oid>> {
        self.refs.follow(name)
    }

    pub(crate) fn read_ref(&self, name: &[u8]) -> Result<Option<RefValue>> {
        self.refs.read(name)
    }

    fn unknown(&self, rev: &str) -> Error {
        let remedy = if rev == "HEAD" {
            "it has no commit yet; make one, or name another revision"
        } else {
            "`git branch -a` and `git tag` list names, `git fetch` brings more"
        };
        Error::not_found(format!(
            "revision {rev:?} is not in {}: {remedy}",
            self.refs.common_dir.display()
        ))
    }

    /// The commit behind an object, through tags.
    fn peel(&self, rev: &str, oid: Oid) -> Result<Oid> {
        let mut at = oid;
        for _ in 0..TAGS_MAX {
            let Some(object) = self.objects.read(&at)? else {
                if at == oid && rev == oid.to_hex() {
                    return Err(self.unknown(rev));
                }
                return Err(self.missing(&at, &format!("for revision {rev:?}")));
            };
            match object.kind {
                ObjectKind::Commit => return Ok(at),
                ObjectKind::Tag => {
                    at = Tag::parse(self.format(), &object.data)
                        .map_err(|error| Error::git(format!("tag {at}: {error}; `git fsck` tells more")))?
                        .target;
                }
                kind => return Err(Error::git(format!("revision {rev:?} is a {kind}, not a commit"))),
            }
        }
        Err(Error::git(format!(
            "revision {rev:?}: more than {TAGS_MAX} tags of tags"
        )))
    }

    fn ask_git(&self, rev: &str) -> Result<Oid> {
        let mut command = git_reading(&self.refs.git_dir);
        command.args(["rev-parse", "--verify", "--quiet", "--end-of-options", rev]);
        let output = run(command)?;
        if output.status.success() {
            let oid = Oid::from_hex(output.stdout.trim_ascii_end());
            return self.peel(
                rev,
                oid.map_err(|error| Error::git(format!("`git rev-parse {rev}`: {error}")))?,
            );
        }
        if output.status.code() == Some(1) && output.stderr.trim_ascii().is_empty() {
            return Err(self.unknown(rev));
        }
        Err(Error::git(format!(
            "git cannot resolve {rev:?} in {}: {}",
            self.refs.common_dir.display(),
            complaint(&output)
        )))
    }

    /// The commit's content.
    pub(crate) fn commit(&self, oid: &Oid) -> Result<Object> {
        let object = self
            .objects
            .read(oid)?
            .ok_or_else(|| self.missing(oid, "in the history"))?;
        if object.kind != ObjectKind::Commit {
            return Err(Error::git(format!("{oid} is a {}, not a commit", object.kind)));
        }
        Ok(object)
    }

    /// The error for an object that should be there.
    pub(crate) fn missing(&self, oid: &Oid, what_for: &str) -> Error {
        let remedy = if self.layout.partial {
            "the repository is a partial clone: run `git fetch --refetch --filter=blob:limit=9999g` (or clone it whole) first"
        } else if self.refs.common_dir.join("shallow").exists() {
            "the repository is a shallow clone: run `git fetch --unshallow` first"
        } else {
            "`git fsck` lists what else is gone; `git fetch --refetch` or a fresh clone brings it back"
        };
        Error::git(format!(
            "object {oid} {what_for} is missing from {}; {remedy}",
            self.refs.common_dir.display()
        ))
    }
}
