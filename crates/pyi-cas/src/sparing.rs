//! What is found in segments that a collector is about to remove: it asks the collector to spare it, and is told whether that was in time.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::collect;
use crate::error::Result;
use crate::file_store::FileStore;
use crate::gc_file::{GcFile, Phase, Verdict};
use crate::id::Id;
use crate::session::Taken;

/// First and longest pause while a collector decides.
const PAUSE: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(2);
/// Longest wait for a collector that lives. It decides in the time that one look takes; one that is stopped is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How something was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// By its id, which perhaps nothing names. It is a root for the collector from now on.
    ByName,
    /// Below something that is pinned.
    Below,
}

/// Which thread collects in this store, if one does.
#[derive(Debug, Default)]
pub(crate) struct Collector(AtomicUsize);

thread_local! {
    static HERE: u8 = const { 0 };
}

/// A number that no other living thread has.
fn this_thread() -> usize {
    HERE.with(|here| std::ptr::from_ref(here) as usize)
}

impl Collector {
    pub(crate) fn begin(&self) {
        self.0.store(this_thread(), SeqCst);
    }

    pub(crate) fn end(&self) {
        self.0.store(0, SeqCst);
    }

    fn is_here(&self) -> bool {
        self.0.load(SeqCst) == this_thread()
    }
}

impl FileStore {
    /// Whether an object, or something that it is read through, is only where a collector has decided to remove it; one that has not is told
    /// to spare it, and one that is deciding is waited for. In a section. One load as a rule.
    pub(crate) fn goes(&self, id: &Id, found: Found) -> Result<bool> {
        if !self.shared.needs_condemned(id) {
            return Ok(false);
        }
        // A copy of it may be there already.
        self.shared.refresh_since(self.shared.seen())?;
        if !self.shared.needs_condemned(id) {
            return Ok(false);
        }
        let Some(taken) = self.sessions.current() else {
            return Ok(false);
        };
        let verdict = self.verdict(&taken, || {
            if found == Found::ByName {
                // Given back during a collection it counts to its end, so a collector that waits for no section any more sees it.
                drop(self.sessions.pin(id));
            }
        })?;
        // What this process takes for condemned an earlier collector may have removed, and a later one knows nothing of it. It said so before
        // it ended, so it is seen now.
        self.shared.refresh_since(self.shared.seen())?;
        Ok(match verdict {
            Verdict::Spared => !self.shared.stands(id, None, 0),
            Verdict::Open | Verdict::TooLate => self.shared.needs_condemned(id),
        })
    }

    /// Asks once there is a decision. `pin` is called before each time, so that a collector that did not hear of it sees the pin.
    fn verdict(&self, taken: &Taken, pin: impl Fn()) -> Result<Verdict> {
        let begin = Instant::now();
        let mut pause = PAUSE;
        // It must not wait for itself: neither where it marks nor where somebody whom it tells how far it is looks for something.
        let is_collector = self.collector.is_here();
        loop {
            if is_collector || taken.gc.phase() != Phase::Deciding {
                pin();
                let verdict = taken.gc.veto(is_collector);
                if verdict != Verdict::Open {
                    return Ok(verdict);
                }
            }
            if begin.elapsed() >= PATIENCE {
                return Ok(Verdict::Open);
            }
            if pause == PAUSE_MAX
                && let Some(_lock) = GcFile::lock(self.shared.vfs.as_ref(), &self.sessions.gc_path())?
            {
                // It died. If it has begun to remove, that stays said until the next one comes.
                if taken.gc.phase() == Phase::Deciding {
                    collect::end(&taken.gc);
                }
                continue;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
