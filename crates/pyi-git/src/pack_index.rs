//! The index of a pack: object names in order, and the offset of each in the pack.
//!
//! Source: gitformat-pack(5) "Original (version 1) pack-*.idx files" and "Version 2 pack-*.idx files". Both begin (v2
//! after a magic and a version) with a fan-out of 256 counts by first byte. Version 1 follows with (offset, name)
//! pairs; version 2 with all names, all CRC-32s, all 31-bit offsets, and the 64-bit offsets those with the top bit set
//! point to. Both end with the hash of the pack and the hash of the index itself.

use crate::bytes::{be32, be64};
use crate::oid::{ObjectFormat, Oid, OidPrefix, hash_bytes};

/// How far from where a name is expected it is looked for first: about as far as names are off by chance.
const FIRST_STEP: u32 = 16;
const MAGIC_V2: [u8; 4] = [0xff, b't', b'O', b'c'];
pub(crate) const FANOUT_BYTES: usize = 256 * 4;

/// What can be wrong with a pack index or multi-pack-index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackIndexError {
    /// The file is shorter than its own counts require.
    #[error("pack index is truncated: {needed} bytes needed, {actual} there")]
    Truncated {
        /// Bytes the tables take.
        needed: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// Not the file that was expected.
    #[error("pack index has the wrong signature")]
    Signature,
    /// A version we do not know.
    #[error("pack index has version {0}, which is not supported")]
    Version(u32),
    /// The hash in the header is not the repository's.
    #[error("pack index is for another hash function")]
    Format,
    /// The fan-out counts go down.
    #[error("pack index has a fan-out that decreases at {0:#04x}")]
    Fanout(u8),
    /// The table of chunks (multi-pack-index) is inconsistent.
    #[error("multi-pack-index has a malformed chunk table")]
    Chunks,
    /// An offset points outside the table of 64-bit offsets.
    #[error("pack index entry {0} has an offset outside the table of large offsets")]
    LargeOffset(u32),
    /// The trailing hash does not fit the content.
    #[error("pack index does not match its checksum")]
    Checksum,
}

/// What an abbreviated name was found to stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixMatch {
    /// No object.
    None,
    /// One object, at this position of the index.
    One(u32),
    /// The objects at these positions, first and one past the last.
    Many(u32, u32),
}

/// The index of a pack, over bytes that the caller read or mapped.
#[derive(Clone, Debug)]
pub struct PackIndex<D> {
    data: D,
    format: ObjectFormat,
    version: u32,
    count: u32,
    /// Where the fan-out begins.
    fanout: usize,
    /// Where the first name stands, and how far apart they are.
    names: usize,
    stride: usize,
    /// Version 2: where offsets and large offsets begin.
    offsets: usize,
    large: usize,
    large_count: usize,
}

impl<D: AsRef<[u8]>> PackIndex<D> {
    /// Reads the header and checks that the tables fit the file; the names are not looked at.
    pub fn parse(format: ObjectFormat, data: D) -> Result<Self, PackIndexError> {
        let bytes = data.as_ref();
        let is_v2 = bytes.starts_with(&MAGIC_V2);
        let version = if is_v2 { be32(bytes, 4).unwrap_or_default() } else { 1 };
        if is_v2 && version != 2 {
            return Err(PackIndexError::Version(version));
        }
        let fanout = if is_v2 { 8 } else { 0 };
        let hash = format.raw_len();
        let actual = bytes.len();
        let count = check_fanout(bytes, fanout)?;
        let n = count as usize;
        let names = fanout + FANOUT_BYTES;
        let (stride, offsets) = if is_v2 {
            (hash, names + n * (hash + 4))
        } else {
            (hash + 4, names)
        };
        let needed = if is_v2 { offsets + n * 4 } else { names + n * stride } + 2 * hash;
        if actual < needed {
            return Err(PackIndexError::Truncated {
                needed: needed as u64,
                actual: actual as u64,
            });
        }
        // What stands between the tables and the trailer is large offsets, at most one an object.
        let spare = actual - needed;
        if (!is_v2 && spare != 0) || !spare.is_multiple_of(8) || spare / 8 > n {
            return Err(PackIndexError::Truncated {
                needed: needed as u64,
                actual: actual as u64,
            });
        }
        let (large, large_count) = (needed - 2 * hash, spare / 8);
        Ok(Self {
            data,
            format,
            version,
            count,
            fanout,
            names,
            stride,
            offsets,
            large,
            large_count,
        })
    }

    /// The repository's hash.
    pub fn format(&self) -> ObjectFormat {
        self.format
    }

    /// 1 or 2.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How many objects there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The name at this position; positions are in the order of names.
    pub fn oid_at(&self, position: u32) -> Option<Oid> {
        Oid::from_bytes(self.format, self.name(position)?).ok()
    }

