//! What makes changes last: checkpoint, restore, publish. (Not git's commit: see `git::export`.)

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyi_cas::{Batch, Guard, Id, Kind, RefOutcome, RefTransaction};
use pyi_tree::cbor::Value;
use pyi_tree::refs::{Origin, branch_key, decode_branch, workspace_key};
use pyi_tree::{CheckpointRoot, Forest, Sealer, Tree, seal};
use smallvec::SmallVec;

use crate::checkpoint::Checkpoint;
use crate::durability::Durability;
use crate::engine::{Engine, SNAPSHOT_BYTES, Snapshot, now_ns};
use crate::git::work::{git_directory, with_directory};
use crate::hold::Held;
use crate::lease::Claim;
use crate::repository::Repository;
use crate::workspace::{Content, Workspace};
use crate::{Error, Result, paths};

/// What a branch must be for [`Workspace::publish`] to move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Where the workspace came from; a branch that does not exist is made.
    Origin,
    /// It must not exist.
    Absent,
    /// Exactly this checkpoint.
    Is(Id),
}

/// Segment and offset where an append ended.
pub(crate) type Place = (u64, u64);

/// One of each checkpoint of a call; most calls make one.
type Few<T> = SmallVec<[T; 1]>;

/// What becomes a checkpoint.
pub(crate) struct Draft<'a> {
    pub(crate) content: &'a mut Content,
    pub(crate) message: &'a str,
    pub(crate) metadata: Value,
}

/// As [`store_checkpoints`], for one.
pub(crate) fn store_checkpoint(
    engine: &Arc<Engine>,
    content: &mut Content,
    message: &str,
    metadata: Value,
    batch: &mut Batch,
) -> Result<(Arc<Held>, Place)> {
    let mut draft = [Draft {
        content,
        message,
        metadata,
    }];
    let (mut held, place) = store_checkpoints(engine, &mut draft, batch)?;
    let held = held.pop().ok_or_else(|| Error::invalid("no workspace to checkpoint"))?;
    Ok((held, place))
}

