//! The cache of delta bases: objects by pack and offset, the least recently used dropped first.
//!
//! Source: gitpacking behaviour described at `core.deltaBaseCacheLimit` in git-config(1). A chain of fifty deltas would
//! otherwise be unfolded from its root for each of its fifty objects. One cache serves any number of packs; it is not
//! shared between threads (each has its own, with the inflater that goes with it), so that reading takes no lock.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::object::Object;
use crate::zlib::Inflater;

/// Git's own default for `core.deltaBaseCacheLimit`.
pub const DEFAULT_BUDGET_BYTES: usize = 96 << 20;

/// What an entry costs beside its content: the object's counts, the slot and the map's share.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// End of the list of slots.
const NONE: usize = usize::MAX;

/// Spreads packs and offsets, which are no secret and nobody's choice but who made the pack: a slow hash would protect them from their own objects.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        // The map takes bits from both ends: a product has its best ones in the middle.
        let product = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

struct Slot {
    key: (u32, u64),
    /// `None` in a free slot.
    object: Option<Object>,
    newer: usize,
    older: usize,
}

/// Delta bases within a budget of bytes, and the inflater reused between objects.
pub struct DeltaCache {
    budget: usize,
    used: usize,
    map: HashMap<(u32, u64), usize, BuildHasherDefault<Spread>>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    offered_bytes: u64,
    pub(crate) inflater: Inflater,
    pub(crate) delta: Vec<u8>,
}

impl std::fmt::Debug for DeltaCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaCache")
            .field("objects", &self.map.len())
            .field("used_bytes", &self.used)
            .finish()
    }
}

impl Default for DeltaCache {
    fn default() -> Self {
        Self::new(DEFAULT_BUDGET_BYTES)
    }
}

impl DeltaCache {
    /// An empty cache that holds at most about `budget_bytes`; zero keeps nothing.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            budget: budget_bytes,
            used: 0,
            map: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            offered_bytes: 0,
            inflater: Inflater::default(),
            delta: Vec::new(),
        }
    }

    /// The object of pack `pack` at `offset`, which becomes the most recently used.
    pub fn get(&mut self, pack: u32, offset: u64) -> Option<Object> {
        let slot = *self.map.get(&(pack, offset))?;
        self.unlink(slot);
        self.link_newest(slot);
        self.slots.get(slot)?.object.clone()
    }

    /// Keeps an object, dropping others as the budget needs; one larger than half the budget is not kept.
    pub fn put(&mut self, pack: u32, offset: u64, object: Object) {
        self.count(&object);
        let cost = object.data.len() + ENTRY_OVERHEAD_BYTES;
        if cost > self.budget / 2 || self.map.contains_key(&(pack, offset)) {
            return;
        }
        while self.used + cost > self.budget && self.oldest != NONE {
            self.drop_slot(self.oldest);
        }
        let slot = Slot {
            key: (pack, offset),
            object: Some(object),
            newer: NONE,
            older: NONE,
        };
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(free) = self.slots.get_mut(at) {
                    *free = slot;
                }
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.map.insert((pack, offset), at);
        self.used += cost;
        self.link_newest(at);
    }

    /// Counts an object that was unfolded and is not worth keeping.
    pub(crate) fn count(&mut self, object: &Object) {
        let cost = object.data.len() + ENTRY_OVERHEAD_BYTES;
        self.offered_bytes = self.offered_bytes.saturating_add(cost as u64);
    }

    /// Drops everything; the inflater stays.
    pub fn clear(&mut self) {
        self.map.clear();
        self.slots.clear();
        self.free.clear();
        (self.newest, self.oldest, self.used) = (NONE, NONE, 0);
    }

    /// Bytes of all objects that were ever put in, kept or not: what was unfolded for who reads through this cache.
    #[must_use]
    pub fn offered_bytes(&self) -> u64 {
        self.offered_bytes
    }

    /// Bytes held, overhead included.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used
    }

    fn drop_slot(&mut self, at: usize) {
        self.unlink(at);
        if let Some(slot) = self.slots.get_mut(at) {
            if let Some(object) = slot.object.take() {
                self.used -= object.data.len() + ENTRY_OVERHEAD_BYTES;
            }
            self.map.remove(&slot.key);
            self.free.push(at);
        }
    }

    fn unlink(&mut self, at: usize) {
        let Some((newer, older)) = self.slots.get(at).map(|s| (s.newer, s.older)) else {
            return;
        };
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: usize) {
        let older = self.newest;
        if let Some(slot) = self.slots.get_mut(at) {
            (slot.newer, slot.older) = (NONE, older);
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}
