//! The end of a command: what it changed goes to the disk as git would write it, under git's locks.
//!
//! Objects first (nothing refers to them yet), then, with `index.lock` and the locks of refs held and what they guard found as it was read, the index and
//! the refs. Whatever is in the way before the first of these is there: nothing was changed, the locks go, and git runs the command.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_cas::Bytes;
use pyi_git::Oid;
use pyi_git::command::Failure;
use pyi_git::command::log_name::{self, LOGS};
use pyi_git::index::IndexStat;
use pyi_git::index_view::IndexView;
use pyi_git::object::encode_loose;

use super::super::odb::loose_path;
use super::super::ref_files::RefValue;
use super::super::regular::read_regular;
use super::files::Seen;
use super::guard::{self, Guard, Held};
use super::plan::Ready;
use super::{DiskSite, PartlyWritten, unsupported};
use crate::Error;
use crate::sandbox::os::{Dir, index_stat};

/// Programs that git would run in the middle of what is done here.
const HOOKS: [&str; 9] = [
    "applypatch-msg",
    "commit-msg",
    "post-commit",
    "post-index-change",
    "post-rewrite",
    "pre-commit",
    "prepare-commit-msg",
    "post-checkout",
    "reference-transaction",
];
/// As many loose objects in one of 256 directories, or as many packs, make git tidy up after a commit.
const LOOSE_MAX: usize = 26;
const PACKS_MAX: usize = 49;

/// A lock file; it goes away unless it becomes what it guards.
struct Lock {
    path: PathBuf,
    target: PathBuf,
    file: Option<File>,
    /// It goes away with the process, too.
    held: Option<Held>,
}

