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

/// The names of many candidates are made and given up as a range, and are names like all others in between.
#[test]
fn names_that_were_made_together_go_their_own_ways() {
    let dir = tempfile::tempdir().unwrap();
    let repository = open(dir.path());
    let workspace = repository.workspace("main").unwrap();
    step(&workspace, "base");
    workspace.publish("main", Expect::Absent).unwrap();
    let base = || Version::Workspace(workspace.clone());
    let made = repository.superpose(&base(), 150, None, None, Some("try")).unwrap();
    let other = open(dir.path());
    // One moves, one is dropped and its name taken by somebody else, one is taken away by an undo.
    let seven = other.open_workspace("try/7").unwrap();
    let at_seven = step(&seven, "seven");
    other.drop_name("try/100").unwrap();
    step(&workspace.fork_named("try/100").unwrap(), "not a candidate");
    assert_eq!(
        other
            .superpose(&base_of(&other), 8, None, None, Some("try"))
            .err()
            .unwrap()
            .kind(),
        ErrorKind::Conflict
    );
    let named = other.workspaces().unwrap();
    assert_eq!(named.len(), 150);
    assert_eq!(named[..4], ["try/0", "try/1", "try/10", "try/100"]);
    drop((made, seven));
    drop(repository);

    let repository = open(dir.path());
    let made = repository.superposition("try").unwrap();
    let last = repository.history(Some(2)).unwrap();
    assert!(last.iter().all(|one| one.moves.len() == 1));
    made.collapse(7, "main").unwrap();
    assert_eq!(repository.branch("main").unwrap(), at_seven);
    assert_eq!(other.workspaces().unwrap(), ["try/100"]);

    let undone = repository.undo(1).unwrap();
    // The branch, the superposition, and the names that it still had.
    assert_eq!(undone.moves.len(), 2 + 149);
    assert_eq!(other.workspaces().unwrap(), named);
    let kept = other.view_workspace("try/100").unwrap();
    assert_eq!(&kept.read(b"file").unwrap()[..], b"not a candidate");
    let again = other.superposition("try").unwrap();
    assert_eq!(&again.candidates().unwrap()[7].read(b"file").unwrap()[..], b"seven");
    // What an undo put back name by name is given up as what a range made.
    again.collapse(149, "main").unwrap();
    assert_eq!(repository.workspaces().unwrap(), ["try/100"]);
    // With one name taken the others are not made either.
    let taken = repository.superpose(&base_of(&repository), 150, None, None, Some("try"));
    assert_eq!(taken.err().unwrap().kind(), ErrorKind::Conflict);
    assert_eq!(other.workspaces().unwrap(), ["try/100"]);
    other.drop_name("try/100").unwrap();
    repository
        .superpose(&base_of(&repository), 150, None, None, Some("try"))
        .unwrap();
    assert_eq!(other.workspaces().unwrap().len(), 150);
    other.drop_name("try").unwrap();
    assert_eq!(repository.workspaces().unwrap(), [""; 0]);
}

fn base_of(repository: &Repository) -> Version {
    Version::Workspace(repository.workspace("main").unwrap())
}
