//! A named workspace has one owner. Two repositories opened on one store stand for two processes.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::sync::Arc;

use pyi_engine::{Bytes, CaptureOptions, Durability, ErrorKind, Expect, Repository, RepositoryOptions, Result};
use pyi_engine::{Value, Version, Workspace};

fn open(path: &Path) -> Repository {
    let options = RepositoryOptions {
        store: Some(path.join("store")),
        ..RepositoryOptions::default()
    };
    Repository::open(path, &options).unwrap()
}

fn write(workspace: &Workspace, path: &str, text: &str) -> Result<()> {
    workspace.write(path.as_bytes(), Bytes::copy_from_slice(text.as_bytes()), None)
}

fn read(workspace: &Workspace, path: &str) -> String {
    String::from_utf8(workspace.read(path.as_bytes()).unwrap().to_vec()).unwrap()
}

fn lost<T>(result: Result<T>) {
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    let text = error.to_string();
    assert!(text.contains("\"agent\"") && text.contains("open_workspace"), "{text}");
}

#[test]
fn who_opens_a_name_owns_it_and_the_owner_before_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (open(dir.path()), open(dir.path()));
    let first = here.workspace("main").unwrap().fork_named("agent").unwrap();
    write(&first, "a", "1").unwrap();
    let base = *first.checkpoint("one", Value::Null).unwrap().id();
    write(&first, "a", "only in memory").unwrap();
    let second = there.open_workspace("agent").unwrap();
    assert_eq!(read(&second, "a"), "1");

    std::fs::create_dir(dir.path().join("tree")).unwrap();
    std::fs::write(dir.path().join("tree/new"), "new").unwrap();
    let empty = || Value::Map(Vec::new());
    lost(write(&first, "a", "2"));
    lost(first.remove(b"a"));
    lost(first.rename(b"a", b"b"));
    lost(first.make_directory(b"d"));
    lost(first.symlink(b"l", Bytes::from_static(b"a")));
    lost(first.merge(&Version::Id(base), None));
    lost(first.capture(&dir.path().join("tree"), &CaptureOptions::default()));
    lost(first.state_set("k", &Value::Int(1)));
    lost(first.state_remove("k"));
    lost(first.journal_append("step", empty()));
    lost(first.flush_journal());
    lost(first.checkpoint("two", Value::Null));
    lost(first.restore(&base));
    lost(first.publish("main", Expect::Absent));
    // What it holds is still there, to be read and to be kept under another name.
    assert_eq!(read(&first, "a"), "only in memory");
    assert!(first.is_dirty());
    let rescued = first.fork_named("rescued").unwrap();
    rescued.checkpoint("rescued", Value::Null).unwrap();

    write(&second, "a", "2").unwrap();
    second.journal_append("step", empty()).unwrap();
    second.flush_journal().unwrap();
    second.checkpoint("two", Value::Null).unwrap();
    // The loser takes it back; the handle that lost it stays lost.
    let third = here.open_workspace("agent").unwrap();
    assert_eq!(read(&third, "a"), "2");
    assert_eq!(third.journal_len(), 1);
    assert!(!Arc::ptr_eq(&first, &third));
    lost(write(&first, "a", "3"));
    lost(write(&second, "a", "3"));
    write(&third, "a", "3").unwrap();
    third.checkpoint("three", Value::Null).unwrap();
    third.publish("main", Expect::Absent).unwrap();
}

#[test]
fn one_repository_has_one_handle_of_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (open(dir.path()), open(dir.path()));
    let first = here.workspace("main").unwrap().fork_named("agent").unwrap();
    write(&first, "a", "1").unwrap();
    let again = here.open_workspace("agent").unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(read(&again, "a"), "1");
    assert!(Arc::ptr_eq(&first, &here.view_workspace("agent").unwrap()));
    // Many threads that open a name that nobody has open.
    first.checkpoint("one", Value::Null).unwrap();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| there.open_workspace("agent").unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for handle in &opened {
        assert!(Arc::ptr_eq(handle, &opened[0]));
        write(handle, "b", "1").unwrap();
    }
    lost(write(&first, "a", "2"));
}

