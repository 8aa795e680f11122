//! Shared by the tests: the scripted history that passes every kind of I/O, and what an opener must find after a failure.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod garbage;
pub mod seeds;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyi_cas::ObjectStore;
use pyi_testing::{Disk, Driver, Expectation, Found, Model, Rng, Snapshot, Step, Subsets};

pub fn commit(who: usize, blobs: usize, bytes: usize) -> Step {
    Step::Commit { who, blobs, bytes }
}

pub fn moved(who: usize, key: u8) -> Step {
    Step::Move { who, key }
}

/// Creation, commits, ref commits, seals, rotations, flushes, a death, an adoption, two writers beside each other.
pub fn script() -> Vec<Step> {
    let mut steps = vec![Step::Reopen { who: 0 }];
    for round in 0..3 {
        steps.extend([commit(0, 2, 300), moved(0, round), commit(0, 1, 900), moved(0, 0)]);
    }
    steps.extend([Step::Flush { who: 0 }, commit(0, 2, 700), moved(0, 1), moved(0, 2)]);
    steps.extend([commit(1, 2, 500), moved(1, 1), commit(0, 1, 60), moved(0, 2)]);
    steps.extend([
        Step::Flush { who: 1 },
        commit(1, 1, 100),
        moved(1, 3),
        Step::Kill { who: 0 },
    ]);
    steps.extend([commit(0, 3, 200), moved(0, 0), commit(1, 3, 1100), moved(1, 2)]);
    steps.extend([
        Step::Reopen { who: 0 },
        commit(0, 2, 1500),
        moved(0, 3),
        Step::Flush { who: 0 },
    ]);
    steps.extend([commit(1, 1, 10), moved(1, 0), commit(0, 1, 10), moved(0, 1)]);
    steps
}

/// Opens the store after a failure, compares, and uses it with two writers: all of it must work. Returns what was found and
/// the model with what was done since.
pub fn recover(disk: &Disk, model: &Model, expected: Expectation) -> Result<(Found, Model), String> {
    let work = || {
        let (_process, store) = Driver::open(disk).map_err(|error| format!("does not open: {error}"))?;
        let found = model.check(&store, expected)?;
        if !expected.dangling {
            let damage = store.stats().map_err(|error| error.to_string())?.damage;
            if !damage.is_empty() {
                return Err(format!("damage: {damage:?}"));
            }
        }
        let mut settled = model.clone();
        settled.settle(&found);
        let mut driver = Driver::resume(disk, settled, 77);
        for step in [
            commit(0, 1, 40),
            moved(0, 0),
            commit(1, 2, 40),
            moved(1, 1),
            Step::Flush { who: 1 },
        ] {
            driver.run(step).map_err(|error| format!("{step:?}: {error}"))?;
        }
        let mut sure = driver.model.after_kill(driver.model.len());
        sure.dangling = expected.dangling;
        for who in 0..2 {
            let store = driver.store(who).ok_or("no store")?;
            driver
                .model
                .check(store, sure)
                .map_err(|error| format!("afterwards, in {who}: {error}"))?;
        }
        Ok((found, driver.model))
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("panicked".into()))
}

/// What a run over crash states counted.
#[derive(Default, Debug)]
pub struct Count {
    pub states: u64,
    pub dangling: u64,
    pub refs: u64,
}

/// Takes the power away at every I/O that was recorded, with the chosen losses, and recovers; every `nested`-th time also at every
/// I/O of the recovery.
pub fn crash_everywhere(snapshots: &[Snapshot], model: &Model, choose: Subsets, nested: u64, rng: &mut Rng) -> Count {
    let mut count = Count::default();
    for snapshot in snapshots {
        let expected = model.after_crash(snapshot.mark as usize);
        for fates in choose.fates(snapshot.changes(), rng) {
            let disk = snapshot.crash(&fates);
            let again = nested > 0 && count.states % nested == 0;
            if again {
                disk.record();
            }
            count.states += 1;
            let (found, after) = recover(&disk, model, expected)
                .unwrap_or_else(|error| panic!("{error}\nat {:?}, mark {}, {fates:?}", snapshot.before, snapshot.mark));
            count.dangling += found.dangling as u64;
            count.refs += found.refs.len() as u64;
            if !again {
                continue;
            }
            for inner in disk.recorded() {
                // Before the first open is through nothing new is known.
                let (model, expected) = match inner.mark {
                    0 => (model, expected),
                    mark => (&after, after.after_crash(mark as usize)),
                };
                let few = Subsets {
                    all_up_to: 2,
                    samples: 5,
                };
                for inner_fates in few.fates(inner.changes(), rng) {
                    count.states += 1;
                    recover(&inner.crash(&inner_fates), model, expected).unwrap_or_else(|error| {
                        panic!(
                            "{error}\nat {:?}, mark {}, {fates:?}, then at {:?}, mark {}, {inner_fates:?}",
                            snapshot.before, snapshot.mark, inner.before, inner.mark
                        )
                    });
                }
            }
        }
    }
    count
}

/// Runs the steps on a new disk that takes snapshots.
pub fn record(steps: &[Step], seed: u64) -> (Vec<Snapshot>, Model) {
    let disk = Disk::new(seed);
    disk.record();
    let mut driver = Driver::new(&disk, seed);
    for step in steps {
        driver.run(*step).unwrap();
    }
    (disk.recorded(), driver.model)
}
