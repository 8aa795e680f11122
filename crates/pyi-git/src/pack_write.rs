//! Writing a pack of whole objects, and the version 2 index of any pack.
//!
//! Source: gitformat-pack(5). The pack is made for export: no deltas, so that memory stays bounded and objects are
//! written in one pass; `git gc` in the receiving repository makes it small. The caller gives objects one by one and
//! gets the bytes of each back to append to its file; the number of objects must be known at the start, because the
//! header states it and the trailing hash covers the header.

use crate::object::ObjectKind;
use crate::oid::{Hasher, ObjectFormat, Oid, hash_object};
use crate::pack_entry::write_entry_header;
use crate::zlib::Deflater;

/// One object as the index of its pack lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedEntry {
    /// Its name.
    pub oid: Oid,
    /// Where its entry begins in the pack.
    pub offset: u64,
    /// The CRC-32 of the entry as packed.
    pub crc32: u32,
}

/// What can go wrong while a pack is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackWriteError {
    /// More or fewer objects were added than announced.
    #[error("a pack of {announced} objects was given {added}")]
    Count {
        /// How many the header states.
        announced: u32,
        /// How many were added.
        added: u64,
    },
    /// The same object twice; its offset in the index would be ambiguous.
    #[error("object {0} was added to the pack twice")]
    Duplicate(Oid),
    /// An index of more than 2^31 objects beyond 2 GiB cannot be written.
    #[error("too many objects for one pack index")]
    TooMany,
}

/// A pack being written.
pub struct PackWriter {
    format: ObjectFormat,
    announced: u32,
    hasher: Hasher,
    deflater: Deflater,
    offset: u64,
    entries: Vec<IndexedEntry>,
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackWriter")
            .field("announced", &self.announced)
            .field("added", &self.entries.len())
            .finish()
    }
}

/// What is left to write when all objects are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedPack {
    /// The last bytes of the pack: its hash, which also names its files (`pack-<hash>.pack`).
    pub checksum: Oid,
    /// The whole `.idx` file.
    pub index: Vec<u8>,
}

impl PackWriter {
    /// Starts a pack of `count` objects, deflated at `level` (0 to 9); the header's bytes are appended to `out`.
    pub fn new(format: ObjectFormat, count: u32, level: u32, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(b"PACK\0\0\0\x02");
        out.extend_from_slice(&count.to_be_bytes());
        let mut hasher = Hasher::new(format);
        hasher.update(out.get(start..).unwrap_or_default());
        Self {
            format,
            announced: count,
            hasher,
            deflater: Deflater::new(level),
            offset: 12,
            entries: Vec::new(),
        }
    }

    /// Adds an object; the bytes of its entry are appended to `out`.
    pub fn add(&mut self, kind: ObjectKind, content: &[u8], out: &mut Vec<u8>) -> Oid {
        let oid = hash_object(self.format, kind, content);
        self.add_named(oid, kind, content, out);
        oid
    }

    /// Adds an object whose name the caller knows already.
    pub fn add_named(&mut self, oid: Oid, kind: ObjectKind, content: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        write_entry_header(kind, content.len() as u64, out);
        out.extend_from_slice(&self.deflater.deflate(&[content]));
        let entry = out.get(start..).unwrap_or_default();
        self.hasher.update(entry);
        self.entries.push(IndexedEntry {
            oid,
            offset: self.offset,
            crc32: crc32fast::hash(entry),
        });
        self.offset += entry.len() as u64;
    }

    /// Ends the pack; its hash is appended to `out`.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<FinishedPack, PackWriteError> {
        let added = self.entries.len() as u64;
        if added != u64::from(self.announced) {
            return Err(PackWriteError::Count {
                announced: self.announced,
                added,
            });
        }
        let checksum = self.hasher.finish();
        out.extend_from_slice(checksum.as_bytes());
        let index = write_pack_index(self.format, self.entries, &checksum)?;
        Ok(FinishedPack { checksum, index })
    }
}

/// The version 2 index of the pack with this trailing hash and these entries, in any order.
pub fn write_pack_index(
    format: ObjectFormat,
    mut entries: Vec<IndexedEntry>,
    pack_checksum: &Oid,
) -> Result<Vec<u8>, PackWriteError> {
    entries.sort_unstable_by_key(|e| e.oid);
    if let Some((twice, _)) = entries.iter().zip(entries.iter().skip(1)).find(|(a, b)| a.oid == b.oid) {
        return Err(PackWriteError::Duplicate(twice.oid));
    }
    let count = u32::try_from(entries.len()).map_err(|_| PackWriteError::TooMany)?;
    let mut out = Vec::with_capacity(8 + 1024 + entries.len() * (format.raw_len() + 8) + 2 * format.raw_len());
    out.extend_from_slice(b"\xfftOc\0\0\0\x02");
    let mut below = 0u32;
    for first in 0..=255u8 {
        let rest = entries.get(below as usize..).unwrap_or_default();
        let here = rest.partition_point(|e| e.oid.as_bytes().first() <= Some(&first));
        below = below.saturating_add(u32::try_from(here).unwrap_or(count)).min(count);
        out.extend_from_slice(&below.to_be_bytes());
    }
    for entry in &entries {
        out.extend_from_slice(entry.oid.as_bytes());
    }
    for entry in &entries {
        out.extend_from_slice(&entry.crc32.to_be_bytes());
    }
    let mut large: Vec<u64> = Vec::new();
    for entry in &entries {
        let word = match u32::try_from(entry.offset) {
            Ok(small) if small < 0x8000_0000 => small,
            _ => {
                let at = u32::try_from(large.len()).ok().filter(|&at| at < 0x8000_0000);
                large.push(entry.offset);
                at.ok_or(PackWriteError::TooMany)? | 0x8000_0000
            }
        };
        out.extend_from_slice(&word.to_be_bytes());
    }
    for offset in large {
        out.extend_from_slice(&offset.to_be_bytes());
    }
    out.extend_from_slice(pack_checksum.as_bytes());
    let own = crate::oid::hash_bytes(format, &out);
    out.extend_from_slice(own.as_bytes());
    Ok(out)
}
