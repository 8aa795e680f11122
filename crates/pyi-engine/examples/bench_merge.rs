//! What comparing and merging two versions of a large tree costs that differ in a few files, and a merge that has only to follow.
//! Prints one JSON object with all samples in nanoseconds; `python -m validation merge` takes its figures from there.
//!
//! ```text
//! cargo run --release -p pyi-engine --example bench_merge -- DIRECTORY [files, 1000000] [rounds, 300]
//! ```
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pyi_engine::{Bytes, Repository, RepositoryOptions, Value, Version, Workspace};

const DIFFERENT: usize = 10;
/// Fast-forward merges that are timed as one: a single one is too short for the clock.
const BURST: usize = 64;

fn path(number: usize) -> Vec<u8> {
    format!("d{}/e{}/f{number}.py", number / 4000, number / 100 % 40).into_bytes()
}

fn text(number: usize, round: usize) -> Bytes {
    let line = |at| format!("line {at} of {number}\n");
    let mut text: String = (0..20).map(line).collect();
    let _ = writeln!(text, "round {round}");
    Bytes::from(text)
}

fn change(workspace: &Workspace, round: usize, side: usize, files: usize) {
    for at in 0..DIFFERENT / 2 {
        let number = (round * 7919 + at * 104_729 + side * 31) % files;
        workspace.write(&path(number), text(number, round), None).unwrap();
    }
    workspace.checkpoint("side", Value::Null).unwrap();
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap();
    let mut number = |default: usize| arguments.next().map_or(default, |word| word.parse().unwrap());
    let (files, rounds) = (number(1_000_000), number(300));
    let options = RepositoryOptions {
        store: Some(Path::new(&directory).join("store")),
        cache_bytes: 1 << 30,
        ..RepositoryOptions::default()
    };
    let repository = Repository::open(Path::new(&directory), &options).unwrap();
    let base = repository.workspace("main").unwrap();
    let all: Vec<Vec<u8>> = (0..files).map(path).collect();
    let one = Bytes::from_static(b"content\n");
    base.write_many(all.iter().map(|path| (path.as_slice(), one.clone(), None)))
        .unwrap();
    base.checkpoint("base", Value::Null).unwrap();
    assert_eq!(base.len(), files as u64);
    let mut samples: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
    let mut merged_differently = 0;
    for round in 0..rounds {
        let (ours, theirs) = (base.fork().unwrap(), base.fork().unwrap());
        change(&ours, round, 0, files);
        change(&theirs, round, 1, files);
        let other = Version::Workspace(Arc::clone(&theirs));
        let begin = Instant::now();
        let changes = ours.diff(Some(&other), false).unwrap();
        samples.entry("diff").or_default().push(begin.elapsed().as_nanos());
        let begin = Instant::now();
        let conflicts = ours.merge(&other, None).unwrap();
        samples.entry("merge").or_default().push(begin.elapsed().as_nanos());
        let left = ours.diff(Some(&Version::Workspace(base.clone())), false).unwrap();
        merged_differently += usize::from(!conflicts.is_empty() || changes.len() != left.len());

        let behind: Vec<Arc<Workspace>> = (0..BURST).map(|_| base.fork().unwrap()).collect();
        let begin = Instant::now();
        for follower in &behind {
            follower.merge(&other, None).unwrap();
        }
        let elapsed = begin.elapsed().as_nanos() / BURST as u128;
        samples.entry("fast-forward").or_default().push(elapsed);
        let follows = behind[0].diff(Some(&other), false).unwrap().is_empty();
        merged_differently += usize::from(!follows);
    }
    assert_eq!(merged_differently, 0);
    let mut out = format!("{{\"files\": {files}, \"different\": {DIFFERENT}, \"samples_ns\": {{");
    for (at, (name, values)) in samples.iter().enumerate() {
        let _ = write!(out, "{}\"{name}\": {values:?}", if at > 0 { ", " } else { "" });
    }
    println!("{out}}}}}");
}
