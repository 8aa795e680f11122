//! Garbage collection on a real disk: what is removed, what stays, who is waited for, and many threads at once.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;
#[path = "common/lookups.rs"]
mod lookups;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use pyi_cas::{
    Batch, CollectOptions, Collected, Error, FileStore, Id, IdSet, Kind, Mark, MemoryStore, ObjectStore, RefOutcome,
    Result,
};

/// Everything that a ref or a pin names, and what `then` does between the phases.
struct Roots<'a> {
    store: &'a dyn ObjectStore,
    calls: usize,
    then: Box<dyn FnMut(usize) + 'a>,
}

impl<'a> Roots<'a> {
    fn of(store: &'a dyn ObjectStore) -> Roots<'a> {
        Roots::with(store, |_| {})
    }

    fn with(store: &'a dyn ObjectStore, then: impl FnMut(usize) + 'a) -> Roots<'a> {
        Roots {
            store,
            calls: 0,
            then: Box::new(then),
        }
    }
}

impl Mark for Roots<'_> {
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()> {
        live.extend(pins);
        for (_, value) in self.store.refs().scan(b"")? {
            live.extend(<[u8; 32]>::try_from(&value[..]).map(Id));
        }
        self.calls += 1;
        (self.then)(self.calls);
        Ok(())
    }
}

fn everything() -> CollectOptions<'static> {
    CollectOptions {
        dead_share: 0.0,
        patience: Duration::from_millis(50),
        ..CollectOptions::default()
    }
}

fn collect(store: &dyn ObjectStore) -> Collected {
    let collected = store.collect(&mut Roots::of(store), &everything()).unwrap();
    assert_eq!(collected.gave_up, None);
    collected
}

fn set(store: &dyn ObjectStore, key: &[u8], id: Option<&Id>) {
    let before = store.refs().get(key).unwrap();
    let transaction = step(key, before.as_deref(), id.map(|id| &id.0[..]));
    assert_eq!(store.refs().commit(&transaction).unwrap(), RefOutcome::Done);
}

fn has(store: &dyn ObjectStore, id: &Id) -> bool {
    store.get(Kind::Blob, id).unwrap().is_some()
}

/// Bytes that so many objects with contents of this size take.
fn records(objects: u64, size: usize) -> u64 {
    objects * (48 + size as u64).next_multiple_of(8)
}

#[test]
fn what_refs_and_pins_name_stays_and_the_rest_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let memory = MemoryStore::new();
    for store in [&store as &dyn ObjectStore, &memory] {
        let ids: Vec<Id> = (0..30).map(|i| put(store, &content(i, 192))).collect();
        set(store, b"a", Some(&ids[3]));
        set(store, b"b", Some(&ids[17]));
        let collected = collect(store);
        assert_eq!(collected.objects_removed, 28);
        assert_eq!(collected.objects_live, 2);
        assert_eq!(collected.live_bytes, records(2, 200));
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(has(store, id), i == 3 || i == 17, "{i}");
        }
        let mut left = store.ids(Kind::Blob).unwrap();
        left.sort();
        let mut expected = vec![ids[3], ids[17]];
        expected.sort();
        assert_eq!(left, expected);
        assert_eq!(store.record_bytes(&ids[3]), Some(records(1, 200)));
        assert_eq!(store.record_bytes(&ids[4]), None);
        assert!(!store.contains_hint(&ids[4]));
        // It goes on: what was removed can be stored again.
        assert_eq!(put(store, &content(4, 192)), ids[4]);
        assert!(has(store, &ids[4]));
    }
    let pin = store.pin(&Kind::Blob.id_of(&content(4, 192)));
    let collected = collect(&store);
    assert_eq!((collected.objects_live, collected.objects_removed), (3, 0));
    drop(pin);
    assert_eq!(collect(&store).objects_removed, 1);
    let stats = store.stats().unwrap();
    assert_eq!(stats.bytes_stored, records(2, 200) + 64 * stats.segments);
    drop(store);
    let store = open_with(directory.path(), tiny());
    assert_eq!(store.stats().unwrap().objects, 2);
    assert!(files(&directory.path().join("sessions"), "").is_empty());
}

