//! Trees that git would write in another form are kept bit for bit; what git refuses is refused, with the path.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod git_common;

use std::fs;

use git_common::{Repo, import, oid, open, sha1_tree, store};
use pyi_engine::git::{History, ObjectFormat, Oid};
use pyi_engine::{Bytes, ErrorKind, ExportOptions, Repository, Value};

fn options(branch: &str) -> ExportOptions {
    ExportOptions {
        branch: branch.to_owned(),
        ..ExportOptions::default()
    }
}

/// Odd trees of every kind; name, tree.
fn odd_trees(repo: &Repo) -> Vec<(&'static str, Oid)> {
    let (one, two) = (repo.blob(b"one"), repo.blob(b"two"));
    let sub = repo.tree(&[("100644", b"inner", one)]);
    let none = repo.tree(&[]);
    let padded = repo.tree(&[("100644", b"a", one), ("040000", b"dir", sub)]);
    let legacy = repo.tree(&[("100664", b"a", one), ("100600", b"b", two), ("100775", b"c", two)]);
    let disorder = repo.tree(&[("100644", b"b", one), ("100644", b"a", two)]);
    vec![
        ("padded", padded),
        ("legacy", legacy),
        ("disorder", disorder),
        (
            "file-order",
            repo.tree(&[("40000", b"a", sub), ("100644", b"a.b", one)]),
        ),
        (
            "empty-directory",
            repo.tree(&[("100644", b"a", one), ("40000", b"empty", none)]),
        ),
        (
            "nested-empty",
            repo.tree(&[("40000", b"e", repo.tree(&[("40000", b"f", none)]))]),
        ),
        (
            "below",
            repo.tree(&[
                ("40000", b"x", repo.tree(&[("40000", b"y", legacy)])),
                ("100644", b"z", two),
            ]),
        ),
        (
            "odd-in-odd",
            repo.tree(&[("040000", b"x", padded), ("040000", b"y", disorder)]),
        ),
        (
            "twice",
            repo.tree(&[("40000", b"p", disorder), ("40000", b"q", disorder)]),
        ),
        (
            "strange-type",
            repo.tree(&[("100644", b"a", one), ("140000", b"sock", oid(&"cd".repeat(20)))]),
        ),
        ("setuid", repo.tree(&[("104755", b"a", one)])),
    ]
}

#[test]
fn odd_trees_come_back_bit_for_bit() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    for (name, tree) in odd_trees(&repo) {
        let commit = repo.commit_tree(name, &tree);
        let workspace = import(&repository, &repo, name, name);
        assert!(workspace.head().root().git.get("odd").is_some(), "{name}");
        assert_eq!(sha1_tree(&workspace), tree.to_hex(), "{name}");
        // Into another repository, through another process' eyes.
        let again = open(&dir.path().join("store")).workspace(name).unwrap();
        let other = Repo::new(dir.path().join(format!("other-{name}")));
        again.export_git(&other.dir, &options("out")).unwrap();
        assert_eq!(other.tree_of("out"), tree.to_hex(), "{name}");
        again.export_git(&repo.dir, &options(&format!("out-{name}"))).unwrap();
        assert_eq!(repo.git(&["rev-parse", &format!("out-{name}^")]), commit);
    }
}

#[test]
fn an_edit_keeps_odd_directories_that_it_does_not_touch() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    let one = repo.blob(b"one");
    let legacy = repo.tree(&[("100664", b"f", one)]);
    let tree = repo.tree(&[
        ("100644", b"a", one),
        ("040000", b"left", legacy),
        ("040000", b"right", legacy),
    ]);
    repo.commit_tree("odd", &tree);
    let workspace = import(&repository, &repo, "odd", "odd");
    workspace.write(b"left/f", Bytes::from_static(b"new"), None).unwrap();
    // Before the checkpoint and after it, and as the installed git would do it.
    let new = repo.blob(b"new");
    let left = repo.tree(&[("100644", b"f", new)]);
    let expected = repo.tree(&[
        ("100644", b"a", one),
        ("40000", b"left", left),
        ("40000", b"right", legacy),
    ]);
    assert_eq!(sha1_tree(&workspace), expected.to_hex());
    let checkpoint = workspace.checkpoint("edit", Value::Null).unwrap();
    assert_eq!(checkpoint.git_tree(ObjectFormat::Sha1).unwrap(), expected);
    workspace.export_git(&repo.dir, &options("out")).unwrap();
    assert_eq!(repo.tree_of("out"), expected.to_hex());
    // Back to what it was: the node is the same again, so the raw form counts again.
    workspace.write(b"left/f", Bytes::from_static(b"one"), None).unwrap();
    assert_eq!(sha1_tree(&workspace).len(), 40);
    let back = workspace.checkpoint("back", Value::Null).unwrap();
    assert_eq!(back.git_tree(ObjectFormat::Sha1).unwrap(), tree);
    // The same content in canonical form elsewhere: each keeps its own name.
    let plain = repo.tree(&[("100644", b"f", one)]);
    repo.commit_tree("plain", &repo.tree(&[("40000", b"left", plain)]));
    let canonical = import(&repository, &repo, "plain", "plain");
    assert_eq!(sha1_tree(&canonical), repo.tree_of("plain"));
    assert_eq!(back.git_tree(ObjectFormat::Sha1).unwrap(), tree);
    // In the other format there is nothing to keep.
    assert_eq!(back.git_tree(ObjectFormat::Sha256).unwrap().to_hex().len(), 64);
}

