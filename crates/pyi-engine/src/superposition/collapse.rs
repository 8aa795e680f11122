//! Deciding: one candidate becomes the outcome, all others are let go, in one step.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::MutexGuard;
use pyi_cas::{Guard, Id, RefOutcome};
use pyi_tree::cbor::Value;
use pyi_tree::refs::{SuperpositionRecord, WorkspaceRecord, branch_key, workspace_key};

use super::desk::{self, Desk, Loaded, Plan};
use super::{ATTEMPTS, Superposition, candidate, group, is_living};
use crate::checkpoint::Checkpoint;
use crate::commit::{adopt, branch_conflict};
use crate::workspace::{Content, Shared, Workspace};
use crate::{Error, Result, paths};

/// What an outcome goes onto.
#[derive(Clone, Copy)]
pub enum Onto<'a> {
    /// A branch moves to it: one that is at the base, or does not exist.
    Branch(&'a str),
    /// A workspace gets its content: one that is at the base and unchanged, such as the candidate that an inner superposition was
    /// forked from.
    Workspace(&'a Arc<Workspace>),
}

/// What a candidate stands at, to be checked before it is chosen: one that moves on meanwhile is not the one that was checked.
#[derive(Clone)]
pub struct Ready {
    index: usize,
    checkpoint: Checkpoint,
    /// The value of its name.
    value: Option<Vec<u8>>,
}

impl Ready {
    /// The checkpoint that will be the outcome.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

impl Superposition {
    /// Makes candidate `index` the outcome: it is checkpointed if need be, `onto` moves to it by compare-and-swap (from the base, or from
    /// nothing), every other candidate is let go with all that was forked from it, what is entangled collapses too, waiters are told. All
    /// in one record.
    ///
    /// # Errors
    /// `Conflict` if the branch moved since the base, somebody else collapsed first, the candidate failed or was pruned, or something
    /// living was forked from it: nothing happened then, but that changed candidates were checkpointed. `NotFound` if it decayed.
    pub fn collapse(&self, index: usize, onto: &str) -> Result<Checkpoint> {
        self.collapse_onto(index, Onto::Branch(onto))
    }

    /// As [`Superposition::collapse`], onto a branch or a workspace.
    ///
    /// # Errors
    /// As [`Superposition::collapse`]; `Conflict` if the workspace was changed since the base.
    pub fn collapse_onto(&self, index: usize, onto: Onto<'_>) -> Result<Checkpoint> {
        self.decide(index, onto, None)
    }

    /// As [`Superposition::collapse_onto`], for a candidate that was checked.
    ///
    /// # Errors
    /// As there; `Conflict` if it moved on since it was [made ready](Superposition::ready).
    pub fn collapse_ready(&self, ready: &Ready, onto: Onto<'_>) -> Result<Checkpoint> {
        self.decide(ready.index, onto, Some(ready))
    }

    /// Checkpoints a candidate if need be and says what it stands at.
    ///
    /// # Errors
    /// As [`Superposition::collapse`].
    pub fn ready(&self, index: usize) -> Result<Ready> {
        let workspace = {
            let cache = self.fresh()?;
            cache.check_living()?;
            super::check_choosable(&cache.record, index, crate::engine::now_ns())?;
            cache.workspaces[index].clone()
        };
        let _section = self.engine().store().section();
        self.prepare(&workspace, index)
    }

    fn prepare(&self, workspace: &Arc<Workspace>, index: usize) -> Result<Ready> {
        for _ in 0..ATTEMPTS {
            workspace.take_up()?;
            let checkpoint = if workspace.is_dirty() {
                workspace.checkpoint("collapse", Value::Null)?
            } else {
                workspace.head()
            };
            let value = match workspace.name().filter(|_| !self.is_local()) {
                None => None,
                Some(name) => {
                    let value = self.engine().store().refs().get(&workspace_key(name))?;
                    let Some(value) = value else {
                        return Err(Error::conflict(format!(
                            "candidate {index} was dropped by its name; `living` lists those that can be chosen"
                        )));
                    };
                    if WorkspaceRecord::decode(&value)?.head != *checkpoint.id() {
                        // Its owner went on meanwhile.
                        continue;
                    }
                    Some(value.to_vec())
                }
            };
            return Ok(Ready {
                index,
                checkpoint,
                value,
            });
        }
        Err(desk::busy(&self.key))
    }

    fn decide(&self, index: usize, onto: Onto<'_>, checked: Option<&Ready>) -> Result<Checkpoint> {
        if let Onto::Branch(branch) = onto {
            paths::check_name("branch", branch)?;
        }
        let _section = self.engine().store().section();
        for _ in 0..ATTEMPTS {
            let winners = self.winners(index)?;
            let mut ready = Vec::with_capacity(winners.len());
            for (_, workspace, index) in &winners {
                ready.push(match checked.filter(|_| ready.is_empty()) {
                    Some(checked) => checked.clone(),
                    None => self.prepare(workspace, *index)?,
                });
            }
            // A target stays as it is until the record stands.
            let mut target = match onto {
                Onto::Workspace(workspace) => Some(self.target(workspace)?),
                Onto::Branch(_) => None,
            };
            let desk = Desk::for_key(self.engine(), &self.key);
            let first = self.loaded()?;
            let group = group::chosen_with(&desk, first, index)?;
            let is_as_prepared = group.len() == winners.len()
                && group
                    .iter()
                    .zip(&winners)
                    .all(|((one, index), (name, _, known))| one.name == *name && index == known);
            if !is_as_prepared {
                continue;
            }
            let (plan, losers) =
                self.plan_collapse(&desk, &group, &ready, onto, target.as_deref().map(|shared| &**shared))?;
            match desk.commit(plan)? {
                RefOutcome::Done => {}
                RefOutcome::Conflict { key, found } => {
                    self.explain(&key, found.as_deref(), &group, onto, checked)?;
                    self.cache.lock().seen = None;
                    continue;
                }
            }
            drop(desk);
            drop(losers);
            let result = ready.swap_remove(0).checkpoint;
            if let (Some(content), Onto::Workspace(workspace)) = (&mut target, onto) {
                self.move_target(content, workspace, &result)?;
            }
            drop(target);
            if !self.is_local() {
                let mut cache = self.cache.lock();
                let known = collapsed(&group[0].0.record, index as u64, result.id(), false);
                cache.settle(known);
                // The value is read again when the refs move.
                cache.seen = None;
            }
            self.engine().watch.tell();
            self.engine().acknowledge(self.engine().durability)?;
            return Ok(result);
        }
        Err(desk::busy(&self.key))
    }

    /// What this handle knows, as a record to change.
    fn loaded(&self) -> Result<Loaded> {
        let cache = self.fresh()?;
        cache.check_living()?;
        Ok(Loaded {
            name: self.key.to_string(),
            record: cache.record.clone(),
            stored: cache.stored.clone(),
        })
    }

    /// The candidates that would be chosen, here and in what is entangled: superposition, workspace, number.
    fn winners(&self, index: usize) -> Result<Vec<(String, Arc<Workspace>, usize)>> {
        let own = {
            let cache = self.fresh()?;
            cache.check_living()?;
            candidate(&cache.record, index)?;
            (self.key.to_string(), cache.workspaces[index].clone(), index)
        };
        let desk = Desk::for_key(self.engine(), &self.key);
        let mut winners = vec![own];
        for (partner, index) in group::chosen_with(&desk, self.loaded()?, index)?.iter().skip(1) {
            let workspace = match desk.local(&partner.name) {
                Some(cache) => cache.lock().workspaces[*index].clone(),
                None => self
                    .repository
                    .view_workspace(&candidate(&partner.record, *index)?.name)?,
            };
            winners.push((partner.name.clone(), workspace, *index));
        }
        Ok(winners)
    }

    /// A workspace that an outcome goes to, as long as nobody else changes it.
    fn target<'w>(&self, workspace: &'w Arc<Workspace>) -> Result<MutexGuard<'w, Shared>> {
        if !Arc::ptr_eq(&workspace.engine, self.engine()) {
            return Err(Error::invalid(
                "the workspace belongs to another repository: collapse onto one of this repository, or onto a branch",
            ));
        }
        let mut content = workspace.content.lock();
        workspace.check_lease(&mut content)?;
        Ok(content)
    }

    fn plan_collapse(
        &self,
        desk: &Desk<'_>,
        group: &[(Loaded, usize)],
        ready: &[Ready],
        onto: Onto<'_>,
        target: Option<&Content>,
    ) -> Result<(Plan, Vec<Loaded>)> {
        let mut plan = Plan::new(match onto {
            Onto::Branch(branch) => format!("collapse onto {branch}"),
            Onto::Workspace(workspace) => format!("collapse onto workspace {}", workspace.name().unwrap_or_default()),
        });
        let names: Vec<String> = group.iter().map(|(one, _)| one.name.clone()).collect();
        let mut branches = BTreeSet::new();
        let mut losers = Vec::new();
        for (at, ((one, index), ready)) in group.iter().zip(ready).enumerate() {
            let result = ready.checkpoint.id();
            let branch = match onto {
                Onto::Branch(branch) if at == 0 => Some(branch),
                Onto::Workspace(workspace) if at == 0 => {
                    self.plan_target(workspace, target, &one.record.base, result, &mut plan)?;
                    None
                }
                _ => one.record.onto.as_deref(),
            };
            if let Some(branch) = branch {
                if !branches.insert(branch.to_owned()) {
                    return Err(Error::conflict(format!(
                        "two superpositions that collapse together would both move branch {branch:?}; entangle with another onto="
                    )));
                }
                let refs = self.engine().store().refs();
                let guard = match refs.get(&branch_key(branch))? {
                    Some(_) => Guard::Equals(one.record.base.0.to_vec()),
                    None => Guard::Absent,
                };
                plan.transaction.guards.push((branch_key(branch), guard));
                plan.transaction
                    .puts
                    .push((branch_key(branch), Some(result.0.to_vec())));
            }
            if let Some(value) = &ready.value {
                let name = &candidate(&one.record, *index)?.name;
                plan.transaction
                    .guards
                    .push((workspace_key(name), Guard::Equals(value.clone())));
            }
            refuse_inner(desk, one, *index as u64)?;
            losers.extend(inner_of(desk, one, &|loser| loser != *index as u64)?);
            plan.free_names(&one.name, &one.record);
            tell_outer(desk, one, &names, &mut plan)?;
            let keeps = branch.is_none() && at > 0;
            plan.replace(one, collapsed(&one.record, *index as u64, result, keeps));
        }
        let losers = below(desk, losers, |_| true)?;
        check_links(&losers, &names)?;
        losers.iter().for_each(|loser| plan.remove(loser));
        if let Onto::Workspace(workspace) = onto {
            let key = workspace.name().map(workspace_key);
            let is_local = |one: &Loaded| {
                let cache = desk.local(&one.name);
                cache.is_some_and(|cache| {
                    cache
                        .lock()
                        .workspaces
                        .iter()
                        .any(|known| Arc::ptr_eq(known, workspace))
                })
            };
            let all = group.iter().map(|(one, _)| one).chain(&losers);
            if key.is_some_and(|key| plan.deletes(&key)) || all.into_iter().any(is_local) {
                return Err(Error::invalid(
                    "the workspace is a candidate that the collapse lets go of; name another one, or a branch",
                ));
            }
        }
        Ok((plan, losers))
    }

    /// Plans that a workspace moves to the outcome.
    fn plan_target(
        &self,
        workspace: &Workspace,
        content: Option<&Content>,
        base: &Id,
        result: &Id,
        plan: &mut Plan,
    ) -> Result<()> {
        let Some(content) = content else { return Ok(()) };
        if content.dirty || content.head.id != *base {
            return Err(Error::conflict(
                "the workspace was changed since the candidates were forked from it; restore it, or collapse onto a branch and merge that",
            ));
        }
        if let (Some(name), Some(claim)) = (workspace.name(), &content.claim) {
            let value = content.record_with(*result, None, claim.lease()).encode();
            let transaction = &mut plan.transaction;
            transaction
                .guards
                .push((workspace_key(name), Guard::Equals(claim.value.clone())));
            transaction.puts.push((workspace_key(name), Some(value)));
            transaction.epoch = claim.lease().epoch;
        }
        Ok(())
    }

    fn move_target(&self, content: &mut Content, workspace: &Workspace, result: &Checkpoint) -> Result<()> {
        let held = self.engine().hold(result.id())?;
        content.git = held.root.git.clone();
        adopt(content, held);
        if let (Some(_), Some(claim)) = (workspace.name(), &content.claim) {
            let value = content.record_with(*result.id(), None, claim.lease()).encode();
            let generation = self.engine().store().refs().generation();
            if let Some(claim) = &mut content.claim {
                claim.moved(value, generation, generation);
            }
        }
        Ok(())
    }

    /// An error, if what was in the way stays there; nothing if it is worth another look.
    fn explain(
        &self,
        key: &[u8],
        found: Option<&[u8]>,
        group: &[(Loaded, usize)],
        onto: Onto<'_>,
        checked: Option<&Ready>,
    ) -> Result<()> {
        if key.starts_with(b"b/") {
            return Err(branch_conflict(&crate::repository::name_of(key)?, found));
        }
        if let Onto::Workspace(workspace) = onto
            && workspace.name().is_some_and(|name| workspace_key(name) == key)
        {
            return Err(Error::conflict(
                "the workspace was moved by somebody else; open it again",
            ));
        }
        let winner = candidate(&group[0].0.record, group[0].1)?;
        if checked.is_some() && workspace_key(&winner.name) == key {
            return Err(Error::conflict(
                "the candidate was changed while it was checked; check it again",
            ));
        }
        Ok(())
    }
}

