//! Git's commands in a work tree that is a directory, with the git directory beside it: the files, the index, refs and objects as git keeps them.
//!
//! What a command changes is kept until its end ([`DiskSite::finish`]); what is not done exactly is an [`Unsupported`], and nothing was written then.
//! The index is compared with the files by their stat data, with git's rule for files that may have changed since; with trees by what it knows of them
//! (its `TREE` extension). `docs/design/014-git-commands.md`, section 4, has the rules.

mod early;
mod files;
mod guard;
mod pending;
mod plan;
mod scan;
mod site;
mod sweep;
mod trees;
mod untracked;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_cas::Bytes;
use pyi_git::command::{Attributes, Change, Failure, Site, Version, View};
use pyi_git::config::Config;
use pyi_git::ignore::PatternList;
use pyi_git::index_view::IndexView;
use pyi_git::{Object, ObjectFormat, Oid};

use self::early::Early;
pub use self::early::Sink;
use super::directory::GitDirectory;
use super::ref_files::RefValue;
use super::regular::read_regular;
use crate::Error;
use crate::sandbox::os::{Dir, FileType};
use files::{Place, Seen, WorkFile, stored};
use pending::Pending;
use scan::Files;
use trees::{Below, Trees};
use untracked::Asked;

/// Symbolic refs that point at symbolic refs: git follows fewer.
const SYMBOLIC_MAX: usize = 5;
/// An index of this size costs less to map than to read: pages that are read into have to be made first.
const MAPPED_BYTES: u64 = 256 << 10;
/// So many files cost no more than a few of many would.
const FILES_FEW: usize = 64;
/// Of more files, about so many tell whether the index knows the files that are there.
const FILES_ASKED: usize = 8;
/// Operations that are in the middle of something change what commands say and do.
const IN_PROGRESS: [&str; 13] = [
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "REBASE_HEAD",
    "MERGE_MODE",
    "MERGE_RR",
    "SQUASH_MSG",
    "MERGE_AUTOSTASH",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "MERGE_MSG",
];

/// What is met is not done here; git does it. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("{0} is git's to deal with; unset PYI_GIT_NATIVE to let it")]
pub struct Unsupported(pub &'static str);

/// The file system failed in the middle of what others see.
#[derive(Debug, thiserror::Error)]
#[error("{0}; the command was carried out in part: look at `git status` and `git reflog` before you run it again")]
pub struct PartlyWritten(pub String);

/// This is git's.
fn unsupported<T>(what: &'static str) -> Result<T, Failure> {
    Err(Unsupported(what).into())
}

/// A work tree and its git directory.
pub struct DiskSite<'r> {
    git: &'r GitDirectory,
    format: ObjectFormat,
    config: Config,
    top: PathBuf,
    root: Dir,
    /// Rules for what is ignored that stand outside of the work tree, those that win last.
    excludes: Vec<Arc<PatternList>>,
    /// `info/exclude` as it stands.
    exclude: Option<Bytes>,
    index: Option<Arc<IndexView>>,
    /// When the index was written, and which file it was.
    index_time: (u32, u32),
    /// Times count to the second, as for git.
    by_seconds: bool,
    index_stamp: Option<(u64, i64, i64, u64)>,
    has_attributes: bool,
    /// Files that were found to be as the index has them, which the index does not know.
    stale: Vec<Vec<u8>>,
    attributes: Attributes,
    place: Place,
    work: Vec<WorkFile>,
    trees: Trees,
    only_looks: bool,
    early: Option<Early<'r>>,
    /// What will be asked about untracked files, and what was found out meanwhile.
    asked: Option<Asked>,
    untracked: Option<(Asked, Vec<Vec<u8>>)>,
    refs: Option<Arc<BTreeMap<Vec<u8>, Oid>>>,
    /// Those that are symbolic, if `refs` was read.
    symbolic: Vec<Vec<u8>>,
    logs: BTreeMap<Vec<u8>, Arc<Vec<Bytes>>>,
    /// What refs were when they were first asked for.
    seen: HashMap<Vec<u8>, Option<Oid>>,
    /// What `HEAD` was when it was first asked for.
    head: Option<Vec<u8>>,
    pending: Pending,
}

