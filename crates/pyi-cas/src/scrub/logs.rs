//! Ref logs: every record of every log, and whether the newest one still has the end that its last writer saw.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fault::{Fault, Flaw, StoreFile};
use crate::file_refs::log_numbers;
use crate::log_records::{Piece, whole_log};
use crate::reflog::{self, Action, LOG_HEADER_BYTES, check_log_header, log_name, log_position};
use crate::scrub::reader::{Pace, Reader};
use crate::vfs::{OpenMode, Vfs};

/// What was found in the logs.
#[derive(Default, Debug)]
pub(crate) struct LogPass {
    pub(crate) faults: Vec<Fault>,
    pub(crate) records: u64,
    /// Number of the newest log and the end of its last whole record.
    pub(crate) newest: Option<(u64, u64)>,
    /// For each segment that the newest log depends on: the length that it must have.
    pub(crate) needs: HashMap<u64, u64>,
}

/// Reads all logs, or with `newest_only` the newest one and the headers of the others. Errors: `UnsupportedFormat`, `Storage`.
pub(crate) fn pass(
    vfs: &dyn Vfs,
    directory: &Path,
    store: &[u8; 16],
    newest_only: bool,
    pace: &mut Pace<'_>,
) -> Result<LogPass> {
    let mut result = LogPass::default();
    let numbers = log_numbers(vfs, directory)?;
    for (place, number) in numbers.iter().enumerate() {
        let newest = place + 1 == numbers.len();
        let path = directory.join(log_name(*number));
        let file = match vfs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            // Retention removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::storage("open", &path, error)),
        };
        let failed = |error| Error::storage("read", &path, error);
        let length = file.len().map_err(failed)?;
        let wanted = if newest_only && !newest {
            LOG_HEADER_BYTES
        } else {
            length
        };
        let mut reader = Reader::new(file.as_ref(), pace, wanted.min(length));
        let bytes = reader
            .at(0, usize::try_from(wanted).unwrap_or(usize::MAX))
            .map_err(failed)?
            .to_vec();
        let name = StoreFile::RefLog(*number);
        for (offset, length) in reader.unreadable {
            result.faults.push(Fault::at(name, offset, length, Flaw::Unreadable));
        }
        match check_log_header(&bytes, *number, store, &path.display().to_string()) {
            Ok(()) if bytes[44..64] != [0; 20] => result.faults.push(Fault::at(name, 44, 20, Flaw::NotZero)),
            Ok(()) => {}
            Err(Error::Corrupt { .. }) => result.faults.push(Fault::at(name, 0, LOG_HEADER_BYTES, Flaw::Header)),
            Err(error) => return Err(error),
        }
        if wanted == length || newest {
            let read = records(&bytes, *number, &mut result)?;
            if let Some(durable) = read.durable_before {
                result.forgive(*number, durable);
            }
            if newest {
                result.newest = Some((*number, read.end));
            } else if !read.sealed {
                // A log is left behind only when it is sealed.
                result.faults.push(Fault::at(name, read.end, 0, Flaw::Short));
            }
        }
    }
    Ok(result)
}

/// What the records of a log say of it.
struct LogRead {
    /// End of the last whole record.
    end: u64,
    /// Another one follows.
    sealed: bool,
    /// It was made after a loss of power, before which the logs were durable up to here (number, offset).
    durable_before: Option<(u64, u64)>,
}

impl LogPass {
    /// What a loss of power took of the logs before that one is left as it is, and no damage.
    fn forgive(&mut self, number: u64, durable: (u64, u64)) {
        self.faults.retain(|fault| match fault.file {
            StoreFile::RefLog(before) if before < number && matches!(fault.flaw, Flaw::Record | Flaw::Short) => {
                (before, fault.offset) < durable
            }
            _ => true,
        });
    }
}

/// Goes through the records of one log.
fn records(bytes: &[u8], number: u64, result: &mut LogPass) -> Result<LogRead> {
    let name = StoreFile::RefLog(number);
    let mut end = LOG_HEADER_BYTES.min(bytes.len() as u64);
    let (mut sealed, mut durable_before) = (false, None);
    result.needs.clear();
    for piece in whole_log(bytes, || name.to_string()) {
        let record = match piece? {
            Piece::Record(record) => record,
            Piece::Damage(damage) => {
                let damaged = &bytes[damage.start as usize..damage.end as usize];
                // Zeros at the end are what a power loss leaves.
                if !damage.is_last || damage.start == LOG_HEADER_BYTES || damaged.iter().any(|byte| *byte != 0) {
                    let fault = Fault::at(name, damage.start, damage.end - damage.start, Flaw::Record);
                    let keys = reflog::salvage_keys(damaged);
                    result.faults.push(Fault { keys, ..fault });
                }
                continue;
            }
        };
        if record.is_repaired {
            let fault = Fault::at(name, record.start, record.end - record.start, Flaw::Record);
            let keys = keys_of(&record.action);
            result.faults.push(Fault { keys, ..fault });
        }
        result.records += 1;
        end = record.end;
        let is_first = record.is_first();
        match record.action {
            Action::Seal => {
                sealed = true;
                break;
            }
            Action::Transaction(_, transaction) => {
                for (segment, offset) in transaction.dependencies {
                    let need = result.needs.entry(segment).or_default();
                    *need = offset.max(*need);
                }
            }
            Action::Snapshot(snapshot) => {
                if is_first {
                    durable_before = reflog::durable_before(&snapshot.message);
                }
            }
        }
    }
    Ok(LogRead {
        end,
        sealed,
        durable_before,
    })
}

fn keys_of(action: &Action) -> Vec<Vec<u8>> {
    match action {
        Action::Transaction(_, transaction) | Action::Snapshot(transaction) => transaction.keys().collect(),
        Action::Seal => Vec::new(),
    }
}

/// Adds a fault if the newest log ends before the place that its last writer saw.
pub(crate) fn check_end(pass: &mut LogPass, seen: u64) {
    let Some((number, end)) = pass.newest else { return };
    if seen > log_position(number, end) {
        let length = (seen & 0xffff_ffff).saturating_sub(end);
        pass.faults
            .push(Fault::at(StoreFile::RefLog(number), end, length, Flaw::Short));
    }
}
