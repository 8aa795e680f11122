//! Sealed indexes: the sorted table of a segment that nobody appends to any more, mapped so that all processes share one
//! copy. Ids are uniform, so a lookup interpolates instead of bisecting and touches about two cache lines; a filter behind the
//! entries says "not here" in one, which is what most lookups want to know (what is written is new as a rule).

use std::path::Path;
use std::sync::Arc;

use crate::bytes_le::{array_at, set_at, u32_at, u64_at};
use crate::error::{Error, Result};
use crate::id::{Id, leading};
use crate::prefix::{self, HexPrefix};
use crate::segment::{Found, Scan};
use crate::vfs::{Mapped, OpenMode, Vfs};

const MAGIC: &[u8; 8] = b"PYIIDX1\n";
const HEADER_BYTES: usize = 64;
pub(crate) const ENTRY_BYTES: usize = 48;
/// Interpolation steps before bisection takes over; uniform ids need two or three.
const INTERPOLATIONS: usize = 6;

/// Entries for each 64-bit word of the filter, so 16 bits an entry: about one miss in 200 passes.
pub(crate) const ENTRIES_A_WORD: usize = 4;

/// The byte at which an id's word of the filter begins, and its four bits in it.
pub(crate) fn filter_bits(id: &Id, words: u32) -> (usize, u64) {
    let word = (u128::from(u64_at(&id.0, 8)) * u128::from(words)) >> 64;
    let bits = id.0[16..20].iter().fold(0, |bits, byte| bits | 1 << (byte & 63));
    (word as usize * 8, bits)
}

/// Name of a segment's index.
pub(crate) fn index_name(number: u64) -> String {
    format!("{number:016x}.idx")
}

/// Where a record stands, in a sealed index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) id: Id,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) encoding: u8,
}

/// The bytes of the index of a scanned segment. O(n log n).
pub(crate) fn encode_index(number: u64, scan: &Scan, damage: u64) -> Vec<u8> {
    let records = sorted(&scan.records);
    let entries_end = HEADER_BYTES + records.len() * ENTRY_BYTES;
    // A filter that would not fit its count is left out; lookups then go to the entries.
    let words = u32::try_from(records.len() / ENTRIES_A_WORD + 1).unwrap_or(0);
    let mut bytes = vec![0u8; entries_end + words as usize * 8];
    let (table, filter) = bytes.split_at_mut(entries_end);
    for (entry, found) in table[HEADER_BYTES..].chunks_exact_mut(ENTRY_BYTES).zip(&records) {
        set_at(entry, 0, &found.header.id.0);
        set_at(entry, 32, &found.offset.to_le_bytes());
        set_at(entry, 40, &found.header.length.to_le_bytes());
        entry[44] = found.header.kind;
        entry[45] = found.header.encoding;
        if words > 0 {
            let (at, bits) = filter_bits(&found.header.id, words);
            let word = u64_at(filter, at) | bits;
            set_at(filter, at, &word.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&bytes[HEADER_BYTES..]);
    set_at(&mut bytes, 0, MAGIC);
    set_at(&mut bytes, 8, &1u32.to_le_bytes());
    set_at(&mut bytes, 12, &words.to_le_bytes());
    set_at(&mut bytes, 16, &number.to_le_bytes());
    set_at(&mut bytes, 24, &scan.end.to_le_bytes());
    set_at(&mut bytes, 32, &(records.len() as u64).to_le_bytes());
    set_at(&mut bytes, 40, &damage.to_le_bytes());
    set_at(&mut bytes, 48, &crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..52]);
    set_at(&mut bytes, 52, &crc.to_le_bytes());
    bytes
}

/// The records in the order of their ids, one of each: a writer may have stored an object twice, and the first one serves.
fn sorted(records: &[Found]) -> Vec<&Found> {
    // Eight bytes decide nearly every comparison, and stand beside each other while the records are all over the memory.
    let mut keyed: Vec<(u64, &Found)> = records.iter().map(|found| (found.header.id.leading(), found)).collect();
    keyed.sort_unstable_by(|(one, a), (other, b)| {
        one.cmp(other)
            .then_with(|| (a.header.id, a.offset).cmp(&(b.header.id, b.offset)))
    });
    keyed.dedup_by_key(|(_, found)| found.header.id);
    keyed.into_iter().map(|(_, found)| found).collect()
}

/// A sealed index, mapped and checked.
pub(crate) struct SealedIndex {
    map: Arc<dyn Mapped>,
    /// The segment's place in the table of this process.
    pub(crate) slot: u32,
    /// The segment's number.
    pub(crate) number: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) damaged_places: u64,
    count: usize,
    /// Words of the filter; 0 if there is none.
    words: u32,
}

