//! What a collection leaves and what it takes, on a real store. Two repositories on one store stand for two processes.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyi_engine::{Bytes, CaptureOptions, Checkpoint, ErrorKind, Expect, GcOptions, GcReport, Id, NewArray};
use pyi_engine::{Repository, RepositoryOptions, Retention, StateValue, Value, Version, Workspace};

mod beside;

fn open(path: &Path) -> Repository {
    let options = RepositoryOptions {
        store: Some(path.join("store")),
        ..RepositoryOptions::default()
    };
    Repository::open(path, &options).unwrap()
}

/// Nothing is kept but what is named.
fn bare() -> Retention {
    Retention {
        age: Duration::ZERO,
        heads: 0,
        ..Retention::default()
    }
}

fn text(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    Bytes::from((0..bytes).map(|_| next()).collect::<Vec<u8>>())
}

fn write(workspace: &Workspace, path: &str, content: &Bytes) {
    workspace.write(path.as_bytes(), content.clone(), None).unwrap();
}

/// A file of 20 KB, a value, an array and an event, checkpointed.
fn step(workspace: &Workspace, seed: u64) -> Checkpoint {
    write(workspace, &format!("dir-{}/file", seed % 5), &text(seed, 20_000));
    workspace.state_set("seed", &Value::Int(i128::from(seed))).unwrap();
    let array = NewArray {
        form: None,
        is_stable: true,
        dtype: "|u1".to_owned(),
        shape: vec![70_000],
        bytes: text(seed + 1_000_000, 70_000),
    };
    workspace.state_set_array("array", &array).unwrap();
    workspace.journal_append("step", Value::Map(Vec::new())).unwrap();
    workspace.checkpoint(&format!("step {seed}"), Value::Null).unwrap()
}

/// That everything of what `step(seed)` made is there, read by somebody who has it not in memory.
fn check(path: &Path, id: &Id, seed: u64) {
    let fresh = open(path).workspace_at(*id).unwrap();
    check_workspace(&fresh, seed);
}

fn check_workspace(fresh: &Workspace, seed: u64) {
    assert_eq!(
        fresh.read(format!("dir-{}/file", seed % 5).as_bytes()).unwrap(),
        text(seed, 20_000)
    );
    let Some(StateValue::Array(array)) = fresh.state_get("array").unwrap() else {
        panic!("no array")
    };
    assert_eq!(array.memory.copy(), text(seed + 1_000_000, 70_000));
    assert!(fresh.journal().unwrap().get(0).unwrap().is_some());
    for entry in fresh.walk(b"").unwrap() {
        fresh.read(&entry.unwrap().path).unwrap();
    }
}

fn gone(path: &Path, id: &Id) {
    let error = open(path).workspace_at(*id).err().expect("it is still there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn collect(repository: &Repository, budget_bytes: Option<u64>) -> GcReport {
    let options = GcOptions {
        budget_bytes,
        ..GcOptions::default()
    };
    let report = repository.gc(&options).unwrap();
    assert_eq!(report.gave_up, None);
    report
}

/// A budget that nothing is above, so that every segment with a dead byte is rewritten.
const AMPLE: Option<u64> = Some(1 << 40);

#[test]
fn what_is_named_stays_and_the_rest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let repository = open(path);
    repository.set_retention(&bare()).unwrap();
    let main = repository.workspace("main").unwrap();
    let (first, second) = (step(&main, 1), step(&main, 2));
    main.publish("main", Expect::Absent).unwrap();
    let named = main.fork_named("agent").unwrap();
    let third = step(&named, 3);
    let kept = step(&main.fork().unwrap(), 4);
    repository.keep(kept.id()).unwrap();
    let loose = step(&main.fork().unwrap(), 5);
    let held = main.fork().unwrap();
    let fourth = step(&held, 6);
    write(&held, "uncheckpointed", &text(7, 100));
    // Seals what this process wrote, so that it can go.
    drop((main, named));
    let before = collect(&repository, AMPLE);
    assert!(
        before.objects_removed > 0 && before.bytes_after < before.bytes_before,
        "{before:?}"
    );
    gone(path, loose.id());
    for (checkpoint, seed) in [(&first, 1), (&second, 2), (&third, 3), (&kept, 4), (&fourth, 6)] {
        check(path, checkpoint.id(), seed);
    }
    // What is only in a workspace's memory goes on.
    check_workspace(&held, 6);
    let last = held.checkpoint("on", Value::Null).unwrap();
    check(path, last.id(), 6);
    assert_eq!(
        repository.log(last.id(), None).unwrap().count(),
        5,
        "its history is whole"
    );

    drop(held);
    repository.unkeep(kept.id()).unwrap();
    repository.drop_name("agent").unwrap();
    let after = collect(&repository, AMPLE);
    gone(path, kept.id());
    gone(path, third.id());
    gone(path, last.id());
    check(path, second.id(), 2);
    // Everything in the store is one closure, but for what was written since it began.
    assert!(after.bytes_after < after.live_bytes + 20_000, "{after:?}");
    let again = collect(&repository, AMPLE);
    assert!(again.objects_removed < 5, "{again:?}");
}

