//! The indexes of the sealed segments, as one set: merged ones, and those of the segments that none of these covers. A lookup asks
//! the set; which kind answers is nobody else's concern.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::{IndexEntry, SealedIndex};
use crate::merged_index::{Broken, MergedIndex, merged_name};
use crate::prefix::HexPrefix;
use crate::recent::Location;
use crate::shared::{Listing, Shared, entry_location};

/// The indexes of the sealed segments. Never changed: a new set takes the place of the old one.
#[derive(Clone, Default)]
pub(crate) struct Sealed {
    /// Of one segment each, in the order in which they became known.
    pub(crate) single: Vec<Arc<SealedIndex>>,
    /// Of many segments each, the larger first.
    pub(crate) merged: Vec<Arc<MergedIndex>>,
}

/// The index that is not what was written.
struct BrokenIndex(Arc<MergedIndex>);

impl Sealed {
    /// Calls `found` with each copy of an object until it returns `true`, and returns whether it did.
    fn each_copy(
        &self,
        id: &Id,
        mut found: impl FnMut(u32, &IndexEntry) -> bool,
    ) -> std::result::Result<bool, BrokenIndex> {
        for index in self.single.iter().rev() {
            if let Some(entry) = index.lookup(id)
                && found(index.slot, &entry)
            {
                return Ok(true);
            }
        }
        for index in &self.merged {
            match index.each_copy(id, &mut found) {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(Broken) => return Err(BrokenIndex(Arc::clone(index))),
            }
        }
        Ok(false)
    }

    fn find(&self, prefix: &HexPrefix, kind: u8) -> std::result::Result<Vec<Id>, BrokenIndex> {
        let mut found = Vec::new();
        for index in &self.single {
            found.extend(index.find(prefix, kind));
        }
        for index in &self.merged {
            found.extend(
                index
                    .find(prefix, kind)
                    .map_err(|Broken| BrokenIndex(Arc::clone(index)))?,
            );
        }
        Ok(found)
    }

    /// Number of objects; one that several segments hold counts in each. O(indexes).
    pub(crate) fn objects(&self) -> u64 {
        let single: u64 = self.single.iter().map(|index| index.len() as u64).sum();
        single + self.merged.iter().map(|index| index.objects()).sum::<u64>()
    }

    /// This set without a segment that was removed; the rows of it in merged indexes count as misses from now on, in
    /// every set. O(indexes).
    pub(crate) fn without_segment(&self, slot: u32) -> Sealed {
        let mut set = self.clone();
        set.single.retain(|index| index.slot != slot);
        set.merged.iter().for_each(|index| index.forget(slot));
        set
    }

    /// Whether one of these indexes lists the segment.
    fn covers(&self, slot: u32) -> bool {
        let lists = |index: &Arc<MergedIndex>| (0..index.covered().len()).any(|at| index.slot(at as u32) == Some(slot));
        self.single.iter().any(|index| index.slot == slot) || self.merged.iter().any(lists)
    }
}

impl Shared {
    /// The places of an object in sealed segments. Errors: `Storage`, where a merged index turned out broken and those of its segments
    /// cannot be read. O(indexes).
    pub(crate) fn sealed_copies(&self, id: &Id) -> Result<impl Iterator<Item = Location> + use<>> {
        loop {
            // One copy is the rule, and costs no allocation.
            let (mut first, mut more) = (None, Vec::new());
            let asked = self.sealed().each_copy(id, |slot, entry| {
                let location = entry_location(slot, entry);
                if first.is_none() {
                    first = Some(location);
                } else {
                    more.push(location);
                }
                false
            });
            match asked {
                Ok(_) => return Ok(first.into_iter().chain(more)),
                Err(broken) => self.unmerge(&broken.0)?,
            }
        }
    }

    /// A few ids of a kind in sealed segments that begin so. Errors as [`Shared::sealed_copies`].
    pub(crate) fn find_sealed(&self, prefix: &HexPrefix, kind: u8) -> Result<Vec<Id>> {
        loop {
            match self.sealed().find(prefix, kind) {
                Ok(found) => return Ok(found),
                Err(broken) => self.unmerge(&broken.0)?,
            }
        }
    }

