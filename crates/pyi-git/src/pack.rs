//! Reading objects from a pack: entries inflated, delta chains resolved.
//!
//! Source: gitformat-pack(5). [`PackReader`] borrows or owns the bytes of a pack and its index (`&[u8]`, a memory map,
//! an `Arc` of one: anything `AsRef<[u8]>`) and is immutable, so threads share it; what changes while reading, the cache
//! of delta bases and the inflater, is the caller's [`DeltaCache`], one a thread. Chains are followed in a loop, never
//! by recursion, up to a depth limit; sizes are checked against a limit before memory is taken.

use crate::bytes::be32;
use crate::delta::{DeltaError, apply_delta, delta_sizes};
use crate::delta_cache::DeltaCache;
use crate::object::{Object, ObjectKind};
use crate::oid::{ObjectFormat, Oid, hash_bytes};
use crate::pack_entry::{EntryHeader, EntryKind, parse_entry_header};
use crate::pack_index::{PackIndex, PackIndexError};
use crate::zlib::InflateError;

/// Bytes before the first entry: `PACK`, version, number of objects.
pub const PACK_HEADER_BYTES: usize = 12;

/// What can be wrong with a pack. Offsets count from its first byte and name the entry that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Not a pack at all.
    #[error("pack does not begin with PACK")]
    Signature,
    /// A version we do not know.
    #[error("pack has version {0}, which is not supported")]
    Version(u32),
    /// The pack ends inside an entry, or before it.
    #[error("pack is truncated in the entry at offset {offset}")]
    Truncated {
        /// The entry.
        offset: u64,
    },
    /// A type that does not exist, or a size over 64 bits.
    #[error("pack entry at offset {offset} has a malformed header")]
    EntryHeader {
        /// The entry.
        offset: u64,
    },
    /// An ofs-delta points before the pack's beginning or at itself.
    #[error("pack entry at offset {offset} has its base outside the pack")]
    BaseOffset {
        /// The entry.
        offset: u64,
    },
    /// The stream of an entry is no valid zlib.
    #[error("pack entry at offset {offset} is no valid zlib stream")]
    Zlib {
        /// The entry.
        offset: u64,
    },
    /// The stream of an entry unfolds to another length than declared.
    #[error("pack entry at offset {offset} does not unfold to the {size} bytes it declares")]
    Size {
        /// The entry.
        offset: u64,
        /// The declared size.
        size: u64,
    },
    /// The delta of an entry cannot be applied.
    #[error("pack entry at offset {offset}: {error}")]
    Delta {
        /// The entry.
        offset: u64,
        /// What is wrong with the delta.
        error: DeltaError,
    },
    /// A delta's base is neither in the pack nor anywhere else.
    #[error("pack entry at offset {offset} wants the base {base}, which is missing")]
    MissingBase {
        /// The entry.
        offset: u64,
        /// The base.
        base: Oid,
    },
    /// A chain of deltas is longer than the limit, or a circle.
    #[error("pack entry at offset {offset} has a chain of more than {limit} deltas")]
    TooDeep {
        /// The entry that was asked for.
        offset: u64,
        /// The limit.
        limit: u32,
    },
    /// An entry is larger than the limit.
    #[error("pack entry at offset {offset} has {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// The entry.
        offset: u64,
        /// Its declared size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The content does not have the name under which the index lists it.
    #[error("pack entry for {oid} holds another object")]
    NameMismatch {
        /// The name that was asked for.
        oid: Oid,
    },
    /// The pack's trailing hash does not fit its content, or not the index.
    #[error("pack does not match its checksum")]
    Checksum,
    /// The index is damaged, or belongs to another pack.
    #[error(transparent)]
    Index(#[from] PackIndexError),
}

/// How much a reader does for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Objects that are larger are refused.
    pub max_object_bytes: u64,
    /// Longer chains of deltas are refused. Git writes at most 4,095.
    pub max_depth: u32,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self {
            max_object_bytes: 4 << 30,
            max_depth: 4_095,
        }
    }
}

/// A pack with its index.
#[derive(Clone, Debug)]
pub struct PackReader<P, I = P> {
    pack: P,
    index: PackIndex<I>,
    number: u32,
    limits: PackLimits,
}

impl<P: AsRef<[u8]>, I: AsRef<[u8]>> PackReader<P, I> {
    /// A reader of `pack` by `index`; `number` tells its entries from other packs' in a shared [`DeltaCache`].
    pub fn new(pack: P, index: PackIndex<I>, number: u32) -> Result<Self, PackError> {
        let count = check_pack_header(pack.as_ref())?;
        if count != index.len() || pack.as_ref().len() < PACK_HEADER_BYTES + index.format().raw_len() {
            return Err(PackError::Checksum);
        }
        Ok(Self {
            pack,
            index,
            number,
            limits: PackLimits::default(),
        })
    }

    /// A reader of a pack whose index need not list every entry: who made the index has looked at all of them.
    pub fn partial(pack: P, index: PackIndex<I>, number: u32) -> Self {
        Self {
            pack,
            index,
            number,
            limits: PackLimits::default(),
        }
    }

