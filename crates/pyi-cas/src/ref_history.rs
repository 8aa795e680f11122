//! What happened to the refs: every transaction that applied, read from the logs that are still there. Nothing is remembered between
//! two readings, and nothing is locked: a log only grows, and one that retention removes meanwhile is history no more.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::file_refs::{log_numbers, read_log};
use crate::log_records::{Piece, whole_log};
use crate::reflog::{self, Action};
use crate::refstate::RefState;
use crate::store::{RefOutcome, RefTransaction};
use crate::vfs::{OpenMode, Vfs};

/// What one key was before a transaction and after it; never the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyChange {
    /// The key.
    pub key: Vec<u8>,
    /// Its value before; `None` if it had none.
    pub before: Option<Bytes>,
    /// Its value after; `None` if it was deleted.
    pub after: Option<Bytes>,
}

/// A transaction that applied and changed something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefChange {
    /// Where it ends: the log's number in the upper 32 bits, the offset in the log below. Grows from one to the next.
    pub position: u64,
    /// When its writer made it, unix nanoseconds.
    pub time_ns: u64,
    /// Why, in its writer's words.
    pub message: String,
    /// What it changed, in the order of the transaction.
    pub changes: Vec<KeyChange>,
}

/// What `apply` changed of the keys of `transaction`; nothing if it did not apply.
pub(crate) fn changed(
    state: &mut RefState,
    transaction: &RefTransaction,
    apply: impl FnOnce(&mut RefState) -> Option<RefOutcome>,
) -> Vec<KeyChange> {
    let keys = state.touched(transaction);
    let before: Vec<_> = keys.iter().map(|key| state.get(key)).collect();
    if apply(state) != Some(RefOutcome::Done) {
        return Vec::new();
    }
    // A key that is put twice counts once.
    let mut seen = HashSet::new();
    let once: Vec<bool> = keys.iter().map(|key| seen.insert(key.as_slice())).collect();
    let changes = keys
        .iter()
        .zip(before)
        .zip(once)
        .filter_map(|((key, before), is_first)| {
            let after = state.get(key);
            (is_first && before != after).then(|| KeyChange {
                key: key.clone(),
                before,
                after,
            })
        });
    changes.collect()
}

/// Calls `visit` with every change in the logs of a directory, oldest first. Bytes that are no record are passed over, as when the log is
/// folded. Errors: `Corrupt`, `UnsupportedFormat`, `Storage`. O(bytes of the logs); memory: one log.
pub(crate) fn walk(vfs: &dyn Vfs, directory: &Path, store: &[u8; 16], visit: &mut dyn FnMut(RefChange)) -> Result<()> {
    for number in log_numbers(vfs, directory)? {
        let path = directory.join(reflog::log_name(number));
        // Retention removed it since it was listed.
        let Some(bytes) = read_log(vfs, directory, number, store)? else {
            continue;
        };
        walk_log(number, &bytes, &path, visit)?;
    }
    Ok(())
}

fn walk_log(number: u64, bytes: &[u8], path: &Path, visit: &mut dyn FnMut(RefChange)) -> Result<()> {
    let mut state = RefState::default();
    for piece in whole_log(bytes, || path.display().to_string()) {
        // Bytes that are no record are passed over, as when the log is folded.
        let Piece::Record(record) = piece? else { continue };
        let is_first = record.is_first();
        match record.action {
            Action::Transaction(operation, transaction) => {
                let changes = changed(&mut state, &transaction, |state| state.apply(operation, &transaction));
                if !changes.is_empty() {
                    visit(RefChange {
                        position: reflog::log_position(number, record.end),
                        time_ns: record.time_ns,
                        message: transaction.message,
                        changes,
                    });
                }
            }
            Action::Seal => break,
            Action::Snapshot(snapshot) if is_first => {
                state = RefState::from_snapshot(&snapshot);
            }
            Action::Snapshot(_) => {}
        }
    }
    Ok(())
}

/// Removes the logs whose changes all stand before `position`; the newest stays in any case. Returns the bytes that this freed. Errors:
/// `Storage`.
pub(crate) fn forget(vfs: &dyn Vfs, directory: &Path, position: u64) -> Result<u64> {
    let numbers = log_numbers(vfs, directory)?;
    let mut freed = 0;
    let Some((_, older)) = numbers.split_last() else {
        return Ok(0);
    };
    for number in older.iter().filter(|number| **number < position >> 32) {
        let path = directory.join(reflog::log_name(*number));
        let length = vfs
            .open(&path, OpenMode::Read)
            .and_then(|file| file.len())
            .unwrap_or_default();
        match vfs.remove(&path) {
            Ok(()) => freed += length,
            // Another collector was here first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::storage("remove", &path, error)),
        }
    }
    Ok(freed)
}
