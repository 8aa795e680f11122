//! Arrays: whatever the history of changes, a chunk is found where it was put, and equal contents have one description.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use pyi_cas::{Batch, Bytes, Id, Kind, MemoryStore, ObjectStore};
use pyi_tree::array::{ArrayIndex, ArrayRoot, CHUNK_BYTES, LIST_MAX, Lists, named_by};
use pyi_tree::cbor::Value;
use pyi_tree::{Error, Pending, Result};

struct Stored(MemoryStore);

impl Lists for Stored {
    fn list(&self, id: &Id) -> Result<Bytes> {
        self.0
            .get(Kind::Array, id)?
            .ok_or_else(|| Error::corrupt(format!("{id} is missing")))
    }
}

impl Stored {
    /// Stores what is new and reads the array again from its description.
    fn round(&self, index: &ArrayIndex) -> ArrayIndex {
        let mut batch = Batch::new();
        for (kind, id, content) in index.parts().objects() {
            batch.put(kind, id, content).unwrap();
        }
        self.0.commit(&mut batch).unwrap();
        ArrayIndex::of(ArrayRoot::decode(&index.root().encode()).unwrap(), None)
    }
}

fn id(number: u64) -> Id {
    Kind::Blob.id_of(&number.to_le_bytes())
}

fn blank(chunks: u64) -> ArrayIndex {
    let size_bytes = chunks * CHUNK_BYTES as u64;
    ArrayIndex::blank(None, "|u1".to_owned(), vec![size_bytes], size_bytes)
}

