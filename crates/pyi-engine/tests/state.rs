//! The state: arrays are kept by what changed in them, whoever changes them and how; forks are isolated from tracked writes.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use pyi_engine::{
    ARRAY_CHUNK_BYTES, Bytes, ErrorKind, GcOptions, LiveArray, Memory, NewArray, Region, Repository, RepositoryOptions,
    Retention, StateValue, Take, Value, Version, Workspace,
};

const CHUNK: usize = ARRAY_CHUNK_BYTES;

fn open(directory: &std::path::Path) -> Repository {
    Repository::open(directory, &RepositoryOptions::default()).unwrap()
}

fn content(chunks: usize, seed: u32) -> Vec<u8> {
    let mut word = seed;
    let mut bytes = Vec::with_capacity(chunks * CHUNK);
    while bytes.len() < chunks * CHUNK {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn array(bytes: &[u8], is_stable: bool) -> NewArray {
    NewArray {
        form: None,
        dtype: "|u1".to_owned(),
        shape: vec![bytes.len() as u64],
        bytes: Bytes::copy_from_slice(bytes),
        is_stable,
    }
}

fn read(workspace: &Workspace, key: &str) -> Vec<u8> {
    let Some(StateValue::Array(found)) = workspace.state_get(key).unwrap() else {
        panic!("no array under {key}")
    };
    found.memory.copy()
}

fn write(array: &LiveArray, at: usize, bytes: &[u8]) {
    let region = Region {
        offset: at as u64,
        item_bytes: 1,
        axes: vec![(bytes.len() as u64, 1)],
    };
    array.fetch(&region).unwrap();
    array.mark(&region);
    // SAFETY: inside the array; nobody else looks.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), array.memory().start().add(at), bytes.len()) };
    array.mark(&region);
}

fn stored_bytes(repository: &Repository) -> u64 {
    repository.stats().unwrap().bytes_stored
}

#[test]
fn what_did_not_change_is_not_stored_again() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let workspace = repository.workspace("main").unwrap();
    let mut bytes = content(600, 1);
    bytes.truncate(bytes.len() - 100);
    workspace.state_set_array("a", &array(&bytes, false)).unwrap();
    let first = workspace.checkpoint("", Value::Null).unwrap();
    assert_eq!(read(&workspace, "a"), bytes);
    for (changes, stable) in [
        (vec![5, 300], true),
        ((0..20).map(|n| n * 29).collect::<Vec<_>>(), false),
    ] {
        for chunk in &changes {
            bytes[chunk * CHUNK + 7] ^= 1;
        }
        let before = stored_bytes(&repository);
        workspace.state_set_array("a", &array(&bytes, stable)).unwrap();
        workspace.checkpoint("", Value::Null).unwrap();
        let grown = (stored_bytes(&repository) - before) as usize;
        let lists = 3 * 9000;
        assert!(
            (changes.len() * CHUNK..changes.len() * (CHUNK + 200) + lists + 3000).contains(&grown),
            "{grown}"
        );
        assert_eq!(read(&workspace, "a"), bytes);
    }
    workspace.restore(first.id()).unwrap();
    let mut old = content(600, 1);
    old.truncate(bytes.len());
    assert_eq!(read(&workspace, "a"), old);
}

#[test]
fn a_tracked_array_fetches_what_is_looked_at_and_stores_what_was_touched() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = content(600, 2);
    let (first, second);
    {
        let repository = open(directory.path());
        let workspace = repository.workspace("main").unwrap();
        workspace.state_set_array("a", &array(&bytes, true)).unwrap();
        first = *workspace.checkpoint("", Value::Null).unwrap().id();
    }
    let repository = open(directory.path());
    let workspace = repository.workspace_at(first).unwrap();
    let live = workspace.state_array("a").unwrap();
    assert!(Arc::ptr_eq(&live, &workspace.state_array("a").unwrap()));
    assert_eq!((live.chunks(), live.missing(), workspace.is_dirty()), (600, 600, false));
    write(&live, 10 * CHUNK - 2, b"four");
    assert_eq!((live.missing(), live.touched(), workspace.is_dirty()), (598, 2, true));
    let fork = workspace.fork().unwrap();
    assert_eq!((live.touched(), live.missing()), (0, 598));
    let mut wanted = bytes.clone();
    wanted[10 * CHUNK - 2..10 * CHUNK + 2].copy_from_slice(b"four");
    assert_eq!(read(&fork, "a"), wanted);
    // The fork does not see what is written afterwards, nor the other way round.
    write(&live, 0, b"mine");
    let theirs = fork.state_array("a").unwrap();
    write(&theirs, 0, b"fork");
    let before = stored_bytes(&repository);
    second = *workspace.checkpoint("", Value::Null).unwrap().id();
    assert!((stored_bytes(&repository) - before) < 5 * CHUNK as u64);
    assert!(!workspace.is_dirty());
    wanted[..4].copy_from_slice(b"mine");
    assert_eq!(read(&workspace, "a"), wanted);
    assert_eq!(&read(&fork, "a")[..4], b"fork");
    assert_eq!(
        workspace.diff(Some(&Version::Workspace(fork)), false).unwrap().len(),
        0,
        "files only"
    );
    // Many chunks at once are stored at once.
    for chunk in 0..50 {
        write(&live, chunk * 11 * CHUNK + 3, b"x");
        wanted[chunk * 11 * CHUNK + 3] = b'x';
    }
    let again = workspace.fork().unwrap();
    assert_eq!(read(&again, "a"), wanted);
    workspace.checkpoint("", Value::Null).unwrap();
    // Going back detaches.
    workspace.restore(&second).unwrap();
    assert!(live.is_detached());
    assert_eq!(workspace.check_array(&live).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(read(&workspace, "a")[3 + 11 * CHUNK], bytes[3 + 11 * CHUNK]);
    let live = workspace.state_array("a").unwrap();
    workspace.check_array(&live).unwrap();
    workspace.state_set("a", &Value::Int(1)).unwrap();
    assert!(live.is_detached());
    assert_eq!(
        workspace.state_array("a").err().unwrap().kind(),
        ErrorKind::InvalidArgument
    );
    assert_eq!(workspace.state_array("b").err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn equal_contents_have_equal_ids_however_they_came_about() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let bytes = content(300, 3);
    let mut changed = bytes.clone();
    changed[70 * CHUNK] ^= 1;
    let state = |workspace: &Workspace| workspace.checkpoint("", Value::Null).unwrap().root().state;
    let (assigned, tracked, adopted) = (
        repository.workspace("main").unwrap(),
        repository.workspace("main").unwrap(),
        repository.workspace("main").unwrap(),
    );
    assigned.state_set_array("a", &array(&changed, false)).unwrap();
    tracked.state_set_array("a", &array(&bytes, true)).unwrap();
    write(
        &tracked.state_array("a").unwrap(),
        70 * CHUNK,
        &changed[70 * CHUNK..=70 * CHUNK],
    );
    let mut owned = changed.clone();
    let start = owned.as_mut_ptr();
    // SAFETY: the vector is the owner, and is not touched by anybody else.
    let memory = unsafe { Memory::foreign(start, owned.len(), Box::new(owned)) };
    let live = adopted
        .state_adopt("a", "|u1", &[changed.len() as u64], memory)
        .unwrap();
    assert_eq!((live.missing(), live.memory().start()), (0, start));
    let id = state(&assigned);
    assert_eq!((state(&tracked), state(&adopted)), (id, id));
    write(&live, 0, &[changed[0] ^ 1]);
    assert_ne!(state(&adopted), id);
    write(&live, 0, &[changed[0]]);
    assert_eq!(state(&adopted), id);
}

#[test]
fn a_window_counts_as_written_to_as_long_as_it_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let workspace = repository.workspace("main").unwrap();
    let bytes = content(8, 4);
    workspace.state_set_array("a", &array(&bytes, true)).unwrap();
    workspace.checkpoint("", Value::Null).unwrap();
    let live = workspace.state_array("a").unwrap();
    live.fetch_chunks(0..8).unwrap();
    let window = live.open_window(CHUNK, 3 * CHUNK);
    for value in 0..3 {
        workspace.checkpoint("", Value::Null).unwrap();
        assert!(workspace.is_dirty());
        // SAFETY: inside the window; nobody else looks.
        unsafe { live.memory().start().add(CHUNK).write(value) };
        assert_eq!(read(&workspace.fork().unwrap(), "a")[CHUNK], value);
    }
    live.close_window(window);
    live.close_window(window);
    workspace.checkpoint("", Value::Null).unwrap();
    assert!(!workspace.is_dirty());
}

#[test]
fn a_collection_leaves_every_chunk_that_something_needs() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let workspace = repository.workspace("main").unwrap();
    let retention = Retention {
        age: Duration::ZERO,
        heads: 0,
        ..Retention::default()
    };
    repository.set_retention(&retention).unwrap();
    let mut bytes = content(600, 5);
    workspace.state_set_array("a", &array(&bytes, true)).unwrap();
    let collect = |repository: &Repository| {
        let options = GcOptions {
            budget_bytes: Some(u64::MAX),
            ..GcOptions::default()
        };
        let report = repository.gc(&options).unwrap();
        assert_eq!(report.gave_up, None);
        report.objects_removed
    };
    collect(&repository);
    // Stored early, in no checkpoint yet.
    assert_eq!(read(&workspace, "a"), bytes);
    workspace.checkpoint("", Value::Null).unwrap();
    let live = workspace.state_array("a").unwrap();
    write(&live, 9 * CHUNK, b"z");
    bytes[9 * CHUNK] = b'z';
    // The array that is looked at lazily was given up by its workspace.
    workspace.checkpoint("", Value::Null).unwrap();
    workspace.state_remove("a").unwrap();
    workspace.checkpoint("", Value::Null).unwrap();
    collect(&repository);
    assert_eq!(live.missing(), 599);
    live.fetch_chunks(0..600).unwrap();
    assert_eq!(live.memory().copy(), bytes);
    drop((live, workspace, repository));
    assert!(collect(&open(directory.path())) > 500, "nobody needs it any more");
}

