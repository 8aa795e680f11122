//! What a collection leaves behind in segments that were not worth rewriting.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use pyi_cas::{Batch, CollectOptions, FileStore, Id, IdSet, Kind, Mark, ObjectStore, Result, ScrubOptions, Splice};

struct These(Vec<Id>);

impl Mark for These {
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()> {
        live.extend(pins);
        live.extend(&self.0);
        Ok(())
    }
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn put(store: &FileStore, content: &[u8]) -> Id {
    let _section = store.section();
    let id = Kind::Blob.id_of(content);
    if !store.contains_hint(&id) {
        let mut batch = Batch::new();
        let known = |chunk: &Id| store.contains_hint(chunk);
        batch.put_chunked(Kind::Blob, &id, content, &known).unwrap();
        store.commit(&mut batch).unwrap();
    }
    id
}

fn collect(store: &FileStore, live: &[Id]) {
    let collected = store
        .collect(&mut These(live.to_vec()), &CollectOptions::default())
        .unwrap();
    assert_eq!(collected.gave_up, None);
}

/// A list of chunks that nothing reached outlived its chunks, as its segment held little else that was dead. The same content was stored again: the
/// list counted as known, nothing was written, and the content could not be read.
#[test]
fn a_list_without_its_chunks_is_not_known() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = noise(1, 1_000_000);
    let one = put(&store, &first);
    collect(&store, &[one]);
    // Shares nearly all chunks with the first one, whose segment is sealed by now.
    let second = [&first[..], b"and an end of its own"].concat();
    let two = put(&store, &second);
    let others: Vec<Id> = (2..30).map(|seed| put(&store, &noise(seed, 200_000))).collect();
    collect(&store, &others);
    assert!(store.get(Kind::Blob, &one).unwrap().is_none());
    {
        let _section = store.section();
        assert!(!store.contains_hint(&two) && !store.contains(&two).unwrap());
    }
    assert!(store.scrub(&ScrubOptions::default()).unwrap().faults.is_empty());
    assert_eq!(put(&store, &second), two);
    assert_eq!(store.get(Kind::Blob, &two).unwrap().as_deref(), Some(&second[..]));
    assert!(store.contains(&two).unwrap());
}

/// A scrub had made its list of segments; a collector of another process removed one before the scrub came to it, and the scrub failed because it
/// was not there.
#[test]
fn what_a_collector_removes_on_the_way_does_not_end_a_scrub() {
    let directory = tempfile::tempdir().unwrap();
    let writer = open(directory.path());
    let mut live = Vec::new();
    for round in 0..4 {
        let ids: Vec<Id> = (0..10)
            .map(|n| put(&writer, &noise(100 + round * 10 + n, 50_000)))
            .collect();
        live.push(ids[0]);
        // Seals the segment of this round.
        collect(&writer, &[&live[..], &ids[..]].concat());
    }
    let collector = open(directory.path());
    let scrubber = open(directory.path());
    let once = std::sync::Once::new();
    let progress = |_, _| {
        once.call_once(|| collect(&collector, &live));
        true
    };
    let before = segments(directory.path()).len();
    let options = ScrubOptions {
        progress: Some(&progress),
        ..ScrubOptions::default()
    };
    let scrubbed = scrubber.scrub(&options).unwrap();
    assert!(scrubbed.faults.is_empty(), "{:?}", scrubbed.faults);
    assert!(once.is_completed() && segments(directory.path()).len() < before + 1);
    for id in &live {
        assert!(scrubber.get(Kind::Blob, id).unwrap().is_some());
    }
}

/// A node was logged as its difference to an older version. Both became garbage; a collection removed the older one and left the difference, in a segment that
/// was not worth rewriting. Whoever came upon it, the next collection too, failed with "damaged" where nothing was.
#[test]
fn a_difference_whose_base_was_collected_is_gone_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let old = noise(1, 4_000);
    let base = put(&store, &old);
    collect(&store, &[base]);
    let mut new = old.clone();
    new[100..110].fill(7);
    let id = Kind::Blob.id_of(&new);
    let others: Vec<Id> = (2..30).map(|seed| put(&store, &noise(seed, 20_000))).collect();
    {
        let _section = store.section();
        assert!(store.stands_alone_hint(&base));
        let mut batch = Batch::new();
        let mut splice = Splice::new();
        splice.compare(&old, &new);
        batch.put_spliced(Kind::Blob, &id, &base, splice).unwrap();
        store.commit(&mut batch).unwrap();
    }
    assert_eq!(store.get(Kind::Blob, &id).unwrap().as_deref(), Some(&new[..]));
    // Only the difference is reached: its base stays.
    collect(&store, &[&others[..], &[id]].concat());
    assert_eq!(store.get(Kind::Blob, &id).unwrap().as_deref(), Some(&new[..]));
    collect(&store, &others);
    assert!(store.get(Kind::Blob, &base).unwrap().is_none());
    assert!(
        store.record_bytes(&id).is_some(),
        "the difference was to be left behind"
    );
    // This process may still have the base in its cache.
    let fresh = open(directory.path());
    assert!(fresh.get(Kind::Blob, &id).unwrap().is_none() && !store.contains(&id).unwrap());
    assert!(store.scrub(&ScrubOptions::default()).unwrap().faults.is_empty());
    // Stored again it is whole.
    assert_eq!(put(&store, &new), id);
    assert_eq!(store.get(Kind::Blob, &id).unwrap().as_deref(), Some(&new[..]));
}

fn segments(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory.join("segments")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect()
}
