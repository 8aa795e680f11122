//! What a running verb has: the repository that is meant, and the way out for its answer.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use pyi_engine::{Repository, RepositoryOptions, locate};

use crate::failure::{Failure, Result};
use crate::json::Json;

/// What the common options say.
pub(crate) struct Context {
    store: Option<PathBuf>,
    json: bool,
}

impl Context {
    pub(crate) fn new(store: Option<PathBuf>, json: bool) -> Self {
        Context { store, json }
    }

    /// The repository here or above, or the one whose store is named.
    pub(crate) fn repository(&self) -> Result<Repository> {
        let here = current_directory()?;
        let found = find_repository(&here)?;
        let remedy = "name a store with --store (or PYI_STORE), or make one with `pyi import`";
        let (path, store) = match (found, &self.store) {
            (found, Some(store)) => (found.map_or(here, |found| found.directory), store.clone()),
            // A materialized directory's store knows which repository it stands in.
            (
                Some(Found {
                    borrowed: Some(store), ..
                }),
                None,
            ) => (store.clone(), store),
            (Some(Found { directory, .. }), None) => {
                let store = locate::locate(&directory)?.store;
                (directory, store)
            }
            (None, None) => {
                return Err(Failure::negative(format!(
                    "no repository in {} or above; {remedy}",
                    here.display()
                )));
            }
        };
        if !is_store(&store) {
            return Err(Failure::negative(format!(
                "there is no store at {}; {remedy}",
                store.display()
            )));
        }
        let options = RepositoryOptions {
            create: false,
            store: Some(store),
            ..RepositoryOptions::default()
        };
        Ok(Repository::open(&path, &options)?)
    }

    /// As [`Context::repository`], but the store is made if need be; without a repository here or above it is that of `source`.
    pub(crate) fn repository_for(&self, source: &Path) -> Result<Repository> {
        let found = find_repository(&current_directory()?)?;
        let borrowed = found.as_ref().and_then(|found| found.borrowed.clone());
        let path = match (&borrowed, &found) {
            (Some(store), _) => store,
            (None, Some(found)) => &found.directory,
            (None, None) => source,
        };
        let options = RepositoryOptions {
            store: self.store.clone(),
            ..RepositoryOptions::default()
        };
        Ok(Repository::open(path, &options)?)
    }

    /// The answer, as a JSON document or as text.
    pub(crate) fn answer(&self, json: impl FnOnce() -> Json, text: impl FnOnce() -> Vec<u8>) -> Result<()> {
        if self.json {
            print(&json().render())
        } else {
            print(&text())
        }
    }
}

/// The current directory, absolute.
pub(crate) fn current_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        Failure::failed(format!(
            "the current directory cannot be told: {error}; go to another one"
        ))
    })
}

/// The file in the private git directory of a materialized directory that says where its store is.
pub(crate) const STORE_MARKER: &str = "pyi-store";

/// A repository that was found.
pub(crate) struct Found {
    pub(crate) directory: PathBuf,
    /// The store that it was materialized from, if that is how it came about.
    borrowed: Option<PathBuf>,
}

/// The nearest directory from `start` upwards that is a git repository or has a store.
pub(crate) fn find_repository(start: &Path) -> Result<Option<Found>> {
    for directory in start.ancestors() {
        if is_store(&directory.join(".pyi")) || is_store(directory) || locate::git_dir(directory)?.is_some() {
            let marker = std::fs::read(directory.join(".git").join(STORE_MARKER)).ok();
            let borrowed = marker
                .map(|path| PathBuf::from(OsString::from_vec(path)))
                .filter(|store| is_store(store));
            return Ok(Some(Found {
                directory: directory.to_path_buf(),
                borrowed,
            }));
        }
    }
    Ok(None)
}

fn is_store(directory: &Path) -> bool {
    directory.join("format").is_file() && directory.join("segments").is_dir()
}

/// Writes to stdout. A reader who has enough is no error.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "cannot write to standard output: {error}; what was asked for is done"
        ))),
        _ => Ok(()),
    }
}
