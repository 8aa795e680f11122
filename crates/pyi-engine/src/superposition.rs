//! Candidate workspaces forked from one checkpoint, of which one is chosen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use pyi_cas::{Guard, Id, RefOutcome, RefTransaction};
use pyi_tree::refs::{SuperpositionRecord, WorkspaceRecord, branch_key, superposition_key, workspace_key};

use crate::checkpoint::Checkpoint;
use crate::commit::branch_conflict;
use crate::compare::Version;
use crate::engine::{Engine, now_ns};
use crate::lease::Claim;
use crate::repository::{Repository, name_of};
use crate::workspace::Workspace;
use crate::{Error, Result, paths};

/// How often a waiter looks at the ref log's generation for a collapse in another process.
const POLL: Duration = Duration::from_millis(5);

/// A superposition. Without a name it lives in this process; with one, it and its candidates survive it.
pub struct Superposition {
    repository: Repository,
    name: Option<String>,
    inner: Mutex<Inner>,
    collapsed: Condvar,
}

struct Inner {
    base: Id,
    candidates: Vec<Arc<Workspace>>,
    weights: Vec<f64>,
    deadline_ns: Option<u64>,
    outcome: Option<(u64, Id)>,
    record: Option<Vec<u8>>,
}

impl Inner {
    fn encode(&self) -> Vec<u8> {
        SuperpositionRecord {
            base: self.base,
            candidates: self
                .candidates
                .iter()
                .map(|ws| ws.name().unwrap_or_default().to_owned())
                .collect(),
            weights: self.weights.clone(),
            deadline_ns: self.deadline_ns,
            collapsed: self.outcome,
        }
        .encode()
    }

    fn check_living(&self) -> Result<()> {
        if self.outcome.is_some() {
            return Err(Error::conflict(
                "the superposition has collapsed; superpose again to go on",
            ));
        }
        if self.deadline_ns.is_some_and(|deadline| now_ns() > deadline) {
            return Err(Error::not_found(
                "the superposition decayed: its time to live is over; superpose again",
            ));
        }
        Ok(())
    }

    fn check_index(&self, index: usize) -> Result<()> {
        if index >= self.candidates.len() {
            let count = self.candidates.len();
            return Err(Error::invalid(format!(
                "candidate {index}: there are {count}, counted from 0"
            )));
        }
        Ok(())
    }
}

fn check_weight(weight: f64) -> Result<()> {
    if !weight.is_finite() || weight < 0.0 {
        return Err(Error::invalid(format!(
            "weight {weight}: a weight is a finite number of at least 0"
        )));
    }
    Ok(())
}