impl SealedIndex {
    /// Maps an index and checks it; `Ok(None)` if it does not check (it is derived and can be built again). Errors:
    /// `UnsupportedFormat`, `Storage`. O(entries), one pass.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, number: u64, slot: u32) -> Result<Option<SealedIndex>> {
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
        SealedIndex::from_map(map, number, slot, path)
    }

    /// An index in memory, of the segment that it names.
    #[cfg(fuzzing)]
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<SealedIndex> {
        struct Memory(Vec<u8>);
        impl Mapped for Memory {
            fn bytes(&self) -> &[u8] {
                &self.0
            }
        }
        let number = bytes.get(16..24).map_or(0, |_| u64_at(&bytes, 16));
        let index = SealedIndex::from_map(Arc::new(Memory(bytes)), number, 0, Path::new("memory"));
        index.ok().flatten()
    }

    fn from_map(map: Arc<dyn Mapped>, number: u64, slot: u32, path: &Path) -> Result<Option<SealedIndex>> {
        let bytes = map.bytes();
        if bytes.len() < HEADER_BYTES || bytes[..8] != *MAGIC || u32_at(bytes, 52) != crc32c::crc32c(&bytes[..52]) {
            return Ok(None);
        }
        let version = u32_at(bytes, 8);
        if version != 1 {
            let found = format!("index version {version} in {}", path.display());
            return Err(Error::UnsupportedFormat { found });
        }
        let (words, body) = (u32_at(bytes, 12), &bytes[HEADER_BYTES..]);
        let Some(table_bytes) = body.len().checked_sub(words as usize * 8) else {
            return Ok(None);
        };
        let whole = u64_at(bytes, 16) == number
            && u64_at(bytes, 32).checked_mul(ENTRY_BYTES as u64) == Some(table_bytes as u64)
            && u32_at(bytes, 48) == crc32c::crc32c(body);
        if !whole {
            return Ok(None);
        }
        let (segment_bytes, damaged_places) = (u64_at(bytes, 24), u64_at(bytes, 40));
        let count = table_bytes / ENTRY_BYTES;
        Ok(Some(SealedIndex {
            map,
            slot,
            number,
            segment_bytes,
            damaged_places,
            count,
            words,
        }))
    }

    /// Whether the reserved bytes of the header, which no checksum covers, are what they were. O(1).
    pub(crate) fn reserved_is_zero(&self) -> bool {
        self.map.bytes()[56..64] == [0; 8]
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn row(&self, at: usize) -> &[u8] {
        let from = HEADER_BYTES + at * ENTRY_BYTES;
        &self.map.bytes()[from..from + ENTRY_BYTES]
    }

    pub(crate) fn entry(&self, at: usize) -> IndexEntry {
        let row = self.row(at);
        IndexEntry {
            id: Id(array_at(row, 0)),
            offset: u64_at(row, 32),
            length: u32_at(row, 40),
            kind: row[44],
            encoding: row[45],
        }
    }

    /// The entry of an object. One look at the filter if it is not there, else O(log log n) expected, O(log n) at worst.
    pub(crate) fn lookup(&self, id: &Id) -> Option<IndexEntry> {
        if self.words > 0 {
            let (at, bits) = filter_bits(id, self.words);
            let word = u64_at(self.map.bytes(), HEADER_BYTES + self.count * ENTRY_BYTES + at);
            if word & bits != bits {
                return None;
            }
        }
        let at = self.lower_bound(id);
        (at < self.count && self.row(at)[..32] == id.0).then(|| self.entry(at))
    }

    /// All entries, in the order of their ids.
    pub(crate) fn entries(&self) -> impl Iterator<Item = IndexEntry> + '_ {
        (0..self.count).map(|at| self.entry(at))
    }

    /// A few ids of a kind that begin so. O(log n + found).
    pub(crate) fn find(&self, prefix: &HexPrefix, kind: u8) -> Vec<Id> {
        (self.lower_bound(&prefix.lowest)..self.count)
            .map(|at| self.entry(at))
            .take_while(|entry| prefix.matches(&entry.id))
            .filter(|entry| entry.kind == kind)
            .take(prefix::RESULTS)
            .map(|entry| entry.id)
            .collect()
    }

    /// First entry whose id is not below `id`.
    pub(crate) fn lower_bound(&self, id: &Id) -> usize {
        let entries_end = HEADER_BYTES + self.count * ENTRY_BYTES;
        lower_bound(&self.map.bytes()[HEADER_BYTES..entries_end], id)
    }
}

