//! The journal: events are counted and found by their index, whatever the batches they came in.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pyi_cas::MemoryStore;
use pyi_tree::cbor::Value;
use pyi_tree::journal::{Batch, Event, JournalTree, decode_batch};
use pyi_tree::{Pending, StoreLoader};

fn event(number: u64) -> Event {
    Event {
        kind: "tool".to_owned(),
        time_ns: 1_000 + number,
        data: Value::Map(vec![("n".to_owned(), Value::Int(i128::from(number)))]),
    }
}

fn events(batch: &Batch) -> Vec<Event> {
    let Some(Pending::Blob(content)) = &batch.pending else {
        unreachable!("nothing was sealed")
    };
    decode_batch(content).unwrap()
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
        let batch: Vec<Event> = (total..total + 1 + number % 3).map(event).collect();
        journal.append(&batch, &loader).unwrap();
        total += batch.len() as u64;
        assert_eq!(journal.len(), total);
    }
    assert!(!journal.is_empty());
    assert!(journal.tree().root().level() > 0);
    for index in 0..total {
        let batch = journal.batch_of(index, &loader).unwrap().unwrap();
        let at = usize::try_from(index - batch.first).unwrap();
        let events = events(&batch);
        assert_eq!(events.len() as u64, batch.row.size_bytes);
        assert_eq!(events[at], event(index));
    }
    assert!(journal.batch_of(total, &loader).unwrap().is_none());
    assert!(journal.batch_of(u64::MAX, &loader).unwrap().is_none());
}

#[test]
fn an_empty_batch_leaves_the_journal_as_it_is() {
    let loader = StoreLoader::new(Arc::new(MemoryStore::new()));
    let mut journal = JournalTree::default();
    journal.append(&[], &loader).unwrap();
    assert!(journal.tree().root().is_empty());
    journal.append(&[event(0)], &loader).unwrap();
    journal.append(&[], &loader).unwrap();
    assert_eq!(journal.tree().root().len(), 1);
    let same = JournalTree::from_tree(journal.tree().clone());
    assert_eq!(same.len(), 1);
}

#[test]
fn a_batch_that_does_not_parse_is_corrupt() {
    let text = || Value::Text("tool".to_owned());
    for wrong in [
        Value::Int(1),
        Value::Array(vec![Value::Int(1)]),
        Value::Array(vec![Value::Array(vec![text(), Value::Int(1)])]),
        Value::Array(vec![Value::Array(vec![text(), Value::Int(1), Value::Null])]),
        Value::Array(vec![Value::Array(vec![text(), Value::Int(-1), Value::Map(vec![])])]),
    ] {
        assert!(
            decode_batch(&wrong.encode())
                .unwrap_err()
                .to_string()
                .contains("journal")
        );
    }
    assert!(decode_batch(b"\xff").unwrap_err().to_string().contains("journal"));
}
