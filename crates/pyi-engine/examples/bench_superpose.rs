//! What a superposition costs: creating candidates, weighing, collapsing, with few and with a thousand of them, with and without
//! names. Prints one JSON object with all samples in nanoseconds; `python -m validation superpose` takes its figures from there.
//!
//! ```text
//! cargo run --release -p pyi-engine --example bench_superpose -- DIRECTORY [rounds, 200]
//! ```
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use pyi_engine::{Bytes, Repository, RepositoryOptions, Value, Version};

const MANY: usize = 1000;
const FEW: usize = 4;

type Samples = BTreeMap<String, Vec<u128>>;

fn timed<T>(samples: &mut Samples, name: &str, run: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = run();
    let elapsed = begin.elapsed().as_nanos();
    samples.entry(name.to_owned()).or_default().push(elapsed);
    result
}

fn round(repository: &Repository, number: usize, samples: &mut Samples) {
    for count in [FEW, MANY] {
        for is_named in [false, true] {
            let kind = format!("{} {count}", if is_named { "named" } else { "unnamed" });
            let base = Version::Workspace(repository.workspace("main").unwrap());
            let name = format!("try-{number}-{count}");
            let name = is_named.then_some(name.as_str());
            let made = timed(samples, &format!("superpose {kind}"), || {
                repository.superpose(&base, count, None, None, name).unwrap()
            });
            // The winner has a checkpoint, as it has after a race, and so have two others.
            for candidate in &made.candidates().unwrap()[..3] {
                candidate
                    .write(b"answer", Bytes::from(format!("{number} {kind}")), None)
                    .unwrap();
                candidate.checkpoint("answer", Value::Null).unwrap();
            }
            for index in 0..3 {
                timed(samples, &format!("weigh {kind}"), || {
                    made.weigh(count * index / 3, number as f64).unwrap();
                });
            }
            timed(samples, &format!("observe {kind}"), || made.observe(Some(7)).unwrap());
            timed(samples, &format!("collapse {kind}"), || {
                made.collapse(1, "main").unwrap()
            });
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap();
    let rounds: usize = arguments.next().map_or(200, |rounds| rounds.parse().unwrap());
    let options = RepositoryOptions {
        store: Some(Path::new(&directory).join("store")),
        ..RepositoryOptions::default()
    };
    let repository = Repository::open(Path::new(&directory), &options).unwrap();
    let workspace = repository.workspace("main").unwrap();
    for number in 0..1000 {
        let path = format!("d{}/f{number}", number % 20);
        workspace
            .write(path.as_bytes(), Bytes::from(path.clone()), None)
            .unwrap();
    }
    workspace.checkpoint("base", Value::Null).unwrap();
    workspace.publish("main", pyi_engine::Expect::Absent).unwrap();
    round(&repository, usize::MAX, &mut Samples::new());
    let mut samples = Samples::new();
    for number in 0..rounds {
        round(&repository, number, &mut samples);
    }
    let mut out = String::from("{\"samples_ns\": {");
    for (at, (name, values)) in samples.iter().enumerate() {
        let _ = write!(out, "{}\"{name}\": {values:?}", if at > 0 { ", " } else { "" });
    }
    println!("{out}}}}}");
}
