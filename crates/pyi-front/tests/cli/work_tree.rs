//! Commands on work trees against git itself: generated repositories, generated commands; answers and what is on disk afterwards are compared.
//!
//! `PYI_GIT_SEED`, `PYI_GIT_REPOSITORIES` and `PYI_GIT_VECTORS` (commands in each) make it run others, and more. It prints for each command how many
//! ran, how many of them natively and with git's answer, and how many were git's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::{PYI, Place};
use crate::work_tree_words::{BRANCHES, LINES, MESSAGES, MOVING, NAMES, PATHS, READING, REVISIONS, RULES, WRITING};

/// A generator that gives the same numbers every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }
}

struct Scene<'p> {
    place: &'p Place,
    dice: Dice,
    clock: u64,
}

impl Scene<'_> {
    fn output(&self, program: &str, directory: &Path, words: &[String], only: bool) -> Output {
        let date = format!("{} +0100", self.clock);
        let mut command: Command = self.place.command(program);
        command.current_dir(directory).args(words).stdin(Stdio::null());
        command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        if only {
            command.env("PYI_GIT_NATIVE", "only");
        }
        command.output().unwrap()
    }

    /// Git in the project, whether it can or not.
    fn git(&self, words: &[&str]) -> Output {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        self.output("git", &self.place.path("project"), &words, false)
    }

    fn content(&mut self) -> Vec<u8> {
        match self.dice.roll(6) {
            0 => Vec::new(),
            1 => (0..self.dice.roll(200)).map(|_| self.dice.roll(256) as u8).collect(),
            _ => {
                let lines: Vec<&str> = (0..=self.dice.roll(40)).map(|_| self.dice.pick(LINES)).collect();
                let end = if self.dice.roll(4) > 0 { "\n" } else { "" };
                (lines.join("\n") + end).into_bytes()
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut waiting = vec![self.place.path("project")];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    if entry.file_name() != ".git" {
                        waiting.push(entry.path());
                    }
                } else {
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    /// Writes a file, whatever stands in the way.
    fn put(&self, name: &str, content: &[u8]) {
        let path = self.place.path("project").join(name);
        let mut above = self.place.path("project");
        for part in Path::new(name).parent().unwrap().components() {
            above.push(part);
            if fs::symlink_metadata(&above).is_ok_and(|found| !found.is_dir()) {
                fs::remove_file(&above).unwrap();
            }
        }
        fs::create_dir_all(&above).unwrap();
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        fs::write(path, content).unwrap();
    }

    /// Something happens to some files.
    fn mutate(&mut self, times: usize) {
        for _ in 0..times {
            let files = self.files();
            let some = (!files.is_empty()).then(|| files[self.dice.roll(files.len())].clone());
            let name = self.dice.pick(NAMES);
            let (Some(path), kind) = (some, self.dice.roll(12)) else {
                let content = self.content();
                self.put(name, &content);
                continue;
            };
            let is_link = path.is_symlink();
            match kind {
                3..=5 if !is_link => {
                    let mut content = fs::read(&path).unwrap();
                    let at = self.dice.roll(content.len() + 1);
                    content.splice(at..at, b"changed\n".iter().copied());
                    fs::write(&path, content).unwrap();
                }
                6 => fs::remove_file(&path).unwrap(),
                7 if !is_link => {
                    let mode = if fs::metadata(&path).unwrap().permissions().mode() & 0o100 == 0 {
                        0o755
                    } else {
                        0o644
                    };
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
                8 if !is_link => {
                    let content = fs::read(&path).unwrap();
                    fs::remove_file(&path).unwrap();
                    self.put(name, &content);
                }
                9 => {
                    fs::remove_file(&path).unwrap();
                    symlink(self.dice.pick(&["target", "a.txt", "../x"]), &path).unwrap();
                }
                10 => {
                    let rules = self.dice.pick(RULES);
                    let name = self.dice.pick(&[".gitignore", "src/.gitignore", "build/.gitignore"]);
                    self.put(name, rules.as_bytes());
                }
                11 => fs::create_dir_all(self.place.path("project/empty/inside")).unwrap(),
                _ => {
                    let content = self.content();
                    self.put(name, &content);
                }
            }
        }
    }

    /// Makes the project one of the repositories that there are.
    fn build(&mut self) {
        fs::remove_dir_all(self.place.path("project")).unwrap();
        fs::create_dir(self.place.path("project")).unwrap();
        let format = ["sha1", "sha1", "sha1", "sha1", "sha1", "sha256"][self.dice.roll(6)];
        self.git(&["init", "-q", "-b", "main", &format!("--object-format={format}"), "."]);
        if self.dice.roll(8) == 0 {
            self.git(&["config", "index.version", "4"]);
        }
        let commits = self.dice.roll(6);
        for number in 0..commits {
            let times = 1 + self.dice.roll(7);
            self.mutate(times);
            self.git(&["add", "-A"]);
            self.clock += [0, 1, 60, 4000][self.dice.roll(4)];
            let message = self.dice.pick(MESSAGES);
            self.git(&["commit", "-q", "--allow-empty", "-m", message]);
            match self.dice.roll(6) {
                0 => drop(self.git(&["tag", &format!("v{number}")])),
                1 => drop(self.git(&["tag", "-a", "-m", "A note", &format!("note{number}")])),
                2 => drop(self.git(&["branch", &format!("b{number}")])),
                3 if number > 0 => {
                    self.git(&["checkout", "-q", "-b", &format!("side{number}"), "HEAD~1"]);
                    self.put("side.txt", b"side\n");
                    self.git(&["add", "-f", "side.txt"]);
                    self.git(&["commit", "-q", "-m", "Side"]);
                    self.git(&["checkout", "-q", "-f", "main"]);
                    self.git(&["merge", "-q", "--no-edit", &format!("side{number}")]);
                }
                _ => {}
            }
        }
        match self.dice.roll(8) {
            0 => drop(self.git(&["gc", "-q"])),
            1 => drop(self.git(&["pack-refs", "--all"])),
            2 => drop(self.git(&["checkout", "-q", "--detach"])),
            3 | 4 if commits > 0 => {
                self.git(&["config", "remote.origin.url", "../origin"]);
                self.git(&["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]);
                self.git(&["config", "branch.main.remote", "origin"]);
                self.git(&["config", "branch.main.merge", "refs/heads/main"]);
                let at = self.dice.pick(&["HEAD", "HEAD~1", "b0"]);
                self.git(&["update-ref", "refs/remotes/origin/main", at]);
            }
            5 => fs::write(self.place.path("project/.git/info/exclude"), "*.c\nz/\n").unwrap(),
            6 => {
                let text = self
                    .dice
                    .pick(&["* text=auto\n", "*.py diff=python\n", "*.txt -text\n*.c binary\n"]);
                self.put(".gitattributes", text.as_bytes());
            }
            _ => {}
        }
        // In the middle of a merge everything is git's.
        if self.dice.roll(6) > 0 {
            self.git(&["reset", "-q", "--hard"]);
        }
        let times = self.dice.roll(6);
        self.mutate(times);
        if self.dice.roll(2) > 0 {
            let which = self.dice.pick(&["-A", "-u"]);
            self.git(&["add", which]);
            let times = self.dice.roll(5);
            self.mutate(times);
        }
    }

    fn words(&mut self, line: &str) -> Vec<String> {
        let project = self.place.path("project");
        let mut words = Vec::new();
        for word in line.split(' ') {
            words.push(match word {
                "R" => self.dice.pick(REVISIONS).to_owned(),
                "P" => self.dice.pick(PATHS).to_owned(),
                "B" => self.dice.pick(BRANCHES).to_owned(),
                "F" => {
                    let files = self.files();
                    let there: Vec<&str> = files
                        .iter()
                        .filter_map(|path| path.strip_prefix(&project).ok()?.to_str())
                        .collect();
                    let named: &[&str] = if there.is_empty() || self.dice.roll(4) == 0 {
                        NAMES
                    } else {
                        &there
                    };
                    self.dice.pick(named).to_owned()
                }
                "./P" => format!("./{}", self.dice.pick(PATHS)),
                "../P" => format!("../{}", self.dice.pick(PATHS)),
                ":!P" => format!(":!{}", self.dice.pick(PATHS)),
                "--source=R" => format!("--source={}", self.dice.pick(REVISIONS)),
                "R..R" => format!("{}..{}", self.dice.pick(REVISIONS), self.dice.pick(REVISIONS)),
                "R:a.txt" => format!("{}:a.txt", self.dice.pick(REVISIONS)),
                word => word.to_owned(),
            });
        }
        words
    }

    /// What stands in a repository after a command: all of its git directory but objects and the index, which git is asked about; all files and directories
    /// of the work tree.
    fn state(&self, project: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut state = BTreeMap::new();
        let asked_of = |words: &[&str]| -> Vec<u8> {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let output = self.output("git", project, &words, false);
            // What is dangling differs by when objects were made for nothing.
            let text = if words[0] == "fsck" { Vec::new() } else { output.stdout };
            [output.status.to_string().into_bytes(), text].concat()
        };
        // Files that git would have to read: before anything brings the index up to date.
        state.insert("diff-files".to_owned(), asked_of(&["diff-files", "-z"]));
        state.insert("work tree".to_owned(), listing(project));
        let mut waiting = vec![project.join(".git")];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    if name != "objects" && name != "hooks" {
                        waiting.push(path);
                    }
                } else if name != "index" {
                    let name = path.strip_prefix(project).unwrap().to_str().unwrap().to_owned();
                    state.insert(name, fs::read(path).unwrap());
                }
            }
        }
        for asked in [
            &["ls-files", "-s", "-t"][..],
            &["status", "--porcelain=v2", "-uall", "--ignored"],
            &["fsck", "--strict"],
        ] {
            state.insert(asked.join(" "), asked_of(asked));
        }
        state
    }
}

/// All files (kind, whether they can be run, content) and directories of a work tree.
fn listing(project: &Path) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut waiting = vec![project.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(project).unwrap().to_string_lossy().into_owned();
            let about = fs::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                if name != ".git" {
                    waiting.push(path);
                    lines.push(format!("{name}/"));
                }
            } else if about.is_symlink() {
                lines.push(format!("{name} -> {:?}", fs::read_link(&path).unwrap()));
            } else {
                let content = fs::read(&path).unwrap();
                lines.push(format!("{name} {:o} {content:?}", about.permissions().mode()));
            }
        }
    }
    lines.sort();
    lines.join("\n").into_bytes()
}