/// The record of one that collapsed. Its candidates are gone.
fn collapsed(record: &SuperpositionRecord, winner: u64, result: &Id, keeps_outcome: bool) -> SuperpositionRecord {
    SuperpositionRecord {
        made_ns: record.made_ns,
        version: record.version,
        collapsed: Some((winner, *result)),
        keeps_outcome,
        ..SuperpositionRecord::new(record.base)
    }
}

/// What was forked from the candidates of one that are meant, if it is there.
fn inner_of(desk: &Desk<'_>, one: &Loaded, meant: &dyn Fn(u64) -> bool) -> Result<Vec<Loaded>> {
    let mut found = Vec::new();
    for (_, name) in one.record.inner.iter().filter(|(index, _)| meant(*index)) {
        let inner = desk.load(name)?;
        found.extend(inner.filter(|inner| {
            let is_ours = inner.record.outer.as_ref().is_some_and(|(outer, _)| *outer == one.name);
            is_ours && inner.record.collapsed.is_none()
        }));
    }
    Ok(found)
}

fn refuse_inner(desk: &Desk<'_>, one: &Loaded, winner: u64) -> Result<()> {
    let inner = inner_of(desk, one, &|index| index == winner)?;
    match inner.iter().find(|inner| is_living(&inner.record)) {
        Some(inner) if desk::is_local(&inner.name) => Err(Error::conflict(format!(
            "candidate {winner} is in superposition itself; collapse that first, or let go of it"
        ))),
        Some(inner) => Err(Error::conflict(format!(
            "candidate {winner} is in superposition itself, in {:?}; collapse or drop that first",
            inner.name
        ))),
        None => Ok(()),
    }
}

