//! How an open store follows the collectors of all processes: segments that are about to go, and segments that are gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::encoding::DELTA;
use crate::error::{Error, Result};
use crate::gc_file::GcFile;
use crate::id::{Id, IdSet};
use crate::index::{IndexEntry, SealedIndex};
use crate::kind::Kind;
use crate::recent::Location;
use crate::record::{HEADER_BYTES, padded};
use crate::shared::Shared;
use crate::survey::{read_record, references};

/// The segments that a collector is about to remove, as this process saw it last.
pub(crate) struct Condemned {
    /// Epoch of the last look; `u64::MAX` before the first.
    epoch: AtomicU64,
    /// Whether lookups have to ask.
    any: AtomicBool,
    /// What was removed could not be found out, so nothing that was stored before is relied on.
    blind: AtomicBool,
    numbers: RwLock<Arc<HashSet<u64>>>,
    following: Mutex<()>,
}

impl Default for Condemned {
    fn default() -> Condemned {
        Condemned {
            epoch: AtomicU64::new(u64::MAX),
            any: AtomicBool::new(false),
            blind: AtomicBool::new(false),
            numbers: RwLock::default(),
            following: Mutex::default(),
        }
    }
}

impl Condemned {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The condemned segments; `None` if there are none, which is one load.
    pub(crate) fn numbers(&self) -> Option<Arc<HashSet<u64>>> {
        if self.any.load(Ordering::Acquire) {
            Some(Arc::clone(&self.numbers.read()))
        } else {
            None
        }
    }
}

impl Shared {
    /// Catches up with collectors, in a section: first what they condemn, then what they removed. What is condemned no more is gone from
    /// the table before it is forgotten here. O(segments), a listing; once an epoch.
    pub(crate) fn follow(&self, gc: &GcFile) {
        let _one = self.condemned.following.lock();
        // Read before the look, so that what is removed between the two is still known as condemned.
        let (epoch, numbers) = gc.condemned();
        if epoch == self.condemned.epoch() {
            return;
        }
        let looked = {
            let _one = self.refreshing.lock();
            self.look_again(true)
        };
        if looked.is_err() {
            self.condemned.blind.store(true, Ordering::Release);
            return;
        }
        let any = !numbers.is_empty();
        if any {
            *self.condemned.numbers.write() = Arc::new(numbers.into_iter().collect());
        }
        self.condemned.any.store(any, Ordering::Release);
        self.condemned.blind.store(false, Ordering::Release);
        self.condemned.epoch.store(epoch, Ordering::Release);
    }

    /// Drops the segments that are not in the directory any more; `listed` is sorted. Readers that hold one go on.
    pub(crate) fn drop_gone(&self, listed: &[u64]) -> Result<()> {
        for segment in self.segments() {
            if listed.binary_search(&segment.number).is_ok() || segment.tail.lock().own {
                continue;
            }
            // One that is newer than the list is in the table too.
            let path = self.segment_path(segment.number);
            let there = self
                .vfs
                .exists(&path)
                .map_err(|error| Error::storage("look for", &path, error))?;
            if there {
                continue;
            }
            {
                let mut sealed = self.sealed.write();
                *sealed = Arc::new(sealed.without_segment(segment.slot));
            }
            {
                let mut table = self.table.write();
                table.by_number.remove(&segment.number);
                table.unsealed.retain(|open| open.number != segment.number);
                if let Some(entry) = table.segments.get_mut(segment.slot as usize) {
                    *entry = None;
                }
            }
            self.recent.remove_segment(segment.slot);
            self.damage.lock().remove(&segment.number);
        }
        Ok(())
    }

    /// Adds a record to the recent ones. A known place that is of no use any more does not hide it.
    pub(crate) fn note(&self, id: Id, location: Location) {
        self.recent.insert(id, location, |known| {
            let condemned = self.condemned.numbers();
            !self.is_sound(known, condemned.as_deref())
        });
    }

    /// Whether a place can be relied on: its segment is there and stays, and no damage is known at it.
    fn is_sound(&self, location: &Location, condemned: Option<&HashSet<u64>>) -> bool {
        let Some(number) = self.number_of(location.slot) else {
            return false;
        };
        let goes = condemned.is_some_and(|numbers| numbers.contains(&number));
        let damaged = self.any_damage.load(Ordering::Acquire) && self.is_damaged_at(number, location.offset());
        !goes && !damaged
    }

    /// The number of the segment in a slot, if it was not removed.
    pub(crate) fn number_of(&self, slot: u32) -> Option<u64> {
        let table = self.table.read();
        table
            .segments
            .get(slot as usize)?
            .as_ref()
            .map(|segment| segment.number)
    }

    fn is_damaged_at(&self, number: u64, offset: u64) -> bool {
        let damage = self.damage.lock();
        let places = damage.get(&number).into_iter().flatten();
        places
            .into_iter()
            .any(|place| (place.offset..place.offset + place.length).contains(&offset))
    }

    /// Whether this process knows a copy that stays and that no damage is known of. O(segments), touches no file.
    pub(crate) fn can_rely_on(&self, id: &Id) -> bool {
        if self.condemned.blind.load(Ordering::Acquire) {
            return false;
        }
        // Before the indexes: what is condemned no more is gone from them.
        let condemned = self.condemned.numbers();
        self.stands(id, condemned.as_deref(), 0)
    }

