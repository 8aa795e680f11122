//! Random histories of the store on disk against the store in memory, with limits so small that every few steps something
//! seals, rotates or is adopted.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::*;
use proptest::prelude::*;
use pyi_cas::{Batch, FileStore, Guard, Id, Kind, MemoryStore, ObjectStore, RangeChange, RefRange, RefTransaction};

#[derive(Clone, Debug)]
enum Command {
    Put {
        store: usize,
        objects: Vec<(u8, usize)>,
    },
    Get {
        store: usize,
        object: u8,
    },
    Reopen {
        store: usize,
    },
    Ref {
        store: usize,
        guards: Vec<(u8, u8)>,
        puts: Vec<(u8, Option<u8>)>,
        ranges: Vec<(u32, u32, Option<u8>)>,
    },
    Scan {
        store: usize,
    },
    Tear,
}

const STORES: usize = 3;

fn command() -> impl Strategy<Value = Command> {
    let store = 0..STORES;
    prop_oneof![
        4 => (store.clone(), proptest::collection::vec((any::<u8>(), 0usize..400), 0..4)).prop_map(|(store, objects)| Command::Put { store, objects }),
        4 => (store.clone(), any::<u8>()).prop_map(|(store, object)| Command::Get { store, object }),
        1 => store.clone().prop_map(|store| Command::Reopen { store }),
        4 => (store.clone(), proptest::collection::vec((0u8..8, 0u8..5), 0..3), proptest::collection::vec((0u8..8, proptest::option::of(0u8..3)), 0..3),
                proptest::collection::vec((0u32..6, 1u32..6, proptest::option::of(0u8..3)), 0..2))
            .prop_map(|(store, guards, puts, ranges)| Command::Ref { store, guards, puts, ranges }),
        1 => store.prop_map(|store| Command::Scan { store }),
        1 => Just(Command::Tear),
    ]
}

/// The content belongs to the number, so that the model and the store agree on what an object is.
fn object(number: u8) -> (Kind, Vec<u8>) {
    let kind = Kind::ALL[usize::from(number) % 4];
    (kind, content(usize::from(number), usize::from(number) * 3))
}

/// Some by themselves, some that ranges hold too.
fn key(number: u8) -> Vec<u8> {
    match number {
        0..4 => vec![b'k', number],
        _ => format!("n{}", number - 4).into_bytes(),
    }
}

fn run(commands: Vec<Command>) {
    let directory = tempfile::tempdir().unwrap();
    let model = MemoryStore::new();
    let mut stores: Vec<Option<FileStore>> = (0..STORES).map(|_| Some(open_with(directory.path(), tiny()))).collect();
    let mut ids: Vec<(Kind, Id)> = Vec::new();
    for command in commands {
        match command {
            Command::Put { store, objects } => {
                let store = stores[store].as_ref().unwrap();
                let (mut ours, mut theirs) = (Batch::new(), Batch::new());
                for (number, _) in objects {
                    let (kind, bytes) = object(number);
                    ids.push((kind, ours.put_new(kind, &bytes).unwrap()));
                    theirs.put_new(kind, &bytes).unwrap();
                }
                store.commit(&mut ours).unwrap();
                model.commit(&mut theirs).unwrap();
            }
            Command::Get { store, object: number } => {
                let store = stores[store].as_ref().unwrap();
                let (kind, bytes) = object(number);
                let id = kind.id_of(&bytes);
                assert_eq!(store.get(kind, &id).unwrap(), model.get(kind, &id).unwrap());
                assert_eq!(store.contains(&id).unwrap(), model.contains(&id).unwrap());
                assert!(!store.contains_hint(&id) || model.contains_hint(&id));
                let hex = &id.to_hex()[..4];
                assert_eq!(
                    store.find_prefix(hex, kind).unwrap(),
                    model.find_prefix(hex, kind).unwrap()
                );
            }
            Command::Reopen { store } => {
                stores[store] = None;
                stores[store] = Some(open_with(directory.path(), tiny()));
            }
            Command::Ref {
                store,
                guards,
                puts,
                ranges,
            } => {
                let guard = |kind: u8| match kind {
                    0 => Guard::Absent,
                    1 => Guard::Present,
                    value => Guard::Equals(vec![value - 2]),
                };
                let transaction = RefTransaction {
                    guards: guards
                        .into_iter()
                        .map(|(number, kind)| (key(number), guard(kind)))
                        .collect(),
                    puts: puts
                        .into_iter()
                        .map(|(number, value)| (key(number), value.map(|v| vec![v])))
                        .collect(),
                    ranges: ranges
                        .into_iter()
                        .map(|(start, length, value)| RefRange {
                            prefix: b"n".to_vec(),
                            numbers: start..start + length,
                            change: value.map_or(RangeChange::Delete, |v| RangeChange::Create(vec![v])),
                        })
                        .collect(),
                    message: "step".into(),
                    ..RefTransaction::default()
                };
                let refs = stores[store].as_ref().unwrap().refs();
                let generation = refs.generation();
                let outcome = refs.commit(&transaction).unwrap();
                assert_eq!(outcome, model.refs().commit(&transaction).unwrap());
                if outcome == pyi_cas::RefOutcome::Done {
                    assert_ne!(generation, refs.generation());
                }
            }
            Command::Scan { store } => {
                let refs = stores[store].as_ref().unwrap().refs();
                assert_eq!(refs.scan(b"").unwrap(), model.refs().scan(b"").unwrap());
                for number in [1, 5] {
                    assert_eq!(refs.get(&key(number)).unwrap(), model.refs().get(&key(number)).unwrap());
                }
            }
            // Somebody dies in a write to the ref log.
            Command::Tear => {
                let newest = files(&directory.path().join("refs"), "log").pop().unwrap();
                let whole = std::fs::read(&newest).unwrap();
                let torn = &whole[64..whole.len().min(64 + 50)];
                let mut file = std::fs::OpenOptions::new().append(true).open(&newest).unwrap();
                std::io::Write::write_all(&mut file, torn).unwrap();
            }
        }
    }
    for store in stores.iter().flatten() {
        for (kind, id) in &ids {
            assert_eq!(store.get(*kind, id).unwrap(), model.get(*kind, id).unwrap());
        }
        assert_eq!(store.refs().scan(b"").unwrap(), model.refs().scan(b"").unwrap());
        assert!(store.stats().unwrap().damage.is_empty());
    }
    drop(stores);
    let fresh = open_with(directory.path(), tiny());
    for (kind, id) in &ids {
        assert_eq!(fresh.get(*kind, id).unwrap(), model.get(*kind, id).unwrap());
    }
}

/// 64 histories, unless `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 64;
    }
    config
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn the_store_does_what_the_model_does(commands in proptest::collection::vec(command(), 1..120)) {
        run(commands);
    }
}