fn check_files(workspace: &Workspace, count: u64) {
    for number in 0..count {
        assert_eq!(
            workspace.read(format!("{number}").as_bytes()).unwrap(),
            text(100 + number, 1 << 20)
        );
    }
}

#[test]
fn retention_keeps_the_young_and_former_heads_as_far_as_they_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let repository = open(path);
    let main = repository.workspace("main").unwrap();
    let made: Vec<Checkpoint> = (1..=6)
        .map(|seed| {
            let fork = main.fork().unwrap();
            step(&fork, seed)
        })
        .collect();
    for checkpoint in &made[..3] {
        let expect = repository.branch("main").map_or(Expect::Absent, Expect::Is);
        repository.set_branch("main", checkpoint.id(), expect).unwrap();
    }
    drop(main);
    // A day: all of it.
    collect(&repository, AMPLE);
    made.iter()
        .zip(1..)
        .for_each(|(checkpoint, seed)| check(path, checkpoint.id(), seed));
    // No age: the former heads, as long as the history has them.
    let retention = Retention {
        age: Duration::ZERO,
        heads: 1,
        ..Retention::default()
    };
    repository.set_retention(&retention).unwrap();
    let report = collect(&repository, AMPLE);
    for (checkpoint, stays) in made.iter().zip([false, true, true, false, false, false]) {
        if stays {
            check(path, checkpoint.id(), checkpoint.root().message[5..].parse().unwrap());
        } else {
            gone(path, checkpoint.id());
        }
    }
    // Both do not fit: the branch stays, what it was goes.
    let one = report.live_bytes * 3 / 4;
    let report = collect(&repository, Some(one));
    assert!(report.live_bytes <= one, "{report:?}");
    gone(path, made[1].id());
    check(path, made[2].id(), 3);
    // Not even the branch: nothing goes.
    let refused = repository
        .gc(&GcOptions {
            budget_bytes: Some(1000),
            ..GcOptions::default()
        })
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    assert!(refused.to_string().contains("1000"), "{refused}");
    check(path, made[2].id(), 3);
    // What went cannot be brought back, and says so.
    let error = (2..6)
        .map(|steps| repository.undo(steps))
        .find_map(|undone| undone.err().filter(|error| error.to_string().contains("retention")));
    assert!(error.is_some());
}

#[test]
fn history_is_cut_where_retention_says_and_ends_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let repository = open(path);
    let retention = Retention {
        history: Some(3),
        ..bare()
    };
    repository.set_retention(&retention).unwrap();
    let main = repository.workspace("main").unwrap();
    let made: Vec<Checkpoint> = (1..=8).map(|seed| step(&main, seed)).collect();
    main.publish("main", Expect::Absent).unwrap();
    let side = main.fork().unwrap();
    drop(main);
    collect(&repository, AMPLE);
    for checkpoint in &made[..5] {
        gone(path, checkpoint.id());
    }
    for (checkpoint, seed) in made[5..].iter().zip(6..) {
        check(path, checkpoint.id(), seed);
    }
    let fresh = open(path);
    let log: Vec<_> = fresh
        .log(made[7].id(), None)
        .unwrap()
        .map(|found| *found.unwrap().id())
        .collect();
    assert_eq!(log, [*made[7].id(), *made[6].id(), *made[5].id()]);
    // Two that have nothing in common any more are merged as such; two that have are not.
    let theirs = step(&fresh.workspace("main").unwrap(), 9);
    side.write(b"new", text(10, 10), None).unwrap();
    assert!(side.merge(&Version::Id(*theirs.id()), None).unwrap().is_empty());
}

