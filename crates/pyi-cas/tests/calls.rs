//! What a lookup costs: counted in calls to the file system, as the results are the same without the control file's hints.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use pyi_cas::{FileStore, Kind, ObjectStore, OpenMode, OsFs, Vfs, VfsFile};

/// The real file system, with a count of the calls that look for something new.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Vfs for Counting {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        self.count();
        OsFs.open(path, mode)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.count();
        OsFs.list(directory)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsFs.create_dir_all(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFs.remove(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsFs.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.count();
        OsFs.exists(path)
    }
    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        OsFs.random(buffer)
    }
    fn now_ns(&self) -> u64 {
        OsFs.now_ns()
    }
    fn boot_id(&self) -> io::Result<Option<[u8; 16]>> {
        OsFs.boot_id()
    }
    fn process_generation(&self) -> u64 {
        OsFs.process_generation()
    }
}

#[test]
fn a_miss_costs_no_call_until_a_segment_comes_or_goes() {
    let directory = tempfile::tempdir().unwrap();
    let calls = Arc::new(Counting::default());
    let store = FileStore::open(calls.clone(), directory.path(), options()).unwrap();
    let missing = Kind::Blob.id_of(b"never stored");
    let miss = || {
        assert_eq!(store.get(Kind::Blob, &missing).unwrap(), None);
        assert!(!store.contains(&missing).unwrap());
    };
    put(&store, b"the first commit takes a segment");
    miss();
    assert!(calls.take() > 0);
    for number in 0..10 {
        miss();
        put(&store, &content(number, 100));
    }
    assert_eq!(calls.take(), 0, "own commits are known");
    let other = open(directory.path());
    let id = put(&other, b"in a new segment");
    assert!(store.contains(&id).unwrap());
    assert!(calls.take() > 0, "the directory is listed once");
    for number in 0..10 {
        let id = put(&other, &content(100 + number, 100));
        assert!(store.contains(&id).unwrap());
        miss();
    }
    assert_eq!(calls.take(), 0, "only the tail of the known segment is read");
}

#[test]
fn a_segment_that_goes_between_the_listing_and_the_opening_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let id = put(&open(directory.path()), b"x");
    // A link to nothing: it is listed, and not there when it is opened.
    let gone = directory.path().join("segments/0000000000000005.seg");
    std::os::unix::fs::symlink("nowhere", gone).unwrap();
    let store = open(directory.path());
    assert!(store.get(Kind::Blob, &id).unwrap().is_some());
    assert_eq!(store.stats().unwrap().segments, 1);
}
