//! What runs natively below the top, on indexes that do not know their files, where commands fail, and about histories with merges and moves: cases told one
//! by one, each beside git on a copy of its own.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::process::Command;

use crate::common::{PYI, Place};
use crate::work_tree::{answer, is_handed_over};

/// Each on a copy of the project, in this directory of it: `pyi` has to do it itself, and git has to say the same. The copies' indexes know other files than
/// those that are there.
fn same_below(place: &Place, below: &str, words: &[&str]) {
    let run = |program: &str, directory: &str| {
        let copy = place.path(directory);
        let _ = fs::remove_dir_all(&copy);
        let mut cp = Command::new("cp");
        let status = cp.arg("-a").arg(place.path("project")).arg(&copy).status().unwrap();
        assert!(status.success());
        let mut command = place.command(program);
        command.current_dir(copy.join(below)).args(words);
        command.env("PYI_GIT_NATIVE", "only").output().unwrap()
    };
    let (ours, theirs) = (run(PYI, "ours"), run("git", "gits"));
    assert!(!is_handed_over(&ours), "{words:?} in {below:?}: {ours:?}");
    assert_eq!(answer(&ours), answer(&theirs), "{words:?} in {below:?}");
    for asked in [
        &["diff-files"][..],
        &["status", "--porcelain=v2"],
        &["ls-files", "-s"],
        &["reflog"],
    ] {
        let state = |directory: &str| {
            let mut command = place.command("git");
            command
                .current_dir(place.path(directory))
                .env("GIT_OPTIONAL_LOCKS", "0")
                .args(asked);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        assert_eq!(state("ours"), state("gits"), "{asked:?} after {words:?} in {below:?}");
    }
}

fn same(place: &Place, words: &[&str]) {
    same_below(place, "", words);
}

fn commit(place: &Place, files: &[(&str, &str)], message: &str) {
    for (name, text) in files {
        let path = place.path("project").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", message]);
}

#[test]
fn paths_are_relative_to_where_one_is() {
    let place = Place::new();
    commit(&place, &[("src/lib/deep.py", "a\n"), ("docs/a.md", "b\n")], "More");
    place.write("project/README.md", "changed\n");
    place.write("project/src/app.py", "changed\n");
    place.write("project/src/lib/new name.txt", "new\n");
    let top = fs::canonicalize(place.path("project")).unwrap();
    let absolute = top.join("src/app.py");
    for words in [
        &["status"][..],
        &["status", "--short"],
        &["status", "--porcelain"],
        &["status", "-s", ".."],
        &["status", "--porcelain=v2"],
        &["diff"],
        &["diff", "--stat", "."],
        &["diff", "--name-only", "../README.md"],
        &["diff", "HEAD", "--", "app.py"],
        &["log", "--oneline", "--", "lib"],
        &["log", "--oneline", "app.py"],
        &["show", "HEAD:./lib/deep.py"],
        &["show", "HEAD:README.md"],
        &["ls-files"],
        &["ls-files", "-m", ".."],
        &["ls-files", "-o", "--exclude-standard"],
        &["add", "-v", "."],
        &["add", "-A"],
        &["add", "../README.md", "lib/"],
        &["commit", "-m", "below"],
        &["restore", "--staged", "../README.md"],
        &["restore", "app.py"],
        &["checkout", "--", "lib", "../README.md"],
        &["reset", "-q", "lib"],
        &["mv", "lib/deep.py", "moved.py"],
        &["rm", "-q", "--cached", "moved.py"],
        &["stash"],
        &["stash", "list"],
        &["add", "nothing"],
        &["commit", "-m", "not there"],
    ] {
        same_below(&place, "src", words);
    }
    // An absolute path is one of the copy that it is in.
    let said = place
        .command(PYI)
        .env("PYI_GIT_NATIVE", "only")
        .arg("add")
        .arg(&absolute)
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    same_below(&place, "src/lib", &["status"]);
}

#[test]
fn the_directory_that_one_is_in_stays() {
    let place = Place::new();
    let said = place
        .command(PYI)
        .current_dir(place.path("project/src"))
        .env("PYI_GIT_NATIVE", "only")
        .args(["rm", "-q", "app.py"])
        .output()
        .unwrap();
    assert!(is_handed_over(&said), "{said:?}");
    let said = place
        .command(PYI)
        .current_dir(place.path("project/src"))
        .env("PYI_GIT_NATIVE", "only")
        .args(["-C", "..", "rm", "-q", "src/app.py"])
        .output()
        .unwrap();
    assert!(is_handed_over(&said), "{said:?}");
    assert!(place.path("project/src/app.py").exists());
}

#[test]
fn what_was_touched_is_noted_in_the_index() {
    for words in [
        &["status"][..],
        &["status", "-s"],
        &["diff"],
        &["diff", "--stat", "README.md"],
        &["add", "README.md"],
        &["add", "-A"],
        &["commit", "-qam", "all"],
    ] {
        let place = Place::new();
        place.write("project/src/app.py", "changed\n");
        let status = Command::new("touch")
            .args(["-d", "2001-02-03"])
            .arg(place.path("project/README.md"))
            .status();
        assert!(status.unwrap().success());
        same(&place, words);
    }
    // Not where git would note less, nor where another process has the index.
    let place = Place::new();
    let touch = || {
        Command::new("touch")
            .args(["-d", "2001-02-03"])
            .arg(place.path("project/README.md"))
            .status()
    };
    touch().unwrap();
    let only = |words: &[&str]| place.only(words);
    assert!(is_handed_over(&only(&["add", "-n", "."])));
    assert!(is_handed_over(&only(&["diff", "--quiet"])));
    place.write("project/.git/index.lock", "");
    assert!(is_handed_over(&only(&["status"])));
    fs::remove_file(place.path("project/.git/index.lock")).unwrap();
    assert!(!is_handed_over(&only(&["status"])));
    assert_eq!(place.git(&["diff-files"]), "");
}

#[test]
fn hooks_are_looked_for_where_they_are() {
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    place.git(&["config", "core.hooksPath", "/dev/null"]);
    same(&place, &["commit", "-qam", "no hooks"]);
    let hooks = place.path("hooks");
    fs::create_dir(&hooks).unwrap();
    place.git(&["config", "core.hooksPath", hooks.to_str().unwrap()]);
    place.write("project/README.md", "changed again\n");
    same(&place, &["commit", "-qam", "none yet"]);
    fs::write(hooks.join("pre-commit"), "#!/bin/sh\n").unwrap();
    let only = |words: &[&str]| place.only(words);
    assert!(is_handed_over(&only(&["commit", "--allow-empty", "-qm", "x"])));
    place.git(&["config", "core.hooksPath", "relative"]);
    assert!(is_handed_over(&only(&["commit", "--allow-empty", "-qm", "x"])));
}

#[test]
fn what_is_not_there_is_said_as_git_says_it() {
    let place = Place::new();
    commit(&place, &[("a", "a\n")], "More");
    for words in [
        &["commit", "-m", "lost", "its", "quotes"][..],
        &["commit", "-m", "lost"],
        &["commit", "-qm", "nothing"],
        &["add", "nothing"],
        &["add", "a", "nothing"],
        &["rm", "nothing"],
        &["rm", "--cached"],
        &["rm", "src"],
        &["mv", "nothing", "x"],
        &["mv", "a", "README.md"],
        &["restore", "nothing", "a", "no"],
        &["restore", "--staged", "nothing"],
        &["checkout", "nothing"],
        &["checkout", "--", "nothing", "no"],
        &["log", "nothing"],
        &["diff", "nothing"],
        &["show", "nothing"],
    ] {
        same(&place, words);
    }
}

#[test]
fn merges_are_shown_where_their_sides_do_not_meet() {
    let place = Place::new();
    let lines = |first: &str, last: &str| format!("{first}\n{}{last}\n", "line\n".repeat(40));
    commit(&place, &[("long", &lines("a", "z")), ("near", "1\n2\n3\n4\n")], "Base");
    place.git(&["checkout", "-q", "-b", "side"]);
    commit(&place, &[("long", &lines("A", "z")), ("side", "s\n")], "Side");
    place.git(&["checkout", "-q", "main"]);
    commit(&place, &[("long", &lines("a", "Z")), ("main", "m\n")], "Main");
    place.git(&["merge", "-q", "--no-edit", "side"]);
    for words in [
        &["show"][..],
        &["show", "--stat"],
        &["show", "-s"],
        &["show", "--oneline"],
        &["show", "--shortstat", "--format=%h"],
        &["show", "--color=never", "HEAD~1"],
        &["log", "-p", "-2"],
    ] {
        same(&place, words);
    }
    // Where they do, git shows both at once.
    place.git(&["checkout", "-q", "-b", "other", "HEAD~1"]);
    commit(&place, &[("near", "1\n2\n3\n4 other\n")], "Other");
    place.git(&["checkout", "-q", "main"]);
    commit(&place, &[("near", "1 main\n2\n3\n4\n")], "Near");
    place.run("git", &["merge", "-q", "--no-edit", "other"]);
    let only = |words: &[&str]| place.only(words);
    assert!(is_handed_over(&only(&["show"])));
    same(&place, &["show", "--stat"]);
}

#[test]
fn a_file_is_followed_through_its_names() {
    let place = Place::new();
    let text = "one\ntwo\nthree\nfour\nfive\nsix\n".repeat(4);
    commit(&place, &[("first.txt", &text), ("b", "b\n")], "First name");
    commit(&place, &[("b", "c\n")], "Something else");
    place.git(&["mv", "first.txt", "src/second.txt"]);
    commit(
        &place,
        &[("src/second.txt", &(text.clone() + "more\n")), ("new", &text)],
        "Second name",
    );
    place.git(&["mv", "src/second.txt", "third.txt"]);
    place.git(&["commit", "-q", "-m", "Third name"]);
    commit(&place, &[("third.txt", &(text + "more\nand more\n"))], "Changed");
    for words in [
        &["log", "--follow", "--oneline", "third.txt"][..],
        &["log", "--follow", "-p", "third.txt"],
        &["log", "--follow", "--stat", "-3", "--", "third.txt"],
        &["log", "--follow", "--name-status", "--format=%s", "third.txt"],
        &["log", "--follow", "--oneline", "b"],
        &["log", "--oneline", "HEAD~3..HEAD"],
        &["log", "--oneline", "HEAD~3..", "--since=2026-01-01 00:00:00"],
        &["log", "--oneline", "--until=2020-01-01"],
        &["log", "--oneline", "--since=2 weeks ago"],
        &["log", "--oneline", "--", ".", ":!src", ":^b"],
        &["diff", "--stat", "HEAD~4", "--", ".", ":!third.txt"],
    ] {
        same(&place, words);
    }
}

#[test]
fn people_are_shown_under_their_names() {
    let place = Place::new();
    commit(
        &place,
        &[(".mailmap", "Ann Example <ann@example.com> <ANN@example.org>\n")],
        "Names",
    );
    fs::write(
        place.path("project/.gitattributes"),
        "[attr]plain text eol=lf\n*.md plain\n*.bin -plain\n",
    )
    .unwrap();
    for words in [
        &["log"][..],
        &["show"],
        &["log", "--pretty=fuller"],
        &["log", "--format=%an %ae %cn"],
        &["log", "--oneline"],
        &["status"],
        &["diff", "HEAD~1"],
    ] {
        same(&place, words);
    }
}

#[test]
fn what_a_merge_leaves_behind_goes_with_the_next_commit() {
    let place = Place::new();
    place.write("project/README.md", "stashed\n");
    place.git(&["stash", "-q"]);
    place.git(&["stash", "pop", "-q"]);
    let left = || place.path("project/.git/AUTO_MERGE").exists();
    // Only some versions of git leave it.
    if left() {
        same(&place, &["status"]);
        place.ok(&["add", "-A"]);
        assert!(left());
        place.ok(&["commit", "-q", "-m", "Stashed"]);
        assert!(!left());
        assert_eq!(place.git(&["status", "--porcelain"]), "");
    }
}

#[test]
fn remotes_and_versions_are_listed() {
    let place = Place::new();
    for tag in ["v1.9", "v1.10", "v1.2.1", "v2", "v1.2-rc1", "other"] {
        place.git(&["tag", tag]);
    }
    place.git(&["remote", "add", "origin", "../origin.git"]);
    place.git(&["remote", "add", "a", "https://example.org/a"]);
    place.git(&["config", "remote.a.pushurl", "ssh://example.org/a"]);
    for words in [
        &["remote"][..],
        &["remote", "-v"],
        &["remote", "get-url", "origin"],
        &["tag", "--sort=-v:refname"],
        &["tag", "-l", "--sort=version:refname", "v1*"],
        &["tag", "--sort=-refname"],
    ] {
        same(&place, words);
    }
}

/// A commit read all lines of two reflogs to count them: a commit of an agent that had made 3,000 before took twice as long as its first.
/// Nobody asked what the lines say; here nobody could read them.
#[test]
fn a_reflog_is_written_to_and_not_read() {
    let place = Place::new();
    let log = |name: &str| place.path("project/.git/logs").join(name);
    for name in ["HEAD", "refs/heads/main"] {
        let file = fs::OpenOptions::new().append(true).open(log(name)).unwrap();
        // A hole: larger than any file of a git directory that is read.
        file.set_len((1 << 30) + 4096).unwrap();
    }
    place.write("project/README.md", "more\n");
    for words in [&["add", "-A"][..], &["commit", "-q", "-m", "more"]] {
        let said = place.only(words);
        assert!(said.status.success(), "{words:?}: {said:?}");
    }
    for name in ["HEAD", "refs/heads/main"] {
        let mut file = fs::File::open(log(name)).unwrap();
        file.seek(SeekFrom::Start((1 << 30) + 4096)).unwrap();
        let mut line = String::new();
        file.read_to_string(&mut line).unwrap();
        assert!(
            line.starts_with(place.git(&["rev-parse", "HEAD~1"]).trim()) && line.ends_with("\tcommit: more\n"),
            "{line:?}"
        );
        fs::write(log(name), line).unwrap();
    }
    // What was written is seen by what comes after it in the same command, and by git.
    place.write("project/README.md", "much more\n");
    same(&place, &["stash", "push", "-m", "kept"]);
    let said = place.only(&["stash"]);
    assert!(said.status.success(), "{said:?}");
    same(&place, &["stash", "pop"]);
}

/// A reflog that is a pipe would be waited for.
#[test]
fn a_reflog_that_is_no_file_is_not_written_to() {
    let place = Place::new();
    let log = place.path("project/.git/logs/HEAD");
    fs::remove_file(&log).unwrap();
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    place.write("project/README.md", "more\n");
    assert!(place.only(&["add", "-A"]).status.success());
    let said = place.only(&["commit", "-q", "-m", "more"]);
    assert!(is_handed_over(&said), "{said:?}");
}
