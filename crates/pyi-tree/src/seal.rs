//! Giving ids to what was written since the last checkpoint, and collecting it for one append.

use std::sync::Arc;

use bytes::Bytes;
use pyi_cas::{Batch, Id, Kind, ObjectStore};

use crate::node::Anchor;
use crate::{Forest, Node, Pending, Result, splice};

/// What sealing collects.
pub struct Sealer<'a> {
    store: &'a dyn ObjectStore,
    batch: &'a mut Batch,
    /// Contents that were sealed, for the cache.
    pub blobs: Vec<(Id, Bytes)>,
    /// Bytes of nodes and contents that were hashed.
    pub hashed_bytes: u64,
}

impl<'a> Sealer<'a> {
    /// Collects into `batch` what `store` does not have.
    pub fn new(store: &'a dyn ObjectStore, batch: &'a mut Batch) -> Self {
        Sealer {
            store,
            batch,
            blobs: Vec::new(),
            hashed_bytes: 0,
        }
    }

    /// Adds an object if neither the store nor the batch has it; returns its id.
    ///
    /// # Errors
    /// `InvalidArgument` if it is too large.
    pub fn object(&mut self, kind: Kind, content: &[u8]) -> Result<Id> {
        let id = kind.id_of(content);
        self.hashed_bytes += content.len() as u64;
        self.known(kind, &id, content)?;
        Ok(id)
    }

    /// Adds an object that nobody can have stored before.
    ///
    /// # Errors
    /// `InvalidArgument` if it is too large.
    pub fn new_object(&mut self, kind: Kind, id: &Id, content: &[u8]) -> Result<()> {
        Ok(self
            .batch
            .put_chunked(kind, id, content, &|chunk| self.store.contains_hint(chunk))?)
    }

    fn known(&mut self, kind: Kind, id: &Id, content: &[u8]) -> Result<()> {
        if !self.store.contains_hint(id) && !self.batch.contains(id) {
            self.batch
                .put_chunked(kind, id, content, &|chunk| self.store.contains_hint(chunk))?;
        }
        Ok(())
    }

    /// Adds a node, as its difference to the version before it where that is worth it.
    pub(crate) fn node(&mut self, node: &Node, id: &Id) -> Result<Placed> {
        self.hashed_bytes += node.bytes().len() as u64;
        if self.store.contains_recent_hint(id) || self.batch.contains(id) {
            return Ok(Placed::Known);
        }
        if let Some(anchor) = node.anchor() {
            let mut splice = self.batch.take_splice();
            if splice::between(&anchor.bytes, node.bytes(), &mut splice) && self.stands_alone(anchor) {
                self.batch.put_spliced(Kind::Node, id, &anchor.id, splice)?;
                return Ok(Placed::Spliced);
            }
            self.batch.give_splice(splice);
        }
        // A difference costs less than the look at everything that is stored, a whole node more.
        if self.store.contains_hint(id) {
            return Ok(Placed::Known);
        }
        self.batch.put(Kind::Node, id, node.bytes())?;
        Ok(Placed::Whole)
    }

    /// Whether what is stored as a difference to this version can be read with one step more.
    fn stands_alone(&self, anchor: &Anchor) -> bool {
        let now = self.store.reliance_epoch();
        if now.is_some() && anchor.alone_since() == now {
            return true;
        }
        let alone = self.store.stands_alone_hint(&anchor.id);
        if alone {
            anchor.set_alone(now);
        }
        alone
    }

    /// Adds a file's content with its id.
    pub(crate) fn blob(&mut self, id: &Id, content: Bytes) -> Result<()> {
        self.hashed_bytes += content.len() as u64;
        self.known(Kind::Blob, id, &content)?;
        self.blobs.push((*id, content));
        Ok(())
    }

    pub(crate) fn pending(&mut self, pending: &Pending) -> Result<Id> {
        match pending {
            Pending::Blob(content) => {
                let id = Kind::Blob.id_of(content);
                self.blob(&id, content.clone())?;
                Ok(id)
            }
            Pending::Array { root, parts } => {
                for (kind, id, content) in parts.objects() {
                    self.known(kind, id, content)?;
                }
                self.object(Kind::Array, root)
            }
        }
    }
}

/// How a node stands in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placed {
    /// Somehow; it was there.
    Known,
    /// As its difference to its anchor.
    Spliced,
    /// By itself.
    Whole,
}

/// Seals the nodes below `node` and `node` itself; returns its id. O(dirty nodes and contents).
///
/// The node counts as stored from then on, so seal a clone of the root and keep it only once the batch was committed; or take a [`Forest`].
///
/// # Errors
/// As [`Sealer::object`].
pub fn seal(node: &mut Arc<Node>, sealer: &mut Sealer<'_>) -> Result<Id> {
    let mut forest = Forest::take([node]);
    forest.seal(sealer)?;
    let id = forest.id(0);
    forest.keep(None);
    Ok(id)
}
