//! The store on disk, one property at a time.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::Arc;

use common::*;
use pyi_cas::{Batch, Error, FileStore, Kind, ObjectStore, OpenOptions, OsFs, RefOutcome};

#[test]
fn what_is_committed_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    {
        let store = open(directory.path());
        for i in 0..50 {
            ids.push(put(&store, &content(i, i * 50)));
        }
        let mut batch = Batch::new();
        let empty = store.commit(&mut batch).unwrap();
        assert_eq!((empty.segment, empty.offset_end), (0, 0));
        let node = batch.put_new(Kind::Node, b"node").unwrap();
        let committed = store.commit(&mut batch).unwrap();
        assert!(batch.is_empty());
        assert_eq!(committed.segment, 1);
        assert_eq!(store.get(Kind::Node, &node).unwrap().unwrap(), "node");
        assert_eq!(store.get(Kind::Blob, &node).unwrap(), None);
        assert_eq!(
            store.refs().commit(&step(b"b/main", None, Some(&node.0))).unwrap(),
            RefOutcome::Done
        );
    }
    for read_only in [false, true] {
        let store = open_with(directory.path(), OpenOptions { read_only, ..options() });
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(store.get(Kind::Blob, id).unwrap().unwrap(), content(i, i * 50));
        }
        assert_eq!(store.stats().unwrap().objects, 51);
        assert!(store.refs().get(b"b/main").unwrap().is_some());
        assert_eq!(store.get(Kind::Blob, &Kind::Blob.id_of(b"never stored")).unwrap(), None);
    }
}

#[test]
fn opening_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let vfs = Arc::new(OsFs);
    let missing = FileStore::open(vfs.clone(), directory.path(), OpenOptions::default());
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let store = open(directory.path());
    put(&store, b"x");
    store.close().unwrap();
    store.close().unwrap();
    assert!(matches!(
        store.get(Kind::Blob, &Kind::Blob.id_of(b"x")),
        Err(Error::Closed)
    ));
    assert!(matches!(store.refs().get(b"x"), Err(Error::Closed)));
    let mut batch = Batch::new();
    batch.put_new(Kind::Blob, b"y").unwrap();
    assert!(matches!(store.commit(&mut batch), Err(Error::Closed)));
    let reader = open_with(
        directory.path(),
        OpenOptions {
            read_only: true,
            ..options()
        },
    );
    assert_eq!(reader.commit(&mut batch).unwrap_err().errno(), Some(libc::EROFS));
    assert_eq!(
        reader.refs().commit(&step(b"k", None, None)).unwrap_err().errno(),
        Some(libc::EROFS)
    );

    let format = directory.path().join("format");
    let text = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, text.replace("pyi-store 1", "pyi-store 2")).unwrap();
    let newer = FileStore::open(vfs, directory.path(), options());
    assert!(matches!(newer, Err(Error::UnsupportedFormat { .. })));
}

#[test]
fn a_newer_segment_or_ref_log_is_refused() {
    for (folder, extension, crc_at) in [("segments", "seg", 48), ("refs", "log", 40)] {
        let directory = tempfile::tempdir().unwrap();
        put(&open(directory.path()), b"x");
        let path = &files(&directory.path().join(folder), extension)[0];
        let mut bytes = std::fs::read(path).unwrap();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(path, bytes).unwrap();
        let refused = FileStore::open(Arc::new(OsFs), directory.path(), options());
        assert!(matches!(refused, Err(Error::UnsupportedFormat { .. })), "{folder}");
    }
}

#[test]
fn stores_on_one_directory_see_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let stores: Vec<FileStore> = (0..5).map(|_| open_with(directory.path(), tiny())).collect();
    for i in 0..60 {
        let writer = &stores[i % stores.len()];
        let id = put(writer, &content(i, 200));
        let key = format!("k/{}", i % 3).into_bytes();
        let before = writer.refs().get(&key).unwrap();
        assert_eq!(
            writer
                .refs()
                .commit(&step(&key, before.as_deref(), Some(&id.0)))
                .unwrap(),
            RefOutcome::Done
        );
        for store in &stores {
            assert!(store.contains(&id).unwrap());
            assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), content(i, 200));
            assert_eq!(store.refs().get(&key).unwrap().unwrap(), &id.0[..]);
            let stale = store.refs().commit(&step(&key, Some(b"stale"), None)).unwrap();
            assert_eq!(
                stale,
                RefOutcome::Conflict {
                    key: key.clone(),
                    found: Some(id.0.to_vec())
                }
            );
        }
    }
    assert!(!files(&directory.path().join("segments"), "idx").is_empty());
    assert!(files(&directory.path().join("refs"), "log").len() > 1);
    assert!(
        std::fs::read_dir(directory.path().join("segments"))
            .unwrap()
            .all(|e| { !e.unwrap().file_name().to_string_lossy().contains("tmp") })
    );
}

