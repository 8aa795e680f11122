//! What a collector needs of the ref log: the values that came and went while it ran.

use bytes::Bytes;

use super::FileRefs;
use crate::error::Result;
use crate::fork;
use crate::store::{RangeChange, RefTransaction};

/// Values that keys were set to.
pub(super) struct Trail {
    values: Vec<Bytes>,
    /// Process generation of the collector: a child of a fork has none.
    generation: u64,
}

impl FileRefs {
    /// Begins or ends to keep the values that keys are set to, for a collector.
    pub(crate) fn keep_trail(&self, keep: bool) -> Result<()> {
        let _gate = fork::enter();
        let mut log = self.log.write();
        if keep {
            self.catch_up(&mut log, None)?;
        }
        *self.trail.lock() = keep.then(|| Trail {
            values: Vec::new(),
            generation: self.shared.vfs.process_generation(),
        });
        Ok(())
    }

    /// The values that keys were set to by any process since the last call. O(bytes appended).
    pub(crate) fn take_trail(&self) -> Result<Vec<Bytes>> {
        let _gate = fork::enter();
        let mut log = self.log.write();
        self.catch_up(&mut log, None)?;
        let mut trail = self.trail.lock();
        let values = trail.as_mut().map(|trail| std::mem::take(&mut trail.values));
        Ok(values.unwrap_or_default())
    }

    pub(super) fn leave_trail(&self, transaction: &RefTransaction) {
        let mut trail = self.trail.lock();
        let generation = self.shared.vfs.process_generation();
        if let Some(trail) = trail.as_mut().filter(|trail| trail.generation == generation) {
            let puts = transaction.puts.iter().filter_map(|(_, value)| value.as_ref());
            let ranges = transaction.ranges.iter().filter_map(|range| match &range.change {
                RangeChange::Create(value) => Some(value),
                RangeChange::Delete => None,
            });
            let values = puts.chain(ranges).map(|value| Bytes::copy_from_slice(value));
            trail.values.extend(values);
        }
    }
}
