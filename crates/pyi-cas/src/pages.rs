//! The pages behind the end of a segment, filled with zeros in many at once before they are written to: a batch that has to get a page or two from the
//! system by itself takes two or three times as long. Not flushed; zeros behind the last record say nothing.
//!
//! While there is room for some batches left, one thread fills what comes next and the others go on. Two rules keep zeros off records: whoever fills
//! holds the lock and begins where was filled to; and a batch goes only where was filled to, or claims its place under the lock.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::vfs::{VfsFile, WriteMap, write_all};

/// The pages of one segment.
pub(crate) struct Pages {
    file: Arc<dyn VfsFile>,
    /// So many bytes are filled at a time.
    step: u64,
    filled: Mutex<Filled>,
}

/// How far the file is filled.
pub(crate) struct Filled {
    /// Up to here; what begins there is nobody's.
    to: u64,
    /// The pages up to there, if nobody took them.
    map: Option<Box<dyn WriteMap>>,
    /// Nothing is filled any more.
    over: bool,
}

/// Pages that are to be filled by whoever comes to it.
pub(crate) struct Order {
    pages: Arc<Pages>,
    /// The end of the segment then.
    end: u64,
    /// Where was filled to then.
    from: u64,
}

impl Pages {
    pub(crate) fn new(file: Arc<dyn VfsFile>, step: u64, end: u64) -> Arc<Pages> {
        Arc::new(Pages {
            file,
            step,
            filled: Mutex::new(Filled {
                to: end,
                map: None,
                over: false,
            }),
        })
    }

    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    /// Waits for whoever fills.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Filled> {
        self.filled.lock()
    }

    /// What is to be filled while the segment ends there, which has pages up to `from`.
    pub(crate) fn order(self: &Arc<Self>, end: u64, from: u64) -> Order {
        Order {
            pages: Arc::clone(self),
            end,
            from,
        }
    }

    /// The pages for what goes from `end` to `need`, and where they end: those that were filled meanwhile, or else new ones. `None` where the disk
    /// is full; what is written next says so.
    pub(crate) fn take(&self, filled: &mut Filled, end: u64, need: u64) -> Option<(u64, Option<Box<dyn WriteMap>>)> {
        if filled.to < need && !self.fill(filled, end, need.next_multiple_of(self.step)) {
            return None;
        }
        Some((filled.to, filled.map.take()))
    }

    fn fill(&self, filled: &mut Filled, end: u64, to: u64) -> bool {
        let zeros = vec![0u8; (to - filled.to) as usize];
        filled.map = None;
        let done = write_all(self.file.as_ref(), &zeros, filled.to).is_ok();
        if done {
            filled.to = to;
            filled.map = self.file.map_pages(end, to);
        }
        done
    }
}

impl Filled {
    /// The place up to there is somebody's from now on.
    pub(crate) fn claim(&mut self, to: u64) {
        if to > self.to {
            self.to = to;
            self.map = None;
        }
    }

    /// What was filled behind that is about to be cut off, or is written over.
    pub(crate) fn cut(&mut self, to: u64) {
        self.to = to;
        self.map = None;
    }

    /// The segment is somebody else's from now on. Returns up to where it was filled.
    pub(crate) fn end(&mut self) -> u64 {
        self.over = true;
        self.map = None;
        self.to
    }
}

impl Order {
    /// Fills the pages, unless somebody did that meanwhile. O(bytes).
    pub(crate) fn fill(self) {
        let mut filled = self.pages.lock();
        if !filled.over && filled.to == self.from {
            let to = self.from + self.pages.step;
            self.pages.fill(&mut filled, self.end, to);
        }
    }
}
