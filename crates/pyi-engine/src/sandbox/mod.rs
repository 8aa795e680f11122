//! Content out to and in from real directories: materialize, capture, import.
//!
//! [`Workspace::materialize`] writes the present content into a directory and, for content that came from a git
//! repository, a private git directory that borrows the source's objects. [`Workspace::capture`] takes back what changed
//! there; [`Repository::import_dir`] takes in a directory for the first time. All of them work relative to open
//! directories and never follow a symlink. What is known of files on disk is kept in a stat cache per directory, so that an
//! untouched file is not read again. docs/design/006-materialize-and-capture.md says why it is done this way.
//!
//! [`Workspace::materialize`]: crate::Workspace::materialize
//! [`Workspace::capture`]: crate::Workspace::capture
//! [`Repository::import_dir`]: crate::Repository::import_dir

mod capture;
mod import_dir;
mod materialize;
mod nested;
mod observe;
pub(crate) mod os;
mod overlay;
mod private_git;
mod rules;
mod scan;
mod stat_cache;
mod synced;

pub use capture::{CaptureOptions, CaptureReport, Ignore};
pub use materialize::{MaterializeOptions, MaterializeReport};
pub(crate) use stat_cache::remove_stale_caches;
pub use stat_cache::sandbox_cache_path;
pub(crate) use synced::Synced;
