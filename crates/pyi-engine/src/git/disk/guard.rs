//! Lock files go with the process that holds them, even if it is killed.
//!
//! Nobody but the one who made it may remove a lock of git's, and who is killed removes nothing: the next command stops at it, and a person has to look.
//! So a second process that shares this one's memory waits for the end of this one as long as locks are held. It is a group of its own, so that what
//! is sent to ours or typed at the terminal does not reach it. If the end comes before [`Guard`] is dropped, it removes those lock files that are still
//! the ones that were made here (by device and inode), and ends. It costs about as much as starting a thread; where it cannot be started, all is as it is with git.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// Locks of one process that are looked after; more are not.
const HELD_MAX: usize = 64;
/// What the second process needs, and much to spare.
const STACK_BYTES: usize = 16 << 10;
const MODE: u32 = 0o666;
/// How often its end is looked for; each look lets others run.
const LOOKS: usize = 8;

/// A lock file that goes if this process does.
struct Slot {
    is_taken: AtomicBool,
    /// Its path; null if there is none.
    path: AtomicPtr<c_char>,
    device: AtomicU64,
    inode: AtomicU64,
}

static HELD: [Slot; HELD_MAX] = [const {
    Slot {
        is_taken: AtomicBool::new(false),
        path: AtomicPtr::new(std::ptr::null_mut()),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
    }
}; HELD_MAX];

/// A lock file is looked after until this is dropped.
pub(super) struct Held(usize);

impl Held {
    fn new(path: &Path, about: &Metadata) -> Option<Self> {
        let name = CString::new(path.as_os_str().as_bytes()).ok()?;
        let free = |slot: &Slot| {
            let order = Ordering::AcqRel;
            slot.is_taken
                .compare_exchange(false, true, order, Ordering::Acquire)
                .is_ok()
        };
        let at = HELD.iter().position(free)?;
        let slot = HELD.get(at)?;
        slot.device.store(about.dev(), Ordering::Release);
        slot.inode.store(about.ino(), Ordering::Release);
        slot.path.store(name.into_raw(), Ordering::Release);
        Some(Held(at))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(slot) = HELD.get(self.0) else { return };
        let path = slot.path.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if !path.is_null() {
            // SAFETY: it comes from `into_raw`, and only who took it out of the slot has it.
            drop(unsafe { CString::from_raw(path) });
        }
        slot.is_taken.store(false, Ordering::Release);
    }
}

/// Makes a lock file that must not be there. It is known what it will be before it has its name, so that there is no moment in which it could be left. O(1).
///
/// # Errors
/// What the file system says; `AlreadyExists` if somebody holds the lock.
pub(super) fn create(path: &Path) -> io::Result<(File, Option<Held>)> {
    if let Some((file, held)) = unnamed(path) {
        match link(&file, path) {
            Ok(()) => return Ok((file, Some(held))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // Not every file system can do that.
            Err(_) => {}
        }
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let held = file.metadata().ok().and_then(|about| Held::new(path, &about));
    Ok((file, held))
}

fn unnamed(path: &Path) -> Option<(File, Held)> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE).custom_flags(libc::O_TMPFILE);
    let file = options.open(path.parent()?).ok()?;
    let held = Held::new(path, &file.metadata().ok()?)?;
    Some((file, held))
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both are strings that end with a zero and live through the call.
    let done = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The ends of the pipe that tells whether this process lives.
struct Ends {
    theirs: OwnedFd,
    ours: OwnedFd,
}

/// Somebody looks after the locks as long as this lives.
pub(super) struct Guard {
    child: libc::pid_t,
    ends: ManuallyDrop<Box<Ends>>,
    /// Where the second process runs.
    stack: ManuallyDrop<Vec<u128>>,
}

impl Guard {
    /// Starts the second process; `None` if that cannot be. O(1), 30 us or so.
    pub(super) fn start() -> Option<Self> {
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return None;
        }
        // SAFETY: both were just opened, and belong to nobody else.
        let ends = unsafe {
            Box::new(Ends {
                theirs: OwnedFd::from_raw_fd(ends[0]),
                ours: OwnedFd::from_raw_fd(ends[1]),
            })
        };
        // Not zeroed: what is not used of it is never touched.
        let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
        let argument = (&raw const *ends).cast_mut().cast::<c_void>();
        // SAFETY: the stack grows down from its end, and both it and the ends stay until the process is gone (`drop` frees them only then). `watch` allocates nothing,
        // takes no lock, and as long as this process runs does nothing that could fail, so that it does not touch what is the calling thread's.
        let child = unsafe {
            let top = stack.as_mut_ptr().add(stack.capacity());
            let child = libc::clone(watch, top.cast(), libc::CLONE_VM, argument);
            // From here on it is not meant by what is sent to our group.
            if child > 0 {
                libc::setpgid(child, child);
            }
            child
        };
        (child > 0).then_some(Guard {
            child,
            ends: ManuallyDrop::new(ends),
            stack: ManuallyDrop::new(stack),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let byte = 1u8;
        loop {
            // SAFETY: one byte is there to be read; the descriptor is open.
            let wrote = unsafe { libc::write(self.ends.ours.as_raw_fd(), (&raw const byte).cast(), 1) };
            if wrote == 1 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        // It ends at once where a processor is free, and without a signal, which is what the flag asks for. Where all are busy it would be waited for as
        // long as others run: then it keeps its stack, and whoever gets the children of processes that have ended takes notice of its end.
        for _ in 0..LOOKS {
            let mut status = 0;
            // SAFETY: there is room for the status; the process is ours, and nobody else waits for it.
            let waited = unsafe { libc::waitpid(self.child, &raw mut status, libc::__WALL | libc::WNOHANG) };
            if waited == self.child {
                // SAFETY: the process that used them is gone, and nothing else does.
                unsafe {
                    ManuallyDrop::drop(&mut self.ends);
                    ManuallyDrop::drop(&mut self.stack);
                }
                return;
            }
            if waited < 0 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// The second process: waits until it is told that all is well, or that nobody is there to tell.
extern "C" fn watch(ends: *mut c_void) -> c_int {
    // SAFETY: `start` passed the ends, and keeps them until this process is gone.
    let ends = unsafe { &*ends.cast_const().cast::<Ends>() };
    let (theirs, ours) = (ends.theirs.as_raw_fd(), ends.ours.as_raw_fd());
    let mut byte = 0u8;
    // SAFETY: the descriptors are open, and of this process alone since they were copied; there is room for a byte.
    let told = unsafe {
        libc::close(ours);
        // Who reads what this program writes must not wait for this process.
        for descriptor in 0..=2 {
            libc::close(descriptor);
        }
        libc::read(theirs, (&raw mut byte).cast(), 1)
    };
    if told != 0 {
        return 0;
    }
    for slot in &HELD {
        let path = slot.path.load(Ordering::Acquire);
        if path.is_null() {
            continue;
        }
        let mut about = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: the paths that are in a slot end with a zero, and nobody is left who could free them; there is room for the answer, which is zero
        // where the call fails.
        unsafe {
            if libc::lstat(path, about.as_mut_ptr()) != 0 {
                continue;
            }
            let about = about.assume_init_ref();
            let device = slot.device.load(Ordering::Acquire);
            if (about.st_dev, about.st_ino) == (device, slot.inode.load(Ordering::Acquire)) {
                libc::unlink(path);
            }
        }
    }
    0
}
