//! One node: a sorted table of rows, kept as the very bytes that are hashed and stored.
//!
//! Beside the bytes a node has pointers to those of its children that are in memory, and the content
//! of rows that were written but not yet stored. A row whose id is all zero is *dirty*: its child or content is in
//! memory only, and [`crate::seal()`] gives it its id. A copy of a node is a copy of a few vectors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use pyi_cas::Id;

use crate::encoding::{HEADER_BYTES, NODE_TYPE, ROW_BYTES, check, check_name, encode_row, u32_at, u64_at};
use crate::{Error, Loader, Mode, Result};

/// The id of a row whose content was not stored yet. No content hashes to it in practice.
pub(crate) const UNSTORED: Id = Id([0; 32]);

/// Content that was written and not stored yet.
#[derive(Clone, Debug)]
pub enum Pending {
    /// A file's content, a symlink's target, an encoded value, a journal batch.
    Blob(Bytes),
    /// An array: its encoded description and the chunks that the description names.
    Array {
        /// The encoded description.
        root: Bytes,
        /// Chunk ids and contents, in order.
        chunks: Arc<[(Id, Bytes)]>,
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
    bytes: Vec<u8>,
    id: OnceLock<Id>,
    children: OnceLock<Vec<OnceLock<Arc<Node>>>>,
    pending: Vec<(u32, Pending)>,
    /// What this node added to [`SEALED_BYTES`].
    counted_bytes: usize,
}

/// Memory of all nodes of this process that were sealed (not loaded) and still live.
static SEALED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The memory, in bytes, of the nodes that checkpoints of this process made and something still holds: what can be had back by
/// letting workspaces forget what the store has ([`Tree::cold`](crate::Tree::cold)). O(1).
#[must_use]
pub fn sealed_bytes() -> usize {
    SEALED_BYTES.load(Ordering::Relaxed)
}

impl Drop for Node {
    fn drop(&mut self) {
        SEALED_BYTES.fetch_sub(self.counted_bytes, Ordering::Relaxed);
    }
}

impl Clone for Node {
    fn clone(&self) -> Self {
        Node {
            bytes: self.bytes.clone(),
            id: self.id.clone(),
            children: self.children.clone(),
            pending: self.pending.clone(),
            counted_bytes: 0,
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_struct("Node");
        list.field("level", &self.level()).field("id", &self.id.get());
        for index in 0..self.len() {
            list.field(&String::from_utf8_lossy(self.name(index)), &self.row(index));
        }
        list.finish()
    }
}

impl Node {
    /// An empty node of `level`.
    pub(crate) fn empty(level: u8) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = NODE_TYPE;
        bytes[1] = level;
        Node {
            bytes,
            id: OnceLock::new(),
            children: OnceLock::new(),
            pending: Vec::new(),
            counted_bytes: 0,
        }
    }

    /// Parses stored bytes. O(rows).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are not a canonical node of format v1.
    pub fn decode(bytes: &[u8], id: Id) -> Result<Self> {
        check(bytes).map_err(|what| Error::corrupt(format!("node {id}: {what}")))?;
        let known = OnceLock::new();
        let _ = known.set(id);
        Ok(Node {
            bytes: bytes.to_vec(),
            id: known,
            children: OnceLock::new(),
            pending: Vec::new(),
            counted_bytes: 0,
        })
    }

    /// The same node without what is in memory below it, if the store has it.
    pub(crate) fn cold(&self) -> Option<Self> {
        let id = OnceLock::from(*self.id.get()?);
        Some(Node {
            bytes: self.bytes.clone(),
            id,
            children: OnceLock::new(),
            pending: Vec::new(),
            counted_bytes: 0,
        })
    }

    /// The canonical bytes; ids of dirty rows are zero.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id, if the node was sealed.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        self.id.get().copied()
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
        size_of::<Self>() + self.bytes.capacity() + self.children.get().map_or(0, |slots| slots.capacity() * 16)
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
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.name(middle).cmp(name) {
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
        self.children.get()?.get(index)?.get()
    }

