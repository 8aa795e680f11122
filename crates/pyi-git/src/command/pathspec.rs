//! Which paths a command is about.

use super::{Call, Found, Run, View, unavailable};
use crate::wildmatch::{WildOptions, has_wildcard, wildmatch};

/// One argument.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// As it was given.
    pub(crate) given: Vec<u8>,
    /// Without `./`, and without a slash at the end.
    pub(crate) path: Vec<u8>,
    /// It has wildcards.
    pub(crate) wild: bool,
    /// It ended with a slash: only a directory will do.
    directory: bool,
}

/// All of a command's; none means everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pathspec {
    pub(crate) items: Vec<Item>,
}

impl Item {
    /// Whether a file's path is meant.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        if self.path.is_empty() {
            return true;
        }
        if let Some(rest) = path.strip_prefix(self.path.as_slice())
            && ((rest.is_empty() && !self.directory) || rest.first() == Some(&b'/'))
        {
            return true;
        }
        self.wild && wildmatch(&self.path, path, WildOptions::default())
    }
}

impl Pathspec {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Paths at or below which everything is that is meant; none if that is everywhere.
    pub(crate) fn roots(&self) -> Vec<Vec<u8>> {
        let mut roots = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let mut root = item.path.as_slice();
            if item.wild {
                let plain = root
                    .iter()
                    .position(|byte| b"*?[\\".contains(byte))
                    .unwrap_or(root.len());
                let start = root.get(..plain).unwrap_or_default();
                let end = start.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                root = root.get(..end).unwrap_or_default();
            }
            if root.is_empty() {
                return Vec::new();
            }
            roots.push(root.to_vec());
        }
        roots
    }

    /// Whether it has wildcards.
    pub(crate) fn is_wild(&self) -> bool {
        self.items.iter().any(|item| item.wild)
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.items.is_empty() || self.items.iter().any(|item| item.matches(path))
    }

    /// Reads arguments, which are relative to the top.
    pub(crate) fn parse(call: &mut Call<'_>, given: &[Vec<u8>]) -> Run<Pathspec> {
        let mut items = Vec::with_capacity(given.len());
        for word in given {
            if word.is_empty() {
                return Err(call.die(
                    "empty string is not a valid pathspec. please use . instead if you meant to match all paths",
                ));
            }
            let magic = word.starts_with(b":") && word != b":/" && word != b":";
            let mut parts: Vec<&[u8]> = Vec::new();
            if word != b":/" && word != b":" {
                parts.extend(
                    word.split(|&byte| byte == b'/')
                        .filter(|part| !part.is_empty() && *part != b"."),
                );
            }
            if magic || word.starts_with(b"/") || parts.contains(&&b".."[..]) {
                return unavailable(format!("the pathspec {:?}", String::from_utf8_lossy(word)));
            }
            let path = parts.join(&b'/');
            items.push(Item {
                given: word.clone(),
                wild: has_wildcard(&path),
                directory: word.ends_with(b"/") && !path.is_empty(),
                path,
            });
        }
        Ok(Pathspec { items })
    }

    /// The items that mean no path of `paths`.
    pub(crate) fn unmatched<'p>(&self, paths: impl Iterator<Item = &'p [u8]> + Clone) -> Vec<Item> {
        let unused = self
            .items
            .iter()
            .filter(|item| !paths.clone().any(|path| item.matches(path)));
        unused.cloned().collect()
    }
}

impl Call<'_> {
    /// Whether an item means anything in a view. O(depth) for one without wildcards.
    pub(crate) fn means_something(&mut self, item: &Item, view: View) -> Run<bool> {
        if !item.path.is_empty() {
            match self.site.find(view, &item.path)? {
                Some(Found::File(_)) if !item.directory => return Ok(true),
                Some(Found::Directory) => return Ok(!self.site.files(view, &item.path)?.is_empty()),
                _ if !item.wild => return Ok(false),
                _ => {}
            }
        }
        let files = self.site.files(view, b"")?;
        Ok(files.iter().any(|(path, _)| item.matches(path)))
    }

    /// The files of a view that a pathspec means. O(files) only where it has wildcards or is empty.
    pub(crate) fn matching(&mut self, pathspec: &Pathspec, view: View) -> Run<Vec<(Vec<u8>, super::Version)>> {
        if pathspec.is_empty() || pathspec.items.iter().any(|item| item.wild || item.path.is_empty()) {
            let mut files = self.site.files(view, b"")?;
            files.retain(|(path, _)| pathspec.matches(path));
            return Ok(files);
        }
        let mut files = Vec::new();
        for item in &pathspec.items {
            match self.site.find(view, &item.path)? {
                Some(Found::File(version)) if !item.directory => files.push((item.path.clone(), version)),
                Some(Found::Directory) => files.extend(self.site.files(view, &item.path)?),
                _ => {}
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        files.dedup_by(|a, b| a.0 == b.0);
        Ok(files)
    }
}
