//! Commits that were pushed become checkpoints.
//!
//! Each commit is one, parents first, with its raw bytes, so that it is the same commit to whoever fetches it. State and journal are those of where the
//! push lands: git has neither. Importing a commit's tree reads all of it that the store does not have, so that nothing is accepted of
//! which a part is missing.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use pyi_cas::{Bytes, Committed, Id, Kind};
use pyi_git::commit::Commit;
use pyi_git::oid_set::OidMap;
use pyi_git::{ObjectKind, Oid};
use pyi_tree::cbor::Value;
use pyi_tree::refs::Origin;
use pyi_tree::{CheckpointRoot, Tree, seal};

use super::GitRemote;
use super::quarantine::Quarantine;
use crate::engine::now_ns;
use crate::git::import::{about, message};
use crate::git::map::{MapEntry, MapKind};
use crate::git::tree_import::{Importer, ObjectReader};
use crate::git::work::{Arrived, GIT_DIRECTORY, git_directory, own_commit, receive};
use crate::hold::Held;
use crate::{Error, ErrorKind, Result};

/// More new commits than this in one push are refused.
const COMMITS_MAX: usize = 1_000_000;

/// What a checkpoint takes over from where the push lands.
#[derive(Clone, Default)]
pub(crate) struct Onto {
    /// The workspace, if it is one.
    pub(crate) workspace: Option<Arc<Receiver>>,
    pub(crate) head: Option<Id>,
    pub(crate) state: Option<Id>,
    pub(crate) journal: Option<Id>,
}

/// A workspace that is pushed to.
pub(crate) struct Receiver {
    pub(crate) held: Arc<Held>,
    pub(crate) origin: Option<Origin>,
}

/// A commit that landed.
pub(crate) struct Landed {
    pub(crate) checkpoint: Id,
    /// How far the segment has to be written for it.
    pub(crate) place: Option<(u64, u64)>,
}

fn missing(oid: &Oid) -> Error {
    Error::new(ErrorKind::NotFound, format!("missing necessary objects ({oid})"))
}

