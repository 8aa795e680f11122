//! What a command has changed so far, and nobody else sees yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use pyi_cas::Bytes;
use pyi_git::command::log_name::{self, LOGS};
use pyi_git::command::{Failure, Site, Version, View};
use pyi_git::index::{IndexEntry, IndexStat};
use pyi_git::index_view::IndexView;
use pyi_git::path::{directories_above, validate_path, validate_symlink_component};
use pyi_git::refname::{RefNameOptions, check_ref_format};
use pyi_git::{Object, ObjectKind, Oid};

use super::super::regular::read_regular;
use super::files::oid_of;
use super::plan::Plan;
use super::{DiskSite, trees, unsupported};
use crate::Error;
use crate::sandbox::os::index_stat;

/// More bytes of new contents than this are not held in memory.
const CONTENTS_MAX_BYTES: usize = 256 << 20;

/// Stat data of a file that was found, or written, to be as its entry says.
#[derive(Clone, Copy)]
pub(super) struct Refreshed {
    oid: Oid,
    mode: u32,
    stat: IndexStat,
}

impl Refreshed {
    pub(super) fn of(oid: Oid, mode: u32, stat: IndexStat) -> Self {
        Refreshed { oid, mode, stat }
    }

    /// Gives an entry the stat data, if it still says the same.
    pub(super) fn apply(&self, entry: &mut IndexEntry) {
        if (entry.oid, entry.mode) == (self.oid, self.mode) {
            entry.stat = self.stat;
        }
    }
}

/// Changes that wait.
#[derive(Default)]
pub(super) struct Pending {
    objects: Vec<(Oid, Object)>,
    by_name: HashMap<Oid, usize>,
    contents_bytes: usize,
    /// Entries of the index that come (or go), not yet in it.
    entries: BTreeMap<Vec<u8>, Option<IndexEntry>>,
    /// Whether the index differs from its file.
    pub(super) index_changed: bool,
    /// Files of the git directory, in the order in which they were written.
    pub(super) admin: Vec<(Vec<u8>, Option<Bytes>)>,
    /// Files of the work tree that come and go.
    pub(super) plan: Plan,
    /// What was found out about files whose entries have other stat data.
    pub(super) refreshed: HashMap<Vec<u8>, Refreshed>,
    /// Paths whose entries have the stat of a file that was read by this command.
    pub(super) fresh: HashSet<Vec<u8>>,
    /// What refs were before they were changed.
    pub(super) expected: HashMap<Vec<u8>, Option<Oid>>,
    /// The configuration file as it was read.
    pub(super) config: Option<Vec<u8>>,
    /// The message of the commit that was made.
    pub(super) message: Option<Vec<u8>>,
}

impl Pending {
    pub(super) fn object(&self, oid: &Oid) -> Option<&Object> {
        self.objects.get(*self.by_name.get(oid)?).map(|(_, object)| object)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Oid> + '_ {
        self.objects.iter().map(|(oid, _)| *oid)
    }

    pub(super) fn objects(&self) -> &[(Oid, Object)] {
        &self.objects
    }

    /// A file that was written or removed.
    pub(super) fn admin(&self, name: &[u8]) -> Option<Option<Bytes>> {
        let last = self.admin.iter().rev().find(|(known, _)| known == name);
        last.map(|(_, content)| content.clone())
    }

    /// Whether the index has all entries that were staged.
    pub(super) fn is_settled(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
            && self.entries.is_empty()
            && self.admin.is_empty()
            && !self.index_changed
            && self.plan.is_empty()
            && self.message.is_none()
    }
}

/// Git has its own words for paths that no tree may have; submodules are its own.
pub(super) fn refuse_path(path: &[u8], mode: u32) -> Result<(), Failure> {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    if validate_path(path).is_err() || (mode == 0o120_000 && validate_symlink_component(name).is_err()) {
        return unsupported("a path that git refuses");
    }
    if !matches!(mode, 0o100_644 | 0o100_755 | 0o120_000) {
        return unsupported("a submodule");
    }
    Ok(())
}

