//! An immutable version of a workspace, as callers hold it.

use std::sync::Arc;

use pyi_cas::{Bytes, Id, Pin};
use pyi_tree::{CheckpointRoot, Loader, Mode, Node, Pending, Tree, Walk};

use crate::engine::Engine;
use crate::entry::Entry;
use crate::hold::Held;
use crate::repository::Repository;
use crate::{Error, Result, paths};

/// A checkpoint: one id for files, state, journal, git and metadata. Cloning is O(1).
#[derive(Clone)]
pub struct Checkpoint {
    pub(crate) engine: Arc<Engine>,
    id: Id,
    root: Arc<CheckpointRoot>,
}

impl Checkpoint {
    pub(crate) fn new(engine: Arc<Engine>, id: Id, root: Arc<CheckpointRoot>) -> Self {
        Checkpoint { engine, id, root }
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// What it holds.
    #[must_use]
    pub fn root(&self) -> &CheckpointRoot {
        &self.root
    }

    /// As [`Checkpoint::read`], but only if it takes no look at the store: `None` if something of it is not in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_from_memory(&self, path: &[u8]) -> Result<Option<Bytes>> {
        self.engine.open()?;
        match self.engine.recent_snapshot(&self.id) {
            Some(snapshot) => read_from_memory(&self.engine, &snapshot.files, path),
            None => Ok(None),
        }
    }

    /// Returns when the checkpoint, and everything that it reaches, survives a loss of power, whatever class it was made with. Whoever waits
    /// at the same time shares the flush. In a repository in memory it returns at once, as nothing there survives.
    ///
    /// # Errors
    /// `Storage`.
    pub fn wait_durable(&self) -> Result<()> {
        self.engine.open()?;
        Ok(self.engine.store().wait_durable()?)
    }

    /// The repository that this checkpoint belongs to.
    #[must_use]
    pub fn repository(&self) -> Repository {
        Repository {
            engine: self.engine.clone(),
        }
    }

    fn hold(&self) -> Result<Arc<Held>> {
        self.engine.open()?;
        self.engine.hold(&self.id)
    }

    /// The content of a file, or the target of a symlink. O(depth), plus the content if it is not in the cache.
    ///
    /// # Errors
    /// `NotFound`, `InvalidPath`, `Corrupt`.
    pub fn read(&self, path: &[u8]) -> Result<Bytes> {
        read(&self.engine, &self.hold()?.files, path)
    }

    /// Goes through everything below `directory` but the directories themselves.
    ///
    /// # Errors
    /// `NotFound`, `InvalidPath`.
    pub fn walk(&self, directory: &[u8]) -> Result<EntryWalk> {
        let held = self.hold()?;
        EntryWalk::files(self.engine.clone(), &held.files, directory, vec![held.pin.clone()])
    }
}

/// The content at `path` of `files`.
pub(crate) fn read(engine: &Engine, files: &Tree, path: &[u8]) -> Result<Bytes> {
    paths::check(path)?;
    let Some(found) = files.find(path, &engine.loader)? else {
        return Err(pyi_tree::Error::not_found(path).into());
    };
    let refused = |what: &str| {
        let path = String::from_utf8_lossy(path);
        Err(Error::invalid_path(format!(
            "{path:?} is {what} and has no content to read; use stat or list"
        )))
    };
    match found.mode() {
        Mode::Directory => refused("a directory"),
        Mode::Gitlink => refused("a submodule"),
        _ => engine.content(&found.row().id, found.pending()),
    }
}

/// A loader that has nothing: for reads that must not wait.
struct NoLoader;

impl Loader for NoLoader {
    fn load(&self, id: &Id) -> pyi_tree::Result<Arc<Node>> {
        Err(pyi_tree::Error::corrupt(format!("node {id} is not in memory")))
    }
}

/// As [`read`] if all of it is in memory.
pub(crate) fn read_from_memory(engine: &Engine, files: &Tree, path: &[u8]) -> Result<Option<Bytes>> {
    paths::check(path)?;
    // Anything but an ordinary hit is left to `read`, which says what is wrong.
    let Ok(Some(found)) = files.find(path, &NoLoader) else {
        return Ok(None);
    };
    if matches!(found.mode(), Mode::Directory | Mode::Gitlink) {
        return Ok(None);
    }
    match found.pending() {
        Some(Pending::Blob(content)) => Ok(Some(content.clone())),
        _ => Ok(engine.cached_blob(&found.row().id)),
    }
}

/// A walk through entries. Memory: O(depth).
pub struct EntryWalk {
    engine: Arc<Engine>,
    walk: Walk,
    /// Keeps what is walked through.
    _pins: Vec<Arc<Pin>>,
}

impl EntryWalk {
    pub(crate) fn files(engine: Arc<Engine>, files: &Tree, directory: &[u8], pins: Vec<Arc<Pin>>) -> Result<Self> {
        let directory = paths::directory(directory)?;
        let walk = Walk::files(files.directory(directory, &engine.loader)?.clone(), directory);
        Ok(EntryWalk {
            engine,
            walk,
            _pins: pins,
        })
    }
}

impl Iterator for EntryWalk {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let loader: &dyn Loader = &self.engine.loader;
        match self.walk.next(loader) {
            Ok(entry) => entry.map(|entry| Ok(Entry::of_walk(entry))),
            Err(error) => Some(Err(error.into())),
        }
    }
}
