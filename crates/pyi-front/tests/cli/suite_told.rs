//! What git's own tests, and reading them, found: cases that are told one by one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{PYI, Place};
use crate::work_tree::is_handed_over;

/// Both say the same.
fn alike(place: &Place, words: &[&str]) {
    let (ours, theirs) = (place.pyi(words), place.run("git", words));
    assert_eq!(
        (ours.status, String::from_utf8_lossy(&ours.out), &ours.err),
        (theirs.status, String::from_utf8_lossy(&theirs.out), &theirs.err),
        "{words:?}"
    );
}

/// Whether it is git that runs it.
fn is_gits(place: &Place, words: &[&str]) -> bool {
    is_handed_over(&only(place).args(words).output().unwrap())
}

fn only(place: &Place) -> Command {
    let mut command = place.command(PYI);
    command.env("PYI_GIT_NATIVE", "only");
    command
}

/// A merge, whose sides changed different files.
fn merged(place: &Place) {
    place.git(&["checkout", "-q", "-b", "side"]);
    place.write("project/side.txt", "side\n");
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "side"]);
    place.git(&["checkout", "-q", "main"]);
    place.write("project/README.md", "main\n");
    place.git(&["commit", "-q", "-am", "main"]);
    place.git(&["merge", "-q", "-m", "merge", "side"]);
}

/// Plumbing that does not look at files itself relies on `status` and `diff` to bring the index up to date.
#[test]
fn what_is_found_out_about_files_is_written_down() {
    let place = Place::new();
    let touch = |days: u64| {
        let file = fs::File::options()
            .write(true)
            .open(place.path("project/README.md"))
            .unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(days * 86_400);
        file.set_modified(time).unwrap();
    };
    for (days, words) in [(1, &["status"][..]), (2, &["diff", "HEAD"]), (3, &["add", "-A"])] {
        touch(days);
        assert!(!place.git(&["diff-files", "--name-only"]).is_empty());
        place.ok(words);
        assert_eq!(place.git(&["diff-files", "--name-only"]), "", "{words:?}");
        // Then there is nothing to write, and nothing to hand over.
        assert!(!is_gits(&place, words), "{words:?}");
    }
    // A file of which the mode alone is staged.
    let path = place.path("project/README.md");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!is_gits(&place, &["add", "-u"]));
    assert_eq!(place.git(&["diff-files", "--name-only"]), "");
    touch(4);
    assert!(!is_gits(&place, &["--no-optional-locks", "status"]));
}

/// Git compares times by the second. An entry whose file was changed in the second in which the index was written has to be compared by content,
/// and must not look older than the index when that is written again some time later.
#[test]
fn a_change_in_the_second_of_an_index_is_seen_after_the_next() {
    use std::time::SystemTime;
    for words in [&["add", "other.txt"][..], &["commit", "-q", "-m", "x"]] {
        let place = Place::new();
        let second = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let at = |name: &str, millis: u64| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(second * 1000 + millis);
            fs::File::options()
                .write(true)
                .open(place.path(name))
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        place.write("project/README.md", "one\n");
        at("project/README.md", 100);
        place.ok(&["add", "README.md"]);
        at("project/.git/index", 200);
        place.write("project/README.md", "two\n");
        at("project/README.md", 300);
        // In a later second.
        while SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            == second
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        place.write("project/other.txt", "other\n");
        assert!(!is_gits(&place, words), "{words:?}");
        assert_eq!(place.git(&["diff", "--name-only"]), "README.md\n", "{words:?}");
        assert_eq!(place.git(&["diff-files", "--name-only"]), "README.md\n", "{words:?}");
    }
}

#[test]
fn history_is_shown_as_git_shows_it() {
    let place = Place::new();
    merged(&place);
    place.git(&[
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "A subject  \non two lines\n\nand more",
    ]);
    place.git(&["commit", "-q", "--allow-empty", "--allow-empty-message", "-m", ""]);
    place.git(&["update-ref", "refs/odd/one", "HEAD"]);
    for words in [
        // Along first parents, a merge differs from the first.
        &["log", "--first-parent", "-p"][..],
        &["log", "-z", "--format=%s"],
        &["log", "-z", "--oneline"],
        // A message that is empty has no line.
        &["log"],
        &["log", "--pretty=short"],
        &["log", "--format=%f"],
        &["log", "--stat"],
        &["show", "-s"],
        // Refs that are neither branches nor tags do not decorate.
        &["log", "--decorate", "--oneline"],
        &["log", "-1", "--format=%d%D"],
        &["rev-list", "--first-parent", "--parents", "HEAD"],
        &["rev-list", "side..HEAD", "--", "side.txt"],
        &["log", "--oneline", "side..HEAD", "--", "side.txt"],
        &["log", "--oneline", "HEAD", "--", "side.txt"],
        &["status", "-sb", "--no-ahead-behind"],
    ] {
        alike(&place, words);
    }
}

