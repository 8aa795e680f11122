//! Walks through long histories show what they have before they are at the end.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::common::{PYI, Place};

const COMMITS: usize = 20_000;

/// A line of so many commits, of which the first has this header line more.
fn long(commits: usize, header: &str) -> Place {
    let place = Place::new();
    let mut history = String::new();
    for at in 1..=commits {
        let header = if at == 1 { header } else { "" };
        let date = 1_700_000_000 + at;
        writeln!(
            history,
            "commit refs/heads/long\nmark :{at}\ncommitter C <c@x> {date} +0000\n{header}data 8\nm{at:07}"
        )
        .unwrap();
        if at % 50 == 0 {
            writeln!(history, "M 100644 inline a\ndata 8\n{at:08}").unwrap();
        }
    }
    place.fast_import(&history);
    place.git(&["symbolic-ref", "HEAD", "refs/heads/long"]);
    place
}

#[test]
fn who_has_read_enough_ends_the_walk() {
    let place = long(COMMITS, "");
    // More than a pipe holds.
    for words in [&["log", "--oneline"][..], &["rev-list", "HEAD"]] {
        let mut pyi = place.command(PYI).args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(pyi.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        drop(lines);
        let ended = pyi.wait().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGPIPE), "{words:?} went on to its end");
        assert_eq!(Some(&first[..]), place.git(words).lines().next(), "{words:?}");
    }
    for words in [
        &["log"][..],
        &["rev-list", "--parents", "HEAD"],
        &["log", "--reverse"],
        &["log", "--format=%s", "--", "a"],
    ] {
        let ours = place.only(words);
        assert!(
            ours.status.success() && String::from_utf8_lossy(&ours.stdout) == place.git(words),
            "{words:?}"
        );
    }
}

/// The last commit of the walk is one that is shown by git only.
#[test]
fn git_goes_on_where_a_walk_gives_up() {
    let place = long(2_000, "encoding koi8-r\n");
    let theirs = place.git(&["log"]);
    let ours = place.command(PYI).arg("log").output().unwrap();
    assert!(ours.status.success() && ours.stderr.is_empty());
    assert!(String::from_utf8_lossy(&ours.stdout) == theirs);
    let alone = place.only(&["log"]);
    assert!(!alone.status.success() && !alone.stdout.is_empty() && alone.stdout.len() < theirs.len());
    // What does not come to it is all said here.
    let words = ["log", "-n", "1999"];
    let ours = place.only(&words);
    assert!(ours.status.success() && String::from_utf8_lossy(&ours.stdout) == place.git(&words));
}

/// What was found is shown while the next commit that touches the paths is looked for: it waited for that one, however far it was, also where it is the
/// last that is asked for. Here the walk comes to an end before: at a commit that nobody can read.
#[test]
fn what_is_found_does_not_wait_for_what_comes_next() {
    let place = Place::new();
    let tree = place.git(&["rev-parse", "HEAD^{tree}"]);
    place.write("broken", &format!("tree {}\nno author\n", tree.trim_end()));
    let words = ["hash-object", "-t", "commit", "-w", "--literally", "../broken"];
    let broken = place.git(&words).trim_end().to_owned();
    // More than is kept back for being little.
    let message = "m".repeat(9 << 10);
    place.fast_import(&format!(
        "commit refs/heads/broken\nmark :1\ncommitter C <c@x> 1700000001 +0000\ndata 1\na\nfrom {broken}\n\
         commit refs/heads/broken\nmark :2\ncommitter C <c@x> 1700000002 +0000\ndata 1\nb\nfrom :1\n\
         commit refs/heads/broken\nmark :3\ncommitter C <c@x> 1700000003 +0000\ndata {}\n{message}\nfrom :2\nM 100644 inline rare\ndata 1\nx\n",
        message.len(),
    ));
    let said = place.only(&["log", "-n", "2", "--format=%s", "broken", "--", "rare"]);
    assert!(!said.status.success());
    assert_eq!(said.stdout.len(), message.len() + 1);
    assert!(said.stdout.starts_with(message.as_bytes()));
}

/// Git is not asked to go on where nothing can be written.
#[test]
fn a_full_disk_ends_the_walk() {
    let place = long(2_000, "");
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = |program: &str| {
        // Git does not know the variable.
        let mut command = place.command(program);
        let said = command
            .env("PYI_GIT_NATIVE", "only")
            .arg("log")
            .stdout(full())
            .output()
            .unwrap();
        (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned())
    };
    let ours = run(PYI);
    assert_eq!(ours, run("git"));
    assert_eq!(ours.0, Some(128));
}
