//! Candidate workspaces forked from one checkpoint, of which one is chosen.
//!
//! What a superposition is stands in one record (`pyi_tree::refs::SuperpositionRecord`): of one with a name in the ref log, of one
//! without in the engine (`desk.rs`). Every operation is one conditional change of one or several records; whoever comes second sees
//! that and looks again. `create.rs` makes them, `change.rs` changes candidates, `prune.rs` and `decay.rs` let go of some, `group.rs`
//! links superpositions, `collapse.rs` decides, `wait.rs` waits for that.

mod change;
mod collapse;
mod create;
mod decay;
mod desk;
mod group;
mod observe;
mod prune;
mod wait;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use pyi_cas::Id;
use pyi_tree::refs::{CandidateRecord, SuperpositionRecord};

pub use collapse::{Onto, Ready};
pub use prune::Keep;
pub use pyi_tree::refs::Fate;

pub(crate) use decay::is_living;
pub(crate) use desk::{Shelf, Stored, load_all};
pub(crate) use wait::Watch;

use crate::engine::{Engine, now_ns};
use crate::repository::Repository;
use crate::workspace::Workspace;
use crate::{Error, Result};
use desk::Loaded;

/// How often an operation looks again when others change the same records at the same time.
const ATTEMPTS: usize = 256;

/// A superposition. Without a name it lives in this process; with one, it and its candidates survive it.
pub struct Superposition {
    repository: Repository,
    /// Of one without a name: a name that nobody can give.
    key: Arc<str>,
    cache: Arc<Mutex<Cache>>,
}

/// What a handle knows; of a superposition without a name this is all there is.
pub(crate) struct Cache {
    record: Arc<SuperpositionRecord>,
    stored: Arc<Stored>,
    /// One a candidate, by its number; empty after the collapse.
    workspaces: Vec<Arc<Workspace>>,
    /// The ref generation at which all of this was so.
    seen: Option<u64>,
    /// It was dropped, or let go together with the one that it was forked from.
    is_gone: bool,
    /// Somebody holds a handle; counts for one without a name only.
    is_held: bool,
}

impl Cache {
    fn new(record: SuperpositionRecord, stored: Stored, workspaces: Vec<Arc<Workspace>>) -> Self {
        Cache {
            record: Arc::new(record),
            stored: Arc::new(stored),
            workspaces,
            seen: None,
            is_gone: false,
            is_held: true,
        }
    }

    /// Takes over what a change made of the record.
    fn settle(&mut self, record: SuperpositionRecord) {
        if record.collapsed.is_some() {
            self.workspaces.clear();
        }
        self.record = Arc::new(record);
    }

    fn check_living(&self) -> Result<()> {
        if self.is_gone {
            return Err(Error::not_found(
                "the superposition was dropped, or let go with the candidate it was forked from; superpose again to go on",
            ));
        }
        check_living(&self.record)
    }
}

fn check_living(record: &SuperpositionRecord) -> Result<()> {
    if record.collapsed.is_some() {
        return Err(Error::conflict(
            "the superposition has collapsed; superpose again to go on",
        ));
    }
    if !is_living(record) {
        return Err(Error::not_found(
            "the superposition decayed: its time to live is over; superpose again",
        ));
    }
    Ok(())
}

fn check_weight(weight: f64) -> Result<()> {
    if !weight.is_finite() || weight < 0.0 {
        return Err(Error::invalid(format!(
            "weight {weight}: a weight is a finite number of at least 0"
        )));
    }
    Ok(())
}

/// The candidate of this number, whatever became of it.
fn candidate(record: &SuperpositionRecord, index: usize) -> Result<&CandidateRecord> {
    record.candidates.get(index).ok_or_else(|| {
        let count = record.candidates.len();
        Error::invalid(format!("candidate {index}: there are {count}, counted from 0"))
    })
}

/// What has become of a candidate by now.
fn fate_at(candidate: &CandidateRecord, now_ns: u64) -> Fate {
    match candidate.fate {
        Fate::Living if candidate.deadline_ns.is_some_and(|deadline| now_ns > deadline) => Fate::Decayed,
        fate => fate,
    }
}

/// Refuses a candidate that cannot be chosen any more.
fn check_choosable(record: &SuperpositionRecord, index: usize, now_ns: u64) -> Result<()> {
    let gone = match fate_at(candidate(record, index)?, now_ns) {
        Fate::Living => return Ok(()),
        Fate::Failed => "failed its check and is never chosen; add a better one",
        Fate::Pruned => "was pruned",
        Fate::Dropped => "was dropped by its name",
        Fate::Decayed => {
            return Err(Error::not_found(format!(
                "candidate {index} decayed: nobody renewed it in time; `living` lists those that can be chosen"
            )));
        }
    };
    Err(Error::conflict(format!(
        "candidate {index} {gone}; `living` lists those that can be chosen"
    )))
}

impl Superposition {
    fn new(repository: Repository, key: Arc<str>, cache: Arc<Mutex<Cache>>) -> Arc<Self> {
        Arc::new(Superposition { repository, key, cache })
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.repository.engine
    }

