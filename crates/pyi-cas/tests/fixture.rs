//! A store written by format 1 is read by every later version: `fixtures/store-v1` was written once and is never written again.
//! To make one for a later format: `cargo test -p pyi-cas --test fixture -- --ignored`, into a new directory.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use pyi_cas::{
    Batch, CollectOptions, FileStore, Guard, Id, IdMap, IdSet, Kind, Mark, ObjectStore, OpenOptions, RefOutcome,
    RefTransaction,
};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v1")
}

/// What is in the fixture: kind, content.
fn objects() -> Vec<(Kind, Vec<u8>)> {
    let mut objects = vec![(Kind::Blob, Vec::new()), (Kind::Blob, b"hello\n".to_vec())];
    for i in 0..40 {
        objects.push((Kind::ALL[i % 4], content(i, i * 13)));
    }
    objects
}

fn ids() -> Vec<(Kind, Id)> {
    objects()
        .iter()
        .map(|(kind, bytes)| (*kind, kind.id_of(bytes)))
        .collect()
}

/// Expected refs: branches 0..10 were set, then every second deleted.
fn refs() -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..10)
        .filter(|i| i % 2 == 1)
        .map(|i| (format!("b/branch-{i}").into_bytes(), ids()[i].1.0.to_vec()))
        .collect()
}

#[test]
#[ignore = "writes the fixture; run once per format version"]
fn write_the_fixture() {
    assert!(!fixture().exists(), "a fixture is never written again");
    let limits = OpenOptions {
        segment_limit_bytes: 4_000,
        ref_log_limit_bytes: 1_500,
        ..options()
    };
    let store: FileStore = open_with(&fixture(), limits);
    let mut batch = Batch::new();
    for (kind, bytes) in objects() {
        batch.put_new(kind, &bytes).unwrap();
        let committed = store.commit(&mut batch).unwrap();
        assert!(committed.segment > 0);
    }
    for (i, (_, id)) in ids().iter().take(10).enumerate() {
        let key = format!("b/branch-{i}").into_bytes();
        let create = RefTransaction {
            guards: vec![(key.clone(), Guard::Absent)],
            puts: vec![(key.clone(), Some(id.0.to_vec()))],
            message: format!("create {i}"),
            epoch: i as u64,
            dependencies: vec![(1, 64 + i as u64)],
            ..RefTransaction::default()
        };
        assert_eq!(store.refs().commit(&create).unwrap(), RefOutcome::Done);
        if i % 2 == 0 {
            let delete = step(&key, Some(&id.0), None);
            assert_eq!(store.refs().commit(&delete).unwrap(), RefOutcome::Done);
        }
    }
    store.close().unwrap();
    // The control file is only a hint and belongs to the processes of its day.
    std::fs::remove_file(fixture().join("control")).unwrap();
    let lines: Vec<String> = ids().iter().map(|(kind, id)| format!("{kind} {id}\n")).collect();
    std::fs::write(fixture().join("ids.txt"), lines.concat()).unwrap();
}

#[test]
fn format_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    copy_dir(&fixture(), directory.path());
    for read_only in [true, false] {
        let store = open_with(directory.path(), OpenOptions { read_only, ..options() });
        for ((kind, bytes), (_, id)) in objects().iter().zip(ids()) {
            assert_eq!(store.get(*kind, &id).unwrap().unwrap(), bytes);
        }
        let found = store.refs().scan(b"").unwrap();
        assert_eq!(
            found
                .into_iter()
                .map(|(key, value)| (key, value.to_vec()))
                .collect::<Vec<_>>(),
            refs()
        );
        let stats = store.stats().unwrap();
        assert!(stats.segments_sealed > 1 && stats.segments > stats.segments_sealed);
        assert_eq!((stats.objects, stats.damage.len()), (42, 0));
        if !read_only {
            put(&store, b"and it is written to");
        }
    }
}

/// Ids never change: these were computed by the first version.
#[test]
fn ids_are_for_ever() {
    let expected = std::fs::read_to_string(fixture().join("ids.txt")).unwrap();
    let lines: Vec<String> = ids().iter().map(|(kind, id)| format!("{kind} {id}")).collect();
    assert_eq!(expected.lines().collect::<Vec<_>>(), lines);
}

fn encodings_fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v1-encodings")
}

/// Versions of three things, oldest first: a text, a node, a text that is stored in chunks.
fn histories() -> Vec<Vec<(Kind, Vec<u8>)>> {
    let versions = |kind, lines: usize, count: usize| {
        let mut text: Vec<String> = (0..lines).map(|i| format!("line {i} of {lines}\n")).collect();
        let version = |i: usize| {
            text[i * 97 % lines] = format!("changed in version {i}\n");
            (kind, text.concat().into_bytes())
        };
        (0..count).map(version).collect()
    };
    vec![
        versions(Kind::Blob, 60, 12),
        versions(Kind::Node, 40, 12),
        versions(Kind::Blob, 16_000, 3),
    ]
}

/// All of it lives, and each version is older than the one behind it.
#[derive(Default)]
struct Histories(IdMap<Option<Id>>);

impl Mark for Histories {
    fn mark(&mut self, _: &[Id], live: &mut IdSet) -> pyi_cas::Result<()> {
        live.extend(self.0.keys());
        Ok(())
    }

    fn delta_base(&self, id: &Id) -> Option<Id> {
        self.0.get(id).copied().flatten()
    }
}

#[test]
#[ignore = "writes the fixture; run once per format version"]
fn write_the_fixture_of_encodings() {
    let fixture = encodings_fixture();
    assert!(!fixture.exists(), "a fixture is never written again");
    let store = open(&fixture);
    let (mut mark, mut batch) = (Histories::default(), Batch::new());
    for history in histories() {
        let mut older: Option<Id> = None;
        for (kind, content) in history {
            let id = kind.id_of(&content);
            batch.put_chunked(kind, &id, &content, &|_| false).unwrap();
            mark.0.insert(id, None);
            older.map(|older| mark.0.insert(older, Some(id)));
            older = Some(id);
        }
    }
    store.commit(&mut batch).unwrap();
    store.close().unwrap();
    let store = open(&fixture);
    let options = CollectOptions {
        compact: true,
        ..CollectOptions::default()
    };
    store.collect(&mut mark, &options).unwrap();
    store.close().unwrap();
    // What belongs to the processes and the machine of its day.
    for name in ["control", "boot", "gc"] {
        let _ = std::fs::remove_file(fixture.join(name));
    }
    let _ = std::fs::remove_dir_all(fixture.join("sessions"));
}

#[test]
fn all_encodings_of_format_1_are_read() {
    let directory = tempfile::tempdir().unwrap();
    copy_dir(&encodings_fixture(), directory.path());
    let segment = std::fs::read(&files(&directory.path().join("segments"), "seg")[0]).unwrap();
    let mut encodings = [0; 4];
    let mut at = 64;
    while at < segment.len() {
        encodings[usize::from(segment[at + 9])] += 1;
        let length = u32::from_le_bytes(segment[at + 4..at + 8].try_into().unwrap()) as usize;
        at += (48 + length).next_multiple_of(8);
    }
    assert!(
        encodings[1] > 2 && encodings[2] > 20 && encodings[3] == 3,
        "{encodings:?}"
    );
    let store = open(directory.path());
    for (kind, content) in histories().into_iter().flatten() {
        assert!(store.get(kind, &kind.id_of(&content)).unwrap().unwrap() == content);
    }
    assert_eq!(store.stats().unwrap().damage, []);
}
