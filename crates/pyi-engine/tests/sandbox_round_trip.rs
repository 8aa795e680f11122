//! What is materialized, edited on disk and captured again is what stands on disk, by a walk that shares no code with ours.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

mod sandbox_common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use pyi_engine::{Bytes, CaptureOptions, ChangeKind, ErrorKind, Ignore, MaterializeOptions, Value};
use sandbox_common::*;

const NO_GIT: MaterializeOptions = MaterializeOptions { git: false };

fn everything() -> CaptureOptions {
    CaptureOptions {
        ignore: Ignore::None,
        ..CaptureOptions::default()
    }
}

/// One step of a user who works in a directory.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>, Vec<u8>, bool),
    Append(usize),
    Remove(usize),
    Chmod(usize, bool),
    Link(Vec<u8>, Vec<u8>),
    MakeDirectory(Vec<u8>),
    Rename(usize, Vec<u8>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-c]".prop_map(String::into_bytes),
        1 => Just(b"a.b".to_vec()),
        1 => Just(b"caf\xe9".to_vec()),
        1 => Just(b" \n\"\\".to_vec()),
        1 => Just("na\u{ef}ve\u{200c}".as_bytes().to_vec()),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'))
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![7; 70_000])
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (path(), content(), any::<bool>()).prop_map(|(path, content, x)| Step::Write(path, content, x)),
        2 => any::<usize>().prop_map(Step::Append),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, x)| Step::Chmod(at, x)),
        1 => (path(), name()).prop_map(|(path, target)| Step::Link(path, target)),
        1 => path().prop_map(Step::MakeDirectory),
        2 => (any::<usize>(), path()).prop_map(|(at, path)| Step::Rename(at, path)),
    ]
}

