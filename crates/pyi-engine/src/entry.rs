//! What stands at a path, as callers see it.

use std::sync::Arc;

use pyi_cas::{Batch, Bytes, Id, Kind};
use pyi_tree::diff::Side;
use pyi_tree::{Mode, Node, Pending, Row, Sealer, WalkEntry, seal};

use crate::engine::Engine;
use crate::{Error, Result};

/// What kind of entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A commit of another repository (a submodule).
    Gitlink,
}

/// An entry of a workspace or checkpoint.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The repository-relative path.
    pub path: Vec<u8>,
    /// What it is, as stored.
    pub mode: Mode,
    /// Bytes of content, or below a directory.
    pub size_bytes: u64,
    named: Named,
}

/// What an entry's id is computed from, if it must be: hashing waits until somebody asks.
#[derive(Clone, Debug)]
enum Named {
    Id(Id),
    Content(Bytes),
    Node(Arc<Node>),
}

impl Entry {
    pub(crate) fn new(path: Vec<u8>, row: Row, pending: Option<&Pending>, node: Option<&Arc<Node>>) -> Self {
        let named = match (row.is_dirty(), pending, node) {
            (true, Some(Pending::Blob(content)), _) => Named::Content(content.clone()),
            (true, None, Some(node)) => Named::Node(node.clone()),
            _ => Named::Id(row.id),
        };
        Entry {
            path,
            mode: row.mode,
            size_bytes: row.size_bytes,
            named,
        }
    }

    pub(crate) fn of_walk(entry: WalkEntry) -> Self {
        Entry::new(entry.path, entry.row, entry.pending.as_ref(), entry.node.as_ref())
    }

    pub(crate) fn of_side(path: &[u8], side: &Side) -> Self {
        Entry::new(path.to_vec(), side.row, side.pending.as_ref(), None)
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        match self.mode {
            Mode::Symlink => EntryKind::Symlink,
            Mode::Gitlink => EntryKind::Gitlink,
            Mode::Directory | Mode::Piece => EntryKind::Directory,
            _ => EntryKind::File,
        }
    }

    /// The permission bits: 0o644, 0o755 (also directories), 0o777 (symlinks), 0 (gitlinks).
    #[must_use]
    pub fn permissions(&self) -> u32 {
        match self.mode {
            Mode::Executable | Mode::Directory | Mode::Piece => 0o755,
            Mode::Symlink => 0o777,
            Mode::Gitlink => 0,
            _ => 0o644,
        }
    }

    /// The id: of the content, of the directory's node, or a gitlink's commit name (padded with zeros). O(content) for
    /// what was written and not checkpointed yet, else O(1).
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn id(&self, engine: &Engine) -> Result<Id> {
        match &self.named {
            Named::Id(id) => Ok(*id),
            Named::Content(content) => Ok(Kind::Blob.id_of(content)),
            Named::Node(node) => {
                let (mut node, mut unused) = (node.clone(), Batch::default());
                Ok(seal(&mut node, &mut Sealer::new(engine.store(), &mut unused))?)
            }
        }
    }
}

/// Computes ids of entries. Cloning is O(1).
#[derive(Clone)]
pub struct EntryIds(pub(crate) Arc<Engine>);

impl EntryIds {
    /// The id of an entry: of the content, of the directory's node, or a gitlink's commit name (padded with zeros). O(content)
    /// for what was written and not checkpointed yet, else O(1).
    ///
    /// # Errors
    /// What the store says.
    pub fn of(&self, entry: &Entry) -> Result<Id> {
        entry.id(&self.0)
    }
}

/// One difference between two versions.
#[derive(Clone, Debug)]
pub struct Change {
    /// The path; of a moved file the new one.
    pub path: Vec<u8>,
    /// What happened.
    pub kind: ChangeKind,
    /// What stood there before (of a moved file: at its old path).
    pub old: Option<Entry>,
    /// What stands there now.
    pub new: Option<Entry>,
}

/// What happened to a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ChangeKind {
    /// It came.
    Added,
    /// It went.
    Removed,
    /// Its content or kind changed.
    Modified,
    /// Its mode alone changed.
    Mode,
    /// It came from another path.
    Moved,
}

impl ChangeKind {
    /// The name in the API and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Modified => "modified",
            ChangeKind::Mode => "mode",
            ChangeKind::Moved => "moved",
        }
    }
}

impl EntryKind {
    /// The name in the API and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EntryKind::File => "file",
            EntryKind::Symlink => "symlink",
            EntryKind::Directory => "dir",
            EntryKind::Gitlink => "gitlink",
        }
    }
}

/// A stored mode from permission bits.
///
/// # Errors
/// `InvalidArgument` for anything but 0o644 and 0o755.
pub(crate) fn mode_of(permissions: u32) -> Result<Mode> {
    match permissions {
        0o644 | 0o100_644 => Ok(Mode::File),
        0o755 | 0o100_755 => Ok(Mode::Executable),
        other => Err(Error::invalid(format!("mode {other:#o}: a file is 0o644 or 0o755"))),
    }
}
