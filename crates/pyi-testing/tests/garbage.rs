//! Garbage collection on the simulated disk: whatever happens in the middle of one, nothing that lives is lost, and the next one leaves
//! exactly what lives.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::garbage::*;
use common::seeds::seeds;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use pyi_cas::{Error, ObjectStore, ScrubOptions};
use pyi_testing::{Call, Disk, Driver, Fate, Fault, Rng, Snapshot, Subsets, until_killed};

/// Much garbage, some of it between what lives, copies of one object in two segments, refs that moved since the last flush.
fn script() -> Vec<Op> {
    let mut ops = Vec::new();
    for blob in 0..BLOBS {
        let then = match blob % 5 {
            0 => Then::Ref(blob as u8 / 5),
            1 => Then::Pin,
            _ => Then::Nothing,
        };
        ops.push(Op::Store {
            who: blob % 2,
            blob,
            then,
        });
    }
    ops.push(Op::Flush { who: 0 });
    ops.extend([
        Op::Store {
            who: 1,
            blob: 7,
            then: Then::Ref(0),
        },
        Op::Store {
            who: 0,
            blob: 2,
            then: Then::Ref(1),
        },
        Op::Unpin { nth: 0 },
    ]);
    ops
}

fn prepared(seed: u64) -> (Disk, World) {
    let disk = Disk::new(seed);
    let mut world = World::new(&disk);
    for op in script() {
        world.run(op);
    }
    (disk, world)
}

/// What a new process finds, and a collection by it. Pins died with their processes.
fn recover(disk: &Disk, model: &World) -> Result<(), String> {
    let mut world = model.survived_by_nobody(disk);
    world.check_fallen_back()?;
    world.collect(0, Vec::new())?;
    world.check()?;
    disk.set_mark(1);
    world.run(Op::Store {
        who: 1,
        blob: 3,
        then: Then::Ref(3),
    });
    world.check()?;
    world.check_exact()
}

#[test]
fn a_power_loss_at_every_io() {
    let (disk, mut world) = prepared(1);
    disk.record();
    world.collect(0, Vec::new()).unwrap();
    world.run(Op::Store {
        who: 0,
        blob: 9,
        then: Then::Nothing,
    });
    let snapshots = disk.recorded();
    let mut rng = Rng::new(5);
    let mut states = 0;
    for snapshot in &snapshots {
        let choose = Subsets {
            all_up_to: 6,
            samples: 40,
        };
        for fates in choose.fates(snapshot.changes(), &mut rng) {
            let crashed = snapshot.crash(&fates);
            states += 1;
            let nested = states % 67 == 0;
            if nested {
                crashed.record();
            }
            recover(&crashed, &world).unwrap_or_else(|error| panic!("{error}\nat {:?}, {fates:?}", snapshot.before));
            if nested {
                states += nested_losses(&crashed.recorded(), &world, &mut rng);
            }
        }
    }
    println!("{} snapshots, {states} states", snapshots.len());
    assert!(states > 2_000);
}

fn nested_losses(snapshots: &[Snapshot], world: &World, rng: &mut Rng) -> u64 {
    let mut states = 0;
    // What the recovery itself did with refs ends the comparison.
    for snapshot in snapshots.iter().filter(|snapshot| snapshot.mark == 0) {
        let few = Subsets {
            all_up_to: 1,
            samples: 4,
        };
        for fates in few.fates(snapshot.changes(), rng) {
            states += 1;
            recover(&snapshot.crash(&fates), world)
                .unwrap_or_else(|error| panic!("{error}\nin a recovery, at {:?}, {fates:?}", snapshot.before));
        }
    }
    states
}

/// Lets call number `nth` from now on go wrong.
fn fault_at(disk: &Disk, nth: u64, fault: Fault, process: Option<u64>) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    disk.set_faults(move |call: &Call| {
        if process.is_some_and(|process| process != call.process) {
            return Fault::None;
        }
        let now = counter.fetch_add(1, Ordering::Relaxed);
        if now == nth { fault } else { Fault::None }
    });
    count
}

#[test]
fn a_death_at_every_call() {
    for fault in [Fault::Kill, Fault::KillHalf] {
        for nth in 0.. {
            let (disk, mut world) = prepared(2);
            fault_at(&disk, nth, fault, None);
            // The other one dedups and moves refs meanwhile.
            let plan = vec![vec![
                Op::Store {
                    who: 1,
                    blob: 12,
                    then: Then::Nothing,
                },
                Op::Store {
                    who: 1,
                    blob: 13,
                    then: Then::Pin,
                },
            ]];
            let ended = until_killed(|| world.collect(0, plan.clone()));
            disk.clear_faults();
            if let Some(ended) = ended {
                ended.unwrap();
                break;
            }
            let at = || format!("{fault:?} at call {nth}");
            // Whoever lives goes on, and the next collector cleans up.
            world.bury();
            world.check().unwrap_or_else(|error| panic!("{error}\n{}", at()));
            let who = usize::from(world.lives(1));
            world.run(Op::Store {
                who,
                blob: 17,
                then: Then::Ref(2),
            });
            world
                .collect(who, Vec::new())
                .unwrap_or_else(|error| panic!("{error}\n{}", at()));
            world.check().unwrap_or_else(|error| panic!("{error}\n{}", at()));
            world.check_exact().unwrap_or_else(|error| panic!("{error}\n{}", at()));
            assert_eq!(world.leftovers(), Vec::<String>::new(), "{}", at());
        }
    }
}