impl Lock {
    fn take(target: PathBuf) -> Result<Self, Failure> {
        let mut name = target.clone().into_os_string();
        name.push(".lock");
        let path = PathBuf::from(name);
        match guard::create(&path) {
            Ok((file, held)) => Ok(Lock {
                path,
                target,
                file: Some(file),
                held,
            }),
            // Git says what to do about it.
            Err(_) => unsupported("a lock"),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(mut file) = self.file.take() else {
            return unsupported("a lock");
        };
        file.write_all(bytes)
            .map_err(|error| Error::io("write", &self.path, &error).into())
    }

    fn land(mut self) -> Result<(), Failure> {
        fs::rename(&self.path, &self.target).map_err(|error| Error::io("write", &self.target, &error))?;
        self.path = PathBuf::new();
        self.held = None;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A ref, or another file of the git directory, that changes.
struct Move {
    name: Vec<u8>,
    /// Whether it is written, or goes.
    stays: bool,
    lock: Lock,
}

impl DiskSite<'_> {
    /// Writes what the command changed. O(changes, and the index if it is one of them). `refreshes`: the command is one that keeps the index to itself and
    /// notes in it what it found out about files, or made of them.
    ///
    /// # Errors
    /// [`super::Unsupported`] if git has to do it, `Storage`; nothing that anybody can see was written then. [`super::PartlyWritten`] if something was: then
    /// git must not run the command again.
    pub fn finish(&mut self, refreshes: bool) -> Result<(), Failure> {
        self.settle()?;
        if !refreshes && self.pending.is_empty() {
            return Ok(());
        }
        self.refuse_hooks()?;
        let _guard = Guard::start();
        if self.pending.message.is_some() {
            self.refuse_tidying()?;
        }
        let has_plan = !self.pending.plan.is_empty();
        let has_news = has_plan || !self.pending.refreshed.is_empty();
        let is_written = self.pending.index_changed || (refreshes && has_news);
        let mut index = match refreshes || has_plan || is_written {
            true => Some(self.lock_index()?),
            false => None,
        };
        let ready = self.prepare()?;
        self.write_objects()?;
        let held = index.take_if(|_| !is_written);
        if let Some(lock) = &mut index
            && !has_plan
        {
            lock.write(&self.index_bytes()?)?;
        }
        let moves = self.lock_refs()?;
        // HEAD's log is written under its own lock, as the branch could change under it.
        let admin = std::mem::take(&mut self.pending.admin);
        let logs_head = admin.iter().any(|(name, _)| log_of(name) == Some(b"HEAD"));
        let head = match logs_head && !moves.iter().any(|one| one.name == b"HEAD") {
            true => Some(Lock::take(self.git.path().join("HEAD"))?),
            false => None,
        };
        if (head.is_some() || logs_head) && self.git_file(b"HEAD")? != self.head {
            return unsupported("a HEAD that changed meanwhile");
        }
        self.refuse_linked_files(&admin)?;
        if has_plan && self.has_attributes {
            self.refuse_filters()?;
        }
        let is_commit = self.pending.message.is_some();
        if let Some(message) = self.pending.message.take() {
            let path = self.git.path().join("COMMIT_EDITMSG");
            fs::write(&path, message).map_err(|error| Error::io("write", &path, &error))?;
        }
        let landed = match is_commit {
            true => land(self.git.path(), &admin, moves).and_then(|()| index.map_or(Ok(()), Lock::land)),
            false => self.land_files(&admin, moves, index, ready),
        };
        drop((head, held));
        landed.map_err(|failure| PartlyWritten(failure.to_string()).into())
    }

    /// Puts everything in its place, under locks that are held: from here on others see it. What the command did before it turned to files (a stash) comes
    /// before them; then files and index; then refs, as git does it.
    fn land_files(
        &mut self,
        admin: &[(Vec<u8>, Option<Bytes>)],
        moves: Vec<Move>,
        index: Option<Lock>,
        ready: Vec<Ready>,
    ) -> Result<(), Failure> {
        let has_plan = !self.pending.plan.is_empty();
        let after = if has_plan { self.pending.plan.after } else { 0 };
        let (before, behind) = admin.split_at(after.min(admin.len()));
        let (first, last) = moves
            .into_iter()
            .partition(|one: &Move| before.iter().any(|(name, _)| *name == one.name));
        land(self.git.path(), before, first)?;
        if has_plan {
            self.carry_out(ready)?;
        }
        if let Some(mut lock) = index {
            if has_plan {
                lock.write(&self.index_bytes()?)?;
            }
            lock.land()?;
        }
        land(self.git.path(), behind, last)
    }

    /// Nothing that is written as it stands, without a lock, may lead elsewhere; no log is waited for.
    fn refuse_linked_files(&self, admin: &[(Vec<u8>, Option<Bytes>)]) -> Result<(), Failure> {
        let mut names: Vec<&[u8]> = admin.iter().filter_map(|(name, _)| log_of(name)).collect();
        names.dedup();
        let logs = self.git.path().join("logs");
        let kind = |path: PathBuf| fs::symlink_metadata(path).ok().map(|found| found.file_type());
        let mut logs = names
            .into_iter()
            .filter_map(|name| kind(logs.join(OsStr::from_bytes(name))));
        let has_message = self.pending.message.is_some();
        let message = has_message.then(|| kind(self.git.path().join("COMMIT_EDITMSG")));
        if logs.any(|log| !log.is_file()) || message.flatten().is_some_and(|message| message.is_symlink()) {
            return unsupported("a file that is no file");
        }
        Ok(())
    }

    fn refuse_hooks(&self) -> Result<(), Failure> {
        let own = self.config.get("core", None, "hookspath");
        let hooks = match own {
            None => self.git.path().join("hooks"),
            // Others are relative to where hooks run, or to somebody's home.
            Some(Some(path)) if path.starts_with(b"/") => PathBuf::from(OsStr::from_bytes(path)),
            Some(_) => return unsupported("hooks"),
        };
        // Examples stand there in most repositories: one look tells whether there is anything else. Git warns of one that is there and cannot
        // be executed.
        let names = Dir::open(&hooks).and_then(|dir| dir.list()).ok();
        let is_there = |name: &&str| match &names {
            Some(names) => names.contains(name.as_bytes()),
            None => fs::symlink_metadata(hooks.join(name)).is_ok(),
        };
        if (own.is_some() || self.git.has("hooks")) && HOOKS.iter().any(is_there) {
            return unsupported("hooks");
        }
        Ok(())
    }

    /// After a commit git may pack what is loose.
    fn refuse_tidying(&self) -> Result<(), Failure> {
        let count = |name: &str, suffix: &str| {
            let entries = fs::read_dir(self.git.path().join("objects").join(name));
            let entries = entries.into_iter().flatten().flatten();
            entries
                .filter(|entry| entry.file_name().as_bytes().ends_with(suffix.as_bytes()))
                .count()
        };
        if count("17", "") > LOOSE_MAX || count("pack", ".pack") > PACKS_MAX {
            return unsupported("maintenance");
        }
        Ok(())
    }

    /// Takes the lock of the index, and sees that the file is the one that was read.
    fn lock_index(&mut self) -> Result<Lock, Failure> {
        self.view()?;
        let path = self.git.path().join("index");
        if fs::symlink_metadata(&path).is_ok_and(|index| !index.is_file()) {
            return unsupported("an index that is no file");
        }
        let lock = Lock::take(path.clone())?;
        let now = fs::metadata(&path)
            .ok()
            .map(|about| (about.ino(), about.mtime(), about.mtime_nsec(), about.len()));
        if now != self.index_stamp {
            return unsupported("an index that changed meanwhile");
        }
        Ok(lock)
    }

    /// The index with what was found out about files whose entries had other stat data.
    fn refreshed(&mut self) -> Result<Arc<IndexView>, Failure> {
        let refreshed = std::mem::take(&mut self.pending.refreshed);
        let view = self.view()?;
        let mut changes = BTreeMap::new();
        for (path, refreshed) in &refreshed {
            if let Ok(at) = view.position(path) {
                let mut entry = view.entry(at).to_entry();
                refreshed.apply(&mut entry);
                changes.insert(path.as_slice(), entry);
            }
        }
        if !changes.is_empty() {
            let known = view.cache_tree()?;
            let mut changed = view.changed(changes.iter().map(|(path, entry)| (*path, Some(entry))))?;
            changed.set_cache_tree(known);
            self.set_view(changed);
        }
        self.pending.fresh.extend(refreshed.into_keys());
        self.view()
    }

    /// The index as it is written. Entries whose files may have changed since the last index without anything to see are looked at: the new index
    /// is younger, and would not show it any more. Git looks at seconds only: what it has to compare now, it must have to compare then.
    fn index_bytes(&mut self) -> Result<Vec<u8>, Failure> {
        let view = self.refreshed()?;
        let mut unsure = Vec::new();
        for at in 0..view.len() {
            let entry = view.entry(at);
            let known = entry.stat();
            let is_racy = known.mtime_seconds >= self.index_time.0;
            if !is_racy || self.work_stat_is_known(entry.path()) {
                continue;
            }
            let now = self.stat(entry.path())?.map(|stat| index_stat(&stat));
            let same_stat =
                now.is_some_and(|now| super::files::is_same_second(&now, &IndexStat { dev: now.dev, ..known }));
            // Files may have been written by now: what cannot be compared (a filter), git has to look at.
            if same_stat && matches!(self.look(&entry), Ok(Seen::Changed(_)) | Err(_)) {
                unsure.push(at);
            }
        }
        Ok(view.encode(&unsure)?)
    }

    /// Files that [`DiskSite::index_bytes`] would have to compare, and only git can.
    fn refuse_filters(&mut self) -> Result<(), Failure> {
        let view = self.view()?;
        for entry in (0..view.len()).map(|at| view.entry(at)) {
            let is_racy = entry.stat().mtime_seconds >= self.index_time.0;
            if is_racy && self.pending.plan.at(entry.path()).is_none() {
                self.glance(&entry)?;
            }
        }
        Ok(())
    }

    /// Objects whose names git finds nowhere else, as loose ones.
    fn write_objects(&self) -> Result<(), Failure> {
        let objects = self.git.path().join("objects");
        for (oid, object) in self.pending.objects() {
            let path = loose_path(&objects, oid);
            if path.exists() {
                continue;
            }
            let directory = path.parent().unwrap_or(&objects);
            let temporary = directory.join(format!("tmp_obj_{:x}", std::process::id()));
            let bytes = encode_loose(object.kind, &object.data);
            let create = || {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o444)
                    .open(&temporary)
            };
            let opened = match create() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let _ = fs::create_dir(directory);
                    create()
                }
                other => other,
            };
            let written = opened
                .and_then(|mut file| file.write_all(&bytes))
                .and_then(|()| fs::rename(&temporary, &path));
            if let Err(error) = written {
                let _ = fs::remove_file(&temporary);
                return Err(Error::io("write", &path, &error).into());
            }
        }
        Ok(())
    }

    /// Takes the locks of all refs that change, and sees that they are what they were.
    fn lock_refs(&mut self) -> Result<Vec<Move>, Failure> {
        let mut wanted: BTreeMap<Vec<u8>, Option<Bytes>> = BTreeMap::new();
        for (name, content) in &self.pending.admin {
            if !name.starts_with(LOGS) {
                wanted.insert(name.clone(), content.clone());
            }
        }
        let mut moves = Vec::with_capacity(wanted.len());
        for (name, content) in wanted {
            moves.push(match name.starts_with(b"refs/") {
                true => self.lock_ref(name, content)?,
                false => self.lock_file(name, content.unwrap_or_default())?,
            });
        }
        Ok(moves)
    }

    /// A file of the git directory that is written as a whole.
    fn lock_file(&self, name: Vec<u8>, content: Bytes) -> Result<Move, Failure> {
        let target = self.git.path().join(OsStr::from_bytes(&name));
        if fs::symlink_metadata(&target).is_ok_and(|found| !found.is_file()) {
            return unsupported("a file that is no file");
        }
        let mut lock = Lock::take(target.clone())?;
        if name == b"config" {
            if self.git_file(&name)? != self.pending.config {
                return unsupported("a configuration that changed meanwhile");
            }
            let about = fs::metadata(&target).map_err(|error| Error::io("read", &target, &error))?;
            fs::set_permissions(&lock.path, about.permissions())
                .map_err(|error| Error::io("write", &lock.path, &error))?;
        }
        lock.write(&content)?;
        Ok(Move {
            name,
            stays: true,
            lock,
        })
    }

    fn lock_ref(&mut self, name: Vec<u8>, content: Option<Bytes>) -> Result<Move, Failure> {
        let new = match &content {
            Some(text) => Some(Oid::from_hex(text.trim_ascii())?),
            None => None,
        };
        let target = self.git.ref_path(&name);
        if let Some(directory) = target.parent() {
            fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, &error))?;
        }
        let mut lock = Lock::take(target.clone())?;
        let known = self.git.read_ref(&name)?;
        if matches!(known, Some(RefValue::Symbolic(_))) || target.is_dir() {
            return unsupported("such a ref");
        }
        let packed = self.git.packed_refs()?;
        let is_packed = packed.windows(name.len()).any(|part| part == name.as_slice());
        if new.is_none() && (is_packed || !target.is_file()) {
            return unsupported("a packed ref");
        }
        // What was read when the command began has to stand there still.
        let expected = self.pending.expected.get(&name).copied().flatten();
        let found = match known {
            Some(RefValue::Object(oid)) => Some(oid),
            _ => None,
        };
        if self.pending.expected.contains_key(&name) && expected != found {
            return unsupported("a ref that changed meanwhile");
        }
        match new {
            Some(oid) => lock.write(format!("{oid}\n").as_bytes())?,
            None => lock.file = None,
        }
        Ok(Move {
            name,
            stays: new.is_some(),
            lock,
        })
    }

    /// Whether a file was looked at for the entry that the index has now.
    fn work_stat_is_known(&self, path: &[u8]) -> bool {
        self.pending.fresh.contains(path)
    }
}