/// A random number from a seed (splitmix64; Steele, Lea, Flood, 2014), as a float from 0 to below 1.
fn sample(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Repository {
    /// Forks `count` candidates from `base`. O(count). With a name, candidates are named workspaces `<name>/<i>`, and all names are
    /// claimed in one step.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if a name is taken (that of a superposition which collapsed or decayed is free again) or `base` is a workspace with uncheckpointed changes and a name is asked
    /// for; `InvalidArgument` for no candidates or bad weights.
    pub fn superpose(
        &self,
        base: &Version,
        count: usize,
        weights: Option<Vec<f64>>,
        ttl: Option<Duration>,
        name: Option<&str>,
    ) -> Result<Arc<Superposition>> {
        self.engine.open()?;
        let weights = weights.unwrap_or_else(|| vec![1.0; count]);
        if count == 0 || weights.len() != count {
            let given = weights.len();
            return Err(Error::invalid(format!(
                "{count} candidates with {given} weights: give at least one, one weight each"
            )));
        }
        weights.iter().try_for_each(|weight| check_weight(*weight))?;
        let source = match base {
            Version::Workspace(workspace) => workspace.fork()?,
            Version::Checkpoint(checkpoint) => self.workspace_at(*checkpoint.id())?,
            Version::Id(id) => self.workspace_at(*id)?,
        };
        let base_id = *source.head().id();
        let deadline_ns = ttl.map(|ttl| now_ns() + u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX / 4));
        let mut inner = Inner {
            base: base_id,
            candidates: Vec::with_capacity(count),
            weights,
            deadline_ns,
            outcome: None,
            record: None,
        };
        let Some(name) = name else {
            for _ in 0..count {
                inner.candidates.push(source.fork()?);
            }
            return Ok(Superposition::new(self.clone(), None, inner));
        };
        paths::check_name("superposition", name)?;
        if source.is_dirty() {
            return Err(Error::conflict(
                "the base has uncheckpointed changes; checkpoint it before a named superposition",
            ));
        }
        let mut transaction = RefTransaction {
            message: format!("superpose {name}"),
            ..RefTransaction::default()
        };
        let seen = self.engine.store().refs().generation();
        let mut left = self.replace_dead(name, &mut transaction)?;
        for index in 0..count {
            let candidate = format!("{name}/{index}");
            paths::check_name("workspace", &candidate)?;
            let mut content = source.content.lock().clone();
            let old = left.remove(&candidate);
            let before = old.as_deref().map(WorkspaceRecord::decode).transpose()?;
            let lease = self.engine.leases.next(before.map_or(0, |record| record.lease.epoch));
            let record = content.record_with(base_id, None, lease).encode();
            transaction
                .guards
                .push((workspace_key(&candidate), old.map_or(Guard::Absent, Guard::Equals)));
            transaction.puts.push((workspace_key(&candidate), Some(record.clone())));
            content.claim = Some(Claim::owner(record, lease, seen));
            inner.candidates.push(Workspace::new(
                self.engine.clone(),
                content,
                Some(Arc::from(candidate.as_str())),
            ));
        }
        for (candidate, value) in left {
            transaction
                .guards
                .push((workspace_key(&candidate), Guard::Equals(value)));
            transaction.puts.push((workspace_key(&candidate), None));
        }
        let record = inner.encode();
        transaction.puts.push((superposition_key(name), Some(record.clone())));
        if let RefOutcome::Conflict { key, .. } = self.engine.commit_refs(&transaction)? {
            return Err(Error::conflict(format!(
                "the name {:?} is taken; choose another one",
                name_of(&key)?
            )));
        }
        inner.record = Some(record);
        for candidate in &inner.candidates {
            if let Some(name) = candidate.shared_name() {
                self.engine.leases.replace(name, &candidate.weak);
            }
        }
        Ok(Superposition::new(self.clone(), Some(name.to_owned()), inner))
    }

    /// Guards a name for a new superposition: it may be free, or that of one which collapsed or decayed. What is left of that one's
    /// candidates: names and values.
    fn replace_dead(&self, name: &str, transaction: &mut RefTransaction) -> Result<BTreeMap<String, Vec<u8>>> {
        let refs = self.engine.store().refs();
        let mut left = BTreeMap::new();
        let old = refs.get(&superposition_key(name))?;
        let guard = match old {
            Some(value) => {
                let record = SuperpositionRecord::decode(&value)?;
                if is_living(&record) {
                    Guard::Absent
                } else {
                    for candidate in record.candidates.into_iter().filter(|_| record.collapsed.is_none()) {
                        if let Some(value) = refs.get(&workspace_key(&candidate))? {
                            left.insert(candidate, value.to_vec());
                        }
                    }
                    Guard::Equals(value.to_vec())
                }
            }
            None => Guard::Absent,
        };
        transaction.guards.push((superposition_key(name), guard));
        Ok(left)
    }

    /// Gives up the names of a superposition and of its candidates; `false` if there is none.
    pub(crate) fn drop_superposition(&self, name: &str) -> Result<bool> {
        let refs = self.engine.store().refs();
        let Some(value) = refs.get(&superposition_key(name))? else {
            return Ok(false);
        };
        let record = SuperpositionRecord::decode(&value)?;
        let mut transaction = RefTransaction {
            guards: vec![(superposition_key(name), Guard::Equals(value.to_vec()))],
            puts: vec![(superposition_key(name), None)],
            message: format!("drop {name}"),
            ..RefTransaction::default()
        };
        for candidate in record.candidates.iter().filter(|_| record.collapsed.is_none()) {
            transaction.puts.push((workspace_key(candidate), None));
        }
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => Ok(true),
            RefOutcome::Conflict { .. } => Err(changed_elsewhere(name)),
        }
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
        let value = self
            .engine
            .store()
            .refs()
            .get(&superposition_key(name))?
            .ok_or_else(missing)?;
        let record = SuperpositionRecord::decode(&value)?;
        let mut inner = Inner {
            base: record.base,
            candidates: Vec::new(),
            weights: record.weights,
            deadline_ns: record.deadline_ns,
            outcome: record.collapsed,
            record: Some(value.to_vec()),
        };
        inner.check_living().map_err(|_| missing())?;
        for candidate in &record.candidates {
            inner.candidates.push(self.view_workspace(candidate)?);
        }
        Ok(Superposition::new(self.clone(), Some(name.to_owned()), inner))
    }

    /// The names of all named superpositions that have neither collapsed nor decayed, sorted.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn superpositions(&self) -> Result<Vec<String>> {
        self.engine.open()?;
        let mut names = Vec::new();
        for (key, value) in self.engine.store().refs().scan(b"s/")? {
            let record = SuperpositionRecord::decode(&value)?;
            if is_living(&record) {
                names.push(name_of(&key)?);
            }
        }
        Ok(names)
    }
}

