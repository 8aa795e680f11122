//! Staying below a cap: who writes looks now and then how large the store is, and starts a collection beside the writers when it comes
//! near. Only when that does not help, checkpoints are refused until there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{Engine, now_ns};
use crate::garbage::{Budget, GcOptions, GcReport};
use crate::repository::Repository;
use crate::{Error, ErrorKind, Result};

/// Bytes that a process writes before it looks at the size again; less where the cap is small.
const STEP_MAX_BYTES: u64 = 4 << 20;
/// The cap has so many steps, so that many writers together do not run past it between two looks.
const STEPS: u64 = 1024;
/// A collection starts at this share of the cap, in percent.
const START_PERCENT: u64 = 85;
/// What retention keeps may fill this share of it, so that the next collection is not due at once.
const RETAINED_PERCENT: u64 = 70;
/// How long a collection waits for an operation of another process.
const PATIENCE: Duration = Duration::from_secs(2);
/// A store that is above its cap is collected again after so long at the earliest.
const AGAIN_NS: u64 = 1_000_000_000;
/// Size of a segment that is being rewritten, at most.
const REWRITTEN_MAX_BYTES: u64 = 64 << 20;
/// How long a writer waits for room at most, and how long it sleeps before it looks again.
const WAIT_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);
/// Priority of the collector among the threads of the machine (0: as all others, 19: last).
const NICENESS: libc::c_int = 10;

/// What this process knows of the cap.
#[derive(Default)]
pub(crate) struct Cap {
    /// Bytes written since the last look.
    written: AtomicU64,
    /// Bytes to be written until the next look; 0: not known.
    step: AtomicU64,
    /// The size at which another collection makes sense.
    next_at: AtomicU64,
    /// Process generation in which a collection was started, 0 if none runs.
    running: AtomicU64,
    last_begin_ns: AtomicU64,
    /// The store is as far above its cap as it may be, so writers wait for the collector.
    is_full: AtomicBool,
    /// A collection could not bring the store below the cap.
    is_over: AtomicBool,
}

/// How far above its cap a store may be for a while: what is being rewritten is there twice.
fn allowance(cap_bytes: u64) -> u64 {
    percent(cap_bytes, 40).min(REWRITTEN_MAX_BYTES)
}

fn percent(bytes: u64, share: u64) -> u64 {
    (u128::from(bytes) * u128::from(share) / 100) as u64
}

impl Engine {
    fn repository(self: &Arc<Self>) -> Repository {
        Repository { engine: self.clone() }
    }

    /// Refuses to write more into a store that is above its cap. O(1) as a rule.
    pub(crate) fn check_cap(self: &Arc<Self>) -> Result<()> {
        if !self.cap.is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        let cap_bytes = self.repository().retention()?.cap_bytes;
        let stored = self.store().stats()?.bytes_stored;
        let Some(cap_bytes) = cap_bytes.filter(|cap| stored > *cap) else {
            self.cap.is_over.store(false, Ordering::Release);
            return Ok(());
        };
        if now_ns().saturating_sub(self.cap.last_begin_ns.load(Ordering::Acquire)) > AGAIN_NS {
            self.start_collecting(cap_bytes);
        }
        Err(Error::new(
            ErrorKind::QuotaExceeded,
            format!(
                "the store takes {stored} bytes, its cap is {cap_bytes}, and a collection did not help; drop branches or workspaces, \
                 shorten retention's history, or raise the cap"
            ),
        ))
    }

    /// Waits where the store has reached its cap until a collection, here or in another process, has made room; else writers that are
    /// faster than the collector would run past it. To be called outside of sections, as a collector waits for them. One load as a rule.
    pub(crate) fn make_room(self: &Arc<Self>) {
        let cap = &self.cap;
        let begin = Instant::now();
        while cap.is_full.load(Ordering::Acquire) && !cap.is_over.load(Ordering::Acquire) && begin.elapsed() < WAIT_MAX
        {
            std::thread::sleep(PAUSE);
            if cap.running.load(Ordering::Acquire) != pyi_cas::process_generation() && self.look_at_size().is_err() {
                return;
            }
        }
    }

    /// Whether a small checkpoint at this moment would wait for nothing. A hint.
    pub(crate) fn is_ready(&self) -> bool {
        let cap = &self.cap;
        !cap.is_full.load(Ordering::Acquire) && !cap.is_over.load(Ordering::Acquire) && self.store().is_ready()
    }

