//! Git's ignore rules in a capture, with real git as the judge.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

mod sandbox_common;

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use pyi_engine::{CaptureOptions, Ignore, MaterializeOptions};
use sandbox_common::*;

/// What git would take in: tracked files that are there, and others that are not ignored.
fn by_git(dir: &std::path::Path) -> BTreeSet<Vec<u8>> {
    let listed = git(dir, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let paths = listed.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    paths
        .filter(|path| dir.join(os(path)).symlink_metadata().is_ok())
        .map(<[u8]>::to_vec)
        .collect()
}

fn by_us(workspace: &pyi_engine::Workspace) -> BTreeSet<Vec<u8>> {
    in_workspace(workspace)
        .into_iter()
        .filter(|(_, node)| *node != Node::EmptyDirectory)
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn what_is_ignored_stays_out_unless_it_is_tracked() {
    let scratch = scratch();
    let source = sample_repository(scratch.path(), "sha1");
    write(&source, "build/tracked", b"1");
    git(&source, &["add", "-f", "build/tracked"]);
    git(&source, &["commit", "-qm", "an ignored file"]);
    write(&source, ".git/info/exclude", b"*.log\n");
    let repo = open(scratch.path());
    let workspace = import(&repo, &source);
    let dir = scratch.path().join("dir");
    workspace.materialize(&dir, &MaterializeOptions::default()).unwrap();
    fs::write(dir.join("build/tracked"), "2").unwrap();
    for path in [
        "build/new",
        "build/deep/new",
        "src/__pycache__/x.pyc",
        "src/x.log",
        "src/y",
        "src/z.swp",
        "only/a.pyc",
    ] {
        write(&dir, path, b"");
    }
    fs::create_dir(dir.join("void")).unwrap();
    let excludes = scratch.path().join("user-excludes");
    fs::write(&excludes, "*.swp\n").unwrap();
    let options = CaptureOptions {
        excludes_file: Some(excludes),
        ..CaptureOptions::default()
    };
    let changes = workspace.capture(&dir, &options).unwrap();
    let paths: Vec<_> = changes
        .iter()
        .map(|change| String::from_utf8_lossy(&change.path).into_owned())
        .collect();
    assert_eq!(
        paths,
        ["build/tracked", "src/y", "void"],
        "no __pycache__, and no directory that holds nothing else"
    );

    // Rules apply as they are on disk now, those of a nested file too.
    write(&dir, "src/.gitignore", b"!x.log\n/y\n");
    workspace.capture(&dir, &options).unwrap();
    assert!(workspace.exists(b"src/x.log").unwrap() && workspace.exists(b"src/y").unwrap());
    // A tracked file that is deleted is deleted, ignored or not.
    fs::remove_dir_all(dir.join("build")).unwrap();
    fs::remove_file(dir.join("src/y")).unwrap();
    workspace.capture(&dir, &options).unwrap();
    assert!(!workspace.exists(b"build").unwrap() && !workspace.exists(b"src/y").unwrap());

    let all = CaptureOptions {
        ignore: Ignore::None,
        ..CaptureOptions::default()
    };
    workspace.capture(&dir, &all).unwrap();
    assert!(workspace.exists(b"src/__pycache__/x.pyc").unwrap() && workspace.exists(b"src/z.swp").unwrap());

    // Without a private git directory the source's exclude file counts.
    let plain = scratch.path().join("plain");
    let workspace = repo.workspace("main").unwrap();
    workspace
        .materialize(&plain, &MaterializeOptions { git: false })
        .unwrap();
    write(&plain, "some.log", b"");
    assert!(
        workspace
            .capture(&plain, &CaptureOptions::default())
            .unwrap()
            .is_empty()
    );
}

fn names() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![Just("a"), Just("b"), Just("ab"), Just("c.o"), Just("d.py")],
        1..4,
    )
    .prop_map(|parts| parts.join("/"))
}

fn rule() -> impl Strategy<Value = String> {
    let body = prop_oneof![
        names(),
        Just("*.o".into()),
        Just("a*".into()),
        Just("**/b".into()),
        Just("a/**".into()),
        Just("*".into())
    ];
    (any::<bool>(), any::<bool>(), body, any::<bool>()).prop_map(|(not, rooted, body, slash)| {
        format!(
            "{}{}{body}{}",
            if not { "!" } else { "" },
            if rooted { "/" } else { "" },
            if slash { "/" } else { "" }
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn capture_takes_what_git_would(
        tracked in prop::collection::vec(names(), 0..6),
        later in prop::collection::vec(names(), 0..12),
        rules in prop::collection::vec((prop_oneof![Just("".to_owned()), Just("a/".into()), Just("ab/a/".into())], prop::collection::vec(rule(), 1..4)), 0..4),
    ) {
        let scratch = scratch();
        let source = scratch.path().join("source");
        fs::create_dir(&source).unwrap();
        let put = |root: &std::path::Path, path: &str, content: &str| {
            let path = root.join(path);
            if path.parent().is_none_or(|above| fs::create_dir_all(above).is_ok()) && !path.is_dir() {
                let _ = fs::write(path, content);
            }
        };
        git(&source, &["init", "-q"]);
        tracked.iter().for_each(|path| put(&source, path, path));
        git(&source, &["add", "-A"]);
        git(&source, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]);
        let repo = open(scratch.path());
        let workspace = import(&repo, &source);
        let dir = scratch.path().join("dir");
        workspace.materialize(&dir, &MaterializeOptions::default()).unwrap();
        rules.iter().for_each(|(at, lines)| put(&dir, &format!("{at}.gitignore"), &lines.join("\n")));
        later.iter().for_each(|path| put(&dir, path, "later"));
        let expected = by_git(&dir);
        workspace.capture(&dir, &CaptureOptions::default()).unwrap();
        prop_assert_eq!(by_us(&workspace), expected);
    }
}
