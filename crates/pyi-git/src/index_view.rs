//! The index as it stands in its file: entries are found and read where they are, and changed by copying whole runs of them.
//!
//! [`Index`] takes every entry apart, which costs an allocation for each path and pays where much of it changes. Most commands look at a few fields of
//! every entry and change a few entries: for them [`IndexView`] keeps the bytes and where each entry begins. Versions 2 and 3 are laid out so that an
//! entry's bytes do not depend on where it stands; a file of version 4 is laid out anew when it is read.

mod entry;

use std::cmp::Ordering;
use std::ops::Range;

use ::bytes::Bytes;

use crate::bytes::{be16, be32};
use crate::index::{Index, IndexEntry, IndexError, IndexVersion};
use crate::index_ext::{CacheTree, parse_cache_tree, parse_root, write_cache_tree};
use crate::oid::{Hasher, ObjectFormat, Oid};
use crate::path::leads_out;

pub use self::entry::EntryView;
use self::entry::{FLAG_ASSUME_VALID, FLAG_EXTENDED, FLAGS_STAGE, STAT_BYTES, path_of, scan_entry};

const HEADER_BYTES: usize = 12;
/// Where the size of the file stands in an entry.
const SIZE_AT: usize = 36;

/// What the `TREE` extension says.
#[derive(Clone, Debug)]
enum Known {
    Nothing,
    /// As it stands.
    Raw(Bytes),
    Parsed(CacheTree),
}

/// An index whose entries stand where they were read.
#[derive(Clone, Debug)]
pub struct IndexView {
    format: ObjectFormat,
    version: u32,
    /// The header and the entries, as versions 2 and 3 have them.
    body: Bytes,
    /// Where the entries begin, and where the last one ends.
    starts: Vec<u32>,
    has_extended_flags: bool,
    is_plain: bool,
    known: Known,
    resolve_undo: Option<Bytes>,
    skipped: Vec<[u8; 4]>,
}

impl IndexView {
    /// An index without entries.
    #[must_use]
    pub fn new(format: ObjectFormat) -> Self {
        let body: &'static [u8] = b"DIRC\0\0\0\x02\0\0\0\0";
        IndexView {
            format,
            version: 2,
            body: Bytes::from_static(body),
            starts: vec![12],
            has_extended_flags: false,
            is_plain: true,
            known: Known::Nothing,
            resolve_undo: None,
            skipped: Vec::new(),
        }
    }

    /// Finds the entries of an index file. O(entries), no copy for versions 2 and 3. The checksum is left alone, as git leaves it.
    ///
    /// # Errors
    /// As [`Index::parse`], but a malformed `TREE` is found when it is asked for.
    pub fn parse(format: ObjectFormat, file: Bytes) -> Result<Self, IndexError> {
        let truncated = || IndexError::Truncated(file.len());
        let end = file.len().checked_sub(format.raw_len()).ok_or_else(truncated)?;
        let body = file.get(..end).ok_or_else(truncated)?;
        if !body.starts_with(b"DIRC") {
            return Err(IndexError::Signature);
        }
        let version = be32(body, 4).ok_or_else(truncated)?;
        let count = be32(body, 8).ok_or_else(truncated)? as usize;
        match version {
            2 | 3 => {}
            4 => return Self::of(&Index::parse(format, &file, false)?),
            other => return Err(IndexError::Version(other)),
        }
        // An entry has at least 62 bytes: a count beyond that is a lie.
        if count > body.len() / (STAT_BYTES + 2) || u32::try_from(body.len()).is_err() {
            return Err(truncated());
        }
        let mut view = IndexView {
            version,
            ..Self::new(format)
        };
        view.starts.clear();
        view.starts.reserve_exact(count + 1);
        let mut at = HEADER_BYTES;
        let (mut last, mut last_stage): (&[u8], u16) = (b"", 0);
        for _ in 0..count {
            view.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            let (path, flags, mode, next) = scan_entry(format, version, body, at)?;
            let stage = flags & FLAGS_STAGE;
            if path.is_empty() {
                let what = "empty path";
                return Err(IndexError::Entry { offset: at, what });
            }
            if !last.is_empty() && last.cmp(path).then(last_stage.cmp(&stage)) != Ordering::Less {
                return Err(IndexError::Order(at));
            }
            view.has_extended_flags |= flags & FLAG_EXTENDED != 0;
            // Git looks at what no work tree has, too.
            view.is_plain &= flags & (FLAG_ASSUME_VALID | FLAG_EXTENDED | FLAGS_STAGE) == 0
                && matches!(mode, 0o100_644 | 0o100_755 | 0o120_000)
                && !leads_out(path);
            (last, last_stage, at) = (path, stage, next);
        }
        view.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        view.body = file.slice(..at);
        while at < body.len() {
            at = view.scan_extension(&file, body, at)?;
        }
        Ok(view)
    }