#[test]
fn segments_with_little_garbage_are_left_unless_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<Id> = (0..20).map(|i| put(&store, &content(i, 192))).collect();
    for (i, id) in ids[1..].iter().enumerate() {
        set(&store, format!("{i}").as_bytes(), Some(id));
    }
    let mut options = everything();
    options.dead_share = 0.1;
    let collected = store.collect(&mut Roots::of(&store), &options).unwrap();
    assert_eq!((collected.segments_removed, collected.objects_removed), (0, 0));
    assert!(has(&store, &ids[0]));
    options.compact = true;
    let collected = store.collect(&mut Roots::of(&store), &options).unwrap();
    assert_eq!((collected.segments_removed, collected.segments_written), (1, 1));
    assert_eq!(collected.bytes_before - collected.bytes_after, records(1, 200));
    assert!(!has(&store, &ids[0]) && has(&store, &ids[19]));
}

/// The empty store goes on above its old numbers: others still know the old segments by them.
#[test]
fn numbers_are_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let other = open_with(directory.path(), tiny());
    let old: Vec<Id> = (0..30).map(|i| put(&store, &content(i, 200))).collect();
    assert!(has(&other, &old[0]));
    assert_eq!(collect(&store).objects_removed, 30);
    let segments = directory.path().join("segments");
    assert!(files(&segments, "seg").is_empty());
    let new = put(&store, b"new");
    assert!(has(&other, &new));
    let section = other.section();
    for id in &old {
        assert!(!other.contains_hint(id), "gone, so it has to be stored again");
    }
    drop(section);
    for id in &old {
        assert!(!has(&other, id) && !other.contains(id).unwrap());
    }
    set(&store, b"a", Some(&new));
    collect(&other);
    assert!(has(&store, &new));
    assert!(
        files(&segments, "idx").is_empty(),
        "the old highest number is not needed any more"
    );
}

/// A hit counts as a miss once its segment is condemned; a hit from before is waited for and seen.
#[test]
fn a_deduplication_hit_beside_a_collection() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let other = open_with(directory.path(), tiny());
    let old: Vec<Id> = (0..20).map(|i| put(&store, &content(i, 200))).collect();
    let before = other.section();
    assert!(other.contains_hint(&old[1]));
    let mut before = Some(before);
    let mut mark = Roots::with(&store, |call| match call {
        // The first mark is done: the hit gets its ref now.
        1 => {
            set(&other, b"hit", Some(&old[1]));
            before = None;
        }
        2 => {
            let section = other.section();
            assert!(!other.contains_hint(&old[2]), "condemned");
            assert!(has(&other, &old[2]), "but still there");
            put(&other, &content(2, 200));
            assert!(other.contains_hint(&old[2]));
            set(&other, b"again", Some(&old[2]));
            drop(section);
            // Pinned while the second mark runs.
            let section = other.section();
            std::mem::forget(other.pin(&old[3]));
            drop(section);
        }
        _ => {}
    });
    let collected = store.collect(&mut mark, &everything()).unwrap();
    assert_eq!(collected.gave_up, None);
    drop(mark);
    // A section looks at what was removed; a process without one may read on from what it has open.
    drop(other.section());
    for store in [&store, &other] {
        for (i, id) in old.iter().enumerate() {
            assert_eq!(has(store, id), (1..4).contains(&i), "{i}");
        }
    }
    drop(other);
    assert_eq!(collect(&store).objects_removed, 1, "the pin died with its store");
}

#[test]
fn a_section_that_does_not_end_makes_the_collector_give_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let other = open_with(directory.path(), tiny());
    let old: Vec<Id> = (0..20).map(|i| put(&store, &content(i, 200))).collect();
    for _ in 0..3 {
        let section = other.section();
        let collected = store.collect(&mut Roots::of(&store), &everything()).unwrap();
        assert!(collected.gave_up.unwrap().contains("middle of an operation"));
        assert_eq!(collected.segments_removed, 0);
        let inner = other.section();
        assert!(other.contains_hint(&old[0]), "nothing is condemned any more");
        let collected = store.collect(&mut Roots::of(&store), &everything()).unwrap();
        assert!(collected.gave_up.is_some());
        drop((section, inner));
    }
    assert_eq!(collect(&store).objects_removed, 20);
}

