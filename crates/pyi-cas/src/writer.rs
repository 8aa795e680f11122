//! The writing side: which segment this process appends to, and what becomes of it. A segment is taken at the first
//! commit (a dead writer's if there is one, so that they do not pile up) and sealed when it is full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::pages::{Order, Pages};
use crate::recent::Location;
use crate::record::SEGMENT_MAX_BYTES;
use crate::retired::Retired;
use crate::segment::{HeaderState, SEGMENT_HEADER_BYTES, check_header, encode_header, scan};
use crate::shared::{Segment, Shared};
use crate::store::Committed;
use crate::vfs::{OpenMode, VfsFile, WriteMap, write_all};

/// The segment that this store appends to.
pub(crate) struct Writer {
    pub(crate) segment: Arc<Segment>,
    /// Holds the lock.
    file: Arc<dyn VfsFile>,
    /// Where the next batch goes.
    end: u64,
    /// Up to here the file is filled with zeros that are durable.
    ahead: u64,
    /// Up to here there are pages in the system's cache.
    cached: u64,
    /// Those pages.
    map: Option<Box<dyn WriteMap>>,
    /// Where further ones come from.
    pages: Arc<Pages>,
    /// Somebody was asked for them.
    ordered: bool,
    /// Where this writer began.
    begin: u64,
    /// Records before it.
    records: u64,
    /// Slot in the control file; `None` if there was none left.
    slot: Option<usize>,
    /// Process generation in which the lock was taken.
    pub(crate) generation: u64,
}

