//! Which commit a checkpoint is.
//!
//! A checkpoint that was imported or pushed *is* that commit. Any other follows from what it holds, so that it has the same name in every process and
//! at every time: on a branch its parents are the commits of its parents (`chain`); in a workspace it is one commit on top of
//! where the workspace came from or was pushed to last (`work`), as an agent's checkpoints are many. One that changes no file is the
//! commit before it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyi_cas::{Bytes, Id, IdMap};
use pyi_git::commit::Commit;
use pyi_git::oid_set::OidMap;
use pyi_git::signature::Signature;
use pyi_git::{ObjectFormat, ObjectKind, Oid, hash_object};
use pyi_tree::CheckpointRoot;
use pyi_tree::cbor::Value;
use pyi_tree::refs::Origin;

use super::GitRemote;
use crate::engine::Engine;
use crate::git::export::odd_trees;
use crate::git::map::{MapEntry, MapKind};
use crate::git::tree_export::Exporter;
use crate::git::work::{git_directory, head_of, own_commit};
use crate::hold::Held;
use crate::{Error, Result};

/// Who commits what nobody committed.
pub(crate) const NAME: &[u8] = b"PYI";
pub(crate) const MAIL: &[u8] = b"pyi@localhost";
/// Commits of workspaces that are remembered; what was offered longer ago is made again if somebody asks.
const WORK_MAX: usize = 4_096;
/// Checkpoints that were offered last and are held, so that who was told of one can fetch it.
const HELD_MAX: usize = 64;
/// How often everything is looked at for a client that asks for what nobody knows.
const RELEARN_EVERY: Duration = Duration::from_secs(5);
/// Bytes of tags and notes.
const LOOSE_MAX_BYTES: usize = 64 << 20;
/// Bytes of trees that do not follow from nodes.
const TREES_MAX_BYTES: usize = 256 << 20;

/// A commit that no source has.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) raw: Bytes,
    pub(crate) checkpoint: Id,
}

/// What is known of commits and checkpoints.
#[derive(Default)]
pub(crate) struct Registry {
    made: OidMap<Made>,
    chain: HashMap<(Id, ObjectFormat), Option<Oid>>,
    /// Commits that a source has, and their checkpoints.
    imported: OidMap<Id>,
    work: VecDeque<Oid>,
    held: VecDeque<Arc<Held>>,
    trees: OidMap<Bytes>,
    trees_bytes: usize,
    /// Tags that were pushed, and what notes are made of.
    loose: OidMap<(ObjectKind, Bytes)>,
    loose_bytes: usize,
    /// The ref generation at which everything was looked at, and when.
    relearned: Option<(u64, Instant)>,
}

impl Registry {
    pub(crate) fn made(&self, oid: &Oid) -> Option<&Made> {
        self.made.get(oid)
    }

    pub(crate) fn tree(&self, oid: &Oid) -> Option<&Bytes> {
        self.trees.get(oid)
    }

    /// An object that follows from no checkpoint: a tag that was pushed, or what notes are made of.
    pub(crate) fn loose(&self, oid: &Oid) -> Option<&(ObjectKind, Bytes)> {
        self.loose.get(oid)
    }

    /// Remembers such objects. Notes are made again whenever they are offered, so they may be forgotten; tags are few.
    pub(crate) fn add_loose(&mut self, format: ObjectFormat, objects: Vec<(ObjectKind, Bytes)>) {
        if self.loose_bytes > LOOSE_MAX_BYTES {
            self.loose.retain(|_, (kind, _)| *kind == ObjectKind::Tag);
            self.loose_bytes = self.loose.values().map(|(_, raw)| raw.len()).sum();
        }
        for (kind, raw) in objects {
            let bytes = raw.len();
            if self
                .loose
                .insert(hash_object(format, kind, &raw), (kind, raw))
                .is_none()
            {
                self.loose_bytes += bytes;
            }
        }
    }

    /// Whether everything should be looked at again: something moved since, or it is a while ago.
    pub(crate) fn begin_relearning(&mut self, generation: u64) -> bool {
        let fresh = |(then, when): (u64, Instant)| then == generation && when.elapsed() < RELEARN_EVERY;
        if self.relearned.is_some_and(fresh) {
            return false;
        }
        self.relearned = Some((generation, Instant::now()));
        self.chain.clear();
        true
    }

    /// Remembers a commit that was pushed.
    pub(crate) fn add(&mut self, oid: Oid, raw: Bytes, checkpoint: Id) {
        self.made.insert(oid, Made { raw, checkpoint });
    }

