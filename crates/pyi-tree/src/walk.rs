//! Going through a directory, or through everything below it, in the byte order of names.

use std::sync::Arc;

use crate::{Loader, Mode, Node, Pending, Result, Row};

/// One entry met on a walk.
#[derive(Clone, Debug)]
pub struct WalkEntry {
    /// The path from the walk's root on.
    pub path: Vec<u8>,
    /// The row.
    pub row: Row,
    /// The content if it was not stored yet.
    pub pending: Option<Pending>,
    /// The node of a directory.
    pub node: Option<Arc<Node>>,
}

struct Level {
    node: Arc<Node>,
    next: usize,
    /// Bytes of the path that belong to the directory of this node.
    prefix: usize,
}

/// A walk. Memory: O(depth).
pub struct Walk {
    stack: Vec<Level>,
    path: Vec<u8>,
    recursive: bool,
    directories: bool,
}

impl Walk {
    /// Everything below `root`, without the directories themselves.
    #[must_use]
    pub fn files(root: Arc<Node>, prefix: &[u8]) -> Self {
        Walk::start(root, prefix, true, false)
    }

    /// Everything below `root`, each directory before what it holds.
    #[must_use]
    pub fn all(root: Arc<Node>, prefix: &[u8]) -> Self {
        Walk::start(root, prefix, true, true)
    }

    /// The entries of one directory.
    #[must_use]
    pub fn entries(root: Arc<Node>, prefix: &[u8]) -> Self {
        Walk::start(root, prefix, false, true)
    }

    fn start(root: Arc<Node>, prefix: &[u8], recursive: bool, directories: bool) -> Self {
        let mut path = prefix.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        let prefix = path.len();
        Walk {
            stack: vec![Level {
                node: root,
                next: 0,
                prefix,
            }],
            path,
            recursive,
            directories,
        }
    }

    /// The next entry, `None` at the end. O(1) amortized, plus the load of a node.
    ///
    /// # Errors
    /// What the loader says; the walk ends then.
    pub fn next(&mut self, loader: &dyn Loader) -> Result<Option<WalkEntry>> {
        while let Some(level) = self.stack.last_mut() {
            let (index, prefix) = (level.next, level.prefix);
            if index >= level.node.len() {
                self.stack.pop();
                continue;
            }
            level.next += 1;
            let row = level.node.row(index);
            let node = if row.mode.has_node() && (self.recursive || row.mode == Mode::Piece || self.directories) {
                match level.node.child(index, loader) {
                    Ok(child) => Some(child.clone()),
                    Err(error) => {
                        self.stack.clear();
                        return Err(error);
                    }
                }
            } else {
                None
            };
            self.path.truncate(prefix);
            if let (Mode::Piece, Some(node)) = (row.mode, &node) {
                self.stack.push(Level {
                    node: node.clone(),
                    next: 0,
                    prefix,
                });
                continue;
            }
            self.path.extend_from_slice(level.node.name(index));
            let pending = level.node.pending(index).cloned();
            let path = self.path.clone();
            if let (Mode::Directory, true, Some(node)) = (row.mode, self.recursive, &node) {
                self.path.push(b'/');
                let prefix = self.path.len();
                self.stack.push(Level {
                    node: node.clone(),
                    next: 0,
                    prefix,
                });
                if !self.directories {
                    continue;
                }
            }
            return Ok(Some(WalkEntry {
                path,
                row,
                pending,
                node,
            }));
        }
        Ok(None)
    }
}
