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
    /// What is left out of it (`:!path`).
    excluded: Vec<Item>,
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
        let is_meant = self.items.is_empty() || self.items.iter().any(|item| item.matches(path));
        is_meant && !self.excluded.iter().any(|item| item.matches(path))
    }

    /// Everything below the directory that arguments are relative to.
    pub(crate) fn here(call: &Call<'_>) -> Pathspec {
        let path = call.prefix.strip_suffix(b"/").unwrap_or_default().to_vec();
        let items = match path.is_empty() {
            true => Vec::new(),
            false => vec![Item {
                given: b".".to_vec(),
                path,
                wild: false,
                directory: true,
            }],
        };
        Pathspec {
            items,
            excluded: Vec::new(),
        }
    }

    /// Reads arguments, which are relative to the call's directory.
    pub(crate) fn parse(call: &mut Call<'_>, given: &[Vec<u8>]) -> Run<Pathspec> {
        // Elsewhere it takes more than to look at paths one by one.
        let may_exclude = matches!(call.command.as_str(), "diff" | "log" | "show");
        let is_excluded = |word: &Vec<u8>| {
            let bare = word.strip_prefix(b":!").or_else(|| word.strip_prefix(b":^"));
            // Other letters could be more magic.
            bare.filter(|bare| {
                may_exclude
                    && bare
                        .first()
                        .is_some_and(|&byte| byte != b'/' && !b":!^(".contains(&byte))
            })
            .map(<[u8]>::to_vec)
        };
        let excluded: Vec<Vec<u8>> = given.iter().filter_map(is_excluded).collect();
        if excluded.is_empty() {
            return Ok(Pathspec {
                items: Self::items(call, given)?,
                excluded: Vec::new(),
            });
        }
        let meant: Vec<Vec<u8>> = given
            .iter()
            .filter(|word| is_excluded(word).is_none())
            .cloned()
            .collect();
        Ok(Pathspec {
            items: Self::items(call, &meant)?,
            excluded: Self::items(call, &excluded)?,
        })
    }

    fn items(call: &mut Call<'_>, given: &[Vec<u8>]) -> Run<Vec<Item>> {
        let mut items = Vec::with_capacity(given.len());
        for word in given {
            if word.is_empty() {
                return Err(call.die(
                    "empty string is not a valid pathspec. please use . instead if you meant to match all paths",
                ));
            }
            let is_top = word == b":/" || word == b":";
            let path = match is_top {
                true => Vec::new(),
                false if word.starts_with(b":") => {
                    return unavailable(format!("the pathspec {:?}", String::from_utf8_lossy(word)));
                }
                false => call.path_of(word)?,
            };
            items.push(Item {
                given: word.clone(),
                wild: has_wildcard(word),
                directory: word.ends_with(b"/") && !path.is_empty(),
                path,
            });
        }
        Ok(items)
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

/// The way to a path from a directory (with a slash behind; empty: the top).
pub(crate) fn relative(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    if prefix.is_empty() {
        return path.to_vec();
    }
    if let Some(rest) = path.strip_prefix(prefix) {
        return if rest.is_empty() { b"./".to_vec() } else { rest.to_vec() };
    }
    let same = path.iter().zip(prefix).take_while(|(a, b)| a == b).count();
    let shared = path
        .get(..same)
        .and_then(|part| part.iter().rposition(|&byte| byte == b'/'))
        .map_or(0, |at| at + 1);
    let rest = prefix.get(shared..).unwrap_or_default();
    let up = rest.iter().filter(|&&byte| byte == b'/').count();
    [b"../".repeat(up), path.get(shared..).unwrap_or_default().to_vec()].concat()
}

impl Call<'_> {
    /// The path from the top that a word means: relative to the call's directory, or absolute and in the work tree.
    pub(crate) fn path_of(&self, word: &[u8]) -> Run<Vec<u8>> {
        let refused = || unavailable(format!("the path {:?}", String::from_utf8_lossy(word)));
        let mut path: Vec<&[u8]> = Vec::new();
        let mut rest = word;
        if word.starts_with(b"/") {
            let Some(top) = self.site.top() else { return refused() };
            match word.strip_prefix(top) {
                Some(below) if below.is_empty() || below.starts_with(b"/") => rest = below,
                _ => return refused(),
            }
        } else {
            path.extend(self.prefix.split(|&byte| byte == b'/').filter(|part| !part.is_empty()));
        }
        let mut is_leading = !word.starts_with(b"/");
        for part in rest.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                // Further behind, a symlink could stand before it.
                b".." if is_leading && path.pop().is_some() => {}
                b".." => return refused(),
                part => {
                    is_leading = false;
                    path.push(part);
                }
            }
        }
        Ok(path.join(&b'/'))
    }

    /// A path from the top as it is shown to who is in the call's directory.
    pub(crate) fn relative(&self, path: &[u8]) -> Vec<u8> {
        relative(&self.prefix, path)
    }

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

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn paths_are_shown_from_where_one_is() {
        for (prefix, path, shown) in [
            ("", "a/b", "a/b"),
            ("a/", "a/b", "b"),
            ("a/b/", "a/b/", "./"),
            ("a/b/", "a/c/d", "../c/d"),
            ("a/b/", "ab", "../../ab"),
            ("src/lib/", "src/", "../"),
            ("src/lib/", "src/library", "../library"),
        ] {
            assert_eq!(
                relative(prefix.as_bytes(), path.as_bytes()),
                shown.as_bytes(),
                "{prefix} {path}"
            );
        }
    }
}
