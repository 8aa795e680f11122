use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::encoding::{CHUNKS, DELTA, ZSTD, delta_payload};
use crate::error::Result;
use crate::frame::Compressor;
use crate::record::PLAIN;
use crate::{Batch, FileStore, MemoryStore, ObjectStore, OpenOptions, OsFs};
use proptest::prelude::*;

fn open_limited(directory: &Path, segment_limit_bytes: u64) -> FileStore {
    let options = OpenOptions {
        create: true,
        background_seal: false,
        segment_limit_bytes,
        ..OpenOptions::default()
    };
    FileStore::open(Arc::new(OsFs), directory, options).unwrap()
}

fn open(directory: &Path) -> FileStore {
    open_limited(directory, 64 << 20)
}

fn commit(store: &dyn ObjectStore, records: &[(Kind, u8, Id, Vec<u8>)]) {
    let mut batch = Batch::new();
    for (kind, encoding, id, payload) in records {
        batch.put_encoded(*kind, *encoding, id, payload).unwrap();
    }
    store.commit(&mut batch).unwrap();
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    compressor.compress(content, &[], 5).unwrap().to_vec()
}

fn delta(content: &[u8], base: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    let frame = compressor.compress(content, base, 5).unwrap();
    delta_payload(&Kind::Blob.id_of(base), frame)
}

/// Versions of a text, each with one line changed.
fn versions(count: usize) -> Vec<Vec<u8>> {
    let mut lines: Vec<String> = (0..200)
        .map(|i| format!("line {i} {}\n", i * i * 7919 % 1009))
        .collect();
    (0..count)
        .map(|i| {
            lines[i * 37 % 200] = format!("changed in version {i}\n");
            lines.concat().into_bytes()
        })
        .collect()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut words = Vec::with_capacity(length + 8);
    while words.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    words.truncate(length);
    words
}

