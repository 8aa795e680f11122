//! Git's ignore rules for a walk: exclude files, and the `.gitignore` of each directory as it is on disk now.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use pyi_git::ignore::{IgnoreStack, PatternList};

use super::os::{Dir, FileType, stat_fd};

/// The rules in force at one directory of a walk.
pub(super) struct Rules {
    stack: IgnoreStack,
}

impl Rules {
    /// Rules of these exclude files, the weakest first; files that are not there count as empty.
    pub(super) fn new(exclude_files: &[&Path]) -> Self {
        let mut stack = IgnoreStack::new(false);
        for file in exclude_files {
            if let Ok(text) = std::fs::read(file) {
                stack.push_exclude(Arc::new(PatternList::parse(&text)));
            }
        }
        Rules { stack }
    }

    /// Enters a directory whose `.gitignore` is in `dir`; `false` if there is none, and nothing to leave. As in git, a
    /// symlink is none.
    pub(super) fn enter(&mut self, path: &[u8], dir: &Dir) -> bool {
        let Some(text) = ignore_file(dir) else { return false };
        self.stack.push_directory(path, Arc::new(PatternList::parse(&text)));
        true
    }

    /// Leaves the directory that was entered last.
    pub(super) fn leave(&mut self) {
        self.stack.pop_directory();
    }

    /// Whether `path`, whose parents are not ignored, is.
    pub(super) fn is_ignored(&self, path: &[u8], is_directory: bool) -> bool {
        self.stack.matched(path, is_directory) == Some(true)
    }
}

fn ignore_file(dir: &Dir) -> Option<Vec<u8>> {
    let mut file = dir.file(b".gitignore").ok()?;
    if stat_fd(file.as_raw_fd()).ok()?.file_type() != FileType::File {
        return None;
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    Some(text)
}
