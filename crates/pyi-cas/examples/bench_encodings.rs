//! Micro benchmark of the encodings: reading from the page cache and through deltas, cutting, encoding.
//! Run: `cargo run --release -p pyi-cas --example bench_encodings`. Works in a temporary directory of its own.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyi_cas::{
    Batch, BlobCache, CollectOptions, FileStore, Id, IdMap, IdSet, Kind, Mark, ObjectStore, OpenOptions, OsFs, Recoder,
    chunk_ids,
};

/// Everything lives; what is newer than what.
struct History(Vec<Id>, IdMap<Id>);

impl Mark for History {
    fn mark(&mut self, _: &[Id], live: &mut IdSet) -> pyi_cas::Result<()> {
        live.extend(&self.0);
        Ok(())
    }

    fn delta_base(&self, id: &Id) -> Option<Id> {
        self.1.get(id).copied()
    }
}

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p95, p99) = (at(0.5), at(0.95), at(0.99));
    println!(
        "{name:<52} n={:<6} p50 {p50:>9.1?}  p95 {p95:>9.1?}  p99 {p99:>9.1?}",
        times.len()
    );
}

fn throughput(name: &str, bytes: usize, mut call: impl FnMut()) {
    let fastest = (0..5)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed()
        })
        .min()
        .unwrap();
    println!("{name:<52} {:>8.0} MB/s", bytes as f64 / 1e6 / fastest.as_secs_f64());
}

/// Text with `lines` lines of about 40 bytes; versions differ by two lines.
fn versions(lines: usize, count: usize) -> Vec<Vec<u8>> {
    let mut text: Vec<String> = (0..lines)
        .map(|i| format!("    let value_{} = call({}, {});\n", i % 83, i * 7919 % 1009, i))
        .collect();
    (0..count)
        .map(|i| {
            text[i * 37 % lines] = format!("    // changed in version {i}\n");
            text[i * 61 % lines] = format!("    return value_{i};\n");
            text.concat().into_bytes()
        })
        .collect()
}

fn main() {
    let directory = std::env::temp_dir().join(format!("pyi-bench-encodings-{}", std::process::id()));
    let open = |create| {
        let options = OpenOptions {
            create,
            ..OpenOptions::default()
        };
        FileStore::open(Arc::new(OsFs), &directory, options).unwrap()
    };
    let store = open(true);
    let (mut batch, mut history) = (Batch::new(), History(Vec::new(), IdMap::default()));
    let small: Vec<Id> = (0..20_000u32)
        .map(|i| batch.put_new(Kind::Node, &noise(i, 1024)).unwrap())
        .collect();
    history.0.extend(&small);
    // 20 files of 40 KB with 100 versions, oldest first.
    let files: Vec<Vec<Id>> = (0..20)
        .map(|file| {
            let put = |content: &Vec<u8>| batch.put_new(Kind::Blob, &[&[file], &content[..]].concat()).unwrap();
            versions(1_000, 100).iter().map(put).collect()
        })
        .collect();
    for file in &files {
        history.0.extend(file);
        history.1.extend(file.windows(2).map(|pair| (pair[0], pair[1])));
    }
    store.commit(&mut batch).unwrap();
    let read = |store: &FileStore, kind, ids: &[Id]| -> Vec<Duration> {
        let time = |id| {
            let start = Instant::now();
            std::hint::black_box(store.get(kind, id).unwrap().unwrap());
            start.elapsed()
        };
        ids.iter().map(time).collect()
    };
    let cache = BlobCache::new(64 << 20);
    for id in &small {
        cache.insert(id, store.get(Kind::Node, id).unwrap().unwrap());
    }
    let hot = small.iter().map(|id| {
        let start = Instant::now();
        std::hint::black_box(cache.get(id).unwrap());
        start.elapsed()
    });
    show("hot: 1 KB from the cache", hot.collect());
    show("recent: 1 KB plain, page cache", read(&store, Kind::Node, &small));
    show("recent: 40 KB plain, page cache", read(&store, Kind::Blob, &files[0]));
    store.close().unwrap();
    let store = open(false);
    let before = store.stats().unwrap().bytes_stored;
    let start = Instant::now();
    let options = CollectOptions {
        compact: true,
        ..CollectOptions::default()
    };
    let collected = store.collect(&mut history, &options).unwrap();
    println!(
        "{:<52} {before} -> {} bytes, {:.0} MB/s",
        "compaction of all of it, all threads",
        collected.bytes_after,
        before as f64 / 1e6 / start.elapsed().as_secs_f64()
    );
    store.close().unwrap();
    let mut cold = Vec::new();
    for at in 0..100 {
        let store = open(false);
        cold.extend(read(
            &store,
            Kind::Blob,
            &files.iter().map(|file| file[at]).collect::<Vec<_>>(),
        ));
    }
    show("cold: 40 KB, nothing in memory of its chain", cold);
    let store = open(false);
    let newest_first: Vec<Id> = files.iter().flat_map(|file| file.iter().rev().copied()).collect();
    show(
        "in order: 40 KB, its newer version just read",
        read(&store, Kind::Blob, &newest_first),
    );
    show(
        "recent: 1 KB after compaction, page cache",
        read(&store, Kind::Node, &small),
    );
    let large = noise(7, 64 << 20);
    throughput("cutting and hashing the chunks of 64 MB", large.len(), || {
        std::hint::black_box(chunk_ids(&large));
    });
    let text = versions(1_000, 2);
    let (id, mut recoder) = (Kind::Blob.id_of(&text[1]), Recoder::new().unwrap());
    throughput("encoding 40 KB of text alone, one thread", 50 * text[0].len(), || {
        (0..50).for_each(|_| drop(recoder.encode(&text[0], None)));
    });
    throughput(
        "encoding 40 KB of text as a delta, one thread",
        50 * text[0].len(),
        || {
            (0..50).for_each(|_| drop(recoder.encode(&text[0], Some((&id, &text[1])))));
        },
    );
    drop(store);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Bytes that do not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) << 20 | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
