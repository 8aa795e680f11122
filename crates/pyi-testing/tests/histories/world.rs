//! Two processes with the repository open on one simulated disk, and what must be there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyi_cas::FileStore;
use pyi_engine::{ErrorKind, GcOptions, Id, Repository, RepositoryOptions, Retention, ScrubOptions, Workspace};
use pyi_testing::{Disk, Driver, Fault, Process, Rng, Subsets, until_killed};

use super::model::{Fate, Key, Model, NOBODY, Place};
use super::steps::{Collection, Death, Step, Work};
use super::view::View;

#[path = "acting.rs"]
mod acting;

/// There is nothing of that name on a real disk.
const STORE: &str = "/simulated/store";
const PATHS: [&str; 6] = ["a", "b", "d/a", "d/b", "d/e/a", "f"];
const SLOTS: usize = 6;

pub type Checked<T> = Result<T, String>;

/// An open workspace and what it holds.
struct Slot {
    uid: u64,
    who: usize,
    workspace: Arc<Workspace>,
    view: View,
    head: usize,
    name: Option<u8>,
}

/// What a change that is under way makes of a key.
#[derive(Clone, Debug)]
enum Coming {
    Place(Option<Place>),
    /// A checkpoint of which nobody knows the id yet.
    New(View),
}

/// Everything.
pub struct World {
    disk: Disk,
    repositories: [Option<(Process, Repository)>; 2],
    slots: Vec<Slot>,
    /// Which slot owns a name.
    owner: BTreeMap<u8, u64>,
    pub model: Model,
    coming: Vec<(Key, Coming)>,
    /// The name that is being opened: its lease moves.
    opening: Option<u8>,
    /// Who does not die in this step, and the process that it is at the moment.
    spared: (Option<usize>, Arc<AtomicU64>),
    /// Whose collection runs.
    collecting: Option<usize>,
    next: u64,
    /// Somebody died at some time.
    died: bool,
    /// How often what happened, to see that histories are about something.
    pub count: BTreeMap<&'static str, u64>,
}

fn told(error: pyi_engine::Error) -> String {
    format!("{:?}: {error}", error.kind())
}

/// The error must be of that kind.
fn refused<T>(result: pyi_engine::Result<T>, kind: ErrorKind) -> Checked<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{}, not {kind:?}", told(error))),
        Ok(_) => Err(format!("done, not {kind:?}")),
    }
}

fn same(what: &str, found: &View, expected: &View) -> Checked<()> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}"))
}

fn open(disk: &Disk) -> Checked<(Process, Repository)> {
    open_as(disk.process())
}

fn open_as(process: Process) -> Checked<(Process, Repository)> {
    let store = FileStore::open(Arc::new(process.clone()), Path::new(STORE), Driver::options())
        .map_err(|error| format!("does not open: {error:?}"))?;
    let options = RepositoryOptions {
        cache_bytes: 1 << 18,
        trees_bytes: Some(1 << 17),
        ..RepositoryOptions::default()
    };
    Ok((process, Repository::over(store, &options).map_err(told)?))
}

