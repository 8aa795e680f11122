//! Places of records that turned out to be damaged. Without this list a damaged first copy would hide a whole one: the store would go on
//! to say that it has the object, and nobody would write it again.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::id::{Id, IdMap};

/// Where a record stands: the segment's slot in the table of this process, and the offset.
type Place = (u32, u64);

/// The list. Empty nearly always, which costs one load to see.
#[derive(Default)]
pub(crate) struct DamagedRecords {
    count: AtomicUsize,
    places: RwLock<IdMap<Vec<Place>>>,
}

impl DamagedRecords {
    /// Whether nothing is known to be damaged. One load.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Remembers a damaged copy. O(1).
    pub(crate) fn add(&self, id: &Id, slot: u32, offset: u64) {
        let mut places = self.places.write();
        let known = places.entry(*id).or_default();
        if !known.contains(&(slot, offset)) {
            known.push((slot, offset));
        }
        self.count.store(places.len(), Ordering::Release);
    }

    /// Whether this copy is known to be damaged. O(1).
    pub(crate) fn has(&self, id: &Id, slot: u32, offset: u64) -> bool {
        !self.is_empty()
            && self
                .places
                .read()
                .get(id)
                .is_some_and(|places| places.contains(&(slot, offset)))
    }

    /// Forgets a copy that is whole again. O(1).
    pub(crate) fn remove(&self, id: &Id, slot: u32, offset: u64) {
        if self.is_empty() {
            return;
        }
        let mut places = self.places.write();
        if let Some(known) = places.get_mut(id) {
            known.retain(|place| *place != (slot, offset));
            if known.is_empty() {
                places.remove(id);
            }
        }
        self.count.store(places.len(), Ordering::Release);
    }
}
