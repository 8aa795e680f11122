//! Changes of candidates: another one, another weight, a verdict.

use std::sync::Arc;

use pyi_cas::{Guard, RefOutcome, RefTransaction};
use pyi_tree::refs::{CandidateRecord, Fate, PART_CANDIDATES, SuperpositionRecord, part_key, superposition_key};

use super::decay::{find_candidate, sweep};
use super::desk::{Desk, Loaded, Plan, Stored};
use super::{ATTEMPTS, Superposition, check_choosable, check_weight, desk};
use crate::engine::now_ns;
use crate::workspace::Workspace;
use crate::{Error, Result};

/// What a change does to a record; names that are free then go to the plan.
pub(super) type Edit<'a> = dyn FnMut(&mut SuperpositionRecord, &mut Plan) -> Result<()> + 'a;

impl Superposition {
    /// Adds a workspace as a candidate; its number. In a named superposition it must have a name.
    ///
    /// # Errors
    /// `Conflict` if it collapsed, or the workspace is a candidate already, of this superposition or another one; `InvalidArgument`.
    pub fn add(&self, workspace: Arc<Workspace>, weight: f64) -> Result<usize> {
        check_weight(weight)?;
        if !Arc::ptr_eq(&workspace.engine, self.engine()) {
            return Err(Error::invalid(
                "the workspace belongs to another repository: add one of this repository",
            ));
        }
        let name = if self.is_local() { None } else { workspace.name() };
        if !self.is_local() && name.is_none() {
            return Err(Error::invalid(
                "a candidate of a named superposition needs a name; use fork(name)",
            ));
        }
        let mut index = 0;
        self.change_with("add", Some(workspace.clone()), &mut |record, plan| {
            if let Some(name) = name {
                let refs = self.engine().store().refs();
                if let Some((other, index)) = find_candidate(refs, name)? {
                    let other = other.name;
                    return Err(Error::conflict(format!(
                        "workspace {name:?} is candidate {index} of superposition {other:?} already; add a fork of it"
                    )));
                }
                // Not one that is dropped at this moment.
                plan.transaction
                    .guards
                    .push((pyi_tree::refs::workspace_key(name), Guard::Present));
            }
            index = record.candidates.len();
            record.candidates.push(CandidateRecord {
                name: name.unwrap_or_default().to_owned(),
                weight,
                deadline_ns: record.ttl_ns.map(|ttl| now_ns().saturating_add(ttl)),
                fate: Fate::Living,
            });
            Ok(())
        })?;
        Ok(index)
    }

    /// Gives a candidate another weight. O(1) whatever the number of candidates, but for one that has no name more than once.
    ///
    /// # Errors
    /// `InvalidArgument`; `Conflict` if it collapsed, or the candidate failed, or was pruned; `NotFound` if it decayed.
    pub fn weigh(&self, index: usize, weight: f64) -> Result<()> {
        check_weight(weight)?;
        if self.is_local() {
            let _desk = Desk::for_key(self.engine(), &self.key);
            let mut cache = self.fresh()?;
            cache.check_living()?;
            check_choosable(&cache.record, index, now_ns())?;
            if let Some(candidate) = Arc::make_mut(&mut cache.record).candidates.get_mut(index) {
                candidate.weight = weight;
            }
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let mut cache = self.fresh()?;
            cache.check_living()?;
            check_choosable(&cache.record, index, now_ns())?;
            let old = cache.record.candidates[index].weight;
            let record = Arc::make_mut(&mut cache.record);
            record.candidates[index].weight = weight;
            // The part alone, or the record if all stands there.
            let part = (record.parts > 0).then_some(index / PART_CANDIDATES);
            let head = superposition_key(&self.key);
            let (key, new) = match part {
                Some(part) => (part_key(&self.key, part as u32), record.encode_part(part as u32)),
                None => (head.clone(), record.encode()),
            };
            let mut transaction = RefTransaction {
                guards: vec![(head, Guard::Equals(cache.stored.head.clone()))],
                puts: vec![(key.clone(), Some(new.clone()))],
                message: format!("weigh {}", self.key),
                ..RefTransaction::default()
            };
            if let Some(part) = part {
                let old = cache.stored.parts[part].clone();
                transaction.guards.push((key, Guard::Equals(old)));
            }
            let outcome = self.engine().commit_refs(&transaction);
            if !matches!(outcome, Ok(RefOutcome::Done)) {
                Arc::make_mut(&mut cache.record).candidates[index].weight = old;
                cache.seen = None;
                outcome?;
                continue;
            }
            let mut stored = Stored {
                head: cache.stored.head.clone(),
                parts: Vec::new(),
            };
            match part {
                None => stored.head = new,
                Some(part) => match Arc::get_mut(&mut cache.stored) {
                    Some(own) => {
                        own.parts[part] = new;
                        return Ok(());
                    }
                    None => {
                        stored.parts.clone_from(&cache.stored.parts);
                        stored.parts[part] = new;
                    }
                },
            }
            cache.stored = Arc::new(stored);
            return Ok(());
        }
        Err(desk::busy(&self.key))
    }

    /// Notes that a candidate failed a check: it keeps its name, and is never chosen.
    ///
    /// # Errors
    /// As [`Superposition::weigh`].
    pub fn reject(&self, index: usize) -> Result<()> {
        self.change("reject", &mut |record, _| {
            check_choosable(record, index, now_ns())?;
            record.candidates[index].fate = Fate::Failed;
            Ok(())
        })
    }

    /// Changes the structure of the record, and lets those go whose time is over.
    pub(super) fn change(&self, verb: &str, edit: &mut Edit<'_>) -> Result<()> {
        self.change_with(verb, None, edit)
    }

    fn change_with(&self, verb: &str, added: Option<Arc<Workspace>>, edit: &mut Edit<'_>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let desk = Desk::for_key(self.engine(), &self.key);
            let mut cache = self.fresh()?;
            cache.check_living()?;
            if let Some(added) = &added
                && cache.workspaces.iter().any(|known| is_same(known, added))
            {
                return Err(Error::conflict(
                    "the workspace is a candidate already; add a fork of it",
                ));
            }
            let mut record = (*cache.record).clone();
            let mut plan = Plan::new(format!("{verb} {}", self.name().unwrap_or_default()));
            sweep(&mut record, &mut plan, now_ns());
            edit(&mut record, &mut plan)?;
            let loaded = Loaded {
                name: self.key.to_string(),
                record: cache.record.clone(),
                stored: cache.stored.clone(),
            };
            if self.is_local() {
                record.settle();
                record.version += 1;
                cache.record = Arc::new(record);
            } else {
                let mut settled = record.clone();
                let stored = plan.replace(&loaded, record);
                if desk.commit(plan)? != RefOutcome::Done {
                    cache.seen = None;
                    continue;
                }
                settled.settle();
                settled.version += 1;
                cache.record = Arc::new(settled);
                cache.stored = Arc::new(stored.unwrap_or_default());
            }
            cache.workspaces.extend(added);
            drop(cache);
            drop(desk);
            return self.engine().acknowledge(self.engine().durability);
        }
        Err(desk::busy(&self.key))
    }
}

/// Whether two handles are of one workspace.
fn is_same(one: &Arc<Workspace>, other: &Arc<Workspace>) -> bool {
    Arc::ptr_eq(one, other) || one.name().is_some() && one.name() == other.name()
}
