//! Collections beside others at work.

use super::*;

/// A directory of an old checkpoint was stored as a delta on that of a newer one, which nothing named; so a collection counted the newer directory
/// among what lives. Somebody kept the newer checkpoint meanwhile. The collection took the directory for one that it had followed, as it
/// was among what lives, and removed the files in it.
#[test]
fn what_lives_only_as_the_base_of_a_delta_can_be_kept_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let repository = open(path);
    repository.set_retention(&bare()).unwrap();
    let workspace = repository.workspace("main").unwrap();
    for number in 0..60 {
        write(&workspace, &format!("file-{number}"), &text(number, 100));
    }
    let old = *workspace.checkpoint("old", Value::Null).unwrap().id();
    let newer = [1, 2, 3].map(|number| {
        write(&workspace, &format!("newer-{number}"), &text(1_000 + number, 900));
        (*workspace.checkpoint("newer", Value::Null).unwrap().id(), number)
    });
    let compact = GcOptions {
        compact: true,
        ..GcOptions::default()
    };
    repository.gc(&compact).unwrap();
    repository.set_branch("main", &old, Expect::Absent).unwrap();
    drop(workspace);
    repository.close().unwrap();
    let (repository, other) = (open(path), open(path));
    let calls = AtomicUsize::new(0);
    let keep = |_: &'static str, _: f64| {
        if calls.fetch_add(1, Ordering::SeqCst) == 1 {
            newer.iter().for_each(|(id, _)| other.keep(id).unwrap());
        }
    };
    let options = GcOptions {
        budget_bytes: AMPLE,
        progress: Some(&keep),
        ..GcOptions::default()
    };
    repository.gc(&options).unwrap();
    for (id, number) in newer {
        let fresh = open(path).workspace_at(id).unwrap();
        for number in 1..=number {
            let content = fresh.read(format!("newer-{number}").as_bytes()).unwrap();
            assert_eq!(content, text(1_000 + number, 900));
        }
        assert_eq!(fresh.read(b"file-59").unwrap(), text(59, 100));
    }
}

#[test]
fn what_another_process_works_on_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let (here, there) = (open(path), open(path));
    here.set_retention(&bare()).unwrap();
    let base = here.workspace("main").unwrap();
    let first = step(&base, 1);
    drop(base);
    let theirs = there.workspace_at(*first.id()).unwrap();
    let fork = theirs.fork().unwrap();
    drop(theirs);
    // A capture whose content went to the store early.
    let tree = path.join("tree");
    std::fs::create_dir(&tree).unwrap();
    for number in 0..70 {
        std::fs::write(tree.join(format!("{number}")), text(100 + number, 1 << 20)).unwrap();
    }
    fork.capture(&tree, &CaptureOptions::default()).unwrap();
    // A flushed journal of a name, and somebody merged in.
    let named = fork.fork_named("agent").unwrap();
    named.journal_append("more", Value::Map(Vec::new())).unwrap();
    named.flush_journal().unwrap();
    let other = there.workspace("main").unwrap();
    write(&other, "merged", &text(2, 500));
    let merged = other.checkpoint("merged", Value::Null).unwrap();
    fork.merge(&Version::Workspace(other.clone()), None).unwrap();
    drop(other);
    for _ in 0..2 {
        collect(&here, AMPLE);
    }
    let captured = fork.checkpoint("captured", Value::Null).unwrap();
    assert!(captured.root().parents.contains(merged.id()));
    // A checkpoint keeps its repository open, and that its segment and what it held last.
    let made = *captured.id();
    drop((first, merged, captured));
    let fresh = open(path).workspace_at(made).unwrap();
    for number in 0..70 {
        assert_eq!(
            fresh.read(format!("{number}").as_bytes()).unwrap(),
            text(100 + number, 1 << 20)
        );
    }
    let agent = open(path).open_workspace("agent").unwrap();
    assert_eq!(agent.journal_len(), 2);
    assert!(agent.journal().unwrap().get(1).unwrap().is_some());
    // The fork shares the pin; only with the last of them the content goes.
    let copy = fork.fork().unwrap();
    drop((fork, agent, named, fresh));
    there.drop_name("agent").unwrap();
    collect(&here, AMPLE);
    check_files(&copy, 70);
    drop(copy);
    drop(there);
    collect(&here, AMPLE);
    gone(path, &made);
}

