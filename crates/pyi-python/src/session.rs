//! What a session does behind each step, as one call: the record of where it stands, a checkpoint with it, and what the next record
//! jumps to. The record's bytes stand in `docs/design/012-sessions.md`; `python/pyi/longrun/record.py` reads them, and makes those of
//! records that are not of a step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyi_engine::{Id, Value, Workspace as EngineWorkspace};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::checkpoint::Checkpoint;
use crate::convert::{Text, value_from};
use crate::errors::invalid;
use crate::generator::{Generators, Record};
use crate::workspace::{Workspace, durability_named, save};

/// Where the record stands in a checkpoint's metadata.
const KEY: &str = "session";
/// Where the records of generators stand that are no bytes.
const OTHERS: &str = "session generators";
const VERSION: u8 = 1;
/// Bytes of a record before the name.
const HEAD_BYTES: usize = 103;

/// An earlier checkpoint of the same session.
#[derive(Clone, Copy)]
struct Jump {
    number: u64,
    done: u64,
    id: [u8; 32],
}

/// The last checkpoint at the end, before it the one that it jumps to, and so on (Myers, 1983).
struct Trail {
    chain: Vec<Jump>,
    /// Where in the chain the one is that the next record jumps to.
    jump: usize,
}

impl Trail {
    fn of(chain: Vec<Jump>) -> Self {
        let mut trail = Trail { chain, jump: 0 };
        trail.choose();
        trail
    }

    /// Two jumps of the same length are followed by one over both.
    fn choose(&mut self) {
        let last = self.chain.len().saturating_sub(1);
        self.jump = match self.chain[..] {
            [.., far, near, end] if end.number + far.number == 2 * near.number => last - 2,
            _ => last,
        };
    }

    /// Puts the checkpoint that was made behind the others. O(1).
    fn add(&mut self, made: Jump) {
        if self.jump + 1 < self.chain.len() {
            self.chain.truncate(self.jump + 1);
        }
        self.chain.push(made);
        self.choose();
    }
}

/// The part of a session that every step goes through.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct SessionCore {
    inner: Arc<EngineWorkspace>,
    label: Vec<u8>,
    trail: Mutex<Trail>,
    generators: Generators,
    /// What was stored for the generators by the last checkpoint is in the state, unless the head is another one.
    trusted: AtomicBool,
}

/// Where a session stands: phase, steps done, loop, items of it, resumes, repeated steps.
type Place = (u32, u64, i64, i64, u64, u64);

#[pymethods]
impl SessionCore {
    /// Goes on behind the checkpoints of `chain`: number, steps done and id of the last one, before it of the one that it jumps to, and so on.
    #[new]
    fn new(workspace: &Workspace, label: Vec<u8>, chain: Vec<(u64, u64, [u8; 32])>) -> PyResult<Self> {
        if chain.is_empty() {
            return Err(invalid("a session goes on from a checkpoint of its own"));
        }
        let jumps = chain.into_iter().map(|(number, done, id)| Jump { number, done, id });
        Ok(SessionCore {
            inner: Arc::clone(&workspace.inner),
            label,
            trail: Mutex::new(Trail::of(jumps.collect())),
            generators: Generators::default(),
            trusted: AtomicBool::new(false),
        })
    }

    /// The workspace was restored: the state may hold other things than were stored there.
    fn distrust(&self) {
        self.trusted.store(false, Ordering::Relaxed);
    }

    /// Makes a checkpoint with a record of this place and of these generators (a `Kept` for each name). What is too much of them for the record
    /// goes into `state`.
    fn save(
        &self,
        py: Python<'_>,
        message: Text,
        place: Place,
        generators: &Bound<'_, PyDict>,
        state: &Bound<'_, PyAny>,
        durability: Option<&str>,
    ) -> PyResult<Checkpoint> {
        let durability = durability.map(durability_named).transpose()?;
        let mut record = self.head(place)?;
        let mut others: Option<Bound<'_, PyDict>> = None;
        // Somebody who restored or checkpointed in between may have taken away what was stored.
        let trust = self.trusted.swap(false, Ordering::Relaxed) && self.is_last(self.inner.head().id());
        self.generators
            .records(&self.inner, generators, state, trust, |label, kept| {
                match kept {
                    Record::Bytes(kept) => push(&mut record, label, kept)?,
                    Record::Other(kept) => {
                        let others = others.get_or_insert_with(|| PyDict::new(py));
                        let label = std::str::from_utf8(label).map_err(|_| invalid("a label that is no UTF-8"))?;
                        others.set_item(label, kept)?;
                    }
                }
                Ok(())
            })?;
        let mut metadata = vec![(KEY.to_owned(), Value::Bytes(record))];
        if let Some(others) = others {
            metadata.push((OTHERS.to_owned(), value_from(others.as_any())?));
        }
        let metadata = Value::Map(metadata);
        let inner = save(py, &self.inner, &message.0, metadata, durability)?;
        let Id(id) = *inner.id();
        let mut trail = self.trail.lock();
        let number = trail.chain.last().map_or(0, |last| last.number + 1);
        trail.add(Jump {
            number,
            done: place.1,
            id,
        });
        self.trusted.store(true, Ordering::Relaxed);
        Ok(Checkpoint { inner })
    }
}

impl SessionCore {
    fn is_last(&self, id: &Id) -> bool {
        self.trail.lock().chain.last().is_some_and(|last| last.id == id.0)
    }

    /// The record up to the generators.
    fn head(&self, place: Place) -> PyResult<Vec<u8>> {
        let (phase, done, at_loop, at, resumes, repeated) = place;
        let (jump, number) = {
            let trail = self.trail.lock();
            (
                trail.chain.get(trail.jump).copied(),
                trail.chain.last().map(|last| last.number),
            )
        };
        let jump = jump.ok_or_else(|| invalid("a session goes on from a checkpoint of its own"))?;
        let mut record = Vec::with_capacity(HEAD_BYTES + self.label.len() + 256);
        record.push(VERSION);
        record.extend_from_slice(&phase.to_le_bytes());
        record.extend_from_slice(&length_u16(&self.label)?);
        record.extend_from_slice(&done.to_le_bytes());
        record.extend_from_slice(&at_loop.to_le_bytes());
        record.extend_from_slice(&at.to_le_bytes());
        record.extend_from_slice(&number.map_or(0, |number| number + 1).to_le_bytes());
        record.extend_from_slice(&jump.number.to_le_bytes());
        record.extend_from_slice(&jump.done.to_le_bytes());
        record.extend_from_slice(&jump.id);
        record.extend_from_slice(&resumes.to_le_bytes());
        record.extend_from_slice(&repeated.to_le_bytes());
        record.extend_from_slice(&self.label);
        Ok(record)
    }
}

fn length_u16(text: &[u8]) -> PyResult<[u8; 2]> {
    let length = u16::try_from(text.len());
    Ok(length.map_err(|_| invalid("a name of 64 KB or more"))?.to_le_bytes())
}

fn push(record: &mut Vec<u8>, label: &[u8], kept: &[u8]) -> PyResult<()> {
    let length = u32::try_from(kept.len()).map_err(|_| invalid("a generator with a state of 4 GiB or more"))?;
    record.extend_from_slice(&length_u16(label)?);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(label);
    record.extend_from_slice(kept);
    Ok(())
}