    /// The same reader with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: PackLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The index.
    pub fn index(&self) -> &PackIndex<I> {
        &self.index
    }

    /// The repository's hash.
    pub fn format(&self) -> ObjectFormat {
        self.index.format()
    }

    /// Reads an object; `None` if the pack does not have it.
    pub fn read(&self, oid: &Oid, cache: &mut DeltaCache) -> Result<Option<Object>, PackError> {
        self.read_with(oid, cache, &mut |_| None)
    }

    /// Reads an object, asking `external` for delta bases that the pack does not have (thin packs).
    pub fn read_with(
        &self,
        oid: &Oid,
        cache: &mut DeltaCache,
        external: &mut dyn FnMut(&Oid) -> Option<Object>,
    ) -> Result<Option<Object>, PackError> {
        match self.index.find(oid)? {
            Some(offset) => self.read_at_with(offset, cache, external).map(Some),
            None => Ok(None),
        }
    }

    /// Reads an object and checks that its content has that name; `None` if the pack does not have it.
    pub fn read_verified(&self, oid: &Oid, cache: &mut DeltaCache) -> Result<Option<Object>, PackError> {
        match self.read(oid, cache)? {
            Some(object) if object.oid(self.format()) != *oid => Err(PackError::NameMismatch { oid: *oid }),
            found => Ok(found),
        }
    }

    /// Reads the object whose entry begins at `offset`.
    pub fn read_at(&self, offset: u64, cache: &mut DeltaCache) -> Result<Object, PackError> {
        self.read_at_with(offset, cache, &mut |_| None)
    }

    /// Reads the object whose entry begins at `offset`, asking `external` for bases that the pack does not have.
    pub fn read_at_with(
        &self,
        offset: u64,
        cache: &mut DeltaCache,
        external: &mut dyn FnMut(&Oid) -> Option<Object>,
    ) -> Result<Object, PackError> {
        let mut chain: Vec<(u64, EntryHeader)> = Vec::new();
        let mut at = offset;
        let mut object = loop {
            if let Some(object) = cache.get(self.number, at) {
                break object;
            }
            let header = self.entry_header(at)?;
            let base = match header.kind {
                EntryKind::Whole(kind) => {
                    let data = self.inflate(at, &header, self.limits.max_object_bytes, cache)?;
                    let object = Object::new(kind, data);
                    // A commit that is whole is hardly ever the base of another one, and who walks through history does not come back to it.
                    match kind {
                        ObjectKind::Commit | ObjectKind::Tag if chain.is_empty() => cache.count(&object),
                        _ => cache.put(self.number, at, object.clone()),
                    }
                    break object;
                }
                EntryKind::OfsDelta(base) => Some(base),
                EntryKind::RefDelta(oid) => match self.index.find(&oid)? {
                    Some(base) => Some(base),
                    None => {
                        chain.push((at, header));
                        break external(&oid).ok_or(PackError::MissingBase { offset: at, base: oid })?;
                    }
                },
            };
            chain.push((at, header));
            if chain.len() > self.limits.max_depth as usize {
                return Err(PackError::TooDeep {
                    offset,
                    limit: self.limits.max_depth,
                });
            }
            at = base.unwrap_or(at);
        };
        let limit = self.limits.max_object_bytes;
        while let Some((at, header)) = chain.pop() {
            let delta = self.inflate_delta(at, &header, cache)?;
            let data = apply_delta(&object.data, &delta, limit).map_err(|error| match error {
                DeltaError::TooLarge { size, limit } => PackError::TooLarge {
                    offset: at,
                    size,
                    limit,
                },
                error => PackError::Delta { offset: at, error },
            });
            cache.delta = delta;
            object = Object::new(object.kind, data?);
            cache.put(self.number, at, object.clone());
        }
        Ok(object)
    }

    /// Kind and size of the object whose entry begins at `offset`, without unfolding it.
    pub fn info_at(&self, offset: u64, cache: &mut DeltaCache) -> Result<(ObjectKind, u64), PackError> {
        self.info_at_with(offset, cache, &mut |_| None)
    }

    /// The same, asking `external` for the kind of bases that the pack does not have.
    pub fn info_at_with(
        &self,
        offset: u64,
        cache: &mut DeltaCache,
        external: &mut dyn FnMut(&Oid) -> Option<ObjectKind>,
    ) -> Result<(ObjectKind, u64), PackError> {
        let mut at = offset;
        let mut size = None;
        for _ in 0..=self.limits.max_depth {
            let header = self.entry_header(at)?;
            let base = match header.kind {
                EntryKind::Whole(kind) => return Ok((kind, size.unwrap_or(header.size))),
                EntryKind::OfsDelta(base) => Ok(base),
                EntryKind::RefDelta(oid) => self.index.find(&oid)?.ok_or(oid),
            };
            if size.is_none() {
                size = Some(self.result_size(at, &header, cache)?);
            }
            match base {
                Ok(base) => at = base,
                Err(oid) => {
                    let kind = external(&oid).ok_or(PackError::MissingBase { offset: at, base: oid })?;
                    return Ok((kind, size.unwrap_or(header.size)));
                }
            }
        }
        Err(PackError::TooDeep {
            offset,
            limit: self.limits.max_depth,
        })
    }

