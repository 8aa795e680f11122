//! What one open store knows of its segments: the table of open ones, the recent and the sealed indexes, and how they
//! follow what other processes do. Used by the store itself, by its writer and by the thread that seals.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::control::Control;
use crate::damaged::DamagedRecords;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::{IndexEntry, SealedIndex, index_name};
use crate::kind::Kind;
use crate::recent::{Location, Recent};
use crate::record::{HEADER_BYTES, Header, PLAIN, is_whole};
use crate::segment::{
    Damage, DamagedFile, HeaderState, SEGMENT_HEADER_BYTES, check_header, number_in_name, scan, segment_name,
};
use crate::vfs::{OpenMode, Vfs, VfsFile, read_full};

/// A segment as this process sees it. Readers hold the `Arc`, never a bare offset.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) slot: u32,
    /// Read-only handle of its own: the writer's handle is closed in the child of a fork.
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) tail: Mutex<Tail>,
}

/// How far a segment is known.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tail {
    /// Everything before it is indexed.
    pub(crate) scanned: u64,
    /// It has a sealed index.
    pub(crate) sealed: bool,
    /// This store appends to it, so there is nothing to scan.
    pub(crate) own: bool,
}

#[derive(Default)]
struct Table {
    segments: Vec<Arc<Segment>>,
    by_number: HashMap<u64, u32>,
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
    table: RwLock<Table>,
    sealed: RwLock<Arc<Vec<Arc<SealedIndex>>>>,
    damage: Mutex<BTreeMap<u64, Vec<Damage>>>,
    refreshing: Mutex<()>,
    seen: Seen,
    /// The store is being closed and waits for the thread that seals.
    pub(crate) awaits_sealing: AtomicBool,
}

