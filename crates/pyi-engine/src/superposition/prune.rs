//! Letting go of light candidates.

use std::collections::BTreeSet;
use std::sync::Arc;

use pyi_cas::RefOutcome;
use pyi_tree::diff::diff;
use pyi_tree::refs::{Fate, SuperpositionRecord, workspace_key};

use super::desk::{self, Desk, Loaded, Plan};
use super::{ATTEMPTS, Superposition, fate_at};
use crate::engine::now_ns;
use crate::workspace::Workspace;
use crate::{Error, Result};

/// How many candidates stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So many of the heaviest.
    Count(usize),
    /// The heaviest that together hold no more bytes in files that differ from the base; at least one.
    Bytes(u64),
}

impl Superposition {
    /// Lets go of all but the heaviest candidates (of equals the first stay), in one step; the numbers of those that went. Failed ones go
    /// first, and what was forked from them goes along. O(candidates), and with [`Keep::Bytes`] O(what differs from the base).
    ///
    /// # Errors
    /// `InvalidArgument` to keep none; `Conflict` if it collapsed, or something would go that is entangled with what stays.
    pub fn prune(&self, keep: Keep) -> Result<Vec<usize>> {
        if keep == Keep::Count(0) {
            return Err(Error::invalid(
                "keep=0: at least one candidate stays; drop gives up all",
            ));
        }
        for _ in 0..ATTEMPTS {
            let (record, stored, workspaces) = {
                let cache = self.fresh()?;
                cache.check_living()?;
                (cache.record.clone(), cache.stored.clone(), cache.workspaces.clone())
            };
            let gone = self.light(&record, &workspaces, keep)?;
            if gone.is_empty() {
                return Ok(gone);
            }
            let desk = Desk::for_key(self.engine(), &self.key);
            let mut plan = Plan::new(format!("prune {}", self.name().unwrap_or_default()));
            let mut changed = (*record).clone();
            for index in &gone {
                let candidate = &mut changed.candidates[*index];
                if candidate.fate.has_name() && !candidate.name.is_empty() {
                    plan.transaction.puts.push((workspace_key(&candidate.name), None));
                }
                candidate.fate = Fate::Pruned;
            }
            let loaded = Loaded {
                name: self.key.to_string(),
                record: record.clone(),
                stored,
            };
            let numbers: BTreeSet<u64> = gone.iter().map(|index| *index as u64).collect();
            let inner = super::collapse::release_below(&desk, &loaded, &|index| numbers.contains(&index), &mut plan)?;
            changed.inner.retain(|(_, name)| !inner.contains(name));
            if self.is_local() && !self.is_as(&record) {
                continue;
            }
            plan.replace(&loaded, changed);
            if desk.commit(plan)? == RefOutcome::Done {
                drop(desk);
                self.engine().acknowledge(self.engine().durability)?;
                self.engine().watch.tell();
                return Ok(gone);
            }
        }
        Err(desk::busy(&self.key))
    }

    /// Whether the record is still this one.
    fn is_as(&self, record: &Arc<SuperpositionRecord>) -> bool {
        let cache = self.cache.lock();
        !cache.is_gone && Arc::ptr_eq(&cache.record, record)
    }

    /// The numbers of those that go.
    fn light(&self, record: &SuperpositionRecord, workspaces: &[Arc<Workspace>], keep: Keep) -> Result<Vec<usize>> {
        let now_ns = now_ns();
        let fates = record.candidates.iter().map(|one| fate_at(one, now_ns));
        let (mut heaviest, mut gone) = (Vec::new(), Vec::new());
        for (index, fate) in fates.enumerate() {
            match fate {
                Fate::Living => heaviest.push(index),
                Fate::Failed | Fate::Decayed if record.candidates[index].fate.has_name() => gone.push(index),
                _ => {}
            }
        }
        heaviest.sort_by(|a, b| record.candidates[*b].weight.total_cmp(&record.candidates[*a].weight));
        let stay = match keep {
            Keep::Count(count) => count,
            Keep::Bytes(budget_bytes) => {
                let (mut stay, mut used_bytes) = (0, 0_u64);
                let base = self.engine().hold(&record.base)?;
                for index in &heaviest {
                    let files = workspaces[*index].files()?;
                    let changed = diff(&base.files, &files, &self.engine().loader)?;
                    let sizes = changed.iter().filter_map(|one| one.new.as_ref());
                    used_bytes += sizes.map(|new| new.row.size_bytes).sum::<u64>();
                    if stay > 0 && used_bytes > budget_bytes {
                        break;
                    }
                    stay += 1;
                }
                stay
            }
        };
        gone.extend(heaviest.into_iter().skip(stay));
        gone.sort_unstable();
        Ok(gone)
    }
}
