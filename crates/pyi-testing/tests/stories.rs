//! Losses that the simulated disk found, one story each, so that they stay fixed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;
#[path = "common/slow.rs"]
mod slow;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use pyi_cas::{
    Batch, CollectOptions, Collected, FileStore, Guard, Id, IdSet, Kind, Mark, ObjectStore, RefOutcome, RefTransaction,
    ScrubOptions, StoreFile, Vfs,
};
use pyi_testing::{Call, Disk, Driver, Fate, Fault, Operation, Rng, Snapshot, Subsets, until_killed};
use slow::Slow;

fn put(store: &FileStore, content: &[u8]) -> Id {
    let mut batch = Batch::new();
    let id = batch.put_new(Kind::Blob, content).unwrap();
    store.commit(&mut batch).unwrap();
    id
}

/// The disk after a power loss that drops everything that was not flushed.
fn nothing_kept(snapshot: &Snapshot) -> Disk {
    snapshot.crash(&vec![Fate::Dropped; snapshot.changes()])
}

/// Makes the names in these directories durable.
fn settle(disk: &Disk, directories: &[&str]) {
    let process = disk.process();
    process.create_dir_all(Path::new("/work/store")).unwrap();
    for directory in directories {
        process.sync_dir(Path::new(directory)).unwrap();
    }
}

/// States that a power loss can leave: all of them while the changes are few.
fn all_crashes(snapshot: &Snapshot) -> impl Iterator<Item = Disk> + '_ {
    let choose = Subsets {
        all_up_to: 10,
        samples: 300,
    };
    choose
        .fates(snapshot.changes(), &mut Rng::new(0))
        .into_iter()
        .map(|fates| snapshot.crash(&fates))
}

/// Kills the first process to make this call on a file or directory of this name, in an attempt to create the store.
fn killed_while_creating(disk: &Disk, operation: Operation, name: &'static str) {
    disk.set_faults(move |call: &Call| {
        let here = call.operation == operation && call.path.ends_with(name);
        if here { Fault::Kill } else { Fault::None }
    });
    assert!(
        until_killed(|| Driver::open(disk)).is_none(),
        "{operation:?} {name} never happened"
    );
    disk.clear_faults();
}

/// `flush` flushed the segments and the log and their directories, but nobody ever flushed the directories above them, in which
/// creating the store had made the names. After a power loss the whole store was gone.
#[test]
fn a_flush_covers_the_names_of_the_store_itself() {
    let disk = Disk::new(1);
    let (_process, store) = Driver::open(&disk).unwrap();
    let id = put(&store, b"kept");
    store.flush().unwrap();
    let disk = nothing_kept(&disk.snapshot());
    let (_process, store) = Driver::open(&disk).unwrap();
    assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), "kept");
}

/// The same, when the creator died before it flushed a directory and another process found its names there and went on.
#[test]
fn a_flush_covers_names_whose_creator_died() {
    for (operation, name) in [
        (Operation::CreateDirAll, "segments"),
        (Operation::CreateDirAll, "refs"),
        (Operation::SyncDir, "store"),
        (Operation::Link, "format"),
        (Operation::SyncDir, "refs"),
    ] {
        let disk = Disk::new(1);
        killed_while_creating(&disk, operation, name);
        let (_process, store) = Driver::open(&disk).unwrap();
        let id = put(&store, b"kept");
        store.flush().unwrap();
        let disk = nothing_kept(&disk.snapshot());
        let (_process, store) = Driver::open(&disk).unwrap();
        assert_eq!(
            store.get(Kind::Blob, &id).unwrap().unwrap(),
            "kept",
            "{operation:?} {name}"
        );
    }
}

