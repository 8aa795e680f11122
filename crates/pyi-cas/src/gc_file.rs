//! The file `gc`: memory in which the one collector of a store tells all processes how far it is. Its lock (byte 0) says who
//! the collector is. Nothing in it outlives a collection that matters: a damaged or short one is started over.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::error::{Error, Result};
use crate::vfs::{OpenMode, SharedWords, Vfs, VfsFile, write_all, write_whole};

const MAGIC: u64 = u64::from_le_bytes(*b"PYIGC1\n\0");
const VERSION: u64 = 1;
const EPOCH: usize = 2;
const PHASE: usize = 3;
const COUNT: usize = 4;
const VETOES: usize = 5;
const NUMBERS_AT: usize = 8;
const WORDS: usize = 4096;
const BYTES: usize = WORDS * 8;

/// Segments that one collection can remove.
pub(crate) const VICTIMS_MAX: usize = WORDS - NUMBERS_AT;

/// How far a collection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nobody collects, or only copies so far.
    Idle = 0,
    /// New work does not rely on the victims any more.
    Condemned = 1,
    /// The collector takes its last look.
    Closing = 2,
    /// It has: the victims go.
    Removing = 3,
    /// As in `Closing`, and who looks for something that is in victims only waits for what comes of it.
    Deciding = 4,
}

/// What the collector makes of something in victims only that somebody has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// This collector spares it; what one before it did is to be seen in the directory.
    Spared,
    /// Not known yet.
    Open,
    /// It goes.
    TooLate,
}

/// The mapped file.
pub(crate) struct GcFile {
    words: Arc<dyn SharedWords>,
}

impl GcFile {
    /// Maps the file; creates it if it is missing. Errors: `UnsupportedFormat`, `Storage`.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path) -> Result<GcFile> {
        let file = match vfs.open(path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Whoever comes first wins; all candidates are the same.
                write_whole(vfs, path, &fresh(), false).map_err(|error| Error::storage("create", path, error))?;
                vfs.open(path, OpenMode::ReadWrite)
            }
            other => other,
        };
        let file = file.map_err(|error| Error::storage("open", path, error))?;
        GcFile::map(file.as_ref(), path)
    }

    fn map(file: &dyn VfsFile, path: &Path) -> Result<GcFile> {
        let failed = |error| Error::storage("map", path, error);
        if file.len().map_err(failed)? < BYTES as u64 {
            // Written, not only extended: a store into a hole of a full disk would be a SIGBUS.
            write_all(file, &fresh(), 0).map_err(failed)?;
        }
        let gc = GcFile {
            words: file.map_shared(BYTES).map_err(failed)?,
        };
        let (magic, version) = (gc.word(0).load(SeqCst), gc.word(1).load(SeqCst));
        if magic == MAGIC && version == VERSION {
            return Ok(gc);
        }
        if magic == MAGIC && version > VERSION && version < 256 {
            let found = format!("gc file version {version} in {}", path.display());
            return Err(Error::UnsupportedFormat { found });
        }
        // In place, so that all who have it mapped see the same. A collector at work finds out and gives up.
        gc.set(Phase::Idle, &[]);
        gc.word(1).store(VERSION, SeqCst);
        gc.word(0).store(MAGIC, SeqCst);
        gc.move_epoch();
        Ok(gc)
    }

    /// Locks the file for a collector; `None` if there is one.
    pub(crate) fn lock(vfs: &dyn Vfs, path: &Path) -> Result<Option<Arc<dyn VfsFile>>> {
        let failed = |error| Error::storage("lock", path, error);
        let file = vfs.open(path, OpenMode::ReadWrite).map_err(failed)?;
        Ok(file.try_lock_exclusive().map_err(failed)?.then_some(file))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words.words()[at]
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.word(EPOCH).load(SeqCst)
    }

    /// Begins the next epoch; returns it.
    pub(crate) fn move_epoch(&self) -> u64 {
        self.word(EPOCH).fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.word(PHASE).load(SeqCst) {
            1 => Phase::Condemned,
            2 => Phase::Closing,
            3 => Phase::Removing,
            4 => Phase::Deciding,
            _ => Phase::Idle,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.word(PHASE).store(phase as u64, SeqCst);
    }

    /// Names the victims. The epoch is moved afterwards, so that who sees it moved sees them. There are at most [`VICTIMS_MAX`].
    pub(crate) fn set(&self, phase: Phase, victims: &[u64]) {
        let victims = &victims[..victims.len().min(VICTIMS_MAX)];
        for (at, number) in victims.iter().enumerate() {
            self.word(NUMBERS_AT + at).store(*number, SeqCst);
        }
        self.word(COUNT).store(victims.len() as u64, SeqCst);
        self.set_phase(phase);
    }

    /// The epoch and the victims named in it. O(victims).
    pub(crate) fn condemned(&self) -> (u64, Vec<u64>) {
        loop {
            let epoch = self.epoch();
            let count = match self.phase() {
                Phase::Idle => 0,
                _ => usize::try_from(self.word(COUNT).load(SeqCst)).map_or(VICTIMS_MAX, |count| count.min(VICTIMS_MAX)),
            };
            let numbers = (0..count).map(|at| self.word(NUMBERS_AT + at).load(SeqCst)).collect();
            if self.epoch() == epoch {
                return (epoch, numbers);
            }
        }
    }

    /// Whether the file still says what the collector wrote. If not, nobody knows what others believe.
    pub(crate) fn says(&self, phase: Phase, victims: usize) -> bool {
        self.word(0).load(SeqCst) == MAGIC
            && self.word(1).load(SeqCst) == VERSION
            && self.word(PHASE).load(SeqCst) == phase as u64
            && self.word(COUNT).load(SeqCst) == victims as u64
    }

    pub(crate) fn vetoes(&self) -> u64 {
        self.word(VETOES).load(SeqCst)
    }

    /// Asks the collector to spare an object that is in victims only, because the caller found it by its id. The request is written before the
    /// phase is read, and the collector writes the phase before it reads the requests. The collector itself is always in time until it removes.
    pub(crate) fn veto(&self, is_collector: bool) -> Verdict {
        let mut phase = self.phase();
        if phase == Phase::Closing || is_collector && phase == Phase::Deciding {
            self.word(VETOES).fetch_add(1, SeqCst);
            phase = self.phase();
        }
        match phase {
            Phase::Idle | Phase::Condemned | Phase::Closing => Verdict::Spared,
            Phase::Deciding if is_collector => Verdict::Spared,
            Phase::Deciding => Verdict::Open,
            Phase::Removing => Verdict::TooLate,
        }
    }
}