/// Whether a superposition neither collapsed nor decayed.
pub(crate) fn is_living(record: &SuperpositionRecord) -> bool {
    record.collapsed.is_none() && record.deadline_ns.is_none_or(|deadline| now_ns() <= deadline)
}

impl Superposition {
    fn new(repository: Repository, name: Option<String>, inner: Inner) -> Arc<Self> {
        Arc::new(Superposition {
            repository,
            name,
            inner: Mutex::new(inner),
            collapsed: Condvar::new(),
        })
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.repository.engine
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The candidates; empty after the collapse.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn candidates(&self) -> Result<Vec<Arc<Workspace>>> {
        Ok(self.fresh()?.candidates.clone())
    }

    /// The weights, one a candidate.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn weights(&self) -> Result<Vec<f64>> {
        Ok(self.fresh()?.weights.clone())
    }

    /// What is known of the superposition, with what others did to it.
    fn fresh(&self) -> Result<MutexGuard<'_, Inner>> {
        self.engine().open()?;
        let mut inner = self.inner.lock();
        let Some(name) = &self.name else { return Ok(inner) };
        let value = self.engine().store().refs().get(&superposition_key(name))?;
        let Some(value) = value.filter(|value| Some(&value[..]) != inner.record.as_deref()) else {
            return Ok(inner);
        };
        let record = SuperpositionRecord::decode(&value)?;
        let mut candidates = Vec::with_capacity(record.candidates.len());
        if record.collapsed.is_none() {
            for candidate in &record.candidates {
                let known = inner
                    .candidates
                    .iter()
                    .find(|known| known.name() == Some(candidate))
                    .cloned();
                candidates.push(match known {
                    Some(known) => known,
                    None => self.repository.view_workspace(candidate)?,
                });
            }
        }
        inner.weights = if record.collapsed.is_none() {
            record.weights
        } else {
            Vec::new()
        };
        inner.candidates = candidates;
        inner.base = record.base;
        inner.deadline_ns = record.deadline_ns;
        inner.outcome = record.collapsed;
        inner.record = Some(value.to_vec());
        Ok(inner)
    }

    /// Adds a workspace as a candidate; its index. In a named superposition it must have a name.
    ///
    /// # Errors
    /// `Conflict` if it collapsed or was changed by another process; `InvalidArgument`.
    pub fn add(&self, workspace: Arc<Workspace>, weight: f64) -> Result<usize> {
        check_weight(weight)?;
        if !Arc::ptr_eq(&workspace.engine, self.engine()) {
            return Err(Error::invalid("the workspace belongs to another repository"));
        }
        if self.name.is_some() && workspace.name().is_none() {
            return Err(Error::invalid(
                "a candidate of a named superposition needs a name; use fork(name)",
            ));
        }
        let mut inner = self.fresh()?;
        inner.check_living()?;
        inner.candidates.push(workspace);
        inner.weights.push(weight);
        if let Err(error) = self.store(&mut inner, "add") {
            inner.candidates.pop();
            inner.weights.pop();
            return Err(error);
        }
        Ok(inner.candidates.len() - 1)
    }

    /// Gives a candidate another weight.
    ///
    /// # Errors
    /// `InvalidArgument`; `Conflict` as for [`Superposition::add`].
    pub fn weigh(&self, index: usize, weight: f64) -> Result<()> {
        check_weight(weight)?;
        let mut inner = self.fresh()?;
        inner.check_living()?;
        inner.check_index(index)?;
        let old = std::mem::replace(&mut inner.weights[index], weight);
        self.store(&mut inner, "weigh")
            .inspect_err(|_| inner.weights[index] = old)
    }

    fn store(&self, inner: &mut Inner, verb: &str) -> Result<()> {
        let (Some(name), Some(old)) = (&self.name, inner.record.clone()) else {
            return Ok(());
        };
        let record = inner.encode();
        let transaction = RefTransaction {
            guards: vec![(superposition_key(name), Guard::Equals(old))],
            puts: vec![(superposition_key(name), Some(record.clone()))],
            message: format!("{verb} {name}"),
            ..RefTransaction::default()
        };
        match self.engine().commit_refs(&transaction)? {
            RefOutcome::Done => {
                inner.record = Some(record);
                Ok(())
            }
            RefOutcome::Conflict { .. } => Err(changed_elsewhere(name)),
        }
    }

    /// Chooses without collapsing: the candidate of the greatest weight (of equals the first), or with a seed one drawn with
    /// probability proportional to its weight, always the same for the same seed and weights.
    ///
    /// # Errors
    /// `Conflict` after the collapse; `InvalidArgument` if all weights are 0.
    pub fn observe(&self, seed: Option<u64>) -> Result<usize> {
        let inner = self.fresh()?;
        inner.check_living()?;
        let total: f64 = inner.weights.iter().sum();
        if total <= 0.0 {
            return Err(Error::invalid(
                "every weight is 0, so none can be chosen; weigh a candidate first",
            ));
        }
        if let Some(seed) = seed {
            let mut left = sample(seed) * total;
            for (index, weight) in inner.weights.iter().enumerate() {
                left -= weight;
                if left < 0.0 {
                    return Ok(index);
                }
            }
        }
        let mut best = 0;
        for (index, weight) in inner.weights.iter().enumerate() {
            if *weight > inner.weights[best] {
                best = index;
            }
        }
        Ok(best)
    }

    /// Makes candidate `index` the outcome: it is checkpointed if need be, `onto` moves to it by compare-and-swap (from the base, or from
    /// nothing), every other candidate is released, waiters are told. All in one record.
    ///
    /// # Errors
    /// `Conflict` if the branch moved since the base or somebody else collapsed first: nothing happened then.
    pub fn collapse(&self, index: usize, onto: &str) -> Result<Checkpoint> {
        paths::check_name("branch", onto)?;
        let mut inner = self.fresh()?;
        inner.check_living()?;
        inner.check_index(index)?;
        let winner = inner.candidates[index].clone();
        let _section = self.engine().store().section();
        winner.take_up()?;
        let result = if winner.is_dirty() {
            winner.checkpoint("collapse", pyi_tree::cbor::Value::Null)?
        } else {
            winner.head()
        };
        let refs = self.engine().store().refs();
        let guard = match refs.get(&branch_key(onto))? {
            Some(_) => Guard::Equals(inner.base.0.to_vec()),
            None => Guard::Absent,
        };
        let mut transaction = RefTransaction {
            guards: vec![(branch_key(onto), guard)],
            puts: vec![(branch_key(onto), Some(result.id().0.to_vec()))],
            message: format!("collapse onto {onto}"),
            ..RefTransaction::default()
        };
        let outcome = (index as u64, *result.id());
        inner.outcome = Some(outcome);
        if let (Some(name), Some(old)) = (&self.name, inner.record.clone()) {
            transaction.guards.push((superposition_key(name), Guard::Equals(old)));
            transaction.puts.push((superposition_key(name), Some(inner.encode())));
            for candidate in inner.candidates.iter().filter_map(|candidate| candidate.name()) {
                transaction.puts.push((workspace_key(candidate), None));
            }
        }
        match refs.commit(&transaction) {
            Ok(RefOutcome::Done) => {}
            Ok(RefOutcome::Conflict { key, found }) => {
                inner.outcome = None;
                return Err(if key == branch_key(onto) {
                    branch_conflict(onto, found.as_deref())
                } else {
                    changed_elsewhere(self.name.as_deref().unwrap_or_default())
                });
            }
            Err(error) => {
                inner.outcome = None;
                return Err(error.into());
            }
        }
        inner.candidates.clear();
        inner.weights.clear();
        drop(inner);
        self.collapsed.notify_all();
        self.engine().acknowledge(self.engine().durability)?;
        Ok(result)
    }

    /// Waits until the superposition collapsed, here or in another process; the outcome, or `None` when the time is over.
    ///
    /// # Errors
    /// `NotFound` if it decayed; `Storage`.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<Checkpoint>> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut generation = None;
        let mut inner = self.inner.lock();
        loop {
            self.engine().open()?;
            let now = self.engine().store().refs().generation();
            if let Some(name) = &self.name
                && inner.outcome.is_none()
                && generation != Some(now)
            {
                generation = Some(now);
                let value = self.engine().store().refs().get(&superposition_key(name))?;
                let value = value.ok_or_else(|| Error::not_found(format!("superposition {name:?} was removed")))?;
                inner.outcome = SuperpositionRecord::decode(&value)?.collapsed;
            }
            if let Some((_, id)) = inner.outcome {
                return Ok(Some(Checkpoint::new(
                    self.engine().clone(),
                    id,
                    self.engine().root(&id)?,
                )));
            }
            inner.check_living()?;
            let step = until.map_or(POLL, |until| until.saturating_duration_since(Instant::now()).min(POLL));
            if step.is_zero() {
                return Ok(None);
            }
            self.collapsed.wait_for(&mut inner, step);
        }
    }
}

fn changed_elsewhere(name: &str) -> Error {
    Error::conflict(format!(
        "superposition {name:?} was changed by somebody else; open it again"
    ))
}
