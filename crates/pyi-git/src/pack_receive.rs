//! Reading a pack that a stranger sent: every entry is unfolded and named, and an index of it made.
//!
//! Source: gitformat-pack(5), git-index-pack(1). The pack has no index and may lean on objects that the receiver has (a thin pack). Every byte is
//! suspect: sizes are checked before memory is taken, chains of deltas are limited in depth, and the sum of what is unfolded is limited
//! too, as a pack of a few bytes can describe any amount of work.

use std::collections::HashMap;

use crate::delta::apply_delta;
use crate::delta_cache::DeltaCache;
use crate::object::{Object, ObjectKind};
use crate::oid::{ObjectFormat, Oid, hash_bytes};
use crate::pack::{PACK_HEADER_BYTES, PackError, PackLimits, check_pack_header};
use crate::pack_entry::{EntryHeader, EntryKind, parse_entry_header};
use crate::pack_write::IndexedEntry;
use crate::zlib::InflateError;

/// How much a pack may ask of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveLimits {
    /// For each object.
    pub object: PackLimits,
    /// Objects in the pack.
    pub max_objects: u32,
    /// Bytes unfolded in all, deltas and what they make.
    pub max_work_bytes: u64,
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        ReceiveLimits {
            object: PackLimits {
                max_object_bytes: 1 << 30,
                max_depth: 4_095,
            },
            max_objects: 16_000_000,
            max_work_bytes: 1 << 40,
        }
    }
}

/// What a pack holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Every object, in the pack's order.
    pub entries: Vec<IndexedEntry>,
    /// What each of them is.
    pub kinds: Vec<ObjectKind>,
}

/// An entry that was walked over.
struct Entry {
    header: EntryHeader,
    offset: u64,
    end: u64,
}

/// Walks over a whole pack, unfolds and names every object. `external` gives the delta bases that the pack does not have. O(work).
///
/// # Errors
/// [`PackError`], naming the offset: damage, a base that nobody has, a limit.
pub fn receive(
    format: ObjectFormat,
    pack: &[u8],
    limits: &ReceiveLimits,
    cache: &mut DeltaCache,
    external: &mut dyn FnMut(&Oid) -> Option<Object>,
) -> Result<Received, PackError> {
    let count = check_pack_header(pack)?;
    let split = pack
        .len()
        .checked_sub(format.raw_len())
        .filter(|&at| at >= PACK_HEADER_BYTES);
    let (body, trailer) = pack
        .split_at_checked(split.ok_or(PackError::Truncated { offset: 0 })?)
        .ok_or(PackError::Truncated { offset: 0 })?;
    // Each entry takes a header and a zlib stream of eight bytes at least.
    if count > limits.max_objects || u64::from(count).saturating_mul(9) > body.len() as u64 {
        return Err(PackError::TooLarge {
            offset: 0,
            size: u64::from(count),
            limit: u64::from(limits.max_objects).min(body.len() as u64 / 9),
        });
    }
    let mut receiver = Receiver {
        format,
        body,
        limits,
        work_bytes: 0,
        entries: Vec::with_capacity(count as usize),
        named: vec![None; count as usize],
        by_oid: HashMap::new(),
    };
    let end = receiver.scan(count, cache)?;
    if end != body.len() as u64 {
        return Err(PackError::Checksum);
    }
    if hash_bytes(format, body).as_bytes() != trailer {
        return Err(PackError::Checksum);
    }
    receiver.resolve(cache, external)?;
    receiver.into_received()
}

struct Receiver<'a> {
    format: ObjectFormat,
    body: &'a [u8],
    limits: &'a ReceiveLimits,
    work_bytes: u64,
    entries: Vec<Entry>,
    named: Vec<Option<(Oid, ObjectKind)>>,
    by_oid: HashMap<Oid, usize>,
}

