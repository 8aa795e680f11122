//! The segments that a collector writes: they get their name when they are whole and flushed, so that nobody ever sees part of one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::fork;
use crate::id::to_hex;
use crate::index::encode_index;
use crate::record::{Header, finish, padded};
use crate::segment::{Found, SEGMENT_HEADER_BYTES, Scan, encode_header};
use crate::shared::Shared;
use crate::vfs::{OpenMode, VfsFile, write_all, write_whole};

/// Bytes that are written at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Pause behind a write while others commit, so that they have the disk as well.
const PAUSE: Duration = Duration::from_millis(1);
/// Ending of the names of unfinished outputs.
pub(crate) const UNFINISHED: &str = ".gc";

/// One segment on its way.
struct Output {
    file: Arc<dyn VfsFile>,
    temporary: PathBuf,
    buffer: Vec<u8>,
    /// Bytes written, without those in the buffer.
    written: u64,
    records: Vec<Found>,
}

/// Writes records to as many segments as they need.
pub(crate) struct Outputs<'a> {
    shared: &'a Shared,
    limit_bytes: u64,
    current: Option<Output>,
    /// Segments that are there.
    pub(crate) published: u64,
    generation: u64,
}

/// How a live record is written: header (position and checksum are filled in later) and payload. Today as it was; this is the place
/// for a choice of a better encoding.
fn written_form(record: Vec<u8>) -> Vec<u8> {
    record
}

impl<'a> Outputs<'a> {
    pub(crate) fn new(shared: &'a Shared, limit_bytes: u64) -> Outputs<'a> {
        Outputs {
            shared,
            limit_bytes,
            current: None,
            published: 0,
            generation: 0,
        }
    }

    /// Adds a record. Errors: `Storage`. O(length).
    pub(crate) fn push(&mut self, record: Vec<u8>) -> Result<()> {
        let mut record = written_form(record);
        let mut header = Header::decode(&record);
        let bytes = padded(record.len() as u64);
        let full = |output: &Output| output.end() + bytes > self.limit_bytes && !output.records.is_empty();
        if self.current.as_ref().is_some_and(full) {
            self.publish()?;
        }
        let mut output = match self.current.take() {
            Some(output) => output,
            None => Output::create(self.shared)?,
        };
        let offset = output.end();
        finish(&mut record, header.length, offset);
        record.resize(bytes as usize, 0);
        output.buffer.extend_from_slice(&record);
        header.position = (offset / 8) as u32;
        output.records.push(Found { offset, header });
        let result = if output.buffer.len() >= CHUNK_BYTES {
            output.write()
        } else {
            Ok(())
        };
        let wrote = output.buffer.is_empty();
        self.current = Some(output);
        if wrote {
            self.breathe();
        }
        result
    }

    fn breathe(&mut self) {
        let generation = self
            .shared
            .control
            .as_ref()
            .map_or(0, |control| control.data_generation());
        if std::mem::replace(&mut self.generation, generation) != generation {
            std::thread::sleep(PAUSE);
        }
    }

    /// Makes what was written so far a sealed segment, flushed. Errors: `Storage`. A few flushes.
    pub(crate) fn publish(&mut self) -> Result<()> {
        let Some(mut output) = self.current.take() else {
            return Ok(());
        };
        let published = output.publish(self.shared);
        if published.is_err() {
            let _ = self.shared.vfs.remove(&output.temporary);
        }
        published?;
        self.published += 1;
        Ok(())
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        if let Some(output) = self.current.take() {
            let _ = self.shared.vfs.remove(&output.temporary);
        }
    }
}

impl Output {
    fn create(shared: &Shared) -> Result<Output> {
        let mut name = [0u8; 8];
        let failed = |error| Error::storage("begin a segment in", &shared.directory, error);
        shared.vfs.random(&mut name).map_err(failed)?;
        let temporary = shared.directory.join(format!("{}{UNFINISHED}", to_hex(&name)));
        let file = shared
            .vfs
            .open(&temporary, OpenMode::CreateNew)
            .map_err(|error| Error::storage("create", &temporary, error))?;
        let output = Output {
            file,
            temporary,
            buffer: Vec::with_capacity(CHUNK_BYTES),
            written: SEGMENT_HEADER_BYTES,
            records: Vec::new(),
        };
        // Locked before it has a name that writers look at: to them it would be a dead one's, to be appended to.
        match output.file.try_lock_exclusive() {
            Ok(true) => Ok(output),
            locked => {
                let _ = shared.vfs.remove(&output.temporary);
                let error = locked.err().unwrap_or_else(|| io::ErrorKind::WouldBlock.into());
                Err(Error::storage("lock", &output.temporary, error))
            }
        }
    }

    /// Where the next record goes.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn write(&mut self) -> Result<()> {
        write_all(self.file.as_ref(), &self.buffer, self.written)
            .map_err(|error| Error::storage("write", &self.temporary, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn publish(&mut self, shared: &Shared) -> Result<()> {
        self.write()?;
        let mut number = shared.list()?.next_number(shared);
        let path = loop {
            let header = encode_header(number, &shared.store, shared.vfs.now_ns());
            write_all(self.file.as_ref(), &header, 0)
                .and_then(|()| self.file.sync_data())
                .map_err(|error| Error::storage("flush", &self.temporary, error))?;
            let path = shared.segment_path(number);
            match shared.vfs.link(&self.temporary, &path) {
                Ok(()) => break path,
                // A writer's: the number is in the header, so that is written again.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::storage("name", &path, error)),
            }
        };
        let _ = shared.vfs.remove(&self.temporary);
        let scan = Scan {
            records: std::mem::take(&mut self.records),
            end: self.written,
            ..Scan::default()
        };
        // Who sees the index takes the segment for durable.
        shared.flush_name(None)?;
        let index_path = shared.index_path(number);
        write_whole(shared.vfs.as_ref(), &index_path, &encode_index(number, &scan, 0), true)
            .map_err(|error| Error::storage("write", &index_path, error))?;
        let _gate = fork::enter();
        let missing = || Error::storage("open", &path, io::ErrorKind::NotFound.into());
        let segment = shared.adopt_into_table(number)?.ok_or_else(missing)?;
        shared.map_index(&segment)?;
        shared.announce_segments();
        Ok(())
    }
}
