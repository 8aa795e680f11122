//! The simulated disk: one tree of files that several processes share, who is alive, who holds which lock, what goes wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fate::Fate;
use crate::fault::{Call, Fault, Killed, Operation};
use crate::process::Process;
use crate::rng::Rng;
use crate::state::State;

/// A plan of faults.
type Plan = Box<dyn FnMut(&Call) -> Fault + Send>;

/// A disk; clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Inner>>);

/// Everything behind the one lock.
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) rng: Rng,
    pub(crate) clock_ns: u64,
    /// Goes up with each power loss.
    pub(crate) boot: u64,
    /// Node to handle and process.
    locks: BTreeMap<u64, (u64, u64)>,
    processes: BTreeMap<u64, Living>,
    next_handle: u64,
    plan: Option<Plan>,
    recording: Option<Vec<Snapshot>>,
    mark: u64,
}

#[derive(Default)]
struct Living {
    calls: u64,
    dead: bool,
}

/// A disk at a moment: cached and durable content, no processes.
#[derive(Clone)]
pub struct Snapshot {
    state: State,
    rng: Rng,
    clock_ns: u64,
    boot: u64,
    /// What [`Disk::set_mark`] said last.
    pub mark: u64,
    /// The call before which it was taken.
    pub before: Option<Call>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("mark", &self.mark)
            .field("before", &self.before)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty disk with sectors of 512 bytes.
    pub fn new(seed: u64) -> Disk {
        Disk::with_sector(seed, 512)
    }

    /// An empty disk with sectors of so many bytes.
    pub fn with_sector(seed: u64, sector_bytes: usize) -> Disk {
        Disk::from_state(State::new(sector_bytes), Rng::new(seed), 1_700_000_000_000_000_000, 1)
    }

    fn from_state(state: State, rng: Rng, clock_ns: u64, boot: u64) -> Disk {
        Disk(Arc::new(Mutex::new(Inner {
            state,
            rng,
            clock_ns,
            boot,
            locks: BTreeMap::new(),
            processes: BTreeMap::new(),
            next_handle: 0,
            plan: None,
            recording: None,
            mark: 0,
        })))
    }

    /// Starts a process.
    pub fn process(&self) -> Process {
        let mut inner = self.0.lock();
        let id = inner.processes.len() as u64;
        inner.processes.insert(id, Living::default());
        Process { disk: self.clone(), id }
    }

    /// Kills a process: its locks are free, its further calls fail; the cache stays.
    pub fn kill(&self, process: u64) {
        self.0.lock().kill(process);
    }

    /// Whether a process was killed.
    pub fn is_dead(&self, process: u64) -> bool {
        self.0.lock().processes.get(&process).is_some_and(|living| living.dead)
    }

    /// Calls that a process has made.
    pub fn calls(&self, process: u64) -> u64 {
        self.0.lock().processes.get(&process).map_or(0, |living| living.calls)
    }

    /// Asks `plan` before every call from now on what goes wrong in it.
    pub fn set_faults(&self, plan: impl FnMut(&Call) -> Fault + Send + 'static) {
        self.0.lock().plan = Some(Box::new(plan));
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.0.lock().plan = None;
    }

    /// Takes a snapshot before every call that changes something, from now on.
    pub fn record(&self) {
        self.0.lock().recording = Some(Vec::new());
    }

    /// Ends the recording; the last snapshot is that of now.
    pub fn recorded(&self) -> Vec<Snapshot> {
        let mut inner = self.0.lock();
        let last = inner.snapshot(None);
        let mut all = inner.recording.take().unwrap_or_default();
        all.push(last);
        all
    }

    /// What snapshots say of how far the test is.
    pub fn set_mark(&self, mark: u64) {
        self.0.lock().mark = mark;
    }

    /// The disk now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().snapshot(None)
    }

    /// Whether processes see something of that name.
    pub fn exists(&self, path: &Path) -> bool {
        self.0.lock().state.exists(path)
    }

    /// Changes a file's bytes behind everybody's back, on the disk and in the cache. Errors: `NotFound`.
    pub fn decay(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut inner = self.0.lock();
        let node = inner.state.open(path)?;
        inner.state.file(node)?.decay(change);
        Ok(())
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock())
    }

    /// One call of a process: the fault that the plan wants, or the effect.
    pub(crate) fn call<T>(
        &self,
        process: u64,
        operation: Operation,
        path: &Path,
        effect: impl FnOnce(&mut Inner, Fault) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.0.lock();
        let done = match inner.begin(process, operation, path)? {
            Fault::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
            Fault::Kill => None,
            Fault::KillHalf => Some(effect(&mut inner, Fault::Short)),
            fault => return effect(&mut inner, fault),
        };
        inner.kill(process);
        drop(inner);
        // Only now: an open file gives back its lock when it is dropped, which takes the disk.
        drop(done);
        resume_unwind(Box::new(Killed))
    }
}

impl Inner {
    fn snapshot(&mut self, before: Option<Call>) -> Snapshot {
        Snapshot {
            state: self.state.frozen(),
            rng: self.rng.clone(),
            clock_ns: self.clock_ns,
            boot: self.boot,
            mark: self.mark,
            before,
        }
    }

    fn begin(&mut self, process: u64, operation: Operation, path: &Path) -> io::Result<Fault> {
        let living = self.processes.entry(process).or_default();
        if living.dead {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let index = living.calls;
        living.calls += 1;
        self.clock_ns += 1_000;
        let record = self.recording.is_some() && operation.changes();
        if !record && self.plan.is_none() {
            return Ok(Fault::None);
        }
        let call = Call {
            process,
            index,
            operation,
            path: path.to_path_buf(),
        };
        if record {
            let snapshot = self.snapshot(Some(call.clone()));
            self.recording.get_or_insert_default().push(snapshot);
        }
        Ok(self.plan.as_mut().map_or(Fault::None, |plan| plan(&call)))
    }

    fn kill(&mut self, process: u64) {
        self.processes.entry(process).or_default().dead = true;
        self.locks.retain(|_, (_, owner)| *owner != process);
    }

    pub(crate) fn new_handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    /// Takes the lock of a node for a handle, if nobody else has it.
    pub(crate) fn lock(&mut self, node: u64, handle: u64, process: u64) -> bool {
        self.locks.entry(node).or_insert((handle, process)).0 == handle
    }

    /// Whether another handle holds the lock.
    pub(crate) fn is_locked(&self, node: u64, handle: u64) -> bool {
        self.locks.get(&node).is_some_and(|(holder, _)| *holder != handle)
    }

    pub(crate) fn unlock(&mut self, node: u64, handle: u64) {
        if self.locks.get(&node).is_some_and(|(holder, _)| *holder == handle) {
            self.locks.remove(&node);
        }
    }
}

impl Snapshot {
    /// Number of changes that are not flushed: each has its own fate in a power loss.
    pub fn changes(&self) -> usize {
        self.state.changes()
    }

    /// The disk after a power loss: the cache is gone, each unflushed change went as `fates` says.
    pub fn crash(&self, fates: &[Fate]) -> Disk {
        Disk::from_state(self.state.crash(fates), self.rng.clone(), self.clock_ns, self.boot + 1)
    }

    /// The disk after the death of all processes: the cache is still there.
    pub fn after_kill(&self) -> Disk {
        Disk::from_state(self.state.clone(), self.rng.clone(), self.clock_ns, self.boot)
    }
}
