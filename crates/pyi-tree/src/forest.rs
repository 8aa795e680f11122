//! The dirty nodes of some trees, on their way into the store: taken out of their trees, given ids level by level, the deepest
//! first and a whole level at once (also across trees), and put back.
//!
//! They are changed in place, not copied. Until [`Forest::keep`] everything can be put back as it was, and dropping a forest does.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use pyi_cas::{Id, Kind, Link, ids_of_chain};

use crate::node::UNSTORED;
use crate::seal::{Placed, Sealer};
use crate::{Node, Pending, Result};

/// Stands in a tree's place while its root is away.
static AWAY: LazyLock<Arc<Node>> = LazyLock::new(|| Arc::new(Node::empty(0)));

/// Most checkpoints of one change have no more trees or dirty nodes; others make room.
const USUAL: usize = 8;

/// See the module's description.
pub struct Forest<'a> {
    roots: Vec<Root<'a>>,
    /// By level, the roots first.
    dirty: Vec<Dirty>,
    kept: bool,
}

struct Root<'a> {
    place: &'a mut Arc<Node>,
    /// Where it is in `dirty`, unless it was sealed already.
    dirty: Option<usize>,
}

struct Dirty {
    node: Arc<Node>,
    /// The node above in `dirty` and the row there; nothing for a root.
    above: Option<(usize, usize)>,
    id: Id,
    placed: Placed,
}

impl<'a> Forest<'a> {
    /// Takes the dirty nodes of these trees. O(rows of the dirty nodes).
    pub fn take(roots: impl IntoIterator<Item = &'a mut Arc<Node>>) -> Self {
        let mut forest = Forest {
            roots: Vec::with_capacity(USUAL),
            dirty: Vec::with_capacity(USUAL),
            kept: false,
        };
        for place in roots {
            let dirty = place.id().is_none().then(|| {
                let node = std::mem::replace(place, AWAY.clone());
                forest.push(node, None)
            });
            forest.roots.push(Root { place, dirty });
        }
        let mut at = 0;
        while at < forest.dirty.len() {
            let mut from = 0;
            while let Some((row, child)) = Arc::make_mut(&mut forest.dirty[at].node).take_dirty_child(from) {
                forest.push(child, Some((at, row)));
                from = row + 1;
            }
            at += 1;
        }
        forest
    }

    fn push(&mut self, node: Arc<Node>, above: Option<(usize, usize)>) -> usize {
        self.dirty.push(Dirty {
            node,
            above,
            id: UNSTORED,
            placed: Placed::Known,
        });
        self.dirty.len() - 1
    }

    /// Gives everything its id and collects what the store has not. O(dirty nodes and contents).
    ///
    /// # Errors
    /// `InvalidArgument` if something is too large for the store.
    pub fn seal(&mut self, sealer: &mut Sealer<'_>) -> Result<()> {
        if self.is_path() {
            return self.seal_path(sealer);
        }
        self.seal_contents(sealer)?;
        for level in self.levels().into_iter().rev() {
            let contents: Vec<&[u8]> = self.dirty[level.clone()]
                .iter()
                .map(|dirty| dirty.node.bytes())
                .collect();
            let ids = Kind::Node.ids_of(&contents);
            for (at, id) in level.zip(ids) {
                self.place(at, &id, sealer)?;
            }
        }
        Ok(())
    }

    /// Whether each node but the first stands in the one before it, as after one change.
    fn is_path(&self) -> bool {
        let mut above = self.dirty.iter().map(|dirty| dirty.above.map(|(above, _)| above));
        above.next() == Some(None) && above.enumerate().all(|(before, above)| above == Some(before))
    }