#[test]
fn a_reader_follows_without_a_control_file_and_without_permission_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let first = put(&store, b"first");
    std::fs::remove_file(directory.path().join("control")).unwrap();
    let lock = |mode| {
        for path in ["", "segments", "refs"] {
            let path = directory.path().join(path);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    lock(0o555);
    let reader = open_with(
        directory.path(),
        OpenOptions {
            read_only: true,
            ..options()
        },
    );
    lock(0o755);
    assert!(!directory.path().join("control").exists());
    assert!(reader.contains(&first).unwrap());
    let mut ids = Vec::new();
    for i in 0..30 {
        ids.push(put(&store, &content(i, 150)));
        store
            .refs()
            .commit(&step(format!("k{i}").as_bytes(), None, Some(b"v")))
            .unwrap();
        assert!(reader.get(Kind::Blob, &ids[i]).unwrap().is_some());
        assert!(reader.refs().get(format!("k{i}").as_bytes()).unwrap().is_some());
    }
    let generation = reader.refs().generation();
    store.refs().commit(&step(b"another", None, Some(b"v"))).unwrap();
    assert_eq!(reader.refs().scan(b"").unwrap().len(), 31);
    assert_ne!(reader.refs().generation(), generation);
}

#[test]
fn readers_create_nothing_and_segments_are_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let segments = directory.path().join("segments");
    open(directory.path());
    assert!(files(&segments, "seg").is_empty());
    for i in 0..20 {
        put(&open(directory.path()), &content(i, 10));
    }
    assert_eq!(files(&segments, "seg").len(), 1);
    // Three writers at once, three segments, however many generations of them die young.
    for generation in 0..5 {
        let stores: Vec<FileStore> = (0..3).map(|_| open(directory.path())).collect();
        for (i, store) in stores.iter().enumerate() {
            put(store, &content(100 + generation * 3 + i, 10));
        }
        assert_eq!((files(&segments, "seg").len(), files(&segments, "idx").len()), (3, 0));
    }
    // The next one adopts one and seals those that are no longer small.
    let stores: Vec<FileStore> = (0..3).map(|_| open(directory.path())).collect();
    for (i, store) in stores.iter().enumerate() {
        put(store, &content(200 + i, 3000));
    }
    drop(stores);
    let limit = OpenOptions {
        segment_limit_bytes: 10_000,
        ..options()
    };
    let store = open_with(directory.path(), limit);
    put(&store, b"last");
    assert_eq!((files(&segments, "seg").len(), files(&segments, "idx").len()), (3, 2));
    assert_eq!(store.stats().unwrap().objects, 39);
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let id = put(&open(directory.path()), b"whole");
    let path = files(&directory.path().join("segments"), "seg")[0].clone();
    let whole = std::fs::read(&path).unwrap();
    for torn in [&whole[64..64 + 30], &whole[64..], &[1u8; 200][..], &[0u8; 4096][..]] {
        let mut bytes = whole.clone();
        bytes.extend_from_slice(torn);
        std::fs::write(&path, &bytes).unwrap();
        let reader = open_with(
            directory.path(),
            OpenOptions {
                read_only: true,
                ..options()
            },
        );
        assert!(reader.contains(&id).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "a reader cuts nothing");
        let store = open(directory.path());
        let next = put(&store, b"next");
        assert!(store.stats().unwrap().damage.is_empty());
        drop(store);
        assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, whole.len() + 48 + 8);
        let store = open(directory.path());
        assert!(store.get(Kind::Blob, &id).unwrap().is_some() && store.get(Kind::Blob, &next).unwrap().is_some());
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_never_cut() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<_> = (0..5).map(|i| put(&store, &content(i, 100))).collect();
    drop(store);
    let segments = directory.path().join("segments");
    let path = files(&segments, "seg")[0].clone();
    let mut bytes = std::fs::read(&path).unwrap();
    let size = (bytes.len() - 64) / 5;
    bytes[64 + 2 * size + 60] ^= 4;
    std::fs::write(&path, &bytes).unwrap();

    for _ in 0..2 {
        let store = open(directory.path());
        let damage = store.stats().unwrap().damage;
        assert_eq!(damage.len(), 1);
        assert_eq!(
            (damage[0].number, damage[0].offset, damage[0].length),
            (1, 64 + 2 * size as u64, size as u64)
        );
        put(&store, b"written after it");
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(store.get(Kind::Blob, id).unwrap().is_some(), i != 2);
        }
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "sealed as it is");
    assert_eq!(files(&segments, "idx").len(), 1);
    assert_eq!(files(&segments, "seg").len(), 2);
}

