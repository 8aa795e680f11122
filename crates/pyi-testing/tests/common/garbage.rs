//! A model of what lives: what refs name, what pins name, and what running sections hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use pyi_cas::{
    Batch, CollectOptions, Collected, DamagedFile, FileStore, Guard, Id, IdSet, Kind, Mark, ObjectStore, Pin,
    RefOutcome, RefTransaction, Result, Section, Vfs,
};
use pyi_testing::{Disk, Driver, Process};

/// Contents that there are; few, so that what is dead is stored again all the time.
pub const BLOBS: usize = 20;

/// What becomes of an object in a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    Ref(u8),
    Pin,
    Nothing,
}

/// One thing that a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Stores an object, unless it is there, in a section.
    Store {
        who: usize,
        blob: usize,
        then: Then,
    },
    /// Stores an object, be it there or not.
    Again {
        who: usize,
        blob: usize,
    },
    /// Begins a section and stores an object, unless it is there.
    Hold {
        who: usize,
        blob: usize,
    },
    /// Begins a section and reads a ref.
    HoldRead {
        who: usize,
        key: u8,
    },
    /// Begins a section and looks a checkpoint up by its id.
    HoldFound {
        who: usize,
        blob: usize,
    },
    /// Does something with what is held and ends the section.
    Finish {
        who: usize,
        then: Then,
    },
    FinishAll,
    /// Moves a ref to an object that lives.
    Ref {
        who: usize,
        key: u8,
        blob: usize,
    },
    Unref {
        who: usize,
        key: u8,
    },
    Unpin {
        nth: usize,
    },
    UnpinAll,
    Flush {
        who: usize,
    },
    Reopen {
        who: usize,
    },
    Kill {
        who: usize,
    },
}

/// A step of a history: an operation, or a collection in which the others do something before and behind each mark.
#[derive(Clone, Debug)]
pub enum Act {
    Op(Op),
    Collect(usize, Vec<Vec<Op>>),
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        3 => (0..4u8).prop_map(Then::Ref),
        2 => Just(Then::Pin),
        2 => Just(Then::Nothing),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let (who, blob, key) = (0..2usize, 0..BLOBS, 0..4u8);
    prop_oneof![
        8 => (who.clone(), blob.clone(), then()).prop_map(|(who, blob, then)| Op::Store { who, blob, then }),
        2 => (who.clone(), blob.clone()).prop_map(|(who, blob)| Op::Again { who, blob }),
        2 => (who.clone(), blob.clone()).prop_map(|(who, blob)| Op::Hold { who, blob }),
        2 => (who.clone(), key.clone()).prop_map(|(who, key)| Op::HoldRead { who, key }),
        2 => (who.clone(), blob.clone()).prop_map(|(who, blob)| Op::HoldFound { who, blob }),
        6 => (who.clone(), then()).prop_map(|(who, then)| Op::Finish { who, then }),
        2 => (who.clone(), key.clone(), blob).prop_map(|(who, key, blob)| Op::Ref { who, key, blob }),
        3 => (who.clone(), key).prop_map(|(who, key)| Op::Unref { who, key }),
        3 => (0..4usize).prop_map(|nth| Op::Unpin { nth }),
        1 => who.clone().prop_map(|who| Op::Reopen { who }),
        1 => who.prop_map(|who| Op::Kill { who }),
    ]
}

/// Histories of up to so many steps.
pub fn histories(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let plan = proptest::collection::vec(proptest::collection::vec(op(), 0..4), 0..8);
    let act = prop_oneof![
        4 => op().prop_map(Act::Op),
        1 => (0..2usize, plan).prop_map(|(who, plan)| Act::Collect(who, plan)),
    ];
    proptest::collection::vec(act, 1..=most)
}

/// Every third one is a checkpoint, as far as the store is concerned.
pub fn kind(blob: usize) -> Kind {
    if blob.is_multiple_of(3) {
        Kind::Checkpoint
    } else {
        Kind::Blob
    }
}

pub fn content(blob: usize) -> Vec<u8> {
    (0..40 + blob * 37).map(|at| (at * 7 + blob * 13) as u8).collect()
}

pub fn id(blob: usize) -> Id {
    kind(blob).id_of(&content(blob))
}

