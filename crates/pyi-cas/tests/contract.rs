//! What both stores promise alike, and what their errors say.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::io;
use std::sync::Arc;

use common::*;
use pyi_cas::{
    Batch, BlobCache, Bytes, Error, FileStore, Guard, Id, Kind, MemoryStore, ObjectStore, OpenMode, OpenOptions, OsFs,
    RefOutcome, RefTransaction, Vfs,
};

fn both(test: impl Fn(&dyn ObjectStore)) {
    test(&MemoryStore::new());
    let directory = tempfile::tempdir().unwrap();
    test(&open(directory.path()));
}

#[test]
fn an_object_is_there_under_its_kind_and_counted_once() {
    both(|store| {
        assert_eq!(store.stats().unwrap().objects, 0);
        let mut batch = Batch::new();
        let id = batch.put_new(Kind::Node, b"content").unwrap();
        assert!(!store.contains(&id).unwrap() && !store.contains_hint(&id));
        let bytes = batch.size_bytes() as u64;
        let committed = store.commit(&mut batch).unwrap();
        assert_eq!(committed.segment, 1);
        assert!(committed.offset_end >= bytes && batch.is_empty());
        assert!(store.contains(&id).unwrap() && store.contains_hint(&id));
        assert_eq!(store.get(Kind::Node, &id).unwrap().unwrap(), "content");
        assert_eq!(store.get(Kind::Blob, &id).unwrap(), None);
        assert_eq!(store.commit(&mut batch).unwrap(), pyi_cas::Committed::default());
        let stats = store.stats().unwrap();
        assert_eq!((stats.objects, stats.bytes_stored), (1, committed.offset_end));
        let next = put(store, b"more");
        assert_eq!(store.stats().unwrap().objects, 2);
        assert!(store.stats().unwrap().bytes_stored > stats.bytes_stored);
        assert_eq!(store.get(Kind::Blob, &next).unwrap().unwrap(), "more");
        store.flush().unwrap();
    });
}

#[test]
fn an_abbreviated_id_finds_those_of_its_kind_in_order() {
    both(|store| {
        let mut ids: Vec<Id> = (0..100).map(|i| put(store, &content(i, 5))).collect();
        ids.sort();
        let whole = ids[50].to_hex();
        for digits in 0..=64 {
            let expected: Vec<Id> = ids
                .iter()
                .filter(|id| id.to_hex().starts_with(&whole[..digits]))
                .take(8)
                .copied()
                .collect();
            assert_eq!(
                store.find_prefix(&whole[..digits], Kind::Blob).unwrap(),
                expected,
                "{digits}"
            );
            assert_eq!(
                store.find_prefix(&whole[..digits].to_uppercase(), Kind::Blob).unwrap(),
                expected
            );
            assert!(store.find_prefix(&whole[..digits], Kind::Array).unwrap().is_empty());
        }
        for wrong in ["g", "0x", &format!("{whole}0")] {
            assert!(matches!(
                store.find_prefix(wrong, Kind::Blob),
                Err(Error::InvalidArgument { .. })
            ));
        }
    });
}