#[test]
fn empty_directories_of_a_workspace_are_dropped() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    repo.commit("one");
    let workspace = import(&repository, &repo, "HEAD", "main");
    workspace.make_directory(b"empty/below").unwrap();
    assert_eq!(sha1_tree(&workspace), repo.tree_of("HEAD"));
    workspace.export_git(&repo.dir, &options("out")).unwrap();
    assert_eq!(repo.tree_of("out"), repo.tree_of("HEAD"));
    assert!(!workspace.is_dirty());
    // The map did not learn that the node with empty directories is this tree.
    let again = import(&open(&dir.path().join("store")), &repo, "HEAD", "again");
    assert!(!again.exists(b"empty").unwrap());
    workspace.remove(b"a").unwrap();
    workspace.export_git(&repo.dir, &options("nothing")).unwrap();
    assert_eq!(repo.tree_of("nothing"), ObjectFormat::Sha1.empty_tree().to_hex());
    repo.fsck();
}

fn refused(repository: &Repository, repo: &Repo, rev: &str, kind: ErrorKind, words: &[&str]) {
    let objects = repository.branches().unwrap();
    let error = repository
        .import_git(&repo.dir, rev, "refused", History::Lazy)
        .err()
        .unwrap();
    assert_eq!(error.kind(), kind, "{rev}: {error}");
    for word in words {
        assert!(error.to_string().contains(word), "{rev}: {error}");
    }
    assert_eq!(repository.branches().unwrap(), objects, "no branch was made");
}

#[test]
fn what_git_refuses_in_a_tree_is_refused_with_its_path() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    let blob = repo.blob(b"evil");
    let names: [&[u8]; 14] = [
        b".git",
        b".GIT",
        b".Git ",
        b".git.",
        b"git~1",
        b".git:x",
        b".g\xe2\x80\x8cit",
        b"..",
        b".",
        b"a/b",
        b".git\\x",
        b"x\\.git",
        b"GIT~1",
        b".git::$INDEX_ALLOCATION",
    ];
    for (number, name) in names.iter().enumerate() {
        let below = repo.tree(&[("100644", name, blob)]);
        repo.commit_tree(&format!("name-{number}"), &repo.tree(&[("40000", b"sub", below)]));
        refused(
            &repository,
            &repo,
            &format!("name-{number}"),
            ErrorKind::InvalidPath,
            &["sub/"],
        );
    }
    repo.commit_tree("link", &repo.tree(&[("120000", b".gitmodules", blob)]));
    refused(&repository, &repo, "link", ErrorKind::InvalidPath, &[".gitmodules"]);
    repo.commit_tree("file", &repo.tree(&[("100644", b".gitmodules", blob)]));
    import(&repository, &repo, "file", "file");
    let twice = repo.tree(&[("100644", b"same", blob), ("100644", b"same", blob)]);
    repo.commit_tree("twice", &repo.tree(&[("40000", b"sub", twice)]));
    refused(&repository, &repo, "twice", ErrorKind::InvalidPath, &["sub", "same"]);
    let apart = repo.tree(&[("100644", b"a", blob), ("100644", b"a-b", blob), ("40000", b"a", twice)]);
    repo.commit_tree("apart", &apart);
    refused(&repository, &repo, "apart", ErrorKind::InvalidPath, &["same"]);
    let long = vec![b'n'; 3000];
    let deep = repo.tree(&[("40000", &long, repo.tree(&[("100644", &long, blob)]))]);
    repo.commit_tree("long", &deep);
    refused(&repository, &repo, "long", ErrorKind::InvalidPath, &["longer than"]);
    // A tree that says tree where a blob stands, and one that is no tree.
    repo.commit_tree("kind", &repo.tree(&[("40000", b"dir", blob)]));
    refused(&repository, &repo, "kind", ErrorKind::Git, &["dir", "is a blob"]);
    let raw = repo.git_in(
        &["hash-object", "-t", "tree", "--literally", "-w", "--stdin"],
        b"100644 cut\0short",
    );
    repo.commit_tree("cut", &oid(&raw));
    refused(&repository, &repo, "cut", ErrorKind::Git, &["truncated"]);
}

