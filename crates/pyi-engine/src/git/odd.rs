//! Trees whose bytes are not what their entries alone would give: kept as they were, bit for bit.
//!
//! Old tools wrote trees in another order, modes with a leading zero or with permissions that git no longer writes, and
//! directories without entries. Our nodes hold entries only; so the raw bytes stand beside, in a flat mapping from the directory's path
//! to the id of its node and the bytes. They count only as long as the directory still has that node.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyi_cas::Id;
use pyi_tree::cbor::Value;
use pyi_tree::tree::Content;
use pyi_tree::{Mode, Sealer, Tree, Walk, seal};

use crate::engine::Engine;
use crate::{Error, Result};

/// More odd directories than this in one commit are refused: a tree that names itself in many places makes any number of them.
pub(crate) const ODD_MAX: usize = 100_000;

/// One odd directory.
#[derive(Clone, Debug)]
pub(crate) struct OddTree {
    /// The node that it became.
    pub(crate) node: Id,
    /// The bytes of git's tree.
    pub(crate) raw: Arc<Vec<u8>>,
}

/// The odd directories of a checkpoint, by path (`""` is the root).
#[derive(Clone, Debug, Default)]
pub(crate) struct OddTrees(BTreeMap<Vec<u8>, OddTree>);

impl OddTrees {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The odd directory at exactly this path.
    pub(crate) fn at(&self, path: &[u8]) -> Option<&OddTree> {
        self.0.get(path)
    }

    /// Whether this directory, or one below it, is odd. O(log odd directories).
    pub(crate) fn touches(&self, path: &[u8]) -> bool {
        if path.is_empty() || self.0.contains_key(path) {
            return !self.0.is_empty();
        }
        let below = [path, b"/"].concat();
        self.0
            .range(below.clone()..)
            .next()
            .is_some_and(|(found, _)| found.starts_with(&below))
    }

    pub(crate) fn insert(&mut self, path: Vec<u8>, odd: OddTree) {
        self.0.insert(path, odd);
    }

    /// Takes those of a child directory over, under its name.
    pub(crate) fn adopt(&mut self, name: &[u8], child: &OddTrees) {
        for (path, odd) in &child.0 {
            let path = if path.is_empty() {
                name.to_vec()
            } else {
                [name, b"/", path].concat()
            };
            self.0.insert(path, odd.clone());
        }
    }

    /// Puts them into the store's batch; returns what goes under `odd` of the checkpoint's `git`.
    pub(crate) fn store(&self, engine: &Engine, sealer: &mut Sealer<'_>) -> Result<Value> {
        let mut tree = Tree::default();
        for (path, odd) in &self.0 {
            let content = [&odd.node.0[..], &odd.raw].concat();
            tree.put_name(&key(path), Mode::Value, Content::Bytes(content.into()), &engine.loader)?;
        }
        let id = seal(tree.root_mut(), sealer)?;
        sealer.blobs.clear();
        Ok(Value::Bytes(id.0.to_vec()))
    }

    /// Those of a checkpoint, from its `git`.
    pub(crate) fn load(engine: &Engine, git: &Value) -> Result<Self> {
        let Some(id) = git.get("odd") else {
            return Ok(OddTrees::default());
        };
        let wrong = || Error::corrupt("checkpoint: `odd` of `git` is damaged; run `pyi scrub`");
        let id = Id::try_from(id.as_bytes().ok_or_else(wrong)?)?;
        let mut walk = Walk::entries(engine.tree(&id)?.root().clone(), b"");
        let mut odd = OddTrees::default();
        while let Some(entry) = walk.next(&engine.loader)? {
            let path = entry.path.strip_prefix(b"/").ok_or_else(wrong)?;
            let content = engine.content(&entry.row.id, entry.pending.as_ref())?;
            let (node, raw) = content.split_first_chunk::<32>().ok_or_else(wrong)?;
            odd.insert(
                path.to_vec(),
                OddTree {
                    node: Id(*node),
                    raw: Arc::new(raw.to_vec()),
                },
            );
        }
        Ok(odd)
    }
}

/// The name under which a path stands in the mapping: a name cannot be empty, so each begins with `/`. A name is
/// limited to 4,096 bytes, as a path is; the longest paths therefore cannot be odd.
fn key(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}
