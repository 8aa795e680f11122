//! Two directories side by side, without entering what they share.

use std::sync::Arc;

use pyi_cas::Kind;

use crate::node::Pending;
use crate::{Loader, Mode, Node, Result};

/// A place in a directory of any number of nodes. Pieces are entered only on demand.
struct Cursor {
    stack: Vec<(Arc<Node>, usize)>,
}

impl Cursor {
    fn new(root: Option<&Arc<Node>>) -> Self {
        Cursor {
            stack: root.map(|root| (root.clone(), 0)).into_iter().collect(),
        }
    }

    fn top(&mut self) -> Option<(&Arc<Node>, usize)> {
        while self.stack.last().is_some_and(|(node, index)| *index >= node.len()) {
            self.stack.pop();
        }
        self.stack.last().map(|(node, index)| (node, *index))
    }

    fn advance(&mut self) {
        if let Some((_, index)) = self.stack.last_mut() {
            *index += 1;
        }
    }

    fn enter(&mut self, loader: &dyn Loader) -> Result<()> {
        if let Some((node, index)) = self.stack.last_mut() {
            let child = node.child(*index, loader)?.clone();
            *index += 1;
            self.stack.push((child, 0));
        }
        Ok(())
    }
}

/// Whether two rows hold the same, as far as can be told without entering directories: directories that were
/// changed in memory may be equal all the same.
pub(crate) fn same_row(a: (&Node, usize), b: (&Node, usize)) -> bool {
    let (row_a, row_b) = (a.0.row(a.1), b.0.row(b.1));
    if row_a.mode != row_b.mode || row_a.size_bytes != row_b.size_bytes {
        return false;
    }
    match (row_a.is_dirty(), row_b.is_dirty()) {
        (false, false) => row_a.id == row_b.id,
        (true, true) if row_a.mode.has_node() => match (a.0.loaded(a.1), b.0.loaded(b.1)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        },
        (true, true) => match (a.0.pending(a.1), b.0.pending(b.1)) {
            (Some(Pending::Blob(a)), Some(Pending::Blob(b))) => a == b,
            (Some(Pending::Array { root: a, .. }), Some(Pending::Array { root: b, .. })) => a == b,
            _ => false,
        },
        (true, false) => pending_id(a) == Some(row_b.id),
        (false, true) => pending_id(b) == Some(row_a.id),
    }
}

fn pending_id(row: (&Node, usize)) -> Option<pyi_cas::Id> {
    match row.0.pending(row.1)? {
        Pending::Blob(content) => Some(Kind::Blob.id_of(content)),
        Pending::Array { root, .. } => Some(Kind::Array.id_of(root)),
    }
}

/// Whether two nodes are the same, as far as can be told without entering them.
pub(crate) fn same_node(a: &Arc<Node>, b: &Arc<Node>) -> bool {
    Arc::ptr_eq(a, b) || (a.id().is_some() && a.id() == b.id())
}

/// An entry of one of the two directories.
pub(crate) type Place<'a> = (&'a Arc<Node>, usize);

/// What is told of a name: its entry in the one directory and in the other.
type Visit<'v> = dyn FnMut(&[u8], Option<Place<'_>>, Option<Place<'_>>) -> Result<()> + 'v;

