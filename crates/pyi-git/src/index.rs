//! The index file, `.git/index`: what the next commit will hold, and what is known about the work tree's files.
//!
//! Source: gitformat-index(5). A header, entries sorted by path and stage, extensions, and the hash of it all. Versions
//! 2 and 3 pad each entry to eight bytes; version 4 writes each path as the difference to the one before. We read all
//! three and write the lowest of 2 and 3 that holds the entries, or 4 on request. Extensions with an upper-case first
//! letter are optional: `TREE` and `REUC` are kept, others dropped, as git allows; an unknown lower-case one is an error.

use std::cmp::Ordering;

use crate::bytes::{be16, be32};
use crate::index_ext::{CacheTree, parse_cache_tree, write_cache_tree};
use crate::oid::{ObjectFormat, Oid, hash_bytes};

/// In version 4 a few bytes make a path of any length.
const PATHS_MAX_BYTES: usize = 128 << 20;
const FLAG_ASSUME_VALID: u16 = 0x8000;
const FLAG_EXTENDED: u16 = 0x4000;
const FLAG_NAME_MASK: u16 = 0x0fff;
const EXTENDED_SKIP_WORKTREE: u16 = 0x4000;
const EXTENDED_INTENT_TO_ADD: u16 = 0x2000;
/// Bytes of an entry before its object name: ten numbers of 32 bits.
const STAT_BYTES: usize = 40;

/// What can be wrong with an index file. Offsets count from its first byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not an index.
    #[error("index does not begin with DIRC")]
    Signature,
    /// A version we do not know.
    #[error("index has version {0}, which is not supported")]
    Version(u32),
    /// The file ends inside an entry or extension, or before the last one.
    #[error("index is truncated at byte {0}")]
    Truncated(usize),
    /// An entry contradicts the format.
    #[error("index entry at byte {offset}: {what}")]
    Entry {
        /// Where the entry begins.
        offset: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Entries are not in ascending order of path and stage.
    #[error("index entry at byte {0} is out of order")]
    Order(usize),
    /// An extension that a reader must understand, and we do not (`link`: split index; `sdir`: sparse index).
    #[error("index needs the extension {0:?}, which is not supported")]
    RequiredExtension(String),
    /// A known extension contradicts its format.
    #[error("index extension {0:?} is malformed")]
    Extension(String),
    /// The trailing hash does not fit the content.
    #[error("index does not match its checksum")]
    Checksum,
}

/// What `lstat` said about a file when its entry was written. Git keeps the low 32 bits of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of stat(2)")]
pub struct IndexStat {
    pub ctime_seconds: u32,
    pub ctime_nanos: u32,
    pub mtime_seconds: u32,
    pub mtime_nanos: u32,
    pub dev: u32,
    pub ino: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u32,
}

/// One entry of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The path, relative to the work tree, with `/`.
    pub path: Vec<u8>,
    /// The object.
    pub oid: Oid,
    /// The mode: 100644, 100755, 120000, 160000 (040000 only in a sparse index).
    pub mode: u32,
    /// 0, or 1 to 3 for base, ours and theirs of a conflict.
    pub stage: u8,
    /// What is known about the file.
    pub stat: IndexStat,
    /// `git update-index --assume-unchanged`.
    pub assume_valid: bool,
    /// `git update-index --skip-worktree`.
    pub skip_worktree: bool,
    /// `git add --intent-to-add`.
    pub intent_to_add: bool,
}

impl IndexEntry {
    /// An entry without stat data: git will look at the file again.
    #[must_use]
    pub fn new(path: &[u8], mode: u32, oid: Oid) -> Self {
        Self {
            path: path.to_vec(),
            oid,
            mode,
            stage: 0,
            stat: IndexStat::default(),
            assume_valid: false,
            skip_worktree: false,
            intent_to_add: false,
        }
    }

    /// The order of entries: by path as bytes, then by stage.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.path.cmp(&other.path).then(self.stage.cmp(&other.stage))
    }

    /// Whether it has flags that version 2 does not have.
    #[must_use]
    pub const fn has_extended_flags(&self) -> bool {
        self.skip_worktree || self.intent_to_add
    }

    /// Whether it is a file or link without conflict and without flags that say not to look at it.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.stage == 0
            && !self.assume_valid
            && !self.has_extended_flags()
            && matches!(self.mode, 0o100_644 | 0o100_755 | 0o120_000)
    }

    pub(crate) const fn knows_extended_flags(flags: u16) -> bool {
        flags & !(EXTENDED_SKIP_WORKTREE | EXTENDED_INTENT_TO_ADD) == 0
    }

    pub(crate) const fn set_extended_flags(&mut self, flags: u16) {
        self.skip_worktree = flags & EXTENDED_SKIP_WORKTREE != 0;
        self.intent_to_add = flags & EXTENDED_INTENT_TO_ADD != 0;
    }

    fn extended_flags(&self) -> u16 {
        (if self.skip_worktree { EXTENDED_SKIP_WORKTREE } else { 0 })
            | (if self.intent_to_add { EXTENDED_INTENT_TO_ADD } else { 0 })
    }
}

