//! A merged index: one sorted table over the records of many sealed segments, so that a lookup looks at few tables however
//! many segments there are. It is mapped, and checked a page at a time when the page is first relied on: opening it costs
//! the same whether it lists a thousand objects or a hundred million.
//!
//! A lookup may come by pages that nobody has checked, but its answer never rests on one. "Not here" rests on a word of the
//! filter, or on two neighbouring rows between which the id would stand; the pages of these are checked, and the table was sorted when
//! their checksums were made. Where a page does not check, or checked rows do not enclose the id (an unchecked row
//! has led the search astray), the index is [`Broken`], and the caller goes back to the indexes of the segments.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::bytes_le::{array_at, set_at, u32_at, u64_at};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::{ENTRIES_A_WORD, ENTRY_BYTES, IndexEntry, filter_bits, lower_bound};
use crate::prefix::{self, HexPrefix};
use crate::vfs::{Mapped, OpenMode, Vfs};

const MAGIC: &[u8; 8] = b"PYIMIX1\n";
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const COVERED_BYTES: usize = 32;
/// What has a checksum of its own. The body begins at a multiple of it, so these are pages of the map.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// In place of a segment's slot: the segment is not there any more.
const GONE: u32 = u32::MAX;

/// Name of a merged index. Its number is the highest of the segments that it covers, so that the listing of a directory
/// tells which numbers have been used.
pub(crate) fn merged_name(number: u64) -> String {
    format!("{number:016x}.mix")
}

/// The index is not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken;

/// A segment whose records a merged index lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Covered {
    pub(crate) number: u64,
    /// End of its last record.
    pub(crate) segment_bytes: u64,
    /// How many rows are its.
    pub(crate) objects: u64,
}

/// Words of the filter for so many rows; 0 if their number would not fit.
pub(crate) fn filter_words(rows: u64) -> u32 {
    u32::try_from(rows / ENTRIES_A_WORD as u64 + 1).unwrap_or(0)
}

/// Where the rows begin.
pub(crate) fn body_at(covered: usize) -> usize {
    (HEADER_BYTES + covered * COVERED_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// A row. `place` is that of the segment among the covered ones.
pub(crate) fn encode_row(entry: &IndexEntry, place: u32) -> [u8; ENTRY_BYTES] {
    let mut row = [0u8; ENTRY_BYTES];
    set_at(&mut row, 0, &entry.id.0);
    // Segments end below 32 GiB, so the quotient fits.
    set_at(&mut row, 32, &((entry.offset / 8) as u32).to_le_bytes());
    set_at(&mut row, 36, &entry.length.to_le_bytes());
    set_at(&mut row, 40, &place.to_le_bytes());
    row[44] = entry.kind;
    row[45] = entry.encoding;
    row
}

/// What stands before the body: header, covered segments, zeros.
pub(crate) fn encode_head(covered: &[Covered], rows: u64, words: u32, checksums: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; body_at(covered.len())];
    let list_end = HEADER_BYTES + covered.len() * COVERED_BYTES;
    for (row, segment) in bytes[HEADER_BYTES..list_end]
        .chunks_exact_mut(COVERED_BYTES)
        .zip(covered)
    {
        set_at(row, 0, &segment.number.to_le_bytes());
        set_at(row, 8, &segment.segment_bytes.to_le_bytes());
        set_at(row, 16, &segment.objects.to_le_bytes());
    }
    let list_crc = crc32c::crc32c(&bytes[HEADER_BYTES..]);
    set_at(&mut bytes, 0, MAGIC);
    set_at(&mut bytes, 8, &1u32.to_le_bytes());
    set_at(&mut bytes, 12, &words.to_le_bytes());
    let number = covered.last().map_or(0, |segment| segment.number);
    set_at(&mut bytes, 16, &number.to_le_bytes());
    set_at(&mut bytes, 24, &rows.to_le_bytes());
    set_at(&mut bytes, 32, &(covered.len() as u32).to_le_bytes());
    set_at(&mut bytes, 40, &list_crc.to_le_bytes());
    set_at(&mut bytes, 44, &crc32c::crc32c(checksums).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..48]);
    set_at(&mut bytes, 48, &crc.to_le_bytes());
    bytes
}

