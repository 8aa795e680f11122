//! A store with its branches, named workspaces and superpositions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_cas::{
    Batch, Committed, FileStore, Guard, Id, Kind, MemoryStore, OpenOptions, OsFs, RefOutcome, RefTransaction,
};
use pyi_tree::cbor::Value;
use pyi_tree::refs::{Origin, WorkspaceRecord, branch_key, decode_branch, workspace_key};
use pyi_tree::{CheckpointRoot, Sealer, Tree, seal};

use crate::checkpoint::Checkpoint;
use crate::commit::{Expect, branch_conflict};
use crate::durability::{Durability, Scratch};
use crate::engine::Engine;
use crate::entry::EntryIds;
use crate::history::{History, resolve};
use crate::hold::Held;
use crate::locate::locate;
use crate::workspace::{Content, Workspace};
use crate::{Error, ErrorKind, Result, paths};

/// What an import counts as, so that the size of the store is looked at.
const IMPORT_BYTES: u64 = 1 << 30;

/// How to open a repository.
#[derive(Clone, Debug)]
pub struct RepositoryOptions {
    /// Make the store if it is not there.
    pub create: bool,
    /// The store's directory, if it is not where [`locate`] says.
    pub store: Option<PathBuf>,
    /// Sets the cap of the store, for all processes (see [`crate::Retention::cap_bytes`]); `None` leaves it as it is.
    pub cap_bytes: Option<u64>,
    /// What an acknowledged change survives. [`Durability::Memory`]: nothing is read or written where the store would be.
    pub durability: Durability,
    /// Memory for contents that were read or written lately, in bytes, up to 512 KiB of it for what was only written; half as much again for
    /// recent checkpoints, as a rule 1 MiB of it for those that were only made.
    pub cache_bytes: usize,
    /// Memory for the trees of workspaces that made checkpoints, in bytes; what was loaded, for anybody, counts for half of it at most. Above it, those that made none for the longest time let go
    /// of theirs and load it again when they go on, which makes that step nearly twice as long. `None`: a 32nd of the
    /// memory that this process may use, but at least 16 MiB and at most 512 MiB.
    pub trees_bytes: Option<usize>,
}

impl Default for RepositoryOptions {
    fn default() -> Self {
        RepositoryOptions {
            create: true,
            store: None,
            cap_bytes: None,
            durability: Durability::default(),
            cache_bytes: 32 << 20,
            trees_bytes: None,
        }
    }
}

/// So far ahead segments are filled with zeros in a repository that survives a loss of power.
const WRITE_AHEAD_BYTES: u64 = 4 << 20;

/// A repository: one store, shared by any number of processes. Cloning is O(1).
#[derive(Clone)]
pub struct Repository {
    pub(crate) engine: Arc<Engine>,
}

/// What a repository holds.
#[derive(Clone, Debug, Default)]
pub struct RepositoryStats {
    /// Objects in the store.
    pub objects: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes in segments.
    pub bytes_stored: u64,
    /// Bytes of the files of all branches and named workspaces, as if each were stored on its own.
    pub bytes_logical: u64,
    /// Files of all branches and named workspaces, likewise.
    pub files_logical: u64,
    /// Bytes of contents, nodes and root objects that checkpoints of this process hashed.
    pub bytes_hashed: u64,
    /// Memory of the nodes of trees that checkpoints of this process made, for any repository, and that something holds: what `trees_bytes` is about.
    pub bytes_trees_made: u64,
    /// The same of nodes that were loaded; it counts for half of `trees_bytes` at most.
    pub bytes_trees_loaded: u64,
    /// Branches.
    pub branches: u64,
    /// Named workspaces.
    pub workspaces: u64,
    /// Damaged places found so far.
    pub damaged: u64,
    /// What went back to an earlier version when this repository was opened, as a loss of power had taken what it named: `b/` and a
    /// branch, `w/` and a workspace, `s/` and a superposition.
    pub lost_refs: Vec<String>,
}