/// These and all that was forked from their candidates that are meant (below those: from any), each once.
pub(super) fn below(desk: &Desk<'_>, first: Vec<Loaded>, meant: impl Fn(u64) -> bool) -> Result<Vec<Loaded>> {
    let mut all: Vec<Loaded> = Vec::new();
    let mut waiting = first;
    while let Some(next) = waiting.pop() {
        if all.iter().any(|known| known.name == next.name) {
            continue;
        }
        waiting.extend(inner_of(desk, &next, &meant)?);
        all.push(next);
    }
    Ok(all)
}

/// Refuses to let something go that is entangled with what is neither let go nor collapses: that could never collapse then.
fn check_links(gone: &[Loaded], collapsing: &[String]) -> Result<()> {
    for one in gone {
        let goes =
            |other: &str| gone.iter().any(|gone| gone.name == other) || collapsing.iter().any(|name| name == other);
        if let Some(link) = one.record.links.iter().find(|link| !goes(&link.other)) {
            return Err(Error::conflict(format!(
                "superposition {:?} would be let go, and {:?} is entangled with it; collapse or drop one of them first",
                one.name.trim_start_matches('\0'),
                link.other.trim_start_matches('\0')
            )));
        }
    }
    Ok(())
}

/// Plans that what was forked from some candidates of one goes along with them; the names of what stood directly below.
pub(super) fn release_below(
    desk: &Desk<'_>,
    one: &Loaded,
    meant: &dyn Fn(u64) -> bool,
    plan: &mut Plan,
) -> Result<Vec<String>> {
    let first = inner_of(desk, one, meant)?;
    let names = first.iter().map(|inner| inner.name.clone()).collect();
    let gone = below(desk, first, |_| true)?;
    check_links(&gone, &[])?;
    gone.iter().for_each(|gone| plan.remove(gone));
    Ok(names)
}

/// Plans that the superposition that one was forked in, if it stays, knows of it no more.
pub(super) fn tell_outer(desk: &Desk<'_>, one: &Loaded, gone: &[String], plan: &mut Plan) -> Result<()> {
    let Some((outer, _)) = &one.record.outer else {
        return Ok(());
    };
    if gone.contains(outer) {
        return Ok(());
    }
    if let Some(outer) = desk.load(outer)?
        && outer.record.inner.iter().any(|(_, name)| *name == one.name)
    {
        let mut changed = (*outer.record).clone();
        // All at once: what goes along may have been forked there too.
        changed.inner.retain(|(_, name)| !gone.contains(name));
        plan.replace(&outer, changed);
    }
    Ok(())
}