#[test]
fn a_commit_whose_author_is_odd_is_gits() {
    let place = Place::new();
    let sound = place.git(&["cat-file", "commit", "HEAD"]);
    for (from, to) in [
        ("author Ann <", "author Ann "),
        ("author Ann <ann@example.org>", "author Ann <ann@example.org>-<>"),
        ("author Ann <ann@example.org> ", "author Ann  <ann@example.org> -"),
        (" +0000\ncommitter", "\ncommitter"),
    ] {
        place.write("commit", &sound.replace(from, to));
        let file = place.path("commit");
        let oid = place.git(&[
            "hash-object",
            "--literally",
            "-t",
            "commit",
            "-w",
            file.to_str().unwrap(),
        ]);
        let oid = oid.trim();
        for words in [
            &["log", "-1", oid][..],
            &["log", "-1", "--format=%an %ae %ad", oid],
            &["show", "-s", oid],
        ] {
            alike(&place, words);
        }
    }
}

/// The line that a hunk is in is cut after 80 bytes, but not in the middle of a letter.
#[test]
fn the_line_of_a_hunk_ends_with_a_whole_letter() {
    let place = Place::new();
    let lines = "\n1\n2\n3\n4\n5\n6\n";
    let long = "ä".repeat(60);
    for first in [
        format!("A {long}"),
        format!("AB {long}"),
        "é".to_owned(),
        "A: short".to_owned(),
    ] {
        place.write("project/README.md", &format!("{first}{lines}"));
        place.git(&["add", "README.md"]);
        place.write("project/README.md", &format!("{first}{lines}7\n"));
        alike(&place, &["diff"]);
    }
    fs::write(
        place.path("project/README.md"),
        [b"A \xe9\xe9", lines.as_bytes()].concat(),
    )
    .unwrap();
    place.git(&["add", "README.md"]);
    fs::write(
        place.path("project/README.md"),
        [b"A \xe9\xe9", lines.as_bytes(), b"7\n"].concat(),
    )
    .unwrap();
    alike(&place, &["diff"]);
    alike(&place, &["log", ":"]);
}

#[test]
fn tags_are_made_as_git_makes_them() {
    let place = Place::new();
    place.git(&["tag", "-m", "one", "one"]);
    // Lines that begin with `#` are comments, and a tag of a tag has advice.
    place.ok(&["tag", "-m", "# no\nyes", "two"]);
    assert_eq!(place.git(&["tag", "-l", "--format=%(contents)", "two"]), "yes\n\n");
    assert!(is_gits(&place, &["tag", "-m", "x", "three", "one"]));
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let place = Place::new();
    place.git(&["branch", "other"]);
    for words in [
        &["tag", "-a", "-l"][..],
        &["tag", "-l", "-m", "x"],
        &["tag", "-f"],
        &["tag", "-l", "-d"],
        &["tag", "-m", "x"],
        &["branch", "-d", "--list", "other"],
        &["branch", "-D", "-m", "other"],
        &["branch", "--show-current", "--list"],
        &["branch", "-M", "other", "main"],
    ] {
        alike(&place, words);
    }
}

/// A branch that is renamed keeps its log, and one that stands for another says so.
#[test]
fn branches_are_more_than_commits() {
    let place = Place::new();
    place.git(&["branch", "--create-reflog", "old"]);
    place.git(&["branch", "-f", "old", "HEAD"]);
    place.ok(&["branch", "-m", "old", "new"]);
    let log = place.git(&["reflog", "show", "new"]);
    assert!(log.contains("Branch: renamed") && log.contains("Created from"), "{log}");
    place.git(&["symbolic-ref", "refs/heads/stands", "refs/heads/new"]);
    place.git(&["symbolic-ref", "refs/remotes/origin/stands", "refs/heads/new"]);
    for words in [&["branch"][..], &["branch", "-v"], &["branch", "-a"], &["branch", "-r"]] {
        alike(&place, words);
    }
}

#[test]
fn trees_and_other_repositories_are_no_files() {
    let place = Place::new();
    let head = place.git(&["rev-parse", "HEAD"]);
    place.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{},module", head.trim()),
    ]);
    place.git(&["commit", "-q", "-m", "module"]);
    for words in [
        &["ls-tree", "-d", "HEAD"][..],
        &["ls-tree", "HEAD"],
        &["ls-tree", "-rt", "HEAD"],
    ] {
        assert!(!is_gits(&place, words), "{words:?}");
        alike(&place, words);
    }
}