/// Logs are written, refs and other files of the git directory take their places.
fn land(git: &Path, admin: &[(Vec<u8>, Option<Bytes>)], moves: Vec<Move>) -> Result<(), Failure> {
    for (name, content) in admin {
        write_log(git, name, content.as_ref())?;
    }
    for one in moves {
        if one.stays {
            one.lock.land()?;
        } else {
            fs::remove_file(&one.lock.target).map_err(|error| Error::io("remove", &one.lock.target, &error))?;
            drop(one.lock);
            tidy_directories(git, &one.name);
        }
    }
    Ok(())
}

/// The ref whose log it is.
fn log_of(name: &[u8]) -> Option<&[u8]> {
    Some(log_name::split(name)?.0)
}

/// A line comes, or (the last one) goes; or there are so many, or the log goes.
fn write_log(git: &Path, name: &[u8], content: Option<&Bytes>) -> Result<(), Failure> {
    let Some((of, which)) = log_name::split(name) else {
        return Ok(());
    };
    let path = git.join("logs").join(OsStr::from_bytes(of));
    let is_count = which.is_empty();
    let failed = |error: io::Error| Error::io("write", &path, &error);
    let Some(line) = content else {
        if is_count {
            let _ = fs::remove_file(&path);
            return Ok(());
        }
        let text = read_regular(&path).map_err(failed)?;
        let rest = text.strip_suffix(b"\n").unwrap_or(&text);
        let end = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let mut lock = Lock::take(path.clone())?;
        lock.write(text.get(..end).unwrap_or_default())?;
        return lock.land();
    };
    if is_count {
        return Ok(());
    }
    let open = || OpenOptions::new().append(true).create(true).mode(0o666).open(&path);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).map_err(failed)?;
            open().map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    Ok(file.write_all(line).map_err(failed)?)
}

/// Directories of refs and logs that are empty now.
fn tidy_directories(git: &Path, name: &[u8]) {
    for start in ["", "logs"] {
        let mut path = git.join(start).join(OsStr::from_bytes(name));
        while path.pop() {
            let below = path.strip_prefix(git.join(start)).unwrap_or(Path::new(""));
            if below.components().count() <= 2 || fs::remove_dir(&path).is_err() {
                break;
            }
        }
    }
}
