//! What stands in the work tree and is not in the index.

use std::ops::Range;
use std::sync::Arc;

use pyi_git::command::Failure;
use pyi_git::ignore::{IgnoreStack, PatternList};
use pyi_git::index_view::IndexView;

use super::sweep::{Looked, Queue, Task};
use super::{DiskSite, unsupported};
use crate::sandbox::os::{Dir, FileType};

/// Directories in directories.
const DEPTH_MAX: usize = 512;
/// Git reads no file of rules that is longer.
const RULES_MAX_BYTES: u64 = 100 << 20;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Directories without anything tracked stand for all in them.
    pub(super) collapse: bool,
    /// Whether what is ignored is wanted too.
    pub(super) ignored: bool,
    pub(super) within: Vec<Vec<u8>>,
}

/// The paths that were found, sorted.
pub(super) type Untracked = Result<Vec<Vec<u8>>, Failure>;

/// A search.
pub(super) struct Search<'s> {
    root: &'s Dir,
    view: &'s IndexView,
    rules: IgnoreStack,
    collapse: bool,
    /// Whether what is ignored is wanted too.
    ignored: bool,
    within: &'s [Vec<u8>],
    found: Vec<Vec<u8>>,
    /// What tracked files look like, if that is asked too.
    looked: Option<Looked>,
    queue: Option<&'s Queue>,
}

/// What is tracked in one directory.
#[derive(Default)]
struct Tracked<'i> {
    /// Names of files and their entries, in byte order.
    files: Vec<(&'i [u8], usize)>,
    /// Names of directories and their entries, by name.
    directories: Vec<(&'i [u8], Range<usize>)>,
}

impl<'s> Search<'s> {
    fn tracked(&self, range: Range<usize>, above: usize) -> Tracked<'s> {
        let mut tracked = Tracked::default();
        let view: &'s IndexView = self.view;
        let mut at = range.start;
        while at < range.end {
            let path = view.path(at);
            let rest = path.get(above..).unwrap_or_default();
            let Some(slash) = rest.iter().position(|&byte| byte == b'/') else {
                tracked.files.push((rest, at));
                at += 1;
                continue;
            };
            let end = view.end_of(at..range.end, path.get(..above + slash + 1).unwrap_or_default());
            tracked
                .directories
                .push((rest.get(..slash).unwrap_or_default(), at..end));
            at = end;
        }
        tracked.directories.sort_unstable_by(|a, b| a.0.cmp(b.0));
        tracked
    }

    /// Whether a path is asked for, or is above what is.
    fn leads(&self, path: &[u8]) -> bool {
        let below = |path: &[u8], of: &[u8]| {
            path.strip_prefix(of)
                .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
        };
        self.within.is_empty() || self.within.iter().any(|one| below(path, one) || below(one, path))
    }

    pub(super) fn view(&self) -> &'s IndexView {
        self.view
    }

    pub(super) fn rules(&self) -> IgnoreStack {
        self.rules.clone()
    }

    /// The same search, of which nothing was found yet.
    pub(super) fn again(&self) -> Self {
        Search {
            rules: self.rules.clone(),
            within: self.within,
            found: Vec::new(),
            looked: None,
            ..*self
        }
    }

    /// Compares tracked files too; directories that others can look into go into the queue.
    pub(super) fn looking(self, looked: Looked, queue: Option<&'s Queue>) -> Self {
        Search {
            looked: Some(looked),
            queue,
            ..self
        }
    }

    /// Looks everywhere. O(directories with anything tracked, and what is in them and in others that are found).
    pub(super) fn all(mut self) -> Untracked {
        self.begin(0..self.view.len())?;
        Ok(self.done().0)
    }

    pub(super) fn begin(&mut self, range: Range<usize>) -> Result<(), Failure> {
        let root = self.root;
        self.walk(root, b"", range, false, 0).map(drop)
    }

    /// Looks into a directory that waited.
    pub(super) fn resume(&mut self, task: Task) -> Result<(), Failure> {
        self.rules = task.rules;
        if task.above.is_empty() {
            return self.begin(task.range);
        }
        let mut parts = task.above.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
        let first = parts.next().unwrap_or_default();
        let mut directory = self.root.directory(first)?;
        for part in parts {
            directory = directory.directory(part)?;
        }
        self.walk(&directory, &task.above, task.range, false, task.depth)
            .map(drop)
    }

    /// What was found, sorted.
    pub(super) fn done(mut self) -> (Vec<Vec<u8>>, Looked) {
        self.found.sort_unstable();
        (self.found, self.looked.unwrap_or_default())
    }

    /// Looks into a directory; `only_whether`: ends with the first that is found.
    fn walk(
        &mut self,
        directory: &Dir,
        above: &[u8],
        range: Range<usize>,
        only_whether: bool,
        depth: usize,
    ) -> Result<bool, Failure> {
        if depth > DEPTH_MAX {
            return unsupported("directories that are too deep");
        }
        let names = directory.list()?;
        if depth > 0 && names.contains(b".git") {
            return unsupported("a repository in the work tree");
        }
        let list = match names.find(b".gitignore") {
            Some(at) => read_rules(directory, names.file_type(at))?,
            None => None,
        };
        let has_rules = list.is_some();
        if let Some(list) = list {
            self.rules
                .push_directory(above.strip_suffix(b"/").unwrap_or(above), list);
        }
        let tracked = self.tracked(range, above.len());
        let mut files = tracked.files.iter().peekable();
        let mut directories = tracked.directories.iter().peekable();
        let mut any = false;
        for at in 0..names.len() {
            let name = names.name(at);
            while let Some((_, gone)) = files.next_if(|known| known.0 < name) {
                self.suspect(*gone..gone + 1);
            }
            while let Some((_, gone)) = directories.next_if(|known| known.0 < name) {
                self.suspect(gone.clone());
            }
            let known_file = files.next_if(|known| known.0 == name).map(|known| known.1);
            let range = directories
                .next_if(|known| known.0 == name)
                .map(|known| known.1.clone());
            if depth == 0 && name == b".git" {
                continue;
            }
            let kind = match names.file_type(at) {
                Some(kind) => kind,
                None => directory.stat(name)?.file_type(),
            };
            if kind != FileType::Directory {
                if let Some(range) = &range {
                    self.suspect(range.clone());
                }
                if let Some(at) = known_file {
                    self.compare(directory, name, at);
                    continue;
                }
            } else if let Some(at) = known_file {
                self.suspect(at..at + 1);
            }
            if !matches!(kind, FileType::File | FileType::Symlink | FileType::Directory) {
                continue;
            }
            let path = [above, name].concat();
            if !self.leads(&path) {
                continue;
            }
            let is_directory = kind == FileType::Directory;
            if !self.ignored && self.rules.matched(&path, is_directory) == Some(true) {
                // What is tracked in it is looked at all the same.
                if let (Some(looked), Some(range)) = (&mut self.looked, range) {
                    looked.rest.push(range);
                }
                continue;
            }
            if !is_directory {
                if only_whether {
                    any = true;
                    break;
                }
                self.found.push(path);
                continue;
            }
            let below = [&path[..], b"/"].concat();
            if let (Some(queue), Some(range)) = (self.queue, &range)
                && Queue::takes(range)
            {
                queue.put(Task {
                    above: below,
                    range: range.clone(),
                    rules: self.rules.clone(),
                    depth: depth + 1,
                });
                continue;
            }
            let inside = directory.directory(name)?;
            match range {
                Some(range) => {
                    self.walk(&inside, &below, range, only_whether, depth + 1)?;
                }
                None if self.collapse || only_whether => {
                    if self.walk(&inside, &below, 0..0, true, depth + 1)? {
                        any = true;
                        if only_whether {
                            break;
                        }
                        // Git leaves out one that stands where a tracked file was.
                        if known_file.is_none() {
                            self.found.push(below);
                        }
                    }
                }
                None => {
                    self.walk(&inside, &below, 0..0, false, depth + 1)?;
                }
            }
        }
        for (_, gone) in files {
            self.suspect(*gone..gone + 1);
        }
        for (_, gone) in directories {
            self.suspect(gone.clone());
        }
        if has_rules {
            self.rules.pop_directory();
        }
        Ok(any)
    }

    fn suspect(&mut self, range: Range<usize>) {
        if let Some(looked) = &mut self.looked {
            looked.suspects.extend(range);
        }
    }

    fn compare(&mut self, directory: &Dir, name: &[u8], at: usize) {
        if let Some(mut looked) = self.looked.take() {
            looked.compare(self, directory, name, at);
            self.looked = Some(looked);
        }
    }
}

