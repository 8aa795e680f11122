//! Temporary repositories driven by the installed git, and a small seeded generator.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pyi_git::{ObjectFormat, ObjectKind, Oid};

/// A repository in a directory that goes with it.
pub(crate) struct Repo {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) format: ObjectFormat,
}

impl Repo {
    pub(crate) fn new(format: ObjectFormat) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = Self { dir, format };
        let object_format = format!("--object-format={}", format.name());
        repo.git(&["init", "-q", "-b", "main", &object_format]);
        repo.git(&["config", "gc.auto", "0"]);
        repo
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        command(self.dir.path(), args)
    }

    /// Runs git, which must succeed; gives what it printed.
    pub(crate) fn git(&self, args: &[&str]) -> Vec<u8> {
        self.git_in(args, b"")
    }

    pub(crate) fn git_in(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(args, input);
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Runs git and gives whatever came of it.
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        output
    }

    pub(crate) fn line(&self, args: &[&str]) -> String {
        String::from_utf8(self.git(args)).unwrap().trim_end().to_owned()
    }

    /// Every object of the repository, as `git cat-file --batch` gives it.
    pub(crate) fn all_objects(&self) -> BTreeMap<Oid, (ObjectKind, Vec<u8>)> {
        let out = self.git(&["cat-file", "--batch", "--batch-all-objects"]);
        let mut objects = BTreeMap::new();
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n').unwrap();
            let header = std::str::from_utf8(&rest[..end]).unwrap();
            let mut words = header.split(' ');
            let oid: Oid = words.next().unwrap().parse().unwrap();
            let kind = ObjectKind::from_bytes(words.next().unwrap().as_bytes()).unwrap();
            let size: usize = words.next().unwrap().parse().unwrap();
            let content = rest[end + 1..end + 1 + size].to_vec();
            objects.insert(oid, (kind, content));
            rest = &rest[end + 1 + size + 1..];
        }
        objects
    }

    /// Some history: files that grow and change, directories, links, a merge and a tag. Deltas come of it.
    pub(crate) fn populate(&self, seed: u64, commits: usize) {
        let mut rng = Rng(seed);
        let mut lines: Vec<String> = (0..400).map(|i| format!("line {i} {:x}", rng.next())).collect();
        for n in 0..commits {
            for _ in 0..5 {
                let at = rng.below(lines.len());
                lines[at] = format!("changed {n} {:x}", rng.next());
            }
            lines.push(format!("added {n}"));
            self.write("big.txt", lines.join("\n").as_bytes());
            self.write(
                &format!("dir{}/file{}.rs", rng.below(4), rng.below(9)),
                format!("{:x}", rng.next()).as_bytes(),
            );
            self.write(&format!("deep/a/b/c{}/leaf", rng.below(3)), &rng.bytes(3000));
            self.git(&["add", "-A"]);
            self.git(&["commit", "-q", "-m", &format!("commit {n}\n\nwith a body")]);
        }
        std::os::unix::fs::symlink("big.txt", self.path("link")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.path("big.txt"), executable).unwrap();
        self.write("empty", b"");
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "link"]);
        self.git(&["checkout", "-q", "-b", "side", "HEAD~1"]);
        self.write("side", b"side\n");
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "side"]);
        self.git(&["checkout", "-q", "main"]);
        self.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
        self.git(&["tag", "-a", "-m", "a tag", "v1"]);
    }

    /// Repacks everything into one pack; gives the bytes of pack and index.
    pub(crate) fn pack(&self, repack: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let mut args = vec!["-c", "pack.threads=1", "repack", "-a", "-d", "-q"];
        args.extend(repack);
        self.git(&args);
        let (pack, index) = self.pack_files().pop().unwrap();
        (std::fs::read(pack).unwrap(), std::fs::read(index).unwrap())
    }

    pub(crate) fn pack_files(&self) -> Vec<(PathBuf, PathBuf)> {
        let mut found: Vec<_> = std::fs::read_dir(self.path(".git/objects/pack"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "pack"))
            .map(|p| (p.clone(), p.with_extension("idx")))
            .collect();
        found.sort();
        found
    }
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "A U Thor")
            .env(format!("GIT_{who}_EMAIL"), "author@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0130");
    }
    command
}

/// xorshift64*: enough to spread test inputs, the same on every machine.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

pub(crate) const FORMATS: [ObjectFormat; 2] = [ObjectFormat::Sha1, ObjectFormat::Sha256];
