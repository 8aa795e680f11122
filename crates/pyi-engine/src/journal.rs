//! The workspace's append-only list of events.

use std::sync::Arc;

use pyi_cas::{Bytes, Id, Kind};
use pyi_tree::cbor::Value;
use pyi_tree::journal::{Event, EventBatch, EventBuffer, JournalTree};

use crate::checkpoint::Checkpoint;
use crate::engine::{Engine, now_ns};
use crate::workspace::{Workspace, weight};
use crate::{Error, Result};

/// Fresh events are moved into the tree at this many, so that one batch stays small enough to read on its own.
const BATCH_EVENTS: usize = 256;

impl Workspace {
    /// As [`Workspace::journal_append_encoded`], with data that are not encoded yet.
    ///
    /// # Errors
    /// `InvalidArgument` if `data` is no map; else as [`Workspace::journal_append_encoded`].
    pub fn journal_append(&self, kind: &str, data: Value) -> Result<()> {
        if !matches!(data, Value::Map(_)) {
            return Err(Error::invalid("an event's data is a mapping with text keys"));
        }
        self.journal_append_encoded(kind, &data.encode_ordered())
    }

    /// Appends an event; `data` is the ordered encoding of a map. Its time is now, or that of the event before it if the clock went back.
    /// O(bytes), plus O(log events) once in 256.
    ///
    /// # Errors
    /// `Closed`, `LeaseLost`; `Corrupt` if the last event cannot be read.
    pub fn journal_append_encoded(&self, kind: &str, data: &[u8]) -> Result<()> {
        self.engine.open()?;
        let now_ns = now_ns();
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let last_ns = match content.fresh.last_ns().or(content.journal.last_ns()) {
            Some(last_ns) => last_ns,
            None => {
                let last_ns = last_ns(&self.engine, &content.journal)?;
                content.journal.set_last_ns(last_ns);
                last_ns
            }
        };
        let weight = weight(data.len());
        content.fresh.push(kind, now_ns.max(last_ns), data);
        content.changed(weight);
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

    /// The journal as it is now; later appends do not show in it. O(1), plus a copy of at most 256 events.
    ///
    /// # Errors
    /// `Closed`.
    pub fn journal(&self) -> Result<JournalView> {
        self.engine.open()?;
        let content = self.content.lock();
        Ok(JournalView {
            engine: self.engine.clone(),
            journal: content.journal.clone(),
            fresh: content.fresh.clone(),
            batch: None,
            _pins: content.all_pins(),
        })
    }

    /// The id of the journal's last batch, which names everything before it; `None` for an empty journal. Ends the batch: the next event
    /// begins another one. O(log events), one hash.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn journal_tip(&self) -> Result<Option<Id>> {
        self.engine.open()?;
        let mut content = self.content.lock();
        content.settle_journal(&self.engine)?;
        Ok(content.journal.tip(&self.engine.loader)?)
    }
}

impl Checkpoint {
    /// The journal of this checkpoint. O(1) for recent ones.
    ///
    /// # Errors
    /// `NotFound` if retention gave the checkpoint up; `Corrupt`.
    pub fn journal(&self) -> Result<JournalView> {
        self.engine.open()?;
        let held = self.engine.hold(self.id())?;
        Ok(JournalView {
            engine: self.engine.clone(),
            journal: held.journal.clone(),
            fresh: EventBuffer::default(),
            batch: None,
            _pins: vec![held.pin.clone()],
        })
    }
}

/// The time of the last event, which is in the tree; 0 if there is none.
fn last_ns(engine: &Arc<Engine>, journal: &JournalTree) -> Result<u64> {
    let Some(last) = journal.len().checked_sub(1) else {
        return Ok(0);
    };
    let batch = journal.batch_of(last, &engine.loader)?.ok_or_else(gap)?;
    let bytes = engine.content(&batch.row.id, batch.pending.as_ref())?;
    Ok(EventBatch::decode(bytes)?.time_ns((last - batch.first) as usize))
}

