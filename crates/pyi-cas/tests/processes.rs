//! Real processes on one store: contended refs, kill -9, stopped writers, fork. The test binary starts itself again as a helper.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::*;
use pyi_cas::{Id, Kind, ObjectStore, RefOutcome};

const ROLE: &str = "PYI_CAS_TEST_ROLE";

fn helper(directory: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "this_process_as_a_helper", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{role} {}", directory.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Lines that the helper wrote, without those of the test harness.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split_once("say ").map(|(_, rest)| rest.to_owned()))
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "say {text}").unwrap();
    out.flush().unwrap();
}

/// Not a test by itself: what the helpers run.
#[test]
fn this_process_as_a_helper() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, directory) = role.split_once(' ').unwrap();
    let (role, argument) = role.split_once(':').unwrap_or((role, ""));
    let directory = Path::new(directory);
    match role {
        // Adds one to a counter again and again, each time only if nobody else did.
        "contend" => {
            let store = open_with(directory, tiny());
            let (mut won, mut lost) = (0, 0);
            while won < argument.parse().unwrap() {
                let before = store.refs().get(b"b/count").unwrap().map(|v| v.to_vec());
                let count = before
                    .as_ref()
                    .map_or(0, |v| u64::from_le_bytes(v[..].try_into().unwrap()));
                put(&store, format!("{} of {}", count, std::process::id()).as_bytes());
                let next = (count + 1).to_le_bytes();
                let mut move_it = step(b"b/count", before.as_deref(), Some(&next));
                move_it.puts.push((
                    format!("w/{count}").into_bytes(),
                    Some(std::process::id().to_le_bytes().to_vec()),
                ));
                match store.refs().commit(&move_it).unwrap() {
                    RefOutcome::Done => {
                        won += 1;
                        say(&count.to_string());
                    }
                    RefOutcome::Conflict { .. } => lost += 1,
                }
            }
            say(&format!("lost {lost}"));
        }
        // Commits until it is killed, saying each id once it is acknowledged.
        "write" => {
            let store = open_with(directory, options());
            for i in 0usize.. {
                let mut batch = pyi_cas::Batch::new();
                let ids: Vec<Id> = (0..5)
                    .map(|k| {
                        let bytes = content(i * 5 + k + std::process::id() as usize * 1_000_000, 700 * k);
                        batch.put_new(Kind::Blob, &bytes).unwrap()
                    })
                    .collect();
                store.commit(&mut batch).unwrap();
                for id in ids {
                    say(&id.to_hex());
                }
            }
        }
        // Dies without a word to the store, while a child of it lives on.
        "orphan" => {
            let store = open_with(directory, options());
            put(&store, b"of the dead");
            // SAFETY: the child only sleeps, until it is killed or a minute is over; the parent leaves with `_exit`.
            unsafe {
                if libc::fork() == 0 {
                    libc::alarm(60);
                    // Said by the child: from here on it holds nothing of its parent.
                    say(&std::process::id().to_string());
                    loop {
                        libc::pause();
                    }
                }
                libc::_exit(0);
            }
        }
        other => panic!("unknown role {other}"),
    }
}

#[test]
fn eight_processes_move_one_ref_and_each_move_has_one_winner() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let mut children: Vec<Child> = (0..8).map(|_| helper(directory.path(), "contend:40")).collect();
    let readers: Vec<_> = children
        .iter_mut()
        .map(|child| {
            let lines = lines(child);
            std::thread::spawn(move || lines.collect::<Vec<_>>())
        })
        .collect();
    let mut wins = Vec::new();
    for (reader, child) in readers.into_iter().zip(&mut children) {
        for line in reader.join().unwrap() {
            if let Ok(count) = line.parse::<u64>() {
                wins.push((count, child.id()));
            }
        }
        assert!(child.wait().unwrap().success());
    }
    wins.sort_unstable();
    assert_eq!(
        wins.iter().map(|(count, _)| *count).collect::<Vec<_>>(),
        (0..320).collect::<Vec<_>>()
    );
    assert_eq!(
        store.refs().get(b"b/count").unwrap().unwrap(),
        &320u64.to_le_bytes()[..]
    );
    for (count, process) in wins {
        let winner = store.refs().get(format!("w/{count}").as_bytes()).unwrap().unwrap();
        assert_eq!(winner, &process.to_le_bytes()[..]);
    }
    let fresh = open(directory.path());
    assert_eq!(fresh.refs().scan(b"").unwrap(), store.refs().scan(b"").unwrap());
}

