//! One directory, however many nodes it has: find, put, take, build.
//!
//! A directory of up to [`SPLIT_ABOVE`] entries is one node; a larger one is cut into pieces by the rule of
//! [`crate::rank`]. Every operation here keeps the canonical form: the nodes depend on the entries alone and not
//! on the order of the edits. An edit that fails may leave the node it was given half-edited: callers edit a clone
//! of the root (O(1)) and drop it then.

use std::sync::Arc;

use crate::encoding::{HEADER_BYTES, ROW_BYTES, check_name, encode_row};
use crate::node::UNSTORED;
use crate::rank::begins;
use crate::{Error, Loader, Mode, Node, Pending, Result, Row, SPLIT_ABOVE};

/// An entry on its way into or out of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) row: Row,
    pub(crate) child: Option<Arc<Node>>,
    pub(crate) pending: Option<Pending>,
}

impl Entry {
    /// The entry for a child directory.
    pub(crate) fn directory(child: Arc<Node>) -> Result<Self> {
        Ok(Entry {
            row: node_row(Mode::Directory, &child)?,
            child: Some(child),
            pending: None,
        })
    }
}

fn node_row(mode: Mode, child: &Node) -> Result<Row> {
    let files = u32::try_from(child.files())
        .map_err(|_| Error::invalid_path(b"", "more than 4,294,967,295 files below one directory; split the tree"))?;
    Ok(Row {
        mode,
        id: child.id().unwrap_or(UNSTORED),
        size_bytes: child.size_bytes(),
        files,
    })
}

/// The node and row that hold `name`. O(log entries).
pub(crate) fn find<'a>(dir: &'a Arc<Node>, name: &[u8], loader: &dyn Loader) -> Result<Option<(&'a Arc<Node>, usize)>> {
    let mut node = dir;
    while node.level() > 0 {
        node = node.child(node.piece_of(name), loader)?;
    }
    Ok(node.search(name).ok().map(|index| (node, index)))
}

/// Where a name stands in a directory, or would stand.
pub(crate) struct Spot {
    /// What stands there.
    pub(crate) mode: Option<Mode>,
    /// The row, in a directory of one node.
    row: Option<std::result::Result<usize, usize>>,
}

/// Looks for a name, to edit what stands there. Good until the directory changes. O(log entries).
pub(crate) fn spot(dir: &Arc<Node>, name: &[u8], loader: &dyn Loader) -> Result<Spot> {
    if dir.level() > 0 {
        let mode = find(dir, name, loader)?.map(|(node, index)| node.mode(index));
        return Ok(Spot { mode, row: None });
    }
    let row = dir.search(name);
    Ok(Spot {
        mode: row.ok().map(|index| dir.mode(index)),
        row: Some(row),
    })
}

/// As [`put`], where the name was looked for.
pub(crate) fn put_at(dir: &mut Arc<Node>, spot: &Spot, name: &[u8], entry: Entry, loader: &dyn Loader) -> Result<()> {
    match spot.row {
        Some(Ok(row)) => {
            Arc::make_mut(dir).replace(row, &entry.row, entry.child, entry.pending);
            Ok(())
        }
        _ => put(dir, name, entry, loader),
    }
}

/// As [`edit_child`], where the name was looked for.
pub(crate) fn edit_child_at(
    dir: &mut Arc<Node>,
    spot: &Spot,
    name: &[u8],
    loader: &dyn Loader,
    edit: &mut dyn FnMut(&mut Arc<Node>) -> Result<()>,
) -> Result<()> {
    match spot.row {
        Some(Ok(row)) => edit_row(dir, row, name, loader, edit),
        _ => edit_child(dir, name, loader, edit),
    }
}

/// Puts an entry in, in place of the one of that name if there is one. O(log entries), amortized.
pub(crate) fn put(dir: &mut Arc<Node>, name: &[u8], entry: Entry, loader: &dyn Loader) -> Result<()> {
    if dir.level() == 0 {
        put_below(dir, name, entry, loader, false)?;
        if dir.len() > SPLIT_ABOVE {
            let mut builder = Builder::default();
            for index in 0..dir.len() {
                builder.push_from(dir, index)?;
            }
            *dir = builder.finish()?;
        }
        return Ok(());
    }
    if let Some(right) = put_below(dir, name, entry, loader, true)? {
        *dir = gather(vec![dir.clone(), right])?;
    }
    Ok(())
}