impl GitRemote {
    /// Makes checkpoints of a commit and of those before it that are new here. `onto` is given for a workspace, whose checkpoint is always a new one. In
    /// a section that ends when a ref names it.
    ///
    /// # Errors
    /// `NotFound` for what is missing; `InvalidPath` for names that git refuses; `GitError` for what is malformed; `QuotaExceeded`; `Storage`.
    /// What was stored by then is named by nothing.
    pub(crate) fn land(&self, tip: &Oid, quarantine: &Quarantine<'_>, onto: Option<&Onto>) -> Result<Landed> {
        let engine = self.engine();
        // The commit of a workspace's work is another one than its checkpoint would be on a branch.
        if onto.is_none()
            && let Some(checkpoint) = self.known_checkpoint(tip)?
            && self.chain(&checkpoint)? == Some(*tip)
        {
            return Ok(Landed {
                checkpoint,
                place: None,
            });
        }
        engine.check_cap()?;
        let order = self.new_commits(tip, quarantine)?;
        let mut importer = Importer::new(engine, quarantine);
        let mut done: OidMap<(Id, Onto)> = OidMap::default();
        let mut fresh = Vec::new();
        let mut arrived = Vec::new();
        let mut follows = onto.is_none();
        for (number, oid) in order.iter().enumerate() {
            let object = quarantine.read_object(oid)?.ok_or_else(|| missing(oid))?;
            let commit = parse(self, oid, &object)?;
            let (mut parents, mut made, mut carried) = (Vec::new(), Vec::new(), onto.cloned());
            let mut source = None;
            for parent in &commit.parents {
                let known = match done.get(parent) {
                    Some((id, own)) => Some((*id, own.clone())),
                    None => self.known_checkpoint(parent)?.map(|id| (id, Onto::default())),
                };
                let Some((id, own)) = known else { continue };
                follows |= onto.is_some_and(|onto| onto.head == Some(id));
                if !parents.contains(&id) {
                    parents.push(id);
                }
                if done.contains_key(parent) {
                    carried.get_or_insert(own);
                    continue;
                }
                let root = engine.root(&id)?;
                source = source.or(root.git.get("source").cloned());
                carried.get_or_insert(Onto {
                    workspace: None,
                    head: None,
                    state: root.state,
                    journal: root.journal,
                });
                self.keep_made(parent, &id, &root, &mut made);
            }
            if number + 1 == order.len()
                && !follows
                && let Some(head) = onto.and_then(|onto| onto.head)
            {
                parents.insert(0, head);
            }
            let source = source.or_else(|| {
                self.sources()
                    .first()
                    .map(|source| Value::Bytes(source.common_dir().as_os_str().as_bytes().to_vec()))
            });
            let carried = carried.unwrap_or_default();
            let imported = importer.tree(&commit.tree)?;
            let mut directory = None;
            if let Some(receiver) = onto.and_then(|onto| onto.workspace.as_ref()) {
                arrived.push(Arrived {
                    oid: *oid,
                    raw: Bytes::copy_from_slice(&object.data),
                    files: imported.row.id,
                });
                if number + 1 == order.len() {
                    // The trees have to be in the store to be looked at.
                    importer.flush()?;
                    directory = self.receive_directory(receiver, &arrived, tip)?;
                }
            }
            let id = importer.seal(|engine, sealer| {
                let text = |text: String| Value::Text(text);
                let mut git = vec![
                    ("commit".to_owned(), text(oid.to_hex())),
                    ("tree".to_owned(), text(commit.tree.to_hex())),
                    ("format".to_owned(), text(self.format.name().to_owned())),
                ];
                git.extend(source.map(|source| ("source".to_owned(), source)));
                if !imported.odd.is_empty() {
                    git.push(("odd".to_owned(), imported.odd.store(engine, sealer)?));
                }
                if let Some(directory) = &mut directory {
                    let id = seal(directory.root_mut(), sealer)?;
                    git.push((GIT_DIRECTORY.to_owned(), Value::Bytes(id.0.to_vec())));
                }
                let mut told = about(&commit);
                told.push(("raw".to_owned(), Value::Bytes(object.data.to_vec())));
                if !made.is_empty() {
                    told.push(("made".to_owned(), Value::Array(made)));
                }
                let root = CheckpointRoot {
                    files: imported.row.id,
                    state: carried.state,
                    journal: carried.journal,
                    parents,
                    time_ns: now_ns(),
                    message: message(&commit),
                    metadata: Value::Map(vec![("git".to_owned(), Value::Map(told))]),
                    git: Arc::new(Value::Map(git)),
                    unknown: Vec::new(),
                };
                Ok(sealer.object(Kind::Checkpoint, &root.encode())?)
            })?;
            done.insert(*oid, (id, carried));
            fresh.push((*oid, id, Bytes::copy_from_slice(&object.data)));
        }
        let stored: Committed = importer.into_stored()?;
        let entries: Vec<MapEntry> = fresh.iter().map(|(oid, id, _)| entry(oid, id)).collect();
        engine.git_map.append(&entries);
        let mut registry = self.shared.registry.lock();
        for (oid, id, raw) in fresh {
            registry.add(oid, raw, id);
        }
        drop(registry);
        let (checkpoint, _) = done.get(tip).cloned().ok_or_else(|| missing(tip))?;
        Ok(Landed {
            checkpoint,
            place: Some((stored.segment, stored.offset_end)),
        })
    }

    /// The git directory of a workspace after a push: what it was, with HEAD's branch and the index at the pushed commit, and the commits that came. `None`
    /// if there was none and none is needed. Commits that were made for checkpoints and that the push is built on are kept in it too: nobody else can
    /// tell what they are.
    fn receive_directory(&self, receiver: &Receiver, arrived: &[Arrived], tip: &Oid) -> Result<Option<Tree>> {
        let engine = self.engine();
        let known = match git_directory(&receiver.held.root.git) {
            Some(id) => Some(engine.tree(&id)?),
            None => None,
        };
        let mut below = Vec::new();
        let mut seen: OidMap<()> = arrived.iter().map(|one| (one.oid, ())).collect();
        let mut waiting = Vec::new();
        for one in arrived {
            waiting.extend(parse_raw(self, &one.oid, &one.raw)?.parents);
        }
        while let Some(oid) = waiting.pop() {
            if seen.insert(oid, ()).is_some() {
                continue;
            }
            if let Some(known) = &known
                && own_commit(engine, known, &oid)?.is_some()
            {
                continue;
            }
            let made = self
                .shared
                .registry
                .lock()
                .made(&oid)
                .map(|made| (made.raw.clone(), made.checkpoint));
            let Some((raw, checkpoint)) = made else { continue };
            let root = engine.root(&checkpoint)?;
            let told = root.metadata.get("git").and_then(|git| git.get("raw"));
            if told.and_then(Value::as_bytes) == Some(&raw[..]) {
                // It was pushed itself: its checkpoint has the bytes.
                continue;
            }
            let commit = parse_raw(self, &oid, &raw)?;
            let named = engine
                .git_map
                .by_oid(&commit.tree)
                .filter(|entry| entry.kind == MapKind::Tree);
            let files = match named {
                Some(entry) if engine.store().contains(&entry.id)? => entry.id,
                _ if self.tree_of(&checkpoint, &root)? == commit.tree => root.files,
                _ => continue,
            };
            waiting.extend(commit.parents);
            below.push(Arrived { oid, raw, files });
        }
        if below.is_empty() && known.is_none() {
            return Ok(None);
        }
        below.extend(arrived.iter().cloned());
        receive(engine, &receiver.held, receiver.origin.as_ref(), &below, tip).map(Some)
    }