pub(crate) fn answer(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

pub(crate) fn is_handed_over(output: &Output) -> bool {
    output.status.code() == Some(3) && String::from_utf8_lossy(&output.stderr).contains("cannot run natively here")
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs generated commands; `part` makes tests that run side by side different.
fn compare(part: u64) {
    let (seed, each) = (number("PYI_GIT_SEED", 1) as u64, number("PYI_GIT_VECTORS", 25));
    let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut differences = Vec::new();
    for repository in 0..number("PYI_GIT_REPOSITORIES", 4) as u64 {
        let place = Place::new();
        let mut scene = Scene {
            place: &place,
            dice: Dice(0x9e37_79b9_7f4a_7c15 ^ (seed << 32 | part << 24 | (repository + 1))),
            clock: 1_700_000_000,
        };
        scene.build();
        let project = place.path("project");
        for _ in 0..each {
            scene.clock += 1;
            let (writes, lines) = match scene.dice.roll(6) {
                0 => (true, WRITING),
                1 | 2 => (true, MOVING),
                _ => (false, READING),
            };
            // Files change between commands.
            if scene.dice.roll(4) == 0 {
                let times = scene.dice.roll(3);
                scene.mutate(times);
            }
            let line = scene.dice.pick(lines);
            let words = scene.words(line);
            let count = counts.entry(words[0].clone()).or_default();
            count[0] += 1;
            // Each on a copy of its own, and git's is the one that goes on.
            let (ours, mine) = (place.path("ours/project"), writes);
            // How many files a checkout writes depends on it.
            let knows = !mine || words[0] == "checkout" || scene.dice.roll(4) > 0;
            if mine {
                fs::create_dir_all(place.path("ours")).unwrap();
                copy(&project, &ours);
                // The copy's files are others than its index knows: what git has to write down about them it would write itself.
                if knows {
                    for directory in [&ours, &project] {
                        let words = ["update-index", "-q", "--refresh"].map(str::to_owned);
                        scene.output("git", directory, &words, false);
                    }
                }
            }
            // Some of them below the top.
            let below = ["", "", "", "", "src", "docs", "src/lib"][scene.dice.roll(7)];
            let is_directory = |path: &str| fs::symlink_metadata(project.join(path)).is_ok_and(|found| found.is_dir());
            let is_there = below.split('/').next().is_some_and(&is_directory) && is_directory(below);
            let below = if is_there { below } else { "" };
            let said = scene.output(PYI, &if mine { &ours } else { &project }.join(below), &words, true);
            let theirs = scene.output("git", &project.join(below), &words, false);
            // With conflicts everything is git's.
            if !scene.git(&["ls-files", "-u"]).stdout.is_empty() {
                scene.git(&["reset", "-q", "--hard"]);
            }
            if is_handed_over(&said) {
                count[2] += 1;
                if std::env::var_os("PYI_GIT_WHY").is_some() {
                    let why = String::from_utf8_lossy(&said.stderr).into_owned();
                    let why = why.split(" cannot run natively here ").nth(1).unwrap_or("?").to_owned();
                    let ended = theirs.status.code().unwrap_or(-1);
                    println!("why {ended} {} {}", words.join(" "), why.lines().next().unwrap_or(""));
                }
                continue;
            }
            let mut different = answer(&said) != answer(&theirs);
            let mut states = (BTreeMap::new(), BTreeMap::new());
            if mine {
                states = (scene.state(&ours), scene.state(&project));
                states.0.retain(|name, value| states.1.get(name) != Some(value));
                // Of files of another revision the index knows nothing, and whether they look the same is chance.
                let is_foreign = words.iter().any(|word| word.starts_with("--source=") || word == "-s");
                if !knows || is_foreign {
                    states.0.remove("diff-files");
                }
                // Git may note the empty tree with the index, which nobody wrote.
                states
                    .0
                    .retain(|name, value| !(name.starts_with("fsck") && value == b"exit status: 0"));
                different |= !states.0.is_empty();
            }
            if different {
                if let Some(keep) = std::env::var_os("PYI_GIT_KEEP") {
                    let number = differences.len();
                    for (from, name) in [(&ours, "ours"), (&project, "git")] {
                        copy(from, &Path::new(&keep).join(format!("{part}-{number}-{name}")));
                    }
                }
                let (ours, git) = (answer(&said), answer(&theirs));
                let text = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                let mut told =
                    format!("repository {repository}, in {below:?}: {words:?}\n ours {ours:?}\n git  {git:?}");
                for (name, value) in &states.0 {
                    let (value, git) = (text(Some(value)), text(states.1.get(name)));
                    told += &format!("\n {name}:\n  ours {value:?}\n  git  {git:?}");
                }
                differences.push(told);
            } else {
                count[1] += 1;
            }
        }
    }
    let mut all = [0; 3];
    for (command, [ran, equal, git]) in &counts {
        println!("{command:14} ran {ran:5}  native and equal {equal:5}  git's {git:5}");
        all = [all[0] + ran, all[1] + equal, all[2] + git];
    }
    assert!(
        differences.is_empty(),
        "{} of {all:?}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(all[1] * 2 > all[0], "only {} of {} ran natively", all[1], all[0]);
}

#[test]
fn work_trees_are_to_us_what_they_are_to_git() {
    compare(1);
}

#[test]
fn other_work_trees_are_to_us_what_they_are_to_git() {
    compare(2);
}
