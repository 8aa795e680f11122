//! All files of the index against the work tree, in two threads where that pays: which of them have to be looked at more closely.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyi_git::index_view::IndexView;

use super::files::{Known, Place};
use crate::sandbox::os::Dir;

/// Entries that a thread takes at once: neighbours, which share their directories.
const CHUNK: usize = 128;
/// From so many files on a thread saves more time than it takes to start: a file costs about a microsecond, a thread about a hundred.
const THREAD_FILES: usize = 400;
/// More threads than this wait for the same locks of the file system.
const THREADS_MAX: usize = 8;

/// Entries of an index, whose files are to be compared.
pub(super) struct Files<'s> {
    pub(super) root: &'s Dir,
    pub(super) view: &'s IndexView,
    /// Ascending and apart.
    pub(super) ranges: Vec<Range<usize>>,
    /// When the index was written.
    pub(super) index_time: (u32, u32),
}

/// Directories are walked by recursion, 512 deep at most.
pub(super) const STACK_BYTES: usize = 2 << 20;

/// What the threads share.
struct Shared<'s> {
    files: &'s Files<'s>,
    chunks: Vec<Range<usize>>,
    next: AtomicUsize,
    failed: AtomicBool,
}

impl Files<'_> {
    /// How many threads are worth their while.
    pub(super) fn threads(&self) -> usize {
        let count: usize = self.ranges.iter().map(Range::len).sum();
        match count / THREAD_FILES {
            0 => 1,
            wanted => (wanted + 1).min(THREADS_MAX).min(processors()),
        }
    }

    /// The entries whose stat data is not that of their file, in any order. O(entries / threads).
    pub(super) fn suspects(&self) -> io::Result<Vec<usize>> {
        let cut = |range: &Range<usize>| {
            let end = range.end;
            range
                .clone()
                .step_by(CHUNK)
                .map(move |start| start..end.min(start + CHUNK))
        };
        let shared = Shared {
            files: self,
            chunks: self.ranges.iter().flat_map(cut).collect(),
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        };
        let threads = self.threads();
        if threads < 2 {
            return shared.take_chunks();
        }
        let shared = &shared;
        let mut parts = Vec::with_capacity(threads);
        std::thread::scope(|scope| {
            let mut handles = Vec::with_capacity(threads);
            for _ in 1..threads {
                let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
                // One that cannot be started leaves its share to the others.
                handles.extend(thread.spawn_scoped(scope, || shared.take_chunks()));
            }
            parts.push(shared.take_chunks());
            for handle in handles {
                match handle.join() {
                    Ok(part) => parts.push(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        let mut all = Vec::new();
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }
}

impl Shared<'_> {
    /// Looks at chunks until none is left, or one failed somewhere.
    fn take_chunks(&self) -> io::Result<Vec<usize>> {
        let mut place = Place::default();
        let mut found = Vec::new();
        while !self.failed.load(Ordering::Relaxed)
            && let Some(chunk) = self.chunks.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            for at in chunk.clone() {
                let entry = self.files.view.entry(at);
                match place.stat(self.files.root, entry.path()) {
                    Ok(Some(stat)) if Known::from(&entry).is_same(&stat, self.files.index_time) => {}
                    Ok(_) => found.push(at),
                    Err(error) => {
                        self.failed.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// How many processors this process may run on. The standard library would read files about quotas too.
fn processors() -> usize {
    let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set has the size that is passed, and zeros are a set.
    unsafe {
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) != 0 {
            return 1;
        }
        usize::try_from(libc::CPU_COUNT(set.assume_init_ref()))
            .unwrap_or(1)
            .max(1)
    }
}