#[test]
fn one_collector_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let other = open_with(directory.path(), tiny());
    put(&store, b"x");
    let mut refused = None;
    let mut mark = Roots::with(&store, |_| {
        refused = other.collect(&mut Roots::of(&other), &everything()).unwrap().gave_up;
    });
    assert_eq!(store.collect(&mut mark, &everything()).unwrap().gave_up, None);
    drop(mark);
    assert!(refused.unwrap().contains("collecting"));
}

/// An object of a victim that somebody looks up by its id in the last phase is spared, if the answer was that it is there.
#[test]
fn a_checkpoint_that_is_looked_up_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let other = open_with(directory.path(), tiny());
    let mut batch = Batch::new();
    let id = batch.put_new(Kind::Checkpoint, &content(1, 200)).unwrap();
    let gone = batch.put_new(Kind::Checkpoint, &content(2, 200)).unwrap();
    store.commit(&mut batch).unwrap();
    let mut mark = Roots::with(&store, |call| {
        // The third call is that of the closing phase: nothing is new in the second one.
        if call == 3 {
            let section = other.section();
            assert!(other.get(Kind::Checkpoint, &id).unwrap().is_some());
            set(&other, b"b", Some(&id));
            drop(section);
        }
    });
    let collected = store.collect(&mut mark, &everything()).unwrap();
    assert_eq!(collected.gave_up, None);
    assert!(mark.calls > 4, "another round: {}", mark.calls);
    drop(mark);
    assert!(other.get(Kind::Checkpoint, &id).unwrap().is_some());
    assert!(store.get(Kind::Checkpoint, &id).unwrap().is_some());
    assert!(store.get(Kind::Checkpoint, &gone).unwrap().is_none());
}

/// A value that a ref had for a moment, while nobody marked: a section that read it then may rely on it.
#[test]
fn a_value_that_came_and_went() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let other = open_with(directory.path(), tiny());
    let old: Vec<Id> = (0..20).map(|i| put(&store, &content(i, 200))).collect();
    let mut mark = Roots::with(&store, |call| {
        if call == 2 {
            set(&other, b"b", Some(&old[5]));
            let section = other.section();
            let read = other.refs().get(b"b").unwrap().unwrap();
            assert_eq!(read, old[5].0[..]);
            // Neither mark sees it; the section could put it into another ref.
            set(&other, b"b", None);
            drop(section);
        }
    });
    store.collect(&mut mark, &everything()).unwrap();
    drop(mark);
    assert!(
        has(&store, &old[5]),
        "what was a ref's value during the collection stays for this time"
    );
    assert!(!has(&store, &old[6]));
    assert_eq!(collect(&store).objects_removed, 1);
}

/// A pin that is given back between the marks, while a section that read what was pinned is still on its way to its ref.
#[test]
fn a_pin_that_came_and_went() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let other = open_with(directory.path(), tiny());
    let mut batch = Batch::new();
    let id = batch.put_new(Kind::Checkpoint, &content(1, 200)).unwrap();
    store.commit(&mut batch).unwrap();
    let pause = || std::thread::sleep(Duration::from_millis(100));
    std::thread::scope(|scope| {
        let other = &other;
        let mut mark = Roots::with(&store, move |call| {
            if call != 2 {
                return;
            }
            let first = other.section();
            assert!(other.get(Kind::Checkpoint, &id).unwrap().is_some());
            let pin = other.pin(&id);
            scope.spawn(move || {
                // The collector waits for the first section, in its last phase.
                pause();
                let second = other.section();
                drop((pin, first));
                pause();
                set(other, b"late", Some(&id));
                drop(second);
            });
        });
        let mut options = everything();
        options.patience = Duration::from_secs(20);
        assert_eq!(store.collect(&mut mark, &options).unwrap().gave_up, None);
    });
    assert!(open(directory.path()).get(Kind::Checkpoint, &id).unwrap().is_some());
    set(&store, b"late", None);
    assert_eq!(collect(&store).objects_removed, 1, "it does not count for the next one");
}

#[test]
fn pins_and_sections_go_from_thread_to_thread() {
    fn may<T: Send + Sync>() {}
    may::<pyi_cas::Pin>();
    may::<pyi_cas::Section>();
}

