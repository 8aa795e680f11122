//! What comes in goes out again: import, then export, gives git's own tree names, however the repository keeps its objects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod git_common;

use std::fs;

use git_common::{Repo, everything, git_command, import, oid, open, sha1_tree, store};
use pyi_engine::git::{GitSource, History, ObjectDatabase, ObjectFormat};
use pyi_engine::{Bytes, ErrorKind, ExportOptions, Mode, Value};

fn options(branch: &str) -> ExportOptions {
    ExportOptions {
        branch: branch.to_owned(),
        ..ExportOptions::default()
    }
}

#[test]
fn everything_comes_back_under_the_same_name_with_the_commit_as_parent() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    let commit = everything(&repo);
    let workspace = import(&repository, &repo, "HEAD", "main");
    assert_eq!(workspace.head().root().message, "everything\n\nand more");
    assert_eq!(workspace.stat(b"bin/run").unwrap().mode, Mode::Executable);
    assert_eq!(&workspace.read_link(b"bin/link").unwrap()[..], b"../plain.txt");
    assert_eq!(workspace.stat(b"vendor/sub").unwrap().mode, Mode::Gitlink);
    assert_eq!(&workspace.read(b"many/file-77").unwrap()[..], b"content 77\n");
    assert_eq!(sha1_tree(&workspace), repo.tree_of("HEAD"));

    // The same content in another repository: everything has to be written there, as one pack.
    let other = Repo::new(dir.path().join("other"));
    let exported = workspace.export_git(&other.dir, &options("copy")).unwrap();
    assert_eq!(other.tree_of("copy"), repo.tree_of("HEAD"));
    assert_eq!(other.git(&["rev-list", "--count", &exported]), "1");
    other.fsck();
    // And in its own: only the commit.
    let (status, objects) = (repo.git(&["status", "--porcelain"]), repo.git(&["count-objects"]));
    let exported = workspace.export_git(&repo.dir, &options("copy")).unwrap();
    assert_eq!(repo.git(&["rev-parse", "copy^"]), commit);
    assert_eq!(repo.git(&["rev-parse", "copy"]), exported);
    assert_eq!(
        repo.git(&["log", "-1", "--format=%B", "copy"]),
        "everything\n\nand more"
    );
    assert_eq!(repo.git(&["status", "--porcelain"]), status);
    assert_ne!(repo.git(&["count-objects"]), objects);
    repo.fsck();
}

#[test]
fn every_way_to_keep_objects_is_read() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    everything(&repo);
    for round in 0..12 {
        let text: String = (0..2000)
            .map(|line| format!("line {line} of round {}\n", if line % 97 == 0 { round } else { 0 }))
            .collect();
        repo.write(b"long.txt", text.as_bytes());
        repo.commit(&format!("round {round}"));
    }
    let tree = repo.tree_of("HEAD");
    let check = |branch: &str, source: &std::path::Path| {
        let fresh = open(&dir.path().join(branch));
        let workspace = fresh.import_git(source, "HEAD", branch, History::Lazy).unwrap();
        assert_eq!(sha1_tree(&workspace), tree, "{branch}");
    };
    check("loose", &repo.dir);
    let opened_before = ObjectDatabase::open(&repo.dir.join(".git")).unwrap();
    repo.git(&["gc", "--quiet", "--aggressive", "--prune=now"]);
    // Somebody who had the repository open before finds the pack too.
    assert!(opened_before.read(&oid(&tree)).unwrap().is_some());
    check("packed", &repo.dir);
    repo.write(b"later", b"x");
    repo.git(&["add", "--all"]);
    repo.git(&["repack", "--quiet", "-d"]);
    repo.git(&["multi-pack-index", "write"]);
    check("midx", &repo.dir);

    let clone = dir.path().join("clone");
    repo.git(&["clone", "--quiet", "--shared", ".", clone.to_str().unwrap()]);
    check("alternates", &clone);
    let bare = dir.path().join("bare.git");
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    check("bare", &bare);
    let linked = dir.path().join("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    check("linked", &linked);
    repo.git(&["pack-refs", "--all"]);
    check("packed-refs", &repo.dir);
    // A loop of alternates ends.
    fs::write(
        clone.join(".git/objects/info/alternates"),
        "../../../repo/.git/objects\n../objects\n",
    )
    .unwrap();
    fs::write(
        repo.dir.join(".git/objects/info/alternates"),
        format!("{}\n", clone.join(".git/objects").display()),
    )
    .unwrap();
    check("loop", &clone);
    drop(repository);
}

