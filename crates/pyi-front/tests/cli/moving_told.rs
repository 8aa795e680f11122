//! Commands that write files of the work tree, or move HEAD: cases that are told one by one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::{PYI, Place, Said};
use crate::work_tree::is_handed_over;

fn only(place: &Place, words: &[&str]) -> bool {
    let mut command = place.command(PYI);
    is_handed_over(&command.env("PYI_GIT_NATIVE", "only").args(words).output().unwrap())
}

/// With files of at most so many blocks.
fn limited(place: &Place, blocks: u32, words: &[&str]) -> Said {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = place.command("sh");
    Said::of(command.args(["-c", &script, PYI]).args(words).output().unwrap())
}

#[test]
fn nothing_is_written_or_removed_through_a_symlink() {
    let place = Place::new();
    fs::rename(place.path("project/src"), place.path("outside")).unwrap();
    symlink("../outside", place.path("project/src")).unwrap();
    place.write("outside/app.py", "mine\n");
    for words in [
        &["checkout", "--", "src/app.py"][..],
        &["restore", "src"],
        &["reset", "--hard"],
        &["rm", "-rf", "src"],
    ] {
        assert!(only(&place, words), "{words:?}");
        assert_eq!(fs::read_to_string(place.path("outside/app.py")).unwrap(), "mine\n");
    }
}

