//! A git directory as commands read it: refs and objects, each opened when it is first asked for.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pyi_git::config::Config;
use pyi_git::oid::OidPrefix;
use pyi_git::{ObjectFormat, Oid};

use super::layout::Layout;
use super::odb::ObjectDatabase;
use super::ref_files::{RefFiles, RefValue};
use crate::sandbox::os::{Dir, Names};
use crate::{Error, Result};

/// Commands hold objects in memory whole: larger ones are git's, which has other ways for some of them.
const OBJECT_MAX_BYTES: u64 = 256 << 20;

/// The git directory of a repository with one work tree.
pub struct GitDirectory {
    files: RefFiles,
    refs_are_files: bool,
    /// What stands in the directory itself, listed once.
    names: OnceLock<Option<Names>>,
    objects: OnceLock<Result<ObjectDatabase>>,
    /// `packed-refs`, read once, and which file it was: a command sees one state of it.
    packed: OnceLock<Result<(Vec<u8>, Option<Stamp>)>>,
    /// Loose objects by the first byte of their names, listed once each.
    loose: Mutex<BTreeMap<u8, Arc<Vec<Oid>>>>,
}

/// Inode, time and size.
type Stamp = (u64, i64, i64, u64);

impl GitDirectory {
    /// Opens a git directory; objects are not looked at yet. O(its configuration).
    ///
    /// # Errors
    /// `GitError` for a configuration that cannot be understood, or a repository of a kind that nobody knows yet; `Storage`.
    pub fn open(git_dir: &Path) -> Result<Self> {
        Ok(Self::of(git_dir, &Layout::read(git_dir)?))
    }

    /// Opens a git directory whose configuration (without extensions that name other files of it) was read already. O(its configuration).
    ///
    /// # Errors
    /// `GitError` for a configuration that cannot be understood, or a repository of a kind that nobody knows yet.
    pub fn with_config(git_dir: &Path, config: &Config) -> Result<Self> {
        Ok(Self::of(git_dir, &Layout::of(config, &git_dir.join("config"))?))
    }

    fn of(git_dir: &Path, layout: &Layout) -> Self {
        let files = RefFiles {
            git_dir: git_dir.to_path_buf(),
            common_dir: git_dir.to_path_buf(),
            format: layout.format,
        };
        GitDirectory {
            files,
            refs_are_files: layout.refs_are_files,
            names: OnceLock::new(),
            objects: OnceLock::new(),
            packed: OnceLock::new(),
            loose: Mutex::default(),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.files.common_dir()
    }

    /// Whether something of this name stands in the directory itself: a command sees one state of it. O(entries), once.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let names = self
            .names
            .get_or_init(|| Dir::open(self.path()).and_then(|dir| dir.list()).ok());
        match names {
            Some(names) => names.contains(name.as_bytes()),
            None => std::fs::symlink_metadata(self.path().join(name)).is_ok(),
        }
    }

    /// The repository's hash.
    #[must_use]
    pub fn format(&self) -> ObjectFormat {
        self.files.format
    }

    /// Whether refs are files: if not, nothing here can read them.
    #[must_use]
    pub fn refs_are_files(&self) -> bool {
        self.refs_are_files
    }

    /// What a ref holds, by its full name. O(packed refs).
    ///
    /// # Errors
    /// `GitError` for a ref that is broken, and if refs were packed meanwhile; `Storage`.
    pub fn read_ref(&self, name: &[u8]) -> Result<Option<RefValue>> {
        if let Some(found) = self.files.read_loose(name)? {
            return Ok(Some(found));
        }
        let found = self.files.packed_in(self.packed_refs()?, name)?;
        // Who packs a ref takes its own file away after that: what was read before may not have it, or an older value.
        match &self.packed.get() {
            Some(Ok((_, stamp))) if *stamp == self.packed_stamp() => Ok(found.map(RefValue::Object)),
            _ => Err(self.files.broken(name, "it was packed meanwhile")),
        }
    }

    fn packed_stamp(&self) -> Option<Stamp> {
        let about = std::fs::metadata(self.path().join("packed-refs")).ok()?;
        Some((about.ino(), about.mtime(), about.mtime_nsec(), about.size()))
    }

    /// All refs below `refs/`, by name. O(refs).
    ///
    /// # Errors
    /// `GitError` for a ref, or a file among them, that is broken; `Storage`.
    pub fn refs(&self) -> Result<BTreeMap<Vec<u8>, RefValue>> {
        self.files.all()
    }

    /// Where a ref would stand as a file of its own.
    #[must_use]
    pub fn ref_path(&self, name: &[u8]) -> PathBuf {
        self.files.path(name)
    }

    /// The text of `packed-refs`; empty if there is none.
    ///
    /// # Errors
    /// `Storage`.
    pub fn packed_refs(&self) -> Result<&[u8]> {
        let read = self.packed.get_or_init(|| {
            // One that is replaced after this is not taken for the one that is read.
            let stamp = self.packed_stamp();
            let text = self.files.packed_text()?;
            self.files.check_packed(&text)?;
            Ok((text, stamp))
        });
        match read {
            Ok((text, _)) => Ok(text),
            Err(error) => Err(error.clone()),
        }
    }

    /// The objects.
    ///
    /// # Errors
    /// `Storage` if the packs cannot be listed; `GitError` for alternates that git complains of.
    pub fn objects(&self) -> Result<&ObjectDatabase> {
        let opened = self
            .objects
            .get_or_init(|| ObjectDatabase::limited(self.path(), self.format(), OBJECT_MAX_BYTES));
        match opened {
            Ok(objects) if objects.has_odd_alternates() => Err(Error::git(format!(
                "{}: alternates that git complains of; `git fsck` tells more",
                self.path().display()
            ))),
            Ok(objects) => Ok(objects),
            Err(error) => Err(error.clone()),
        }
    }

    /// The objects whose names begin so: at most `limit` of them, each once. O(packs log objects + loose objects of one directory).
    ///
    /// # Errors
    /// `Storage`.
    pub fn beginning(&self, prefix: &OidPrefix, limit: usize) -> Result<Vec<Oid>> {
        let objects = self.objects()?;
        let first = prefix.low().first().copied().unwrap_or_default();
        // A command asks for every name that it shows, and sees one state of the directory.
        let known = self.loose.lock().get(&first).cloned();
        let loose = match known {
            Some(known) => known,
            None => {
                let found = Arc::new(objects.loose_from(first)?);
                self.loose.lock().insert(first, found.clone());
                found
            }
        };
        objects.beginning_among(prefix, limit, &loose)
    }
}
