//! The real file system of a process that is to die in one of its calls: it kills itself there with SIGKILL, as nothing else ends a process
//! between two calls of its own choice. What is on the disk then is what the kernel made of the calls before, with real locks and mappings.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyi_cas::{Mapped, OpenMode, OsFs, SharedWords, Vfs, VfsFile, WriteMap};

use crate::fault::Operation;

/// Where in a call the process dies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Moment {
    /// Before a call that changes something.
    Before,
    /// Behind such a call, before anybody is told.
    Behind,
    /// In a write or an append, after half of its bytes.
    Within,
    /// Before a call of any kind: where memory is shared, what happens between two reads counts, too.
    BeforeAny,
}

impl Moment {
    /// All of them.
    pub const ALL: [Moment; 4] = [Moment::Before, Moment::Behind, Moment::Within, Moment::BeforeAny];

    /// Whether a call counts as one in which the process can die so.
    fn counts(self, operation: Operation) -> bool {
        match self {
            Moment::Before | Moment::Behind => operation.changes(),
            Moment::Within => matches!(operation, Operation::Write | Operation::Append),
            Moment::BeforeAny => true,
        }
    }
}

/// The call in which a process dies: number `call` (from 0) of those that count for the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doom {
    /// Where in the call.
    pub moment: Moment,
    /// Which call.
    pub call: u64,
}

/// The real file system; clones are the same one. Nothing counts before [`MortalFs::begin`].
#[derive(Clone, Debug)]
pub struct MortalFs(Arc<Life>);

#[derive(Debug)]
struct Life {
    moment: Moment,
    /// `u64::MAX`: never.
    dies_at: u64,
    calls: AtomicU64,
    begun: AtomicBool,
    /// Told of the call before the end.
    last_words: fn(Operation, &Path),
}

impl MortalFs {
    /// A file system on which the process dies in the call of `doom` once counting has begun, having told `last_words`.
    pub fn new(doom: Doom, last_words: fn(Operation, &Path)) -> MortalFs {
        MortalFs(Arc::new(Life {
            moment: doom.moment,
            dies_at: doom.call,
            calls: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            last_words,
        }))
    }

    /// Counts from here on.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::SeqCst);
    }

    /// Calls that counted so far.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }
}

impl Life {
    /// Makes a call, unless it is the last one. `half` does half of it, where that can be done.
    fn call<T>(
        &self,
        operation: Operation,
        path: &Path,
        work: impl FnOnce() -> io::Result<T>,
        half: impl FnOnce(),
    ) -> io::Result<T> {
        if !self.begun.load(Ordering::SeqCst) || !self.moment.counts(operation) {
            return work();
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.dies_at {
            return work();
        }
        (self.last_words)(operation, path);
        match self.moment {
            Moment::Before | Moment::BeforeAny => {}
            Moment::Behind => drop(work()),
            Moment::Within => half(),
        }
        die()
    }
}

/// Ends the process as `kill -9` does.
fn die() -> ! {
    loop {
        // SAFETY: only passes numbers; the signal is to this process and cannot be caught.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        // Until the kernel has got round to it.
        std::thread::yield_now();
    }
}

impl Vfs for MortalFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let operation = match mode {
            OpenMode::CreateNew => Operation::Create,
            _ => Operation::Open,
        };
        let file = self.0.call(operation, path, || OsFs.open(path, mode), || {})?;
        Ok(Arc::new(MortalFile {
            file,
            path: path.to_path_buf(),
            life: Arc::clone(&self.0),
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.call(Operation::List, directory, || OsFs.list(directory), || {})
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let work = || OsFs.create_dir_all(path);
        self.0.call(Operation::CreateDirAll, path, work, || {})
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.call(Operation::Remove, path, || OsFs.remove(path), || {})
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call(Operation::Link, to, || OsFs.link(from, to), || {})
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call(Operation::Rename, to, || OsFs.rename(from, to), || {})
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.call(Operation::SyncDir, path, || OsFs.sync_dir(path), || {})
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.call(Operation::Exists, path, || OsFs.exists(path), || {})
    }

    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        OsFs.random(buffer)
    }

    fn now_ns(&self) -> u64 {
        OsFs.now_ns()
    }

    fn boot_id(&self) -> io::Result<Option<[u8; 16]>> {
        OsFs.boot_id()
    }

    fn process_generation(&self) -> u64 {
        OsFs.process_generation()
    }
}

/// An open file.
#[derive(Debug)]
struct MortalFile {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    life: Arc<Life>,
}

impl MortalFile {
    fn call<T>(&self, operation: Operation, work: impl FnOnce(&dyn VfsFile) -> io::Result<T>) -> io::Result<T> {
        let work = || work(self.file.as_ref());
        self.life.call(operation, &self.path, work, || {})
    }

    fn put(
        &self,
        operation: Operation,
        bytes: &[u8],
        put: impl Fn(&dyn VfsFile, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let file = self.file.as_ref();
        let half = || drop(put(file, &bytes[..bytes.len() / 2]));
        self.life.call(operation, &self.path, || put(file, bytes), half)
    }
}

impl VfsFile for MortalFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(Operation::Read, |file| file.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.put(Operation::Write, bytes, |file, bytes| file.write_at(bytes, offset))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.put(Operation::Append, bytes, |file, bytes| file.append(bytes))
    }

    fn append_end(&self) -> Option<u64> {
        self.file.append_end()
    }

    fn len(&self) -> io::Result<u64> {
        self.call(Operation::Len, |file| file.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.call(Operation::SetLen, |file| file.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(Operation::SyncData, |file| file.sync_data())
    }

    fn forget_cached(&self) {
        self.file.forget_cached();
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.call(Operation::Allocate, |file| file.allocate(length))
    }

    fn try_lock_exclusive(&self) -> io::Result<bool> {
        self.call(Operation::Lock, |file| file.try_lock_exclusive())
    }

    fn is_locked(&self) -> io::Result<bool> {
        self.call(Operation::IsLocked, |file| file.is_locked())
    }

    fn map_readonly(&self) -> io::Result<Arc<dyn Mapped>> {
        self.call(Operation::MapReadonly, |file| file.map_readonly())
    }

    fn map_pages(&self, from: u64, to: u64) -> Option<Box<dyn WriteMap>> {
        let map = self.file.map_pages(from, to)?;
        Some(Box::new(MortalMap {
            map,
            path: self.path.clone(),
            life: Arc::clone(&self.life),
        }))
    }

    fn map_shared(&self, length: usize) -> io::Result<Arc<dyn SharedWords>> {
        self.call(Operation::MapShared, |file| file.map_shared(length))
    }
}

/// A part of a file that is written to without a call, which counts as one.
struct MortalMap {
    map: Box<dyn WriteMap>,
    path: PathBuf,
    life: Arc<Life>,
}

impl WriteMap for MortalMap {
    fn put(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let half = || drop(self.map.put(&bytes[..bytes.len() / 2], offset));
        let whole = || self.map.put(bytes, offset);
        self.life.call(Operation::Write, &self.path, whole, half)
    }
}
