//! Making good what a scrub found. A record whose content is known again is written where it stood, byte for byte as it was, if its segment's
//! index still says where that is; else it is appended as a new one. Everything derived is built again from the segment.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::fault::{Fault, Flaw, StoreFile};
use crate::file_store::{FileStore, sync_dir};
use crate::fork;
use crate::format::Format;
use crate::id::Id;
use crate::index::{SealedIndex, encode_index};
use crate::kind::Kind;
use crate::recent::Location;
use crate::record::{self, HEADER_BYTES, Header, PLAIN};
use crate::segment::{HeaderState, SEGMENT_HEADER_BYTES, Scan, check_header, encode_header, scan};
use crate::shared::{Segment, Shared};
use crate::store::ObjectStore;
use crate::vfs::{OpenMode, VfsFile, read_full, write_all, write_whole};

/// What became of an object that was put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutBack {
    /// A whole copy was there, nothing was written.
    Whole,
    /// The damaged record is as it was.
    InPlace,
    /// A new record holds it; the damaged one is still there, and is passed over.
    Appended,
}

impl FileStore {
    /// Writes an object again where its damaged record stands. `spots` are damaged places where it may have stood, if nothing else tells: one
    /// that has its length is filled. `None`: there is no such place, or somebody writes to that segment now. Call [`FileStore::look_again_at`]
    /// afterwards: a filled place of a sealed segment is not in its index before. Errors: `InvalidArgument` if the content does not have this id,
    /// `Storage`, `Closed`. O(length), a flush.
    pub fn put_in_place(&self, kind: Kind, id: &Id, content: &[u8], spots: &[&Fault]) -> Result<Option<PutBack>> {
        if kind.id_of(content) != *id {
            return Err(Error::invalid(format!(
                "content that does not have the id {id} of the {kind} to repair"
            )));
        }
        self.check_writable()?;
        let _gate = fork::enter();
        let whole = || matches!(self.shared.read_known(kind, id), Ok(Some(_)));
        if whole() && self.damaged_places(id).is_empty() && spots.is_empty() {
            return Ok(Some(PutBack::Whole));
        }
        let mut in_place = false;
        for place in self.damaged_places(id) {
            let fits = place.kind == kind as u8 && place.encoding == PLAIN && place.length as usize == content.len();
            in_place |= fits && self.write_in_place(&place, kind, id, content)?;
        }
        for spot in spots {
            // One is enough, and another object may need the next.
            if !in_place {
                in_place = self.fill(spot, kind, id, content)?;
            }
        }
        Ok(match whole() {
            true if in_place => Some(PutBack::InPlace),
            true => Some(PutBack::Whole),
            false => None,
        })
    }

    /// Stores an object again of which only damaged copies are left, or none: in its place if that can be, else as a new record. Errors: as
    /// [`FileStore::put_in_place`].
    pub fn put_back(&self, kind: Kind, id: &Id, content: &[u8], spots: &[&Fault]) -> Result<PutBack> {
        if let Some(done) = self.put_in_place(kind, id, content, spots)? {
            return Ok(done);
        }
        let mut batch = Batch::new();
        batch.put(kind, id, content)?;
        self.commit(&mut batch)?;
        Ok(PutBack::Appended)
    }

    /// What a record holds of which only the header is damaged: its kind, id and content. `None` if its payload does not prove it.
    pub fn salvage_at(&self, spot: &Fault) -> Option<(Kind, Id, Bytes)> {
        let _gate = fork::enter();
        let StoreFile::Segment(number) = spot.file else {
            return None;
        };
        let segment = self
            .shared
            .segment_numbered(number)
            .filter(|_| spot.flaw == Flaw::Record)?;
        let mut record = vec![0u8; usize::try_from(spot.length).ok()?];
        let read = read_full(segment.file.as_ref(), &mut record, spot.offset).ok()?;
        if read < record.len() || read < HEADER_BYTES {
            return None;
        }
        let header = Header::decode(&record);
        if header.record_bytes() != spot.length {
            return None;
        }
        let (kind, id) = record::proven(&record)?;
        let content = Bytes::from(record).slice(HEADER_BYTES..HEADER_BYTES + header.length as usize);
        Some((kind, id, content))
    }

