//! Each of git's 127 commands beside git itself: lines that are right, wrong options, abbreviations, too many and too few words, other directories.
//!
//! The lines are in `every_command.txt`; options come from the tables of the parser. `PYI_GIT_LINES` (of each command and repository),
//! `PYI_GIT_REPOSITORIES` and `PYI_GIT_SEED` make it run more, and others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use crate::beside::{Beside, Tally};
use crate::common::Place;
use crate::scene::Scene;
use crate::work_tree::number;

const LINES: &str = include_str!("every_command.txt");
const OPTIONS: &str = include_str!("../../../pyi-git/src/argv/options.txt");
/// Options that write elsewhere, go to the background or tell the time.
const NOT_TRIED: &[&str] = &["system", "detach", "daemonize", "thread", "suffix", "schedule"];
const NATIVE: &[&str] = &[
    "add",
    "branch",
    "cat-file",
    "checkout",
    "clean",
    "commit",
    "config",
    "diff",
    "for-each-ref",
    "hash-object",
    "log",
    "ls-files",
    "ls-tree",
    "merge-base",
    "mv",
    "reflog",
    "reset",
    "restore",
    "rev-list",
    "rev-parse",
    "rm",
    "show",
    "show-ref",
    "stash",
    "status",
    "switch",
    "symbolic-ref",
    "tag",
];
const WRONG: &[&str] = &[
    "--no-such-option",
    "-@",
    "--no-such=3",
    "-%x",
    "--no-no-such",
    "---",
    "--=",
    "--a",
    "-Z9",
];
const VALUES: &[&str] = &["x", "1", "HEAD", "src", "../x", "", "0", "a.txt"];
const GLOBALS: &[&str] = &[
    "-C src",
    "-C .",
    "-C nowhere",
    "-C project",
    "-c core.abbrev=5",
    "-c color.ui=always",
    "-c core.quotepath=off",
    "-c bad",
    "-c alias.x=y",
    "-c status.short=true",
    "-c diff.renames=false",
    "--no-pager",
    "--no-optional-locks",
    "--git-dir=.git",
    "--git-dir=.git --work-tree=.",
    "--work-tree=src",
    "--literal-pathspecs",
    "--glob-pathspecs",
    "--icase-pathspecs",
    "--no-replace-objects",
    "--bare",
    "--namespace=x",
    "--no-such-global",
    "-p",
    "--attr-source=HEAD",
    "--config-env=a.b=HOME",
];
const ODD: &[&[u8]] = &[
    b"",
    b"-",
    b"--",
    b"HEAD:",
    b":",
    b"@{-1}",
    b"*",
    b":(top)a.txt",
    b":(icase)README.MD",
    b":(exclude)a.txt",
    b":!src",
    b":/",
    b":^",
    b":(bad)x",
    b"\xff",
    b"a\nb",
    b"..",
    b"../outside",
    b"/nowhere/at/all",
    b"./src/../a.txt",
    b"src//app.py",
    b"src/.",
    b".git/config",
    b"a.txt/",
    b"[a-z].txt",
    b"\\*",
    b"HEAD^{/x",
    b"HEAD@{yesterday}",
    b"HEAD...",
    b"..HEAD",
    b"--end-of-options",
    b"refs/heads/main",
    b"0000000",
];

/// A command of `every_command.txt`.
struct Command {
    name: &'static str,
    /// Only what stands there, and what git refuses.
    is_shy: bool,
    lines: Vec<&'static str>,
}

fn commands() -> Vec<Command> {
    let read = |line: &'static str| {
        let (name, lines) = line.split_once(':').unwrap();
        Command {
            name: name.trim_end_matches('!'),
            is_shy: name.ends_with('!'),
            lines: match lines.trim() {
                "" => Vec::new(),
                _ => lines.split(" | ").map(str::trim).collect(),
            },
        }
    };
    LINES.lines().filter(|line| !line.starts_with('#')).map(read).collect()
}

/// What is right, or looks right, of the commands that run natively at all.
pub(crate) fn lines_of_native_commands() -> Vec<String> {
    let lines = |command: &Command| -> Vec<String> {
        let line = |line: &&str| format!("{} {line}", command.name).trim_end().to_owned();
        command.lines.iter().map(line).collect()
    };
    let native = |command: &&Command| NATIVE.contains(&command.name);
    commands().iter().filter(native).flat_map(lines).collect()
}

/// An option: how it is written, and what stands behind it.
type Known = (&'static str, &'static str);

fn options() -> BTreeMap<&'static str, Vec<Known>> {
    let mut sections: BTreeMap<&str, Vec<Known>> = BTreeMap::new();
    let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut section = "";
    for line in OPTIONS.lines() {
        if let Some(head) = line.strip_prefix('@') {
            let mut words = head.split(' ');
            section = words.next().unwrap();
            parts.insert(section, words.filter(|word| word.starts_with('+')).collect());
            sections.entry(section).or_default();
        } else if !section.is_empty() {
            let words: Vec<&str> = line.split(' ').collect();
            let long = words[0];
            if long.len() > 1 && !NOT_TRIED.contains(&long) {
                sections.entry(section).or_default().push((long, words[2]));
            }
        }
    }
    let shared = sections.clone();
    for (name, own) in &mut sections {
        for part in &parts[name] {
            own.extend(shared.get(part).into_iter().flatten());
        }
    }
    sections
}

