//! One command run by `pyi` as `git`, and by git, in equal copies of one world: what they said, and what is on disk afterwards.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use crate::common::PYI;
use crate::scene::{Scene, snapshot};

/// A command that takes longer hangs.
const SECONDS_MAX: u64 = 20;

type State = BTreeMap<Vec<u8>, Vec<u8>>;
/// A file or answer that is not the same: its name, what it is here, and what git left.
type Unlike = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    status: Option<i32>,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// Both answers to one command.
pub(crate) struct Compared {
    /// Why git ran it, where it was not answered natively.
    pub(crate) handed_over: Option<String>,
    /// Git's exit status.
    pub(crate) status: Option<i32>,
    /// Whether git itself said and did the same each time.
    pub(crate) is_steady: bool,
    /// What differs, in words; empty if nothing does.
    pub(crate) differences: String,
}

/// Where one world is kept while commands change it.
pub(crate) struct Beside {
    kept: PathBuf,
    said: PathBuf,
    shims: PathBuf,
    log: PathBuf,
    kept_is: Option<State>,
}

impl Beside {
    pub(crate) fn new(scene: &Scene<'_>) -> Self {
        let path = |name: &str| scene.place.path(name);
        for directory in ["shims", "said", "state"] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        symlink(PYI, path("shims/git")).unwrap();
        Beside {
            kept: path("kept"),
            said: path("said"),
            shims: path("shims"),
            log: path("state/pyi/git-report.log"),
            kept_is: None,
        }
    }

    /// Runs a command on both sides; afterwards the world is as git left it. `writes` says that it probably changes something, `is_fresh` that the
    /// index knows the files of the copies.
    pub(crate) fn run(
        &mut self,
        scene: &Scene<'_>,
        directory: &Path,
        words: &[OsString],
        writes: bool,
        is_fresh: bool,
    ) -> Compared {
        let world = scene.world();
        let before = snapshot(&world);
        if self.kept_is.as_ref() != Some(&before) {
            copy(&world, &self.kept, true);
            self.kept_is = Some(before);
        }
        let before = self.kept_is.clone().unwrap_or_default();
        if !writes {
            let (ours, why) = self.ours(scene, directory, words);
            let is_same = snapshot(&world) == before;
            let theirs = is_same.then(|| self.theirs(scene, directory, words));
            if let Some(theirs) = theirs
                && snapshot(&world) == before
                && (why.is_none() || ours == theirs)
            {
                return compared(why, &ours, &theirs, &[]);
            }
        }
        let (mut ours, why, mut state) = self.ours_and_state(scene, directory, words, is_fresh);
        if let Some(keep) = std::env::var_os("PYI_GIT_KEEP") {
            copy(&world, &Path::new(&keep).join("ours"), true);
        }
        let is_native = why.is_none();
        let (mut theirs, mut after) = self.theirs_and_state(scene, directory, words, is_fresh, is_native);
        // Git itself is not the same each time where something is made by chance, or by two processes.
        let mut is_steady = true;
        for _ in 0..3 {
            if is_native || (ours == theirs && state == after) {
                break;
            }
            (ours, _, state) = self.ours_and_state(scene, directory, words, is_fresh);
            let again = self.theirs_and_state(scene, directory, words, is_fresh, is_native);
            is_steady &= again == (theirs, after);
            (theirs, after) = again;
        }
        if !is_steady {
            let compared = compared(why, &theirs, &theirs, &[]);
            return Compared { is_steady, ..compared };
        }
        let mut unlike: Vec<Unlike> = Vec::new();
        for name in state.keys().chain(after.keys()) {
            let (ours, theirs) = (state.get(name), after.get(name));
            if ours != theirs && !unlike.iter().any(|(other, _, _)| other == name) {
                unlike.push((name.clone(), ours.cloned(), theirs.cloned()));
            }
        }
        let compared = compared(why, &ours, &theirs, &unlike);
        if let Some(keep) = std::env::var_os("PYI_GIT_KEEP")
            && !compared.differences.is_empty()
        {
            let number = fs::read_dir(&keep).unwrap().count();
            fs::rename(
                Path::new(&keep).join("ours"),
                Path::new(&keep).join(format!("{number}-ours")),
            )
            .unwrap();
            copy(&world, &Path::new(&keep).join(format!("{number}-git")), true);
            copy(&self.kept, &Path::new(&keep).join(format!("{number}-before")), true);
        }
        compared
    }

    fn ours_and_state(
        &self,
        scene: &Scene<'_>,
        directory: &Path,
        words: &[OsString],
        is_fresh: bool,
    ) -> (Said, Option<String>, State) {
        self.restore(scene, is_fresh);
        let (said, why) = self.ours(scene, directory, words);
        let state = self.state(scene, why.is_none());
        (said, why, state)
    }

