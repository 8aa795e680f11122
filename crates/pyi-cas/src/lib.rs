//! Content-addressed storage: ids, segments, ref log, cache. Knows no paths.
//!
//! Objects are immutable bytes named by the BLAKE3 hash of their content. They are appended in batches to segment files,
//! one writer to a segment; refs are named values in one shared append-only log and change by compare-and-swap. Any
//! number of processes open one store at once. The bytes on disk are specified in `docs/design/002-format-v1.md`.
//!
//! ```
//! use pyi_cas::{Batch, Kind, MemoryStore, ObjectStore};
//!
//! let store = MemoryStore::new();
//! let mut batch = Batch::new();
//! let id = batch.put_new(Kind::Blob, b"hello")?;
//! store.commit(&mut batch)?;
//! assert_eq!(store.get(Kind::Blob, &id)?.as_deref(), Some(&b"hello"[..]));
//! # Ok::<(), pyi_cas::Error>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod batch;
mod bytes_le;
mod cache;
mod control;
mod error;
mod file_refs;
mod file_store;
mod fork;
mod format;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod index;
mod kind;
mod lazy_file;
mod memory;
mod merge;
mod merged_index;
mod os;
mod prefix;
mod recent;
mod record;
mod reflog;
mod refstate;
mod sealed;
mod segment;
mod shared;
mod store;
mod vfs;
mod writer;

pub use batch::Batch;
pub use bytes::Bytes;
pub use cache::BlobCache;
pub use error::{Error, Result};
pub use file_store::{FileStore, OpenOptions};
pub use fork::{Gate, enter};
pub use id::{Id, IdHasher, IdMap, IdSet};
pub use kind::Kind;
pub use memory::MemoryStore;
pub use os::OsFs;
pub use segment::{Damage, DamagedFile};
pub use store::{Committed, Guard, ObjectStore, RefOutcome, RefStore, RefTransaction, StoreStats};
pub use vfs::{Mapped, OpenMode, SharedWords, Vfs, VfsFile};