    /// The child node of row `index`, from the store on first use.
    ///
    /// # Errors
    /// What `loader` says; [`Error::Corrupt`] if the row has no node.
    pub fn child(&self, index: usize, loader: &dyn Loader) -> Result<&Arc<Node>> {
        let slots = self.children.get_or_init(|| self.fresh_slots());
        let slot = &slots[index];
        if let Some(child) = slot.get() {
            return Ok(child);
        }
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
        Ok(slot.get_or_init(|| child))
    }

    fn fresh_slots(&self) -> Vec<OnceLock<Arc<Node>>> {
        let mut slots = Vec::new();
        slots.resize_with(self.len(), OnceLock::new);
        slots
    }

    fn slots_mut(&mut self) -> &mut Vec<OnceLock<Arc<Node>>> {
        if self.children.get().is_none() {
            let _ = self.children.set(self.fresh_slots());
        }
        // Set on the line above if it was not.
        self.children.get_mut().unwrap_or_else(|| unreachable!("set above"))
    }

    /// Takes the child of row `index` out of memory, or `None` if it is not there.
    pub(crate) fn take_child(&mut self, index: usize) -> Option<Arc<Node>> {
        self.children.get_mut()?.get_mut(index)?.take()
    }

    /// A node from its table; `entries` is the count of rows until the caller says otherwise.
    pub(crate) fn assemble(
        bytes: Vec<u8>,
        count: usize,
        files: u64,
        size_bytes: u64,
        names_bytes: usize,
        children: Vec<(usize, Arc<Node>)>,
        pending: Vec<(u32, Pending)>,
    ) -> Self {
        let mut node = Node {
            bytes,
            id: OnceLock::new(),
            children: OnceLock::new(),
            pending,
            counted_bytes: 0,
        };
        node.set_u32(4, count as u32);
        node.set_u64(8, count as u64);
        node.set_u64(16, files);
        node.set_u64(24, size_bytes);
        node.set_u32(32, names_bytes as u32);
        for (index, child) in children {
            node.set_child(index, Some(child));
        }
        node
    }

