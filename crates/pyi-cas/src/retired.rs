//! Segments that nobody appends to any more, and what becomes of them: they are sealed, with a sorted index beside them.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fork;
use crate::index;
use crate::segment::{HeaderState, SEGMENT_HEADER_BYTES, check_header, scan};
use crate::shared::Shared;
use crate::vfs::{VfsFile, write_whole};

/// A segment that nobody appends to any more, with its lock.
pub(crate) struct Retired {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn VfsFile>,
}

impl Retired {
    /// Removes unfinished indexes of sealers that died; the lock says that none of them lives. Best effort.
    fn remove_debris(&self, shared: &Shared) {
        let unfinished = format!("{:016x}.tmp-", self.number);
        for name in shared.vfs.list(&shared.directory).unwrap_or_default() {
            if name.starts_with(&unfinished) {
                let _ = shared.vfs.remove(&shared.directory.join(name));
            }
        }
    }

    /// Writes the sorted index. The segment and its name are flushed first: who sees an index takes the segment for durable. If it fails the
    /// segment stays unsealed and somebody else seals it. O(bytes), a few flushes.
    pub(crate) fn seal(self, shared: &Shared) -> Result<()> {
        let path = shared.segment_path(self.number);
        let failed = |operation| move |error| Error::storage(operation, shared.segment_path(self.number), error);
        // A fork need not wait for the flushes below, so no lock is taken there: it could be held in the child for ever.
        let segment = {
            let _gate = fork::enter_unless(&shared.awaits_sealing);
            shared.segment_numbered(self.number)
        };
        let header = check_header(
            self.file.as_ref(),
            self.number,
            &shared.store,
            &path.display().to_string(),
        )?;
        let result = scan(self.file.as_ref(), SEGMENT_HEADER_BYTES, u64::MAX).map_err(failed("read"))?;
        if segment.as_ref().is_some_and(|segment| shared.is_failed(segment)) {
            return Ok(());
        }
        let damaged = result.gaps.len() as u64 + u64::from(header == HeaderState::Damaged);
        if damaged == 0 && self.file.len().map_err(failed("read"))? > result.end {
            // What a writer left that died in its write, or filled ahead.
            self.file.set_len(result.end).map_err(failed("cut the torn tail of"))?;
        }
        if let Err(error) = self.file.sync_data() {
            if let Some(segment) = &segment {
                shared.note_failed(segment);
            }
            return Err(failed("flush")(error));
        }
        shared.flush_name(segment.as_deref())?;
        let index_path = shared.index_path(self.number);
        let bytes = index::encode_index(self.number, &result, damaged);
        self.remove_debris(shared);
        write_whole(shared.vfs.as_ref(), &index_path, &bytes, true)
            .map_err(|error| Error::storage("write", &index_path, error))?;
        let _gate = fork::enter_unless(&shared.awaits_sealing);
        if let Some(segment) = shared.adopt_into_table(self.number)? {
            for (offset, length) in &result.gaps {
                shared.report_damage(self.number, *offset, *length);
            }
            shared.map_index(&segment)?;
        }
        if let Some(control) = &shared.control {
            control.free_segment(self.number);
        }
        shared.announce_segments();
        Ok(())
    }
}