/// Two writers stored one object; the copy that a reader knows first is collected, the other one is not.
#[test]
fn the_second_copy_is_found_when_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second, reader, late] = [(); 4].map(|()| open(directory.path()));
    let id = put(&first, b"twice");
    assert!(has(&reader, &id) && has(&late, &id));
    put(&second, b"twice");
    let next = put(&second, b"more, so that they look");
    assert!(has(&reader, &next));
    assert_eq!(
        collect(&first).objects_removed,
        0,
        "the second copy is in a segment that is written to"
    );
    assert_eq!(files(&directory.path().join("segments"), "seg").len(), 1);
    {
        let _section = second.section();
        assert!(second.contains_hint(&id));
        set(&second, b"a", Some(&id));
    }
    drop(reader.section());
    for store in [&first, &second, &reader, &late] {
        assert!(has(store, &id));
    }
}

/// The same where the second copy is one's own.
#[test]
fn the_own_copy_is_found_when_another_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = [(); 2].map(|()| open(directory.path()));
    let id = put(&first, b"twice");
    assert!(has(&second, &id));
    put(&second, b"twice");
    collect(&first);
    drop(second.section());
    assert!(second.contains_hint(&id) && has(&second, &id));
    assert!(has(&first, &id));
}

/// Of two copies the damaged one does not hide the whole one, and a segment with something that cannot be read stays.
#[test]
fn damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let ids: Vec<Id> = (0..20).map(|i| put(&store, &content(i, 200))).collect();
    set(&store, b"a", Some(&ids[0]));
    set(&store, b"b", Some(&ids[1]));
    let first = files(&directory.path().join("segments"), "seg").remove(0);
    flip(&first, 64 + 60);
    assert!(matches!(store.get(Kind::Blob, &ids[0]), Err(Error::Corrupt { .. })));
    {
        let _section = store.section();
        assert!(!store.contains_hint(&ids[0]), "known to be damaged");
        assert!(store.contains_hint(&ids[1]));
    }
    let collected = collect(&store);
    assert!(first.exists());
    assert!(collected.segments_removed > 0 && has(&store, &ids[1]));
    assert!(matches!(store.get(Kind::Blob, &ids[0]), Err(Error::Corrupt { .. })));
    // Stored again it is healed, and the damaged segment can go.
    put(&store, &content(0, 200));
    assert!(has(&store, &ids[0]));
    collect(&store);
    assert!(!first.exists() && has(&store, &ids[0]));
    assert_eq!(store.stats().unwrap().damage, []);
}

/// A copy in a segment that stays is relied on only if it is whole.
#[test]
fn a_damaged_copy_is_no_copy() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<Id> = (0..7).map(|i| put(&store, &content(i, 200))).collect();
    for (key, id) in ids.iter().enumerate() {
        set(&store, &[b'a' + key as u8], Some(id));
    }
    collect(&store);
    let first = files(&directory.path().join("segments"), "seg").remove(0);
    put(&store, &content(0, 200));
    for i in 100..150 {
        put(&store, &content(i, 200));
    }
    flip(&first, 64 + 60);
    let mut options = everything();
    options.dead_share = 0.5;
    let collected = store.collect(&mut Roots::of(&store), &options).unwrap();
    assert_eq!(collected.objects_removed, 50);
    assert!(first.exists());
    for id in &ids {
        assert!(has(&store, id));
    }
    assert!(open(directory.path()).get(Kind::Blob, &ids[0]).unwrap().is_some());
}

/// An index is derived: where one does not check, the collector makes it anew, and then looks at its segment as at any other.
#[test]
fn a_damaged_index() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let ids: Vec<Id> = (0..20).map(|i| put(&store, &content(i, 200))).collect();
    set(&store, b"a", Some(&ids[0]));
    drop(store);
    let index = files(&directory.path().join("segments"), "idx").remove(0);
    flip(&index, 100);
    let store = open_with(directory.path(), tiny());
    assert!(has(&store, &ids[0]));
    assert_eq!(collect(&store).objects_removed, 19);
    assert!(has(&store, &ids[0]));
    assert_eq!(store.stats().unwrap().damage, []);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn more_pins_than_one_page_holds() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<Id> = (0..1000).map(|i| put(&store, &content(i, 20))).collect();
    let pins: Vec<_> = ids.iter().skip(1).step_by(2).map(|id| store.pin(id)).collect();
    let collected = collect(&store);
    assert_eq!((collected.objects_live, collected.objects_removed), (500, 500));
    let many: Vec<_> = (0..70_000).map(|_| store.pin(&ids[1])).collect();
    let refused = store.collect(&mut Roots::of(&store), &everything()).unwrap();
    assert!(refused.gave_up.unwrap().contains("more pins"));
    drop((pins, many));
    assert_eq!(collect(&store).objects_removed, 500);
}

