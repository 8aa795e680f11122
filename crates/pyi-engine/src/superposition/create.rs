//! Making superpositions, finding them again, dropping them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyi_cas::{Guard, Id, RangeChange, RefOutcome, RefTransaction};
use pyi_tree::refs::{
    CandidateRecord, Fate, SuperpositionRecord, WorkspaceRecord, part_key, superposition_key, workspace_key,
};

use super::decay::{find_candidate, is_living};
use super::desk::{self, Desk, Loaded, Plan, Stored, candidates_prefix, ranges_of, without_links};
use super::{ATTEMPTS, Cache, Superposition, check_weight};
use crate::compare::Version;
use crate::engine::now_ns;
use crate::lease::Claim;
use crate::repository::{Repository, name_of};
use crate::workspace::Workspace;
use crate::{Error, Result, paths};

/// A time to live that never ends as far as anybody can tell.
const FOR_EVER_NS: u64 = u64::MAX / 4;

pub(super) fn span_ns(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos()).unwrap_or(FOR_EVER_NS).min(FOR_EVER_NS)
}

/// More candidates than that are a mistake, and must not take all memory before anybody sees it.
const CANDIDATES_MAX: usize = 1_000_000;

/// A new record; the candidates have no names yet.
fn new_record(base: Id, weights: &[f64], ttl: Option<Duration>) -> SuperpositionRecord {
    let (made_ns, ttl_ns) = (now_ns(), ttl.map(span_ns));
    let candidate = |weight: &f64| CandidateRecord {
        name: String::new(),
        weight: *weight,
        deadline_ns: ttl_ns.map(|ttl| made_ns.saturating_add(ttl)),
        fate: Fate::Living,
    };
    let mut record = SuperpositionRecord {
        made_ns,
        ttl_ns,
        candidates: weights.iter().map(candidate).collect(),
        ..SuperpositionRecord::new(base)
    };
    record.settle();
    record
}

impl Repository {
    /// Forks `count` candidates from `base`. O(count). With a name, candidates are named workspaces `<name>/<i>`, and all names are
    /// claimed in one step. A candidate that nobody renews decays after `ttl`. If `base` is a candidate itself, of a superposition that
    /// has a name exactly if this one has, the new one is an inner one of that: when the outer one collapses to another candidate,
    /// it is let go, and as long as it lives the outer one does not collapse to that candidate.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if a name is taken (that of a superposition which collapsed or decayed is free again) or `base` is a workspace with uncheckpointed changes and a name is asked
    /// for; `InvalidArgument` for no candidates, more than a million of them, bad weights, or a workspace of another repository.
    pub fn superpose(
        &self,
        base: &Version,
        count: usize,
        weights: Option<Vec<f64>>,
        ttl: Option<Duration>,
        name: Option<&str>,
    ) -> Result<Arc<Superposition>> {
        self.engine.open()?;
        if count > CANDIDATES_MAX {
            return Err(Error::invalid(format!(
                "{count} candidates: at most {CANDIDATES_MAX}; superpose fewer"
            )));
        }
        let weights = weights.unwrap_or_else(|| vec![1.0; count]);
        if count == 0 || weights.len() != count {
            let given = weights.len();
            return Err(Error::invalid(format!(
                "{count} candidates with {given} weights: give at least one, one weight each"
            )));
        }
        weights.iter().try_for_each(|weight| check_weight(*weight))?;
        let (source, from) = match base {
            // Candidates of another store: a collapse would move a branch to what this one does not have.
            Version::Workspace(workspace) if !workspace.is_in(self) => {
                if workspace.is_dirty() || workspace.repository().path() != self.path() {
                    return Err(Error::invalid(
                        "the base is a workspace of another repository, or opened through another object and not checkpointed; give one of this repository, or a checkpoint of it",
                    ));
                }
                (self.workspace_at(*workspace.head().id())?, Some(workspace))
            }
            Version::Workspace(workspace) => (workspace.fork()?, Some(workspace)),
            Version::Checkpoint(checkpoint) => (self.workspace_at(*checkpoint.id())?, None),
            Version::Id(id) => (self.workspace_at(*id)?, None),
        };
        let record = new_record(*source.head().id(), &weights, ttl);
        match name {
            None => self.superpose_local(&source, from, record),
            Some(name) => self.superpose_named(&source, from, record, name),
        }
    }

    fn superpose_local(
        &self,
        source: &Workspace,
        from: Option<&Arc<Workspace>>,
        record: SuperpositionRecord,
    ) -> Result<Arc<Superposition>> {
        let mut workspaces = Vec::with_capacity(record.candidates.len());
        for _ in 0..record.candidates.len() {
            workspaces.push(source.fork()?);
        }
        let cache = Arc::new(Mutex::new(Cache::new(record, Stored::default(), workspaces)));
        let key = self.engine.superpositions.put(&cache);
        let made = Superposition::new(self.clone(), key.clone(), cache);
        if let Some(from) = from.filter(|from| from.name().is_none()) {
            let desk = Desk::for_key(&self.engine, &key);
            if let Some((outer, index)) = local_outer(&desk, from) {
                if let Some(outer) = desk.local(&outer) {
                    let record = &mut outer.lock().record;
                    Arc::make_mut(record).inner.push((index, key.to_string()));
                }
                Arc::make_mut(&mut made.cache.lock().record).outer = Some((outer, index));
            }
        }
        Ok(made)
    }

