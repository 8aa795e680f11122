//! Where the records of superpositions are: those with a name in the ref log, those without on a shelf in the engine. Whoever changes
//! several at once plans it here, and it happens as a whole or not at all.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use pyi_cas::{Guard, RangeChange, RefOutcome, RefRange, RefStore, RefTransaction};
use pyi_tree::refs::{Link, SuperpositionRecord, part_key, part_prefix, superposition_key, workspace_key};

use super::{ATTEMPTS, Cache};
use crate::engine::Engine;
use crate::repository::name_of;
use crate::{Error, Result};

/// What the keys of superpositions without a name begin with; no name does.
const LOCAL: char = '\0';

/// Superpositions by key.
type ByKey = HashMap<Arc<str>, Arc<Mutex<Cache>>>;

/// Superpositions without a name.
#[derive(Default)]
pub(crate) struct Shelf {
    by_key: Mutex<ByKey>,
    next: AtomicU64,
}

impl Shelf {
    /// Puts one on the shelf under a key of its own.
    pub(super) fn put(&self, cache: &Arc<Mutex<Cache>>) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let key: Arc<str> = Arc::from(format!("{LOCAL}{number}"));
        self.by_key.lock().insert(key.clone(), cache.clone());
        key
    }
}

pub(super) fn is_local(key: &str) -> bool {
    key.starts_with(LOCAL)
}

/// The values of a record in the ref log, as last read or written; nothing for one without a name.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) head: Vec<u8>,
    pub(crate) parts: Vec<Vec<u8>>,
}

impl Stored {
    pub(super) fn of(record: &SuperpositionRecord) -> Self {
        Stored {
            head: record.encode(),
            parts: (0..record.parts).map(|part| record.encode_part(part)).collect(),
        }
    }
}

/// A record and what it was read from.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) record: Arc<SuperpositionRecord>,
    pub(crate) stored: Arc<Stored>,
}

/// The record of a name, or `None`. If it is as `known` says, that one's values are shared. O(its bytes), O(1) if it is unchanged.
pub(super) fn load_changed(engine: &Engine, name: &str, known: Option<&Loaded>) -> Result<Option<Loaded>> {
    load(engine.store().refs(), name, known)
}

fn load(refs: &dyn RefStore, name: &str, known: Option<&Loaded>) -> Result<Option<Loaded>> {
    let key = superposition_key(name);
    for _ in 0..ATTEMPTS {
        let Some(head) = refs.get(&key)? else { return Ok(None) };
        let known = known.filter(|known| known.stored.head[..] == head[..]);
        let parts = match known {
            Some(known) if known.stored.parts.is_empty() => Vec::new(),
            Some(_) => refs.scan(&part_prefix(name))?,
            None if SuperpositionRecord::decode(&head)?.parts == 0 => Vec::new(),
            None => refs.scan(&part_prefix(name))?,
        };
        // Parts and head are of one moment if the head was not replaced meanwhile: what changes the structure replaces it.
        if !parts.is_empty() && refs.get(&key)?.is_none_or(|again| again[..] != head[..]) {
            continue;
        }
        if let Some(known) = known
            && known.stored.parts.len() == parts.len()
            && known
                .stored
                .parts
                .iter()
                .zip(&parts)
                .all(|(old, (_, new))| old[..] == new[..])
        {
            return Ok(Some(Loaded {
                name: known.name.clone(),
                record: known.record.clone(),
                stored: known.stored.clone(),
            }));
        }
        return assemble(name, &head, parts.iter().map(|(_, part)| &part[..])).map(Some);
    }
    Err(busy(name))
}

fn assemble<'a>(name: &str, head: &[u8], parts: impl Iterator<Item = &'a [u8]>) -> Result<Loaded> {
    let mut record = SuperpositionRecord::decode(head)?;
    let mut stored = Stored {
        head: head.to_vec(),
        parts: Vec::new(),
    };
    for part in parts {
        record.take_part(part)?;
        stored.parts.push(part.to_vec());
    }
    if stored.parts.len() != record.parts as usize {
        return Err(Error::corrupt(format!(
            "superposition {name:?}: parts of it are missing"
        )));
    }
    Ok(Loaded {
        name: name.to_owned(),
        record: Arc::new(record),
        stored: Arc::new(stored),
    })
}