/// Returns what was split off to the right of `node`.
fn put_below(
    node: &mut Arc<Node>,
    name: &[u8],
    entry: Entry,
    loader: &dyn Loader,
    split: bool,
) -> Result<Option<Arc<Node>>> {
    let index = if node.level() == 0 { 0 } else { node.piece_of(name) };
    let loaded = if node.level() == 0 {
        None
    } else {
        Some(node.child(index, loader)?.clone())
    };
    let own = Arc::make_mut(node);
    let Some(mut child) = loaded else {
        return match own.search(name) {
            Ok(at) => {
                own.replace(at, &entry.row, entry.child, entry.pending);
                Ok(None)
            }
            Err(at) => {
                own.insert(at, name, &entry.row, entry.child, entry.pending)?;
                // A new first entry makes the old first one an inner one, which may be a cut.
                if split { split_at(own, at.max(1)) } else { Ok(None) }
            }
        };
    };
    drop(own.take_child(index));
    let before = child.entries();
    let right = put_below(&mut child, name, entry, loader, split)?;
    let mut entries = own.entries() - before + child.entries();
    set_piece(own, index, child)?;
    let Some(right) = right else {
        own.set_entries(entries);
        return Ok(None);
    };
    entries += right.entries();
    let row = node_row(Mode::Piece, &right)?;
    let first = right.name(0).to_vec();
    own.insert(index + 1, &first, &row, Some(right), None)?;
    own.set_entries(entries);
    split_at_loaded(own, index + 1, loader)
}

/// Makes `child` the piece at `index`, under its present first name.
fn set_piece(node: &mut Node, index: usize, child: Arc<Node>) -> Result<()> {
    let row = node_row(Mode::Piece, &child)?;
    if node.name(index) == child.name(0) {
        node.replace(index, &row, Some(child), None);
        return Ok(());
    }
    node.remove(index);
    let first = child.name(0).to_vec();
    node.insert(index, &first, &row, Some(child), None)
}

fn split_at(node: &mut Node, index: usize) -> Result<Option<Arc<Node>>> {
    if index >= node.len() || !begins(node.name(index), node.level()) {
        return Ok(None);
    }
    let right = part(node, index..node.len())?;
    *node = part(node, 0..index)?;
    Ok(Some(Arc::new(right)))
}

fn split_at_loaded(node: &mut Node, index: usize, loader: &dyn Loader) -> Result<Option<Arc<Node>>> {
    let total = node.entries();
    let Some(mut right) = split_at(node, index)? else {
        return Ok(None);
    };
    // The rows do not say how many entries stand below a piece, so the (few) pieces are asked.
    let mut entries = 0;
    for piece in 0..right.len() {
        entries += right.child(piece, loader)?.entries();
    }
    Arc::make_mut(&mut right).set_entries(entries);
    node.set_entries(total - entries);
    Ok(Some(right))
}

fn part(node: &Node, rows: std::ops::Range<usize>) -> Result<Node> {
    let mut table = Table::new(node.level());
    for index in rows {
        table.push_from(node, index)?;
    }
    Ok(table.finish())
}

/// Takes an entry out. O(log entries), amortized.
pub(crate) fn take(dir: &mut Arc<Node>, name: &[u8], loader: &dyn Loader) -> Result<Option<Entry>> {
    if find(dir, name, loader)?.is_none() {
        return Ok(None);
    }
    let taken = take_below(dir, name, loader)?;
    if dir.level() == 0 {
        return Ok(Some(taken));
    }
    if dir.entries() <= SPLIT_ABOVE as u64 {
        let mut table = Table::new(0);
        collect(dir, loader, &mut table)?;
        *dir = Arc::new(table.finish());
    } else {
        while dir.level() > 1 && dir.len() == 1 {
            *dir = dir.child(0, loader)?.clone();
        }
    }
    Ok(Some(taken))
}

fn take_below(node: &mut Arc<Node>, name: &[u8], loader: &dyn Loader) -> Result<Entry> {
    if node.level() == 0 {
        let own = Arc::make_mut(node);
        let index = own.search(name).map_err(|_| Error::not_found(name))?;
        let (row, child, pending) = own.remove(index);
        return Ok(Entry { row, child, pending });
    }
    let index = node.piece_of(name);
    let mut child = node.child(index, loader)?.clone();
    let left = if index > 0 {
        Some(node.child(index - 1, loader)?.clone())
    } else {
        None
    };
    let own = Arc::make_mut(node);
    drop(own.take_child(index));
    let entries = own.entries() - 1;
    let taken = take_below(&mut child, name, loader)?;
    if child.is_empty() {
        own.remove(index);
    } else if let Some(left) = left.filter(|_| !begins(child.name(0), child.level())) {
        // The entry that began this piece is gone: what is left of it belongs to the piece before.
        let merged = merge(&left, &child, loader)?;
        own.remove(index);
        set_piece(own, index - 1, merged)?;
    } else {
        set_piece(own, index, child)?;
    }
    own.set_entries(entries);
    Ok(taken)
}

