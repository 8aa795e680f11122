//! What differs between two trees, at a cost that follows the difference.

use std::sync::Arc;

use crate::cursor::{Place, differing, same_node};
use crate::{Loader, Mode, Node, Pending, Result, Row, Tree, Walk};

/// One side of a difference: an entry as it stands in one of the trees.
#[derive(Clone, Debug)]
pub struct Side {
    /// The row.
    pub row: Row,
    /// The content if it was not stored yet.
    pub pending: Option<Pending>,
}

impl Side {
    pub(crate) fn of(place: Place<'_>) -> Self {
        Side {
            row: place.0.row(place.1),
            pending: place.0.pending(place.1).cloned(),
        }
    }
}

/// A path whose entries differ. Directories appear only where an empty one came or went.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The path.
    pub path: Vec<u8>,
    /// What stands there in the old tree.
    pub old: Option<Side>,
    /// What stands there in the new tree.
    pub new: Option<Side>,
}

/// The differences from `old` to `new`, in the byte order of paths within each directory. O(difference * depth).
///
/// # Errors
/// What the loader says.
pub fn diff(old: &Tree, new: &Tree, loader: &dyn Loader) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut path = Vec::new();
    diff_below(Some(old.root()), Some(new.root()), loader, &mut path, &mut found)?;
    Ok(found)
}

fn directory_of(place: Option<Place<'_>>, loader: &dyn Loader) -> Result<Option<Arc<Node>>> {
    match place {
        Some((node, index)) if node.mode(index) == Mode::Directory => Ok(Some(node.child(index, loader)?.clone())),
        _ => Ok(None),
    }
}

fn diff_below(
    old: Option<&Arc<Node>>,
    new: Option<&Arc<Node>>,
    loader: &dyn Loader,
    path: &mut Vec<u8>,
    found: &mut Vec<Difference>,
) -> Result<()> {
    let prefix = path.len();
    differing(old, new, loader, &mut |name, a, b| {
        path.truncate(prefix);
        if prefix > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let (dir_a, dir_b) = (directory_of(a, loader)?, directory_of(b, loader)?);
        if let (Some(dir_a), Some(dir_b)) = (&dir_a, &dir_b) {
            return if same_node(dir_a, dir_b) {
                Ok(())
            } else {
                diff_below(Some(dir_a), Some(dir_b), loader, path, found)
            };
        }
        let old = a.filter(|_| dir_a.is_none()).map(Side::of);
        let new = b.filter(|_| dir_b.is_none()).map(Side::of);
        if old.is_some() || new.is_some() {
            found.push(Difference {
                path: path.clone(),
                old,
                new,
            });
        }
        for (dir, place, is_new) in [(dir_a, a, false), (dir_b, b, true)] {
            let (Some(dir), Some(place)) = (dir, place) else {
                continue;
            };
            let whole = |path: Vec<u8>, side: Side| match is_new {
                true => Difference {
                    path,
                    old: None,
                    new: Some(side),
                },
                false => Difference {
                    path,
                    old: Some(side),
                    new: None,
                },
            };
            if dir.is_empty() {
                found.push(whole(path.clone(), Side::of(place)));
            }
            let mut walk = Walk::all(dir, path);
            while let Some(entry) = walk.next(loader)? {
                if entry.row.mode != Mode::Directory || entry.node.is_some_and(|node| node.is_empty()) {
                    found.push(whole(
                        entry.path,
                        Side {
                            row: entry.row,
                            pending: entry.pending,
                        },
                    ));
                }
            }
        }
        Ok(())
    })?;
    path.truncate(prefix);
    Ok(())
}
