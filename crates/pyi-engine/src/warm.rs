//! Which workspaces keep their trees in memory.
//!
//! A workspace that makes checkpoints holds the nodes that they made, some hundred kilobytes after a few steps, so that the next step finds them. With
//! thousands of workspaces that adds up; those that have not made one for the longest time then forget what the store has and load it
//! again when they go on.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::Result;
use crate::engine::Snapshot;
use crate::repository::Repository;
use crate::workspace::Workspace;

/// So many workspaces that made the latest checkpoints always stay warm.
const ALWAYS_WARM: usize = 16;

/// What trees may take of the memory that this process may use: so much of it, and within these bounds.
const MEMORY_SHARE: u64 = 32;
const BUDGET_MIN_BYTES: usize = 16 << 20;
const BUDGET_MAX_BYTES: usize = 512 << 20;

fn budget_of_machine() -> usize {
    let share = crate::machine::memory_bytes().unwrap_or(0) / MEMORY_SHARE;
    usize::try_from(share).map_or(BUDGET_MAX_BYTES, |share| {
        share.clamp(BUDGET_MIN_BYTES, BUDGET_MAX_BYTES)
    })
}

/// Workspaces in the order of their latest checkpoints.
pub(crate) struct Warm {
    order: Mutex<Order>,
    /// What was asked for.
    given_bytes: Option<usize>,
    /// What follows from the machine.
    found_bytes: OnceLock<usize>,
}

struct Order {
    queue: VecDeque<Weak<Workspace>>,
    /// Workspaces that are gone are taken out when there are so many in the queue.
    sweep_at: usize,
}

/// Below this many there is no sweep.
const SWEEP_MIN: usize = 1024;

impl Warm {
    /// Above `budget_bytes` of nodes, made by checkpoints or loaded, workspaces cool down; `None`: by the machine's memory.
    pub(crate) fn new(budget_bytes: Option<usize>) -> Self {
        Warm {
            order: Mutex::new(Order {
                queue: VecDeque::new(),
                sweep_at: SWEEP_MIN,
            }),
            given_bytes: budget_bytes,
            found_bytes: OnceLock::new(),
        }
    }

    /// What was loaded counts for half of the budget at most: workspaces that only read hold it too, and give nothing back. Were it to count in full, a
    /// large tree that is read would keep all others cold.
    fn is_over(&self, made_bytes: usize, loaded_bytes: usize) -> bool {
        let is_over = |budget_bytes: usize| made_bytes + loaded_bytes.min(budget_bytes / 2) > budget_bytes;
        match self.given_bytes {
            Some(budget_bytes) => is_over(budget_bytes),
            // Most processes need not know what the machine has, which takes longer to find out than a step does.
            None => is_over(BUDGET_MIN_BYTES) && is_over(*self.found_bytes.get_or_init(budget_of_machine)),
        }
    }

    /// Notes that `workspace` made a checkpoint, and lets others cool down if there is too much in memory. O(1) as a rule.
    pub(crate) fn used(&self, workspace: &Weak<Workspace>) {
        let over = self.is_over(pyi_tree::sealed_bytes(), pyi_tree::loaded_bytes());
        let mut lock = self.order.lock();
        let Order { queue: order, sweep_at } = &mut *lock;
        if !order.back().is_some_and(|last| last.ptr_eq(workspace)) {
            // One that is further up moves to the end; with few workspaces that is quick, with many it is not there.
            if let Some(at) = order
                .iter()
                .rev()
                .take(ALWAYS_WARM)
                .position(|other| other.ptr_eq(workspace))
            {
                let at = order.len() - 1 - at;
                order.remove(at);
            }
            order.push_back(workspace.clone());
            if order.len() >= *sweep_at {
                order.retain(|other| other.strong_count() > 0);
                *sweep_at = (order.len() * 2).max(SWEEP_MIN);
            }
        }
        if !over {
            return;
        }
        // Two for each that came, so that the queue gets shorter.
        let mut cool = Vec::new();
        while order.len() > ALWAYS_WARM && cool.len() < 2 {
            cool.extend(
                order
                    .pop_front()
                    .filter(|first| !first.ptr_eq(workspace))
                    .and_then(|first| first.upgrade()),
            );
        }
        drop(lock);
        for workspace in cool {
            workspace.cool_down();
        }
    }
}

impl Warm {
    /// All workspaces in the queue, which is emptied.
    fn take_all(&self) -> Vec<Arc<Workspace>> {
        let queue = std::mem::take(&mut self.order.lock().queue);
        queue.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Repository {
    /// Gives back the memory of what the store has: nodes and contents of workspaces that made checkpoints. Whoever needs them again loads them again;
    /// what was changed and not checkpointed stays, and workspaces that only read keep what they loaded. O(workspaces that made checkpoints + what is forgotten).
    ///
    /// # Errors
    /// `Closed`.
    pub fn trim(&self) -> Result<()> {
        self.engine.open()?;
        for workspace in self.engine.warm.take_all() {
            workspace.cool_down();
        }
        self.engine.last_held.clear();
        self.engine.forget_recent();
        self.engine.forget_blobs();
        Ok(())
    }
}

impl Workspace {
    /// Forgets what the store has, if nothing was changed since the head; not while somebody is at it.
    fn cool_down(&self) {
        let Some(mut content) = self.content.try_lock() else {
            return;
        };
        if content.is_dirty() {
            return;
        }
        let head = &content.head;
        let cold = (head.files.cold(), head.state.cold(), head.journal.tree().cold());
        // An empty state or journal is not stored; it holds nothing to forget either.
        let (Some(files), state, journal) = cold else { return };
        let snapshot = Snapshot {
            id: head.id,
            root: head.root.clone(),
            files,
            state: state.unwrap_or_else(|| head.state.clone()),
            journal: journal.map_or_else(|| head.journal.clone(), pyi_tree::journal::JournalTree::from_tree),
        };
        let held = Arc::new(head.with(snapshot));
        crate::commit::adopt(&mut content, held);
        content.git_directory = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They did not count at all: a process above its budget held more than it said.
    #[test]
    fn what_was_loaded_counts_for_half_at_most() {
        let warm = Warm::new(Some(100));
        assert!(!warm.is_over(60, 40) && warm.is_over(60, 41));
        assert!(!warm.is_over(50, 50) && !warm.is_over(50, 1000) && warm.is_over(51, 1000));
    }

    #[test]
    fn the_budget_is_what_was_asked_for_or_follows_from_the_machine() {
        let given = Warm::new(Some(5));
        assert!(!given.is_over(5, 0) && given.is_over(6, 0));
        let found = Warm::new(None);
        assert!(!found.is_over(BUDGET_MIN_BYTES, 0) && !found.is_over(BUDGET_MIN_BYTES / 2, usize::MAX));
        assert!(found.found_bytes.get().is_none(), "nobody needed to know");
        assert!(found.is_over(BUDGET_MAX_BYTES + 1, 0));
        assert!((BUDGET_MIN_BYTES..=BUDGET_MAX_BYTES).contains(&budget_of_machine()));
    }
}
