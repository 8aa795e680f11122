//! What the sandbox tests share: scratch repositories, real git, an independent walk of a directory.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and these are what tests call"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use pyi_engine::{EntryKind, Repository, RepositoryOptions, Workspace};
use tempfile::TempDir;

/// What stands at a path: kind, executable, content or target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    File(bool, Vec<u8>),
    Link(Vec<u8>),
    EmptyDirectory,
    Gitlink,
}

pub type Contents = BTreeMap<Vec<u8>, Node>;

pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("pyi-sandbox").tempdir().unwrap()
}

pub fn open(path: &Path) -> Repository {
    Repository::open(
        path,
        &RepositoryOptions {
            store: Some(path.join("store")),
            ..RepositoryOptions::default()
        },
    )
    .unwrap()
}

pub fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// A walk of a directory that shares no code with the engine.
pub fn on_disk(root: &Path) -> Contents {
    let mut contents = Contents::new();
    walk_disk(root, root, &mut contents);
    contents
}

fn walk_disk(root: &Path, dir: &Path, contents: &mut Contents) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let key = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        if entry.file_name() == ".git" {
            continue;
        }
        if kind.is_symlink() {
            contents.insert(
                key,
                Node::Link(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()),
            );
        } else if kind.is_dir() {
            if fs::read_dir(&path).unwrap().next().is_none() {
                contents.insert(key, Node::EmptyDirectory);
            }
            walk_disk(root, &path, contents);
        } else if kind.is_file() {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            contents.insert(key, Node::File(executable, fs::read(&path).unwrap()));
        }
    }
}

/// What a workspace holds, through its public interface.
pub fn in_workspace(workspace: &Workspace) -> Contents {
    let mut contents = Contents::new();
    let mut directories = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        let entries = workspace.list(&directory).unwrap();
        if entries.is_empty() && !directory.is_empty() {
            contents.insert(directory.clone(), Node::EmptyDirectory);
        }
        for entry in entries {
            let node = match entry.kind() {
                EntryKind::Directory => {
                    directories.push(entry.path);
                    continue;
                }
                EntryKind::Symlink => Node::Link(workspace.read(&entry.path).unwrap().to_vec()),
                EntryKind::Gitlink => Node::Gitlink,
                EntryKind::File => Node::File(
                    entry.permissions() == 0o755,
                    workspace.read(&entry.path).unwrap().to_vec(),
                ),
            };
            contents.insert(entry.path, node);
        }
    }
    contents
}

/// Real git, deaf to the configuration of whoever runs the tests.
pub fn git_output(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    command
        .current_dir(dir)
        .args(["-c", "core.fsmonitor=false"])
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", dir)
        .env("XDG_CONFIG_HOME", dir.join("no-config"))
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

pub fn git(dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = git_output(dir, args);
    assert!(
        output.status.success(),
        "git {args:?} in {dir:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub fn git_text(dir: &Path, args: &[&str]) -> String {
    String::from_utf8(git(dir, args)).unwrap()
}

pub fn write(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A repository with a little of everything, committed.
pub fn sample_repository(parent: &Path, format: &str) -> PathBuf {
    let root = parent.join("source");
    fs::create_dir_all(&root).unwrap();
    git(
        &root,
        &["init", "-q", "-b", "main", &format!("--object-format={format}")],
    );
    git(&root, &["config", "user.name", "A \"quoted\" \\ Name"]);
    git(&root, &["config", "user.email", "a@example.org"]);
    write(&root, "README", b"hello\n");
    write(&root, "src/main.py", b"print(1)\n");
    write(&root, "src.py", b"between src and src/\n");
    write(&root, "src/deep/er/x", b"");
    write(&root, "bin/run", b"#!/bin/sh\n");
    fs::set_permissions(root.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("../README", root.join("src/link")).unwrap();
    fs::write(root.join(os(b"caf\xe9")), b"latin\n").unwrap();
    write(&root, ".gitignore", b"*.pyc\n/build/\n");
    git(&root, &["add", "-A"]);
    git(&root, &["commit", "-q", "-m", "first"]);
    root
}

pub fn import(repo: &Repository, source: &Path) -> Arc<Workspace> {
    repo.import_git(source, "HEAD", "main", pyi_engine::git::History::Lazy)
        .unwrap()
}

/// Every file below `dir` with its content and times: what must not change.
pub fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut stack = vec![dir.to_path_buf()];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                found.insert(entry.path(), (Vec::new(), metadata.modified().unwrap()));
                stack.push(entry.path());
            } else {
                found.insert(
                    entry.path(),
                    (fs::read(entry.path()).unwrap_or_default(), metadata.modified().unwrap()),
                );
            }
        }
    }
    found
}
