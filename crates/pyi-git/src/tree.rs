//! Tree objects: reading whatever git would read, telling canonical bytes from others, writing canonical ones.
//!
//! Source: `git ls-tree`, `git mktree`, the `tree` checks of `git fsck`. A tree is a run of
//! `"<mode in octal> <name>\0<raw object name>"`. Reading keeps the mode's digits as written, because old tools wrote
//! `040000` or `100664` and a tree's name depends on them; whoever stores trees in another form asks
//! [`is_canonical`] whether the form alone gives the same bytes back, and keeps the original where it does not.

use std::cmp::Ordering;

use crate::bytes::split_once;
use crate::oid::{ObjectFormat, Oid};
use crate::path::validate_component;

/// Mode of a regular file.
pub const MODE_FILE: u32 = 0o100_644;
/// Mode of an executable file.
pub const MODE_EXECUTABLE: u32 = 0o100_755;
/// Mode of a symbolic link.
pub const MODE_SYMLINK: u32 = 0o120_000;
/// Mode of a directory.
pub const MODE_TREE: u32 = 0o040_000;
/// Mode of a commit of another repository (a submodule).
pub const MODE_GITLINK: u32 = 0o160_000;

/// Longer modes are garbage: 6 digits are usual, some old tools padded to 7.
const MAX_MODE_DIGITS: usize = 11;

/// What can be wrong with a tree. Offsets count from the tree's first byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The bytes end inside an entry.
    #[error("tree is truncated in the entry at byte {0}")]
    Truncated(usize),
    /// The mode is empty, has a character that is no octal digit, or does not fit.
    #[error("tree entry at byte {0} has a malformed mode")]
    Mode(usize),
    /// An entry without a name.
    #[error("tree entry at byte {0} has an empty name")]
    EmptyName(usize),
    /// A name with `/` or NUL in it cannot be written.
    #[error("{0:?} cannot be the name of a tree entry")]
    Name(String),
    /// Two entries have the same name.
    #[error("tree has two entries named {0:?}")]
    Duplicate(String),
    /// An object name of another hash than the tree's.
    #[error("the object name of tree entry {0:?} is not of the repository's format")]
    Format(String),
}

/// One entry of a tree, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeEntry<'a> {
    /// The mode's octal digits as written.
    pub mode_raw: &'a [u8],
    /// The mode's value as written.
    pub mode: u32,
    /// The name: any bytes but NUL.
    pub name: &'a [u8],
    /// The object it names.
    pub oid: Oid,
}

impl TreeEntry<'_> {
    /// The canonical mode of the entry, see [`canonical_mode`].
    #[must_use]
    pub fn canonical_mode(&self) -> u32 {
        canonical_mode(self.mode)
    }

    /// Whether the entry is a directory.
    #[must_use]
    pub fn is_tree(&self) -> bool {
        canonical_mode(self.mode) == MODE_TREE
    }
}

/// The one of git's five modes that this mode is read as.
///
/// The file type decides; of a regular file's permissions only the owner's execute bit counts; a type that is neither
/// file, link nor directory is taken for a submodule.
#[must_use]
pub const fn canonical_mode(mode: u32) -> u32 {
    match mode & 0o170_000 {
        0o100_000 if mode & 0o100 != 0 => MODE_EXECUTABLE,
        0o100_000 => MODE_FILE,
        0o120_000 => MODE_SYMLINK,
        0o040_000 => MODE_TREE,
        _ => MODE_GITLINK,
    }
}

/// Whether this is exactly one of git's five modes.
#[must_use]
pub const fn is_canonical_mode(mode: u32) -> bool {
    matches!(
        mode,
        MODE_FILE | MODE_EXECUTABLE | MODE_SYMLINK | MODE_TREE | MODE_GITLINK
    )
}

/// The entries of a tree, in the order in which they stand; ends after the first error.
#[derive(Clone, Debug)]
pub struct TreeIter<'a> {
    data: &'a [u8],
    at: usize,
    format: ObjectFormat,
}

