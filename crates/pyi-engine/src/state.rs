//! The workspace's key-value mapping: JSON-like values, bytes, arrays.
//!
//! The state is a directory of values (format v1, section 9), so it is forked, checkpointed and compared like files.

use std::sync::Arc;

use pyi_cas::{Bytes, Kind};
use pyi_tree::cbor::Value;
use pyi_tree::tree::Content;
use pyi_tree::{Mode, Pending, Walk};

use crate::engine::Engine;
use crate::workspace::Workspace;
use crate::{Error, Result};

/// Bytes in a chunk of an array (format v1).
pub const ARRAY_CHUNK_BYTES: usize = 65_536;

/// A value of the state.
#[derive(Clone, Debug, PartialEq)]
pub enum StateValue {
    /// JSON-like data or bytes.
    Value(Value),
    /// An array.
    Array(ArrayValue),
}

/// An array: C-ordered bytes with NumPy's description of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayValue {
    /// NumPy's type string, such as `<f8`.
    pub dtype: String,
    /// The lengths of its axes.
    pub shape: Vec<u64>,
    /// The content.
    pub bytes: Bytes,
}

impl ArrayValue {
    /// Cuts the content into chunks and hashes them. O(bytes).
    fn pending(&self) -> Pending {
        let mut chunks = Vec::with_capacity(self.bytes.len().div_ceil(ARRAY_CHUNK_BYTES));
        let mut ids = Vec::new();
        for start in (0..self.bytes.len()).step_by(ARRAY_CHUNK_BYTES) {
            let chunk = self.bytes.slice(start..self.bytes.len().min(start + ARRAY_CHUNK_BYTES));
            let id = Kind::Blob.id_of(&chunk);
            ids.extend_from_slice(&id.0);
            chunks.push((id, chunk));
        }
        let shape = self.shape.iter().map(|axis| Value::Int(i128::from(*axis))).collect();
        let root = Value::Map(vec![
            ("dtype".to_owned(), Value::Text(self.dtype.clone())),
            ("shape".to_owned(), Value::Array(shape)),
            ("chunk".to_owned(), Value::Int(ARRAY_CHUNK_BYTES as i128)),
            ("size".to_owned(), Value::Int(self.bytes.len() as i128)),
            ("chunks".to_owned(), Value::Bytes(ids)),
        ]);
        Pending::Array {
            root: Bytes::from(root.encode()),
            chunks: Arc::from(chunks),
        }
    }

    fn load(engine: &Engine, root: &[u8], pending: Option<&[(pyi_cas::Id, Bytes)]>) -> Result<Self> {
        let wrong = || Error::corrupt("state: an array that does not parse; run `pyi scrub`");
        let root = Value::decode(root).map_err(|_| wrong())?;
        let dtype = root.get("dtype").and_then(Value::as_text).ok_or_else(wrong)?.to_owned();
        let shape = root.get("shape").and_then(Value::as_array).ok_or_else(wrong)?;
        let shape: Option<Vec<u64>> = shape.iter().map(Value::as_u64).collect();
        let size = root
            .get("size")
            .and_then(Value::as_u64)
            .and_then(|size| usize::try_from(size).ok());
        let (size, ids) = size
            .zip(root.get("chunks").and_then(Value::as_bytes))
            .ok_or_else(wrong)?;
        if ids.len() % 32 != 0 || ids.len() / 32 != size.div_ceil(ARRAY_CHUNK_BYTES) {
            return Err(wrong());
        }
        let mut bytes = Vec::new();
        for (index, id) in ids.as_chunks::<32>().0.iter().enumerate() {
            match pending {
                Some(chunks) => bytes.extend_from_slice(&chunks.get(index).ok_or_else(wrong)?.1),
                None => {
                    let id = pyi_cas::Id(*id);
                    let chunk = engine.store().get(Kind::Blob, &id)?;
                    bytes.extend_from_slice(&chunk.ok_or_else(|| {
                        Error::corrupt(format!("state: chunk {id} is missing from the store; run `pyi scrub`"))
                    })?);
                }
            }
        }
        if bytes.len() != size {
            return Err(wrong());
        }
        Ok(ArrayValue {
            dtype,
            shape: shape.ok_or_else(wrong)?,
            bytes: Bytes::from(bytes),
        })
    }
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > pyi_tree::NAME_MAX_BYTES {
        return Err(Error::invalid(format!(
            "state key {key:?}: a key has 1 to 4096 bytes in UTF-8"
        )));
    }
    Ok(())
}

