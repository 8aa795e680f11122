//! What generated commands found to differ from git, told one by one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::common::{PYI, Place, same};
use crate::stale_told::age;
use crate::work_tree::is_handed_over;

#[test]
fn a_word_for_several_revisions_names_none_by_itself() {
    let place = Place::new();
    place.git(&["commit", "-q", "--allow-empty", "-m", "Second"]);
    for revision in [
        "HEAD^@",
        "@^@",
        "HEAD^!",
        "HEAD^-",
        "HEAD^-1",
        "HEAD~1^!",
        "HEAD^1x",
        "HEAD~1.",
        "HEAD^{tree}x",
    ] {
        same(&place, &["rev-parse", revision]);
        same(&place, &["cat-file", "-t", revision]);
        same(&place, &["ls-tree", revision]);
        same(&place, &["log", "--oneline", revision]);
        same(&place, &["show", "-s", revision]);
    }
}

/// Whether words are answered natively, and with what.
pub(crate) fn natively(place: &Place, words: &[&str]) -> (bool, String) {
    let output = place.only(words);
    let text = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    (!is_handed_over(&output), text)
}

/// The walk from one side meets commits before it knows that the other side has them too.
#[test]
fn branches_of_one_second_are_as_far_apart_as_git_says() {
    let place = Place::new();
    place.git(&["config", "remote.origin.url", "../origin"]);
    place.git(&["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]);
    place.git(&["config", "branch.main.remote", "origin"]);
    place.git(&["config", "branch.main.merge", "refs/heads/main"]);
    for number in 0..6 {
        place.git(&["commit", "-q", "--allow-empty", "-m", &format!("Commit {number}")]);
    }
    place.git(&["checkout", "-q", "-b", "side", "HEAD~3"]);
    place.git(&["commit", "-q", "--allow-empty", "-m", "Beside"]);
    for (ours, theirs) in [
        ("main~1", "main"),
        ("main", "main~2"),
        ("side", "main"),
        ("main", "side"),
        ("side~1", "main"),
    ] {
        let (ours, theirs) = (place.git(&["rev-parse", ours]), place.git(&["rev-parse", theirs]));
        place.git(&["update-ref", "refs/remotes/origin/main", theirs.trim()]);
        place.git(&["checkout", "-q", "-B", "main", ours.trim()]);
        place.git(&["config", "branch.main.remote", "origin"]);
        for words in [
            &["branch", "-v"][..],
            &["status", "-sb"],
            &["status"],
            &["branch", "-vv"],
        ] {
            same(&place, words);
        }
    }
}

/// Git leaves the tree that applying came to, and takes it away with the next commit; other commands do not mind.
#[test]
fn a_stash_that_was_applied_leaves_its_tree() {
    let place = Place::new();
    for words in [&["stash", "apply"][..], &["stash", "pop", "-q"]] {
        place.write("project/README.md", "changed\n");
        place.git(&["stash", "-q"]);
        let tree = place.git(&["rev-parse", "stash^{tree}"]);
        let (native, said) = natively(&place, words);
        assert!(native, "{said}");
        let left = fs::read_to_string(place.path("project/.git/AUTO_MERGE")).unwrap();
        assert_eq!(left, tree);
        assert!(natively(&place, &["status"]).0 && natively(&place, &["diff"]).0);
        assert!(natively(&place, &["stash", "list"]).0);
        same(&place, &["stash", "list"]);
        if words[1] == "apply" {
            assert!(natively(&place, &["stash", "show", "-p"]).0);
            same(&place, &["stash", "show"]);
        }
        assert_eq!(fs::read_to_string(place.path("project/.git/AUTO_MERGE")).unwrap(), tree);
        assert!(!natively(&place, &["commit", "-qam", "x"]).0);
        place.ok(&["commit", "-qam", "Changed"]);
        assert!(!place.path("project/.git/AUTO_MERGE").exists());
        place.git(&["reset", "-q", "--hard", "HEAD~1"]);
        place.git(&["fsck", "--strict"]);
    }
}

/// Git looks into the top of a commit even where the index says that it is the same, and shows what an index cannot hold.
#[test]
fn a_malformed_tree_that_was_reset_into_is_gits() {
    let (head, second) = (b"100644 README.md\0", b"100644 .gitignore\0");
    let place = Place::new();
    let name = |path: &str| place.git(&["rev-parse", &format!("HEAD:{path}")]).trim_end().to_owned();
    let raw = |hex: String| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    };
    let (readme, ignore) = (raw(name("README.md")), raw(name(".gitignore")));
    for (entries, what) in [
        ([&head[..], &readme, second, &ignore].concat(), "no order"),
        ([&head[..], &ignore, head, &readme].concat(), "two of one name"),
    ] {
        fs::write(place.path("tree"), entries).unwrap();
        let tree = place.git(&["hash-object", "-w", "--literally", "-t", "tree", "../tree"]);
        let commit = place.git(&["commit-tree", "-m", "Malformed", tree.trim_end()]);
        place.git(&["reset", "-q", "--hard", commit.trim_end()]);
        assert!(!natively(&place, &["status", "-s"]).0, "{what}");
        same(&place, &["status", "-s"]);
        same(&place, &["diff", "--cached", "--name-status"]);
        place.git(&["reset", "-q", "--hard", "main@{1}"]);
        assert!(natively(&place, &["status", "-s"]).0);
    }
}

/// What a loose object is stands in its first bytes: git looks at no others, be they damaged.
#[test]
fn kind_and_size_of_a_loose_object_are_read_from_its_header() {
    let place = Place::new();
    // So much that its deflated bytes do not all fit into one look.
    let text: String = (0..40_000).map(|number| format!("{}\n", number * number)).collect();
    place.write("project/large.txt", &text);
    let oid = place.git(&["hash-object", "-w", "large.txt"]).trim_end().to_owned();
    let path = place.path(&format!("project/.git/objects/{}/{}", &oid[..2], &oid[2..]));
    let whole = fs::read(&path).unwrap();
    let check = |how: &str, is_sound: bool| {
        for what in ["-t", "-s", "-e"] {
            assert!(natively(&place, &["cat-file", what, &oid]).0, "{how} {what}");
            same(&place, &["cat-file", what, &oid]);
        }
        assert_eq!(natively(&place, &["cat-file", "-p", &oid]).0, is_sound, "{how}");
        // No ref is given to what is damaged.
        let tagged = place.pyi(&["tag", how, &oid]);
        assert_eq!(tagged.status == 0, is_sound, "{tagged:?}");
    };
    check("sound", true);
    fs::remove_file(&path).unwrap();
    let middle = whole.len() / 2;
    fs::write(&path, [&whole[..middle], b"damage", &whole[middle + 6..]].concat()).unwrap();
    check("damaged", false);
    fs::remove_file(&path).unwrap();
    fs::write(&path, &whole[..middle]).unwrap();
    check("short", false);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"no object").unwrap();
    assert!(!natively(&place, &["cat-file", "-t", &oid]).0);
    same(&place, &["cat-file", "-t", &oid]);
}