/// The git that answers beside may give up; its words are enough then.
#[test]
fn a_batch_ends_as_git_ends_it() {
    use std::io::Write;
    let place = Place::new();
    place.write("odd", "content");
    let file = place.path("odd");
    let oid = place.git(&[
        "hash-object",
        "--literally",
        "-t",
        "bogus",
        "-w",
        file.to_str().unwrap(),
    ]);
    let said = |program: &str| {
        let mut command = place.command(program);
        command.args(["cat-file", "--batch-check"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(oid.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            output.stdout,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(said(PYI), said("git"));
}

#[test]
fn what_a_checkout_could_mean_is_gits_to_say() {
    let place = Place::new();
    place.git(&["branch", "src"]);
    place.git(&["tag", "v1"]);
    for words in [
        &["checkout", "src", "README.md"][..],
        &["checkout", "--detach", "v1", "README.md"],
        &["checkout", "--detach", "-b", "new", "v1"],
        &["checkout", "-b", "one", "-B", "two"],
        &["switch", "--detach", "-c", "new"],
    ] {
        alike(&place, words);
        assert_eq!(place.git(&["symbolic-ref", "HEAD"]), "refs/heads/main\n", "{words:?}");
    }
    // All files are still to come.
    place.git(&["clone", "-q", "--no-checkout", ".", "../clone"]);
    let status = place
        .command(PYI)
        .args(["-C", "../clone", "checkout", "-q", "HEAD", "-b", "new"])
        .status()
        .unwrap();
    assert!(status.success() && place.path("clone/README.md").exists());
}

/// People get messages in UTF-8, whatever they are stored in.
#[test]
fn a_subject_in_another_encoding_is_converted() {
    let place = Place::new();
    place.write("message", "");
    fs::write(place.path("message"), b"ge\xe4ndert\n").unwrap();
    place.git(&[
        "-c",
        "i18n.commitEncoding=ISO-8859-1",
        "commit",
        "-q",
        "--allow-empty",
        "-F",
        "../message",
    ]);
    for words in [
        &["reset", "--hard"][..],
        &["branch", "-v"],
        &["log", "-1", "--oneline"],
        &["log", "-1"],
        &["log", "-1", "--format=%e %an %s|%b|%f"],
        &["show"],
        &["for-each-ref", "--format=%(subject)"],
        &["checkout", "--detach"],
    ] {
        alike(&place, words);
    }
    assert!(!is_gits(&place, &["log", "-1"]));
}

#[test]
fn an_author_without_a_name_is_refused() {
    let place = Place::new();
    let text = place
        .git(&["cat-file", "commit", "HEAD"])
        .replace("author Ann <", "author <");
    place.write("commit", &text);
    let file = place.path("commit");
    let oid = place.git(&[
        "hash-object",
        "--literally",
        "-t",
        "commit",
        "-w",
        file.to_str().unwrap(),
    ]);
    place.git(&["checkout", "-q", oid.trim()]);
    alike(&place, &["commit", "--amend", "-m", "x"]);
}

/// Some versions of git take dots away, some do not.
#[test]
fn dots_around_a_name_are_gits() {
    let place = Place::new();
    for name in ["Jane D.", ". Jane", "Jane D. Doe"] {
        let output = |program: &str| {
            let mut command = place.command(program);
            command
                .env("GIT_AUTHOR_NAME", name)
                .args(["commit", "-q", "--allow-empty", "-m", "x"]);
            assert!(command.status().unwrap().success());
            place.git(&["log", "-1", "--format=%an"])
        };
        assert_eq!(output(PYI), output("git"), "{name}");
    }
}

#[test]
fn a_branch_of_another_work_tree_is_marked() {
    let place = Place::new();
    place.git(&["worktree", "add", "-q", "../other", "-b", "other"]);
    alike(&place, &["branch"]);
    alike(&place, &["branch", "-f", "other", "HEAD"]);
    alike(&place, &["branch", "-D", "other"]);
}

/// Git looks through a format before it looks for refs.
#[test]
fn a_wrong_format_is_an_error_without_a_ref_too() {
    let place = Place::new();
    for format in [
        "%(describe:baz)",
        "%(refname:odd)",
        "%(authordate:odd)",
        "%(open",
        "%(HEAD)%(tree)",
    ] {
        alike(&place, &["for-each-ref", "--format", format, "refs/none"]);
        alike(&place, &["branch", "--format", format, "--list", "none"]);
    }
}

#[test]
fn a_ref_of_another_work_tree_makes_a_name_ambiguous() {
    let place = Place::new();
    place.git(&["update-ref", "refs/heads/main-worktree/HEAD", "HEAD"]);
    alike(&place, &["rev-parse", "main-worktree/HEAD"]);
    alike(&place, &["log", "-1", "--oneline", "main-worktree/HEAD"]);
}

/// A file with plain line ends that will be written with others is warned of.
#[test]
fn line_ends_that_will_change_are_warned_of() {
    let place = Place::new();
    place.write("project/.gitattributes", "*.bat eol=crlf\n*.sh eol=lf\n*.txt text\n");
    for (name, warned) in [("a.bat", true), ("a.sh", false), ("a.txt", false)] {
        place.write(&format!("project/{name}"), "one\ntwo\n");
        let said = place.pyi(&["add", name]);
        assert_eq!(
            said.err.contains("LF will be replaced by CRLF"),
            warned,
            "{name}: {said:?}"
        );
    }
}

#[test]
fn a_commit_graph_of_another_hash_is_warned_of() {
    let place = Place::new();
    place.git(&["commit-graph", "write", "--reachable"]);
    assert!(!is_gits(&place, &["log", "--oneline"]));
    let graph = place.path("project/.git/objects/info/commit-graph");
    let mut bytes = fs::read(&graph).unwrap();
    bytes[5] = 3;
    fs::remove_file(&graph).unwrap();
    fs::write(&graph, bytes).unwrap();
    alike(&place, &["log", "--oneline"]);
}

#[test]
fn a_repository_above_a_ceiling_is_not_found() {
    let place = Place::new();
    let project = fs::canonicalize(place.path("project")).unwrap();
    let above = project.parent().unwrap().to_str().unwrap();
    let at = project.to_str().unwrap();
    for (ceilings, below) in [
        (at.to_owned(), "project/src"),
        (format!(":{at}"), "project/src"),
        (format!("/nonexistent:{at}/"), "project/src"),
        (format!("{at}/src/.."), "project/src"),
        (above.to_owned(), "project/src"),
        (at.to_owned(), "project"),
        ("relative".to_owned(), "project/src"),
        (String::new(), "project/src"),
    ] {
        let said = |program: &str| {
            let mut command = place.command(program);
            command
                .env("GIT_CEILING_DIRECTORIES", &ceilings)
                .current_dir(place.path(below));
            command.args(["rev-parse", "--show-toplevel", "HEAD"]).output().unwrap()
        };
        let (ours, theirs) = (said(PYI), said("git"));
        assert_eq!(
            (ours.status.code(), ours.stdout),
            (theirs.status.code(), theirs.stdout),
            "{ceilings} {below}"
        );
    }
}

/// Git's own test suite forbids abbreviated options.
#[test]
fn abbreviations_are_refused_where_git_refuses_them() {
    let place = Place::new();
    let forbidden = |words: &[&str]| {
        let mut command = only(&place);
        command.env("GIT_TEST_DISALLOW_ABBREVIATED_OPTIONS", "true").args(words);
        is_handed_over(&command.output().unwrap())
    };
    assert!(!is_gits(&place, &["ls-tree", "--name-o", "HEAD"]));
    assert!(forbidden(&["ls-tree", "--name-o", "HEAD"]) && !forbidden(&["ls-tree", "--name-only", "HEAD"]));
    assert!(!forbidden(&["show-ref", "--hash", "--tags", "--branches"]));
}

/// A message that was read, and then is git's to commit, was empty.
#[test]
fn what_was_read_is_there_for_git() {
    use std::io::Write;
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    let mut command = place.command(PYI);
    command
        .args(["commit", "-q", "-s", "-F", "-", "README.md"])
        .stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let message = "line\n".repeat(100_000);
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let said = place.git(&["log", "-1", "--format=%B"]);
    assert!(said.starts_with(&message) && said.trim_end().ends_with("Signed-off-by: Ann <ann@example.org>"));
}

#[test]
fn a_hook_that_cannot_be_executed_is_warned_of() {
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    fs::create_dir_all(place.path("project/.git/hooks")).unwrap();
    place.write("project/.git/hooks/pre-commit", "exit 1\n");
    let said = place.pyi(&["commit", "-qam", "x"]);
    assert!(said.status == 0 && said.err.contains("ignored"), "{said:?}");
}

/// A process that is killed cannot take its locks away: another one does.
#[test]
fn no_lock_is_left_by_who_is_killed() {
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    // It waits there for a reader, with all locks held.
    let pipe = place.path("project/.git/COMMIT_EDITMSG");
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let locks = ["index.lock", "HEAD.lock", "refs/heads/main.lock"].map(|name| place.path("project/.git").join(name));
    let mut child = only(&place)
        .args(["commit", "-qam", "x"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("locks are held", || locks.iter().all(|lock| lock.exists()));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("locks are gone", || !locks.iter().any(|lock| lock.exists()));
    fs::remove_file(&pipe).unwrap();
    place.ok(&["commit", "-qam", "x"]);
    place.git(&["fsck", "--strict"]);
    // A lock that somebody else holds stays.
    place.write("project/README.md", "again\n");
    place.write("project/.git/index.lock", "");
    assert!(is_gits(&place, &["commit", "-qam", "x"]));
    assert!(place.path("project/.git/index.lock").exists());
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not after a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}
