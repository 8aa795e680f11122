//! Power loss at every I/O: what was acknowledged before a flush that returned is there, whatever of the rest reached the disk; the store
//! opens and goes on; no wrong bytes; no ref names an object that is missing; what was merely not flushed is not called damage.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use pyi_testing::{Call, Disk, Driver, Fate, Fault, Operation, Rng, Step, Subsets, steps};

/// Crash states of the soak.
const SOAK_STATES: u64 = 300_000;

#[test]
fn at_every_io_of_the_script_and_of_its_recovery() {
    let (snapshots, model) = record(&script(), 1);
    let choose = Subsets {
        all_up_to: 6,
        samples: 90,
    };
    let count = crash_everywhere(&snapshots, &model, choose, 61, &mut Rng::new(2));
    println!("{} snapshots, {count:?}", snapshots.len());
    assert!(count.states > 20_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn at_every_io_of_any_history(steps in steps(20), seed in any::<u64>()) {
        let (snapshots, model) = record(&steps, seed);
        let choose = Subsets {
            all_up_to: 2,
            samples: 5,
        };
        crash_everywhere(&snapshots, &model, choose, 211, &mut Rng::new(seed));
    }
}

/// All subsets up to 12 unflushed changes, samples above, over histories until enough states were seen. The seed of each is printed.
#[test]
#[ignore = "soak: minutes"]
fn soak() {
    let mut seed = 1;
    let (snapshots, model) = record(&script(), seed);
    let choose = Subsets {
        all_up_to: 12,
        samples: 100,
    };
    let mut states = crash_everywhere(&snapshots, &model, choose, 31, &mut Rng::new(seed)).states;
    while states < SOAK_STATES {
        seed += 1;
        println!("seed {seed}, {states} states so far");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let history = steps(40).new_tree(&mut runner).unwrap().current();
        let (snapshots, model) = record(&history, seed);
        let choose = Subsets {
            all_up_to: 4,
            samples: 16,
        };
        states += crash_everywhere(&snapshots, &model, choose, 101, &mut Rng::new(seed)).states;
    }
    println!("{states} states");
}

/// Linux forgets what a failed flush should have written: the next flush works and writes nothing of it. So what the flush should have covered
/// is written again elsewhere, and the flush of that is what is answered.
#[test]
fn a_failed_flush_is_made_good_elsewhere() {
    let disk = Disk::new(1);
    let mut driver = Driver::new(&disk, 1);
    for step in [commit(0, 1, 100), moved(0, 1), commit(0, 2, 50)] {
        driver.run(step).unwrap();
    }
    let mut failures = 2;
    disk.set_faults(move |call: &Call| {
        if failures > 0 && call.operation == Operation::SyncData {
            failures -= 1;
            return Fault::FlushLost(5);
        }
        Fault::None
    });
    // The copy's flush fails as well: an error, and the next one starts again from what is known.
    let failed = driver.run(Step::Flush { who: 0 });
    assert_eq!(failed.unwrap_err().errno(), Some(5));
    driver.run(Step::Flush { who: 0 }).unwrap();
    let snapshot = disk.snapshot();
    let crashed = snapshot.crash(&vec![Fate::Dropped; snapshot.changes()]);
    recover(&crashed, &driver.model, driver.model.after_crash(driver.model.len())).unwrap();
}
