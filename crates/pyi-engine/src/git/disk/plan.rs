//! Files of the work tree that a command writes, moves or removes: planned first, done under the lock of the index.
//!
//! Everything that could be in the way is looked at before the first file is touched. Nothing goes through a symlink, and what nobody planned to remove
//! stays. Files are written where git writes them, in git's order: what goes, then what comes, each by path.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use pyi_cas::Bytes;
use pyi_git::command::{Failure, Site, Version};
use pyi_git::path::directories_above;

use super::files::{Place, Seen, oid_of};
use super::pending::{Refreshed, refuse_path};
use super::{DiskSite, unsupported};
use crate::sandbox::os::{Dir, FileType, Stat, index_stat, stat_fd};

/// More bytes than this are not held in memory.
const CONTENTS_MAX_BYTES: usize = 256 << 20;
/// Directories in directories.
const DEPTH_MAX: usize = 512;

/// What the work tree becomes.
#[derive(Default)]
pub(super) struct Plan {
    /// What comes to a path; `None`: what stands there goes.
    files: BTreeMap<Vec<u8>, Option<Version>>,
    /// Files and directories that are moved, in this order.
    moves: Vec<(Vec<u8>, Vec<u8>)>,
    /// Paths that are moved to, whose files were what the index says.
    moved: Vec<Vec<u8>>,
    /// How many files of the git directory were written or removed before the first file was planned.
    pub(super) after: usize,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.moves.is_empty()
    }

    /// What is planned for a path.
    pub(super) fn at(&self, path: &[u8]) -> Option<Option<&Version>> {
        self.files.get(path).map(Option::as_ref)
    }

    /// Whether something comes below a path.
    pub(super) fn has_below(&self, path: &[u8]) -> bool {
        let slash = [path, b"/"].concat();
        let below = self.files.range(slash.clone()..);
        let mut below = below.take_while(|(path, _)| path.starts_with(&slash));
        below.any(|(_, planned)| planned.is_some())
    }

    /// The planned paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.files.keys().map(Vec::as_slice)
    }

    /// Whether something goes below a directory (with a slash behind), or the directory itself goes or is moved. What moves away from it leaves it there.
    pub(super) fn removes_below(&self, directory: &[u8]) -> bool {
        let is_above = |path: &[u8]| directory.starts_with(&[path, b"/"].concat());
        let is_there = |path: &[u8]| path.starts_with(directory) || is_above(path);
        let mut files = self.files.iter();
        files.any(|(path, version)| version.is_none() && is_there(path))
            || self.moves.iter().any(|(from, _)| is_above(from))
    }

    fn goes(&self, path: &[u8]) -> bool {
        matches!(self.at(path), Some(None))
    }
}

/// A file that is ready to be written.
pub(super) struct Ready {
    path: Vec<u8>,
    version: Version,
    content: Bytes,
}

fn is_rules(path: &[u8]) -> bool {
    path.rsplit(|&byte| byte == b'/').next() == Some(b".gitattributes")
}

/// Whether one path is the other, or above it.
fn overlap(a: &[u8], b: &[u8]) -> bool {
    let above = |a: &[u8], b: &[u8]| {
        b.strip_prefix(a)
            .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
    };
    above(a, b) || above(b, a)
}

