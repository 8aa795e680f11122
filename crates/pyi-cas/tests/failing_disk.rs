//! A disk that fails at the n-th call: every error is typed and keeps its errno, nothing half-done is visible, the store goes on
//! and opens again.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use common::*;
use pyi_cas::{
    Batch, Error, FileStore, Id, Kind, Mapped, ObjectStore, OpenMode, OpenOptions, OsFs, RefOutcome, SharedWords, Vfs,
    VfsFile,
};

#[derive(Debug, Default)]
struct Plan {
    /// Counts down; the call that brings it to zero fails. Negative: nothing fails.
    calls_left: AtomicI64,
    /// All later calls that change something fail as well (a full disk), or only the one.
    stays: bool,
    /// A failing write leaves half of its bytes.
    half: bool,
    /// Truncation fails, too.
    no_truncate: bool,
    errno: i32,
}

impl Plan {
    fn step(&self) -> io::Result<()> {
        let before = self.calls_left.load(Ordering::SeqCst);
        if before < 0 {
            return Ok(());
        }
        let left = if before > 0 {
            self.calls_left.fetch_sub(1, Ordering::SeqCst) - 1
        } else {
            0
        };
        if left > 0 {
            return Ok(());
        }
        if !self.stays {
            self.calls_left.store(-1, Ordering::SeqCst);
        }
        Err(io::Error::from_raw_os_error(self.errno))
    }

