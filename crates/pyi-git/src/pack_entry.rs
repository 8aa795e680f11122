//! The header of one pack entry: what it is, how long it unfolds, where its base is.
//!
//! Source: gitformat-pack(5) "pack-*.pack files have the following format". The first byte holds three bits of type and
//! four of size, further ones seven bits of size each, low bits first. An `ofs-delta` then gives the distance back to
//! its base in a base-128 number, high bits first, with one added at each continuation; a `ref-delta` gives its name.

use crate::object::ObjectKind;
use crate::oid::{ObjectFormat, Oid};
use crate::pack::PackError;

/// What a pack entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An object, whole.
    Whole(ObjectKind),
    /// A delta against the entry that begins at this offset of the same pack.
    OfsDelta(u64),
    /// A delta against the object of this name.
    RefDelta(Oid),
}

/// The header of a pack entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// What the entry is.
    pub kind: EntryKind,
    /// How many bytes its stream unfolds to: of the object, or of the delta.
    pub size: u64,
    /// Where the zlib stream begins, counted from the start of the pack.
    pub data_offset: u64,
}

/// Reads the entry header at the start of `data`, which lies at `offset` of its pack.
pub fn parse_entry_header(format: ObjectFormat, data: &[u8], offset: u64) -> Result<EntryHeader, PackError> {
    let truncated = PackError::Truncated { offset };
    let (&first, mut rest) = data.split_first().ok_or(truncated.clone())?;
    let mut size = u64::from(first & 0x0f);
    let mut shift = 4u32;
    let mut more = first & 0x80 != 0;
    while more {
        let (&byte, tail) = rest.split_first().ok_or(truncated.clone())?;
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || (bits << shift) >> shift != bits {
            return Err(PackError::EntryHeader { offset });
        }
        size |= bits << shift;
        shift += 7;
        more = byte & 0x80 != 0;
        rest = tail;
    }
    let kind = match (first >> 4) & 0x07 {
        1 => EntryKind::Whole(ObjectKind::Commit),
        2 => EntryKind::Whole(ObjectKind::Tree),
        3 => EntryKind::Whole(ObjectKind::Blob),
        4 => EntryKind::Whole(ObjectKind::Tag),
        6 => {
            let (distance, tail) = base_distance(rest, offset)?;
            rest = tail;
            // The base comes first in the pack, after its twelve bytes of header; so no chain can be a circle.
            let base = offset.checked_sub(distance).filter(|&base| distance > 0 && base >= 12);
            EntryKind::OfsDelta(base.ok_or(PackError::BaseOffset { offset })?)
        }
        7 => {
            let (raw, tail) = rest.split_at_checked(format.raw_len()).ok_or(truncated.clone())?;
            rest = tail;
            EntryKind::RefDelta(Oid::from_bytes(format, raw).map_err(|_| truncated)?)
        }
        _ => return Err(PackError::EntryHeader { offset }),
    };
    Ok(EntryHeader {
        kind,
        size,
        data_offset: offset + (data.len() - rest.len()) as u64,
    })
}

/// The header of an entry that holds an object whole.
pub fn write_entry_header(kind: ObjectKind, size: u64, out: &mut Vec<u8>) {
    let mut byte = kind.pack_code() << 4 | (size & 0x0f) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

fn base_distance(data: &[u8], offset: u64) -> Result<(u64, &[u8]), PackError> {
    let (&first, mut rest) = data.split_first().ok_or(PackError::Truncated { offset })?;
    let mut value = u64::from(first & 0x7f);
    let mut more = first & 0x80 != 0;
    while more {
        let (&byte, tail) = rest.split_first().ok_or(PackError::Truncated { offset })?;
        value = (value + 1)
            .checked_mul(128)
            .and_then(|v| v.checked_add(u64::from(byte & 0x7f)))
            .filter(|&v| v < 1 << 63)
            .ok_or(PackError::EntryHeader { offset })?;
        more = byte & 0x80 != 0;
        rest = tail;
    }
    Ok((value, rest))
}
