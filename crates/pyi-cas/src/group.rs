//! Group commit: callers that want the same work done queue up, one of them does it for all that came before it began.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};

/// A queue before one piece of work, such as a flush.
#[derive(Default)]
pub(crate) struct GroupCommit {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those who came after the work under way began.
    gathering: Arc<Group>,
    running: bool,
}

#[derive(Default)]
struct Group {
    outcome: Mutex<Option<std::result::Result<(), Arc<Error>>>>,
    changed: Condvar,
}

impl GroupCommit {
    /// Returns when `work` was done from beginning to end by somebody, after this call. Errors: those of the work, the same for the whole
    /// group. At most two runs of the work.
    pub(crate) fn run(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        let group = Arc::clone(&state.gathering);
        loop {
            if let Some(outcome) = group.outcome.lock().clone() {
                return outcome.map_err(|error| error.copy());
            }
            if !state.running {
                break;
            }
            // The state's lock is what the condition is checked under, so no wake-up is missed.
            group.changed.wait(&mut state);
        }
        state.running = true;
        state.gathering = Arc::default();
        let next = Arc::clone(&state.gathering);
        drop(state);
        let ended = Ended {
            queue: self,
            group: &group,
            next,
        };
        let outcome = work().map_err(Arc::new);
        *group.outcome.lock() = Some(outcome.clone());
        drop(ended);
        outcome.map_err(|error| error.copy())
    }
}

/// Hands over to the next group, also when the work panicked.
struct Ended<'a> {
    queue: &'a GroupCommit,
    group: &'a Group,
    next: Arc<Group>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.group
            .outcome
            .lock()
            .get_or_insert_with(|| Err(Arc::new(Error::Closed)));
        let mut state = self.queue.state.lock();
        state.running = false;
        self.group.changed.notify_all();
        self.next.changed.notify_one();
        drop(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn what_was_done_before_the_call_is_covered_by_its_work() {
        let queue = GroupCommit::default();
        let (written, flushed, runs) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        let flush = || {
                            let seen = written.load(Ordering::SeqCst);
                            runs.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            flushed.fetch_max(seen, Ordering::SeqCst);
                            Ok(())
                        };
                        queue.run(flush).unwrap();
                        assert!(flushed.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(runs.into_inner() < 16 * 200, "nobody shared a flush");
    }

    #[test]
    fn a_failure_reaches_its_group_and_no_other() {
        let queue = GroupCommit::default();
        let failed = || Err(Error::storage("flush", "x", std::io::Error::from_raw_os_error(5)));
        assert_eq!(queue.run(failed).unwrap_err().errno(), Some(5));
        assert!(queue.run(|| Ok(())).is_ok());
    }
}