impl Shared {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, directory: PathBuf, store: [u8; 16], control: Option<Arc<Control>>) -> Shared {
        Shared {
            vfs,
            directory,
            store,
            control,
            recent: Recent::new(),
            damaged: DamagedRecords::default(),
            table: RwLock::default(),
            sealed: RwLock::default(),
            damage: Mutex::default(),
            refreshing: Mutex::default(),
            seen: Seen::default(),
            awaits_sealing: AtomicBool::new(false),
        }
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_name(number))
    }

    pub(crate) fn index_path(&self, number: u64) -> PathBuf {
        self.directory.join(index_name(number))
    }

    pub(crate) fn segment(&self, slot: u32) -> Option<Arc<Segment>> {
        self.table.read().segments.get(slot as usize).cloned()
    }

    pub(crate) fn segment_numbered(&self, number: u64) -> Option<Arc<Segment>> {
        let table = self.table.read();
        table
            .by_number
            .get(&number)
            .and_then(|slot| table.segments.get(*slot as usize))
            .cloned()
    }

    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.table.read().segments.clone()
    }

    pub(crate) fn sealed_indexes(&self) -> Arc<Vec<Arc<SealedIndex>>> {
        Arc::clone(&self.sealed.read())
    }

    /// Remembers damage; what is known of the segment already is kept once.
    pub(crate) fn report_damage(&self, segment: u64, offset: u64, length: u64) {
        let mut damage = self.damage.lock();
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
        let indexes = Arc::make_mut(&mut sealed);
        indexes.retain(|known| known.slot != segment.slot);
        indexes.push(Arc::new(index));
        Ok(true)
    }

    /// Numbers in the directory: of segments and of indexes.
    pub(crate) fn list(&self) -> Result<(Vec<u64>, Vec<u64>)> {
        let names = match self.vfs.list(&self.directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::storage("list", &self.directory, error)),
        };
        let mut segments: Vec<u64> = names.iter().filter_map(|name| number_in_name(name, "seg")).collect();
        segments.sort_unstable();
        Ok((
            segments,
            names.iter().filter_map(|name| number_in_name(name, "idx")).collect(),
        ))
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
        let mut table = self.table.write();
        if let Some(slot) = table.by_number.get(&number) {
            return Ok(table.segments.get(*slot as usize).cloned());
        }
        let slot = table.segments.len() as u32;
        let segment = Arc::new(Segment {
            number,
            slot,
            file,
            tail: Mutex::default(),
        });
        table.segments.push(Arc::clone(&segment));
        table.by_number.insert(number, slot);
        Ok(Some(segment))
    }

    /// Looks at everything that is new on disk.
    pub(crate) fn look(&self) -> Result<()> {
        let (numbers, indexed) = self.list()?;
        for number in numbers {
            let Some(segment) = self.adopt_into_table(number)? else {
                continue;
            };
            let sealed = segment.tail.lock().sealed;
            if !sealed && indexed.contains(&number) && !self.map_index(&segment)? {
                // The index does not check: it is derived, so the segment is read instead.
                self.scan_tail(&segment)?;
            }
        }
        Ok(())
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
        let length = segment
            .file
            .len()
            .map_err(|e| Error::storage("read", self.segment_path(segment.number), e))?;
        if length < index.segment_bytes {
            self.report_damage(segment.number, length, index.segment_bytes - length);
        }
        if index.damaged_places > 0 && !self.has_damage(segment.number) {
            // The index only counts them; the scan tells where they are.
            self.scan_tail(segment)?;
        }
        let mut tail = segment.tail.lock();
        if !tail.sealed {
            tail.sealed = true;
            tail.own = false;
            tail.scanned = index.segment_bytes;
            let mut sealed = self.sealed.write();
            Arc::make_mut(&mut sealed).push(Arc::new(index));
        }
        drop(tail);
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
        // A slot can be older than the file (power was lost), so a segment without a living writer is read to its end.
        let committed = self.committed_length(segment.number);
        let bound = match committed {
            Some(committed) if !first || file.is_locked().map_err(failed)? => committed,
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
            self.note(found.header.id, location(segment.slot, found.offset, &found.header));
        }
        tail.scanned = tail.scanned.max(result.end.min(bound));
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

    /// Looks at other writers' tails, and at the directory first if segments came or went.
    pub(crate) fn look_again(&self, list: bool) -> Result<()> {
        // Read before the look: what happens during it is looked at next time.
        let generations = self.generations();
        if list {
            self.look()?;
        }
        for segment in self.segments() {
            self.scan_tail(&segment)?;
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

    /// Indexes a record of an unsealed segment; a whole one takes the place of a damaged one. O(1).
    pub(crate) fn note(&self, id: Id, location: Location) {
        if self.damaged.is_empty() {
            return self.recent.insert(id, location);
        }
        match self.recent.get(&id) {
            Some(known) if self.damaged.has(&id, known.slot, known.offset()) => self.recent.replace(id, location),
            _ => self.recent.insert(id, location),
        }
    }

    /// Whether this process knows the object, and not only of damaged copies of it. O(segments).
    pub(crate) fn knows(&self, id: &Id) -> bool {
        self.recent
            .get(id)
            .is_some_and(|found| !self.damaged.has(id, found.slot, found.offset()))
            || self.sealed_indexes().iter().rev().any(|index| {
                index
                    .lookup(id)
                    .is_some_and(|entry| !self.damaged.has(id, index.slot, entry.offset))
            })
    }

    /// The content of a known object: the first copy that is whole. `None` if none is known; an error if all are damaged.
    pub(crate) fn read_known(&self, kind: Kind, id: &Id) -> Result<Option<Bytes>> {
        let mut failure = None;
        if let Some(location) = self.recent.get(id) {
            if location.kind != kind as u8 {
                return Ok(None);
            }
            match self.read(kind, id, &location) {
                Ok(content) => return Ok(Some(content)),
                Err(error) => failure = Some(error),
            }
        }
        // After the look at the recent ones: a segment that is being sealed is in the sealed list before it leaves them.
        for index in self.sealed_indexes().iter().rev() {
            let Some(entry) = index.lookup(id) else { continue };
            if entry.kind != kind as u8 {
                continue;
            }
            match self.read(kind, id, &entry_location(index.slot, &entry)) {
                Ok(content) => return Ok(Some(content)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let Some(failure) = failure else { return Ok(None) };
        // An index knows one place for each object; another copy in the same segment, or of another writer, may still be whole.
        match self.find_copy(kind, id)? {
            Some(content) => Ok(Some(content)),
            None => Err(failure),
        }
    }

    /// Looks for a whole copy of an object in all unsealed segments, and remembers it. O(bytes in them): only for objects found
    /// damaged.
    fn find_copy(&self, kind: Kind, id: &Id) -> Result<Option<Bytes>> {
        for segment in self.segments() {
            let tail = *segment.tail.lock();
            if tail.sealed {
                continue;
            }
            // This store's own tail is not scanned on the way, so its end is known to the writer alone; whole records are
            // whole wherever they stand.
            let to = if tail.own { u64::MAX } else { tail.scanned };
            let failed = |error| Error::storage("read", self.segment_path(segment.number), error);
            let found = scan(segment.file.as_ref(), SEGMENT_HEADER_BYTES, to).map_err(failed)?;
            for record in found.records.iter().filter(|record| record.header.id == *id) {
                let place = location(segment.slot, record.offset, &record.header);
                if let Ok(content) = self.read(kind, id, &place) {
                    // The next look finds it at once.
                    self.recent.replace(*id, place);
                    return Ok(Some(content));
                }
            }
        }
        Ok(None)
    }

    /// Reads one record and checks all of it: checksum, place, id and the hash of its content. One read, O(length).
    fn read(&self, kind: Kind, id: &Id, location: &Location) -> Result<Bytes> {
        let segment = self
            .segment(location.slot)
            .ok_or_else(|| Error::corrupt(format!("the index entry of {kind} {id}"), "memory"))?;
        let offset = location.offset();
        let mut record = vec![0u8; HEADER_BYTES + location.length as usize];
        let n = read_full(segment.file.as_ref(), &mut record, offset)
            .map_err(|error| Error::storage("read", self.segment_path(segment.number), error))?;
        let damaged = || {
            self.report_damage(segment.number, offset, record.len() as u64);
            self.damaged.add(id, location.slot, offset);
            let place = format!("{} offset {offset}", self.segment_path(segment.number).display());
            Error::corrupt(format!("{kind} {id}"), place)
        };
        if n < record.len() {
            return Err(damaged());
        }
        let header = Header::decode(&record);
        if header.length != location.length || header.id != *id || !is_whole(&record, &header, offset) {
            return Err(damaged());
        }
        if header.encoding != PLAIN || header.domain != 0 {
            let found = format!("encoding {}, domain {} of {kind} {id}", header.encoding, header.domain);
            return Err(Error::UnsupportedFormat { found });
        }
        if kind.id_of(&record[HEADER_BYTES..]) != *id {
            return Err(damaged());
        }
        // Somebody repaired it in its place.
        self.damaged.remove(id, location.slot, offset);
        Ok(Bytes::from(record).slice(HEADER_BYTES..))
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