#[test]
fn an_error_at_every_call() {
    for fault in [
        Fault::Error(libc::EIO),
        Fault::Error(libc::ENOSPC),
        Fault::HalfThenError(libc::ENOSPC),
        Fault::Error(libc::EINTR),
        Fault::Short,
    ] {
        for nth in 0.. {
            let (disk, mut world) = prepared(3);
            let collector = world.process(0);
            let count = fault_at(&disk, nth, fault, Some(collector));
            match world.try_collect(0, Vec::new()) {
                Ok(_) => {}
                Err(error @ Error::Storage { .. }) if error.errno().is_some() => {}
                Err(error) => panic!("{error:?}\n{fault:?} at call {nth}"),
            }
            disk.clear_faults();
            let at = || format!("{fault:?} at call {nth}");
            world.check().unwrap_or_else(|error| panic!("{error}\n{}", at()));
            world
                .collect(1, Vec::new())
                .unwrap_or_else(|error| panic!("{error}\n{}", at()));
            world.check().unwrap_or_else(|error| panic!("{error}\n{}", at()));
            world.check_exact().unwrap_or_else(|error| panic!("{error}\n{}", at()));
            if count.load(Ordering::Relaxed) <= nth {
                break;
            }
        }
    }
}

/// The collection went by, and the other process cannot find out what was removed: it relies on nothing, or stores nothing.
#[test]
fn an_error_while_following() {
    for (begun, first) in [(false, 1), (true, 1), (true, 5), (true, 9)] {
        for nth in 0.. {
            let (disk, mut world) = prepared(4);
            if begun {
                drop(world.store(1).section());
            }
            world.run(Op::UnpinAll);
            world.collect(0, Vec::new()).unwrap();
            let count = fault_at(&disk, nth, Fault::Error(libc::EIO), Some(world.process(1)));
            // One for each ref, so that all of them are live at the end.
            for blob in first..first + 4 {
                world.try_store(1, blob, Then::Ref(blob as u8 % 4)).ok();
            }
            disk.clear_faults();
            world.reread();
            world
                .check()
                .unwrap_or_else(|error| panic!("{error}\nat call {nth} of the one that follows"));
            if count.load(Ordering::Relaxed) <= nth {
                break;
            }
        }
    }
}

/// A process that stands still within a section keeps the collector from removing anything, and hurts nobody else.
#[test]
fn a_stopped_process() {
    let (_disk, mut world) = prepared(6);
    world.run(Op::Hold { who: 1, blob: 4 });
    let refused = world.try_collect(0, Vec::new()).unwrap();
    assert!(refused.gave_up.is_some());
    assert_eq!(refused.segments_removed, 0);
    world.check().unwrap();
    world.run(Op::Finish {
        who: 1,
        then: Then::Ref(0),
    });
    world.collect(0, Vec::new()).unwrap();
    world.check().unwrap();
    world.check_exact().unwrap();
}

/// The ref log is flushed and goes on in a new file before anything is removed: no older value comes back whose object is gone.
#[test]
fn no_ref_falls_back_to_what_was_removed() {
    let (disk, mut world) = prepared(7);
    world.run(Op::UnpinAll);
    world.collect(0, Vec::new()).unwrap();
    let snapshot = disk.snapshot();
    let crashed = snapshot.crash(&vec![Fate::Dropped; snapshot.changes()]);
    let world = world.survived_by_nobody(&crashed);
    world.check().unwrap();
    let (_process, store) = Driver::open(&crashed).unwrap();
    assert!(store.stats().unwrap().damage.is_empty());
}

/// A history of two processes, held against the model after every step; at the end only what lives is left, and a scrub finds nothing.
fn history(steps: Vec<Act>, seed: u64) -> Result<(), TestCaseError> {
    let disk = Disk::new(seed);
    let mut world = World::new(&disk);
    for step in steps {
        match step {
            Act::Op(op) => world.run(op),
            Act::Collect(who, plan) => {
                let done = world.collect(who, plan.clone());
                prop_assert!(done.is_ok(), "{:?}", done);
            }
        }
        let checked = world.check();
        prop_assert!(checked.is_ok(), "{:?}", checked);
    }
    world.run(Op::FinishAll);
    world.run(Op::UnpinAll);
    let exact = world.check_exact();
    prop_assert!(exact.is_ok(), "{:?}", exact);
    let (_process, store) = Driver::open(&disk).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let scrubbed = store.scrub(&ScrubOptions::default());
    prop_assert!(
        scrubbed.as_ref().is_ok_and(|found| found.faults.is_empty()),
        "{:?}",
        scrubbed
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_history(steps in histories(30), seed in any::<u64>()) {
        history(steps, seed)?;
    }
}

/// A million histories, in thousands with a seed each, which is printed.
#[test]
#[ignore = "soak: about 20 minutes"]
fn soak() {
    for seed in seeds(0..1_000) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = ProptestConfig {
            cases: 1_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let done = runner.run(&(histories(30), any::<u64>()), |(steps, seed)| history(steps, seed));
        assert!(done.is_ok(), "seed {seed}: {done:?}");
        println!("seed {seed}: 1,000 histories, 0 disagreements");
    }
}