/// First of the rows, of [`ENTRY_BYTES`] each and sorted by the ids they begin with, whose id is not below `id`.
pub(crate) fn lower_bound(rows: &[u8], id: &Id) -> usize {
    let (mut low, mut high) = (0usize, rows.len() / ENTRY_BYTES);
    let (mut low_key, mut high_key) = (0u64, u64::MAX);
    let key = id.leading();
    let row_id = |at: usize| &rows[at * ENTRY_BYTES..at * ENTRY_BYTES + 32];
    // Interpolation, from a bracket that shrinks from both sides: guess, then step past the guess by about what
    // the distribution leaves open, so that the next bracket is tight.
    for _ in 0..INTERPOLATIONS {
        let span = high - low;
        if span <= 8 || key < low_key || key > high_key || high_key == low_key {
            break;
        }
        let share = u128::from(key - low_key) * span as u128 / (u128::from(high_key - low_key) + 1);
        let slack = span.isqrt() / 2 + 1;
        let guess = low + share as usize;
        for probe in [guess.saturating_sub(slack), guess + slack] {
            if probe < low || probe >= high {
                continue;
            }
            let row = row_id(probe);
            let found = leading(row);
            if found < key {
                (low, low_key) = (probe + 1, found);
            } else if found > key {
                (high, high_key) = (probe, found);
            } else if *row < id.0[..] {
                low = probe + 1;
            } else {
                high = probe;
            }
        }
    }
    while low < high {
        let middle = low.midpoint(high);
        if *row_id(middle) < id.0[..] {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::record::Header;
    use crate::segment::Found;
    use proptest::prelude::*;

    struct Memory(Vec<u8>);
    impl Mapped for Memory {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    fn scan_of(ids: &[Id]) -> Scan {
        let mut scan = Scan {
            end: 64,
            ..Scan::default()
        };
        for (i, id) in ids.iter().enumerate() {
            let header = Header {
                crc: 0,
                length: i as u32,
                kind: 1,
                encoding: 0,
                domain: 0,
                position: 0,
                id: *id,
            };
            scan.records.push(Found {
                offset: 64 + 8 * i as u64,
                header,
            });
        }
        scan
    }

    fn open(bytes: Vec<u8>) -> Option<SealedIndex> {
        SealedIndex::from_map(Arc::new(Memory(bytes)), 7, 0, Path::new("x"))
            .ok()
            .flatten()
    }

    #[test]
    fn the_bits_of_the_filter_are_those_of_format_1() {
        let mut id = [0; 32];
        id[15] = 0x80; // the upper half of the words
        id[16..20].copy_from_slice(&[5, 5, 64 + 7, 63]);
        assert_eq!(filter_bits(&Id(id), 10), (5 * 8, 1 << 5 | 1 << 7 | 1 << 63));
    }

    #[test]
    fn ids_that_begin_alike_are_in_order_and_the_first_of_equal_ones_serves() {
        let id = |last: u8| {
            let mut id = [7; 32];
            id[31] = last;
            Id(id)
        };
        let ids = [id(3), id(1), id(2), id(1), Id([6; 32])];
        let index = open(encode_index(7, &scan_of(&ids), 0)).unwrap();
        let found: Vec<_> = (0..index.count)
            .map(|at| index.entry(at))
            .map(|it| (it.id, it.offset))
            .collect();
        assert_eq!(found, [(ids[4], 96), (id(1), 72), (id(2), 80), (id(3), 64)]);
    }

    #[test]
    fn the_filter_keeps_most_misses_out_and_can_be_absent() {
        let ids: Vec<Id> = (0u32..20_000).map(|i| Kind::Blob.id_of(&i.to_le_bytes())).collect();
        let bytes = encode_index(7, &scan_of(&ids), 0);
        let index = open(bytes.clone()).unwrap();
        assert_eq!(index.words as usize, ids.len() / 4 + 1);
        let passed = (0u32..20_000)
            .map(|i| Kind::Node.id_of(&i.to_le_bytes()))
            .filter(|id| {
                let (at, bits) = filter_bits(id, index.words);
                let word = u64_at(&bytes, HEADER_BYTES + index.count * ENTRY_BYTES + at);
                word & bits == bits
            })
            .count();
        assert!(passed < 400, "{passed} of 20,000");
        let mut without = bytes[..HEADER_BYTES + index.count * ENTRY_BYTES].to_vec();
        set_at(&mut without, 12, &0u32.to_le_bytes());
        let crc = crc32c::crc32c(&without[HEADER_BYTES..]);
        set_at(&mut without, 48, &crc.to_le_bytes());
        let crc = crc32c::crc32c(&without[..52]);
        set_at(&mut without, 52, &crc.to_le_bytes());
        let without = open(without).unwrap();
        assert!(
            ids.iter()
                .all(|id| without.lookup(id).is_some() && index.lookup(id).is_some())
        );
    }

    #[test]
    fn finds_all_of_many_and_nothing_else() {
        let ids: Vec<Id> = (0u32..20_000).map(|i| Kind::Blob.id_of(&i.to_le_bytes())).collect();
        let index = open(encode_index(7, &scan_of(&ids), 0)).unwrap();
        assert_eq!(index.len(), ids.len());
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(index.lookup(id).map(|entry| entry.length), Some(i as u32));
            assert_eq!(index.lookup(&Kind::Node.id_of(&(i as u32).to_le_bytes())), None);
        }
    }

    proptest! {
        #[test]
        fn lower_bound_is_that_of_a_sorted_list(tops in proptest::collection::vec((0u8..4, 0u8..4), 0..200), probe in (0u8..5, 0u8..5)) {
            let make = |(a, b): (u8, u8)| { let mut id = [0u8; 32]; id[0] = a * 80; id[9] = b; Id(id) };
            let mut ids: Vec<Id> = tops.into_iter().map(make).collect();
            let index = open(encode_index(7, &scan_of(&ids), 0)).unwrap();
            ids.sort();
            ids.dedup();
            let probe = { let mut id = [0u8; 32]; id[0] = probe.0.min(3) * 80 + probe.0 / 4; id[9] = probe.1; Id(id) };
            prop_assert_eq!(index.lower_bound(&probe), ids.partition_point(|id| *id < probe));
            prop_assert_eq!(index.lookup(&probe).is_some(), ids.contains(&probe));
        }

        #[test]
        fn a_flipped_bit_is_refused(bit in 0usize..(64 + 48 * 3 + 8 - 8) * 8) {
            let ids = [Id([1; 32]), Id([2; 32]), Id([3; 32])];
            let mut bytes = encode_index(7, &scan_of(&ids), 0);
            let at = if bit / 8 < 56 { bit / 8 } else { bit / 8 + 8 };
            bytes[at] ^= 1 << (bit % 8);
            prop_assert!(open(bytes).is_none());
        }
    }
}