    fn theirs_and_state(
        &self,
        scene: &Scene<'_>,
        directory: &Path,
        words: &[OsString],
        is_fresh: bool,
        is_native: bool,
    ) -> (Said, State) {
        self.restore(scene, is_fresh);
        let said = self.theirs(scene, directory, words);
        (said, self.state(scene, is_native))
    }

    /// Brings the world back to what it was before the last command.
    pub(crate) fn rewind(&self, scene: &Scene<'_>) {
        if self.kept_is.as_ref() != Some(&snapshot(&scene.world())) {
            self.restore(scene, true);
        }
    }

    fn restore(&self, scene: &Scene<'_>, is_fresh: bool) {
        copy(&self.kept, &scene.world(), is_fresh);
        // The copy's files are others than its index knows: what git has to write down about them it would write itself.
        if is_fresh {
            let refresh = ["update-index", "-q", "--refresh"];
            for directory in ["project", "linked", "shallow"] {
                if scene.world().join(directory).is_dir() {
                    scene.git_in(directory, &refresh);
                }
            }
        }
    }

    fn ours(&self, scene: &Scene<'_>, directory: &Path, words: &[OsString]) -> (Said, Option<String>) {
        let _ = fs::remove_file(&self.log);
        let said = self.say(scene, &self.shims.join("git"), directory, words);
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut line = log.lines().next().unwrap_or("-\t-\tnot counted").split('\t').skip(1);
        let native = line.next() == Some("native");
        let why = (!native).then(|| line.next().unwrap_or_default().to_owned());
        (said, why)
    }

    fn theirs(&self, scene: &Scene<'_>, directory: &Path, words: &[OsString]) -> Said {
        self.say(scene, Path::new("git"), directory, words)
    }

    fn say(&self, scene: &Scene<'_>, program: &Path, directory: &Path, words: &[OsString]) -> Said {
        let (out, err) = (self.said.join("out"), self.said.join("err"));
        let mut command = scene.program(program, directory);
        command.args(words).env("XDG_STATE_HOME", scene.place.path("state"));
        if program.is_absolute() {
            let old = std::env::var_os("PATH").unwrap_or_default();
            let path = std::iter::once(self.shims.clone()).chain(std::env::split_paths(&old));
            command.env("PATH", std::env::join_paths(path).unwrap());
        }
        command
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        let mut child = command.process_group(0).spawn().unwrap();
        // Whoever takes too long is stopped by another thread.
        let (ended, waiting) = mpsc::channel::<()>();
        let group = -(child.id() as i32);
        let watch = std::thread::spawn(move || {
            if waiting.recv_timeout(Duration::from_secs(SECONDS_MAX)) == Err(RecvTimeoutError::Timeout) {
                // SAFETY: has no preconditions; the group was made for the child, which has not been waited for.
                unsafe { libc::kill(group, libc::SIGKILL) };
            }
        });
        let status = child.wait().unwrap();
        drop(ended);
        watch.join().unwrap();
        Said {
            status: status.code(),
            out: plain(&fs::read(out).unwrap()),
            err: plain(&fs::read(err).unwrap()),
        }
    }

    /// What stands in the world after a command. Git is asked about indexes, and objects are named only.
    fn state(&self, scene: &Scene<'_>, is_native: bool) -> State {
        let mut state = State::new();
        let ask = |words: &[&str]| {
            let output = scene.git(words);
            // What is dangling differs by when objects were made for nothing.
            let text = if words[0] == "fsck" { Vec::new() } else { output.stdout };
            [output.status.to_string().into_bytes(), text].concat()
        };
        // Files that git would have to read: before anything brings the index up to date.
        if is_native {
            state.insert(b"diff-files".to_vec(), ask(&["diff-files", "-z"]));
        }
        for (name, what) in snapshot(&scene.world()) {
            let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
            if has(b".git/objects/") || has(b"origin/objects/") || has(b".git/modules/") {
                continue;
            }
            match name.rsplit(|&byte| byte == b'/').next() {
                // Its version; the rest is asked for.
                Some(b"index") if has(b".git/") => drop(state.insert(name, what.get(..15).unwrap_or(&what).to_vec())),
                Some(last) if last.starts_with(b"sharedindex.") => {}
                _ => drop(state.insert(plain(&name), what)),
            }
        }
        state.insert(b"ls-files".to_vec(), ask(&["ls-files", "-s", "-v"]));
        if is_native {
            for words in [&["fsck", "--strict"][..], &["ls-files", "--resolve-undo"]] {
                state.insert(words.join(" ").into_bytes(), ask(words));
            }
        }
        state
    }
}

/// Text without names that are made by chance, and without how fast something was.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for mark in [&b".merge_file_"[..], b"fast-import: "] {
        let mut from = 0;
        while let Some(at) = text[from..].windows(mark.len()).position(|window| window == mark) {
            from += at + mark.len();
            let end = (from + 6).min(text.len());
            text[from..end].fill(b'X');
        }
    }
    text
}