#[test]
fn a_zeroed_sector_in_the_middle_is_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<_> = (0..40).map(|i| put(&store, &content(i, 100))).collect();
    drop(store);
    let path = files(&directory.path().join("segments"), "seg")[0].clone();
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[0; 512], 2048)
        .unwrap();
    let store = open(directory.path());
    let last = put(&store, b"written after it");
    assert!(store.get(Kind::Blob, &ids[39]).unwrap().is_some() && store.contains(&last).unwrap());
    assert!(!store.stats().unwrap().damage.is_empty());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
}

#[test]
fn a_flipped_bit_anywhere_in_a_record_is_never_served() {
    for sealed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let limit = if sealed { 80 } else { 1 << 20 };
        let store = open_with(
            directory.path(),
            OpenOptions {
                segment_limit_bytes: limit,
                ..options()
            },
        );
        let id = put(&store, b"some content");
        put(&store, b"more");
        assert_eq!(store.stats().unwrap().segments_sealed, u64::from(sealed));
        let path = files(&directory.path().join("segments"), "seg")[0].clone();
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        for at in 64..64 + 48 + 12u64 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            for bit in 0..8 {
                file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
                match store.get(Kind::Blob, &id) {
                    Err(Error::Corrupt { what, place }) => {
                        assert!(what.contains(&id.to_hex()) && place.contains("offset 64"));
                    }
                    other => panic!("byte {at} bit {bit}: {other:?}"),
                }
            }
            file.write_all_at(&byte, at).unwrap();
            assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), "some content");
        }
        assert_eq!(store.stats().unwrap().damage.len(), 1);
    }
}

#[test]
fn a_whole_copy_serves_when_another_one_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (open(directory.path()), open(directory.path()));
    let id = put(&one, b"stored twice");
    put(&two, b"stored twice");
    drop((one, two));
    put(&open(directory.path()), b"adopts one");
    for path in files(&directory.path().join("segments"), "seg") {
        let bytes = std::fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[64 + 50] ^= 1;
        let store = open(directory.path());
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), "stored twice");
        std::fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn a_damaged_or_missing_index_is_built_again_from_the_segment() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let ids: Vec<_> = (0..60).map(|i| put(&store, &content(i, 100))).collect();
    drop(store);
    let indexes = files(&directory.path().join("segments"), "idx");
    assert!(indexes.len() > 2);
    std::fs::write(&indexes[0], b"nonsense").unwrap();
    std::fs::remove_file(&indexes[1]).unwrap();
    let mut bytes = std::fs::read(&indexes[2]).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&indexes[2], bytes).unwrap();
    let store = open_with(directory.path(), tiny());
    put(&store, b"another");
    for id in &ids {
        assert!(store.get(Kind::Blob, id).unwrap().is_some());
    }
    assert!(store.stats().unwrap().damage.is_empty());
}

#[test]
fn abbreviated_ids_are_found_recent_and_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let mut ids: Vec<_> = (0..300).map(|i| put(&store, &content(i, 10))).collect();
    ids.sort();
    for id in &ids {
        let hex = id.to_hex();
        assert_eq!(store.find_prefix(&hex, Kind::Blob).unwrap(), [*id]);
        assert_eq!(store.find_prefix(&hex, Kind::Node).unwrap(), []);
        for digits in [1, 2, 3, 5] {
            let expected: Vec<_> = ids
                .iter()
                .filter(|id| id.to_hex().starts_with(&hex[..digits]))
                .take(8)
                .copied()
                .collect();
            assert_eq!(store.find_prefix(&hex[..digits], Kind::Blob).unwrap(), expected);
        }
    }
    assert!(matches!(
        store.find_prefix("xyz", Kind::Blob),
        Err(Error::InvalidArgument { .. })
    ));
    assert!(store.find_prefix("", Kind::Blob).unwrap().len() >= 2);
}

#[test]
fn a_large_batch_stands_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    put(&store, b"small");
    let large = put(&store, &content(1, 50_000));
    put(&store, b"small again");
    assert_eq!(store.get(Kind::Blob, &large).unwrap().unwrap(), content(1, 50_000));
    let stats = store.stats().unwrap();
    assert_eq!((stats.segments, stats.segments_sealed), (3, 2));
}

