//! What a `fork()` does to a store. Two things are made good here.
//!
//! Lock holders: a child inherits the open file description and with it the lock of the parent's segment; were it kept, two
//! processes would append to one segment, and the lock would outlive the parent. So a handler in the child closes every
//! descriptor that holds a lock and moves the generation; the handle sees that and never uses or closes the number
//! again, which may belong to somebody else by then.
//!
//! Mutexes: a child has only the thread that forked, so a mutex that another thread held stays locked in it for ever. So
//! every operation is inside a [`Gate`], and a fork waits until nobody is. The gate is made of plain atomics: whatever else a
//! lock needs to park threads could itself be in pieces in the child.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CAPACITY: usize = 4096;
const FREE: i32 = -1;

static GENERATION: AtomicU64 = AtomicU64::new(1);
static LOCKED: [AtomicI32; CAPACITY] = [const { AtomicI32::new(FREE) }; CAPACITY];

/// Counters of operations under way. The first threads have one each, which they clear with a plain store, so that the
/// processor need not wait for what it reads meanwhile; the last one is for all further threads.
const SHARDS: usize = 256;
const COMMON: usize = SHARDS - 1;
const UNASSIGNED: usize = usize::MAX;
/// How long a fork waits for the operations of other threads. One that takes longer, or that waits for the forking thread
/// itself, makes the child as unsafe as it would be without the gate; the parent is not to hang for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where the forking thread is inside an operation, as when that starts a program: others may wait for what it holds.
const PATIENCE_INSIDE: Duration = Duration::from_millis(100);

#[repr(align(128))]
struct Shard(AtomicU32);

static UNDER_WAY: [Shard; SHARDS] = [const { Shard(AtomicU32::new(0)) }; SHARDS];
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);
/// A thread is about to fork.
static FORKING: AtomicBool = AtomicBool::new(false);

const UNREGISTERED: u32 = 0;
const REGISTERING: u32 = 1;
const REGISTERED: u32 = 2;
static HANDLERS: AtomicU32 = AtomicU32::new(UNREGISTERED);

struct Local {
    /// Gates that this thread is inside of.
    depth: Cell<u32>,
    shard: Cell<usize>,
}

thread_local! {
    static LOCAL: Local = const { Local { depth: Cell::new(0), shard: Cell::new(UNASSIGNED) } };
}

/// An operation under way: as long as it lives, no other thread forks the process. It stays in its thread, is short-lived,
/// and must not be held while waiting for something that a forking thread may hold, such as an interpreter's lock.
#[derive(Debug)]
#[must_use = "the operation is over when the gate is dropped"]
pub struct Gate {
    stays: PhantomData<*const ()>,
}

/// Enters the gate, after the fork that is under way if there is one. A thread that is inside already passes at once. O(1),
/// one uncontended atomic operation for the outermost gate of a thread, none for those within.
#[inline]
pub fn enter() -> Gate {
    LOCAL.with(|local| {
        let depth = local.depth.get();
        if depth == 0 {
            pass(local, None);
        }
        local.depth.set(depth + 1);
    });
    Gate { stays: PhantomData }
}

/// As [`enter`], but once `awaited` is set it does not wait for a fork: an operation that is inside waits for this thread, so
/// the fork waits for both.
pub(crate) fn enter_unless(awaited: &AtomicBool) -> Gate {
    LOCAL.with(|local| {
        let depth = local.depth.get();
        if depth == 0 {
            pass(local, Some(awaited));
        }
        local.depth.set(depth + 1);
    });
    Gate { stays: PhantomData }
}

impl Drop for Gate {
    #[inline]
    fn drop(&mut self) {
        LOCAL.with(|local| {
            let depth = local.depth.get() - 1;
            local.depth.set(depth);
            if depth == 0 {
                leave(local);
            }
        });
    }
}

#[inline]
fn leave(local: &Local) {
    let count = under_way(local);
    if local.shard.get() == COMMON {
        count.fetch_sub(1, Ordering::SeqCst);
    } else {
        count.store(0, Ordering::Release);
    }
}

#[inline]
fn under_way(local: &Local) -> &'static AtomicU32 {
    &UNDER_WAY[local.shard.get().min(COMMON)].0
}

