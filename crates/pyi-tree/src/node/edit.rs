//! Changing a node: its rows, and the bytes that they are.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use pyi_cas::Id;

use super::{Anchor, Node, Pending, Row, UNSTORED, put_u32, put_u64};
use crate::encoding::{HEADER_BYTES, ROW_BYTES, check_name, encode_row, u32_at};
use crate::seal::Placed;
use crate::{Mode, Result};

impl Node {
    /// Takes the child of row `index` out of memory, or `None` if it is not there.
    pub(crate) fn take_child(&mut self, index: usize) -> Option<Arc<Node>> {
        self.children.take(index)
    }

    /// The bytes, to be edited: copied if other versions have them too. The node is dirty from then on.
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.begin_edit();
        Arc::make_mut(&mut self.bytes)
    }

    /// A sealed version that is edited becomes what the next one can be stored as a difference to.
    fn begin_edit(&mut self) {
        if let Some(id) = self.id.take()
            && self.anchor.is_none()
        {
            let anchor = Anchor {
                id,
                bytes: self.bytes.clone(),
                alone: AtomicU64::new(0),
            };
            anchor.set_alone(self.alone_since.take());
            self.anchor = Some(Arc::new(anchor));
        }
    }

    /// See the field.
    pub(crate) fn anchor(&self) -> Option<&Anchor> {
        self.anchor.as_deref()
    }

    /// Notes how it was put into the store, in this epoch of the collectors: what is no difference is the next ones' anchor.
    pub(crate) fn placed(&mut self, placed: &Placed, epoch: Option<u64>) {
        if *placed == Placed::Whole {
            self.alone_since = epoch;
        }
        if *placed != Placed::Spliced {
            self.anchor = None;
        }
    }

    /// Takes the next child that is not stored out of memory, looking from row `from` on, and says which row's it is. O(rows looked at).
    pub(crate) fn take_dirty_child(&mut self, from: usize) -> Option<(usize, Arc<Node>)> {
        let (begin, end) = (self.row_at(from), self.row_at(self.len()));
        let (rows, _) = self.bytes[begin..end].as_chunks::<ROW_BYTES>();
        // A row has its id in front and its mode at the end.
        let is_dirty = |row: &[u8; ROW_BYTES]| {
            row[..32] == UNSTORED.0 && Mode::from_number(row[ROW_BYTES - 1]).is_ok_and(Mode::has_node)
        };
        let mut dirty = rows.iter().enumerate().filter(|(_, row)| is_dirty(row));
        dirty.find_map(|(at, _)| Some((from + at, self.children.take(from + at)?)))
    }

    fn set_u64(&mut self, at: usize, value: u64) {
        put_u64(self.bytes_mut(), at, value);
    }

    pub(crate) fn set_entries(&mut self, entries: u64) {
        self.set_u64(8, entries);
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

    fn add_totals(&mut self, files: i64, size_bytes: i64) {
        self.set_u64(16, self.files().wrapping_add_signed(files));
        self.set_u64(24, self.size_bytes().wrapping_add_signed(size_bytes));
    }

    /// Overwrites row `index`. The caller keeps `entries` right on levels above 0.
    pub(crate) fn replace(&mut self, index: usize, row: &Row, child: Option<Arc<Node>>, pending: Option<Pending>) {
        let (old, name_end, at) = (self.row(index), self.name_end(index), self.row_at(index));
        let files = self.files() + u64::from(row.files) - u64::from(old.files);
        let size_bytes = self
            .size_bytes()
            .wrapping_add(row.size_bytes)
            .wrapping_sub(old.size_bytes);
        let bytes = self.bytes_mut();
        bytes[at..at + ROW_BYTES].copy_from_slice(&encode_row(row, name_end));
        put_u64(bytes, 16, files);
        put_u64(bytes, 24, size_bytes);
        match child {
            Some(child) => self.children.put(index, self.len(), child),
            None if old.mode.has_node() || row.mode.has_node() => self.children.clear(index, self.len()),
            None => {}
        }
        self.set_pending(index, pending);
    }

    /// Gives the dirty row `index` its id.
    pub(crate) fn set_id_at(&mut self, index: usize, id: &Id) {
        let at = self.row_at(index);
        self.bytes_mut()[at..at + 32].copy_from_slice(&id.0);
    }

    /// Where in the bytes the id of row `index` stands.
    pub(crate) fn place_of_id(&self, index: usize) -> usize {
        self.row_at(index)
    }

    /// Makes the rows dirty again whose content is not stored.
    pub(crate) fn forget_pending_ids(&mut self) {
        for at in 0..self.pending.len() {
            let (row, _) = self.pending[at];
            self.set_id_at(row as usize, &UNSTORED);
        }
    }

    pub(crate) fn set_id(&mut self, id: Id) {
        self.id = Some(id);
        self.count(false);
    }

    /// Gives row `index` another child node, in memory; its id stays what it is.
    pub(crate) fn replace_child(&mut self, index: usize, child: Arc<Node>) {
        self.children.put(index, self.len(), child);
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
        let (row_at, name_at) = (self.row_at(index), self.row_at(count) + start);
        self.begin_edit();
        let mut bytes = Vec::with_capacity(self.bytes.len() + ROW_BYTES + name.len());
        bytes.extend_from_slice(&self.bytes[..row_at]);
        bytes.extend_from_slice(&encode_row(row, start + name.len()));
        bytes.extend_from_slice(&self.bytes[row_at..name_at]);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&self.bytes[name_at..]);
        put_u32(&mut bytes, 4, count as u32 + 1);
        put_u32(&mut bytes, 32, (names_bytes + name.len()) as u32);
        for later in index + 1..=count {
            let at = HEADER_BYTES + ROW_BYTES * later + 44;
            // The end is in the low 24 bits and stays there: checked against NAME_END_MAX above.
            let end = u32_at(&bytes, at) + name.len() as u32;
            put_u32(&mut bytes, at, end);
        }
        self.bytes = Arc::from(bytes);
        self.children.insert_row(index, count + 1);
        if let Some(child) = child {
            self.children.put(index, count + 1, child);
        }
        for (row, _) in &mut self.pending {
            *row += u32::from(*row >= index as u32);
        }
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
        let child = self.children.remove_row(index, count - 1);
        self.begin_edit();
        let mut bytes = Vec::with_capacity(self.bytes.len() - ROW_BYTES - length);
        bytes.extend_from_slice(&self.bytes[..row_at]);
        bytes.extend_from_slice(&self.bytes[row_at + ROW_BYTES..names + start]);
        bytes.extend_from_slice(&self.bytes[names + end..]);
        put_u32(&mut bytes, 4, count as u32 - 1);
        put_u32(&mut bytes, 32, (names_bytes - length) as u32);
        for later in index..count - 1 {
            let at = HEADER_BYTES + ROW_BYTES * later + 44;
            let end = u32_at(&bytes, at) - length as u32;
            put_u32(&mut bytes, at, end);
        }
        self.bytes = Arc::from(bytes);
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