impl Writer {
    /// Takes a segment with room for `bytes`: adopts the first free one that is whole and has it, else creates one. Further
    /// free ones that are worth an index of their own are returned to be sealed; small ones stay for other writers to adopt,
    /// or every generation of writers that dies would leave its small segments behind. O(bytes of the free tails).
    pub(crate) fn take(shared: &Shared, bytes: u64, limit_bytes: u64) -> Result<(Writer, Vec<Retired>)> {
        let listing = shared.list()?;
        let mut retired = Vec::new();
        let (mut taken, mut left) = (None, 0);
        for number in listing
            .segments
            .iter()
            .filter(|number| !listing.indexed.contains(number))
        {
            let need = Need {
                bytes,
                limit_bytes,
                writer: taken.is_none(),
                seal_small: left >= SMALL_LEFT,
            };
            match Writer::adopt(shared, *number, &need) {
                Ok(Adoption::Writer(writer)) => taken = Some(writer),
                Ok(Adoption::Retired(segment)) => retired.push(segment),
                Ok(Adoption::Left) => left += 1,
                // A segment that cannot be taken over is no reason not to write: the next one will do.
                Ok(Adoption::None) | Err(Error::Storage { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let writer = match taken {
            Some(writer) => writer,
            None => Writer::create(shared)?,
        };
        Ok((writer, retired))
    }

    /// All segments that have no writer and no good index, to be sealed. What cannot be opened is left. O(bytes of their tails).
    pub(crate) fn retire_free(shared: &Shared) -> Result<Vec<Retired>> {
        let listing = shared.list()?;
        let mut retired = Vec::new();
        for number in listing.segments {
            let adopted = if listing.indexed.contains(&number) {
                Writer::retire_unindexed(shared, number)
            } else {
                let need = Need {
                    bytes: 0,
                    limit_bytes: 0,
                    writer: false,
                    seal_small: true,
                };
                Writer::adopt(shared, number, &need)
            };
            match adopted {
                Ok(Adoption::Retired(segment)) => retired.push(segment),
                Ok(_) | Err(Error::Storage { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(retired)
    }

    /// A sealed segment whose index does not check: it gets a new one.
    fn retire_unindexed(shared: &Shared, number: u64) -> Result<Adoption> {
        let known = shared.segment_numbered(number);
        if known.is_none_or(|segment| segment.tail.lock().sealed) {
            return Ok(Adoption::None);
        }
        let path = shared.segment_path(number);
        let failed = |error| Error::storage("open", &path, error);
        let file = shared.vfs.open(&path, OpenMode::ReadWrite).map_err(failed)?;
        if file.try_lock_exclusive().map_err(failed)? {
            Ok(Adoption::Retired(Retired { number, file }))
        } else {
            Ok(Adoption::None)
        }
    }

    /// Whether anything was written to this segment, by whomever.
    pub(crate) fn holds_records(&self) -> bool {
        self.end > SEGMENT_HEADER_BYTES
    }

    fn adopt(shared: &Shared, number: u64, need: &Need) -> Result<Adoption> {
        let path = shared.segment_path(number);
        let failed = |operation| move |error| Error::storage(operation, shared.segment_path(number), error);
        let file = shared.vfs.open(&path, OpenMode::ReadWrite).map_err(failed("open"))?;
        if !file.try_lock_exclusive().map_err(failed("lock"))? {
            return Ok(Adoption::None);
        }
        // Sealed, or removed, between the listing and the lock?
        let sealed = shared
            .vfs
            .exists(&shared.index_path(number))
            .map_err(failed("look for the index of"))?;
        if sealed || !shared.vfs.exists(&path).map_err(failed("look for"))? {
            return Ok(Adoption::None);
        }
        match check_header(file.as_ref(), number, &shared.store, &path.display().to_string())? {
            HeaderState::Good => {}
            HeaderState::Damaged => return Ok(Adoption::Retired(Retired { number, file })),
            HeaderState::Unborn if !need.writer => return Ok(Adoption::Left),
            HeaderState::Unborn => return Writer::begin(shared, number, file).map(Adoption::Writer),
        }
        let Some(segment) = shared.adopt_into_table(number)? else {
            return Ok(Adoption::None);
        };
        if shared.is_failed(&segment) {
            // What is in it has to go elsewhere, which the next flush sees to; it is neither written to nor sealed.
            return Ok(Adoption::Left);
        }
        let mut tail = segment.tail.lock();
        let known = tail.scanned.max(SEGMENT_HEADER_BYTES);
        let result = scan(file.as_ref(), known, u64::MAX).map_err(failed("read"))?;
        let damaged = !result.gaps.is_empty() || shared.has_damage(number);
        let records = tail.records + result.records.len() as u64;
        let full = records >= RECORDS_MAX || !has_room(result.end, need.bytes, need.limit_bytes);
        if damaged || !need.writer || full {
            drop(tail);
            let small = result.end < need.limit_bytes / SMALL_PART && records < RECORDS_MAX && !need.seal_small;
            return Ok(if small && !damaged {
                Adoption::Left
            } else {
                Adoption::Retired(Retired { number, file })
            });
        }
        if result.end != file.len().map_err(failed("read"))? {
            file.set_len(result.end).map_err(failed("cut the torn tail of"))?;
        }
        for found in &result.records {
            shared.note(
                found.header.id,
                crate::shared::location(segment.slot, found.offset, &found.header),
            );
        }
        tail.scanned = result.end;
        tail.records = records;
        tail.own = true;
        drop(tail);
        Ok(Adoption::Writer(Writer::ready(
            shared, segment, file, result.end, records,
        )))
    }

    /// Makes a segment. A number with an index and no segment (its name was lost with the power) is not used again: the index is not of
    /// what would be written there. The same holds for what a merged index covers, and for what refs have ever depended on: they must not
    /// take what is written here for what a loss of power took.
    pub(crate) fn create(shared: &Shared) -> Result<Writer> {
        let mut number = shared.list()?.next_number(shared);
        loop {
            let path = shared.segment_path(number);
            match shared.vfs.open(&path, OpenMode::CreateNew) {
                // Somebody may adopt it before it is locked here, and may even be done with it; then the next number is tried.
                Ok(file) => {
                    let locked = file
                        .try_lock_exclusive()
                        .map_err(|error| Error::storage("lock", &path, error))?;
                    let place = path.display().to_string();
                    if locked && check_header(file.as_ref(), number, &shared.store, &place)? == HeaderState::Unborn {
                        return Writer::begin(shared, number, file);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::storage("create", &path, error)),
            }
            number += 1;
        }
    }

    /// Writes the header of a new segment that is locked.
    fn begin(shared: &Shared, number: u64, file: Arc<dyn VfsFile>) -> Result<Writer> {
        let path = shared.segment_path(number);
        let header = encode_header(number, &shared.store, shared.vfs.now_ns());
        if let Some(control) = &shared.control {
            // What a slot still says of this number is of a segment that a loss of power took.
            control.free_segment(number);
        }
        // An unborn segment is no longer than a header, so this covers whatever stands there.
        write_all(file.as_ref(), &header, 0).map_err(|error| Error::storage("begin", &path, error))?;
        let missing = || Error::storage("open", &path, io::ErrorKind::NotFound.into());
        let segment = shared.adopt_into_table(number)?.ok_or_else(missing)?;
        {
            let mut tail = segment.tail.lock();
            tail.scanned = SEGMENT_HEADER_BYTES;
            tail.own = true;
        }
        Ok(Writer::ready(shared, segment, file, SEGMENT_HEADER_BYTES, 0))
    }

    fn ready(shared: &Shared, segment: Arc<Segment>, file: Arc<dyn VfsFile>, end: u64, records: u64) -> Writer {
        let slot = shared
            .control
            .as_ref()
            .and_then(|control| control.take(segment.number, end));
        shared.announce_segments();
        segment.marks.raise_committed(end);
        Writer {
            segment,
            pages: Pages::new(Arc::clone(&file), shared.page_ahead_bytes, end),
            file,
            end,
            ahead: end,
            cached: end,
            map: None,
            ordered: false,
            begin: end,
            records,
            slot,
            generation: shared.vfs.process_generation(),
        }
    }

    /// Where the next batch goes. O(1).
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether a batch of so many bytes still goes into this segment. A larger one than the limit stands alone.
    pub(crate) fn has_room(&self, bytes: u64, limit_bytes: u64) -> bool {
        self.records < RECORDS_MAX && has_room(self.end, bytes, limit_bytes)
    }

    /// Appends a batch. On an error nothing of it is indexed; `Failure::keep` says whether the writer may go on.
    pub(crate) fn append(&mut self, shared: &Shared, batch: &mut Batch) -> std::result::Result<Committed, Failure> {
        let bytes = batch.finish(self.end);
        let size = bytes.len() as u64;
        self.fill_ahead(shared, size);
        self.ready_pages(size);
        let put = self.map.as_ref().map_or(Ok(0), |map| map.put(bytes, self.end));
        let written = put.and_then(|put| write_all(self.file.as_ref(), &bytes[put..], self.end + put as u64));
        if let Err(error) = written {
            // The next batch goes to the same place. Torn bytes behind it must not be taken for records, so they are cut;
            // where that fails, or where readers know no bound (no slot) and may have read them already, the segment
            // is left as it is: what is whole in it stays valid for whoever adopts it.
            self.forget_pages();
            let keep = self.slot.is_some() && self.file.set_len(self.end).is_ok();
            return Err(Failure {
                error: Error::storage("write", shared.segment_path(self.segment.number), error),
                keep,
            });
        }
        for entry in batch.entries() {
            let location = Location {
                slot: self.segment.slot,
                position: ((self.end + entry.at) / 8) as u32,
                length: entry.length,
                kind: entry.kind as u8,
                encoding: entry.encoding,
            };
            shared.note(entry.id, location);
        }
        let records = batch.len() as u64;
        Ok(self.committed(shared, size, records))
    }

    /// Tells everybody that the segment is longer.
    fn committed(&mut self, shared: &Shared, size: u64, records: u64) -> Committed {
        self.end += size;
        self.records += records;
        self.segment.marks.raise_committed(self.end);
        if let (Some(slot), Some(control)) = (self.slot, &shared.control) {
            control.publish(slot, self.end);
        }
        shared.announce_commit();
        Committed {
            segment: self.segment.number,
            offset_end: self.end,
        }
    }

    /// Appends so many records that were finished for this place. On an error the writer must not be used any more. One write.
    pub(crate) fn append_raw(&mut self, shared: &Shared, bytes: &[u8], records: u64) -> Result<()> {
        self.pages.lock().claim(self.end + bytes.len() as u64);
        write_all(self.file.as_ref(), bytes, self.end)
            .map_err(|error| Error::storage("write", shared.segment_path(self.segment.number), error))?;
        self.committed(shared, bytes.len() as u64, records);
        Ok(())
    }

    /// Makes the segment and its name durable. Errors: `Storage`; the segment counts as failed then. Two flushes.
    pub(crate) fn flush(&self, shared: &Shared) -> Result<()> {
        self.segment.flush(shared)
    }

    /// Removes the segment after all of it was copied elsewhere; the lock goes last.
    pub(crate) fn abandon(self, shared: &Shared) {
        shared.remove(&self.segment);
    }

    /// Fills the file with zeros ahead of the end, flushed, so that later flushes find the blocks allocated and write no metadata. Where
    /// it fails (the disk is full) the batch tells.
    fn fill_ahead(&mut self, shared: &Shared, size: u64) {
        let step = shared.write_ahead_bytes.load(Ordering::Relaxed);
        let (from, need) = (self.ahead.max(self.end), self.end + size);
        if step == 0 || need <= self.ahead {
            return;
        }
        let mut filled = self.pages.lock();
        // A young segment may stay small.
        let step = step.min(from.next_power_of_two()).max(WRITE_AHEAD_MIN_BYTES);
        let to = need + step;
        let zeros = vec![0u8; ((to - from) as usize).min(1 << 20)];
        let mut at = from;
        while at < to {
            let part = &zeros[..((to - at) as usize).min(zeros.len())];
            if write_all(self.file.as_ref(), part, at).is_err() {
                return;
            }
            at += part.len() as u64;
        }
        filled.claim(to);
        match self.file.sync_data() {
            Ok(()) => self.ahead = to,
            Err(_) => shared.note_failed(&self.segment),
        }
    }

    /// Sees that the next batch finds pages, or that nobody fills the place where it goes. Only writers that have written as much already get
    /// pages, so that a store that sees a change now and then stays small.
    fn ready_pages(&mut self, size: u64) {
        let (step, need) = (self.pages.step(), self.end + size);
        if need <= self.cached.max(self.ahead) {
            return;
        }
        let mut filled = self.pages.lock();
        self.map = None;
        // Without a slot nothing tells readers where the records end.
        let busy = need >= self.begin + step && size < step.min(SMALL_BATCH_BYTES) && self.slot.is_some();
        let pages = if busy {
            self.pages.take(&mut filled, self.end, need)
        } else {
            None
        };
        match pages {
            Some((to, map)) => (self.cached, self.map, self.ordered) = (to, map, false),
            None => filled.claim(need),
        }
    }

    /// Pages that whoever appended should fill once it has let go of the writer, so that those who come next need not wait.
    pub(crate) fn order(&mut self) -> Option<Order> {
        let left = self.cached.checked_sub(self.end)?;
        if self.ordered || left > self.pages.step() / 2 || self.map.is_none() {
            return None;
        }
        self.ordered = true;
        Some(self.pages.order(self.end, self.cached))
    }

    /// What was filled ahead is no longer counted on.
    fn forget_pages(&mut self) {
        self.map = None;
        (self.ahead, self.cached) = (self.end, self.end);
        self.pages.lock().cut(self.end);
    }

    /// Cuts off what was filled ahead. Best effort: zeros behind the last record say nothing.
    fn end_pages(&mut self) {
        let filled_to = self.pages.lock().end();
        if filled_to > self.end {
            self.forget_pages();
            let _ = self.file.set_len(self.end);
        }
    }

    /// Gives the segment back, so that others see it as any other writer's; it can be adopted again.
    pub(crate) fn release(mut self) {
        self.end_pages();
        let mut tail = self.segment.tail.lock();
        tail.own = false;
        tail.scanned = tail.scanned.max(self.end);
        tail.records = self.records;
    }

    /// Ends the writing to this segment; the lock stays until it is sealed.
    pub(crate) fn retire(self) -> Retired {
        let retired = Retired {
            number: self.segment.number,
            file: Arc::clone(&self.file),
        };
        self.release();
        retired
    }
}

/// Pages are filled ahead for smaller batches than this: a large one is better written once, not twice.
const SMALL_BATCH_BYTES: u64 = 32 << 10;
/// The least that a segment is filled ahead.
const WRITE_AHEAD_MIN_BYTES: u64 = 256 << 10;
/// A segment with so many records is full, however small they are: until it is sealed, every process that has the store open keeps
/// them in memory of its own, and opening reads them one by one. The batch that passes the number still goes in.
pub(crate) const RECORDS_MAX: u64 = 100_000;
/// A free segment below this part of the limit is left for another writer instead of being sealed, as long as there are few.
const SMALL_PART: u64 = 4;
/// More free small segments than this are sealed all the same: every opener has to scan what has no index.
const SMALL_LEFT: usize = 16;

fn has_room(end: u64, bytes: u64, limit_bytes: u64) -> bool {
    let after = end + bytes;
    after <= SEGMENT_MAX_BYTES && (after <= limit_bytes || end <= SEGMENT_HEADER_BYTES)
}

/// What a writer that takes a segment is after.
struct Need {
    /// Room for so many bytes.
    bytes: u64,
    limit_bytes: u64,
    /// Whether it still looks for a segment to write to.
    writer: bool,
    /// Whether small segments are sealed too.
    seal_small: bool,
}

/// A failed append.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the segment can be used further.
    pub(crate) keep: bool,
}

enum Adoption {
    Writer(Writer),
    Retired(Retired),
    /// Free, and left so.
    Left,
    /// Somebody else's.
    None,
}