impl Receiver<'_> {
    /// Finds where entries begin, and names those that are whole. Returns the end of the last one.
    fn scan(&mut self, count: u32, cache: &mut DeltaCache) -> Result<u64, PackError> {
        let mut offset = PACK_HEADER_BYTES as u64;
        for number in 0..count as usize {
            let tail = self.tail(offset, offset)?;
            let header = parse_entry_header(self.format, tail, offset)?;
            let (data, used) = self.inflate(offset, &header, cache)?;
            let end = header.data_offset + used as u64;
            if let EntryKind::Whole(kind) = header.kind {
                let object = Object::new(kind, data);
                self.name(number, object.oid(self.format), kind);
                cache.put(0, offset, object);
            }
            self.entries.push(Entry { header, offset, end });
            offset = end;
        }
        Ok(offset)
    }

    fn name(&mut self, number: usize, oid: Oid, kind: ObjectKind) {
        if let Some(place) = self.named.get_mut(number) {
            *place = Some((oid, kind));
        }
        self.by_oid.entry(oid).or_insert(number);
    }

    /// Names the deltas. A base that is named may stand behind what is based on it: what waits for a name is tried again when that turns up, so
    /// that no order of entries costs more than two tries of each.
    fn resolve(
        &mut self,
        cache: &mut DeltaCache,
        external: &mut dyn FnMut(&Oid) -> Option<Object>,
    ) -> Result<(), PackError> {
        let mut waiting: HashMap<Oid, Vec<usize>> = HashMap::new();
        let mut ready: Vec<usize> = Vec::new();
        for first in 0..self.entries.len() {
            if self.named.get(first) == Some(&None) {
                ready.push(first);
            }
            while let Some(number) = ready.pop() {
                match self.object(number, cache, external) {
                    Ok(object) => {
                        let oid = object.oid(self.format);
                        self.name(number, oid, object.kind);
                        ready.extend(waiting.remove(&oid).unwrap_or_default());
                    }
                    Err(PackError::MissingBase { base, .. }) => waiting.entry(base).or_default().push(number),
                    Err(error) => return Err(error),
                }
            }
        }
        let first = waiting
            .iter()
            .flat_map(|(base, numbers)| numbers.iter().map(move |at| (*at, *base)));
        match first.min() {
            None => Ok(()),
            Some((number, base)) => Err(PackError::MissingBase {
                offset: self.entries.get(number).map_or(0, |entry| entry.offset),
                base,
            }),
        }
    }

    /// The object of an entry, along its chain.
    fn object(
        &mut self,
        number: usize,
        cache: &mut DeltaCache,
        external: &mut dyn FnMut(&Oid) -> Option<Object>,
    ) -> Result<Object, PackError> {
        let mut chain = Vec::new();
        let mut at = number;
        let asked = self.entries.get(number).map_or(0, |entry| entry.offset);
        let mut object = loop {
            let Some(entry) = self.entries.get(at) else {
                return Err(PackError::BaseOffset { offset: asked });
            };
            let (offset, header) = (entry.offset, entry.header);
            if let Some(object) = cache.get(0, offset) {
                break object;
            }
            let base = match header.kind {
                EntryKind::Whole(kind) => {
                    let (data, _) = self.inflate(offset, &header, cache)?;
                    let object = Object::new(kind, data);
                    cache.put(0, offset, object.clone());
                    break object;
                }
                EntryKind::OfsDelta(base) => self
                    .entries
                    .binary_search_by_key(&base, |entry| entry.offset)
                    .map_err(|_| PackError::BaseOffset { offset })?,
                EntryKind::RefDelta(oid) => match self.by_oid.get(&oid) {
                    Some(&base) => base,
                    None => {
                        chain.push(at);
                        let base = external(&oid).ok_or(PackError::MissingBase { offset, base: oid })?;
                        // A few bytes can name something large that the receiver has to read.
                        self.count(offset, base.data.len() as u64)?;
                        break base;
                    }
                },
            };
            chain.push(at);
            if chain.len() > self.limits.object.max_depth as usize {
                return Err(PackError::TooDeep {
                    offset: asked,
                    limit: self.limits.object.max_depth,
                });
            }
            at = base;
        };
        while let Some(at) = chain.pop() {
            let Some(entry) = self.entries.get(at) else { break };
            let (offset, header) = (entry.offset, entry.header);
            let (delta, _) = self.inflate(offset, &header, cache)?;
            let limit = self.limits.object.max_object_bytes;
            let data = apply_delta(&object.data, &delta, limit).map_err(|error| PackError::Delta { offset, error })?;
            self.count(offset, data.len() as u64)?;
            object = Object::new(object.kind, data);
            cache.put(0, offset, object.clone());
        }
        Ok(object)
    }

    fn count(&mut self, offset: u64, bytes: u64) -> Result<(), PackError> {
        self.work_bytes = self.work_bytes.saturating_add(bytes);
        if self.work_bytes > self.limits.max_work_bytes {
            return Err(PackError::TooLarge {
                offset,
                size: self.work_bytes,
                limit: self.limits.max_work_bytes,
            });
        }
        Ok(())
    }

    fn tail(&self, at: u64, entry: u64) -> Result<&[u8], PackError> {
        usize::try_from(at)
            .ok()
            .and_then(|at| self.body.get(at..))
            .filter(|tail| !tail.is_empty())
            .ok_or(PackError::Truncated { offset: entry })
    }

    fn inflate(
        &mut self,
        offset: u64,
        header: &EntryHeader,
        cache: &mut DeltaCache,
    ) -> Result<(Vec<u8>, usize), PackError> {
        let limit = self.limits.object.max_object_bytes;
        let size = usize::try_from(header.size).ok().filter(|_| header.size <= limit);
        let size = size.ok_or(PackError::TooLarge {
            offset,
            size: header.size,
            limit,
        })?;
        self.count(offset, header.size)?;
        let input = self.tail(header.data_offset, offset)?;
        cache.inflater.exact(input, size).map_err(|error| match error {
            InflateError::Truncated => PackError::Truncated { offset },
            InflateError::Corrupt => PackError::Zlib { offset },
            InflateError::Short | InflateError::Long => PackError::Size {
                offset,
                size: header.size,
            },
        })
    }

    fn into_received(self) -> Result<Received, PackError> {
        let mut received = Received::default();
        for (entry, named) in self.entries.iter().zip(&self.named) {
            let (oid, kind) = named.ok_or(PackError::Truncated { offset: entry.offset })?;
            // The same object twice is sent by some; the first one counts.
            if self
                .by_oid
                .get(&oid)
                .and_then(|&at| self.entries.get(at))
                .map(|first| first.offset)
                != Some(entry.offset)
            {
                continue;
            }
            let bytes = (usize::try_from(entry.offset).ok().zip(usize::try_from(entry.end).ok()))
                .and_then(|(start, end)| self.body.get(start..end))
                .unwrap_or_default();
            received.entries.push(IndexedEntry {
                oid,
                offset: entry.offset,
                crc32: crc32fast::hash(bytes),
            });
            received.kinds.push(kind);
        }
        Ok(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid::hash_object;
    use crate::pack_stream::{Base, PackStream};

    const FORMAT: ObjectFormat = ObjectFormat::Sha1;

    fn run(pack: &[u8], limits: &ReceiveLimits, thin: Option<&Object>) -> Result<Received, PackError> {
        let mut external = |oid: &Oid| thin.filter(|object| object.oid(FORMAT) == *oid).cloned();
        receive(FORMAT, pack, limits, &mut DeltaCache::new(1 << 20), &mut external)
    }

    /// A delta that copies `copies` times the whole of a base of `base` bytes (below 65,536).
    fn delta(base: usize, copies: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for mut size in [base, base * copies] {
            while size > 127 {
                out.push((size & 127) as u8 | 128);
                size >>= 7;
            }
            out.push(size as u8);
        }
        for _ in 0..copies {
            out.extend_from_slice(&[0x80 | 0x10 | 0x20, base as u8, (base >> 8) as u8]);
        }
        out
    }

    #[test]
    fn a_pack_with_chains_and_an_outside_base_is_named() {
        let outside = Object::new(ObjectKind::Blob, b"what the receiver has".to_vec());
        let content = b"0123456789abcdef".repeat(4);
        let mut out = Vec::new();
        let mut pack = PackStream::new(FORMAT, 4, 6, &mut out);
        // The first one leans on what comes later.
        let later = hash_object(FORMAT, ObjectKind::Blob, &content);
        let code = delta(64, 2);
        let deflated = |bytes: &[u8]| crate::zlib::deflate(&[bytes], 6);
        pack.copied_delta(Base::Named(later), code.len() as u64, &deflated(&code), &mut out);
        let at = pack.offset();
        pack.whole(ObjectKind::Blob, &content, &mut out);
        let code = delta(64, 3);
        pack.copied_delta(Base::At(at), code.len() as u64, &deflated(&code), &mut out);
        let code = delta(outside.data.len(), 2);
        pack.copied_delta(
            Base::Named(outside.oid(FORMAT)),
            code.len() as u64,
            &deflated(&code),
            &mut out,
        );
        assert_eq!(pack.left(), 0);
        pack.finish(&mut out);
        let received = run(&out, &ReceiveLimits::default(), Some(&outside)).unwrap();
        let expected: Vec<Oid> = [
            content.repeat(2),
            content.clone(),
            content.repeat(3),
            outside.data.repeat(2),
        ]
        .iter()
        .map(|content| hash_object(FORMAT, ObjectKind::Blob, content))
        .collect();
        assert_eq!(
            received.entries.iter().map(|entry| entry.oid).collect::<Vec<_>>(),
            expected
        );
        assert!(matches!(
            run(&out, &ReceiveLimits::default(), None),
            Err(PackError::MissingBase { .. })
        ));
        for at in 0..out.len() {
            let mut changed = out.clone();
            changed[at] ^= 0x21;
            assert!(
                run(&changed, &ReceiveLimits::default(), Some(&outside)).is_err(),
                "byte {at}"
            );
            assert!(
                run(&out[..at], &ReceiveLimits::default(), Some(&outside)).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn deltas_in_the_worst_order_are_tried_twice_each_and_those_without_an_end_are_refused() {
        // Each leans on the one behind it, the last one on what is whole.
        let count = 2_000;
        let contents: Vec<Vec<u8>> = (0..count).map(|at| vec![7u8; 100 + at]).collect();
        let names: Vec<Oid> = contents
            .iter()
            .map(|content| hash_object(FORMAT, ObjectKind::Blob, content))
            .collect();
        let build = |end: bool| {
            let mut out = Vec::new();
            let mut pack = PackStream::new(FORMAT, count as u32, 6, &mut out);
            for at in (1..count).rev() {
                let (base, content) = (&contents[at - 1], &contents[at]);
                let mut code = Vec::new();
                for mut size in [base.len(), content.len()] {
                    while size > 127 {
                        code.push((size & 127) as u8 | 128);
                        size >>= 7;
                    }
                    code.push(size as u8);
                }
                code.extend_from_slice(&[0x80 | 0x10 | 0x20, base.len() as u8, (base.len() >> 8) as u8, 1, 7]);
                let deflated = crate::zlib::deflate(&[&code], 6);
                pack.copied_delta(Base::Named(names[at - 1]), code.len() as u64, &deflated, &mut out);
            }
            match end {
                true => pack.whole(ObjectKind::Blob, &contents[0], &mut out),
                false => {
                    let code = [100, 100, 0x90, 100];
                    let deflated = crate::zlib::deflate(&[&code], 6);
                    pack.copied_delta(Base::Named(names[count - 1]), 4, &deflated, &mut out);
                }
            }
            pack.finish(&mut out);
            out
        };
        let mut asked = 0;
        let mut external = |_: &Oid| {
            asked += 1;
            None
        };
        let mut cache = DeltaCache::new(1 << 20);
        let pack = build(true);
        let received = receive(FORMAT, &pack, &ReceiveLimits::default(), &mut cache, &mut external).unwrap();
        assert!(
            received
                .entries
                .iter()
                .rev()
                .map(|entry| entry.oid)
                .eq(names.iter().copied())
        );
        assert!(asked <= count, "{asked}");
        // A ring that nothing stands outside of.
        assert!(matches!(
            run(&build(false), &ReceiveLimits::default(), None),
            Err(PackError::MissingBase { .. })
        ));
    }

    #[test]
    fn large_bases_of_the_receiver_count_as_work() {
        let outside = Object::new(ObjectKind::Blob, vec![1u8; 60_000]);
        let mut out = Vec::new();
        let mut pack = PackStream::new(FORMAT, 100, 6, &mut out);
        for length in 1..=100u8 {
            let code = [0xe0, 0xd4, 3, length, 0x90, length];
            let deflated = crate::zlib::deflate(&[&code], 6);
            pack.copied_delta(Base::Named(outside.oid(FORMAT)), 6, &deflated, &mut out);
        }
        pack.finish(&mut out);
        assert_eq!(
            run(&out, &ReceiveLimits::default(), Some(&outside))
                .unwrap()
                .entries
                .len(),
            100
        );
        let limits = ReceiveLimits {
            max_work_bytes: 50 * 60_000,
            ..ReceiveLimits::default()
        };
        assert!(matches!(
            run(&out, &limits, Some(&outside)),
            Err(PackError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_bomb_of_deltas_is_stopped_by_the_sum_of_the_work() {
        let content = vec![7u8; 60_000];
        let mut out = Vec::new();
        let count = 40;
        let mut pack = PackStream::new(FORMAT, count, 9, &mut out);
        let base = pack.offset();
        pack.whole(ObjectKind::Blob, &content, &mut out);
        for copies in 1..count as usize {
            let code = delta(60_000, copies + 1000);
            pack.copied_delta(
                Base::At(base),
                code.len() as u64,
                &crate::zlib::deflate(&[&code], 9),
                &mut out,
            );
        }
        pack.finish(&mut out);
        assert!(out.len() < 20_000, "{}", out.len());
        let mut limits = ReceiveLimits {
            max_work_bytes: 300 << 20,
            ..ReceiveLimits::default()
        };
        assert!(matches!(run(&out, &limits, None), Err(PackError::TooLarge { .. })));
        limits.object.max_object_bytes = 1 << 20;
        assert!(matches!(run(&out, &limits, None), Err(PackError::Delta { .. })));
    }
}