/// How the index is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexVersion {
    /// 2, or 3 if an entry has an extended flag.
    #[default]
    Lowest,
    /// 4: paths as differences.
    V4,
}

/// An index in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The repository's hash.
    pub format: ObjectFormat,
    /// The version that was read; [`Index::encode`] chooses its own.
    pub version: u32,
    /// The entries, sorted by [`IndexEntry::compare`].
    pub entries: Vec<IndexEntry>,
    /// The `TREE` extension: tree objects that directories are known to have.
    pub cache_tree: Option<CacheTree>,
    /// The `REUC` extension as it stands: conflicts that were resolved.
    pub resolve_undo: Option<Vec<u8>>,
    /// The signatures of optional extensions that were not kept.
    pub skipped: Vec<[u8; 4]>,
    /// The trailing hash, null if it was written without (`index.skipHash`).
    pub checksum: Oid,
}

impl Index {
    /// An index without entries.
    #[must_use]
    pub const fn new(format: ObjectFormat) -> Self {
        Self {
            format,
            version: 2,
            entries: Vec::new(),
            cache_tree: None,
            resolve_undo: None,
            skipped: Vec::new(),
            checksum: format.null_oid(),
        }
    }

    /// Reads an index file. Git itself leaves the checksum alone when it reads; `verify` compares it.
    pub fn parse(format: ObjectFormat, file: &[u8], verify: bool) -> Result<Self, IndexError> {
        let end = file
            .len()
            .checked_sub(format.raw_len())
            .ok_or(IndexError::Truncated(file.len()))?;
        let (body, trailer) = file.split_at_checked(end).ok_or(IndexError::Truncated(file.len()))?;
        if !body.starts_with(b"DIRC") {
            return Err(IndexError::Signature);
        }
        let truncated = IndexError::Truncated(body.len());
        let version = be32(body, 4).ok_or(truncated.clone())?;
        let count = be32(body, 8).ok_or(truncated.clone())? as usize;
        if !(2..=4).contains(&version) {
            return Err(IndexError::Version(version));
        }
        let checksum = Oid::from_bytes(format, trailer).map_err(|_| truncated.clone())?;
        if verify && !checksum.is_null() && hash_bytes(format, body) != checksum {
            return Err(IndexError::Checksum);
        }
        // An entry has at least 62 bytes (48 and more in version 4): a count beyond that is a lie.
        if count > body.len() / (STAT_BYTES + 2) {
            return Err(truncated);
        }
        let mut index = Self {
            version,
            checksum,
            ..Self::new(format)
        };
        index.entries.reserve_exact(count);
        let mut at = 12;
        let mut pathless = None;
        let mut path_bytes = 0;
        for _ in 0..count {
            let (entry, next) = parse_entry(format, version, body, at, index.entries.last())?;
            path_bytes += entry.path.len();
            if path_bytes > body.len().max(PATHS_MAX_BYTES) {
                let what = "paths that grow beyond measure";
                return Err(IndexError::Entry { offset: at, what });
            }
            let ascending = index
                .entries
                .last()
                .is_none_or(|last| last.compare(&entry) == Ordering::Less);
            // A split index has entries without path; it is refused by its extension, which comes later.
            if entry.path.is_empty() {
                pathless = pathless.or(Some(at));
            } else if !ascending {
                return Err(IndexError::Order(at));
            }
            index.entries.push(entry);
            at = next;
        }
        while at < body.len() {
            at = index.parse_extension(body, at)?;
        }
        match pathless {
            Some(offset) => Err(IndexError::Entry {
                offset,
                what: "empty path",
            }),
            None => Ok(index),
        }
    }

    /// Whether an entry needs version 3.
    #[must_use]
    pub fn has_extended_flags(&self) -> bool {
        self.entries.iter().any(|e| e.extended_flags() != 0)
    }

