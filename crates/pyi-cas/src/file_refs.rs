//! Refs on disk: an append-only log that all processes share. A writer appends a conditional record and reads on to the
//! end of the file; the order in the file decides who won, so nobody needs a lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::control::Control;
use crate::error::{Error, Result};
use crate::fork;
use crate::id::to_hex;
use crate::ref_trail::Trail;
use crate::reflog::{self, Action, BODY_MAX_BYTES, Broken, LOG_HEADER_BYTES};
use crate::refstate::{OperationId, RefState};
use crate::segment::{Damage, DamagedFile, number_in_name};
use crate::store::{RefOutcome, RefStore, RefTransaction};
use crate::vfs::{OpenMode, Vfs, VfsFile, read_full, write_whole};

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
}

/// The refs of a [`crate::FileStore`].
pub(crate) struct FileRefs {
    pub(crate) vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    store: [u8; 16],
    control: Option<Arc<Control>>,
    read_only: bool,
    limit_bytes: u64,
    closed: AtomicBool,
    /// Damaged places found so far. Locked after the log.
    damage: Mutex<Vec<Damage>>,
    /// Values that keys were set to since a collector asked for them, whatever they are now. Locked after the log.
    pub(crate) trail: Mutex<Option<Trail>>,
    pub(crate) log: RwLock<Log>,
}

/// The current log and what was folded from it.
pub(crate) struct Log {
    number: u64,
    file: Arc<dyn VfsFile>,
    state: RefState,
    /// Everything before it is folded.
    offset: u64,
    /// Length of the header and the snapshot.
    start: u64,
    /// A seal was read; nothing behind it counts.
    sealed: bool,
    /// Ref generation that the state is as new as.
    generation: u64,
    /// Reused for reading.
    buffer: Vec<u8>,
}

impl FileRefs {
    /// Opens the newest log and folds it; creates the first one if there is none and this is not read-only.
    pub(crate) fn open(
        vfs: Arc<dyn Vfs>,
        directory: PathBuf,
        store: [u8; 16],
        control: Option<Arc<Control>>,
        access: Access,
        limit_bytes: u64,
    ) -> Result<FileRefs> {
        let Access {
            read_only,
            create_log: may_create,
        } = access;
        let mut newest = newest_log(vfs.as_ref(), &directory)?;
        if newest.is_none() && may_create {
            create_log(vfs.as_ref(), &directory, 1, &store, &RefState::default())?;
            newest = newest_log(vfs.as_ref(), &directory)?;
        }
        let number =
            newest.ok_or_else(|| Error::corrupt("the ref log (it is missing)", directory.display().to_string()))?;
        let log = RwLock::new(open_log(vfs.as_ref(), &directory, number, &store, read_only)?);
        let refs = FileRefs {
            vfs,
            directory,
            store,
            control,
            read_only,
            limit_bytes,
            closed: AtomicBool::new(false),
            damage: Mutex::default(),
            trail: Mutex::default(),
            log,
        };
        refs.catch_up(&mut refs.log.write(), None)?;
        Ok(refs)
    }

    /// Flushes the current log; those before it were flushed when it was made.
    pub(crate) fn flush(&self) -> Result<()> {
        let _gate = fork::enter();
        self.check_open()?;
        let mut log = self.log.write();
        self.catch_up(&mut log, None)?;
        log.file
            .sync_data()
            .map_err(|error| Error::storage("flush", self.path(log.number), error))?;
        self.vfs
            .sync_dir(&self.directory)
            .map_err(|error| Error::storage("flush", &self.directory, error))
    }

    /// Damaged places of the logs that were read, up to the end of the current one.
    pub(crate) fn damage(&self) -> Result<Vec<Damage>> {
        self.with_fresh(|_| self.damage.lock().clone())
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
        open_log(self.vfs.as_ref(), &self.directory, number, &self.store, self.read_only)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
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
        self.control
            .as_ref()
            .is_some_and(|control| control.ref_generation() == log.generation)
            && !log.sealed
    }