#[inline]
fn pass(local: &Local, awaited: Option<&AtomicBool>) {
    if local.shard.get() == UNASSIGNED {
        ensure_handlers();
        local.shard.set(NEXT_SHARD.fetch_add(1, Ordering::Relaxed).min(COMMON));
    }
    let count = under_way(local);
    loop {
        // This and the flag are each written before the other is read, on both sides: one of the two sees the other.
        count.fetch_add(1, Ordering::SeqCst);
        if !FORKING.load(Ordering::SeqCst) {
            return;
        }
        if awaited.is_some_and(|awaited| awaited.load(Ordering::Acquire)) {
            return;
        }
        leave(local);
        let begin = Instant::now();
        while FORKING.load(Ordering::SeqCst) && !awaited.is_some_and(|awaited| awaited.load(Ordering::Acquire)) {
            pause(begin);
        }
    }
}

/// Yields first, then sleeps: both are allowed everywhere, also between the handlers of a fork.
fn pause(begin: Instant) {
    if begin.elapsed() < Duration::from_micros(200) {
        // SAFETY: no arguments.
        unsafe { libc::sched_yield() };
    } else {
        let request = libc::timespec {
            tv_sec: 0,
            tv_nsec: 50_000,
        };
        // SAFETY: the request lives as long as the call; what is left of the time is not asked for.
        unsafe { libc::nanosleep(&raw const request, std::ptr::null_mut()) };
    }
}

fn ensure_handlers() {
    if HANDLERS.load(Ordering::Acquire) == REGISTERED {
        return;
    }
    let first = HANDLERS.compare_exchange(UNREGISTERED, REGISTERING, Ordering::AcqRel, Ordering::Acquire);
    if first.is_ok() {
        // SAFETY: the handlers live as long as the program and do only what is allowed around a fork.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        HANDLERS.store(REGISTERED, Ordering::Release);
    }
    while HANDLERS.load(Ordering::Acquire) != REGISTERED {
        std::thread::yield_now();
    }
}

/// Runs in the forking thread before the fork.
extern "C" fn before() {
    LOCAL.with(|local| {
        let inside = local.depth.get() > 0;
        if inside {
            // Nobody waits for an operation that itself waits for its fork.
            leave(local);
        }
        let begin = Instant::now();
        while FORKING.swap(true, Ordering::SeqCst) {
            pause(begin);
        }
        let begin = Instant::now();
        let patience = if inside { PATIENCE_INSIDE } else { PATIENCE };
        while UNDER_WAY.iter().any(|shard| shard.0.load(Ordering::SeqCst) != 0) && begin.elapsed() < patience {
            pause(begin);
        }
    });
}

/// Runs in the parent after the fork, also after one that failed.
extern "C" fn in_parent() {
    LOCAL.with(|local| {
        if local.depth.get() > 0 {
            under_way(local).fetch_add(1, Ordering::SeqCst);
        }
    });
    FORKING.store(false, Ordering::SeqCst);
}

/// Runs in the child between fork and its return: only atomics and `close` are allowed here.
extern "C" fn in_child() {
    for shard in &UNDER_WAY {
        shard.0.store(0, Ordering::SeqCst);
    }
    LOCAL.with(|local| {
        if local.depth.get() > 0 {
            under_way(local).store(1, Ordering::SeqCst);
        }
    });
    HANDLERS.store(REGISTERED, Ordering::Release);
    FORKING.store(false, Ordering::SeqCst);
    GENERATION.fetch_add(1, Ordering::AcqRel);
    for place in &LOCKED {
        let descriptor = place.swap(FREE, Ordering::AcqRel);
        if descriptor >= 0 {
            // SAFETY: the number was registered by its owner, which does not close it in this process again, because it
            // sees the moved generation.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// The generation of this process: moves in the child of every fork. O(1), one load.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// Notes a descriptor that is about to be locked; returns its place, or `None` if there are too many.
pub(crate) fn register(descriptor: i32) -> Option<usize> {
    ensure_handlers();
    LOCKED.iter().position(|place| {
        place.load(Ordering::Relaxed) == FREE
            && place
                .compare_exchange(FREE, descriptor, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    })
}

/// Forgets a descriptor before its owner closes it.
pub(crate) fn unregister(place: usize) {
    if let Some(place) = LOCKED.get(place) {
        place.store(FREE, Ordering::Release);
    }
}