/// Does a step; what the file system refuses is left undone.
fn act(root: &Path, step: &Step) {
    let at = |path: &[u8]| root.join(os(path));
    let pick = |index: usize| {
        let contents = on_disk(root);
        contents.keys().nth(index % contents.len().max(1)).map(|path| at(path))
    };
    let parent = |path: &[u8]| drop(fs::create_dir_all(at(path).parent().unwrap()));
    match step {
        Step::Write(path, content, executable) => {
            parent(path);
            let mode = if *executable { 0o755 } else { 0o644 };
            if !at(path).is_symlink() && fs::write(at(path), content).is_ok() {
                fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        Step::Append(index) => {
            if let Some(path) = pick(*index).filter(|path| path.is_file() && !path.is_symlink()) {
                let mut content = fs::read(&path).unwrap();
                content.push(b'+');
                fs::write(path, content).unwrap();
            }
        }
        Step::Remove(index) => {
            if let Some(path) = pick(*index) {
                let above = path.parent().filter(|above| *above != root && index % 3 == 0);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
                above.map(fs::remove_dir_all);
            }
        }
        Step::Chmod(index, executable) => {
            if let Some(path) = pick(*index).filter(|path| path.is_file() && !path.is_symlink()) {
                fs::set_permissions(
                    path,
                    fs::Permissions::from_mode(if *executable { 0o755 } else { 0o600 }),
                )
                .unwrap();
            }
        }
        Step::Link(path, target) => {
            parent(path);
            let _ = symlink(os(target), at(path));
        }
        Step::MakeDirectory(path) => drop(fs::create_dir_all(at(path))),
        Step::Rename(index, new) => {
            if let Some(path) = pick(*index) {
                parent(new);
                let _ = fs::rename(path, at(new));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn capture_gives_what_is_on_disk(
        first in prop::collection::vec(step(), 0..25),
        rounds in prop::collection::vec((prop::collection::vec(step(), 0..8), any::<bool>()), 1..4),
    ) {
        let scratch = scratch();
        let origin = scratch.path().join("origin");
        fs::create_dir(&origin).unwrap();
        first.iter().for_each(|step| act(&origin, step));
        let repo = open(scratch.path());
        let workspace = repo.import_dir(&origin, "main").unwrap();
        prop_assert_eq!(in_workspace(&workspace), on_disk(&origin));

        let dir = scratch.path().join("dir");
        workspace.materialize(&dir, &NO_GIT).unwrap();
        prop_assert_eq!(on_disk(&dir), on_disk(&origin));
        for (steps, is_checkpointed) in rounds {
            steps.iter().for_each(|step| act(&dir, step));
            let before = workspace.fork().unwrap();
            let changes = workspace.capture(&dir, &everything()).unwrap();
            prop_assert_eq!(in_workspace(&workspace), on_disk(&dir));
            let expected = workspace.diff(Some(&pyi_engine::Version::Workspace(before)), false).unwrap();
            let paths = |changes: &[pyi_engine::Change]| {
                changes.iter().map(|change| (change.path.clone(), change.kind)).collect::<Vec<_>>()
            };
            prop_assert_eq!(paths(&changes), paths(&expected));
            prop_assert!(workspace.capture(&dir, &everything()).unwrap().is_empty());
            if is_checkpointed {
                workspace.checkpoint("", Value::Null).unwrap();
            }
        }
        workspace.checkpoint("", Value::Null).unwrap();
        let again = scratch.path().join("again");
        workspace.materialize(&again, &NO_GIT).unwrap();
        prop_assert_eq!(on_disk(&again), on_disk(&dir));
    }
}

#[test]
fn untouched_files_are_not_read_again() {
    let scratch = scratch();
    let repo = open(scratch.path());
    let origin = scratch.path().join("origin");
    for file in 0..300 {
        write(&origin, &format!("d{}/f{file}", file % 7), format!("{file}").as_bytes());
    }
    let workspace = repo.import_dir(&origin, "main").unwrap();
    let dir = scratch.path().join("dir");
    let report = workspace.materialize(&dir, &NO_GIT).unwrap();
    assert_eq!(
        (report.files, report.directories, report.bytes),
        (300, 7, 10 + 180 + 600)
    );
    let capture = || workspace.capture_report(&dir, &everything()).unwrap();
    assert_eq!(
        capture().files_read,
        0,
        "right after materialize nothing needs to be read"
    );
    assert!(!workspace.is_dirty(), "a capture of nothing changes nothing");

    fs::write(dir.join("d3/f3"), "x").unwrap();
    fs::set_permissions(dir.join("d4/f4"), fs::Permissions::from_mode(0o755)).unwrap();
    let report = capture();
    assert_eq!(report.files_read, 2);
    let found: Vec<_> = report
        .changes
        .iter()
        .map(|change| (change.path.as_slice(), change.kind))
        .collect();
    assert_eq!(
        found,
        [
            (b"d3/f3".as_slice(), ChangeKind::Modified),
            (b"d4/f4", ChangeKind::Mode)
        ]
    );

    // Files that changed a moment ago may change again within the same tick: they are read once more, then no longer.
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(capture().files_read <= 2);
    assert_eq!(capture().files_read, 0);

    // What the workspace has meanwhile stays: the directory did not change there.
    workspace.write(b"d0/f0", Bytes::from_static(b"edited"), None).unwrap();
    let report = capture();
    assert_eq!((report.files_read, report.changes.len()), (0, 0));
    assert_eq!(&workspace.read(b"d0/f0").unwrap()[..], b"edited");

    // Without the cache everything is read, once.
    let cache = pyi_engine::sandbox::sandbox_cache_path(repo.path(), &dir).unwrap();
    let whole = fs::read(&cache).unwrap();
    for damaged in [
        Vec::new(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..100], b"?", &whole[101..]].concat(),
    ] {
        fs::write(&cache, damaged).unwrap();
        let report = capture();
        assert_eq!((report.files_read, report.changes.len()), (300, 0));
    }
}

#[test]
fn a_change_in_the_tick_of_the_capture_is_seen() {
    // Same size, same inode, and as a rule the same time stamp: only the mark in the cache tells.
    let scratch = scratch();
    let repo = open(scratch.path());
    let dir = scratch.path().join("dir");
    write(&dir, "f", b"0");
    let workspace = repo.import_dir(&dir, "main").unwrap();
    for round in 0..200u8 {
        fs::write(dir.join("f"), [round]).unwrap();
        workspace.capture(&dir, &everything()).unwrap();
        assert_eq!(&workspace.read(b"f").unwrap()[..], [round]);
    }
    let fresh = scratch.path().join("fresh");
    for round in 0..50u8 {
        workspace.materialize(&fresh, &NO_GIT).unwrap();
        fs::write(fresh.join("f"), [round]).unwrap();
        workspace.capture(&fresh, &everything()).unwrap();
        assert_eq!(&workspace.read(b"f").unwrap()[..], [round]);
        fs::remove_dir_all(&fresh).unwrap();
    }
}

#[test]
fn special_files_and_refused_names() {
    let scratch = scratch();
    let repo = open(scratch.path());
    let dir = scratch.path().join("dir");
    write(&dir, "kept", b"1");
    write(&dir, "becomes", b"2");
    let workspace = repo.import_dir(&dir, "main").unwrap();
    fs::remove_file(dir.join("becomes")).unwrap();
    for name in ["fifo", "becomes"] {
        assert!(Command::new("mkfifo").arg(dir.join(name)).status().unwrap().success());
    }
    let changes = workspace.capture(&dir, &everything()).unwrap();
    assert_eq!(
        changes.iter().map(|change| change.path.as_slice()).collect::<Vec<_>>(),
        [b"becomes"]
    );

    write(&dir, "also", b"3");
    for (name, is_link) in [(".GIT", false), ("sub/git~1/x", false), (".gitmodules", true)] {
        let before = in_workspace(&workspace);
        if is_link {
            symlink("/etc/passwd", dir.join(name)).unwrap();
        } else {
            write(&dir, name, b"");
        }
        let error = workspace.capture(&dir, &everything()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidPath);
        let component = name
            .split('/')
            .find(|part| part.contains("git") || part.contains("GIT"))
            .unwrap();
        assert!(error.to_string().contains(component), "{error}");
        assert_eq!(in_workspace(&workspace), before);
        let top = dir.join(name.split('/').next().unwrap());
        fs::remove_file(&top).or_else(|_| fs::remove_dir_all(&top)).unwrap();
    }
    assert_eq!(workspace.capture(&dir, &everything()).unwrap().len(), 1);
    let error = workspace
        .capture(&scratch.path().join("none"), &everything())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        workspace.capture(&dir.join("kept"), &everything()).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn import_leaves_out_what_is_not_content() {
    let scratch = scratch();
    let dir = scratch.path().join("dir");
    write(&dir, "a", b"1");
    write(&dir, "sub/.pyi/real", b"a directory that is merely called so");
    write(&dir, ".pyi/anything", b"");
    let nested = dir.join("nested");
    write(&nested, "file", b"");
    git(&nested, &["init", "-q"]);
    git(&nested, &["add", "-A"]);
    git(&nested, &COMMIT);
    write(&nested, "uncommitted", b"");
    let repo = open(&dir);
    let workspace = repo.import_dir(&dir, "main").unwrap();
    let paths: Vec<_> = in_workspace(&workspace)
        .into_keys()
        .map(|path| String::from_utf8(path).unwrap())
        .collect();
    // A repository that is new is its files: nothing that an agent made in it is lost.
    assert_eq!(paths, ["a", "nested/file", "nested/uncommitted", "sub/.pyi/real"]);
    assert_eq!(repo.import_dir(&dir, "main").err().unwrap().kind(), ErrorKind::Conflict);
}

const COMMIT: [&str; 8] = [
    "-c",
    "user.name=a",
    "-c",
    "user.email=a@b",
    "commit",
    "-q",
    "--allow-empty",
    "-mx",
];

#[test]
fn a_gitlink_follows_its_repository_is_kept_without_one_and_yields_to_files() {
    let scratch = scratch();
    let dir = scratch.path().join("dir");
    write(&dir, "a", b"1");
    let nested = dir.join("nested");
    fs::create_dir(&nested).unwrap();
    git(&nested, &["init", "-q"]);
    git(&nested, &COMMIT);
    git(&dir, &["init", "-q"]);
    git(&dir, &["-c", "advice.addEmbeddedRepo=false", "add", "-A"]);
    git(&dir, &COMMIT);
    let repo = open(&dir);
    let workspace = repo
        .import_git(&dir, "HEAD", "main", pyi_engine::git::History::Lazy)
        .unwrap();
    let id = || {
        repo.entry_ids()
            .of(&workspace.stat(b"nested").unwrap())
            .unwrap()
            .to_string()
    };
    let head = || git_text(&nested, &["rev-parse", "HEAD"]).trim().to_owned();
    assert_eq!(workspace.capture(&dir, &everything()).unwrap().len(), 0);
    assert!(id().starts_with(&head()));
    git(&nested, &COMMIT);
    git(&nested, &["pack-refs", "--all"]);
    assert_eq!(workspace.capture(&dir, &everything()).unwrap().len(), 1);
    assert!(id().starts_with(&head()));
    fs::remove_dir_all(&nested).unwrap();
    fs::create_dir(&nested).unwrap();
    assert_eq!(workspace.capture(&dir, &everything()).unwrap().len(), 0);
    write(&nested, "file", b"now ours");
    workspace.capture(&dir, &everything()).unwrap();
    assert_eq!(&workspace.read(b"nested/file").unwrap()[..], b"now ours");
}