/// A merged index, mapped.
pub(crate) struct MergedIndex {
    map: Arc<dyn Mapped>,
    pub(crate) number: u64,
    covered: Vec<Covered>,
    /// Slots of the covered segments in the table of this process, or [`GONE`].
    slots: Box<[AtomicU32]>,
    body_at: usize,
    count: usize,
    words: u32,
    checksums_at: usize,
    /// A bit for each block that this process has found good.
    checked: Box<[AtomicU64]>,
}

impl MergedIndex {
    /// Maps an index and checks its head; `Ok(None)` if it is none, or of a later version: the indexes of the segments serve
    /// in its place. Errors: `Storage`. O(segments), and a checksum over a thousandth of the file.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, number: u64) -> Result<Option<MergedIndex>> {
        let file = vfs
            .open(path, OpenMode::Read)
            .map_err(|error| Error::storage("open", path, error))?;
        let length = file.len().map_err(|error| Error::storage("read", path, error))?;
        if length < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let map = file
            .map_readonly()
            .map_err(|error| Error::storage("map", path, error))?;
        Ok(MergedIndex::from_map(map, number))
    }

    pub(crate) fn from_map(map: Arc<dyn Mapped>, number: u64) -> Option<MergedIndex> {
        let bytes = map.bytes();
        if bytes.len() < HEADER_BYTES || bytes[..8] != *MAGIC || u32_at(bytes, 48) != crc32c::crc32c(&bytes[..48]) {
            return None;
        }
        let (version, words, covered) = (u32_at(bytes, 8), u32_at(bytes, 12), u32_at(bytes, 32) as usize);
        let count = usize::try_from(u64_at(bytes, 24)).ok()?;
        let body_at = body_at(covered);
        let body_bytes = count.checked_mul(ENTRY_BYTES)?.checked_add(words as usize * 8)?;
        let checksums_at = body_at.checked_add(body_bytes)?;
        let blocks = body_bytes.div_ceil(BLOCK_BYTES);
        let whole = version == 1
            && covered > 0
            && u64_at(bytes, 16) == number
            && checksums_at.checked_add(blocks * 4) == Some(bytes.len())
            && u32_at(bytes, 40) == crc32c::crc32c(&bytes[HEADER_BYTES..body_at])
            && u32_at(bytes, 44) == crc32c::crc32c(&bytes[checksums_at..]);
        if !whole {
            return None;
        }
        let covered: Vec<Covered> = bytes[HEADER_BYTES..HEADER_BYTES + covered * COVERED_BYTES]
            .chunks_exact(COVERED_BYTES)
            .map(|row| Covered {
                number: u64_at(row, 0),
                segment_bytes: u64_at(row, 8),
                objects: u64_at(row, 16),
            })
            .collect();
        let ascends = covered.windows(2).all(|pair| pair[0].number < pair[1].number);
        let rows = covered
            .iter()
            .try_fold(0u64, |sum, segment| sum.checked_add(segment.objects));
        if !ascends || covered.last()?.number != number || rows != Some(count as u64) {
            return None;
        }
        Some(MergedIndex {
            slots: covered.iter().map(|_| AtomicU32::new(GONE)).collect(),
            checked: (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            map,
            number,
            covered,
            body_at,
            count,
            words,
            checksums_at,
        })
    }

    /// The segments whose records are listed, by number.
    pub(crate) fn covered(&self) -> &[Covered] {
        &self.covered
    }

    /// Number of rows, of segments that are gone included.
    pub(crate) fn rows(&self) -> usize {
        self.count
    }

    /// Number of objects in segments that are there.
    pub(crate) fn objects(&self) -> u64 {
        let present = |(at, segment): (usize, &Covered)| self.slot(at as u32).map(|_| segment.objects);
        self.covered.iter().enumerate().filter_map(present).sum()
    }

    /// Says where the segment at a place among the covered ones stands in the table of this process. Until then, its rows
    /// count as misses.
    pub(crate) fn bind(&self, place: usize, slot: u32) {
        self.slots[place].store(slot, Ordering::Release);
    }

    /// From now on the rows of this segment count as misses.
    #[allow(dead_code)] // For the collector of garbage, which removes segments.
    pub(crate) fn forget(&self, slot: u32) {
        for bound in &self.slots {
            let _ = bound.compare_exchange(slot, GONE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Slot of the segment at a place among the covered ones; `None` if it is gone.
    pub(crate) fn slot(&self, place: u32) -> Option<u32> {
        let slot = self.slots.get(place as usize)?.load(Ordering::Acquire);
        (slot != GONE).then_some(slot)
    }

    /// Checks the blocks with these bytes of the body, unless they are known to be good.
    fn check(&self, from: usize, to: usize) -> std::result::Result<(), Broken> {
        for block in from / BLOCK_BYTES..to.div_ceil(BLOCK_BYTES) {
            let (word, bit) = (&self.checked[block / 64], 1 << (block % 64));
            if word.load(Ordering::Relaxed) & bit != 0 {
                continue;
            }
            let bytes = self.map.bytes();
            let begin = self.body_at + block * BLOCK_BYTES;
            let content = &bytes[begin..self.checksums_at.min(begin + BLOCK_BYTES)];
            if crc32c::crc32c(content) != u32_at(bytes, self.checksums_at + block * 4) {
                return Err(Broken);
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks all of it. O(bytes).
    pub(crate) fn check_all(&self) -> std::result::Result<(), Broken> {
        self.check(0, self.checksums_at - self.body_at)
    }

    /// All rows, in order, unchecked: see [`MergedIndex::check_all`].
    pub(crate) fn table(&self) -> &[u8] {
        &self.map.bytes()[self.body_at..self.body_at + self.count * ENTRY_BYTES]
    }

    /// The row at a place, checked, with its segment's place among the covered ones.
    fn row(&self, at: usize) -> std::result::Result<(IndexEntry, u32), Broken> {
        self.check(at * ENTRY_BYTES, (at + 1) * ENTRY_BYTES)?;
        Ok(decode_row(&self.table()[at * ENTRY_BYTES..]))
    }

    /// First row whose id is not below `id`, proven by checked rows on both sides of it.
    fn lower_bound(&self, id: &Id) -> std::result::Result<usize, Broken> {
        let at = lower_bound(self.table(), id);
        if at > 0 && self.row(at - 1)?.0.id >= *id || at < self.count && self.row(at)?.0.id < *id {
            return Err(Broken);
        }
        Ok(at)
    }

    /// Calls `found` with the slot and the place of each copy of an object until it returns `true`. One look at the filter if there is
    /// none, else O(log log n) expected, O(log n) at worst. Errors: [`Broken`].
    pub(crate) fn each_copy(
        &self,
        id: &Id,
        mut found: impl FnMut(u32, &IndexEntry) -> bool,
    ) -> std::result::Result<bool, Broken> {
        if self.words > 0 {
            let (at, bits) = filter_bits(id, self.words);
            let at = self.count * ENTRY_BYTES + at;
            self.check(at, at + 8)?;
            if u64_at(self.map.bytes(), self.body_at + at) & bits != bits {
                return Ok(false);
            }
        }
        for at in self.lower_bound(id)?..self.count {
            let (entry, place) = self.row(at)?;
            if entry.id != *id {
                break;
            }
            if let Some(slot) = self.slot(place)
                && found(slot, &entry)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A few ids of a kind that begin so. O(log n + found). Errors: [`Broken`].
    pub(crate) fn find(&self, prefix: &HexPrefix, kind: u8) -> std::result::Result<Vec<Id>, Broken> {
        let mut found: Vec<Id> = Vec::new();
        for at in self.lower_bound(&prefix.lowest)?..self.count {
            let (entry, place) = self.row(at)?;
            if !prefix.matches(&entry.id) || found.len() == prefix::RESULTS {
                break;
            }
            if entry.kind == kind && self.slot(place).is_some() && found.last() != Some(&entry.id) {
                found.push(entry.id);
            }
        }
        Ok(found)
    }
}

/// Reads a row; `bytes` holds at least one.
pub(crate) fn decode_row(bytes: &[u8]) -> (IndexEntry, u32) {
    let entry = IndexEntry {
        id: Id(array_at(bytes, 0)),
        offset: u64::from(u32_at(bytes, 32)) * 8,
        length: u32_at(bytes, 36),
        kind: bytes[44],
        encoding: bytes[45],
    };
    (entry, u32_at(bytes, 40))
}

#[cfg(test)]
#[path = "merged_index_tests.rs"]
mod tests;
