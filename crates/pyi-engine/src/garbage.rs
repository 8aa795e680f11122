//! Collecting garbage: what stays is marked here, what does not is removed by the store.

use std::time::{Duration, Instant};

use pyi_cas::{CollectOptions, Guard, Id, IdMap, IdSet, Kind, Mark, RefOutcome, RefTransaction};
use pyi_tree::CheckpointRoot;
use pyi_tree::refs::{Lease, WorkspaceRecord, superposition_key, workspace_key};

use crate::durability::Durability;
use crate::engine::{Engine, now_ns};
use crate::mark::{Marker, Missing};
use crate::repository::Repository;
use crate::retention::Retention;
use crate::roots::{Past, Roots, ancestors};
use crate::superposition::{is_living, load_all};
use crate::undo::COLLECTED_KEY;
use crate::{Error, ErrorKind, Result};

/// Segments of which less than this is dead stay as they are, unless bytes are short.
const DEAD_SHARE: f64 = 0.1;

/// How to collect.
#[derive(Clone, Copy)]
pub struct GcOptions<'a> {
    /// At most so many bytes may live: what retention alone keeps goes, the oldest first, until they do. By default the cap, if there
    /// is one.
    pub budget_bytes: Option<u64>,
    /// Rewrite everything with the best compression.
    pub compact: bool,
    /// How long to wait for an operation of another process before giving up.
    pub patience: Duration,
    /// Called with what is being done and how far it is, 0.0 to 1.0.
    pub progress: Option<&'a (dyn Fn(&'static str, f64) + Sync)>,
}

impl Default for GcOptions<'_> {
    fn default() -> Self {
        GcOptions {
            budget_bytes: None,
            compact: false,
            patience: Duration::from_secs(10),
            progress: None,
        }
    }
}

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GcReport {
    /// Bytes in segments before.
    pub bytes_before: u64,
    /// Bytes in segments afterwards.
    pub bytes_after: u64,
    /// Bytes of what stays, as it is stored.
    pub live_bytes: u64,
    /// Objects that are gone.
    pub objects_removed: u64,
    /// Segment files that are gone.
    pub segments_removed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Why nothing was removed, if something was in the way.
    pub gave_up: Option<String>,
}

/// How much may live.
#[derive(Clone, Copy, Default)]
pub(crate) struct Budget {
    /// What is named may take so much, else nothing is removed.
    pub(crate) named: Option<u64>,
    /// What retention adds may fill it up to here.
    pub(crate) retained: Option<u64>,
}

struct RepositoryMark<'a> {
    engine: &'a Engine,
    retention: Retention,
    budget: Budget,
    now_ns: u64,
    past: Past,
    calls: usize,
    followed: IdSet,
    /// Checkpoints of which retention has decided whether they stay.
    decided: IdSet,
    bytes: u64,
    failure: Option<Error>,
    /// With `compact`: what stands in an object's place in a newer version.
    newer: IdMap<Id>,
    compact: bool,
}

impl Mark for RepositoryMark<'_> {
    /// From the second time on something is to be removed. Who looks up a checkpoint by its id pins it, looks whether it is older than this, and
    /// makes sure of all of it if so: thus the collector knows its pin, or what is condemned of it is found.
    fn announce(&mut self) -> pyi_cas::Result<()> {
        self.calls += 1;
        let announced = if self.calls > 1 { self.note_collection() } else { Ok(()) };
        announced.map_err(|error| self.failed(error))
    }

    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> pyi_cas::Result<()> {
        self.mark_all(pins, live).map_err(|error| self.failed(error))
    }

    fn delta_base(&self, id: &Id) -> Option<Id> {
        self.newer.get(id).copied()
    }
}

