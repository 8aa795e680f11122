//! A pack, made piece by piece: memory is bounded by the largest object, beside the list of names.
//!
//! What a pack of a source holds is copied as it stands there, and deltas too if their base goes into the pack before them. The rest is made
//! here: as deltas of what stood at the same place before, where that is a third of them or less, and whole otherwise.

use std::sync::Arc;

use pyi_git::delta_make::make_delta;
use pyi_git::oid_set::OidMap;
use pyi_git::pack_entry::EntryKind;
use pyi_git::pack_stream::{Base, PackStream};
use pyi_git::{ObjectKind, Oid};

use super::GitRemote;
use super::objects::Content;
use super::select::{DeltaBase, Selection};
use crate::git::GitSource;
use crate::git::packs::{Located, Pack};
use crate::{Error, Result};

/// How hard what is not copied is compressed.
const LEVEL: u32 = 1;

/// A delta of a delta of a delta: so many have to be unfolded at most, beside those that a source's pack has.
const DEPTH_MAX: u32 = 50;
/// A delta is for what has at least a few lines, and not for what fills the memory.
const DELTA_BYTES: std::ops::RangeInclusive<usize> = 64..=16 << 20;
/// Contents are kept for the next version of them up to so many bytes in total.
const KEPT_BYTES: usize = 8 << 20;

/// An object of a source's pack.
struct Copied {
    pack: u32,
    offset: u64,
    written_at: u64,
    oid: Oid,
}

/// A pack under way.
pub(crate) struct PackMaker {
    remote: GitRemote,
    stream: Option<PackStream>,
    /// What is made here, the last one first.
    own: Vec<Oid>,
    /// What is copied, by pack and offset.
    copied: Vec<Copied>,
    packs: Vec<Arc<Pack>>,
    next: usize,
    ofs_delta: bool,
    count: u32,
    bases: OidMap<DeltaBase>,
    /// Where those that are a base of something stand, and of how many deltas they are made.
    places: OidMap<(u64, u32)>,
    kept: OidMap<(ObjectKind, Content)>,
    kept_bytes: usize,
}

impl PackMaker {
    /// A pack of what was selected, and of tags that come along; its first bytes are appended to `out`.
    pub(crate) fn new(
        remote: &GitRemote,
        selection: &Selection,
        tags: &[Oid],
        ofs_delta: bool,
        out: &mut Vec<u8>,
    ) -> Result<Self> {
        let count = u32::try_from(selection.count() + tags.len())
            .map_err(|_| Error::git("more objects than a pack can hold"))?;
        let sources: Vec<Arc<GitSource>> = remote.sources();
        let mut maker = PackMaker {
            remote: remote.clone(),
            stream: Some(PackStream::new(remote.format, count, LEVEL, out)),
            own: Vec::new(),
            copied: Vec::new(),
            packs: Vec::new(),
            next: 0,
            ofs_delta,
            count,
            bases: OidMap::default(),
            places: OidMap::default(),
            kept: OidMap::default(),
            kept_bytes: 0,
        };
        let first = selection.commits.iter().chain(&selection.tags).chain(tags);
        for oid in first.chain(&selection.others) {
            match remote.locate(&sources, oid) {
                Some(located) => maker.add(*oid, located),
                None => {
                    maker.bases.extend(selection.bases.get(oid).map(|base| (*oid, *base)));
                    maker.own.push(*oid);
                }
            }
        }
        maker.own.reverse();
        let in_pack = maker.bases.values().filter(|base| !base.is_external);
        maker.places = in_pack.map(|base| (base.oid, (0, 0))).collect();
        maker.copied.sort_unstable_by_key(|copied| (copied.pack, copied.offset));
        Ok(maker)
    }

    fn add(&mut self, oid: Oid, located: Located) {
        let number = located.pack.number();
        if !self.packs.iter().any(|pack| pack.number() == number) {
            self.packs.push(located.pack);
        }
        self.copied.push(Copied {
            pack: number,
            offset: located.offset,
            written_at: 0,
            oid,
        });
    }

    /// How many objects there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How many are written.
    pub(crate) fn written(&self) -> u32 {
        self.count - self.stream.as_ref().map_or(0, PackStream::left)
    }

