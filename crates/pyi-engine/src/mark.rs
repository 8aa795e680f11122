//! What checkpoints, trees and single objects reach. Nothing recurses, and what is marked already is not looked at again.

use bytes::Bytes;
use pyi_cas::{Id, IdMap, IdSet, Kind, ObjectStore};
use pyi_tree::array::named_by;
use pyi_tree::cbor::Value;
use pyi_tree::{CheckpointRoot, Mode, Node};

use crate::conflicts::kept_in;
use crate::git::work::git_directory;
use crate::{Error, Result};

/// What to do about an object that is named and not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    /// It is damage.
    Refuse,
    /// What names it was not kept as a whole either.
    Skip,
    /// It is not found.
    Report,
}

/// Marks objects.
pub(crate) struct Marker<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) live: &'a mut IdSet,
    pub(crate) missing: Missing,
    /// Whether somebody is going to rely on what is found. Then contents are looked for too, which are otherwise only noted, and a collector that
    /// has condemned any of it is told to spare it.
    pub(crate) rely: bool,
    /// Add up what is marked, which takes a look at the index for each object.
    pub(crate) count_bytes: bool,
    /// Bytes of the records marked so far.
    pub(crate) bytes: u64,
    /// Note what is marked in `added`.
    pub(crate) note_added: bool,
    pub(crate) added: Vec<Id>,
    /// For what is marked below something newer: what stands there in the newer version. No two lead to each other, as only what was
    /// marked before is newer.
    pub(crate) newer: Option<&'a mut IdMap<Id>>,
    waiting: Vec<Item>,
}

/// An object to be marked, and what stands in its place in a newer version.
type Item = (Kind, Id, Option<Id>);

impl<'a> Marker<'a> {
    pub(crate) fn new(store: &'a dyn ObjectStore, live: &'a mut IdSet, missing: Missing) -> Self {
        Marker {
            store,
            live,
            missing,
            rely: false,
            count_bytes: false,
            bytes: 0,
            note_added: false,
            added: Vec::new(),
            newer: None,
            waiting: Vec::new(),
        }
    }

    /// Marks an object; `false` if it was marked before.
    fn add(&mut self, id: &Id) -> bool {
        let new = self.live.insert(*id);
        if new && self.count_bytes {
            self.bytes += self.store.record_bytes(id).unwrap_or(0);
        }
        if new && self.note_added {
            self.added.push(*id);
        }
        new
    }

    /// What can be read now; with `rely`, what can be read tomorrow too.
    fn get(&self, kind: Kind, id: &Id) -> Result<Option<Bytes>> {
        let found = self.store.get(kind, id)?;
        if self.rely && found.is_some() && !self.store.contains(id)? {
            return Ok(None);
        }
        Ok(found)
    }

    fn absent(&self, kind: Kind, id: &Id) -> Result<()> {
        match self.missing {
            Missing::Skip => Ok(()),
            Missing::Report => Err(Error::not_found(format!("{kind} {id} is not in the store any more"))),
            Missing::Refuse => Err(Error::corrupt(format!(
                "{kind} {id} is missing from the store, and something names it; run `pyi scrub`"
            ))),
        }
    }

    /// Marks a checkpoint and its trees, without its parents. Its root, if it is there.
    pub(crate) fn checkpoint(&mut self, id: &Id) -> Result<Option<CheckpointRoot>> {
        self.checkpoint_below(id, None)
    }

    /// The same with a checkpoint that is newer and was marked before.
    pub(crate) fn checkpoint_below(
        &mut self,
        id: &Id,
        newer: Option<&CheckpointRoot>,
    ) -> Result<Option<CheckpointRoot>> {
        let Some(bytes) = self.get(Kind::Checkpoint, id)? else {
            self.absent(Kind::Checkpoint, id)?;
            return Ok(None);
        };
        let root = CheckpointRoot::decode(&bytes)?;
        if self.add(id) {
            self.trees(&root, newer)?;
        }
        Ok(Some(root))
    }

    fn trees(&mut self, root: &CheckpointRoot, newer: Option<&CheckpointRoot>) -> Result<()> {
        let newer = newer.map_or([None; 6], trees_of);
        for (node, newer) in trees_of(root).into_iter().zip(newer) {
            if let Some(node) = node {
                self.all_below((Kind::Node, node, newer))?;
            }
        }
        Ok(())
    }

