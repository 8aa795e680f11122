//! Sessions: what one open store tells collectors of itself. How many of its sections are running, in two counters chosen by the
//! parity of the epoch (sleepable RCU), and which objects it needs although no ref reaches them. A session is a file that all
//! processes map; its owner holds its lock, so that a dead one is known at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, Ordering::SeqCst, fence};

use parking_lot::{Mutex, RwLock};

use crate::bytes_le::u64_at;
use crate::error::{Error, Result};
use crate::fork;
use crate::gc_file::{GcFile, Phase};
use crate::id::{Id, to_hex};
use crate::shared::Shared;
use crate::vfs::{OpenMode, SharedWords, Vfs, VfsFile, write_all};

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"PYISES1\n");
const VERSION: u64 = 1;
const ACTIVE: usize = 3;
pub(crate) const OVERFLOW: usize = 5;
pub(crate) const SLOTS_AT: usize = 8;
pub(crate) const WORDS_PER_SLOT: usize = 5;
/// A session begins with this size and doubles when its pins need it. All of it is written, never a hole: a store into a hole
/// of a full disk would be a SIGBUS.
pub(crate) const FIRST_BYTES: usize = 4096;
/// Pins of one store at once; more are counted as overflow, and collectors give up as long as there are any.
const PINS_MAX: usize = 65_536;
/// How often a file is created anew because a collector took it for a dead one's.
const ATTEMPTS: usize = 100;

/// States of a pin's slot, in the two low bits; above them something that differs from one pin to the next.
pub(crate) const FREE: u64 = 0;
pub(crate) const PINNED: u64 = 1;
/// Given back while a collection ran, in the epoch above the low bits: it counts for that one still.
pub(crate) const RELEASED: u64 = 2;

/// Word of the counter of sections for an epoch.
pub(crate) fn active_word(epoch: u64) -> usize {
    ACTIVE + (epoch & 1) as usize
}

/// The session of one open store, once it has one.
pub(crate) struct Sessions {
    vfs: Arc<dyn Vfs>,
    /// The store's.
    directory: PathBuf,
    /// Nothing is written, so nobody can be told of anything.
    read_only: bool,
    closed: AtomicBool,
    taken: RwLock<Option<Arc<Taken>>>,
    /// Locked before `taken`.
    pins: Mutex<Pins>,
    /// Sections that began without a session, as none could be had.
    unprotected: AtomicU64,
    /// Why: an error number.
    refusal: AtomicI32,
}

/// A session that was taken.
pub(crate) struct Taken {
    vfs: Arc<dyn Vfs>,
    pub(crate) gc: GcFile,
    path: PathBuf,
    /// Holds the lock; used to grow the file.
    file: Arc<dyn VfsFile>,
    head: Arc<dyn SharedWords>,
    /// Process generation in which it was taken.
    generation: u64,
}

/// The pins of this store, as its own process knows them: after a fork the child enters them into a session of its own.
#[derive(Default)]
struct Pins {
    /// The session that they are entered into.
    taken: Option<Arc<Taken>>,
    /// Its longest mapping.
    mapped: Option<Arc<dyn SharedWords>>,
    entries: Vec<Option<Id>>,
    free: Vec<u32>,
    /// Given back while a collection ran.
    released: Vec<u32>,
    /// Makes every pin's state a different one.
    serial: u64,
    overflow: u64,
}

/// Work that relies on objects that nothing reaches yet is inside one: no object that was there when it began is removed before
/// it ends, and what it made a ref or a pin reach then is not removed later. Short, and of one process: the child of a fork is outside.
#[must_use = "the section ends when this is dropped"]
pub struct Section(Inside);

enum Inside {
    Nothing,
    Counted { taken: Arc<Taken>, epoch: u64 },
    Unprotected(Arc<Sessions>),
}

