//! The workspace's key-value mapping: JSON-like values, bytes, arrays.
//!
//! The state is a directory of values (format v1, section 9), so it is forked, checkpointed and compared like files.

use std::sync::Arc;

use pyi_cas::{Bytes, Kind, Pin};
use pyi_tree::array::{ArrayIndex, ArrayRoot, CHUNK_BYTES};
use pyi_tree::cbor::Value;
use pyi_tree::tree::{Content, Found};
use pyi_tree::{Mode, Pending, Walk};

use crate::absorb::{self, Expect, absorb};
use crate::engine::Engine;
use crate::live;
use crate::memory::{Memory, Source};
use crate::workspace::{Content as WorkspaceContent, HEAVY, Workspace, weight};
use crate::{Error, Result};

/// A value that was read.
#[derive(Debug)]
pub enum StateValue {
    /// JSON-like data or bytes, its maps in their order.
    Value(Value),
    /// An array.
    Array(StoredArray),
}

/// An array that was read: a copy of its own.
#[derive(Debug)]
pub struct StoredArray {
    /// What the bytes are, if not a NumPy array: `bytes`, `arrow`, `pickle`.
    pub form: Option<String>,
    /// NumPy's type string, such as `<f8`.
    pub dtype: String,
    /// The lengths of its axes.
    pub shape: Vec<u64>,
    /// The content, C-ordered.
    pub memory: Memory,
}

/// An array to be stored.
#[derive(Clone, Debug)]
pub struct NewArray {
    /// What the bytes are, if not a NumPy array.
    pub form: Option<String>,
    /// NumPy's type string, such as `<f8`.
    pub dtype: String,
    /// The lengths of its axes.
    pub shape: Vec<u64>,
    /// The content, C-ordered.
    pub bytes: Bytes,
    /// Nobody can change the bytes meanwhile.
    pub is_stable: bool,
}

pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > pyi_tree::NAME_MAX_BYTES {
        return Err(Error::invalid(format!(
            "state key {key:?}: a key has 1 to 4096 bytes in UTF-8"
        )));
    }
    Ok(())
}

/// The index of the array at a row.
pub(crate) fn index_of(engine: &Engine, found: &Found<'_>) -> Result<ArrayIndex> {
    if let Some(Pending::Array { root, parts }) = found.pending() {
        return Ok(ArrayIndex::of(ArrayRoot::decode(root)?, Some(parts.clone())));
    }
    let id = found.row().id;
    let root = engine.store().get(Kind::Array, &id)?;
    let root =
        root.ok_or_else(|| Error::corrupt(format!("state: array {id} is missing from the store; run `pyi scrub`")))?;
    Ok(ArrayIndex::of(ArrayRoot::decode(&root)?, None))
}

fn load(engine: &Engine, mut index: ArrayIndex) -> Result<StoredArray> {
    let memory = Memory::zeroed(live::size_of_array(&index)?)?;
    memory.fill_soon(0, memory.size_bytes());
    for number in 0..index.root().chunks() {
        let bytes = absorb::chunk(engine, &mut index, number)?;
        memory.put(number as usize * CHUNK_BYTES, &bytes);
    }
    let root = index.root();
    Ok(StoredArray {
        form: root.form.clone(),
        dtype: root.dtype.clone(),
        shape: root.shape.clone(),
        memory,
    })
}

