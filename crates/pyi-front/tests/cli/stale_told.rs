//! Files that are as the index has them, which the index does not know: what of it commands write down, as git does.

use std::fs;

use crate::common::Place;
use crate::differences_told::natively;

/// All files are others than the index knows, as in a work tree that was copied.
pub(crate) fn age(place: &Place, names: &[&str]) {
    for name in names {
        let path = place.path("project").join(name);
        let file = fs::File::options().write(true).open(path).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        file.set_modified(time).unwrap();
    }
}

/// Words in equal projects whose files were all touched, by `pyi` natively and by git: what plumbing then says of the files.
fn same_after_age(make: impl Fn(&Place), words: &[&str]) {
    let (ours, theirs) = (Place::new(), Place::new());
    for place in [&ours, &theirs] {
        make(place);
        let names = place.git(&["ls-files"]);
        age(place, &names.lines().collect::<Vec<_>>());
        assert!(!place.git(&["diff-files"]).is_empty());
    }
    let (native, said) = natively(&ours, words);
    assert!(native, "{words:?}: {said}");
    let _ = theirs.run("git", words);
    let unknown = |place: &Place| place.git(&["diff-files"]).lines().count();
    assert_eq!(unknown(&ours), unknown(&theirs), "{words:?}");
    assert!(
        ours.git(&["ls-files", "-s"]) == theirs.git(&["ls-files", "-s"]),
        "{words:?}"
    );
}

/// More files than are all looked at by a command that has nothing to do with them.
fn many(place: &Place) {
    for number in 0..200 {
        place.write(&format!("project/src/{number}.txt"), "text\n");
    }
    place.git(&["add", "-A"]);
    place.git(&["commit", "-q", "-m", "Many"]);
}

#[test]
fn what_is_found_out_about_files_is_written_down_where_git_does() {
    let stage = |place: &Place| {
        place.write("project/new.txt", "new\n");
        place.git(&["add", "new.txt"]);
    };
    let branch = |place: &Place| {
        place.git(&["branch", "side", "HEAD~1"]);
    };
    let change = |place: &Place| {
        place.write("project/README.md", "# Project\n\nOne.\nTwo.\nOther\n");
    };
    same_after_age(stage, &["commit", "-q", "-m", "New"]);
    for make in [
        &(|place: &Place| {
            many(place);
            stage(place);
        }) as &dyn Fn(&Place),
        &(|place: &Place| {
            many(place);
            stage(place);
            change(place);
        }),
    ] {
        same_after_age(make, &["commit", "-m", "New"]);
        same_after_age(make, &["commit", "--amend", "-m", "New"]);
        same_after_age(make, &["stash"]);
    }
    let made = |place: &Place| {
        many(place);
        branch(place);
    };
    for words in [
        &["checkout", "-q", "side"][..],
        &["switch", "-q", "side"],
        &["checkout", "-q", "HEAD"],
        &["checkout", "-q"],
        &["checkout", "-q", "-b", "new", "side"],
        &["checkout", "-q", "-b", "new"],
        &["checkout", "-b", "new"],
        &["switch", "-q", "-c", "new"],
        &["checkout", "-q", "--", "README.md"],
        &["diff", "HEAD~1"],
        &["diff", "HEAD~1", "--", "README.md"],
        &["diff", "HEAD~1", "--", "src"],
        &["diff", "HEAD~1", "--", "src/0.txt"],
        &["diff", "--stat", "HEAD"],
    ] {
        same_after_age(made, words);
    }
    let rules = |place: &Place| {
        place.write("project/.gitattributes", "*.py diff=python\n");
        place.git(&["add", "-A"]);
        place.git(&["commit", "-qm", "Rules"]);
        place.write("project/README.md", "changed\n");
    };
    same_after_age(rules, &["checkout", "HEAD", "--", "README.md"]);
    same_after_age(rules, &["restore", "README.md"]);
    // A file that is not as the index has it, but as the revision.
    let back = |place: &Place| {
        change(place);
        place.git(&["commit", "-qam", "Other"]);
        place.git(&["checkout", "-q", "HEAD~1", "--", "README.md"]);
        place.git(&["reset", "-q"]);
    };
    same_after_age(back, &["diff", "HEAD~1", "--", "README.md"]);
    same_after_age(back, &["diff", "HEAD", "--", "README.md"]);
    same_after_age(back, &["diff", "HEAD~1", "--", "README*"]);
    same_after_age(back, &["diff", "HEAD", "--", "*.md"]);
    same_after_age(back, &["diff", "HEAD", "--", ".", ":!src"]);
    same_after_age(back, &["diff", "--", "*.nothing"]);
    same_after_age(back, &["diff", "--", "*.py"]);
}

#[test]
fn what_is_only_tried_writes_no_index() {
    for words in [
        &["rm", "-n", "README.md"][..],
        &["rm", "--dry-run", "-r", "src"],
        &["mv", "-n", "README.md", "b"],
    ] {
        let place = Place::new();
        age(&place, &["README.md", "src/app.py"]);
        let before = fs::read(place.path("project/.git/index")).unwrap();
        let _ = place.pyi(words);
        assert!(
            before == fs::read(place.path("project/.git/index")).unwrap(),
            "{words:?}"
        );
    }
}