/// All superpositions that have a name, the living and the others. O(bytes).
pub(crate) fn load_all(refs: &dyn RefStore) -> Result<Vec<Loaded>> {
    let mut all = Vec::new();
    for (key, _) in refs.scan(b"s/")? {
        all.extend(load(refs, &name_of(&key)?, None)?);
    }
    Ok(all)
}

pub(super) fn busy(name: &str) -> Error {
    let name = if is_local(name) { "" } else { name };
    Error::conflict(format!(
        "superposition {name:?} is changed by others all the time; stop them and try again"
    ))
}

/// Lets go of a superposition without a name whose last handle went. Those that collapse together stay as long as somebody holds one.
pub(super) fn let_go(engine: &Engine, key: &str) {
    let mut shelf = engine.superpositions.by_key.lock();
    if let Some(cache) = shelf.get(key) {
        cache.lock().is_held = false;
    }
    let (mut group, mut at) = (vec![key.to_owned()], 0);
    while at < group.len() {
        if let Some(cache) = shelf.get(&*group[at]) {
            let cache = cache.lock();
            if cache.is_held {
                return;
            }
            for link in &cache.record.links {
                if !group.contains(&link.other) {
                    group.push(link.other.clone());
                }
            }
        }
        at += 1;
    }
    let mut gone = Vec::new();
    for key in group {
        let Some(cache) = shelf.remove(&*key) else { continue };
        let outer = cache.lock().record.outer.clone();
        if let Some(outer) = outer.and_then(|(outer, _)| shelf.get(&*outer)) {
            Arc::make_mut(&mut outer.lock().record)
                .inner
                .retain(|(_, name)| *name != key);
        }
        gone.push(cache);
    }
    drop(shelf);
    // Candidates go without the lock: some may be the last to hold something large.
    drop(gone);
}

/// What is read and changed as one.
pub(super) struct Desk<'a> {
    engine: &'a Arc<Engine>,
    /// Held as long as records without a name are looked at.
    shelf: Option<MutexGuard<'a, ByKey>>,
}

/// A change of some records, and whatever else goes with it.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) transaction: RefTransaction,
    locals: Vec<(String, Option<SuperpositionRecord>)>,
}

impl<'a> Desk<'a> {
    /// A desk for superpositions like the one under `key`: either all have names or none.
    pub(super) fn for_key(engine: &'a Arc<Engine>, key: &str) -> Self {
        Desk {
            engine,
            shelf: is_local(key).then(|| engine.superpositions.by_key.lock()),
        }
    }

    /// A record, or `None` if there is none.
    pub(super) fn load(&self, name: &str) -> Result<Option<Loaded>> {
        let Some(shelf) = &self.shelf else {
            return load_changed(self.engine, name, None);
        };
        Ok(shelf.get(name).map(|cache| Loaded {
            name: name.to_owned(),
            record: cache.lock().record.clone(),
            stored: Arc::default(),
        }))
    }

    /// The caches of those without a name.
    pub(super) fn local(&self, name: &str) -> Option<&Arc<Mutex<Cache>>> {
        self.shelf.as_ref()?.get(name)
    }

    /// Those without a name.
    pub(super) fn locals(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Mutex<Cache>>)> {
        self.shelf.iter().flat_map(|shelf| shelf.iter())
    }

    /// Does what was planned.
    pub(super) fn commit(&self, plan: Plan) -> Result<RefOutcome> {
        let transaction = &plan.transaction;
        if !transaction.puts.is_empty() {
            let outcome = self.engine.store().refs().commit(transaction)?;
            if outcome != RefOutcome::Done {
                return Ok(outcome);
            }
        }
        for (name, record) in plan.locals {
            let Some(cache) = self.local(&name) else { continue };
            let mut cache = cache.lock();
            match record {
                Some(record) => cache.settle(record),
                None => cache.is_gone = true,
            }
        }
        Ok(RefOutcome::Done)
    }
}

impl Plan {
    pub(super) fn new(message: String) -> Self {
        let mut plan = Plan::default();
        plan.transaction.message = message.chars().take(1000).collect();
        plan
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transaction.puts.is_empty() && self.locals.is_empty()
    }