fn gap() -> Error {
    Error::corrupt("journal: its length does not fit its batches; run `pyi scrub`")
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this kind only.
    pub kind: Option<String>,
    /// Not before, unix nanoseconds.
    pub since_ns: Option<u64>,
    /// Before, unix nanoseconds.
    pub until_ns: Option<u64>,
    /// From this index on.
    pub start: u64,
    /// Before this index.
    pub stop: Option<u64>,
}

/// What a walk along the chain of a journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Events that were looked at: all of them.
    pub events: u64,
    /// Batches.
    pub batches: u64,
    /// The id of the last batch.
    pub tip: Option<Id>,
    /// How many events the journal had when its tip was the one that was asked for.
    pub known_events: Option<u64>,
}

/// A reader of a journal. Keeps the batch that it read last, so that going through all events reads each batch once.
pub struct JournalView {
    engine: Arc<Engine>,
    journal: JournalTree,
    /// Events behind those of the tree.
    fresh: EventBuffer,
    batch: Option<(u64, EventBatch)>,
    /// Keeps what is read.
    _pins: Vec<Arc<pyi_cas::Pin>>,
}

impl JournalView {
    /// The number of events. O(1).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.journal.len() + self.fresh.len() as u64
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of event `index` if it is in the batch that was read last, so that making it takes no look at the store.
    #[must_use]
    pub fn bytes_at_hand(&self, index: u64) -> Option<usize> {
        let (first, batch) = self.batch.as_ref()?;
        batch.size_bytes(usize::try_from(index.checked_sub(*first)?).ok()?)
    }

    /// The first index and the events of the batch that holds `index`, which is not behind the end.
    fn batch_of(&mut self, index: u64) -> Result<(u64, &EventBatch)> {
        if self.bytes_at_hand(index).is_none() {
            let stored = self.journal.len();
            let (first, bytes) = if index >= stored {
                (stored, self.fresh.batch(None))
            } else {
                let batch = self.journal.batch_of(index, &self.engine.loader)?.ok_or_else(gap)?;
                let bytes: Bytes = self.engine.content(&batch.row.id, batch.pending.as_ref())?;
                (batch.first, bytes)
            };
            let batch = EventBatch::decode(bytes)?;
            if index - first >= batch.len() as u64 {
                return Err(gap());
            }
            self.batch = Some((first, batch));
        }
        self.batch
            .as_ref()
            .map(|(first, batch)| (*first, batch))
            .ok_or_else(gap)
    }