impl Repository {
    /// Opens the repository for `path`: a work tree or git directory (the store is in `.git/pyi`), another directory (`.pyi` in it),
    /// or a store itself.
    ///
    /// # Errors
    /// `NotFound` if there is no store and `create` is false; `Storage`, `UnsupportedFormat`, `Corrupt`.
    pub fn open(path: &Path, options: &RepositoryOptions) -> Result<Self> {
        let place = locate(path)?;
        let store_dir = options.store.clone().unwrap_or(place.store);
        if store_dir.as_os_str().is_empty() {
            return Err(Error::invalid(
                "the store's path is empty; name a directory, or leave it out for the usual place",
            ));
        }
        // The working directory may change while the store is open, and agents are told where it is.
        let store_dir = std::path::absolute(&store_dir).map_err(|error| Error::io("find", &store_dir, &error))?;
        if options.durability == Durability::Memory {
            return Repository::in_memory(&store_dir, place.git_dir, options);
        }
        if !options.create && !store_dir.join("format").exists() {
            return Err(Error::not_found(format!(
                "{}: no PYI store here; make one with pyi.open(path) or `pyi import`",
                store_dir.display()
            )));
        }
        let cas_options = OpenOptions {
            create: options.create,
            write_ahead_bytes: if options.durability == Durability::Power {
                WRITE_AHEAD_BYTES
            } else {
                0
            },
            ..OpenOptions::default()
        };
        let is_new = options.create && !store_dir.join("format").exists();
        if is_new {
            check_fresh(&store_dir)?;
        }
        let store = FileStore::open(Arc::new(OsFs), &store_dir, cas_options)?;
        if is_new {
            hide_from_git(&store_dir)?;
        }
        let engine = Engine::new(Arc::new(store), store_dir, place.git_dir, options, None);
        let repository = Repository {
            engine: Arc::new(engine),
        };
        if options.cap_bytes.is_some() {
            let mut retention = repository.retention()?;
            retention.cap_bytes = options.cap_bytes;
            repository.set_retention(&retention)?;
        }
        Ok(repository)
    }

    /// A repository that lives as long as its handle.
    fn in_memory(store: &Path, git_dir: Option<PathBuf>, options: &RepositoryOptions) -> Result<Self> {
        if store.join("format").exists() {
            return Err(Error::invalid(format!(
                "{}: there is a store on disk here; open it with durability \"process\" or \"power\", or name another path",
                store.display()
            )));
        }
        if !options.create {
            return Err(Error::not_found(
                "a repository in memory cannot be opened a second time",
            ));
        }
        let scratch = Scratch::new()?;
        Ok(Repository {
            engine: Arc::new(Engine::new(
                Arc::new(MemoryStore::new()),
                scratch.path(),
                git_dir,
                options,
                Some(scratch),
            )),
        })
    }