    /// The content of a damaged object whose payload is whole: only the header of its record was hit. `None` if it is not so. One read for each
    /// copy that an index names, O(length).
    pub fn salvage(&self, kind: Kind, id: &Id) -> Option<Bytes> {
        let _gate = fork::enter();
        self.places(id)
            .into_iter()
            .filter(|place| place.encoding == PLAIN && place.kind == kind as u8)
            .find_map(|place| {
                let segment = self.shared.segment(place.slot)?;
                let mut payload = vec![0u8; place.length as usize];
                let at = place.offset() + HEADER_BYTES as u64;
                let read = read_full(segment.file.as_ref(), &mut payload, at).ok()?;
                (read == payload.len() && kind.id_of(&payload) == *id).then(|| Bytes::from(payload))
            })
    }

    /// Mends what needs no source: indexes from their segments, headers, bytes that must be zero, what stands behind the end of a sealed segment,
    /// the format file. Returns the faults that are mended. Errors: `Storage`, `Closed`. O(bytes of the segments whose index is built again).
    pub fn mend(&self, faults: &[Fault]) -> Result<Vec<Fault>> {
        self.check_writable()?;
        let _gate = fork::enter();
        let mut mended = Vec::new();
        for fault in faults {
            let done = match (fault.file, fault.flaw) {
                (StoreFile::Format, _) => self.rewrite_format()?,
                (StoreFile::Index(number), Flaw::Index | Flaw::NotZero) => self.rebuild_index(number)?,
                (StoreFile::Segment(number), Flaw::Header | Flaw::NotZero | Flaw::Garbage) => {
                    self.mend_segment(number, fault)?
                }
                (StoreFile::RefLog(_), Flaw::NotZero) => {
                    self.zero(&self.directory.join(fault.file.to_string()), fault)?
                }
                _ => false,
            };
            if done {
                mended.push(fault.clone());
            }
        }
        Ok(mended)
    }

    /// Looks again at the segments of these faults, and forgets the damage of those that are whole. Returns which of the faults are none any more:
    /// whole records stand there, or nothing does, as somebody took the segment over meanwhile without its damaged end. O(bytes of those segments).
    pub fn look_again_at(&self, faults: &[Fault]) -> Result<Vec<Fault>> {
        let _gate = fork::enter();
        // Somebody may have sealed a segment meanwhile, from what stood in it before it was repaired.
        self.shared.look_again(true)?;
        let mut numbers: Vec<u64> = faults
            .iter()
            .filter_map(|fault| match fault.file {
                StoreFile::Segment(number) | StoreFile::Index(number) => Some(number),
                _ => None,
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut whole = Vec::new();
        for number in numbers {
            let Some(segment) = self.shared.segment_numbered(number) else {
                continue;
            };
            let path = self.shared.segment_path(number);
            let found = scan(segment.file.as_ref(), SEGMENT_HEADER_BYTES, u64::MAX)
                .map_err(|error| Error::storage("read", &path, error))?;
            let head = check_header(
                segment.file.as_ref(),
                number,
                &self.shared.store,
                &path.display().to_string(),
            )?;
            self.shared.forget_damage(number);
            for (offset, length) in &found.gaps {
                self.shared.report_damage(number, *offset, *length);
            }
            if head == HeaderState::Damaged {
                self.shared.report_damage(number, 0, SEGMENT_HEADER_BYTES);
            }
            let whole_again = found.gaps.is_empty() && head == HeaderState::Good;
            if self.is_stale(&segment, &found, whole_again) {
                self.rebuild_index(number)?;
            }
            let length = segment
                .file
                .len()
                .map_err(|error| Error::storage("measure", &path, error))?;
            let is_mended = |fault: &&Fault| {
                // What is gone with the end of the file is damaged no more. (One that is too short is just that.)
                let end = match fault.flaw {
                    Flaw::Record | Flaw::Unreadable => length.min(fault.offset + fault.length),
                    _ => fault.offset + fault.length,
                };
                let records = matches!(fault.flaw, Flaw::Record | Flaw::Short | Flaw::Unreadable);
                let apart = found
                    .gaps
                    .iter()
                    .all(|(at, length)| end <= *at || at + length <= fault.offset);
                fault.file == StoreFile::Segment(number) && records && apart && end <= found.end
            };
            whole.extend(faults.iter().filter(is_mended).cloned());
        }
        Ok(whole)
    }

    /// Whether a segment has an index that leaves out records that stand in it now, or counts damage that is none any more.
    fn is_stale(&self, segment: &Segment, found: &Scan, whole_again: bool) -> bool {
        let path = self.shared.index_path(segment.number);
        let index = SealedIndex::open(self.shared.vfs.as_ref(), &path, segment.number, segment.slot);
        index.ok().flatten().is_some_and(|index| {
            whole_again && index.damaged_places > 0
                || found
                    .records
                    .iter()
                    .any(|record| index.lookup(&record.header.id).is_none())
        })
    }

    fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            let error = std::io::Error::from_raw_os_error(libc::EROFS);
            return Err(Error::storage("repair the read-only store", &self.directory, error));
        }
        Ok(())
    }

