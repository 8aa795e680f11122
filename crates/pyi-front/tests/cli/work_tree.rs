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

const NAMES: &[&str] = &[
    "a.txt",
    "b.txt",
    "README.md",
    "src/app.py",
    "src/lib/util.py",
    "src/lib/deep/x.c",
    "docs/guide.md",
    "docs/a b.txt",
    "ä.txt",
    "src/q\"uote",
    "x.log",
    "build/out.o",
    "build/keep.txt",
    "tab\tname",
    "src-a",
    "src.b",
    "z/z/z",
];
const RULES: &[&str] = &[
    "*.log\n",
    "build/\n!keep.txt\n",
    "*.o\n/docs\n",
    "lib/\n",
    "*\n!a.txt\n",
    "**/deep\n",
];
const LINES: &[&str] = &[
    "def f(x):",
    "    return x",
    "",
    "# comment",
    "}",
    "int main(void) {",
    "alpha",
    "beta",
    "gamma",
];
const MESSAGES: &[&str] = &[
    "Fix it",
    "Subject\n\nBody\n\tindented\n",
    "One\ntwo\n\nthree",
    "ünïcode",
    "  spaced  out ",
];
const REVISIONS: &[&str] = &[
    "HEAD",
    "HEAD",
    "HEAD~1",
    "main",
    "v0",
    "v1",
    "note1",
    "b0",
    "b2",
    "HEAD^",
    "@",
    "HEAD~2",
    "origin/main",
];
const PATHS: &[&str] = &[
    "a.txt",
    "src",
    "src/",
    "README.md",
    "docs",
    "*.py",
    "nothing",
    ".",
    "src/lib",
    "*.txt",
    "build",
    "z",
];

/// `R` is a revision, `P` a path.
const READING: &[&str] = &[
    "status",
    "status --short",
    "status --porcelain",
    "status --porcelain=v2",
    "status --porcelain=v2 --branch",
    "status -sb",
    "status -z",
    "status --porcelain -z -uall",
    "status -uno",
    "status -uall",
    "status --short -- P",
    "status P",
    "diff",
    "diff",
    "diff --stat",
    "diff --cached",
    "diff --staged --stat",
    "diff HEAD",
    "diff --name-only",
    "diff --name-status HEAD",
    "diff -U0",
    "diff -U1 HEAD",
    "diff -- P",
    "diff --cached P",
    "diff R R",
    "diff R",
    "diff R..R",
    "diff --numstat",
    "diff --shortstat HEAD",
    "diff --summary --cached",
    "diff --quiet",
    "diff --exit-code --name-only",
    "diff R R -- P",
    "diff --no-renames R",
    "diff -M --name-status R",
    "diff --name-only --cached -z",
    "log",
    "log -1",
    "log --oneline -5",
    "log -n 2",
    "log -2 --stat",
    "log -p -1",
    "log --oneline --decorate",
    "log --format=%H",
    "log --format=%h|%an|%ad|%s --date=short -4",
    "log --format=%B -1",
    "log --oneline -- P",
    "log R",
    "log R..R --oneline",
    "log --oneline --all",
    "log --reverse --oneline",
    "log --no-merges --oneline",
    "log --name-status -2",
    "log --pretty=fuller -1",
    "log -p -2 -- P",
    "log --shortstat -2",
    "show",
    "show --stat",
    "show R",
    "show --name-only R",
    "show R:a.txt",
    "show --oneline R",
    "show -s R",
    "show HEAD^{tree}",
    "ls-files",
    "ls-files -s",
    "ls-files -m",
    "ls-files -d",
    "ls-files -o --exclude-standard",
    "ls-files -o",
    "ls-files P",
    "ls-files -z",
    "ls-files --error-unmatch P",
    "branch",
    "branch --show-current",
    "branch -a",
    "branch -v",
    "branch --list b*",
    "tag",
    "tag -l v*",
    "merge-base HEAD R",
    "merge-base R R",
    "merge-base --is-ancestor R R",
    "rev-list HEAD",
    "rev-list --count HEAD",
    "rev-list -n 1 R",
    "rev-list R..R",
    "rev-list --reverse HEAD -- P",
    "for-each-ref",
    "for-each-ref --format=%(refname:short)",
    "for-each-ref refs/heads --format=%(objectname)",
];
const WRITING: &[&str] = &[
    "add -A",
    "add .",
    "add P",
    "add -u",
    "add P P",
    "add -f P",
    "add -n .",
    "add -v .",
    "commit -m msg",
    "commit -q -m msg",
    "commit -m one -m two",
    "commit -am all",
    "commit --allow-empty -m e",
    "commit --amend -m am",
    "commit --amend --no-edit",
    "commit -m x --author=C<c@d.e>",
    "branch new",
    "branch new R",
    "branch -D b0",
    "branch -f b0 R",
    "branch deep/x/y",
    "branch b0",
    "tag t1",
    "tag t2 R",
    "tag -a -m ann t3",
    "tag -d v0",
    "tag -f v0 R",
];

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
        let mut words = Vec::new();
        for word in line.split(' ') {
            words.push(match word {
                "R" => self.dice.pick(REVISIONS).to_owned(),
                "P" => self.dice.pick(PATHS).to_owned(),
                "R..R" => format!("{}..{}", self.dice.pick(REVISIONS), self.dice.pick(REVISIONS)),
                "R:a.txt" => format!("{}:a.txt", self.dice.pick(REVISIONS)),
                word => word.to_owned(),
            });
        }
        words
    }

    /// What stands in a repository after a command: all of its git directory but objects and the index, which git is asked about.
    fn state(&self, project: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut state = BTreeMap::new();
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
            let words: Vec<String> = asked.iter().map(|&word| word.to_owned()).collect();
            let output = self.output("git", project, &words, false);
            // What is dangling differs by when objects were made for nothing.
            let text = if asked[0] == "fsck" { Vec::new() } else { output.stdout };
            state.insert(asked.join(" "), [output.status.to_string().into_bytes(), text].concat());
        }
        state
    }
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
            let writes = scene.dice.roll(3) == 0;
            let line = scene.dice.pick(if writes { WRITING } else { READING });
            let words = scene.words(line);
            let count = counts.entry(words[0].clone()).or_default();
            count[0] += 1;
            // Each on a copy of its own, and git's is the one that goes on.
            let (ours, mine) = (place.path("ours/project"), writes);
            if mine {
                fs::create_dir_all(place.path("ours")).unwrap();
                copy(&project, &ours);
                // All files are others now: what git has to write down about them it would write itself.
                if scene.dice.roll(4) > 0 {
                    place.run(
                        "git",
                        &["-C", ours.to_str().unwrap(), "update-index", "-q", "--refresh"],
                    );
                }
            }
            let said = scene.output(PYI, if mine { &ours } else { &project }, &words, true);
            let theirs = scene.output("git", &project, &words, false);
            if is_handed_over(&said) {
                count[2] += 1;
                continue;
            }
            let mut different = answer(&said) != answer(&theirs);
            let mut states = (BTreeMap::new(), BTreeMap::new());
            if mine {
                states = (scene.state(&ours), scene.state(&project));
                states.0.retain(|name, value| states.1.get(name) != Some(value));
                different |= !states.0.is_empty();
            }
            if different {
                let (ours, git) = (answer(&said), answer(&theirs));
                differences.push(format!(
                    "repository {repository}: {words:?}\n ours {ours:?}\n git  {git:?}\n {:?}",
                    states.0
                ));
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