impl<'a> TreeIter<'a> {
    /// The entries of the tree with this content.
    #[must_use]
    pub const fn new(format: ObjectFormat, data: &'a [u8]) -> Self {
        Self { data, at: 0, format }
    }

    /// The next entry, which stays the next one.
    #[must_use]
    pub fn peek(&self) -> Option<Result<TreeEntry<'a>, TreeError>> {
        (self.at < self.data.len()).then(|| self.entry().map(|(entry, _)| entry))
    }

    /// Takes both on to the next entries that are not the same, byte by byte. O(what is skipped), without parsing more than where a name ends.
    pub fn skip_same(&mut self, other: &mut TreeIter<'_>) {
        let mine = self.data.get(self.at..).unwrap_or_default();
        let theirs = other.data.get(other.at..).unwrap_or_default();
        let len = common_len(mine, theirs);
        let mut end = 0;
        if len == mine.len() && len == theirs.len() {
            end = len;
        } else {
            let same = mine.get(..len).unwrap_or_default();
            while let Some(name) = same.get(end..).and_then(|rest| memchr::memchr(0, rest)) {
                let next = end + name + 1 + self.format.raw_len();
                if next > len {
                    break;
                }
                end = next;
            }
        }
        self.at += end;
        other.at += end;
    }

    fn entry(&self) -> Result<(TreeEntry<'a>, usize), TreeError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let truncated = || TreeError::Truncated(self.at);
        // The mode is short: look for its space in the first bytes only, so that garbage fails at once.
        let mut mode = 0u32;
        let mut mode_len = 0;
        loop {
            match rest.get(mode_len) {
                Some(b' ') if mode_len > 0 => break,
                Some(&digit @ b'0'..=b'7') if mode < 1 << 29 && mode_len < MAX_MODE_DIGITS => {
                    mode = mode << 3 | u32::from(digit - b'0');
                }
                Some(_) => return Err(TreeError::Mode(self.at)),
                None => return Err(truncated()),
            }
            mode_len += 1;
        }
        let mode_raw = rest.get(..mode_len).unwrap_or_default();
        let rest = rest.get(mode_len + 1..).unwrap_or_default();
        let (name, after) = split_once(rest, 0).ok_or_else(truncated)?;
        if name.is_empty() {
            return Err(TreeError::EmptyName(self.at));
        }
        let raw = after.get(..self.format.raw_len()).ok_or_else(truncated)?;
        let oid = Oid::from_bytes(self.format, raw).map_err(|_| truncated())?;
        let next = self.at + mode_len + 1 + name.len() + 1 + self.format.raw_len();
        Ok((
            TreeEntry {
                mode_raw,
                mode,
                name,
                oid,
            },
            next,
        ))
    }
}

