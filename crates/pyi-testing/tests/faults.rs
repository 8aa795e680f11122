//! EIO, ENOSPC, EINTR and short transfers at every call: a typed error with its errno, nothing acknowledged lost, nothing refused
//! applied, the store goes on, opens again, and what a later flush acknowledged survives a power loss.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use pyi_cas::{Error, FileStore, Kind, ObjectStore, RefOutcome, RefTransaction};
use pyi_testing::{Call, Disk, Driver, Event, Fault, Operation, Rng, Subsets};

/// Runs the script with a fault at call `nth` (`stays`: from there on at every call that changes something, for a while).
/// Returns whether the call was reached.
fn run(nth: u64, fault: Fault, stays: u64) -> Result<bool, String> {
    let disk = Disk::new(3);
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    disk.set_faults(move |call: &Call| {
        let now = counter.fetch_add(1, Ordering::Relaxed);
        let hit = now == nth || (now > nth && now < nth + stays && call.operation.changes());
        if hit { fault } else { Fault::None }
    });
    let mut driver = Driver::new(&disk, 3);
    for step in script() {
        match driver.run(step) {
            Ok(()) => {}
            Err(error @ (Error::Storage { .. } | Error::OutcomeUnknown { .. })) if error.errno().is_some() => {}
            Err(error) => return Err(format!("{step:?}: {error:?}")),
        }
    }
    disk.clear_faults();
    let model = &driver.model;
    for who in 0..2 {
        let Some(store) = driver.store(who) else { continue };
        model
            .check(store, model.after_kill(model.len()))
            .map_err(|error| format!("in {who}: {error}"))?;
    }
    let snapshot = disk.snapshot();
    recover(&snapshot.after_kill(), model, model.after_kill(model.len()))?;
    let few = Subsets {
        all_up_to: 1,
        samples: 3,
    };
    for fates in few.fates(snapshot.changes(), &mut Rng::new(nth)) {
        recover(&snapshot.crash(&fates), model, model.after_crash(model.len()))
            .map_err(|error| format!("after a power loss: {error}"))?;
    }
    Ok(count.load(Ordering::Relaxed) > nth)
}

fn at_every_call(fault: Fault, stays: u64) {
    for nth in 0.. {
        match run(nth, fault, stays) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => panic!("{error}\n{fault:?} at call {nth}"),
        }
    }
}

#[test]
fn one_error_at_every_call() {
    at_every_call(Fault::Error(libc::EIO), 0);
    at_every_call(Fault::Error(libc::EINTR), 0);
}

#[test]
fn a_short_transfer_at_every_call() {
    at_every_call(Fault::Short, 0);
    at_every_call(Fault::HalfThenError(libc::ENOSPC), 0);
}

#[test]
fn a_disk_that_is_full_for_a_while() {
    at_every_call(Fault::Error(libc::ENOSPC), 40);
}

/// Flushes that fail once and forget what they should have written: what a later flush acknowledged is on the disk all the same.
#[test]
fn a_failed_flush_at_every_call() {
    at_every_call(Fault::FlushLost(libc::EIO), 0);
    at_every_call(Fault::FlushLost(libc::EIO), 25);
}

/// Bits that flip, sectors that are old, reads that go astray: an object is right, missing or an error, never wrong.
#[test]
fn a_bad_read_never_gives_wrong_bytes() {
    let (snapshots, model) = record(&script(), 4);
    let snapshot = snapshots.last().unwrap();
    for fault in [
        Fault::Flip(7),
        Fault::Flip(70_001),
        Fault::Stale,
        Fault::Misdirected(512),
        Fault::Misdirected(8),
    ] {
        for nth in 0..400 {
            let disk = snapshot.after_kill();
            disk.set_faults(move |call: &Call| {
                let read = matches!(call.operation, Operation::Read | Operation::MapReadonly);
                if read && call.index >= nth && call.index % 3 == nth % 3 {
                    fault
                } else {
                    Fault::None
                }
            });
            let Ok((_process, store)) = Driver::open(&disk) else {
                continue;
            };
            for (event, _) in model.events() {
                let Event::Commit(objects) = event else { continue };
                for (id, content) in objects {
                    if let Ok(Some(bytes)) = store.get(Kind::Blob, id) {
                        assert_eq!(bytes, content[..], "{fault:?} from call {nth}");
                    }
                }
            }
        }
    }
}

/// A change of refs is one append where nobody appended in between, and is read back where somebody did.
#[test]
fn a_change_of_refs_is_one_call() {
    let disk = Disk::new(1);
    let (own, store) = Driver::open(&disk).unwrap();
    let (_other, another) = Driver::open(&disk).unwrap();
    let set = |store: &FileStore, key: &str| {
        let transaction = RefTransaction {
            puts: vec![(key.into(), Some(b"1".to_vec()))],
            ..RefTransaction::default()
        };
        assert_eq!(store.refs().commit(&transaction).unwrap(), RefOutcome::Done);
    };
    let calls = |key: &str| {
        let before = disk.calls(own.id());
        set(&store, key);
        disk.calls(own.id()) - before
    };
    calls("first");
    assert_eq!((calls("a"), calls("b")), (1, 1));
    set(&another, "theirs");
    assert!(calls("c") > 1);
    assert_eq!(calls("d"), 1);
    for key in ["a", "b", "c", "d", "theirs"] {
        assert!(store.refs().get(key.as_bytes()).unwrap().is_some(), "{key}");
        assert!(another.refs().get(key.as_bytes()).unwrap().is_some(), "{key}");
    }
}
