//! Repositories made by the installed git, which is the oracle of these tests.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use pyi_engine::git::{History, ObjectFormat, Oid};
use pyi_engine::{Repository, RepositoryOptions, Workspace};
use tempfile::TempDir;

/// A git repository.
pub(crate) struct Repo {
    pub(crate) dir: PathBuf,
}

/// A git command that knows nothing of the machine's configuration.
pub(crate) fn git_command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.org")
        .env("GIT_COMMITTER_NAME", "Bob")
        .env("GIT_COMMITTER_EMAIL", "bob@example.org")
        .env("GIT_AUTHOR_DATE", "1700000000 +0100")
        .env("GIT_COMMITTER_DATE", "1700000001 -0330")
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "gc.auto=0",
            "-c",
            "core.fsync=none",
        ]);
    command
}

fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("git ends");
    writer.join().expect("written");
    output
}

impl Repo {
    pub(crate) fn new(dir: PathBuf) -> Repo {
        Repo::with(dir, &[])
    }

    pub(crate) fn with(dir: PathBuf, options: &[&str]) -> Repo {
        fs::create_dir_all(&dir).expect("directory");
        let repo = Repo { dir };
        let mut args = vec!["init", "--quiet"];
        args.extend(options);
        repo.git(&args);
        repo
    }

    pub(crate) fn try_git<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Output {
        finish(git_command(&self.dir).args(args), input)
    }

    pub(crate) fn git_in<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> String {
        let output = self.try_git(args, input);
        assert!(
            output.status.success(),
            "git: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    pub(crate) fn git<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.git_in(args, b"")
    }

    pub(crate) fn write(&self, path: &[u8], content: &[u8]) {
        let path = self.dir.join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, content).expect("file");
    }

    pub(crate) fn executable(&self, path: &str) {
        fs::set_permissions(self.dir.join(path), fs::Permissions::from_mode(0o755)).expect("mode");
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn blob(&self, content: &[u8]) -> Oid {
        oid(&self.git_in(&["hash-object", "-w", "--stdin"], content))
    }

    /// A tree from raw bytes, whatever git thinks of them.
    pub(crate) fn tree(&self, entries: &[(&str, &[u8], Oid)]) -> Oid {
        let mut raw = Vec::new();
        for (mode, name, oid) in entries {
            raw.extend_from_slice(mode.as_bytes());
            raw.push(b' ');
            raw.extend_from_slice(name);
            raw.push(0);
            raw.extend_from_slice(oid.as_bytes());
        }
        oid(&self.git_in(&["hash-object", "-t", "tree", "--literally", "-w", "--stdin"], &raw))
    }

    /// A commit of a tree, on branch `name`.
    pub(crate) fn commit_tree(&self, name: &str, tree: &Oid) -> String {
        let commit = self.git(&["commit-tree", &tree.to_hex(), "-m", name]);
        self.git(&["update-ref", &format!("refs/heads/{name}"), &commit]);
        commit
    }

    pub(crate) fn tree_of(&self, rev: &str) -> String {
        self.git(&["rev-parse", &format!("{rev}^{{tree}}")])
    }

    pub(crate) fn fsck(&self) {
        let output = self.try_git(&["fsck", "--strict", "--no-dangling"], b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

pub(crate) fn oid(hex: &str) -> Oid {
    Oid::from_hex(hex.trim().as_bytes()).expect("a name")
}

/// A directory for a test, and an empty store in it.
pub(crate) fn store() -> (TempDir, Repository) {
    let dir = tempfile::tempdir().expect("directory");
    let repository = open(&dir.path().join("store"));
    (dir, repository)
}

pub(crate) fn open(dir: &Path) -> Repository {
    fs::create_dir_all(dir).expect("directory");
    Repository::open(
        dir,
        &RepositoryOptions {
            store: Some(dir.join("pyi")),
            ..RepositoryOptions::default()
        },
    )
    .expect("a store")
}

pub(crate) fn import(repository: &Repository, repo: &Repo, rev: &str, branch: &str) -> Arc<Workspace> {
    repository
        .import_git(&repo.dir, rev, branch, History::Lazy)
        .expect("an import")
}

/// Everything that git can hold, in one tree. Returns the commit.
pub(crate) fn everything(repo: &Repo) -> String {
    repo.write(b"plain.txt", b"one\ntwo\n");
    repo.write(b"empty", b"");
    repo.write(b"bin/run", b"#!/bin/sh\n");
    repo.executable("bin/run");
    repo.write(b"n\xff\xfeame/\xc3\xa9t\xc3\xa9", b"not UTF-8 above\n");
    repo.write(b"a.b/x", b"1");
    repo.write(b"a/x", b"2");
    repo.write(b"a-b", b"3");
    let deep: Vec<String> = (0..60).map(|level| format!("d{level}")).collect();
    repo.write(format!("{}/leaf", deep.join("/")).as_bytes(), b"deep\n");
    for number in 0..1000 {
        repo.write(
            format!("many/file-{number}").as_bytes(),
            format!("content {number}\n").as_bytes(),
        );
    }
    std::os::unix::fs::symlink("../plain.txt", repo.dir.join("bin/link")).expect("symlink");
    repo.git(&["add", "--all"]);
    let submodule = if repo.git(&["rev-parse", "--show-object-format"]) == "sha256" {
        "ab".repeat(32)
    } else {
        "ab".repeat(20)
    };
    repo.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{submodule},vendor/sub"),
    ]);
    repo.git(&["commit", "--quiet", "-m", "everything\n\nand more"]);
    repo.git(&["rev-parse", "HEAD"])
}

pub(crate) fn sha1_tree(workspace: &Workspace) -> String {
    workspace.git_tree(ObjectFormat::Sha1).expect("a tree").to_hex()
}
