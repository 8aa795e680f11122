//! The checkpoints that were made or looked at last, with their trees in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use pyi_cas::{Id, IdTable};

use crate::engine::Snapshot;

/// What those that were only made have at least. Less would be quicker yet, as it would stay in a core's own cache; but agents that
/// take turns, and programs that try the last two hundred steps again, find them here.
const MADE_MIN_BYTES: usize = 1 << 20;
/// By so much of what they have it grows or shrinks.
const MADE_STEP: usize = 8;
/// One that is to go waits for so many others: taking cold memory apart goes better in one go, and most checkpoints need not wait for it.
const GONE_AT_ONCE: usize = 128;
const GONE_PART: usize = 3;

/// Recent checkpoints by id, in two queues. Most checkpoints that agents make are never gone back to, so these leave soon, and the next
/// ones get their memory while it is still in the processor's caches. Those that somebody looked at while they were there, or that came
/// from the store because somebody wanted them, have the other queue (as in S3-FIFO, Yang et al., SOSP 2023). Where agents do go back to
/// what has left, the first queue grows up to half of the budget, and shrinks again when they no longer do (as ARC does, Megiddo and
/// Modha, FAST 2003).
pub(crate) struct Recent {
    made: Queue,
    wanted: Queue,
    budget_bytes: usize,
    /// What left since somebody missed one, or since the first queue shrank.
    gone_bytes: usize,
}

impl Recent {
    pub(crate) fn new(budget_bytes: usize) -> Recent {
        Recent {
            made: Queue::new(MADE_MIN_BYTES.min(budget_bytes / 2)),
            wanted: Queue::new(budget_bytes - budget_bytes / 2),
            budget_bytes,
            gone_bytes: 0,
        }
    }

    /// O(1).
    pub(crate) fn get(&mut self, id: &Id) -> Option<Arc<Snapshot>> {
        let slot = match self.wanted.slot(id) {
            Some(slot) => slot,
            None => self.made.slot(id)?,
        };
        slot.used = true;
        Some(slot.snapshot.clone())
    }

    /// One that was just made. Returns what has to go for it. O(1) amortized.
    pub(crate) fn insert_made(&mut self, snapshot: Arc<Snapshot>, cost_bytes: usize) -> Vec<Slot> {
        // A large one, such as an import, would push out many that are small; and others are rarely made at once after it.
        if cost_bytes > self.made.budget_bytes / 4 || self.wanted.slot(&snapshot.id).is_some() {
            return self.insert_wanted(snapshot, cost_bytes);
        }
        if let Some(old) = self.made.replace(&snapshot, cost_bytes) {
            return vec![old];
        }
        let mut gone = self.made.make_room(cost_bytes, false);
        self.made.push(Slot::new(snapshot, cost_bytes));
        if !gone.is_empty() {
            self.gone_bytes += gone.iter().map(|slot| slot.cost_bytes).sum::<usize>();
            if self.gone_bytes > self.made.budget_bytes {
                self.resize_made(self.made.budget_bytes - self.made.budget_bytes / MADE_STEP);
            }
            let used: Vec<Slot> = gone.extract_if(.., |slot| slot.used).collect();
            for slot in used {
                gone.append(&mut self.insert_wanted(slot.snapshot, slot.cost_bytes));
            }
        }
        gone
    }

    /// One that somebody asked for and that had to come from the store. Returns what has to go for it. O(1) amortized.
    pub(crate) fn insert_missed(&mut self, snapshot: Arc<Snapshot>, cost_bytes: usize) -> Vec<Slot> {
        self.resize_made(self.made.budget_bytes + self.made.budget_bytes / MADE_STEP);
        self.insert_wanted(snapshot, cost_bytes)
    }

    fn resize_made(&mut self, bytes: usize) {
        self.gone_bytes = 0;
        let max_bytes = self.budget_bytes / 2;
        self.made.budget_bytes = bytes.clamp(MADE_MIN_BYTES.min(max_bytes), max_bytes);
    }