/// The name of the `format` file reached the disk and those of the directories beside it did not: the store could not be opened
/// any more, as only a store without `format` gets its directories made.
#[test]
fn a_store_with_its_format_has_its_directories() {
    let disk = Disk::new(1);
    settle(&disk, &["/", "/work"]);
    disk.record();
    Driver::open(&disk).unwrap();
    for snapshot in disk.recorded() {
        for crashed in all_crashes(&snapshot) {
            if let Err(error) = Driver::open(&crashed) {
                panic!("{error} at {:?}", snapshot.before);
            }
        }
    }
}

/// The creator died behind linking the first ref log; another process stored an object. The power went: the segment's name was on
/// the disk, the log's was not, and a store with segments and no log counts as damaged.
#[test]
fn the_first_segment_comes_after_the_log_is_durable() {
    let disk = Disk::new(1);
    settle(&disk, &["/", "/work"]);
    killed_while_creating(&disk, Operation::SyncDir, "refs");
    let (_process, store) = Driver::open(&disk).unwrap();
    put(&store, b"x");
    for crashed in all_crashes(&disk.snapshot()) {
        Driver::open(&crashed).unwrap();
    }
}

/// The name of an index was there, that of its segment was not, as after a loss of power. The next writer took the free number, whose index said
/// "sealed": what it acknowledged was not found.
#[test]
fn a_number_with_a_left_over_index_is_not_used_again() {
    let disk = Disk::new(1);
    let (process, store) = Driver::open(&disk).unwrap();
    for i in 0..3u8 {
        put(&store, &[i; 1800]);
    }
    let index = Path::new("/work/store/segments/0000000000000001.idx");
    assert!(disk.exists(index), "the first segment is full");
    process.remove(&index.with_extension("seg")).unwrap();
    let disk = disk.snapshot().after_kill();
    for name in [
        "segments/0000000000000002.seg",
        "segments/0000000000000002.idx",
        "control",
    ] {
        let _ = disk.process().remove(&Path::new("/work/store").join(name));
    }
    let (_process, store) = Driver::open(&disk).unwrap();
    let id = put(&store, b"new");
    assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), "new");
    let (_process, other) = Driver::open(&disk).unwrap();
    assert_eq!(other.get(Kind::Blob, &id).unwrap().unwrap(), "new");
}

/// A process made a segment's file and was stopped before it locked it. Another one found the file free, took it, stored an object,
/// was acknowledged and closed. Then the first went on, got the lock, and wrote its own batch over the other's.
#[test]
fn a_new_segment_that_somebody_used_meanwhile_is_theirs() {
    let disk = Disk::new(1);
    let (elsewhere, stored) = (disk.clone(), Arc::new(Mutex::new(None)));
    let note = Arc::clone(&stored);
    let meddle = move || {
        let (_process, store) = Driver::open(&elsewhere).unwrap();
        *note.lock().unwrap() = Some(put(&store, b"acknowledged"));
        store.close().unwrap();
    };
    let slow = Slow(
        disk.process(),
        Mutex::new(Some(Box::new(meddle))),
        |path| path.extension().is_some_and(|extension| extension == "seg"),
        false,
    );
    let store = FileStore::open(Arc::new(slow), Path::new("/work/store"), Driver::options()).unwrap();
    let own = put(&store, b"of the slow one");
    let id = stored.lock().unwrap().unwrap();
    let (_process, other) = Driver::open(&disk).unwrap();
    assert_eq!(other.get(Kind::Blob, &own).unwrap().unwrap(), "of the slow one");
    assert_eq!(other.get(Kind::Blob, &id).unwrap().unwrap(), "acknowledged");
}

