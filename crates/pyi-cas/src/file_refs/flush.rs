//! Making refs durable: flushing the log, and leaving it for the next one where a flush failed or what it depends on went elsewhere.

use std::sync::Arc;

use super::FileRefs;
use crate::error::{Error, Result};
use crate::fork;
use crate::reflog::{self, Action};
use crate::refstate::RefState;

/// Logs that others seal at the same moment are followed so often.
const ATTEMPTS: usize = 8;

/// What of the log survives a loss of power.
#[derive(Default, Debug)]
pub(super) struct Durable {
    number: u64,
    offset: u64,
    /// A flush of the log of this number failed; no flush of it is believed any more.
    failed: u64,
    /// The name of the log of this number is durable.
    named: u64,
}

impl FileRefs {
    /// Makes everything in the current log durable; the logs before it were flushed when it was made. A log whose flush fails is left for
    /// a new one, which is flushed as it appears. Errors: `Storage`, `Closed`. One flush if anything was appended since the last one.
    pub(crate) fn flush(&self) -> Result<()> {
        let _gate = fork::enter();
        self.check_open()?;
        let (file, number, offset) = {
            let mut log = self.log.write();
            if !self.is_fresh(&log) {
                self.catch_up(&mut log, None)?;
            }
            (Arc::clone(&log.file), log.number, log.offset)
        };
        // Not under the log's lock: others move refs meanwhile.
        let mut durable = self.durable.lock();
        if (durable.number, durable.offset) >= (number, offset) {
            return Ok(());
        }
        if durable.failed == number {
            drop(durable);
            return self.renew();
        }
        let failed = |error| Error::storage("flush", self.path(number), error);
        let mut result = file.sync_data().map_err(failed);
        if result.is_ok() && durable.named != number {
            let directory = self.shared.vfs.sync_dir(&self.directory);
            result = directory.map_err(|error| Error::storage("flush", &self.directory, error));
        }
        match result {
            Ok(()) => {
                (durable.number, durable.offset, durable.named) = (number, offset, number);
                self.note_durable(number, offset);
                Ok(())
            }
            Err(error) => {
                durable.failed = number;
                drop(durable);
                if self.read_only {
                    return Err(error);
                }
                self.renew().map_err(|_| error)
            }
        }
    }

    /// Seals the log and goes on in a new one that holds the state as it is, depends on nothing that is durable by now, and is durable
    /// itself. Errors: `Storage`, `Closed`. O(state), two flushes.
    pub(crate) fn renew(&self) -> Result<()> {
        let _gate = fork::enter();
        self.check_open()?;
        let mut log = self.log.write();
        let before = log.number;
        for _ in 0..ATTEMPTS {
            let record = reflog::encode(&Action::Seal, self.shared.vfs.now_ns())?;
            self.append(&log, &record)?;
            self.catch_up(&mut log, None)?;
            // Somebody else may have made the next log before, from places that were not durable then.
            let mut state = log.state.clone();
            let places = state.places().count();
            self.settle_places(&mut state);
            if log.number > before && state.places().count() == places {
                let mut durable = self.durable.lock();
                // It may be another's, who died before its name was durable, or to which others have appended since.
                let failed = |error| Error::storage("flush", self.path(log.number), error);
                let flushed = log.file.sync_data().map_err(failed).and_then(|()| {
                    let named = self.shared.vfs.sync_dir(&self.directory);
                    named.map_err(|error| Error::storage("flush", &self.directory, error))
                });
                if let Err(error) = flushed {
                    durable.failed = log.number;
                    return Err(error);
                }
                (durable.number, durable.offset) = (log.number, log.offset);
                durable.named = log.number;
                self.note_durable(log.number, log.offset);
                return Ok(());
            }
        }
        Err(Error::Conflict {
            what: format!("the ref log in {}", self.directory.display()),
        })
    }

    /// Gets to know what others appended. Errors: `Storage`, `Corrupt`. One load if that is nothing.
    pub(crate) fn follow(&self) -> Result<()> {
        self.with_fresh(|_| ())
    }

    /// Whether the state depends on a place (segment, offset) of this sort. O(places).
    pub(crate) fn depend_on(&self, is_so: impl Fn(u64, u64) -> bool) -> bool {
        let log = self.log.read();
        log.state.places().any(|(segment, offset)| is_so(segment, offset))
    }

    fn note_durable(&self, number: u64, offset: u64) {
        if let Some(control) = &self.shared.control {
            control.note_refs_durable(number, offset);
        }
    }

    /// Forgets the places of a state that need no flush any more; a place of which nothing can be said now is kept.
    pub(super) fn settle_places(&self, state: &mut RefState) {
        state.settle_places(|segment, offset| self.shared.is_durable(segment, offset).unwrap_or(false));
    }
}
