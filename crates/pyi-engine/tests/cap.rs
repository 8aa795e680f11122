//! A store with a cap collects by itself, and refuses only what cannot fit.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use pyi_engine::{Bytes, ErrorKind, Expect, Repository, RepositoryOptions, Retention, Value};

fn open(path: &Path, cap_bytes: Option<u64>) -> Repository {
    let options = RepositoryOptions {
        store: Some(path.join("store")),
        cap_bytes,
        ..RepositoryOptions::default()
    };
    Repository::open(path, &options).unwrap()
}

fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    Bytes::from((0..bytes).map(|_| next()).collect::<Vec<u8>>())
}

const CAP_BYTES: u64 = 32 << 20;

#[test]
fn writers_go_on_below_the_cap_while_old_versions_go() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = open(dir.path(), Some(CAP_BYTES));
    assert_eq!(open(dir.path(), None).retention().unwrap().cap_bytes, Some(CAP_BYTES));
    let mut largest = 0;
    // Four times the cap, by writers that come and go; all of it is young, and nothing names it.
    for writer in 0..32 {
        let repository = open(dir.path(), None);
        let workspace = repository.workspace("main").unwrap();
        for step in 0..8 {
            workspace
                .write(b"file", noise(writer * 100 + step, 512 << 10), None)
                .unwrap();
            workspace.checkpoint("step", Value::Null).unwrap();
            // A pause, as the collector waits for everybody else.
            std::thread::sleep(Duration::from_millis(3));
        }
        largest = largest.max(repository.stats().unwrap().bytes_stored);
    }
    // Writers wait at 40 % above the cap; what a collection keeps, 70 % of the cap, is there twice while it copies.
    assert!(largest < CAP_BYTES * 21 / 10, "{largest}");
    drop(keeper);
}

#[test]
fn what_is_named_is_not_given_up_for_the_cap() {
    let dir = tempfile::tempdir().unwrap();
    let repository = open(dir.path(), Some(4 << 20));
    let workspace = repository.workspace("main").unwrap();
    let mut number = 0;
    let begin = Instant::now();
    let refused = loop {
        number += 1;
        workspace
            .write(format!("file-{number}").as_bytes(), noise(number, 256 << 10), None)
            .unwrap();
        match workspace.checkpoint("step", Value::Null) {
            Ok(_) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => break error,
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{number} steps and no refusal"
        );
    };
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded, "{refused}");
    assert!(refused.to_string().contains("cap"), "{refused}");
    assert!(workspace.is_dirty() && number > 8);
    for step in 1..=number {
        assert_eq!(
            workspace.read(format!("file-{step}").as_bytes()).unwrap(),
            noise(step, 256 << 10)
        );
    }
    // Room again: the checkpoint that was refused goes in.
    let retention = Retention {
        cap_bytes: Some(1 << 30),
        ..repository.retention().unwrap()
    };
    repository.set_retention(&retention).unwrap();
    workspace.checkpoint("step", Value::Null).unwrap();
    workspace.publish("main", Expect::Absent).unwrap();
}