/// Two neighbours of one level as one node.
fn merge(left: &Arc<Node>, right: &Arc<Node>, loader: &dyn Loader) -> Result<Arc<Node>> {
    let mut table = Table::new(left.level());
    let inner = left.level() > 0 && !begins(right.name(0), left.level() - 1);
    for index in 0..left.len() - usize::from(inner) {
        table.push_from(left, index)?;
    }
    if inner {
        let joint = merge(left.child(left.len() - 1, loader)?, right.child(0, loader)?, loader)?;
        let first = joint.name(0).to_vec();
        table.push(&first, &node_row(Mode::Piece, &joint)?, Some(joint), None)?;
    }
    for index in usize::from(inner)..right.len() {
        table.push_from(right, index)?;
    }
    let mut node = table.finish();
    node.set_entries(left.entries() + right.entries());
    Ok(Arc::new(node))
}

fn collect(node: &Arc<Node>, loader: &dyn Loader, into: &mut Table) -> Result<()> {
    for index in 0..node.len() {
        if node.level() == 0 {
            into.push_from(node, index)?;
        } else {
            collect(node.child(index, loader)?, loader, into)?;
        }
    }
    Ok(())
}

/// Edits the child directory `name` in place of a copy. The caller made sure that it exists.
pub(crate) fn edit_child(
    dir: &mut Arc<Node>,
    name: &[u8],
    loader: &dyn Loader,
    edit: &mut dyn FnMut(&mut Arc<Node>) -> Result<()>,
) -> Result<()> {
    if dir.level() == 0 {
        let row = dir.search(name).map_err(|_| Error::not_found(name))?;
        return edit_row(dir, row, name, loader, edit);
    }
    let piece = dir.piece_of(name);
    edit_row(dir, piece, name, loader, &mut |child| {
        edit_child(child, name, loader, edit)
    })
}

/// Edits the node of a row. `name` is what errors are about.
fn edit_row(
    dir: &mut Arc<Node>,
    row: usize,
    name: &[u8],
    loader: &dyn Loader,
    edit: &mut dyn FnMut(&mut Arc<Node>) -> Result<()>,
) -> Result<()> {
    dir.child(row, loader)?;
    let own = Arc::make_mut(dir);
    let Some(mut child) = own.take_child(row) else {
        return Err(Error::not_found(name));
    };
    edit(&mut child)?;
    let mode = own.mode(row);
    own.replace(row, &node_row(mode, &child)?, Some(child), None);
    Ok(())
}

/// Puts nodes of one level under as few nodes above as the rule allows, until one is left.
fn gather(mut nodes: Vec<Arc<Node>>) -> Result<Arc<Node>> {
    loop {
        let level = nodes.first().map_or(0, |node| node.level()) + 1;
        let mut above = Vec::new();
        let mut table = Table::new(level);
        let mut entries = 0;
        for node in nodes {
            let first = node.name(0).to_vec();
            if table.count > 0 && begins(&first, level) {
                let mut full = std::mem::replace(&mut table, Table::new(level)).finish();
                full.set_entries(std::mem::take(&mut entries));
                above.push(Arc::new(full));
            }
            entries += node.entries();
            table.push(&first, &node_row(Mode::Piece, &node)?, Some(node), None)?;
        }
        let mut last = table.finish();
        last.set_entries(entries);
        above.push(Arc::new(last));
        if above.len() == 1 {
            return Ok(above.swap_remove(0));
        }
        nodes = above;
    }
}

/// Builds a directory from entries in strictly ascending byte order of their names; the node is not sealed. O(entries).
///
/// # Errors
/// [`Error::InvalidPath`] for a name that format v1 cannot hold, [`Error::Corrupt`] for names out of order.
pub fn build_directory<'a>(entries: impl IntoIterator<Item = (&'a [u8], Row, Option<Arc<Node>>)>) -> Result<Arc<Node>> {
    let (mut builder, mut last) = (Builder::default(), Vec::new());
    for (name, row, child) in entries {
        if builder.entries > 0 && name <= last.as_slice() {
            return Err(Error::corrupt(format!(
                "{:?}: entries out of order",
                String::from_utf8_lossy(name)
            )));
        }
        last.clear();
        last.extend_from_slice(name);
        builder.push(
            name,
            Entry {
                row,
                child,
                pending: None,
            },
        )?;
    }
    builder.finish()
}

