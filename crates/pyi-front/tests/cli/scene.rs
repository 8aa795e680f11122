//! Made-up repositories in the middle of work, and the words of commands in them. The same dice give the same scene.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::Place;
use crate::work_tree_words::{BRANCHES, LINES, MESSAGES, NAMES, ODD_NAMES, PATHS, REVISIONS, RULES};

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

/// A directory `world` in which there is `project`, a repository, and what belongs to it: a home directory, sometimes others beside it.
pub(crate) struct Scene<'p> {
    pub(crate) place: &'p Place,
    pub(crate) dice: Dice,
    /// The time of the next command, in seconds since 1970.
    pub(crate) clock: u64,
    /// What is special about the repository.
    pub(crate) kinds: Vec<&'static str>,
    /// Where commands run, from the world's top.
    pub(crate) directories: Vec<&'static str>,
    names_are_odd: bool,
}

impl<'p> Scene<'p> {
    /// An empty world.
    pub(crate) fn new(place: &'p Place, seed: u64) -> Self {
        for directory in ["world/project", "world/home", "world/outside"] {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        Scene {
            place,
            dice: Dice(0x9e37_79b9_7f4a_7c15 ^ seed),
            clock: 1_700_000_000,
            kinds: Vec::new(),
            directories: vec!["project"],
            names_are_odd: false,
        }
    }

    pub(crate) fn world(&self) -> PathBuf {
        self.place.path("world")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.place.path("world/project")
    }

    /// A program in a directory of the world, at the time that it is there.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>, directory: &Path) -> Command {
        let date = format!("{} +0100", self.clock);
        let mut command = self.place.command(program);
        command.current_dir(directory).stdin(Stdio::null());
        command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        command.env("HOME", self.place.path("world/home"));
        // Nobody is there to type, and the system's settings are nobody's to change.
        command.env("GIT_CONFIG_SYSTEM", self.place.path("world/home/system"));
        command
            .env("GIT_EDITOR", "true")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("TERM", "dumb");
        command.env("BROWSER", "true").env("FILTER_BRANCH_SQUELCH_WARNING", "1");
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command
    }

    pub(crate) fn git_in(&self, directory: &str, words: &[&str]) -> Output {
        let mut command = self.program("git", &self.world().join(directory));
        command.args(words).output().unwrap()
    }