fn corrupt_names(result: Result<Option<Bytes>>, names: &[Id]) {
    match result {
        Err(Error::Corrupt { what, .. }) => {
            for id in names {
                assert!(what.contains(&id.to_hex()), "{what} does not name {id}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_encodings_are_read_from_unsealed_and_from_sealed_segments() {
    let directory = tempfile::tempdir().unwrap();
    // So small that every commit has a segment of its own, and all but the last are sealed.
    for limit in [1_000_000, 200] {
        let store = open_limited(directory.path(), limit);
        let versions = versions(12);
        let ids: Vec<Id> = versions.iter().map(|version| Kind::Blob.id_of(version)).collect();
        commit(&store, &[(Kind::Blob, ZSTD, ids[0], zstd(&versions[0]))]);
        for i in 1..versions.len() {
            commit(
                &store,
                &[(Kind::Blob, DELTA, ids[i], delta(&versions[i], &versions[i - 1]))],
            );
        }
        commit(&store, &[(Kind::Blob, ZSTD, Kind::Blob.id_of(b""), zstd(b""))]);
        let again = open(directory.path());
        for (id, version) in ids.iter().zip(&versions).rev() {
            assert_eq!(store.get(Kind::Blob, id).unwrap().unwrap(), version);
            assert_eq!(again.get(Kind::Blob, id).unwrap().unwrap(), version);
        }
        assert_eq!(again.get(Kind::Blob, &Kind::Blob.id_of(b"")).unwrap().unwrap(), "");
        assert_eq!(again.stats().unwrap().damage, []);
    }
}

#[test]
fn a_base_that_is_missing_damaged_or_another_one_is_named() {
    let versions = versions(3);
    let ids: Vec<Id> = versions.iter().map(|version| Kind::Blob.id_of(version)).collect();
    // Missing.
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let second = (Kind::Blob, DELTA, ids[1], delta(&versions[1], &versions[0]));
    commit(&store, std::slice::from_ref(&second));
    corrupt_names(store.get(Kind::Blob, &ids[1]), &[ids[1], ids[0]]);
    // It appears later: then all is well.
    commit(&store, &[(Kind::Blob, PLAIN, ids[0], versions[0].clone())]);
    assert_eq!(store.get(Kind::Blob, &ids[1]).unwrap().unwrap(), versions[1]);
    // Of another kind.
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    commit(
        &store,
        &[(Kind::Node, PLAIN, ids[0], versions[0].clone()), second.clone()],
    );
    corrupt_names(store.get(Kind::Blob, &ids[1]), &[ids[1], ids[0]]);
    // With a content that is not its own.
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    commit(&store, &[(Kind::Blob, PLAIN, ids[0], versions[2].clone()), second]);
    corrupt_names(store.get(Kind::Blob, &ids[1]), &[ids[1], ids[0]]);
    assert_eq!(store.stats().unwrap().damage.len(), 1);
    // The delta is on another one than it says: it gives a content, and the wrong one.
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut wrong = delta(&versions[1], &versions[0]);
    wrong[..32].copy_from_slice(&ids[2].0);
    let third = (Kind::Blob, PLAIN, ids[2], versions[2].clone());
    commit(&store, &[third, (Kind::Blob, DELTA, ids[1], wrong)]);
    corrupt_names(store.get(Kind::Blob, &ids[1]), &[ids[1]]);
    assert_eq!(store.stats().unwrap().damage.len(), 1);
}

#[test]
fn circles_of_deltas_end_in_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_limited(directory.path(), 200);
    let ids: Vec<Id> = (0..3u8).map(|i| Id([i + 1; 32])).collect();
    let mut compressor = Compressor::new().unwrap();
    let frame = compressor.compress(b"content", b"some dictionary", 3).unwrap().to_vec();
    // Several copies of each, each a way on: without a bound on all of them they would be tried in all combinations.
    for _ in 0..4 {
        for i in 0..3 {
            let payload = delta_payload(&ids[(i + 1) % 3], &frame);
            commit(&store, &[(Kind::Blob, DELTA, ids[i], payload)]);
        }
    }
    let itself = Id([9; 32]);
    commit(&store, &[(Kind::Blob, DELTA, itself, delta_payload(&itself, &frame))]);
    let start = std::time::Instant::now();
    for id in ids.iter().chain([&itself]) {
        corrupt_names(store.get(Kind::Blob, id), &[*id]);
    }
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn long_chains_are_read_and_endless_ones_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let versions = versions(CHAIN_MAX as usize + 2);
    let ids: Vec<Id> = versions.iter().map(|version| Kind::Blob.id_of(version)).collect();
    commit(&store, &[(Kind::Blob, PLAIN, ids[0], versions[0].clone())]);
    for i in 1..versions.len() {
        commit(
            &store,
            &[(Kind::Blob, DELTA, ids[i], delta(&versions[i], &versions[i - 1]))],
        );
    }
    let last = CHAIN_MAX as usize;
    let fresh = open(directory.path());
    corrupt_names(fresh.get(Kind::Blob, &ids[last + 1]), &[ids[last + 1]]);
    assert_eq!(fresh.get(Kind::Blob, &ids[last]).unwrap().unwrap(), versions[last]);
}

#[test]
fn lists_of_chunks_that_are_wrong_are_refused() {
    let parts = [noise(30_000), noise(20_000), noise(70_000)];
    let whole = parts.concat();
    let id = Kind::Blob.id_of(&whole);
    let rows: Vec<(Id, u32)> = parts
        .iter()
        .map(|part| (Kind::Chunk.id_of(part), part.len() as u32))
        .collect();
    let chunk = |i: usize| (Kind::Chunk, PLAIN, rows[i].0, parts[i].clone());
    let get = |records: &[(Kind, u8, Id, Vec<u8>)]| {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        commit(&store, records);
        store.get(Kind::Blob, &id)
    };
    let list = |rows: &[(Id, u32)]| (Kind::Blob, CHUNKS, id, ChunkList::encode(rows));
    let good = get(&[chunk(0), chunk(1), chunk(2), list(&rows)]);
    assert_eq!(good.unwrap().unwrap(), whole);
    // One is missing; it is named.
    corrupt_names(get(&[chunk(0), chunk(2), list(&rows)]), &[id, rows[1].0]);
    // One is a blob and no chunk.
    let blob = (Kind::Blob, PLAIN, rows[1].0, parts[1].clone());
    corrupt_names(get(&[chunk(0), blob, chunk(2), list(&rows)]), &[id, rows[1].0]);
    // In another order; with wrong lengths that come to the right sum; with a chunk too many.
    let swapped = [rows[0], rows[2], rows[1]];
    let lengths = [(rows[0].0, 30_001), (rows[1].0, 19_999), rows[2]];
    let more = [rows[0], rows[1], rows[2], rows[1]];
    for wrong in [&swapped[..], &lengths, &more, &rows[..2]] {
        corrupt_names(get(&[chunk(0), chunk(1), chunk(2), list(wrong)]), &[id]);
    }
    // A chunk that is a list itself.
    let nested = (Kind::Chunk, CHUNKS, rows[1].0, ChunkList::encode(&[rows[1]]));
    corrupt_names(get(&[chunk(0), nested, chunk(2), list(&rows)]), &[id, rows[1].0]);
}

#[test]
fn a_byte_changed_in_a_large_content_costs_about_a_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let file = open(directory.path());
    let memory = MemoryStore::new();
    for store in [&file as &dyn ObjectStore, &memory] {
        let mut content = noise(50_000_000);
        let mut batch = Batch::new();
        let mut put = |content: &[u8]| {
            let id = Kind::Blob.id_of(content);
            let before = store.stats().unwrap().bytes_stored;
            batch
                .put_chunked(Kind::Blob, &id, content, &|chunk| store.contains_hint(chunk))
                .unwrap();
            store.commit(&mut batch).unwrap();
            assert!(store.get(Kind::Blob, &id).unwrap().unwrap() == content);
            store.stats().unwrap().bytes_stored - before
        };
        let first = put(&content);
        assert!((50_000_000..50_200_000).contains(&first), "{first}");
        content[23_456_789] ^= 1;
        let second = put(&content);
        assert!(second < 300_000, "{second}");
        content.splice(1_000..1_000, *b"some bytes more");
        let third = put(&content);
        assert!(third < 300_000, "{third}");
    }
    let again = open(directory.path());
    let content = noise(50_000_000);
    let id = Kind::Blob.id_of(&content);
    assert!(again.get(Kind::Blob, &id).unwrap().unwrap() == content);
}

#[test]
fn up_to_256_kb_a_content_stays_in_one_piece() {
    let mut batch = Batch::new();
    for (bytes, records) in [(256 << 10, 1), ((256 << 10) + 1, 5)] {
        let content = noise(bytes);
        let id = Kind::Blob.id_of(&content);
        batch.put_chunked(Kind::Blob, &id, &content, &|_| false).unwrap();
        assert!((records..=records + 3).contains(&batch.len()), "{}", batch.len());
        let before = batch.len();
        batch.put_chunked(Kind::Blob, &id, &content, &|_| false).unwrap();
        assert_eq!(batch.len(), before);
        batch.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever stands in records: the content that belongs to the id, or an error.
    #[test]
    fn no_payload_gives_wrong_bytes(
        records in proptest::collection::vec((0u8..4, 0usize..6, 0usize..6, 0u8..5, any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let versions = versions(6);
        let ids: Vec<Id> = versions.iter().map(|version| Kind::Blob.id_of(version)).collect();
        let directory = tempfile::tempdir().unwrap();
        let store = open_limited(directory.path(), 3_000);
        for (encoding, own, other, damage, at, value) in records {
            let mut payload = match encoding {
                PLAIN => versions[own].clone(),
                ZSTD => zstd(&versions[own]),
                DELTA => delta(&versions[own], &versions[other]),
                _ => ChunkList::encode(&[(ids[other], versions[other].len() as u32)]),
            };
            match damage {
                0 => { let at = at.index(payload.len()); payload[at] ^= value; }
                1 => payload.truncate(at.index(payload.len())),
                _ => {}
            }
            commit(&store, &[(Kind::Blob, encoding, ids[own], payload)]);
        }
        for (id, version) in ids.iter().zip(&versions) {
            match store.get(Kind::Blob, id) {
                Ok(Some(content)) => prop_assert_eq!(&content, version),
                Ok(None) | Err(Error::Corrupt { .. }) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
