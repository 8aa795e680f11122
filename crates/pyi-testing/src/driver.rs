//! Runs steps on a store of a simulated disk and notes in a model what was acknowledged. Two processes take turns.

use std::path::Path;
use std::sync::Arc;

use pyi_cas::{Batch, Error, FileStore, Guard, Id, Kind, ObjectStore, OpenOptions, RefOutcome, RefTransaction, Result};

use crate::disk::Disk;
use crate::history::Step;
use crate::model::{Event, Model, Outcome};
use crate::process::Process;
use crate::rng::Rng;

/// Where the store lives on the disk.
const STORE: &str = "/work/store";

/// Two writers and their model.
#[derive(Debug)]
pub struct Driver {
    disk: Disk,
    /// What happened. The disk's mark is always its length while an event runs, less one.
    pub model: Model,
    /// Process and store of each writer; opened by its first step.
    writers: [Option<(Process, FileStore)>; 2],
    last: Option<Id>,
    rng: Rng,
}

impl Driver {
    /// A driver; nothing is opened yet.
    pub fn new(disk: &Disk, seed: u64) -> Driver {
        Driver {
            disk: disk.clone(),
            model: Model::default(),
            writers: [None, None],
            last: None,
            rng: Rng::new(seed),
        }
    }

    /// A driver that goes on after a death or a power loss with what is known since.
    pub fn resume(disk: &Disk, model: Model, seed: u64) -> Driver {
        Driver {
            model,
            ..Driver::new(disk, seed)
        }
    }

    /// Limits so small that segments are sealed and logs rotated all the time; everything happens in order.
    pub fn options() -> OpenOptions {
        OpenOptions {
            create: true,
            read_only: false,
            segment_limit_bytes: 4_000,
            ref_log_limit_bytes: 700,
            write_ahead_bytes: 0,
            page_ahead_bytes: 512,
            background_seal: false,
        }
    }

    /// Opens the store in a new process. Errors: those of [`FileStore::open`].
    pub fn open(disk: &Disk) -> Result<(Process, FileStore)> {
        let process = disk.process();
        let store = Driver::open_in(&process)?;
        Ok((process, store))
    }

    /// Opens the store in a process. Errors: those of [`FileStore::open`].
    pub fn open_in(process: &Process) -> Result<FileStore> {
        FileStore::open(Arc::new(process.clone()), Path::new(STORE), Driver::options())
    }

    /// The number of the process of a writer, once it has opened the store.
    pub fn process_id(&self, who: usize) -> Option<u64> {
        self.writers[who].as_ref().map(|(process, _)| process.id())
    }

    /// Whether the last event has not ended, as its process died in it.
    pub fn in_event(&self) -> bool {
        self.model
            .events()
            .last()
            .is_some_and(|(_, outcome)| *outcome == Outcome::Open)
    }

    /// The open store of a writer.
    pub fn store(&self, who: usize) -> Option<&FileStore> {
        self.writers[who].as_ref().map(|(_, store)| store)
    }

    /// Runs a step. Errors: what the store said; the model knows whether it may have happened.
    pub fn run(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Commit { who, blobs, bytes } => self.commit(who, blobs, bytes),
            Step::Move { who, key } => self.move_ref(who, key),
            Step::Flush { who } => self.event(Event::Flush, who, |store| store.flush()),
            Step::Reopen { who } => {
                if let Some((_, store)) = self.writers[who].take() {
                    store.close()?;
                }
                self.event(Event::Other, who, |_| Ok(()))
            }
            Step::Kill { who } => {
                if let Some((process, _store)) = self.writers[who].take() {
                    process.kill();
                }
                self.event(Event::Other, who, |_| Ok(()))
            }
        }
    }

    /// Runs `work` on the store of a writer as one event of the model.
    fn event(&mut self, event: Event, who: usize, work: impl FnOnce(&FileStore) -> Result<()>) -> Result<()> {
        self.disk.set_mark(self.model.len() as u64);
        self.model.begin(event);
        if self.writers[who].is_none() {
            let opened = Driver::open(&self.disk).inspect_err(|_| self.model.end(Outcome::Refused))?;
            self.writers[who] = Some(opened);
        }
        let Some((_, store)) = &self.writers[who] else {
            return Ok(());
        };
        let result = work(store);
        self.model.end(match &result {
            Ok(()) => Outcome::Done,
            Err(Error::OutcomeUnknown { .. }) => Outcome::Open,
            Err(_) => Outcome::Refused,
        });
        self.disk.set_mark(self.model.len() as u64);
        result
    }

    fn commit(&mut self, who: usize, blobs: usize, bytes: usize) -> Result<()> {
        let mut batch = Batch::new();
        let mut objects = Vec::new();
        for _ in 0..blobs {
            let mut content = vec![0; bytes + 8];
            self.rng.fill(&mut content);
            objects.push((batch.put_new(Kind::Blob, &content)?, content));
        }
        let last = objects.last().map(|(id, _)| *id);
        self.event(Event::Commit(objects), who, |store| {
            store.commit(&mut batch).map(|_| ())
        })?;
        self.last = last;
        Ok(())
    }

    fn move_ref(&mut self, who: usize, key: u8) -> Result<()> {
        let Some(id) = self.last else { return Ok(()) };
        let (name, value) = (vec![b'b', b'/', b'a' + key], id.0.to_vec());
        self.event(Event::Move(name.clone(), value.clone()), who, |store| {
            // Whoever names an object has seen it, wherever it stands.
            store.contains(&id)?;
            let before = store.refs().get(&name)?;
            let transaction = RefTransaction {
                guards: vec![(
                    name.clone(),
                    before.map_or(Guard::Absent, |value| Guard::Equals(value.to_vec())),
                )],
                puts: vec![(name.clone(), Some(value))],
                message: "a step of a history".into(),
                ..RefTransaction::default()
            };
            match store.refs().commit(&transaction)? {
                RefOutcome::Done => Ok(()),
                RefOutcome::Conflict { .. } => Err(Error::Conflict {
                    what: "a ref that only this history moves".into(),
                }),
            }
        })
    }
}
