//! The one error type of the store. Every message names the thing and the remedy, because it reaches people unchanged
//! through the engine, the command line and Python.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that was asked for by name does not exist.
    #[error("{what} was not found; check the name, or create it first")]
    NotFound {
        /// The thing, with its name.
        what: String,
    },
    /// Somebody else changed or created it first.
    #[error("{what} was changed by somebody else; read it again and repeat")]
    Conflict {
        /// The thing, with its name.
        what: String,
    },
    /// The caller passed something that the format cannot hold.
    #[error("invalid argument: {what}")]
    InvalidArgument {
        /// What is wrong and what would be right.
        what: String,
    },
    /// Stored bytes are not what was written.
    #[error("{what} is damaged at {place}; run a scrub, and repair it from a backup or another store")]
    Corrupt {
        /// The damaged thing.
        what: String,
        /// File and offset.
        place: String,
    },
    /// The store was closed.
    #[error("the store is closed; open it again")]
    Closed,
    /// The operating system refused; the errno is kept in `source`.
    #[error("cannot {operation} {}: {source}; {}", path.display(), remedy(source))]
    Storage {
        /// What was tried: a verb such as `write`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A ref transaction was appended but its outcome could not be read back.
    #[error(
        "the outcome of ref transaction {operation_id} is unknown ({cause}); read the refs again before repeating it"
    )]
    OutcomeUnknown {
        /// Random id of the transaction in the log, as hex.
        operation_id: String,
        /// Why it could not be read.
        cause: Box<Error>,
    },
    /// The store was written by a newer version, or is no store of ours.
    #[error("unsupported format: {found}; use a newer version of pyi to open this store")]
    UnsupportedFormat {
        /// What was found, and where.
        found: String,
    },
}

impl Error {
    /// Makes a [`Error::Storage`] from an operating system error; keeps the errno. O(1).
    pub fn storage(operation: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Storage {
            operation,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// Makes an [`Error::InvalidArgument`]. O(1).
    pub fn invalid(what: impl Into<String>) -> Error {
        Error::InvalidArgument { what: what.into() }
    }

    /// Makes an [`Error::Corrupt`]. O(1).
    pub fn corrupt(what: impl Into<String>, place: impl Into<String>) -> Error {
        Error::Corrupt {
            what: what.into(),
            place: place.into(),
        }
    }

    /// The same error again, for another one who waits for it: kind, message and errno. O(1).
    pub(crate) fn copy(&self) -> Error {
        match self {
            Error::Storage {
                operation,
                path,
                source,
            } => Error::Storage {
                operation,
                path: path.clone(),
                source: match source.raw_os_error() {
                    Some(errno) => io::Error::from_raw_os_error(errno),
                    None => io::Error::new(source.kind(), source.to_string()),
                },
            },
            Error::NotFound { what } => Error::NotFound { what: what.clone() },
            Error::Conflict { what } => Error::Conflict { what: what.clone() },
            Error::InvalidArgument { what } => Error::InvalidArgument { what: what.clone() },
            Error::Corrupt { what, place } => Error::corrupt(what.clone(), place.clone()),
            Error::Closed => Error::Closed,
            Error::OutcomeUnknown { operation_id, cause } => Error::OutcomeUnknown {
                operation_id: operation_id.clone(),
                cause: Box::new(cause.copy()),
            },
            Error::UnsupportedFormat { found } => Error::UnsupportedFormat { found: found.clone() },
        }
    }

    /// Whether a file was not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Error::Storage { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The operating system's error number, if this is a storage error that has one. O(1).
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Storage { source, .. } => source.raw_os_error(),
            Error::OutcomeUnknown { cause, .. } => cause.errno(),
            _ => None,
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero => {
            "free space on that file system and repeat"
        }
        io::ErrorKind::PermissionDenied => "check the owner and the permissions",
        io::ErrorKind::ReadOnlyFilesystem => "run as a user who may write there, or remount the file system",
        io::ErrorKind::NotFound => "check that the store was not moved or removed",
        _ => match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files",
            _ => "nothing of this call was kept; check the disk and repeat",
        },
    }
}