    /// The header of the entry at `offset`.
    pub fn entry_header(&self, offset: u64) -> Result<EntryHeader, PackError> {
        if offset < PACK_HEADER_BYTES as u64 {
            return Err(PackError::BaseOffset { offset });
        }
        parse_entry_header(self.format(), self.tail(offset, offset)?, offset)
    }

    /// The bytes of the pack from `start` to `end`, which must lie before its trailing hash.
    pub fn raw(&self, start: u64, end: u64) -> Option<&[u8]> {
        let pack = self.pack.as_ref();
        let limit = pack.len().checked_sub(self.format().raw_len())?;
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        pack.get(start..end).filter(|_| end <= limit)
    }

    /// Where the last entry ends: before the trailing hash.
    pub fn end(&self) -> u64 {
        (self.pack.as_ref().len() as u64).saturating_sub(self.format().raw_len() as u64)
    }

    /// Hashes the whole pack and compares with its last bytes and with the index.
    pub fn verify_checksum(&self) -> Result<(), PackError> {
        let pack = self.pack.as_ref();
        let split = pack.len().saturating_sub(self.format().raw_len());
        let (body, trailer) = pack.split_at_checked(split).ok_or(PackError::Checksum)?;
        let hash = hash_bytes(self.format(), body);
        if hash.as_bytes() == trailer && self.index.pack_checksum() == Some(hash) {
            Ok(())
        } else {
            Err(PackError::Checksum)
        }
    }

    /// The bytes from `at` to the trailer; `entry` is the offset that an error names.
    fn tail(&self, at: u64, entry: u64) -> Result<&[u8], PackError> {
        let pack = self.pack.as_ref();
        let end = pack.len().saturating_sub(self.format().raw_len());
        let start = usize::try_from(at).map_err(|_| PackError::Truncated { offset: entry })?;
        pack.get(start..end)
            .filter(|tail| !tail.is_empty())
            .ok_or(PackError::Truncated { offset: entry })
    }

    fn inflate(
        &self,
        offset: u64,
        header: &EntryHeader,
        limit: u64,
        cache: &mut DeltaCache,
    ) -> Result<Vec<u8>, PackError> {
        let size = checked_size(offset, header, limit)?;
        let input = self.tail(header.data_offset, offset)?;
        cache
            .inflater
            .exact_here(input, size)
            .map_err(|e| stream_error(e, offset, header.size))
    }

    /// Inflates a delta into the cache's spare buffer, which the caller gives back.
    fn inflate_delta(&self, offset: u64, header: &EntryHeader, cache: &mut DeltaCache) -> Result<Vec<u8>, PackError> {
        // A delta that inserts everything is longer than its result by one byte in 127.
        let limit = self.limits.max_object_bytes;
        let size = checked_size(offset, header, limit.saturating_add(limit / 64).saturating_add(64))?;
        let input = self.tail(header.data_offset, offset)?;
        if size > input.len().saturating_mul(1032) {
            return Err(PackError::Truncated { offset });
        }
        let mut delta = std::mem::take(&mut cache.delta);
        delta.resize(size, 0);
        match cache.inflater.fill_here(input, &mut delta) {
            Ok(()) => Ok(delta),
            Err(error) => Err(stream_error(error, offset, header.size)),
        }
    }

    /// The size of what a delta makes, from its first bytes.
    fn result_size(&self, offset: u64, header: &EntryHeader, cache: &mut DeltaCache) -> Result<u64, PackError> {
        let mut head = [0u8; 20];
        let input = self.tail(header.data_offset, offset)?;
        let got = cache
            .inflater
            .prefix(input, &mut head)
            .map_err(|e| stream_error(e, offset, header.size))?;
        let (_, size, _) =
            delta_sizes(head.get(..got).unwrap_or_default()).map_err(|error| PackError::Delta { offset, error })?;
        Ok(size)
    }
}

/// Checks the first twelve bytes of a pack; gives the number of objects.
pub fn check_pack_header(pack: &[u8]) -> Result<u32, PackError> {
    if !pack.starts_with(b"PACK") {
        return Err(PackError::Signature);
    }
    match (be32(pack, 4), be32(pack, 8)) {
        (Some(2 | 3), Some(count)) => Ok(count),
        (Some(version), Some(_)) => Err(PackError::Version(version)),
        _ => Err(PackError::Truncated { offset: 0 }),
    }
}

fn checked_size(offset: u64, header: &EntryHeader, limit: u64) -> Result<usize, PackError> {
    let size = header.size;
    if size > limit {
        return Err(PackError::TooLarge { offset, size, limit });
    }
    usize::try_from(size).map_err(|_| PackError::TooLarge { offset, size, limit })
}

fn stream_error(error: InflateError, offset: u64, size: u64) -> PackError {
    match error {
        InflateError::Truncated => PackError::Truncated { offset },
        InflateError::Corrupt => PackError::Zlib { offset },
        InflateError::Short | InflateError::Long => PackError::Size { offset, size },
    }
}
