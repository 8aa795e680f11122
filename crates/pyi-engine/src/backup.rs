//! What backups need of the store: its files at one moment, the positions of its refs, and a store made of files that were laid out.

use std::path::Path;
use std::sync::Arc;

use pyi_cas::{Image, LogPosition, OsFs, lay_out, log_positions};

use crate::repository::Repository;
use crate::{Error, Result};

impl Repository {
    /// The store's files as they are now, held open: what a backup copies while writers go on.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`, `Closed`; `InvalidArgument` for a repository without files. O(segments).
    pub fn image(&self) -> Result<Image> {
        self.engine.open()?;
        let store = self.engine.store().on_disk();
        let store = store.ok_or_else(|| Error::invalid("a repository in memory has no files to back up"))?;
        Ok(store.image()?)
    }

    /// Every change of branches, workspaces and superpositions that the ref logs still hold, oldest first.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`, `Closed`. O(bytes of the logs).
    pub fn log_positions(&self) -> Result<Vec<LogPosition>> {
        self.engine.open()?;
        let store = self.engine.store().on_disk();
        let name = store.map(pyi_cas::FileStore::name).unwrap_or_default();
        positions_in(&self.engine.path.join("refs"), &name)
    }
}

/// The positions of the ref logs in a directory; `store` is the name of the store that they are of.
///
/// # Errors
/// `Storage`, `Corrupt`, `UnsupportedFormat`; `InvalidArgument` for what is no name of a store.
pub fn positions_in(directory: &Path, store: &str) -> Result<Vec<LogPosition>> {
    let mut name = [0u8; 16];
    let digits = store.as_bytes();
    let wrong = || Error::invalid(format!("{store:?} is no name of a store; it has 32 hex digits"));
    if digits.len() != 32 {
        return Err(wrong());
    }
    for (byte, pair) in name.iter_mut().zip(digits.chunks_exact(2)) {
        let text = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(text, 16).map_err(|_| wrong())?;
    }
    Ok(log_positions(&OsFs, directory, &name)?)
}

/// Makes a store of the files that a backup laid out: the refs go back to `position` (`None`: as they are), the segments of these numbers are sealed.
/// Returns the position that the refs are at.
///
/// # Errors
/// `NotFound` if the logs do not go back so far; `Storage`, `Corrupt`, `UnsupportedFormat`. O(bytes).
pub fn assemble(directory: &Path, position: Option<u64>, sealed: &[u64]) -> Result<u64> {
    Ok(lay_out(Arc::new(OsFs), directory, position, sealed)?)
}