/// Seals the trees of workspaces, stores them with their root objects in one append, and returns the checkpoints in order; with where the
/// append ended. O(changed).
///
/// Called within a section. On an error the contents are unchanged but for events that moved into the journals' trees.
pub(crate) fn store_checkpoints(
    engine: &Arc<Engine>,
    drafts: &mut [Draft<'_>],
    batch: &mut Batch,
) -> Result<(Few<Arc<Held>>, Place)> {
    engine.check_cap()?;
    let mut roots = Few::with_capacity(drafts.len());
    for draft in &mut *drafts {
        draft.content.settle_journal(engine)?;
        draft.content.settle_arrays(None)?;
        roots.push(root_of(draft));
    }
    let has_git_directory: Few<bool> = drafts
        .iter()
        .map(|draft| draft.content.git_directory.is_some())
        .collect();
    // Before anything is looked up: what was found in an older epoch is not taken for found in a newer one.
    let reliance_epoch = engine.store().reliance_epoch();
    let mut sealer = Sealer::new(engine.store(), batch);
    let mut forest = Forest::take(drafts.iter_mut().flat_map(|draft| {
        let Content {
            files,
            state,
            journal,
            git_directory,
            ..
        } = &mut *draft.content;
        let git_directory = git_directory.as_mut().map(Tree::root_mut);
        let state = Some(state.root_mut()).filter(|root| !root.is_empty());
        let journal = Some(journal.tree_mut().root_mut()).filter(|root| !root.is_empty());
        [Some(files.root_mut()), state, journal, git_directory]
            .into_iter()
            .flatten()
    }));
    forest.seal(&mut sealer)?;
    let mut tree = 0;
    let mut next = || {
        tree += 1;
        forest.id(tree - 1)
    };
    for (root, has_git_directory) in roots.iter_mut().zip(has_git_directory) {
        root.files = next();
        root.state = root.state.map(|_| next());
        root.journal = root.journal.map(|_| next());
        if has_git_directory {
            root.git = with_directory(&root.git, &next());
        }
    }
    let encoded: Few<Vec<u8>> = roots.iter().map(CheckpointRoot::encode).collect();
    let contents: Few<&[u8]> = encoded.iter().map(|bytes| &bytes[..]).collect();
    let ids: Few<Id> = match contents[..] {
        [content] => Few::from_elem(Kind::Checkpoint.id_of(content), 1),
        _ => Kind::Checkpoint.ids_of(&contents).into(),
    };
    for (id, bytes) in ids.iter().zip(contents) {
        // Never stored before: it names its time.
        sealer.new_object(Kind::Checkpoint, id, bytes)?;
    }
    let root_bytes: usize = encoded.iter().map(Vec::len).sum();
    let hashed_bytes = sealer.hashed_bytes + root_bytes as u64;
    engine.hashed_bytes.fetch_add(hashed_bytes, Ordering::Relaxed);
    let blobs = std::mem::take(&mut sealer.blobs);
    let cost_bytes = batch.size_bytes();
    let committed = engine.store().commit(batch)?;
    forest.keep(reliance_epoch);
    engine.grown(cost_bytes as u64);
    for (id, blob) in &blobs {
        engine.remember_blob(id, blob);
    }
    let cost_bytes = cost_bytes / drafts.len() + SNAPSHOT_BYTES;
    let held = drafts.iter().zip(ids).zip(roots).map(|((draft, id), root)| {
        let snapshot = Arc::new(Snapshot {
            id,
            root: Arc::new(root),
            files: draft.content.files.clone(),
            state: draft.content.state.clone(),
            journal: draft.content.journal.clone(),
        });
        engine.remember(snapshot.clone(), cost_bytes);
        engine.hold_new(snapshot)
    });
    Ok((held.collect(), (committed.segment, committed.offset_end)))
}

/// The root object of a draft; the ids of its trees come later, and stand for whether there is one.
fn root_of(draft: &mut Draft<'_>) -> CheckpointRoot {
    let content = &*draft.content;
    let later = Id([0; 32]);
    let mut parents = vec![content.head.id];
    parents.extend(content.merged.iter().filter(|id| **id != content.head.id));
    CheckpointRoot {
        files: later,
        state: (!content.state.root().is_empty()).then_some(later),
        journal: (!content.journal.tree().root().is_empty()).then_some(later),
        parents,
        time_ns: now_ns(),
        message: draft.message.to_owned(),
        metadata: std::mem::take(&mut draft.metadata),
        git: content.git.clone(),
        unknown: Vec::new(),
    }
}

/// Makes `snapshot` the head of `content`, with nothing changed since.
pub(crate) fn adopt(content: &mut Content, snapshot: Arc<Held>) {
    content.files = snapshot.files.clone();
    content.state = snapshot.state.clone();
    content.journal = snapshot.journal.clone();
    content.git = snapshot.root.git.clone();
    let here = content.git_directory.as_ref().and_then(|tree| tree.root().id());
    if here.is_none() || here != git_directory(&content.git) {
        content.git_directory = None;
    }
    content.fresh.clear();
    content.merged.clear();
    content.pins.clear();
    content.array_pins.clear();
    content.journal_pin = None;
    content.head = snapshot;
    content.unchanged();
}

impl Workspace {
    /// Makes a checkpoint: files, state, journal, git and metadata under one id, durable by the repository's class when this returns.
    /// O(changed).
    ///
    /// # Errors
    /// As [`Workspace::checkpoint_as`].
    pub fn checkpoint(&self, message: &str, metadata: Value) -> Result<Checkpoint> {
        self.checkpoint_as(message, metadata, self.engine.durability)
    }

    /// As [`Workspace::checkpoint`], durable by this class. Everybody sees the checkpoint before it is durable.
    ///
    /// # Errors
    /// `Storage` if the disk is full or fails, `QuotaExceeded` if the store is above its cap, `LeaseLost` if somebody else owns the name
    /// by now, `Conflict` if it was dropped; the workspace is then as it was. Where only the flush failed, the checkpoint stands, as after `kill -9`.
    pub fn checkpoint_as(&self, message: &str, metadata: Value, durability: Durability) -> Result<Checkpoint> {
        self.engine.open()?;
        if !matches!(metadata, Value::Null | Value::Map(_)) {
            return Err(Error::invalid("metadata is a mapping with text keys"));
        }
        self.engine.make_room();
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let _section = self.engine.store().section();
        let mut batch = self.engine.take_batch();
        let stored = store_checkpoint(&self.engine, &mut content, message, metadata, &mut batch);
        self.engine.give_batch(batch);
        let (snapshot, place) = stored?;
        self.move_name(&mut content, snapshot.id, None, "checkpoint", vec![place])?;
        adopt(&mut content, snapshot.clone());
        drop(content);
        self.engine.warm.used(&self.weak);
        self.engine.acknowledge(durability)?;
        Ok(Checkpoint::new(self.engine.clone(), snapshot.id, snapshot.root.clone()))
    }

    /// Logs a new head or journal under the name; nothing to do for a workspace without one.
    pub(crate) fn move_name(
        &self,
        content: &mut Content,
        head: Id,
        journal: Option<Id>,
        verb: &str,
        dependencies: Vec<(u64, u64)>,
    ) -> Result<()> {
        let (Some(name), Some(claim)) = (self.name(), &content.claim) else {
            return Ok(());
        };
        let record = content.record_with(head, journal, claim.lease()).encode();
        if record == claim.value {
            return Ok(());
        }
        let key = workspace_key(name);
        let mut transaction = RefTransaction {
            guards: vec![(key.clone(), Guard::Equals(claim.value.clone()))],
            puts: vec![(key, Some(record))],
            message: [verb, name].join(" "),
            epoch: claim.lease().epoch,
            dependencies,
            ..RefTransaction::default()
        };
        let refs = self.engine.store().refs();
        let before = refs.generation();
        let _section = self.engine.store().section();
        match refs.commit(&transaction)? {
            RefOutcome::Done => {
                let record = transaction.puts.pop().and_then(|(_, record)| record);
                if let (Some(claim), Some(record)) = (&mut content.claim, record) {
                    claim.moved(record, before, refs.generation());
                }
                Ok(())
            }
            RefOutcome::Conflict { found, .. } => Err(self.moved_elsewhere(content, found.as_deref())),
        }
    }

    /// Makes the content that of a checkpoint; uncheckpointed changes are dropped. O(1) for recent checkpoints.
    ///
    /// # Errors
    /// `NotFound` if this repository has no such checkpoint.
    pub fn restore(&self, id: &Id) -> Result<()> {
        self.engine.open()?;
        let snapshot = self.engine.hold(id)?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        self.move_name(&mut content, snapshot.id, None, "restore", Vec::new())?;
        content.git = snapshot.root.git.clone();
        content.live.detach_all();
        adopt(&mut content, snapshot);
        drop(content);
        if self.name().is_some() {
            self.engine.acknowledge(self.engine.durability)?;
        }
        Ok(())
    }

    /// Takes up what another handle of the same name did, if nothing was changed here; it is only a view of it then.
    pub(crate) fn take_up(&self) -> Result<()> {
        let mut content = self.content.lock();
        let (Some(name), Some(claim), false) = (self.name(), &content.claim, content.is_dirty()) else {
            return Ok(());
        };
        let value = self.engine.store().refs().get(&workspace_key(name))?;
        if let Some(value) = value.filter(|value| value[..] != claim.value[..]) {
            *content = Content::of_record(&self.engine, name, value.to_vec())?.into();
        }
        Ok(())
    }

    /// Moves `branch` to the head by compare-and-swap.
    ///
    /// # Errors
    /// `Conflict` if the branch is not what `expect` says, or if there are uncheckpointed changes.
    pub fn publish(&self, branch: &str, expect: Expect) -> Result<()> {
        self.engine.open()?;
        paths::check_name("branch", branch)?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        if content.is_dirty() {
            return Err(Error::conflict(
                "the workspace has uncheckpointed changes; call checkpoint first",
            ));
        }
        let refs = self.engine.store().refs();
        let guard = match expect {
            Expect::Absent => Guard::Absent,
            Expect::Is(id) => Guard::Equals(id.0.to_vec()),
            // A branch that the workspace came from must be where it was; another one may also be new.
            Expect::Origin => match &content.origin {
                Some(origin) if origin.branch == branch || refs.get(&branch_key(branch))?.is_some() => {
                    Guard::Equals(origin.head.0.to_vec())
                }
                _ => Guard::Absent,
            },
        };
        let head = content.head.id;
        let origin = Some(Origin {
            branch: branch.to_owned(),
            head,
        });
        let mut transaction = RefTransaction {
            guards: vec![(branch_key(branch), guard)],
            puts: vec![(branch_key(branch), Some(head.0.to_vec()))],
            message: format!("publish {branch}"),
            ..RefTransaction::default()
        };
        let lease = content.claim.as_ref().map(Claim::lease).unwrap_or_default();
        let mut record = content.record_with(head, None, lease);
        record.origin = origin.clone();
        let record = record.encode();
        if let (Some(name), Some(claim)) = (self.name(), &content.claim) {
            let guard = Guard::Equals(claim.value.clone());
            transaction.guards.push((workspace_key(name), guard));
            transaction.puts.push((workspace_key(name), Some(record.clone())));
            transaction.epoch = lease.epoch;
        }
        let before = refs.generation();
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => {
                content.origin = origin.map(Arc::new);
                if let Some(claim) = &mut content.claim {
                    claim.moved(record, before, refs.generation());
                }
                Ok(())
            }
            RefOutcome::Conflict { key, found } if key == branch_key(branch) => {
                Err(branch_conflict(branch, found.as_deref()))
            }
            RefOutcome::Conflict { found, .. } => Err(self.moved_elsewhere(&content, found.as_deref())),
        }
    }

    /// Makes the journal's tail durable by itself, without a checkpoint. O(events since the last one).
    ///
    /// # Errors
    /// As [`Workspace::checkpoint`].
    pub fn flush_journal(&self) -> Result<()> {
        self.engine.open()?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        content.settle_journal(&self.engine)?;
        if content.journal.is_empty() {
            return Ok(());
        }
        let _section = self.engine.store().section();
        let mut journal = content.journal.clone();
        let mut batch = self.engine.take_batch();
        let sealed = seal(
            journal.tree_mut().root_mut(),
            &mut Sealer::new(self.engine.store(), &mut batch),
        );
        let stored = sealed.map_err(Error::from).and_then(|id| {
            let place = if batch.is_empty() {
                None
            } else {
                Some(self.engine.store().commit(&mut batch)?)
            };
            Ok((id, place))
        });
        self.engine.give_batch(batch);
        let (id, place) = stored?;
        let place = place.map(|place| (place.segment, place.offset_end));
        let head = content.head.id;
        self.move_name(&mut content, head, Some(id), "journal", place.into_iter().collect())?;
        content.journal_pin = Some(Arc::new(self.engine.store().pin(&id)));
        content.journal = journal;
        drop(content);
        self.engine.acknowledge(self.engine.durability)?;
        Ok(())
    }
}