/// Keeps an object, and what it reaches, from being collected as long as it lives. A child of a fork has it too, from its own first section or pin on.
#[must_use = "the pin ends when this is dropped"]
pub struct Pin {
    sessions: Option<Arc<Sessions>>,
    /// `None`: there was no slot.
    slot: Option<u32>,
}

impl Section {
    /// For stores that need none.
    pub(crate) fn none() -> Section {
        Section(Inside::Nothing)
    }
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Section").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        match &self.0 {
            Inside::Nothing => {}
            Inside::Counted { taken, epoch } => {
                // In the child of a fork the counter is the parent's.
                if taken.is_ours() {
                    taken.head.words()[active_word(*epoch)].fetch_sub(1, SeqCst);
                }
            }
            Inside::Unprotected(sessions) => {
                sessions.unprotected.fetch_sub(1, SeqCst);
            }
        }
    }
}

impl Pin {
    /// For stores that need none.
    pub(crate) fn none() -> Pin {
        Pin {
            sessions: None,
            slot: None,
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(sessions) = &self.sessions {
            sessions.unpin(self.slot);
        }
    }
}

impl Taken {
    /// Whether it was taken by this process and not by the one that forked it.
    fn is_ours(&self) -> bool {
        self.generation == self.vfs.process_generation()
    }

    /// Counts a section in; returns its epoch. A move of the epoch in between is seen by one of the two sides.
    fn enter(&self) -> u64 {
        loop {
            let epoch = self.gc.epoch();
            let active = &self.head.words()[active_word(epoch)];
            active.fetch_add(1, SeqCst);
            if self.gc.epoch() == epoch {
                return epoch;
            }
            active.fetch_sub(1, SeqCst);
        }
    }
}

impl Sessions {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, directory: PathBuf, read_only: bool) -> Sessions {
        Sessions {
            vfs,
            directory,
            read_only,
            closed: AtomicBool::new(false),
            taken: RwLock::default(),
            pins: Mutex::default(),
            unprotected: AtomicU64::new(0),
            refusal: AtomicI32::new(0),
        }
    }

    pub(crate) fn gc_path(&self) -> PathBuf {
        self.directory.join("gc")
    }

    pub(crate) fn sessions_path(&self) -> PathBuf {
        self.directory.join("sessions")
    }

    /// Begins a section. Where the epoch moved since this process last looked, what collectors did is looked at first.
    pub(crate) fn section(self: &Arc<Self>, shared: &Shared) -> Section {
        let _gate = fork::enter();
        match self.session() {
            Ok(None) => Section::none(),
            Ok(Some(taken)) => {
                let epoch = taken.enter();
                if shared.condemned.epoch() != epoch {
                    shared.follow(&taken.gc);
                }
                Section(Inside::Counted { taken, epoch })
            }
            Err(error) => {
                self.refusal
                    .store(error.errno().unwrap_or(libc::EIO), Ordering::Relaxed);
                self.unprotected.fetch_add(1, SeqCst);
                Section(Inside::Unprotected(Arc::clone(self)))
            }
        }
    }

    /// Whether a section runs that no collector knows of: then nothing that is stored already may be relied on.
    pub(crate) fn is_unprotected(&self) -> bool {
        self.unprotected.load(Ordering::Relaxed) != 0
    }

