//! What happened to branches, names and all else that refs hold, and taking it back.
//!
//! An undo is one more transaction: it puts the values from before back, if what is undone is still what it left behind. So it
//! never takes away what somebody did since, and it can be undone itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pyi_cas::{Bytes, Guard, Id, KeyChange, RefChange, RefOutcome, RefTransaction};
use pyi_tree::refs::{Lease, SuperpositionRecord, WorkspaceRecord, decode_branch, decode_kept, decode_tag};

use crate::hold::Held;
use crate::repository::{Repository, name_of};
use crate::{Error, Result};

/// Remembers that a collection removed something; no part of anybody's history.
pub(crate) const COLLECTED_KEY: &[u8] = b"c/collected";

/// What kind of thing a ref is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefKind {
    /// A branch.
    Branch,
    /// A named workspace.
    Workspace,
    /// A named superposition.
    Superposition,
    /// A kept checkpoint; its name is the id.
    Kept,
    /// A setting of the repository.
    Setting,
}

impl RefKind {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RefKind::Branch => "branch",
            RefKind::Workspace => "workspace",
            RefKind::Superposition => "superposition",
            RefKind::Kept => "kept",
            RefKind::Setting => "setting",
        }
    }
}

/// What an operation did to one ref.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefMove {
    /// What kind of ref.
    pub kind: RefKind,
    /// Its name.
    pub name: String,
    /// The checkpoint where it stood before; `None` if it was not there, or stands at none.
    pub before: Option<Id>,
    /// The checkpoint where it stood afterwards, likewise.
    pub after: Option<Id>,
}

/// One operation of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Where it stands in the history; later ones are greater.
    pub position: u64,
    /// When it was made, unix nanoseconds.
    pub time_ns: u64,
    /// What it was: a verb and a name.
    pub message: String,
    /// What it did.
    pub moves: Vec<RefMove>,
}

impl Operation {
    fn of(change: &RefChange) -> Result<Self> {
        Ok(Operation {
            position: change.position,
            time_ns: change.time_ns,
            message: change.message.clone(),
            moves: change
                .changes
                .iter()
                .filter(|one| !is_part(&one.key))
                .map(move_of)
                .collect::<Result<_>>()?,
        })
    }
}

fn move_of(change: &KeyChange) -> Result<RefMove> {
    let at = |value: &Option<Bytes>| value.as_deref().map_or(Ok(None), |value| place(&change.key, value));
    let (kind, name) = thing(&change.key)?;
    Ok(RefMove {
        kind,
        name,
        before: at(&change.before)?,
        after: at(&change.after)?,
    })
}

fn thing(key: &[u8]) -> Result<(RefKind, String)> {
    let kind = match key.get(..2) {
        Some(b"b/") => RefKind::Branch,
        Some(b"w/") => RefKind::Workspace,
        Some(b"s/") => RefKind::Superposition,
        Some(b"p/") => return Ok((RefKind::Superposition, part_of(key)?)),
        Some(b"k/") => RefKind::Kept,
        Some(_) => RefKind::Setting,
        None => return Err(Error::corrupt("ref log: a key that is too short")),
    };
    Ok((kind, name_of(key)?))
}

/// Whether a key is that of a part of a superposition, whose own key moves along or tells nothing new.
fn is_part(key: &[u8]) -> bool {
    key.starts_with(b"p/")
}

fn part_of(key: &[u8]) -> Result<String> {
    let name = key.split(|byte| *byte == 0).next().unwrap_or(key);
    name_of(name)
}

/// The checkpoint at which a ref of this value stands.
fn place(key: &[u8], value: &[u8]) -> Result<Option<Id>> {
    Ok(match key.get(..2) {
        Some(b"b/") => Some(decode_branch(value)?),
        Some(b"w/") => Some(WorkspaceRecord::decode(value)?.head),
        Some(b"s/") => {
            let record = SuperpositionRecord::decode(value)?;
            Some(record.collapsed.map_or(record.base, |(_, id)| id))
        }
        Some(b"k/") => Some(decode_kept(key)?),
        Some(b"t/") => decode_tag(value)?.1,
        _ => None,
    })
}

/// Whether two values of a key say the same but for who owns it.
fn same(key: &[u8], one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    if let (Some(one), Some(other), true) = (one, other, key.starts_with(b"w/"))
        && let (Ok(one), Ok(other)) = (WorkspaceRecord::decode(one), WorkspaceRecord::decode(other))
    {
        let lease = Lease::default();
        return WorkspaceRecord { lease, ..one } == WorkspaceRecord { lease, ..other };
    }
    one == other
}

/// What of a change was somebody's intention: taking a lease is none, nor is a collector's mark.
fn intended(mut change: RefChange) -> Option<RefChange> {
    change
        .changes
        .retain(|one| one.key != COLLECTED_KEY && !same(&one.key, one.before.as_deref(), one.after.as_deref()));
    (!change.changes.is_empty()).then_some(change)
}

impl Repository {
    /// The last operations on branches, names, superpositions, kept checkpoints and settings, newest first; at most `limit`. How far it goes
    /// back is a matter of retention. O(bytes of the ref logs).
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn history(&self, limit: Option<usize>) -> Result<Vec<Operation>> {
        let last = self.last_changes(limit.unwrap_or(usize::MAX))?;
        last.iter().rev().map(Operation::of).collect()
    }

    /// The last intended changes, oldest first.
    fn last_changes(&self, count: usize) -> Result<VecDeque<RefChange>> {
        let mut last = VecDeque::new();
        self.refs()?.history(&mut |change| {
            if let Some(change) = intended(change) {
                last.push_back(change);
                if last.len() > count {
                    last.pop_front();
                }
            }
        })?;
        Ok(last)
    }

