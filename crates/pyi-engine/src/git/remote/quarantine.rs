//! What was pushed and is not accepted yet: a pack that nobody else sees, in memory or in a file without a name.
//!
//! The file is gone with the process, however that ends, so nothing has to be cleaned up.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::Mmap;
use parking_lot::Mutex;
use pyi_git::delta_cache::DeltaCache;
use pyi_git::pack::{PackLimits, PackReader};
use pyi_git::pack_index::PackIndex;
use pyi_git::pack_receive::{ReceiveLimits, receive};
use pyi_git::pack_write::write_pack_index;
use pyi_git::{Object, Oid};

use super::GitRemote;
use crate::git::tree_import::ObjectReader;
use crate::{Error, ErrorKind, Result};

/// Packs up to this size stay in memory,
const MEMORY_BYTES: usize = 4 << 20;
/// and all of those that are arriving at a repository together, so that many slow clients do not fill it.
const MEMORY_ALL_BYTES: usize = 64 << 20;
/// Memory for delta bases.
const CACHE_BYTES: usize = 32 << 20;
/// Objects may be unfolded to so many times the size of the pack, beside a gigabyte that is free.
const WORK_FACTOR: u64 = 200;

/// Bytes that arrive.
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    /// Bytes in the memory of all spools of a repository.
    all: Arc<AtomicUsize>,
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.all.fetch_sub(self.memory.len(), Ordering::Relaxed);
    }
}

impl Spool {
    pub(crate) fn new(all: &Arc<AtomicUsize>) -> Self {
        Spool {
            memory: Vec::new(),
            file: None,
            length: 0,
            all: all.clone(),
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends bytes; `dir` is where the file goes if there is to be one.
    pub(crate) fn write(&mut self, bytes: &[u8], dir: &Path) -> Result<()> {
        self.length += bytes.len() as u64;
        if self.file.is_none() && self.memory.len() + bytes.len() <= MEMORY_BYTES {
            // A little more than the limit, if many find it kept at the same moment.
            if self.all.load(Ordering::Relaxed) + bytes.len() <= MEMORY_ALL_BYTES {
                self.all.fetch_add(bytes.len(), Ordering::Relaxed);
                self.memory.extend_from_slice(bytes);
                return Ok(());
            }
        }
        let failed = |error: std::io::Error| Error::io("write a pushed pack into", dir, &error);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = nameless(dir).map_err(failed)?;
                file.write_all(&self.memory).map_err(failed)?;
                self.all.fetch_sub(self.memory.len(), Ordering::Relaxed);
                self.memory = Vec::new();
                none.insert(file)
            }
        };
        file.write_all(bytes).map_err(failed)
    }

    fn into_bytes(mut self, dir: &Path) -> Result<Spooled> {
        match self.file.take() {
            None => {
                self.all.fetch_sub(self.memory.len(), Ordering::Relaxed);
                Ok(Spooled::Memory(std::mem::take(&mut self.memory)))
            }
            Some(file) => {
                // SAFETY: the file has no name, and this process, which is done with writing, is the only one that has it open.
                let mapped = unsafe { Mmap::map(&file) };
                mapped
                    .map(Spooled::Mapped)
                    .map_err(|error| Error::io("map a pushed pack in", dir, &error))
            }
        }
    }
}