fn compared(why: Option<String>, ours: &Said, theirs: &Said, unlike: &[Unlike]) -> Compared {
    let mut told = String::new();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.chars().take(1500).collect::<String>()
    };
    if ours != theirs {
        for (who, said) in [("ours", ours), ("git ", theirs)] {
            let _ = write!(
                told,
                "\n {who} {:?} {:?} {:?}",
                said.status,
                text(&said.out),
                text(&said.err)
            );
        }
    }
    for (name, ours, theirs) in unlike {
        let _ = write!(told, "\n {}:", text(name));
        for (who, value) in [("ours", ours), ("git ", theirs)] {
            let _ = write!(told, "\n  {who} {:?}", value.as_deref().map(text));
        }
    }
    Compared {
        handed_over: why,
        status: theirs.status,
        is_steady: true,
        differences: told,
    }
}

fn set_time_of_link(path: &Path, time: SystemTime) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = libc::timespec {
        tv_sec: since.as_secs() as _,
        tv_nsec: since.subsec_nanos() as _,
    };
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name ends with a zero, and there are two times.
    let set = unsafe {
        libc::utimensat(
            libc::AT_FDCWD,
            name.as_ptr(),
            [time, time].as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    assert_eq!(set, 0, "{}", path.display());
}

/// Makes a directory what another one is, to the times of its files, or with other ones. Objects, which nobody writes to, are the same files.
fn copy(from: &Path, to: &Path, with_times: bool) {
    let _ = fs::remove_dir_all(to);
    let ago = Duration::from_secs(if with_times { 0 } else { 1000 });
    let mut waiting = vec![(from.to_path_buf(), to.to_path_buf())];
    while let Some((from, to)) = waiting.pop() {
        fs::create_dir_all(&to).unwrap();
        let in_objects = from.parent().is_some_and(|above| above.ends_with("objects")) && !from.ends_with("info");
        for entry in fs::read_dir(&from).unwrap() {
            let entry = entry.unwrap();
            let (path, copied) = (entry.path(), to.join(entry.file_name()));
            let about = fs::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                waiting.push((path, copied));
            } else if about.is_symlink() {
                symlink(fs::read_link(&path).unwrap(), &copied).unwrap();
                set_time_of_link(&copied, about.modified().unwrap() - ago);
            } else if in_objects {
                fs::hard_link(&path, &copied).unwrap();
            } else {
                fs::copy(&path, &copied).unwrap();
                // For who owns it, files that cannot be written to can be given a time.
                let changed = about.modified().unwrap() - ago;
                File::open(&copied).unwrap().set_modified(changed).unwrap();
            }
        }
    }
}

/// How many commands ran, by name.
#[derive(Default)]
pub(crate) struct Tally {
    counts: BTreeMap<String, Count>,
    kinds: BTreeMap<&'static str, Count>,
    differences: Vec<String>,
    /// What git itself does not do twice in the same way.
    unsteady: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    ran: usize,
    equal: usize,
    native: usize,
}

impl Tally {
    /// Takes note of a command.
    pub(crate) fn count(&mut self, scene: &Scene<'_>, command: &str, line: &str, compared: &Compared) {
        let is_equal = compared.differences.is_empty();
        let add = |count: &mut Count| {
            count.ran += 1;
            count.equal += usize::from(is_equal);
            count.native += usize::from(compared.handed_over.is_none());
        };
        add(self.counts.entry(command.to_owned()).or_default());
        for kind in &scene.kinds {
            add(self.kinds.entry(kind).or_default());
        }
        if std::env::var_os("PYI_GIT_WHY").is_some() {
            let why = compared.handed_over.as_deref().unwrap_or("native");
            println!("why {} {line}: {why}", compared.status.unwrap_or(-1));
        }
        if !compared.is_steady {
            self.unsteady.push(line.to_owned());
        }
        if !is_equal {
            let who = if compared.handed_over.is_none() {
                "native"
            } else {
                "handed over"
            };
            let (kinds, told) = (&scene.kinds, &compared.differences);
            self.differences.push(format!("{who}, in {kinds:?}: {line}{told}"));
        }
    }

    /// Prints the table; nothing may differ. How many ran, and how many of them natively.
    pub(crate) fn finish(&self, kind: &str) -> (usize, usize) {
        let mut all = Count::default();
        for (name, count) in &self.counts {
            println!(
                "{kind} | `{name}` | {} | {} | {} |",
                count.ran, count.equal, count.native
            );
            all.ran += count.ran;
            all.equal += count.equal;
            all.native += count.native;
        }
        for (name, count) in &self.kinds {
            println!(
                "{kind} where | {name} | {} | {} | {} |",
                count.ran, count.equal, count.native
            );
        }
        println!("{kind} | all | {} | {} | {} |", all.ran, all.equal, all.native);
        for line in &self.unsteady {
            println!("{kind}: git differs from itself: {line}");
        }
        assert!(
            self.differences.is_empty(),
            "{} of {} differ:\n{}",
            self.differences.len(),
            all.ran,
            self.differences.join("\n")
        );
        (all.ran, all.native)
    }
}