fn record_bytes(blob: usize) -> u64 {
    (48 + content(blob).len() as u64).next_multiple_of(8)
}

/// Two processes, and what must be there.
pub struct World {
    disk: Disk,
    stores: [Option<(Process, Arc<FileStore>)>; 2],
    refs: BTreeMap<u8, usize>,
    /// All values that a ref ever had.
    history: BTreeMap<u8, Vec<usize>>,
    pins: Vec<(usize, usize, Pin)>,
    held: [Option<(Section, usize)>; 2],
    collector: Option<usize>,
    /// After a power loss the tail of the ref log may be in pieces.
    lost_power: bool,
}

struct Roots<'a> {
    world: &'a mut World,
    store: Arc<FileStore>,
    plan: std::vec::IntoIter<Vec<Op>>,
}

impl Mark for Roots<'_> {
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()> {
        for op in self.plan.next().unwrap_or_default() {
            self.world.run(op);
        }
        live.extend(pins);
        for (_, value) in self.store.refs().scan(b"")? {
            live.extend(<[u8; 32]>::try_from(&value[..]).map(Id));
        }
        for op in self.plan.next().unwrap_or_default() {
            self.world.run(op);
        }
        Ok(())
    }
}

impl World {
    pub fn new(disk: &Disk) -> World {
        World {
            disk: disk.clone(),
            stores: [None, None],
            refs: BTreeMap::new(),
            history: BTreeMap::new(),
            pins: Vec::new(),
            held: [None, None],
            collector: None,
            lost_power: false,
        }
    }

    /// The same expectations of another disk, on which nobody lives.
    pub fn survived_by_nobody(&self, disk: &Disk) -> World {
        World {
            refs: self.refs.clone(),
            history: self.history.clone(),
            lost_power: true,
            ..World::new(disk)
        }
    }

    pub fn store(&mut self, who: usize) -> Arc<FileStore> {
        let disk = &self.disk;
        let (_, store) = self.stores[who].get_or_insert_with(|| {
            let (process, store) = Driver::open(disk).unwrap();
            (process, Arc::new(store))
        });
        Arc::clone(store)
    }

    pub fn process(&mut self, who: usize) -> u64 {
        self.store(who);
        self.stores[who].as_ref().unwrap().0.id()
    }

    pub fn lives(&self, who: usize) -> bool {
        self.stores[who].is_some()
    }

    /// Forgets what died.
    pub fn bury(&mut self) {
        self.collector = None;
        for who in 0..2 {
            let dead = self.stores[who]
                .as_ref()
                .is_some_and(|(process, _)| self.disk.is_dead(process.id()));
            if dead {
                self.forget(who);
            }
        }
    }

    fn forget(&mut self, who: usize) {
        self.held[who] = None;
        self.pins.retain(|(owner, _, _)| *owner != who);
        self.stores[who] = None;
    }

    fn lives_still(&self) -> Vec<usize> {
        let held = self.held.iter().flatten().map(|(_, blob)| *blob);
        let mut live: Vec<usize> = self.refs.values().copied().chain(held).collect();
        live.extend(self.pins.iter().map(|(_, blob, _)| *blob));
        live.sort_unstable();
        live.dedup();
        live
    }

    fn put(&mut self, who: usize, blob: usize) -> Result<()> {
        if self.store(who).contains_hint(&id(blob)) {
            return Ok(());
        }
        self.put_again(who, blob)
    }