#[test]
fn refs_change_by_guards_and_the_generation_moves_with_them() {
    both(|store| {
        let refs = store.refs();
        let set = |guard: Guard, value: Option<&[u8]>| RefTransaction {
            guards: vec![(b"k/1".to_vec(), guard)],
            puts: vec![
                (b"k/1".to_vec(), value.map(<[u8]>::to_vec)),
                (b"k/2".to_vec(), Some(b"two".to_vec())),
            ],
            ..RefTransaction::default()
        };
        let conflict = |found: Option<&[u8]>| RefOutcome::Conflict {
            key: b"k/1".to_vec(),
            found: found.map(<[u8]>::to_vec),
        };
        let before = refs.generation();
        assert_eq!(refs.commit(&set(Guard::Present, Some(b"1"))).unwrap(), conflict(None));
        assert_eq!(refs.generation(), before, "a conflict changes nothing");
        assert_eq!(refs.commit(&set(Guard::Absent, Some(b"1"))).unwrap(), RefOutcome::Done);
        assert_ne!(refs.generation(), before);
        assert_eq!(
            refs.commit(&set(Guard::Absent, Some(b"2"))).unwrap(),
            conflict(Some(b"1"))
        );
        assert_eq!(
            refs.commit(&set(Guard::Equals(b"0".to_vec()), None)).unwrap(),
            conflict(Some(b"1"))
        );
        assert_eq!(refs.get(b"k/1").unwrap().unwrap(), "1");
        assert_eq!(
            refs.commit(&set(Guard::Equals(b"1".to_vec()), None)).unwrap(),
            RefOutcome::Done
        );
        assert_eq!(refs.get(b"k/1").unwrap(), None);
        refs.commit(&step(b"l", None, Some(b"other"))).unwrap();
        refs.commit(&step(b"a", None, Some(b"other"))).unwrap();
        assert_eq!(
            refs.scan(b"k/").unwrap(),
            [(b"k/2".to_vec(), Bytes::from_static(b"two"))]
        );
        assert_eq!(refs.scan(b"").unwrap().len(), 3);
        let long = RefTransaction {
            message: "m".repeat(65_536),
            ..RefTransaction::default()
        };
        assert!(matches!(refs.commit(&long), Err(Error::InvalidArgument { .. })));
    });
}

#[test]
fn a_record_of_a_later_encoding_is_refused_and_not_misread() {
    for (at, value) in [(9, 5_u8), (9, 255), (10, 1), (11, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let id = put(&open(directory.path()), b"content");
        let path = &files(&directory.path().join("segments"), "seg")[0];
        let mut bytes = std::fs::read(path).unwrap();
        bytes[64 + at] = value;
        let crc = crc32c::crc32c(&bytes[64 + 4..64 + 48 + 7]);
        bytes[64..68].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(path, bytes).unwrap();
        let found = open(directory.path()).get(Kind::Blob, &id);
        assert!(matches!(found, Err(Error::UnsupportedFormat { .. })), "{at}: {found:?}");
    }
}

#[test]
fn a_store_has_a_name_and_tells_where_it_is() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, same, other) = (open(here.path()), open(here.path()), open(there.path()));
    assert_eq!(store.directory(), here.path());
    assert_eq!(store.name(), same.name());
    assert_ne!(store.name(), other.name());
    assert_eq!(store.name().len(), 32);
    assert!(format!("{store:?}").contains(&*here.path().to_string_lossy()));
}

#[test]
fn a_segment_of_another_store_is_damage_and_is_not_read() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(here.path());
    put(&open(there.path()), b"foreign");
    let foreign = &files(&there.path().join("segments"), "seg")[0];
    std::fs::copy(foreign, here.path().join("segments").join(foreign.file_name().unwrap())).unwrap();
    put(&open(here.path()), b"own");
    let store = open(here.path());
    let damage = store.stats().unwrap().damage;
    assert_eq!((damage[0].number, damage[0].offset, damage[0].length), (1, 0, 64));
    assert!(store.contains(&Kind::Blob.id_of(b"own")).unwrap());
}

#[test]
fn a_long_ref_log_is_sealed_once_it_is_four_times_its_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let limits = OpenOptions {
        ref_log_limit_bytes: 1_000,
        ..options()
    };
    let store = open_with(directory.path(), limits);
    let logs = || files(&directory.path().join("refs"), "log").len();
    // A state of about 20,000 bytes: the next log begins with it and may grow to four times that.
    let many = RefTransaction {
        puts: (0..20_u8)
            .map(|key| (vec![b'k', key], Some(vec![key; 1_000])))
            .collect(),
        ..RefTransaction::default()
    };
    store.refs().commit(&many).unwrap();
    assert_eq!(logs(), 2);
    let mut written = 0;
    while logs() == 2 {
        let value = vec![7; 1_000];
        store
            .refs()
            .commit(&RefTransaction {
                puts: vec![(b"again".to_vec(), Some(value))],
                ..RefTransaction::default()
            })
            .unwrap();
        written += 1;
        assert!(written < 100);
    }
    assert!((50..70).contains(&written), "{written}");
    assert_eq!(open(directory.path()).refs().scan(b"k").unwrap().len(), 20);
}