impl RepositoryMark<'_> {
    /// Keeps an error for the caller of the collection.
    fn failed(&mut self, error: Error) -> pyi_cas::Error {
        let text = error.to_string();
        self.failure = Some(error);
        pyi_cas::Error::invalid(text)
    }

    fn mark_all(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()> {
        let store = self.engine.store();
        let mut marker = Marker::new(store, live, Missing::Refuse);
        marker.newer = self.compact.then_some(&mut self.newer);
        marker.count_bytes = self.budget.named.is_some() || self.budget.retained.is_some();
        let roots = Roots::read(store)?;
        roots.mark(&mut marker, &mut self.followed, &self.retention, self.now_ns)?;
        // What is pinned is whole, or is about to be found not to be.
        marker.missing = Missing::Skip;
        for pin in pins {
            if let Some(root) = marker.any(pin)? {
                ancestors(&mut marker, pin, root, &mut self.followed, &self.retention, self.now_ns)?;
            }
        }
        self.bytes += marker.bytes;
        if let Some(budget) = self.budget.named.filter(|budget| self.bytes > *budget) {
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                format!(
                    "branches, named workspaces and what else is kept take {} bytes, the budget is {budget}: nothing was removed; drop \
                     some of them, shorten retention's history, or raise the budget",
                    self.bytes
                ),
            ));
        }
        self.mark_retained(live)?;
        if self.calls > 1 {
            // A fork of the process waits for those who hold locks.
            let _gate = pyi_cas::enter();
            self.engine.git_map.retain(live);
        }
        Ok(())
    }

    /// Marks what only retention keeps, newest first, as far as it fits.
    fn mark_retained(&mut self, live: &mut IdSet) -> Result<()> {
        let store = self.engine.store();
        let age = u64::try_from(self.retention.age.as_nanos()).unwrap_or(u64::MAX);
        let since_ns = self.now_ns.saturating_sub(age);
        let mut found: Vec<(u64, Id, bool)> = Vec::new();
        for id in std::mem::take(&mut self.past.former) {
            if live.contains(&id) || !self.decided.insert(id) {
                continue;
            }
            match time_of(self.engine, &id)? {
                Some(time_ns) => found.push((time_ns, id, true)),
                // A flushed journal; it goes with what was flushed about that time, which nobody wrote down.
                None => found.push((self.now_ns, id, false)),
            }
        }
        for id in store.ids(Kind::Checkpoint)? {
            if live.contains(&id) || !self.decided.insert(id) {
                continue;
            }
            if let Some(time_ns) = time_of(self.engine, &id)?.filter(|time_ns| *time_ns >= since_ns) {
                found.push((time_ns, id, true));
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        for (_, id, is_checkpoint) in found {
            let mut marker = Marker::new(store, live, Missing::Skip);
            marker.count_bytes = self.budget.retained.is_some();
            marker.note_added = marker.count_bytes;
            if is_checkpoint {
                marker.checkpoint(&id)?;
            } else {
                marker.any(&id)?;
            }
            let (bytes, added) = (marker.bytes, std::mem::take(&mut marker.added));
            if self.budget.retained.is_some_and(|budget| self.bytes + bytes > budget) {
                // All that is older goes too: retention drops the oldest first.
                for id in added {
                    live.remove(&id);
                }
                break;
            }
            self.bytes += bytes;
        }
        Ok(())
    }

    fn note_collection(&self) -> Result<()> {
        let transaction = RefTransaction {
            puts: vec![(COLLECTED_KEY.to_vec(), Some(now_ns().to_le_bytes().to_vec()))],
            message: "collect".to_owned(),
            ..RefTransaction::default()
        };
        self.engine.store().refs().commit(&transaction)?;
        Ok(())
    }
}

/// When a checkpoint was made; `None` if there is none of this id.
fn time_of(engine: &Engine, id: &Id) -> Result<Option<u64>> {
    let Some(bytes) = engine.store().get(Kind::Checkpoint, id)? else {
        return Ok(None);
    };
    Ok(Some(CheckpointRoot::decode(&bytes)?.time_ns))
}

impl Repository {
    /// Removes what neither refs nor workspaces nor retention keep. Others go on reading and writing meanwhile. What is left of the ref
    /// logs and of caches for directories that are gone is cleared away too. O(objects + bytes that move).
    ///
    /// # Errors
    /// `QuotaExceeded` if what is kept by name is above the budget; `Corrupt` if something that is kept is damaged: nothing was removed
    /// then. `Storage`.
    pub fn gc(&self, options: &GcOptions<'_>) -> Result<GcReport> {
        self.engine.open()?;
        let cap = self.retention()?.cap_bytes;
        let budget = Budget {
            named: options.budget_bytes.or(cap),
            retained: options.budget_bytes.or(cap),
        };
        self.engine.collect(self, options, budget)
    }

    /// Takes candidates that weigh less than retention asks for back to their base.
    fn release_light(&self, retention: &Retention) -> Result<()> {
        let Some(least) = retention.weight else { return Ok(()) };
        let refs = self.refs()?;
        for loaded in load_all(refs)? {
            let record = &loaded.record;
            if !is_living(record) {
                continue;
            }
            let light = record
                .candidates
                .iter()
                .filter(|one| one.fate.has_name() && one.weight < least);
            for candidate in light.map(|one| one.name.as_str()) {
                let Some(old) = refs.get(&workspace_key(candidate))? else {
                    continue;
                };
                let mut workspace = WorkspaceRecord::decode(&old)?;
                if workspace.head == record.base && workspace.journal.is_none() {
                    continue;
                }
                workspace.head = record.base;
                workspace.journal = None;
                workspace.lease = Lease {
                    owner: [0; 16],
                    ..self.engine.leases.next(workspace.lease.epoch)
                };
                let transaction = RefTransaction {
                    guards: vec![
                        (
                            superposition_key(&loaded.name),
                            Guard::Equals(loaded.stored.head.clone()),
                        ),
                        (workspace_key(candidate), Guard::Equals(old.to_vec())),
                    ],
                    puts: vec![(workspace_key(candidate), Some(workspace.encode()))],
                    message: format!("release {candidate}"),
                    ..RefTransaction::default()
                };
                // Who moves it meanwhile is at work on it: the next collection looks again.
                let (RefOutcome::Done | RefOutcome::Conflict { .. }) = refs.commit(&transaction)?;
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Runs a collection.
    pub(crate) fn collect(&self, repository: &Repository, options: &GcOptions<'_>, budget: Budget) -> Result<GcReport> {
        let begin = Instant::now();
        if self.durability == Durability::Memory {
            // Nothing is pinned there, as nobody else could take it away.
            return Ok(GcReport {
                gave_up: Some("a repository in memory gives its space back when it is closed".to_owned()),
                ..GcReport::default()
            });
        }
        let retention = repository.retention()?;
        repository.release_decayed()?;
        repository.release_light(&retention)?;
        {
            let _gate = pyi_cas::enter();
            self.last_held.clear();
        }
        let now_ns = now_ns();
        let past = Past::read(self.store(), &retention, now_ns)?;
        let keep_from = past.keep_from;
        let mut mark = RepositoryMark {
            engine: self,
            retention,
            budget,
            now_ns,
            past,
            calls: 0,
            followed: IdSet::default(),
            decided: IdSet::default(),
            bytes: 0,
            failure: None,
            newer: IdMap::default(),
            compact: options.compact,
        };
        let dead_share = if budget.retained.is_some() { 0.0 } else { DEAD_SHARE };
        let how = CollectOptions {
            dead_share,
            compact: options.compact,
            patience: options.patience,
            progress: options.progress,
        };
        let collected = self.store().collect(&mut mark, &how);
        let collected = match (collected, mark.failure.take()) {
            (_, Some(failure)) => return Err(failure),
            (collected, None) => collected?,
        };
        if collected.gave_up.is_none() {
            // Until what the newest log begins with is durable, a loss of power goes back to the logs before it.
            self.store().flush()?;
            self.store().refs().forget_before(keep_from)?;
            crate::sandbox::remove_stale_caches(&self.path);
        }
        Ok(GcReport {
            bytes_before: collected.bytes_before,
            bytes_after: collected.bytes_after,
            live_bytes: collected.live_bytes,
            objects_removed: collected.objects_removed,
            segments_removed: collected.segments_removed,
            seconds: begin.elapsed().as_secs_f64(),
            gave_up: collected.gave_up,
        })
    }
}
