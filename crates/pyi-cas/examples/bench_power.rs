//! How many commits a second survive a loss of power, with some writers, beside one bare pre-written `pwrite` + `fdatasync`.
//! Run: `cargo run --release -p pyi-cas --example bench_power [directory [seconds]]`. Durability class: `power`; 6 KB a commit.
#![allow(clippy::unwrap_used, missing_docs)]

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyi_cas::{Batch, FileStore, Kind, ObjectStore, OpenOptions, OsFs};

const BYTES: usize = 6_000;

fn content(writer: u64, i: u64) -> Vec<u8> {
    let mut bytes = vec![7u8; BYTES];
    bytes[..8].copy_from_slice(&writer.to_le_bytes());
    bytes[8..16].copy_from_slice(&i.to_le_bytes());
    bytes
}

fn report(name: &str, mut times_ns: Vec<u64>, took: Duration) {
    times_ns.sort_unstable();
    let at = |share: f64| times_ns[((times_ns.len() - 1) as f64 * share) as usize] / 1000;
    let rate = times_ns.len() as f64 / took.as_secs_f64();
    println!(
        "{name:<28} n={:<8} {rate:>9.0}/s  p50 {:>7} us  p95 {:>7} us  p99 {:>7} us",
        times_ns.len(),
        at(0.5),
        at(0.95),
        at(0.99)
    );
}

fn floor(directory: &std::path::Path, seconds: u64) {
    let path = directory.join("floor");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .unwrap();
    file.write_all_at(&vec![0u8; 32 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let (begin, mut at, mut times) = (Instant::now(), 0u64, Vec::new());
    while begin.elapsed() < Duration::from_secs(seconds) {
        let bytes = content(0, at);
        let start = Instant::now();
        file.write_all_at(&bytes, at % (31 << 20)).unwrap();
        file.sync_data().unwrap();
        times.push(start.elapsed().as_nanos() as u64);
        at += BYTES as u64;
    }
    report("floor: pwrite + fdatasync", times, begin.elapsed());
    std::fs::remove_file(path).unwrap();
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(
        || std::env::temp_dir().join("pyi-bench-power"),
        std::path::PathBuf::from,
    );
    let seconds = arguments.next().map_or(3, |text| text.parse().unwrap());
    let _ = std::fs::remove_dir_all(&directory);
    let options = OpenOptions {
        create: true,
        ..OpenOptions::default()
    };
    let store = FileStore::open(Arc::new(OsFs), &directory, options).unwrap();
    for _ in 0..2 {
        floor(&directory, seconds);
        for writers in [1u64, 64, 850] {
            let begin = Instant::now();
            let round = AtomicU64::new(begin.elapsed().as_nanos() as u64);
            let times: Vec<u64> = std::thread::scope(|scope| {
                let handles: Vec<_> = (0..writers)
                    .map(|writer| {
                        let (store, round) = (&store, &round);
                        let work = move || {
                            let (mut times, mut batch) = (Vec::new(), Batch::new());
                            while begin.elapsed() < Duration::from_secs(seconds) {
                                let bytes = content(writer, round.fetch_add(1, Ordering::Relaxed) << 8 | writers);
                                let start = Instant::now();
                                batch.put_new(Kind::Blob, &bytes).unwrap();
                                store.commit(&mut batch).unwrap();
                                store.wait_durable().unwrap();
                                times.push(start.elapsed().as_nanos() as u64);
                            }
                            times
                        };
                        std::thread::Builder::new()
                            .stack_size(256 << 10)
                            .spawn_scoped(scope, work)
                            .unwrap()
                    })
                    .collect();
                handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
            });
            report(&format!("{writers} writers, power"), times, begin.elapsed());
        }
    }
    store.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}
