//! Every change of a ref can be taken back, and what somebody did since is not.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::time::Duration;

use pyi_engine::{Bytes, ErrorKind, Expect, Id, RefKind, Repository, RepositoryOptions, Value, Version, Workspace};

fn open(path: &Path) -> Repository {
    let options = RepositoryOptions {
        store: Some(path.join("store")),
        ..RepositoryOptions::default()
    };
    Repository::open(path, &options).unwrap()
}

fn step(workspace: &Workspace, text: &str) -> Id {
    workspace
        .write(b"file", Bytes::copy_from_slice(text.as_bytes()), None)
        .unwrap();
    *workspace.checkpoint(text, Value::Null).unwrap().id()
}

#[test]
fn branches_names_and_kept_checkpoints_go_back_and_on_again() {
    let dir = tempfile::tempdir().unwrap();
    let repository = open(dir.path());
    let workspace = repository.workspace("main").unwrap();
    let one = step(&workspace, "one");
    workspace.publish("main", Expect::Absent).unwrap();
    let two = step(&workspace, "two");
    workspace.publish("main", Expect::Origin).unwrap();
    assert_eq!(repository.branch("main").unwrap(), two);

    let undone = repository.undo(1).unwrap();
    assert_eq!(undone.message, "undo publish main");
    assert_eq!(undone.moves[0].kind, RefKind::Branch);
    assert_eq!((undone.moves[0].before, undone.moves[0].after), (Some(two), Some(one)));
    assert_eq!(repository.branch("main").unwrap(), one);
    // An undo is an operation like any other.
    repository.undo(1).unwrap();
    assert_eq!(repository.branch("main").unwrap(), two);

    repository.keep(&one).unwrap();
    repository.keep(&one).unwrap();
    repository.delete_branch("main", None).unwrap();
    assert_eq!(repository.kept().unwrap(), [one]);
    repository.undo(2).unwrap();
    assert_eq!(repository.kept().unwrap(), []);
    assert_eq!(repository.branch("main").unwrap(), two);
    assert_eq!(repository.unkeep(&one).unwrap_err().kind(), ErrorKind::NotFound);

    let named = workspace.fork_named("agent").unwrap();
    step(&named, "three");
    repository.drop_name("agent").unwrap();
    repository.undo(1).unwrap();
    let again = repository.open_workspace("agent").unwrap();
    assert_eq!(&again.read(b"file").unwrap()[..], b"three");
    // Opening it was nothing that anybody would take back.
    let last = repository.history(Some(3)).unwrap();
    assert_eq!(last[0].message, "undo drop agent");
    assert_eq!(last[2].message, "checkpoint agent");
    assert_eq!(last[2].moves[0].before, Some(two));
}

#[test]
fn an_owner_whose_name_is_put_back_loses_it() {
    let dir = tempfile::tempdir().unwrap();
    let repository = open(dir.path());
    let workspace = repository.workspace("main").unwrap().fork_named("agent").unwrap();
    step(&workspace, "one");
    step(&workspace, "two");
    repository.undo(1).unwrap();
    let lost = workspace.write(b"file", Bytes::from_static(b"x"), None).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::LeaseLost);
    let again = repository.open_workspace("agent").unwrap();
    assert_eq!(&again.read(b"file").unwrap()[..], b"one");
    again.write(b"file", Bytes::from_static(b"x"), None).unwrap();
}

#[test]
fn what_moved_since_is_named_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let repository = open(dir.path());
    let workspace = repository.workspace("main").unwrap();
    step(&workspace, "one");
    workspace.publish("main", Expect::Absent).unwrap();
    let two = step(&workspace, "two");
    workspace.publish("other", Expect::Absent).unwrap();
    let history = repository.history(None).unwrap();
    assert_eq!(history.len(), 2);
    repository
        .set_branch("main", &two, Expect::Is(history[1].moves[0].after.unwrap()))
        .unwrap();
    let error = repository.undo_at(history[1].position).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("branch \"main\" moved since"), "{error}");
    // One in the middle, whatever came after it.
    repository.undo_at(history[0].position).unwrap();
    assert_eq!(repository.branches().unwrap().into_keys().collect::<Vec<_>>(), ["main"]);
    assert_eq!(repository.undo_at(7).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(repository.undo(99).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(repository.undo(0).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_collapse_is_taken_back_with_all_its_candidates() {
    let dir = tempfile::tempdir().unwrap();
    let repository = open(dir.path());
    let workspace = repository.workspace("main").unwrap();
    let base = step(&workspace, "base");
    workspace.publish("main", Expect::Absent).unwrap();
    let hour = Some(Duration::from_secs(3600));
    let made = repository
        .superpose(&Version::Workspace(workspace), 3, None, hour, Some("try"))
        .unwrap();
    step(&made.candidates().unwrap()[1], "won");
    made.collapse(1, "main").unwrap();
    assert!(repository.workspaces().unwrap().is_empty());
    let undone = repository.undo(1).unwrap();
    assert_eq!(undone.moves.len(), 5);
    assert_eq!(repository.branch("main").unwrap(), base);
    assert_eq!(repository.workspaces().unwrap(), ["try/0", "try/1", "try/2"]);
    let again = repository.superposition("try").unwrap();
    assert_eq!(&again.candidates().unwrap()[1].read(b"file").unwrap()[..], b"won");
    again.collapse(2, "main").unwrap();
    assert_eq!(repository.branch("main").unwrap(), base);
}
