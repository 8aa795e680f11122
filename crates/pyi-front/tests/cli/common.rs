//! A fresh place with a git repository, and the real `pyi` in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The program under test.
pub(crate) const PYI: &str = env!("CARGO_BIN_EXE_pyi");

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let err = String::from_utf8(output.stderr).unwrap();
        Said {
            status: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err,
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 0, "{}", self.err);
        serde_json::from_slice(&self.out).unwrap()
    }

    /// Asserts a status and one line on stderr that contains `part` and a remedy.
    pub(crate) fn fails(&self, status: i32, part: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.err.starts_with("error: ") && self.err.ends_with('\n'), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.contains(part), "{part:?} is not in {self:?}");
        assert!(self.err.contains("; "), "no remedy in {self:?}");
    }
}

/// A temporary directory with `project`, a git repository of one commit.
pub(crate) struct Place {
    pub(crate) top: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Place {
            top: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(place.path("home")).unwrap();
        fs::create_dir_all(place.path("project/src")).unwrap();
        place.write("project/README.md", "# Project\n\nOne.\nTwo.\nThree.\n");
        place.write("project/src/app.py", "def add(a, b):\n    return a - b\n");
        place.write("project/.gitignore", "*.log\n");
        place.git(&["init", "-q", "-b", "main", "."]);
        place.git(&["add", "-A"]);
        place.git(&["commit", "-q", "-m", "First"]);
        place
    }

    /// As [`Place::new`], with the project imported.
    pub(crate) fn imported() -> Self {
        let place = Place::new();
        place.ok(&["import"]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A command in `project` whose environment is that of nobody in particular.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("GIT_") || text.starts_with("PYI_") || text.starts_with("XDG_") {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(self.path("project"))
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Ann")
            .env("GIT_AUTHOR_EMAIL", "ann@example.org")
            .env("GIT_COMMITTER_NAME", "Ann")
            .env("GIT_COMMITTER_EMAIL", "ann@example.org")
            .env("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z")
            .env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Said {
        Said::of(self.command(program).args(args).output().unwrap())
    }

    pub(crate) fn pyi(&self, args: &[&str]) -> Said {
        self.run(PYI, args)
    }

    /// Runs `pyi` and asserts that it succeeds in silence on stderr.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.pyi(args);
        assert!(said.status == 0 && said.err.is_empty(), "{args:?}: {said:?}");
        said.text()
    }

    /// Gives the repository what a stream of `git fast-import` says.
    pub(crate) fn fast_import(&self, stream: &str) {
        let mut import = self
            .command("git")
            .args(["fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(import.wait().unwrap().success());
    }

    /// Runs `pyi` where it may not hand over to git.
    pub(crate) fn only(&self, args: &[impl AsRef<OsStr>]) -> Output {
        self.command(PYI)
            .env("PYI_GIT_NATIVE", "only")
            .args(args)
            .output()
            .unwrap()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let said = self.run("git", args);
        assert_eq!(said.status, 0, "{args:?}: {said:?}");
        said.text()
    }

    /// The id of a revision.
    pub(crate) fn id(&self, revision: &str) -> String {
        let log = self.pyi(&["checkpoints", revision, "-n", "1", "--json"]).json();
        log[0]["id"].as_str().unwrap().to_owned()
    }

    /// Output without what differs from run to run: ids, times, the temporary directory.
    pub(crate) fn normal(&self, text: &str) -> String {
        let top = fs::canonicalize(self.top.path()).unwrap();
        let text = text
            .replace(top.to_str().unwrap(), "<top>")
            .replace(self.top.path().to_str().unwrap(), "<top>");
        let mut out = String::new();
        let mut word = String::new();
        for character in text.chars().chain(['\0']) {
            if character.is_ascii_alphanumeric() || matches!(character, '-' | ':' | '.' | '_') {
                word.push(character);
                continue;
            }
            out.push_str(&normal_word(&word));
            word.clear();
            if character != '\0' {
                out.push(character);
            }
        }
        out
    }
}

fn normal_word(word: &str) -> String {
    let bare = word.trim_end_matches([':', '.']);
    let tail = &word[bare.len()..];
    let hex = |length: usize| bare.len() == length && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_time = bare.len() >= 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T' && bare.starts_with("20");
    match () {
        () if hex(12) => format!("<id>{tail}"),
        () if hex(40) => format!("<commit>{tail}"),
        () if hex(64) => format!("<full-id>{tail}"),
        () if is_time => format!("<time>{tail}"),
        () => word.to_owned(),
    }
}

/// Compares with `tests/snapshots/NAME`; with PYI_UPDATE_SNAPSHOTS=1 writes it.
pub(crate) fn snapshot(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("PYI_UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        text == expected,
        "{} differs (PYI_UPDATE_SNAPSHOTS=1 rewrites it)\n--- expected\n{expected}\n--- found\n{text}",
        file.display()
    );
}

/// The same words to both, in the project: status, output and complaint are the same.
pub(crate) fn same(place: &Place, words: &[&str]) {
    let (ours, theirs) = (place.pyi(words), place.run("git", words));
    assert_eq!(
        (ours.status, ours.out, ours.err),
        (theirs.status, theirs.out, theirs.err),
        "{words:?}"
    );
}
