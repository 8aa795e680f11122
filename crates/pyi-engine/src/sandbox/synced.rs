//! What a workspace and a directory both held when they were last the same: a capture brings what changed in the directory since then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_cas::Pin;
use pyi_tree::Tree;

/// So many directories are remembered, the latest ones.
const REMEMBERED: usize = 8;

/// Directories by canonical path. Cloning is O(1): a fork of the workspace was the same as them too.
#[derive(Clone, Default)]
pub(crate) struct Synced(Option<Arc<Vec<Seen>>>);

#[derive(Clone)]
struct Seen {
    directory: PathBuf,
    tree: Tree,
    /// Keep what the tree is made of.
    pins: Vec<Arc<Pin>>,
}

impl Synced {
    /// The content of `directory` and the workspace when they were last the same.
    pub(crate) fn get(&self, directory: &Path) -> Option<(Tree, Vec<Arc<Pin>>)> {
        let known = self.0.as_ref()?.iter().find(|known| known.directory == directory)?;
        Some((known.tree.clone(), known.pins.clone()))
    }

    /// Notes that `directory` and the workspace have both seen `tree`.
    pub(crate) fn set(&mut self, directory: &Path, tree: Tree, pins: Vec<Arc<Pin>>) {
        let known = Arc::make_mut(self.0.get_or_insert_with(Arc::default));
        known.retain(|other| other.directory != directory);
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        // Only the root is kept in memory if the rest can be had from the store again.
        let tree = tree.cold().unwrap_or(tree);
        known.push(Seen {
            directory: directory.to_path_buf(),
            tree,
            pins,
        });
    }
}
