//! Refs as files: loose ones, `packed-refs`, and what symbolic ones lead to.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyi_git::refname::{RefNameOptions, check_ref_format};
use pyi_git::{ObjectFormat, Oid};

use super::regular::{read_regular, read_regular_itself};
use crate::{Error, Result};

/// Symbolic refs that point at symbolic refs: more than this many are a circle.
const SYMBOLIC_MAX: usize = 5;
/// Directories below `refs` that are looked into.
const DEPTH_MAX: usize = 64;

/// What a ref holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefValue {
    /// The name of an object.
    Object(Oid),
    /// The name of another ref.
    Symbolic(Vec<u8>),
}

/// The refs of a repository that keeps them as files.
#[derive(Clone, Debug)]
pub(crate) struct RefFiles {
    pub(crate) git_dir: PathBuf,
    pub(crate) common_dir: PathBuf,
    pub(crate) format: ObjectFormat,
}

impl RefFiles {
    /// The object that a ref leads to; `None` if the ref, or what it points at, does not exist.
    pub(crate) fn follow(&self, name: &[u8]) -> Result<Option<Oid>> {
        let mut name = name.to_vec();
        for _ in 0..=SYMBOLIC_MAX {
            match self.read(&name)? {
                None => return Ok(None),
                Some(RefValue::Object(oid)) => return Ok(Some(oid)),
                Some(RefValue::Symbolic(next)) => name = next,
            }
        }
        Err(self.broken(&name, "symbolic refs that point in a circle"))
    }

    /// Where a ref stands as a file.
    pub(crate) fn path(&self, name: &[u8]) -> PathBuf {
        let own = !name.starts_with(b"refs/")
            || [&b"refs/bisect/"[..], b"refs/worktree/", b"refs/rewritten/"]
                .iter()
                .any(|part| name.starts_with(part));
        let dir = if own { &self.git_dir } else { &self.common_dir };
        dir.join(OsStr::from_bytes(name))
    }

    pub(crate) fn read(&self, name: &[u8]) -> Result<Option<RefValue>> {
        match self.read_loose(name)? {
            Some(found) => Ok(Some(found)),
            None => Ok(self.packed(name)?.map(RefValue::Object)),
        }
    }

