//! Refs on disk: an append-only log that all processes share. A writer appends a conditional record and reads on to the
//! end of the file; the order in the file decides who won, so nobody needs a lock. Where the append ended right behind what the writer had read, nobody came
//! in between, and there is nothing to read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::error::{Error, Result};
use crate::fork;
use crate::id::to_hex;
use crate::log_records::{Piece, log_records};
use crate::ref_history::{self, RefChange};
use crate::reflog::{self, Action, BODY_MAX_BYTES, LOG_HEADER_BYTES};
use crate::refstate::{OperationId, RefState};
use crate::segment::{Damage, DamagedFile};
use crate::shared::Shared;
use crate::store::{RefOutcome, RefStore, RefTransaction};
use crate::vfs::read_full;

mod chain;
mod flush;
mod log;
mod recovery;
mod trail;

use log::{Log, create_log, open_log};
pub(crate) use log::{log_numbers, read_log};

/// First look at the log; what others appended since the last look is rarely more.
const READ_BYTES: usize = 4096;
/// A log may grow to so many times its snapshot before it is sealed, so that a large state is not copied all the time.
const GROWTH: u64 = 4;
/// How often a transaction is repeated because the log was sealed before it; each time a whole log went by.
const ATTEMPTS: usize = 100;

/// What may be done to the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) read_only: bool,
    /// Create the first log if there is none.
    pub(crate) create_log: bool,
    /// The power may have been lost since the refs were last looked at.
    pub(crate) recover: bool,
    /// A log is sealed when it is longer than this.
    pub(crate) limit_bytes: u64,
}

/// The refs of a [`crate::FileStore`].
pub(crate) struct FileRefs {
    shared: Arc<Shared>,
    directory: PathBuf,
    read_only: bool,
    limit_bytes: u64,
    closed: AtomicBool,
    /// Damaged places found so far. Locked after the log.
    damage: Mutex<Vec<Damage>>,
    /// Keys that a loss of power took back.
    lost: Vec<Vec<u8>>,
    /// Places of the logs that a loss of power took.
    holes: Vec<Damage>,
    durable: Mutex<flush::Durable>,
    /// Values that keys were set to since a collector asked for them, whatever they are now. Locked after the log.
    trail: Mutex<Option<trail::Trail>>,
    log: RwLock<Log>,
    /// Name of the last transaction, and the process generation that it was made in.
    last_operation: Mutex<(Option<u64>, OperationId)>,
}

/// What a fold does beside following the state.
#[derive(Default)]
struct Fold<'a> {
    wanted: Option<&'a OperationId>,
    /// Of the wanted operation, once it was read.
    outcome: Option<RefOutcome>,
    /// After a loss of power: whether a segment is whole up to an offset. A record with a place that is not does not count.
    whole: Option<&'a dyn Fn(u64, u64) -> bool>,
    /// Keys of the records that did not count.
    lost: Vec<Vec<u8>>,
    /// The state goes on from the log before, the snapshot says nothing new.
    skip_snapshot: bool,
}

impl FileRefs {
    /// Opens the newest log and folds it; creates the first one if there is none and that is asked for.
    pub(crate) fn open(shared: Arc<Shared>, directory: PathBuf, access: Access) -> Result<FileRefs> {
        let vfs = shared.vfs.as_ref();
        let mut numbers = log_numbers(vfs, &directory)?;
        if numbers.is_empty() && access.create_log {
            create_log(vfs, &directory, 1, &shared.store, &RefState::default(), "")?;
            numbers = log_numbers(vfs, &directory)?;
        }
        let mut attempt = 0;
        let log = loop {
            let newest = numbers
                .last()
                .copied()
                .ok_or_else(|| Error::corrupt("the ref log (it is missing)", directory.display().to_string()))?;
            match open_log(vfs, &directory, newest, &shared.store, access.read_only) {
                // A collector removed it since the listing, so there is a newer one.
                Err(error) if error.is_missing_file() && attempt < ATTEMPTS => attempt += 1,
                other => break RwLock::new(other?),
            }
            numbers = log_numbers(vfs, &directory)?;
        };
        let mut refs = FileRefs {
            shared,
            directory,
            read_only: access.read_only,
            limit_bytes: access.limit_bytes,
            closed: AtomicBool::new(false),
            damage: Mutex::default(),
            lost: Vec::new(),
            holes: Vec::new(),
            durable: Mutex::default(),
            trail: Mutex::default(),
            log,
            last_operation: Mutex::default(),
        };
        if access.recover {
            refs.recover(&numbers)?;
        }
        {
            let mut log = refs.log.write();
            refs.catch_up(&mut log, None)?;
            if let (Some(control), true) = (&refs.shared.control, access.recover && !access.read_only) {
                // What it said before is of a log that a loss of power may have shortened.
                control.set_ref_end(reflog::log_position(log.number, log.offset));
            }
        }
        Ok(refs)
    }

