//! What this process needs although perhaps no ref reaches it: the heads of its workspaces, and what was stored for them early. A pin in
//! the store keeps it from being collected.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use pyi_cas::{Id, IdSet, Pin};

use crate::engine::{Engine, Snapshot};
use crate::mark::{Marker, Missing};
use crate::undo::COLLECTED_KEY;
use crate::{Error, ErrorKind, Result};

/// So many of the checkpoints that were held last stay held: going to and fro between a few of them costs no pins.
const LAST: usize = 8;

/// Objects of checkpoints that were found whole are remembered up to this many.
const WHOLE_MAX: usize = 1 << 20;

/// What this engine knows of the last collection that removed something.
#[derive(Default)]
pub(crate) struct LastCollection {
    /// Ref generation of the last look.
    generation: Option<u64>,
    collected_ns: u64,
    /// What was found whole since then.
    whole: IdSet,
}

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
        let collected_ns = self.collected_ns()?;
        if self.root(id)?.time_ns <= collected_ns {
            self.check_whole(id, collected_ns)?;
        }
        Ok(self.holding(self.snapshot(id)?, pin))
    }

    /// As [`Engine::hold`], for a checkpoint that a ref names and that is therefore whole. In the section in which the ref was read.
    pub(crate) fn hold_named(&self, id: &Id) -> Result<Arc<Held>> {
        if let Some(held) = self.last_held.get(id) {
            return Ok(held);
        }
        let pin = self.store().pin(id);
        self.collected_ns()?;
        Ok(self.holding(self.snapshot(id)?, pin))
    }

    /// When a collection last removed something, as unix nanoseconds; 0: never. What this engine remembers of checkpoints from before
    /// is forgotten, as they may be gone.
    pub(crate) fn collected_ns(&self) -> Result<u64> {
        let refs = self.store().refs();
        let now = refs.generation();
        let mut last = self.last_collection.lock();
        if last.generation != Some(now) {
            let value = refs.get(COLLECTED_KEY)?;
            let collected_ns = value.and_then(|value| Some(u64::from_le_bytes(value.first_chunk().copied()?)));
            let collected_ns = collected_ns.unwrap_or(0);
            if last.collected_ns != collected_ns {
                self.forget_recent();
                last.whole = IdSet::default();
            }
            last.collected_ns = collected_ns;
            last.generation = Some(now);
        }
        Ok(last.collected_ns)
    }

    /// Makes sure that a checkpoint from before a collection is still there with all that it reaches: a checkpoint that nothing reached
    /// can outlive its content, in a segment that was not rewritten. O(what was not looked at since that collection).
    fn check_whole(&self, id: &Id, collected_ns: u64) -> Result<()> {
        let mut whole = {
            let mut last = self.last_collection.lock();
            if last.whole.contains(id) {
                return Ok(());
            }
            std::mem::take(&mut last.whole)
        };
        let mut marker = Marker::new(self.store(), &mut whole, Missing::Report);
        marker.rely = true;
        match marker.checkpoint(id) {
            Ok(_) => {
                let mut last = self.last_collection.lock();
                // Another thread may have looked at something else meanwhile, which is then looked at again.
                if last.collected_ns == collected_ns && whole.len() >= last.whole.len() && whole.len() <= WHOLE_MAX {
                    last.whole = whole;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::not_found(format!(
                "checkpoint {id} is not in this repository any more: nothing named it, and a collection removed what it held"
            ))),
            Err(error) => Err(error),
        }
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