#[test]
fn sha256_repositories_work_alike() {
    let (dir, repository) = store();
    let repo = Repo::with(dir.path().join("repo"), &["--object-format=sha256"]);
    let commit = everything(&repo);
    let workspace = import(&repository, &repo, "main", "main");
    assert_eq!(
        workspace.git_tree(ObjectFormat::Sha256).unwrap().to_hex(),
        repo.tree_of("HEAD")
    );
    workspace.write(b"new", Bytes::from_static(b"new"), None).unwrap();
    workspace.export_git(&repo.dir, &options("out")).unwrap();
    assert_eq!(repo.git(&["rev-parse", "out^"]), commit);
    repo.fsck();
    // The submodule's name has no meaning in a repository of the other format.
    let other = Repo::new(dir.path().join("sha1"));
    let refused = workspace.export_git(&other.dir, &options("out")).unwrap_err();
    assert!(
        refused.kind() == ErrorKind::Git && refused.to_string().contains("vendor/sub"),
        "{refused}"
    );
    workspace.remove(b"vendor").unwrap();
    workspace.export_git(&other.dir, &options("out")).unwrap();
    other.fsck();
}

fn commit_of(repo: &Repo, rev: &str) -> String {
    // `:/text` takes everything behind it for text.
    repo.git(&[
        "rev-parse",
        &if rev.starts_with(":/") {
            rev.to_owned()
        } else {
            format!("{rev}^{{commit}}")
        },
    ])
}

#[test]
fn revisions_mean_what_git_says() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"a", b"1");
    let first = repo.commit("first");
    repo.write(b"a", b"2");
    let second = repo.commit("second");
    repo.git(&["tag", "-a", "-m", "note", "v1", &first]);
    repo.git(&["tag", "-a", "-m", "tag of a tag", "v1-again", "v1"]);
    repo.git(&["branch", "feature/x", &first]);
    repo.git(&["tag", "both", &first]);
    repo.git(&["branch", "both", &second]);
    let check = |repo: &Repo| {
        let source = GitSource::open(&repo.dir).unwrap();
        for rev in [
            "HEAD",
            "main",
            "refs/heads/main",
            "heads/main",
            "v1",
            "v1-again",
            "feature/x",
            "main~1",
            "main^",
            "@",
            &first,
            &second[..9],
            "both",
            ":/first",
        ] {
            assert_eq!(source.resolve(rev).unwrap().to_hex(), commit_of(repo, rev), "{rev}");
        }
        for rev in [
            "nothing",
            "refs/heads/nothing",
            "main~99",
            "0123456789012345678901234567890123456789",
            "-x",
            "--all",
        ] {
            let error = source.resolve(rev).unwrap_err();
            assert!(
                error.kind() == ErrorKind::NotFound && error.to_string().contains(rev),
                "{rev}: {error}"
            );
        }
        let tree = repo.tree_of("HEAD");
        assert_eq!(source.resolve(&tree).unwrap_err().kind(), ErrorKind::Git);
    };
    check(&repo);
    repo.git(&["pack-refs", "--all"]);
    check(&repo);
    repo.git(&["checkout", "--quiet", "--detach", &first]);
    check(&repo);
    let linked = Repo {
        dir: dir.path().join("linked"),
    };
    repo.git(&["worktree", "add", "--quiet", linked.dir.to_str().unwrap(), "feature/x"]);
    check(&linked);
    let none = Repo::new(dir.path().join("unborn"));
    let error = GitSource::open(&none.dir).unwrap().resolve("HEAD").unwrap_err();
    assert!(
        error.kind() == ErrorKind::NotFound && error.to_string().contains("no commit"),
        "{error}"
    );
    assert_eq!(GitSource::open(dir.path()).err().unwrap().kind(), ErrorKind::NotFound);
    // Reftable: git reads the refs.
    let tables = dir.path().join("tables");
    if git_command(dir.path())
        .args(["init", "--quiet", "--ref-format=reftable"])
        .arg(&tables)
        .status()
        .unwrap()
        .success()
    {
        let tables = Repo { dir: tables };
        tables.write(b"a", b"1");
        let commit = tables.commit("one");
        assert_eq!(
            GitSource::open(&tables.dir).unwrap().resolve("HEAD").unwrap().to_hex(),
            commit
        );
        let (_dir, repository) = store();
        let workspace = import(&repository, &tables, "main", "main");
        assert_eq!(
            workspace.export_git(&tables.dir, &options("main")).unwrap_err().kind(),
            ErrorKind::Conflict
        );
        workspace.export_git(&tables.dir, &options("out")).unwrap();
        assert_eq!(tables.git(&["rev-parse", "out^"]), commit);
    }
}