    /// Folds what stands behind the offset, going on to the next log at a seal. Returns the outcome of `wanted`, if it
    /// was read. O(bytes read).
    pub(crate) fn catch_up(&self, log: &mut Log, wanted: Option<&OperationId>) -> Result<Option<RefOutcome>> {
        let generation = self.control.as_ref().map_or(0, |control| control.ref_generation());
        let mut outcome = None;
        loop {
            if !log.sealed {
                self.fold(log, wanted, &mut outcome)?;
            }
            if !log.sealed || !self.next_log(log)? {
                break;
            }
        }
        log.generation = generation;
        Ok(outcome)
    }

    /// Reads from the offset to the end of the file and applies the whole records.
    fn fold(&self, log: &mut Log, wanted: Option<&OperationId>, outcome: &mut Option<RefOutcome>) -> Result<()> {
        let mut buffer = std::mem::take(&mut log.buffer);
        let result = self.fold_with(&mut buffer, log, wanted, outcome);
        // A large read happens once, at opening; its memory is not kept.
        if buffer.capacity() <= 16 * READ_BYTES {
            log.buffer = buffer;
        }
        result
    }

    fn fold_with(
        &self,
        buffer: &mut Vec<u8>,
        log: &mut Log,
        wanted: Option<&OperationId>,
        outcome: &mut Option<RefOutcome>,
    ) -> Result<()> {
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
        let mut at = 0;
        // Where the next whole record stands behind bytes that are none; `None` inside: there is none so far.
        let mut next: Option<Option<usize>> = None;
        while at < buffer.len() {
            let place = || format!("{} offset {}", path.display(), base + at as u64);
            let first = base + at as u64 == LOG_HEADER_BYTES;
            let (action, length) = match reflog::decode(&buffer[at..], place)? {
                Some(whole) => {
                    next = None;
                    whole
                }
                None => {
                    let next = match next {
                        Some(known) => known,
                        None => *next.insert(reflog::next_record(&buffer[at..], place)?.map(|skip| at + skip)),
                    };
                    let end = next.unwrap_or(buffer.len());
                    match reflog::broken(&buffer[at..end], place)? {
                        Broken::Repaired(action, length) => {
                            self.report_damage(log.number, base + at as u64, length as u64);
                            (*action, length)
                        }
                        // A log appears with its first record whole, so that one is never torn.
                        Broken::Torn(length) if !first => {
                            at += length;
                            continue;
                        }
                        Broken::Torn(_) | Broken::Damaged => {
                            // At the end only what an opener finds there is judged: later, it may be a record on its way.
                            // Zeros are what a power loss leaves of one.
                            let judged = next.is_some() || opening && buffer[at..].iter().any(|byte| *byte != 0);
                            if judged {
                                self.report_damage(log.number, base + at as u64, (end - at) as u64);
                            }
                            at = end;
                            continue;
                        }
                    }
                }
            };
            at += length;
            log.offset = base + at as u64;
            match action {
                Action::Transaction(operation, transaction) => {
                    let result = log.state.apply(operation, &transaction);
                    if result == Some(RefOutcome::Done) {
                        self.leave_trail(&transaction);
                    }
                    if wanted == Some(&operation) {
                        *outcome = result.or(outcome.take());
                    }
                }
                Action::Seal => {
                    log.sealed = true;
                    break;
                }
                Action::Snapshot(snapshot) if first => {
                    log.state = RefState::from_snapshot(&snapshot);
                    log.start = log.offset;
                }
                // A log begins with its snapshot; anywhere else it would be no fold any more.
                Action::Snapshot(_) => {}
            }
        }
        Ok(())
    }

    /// Goes from a sealed log to the next one, creating it if nobody has. `false` if there is none and none may be made.
    fn next_log(&self, log: &mut Log) -> Result<bool> {
        let number = log.number + 1;
        let path = self.path(number);
        let exists = self
            .vfs
            .exists(&path)
            .map_err(|error| Error::storage("look for", &path, error))?;
        if !exists {
            if self.read_only {
                return Ok(false);
            }
            create_log(self.vfs.as_ref(), &self.directory, number, &self.store, &log.state)?;
            self.remove_debris(number);
        }
        let buffer = std::mem::take(&mut log.buffer);
        *log = Log {
            buffer,
            ..self.reopen(number)?
        };
        Ok(true)
    }

