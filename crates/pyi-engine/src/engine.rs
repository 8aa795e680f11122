//! What everything on one store shares: the store, the loader, the caches.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use pyi_cas::{Batch, Bytes, Id, Kind, ObjectStore};
use pyi_tree::diff::Side;
use pyi_tree::journal::JournalTree;
use pyi_tree::merge::Contents;
use pyi_tree::{CheckpointRoot, Loader, Pending, StoreLoader, Tree};

use crate::blobs::Blobs;
use crate::cap::Cap;
use crate::durability::{Durability, Scratch};
use crate::git::GitMap;
use crate::hold::{LastCollection, LastHeld};
use crate::lease::Leases;
use crate::recent::{Recent, Slot};
use crate::repository::RepositoryOptions;
use crate::superposition::{Shelf, Watch};
use crate::warm::Warm;
use crate::{Error, Result};

/// A checkpoint with its trees in memory: what a restore hands out in O(1).
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: Id,
    pub(crate) root: Arc<CheckpointRoot>,
    pub(crate) files: Tree,
    pub(crate) state: Tree,
    pub(crate) journal: JournalTree,
}

/// The shared part of a repository.
pub(crate) struct Engine {
    pub(crate) loader: StoreLoader,
    pub(crate) path: PathBuf,
    /// What this repository promises of each acknowledged change.
    pub(crate) durability: Durability,
    /// Holds what `path` names, in a repository that is not on disk.
    _scratch: Option<Scratch>,
    pub(crate) git_dir: Option<PathBuf>,
    pub(crate) git_map: GitMap,
    blobs: Blobs,
    recent: Mutex<Recent>,
    batches: Mutex<Vec<Batch>>,
    pub(crate) warm: Warm,
    pub(crate) leases: Leases,
    /// Superpositions without a name.
    pub(crate) superpositions: Shelf,
    /// Who waits for a collapse.
    pub(crate) watch: Watch,
    pub(crate) last_held: LastHeld,
    pub(crate) cap: Cap,
    pub(crate) last_collection: Mutex<LastCollection>,
    /// Bytes that checkpoints hashed since this was opened.
    pub(crate) hashed_bytes: AtomicU64,
    closed: AtomicBool,
}

/// Batches kept for reuse; more than this many are dropped.
const BATCHES_KEPT: usize = 8;
/// A batch that grew beyond this is dropped after use: emptying it would cost as much as filling it did.
const BATCH_KEPT_BYTES: usize = 1 << 20;

