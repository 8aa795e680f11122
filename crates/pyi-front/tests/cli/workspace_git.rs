//! `pyi -w NAME GIT-COMMAND` and the installed git, side by side; what it keeps, and whom it disturbs.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use pyi_engine::{ErrorKind, Repository, RepositoryOptions, Value};

use crate::common::{PYI, Place, Said, snapshot};

/// A workspace `agent`, materialized at `../agent`, and a real repository beside it, at `../real`.
fn pair() -> Place {
    let place = Place::new();
    assert_eq!(place.run("cp", &["-a", ".", "../real"]).status, 0);
    place.ok(&["import"]);
    place.ok(&["fork", "agent"]);
    place.ok(&["materialize", "agent", "../agent", "--no-git"]);
    place
}

fn edit(place: &Place, name: &str, text: &str) {
    for side in ["agent", "real"] {
        place.write(&format!("{side}/{name}"), text);
    }
    place.ok(&["capture", "agent", "../agent"]);
}

fn say(place: &Place, program: &str, before: &[&str], args: &[&str], input: &[u8]) -> Said {
    let mut child = place
        .command(program)
        .args(before)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who reads no input may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(input);
    Said::of(child.wait_with_output().unwrap())
}

/// Runs it on both sides and compares everything.
fn same(place: &Place, args: &[&str], input: &[u8]) {
    let ours = say(place, PYI, &["-w", "agent"], args, input);
    let theirs = say(place, "git", &["-C", "../real"], args, input);
    assert_eq!(
        (ours.status, ours.text(), &ours.err),
        (theirs.status, theirs.text(), &theirs.err),
        "git {args:?}"
    );
}

#[test]
fn commands_answer_as_git_does() {
    let place = pair();
    let looks: [&[&str]; 8] = [
        &["status"],
        &["status", "--porcelain=v2", "--branch"],
        &["diff"],
        &["diff", "--cached", "--quiet"],
        &["log", "--stat"],
        &["branch", "-v"],
        &["rev-parse", "--verify", "nothing"],
        &["show", "--format=%an %s"],
    ];
    let look = || looks.iter().for_each(|args| same(&place, args, b""));
    look();
    edit(&place, "src/app.py", "def add(a, b):\n    return a + b\n");
    edit(&place, "NEW.md", "new\n");
    look();
    // Each of them is a process of its own: what one changed is there for the next.
    same(&place, &["add", "src/app.py"], b"");
    look();
    same(&place, &["commit", "-F", "-"], b"Repair addition\n\nIt subtracted.\n");
    look();
    same(&place, &["add", "-A"], b"");
    same(&place, &["commit", "-m", "Say what is new"], b"");
    same(&place, &["switch", "-c", "side", "HEAD~1"], b"");
    same(&place, &["cat-file", "--batch-check"], b"HEAD\nmain:NEW.md\nnothing\n");
    same(&place, &["checkout", "nothing"], b"");
    same(&place, &["switch", "main"], b"");
    same(&place, &["reset", "--soft", "HEAD~1"], b"");
    look();
}

#[test]
fn what_is_not_there_says_so() {
    let place = pair();
    edit(&place, "NEW.md", "new\n");
    let mut shown = String::new();
    for line in [
        "-w agent status --short",
        "--workspace=agent add NEW.md",
        "--workspace agent commit -q -m New",
        "-w agent rebase main",
        "-w nobody status",
        "-w",
        "-w agent",
        "-w agent checkpoint",
        "--json -w agent status",
        "--store nowhere -w agent status",
        "checkpoints agent",
    ] {
        let said = place.pyi(&line.split(' ').collect::<Vec<_>>());
        shown += &format!("$ pyi {line}\n{}{}", said.text(), said.err);
        if said.status != 0 {
            shown += &format!("[exit status {}]\n", said.status);
        }
    }
    snapshot("workspace_git.txt", &place.normal(&shown));
}

#[test]
fn who_looks_takes_no_lease_and_who_changes_does() {
    let place = pair();
    let options = RepositoryOptions {
        create: false,
        ..RepositoryOptions::default()
    };
    let repository = Repository::open(&place.path("project"), &options).unwrap();
    let owner = repository.open_workspace("agent").unwrap();
    owner.write(b"mine.txt", b"mine\n".to_vec().into(), None).unwrap();
    for args in [&["status"][..], &["log"], &["diff", "HEAD"], &["branch"]] {
        place.ok(&[&["-w", "agent"], args].concat());
    }
    owner.checkpoint("still mine", Value::Null).unwrap();
    assert_eq!(place.ok(&["-w", "agent", "status", "-s"]), "?? mine.txt\n");
    place.ok(&["-w", "agent", "add", "mine.txt"]);
    owner.write(b"mine.txt", b"again\n".to_vec().into(), None).map_or_else(
        |error| assert_eq!(error.kind(), ErrorKind::LeaseLost),
        |()| {
            let kept = owner.checkpoint("too late", Value::Null).map(drop);
            assert_eq!(kept.unwrap_err().kind(), ErrorKind::LeaseLost);
        },
    );
    assert_eq!(place.ok(&["-w", "agent", "status", "-s"]), "A  mine.txt\n");
}

#[test]
fn processes_at_once_lose_nothing() {
    let place = pair();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let place = &place;
            scope.spawn(move || place.ok(&["-w", "agent", "tag", &format!("t{number}")]));
        }
    });
    let tags = place.ok(&["-w", "agent", "tag"]);
    assert_eq!(tags, "t0\nt1\nt2\nt3\nt4\nt5\n");
    fs::remove_dir_all(place.path("real")).unwrap();
}
