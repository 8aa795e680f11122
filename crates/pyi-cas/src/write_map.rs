//! The next pages of a file, mapped to be written to without a call. A call of the system costs a microsecond and more, most of which goes into
//! finding the page again that the batch before went to; a copy of 2 KB into a page that is at hand costs a twentieth of that.
//!
//! A page in the system's cache survives the death of the process however it was written to, and a flush of the file takes it along
//! (mmap(2), `MAP_SHARED`; fsync(2)). What a call would say as an error, though (the disk is full, the file system has gone read-only), a
//! mapping says with a signal that ends the process. So a mapping covers only what was just written by a call, on file systems where a page
//! that is dirty needs nothing more; its pages are asked for by a call that answers; and it is trusted for a second, while the system writes
//! dirty pages back after thirty. Whatever else comes is written by a call.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::fork;
use crate::vfs::WriteMap;

/// How long a mapping is used.
const TRUSTED: Duration = Duration::from_secs(1);

/// Mapped pages of a file of the system's.
pub(crate) struct OsWriteMap {
    map: MmapRaw,
    /// Where in the file they begin.
    begin: u64,
    /// Until then they are used, by the coarse clock.
    trusted_until: Duration,
    /// The process that may write.
    generation: u64,
}

impl OsWriteMap {
    /// The pages from the one of `from` up to `to`, which is within the file. `None` where the file system or the system cannot do it.
    pub(crate) fn of(file: &File, from: u64, to: u64) -> Option<OsWriteMap> {
        if !is_trusted(file) {
            return None;
        }
        let begin = from - from % page_bytes()?;
        let map = MmapOptions::new()
            .offset(begin)
            .len(usize::try_from(to.checked_sub(begin)?).ok()?)
            .map_raw(file)
            .ok()?;
        map.advise(Advice::PopulateWrite).ok()?;
        Some(OsWriteMap {
            map,
            begin,
            trusted_until: now() + TRUSTED,
            generation: fork::generation(),
        })
    }
}

impl WriteMap for OsWriteMap {
    fn put(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let at = offset.checked_sub(self.begin).and_then(|at| usize::try_from(at).ok());
        let Some(at) = at.filter(|at| at.checked_add(bytes.len()).is_some_and(|end| end <= self.map.len())) else {
            return Ok(0);
        };
        if at % 8 != 0 || self.generation != fork::generation() || now() > self.trusted_until {
            return Ok(0);
        }
        // SAFETY: the bytes fit in behind `at`, which is a multiple of 8 (checked above) from the begin of a page; the mapping lives as long as
        // `self` and was made to be written to. Nobody has a reference into it: the pages are only read through the file. That the file is not
        // cut meanwhile is what `VfsFile::map_pages` asks for.
        unsafe { copy_forward(bytes, self.map.as_mut_ptr().add(at)) };
        Ok(bytes.len())
    }
}

/// Copies from the first byte to the last. A process that dies meanwhile has copied the beginning, as with a write by a call; what the library has for
/// this copies its first bytes last, and a batch whose later records are whole would count as damaged.
///
/// # Safety
/// There is room for the bytes at `to`, which is a multiple of 8 and which nobody else reads or writes through this mapping.
#[allow(clippy::cast_ptr_alignment)]
unsafe fn copy_forward(bytes: &[u8], to: *mut u8) {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // SAFETY: the word lies within the bytes, and `to` is aligned. Neither these stores nor the order of them are for the compiler to change.
        unsafe { to.cast::<u64>().add(at).write_volatile(u64::from_ne_bytes(*word)) };
    }
    for (at, byte) in rest.iter().enumerate() {
        // SAFETY: as above.
        unsafe { to.add(words.len() * 8 + at).write_volatile(*byte) };
    }
}

/// Whether a dirty page of the file can be written to for certain: these do not look for room again.
fn is_trusted(file: &File) -> bool {
    // SAFETY: `statfs` is plain data; zero is a valid value of every field.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and `about` outlives the call.
    let answer = unsafe { libc::fstatfs(file.as_raw_fd(), std::ptr::from_mut(&mut about)) };
    answer == 0 && [libc::EXT4_SUPER_MAGIC, libc::TMPFS_MAGIC, libc::XFS_SUPER_MAGIC].contains(&about.f_type)
}

fn page_bytes() -> Option<u64> {
    // SAFETY: only passes a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })
        .ok()
        .filter(|bytes| *bytes > 0)
}

/// The time since the system started, to some milliseconds: read in a tenth of the time that the exact one takes.
fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call. It cannot fail with this clock; if it did, no mapping would ever grow old.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, std::ptr::from_mut(&mut time)) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::FileExt;

    use super::*;

    /// A file of zeros where tests of this crate put theirs, and a mapping of its last pages; `None` on file systems that get none.
    fn file(from: u64) -> (File, Option<OsWriteMap>) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[0; 20_000], 0).unwrap();
        let map = OsWriteMap::of(&file, from, 20_000);
        assert_eq!(map.is_some(), is_trusted(&file));
        (file, map)
    }

    #[test]
    fn what_is_put_into_a_mapping_stands_in_the_file() {
        let (file, Some(map)) = file(9_000) else { return };
        let mut expected = vec![0; 20_000];
        for (offset, length) in [(9_000, 3), (9_008, 5_000), (19_992, 8), (8_192, 808), (14_008, 17)] {
            let bytes = vec![length as u8 | 1; length];
            assert_eq!(map.put(&bytes, offset as u64).unwrap(), length);
            expected[offset..offset + length].copy_from_slice(&bytes);
        }
        drop(map);
        let mut read = vec![0; 20_000];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read == expected);
    }

    #[test]
    fn nothing_is_put_beside_a_mapping() {
        let (file, Some(map)) = file(9_000) else { return };
        for offset in [0, 8_184, 9_001, 20_000 - 2, 20_000, 1 << 40, u64::MAX] {
            assert_eq!(map.put(b"abc", offset).unwrap(), 0, "{offset}");
        }
        let mut read = vec![1; 20_001];
        assert_eq!(file.read_at(&mut read, 0).unwrap(), 20_000);
        assert!(read[..20_000] == [0; 20_000]);
    }

    #[test]
    fn an_old_mapping_is_not_used() {
        let (_file, Some(mut map)) = file(0) else { return };
        map.trusted_until = now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(map.put(b"abc", 0).unwrap(), 0);
        map.trusted_until = now() + TRUSTED;
        assert_eq!(map.put(b"abc", 0).unwrap(), 3);
        map.generation += 1;
        assert_eq!(map.put(b"abc", 0).unwrap(), 0, "another process");
    }
}