/// Some option of a command, sometimes not written out, sometimes with what does not belong there.
fn option(scene: &mut Scene<'_>, known: &[Known]) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    let (long, kind) = known[scene.dice.roll(known.len())];
    let mut long = long.to_owned();
    if kind.contains('!') && scene.dice.roll(5) == 0 {
        long.insert_str(0, "no-");
    }
    if scene.dice.roll(3) == 0 {
        long.truncate(2 + scene.dice.roll(long.len() - 1));
    }
    let takes_value = kind.contains('=') || (kind.contains('?') && scene.dice.roll(2) == 0);
    Some(match takes_value ^ (scene.dice.roll(10) == 0) {
        true => format!("--{long}={}", scene.dice.pick(VALUES)),
        false => format!("--{long}"),
    })
}

/// Words, and the directory that they are given in.
fn line(scene: &mut Scene<'_>, command: &Command, known: &[Known]) -> (Vec<OsString>, String) {
    let mut kind = scene.dice.roll(20);
    if command.is_shy && (kind > 10 || command.lines.is_empty()) {
        kind = 11 + scene.dice.roll(2);
    }
    let mut words = vec![OsString::from(command.name)];
    let text = match command.lines.is_empty() {
        true => "",
        false => command.lines[scene.dice.roll(command.lines.len())],
    };
    let is_bare = matches!(kind, 11 | 16) || (kind == 12 && command.is_shy);
    if !is_bare && !text.is_empty() {
        words.extend(scene.words(text));
    }
    match kind {
        11 => words.push("-h".into()),
        12 => words.insert(1, scene.dice.pick(WRONG).into()),
        13 | 14 => {
            for _ in 0..1 + scene.dice.roll(2) {
                words.splice(1..1, option(scene, known).map(OsString::from));
            }
        }
        15 if scene.dice.roll(2) == 0 && words.len() > 1 => drop(words.pop()),
        15 => words.extend(["extra".into(), scene.dice.pick(&["words", "-x", "--", "HEAD"]).into()]),
        19 => {
            let odd = ODD[scene.dice.roll(ODD.len())].to_vec();
            let at = 1 + scene.dice.roll(words.len());
            words.insert(at, OsString::from_vec(odd));
        }
        _ => {}
    }
    if kind == 18 || (command.is_shy && scene.dice.roll(4) == 0) {
        let globals = scene.dice.pick(GLOBALS).split(' ').map(OsString::from);
        words.splice(0..0, globals);
    }
    let directories = scene.directories.clone();
    let directory = match kind == 17 || (command.is_shy && scene.dice.roll(3) == 0) {
        true => "outside".to_owned(),
        false => scene.dice.pick(&directories).to_owned(),
    };
    (words, directory)
}

/// What the lines name beside the repository.
fn furnish(scene: &Scene<'_>) {
    let world = scene.world();
    let patch = scene.git(&["format-patch", "-1", "--stdout"]).stdout;
    fs::write(world.join("fix.patch"), patch).unwrap();
    fs::write(world.join("message"), "A message\n\nof some lines\n").unwrap();
    scene.git(&["bundle", "create", "-q", "../all.bundle", "--all"]);
    if !world.join("origin").exists() {
        scene.git(&["clone", "-q", "--bare", ".", "../origin"]);
    }
    scene.git(&["format-patch", "-q", "-2", "-o", "../patches"]);
    if let Ok(patches) = fs::read_dir(world.join("patches")) {
        let mut names: Vec<_> = patches
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        fs::write(world.join("patches/series"), names.join("\n") + "\n").unwrap();
    }
}

/// Runs lines of every second command.
fn compare(part: usize) {
    let (seed, lines) = (number("PYI_GIT_SEED", 1) as u64, number("PYI_GIT_LINES", 1));
    let (commands, options) = (commands(), options());
    assert_eq!(commands.len(), 127);
    let mut tally = Tally::default();
    for repository in 0..number("PYI_GIT_REPOSITORIES", 2) as u64 {
        if number("PYI_GIT_REPOSITORY", repository as usize) as u64 != repository {
            continue;
        }
        let place = Place::new();
        let mut scene = Scene::new(&place, seed << 32 | (part as u64 + 8) << 24 | (repository + 1));
        scene.build();
        furnish(&scene);
        let mut beside = Beside::new(&scene);
        for command in commands.iter().skip(part).step_by(2) {
            let known = options.get(command.name).map_or(&[][..], Vec::as_slice);
            for _ in 0..lines {
                scene.clock += 1;
                let (words, directory) = line(&mut scene, command, known);
                let mut at = scene.world().join(&directory);
                if !at.is_dir() {
                    at = scene.project();
                }
                let is_fresh = scene.dice.roll(8) > 0;
                let compared = beside.run(&scene, &at, &words, false, is_fresh);
                let told = format!("{words:?} in {directory}, repository {repository} of seed {seed}, part {part}");
                tally.count(&scene, command.name, &told, &compared);
                beside.rewind(&scene);
            }
        }
    }
    tally.finish("every command");
}

#[test]
fn every_command_is_to_us_what_it_is_to_git() {
    compare(0);
}

#[test]
fn every_other_command_is_to_us_what_it_is_to_git() {
    compare(1);
}