    /// The store's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.engine.path
    }

    /// The git directory that the store stands in, if any.
    #[must_use]
    pub fn git_dir(&self) -> Option<&Path> {
        self.engine.git_dir.as_deref()
    }

    /// Closes the repository: every later call on it and on what came from it fails, and the segment that this process wrote
    /// to is free for others. Idempotent.
    ///
    /// # Errors
    /// `Storage`; the repository is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.engine.close()
    }

    /// Whether [`Repository::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }

    /// What this repository promises of each acknowledged change, unless a call says otherwise. O(1).
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.engine.durability
    }

    /// What computes the ids of entries.
    #[must_use]
    pub fn entry_ids(&self) -> EntryIds {
        EntryIds(self.engine.clone())
    }

    pub(crate) fn refs(&self) -> Result<&dyn pyi_cas::RefStore> {
        self.engine.open()?;
        Ok(self.engine.store().refs())
    }

    /// The head of a branch.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn branch(&self, name: &str) -> Result<Id> {
        match self.refs()?.get(&branch_key(name))? {
            Some(value) => Ok(decode_branch(&value)?),
            None => Err(Error::not_found(format!(
                "branch {name:?} does not exist; `pyi stats` lists branches, import or publish makes one"
            ))),
        }
    }

    /// All branches and their heads.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn branches(&self) -> Result<BTreeMap<String, Id>> {
        let mut branches = BTreeMap::new();
        for (key, value) in self.refs()?.scan(b"b/")? {
            branches.insert(name_of(&key)?, decode_branch(&value)?);
        }
        Ok(branches)
    }

    /// Deletes a branch; its checkpoints stay until retention ends.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is not at `expect`.
    pub fn delete_branch(&self, name: &str, expect: Option<Id>) -> Result<()> {
        let guard = expect.map_or(Guard::Present, |id| Guard::Equals(id.0.to_vec()));
        let transaction = RefTransaction {
            guards: vec![(branch_key(name), guard)],
            puts: vec![(branch_key(name), None)],
            message: format!("delete branch {name}"),
            ..RefTransaction::default()
        };
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => Ok(()),
            RefOutcome::Conflict { found: None, .. } => self.branch(name).map(drop),
            RefOutcome::Conflict { found, .. } => Err(branch_conflict(name, found.as_deref())),
        }
    }

    /// An unnamed workspace at the head of a branch. On a repository without a branch `main`, that one is an empty workspace whose first
    /// publish makes it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn workspace(&self, branch: &str) -> Result<Arc<Workspace>> {
        let refs = self.refs()?;
        let _section = self.engine.store().section();
        let Some(value) = refs.get(&branch_key(branch))? else {
            if branch != "main" {
                return self.branch(branch).and_then(|id| self.workspace_from(branch, id));
            }
            let content = Content::of(self.empty_checkpoint()?, None);
            return Ok(Workspace::new(self.engine.clone(), content, None));
        };
        self.workspace_from(branch, decode_branch(&value)?)
    }

    /// An unnamed workspace at a checkpoint; `publish` expects a branch that exists to be there.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn workspace_at(&self, id: Id) -> Result<Arc<Workspace>> {
        self.engine.open()?;
        let origin = Origin {
            branch: String::new(),
            head: id,
        };
        let content = Content::of(self.engine.hold(&id)?, Some(origin));
        Ok(Workspace::new(self.engine.clone(), content, None))
    }

    /// An unnamed workspace at the head of a branch.
    fn workspace_from(&self, branch: &str, head: Id) -> Result<Arc<Workspace>> {
        let origin = Origin {
            branch: branch.to_owned(),
            head,
        };
        let content = Content::of(hold_named(&self.engine, "branch", branch, &head)?, Some(origin));
        Ok(Workspace::new(self.engine.clone(), content, None))
    }

    /// The checkpoint without files that every history from nothing begins with: the same in every repository.
    fn empty_checkpoint(&self) -> Result<Arc<Held>> {
        let _section = self.engine.store().section();
        let mut batch = Batch::default();
        let mut files = Tree::default();
        let mut sealer = Sealer::new(self.engine.store(), &mut batch);
        let root = CheckpointRoot {
            files: seal(files.root_mut(), &mut sealer)?,
            state: None,
            journal: None,
            parents: Vec::new(),
            time_ns: 0,
            message: String::new(),
            metadata: Value::Null,
            git: Arc::default(),
            unknown: Vec::new(),
        };
        let id = sealer.object(Kind::Checkpoint, &root.encode())?;
        if !batch.is_empty() {
            self.engine.store().commit(&mut batch)?;
        }
        self.engine.hold(&id)
    }

    /// The names of all named workspaces, sorted.
    ///
    /// # Errors
    /// `Storage`.
    pub fn workspaces(&self) -> Result<Vec<String>> {
        self.refs()?.scan(b"w/")?.iter().map(|(key, _)| name_of(key)).collect()
    }

    /// Gives up the name of a workspace, or of a superposition together with those of its candidates; the checkpoints stay until
    /// retention ends.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_name(&self, name: &str) -> Result<()> {
        if self.drop_candidate(name)? {
            return Ok(());
        }
        let transaction = RefTransaction {
            guards: vec![(workspace_key(name), Guard::Present)],
            puts: vec![(workspace_key(name), None)],
            message: format!("drop {name}"),
            ..RefTransaction::default()
        };
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => Ok(()),
            RefOutcome::Conflict { .. } if self.drop_superposition(name)? => Ok(()),
            RefOutcome::Conflict { .. } => Err(Error::not_found(format!(
                "there is no workspace or superposition {name:?} to drop"
            ))),
        }
    }

    /// A checkpoint by its id or an unambiguous prefix of at least 8 digits.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for what is no id, or fits several.
    pub fn checkpoint(&self, id: &str) -> Result<Checkpoint> {
        self.engine.open()?;
        let id = resolve(&self.engine, id)?;
        Ok(Checkpoint::new(self.engine.clone(), id, self.engine.root(&id)?))
    }

    /// The checkpoints from `head` on, newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn log(&self, head: &Id, limit: Option<usize>) -> Result<History> {
        self.engine.open()?;
        History::from(self.engine.clone(), *head, limit)
    }

    /// Makes everything so far durable against power loss.
    ///
    /// # Errors
    /// `Storage`.
    pub fn flush(&self) -> Result<()> {
        self.engine.open()?;
        Ok(self.engine.store().flush()?)
    }

    /// Counts. O(branches + workspaces + segments).
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn stats(&self) -> Result<RepositoryStats> {
        self.engine.open()?;
        let store = self.engine.store().stats()?;
        let mut stats = RepositoryStats {
            objects: store.objects,
            segments: store.segments,
            bytes_stored: store.bytes_stored,
            bytes_hashed: self.engine.hashed_bytes.load(std::sync::atomic::Ordering::Relaxed),
            bytes_trees_made: pyi_tree::sealed_bytes() as u64,
            bytes_trees_loaded: pyi_tree::loaded_bytes() as u64,
            damaged: store.damage.len() as u64,
            lost_refs: (store.lost_refs.iter())
                .map(|key| String::from_utf8_lossy(key).into_owned())
                .collect(),
            ..RepositoryStats::default()
        };
        let mut heads = Vec::new();
        for id in self.branches()?.into_values() {
            stats.branches += 1;
            heads.push(id);
        }
        for (_, value) in self.refs()?.scan(b"w/")? {
            stats.workspaces += 1;
            heads.push(WorkspaceRecord::decode(&value)?.head);
        }
        for id in heads {
            let snapshot = self.engine.snapshot(&id)?;
            stats.bytes_logical += snapshot.files.root().size_bytes();
            stats.files_logical += snapshot.files.root().files();
        }
        Ok(stats)
    }

    /// Makes the branch for a checkpoint that was stored up to this place: what imports end with.
    pub(crate) fn land_import(&self, branch: &str, id: &Id, stored: Committed) -> Result<Arc<Workspace>> {
        let transaction = RefTransaction {
            guards: vec![(branch_key(branch), Guard::Absent)],
            puts: vec![(branch_key(branch), Some(id.0.to_vec()))],
            message: format!("import {branch}"),
            dependencies: vec![(stored.segment, stored.offset_end)],
            ..RefTransaction::default()
        };
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => {
                self.engine.grown(IMPORT_BYTES);
                self.workspace_from(branch, *id)
            }
            RefOutcome::Conflict { .. } => Err(branch_exists(branch)),
        }
    }

    /// # Errors
    /// `Conflict` if the branch exists, `InvalidArgument` if its name is no good, `QuotaExceeded` if the store is above its cap.
    pub(crate) fn check_new_branch(&self, branch: &str) -> Result<()> {
        paths::check_name("branch", branch)?;
        self.engine.check_cap()?;
        match self.refs()?.get(&branch_key(branch))? {
            None => Ok(()),
            Some(_) => Err(branch_exists(branch)),
        }
    }

    /// Moves a branch without a workspace.
    ///
    /// # Errors
    /// `Conflict` if it is not what `expect` says ([`Expect::Origin`] counts as [`Expect::Absent`]).
    pub fn set_branch(&self, branch: &str, to: &Id, expect: Expect) -> Result<()> {
        paths::check_name("branch", branch)?;
        let _section = self.engine.store().section();
        let _held = self.engine.hold(to)?;
        let guard = match expect {
            Expect::Is(id) => Guard::Equals(id.0.to_vec()),
            Expect::Absent | Expect::Origin => Guard::Absent,
        };
        let transaction = RefTransaction {
            guards: vec![(branch_key(branch), guard)],
            puts: vec![(branch_key(branch), Some(to.0.to_vec()))],
            message: format!("set {branch}"),
            ..RefTransaction::default()
        };
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => Ok(()),
            RefOutcome::Conflict { found, .. } => Err(branch_conflict(branch, found.as_deref())),
        }
    }
}