fn fresh() -> Vec<u8> {
    let mut bytes = vec![0u8; BYTES];
    bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::OsFs;

    #[test]
    fn all_see_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gc");
        let (one, other) = (GcFile::open(&OsFs, &path).unwrap(), GcFile::open(&OsFs, &path).unwrap());
        assert_eq!((other.condemned(), other.phase()), ((0, vec![]), Phase::Idle));
        one.set(Phase::Condemned, &[3, 5]);
        assert_eq!(one.move_epoch(), 1);
        assert_eq!((other.condemned(), other.phase()), ((1, vec![3, 5]), Phase::Condemned));
        assert!(one.says(Phase::Condemned, 2) && !one.says(Phase::Closing, 2) && !one.says(Phase::Condemned, 1));
        let many: Vec<u64> = (1..5000).collect();
        one.set(Phase::Condemned, &many);
        assert_eq!(other.condemned().1, many[..VICTIMS_MAX]);
        one.set(Phase::Idle, &[]);
        assert_eq!(other.condemned().1, []);
    }

    #[test]
    fn a_veto_is_in_time_before_the_removal() {
        let directory = tempfile::tempdir().unwrap();
        let gc = GcFile::open(&OsFs, &directory.path().join("gc")).unwrap();
        for (phase, verdict, counted) in [
            (Phase::Idle, Verdict::Spared, 0),
            (Phase::Condemned, Verdict::Spared, 0),
            (Phase::Closing, Verdict::Spared, 1),
            (Phase::Deciding, Verdict::Open, 0),
            (Phase::Removing, Verdict::TooLate, 0),
        ] {
            gc.set_phase(phase);
            let before = gc.vetoes();
            assert_eq!(gc.veto(false), verdict, "{phase:?}");
            assert_eq!(gc.vetoes() - before, counted, "{phase:?}");
        }
        gc.set_phase(Phase::Deciding);
        let before = gc.vetoes();
        assert_eq!((gc.veto(true), gc.vetoes()), (Verdict::Spared, before + 1));
    }

    #[test]
    fn one_collector_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gc");
        GcFile::open(&OsFs, &path).unwrap();
        let lock = GcFile::lock(&OsFs, &path).unwrap();
        assert!(lock.is_some() && GcFile::lock(&OsFs, &path).unwrap().is_none());
        drop(lock);
        assert!(GcFile::lock(&OsFs, &path).unwrap().is_some());
    }

    #[test]
    fn a_damaged_one_is_started_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gc");
        let mapped = GcFile::open(&OsFs, &path).unwrap();
        mapped.set(Phase::Condemned, &[3]);
        mapped.word(0).store(1, SeqCst);
        assert!(!mapped.says(Phase::Condemned, 1));
        let epoch = mapped.epoch();
        GcFile::open(&OsFs, &path).unwrap();
        assert_eq!((mapped.phase(), mapped.epoch()), (Phase::Idle, epoch + 1), "in place");
        mapped.word(1).store(2, SeqCst);
        let newer = GcFile::open(&OsFs, &path);
        assert!(matches!(newer.err(), Some(Error::UnsupportedFormat { .. })));
        drop(mapped);
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(GcFile::open(&OsFs, &path).unwrap().condemned(), (0, vec![]));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), BYTES as u64);
    }
}
