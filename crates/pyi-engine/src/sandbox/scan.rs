//! A directory on disk against a tree: the edits that make the tree equal to the directory.
//!
//! Both sides are walked in the order of names, so the cost is O(entries), one `stat` a file. Nothing is changed here: the
//! edits are collected and applied to a clone of the tree.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pyi_cas::Id;
use pyi_git::{Oid, path::validate_symlink_component};
use pyi_tree::tree::Content;
use pyi_tree::{Mode, Node, Tree};

use super::nested::head_commit;
use super::observe::{Observed, Observer};
use super::os::{Dir, FileType, Names};
use super::rules::Rules;
use crate::{Error, Result, paths};

/// One edit of a tree.
#[derive(Clone)]
pub(super) enum Edit {
    /// Takes away what stands there.
    Remove(Vec<u8>),
    /// Puts a file, symlink or gitlink.
    Put(Vec<u8>, Mode, Content),
    /// Changes the mode of a file.
    Mode(Vec<u8>, Mode),
    /// Makes an empty directory.
    MakeDirectory(Vec<u8>),
}

/// What a directory held beside what was captured.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing.
    #[default]
    Nothing,
    /// Something that the rules ignore.
    Ignored,
}

/// A scan in progress.
pub(super) struct Scan<'a> {
    pub(super) observer: Observer<'a>,
    /// `None`: nothing is ignored.
    pub(super) rules: Option<Rules>,
    /// Device and inode of the store's directory, which is never captured.
    pub(super) store: Option<(u64, u64)>,
    pub(super) edits: Vec<Edit>,
    pub(super) path: Vec<u8>,
    /// Entries that were looked at.
    pub(super) entries: u64,
}

/// The rows of one directory in order, whatever nodes it has.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<(Arc<Node>, usize)>,
}

impl Rows {
    pub(super) fn of(node: Option<&Arc<Node>>, engine: &crate::engine::Engine) -> Result<Self> {
        let mut rows = Rows::default();
        if let Some(node) = node {
            rows.collect(node, engine)?;
        }
        Ok(rows)
    }

    fn collect(&mut self, node: &Arc<Node>, engine: &crate::engine::Engine) -> Result<()> {
        for index in 0..node.len() {
            if node.mode(index) == Mode::Piece {
                let piece = node.child(index, &engine.loader)?.clone();
                self.collect(&piece, engine)?;
            } else {
                self.rows.push((node.clone(), index));
            }
        }
        Ok(())
    }
}

/// Applies `edits` to `tree`. On an error the tree may be half-edited: edit a clone.
pub(super) fn apply(tree: &mut Tree, edits: Vec<Edit>, engine: &crate::engine::Engine) -> Result<()> {
    for edit in edits {
        match edit {
            Edit::Remove(path) => tree.remove(&path, &engine.loader)?,
            Edit::Put(path, mode, content) => tree.put(&path, mode, content, &engine.loader)?,
            Edit::Mode(path, mode) => tree.set_mode(&path, mode, &engine.loader)?,
            Edit::MakeDirectory(path) => tree.make_directory(&path, &engine.loader)?,
        }
    }
    Ok(())
}

/// Applies edits that were found against another tree than this one: where both changed the same path, these win.
pub(super) fn replay(tree: &mut Tree, edits: Vec<Edit>, engine: &crate::engine::Engine) -> Result<()> {
    let loader = &engine.loader;
    for edit in edits {
        match edit {
            Edit::Remove(path) => {
                if tree.find(&path, loader)?.is_some() {
                    tree.remove(&path, loader)?;
                }
            }
            Edit::Put(path, mode, content) => {
                clear_way(tree, &path, false, engine)?;
                tree.put(&path, mode, content, loader)?;
            }
            Edit::Mode(path, mode) => {
                // A file that was removed here meanwhile stays removed: its content did not change on disk.
                if tree.find(&path, loader)?.is_some_and(|found| found.mode().is_file()) {
                    tree.set_mode(&path, mode, loader)?;
                }
            }
            Edit::MakeDirectory(path) => {
                clear_way(tree, &path, true, engine)?;
                tree.make_directory(&path, loader)?;
            }
        }
    }
    Ok(())
}

