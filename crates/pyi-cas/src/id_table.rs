//! From ids to the places of entries that hold their ids themselves.
//!
//! A map that is keyed by ids takes a cache line or two of its own for each entry, and a table of a hundred thousand of them is in no
//! cache of a processor. Here an entry takes nine bytes, so that most looks at ids that are not there, which is what storing something
//! new is, touch one line; the entries themselves can stand in the order in which they came.

use hashbrown::HashTable;

use crate::id::Id;

/// Spreads 32 bits over both ends of a hash (Knuth's multiplicative hashing, with the golden ratio of 2^64).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// See the module's description. The caller knows which id stands at a place.
#[derive(Default, Debug)]
pub struct IdTable {
    table: HashTable<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// A part of the id.
    tag: u32,
    place: u32,
}

/// An id is uniform. Its first bytes choose shards, and so do not tell the ids of one shard apart.
fn tag_of(id: &Id) -> u32 {
    let [.., a, b, c, d] = id.0;
    u32::from_le_bytes([a, b, c, d])
}

fn hash_of(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(SPREAD)
}

impl IdTable {
    /// An empty table with room for so many entries. O(capacity).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> IdTable {
        IdTable {
            table: HashTable::with_capacity(capacity),
        }
    }

    /// The place of an id, if it is there; `holds` says whether the entry at a place is that of the id, and is asked for very few others.
    /// O(1).
    pub fn get(&self, id: &Id, mut holds: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(id);
        let found = self
            .table
            .find(hash_of(tag), |entry| entry.tag == tag && holds(entry.place));
        found.map(|entry| entry.place)
    }

    /// Adds an id that is not there. O(1) amortized.
    pub fn insert(&mut self, id: &Id, place: u32) {
        let tag = tag_of(id);
        self.table
            .insert_unique(hash_of(tag), Entry { tag, place }, |entry| hash_of(entry.tag));
    }

    /// Takes out the id that stands at a place; nothing happens if it does not. O(1).
    pub fn remove(&mut self, id: &Id, place: u32) {
        let tag = tag_of(id);
        let found = self
            .table
            .find_entry(hash_of(tag), |entry| entry.tag == tag && entry.place == place);
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    /// How many ids there are. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8),
        Take(u8, u8),
        Look(u8, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few tags, so that many ids have the same one.
        let id = (0u8..40, 0u8..3);
        prop_oneof![
            3 => id.clone().prop_map(|(a, b)| Step::Put(a, b)),
            1 => id.clone().prop_map(|(a, b)| Step::Take(a, b)),
            2 => id.prop_map(|(a, b)| Step::Look(a, b)),
        ]
    }

    fn id(label: u8, tag: u8) -> Id {
        let mut bytes = [0; 32];
        (bytes[0], bytes[28]) = (label, tag);
        Id(bytes)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(steps in proptest::collection::vec(step(), 0..300)) {
            let (mut table, mut entries, mut model) = (IdTable::default(), Vec::new(), HashMap::new());
            for step in steps {
                match step {
                    Step::Put(label, tag) => {
                        let id = id(label, tag);
                        model.entry(id).or_insert_with(|| {
                            entries.push(id);
                            table.insert(&id, entries.len() as u32 - 1);
                            entries.len() as u32 - 1
                        });
                    }
                    Step::Take(label, tag) => {
                        let id = id(label, tag);
                        // One that is not there is not taken for another one at that place.
                        let place = model.remove(&id).unwrap_or(u32::MAX);
                        table.remove(&id, place);
                    }
                    Step::Look(label, tag) => {
                        let id = id(label, tag);
                        let found = table.get(&id, |place| entries[place as usize] == id);
                        prop_assert_eq!(found, model.get(&id).copied());
                    }
                }
                prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
