//! A mutable copy-on-write view: files, state, journal and a head.
//!
//! A workspace is a handful of pointers into persistent trees, so a fork is a copy of pointers. Edits go to a clone of the
//! tree that is kept only if the edit succeeded: an error leaves nothing half-applied. Everything is behind one
//! short lock; no lock is held while contents are read.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyi_cas::{Bytes, Guard, Id, Pin, RefOutcome, RefTransaction};
use pyi_tree::journal::{EventBuffer, JournalTree};
use pyi_tree::refs::{Lease, Origin, WorkspaceRecord, workspace_key};
use pyi_tree::tree::Content as NewContent;
use pyi_tree::{Mode, Tree, Walk};

use crate::checkpoint::{Checkpoint, EntryWalk, read, read_from_memory};
use crate::durability::Durability;
use crate::engine::Engine;
use crate::entry::{Entry, mode_of};
use crate::hold::Held;
use crate::lease::Claim;
use crate::live::LiveArrays;
use crate::repository::{Repository, hold_named};
use crate::sandbox::Synced;
use crate::{Error, Result, paths};

/// A workspace. Shared handles are `Arc`s; all methods take `&self` and may be called from many threads.
pub struct Workspace {
    pub(crate) engine: Arc<Engine>,
    pub(crate) content: Mutex<Shared>,
    name: Option<Arc<str>>,
    /// This workspace, for whoever keeps an eye on it.
    pub(crate) weak: Weak<Workspace>,
}

/// A move to a longer path than this looks at what is below: paths end at 4,096 bytes, and nothing ordinary is near.
const LONG_PATH_BYTES: usize = 255;

/// So many bytes of new content count as one small change.
const WEIGHT_BYTES: usize = 4096;
/// A change that nobody weighed.
pub(crate) const HEAVY: u32 = u32::MAX;
/// A checkpoint of changes up to this, in a tree of files up to this, is a matter of about ten microseconds.
const LIGHT: u32 = 2;
const LIGHT_FILES: u64 = 1 << 14;

/// About how many small changes one of so many bytes is.
pub(crate) fn weight(size_bytes: usize) -> u32 {
    u32::try_from(size_bytes / WEIGHT_BYTES)
        .unwrap_or(HEAVY)
        .saturating_add(1)
}

/// What a workspace holds.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) files: Tree,
    pub(crate) state: Tree,
    /// Arrays of the state that are in memory and may have been written to.
    pub(crate) live: LiveArrays,
    pub(crate) journal: JournalTree,
    /// Events that are not in the journal's tree yet.
    pub(crate) fresh: EventBuffer,
    pub(crate) head: Arc<Held>,
    /// Heads that were merged in since the last checkpoint: its further parents.
    pub(crate) merged: Vec<Id>,
    /// Keeps what was stored early or came from elsewhere since the last checkpoint.
    pub(crate) pins: Vec<Arc<Pin>>,
    /// Keeps the arrays of the state that were stored early, by key: a newer one reaches all that it took over from the older.
    pub(crate) array_pins: BTreeMap<String, Arc<Pin>>,
    /// Keeps the journal that was flushed last, of which the next one shares most.
    pub(crate) journal_pin: Option<Arc<Pin>>,
    /// What git knows of this content; goes into the next checkpoint.
    pub(crate) git: Arc<pyi_tree::cbor::Value>,
    /// HEAD, refs, index and the like, once a git command was run; without it they are what `git` says.
    pub(crate) git_directory: Option<Tree>,
    /// The directories that this workspace was the same as, and what both held then.
    pub(crate) synced: Synced,
    /// Where it came from; shared, because a fork copies it.
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) dirty: bool,
    /// About how many small changes were made since the head.
    weight: u32,
    /// What is known of the name, if the workspace has one.
    pub(crate) claim: Option<Claim>,
}

/// A content that a workspace has together with its forks, until one of them changes it: most forks read, or take a moment to the first
/// change, and a copy of a content counts a dozen pointers.
pub(crate) struct Shared(Arc<Content>);

