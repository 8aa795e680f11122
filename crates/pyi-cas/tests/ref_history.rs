//! The history of the refs says what was committed, over every rotation, and no more than that.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use pyi_cas::{FileStore, Guard, MemoryStore, ObjectStore, OpenOptions, OsFs, RefChange, RefOutcome, RefTransaction};

/// A message, and what it changed: key, value before, value after.
type Step = (String, Vec<(String, Option<String>, Option<String>)>);

fn history(store: &dyn ObjectStore) -> Vec<RefChange> {
    let mut found = Vec::new();
    store.refs().history(&mut |change| found.push(change)).unwrap();
    found
}

fn open(path: &std::path::Path) -> FileStore {
    let options = OpenOptions {
        create: true,
        ref_log_limit_bytes: 2000,
        ..OpenOptions::default()
    };
    FileStore::open(Arc::new(OsFs), path, options).unwrap()
}

/// Commits `count` transactions, some of which do not apply and some of which change nothing; what the history must say of them.
fn commit(stores: &[&dyn ObjectStore], count: usize) -> Vec<Step> {
    let mut expected = Vec::new();
    let mut state: std::collections::BTreeMap<String, String> = Default::default();
    for number in 0..count {
        let store = stores[number % stores.len()];
        let keys = [format!("k{}", number % 7), format!("k{}", number % 3)];
        let value = (number % 5 != 0).then(|| format!("value {}", number % 11));
        let guard = if number % 4 == 0 { Guard::Absent } else { Guard::Present };
        let transaction = RefTransaction {
            guards: vec![(keys[0].clone().into(), guard.clone())],
            puts: keys
                .iter()
                .map(|key| (key.clone().into(), value.clone().map(Into::into)))
                .collect(),
            message: format!("step {number}"),
            ..RefTransaction::default()
        };
        let applies = (guard == Guard::Absent) != state.contains_key(&keys[0]);
        let outcome = store.refs().commit(&transaction).unwrap();
        assert_eq!(outcome == RefOutcome::Done, applies, "{number}");
        if !applies {
            continue;
        }
        let mut changes = Vec::new();
        for key in &keys {
            let before = match &value {
                Some(value) => state.insert(key.clone(), value.clone()),
                None => state.remove(key),
            };
            if before != value && !changes.iter().any(|(known, _, _)| known == key) {
                changes.push((key.clone(), before, value.clone()));
            }
        }
        if !changes.is_empty() {
            expected.push((transaction.message, changes));
        }
    }
    assert!(expected.len() > count / 4);
    expected
}

fn plain(found: &[RefChange]) -> Vec<Step> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let change = |change: &RefChange| {
        let keys = change.changes.iter();
        let keys = keys.map(|key| {
            let value = |value: &Option<pyi_cas::Bytes>| value.as_deref().map(text);
            (text(&key.key), value(&key.before), value(&key.after))
        });
        (change.message.clone(), keys.collect())
    };
    found.iter().map(change).collect()
}

#[test]
fn it_says_what_was_committed_by_all_over_every_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let begin = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let expected = commit(&[&one, &two], 300);
    let found = history(&one);
    assert_eq!(plain(&found), expected);
    assert_eq!(found, history(&open(dir.path())));
    assert!(found.windows(2).all(|pair| pair[0].position < pair[1].position));
    let hour = 3_600_000_000_000;
    assert!(
        found
            .iter()
            .all(|change| (begin..begin + hour).contains(&change.time_ns))
    );
    assert!(found.last().unwrap().position >> 32 > 3, "the log was never rotated");

    // A log that goes takes its part of the history, and nothing else.
    let before = one.refs().scan(b"").unwrap();
    let keep = found[found.len() / 2].position;
    assert!(one.refs().forget_before(keep).unwrap() > 0);
    assert_eq!(two.refs().forget_before(keep).unwrap(), 0);
    let left = history(&two);
    assert!(found.ends_with(&left) && left.len() < found.len());
    assert!(left[0].position >> 32 == keep >> 32);
    assert_eq!(open(dir.path()).refs().scan(b"").unwrap(), before);
    one.refs().forget_before(u64::MAX).unwrap();
    assert_eq!(open(dir.path()).refs().scan(b"").unwrap(), before);
}

#[test]
fn it_passes_over_what_a_dead_writer_left() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut expected = commit(&[&store], 24);
    let log = dir.path().join("refs/0000000000000001.log");
    let bytes = std::fs::read(&log).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    // The beginning of the snapshot record is as good as that of any other.
    file.write_all(&bytes[64..100]).unwrap();
    let put = RefTransaction {
        puts: vec![(b"last".to_vec(), Some(b"1".to_vec()))],
        message: "last".to_owned(),
        ..RefTransaction::default()
    };
    store.refs().commit(&put).unwrap();
    expected.push(("last".to_owned(), vec![("last".to_owned(), None, Some("1".to_owned()))]));
    assert_eq!(plain(&history(&store)), expected);
}

#[test]
fn refs_in_memory_have_one_too() {
    let store = MemoryStore::new();
    let expected = commit(&[&store], 300);
    assert_eq!(plain(&history(&store)), expected);
}