    /// Takes note of bytes that were written, and starts a collection when the cap comes near.
    pub(crate) fn grown(self: &Arc<Self>, bytes: u64) {
        let written = self
            .cap
            .written
            .fetch_add(bytes, Ordering::AcqRel)
            .saturating_add(bytes);
        let step = match self.cap.step.load(Ordering::Acquire) {
            0 => STEP_MAX_BYTES / 16,
            step => step,
        };
        if written >= step {
            self.cap.written.store(0, Ordering::Release);
            // A store that cannot be looked at now says so to its next reader or writer.
            let _ = self.look_at_size();
        }
    }

    fn look_at_size(self: &Arc<Self>) -> Result<()> {
        let Some(cap_bytes) = self.repository().retention()?.cap_bytes else {
            self.cap.step.store(STEP_MAX_BYTES, Ordering::Release);
            self.cap.is_full.store(false, Ordering::Release);
            return Ok(());
        };
        self.cap
            .step
            .store((cap_bytes / STEPS).clamp(1, STEP_MAX_BYTES), Ordering::Release);
        let stored = self.store().stats()?.bytes_stored;
        let is_full = stored >= cap_bytes + allowance(cap_bytes);
        self.cap.is_full.store(is_full, Ordering::Release);
        if stored >= cap_bytes
            || stored >= percent(cap_bytes, START_PERCENT).max(self.cap.next_at.load(Ordering::Acquire))
        {
            self.start_collecting(cap_bytes);
        }
        Ok(())
    }

    fn start_collecting(self: &Arc<Self>, cap_bytes: u64) {
        let (cap, generation) = (&self.cap, pyi_cas::process_generation());
        let before = cap.running.load(Ordering::Acquire);
        // A thread of the process that forked this one does not run here.
        let is_free = before != generation
            && cap
                .running
                .compare_exchange(before, generation, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        if !is_free {
            return;
        }
        cap.last_begin_ns.store(now_ns(), Ordering::Release);
        let engine = self.clone();
        let started = std::thread::Builder::new().name("pyi-collect".into()).spawn(move || {
            lower_priority();
            engine.collect_below(cap_bytes);
            engine.cap.running.store(0, Ordering::Release);
        });
        if started.is_err() {
            cap.running.store(0, Ordering::Release);
        }
    }

    fn collect_below(self: &Arc<Self>, cap_bytes: u64) {
        let budget = Budget {
            named: Some(cap_bytes),
            retained: Some(percent(cap_bytes, RETAINED_PERCENT)),
        };
        let options = GcOptions {
            patience: PATIENCE,
            ..GcOptions::default()
        };
        let report = self.collect(&self.repository(), &options, budget);
        if matches!(&report, Ok(report) if report.gave_up.is_some()) {
            return;
        }
        let Ok(stats) = self.store().stats() else { return };
        let left = cap_bytes.saturating_sub(stats.bytes_stored);
        self.cap.next_at.store(stats.bytes_stored + left / 2, Ordering::Release);
        let is_over = stats.bytes_stored > cap_bytes && !has_helped(report.as_ref().ok());
        self.cap.is_over.store(is_over, Ordering::Release);
        self.cap.is_full.store(
            stats.bytes_stored >= cap_bytes + allowance(cap_bytes),
            Ordering::Release,
        );
    }
}

/// Whether a collection removed something, where it came to its end. Then what is above the cap was written meanwhile, and goes with the next one:
/// no reason to refuse anything.
fn has_helped(report: Option<&GcReport>) -> bool {
    report.is_some_and(|report| report.objects_removed > 0 || report.segments_removed > 0)
}

/// Lets everybody else go first.
fn lower_priority() {
    // SAFETY: both calls take plain numbers and touch no memory of this process. 0 is the calling thread.
    unsafe {
        let _ = libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writers that went on while a slow collector worked had the store above its cap again, and were told that the collection had not helped.
    #[test]
    fn a_collection_that_removed_something_helped() {
        let removed = GcReport {
            bytes_before: 120,
            bytes_after: 130,
            objects_removed: 40,
            ..GcReport::default()
        };
        assert!(has_helped(Some(&removed)));
        assert!(!has_helped(Some(&GcReport::default())));
        assert!(!has_helped(None), "what is named does not fit");
    }
}