/// The row of a child directory with this node.
///
/// # Errors
/// [`Error::InvalidPath`] if it holds more files than a row can count.
pub fn directory_row(child: &Node) -> Result<Row> {
    node_row(Mode::Directory, child)
}

/// Builds a directory from entries in ascending order of their names. O(entries).
#[derive(Default)]
pub(crate) struct Builder {
    /// Pieces as the rule cuts them; used above [`SPLIT_ABOVE`] entries.
    pieces: Vec<Arc<Node>>,
    table: Option<Table>,
    entries: usize,
}

impl Builder {
    /// Appends an entry; names ascend.
    pub(crate) fn push(&mut self, name: &[u8], entry: Entry) -> Result<()> {
        let table = self.table.get_or_insert_with(|| Table::new(0));
        if table.count > 0 && begins(name, 0) {
            let full = std::mem::replace(table, Table::new(0));
            self.pieces.push(Arc::new(full.finish()));
        }
        self.entries += 1;
        self.table
            .get_or_insert_with(|| Table::new(0))
            .push(name, &entry.row, entry.child, entry.pending)
    }

    fn push_from(&mut self, node: &Node, index: usize) -> Result<()> {
        let entry = Entry {
            row: node.row(index),
            child: node.loaded(index).cloned(),
            pending: node.pending(index).cloned(),
        };
        self.push(node.name(index), entry)
    }

    /// The directory's root node.
    pub(crate) fn finish(mut self) -> Result<Arc<Node>> {
        let Some(last) = self.table.take() else {
            return Ok(Arc::new(Node::empty(0)));
        };
        if self.pieces.is_empty() && self.entries <= SPLIT_ABOVE {
            return Ok(Arc::new(last.finish()));
        }
        self.pieces.push(Arc::new(last.finish()));
        if self.entries > SPLIT_ABOVE {
            return gather(self.pieces);
        }
        let mut whole = Table::new(0);
        for piece in &self.pieces {
            for index in 0..piece.len() {
                whole.push_from(piece, index)?;
            }
        }
        Ok(Arc::new(whole.finish()))
    }
}

/// Rows and names of a node under construction, kept apart so that an append is O(name).
struct Table {
    level: u8,
    count: usize,
    files: u64,
    size_bytes: u64,
    rows: Vec<u8>,
    names: Vec<u8>,
    children: Vec<(usize, Arc<Node>)>,
    pending: Vec<(u32, Pending)>,
}

impl Table {
    fn new(level: u8) -> Self {
        Table {
            level,
            count: 0,
            files: 0,
            size_bytes: 0,
            rows: Vec::new(),
            names: Vec::new(),
            children: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn push(&mut self, name: &[u8], row: &Row, child: Option<Arc<Node>>, pending: Option<Pending>) -> Result<()> {
        let end = self.names.len() + name.len();
        check_name(name, end)?;
        self.rows.extend_from_slice(&encode_row(row, end));
        self.names.extend_from_slice(name);
        if let Some(child) = child {
            self.children.push((self.count, child));
        }
        if let Some(pending) = pending {
            self.pending.push((self.count as u32, pending));
        }
        self.count += 1;
        self.files += u64::from(row.files);
        self.size_bytes = self.size_bytes.wrapping_add(row.size_bytes);
        Ok(())
    }

    fn push_from(&mut self, node: &Node, index: usize) -> Result<()> {
        self.push(
            node.name(index),
            &node.row(index),
            node.loaded(index).cloned(),
            node.pending(index).cloned(),
        )
    }

    /// The node; above level 0 the caller sets its entries.
    fn finish(self) -> Node {
        debug_assert_eq!(self.rows.len(), self.count * ROW_BYTES);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.rows.len() + self.names.len());
        bytes.extend_from_slice(Node::empty(self.level).bytes());
        bytes.extend_from_slice(&self.rows);
        bytes.extend_from_slice(&self.names);
        Node::assemble(
            bytes,
            self.count,
            self.files,
            self.size_bytes,
            self.names.len(),
            self.children,
            self.pending,
        )
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
