//! Micro benchmark of the store: prints p50, p95 and p99 of each call in nanoseconds.
//! Run: `cargo run --release -p pyi-cas --example bench_store [directory]`. Durability class: `process`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Instant;

use pyi_cas::{
    Batch, BlobCache, Bytes, FileStore, Guard, Id, Kind, ObjectStore, OpenOptions, OsFs, RefOutcome, RefTransaction,
};

fn measure(name: &str, rounds: usize, inner: usize, mut call: impl FnMut(usize)) {
    let mut times: Vec<u64> = (0..rounds)
        .map(|round| {
            let begin = Instant::now();
            for i in 0..inner {
                call(round * inner + i);
            }
            begin.elapsed().as_nanos() as u64 / inner as u64
        })
        .collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{name:<44} n={:<7} p50 {:>7} ns  p95 {:>7} ns  p99 {:>7} ns",
        rounds * inner,
        at(0.5),
        at(0.95),
        at(0.99)
    );
}

fn content(i: usize, size: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; size];
    let mut x = i as u64 + 1;
    for chunk in bytes.chunks_mut(8) {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let n = chunk.len();
        chunk.copy_from_slice(&x.to_le_bytes()[..n]);
    }
    bytes
}

fn main() {
    let directory = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("pyi-bench"), Into::into);
    let _ = std::fs::remove_dir_all(&directory);
    let open = || {
        FileStore::open(
            Arc::new(OsFs),
            &directory,
            OpenOptions {
                create: true,
                ..OpenOptions::default()
            },
        )
        .unwrap()
    };
    let store = open();
    const N: usize = 20_000;
    let contents: Vec<Vec<u8>> = (0..N).map(|i| content(i, 1024)).collect();
    let ids: Vec<Id> = contents.iter().map(|bytes| Kind::Blob.id_of(bytes)).collect();

    measure("id_of 1 KB", 2_000, 10, |i| {
        std::hint::black_box(Kind::Blob.id_of(&contents[i % N]));
    });
    let mut batch = Batch::with_capacity(1 << 16);
    measure("put 1 KB (hash + commit of one)", N, 1, |i| {
        batch.put_new(Kind::Blob, &contents[i]).unwrap();
        store.commit(&mut batch).unwrap();
    });
    measure("get 1 KB, page cache, unsealed", N, 1, |i| {
        std::hint::black_box(store.get(Kind::Blob, &ids[i * 7919 % N]).unwrap().unwrap());
    });
    measure("contains_hint, hit", 2_000, 10, |i| {
        std::hint::black_box(store.contains_hint(&ids[i * 7919 % N]));
    });
    let absent: Vec<Id> = ids.iter().map(|id| Kind::Node.id_of(&id.0)).collect();
    measure("contains_hint, miss, nothing sealed", 2_000, 10, |i| {
        std::hint::black_box(store.contains_hint(&absent[i % N]));
    });
    measure("contains, miss, nobody else wrote", 2_000, 10, |i| {
        std::hint::black_box(store.contains(&absent[i % N]).unwrap());
    });

    let parts: Vec<Vec<u8>> = (0..50_000).map(|i| content(1_000_000 + i, 1180)).collect();
    let part_ids: Vec<Id> = parts.iter().map(|bytes| Kind::Node.id_of(bytes)).collect();
    measure("commit 5 records, 6 KB (put + commit, no hash)", 10_000, 1, |i| {
        for k in i * 5..i * 5 + 5 {
            batch.put(Kind::Node, &part_ids[k], &parts[k]).unwrap();
        }
        store.commit(&mut batch).unwrap();
    });

    let cache = BlobCache::new(256 << 20);
    for (id, bytes) in ids.iter().zip(&contents) {
        cache.insert(id, Bytes::copy_from_slice(bytes));
    }
    measure("BlobCache hit, 1,000 hot objects", 10_000, 10, |i| {
        std::hint::black_box(cache.get(&ids[i % 1000]));
    });
    measure("BlobCache hit, 20,000 objects at random", 2_000, 10, |i| {
        std::hint::black_box(cache.get(&ids[i * 7919 % N]));
    });

    let mut value = ids[0].0.to_vec();
    let create = RefTransaction {
        guards: vec![(b"b/main".to_vec(), Guard::Absent)],
        puts: vec![(b"b/main".to_vec(), Some(value.clone()))],
        ..RefTransaction::default()
    };
    assert_eq!(store.refs().commit(&create).unwrap(), RefOutcome::Done);
    measure("ref commit (one guard, one put)", N, 1, |i| {
        let next = ids[i].0.to_vec();
        let step = RefTransaction {
            guards: vec![(
                b"b/main".to_vec(),
                Guard::Equals(std::mem::replace(&mut value, next.clone())),
            )],
            puts: vec![(b"b/main".to_vec(), Some(next))],
            ..RefTransaction::default()
        };
        assert_eq!(store.refs().commit(&step).unwrap(), RefOutcome::Done);
    });
    measure("ref get, nobody else wrote", 2_000, 10, |_| {
        std::hint::black_box(store.refs().get(b"b/main").unwrap());
    });

    // More than a segment, so that sealed indexes are in play.
    store.close().unwrap();
    drop(store);
    let store = open();
    for i in 0..600 {
        batch.put_new(Kind::Blob, &content(9_000_000 + i, 256 << 10)).unwrap();
        store.commit(&mut batch).unwrap();
    }
    store.close().unwrap();
    let store = open();
    println!("{:?}", store.stats().unwrap());
    measure("get 1 KB, page cache, sealed", N, 1, |i| {
        std::hint::black_box(store.get(Kind::Blob, &ids[i * 7919 % N]).unwrap().unwrap());
    });
    measure("contains_hint, miss, with sealed segments", 2_000, 10, |i| {
        std::hint::black_box(store.contains_hint(&absent[i % N]));
    });
    drop(store);

    // Opening with a full unsealed tail of 1 KB records.
    std::fs::remove_dir_all(&directory).unwrap();
    let store = open();
    for i in 0..600 {
        for k in 0..100 {
            let bytes = content(20_000_000 + i * 100 + k, 1024);
            batch.put(Kind::Blob, &Kind::Blob.id_of(&bytes), &bytes).unwrap();
        }
        store.commit(&mut batch).unwrap();
    }
    drop(store);
    measure("open, 61 MiB unsealed tail of 1 KB records", 15, 1, |_| drop(open()));
    std::fs::remove_dir_all(&directory).unwrap();
}
