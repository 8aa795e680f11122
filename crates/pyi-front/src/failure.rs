//! Why a command ends without having done what it was asked for: an exit status and one line.

use pyi_engine::{Error, ErrorKind};

/// The result of a command's parts.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Done.
pub(crate) const DONE: u8 = 0;
/// A negative answer: no such thing, a conflict, a difference that was asked for.
pub(crate) const NEGATIVE: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// A run that failed.
pub(crate) const FAILED: u8 = 3;

/// An exit status and the reason, with the remedy behind a `;`.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: u8, message: impl Into<String>) -> Self {
        Failure {
            status,
            message: message.into(),
        }
    }

    pub(crate) fn negative(message: impl Into<String>) -> Self {
        Failure::new(NEGATIVE, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure::new(USAGE, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure::new(FAILED, message)
    }

    /// With a word on where usage is explained, if it is wrong usage and has no remedy of its own.
    pub(crate) fn or_see(mut self, command: &str) -> Self {
        if self.status == USAGE && !self.message.contains("; ") {
            self.message = format!("{}; see {command} --help", self.message.trim_end());
        }
        self
    }

    /// With another status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Failure { status, ..self }
    }

    /// The reason as one line.
    pub(crate) fn line(&self) -> String {
        self.message
            .split(['\n', '\r'])
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::LeaseLost | ErrorKind::QuotaExceeded => NEGATIVE,
            ErrorKind::InvalidPath | ErrorKind::InvalidArgument => USAGE,
            _ => FAILED,
        };
        Failure::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_line() {
        assert_eq!(Failure::failed("a\n  b\r\n\nc").line(), "a b c");
    }

    #[test]
    fn kinds_have_their_status() {
        for (kind, status) in [
            (ErrorKind::NotFound, 1),
            (ErrorKind::Conflict, 1),
            (ErrorKind::LeaseLost, 1),
            (ErrorKind::QuotaExceeded, 1),
            (ErrorKind::InvalidPath, 2),
            (ErrorKind::InvalidArgument, 2),
            (ErrorKind::Corrupt, 3),
            (ErrorKind::Storage, 3),
            (ErrorKind::Git, 3),
        ] {
            assert_eq!(Failure::from(Error::new(kind, "x")).status, status, "{kind:?}");
        }
    }
}
