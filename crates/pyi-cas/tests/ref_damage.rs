//! Damage of the ref log is reported, wherever it is; torn writes are not damage.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use pyi_cas::{Bytes, DamagedFile, Error, FileStore, ObjectStore, OsFs, RefOutcome};

type State = Vec<(Vec<u8>, Bytes)>;

/// A log of 20 records; returns its path and where each record begins, and where the last one ends.
fn log_of_twenty(directory: &Path) -> (PathBuf, Vec<usize>) {
    let store = open(directory);
    let path = files(&directory.join("refs"), "log")[0].clone();
    let length = || std::fs::metadata(&path).unwrap().len() as usize;
    let mut places = vec![length()];
    for i in 0..20_usize {
        let key = format!("b/{i}");
        let outcome = store.refs().commit(&step(key.as_bytes(), None, Some(&content(i, i))));
        assert_eq!(outcome.unwrap(), RefOutcome::Done);
        places.push(length());
    }
    (path, places)
}

/// State and damage, or `None` if the store says that it is corrupt.
fn look(directory: &Path) -> Option<(State, Vec<pyi_cas::Damage>)> {
    let store = match FileStore::open(Arc::new(OsFs), directory, options()) {
        Ok(store) => store,
        Err(Error::Corrupt { .. } | Error::UnsupportedFormat { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let state = store.refs().scan(b"").unwrap();
    Some((state, store.stats().unwrap().damage))
}

#[test]
fn no_flipped_bit_of_a_ref_log_is_silent() {
    let directory = tempfile::tempdir().unwrap();
    let (path, places) = log_of_twenty(directory.path());
    let whole = std::fs::read(&path).unwrap();
    let (good, none) = look(directory.path()).unwrap();
    assert!(none.is_empty());
    let mut lost = 0;
    for at in 0..whole.len() {
        // Every bit of the fields before the bodies, where most can go wrong, and one of every fifth byte beside them.
        let header = at < places[0] || places.iter().any(|place| (*place..place + 14).contains(&at));
        for bit in (0..8).filter(|bit| header || at.is_multiple_of(5) && *bit == at % 8) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            match look(directory.path()) {
                None => {}
                Some((state, damage)) if damage.is_empty() => assert_eq!(state, good, "byte {at} bit {bit}"),
                Some((state, damage)) => {
                    assert_eq!(damage.len(), 1, "byte {at} bit {bit}: {damage:?}");
                    assert_eq!((damage[0].file, damage[0].number), (DamagedFile::RefLog, 1));
                    let (from, to) = (
                        damage[0].offset as usize,
                        (damage[0].offset + damage[0].length) as usize,
                    );
                    assert!((from..to).contains(&at), "byte {at} bit {bit}: {damage:?}");
                    lost += usize::from(state != good);
                }
            }
        }
    }
    assert!(lost > 100, "{lost}");
}

#[test]
fn damage_is_counted_once_and_the_log_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (path, places) = log_of_twenty(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[places[5] + 20] ^= 1;
    bytes[places[9] + 8] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let store = open_with(directory.path(), tiny());
    for i in 0..30_usize {
        let key = format!("c/{i}");
        store.refs().commit(&step(key.as_bytes(), None, Some(b"v"))).unwrap();
        assert_eq!(store.stats().unwrap().damage.len(), 2);
    }
    assert_eq!(
        store.refs().scan(b"b/").unwrap().len(),
        19,
        "a damaged length loses nothing"
    );
    assert!(store.refs().get(b"b/5").unwrap().is_none());
    drop(store);
    let (state, damage) = look(directory.path()).unwrap();
    assert_eq!((state.len(), damage.len()), (49, 2), "not hidden by the next log");
}

#[test]
fn torn_writes_are_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let (path, places) = log_of_twenty(directory.path());
    let whole = std::fs::read(&path).unwrap();
    let (good, _) = look(directory.path()).unwrap();
    let record = |i: usize| &whole[places[i]..places[i + 1]];
    let check = |torn: &[u8], what: &str| {
        for behind in [&whole[places[10]..], &[][..]] {
            let mut bytes = whole[..places[10]].to_vec();
            bytes.extend_from_slice(torn);
            bytes.extend_from_slice(behind);
            std::fs::write(&path, &bytes).unwrap();
            let (state, damage) = look(directory.path()).unwrap();
            assert!(damage.is_empty(), "{what}: {damage:?}");
            assert_eq!(state.len(), if behind.is_empty() { 10 } else { good.len() }, "{what}");
        }
    };
    for cut in 1..record(15).len() {
        check(&record(15)[..cut], &format!("{cut}"));
    }
    for (one, two, three) in [
        (1, 1, 1),
        (1, 2, 3),
        (3, 3, 50),
        (4, 12, 13),
        (40, 1, 12),
        (40, 50, 60),
        (70, 70, 2),
    ] {
        let torn = [&record(15)[..one], &record(16)[..two], &record(17)[..three]].concat();
        check(&torn, &format!("{one}, {two}, {three}"));
    }
}
