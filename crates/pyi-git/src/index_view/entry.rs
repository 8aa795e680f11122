//! One entry of an index as it stands in the file: its fields, and where it ends.
//!
//! Source: "Index entry" in gitformat-index(5), versions 2 and 3.

use crate::bytes::{be16, be32};
use crate::index::{IndexEntry, IndexError, IndexStat};
use crate::oid::{ObjectFormat, Oid};

/// Bytes of an entry before its object name.
pub(super) const STAT_BYTES: usize = 40;
pub(super) const FLAG_ASSUME_VALID: u16 = 0x8000;
pub(super) const FLAG_EXTENDED: u16 = 0x4000;
pub(super) const FLAGS_STAGE: u16 = 0x3000;
const FLAG_NAME_MASK: u16 = 0x0fff;

/// An entry, where it stands.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'i> {
    pub(super) format: ObjectFormat,
    pub(super) raw: &'i [u8],
    pub(super) path: &'i [u8],
}

impl<'i> EntryView<'i> {
    /// The path, relative to the work tree, with `/`.
    #[must_use]
    pub const fn path(&self) -> &'i [u8] {
        self.path
    }

    fn word(&self, number: usize) -> u32 {
        be32(self.raw, 4 * number).unwrap_or_default()
    }

    fn flags(&self) -> u16 {
        be16(self.raw, STAT_BYTES + self.format.raw_len()).unwrap_or_default()
    }

    /// The mode: 100644, 100755, 120000, 160000.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.word(6)
    }

    /// The object.
    #[must_use]
    pub fn oid(&self) -> Oid {
        let raw = self.raw.get(STAT_BYTES..STAT_BYTES + self.format.raw_len());
        Oid::from_bytes(self.format, raw.unwrap_or_default()).unwrap_or(self.format.null_oid())
    }

    /// The raw name of the object.
    #[must_use]
    pub fn raw_oid(&self) -> &'i [u8] {
        let raw = self.raw.get(STAT_BYTES..STAT_BYTES + self.format.raw_len());
        raw.unwrap_or_default()
    }

    /// 0, or 1 to 3 for base, ours and theirs of a conflict.
    #[must_use]
    pub fn stage(&self) -> u8 {
        ((self.flags() & FLAGS_STAGE) >> 12) as u8
    }

    /// What is known about the file.
    #[must_use]
    pub fn stat(&self) -> IndexStat {
        IndexStat {
            ctime_seconds: self.word(0),
            ctime_nanos: self.word(1),
            mtime_seconds: self.word(2),
            mtime_nanos: self.word(3),
            dev: self.word(4),
            ino: self.word(5),
            uid: self.word(7),
            gid: self.word(8),
            size: self.word(9),
        }
    }

    /// The entry, taken apart.
    #[must_use]
    pub fn to_entry(&self) -> IndexEntry {
        let mut entry = IndexEntry::new(self.path, self.mode(), self.oid());
        entry.stat = self.stat();
        entry.stage = self.stage();
        let flags = self.flags();
        entry.assume_valid = flags & FLAG_ASSUME_VALID != 0;
        if flags & FLAG_EXTENDED != 0 {
            let extended = be16(self.raw, STAT_BYTES + self.format.raw_len() + 2).unwrap_or_default();
            entry.set_extended_flags(extended);
        }
        entry
    }
}

/// The path in the bytes of an entry.
pub(super) fn path_of(format: ObjectFormat, raw: &[u8]) -> &[u8] {
    let flags_at = STAT_BYTES + format.raw_len();
    let flags = be16(raw, flags_at).unwrap_or_default();
    let start = if flags & FLAG_EXTENDED == 0 {
        flags_at + 2
    } else {
        flags_at + 4
    };
    let rest = raw.get(start..).unwrap_or_default();
    let declared = usize::from(flags & FLAG_NAME_MASK);
    let len = if declared < usize::from(FLAG_NAME_MASK) {
        declared
    } else {
        rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len())
    };
    rest.get(..len).unwrap_or_default()
}

/// Checks the entry at `at`: its path, flags and mode, and where the next one begins.
#[inline]
pub(super) fn scan_entry(
    format: ObjectFormat,
    version: u32,
    body: &[u8],
    at: usize,
) -> Result<(&[u8], u16, u32, usize), IndexError> {
    let truncated = || IndexError::Truncated(at);
    let wrong = |what| IndexError::Entry { offset: at, what };
    let raw = body.get(at..).unwrap_or_default();
    let flags_at = STAT_BYTES + format.raw_len();
    let flags = be16(raw, flags_at).ok_or_else(truncated)?;
    let mode = be32(raw, 24).ok_or_else(truncated)?;
    let mut start = flags_at + 2;
    if flags & FLAG_EXTENDED != 0 {
        if version < 3 {
            return Err(wrong("extended flags in version 2"));
        }
        let extended = be16(raw, start).ok_or_else(truncated)?;
        if !IndexEntry::knows_extended_flags(extended) {
            return Err(wrong("unknown extended flags"));
        }
        start += 2;
    }
    let rest = raw.get(start..).unwrap_or_default();
    let declared = usize::from(flags & FLAG_NAME_MASK);
    let len = if declared < usize::from(FLAG_NAME_MASK) {
        declared
    } else {
        rest.iter().position(|&byte| byte == 0).ok_or_else(truncated)?
    };
    let path = rest.get(..len).ok_or_else(truncated)?;
    if rest.get(len).ok_or_else(truncated)? != &0 || path.contains(&0) {
        return Err(wrong("path length does not fit the path"));
    }
    // One to eight NULs, so that the entry's length is a multiple of eight.
    let padded = (start + len + 8) & !7;
    if padded > raw.len() {
        return Err(truncated());
    }
    Ok((path, flags, mode, at + padded))
}