impl DiskSite<'_> {
    /// Before the first file is planned: whatever the command does after that is done after it.
    fn begin_plan(&mut self) -> Result<(), Failure> {
        self.view()?;
        if self.pending.plan.is_empty() {
            self.pending.plan.after = self.pending.admin.len();
        }
        Ok(())
    }

    pub(super) fn plan_file(&mut self, path: &[u8], version: Option<&Version>) -> Result<(), Failure> {
        self.begin_plan()?;
        refuse_path(path, version.map_or(0o100_644, |version| version.mode))?;
        if is_rules(path) {
            return unsupported("attributes that change");
        }
        if version.is_some_and(|version| self.work_file(version).is_some()) {
            return unsupported("a copy of a file of the work tree");
        }
        self.pending.plan.files.insert(path.to_vec(), version.cloned());
        Ok(())
    }

    pub(super) fn plan_move(&mut self, from: &[u8], to: &[u8]) -> Result<(), Failure> {
        self.begin_plan()?;
        refuse_path(to, 0o100_644)?;
        let clash = |(a, b): &(Vec<u8>, Vec<u8>)| {
            [a.as_slice(), b]
                .iter()
                .any(|known| overlap(known, from) || overlap(known, to))
        };
        if self.pending.plan.moves.iter().any(clash) {
            return unsupported("moves that meet");
        }
        self.settle()?;
        let view = self.view()?;
        let range = match view.position(from) {
            Ok(at) => at..at + 1,
            Err(_) => view.below(from),
        };
        let is_directory = self
            .stat(from)?
            .is_some_and(|stat| stat.file_type() == FileType::Directory);
        if is_directory == view.position(from).is_ok() {
            return unsupported("a file that became a directory, or the other way round");
        }
        for at in range {
            let entry = view.entry(at);
            if is_rules(entry.path()) {
                return unsupported("attributes that change");
            }
            let rest = entry.path().get(from.len()..).unwrap_or_default();
            let path = [to, rest].concat();
            let is_same = matches!(self.look(&entry)?, Seen::Same);
            self.move_entry(&entry.to_entry(), path.clone())?;
            if is_same {
                self.pending.plan.moved.push(path);
            }
        }
        self.settle()?;
        self.pending.plan.moves.push((from.to_vec(), to.to_vec()));
        self.pending.index_changed = true;
        Ok(())
    }

    /// Sees that nothing is in the way of what is planned, and reads what is to be written.
    pub(super) fn prepare(&mut self) -> Result<Vec<Ready>, Failure> {
        if self.pending.plan.is_empty() {
            return Ok(Vec::new());
        }
        self.refuse_changed_rules()?;
        self.refuse_odd_ignores()?;
        let mut ready = Vec::new();
        let mut size_bytes = 0;
        let mut directories = HashSet::new();
        let files = std::mem::take(&mut self.pending.plan.files);
        self.pending.plan.files.clone_from(&files);
        for (path, version) in files {
            let is_there = self.check_above(&path, version.is_none(), &mut directories)?;
            let Some(version) = version else { continue };
            if is_there {
                self.check_place(&path)?;
            }
            let content = self.content(&version)?;
            size_bytes += content.len();
            if size_bytes > CONTENTS_MAX_BYTES {
                return unsupported("so much content");
            }
            if version.mode != 0o120_000 {
                self.refuse_writing(&path, &content)?;
            } else if content.is_empty() || content.contains(&0) {
                return unsupported("such a symlink");
            }
            ready.push(Ready { path, version, content });
        }
        Ok(ready)
    }

    /// Git writes files by the attributes of the index, and of the work tree only where the index has none.
    fn refuse_changed_rules(&mut self) -> Result<(), Failure> {
        if !self.has_attributes {
            return Ok(());
        }
        let view = self.view()?;
        for at in (0..view.len()).filter(|&at| is_rules(view.path(at))) {
            if !matches!(self.glance(&view.entry(at))?, Seen::Same) {
                return unsupported("attributes that change");
            }
        }
        Ok(())
    }

    /// Git looks for files that are in the way, and so reads what is ignored; it warns of rules that it cannot read.
    fn refuse_odd_ignores(&mut self) -> Result<(), Failure> {
        let mut directories: HashSet<Vec<u8>> = HashSet::from([Vec::new()]);
        for path in self.pending.plan.files.keys() {
            directories.extend(directories_above(path).map(|above| [above, b"/"].concat()));
        }
        for directory in directories {
            let rules = self.stat(&[&directory, &b".gitignore"[..]].concat())?;
            if rules.is_some_and(|rules| rules.file_type() == FileType::Symlink) {
                return unsupported("a .gitignore that is no file");
            }
        }
        Ok(())
    }

    /// Whether the directories above a path are there; whatever else stands there must be planned to go, or be nothing to who only removes.
    fn check_above(&mut self, path: &[u8], removes: bool, known: &mut HashSet<Vec<u8>>) -> Result<bool, Failure> {
        for above in directories_above(path) {
            // A tree can have a file and a directory of one name.
            if !removes && matches!(self.pending.plan.at(above), Some(Some(_))) {
                return unsupported("a file where a directory has to be");
            }
            if known.contains(above) {
                continue;
            }
            match self.stat(above)?.map(|stat| stat.file_type()) {
                None => return Ok(false),
                Some(FileType::Directory) => drop(known.insert(above.to_vec())),
                Some(FileType::File) if removes => return Ok(false),
                Some(_) if self.pending.plan.goes(above) => return Ok(false),
                Some(_) => return unsupported("a file where a directory has to be"),
            }
        }
        Ok(true)
    }

    /// What stands where a file comes is a file, or a directory of which nothing stays.
    fn check_place(&mut self, path: &[u8]) -> Result<(), Failure> {
        match self.stat(path)?.map(|stat| stat.file_type()) {
            None | Some(FileType::File | FileType::Symlink) => Ok(()),
            Some(FileType::Directory) => {
                let mut place = Place::default();
                match place.of(&self.root, path)? {
                    Some((above, name)) => self.check_emptied(&above.directory(name)?, path, 0),
                    None => Ok(()),
                }
            }
            Some(_) => unsupported("a file that is no file"),
        }
    }

    fn check_emptied(&self, directory: &Dir, path: &[u8], depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return unsupported("directories that are too deep");
        }
        let names = directory.list()?;
        for at in 0..names.len() {
            let name = names.name(at);
            let inside = [path, b"/", name].concat();
            let kind = match names.file_type(at) {
                Some(kind) => kind,
                None => directory.stat(name)?.file_type(),
            };
            match kind {
                FileType::Directory => self.check_emptied(&directory.directory(name)?, &inside, depth + 1)?,
                _ if self.pending.plan.goes(&inside) => {}
                _ => return unsupported("a directory where a file has to be"),
            }
        }
        Ok(())
    }

    /// Does what is planned. O(files).
    pub(super) fn carry_out(&mut self, ready: Vec<Ready>) -> Result<(), Failure> {
        let plan = std::mem::take(&mut self.pending.plan);
        for (from, to) in &plan.moves {
            let (mut here, mut there) = (Place::default(), Place::default());
            let moved = match (here.of(&self.root, from)?, there.of(&self.root, to)?) {
                (Some((here, name)), Some((there, new_name))) => here.rename(name, there, new_name),
                _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            };
            moved.map_err(|error| self.io("move", from, &error))?;
        }
        // Directories may be gone, or others, now.
        self.place = Place::default();
        self.remove(&plan)?;
        let view = self.view()?;
        let mut place = Place::default();
        for one in ready {
            let stat = self
                .write_file(&mut place, &one)
                .map_err(|error| self.io("write", &one.path, &error))?;
            let entry = view.position(&one.path).ok().map(|at| view.entry(at));
            if let Some(entry) = entry
                && (entry.oid(), entry.mode()) == (oid_of(self.format, &one.version)?, one.version.mode)
            {
                let refreshed = Refreshed::of(entry.oid(), entry.mode(), index_stat(&stat));
                self.pending.refreshed.insert(one.path, refreshed);
            }
        }
        for path in plan.moved {
            let entry = view.position(&path).ok().map(|at| view.entry(at));
            if let (Some(entry), Some(stat)) = (entry, self.stat(&path)?) {
                let refreshed = Refreshed::of(entry.oid(), entry.mode(), index_stat(&stat));
                self.pending.refreshed.insert(path, refreshed);
            }
        }
        Ok(())
    }

    /// Files go, and directories that are empty then.
    fn remove(&mut self, plan: &Plan) -> Result<(), Failure> {
        let mut place = Place::default();
        let mut emptied: BTreeSet<&[u8]> = BTreeSet::new();
        for path in plan
            .files
            .iter()
            .filter(|(_, version)| version.is_none())
            .map(|(path, _)| path)
        {
            let Some((above, name)) = place.of(&self.root, path)? else {
                continue;
            };
            let gone = match above.stat(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Ok(stat) if stat.file_type() == FileType::Directory => continue,
                Ok(_) => above.unlink(name, false),
                Err(error) => Err(error),
            };
            gone.map_err(|error| self.io("remove", path, &error))?;
            if let Some(end) = path.iter().rposition(|&byte| byte == b'/') {
                emptied.insert(path.get(..end).unwrap_or_default());
            }
        }
        drop(place);
        for directory in emptied.into_iter().rev() {
            let mut left = directory;
            while !left.is_empty() {
                let mut place = Place::default();
                let is_gone = match place.of(&self.root, left)? {
                    Some((above, name)) => above.unlink(name, true).is_ok(),
                    None => true,
                };
                if !is_gone {
                    break;
                }
                let end = left.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                left = left.get(..end).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Writes a file, and the directories above it. What it replaces goes first, as with git: whoever has it open, or linked, keeps it.
    fn write_file(&self, place: &mut Place, one: &Ready) -> io::Result<Stat> {
        if place.of(&self.root, &one.path)?.is_none() {
            for directory in directories_above(&one.path) {
                // What was not there when it was looked for may be now.
                *place = Place::default();
                if let Some((above, name)) = place.of(&self.root, directory)? {
                    match above.make_directory_with(name, 0o777) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                        _ => {}
                    }
                }
            }
            *place = Place::default();
        }
        let Some((above, name)) = place.of(&self.root, &one.path)? else {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        };
        match above.stat(name) {
            Ok(stat) if stat.file_type() == FileType::Directory => {
                remove_empty(&above.directory(name)?)?;
                above.unlink(name, true)?;
            }
            Ok(_) => above.unlink(name, false)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if one.version.mode == 0o120_000 {
            above.symlink(&one.content, name)?;
            return above.stat(name);
        }
        let mode = if one.version.mode & 0o100 == 0 { 0o666 } else { 0o777 };
        let mut file = above.create(name, mode)?;
        file.write_all(&one.content)?;
        stat_fd(file.as_raw_fd())
    }
}

/// Removes the directories of a directory, in which there is nothing else.
fn remove_empty(directory: &Dir) -> io::Result<()> {
    let names = directory.list()?;
    for at in 0..names.len() {
        let name = names.name(at);
        remove_empty(&directory.directory(name)?)?;
        directory.unlink(name, true)?;
    }
    Ok(())
}