    /// The new commits up to `tip`, parents first; `tip` is always the last one. No recursion: histories are long.
    fn new_commits(&self, tip: &Oid, quarantine: &Quarantine<'_>) -> Result<Vec<Oid>> {
        let mut order = Vec::new();
        let mut seen: OidMap<()> = OidMap::default();
        let mut stack = vec![(*tip, false)];
        while let Some((oid, ready)) = stack.pop() {
            if ready {
                order.push(oid);
                continue;
            }
            if seen.insert(oid, ()).is_some() {
                continue;
            }
            if order.len() + stack.len() > COMMITS_MAX {
                return Err(Error::git(format!("more than {COMMITS_MAX} new commits in one push")));
            }
            let is_new = quarantine.sent(&oid) && self.known_checkpoint(&oid)?.is_none();
            if !is_new && oid != *tip {
                if !self.has_commit(&oid) {
                    return Err(missing(&oid));
                }
                continue;
            }
            stack.push((oid, true));
            let object = quarantine.read_object(&oid)?.ok_or_else(|| missing(&oid))?;
            for parent in parse(self, &oid, &object)?.parents.iter().rev() {
                stack.push((*parent, false));
            }
        }
        Ok(order)
    }

    /// The checkpoint that a commit is or stands for, if there is one.
    pub(crate) fn known_checkpoint(&self, oid: &Oid) -> Result<Option<Id>> {
        let known = self.shared.registry.lock().checkpoint(oid);
        let known = known.or_else(|| super::commits::checkpoint_in_map(self.engine(), oid));
        match known {
            Some(id) => Ok(self.engine().ancestor(&id)?.map(|_| id)),
            None => Ok(None),
        }
    }

    /// A commit that was made for a checkpoint is part of what is built on it now: it has to stay what it is.
    fn keep_made(&self, oid: &Oid, id: &Id, root: &CheckpointRoot, made: &mut Vec<Value>) {
        let raw = self.shared.registry.lock().made(oid).map(|made| made.raw.clone());
        let own = root
            .metadata
            .get("git")
            .and_then(|git| git.get("raw"))
            .and_then(Value::as_bytes);
        if let Some(raw) = raw.filter(|raw| own != Some(&raw[..])) {
            made.push(Value::Bytes(raw.to_vec()));
            made.push(Value::Bytes(id.0.to_vec()));
        }
    }
}

fn entry(oid: &Oid, id: &Id) -> MapEntry {
    MapEntry {
        oid: *oid,
        id: *id,
        kind: MapKind::Commit,
        size_bytes: 0,
        files: 0,
    }
}

fn parse_raw<'a>(remote: &GitRemote, oid: &Oid, raw: &'a [u8]) -> Result<Commit<'a>> {
    Commit::parse(remote.format, raw).map_err(|error| Error::git(format!("commit {oid}: {error}")))
}

fn parse<'a>(remote: &GitRemote, oid: &Oid, object: &'a pyi_git::Object) -> Result<Commit<'a>> {
    if object.kind != ObjectKind::Commit {
        return Err(Error::git(format!("{oid} is a {}, not a commit", object.kind)));
    }
    parse_raw(remote, oid, &object.data)
}