impl Shared {
    /// What a fork begins with. The arrays that are being written to, and the name, stay with the one that has them. O(1).
    fn fork(&self) -> Shared {
        if self.live.is_empty() && self.claim.is_none() {
            return Shared(self.0.clone());
        }
        let mut copy = Content::clone(self);
        copy.claim = None;
        copy.into()
    }
}

impl From<Content> for Shared {
    fn from(content: Content) -> Shared {
        Shared(Arc::new(content))
    }
}

impl Deref for Shared {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0
    }
}

impl DerefMut for Shared {
    /// Copies what forks have too. O(1).
    fn deref_mut(&mut self) -> &mut Content {
        Arc::make_mut(&mut self.0)
    }
}

impl Content {
    pub(crate) fn of(head: Arc<Held>, origin: Option<Origin>) -> Self {
        Content {
            files: head.files.clone(),
            state: head.state.clone(),
            live: LiveArrays::default(),
            journal: head.journal.clone(),
            fresh: EventBuffer::default(),
            merged: Vec::new(),
            pins: Vec::new(),
            array_pins: BTreeMap::new(),
            journal_pin: None,
            synced: Synced::default(),
            git: head.root.git.clone(),
            git_directory: None,
            head,
            origin: origin.map(Arc::new),
            dirty: false,
            weight: 0,
            claim: None,
        }
    }

    /// What the record of a named workspace says, as a view: at its last checkpoint and with the journal that was flushed since.
    pub(crate) fn of_record(engine: &Engine, name: &str, value: Vec<u8>) -> Result<Self> {
        let _section = engine.store().section();
        let record = WorkspaceRecord::decode(&value)?;
        let mut content = Content::of(hold_named(engine, "workspace", name, &record.head)?, record.origin);
        if let Some(journal) = record.journal {
            content.journal_pin = Some(Arc::new(engine.store().pin(&journal)));
            content.journal = JournalTree::from_tree(engine.tree(&journal)?);
            content.changed(HEAVY);
        }
        content.claim = Some(Claim::view(value));
        Ok(content)
    }

    /// Relies on more, each once: what goes to and fro between workspaces and directories brings its pins along every time.
    pub(crate) fn rely_on(&mut self, pins: impl IntoIterator<Item = Arc<Pin>>) {
        for pin in pins {
            let held = Arc::ptr_eq(&pin, &self.head.pin) || self.pins.iter().any(|known| Arc::ptr_eq(known, &pin));
            if !held {
                self.pins.push(pin);
            }
        }
    }

    /// Everything that keeps what this content relies on.
    pub(crate) fn all_pins(&self) -> Vec<Arc<Pin>> {
        let mut pins = self.pins.clone();
        pins.push(self.head.pin.clone());
        pins.extend(self.array_pins.values().cloned());
        pins.extend(self.journal_pin.clone());
        pins
    }

    /// Whether anything was changed since the head.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty || self.live.is_touched()
    }

    /// Takes note of a change, and about how many small ones it is.
    pub(crate) fn changed(&mut self, weight: u32) {
        self.dirty = true;
        self.weight = self.weight.saturating_add(weight);
    }

    /// Takes note that nothing was changed since the head.
    pub(crate) fn unchanged(&mut self) {
        self.dirty = false;
        self.weight = 0;
    }

    /// Moves fresh events into the journal's tree.
    pub(crate) fn settle_journal(&mut self, engine: &Engine) -> Result<()> {
        if !self.fresh.is_empty() {
            self.journal.append(&self.fresh, &engine.loader)?;
            self.fresh.clear();
        }
        Ok(())
    }

    /// The record of a named workspace whose head would be `head`.
    pub(crate) fn record_with(&self, head: Id, journal: Option<Id>, lease: Lease) -> WorkspaceRecord {
        WorkspaceRecord {
            head,
            origin: self.origin.as_deref().cloned(),
            journal,
            lease,
        }
    }
}