    /// The view of an index that was taken apart. O(entries).
    ///
    /// # Errors
    /// As [`Index::encode`].
    pub fn of(index: &Index) -> Result<Self, IndexError> {
        let plain = Index {
            cache_tree: None,
            resolve_undo: None,
            ..index.clone()
        };
        let mut view = Self::parse(index.format, plain.encode(IndexVersion::Lowest)?.into())?;
        view.version = index.version;
        view.known = index.cache_tree.clone().map_or(Known::Nothing, Known::Parsed);
        view.resolve_undo = index.resolve_undo.clone().map(Bytes::from);
        view.skipped.clone_from(&index.skipped);
        Ok(view)
    }

    /// The index, taken apart. O(entries).
    ///
    /// # Errors
    /// [`IndexError::Extension`] for a malformed `TREE`.
    pub fn to_index(&self) -> Result<Index, IndexError> {
        let mut index = Index::new(self.format);
        index.version = self.version;
        index.entries = (0..self.len()).map(|at| self.entry(at).to_entry()).collect();
        index.cache_tree = self.cache_tree()?;
        index.resolve_undo = self.resolve_undo.as_ref().map(|undo| undo.to_vec());
        index.skipped.clone_from(&self.skipped);
        Ok(index)
    }

    fn scan_extension(&mut self, file: &Bytes, body: &[u8], at: usize) -> Result<usize, IndexError> {
        let truncated = || IndexError::Truncated(at);
        let signature = *body
            .get(at..)
            .and_then(<[u8]>::first_chunk::<4>)
            .ok_or_else(truncated)?;
        let len = be32(body, at + 4).ok_or_else(truncated)? as usize;
        let end = at + 8 + len;
        if end > body.len() {
            return Err(truncated());
        }
        match &signature {
            b"TREE" => self.known = Known::Raw(file.slice(at + 8..end)),
            b"REUC" => self.resolve_undo = Some(file.slice(at + 8..end)),
            [first, ..] if first.is_ascii_uppercase() => self.skipped.push(signature),
            _ => {
                let name = String::from_utf8_lossy(&signature).into_owned();
                return Err(IndexError::RequiredExtension(name));
            }
        }
        Ok(end)
    }

    /// The repository's hash.
    #[must_use]
    pub const fn format(&self) -> ObjectFormat {
        self.format
    }

    /// The version that was read.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all entries are files or links without conflict and without flags that say not to look at them.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether conflicts that were resolved are remembered.
    #[must_use]
    pub fn has_resolve_undo(&self) -> bool {
        self.resolve_undo.is_some()
    }

    /// The signatures of optional extensions that are not kept.
    #[must_use]
    pub fn skipped(&self) -> &[[u8; 4]] {
        &self.skipped
    }

