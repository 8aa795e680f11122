//! Reading a file from front to back in large pieces, at a limited speed, past sectors that the disk cannot read.

use std::io;
use std::time::{Duration, Instant};

use crate::vfs::{VfsFile, read_full};

/// Bytes of a read.
const PIECE_BYTES: usize = 4 << 20;
/// What a disk loses at once.
const SECTOR_BYTES: usize = 4096;
/// The pace is kept in steps of this length: a shorter sleep is not exact, a longer one comes in bursts.
const STEP: Duration = Duration::from_millis(20);

/// Keeps to a speed and tells how far the work is.
pub(crate) struct Pace<'a> {
    bytes_per_second: Option<u64>,
    progress: Option<&'a (dyn Fn(u64, u64) -> bool + Sync)>,
    pub(crate) total_bytes: u64,
    pub(crate) done_bytes: u64,
    started: Instant,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(
        bytes_per_second: Option<u64>,
        progress: Option<&'a (dyn Fn(u64, u64) -> bool + Sync)>,
    ) -> Pace<'a> {
        Pace {
            bytes_per_second,
            progress,
            total_bytes: 0,
            done_bytes: 0,
            started: Instant::now(),
        }
    }

    /// Counts bytes that were read, and waits if that was too fast. Errors: `Interrupted` if whoever watches wants it to end.
    pub(crate) fn add(&mut self, bytes: u64) -> io::Result<()> {
        self.done_bytes += bytes;
        if let Some(rate) = self.bytes_per_second {
            let due = Duration::from_secs_f64(self.done_bytes as f64 / rate.max(1) as f64);
            while let Some(left) = due.checked_sub(self.started.elapsed()).filter(|left| *left > STEP) {
                std::thread::sleep(left.min(Duration::from_millis(200)));
            }
        }
        match self.progress {
            Some(progress) if !progress(self.done_bytes, self.total_bytes.max(self.done_bytes)) => {
                Err(io::ErrorKind::Interrupted.into())
            }
            _ => Ok(()),
        }
    }

    /// Bytes of one read: small ones at a low speed, so that it is kept evenly.
    fn piece_bytes(&self) -> usize {
        let tenth = self.bytes_per_second.map_or(PIECE_BYTES as u64, |rate| rate / 10);
        PIECE_BYTES
            .min(usize::try_from(tenth).unwrap_or(PIECE_BYTES))
            .max(SECTOR_BYTES)
    }
}

/// A window that moves forward through a file.
pub(crate) struct Reader<'f, 'p, 'c> {
    file: &'f dyn VfsFile,
    pace: &'p mut Pace<'c>,
    /// Nothing is read behind it.
    pub(crate) end: u64,
    start: u64,
    bytes: Vec<u8>,
    /// Sectors that could not be read (zeros stand for them here).
    pub(crate) unreadable: Vec<(u64, u64)>,
}

impl<'f, 'p, 'c> Reader<'f, 'p, 'c> {
    pub(crate) fn new(file: &'f dyn VfsFile, pace: &'p mut Pace<'c>, end: u64) -> Reader<'f, 'p, 'c> {
        Reader {
            file,
            pace,
            end,
            start: 0,
            bytes: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// Up to `length` bytes at `offset`, fewer at the end. What stands before `offset` may be forgotten.
    pub(crate) fn at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let length = length.min(usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX));
        let known = self.start..self.start + self.bytes.len() as u64;
        if offset < known.start || offset > known.end {
            self.bytes.clear();
            self.start = offset;
        }
        let mut from = (offset - self.start) as usize;
        if self.bytes.len() < from + length {
            self.bytes.drain(..from);
            self.start = offset;
            from = 0;
            while self.bytes.len() < length && self.start + (self.bytes.len() as u64) < self.end {
                self.read_on(length - self.bytes.len())?;
            }
        }
        let to = (from + length).min(self.bytes.len());
        Ok(&self.bytes[from..to])
    }

    /// Reads a piece behind what is there; at least `wanted` bytes, unless the file ends.
    fn read_on(&mut self, wanted: usize) -> io::Result<()> {
        let known = self.bytes.len();
        let at = self.start + known as u64;
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        let size = self.pace.piece_bytes().max(wanted).min(left);
        self.bytes.resize(known + size, 0);
        match read_full(self.file, &mut self.bytes[known..], at) {
            Ok(read) if read == size => {}
            Ok(read) => {
                // Cut short by somebody since its length was asked for.
                self.end = at + read as u64;
                self.bytes.truncate(known + read);
            }
            Err(error) if error.raw_os_error() == Some(libc::EIO) => self.read_sectors(known, at),
            Err(error) => return Err(error),
        }
        self.pace.add(size as u64)
    }

    /// Reads sector by sector what could not be read in one piece.
    fn read_sectors(&mut self, known: usize, at: u64) {
        let mut offset = at;
        for sector in self.bytes[known..].chunks_mut(SECTOR_BYTES) {
            if read_full(self.file, sector, offset).is_err() {
                sector.fill(0);
                match self.unreadable.last_mut() {
                    Some((start, length)) if *start + *length == offset => *length += sector.len() as u64,
                    _ => self.unreadable.push((offset, sector.len() as u64)),
                }
            }
            offset += sector.len() as u64;
        }
    }
}
