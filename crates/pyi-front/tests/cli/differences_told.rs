//! What generated commands found to differ from git, told one by one.

use crate::common::Place;

/// The same words to both, in the project: status, output and complaint are the same.
fn same(place: &Place, words: &[&str]) {
    let (ours, theirs) = (place.pyi(words), place.run("git", words));
    assert_eq!(
        (ours.status, ours.out, ours.err),
        (theirs.status, theirs.out, theirs.err),
        "{words:?}"
    );
}

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