#[test]
fn what_a_killed_writer_acknowledged_is_there_and_its_segment_is_adopted() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let observer = open(directory.path());
    let mut acknowledged: Vec<Id> = Vec::new();
    for round in 0..200 {
        let mut child = helper(directory.path(), "write");
        let mut said = lines(&mut child);
        acknowledged.extend(
            said.by_ref()
                .take(1 + round % 25 * 7)
                .map(|line| line.parse::<Id>().unwrap()),
        );
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may be cut.
        acknowledged.extend(said.filter_map(|line| line.parse::<Id>().ok()));
    }
    let fresh = open(directory.path());
    for id in &acknowledged {
        assert!(observer.get(Kind::Blob, id).unwrap().is_some());
        assert!(fresh.get(Kind::Blob, id).unwrap().is_some());
    }
    put(&fresh, b"goes on at once");
    // As many segments as the bytes need, and no more: full ones are sealed, the last one was adopted 200 times.
    let stats = fresh.stats().unwrap();
    assert!(stats.damage.is_empty());
    assert!(
        stats.segments <= 1 + stats.bytes_stored / options().segment_limit_bytes,
        "{stats:?}"
    );
}

#[test]
fn a_stopped_writer_blocks_nobody() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let mut child = helper(directory.path(), "write");
    let mut said = lines(&mut child);
    let first: Id = said.next().unwrap().parse().unwrap();
    let pid = child.id() as i32;
    // SAFETY: a signal to the child that this test started.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let store = open(directory.path());
    assert!(store.get(Kind::Blob, &first).unwrap().is_some());
    let id = put(&store, b"written beside it");
    assert_eq!(
        store.refs().commit(&step(b"k", None, Some(b"v"))).unwrap(),
        RefOutcome::Done
    );
    assert_eq!(files(&directory.path().join("segments"), "seg").len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(store);
    let store = open(directory.path());
    put(&store, b"adopts the one and leaves the other to the next writer");
    assert!(store.get(Kind::Blob, &id).unwrap().is_some());
    put(&open(directory.path()), b"the next writer");
    assert_eq!(files(&directory.path().join("segments"), "seg").len(), 2);
}

#[test]
fn a_forked_child_takes_a_segment_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let before = put(&store, b"before the fork");
    // SAFETY: the child only uses the store, which takes no lock that another thread of this test could hold, and leaves
    // with `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let works = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert!(store.get(Kind::Blob, &before).unwrap().is_some());
            for i in 0..20 {
                let id = put(&store, &content(i, 100));
                assert!(store.get(Kind::Blob, &id).unwrap().is_some());
            }
            assert_eq!(
                store.refs().commit(&step(b"child", None, Some(b"was here"))).unwrap(),
                RefOutcome::Done
            );
            store.close().unwrap();
        }));
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(i32::from(works.is_err())) };
    }
    for i in 100..120 {
        put(&store, &content(i, 100));
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just forked.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
    for i in (0..20).chain(100..120) {
        assert!(store.contains(&Kind::Blob.id_of(&content(i, 100))).unwrap(), "{i}");
    }
    assert_eq!(store.refs().get(b"child").unwrap().unwrap(), "was here");
    assert_eq!(files(&directory.path().join("segments"), "seg").len(), 2);
    assert!(open(directory.path()).stats().unwrap().damage.is_empty());
}

/// A child gives the writer up that it inherited, and who gives up a writer cuts off what was filled ahead; but the segment is the parent's, who has
/// written more since.
#[test]
fn a_forked_child_cuts_nothing_off_its_parents_segment() {
    for (write_ahead_bytes, page_ahead_bytes) in [(0, 4_000), (4_000, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let store = open_with(
            directory.path(),
            pyi_cas::OpenOptions {
                segment_limit_bytes: 1 << 20,
                write_ahead_bytes,
                page_ahead_bytes,
                ..options()
            },
        );
        let length = || {
            let names = files(&directory.path().join("segments"), "seg");
            std::fs::metadata(&names[0]).unwrap().len()
        };
        let mut ids: Vec<_> = (0..20).map(|i| put(&store, &content(i, 1000))).collect();
        let filled = length();
        let mut pipe = [0; 2];
        // SAFETY: `pipe` has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: the child only reads from the pipe and uses the store, which takes no lock that another thread of this test could hold, and
        // leaves with `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let works = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut byte = 0_u8;
                // SAFETY: reads one byte into one byte.
                assert_eq!(unsafe { libc::read(pipe[0], (&raw mut byte).cast(), 1) }, 1);
                put(&store, b"the child's");
                store.close().unwrap();
            }));
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(i32::from(works.is_err())) };
        }
        ids.extend((20..22).map(|i| put(&store, &content(i, 1000))));
        let mut status = 0;
        // SAFETY: writes one byte of one, waits for the child that was just forked, and closes what this test opened.
        unsafe {
            assert_eq!(libc::write(pipe[1], [1_u8].as_ptr().cast(), 1), 1);
            assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
            libc::close(pipe[0]);
            libc::close(pipe[1]);
        }
        assert_eq!(status, 0);
        let fresh = open(directory.path());
        for (i, id) in ids.iter().enumerate() {
            assert!(fresh.get(Kind::Blob, id).unwrap().is_some(), "{i} {page_ahead_bytes}");
        }
        assert!(fresh.stats().unwrap().damage.is_empty());
        store.close().unwrap();
        assert!(length() < filled, "it was filled ahead");
    }
}

