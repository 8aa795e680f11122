//! Repositories and workspaces: the engine under the Python package and the `pyi` command.
//!
//! A [`Repository`] is one store; a [`Workspace`] is a mutable copy-on-write view of files, state and journal; a [`Checkpoint`]
//! is an immutable version of one. [`Superposition`] keeps candidates until one is chosen. `git` brings content in from
//! and out to git repositories; `sandbox` to and from real directories.

mod absorb;
mod backup;
mod blobs;
mod cap;
mod checkpoint;
mod closure;
mod commit;
mod compare;
mod conflicts;
mod durability;
mod engine;
mod entry;
mod error;
mod garbage;
pub mod git;
mod history;
mod hold;
mod journal;
mod keep;
mod lease;
mod live;
pub mod locate;
mod machine;
mod mark;
mod memory;
mod over;
mod paths;
mod recent;
mod region;
mod repository;
mod retention;
mod roots;
pub mod sandbox;
mod scrub;
mod state;
mod superposition;
mod undo;
mod warm;
mod workspace;

pub use backup::{assemble, positions_in};
pub use checkpoint::{Checkpoint, EntryWalk};
pub use closure::Affected;
pub use commit::Expect;
pub use compare::{Conflict, Version};
pub use conflicts::Take;
pub use durability::Durability;
pub use entry::{Change, ChangeKind, Entry, EntryIds, EntryKind};
pub use error::{Error, ErrorKind, Result};
pub use garbage::{GcOptions, GcReport};
pub use git::ExportOptions;
pub use history::History;
pub use journal::{JournalView, Query, Verified};
pub use live::LiveArray;
pub use memory::Memory;
pub use pyi_cas::{Bytes, Fault, Gate, Id, Image, Kind, LogPosition, ScrubOptions, enter};
pub use pyi_tree::Mode;
pub use pyi_tree::array::CHUNK_BYTES as ARRAY_CHUNK_BYTES;
pub use pyi_tree::cbor::put as encode;
pub use pyi_tree::cbor::{DEPTH_MAX as VALUE_DEPTH_MAX, Value};
pub use pyi_tree::journal::Event;
pub use region::Region;
pub use repository::{Repository, RepositoryOptions, RepositoryStats};
pub use retention::Retention;
pub use sandbox::{CaptureOptions, CaptureReport, Ignore, MaterializeOptions, MaterializeReport};
pub use scrub::{CheckReport, ScrubReport};
pub use state::{NewArray, StateValue, StoredArray};
pub use superposition::{Fate, Keep, Onto, Ready, Superposition};
pub use undo::{Operation, RefKind, RefMove};
pub use workspace::Workspace;