#[test]
fn refs_survive_torn_records_and_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(
        directory.path(),
        OpenOptions {
            ref_log_limit_bytes: 600,
            ..options()
        },
    );
    let follower = open(directory.path());
    for i in 0u32..200 {
        let newest = files(&directory.path().join("refs"), "log").pop().unwrap();
        if i % 3 == 0 {
            let whole = std::fs::read(&newest).unwrap();
            let torn = &whole[64..(64 + 5 + i as usize).min(whole.len() - 1)];
            let mut file = std::fs::OpenOptions::new().append(true).open(&newest).unwrap();
            std::io::Write::write_all(&mut file, torn).unwrap();
        }
        let before = (i > 0).then(|| (i - 1).to_le_bytes());
        let outcome = store.refs().commit(&step(
            b"b/main",
            before.as_ref().map(|b| &b[..]),
            Some(&i.to_le_bytes()),
        ));
        assert_eq!(outcome.unwrap(), RefOutcome::Done);
        assert_eq!(follower.refs().get(b"b/main").unwrap().unwrap(), &i.to_le_bytes()[..]);
    }
    assert!(files(&directory.path().join("refs"), "log").len() > 5);
    assert_eq!(
        open(directory.path()).refs().get(b"b/main").unwrap().unwrap(),
        &199u32.to_le_bytes()[..]
    );
}

#[test]
fn a_zeroed_control_file_is_only_a_lost_hint() {
    let directory = tempfile::tempdir().unwrap();
    let ids: Vec<_> = (0..5).map(|i| put(&open(directory.path()), &content(i, 10))).collect();
    for length in [65_600usize, 100, 0] {
        std::fs::write(directory.path().join("control"), vec![0u8; length]).unwrap();
        let (store, other) = (open(directory.path()), open(directory.path()));
        for id in &ids {
            assert!(store.contains(id).unwrap());
        }
        let id = put(&store, format!("after {length}").as_bytes());
        assert!(other.contains(&id).unwrap());
    }
}

/// Pages behind the end of a segment are filled with zeros by one thread while others append.
#[test]
fn zeros_that_are_filled_ahead_go_over_no_record() {
    for (segment_limit_bytes, write_ahead_bytes) in [(1 << 20, 0), (60_000, 0), (300_000, 20_000)] {
        let directory = tempfile::tempdir().unwrap();
        let store = open_with(
            directory.path(),
            OpenOptions {
                segment_limit_bytes,
                write_ahead_bytes,
                page_ahead_bytes: 3_000,
                ..options()
            },
        );
        let ids = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|thread| {
                    let store = &store;
                    scope.spawn(move || {
                        let size = |i: usize| if i % 50 == 7 { 9_000 } else { i * 13 % 700 };
                        let name = |i: usize| thread * 1_000 + i;
                        let all = (0..400).map(|i| (name(i), size(i), put(store, &content(name(i), size(i)))));
                        all.collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        store.close().unwrap();
        let store = open(directory.path());
        for (i, size, id) in ids {
            assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), content(i, size), "{i}");
        }
        assert!(store.stats().unwrap().damage.is_empty());
    }
}

#[test]
fn threads_of_several_stores_never_miss_what_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let limits = OpenOptions {
        segment_limit_bytes: 20_000,
        background_seal: true,
        ..tiny()
    };
    let stores: Vec<FileStore> = (0..2).map(|_| open_with(directory.path(), limits.clone())).collect();
    let (send, receive) = std::sync::mpsc::channel::<pyi_cas::Id>();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (stores, send) = (&stores, send.clone());
            scope.spawn(move || {
                for i in 0..300 {
                    send.send(put(&stores[thread % 2], &content(thread * 10_000 + i, 300)))
                        .unwrap();
                }
            });
        }
        drop(send);
        // Each id is looked up right after its commit, in both stores, while segments are sealed below.
        for id in receive {
            for store in &stores {
                assert!(store.contains(&id).unwrap());
                assert!(store.get(Kind::Blob, &id).unwrap().is_some());
            }
        }
    });
    for store in &stores {
        store.close().unwrap();
    }
    let stats = open(directory.path()).stats().unwrap();
    assert_eq!(stats.objects, 1200);
    assert!(stats.segments_sealed > 10 && stats.damage.is_empty());
}

#[test]
fn a_store_that_lost_its_ref_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    put(&open(directory.path()), b"x");
    std::fs::remove_file(&files(&directory.path().join("refs"), "log")[0]).unwrap();
    let refused = FileStore::open(Arc::new(OsFs), directory.path(), options());
    assert!(matches!(refused, Err(Error::Corrupt { .. })));
}

#[test]
fn debris_of_dead_sealers_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let debris = [
        directory.path().join("segments/0000000000000001.tmp-00ff"),
        directory.path().join("refs/0000000000000001.tmp-00ff"),
    ];
    for path in &debris {
        std::fs::write(path, b"unfinished").unwrap();
    }
    for i in 0..40 {
        put(&store, &content(i, 100));
        store.refs().commit(&step(&[i as u8], None, Some(b"v"))).unwrap();
    }
    assert!(debris.iter().all(|path| !path.exists()));
}