#[test]
fn missing_and_damaged_objects_stop_the_import() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"keep/a", b"a");
    repo.write(b"keep/lost.txt", &b"lost ".repeat(5000));
    repo.commit("one");
    repo.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", repo.dir.display());
    let partial = Repo {
        dir: dir.path().join("partial"),
    };
    repo.git(&[
        "clone",
        "--quiet",
        "--filter=blob:none",
        "--no-checkout",
        &url,
        partial.dir.to_str().unwrap(),
    ]);
    refused(
        &repository,
        &partial,
        "HEAD",
        ErrorKind::Git,
        &["keep/a", "partial clone", "--refetch"],
    );

    repo.write(b"keep/a", b"b");
    repo.commit("two");
    let shallow = Repo {
        dir: dir.path().join("shallow"),
    };
    repo.git(&["clone", "--quiet", "--depth=1", &url, shallow.dir.to_str().unwrap()]);
    let error = repository
        .import_git(&shallow.dir, "HEAD", "refused", History::Full)
        .err()
        .unwrap();
    assert!(
        error.kind() == ErrorKind::Git && error.to_string().contains("--unshallow"),
        "{error}"
    );
    import(&repository, &shallow, "HEAD", "shallow");

    let fresh = open(&dir.path().join("fresh"));
    let lost = repo.git(&["rev-parse", "HEAD:keep/lost.txt"]);
    let loose = repo.dir.join(".git/objects").join(&lost[..2]).join(&lost[2..]);
    let whole = fs::read(&loose).unwrap();
    fs::remove_file(&loose).unwrap();
    refused(
        &fresh,
        &repo,
        "HEAD",
        ErrorKind::Git,
        &["keep/lost.txt", &lost, "git fsck"],
    );
    fs::write(&loose, &whole[..whole.len() / 2]).unwrap();
    refused(
        &fresh,
        &repo,
        "HEAD",
        ErrorKind::Corrupt,
        &["keep/lost.txt", &lost[2..]],
    );
    // Another object under this name.
    let other = repo.git(&["rev-parse", "HEAD:keep/a"]);
    fs::remove_file(&loose).unwrap();
    fs::copy(
        repo.dir.join(".git/objects").join(&other[..2]).join(&other[2..]),
        &loose,
    )
    .unwrap();
    refused(
        &fresh,
        &repo,
        "HEAD",
        ErrorKind::Corrupt,
        &["keep/lost.txt", "another object"],
    );
    fs::remove_file(&loose).unwrap();
    fs::write(&loose, &whole).unwrap();

    repo.git(&["gc", "--quiet", "--prune=now"]);
    let pack = fs::read_dir(repo.dir.join(".git/objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pack"))
        .unwrap();
    let whole = fs::read(&pack).unwrap();
    let rewrite = |bytes: &[u8]| {
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    };
    rewrite(&whole[..whole.len() - 30]);
    let name = pack.file_name().unwrap().to_str().unwrap();
    for tries in 0..2 {
        let fresh = open(&dir.path().join(format!("cut-{tries}")));
        refused(&fresh, &repo, "HEAD", ErrorKind::Corrupt, &[name, "cut short"]);
    }
    let mut flipped = whole.clone();
    for at in (20..whole.len() - 40).step_by(15) {
        flipped[at] ^= 0x40;
    }
    rewrite(&flipped);
    refused(
        &open(&dir.path().join("flipped")),
        &repo,
        "HEAD",
        ErrorKind::Corrupt,
        &[name],
    );
    rewrite(&whole);
    import(&open(&dir.path().join("whole")), &repo, "HEAD", "main");
}

#[test]
fn an_import_onto_a_branch_that_exists_does_nothing() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    repo.commit("one");
    import(&repository, &repo, "HEAD", "main");
    let error = repository
        .import_git(&repo.dir, "HEAD", "main", History::Lazy)
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = repository
        .import_git(&repo.dir, "HEAD", "no good..name", History::Lazy)
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = repository
        .import_git(&dir.path().join("nowhere"), "HEAD", "x", History::Lazy)
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
