//! What cannot be done says so, by kind, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

mod sandbox_common;

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use pyi_engine::{Bytes, ErrorKind, MaterializeOptions};
use sandbox_common::*;

const NO_GIT: MaterializeOptions = MaterializeOptions { git: false };

#[test]
fn directories_that_cannot_be_filled() {
    let scratch = scratch();
    let repo = open(scratch.path());
    let origin = scratch.path().join("origin");
    write(&origin, "sub/f", b"1");
    let workspace = repo.import_dir(&origin, "main").unwrap();
    let refused = |dir: &Path| workspace.materialize(dir, &NO_GIT).unwrap_err().kind();
    assert_eq!(refused(&origin), ErrorKind::InvalidArgument);
    assert_eq!(refused(&origin.join("sub/f")), ErrorKind::InvalidArgument);
    assert_eq!(refused(&repo.path().join("inside")), ErrorKind::InvalidArgument);
    assert!(!repo.path().join("inside").exists());
    std::os::unix::fs::symlink(repo.path(), scratch.path().join("link")).unwrap();
    assert_eq!(refused(&scratch.path().join("link/a/b")), ErrorKind::InvalidArgument);
    assert!(!repo.path().join("a").exists());
    assert_eq!(on_disk(&origin).len(), 1);
    repo.close().unwrap();
    assert_eq!(refused(&scratch.path().join("dir")), ErrorKind::Closed);
}

#[test]
fn names_that_no_file_system_takes() {
    let scratch = scratch();
    let repo = open(scratch.path());
    let origin = scratch.path().join("origin");
    for file in 0..400 {
        write(&origin, &format!("d{}/f{file}", file % 20), b"x");
    }
    let workspace = repo.import_dir(&origin, "main").unwrap();
    let long = [b"d9/deep/".as_slice(), &[b'n'; 300]].concat();
    workspace.write(&long, Bytes::from_static(b""), None).unwrap();
    for prepared in [false, true] {
        let dir = scratch.path().join("not/there");
        if prepared {
            fs::create_dir_all(&dir).unwrap();
        }
        let error = workspace.materialize(&dir, &NO_GIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidPath);
        assert!(error.to_string().contains("d9/deep/nnn"), "{error}");
        assert_eq!(dir.exists(), prepared);
        assert!(
            !prepared || fs::read_dir(&dir).unwrap().next().is_none(),
            "nothing is left behind"
        );
        assert_eq!(scratch.path().join("not").exists(), prepared);
    }
}

#[test]
fn paths_as_deep_as_they_can_be() {
    let scratch = scratch();
    let repo = open(scratch.path());
    let origin = scratch.path().join("origin");
    fs::create_dir(&origin).unwrap();
    let workspace = repo.import_dir(&origin, "main").unwrap();
    let deep = vec![b"d".as_slice(); 600].join(&b'/');
    workspace.write(&deep, Bytes::from_static(b"deep"), None).unwrap();
    let dir = scratch.path().join("dir");
    assert_eq!(workspace.materialize(&dir, &NO_GIT).unwrap().directories, 599);
    assert!(
        workspace
            .capture(&dir, &pyi_engine::CaptureOptions::default())
            .unwrap()
            .is_empty()
    );
}

/// Runs `test` in a mount namespace of its own, in which a tmpfs with these options stands at `at`.
fn with_tmpfs(at: &Path, options: &str, test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let run = || {
            let c = |text: &str| CString::new(text).unwrap();
            let (none, root, kind) = (c("none"), c("/"), c("tmpfs"));
            let (at, options) = (c(at.to_str().unwrap()), c(options));
            // SAFETY: all strings live to the end of this block; the namespace belongs to this thread alone.
            let mounted = unsafe {
                libc::unshare(libc::CLONE_NEWNS) == 0
                    && libc::mount(
                        none.as_ptr(),
                        root.as_ptr(),
                        none.as_ptr(),
                        libc::MS_REC | libc::MS_PRIVATE,
                        none.as_ptr().cast(),
                    ) == 0
                    && libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) == 0
            };
            if mounted {
                test();
            } else {
                eprintln!(
                    "skipped: cannot mount a tmpfs ({}): {}",
                    options.to_string_lossy(),
                    io::Error::last_os_error()
                );
            }
        };
        scope.spawn(run).join().unwrap();
    });
}

#[test]
fn a_full_disk() {
    let scratch = scratch();
    let source = sample_repository(scratch.path(), "sha1");
    for file in 0..300 {
        write(&source, &format!("big{}/f{file}", file % 9), &[b'x'; 8_000]);
    }
    git(&source, &["add", "-A"]);
    git(&source, &["commit", "-qm", "big"]);
    let repo = open(scratch.path());
    let workspace = import(&repo, &source);
    let small = scratch.path().join("small");
    fs::create_dir(&small).unwrap();
    // Too small for the files; too small for the index alone.
    for kib in [1024, 3400] {
        with_tmpfs(&small, &format!("size={kib}k"), || {
            let dir = small.join("dir");
            match workspace.materialize(&dir, &MaterializeOptions::default()) {
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.errno()),
                        (ErrorKind::Storage, Some(libc::ENOSPC)),
                        "{error}"
                    );
                    assert!(fs::read_dir(&small).unwrap().next().is_none(), "nothing is left behind");
                }
                Ok(_) => assert!(kib > 3000, "300 files of 8 KB do not fit into 1 MB"),
            }
        });
    }
}

#[test]
fn names_that_collide() {
    let scratch = scratch();
    let repo = open(scratch.path());
    let origin = scratch.path().join("origin");
    write(&origin, "dir/Name", b"1");
    write(&origin, "dir/name", b"2");
    let workspace = repo.import_dir(&origin, "main").unwrap();
    let folding = scratch.path().join("folding");
    fs::create_dir(&folding).unwrap();
    with_tmpfs(&folding, "casefold", || {
        let target = folding.join("target");
        fs::create_dir(&target).unwrap();
        let folds = std::process::Command::new("chattr").arg("+F").arg(&target).status();
        if !folds.is_ok_and(|status| status.success()) {
            eprintln!("skipped: chattr +F does not work here");
            return;
        }
        let error = workspace.materialize(&target, &NO_GIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidPath);
        assert!(error.to_string().contains("dir/name"), "{error}");
        assert!(fs::read_dir(&target).unwrap().next().is_none());
    });
}