    /// Git in the project, whether it can or not.
    pub(crate) fn git(&self, words: &[&str]) -> Output {
        self.git_in("project", words)
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

    /// The files of the work tree.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut waiting = vec![self.project()];
        while let Some(directory) = waiting.pop() {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    if entry.file_name() != ".git" {
                        waiting.push(entry.path());
                    }
                } else if entry.file_name() != ".git" {
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    /// Writes a file, whatever stands in the way.
    pub(crate) fn put(&self, name: &[u8], content: &[u8]) {
        let name = Path::new(OsStr::from_bytes(name));
        let path = self.project().join(name);
        let mut above = self.project();
        for part in name.parent().unwrap().components() {
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

    /// The name of a file that may be there.
    fn name(&mut self) -> &'static [u8] {
        match self.names_are_odd && self.dice.roll(2) == 0 {
            true => ODD_NAMES[self.dice.roll(ODD_NAMES.len())],
            false => self.dice.pick(NAMES).as_bytes(),
        }
    }

    /// Something happens to some files.
    pub(crate) fn mutate(&mut self, times: usize) {
        for _ in 0..times {
            let files = self.files();
            let some = (!files.is_empty()).then(|| files[self.dice.roll(files.len())].clone());
            let name = self.name();
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
                    self.put(name.as_bytes(), rules.as_bytes());
                }
                11 => fs::create_dir_all(self.project().join("empty/inside")).unwrap(),
                _ => {
                    let content = self.content();
                    self.put(name, &content);
                }
            }
        }
    }

    /// Makes the project one of the repositories that there are.
    pub(crate) fn build(&mut self) {
        let format = ["sha1", "sha1", "sha1", "sha1", "sha1", "sha256"][self.dice.roll(6)];
        self.git(&["init", "-q", "-b", "main", &format!("--object-format={format}"), "."]);
        self.kinds.push(format);
        if self.dice.roll(8) == 0 {
            self.git(&["config", "index.version", "4"]);
            self.kinds.push("index-v4");
        }
        self.names_are_odd = self.dice.roll(4) == 0;
        if self.names_are_odd {
            self.kinds.push("odd-names");
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
                    self.put(b"side.txt", b"side\n");
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
            5 => fs::write(self.project().join(".git/info/exclude"), "*.c\nz/\n").unwrap(),
            6 => {
                let text = self
                    .dice
                    .pick(&["* text=auto\n", "*.py diff=python\n", "*.txt -text\n*.c binary\n"]);
                self.put(b".gitattributes", text.as_bytes());
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
        self.vary();
        // What a template brings says nothing.
        let _ = fs::remove_dir_all(self.project().join(".git/hooks"));
    }

    /// The words of a line in which letters stand for what there may be, or the same letters in braces within a word.
    pub(crate) fn words(&mut self, line: &str) -> Vec<OsString> {
        let mut words = Vec::new();
        for word in line.split(' ') {
            let mut made = Vec::new();
            let mut rest = match word {
                "R" | "P" | "B" | "F" => format!("{{{word}}}"),
                "--source=R" => "--source={R}".to_owned(),
                "./P" => "./{P}".to_owned(),
                "../P" => "../{P}".to_owned(),
                ":!P" => ":!{P}".to_owned(),
                "R..R" => "{R}..{R}".to_owned(),
                "R:a.txt" => "{R}:a.txt".to_owned(),
                word => word.to_owned(),
            };
            while let Some(at) = rest.find('{') {
                made.extend_from_slice(&rest.as_bytes()[..at]);
                let named = match rest.as_bytes().get(at + 1..at + 3) {
                    Some([letter, b'}']) => self.named(*letter),
                    _ => None,
                };
                let length = if named.is_some() { 3 } else { 1 };
                made.extend_from_slice(named.as_deref().unwrap_or(b"{"));
                rest.drain(..at + length);
            }
            made.extend_from_slice(rest.as_bytes());
            words.push(OsString::from_vec(made));
        }
        words
    }

    fn one_of(&mut self, text: &str, otherwise: &str) -> Vec<u8> {
        let all: Vec<&str> = text.lines().collect();
        match all.is_empty() {
            true => otherwise.into(),
            false => all[self.dice.roll(all.len())].into(),
        }
    }

    /// What a letter stands for.
    fn named(&mut self, letter: u8) -> Option<Vec<u8>> {
        let lines = |output: Output| String::from_utf8_lossy(&output.stdout).into_owned();
        Some(match letter {
            b'R' => self.dice.pick(REVISIONS).as_bytes().to_vec(),
            b'P' => self.dice.pick(PATHS).as_bytes().to_vec(),
            b'B' => self.dice.pick(BRANCHES).as_bytes().to_vec(),
            b'F' => {
                let (files, project) = (self.files(), self.project());
                if files.is_empty() || self.dice.roll(4) == 0 {
                    return Some(self.name().to_vec());
                }
                let path = &files[self.dice.roll(files.len())];
                path.strip_prefix(&project).ok()?.as_os_str().as_bytes().to_vec()
            }
            // An object, in full.
            b'O' => {
                let listed = ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"];
                self.one_of(&lines(self.git(&listed)), &"0".repeat(40))
            }
            b'T' => self.one_of(&lines(self.git(&["tag"])), "v0"),
            // The index of a pack.
            b'K' => {
                let packs = fs::read_dir(self.project().join(".git/objects/pack")).ok()?;
                let mut packs: Vec<String> = packs
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .filter(|name| name.ends_with(".idx"))
                    .collect();
                packs.sort();
                [b".git/objects/pack/", &self.one_of(&packs.join("\n"), "none.idx")[..]].concat()
            }
            _ => return None,
        })
    }
}

/// All files of a directory and below, by their paths from there: kind and mode, then the content. Not what git's own template brings.
pub(crate) fn snapshot(top: &Path) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let mut name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
            let Ok(about) = fs::symlink_metadata(&path) else {
                continue;
            };
            let what = if about.is_dir() {
                waiting.push(path);
                name.push(b'/');
                Vec::new()
            } else if about.is_symlink() {
                [b"-> ", fs::read_link(&path).unwrap().as_os_str().as_bytes()].concat()
            } else if name.ends_with(b".sample") {
                continue;
            } else {
                let mode = format!("{:o} ", about.permissions().mode());
                [mode.as_bytes(), &fs::read(&path).unwrap_or_default()].concat()
            };
            found.insert(name, what);
        }
    }
    found
}
