//! What is known of the files of a materialized directory, so that an untouched file is not read again.
//!
//! One file per directory, `<store>/sandboxes/<BLAKE3 of its canonical path>.stat`. It is derived: without it, or with a
//! damaged one, every file is read once. Numbers are little endian:
//!
//! ```text
//! "PYISTAT\0"  version u32 = 2  entries u32  BLAKE3 of all that follows [32]  length u16  path of the directory [length]
//! entry: mtime i64, ctime i64 (unix nanoseconds)  dev u64  ino u64  size u64  mode u32  flags u8  0 u8  length u16  id [32]  path [length]
//! ```
//!
//! Flag 1 says that the file may have been changed in the same tick of the clock in which it was read: it is read once
//! more, whatever its stamp says.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering as AtomicOrdering};

use pyi_cas::Id;

use super::os::Stamp;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"PYISTAT\0";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 80;
const FLAG_RACY: u8 = 1;
/// Clocks of file systems move in ticks of up to 10 ms; twice that is safe.
const TICK_NS: i64 = 20_000_000;
/// Some file systems keep whole seconds, or two.
const COARSE_TICK_NS: i64 = 2_000_000_000;

/// Where the cache for `directory` is, in the store at `store`.
///
/// # Errors
/// `Storage` if the directory does not exist.
pub fn sandbox_cache_path(store: &Path, directory: &Path) -> Result<PathBuf> {
    let canonical = fs::canonicalize(directory).map_err(|error| Error::io("open", directory, &error))?;
    let hash = blake3::hash(canonical.as_os_str().as_bytes());
    Ok(store.join("sandboxes").join(format!("{}.stat", hash.to_hex())))
}

/// Whether a file with this stamp may be changed later without a change of the stamp, seen at `now_ns`.
pub(super) fn is_racy(stamp: &Stamp, now_ns: i64) -> bool {
    let newest = stamp.mtime_ns.max(stamp.ctime_ns);
    let coarse = stamp.mtime_ns % 1_000_000_000 == 0 && stamp.ctime_ns % 1_000_000_000 == 0;
    newest.saturating_add(if coarse { COARSE_TICK_NS } else { TICK_NS }) >= now_ns
}

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) id: Id,
    pub(super) is_racy: bool,
}

/// The order of a walk: by components, so that what is below a directory stands together.
pub(super) fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(at) => key(&a[at]).cmp(&key(&b[at])),
        None => a.len().cmp(&b.len()),
    }
}

/// A cache as it was read: entries in the order of a walk, looked up in that order as a rule.
#[derive(Default)]
pub(super) struct StatCache {
    bytes: Vec<u8>,
    /// Where each path begins and ends, and what is known.
    entries: Vec<(u32, u32, Known)>,
    next: usize,
}

impl StatCache {
    /// Reads a cache; a missing or damaged one is empty. O(entries).
    pub(super) fn read(path: &Path) -> Self {
        fs::read(path).ok().and_then(StatCache::parse).unwrap_or_default()
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let body = bytes.get(HEADER_BYTES..)?;
        let count = u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?);
        let known = bytes.starts_with(MAGIC)
            && bytes.get(8..12)? == VERSION.to_le_bytes()
            && blake3::hash(body).as_bytes() == bytes.get(16..HEADER_BYTES)?;
        if !known || u32::try_from(bytes.len()).is_err() {
            return None;
        }
        let mut entries = Vec::with_capacity((count as usize).min(body.len() / ENTRY_BYTES));
        let mut at = HEADER_BYTES + 2 + directory_of(&bytes)?.len();
        while at < bytes.len() {
            let entry = bytes.get(at..at + ENTRY_BYTES)?;
            let word = |from: usize| Some(u64::from_le_bytes(*entry.get(from..)?.first_chunk()?));
            let length = usize::from(u16::from_le_bytes([entry[46], entry[47]]));
            let start = at + ENTRY_BYTES;
            let known = Known {
                stamp: Stamp {
                    mtime_ns: word(0)? as i64,
                    ctime_ns: word(8)? as i64,
                    dev: word(16)?,
                    ino: word(24)?,
                    size_bytes: word(32)?,
                    mode: u32::from_le_bytes(*entry.get(40..)?.first_chunk()?),
                },
                id: Id(*entry.get(48..)?.first_chunk()?),
                is_racy: entry[44] & FLAG_RACY != 0,
            };
            at = start + length;
            bytes.get(start..at)?;
            entries.push((start as u32, at as u32, known));
        }
        (entries.len() == count as usize).then_some(StatCache {
            bytes,
            entries,
            next: 0,
        })
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn path(&self, index: usize) -> &[u8] {
        let (start, end, _) = self.entries[index];
        &self.bytes[start as usize..end as usize]
    }