/// The root of a checkpoint that nobody kept stood in a segment that stayed, a directory of it in one that was about to be removed. Who asked for it by
/// its id while the collector was at its end found all of it, relied on it, and then the directory went. Now the collector spares it if it still
/// can, and else it is not found.
#[test]
fn what_is_found_at_the_last_moment_stays_or_is_not_found() {
    for moment in ["closing", "condemned", "remove"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let first = open(path);
        first.set_retention(&bare()).unwrap();
        let old = first.workspace("main").unwrap();
        for number in 0..20 {
            write(&old, &format!("below/file-{number}"), &text(number, 20_000));
        }
        let theirs = *old.checkpoint("old", Value::Null).unwrap().id();
        first.keep(&theirs).unwrap();
        drop(old);
        first.close().unwrap();
        let second = open(path);
        // Seals the segment with the directory; what comes now goes to another one.
        collect(&second, None);
        let workspace = second.workspace_at(theirs).unwrap();
        write(&workspace, "own", &text(50, 10));
        let root = *workspace.checkpoint("the root alone", Value::Null).unwrap().id();
        let living = second.workspace("main").unwrap();
        for number in 0..20 {
            write(&living, &format!("file-{number}"), &text(100 + number, 20_000));
        }
        living.checkpoint("lives", Value::Null).unwrap();
        living.publish("main", Expect::Absent).unwrap();
        drop((workspace, living));
        second.close().unwrap();
        let (collector, other) = (open(path), open(path));
        collector.unkeep(&theirs).unwrap();
        let found = Mutex::new(None);
        let seen = AtomicUsize::new(0);
        let look = |phase: &'static str, _: f64| {
            // In "condemned" the second time, behind the wait.
            if phase == moment && seen.fetch_add(1, Ordering::SeqCst) == usize::from(moment == "condemned") {
                *found.lock().unwrap() = Some(other.workspace_at(root));
            }
        };
        let options = GcOptions {
            progress: Some(&look),
            ..GcOptions::default()
        };
        collector.gc(&options).unwrap();
        let found = found.into_inner().unwrap();
        match found.unwrap_or_else(|| panic!("{moment} never came")) {
            Ok(workspace) => {
                for entry in workspace.walk(b"").unwrap() {
                    let entry = entry.unwrap();
                    assert!(workspace.read(&entry.path).is_ok(), "{moment}");
                }
                assert_ne!(moment, "remove", "it was too late for it");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{moment}: {error}");
                assert_eq!(moment, "remove", "it could still be spared");
                gone(path, &theirs);
            }
        }
    }
}

/// Ends the threads that look at the flag, also when the one that holds this panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn writers_in_other_repositories_lose_nothing_while_it_collects() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let retention = Retention {
        history: Some(2),
        ..bare()
    };
    open(path).set_retention(&retention).unwrap();
    let stop = AtomicBool::new(false);
    let ends: Vec<(Id, u64)> = std::thread::scope(|scope| {
        // A collection that fails would otherwise leave the writers running for good, and its error unsaid.
        let stopping = Stop(&stop);
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut repository = open(path);
                    let mut workspace = repository.workspace("main").unwrap();
                    let mut past: Vec<(Id, u64)> = Vec::new();
                    let mut seed = writer << 32;
                    while !stop.load(Ordering::Relaxed) {
                        seed += 1;
                        let made = *step(&workspace, seed).id();
                        past.push((made, seed));
                        // Who ends leaves a segment to be sealed, and garbage in it.
                        if seed % 8 == 0 {
                            let next = open(path);
                            workspace = next.workspace_at(made).unwrap();
                            repository = next;
                        }
                        // Back to something of its own, if it is still there.
                        let (back, its) = past[(seed as usize * 7) % past.len()];
                        match workspace.restore(&back) {
                            Ok(()) => check_workspace(&workspace, its),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                        }
                    }
                    let end = *step(&workspace, seed + 1).id();
                    repository.keep(&end).unwrap();
                    (end, seed + 1)
                })
            })
            .collect();
        let repository = open(path);
        let mut removed = 0;
        // On a busy machine some of them may give up.
        for round in 0..100 {
            if round >= 10 && removed > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            let report = repository
                .gc(&GcOptions {
                    budget_bytes: AMPLE,
                    ..GcOptions::default()
                })
                .unwrap();
            removed += report.objects_removed;
        }
        drop(stopping);
        let ends = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        assert!(removed > 0);
        ends
    });
    collect(&open(path), AMPLE);
    for (id, seed) in ends {
        check(path, &id, seed);
    }
}