    /// As [`Shared::can_rely_on`], of what stands in unsealed segments and needs nothing else to be read.
    pub(crate) fn can_rely_on_recent(&self, id: &Id) -> bool {
        !self.condemned.blind.load(Ordering::Acquire)
            && self.recent.get(id).is_some_and(|location| {
                let condemned = self.condemned.numbers();
                self.is_sound(&location, condemned.as_deref())
                    && self.parts_stand(id, &location, condemned.as_deref(), 0)
            })
    }

    /// The epoch of the collectors that this process follows, as long as it knows of no damage.
    pub(crate) fn reliance_epoch(&self) -> Option<u64> {
        let trusts = !self.condemned.blind.load(Ordering::Acquire) && !self.any_damage.load(Ordering::Acquire);
        trusts.then(|| self.condemned.epoch())
    }

    /// As [`Shared::can_rely_on`], and it is stored by itself.
    pub(crate) fn stands_alone(&self, id: &Id) -> bool {
        if self.condemned.blind.load(Ordering::Acquire) {
            return false;
        }
        let condemned = self.condemned.numbers();
        let counts = |location: &Location| location.encoding < DELTA && self.is_sound(location, condemned.as_deref());
        self.recent.get(id).is_some_and(|location| counts(&location))
            || (self.sealed_copies(id).into_iter().flatten()).any(|location| counts(&location))
    }

    /// Whether a copy stands that can be relied on, with all that it needs to be read: a list of chunks that nothing reached any more can
    /// outlive its chunks, in a segment that was not worth rewriting. O(indexes), and a read for what is not stored by itself.
    pub(crate) fn stands(&self, id: &Id, condemned: Option<&HashSet<u64>>, depth: u32) -> bool {
        let counts = |location: &Location| {
            self.is_sound(location, condemned) && self.parts_stand(id, location, condemned, depth)
        };
        // Where the indexes cannot be read, storing it once more does no harm.
        self.recent.get(id).is_some_and(|location| counts(&location))
            || (self.sealed_copies(id).into_iter().flatten()).any(|location| counts(&location))
    }

    fn parts_stand(&self, id: &Id, location: &Location, condemned: Option<&HashSet<u64>>, depth: u32) -> bool {
        if location.encoding < DELTA {
            return true;
        }
        let Some(segment) = self.segment(location.slot).filter(|_| depth < DEPTH_MAX) else {
            return false;
        };
        let Ok(Some(record)) = read_record(self, &segment, id, location) else {
            return false;
        };
        let parts = references(location.kind, location.encoding, &record[HEADER_BYTES..]);
        parts.iter().all(|part| self.stands(part, condemned, depth + 1))
    }

    /// Whether an object cannot be read without segments that are about to go, as far as is known. One load as a rule.
    pub(crate) fn needs_condemned(&self, id: &Id) -> bool {
        let condemned = self.condemned.numbers();
        condemned.is_some_and(|condemned| !self.stands(id, Some(&condemned), 0))
    }

    /// All known places of an object: numbers of segments and places in them. Errors: `Storage`. O(indexes).
    pub(crate) fn places(&self, id: &Id) -> Result<Vec<(u64, Location)>> {
        let known = self.recent.get(id).into_iter().chain(self.sealed_copies(id)?);
        let numbered = known.filter_map(|location| Some((self.segment(location.slot)?.number, location)));
        Ok(numbered.collect())
    }

    /// The index of each sealed segment, by itself. Errors: `Storage`; `Corrupt` if one does not check, which a scrub makes good.
    /// O(bytes of the indexes that only count as part of a merged one).
    pub(crate) fn sealed_indexes(&self) -> Result<Vec<Arc<SealedIndex>>> {
        let mut indexes = self.sealed().single.clone();
        let known: HashSet<u32> = indexes.iter().map(|index| index.slot).collect();
        for segment in self.segments() {
            if known.contains(&segment.slot) || !segment.tail.lock().sealed {
                continue;
            }
            let path = self.index_path(segment.number);
            match SealedIndex::open(self.vfs.as_ref(), &path, segment.number, segment.slot) {
                Ok(Some(index)) => indexes.push(Arc::new(index)),
                Ok(None) => return Err(Error::corrupt("an index of a segment", path.display().to_string())),
                // Removed meanwhile.
                Err(error)
                    if error.is_missing_file()
                        && !self.vfs.exists(&self.segment_path(segment.number)).unwrap_or(true) => {}
                Err(error) => return Err(error),
            }
        }
        indexes.sort_unstable_by_key(|index| index.number);
        Ok(indexes)
    }

    /// All ids of a kind. Errors as [`Shared::sealed_indexes`]. O(objects).
    pub(crate) fn ids(&self, kind: Kind) -> Result<Vec<Id>> {
        let mut ids = IdSet::default();
        self.recent.for_each(|id, location| {
            if location.kind == kind as u8 {
                ids.insert(*id);
            }
        });
        for index in &self.sealed_indexes()? {
            ids.extend(
                index
                    .entries()
                    .filter(|entry| entry.kind == kind as u8)
                    .map(|entry| entry.id),
            );
        }
        Ok(ids.into_iter().collect())
    }
}

/// Longest chain of objects that need each other to be read.
const DEPTH_MAX: u32 = 64;

/// Bytes of a record in its segment.
pub(crate) fn record_bytes(length: u32) -> u64 {
    padded(HEADER_BYTES as u64 + u64::from(length))
}

/// Bytes of the record of an index entry.
pub(crate) fn entry_bytes(entry: &IndexEntry) -> u64 {
    record_bytes(entry.length)
}