    fn superpose_named(
        &self,
        source: &Workspace,
        from: Option<&Arc<Workspace>>,
        mut record: SuperpositionRecord,
        name: &str,
    ) -> Result<Arc<Superposition>> {
        paths::check_name("superposition", name)?;
        if source.is_dirty() {
            return Err(Error::conflict(
                "the base has uncheckpointed changes; checkpoint it before a named superposition",
            ));
        }
        for (index, candidate) in record.candidates.iter_mut().enumerate() {
            candidate.name = format!("{name}/{index}");
        }
        // The longest; digits behind a slash are allowed in every name.
        if let Some(last) = record.candidates.last() {
            paths::check_name("workspace", &last.name)?;
        }
        if let Some(old) = desk::load_changed(&self.engine, name, None)?
            && !is_living(&old.record)
            && (old.record.outer.is_some() || !old.record.links.is_empty() || !old.record.inner.is_empty())
        {
            // Others know of it, and would take the new one for it.
            self.drop_superposition(name)?;
        }
        for _ in 0..ATTEMPTS {
            let outer = match from.and_then(|from| from.name()) {
                Some(from) => find_candidate(self.engine.store().refs(), from)?,
                None => None,
            };
            record.outer = outer.as_ref().map(|(outer, index)| (outer.name.clone(), *index));
            let mut plan = Plan::new(format!("superpose {name}"));
            if let Some((outer, index)) = &outer {
                let mut changed = (*outer.record).clone();
                changed.inner.push((*index, name.to_owned()));
                plan.replace(outer, changed);
            }
            let workspaces = self.plan_candidates(source, &record, name, &mut plan)?;
            let stored = Stored::of(&record);
            let put = &mut plan.transaction.puts;
            put.push((superposition_key(name), Some(stored.head.clone())));
            for (number, part) in stored.parts.iter().enumerate() {
                put.push((part_key(name, number as u32), Some(part.clone())));
            }
            match self.engine.commit_refs(&plan.transaction)? {
                RefOutcome::Done => {}
                // The one that it is forked from was changed.
                RefOutcome::Conflict { key, .. }
                    if outer.is_some_and(|(outer, _)| plan_holds(&outer, &key) && outer.name != name) =>
                {
                    continue;
                }
                RefOutcome::Conflict { key, .. } => {
                    return Err(Error::conflict(format!(
                        "the name {:?} is taken; choose another one",
                        name_of(&key)?
                    )));
                }
            }
            for candidate in &workspaces {
                if let Some(name) = candidate.shared_name() {
                    self.engine.leases.replace(name, &candidate.weak);
                }
            }
            let cache = Arc::new(Mutex::new(Cache::new(record, stored, workspaces)));
            return Ok(Superposition::new(self.clone(), Arc::from(name), cache));
        }
        Err(desk::busy(name))
    }

    /// Plans the names of all candidates; their workspaces.
    fn plan_candidates(
        &self,
        source: &Workspace,
        record: &SuperpositionRecord,
        name: &str,
        plan: &mut Plan,
    ) -> Result<Vec<Arc<Workspace>>> {
        let seen = self.engine.store().refs().generation();
        let transaction = &mut plan.transaction;
        let mut left = self.replace_dead(name, record.parts, transaction)?;
        let mut workspaces = Vec::with_capacity(record.candidates.len());
        let template = (**source.content.lock()).clone();
        // One lease and one value for all names that are new: leases are compared within a name only.
        let shared = self.engine.leases.next(0);
        let shared = (shared, template.record_with(record.base, None, shared).encode());
        let are_all_new = left.is_empty();
        if are_all_new {
            let count = u32::try_from(record.candidates.len()).unwrap_or(u32::MAX);
            let create = RangeChange::Create(shared.1.clone());
            transaction
                .ranges
                .extend(ranges_of(&candidates_prefix(name), 0..count, &create));
        }
        for candidate in &record.candidates {
            let mut content = template.clone();
            let old = left.remove(&candidate.name);
            let (lease, value) = match &old {
                None => shared.clone(),
                Some(old) => {
                    let before = WorkspaceRecord::decode(old)?.lease.epoch;
                    let lease = self.engine.leases.next(before);
                    (lease, content.record_with(record.base, None, lease).encode())
                }
            };
            if !are_all_new {
                let key = workspace_key(&candidate.name);
                transaction
                    .guards
                    .push((key.clone(), old.map_or(Guard::Absent, Guard::Equals)));
                transaction.puts.push((key, Some(value.clone())));
            }
            content.claim = Some(Claim::owner(value, lease, seen));
            workspaces.push(Workspace::new(
                self.engine.clone(),
                content,
                Some(Arc::from(candidate.name.as_str())),
            ));
        }
        for (candidate, value) in left {
            transaction
                .guards
                .push((workspace_key(&candidate), Guard::Equals(value)));
            transaction.puts.push((workspace_key(&candidate), None));
        }
        Ok(workspaces)
    }