#[test]
fn a_ref_state_that_might_not_fit_into_a_snapshot_stays_in_its_log() {
    for (size, logs) in [(30 << 20, 2), (34 << 20, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let limits = OpenOptions {
            ref_log_limit_bytes: 1_000,
            ..options()
        };
        let store = open_with(directory.path(), limits);
        store
            .refs()
            .commit(&step(b"large", None, Some(&vec![1; size])))
            .unwrap();
        assert_eq!(files(&directory.path().join("refs"), "log").len(), logs, "{size}");
        store.refs().commit(&step(b"small", None, Some(b"2"))).unwrap();
        assert_eq!(
            open(directory.path()).refs().get(b"large").unwrap().unwrap().len(),
            size
        );
    }
}

#[test]
fn of_many_small_segments_that_dead_writers_left_16_stay_and_the_others_are_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let writers: Vec<FileStore> = (0..20).map(|_| open(directory.path())).collect();
    for (number, writer) in writers.iter().enumerate() {
        put(writer, &content(number, 10));
    }
    drop(writers);
    put(&open(directory.path()), b"adopts one");
    let segments = directory.path().join("segments");
    assert_eq!((files(&segments, "seg").len(), files(&segments, "idx").len()), (20, 3));
}

#[test]
fn a_full_cache_keeps_all_that_fits_and_nothing_too_large() {
    let content = |number: u8, size: usize| Bytes::from(vec![number; size]);
    // An entry costs 128 bytes beside its content.
    let cache = BlobCache::new(8 * (1_000 + 128));
    for number in 0..8 {
        cache.insert(&Id([number; 32]), content(number, 1_000));
    }
    assert_eq!(cache.used(), cache.budget());
    for number in 0..8 {
        assert_eq!(cache.get(&Id([number; 32])).unwrap(), content(number, 1_000));
    }
    cache.insert(&Id([9; 32]), content(9, 1_000));
    assert_eq!(cache.used(), cache.budget());
    let kept = (0..10).filter(|number| cache.get(&Id([*number; 32])).is_some()).count();
    assert_eq!(kept, 8);
    let eighth = cache.budget() / 8;
    let cache = BlobCache::new(8 * 1_128);
    cache.insert(&Id([1; 32]), content(1, eighth));
    cache.insert(&Id([2; 32]), content(2, eighth + 1));
    assert!(cache.get(&Id([1; 32])).is_some() && cache.get(&Id([2; 32])).is_none());
    for (budget, kept) in [(128, true), (127, false), (0, false)] {
        let cache = BlobCache::new(budget);
        cache.insert(&Id([1; 32]), Bytes::new());
        assert_eq!(cache.get(&Id([1; 32])).is_some(), kept, "{budget}");
    }
}

#[test]
fn an_evicted_place_is_used_again_and_what_was_read_is_spared() {
    let cache = BlobCache::new(10 * 228);
    // All in one shard of the cache: the first byte chooses it.
    let id = |number: u32| {
        let mut id = [0; 32];
        id[8..12].copy_from_slice(&number.to_le_bytes());
        Id(id)
    };
    for number in 0..10 {
        cache.insert(&id(number), Bytes::from(vec![0; 100]));
    }
    for number in 0..5 {
        assert!(cache.get(&id(number)).is_some());
    }
    for number in 10..15 {
        cache.insert(&id(number), Bytes::from(vec![0; 100]));
    }
    let kept: Vec<u32> = (0..15).filter(|number| cache.get(&id(*number)).is_some()).collect();
    assert!((0..5).all(|number| kept.contains(&number)), "{kept:?}");
    assert_eq!((kept.len(), cache.used()), (10, 2_280));
}