impl WorkspaceContent {
    /// Keeps an array that was stored early, if it was.
    pub(crate) fn keep_array(&mut self, key: &str, pin: Option<Pin>) {
        if let Some(pin) = pin {
            self.array_pins.insert(key.to_owned(), Arc::new(pin));
        }
    }
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
        let (state, _pins) = {
            let mut content = self.content.lock();
            content.settle_arrays(Some(key))?;
            (content.state.clone(), content.all_pins())
        };
        let Some(found) = state.find_name(key.as_bytes(), &self.engine.loader)? else {
            return Ok(None);
        };
        let row = found.row();
        if row.mode == Mode::Array {
            let index = index_of(&self.engine, &found)?;
            return Ok(Some(StateValue::Array(load(&self.engine, index)?)));
        }
        let bytes = self.engine.content(&row.id, found.pending())?;
        let value =
            Value::decode_ordered(&bytes).map_err(|error| Error::corrupt(format!("state key {key:?}: {error}")))?;
        Ok(Some(StateValue::Value(value)))
    }

    /// Stores a value. O(log keys + size).
    ///
    /// # Errors
    /// As [`Workspace::state_set_encoded`].
    pub fn state_set(&self, key: &str, value: &Value) -> Result<()> {
        self.state_set_encoded(key, Bytes::from(value.encode_ordered()))
    }

    /// Stores a value in its ordered encoding. O(log keys).
    ///
    /// # Errors
    /// `InvalidArgument` for an empty or too long key; `LeaseLost`.
    pub fn state_set_encoded(&self, key: &str, encoded: Bytes) -> Result<()> {
        self.engine.open()?;
        check_key(key)?;
        let weight = weight(encoded.len());
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let mut state = content.state.clone();
        state.put_name(
            key.as_bytes(),
            Mode::Value,
            Content::Bytes(encoded),
            &self.engine.loader,
        )?;
        content.state = state;
        content.live.detach(key);
        content.changed(weight);
        Ok(())
    }

    /// Stores an array. O(log keys), plus one hash pass; what differs from the array of the same size that the key has is copied.
    ///
    /// # Errors
    /// As [`Workspace::state_set_encoded`]; `Storage`, `QuotaExceeded`.
    pub fn state_set_array(&self, key: &str, array: &NewArray) -> Result<()> {
        self.engine.open()?;
        check_key(key)?;
        // What is taken over from the array that was there stays until the new one is pinned or a checkpoint has it.
        let _section = self.engine.store().section();
        let size_bytes = array.bytes.len() as u64;
        let (mut index, expect) = self.index_for(key, array.form.clone(), &array.dtype, &array.shape, size_bytes)?;
        let source = Source::of_bytes(&array.bytes, array.is_stable);
        let chunks = 0..index.root().chunks();
        let pin = absorb(&self.engine, &mut index, source, chunks, expect)?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let mut state = content.state.clone();
        live::put(&mut state, key, &index, &pin, &self.engine.loader)?;
        content.state = state;
        content.live.detach(key);
        content.changed(HEAVY);
        content.keep_array(key, pin);
        Ok(())
    }

    /// The index of the array that `key` has, described anew, if it is of this size; else a blank one.
    pub(crate) fn index_for(
        &self,
        key: &str,
        form: Option<String>,
        dtype: &str,
        shape: &[u64],
        size_bytes: u64,
    ) -> Result<(ArrayIndex, Expect)> {
        let state = {
            let mut content = self.content.lock();
            self.check_lease(&mut content)?;
            content.state.clone()
        };
        let found = state.find_name(key.as_bytes(), &self.engine.loader)?;
        if let Some(found) = found.filter(|found| found.mode() == Mode::Array && found.row().size_bytes == size_bytes)
            && let Ok(index) = index_of(&self.engine, &found)
        {
            return Ok((index.described(form, dtype.to_owned(), shape.to_vec()), Expect::Same));
        }
        let blank = ArrayIndex::blank(form, dtype.to_owned(), shape.to_vec(), size_bytes);
        Ok((blank, Expect::Changed))
    }

    /// Takes a key away; `false` if it is not there. O(log keys).
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn state_remove(&self, key: &str) -> Result<bool> {
        self.engine.open()?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let mut state = content.state.clone();
        let there = !key.is_empty() && state.remove_name(key.as_bytes(), &self.engine.loader)?;
        if there {
            content.state = state;
            content.live.detach(key);
            content.changed(1);
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

    /// Whether a tracked array has something that the state has not taken in yet. A hint.
    #[must_use]
    pub fn has_touched(&self) -> bool {
        self.content.try_lock().is_none_or(|content| content.live.is_touched())
    }

    /// Whether a call at this moment would wait for another one on this workspace. A hint.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.content.is_locked()
    }
}