/// Calls `visit(name, a's entry, b's entry)` for every name whose entries differ or may differ, in ascending order. O(difference *
/// log entries): pieces that both share are passed over.
pub(crate) fn differing(
    a: Option<&Arc<Node>>,
    b: Option<&Arc<Node>>,
    loader: &dyn Loader,
    visit: &mut Visit<'_>,
) -> Result<()> {
    if let (Some(a), Some(b)) = (a, b)
        && same_node(a, b)
    {
        return Ok(());
    }
    let (mut left, mut right) = (Cursor::new(a), Cursor::new(b));
    while let (Some(l), Some(r)) = (left.top(), right.top()) {
        let order = l.0.name(l.1).cmp(r.0.name(r.1));
        let (l_piece, r_piece) = (l.0.mode(l.1) == Mode::Piece, r.0.mode(r.1) == Mode::Piece);
        if l_piece && r_piece && order.is_eq() && l.0.level() == r.0.level() {
            if same_row((l.0, l.1), (r.0, r.1)) {
                left.advance();
                right.advance();
            } else {
                left.enter(loader)?;
                right.enter(loader)?;
            }
        } else if l_piece && (order.is_lt() || (order.is_eq() && l.0.level() > r.0.level())) {
            left.enter(loader)?;
        } else if r_piece && (order.is_gt() || order.is_eq()) {
            right.enter(loader)?;
        } else if order.is_lt() {
            visit(l.0.name(l.1), Some(l), None)?;
            left.advance();
        } else if order.is_gt() {
            visit(r.0.name(r.1), None, Some(r))?;
            right.advance();
        } else {
            if !same_row((l.0, l.1), (r.0, r.1)) {
                visit(l.0.name(l.1), Some(l), Some(r))?;
            }
            left.advance();
            right.advance();
        }
    }
    while let Some(l) = left.top() {
        if l.0.mode(l.1) == Mode::Piece {
            left.enter(loader)?;
        } else {
            visit(l.0.name(l.1), Some(l), None)?;
            left.advance();
        }
    }
    while let Some(r) = right.top() {
        if r.0.mode(r.1) == Mode::Piece {
            right.enter(loader)?;
        } else {
            visit(r.0.name(r.1), None, Some(r))?;
            right.advance();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use pyi_cas::{Id, Kind, MemoryStore};

    use super::*;
    use crate::tree::Content;
    use crate::{StoreLoader, Tree};

    fn tree(path: &[u8], content: Content) -> Tree {
        let mut tree = Tree::default();
        let loader = StoreLoader::new(Arc::new(MemoryStore::new()));
        tree.put(path, Mode::File, content, &loader).unwrap();
        tree
    }

    fn same(a: &Tree, b: &Tree) -> bool {
        same_row((a.root(), 0), (b.root(), 0))
    }

    fn bytes(content: &'static [u8]) -> Content {
        Content::Bytes(Bytes::from_static(content))
    }

    fn array(root: &'static [u8]) -> Content {
        Content::Array {
            pending: Pending::Array {
                root: Bytes::from_static(root),
                parts: Arc::default(),
            },
            size_bytes: 1,
        }
    }

    fn stored(id: Id) -> Content {
        Content::Stored { id, size_bytes: 1 }
    }

    #[test]
    fn contents_are_the_same_whether_stored_or_not() {
        let (blob, root) = (Kind::Blob.id_of(b"1"), Kind::Array.id_of(b"1"));
        let of = |content| tree(b"f", content);
        assert!(same(&of(bytes(b"1")), &of(bytes(b"1"))));
        assert!(!same(&of(bytes(b"1")), &of(bytes(b"2"))));
        assert!(same(&of(array(b"1")), &of(array(b"1"))));
        assert!(!same(&of(array(b"1")), &of(array(b"2"))));
        assert!(!same(&of(array(b"1")), &of(bytes(b"1"))));
        for (pending, id, other) in [(bytes(b"1"), blob, root), (array(b"1"), root, blob)] {
            let (pending, as_stored, another) = (of(pending), of(stored(id)), of(stored(other)));
            assert!(same(&pending, &as_stored) && same(&as_stored, &pending));
            assert!(!same(&pending, &another) && !same(&another, &pending));
            assert!(same(&as_stored, &as_stored) && !same(&as_stored, &another));
        }
    }

    #[test]
    fn a_changed_directory_is_the_same_only_if_it_is_shared() {
        let one = tree(b"d/f", bytes(b"1"));
        assert!(same(&one, &one.clone()), "shared");
        assert!(
            !same(&one, &tree(b"d/f", bytes(b"1"))),
            "cannot be told without entering it"
        );
    }
}