    /// Guards a name for a new superposition: it may be free, or that of one which collapsed or decayed. What is left of that one's
    /// candidates: names and values.
    fn replace_dead(
        &self,
        name: &str,
        parts: u32,
        transaction: &mut RefTransaction,
    ) -> Result<BTreeMap<String, Vec<u8>>> {
        let refs = self.engine.store().refs();
        let mut left = BTreeMap::new();
        let guard = match desk::load_changed(&self.engine, name, None)? {
            Some(old) if !is_living(&old.record) => {
                for candidate in old.record.candidates.iter().filter(|one| one.fate.has_name()) {
                    if let Some(value) = refs.get(&workspace_key(&candidate.name))? {
                        left.insert(candidate.name.clone(), value.to_vec());
                    }
                }
                for part in parts..old.record.parts {
                    transaction.puts.push((part_key(name, part), None));
                }
                Guard::Equals(old.stored.head.clone())
            }
            _ => Guard::Absent,
        };
        transaction.guards.push((superposition_key(name), guard));
        Ok(left)
    }

    /// Gives up the names of a superposition, of its candidates, and of what was forked from those; `false` if there is none. Those that
    /// were linked with it are free of that.
    pub(crate) fn drop_superposition(&self, name: &str) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let desk = Desk::for_key(&self.engine, name);
            let Some(dropped) = desk.load(name)? else {
                return Ok(false);
            };
            let mut plan = Plan::new(format!("drop {name}"));
            let gone = super::collapse::below(&desk, vec![dropped], |_| true)?;
            let names: Vec<String> = gone.iter().map(|one| one.name.clone()).collect();
            for one in &gone {
                plan.remove(one);
                super::collapse::tell_outer(&desk, one, &names, &mut plan)?;
                for link in one.record.links.iter().filter(|link| !names.contains(&link.other)) {
                    if let Some(partner) = desk.load(&link.other)? {
                        plan.replace(&partner, without_links(&partner.record, &names));
                    }
                }
            }
            if desk.commit(plan)? == RefOutcome::Done {
                self.engine.acknowledge(self.engine.durability)?;
                self.engine.watch.tell();
                return Ok(true);
            }
        }
        Err(desk::busy(name))
    }

    /// A named superposition, with its candidates at their last checkpoints. Their leases stay where they are until something is
    /// written to them from here.
    ///
    /// # Errors
    /// `NotFound` if there is none, or it collapsed or decayed.
    pub fn superposition(&self, name: &str) -> Result<Arc<Superposition>> {
        self.engine.open()?;
        let missing = || {
            Error::not_found(format!(
                "superposition {name:?} does not exist; superpose(..., name=...) makes one"
            ))
        };
        let found = desk::load_changed(&self.engine, name, None)?.ok_or_else(missing)?;
        if !is_living(&found.record) {
            return Err(missing());
        }
        let empty = SuperpositionRecord {
            made_ns: found.record.made_ns,
            ..SuperpositionRecord::new(found.record.base)
        };
        let cache = Arc::new(Mutex::new(Cache::new(empty, Stored::default(), Vec::new())));
        let opened = Superposition::new(self.clone(), Arc::from(name), cache);
        opened.take_over(&mut opened.cache.lock(), &found)?;
        Ok(opened)
    }

    /// The names of all named superpositions that have neither collapsed nor decayed, sorted.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn superpositions(&self) -> Result<Vec<String>> {
        self.engine.open()?;
        let mut names = Vec::new();
        for (key, value) in self.engine.store().refs().scan(b"s/")? {
            if is_living(&SuperpositionRecord::decode(&value)?) {
                names.push(name_of(&key)?);
            }
        }
        Ok(names)
    }
}

/// Whether a key is one of a record's.
fn plan_holds(loaded: &Loaded, key: &[u8]) -> bool {
    key == superposition_key(&loaded.name) || key.starts_with(&pyi_tree::refs::part_prefix(&loaded.name))
}

/// The superposition without a name whose candidate a workspace is.
fn local_outer(desk: &Desk<'_>, from: &Arc<Workspace>) -> Option<(String, u64)> {
    desk.locals().find_map(|(key, cache)| {
        let cache = cache.lock();
        if cache.is_gone || cache.record.collapsed.is_some() {
            return None;
        }
        let index = cache.workspaces.iter().position(|known| Arc::ptr_eq(known, from))?;
        Some((key.to_string(), index as u64))
    })
}