    /// As [`Forest::seal`] for a path, whose nodes are hashed beside each other as far as they can be.
    fn seal_path(&mut self, sealer: &mut Sealer<'_>) -> Result<()> {
        let blob = self.only_blob();
        if blob.is_none() {
            self.seal_contents(sealer)?;
        }
        let mut links = Vec::with_capacity(self.dirty.len() + 1);
        links.extend(blob.iter().map(|(_, content)| Link {
            kind: Kind::Blob,
            content,
            hole: None,
        }));
        let mut row = blob.as_ref().map(|(row, _)| *row);
        for dirty in self.dirty.iter().rev() {
            links.push(Link {
                kind: Kind::Node,
                content: dirty.node.bytes(),
                hole: row.map(|row| dirty.node.place_of_id(row)),
            });
            row = dirty.above.map(|(_, row)| row);
        }
        let ids = ids_of_chain(&links);
        let mut of_nodes = &ids[..];
        if let (Some((row, content)), Some((id, rest)), Some(deepest)) =
            (blob, ids.split_first(), self.dirty.last_mut())
        {
            sealer.blob(id, content)?;
            Arc::make_mut(&mut deepest.node).set_id_at(row, id);
            of_nodes = rest;
        }
        for (at, id) in (0..self.dirty.len()).rev().zip(of_nodes) {
            self.place(at, id, sealer)?;
        }
        Ok(())
    }

    /// The new content, and its row in the deepest node, if there is no other in any node.
    fn only_blob(&self) -> Option<(usize, Bytes)> {
        let (deepest, others) = self.dirty.split_last()?;
        let mut pending = deepest.node.pending_rows();
        let (Some((row, Pending::Blob(content))), None) = (pending.next(), pending.next()) else {
            return None;
        };
        let is_only = others.iter().all(|other| other.node.pending_rows().next().is_none());
        is_only.then(|| (row, content.clone()))
    }

    /// Collects a node whose rows all have their ids, and gives it its own.
    fn place(&mut self, at: usize, id: &Id, sealer: &mut Sealer<'_>) -> Result<()> {
        let dirty = &mut self.dirty[at];
        dirty.placed = sealer.node(&dirty.node, id)?;
        dirty.id = *id;
        if let Some((above, row)) = dirty.above {
            Arc::make_mut(&mut self.dirty[above].node).set_id_at(row, id);
        }
        Ok(())
    }

    fn seal_contents(&mut self, sealer: &mut Sealer<'_>) -> Result<()> {
        let (mut places, mut blobs) = (Vec::new(), Vec::new());
        for (at, dirty) in self.dirty.iter().enumerate() {
            for (row, pending) in dirty.node.pending_rows() {
                if let Pending::Blob(content) = pending {
                    places.push((at, row));
                    blobs.push(content.clone());
                }
            }
        }
        let contents: Vec<&[u8]> = blobs.iter().map(|content| &content[..]).collect();
        let ids = Kind::Blob.ids_of(&contents);
        for (((at, row), content), id) in places.into_iter().zip(blobs).zip(ids) {
            sealer.blob(&id, content)?;
            Arc::make_mut(&mut self.dirty[at].node).set_id_at(row, &id);
        }
        for at in 0..self.dirty.len() {
            let arrays: Vec<(usize, Pending)> = self.dirty[at]
                .node
                .pending_rows()
                .filter(|(_, pending)| !matches!(pending, Pending::Blob(_)))
                .map(|(row, pending)| (row, pending.clone()))
                .collect();
            for (row, pending) in arrays {
                let id = sealer.pending(&pending)?;
                Arc::make_mut(&mut self.dirty[at].node).set_id_at(row, &id);
            }
        }
        Ok(())
    }

    fn levels(&self) -> Vec<Range<usize>> {
        let mut levels: Vec<Range<usize>> = Vec::new();
        for (at, dirty) in self.dirty.iter().enumerate() {
            let begins = match (dirty.above, levels.last()) {
                (Some((above, _)), Some(level)) => above >= level.start,
                (_, last) => last.is_none(),
            };
            match levels.last_mut() {
                Some(level) if !begins => level.end = at + 1,
                _ => levels.push(at..at + 1),
            }
        }
        levels
    }

    /// The id of a tree's root, after [`Forest::seal`]. O(1).
    #[must_use]
    pub fn id(&self, tree: usize) -> Id {
        let root = &self.roots[tree];
        match root.dirty {
            Some(at) => self.dirty[at].id,
            None => root.place.id().unwrap_or(UNSTORED),
        }
    }

