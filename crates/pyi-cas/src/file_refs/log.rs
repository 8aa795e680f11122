//! The files of the ref log: their names, opening one, making the next.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::reflog::{self, Action, LOG_HEADER_BYTES};
use crate::refstate::RefState;
use crate::segment::number_in_name;
use crate::store::RefTransaction;
use crate::vfs::{OpenMode, Vfs, VfsFile, read_full, write_whole};

/// The current log and what was folded from it.
pub(super) struct Log {
    pub(super) number: u64,
    pub(super) file: Arc<dyn VfsFile>,
    pub(super) state: RefState,
    /// Everything before it is folded.
    pub(super) offset: u64,
    /// Length of the header and the snapshot.
    pub(super) start: u64,
    /// A seal was read; nothing behind it counts.
    pub(super) sealed: bool,
    /// Ref generation that the state is as new as.
    pub(super) generation: u64,
    /// Reused for reading.
    pub(super) buffer: Vec<u8>,
}

/// Numbers of the logs that are there, in order. Errors: `Storage`.
pub(crate) fn log_numbers(vfs: &dyn Vfs, directory: &Path) -> Result<Vec<u64>> {
    let names = vfs
        .list(directory)
        .map_err(|error| Error::storage("list", directory, error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in_name(name, "log")).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A whole log, whose header is checked; `None` if it is not there. Errors: `Corrupt`, `UnsupportedFormat`, `Storage`. O(bytes of the log).
pub(crate) fn read_log(vfs: &dyn Vfs, directory: &Path, number: u64, store: &[u8; 16]) -> Result<Option<Vec<u8>>> {
    let path = directory.join(reflog::log_name(number));
    let failed = |error| Error::storage("read", &path, error);
    let file = match vfs.open(&path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = vec![0; usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX)];
    let read = read_full(file.as_ref(), &mut bytes, 0).map_err(failed)?;
    bytes.truncate(read);
    reflog::check_log_header(&bytes, number, store, &path.display().to_string())?;
    Ok(Some(bytes))
}

/// Makes a log that begins with a state. `message` says why, if it is not the usual rotation.
pub(super) fn create_log(
    vfs: &dyn Vfs,
    directory: &Path,
    number: u64,
    store: &[u8; 16],
    state: &RefState,
    message: &str,
) -> Result<()> {
    let path = directory.join(reflog::log_name(number));
    let mut bytes = reflog::encode_log_header(number, store).to_vec();
    let snapshot = RefTransaction {
        message: message.to_owned(),
        ..state.snapshot()
    };
    bytes.extend(reflog::encode(&Action::Snapshot(snapshot), vfs.now_ns())?);
    match write_whole(vfs, &path, &bytes, false) {
        Ok(_) => Ok(()),
        // So slow that others went on and took the temporary file for debris: then the log is there.
        Err(error) if error.kind() == io::ErrorKind::NotFound && vfs.exists(&path).unwrap_or(false) => Ok(()),
        Err(error) => Err(Error::storage("create", &path, error)),
    }
}

pub(super) fn open_log(vfs: &dyn Vfs, directory: &Path, number: u64, store: &[u8; 16], read_only: bool) -> Result<Log> {
    let path = directory.join(reflog::log_name(number));
    let mode = if read_only { OpenMode::Read } else { OpenMode::Append };
    let file = vfs
        .open(&path, mode)
        .map_err(|error| Error::storage("open", &path, error))?;
    let mut header = [0u8; LOG_HEADER_BYTES as usize];
    let n = read_full(file.as_ref(), &mut header, 0).map_err(|error| Error::storage("read", &path, error))?;
    reflog::check_log_header(&header[..n], number, store, &path.display().to_string())?;
    Ok(Log {
        number,
        file,
        state: RefState::default(),
        offset: LOG_HEADER_BYTES,
        start: LOG_HEADER_BYTES,
        sealed: false,
        generation: 0,
        buffer: Vec::new(),
    })
}
