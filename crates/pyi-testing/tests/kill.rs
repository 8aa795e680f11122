//! kill -9 at every I/O: a process dies and the cache stays. What was acknowledged is there, nothing is half-applied, no ref names
//! a missing object, the other process goes on, and the store opens; also when the recovery is killed at each of its own calls.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use proptest::prelude::*;
use pyi_cas::{Batch, Kind, ObjectStore};
use pyi_testing::{Call, Disk, Driver, Fault, Model, Step, steps, until_killed};

/// Lets the call number `nth` of all processes go wrong.
fn fault_at(disk: &Disk, nth: u64, fault: Fault) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    disk.set_faults(move |_: &Call| {
        let now = counter.fetch_add(1, Ordering::Relaxed);
        if now == nth { fault } else { Fault::None }
    });
    count
}

/// Runs the steps with a death in call `nth`; `None` if they end before it.
fn run_killed(steps: &[Step], seed: u64, nth: u64, fault: Fault) -> Option<(Disk, Driver)> {
    let disk = Disk::new(seed);
    fault_at(&disk, nth, fault);
    let mut driver = Driver::new(&disk, seed);
    let ended = until_killed(|| steps.iter().for_each(|step| driver.run(*step).unwrap()));
    disk.clear_faults();
    ended.is_none().then_some((disk, driver))
}

/// Checks what a death left: the survivors, an opener, and the store's use; then the same with the opener killed at some of
/// its calls. Returns the states looked at.
fn check_death(disk: &Disk, driver: &Driver, offset: u64, stride: u64) -> Result<u64, String> {
    let model: &Model = &driver.model;
    let expected = model.after_kill(model.len() - 1);
    for who in 0..2 {
        let (Some(store), Some(process)) = (driver.store(who), driver.process_id(who)) else {
            continue;
        };
        if !disk.is_dead(process) {
            model
                .check(store, expected)
                .map_err(|error| format!("survivor: {error}"))?;
            let mut batch = Batch::new();
            let id = batch
                .put_new(Kind::Blob, b"of the survivor")
                .map_err(|error| error.to_string())?;
            store.commit(&mut batch).map_err(|error| format!("survivor: {error}"))?;
            if !store.contains(&id).map_err(|error| error.to_string())? {
                return Err("the survivor lost its own".into());
            }
        }
    }
    let snapshot = disk.snapshot();
    recover(disk, model, expected)?;
    let mut states = 1;
    let mut nth = offset;
    loop {
        let again = snapshot.after_kill();
        let fault = if nth.is_multiple_of(2) {
            Fault::Kill
        } else {
            Fault::KillHalf
        };
        let count = fault_at(&again, nth, fault);
        let mut after: Option<Driver> = None;
        let died = until_killed(|| {
            let (_process, store) = Driver::open(&again).unwrap();
            let mut settled = model.clone();
            settled.settle(&model.check(&store, expected).unwrap());
            let driver = after.insert(Driver::resume(&again, settled, nth));
            for step in [
                commit(0, 2, 900),
                moved(0, 0),
                commit(0, 1, 2000),
                moved(0, 1),
                Step::Flush { who: 0 },
            ] {
                driver.run(step).unwrap();
            }
        });
        again.clear_faults();
        // Before the opener has looked, nothing more is known than before it.
        let (known, expected) = match &after {
            None => (model, expected),
            Some(driver) => {
                let done = driver.model.len() - usize::from(died.is_none() && driver.in_event());
                (&driver.model, driver.model.after_kill(done))
            }
        };
        recover(&again, known, expected).map_err(|error| format!("recovery killed at {nth}: {error}"))?;
        states += 1;
        if nth >= count.load(Ordering::Relaxed) {
            return Ok(states);
        }
        nth += stride;
    }
}

#[test]
fn at_every_io_of_the_script_and_of_its_recovery() {
    let mut states = 0;
    for fault in [Fault::Kill, Fault::KillHalf] {
        for nth in 0.. {
            let Some((disk, driver)) = run_killed(&script(), 1, nth, fault) else {
                break;
            };
            states += check_death(&disk, &driver, nth % 17, 17)
                .unwrap_or_else(|error| panic!("{error}\n{fault:?} at call {nth}"));
        }
    }
    println!("{states} states");
    assert!(states > 5_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn at_some_io_of_any_history(steps in steps(24), seed in any::<u64>(), half in any::<bool>()) {
        let fault = if half { Fault::KillHalf } else { Fault::Kill };
        for nth in (seed % 13..).step_by(13) {
            let Some((disk, driver)) = run_killed(&steps, seed, nth, fault) else { break };
            check_death(&disk, &driver, nth % 41, 41).unwrap_or_else(|error| panic!("{error}\n{fault:?} at call {nth}"));
        }
    }
}