fn key_of(key: Key, model: &Model) -> String {
    match key {
        Key::Branch(branch) => format!("branch {branch}"),
        Key::Name(name) => format!("name {name}"),
        Key::Kept(at) => format!("kept {}", model.saved[at].id),
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            disk: Disk::new(seed),
            repositories: [None, None],
            slots: Vec::new(),
            owner: BTreeMap::new(),
            model: Model::default(),
            coming: Vec::new(),
            opening: None,
            spared: (None, Arc::default()),
            collecting: None,
            next: 0,
            died: false,
            count: BTreeMap::new(),
        }
    }

    fn repository(&mut self, who: usize) -> Checked<Repository> {
        if let Some((_, repository)) = &self.repositories[who] {
            return Ok(repository.clone());
        }
        let process = self.disk.process();
        if self.spared.0 == Some(who) {
            // It was opened anew while the other one is to die.
            self.spared.1.store(process.id(), Ordering::SeqCst);
        }
        let opened = open_as(process)?;
        let repository = opened.1.clone();
        self.repositories[who] = Some(opened);
        // Nothing stays but what is named.
        let bare = Retention {
            age: Duration::ZERO,
            heads: 0,
            ..Retention::default()
        };
        repository.set_retention(&bare).map_err(told)?;
        Ok(repository)
    }

    fn note(&mut self, what: &'static str) {
        *self.count.entry(what).or_default() += 1;
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Forgets a process with all that it has open.
    fn bury(&mut self, who: usize) {
        self.slots.retain(|slot| slot.who != who);
        self.owner
            .retain(|_, uid| self.slots.iter().any(|slot| slot.uid == *uid));
        self.repositories[who] = None;
        self.model.gone(who);
    }

    fn close(&mut self, at: usize) {
        let slot = self.slots.swap_remove(at);
        self.owner.retain(|_, uid| *uid != slot.uid);
    }

    fn add(&mut self, who: usize, workspace: Arc<Workspace>, view: View, head: usize, name: Option<u8>) -> Checked<()> {
        same("opened", &View::of(&workspace)?, &view)?;
        let uid = self.number();
        if let Some(name) = name {
            self.owner.insert(name, uid);
        }
        self.slots.push(Slot {
            uid,
            who,
            workspace,
            view,
            head,
            name,
        });
        Ok(())
    }

    /// A checkpoint was found by its id, or was not.
    fn found<T>(&mut self, at: usize, result: pyi_engine::Result<T>) -> Checked<Option<T>> {
        let saved = &mut self.model.saved[at];
        match result {
            Ok(found) => {
                if saved.fate == Fate::Perhaps {
                    // What a collection had taken of it somebody may have stored again, and not flushed.
                    saved.durable = false;
                }
                saved.fate = Fate::Sure;
                Ok(Some(found))
            }
            Err(error) if error.kind() == ErrorKind::NotFound && saved.fate == Fate::Perhaps => {
                self.note("checkpoints that were gone");
                Ok(None)
            }
            Err(error) => Err(format!("checkpoint {} ({:?}): {}", saved.id, saved.fate, told(error))),
        }
    }

    fn pick(&self, nth: usize) -> Option<usize> {
        let at = nth.checked_rem(self.model.saved.len())?;
        (self.model.saved[at].fate != Fate::Unflushed).then_some(at)
    }

    /// What everybody's workspaces and all names lead to.
    fn reached(&self) -> std::collections::BTreeSet<usize> {
        self.model.reached(self.slots.iter().map(|slot| slot.head))
    }

    /// A step, with a death in it if there is to be one.
    pub fn run(&mut self, step: &Step) -> Checked<()> {
        let Some(death) = step.death else {
            return self.work(&step.work);
        };
        let who = match &step.work {
            Work::Collect(collection) => Some(collection.who),
            Work::Op(op) => op.who().or_else(|| {
                let slot = op.slot()?;
                let there = self.slots.get(slot.checked_rem(self.slots.len()).unwrap_or(0));
                Some(there.map_or(slot % 2, |there| there.who))
            }),
        };
        let Some(who) = who else { return Ok(()) };
        self.repository(1 - who)?;
        let living = self.repositories[1 - who].as_ref().map(|(process, _)| process.id());
        self.spared = (Some(1 - who), Arc::new(AtomicU64::new(living.unwrap_or(u64::MAX))));
        let (mut call, spared) = (0, self.spared.1.clone());
        self.disk.set_faults(move |there| {
            if there.process == spared.load(Ordering::SeqCst) {
                return Fault::None;
            }
            call += 1;
            match (call > death.call, death.half) {
                (false, _) => Fault::None,
                (true, false) => Fault::Kill,
                (true, true) => Fault::KillHalf,
            }
        });
        let ended = until_killed(|| self.work(&step.work));
        self.disk.clear_faults();
        self.spared.0 = None;
        self.collecting = None;
        match ended {
            Some(ended) => {
                ended?;
                if death.power.is_none() {
                    return Ok(());
                }
            }
            None => {
                if let Some((process, _)) = &self.repositories[who] {
                    process.kill();
                }
                self.bury(who);
                self.note("deaths in a call");
            }
        }
        self.settle(death)
    }

    fn work(&mut self, work: &Work) -> Checked<()> {
        match work {
            Work::Op(op) => self.op(op).map_err(|error| format!("{op:?}: {error}")),
            Work::Collect(collection) => self.collect(collection),
        }
    }

    /// After a death, or a loss of power: finds out what became of what was under way, and compares all else.
    fn settle(&mut self, death: Death) -> Checked<()> {
        self.died = true;
        if let Some(name) = self.opening.take() {
            // Whether the owner until now is the owner still, nobody knows.
            self.slots.retain(|slot| slot.name != Some(name));
            self.owner.remove(&name);
        }
        if let Some(seed) = death.power {
            self.note("power losses");
            for who in 0..2 {
                self.bury(who);
            }
            let snapshot = self.disk.snapshot();
            let choose = Subsets {
                all_up_to: 0,
                samples: 3,
            };
            let mut rng = Rng::new(seed);
            let fates = choose.fates(snapshot.changes(), &mut rng);
            self.disk = snapshot.crash(&fates[rng.below(fates.len() as u64) as usize]);
        }
        let (_process, fresh) = open(&self.disk)?;
        let mut found: BTreeMap<Key, Place> = BTreeMap::new();
        for (name, id) in fresh.branches().map_err(told)? {
            let key = Key::Branch(name[1..].parse().map_err(|_| "a strange branch")?);
            found.insert(key, Place::at(self.recognise(&fresh, key, &id)?));
        }
        for name in fresh.workspaces().map_err(told)? {
            let key = Key::Name(name[1..].parse().map_err(|_| "a strange name")?);
            let workspace = fresh.view_workspace(&name).map_err(told)?;
            let head = self.recognise(&fresh, key, workspace.head().id())?;
            let view = View::of(&workspace).map_err(|error| format!("name {name}: {error}"))?;
            let journal = (workspace.is_dirty()).then_some(view.journal);
            found.insert(key, Place { head, journal });
        }
        for id in fresh.kept().map_err(told)? {
            let at = self.model.known(&id).ok_or("a strange checkpoint is kept")?;
            found.insert(Key::Kept(at), Place::at(at));
        }
        let coming = std::mem::take(&mut self.coming);
        let (mut old, mut new) = (0, 0);
        for key in self.model.keys().into_iter().chain(found.keys().copied()) {
            let there = found.get(&key);
            let mut allowed = match death.power {
                Some(_) => self.model.allowed(key),
                None => vec![self.model.refs.get(&key).cloned()],
            };
            let is_old = allowed.iter().any(|place| place.as_ref() == there);
            for (_, coming) in coming.iter().filter(|(coming, _)| *coming == key) {
                // A new checkpoint was recognised by its content.
                let is_new = match coming {
                    Coming::Place(place) => place.as_ref() == there,
                    Coming::New(view) => {
                        there.is_some_and(|place| place.journal.is_none() && self.model.saved[place.head].view == *view)
                    }
                };
                (old, new) = (
                    old + usize::from(is_old && !is_new),
                    new + usize::from(is_new && !is_old),
                );
                if is_new {
                    allowed.push(there.cloned());
                }
            }
            if !allowed.iter().any(|place| place.as_ref() == there) {
                let what = key_of(key, &self.model);
                return Err(format!(
                    "{what} is {there:?}, allowed {allowed:?}, under way {coming:?}"
                ));
            }
        }
        if death.power.is_none() && old > 0 && new > 0 {
            return Err(format!("half of {coming:?} is there: {found:?}"));
        }
        if death.power.is_some() {
            self.model.lost_power(found);
        } else {
            for key in self.model.keys().into_iter().chain(found.keys().copied()) {
                let place = found.get(&key).cloned();
                if self.model.refs.get(&key) != place.as_ref() {
                    self.model.set(NOBODY, key, place);
                }
            }
        }
        // Whose name was dropped has nothing to move any more.
        let refs = &self.model.refs;
        self.slots
            .retain(|slot| slot.name.is_none_or(|name| refs.contains_key(&Key::Name(name))));
        self.owner.retain(|name, _| refs.contains_key(&Key::Name(*name)));
        drop(fresh);
        self.check()
    }

    /// Which checkpoint a name leads to; one that was under way is taken note of.
    fn recognise(&mut self, fresh: &Repository, key: Key, id: &Id) -> Checked<usize> {
        if let Some(known) = self.model.known(id) {
            return Ok(known);
        }
        let workspace = fresh.workspace_at(*id).map_err(told)?;
        let view = View::of(&workspace)?;
        let under_way =
            |(coming, what): &(Key, Coming)| *coming == key && matches!(what, Coming::New(coming) if *coming == view);
        if !self.coming.iter().any(under_way) {
            let what = key_of(key, &self.model);
            return Err(format!("{what} leads to {id}, which nobody made: {view:?}"));
        }
        let parents = workspace.head().root().parents.clone();
        Ok(self.model.save(NOBODY, *id, view, &parents))
    }

    /// Everything is as it must be, for whoever asks.
    pub fn check(&mut self) -> Checked<()> {
        for slot in &self.slots {
            same("open workspace", &View::of(&slot.workspace)?, &slot.view)?;
        }
        let (_process, fresh) = open(&self.disk)?;
        let branches = fresh.branches().map_err(told)?;
        let names = fresh.workspaces().map_err(told)?;
        let kept = fresh.kept().map_err(told)?;
        if branches.len() + names.len() + kept.len() != self.model.refs.len() {
            return Err(format!("{branches:?} {names:?} {kept:?}, not {:?}", self.model.refs));
        }
        for (key, place) in &self.model.refs {
            let saved = &self.model.saved[place.head];
            let mut expected = saved.view.clone();
            let view = match key {
                Key::Branch(branch) => {
                    let id = branches.get(&format!("b{branch}"));
                    if id != Some(&saved.id) {
                        return Err(format!("branch {branch} is at {id:?}, not {}", saved.id));
                    }
                    View::of(&*fresh.workspace(&format!("b{branch}")).map_err(told)?)?
                }
                Key::Name(name) => {
                    expected.journal = place.journal.clone().unwrap_or(expected.journal);
                    View::of(&*fresh.view_workspace(&format!("n{name}")).map_err(told)?)?
                }
                Key::Kept(_) => View::of_checkpoint(&fresh, &saved.id)?,
            };
            same(&key_of(*key, &self.model), &view, &expected)?;
        }
        for at in 0..self.model.saved.len() {
            let saved = &self.model.saved[at];
            let (id, fate) = (saved.id, saved.fate);
            let found = fresh.workspace_at(id).map(|workspace| View::of(&workspace));
            match (found, fate) {
                (Ok(Ok(view)), _) => same(&format!("checkpoint {id}, {fate:?}"), &view, &saved.view)?,
                (Ok(Err(error)), Fate::Unflushed) if error.contains("Corrupt") => {}
                (Err(error), Fate::Unflushed) if error.kind() == ErrorKind::Corrupt => {}
                (Err(error), Fate::Perhaps | Fate::Unflushed) if error.kind() == ErrorKind::NotFound => {}
                (found, _) => {
                    let error = found.map_err(told).and_then(|found| found).err();
                    return Err(format!("checkpoint {at} {id}, {fate:?}: {error:?}"));
                }
            }
        }
        Ok(())
    }

    /// All close the store; a collection then leaves what names lead to and nothing else, and nothing is damaged.
    pub fn finish(&mut self) -> Checked<()> {
        self.check()?;
        for who in 0..2 {
            self.bury(who);
        }
        self.collect(&Collection {
            who: 0,
            compact: false,
            plan: Vec::new(),
        })?;
        self.check()?;
        let repository = self.repository(0)?;
        let scrubbed = repository.scrub(&ScrubOptions::default()).map_err(told)?;
        if !scrubbed.faults.is_empty() || !scrubbed.damaged.is_empty() {
            return Err(format!("scrub: {:?} {:?}", scrubbed.faults, scrubbed.damaged));
        }
        Ok(())
    }

    fn collect(&mut self, collection: &Collection) -> Checked<()> {
        let who = collection.who;
        let repository = self.repository(who)?;
        let reached = self.reached();
        self.model.collected(&reached);
        self.collecting = Some(who);
        let state = Mutex::new((&mut *self, collection.plan.iter(), Ok(())));
        let progress = |_: &'static str, _: f64| {
            let (world, plan, result) = &mut *state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for op in plan.next().into_iter().flatten() {
                if result.is_ok() {
                    *result = world
                        .op(op)
                        .map_err(|error| format!("in a collection, {op:?}: {error}"));
                }
            }
        };
        let collected = repository.gc(&GcOptions {
            budget_bytes: Some(1 << 40),
            compact: collection.compact,
            patience: Duration::ZERO,
            progress: Some(&progress),
        });
        let (_, _, result) = state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        result?;
        self.collecting = None;
        let report = collected.map_err(|error| format!("collection: {}", told(error)))?;
        if report.gave_up.is_some() {
            return Err(format!("{report:?}"));
        }
        self.note(if report.objects_removed > 0 {
            "collections that removed something"
        } else {
            "collections"
        });
        let reached = self.reached();
        self.model.collected(&reached);
        let all_closed = self.slots.is_empty() && self.repositories[1 - who].is_none();
        if all_closed && collection.plan.is_empty() {
            let segments = repository.stats().map_err(told)?.segments;
            // The header of one whose creator died is missing.
            if report.bytes_after > report.live_bytes + 64 * segments {
                return Err(format!("{report:?}, {segments} segments"));
            }
        }
        Ok(())
    }
}