    /// Where records of the object stand, or should.
    fn places(&self, id: &Id) -> Vec<Location> {
        let mut places: Vec<Location> = self.shared.recent.get(id).into_iter().collect();
        places.extend(self.shared.sealed_copies(id).into_iter().flatten());
        places
    }

    fn damaged_places(&self, id: &Id) -> Vec<Location> {
        let mut places = self.places(id);
        places.retain(|place| self.shared.damaged.has(id, place.slot, place.offset()));
        places
    }

    /// Writes a record where one of its length was. `false` if it does not fit, or cannot be done.
    fn fill(&self, spot: &Fault, kind: Kind, id: &Id, content: &[u8]) -> Result<bool> {
        let (StoreFile::Segment(number), Flaw::Record) = (spot.file, spot.flaw) else {
            return Ok(false);
        };
        if record::padded((HEADER_BYTES + content.len()) as u64) != spot.length {
            return Ok(false);
        }
        let (Some(segment), Ok(length)) = (self.shared.segment_numbered(number), u32::try_from(content.len())) else {
            return Ok(false);
        };
        let place = Location {
            slot: segment.slot,
            position: (spot.offset / 8) as u32,
            length,
            kind: kind as u8,
            encoding: PLAIN,
        };
        let done = self.write_in_place(&place, kind, id, content)?;
        if done {
            // If a damaged copy was what is known, this one is better.
            self.shared.note(*id, place);
        }
        Ok(done)
    }

    /// Writes a record where it stood. `false` if somebody writes to the segment, or something whole stands there.
    fn write_in_place(&self, place: &Location, kind: Kind, id: &Id, content: &[u8]) -> Result<bool> {
        let Some(segment) = self.shared.segment(place.slot) else {
            return Ok(false);
        };
        let (number, offset) = (segment.number, place.offset());
        let Some((path, file)) = lock(&self.shared, number)? else {
            return Ok(false);
        };
        let failed = |operation| move |error| Error::storage(operation, self.shared.segment_path(number), error);
        let mut bytes = Vec::new();
        record::encode_into(&mut bytes, kind as u8, PLAIN, id, content, place.length);
        record::finish(&mut bytes, place.length, offset);
        let mut there = vec![0u8; bytes.len()];
        let read = read_full(file.as_ref(), &mut there, offset).map_err(failed("read"))?;
        if read == bytes.len() && there == bytes {
            self.shared.damaged.remove(id, place.slot, offset);
            return Ok(true);
        }
        if read >= HEADER_BYTES {
            let header = Header::decode(&there);
            // Another object, whole, where an index says that this one is: then the index is wrong.
            let length = usize::try_from(header.record_bytes()).unwrap_or(usize::MAX);
            let mut other = vec![0u8; length.min(1 << 20)];
            let read = read_full(file.as_ref(), &mut other, offset).map_err(failed("read"))?;
            other.truncate(read);
            if header.id != *id && record::is_whole(&other, &header, offset) {
                return Ok(false);
            }
        }
        write_all(file.as_ref(), &bytes, offset).map_err(|error| Error::storage("repair", &path, error))?;
        file.sync_data().map_err(failed("flush"))?;
        self.shared.damaged.remove(id, place.slot, offset);
        Ok(true)
    }

