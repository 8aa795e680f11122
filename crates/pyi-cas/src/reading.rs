//! Reading one object: which copies of it there are, and whether one of them is whole.

use std::io;

use bytes::Bytes;

use crate::decode::{Chain, Failure};
use crate::encoding::DELTA;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::kind::Kind;
use crate::recent::Location;
use crate::record::{HEADER_BYTES, Header, is_whole};
use crate::segment::{SEGMENT_HEADER_BYTES, scan};
use crate::shared::{Shared, location};
use crate::vfs::read_full;

impl Shared {
    /// The content of a known object: the first copy that is whole. `None` if none is known; an error if all are damaged.
    pub(crate) fn read_known(&self, kind: Kind, id: &Id) -> Result<Option<Bytes>> {
        self.read_known_within(kind, id, &mut Chain::new())
    }

    /// As [`Shared::read_known`], on the way to another object.
    pub(crate) fn read_known_within(&self, kind: Kind, id: &Id, chain: &mut Chain) -> Result<Option<Bytes>> {
        // What was asked for is always read, so that damage on the disk is seen; bases need not be.
        if chain.depth > 0
            && let Some(content) = self.bases.get(id)
        {
            return Ok(Some(content));
        }
        let mut failure = None;
        if let Some(location) = self.recent.get(id) {
            if location.kind != kind as u8 {
                return Ok(None);
            }
            match self.read(kind, id, &location, chain) {
                Ok(Some(content)) => return Ok(Some(content)),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        // After the look at the recent ones: a segment that is being sealed is in the sealed list before it leaves them.
        for location in self.sealed_copies(id)? {
            if location.kind != kind as u8 {
                continue;
            }
            match self.read(kind, id, &location, chain) {
                Ok(Some(content)) => return Ok(Some(content)),
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let Some(failure) = failure else { return Ok(None) };
        // An index knows one place for each object; another copy in the same segment, or of another writer, may still be whole.
        match self.find_copy(kind, id, chain)? {
            Some(content) => Ok(Some(content)),
            None => Err(failure),
        }
    }

    /// Looks for a whole copy of an object in all unsealed segments, and remembers it. O(bytes in them): only for objects found
    /// damaged.
    fn find_copy(&self, kind: Kind, id: &Id, chain: &mut Chain) -> Result<Option<Bytes>> {
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
                if let Ok(Some(content)) = self.read(kind, id, &place, chain) {
                    // The next look finds it at once.
                    self.recent.replace(*id, place);
                    return Ok(Some(content));
                }
            }
        }
        Ok(None)
    }

    /// Reads one record and checks all of it: checksum, place, id and the hash of its content. `None` if its segment was removed
    /// meanwhile; what lived in it is elsewhere. One read, O(length), and as much for each object that its content is made from.
    fn read(&self, kind: Kind, id: &Id, location: &Location, chain: &mut Chain) -> Result<Option<Bytes>> {
        let Some(segment) = self.segment(location.slot) else {
            return Ok(None);
        };
        let offset = location.offset();
        let mut record = vec![0u8; HEADER_BYTES + location.length as usize];
        let n = match read_full(segment.file.as_ref(), &mut record, offset) {
            Ok(n) => n,
            // Removed before it was opened here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::storage("read", self.segment_path(segment.number), error)),
        };
        let length = record.len();
        let place = || format!("{} offset {offset}", self.segment_path(segment.number).display());
        let damaged = || {
            self.report_damage(segment.number, offset, length as u64);
            self.damaged.add(id, location.slot, offset);
            Error::corrupt(format!("{kind} {id}"), place())
        };
        if n < length {
            return Err(damaged());
        }
        let header = Header::decode(&record);
        if header.length != location.length || header.id != *id || !is_whole(&record, &header, offset) {
            return Err(damaged());
        }
        if !chain.step() {
            let what = format!("{kind} {id}, in a chain of deltas that does not end,");
            return Err(Error::corrupt(what, place()));
        }
        let content = match self.decode(kind, &header, record, &place, chain) {
            Ok(content) => content,
            Err(Failure::Damaged) => return Err(damaged()),
            Err(Failure::Gone) => return Ok(None),
            Err(Failure::Other(error)) => return Err(error),
        };
        if kind.id_of(&content) != *id {
            return Err(damaged());
        }
        if header.encoding == DELTA {
            // The next older version is likely to be a delta on this one.
            self.bases.insert(id, content.clone());
        }
        // Somebody repaired it in its place.
        self.damaged.remove(id, location.slot, offset);
        Ok(Some(content))
    }
}