    /// Puts the nodes back as sealed ones: what was collected is in the store now. O(dirty nodes).
    pub fn keep(mut self, reliance_epoch: Option<u64>) {
        self.kept = true;
        for dirty in &mut self.dirty {
            let node = Arc::make_mut(&mut dirty.node);
            node.clear_pending();
            node.placed(&dirty.placed, reliance_epoch);
        }
        self.put_back(|node, id| node.set_id(id));
    }

    /// The deepest first, so that each is whole when it is put back.
    fn put_back(&mut self, finish: impl Fn(&mut Node, Id)) {
        while let Some(mut dirty) = self.dirty.pop() {
            finish(Arc::make_mut(&mut dirty.node), dirty.id);
            match dirty.above {
                Some((above, row)) => Arc::make_mut(&mut self.dirty[above].node).replace_child(row, dirty.node),
                None => {
                    let at = self.dirty.len();
                    if let Some(root) = self.roots.iter_mut().find(|root| root.dirty == Some(at)) {
                        *root.place = dirty.node;
                    }
                }
            }
        }
    }
}

impl Drop for Forest<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for at in 0..self.dirty.len() {
            Arc::make_mut(&mut self.dirty[at].node).forget_pending_ids();
            if let Some((above, row)) = self.dirty[at].above {
                Arc::make_mut(&mut self.dirty[above].node).set_id_at(row, &UNSTORED);
            }
        }
        self.put_back(|_, _| {});
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pyi_cas::{Batch, MemoryStore, ObjectStore};

    use super::*;
    use crate::tree::Content;
    use crate::{Mode, StoreLoader, Tree};

    fn put(tree: &mut Tree, path: String, byte: u8, loader: &StoreLoader) {
        let content = Content::Bytes(Bytes::from(vec![byte; 700]));
        tree.put(path.as_bytes(), Mode::File, content, loader).unwrap();
    }

    #[test]
    fn what_was_not_kept_is_as_it_was() {
        let store = Arc::new(MemoryStore::new());
        let loader = StoreLoader::new(store.clone());
        let (mut first, mut second) = (Tree::default(), Tree::default());
        for n in 0..600u32 {
            put(&mut first, format!("a/{}/{n}", n % 7), n as u8, &loader);
        }
        put(&mut second, "b".into(), 1, &loader);
        let before = (first.root().bytes().to_vec(), second.root().bytes().to_vec());
        let mut batch = Batch::new();
        let ids = {
            let mut forest = Forest::take([first.root_mut(), second.root_mut()]);
            forest.seal(&mut Sealer::new(&*store, &mut batch)).unwrap();
            [forest.id(0), forest.id(1)]
        };
        batch.clear();
        assert_eq!(before, (first.root().bytes().to_vec(), second.root().bytes().to_vec()));
        assert!(first.root().id().is_none());
        put(&mut second, "c".into(), 2, &loader);
        second.remove(b"c", &loader).unwrap();
        let mut forest = Forest::take([first.root_mut(), second.root_mut()]);
        forest.seal(&mut Sealer::new(&*store, &mut batch)).unwrap();
        assert_eq!([forest.id(0), forest.id(1)], ids);
        store.commit(&mut batch).unwrap();
        forest.keep(None);
        assert_eq!(first.root().id(), Some(ids[0]));
        // What the store has is what is in memory, and all of it can be had from there.
        let cold = Tree::from_root(crate::Loader::load(&loader, &ids[0]).unwrap());
        for n in 0..600u32 {
            let path = format!("a/{}/{n}", n % 7);
            let (warm, cold) = (
                first.find(path.as_bytes(), &loader),
                cold.find(path.as_bytes(), &loader),
            );
            let row = warm.unwrap().unwrap().row();
            assert_eq!(row, cold.unwrap().unwrap().row());
            assert_eq!(store.get(Kind::Blob, &row.id).unwrap().unwrap(), vec![n as u8; 700]);
        }
    }
}
