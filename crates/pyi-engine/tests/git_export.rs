//! Export: parents, identities, and branches that move by compare-and-swap or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod git_common;

use std::os::unix::fs::PermissionsExt;

use git_common::{Repo, everything, import, store};
use pyi_engine::git::{History, ObjectFormat};
use pyi_engine::{Bytes, ErrorKind, ExportOptions, Value};

fn options(branch: &str) -> ExportOptions {
    ExportOptions {
        branch: branch.to_owned(),
        ..ExportOptions::default()
    }
}

#[test]
fn a_changed_workspace_becomes_a_child_of_the_imported_commit() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    let base = everything(&repo);
    repo.git(&["config", "user.name", "Grace Hopper"]);
    repo.git(&["config", "user.email", "grace@example.org"]);
    let workspace = import(&repository, &repo, "HEAD", "main");
    workspace
        .write(b"plain.txt", Bytes::from_static(b"changed\n"), None)
        .unwrap();
    workspace
        .write(b"new/file", Bytes::from_static(b"new\n"), Some(0o755))
        .unwrap();
    workspace.checkpoint("fix the thing", Value::Null).unwrap();
    let first = workspace.export_git(&repo.dir, &options("pyi/fix")).unwrap();
    assert_eq!(
        repo.git(&["rev-parse", "pyi/fix", "pyi/fix^"]),
        format!("{first}\n{base}")
    );
    assert_eq!(
        repo.git(&["log", "-1", "--format=%s|%an <%ae>", &first]),
        "fix the thing|Grace Hopper <grace@example.org>"
    );
    assert_eq!(
        repo.git(&["diff", "--name-status", &base, &first]),
        "A\tnew/file\nM\tplain.txt"
    );
    assert_eq!(repo.git(&["ls-tree", &first, "new/"]).split(' ').next(), Some("100755"));
    // Again, from the same import: the branch is no parent of this one.
    workspace
        .write(b"plain.txt", Bytes::from_static(b"more\n"), None)
        .unwrap();
    let error = workspace.export_git(&repo.dir, &options("pyi/fix")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains(&first) && error.to_string().contains(&base),
        "{error}"
    );
    assert_eq!(repo.git(&["rev-parse", "pyi/fix"]), first);
    let second = ExportOptions {
        parents: Some(vec![first.clone(), base.clone()]),
        message: Some("second\n\nbody\n".to_owned()),
        author: Some("Zoë <zoe@example.org>".to_owned()),
        ..options("pyi/fix")
    };
    let second = workspace.export_git(&repo.dir, &second).unwrap();
    assert_eq!(
        repo.git(&["log", "-1", "--format=%P|%B|%an|%cn", &second]),
        format!("{first} {base}|second\n\nbody\n|Zoë|Grace Hopper")
    );
    let none = ExportOptions {
        parents: Some(Vec::new()),
        ..options("root")
    };
    let none = workspace.export_git(&repo.dir, &none).unwrap();
    assert_eq!(repo.git(&["rev-list", "--count", &none]), "1");
    repo.fsck();
    let bad = [
        (
            ExportOptions {
                parents: Some(vec!["nobody".to_owned()]),
                ..options("x")
            },
            ErrorKind::NotFound,
        ),
        (
            ExportOptions {
                author: Some("no mail".to_owned()),
                ..options("x")
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ExportOptions {
                message: Some("a\0b".to_owned()),
                ..options("x")
            },
            ErrorKind::InvalidArgument,
        ),
        (options("not..good"), ErrorKind::InvalidArgument),
        (options("pyi"), ErrorKind::Git),
    ];
    for (options, kind) in bad {
        let error = workspace.export_git(&repo.dir, &options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(
        workspace.export_git(dir.path(), &options("x")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_branch_that_is_checked_out_is_refused() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    let base = repo.commit("one");
    let workspace = import(&repository, &repo, "HEAD", "main");
    workspace.write(b"a", Bytes::from_static(b"2"), None).unwrap();
    let linked = dir.path().join("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "there", linked.to_str().unwrap()]);
    for (place, branch) in [
        (&repo.dir, "main"),
        (&repo.dir, "there"),
        (&linked, "main"),
        (&linked, "there"),
    ] {
        let error = workspace.export_git(place, &options(branch)).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Conflict && error.to_string().contains("checked out"),
            "{error}"
        );
        assert_eq!(repo.git(&["rev-parse", branch]), base);
    }
    workspace.export_git(&linked, &options("free")).unwrap();
    assert_eq!(repo.git(&["rev-parse", "free^"]), base);
    // A branch that nobody has checked out moves forward; so does the HEAD of a bare repository.
    repo.git(&["branch", "forward"]);
    workspace.export_git(&repo.dir, &options("forward")).unwrap();
    assert_eq!(repo.git(&["rev-parse", "forward^"]), base);
    let bare = Repo {
        dir: dir.path().join("bare.git"),
    };
    repo.git(&["clone", "--quiet", "--bare", ".", bare.dir.to_str().unwrap()]);
    workspace.export_git(&bare.dir, &options("main")).unwrap();
    assert_eq!(bare.git(&["rev-parse", "main^"]), base);
    // A branch that was never born belongs to the work tree too.
    let unborn = Repo::new(dir.path().join("unborn"));
    assert_eq!(
        workspace.export_git(&unborn.dir, &options("main")).unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

#[test]
fn of_many_exports_to_one_branch_one_wins() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    let base = repo.commit("one");
    let workspaces: Vec<_> = (0..6)
        .map(|number| {
            let workspace = repository
                .import_git(&repo.dir, "HEAD", &format!("w{number}"), History::Lazy)
                .unwrap();
            workspace
                .write(b"a", Bytes::from(format!("by {number}")), None)
                .unwrap();
            workspace
        })
        .collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = workspaces
            .iter()
            .map(|one| scope.spawn(|| one.export_git(&repo.dir, &options("race"))))
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert_eq!(&repo.git(&["rev-parse", "race"]), won[0]);
    assert_eq!(repo.git(&["rev-parse", "race^"]), base);
    assert!(
        outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .all(|error| error.kind() == ErrorKind::Conflict),
        "{outcomes:?}"
    );
    repo.fsck();
}

#[test]
fn an_export_does_not_trust_objects_that_git_has_pruned_meanwhile() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    repo.commit("one");
    let workspace = import(&repository, &repo, "HEAD", "main");
    for number in 0..400 {
        workspace
            .write(format!("d/{number}").as_bytes(), Bytes::from(format!("{number}")), None)
            .unwrap();
    }
    let first = workspace.export_git(&repo.dir, &options("out")).unwrap();
    let packs = || {
        repo.git(&["count-objects", "-v"])
            .lines()
            .any(|line| line == "packs: 1")
    };
    assert!(packs(), "many objects go into a pack");
    repo.git(&["branch", "-D", "--quiet", "out"]);
    repo.git(&[
        "-c",
        "gc.reflogExpire=now",
        "-c",
        "gc.cruftPacks=false",
        "gc",
        "--quiet",
        "--prune=now",
    ]);
    assert!(!repo.try_git(&["cat-file", "-e", &first], b"").status.success());
    workspace.export_git(&repo.dir, &options("out")).unwrap();
    assert_eq!(
        repo.tree_of("out"),
        workspace.git_tree(ObjectFormat::Sha1).unwrap().to_hex()
    );
    repo.fsck();
}

#[test]
fn files_have_the_permissions_that_the_repository_asks_for() {
    let (dir, repository) = store();
    let repo = Repo::with(dir.path().join("repo"), &["--shared=group"]);
    repo.write(b"a", b"1");
    repo.commit("one");
    let workspace = import(&repository, &repo, "HEAD", "main");
    workspace
        .write(b"a", Bytes::from_static(b"something new"), None)
        .unwrap();
    let commit = workspace.export_git(&repo.dir, &options("out")).unwrap();
    let path = repo.dir.join(".git/objects").join(&commit[..2]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path.join(&commit[2..])), 0o444);
    assert_eq!(mode(&path) & 0o2070, 0o2070);
}

#[test]
fn where_git_knows_no_identity_pyi_signs_itself() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    repo.commit("one");
    repo.git(&["config", "user.name", "<>"]);
    let workspace = import(&repository, &repo, "HEAD", "main");
    let commit = workspace.export_git(&repo.dir, &options("out")).unwrap();
    assert_eq!(
        repo.git(&["log", "-1", "--format=%an <%ae> %cn", &commit]),
        "PYI <pyi@localhost> PYI"
    );
    repo.fsck();
}

#[test]
fn the_same_commit_twice_is_no_conflict() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    repo.commit("one");
    let workspace = import(&repository, &repo, "HEAD", "main");
    // Within one second the commit is the same; try until both exports fell into one.
    for attempt in 0.. {
        let branch = format!("same-{attempt}");
        let first = workspace.export_git(&repo.dir, &options(&branch)).unwrap();
        match workspace.export_git(&repo.dir, &options(&branch)) {
            Ok(second) => {
                assert_eq!(first, second);
                break;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
}
