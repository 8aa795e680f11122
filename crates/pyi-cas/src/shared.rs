//! What one open store knows of its segments: the table of open ones, the recent and the sealed indexes, and how they
//! follow what other processes do. Used by the store itself, by its writer and by the thread that seals.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::cache::BlobCache;
use crate::condemned::Condemned;
use crate::control::Control;
use crate::damaged::DamagedRecords;
use crate::durable::Marks;
use crate::encoding::DELTA;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::{IndexEntry, SealedIndex, index_name};
use crate::lazy_file::LazyFile;
use crate::recent::{Location, Recent};
use crate::record::Header;
use crate::sealed::Sealed;
use crate::segment::{
    Damage, DamagedFile, HeaderState, SEGMENT_HEADER_BYTES, check_header, number_in_name, scan, segment_name,
};
use crate::vfs::{OpenMode, Vfs, VfsFile};

/// A segment as this process sees it. Readers hold the `Arc`, never a bare offset.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) slot: u32,
    /// Read-only handle of its own: the writer's handle is closed in the child of a fork.
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) marks: Marks,
}

/// How far a segment is known.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tail {
    /// Everything before it is indexed.
    pub(crate) scanned: u64,
    /// Records in what is indexed.
    pub(crate) records: u64,
    /// It has a sealed index.
    pub(crate) sealed: bool,
    /// This store appends to it, so there is nothing to scan.
    pub(crate) own: bool,
}

/// Slots are never used again: one whose segment was removed stays empty.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) segments: Vec<Option<Arc<Segment>>>,
    pub(crate) by_number: HashMap<u64, u32>,
    /// Those without a sealed index.
    pub(crate) unsealed: Vec<Arc<Segment>>,
}

/// Numbers in the directory, in no order but for the segments, which ascend.
pub(crate) struct Listing {
    pub(crate) segments: Vec<u64>,
    /// Of segments with an index.
    pub(crate) indexed: HashSet<u64>,
    /// Of merged indexes.
    pub(crate) merged: Vec<u64>,
}

/// A slot of the control file that names a segment so far above all others is damaged.
const NUMBERS_AHEAD: u64 = 1 << 20;

impl Listing {
    /// The lowest number for a new segment: above all that are there, that indexes are of, that refs ever depended on, and of which the
    /// control file speaks: what it says of one that a loss of power took must not be taken for the new one's.
    pub(crate) fn next_number(&self, shared: &Shared) -> u64 {
        let used = self.segments.iter().chain(&self.indexed).chain(&self.merged);
        let highest = used.max().copied().unwrap_or(0);
        let slots = shared.control.iter().flat_map(|control| control.slots());
        let spoken_of = slots.map(|(number, _)| number).max().unwrap_or(0);
        // A damaged slot may hold any number.
        let spoken_of = if spoken_of < highest + NUMBERS_AHEAD {
            spoken_of
        } else {
            0
        };
        let floor = shared.number_floor.load(Ordering::Acquire);
        highest.max(spoken_of).max(floor) + 1
    }
}

/// The generations up to which this process has looked.
#[derive(Default)]
struct Seen {
    data: AtomicU64,
    segments: AtomicU64,
}

