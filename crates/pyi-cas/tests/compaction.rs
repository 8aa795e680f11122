//! Compaction: what lives takes a fraction of what it took, and reads as before, while it happens and after.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use pyi_cas::{
    Batch, CollectOptions, Collected, Error, Id, IdMap, IdSet, Kind, Mark, ObjectStore, OpenOptions, Result,
    ScrubOptions,
};

/// Lives, and what is newer than what.
#[derive(Default)]
struct History {
    live: IdSet,
    newer: IdMap<Id>,
}

impl Mark for History {
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()> {
        live.extend(pins);
        live.extend(&self.live);
        Ok(())
    }

    fn delta_base(&self, id: &Id) -> Option<Id> {
        self.newer.get(id).copied()
    }
}

fn segments_of(segment_limit_bytes: u64) -> OpenOptions {
    OpenOptions {
        segment_limit_bytes,
        ..options()
    }
}

fn text(lines: usize, seed: usize) -> Vec<String> {
    (0..lines)
        .map(|i| format!("line {i} {}\n", (i * 7919 + seed) * (i + seed) % 100_003))
        .collect()
}

/// Stores versions of a file, oldest first, one line changed in each; returns them.
fn put_versions(store: &dyn ObjectStore, kind: Kind, lines: usize, seed: usize, count: usize) -> Vec<(Id, Vec<u8>)> {
    let mut text = text(lines, seed);
    let versions: Vec<(Id, Vec<u8>)> = (0..count)
        .map(|i| {
            text[i * 37 % lines] = format!("changed in {i} of {seed}\n");
            let content = text.concat().into_bytes();
            (kind.id_of(&content), content)
        })
        .collect();
    let mut batch = Batch::new();
    for (id, content) in &versions {
        let known = |chunk: &Id| store.contains_hint(chunk);
        batch.put_chunked(kind, id, content, &known).unwrap();
        store.commit(&mut batch).unwrap();
    }
    versions
}

/// Puts as much as seals what was put before.
fn seal(store: &dyn ObjectStore, limit: usize) {
    let noise: Vec<u8> = (0..limit).map(|i| (i * i / 7 + i) as u8).collect();
    put(store, &noise);
    put(store, b"behind it");
}

fn compact(store: &dyn ObjectStore, history: &mut History) -> Collected {
    let options = CollectOptions {
        compact: true,
        ..CollectOptions::default()
    };
    let collected = store.collect(history, &options).unwrap();
    assert_eq!(collected.gave_up, None);
    collected
}

fn link(history: &mut History, versions: &[(Id, Vec<u8>)]) {
    history.live.extend(versions.iter().map(|(id, _)| id));
    for pair in versions.windows(2) {
        history.newer.insert(pair[0].0, pair[1].0);
    }
}

#[test]
fn versions_take_what_they_differ_by() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), segments_of(300_000));
    let mut history = History::default();
    let blobs = put_versions(&store, Kind::Blob, 1_000, 1, 200);
    let nodes = put_versions(&store, Kind::Node, 100, 2, 200);
    // Above 256 KB: lists of chunks, which are deltas themselves.
    let large = put_versions(&store, Kind::Blob, 20_000, 3, 10);
    assert!(large[0].1.len() > 300_000);
    let dead = put_versions(&store, Kind::Blob, 1_000, 4, 20);
    seal(&store, 300_000);
    let all: Vec<_> = [(Kind::Blob, &blobs), (Kind::Node, &nodes), (Kind::Blob, &large)].into();
    for (_, versions) in &all {
        link(&mut history, versions);
    }
    let collected = compact(&store, &mut history);
    let plain: usize = all
        .iter()
        .flat_map(|(_, versions)| versions.iter())
        .map(|(_, content)| content.len())
        .sum();
    assert!(
        plain > 6_000_000 && collected.bytes_after < 400_000,
        "{plain} {collected:?}"
    );
    let fresh = open_with(directory.path(), segments_of(300_000));
    for store in [&store, &fresh] {
        for (kind, versions) in &all {
            for (id, content) in versions.iter() {
                assert!(store.get(*kind, id).unwrap().unwrap() == content, "{id}");
            }
        }
        assert!(dead.iter().all(|(id, _)| store.get(Kind::Blob, id).unwrap().is_none()));
        assert_eq!(store.stats().unwrap().damage, []);
    }
    // Again, without hints: what is there already serves. And with hints that say the contrary.
    let size = collected.bytes_after;
    let (hints, mut backwards) = (std::mem::take(&mut history.newer), IdMap::default());
    for versions in [&blobs, &nodes, &large] {
        backwards.extend(versions.windows(2).map(|pair| (pair[1].0, pair[0].0)));
    }
    for newer in [IdMap::default(), backwards, hints] {
        history.newer = newer;
        seal(&fresh, 300_000);
        let again = compact(&fresh, &mut history);
        assert!(again.bytes_after < size + size / 4 + 310_000, "{again:?}");
        for (kind, versions) in &all {
            for (id, content) in versions.iter().rev() {
                assert!(fresh.get(*kind, id).unwrap().unwrap() == content, "{id}");
                assert!(store.get(*kind, id).unwrap().unwrap() == content, "{id}");
            }
        }
    }
}