    /// What is known of `path`. O(1) if it follows the one asked for before, else O(log entries).
    pub(super) fn get(&mut self, path: &[u8]) -> Option<Known> {
        let index = if self.next < self.entries.len() && self.path(self.next) == path {
            self.next
        } else {
            let (mut low, mut high) = (0, self.entries.len());
            loop {
                if low >= high {
                    return None;
                }
                let middle = usize::midpoint(low, high);
                match walk_order(self.path(middle), path) {
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                    Ordering::Equal => break middle,
                }
            }
        };
        self.next = index + 1;
        Some(self.entries[index].2)
    }
}

/// The directory that a cache is about.
fn directory_of(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.get(HEADER_BYTES..)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_le_bytes(*length)))
}

/// Removes the caches of directories that are gone, and those of other versions. Best effort: they are derived.
pub(crate) fn remove_stale_caches(store: &Path) {
    use std::io::Read;
    let Ok(caches) = fs::read_dir(store.join("sandboxes")) else {
        return;
    };
    for cache in caches
        .flatten()
        .filter(|cache| cache.path().extension() == Some(OsStr::new("stat")))
    {
        let mut start = Vec::new();
        let read = fs::File::open(cache.path()).and_then(|file| {
            let length = HEADER_BYTES + 2 + usize::from(u16::MAX);
            file.take(length as u64).read_to_end(&mut start)
        });
        let known = read.is_ok() && start.starts_with(MAGIC) && start.get(8..12) == Some(&VERSION.to_le_bytes()[..]);
        let stays = known
            && directory_of(&start).is_some_and(|directory| {
                let there = fs::symlink_metadata(OsStr::from_bytes(directory));
                !matches!(there, Err(error) if error.kind() == std::io::ErrorKind::NotFound)
            });
        if !stays {
            let _ = fs::remove_file(cache.path());
        }
    }
}

/// A cache under construction; paths come in the order of a walk.
#[derive(Default)]
pub(super) struct StatWriter {
    body: Vec<u8>,
    count: u32,
}

impl StatWriter {
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    pub(super) fn push(&mut self, path: &[u8], known: &Known) {
        let Ok(length) = u16::try_from(path.len()) else { return };
        let Known { stamp, id, is_racy } = known;
        let mut entry = [0u8; ENTRY_BYTES];
        let words = [
            stamp.mtime_ns as u64,
            stamp.ctime_ns as u64,
            stamp.dev,
            stamp.ino,
            stamp.size_bytes,
            u64::from(stamp.mode),
        ];
        for (to, word) in entry.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        entry[44] = if *is_racy { FLAG_RACY } else { 0 };
        entry[46..48].copy_from_slice(&length.to_le_bytes());
        entry[48..].copy_from_slice(&id.0);
        self.body.extend_from_slice(&entry);
        self.body.extend_from_slice(path);
        self.count += 1;
    }

    /// Replaces the file at `path`, atomically. The cache is derived, so that a failure (a full disk) is nobody's
    /// concern: files are read once more then.
    pub(super) fn write(self, path: &Path, directory: &Path) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(parent) = path.parent() else { return };
        let number = NEXT.fetch_add(1, AtomicOrdering::Relaxed);
        let temporary = parent.join(format!("{}.{number}.tmp", std::process::id()));
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        let directory = directory.as_os_str().as_bytes();
        let Ok(length) = u16::try_from(directory.len()) else {
            return;
        };
        let mut hasher = blake3::Hasher::new();
        for part in [&length.to_le_bytes()[..], directory, &self.body] {
            hasher.update(part);
        }
        bytes.extend_from_slice(hasher.finalize().as_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(directory);
        bytes.extend_from_slice(&self.body);
        let written = fs::create_dir_all(parent)
            .and_then(|()| fs::write(&temporary, &bytes))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }
}
