//! Candidates that nobody renewed, and what becomes of their names.

use std::time::Duration;

use pyi_cas::{RefOutcome, RefStore};
use pyi_tree::refs::{Fate, SuperpositionRecord, workspace_key};

use super::create::span_ns;
use super::desk::{Desk, Loaded, Plan, load_all};
use super::{ATTEMPTS, Superposition, check_choosable, desk, fate_at};
use crate::engine::now_ns;
use crate::repository::Repository;
use crate::{Error, Result};

/// Whether a superposition neither collapsed nor decayed. O(1): candidates in parts are not needed.
pub(crate) fn is_living(record: &SuperpositionRecord) -> bool {
    record.collapsed.is_none() && record.deadline_ns.is_none_or(|deadline| now_ns() <= deadline)
}

/// The living superposition with a name whose candidate has this name, and the candidate's number. O(bytes of all records).
pub(super) fn find_candidate(refs: &dyn RefStore, name: &str) -> Result<Option<(Loaded, u64)>> {
    // Most records do not hold the name at all, and need not be read as what they are.
    let mut holds = refs.scan(b"s/")?;
    holds.extend(refs.scan(b"p/")?);
    if !holds.iter().any(|(_, value)| contains(value, name.as_bytes())) {
        return Ok(None);
    }
    for loaded in load_all(refs)? {
        let is_it = |one: &pyi_tree::refs::CandidateRecord| one.name == name && one.fate.has_name();
        if loaded.record.collapsed.is_none()
            && let Some(index) = loaded.record.candidates.iter().position(is_it)
        {
            return Ok(Some((loaded, index as u64)));
        }
    }
    Ok(None)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(wanted) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Lets the candidates go whose time is over; what became of the record, if that is any of them.
pub(super) fn sweep(record: &mut SuperpositionRecord, plan: &mut Plan, now_ns: u64) -> bool {
    let mut is_changed = false;
    for candidate in &mut record.candidates {
        if candidate.fate == Fate::Living && fate_at(candidate, now_ns) == Fate::Decayed {
            candidate.fate = Fate::Decayed;
            is_changed = true;
            if !candidate.name.is_empty() {
                plan.transaction.puts.push((workspace_key(&candidate.name), None));
            }
        }
    }
    is_changed
}

impl Superposition {
    /// Gives a candidate, or all that live, another `ttl` from now: by default the one that the superposition was made with.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no time to live; `NotFound` if it decayed already; `Conflict` as for [`Superposition::weigh`].
    pub fn renew(&self, index: Option<usize>, ttl: Option<Duration>) -> Result<()> {
        self.change("renew", &mut |record, _| {
            let now_ns = now_ns();
            let ttl_ns = ttl.map(span_ns).or(record.ttl_ns).ok_or_else(|| {
                Error::invalid("the superposition was made without a time to live; say renew(ttl=seconds)")
            })?;
            let deadline_ns = Some(now_ns.saturating_add(ttl_ns));
            if let Some(index) = index {
                check_choosable(record, index, now_ns)?;
                record.candidates[index].deadline_ns = deadline_ns;
                return Ok(());
            }
            for candidate in &mut record.candidates {
                if fate_at(candidate, now_ns) == Fate::Living {
                    candidate.deadline_ns = deadline_ns;
                }
            }
            Ok(())
        })
    }
}

impl Repository {
    /// Frees the names of candidates that decayed, and forgets superpositions without anything left. O(bytes of all records).
    pub(crate) fn release_decayed(&self) -> Result<()> {
        for loaded in load_all(self.refs()?)? {
            if loaded.record.collapsed.is_none() {
                self.release_decayed_of(&loaded.name)?;
            }
        }
        Ok(())
    }

    /// Frees a name that a workspace has only because it was a candidate that decayed; whether it did.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub(crate) fn free_decayed(&self, name: &str) -> Result<bool> {
        match find_candidate(self.refs()?, name)? {
            Some((loaded, index)) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let candidate = super::candidate(&loaded.record, index)?;
                Ok(fate_at(candidate, now_ns()) == Fate::Decayed && self.release_decayed_of(&loaded.name)?)
            }
            None => Ok(false),
        }
    }

    fn release_decayed_of(&self, name: &str) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let desk = Desk::for_key(&self.engine, name);
            let Some(loaded) = desk.load(name)? else {
                return Ok(false);
            };
            let (mut record, now_ns) = ((*loaded.record).clone(), now_ns());
            let mut plan = Plan::new(format!("decay {name}"));
            if record.collapsed.is_some() || !sweep(&mut record, &mut plan, now_ns) {
                return Ok(false);
            }
            plan.replace(&loaded, record);
            if desk.commit(plan)? == RefOutcome::Done {
                self.engine.acknowledge(self.engine.durability)?;
                self.engine.watch.tell();
                return Ok(true);
            }
        }
        Err(desk::busy(name))
    }

    /// Marks a named workspace as dropped where it is a candidate, in the step that drops its name; `false` if it is none.
    pub(crate) fn drop_candidate(&self, name: &str) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let Some((loaded, index)) = find_candidate(self.refs()?, name)? else {
                return Ok(false);
            };
            let mut record = (*loaded.record).clone();
            record.candidates[index as usize].fate = Fate::Dropped;
            let mut plan = Plan::new(format!("drop {name}"));
            plan.replace(&loaded, record);
            plan.transaction.puts.push((workspace_key(name), None));
            if Desk::for_key(&self.engine, &loaded.name).commit(plan)? == RefOutcome::Done {
                self.engine.acknowledge(self.engine.durability)?;
                return Ok(true);
            }
        }
        Err(desk::busy(name))
    }
}