impl<'a> Iterator for TreeIter<'a> {
    type Item = Result<TreeEntry<'a>, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.data.len() {
            return None;
        }
        match self.entry() {
            Ok((entry, next)) => {
                self.at = next;
                Some(Ok(entry))
            }
            Err(error) => {
                self.at = self.data.len();
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for TreeIter<'_> {}

/// A tree that is looked at along with another one of nearly the same entries.
#[derive(Clone, Debug)]
pub struct TreeBeside<'a>(TreeIter<'a>);

impl<'a> TreeBeside<'a> {
    /// The tree with this content, from its beginning.
    #[must_use]
    pub const fn new(format: ObjectFormat, data: &'a [u8]) -> Self {
        Self(TreeIter::new(format, data))
    }

    /// Takes both on to the next entries that are not the same: [`TreeIter::skip_same`].
    pub fn skip_same(&mut self, entries: &mut TreeIter<'_>) {
        self.0.skip_same(entries);
    }

    /// The object that has the entry's name and is a directory if and only if the entry is; what comes before it is not looked at again. Finds nothing
    /// behind what git's order would have put further back.
    pub fn find(&mut self, entry: &TreeEntry<'_>) -> Option<Oid> {
        loop {
            let mut ahead = self.0.clone();
            let other = ahead.next()?.ok()?;
            match compare_names(other.name, other.is_tree(), entry.name, entry.is_tree()) {
                Ordering::Less => self.0 = ahead,
                Ordering::Equal => {
                    self.0 = ahead;
                    return Some(other.oid);
                }
                Ordering::Greater => return None,
            }
        }
    }
}

/// How many bytes both begin with.
fn common_len(a: &[u8], b: &[u8]) -> usize {
    const WIDE: usize = 32;
    let (a_parts, b_parts) = (a.as_chunks::<WIDE>().0, b.as_chunks::<WIDE>().0);
    let begin = WIDE * a_parts.iter().zip(b_parts).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(begin..).unwrap_or_default(), b.get(begin..).unwrap_or_default());
    begin + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Git's order of tree entries: by bytes, a directory's name taken as if `/` followed it.
#[must_use]
pub fn compare_names(a: &[u8], a_is_tree: bool, b: &[u8], b_is_tree: bool) -> Ordering {
    let common = a.len().min(b.len());
    match a.get(..common).cmp(&b.get(..common)) {
        Ordering::Equal => {}
        unequal => return unequal,
    }
    let end = |name: &[u8], is_tree: bool| match name.get(common) {
        Some(&byte) => byte,
        None if is_tree => b'/',
        None => 0,
    };
    end(a, a_is_tree).cmp(&end(b, b_is_tree))
}

/// Whether git itself could have written these names: each one that a file may have, each after the one before it. O(content).
#[must_use]
pub fn is_well_formed(format: ObjectFormat, data: &[u8]) -> bool {
    let mut last: Option<(&[u8], bool)> = None;
    TreeIter::new(format, data).all(|entry| {
        let Ok(entry) = entry else { return false };
        let one = (entry.name, entry.is_tree());
        let is_after = last.is_none_or(|last| {
            let order = compare_names(last.0, last.1, one.0, one.1);
            order.is_lt() && last.0 != one.0
        });
        last = Some(one);
        is_after && validate_component(entry.name).is_ok()
    })
}

/// Whether reading the entries, with their canonical modes, and writing them again gives the same bytes.
///
/// A tree that cannot be read, has two entries of one name, is out of order or writes a mode in another way, is not.
#[must_use]
pub fn is_canonical(format: ObjectFormat, data: &[u8]) -> bool {
    let mut order = OrderCheck::default();
    TreeIter::new(format, data).all(|entry| match entry {
        Ok(entry) => {
            is_canonical_mode(entry.mode)
                && entry.mode_raw.first() != Some(&b'0')
                && !entry.name.contains(&b'/')
                && order.next(entry.name, entry.mode == MODE_TREE) == Ok(())
        }
        Err(_) => false,
    })
}

/// The bytes of the tree with these entries (name, mode, object), in any order; modes are made canonical.
pub fn encode_tree<N: AsRef<[u8]>>(format: ObjectFormat, entries: &[(N, u32, Oid)]) -> Result<Vec<u8>, TreeError> {
    let mut sorted: Vec<(&[u8], u32, &Oid)> = entries
        .iter()
        .map(|(name, mode, oid)| (name.as_ref(), canonical_mode(*mode), oid))
        .collect();
    let before =
        |a: &(&[u8], u32, &Oid), b: &(&[u8], u32, &Oid)| compare_names(a.0, a.1 == MODE_TREE, b.0, b.1 == MODE_TREE);
    if !sorted.is_sorted_by(|a, b| before(a, b) != Ordering::Greater) {
        sorted.sort_by(before);
    }
    let size = sorted.iter().map(|e| e.0.len() + 8 + format.raw_len()).sum();
    let mut out = Vec::with_capacity(size);
    let mut order = OrderCheck::default();
    for (name, mode, oid) in sorted {
        let lossy = || String::from_utf8_lossy(name).into_owned();
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return Err(TreeError::Name(lossy()));
        }
        if oid.format() != format {
            return Err(TreeError::Format(lossy()));
        }
        order
            .next(name, mode == MODE_TREE)
            .map_err(|_| TreeError::Duplicate(lossy()))?;
        out.extend_from_slice(mode_text(mode));
        out.push(b' ');
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(oid.as_bytes());
    }
    Ok(out)
}