#[test]
fn without_an_index_git_makes_one() {
    for words in [
        &["reset", "--", "README.md"][..],
        &["reset", "-q"],
        &["commit", "-q", "--allow-empty", "-m", "x"],
        &["rm", "-q", "--ignore-unmatch", "nothing"],
        &["add", "-u"],
        &["restore", "--staged", "."],
        &["status", "-s"],
        &["stash", "list"],
        &["switch", "-q", "-c", "new"],
        &["commit", "-m", "nothing"],
        &["commit", "--amend", "--no-edit"],
    ] {
        let (ours, theirs) = (Place::new(), Place::new());
        let after = |place: &Place| {
            fs::remove_file(place.path("project/.git/index")).unwrap();
            if words == ["commit", "-m", "nothing"] {
                place.git(&["symbolic-ref", "HEAD", "refs/heads/unborn"]);
            }
            let said = place.run(if std::ptr::eq(place, &ours) { PYI } else { "git" }, words);
            let index = place.path("project/.git/index").exists();
            (said.status, said.out, said.err, index, place.git(&["ls-files", "-s"]))
        };
        assert_eq!(after(&ours), after(&theirs), "{words:?}");
    }
}

/// Git compares times by the second: a file of which only that changed is as the index has it, and is not written anew.
#[test]
fn a_file_that_was_touched_in_its_second_is_not_written_anew() {
    let place = Place::new();
    let file = place.path("project/README.md");
    for _ in 0..20 {
        place.git(&["update-index", "-q", "--refresh"]);
        let before = fs::metadata(&file).unwrap();
        for mode in [0o600, 0o644] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        // As old as it was, so that it is not read for being young.
        let after = fs::metadata(&file).unwrap();
        if before.ctime() == after.ctime() && before.ctime_nsec() != after.ctime_nsec() {
            let (native, said) = natively(&place, &["checkout", "."]);
            assert!(native && said == "Updated 0 paths from the index\n", "{said}");
            assert_eq!(fs::metadata(&file).unwrap().ino(), before.ino());
            return;
        }
    }
    panic!("twenty times a second ended in between");
}