fn read_rules(directory: &Dir, kind: Option<FileType>) -> Result<Option<Arc<PatternList>>, Failure> {
    use std::io::Read;
    match kind {
        Some(FileType::File) => {
            let file = directory.file(b".gitignore")?;
            let size_bytes = file.metadata()?.len().min(RULES_MAX_BYTES);
            let mut text = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0) + 1);
            file.take(RULES_MAX_BYTES + 1).read_to_end(&mut text)?;
            // Git warns, and reads nothing of it.
            if text.len() as u64 > RULES_MAX_BYTES {
                return unsupported("rules that are so long");
            }
            Ok(Some(Arc::new(PatternList::parse(&text))))
        }
        Some(FileType::Directory) => Ok(None),
        _ => unsupported("a .gitignore that is no file"),
    }
}

impl DiskSite<'_> {
    /// A search that is ready to begin, in any thread.
    pub(super) fn search<'s>(&'s self, view: &'s IndexView, asked: &'s Asked) -> Search<'s> {
        let mut rules = IgnoreStack::new(false);
        for list in &self.excludes {
            rules.push_exclude(list.clone());
        }
        Search {
            root: &self.root,
            view,
            rules,
            collapse: asked.collapse,
            ignored: asked.ignored,
            within: &asked.within,
            found: Vec::new(),
            looked: None,
            queue: None,
        }
    }

    pub(super) fn find_untracked(&mut self, asked: Asked) -> Untracked {
        let unsettled = !self.pending.is_settled() || !self.pending.plan.is_empty();
        self.settle()?;
        let view = self.view()?;
        if self.pending.plan.paths().any(|path| view.position(path).is_err()) {
            return unsupported("a list of files that are about to change");
        }
        if let Some((known, found)) = self.untracked.take()
            && known == asked
            && !unsettled
        {
            return Ok(found);
        }
        if self.are_files(&view, &asked.within)? {
            return Ok(Vec::new());
        }
        self.search(&view, &asked).all()
    }

    /// Whether all paths (there are some) are tracked files that are no directories now: nothing can be found below them.
    fn are_files(&mut self, view: &IndexView, within: &[Vec<u8>]) -> Result<bool, Failure> {
        for path in within {
            let is_file = view.position(path).is_ok()
                && self
                    .stat(path)?
                    .is_some_and(|stat| stat.file_type() != FileType::Directory);
            if !is_file {
                return Ok(false);
            }
        }
        Ok(!within.is_empty())
    }
}
