//! Content in from and out to git repositories.
//!
//! [`GitSource`] is a repository, opened: its objects ([`ObjectDatabase`]) are read natively; revisions too where that is simple,
//! and by the installed git where it is not; [`GitDirectory`] is one as git's own commands read it. [`crate::Repository::import_git`] makes a checkpoint of a commit,
//! [`crate::Workspace::export_git`] a commit of a workspace. The map between git's names and ours is derived and can be deleted at any time;
//! `docs/design/005-git-interop.md` has its bytes and the rules.

mod command;
mod directory;
mod disk;
mod export;
mod import;
mod layout;
mod map;
mod object_writer;
mod odb;
mod odd;
mod packs;
mod ref_files;
mod regular;
pub mod remote;
mod source;
mod source_refs;
mod table;
mod tree_export;
mod tree_import;
pub(crate) mod work;

pub use directory::GitDirectory;
pub use disk::{DiskSite, PartlyWritten, Sink, Unsupported};
pub use export::ExportOptions;
pub use import::History;
pub(crate) use map::GitMap;
pub use odb::ObjectDatabase;
pub use pyi_git::command::{ENVIRONMENT, Environment, Outcome, REMEDY, reads_input};
pub use pyi_git::{Object, ObjectFormat, ObjectKind, Oid};
pub use ref_files::RefValue;
pub use regular::read_regular;
pub use source::GitSource;
