//! The multi-pack-index: one lookup over all packs of a repository.
//!
//! Source: gitformat-pack(5) "multi-pack-index (MIDX) files". A header, a table of chunks (identifier and offset), then
//! the chunks: `PNAM` pack names, `OIDF` fan-out, `OIDL` names, `OOFF` (pack, offset) pairs, `LOFF` offsets over 31
//! bits; others (reverse index, bitmaps) are skipped.

use crate::bytes::{be32, be64};
use crate::oid::{ObjectFormat, Oid};
use crate::pack_index::{FANOUT_BYTES, PackIndexError, check_fanout, fanout_bucket, lower_bound, verify_trailer};

/// A multi-pack-index, over bytes that the caller read or mapped.
#[derive(Clone, Debug)]
pub struct MultiPackIndex<D> {
    data: D,
    format: ObjectFormat,
    count: u32,
    pack_names: Vec<Vec<u8>>,
    fanout: usize,
    names: usize,
    offsets: usize,
    large: Option<(usize, usize)>,
}

impl<D: AsRef<[u8]>> MultiPackIndex<D> {
    /// Reads header and chunk table and checks that every chunk fits the file.
    pub fn parse(format: ObjectFormat, data: D) -> Result<Self, PackIndexError> {
        let bytes = data.as_ref();
        if !bytes.starts_with(b"MIDX") {
            return Err(PackIndexError::Signature);
        }
        let [version, hash_id, chunks, base_files] =
            *bytes
                .get(4..)
                .and_then(|rest| rest.first_chunk::<4>())
                .ok_or(PackIndexError::Truncated {
                    needed: 12,
                    actual: bytes.len() as u64,
                })?;
        if version != 1 || base_files != 0 {
            return Err(PackIndexError::Version(u32::from(version)));
        }
        if hash_id != format.id() {
            return Err(PackIndexError::Format);
        }
        let packs = be32(bytes, 8).ok_or(PackIndexError::Chunks)? as usize;
        let table = ChunkTable {
            bytes,
            chunks: usize::from(chunks),
            end: bytes.len().saturating_sub(format.raw_len()),
        };
        let (fanout, fanout_len) = table.find(b"OIDF")?.ok_or(PackIndexError::Chunks)?;
        let (names, names_len) = table.find(b"OIDL")?.ok_or(PackIndexError::Chunks)?;
        let (offsets, offsets_len) = table.find(b"OOFF")?.ok_or(PackIndexError::Chunks)?;
        let (pnam, pnam_len) = table.find(b"PNAM")?.ok_or(PackIndexError::Chunks)?;
        if fanout_len < FANOUT_BYTES {
            return Err(PackIndexError::Chunks);
        }
        let count = check_fanout(bytes, fanout)?;
        let n = count as usize;
        if names_len < n * format.raw_len() || offsets_len < n * 8 {
            return Err(PackIndexError::Chunks);
        }
        let large = table.find(b"LOFF")?.map(|(at, len)| (at, len / 8));
        let list = bytes.get(pnam..pnam + pnam_len).unwrap_or_default();
        let pack_names: Vec<Vec<u8>> = list.split(|&b| b == 0).take(packs).map(<[u8]>::to_vec).collect();
        if pack_names.len() != packs || pack_names.iter().any(Vec::is_empty) {
            return Err(PackIndexError::Chunks);
        }
        Ok(Self {
            data,
            format,
            count,
            pack_names,
            fanout,
            names,
            offsets,
            large,
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names of the packs' index files (`pack-<hash>.idx`), by pack number.
    pub fn pack_names(&self) -> &[Vec<u8>] {
        &self.pack_names
    }

    /// The name at this position.
    pub fn oid_at(&self, position: u32) -> Option<Oid> {
        Oid::from_bytes(self.format, self.name(position)?).ok()
    }

    /// The pack number and offset of the object at this position.
    pub fn entry_at(&self, position: u32) -> Result<Option<(u32, u64)>, PackIndexError> {
        if position >= self.count {
            return Ok(None);
        }
        let bytes = self.data.as_ref();
        let at = self.offsets + position as usize * 8;
        let (Some(pack), Some(offset)) = (be32(bytes, at), be32(bytes, at + 4)) else {
            return Ok(None);
        };
        if pack as usize >= self.pack_names.len() {
            return Err(PackIndexError::Chunks);
        }
        let offset = match self.large {
            Some((large, large_count)) if offset & 0x8000_0000 != 0 => {
                let slot = (offset & 0x7fff_ffff) as usize;
                let value = if slot < large_count {
                    be64(bytes, large + slot * 8)
                } else {
                    None
                };
                value.ok_or(PackIndexError::LargeOffset(position))?
            }
            // Without the chunk the top bit is an ordinary one: offsets up to 4 GiB fit.
            _ => u64::from(offset),
        };
        Ok(Some((pack, offset)))
    }

    /// The pack number and offset of an object.
    pub fn find(&self, oid: &Oid) -> Result<Option<(u32, u64)>, PackIndexError> {
        let raw = oid.as_bytes();
        if oid.format() != self.format {
            return Ok(None);
        }
        let Some(&first) = raw.first() else { return Ok(None) };
        let (low, high) = fanout_bucket(self.data.as_ref(), self.fanout, first);
        let found = lower_bound(low, high, |i| self.name(i).is_some_and(|name| name < raw));
        if self.name(found) == Some(raw) {
            self.entry_at(found)
        } else {
            Ok(None)
        }
    }

    /// Hashes the file and compares with its last bytes.
    pub fn verify(&self) -> Result<(), PackIndexError> {
        verify_trailer(self.format, self.data.as_ref())
    }

    fn name(&self, position: u32) -> Option<&[u8]> {
        if position >= self.count {
            return None;
        }
        let at = self.names + position as usize * self.format.raw_len();
        self.data.as_ref().get(at..at + self.format.raw_len())
    }
}

struct ChunkTable<'a> {
    bytes: &'a [u8],
    chunks: usize,
    /// Where the trailing hash begins.
    end: usize,
}

impl ChunkTable<'_> {
    /// Where a chunk begins and how long it is: to where the next one in the table begins.
    fn find(&self, id: &[u8; 4]) -> Result<Option<(usize, usize)>, PackIndexError> {
        for i in 0..self.chunks {
            let at = 12 + i * 12;
            if self.bytes.get(at..at + 4) != Some(id) {
                continue;
            }
            let start = be64(self.bytes, at + 4).and_then(|v| usize::try_from(v).ok());
            let stop = be64(self.bytes, at + 16).and_then(|v| usize::try_from(v).ok());
            return match (start, stop) {
                (Some(start), Some(stop)) if start <= stop && stop <= self.end => Ok(Some((start, stop - start))),
                _ => Err(PackIndexError::Chunks),
            };
        }
        Ok(None)
    }
}
