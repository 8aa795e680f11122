//! Two processes with the repository open on one simulated disk, and what must be there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyi_cas::FileStore;
use pyi_engine::{
    Durability, ErrorKind, Expect, GcOptions, Id, Repository, RepositoryOptions, Retention, ScrubOptions, StateValue,
    Value, Version, Workspace,
};
use pyi_testing::{Disk, Driver, Fault, Process, Rng, Subsets, until_killed};

use super::model::{Fate, Key, Model, NOBODY, Place, merged};
use super::steps::{Collection, Death, Op, Step, Work};
use super::view::{View, content, number};

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
    let process = disk.process();
    let store = FileStore::open(Arc::new(process.clone()), Path::new(STORE), Driver::options())
        .map_err(|error| format!("does not open: {error:?}"))?;
    let options = RepositoryOptions {
        cache_bytes: 1 << 18,
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
        let opened = open(&self.disk)?;
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
        let mut call = 0;
        self.disk.set_faults(move |there| {
            if Some(there.process) == living {
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

    fn op(&mut self, op: &Op) -> Checked<()> {
        let done = self.op_under_way(op);
        self.coming.clear();
        done
    }

    fn op_under_way(&mut self, op: &Op) -> Checked<()> {
        if let Some(slot) = op.slot() {
            if self.slots.is_empty() {
                let who = slot % 2;
                self.op_under_way(&Op::Start { who, branch: 0 })?;
            }
            return self.slot_op(op, slot % self.slots.len());
        }
        let (Some(who), full) = (op.who(), self.slots.len() >= SLOTS) else {
            return Ok(());
        };
        let repository = self.repository(who)?;
        match op {
            Op::Start { branch, .. } if !full => match self.model.refs.get(&Key::Branch(*branch)) {
                Some(place) => {
                    let head = place.head;
                    let workspace = repository.workspace(&format!("b{branch}")).map_err(told)?;
                    self.add(who, workspace, self.model.saved[head].view.clone(), head, None)
                }
                None => {
                    let workspace = repository.workspace("main").map_err(told)?;
                    let head = self.model.save(who, *workspace.head().id(), View::default(), &[]);
                    self.add(who, workspace, View::default(), head, None)
                }
            },
            Op::At { nth, .. } if !full => {
                let Some(at) = self.pick(*nth) else { return Ok(()) };
                let (id, view) = (self.model.saved[at].id, self.model.saved[at].view.clone());
                match self.found(at, repository.workspace_at(id))? {
                    Some(workspace) => self.add(who, workspace, view, at, None),
                    None => Ok(()),
                }
            }
            Op::Open { name, .. } => self.open_name(&repository, who, *name),
            Op::DropName { name, .. } => {
                let key = Key::Name(*name);
                self.coming = vec![(key, Coming::Place(None))];
                let dropped = repository.drop_name(&format!("n{name}"));
                if !self.model.refs.contains_key(&key) {
                    return refused(dropped, ErrorKind::NotFound);
                }
                dropped.map_err(told)?;
                self.model.set(who, key, None);
                self.slots.retain(|slot| slot.name != Some(*name));
                self.owner.remove(name);
                Ok(())
            }
            Op::DeleteBranch { branch, .. } => {
                let key = Key::Branch(*branch);
                self.coming = vec![(key, Coming::Place(None))];
                let deleted = repository.delete_branch(&format!("b{branch}"), None);
                if !self.model.refs.contains_key(&key) {
                    return refused(deleted, ErrorKind::NotFound);
                }
                deleted.map_err(told)?;
                self.model.set(who, key, None);
                Ok(())
            }
            Op::Keep { nth, .. } => {
                let Some(at) = self.pick(*nth) else { return Ok(()) };
                self.coming = vec![(Key::Kept(at), Coming::Place(Some(Place::at(at))))];
                let kept = repository.keep(&self.model.saved[at].id);
                if self.found(at, kept)?.is_some() {
                    self.model.set(who, Key::Kept(at), Some(Place::at(at)));
                }
                Ok(())
            }
            Op::Unkeep { nth, .. } => {
                let Some(at) = self.pick(*nth) else { return Ok(()) };
                self.coming = vec![(Key::Kept(at), Coming::Place(None))];
                let given_up = repository.unkeep(&self.model.saved[at].id);
                if !self.model.refs.contains_key(&Key::Kept(at)) {
                    return refused(given_up, ErrorKind::NotFound);
                }
                given_up.map_err(told)?;
                self.model.set(who, Key::Kept(at), None);
                Ok(())
            }
            Op::Scrub { .. } => {
                let report = repository.scrub(&ScrubOptions::default()).map_err(told)?;
                let (faults, damaged, affected) = (&report.faults, &report.damaged, &report.affected);
                let names = [
                    &affected.branches,
                    &affected.workspaces,
                    &affected.kept,
                    &affected.histories,
                ];
                // What a dead process did not finish looks like damage until the next writer cuts it off; no name leads there.
                let is_clean = faults.is_empty() && damaged.is_empty();
                if is_clean || self.died && names.iter().all(|names| names.is_empty()) {
                    return Ok(());
                }
                Err(format!("{faults:?} {damaged:?}"))
            }
            Op::Flush { .. } => {
                repository.flush().map_err(told)?;
                self.model.flushed();
                Ok(())
            }
            Op::Reopen { .. } if self.collecting != Some(who) => {
                repository.close().map_err(told)?;
                self.bury(who);
                drop(repository);
                self.repository(who).map(drop)
            }
            Op::Kill { .. } if self.collecting != Some(who) => {
                if let Some((process, _)) = &self.repositories[who] {
                    process.kill();
                }
                self.died = true;
                drop(repository);
                self.bury(who);
                self.check()
            }
            _ => Ok(()),
        }
    }

    fn open_name(&mut self, repository: &Repository, who: usize, name: u8) -> Checked<()> {
        let owner = self.owner.get(&name).copied();
        let own = self
            .slots
            .iter()
            .position(|slot| Some(slot.uid) == owner && slot.who == who);
        if own.is_none() && self.slots.len() >= SLOTS {
            return Ok(());
        }
        self.opening = Some(name);
        let opened = repository.open_workspace(&format!("n{name}"));
        self.opening = None;
        let Some(place) = self.model.refs.get(&Key::Name(name)).cloned() else {
            return refused(opened, ErrorKind::NotFound);
        };
        let opened = opened.map_err(told)?;
        if let Some(own) = own {
            let slot = &self.slots[own];
            return match Arc::ptr_eq(&slot.workspace, &opened) {
                true => same("own workspace", &View::of(&opened)?, &slot.view),
                false => Err("another handle than the one that owns the name".to_owned()),
            };
        }
        let mut view = self.model.saved[place.head].view.clone();
        view.journal = place.journal.unwrap_or(view.journal);
        self.add(who, opened, view, place.head, Some(name))
    }

    fn slot_op(&mut self, op: &Op, at: usize) -> Checked<()> {
        let number_now = self.number();
        let slot = &mut self.slots[at];
        let (who, head, name) = (slot.who, slot.head, slot.name);
        let workspace = slot.workspace.clone();
        let is_lost = name.is_some_and(|name| self.owner.get(&name) != Some(&slot.uid));
        if is_lost && op.changes() {
            *self.count.entry("lost leases").or_default() += 1;
            // Whatever it tries, somebody else owns the name.
            let kind = ErrorKind::LeaseLost;
            let told = match op {
                Op::Tail { .. } => refused(workspace.flush_journal(), kind),
                Op::Checkpoint { .. } => refused(workspace.checkpoint("", Value::Null), kind),
                Op::Publish { branch, .. } => refused(workspace.publish(&format!("b{branch}"), Expect::Absent), kind),
                Op::Restore { .. } => refused(workspace.restore(workspace.head().id()), kind),
                _ => refused(workspace.write(b"lost", content(0), None), kind),
            };
            self.close(at);
            return told;
        }
        match op {
            Op::Write { path, bytes, .. } => {
                let number = number(*path as u64, *bytes, number_now);
                workspace
                    .write(PATHS[*path].as_bytes(), content(number), None)
                    .map_err(told)?;
                slot.view.files.insert(PATHS[*path].to_owned(), number);
            }
            Op::Remove { path, .. } => {
                let removed = workspace.remove(PATHS[*path].as_bytes());
                if slot.view.files.remove(PATHS[*path]).is_none() {
                    return refused(removed, ErrorKind::NotFound);
                }
                removed.map_err(told)?;
            }
            Op::Rename { path, to, .. } => {
                let renamed = workspace.rename(PATHS[*path].as_bytes(), PATHS[*to].as_bytes());
                let Some(number) = slot.view.files.remove(PATHS[*path]) else {
                    return refused(renamed, ErrorKind::NotFound);
                };
                renamed.map_err(told)?;
                slot.view.files.insert(PATHS[*to].to_owned(), number);
            }
            Op::Set { key, .. } => {
                let value = StateValue::Value(Value::Int(i128::from(number_now)));
                workspace.state_set(&format!("k{key}"), &value).map_err(told)?;
                slot.view.state.insert(format!("k{key}"), number_now);
            }
            Op::Unset { key, .. } => {
                let removed = workspace.state_remove(&format!("k{key}")).map_err(told)?;
                if removed != slot.view.state.remove(&format!("k{key}")).is_some() {
                    return Err(format!("removed: {removed}"));
                }
            }
            Op::Event { .. } => {
                let data = Value::Map(Vec::new());
                workspace.journal_append(&number_now.to_string(), data).map_err(told)?;
                slot.view.journal.push(number_now);
            }
            Op::Tail { .. } => {
                let journal = Some(slot.view.journal.clone()).filter(|journal| !journal.is_empty());
                let place = Place { head, journal };
                let key = name.map(Key::Name);
                self.coming = key
                    .map(|key| (key, Coming::Place(Some(place.clone()))))
                    .into_iter()
                    .collect();
                workspace.flush_journal().map_err(told)?;
                if let (Some(key), true) = (key, place.journal.is_some()) {
                    self.model.set(who, key, Some(place));
                }
            }
            Op::Checkpoint { power, .. } => {
                let view = slot.view.clone();
                let key = name.map(Key::Name);
                self.coming = key.map(|key| (key, Coming::New(view.clone()))).into_iter().collect();
                let class = if *power { Durability::Power } else { Durability::Process };
                let made = workspace.checkpoint_as("", Value::Null, class).map_err(told)?;
                let parents = made.root().parents.clone();
                if parents.first() != Some(&self.model.saved[head].id) || workspace.is_dirty() {
                    return Err(format!("parents {parents:?}"));
                }
                let made = self.model.save(who, *made.id(), view, &parents);
                self.note("checkpoints");
                self.slots[at].head = made;
                if let Some(key) = key {
                    self.model.set(who, key, Some(Place::at(made)));
                }
                if *power {
                    self.model.flushed_by(who, made);
                }
            }
            Op::Fork { .. } if self.slots.len() < SLOTS => {
                let (fork, view) = (workspace.fork().map_err(told)?, self.slots[at].view.clone());
                self.note("forks");
                return self.add(who, fork, view, head, None);
            }
            Op::ForkNamed { name, .. } if self.slots.len() < SLOTS => {
                let key = Key::Name(*name);
                self.coming = vec![(key, Coming::Place(Some(Place::at(head))))];
                let forked = workspace.fork_named(&format!("n{name}"));
                if self.model.refs.contains_key(&key) {
                    return refused(forked, ErrorKind::Conflict);
                }
                let (forked, view) = (forked.map_err(told)?, self.slots[at].view.clone());
                self.model.set(who, key, Some(Place::at(head)));
                self.note("named forks");
                return self.add(who, forked, view, head, Some(*name));
            }
            Op::Restore { nth, .. } => {
                let Some(to) = self.pick(*nth) else { return Ok(()) };
                let key = name.map(Key::Name);
                self.coming = key
                    .map(|key| (key, Coming::Place(Some(Place::at(to)))))
                    .into_iter()
                    .collect();
                let restored = workspace.restore(&self.model.saved[to].id);
                if self.found(to, restored)?.is_some() {
                    self.note("restores");
                    self.slots[at].head = to;
                    self.slots[at].view = self.model.saved[to].view.clone();
                    if let Some(key) = key {
                        self.model.set(who, key, Some(Place::at(to)));
                    }
                }
            }
            Op::MergeWorkspace { other, .. } => {
                let other = &self.slots[other % self.slots.len()];
                if other.who != who {
                    return Ok(());
                }
                let (theirs, theirs_head) = (other.view.clone(), other.head);
                let version = Version::Workspace(other.workspace.clone());
                self.merge(at, &version, &theirs, theirs_head, None)?;
            }
            Op::MergeCheckpoint { nth, base, .. } => {
                let Some(from) = self.pick(*nth) else { return Ok(()) };
                let base = base.and_then(|base| self.pick(base));
                let theirs = self.model.saved[from].view.clone();
                let version = Version::Id(self.model.saved[from].id);
                self.merge(at, &version, &theirs, from, base)?;
            }
            Op::Publish { branch, wrong, .. } => self.publish(at, *branch, *wrong)?,
            Op::Close { .. } => {
                self.close(at);
                return Ok(());
            }
            _ => return Ok(()),
        }
        let slot = &self.slots[at];
        same("afterwards", &View::of(&slot.workspace)?, &slot.view)
    }

    fn merge(
        &mut self,
        at: usize,
        version: &Version,
        theirs: &View,
        theirs_head: usize,
        base: Option<usize>,
    ) -> Checked<()> {
        let slot = &self.slots[at];
        let ancestor = self.model.ancestor(slot.head, theirs_head);
        // Without an ancestor that is known for certain the base has to be named.
        let named = base.or(ancestor.is_none().then_some(slot.head));
        let Some(base) = named.or(ancestor) else { return Ok(()) };
        let base_version = named.map(|named| Version::Id(self.model.saved[named].id));
        let expected = merged(&self.model.saved[base].view, &slot.view, theirs);
        let conflicts = match slot.workspace.merge(version, base_version.as_ref()) {
            Ok(conflicts) => conflicts,
            Err(error) => {
                let perhaps = |at: usize| self.model.saved[at].fate == Fate::Perhaps;
                let missing = error.kind() == ErrorKind::NotFound && (perhaps(base) || perhaps(theirs_head));
                return if missing { Ok(()) } else { Err(told(error)) };
            }
        };
        match expected {
            Some(view) if conflicts.is_empty() => {
                let is_news = self.slots[at].view != view;
                self.note(if is_news { "merges with changes" } else { "merges" });
                self.slots[at].view = view;
                Ok(())
            }
            None if !conflicts.is_empty() => {
                self.note("merges with conflicts");
                Ok(())
            }
            expected => Err(format!("expected {expected:?}, conflicts {conflicts:?}")),
        }
    }

    fn publish(&mut self, at: usize, branch: u8, wrong: bool) -> Checked<()> {
        let (key, slot) = (Key::Branch(branch), &self.slots[at]);
        let (who, head, name, is_dirty) = (slot.who, slot.head, slot.name, slot.workspace.is_dirty());
        let now = self.model.refs.get(&key).map(|place| self.model.saved[place.head].id);
        let expect = match (now, wrong) {
            (Some(id), false) => Expect::Is(id),
            (None, false) | (Some(_), true) => Expect::Absent,
            (None, true) => Expect::Is(self.model.saved[head].id),
        };
        let keys: Vec<Key> = [Some(key), name.map(Key::Name)].into_iter().flatten().collect();
        self.coming = (keys.iter())
            .map(|key| (*key, Coming::Place(Some(Place::at(head)))))
            .collect();
        let published = slot.workspace.publish(&format!("b{branch}"), expect);
        if is_dirty || wrong {
            return refused(published, ErrorKind::Conflict);
        }
        published.map_err(told)?;
        self.note("publishes");
        for key in keys {
            self.model.set(who, key, Some(Place::at(head)));
        }
        Ok(())
    }
}