/// Everything that outlives a single call.
pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) directory: PathBuf,
    pub(crate) store: [u8; 16],
    pub(crate) control: Option<Arc<Control>>,
    pub(crate) recent: Recent,
    /// Copies of objects that were found damaged: they do not count as known.
    pub(crate) damaged: DamagedRecords,
    pub(crate) table: RwLock<Table>,
    pub(crate) sealed: RwLock<Arc<Sealed>>,
    /// Numbers of merged indexes that turned out broken.
    pub(crate) broken: Mutex<HashSet<u64>>,
    pub(crate) unmerging: Mutex<()>,
    pub(crate) damage: Mutex<BTreeMap<u64, Vec<Damage>>>,
    /// Whether there is any, so that lookups need not ask.
    pub(crate) any_damage: AtomicBool,
    pub(crate) condemned: Condemned,
    pub(crate) refreshing: Mutex<()>,
    seen: Seen,
    /// The store is being closed and waits for the thread that seals.
    pub(crate) awaits_sealing: AtomicBool,
    /// Names this start of the system in marks of what is durable.
    pub(crate) boot_tag: u64,
    /// New segments get numbers above it.
    pub(crate) number_floor: AtomicU64,
    /// So far ahead of the end the segments written here are filled with zeros; 0: not at all.
    pub(crate) write_ahead_bytes: AtomicU64,
    /// Pages that a batch is likely to need are put into the system's cache by so many bytes at once; 0: not at all.
    pub(crate) page_ahead_bytes: u64,
    /// Contents that deltas were read against lately.
    pub(crate) bases: BlobCache,
}

/// Memory for bases of deltas.
const BASES_BYTES: usize = 16 << 20;