impl Repository {
    /// As [`Workspace::checkpoint_as`] for each of these workspaces, with one message and one metadata for all: their objects are hashed side by
    /// side and stored in one append. The checkpoints in the order of the workspaces; one that stands there twice has the same one twice. O(changed).
    ///
    /// # Errors
    /// As [`Workspace::checkpoint_as`]. Nothing was stored then, but for one case: a name that somebody else moved at this very moment leaves its own
    /// workspace as it was, and the others have their checkpoints.
    pub fn checkpoint_many(
        &self,
        workspaces: &[Arc<Workspace>],
        message: &str,
        metadata: &Value,
        durability: Durability,
    ) -> Result<Vec<Checkpoint>> {
        self.engine.open()?;
        if !matches!(metadata, Value::Null | Value::Map(_)) {
            return Err(Error::invalid("metadata is a mapping with text keys"));
        }
        if workspaces.iter().any(|one| !Arc::ptr_eq(&one.engine, &self.engine)) {
            return Err(Error::invalid(
                "a workspace belongs to another repository: give checkpoint_many() those of its own",
            ));
        }
        if workspaces.is_empty() {
            return Ok(Vec::new());
        }
        self.engine.make_room();
        // In one order everywhere, so that two calls with the same workspaces do not wait for each other.
        let mut order: Vec<&Arc<Workspace>> = workspaces.iter().collect();
        order.sort_by_key(|workspace| Arc::as_ptr(workspace));
        order.dedup_by_key(|workspace| Arc::as_ptr(workspace));
        let mut contents: Vec<_> = order.iter().map(|workspace| workspace.content.lock()).collect();
        for (workspace, content) in order.iter().zip(&mut contents) {
            workspace.check_lease(content)?;
        }
        let _section = self.engine.store().section();
        let mut batch = self.engine.take_batch();
        let mut drafts: Vec<Draft<'_>> = contents
            .iter_mut()
            .map(|content| Draft {
                content,
                message,
                metadata: metadata.clone(),
            })
            .collect();
        let stored = store_checkpoints(&self.engine, &mut drafts, &mut batch);
        drop(drafts);
        self.engine.give_batch(batch);
        let (held, place) = stored?;
        let mut moved = Ok(());
        for ((workspace, content), held) in order.iter().zip(&mut contents).zip(&held) {
            match workspace.move_name(content, held.id, None, "checkpoint", vec![place]) {
                Ok(()) => adopt(content, held.clone()),
                Err(error) => moved = moved.and(Err(error)),
            }
        }
        drop(contents);
        moved?;
        for workspace in &order {
            self.engine.warm.used(&workspace.weak);
        }
        self.engine.acknowledge(durability)?;
        let made = |workspace: &Arc<Workspace>| {
            let at = order.binary_search_by_key(&Arc::as_ptr(workspace), |one| Arc::as_ptr(one));
            let held = at.ok().and_then(|at| held.get(at));
            held.map(|held| Checkpoint::new(self.engine.clone(), held.id, held.root.clone()))
        };
        Ok(workspaces.iter().filter_map(made).collect())
    }
}

pub(crate) fn branch_conflict(branch: &str, found: Option<&[u8]>) -> Error {
    Error::conflict(match found.map(decode_branch) {
        None => format!("branch {branch:?} does not exist (any more); publish with expect=None to make it"),
        Some(Ok(id)) => format!("branch {branch:?} is at {id}, which was not expected; merge that and publish again"),
        Some(Err(error)) => format!("branch {branch:?}: {error}"),
    })
}
