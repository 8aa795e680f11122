//! Giving ids to what was written since the last checkpoint, and collecting it for one append.

use std::sync::Arc;

use bytes::Bytes;
use pyi_cas::{Batch, Id, Kind, ObjectStore, Splice};

use crate::node::UNSTORED;
use crate::{Node, Pending, Result, splice};

/// What sealing collects.
pub struct Sealer<'a> {
    store: &'a dyn ObjectStore,
    batch: &'a mut Batch,
    /// Contents that were sealed, for the cache.
    pub blobs: Vec<(Id, Bytes)>,
    /// Bytes of nodes and contents that were hashed.
    pub hashed_bytes: u64,
    splice: Splice,
}

impl<'a> Sealer<'a> {
    /// Collects into `batch` what `store` does not have.
    pub fn new(store: &'a dyn ObjectStore, batch: &'a mut Batch) -> Self {
        Sealer {
            store,
            batch,
            blobs: Vec::new(),
            hashed_bytes: 0,
            splice: Splice::new(),
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

    fn known(&mut self, kind: Kind, id: &Id, content: &[u8]) -> Result<()> {
        if !self.store.contains_hint(id) && !self.batch.contains(id) {
            self.batch
                .put_chunked(kind, id, content, &|chunk| self.store.contains_hint(chunk))?;
        }
        Ok(())
    }

    /// Adds a node, as its difference to the version before it where that is worth it.
    fn node(&mut self, node: &mut Node) -> Result<Id> {
        let id = Kind::Node.id_of(node.bytes());
        self.hashed_bytes += node.bytes().len() as u64;
        if self.store.contains_hint(&id) || self.batch.contains(&id) {
            node.drop_anchor();
            return Ok(id);
        }
        if let Some(anchor) = node.anchor()
            && splice::between(&anchor.bytes, node.bytes(), &mut self.splice)
            && self.store.stands_alone_hint(&anchor.id)
        {
            self.batch.put_spliced(Kind::Node, &id, &anchor.id, &mut self.splice)?;
            return Ok(id);
        }
        self.batch.put(Kind::Node, &id, node.bytes())?;
        node.drop_anchor();
        Ok(id)
    }

    fn pending(&mut self, pending: &Pending) -> Result<Id> {
        match pending {
            Pending::Blob(content) => {
                let id = self.object(Kind::Blob, content)?;
                self.blobs.push((id, content.clone()));
                Ok(id)
            }
            Pending::Array { root, chunks } => {
                for (id, chunk) in chunks.iter() {
                    self.known(Kind::Blob, id, chunk)?;
                }
                self.object(Kind::Array, root)
            }
        }
    }
}

/// Seals the nodes below `node` and `node` itself; returns its id. O(dirty nodes and contents).
///
/// The node counts as stored from then on, so seal a clone of the root and keep it only once the batch was committed.
///
/// # Errors
/// As [`Sealer::object`].
pub fn seal(node: &mut Arc<Node>, sealer: &mut Sealer<'_>) -> Result<Id> {
    if let Some(id) = node.id() {
        return Ok(id);
    }
    let own = Arc::make_mut(node);
    let mut ids = Vec::new();
    for (index, pending) in own.pending_rows() {
        ids.push((index, sealer.pending(pending)?));
    }
    for (index, id) in ids {
        own.set_id_at(index, &id);
    }
    own.clear_pending();
    for index in 0..own.len() {
        if !own.mode(index).has_node() || own.id_at(index) != UNSTORED {
            continue;
        }
        let Some(mut child) = own.take_child(index) else {
            continue;
        };
        let id = seal(&mut child, sealer)?;
        own.replace_child(index, child);
        own.set_id_at(index, &id);
    }
    let id = sealer.node(own)?;
    own.set_id(id);
    Ok(id)
}
