//! One pass over the work tree that answers two questions: which tracked files have to be looked at more closely, and what is not tracked. Directories are
//! opened once for both, and are shared between threads where there are many files.

use std::ops::Range;

use parking_lot::{Condvar, Mutex};
use pyi_git::command::Failure;
use pyi_git::ignore::IgnoreStack;

use super::files::Known;
use super::untracked::Search;
use crate::sandbox::os::Dir;

/// A directory with so many tracked files below it may be another thread's.
const SHARED_FILES: usize = 64;

/// What is found out about tracked files on the way.
#[derive(Default)]
pub(super) struct Looked {
    /// When the index was written.
    pub(super) index_time: (u32, u32),
    /// Entries whose stat data is not that of their file.
    pub(super) suspects: Vec<usize>,
    /// Entries in directories that nobody looked into.
    pub(super) rest: Vec<Range<usize>>,
}

impl Looked {
    /// Compares a file that stands in an open directory with its entry.
    pub(super) fn compare(&mut self, search: &Search<'_>, directory: &Dir, name: &[u8], at: usize) {
        // Whatever is wrong with it is found when it is looked at closely.
        let same = directory
            .stat(name)
            .is_ok_and(|stat| Known::from(&search.view().entry(at)).is_same(&stat, self.index_time));
        if !same {
            self.suspects.push(at);
        }
    }
}

/// A directory that waits to be looked into.
pub(super) struct Task {
    /// Its path, with a slash behind.
    pub(super) above: Vec<u8>,
    pub(super) range: Range<usize>,
    /// The rules above it.
    pub(super) rules: IgnoreStack,
    pub(super) depth: usize,
}

/// Directories that wait, for all threads.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    tasks: Vec<Task>,
    /// Threads that may bring more.
    busy: usize,
    failed: bool,
}

impl Queue {
    /// Whether a directory is worth handing to others.
    pub(super) fn takes(range: &Range<usize>) -> bool {
        range.len() >= SHARED_FILES
    }

    pub(super) fn put(&self, task: Task) {
        self.waiting.lock().tasks.push(task);
        self.changed.notify_one();
    }

    /// The next directory; `None` when there is none and nobody can bring one.
    fn take(&self, was_busy: bool) -> Option<Task> {
        let mut waiting = self.waiting.lock();
        waiting.busy -= usize::from(was_busy);
        loop {
            if waiting.failed {
                break;
            }
            if let Some(task) = waiting.tasks.pop() {
                waiting.busy += 1;
                return Some(task);
            }
            if waiting.busy == 0 {
                break;
            }
            self.changed.wait(&mut waiting);
        }
        self.changed.notify_all();
        None
    }

    fn fail(&self) {
        self.waiting.lock().failed = true;
        self.changed.notify_all();
    }
}

/// Looks everywhere, in `threads` threads: what is not tracked, sorted, and what is to be looked at. O(files / threads).
pub(super) fn sweep(
    search: Search<'_>,
    index_time: (u32, u32),
    threads: usize,
) -> Result<(Vec<Vec<u8>>, Looked), Failure> {
    let looked = || Looked {
        index_time,
        ..Looked::default()
    };
    let entries = 0..search.view().len();
    if threads < 2 {
        let mut search = search.looking(looked(), None);
        search.begin(entries)?;
        return Ok(search.done());
    }
    let queue = Queue::default();
    queue.put(Task {
        above: Vec::new(),
        range: entries,
        rules: search.rules(),
        depth: 0,
    });
    let queue = &queue;
    let work = |mut search: Search<'_>| {
        let mut was_busy = false;
        while let Some(task) = queue.take(was_busy) {
            was_busy = true;
            if let Err(failure) = search.resume(task) {
                queue.fail();
                return Err(failure);
            }
        }
        Ok(search.done())
    };
    let mut parts = Vec::with_capacity(threads);
    std::thread::scope(|scope| {
        let mut handles = Vec::with_capacity(threads);
        for _ in 1..threads {
            let own = search.again().looking(looked(), Some(queue));
            let thread = std::thread::Builder::new().stack_size(super::scan::STACK_BYTES);
            // One that cannot be started leaves its share to the others.
            handles.extend(thread.spawn_scoped(scope, move || work(own)));
        }
        parts.push(work(search.again().looking(looked(), Some(queue))));
        for handle in handles {
            match handle.join() {
                Ok(part) => parts.push(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let (mut found, mut all) = (Vec::new(), looked());
    for part in parts {
        let (paths, looked) = part?;
        found.extend(paths);
        all.suspects.extend(looked.suspects);
        all.rest.extend(looked.rest);
    }
    found.sort_unstable();
    Ok((found, all))
}