#[test]
fn what_would_be_lost_is_gits_to_refuse() {
    let place = Place::new();
    place.git(&["checkout", "-q", "-b", "other"]);
    place.write("project/new.txt", "theirs\n");
    place.git(&["add", "new.txt"]);
    place.git(&["commit", "-q", "-m", "New"]);
    place.git(&["checkout", "-q", "main"]);
    place.write("project/new.txt", "mine\n");
    let said = place.pyi(&["checkout", "other"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.err.contains("untracked working tree files would be overwritten"),
        "{said:?}"
    );
    assert_eq!(fs::read_to_string(place.path("project/new.txt")).unwrap(), "mine\n");
    fs::remove_file(place.path("project/new.txt")).unwrap();
    place.write("project/README.md", "mine\n");
    // Changed, and the same in both: it goes along.
    let said = place.pyi(&["checkout", "other"]);
    assert_eq!((said.status, said.text()), (0, "M\tREADME.md\n".to_owned()), "{said:?}");
    assert_eq!(said.err, "Switched to branch 'other'\n");
    assert_eq!(fs::read_to_string(place.path("project/README.md")).unwrap(), "mine\n");
}

#[test]
fn who_has_hooks_locks_or_other_work_trees_has_git() {
    let place = Place::new();
    place.git(&["branch", "other"]);
    place.write("project/README.md", "changed\n");
    let moving = [
        &["checkout", "other"][..],
        &["checkout", "-b", "new"],
        &["checkout", "--", "README.md"],
        &["restore", "README.md"],
        &["reset", "--hard"],
        &["reset"],
        &["stash"],
        &["rm", "-f", "README.md"],
        &["mv", "README.md", "READ"],
        &["switch", "other"],
    ];
    let all_are_gits = |why: &str| {
        for words in moving {
            assert!(only(&place, words), "{why}: {words:?}");
        }
        assert_eq!(place.git(&["status", "--porcelain"]), " M README.md\n", "{why}");
    };
    place.write("project/.git/index.lock", "");
    all_are_gits("a lock");
    fs::remove_file(place.path("project/.git/index.lock")).unwrap();
    let hook = place.path("project/.git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    all_are_gits("a hook");
    fs::remove_file(&hook).unwrap();
    place.git(&["worktree", "add", "-q", "../beside", "other"]);
    all_are_gits("another work tree");
}

#[test]
fn the_directory_that_somebody_is_in_stays() {
    let place = Place::new();
    let mut command = place.command(PYI);
    command
        .current_dir(place.path("project/src"))
        .env("PYI_GIT_NATIVE", "only");
    let output = command.args(["-C", "..", "rm", "-q", "src/app.py"]).output().unwrap();
    assert!(is_handed_over(&output));
    assert!(place.path("project/src/app.py").exists());
}

/// A file that cannot be written ends the command: git would find half of it done, and must not go on from there.
#[test]
fn a_checkout_that_failed_in_the_middle_is_not_run_again() {
    let place = Place::new();
    place.git(&["checkout", "-q", "-b", "large"]);
    place.write("project/README.md", "changed\n");
    place.write("project/z", &"0123456789abcde\n".repeat(100_000));
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Large"]);
    place.git(&["checkout", "-q", "main"]);
    let said = limited(&place, 500, &["checkout", "large"]);
    assert_eq!(said.status, 128, "{said:?}");
    assert!(
        said.err.starts_with("fatal: ") && said.err.contains("carried out in part"),
        "{said:?}"
    );
    assert_eq!(place.git(&["symbolic-ref", "HEAD"]), "refs/heads/main\n");
    assert!(!place.path("project/.git/index.lock").exists());
    assert!(!place.path("project/.git/HEAD.lock").exists());
    place.git(&["reset", "-q", "--hard"]);
    place.git(&["clean", "-fdq"]);
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_stash_is_kept_before_files_change() {
    let place = Place::new();
    place.write("project/z", &"0123456789abcde\n".repeat(100_000));
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Large"]);
    place.write("project/z", "small\n");
    let said = limited(&place, 500, &["stash"]);
    assert_eq!(said.status, 128, "{said:?}");
    assert!(said.err.contains("carried out in part"), "{said:?}");
    assert_eq!(place.git(&["show", "stash@{0}:z"]), "small\n");
    place.git(&["reset", "-q", "--hard"]);
    place.ok(&["stash", "pop", "-q"]);
    assert_eq!(fs::read_to_string(place.path("project/z")).unwrap(), "small\n");
    assert_eq!(place.git(&["stash", "list"]), "");
}

/// What comes out of a stash is told before it is written: files that are as the index has them are not, any more.
#[test]
fn a_stash_that_comes_back_says_what_is_changed() {
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    fs::remove_file(place.path("project/src/app.py")).unwrap();
    place.git(&["stash", "-q"]);
    place.git(&["update-index", "-q", "--refresh"]);
    assert!(!only(&place, &["stash", "apply", "-q"]));
    place.git(&["reset", "-q", "--hard"]);
    let said = place.ok(&["stash", "pop"]);
    assert!(said.contains("\tmodified:   README.md\n"), "{said}");
    assert!(said.contains("\tdeleted:    src/app.py\n"), "{said}");
    assert_eq!(place.git(&["status", "--porcelain"]), " M README.md\n D src/app.py\n");
}

#[test]
fn a_file_and_a_directory_change_places() {
    let place = Place::new();
    place.git(&["checkout", "-q", "-b", "other"]);
    place.git(&["rm", "-q", "src/app.py", "README.md"]);
    place.write("project/src", "a file\n");
    fs::create_dir(place.path("project/README.md")).unwrap();
    place.write("project/README.md/inside", "x\n");
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Other"]);
    for branch in ["main", "other", "main"] {
        assert!(!only(&place, &["checkout", "-q", branch]), "{branch}");
        assert_eq!(place.git(&["status", "--porcelain", "--ignored"]), "");
    }
    // What nobody tracks stays, and git says so.
    fs::create_dir_all(place.path("project/src/deep")).unwrap();
    place.write("project/src/deep/mine", "mine\n");
    assert_eq!(place.pyi(&["checkout", "-q", "other"]).status, 1);
    assert!(place.path("project/src/deep/mine").exists());
}

/// Git merges where a stash comes back, and leaves a note of it that commands like `commit` take away.
#[test]
fn a_stash_that_comes_back_leaves_gits_note_of_a_merge() {
    let place = Place::new();
    place.write("project/README.md", "mine\n");
    place.git(&["stash", "-q"]);
    let tree = place.git(&["rev-parse", "stash^{tree}"]);
    place.git(&["status"]);
    assert!(!only(&place, &["stash", "pop", "-q"]));
    let note = || fs::read_to_string(place.path("project/.git/AUTO_MERGE"));
    assert_eq!(note().unwrap(), tree);
    assert!(!only(&place, &["status", "--short"]));
    assert!(only(&place, &["commit", "-qam", "x"]));
    place.ok(&["commit", "-qam", "x"]);
    assert!(note().is_err());
    assert!(!only(&place, &["log", "-1"]));
}

/// Git stops at a file of packed refs that it has to read whole and does not understand.
#[test]
fn packed_refs_that_are_malformed_are_gits_to_complain_of() {
    let place = Place::new();
    let oid = place.git(&["rev-parse", "HEAD"]);
    let oid = oid.trim_end();
    for (text, is_gits) in [
        ("outside\n".to_owned(), true),
        (format!("{oid} refs/heads/packed"), true),
        (format!("{oid} refs/heads/packed\n^{oid}\n"), false),
        (
            format!("# pack-refs with: peeled fully-peeled sorted \n{oid} refs/heads/packed\n"),
            false,
        ),
    ] {
        place.write("project/.git/packed-refs", &text);
        assert_eq!(only(&place, &["log", "-1"]), is_gits, "{text}");
    }
}

/// A context that no int holds was a multiplication too large.
#[test]
fn a_context_beyond_every_number_is_gits() {
    let place = Place::new();
    place.write("project/README.md", "mine\n");
    assert!(only(&place, &["diff", "-U18446744073709551615"]));
    assert!(only(&place, &["diff", "-U9223372036854775808"]));
    assert_eq!(place.ok(&["diff", "-U99999"]), place.git(&["diff", "-U99999"]));
}

/// Removing one file made the index young, and others that only a filter can compare stopped the command in the middle.
#[test]
fn who_has_filters_has_git_before_anything_is_removed() {
    let place = Place::new();
    place.write("project/.gitattributes", "*.py filter=x\n");
    place.git(&["config", "filter.x.clean", "cat"]);
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Filters"]);
    let said = place.pyi(&["rm", "-q", "README.md"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert_eq!(place.git(&["status", "--porcelain"]), "D  README.md\n");
}