impl<'r> DiskSite<'r> {
    /// The work tree at `top` of a git directory, with a configuration that was read and checked. `excludes`: files with rules for what is ignored beside
    /// those of the work tree and `info/exclude`. O(1): nothing else is read yet.
    ///
    /// # Errors
    /// `Storage`; [`Unsupported`] for what is git's.
    pub fn open(top: &Path, git: &'r GitDirectory, config: Config, excludes: &[PathBuf]) -> Result<Self, Failure> {
        let root = Dir::open(top).map_err(|error| Error::io("open", top, &error))?;
        let mut site = DiskSite {
            git,
            format: git.format(),
            config,
            top: top.to_path_buf(),
            root,
            excludes: Vec::new(),
            exclude: None,
            index: None,
            index_time: (0, 0),
            by_seconds: false,
            index_stamp: None,
            has_attributes: false,
            stale: Vec::new(),
            attributes: Attributes::default(),
            place: Place::default(),
            work: Vec::new(),
            trees: Trees::default(),
            only_looks: false,
            early: None,
            asked: None,
            untracked: None,
            refs: None,
            symbolic: Vec::new(),
            logs: BTreeMap::new(),
            seen: HashMap::new(),
            head: None,
            pending: Pending::default(),
        };
        // Git warns of one that is a symlink, and reads nothing.
        let rules = site.stat(b".gitattributes")?;
        if rules.is_some_and(|stat| stat.file_type() != FileType::File) {
            return unsupported("a .gitattributes that is no file");
        }
        for path in excludes {
            match read_regular(path) {
                Ok(text) => site.excludes.push(Arc::new(PatternList::parse(&text))),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(_) => return unsupported("rules that cannot be read"),
            }
        }
        if let Some(text) = site.git_file(b"info/exclude")? {
            site.excludes.push(Arc::new(PatternList::parse(&text)));
            site.exclude = Some(text.into());
        }
        Ok(site)
    }

    /// Whether an operation is in the middle of something (a merge, a rebase), or the git directory has something else that commands would
    /// have to heed.
    #[must_use]
    pub fn is_in_progress(&self) -> bool {
        let there = |name: &str| fs::symlink_metadata(self.git.path().join(name)).is_ok();
        IN_PROGRESS.into_iter().any(|name| self.git.has(name))
            || (self.git.has("info") && (there("info/sparse-checkout") || there("info/attributes")))
    }

    /// Whether the index remembers conflicts that were resolved: commands that go elsewhere forget them.
    ///
    /// # Errors
    /// [`Unsupported`] for an index that is git's, `Storage`.
    pub fn remembers_conflicts(&mut self) -> Result<bool, Failure> {
        Ok(self.view()?.has_resolve_undo())
    }

    /// Files that were written in the second of the index are read, as git reads them, for commands that put files back: what is stored of them may be
    /// something else than it was, though the files are the same (other attributes).
    pub fn compare_by_seconds(&mut self) {
        self.by_seconds = true;
    }

    /// Nothing that is read becomes part of what is written: packed objects need not be hashed again, as git does not.
    pub fn only_look(&mut self) {
        self.only_looks = true;
        self.trees.only_look();
    }

    /// Hands long answers of walks to `sink` while they are made. They are not in the outcome then.
    pub fn show_early(&mut self, sink: Sink<'r>) {
        self.early = Some(Early::new(sink));
    }

    fn read_object(&self, oid: &Oid) -> Result<Option<Object>, Failure> {
        let objects = self.git.objects()?;
        Ok(match self.only_looks {
            true => objects.look(oid)?,
            false => objects.read(oid)?,
        })
    }