    /// The position of an entry, or where it would have to be inserted.
    pub fn position(&self, path: &[u8], stage: u8) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|e| e.path.as_slice().cmp(path).then(e.stage.cmp(&stage)))
    }

    /// The file's bytes. Entries must be sorted; an entry out of order is an error that names its position.
    pub fn encode(&self, version: IndexVersion) -> Result<Vec<u8>, IndexError> {
        let number = match version {
            IndexVersion::V4 => 4,
            IndexVersion::Lowest if self.has_extended_flags() => 3,
            IndexVersion::Lowest => 2,
        };
        let mut out = Vec::with_capacity(64 + self.entries.len() * 96);
        out.extend_from_slice(b"DIRC");
        put32(&mut out, number);
        put32(
            &mut out,
            u32::try_from(self.entries.len()).map_err(|_| IndexError::Truncated(0))?,
        );
        let mut last: Option<&IndexEntry> = None;
        for entry in &self.entries {
            if last.is_some_and(|last| last.compare(entry) != Ordering::Less) {
                return Err(IndexError::Order(out.len()));
            }
            write_entry(entry, number, self.format, last, &mut out)?;
            last = Some(entry);
        }
        if let Some(tree) = &self.cache_tree {
            write_extension(&mut out, b"TREE", &write_cache_tree(tree))?;
        }
        if let Some(undo) = &self.resolve_undo {
            write_extension(&mut out, b"REUC", undo)?;
        }
        let checksum = hash_bytes(self.format, &out);
        out.extend_from_slice(checksum.as_bytes());
        Ok(out)
    }

    fn parse_extension(&mut self, body: &[u8], at: usize) -> Result<usize, IndexError> {
        let truncated = IndexError::Truncated(at);
        let signature = *body
            .get(at..)
            .and_then(|b| b.first_chunk::<4>())
            .ok_or(truncated.clone())?;
        let len = be32(body, at + 4).ok_or(truncated.clone())? as usize;
        let content = body.get(at + 8..).and_then(|b| b.get(..len)).ok_or(truncated)?;
        let name = || String::from_utf8_lossy(&signature).into_owned();
        match &signature {
            b"TREE" => {
                let tree = parse_cache_tree(self.format, content);
                self.cache_tree = Some(tree.ok_or_else(|| IndexError::Extension(name()))?);
            }
            b"REUC" => self.resolve_undo = Some(content.to_vec()),
            [first, ..] if first.is_ascii_uppercase() => self.skipped.push(signature),
            _ => return Err(IndexError::RequiredExtension(name())),
        }
        Ok(at + 8 + len)
    }
}

fn parse_entry(
    format: ObjectFormat,
    version: u32,
    body: &[u8],
    at: usize,
    last: Option<&IndexEntry>,
) -> Result<(IndexEntry, usize), IndexError> {
    let truncated = || IndexError::Truncated(at);
    let wrong = |what| IndexError::Entry { offset: at, what };
    let word = |i: usize| be32(body, at + 4 * i).ok_or_else(truncated);
    let stat = IndexStat {
        ctime_seconds: word(0)?,
        ctime_nanos: word(1)?,
        mtime_seconds: word(2)?,
        mtime_nanos: word(3)?,
        dev: word(4)?,
        ino: word(5)?,
        uid: word(7)?,
        gid: word(8)?,
        size: word(9)?,
    };
    let mode = word(6)?;
    let mut next = at + STAT_BYTES;
    let raw = body.get(next..next + format.raw_len()).ok_or_else(truncated)?;
    let oid = Oid::from_bytes(format, raw).map_err(|_| truncated())?;
    next += format.raw_len();
    let flags = be16(body, next).ok_or_else(truncated)?;
    next += 2;
    let mut extended = 0;
    if flags & FLAG_EXTENDED != 0 {
        if version < 3 {
            return Err(wrong("extended flags in version 2"));
        }
        extended = be16(body, next).ok_or_else(truncated)?;
        next += 2;
        if !IndexEntry::knows_extended_flags(extended) {
            return Err(wrong("unknown extended flags"));
        }
    }
    let rest = body.get(next..).unwrap_or_default();
    let (path, used) = if version == 4 {
        let last = last.map(|e| e.path.as_slice()).unwrap_or_default();
        let (strip, digits) = offset_varint(rest).ok_or_else(truncated)?;
        let kept = usize::try_from(strip).ok().and_then(|s| last.len().checked_sub(s));
        let kept = last
            .get(..kept.ok_or_else(|| wrong("strips more than the path before it"))?)
            .unwrap_or_default();
        let suffix = rest.get(digits..).unwrap_or_default();
        let len = suffix.iter().position(|&b| b == 0).ok_or_else(truncated)?;
        let suffix = suffix.get(..len).unwrap_or_default();
        let mut path = Vec::with_capacity(kept.len() + len);
        path.extend_from_slice(kept);
        path.extend_from_slice(suffix);
        (path, digits + len + 1)
    } else {
        let declared = usize::from(flags & FLAG_NAME_MASK);
        let len = if declared < usize::from(FLAG_NAME_MASK) {
            declared
        } else {
            rest.iter().position(|&b| b == 0).ok_or_else(truncated)?
        };
        let path = rest.get(..len).ok_or_else(truncated)?;
        if rest.get(len).ok_or_else(truncated)? != &0 || path.contains(&0) {
            return Err(wrong("path length does not fit the path"));
        }
        // One to eight NULs, so that the entry's length is a multiple of eight.
        let padded = (next - at + len + 8) & !7;
        if at + padded > body.len() {
            return Err(truncated());
        }
        (path.to_vec(), at + padded - next)
    };
    let entry = IndexEntry {
        path,
        oid,
        mode,
        stage: ((flags >> 12) & 3) as u8,
        stat,
        assume_valid: flags & FLAG_ASSUME_VALID != 0,
        skip_worktree: extended & EXTENDED_SKIP_WORKTREE != 0,
        intent_to_add: extended & EXTENDED_INTENT_TO_ADD != 0,
    };
    Ok((entry, next + used))
}