#[test]
fn a_base_that_nothing_reaches_stays_as_long_as_a_delta_needs_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), segments_of(100_000));
    let versions = put_versions(&store, Kind::Blob, 500, 1, 12);
    seal(&store, 100_000);
    let mut history = History::default();
    link(&mut history, &versions);
    compact(&store, &mut history);
    // Only the oldest one is left, a delta on all that came after; a collection that copies records as they are keeps those, one that
    // encodes them anew does not.
    history.live = IdSet::from_iter([versions[0].0]);
    history.newer.clear();
    let copied = store.collect(&mut history, &CollectOptions::default()).unwrap();
    assert!(copied.gave_up.is_none() && copied.objects_live > 1);
    assert!(store.get(Kind::Blob, &versions[0].0).unwrap().unwrap() == versions[0].1);
    seal(&store, 100_000);
    for _ in 0..2 {
        compact(&store, &mut history);
        assert!(store.get(Kind::Blob, &versions[0].0).unwrap().unwrap() == versions[0].1);
    }
}

#[test]
fn damage_keeps_its_segment_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), segments_of(50_000));
    let versions = put_versions(&store, Kind::Blob, 300, 1, 40);
    seal(&store, 50_000);
    store.close().unwrap();
    let path = &files(&directory.path().join("segments"), "seg")[3];
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let store = open_with(directory.path(), segments_of(50_000));
    let mut history = History::default();
    link(&mut history, &versions);
    for _ in 0..2 {
        compact(&store, &mut history);
        assert!(path.exists());
        let mut lost = 0;
        for (id, content) in &versions {
            match store.get(Kind::Blob, id) {
                Ok(Some(found)) => assert!(found == content),
                Ok(None) => panic!("{id} is gone"),
                Err(Error::Corrupt { .. }) => lost += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(lost, 1);
    }
}

#[test]
fn a_scrub_reads_deltas_and_names_those_whose_base_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), segments_of(50_000));
    let versions = put_versions(&store, Kind::Blob, 300, 1, 7);
    seal(&store, 50_000);
    let mut history = History::default();
    link(&mut history, &versions);
    compact(&store, &mut history);
    // What is read now is a base that stays in memory.
    for (id, content) in &versions {
        assert!(store.get(Kind::Blob, id).unwrap().unwrap() == content);
    }
    let scrubbed = store.scrub(&ScrubOptions::default()).unwrap();
    assert!(scrubbed.faults.is_empty() && scrubbed.damaged.is_empty());
    let newest = versions[6].0;
    let path = files(&directory.path().join("segments"), "seg")
        .into_iter()
        .find(|path| {
            std::fs::read(path)
                .unwrap()
                .windows(32)
                .any(|window| window == newest.0)
        })
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // Its header comes before the deltas that name it: bases are written first.
    let at = bytes.windows(32).position(|window| window == newest.0).unwrap();
    bytes[at + 40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut damaged: Vec<Id> = store
        .scrub(&ScrubOptions::default())
        .unwrap()
        .damaged
        .iter()
        .map(|(id, _)| *id)
        .collect();
    let mut all: Vec<Id> = versions.iter().map(|(id, _)| *id).collect();
    damaged.sort();
    all.sort();
    assert_eq!(damaged, all);
}

#[test]
fn readers_and_writers_go_on_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), segments_of(200_000));
    let other = open_with(directory.path(), segments_of(200_000));
    let versions = put_versions(&store, Kind::Blob, 600, 1, 100);
    let large = put_versions(&store, Kind::Blob, 20_000, 3, 4);
    seal(&store, 200_000);
    let mut history = History::default();
    link(&mut history, &versions);
    link(&mut history, &large);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (store, step) in [(&store, 7), (&other, 11)] {
            let (versions, large, done) = (&versions, &large, &done);
            scope.spawn(move || {
                let mut at = 0;
                while !done.load(Ordering::Relaxed) {
                    at = (at + step) % versions.len();
                    let (id, content) = &versions[at];
                    assert!(store.get(Kind::Blob, id).unwrap().unwrap() == content);
                    let (id, content) = &large[at % large.len()];
                    assert!(store.get(Kind::Blob, id).unwrap().unwrap() == content);
                }
            });
        }
        for round in 0..4 {
            // Writers add what the next round compacts.
            let more = put_versions(&other, Kind::Blob, 600, 100 + round, 5);
            seal(&other, 200_000);
            link(&mut history, &more);
            compact(&store, &mut history);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.stats().unwrap().damage, []);
}
