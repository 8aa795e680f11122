//! Index of the records in unsealed segments, in memory: this process's own and what it has read of the other
//! writers' tails. Sharded, so that writers and readers rarely meet.

use parking_lot::RwLock;

use crate::id::{Id, IdMap};
use crate::id_table::IdTable;
use crate::prefix::HexPrefix;

const SHARDS: usize = 64;

/// Where a record stands. 16 bytes, as there is one for every recent object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Location {
    /// The segment's place in the table of this process.
    pub(crate) slot: u32,
    /// Offset divided by eight.
    pub(crate) position: u32,
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) encoding: u8,
}

impl Location {
    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.position) * 8
    }
}

/// One part of the index.
#[derive(Default)]
struct Shard {
    /// The copies that are found, in the order in which they came: adding one writes behind the last one, which is in the processor's
    /// cache.
    first: Vec<(Id, Location)>,
    places: IdTable,
    /// Further copies, which are found once the first one is gone. Few: it takes two writers who store one object at a time.
    further: IdMap<Vec<Location>>,
}

impl Shard {
    fn place(&self, id: &Id) -> Option<usize> {
        let place = self.places.get(id, |place| self.first[place as usize].0 == *id)?;
        Some(place as usize)
    }

    fn add(&mut self, id: &Id, location: Location) {
        self.places.insert(id, self.first.len() as u32);
        self.first.push((*id, location));
    }
}

/// The index.
pub(crate) struct Recent {
    shards: Box<[RwLock<Shard>]>,
}

impl Recent {
    pub(crate) fn new() -> Recent {
        Recent {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn shard(&self, first: u8) -> &RwLock<Shard> {
        &self.shards[usize::from(first) % SHARDS]
    }

    /// O(1).
    pub(crate) fn get(&self, id: &Id) -> Option<Location> {
        let shard = self.shard(id.0[0]).read();
        shard.place(id).map(|place| shard.first[place].1)
    }

    /// Adds a record; of several copies the first known one is found, unless `is_stale` says that it is of no use. O(1).
    pub(crate) fn insert(&self, id: Id, location: Location, is_stale: impl FnOnce(&Location) -> bool) {
        let mut shard = self.shard(id.0[0]).write();
        let Some(place) = shard.place(&id) else {
            shard.add(&id, location);
            return;
        };
        let Shard { first, further, .. } = &mut *shard;
        let known = &mut first[place].1;
        if *known == location {
            return;
        }
        let other = if is_stale(known) {
            std::mem::replace(known, location)
        } else {
            location
        };
        let others = further.entry(id).or_default();
        if !others.contains(&other) {
            others.push(other);
        }
    }

    /// Looks at every object, at the copy that is found. O(recent objects), a shard at a time.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Id, &Location)) {
        for shard in &self.shards {
            shard.read().first.iter().for_each(|(id, location)| look(id, location));
        }
    }

    /// As [`Recent::insert`], in the place of the copy that was found so far: that one is damaged, or about to go. O(1).
    pub(crate) fn replace(&self, id: Id, location: Location) {
        let mut shard = self.shard(id.0[0]).write();
        match shard.place(&id) {
            Some(place) => shard.first[place].1 = location,
            None => shard.add(&id, location),
        }
    }

    /// All records of a segment. O(recent objects).
    pub(crate) fn of_segment(&self, slot: u32) -> Vec<(Id, Location)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let further = shard
                .further
                .iter()
                .flat_map(|(id, others)| others.iter().map(move |other| (*id, *other)));
            let all = shard.first.iter().copied().chain(further);
            found.extend(all.filter(|(_, location)| location.slot == slot));
        }
        found
    }

    /// Forgets a segment; where its copy was the one that is found, another one is from now on. O(recent objects), a shard at a time.
    pub(crate) fn remove_segment(&self, slot: u32) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let Shard { first, places, further } = &mut *shard;
            further.retain(|_, others| {
                others.retain(|location| location.slot != slot);
                !others.is_empty()
            });
            let before = first.len();
            first.retain_mut(|(id, location)| {
                if location.slot != slot {
                    return true;
                }
                let Some(next) = further.get_mut(id).and_then(Vec::pop) else {
                    return false;
                };
                *location = next;
                true
            });
            further.retain(|_, others| !others.is_empty());
            if first.len() == before {
                continue;
            }
            if first.capacity() > 4 * first.len().max(64) {
                first.shrink_to_fit();
            }
            *places = IdTable::with_capacity(first.len());
            for (place, (id, _)) in first.iter().enumerate() {
                places.insert(id, place as u32);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().first.len()).sum()
    }

    /// Ids of a kind that begin so.
    pub(crate) fn find(&self, prefix: &HexPrefix, kind: u8) -> Vec<Id> {
        let mut found = Vec::new();
        let mut look = |shard: &RwLock<Shard>| {
            let shard = shard.read();
            let matches = shard
                .first
                .iter()
                .filter(|(id, location)| location.kind == kind && prefix.matches(id));
            found.extend(matches.map(|(id, _)| *id));
        };
        match prefix.first_byte() {
            Some(first) => look(self.shard(first)),
            None => self.shards.iter().for_each(look),
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: u32) -> Location {
        Location {
            slot,
            position: 8,
            length: 1,
            kind: 1,
            encoding: 0,
        }
    }

    #[test]
    fn another_copy_takes_the_place_of_one_that_is_gone() {
        let (recent, id) = (Recent::new(), Id([7; 32]));
        for slot in [1, 2, 3, 2, 1] {
            recent.insert(id, at(slot), |_| false);
        }
        assert_eq!((recent.get(&id), recent.len()), (Some(at(1)), 1));
        recent.remove_segment(2);
        assert_eq!(recent.get(&id), Some(at(1)));
        recent.remove_segment(1);
        assert_eq!(recent.get(&id), Some(at(3)));
        recent.insert(id, at(4), |known| known.slot == 3);
        assert_eq!(recent.get(&id), Some(at(4)), "a stale one does not hide it");
        recent.remove_segment(4);
        assert_eq!(recent.get(&id), Some(at(3)));
        recent.remove_segment(3);
        assert_eq!((recent.get(&id), recent.len()), (None, 0));
    }

    #[test]
    fn what_stays_is_found_after_a_segment_is_gone() {
        let recent = Recent::new();
        let id = |n: u32| crate::kind::Kind::Blob.id_of(&n.to_le_bytes());
        for n in 0..2_000 {
            recent.insert(id(n), at(n % 3), |_| false);
        }
        recent.remove_segment(1);
        for n in 0..2_000 {
            assert_eq!(recent.get(&id(n)), (n % 3 != 1).then(|| at(n % 3)), "{n}");
        }
        recent.insert(id(1), at(9), |_| false);
        recent.replace(id(3), at(8));
        assert_eq!((recent.get(&id(1)), recent.get(&id(3))), (Some(at(9)), Some(at(8))));
        assert_eq!(recent.of_segment(2).len(), 666);
    }
}
