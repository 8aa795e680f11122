//! What stands in the ref log: keys and values for branches, workspaces and superpositions (see `docs/design/004-refs.md`).

use pyi_cas::Id;

use crate::cbor::{self, Value};
use crate::{Error, Result};

mod superposition;

pub use superposition::{CandidateRecord, Fate, Link, PART_CANDIDATES, SuperpositionRecord};

/// The key of a branch; its value is the 32 bytes of a checkpoint id.
#[must_use]
pub fn branch_key(name: &str) -> Vec<u8> {
    [b"b/", name.as_bytes()].concat()
}

/// The key of a named workspace; its value is a [`WorkspaceRecord`].
#[must_use]
pub fn workspace_key(name: &str) -> Vec<u8> {
    [b"w/", name.as_bytes()].concat()
}

/// The key of a named superposition; its value is a [`SuperpositionRecord`].
#[must_use]
pub fn superposition_key(name: &str) -> Vec<u8> {
    [b"s/", name.as_bytes()].concat()
}

/// The key of a tag that was pushed; its value is a map (see [`decode_tag`]).
#[must_use]
pub fn tag_key(name: &str) -> Vec<u8> {
    [b"t/", name.as_bytes()].concat()
}

/// The value of a key of [`tag_key`], and the checkpoint that it keeps: that of the commit it is at, unless a source has that.
///
/// # Errors
/// [`Error::Corrupt`] if it is no map, or its checkpoint is no id.
pub fn decode_tag(value: &[u8]) -> Result<(Value, Option<Id>)> {
    let wrong = || Error::corrupt("ref log: a tag that cannot be read");
    let value = Value::decode(value).map_err(|_| wrong())?;
    let kept = match value.get("checkpoint") {
        None => None,
        given => Some(id(given).ok_or_else(wrong)?),
    };
    Ok((value, kept))
}

/// What the keys of a large superposition's parts begin with; see [`SuperpositionRecord`].
#[must_use]
pub fn part_prefix(name: &str) -> Vec<u8> {
    // No name holds a NUL, so the parts of one name are never those of a longer one.
    [b"p/", name.as_bytes(), b"\0"].concat()
}

/// The key of part `number` of a large superposition.
#[must_use]
pub fn part_key(name: &str, number: u32) -> Vec<u8> {
    [&part_prefix(name)[..], &number.to_be_bytes()].concat()
}

/// The key that keeps a checkpoint from being collected; its value is an empty map.
#[must_use]
pub fn kept_key(id: &Id) -> Vec<u8> {
    format!("k/{id}").into_bytes()
}

/// The value of a key of [`kept_key`].
#[must_use]
pub fn kept_value() -> Vec<u8> {
    Value::Map(Vec::new()).encode()
}

/// The checkpoint that a key of [`kept_key`] keeps.
///
/// # Errors
/// [`Error::Corrupt`] if it names none.
pub fn decode_kept(key: &[u8]) -> Result<Id> {
    key.strip_prefix(b"k/")
        .and_then(|hex| std::str::from_utf8(hex).ok()?.parse().ok())
        .ok_or_else(|| Error::corrupt("ref log: a kept checkpoint that is none"))
}

/// Parses a branch's value.
///
/// # Errors
/// [`Error::Corrupt`] if it is no id.
pub fn decode_branch(value: &[u8]) -> Result<Id> {
    <[u8; 32]>::try_from(value)
        .map(Id)
        .map_err(|_| Error::corrupt("ref log: a branch that is no checkpoint id"))
}

/// The branch and head that a workspace came from: what `publish` expects by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The branch.
    pub branch: String,
    /// Its head at that time.
    pub head: Id,
}

/// Who may write to a named workspace. Every taking of it has a higher epoch, and no session uses an epoch twice, so that each
/// lease is like no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// How often the name was taken, at least; 0 if nobody ever took it.
    pub epoch: u64,
    /// The session of the engine that owns it; zeros for nobody.
    pub owner: [u8; 16],
}

/// A named workspace.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkspaceRecord {
    /// Its last checkpoint.
    pub head: Id,
    /// Where it came from.
    pub origin: Option<Origin>,
    /// The root node of a journal that was flushed after the last checkpoint.
    pub journal: Option<Id>,
    /// Who may write to it.
    pub lease: Lease,
}

fn id(value: Option<&Value>) -> Option<Id> {
    value?
        .as_bytes()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .map(Id)
}

fn bytes(id: &Id) -> Value {
    Value::Bytes(id.0.to_vec())
}

fn decode(value: &[u8], what: &str) -> Result<Value> {
    Value::decode(value).map_err(|error| Error::corrupt(format!("ref log: {what}: {error}")))
}

impl WorkspaceRecord {
    /// The value for the ref log. Written piece by piece, since every checkpoint of a named workspace makes one.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let origin = self.origin.as_ref();
        let has_owner = self.lease.owner != [0; 16];
        let optional = [self.lease.epoch != 0, has_owner, self.journal.is_some()];
        let count = 1 + optional.into_iter().filter(|there| *there).count() + origin.map_or(0, |_| 2);
        let mut out = Vec::with_capacity(160 + origin.map_or(0, |origin| origin.branch.len()));
        cbor::put_head(&mut out, cbor::MAP, count as u64);
        // In the order of the encoded keys: the shorter ones first.
        cbor::put_text(&mut out, "head");
        cbor::put_bytes(&mut out, &self.head.0);
        if self.lease.epoch != 0 {
            cbor::put_text(&mut out, "epoch");
            cbor::put_head(&mut out, cbor::UNSIGNED, self.lease.epoch);
        }
        if has_owner {
            cbor::put_text(&mut out, "owner");
            cbor::put_bytes(&mut out, &self.lease.owner);
        }
        if let Some(origin) = origin {
            cbor::put_text(&mut out, "branch");
            cbor::put_text(&mut out, &origin.branch);
            cbor::put_text(&mut out, "origin");
            cbor::put_bytes(&mut out, &origin.head.0);
        }
        if let Some(journal) = &self.journal {
            cbor::put_text(&mut out, "journal");
            cbor::put_bytes(&mut out, &journal.0);
        }
        out
    }

    /// Parses a value of the ref log.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn decode(value: &[u8]) -> Result<Self> {
        let value = decode(value, "workspace")?;
        let head = id(value.get("head")).ok_or_else(|| Error::corrupt("ref log: a workspace without a head"))?;
        let origin = match (value.get("branch").and_then(Value::as_text), id(value.get("origin"))) {
            (Some(branch), Some(head)) => Some(Origin {
                branch: branch.to_owned(),
                head,
            }),
            _ => None,
        };
        let owner = value.get("owner").and_then(Value::as_bytes);
        Ok(WorkspaceRecord {
            head,
            origin,
            journal: id(value.get("journal")),
            lease: Lease {
                epoch: value.get("epoch").and_then(Value::as_u64).unwrap_or(0),
                owner: owner.and_then(|owner| owner.try_into().ok()).unwrap_or_default(),
            },
        })
    }
}
