//! What a store holds at one moment, to be copied: the ref logs up to a position, and every segment up to the length that it had then. All files
//! are append-only and held open, so the copying takes its time while writers go on and collections unlink.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::fault::StoreFile;
use crate::file_refs::log_numbers;
use crate::file_store::FileStore;
use crate::fork;
use crate::id::to_hex;
use crate::reflog::{log_name, log_position};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::store::ObjectStore;
use crate::vfs::{OpenMode, VfsFile, read_full};

/// One file of an [`Image`].
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// Which file.
    pub file: StoreFile,
    /// Bytes that belong to the image.
    pub length: u64,
    /// The first 64 bytes of the index, which name all that is in the segment; empty for a segment that is not sealed, and for a log.
    pub seal: Vec<u8>,
    /// Nothing is ever appended to it again.
    pub is_final: bool,
    handle: Arc<dyn VfsFile>,
}

/// A store at one moment.
#[derive(Clone, Debug)]
pub struct Image {
    /// The store's name: 32 hex digits.
    pub store: String,
    /// The end of the refs: log number << 32 | offset.
    pub position: u64,
    /// When it was taken, unix ns.
    pub taken_ns: u64,
    /// The format file.
    pub format: Vec<u8>,
    /// Objects, as [`crate::StoreStats::objects`].
    pub objects: u64,
    /// Segments and logs.
    pub files: Vec<ImageFile>,
}

impl ImageFile {
    /// Up to `size` bytes at `offset`, fewer at the end of the image. Errors: `Storage`; `Corrupt` if the file is shorter than it was.
    pub fn read(&self, offset: u64, size: usize) -> Result<Bytes> {
        let size = size.min(usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX));
        let mut bytes = vec![0u8; size];
        let name = || self.file.to_string();
        let read = read_full(self.handle.as_ref(), &mut bytes, offset)
            .map_err(|error| Error::storage("read", name(), error))?;
        if read < size {
            return Err(Error::corrupt("a file that became shorter", name()));
        }
        Ok(Bytes::from(bytes))
    }
}

impl FileStore {
    /// What the store holds now. The refs are read first: everything that they name was stored before. Errors: `Storage`, `Corrupt`, `Closed`.
    /// O(segments), one open for each log.
    pub fn image(&self) -> Result<Image> {
        self.hold_for_image(|| self.take_image())
    }

    fn take_image(&self) -> Result<Image> {
        self.check_open()?;
        let (number, offset) = self.refs.end()?;
        let _gate = fork::enter();
        if offset > u64::from(u32::MAX) {
            return Err(Error::invalid("a ref log of 4 GiB; a position has no room for it"));
        }
        let directory = self.directory.join("refs");
        let mut files = Vec::new();
        for log in log_numbers(self.shared.vfs.as_ref(), &directory)? {
            if log > number {
                continue;
            }
            let path = directory.join(log_name(log));
            let handle = match self.shared.vfs.open(&path, OpenMode::Read) {
                Ok(handle) => handle,
                // Retention removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && log < number => continue,
                Err(error) => return Err(Error::storage("open", &path, error)),
            };
            let length = handle.len().map_err(|error| Error::storage("read", &path, error))?;
            files.push(ImageFile {
                file: StoreFile::RefLog(log),
                length: if log == number { offset } else { length },
                seal: Vec::new(),
                is_final: log < number,
                handle,
            });
        }
        // Whatever the control file says: a segment that is missed here is missing in the image.
        self.shared.look_again(true)?;
        for segment in self.shared.segments() {
            let path = self.shared.segment_path(segment.number);
            let tail = *segment.tail.lock();
            let length = match self.own_end(segment.number) {
                Some(end) => end,
                None => tail.scanned,
            };
            if length < SEGMENT_HEADER_BYTES {
                continue;
            }
            let seal = if tail.sealed {
                self.seal_of(segment.number)?
            } else {
                Vec::new()
            };
            // Open from here on, so that a collector that removes it does not take it away.
            let opened = segment.file.read_at(&mut [0u8; 1], 0);
            opened.map_err(|error| Error::storage("open", &path, error))?;
            let real = segment
                .file
                .len()
                .map_err(|error| Error::storage("read", &path, error))?;
            files.push(ImageFile {
                file: StoreFile::Segment(segment.number),
                // A file that lost its end is copied as far as it goes; what is missing is a scrub's to say.
                length: length.min(real),
                is_final: !seal.is_empty(),
                seal,
                handle: Arc::clone(&segment.file),
            });
        }
        let mut format = vec![0u8; 64 * 1024];
        let path = self.directory.join("format");
        let length = (self.shared.vfs.open(&path, OpenMode::Read))
            .and_then(|file| read_full(file.as_ref(), &mut format, 0))
            .map_err(|error| Error::storage("read", &path, error))?;
        format.truncate(length);
        Ok(Image {
            store: to_hex(&self.shared.store),
            position: log_position(number, offset),
            taken_ns: self.shared.vfs.now_ns(),
            format,
            objects: self.stats()?.objects,
            files,
        })
    }

    /// Between the reading of the refs and the opening of the segments nothing may be removed that the refs reach. A collector waits for
    /// sections that began before.
    fn hold_for_image<T>(&self, take: impl FnOnce() -> T) -> T {
        let _section = self.section();
        take()
    }

    fn seal_of(&self, number: u64) -> Result<Vec<u8>> {
        let path = self.shared.index_path(number);
        let mut seal = vec![0u8; 64];
        let read =
            (self.shared.vfs.open(&path, OpenMode::Read)).and_then(|file| read_full(file.as_ref(), &mut seal, 0));
        match read {
            Ok(64) => Ok(seal),
            // Cut short, or a collection unlinked it just now.
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::storage("read", &path, error)),
        }
    }
}
