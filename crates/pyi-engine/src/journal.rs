//! The workspace's append-only list of events.

use pyi_cas::Bytes;
use pyi_tree::cbor::Value;
use pyi_tree::journal::{Event, JournalTree, decode_batch};

use crate::engine::now_ns;
use crate::workspace::Workspace;
use crate::{Error, Result};

/// Fresh events are moved into the tree at this many, so that one batch stays small enough to read on its own.
const BATCH_EVENTS: usize = 256;

impl Workspace {
    /// Appends an event. O(1), plus O(log events) once in 256.
    ///
    /// # Errors
    /// `InvalidArgument` if `data` is no map; `Closed`.
    pub fn journal_append(&self, kind: &str, data: Value) -> Result<()> {
        self.engine.open()?;
        if !matches!(data, Value::Map(_)) {
            return Err(Error::invalid("an event's data is a mapping with text keys"));
        }
        let event = Event {
            kind: kind.to_owned(),
            time_ns: now_ns(),
            data,
        };
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        content.fresh.push(event);
        content.dirty = true;
        if content.fresh.len() >= BATCH_EVENTS {
            content.settle_journal(&self.engine)?;
        }
        Ok(())
    }

    /// The number of events. O(1).
    #[must_use]
    pub fn journal_len(&self) -> u64 {
        let content = self.content.lock();
        content.journal.len() + content.fresh.len() as u64
    }

    /// The journal as it is now; later appends do not show in it. O(1) amortized.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn journal(&self) -> Result<JournalView> {
        self.engine.open()?;
        let mut content = self.content.lock();
        content.settle_journal(&self.engine)?;
        Ok(JournalView {
            engine: self.engine.clone(),
            journal: content.journal.clone(),
            batch: None,
            _pins: content.all_pins(),
        })
    }
}

/// A reader of a journal. Keeps the batch that it read last, so that going through all events decodes each batch once.
pub struct JournalView {
    engine: std::sync::Arc<crate::engine::Engine>,
    journal: JournalTree,
    batch: Option<(u64, Vec<Event>)>,
    /// Keeps what is read.
    _pins: Vec<std::sync::Arc<pyi_cas::Pin>>,
}

impl JournalView {
    /// The number of events. O(1).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.journal.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.journal.is_empty()
    }

    /// Event `index`, `None` behind the end. O(log events), or O(1) within the batch read last.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn get(&mut self, index: u64) -> Result<Option<Event>> {
        if let Some((first, events)) = &self.batch
            && index >= *first
            && index - first < events.len() as u64
        {
            return Ok(events.get((index - first) as usize).cloned());
        }
        let Some(batch) = self.journal.batch_of(index, &self.engine.loader)? else {
            return Ok(None);
        };
        let bytes: Bytes = self.engine.content(&batch.row.id, batch.pending.as_ref())?;
        let events = decode_batch(&bytes)?;
        let event = events.get((index - batch.first) as usize).cloned();
        self.batch = Some((batch.first, events));
        Ok(event)
    }
}
