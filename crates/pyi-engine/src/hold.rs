//! What this process needs although perhaps no ref reaches it: the heads of its workspaces, and what was stored for them early. A pin in
//! the store keeps it from being collected.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use pyi_cas::{Id, Pin};

use crate::Result;
use crate::engine::{Engine, Snapshot};

/// So many of the checkpoints that were held last stay held: going to and fro between a few of them costs no pins.
const LAST: usize = 8;

/// A checkpoint that is not collected as long as somebody has this. Forks share it.
#[derive(Debug)]
pub(crate) struct Held {
    snapshot: Arc<Snapshot>,
    pub(crate) pin: Arc<Pin>,
}

impl Held {
    /// The same checkpoint, with other trees in memory.
    pub(crate) fn with(&self, snapshot: Snapshot) -> Held {
        Held {
            snapshot: Arc::new(snapshot),
            pin: self.pin.clone(),
        }
    }
}

impl Deref for Held {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// The checkpoints that were held last.
#[derive(Default)]
pub(crate) struct LastHeld(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    held: [Option<Arc<Held>>; LAST],
    next: usize,
}

impl LastHeld {
    fn get(&self, id: &Id) -> Option<Arc<Held>> {
        let ring = self.0.lock();
        ring.held.iter().flatten().find(|held| held.id == *id).cloned()
    }

    fn put(&self, held: &Arc<Held>) {
        let mut ring = self.0.lock();
        let next = ring.next;
        ring.next = (next + 1) % LAST;
        let old = ring.held[next].replace(held.clone());
        drop(ring);
        // It may be the last one, and giving a pin back takes a moment.
        drop(old);
    }

    /// Lets go of what nobody else holds.
    pub(crate) fn clear(&self) {
        let old = std::mem::take(&mut self.0.lock().held);
        drop(old);
    }
}

impl Engine {
    /// Holds a checkpoint. O(1) for recent ones.
    ///
    /// # Errors
    /// `NotFound` if this repository has no such checkpoint (any more).
    pub(crate) fn hold(&self, id: &Id) -> Result<Arc<Held>> {
        if let Some(held) = self.last_held.get(id) {
            return Ok(held);
        }
        let _section = self.store().section();
        // Before the look, so that a collector that has not seen the pin has not taken anything away yet either.
        let pin = self.store().pin(id);
        let snapshot = self.snapshot(id)?;
        Ok(self.holding(snapshot, pin))
    }

    /// Holds a checkpoint that was stored in the present section.
    pub(crate) fn hold_new(&self, snapshot: Arc<Snapshot>) -> Arc<Held> {
        let pin = self.store().pin(&snapshot.id);
        self.holding(snapshot, pin)
    }

    fn holding(&self, snapshot: Arc<Snapshot>, pin: Pin) -> Arc<Held> {
        let held = Arc::new(Held {
            snapshot,
            pin: Arc::new(pin),
        });
        self.last_held.put(&held);
        held
    }
}
