//! What has to stay: the checkpoints that refs name and what comes before them, and those that retention leaves on top.

use std::collections::{BTreeMap, BinaryHeap, HashSet, VecDeque};
use std::rc::Rc;

use pyi_cas::{Id, IdSet, Kind, ObjectStore, RefChange};
use pyi_tree::CheckpointRoot;
use pyi_tree::refs::{SuperpositionRecord, WorkspaceRecord, decode_branch, decode_kept, decode_tag};

use crate::Result;
use crate::mark::{Marker, Missing};
use crate::retention::Retention;
use crate::superposition::is_living;

const DAY_NS: u64 = 24 * 3600 * 1_000_000_000;

/// What refs name as they are now.
#[derive(Default)]
pub(crate) struct Roots {
    /// Heads, kept checkpoints, bases: all of it has to be there.
    heads: Vec<Id>,
    /// Journals that were flushed behind a head.
    journals: Vec<Id>,
    /// Where workspaces came from: only compared with, so it may be gone.
    origins: Vec<Id>,
}

impl Roots {
    pub(crate) fn read(store: &dyn ObjectStore) -> Result<Self> {
        let mut roots = Roots::default();
        for (key, value) in store.refs().scan(b"")? {
            match key.get(..2) {
                Some(b"b/") => roots.heads.push(decode_branch(&value)?),
                Some(b"k/") => roots.heads.push(decode_kept(&key)?),
                Some(b"t/") => roots.heads.extend(decode_tag(&value)?.1),
                Some(b"w/") => {
                    let record = WorkspaceRecord::decode(&value)?;
                    roots.heads.push(record.head);
                    roots.journals.extend(record.journal);
                    roots.origins.extend(record.origin.map(|origin| origin.head));
                }
                Some(b"s/") => {
                    let record = SuperpositionRecord::decode(&value)?;
                    if is_living(&record) {
                        roots.heads.push(record.base);
                    }
                    roots.heads.extend(record.kept_outcome());
                }
                _ => {}
            }
        }
        Ok(roots)
    }

    /// Marks all of it. `followed` are the checkpoints whose parents were followed before.
    pub(crate) fn mark(
        &self,
        marker: &mut Marker<'_>,
        followed: &mut IdSet,
        retention: &Retention,
        now_ns: u64,
    ) -> Result<()> {
        for journal in &self.journals {
            marker.tree(Kind::Node, *journal)?;
        }
        for head in &self.heads {
            if let Some(root) = marker.checkpoint(head)? {
                ancestors(marker, head, root, followed, retention, now_ns)?;
            }
        }
        marker.missing = Missing::Skip;
        for origin in &self.origins {
            if let Some(root) = marker.checkpoint(origin)? {
                ancestors(marker, origin, root, followed, retention, now_ns)?;
            }
        }
        Ok(())
    }
}

/// Marks what comes before a checkpoint that is marked, as far as retention says. History that is gone has ended.
pub(crate) fn ancestors(
    marker: &mut Marker<'_>,
    head: &Id,
    root: CheckpointRoot,
    followed: &mut IdSet,
    retention: &Retention,
    now_ns: u64,
) -> Result<()> {
    let strict = std::mem::replace(&mut marker.missing, Missing::Skip);
    let done = match retention.history {
        None => all_ancestors(marker, head, root, followed),
        Some(count) => last_ancestors(marker, head, root, count, retention.per_day, now_ns),
    };
    marker.missing = strict;
    done
}

fn all_ancestors(marker: &mut Marker<'_>, head: &Id, root: CheckpointRoot, followed: &mut IdSet) -> Result<()> {
    if !followed.insert(*head) {
        return Ok(());
    }
    let mut waiting = below(root);
    while let Some((id, newer)) = waiting.pop() {
        if followed.insert(id)
            && let Some(root) = marker.checkpoint_below(&id, Some(&*newer))?
        {
            waiting.extend(below(root));
        }
    }
    Ok(())
}