/// A process made the file of its session and was stopped before it locked it. A collector found it free, took it for a dead one's and
/// removed it. Then the first went on, and no collector knew of its sections and pins.
#[test]
fn a_new_session_that_was_taken_for_a_dead_ones_is_made_again() {
    let disk = Disk::new(1);
    let (_process, other) = Driver::open(&disk).unwrap();
    put(&other, b"also garbage");
    let other = Arc::new(other);
    let collector = Arc::clone(&other);
    let meddle = move || {
        collect(&collector);
    };
    let slow = Slow(
        disk.process(),
        Mutex::new(Some(Box::new(meddle))),
        |path| path.parent().is_some_and(|parent| parent.ends_with("sessions")),
        false,
    );
    let store = FileStore::open(Arc::new(slow), Path::new("/work/store"), Driver::options()).unwrap();
    let section = store.section();
    let garbage = put(&other, b"garbage");
    assert!(collect(&other).gave_up.is_some(), "the section is known");
    let id = put(&other, b"pinned");
    let pin = store.pin(&id);
    drop(section);
    assert_eq!(collect(&other).gave_up, None);
    assert!(other.get(Kind::Blob, &garbage).unwrap().is_none());
    assert_eq!(other.get(Kind::Blob, &id).unwrap().unwrap(), "pinned");
    drop(pin);
}

/// A process died behind the seal of a ref log. The one that found the seal was stopped behind the creation of the temporary file for the next log.
/// Others made that log, went on to the one after it, took the temporary file for debris, and a collector removed the log that it was for. Then the
/// first went on, found neither, and told its caller that the store had been moved.
#[test]
fn a_next_log_that_others_made_and_left_meanwhile_is_no_failure() {
    let is_next = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("0000000000000002.tmp-") && path.parent().is_some_and(|parent| parent.ends_with("refs"))
    };
    let set = |store: &FileStore, number: u8| {
        let transaction = RefTransaction {
            puts: vec![(vec![b'k', number], Some(vec![number; 60]))],
            ..RefTransaction::default()
        };
        store.refs().commit(&transaction).unwrap();
    };
    let disk = Disk::new(1);
    let (dying, first) = Driver::open(&disk).unwrap();
    put(&first, b"x");
    let (_process, other) = Driver::open(&disk).unwrap();
    let other = Arc::new(other);
    let meddler = Arc::clone(&other);
    let meddle = move || {
        for number in 100..140 {
            set(&meddler, number);
        }
        assert!(meddler.refs().forget_before(u64::MAX).unwrap() > 0);
    };
    let slow = Slow(disk.process(), Mutex::new(Some(Box::new(meddle))), is_next, false);
    let store = FileStore::open(Arc::new(slow), Path::new("/work/store"), Driver::options()).unwrap();
    let dying = dying.id();
    disk.set_faults(move |call: &Call| {
        let here = call.process == dying && call.operation == Operation::Create && is_next(&call.path);
        if here { Fault::Kill } else { Fault::None }
    });
    assert!(until_killed(|| (0..40).for_each(|number| set(&first, number))).is_none());
    disk.clear_faults();
    let sealed = store.refs().scan(b"k").unwrap().len();
    assert!(sealed > 3 && !disk.exists(Path::new("/work/store/refs/0000000000000002.log")));
    let (_process, fresh) = Driver::open(&disk).unwrap();
    for store in [&store, &*other, &fresh] {
        assert_eq!(store.refs().scan(b"k").unwrap().len(), sealed);
        assert!(store.stats().unwrap().damage.is_empty());
    }
}

