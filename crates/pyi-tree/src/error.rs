//! What can go wrong with a tree.

/// The result of an operation on a tree.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a tree. Every message names the thing and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such entry.
    #[error("{path:?}: no such file or directory in this tree; list its directory to see what there is")]
    NotFound {
        /// The path that was asked for.
        path: String,
    },
    /// The path cannot stand in this tree (below a file, where a directory stands, ...).
    #[error("{path:?}: {reason}")]
    InvalidPath {
        /// The path that was refused.
        path: String,
        /// Why, and what would help.
        reason: String,
    },
    /// Stored bytes do not parse.
    #[error("corrupt: {what}; run `pyi scrub` and restore from a backup")]
    Corrupt {
        /// What does not parse, and where.
        what: String,
    },
    /// The store under the tree failed.
    #[error(transparent)]
    Store(#[from] pyi_cas::Error),
}

impl Error {
    /// A [`Error::Corrupt`] with this text.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Error::Corrupt { what: what.into() }
    }

    /// A [`Error::NotFound`] for this path.
    #[must_use]
    pub fn not_found(path: &[u8]) -> Self {
        Error::NotFound {
            path: String::from_utf8_lossy(path).into_owned(),
        }
    }

    /// A [`Error::InvalidPath`] for this path.
    pub fn invalid_path(path: &[u8], reason: impl Into<String>) -> Self {
        Error::InvalidPath {
            path: String::from_utf8_lossy(path).into_owned(),
            reason: reason.into(),
        }
    }
}