    fn is_local(&self) -> bool {
        desk::is_local(&self.key)
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        Some(&*self.key).filter(|_| !self.is_local())
    }

    /// The candidates by their numbers; empty after the collapse. One that went keeps its place, so that a number never means
    /// another candidate: with the workspace as this handle knew it, or one at the base. O(candidates).
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn candidates(&self) -> Result<Vec<Arc<Workspace>>> {
        Ok(self.fresh()?.workspaces.clone())
    }

    /// The weights, one a candidate; that of one that cannot be chosen is 0. O(candidates).
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn weights(&self) -> Result<Vec<f64>> {
        let (cache, now_ns) = (self.fresh()?, now_ns());
        let weight = |one: &CandidateRecord| {
            if fate_at(one, now_ns) == Fate::Living {
                one.weight
            } else {
                0.0
            }
        };
        Ok(cache.record.candidates.iter().map(weight).collect())
    }

    /// What has become of each candidate; empty after the collapse. O(candidates).
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn fates(&self) -> Result<Vec<Fate>> {
        let (cache, now_ns) = (self.fresh()?, now_ns());
        Ok(cache.record.candidates.iter().map(|one| fate_at(one, now_ns)).collect())
    }

    /// When each candidate decays if nobody renews it, unix nanoseconds; `None` for never. O(candidates).
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn deadlines_ns(&self) -> Result<Vec<Option<u64>>> {
        Ok(self
            .fresh()?
            .record
            .candidates
            .iter()
            .map(|one| one.deadline_ns)
            .collect())
    }

    /// The superposition of whose candidate this one was forked, and the candidate's number. Without a name: the number only.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn outer(&self) -> Result<Option<(Option<String>, u64)>> {
        let cache = self.fresh()?;
        let named = |name: &String| Some(name.clone()).filter(|name| !desk::is_local(name));
        Ok(cache.record.outer.as_ref().map(|(name, index)| (named(name), *index)))
    }

    /// The names of the superpositions that it is linked with directly, sorted; of those without a name none.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn entangled(&self) -> Result<Vec<String>> {
        let cache = self.fresh()?;
        let others = cache.record.links.iter().map(|link| link.other.clone());
        let mut others: Vec<String> = others.filter(|name| !desk::is_local(name)).collect();
        others.sort();
        Ok(others)
    }

    /// Once it collapsed, the winner's number and checkpoint.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn outcome(&self) -> Result<Option<(u64, Id)>> {
        Ok(self.fresh()?.record.collapsed)
    }

    /// What is known of the superposition, with what others did to it. O(1) as long as no ref moved.
    fn fresh(&self) -> Result<MutexGuard<'_, Cache>> {
        self.engine().open()?;
        let mut cache = self.cache.lock();
        if !self.is_local() {
            self.catch_up(&mut cache)?;
        }
        Ok(cache)
    }

    fn catch_up(&self, cache: &mut Cache) -> Result<()> {
        let generation = self.engine().store().refs().generation();
        if cache.seen == Some(generation) || cache.is_gone {
            return Ok(());
        }
        let known = Loaded {
            name: self.key.to_string(),
            record: cache.record.clone(),
            stored: cache.stored.clone(),
        };
        match desk::load_changed(self.engine(), &self.key, Some(&known))? {
            None => cache.is_gone = true,
            Some(now) if now.record.made_ns != cache.record.made_ns => cache.is_gone = true,
            Some(now) if !Arc::ptr_eq(&now.stored, &cache.stored) => self.take_over(cache, &now)?,
            Some(_) => {}
        }
        cache.seen = Some(generation);
        Ok(())
    }

    /// Goes to what the ref log says.
    fn take_over(&self, cache: &mut Cache, now: &Loaded) -> Result<()> {
        let mut record = now.record.clone();
        if record.collapsed.is_none() {
            let known = cache.workspaces.len();
            for index in known..record.candidates.len() {
                let workspace = self.repository.candidate_workspace(&mut record, index)?;
                cache.workspaces.push(workspace);
            }
        } else {
            cache.workspaces.clear();
        }
        (cache.record, cache.stored) = (record, now.stored.clone());
        Ok(())
    }
}

impl Drop for Superposition {
    fn drop(&mut self) {
        if self.is_local() {
            desk::let_go(self.engine(), &self.key);
        }
    }
}

impl Repository {
    /// The workspace of a candidate: a view of its name, or one at the base if it has none any more.
    fn candidate_workspace(&self, record: &mut Arc<SuperpositionRecord>, index: usize) -> Result<Arc<Workspace>> {
        let one = candidate(record, index)?;
        if one.fate.has_name() {
            match self.view_workspace(&one.name) {
                Err(error) if error.kind() == crate::ErrorKind::NotFound => {
                    if let Some(one) = Arc::make_mut(record).candidates.get_mut(index) {
                        one.fate = Fate::Dropped;
                    }
                }
                found => return found,
            }
        }
        self.workspace_at(record.base)
    }
}