#[test]
fn a_merge_takes_over_what_was_written_and_detaches_what_it_changed() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let base = repository.workspace("main").unwrap();
    let bytes = content(8, 6);
    base.state_set_array("mine", &array(&bytes, true)).unwrap();
    base.state_set_array("theirs", &array(&bytes, true)).unwrap();
    base.checkpoint("", Value::Null).unwrap();
    let (ours, other) = (base.fork().unwrap(), base.fork().unwrap());
    let (mine, changed) = (ours.state_array("mine").unwrap(), ours.state_array("theirs").unwrap());
    write(&mine, 0, b"m");
    write(&other.state_array("theirs").unwrap(), 0, b"t");
    assert!(ours.merge(&Version::Workspace(other), None).unwrap().is_empty());
    assert_eq!((read(&ours, "mine")[0], read(&ours, "theirs")[0]), (b'm', b't'));
    assert!(!mine.is_detached() && changed.is_detached());
}

#[test]
fn resolving_a_conflict_detaches_the_array_that_it_replaces() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let base = repository.workspace("main").unwrap();
    let bytes = content(8, 8);
    base.state_set_array("a", &array(&bytes, true)).unwrap();
    base.checkpoint("", Value::Null).unwrap();
    let (ours, other) = (base.fork().unwrap(), base.fork().unwrap());
    let mine = ours.state_array("a").unwrap();
    write(&mine, 0, b"m");
    write(&other.state_array("a").unwrap(), 0, b"t");
    let conflicts = ours.merge_keeping(&Version::Workspace(other), None).unwrap();
    assert_eq!(conflicts.len(), 1);
    assert!(!mine.is_detached());
    ours.resolve(b"state:a", &Take::Theirs).unwrap();
    assert!(mine.is_detached());
    assert_eq!(read(&ours, "a")[0], b't');
}

#[test]
fn an_array_that_is_assigned_again_and_again_is_pinned_once() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let workspace = repository.workspace("main").unwrap();
    let retention = Retention {
        age: Duration::ZERO,
        heads: 0,
        ..Retention::default()
    };
    repository.set_retention(&retention).unwrap();
    for seed in 0..5 {
        workspace
            .state_set_array("a", &array(&content(20, seed), false))
            .unwrap();
    }
    let options = GcOptions {
        budget_bytes: Some(u64::MAX),
        ..GcOptions::default()
    };
    assert!(repository.gc(&options).unwrap().objects_removed >= 80);
    assert_eq!(read(&workspace, "a"), content(20, 4));
}

#[test]
fn maps_keep_the_order_of_their_keys() {
    let directory = tempfile::tempdir().unwrap();
    let repository = open(directory.path());
    let workspace = repository.workspace("main").unwrap();
    let map = Value::Map(["zz", "a", "b"].map(|key| (key.to_owned(), Value::Null)).to_vec());
    workspace.state_set("k", &map).unwrap();
    workspace.checkpoint("", Value::Null).unwrap();
    let Some(StateValue::Value(found)) = workspace.state_get("k").unwrap() else {
        panic!()
    };
    assert_eq!(found, map);
}
