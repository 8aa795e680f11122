//! One node: a sorted table of rows, kept as the very bytes that are hashed and stored.
//!
//! Beside the bytes a node has pointers to those of its children that are in memory, and the content
//! of rows that were written but not yet stored. A row whose id is all zero is *dirty*: its child or content is in
//! memory only, and [`crate::seal()`] gives it its id. A copy of a node is a few pointers; its bytes are copied by the first edit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use pyi_cas::Id;

use crate::array::ArrayParts;
use crate::children::Children;
use crate::encoding::{HEADER_BYTES, NODE_TYPE, ROW_BYTES, check, u32_at, u64_at};
use crate::{Error, Loader, Mode, Result};

mod edit;

/// The id of a row whose content was not stored yet. No content hashes to it in practice.
pub(crate) const UNSTORED: Id = Id([0; 32]);

/// Content that was written and not stored yet.
#[derive(Clone, Debug)]
pub enum Pending {
    /// A file's content, a symlink's target, an encoded value, a journal batch.
    Blob(Bytes),
    /// An array: its encoded description, and what the store lacks of what that names.
    Array {
        /// The encoded description.
        root: Bytes,
        /// Chunks and lists.
        parts: Arc<ArrayParts>,
    },
}

/// One row of a node, without its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// What the entry is.
    pub mode: Mode,
    /// The id of its content, child node, array; for a gitlink the padded commit name. All zero while not stored.
    pub id: Id,
    /// Bytes of content, or below a directory; events of a journal batch.
    pub size_bytes: u64,
    /// 1, or the files below a directory or piece.
    pub files: u32,
}

impl Row {
    /// Whether the content is in memory only.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.id == UNSTORED
    }
}

/// A node. See the module's description.
pub struct Node {
    bytes: Arc<[u8]>,
    id: Option<Id>,
    children: Children,
    pending: Vec<(u32, Pending)>,
    /// The version that this one was made from and that may be stored by itself: this one can be stored as its difference to it.
    anchor: Option<Arc<Anchor>>,
    /// See [`Anchor::alone_since`].
    alone_since: Option<u64>,
    /// What this node added to [`LOADED_BYTES`] or [`SEALED_BYTES`].
    counted_bytes: usize,
    /// It is the former.
    is_loaded: bool,
}

/// A sealed version of a node, without its children.
pub(crate) struct Anchor {
    pub(crate) id: Id,
    pub(crate) bytes: Arc<[u8]>,
    /// The collectors' epoch in which it was known to be stored by itself, plus one; 0: not known.
    alone: AtomicU64,
}

impl Anchor {
    /// The epoch in which it was known to be stored by itself.
    pub(crate) fn alone_since(&self) -> Option<u64> {
        self.alone.load(Ordering::Relaxed).checked_sub(1)
    }

    pub(crate) fn set_alone(&self, epoch: Option<u64>) {
        self.alone
            .store(epoch.map_or(0, |epoch| epoch.wrapping_add(1)), Ordering::Relaxed);
    }
}

/// Memory of all nodes of this process that were sealed (not loaded) and still live.
static SEALED_BYTES: AtomicUsize = AtomicUsize::new(0);
/// The same of those that were loaded.
static LOADED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The memory, in bytes, of the nodes that checkpoints of this process made and something still holds: what can be had back by
/// letting workspaces forget what the store has ([`Tree::cold`](crate::Tree::cold)). O(1).
#[must_use]
pub fn sealed_bytes() -> usize {
    SEALED_BYTES.load(Ordering::Relaxed)
}

/// The memory, in bytes, of the nodes that a [`StoreLoader`](crate::StoreLoader) of this process loaded and something still holds, as it was when they came:
/// what of them was changed since, and the pointers to children that were loaded since, are not in it. O(1).
#[must_use]
pub fn loaded_bytes() -> usize {
    LOADED_BYTES.load(Ordering::Relaxed)
}

impl Drop for Node {
    fn drop(&mut self) {
        self.uncount();
    }
}

