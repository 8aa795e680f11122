//! From one log to the next: which it is, and making it.

use super::log::{Log, create_log, log_numbers, read_log};
use super::{ATTEMPTS, FileRefs};
use crate::error::{Error, Result};
use crate::log_records::{Piece, whole_log};
use crate::reflog::Action;

impl FileRefs {
    /// Goes from a sealed log to the next one, creating it if nobody has. `false` if there is none and none may be made.
    pub(super) fn next_log(&self, log: &mut Log) -> Result<bool> {
        let vfs = self.shared.vfs.as_ref();
        for _ in 0..ATTEMPTS {
            let next = log.number + 1;
            // The next one may be gone already, if this process has not looked for long. The newest one holds the whole state; only a
            // collector, while which nobody else removes logs, reads all that is between.
            let numbers = log_numbers(vfs, &self.directory)?;
            let newest = numbers.last().copied().filter(|newest| *newest >= next);
            let every = self.trail.lock().is_some() && numbers.contains(&next) && self.is_in_chain(next, newest)?;
            let mut number = if every { Some(next) } else { newest };
            if number.is_none() {
                if self.read_only {
                    return Ok(false);
                }
                // The next log holds the state and not how it came about: where it survives a loss of power, so shall the history before it. If this
                // fails, the state counts.
                let _ = log.file.sync_data();
                self.settle_places(&mut log.state);
                match create_log(vfs, &self.directory, next, &self.shared.store, &log.state, "") {
                    // So slow that others went on: they took the temporary file for debris, and the log that it was for may be gone, too.
                    Err(error) if error.is_missing_file() => continue,
                    created => created?,
                }
                self.remove_debris(next);
                // Between the look and this others may have made it, gone on, and removed it: then the one made here is not the next one, and goes.
                number = log_numbers(vfs, &self.directory)?.last().copied();
                if number.is_some_and(|newest| newest > next) && !self.is_in_chain(next, number)? {
                    let _ = vfs.remove(&self.path(next));
                }
            }
            match self.reopen(number.unwrap_or(next)) {
                Err(error) if error.is_missing_file() => continue,
                reopened => {
                    let buffer = std::mem::take(&mut log.buffer);
                    *log = Log { buffer, ..reopened? };
                    return Ok(true);
                }
            }
        }
        Err(Error::Conflict {
            what: format!("the ref log in {}", self.directory.display()),
        })
    }

    /// Whether a log is one of those that lead to the newest one: it is that, or sealed. Errors: `Storage`, `Corrupt`. O(log).
    fn is_in_chain(&self, number: u64, newest: Option<u64>) -> Result<bool> {
        if newest == Some(number) {
            return Ok(true);
        }
        // `None`: removed meanwhile.
        let vfs = self.shared.vfs.as_ref();
        let Some(bytes) = read_log(vfs, &self.directory, number, &self.shared.store)? else {
            return Ok(false);
        };
        for piece in whole_log(&bytes, || self.path(number).display().to_string()) {
            // What is broken is passed over; whoever folds the log notes it.
            if matches!(piece?, Piece::Record(record) if record.action == Action::Seal) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what creators of earlier logs left behind when they died. Best effort.
    fn remove_debris(&self, number: u64) {
        for name in self.shared.vfs.list(&self.directory).unwrap_or_default() {
            let older = name
                .split_once(".tmp-")
                .and_then(|(digits, _)| u64::from_str_radix(digits, 16).ok());
            if older.is_some_and(|older| older < number) {
                let _ = self.shared.vfs.remove(&self.directory.join(name));
            }
        }
    }
}
