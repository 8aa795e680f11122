//! Faults: what a call to the disk can do other than what it was asked for. A test decides call by call.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

/// The calls of [`pyi_cas::Vfs`] and [`pyi_cas::VfsFile`] that touch the disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // named like the calls
pub enum Operation {
    Open,
    Create,
    List,
    CreateDirAll,
    Remove,
    Link,
    Rename,
    SyncDir,
    Exists,
    Read,
    Write,
    Append,
    Len,
    SetLen,
    SyncData,
    Allocate,
    Lock,
    IsLocked,
    MapReadonly,
    MapShared,
}

impl Operation {
    /// Whether it changes what is cached or what is durable.
    pub fn changes(self) -> bool {
        use Operation::{
            Allocate, Append, Create, CreateDirAll, Link, Remove, Rename, SetLen, SyncData, SyncDir, Write,
        };
        matches!(
            self,
            Create | CreateDirAll | Remove | Link | Rename | SyncDir | Write | Append | SetLen | SyncData | Allocate
        )
    }
}

/// One call, before it happens.
#[derive(Clone, Debug)]
pub struct Call {
    /// The process that calls.
    pub process: u64,
    /// How many calls it made before.
    pub index: u64,
    /// What it wants.
    pub operation: Operation,
    /// Of which file or directory.
    pub path: PathBuf,
}

/// What happens instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    /// What was asked for.
    #[default]
    None,
    /// Nothing, and this errno.
    Error(i32),
    /// A read or write of half of the bytes (at least one); other calls work.
    Short,
    /// Half of a write (other calls: nothing), and this errno.
    HalfThenError(i32),
    /// A bit of what is read is the other one; the number is taken modulo the bits.
    Flip(u64),
    /// A read returns what is durable in place of what is cached.
    Stale,
    /// A read returns bytes from so much further on.
    Misdirected(u64),
    /// A flush says that it worked and does nothing.
    Lie,
    /// A flush fails with this errno and forgets what it should have written, as Linux does: the next one works without it.
    FlushLost(i32),
    /// The process dies before the call.
    Kill,
    /// The process dies in the middle of a write, or right behind any other call.
    KillHalf,
}

/// The payload of the unwinding with which a killed process ends.
#[derive(Clone, Copy, Debug)]
pub struct Killed;

/// Runs what a process does; `None` if the process was killed by [`Fault::Kill`] in it. Other panics go on.
pub fn until_killed<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Killed>() => None,
        Err(payload) => resume_unwind(payload),
    }
}
