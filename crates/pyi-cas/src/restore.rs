//! Making a store of the files of a backup: the ref log is cut at a position, indexes are built, everything is flushed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::file_refs::{log_numbers, read_log};
use crate::file_store::sync_dir;
use crate::format::Format;
use crate::heal::write_index;
use crate::log_records::{LogRecord, Piece, whole_log};
use crate::reflog::{Action, log_name, log_position};
use crate::refstate::RefState;
use crate::shared::Shared;
use crate::store::RefOutcome;
use crate::vfs::{OpenMode, Vfs};

/// A change of the refs that took effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogPosition {
    /// Log number << 32 | offset behind the record.
    pub position: u64,
    /// When it was made, unix ns.
    pub time_ns: u64,
    /// What its maker said of it.
    pub message: String,
}

/// The records of a log, up to its seal.
fn records(vfs: &dyn Vfs, directory: &Path, number: u64, store: &[u8; 16]) -> Result<Vec<LogRecord>> {
    let path = directory.join(log_name(number));
    let Some(bytes) = read_log(vfs, directory, number, store)? else {
        return Err(Error::storage("open", &path, io::ErrorKind::NotFound.into()));
    };
    let mut found = Vec::new();
    for piece in whole_log(&bytes, || path.display().to_string()) {
        let Piece::Record(record) = piece? else { continue };
        let is_sealed = record.action == Action::Seal;
        found.push(record);
        if is_sealed {
            break;
        }
    }
    Ok(found)
}

/// Every change of the refs that the logs in `directory` (`refs` of a store) still hold, oldest first. Errors: `Corrupt`, `UnsupportedFormat`,
/// `Storage`. O(bytes of the logs).
pub fn log_positions(vfs: &dyn Vfs, directory: &Path, store: &[u8; 16]) -> Result<Vec<LogPosition>> {
    let mut positions = Vec::new();
    for number in log_numbers(vfs, directory)? {
        let mut state = RefState::default();
        for record in records(vfs, directory, number, store)? {
            let is_first = record.is_first();
            match record.action {
                Action::Snapshot(snapshot) if is_first => {
                    state = RefState::from_snapshot(&snapshot);
                    // A log's beginning is the end of the one before it, unless that one is gone.
                    if positions.is_empty() {
                        positions.push(LogPosition {
                            position: log_position(number, record.end),
                            time_ns: record.time_ns,
                            message: String::new(),
                        });
                    }
                }
                Action::Seal | Action::Snapshot(_) => {}
                Action::Transaction(operation, transaction) => {
                    if state.apply(operation, &transaction) == Some(RefOutcome::Done) {
                        positions.push(LogPosition {
                            position: log_position(number, record.end),
                            time_ns: record.time_ns,
                            message: transaction.message,
                        });
                    }
                }
            }
        }
    }
    Ok(positions)
}

/// Makes a store of the files that were laid out in `directory`: cuts the ref log at `position` (the last record that ends there or before counts)
/// and removes later logs, builds the indexes of the segments in `sealed`, flushes everything. Returns the position that the refs are at. Errors:
/// `NotFound` if the logs do not go back to the position; `Corrupt`, `UnsupportedFormat`, `Storage`. O(bytes of the segments).
pub fn lay_out(vfs: Arc<dyn Vfs>, directory: &Path, position: Option<u64>, sealed: &[u64]) -> Result<u64> {
    let format = Format::read(vfs.as_ref(), &directory.join("format"))?.ok_or_else(|| Error::NotFound {
        what: format!("a format file in {}", directory.display()),
    })?;
    let refs = directory.join("refs");
    let reached = cut_logs(vfs.as_ref(), &refs, &format.store, position)?;
    let segments = directory.join("segments");
    let shared = Shared::new(vfs, segments, format.store, None, 0);
    let vfs = shared.vfs.as_ref();
    for number in shared.list()?.segments {
        let path = shared.segment_path(number);
        let file = vfs
            .open(&path, OpenMode::ReadWrite)
            .map_err(|error| Error::storage("open", &path, error))?;
        if sealed.contains(&number) {
            write_index(&shared, number, file.as_ref())?;
        } else {
            file.sync_data()
                .map_err(|error| Error::storage("flush", &path, error))?;
        }
    }
    for path in [&shared.directory, &refs, directory] {
        sync_dir(vfs, path)?;
    }
    Ok(reached)
}

fn cut_logs(vfs: &dyn Vfs, refs: &Path, store: &[u8; 16], position: Option<u64>) -> Result<u64> {
    let numbers = log_numbers(vfs, refs)?;
    let newest = numbers.last().copied().unwrap_or(0);
    let wanted = position.unwrap_or(newest << 32 | 0xffff_ffff);
    let too_early = || Error::NotFound {
        what: format!(
            "position {wanted} in the ref logs of {}; they begin later",
            refs.display()
        ),
    };
    let (number, limit) = (wanted >> 32, wanted & 0xffff_ffff);
    if !numbers.contains(&number) {
        return Err(too_early());
    }
    let found = records(vfs, refs, number, store)?;
    // A seal would send readers on to the next log, which goes.
    let last = found
        .iter()
        .rfind(|record| record.end <= limit && (position.is_none() || record.action != Action::Seal))
        .ok_or_else(too_early)?;
    for later in numbers.iter().filter(|later| **later > number) {
        let path = refs.join(log_name(*later));
        vfs.remove(&path)
            .map_err(|error| Error::storage("remove", &path, error))?;
    }
    for kept in numbers.iter().filter(|kept| **kept <= number) {
        let path = refs.join(log_name(*kept));
        let file = vfs
            .open(&path, OpenMode::ReadWrite)
            .map_err(|error| Error::storage("open", &path, error))?;
        if *kept == number {
            file.set_len(last.end)
                .map_err(|error| Error::storage("cut", &path, error))?;
        }
        file.sync_data()
            .map_err(|error| Error::storage("flush", &path, error))?;
    }
    Ok(log_position(number, last.end))
}
