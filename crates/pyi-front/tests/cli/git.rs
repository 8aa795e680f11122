//! What is git's goes to git, as it stands; called as `git`, the program is git.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{PYI, Place, Said};

fn git_says(place: &Place, args: &[&str]) -> Said {
    place.run("git", args)
}

/// PATH with these directories before the usual ones.
fn path_with(directories: &[&Path]) -> std::ffi::OsString {
    let usual = std::env::var_os("PATH").unwrap();
    let all = directories
        .iter()
        .map(|path| path.to_path_buf())
        .chain(std::env::split_paths(&usual));
    std::env::join_paths(all).unwrap()
}

#[test]
fn git_commands_are_gits() {
    let place = Place::new();
    for args in [
        &["log", "--oneline", "-1"][..],
        &["status", "--porcelain=v2", "--branch"],
        &["-C", "src", "rev-parse", "--show-prefix"],
        &["-c", "core.abbrev=9", "log", "--oneline"],
        &["--no-pager", "log", "--format=%H"],
        &["rev-parse", "--verify", "nothing"],
        &["diff", "--exit-code", "HEAD"],
        &["log", "--no-such-option"],
        &["frobnicate"],
        &["--no-such-global"],
        &["version"],
        &["-C", "src", "-C", "..", "ls-files"],
        &["-c", "a.b=c", "fork", "x"],
    ] {
        let (ours, theirs) = (place.pyi(args), git_says(&place, args));
        assert_eq!(
            (ours.status, ours.text(), ours.err),
            (theirs.status, theirs.text(), theirs.err),
            "{args:?}"
        );
    }
}

#[test]
fn arguments_that_are_not_utf8_arrive() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"caf\xe9.txt");
    fs::write(place.path("project").join(name), "x").unwrap();
    for program in [PYI, "git"] {
        let said = place
            .command(program)
            .args(["hash-object", "--"])
            .arg(name)
            .output()
            .unwrap();
        assert!(said.status.success());
        assert_eq!(said.stdout.len(), 41, "{program}");
    }
    let (ours, theirs) = (
        place.command(PYI).arg(name).output().unwrap(),
        place.command("git").arg(name).output().unwrap(),
    );
    assert_eq!((ours.status.code(), ours.stderr), (theirs.status.code(), theirs.stderr));
}

#[test]
fn standard_input_is_handed_over() {
    let place = Place::new();
    place.write("input", "content\n");
    let input = fs::File::open(place.path("input")).unwrap();
    let said = place
        .command(PYI)
        .args(["hash-object", "--stdin"])
        .stdin(input)
        .output()
        .unwrap();
    assert_eq!(said.stdout, b"d95f3ad14dee633a758d2e331151e950dd13e4ed\n");
}

#[test]
fn called_as_git_only_git_exists() {
    let place = Place::new();
    let shim = place.path("shim");
    fs::create_dir(&shim).unwrap();
    symlink(PYI, shim.join("git")).unwrap();
    let path = path_with(&[&shim]);
    for args in [
        &["log", "--oneline"][..],
        &["stats"],
        &["--version"],
        &["import"],
        &["help", "-g"],
        &[],
    ] {
        let ours = Said::of(
            place
                .command(shim.join("git"))
                .env("PATH", &path)
                .args(args)
                .output()
                .unwrap(),
        );
        let theirs = git_says(&place, args);
        assert_eq!(
            (ours.status, ours.text(), ours.err),
            (theirs.status, theirs.text(), theirs.err),
            "{args:?}"
        );
    }
    // By its name on PATH, and `pyi` beside a `git` that is itself.
    for program in ["git", PYI] {
        let said = Said::of(
            place
                .command("env")
                .arg(program)
                .env("PATH", &path)
                .args(["rev-parse", "HEAD"])
                .output()
                .unwrap(),
        );
        assert_eq!(said.text(), place.git(&["rev-parse", "HEAD"]));
    }
}

#[test]
fn copies_of_ourselves_do_not_go_round_in_circles() {
    let place = Place::new();
    let directories: Vec<_> = ["one", "two"].iter().map(|name| place.path(name)).collect();
    for directory in &directories {
        fs::create_dir(directory).unwrap();
        fs::copy(PYI, directory.join("git")).unwrap();
    }
    let borrowed: Vec<&Path> = directories.iter().map(|directory| directory.as_path()).collect();
    let mut first = place.command(directories[0].join("git"));
    first.env("PATH", path_with(&borrowed)).args(["rev-parse", "HEAD"]);
    let said = Said::of(first.output().unwrap());
    assert_eq!(said.text(), place.git(&["rev-parse", "HEAD"]), "{said:?}");
    // No other git than these two.
    let only = std::env::join_paths(&directories).unwrap();
    for directory in &directories {
        let said = Said::of(
            place
                .command(directory.join("git"))
                .env("PATH", &only)
                .arg("describe")
                .output()
                .unwrap(),
        );
        said.fails(3, "no git on PATH");
    }
}

#[test]
fn without_git_the_remedy_is_named() {
    let place = Place::new();
    let said = Said::of(
        place
            .command(PYI)
            .env("PATH", "/nonexistent")
            .arg("describe")
            .output()
            .unwrap(),
    );
    said.fails(3, "install git");
}

#[test]
fn git_starts_with_the_default_for_a_broken_pipe() {
    let place = Place::new();
    let script = format!("'{PYI}' log --format=%H%n%H -p | head -n 0; echo ${{PIPESTATUS[0]}} >&2");
    let said = Said::of(place.command("bash").args(["-c", &script]).output().unwrap());
    assert!(matches!(said.err.trim(), "0" | "141"), "{said:?}");
    let script = format!("'{PYI}' -c alias.mask='!grep SigIgn /proc/self/status' mask");
    let ours = Said::of(place.command("bash").args(["-c", &script]).output().unwrap()).text();
    let theirs = place
        .command("bash")
        .args(["-c", "git -c alias.mask='!grep SigIgn /proc/self/status' mask"])
        .output();
    assert_eq!(ours, Said::of(theirs.unwrap()).text());
}
