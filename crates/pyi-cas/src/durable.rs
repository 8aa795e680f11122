//! How much of each segment survives a loss of power, and what becomes of segments of which that cannot be told any more.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::shared::{Segment, Shared};

/// How long a segment is and how much of it is durable, as far as this process knows. Both only grow.
#[derive(Default)]
pub(crate) struct Marks {
    committed: AtomicU64,
    durable: AtomicU64,
    /// Its name survives a loss of power.
    pub(crate) named: AtomicBool,
    /// A flush failed: what it should have written may be lost, whatever later flushes say.
    pub(crate) failed: AtomicBool,
}

impl Marks {
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    pub(crate) fn raise_committed(&self, length: u64) {
        self.committed.fetch_max(length, Ordering::AcqRel);
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn raise_durable(&self, length: u64) {
        self.durable.fetch_max(length, Ordering::AcqRel);
    }
}

impl Segment {
    /// Makes what is committed durable, and the segment's name before anybody hears of that, if it is not known to be. Errors: `Storage`; the segment counts
    /// as failed from then on, and no flush of it is believed any more. Two flushes at most.
    pub(crate) fn flush(&self, shared: &Shared) -> Result<()> {
        let committed = self.marks.committed();
        let failed = |error| Error::storage("flush", shared.segment_path(self.number), error);
        if shared.is_failed(self) {
            return Err(failed(io::Error::from_raw_os_error(libc::EIO)));
        }
        if shared.durable_length(self) >= committed {
            return Ok(());
        }
        if let Err(error) = self.file.sync_data() {
            shared.note_failed(self);
            return Err(failed(error));
        }
        // Before anybody is told: whoever flushes may die in between, and what has no name is lost with the power.
        if let Err(error) = shared.flush_name(Some(self)) {
            shared.note_failed(self);
            return Err(error);
        }
        self.marks.raise_durable(committed);
        if let Some(control) = &shared.control {
            control.note_durable(self.number, committed, shared.boot_tag);
        }
        Ok(())
    }
}

impl Shared {
    /// The places that a ref depends on if it names something that this process stored or has seen: what is committed and not known to be
    /// durable. O(unsealed segments).
    pub(crate) fn dependencies(&self) -> Vec<(u64, u64)> {
        let table = self.table.read();
        let places = table.unsealed.iter().filter_map(|segment| {
            let (committed, durable) = (segment.marks.committed(), segment.marks.durable());
            (committed > durable).then_some((segment.number, committed))
        });
        places.collect()
    }

    /// Makes the name of a segment durable, if it may not be; of one that is not in the table, if `None`. Takes no lock. Errors: `Storage`. One
    /// flush or none.
    pub(crate) fn flush_name(&self, segment: Option<&Segment>) -> Result<()> {
        if segment.is_some_and(|segment| segment.marks.named.load(Ordering::Acquire)) {
            return Ok(());
        }
        self.vfs
            .sync_dir(&self.directory)
            .map_err(|error| Error::storage("flush", &self.directory, error))?;
        if let Some(segment) = segment {
            segment.marks.named.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Removes an unsealed segment whose lock is held here, after all of it was copied elsewhere. Best effort: a copy more does no harm.
    pub(crate) fn remove(&self, segment: &Segment) {
        if let Some(control) = &self.control {
            control.free_segment(segment.number);
        }
        let _ = self.vfs.remove(&self.segment_path(segment.number));
        self.forget(segment);
        self.damage.lock().remove(&segment.number);
        self.announce_segments();
    }

    /// Notes that a flush of a segment failed, for all processes.
    pub(crate) fn note_failed(&self, segment: &Segment) {
        segment.marks.failed.store(true, Ordering::Release);
        if let Some(control) = &self.control {
            control.note_failed(segment.number, self.boot_tag);
        }
    }

    /// Whether a flush of a segment failed, here or in another process.
    pub(crate) fn is_failed(&self, segment: &Segment) -> bool {
        segment.marks.failed.load(Ordering::Acquire)
            || self
                .control
                .as_ref()
                .is_some_and(|control| control.is_failed(segment.number, self.boot_tag))
    }

    /// Takes a segment that was removed out of the table of those that are appended to.
    pub(crate) fn forget(&self, segment: &Segment) {
        let mut table = self.table.write();
        table.unsealed.retain(|open| open.number != segment.number);
        table.by_number.remove(&segment.number);
    }

    /// How far a segment is durable, as far as anybody here knows.
    pub(crate) fn durable_length(&self, segment: &Segment) -> u64 {
        let known = self
            .control
            .as_ref()
            .map_or(0, |control| control.durable_length(segment.number, self.boot_tag));
        segment.marks.raise_durable(known);
        segment.marks.durable()
    }

    /// Whether a place that refs depend on needs no flush any more. A segment that is gone was copied elsewhere before it was removed.
    pub(crate) fn is_durable(&self, number: u64, offset: u64) -> Result<bool> {
        if offset == 0 {
            return Ok(true);
        }
        if let Some(segment) = self.segment_numbered(number) {
            let sealed = segment.tail.lock().sealed;
            return Ok(sealed || self.durable_length(&segment) >= offset);
        }
        let path = self.segment_path(number);
        let there = self
            .vfs
            .exists(&path)
            .map_err(|error| Error::storage("look for", &path, error))?;
        Ok(!there)
    }

    /// Whether everything in a segment before an offset stands there, after a loss of power. Errors: `Storage`.
    pub(crate) fn is_whole(&self, number: u64, offset: u64) -> bool {
        if offset == 0 {
            return true;
        }
        let Some(segment) = self.segment_numbered(number) else {
            return false;
        };
        // A sealed one was flushed; what is damaged there decayed, and that is reported and not undone.
        if segment.tail.lock().sealed {
            return true;
        }
        let first_gap = self
            .damage()
            .iter()
            .filter(|place| place.number == number)
            .map(|place| place.offset)
            .min();
        let whole = segment.tail.lock().scanned.min(first_gap.unwrap_or(u64::MAX));
        whole >= offset
    }
}