    /// Event `index`, `None` behind the end. O(log events), or O(1) within the batch read last.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn get(&mut self, index: u64) -> Result<Option<Event>> {
        if index >= self.len() {
            return Ok(None);
        }
        let (first, batch) = self.batch_of(index)?;
        Ok(batch.event((index - first) as usize)?)
    }

    /// The index of the first event that is not before `time_ns`; the length if all are. O(log events) batches.
    fn first_at(&mut self, time_ns: u64) -> Result<u64> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = u64::midpoint(low, high);
            let (first, batch) = self.batch_of(middle)?;
            let end = batch.len();
            // A whole batch at a time: the times of all its events are at hand.
            let at = (0..end).find(|at| batch.time_ns(*at) >= time_ns).unwrap_or(end);
            match at {
                0 => high = first,
                at if at == end => low = first + end as u64,
                at => return Ok(first + at as u64),
            }
        }
        Ok(low)
    }

    /// The stretch of indexes in which the events that `query` wants are. O(log events).
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn range(&mut self, query: &Query) -> Result<std::ops::Range<u64>> {
        let mut start = query.start;
        let mut stop = query.stop.unwrap_or(u64::MAX).min(self.len());
        if let Some(since_ns) = query.since_ns {
            start = start.max(self.first_at(since_ns)?);
        }
        if let Some(until_ns) = query.until_ns {
            stop = stop.min(self.first_at(until_ns)?);
        }
        Ok(start..stop.max(start))
    }

    /// The first event of this kind (of any kind) in `range`, with its index. O(events passed over), which are not made.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn find(&mut self, range: std::ops::Range<u64>, kind: Option<&str>) -> Result<Option<(u64, Event)>> {
        let mut index = range.start;
        while index < range.end.min(self.len()) {
            let (first, batch) = self.batch_of(index)?;
            let from = (index - first) as usize;
            let found = (from..batch.len()).find(|at| kind.is_none_or(|kind| batch.kind(*at) == kind));
            let Some(at) = found else {
                index = first + batch.len() as u64;
                continue;
            };
            if first + at as u64 >= range.end {
                break;
            }
            return Ok(batch.event(at)?.map(|event| (first + at as u64, event)));
        }
        Ok(None)
    }

    /// Walks along the chain: every batch is there, holds as many events as its place says, in the order of their times, and names the batch
    /// before it; and `known`, if it is given, is one of them. The journal is then one that goes on from the one whose tip that was.
    /// O(events); each batch is read and hashed.
    ///
    /// # Errors
    /// `Corrupt` with the place where the chain is broken, also if `known` is not in it.
    pub fn verify(&self, known: Option<&Id>) -> Result<Verified> {
        let mut found = Verified {
            events: 0,
            batches: 0,
            tip: None,
            known_events: None,
        };
        let broken = |index: u64, what: &str| Error::corrupt(format!("journal: event {index}: {what}"));
        let mut last_ns = 0;
        while found.events < self.len() {
            let index = found.events;
            let (bytes, row) = if index >= self.journal.len() {
                (self.fresh.batch(found.tip.as_ref()), None)
            } else {
                let batch = self.journal.batch_of(index, &self.engine.loader)?.ok_or_else(gap)?;
                if batch.first != index {
                    return Err(broken(index, "its batch does not begin there"));
                }
                // From the store itself: what the cache has was checked when it came in, and nobody doubts that.
                let bytes = match &batch.pending {
                    Some(pending) => self.engine.content(&batch.row.id, Some(pending))?,
                    None => self
                        .engine
                        .store()
                        .get(Kind::Blob, &batch.row.id)?
                        .ok_or_else(|| broken(index, "its batch is missing"))?,
                };
                (bytes, Some(batch.row))
            };
            let id = Kind::Blob.id_of(&bytes);
            let batch = EventBatch::decode(bytes)?;
            if row.is_some_and(|row| row.size_bytes != batch.len() as u64 || (!row.is_dirty() && row.id != id)) {
                return Err(broken(index, "its batch is another one than its place says"));
            }
            if batch.previous != found.tip {
                return Err(broken(index, "its batch does not name the batch before it"));
            }
            for at in 0..batch.len() {
                let event = batch.event(at)?.ok_or_else(gap)?;
                if event.time_ns < last_ns {
                    return Err(broken(index + at as u64, "it is older than the event before it"));
                }
                last_ns = event.time_ns;
            }
            found.events += batch.len() as u64;
            found.batches += 1;
            found.tip = Some(id);
            if known == Some(&id) {
                found.known_events = Some(found.events);
            }
        }
        match known {
            Some(known) if found.known_events.is_none() => Err(Error::corrupt(format!(
                "journal: {known} is none of its tips: this journal does not go on from the one that had it"
            ))),
            _ => Ok(found),
        }
    }

    /// The id of the last batch, `None` for an empty journal. O(log events).
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn tip(&self) -> Result<Option<Id>> {
        let stored = self.journal.tip(&self.engine.loader)?;
        if self.fresh.is_empty() {
            return Ok(stored);
        }
        Ok(Some(Kind::Blob.id_of(&self.fresh.batch(stored.as_ref()))))
    }
}
