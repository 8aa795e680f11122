//! One error type for everything above the engine: a kind, which callers act on, and a message for people.

use std::fmt;

/// The result of an operation of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of thing went wrong. The Python exceptions and the command's exit statuses follow these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ErrorKind {
    /// There is no such path, checkpoint, branch, workspace, superposition, repository.
    NotFound,
    /// Somebody else changed it first, or it exists already.
    Conflict,
    /// A path that cannot be in a workspace, or not at this place.
    InvalidPath,
    /// An argument that makes no sense.
    InvalidArgument,
    /// Stored bytes are damaged.
    Corrupt,
    /// The repository was closed.
    Closed,
    /// Somebody else owns the workspace now.
    LeaseLost,
    /// A limit was reached.
    QuotaExceeded,
    /// The file system refused; see [`Error::errno`].
    Storage,
    /// A store of a newer format, or no store.
    UnsupportedFormat,
    /// Git's objects or commands refused.
    Git,
}

/// An error of the engine.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    errno: Option<i32>,
}

impl Error {
    /// An error of this kind; the message names the thing and the remedy.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            errno: None,
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Conflict, message)
    }

    pub(crate) fn invalid_path(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidPath, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Corrupt, message)
    }

    pub(crate) fn git(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Git, message)
    }

    /// A failed call on a real file: what was tried, on what, why it failed, and what to do where that is known.
    pub(crate) fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let remedy = match error.kind() {
            Io::PermissionDenied => "; check the owner and the permissions",
            Io::StorageFull | Io::QuotaExceeded => "; free space on that file system and repeat",
            Io::ReadOnlyFilesystem => "; name another place, or remount the file system",
            _ => "",
        };
        Error {
            kind: ErrorKind::Storage,
            message: format!("cannot {action} {}: {error}{remedy}", path.display()),
            errno: error.raw_os_error(),
        }
    }

    /// What kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The operating system's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<pyi_cas::Error> for Error {
    fn from(error: pyi_cas::Error) -> Self {
        use pyi_cas::Error as Cas;
        let kind = match &error {
            Cas::NotFound { .. } => ErrorKind::NotFound,
            Cas::Conflict { .. } => ErrorKind::Conflict,
            Cas::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Cas::Corrupt { .. } => ErrorKind::Corrupt,
            Cas::Closed => ErrorKind::Closed,
            Cas::UnsupportedFormat { .. } => ErrorKind::UnsupportedFormat,
            _ => ErrorKind::Storage,
        };
        Error {
            kind,
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}

impl From<pyi_tree::Error> for Error {
    fn from(error: pyi_tree::Error) -> Self {
        use pyi_tree::Error as Tree;
        let kind = match error {
            Tree::Store(error) => return error.into(),
            Tree::NotFound { .. } => ErrorKind::NotFound,
            Tree::InvalidPath { .. } => ErrorKind::InvalidPath,
            _ => ErrorKind::Corrupt,
        };
        Error::new(kind, error.to_string())
    }
}