    /// Appends objects until there are `bytes` or more, or the end; `false` at the end.
    pub(crate) fn write(&mut self, bytes: usize, out: &mut Vec<u8>) -> Result<bool> {
        let Some(mut stream) = self.stream.take() else {
            return Ok(false);
        };
        while out.len() < bytes {
            // What is copied may be the base of what is made.
            if self.next < self.copied.len() {
                self.write_copied(&mut stream, out)?;
            } else if let Some(oid) = self.own.pop() {
                self.write_own(&oid, &mut stream, out)?;
            } else {
                stream.finish(out);
                return Ok(false);
            }
        }
        self.stream = Some(stream);
        Ok(true)
    }

    fn write_own(&mut self, oid: &Oid, stream: &mut PackStream, out: &mut Vec<u8>) -> Result<()> {
        let (kind, content) = self.remote.read_needed(oid)?;
        let begin = stream.offset();
        let depth = match self.delta(oid, kind, &content)? {
            Some((base, delta, depth)) => {
                stream.delta(base, &delta, out);
                depth
            }
            None => {
                stream.whole(kind, &content, out);
                0
            }
        };
        if let Some(place) = self.places.get_mut(oid) {
            *place = (begin, depth);
            self.keep(oid, kind, content);
        }
        Ok(())
    }

    /// An object as a delta, and of how many others that is one.
    fn delta(&mut self, oid: &Oid, kind: ObjectKind, content: &Content) -> Result<Option<(Base, Vec<u8>, u32)>> {
        let Some(&DeltaBase { oid: name, is_external }) = self.bases.get(oid) else {
            return Ok(None);
        };
        let (base, depth) = match self.places.get(&name) {
            Some((offset, depth)) if !is_external && self.ofs_delta => (Base::At(*offset), depth + 1),
            Some((_, depth)) if !is_external => (Base::Named(name), depth + 1),
            _ => (Base::Named(name), 1),
        };
        if depth > DEPTH_MAX || !DELTA_BYTES.contains(&content.len()) {
            return Ok(None);
        }
        let (other, before) = match self.kept.remove(&name) {
            Some(kept) => {
                self.kept_bytes -= kept.1.len();
                kept
            }
            None => self.remote.read_needed(&name)?,
        };
        let delta = match other == kind && DELTA_BYTES.contains(&before.len()) {
            true => make_delta(&before, content, content.len() / 3),
            false => None,
        };
        Ok(delta.map(|delta| (base, delta, depth)))
    }

    fn keep(&mut self, oid: &Oid, kind: ObjectKind, content: Content) {
        if self.kept_bytes + content.len() > KEPT_BYTES {
            self.kept.clear();
            self.kept_bytes = 0;
        }
        if content.len() <= KEPT_BYTES {
            self.kept_bytes += content.len();
            self.kept.insert(*oid, (kind, content));
        }
    }

    fn write_copied(&mut self, stream: &mut PackStream, out: &mut Vec<u8>) -> Result<()> {
        let at = self.next;
        self.next += 1;
        let Some(copied) = self.copied.get(at) else {
            return Ok(());
        };
        let (number, offset, oid) = (copied.pack, copied.offset, copied.oid);
        let begin = stream.offset();
        let pack = self.packs.iter().find(|pack| pack.number() == number);
        let entry = pack.and_then(|pack| pack.entry(self.remote.format, offset));
        let base_of = |base: u64| -> Option<u64> {
            let found = self
                .copied
                .binary_search_by_key(&(number, base), |copied| (copied.pack, copied.offset));
            found
                .ok()
                .filter(|&found| found < at)
                .and_then(|found| Some(self.copied.get(found)?.written_at))
        };
        let written = match entry.as_ref().map(|entry| (entry, entry.header.kind)) {
            Some((entry, EntryKind::Whole(kind))) => {
                stream.copied(kind, entry.header.size, entry.deflated, out);
                true
            }
            Some((entry, EntryKind::OfsDelta(base))) if self.ofs_delta => match base_of(base) {
                Some(base) => {
                    stream.copied_delta(Base::At(base), entry.header.size, entry.deflated, out);
                    true
                }
                None => false,
            },
            Some((entry, EntryKind::RefDelta(base))) => {
                match pack.and_then(|pack| pack.find(&base)).and_then(base_of) {
                    Some(_) => {
                        stream.copied_delta(Base::Named(base), entry.header.size, entry.deflated, out);
                        true
                    }
                    None => false,
                }
            }
            _ => false,
        };
        if !written {
            let (kind, content) = self.remote.read_needed(&oid)?;
            stream.whole(kind, &content, out);
        }
        if let Some(place) = self.places.get_mut(&oid) {
            place.0 = begin;
        }
        if let Some(copied) = self.copied.get_mut(at) {
            copied.written_at = begin;
        }
        Ok(())
    }
}