impl Shared {
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        directory: PathBuf,
        store: [u8; 16],
        control: Option<Arc<Control>>,
        boot_tag: u64,
    ) -> Shared {
        Shared {
            boot_tag,
            number_floor: AtomicU64::new(0),
            write_ahead_bytes: AtomicU64::new(0),
            page_ahead_bytes: 0,
            vfs,
            directory,
            store,
            control,
            recent: Recent::new(),
            damaged: DamagedRecords::default(),
            table: RwLock::default(),
            sealed: RwLock::default(),
            broken: Mutex::default(),
            unmerging: Mutex::default(),
            damage: Mutex::default(),
            any_damage: AtomicBool::new(false),
            condemned: Condemned::default(),
            refreshing: Mutex::default(),
            seen: Seen::default(),
            awaits_sealing: AtomicBool::new(false),
            bases: BlobCache::new(BASES_BYTES),
        }
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_name(number))
    }

    pub(crate) fn index_path(&self, number: u64) -> PathBuf {
        self.directory.join(index_name(number))
    }

    pub(crate) fn segment(&self, slot: u32) -> Option<Arc<Segment>> {
        self.table.read().segments.get(slot as usize).cloned().flatten()
    }

    pub(crate) fn segment_numbered(&self, number: u64) -> Option<Arc<Segment>> {
        let table = self.table.read();
        table
            .by_number
            .get(&number)
            .and_then(|slot| table.segments.get(*slot as usize))
            .cloned()
            .flatten()
    }

    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.table.read().segments.iter().flatten().cloned().collect()
    }

    /// Takes a segment out of the list of unsealed ones.
    pub(crate) fn leave_unsealed(&self, number: u64) {
        self.table.write().unsealed.retain(|open| open.number != number);
    }

    /// Segments without a sealed index.
    pub(crate) fn unsealed(&self) -> Vec<Arc<Segment>> {
        self.table.read().unsealed.clone()
    }

    pub(crate) fn sealed(&self) -> Arc<Sealed> {
        Arc::clone(&self.sealed.read())
    }

    /// Remembers damage; what is known of the segment already is kept once.
    pub(crate) fn report_damage(&self, segment: u64, offset: u64, length: u64) {
        let mut damage = self.damage.lock();
        self.any_damage.store(true, Ordering::Release);
        let places = damage.entry(segment).or_default();
        if !places.iter().any(|place| place.offset == offset) {
            places.push(Damage {
                file: DamagedFile::Segment,
                number: segment,
                offset,
                length,
            });
        }
    }

    pub(crate) fn damage(&self) -> Vec<Damage> {
        self.damage.lock().values().flatten().copied().collect()
    }

    pub(crate) fn has_damage(&self, segment: u64) -> bool {
        self.damage.lock().contains_key(&segment)
    }

    /// Forgets what is known of the damage of a segment: it was repaired, or is about to be looked at again.
    pub(crate) fn forget_damage(&self, segment: u64) {
        self.damage.lock().remove(&segment);
    }

    /// Takes a rebuilt index into use; `false` if it is not good.
    pub(crate) fn remap_index(&self, segment: &Segment) -> Result<bool> {
        if !segment.tail.lock().sealed {
            return self.map_index(segment);
        }
        let path = self.index_path(segment.number);
        let Some(index) = SealedIndex::open(self.vfs.as_ref(), &path, segment.number, segment.slot)? else {
            return Ok(false);
        };
        let mut sealed = self.sealed.write();
        let mut set = sealed.without_segment(segment.slot);
        set.single.push(Arc::new(index));
        *sealed = Arc::new(set);
        Ok(true)
    }

    /// Numbers in the directory.
    pub(crate) fn list(&self) -> Result<Listing> {
        let names = match self.vfs.list(&self.directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::storage("list", &self.directory, error)),
        };
        let mut segments: Vec<u64> = names.iter().filter_map(|name| number_in_name(name, "seg")).collect();
        segments.sort_unstable();
        Ok(Listing {
            segments,
            indexed: names.iter().filter_map(|name| number_in_name(name, "idx")).collect(),
            merged: names.iter().filter_map(|name| number_in_name(name, "mix")).collect(),
        })
    }

    /// The table's entry for a segment, opened if it is new. O(1), one open.
    pub(crate) fn adopt_into_table(&self, number: u64) -> Result<Option<Arc<Segment>>> {
        if let Some(segment) = self.segment_numbered(number) {
            return Ok(Some(segment));
        }
        let path = self.segment_path(number);
        let file = match self.vfs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::storage("open", &path, error)),
        };
        Ok(self.add_to_table(number, file))
    }

    /// The same for a sealed segment, which is opened when it is read. O(1).
    pub(crate) fn adopt_lazily(&self, number: u64) -> Result<Option<Arc<Segment>>> {
        if let Some(segment) = self.segment_numbered(number) {
            return Ok(Some(segment));
        }
        let file = LazyFile::new(Arc::clone(&self.vfs), self.segment_path(number));
        Ok(self.add_to_table(number, Arc::new(file)))
    }

    fn add_to_table(&self, number: u64, file: Arc<dyn VfsFile>) -> Option<Arc<Segment>> {
        let mut table = self.table.write();
        if let Some(slot) = table.by_number.get(&number) {
            return table.segments.get(*slot as usize).cloned().flatten();
        }
        let slot = table.segments.len() as u32;
        let segment = Arc::new(Segment {
            number,
            slot,
            file,
            tail: Mutex::default(),
            marks: Marks::default(),
        });
        table.segments.push(Some(Arc::clone(&segment)));
        table.unsealed.push(Arc::clone(&segment));
        table.by_number.insert(number, slot);
        Some(segment)
    }

    /// Looks at everything that is new on disk.
    pub(crate) fn look(&self) -> Result<()> {
        let listing = self.list()?;
        self.load_merged(&listing)?;
        for number in &listing.segments {
            let indexed = listing.indexed.contains(number);
            let segment = if indexed {
                self.adopt_lazily(*number)?
            } else {
                self.adopt_into_table(*number)?
            };
            let Some(segment) = segment else { continue };
            let sealed = segment.tail.lock().sealed;
            if !sealed && indexed && !self.map_index(&segment)? {
                // The index does not check: it is derived, so the segment is read instead.
                self.scan_if_there(&segment)?;
            }
        }
        // Last, so that who misses what stood in them finds the copies.
        self.drop_gone(&listing.segments)
    }

    /// As [`Shared::look`], after whoever else looks.
    pub(crate) fn look_at_directory(&self) -> Result<()> {
        let _one = self.refreshing.lock();
        self.look()
    }

    /// Reads a sealed segment whose index is lost, as if it were not sealed.
    pub(crate) fn read_unindexed(&self, segment: &Segment) -> Result<()> {
        *segment.tail.lock() = Tail::default();
        self.scan_if_there(segment)
    }

    /// As [`Shared::scan_tail`]; nothing if a collector removed the segment since it was listed, and it was never opened here.
    fn scan_if_there(&self, segment: &Segment) -> Result<()> {
        match self.scan_tail(segment) {
            Err(error) if error.is_missing_file() => Ok(()),
            other => other,
        }
    }

    /// Maps the index of a segment; `false` if it is not good.
    pub(crate) fn map_index(&self, segment: &Segment) -> Result<bool> {
        let path = self.index_path(segment.number);
        let index = match SealedIndex::open(self.vfs.as_ref(), &path, segment.number, segment.slot) {
            Ok(Some(index)) => index,
            Ok(None) => return Ok(false),
            Err(Error::Storage { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let length = match segment.file.len() {
            Ok(length) => length,
            // Removed since the listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(Error::storage("read", self.segment_path(segment.number), error)),
        };
        if length < index.segment_bytes {
            self.report_damage(segment.number, length, index.segment_bytes - length);
        }
        if index.damaged_places > 0 && !self.has_damage(segment.number) {
            // The index only counts them; the scan tells where they are.
            self.scan_if_there(segment)?;
        }
        let mut tail = segment.tail.lock();
        if !tail.sealed {
            tail.sealed = true;
            tail.own = false;
            tail.scanned = index.segment_bytes;
            let mut sealed = self.sealed.write();
            Arc::make_mut(&mut sealed).single.push(Arc::new(index));
        }
        drop(tail);
        self.leave_unsealed(segment.number);
        // Only now, so that a reader that misses the recent entry finds the sealed one.
        self.recent.remove_segment(segment.slot);
        Ok(true)
    }

    /// Indexes what stands behind the known part of an unsealed segment of another writer. O(new bytes).
    pub(crate) fn scan_tail(&self, segment: &Segment) -> Result<()> {
        let path = self.segment_path(segment.number);
        let failed = |error| Error::storage("read", &path, error);
        let mut tail = segment.tail.lock();
        if tail.own || tail.sealed {
            return Ok(());
        }
        let file = segment.file.as_ref();
        let first = tail.scanned == 0;
        // Of a living writer only the committed part is read: behind it may stand a write that fails and is overwritten.
        // A slot can be older than the file: power was lost, or the writer died between its write and saying so. What is whole there
        // others may have found and rely on, so a segment without a living writer is read to its end, each time.
        let committed = self.committed_length(segment.number);
        let bound = match committed {
            Some(committed) if file.is_locked().map_err(failed)? => committed,
            _ => u64::MAX,
        };
        if bound <= tail.scanned {
            return Ok(());
        }
        if first {
            match check_header(file, segment.number, &self.store, &path.display().to_string())? {
                HeaderState::Unborn => return Ok(()),
                HeaderState::Good => {}
                HeaderState::Damaged => self.report_damage(segment.number, 0, SEGMENT_HEADER_BYTES),
            }
            tail.scanned = SEGMENT_HEADER_BYTES;
        }
        let result = scan(file, tail.scanned, bound).map_err(failed)?;
        // A writer that appeared during an unbounded scan may be writing: only what it calls committed is kept.
        let bound = match self.committed_length(segment.number) {
            Some(now) if bound == u64::MAX && file.is_locked().map_err(failed)? => now,
            _ => bound,
        };
        for (offset, length) in result.gaps.iter().filter(|(offset, length)| offset + length <= bound) {
            self.report_damage(segment.number, *offset, *length);
        }
        for found in result.records.iter().filter(|found| found.offset < bound) {
            tail.records += 1;
            self.note(found.header.id, location(segment.slot, found.offset, &found.header));
        }
        tail.scanned = tail.scanned.max(result.end.min(bound));
        segment.marks.raise_committed(tail.scanned);
        Ok(())
    }

    pub(crate) fn committed_length(&self, number: u64) -> Option<u64> {
        self.control
            .as_ref()
            .and_then(|control| control.committed_length(number))
    }

    /// The generations that the indexes are as new as. Taken before a lookup, it tells afterwards whether a miss is final.
    pub(crate) fn seen(&self) -> (u64, u64) {
        (
            self.seen.data.load(Ordering::Acquire),
            self.seen.segments.load(Ordering::Acquire),
        )
    }

    fn generations(&self) -> Option<(u64, u64)> {
        self.control
            .as_ref()
            .map(|control| (control.data_generation(), control.segment_generation()))
    }

    /// Whether segments may have come or gone since the last look.
    pub(crate) fn is_listing_old(&self) -> bool {
        self.generations().map(|(_, segments)| segments) != Some(self.seen().1)
    }

    /// Indexes what other processes stored. `false` if nothing can have changed since `seen`, which is found out with two
    /// loads; else the lookup that missed is worth repeating.
    pub(crate) fn refresh_since(&self, seen: (u64, u64)) -> Result<bool> {
        if self.generations() == Some(seen) {
            return Ok(false);
        }
        let _one = self.refreshing.lock();
        // Somebody else may have looked while this thread waited.
        if self.generations() != Some(self.seen()) {
            let moved = self.generations().is_none_or(|(_, segments)| segments != self.seen().1);
            self.look_again(moved)?;
        }
        Ok(true)
    }

    /// Looks at everything, also if nobody said that anything changed.
    pub(crate) fn look_anew(&self) -> Result<()> {
        let _one = self.refreshing.lock();
        self.look_again(true)
    }

    /// Looks at other writers' tails, and at the directory first if segments came or went.
    pub(crate) fn look_again(&self, list: bool) -> Result<()> {
        // Read before the look: what happens during it is looked at next time.
        let generations = self.generations();
        if list {
            self.look()?;
        }
        for segment in self.segments() {
            self.scan_if_there(&segment)?;
        }
        if let Some((data, segments)) = generations {
            self.seen.data.fetch_max(data, Ordering::AcqRel);
            self.seen.segments.fetch_max(segments, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Tells other processes of a commit.
    pub(crate) fn announce_commit(&self) {
        if let Some(control) = &self.control {
            let before = control.bump_data();
            // The own commit is indexed already. If nobody else moved the generation, there is still nothing to look for.
            let _ = self
                .seen
                .data
                .compare_exchange(before, before + 1, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Tells other processes that a segment appeared, was sealed or went away.
    pub(crate) fn announce_segments(&self) {
        if let Some(control) = &self.control {
            let before = control.bump_segments();
            let _ = self
                .seen
                .segments
                .compare_exchange(before, before + 1, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Whether this process knows the object, and not only of damaged copies of it. Errors: `Storage`. O(indexes).
    pub(crate) fn knows(&self, id: &Id) -> Result<bool> {
        let plain = |place: &Location| place.encoding < DELTA && !self.damaged.has(id, place.slot, place.offset());
        let recent = self.recent.get(id);
        if recent.is_some_and(|place| self.number_of(place.slot).is_some() && plain(&place)) {
            return Ok(true);
        }
        Ok(self.sealed_copies(id)?.any(|place| plain(&place)) || self.stands(id, None, 0))
    }
}

/// Where a scanned record stands.
pub(crate) fn location(slot: u32, offset: u64, header: &Header) -> Location {
    Location {
        slot,
        position: (offset / 8) as u32,
        length: header.length,
        kind: header.kind,
        encoding: header.encoding,
    }
}

pub(crate) fn entry_location(slot: u32, entry: &IndexEntry) -> Location {
    Location {
        slot,
        position: (entry.offset / 8) as u32,
        length: entry.length,
        kind: entry.kind,
        encoding: entry.encoding,
    }
}
