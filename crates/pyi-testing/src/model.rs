//! What a store must hold: the events of a test in order, how each ended, and the comparison with an opened store.

use std::collections::{BTreeMap, BTreeSet};

use pyi_cas::{FileStore, Id, Kind, ObjectStore};

/// Something a test did to a store.
#[derive(Clone, Debug)]
pub enum Event {
    /// A batch of blobs.
    Commit(Vec<(Id, Vec<u8>)>),
    /// A ref set to a value.
    Move(Vec<u8>, Vec<u8>),
    /// A flush.
    Flush,
    /// Something that promises nothing by itself (open, close, read).
    Other,
}

/// How an event ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It has not ended, or its process died in it: it may have happened, wholly or (a batch) in part.
    Open,
    /// It was acknowledged.
    Done,
    /// It was refused: it did not happen. Of a refused batch whole objects may be there all the same, as they are
    /// what their ids say.
    Refused,
}

/// The events up to now.
#[derive(Clone, Default, Debug)]
pub struct Model {
    events: Vec<(Event, Outcome)>,
}

/// Which events must have left their traces.
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    /// All acknowledged events before this one must be there.
    pub sure: usize,
    /// No event from this one on can be there.
    pub possible: usize,
    /// Whether a ref may name an object that is missing (one that is not sure: those must be there in any case).
    pub dangling: bool,
}

/// What a comparison found.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Found {
    /// Objects that are there.
    pub objects: BTreeSet<Id>,
    /// Refs and their values.
    pub refs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Refs that name a missing object.
    pub dangling: usize,
}

impl Model {
    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events and how they ended.
    pub fn events(&self) -> &[(Event, Outcome)] {
        &self.events
    }

    /// Notes that something begins.
    pub fn begin(&mut self, event: Event) {
        self.events.push((event, Outcome::Open));
    }

    /// Notes how the last event ended.
    pub fn end(&mut self, outcome: Outcome) {
        if let Some((_, last)) = self.events.last_mut() {
            *last = outcome;
        }
    }

    /// After the death of processes while event number `mark` ran: what was acknowledged is sure.
    pub fn after_kill(&self, mark: usize) -> Expectation {
        Expectation {
            sure: mark,
            possible: self.len().min(mark + 1),
            dangling: false,
        }
    }

    /// After a power loss while event number `mark` ran: what a flush covered is sure.
    pub fn after_crash(&self, mark: usize) -> Expectation {
        let flushed = |(event, outcome): &(Event, Outcome)| matches!((event, outcome), (Event::Flush, Outcome::Done));
        Expectation {
            sure: self.events[..mark].iter().rposition(flushed).unwrap_or(0),
            possible: self.len().min(mark + 1),
            dangling: false,
        }
    }

    /// What is known once a store was opened after a death or a power loss: what was found happened and stays, the rest did
    /// not happen. O(events).
    pub fn settle(&mut self, found: &Found) {
        for (event, outcome) in &mut self.events {
            let happened = match event {
                Event::Commit(objects) => {
                    objects.retain(|(id, _)| found.objects.contains(id));
                    true
                }
                Event::Move(key, value) => found.refs.get(key) == Some(value),
                Event::Flush | Event::Other => true,
            };
            *outcome = if happened { Outcome::Done } else { Outcome::Refused };
        }
        self.events.push((Event::Flush, Outcome::Done));
    }

    /// Compares; the error says what disagrees. O(objects).
    pub fn check(&self, store: &FileStore, expected: Expectation) -> Result<Found, String> {
        let mut found = Found::default();
        for (at, (event, outcome)) in self.events[..expected.possible].iter().enumerate() {
            let Event::Commit(objects) = event else { continue };
            let must = at < expected.sure && *outcome == Outcome::Done;
            for (id, content) in objects {
                match store.get(Kind::Blob, id) {
                    Ok(Some(bytes)) if bytes == content[..] => {
                        found.objects.insert(*id);
                    }
                    Ok(Some(_)) => return Err(format!("event {at}: wrong bytes for {id}")),
                    Ok(None) if must => return Err(format!("event {at}: {id} is lost")),
                    Ok(None) => {}
                    Err(error) => return Err(format!("event {at}: {id}: {error}")),
                }
            }
        }
        let refs = store.refs().scan(b"").map_err(|error| format!("refs: {error}"))?;
        found.refs = refs.into_iter().map(|(key, value)| (key, value.to_vec())).collect();
        for (key, allowed) in self.allowed(expected) {
            let value = found.refs.get(key);
            if !allowed.contains(&value.map(Vec::as_slice)) {
                let key = String::from_utf8_lossy(key);
                return Err(format!("ref {key} is {value:02x?}, allowed is one of {allowed:02x?}"));
            }
        }
        for (key, value) in &found.refs {
            let there = <[u8; 32]>::try_from(&value[..]).is_ok_and(|id| found.objects.contains(&Id(id)));
            if !there {
                found.dangling += 1;
                if !expected.dangling {
                    let key = String::from_utf8_lossy(key);
                    return Err(format!("ref {key} names {value:02x?}, which is missing"));
                }
            }
        }
        Ok(found)
    }

    /// The values that each key may have: the last sure one and all that came later. `None`: no value.
    fn allowed(&self, expected: Expectation) -> BTreeMap<&[u8], Vec<Option<&[u8]>>> {
        let mut allowed: BTreeMap<&[u8], Vec<Option<&[u8]>>> = BTreeMap::new();
        for (at, (event, outcome)) in self.events.iter().enumerate() {
            let Event::Move(key, value) = event else { continue };
            let values = allowed.entry(key).or_insert_with(|| vec![None]);
            if at >= expected.possible || *outcome == Outcome::Refused {
                continue;
            }
            if at < expected.sure && *outcome == Outcome::Done {
                values.clear();
            }
            values.push(Some(value));
        }
        allowed
    }
}