    /// Removes what creators of earlier logs left behind when they died. Best effort.
    fn remove_debris(&self, number: u64) {
        for name in self.vfs.list(&self.directory).unwrap_or_default() {
            let older = name
                .split_once(".tmp-")
                .and_then(|(digits, _)| u64::from_str_radix(digits, 16).ok());
            if older.is_some_and(|older| older < number) {
                let _ = self.vfs.remove(&self.directory.join(name));
            }
        }
    }

    /// Appends one record in one write.
    fn append(&self, log: &Log, record: &[u8]) -> Result<()> {
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
        if let Some(control) = &self.control {
            control.bump_refs();
        }
        Ok(())
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

    pub(crate) fn is_damaged(&self, log: &Log) -> bool {
        self.damage.lock().iter().any(|place| place.number == log.number)
    }

    pub(crate) fn seal(&self, log: &mut Log) -> Result<()> {
        let record = reflog::encode(&Action::Seal, self.vfs.now_ns())?;
        self.append(log, &record)?;
        self.catch_up(log, None).map(|_| ())
    }

    /// Whether the state surely fits into a snapshot, also with what others append meanwhile; else it stays in its log.
    pub(crate) fn fits_snapshot(&self, log: &Log) -> bool {
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
        let mut operation: OperationId = [0; 16];
        self.vfs
            .random(&mut operation)
            .map_err(|error| Error::storage("name a transaction for", &self.directory, error))?;
        // Encoded before the lock: others need not wait for it.
        let record = reflog::encode(&Action::Transaction(operation, transaction.clone()), self.vfs.now_ns())?;
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
            self.append(&log, &record)?;
            let unknown = |cause| Error::OutcomeUnknown {
                operation_id: to_hex(&operation),
                cause: Box::new(cause),
            };
            let number = log.number;
            if let Some(outcome) = self.catch_up(&mut log, Some(&operation)).map_err(unknown)? {
                // The transaction stands; a log that could not be rotated is none of its business.
                let _ = self.rotate_if_long(&mut log);
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

    fn generation(&self) -> u64 {
        match &self.control {
            Some(control) => control.ref_generation(),
            None => {
                let _gate = fork::enter();
                let log = self.log.read();
                (log.number << 40).wrapping_add(log.file.len().unwrap_or(0))
            }
        }
    }
}

fn newest_log(vfs: &dyn Vfs, directory: &Path) -> Result<Option<u64>> {
    let names = vfs
        .list(directory)
        .map_err(|error| Error::storage("list", directory, error))?;
    Ok(names.iter().filter_map(|name| number_in_name(name, "log")).max())
}

fn create_log(vfs: &dyn Vfs, directory: &Path, number: u64, store: &[u8; 16], state: &RefState) -> Result<()> {
    let path = directory.join(reflog::log_name(number));
    let mut bytes = reflog::encode_log_header(number, store).to_vec();
    bytes.extend(reflog::encode(&Action::Snapshot(state.snapshot()), vfs.now_ns())?);
    match write_whole(vfs, &path, &bytes, false) {
        Ok(_) => Ok(()),
        // So slow that others went on and took the temporary file for debris: then the log is there.
        Err(error) if error.kind() == io::ErrorKind::NotFound && vfs.exists(&path).unwrap_or(false) => Ok(()),
        Err(error) => Err(Error::storage("create", &path, error)),
    }
}

fn open_log(vfs: &dyn Vfs, directory: &Path, number: u64, store: &[u8; 16], read_only: bool) -> Result<Log> {
    let path = directory.join(reflog::log_name(number));
    let mode = if read_only { OpenMode::Read } else { OpenMode::Append };
    let file = vfs
        .open(&path, mode)
        .map_err(|error| Error::storage("open", &path, error))?;
    let mut header = [0u8; LOG_HEADER_BYTES as usize];
    let n = read_full(file.as_ref(), &mut header, 0).map_err(|error| Error::storage("read", &path, error))?;
    reflog::check_log_header(&header[..n], number, store, &path.display().to_string())?;
    Ok(Log {
        number,
        file,
        state: RefState::default(),
        offset: LOG_HEADER_BYTES,
        start: LOG_HEADER_BYTES,
        sealed: false,
        generation: 0,
        buffer: Vec::new(),
    })
}