impl Clone for Node {
    fn clone(&self) -> Self {
        Node {
            bytes: self.bytes.clone(),
            id: self.id,
            children: self.children.clone(),
            pending: self.pending.clone(),
            anchor: self.anchor.clone(),
            alone_since: self.alone_since,
            counted_bytes: 0,
            is_loaded: false,
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_struct("Node");
        list.field("level", &self.level()).field("id", &self.id);
        for index in 0..self.len() {
            list.field(&String::from_utf8_lossy(self.name(index)), &self.row(index));
        }
        list.finish()
    }
}

impl Node {
    /// An empty node of `level`.
    pub(crate) fn empty(level: u8) -> Self {
        Node::of(Arc::new(empty_header(level)), None)
    }

    fn of(bytes: Arc<[u8]>, id: Option<Id>) -> Self {
        Node {
            bytes,
            id,
            children: Children::default(),
            pending: Vec::new(),
            anchor: None,
            alone_since: None,
            counted_bytes: 0,
            is_loaded: false,
        }
    }

    /// Parses stored bytes. O(rows).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are not a canonical node of format v1.
    pub fn decode(bytes: &[u8], id: Id) -> Result<Self> {
        check(bytes).map_err(|what| Error::corrupt(format!("node {id}: {what}")))?;
        Ok(Node::of(Arc::from(bytes), Some(id)))
    }

    /// This node, which counts as loaded from now on.
    pub(crate) fn counted_as_loaded(mut self) -> Self {
        self.count(true);
        self
    }

    /// Counts the memory that the node has now.
    fn count(&mut self, is_loaded: bool) {
        self.uncount();
        self.is_loaded = is_loaded;
        self.counted_bytes = self.memory_bytes();
        self.counter().fetch_add(self.counted_bytes, Ordering::Relaxed);
    }

    fn uncount(&mut self) {
        let bytes = std::mem::take(&mut self.counted_bytes);
        if bytes > 0 {
            self.counter().fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn counter(&self) -> &'static AtomicUsize {
        if self.is_loaded { &LOADED_BYTES } else { &SEALED_BYTES }
    }

    /// The same node without what is in memory below it, if the store has it.
    pub(crate) fn cold(&self) -> Option<Self> {
        Some(Node::of(self.bytes.clone(), Some(self.id?)))
    }

    /// The canonical bytes; ids of dirty rows are zero.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id, if the node was sealed.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        self.id
    }

    /// 0 for entries, above that for pieces of a large directory.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.bytes[1]
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        u32_at(&self.bytes, 4) as usize
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries of this directory that stand below this node.
    #[must_use]
    pub fn entries(&self) -> u64 {
        u64_at(&self.bytes, 8)
    }

    /// The files below, recursively: everything that is not a directory.
    #[must_use]
    pub fn files(&self) -> u64 {
        u64_at(&self.bytes, 16)
    }

    /// The sum of the sizes of the rows below, in bytes (journal: events).
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        u64_at(&self.bytes, 24)
    }