/// The entry as versions 2 and 3 have it, behind `out`.
pub(crate) fn write_plain_entry(entry: &IndexEntry, format: ObjectFormat, out: &mut Vec<u8>) -> Result<(), IndexError> {
    let version = if entry.has_extended_flags() { 3 } else { 2 };
    write_entry(entry, version, format, None, out)
}

fn write_entry(
    entry: &IndexEntry,
    version: u32,
    format: ObjectFormat,
    last: Option<&IndexEntry>,
    out: &mut Vec<u8>,
) -> Result<(), IndexError> {
    let start = out.len();
    let wrong = |what| IndexError::Entry { offset: start, what };
    if entry.path.is_empty() || entry.path.contains(&0) {
        return Err(wrong("path is empty or contains NUL"));
    }
    if entry.oid.format() != format {
        return Err(wrong("object name is not of the repository's format"));
    }
    let s = &entry.stat;
    for word in [
        s.ctime_seconds,
        s.ctime_nanos,
        s.mtime_seconds,
        s.mtime_nanos,
        s.dev,
        s.ino,
    ] {
        put32(out, word);
    }
    for word in [entry.mode, s.uid, s.gid, s.size] {
        put32(out, word);
    }
    out.extend_from_slice(entry.oid.as_bytes());
    let extended = entry.extended_flags();
    let len = u16::try_from(entry.path.len())
        .unwrap_or(FLAG_NAME_MASK)
        .min(FLAG_NAME_MASK);
    let flags = len
        | u16::from(entry.stage & 3) << 12
        | if entry.assume_valid { FLAG_ASSUME_VALID } else { 0 }
        | if extended != 0 { FLAG_EXTENDED } else { 0 };
    out.extend_from_slice(&flags.to_be_bytes());
    if extended != 0 {
        out.extend_from_slice(&extended.to_be_bytes());
    }
    if version == 4 {
        let last = last.map(|e| e.path.as_slice()).unwrap_or_default();
        let common = last.iter().zip(&entry.path).take_while(|(a, b)| a == b).count();
        write_offset_varint((last.len() - common) as u64, out);
        out.extend_from_slice(entry.path.get(common..).unwrap_or_default());
        out.push(0);
    } else {
        out.extend_from_slice(&entry.path);
        let padded = (out.len() - start + 8) & !7;
        out.resize(start + padded, 0);
    }
    Ok(())
}

fn write_extension(out: &mut Vec<u8>, signature: &[u8; 4], content: &[u8]) -> Result<(), IndexError> {
    let len = u32::try_from(content.len())
        .map_err(|_| IndexError::Extension(String::from_utf8_lossy(signature).into_owned()))?;
    out.extend_from_slice(signature);
    put32(out, len);
    out.extend_from_slice(content);
    Ok(())
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// The number that version 4 writes before a path: base 128, high bits first, one added at each continuation.
fn offset_varint(data: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in data.iter().enumerate().take(9) {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
        value += 1;
    }
    None
}

fn write_offset_varint(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = vec![(value & 0x7f) as u8];
    value >>= 7;
    while value > 0 {
        value -= 1;
        digits.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.extend(digits.iter().rev());
}