/// A file that no directory lists.
fn nameless(dir: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options
        .clone()
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .open(dir)
    {
        Ok(file) => Ok(file),
        // A file system without the flag: a name for a moment.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)
            ) =>
        {
            let path = dir.join(format!("tmp-push-{}-{:x}", std::process::id(), crate::engine::now_ns()));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

/// Bytes that arrived.
enum Spooled {
    Memory(Vec<u8>),
    Mapped(Mmap),
}

impl AsRef<[u8]> for Spooled {
    fn as_ref(&self) -> &[u8] {
        match self {
            Spooled::Memory(bytes) => bytes,
            Spooled::Mapped(bytes) => bytes,
        }
    }
}

/// A pushed pack in front of what the remote has.
pub(crate) struct Quarantine<'a> {
    remote: &'a GitRemote,
    pack: Option<PackReader<Spooled, Vec<u8>>>,
    cache: Mutex<DeltaCache>,
    /// Bytes that may be unfolded for who reads it.
    max_work_bytes: u64,
}

impl<'a> Quarantine<'a> {
    /// Nothing was sent.
    pub(crate) fn empty(remote: &'a GitRemote) -> Self {
        Quarantine {
            remote,
            pack: None,
            cache: Mutex::new(DeltaCache::new(CACHE_BYTES)),
            max_work_bytes: 0,
        }
    }

    /// Unfolds and names everything in the pack. O(what is unfolded).
    ///
    /// # Errors
    /// `GitError` for what is no pack, leans on what nobody has, or is over a limit.
    pub(crate) fn open(remote: &'a GitRemote, spool: Spool, max_object_bytes: u64) -> Result<Self> {
        let dir = remote.engine().path.clone();
        let length = spool.length();
        let bytes = spool.into_bytes(&dir)?;
        let mut cache = DeltaCache::new(CACHE_BYTES);
        let object = PackLimits {
            max_object_bytes,
            ..PackLimits::default()
        };
        let max_work_bytes = length.saturating_mul(WORK_FACTOR).saturating_add(1 << 30);
        let limits = ReceiveLimits {
            object,
            max_work_bytes,
            ..ReceiveLimits::default()
        };
        let mut damage = None;
        let mut external = |oid: &Oid| match remote.read_object(oid) {
            Ok(found) => found,
            Err(error) => {
                damage.get_or_insert(error);
                None
            }
        };
        let received = receive(remote.format, bytes.as_ref(), &limits, &mut cache, &mut external);
        let received = match (received, damage) {
            (Err(_), Some(error)) => return Err(error),
            (Err(error), None) => return Err(Error::git(error.to_string())),
            (Ok(received), _) => received,
        };
        let split = bytes.as_ref().len().saturating_sub(remote.format.raw_len());
        let checksum = Oid::from_bytes(remote.format, bytes.as_ref().get(split..).unwrap_or_default());
        let checksum = checksum.map_err(|error| Error::git(error.to_string()))?;
        let index = write_pack_index(remote.format, received.entries, &checksum);
        let index = index.map_err(|error| Error::git(error.to_string()))?;
        let index = PackIndex::parse(remote.format, index).map_err(|error| Error::git(error.to_string()))?;
        // Two objects of one name are listed once, so the reader is not made by `new`, which counts them.
        let pack = PackReader::partial(bytes, index, 1).with_limits(object);
        Ok(Quarantine {
            remote,
            pack: Some(pack),
            cache: Mutex::new(DeltaCache::new(CACHE_BYTES)),
            max_work_bytes,
        })
    }

    /// Whether the object was sent.
    pub(crate) fn sent(&self, oid: &Oid) -> bool {
        let pack = self.pack.as_ref();
        pack.is_some_and(|pack| matches!(pack.index().find(oid), Ok(Some(_))))
    }
}

impl ObjectReader for Quarantine<'_> {
    fn read_object(&self, oid: &Oid) -> Result<Option<Object>> {
        if let Some(pack) = &self.pack {
            let mut external = |base: &Oid| self.remote.read_object(base).ok().flatten();
            let mut cache = self.cache.lock();
            let found = pack.read_with(oid, &mut cache, &mut external);
            // Trees may ask for objects in an order in which long chains are unfolded again and again.
            if cache.offered_bytes() > self.max_work_bytes {
                let limit = self.max_work_bytes;
                let message =
                    format!("the pack unfolds to more than {limit} bytes of work; repack it with shorter chains");
                return Err(Error::new(ErrorKind::QuotaExceeded, message));
            }
            drop(cache);
            if let Some(object) = found.map_err(|error| Error::git(error.to_string()))? {
                return Ok(Some(object));
            }
        }
        self.remote.read_object(oid)
    }

    fn missing_object(&self, oid: &Oid, what_for: &str) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("missing necessary objects: {oid} {what_for}"),
        )
    }
}
