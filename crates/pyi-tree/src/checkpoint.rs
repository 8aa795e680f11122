//! The root object of a checkpoint: one id for files, state, journal, git and metadata.

use std::sync::Arc;

use pyi_cas::Id;

use crate::cbor::{self, Value};
use crate::{Error, Result};

/// What a checkpoint holds (format v1, section 8).
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointRoot {
    /// The root node of the files.
    pub files: Id,
    /// The root node of the state, if there is any.
    pub state: Option<Id>,
    /// The root node of the journal, if there is any.
    pub journal: Option<Id>,
    /// Ids of the checkpoints that this one follows.
    pub parents: Vec<Id>,
    /// When it was made, unix nanoseconds.
    pub time_ns: u64,
    /// What its maker said of it.
    pub message: String,
    /// JSON-like data of its maker: a map, or null.
    pub metadata: Value,
    /// What git knows of this content: a map, or null. Shared, as checkpoint after checkpoint has the same.
    pub git: Arc<Value>,
    /// Keys that this version does not know, kept as they are.
    pub unknown: Vec<(String, Value)>,
}

fn id_of(value: &Value, key: &str) -> Result<Id> {
    let bytes = value.as_bytes().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes
        .map(Id)
        .ok_or_else(|| Error::corrupt(format!("checkpoint: {key:?} is not an id")))
}

fn id_value(id: &Id) -> Value {
    Value::Bytes(id.0.to_vec())
}

impl CheckpointRoot {
    /// The canonical bytes. O(size).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if !self.unknown.is_empty() {
            return self.encode_with_unknown();
        }
        let has_metadata = !matches!(self.metadata, Value::Null);
        let has_git = !matches!(*self.git, Value::Null);
        let optional = [has_git, self.state.is_some(), self.journal.is_some(), has_metadata];
        let count = 4 + optional.into_iter().filter(|there| *there).count();
        let mut out = Vec::with_capacity(160 + self.message.len());
        cbor::put_head(&mut out, cbor::MAP, count as u64);
        // In the order of the encoded keys: the shorter ones first.
        if has_git {
            cbor::put_text(&mut out, "git");
            self.git.encode_into(&mut out);
        }
        cbor::put_text(&mut out, "time");
        cbor::put_head(&mut out, cbor::UNSIGNED, self.time_ns);
        for (key, id) in [
            ("files", Some(&self.files)),
            ("state", self.state.as_ref()),
            ("journal", self.journal.as_ref()),
        ] {
            if let Some(id) = id {
                cbor::put_text(&mut out, key);
                cbor::put_bytes(&mut out, &id.0);
            }
        }
        cbor::put_text(&mut out, "message");
        cbor::put_text(&mut out, &self.message);
        cbor::put_text(&mut out, "parents");
        cbor::put_head(&mut out, cbor::ARRAY, self.parents.len() as u64);
        for parent in &self.parents {
            cbor::put_bytes(&mut out, &parent.0);
        }
        if has_metadata {
            cbor::put_text(&mut out, "metadata");
            self.metadata.encode_into(&mut out);
        }
        out
    }

    /// As [`CheckpointRoot::encode`], with keys of later versions in their places.
    fn encode_with_unknown(&self) -> Vec<u8> {
        let mut pairs = vec![
            ("files".to_owned(), id_value(&self.files)),
            (
                "parents".to_owned(),
                Value::Array(self.parents.iter().map(id_value).collect()),
            ),
            ("time".to_owned(), Value::Int(i128::from(self.time_ns))),
            ("message".to_owned(), Value::Text(self.message.clone())),
        ];
        for (key, id) in [("state", &self.state), ("journal", &self.journal)] {
            pairs.extend(id.as_ref().map(|id| (key.to_owned(), id_value(id))));
        }
        for (key, value) in [("metadata", &self.metadata), ("git", &*self.git)] {
            if !matches!(value, Value::Null) {
                pairs.push((key.to_owned(), value.clone()));
            }
        }
        pairs.extend(self.unknown.iter().cloned());
        Value::Map(pairs).encode()
    }

    /// Parses stored bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a required key is missing or has the wrong type, or the bytes are not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let value = Value::decode(bytes).map_err(|error| Error::corrupt(format!("checkpoint: {error}")))?;
        let Value::Map(pairs) = value else {
            return Err(Error::corrupt("checkpoint: not a map"));
        };
        let (mut files, mut parents, mut time_ns, mut message) = (None, None, None, None);
        let (mut state, mut journal, mut unknown) = (None, None, Vec::new());
        let (mut metadata, mut git) = (Value::Null, Value::Null);
        for (key, value) in pairs {
            match key.as_str() {
                "files" => files = Some(id_of(&value, &key)?),
                "state" => state = Some(id_of(&value, &key)?),
                "journal" => journal = Some(id_of(&value, &key)?),
                "parents" => {
                    let items = value
                        .as_array()
                        .ok_or_else(|| Error::corrupt("checkpoint: parents is no list"))?;
                    parents = Some(items.iter().map(|item| id_of(item, &key)).collect::<Result<Vec<_>>>()?);
                }
                "time" => time_ns = value.as_u64(),
                "message" => message = value.as_text().map(str::to_owned),
                "metadata" | "git" => {
                    if !matches!(value, Value::Map(_)) {
                        return Err(Error::corrupt(format!("checkpoint: {key:?} is no map")));
                    }
                    *(if key == "git" { &mut git } else { &mut metadata }) = value;
                }
                _ => unknown.push((key, value)),
            }
        }
        let missing = || Error::corrupt("checkpoint: files, parents, time or message is missing or of the wrong type");
        Ok(CheckpointRoot {
            files: files.ok_or_else(missing)?,
            state,
            journal,
            parents: parents.ok_or_else(missing)?,
            time_ns: time_ns.ok_or_else(missing)?,
            message: message.ok_or_else(missing)?,
            metadata,
            git: Arc::new(git),
            unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Both ways of writing it write the same, and it comes back.
        #[test]
        fn there_is_one_encoding(
            ids in proptest::collection::vec(any::<[u8; 32]>(), 3..6),
            parts in any::<(bool, bool, bool, bool)>(),
            time_ns in any::<u64>(),
            message in ".{0,40}",
        ) {
            let map = |there: bool| if there { Value::Map(vec![("k".into(), Value::Bool(true))]) } else { Value::Null };
            let root = CheckpointRoot {
                files: Id(ids[0]),
                state: parts.0.then_some(Id(ids[1])),
                journal: parts.1.then_some(Id(ids[2])),
                parents: ids[3..].iter().copied().map(Id).collect(),
                time_ns,
                message,
                metadata: map(parts.2),
                git: Arc::new(map(parts.3)),
                unknown: Vec::new(),
            };
            prop_assert_eq!(root.encode(), root.encode_with_unknown());
            prop_assert_eq!(CheckpointRoot::decode(&root.encode()).unwrap(), root);
        }
    }
}
