//! The file system as the store sees it. All file access of the crate, its time and its randomness go through these
//! traits, so that a simulated disk can take the system's place in tests.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write at offsets.
    ReadWrite,
    /// A file that must not exist yet, to read and write at offsets.
    CreateNew,
    /// An existing file, to read at offsets and append to.
    Append,
}

/// A file system.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Opens a file, close-on-exec. Errors: the system's. One call.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;
    /// Names in a directory, in no order; names that are not UTF-8 are left out. O(entries).
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory and what is missing above it; an existing one is no error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file a second name; `AlreadyExists` if it is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file over whatever has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive power loss.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether there is a file of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Fills the buffer with random bytes that no other process has.
    fn random(&self, buffer: &mut [u8]) -> io::Result<()>;
    /// Now, in nanoseconds since 1970.
    fn now_ns(&self) -> u64;
    /// Names the time since the system started: what was written since then cannot have been lost with the power. `None` if the system
    /// does not tell.
    fn boot_id(&self) -> io::Result<Option<[u8; 16]>>;
    /// A number that differs after `fork()` in the child; files locked before it was taken are no longer ours then.
    fn process_generation(&self) -> u64;
}

/// An open file. All calls take `&self`: offsets are explicit and threads share the handle.
pub trait VfsFile: Send + Sync + fmt::Debug {
    /// Reads at an offset in one call; may be short, 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at an offset in one call; may be short.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Appends in one call on a file opened with [`OpenMode::Append`]; may be short.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Where the last append through this handle ended; `None` if that cannot be told, or if it failed.
    fn append_end(&self) -> Option<u64> {
        None
    }
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros) to a length.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Makes the content survive power loss.
    fn sync_data(&self) -> io::Result<()>;
    /// Lets the system forget what it holds of the file in memory, so that a scrub sees the disk. A hint; does nothing unless it can.
    fn forget_cached(&self) {}
    /// Reserves space up to a length and extends the file to it.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Tries to lock the file for this open description; `false` if somebody else has it. Never waits. The lock goes
    /// with the handle or the process, whichever ends first.
    fn try_lock_exclusive(&self) -> io::Result<bool>;
    /// Whether somebody else holds the lock now. Never waits.
    fn is_locked(&self) -> io::Result<bool>;
    /// Maps the whole file to read. The file is not changed in place while it is mapped.
    fn map_readonly(&self) -> io::Result<Arc<dyn Mapped>>;
    /// Maps the pages from that of `from` up to `to`, all of which have just been written, to be written to further without a call. Only the caller
    /// writes there, and it lets go of the mapping before the file is cut. `None` where that cannot be done, or not without danger.
    fn map_pages(&self, from: u64, to: u64) -> Option<Box<dyn WriteMap>> {
        let _ = (from, to);
        None
    }
    /// Maps the first `length` bytes as words that all processes share; stores need a handle that can write.
    fn map_shared(&self, length: usize) -> io::Result<Arc<dyn SharedWords>>;
}

/// Bytes of a mapped file.
pub trait Mapped: Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// A part of a file that is written to without a call.
pub trait WriteMap: Send + Sync {
    /// Puts bytes at an offset of the file, all of them, as [`VfsFile::write_at`] does; 0 where they have to be written by a call, as they lie
    /// outside or the mapping is too old. O(bytes).
    fn put(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
}

/// Words of a mapped file, shared with other processes.
pub trait SharedWords: Send + Sync {
    /// The words, in the machine's byte order (which is little-endian wherever this runs).
    fn words(&self) -> &[AtomicU64];
}

/// Reads until the buffer is full or the file ends; returns what was read. O(buffer).
pub(crate) fn read_full(file: &dyn VfsFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all bytes at an offset. A write that makes no progress is an error, as it would never end. O(bytes).
pub(crate) fn write_all(file: &dyn VfsFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a file that appears whole or not at all under its name, flushed. With `replace`, whatever had the name before
/// is replaced; else `Ok(false)` says that somebody came first. O(bytes) and a flush.
pub(crate) fn write_whole(vfs: &dyn Vfs, path: &Path, content: &[u8], replace: bool) -> io::Result<bool> {
    let mut random = [0u8; 8];
    vfs.random(&mut random)?;
    let temporary = path.with_extension(format!("tmp-{}", crate::id::to_hex(&random)));
    let file = vfs.open(&temporary, OpenMode::CreateNew)?;
    let written = write_all(file.as_ref(), content, 0).and_then(|()| file.sync_data());
    let placed = written.and_then(|()| {
        if replace {
            return vfs.rename(&temporary, path).map(|()| true);
        }
        match vfs.link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    });
    // The temporary name must go in every case but a successful rename; that it is gone already is no error.
    if !(replace && placed.is_ok()) {
        let _ = vfs.remove(&temporary);
    }
    if let (Ok(true), Some(directory)) = (&placed, path.parent()) {
        vfs.sync_dir(directory)?;
    }
    placed
}
