//! Commands on work trees: cases that are told one by one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{PYI, Place, same};
use crate::work_tree::is_handed_over;

#[test]
fn what_is_locked_or_has_hooks_is_gits() {
    let place = Place::new();
    let only = |words: &[&str]| {
        let output = place.only(words);
        (
            is_handed_over(&output),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let index = || fs::read(place.path("project/.git/index")).unwrap();
    place.write("project/README.md", "changed\n");
    let before = index();
    place.write("project/.git/index.lock", "");
    assert!(only(&["add", "-A"]).0 && index() == before);
    assert!(!only(&["status"]).0);
    fs::remove_file(place.path("project/.git/index.lock")).unwrap();
    let hook = place.path("project/.git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let (handed_over, why) = only(&["commit", "-am", "x"]);
    assert!(handed_over && why.contains("hooks"), "{why}");
    fs::remove_file(&hook).unwrap();
    // A branch that somebody holds.
    place.write("project/.git/refs/heads/main.lock", "");
    assert!(only(&["commit", "-am", "x"]).0 && index() == before);
    assert!(!place.path("project/.git/index.lock").exists());
    fs::remove_file(place.path("project/.git/refs/heads/main.lock")).unwrap();
    assert_eq!(only(&["commit", "-qam", "x"]), (false, String::new()));
    assert_eq!(place.git(&["status", "--porcelain"]), "");
    place.git(&["fsck", "--strict"]);
}

#[test]
fn a_directory_that_is_not_tracked_is_named_with_a_slash_or_without() {
    let place = Place::new();
    fs::create_dir(place.path("project/new")).unwrap();
    place.write("project/new/file", "x\n");
    for path in ["new", "new/", "new/file", "ne*", "src"] {
        let words = ["status", "--short", "--", path];
        assert_eq!(place.ok(&words), place.git(&words), "{path}");
    }
}

#[test]
fn a_change_in_the_same_instant_is_seen() {
    let place = Place::new();
    for round in 0..20 {
        let text = format!("{round:02}\n");
        place.write("project/README.md", &text);
        place.ok(&["add", "README.md"]);
        // Of the same size, perhaps in the same tick of the clock as the index.
        place.write("project/README.md", &text.replace('\n', "!"));
        assert_eq!(place.ok(&["status", "--porcelain"]), "MM README.md\n");
        assert_eq!(place.git(&["status", "--porcelain"]), "MM README.md\n");
    }
}

#[test]
fn rules_behind_a_symlink_are_gits_to_warn_of() {
    let place = Place::new();
    std::os::unix::fs::symlink("README.md", place.path("project/.gitattributes")).unwrap();
    for words in [&["status", "--short"][..], &["log", "-p", "-1"], &["diff", "HEAD"]] {
        let output = place.only(words);
        assert!(is_handed_over(&output), "{words:?}");
    }
}

#[test]
fn a_reflog_has_the_first_line_of_a_message() {
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    place.ok(&["commit", "-qam", "One\ntwo\n\nthree"]);
    place.ok(&["commit", "-q", "--amend", "--no-edit", "--allow-empty"]);
    let log = place.git(&["log", "-g", "--format=%gs", "-2"]);
    assert_eq!(log, "commit (amend): One\ncommit: One\n");
}

#[test]
fn a_packed_tag_that_stays_where_it_is_stays_packed() {
    let place = Place::new();
    place.git(&["tag", "v0"]);
    place.git(&["pack-refs", "--all"]);
    place.ok(&["tag", "-f", "v0", "v0"]);
    assert!(!place.path("project/.git/refs/tags/v0").exists());
    assert_eq!(place.git(&["rev-parse", "v0"]), place.git(&["rev-parse", "HEAD"]));
}

/// The log of the branch cannot be written when that of HEAD was: git must not make the commit once more.
#[test]
fn what_failed_in_the_middle_is_not_run_again() {
    let place = Place::new();
    // Longer than a file may be in what follows.
    let log = place.path("project/.git/logs/refs/heads/main");
    let lines = fs::read_to_string(&log).unwrap();
    fs::write(&log, lines.repeat((600 << 10) / lines.len())).unwrap();
    let head = place.git(&["rev-parse", "HEAD"]);
    place.write("project/README.md", "changed\n");
    let output = place
        .command("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" commit -qam x", PYI])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(128), "{said}");
    assert!(
        said.starts_with("fatal: ") && said.contains("carried out in part"),
        "{said}"
    );
    assert_eq!(place.git(&["rev-parse", "HEAD"]), head);
    assert!(!place.path("project/.git/index.lock").exists());
}

/// Enough files for an index that is mapped, and for threads that look at them while another one looks for what is not tracked.
#[test]
fn many_files_are_what_they_are_to_git() {
    let place = Place::new();
    let name = |at: usize| {
        let directory = format!("{}-{}", "some-long-name-of-a-directory".repeat(3), at % 61);
        format!("project/{directory}/{}/file-{at}.txt", at % 7)
    };
    for at in 0..3000 {
        fs::create_dir_all(place.path(&name(at)).parent().unwrap()).unwrap();
        place.write(&name(at), &format!("{at}\n"));
    }
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "many"]);
    let only = |words: &[&str]| {
        let output = place.only(words);
        assert!(!is_handed_over(&output), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let same = || {
        for words in [
            &["status"][..],
            &["status", "--porcelain", "-uall"],
            &["status", "--porcelain=v2", "-uno"],
            &["diff", "--stat"],
            &["diff", "--name-status", "HEAD"],
            &["add", "-A", "-n"],
        ] {
            assert_eq!(only(words), place.git(words), "{words:?}");
        }
    };
    same();
    place.write("project/.gitignore", "*.log\nignored/\n");
    for at in (0..3000).step_by(97) {
        let path = place.path(&name(at));
        match at % 5 {
            0 => fs::remove_file(&path).unwrap(),
            1 => place.write(&name(at), "another\n"),
            2 => fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap(),
            3 => {
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("nowhere", &path).unwrap();
            }
            _ => {
                fs::write(path.with_extension("log"), "").unwrap();
                fs::write(path.with_extension("new"), "").unwrap();
            }
        }
    }
    // A file where a directory was, and a directory where a file was; a link above files hides them.
    let directory = place.path(&name(5)).parent().unwrap().to_owned();
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "a file\n").unwrap();
    fs::remove_file(place.path(&name(8))).unwrap();
    fs::create_dir(place.path(&name(8))).unwrap();
    fs::write(place.path(&name(8)).join("inside"), "").unwrap();
    let hidden = place.path(&name(9)).parent().unwrap().to_owned();
    fs::rename(&hidden, place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere"), &hidden).unwrap();
    same();
    only(&["add", "-A"]);
    assert_eq!(only(&["status", "--porcelain"]), place.git(&["status", "--porcelain"]));
    assert!(!only(&["commit", "-m", "changed"]).is_empty());
    assert_eq!(place.git(&["status", "--porcelain"]), "");
    assert_eq!(place.git(&["write-tree"]), place.git(&["rev-parse", "HEAD^{tree}"]));
    place.git(&["fsck", "--strict"]);
}

#[test]
fn a_file_that_is_named_with_a_slash_is_not_meant() {
    let place = Place::new();
    place.write("project/README.md", "changed\n");
    let said = place.pyi(&["add", "README.md/"]);
    assert_eq!(said.status, 128, "{said:?}");
    assert_eq!(place.git(&["status", "--porcelain"]), " M README.md\n");
}

/// A directory of tracked files that is a link now: git's `ls-files` follows it, and its other commands do not.
#[test]
fn files_below_a_link_are_listed_as_git_lists_them() {
    let place = Place::new();
    fs::rename(place.path("project/src"), place.path("outside")).unwrap();
    std::os::unix::fs::symlink("../outside", place.path("project/src")).unwrap();
    for words in [
        &["ls-files", "-m"][..],
        &["ls-files", "-d"],
        &["status", "-s"],
        &["diff", "--stat"],
    ] {
        same(&place, words);
    }
}

/// In a history of one second, commits that were counted for one side turned out to be common after the count had ended.
#[test]
fn how_far_branches_of_one_second_are_apart() {
    let place = Place::new();
    let commit = |name: &str| place.git(&["commit", "-q", "--allow-empty", "-m", name]);
    place.git(&["checkout", "-q", "-b", "base"]);
    (0..6).for_each(|number| drop(commit(&format!("Step {number}"))));
    place.git(&["checkout", "-q", "-b", "other", "base~3"]);
    commit("Beside");
    place.git(&["checkout", "-q", "-b", "upstream", "base"]);
    commit("Step 6");
    commit("Step 7");
    place.git(&["checkout", "-q", "-b", "mine", "base"]);
    commit("Amended");
    place.git(&["merge", "-q", "other"]);
    place.git(&["branch", "-q", "--set-upstream-to", "upstream"]);
    place.git(&["status"]);
    for words in [
        &["status", "-sb"][..],
        &["status", "--porcelain=v2", "--branch"],
        &["branch", "-vv"],
    ] {
        assert_eq!(place.ok(words), place.git(words), "{words:?}");
    }
    assert!(
        place
            .ok(&["status", "-sb"])
            .starts_with("## mine...upstream [ahead 3, behind 2]")
    );
}

/// IDEs want paths as they are, and no signatures, with every command: only answers that quote a path are git's.
#[test]
fn paths_that_are_wanted_as_they_are() {
    let place = Place::new();
    let with =
        |words: &[&'static str]| [&["-c", "core.quotepath=false", "-c", "log.showSignature=false"], words].concat();
    // A file may have what a quoted path looks like.
    place.write("project/README.md", "caf\\303\\251\n");
    place.git(&["commit", "-qam", "Second"]);
    for umlaut in [false, true] {
        if umlaut {
            place.write("project/\u{e4}.txt", "x\n");
        }
        for words in [
            &["status", "--short"][..],
            &["ls-files", "-o"],
            &["log", "-1"],
            &["ls-tree", "HEAD"],
            &["cat-file", "-p", "HEAD:README.md"],
        ] {
            let words = with(words);
            assert_eq!(place.ok(&words), place.git(&words), "{words:?}");
            let output = place.only(&words);
            let quotes = umlaut && matches!(words[4], "status" | "ls-files");
            assert_eq!(is_handed_over(&output), quotes, "{words:?} {output:?}");
        }
    }
}
