//! The quick check of a store's structure: what an opener relies on, without reading the objects.

use crate::error::{Error, Result};
use crate::fault::{Fault, Flaw, StoreFile};
use crate::file_store::FileStore;
use crate::fork;
use crate::index::SealedIndex;
use crate::scrub::logs;
use crate::scrub::reader::Pace;
use crate::segment::{HeaderState, check_header};
use crate::shared::Segment;
use crate::store::ObjectStore;

impl FileStore {
    /// Checks the format file, the newest ref log and the headers of the others, every segment's header and end, every index, and what is known
    /// of unsealed segments. (An index without its segment is none: collections leave them.) Errors: `Storage`, `UnsupportedFormat`, `Closed`. O(bytes of indexes
    /// and of the newest log).
    pub fn check(&self) -> Result<Vec<Fault>> {
        let _gate = fork::enter();
        self.check_open()?;
        let mut faults = Vec::new();
        faults.extend(self.check_format()?);
        let seen = self.shared.control.as_ref().map_or(0, |control| control.ref_end());
        let vfs = self.shared.vfs.as_ref();
        let refs = self.directory.join("refs");
        let mut logs = logs::pass(vfs, &refs, &self.shared.store, true, &mut Pace::new(None, None))?;
        logs::check_end(&mut logs, seen);
        faults.append(&mut logs.faults);
        // Brings the table up to date.
        self.stats()?;
        for segment in self.shared.segments() {
            let need = logs.needs.get(&segment.number).copied().unwrap_or(0);
            self.check_segment(&segment, need, &mut faults)?;
        }
        let places = self.shared.damage();
        for place in places {
            let known = faults
                .iter()
                .any(|fault| fault.file == StoreFile::Segment(place.number) && fault.offset == place.offset);
            if !known {
                let name = StoreFile::Segment(place.number);
                faults.push(Fault::at(name, place.offset, place.length, Flaw::Record));
            }
        }
        Ok(faults)
    }

    fn check_segment(&self, segment: &Segment, need: u64, faults: &mut Vec<Fault>) -> Result<()> {
        let _gate = fork::enter();
        let number = segment.number;
        let path = self.shared.segment_path(number);
        let name = StoreFile::Segment(number);
        let length = segment
            .file
            .len()
            .map_err(|error| Error::storage("read", &path, error))?;
        let head = check_header(
            segment.file.as_ref(),
            number,
            &self.shared.store,
            &path.display().to_string(),
        )?;
        if head == HeaderState::Damaged {
            faults.push(Fault::at(name, 0, 64, Flaw::Header));
        }
        let tail = *segment.tail.lock();
        let index_path = self.shared.index_path(number);
        let vfs = self.shared.vfs.as_ref();
        let indexed = vfs
            .exists(&index_path)
            .map_err(|error| Error::storage("look for", &index_path, error))?;
        let must = if indexed {
            match SealedIndex::open(vfs, &index_path, number, segment.slot)? {
                Some(index) => index.segment_bytes,
                None => {
                    faults.push(Fault::at(StoreFile::Index(number), 0, 0, Flaw::Index));
                    need
                }
            }
        } else {
            need
        };
        let end = if tail.sealed {
            length
        } else {
            self.own_end(number).unwrap_or(tail.scanned)
        };
        if end < must {
            faults.push(Fault::at(name, end, must - end, Flaw::Short));
        }
        Ok(())
    }
}
