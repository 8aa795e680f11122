//! What stands in the work tree and is not in the index.

use std::ops::Range;
use std::sync::Arc;

use pyi_git::command::Failure;
use pyi_git::ignore::{IgnoreStack, PatternList};
use pyi_git::index_view::IndexView;

use super::{DiskSite, unsupported};
use crate::sandbox::os::{Dir, FileType};

/// Directories in directories.
const DEPTH_MAX: usize = 512;

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
}

/// What is tracked in one directory.
#[derive(Default)]
struct Tracked<'i> {
    /// Names of files, in byte order.
    files: Vec<&'i [u8]>,
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
                tracked.files.push(rest);
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

    /// Looks everywhere. O(directories with anything tracked, and what is in them and in others that are found).
    pub(super) fn all(mut self) -> Untracked {
        let root = self.root;
        self.walk(root, b"", 0..self.view.len(), false, 0)?;
        self.found.sort_unstable();
        Ok(self.found)
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
        let mut any = false;
        for at in 0..names.len() {
            let name = names.name(at);
            while files.next_if(|known| **known < name).is_some() {}
            let is_tracked = files.peek().is_some_and(|known| **known == name);
            if depth == 0 && name == b".git" {
                continue;
            }
            let kind = match names.file_type(at) {
                Some(kind) => kind,
                None => directory.stat(name)?.file_type(),
            };
            if is_tracked && kind != FileType::Directory {
                continue;
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
            let known = tracked.directories.binary_search_by(|known| known.0.cmp(name)).ok();
            let range = known
                .and_then(|known| tracked.directories.get(known))
                .map(|known| known.1.clone());
            let inside = directory.directory(name)?;
            let below = [&path[..], b"/"].concat();
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
                        if !is_tracked {
                            self.found.push(below);
                        }
                    }
                }
                None => {
                    self.walk(&inside, &below, 0..0, false, depth + 1)?;
                }
            }
        }
        if has_rules {
            self.rules.pop_directory();
        }
        Ok(any)
    }
}

fn read_rules(directory: &Dir, kind: Option<FileType>) -> Result<Option<Arc<PatternList>>, Failure> {
    use std::io::Read;
    match kind {
        Some(FileType::File) => {
            let mut text = Vec::new();
            directory.file(b".gitignore")?.read_to_end(&mut text)?;
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
        }
    }

    pub(super) fn find_untracked(&mut self, asked: Asked) -> Untracked {
        let unsettled = !self.pending.is_settled();
        self.settle()?;
        if let Some((known, found)) = self.untracked.take()
            && known == asked
            && !unsettled
        {
            return found;
        }
        let view = self.view()?;
        self.search(&view, &asked).all()
    }
}