    /// Whether files were read that are as the index has them, though its stat data say otherwise: git would write that down.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Whether something is staged that the index did not have.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.pending.index_changed || !self.pending.is_settled()
    }

    /// Whether files go that stand below a directory (with a slash behind), or it goes itself: git leaves the one there in which it was started.
    #[must_use]
    pub fn removes_below(&self, directory: &[u8]) -> bool {
        self.pending.plan.removes_below(directory)
    }

    /// Writes down in the index what all tracked files are now, where it knows other stat data of them. O(files).
    ///
    /// # Errors
    /// As [`DiskSite::finish`].
    pub fn refresh(&mut self) -> Result<(), Failure> {
        self.changed(&[])?;
        self.finish(true)
    }

    /// Looks at all tracked files if they are few, else at some of them, and at all if the index knows nothing of one of those: a work tree that was copied,
    /// or unpacked.
    fn look_around(&mut self) -> Result<(), Failure> {
        self.settle()?;
        let view = self.view()?;
        if view.len() > FILES_FEW {
            let some = (0..view.len()).step_by(view.len() / FILES_ASKED);
            let files = Files {
                root: &self.root,
                view: &view,
                ranges: some.map(|at| at..at + 1).collect(),
                index_time: self.index_time,
            };
            let suspects = files
                .suspects()
                .map_err(|error| self.io("look at files of", b"", &error))?;
            for at in suspects {
                self.look(&view.entry(at))?;
            }
            if self.stale.is_empty() {
                return Ok(());
            }
        }
        self.changed(&[])?;
        Ok(())
    }

    /// The index, read when it is first asked for.
    fn view(&mut self) -> Result<Arc<IndexView>, Failure> {
        if let Some(index) = &self.index {
            return Ok(index.clone());
        }
        let path = self.git.path().join("index");
        let failed = |error: &io::Error| Error::io("read", &path, error);
        // A pipe is not waited for.
        let mut options = fs::OpenOptions::new();
        let view = match options.read(true).custom_flags(libc::O_NONBLOCK).open(&path) {
            Ok(file) => {
                let about = file.metadata().map_err(|error| failed(&error))?;
                if !about.is_file() {
                    return unsupported("an index that is no file");
                }
                let bytes = whole(file, about.len()).map_err(|error| failed(&error))?;
                self.index_time = (u32::try_from(about.mtime())?, u32::try_from(about.mtime_nsec())?);
                if self.by_seconds {
                    self.index_time.1 = 0;
                }
                self.index_stamp = Some((about.ino(), about.mtime(), about.mtime_nsec(), about.len()));
                IndexView::parse(self.format, bytes)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => IndexView::new(self.format),
            Err(error) => return Err(failed(&error).into()),
        };
        if !view.is_plain() {
            return unsupported("odd entries of the index");
        }
        // The untracked cache and the file system monitor would have to be kept up; the others are for speed alone.
        if view.skipped().iter().any(|name| !matches!(name, b"EOIE" | b"IEOT")) {
            return unsupported("an extension of the index");
        }
        let view = Arc::new(view);
        self.index = Some(view.clone());
        let tracked = (0..view.len()).map(|at| view.path(at));
        let tracked: Vec<&[u8]> = tracked.filter(|path| path.ends_with(b".gitattributes")).collect();
        self.has_attributes = !tracked.is_empty();
        for path in tracked.into_iter().chain([&b".gitattributes"[..]]) {
            let found = self.stat(path)?;
            self.has_attributes |= found.is_some();
            if found.is_some_and(|stat| stat.file_type() != FileType::File) {
                return unsupported("a .gitattributes that is no file");
            }
        }
        Ok(view)
    }

    /// The index is another one now.
    fn set_view(&mut self, view: IndexView) {
        self.index = Some(Arc::new(view));
    }

    /// What differs from a tree to the index.
    fn staged(&mut self, tree: Option<Oid>, within: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        self.settle()?;
        let view = self.view()?;
        let mut changes = Vec::new();
        if tree.is_some() && tree == view.root_tree() {
            // As in `diff_index`, which needs more of the index.
            if let Some(tree) = tree {
                self.trees.read(self.git, &tree)?;
            }
            return Ok(changes);
        }
        let known = view.cache_tree()?;
        let top = Below {
            view: &view,
            above: b"",
            range: 0..view.len(),
            known: known.as_ref(),
            within,
        };
        self.trees.diff_index(self.git, tree, &top, &mut changes, 0)?;
        Ok(changes)
    }

    fn tree_of(&mut self, view: View) -> Result<Option<Oid>, Failure> {
        match view {
            View::Empty => Ok(None),
            View::Of(oid) => Ok(Some(self.trees.of(self.git, &oid)?)),
            View::Work | View::Index => unsupported("this comparison"),
        }
    }

    /// What differs from the index to the files of the work tree.
    fn changed(&mut self, within: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        self.settle()?;
        let view = self.view()?;
        let mut wanted = Vec::new();
        if within.is_empty() {
            wanted.push(0..view.len());
        }
        for path in within {
            if let Ok(at) = view.position(path) {
                wanted.push(at..at + 1);
            }
            wanted.push(view.below(path));
        }
        wanted.sort_by_key(|range| range.start);
        let mut ranges = Vec::with_capacity(wanted.len());
        let mut next = 0;
        for range in wanted {
            let start = range.start.max(next);
            next = next.max(range.end);
            if start < next {
                ranges.push(start..next);
            }
        }
        // What is planned stands in no file yet.
        let planned = self.pending.plan.paths().filter_map(|path| view.position(path).ok());
        let planned: Vec<usize> = planned
            .filter(|at| ranges.iter().any(|range| range.contains(at)))
            .collect();
        let files = Files {
            root: &self.root,
            view: &view,
            ranges,
            index_time: self.index_time,
        };
        let no_plan = self.pending.plan.is_empty();
        let mut suspects = match self
            .asked
            .take()
            .filter(|asked| within.is_empty() && asked.within.is_empty() && no_plan)
        {
            Some(asked) => {
                let search = self.search(&view, &asked);
                let (found, looked) = sweep::sweep(search, self.index_time, files.threads())?;
                let rest = Files {
                    ranges: looked.rest,
                    ..files
                };
                let mut suspects = looked.suspects;
                suspects.extend(
                    rest.suspects()
                        .map_err(|error| self.io("look at files of", b"", &error))?,
                );
                self.untracked = Some((asked, found));
                suspects
            }
            None => files
                .suspects()
                .map_err(|error| self.io("look at files of", b"", &error))?,
        };
        suspects.extend(planned);
        suspects.sort_unstable();
        suspects.dedup();
        let mut changes = Vec::new();
        for at in suspects {
            let entry = view.entry(at);
            let new = match self.look(&entry)? {
                Seen::Same => continue,
                Seen::Gone => None,
                Seen::Changed(version) => Some(version),
            };
            changes.push(Change {
                path: entry.path().to_vec(),
                old: Some(stored(entry.mode(), &entry.oid())),
                new,
            });
        }
        Ok(changes)
    }

    /// What differs from a tree to the files of the work tree that are in the index.
    fn changed_since(&mut self, tree: Option<Oid>, within: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        let staged = self.staged(tree, within)?;
        let mut changed: BTreeMap<Vec<u8>, Option<Version>> = BTreeMap::new();
        let mut both: BTreeMap<Vec<u8>, Change> = BTreeMap::new();
        let before = self.stale.len();
        for change in self.changed(within)? {
            changed.insert(change.path.clone(), change.new.clone());
            both.insert(change.path.clone(), change);
        }
        // Git writes down what it finds out if one of the files that it has to read is as the tree has it.
        let mut found = self.stale.split_off(before);
        let others: HashSet<&[u8]> = staged.iter().map(|change| change.path.as_slice()).collect();
        let mut is_noted = found.iter().any(|path| !others.contains(path.as_slice()));
        for change in staged {
            let new = match changed.get(&change.path) {
                Some(work) => work.clone(),
                None => change.new.clone(),
            };
            both.insert(change.path.clone(), Change { new, ..change });
        }
        let mut kept = Vec::with_capacity(both.len());
        for change in both.into_values() {
            let same = match (&change.old, &change.new) {
                (Some(old), Some(new)) if old.mode == new.mode => self.name(old)? == self.name(new)?,
                (None, None) => true,
                _ => false,
            };
            if !same {
                kept.push(change);
            } else if change.new.as_ref().is_some_and(|new| self.work_file(new).is_some()) {
                is_noted = true;
                found.push(change.path);
            }
        }
        if is_noted {
            self.stale.append(&mut found);
        }
        Ok(kept)
    }

    /// The object that a ref leads to.
    fn follow(&self, name: &[u8]) -> Result<Option<Oid>, Failure> {
        let mut at = name.to_vec();
        for _ in 0..SYMBOLIC_MAX {
            match self.git.read_ref(&at)? {
                None => return Ok(None),
                Some(RefValue::Object(oid)) => return Ok(Some(oid)),
                Some(RefValue::Symbolic(next)) => at = next,
            }
        }
        unsupported("symbolic refs of symbolic refs")
    }

    fn all_refs(&mut self) -> Result<Arc<BTreeMap<Vec<u8>, Oid>>, Failure> {
        if let Some(refs) = &self.refs {
            return Ok(refs.clone());
        }
        let mut refs = BTreeMap::new();
        for (name, value) in self.git.refs()? {
            let oid = match value {
                RefValue::Object(oid) => Some(oid),
                RefValue::Symbolic(next) => {
                    self.symbolic.push(name.clone());
                    self.follow(&next)?
                }
            };
            match oid {
                Some(oid) => drop(refs.insert(name, oid)),
                // Git warns of some of these.
                None => return unsupported("a ref that leads nowhere"),
            }
        }
        let refs = Arc::new(refs);
        self.refs = Some(refs.clone());
        Ok(refs)
    }
}

/// The content of a file of this size. A large one is mapped.
fn whole(mut file: fs::File, size_bytes: u64) -> io::Result<Bytes> {
    if size_bytes >= MAPPED_BYTES {
        // SAFETY: whoever writes an index puts a new file in its place; one that is cut short while it is read stops this process with SIGBUS, as it does git.
        let mapped = unsafe { memmap2::MmapOptions::new().populate().map(&file) }?;
        return Ok(Bytes::from_owner(mapped));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0) + 1);
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(bytes.into())
}