#[test]
fn what_describe_says_is_a_revision() {
    let place = Place::new();
    place.git(&["tag", "v1"]);
    place.git(&["commit", "-q", "--allow-empty", "-m", "Second"]);
    let name = place.git(&["describe", "--tags"]);
    for revision in [name.trim(), "v1-1-gabcdef0", "v1-g", "x-gabc"] {
        same(&place, &["log", "--oneline", revision]);
        same(&place, &["rev-parse", revision]);
        same(&place, &["diff", revision]);
        same(&place, &["show", "-s", "--oneline", revision]);
        same(&place, &["checkout", "-q", "--detach", revision]);
    }
}

#[test]
fn a_revision_to_leave_out_that_is_not_there_is_bad() {
    let place = Place::new();
    for words in [
        &["log", "^HEAD~2", "HEAD"][..],
        &["log", "HEAD", "^nothing", "--oneline"],
        &["rev-list", "^nothing", "HEAD"],
        &["diff", "^nothing"],
        &["log", "nothing", "^HEAD"],
        &["log", "README.md", "^HEAD"],
    ] {
        same(&place, words);
    }
}

#[test]
fn a_commit_says_its_date_where_it_is_not_that_of_now() {
    let lines = [
        &["commit", "--allow-empty", "-m", "x", "--date=2020-01-02T03:04:05+0000"][..],
        &["commit", "--amend", "-m", "x"],
        &["commit", "--amend", "--reset-author", "-m", "y"],
        &[
            "commit",
            "--amend",
            "--reset-author",
            "-m",
            "z",
            "--date=2020-01-02T03:04:05+0000",
        ],
        &["commit", "--allow-empty", "-m", "z"],
    ];
    let (ours, theirs) = (Place::new(), Place::new());
    for words in lines {
        assert_eq!(ours.ok(words), theirs.git(words), "{words:?}");
        for place in [&ours, &theirs] {
            place.write("project/README.md", &words.join(" "));
            place.git(&["add", "-A"]);
        }
        assert!(natively(&ours, &["log", "-1"]).0);
    }
}

#[test]
fn git_warns_of_a_mixed_reset_of_paths() {
    let place = Place::new();
    same(&place, &["reset", "--mixed", "HEAD", "README.md"]);
    same(&place, &["reset", "--mixed", "--", "README.md"]);
}

#[test]
fn who_goes_elsewhere_forgets_conflicts_that_were_resolved() {
    for words in [
        &["checkout", "HEAD"][..],
        &["switch", "-q", "side"],
        &["reset", "-q", "--hard"],
    ] {
        let (ours, theirs) = (Place::new(), Place::new());
        for place in [&ours, &theirs] {
            place.git(&["checkout", "-q", "-b", "side"]);
            place.write("project/README.md", "one side\n");
            place.git(&["commit", "-qam", "One side"]);
            place.git(&["checkout", "-q", "main"]);
            place.write("project/README.md", "the other\n");
            place.git(&["commit", "-qam", "The other"]);
            assert_eq!(place.run("git", &["merge", "-q", "side"]).status, 1);
            place.write("project/README.md", "both\n");
            place.git(&["add", "-A"]);
            place.git(&["commit", "-q", "-m", "Both"]);
            assert!(!place.git(&["ls-files", "--resolve-undo"]).is_empty());
        }
        let (said, meant) = (ours.pyi(words), theirs.run("git", words));
        assert_eq!((said.status, said.out, said.err), (meant.status, meant.out, meant.err));
        let left = |place: &Place| place.git(&["ls-files", "--resolve-undo"]);
        assert_eq!(left(&ours), left(&theirs), "{words:?}");
    }
}