/// The parents of a checkpoint, each with what follows it.
fn below(root: CheckpointRoot) -> Vec<(Id, Rc<CheckpointRoot>)> {
    let root = Rc::new(root);
    root.parents.iter().map(|parent| (*parent, root.clone())).collect()
}

/// The last `count` checkpoints from `head` on, newest first, and of those before them the last one of each of so many days.
fn last_ancestors(
    marker: &mut Marker<'_>,
    head: &Id,
    root: CheckpointRoot,
    count: u64,
    per_day: Option<u32>,
    now_ns: u64,
) -> Result<()> {
    let since_ns = now_ns.saturating_sub(u64::from(per_day.unwrap_or(0)).saturating_mul(DAY_NS));
    let mut queue = BinaryHeap::from([(root.time_ns, *head, root.parents)]);
    let (mut seen, mut days) = (IdSet::default(), HashSet::new());
    seen.insert(*head);
    let (mut number, mut newer) = (0, None);
    while let Some((time_ns, id, parents)) = queue.pop() {
        number += 1;
        // A day that has one among the last needs no other.
        let of_day = per_day.is_some() && time_ns >= since_ns && days.insert(time_ns / DAY_NS);
        if number > count && !of_day {
            if per_day.is_none() || time_ns < since_ns {
                break;
            }
        } else {
            newer = marker.checkpoint_below(&id, newer.as_ref())?.or(newer);
        }
        for parent in parents {
            if seen.insert(parent)
                && let Some(bytes) = marker.store.get(Kind::Checkpoint, &parent)?
            {
                let root = CheckpointRoot::decode(&bytes)?;
                queue.push((root.time_ns, parent, root.parents));
            }
        }
    }
    Ok(())
}

/// What the ref logs tell a collection.
#[derive(Default)]
pub(crate) struct Past {
    /// Where branches and named workspaces stood: checkpoints, and journals behind them.
    pub(crate) former: Vec<Id>,
    /// The history before this may be forgotten.
    pub(crate) keep_from: u64,
}

impl Past {
    pub(crate) fn read(store: &dyn ObjectStore, retention: &Retention, now_ns: u64) -> Result<Self> {
        let heads = usize::try_from(retention.heads).unwrap_or(usize::MAX);
        let since_ns = now_ns.saturating_sub(u64::try_from(retention.age.as_nanos()).unwrap_or(u64::MAX));
        let mut former: BTreeMap<Vec<u8>, VecDeque<Vec<Id>>> = BTreeMap::new();
        let (mut last, mut young) = (VecDeque::new(), None);
        store.refs().history(&mut |change: RefChange| {
            if change.time_ns >= since_ns {
                young.get_or_insert(change.position);
            }
            last.push_back(change.position);
            if last.len() > heads {
                last.pop_front();
            }
            for one in change.changes {
                if let Some(ids) = one.before.as_deref().and_then(|value| stood_at(&one.key, value)) {
                    let known = former.entry(one.key).or_default();
                    // The same head under another owner is not another head.
                    if known.back() != Some(&ids) {
                        known.push_back(ids);
                    }
                    if known.len() > heads {
                        known.pop_front();
                    }
                }
            }
        })?;
        let first = young.into_iter().chain(last.front().copied()).min();
        Ok(Past {
            former: former.into_values().flatten().flatten().collect(),
            keep_from: first.unwrap_or(u64::MAX),
        })
    }
}

/// The objects that a branch or workspace of this value stands at. What does not parse stands nowhere.
fn stood_at(key: &[u8], value: &[u8]) -> Option<Vec<Id>> {
    match key.get(..2)? {
        b"b/" => Some(vec![decode_branch(value).ok()?]),
        b"w/" => {
            let record = WorkspaceRecord::decode(value).ok()?;
            Some(std::iter::once(record.head).chain(record.journal).collect())
        }
        _ => None,
    }
}