    /// Refuses a commit as long as such a section runs, with the reason why it has no session. O(1).
    pub(crate) fn check_protected(&self) -> Result<()> {
        if !self.is_unprotected() {
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(self.refusal.load(Ordering::Relaxed));
        Err(Error::storage("create a session in", self.sessions_path(), error))
    }

    /// The session, taken if there is none yet; `None` in a read-only or closed store.
    pub(crate) fn session(&self) -> Result<Option<Arc<Taken>>> {
        if let Some(taken) = self.current() {
            return Ok(Some(taken));
        }
        let mut pins = self.pins.lock();
        self.ready(&mut pins)?;
        Ok(pins.taken.clone())
    }

    /// The session, if it was taken in this process.
    pub(crate) fn current(&self) -> Option<Arc<Taken>> {
        let taken = self.taken.read();
        taken.as_ref().filter(|taken| taken.is_ours()).map(Arc::clone)
    }

    /// Sees to it that there is a session of this process, if there can be one. O(1) once there is.
    fn ready(&self, pins: &mut Pins) -> Result<()> {
        if pins.taken.as_ref().is_some_and(|taken| taken.is_ours()) {
            return Ok(());
        }
        pins.taken = None;
        if self.read_only || self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let taken = Arc::new(self.take()?);
        // What the parent of a fork had pinned the child has too, in the same places.
        pins.mapped = Some(Arc::clone(&taken.head));
        for at in 0..pins.entries.len() {
            if let Some(id) = pins.entries[at]
                && !pins.write(&taken, at as u32, &id)
            {
                pins.overflow += 1;
            }
        }
        taken.head.words()[OVERFLOW].store(pins.overflow, SeqCst);
        let slots = std::mem::take(&mut pins.released);
        pins.free.extend(slots);
        pins.taken = Some(Arc::clone(&taken));
        *self.taken.write() = Some(taken);
        Ok(())
    }

    fn take(&self) -> Result<Taken> {
        let directory = self.sessions_path();
        let gc = GcFile::open(self.vfs.as_ref(), &self.gc_path())?;
        self.vfs
            .create_dir_all(&directory)
            .map_err(|error| Error::storage("create", &directory, error))?;
        for _ in 0..ATTEMPTS {
            let mut name = [0u8; 8];
            self.vfs
                .random(&mut name)
                .map_err(|error| Error::storage("name a session in", &directory, error))?;
            let path = directory.join(to_hex(&name));
            match self.create(&path) {
                Ok(Some((file, head))) => {
                    return Ok(Taken {
                        vfs: Arc::clone(&self.vfs),
                        gc,
                        path,
                        file,
                        head,
                        generation: self.vfs.process_generation(),
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = self.vfs.remove(&path);
                    return Err(Error::storage("create", &path, error));
                }
            }
        }
        Err(Error::Conflict {
            what: format!("every new session in {}", directory.display()),
        })
    }

    /// `None`: a collector took it for a dead one's before it was locked.
    #[allow(clippy::type_complexity)]
    fn create(&self, path: &Path) -> io::Result<Option<(Arc<dyn VfsFile>, Arc<dyn SharedWords>)>> {
        let file = match self.vfs.open(path, OpenMode::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            other => other?,
        };
        // Behind the lock nobody removes it any more.
        if !file.try_lock_exclusive()? || !self.vfs.exists(path)? {
            return Ok(None);
        }
        let mut bytes = vec![0u8; FIRST_BYTES];
        for (at, word) in [MAGIC, VERSION, u64::from(std::process::id())].iter().enumerate() {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        write_all(file.as_ref(), &bytes, 0)?;
        let head = file.map_shared(FIRST_BYTES)?;
        Ok(Some((file, head)))
    }

    /// Pins an object. O(1).
    pub(crate) fn pin(self: &Arc<Self>, id: &Id) -> Pin {
        if self.read_only {
            return Pin::none();
        }
        let _gate = fork::enter();
        let mut pins = self.pins.lock();
        // Where none can be had the pin is kept, and entered into the session that can.
        let _ = self.ready(&mut pins);
        Pin {
            slot: pins.enter(id),
            sessions: Some(Arc::clone(self)),
        }
    }

    fn unpin(&self, slot: Option<u32>) {
        let _gate = fork::enter();
        let mut pins = self.pins.lock();
        match slot {
            Some(slot) => pins.leave(slot),
            None => {
                pins.overflow = pins.overflow.saturating_sub(1);
                pins.tell_overflow();
            }
        }
    }

    /// Gives the session back.
    pub(crate) fn close(&self) {
        let mut pins = self.pins.lock();
        self.closed.store(true, Ordering::Release);
        pins.taken = None;
        let taken = self.taken.write().take();
        drop(pins);
        // A parent's session is not a child's to remove.
        if let Some(taken) = taken
            && taken.is_ours()
        {
            let _ = self.vfs.remove(&taken.path);
        }
    }
}

impl Pins {
    /// Whether this process has the session; after a fork it is the parent's.
    fn ours(&self) -> Option<&Arc<Taken>> {
        self.taken.as_ref().filter(|taken| taken.is_ours())
    }

    /// Pins an id; `None` if there is no slot for it.
    fn enter(&mut self, id: &Id) -> Option<u32> {
        let taken = self.ours().map(Arc::clone);
        if !self.released.is_empty() && taken.as_ref().is_none_or(|taken| taken.gc.phase() == Phase::Idle) {
            let slots = std::mem::take(&mut self.released);
            self.free.extend(slots);
        }
        let slot = self.free.pop().or_else(|| {
            let next = self.entries.len();
            (next < PINS_MAX).then(|| {
                self.entries.push(None);
                next as u32
            })
        });
        let entered = slot.filter(|slot| taken.is_none_or(|taken| self.write(&taken, *slot, id)));
        match entered {
            Some(slot) => self.entries[slot as usize] = Some(*id),
            None => {
                self.free.extend(slot);
                self.overflow += 1;
                self.tell_overflow();
            }
        }
        entered
    }

    fn leave(&mut self, slot: u32) {
        self.entries[slot as usize] = None;
        // While a collection runs, somebody may have read this id from where it was pinned, and may rely on it.
        let running = self.ours().and_then(|taken| {
            let epoch = taken.gc.epoch();
            (taken.gc.phase() != Phase::Idle).then_some(epoch)
        });
        let at = SLOTS_AT + slot as usize * WORDS_PER_SLOT + 4;
        if self.ours().is_some()
            && let Some(state) = self.mapped.as_ref().and_then(|mapped| mapped.words().get(at))
        {
            state.store(running.map_or(FREE, |epoch| RELEASED | epoch << 2), Ordering::Release);
        }
        match running {
            Some(_) => self.released.push(slot),
            None => self.free.push(slot),
        }
    }

    fn tell_overflow(&self) {
        if let Some(taken) = self.ours() {
            taken.head.words()[OVERFLOW].store(self.overflow, SeqCst);
        }
    }

    /// Enters an id into a slot; `false` if the session cannot hold it.
    fn write(&mut self, taken: &Taken, slot: u32, id: &Id) -> bool {
        let at = SLOTS_AT + slot as usize * WORDS_PER_SLOT;
        if !self.reach(taken, at + WORDS_PER_SLOT) {
            return false;
        }
        self.serial += 1;
        let state = PINNED | self.serial << 2;
        let Some(words) = self.mapped.as_ref().map(|mapped| mapped.words()) else {
            return false;
        };
        // A collector that reads in between sees that the state is another one afterwards.
        words[at + 4].store(FREE, Ordering::Relaxed);
        fence(Ordering::Release);
        for part in 0..4 {
            words[at + part].store(u64_at(&id.0, part * 8), Ordering::Relaxed);
        }
        words[at + 4].store(state, Ordering::Release);
        // What this thread reads from here on it reads behind the pin.
        fence(SeqCst);
        true
    }

    /// Grows the session until it has so many words; `false` if that cannot be done.
    fn reach(&mut self, taken: &Taken, words: usize) -> bool {
        let mut length = self.mapped.as_ref().map_or(0, |mapped| mapped.words().len() * 8);
        while length < words * 8 {
            let grown = length.max(FIRST_BYTES / 2) * 2;
            let zeros = vec![0u8; grown - length];
            let mapped = write_all(taken.file.as_ref(), &zeros, length as u64)
                .and_then(|()| taken.file.map_shared(grown))
                .ok();
            let Some(mapped) = mapped.filter(|mapped| mapped.words().len() * 8 >= grown) else {
                return false;
            };
            self.mapped = Some(mapped);
            length = grown;
        }
        true
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
