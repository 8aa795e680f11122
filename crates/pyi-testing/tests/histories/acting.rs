//! What the processes of a history do, each thing held against the model.

use std::sync::Arc;

use pyi_engine::{Durability, ErrorKind, Expect, Repository, ScrubOptions, Value, Version};

use super::super::model::{Fate, Key, Place, looks_for_moves, merged, merged_but_for};
use super::super::steps::Op;
use super::super::view::{View, content, number};
use super::{Checked, Coming, PATHS, SLOTS, World, refused, same, told};

impl World {
    /// Does one thing, and compares.
    pub(super) fn op(&mut self, op: &Op) -> Checked<()> {
        let done = self.op_under_way(op);
        self.coming.clear();
        self.opening = None;
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
                let value = Value::Int(i128::from(number_now));
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
        if looks_for_moves(&self.model.saved[base].view, &slot.view, theirs) {
            if conflicts.is_empty() {
                // State and journal are as the model has them; of the files, what was made of them is what has to stay.
                let found = View::of(&slot.workspace)?;
                let base = &self.model.saved[base].view;
                let Some(expected) = merged_but_for(&found.files, base, &slot.view, theirs) else {
                    return Err("the state conflicts, and the merge was clean".to_owned());
                };
                same("the merge", &found, &expected)?;
                self.slots[at].view = found;
            }
            self.note("merges beside moves");
            return Ok(());
        }
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
