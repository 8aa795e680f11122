//! Merged indexes: that lookups go through them, and that nothing depends on them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::*;
use pyi_cas::{Batch, FileStore, Id, Kind, ObjectStore, OpenOptions};

/// A store with many small sealed segments: contents and their ids, in order.
fn many_segments(directory: &Path, objects: usize) -> Vec<Id> {
    let store = open_with(directory, tiny());
    (0..objects).map(|i| put(&store, &content(i, 300))).collect()
}

fn assert_all(store: &FileStore, ids: &[Id]) {
    for (i, id) in ids.iter().enumerate() {
        assert!(store.contains(id).unwrap(), "object {i}");
        assert_eq!(
            store.get(Kind::Blob, id).unwrap().unwrap(),
            content(i, 300),
            "object {i}"
        );
        assert!(!store.contains(&Kind::Node.id_of(&id.0)).unwrap());
        assert_eq!(store.get(Kind::Node, id).unwrap(), None);
    }
}

fn segments(directory: &Path) -> std::path::PathBuf {
    directory.join("segments")
}

#[test]
fn many_sealed_segments_are_merged_and_all_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let ids = many_segments(directory.path(), 400);
    let (sealed, merged) = (
        files(&segments(directory.path()), "idx").len(),
        files(&segments(directory.path()), "mix").len(),
    );
    assert!(sealed > 50, "{sealed} sealed segments");
    assert!((1..=5).contains(&merged), "{merged} merged indexes");
    for read_only in [true, false] {
        let store = open_with(directory.path(), OpenOptions { read_only, ..tiny() });
        assert_all(&store, &ids);
        let stats = store.stats().unwrap();
        assert_eq!((stats.objects, stats.damage.len()), (400, 0));
        assert_eq!(stats.segments_sealed, sealed as u64);
        for id in ids.iter().step_by(37) {
            assert_eq!(store.find_prefix(&id.to_hex()[..12], Kind::Blob).unwrap(), [*id]);
        }
    }
}

#[test]
fn merging_writes_each_row_a_few_times_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let mut written = 0;
    let mut seen = std::collections::HashMap::new();
    for i in 0..1_500 {
        put(&store, &content(i, 300));
        for path in files(&segments(directory.path()), "mix") {
            let bytes = std::fs::metadata(&path).unwrap().len();
            if seen.insert(path, bytes) != Some(bytes) {
                written += bytes;
            }
        }
    }
    let last: u64 = files(&segments(directory.path()), "mix")
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    // Each merge that an object takes part in makes its table larger by half at least; these are small, with their heads and paddings.
    assert!(written < 20 * last, "{written} bytes written for {last}");
}

#[test]
fn another_process_follows_what_was_merged() {
    let directory = tempfile::tempdir().unwrap();
    let mut ids = many_segments(directory.path(), 10);
    let reader = open_with(
        directory.path(),
        OpenOptions {
            read_only: true,
            ..tiny()
        },
    );
    assert_all(&reader, &ids);
    let writer = open_with(directory.path(), tiny());
    for i in 10..300 {
        ids.push(put(&writer, &content(i, 300)));
        if i % 60 == 0 {
            assert_all(&reader, &ids);
        }
    }
    assert_all(&reader, &ids);
    assert_eq!(reader.stats().unwrap().objects, 300);
}

#[test]
fn a_damaged_merged_index_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ids = many_segments(directory.path(), 200);
    let path = files(&segments(directory.path()), "mix").pop().unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bad = good.clone();
        let end = good.len().min(at + 100);
        bad[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&path, &bad).unwrap();
        let store = open_with(
            directory.path(),
            OpenOptions {
                read_only: true,
                ..tiny()
            },
        );
        assert_all(&store, &ids);
        assert_eq!(store.stats().unwrap().objects, 200, "damaged at {at}");
        assert!(store.find_prefix(&ids[0].to_hex()[..10], Kind::Blob).unwrap() == [ids[0]]);
    }
    for short in [0, 10, 64, 4096, good.len() - 1] {
        std::fs::write(&path, &good[..short]).unwrap();
        let store = open_with(
            directory.path(),
            OpenOptions {
                read_only: true,
                ..tiny()
            },
        );
        assert_all(&store, &ids);
    }
    // The indexes of the segments are gone as well: the segments are read.
    let mut bad = good.clone();
    bad[5000..5100].fill(0xff);
    std::fs::write(&path, &bad).unwrap();
    for index in files(&segments(directory.path()), "idx") {
        std::fs::write(index, b"nothing").unwrap();
    }
    let store = open_with(
        directory.path(),
        OpenOptions {
            read_only: true,
            ..tiny()
        },
    );
    assert_all(&store, &ids);
}

