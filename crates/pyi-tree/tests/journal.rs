//! The journal: events are counted and found by their index, whatever the batches they came in.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pyi_cas::{Bytes, Kind, MemoryStore};
use pyi_tree::cbor::Value;
use pyi_tree::journal::{Batch, Event, EventBatch, EventBuffer, JournalTree};
use pyi_tree::{Pending, StoreLoader};

fn event(number: u64) -> Event {
    Event {
        kind: "tool".to_owned(),
        time_ns: 1_000 + number,
        data: Value::Map(vec![("n".to_owned(), Value::Int(i128::from(number)))]),
    }
}

fn buffer(events: impl IntoIterator<Item = Event>) -> EventBuffer {
    let mut buffer = EventBuffer::default();
    for event in events {
        buffer.push(&event.kind, event.time_ns, &event.data.encode_ordered());
    }
    buffer
}

fn decoded(batch: &Batch) -> EventBatch {
    let Some(Pending::Blob(content)) = &batch.pending else {
        unreachable!("nothing was sealed")
    };
    EventBatch::decode(content.clone()).unwrap()
}

#[test]
fn every_event_is_found_by_its_index_and_none_behind_the_last() {
    let loader = StoreLoader::new(Arc::new(MemoryStore::new()));
    let mut journal = JournalTree::default();
    assert!(journal.is_empty());
    assert_eq!(journal.len(), 0);
    assert!(journal.batch_of(0, &loader).unwrap().is_none());
    // Batches of 1, 2 and 3 events, enough of them that the journal is cut into pieces.
    let mut total = 0;
    for number in 0..600 {
        let batch = buffer((total..total + 1 + number % 3).map(event));
        journal.append(&batch, &loader).unwrap();
        total += batch.len() as u64;
        assert_eq!(journal.last_ns(), Some(1_000 + total - 1));
        assert_eq!(journal.len(), total);
    }
    assert!(!journal.is_empty());
    assert!(journal.tree().root().level() > 0);
    for index in 0..total {
        let batch = journal.batch_of(index, &loader).unwrap().unwrap();
        let at = usize::try_from(index - batch.first).unwrap();
        let events = decoded(&batch);
        assert_eq!(events.len() as u64, batch.row.size_bytes);
        assert_eq!(events.event(at).unwrap().unwrap(), event(index));
        assert_eq!((events.kind(at), events.time_ns(at)), ("tool", 1_000 + index));
        assert_eq!(events.event(events.len()).unwrap(), None);
    }
    assert!(journal.batch_of(total, &loader).unwrap().is_none());
    assert!(journal.batch_of(u64::MAX, &loader).unwrap().is_none());
}

#[test]
fn an_empty_batch_leaves_the_journal_as_it_is() {
    let loader = StoreLoader::new(Arc::new(MemoryStore::new()));
    let mut journal = JournalTree::default();
    journal.append(&EventBuffer::default(), &loader).unwrap();
    assert!(journal.tree().root().is_empty());
    journal.append(&buffer([event(0)]), &loader).unwrap();
    journal.append(&EventBuffer::default(), &loader).unwrap();
    assert_eq!(journal.tree().root().len(), 1);
    let same = JournalTree::from_tree(journal.tree().clone());
    assert_eq!(same.len(), 1);
}

#[test]
fn each_batch_names_the_one_before_and_the_tip_names_all() {
    let loader = StoreLoader::new(Arc::new(MemoryStore::new()));
    let mut journal = JournalTree::default();
    assert_eq!(journal.tip(&loader).unwrap(), None);
    let mut tips = vec![None];
    for number in 0..300 {
        journal.append(&buffer([event(number)]), &loader).unwrap();
        let batch = journal.batch_of(number, &loader).unwrap().unwrap();
        assert_eq!(decoded(&batch).previous, *tips.last().unwrap());
        let Some(Pending::Blob(content)) = &batch.pending else {
            panic!()
        };
        assert_eq!(journal.tip(&loader).unwrap(), Some(Kind::Blob.id_of(content)));
        tips.push(journal.tip(&loader).unwrap());
    }
    // The same last event behind another history has another tip.
    let mut other = JournalTree::default();
    for number in (0..300).filter(|number| *number != 7) {
        other.append(&buffer([event(number)]), &loader).unwrap();
    }
    assert_ne!(other.tip(&loader).unwrap(), journal.tip(&loader).unwrap());
}

#[test]
fn a_batch_that_does_not_parse_is_corrupt() {
    let text = || Value::Text("tool".to_owned());
    let batch = |event: Value| Value::Array(vec![Value::Null, Value::Array(vec![event])]);
    let good = Value::Array(vec![text(), Value::Int(1), Value::Map(vec![])]);
    let check = |bytes: Vec<u8>| EventBatch::decode(Bytes::from(bytes)).map(|batch| batch.event(0).map(|_| ()));
    check(batch(good.clone()).encode()).unwrap().unwrap();
    for wrong in [
        Value::Int(1),
        Value::Array(vec![Value::Null, Value::Array(vec![])]),
        Value::Array(vec![Value::Bytes(vec![1; 31]), Value::Array(vec![good.clone()])]),
        Value::Array(vec![Value::Int(0), Value::Array(vec![good.clone()])]),
        batch(Value::Int(1)),
        batch(Value::Array(vec![text(), Value::Int(1)])),
        batch(Value::Array(vec![Value::Int(1), Value::Int(1), Value::Map(vec![])])),
        batch(Value::Array(vec![text(), Value::Int(-1), Value::Map(vec![])])),
    ] {
        let error = check(wrong.encode()).unwrap_err();
        assert!(error.to_string().contains("journal"), "{wrong:?}");
    }
    for wrong in [&b"\xff"[..], &[batch(good).encode(), vec![0]].concat()] {
        assert!(check(wrong.to_vec()).is_err());
    }
    // What the data are is seen when the event is made.
    let null = batch(Value::Array(vec![text(), Value::Int(1), Value::Null])).encode();
    assert!(check(null).unwrap().is_err());
    let double = [&[0xa2][..], &[0x61, b'a', 0xf6], &[0x61, b'a', 0xf6]].concat();
    let mut buffer = EventBuffer::default();
    buffer.push("tool", 1, &double);
    assert!(check(buffer.batch(None).to_vec()).unwrap().is_err(), "a key twice");
}