#[test]
fn a_view_leaves_the_lease_until_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (open(dir.path()), open(dir.path()));
    let owner = here.workspace("main").unwrap().fork_named("agent").unwrap();
    write(&owner, "a", "1").unwrap();
    owner.checkpoint("one", Value::Null).unwrap();
    let view = there.view_workspace("agent").unwrap();
    assert_eq!(read(&view, "a"), "1");
    write(&owner, "a", "2").unwrap();
    owner.checkpoint("two", Value::Null).unwrap();
    // It goes on to where the name stands when it is asked for again, and when it writes.
    assert_eq!(read(&there.view_workspace("agent").unwrap(), "a"), "2");
    write(&owner, "a", "3").unwrap();
    owner.checkpoint("three", Value::Null).unwrap();
    write(&view, "b", "1").unwrap();
    assert_eq!(read(&view, "a"), "3");
    lost(write(&owner, "a", "4"));
    assert!(Arc::ptr_eq(&view, &there.open_workspace("agent").unwrap()));
    view.checkpoint("four", Value::Null).unwrap();
}

#[test]
fn a_name_that_was_dropped_and_made_again_is_not_the_old_owners() {
    let dir = tempfile::tempdir().unwrap();
    let here = open(dir.path());
    let base = here.workspace("main").unwrap();
    let first = base.fork_named("agent").unwrap();
    here.drop_name("agent").unwrap();
    write(&first, "a", "1").unwrap();
    let error = first.checkpoint("one", Value::Null).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(here.open_workspace("agent").err().unwrap().kind(), ErrorKind::NotFound);
    // The same session, head and name: only the lease tells them apart.
    let second = base.fork_named("agent").unwrap();
    lost(first.checkpoint("one", Value::Null));
    assert!(Arc::ptr_eq(&second, &here.open_workspace("agent").unwrap()));
}

#[test]
fn candidates_of_a_superposition_that_was_looked_up_are_views() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (open(dir.path()), open(dir.path()));
    let base = here.workspace("main").unwrap();
    base.checkpoint("base", Value::Null).unwrap();
    let made = here
        .superpose(&Version::Workspace(base), 2, None, None, Some("try"))
        .unwrap();
    let (ours, theirs) = (made.candidates().unwrap(), there.superposition("try").unwrap());
    write(&ours[0], "a", "1").unwrap();
    ours[0].checkpoint("one", Value::Null).unwrap();
    // The other side collapses to what the owner stored, and takes nothing for it.
    theirs.collapse(0, "main").unwrap();
    assert_eq!(read(&there.workspace("main").unwrap(), "a"), "1");
    assert!(here.workspaces().unwrap().is_empty());
}

#[test]
fn leases_move_under_a_race_of_writers_without_losing_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let start = first.workspace("main").unwrap().fork_named("agent").unwrap();
    start.checkpoint("start", Value::Null).unwrap();
    let path = dir.path();
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    let (repository, mut done) = (open(path), Vec::new());
                    while done.len() < 25 {
                        let workspace = repository.open_workspace("agent").unwrap();
                        let name = format!("{thread}-{}", done.len());
                        match write(&workspace, &name, &name).and_then(|()| workspace.checkpoint(&name, Value::Null)) {
                            Ok(_) => done.push(name),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}"),
                        }
                    }
                    done
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let end = first.open_workspace("agent").unwrap();
    assert_eq!(end.len(), 100);
    for name in done {
        assert_eq!(read(&end, &name), name);
    }
}

/// Who keeps a lock of its own over a checkpoint asks first whether that is light: little to store, and nothing to wait for.
#[test]
fn a_light_checkpoint_is_one_that_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::open(dir.path(), &RepositoryOptions::default()).unwrap();
    let workspace = repository.workspace("main").unwrap();
    let write = |path: &[u8], length: usize| {
        workspace.write(path, vec![7; length].into(), None).unwrap();
    };
    write(b"a", 10);
    workspace.checkpoint("", Value::Null).unwrap();
    assert!(workspace.is_light(None));
    write(b"a", 1000);
    workspace.state_set("n", &Value::Int(1)).unwrap();
    assert!(workspace.is_light(None) && workspace.is_light(Some(Durability::Process)));
    assert!(!workspace.is_light(Some(Durability::Power)));
    assert!(workspace.fork().unwrap().is_light(None));
    write(b"c", 10);
    assert!(!workspace.is_light(None));
    workspace.checkpoint("", Value::Null).unwrap();
    assert!(workspace.is_light(None));
    assert!(!workspace.fork_named("named").unwrap().is_light(None));
    write(b"large", 100_000);
    assert!(!workspace.is_light(None));
    workspace.restore(workspace.head().id()).unwrap();
    assert!(workspace.is_light(None));
    repository.close().unwrap();
    assert!(!workspace.is_light(None));
}
