//! The checkpoints that were made or looked at last, with their trees in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use pyi_cas::{Id, IdTable};

use crate::engine::Snapshot;

/// One that is to go waits for so many others: taking cold memory apart goes better in one go, and most checkpoints need not wait for it.
const GONE_AT_ONCE: usize = 128;

/// Recent checkpoints by id: first in, first out, with a second chance for those that were used; bounded by the bytes that each of them
/// added.
pub(crate) struct Recent {
    /// The oldest first.
    order: VecDeque<Slot>,
    /// By id, which one of all that ever came (modulo 2^32).
    places: IdTable,
    /// The number of the oldest.
    first: u32,
    used_bytes: usize,
    budget_bytes: usize,
}

pub(crate) struct Slot {
    snapshot: Arc<Snapshot>,
    cost_bytes: usize,
    used: bool,
}

impl Recent {
    pub(crate) fn new(budget_bytes: usize) -> Recent {
        Recent {
            order: VecDeque::new(),
            places: IdTable::default(),
            first: 0,
            used_bytes: 0,
            budget_bytes,
        }
    }

    fn slot(&mut self, id: &Id) -> Option<&mut Slot> {
        let (order, first) = (&mut self.order, self.first);
        let index = |place: u32| place.wrapping_sub(first) as usize;
        let is_of = |place: u32| order.get(index(place)).is_some_and(|slot| slot.snapshot.id == *id);
        let place = self.places.get(id, is_of)?;
        order.get_mut(index(place))
    }

    /// O(1).
    pub(crate) fn get(&mut self, id: &Id) -> Option<Arc<Snapshot>> {
        let slot = self.slot(id)?;
        slot.used = true;
        Some(slot.snapshot.clone())
    }

    /// Returns what has to go for it. O(1) amortized.
    pub(crate) fn insert(&mut self, snapshot: Arc<Snapshot>, cost_bytes: usize) -> Vec<Slot> {
        if let Some(slot) = self.slot(&snapshot.id) {
            let before = std::mem::replace(&mut slot.cost_bytes, cost_bytes);
            let old = std::mem::replace(&mut slot.snapshot, snapshot);
            self.used_bytes = self.used_bytes - before + cost_bytes;
            return vec![Slot {
                snapshot: old,
                cost_bytes: 0,
                used: false,
            }];
        }
        let gone = self.make_room(cost_bytes);
        self.used_bytes += cost_bytes;
        self.push(Slot {
            snapshot,
            cost_bytes,
            used: false,
        });
        gone
    }

    /// Before it comes: what is new is not what goes, even if everything else was used.
    fn make_room(&mut self, cost_bytes: usize) -> Vec<Slot> {
        if self.used_bytes + cost_bytes <= self.budget_bytes {
            return Vec::new();
        }
        // A sixteenth of the budget, if that comes to fewer.
        let spare_bytes = (self.budget_bytes / 16).min(GONE_AT_ONCE * cost_bytes);
        let mut gone = Vec::with_capacity(GONE_AT_ONCE);
        while self.used_bytes + cost_bytes + spare_bytes > self.budget_bytes {
            let Some(mut slot) = self.order.pop_front() else { break };
            self.places.remove(&slot.snapshot.id, self.first);
            self.first = self.first.wrapping_add(1);
            if slot.used {
                slot.used = false;
                self.push(slot);
            } else {
                self.used_bytes -= slot.cost_bytes;
                gone.push(slot);
            }
        }
        gone
    }

    fn push(&mut self, slot: Slot) {
        let place = self.first.wrapping_add(self.order.len() as u32);
        self.places.insert(&slot.snapshot.id, place);
        self.order.push_back(slot);
    }

    /// Empties it and returns what was in it. O(1).
    pub(crate) fn take(&mut self) -> Recent {
        let empty = Recent::new(self.budget_bytes);
        std::mem::replace(self, empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyi_tree::journal::JournalTree;
    use pyi_tree::{CheckpointRoot, Tree};

    fn snapshot(label: u64) -> Arc<Snapshot> {
        let mut id = [0; 32];
        id[24..].copy_from_slice(&label.to_be_bytes());
        Arc::new(Snapshot {
            id: Id(id),
            root: Arc::new(CheckpointRoot {
                files: Id(id),
                state: None,
                journal: None,
                parents: Vec::new(),
                time_ns: 0,
                message: String::new(),
                metadata: pyi_tree::cbor::Value::Null,
                git: Arc::new(pyi_tree::cbor::Value::Null),
                unknown: Vec::new(),
            }),
            files: Tree::default(),
            state: Tree::default(),
            journal: JournalTree::from_tree(Tree::default()),
        })
    }

    #[test]
    fn keeps_its_budget_and_what_is_used() {
        let mut recent = Recent::new(1_000_000);
        // Numbers that go round.
        recent.first = u32::MAX - 1_000;
        for label in 0..5_000 {
            recent.insert(snapshot(label), 1_000);
            assert!(recent.used_bytes <= 1_000_000);
            assert!(recent.slot(&snapshot(label).id).is_some());
            // Looked at again and again, and spared each time.
            assert!(recent.get(&snapshot(0).id).is_some(), "{label}");
        }
        assert!(recent.order.len() >= 900 && recent.places.len() == recent.order.len());
        assert!(recent.get(&snapshot(3).id).is_none());
        let old = recent.take();
        assert!(recent.get(&snapshot(4_999).id).is_none() && old.order.len() >= 900);
    }

    #[test]
    fn one_that_comes_again_takes_the_place_of_the_first() {
        let mut recent = Recent::new(10_000);
        recent.insert(snapshot(1), 4_000);
        recent.insert(snapshot(2), 1_000);
        let again = snapshot(1);
        assert_eq!(recent.insert(again.clone(), 2_000).len(), 1);
        assert_eq!((recent.used_bytes, recent.order.len()), (3_000, 2));
        assert!(Arc::ptr_eq(&recent.order[0].snapshot, &again));
        // One that is larger than everything that may be kept is kept alone.
        let gone = recent.insert(snapshot(3), 20_000);
        assert_eq!((gone.len(), recent.order.len()), (2, 1));
        assert!(recent.get(&snapshot(3).id).is_some());
    }
}
