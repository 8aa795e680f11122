//! A cache of object contents with a budget in bytes. Sharded, so that threads rarely meet; CLOCK within a shard, because a
//! hit then only sets a flag under a shared lock and moves nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::id::Id;
use crate::id_table::IdTable;

const SHARDS: usize = 64;
/// What an entry costs beside its content: map, ring and the allocation's header.
const ENTRY_BYTES: usize = 128;

/// Cache from ids to contents. Holds at most its budget; objects above an eighth of it are not kept.
pub struct BlobCache {
    shards: Box<[RwLock<Shard>]>,
    budget: usize,
    used: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    places: IdTable,
    ring: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    hand: usize,
}

struct Entry {
    id: Id,
    content: Bytes,
    used_since: AtomicBool,
}

impl BlobCache {
    /// An empty cache with a budget in bytes. O(1).
    pub fn new(budget_bytes: usize) -> BlobCache {
        let shards = (0..SHARDS).map(|_| RwLock::new(Shard::default())).collect();
        BlobCache {
            shards,
            budget: budget_bytes,
            used: AtomicUsize::new(0),
        }
    }

    /// The budget in bytes. O(1).
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Whether a content of this size is kept at all. O(1).
    pub fn takes(&self, size_bytes: usize) -> bool {
        size_bytes <= self.budget / 8 && size_bytes + ENTRY_BYTES <= self.budget
    }

    /// Bytes in use, including what entries cost beside their contents. O(1).
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn shard(&self, id: &Id) -> usize {
        usize::from(id.0[0]) % SHARDS
    }

    /// The content of an object, if it is cached. O(1), below 100 ns; copies no content.
    pub fn get(&self, id: &Id) -> Option<Bytes> {
        let shard = self.shards[self.shard(id)].read();
        let entry = shard.ring[shard.place(id)?].as_ref()?;
        // Only written if it changes: a hot entry's cache line stays shared between cores.
        if !entry.used_since.load(Ordering::Relaxed) {
            entry.used_since.store(true, Ordering::Relaxed);
        }
        Some(entry.content.clone())
    }

    /// Keeps an object's content (checked against its id by the caller), making room for it. O(1) amortized.
    pub fn insert(&self, id: &Id, content: Bytes) {
        let cost = content.len() + ENTRY_BYTES;
        if !self.takes(content.len()) {
            return;
        }
        let home = self.shard(id);
        if self.shards[home].read().place(id).is_some() {
            return;
        }
        // Room is made first, in other shards too if the own one has nothing, so that the budget holds for all together.
        // Reserved before it is used: two inserters at once must not both see the same room.
        let mut used = self.used.fetch_add(cost, Ordering::Relaxed) + cost;
        let mut look = 0;
        while used > self.budget && look < 4 * SHARDS {
            let freed = self.shards[(home + look) % SHARDS].write().evict(used - self.budget);
            used = self.used.fetch_sub(freed, Ordering::Relaxed) - freed;
            look += 1;
        }
        // Bytes made from a vector allocate their counter at the first clone: better here than in the first hit.
        let content = content.clone();
        let mut shard = self.shards[home].write();
        if used > self.budget || !shard.insert(id, content) {
            drop(shard);
            self.used.fetch_sub(cost, Ordering::Relaxed);
        }
    }

    /// Empties the cache. O(entries).
    pub fn clear(&self) {
        for shard in &self.shards {
            let freed = shard.write().evict_all();
            self.used.fetch_sub(freed, Ordering::Relaxed);
        }
    }
}

impl Shard {
    fn place(&self, id: &Id) -> Option<usize> {
        let is_of = |entry: &Entry| entry.id == *id;
        let place = self
            .places
            .get(id, |place| self.ring[place as usize].as_ref().is_some_and(is_of))?;
        Some(place as usize)
    }

    fn insert(&mut self, id: &Id, content: Bytes) -> bool {
        if self.place(id).is_some() {
            return false;
        }
        let entry = Some(Entry {
            id: *id,
            content,
            used_since: AtomicBool::new(false),
        });
        let place = match self.vacant.pop() {
            Some(place) => {
                self.ring[place as usize] = entry;
                place
            }
            None => {
                self.ring.push(entry);
                (self.ring.len() - 1) as u32
            }
        };
        self.places.insert(id, place);
        true
    }

    /// Lets the hand go round once at most until enough is freed; what was used since the last round is spared.
    fn evict(&mut self, wanted: usize) -> usize {
        let mut freed = 0;
        for _ in 0..self.ring.len() {
            if freed >= wanted {
                break;
            }
            self.hand = (self.hand + 1) % self.ring.len();
            let keep = match &mut self.ring[self.hand] {
                None => true,
                Some(entry) => std::mem::replace(entry.used_since.get_mut(), false),
            };
            if !keep {
                freed += self.remove(self.hand);
            }
        }
        freed
    }

    fn remove(&mut self, place: usize) -> usize {
        match self.ring[place].take() {
            Some(entry) => {
                self.places.remove(&entry.id, place as u32);
                self.vacant.push(place as u32);
                entry.content.len() + ENTRY_BYTES
            }
            None => 0,
        }
    }

    fn evict_all(&mut self) -> usize {
        (0..self.ring.len()).map(|place| self.remove(place)).sum()
    }
}

impl std::fmt::Debug for BlobCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobCache")
            .field("budget", &self.budget)
            .field("used", &self.used())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;

    fn content(i: u32, size: usize) -> (Id, Bytes) {
        let mut bytes = vec![0u8; size];
        bytes[..4].copy_from_slice(&i.to_le_bytes());
        (Kind::Blob.id_of(&bytes), Bytes::from(bytes))
    }

    #[test]
    fn keeps_its_budget_and_what_is_used() {
        let cache = BlobCache::new(100_000);
        let (hot, bytes) = content(u32::MAX, 1000);
        cache.insert(&hot, bytes.clone());
        for i in 0..5_000 {
            let (id, bytes) = content(i, 1000);
            cache.insert(&id, bytes.clone());
            assert_eq!(cache.get(&id), Some(bytes));
            assert!(cache.get(&hot).is_some(), "the hot object was evicted at {i}");
            assert!(cache.used() <= cache.budget());
        }
        assert!(cache.used() > cache.budget() / 2);
        cache.clear();
        assert_eq!((cache.used(), cache.get(&hot)), (0, None));
    }

    #[test]
    fn refuses_large_objects_and_counts_twice_inserted_ones_once() {
        let cache = BlobCache::new(80_000);
        let (id, bytes) = content(1, 10_001);
        cache.insert(&id, bytes);
        assert_eq!((cache.get(&id), cache.used()), (None, 0));
        let (id, bytes) = content(2, 10_000);
        cache.insert(&id, bytes.clone());
        cache.insert(&id, bytes);
        assert_eq!(cache.used(), 10_000 + ENTRY_BYTES);
    }

    #[test]
    fn threads_stay_within_the_budget() {
        let cache = BlobCache::new(200_000);
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let cache = &cache;
                scope.spawn(move || {
                    for i in 0..3_000 {
                        let (id, bytes) = content(i * 2 + thread % 2, 700);
                        cache.insert(&id, bytes);
                        cache.get(&id);
                    }
                });
            }
        });
        assert!(cache.used() <= cache.budget());
        let held: usize = cache
            .shards
            .iter()
            .flat_map(|shard| {
                shard
                    .read()
                    .ring
                    .iter()
                    .flatten()
                    .map(|e| e.content.len() + ENTRY_BYTES)
                    .collect::<Vec<_>>()
            })
            .sum();
        assert_eq!(held, cache.used());
    }
}