#[test]
fn a_backslash_takes_the_meaning_of_a_star() {
    let place = Place::new();
    for words in [
        &["show", "\\*", "--stat"][..],
        &["log", "--oneline", "*\\*"],
        &["diff", "\\[x]"],
        &["diff", "--", "\\*"],
    ] {
        same(&place, words);
    }
}

#[test]
fn a_reset_before_the_first_commit_of_a_branch_forgets_where_head_was() {
    for mode in ["--soft", "--mixed", "--hard"] {
        let (ours, theirs) = (Place::new(), Place::new());
        for place in [&ours, &theirs] {
            place.git(&["reset", "-q", "HEAD"]);
            place.git(&["symbolic-ref", "HEAD", "refs/heads/unborn"]);
        }
        let words = ["reset", "-q", mode, "main"];
        let (said, meant) = (ours.pyi(&words), theirs.run("git", &words));
        assert_eq!((said.status, said.out, said.err), (meant.status, meant.out, meant.err));
        for name in ["ORIG_HEAD", "refs/heads/unborn"] {
            let there = |place: &Place| fs::read_to_string(place.path("project/.git").join(name)).ok();
            assert_eq!(there(&ours), there(&theirs), "{mode} {name}");
        }
    }
}

#[test]
fn a_stash_before_the_first_commit_is_gits() {
    let (ours, theirs) = (Place::new(), Place::new());
    for place in [&ours, &theirs] {
        place.git(&["symbolic-ref", "HEAD", "refs/heads/unborn"]);
        age(place, &["README.md"]);
    }
    for words in [&["stash", "-q"][..], &["stash"]] {
        let (said, meant) = (ours.pyi(words), theirs.run("git", words));
        assert_eq!((said.status, said.out, said.err), (meant.status, meant.out, meant.err));
        assert_eq!(ours.git(&["diff-files"]), theirs.git(&["diff-files"]));
    }
}

#[test]
fn where_revisions_meet_is_a_commit_to_some_commands() {
    let words = [
        &["checkout", "side...main"][..],
        &["checkout", "...side"],
        &["checkout", "side...", "--"],
        &["checkout", "-b", "new", "side...main"],
        &["checkout", "side...main", "--", "README.md"],
        &["checkout", "HEAD", "main", "--"],
        &["switch", "--detach", "side...main"],
        &["switch", "-c", "new", "side...main"],
        &["restore", "-s", "side...main", "README.md"],
        &["branch", "new", "side...main"],
        &["reset", "-q", "side...main"],
    ];
    let make = |place: &Place| {
        place.git(&["checkout", "-q", "-b", "side"]);
        place.git(&["commit", "-q", "--allow-empty", "-m", "Side"]);
        place.git(&["checkout", "-q", "main"]);
        place.write("project/README.md", "changed\n");
        place.git(&["commit", "-qam", "Main"]);
    };
    for words in words {
        let (ours, theirs) = (Place::new(), Place::new());
        make(&ours);
        make(&theirs);
        let (said, meant) = (ours.pyi(words), theirs.run("git", words));
        assert_eq!(
            (said.status, said.out, said.err),
            (meant.status, meant.out, meant.err),
            "{words:?}"
        );
        let left = |place: &Place| place.git(&["for-each-ref"]) + &place.git(&["status", "-sb"]);
        assert_eq!(left(&ours), left(&theirs), "{words:?}");
    }
}

