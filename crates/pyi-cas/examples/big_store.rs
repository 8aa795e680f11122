//! A store of very many small objects: how long it takes to open, what a lookup costs, and how much memory of its own each of
//! several processes needs that have it open at once.
//!
//! ```text
//! cargo run --release -p pyi-cas --example big_store -- make DIRECTORY 10000000 [bytes an object, 64]
//! cargo run --release -p pyi-cas --example big_store -- measure DIRECTORY 10000000 [processes, 8] [bytes an object, 64]
//! ```
//! `measure` prints one JSON object; `python -m validation` takes its figures from there.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use pyi_cas::{Batch, FileStore, Id, Kind, ObjectStore, OpenOptions, OsFs};

/// Objects in one commit.
const BATCH: usize = 1_000;
/// Lookups in one measurement, and how many ids of them are held at once, as they would count as the store's memory.
const LOOKUPS: usize = 200_000;
const HELD: usize = 4_000;

fn content(number: usize, size_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; size_bytes.max(8)];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes
}

fn open(directory: &Path, create: bool) -> FileStore {
    let options = OpenOptions {
        create,
        ..OpenOptions::default()
    };
    FileStore::open(Arc::new(OsFs), directory, options).unwrap()
}

fn make(directory: &Path, objects: usize, size_bytes: usize) {
    let begin = Instant::now();
    let store = open(directory, true);
    let mut batch = Batch::new();
    for number in 0..objects {
        batch.put_new(Kind::Blob, &content(number, size_bytes)).unwrap();
        if batch.len() == BATCH || number + 1 == objects {
            store.commit(&mut batch).unwrap();
        }
    }
    let stored = begin.elapsed();
    store.close().unwrap();
    println!(
        "stored {objects} objects of {size_bytes} bytes in {:.2} s, closed after {:.2} s",
        stored.as_secs_f64(),
        begin.elapsed().as_secs_f64()
    );
}

/// Memory in bytes that no other process shares, and that any process may share, as the kernel counts them.
fn memory_bytes() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let sum = |fields: [&str; 2]| -> u64 {
        text.lines()
            .filter(|line| fields.iter().any(|field| line.starts_with(field)))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>()
            * 1024
    };
    (
        sum(["Private_Clean:", "Private_Dirty:"]),
        sum(["Shared_Clean:", "Shared_Dirty:"]),
    )
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn maps() -> usize {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap();
    text.lines().filter(|line| line.contains("/segments/")).count()
}

/// Mean time of a call, without that of making the ids.
fn nanoseconds_each(lookups: usize, id_of: impl Fn(usize) -> Id, mut call: impl FnMut(&Id)) -> u64 {
    let mut total_ns = 0;
    for from in (0..lookups).step_by(HELD) {
        let ids: Vec<Id> = (from..from + HELD).map(&id_of).collect();
        let begin = Instant::now();
        ids.iter().for_each(&mut call);
        total_ns += begin.elapsed().as_nanos() as u64;
    }
    total_ns / lookups as u64
}

/// One of several processes: opens, looks up, prints what it found out, and stays until its input ends.
fn reader(directory: &Path, objects: usize, size_bytes: usize, seed: usize) {
    let (before, _) = memory_bytes();
    let begin = Instant::now();
    let store = open(directory, false);
    let open_us = begin.elapsed().as_micros();
    let (open_descriptors, maps) = (descriptors(), maps());
    let (opened, _) = memory_bytes();
    let pick = |i: usize| (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) % objects;
    let present = |i: usize| Kind::Blob.id_of(&content(pick(i), size_bytes));
    let absent = |i: usize| Kind::Node.id_of(&(pick(i) as u64).to_le_bytes());
    let hit = |id: &Id| assert!(store.contains(id).unwrap(), "{id} is missing");
    let miss = |id: &Id| assert!(!store.contains(id).unwrap());
    let first_hit_ns = nanoseconds_each(LOOKUPS, present, hit);
    let hit_ns = nanoseconds_each(LOOKUPS, present, hit);
    let first_miss_ns = nanoseconds_each(LOOKUPS, absent, miss);
    let miss_ns = nanoseconds_each(LOOKUPS, absent, miss);
    let get_ns = nanoseconds_each(LOOKUPS / 4, present, |id| {
        assert_eq!(store.get(Kind::Blob, id).unwrap().unwrap().len(), size_bytes);
    });
    let stats = store.stats().unwrap();
    assert_eq!((stats.objects, stats.damage.len()), (objects as u64, 0));
    // All processes have looked things up when the first of them counts what it shares with the others.
    println!("ready");
    let mut word = [0u8; 1];
    std::io::stdin().read_exact(&mut word).unwrap();
    let (private, shared) = memory_bytes();
    println!(
        "{{\"open_us\": {open_us}, \"hit_ns\": {hit_ns}, \"miss_ns\": {miss_ns}, \"first_hit_ns\": {first_hit_ns}, \"first_miss_ns\": {first_miss_ns}, \
         \"get_ns\": {get_ns}, \"private_at_open_bytes\": {}, \"private_bytes\": {}, \"shared_bytes\": {shared}, \"descriptors\": {open_descriptors}, \
         \"descriptors_after\": {}, \"maps\": {maps}, \"segments\": {}}}",
        opened.saturating_sub(before),
        private.saturating_sub(before),
        descriptors(),
        stats.segments,
    );
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut word);
}

fn measure(directory: &Path, objects: usize, processes: usize, size_bytes: usize) {
    let program = std::env::current_exe().unwrap();
    let mut children: Vec<(Child, BufReader<std::process::ChildStdout>)> = Vec::new();
    let mut line = String::new();
    for seed in 0..processes {
        let mut child = Command::new(&program)
            .arg("reader")
            .arg(directory)
            .args([objects.to_string(), size_bytes.to_string(), (seed * 7_919).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        line.clear();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        children.push((child, output));
    }
    let mut found = Vec::new();
    for (child, output) in &mut children {
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        line.clear();
        output.read_line(&mut line).unwrap();
        found.push(line.trim().to_string());
    }
    for (mut child, _) in children {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    println!(
        "{{\"objects\": {objects}, \"processes\": [\n  {}\n]}}",
        found.join(",\n  ")
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: usize| -> usize { arguments.get(at).map_or(default, |text| text.parse().unwrap()) };
    let directory = arguments.get(1).map_or_else(|| Path::new("big-store"), Path::new);
    match arguments.first().map(String::as_str) {
        Some("make") => make(directory, number(2, 1_000_000), number(3, 64)),
        Some("measure") => measure(directory, number(2, 1_000_000), number(3, 8), number(4, 64)),
        Some("reader") => reader(directory, number(2, 0), number(3, 64), number(4, 0)),
        _ => println!("usage: big_store make|measure DIRECTORY OBJECTS ... (see the head of the source)"),
    }
}