    /// Places of the logs that a loss of power took, found when this store was opened.
    pub(crate) fn holes(&self) -> &[Damage] {
        &self.holes
    }

    /// Keys that went back to an earlier value when this store was opened, because a loss of power took what they named.
    pub(crate) fn lost(&self) -> &[Vec<u8>] {
        &self.lost
    }

    /// Damaged places of the logs that were read, up to the end of the current one.
    pub(crate) fn damage(&self) -> Result<Vec<Damage>> {
        self.with_fresh(|_| self.damage.lock().clone())
    }

    /// Number of the current log and the end of its last whole record.
    pub(crate) fn end(&self) -> Result<(u64, u64)> {
        let _gate = fork::enter();
        self.check_open()?;
        let mut log = self.log.write();
        self.catch_up(&mut log, None)?;
        Ok((log.number, log.offset))
    }

    /// Remembers damage, each place once.
    fn report_damage(&self, number: u64, offset: u64, length: u64) {
        let mut damage = self.damage.lock();
        if !damage
            .iter()
            .any(|place| place.number == number && place.offset == offset)
        {
            damage.push(Damage {
                file: DamagedFile::RefLog,
                number,
                offset,
                length,
            });
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn reopen(&self, number: u64) -> Result<Log> {
        open_log(
            self.shared.vfs.as_ref(),
            &self.directory,
            number,
            &self.shared.store,
            self.read_only,
        )
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(reflog::log_name(number))
    }

    /// Whether nothing was appended since the state was folded, as far as the control file knows.
    fn is_fresh(&self, log: &Log) -> bool {
        self.shared
            .control
            .as_ref()
            .is_some_and(|control| control.ref_generation() == log.generation)
            && !log.sealed
    }

    /// Folds what stands behind the offset, going on to the next log at a seal. Returns the outcome of `wanted`, if it
    /// was read. O(bytes read).
    fn catch_up(&self, log: &mut Log, wanted: Option<&OperationId>) -> Result<Option<RefOutcome>> {
        let control = self.shared.control.as_ref();
        let generation = control.map_or(0, |control| control.ref_generation());
        let mut fold = Fold {
            wanted,
            ..Fold::default()
        };
        loop {
            if !log.sealed {
                self.fold(log, &mut fold)?;
            }
            if !log.sealed || !self.next_log(log)? {
                break;
            }
        }
        log.generation = generation;
        let highest = log.state.highest_segment();
        self.shared.number_floor.fetch_max(highest, Ordering::AcqRel);
        Ok(fold.outcome)
    }

    /// Reads from the offset to the end of the file and applies the whole records.
    fn fold(&self, log: &mut Log, fold: &mut Fold<'_>) -> Result<()> {
        let mut buffer = std::mem::take(&mut log.buffer);
        let result = self.fold_with(&mut buffer, log, fold);
        // A large read happens once, at opening; its memory is not kept.
        if buffer.capacity() <= 16 * READ_BYTES {
            log.buffer = buffer;
        }
        result
    }

    fn fold_with(&self, buffer: &mut Vec<u8>, log: &mut Log, fold: &mut Fold<'_>) -> Result<()> {
        let path = self.path(log.number);
        let mut size = READ_BYTES;
        buffer.clear();
        loop {
            let kept = buffer.len();
            buffer.resize(size.max(kept + READ_BYTES), 0);
            let n = read_full(log.file.as_ref(), &mut buffer[kept..], log.offset + kept as u64)
                .map_err(|error| Error::storage("read", &path, error))?;
            if kept + n < buffer.len() {
                buffer.truncate(kept + n);
                break;
            }
            size = buffer.len() * 4;
        }
        let base = log.offset;
        let opening = base == LOG_HEADER_BYTES;
        for piece in log_records(buffer, base, || path.display().to_string()) {
            let record = match piece? {
                Piece::Record(record) => record,
                Piece::Damage(damage) => {
                    // At the end only what an opener finds there is judged: later, it may be a record on its way. Zeros are what a power loss leaves of
                    // one.
                    let rest = &buffer[(damage.start - base) as usize..];
                    if !damage.is_last || opening && rest.iter().any(|byte| *byte != 0) {
                        self.report_damage(log.number, damage.start, damage.end - damage.start);
                    }
                    continue;
                }
            };
            if record.is_repaired {
                self.report_damage(log.number, record.start, record.end - record.start);
            }
            let is_first = record.is_first();
            log.offset = record.end;
            match record.action {
                Action::Transaction(operation, transaction) => {
                    if let Some(whole) = fold.whole
                        && !transaction.dependencies.iter().all(|place| whole(place.0, place.1))
                    {
                        fold.lost.extend(log.state.touched(&transaction));
                        continue;
                    }
                    let result = log.state.apply(operation, &transaction);
                    if result == Some(RefOutcome::Done) {
                        self.leave_trail(&transaction);
                    }
                    if fold.wanted == Some(&operation) {
                        fold.outcome = result.or(fold.outcome.take());
                    }
                }
                Action::Seal => {
                    log.sealed = true;
                    break;
                }
                Action::Snapshot(snapshot) if is_first => {
                    if !fold.skip_snapshot {
                        log.state = RefState::from_snapshot(&snapshot);
                    }
                    log.start = log.offset;
                }
                // A log begins with its snapshot; anywhere else it would be no fold any more.
                Action::Snapshot(_) => {}
            }
        }
        Ok(())
    }

    /// Appends one record in one write. Returns the ref generation before it, if there is a control file.
    fn append(&self, log: &Log, record: &[u8]) -> Result<Option<u64>> {
        let failed = |error| Error::storage("append to", self.path(log.number), error);
        let written = loop {
            match log.file.append(record) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(failed)?,
            }
        };
        if written < record.len() {
            // Others skip the torn bytes; they can not be taken back, as somebody may have appended behind them.
            return Err(failed(io::Error::from_raw_os_error(libc::ENOSPC)));
        }
        Ok(self.shared.control.as_ref().map(|control| control.bump_refs()))
    }

    /// A name that no other transaction has. A system call once in 2^32.
    fn next_operation(&self) -> Result<OperationId> {
        let vfs = self.shared.vfs.as_ref();
        let generation = vfs.process_generation();
        let mut last = self.last_operation.lock();
        let (made_in, operation) = *last;
        let number = u32::from_le_bytes([operation[12], operation[13], operation[14], operation[15]]);
        let mut operation = operation;
        let next = match number.checked_add(1) {
            // The child of a fork must not go on with its parent's names.
            Some(next) if made_in == Some(generation) => next,
            _ => {
                vfs.random(&mut operation[..12])
                    .map_err(|error| Error::storage("name a transaction for", &self.directory, error))?;
                0
            }
        };
        operation[12..].copy_from_slice(&next.to_le_bytes());
        *last = (Some(generation), operation);
        Ok(operation)
    }

    /// Seals the log once it is long enough. What fails here is tried again by whoever commits next.
    fn rotate_if_long(&self, log: &mut Log) -> Result<()> {
        let long = log.offset > self.limit_bytes.max(log.start * GROWTH);
        if !long || !self.fits_snapshot(log) {
            return Ok(());
        }
        // A damaged log is not left behind: the next one would hide what is lost.
        if self.is_damaged(log) {
            return Ok(());
        }
        self.seal(log)
    }

    fn is_damaged(&self, log: &Log) -> bool {
        self.damage.lock().iter().any(|place| place.number == log.number)
    }

    fn seal(&self, log: &mut Log) -> Result<()> {
        let record = reflog::encode(&Action::Seal, self.shared.vfs.now_ns())?;
        self.append(log, &record)?;
        self.catch_up(log, None).map(|_| ())
    }

    /// Whether the state surely fits into a snapshot, also with what others append meanwhile; else it stays in its log.
    fn fits_snapshot(&self, log: &Log) -> bool {
        let half = BODY_MAX_BYTES / 2;
        log.offset <= half as u64
            || reflog::encode(&Action::Snapshot(log.state.snapshot()), 0).is_ok_and(|record| record.len() <= half)
    }

    fn with_fresh<T>(&self, read: impl Fn(&RefState) -> T) -> Result<T> {
        let _gate = fork::enter();
        self.check_open()?;
        {
            let log = self.log.read();
            if self.is_fresh(&log) {
                return Ok(read(&log.state));
            }
        }
        let mut log = self.log.write();
        if !self.is_fresh(&log) {
            self.catch_up(&mut log, None)?;
        }
        Ok(read(&log.state))
    }
}

impl RefStore for FileRefs {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.with_fresh(|state| state.get(key))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>> {
        self.with_fresh(|state| state.scan(prefix))
    }

