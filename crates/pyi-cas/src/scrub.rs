//! Scrub: reads everything that the store holds, in the order of the files, and says what is damaged. It changes nothing; what can be
//! made good again is the business of [`crate::heal`].

pub(crate) mod logs;
pub(crate) mod reader;
pub(crate) mod segment;

use std::io;

use crate::error::{Error, Result};
use crate::fault::{Fault, Flaw, StoreFile};
use crate::file_store::FileStore;
use crate::fork;
use crate::format::Format;
use crate::id::{Id, IdMap, IdSet};
use crate::index::SealedIndex;
use crate::kind::Kind;
use crate::recent::Location;
use crate::record::Header;
use crate::scrub::reader::Pace;
use crate::scrub::segment::{Decoded, Pass};
use crate::segment::{Found, HeaderState, SEGMENT_HEADER_BYTES, check_header};
use crate::shared::{Listing, Segment, location};
use crate::survey::references;
use crate::vfs::{OpenMode, read_full};

/// How a scrub is done.
#[derive(Clone, Copy, Default)]
pub struct ScrubOptions<'a> {
    /// Read no faster than this; `None`: as fast as the disk.
    pub bytes_per_second: Option<u64>,
    /// Called after each piece with the bytes read so far and their likely sum; `false` ends the scrub with an error
    /// (`Storage`, interrupted).
    pub progress: Option<&'a (dyn Fn(u64, u64) -> bool + Sync)>,
}

/// What a scrub found.
#[derive(Clone, Default, Debug)]
pub struct Scrubbed {
    /// Whole records.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damaged places.
    pub faults: Vec<Fault>,
    /// Objects that have a damaged copy and no whole one.
    pub damaged: Vec<(Id, Kind)>,
    /// Objects that have a damaged copy and a whole one too.
    pub healed: Vec<(Id, Kind)>,
    /// What records whose checksum is wrong say that they are, where nothing else says it. An id may be what is damaged, so these count
    /// only if somebody misses them (or if nobody could, as with checkpoints).
    pub claimed: Vec<(Id, Kind)>,
    /// Indexes without their segment, and what they name: a loss if somebody misses it, else what a collection that was killed left.
    pub orphans: Vec<Orphan>,
    /// Every checkpoint that has a whole record.
    pub checkpoints: Vec<Id>,
}

/// An index without its segment: the segment's number, and what was in it.
pub type Orphan = (u64, Vec<(Id, Kind)>);

/// How far a segment goes, and what is known of it.
struct Extent {
    /// Read to here.
    end: u64,
    sealed: bool,
    /// Bytes of the file.
    length: u64,
}

impl Listing {
    /// Segments of which only an index is there. That of the highest number stays when a collector removes the segment, so that the number
    /// is not used again; it is none of them.
    pub(crate) fn orphans(&self) -> Vec<u64> {
        let highest = self.segments.iter().chain(&self.indexed).chain(&self.merged).max();
        let alone = self
            .indexed
            .iter()
            .filter(|number| self.segments.binary_search(number).is_err());
        let mut orphans: Vec<u64> = alone.filter(|number| Some(*number) != highest).copied().collect();
        orphans.sort_unstable();
        orphans
    }
}

impl FileStore {
    /// Reads and checks every segment, index, ref log and the format file, beside readers and writers: checksums, places, contents against
    /// ids, what must be zero, indexes against segments. Writes nothing. Errors: `Storage` (but for sectors that cannot be read, which are
    /// reported), `UnsupportedFormat`, `Closed`. O(bytes), one hash an object; memory: the largest object, and 48 bytes for each object of one
    /// segment.
    pub fn scrub(&self, options: &ScrubOptions<'_>) -> Result<Scrubbed> {
        self.check_open()?;
        {
            let _gate = fork::enter();
            self.shared.refresh_since(self.shared.seen())?;
        }
        let mut pace = Pace::new(options.bytes_per_second, options.progress);
        // A delta whose base is only in memory would pass for whole.
        self.shared.bases.clear();
        let mut scrubbed = Scrubbed::default();
        let mut suspects = Suspects::default();
        scrubbed.faults.extend(self.check_format()?);
        // Before the log is read: what is appended meanwhile only makes it longer.
        let seen = self.shared.control.as_ref().map_or(0, |control| control.ref_end());
        let refs = self.directory.join("refs");
        let vfs = self.shared.vfs.as_ref();
        let mut logs = logs::pass(vfs, &refs, &self.shared.store, false, &mut pace)?;
        logs::check_end(&mut logs, seen);
        scrubbed.faults.append(&mut logs.faults);
        let segments = {
            let _gate = fork::enter();
            self.shared.segments()
        };
        for segment in &segments {
            pace.total_bytes += segment.file.len().unwrap_or(0);
        }
        pace.total_bytes += pace.done_bytes;
        for segment in &segments {
            self.check_open()?;
            let need = logs.needs.get(&segment.number).copied().unwrap_or(0);
            let result = self.scrub_segment(segment, need, &mut pace, &mut scrubbed, &mut suspects);
            if result.as_ref().is_err_and(Error::is_missing_file) && self.is_gone(segment.number)? {
                // A collection has removed it since the list was made; what lived in it was copied before.
                continue;
            }
            result?;
        }
        scrubbed.orphans = self.orphans()?;
        self.judge(suspects, &mut scrubbed)?;
        scrubbed.bytes = pace.done_bytes;
        Ok(scrubbed)
    }

