//! Superpositions of many candidates: what it takes to make one, and to collapse it.
//!
//! `cargo run --release -p pyi-engine --example bench_collapse -- <candidates> <rounds> [named]`
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use pyi_engine::{Bytes, Repository, RepositoryOptions, Superposition, Value, Version};

#[inline(never)]
fn collapse(superposition: &Superposition, round: usize) {
    superposition.collapse(round % 3, "main").unwrap();
}

fn tell(what: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!("{what}: p50 {:.0} p95 {:.0} p99 {:.0} us", at(0.5), at(0.95), at(0.99));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: usize| arguments.get(at).map_or(otherwise, |text| text.parse().unwrap());
    let (candidates, rounds) = (number(0, 1000), number(1, 50));
    let named = arguments.get(2).is_some_and(|mode| mode == "named");
    let place = tempfile::tempdir_in(std::env::var("PYI_BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let repository = Repository::open(place.path(), &RepositoryOptions::default()).unwrap();
    let main = repository.workspace("main").unwrap();
    main.write(b"file", Bytes::from_static(b"content"), None).unwrap();
    main.checkpoint("", Value::Null).unwrap();
    main.publish("main", pyi_engine::Expect::Absent).unwrap();
    let (mut making, mut collapsing) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let base = repository.workspace("main").unwrap();
        let name = format!("try-{round}");
        let begin = Instant::now();
        let made = repository
            .superpose(
                &Version::Workspace(base),
                candidates,
                None,
                None,
                named.then_some(&name[..]),
            )
            .unwrap();
        making.push(begin.elapsed().as_nanos() as u64);
        let workspaces = made.candidates().unwrap();
        for workspace in workspaces.iter().take(3) {
            workspace.write(b"file", Bytes::from(format!("{round}")), None).unwrap();
            workspace.checkpoint("", Value::Null).unwrap();
        }
        let begin = Instant::now();
        collapse(&made, round);
        collapsing.push(begin.elapsed().as_nanos() as u64);
        drop(workspaces);
        drop(made);
    }
    tell("superpose", making);
    tell("collapse", collapsing);
}