    /// Takes up merged indexes that are new in the directory, and lets go of what they make superfluous.
    pub(crate) fn load_merged(&self, listing: &Listing) -> Result<()> {
        let known = self.sealed();
        let mut candidates = known.merged.clone();
        for number in &listing.merged {
            let is_known = known.merged.iter().any(|index| index.number == *number);
            if is_known || self.broken.lock().contains(number) {
                continue;
            }
            let path = self.directory.join(merged_name(*number));
            match MergedIndex::open(self.vfs.as_ref(), &path, *number) {
                Ok(Some(index)) => candidates.push(Arc::new(index)),
                Ok(None) => {}
                // Another one has taken its place since the listing; the indexes of the segments serve until the next look.
                Err(error) if error.is_missing_file() => {}
                Err(error) => return Err(error),
            }
        }
        if candidates.len() == known.merged.len() {
            return Ok(());
        }
        candidates.sort_by_key(|index| std::cmp::Reverse(index.rows()));
        let (mut chosen, mut covered, mut sealed_now) = (Vec::new(), HashSet::new(), Vec::new());
        for index in candidates {
            let mut adds = false;
            for (place, segment) in index.covered().iter().enumerate() {
                if listing.segments.binary_search(&segment.number).is_err() {
                    continue;
                }
                adds |= covered.insert(segment.number);
                sealed_now.extend(self.bind_covered(&index, place)?);
            }
            if adds {
                chosen.push(index);
            }
        }
        {
            let mut sealed = self.sealed.write();
            let mut set = Sealed {
                single: Vec::new(),
                merged: chosen,
            };
            set.single = sealed
                .single
                .iter()
                .filter(|index| !set.covers(index.slot))
                .cloned()
                .collect();
            *sealed = Arc::new(set);
        }
        // Only now, so that a reader that misses the recent entry finds the sealed one.
        for slot in sealed_now {
            self.recent.remove_segment(slot);
        }
        Ok(())
    }

    /// Makes the rows of a covered segment count. Returns its slot if it was not known to be sealed.
    fn bind_covered(&self, index: &MergedIndex, place: usize) -> Result<Option<u32>> {
        let covered = index.covered()[place];
        let Some(segment) = self.adopt_lazily(covered.number)? else {
            return Ok(None);
        };
        let length = match segment.file.len() {
            Ok(length) => length,
            // Removed since the listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::storage("read", self.segment_path(covered.number), error)),
        };
        if length < covered.segment_bytes {
            self.report_damage(covered.number, length, covered.segment_bytes - length);
        }
        index.bind(place, segment.slot);
        let mut tail = segment.tail.lock();
        let new = !tail.sealed;
        if new {
            tail.sealed = true;
            tail.own = false;
            tail.scanned = covered.segment_bytes;
        }
        drop(tail);
        if new {
            self.leave_unsealed(covered.number);
        }
        Ok(new.then_some(segment.slot))
    }

    /// Goes back from a merged index that is broken to the indexes of its segments.
    pub(crate) fn unmerge(&self, index: &Arc<MergedIndex>) -> Result<()> {
        let _one = self.unmerging.lock();
        let known = self.sealed();
        if !known.merged.iter().any(|other| Arc::ptr_eq(other, index)) {
            return Ok(()); // another thread was first
        }
        self.broken.lock().insert(index.number);
        let without = |set: &Sealed| {
            let mut set = set.clone();
            set.merged.retain(|other| !Arc::ptr_eq(other, index));
            set
        };
        let rest = without(&known);
        let mut single = Vec::new();
        for (place, covered) in index.covered().iter().enumerate() {
            let Some(slot) = index.slot(place as u32) else { continue };
            let Some(segment) = self.segment(slot) else { continue };
            if rest.covers(slot) {
                continue;
            }
            let path = self.index_path(covered.number);
            match SealedIndex::open(self.vfs.as_ref(), &path, covered.number, slot) {
                Ok(Some(index)) => single.push(Arc::new(index)),
                // That one is not good either, so the segment is read.
                Ok(None) => self.read_unindexed(&segment)?,
                Err(error) if error.is_missing_file() => self.read_unindexed(&segment)?,
                Err(error) => return Err(error),
            }
        }
        // In one step, so that no reader meets a set that lists less.
        let mut sealed = self.sealed.write();
        let mut set = without(&sealed);
        set.single.extend(single);
        *sealed = Arc::new(set);
        Ok(())
    }
}
