//! Shared by the tests: opening stores, making content.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_cas::{Batch, FileStore, Guard, Id, Kind, ObjectStore, OpenOptions, OsFs, RefTransaction};

pub fn options() -> OpenOptions {
    OpenOptions {
        create: true,
        background_seal: false,
        ..OpenOptions::default()
    }
}

/// Limits so small that everything seals and rotates.
pub fn tiny() -> OpenOptions {
    OpenOptions {
        segment_limit_bytes: 2_000,
        ref_log_limit_bytes: 1_000,
        ..options()
    }
}

pub fn open(directory: &Path) -> FileStore {
    open_with(directory, options())
}

pub fn open_with(directory: &Path, options: OpenOptions) -> FileStore {
    FileStore::open(Arc::new(OsFs), directory, options).unwrap()
}

pub fn put(store: &dyn ObjectStore, content: &[u8]) -> Id {
    let mut batch = Batch::new();
    let id = batch.put_new(Kind::Blob, content).unwrap();
    store.commit(&mut batch).unwrap();
    id
}

pub fn content(i: usize, size: usize) -> Vec<u8> {
    (0..size)
        .map(|k| (i.wrapping_mul(31).wrapping_add(k * k / 3 + k)) as u8)
        .chain(i.to_le_bytes())
        .collect()
}

/// Sets a key, if it has the value it is expected to have.
pub fn step(key: &[u8], from: Option<&[u8]>, to: Option<&[u8]>) -> RefTransaction {
    let guard = from.map_or(Guard::Absent, |value| Guard::Equals(value.to_vec()));
    RefTransaction {
        guards: vec![(key.to_vec(), guard)],
        puts: vec![(key.to_vec(), to.map(<[u8]>::to_vec))],
        ..RefTransaction::default()
    }
}

/// Files of a directory with an extension, sorted.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
