//! Waiting for a collapse.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Superposition;
use crate::Result;
use crate::checkpoint::Checkpoint;

/// How often a waiter looks at the ref log's generation for a collapse in another process: first, and at last.
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_LAST: Duration = Duration::from_millis(5);

/// Tells the waiters of this engine at once.
#[derive(Default)]
pub(crate) struct Watch {
    told: Mutex<u64>,
    condvar: Condvar,
}

impl Watch {
    /// Something collapsed or went.
    pub(crate) fn tell(&self) {
        *self.told.lock() += 1;
        self.condvar.notify_all();
    }

    fn told(&self) -> u64 {
        *self.told.lock()
    }

    /// Waits until somebody tells something after `last`, or the time is over.
    fn wait(&self, last: u64, most: Duration) {
        let mut told = self.told.lock();
        if *told == last {
            self.condvar.wait_for(&mut told, most);
        }
    }
}

impl Superposition {
    /// Waits until the superposition collapsed, here or in another process; the outcome, or `None` when the time is over. Who waits in
    /// the process that collapses is told at once, others look at the generation of the refs every few milliseconds.
    ///
    /// # Errors
    /// `NotFound` if it decayed, was dropped or let go; `Storage`.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<Checkpoint>> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut poll = POLL_FIRST;
        loop {
            let watch = &self.engine().watch;
            let last = watch.told();
            {
                let cache = self.fresh()?;
                if let Some((_, id)) = cache.record.collapsed {
                    drop(cache);
                    let root = self.engine().root(&id)?;
                    return Ok(Some(Checkpoint::new(self.engine().clone(), id, root)));
                }
                cache.check_living()?;
            }
            let step = until.map_or(poll, |until| until.saturating_duration_since(Instant::now()).min(poll));
            if step.is_zero() {
                return Ok(None);
            }
            watch.wait(last, step);
            poll = (poll * 2).min(POLL_LAST);
        }
    }
}
