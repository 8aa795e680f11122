//! A large file costs what of it changed: written in a workspace, captured from a directory, or imported from git.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

mod sandbox_common;

use std::fs;

use pyi_engine::git::History;
use pyi_engine::{Bytes, CaptureOptions, Ignore, Repository, Value};
use sandbox_common::*;

/// A changed byte costs one chunk, at most 256 KB, and what names it: the list of chunks, nodes, the checkpoint.
fn small(bytes: usize) -> u64 {
    (256 << 10) + (bytes as u64 >> 10) + 8_192
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    content.truncate(length);
    content
}

fn stored(repository: &Repository) -> u64 {
    repository.stats().unwrap().bytes_stored
}

#[test]
fn a_byte_changed_in_a_workspace_costs_a_chunk() {
    let scratch = scratch();
    let repository = open(scratch.path());
    let workspace = repository.workspace("main").unwrap();
    let mut content = noise(50_000_000);
    workspace.write(b"large", Bytes::from(content.clone()), None).unwrap();
    let first = workspace.checkpoint("large", Value::Null).unwrap();
    let before = stored(&repository);
    assert!((50_000_000..50_200_000).contains(&before), "{before}");
    content[31_415_926] ^= 1;
    workspace.write(b"large", Bytes::from(content.clone()), None).unwrap();
    let second = workspace.checkpoint("a byte", Value::Null).unwrap();
    let cost = stored(&repository) - before;
    assert!(cost < small(content.len()), "{cost}");
    // Another process reads both.
    let again = open(scratch.path());
    let read = |id| again.workspace_at(id).unwrap().read(b"large").unwrap();
    assert!(read(*second.id()) == content);
    content[31_415_926] ^= 1;
    assert!(read(*first.id()) == content);
}

#[test]
fn a_byte_changed_in_a_captured_directory_costs_a_chunk() {
    let scratch = scratch();
    let repository = open(scratch.path());
    let workspace = repository.workspace("main").unwrap();
    let directory = scratch.path().join("tree");
    fs::create_dir(&directory).unwrap();
    let options = CaptureOptions {
        ignore: Ignore::None,
        ..CaptureOptions::default()
    };
    // More than what capture keeps in memory until the checkpoint, so that some of it is stored at once.
    let contents: Vec<Vec<u8>> = (0..5).map(|i| noise(17_000_000 + i)).collect();
    for (i, content) in contents.iter().enumerate() {
        fs::write(directory.join(format!("large{i}")), &content[i..]).unwrap();
    }
    workspace.capture(&directory, &options).unwrap();
    workspace.checkpoint("large", Value::Null).unwrap();
    let before = stored(&repository);
    let mut cost_max = 0;
    for (i, content) in contents.iter().enumerate() {
        let mut changed = content[i..].to_vec();
        changed[9_000_000] ^= 1;
        fs::write(directory.join(format!("large{i}")), &changed).unwrap();
        cost_max += small(changed.len());
    }
    assert_eq!(workspace.capture(&directory, &options).unwrap().len(), 5);
    workspace.checkpoint("bytes", Value::Null).unwrap();
    let cost = stored(&repository) - before;
    assert!(cost < cost_max, "{cost}");
    assert!(in_workspace(&workspace) == on_disk(&directory));
}

#[test]
fn a_byte_changed_between_two_commits_costs_a_chunk() {
    let scratch = scratch();
    let repository = open(scratch.path());
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q", "-b", "main"]);
    let mut content = noise(9_000_000);
    let commit = |content: &[u8], message: &str| {
        fs::write(source.join("large"), content).unwrap();
        git(&source, &["add", "large"]);
        let author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        git(&source, &[&author[..], &["commit", "-q", "-m", message]].concat());
    };
    commit(&content, "one");
    repository.import_git(&source, "main", "one", History::Full).unwrap();
    let before = stored(&repository);
    content[5_000_000] ^= 1;
    commit(&content, "two");
    let workspace = repository.import_git(&source, "main", "two", History::Full).unwrap();
    let cost = stored(&repository) - before;
    assert!(cost < small(content.len()), "{cost}");
    assert!(workspace.read(b"large").unwrap() == content);
}