/// The digits that git writes for a canonical mode.
const fn mode_text(mode: u32) -> &'static [u8] {
    match mode {
        MODE_FILE => b"100644",
        MODE_EXECUTABLE => b"100755",
        MODE_SYMLINK => b"120000",
        MODE_TREE => b"40000",
        _ => b"160000",
    }
}

/// Sees the entries in order and finds the first that is out of order or repeats a name.
///
/// A file `a` and a directory `a` can stand apart (`a`, `a-b`, `a/`): everything between begins with `a`, so a stack of
/// the files whose names begin the present one is enough to find the pair in linear time.
#[derive(Default)]
struct OrderCheck<'a> {
    last: Option<(&'a [u8], bool)>,
    files: Vec<&'a [u8]>,
}

impl<'a> OrderCheck<'a> {
    fn next(&mut self, name: &'a [u8], is_tree: bool) -> Result<(), ()> {
        if let Some((last, last_is_tree)) = self.last
            && (last == name || compare_names(last, last_is_tree, name, is_tree) != Ordering::Less)
        {
            return Err(());
        }
        self.last = Some((name, is_tree));
        while self.files.last().is_some_and(|file| !name.starts_with(file)) {
            self.files.pop();
        }
        if !is_tree {
            self.files.push(name);
        } else if self.files.last() == Some(&name) {
            return Err(());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const FORMAT: ObjectFormat = ObjectFormat::Sha1;

    /// A tree with these entries: a name, whether it is a directory, a number of the object.
    fn tree(entries: &HashMap<String, (bool, u8)>) -> Vec<u8> {
        let entry = |(name, (is_tree, number)): (&String, &(bool, u8))| {
            let mode = if *is_tree { MODE_TREE } else { MODE_FILE };
            // Raw names with zeros and spaces in them must not be taken for the end of a name.
            let raw = [*number % 3; 20];
            (name.clone(), mode, Oid::from_bytes(FORMAT, &raw).unwrap())
        };
        encode_tree(FORMAT, &entries.iter().map(entry).collect::<Vec<_>>()).unwrap()
    }

    fn entries() -> impl Strategy<Value = HashMap<String, (bool, u8)>> {
        prop::collection::hash_map("[ab.0]{1,3}", (any::<bool>(), any::<u8>()), 0..30)
    }

    proptest! {
        #[test]
        fn a_tree_beside_is_found_in_as_in_a_map(mine in entries(), others in entries(), same in entries()) {
            let (mut mine, mut others) = (mine, others);
            mine.extend(same.clone());
            others.extend(same);
            let (data, other) = (tree(&mine), tree(&others));
            let known: HashMap<_, _> = TreeIter::new(FORMAT, &other)
                .flatten()
                .map(|entry| ((entry.name, entry.is_tree()), (entry.mode, entry.oid)))
                .collect();
            let (mut all, mut seen) = (TreeIter::new(FORMAT, &data), Vec::new());
            let mut beside = TreeBeside::new(FORMAT, &other);
            loop {
                beside.skip_same(&mut all);
                let Some(entry) = all.next() else { break };
                let entry = entry.unwrap();
                let place = known.get(&(entry.name, entry.is_tree()));
                prop_assert_eq!(beside.find(&entry), place.map(|(_, oid)| *oid));
                seen.push((entry.name, entry.is_tree()));
            }
            // Skipped is only what the other one has, too.
            for entry in TreeIter::new(FORMAT, &data).flatten() {
                let key = (entry.name, entry.is_tree());
                prop_assert!(seen.contains(&key) || known.get(&key) == Some(&(entry.mode, entry.oid)));
            }
            prop_assert!(mine != others || seen.is_empty());
        }
    }
}