    /// Marks an object of any kind and what it holds; nothing if the store does not have it. A checkpoint is returned, so that its
    /// parents can be followed.
    pub(crate) fn any(&mut self, id: &Id) -> Result<Option<CheckpointRoot>> {
        if let Some(bytes) = self.store.get(Kind::Checkpoint, id)? {
            let root = CheckpointRoot::decode(&bytes)?;
            if self.add(id) {
                self.trees(&root, None)?;
            }
            return Ok(Some(root));
        }
        if self.live.contains(id) {
            return Ok(None);
        }
        for kind in [Kind::Node, Kind::Array] {
            if self.store.get(kind, id)?.is_some() {
                return self.tree(kind, *id).map(|()| None);
            }
        }
        if self.store.contains(id)? {
            self.add(id);
        }
        Ok(None)
    }

    /// Marks a node, array or blob and all below it.
    pub(crate) fn tree(&mut self, kind: Kind, id: Id) -> Result<()> {
        self.all_below((kind, id, None))
    }

    fn all_below(&mut self, first: Item) -> Result<()> {
        self.waiting.push(first);
        while let Some((kind, id, newer)) = self.waiting.pop() {
            if !self.add(&id) {
                continue;
            }
            let newer = newer.filter(|newer| self.newer.is_some() && *newer != id && self.live.contains(newer));
            if let (Some(newers), Some(newer)) = (&mut self.newer, newer) {
                newers.insert(id, newer);
            }
            match kind {
                Kind::Node => match self.get(kind, &id)? {
                    Some(bytes) => {
                        let newer = newer.map(|newer| self.node(&newer)).transpose()?.flatten();
                        self.rows(&Node::decode(&bytes, id)?, newer.as_ref());
                    }
                    None => self.absent(kind, &id)?,
                },
                Kind::Array => match self.get(kind, &id)? {
                    Some(bytes) => self.chunks(&id, &bytes)?,
                    None => self.absent(kind, &id)?,
                },
                _ => {
                    if self.rely && !self.store.contains(&id)? {
                        self.absent(kind, &id)?;
                    } else if kind == Kind::Blob && (self.count_bytes || self.rely) {
                        // What a large content is cut into takes most of the room.
                        let parts = self.store.parts(&id)?;
                        self.waiting
                            .extend(parts.into_iter().map(|part| (Kind::Chunk, part, None)));
                    }
                }
            }
        }
        Ok(())
    }

    fn node(&self, id: &Id) -> Result<Option<Node>> {
        let bytes = self.store.get(Kind::Node, id)?;
        Ok(bytes.map(|bytes| Node::decode(&bytes, *id)).transpose()?)
    }

    fn rows(&mut self, node: &Node, newer: Option<&Node>) {
        // From the back, so that what is first is marked first, as it was written.
        for index in (0..node.len()).rev() {
            let row = node.row(index);
            let kind = match row.mode {
                Mode::Directory | Mode::Piece => Kind::Node,
                Mode::Array => Kind::Array,
                Mode::Gitlink => continue,
                Mode::File | Mode::Executable | Mode::Symlink | Mode::Value => Kind::Blob,
            };
            if !self.live.contains(&row.id) {
                let newer = newer.and_then(|newer| {
                    let other = newer.row(newer.search(node.name(index)).ok()?);
                    (other.mode.has_node() == row.mode.has_node() && other.mode != Mode::Gitlink).then_some(other.id)
                });
                self.waiting.push((kind, row.id, newer));
            }
        }
    }

    /// What an array's description, or one of its lists, names.
    fn chunks(&mut self, id: &Id, bytes: &[u8]) -> Result<()> {
        let (kind, ids) =
            named_by(bytes).map_err(|_| Error::corrupt(format!("array {id} does not parse; run `pyi scrub`")))?;
        self.waiting.extend(ids.into_iter().rev().map(|id| (kind, id, None)));
        Ok(())
    }
}

/// The root nodes of all that a checkpoint holds: its files, state and journal, odd trees, kept conflicts and git directory. O(1).
pub(crate) fn trees_of(root: &CheckpointRoot) -> [Option<Id>; 6] {
    [
        Some(root.files),
        root.state,
        root.journal,
        odd_trees(&root.git),
        kept_in(&root.git),
        git_directory(&root.git),
    ]
}

/// A thing in a checkpoint's `git` that is in the store, beside kept conflicts: odd trees, bit for bit (see `git::odd`).
fn odd_trees(git: &Value) -> Option<Id> {
    Id::try_from(git.get("odd")?.as_bytes()?).ok()
}