/// The same one, a moment slower: it had not begun to make the next log when the others made that, went on and removed it. The log that it made then was
/// no part of the chain, but stayed: scrubs said that its end was missing, and a collector that comes by reads every log in turn, and would have gone on
/// in it.
#[test]
fn a_next_log_that_is_made_too_late_goes_again() {
    let is_next: fn(&Path) -> bool = |path| path.to_string_lossy().contains("0000000000000002.tmp");
    let set = |store: &FileStore, number: u8| {
        let transaction = RefTransaction {
            puts: vec![(vec![b'k', number], Some(vec![number; 30]))],
            ..RefTransaction::default()
        };
        store.refs().commit(&transaction).unwrap();
    };
    let disk = Disk::new(1);
    let (_process, other) = Driver::open(&disk).unwrap();
    put(&other, b"x");
    let other = Arc::new(other);
    let meddler = Arc::clone(&other);
    let meddle = move || {
        for number in 100..140 {
            set(&meddler, number);
        }
        assert!(meddler.refs().forget_before(u64::MAX).unwrap() > 0);
    };
    let slow = Slow(disk.process(), Mutex::new(Some(Box::new(meddle))), is_next, true);
    let store = FileStore::open(Arc::new(slow), Path::new("/work/store"), Driver::options()).unwrap();
    for number in 0..40 {
        set(&store, number);
    }
    assert!(!disk.exists(Path::new("/work/store/refs/0000000000000002.log")));
    let (_process, fresh) = Driver::open(&disk).unwrap();
    assert_eq!(fresh.refs().scan(b"k").unwrap().len(), 80);
    assert!(fresh.scrub(&ScrubOptions::default()).unwrap().faults.is_empty());
}

/// Nothing lives but what is pinned.
struct Pins;

impl Mark for Pins {
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> pyi_cas::Result<()> {
        live.extend(pins);
        Ok(())
    }
}

fn collect(store: &FileStore) -> Collected {
    let options = CollectOptions {
        dead_share: 0.0,
        patience: Duration::ZERO,
        ..CollectOptions::default()
    };
    store.collect(&mut Pins, &options).unwrap()
}

/// A writer died behind its write and before it said how far it had come. Who opened the store then read the segment to its end, found the object
/// and relied on it; who had looked before went by what the dead one had last said, and missed it. A collector that missed a node
/// removed what was below it.
#[test]
fn what_a_dead_writer_did_not_announce_is_found_by_all() {
    let disk = Disk::new(1);
    let (dead, first) = Driver::open(&disk).unwrap();
    put(&first, b"announced");
    let (_process, other) = Driver::open(&disk).unwrap();
    put(&other, b"in a segment of its own");
    let (_process, reader) = Driver::open(&disk).unwrap();
    dead.kill();
    // What the segment would be had the write come through, from another future of this disk.
    let future = disk.snapshot().after_kill();
    let (_process, adopter) = Driver::open(&future).unwrap();
    let id = put(&adopter, b"written and not announced");
    let segment = Path::new("/work/store/segments/0000000000000001.seg");
    let mut bytes = Vec::new();
    future.decay(segment, |there| bytes.clone_from(there)).unwrap();
    assert_eq!(reader.get(Kind::Blob, &id).unwrap(), None);
    disk.decay(segment, |there| *there = bytes).unwrap();
    put(&other, b"something that is announced");
    assert!(reader.get(Kind::Blob, &id).unwrap().is_some());
}

/// One process stored something and set a ref; none of it was flushed. Another, which had never looked at the first one's segment, moved the ref on and
/// waited until that was durable. After a loss of power the first one's change did not count, as what it depends on was gone; so the ref had not
/// the value that the second change asks for, and what was acknowledged was lost.
#[test]
fn a_move_that_is_durable_stands_on_moves_that_are() {
    let disk = Disk::new(1);
    let (_process, second) = Driver::open(&disk).unwrap();
    put(&second, b"makes the second one look around");
    let (_process, first) = Driver::open(&disk).unwrap();
    put(&first, b"not flushed");
    let set = |store: &FileStore, guard: Guard, value: &[u8]| {
        let transaction = RefTransaction {
            guards: vec![(b"b/main".to_vec(), guard)],
            puts: vec![(b"b/main".to_vec(), Some(value.to_vec()))],
            ..RefTransaction::default()
        };
        assert_eq!(store.refs().commit(&transaction).unwrap(), RefOutcome::Done);
    };
    set(&first, Guard::Absent, b"1");
    set(&second, Guard::Equals(b"1".to_vec()), b"2");
    second.wait_durable().unwrap();
    let crashed = nothing_kept(&disk.snapshot());
    let (_process, store) = Driver::open(&crashed).unwrap();
    assert_eq!(store.refs().get(b"b/main").unwrap().unwrap(), "2");
}