fn all(index: &mut ArrayIndex, store: &Stored, values: impl Iterator<Item = u64>) {
    let changes: BTreeMap<_, _> = values.enumerate().map(|(at, n)| (at as u64, (id(n), None))).collect();
    index.set(changes, store).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_chunk_is_found_where_it_was_put(
        chunks in prop_oneof![1u64..4, 250u64..260, 65_530u64..65_550],
        rounds in proptest::collection::vec(proptest::collection::vec((any::<u64>(), 0u64..50), 1..6), 0..5),
    ) {
        let store = Stored(MemoryStore::new());
        let mut model: Vec<u64> = (0..chunks).collect();
        let mut index = blank(chunks);
        all(&mut index, &store, 0..chunks);
        for (round, changes) in rounds.into_iter().enumerate() {
            if round % 2 == 0 {
                index = store.round(&index);
            }
            let mut wanted = BTreeMap::new();
            for (place, value) in changes {
                let place = place % chunks;
                model[place as usize] = value;
                wanted.insert(place, (id(value), (value % 2 == 0).then(|| Bytes::from(value.to_string()))));
            }
            let fresh: Vec<(u64, Option<Bytes>)> = wanted.iter().map(|(at, (_, bytes))| (*at, bytes.clone())).collect();
            index.set(wanted, &store).unwrap();
            for (at, bytes) in fresh {
                prop_assert_eq!(index.parts().chunk(at), bytes.as_ref());
            }
        }
        let mut again = blank(chunks);
        all(&mut again, &store, model.iter().copied());
        prop_assert_eq!(again.root(), index.root(), "equal contents, equal descriptions");
        let mut read = store.round(&index);
        for at in [0, chunks / 2, chunks - 1] {
            prop_assert_eq!(read.chunk(at, &store).unwrap(), id(model[at as usize]));
        }
        prop_assert!(read.chunk(chunks, &store).is_err());
        // Everything is reached from the description.
        let mut found = Vec::new();
        let mut waiting = vec![read.root().encode()];
        while let Some(bytes) = waiting.pop() {
            let (kind, ids) = named_by(&bytes).unwrap();
            match kind {
                Kind::Blob => found.extend(ids),
                _ => waiting.extend(ids.iter().rev().map(|id| store.list(id).unwrap())),
            }
        }
        let wanted: Vec<Id> = model.iter().map(|n| id(*n)).collect();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn one_changed_chunk_of_a_large_array_is_one_list() {
    let store = Stored(MemoryStore::new());
    let chunks = 16_384;
    let mut index = blank(chunks);
    all(&mut index, &store, 0..chunks);
    let mut index = store.round(&index);
    let chunk = Bytes::from(vec![7; CHUNK_BYTES]);
    let change = (Kind::Blob.id_of(&chunk), Some(chunk));
    index.set(BTreeMap::from([(5_000, change)]), &store).unwrap();
    let sizes: Vec<(Kind, usize)> = index
        .parts()
        .objects()
        .map(|(kind, _, bytes)| (kind, bytes.len()))
        .collect();
    assert_eq!(sizes, [(Kind::Blob, CHUNK_BYTES), (Kind::Array, 2 + 3 + LIST_MAX * 32)]);
    assert!(index.root().encode().len() < 64 * 32 + 100);
    index.clear_parts();
    assert_eq!(index.parts().objects().count(), 0);
}

#[test]
fn a_missing_list_changes_nothing() {
    let store = Stored(MemoryStore::new());
    let mut index = blank(600);
    all(&mut index, &store, 0..600);
    let root = index.root().clone();
    let mut lost = ArrayIndex::of(root.clone(), None);
    let change = BTreeMap::from([(3, (id(9), None))]);
    assert!(lost.set(change, &store).unwrap_err().to_string().contains("missing"));
    assert_eq!(*lost.root(), root);
    assert!(lost.chunk(3, &store).is_err());
}

#[test]
fn descriptions_and_lists_that_do_not_fit_are_corrupt() {
    let mut index = ArrayIndex::blank(Some("bytes".to_owned()), "|u1".to_owned(), vec![3], 3);
    index
        .set(BTreeMap::from([(0, (id(1), None))]), &Stored(MemoryStore::new()))
        .unwrap();
    let bytes = index.root().encode();
    assert_eq!(ArrayRoot::decode(&bytes).unwrap(), *index.root());
    assert_eq!(named_by(&bytes).unwrap(), (Kind::Blob, vec![id(1)]));
    let Value::Map(pairs) = Value::decode(&bytes).unwrap() else {
        panic!()
    };
    let with = |key: &str, value: Option<Value>| {
        let mut pairs: Vec<(String, Value)> = pairs.iter().filter(|(name, _)| name != key).cloned().collect();
        pairs.extend(value.map(|value| (key.to_owned(), value)));
        Value::Map(pairs).encode()
    };
    assert!(ArrayRoot::decode(&with("form", None)).is_ok());
    for (key, value) in [
        ("dtype", None),
        ("shape", None),
        ("shape", Some(Value::Array(vec![Value::Int(-1)]))),
        ("chunk", Some(Value::Int(4096))),
        ("size", None),
        ("size", Some(Value::Int(65_537))),
        ("size", Some(Value::Int(i128::from(u64::MAX)))),
        ("level", Some(Value::Int(1))),
        ("level", Some(Value::Int(256))),
        ("chunks", None),
        ("chunks", Some(Value::Bytes(vec![0; 31]))),
        ("chunks", Some(Value::Bytes(vec![0; 64]))),
    ] {
        let wrong = with(key, value);
        assert!(ArrayRoot::decode(&wrong).is_err(), "{key}");
        assert!(named_by(&wrong).is_err(), "{key}");
    }
    let list = |level, bytes| Value::Array(vec![Value::Int(level), Value::Bytes(bytes)]).encode();
    assert_eq!(
        named_by(&list(0, vec![5; 32])).unwrap(),
        (Kind::Blob, vec![Id([5; 32])])
    );
    assert_eq!(
        named_by(&list(1, vec![5; 32])).unwrap(),
        (Kind::Array, vec![Id([5; 32])])
    );
    for wrong in [
        list(0, vec![]),
        list(6, vec![5; 32]),
        list(0, vec![5; 33]),
        list(0, vec![5; 257 * 32]),
    ] {
        assert!(named_by(&wrong).is_err());
    }
    assert!(named_by(b"\xff").is_err() && named_by(&Value::Int(1).encode()).is_err());
    // A list of the wrong length at its place.
    let store = Stored(MemoryStore::new());
    let mut long = blank(600);
    all(&mut long, &store, 0..600);
    let mut batch = Batch::new();
    let short = list(0, vec![5; 32]);
    let short_id = batch.put_new(Kind::Array, &short).unwrap();
    store.0.commit(&mut batch).unwrap();
    let Value::Map(mut pairs) = Value::decode(&long.root().encode()).unwrap() else {
        panic!()
    };
    for (key, value) in &mut pairs {
        if key == "chunks" {
            *value = Value::Bytes([short_id.0, short_id.0, short_id.0].concat());
        }
    }
    let forged = ArrayRoot::decode(&Value::Map(pairs).encode()).unwrap();
    let error = ArrayIndex::of(forged, None).chunk(1, &store).unwrap_err();
    assert!(error.to_string().contains("does not fit its place"));
}

#[test]
fn pending_is_the_description_and_the_parts() {
    let mut index = blank(1);
    let chunk = Bytes::from_static(b"x");
    index
        .set(BTreeMap::from([(0, (id(1), Some(chunk)))]), &Stored(MemoryStore::new()))
        .unwrap();
    let Pending::Array { root, parts } = index.pending() else {
        panic!()
    };
    assert_eq!(root, index.root().encode());
    assert!(Arc::ptr_eq(&parts, index.parts()));
}