#[test]
fn a_damaged_merged_index_is_replaced_by_the_next_merge() {
    let directory = tempfile::tempdir().unwrap();
    let mut ids = many_segments(directory.path(), 200);
    for path in files(&segments(directory.path()), "mix") {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4100..4200].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&path, &bytes).unwrap();
    }
    {
        let store = open_with(directory.path(), tiny());
        ids.extend((200..400).map(|i| put(&store, &content(i, 300))));
        assert_all(&store, &ids);
    }
    let store = open_with(directory.path(), tiny());
    assert_all(&store, &ids);
    let merged = files(&segments(directory.path()), "mix");
    assert!((1..=5).contains(&merged.len()), "{merged:?}");
}

#[test]
fn a_segment_that_was_removed_is_missed_and_its_number_is_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let ids = many_segments(directory.path(), 200);
    let open = || open_with(directory.path(), tiny());
    // The newest one that a merged index covers gives that index its name.
    let covered = files(&segments(directory.path()), "mix").pop().unwrap();
    let highest = covered.file_stem().unwrap().to_str().unwrap().to_string();
    for extension in ["seg", "idx"] {
        for path in files(&segments(directory.path()), extension) {
            if path.file_stem().unwrap().to_str().unwrap() >= highest.as_str() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    let store = open();
    let left: Vec<usize> = (0..200).filter(|i| store.contains(&ids[*i]).unwrap()).collect();
    assert!(left.len() < 200 && left.len() > 100);
    for i in &left {
        assert_eq!(store.get(Kind::Blob, &ids[*i]).unwrap().unwrap(), content(*i, 300));
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.objects, stats.damage.len()), (left.len() as u64, 0));
    // What is missing is stored again, in a segment whose number no merged index means.
    let mut batch = Batch::new();
    for (i, id) in ids.iter().enumerate() {
        if !store.contains(id).unwrap() {
            batch.put(Kind::Blob, id, &content(i, 300)).unwrap();
        }
    }
    let committed = store.commit(&mut batch).unwrap();
    assert!(committed.segment > u64::from_str_radix(&highest, 16).unwrap());
    assert_all(&store, &ids);
    drop(store);
    assert_all(&open(), &ids);
    assert!(open().stats().unwrap().damage.is_empty());
}

#[test]
fn unfinished_merges_of_the_dead_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let ids = many_segments(directory.path(), 20);
    let debris = segments(directory.path()).join("merged.tmp-0011223344556677");
    std::fs::write(&debris, b"half").unwrap();
    let store = open_with(directory.path(), tiny());
    for i in 20..120 {
        put(&store, &content(i, 300));
    }
    assert!(!debris.exists());
    assert_all(&store, &ids);
}

#[test]
fn sealed_segments_are_opened_when_they_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let ids = many_segments(directory.path(), 400);
    let open_files = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let here = |link: &std::path::PathBuf| link.starts_with(directory.path());
        links
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(here)
            .count()
    };
    let store = open_with(
        directory.path(),
        OpenOptions {
            read_only: true,
            ..tiny()
        },
    );
    let before = open_files();
    assert!(before < 10, "{before}");
    store.get(Kind::Blob, &ids[0]).unwrap().unwrap();
    assert_eq!(open_files(), before + 1);
    assert_all(&store, &ids);
}

#[test]
fn very_many_small_objects_do_not_stay_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut batch = Batch::new();
    for i in 0..210_000u64 {
        batch.put_new(Kind::Blob, &i.to_le_bytes()).unwrap();
        if batch.len() == 1_000 {
            store.commit(&mut batch).unwrap();
        }
    }
    // Two segments are full at a hundred thousand records, long before 64 MiB, and are sealed with the next batch.
    let stats = store.stats().unwrap();
    assert_eq!((stats.objects, stats.segments, stats.segments_sealed), (210_000, 3, 2));
}