    fn put_again(&mut self, who: usize, blob: usize) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(kind(blob), &id(blob), &content(blob))?;
        self.store(who).commit(&mut batch).map(|_| ())
    }

    fn set(&mut self, who: usize, key: u8, blob: Option<usize>) -> Result<()> {
        let store = self.store(who);
        let name = vec![b'b', b'/', b'a' + key];
        let before = store.refs().get(&name)?;
        let guard = before.map_or(Guard::Absent, |value| Guard::Equals(value.to_vec()));
        let transaction = RefTransaction {
            guards: vec![(name.clone(), guard)],
            puts: vec![(name, blob.map(|blob| id(blob).0.to_vec()))],
            ..RefTransaction::default()
        };
        let outcome = store.refs().commit(&transaction)?;
        assert_eq!(outcome, RefOutcome::Done);
        match blob {
            Some(blob) => {
                self.refs.insert(key, blob);
                self.history.entry(key).or_default().push(blob);
            }
            None => {
                self.refs.remove(&key);
            }
        }
        Ok(())
    }

    fn use_it(&mut self, who: usize, blob: usize, then: Then) -> Result<()> {
        match then {
            Then::Ref(key) => self.set(who, key, Some(blob)),
            Then::Pin => {
                let pin = self.store(who).pin(&id(blob));
                self.pins.push((who, blob, pin));
                Ok(())
            }
            Then::Nothing => Ok(()),
        }
    }

    pub fn try_store(&mut self, who: usize, blob: usize, then: Then) -> Result<()> {
        let _section = self.store(who).section();
        self.put(who, blob)?;
        self.use_it(who, blob, then)
    }

    pub fn run(&mut self, op: Op) {
        self.try_run(op).unwrap();
    }

    fn try_run(&mut self, op: Op) -> Result<()> {
        match op {
            Op::Store { who, blob, then } => self.try_store(who, blob, then),
            Op::Again { who, blob } => {
                let _section = self.store(who).section();
                self.put_again(who, blob)
            }
            Op::Hold { who, blob } => {
                let section = self.store(who).section();
                self.put(who, blob)?;
                self.held[who] = Some((section, blob));
                Ok(())
            }
            Op::HoldRead { who, key } => {
                let section = self.store(who).section();
                let value = self.store(who).refs().get(&[b'b', b'/', b'a' + key])?;
                let blob = value.and_then(|value| (0..BLOBS).find(|blob| id(*blob).0[..] == value[..]));
                assert_eq!(blob, self.refs.get(&key).copied());
                self.held[who] = blob.map(|blob| (section, blob));
                Ok(())
            }
            Op::HoldFound { who, blob } => {
                let section = self.store(who).section();
                if kind(blob) == Kind::Checkpoint && self.store(who).get(kind(blob), &id(blob))?.is_some() {
                    self.held[who] = Some((section, blob));
                }
                Ok(())
            }
            Op::Finish { who, then } => match self.held[who].take() {
                Some((_section, blob)) => self.use_it(who, blob, then),
                None => Ok(()),
            },
            Op::FinishAll => {
                self.held = [None, None];
                Ok(())
            }
            Op::Ref { who, key, blob } => {
                let _section = self.store(who).section();
                if self.lives_still().contains(&blob) {
                    self.set(who, key, Some(blob))
                } else {
                    Ok(())
                }
            }
            Op::Unref { who, key } => self.set(who, key, None),
            Op::Unpin { nth } => {
                if nth < self.pins.len() {
                    drop(self.pins.remove(nth));
                }
                Ok(())
            }
            Op::UnpinAll => {
                self.pins.clear();
                Ok(())
            }
            Op::Flush { who } => self.store(who).flush(),
            Op::Reopen { who } | Op::Kill { who } if self.collector == Some(who) => Ok(()),
            Op::Reopen { who } => {
                if let Some((_, store)) = &self.stores[who] {
                    store.close()?;
                }
                self.forget(who);
                Ok(())
            }
            Op::Kill { who } => {
                if let Some((process, _)) = &self.stores[who] {
                    process.kill();
                }
                self.forget(who);
                Ok(())
            }
        }
    }

    pub fn try_collect(&mut self, who: usize, plan: Vec<Vec<Op>>) -> Result<Collected> {
        let store = self.store(who);
        self.collector = Some(who);
        let options = CollectOptions {
            dead_share: 0.0,
            patience: Duration::ZERO,
            ..CollectOptions::default()
        };
        let mut mark = Roots {
            world: self,
            store: Arc::clone(&store),
            plan: plan.into_iter(),
        };
        let collected = store.collect(&mut mark, &options);
        self.collector = None;
        collected
    }

    pub fn collect(&mut self, who: usize, plan: Vec<Vec<Op>>) -> std::result::Result<Collected, String> {
        self.try_collect(who, plan)
            .map_err(|error| format!("collect: {error:?}"))
    }

    /// Takes over what refs are, where the outcome of a change is not known.
    pub fn reread(&mut self) {
        let (_process, store) = Driver::open(&self.disk).unwrap();
        for key in 0..4u8 {
            let value = store.refs().get(&[b'b', b'/', b'a' + key]).unwrap();
            match value.and_then(|value| (0..BLOBS).find(|blob| id(*blob).0[..] == value[..])) {
                Some(blob) => self.refs.insert(key, blob),
                None => self.refs.remove(&key),
            };
        }
    }

    /// Everything that lives is there, for whoever asks.
    pub fn check(&self) -> std::result::Result<(), String> {
        for who in 0..2 {
            let Some((_, store)) = &self.stores[who] else { continue };
            self.check_in(store).map_err(|error| format!("in {who}: {error}"))?;
        }
        let (_process, store) = Driver::open(&self.disk).map_err(|error| format!("does not open: {error}"))?;
        self.check_in(&store).map_err(|error| format!("in a new one: {error}"))
    }

    fn check_in(&self, store: &FileStore) -> std::result::Result<(), String> {
        for blob in self.lives_still() {
            match store.get(kind(blob), &id(blob)) {
                Ok(Some(found)) if found == content(blob) => {}
                other => return Err(format!("{blob}, which lives, is {other:?}")),
            }
        }
        for key in 0..4u8 {
            let found = store
                .refs()
                .get(&[b'b', b'/', b'a' + key])
                .map_err(|error| error.to_string())?;
            let expected = self.refs.get(&key).map(|blob| id(*blob).0.to_vec());
            if found.as_deref() != expected.as_deref() {
                return Err(format!("ref {key} is {found:?}"));
            }
        }
        let mut damage = store.stats().map_err(|error| error.to_string())?.damage;
        damage.retain(|place| !(self.lost_power && place.file == DamagedFile::RefLog));
        if damage.is_empty() {
            Ok(())
        } else {
            Err(format!("{damage:?}"))
        }
    }

    /// After a power loss: each ref has a value that it had at some time, and what it names is there. The model takes it over.
    pub fn check_fallen_back(&mut self) -> std::result::Result<(), String> {
        let store = self.store(0);
        for (key, values) in &self.history {
            let found = store
                .refs()
                .get(&[b'b', b'/', b'a' + key])
                .map_err(|error| error.to_string())?;
            let Some(found) = found else {
                return Err(format!("ref {key} is gone"));
            };
            let Some(blob) = values.iter().find(|blob| id(**blob).0[..] == found[..]) else {
                return Err(format!("ref {key} is {found:?}"));
            };
            self.refs.insert(*key, *blob);
            match store.get(kind(*blob), &id(*blob)) {
                Ok(Some(bytes)) if bytes == content(*blob) => {}
                other => return Err(format!("ref {key} names {blob}, which is {other:?}")),
            }
        }
        Ok(())
    }

    /// A collection by a new process, once everybody has closed the store, leaves exactly what refs name.
    pub fn check_exact(&mut self) -> std::result::Result<(), String> {
        self.held = [None, None];
        self.pins.clear();
        for who in 0..2 {
            self.run(Op::Reopen { who });
        }
        let collected = self.collect(0, Vec::new())?;
        if let Some(why) = collected.gave_up {
            return Err(format!("gave up: {why}"));
        }
        self.check()?;
        let store = self.store(0);
        let stats = store.stats().map_err(|error| error.to_string())?;
        let live: u64 = self.lives_still().into_iter().map(record_bytes).sum();
        if stats.bytes_stored != live + 64 * stats.segments || collected.live_bytes != live {
            return Err(format!("{live} bytes live, but {stats:?}, {collected:?}"));
        }
        let left: usize = Kind::ALL.iter().map(|kind| store.ids(*kind).unwrap().len()).sum();
        if left != self.lives_still().len() {
            return Err(format!("{left} objects"));
        }
        Ok(())
    }

    /// Files that nobody needs once all have closed the store.
    pub fn leftovers(&mut self) -> Vec<String> {
        for who in 0..2 {
            self.run(Op::Reopen { who });
        }
        let process = self.disk.process();
        let mut left = process.list(Path::new("/work/store/sessions")).unwrap_or_default();
        let segments = process.list(Path::new("/work/store/segments")).unwrap();
        left.extend(segments.into_iter().filter(|name| {
            ![".seg", ".idx", ".mix", "merging"]
                .iter()
                .any(|end| name.ends_with(end))
        }));
        left
    }
}