    fn is_gone(&self, number: u64) -> Result<bool> {
        let path = self.shared.segment_path(number);
        let there = self.shared.vfs.exists(&path);
        Ok(!there.map_err(|error| Error::storage("look for", &path, error))?)
    }

    pub(crate) fn check_format(&self) -> Result<Option<Fault>> {
        let path = self.directory.join("format");
        let mut bytes = vec![0u8; 64 * 1024];
        let read =
            (self.shared.vfs.open(&path, OpenMode::Read)).and_then(|file| read_full(file.as_ref(), &mut bytes, 0));
        let sound = match read {
            Ok(length) => Format::is_sound(&bytes[..length]),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::storage("read", &path, error)),
        };
        Ok((!sound).then(|| Fault::at(StoreFile::Format, 0, 0, Flaw::Header)))
    }

    fn extent(&self, segment: &Segment) -> Result<Extent> {
        let _gate = fork::enter();
        let length = segment
            .file
            .len()
            .map_err(|error| Error::storage("read", self.shared.segment_path(segment.number), error))?;
        if segment.tail.lock().sealed {
            return Ok(Extent {
                end: length,
                sealed: true,
                length,
            });
        }
        let own = self.own_end(segment.number);
        let committed = || self.shared.committed_length(segment.number);
        let end = match own {
            Some(end) => end,
            // Of a living writer only what it calls committed.
            None if segment.file.is_locked().unwrap_or(false) => committed().unwrap_or(length),
            None => length,
        };
        Ok(Extent {
            end,
            sealed: false,
            length,
        })
    }

    fn scrub_segment(
        &self,
        segment: &Segment,
        need: u64,
        pace: &mut Pace<'_>,
        scrubbed: &mut Scrubbed,
        suspects: &mut Suspects,
    ) -> Result<()> {
        let number = segment.number;
        let name = StoreFile::Segment(number);
        let path = self.shared.segment_path(number);
        let failed = |error| Error::storage("read", &path, error);
        // What is indexed now is in the file now.
        let recent = {
            let _gate = fork::enter();
            self.shared.recent.of_segment(segment.slot)
        };
        let extent = self.extent(segment)?;
        segment.file.forget_cached();
        let head = check_header(
            segment.file.as_ref(),
            number,
            &self.shared.store,
            &path.display().to_string(),
        )?;
        let mut bytes = [0u8; SEGMENT_HEADER_BYTES as usize];
        let read = read_full(segment.file.as_ref(), &mut bytes, 0).map_err(failed)?;
        match head {
            HeaderState::Good if bytes[52..read] != [0; 12] => {
                scrubbed.faults.push(Fault::at(name, 52, 12, Flaw::NotZero));
            }
            HeaderState::Good => {}
            HeaderState::Unborn if recent.is_empty() && !extent.sealed && need <= SEGMENT_HEADER_BYTES => return Ok(()),
            HeaderState::Unborn | HeaderState::Damaged => {
                scrubbed
                    .faults
                    .push(Fault::at(name, 0, SEGMENT_HEADER_BYTES, Flaw::Header));
            }
        }
        let decode = |header: &Header, payload: &[u8]| self.decoded(header, payload);
        let mut pass = segment::pass(segment.file.as_ref(), number, extent.end, pace, &decode).map_err(failed)?;
        scrubbed.objects += pass.records.len() as u64;
        let index = self.index_of(segment, &extent, &mut pass, scrubbed)?;
        self.check_tail(segment, &extent, index.as_ref(), need, &mut pass);
        let named: Vec<(Id, Location)> = match &index {
            Some(index) => (0..index.len())
                .map(|at| index.entry(at))
                .map(|entry| (entry.id, crate::shared::entry_location(segment.slot, &entry)))
                .collect(),
            None => recent,
        };
        suspects.compare(segment.slot, &named, &pass);
        let _gate = fork::enter();
        for (id, place) in named.iter().filter(|(id, place)| suspects.is_bad(id, place)) {
            self.shared.damaged.add(id, segment.slot, place.offset());
            // What the index says counts for more than what a damaged header says.
            let hit = pass.faults.iter_mut().find(|fault| {
                fault.offset == place.offset()
                    || fault.id.is_none()
                        && (fault.offset..fault.offset + fault.length.max(1)).contains(&place.offset())
            });
            if let Some(fault) = hit {
                fault.id = Some(*id);
            }
        }
        let checkpoints = pass
            .records
            .iter()
            .filter(|found| found.header.kind == Kind::Checkpoint as u8);
        scrubbed.checkpoints.extend(checkpoints.map(|found| found.header.id));
        scrubbed.faults.append(&mut pass.faults);
        Ok(())
    }

    /// What a record that is not plain comes to.
    fn decoded(&self, header: &Header, payload: &[u8]) -> Decoded {
        let Some(kind) = Kind::from_number(header.kind) else {
            return Decoded::Unreadable;
        };
        // The store's own way of reading knows the encodings and what they rest on.
        let _gate = fork::enter();
        match self.shared.read_known(kind, &header.id) {
            Ok(Some(content)) => Decoded::Content(content.to_vec()),
            _ => {
                let parts = references(header.kind, header.encoding, payload);
                let gone = |part: &Id| self.shared.places(part).is_ok_and(|places| places.is_empty());
                if parts.iter().any(gone) {
                    Decoded::Left
                } else {
                    Decoded::Unreadable
                }
            }
        }
    }

    /// The index of a sealed segment, read again and held against the segment; a fault if it is not good.
    fn index_of(
        &self,
        segment: &Segment,
        extent: &Extent,
        pass: &mut Pass,
        scrubbed: &mut Scrubbed,
    ) -> Result<Option<SealedIndex>> {
        let name = StoreFile::Index(segment.number);
        let path = self.shared.index_path(segment.number);
        let there = self
            .shared
            .vfs
            .exists(&path)
            .map_err(|error| Error::storage("look for", &path, error))?;
        if !there {
            if extent.sealed
                && self
                    .shared
                    .vfs
                    .exists(&self.shared.segment_path(segment.number))
                    .unwrap_or(true)
            {
                scrubbed.faults.push(Fault::at(name, 0, 0, Flaw::Missing));
            }
            return Ok(None);
        }
        let opened = SealedIndex::open(self.shared.vfs.as_ref(), &path, segment.number, segment.slot)?;
        let Some(index) = opened else {
            scrubbed.faults.push(Fault::at(name, 0, 0, Flaw::Index));
            return Ok(None);
        };
        if !index.reserved_is_zero() {
            scrubbed.faults.push(Fault::at(name, 56, 8, Flaw::NotZero));
        }
        // An index that was made of other bytes than these: it names another object where a whole record stands, or leaves one out.
        let ids: IdSet = pass.records.iter().map(|found| found.header.id).collect();
        let unlisted = ids.iter().any(|id| index.lookup(id).is_none());
        if unlisted || pass.end > index.segment_bytes {
            scrubbed.faults.push(Fault::at(name, 0, 0, Flaw::Index));
        }
        Ok(Some(index))
    }

    /// What stands, or should stand, behind the last whole record.
    fn check_tail(&self, segment: &Segment, extent: &Extent, index: Option<&SealedIndex>, need: u64, pass: &mut Pass) {
        let name = StoreFile::Segment(segment.number);
        let must = index.map_or(need, |index| index.segment_bytes);
        if pass.end < must {
            let flaw = if extent.length < must {
                Flaw::Short
            } else {
                Flaw::Record
            };
            pass.faults.push(Fault::at(name, pass.end, must - pass.end, flaw));
        } else if let Some(torn) = pass.torn
            && extent.sealed
        {
            // Of an unsealed one it is what a writer leaves that dies in a write.
            pass.faults
                .push(Fault::at(name, torn, extent.length.saturating_sub(torn), Flaw::Garbage));
        }
    }

    /// Indexes whose segment is not there.
    fn orphans(&self) -> Result<Vec<Orphan>> {
        let mut orphans = Vec::new();
        for number in self.shared.list()?.orphans() {
            let path = self.shared.index_path(number);
            match SealedIndex::open(self.shared.vfs.as_ref(), &path, number, 0) {
                Ok(Some(index)) => {
                    let entries = (0..index.len()).map(|at| index.entry(at));
                    let ids = entries.filter_map(|entry| Some((entry.id, Kind::from_number(entry.kind)?)));
                    orphans.push((number, ids.collect()));
                }
                Ok(None) => orphans.push((number, Vec::new())),
                Err(Error::Storage { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(orphans)
    }

    /// Tells objects that are lost from those of which another copy is whole.
    fn judge(&self, suspects: Suspects, scrubbed: &mut Scrubbed) -> Result<()> {
        let Suspects { bad, extra, claimed } = suspects;
        let known: IdMap<Location> = extra.into_iter().filter(|(id, _)| bad.contains_key(id)).collect();
        for (id, (kind, _)) in &bad {
            let Some(kind) = Kind::from_number(*kind) else { continue };
            let _gate = fork::enter();
            // A whole copy that the index does not know of: a second one in the same segment.
            if let Some(place) = known.get(id) {
                self.shared.recent.replace(*id, *place);
            }
            let list = match self.shared.read_known(kind, id) {
                Ok(Some(_)) => &mut scrubbed.healed,
                Ok(None) | Err(Error::Corrupt { .. }) => &mut scrubbed.damaged,
                Err(Error::Storage { source, .. }) if source.raw_os_error() == Some(libc::EIO) => &mut scrubbed.damaged,
                Err(error) => return Err(error),
            };
            list.push((*id, kind));
        }
        for (id, kind) in claimed {
            let Some(kind) = Kind::from_number(kind).filter(|_| !bad.contains_key(&id)) else {
                continue;
            };
            let _gate = fork::enter();
            match self.shared.read_known(kind, &id) {
                Ok(Some(_)) => scrubbed.healed.push((id, kind)),
                _ => scrubbed.claimed.push((id, kind)),
            }
        }
        for list in [&mut scrubbed.damaged, &mut scrubbed.healed, &mut scrubbed.claimed] {
            list.sort_unstable();
            list.dedup();
        }
        scrubbed.checkpoints.sort_unstable();
        scrubbed.checkpoints.dedup();
        Ok(())
    }
}

/// What may be lost, gathered over the segments.
#[derive(Default)]
struct Suspects {
    /// Objects with a damaged copy: kind, and the places of the copies.
    bad: IdMap<(u8, Vec<Location>)>,
    /// Whole records that no index names in this place.
    extra: Vec<(Id, Location)>,
    claimed: Vec<(Id, u8)>,
}

impl Suspects {
    fn is_bad(&self, id: &Id, place: &Location) -> bool {
        self.bad.get(id).is_some_and(|(_, places)| places.contains(place))
    }

    /// Holds what should be in a segment against what was found. O(n log n).
    fn compare(&mut self, slot: u32, named: &[(Id, Location)], pass: &Pass) {
        let whole = |offset: u64| -> Option<&Found> {
            let at = pass.records.binary_search_by_key(&offset, |found| found.offset).ok()?;
            pass.records.get(at)
        };
        let mut listed = std::collections::HashSet::with_capacity(named.len());
        for (id, place) in named {
            let found = whole(place.offset());
            if found.is_some_and(|found| found.header.id == *id && found.header.length == place.length) {
                listed.insert(place.offset());
            } else {
                let (_, places) = self.bad.entry(*id).or_insert((place.kind, Vec::new()));
                places.push(*place);
            }
        }
        for fault in pass.faults.iter().filter(|fault| fault.flaw == Flaw::Content) {
            if let Some(id) = fault.id
                && named.iter().all(|(known, _)| *known != id)
            {
                self.claimed.push((id, Kind::Blob as u8));
            }
        }
        let extra = pass.records.iter().filter(|found| !listed.contains(&found.offset));
        self.extra
            .extend(extra.map(|found| (found.header.id, location(slot, found.offset, &found.header))));
        self.claimed
            .extend(pass.claimed.iter().map(|found| (found.header.id, found.header.kind)));
    }
}