    /// Memory held by this node alone, in bytes, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let anchor = self.anchor.as_ref().map_or(0, |anchor| anchor.bytes.len());
        size_of::<Self>() + self.bytes.len() + self.children.memory_bytes() + anchor
    }

    fn row_at(&self, index: usize) -> usize {
        HEADER_BYTES + ROW_BYTES * index
    }

    fn name_end(&self, index: usize) -> usize {
        (u32_at(&self.bytes, self.row_at(index) + 44) & 0x00ff_ffff) as usize
    }

    fn name_start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.name_end(index - 1) }
    }

    /// The name of row `index`.
    #[must_use]
    pub fn name(&self, index: usize) -> &[u8] {
        let names = self.row_at(self.len());
        &self.bytes[names + self.name_start(index)..names + self.name_end(index)]
    }

    /// The id of row `index`; all zero if it is dirty.
    pub(crate) fn id_at(&self, index: usize) -> Id {
        let at = self.row_at(index);
        let mut id = [0; 32];
        id.copy_from_slice(&self.bytes[at..at + 32]);
        Id(id)
    }

    /// What row `index` is.
    #[must_use]
    pub fn mode(&self, index: usize) -> Mode {
        // Checked when the node was decoded or built.
        Mode::from_number(self.bytes[self.row_at(index) + 47]).unwrap_or(Mode::File)
    }

    /// Row `index`.
    #[must_use]
    pub fn row(&self, index: usize) -> Row {
        let at = self.row_at(index);
        Row {
            mode: self.mode(index),
            id: self.id_at(index),
            size_bytes: u64_at(&self.bytes, at + 32),
            files: u32_at(&self.bytes, at + 40),
        }
    }

    /// Where `name` stands, or would stand. O(log rows).
    pub fn search(&self, name: &[u8]) -> std::result::Result<usize, usize> {
        let (rows, names) = self.bytes[HEADER_BYTES..].split_at(ROW_BYTES * self.len());
        let (rows, _) = rows.as_chunks::<ROW_BYTES>();
        let end = |row: &[u8; ROW_BYTES]| (u32_at(row, 44) & 0x00ff_ffff) as usize;
        let (mut low, mut high) = (0, rows.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let start = if middle == 0 { 0 } else { end(&rows[middle - 1]) };
            match names[start..end(&rows[middle])].cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// The row of the piece in which `name` stands, or would stand. O(log rows).
    pub(crate) fn piece_of(&self, name: &[u8]) -> usize {
        match self.search(name) {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        }
    }

    /// The content of row `index`, if it was not stored yet.
    #[must_use]
    pub fn pending(&self, index: usize) -> Option<&Pending> {
        let found = self
            .pending
            .binary_search_by_key(&(index as u32), |(row, _)| *row)
            .ok()?;
        Some(&self.pending[found].1)
    }

    pub(crate) fn pending_rows(&self) -> impl Iterator<Item = (usize, &Pending)> {
        self.pending.iter().map(|(row, content)| (*row as usize, content))
    }

    pub(crate) fn clear_pending(&mut self) {
        self.pending = Vec::new();
    }

    /// The child node of row `index` if it is in memory.
    pub(crate) fn loaded(&self, index: usize) -> Option<&Arc<Node>> {
        self.children.get(index)
    }

    /// The child node of row `index`, from the store on first use.
    ///
    /// # Errors
    /// What `loader` says; [`Error::Corrupt`] if the row has no node.
    pub fn child(&self, index: usize, loader: &dyn Loader) -> Result<&Arc<Node>> {
        self.children
            .get_or_load(index, self.len(), || self.load_child(index, loader))
    }

    fn load_child(&self, index: usize, loader: &dyn Loader) -> Result<Arc<Node>> {
        let row = self.row(index);
        if !row.mode.has_node() || row.is_dirty() {
            return Err(Error::corrupt(format!(
                "{:?} is not a directory",
                String::from_utf8_lossy(self.name(index))
            )));
        }
        let child = loader.load(&row.id)?;
        let level = if row.mode == Mode::Piece {
            self.level().checked_sub(1)
        } else {
            None
        };
        if level.is_some_and(|level| level != child.level()) {
            return Err(Error::corrupt(format!("node {}: a piece of the wrong level", row.id)));
        }
        Ok(child)
    }

    /// A node from its table; `entries` is the count of rows until the caller says otherwise.
    pub(crate) fn assemble(
        mut bytes: Vec<u8>,
        count: usize,
        files: u64,
        size_bytes: u64,
        names_bytes: usize,
        children: Vec<(usize, Arc<Node>)>,
        pending: Vec<(u32, Pending)>,
    ) -> Self {
        put_u32(&mut bytes, 4, count as u32);
        put_u64(&mut bytes, 8, count as u64);
        put_u64(&mut bytes, 16, files);
        put_u64(&mut bytes, 24, size_bytes);
        put_u32(&mut bytes, 32, names_bytes as u32);
        let mut node = Node::of(Arc::from(bytes), None);
        node.children = Children::new(count, children);
        node.pending = pending;
        node
    }
}

fn empty_header(level: u8) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0] = NODE_TYPE;
    header[1] = level;
    header
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