/// Where no session can be had, nobody knows of a section: in it nothing is relied on and nothing stored.
#[test]
fn a_section_without_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = put(&store, b"x");
    let sessions = directory.path().join("sessions");
    std::fs::write(&sessions, b"no directory").unwrap();
    let section = store.section();
    assert!(!store.contains_hint(&id));
    let mut batch = Batch::new();
    batch.put_new(Kind::Blob, b"y").unwrap();
    let refused = store.commit(&mut batch).unwrap_err();
    assert!(
        refused.to_string().contains("sessions") && refused.errno().is_some(),
        "{refused}"
    );
    std::fs::remove_file(&sessions).unwrap();
    drop(section);
    let _section = store.section();
    assert!(store.contains_hint(&id));
    store.commit(&mut batch).unwrap();
}

#[test]
fn a_read_only_store_collects_nothing() {
    let directory = tempfile::tempdir().unwrap();
    put(&open(directory.path()), b"x");
    let read_only = pyi_cas::OpenOptions {
        read_only: true,
        ..options()
    };
    let store = open_with(directory.path(), read_only);
    let (_section, _pin) = (store.section(), store.pin(&Id([1; 32])));
    assert!(!directory.path().join("sessions").exists() && !directory.path().join("gc").exists());
    let refused = store.collect(&mut Roots::of(&store), &everything()).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::EROFS));
}

/// Writers with few contents, so that they meet what is dead all the time, readers, and a collector, each with a store of its own.
#[test]
fn a_busy_store() {
    let directory = tempfile::tempdir().unwrap();
    let (stop, removed) = (AtomicBool::new(false), AtomicU64::new(0));
    let stores: Vec<FileStore> = (0..4).map(|_| open_with(directory.path(), tiny())).collect();
    std::thread::scope(|scope| {
        for (who, store) in stores[..3].iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                let key = [b'w', who as u8];
                let mut random = 12345 + who;
                while !stop.load(Ordering::Relaxed) {
                    random = random
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let content = content((random >> 33) % 1000, 150);
                    let id = Kind::Blob.id_of(&content);
                    let pin = {
                        let _section = store.section();
                        if !store.contains_hint(&id) {
                            put(store, &content);
                        }
                        if random >> 40 & 7 == 0 {
                            set(store, &key, Some(&id));
                        }
                        store.pin(&id)
                    };
                    assert_eq!(store.get(Kind::Blob, &id).unwrap().as_deref(), Some(&content[..]));
                    drop(pin);
                    if let Some(value) = store.refs().get(&key).unwrap() {
                        let id = Id(value[..].try_into().unwrap());
                        assert!(has(store, &id), "a ref's object is lost");
                    }
                }
            });
        }
        let store = &stores[3];
        let mut options = everything();
        options.patience = Duration::from_secs(10);
        let begin = Instant::now();
        while removed.load(Ordering::Relaxed) < 500 && begin.elapsed() < Duration::from_secs(60) {
            match store.collect(&mut Roots::of(store), &options) {
                Ok(collected) => removed.fetch_add(collected.objects_removed, Ordering::Relaxed),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{error}");
                }
            };
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(removed.load(Ordering::Relaxed) > 100, "{removed:?}");
    drop(stores);
    let store = open_with(directory.path(), tiny());
    let collected = collect(&store);
    assert!(
        collected.objects_live <= 3,
        "{collected:?} {:?}",
        store.refs().scan(b"")
    );
    assert_eq!(
        collected.bytes_after,
        collected.live_bytes + 64 * store.stats().unwrap().segments
    );
}
