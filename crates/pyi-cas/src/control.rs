//! The control file: memory that all processes of a store share. It tells a reader whether anything happened since it last
//! looked, so that a miss costs two loads instead of a directory listing. It is a hint: nothing is concluded from
//! it but that work can be skipped, and a store without it is read by scanning.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::reflog::log_position;
use crate::vfs::{OpenMode, SharedWords, Vfs, write_all, write_whole};

const SLOTS: usize = 1024;
const WORDS_PER_SLOT: usize = 8;
const SLOTS_AT: usize = 8;
/// Size of the file.
const CONTROL_BYTES: usize = 64 + SLOTS * 64;

const MAGIC: u64 = u64::from_le_bytes(*b"PYICTL1\n");
const VERSION_AND_SLOTS: u64 = 1 | (SLOTS as u64) << 32;

const DATA_GENERATION: usize = 2;
const SEGMENT_GENERATION: usize = 3;
const REF_GENERATION: usize = 4;
const OVERFLOW: usize = 5;
const REFS_DURABLE: usize = 6;
const REF_END: usize = 7;

/// The mapped control file.
pub(crate) struct Control {
    words: Arc<dyn SharedWords>,
    writable: bool,
}

impl Control {
    /// Maps the file; creates it if it is missing and `writable`. `None` if there is none and none can be made, as
    /// in a read-only directory. Errors: `UnsupportedFormat`, `Storage`.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, writable: bool) -> Result<Option<Control>> {
        let failed = |error| Error::storage("open", path, error);
        let mut created = false;
        loop {
            let mode = if writable { OpenMode::ReadWrite } else { OpenMode::Read };
            match vfs.open(path, mode) {
                Ok(file) => return Control::from_file(file.as_ref(), path, writable),
                Err(error) if error.kind() == io::ErrorKind::NotFound && writable && !created => {
                    created = true;
                    match write_whole(vfs, path, &fresh(), false) {
                        Ok(_) => {}
                        Err(error) if is_readonly(&error) => return Ok(None),
                        Err(error) => return Err(Error::storage("create", path, error)),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) if is_readonly(&error) && writable => return Control::open(vfs, path, false),
                Err(error) if is_readonly(&error) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn from_file(file: &dyn crate::vfs::VfsFile, path: &Path, writable: bool) -> Result<Option<Control>> {
        let failed = |error| Error::storage("map", path, error);
        if file.len().map_err(failed)? < CONTROL_BYTES as u64 {
            if !writable {
                return Ok(None);
            }
            // Cut short by a power loss. All bytes are written, not only the size set: a store into a hole of a
            // full disk would be a SIGBUS.
            write_all(file, &fresh(), 0).map_err(failed)?;
        }
        let control = Control {
            words: file.map_shared(CONTROL_BYTES).map_err(failed)?,
            writable,
        };
        let words = control.words.words();
        let (magic, version) = (words[0].load(Ordering::Acquire), words[1].load(Ordering::Acquire));
        if magic == MAGIC && version == VERSION_AND_SLOTS {
            return Ok(Some(control));
        }
        if magic == MAGIC && version & 0xffff_ffff > 1 {
            let found = format!("control file version {} in {}", version & 0xffff_ffff, path.display());
            return Err(Error::UnsupportedFormat { found });
        }
        if !writable {
            return Ok(None);
        }
        // Damaged: start over in place, so that all who have it mapped see the same. Everybody looks again.
        for slot in 0..SLOTS {
            control.free(slot);
        }
        words[1].store(VERSION_AND_SLOTS, Ordering::Release);
        words[0].store(MAGIC, Ordering::Release);
        control.bump_data();
        control.bump_segments();
        control.bump_refs();
        Ok(Some(control))
    }

    /// Whether this process can tell others what it does.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words.words()[at]
    }

    pub(crate) fn data_generation(&self) -> u64 {
        self.word(DATA_GENERATION).load(Ordering::Acquire)
    }

    pub(crate) fn segment_generation(&self) -> u64 {
        self.word(SEGMENT_GENERATION).load(Ordering::Acquire)
    }

    pub(crate) fn ref_generation(&self) -> u64 {
        self.word(REF_GENERATION).load(Ordering::Acquire)
    }

    /// Where the ref log ended when its last writer looked: log number << 32 | offset; 0 if nobody has said so.
    pub(crate) fn ref_end(&self) -> u64 {
        self.word(REF_END).load(Ordering::Acquire)
    }

    /// Says where the ref log ends, so that a scrub sees when its end went missing.
    pub(crate) fn set_ref_end(&self, position: u64) {
        if self.writable {
            self.word(REF_END).store(position, Ordering::Release);
        }
    }

    /// Moves the generation after a commit; returns what it was.
    pub(crate) fn bump_data(&self) -> u64 {
        self.bump(DATA_GENERATION)
    }

    pub(crate) fn bump_segments(&self) -> u64 {
        self.bump(SEGMENT_GENERATION)
    }

    pub(crate) fn bump_refs(&self) -> u64 {
        self.bump(REF_GENERATION)
    }

    fn bump(&self, at: usize) -> u64 {
        if self.writable {
            self.word(at).fetch_add(1, Ordering::AcqRel)
        } else {
            self.word(at).load(Ordering::Acquire)
        }
    }

    fn number(&self, slot: usize) -> &AtomicU64 {
        self.word(SLOTS_AT + slot * WORDS_PER_SLOT)
    }

    fn committed(&self, slot: usize) -> &AtomicU64 {
        self.word(SLOTS_AT + slot * WORDS_PER_SLOT + 1)
    }

    /// The used slots: segment number, committed length. A length of 0 means that it is not known yet.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..SLOTS).filter_map(|slot| {
            let number = self.number(slot).load(Ordering::Acquire);
            (number != 0).then(|| (number, self.committed(slot).load(Ordering::Acquire)))
        })
    }

    /// The committed length of a segment, if a slot tells.
    pub(crate) fn committed_length(&self, segment: u64) -> Option<u64> {
        self.slots()
            .find_map(|(number, committed)| (number == segment && committed != 0).then_some(committed))
    }

    /// Takes a slot for a segment (the one it has already, if its last writer died); `None` if all are taken.
    pub(crate) fn take(&self, segment: u64, committed: u64) -> Option<usize> {
        if !self.writable {
            return None;
        }
        let kept = (0..SLOTS).find(|slot| self.number(*slot).load(Ordering::Acquire) == segment);
        let taken = kept.or_else(|| {
            (0..SLOTS).find(|slot| {
                let number = self.number(*slot);
                number.load(Ordering::Relaxed) == 0
                    && number
                        .compare_exchange(0, segment, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
            })
        });
        match taken {
            Some(slot) => self.publish(slot, committed),
            None => {
                self.word(OVERFLOW).fetch_add(1, Ordering::AcqRel);
            }
        }
        taken
    }

    /// Tells readers how far a segment is written.
    pub(crate) fn publish(&self, slot: usize, committed: u64) {
        self.committed(slot).store(committed, Ordering::Release);
    }

    /// Notes how far a segment is durable. `boot` says since which start of the system that is known.
    pub(crate) fn note_durable(&self, segment: u64, length: u64, boot: u64) {
        if !self.writable {
            return;
        }
        let Some(slot) = (0..SLOTS).find(|slot| self.number(*slot).load(Ordering::Acquire) == segment) else {
            return;
        };
        let (mark, known) = (self.durable(slot), self.durable_boot(slot));
        if known.load(Ordering::Acquire) != boot {
            // The length first: a mark is only believed together with this boot's tag.
            mark.store(0, Ordering::Release);
            known.store(boot, Ordering::Release);
        }
        mark.fetch_max(length, Ordering::AcqRel);
        // The slot may have gone to another segment meanwhile, of which nothing is known.
        if self.number(slot).load(Ordering::Acquire) != segment {
            mark.store(0, Ordering::Release);
        }
    }

    /// Notes that a flush of a segment failed in this start of the system, so that no process believes a later one.
    pub(crate) fn note_failed(&self, segment: u64, boot: u64) {
        if self.writable {
            for slot in (0..SLOTS).filter(|slot| self.number(*slot).load(Ordering::Acquire) == segment) {
                self.failed(slot).store(boot, Ordering::Release);
            }
        }
    }

    /// Whether a flush of a segment failed, in any process.
    pub(crate) fn is_failed(&self, segment: u64, boot: u64) -> bool {
        (0..SLOTS).any(|slot| {
            self.failed(slot).load(Ordering::Acquire) == boot && self.number(slot).load(Ordering::Acquire) == segment
        })
    }

    fn failed(&self, slot: usize) -> &AtomicU64 {
        self.word(SLOTS_AT + slot * WORDS_PER_SLOT + 4)
    }

    /// Notes up to which place (log number, offset) the refs are durable.
    pub(crate) fn note_refs_durable(&self, number: u64, offset: u64) {
        if self.writable {
            self.word(REFS_DURABLE)
                .fetch_max(log_position(number, offset), Ordering::AcqRel);
        }
    }

    /// Up to which place the refs were known to be durable in any start of the system; zeros if that is not known.
    pub(crate) fn refs_durable(&self) -> (u64, u64) {
        let place = self.word(REFS_DURABLE).load(Ordering::Acquire);
        (place >> 32, place & 0xffff_ffff)
    }

    /// How far a segment was known to be durable in any start of the system; 0 if that is not known.
    pub(crate) fn last_durable_length(&self, segment: u64) -> u64 {
        (0..SLOTS)
            .find(|slot| self.number(*slot).load(Ordering::Acquire) == segment)
            .map_or(0, |slot| self.durable(slot).load(Ordering::Acquire))
    }

    /// How far a segment is known to be durable; 0 if nothing is known.
    pub(crate) fn durable_length(&self, segment: u64, boot: u64) -> u64 {
        let slot = (0..SLOTS).find(|slot| self.number(*slot).load(Ordering::Acquire) == segment);
        match slot {
            Some(slot) if self.durable_boot(slot).load(Ordering::Acquire) == boot => {
                self.durable(slot).load(Ordering::Acquire)
            }
            _ => 0,
        }
    }

    fn durable(&self, slot: usize) -> &AtomicU64 {
        self.word(SLOTS_AT + slot * WORDS_PER_SLOT + 2)
    }

    fn durable_boot(&self, slot: usize) -> &AtomicU64 {
        self.word(SLOTS_AT + slot * WORDS_PER_SLOT + 3)
    }

    fn free(&self, slot: usize) {
        self.durable(slot).store(0, Ordering::Release);
        self.failed(slot).store(0, Ordering::Release);
        // The length first: who sees the number with no length scans to the end and misses nothing.
        self.committed(slot).store(0, Ordering::Release);
        self.number(slot).store(0, Ordering::Release);
    }

    /// Frees the slot of a segment that is sealed or gone.
    pub(crate) fn free_segment(&self, segment: u64) {
        if self.writable {
            for slot in (0..SLOTS).filter(|slot| self.number(*slot).load(Ordering::Acquire) == segment) {
                self.free(slot);
            }
        }
    }
}

/// Whether an error means that this place cannot be written, whatever is tried.
pub(crate) fn is_readonly(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn fresh() -> Vec<u8> {
    let mut bytes = vec![0u8; CONTROL_BYTES];
    bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..16].copy_from_slice(&VERSION_AND_SLOTS.to_le_bytes());
    bytes
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