#[test]
fn what_cannot_be_shown_is_a_question_mark_in_messages() {
    let place = Place::new();
    for words in [
        &["mv", "\u{1}control", "nothing/x"][..],
        &["rm", "a\u{7f}b"],
        &["add", "line\nend"],
        &["checkout", "--", "\u{1b}[31m"],
    ] {
        same(&place, words);
    }
}

#[test]
fn a_file_that_is_followed_may_be_a_copy() {
    let place = Place::new();
    let text = |number: usize| format!("{}\n", "alpha beta\n".repeat(20)) + &format!("{number}\n").repeat(4 * number);
    place.write("project/stays", &text(1));
    place.write("project/goes", &text(2));
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Two"]);
    place.write("project/copied", &text(3));
    place.write("project/same", &text(1));
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Copied"]);
    place.git(&["rm", "-q", "goes"]);
    place.write("project/moved", &text(4));
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Moved"]);
    place.write("project/README", "nothing like it\n");
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "New"]);
    for file in ["copied", "same", "moved", "README", "stays"] {
        same(&place, &["log", "--follow", "--name-status", "--oneline", "--", file]);
        same(&place, &["log", "--follow", "-p", "--oneline", file]);
    }
    assert!(natively(&place, &["log", "--follow", "--oneline", "README"]).0);
}

#[test]
fn a_line_of_a_reflog_may_say_nothing() {
    let place = Place::new();
    place.git(&["commit", "-q", "--allow-empty", "-m", "Second"]);
    place.git(&["update-ref", "HEAD", "HEAD~1"]);
    let log = fs::read_to_string(place.path("project/.git/logs/HEAD")).unwrap();
    assert!(!log.lines().last().unwrap().contains('\t'), "{log}");
    for words in [
        &["reflog"][..],
        &["reflog", "-1"],
        &["reflog", "main"],
        &["rev-parse", "HEAD@{1}"],
    ] {
        same(&place, words);
    }
    assert!(natively(&place, &["reflog"]).1.contains("HEAD@{0}: \n"));
}

#[test]
fn who_removes_nothing_below_the_top_means_all_that_is_there() {
    let place = Place::new();
    for words in [&["rm"][..], &["rm", "--cached"], &["-C", "src", "rm", "-n", "-r"]] {
        let said = |program: &str| {
            let mut command = place.command(program);
            command
                .current_dir(place.path("project/src"))
                .args(words)
                .output()
                .unwrap()
        };
        let (ours, theirs) = (said(PYI), said("git"));
        assert_eq!((ours.status, ours.stderr), (theirs.status, theirs.stderr), "{words:?}");
    }
    same(&place, &["rm"]);
    same(&place, &["-C", "src", "rm", "-n", "-r"]);
}

#[test]
fn words_that_mean_something_else_to_one_command() {
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    place.git(&["stash", "-q"]);
    for words in [
        &["stash", "show", "-u"][..],
        &["stash", "show", "-p"],
        &["stash", "show"],
    ] {
        same(&place, words);
    }
    same(&place, &["log", "--max-count=x", "-1"]);
    same(&place, &["ls-tree", "--name-only", "--name-status", "HEAD"]);
    same(&place, &["ls-tree", "--name-only", "--name-only", "HEAD"]);
    same(&place, &["branch", "[a-z]", "--format=%(refname)"]);
    same(&place, &["branch", "--list", "[a-z]*", "--format=%(refname)"]);
    place.write("project/bytes", "a\0b");
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Bytes"]);
    fs::set_permissions(place.path("project/bytes"), fs::Permissions::from_mode(0o755)).unwrap();
    same(&place, &["diff", "--stat"]);
    same(&place, &["diff", "--stat", "HEAD"]);
    place.git(&["add", "-A"]);
    same(&place, &["diff", "--stat", "--cached"]);
    place.git(&["commit", "-q", "-m", "Mode"]);
    same(&place, &["show", "--stat"]);
    same(&place, &["reflog", "show", "main"]);
    place.write("project/main", "a file\n");
    same(&place, &["reflog", "show", "main"]);
    same(&place, &["reflog", "main"]);
}
