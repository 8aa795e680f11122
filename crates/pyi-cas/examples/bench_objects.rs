//! What one object costs: its id, beside the blake3 crate; putting and getting 1 KB; and puts of very many writers at once.
//! Prints one JSON object with all samples in nanoseconds; `python -m validation store` takes its figures from there.
//!
//! ```text
//! cargo run --release -p pyi-cas --example bench_objects -- DIRECTORY [rounds, 400] [writers, 850] [milliseconds, 3000]
//! ```
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use pyi_cas::{Batch, BlobCache, Bytes, FileStore, Id, Kind, ObjectStore, OpenOptions, OsFs};

const SIZES: [usize; 6] = [64, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20];
const KILOBYTE: usize = 1024;

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(length)
            .collect()
    }
}

/// Samples of one subject, each the mean of a burst of calls.
struct Samples(String, Vec<u64>);

fn sample(samples: &mut Samples, calls: u32, mut call: impl FnMut(u32)) {
    let begin = Instant::now();
    for number in 0..calls {
        call(number);
    }
    samples.1.push(begin.elapsed().as_nanos() as u64 / u64::from(calls));
}

fn open(directory: &Path) -> FileStore {
    let options = OpenOptions {
        create: true,
        ..OpenOptions::default()
    };
    FileStore::open(Arc::new(OsFs), directory, options).unwrap()
}

fn hashes(rounds: usize, out: &mut Vec<Samples>) {
    let mut numbers = Numbers(7);
    for size in SIZES {
        let content = numbers.bytes(size);
        let calls = (16_384 / size).clamp(1, 64) as u32;
        let mut ours = Samples(format!("id_of {size}"), Vec::new());
        let mut theirs = Samples(format!("blake3 {size}"), Vec::new());
        for round in 0..rounds + 10 {
            let ours_first = round % 2 == 0;
            if ours_first {
                sample(&mut ours, calls, |_| {
                    black_box(Kind::Blob.id_of(black_box(&content)));
                });
            }
            sample(&mut theirs, calls, |_| {
                black_box(blake3::hash(black_box(&content)));
            });
            if !ours_first {
                sample(&mut ours, calls, |_| {
                    black_box(Kind::Blob.id_of(black_box(&content)));
                });
            }
        }
        // The first rounds warm up.
        ours.1.drain(..10);
        theirs.1.drain(..10);
        out.extend([ours, theirs]);
    }
}

fn objects(directory: &Path, rounds: usize, out: &mut Vec<Samples>) {
    let store = open(&directory.join("objects"));
    let mut numbers = Numbers(11);
    let count = rounds * 20;
    let mut put = Samples("put 1024".into(), Vec::new());
    let mut batch = Batch::with_capacity(4 * KILOBYTE);
    let mut ids: Vec<Id> = Vec::with_capacity(count);
    let mut contents = Vec::with_capacity(count);
    for _ in 0..count {
        let content = numbers.bytes(KILOBYTE);
        sample(&mut put, 1, |_| {
            ids.push(batch.put_new(Kind::Blob, &content).unwrap());
            store.commit(&mut batch).unwrap();
        });
        contents.push(content);
    }
    let cache = BlobCache::new(256 << 20);
    for (id, content) in ids.iter().zip(&contents) {
        cache.insert(id, Bytes::copy_from_slice(content));
    }
    let mut cached = Samples("get cached 1024".into(), Vec::new());
    let mut paged = Samples("get page cache 1024".into(), Vec::new());
    for _ in 0..count {
        let picks: [usize; 8] = std::array::from_fn(|_| numbers.next() as usize % count);
        sample(&mut cached, 8, |n| {
            assert!(black_box(cache.get(&ids[picks[n as usize]])).is_some());
        });
        sample(&mut paged, 1, |_| {
            assert_eq!(store.get(Kind::Blob, &ids[picks[0]]).unwrap().unwrap().len(), KILOBYTE);
        });
    }
    out.extend([put, cached, paged]);
}

fn memory_bytes(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Writers that each put and commit one new object of 1 KB at a time: puts a second.
fn swarm(directory: &Path, writers: usize, duration: Duration) -> (u64, f64) {
    let store = Arc::new(open(&directory.join("swarm")));
    let (done, end, begin) = (AtomicU64::new(0), AtomicBool::new(false), Barrier::new(writers + 1));
    let elapsed = std::thread::scope(|scope| {
        for writer in 0..writers {
            let (store, done, end, begin) = (&store, &done, &end, &begin);
            let builder = std::thread::Builder::new().stack_size(256 << 10);
            let work = move || {
                let mut content = Numbers(writer as u64 + 1).bytes(KILOBYTE);
                let mut batch = Batch::with_capacity(4 * KILOBYTE);
                begin.wait();
                for number in 0u64.. {
                    if end.load(Ordering::Relaxed) {
                        done.fetch_add(number, Ordering::Relaxed);
                        break;
                    }
                    content[..8].copy_from_slice(&number.to_le_bytes());
                    batch.put_new(Kind::Blob, &content).unwrap();
                    store.commit(&mut batch).unwrap();
                }
            };
            drop(builder.spawn_scoped(scope, work).unwrap());
        }
        begin.wait();
        let started = Instant::now();
        std::thread::sleep(duration);
        end.store(true, Ordering::Relaxed);
        let ended = started.elapsed();
        ended.as_secs_f64()
    });
    let puts = done.load(Ordering::Relaxed);
    assert_eq!(store.stats().unwrap().objects, puts);
    (puts, elapsed)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let directory = arguments.first().map_or_else(|| Path::new("bench-objects"), Path::new);
    let (rounds, writers, duration) = (number(1, 400) as usize, number(2, 850) as usize, number(3, 3000));
    let before = memory_bytes("VmHWM:");
    let (puts, seconds) = swarm(directory, writers, Duration::from_millis(duration));
    let peak = memory_bytes("VmHWM:");
    let mut all = Vec::new();
    hashes(rounds, &mut all);
    objects(directory, rounds, &mut all);
    let mut text = format!(
        "{{\"writers\": {writers}, \"puts\": {puts}, \"puts_per_s\": {:.0}, \"peak_memory_bytes\": {peak}, \
         \"memory_before_bytes\": {before}, \"samples_ns\": {{",
        puts as f64 / seconds
    );
    for (at, Samples(name, samples)) in all.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(text, "{comma}\"{name}\": {samples:?}").unwrap();
    }
    println!("{text}}}}}");
}
