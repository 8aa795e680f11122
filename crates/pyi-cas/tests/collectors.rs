//! Collectors beside real processes: stopped ones, dead ones, children of forks, and collectors that are killed. The test binary starts
//! itself again as a helper.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use pyi_cas::{CollectOptions, Collected, Id, IdSet, Kind, Mark, ObjectStore, Pin, RefOutcome, Result, Section};

const ROLE: &str = "PYI_CAS_TEST_ROLE";

struct Roots<'a>(&'a dyn ObjectStore);

impl Mark for Roots<'_> {
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()> {
        live.extend(pins);
        for (_, value) in self.0.refs().scan(b"")? {
            live.extend(<[u8; 32]>::try_from(&value[..]).map(Id));
        }
        Ok(())
    }
}

fn collect(store: &dyn ObjectStore, patience: Duration) -> Collected {
    let options = CollectOptions {
        dead_share: 0.0,
        patience,
        ..CollectOptions::default()
    };
    store.collect(&mut Roots(store), &options).unwrap()
}

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

fn set(store: &dyn ObjectStore, key: &[u8], id: &Id) {
    let before = store.refs().get(key).unwrap();
    let transaction = step(key, before.as_deref(), Some(&id.0));
    assert_eq!(store.refs().commit(&transaction).unwrap(), RefOutcome::Done);
}

/// A process that does as its role says; kills and buries it at the end.
struct Helper(Child, BufReader<std::process::ChildStdout>);

impl Helper {
    fn start(directory: &Path, role: &str) -> Helper {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "this_process_as_a_helper", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{role} {}", directory.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Helper(child, out)
    }

    /// Waits until it says so.
    fn hear(&mut self, what: &str) {
        let wanted = format!("say {what}\n");
        let mut line = String::new();
        while !line.ends_with(&wanted) {
            line.clear();
            assert!(self.1.read_line(&mut line).unwrap() > 0, "it never said {what}");
        }
    }

    fn go_on(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child was not waited for, so the number is still its own.
        assert_eq!(unsafe { libc::kill(self.0.id() as libc::pid_t, signal) }, 0);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "say {text}").unwrap();
    out.flush().unwrap();
}

fn wait() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Not a test by itself: what the helpers run.
#[test]
fn this_process_as_a_helper() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, directory) = role.split_once(' ').unwrap();
    let store = open_with(Path::new(directory), tiny());
    match role {
        // Finds an object, and sets a ref to it much later.
        "section" => {
            let section = store.section();
            let id = Kind::Blob.id_of(&content(3, 200));
            assert!(store.contains_hint(&id));
            say("inside");
            wait();
            set(&store, b"late", &id);
            drop(section);
            say("outside");
            wait();
        }
        "pin" => {
            let _pin = store.pin(&Kind::Blob.id_of(&content(4, 200)));
            say("pinned");
            wait();
        }
        "collect" => loop {
            collect(&store, LONG);
            say("collected");
        },
        other => panic!("no role {other}"),
    }
}

fn fill(store: &dyn ObjectStore) -> Vec<Id> {
    (0..20).map(|i| put(store, &content(i, 200))).collect()
}

#[test]
fn a_stopped_process_is_not_waited_for_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let ids = fill(&store);
    let mut helper = Helper::start(directory.path(), "section");
    helper.hear("inside");
    helper.signal(libc::SIGSTOP);
    let collected = collect(&store, SHORT);
    assert!(collected.gave_up.unwrap().contains(&helper.0.id().to_string()));
    assert!(store.contains(&ids[0]).unwrap());
    helper.signal(libc::SIGCONT);
    // It goes on while the collector waits for it.
    let collected = std::thread::scope(|scope| {
        let collector = scope.spawn(|| collect(&store, LONG));
        std::thread::sleep(SHORT);
        helper.go_on();
        collector.join().unwrap()
    });
    helper.hear("outside");
    assert_eq!(collected.gave_up, None);
    assert_eq!(collected.objects_removed, 19);
    assert!(store.get(Kind::Blob, &ids[3]).unwrap().is_some());
}

#[test]
fn a_killed_process_holds_nothing_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    fill(&store);
    let mut inside = Helper::start(directory.path(), "section");
    inside.hear("inside");
    let mut pinned = Helper::start(directory.path(), "pin");
    pinned.hear("pinned");
    drop(inside);
    let collected = collect(&store, LONG);
    assert_eq!((collected.gave_up, collected.objects_live), (None, 1));
    drop(pinned);
    assert_eq!(collect(&store, LONG).objects_removed, 1);
    let sessions = std::fs::read_dir(directory.path().join("sessions")).unwrap();
    assert_eq!(sessions.count(), 1, "those of the dead are gone");
}

/// A child has its parent's pins, in a session of its own, and nothing that it does ends the parent's.
#[test]
fn a_forked_child_has_the_pins_and_not_the_sections() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let ids = fill(&store);
    let held: (Section, Pin, Pin) = (store.section(), store.pin(&ids[1]), store.pin(&ids[2]));
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child only uses the store and leaves with `_exit`; a hanging one is ended by its alarm.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: no arguments that could be wrong.
        unsafe { libc::alarm(30) };
        let works = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (section, first, _second) = held;
            drop(section);
            drop(first);
            drop(store.section());
            writer.write_all(b"x").unwrap();
            drop(writer);
            std::thread::sleep(Duration::from_secs(20));
        }));
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(i32::from(works.is_err())) };
    }
    drop(writer);
    let mut byte = [0];
    std::io::Read::read_exact(&mut reader, &mut byte).unwrap();
    let other = open_with(directory.path(), tiny());
    assert!(collect(&other, SHORT).gave_up.is_some(), "the parent is still inside");
    let (section, first, second) = held;
    drop((section, second));
    let collected = collect(&other, SHORT);
    assert_eq!((collected.gave_up, collected.objects_live), (None, 2), "one of each");
    drop(first);
    assert_eq!(collect(&other, SHORT).objects_removed, 1);
    assert!(other.get(Kind::Blob, &ids[2]).unwrap().is_some());
    // SAFETY: ends the child that was just forked.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    assert_eq!(collect(&other, SHORT).objects_removed, 1);
}

#[test]
fn killed_collectors() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let mut random = 1_usize;
    for round in 0..25 {
        let mut helper = Helper::start(directory.path(), "collect");
        helper.hear("collected");
        for step in 0..20 {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let content = content((random >> 33) % 50, 150);
            let id = Kind::Blob.id_of(&content);
            let _section = store.section();
            if !store.contains_hint(&id) {
                put(&store, &content);
            }
            if step % 5 == 0 {
                set(&store, &[b'k', (random >> 40) as u8 % 4], &id);
            }
        }
        std::thread::sleep(Duration::from_micros(random as u64 >> 52));
        drop(helper);
        for (key, value) in store.refs().scan(b"").unwrap() {
            let id = Id(value[..].try_into().unwrap());
            assert!(
                store.get(Kind::Blob, &id).unwrap().is_some(),
                "{key:?} in round {round}"
            );
        }
    }
    let collected = collect(&store, LONG);
    assert_eq!(collected.gave_up, None);
    assert!(collected.objects_live <= 4);
    let segments = std::fs::read_dir(directory.path().join("segments")).unwrap();
    let strange = segments
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".gc"));
    assert_eq!(strange.count(), 0);
    assert_eq!(
        collected.bytes_after,
        collected.live_bytes + 64 * store.stats().unwrap().segments
    );
    assert!(store.stats().unwrap().damage.is_empty());
}