#[test]
fn light_candidates_go_back_to_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let repository = open(path);
    let retention = Retention {
        weight: Some(0.5),
        ..bare()
    };
    repository.set_retention(&retention).unwrap();
    let main = repository.workspace("main").unwrap();
    let base = step(&main, 1);
    let weights = Some(vec![1.0, 0.1]);
    let made = repository
        .superpose(
            &Version::Workspace(main),
            2,
            weights,
            Some(Duration::from_secs(3600)),
            Some("try"),
        )
        .unwrap();
    let candidates = made.candidates().unwrap();
    let (heavy, light) = (step(&candidates[0], 2), step(&candidates[1], 3));
    drop(candidates);
    drop(made);
    collect(&repository, AMPLE);
    check(path, heavy.id(), 2);
    gone(path, light.id());
    let again = repository.superposition("try").unwrap().candidates().unwrap();
    assert_eq!((again[0].head().id(), again[1].head().id()), (heavy.id(), base.id()));
}

#[test]
fn caches_of_directories_that_are_gone_go_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let repository = open(path);
    let workspace = repository.workspace("main").unwrap();
    step(&workspace, 1);
    for name in ["one", "two"] {
        workspace.materialize(&path.join(name), &Default::default()).unwrap();
    }
    let caches = || std::fs::read_dir(path.join("store/sandboxes")).unwrap().count();
    assert_eq!(caches(), 2);
    std::fs::remove_dir_all(path.join("one")).unwrap();
    collect(&repository, None);
    assert_eq!(caches(), 1);
    let report = workspace
        .capture_report(&path.join("two"), &CaptureOptions::default())
        .unwrap();
    assert_eq!((report.entries > 0, report.changes.len()), (true, 0));
}

#[test]
fn arcs_of_names_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let repository = open(dir.path());
    let base = repository.workspace("main").unwrap();
    let first: Arc<Workspace> = base.fork_named("n").unwrap();
    for _ in 0..3000 {
        repository.drop_name("n").unwrap();
        drop(base.fork_named("n").unwrap());
    }
    drop(first);
    assert!(repository.open_workspace("n").is_ok());
}

#[test]
fn a_compaction_stores_older_versions_as_differences() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let repository = open(path);
    let main = repository.workspace("main").unwrap();
    let mut content = text(1, 30_000).to_vec();
    let mut made = Vec::new();
    for number in 0..40_usize {
        content[number * 700] ^= 0x55;
        write(&main, "deep/below/file", &Bytes::from(content.clone()));
        write(&main, "other", &text(2, 30_000));
        made.push((*main.checkpoint("step", Value::Null).unwrap().id(), content.clone()));
    }
    main.publish("main", Expect::Absent).unwrap();
    drop(main);
    let options = GcOptions {
        compact: true,
        ..GcOptions::default()
    };
    let report = repository.gc(&options).unwrap();
    assert_eq!(report.gave_up, None);
    // Noise cannot be compressed: only what is known of the other versions helps.
    assert!(report.bytes_after < report.bytes_before / 5, "{report:?}");
    let fresh = open(path);
    for (id, content) in made {
        let workspace = fresh.workspace_at(id).unwrap();
        assert_eq!(workspace.read(b"deep/below/file").unwrap()[..], content[..]);
    }
}

#[test]
fn a_git_import_after_a_collection_trusts_nothing_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let project = path.join("project");
    std::fs::create_dir_all(project.join("a/b")).unwrap();
    for number in 0..20 {
        std::fs::write(project.join(format!("a/b/{number}")), text(number, 3000)).unwrap();
    }
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command
            .args(["-c", "user.name=A", "-c", "user.email=a@b"])
            .arg("-C")
            .arg(&project);
        assert!(command.args(arguments).output().unwrap().status.success());
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    let (here, there) = (open(path), open(path));
    here.set_retention(&bare()).unwrap();
    let import = |repository: &Repository, branch: &str| {
        let history = pyi_engine::git::History::Lazy;
        drop(repository.import_git(&project, "HEAD", branch, history).unwrap());
    };
    // Both know from their maps where everything is.
    import(&here, "one");
    import(&there, "two");
    here.delete_branch("one", None).unwrap();
    here.delete_branch("two", None).unwrap();
    // What `there` holds last is pinned by it, so it lets go by holding others.
    for seed in 0..9 {
        step(&there.workspace("main").unwrap(), seed);
    }
    assert!(collect(&here, AMPLE).objects_removed > 20);
    import(&there, "three");
    let fresh = open(path).workspace("three").unwrap();
    for number in 0..20 {
        assert_eq!(
            fresh.read(format!("a/b/{number}").as_bytes()).unwrap(),
            text(number, 3000)
        );
    }
    collect(&here, AMPLE);
    assert_eq!(open(path).workspace("three").unwrap().len(), 20);
}