    /// The record becomes another one, if it is still as it was loaded; the values that it will have. O(candidates).
    pub(super) fn replace(&mut self, loaded: &Loaded, mut record: SuperpositionRecord) -> Option<Stored> {
        record.settle();
        record.version += 1;
        if is_local(&loaded.name) {
            self.locals.push((loaded.name.clone(), Some(record)));
            return None;
        }
        let new = Stored::of(&record);
        self.put(
            superposition_key(&loaded.name),
            Some(&loaded.stored.head),
            Some(&new.head),
        );
        let parts = new.parts.len().max(loaded.stored.parts.len());
        for part in 0..parts {
            let (old, new) = (loaded.stored.parts.get(part), new.parts.get(part));
            let key = part_key(&loaded.name, part as u32);
            match new {
                // Whatever weight was written there since: the head says that nobody came or went.
                None => self.transaction.puts.push((key, None)),
                Some(_) if old == new => {}
                Some(_) => self.put(key, old, new),
            }
        }
        Some(new)
    }

    fn put(&mut self, key: Vec<u8>, old: Option<&Vec<u8>>, new: Option<&Vec<u8>>) {
        let guard = old.map_or(Guard::Absent, |old| Guard::Equals(old.clone()));
        self.transaction.guards.push((key.clone(), guard));
        self.transaction.puts.push((key, new.cloned()));
    }

    /// The record goes, together with the names of its candidates; those that are linked with it are free of that.
    pub(super) fn remove(&mut self, loaded: &Loaded) {
        if is_local(&loaded.name) {
            self.locals.push((loaded.name.clone(), None));
            return;
        }
        self.put(superposition_key(&loaded.name), Some(&loaded.stored.head), None);
        for part in 0..loaded.stored.parts.len() {
            self.transaction.puts.push((part_key(&loaded.name, part as u32), None));
        }
        self.free_names(&loaded.name, &loaded.record);
    }

    /// Gives up the names of all candidates of the superposition `name`: those that it was made with as the ranges that they are, others
    /// one by one.
    pub(super) fn free_names(&mut self, name: &str, record: &SuperpositionRecord) {
        if is_local(name) {
            return;
        }
        let prefix = candidates_prefix(name);
        let mut run: Range<u32> = 0..0;
        for (number, one) in (0..).zip(&record.candidates) {
            if !one.fate.has_name() || one.name.is_empty() {
                continue;
            }
            if !is_numbered(&one.name, name, number) {
                self.transaction.puts.push((workspace_key(&one.name), None));
            } else if run.end == number {
                run.end += 1;
            } else {
                self.delete(&prefix, std::mem::replace(&mut run, number..number + 1));
            }
        }
        self.delete(&prefix, run);
    }

    fn delete(&mut self, prefix: &[u8], numbers: Range<u32>) {
        self.transaction
            .ranges
            .extend(ranges_of(prefix, numbers, &RangeChange::Delete));
    }

    /// Whether it takes the value of a key away.
    pub(super) fn deletes(&self, key: &[u8]) -> bool {
        let in_range = |range: &RefRange| range.change == RangeChange::Delete && range.holds(key);
        let is_put = |(put, value): &(Vec<u8>, Option<Vec<u8>>)| value.is_none() && put == key;
        self.transaction.puts.iter().any(is_put) || self.transaction.ranges.iter().any(in_range)
    }
}

/// What the keys of the candidates begin with that a superposition was made with.
pub(super) fn candidates_prefix(name: &str) -> Vec<u8> {
    workspace_key(&format!("{name}/"))
}

/// Whether a candidate has the name that the superposition `name` gave it when it was made.
fn is_numbered(candidate: &str, name: &str, number: u32) -> bool {
    let digits = candidate.strip_prefix(name).and_then(|rest| rest.strip_prefix('/'));
    digits.is_some_and(|digits| {
        let is_plain = !digits.starts_with(['+', '0']) || digits == "0";
        is_plain && digits.parse() == Ok(number)
    })
}

/// As few ranges as hold these numbers.
pub(super) fn ranges_of(prefix: &[u8], numbers: Range<u32>, change: &RangeChange) -> impl Iterator<Item = RefRange> {
    let end = numbers.end;
    numbers.step_by(RefRange::MAX as usize).map(move |start| RefRange {
        prefix: prefix.to_vec(),
        numbers: start..end.min(start.saturating_add(RefRange::MAX)),
        change: change.clone(),
    })
}

/// A record without the links to those named here.
pub(super) fn without_links(record: &SuperpositionRecord, gone: &[String]) -> SuperpositionRecord {
    let mut record = record.clone();
    record.links.retain(|link: &Link| !gone.contains(&link.other));
    record
}