    /// The checkpoint that a commit is or stands for.
    pub(crate) fn checkpoint(&self, oid: &Oid) -> Option<Id> {
        self.made
            .get(oid)
            .map(|made| made.checkpoint)
            .or(self.imported.get(oid).copied())
    }

    fn add_trees(&mut self, trees: Vec<(Oid, Bytes)>) {
        if self.trees_bytes > TREES_MAX_BYTES {
            self.trees.clear();
            self.trees_bytes = 0;
        }
        for (oid, bytes) in trees {
            self.trees_bytes += bytes.len();
            self.trees.insert(oid, bytes);
        }
    }

    pub(crate) fn hold(&mut self, held: Arc<Held>) {
        if self.held.iter().any(|known| known.id == held.id) {
            return;
        }
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back(held);
    }
}

/// The hash of the repository that a checkpoint's history comes from.
pub(crate) fn format_of(root: &CheckpointRoot) -> ObjectFormat {
    let name = root.git.get("format").and_then(Value::as_text);
    name.and_then(|name| ObjectFormat::from_name(name.as_bytes()))
        .unwrap_or_default()
}

/// The commit that was last imported or pushed in the history of a checkpoint.
fn committed(root: &CheckpointRoot, format: ObjectFormat) -> Option<Oid> {
    let hex = root.git.get("commit").and_then(Value::as_text)?;
    Oid::from_hex(hex.as_bytes()).ok().filter(|oid| oid.format() == format)
}

fn text_oid(value: Option<&Value>) -> Option<Oid> {
    value
        .and_then(Value::as_text)
        .and_then(|hex| Oid::from_hex(hex.as_bytes()).ok())
}

impl GitRemote {
    /// The last commit of those that git commands made in a workspace, and whether its files are the checkpoint's. They are known from then on.
    fn worked(&self, id: &Id, root: &CheckpointRoot) -> Result<Option<(Oid, bool)>> {
        let engine = self.engine();
        let Some(directory) = git_directory(&root.git) else {
            return Ok(None);
        };
        let directory = engine.tree(&directory)?;
        let head = head_of(engine, &directory)?.filter(|head| head.format() == self.format);
        let Some(head) = head else { return Ok(None) };
        let Some(last) = own_commit(engine, &directory, &head)? else {
            return Ok(None);
        };
        let mut waiting = vec![head];
        while let Some(oid) = waiting.pop() {
            let known = self.shared.registry.lock().made(&oid).map(|made| made.raw.clone());
            if let Some(raw) = &known
                && let Ok(commit) = Commit::parse(self.format, raw)
                && engine.git_map.by_oid(&commit.tree).is_some()
            {
                continue;
            }
            let Some(commit) = own_commit(engine, &directory, &oid)? else {
                continue;
            };
            let parsed = Commit::parse(self.format, &commit.raw)
                .map_err(|error| Error::corrupt(format!("commit {oid} of a workspace: {error}; run `pyi scrub`")))?;
            if engine.git_map.by_oid(&parsed.tree).is_none() {
                let odd = odd_trees(engine, &root.git, self.format)?;
                let mut exporter = Exporter::new(engine, self.format, odd, None);
                exporter.tree(commit.files.root())?;
                exporter.keep_names();
                let uncommon = std::mem::take(&mut exporter.uncommon);
                let is_odd = !uncommon.is_empty();
                self.shared.registry.lock().add_trees(uncommon);
                // The map never knows an odd tree: what was before it was looked at with it.
                if is_odd && known.is_some() {
                    continue;
                }
            }
            self.shared.registry.lock().add(oid, commit.raw.clone(), *id);
            waiting.extend(&parsed.parents);
        }
        self.add_source(root)?;
        Ok(Some((head, last.files.root().id() == Some(root.files))))
    }

    /// The commit that a checkpoint is by itself: imported, pushed, or made by `git commit`.
    fn own_commit(&self, id: &Id, root: &CheckpointRoot) -> Result<Option<Oid>> {
        if let Some((head, true)) = self.worked(id, root)? {
            return Ok(Some(head));
        }
        let (Some(oid), Some(about)) = (committed(root, self.format), root.metadata.get("git")) else {
            return Ok(None);
        };
        // Metadata is what its maker says: the content must be that of the commit too.
        if text_oid(root.git.get("tree")) != Some(self.tree_of(id, root)?) {
            return Ok(None);
        }
        let mut registry = self.shared.registry.lock();
        if let Some(raw) = about.get("raw").and_then(Value::as_bytes)
            && hash_object(self.format, ObjectKind::Commit, raw) == oid
        {
            let raw = Bytes::copy_from_slice(raw);
            registry.made.insert(oid, Made { raw, checkpoint: *id });
        } else {
            registry.imported.insert(oid, *id);
        }
        let made = about.get("made").and_then(Value::as_array).unwrap_or_default();
        for pair in made.chunks_exact(2) {
            if let [Some(raw), Some(id)] = [pair[0].as_bytes(), pair[1].as_bytes()]
                && let Ok(checkpoint) = Id::try_from(id)
            {
                let name = hash_object(self.format, ObjectKind::Commit, raw);
                let raw = Bytes::copy_from_slice(raw);
                registry.made.entry(name).or_insert(Made { raw, checkpoint });
            }
        }
        drop(registry);
        self.add_source(root)?;
        Ok(Some(oid))
    }