impl Workspace {
    /// A value of the state, `None` if the key is not there. O(log keys), plus the value.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn state_get(&self, key: &str) -> Result<Option<StateValue>> {
        self.engine.open()?;
        if key.is_empty() {
            return Ok(None);
        }
        let state = self.content.lock().state.clone();
        let Some(found) = state.find_name(key.as_bytes(), &self.engine.loader)? else {
            return Ok(None);
        };
        let row = found.row();
        if row.mode == Mode::Array {
            if let Some(Pending::Array { root, chunks }) = found.pending() {
                return Ok(Some(StateValue::Array(ArrayValue::load(
                    &self.engine,
                    root,
                    Some(chunks),
                )?)));
            }
            let root = self.engine.store().get(Kind::Array, &row.id)?;
            let root =
                root.ok_or_else(|| Error::corrupt(format!("state: array {} is missing from the store", row.id)))?;
            return Ok(Some(StateValue::Array(ArrayValue::load(&self.engine, &root, None)?)));
        }
        let bytes = self.engine.content(&row.id, found.pending())?;
        let value = Value::decode(&bytes).map_err(|error| Error::corrupt(format!("state key {key:?}: {error}")))?;
        Ok(Some(StateValue::Value(value)))
    }

    /// Stores a value. O(log keys), plus one encoding of a value or one hash pass over an array.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty or too long key.
    pub fn state_set(&self, key: &str, value: &StateValue) -> Result<()> {
        self.engine.open()?;
        check_key(key)?;
        let (mode, content) = match value {
            StateValue::Value(value) => (Mode::Value, Content::Bytes(Bytes::from(value.encode()))),
            StateValue::Array(array) => {
                let size_bytes = array.bytes.len() as u64;
                (
                    Mode::Array,
                    Content::Array {
                        pending: array.pending(),
                        size_bytes,
                    },
                )
            }
        };
        let mut inner = self.content.lock();
        self.check_lease(&mut inner)?;
        let mut state = inner.state.clone();
        state.put_name(key.as_bytes(), mode, content, &self.engine.loader)?;
        inner.state = state;
        inner.dirty = true;
        Ok(())
    }

    /// Takes a key away; `false` if it is not there. O(log keys).
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn state_remove(&self, key: &str) -> Result<bool> {
        self.engine.open()?;
        let mut inner = self.content.lock();
        self.check_lease(&mut inner)?;
        let mut state = inner.state.clone();
        let there = !key.is_empty() && state.remove_name(key.as_bytes(), &self.engine.loader)?;
        if there {
            inner.state = state;
            inner.dirty = true;
        }
        Ok(there)
    }

    /// The keys, in the byte order of their UTF-8. O(keys).
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn state_keys(&self) -> Result<Vec<String>> {
        self.engine.open()?;
        let state = self.content.lock().state.clone();
        let mut walk = Walk::entries(state.root().clone(), &[]);
        let mut keys = Vec::new();
        while let Some(entry) = walk.next(&self.engine.loader)? {
            keys.push(String::from_utf8(entry.path).map_err(|_| Error::corrupt("state: a key that is not UTF-8"))?);
        }
        Ok(keys)
    }

    /// The number of keys. O(1).
    #[must_use]
    pub fn state_len(&self) -> u64 {
        self.content.lock().state.root().files()
    }
}
