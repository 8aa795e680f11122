//! What an entry of a node is. The numbers are part of format v1.

use crate::{Error, Result};

/// The kind of an entry, as stored in a node's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// A file, 0644.
    File = 1,
    /// An executable file, 0755.
    Executable = 2,
    /// A symbolic link; its content is the target.
    Symlink = 3,
    /// A commit of another git repository (a submodule); no object of the store.
    Gitlink = 4,
    /// A directory.
    Directory = 5,
    /// A piece of a large directory; only in nodes of level 1 and above.
    Piece = 6,
    /// A value of the state, or a batch of journal events.
    Value = 7,
    /// An array of the state.
    Array = 8,
}

impl Mode {
    /// The mode with this number.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a number that format v1 does not know.
    pub fn from_number(number: u8) -> Result<Self> {
        Ok(match number {
            1 => Mode::File,
            2 => Mode::Executable,
            3 => Mode::Symlink,
            4 => Mode::Gitlink,
            5 => Mode::Directory,
            6 => Mode::Piece,
            7 => Mode::Value,
            8 => Mode::Array,
            other => return Err(Error::corrupt(format!("unknown entry mode {other} in a node"))),
        })
    }

    /// Whether the row's id names a node.
    #[must_use]
    pub fn has_node(self) -> bool {
        matches!(self, Mode::Directory | Mode::Piece)
    }

    /// Whether this is a regular file, executable or not.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(self, Mode::File | Mode::Executable)
    }

    /// The mode as git and `stat` write it (0o100644, 0o120000, ...).
    #[must_use]
    pub fn unix(self) -> u32 {
        match self {
            Mode::File | Mode::Value | Mode::Array => 0o100_644,
            Mode::Executable => 0o100_755,
            Mode::Symlink => 0o120_000,
            Mode::Gitlink => 0o160_000,
            Mode::Directory | Mode::Piece => 0o040_000,
        }
    }
}