    /// A ref that has a file of its own.
    pub(crate) fn read_loose(&self, name: &[u8]) -> Result<Option<RefValue>> {
        let path = self.path(name);
        // Git takes a ref that is a link for a symbolic one, if it leads to a ref; only HEAD may be one here. What is no name of a ref is nowhere,
        // wherever it would lead.
        let read = if name.starts_with(b"refs/") {
            if check_ref_format(name, RefNameOptions::default()).is_err() {
                return Ok(None);
            }
            read_regular_itself(&path)
        } else {
            read_regular(&path)
        };
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
                if matches!(error.kind(), IsADirectory | NotADirectory | NotFound) {
                    return Ok(None);
                }
                return Err(Error::io("read", &path, &error));
            }
        };
        let text = text.trim_ascii_end();
        if let Some(target) = text.strip_prefix(b"ref:") {
            let target = target.trim_ascii_start();
            check_ref_format(target, RefNameOptions::default())
                .map_err(|error| self.broken(name, &error.to_string()))?;
            return Ok(Some(RefValue::Symbolic(target.to_vec())));
        }
        match Oid::from_hex(text) {
            Ok(oid) if oid.format() == self.format => Ok(Some(RefValue::Object(oid))),
            _ => Err(self.broken(name, "it holds no object name")),
        }
    }

    fn packed(&self, name: &[u8]) -> Result<Option<Oid>> {
        self.packed_in(&self.packed_text()?, name)
    }

    /// A ref in the text of `packed-refs`.
    pub(crate) fn packed_in(&self, text: &[u8], name: &[u8]) -> Result<Option<Oid>> {
        let hex_len = self.format.hex_len();
        let line = text.split(|&byte| byte == b'\n').find(|line| {
            line.len() == hex_len + 1 + name.len() && line.get(hex_len) == Some(&b' ') && line.ends_with(name)
        });
        let Some(line) = line else { return Ok(None) };
        let oid = Oid::from_hex(line.get(..hex_len).unwrap_or_default());
        oid.map(Some).map_err(|error| self.broken(name, &error.to_string()))
    }

    /// `packed-refs` as it stands; empty if there is none.
    pub(crate) fn packed_text(&self) -> Result<Vec<u8>> {
        let path = self.common_dir.join("packed-refs");
        match read_regular(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::io("read", &path, &error)),
        }
    }

    /// Git looks into a file that says it is sorted, and reads every line of any other one. O(1) or O(packed refs).
    pub(crate) fn check_packed(&self, text: &[u8]) -> Result<()> {
        let wrong = || self.broken(b"packed-refs", "a line in it is malformed");
        let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if text.last().is_some_and(|&byte| byte != b'\n') {
            return Err(wrong());
        }
        if first.starts_with(b"# pack-refs with:") && first.ends_with(b" sorted ") {
            return Ok(());
        }
        let hex_len = self.format.hex_len();
        let is_name = |text: &[u8]| text.len() == hex_len && text.iter().all(u8::is_ascii_hexdigit);
        let is_line = |line: &[u8]| match line.split_at_checked(hex_len) {
            _ if line.starts_with(b"#") => true,
            _ if line.starts_with(b"^") => line.get(1..).is_some_and(is_name),
            Some((hex, rest)) => is_name(hex) && rest.len() > 1 && rest.starts_with(b" "),
            None => line.is_empty(),
        };
        match text.split(|&byte| byte == b'\n').all(is_line) {
            true => Ok(()),
            false => Err(wrong()),
        }
    }

    /// Every ref below `refs/`, by name. A file that is no ref is an error: git warns of it.
    pub(crate) fn all(&self) -> Result<BTreeMap<Vec<u8>, RefValue>> {
        let mut refs = BTreeMap::new();
        let mut waiting = vec![(b"refs".to_vec(), 0)];
        while let Some((name, depth)) = waiting.pop() {
            let dir = self.path(&name);
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("list", &dir, &error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| Error::io("list", &dir, &error))?;
                let below = [&name[..], b"/", entry.file_name().as_bytes()].concat();
                let kind = entry.file_type().map_err(|error| Error::io("list", &dir, &error))?;
                if kind.is_symlink() {
                    return Err(self.broken(&below, "it is a link"));
                }
                if kind.is_dir() {
                    if depth >= DEPTH_MAX {
                        return Err(self.broken(&below, "directories are nested too deep"));
                    }
                    waiting.push((below, depth + 1));
                    continue;
                }
                check_ref_format(&below, RefNameOptions::default())
                    .map_err(|error| self.broken(&below, &error.to_string()))?;
                if let Some(value) = self.read_loose(&below)? {
                    refs.insert(below, value);
                }
            }
        }
        // After the loose ones, which win: a ref that is packed meanwhile is in one or the other.
        let packed = self.packed_text()?;
        for line in packed.split(|&byte| byte == b'\n') {
            if matches!(line.first(), None | Some(b'#' | b'^')) {
                continue;
            }
            let name = line.get(self.format.hex_len() + 1..).unwrap_or_default();
            let wrong = || self.broken(name, "its line in packed-refs is malformed");
            let hex = line.get(..self.format.hex_len()).ok_or_else(wrong)?;
            let oid = Oid::from_hex(hex).map_err(|_| wrong())?;
            check_ref_format(name, RefNameOptions::default()).map_err(|_| wrong())?;
            refs.entry(name.to_vec()).or_insert(RefValue::Object(oid));
        }
        Ok(refs)
    }

    pub(crate) fn broken(&self, name: &[u8], what: &str) -> Error {
        let name = String::from_utf8_lossy(name);
        Error::git(format!(
            "{}: ref {name:?} is broken: {what}; `git fsck` tells more",
            self.common_dir.display()
        ))
    }

    pub(crate) fn common_dir(&self) -> &Path {
        &self.common_dir
    }
}