#[test]
fn an_error_keeps_the_errno_and_names_the_remedy() {
    let error = |code: i32| Error::storage("write", "/x", io::Error::from_raw_os_error(code));
    for (code, remedy) in [
        (libc::ENOSPC, "free space"),
        (libc::EDQUOT, "free space"),
        (libc::EACCES, "permissions"),
        (libc::EROFS, "who may write there"),
        (libc::ENOENT, "moved or removed"),
        (libc::EMFILE, "limit of open files"),
        (libc::ENFILE, "limit of open files"),
        (libc::EIO, "check the disk"),
    ] {
        let text = error(code).to_string();
        assert!(text.contains(remedy) && text.starts_with("cannot write /x"), "{text}");
        assert_eq!(error(code).errno(), Some(code));
    }
    let unknown = Error::OutcomeUnknown {
        operation_id: "00".to_owned(),
        cause: Box::new(error(libc::EIO)),
    };
    assert_eq!((unknown.errno(), Error::Closed.errno()), (Some(libc::EIO), None));
}

#[test]
fn ids_are_made_from_32_bytes() {
    let id = Id([5; 32]);
    assert_eq!(Id::try_from(&[5; 32][..]).unwrap(), id);
    assert_eq!((Id::from([5; 32]), id.as_bytes()), (id, &[5; 32]));
    for wrong in [&[5; 31][..], &[5; 33]] {
        assert!(matches!(Id::try_from(wrong), Err(Error::InvalidArgument { .. })));
    }
    let kinds: Vec<String> = Kind::ALL.iter().map(|kind| format!("{kind:>10}")).collect();
    assert_eq!(
        kinds,
        ["      blob", "      node", "checkpoint", "     array", "     chunk"]
    );
}

#[test]
fn the_real_file_system_locks_lists_and_reserves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    assert!(!OsFs.exists(&path).unwrap());
    let file = OsFs.open(&path, OpenMode::CreateNew).unwrap();
    assert!(OsFs.exists(&path).unwrap() && file.is_empty().unwrap());
    assert_eq!(OsFs.list(directory.path()).unwrap(), ["file"]);
    let taken = OsFs.open(&path, OpenMode::CreateNew).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    file.allocate(10_000).unwrap();
    assert_eq!((file.len().unwrap(), file.is_empty().unwrap()), (10_000, false));
    assert_eq!(file.allocate(u64::MAX).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    file.set_len(3).unwrap();
    assert_eq!(file.len().unwrap(), 3);
    let other = OsFs.open(&path, OpenMode::ReadWrite).unwrap();
    assert!(!other.is_locked().unwrap());
    assert!(file.try_lock_exclusive().unwrap() && file.try_lock_exclusive().unwrap());
    assert!(other.is_locked().unwrap() && !file.is_locked().unwrap());
    assert!(!other.try_lock_exclusive().unwrap());
    drop(file);
    assert!(!other.is_locked().unwrap() && other.try_lock_exclusive().unwrap());
    let (mut one, mut two) = ([0; 64], [0; 64]);
    OsFs.random(&mut one).unwrap();
    OsFs.random(&mut two).unwrap();
    assert!(one != two && one[32..] != [0; 32] && two[32..] != [0; 32]);
    let (then, now) = (1_700_000_000_000_000_000, OsFs.now_ns());
    assert!((then..u64::MAX).contains(&now) && OsFs.now_ns() >= now);
    OsFs.sync_dir(directory.path()).unwrap();
    assert!(OsFs.sync_dir(&path.join("none")).is_err());
    OsFs.remove(&path).unwrap();
    assert!(!OsFs.exists(&path).unwrap());
}

#[test]
fn opening_only_to_read_writes_nothing_at_all() {
    let directory = tempfile::tempdir().unwrap();
    put(&open(directory.path()), b"x");
    std::fs::remove_file(directory.path().join("control")).unwrap();
    let everything = || {
        let mut found: Vec<_> = ["", "segments", "refs"]
            .iter()
            .flat_map(|folder| std::fs::read_dir(directory.path().join(folder)).unwrap())
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        found.sort();
        found
    };
    let before = everything();
    let read_only = OpenOptions {
        read_only: true,
        ..options()
    };
    let store = open_with(directory.path(), read_only.clone());
    assert!(store.contains(&Kind::Blob.id_of(b"x")).unwrap());
    assert_eq!(store.refs().scan(b"").unwrap(), []);
    drop(store);
    assert_eq!(everything(), before);
    let empty = tempfile::tempdir().unwrap();
    let missing = FileStore::open(Arc::new(OsFs), empty.path(), read_only);
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}