    fn heal(&self) {
        self.calls_left.store(-1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct FailingFs(Arc<Plan>);

#[derive(Debug)]
struct FailingFile(Arc<dyn VfsFile>, Arc<Plan>);

impl Vfs for FailingFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        self.0.step()?;
        Ok(Arc::new(FailingFile(OsFs.open(path, mode)?, Arc::clone(&self.0))))
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.step()?;
        OsFs.list(directory)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        OsFs.create_dir_all(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        OsFs.remove(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step()?;
        OsFs.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step()?;
        OsFs.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        OsFs.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.step()?;
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

impl VfsFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.step()?;
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.1.step().inspect_err(|_| {
            if self.1.half {
                self.0.write_at(&bytes[..bytes.len() / 2], offset).unwrap();
            }
        })?;
        self.0.write_at(bytes, offset)
    }
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.1.step() {
            Ok(()) => self.0.append(bytes),
            // What a full disk does to an append: a short write.
            Err(_) if self.1.half => self.0.append(&bytes[..bytes.len() / 2]),
            Err(error) => Err(error),
        }
    }
    fn len(&self) -> io::Result<u64> {
        self.1.step()?;
        self.0.len()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.1.no_truncate {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.0.set_len(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync_data()
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.allocate(length)
    }
    fn try_lock_exclusive(&self) -> io::Result<bool> {
        self.1.step()?;
        self.0.try_lock_exclusive()
    }
    fn is_locked(&self) -> io::Result<bool> {
        self.1.step()?;
        self.0.is_locked()
    }
    fn map_readonly(&self) -> io::Result<Arc<dyn Mapped>> {
        self.1.step()?;
        self.0.map_readonly()
    }
    fn map_shared(&self, length: usize) -> io::Result<Arc<dyn SharedWords>> {
        self.1.step()?;
        self.0.map_shared(length)
    }
}

fn is_storage(error: &Error, errno: i32) -> bool {
    matches!(error, Error::Storage { .. } | Error::OutcomeUnknown { .. }) && error.errno() == Some(errno)
}

/// One scripted life of a store; returns what was acknowledged. Stops at nothing.
/// Acknowledged objects; keys with whether they were set (if that is known); whether anything failed.
type Life = (Vec<(Id, Vec<u8>)>, Vec<(u8, Option<bool>)>, bool);

fn live(directory: &Path, plan: &Arc<Plan>, errno: i32) -> Life {
    let (mut objects, mut refs, mut failed) = (Vec::new(), Vec::new(), false);
    let vfs = Arc::new(FailingFs(Arc::clone(plan)));
    let store = match FileStore::open(vfs, directory, tiny()) {
        Ok(store) => store,
        Err(error) => {
            assert!(is_storage(&error, errno), "{error}");
            return (objects, refs, true);
        }
    };
    for i in 0..8u8 {
        let bytes = content(usize::from(i), 300);
        let mut batch = Batch::new();
        let id = batch.put_new(Kind::Blob, &bytes).unwrap();
        match store.commit(&mut batch) {
            Ok(_) => objects.push((id, bytes)),
            Err(error) => {
                failed = true;
                assert!(is_storage(&error, errno), "{error}");
                assert_eq!(batch.len(), 1, "the batch can be committed again");
                assert!(!store.contains_hint(&id));
            }
        }
        let mut moved = step(&[b'k', i], None, Some(&[i; 40]));
        moved.message = "x".repeat(60);
        match store.refs().commit(&moved) {
            Ok(outcome) => {
                assert_eq!(outcome, RefOutcome::Done);
                refs.push((i, Some(true)));
            }
            Err(error) => {
                failed = true;
                assert!(is_storage(&error, errno), "{error}");
                refs.push((i, matches!(error, Error::Storage { .. }).then_some(false)));
            }
        }
    }
    let _ = store.close();
    (objects, refs, failed)
}

fn check(directory: &Path, objects: &[(Id, Vec<u8>)], refs: &[(u8, Option<bool>)]) {
    // Twice: the first opener repairs, the second one finds the same.
    for round in 0..2 {
        let store = open_with(directory, tiny());
        for (id, bytes) in objects {
            assert_eq!(store.get(Kind::Blob, id).unwrap().unwrap(), bytes);
        }
        for (key, applied) in refs {
            let found = store.refs().get(&[b'k', *key]).unwrap();
            match applied {
                Some(true) => assert_eq!(found.unwrap(), &[*key; 40][..]),
                Some(false) => assert_eq!(found, None),
                None => {}
            }
        }
        put(&store, format!("round {round}").as_bytes());
        assert!(store.stats().unwrap().damage.is_empty());
    }
}

#[test]
fn every_call_may_fail_once_or_for_ever() {
    for (stays, half, no_truncate, errno) in [
        (false, false, false, libc::EIO),
        (false, true, false, libc::ENOSPC),
        (true, true, false, libc::ENOSPC),
        (false, true, true, libc::ENOSPC),
    ] {
        for n in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let plan = Arc::new(Plan {
                calls_left: AtomicI64::new(n),
                stays,
                half,
                no_truncate,
                errno,
            });
            let (objects, refs, failed) = live(directory.path(), &plan, errno);
            let reached = plan.calls_left.load(Ordering::SeqCst) <= 0;
            plan.heal();
            check(directory.path(), &objects, &refs);
            if !reached {
                assert!(!failed);
                break;
            }
            assert!(n < 5_000, "never came to an end");
        }
    }
}

#[test]
fn a_full_disk_keeps_the_errno_and_the_next_commit_takes_the_same_place() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Arc::new(Plan {
        calls_left: AtomicI64::new(-1),
        half: true,
        errno: libc::ENOSPC,
        ..Plan::default()
    });
    let store = FileStore::open(Arc::new(FailingFs(Arc::clone(&plan))), directory.path(), options()).unwrap();
    let follower = open(directory.path());
    let mut batch = Batch::new();
    batch.put_new(Kind::Blob, b"before").unwrap();
    let before = store.commit(&mut batch).unwrap();
    // Long enough that whole records of it reach the disk.
    let lost: Vec<Id> = (0..10)
        .map(|i| batch.put_new(Kind::Blob, &content(i, 100)).unwrap())
        .collect();
    plan.calls_left.store(1, Ordering::SeqCst);
    let error = store.commit(&mut batch).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENOSPC));
    assert!(error.to_string().contains("free space"), "{error}");
    for id in &lost {
        assert!(!store.contains(id).unwrap() && !follower.contains(id).unwrap());
    }
    let after = store.commit(&mut batch).unwrap();
    assert_eq!(after.segment, before.segment);
    assert_eq!(
        after.offset_end,
        std::fs::metadata(&files(&directory.path().join("segments"), "seg")[0])
            .unwrap()
            .len()
    );
    for id in &lost {
        assert!(store.get(Kind::Blob, id).unwrap().is_some() && follower.get(Kind::Blob, id).unwrap().is_some());
    }
}

#[test]
fn a_failed_read_is_no_missing_object() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan {
        calls_left: AtomicI64::new(-1),
        stays: true,
        errno: libc::EIO,
        ..Plan::default()
    };
    let plan = Arc::new(plan);
    let vfs = Arc::new(FailingFs(Arc::clone(&plan)));
    let store = FileStore::open(
        vfs,
        directory.path(),
        OpenOptions {
            create: true,
            ..OpenOptions::default()
        },
    )
    .unwrap();
    let id = put(&store, b"x");
    plan.calls_left.store(1, Ordering::SeqCst);
    let first = store.get(Kind::Blob, &id);
    assert!(
        first.as_ref().is_err_and(|error| error.errno() == Some(libc::EIO)),
        "{first:?}"
    );
    plan.heal();
    assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), "x");
}
