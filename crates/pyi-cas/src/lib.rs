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
mod boot;
mod bytes_le;
mod cache;
mod chain;
mod check;
mod chunk;
mod chunker;
mod collect;
mod condemned;
mod control;
mod damaged;
mod decode;
mod durable;
mod encoding;
mod error;
mod evacuate;
mod fault;
mod file_refs;
mod file_store;
mod flush;
mod fork;
mod format;
mod frame;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gc_file;
mod group;
mod hashing;
mod heal;
mod id;
mod id_table;
mod image;
mod index;
mod kind;
mod lazy_file;
mod log_records;
mod memory;
mod merge;
mod merged_index;
mod numbered;
mod os;
mod output;
mod pages;
mod peers;
mod prefix;
mod reading;
mod recent;
mod recode;
mod record;
mod ref_history;
mod reflog;
mod refstate;
mod restore;
mod retired;
mod rewrite;
mod scrub;
mod sealed;
mod segment;
mod session;
mod shared;
mod sparing;
mod splice;
mod store;
mod survey;
mod twin;
mod vfs;
mod write_map;
mod writer;

pub use batch::Batch;
pub use bytes::Bytes;
pub use cache::BlobCache;
pub use chain::{Link, ids_of_chain};
pub use chunker::chunk_ids;
pub use collect::{CollectOptions, Collected, Mark};
pub use error::{Error, Result};
pub use fault::{Fault, Flaw, StoreFile};
pub use file_store::{FileStore, OpenOptions};
pub use fork::{Gate, enter, generation as process_generation};
pub use heal::PutBack;
pub use id::{Id, IdHasher, IdMap, IdSet};
pub use id_table::IdTable;
pub use image::{Image, ImageFile};
pub use kind::Kind;
pub use memory::MemoryStore;
pub use os::OsFs;
pub use recode::{Recoded, Recoder};
pub use ref_history::{KeyChange, RefChange};
pub use restore::{LogPosition, lay_out, log_positions};
pub use scrub::{Orphan, ScrubOptions, Scrubbed};
pub use segment::{Damage, DamagedFile};
pub use session::{Pin, Section};
pub use splice::Splice;
pub use store::{
    Committed, Guard, ObjectStore, RangeChange, RefOutcome, RefRange, RefStore, RefTransaction, StoreStats,
};
pub use vfs::{Mapped, OpenMode, SharedWords, Vfs, VfsFile, WriteMap};