impl Workspace {
    pub(crate) fn new(engine: Arc<Engine>, content: impl Into<Shared>, name: Option<Arc<str>>) -> Arc<Self> {
        let content = Mutex::new(content.into());
        Arc::new_cyclic(|weak| Workspace {
            engine,
            content,
            name,
            weak: weak.clone(),
        })
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether a checkpoint at this moment would wait for nothing and take about ten microseconds: there is little to store in no large tree, no
    /// name to move, and nobody else is at it. A hint.
    #[must_use]
    pub fn is_light(&self, durability: Option<Durability>) -> bool {
        let durability = durability.unwrap_or(self.engine.durability);
        let content = self.content.try_lock();
        let is_small = content.is_some_and(|content| {
            content.weight <= LIGHT
                && content.files.root().files() <= LIGHT_FILES
                && content.claim.is_none()
                && content.merged.is_empty()
                && !content.live.is_touched()
        });
        is_small && durability != Durability::Power && self.engine.is_ready()
    }

    /// The last checkpoint that this workspace made or was restored to.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        let head = self.content.lock().head.clone();
        Checkpoint::new(self.engine.clone(), head.id, head.root.clone())
    }

    /// Whether anything was changed since the head.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.content.lock().is_dirty()
    }

    /// The number of files (everything that is not a directory). O(1).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.content.lock().files.root().files()
    }

    /// Whether there is no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn shared_name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// The files as they are now. O(1).
    pub(crate) fn files(&self) -> Result<Tree> {
        self.engine.open()?;
        Ok(self.content.lock().files.clone())
    }

    /// The content of a file, or the target of a symlink. O(depth), plus the content if it is not in the cache.
    ///
    /// # Errors
    /// `NotFound`, `InvalidPath` (also for a directory), `Corrupt`.
    pub fn read(&self, path: &[u8]) -> Result<Bytes> {
        read(&self.engine, &self.files()?, path)
    }

    /// As [`Workspace::read`], but only if it takes no look at the store and no waiting: `None` if something of it is not in memory, or
    /// somebody is at the workspace.
    ///
    /// # Errors
    /// As [`Workspace::read`].
    pub fn read_from_memory(&self, path: &[u8]) -> Result<Option<Bytes>> {
        self.engine.open()?;
        match self.content.try_lock() {
            Some(content) => read_from_memory(&self.engine, &content.files, path),
            None => Ok(None),
        }
    }

    /// The repository that this workspace belongs to.
    #[must_use]
    pub fn repository(&self) -> Repository {
        Repository {
            engine: self.engine.clone(),
        }
    }

    /// Whether it was opened through `repository` or a clone of it: only then are both of one store for sure.
    #[must_use]
    pub fn is_in(&self, repository: &Repository) -> bool {
        Arc::ptr_eq(&self.engine, &repository.engine)
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// `NotFound`; `InvalidPath` if it is no symlink.
    pub fn read_link(&self, path: &[u8]) -> Result<Bytes> {
        if self.stat(path)?.mode != Mode::Symlink {
            return Err(Error::invalid_path(format!(
                "{:?} is not a symlink; use read or stat",
                String::from_utf8_lossy(path)
            )));
        }
        self.read(path)
    }

    /// Whether something stands at `path`.
    ///
    /// # Errors
    /// `InvalidPath`, `Corrupt`.
    pub fn exists(&self, path: &[u8]) -> Result<bool> {
        paths::check(path)?;
        Ok(self.files()?.find(path, &self.engine.loader)?.is_some())
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// `NotFound`, `InvalidPath`.
    pub fn stat(&self, path: &[u8]) -> Result<Entry> {
        paths::check(path)?;
        let files = self.files()?;
        let found = files
            .find(path, &self.engine.loader)?
            .ok_or_else(|| pyi_tree::Error::not_found(path))?;
        let node = if found.mode() == Mode::Directory {
            Some(found.child(&self.engine.loader)?)
        } else {
            None
        };
        Ok(Entry::new(path.to_vec(), found.row(), found.pending(), node))
    }

    /// The entries of a directory, in byte order. O(entries).
    ///
    /// # Errors
    /// `NotFound`, `InvalidPath`.
    pub fn list(&self, directory: &[u8]) -> Result<Vec<Entry>> {
        let directory = paths::directory(directory)?;
        let files = self.files()?;
        let mut walk = Walk::entries(files.directory(directory, &self.engine.loader)?.clone(), directory);
        let mut entries = Vec::new();
        while let Some(entry) = walk.next(&self.engine.loader)? {
            entries.push(Entry::of_walk(entry));
        }
        Ok(entries)
    }

    /// Goes through everything below `directory` but the directories themselves, as it is now.
    ///
    /// # Errors
    /// `NotFound`, `InvalidPath`.
    pub fn walk(&self, directory: &[u8]) -> Result<EntryWalk> {
        self.engine.open()?;
        let (files, pins) = {
            let content = self.content.lock();
            (content.files.clone(), content.all_pins())
        };
        EntryWalk::files(self.engine.clone(), &files, directory, pins)
    }

    /// Applies `edit` to the files: wholly or, on an error, not at all.
    fn edit(&self, edit: impl FnOnce(&mut Tree) -> Result<()>) -> Result<()> {
        self.edit_weighed(|tree| edit(tree).map(|()| 1))
    }

    /// As `edit`, which says about how many small changes it made.
    fn edit_weighed(&self, edit: impl FnOnce(&mut Tree) -> Result<u32>) -> Result<()> {
        self.engine.open()?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let mut files = content.files.clone();
        let weight = edit(&mut files)?;
        content.files = files;
        content.changed(weight);
        Ok(())
    }

    /// Writes a file; missing directories are made. `permissions` of `None` keeps those of the file that stands there. O(depth).
    ///
    /// # Errors
    /// `InvalidPath` if `path` is not allowed, stands below a file or symlink, or is a directory or symlink; `InvalidArgument` for
    /// other permissions than 0o644 and 0o755; `LeaseLost` if somebody else owns the name by now, here and in every other call
    /// that changes something. Nothing was changed then.
    pub fn write(&self, path: &[u8], data: Bytes, permissions: Option<u32>) -> Result<()> {
        self.write_many([(path, data, permissions)])
    }

    /// Writes many files, all or none. O(files * depth).
    ///
    /// # Errors
    /// As [`Workspace::write`].
    pub fn write_many<'a>(&self, files: impl IntoIterator<Item = (&'a [u8], Bytes, Option<u32>)>) -> Result<()> {
        self.edit_weighed(|tree| {
            let mut all = 0_u32;
            for (path, data, permissions) in files {
                paths::check(path)?;
                all = all.saturating_add(weight(data.len()));
                write_file(tree, path, data, permissions.map(mode_of).transpose()?, &self.engine)?;
            }
            Ok(all)
        })
    }

    /// Makes a directory and those above it; one that exists is left as it is.
    ///
    /// # Errors
    /// `InvalidPath`.
    pub fn make_directory(&self, path: &[u8]) -> Result<()> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        paths::check(path)?;
        self.edit(|tree| Ok(tree.make_directory(path, &self.engine.loader)?))
    }

    /// Makes a symlink; nothing may stand at `path`.
    ///
    /// # Errors
    /// `InvalidPath`; `InvalidArgument` for an empty target or one with a NUL.
    pub fn symlink(&self, path: &[u8], target: Bytes) -> Result<()> {
        paths::check(path)?;
        if target.is_empty() || target.contains(&0) || target.len() > 4096 {
            return Err(Error::invalid("a symlink's target has 1 to 4096 bytes and no NUL"));
        }
        self.edit(|tree| {
            if tree.find(path, &self.engine.loader)?.is_some() {
                let path = String::from_utf8_lossy(path);
                return Err(Error::invalid_path(format!(
                    "{path:?}: something stands here; remove it first"
                )));
            }
            Ok(tree.put(path, Mode::Symlink, NewContent::Bytes(target), &self.engine.loader)?)
        })
    }

    /// Takes away a file, or a directory with all that is below it. O(depth).
    ///
    /// # Errors
    /// `NotFound`, `InvalidPath`.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        paths::check(path)?;
        self.edit(|tree| Ok(tree.remove(path, &self.engine.loader)?))
    }

    /// Moves a file or directory. O(depth), whatever is below.
    ///
    /// # Errors
    /// `NotFound`; `InvalidPath` if `new` is taken by a directory, or below `old`.
    pub fn rename(&self, old: &[u8], new: &[u8]) -> Result<()> {
        paths::check(old)?;
        paths::check(new)?;
        self.edit(|tree| {
            if new.len() > old.len() && new.len() > LONG_PATH_BYTES {
                self.check_below(tree, old, new)?;
            }
            Ok(tree.rename(old, new, &self.engine.loader)?)
        })
    }

    /// Refuses a move after which a path would be longer than paths may be. O(files below).
    fn check_below(&self, tree: &Tree, old: &[u8], new: &[u8]) -> Result<()> {
        let Some(found) = tree
            .find(old, &self.engine.loader)?
            .filter(|found| found.mode() == Mode::Directory)
        else {
            return Ok(());
        };
        let mut walk = Walk::all(found.child(&self.engine.loader)?.clone(), new);
        while let Some(entry) = walk.next(&self.engine.loader)? {
            paths::check(&entry.path)?;
        }
        Ok(())
    }

    /// A copy of the present content, uncheckpointed changes included, without a name. O(1).
    ///
    /// # Errors
    /// `Closed`.
    pub fn fork(&self) -> Result<Arc<Workspace>> {
        self.engine.open()?;
        let mut content = self.content.lock();
        if !content.fresh.is_empty() {
            content.settle_journal(&self.engine)?;
        }
        if !content.live.is_empty() {
            content.settle_arrays(None)?;
        }
        let copy = content.fork();
        drop(content);
        Ok(Workspace::new(self.engine.clone(), copy, None))
    }

    /// A copy with a name, which is claimed by compare-and-swap, is owned by this handle, and survives the process together with the
    /// head.
    ///
    /// # Errors
    /// `Conflict` if the name is taken; `InvalidArgument` if it is no good name.
    pub fn fork_named(&self, name: &str) -> Result<Arc<Workspace>> {
        paths::check_name("workspace", name)?;
        let fork = self.fork()?;
        let mut content = (**fork.content.lock()).clone();
        let lease = self.engine.leases.next(0);
        let record = content.record_with(content.head.id, None, lease).encode();
        let seen = self.engine.store().refs().generation();
        let transaction = RefTransaction {
            guards: vec![(workspace_key(name), Guard::Absent)],
            puts: vec![(workspace_key(name), Some(record.clone()))],
            message: format!("fork {name}"),
            epoch: lease.epoch,
            ..RefTransaction::default()
        };
        let mut outcome = self.engine.commit_refs(&transaction)?;
        if outcome != RefOutcome::Done && self.repository().free_decayed(name)? {
            outcome = self.engine.commit_refs(&transaction)?;
        }
        if let RefOutcome::Conflict { .. } = outcome {
            return Err(Error::conflict(format!(
                "workspace {name:?} exists already; open it with open_workspace, or choose another name"
            )));
        }
        content.claim = Some(Claim::owner(record, lease, seen));
        let name: Arc<str> = Arc::from(name);
        let workspace = Workspace::new(self.engine.clone(), content, Some(name.clone()));
        self.engine.leases.replace(&name, &workspace.weak);
        Ok(workspace)
    }
}

