//! A file that is opened when somebody first reads it. A large store has hundreds of sealed segments, and a process that looks at
//! a few objects needs a descriptor for few of them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::vfs::{Mapped, OpenMode, SharedWords, Vfs, VfsFile};

/// A file to read, by name until it is read. Every call opens it, except [`VfsFile::len`], which leaves it closed.
pub(crate) struct LazyFile {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    file: OnceLock<Arc<dyn VfsFile>>,
}

impl fmt::Debug for LazyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl LazyFile {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, path: PathBuf) -> LazyFile {
        LazyFile {
            vfs,
            path,
            file: OnceLock::new(),
        }
    }

    fn open(&self) -> io::Result<&Arc<dyn VfsFile>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        // Two threads may both open it; one of the handles is closed again.
        let file = self.vfs.open(&self.path, OpenMode::Read)?;
        Ok(self.file.get_or_init(|| file))
    }
}

impl VfsFile for LazyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.open()?.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.open()?.write_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.append(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        match self.file.get() {
            Some(file) => file.len(),
            None => self.vfs.open(&self.path, OpenMode::Read)?.len(),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.open()?.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.open()?.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.open()?.allocate(length)
    }

    fn try_lock_exclusive(&self) -> io::Result<bool> {
        self.open()?.try_lock_exclusive()
    }

    fn is_locked(&self) -> io::Result<bool> {
        self.open()?.is_locked()
    }

    fn map_readonly(&self) -> io::Result<Arc<dyn Mapped>> {
        self.open()?.map_readonly()
    }

    fn map_shared(&self, length: usize) -> io::Result<Arc<dyn SharedWords>> {
        self.open()?.map_shared(length)
    }
}