    fn rewrite_format(&self) -> Result<bool> {
        let path = self.directory.join("format");
        let created_ns = match Format::read(self.shared.vfs.as_ref(), &path) {
            Ok(Some(format)) => format.created_ns,
            _ => 0,
        };
        let format = Format {
            store: self.shared.store,
            created_ns,
        };
        write_whole(self.shared.vfs.as_ref(), &path, format.render().as_bytes(), true)
            .map_err(|error| Error::storage("write", &path, error))
    }

    /// Builds the index of a segment again. `false` if the segment is not there, or somebody writes to it.
    fn rebuild_index(&self, number: u64) -> Result<bool> {
        let Some((_, file)) = lock(&self.shared, number)? else {
            return Ok(false);
        };
        write_index(&self.shared, number, file.as_ref())?;
        if let Some(segment) = self.shared.adopt_into_table(number)? {
            self.shared.remap_index(&segment)?;
        }
        self.shared.announce_segments();
        Ok(true)
    }

    fn mend_segment(&self, number: u64, fault: &Fault) -> Result<bool> {
        let Some((path, file)) = lock(&self.shared, number)? else {
            return Ok(false);
        };
        let failed = |operation| move |error| Error::storage(operation, self.shared.segment_path(number), error);
        match fault.flaw {
            Flaw::Header => {
                // Its time is lost, which nothing relies on.
                let header = encode_header(number, &self.shared.store, self.shared.vfs.now_ns());
                write_all(file.as_ref(), &header, 0).map_err(failed("repair"))?;
            }
            Flaw::Garbage => file.set_len(fault.offset).map_err(failed("cut the end of"))?,
            _ if fault.offset < SEGMENT_HEADER_BYTES => return self.zero(&path, fault),
            _ => {
                let mut head = [0u8; HEADER_BYTES];
                let read = read_full(file.as_ref(), &mut head, fault.offset).map_err(failed("read"))?;
                let header = Header::decode(&head);
                let used = HEADER_BYTES as u64 + u64::from(header.length);
                if read < head.len() || header.record_bytes() != fault.length {
                    return Ok(false);
                }
                let zeros = vec![0u8; (fault.length - used) as usize];
                write_all(file.as_ref(), &zeros, fault.offset + used).map_err(failed("repair"))?;
            }
        }
        file.sync_data().map_err(failed("flush"))?;
        Ok(true)
    }

    /// Zeroes the bytes of a fault.
    fn zero(&self, path: &std::path::Path, fault: &Fault) -> Result<bool> {
        let file =
            (self.shared.vfs.open(path, OpenMode::ReadWrite)).map_err(|error| Error::storage("open", path, error))?;
        write_all(file.as_ref(), &vec![0u8; fault.length as usize], fault.offset)
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::storage("repair", path, error))?;
        Ok(true)
    }
}

/// Opens a segment to repair it, locked so that nobody adopts it; `None` if somebody writes to it, or it is gone.
fn lock(shared: &Shared, number: u64) -> Result<Option<(PathBuf, Arc<dyn VfsFile>)>> {
    let path = shared.segment_path(number);
    let file = match shared.vfs.open(&path, OpenMode::ReadWrite) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::storage("open", &path, error)),
    };
    let locked = file
        .try_lock_exclusive()
        .map_err(|error| Error::storage("lock", &path, error))?;
    Ok(locked.then_some((path, file)))
}

/// Writes the index of a segment as it stands, atomically; the segment and its name are flushed first.
pub(crate) fn write_index(shared: &Shared, number: u64, file: &dyn VfsFile) -> Result<()> {
    let path = shared.segment_path(number);
    let failed = |operation| move |error| Error::storage(operation, shared.segment_path(number), error);
    let found = scan(file, SEGMENT_HEADER_BYTES, u64::MAX).map_err(failed("read"))?;
    let head = check_header(file, number, &shared.store, &path.display().to_string())?;
    file.sync_data().map_err(failed("flush"))?;
    shared.flush_name(None)?;
    let damaged = found.gaps.len() as u64 + u64::from(head != HeaderState::Good);
    let index_path = shared.index_path(number);
    write_whole(
        shared.vfs.as_ref(),
        &index_path,
        &encode_index(number, &found, damaged),
        true,
    )
    .map_err(|error| Error::storage("write", &index_path, error))?;
    sync_dir(shared.vfs.as_ref(), &shared.directory)
}