/// Refuses to make a store among somebody's files. What another process that makes the same store has made so far does not count.
fn check_fresh(store: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(store) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open", store, &error)),
    };
    const OURS: [&str; 12] = [
        "format",
        "control",
        "boot",
        "gc",
        "gc.lock",
        "sessions",
        "merged",
        "segments",
        "refs",
        "gitmap",
        "sandboxes",
        ".gitignore",
    ];
    for entry in entries {
        let name = entry.map_err(|error| Error::io("list", store, &error))?.file_name();
        let name = name.to_string_lossy();
        if !OURS.contains(&&*name) && !name.starts_with("tmp-") {
            return Err(Error::invalid(format!(
                "{}: there are other files here ({name:?}); give the store an empty or new directory",
                store.display()
            )));
        }
    }
    Ok(())
}

/// Lets git ignore a store that may stand in somebody's work tree: nothing of it shows in `git status`.
fn hide_from_git(store: &Path) -> Result<()> {
    let file = store.join(".gitignore");
    std::fs::write(&file, "# Made by PYI.\n*\n").map_err(|error| Error::io("write", &file, &error))
}

/// A checkpoint that a ref names: if the store has it not, that is damage.
pub(crate) fn hold_named(engine: &Engine, what: &str, name: &str, id: &Id) -> Result<Arc<Held>> {
    engine.hold_named(id).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::corrupt(format!(
            "{what} {name:?} names checkpoint {id}, which the store does not have; restore the store from a backup"
        )),
        _ => error,
    })
}

fn branch_exists(branch: &str) -> Error {
    Error::conflict(format!(
        "branch {branch:?} exists already; choose another name or delete it first"
    ))
}

pub(crate) fn name_of(key: &[u8]) -> Result<String> {
    String::from_utf8(key[2..].to_vec()).map_err(|_| Error::corrupt("ref log: a name that is not UTF-8"))
}
