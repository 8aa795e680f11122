//! The tags of a source.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pyi_git::Oid;
use pyi_git::refname::{RefNameOptions, check_ref_format};

use super::command::{complaint, git_reading, run};
use super::ref_files::RefValue;
use super::source::GitSource;
use crate::{Error, Result};

/// Where tags stand.
const TAGS: &[u8] = b"refs/tags/";
/// How long after a file changed a look at it may have missed another change: coarse file system clocks.
const CLOCK_GRAIN: Duration = Duration::from_millis(50);
/// Directories below `refs/tags` that are looked into.
const DEPTH_MAX: usize = 32;

/// Tags, and what the files looked like that they were read from.
pub(crate) struct Tags {
    stamp: Vec<(PathBuf, Stamp)>,
    when: SystemTime,
    pub(crate) names: BTreeMap<Vec<u8>, Oid>,
}

/// When and how large a file or directory was, and which.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

impl Tags {
    /// Whether the files may say something else by now. Git writes every ref under another name first, so that directories change too.
    fn is_stale(&self) -> bool {
        self.stamp.iter().any(|(path, then)| {
            let now = stamp(path);
            now != *then || now.is_some_and(|(time, ..)| time + CLOCK_GRAIN > self.when)
        })
    }
}

impl GitSource {
    /// All tags: the full name, and what it is at. A ref that is broken is left out, as git leaves it out of what it offers. `last` is what
    /// was found before. O(directories of tags) if nothing changed, else O(refs).
    ///
    /// # Errors
    /// `Storage`; `GitError` if git has to be asked and refuses.
    pub(crate) fn tags(&self, last: Option<Arc<Tags>>) -> Result<Arc<Tags>> {
        if let Some(last) = last
            && !last.stamp.is_empty()
            && !last.is_stale()
        {
            return Ok(last);
        }
        let when = SystemTime::now();
        let mut stamp = Vec::new();
        let names = if self.layout.refs_are_files {
            self.read_tags(&mut stamp)?
        } else {
            self.ask_for_tags()?
        };
        Ok(Arc::new(Tags { stamp, when, names }))
    }

    fn read_tags(&self, stamps: &mut Vec<(PathBuf, Stamp)>) -> Result<BTreeMap<Vec<u8>, Oid>> {
        let mut tags = BTreeMap::new();
        let path = self.common_dir().join("packed-refs");
        stamps.push((path.clone(), stamp(&path)));
        match fs::read(&path) {
            Ok(text) => {
                for line in text.split(|&byte| byte == b'\n') {
                    self.take_line(line, &mut tags);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &path, &error)),
        }
        let mut waiting = vec![(self.common_dir().join("refs/tags"), TAGS.to_vec(), 0)];
        while let Some((dir, name, depth)) = waiting.pop() {
            stamps.push((dir.clone(), stamp(&dir)));
            for entry in list(&dir)? {
                let name = [&name[..], entry.as_bytes()].concat();
                let path = dir.join(&entry);
                if path.is_dir() {
                    if depth < DEPTH_MAX {
                        waiting.push((path, [&name[..], b"/"].concat(), depth + 1));
                    }
                } else if check_ref_format(&name, RefNameOptions::default()).is_ok()
                    && let Ok(Some(RefValue::Object(oid))) = self.read_ref(&name)
                {
                    tags.insert(name, oid);
                }
            }
        }
        Ok(tags)
    }

    fn take_line(&self, line: &[u8], tags: &mut BTreeMap<Vec<u8>, Oid>) {
        let Some((hex, rest)) = line.split_at_checked(self.format().hex_len()) else {
            return;
        };
        if let Some(name) = rest.strip_prefix(b" ").filter(|name| name.starts_with(TAGS))
            && let Ok(oid) = Oid::from_hex(hex)
            && check_ref_format(name, RefNameOptions::default()).is_ok()
        {
            tags.insert(name.to_vec(), oid);
        }
    }

    fn ask_for_tags(&self) -> Result<BTreeMap<Vec<u8>, Oid>> {
        let mut command = git_reading(self.git_dir());
        command.args(["for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"]);
        let output = run(command)?;
        if !output.status.success() {
            return Err(Error::git(format!("git cannot list tags: {}", complaint(&output))));
        }
        let mut tags = BTreeMap::new();
        for line in output.stdout.split(|&byte| byte == b'\n') {
            self.take_line(line, &mut tags);
        }
        Ok(tags)
    }
}

fn list(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(Error::io("list", dir, &error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok().map(|entry| entry.file_name());
    Ok(entries.filter_map(name).filter(|name| name != OsStr::new("")).collect())
}