#[test]
fn full_history_becomes_checkpoints_with_the_same_shape() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    repo.write(b"base", b"0");
    let base = repo.commit("base");
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.write(b"side/one", b"1");
    repo.commit("side");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write(b"main-file", b"2");
    repo.commit("main");
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "merged", "side"]);
    let workspace = repository.import_git(&repo.dir, "main", "main", History::Full).unwrap();
    let head = workspace.head();
    assert_eq!((head.root().message.as_str(), head.root().parents.len()), ("merged", 2));
    assert_eq!(head.root().time_ns, 1_700_000_001_000_000_000);
    let log: Vec<_> = repository.log(head.id(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(log.len(), 4);
    for checkpoint in &log {
        let commit = checkpoint.root().git.get("commit").and_then(Value::as_text).unwrap();
        assert_eq!(
            checkpoint.git_tree(ObjectFormat::Sha1).unwrap().to_hex(),
            repo.tree_of(commit)
        );
    }
    assert!(
        log.iter()
            .any(|checkpoint| checkpoint.root().git.get("commit").and_then(Value::as_text) == Some(&base))
    );
    let git = head.root().metadata.get("git").unwrap();
    assert_eq!(
        git.get("author").and_then(Value::as_text),
        Some("Ada <ada@example.org>")
    );
}

#[test]
fn the_next_commit_costs_little_and_the_map_can_go_at_any_time() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    everything(&repo);
    let first = import(&repository, &repo, "HEAD", "first");
    let objects = repository.stats().unwrap().objects;
    repo.write(b"many/file-5", b"changed\n");
    repo.commit("next");
    let second = import(&repository, &repo, "HEAD", "second");
    // A blob, the pieces of the split directory, the root and the checkpoint.
    let more = repository.stats().unwrap().objects - objects;
    assert!(more <= 8, "{more} objects for one changed file");
    fs::remove_dir_all(repository.path().join("gitmap")).unwrap();
    let third = import(&repository, &repo, "HEAD", "third");
    assert_eq!(sha1_tree(&third), sha1_tree(&second));
    assert_ne!(sha1_tree(&third), sha1_tree(&first));
    assert_eq!(third.head().root().files, second.head().root().files);
    // A fresh process without a map, and one with a map full of rubbish.
    fs::remove_dir_all(repository.path().join("gitmap")).ok();
    let again = open(&dir.path().join("store"));
    assert_eq!(
        sha1_tree(&import(&again, &repo, "HEAD", "fourth")),
        repo.tree_of("HEAD")
    );
    let map = repository.path().join("gitmap/v1.map");
    let mut bytes = fs::read(&map).unwrap_or_default();
    bytes.splice(100..103, *b"??!");
    bytes.truncate(bytes.len().saturating_sub(7));
    fs::write(&map, bytes).unwrap();
    let again = open(&dir.path().join("store"));
    assert_eq!(sha1_tree(&import(&again, &repo, "HEAD", "fifth")), repo.tree_of("HEAD"));
}

#[test]
fn two_handles_import_at_the_same_time() {
    let (dir, repository) = store();
    let repo = Repo::new(dir.path().join("repo"));
    everything(&repo);
    let tree = repo.tree_of("HEAD");
    let other = open(&dir.path().join("store"));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (handle, repo, tree) = (if number % 2 == 0 { &repository } else { &other }, &repo, &tree);
            scope.spawn(move || {
                let workspace = import(handle, repo, "HEAD", &format!("b{number}"));
                assert_eq!(&sha1_tree(&workspace), tree);
            });
        }
        // One name, two takers: one wins.
        let takers: Vec<_> = [&repository, &other]
            .map(|handle| scope.spawn(|| handle.import_git(&repo.dir, "HEAD", "one", History::Lazy).map(drop)))
            .into_iter()
            .map(|taker| taker.join().unwrap())
            .collect();
        assert_eq!(takers.iter().filter(|taken| taken.is_ok()).count(), 1);
        let lost = takers.into_iter().find_map(Result::err).unwrap();
        assert_eq!(lost.kind(), ErrorKind::Conflict);
    });
    assert_eq!(repository.branches().unwrap().len(), 5);
}
