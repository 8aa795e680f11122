//! Persistent Merkle trees over the object store.
//!
//! A [`Tree`] is a directory tree whose nodes are shared structurally: cloning it is O(1), an edit
//! copies the nodes on one path, and two trees that share a node share everything below it. Nodes in
//! memory *are* the bytes that are hashed and stored (see `docs/design/002-format-v1.md`, section 7).
//! The same structure holds a workspace's files, its state and its journal.
//!
//! This crate knows directories, names and versions. It knows neither git nor real directories.

pub mod array;
pub mod cbor;
pub mod checkpoint;
mod children;
mod cursor;
pub mod diff;
mod directory;
mod encoding;
mod error;
mod forest;
pub mod journal;
pub mod merge;
mod mode;
mod moves;
mod node;
mod rank;
pub mod refs;
mod seal;
mod splice;
pub mod text_merge;
pub mod tree;
mod walk;

pub use checkpoint::CheckpointRoot;
pub use directory::{build_directory, directory_row};
pub use error::{Error, Result};
pub use forest::Forest;
pub use mode::Mode;
pub use node::{Node, Pending, Row, loaded_bytes, sealed_bytes};
pub use seal::{Sealer, seal};
pub use tree::{Found, Loader, StoreLoader, Tree};
pub use walk::{Walk, WalkEntry};

/// A directory of more entries than this is cut into pieces (format v1).
pub const SPLIT_ABOVE: usize = 256;
/// The longest name of an entry in bytes (format v1).
pub const NAME_MAX_BYTES: usize = 4096;