    /// Takes back the last `steps` operations, in one step of its own, which can be taken back too. The owner of a named workspace
    /// that is put back loses its lease.
    ///
    /// # Errors
    /// `NotFound` if there are fewer operations, or retention has removed what they would bring back; `Conflict` if somebody else
    /// moves what they left meanwhile. Nothing was changed then.
    pub fn undo(&self, steps: usize) -> Result<Operation> {
        let last: Vec<_> = self.last_changes(steps)?.into();
        if steps == 0 {
            return Err(Error::invalid("undo takes back at least one operation"));
        }
        if last.len() < steps {
            let count = last.len();
            return Err(Error::not_found(format!(
                "the history has {count} operations and not {steps}; `pyi undo --list` shows them"
            )));
        }
        self.put_back(&last)
    }

    /// Takes back the one operation at `position`, whatever came after it, if what it left still stands.
    ///
    /// # Errors
    /// As [`Repository::undo`]; `Conflict` names what moved since.
    pub fn undo_at(&self, position: u64) -> Result<Operation> {
        let mut wanted = None;
        self.refs()?.history(&mut |change| {
            if change.position == position {
                wanted = intended(change);
            }
        })?;
        let Some(wanted) = wanted else {
            return Err(Error::not_found(format!(
                "the history has no operation at position {position}; `pyi undo --list` shows those that can be undone"
            )));
        };
        self.put_back(&[wanted])
    }

    /// Puts back what stood before these changes, oldest first, if what they left still stands.
    fn put_back(&self, undone: &[RefChange]) -> Result<Operation> {
        let (store, refs) = (self.engine.store(), self.refs()?);
        // What comes back was perhaps not reachable until now.
        let _section = store.section();
        let mut ends: BTreeMap<&[u8], (&Option<Bytes>, &Option<Bytes>)> = BTreeMap::new();
        for change in undone.iter().flat_map(|change| &change.changes) {
            ends.entry(&change.key)
                .and_modify(|(_, after)| *after = &change.after)
                .or_insert((&change.before, &change.after));
        }
        let message = match undone {
            [one] => format!("undo {}", one.message),
            many => format!("undo {} operations", many.len()),
        };
        let mut transaction = RefTransaction {
            message: message.chars().take(1000).collect(),
            ..RefTransaction::default()
        };
        let (mut moved, mut moves, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for (key, (before, after)) in ends {
            let now = refs.get(key)?;
            if !same(key, now.as_deref(), after.as_deref()) {
                let (kind, name) = thing(key)?;
                moved.push(format!("{} {name:?}", kind.name()));
                continue;
            }
            if same(key, before.as_deref(), now.as_deref()) {
                continue;
            }
            if let Some(before) = before {
                held.extend(self.hold_place(key, before)?);
            }
            if !is_part(key) {
                moves.push(move_of(&KeyChange {
                    key: key.to_vec(),
                    before: now.clone(),
                    after: before.clone(),
                })?);
            }
            let value = before
                .as_deref()
                .map(|before| self.unowned(key, before, now.as_deref()));
            let guard = now.map_or(Guard::Absent, |now| Guard::Equals(now.to_vec()));
            transaction.guards.push((key.to_vec(), guard));
            transaction.puts.push((key.to_vec(), value.transpose()?));
        }
        if !moved.is_empty() {
            return Err(Error::conflict(format!(
                "{} moved since; undo what came after it first, or move it back by hand",
                moved.join(", ")
            )));
        }
        if transaction.puts.is_empty() {
            return Err(Error::not_found(
                "there is nothing to undo: all stands where it stood before",
            ));
        }
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => Ok(Operation {
                position: self.last_changes(1)?.back().map_or(0, |change| change.position),
                time_ns: crate::engine::now_ns(),
                message: transaction.message,
                moves,
            }),
            RefOutcome::Conflict { key, .. } => {
                let (kind, name) = thing(&key)?;
                Err(Error::conflict(format!(
                    "{} {name:?} moved while it was put back; undo again",
                    kind.name()
                )))
            }
        }
    }

    /// Holds the checkpoint at which a value stands, so that it is there when the value is.
    fn hold_place(&self, key: &[u8], value: &[u8]) -> Result<Option<Arc<Held>>> {
        let gone = |error: Error| {
            if error.kind() == crate::ErrorKind::NotFound {
                Error::not_found(format!("cannot undo that far: {error} (retention removed it)"))
            } else {
                error
            }
        };
        let held = place(key, value)?
            .map(|id| self.engine.hold(&id).map_err(gone))
            .transpose()?;
        if key.starts_with(b"w/")
            && let Some(journal) = WorkspaceRecord::decode(value)?.journal
            && !self.engine.store().contains(&journal)?
        {
            return Err(gone(Error::not_found(format!(
                "journal {journal} is not in this repository"
            ))));
        }
        Ok(held)
    }

    /// A value to be put back: of a workspace nobody is the owner any more, also not who owns it `now`.
    fn unowned(&self, key: &[u8], value: &[u8], now: Option<&[u8]>) -> Result<Vec<u8>> {
        if !key.starts_with(b"w/") {
            return Ok(value.to_vec());
        }
        let mut record = WorkspaceRecord::decode(value)?;
        let last = now.map(WorkspaceRecord::decode).transpose()?;
        let epoch = last.map_or(0, |last| last.lease.epoch).max(record.lease.epoch);
        record.lease = Lease {
            owner: [0; 16],
            ..self.engine.leases.next(epoch)
        };
        Ok(record.encode())
    }
}