/// A writer died. Somebody knew its segment as one that is not durable; a collector sealed it, copied it and removed it. The one that knew it noted in
/// its next change of refs that this depends on the segment, and waited until the change was durable. After a loss of power the segment was
/// not there, so the change did not count.
#[test]
fn a_durable_move_depends_on_no_segment_that_a_collector_removed() {
    let disk = Disk::new(1);
    let (dead, first) = Driver::open(&disk).unwrap();
    let id = put(&first, b"of the dead");
    let (_process, second) = Driver::open(&disk).unwrap();
    assert!(second.contains(&id).unwrap());
    dead.kill();
    let (_process, collector) = Driver::open(&disk).unwrap();
    let pin = collector.pin(&id);
    let options = CollectOptions {
        compact: true,
        ..CollectOptions::default()
    };
    assert_eq!(collector.collect(&mut Pins, &options).unwrap().segments_removed, 1);
    let transaction = RefTransaction {
        puts: vec![(b"b/main".to_vec(), Some(id.0.to_vec()))],
        ..RefTransaction::default()
    };
    second.refs().commit(&transaction).unwrap();
    second.wait_durable().unwrap();
    drop(pin);
    let crashed = nothing_kept(&disk.snapshot());
    let (_process, store) = Driver::open(&crashed).unwrap();
    assert_eq!(store.refs().get(b"b/main").unwrap().unwrap(), id.0[..]);
    assert_eq!(store.get(Kind::Blob, &id).unwrap().unwrap(), "of the dead");
}

/// A collector left a ref log for a new one. Another process, which had not looked since, was asked to flush: it sealed the log that it knew, found the
/// new one, took it for one that had just been made and flushed, and said that all was durable.
#[test]
fn a_flush_by_one_that_has_not_looked_for_long_covers_what_others_did() {
    let disk = Disk::new(1);
    let (_process, first) = Driver::open(&disk).unwrap();
    let set = |value: &[u8]| {
        let transaction = RefTransaction {
            puts: vec![(b"b/main".to_vec(), Some(value.to_vec()))],
            ..RefTransaction::default()
        };
        first.refs().commit(&transaction).unwrap();
    };
    put(&first, b"garbage");
    set(b"1");
    let (_process, second) = Driver::open(&disk).unwrap();
    assert!(second.refs().get(b"b/main").unwrap().is_some());
    assert_eq!(collect(&first).segments_removed, 1);
    set(b"2");
    second.flush().unwrap();
    let crashed = nothing_kept(&disk.snapshot());
    let (_process, store) = Driver::open(&crashed).unwrap();
    assert_eq!(store.refs().get(b"b/main").unwrap().unwrap(), "2");
}

/// A writer died on its way to its first object and left a new segment of which nobody was told. Who opened the store then found it, and its change of
/// refs depended on it. A process that had looked before was asked to flush: nobody had said that there was anything new, so it flushed the change
/// and not the segment, and said that all was durable. After a loss of power the change did not count.
#[test]
fn a_flush_covers_what_a_dead_writer_left_and_told_nobody() {
    let mut deaths = 0;
    for fatal in 0.. {
        let disk = Disk::new(1);
        let (_process, flusher) = Driver::open(&disk).unwrap();
        put(&flusher, b"makes it look around");
        flusher.flush().unwrap();
        let (dying, first) = Driver::open(&disk).unwrap();
        let (dying, mut call) = (dying.id(), 0);
        disk.set_faults(move |here: &Call| {
            call += u64::from(here.process == dying);
            if call > fatal { Fault::Kill } else { Fault::None }
        });
        let lived = until_killed(|| put(&first, b"never announced")).is_some();
        disk.clear_faults();
        if lived {
            break;
        }
        deaths += 1;
        let (_process, third) = Driver::open(&disk).unwrap();
        let transaction = RefTransaction {
            puts: vec![(b"b/main".to_vec(), Some(b"1".to_vec()))],
            ..RefTransaction::default()
        };
        third.refs().commit(&transaction).unwrap();
        flusher.flush().unwrap();
        let crashed = nothing_kept(&disk.snapshot());
        let (_process, store) = Driver::open(&crashed).unwrap();
        let found = store.refs().get(b"b/main").unwrap();
        assert_eq!(found.as_deref(), Some(&b"1"[..]), "killed in call {fatal}");
    }
    assert!(deaths > 5, "{deaths}");
}

