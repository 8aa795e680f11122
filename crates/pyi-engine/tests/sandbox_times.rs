//! How long materialize and capture take: `cargo test --release -p pyi-engine --test sandbox_times -- --ignored --nocapture`.
//! Prints, asserts nothing about time.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

mod sandbox_common;

use std::time::Instant;

use pyi_engine::{CaptureOptions, MaterializeOptions};
use sandbox_common::*;

#[test]
#[ignore = "a measurement, not a check"]
fn times() {
    let scratch = scratch();
    let source = scratch.path().join("source");
    std::fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q"]);
    for file in 0..4_700u32 {
        let line = format!("line of file {file}\n");
        write(
            &source,
            &format!("d{}/e{}/f{file}.py", file % 40, file % 12),
            line.repeat(1 + file as usize % 600).as_bytes(),
        );
    }
    git(&source, &["add", "-A"]);
    git(
        &source,
        &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"],
    );
    git(&source, &["repack", "-adq"]);
    let repo = open(scratch.path());
    let ms = |from: Instant| from.elapsed().as_secs_f64() * 1000.0;
    let clock = Instant::now();
    let workspace = import(&repo, &source);
    println!("import_git {:.1} ms", ms(clock));
    for round in 0..4 {
        let dir = scratch.path().join(format!("m{round}"));
        let clock = Instant::now();
        let report = workspace
            .materialize(&dir, &MaterializeOptions { git: round % 2 == 0 })
            .unwrap();
        println!("materialize {report:?} {:.1} ms", ms(clock));
        let clock = Instant::now();
        let captured = workspace.capture_report(&dir, &CaptureOptions::default()).unwrap();
        assert_eq!((captured.changes.len(), captured.files_read), (0, 0));
        println!("capture of nothing, {} entries: {:.2} ms", captured.entries, ms(clock));
        write(&dir, "d1/e1/new.py", b"new");
        let clock = Instant::now();
        let captured = workspace
            .fork()
            .unwrap()
            .capture_report(&dir, &CaptureOptions::default())
            .unwrap();
        assert_eq!((captured.changes.len(), captured.files_read), (1, 1));
        println!("capture of one file: {:.2} ms", ms(clock));
        if round % 2 == 0 {
            let clock = Instant::now();
            let status = git_text(&dir, &["status", "--porcelain"]);
            assert_eq!(status, "?? d1/e1/new.py\n");
            println!("git status {:.1} ms", ms(clock));
        }
    }
    let clock = Instant::now();
    std::fs::create_dir(scratch.path().join("w")).unwrap();
    git(&source, &["worktree", "add", "-q", "--detach", "../w/t"]);
    println!("git worktree add {:.1} ms", ms(clock));
    let clock = Instant::now();
    let dir = scratch.path().join("m0");
    let imported = repo.import_dir(&dir, "dir").unwrap();
    println!("import_dir {} files {:.1} ms", imported.len(), ms(clock));
}
