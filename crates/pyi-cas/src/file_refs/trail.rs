//! What a collector needs of the ref log: the values that came and went while it ran.

use bytes::Bytes;

use super::FileRefs;
use crate::error::Result;
use crate::fork;
use crate::store::RefTransaction;

impl FileRefs {
    /// Begins or ends to keep the values that keys are set to, for a collector.
    pub(crate) fn keep_trail(&self, keep: bool) -> Result<()> {
        let _gate = fork::enter();
        let mut log = self.log.write();
        if keep {
            self.catch_up(&mut log, None)?;
        }
        *self.trail.lock() = keep.then(Vec::new);
        Ok(())
    }

    /// The values that keys were set to by any process since the last call. O(bytes appended).
    pub(crate) fn take_trail(&self) -> Result<Vec<Bytes>> {
        let _gate = fork::enter();
        let mut log = self.log.write();
        self.catch_up(&mut log, None)?;
        Ok(self.trail.lock().as_mut().map(std::mem::take).unwrap_or_default())
    }

    pub(crate) fn leave_trail(&self, transaction: &RefTransaction) {
        if let Some(trail) = self.trail.lock().as_mut() {
            let values = transaction.puts.iter().filter_map(|(_, value)| value.as_ref());
            trail.extend(values.map(|value| Bytes::copy_from_slice(value)));
        }
    }
}
