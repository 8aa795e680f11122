//! Index of the records in unsealed segments, in memory: this process's own and what it has read of the other
//! writers' tails. Sharded, so that writers and readers rarely meet.

use std::collections::hash_map::Entry;

use parking_lot::RwLock;

use crate::id::{Id, IdMap};
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

/// The index.
pub(crate) struct Recent {
    shards: Box<[RwLock<IdMap<Location>>]>,
}

impl Recent {
    pub(crate) fn new() -> Recent {
        Recent {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn shard(&self, first: u8) -> &RwLock<IdMap<Location>> {
        &self.shards[usize::from(first) % SHARDS]
    }

    /// O(1).
    pub(crate) fn get(&self, id: &Id) -> Option<Location> {
        self.shard(id.0[0]).read().get(id).copied()
    }

    /// Adds a record; of several copies the first known one stays, unless `is_stale` says that it is of no use. O(1).
    pub(crate) fn insert(&self, id: Id, location: Location, is_stale: impl FnOnce(&Location) -> bool) {
        let mut shard = self.shard(id.0[0]).write();
        match shard.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(location);
            }
            Entry::Occupied(mut known) => {
                if is_stale(known.get()) {
                    known.insert(location);
                }
            }
        }
    }

    /// Looks at every record. O(recent objects), a shard at a time.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Id, &Location)) {
        for shard in &self.shards {
            shard.read().iter().for_each(|(id, location)| look(id, location));
        }
    }

    /// As [`Recent::insert`], in the place of any other copy: that one is damaged, or about to go. O(1).
    pub(crate) fn replace(&self, id: Id, location: Location) {
        self.shard(id.0[0]).write().insert(id, location);
    }

    /// All records of a segment. O(recent objects).
    pub(crate) fn of_segment(&self, slot: u32) -> Vec<(Id, Location)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let there = shard.iter().filter(|(_, location)| location.slot == slot);
            found.extend(there.map(|(id, location)| (*id, *location)));
        }
        found
    }

    /// Forgets a segment. O(recent objects), a shard at a time.
    pub(crate) fn remove_segment(&self, slot: u32) {
        for shard in &self.shards {
            let mut shard = shard.write();
            shard.retain(|_, location| location.slot != slot);
            if shard.capacity() > 4 * shard.len().max(64) {
                shard.shrink_to_fit();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Ids of a kind that begin so.
    pub(crate) fn find(&self, prefix: &HexPrefix, kind: u8) -> Vec<Id> {
        let mut found = Vec::new();
        let mut look = |shard: &RwLock<IdMap<Location>>| {
            let shard = shard.read();
            let matches = shard
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
