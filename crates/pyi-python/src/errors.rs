//! The one place where the engine's errors become Python exceptions (`pyi.errors`).

use pyi_engine::{Error, ErrorKind};
use pyo3::prelude::*;

/// The exception for an engine error.
pub(crate) fn raise(error: &Error) -> PyErr {
    let class = match error.kind() {
        ErrorKind::NotFound => "NotFound",
        ErrorKind::Conflict => "Conflict",
        ErrorKind::InvalidPath => "InvalidPath",
        ErrorKind::InvalidArgument => "InvalidArgument",
        ErrorKind::Corrupt => "Corrupt",
        ErrorKind::Closed => "Closed",
        ErrorKind::LeaseLost => "LeaseLost",
        ErrorKind::QuotaExceeded => "QuotaExceeded",
        ErrorKind::Storage => "StorageError",
        ErrorKind::UnsupportedFormat => "UnsupportedFormat",
        ErrorKind::Git => "GitError",
    };
    Python::attach(|py| {
        let make = || {
            let class = py.import("pyi.errors")?.getattr(class)?;
            match error.kind() {
                ErrorKind::Storage => class.call1((error.to_string(), error.errno())),
                _ => class.call1((error.to_string(),)),
            }
        };
        match make() {
            Ok(exception) => PyErr::from_value(exception),
            Err(failed) => failed,
        }
    })
}

/// `InvalidArgument` with this message.
pub(crate) fn invalid(message: impl Into<String>) -> PyErr {
    raise(&Error::new(ErrorKind::InvalidArgument, message))
}

/// Runs engine work with the GIL released and maps its error.
pub(crate) fn work<T: Send>(py: Python<'_>, run: impl FnOnce() -> pyi_engine::Result<T> + Send) -> PyResult<T> {
    // A fork of this process waits until nobody holds a lock of the engine. The gate is left before the GIL is asked for again:
    // whoever forks holds it.
    let gated = || {
        let _gate = pyi_engine::enter();
        run()
    };
    py.detach(gated).map_err(|error| raise(&error))
}

/// Maps the error of work that is too short to release the GIL for (a few microseconds).
pub(crate) fn short<T>(result: pyi_engine::Result<T>) -> PyResult<T> {
    result.map_err(|error| raise(&error))
}