#[test]
fn a_forked_child_does_not_hold_the_lock_of_a_dead_parent() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    put(&store, b"x");
    // SAFETY: the child only sleeps until it is killed.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        loop {
            // SAFETY: no arguments that could be wrong.
            unsafe { libc::pause() };
        }
    }
    drop(store);
    put(&open(directory.path()), b"y");
    assert_eq!(files(&directory.path().join("segments"), "seg").len(), 1);
    // SAFETY: ends the child that was just forked.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}

#[test]
fn a_child_that_outlives_its_parent_does_not_hold_the_parents_lock() {
    let directory = tempfile::tempdir().unwrap();
    let mut dead = helper(directory.path(), "orphan");
    let pid: libc::pid_t = lines(&mut dead).next().unwrap().parse().unwrap();
    assert!(dead.wait().unwrap().success());
    put(&open(directory.path()), b"of the next writer");
    let segments = files(&directory.path().join("segments"), "seg").len();
    // SAFETY: ends the child that the helper left behind.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    assert_eq!(segments, 1, "the dead parent's segment was adopted");
}

/// A child has only the thread that forked: no lock may be held by one of the others then.
#[test]
fn a_child_of_a_busy_process_works() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(
        directory.path(),
        pyi_cas::OpenOptions {
            segment_limit_bytes: 20_000,
            ref_log_limit_bytes: 4_000,
            background_seal: true,
            ..options()
        },
    );
    let known = put(&store, b"before");
    let over = AtomicBool::new(false);
    let failed = std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let (store, over) = (&store, &over);
            scope.spawn(move || {
                let mut i = 0;
                while !over.load(Ordering::Relaxed) {
                    let id = put(store, &content(thread * 1_000_000 + i, 300));
                    assert!(store.contains(&id).unwrap() && store.contains_hint(&id));
                    let change = pyi_cas::RefTransaction {
                        puts: vec![(vec![b'k', thread as u8], Some(id.0.to_vec()))],
                        ..pyi_cas::RefTransaction::default()
                    };
                    assert_eq!(store.refs().commit(&change).unwrap(), RefOutcome::Done);
                    i += 1;
                }
            });
        }
        let mut failed = Vec::new();
        for round in 0..30_usize {
            // Also from within an operation of the forking thread, now and then: the child then is inside it as well.
            let _gate = (round % 10 == 9).then(|| (pyi_cas::enter(), pyi_cas::enter()));
            std::thread::sleep(std::time::Duration::from_millis(2));
            // SAFETY: the child only uses the store and leaves with `_exit`; a hanging one is ended by its alarm.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: no arguments that could be wrong.
                unsafe { libc::alarm(20) };
                let works = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let id = put(&store, &content(900_000_000 + round, 300));
                    assert!(store.get(Kind::Blob, &id).unwrap().is_some());
                    assert!(store.get(Kind::Blob, &known).unwrap().is_some());
                    let change = step(format!("child/{round}").as_bytes(), None, Some(b"was here"));
                    assert_eq!(store.refs().commit(&change).unwrap(), RefOutcome::Done);
                    store.stats().unwrap();
                    store.close().unwrap();
                }));
                // SAFETY: ends the child without running the parent's destructors.
                unsafe { libc::_exit(i32::from(works.is_err())) };
            }
            let mut status = 0;
            // SAFETY: waits for the child that was just forked.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            if status != 0 {
                failed.push((round, status));
            }
        }
        over.store(true, Ordering::Relaxed);
        failed
    });
    assert_eq!(failed, []);
    assert_eq!(store.refs().scan(b"child/").unwrap().len(), 30);
    store.close().unwrap();
    assert!(open(directory.path()).stats().unwrap().damage.is_empty());
}