    /// Opens the repository that a checkpoint's history is in.
    pub(crate) fn add_source(&self, root: &CheckpointRoot) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let Some(path) = root.git.get("source").and_then(Value::as_bytes) else {
            return Ok(());
        };
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        let known = |sources: &[Arc<crate::git::GitSource>]| sources.iter().any(|source| source.common_dir() == path);
        if known(&self.shared.sources.lock()) {
            return Ok(());
        }
        let source = self.engine().git_map.source(path).map_err(|error| {
            Error::git(format!(
                "the history of this repository is in {}, which cannot be opened ({error}); bring it back to serve it",
                path.display()
            ))
        })?;
        let mut sources = self.shared.sources.lock();
        if !known(&sources) {
            sources.push(source);
        }
        Ok(())
    }

    /// The git name of a checkpoint's files.
    pub(crate) fn tree_of(&self, id: &Id, root: &CheckpointRoot) -> Result<Oid> {
        let engine = self.engine();
        let odd = odd_trees(engine, &root.git, self.format)?;
        if odd.is_empty()
            && let Some(oid) = engine.git_map.by_id(self.format, &root.files)
        {
            return Ok(oid);
        }
        let snapshot = engine.snapshot(id)?;
        let mut exporter = Exporter::new(engine, self.format, odd, None);
        let oid = exporter.tree(snapshot.files.root())?;
        exporter.keep_names();
        if !exporter.uncommon.is_empty() {
            let uncommon = std::mem::take(&mut exporter.uncommon);
            self.shared.registry.lock().add_trees(uncommon);
        }
        Ok(oid)
    }

    /// The commit of a checkpoint on a branch; `None` if there is nothing in it and nothing before it. O(checkpoints not seen before), and for
    /// each O(changed).
    pub(crate) fn chain(&self, id: &Id) -> Result<Option<Oid>> {
        // What this call relies on is remembered in it too: somebody may make the registry forget meanwhile.
        let mut done: IdMap<Option<Oid>> = IdMap::default();
        if let Some(known) = self.known_in_chain(id, &mut done) {
            return Ok(known);
        }
        let engine = self.engine();
        let mut fresh = Vec::new();
        let mut stack = vec![(*id, engine.root(id)?, false)];
        while let Some((id, root, ready)) = stack.pop() {
            if self.known_in_chain(&id, &mut done).is_some() {
                continue;
            }
            let mut commit = self.own_commit(&id, &root)?;
            if commit.is_none() && !ready {
                stack.push((id, root.clone(), true));
                for parent in &root.parents {
                    if self.known_in_chain(parent, &mut done).is_none()
                        && let Some(above) = engine.ancestor(parent)?
                    {
                        stack.push((*parent, above, false));
                    }
                }
                continue;
            }
            if commit.is_none() {
                let mut parents: Vec<Oid> = Vec::new();
                let mut cut = false;
                for parent in &root.parents {
                    match done.get(parent) {
                        Some(Some(oid)) if !parents.contains(oid) => parents.push(*oid),
                        Some(_) => {}
                        None => cut = true,
                    }
                }
                // Retention took what was before: what is left is what was committed last.
                if cut && parents.is_empty() {
                    self.add_source(&root)?;
                    parents.extend(committed(&root, self.format).filter(|oid| self.has_commit(oid)));
                }
                commit = self.make(&id, &root, &parents, &mut fresh)?;
            }
            done.insert(id, commit);
            self.shared.registry.lock().chain.insert((id, self.format), commit);
        }
        engine.git_map.append(&fresh);
        Ok(done.get(id).copied().flatten())
    }

    /// What was found out about a checkpoint before; it is in `done` afterwards.
    fn known_in_chain(&self, id: &Id, done: &mut IdMap<Option<Oid>>) -> Option<Option<Oid>> {
        if let Some(known) = done.get(id) {
            return Some(*known);
        }
        let known = self.shared.registry.lock().chain.get(&(*id, self.format)).copied()?;
        done.insert(*id, known);
        Some(known)
    }

    /// The commit of a workspace's content: one on top of where it came from.
    pub(crate) fn work(&self, held: &Arc<Held>, origin: Option<&Origin>) -> Result<Option<Oid>> {
        let root = &held.root;
        self.shared.registry.lock().hold(held.clone());
        if let Some(oid) = self.own_commit(&held.id, root)? {
            return Ok(Some(oid));
        }
        if let Some(origin) = origin.filter(|origin| origin.head == held.id) {
            return self.chain(&origin.head);
        }
        let engine = self.engine();
        let base = match origin
            .map(|origin| engine.ancestor(&origin.head))
            .transpose()?
            .flatten()
        {
            // Something was pushed to it since: that is where it stands.
            Some(above) if committed(&above, self.format) == committed(root, self.format) => {
                origin.map(|origin| self.chain(&origin.head)).transpose()?.flatten()
            }
            _ => None,
        };
        let base = match self.worked(&held.id, root)? {
            Some((head, _)) => Some(head),
            None => base,
        };
        let base = match (base, committed(root, self.format)) {
            (Some(base), _) => Some(base),
            (None, Some(oid)) => {
                self.add_source(root)?;
                if !self.has_commit(&oid) {
                    self.look_back(&held.id)?;
                }
                Some(oid).filter(|oid| self.has_commit(oid))
            }
            (None, None) => None,
        };
        let mut fresh = Vec::new();
        let made = self.make(&held.id, root, base.as_slice(), &mut fresh)?;
        engine.git_map.append(&fresh);
        if let (Some(oid), false) = (made, fresh.is_empty()) {
            let mut registry = self.shared.registry.lock();
            registry.work.push_back(oid);
            if registry.work.len() > WORK_MAX
                && let Some(oldest) = registry.work.pop_front()
            {
                registry.made.remove(&oldest);
            }
        }
        Ok(made)
    }

    /// Finds the checkpoint that a commit was pushed as, among those before `id`.
    fn look_back(&self, id: &Id) -> Result<()> {
        let engine = self.engine();
        let mut at = Some((*id, engine.root(id)?));
        while let Some((id, root)) = at {
            if self.own_commit(&id, &root)?.is_some() {
                break;
            }
            at = match root.parents.first() {
                Some(parent) => engine.ancestor(parent)?.map(|above| (*parent, above)),
                None => None,
            };
        }
        Ok(())
    }

    /// Makes the commit for a checkpoint on top of others, unless it would change nothing.
    fn make(&self, id: &Id, root: &CheckpointRoot, parents: &[Oid], fresh: &mut Vec<MapEntry>) -> Result<Option<Oid>> {
        let tree = self.tree_of(id, root)?;
        match parents {
            [] if tree == self.format.empty_tree() => return Ok(None),
            [parent] if self.commit(parent)?.tree == tree => return Ok(Some(*parent)),
            _ => {}
        }
        let raw = encode(id, root, tree, parents);
        let oid = hash_object(self.format, ObjectKind::Commit, &raw);
        let mut registry = self.shared.registry.lock();
        let known = registry.made.insert(
            oid,
            Made {
                raw: raw.into(),
                checkpoint: *id,
            },
        );
        drop(registry);
        if known.is_none() {
            fresh.push(MapEntry {
                oid,
                id: *id,
                kind: MapKind::Commit,
                size_bytes: 0,
                files: 0,
            });
        }
        Ok(Some(oid))
    }
}

fn encode(id: &Id, root: &CheckpointRoot, tree: Oid, parents: &[Oid]) -> Vec<u8> {
    let seconds = i64::try_from(root.time_ns / 1_000_000_000).unwrap_or(0);
    let signature = Signature::new(NAME, MAIL, seconds, 0).to_bytes();
    let text = root.message.replace('\0', "");
    let text = text.trim_end();
    let id = id.to_string();
    let text = if text.is_empty() {
        format!("checkpoint {}", id.get(..12).unwrap_or(&id))
    } else {
        text.to_owned()
    };
    let message = format!("{text}\n\nPYI-Checkpoint: {id}\n");
    Commit {
        tree,
        parents: parents.to_vec(),
        author: &signature,
        committer: &signature,
        headers: Vec::new(),
        message: message.as_bytes(),
    }
    .encode()
}

/// The root of a checkpoint and its engine, for who knows only a commit.
pub(crate) fn checkpoint_in_map(engine: &Engine, oid: &Oid) -> Option<Id> {
    engine
        .git_map
        .by_oid(oid)
        .filter(|entry| entry.kind == MapKind::Commit)
        .map(|entry| entry.id)
}