    /// An entry; one that is not there is empty. O(1).
    #[must_use]
    pub fn entry(&self, at: usize) -> EntryView<'_> {
        let raw = match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(start), Some(end)) => self.body.get(*start as usize..*end as usize).unwrap_or_default(),
            _ => &[],
        };
        EntryView {
            format: self.format,
            raw,
            path: path_of(self.format, raw),
        }
    }

    /// The path of an entry. O(1).
    #[must_use]
    pub fn path(&self, at: usize) -> &[u8] {
        self.entry(at).path
    }

    /// The first of a range of entries that is not so, if those that are so stand first. O(log range).
    #[must_use]
    pub fn partition(&self, range: Range<usize>, mut is_so: impl FnMut(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (range.start, range.end.min(self.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            if is_so(self.path(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The position of the entry without conflict of a path, or where it would have to be inserted. O(log entries).
    ///
    /// # Errors
    /// Where it would have to be inserted.
    pub fn position(&self, path: &[u8]) -> Result<usize, usize> {
        let at = self.partition(0..self.len(), |known| known < path);
        let is_there = at < self.len() && self.path(at) == path && self.entry(at).stage() == 0;
        if is_there { Ok(at) } else { Err(at) }
    }

    /// The entries that stand below a directory (`""`: all). O(log entries).
    #[must_use]
    pub fn below(&self, directory: &[u8]) -> Range<usize> {
        if directory.is_empty() {
            return 0..self.len();
        }
        let slash = [directory, b"/"].concat();
        let start = self.partition(0..self.len(), |path| path < slash.as_slice());
        start..self.end_of(start..self.len(), &slash)
    }

    /// Where a run of entries ends, from the first of the range on, whose paths begin so: looked for near before far. O(log run).
    #[must_use]
    pub fn end_of(&self, range: Range<usize>, prefix: &[u8]) -> usize {
        let mut step = 1;
        let mut low = range.start;
        while low + step < range.end && self.path(low + step).starts_with(prefix) {
            low += step;
            step *= 2;
        }
        self.partition(low..range.end.min(low + step + 1), |path| path.starts_with(prefix))
    }

    /// The tree that the whole index is known to be. O(1).
    #[must_use]
    pub fn root_tree(&self) -> Option<Oid> {
        let (count, oid) = match &self.known {
            Known::Nothing => return None,
            Known::Parsed(root) => root.tree?,
            Known::Raw(raw) => parse_root(self.format, raw)?,
        };
        (count as usize == self.len()).then_some(oid)
    }

    /// What is known about the trees of directories. O(directories).
    ///
    /// # Errors
    /// [`IndexError::Extension`] if it is malformed.
    pub fn cache_tree(&self) -> Result<Option<CacheTree>, IndexError> {
        match &self.known {
            Known::Nothing => Ok(None),
            Known::Parsed(root) => Ok(Some(root.clone())),
            Known::Raw(raw) => match parse_cache_tree(self.format, raw) {
                Some(root) => Ok(Some(root)),
                None => Err(IndexError::Extension("TREE".to_owned())),
            },
        }
    }

    /// Something else is known about the trees of directories.
    pub fn set_cache_tree(&mut self, root: Option<CacheTree>) {
        self.known = root.map_or(Known::Nothing, Known::Parsed);
    }

    /// The index with some entries changed: what each path (ascending) has now, `None` for nothing. What is known of trees is the caller's to say. O(bytes).
    ///
    /// # Errors
    /// [`IndexError`] for an entry that no index can hold.
    pub fn changed<'c>(
        &self,
        changes: impl Iterator<Item = (&'c [u8], Option<&'c IndexEntry>)>,
    ) -> Result<Self, IndexError> {
        let mut body: Vec<u8> = Vec::with_capacity(self.body.len() + 4096);
        body.extend_from_slice(self.body.get(..HEADER_BYTES).unwrap_or_default());
        let mut view = IndexView {
            body: Bytes::new(),
            starts: Vec::with_capacity(self.starts.len() + 64),
            known: Known::Nothing,
            skipped: Vec::new(),
            ..self.clone_header()
        };
        let mut next = 0;
        for (path, entry) in changes {
            let (at, behind) = match self.position(path) {
                Ok(at) => (at, at + 1),
                Err(at) => (at, at),
            };
            self.copy(next..at, &mut body, &mut view.starts);
            next = behind.max(next);
            if let Some(entry) = entry {
                view.starts.push(offset(body.len())?);
                view.has_extended_flags |= entry.has_extended_flags();
                view.is_plain &= entry.is_plain();
                crate::index::write_plain_entry(entry, self.format, &mut body)?;
            }
        }
        self.copy(next..self.len(), &mut body, &mut view.starts);
        view.starts.push(offset(body.len())?);
        let count = offset(view.len())?;
        if view.has_extended_flags {
            let flags_at = STAT_BYTES + self.format.raw_len();
            let flags = view
                .starts
                .iter()
                .map(|start| be16(&body, *start as usize + flags_at).unwrap_or_default());
            view.has_extended_flags = flags.take(count as usize).any(|flags| flags & FLAG_EXTENDED != 0);
        }
        let version = view.lowest_version();
        for (to, from) in body
            .iter_mut()
            .skip(4)
            .zip(version.to_be_bytes().into_iter().chain(count.to_be_bytes()))
        {
            *to = from;
        }
        view.body = body.into();
        view.resolve_undo.clone_from(&self.resolve_undo);
        Ok(view)
    }

    const fn lowest_version(&self) -> u32 {
        if self.has_extended_flags { 3 } else { 2 }
    }

    fn clone_header(&self) -> Self {
        IndexView {
            version: self.version,
            has_extended_flags: self.has_extended_flags,
            is_plain: self.is_plain,
            ..Self::new(self.format)
        }
    }

    /// Copies a run of entries behind `body`.
    fn copy(&self, range: Range<usize>, body: &mut Vec<u8>, starts: &mut Vec<u32>) {
        let (Some(first), Some(last)) = (self.starts.get(range.start), self.starts.get(range.end)) else {
            return;
        };
        if range.is_empty() {
            return;
        }
        // Offsets fit: the whole is checked at the end.
        let shift = u32::try_from(body.len()).unwrap_or(u32::MAX).wrapping_sub(*first);
        let old = self.starts.get(range).unwrap_or_default();
        starts.extend(old.iter().map(|start| start.wrapping_add(shift)));
        body.extend_from_slice(self.body.get(*first as usize..*last as usize).unwrap_or_default());
    }

    /// The file's bytes, in version 4 if it was read so, else in the lowest. Of the entries in `unsure` (ascending) the size is written as zero, so that
    /// whoever reads it looks at their files again. O(bytes).
    ///
    /// # Errors
    /// As [`Index::encode`].
    pub fn encode(&self, unsure: &[usize]) -> Result<Vec<u8>, IndexError> {
        if self.version == 4 {
            let mut index = self.to_index()?;
            for at in unsure {
                if let Some(entry) = index.entries.get_mut(*at) {
                    entry.stat.size = 0;
                }
            }
            return index.encode(IndexVersion::V4);
        }
        let tree = match &self.known {
            Known::Nothing => None,
            Known::Raw(raw) => Some(raw.clone()),
            Known::Parsed(root) => Some(write_cache_tree(root).into()),
        };
        let extensions: [(&[u8; 4], Option<&Bytes>); 2] =
            [(b"TREE", tree.as_ref()), (b"REUC", self.resolve_undo.as_ref())];
        let added: usize = extensions
            .iter()
            .map(|(_, content)| content.map_or(0, |content| content.len() + 8))
            .sum();
        let mut out = Vec::with_capacity(self.body.len() + added + self.format.raw_len());
        out.extend_from_slice(&self.body);
        for (to, from) in out.iter_mut().skip(4).zip(self.lowest_version().to_be_bytes()) {
            *to = from;
        }
        for at in unsure {
            let start = self.starts.get(*at).map_or(usize::MAX, |start| *start as usize);
            if let Some(size) = out.get_mut(start.saturating_add(SIZE_AT)..start.saturating_add(STAT_BYTES)) {
                size.fill(0);
            }
        }
        for (signature, content) in extensions {
            let Some(content) = content else { continue };
            out.extend_from_slice(signature);
            out.extend_from_slice(&offset(content.len())?.to_be_bytes());
            out.extend_from_slice(content);
        }
        let mut hasher = Hasher::new(self.format);
        hasher.update(&out);
        out.extend_from_slice(hasher.finish().as_bytes());
        Ok(out)
    }
}

fn offset(at: usize) -> Result<u32, IndexError> {
    u32::try_from(at).map_err(|_| IndexError::Truncated(at))
}