impl Engine {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        path: PathBuf,
        git_dir: Option<PathBuf>,
        options: &RepositoryOptions,
        scratch: Option<Scratch>,
    ) -> Self {
        let git_map = GitMap::new(path.join("gitmap"));
        Engine {
            loader: StoreLoader::new(store),
            path,
            durability: options.durability,
            _scratch: scratch,
            git_dir,
            git_map,
            blobs: Blobs::new(options.cache_bytes),
            recent: Mutex::new(Recent::new(options.cache_bytes / 2)),
            batches: Mutex::new(Vec::new()),
            warm: Warm::new(options.trees_bytes),
            leases: Leases::new(),
            superpositions: Shelf::default(),
            watch: Watch::default(),
            last_held: LastHeld::default(),
            cap: Cap::default(),
            last_collection: Mutex::default(),
            hashed_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        &**self.loader.store()
    }

    /// # Errors
    /// `Closed` after [`Engine::close`].
    pub(crate) fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(
                crate::ErrorKind::Closed,
                format!(
                    "the repository at {} was closed; open it again with pyi.open",
                    self.path.display()
                ),
            ));
        }
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        self.last_held.clear();
        Ok(self.store().close()?)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn take_batch(&self) -> Batch {
        self.batches.lock().pop().unwrap_or_default()
    }

    pub(crate) fn give_batch(&self, mut batch: Batch) {
        // A commit has emptied the batch already, so its memory and not its size tells whether it was a large one.
        if batch.memory_bytes() > BATCH_KEPT_BYTES {
            return;
        }
        batch.clear();
        let mut batches = self.batches.lock();
        if batches.len() < BATCHES_KEPT {
            batches.push(batch);
        }
    }

    /// A blob's content, through the cache.
    pub(crate) fn blob(&self, id: &Id) -> Result<Bytes> {
        if let Some(content) = self.blobs.get(id) {
            return Ok(content);
        }
        let Some(content) = self.store().get(Kind::Blob, id)? else {
            return Err(Error::corrupt(format!(
                "blob {id} is missing from the store; run `pyi scrub`"
            )));
        };
        self.blobs.keep_read(id, content.clone());
        Ok(content)
    }

    pub(crate) fn cached_blob(&self, id: &Id) -> Option<Bytes> {
        self.blobs.get(id)
    }

    /// Forgets checkpoints that are only remembered.
    pub(crate) fn forget_recent(&self) {
        let old = self.recent.lock().take();
        drop(old);
    }

    /// Forgets contents that are only remembered.
    pub(crate) fn forget_blobs(&self) {
        self.blobs.clear();
    }

    pub(crate) fn recent_snapshot(&self, id: &Id) -> Option<Arc<Snapshot>> {
        self.recent.lock().get(id)
    }

    pub(crate) fn remember_blob(&self, id: &Id, content: &Bytes) {
        self.blobs.keep_written(id, content.clone());
    }

    /// The content behind a row.
    pub(crate) fn content(&self, id: &Id, pending: Option<&Pending>) -> Result<Bytes> {
        match pending {
            Some(Pending::Blob(content)) => Ok(content.clone()),
            Some(Pending::Array { root, .. }) => Ok(root.clone()),
            None => self.blob(id),
        }
    }

    /// A tree by its root node's id.
    pub(crate) fn tree(&self, id: &Id) -> Result<Tree> {
        Ok(Tree::from_root(self.loader.load(id)?))
    }

    /// The root object of a checkpoint.
    ///
    /// # Errors
    /// `NotFound` if this repository has no such checkpoint.
    pub(crate) fn root(&self, id: &Id) -> Result<Arc<CheckpointRoot>> {
        if let Some(snapshot) = self.recent.lock().get(id) {
            return Ok(snapshot.root.clone());
        }
        let Some(bytes) = self.store().get(Kind::Checkpoint, id)? else {
            return Err(Error::not_found(format!(
                "checkpoint {id} is not in this repository; `pyi checkpoints` lists what is"
            )));
        };
        Ok(Arc::new(CheckpointRoot::decode(&bytes)?))
    }

    /// The root object of a checkpoint that another one names as its parent; `None` where retention cut the history.
    pub(crate) fn ancestor(&self, id: &Id) -> Result<Option<Arc<CheckpointRoot>>> {
        match self.root(id) {
            Ok(root) => Ok(Some(root)),
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A checkpoint with its trees. O(1) for recent ones.
    pub(crate) fn snapshot(&self, id: &Id) -> Result<Arc<Snapshot>> {
        if let Some(snapshot) = self.recent.lock().get(id) {
            return Ok(snapshot);
        }
        let root = self.root(id)?;
        let optional = |id: &Option<Id>| match id {
            Some(id) => self.tree(id),
            None => Ok(Tree::default()),
        };
        let snapshot = Arc::new(Snapshot {
            id: *id,
            files: self.tree(&root.files)?,
            state: optional(&root.state)?,
            journal: JournalTree::from_tree(optional(&root.journal)?),
            root,
        });
        let cost = snapshot.files.root().memory_bytes() + SNAPSHOT_BYTES;
        self.keep(|recent| recent.insert_missed(snapshot.clone(), cost));
        Ok(snapshot)
    }

    /// Keeps a checkpoint that was just made, as long as there is room. O(1) amortized.
    pub(crate) fn remember(&self, snapshot: Arc<Snapshot>, cost_bytes: usize) {
        self.keep(|recent| recent.insert_made(snapshot, cost_bytes));
    }

    fn keep(&self, insert: impl FnOnce(&mut Recent) -> Vec<Slot>) {
        let gone = insert(&mut self.recent.lock());
        // Taking nodes apart that nobody looked at for long takes a while: not while others wait for the lock.
        drop(gone);
    }
}

/// What a snapshot costs beside its nodes, in bytes, roughly.
pub(crate) const SNAPSHOT_BYTES: usize = 1024;

impl Contents for Engine {
    fn read(&self, side: &Side) -> pyi_tree::Result<Bytes> {
        self.content(&side.row.id, side.pending.as_ref())
            .map_err(|error| pyi_tree::Error::corrupt(error.to_string()))
    }
}

/// The time now, unix nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