/// Takes away what is no directory above `path`, and what is of the other kind at it.
fn clear_way(tree: &mut Tree, path: &[u8], directory: bool, engine: &crate::engine::Engine) -> Result<()> {
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        let Some(found) = tree.find(&path[..end], &engine.loader)? else {
            return Ok(());
        };
        let wanted = end < path.len() || directory;
        if (found.mode() == Mode::Directory) != wanted {
            return Ok(tree.remove(&path[..end], &engine.loader)?);
        }
    }
    Ok(())
}

/// A gitlink's content: the commit's name, padded.
fn gitlink(commit: &Oid) -> Content {
    let mut id = [0; 32];
    for (to, from) in id.iter_mut().zip(commit.as_bytes()) {
        *to = *from;
    }
    Content::Stored {
        id: Id(id),
        size_bytes: commit.as_bytes().len() as u64,
    }
}

/// What an entry that could not be opened as a directory turned out to be: gone, or something else by now.
pub(super) fn vanished(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

impl Scan<'_> {
    /// Scans the whole of `dir` against the tree under `old`.
    pub(super) fn run(&mut self, dir: &Dir, old: &Arc<Node>) -> Result<()> {
        let names = self.list(dir)?;
        self.directory(dir, &names, Some(old), false).map(drop)
    }

    pub(super) fn list(&self, dir: &Dir) -> Result<Names> {
        dir.list()
            .map_err(|error| self.observer.failed("list", &self.path, &error))
    }

    /// Opens a directory below `dir`; `None` if it is gone or no directory any more.
    pub(super) fn open(&self, dir: &Dir, name: &[u8]) -> Result<Option<Dir>> {
        match dir.directory(name) {
            Ok(child) => Ok(Some(child)),
            Err(error) if vanished(&error) => Ok(None),
            Err(error) => Err(self.observer.failed("open", &self.path, &error)),
        }
    }

    /// `self.path` with `name` at its end while `run` runs.
    pub(super) fn at<T>(&mut self, name: &[u8], run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let length = self.path.len();
        if length > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let result = run(self);
        self.path.truncate(length);
        result
    }

    fn directory(&mut self, dir: &Dir, names: &Names, old: Option<&Arc<Node>>, in_ignored: bool) -> Result<Left> {
        let entered = match &mut self.rules {
            Some(rules) if !in_ignored && names.contains(b".gitignore") => rules.enter(&self.path, dir),
            _ => false,
        };
        let result = self.entries_of(dir, names, old, in_ignored);
        if let (true, Some(rules)) = (entered, &mut self.rules) {
            rules.leave();
        }
        result
    }

    fn entries_of(&mut self, dir: &Dir, names: &Names, old: Option<&Arc<Node>>, in_ignored: bool) -> Result<Left> {
        let rows = Rows::of(old, self.observer.engine)?;
        let mut left = Left::Nothing;
        let (mut disk, mut row) = (0, 0);
        loop {
            let name = (disk < names.len()).then(|| names.name(disk));
            let stood = rows.rows.get(row);
            let order = match (name, stood) {
                (None, None) => return Ok(left),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(name), Some((node, index))) => name.cmp(node.name(*index)),
            };
            let name = match (name, stood) {
                (Some(name), _) if order.is_le() => name,
                (_, Some((node, index))) => node.name(*index),
                _ => return Ok(left),
            };
            let stood = stood.filter(|_| order.is_ge());
            self.entries += 1;
            let found = self.at(name, |scan| match (order.is_le(), stood) {
                (false, _) => {
                    scan.edits.push(Edit::Remove(scan.path.clone()));
                    Ok(Left::Nothing)
                }
                (true, None) => scan.untracked(dir, name, names.file_type(disk), in_ignored),
                (true, Some((node, index))) => {
                    scan.tracked(dir, name, names.file_type(disk), (node, *index), in_ignored)
                }
            })?;
            if found == Left::Ignored {
                left = Left::Ignored;
            }
            disk += usize::from(order.is_le());
            row += usize::from(order.is_ge());
        }
    }

    /// Whether the rules ignore the present path.
    pub(super) fn is_ignored(&self, is_directory: bool) -> bool {
        self.rules
            .as_ref()
            .is_some_and(|rules| rules.is_ignored(&self.path, is_directory))
    }

    fn file_type(&self, dir: &Dir, name: &[u8], told: Option<FileType>) -> Result<Option<FileType>> {
        match told {
            Some(told) => Ok(Some(told)),
            None => match dir.stat(name) {
                Ok(stat) => Ok(Some(stat.file_type())),
                Err(error) if vanished(&error) => Ok(None),
                Err(error) => Err(self.observer.failed("stat", &self.path, &error)),
            },
        }
    }

    /// An entry that the tree does not have.
    fn untracked(&mut self, dir: &Dir, name: &[u8], told: Option<FileType>, in_ignored: bool) -> Result<Left> {
        if name == b".git" {
            return Ok(Left::Nothing);
        }
        let Some(found) = self.file_type(dir, name, told)? else {
            return Ok(Left::Nothing);
        };
        if in_ignored || self.is_ignored(found == FileType::Directory) {
            return Ok(Left::Ignored);
        }
        if found == FileType::Directory {
            return self.new_directory(dir, name);
        }
        if matches!(found, FileType::Character | FileType::Other) {
            return Ok(Left::Nothing);
        }
        self.check_new(name, found)?;
        match self.observer.look(dir, name, &self.path, None)? {
            Observed::Directory => self.new_directory(dir, name),
            observed => {
                self.put(observed);
                Ok(Left::Nothing)
            }
        }
    }

    /// Refuses a new entry that a workspace cannot hold.
    pub(super) fn check_new(&self, name: &[u8], found: FileType) -> Result<()> {
        paths::check(&self.path)?;
        if found == FileType::Symlink {
            validate_symlink_component(name)
                .map_err(|error| Error::invalid_path(format!("{:?}: {error}", String::from_utf8_lossy(&self.path))))?;
        }
        Ok(())
    }

    /// Adds the edit for what was seen in place of nothing, or of a file.
    pub(super) fn put(&mut self, observed: Observed) {
        match observed {
            Observed::Content(mode, content) => self.edits.push(Edit::Put(self.path.clone(), mode, content)),
            Observed::Mode(mode) => self.edits.push(Edit::Mode(self.path.clone(), mode)),
            Observed::Gone | Observed::Special | Observed::Directory | Observed::Unchanged => {}
        }
    }

    /// A directory that the tree does not have, and that is not ignored.
    fn new_directory(&mut self, dir: &Dir, name: &[u8]) -> Result<Left> {
        paths::check(&self.path)?;
        let Some(child) = self.open(dir, name)? else {
            return Ok(Left::Nothing);
        };
        let names = self.list(&child)?;
        if self.is_store(name, &child, &names)? {
            return Ok(Left::Ignored);
        }
        // A repository that is new here is captured as files, without its history: the commit that a gitlink would name may
        // exist in this directory alone, and what is not committed there would be lost.
        let before = self.edits.len();
        let left = self.directory(&child, &names, None, false)?;
        if self.edits.len() == before && left == Left::Nothing {
            self.edits.push(Edit::MakeDirectory(self.path.clone()));
        }
        Ok(left)
    }

    pub(super) fn real_path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.observer.root.join(std::ffi::OsStr::from_bytes(&self.path))
    }

    fn is_store(&self, name: &[u8], child: &Dir, names: &Names) -> Result<bool> {
        if name == b".pyi" && (self.path == b".pyi" || (names.contains(b"format") && names.contains(b"segments"))) {
            return Ok(true);
        }
        let Some(store) = self.store else { return Ok(false) };
        match child.stat_self() {
            Ok(stat) => Ok((stat.stamp.dev, stat.stamp.ino) == store),
            Err(error) => Err(self.observer.failed("stat", &self.path, &error)),
        }
    }

    /// An entry that the tree has.
    fn tracked(
        &mut self,
        dir: &Dir,
        name: &[u8],
        told: Option<FileType>,
        (node, index): (&Arc<Node>, usize),
        in_ignored: bool,
    ) -> Result<Left> {
        let mode = node.mode(index);
        let found = self.file_type(dir, name, told)?;
        if found == Some(FileType::Directory) {
            if !matches!(mode, Mode::Directory | Mode::Gitlink) {
                self.edits.push(Edit::Remove(self.path.clone()));
                return self.untracked(dir, name, found, in_ignored);
            }
            let Some(child) = self.open(dir, name)? else {
                self.edits.push(Edit::Remove(self.path.clone()));
                return Ok(Left::Nothing);
            };
            if mode == Mode::Gitlink {
                let names = self.list(&child)?;
                self.kept_gitlink(&[self.real_path()], &names, (node, index), |scan| {
                    scan.directory(&child, &names, None, in_ignored)
                })?;
                return Ok(Left::Nothing);
            }
            let below = node.child(index, &self.observer.engine.loader)?.clone();
            if in_ignored || self.is_ignored(true) {
                let names = self.known_names(&child, &below)?;
                return self.directory(&child, &names, Some(&below), true);
            }
            let names = self.list(&child)?;
            return self.directory(&child, &names, Some(&below), false);
        }
        let stands_in_the_way = matches!(mode, Mode::Directory | Mode::Gitlink);
        let old = if stands_in_the_way {
            None
        } else {
            Some((&**node, index))
        };
        let observed = match found {
            None => Observed::Gone,
            Some(found) => {
                if found == FileType::Symlink && mode != Mode::Symlink {
                    self.check_new(name, found)?;
                }
                self.observer.look(dir, name, &self.path, old)?
            }
        };
        let is_gone = matches!(observed, Observed::Gone | Observed::Special | Observed::Directory);
        if stands_in_the_way || is_gone {
            self.edits.push(Edit::Remove(self.path.clone()));
        }
        if matches!(observed, Observed::Directory) {
            return self.untracked(dir, name, Some(FileType::Directory), in_ignored);
        }
        self.put(observed);
        Ok(Left::Nothing)
    }

    /// A directory where the tree has a gitlink: it moves to the repository's commit. Without a repository it is kept,
    /// unless there are files to capture, which replace it.
    pub(super) fn kept_gitlink(
        &mut self,
        places: &[PathBuf],
        names: &Names,
        (node, index): (&Arc<Node>, usize),
        capture: impl FnOnce(&mut Self) -> Result<Left>,
    ) -> Result<()> {
        if names.contains(b".git") || places.iter().any(|place| place.join(".git").exists()) {
            if let Some(commit) = head_commit(places)
                && let Content::Stored { id, size_bytes } = gitlink(&commit)
                && node.row(index).id != id
            {
                let content = Content::Stored { id, size_bytes };
                self.edits.push(Edit::Put(self.path.clone(), Mode::Gitlink, content));
            }
            return Ok(());
        }
        let before = self.edits.len();
        self.edits.push(Edit::Remove(self.path.clone()));
        capture(self)?;
        if self.edits.len() == before + 1 {
            self.edits.truncate(before);
        }
        Ok(())
    }

    /// Of an ignored directory only what the tree has is looked at: O(tracked), however much else is there.
    fn known_names(&self, dir: &Dir, node: &Arc<Node>) -> Result<Names> {
        let rows = Rows::of(Some(node), self.observer.engine)?;
        let mut names = Names::default();
        for (node, index) in &rows.rows {
            match dir.stat(node.name(*index)) {
                Ok(stat) => names.push(node.name(*index), stat.file_type()),
                Err(error) if vanished(&error) => {}
                Err(error) => return Err(self.observer.failed("stat", &self.path, &error)),
            }
        }
        Ok(names)
    }
}