/// Puts a file into a tree; `mode` of `None` keeps the old one.
pub(crate) fn write_file(tree: &mut Tree, path: &[u8], data: Bytes, mode: Option<Mode>, engine: &Engine) -> Result<()> {
    Ok(tree.put_file(path, mode, NewContent::Bytes(data), &engine.loader)?)
}

#[cfg(test)]
mod tests {
    use crate::{Repository, RepositoryOptions};

    #[test]
    fn a_fork_has_its_own_content_from_the_first_change_on() {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository::open(&directory.path().join("store"), &RepositoryOptions::default()).unwrap();
        let workspace = repository.workspace("main").unwrap();
        workspace.write(b"a", "1".into(), None).unwrap();
        let fork = workspace.fork().unwrap();
        let is_shared = || std::sync::Arc::ptr_eq(&workspace.content.lock().0, &fork.content.lock().0);
        assert!(is_shared() && fork.read(b"a").unwrap() == "1" && is_shared());
        workspace.write(b"a", "2".into(), None).unwrap();
        assert!(!is_shared() && fork.read(b"a").unwrap() == "1");
        // A name stays with its workspace.
        let named = workspace.fork_named("mine").unwrap();
        let of_named = named.fork().unwrap();
        assert!(of_named.content.lock().claim.is_none() && named.content.lock().claim.is_some());
    }
}
