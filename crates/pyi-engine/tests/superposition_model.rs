//! Superpositions against a model: random histories of everything that can be done to them, by two processes (two repositories
//! opened on one store) of which one or the other dies now and then. There is always one winner, no candidate is lost before the
//! collapse, and none is kept after it.
//!
//! `PYI_HISTORIES=100000 PYI_SEED=1 cargo nextest run --release -p pyi-engine --test superposition_model` runs more of them; a
//! failure names its seed, and `PYI_HISTORIES=1 PYI_SEED=<that>` runs it alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

#[path = "superposition_model/check.rs"]
mod check;
#[path = "superposition_model/decide.rs"]
mod decide;
#[path = "superposition_model/model.rs"]
mod model;
#[path = "superposition_model/run.rs"]
mod run;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn every_history_ends_as_the_model_says() {
    let (histories, seed) = (setting("PYI_HISTORIES", 2000), setting("PYI_SEED", 1));
    let mut counts = run::Counts::default();
    for number in 0..histories {
        run::history(seed + number, &mut counts);
    }
    println!("{histories} histories from seed {seed}: {counts:?}");
    assert!(counts.collapsed > histories / 10 && counts.refused > histories / 10);
}
