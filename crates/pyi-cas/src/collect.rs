//! What a collection of garbage is told and what it tells.

use std::time::Duration;

use crate::error::Result;
use crate::id::{Id, IdSet};

/// Knows what is live.
pub trait Mark {
    /// Adds to `live` all that refs (as they are now) and `pins` reach; what is in `live` already need not be walked again. Must not
    /// hold locks of the store. Errors end the collection.
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()>;

    /// The object whose content is the best base for a delta of `id` (a newer version of the same path); `None`: no hint.
    fn delta_base(&self, _id: &Id) -> Option<Id> {
        None
    }
}

/// How to collect.
pub struct CollectOptions<'a> {
    /// A sealed segment with a smaller dead share than this is left; 0.0: every segment with a dead byte is rewritten.
    pub dead_share: f64,
    /// Rewrite every sealed segment with the best compression.
    pub compact: bool,
    /// How long to wait for a section of another process before giving up.
    pub patience: Duration,
    /// Called with progress: phase and 0.0 to 1.0.
    pub progress: Option<&'a (dyn Fn(&'static str, f64) + Sync)>,
}

impl Default for CollectOptions<'_> {
    fn default() -> Self {
        CollectOptions {
            dead_share: 0.1,
            compact: false,
            patience: Duration::from_secs(10),
            progress: None,
        }
    }
}

/// What a collection did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Bytes in segments before.
    pub bytes_before: u64,
    /// Bytes in segments afterwards.
    pub bytes_after: u64,
    /// Bytes of what is live.
    pub live_bytes: u64,
    /// Objects that were removed.
    pub objects_removed: u64,
    /// Objects that are live.
    pub objects_live: u64,
    /// Segments that were removed.
    pub segments_removed: u64,
    /// Segments that were written.
    pub segments_written: u64,
    /// Why nothing was removed, if that is so.
    pub gave_up: Option<String>,
}