    /// The offset in the pack of the object at this position.
    pub fn offset_at(&self, position: u32) -> Result<Option<u64>, PackIndexError> {
        if position >= self.count {
            return Ok(None);
        }
        let bytes = self.data.as_ref();
        let i = position as usize;
        if self.version == 1 {
            return Ok(be32(bytes, self.names + i * self.stride).map(u64::from));
        }
        match be32(bytes, self.offsets + i * 4) {
            Some(offset) if offset & 0x8000_0000 != 0 => {
                let at = (offset & 0x7fff_ffff) as usize;
                if at >= self.large_count {
                    return Err(PackIndexError::LargeOffset(position));
                }
                Ok(be64(bytes, self.large + at * 8))
            }
            offset => Ok(offset.map(u64::from)),
        }
    }

    /// The CRC-32 of the packed entry at this position (version 2 only).
    pub fn crc32_at(&self, position: u32) -> Option<u32> {
        if self.version == 1 || position >= self.count {
            return None;
        }
        let table = self.names + self.count as usize * self.stride;
        be32(self.data.as_ref(), table + position as usize * 4)
    }

    /// The position of an object.
    pub fn lookup(&self, oid: &Oid) -> Option<u32> {
        if oid.format() != self.format {
            return None;
        }
        let bucket = self.bucket(*oid.as_bytes().first()?);
        let (low, high) = self.near(bucket, oid.as_bytes());
        let found = self.lower_bound(low, high, oid.as_bytes());
        (self.name(found) == Some(oid.as_bytes())).then_some(found)
    }

    /// The offset of an object in the pack.
    pub fn find(&self, oid: &Oid) -> Result<Option<u64>, PackIndexError> {
        self.lookup(oid).map_or(Ok(None), |position| self.offset_at(position))
    }

    /// The objects whose names begin with a prefix.
    pub fn prefix(&self, prefix: &OidPrefix) -> PrefixMatch {
        let low = prefix.low();
        let (mut start, end) = self.bucket(low.first().copied().unwrap_or_default());
        start = self.lower_bound(start, end, low.get(..self.format.raw_len()).unwrap_or(low));
        let last_bucket = if prefix.digits() == 1 {
            self.bucket(low.first().copied().unwrap_or_default() | 15).1
        } else {
            end
        };
        let mut stop = start;
        while stop < last_bucket && self.name(stop).is_some_and(|raw| prefix.matches(raw)) {
            stop += 1;
        }
        match stop - start {
            0 => PrefixMatch::None,
            1 => PrefixMatch::One(start),
            _ => PrefixMatch::Many(start, stop),
        }
    }