    fn commit(&self, transaction: &RefTransaction) -> Result<RefOutcome> {
        let _gate = fork::enter();
        self.check_open()?;
        if self.read_only {
            let error = io::Error::from_raw_os_error(libc::EROFS);
            return Err(Error::storage("append to the read-only log in", &self.directory, error));
        }
        let operation = self.next_operation()?;
        // What was sealed or removed meanwhile is durable: a change that depended on it would be lost with the power once it is gone.
        if self.shared.is_listing_old() {
            self.shared.refresh_since(self.shared.seen())?;
        }
        let places = self.shared.dependencies();
        // Encoded before the lock: others need not wait for it.
        let record = reflog::encode_transaction(operation, transaction, &places, self.shared.vfs.now_ns())?;
        let mut log = self.log.write();
        if !self.is_fresh(&log) {
            self.catch_up(&mut log, None)?;
        }
        if log.state.check(transaction) != RefOutcome::Done {
            // The generation is only a hint, so the file is looked at before a conflict is believed.
            self.catch_up(&mut log, None)?;
            let outcome = log.state.check(transaction);
            if outcome != RefOutcome::Done {
                return Ok(outcome);
            }
        }
        for _ in 0..ATTEMPTS {
            let before = self.append(&log, &record)?;
            let unknown = |cause| Error::OutcomeUnknown {
                operation_id: to_hex(&operation),
                cause: Box::new(cause),
            };
            let number = log.number;
            let outcome = if log.file.append_end() == Some(log.offset + record.len() as u64) {
                // Nobody appended in between, so there is nothing to read: what stands there is what was written.
                log.offset += record.len() as u64;
                if before == Some(log.generation) {
                    log.generation += 1;
                }
                let outcome = log.state.apply(operation, transaction);
                log.state.depend_on(&places);
                let highest = log.state.highest_segment();
                self.shared.number_floor.fetch_max(highest, Ordering::AcqRel);
                if outcome == Some(RefOutcome::Done) {
                    self.leave_trail(transaction);
                }
                outcome
            } else {
                self.catch_up(&mut log, Some(&operation)).map_err(unknown)?
            };
            if let Some(outcome) = outcome {
                // The transaction stands; a log that could not be rotated is none of its business.
                let _ = self.rotate_if_long(&mut log);
                if let Some(control) = &self.shared.control {
                    control.set_ref_end(reflog::log_position(log.number, log.offset));
                }
                return Ok(outcome);
            }
            if log.number == number {
                return Err(unknown(Error::corrupt(
                    "the ref log",
                    self.path(number).display().to_string(),
                )));
            }
            // It went behind a seal, where nothing counts: again, in the next log.
        }
        Err(Error::Conflict {
            what: format!("the ref log in {}", self.directory.display()),
        })
    }

    fn history(&self, visit: &mut dyn FnMut(RefChange)) -> Result<()> {
        let _gate = fork::enter();
        self.check_open()?;
        ref_history::walk(self.shared.vfs.as_ref(), &self.directory, &self.shared.store, visit)
    }

    fn forget_before(&self, position: u64) -> Result<u64> {
        let _gate = fork::enter();
        self.check_open()?;
        ref_history::forget(self.shared.vfs.as_ref(), &self.directory, position)
    }

    fn generation(&self) -> u64 {
        match &self.shared.control {
            Some(control) => control.ref_generation(),
            None => {
                let _gate = fork::enter();
                let log = self.log.read();
                (log.number << 40).wrapping_add(log.file.len().unwrap_or(0))
            }
        }
    }
}