impl DiskSite<'_> {
    /// Keeps an object for the end, if the repository does not have it.
    pub(super) fn keep(&mut self, oid: Oid, kind: ObjectKind, raw: Vec<u8>) {
        if self.pending.by_name.contains_key(&oid) {
            return;
        }
        self.pending.by_name.insert(oid, self.pending.objects.len());
        self.pending.contents_bytes += raw.len();
        let object = Object::new(kind, raw);
        if kind != ObjectKind::Blob {
            self.trees.add(oid, object.clone());
        }
        self.pending.objects.push((oid, object));
    }

    pub(super) fn stage_entry(&mut self, path: &[u8], version: Option<&Version>) -> Result<(), Failure> {
        let Some(version) = version else {
            self.pending.entries.insert(path.to_vec(), None);
            return Ok(());
        };
        refuse_path(path, version.mode)?;
        let stat = self.work_file(version).map(|file| index_stat(&file.stat));
        let oid = match self.work_oid(version)? {
            Some(oid) => {
                let content = self.work_content(version)?.unwrap_or_default();
                if self.pending.contents_bytes + content.len() > CONTENTS_MAX_BYTES {
                    return unsupported("so much content");
                }
                if self.pending.object(&oid).is_none() && !self.git.objects()?.contains(&oid)? {
                    self.keep(oid, ObjectKind::Blob, content.to_vec());
                }
                oid
            }
            None => oid_of(self.format, version)?,
        };
        let mut entry = IndexEntry::new(path, version.mode, oid);
        if let Some(stat) = stat {
            entry.stat = stat;
            self.pending.fresh.insert(path.to_vec());
        }
        self.clear_way(path)?;
        self.pending.entries.insert(path.to_vec(), Some(entry));
        Ok(())
    }

    /// A file cannot be where a directory is, nor the other way round.
    pub(super) fn clear_way(&mut self, path: &[u8]) -> Result<(), Failure> {
        let view = self.view()?;
        let mut gone: Vec<Vec<u8>> = directories_above(path).map(<[u8]>::to_vec).collect();
        gone.extend(view.below(path).map(|at| view.path(at).to_vec()));
        let slash = [path, b"/"].concat();
        let fresh = self.pending.entries.range(slash.clone()..);
        let fresh: Vec<Vec<u8>> = fresh
            .take_while(|(path, _)| path.starts_with(&slash))
            .map(|(path, _)| path.clone())
            .collect();
        gone.extend(fresh);
        for path in gone {
            if view.position(&path).is_ok() || self.pending.entries.contains_key(&path) {
                self.pending.entries.insert(path, None);
            }
        }
        Ok(())
    }

    /// An entry of the index takes another path, with all that is known of it.
    pub(super) fn move_entry(&mut self, entry: &IndexEntry, path: Vec<u8>) -> Result<(), Failure> {
        refuse_path(&path, entry.mode)?;
        self.pending.entries.insert(entry.path.clone(), None);
        self.clear_way(&path)?;
        let moved = IndexEntry {
            path: path.clone(),
            ..entry.clone()
        };
        self.pending.entries.insert(path, Some(moved));
        Ok(())
    }

    /// The index becomes what a view is; entries that stay keep what is known of their files.
    pub(super) fn become_view(&mut self, view: View) -> Result<(), Failure> {
        for change in self.changes(View::Index, view)? {
            self.stage_entry(&change.path, change.new.as_ref())?;
        }
        self.settle()?;
        if matches!(view, View::Of(_)) {
            self.learn_trees()?;
        }
        Ok(())
    }

    /// The trees of the index's directories are noted with it, as far as somebody made them.
    pub(super) fn learn_trees(&mut self) -> Result<(), Failure> {
        self.settle()?;
        let view = self.view()?;
        if view.is_empty() {
            return Ok(());
        }
        let mut names = Vec::new();
        let known = view.cache_tree()?;
        let before = known.clone();
        let root = trees::build(&view, 0..view.len(), 0, known, b"", &mut |oid, _| names.push(oid))?;
        for oid in names {
            if self.pending.object(&oid).is_none() && !self.git.objects()?.contains(&oid)? {
                return Ok(());
            }
        }
        if before.as_ref() != Some(&root) {
            let mut view = IndexView::clone(&view);
            view.set_cache_tree(Some(root));
            self.set_view(view);
        }
        Ok(())
    }

    /// Puts what was staged into the index.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        if self.pending.entries.is_empty() {
            return Ok(());
        }
        let old = self.view()?;
        let fresh = std::mem::take(&mut self.pending.entries);
        let mut root = old.cache_tree()?;
        for (path, entry) in &fresh {
            let before = old.position(path).ok().map(|at| old.entry(at));
            let same = match (before, entry) {
                (Some(before), Some(entry)) => (before.oid(), before.mode()) == (entry.oid, entry.mode),
                (None, None) => true,
                _ => false,
            };
            if !same && let Some(root) = &mut root {
                trees::forget(root, path);
            }
            self.pending.index_changed |= !same || before.map(|before| before.to_entry()).as_ref() != entry.as_ref();
        }
        let changes = fresh.iter().map(|(path, entry)| (path.as_slice(), entry.as_ref()));
        let mut view = old.changed(changes)?;
        view.set_cache_tree(root);
        self.set_view(view);
        Ok(())
    }

    /// The tree of the index; what is known of it is kept with the index.
    pub(super) fn name_index(&mut self) -> Result<Oid, Failure> {
        self.settle()?;
        let view = self.view()?;
        if let Some(oid) = view.root_tree() {
            return Ok(oid);
        }
        let known = view.cache_tree()?;
        let mut made = Vec::new();
        let root = trees::build(&view, 0..view.len(), 0, known, b"", &mut |oid, raw| {
            made.push((oid, raw));
        })?;
        let empty = self.format.empty_tree();
        for (oid, raw) in made {
            // The empty tree is known without being there; git writes it all the same.
            if oid == empty || !self.git.objects()?.contains(&oid)? {
                self.keep(oid, ObjectKind::Tree, raw);
            }
        }
        let Some((_, oid)) = root.tree else {
            return unsupported("a tree without a name");
        };
        let mut view = IndexView::clone(&view);
        view.set_cache_tree(Some(root));
        self.set_view(view);
        self.pending.index_changed = true;
        Ok(oid)
    }

    /// A file of the git directory is written or removed at the end.
    pub(super) fn set_pending(&mut self, name: &[u8], content: Option<Bytes>) -> Result<(), Failure> {
        let is_branch = name.strip_prefix(b"refs/heads/");
        if let (Some(branch), None) = (is_branch, &content) {
            let mut entries = self.config.entries().iter();
            if entries.any(|entry| entry.section == "branch" && entry.subsection.as_deref() == Some(branch)) {
                return unsupported("the configuration of a branch");
            }
        }
        // What stands behind `ref:` in HEAD may be anything, and leads anywhere.
        let of = log_name::split(name).map_or(name, |(of, _)| of);
        if of.starts_with(b"refs/") && check_ref_format(of, RefNameOptions::default()).is_err() {
            return unsupported("a name that no ref may have");
        }
        let is_plain = matches!(name, b"HEAD" | b"ORIG_HEAD" | b"AUTO_MERGE" | b"config") && content.is_some();
        if !is_plain && !name.starts_with(b"refs/") && !name.starts_with(LOGS) {
            return unsupported("a changed git directory");
        }
        if name.starts_with(b"refs/") && !self.pending.expected.contains_key(name) {
            let now = self.seen.get(name).copied().flatten();
            self.pending.expected.insert(name.to_vec(), now);
        }
        self.pending.admin.push((name.to_vec(), content));
        Ok(())
    }

    /// A line of a reflog that nobody has looked into is written without reading the others: there may be thousands.
    /// False: it has been read or removed, and its lines are numbered.
    pub(super) fn append_pending(&mut self, of: &[u8], line: &[u8]) -> Result<bool, Failure> {
        if self.logs.contains_key(of) || self.pending.admin(&log_name::count(of)).is_some() {
            return Ok(false);
        }
        self.set_pending(&log_name::next(of), Some(Bytes::copy_from_slice(line)))?;
        Ok(true)
    }

    /// A line of a reflog, or how many there are.
    pub(super) fn log_entry(&mut self, name: &[u8]) -> Result<Option<Bytes>, Failure> {
        let Some((of, number)) = log_name::split(name) else {
            return Ok(None);
        };
        let lines = match self.logs.get(of) {
            Some(lines) => lines.clone(),
            None => {
                let path = self.git.path().join("logs").join(std::ffi::OsStr::from_bytes(of));
                let text = match read_regular(&path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                    Err(error) => return Err(Error::io("read", &path, &error).into()),
                };
                let lines = text.split_inclusive(|&byte| byte == b'\n').map(Bytes::copy_from_slice);
                let behind = log_name::next(of);
                let pending = self.pending.admin.iter();
                let behind = pending.filter_map(|(name, line)| if *name == behind { line.clone() } else { None });
                let lines: Arc<Vec<Bytes>> = Arc::new(lines.chain(behind).collect());
                self.logs.insert(of.to_vec(), lines.clone());
                lines
            }
        };
        if number.is_empty() {
            return Ok(Some(format!("{}\n", lines.len()).into()));
        }
        let number = usize::from_str_radix(&String::from_utf8_lossy(number), 16)?;
        Ok(lines.get(number).cloned())
    }
}
