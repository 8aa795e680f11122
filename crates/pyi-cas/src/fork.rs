//! What a `fork()` does to lock holders. A child inherits the open file description and with it the lock of the parent's
//! segment; were it kept, two processes would append to one segment, and the lock would outlive the parent. So a handler in
//! the child closes every descriptor that holds a lock and moves the generation; the handle sees that and never uses
//! or closes the number again, which may belong to somebody else by then.

use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

const CAPACITY: usize = 4096;
const FREE: i32 = -1;

static GENERATION: AtomicU64 = AtomicU64::new(1);
static LOCKED: [AtomicI32; CAPACITY] = [const { AtomicI32::new(FREE) }; CAPACITY];
static HANDLER: Once = Once::new();

/// The generation of this process: moves in the child of every fork. O(1), one load.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// Runs in the child between fork and its return: only atomics and `close` are allowed here.
extern "C" fn in_child() {
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

/// Notes a descriptor that is about to be locked; returns its place, or `None` if there are too many.
pub(crate) fn register(descriptor: i32) -> Option<usize> {
    HANDLER.call_once(|| {
        // SAFETY: `in_child` is async-signal-safe and lives as long as the program.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
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