    fn insert_wanted(&mut self, snapshot: Arc<Snapshot>, cost_bytes: usize) -> Vec<Slot> {
        if let Some(old) = self.wanted.replace(&snapshot, cost_bytes) {
            return vec![old];
        }
        let gone = self.wanted.make_room(cost_bytes, true);
        self.wanted.push(Slot::new(snapshot, cost_bytes));
        gone
    }

    /// Empties it and returns what was in it. O(1).
    pub(crate) fn take(&mut self) -> Recent {
        std::mem::replace(self, Recent::new(self.budget_bytes))
    }
}

pub(crate) struct Slot {
    snapshot: Arc<Snapshot>,
    cost_bytes: usize,
    used: bool,
}

impl Slot {
    fn new(snapshot: Arc<Snapshot>, cost_bytes: usize) -> Slot {
        Slot {
            snapshot,
            cost_bytes,
            used: false,
        }
    }
}

/// First in, first out; bounded by the bytes that each of them added.
struct Queue {
    /// The oldest first.
    order: VecDeque<Slot>,
    /// By id, which one of all that ever came (modulo 2^32).
    places: IdTable,
    /// The number of the oldest.
    first: u32,
    used_bytes: usize,
    budget_bytes: usize,
}

impl Queue {
    fn new(budget_bytes: usize) -> Queue {
        Queue {
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

    /// Takes it in place of one of the same id, which is returned; `None` if there is none. O(1).
    fn replace(&mut self, snapshot: &Arc<Snapshot>, cost_bytes: usize) -> Option<Slot> {
        let slot = self.slot(&snapshot.id)?;
        let before = std::mem::replace(&mut slot.cost_bytes, cost_bytes);
        let old = std::mem::replace(&mut slot.snapshot, snapshot.clone());
        self.used_bytes = self.used_bytes - before + cost_bytes;
        Some(Slot::new(old, 0))
    }

    /// Before one comes: what is new is not what goes, even if everything else was used. With `spare_used`, what was used goes to the end once.
    fn make_room(&mut self, cost_bytes: usize, spare_used: bool) -> Vec<Slot> {
        if self.used_bytes + cost_bytes <= self.budget_bytes {
            return Vec::new();
        }
        // A part of the budget, if that comes to fewer.
        let spare_bytes = (self.budget_bytes / GONE_PART).min(GONE_AT_ONCE * cost_bytes);
        let mut gone = Vec::new();
        while self.used_bytes + cost_bytes + spare_bytes > self.budget_bytes {
            let Some(mut slot) = self.order.pop_front() else { break };
            self.places.remove(&slot.snapshot.id, self.first);
            self.first = self.first.wrapping_add(1);
            self.used_bytes -= slot.cost_bytes;
            if slot.used && spare_used {
                slot.used = false;
                self.push(slot);
            } else {
                gone.push(slot);
            }
        }
        gone
    }

    fn push(&mut self, slot: Slot) {
        let place = self.first.wrapping_add(self.order.len() as u32);
        self.places.insert(&slot.snapshot.id, place);
        self.used_bytes += slot.cost_bytes;
        self.order.push_back(slot);
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
        let mut recent = Recent::new(2_000_000);
        // Numbers that go round.
        recent.wanted.first = u32::MAX - 1_000;
        for label in 0..5_000 {
            recent.insert_missed(snapshot(label), 1_000);
            assert!(recent.wanted.used_bytes <= 1_000_000);
            assert!(recent.wanted.slot(&snapshot(label).id).is_some());
            // Looked at again and again, and spared each time.
            assert!(recent.get(&snapshot(0).id).is_some(), "{label}");
        }
        let wanted = &recent.wanted;
        assert!(wanted.order.len() >= 800 && wanted.places.len() == wanted.order.len());
        assert!(recent.get(&snapshot(3).id).is_none());
        let old = recent.take();
        assert!(recent.get(&snapshot(4_999).id).is_none() && old.wanted.order.len() >= 800);
    }

    #[test]
    fn what_was_only_made_leaves_soon_and_pushes_out_nothing_that_was_wanted() {
        let mut recent = Recent::new(32 << 20);
        recent.insert_missed(snapshot(0), 5_000);
        recent.insert_made(snapshot(1), 5_000);
        assert!(recent.get(&snapshot(1).id).is_some());
        for label in 2..20_000 {
            recent.insert_made(snapshot(label), 5_000);
            assert!(recent.made.used_bytes <= MADE_MIN_BYTES + MADE_MIN_BYTES / MADE_STEP);
            assert_eq!(recent.made.places.len(), recent.made.order.len());
            // The hundred before are there too, whatever had to go.
            let before = snapshot(label.saturating_sub(100).max(2));
            assert!(recent.made.slot(&before.id).is_some());
        }
        assert!(recent.get(&snapshot(0).id).is_some() && recent.get(&snapshot(2).id).is_none());
        assert!(recent.get(&snapshot(1).id).is_some(), "it was looked at, and so moved");
        assert_eq!((recent.wanted.order.len(), recent.wanted.used_bytes), (2, 10_000));
    }

    #[test]
    fn where_agents_go_back_it_keeps_more_and_forgets_it_when_they_no_longer_do() {
        let mut recent = Recent::new(32 << 20);
        let (agents, cost_bytes) = (850, 5_000);
        let mut missed = Vec::new();
        for round in 1..=40 {
            missed.push(0);
            for agent in 0..agents {
                recent.insert_made(snapshot(round * agents + agent), cost_bytes);
                // Every fifth goes back to the step before.
                let before = snapshot((round - 1) * agents + agent);
                if round > 1 && agent % 5 == 0 && recent.get(&before.id).is_none() {
                    *missed.last_mut().unwrap() += 1;
                    recent.insert_missed(before, cost_bytes);
                }
            }
        }
        let wanting = missed.iter().skip(20).sum::<u64>();
        assert!(wanting < 20 * agents / 5 / 10, "{missed:?}");
        for label in 100_000..140_000 {
            recent.insert_made(snapshot(label), cost_bytes);
        }
        assert!(recent.made.used_bytes <= MADE_MIN_BYTES);
        // Never more than half of all.
        for label in 200_000..201_000 {
            recent.insert_missed(snapshot(label), cost_bytes);
        }
        assert_eq!(recent.made.budget_bytes, 16 << 20);
    }

    #[test]
    fn a_large_one_stays_when_small_ones_are_made() {
        let mut recent = Recent::new(32 << 20);
        recent.insert_made(snapshot(0), 10 << 20);
        for label in 1..5_000 {
            recent.insert_made(snapshot(label), 5_000);
        }
        assert!(recent.get(&snapshot(0).id).is_some());
    }

    #[test]
    fn one_that_comes_again_takes_the_place_of_the_first() {
        let mut recent = Recent::new(100_000);
        recent.insert_made(snapshot(1), 2_000);
        recent.insert_made(snapshot(2), 1_000);
        let again = snapshot(1);
        assert_eq!(recent.insert_made(again.clone(), 3_000).len(), 1);
        assert_eq!((recent.made.used_bytes, recent.made.order.len()), (4_000, 2));
        assert!(Arc::ptr_eq(&recent.made.order[0].snapshot, &again));
        // Also where it was wanted, and is made again.
        recent.insert_missed(snapshot(3), 1_000);
        assert_eq!(recent.insert_made(snapshot(3), 2_000).len(), 1);
        assert_eq!((recent.made.order.len(), recent.wanted.used_bytes), (2, 2_000));
        // One that is larger than everything that may be kept is kept alone.
        let gone = recent.insert_made(snapshot(4), 200_000);
        assert_eq!((gone.len(), recent.wanted.order.len()), (1, 1));
        assert!(recent.get(&snapshot(4).id).is_some());
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut recent = Recent::new(0);
        for label in 0..100 {
            recent.insert_made(snapshot(label), 5_000);
            recent.insert_missed(snapshot(1_000 + label), 5_000);
        }
        assert!(recent.made.order.len() + recent.wanted.order.len() <= 2);
    }
}
