//! The private git directory, with real git as the judge.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

mod sandbox_common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use pyi_engine::{Bytes, CaptureOptions, ErrorKind, MaterializeOptions, Value};
use sandbox_common::*;

#[test]
fn git_works_inside_and_the_source_is_not_touched() {
    for format in ["sha1", "sha256"] {
        let scratch = scratch();
        let source = sample_repository(scratch.path(), format);
        git(&source, &["tag", "v1"]);
        write(&source, ".git/info/exclude", b"*.log\n");
        let before = fingerprint(&source);
        let repo = open(scratch.path());
        let workspace = import(&repo, &source);
        let dir = scratch.path().join("dir");
        let report = workspace.materialize(&dir, &MaterializeOptions::default()).unwrap();
        assert!(report.git);
        assert_eq!(on_disk(&dir), on_disk(&source));
        assert_eq!(git_text(&dir, &["status", "--porcelain", "--ignored"]), "");
        // Plumbing, which does not refresh: whatever git would have to read is listed.
        assert_eq!(git_text(&dir, &["diff-files", "--name-only"]), "");
        let index = fs::metadata(dir.join(".git/index")).unwrap();
        assert!(
            index.mtime() > fs::metadata(dir.join("README")).unwrap().mtime(),
            "no entry may be racy"
        );
        assert_eq!(git_text(&dir, &["symbolic-ref", "HEAD"]), "refs/heads/pyi\n");
        assert_eq!(
            git(&dir, &["log", "--format=%H %s"]),
            git(&source, &["log", "--format=%H %s"])
        );
        assert_eq!(git_text(&dir, &["config", "user.name"]), "A \"quoted\" \\ Name\n");
        git(&dir, &["fsck", "--strict"]);
        assert_eq!(git(&dir, &["write-tree"]), git(&source, &["rev-parse", "HEAD^{tree}"]));

        fs::write(dir.join("README"), "changed\n").unwrap();
        write(&dir, "x.log", b"");
        write(&dir, "new", b"new\n");
        assert_eq!(git_text(&dir, &["status", "--porcelain"]), " M README\n?? new\n");
        assert!(git_text(&dir, &["diff"]).contains("+changed"));
        git(&dir, &["add", "-A"]);
        git(&dir, &["commit", "-q", "-m", "inside"]);
        assert_eq!(git_text(&dir, &["log", "--format=%s"]), "inside\nfirst\n");
        let changes = workspace.capture(&dir, &CaptureOptions::default()).unwrap();
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_slice()).collect();
        assert_eq!(paths, [b"README".as_slice(), b"new"]);
        assert_eq!(fingerprint(&source), before, "the source is not touched");
    }
}

#[test]
fn status_shows_what_the_workspace_changed() {
    let scratch = scratch();
    let source = sample_repository(scratch.path(), "sha1");
    git(&source, &["gc", "-q"]);
    let repo = open(scratch.path());
    let workspace = import(&repo, &source);
    workspace
        .write(b"README", Bytes::from_static(b"other\n"), None)
        .unwrap();
    workspace.write(b"src/new", Bytes::from_static(b"n"), None).unwrap();
    workspace
        .write(b"src/main.py", Bytes::from_static(b"print(1)\n"), Some(0o755))
        .unwrap();
    workspace.remove(b"src.py").unwrap();
    workspace.rename(b"bin", b"tools").unwrap();
    workspace.make_directory(b"empty/er").unwrap();
    workspace.checkpoint("", Value::Null).unwrap();
    workspace
        .write(b"src/link2", Bytes::from_static(b"../README"), None)
        .unwrap();
    let named = workspace.fork_named("team/one").unwrap();
    let dir = scratch.path().join("deep/dir");
    named.materialize(&dir, &MaterializeOptions::default()).unwrap();
    let mut status: Vec<String> = git_text(&dir, &["status", "--porcelain"])
        .lines()
        .map(str::to_owned)
        .collect();
    status.sort();
    assert_eq!(
        status,
        [
            " D bin/run",
            " D src.py",
            " M README",
            " M src/main.py",
            "?? src/link2",
            "?? src/new",
            "?? tools/"
        ]
    );
    assert_eq!(git_text(&dir, &["symbolic-ref", "--short", "HEAD"]), "team/one\n");
    assert!(dir.join("empty/er").is_dir());
    assert_eq!(named.capture(&dir, &CaptureOptions::default()).unwrap().len(), 0);
    let plain = scratch.path().join("plain");
    assert!(
        !named
            .materialize(&plain, &MaterializeOptions { git: false })
            .unwrap()
            .git
    );
    assert!(!plain.join(".git").exists());
}

#[test]
fn linked_shallow_and_moved_sources() {
    let scratch = scratch();
    let source = sample_repository(scratch.path(), "sha1");
    fs::write(source.join("README"), "two\n").unwrap();
    git(&source, &["commit", "-qam", "second"]);
    git(&source, &["worktree", "add", "-q", "../linked", "HEAD~1"]);
    let url = format!("file://{}", source.display());
    git(scratch.path(), &["clone", "-q", "--depth=1", &url, "shallow"]);
    let repo = open(scratch.path());
    for (name, subjects) in [("linked", "first\n"), ("shallow", "second\n")] {
        let from = scratch.path().join(name);
        let workspace = repo
            .import_git(&from, "HEAD", name, pyi_engine::git::History::Lazy)
            .unwrap();
        let dir = scratch.path().join(format!("dir-{name}"));
        workspace.materialize(&dir, &MaterializeOptions::default()).unwrap();
        assert_eq!(git_text(&dir, &["status", "--porcelain"]), "");
        assert_eq!(git_text(&dir, &["log", "--format=%s"]), subjects);
    }
    let workspace = repo.workspace("shallow").unwrap();
    fs::rename(scratch.path().join("shallow"), scratch.path().join("elsewhere")).unwrap();
    let dir = scratch.path().join("gone");
    let error = workspace.materialize(&dir, &MaterializeOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Git);
    assert!(!dir.exists());
}

#[test]
fn submodules_stay_what_they_are() {
    let scratch = scratch();
    let source = sample_repository(scratch.path(), "sha1");
    let commit = git_text(&source, &["rev-parse", "HEAD"]);
    let info = format!("160000,{},sub/module", commit.trim());
    git(&source, &["update-index", "--add", "--cacheinfo", &info]);
    git(&source, &["commit", "-qm", "with a submodule"]);
    let repo = open(scratch.path());
    let workspace = import(&repo, &source);
    let dir = scratch.path().join("dir");
    workspace.materialize(&dir, &MaterializeOptions::default()).unwrap();
    assert!(dir.join("sub/module").is_dir());
    assert_eq!(git_text(&dir, &["status", "--porcelain"]), "");
    assert!(workspace.capture(&dir, &CaptureOptions::default()).unwrap().is_empty());
    fs::remove_dir(dir.join("sub/module")).unwrap();
    assert_eq!(
        workspace.capture(&dir, &CaptureOptions::default()).unwrap()[0].path,
        b"sub/module"
    );
}