    fn set_u64(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn set_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn set_entries(&mut self, entries: u64) {
        self.set_u64(8, entries);
    }

    fn put_row(&mut self, index: usize, row: &Row, name_end: usize) {
        let at = self.row_at(index);
        self.bytes[at..at + ROW_BYTES].copy_from_slice(&encode_row(row, name_end));
    }

    fn set_pending(&mut self, index: usize, pending: Option<Pending>) {
        let found = self.pending.binary_search_by_key(&(index as u32), |(row, _)| *row);
        match (found, pending) {
            (Ok(at), Some(content)) => self.pending[at].1 = content,
            (Ok(at), None) => drop(self.pending.remove(at)),
            (Err(at), Some(content)) => self.pending.insert(at, (index as u32, content)),
            (Err(_), None) => {}
        }
    }

    fn set_child(&mut self, index: usize, child: Option<Arc<Node>>) {
        if child.is_none() && self.children.get().is_none() {
            return;
        }
        let slot = &mut self.slots_mut()[index];
        slot.take();
        if let Some(child) = child {
            let _ = slot.set(child);
        }
    }

    fn add_totals(&mut self, files: i64, size_bytes: i64) {
        self.set_u64(16, self.files().wrapping_add_signed(files));
        self.set_u64(24, self.size_bytes().wrapping_add_signed(size_bytes));
        self.id = OnceLock::new();
    }

    /// Overwrites row `index`. The caller keeps `entries` right on levels above 0.
    pub(crate) fn replace(&mut self, index: usize, row: &Row, child: Option<Arc<Node>>, pending: Option<Pending>) {
        let old = self.row(index);
        let name_end = self.name_end(index);
        self.put_row(index, row, name_end);
        self.set_child(index, child);
        self.set_pending(index, pending);
        self.add_totals(
            i64::from(row.files) - i64::from(old.files),
            row.size_bytes.wrapping_sub(old.size_bytes).cast_signed(),
        );
    }

    /// Gives the dirty row `index` its id.
    pub(crate) fn set_id_at(&mut self, index: usize, id: &Id) {
        let at = self.row_at(index);
        self.bytes[at..at + 32].copy_from_slice(&id.0);
    }

    pub(crate) fn set_id(&mut self, id: Id) {
        self.id = OnceLock::from(id);
        SEALED_BYTES.fetch_sub(self.counted_bytes, Ordering::Relaxed);
        self.counted_bytes = self.memory_bytes();
        SEALED_BYTES.fetch_add(self.counted_bytes, Ordering::Relaxed);
    }

    /// Gives row `index` another child node, in memory; its id stays what it is.
    pub(crate) fn replace_child(&mut self, index: usize, child: Arc<Node>) {
        self.set_child(index, Some(child));
    }

    /// Puts a new row at `index`. The caller keeps the order of names.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] if the name is empty or too long, or the node is full of long names.
    pub(crate) fn insert(
        &mut self,
        index: usize,
        name: &[u8],
        row: &Row,
        child: Option<Arc<Node>>,
        pending: Option<Pending>,
    ) -> Result<()> {
        let (count, names_bytes) = (self.len(), u32_at(&self.bytes, 32) as usize);
        check_name(name, names_bytes + name.len())?;
        let start = self.name_start(index);
        let name_at = self.row_at(count) + start;
        let row_at = self.row_at(index);
        let old_end = self.bytes.len();
        self.bytes.resize(old_end + name.len() + ROW_BYTES, 0);
        self.bytes
            .copy_within(name_at..old_end, name_at + name.len() + ROW_BYTES);
        self.bytes.copy_within(row_at..name_at, row_at + ROW_BYTES);
        self.bytes[name_at + ROW_BYTES..name_at + ROW_BYTES + name.len()].copy_from_slice(name);
        self.set_u32(4, count as u32 + 1);
        self.set_u32(32, (names_bytes + name.len()) as u32);
        self.put_row(index, row, start + name.len());
        for later in index + 1..=count {
            let at = self.row_at(later) + 44;
            // The end is in the low 24 bits and stays there: checked against NAME_END_MAX above.
            self.set_u32(at, u32_at(&self.bytes, at) + name.len() as u32);
        }
        if let Some(slots) = self.children.get_mut() {
            slots.insert(index, OnceLock::new());
        }
        for (row, _) in &mut self.pending {
            *row += u32::from(*row >= index as u32);
        }
        self.set_child(index, child);
        self.set_pending(index, pending);
        if self.level() == 0 {
            self.set_entries(count as u64 + 1);
        }
        self.add_totals(i64::from(row.files), row.size_bytes.cast_signed());
        Ok(())
    }

    /// Takes row `index` out.
    pub(crate) fn remove(&mut self, index: usize) -> (Row, Option<Arc<Node>>, Option<Pending>) {
        let row = self.row(index);
        let (count, names_bytes) = (self.len(), u32_at(&self.bytes, 32) as usize);
        let (start, end) = (self.name_start(index), self.name_end(index));
        let (names, row_at, length) = (self.row_at(count), self.row_at(index), end - start);
        let pending = self.take_pending(index);
        let child = match self.children.get_mut() {
            Some(slots) => slots.remove(index).take(),
            None => None,
        };
        for later in index + 1..count {
            let at = self.row_at(later) + 44;
            self.set_u32(at, u32_at(&self.bytes, at) - length as u32);
        }
        let total = self.bytes.len();
        self.bytes.copy_within(row_at + ROW_BYTES..names + start, row_at);
        self.bytes.copy_within(names + end..total, names + start - ROW_BYTES);
        self.bytes.truncate(total - length - ROW_BYTES);
        self.set_u32(4, count as u32 - 1);
        self.set_u32(32, (names_bytes - length) as u32);
        if self.level() == 0 {
            self.set_entries(count as u64 - 1);
        }
        self.add_totals(-i64::from(row.files), 0_u64.wrapping_sub(row.size_bytes).cast_signed());
        (row, child, pending)
    }

    fn take_pending(&mut self, index: usize) -> Option<Pending> {
        let taken = match self.pending.binary_search_by_key(&(index as u32), |(row, _)| *row) {
            Ok(at) => Some(self.pending.remove(at).1),
            Err(_) => None,
        };
        for (row, _) in &mut self.pending {
            *row -= u32::from(*row > index as u32);
        }
        taken
    }
}