/// Whoever sealed a segment died behind the index and before the names in the directory were durable. Who saw the index took the segment for durable, so
/// a change of refs did not depend on it. A loss of power kept the change and took the segment's name.
#[test]
fn a_segment_with_an_index_is_durable() {
    let mut deaths = 0;
    for fatal in 0.. {
        let mut lived = false;
        for fault in [Fault::Kill, Fault::KillHalf] {
            let disk = Disk::new(1);
            let (dying, first) = Driver::open(&disk).unwrap();
            let id = put(&first, b"sealed");
            let pin = first.pin(&id);
            let (dying, mut call) = (dying.id(), 0);
            disk.set_faults(move |here: &Call| {
                call += u64::from(here.process == dying);
                if call > fatal { fault } else { Fault::None }
            });
            lived |= until_killed(|| collect(&first)).is_some();
            disk.clear_faults();
            let (_process, other) = Driver::open(&disk).unwrap();
            let transaction = RefTransaction {
                puts: vec![(b"b/main".to_vec(), Some(id.0.to_vec()))],
                ..RefTransaction::default()
            };
            other.refs().commit(&transaction).unwrap();
            for crashed in all_crashes(&disk.snapshot()) {
                let (_process, store) = Driver::open(&crashed).unwrap();
                let named = store.refs().get(b"b/main").unwrap();
                assert!(
                    named.is_none() || store.get(Kind::Blob, &id).unwrap().is_some(),
                    "killed in call {fatal}, {fault:?}"
                );
            }
            drop(pin);
        }
        if lived {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 10, "{deaths}");
}

/// A loss of power took the end of a ref log; the opener went on in a new one and left the old one without a seal. Every scrub then said that the old one
/// had been cut off.
#[test]
fn what_a_loss_of_power_took_is_no_fault_for_a_scrub() {
    let (snapshots, _model) = record(&script(), 8);
    let choose = Subsets {
        all_up_to: 3,
        samples: 8,
    };
    let (mut rng, mut left_open) = (Rng::new(3), 0);
    for snapshot in &snapshots {
        for fates in choose.fates(snapshot.changes(), &mut rng) {
            let disk = snapshot.crash(&fates);
            let (_process, store) = Driver::open(&disk).unwrap();
            for round in 0..2 {
                let scrubbed = store.scrub(&ScrubOptions::default()).unwrap();
                let in_log = |fault: &pyi_cas::Fault| matches!(fault.file, StoreFile::RefLog(_));
                let what = || format!("{:?}, {fates:?}, round {round}: {scrubbed:?}", snapshot.before);
                assert!(!scrubbed.faults.iter().any(in_log), "{}", what());
                put(&store, b"on");
            }
            left_open += u64::from(!store.stats().unwrap().lost_refs.is_empty());
        }
    }
    assert!(left_open > 10, "{left_open}");
}

/// What two processes share is in the script; here is the plain thing that all of it stands on.
#[test]
fn what_was_not_flushed_may_go_and_the_store_goes_on() {
    let (snapshots, model) = record(&script(), 5);
    let last = snapshots.last().unwrap();
    recover(&nothing_kept(last), &model, model.after_crash(model.len())).unwrap();
    recover(&last.after_kill(), &model, model.after_kill(model.len())).unwrap();
}
