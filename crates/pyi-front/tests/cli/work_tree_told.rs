//! Commands on work trees: cases that are told one by one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{PYI, Place};
use crate::work_tree::is_handed_over;

#[test]
fn what_is_locked_or_has_hooks_is_gits() {
    let place = Place::new();
    let only = |words: &[&str]| {
        let output = place
            .command(PYI)
            .env("PYI_GIT_NATIVE", "only")
            .args(words)
            .output()
            .unwrap();
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