    /// Every object's name, in order.
    pub fn oids(&self) -> impl Iterator<Item = Oid> + '_ {
        (0..self.count).filter_map(|i| self.oid_at(i))
    }

    /// Every object as (offset, position), in the order of the pack, in which reading is fastest.
    pub fn in_pack_order(&self) -> Result<Vec<(u64, u32)>, PackIndexError> {
        let mut all = Vec::with_capacity(self.count as usize);
        for position in 0..self.count {
            if let Some(offset) = self.offset_at(position)? {
                all.push((offset, position));
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The hash that the pack itself must end with.
    pub fn pack_checksum(&self) -> Option<Oid> {
        let bytes = self.data.as_ref();
        let at = bytes.len().checked_sub(2 * self.format.raw_len())?;
        Oid::from_bytes(self.format, bytes.get(at..at + self.format.raw_len())?).ok()
    }

    /// Hashes the index and compares with its last bytes; also checks that names are in strictly ascending order.
    pub fn verify(&self) -> Result<(), PackIndexError> {
        verify_trailer(self.format, self.data.as_ref())?;
        let ascending = (1..self.count).all(|i| self.name(i - 1) < self.name(i));
        let in_bucket = (0..=255u8).all(|b| {
            let (low, high) = self.bucket(b);
            low == high || (self.first_byte(low) == Some(b) && self.first_byte(high - 1) == Some(b))
        });
        if ascending && in_bucket {
            Ok(())
        } else {
            Err(PackIndexError::Checksum)
        }
    }

    fn first_byte(&self, position: u32) -> Option<u8> {
        self.name(position)?.first().copied()
    }

    fn name(&self, position: u32) -> Option<&[u8]> {
        if position >= self.count {
            return None;
        }
        let skip = if self.version == 1 { 4 } else { 0 };
        let at = self.names + position as usize * self.stride + skip;
        self.data.as_ref().get(at..at + self.format.raw_len())
    }

    fn bucket(&self, first: u8) -> (u32, u32) {
        fanout_bucket(self.data.as_ref(), self.fanout, first)
    }

    /// The part of a bucket that a name must be in. Names are spread evenly, so it is looked for where it would then be, in ever larger steps from there: a few
    /// neighbours are touched, where halving all of it touches a dozen places far apart.
    fn near(&self, (mut low, mut high): (u32, u32), raw: &[u8]) -> (u32, u32) {
        let is_less = |position: u32| self.name(position).is_some_and(|name| name < raw);
        let (Some(key), Some(last)) = (be32(raw, 1), high.checked_sub(1)) else {
            return (low, high);
        };
        let guess = low + ((u64::from(key) * u64::from(high.saturating_sub(low))) >> 32) as u32;
        let guess = guess.min(last);
        let mut step = FIRST_STEP;
        if is_less(guess) {
            low = guess + 1;
            while let Some(at) = low.checked_add(step).filter(|at| *at < high) {
                if !is_less(at) {
                    return (low, at);
                }
                low = at + 1;
                step = step.saturating_mul(4);
            }
        } else {
            high = guess;
            while let Some(at) = high.checked_sub(step).filter(|at| *at >= low) {
                if is_less(at) {
                    return (at + 1, high);
                }
                high = at;
                step = step.saturating_mul(4);
            }
        }
        (low, high)
    }

    fn lower_bound(&self, low: u32, high: u32, raw: &[u8]) -> u32 {
        lower_bound(low, high, |i| self.name(i).is_some_and(|name| name < raw))
    }
}

/// Checks that a fan-out table never decreases; gives its last count.
pub(crate) fn check_fanout(bytes: &[u8], at: usize) -> Result<u32, PackIndexError> {
    let mut count = 0;
    for (i, first) in (0..=255u8).enumerate() {
        let next = be32(bytes, at + i * 4).ok_or(PackIndexError::Truncated {
            needed: (at + FANOUT_BYTES) as u64,
            actual: bytes.len() as u64,
        })?;
        if next < count {
            return Err(PackIndexError::Fanout(first));
        }
        count = next;
    }
    Ok(count)
}

/// The positions of names that begin with a byte.
pub(crate) fn fanout_bucket(bytes: &[u8], at: usize, first: u8) -> (u32, u32) {
    let slot = at + usize::from(first) * 4;
    let high = be32(bytes, slot).unwrap_or_default();
    let low = if first == 0 {
        0
    } else {
        be32(bytes, slot - 4).unwrap_or_default()
    };
    (low.min(high), high)
}

/// The first position in `low..high` for which `less` does not hold.
pub(crate) fn lower_bound(mut low: u32, mut high: u32, less: impl Fn(u32) -> bool) -> u32 {
    while low < high {
        let middle = low + (high - low) / 2;
        if less(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Compares the hash at the end of a file with that of what stands before it.
pub(crate) fn verify_trailer(format: ObjectFormat, bytes: &[u8]) -> Result<(), PackIndexError> {
    let split = bytes
        .len()
        .checked_sub(format.raw_len())
        .ok_or(PackIndexError::Checksum)?;
    let (body, trailer) = bytes.split_at_checked(split).ok_or(PackIndexError::Checksum)?;
    if hash_bytes(format, body).as_bytes() == trailer {
        Ok(())
    } else {
        Err(PackIndexError::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::pack_write::{IndexedEntry, write_pack_index};

    const FORMAT: ObjectFormat = ObjectFormat::Sha1;

    fn oid(begin: u64) -> Oid {
        let mut raw = [7; 20];
        raw[..8].copy_from_slice(&begin.to_be_bytes());
        Oid::from_bytes(FORMAT, &raw).unwrap()
    }

    proptest! {
        // Names that are no hashes stand where nobody expects them: all in one corner, or at both ends.
        #[test]
        fn every_name_is_found_however_they_are_spread(
            spread in prop::collection::btree_set(any::<u64>(), 0..300),
            corner in prop::collection::btree_set(0u64..2_000, 0..300),
            end in prop::collection::btree_set(u64::MAX - 500..=u64::MAX, 0..100),
            shift in 0..64u32,
        ) {
            let all: BTreeSet<u64> = spread.into_iter().chain(corner.into_iter().map(|at| at << shift.min(53))).chain(end).collect();
            let entries = all.iter().map(|at| IndexedEntry { oid: oid(*at), crc32: 0, offset: 12 });
            let bytes = write_pack_index(FORMAT, entries.collect(), &oid(0)).unwrap();
            let index = PackIndex::parse(FORMAT, bytes).unwrap();
            for (position, at) in all.iter().enumerate() {
                prop_assert_eq!(index.lookup(&oid(*at)), Some(position as u32));
                for near in [at.wrapping_add(1), at.wrapping_sub(1)] {
                    prop_assert_eq!(index.lookup(&oid(near)).is_some(), all.contains(&near));
                }
            }
        }
    }
}
