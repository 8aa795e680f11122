//! What an array is made of: a description, chunks, and lists of chunks between the two (format v1, section 9).
//!
//! The lists have a fixed width, so where a chunk stands follows from its number alone, and a change of one chunk gives one new
//! list a level. An index holds only the lists that were looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use pyi_cas::{Id, Kind};

use crate::cbor::Value;
use crate::{Error, Pending, Result};

/// Bytes in a chunk of an array (format v1).
pub const CHUNK_BYTES: usize = 65_536;
/// The most ids in a list, and in a description (format v1).
pub const LIST_MAX: usize = 256;
/// The highest level of a description: enough for 2^64 bytes.
const LEVEL_MAX: u8 = 6;

/// The description of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayRoot {
    /// What the bytes are, if not a NumPy array: `bytes`, `arrow`, `pickle`.
    pub form: Option<String>,
    /// NumPy's type string, such as `<f8`.
    pub dtype: String,
    /// The lengths of its axes.
    pub shape: Vec<u64>,
    /// Bytes of the content.
    pub size_bytes: u64,
    /// 0: the ids are those of chunks; n: of lists of level n - 1.
    level: u8,
    /// At most [`LIST_MAX`] ids.
    ids: Vec<Id>,
}

fn wrong(what: &str) -> Error {
    Error::corrupt(format!("an array that does not parse: {what}"))
}

fn ids_of(bytes: &[u8]) -> Result<Vec<Id>> {
    let (ids, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || ids.len() > LIST_MAX {
        return Err(wrong("its list of ids"));
    }
    Ok(ids.iter().map(|id| Id(*id)).collect())
}

fn bytes_of(ids: &[Id]) -> Value {
    Value::Bytes(ids.iter().flat_map(|id| id.0).collect())
}

/// The chunks of so many bytes.
fn chunks_of(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(CHUNK_BYTES as u64)
}

/// The lowest level at which one list remains, which then stands in the description.
fn level_of(chunks: u64) -> u8 {
    let mut level = 0;
    let mut width = chunks;
    while width > LIST_MAX as u64 {
        width = width.div_ceil(LIST_MAX as u64);
        level += 1;
    }
    level
}

/// How many ids all lists of `level` hold together.
fn width_of(chunks: u64, level: u8) -> u64 {
    (0..level).fold(chunks, |width, _| width.div_ceil(LIST_MAX as u64))
}

impl ArrayRoot {
    /// The encoding. O(ids).
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let number = |number: u64| Value::Int(i128::from(number));
        let mut pairs = vec![
            ("dtype".to_owned(), Value::Text(self.dtype.clone())),
            (
                "shape".to_owned(),
                Value::Array(self.shape.iter().map(|n| number(*n)).collect()),
            ),
            ("chunk".to_owned(), number(CHUNK_BYTES as u64)),
            ("size".to_owned(), number(self.size_bytes)),
            ("level".to_owned(), number(u64::from(self.level))),
            ("chunks".to_owned(), bytes_of(&self.ids)),
        ];
        if let Some(form) = &self.form {
            pairs.push(("form".to_owned(), Value::Text(form.clone())));
        }
        Bytes::from(Value::Map(pairs).encode())
    }

    /// Parses a description. O(ids).
    ///
    /// # Errors
    /// [`Error::Corrupt`], also where the number of ids does not fit the size.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let value = Value::decode(bytes).map_err(|error| wrong(&error.to_string()))?;
        Self::of_value(&value)
    }

    fn of_value(value: &Value) -> Result<Self> {
        let text = |key| value.get(key).and_then(Value::as_text).map(str::to_owned);
        let number = |key| {
            value
                .get(key)
                .and_then(Value::as_u64)
                .ok_or_else(|| wrong("a number is missing"))
        };
        let shape = value.get("shape").and_then(Value::as_array);
        let shape: Option<Vec<u64>> = shape.and_then(|shape| shape.iter().map(Value::as_u64).collect());
        if number("chunk")? != CHUNK_BYTES as u64 {
            return Err(wrong("chunks of another size"));
        }
        let size_bytes = number("size")?;
        let level = u8::try_from(number("level")?).map_err(|_| wrong("its level"))?;
        let ids = ids_of(
            value
                .get("chunks")
                .and_then(Value::as_bytes)
                .ok_or_else(|| wrong("no list"))?,
        )?;
        let chunks = chunks_of(size_bytes);
        if level != level_of(chunks) || ids.len() as u64 != width_of(chunks, level) {
            return Err(wrong("its list does not fit its size"));
        }
        Ok(ArrayRoot {
            form: text("form"),
            dtype: text("dtype").ok_or_else(|| wrong("no dtype"))?,
            shape: shape.ok_or_else(|| wrong("no shape"))?,
            size_bytes,
            level,
            ids,
        })
    }

    /// The number of chunks. O(1).
    #[must_use]
    pub fn chunks(&self) -> u64 {
        chunks_of(self.size_bytes)
    }
}

fn encode_list(level: u8, ids: &[Id]) -> Bytes {
    Bytes::from(Value::Array(vec![Value::Int(i128::from(level)), bytes_of(ids)]).encode())
}

/// A list's level and ids.
fn list_of(value: &Value) -> Result<(u8, Vec<Id>)> {
    let [level, ids] = value.as_array().unwrap_or_default() else {
        return Err(wrong("neither a description nor a list"));
    };
    let level = level.as_u64().filter(|level| *level < u64::from(LEVEL_MAX));
    let level = level.ok_or_else(|| wrong("its level"))? as u8;
    let ids = ids_of(ids.as_bytes().ok_or_else(|| wrong("no list"))?)?;
    if ids.is_empty() {
        return Err(wrong("an empty list"));
    }
    Ok((level, ids))
}

/// What an object of kind array, be it a description or a list, names: objects of one kind. O(ids).
///
/// # Errors
/// [`Error::Corrupt`].
pub fn named_by(bytes: &[u8]) -> Result<(Kind, Vec<Id>)> {
    let value = Value::decode(bytes).map_err(|error| wrong(&error.to_string()))?;
    let (level, ids) = match &value {
        Value::Map(_) => {
            let root = ArrayRoot::of_value(&value)?;
            (root.level, root.ids)
        }
        _ => list_of(&value)?,
    };
    Ok((if level == 0 { Kind::Blob } else { Kind::Array }, ids))
}

/// Where lists come from.
pub trait Lists {
    /// The content of an object of kind array.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is missing; what the store says.
    fn list(&self, id: &Id) -> Result<Bytes>;
}

/// What of an array was not stored yet: by place, so that a newer version of a part takes the older one's.
#[derive(Clone, Debug, Default)]
pub struct ArrayParts {
    chunks: BTreeMap<u64, (Id, Bytes)>,
    lists: BTreeMap<(u8, u64), (Id, Bytes)>,
}

impl ArrayParts {
    /// The parts in the order in which they are to be stored: what is named before what names it.
    pub fn objects(&self) -> impl Iterator<Item = (Kind, &Id, &Bytes)> {
        let chunks = self.chunks.values().map(|(id, bytes)| (Kind::Blob, id, bytes));
        chunks.chain(self.lists.values().map(|(id, bytes)| (Kind::Array, id, bytes)))
    }

    /// The content of chunk `index`.
    #[must_use]
    pub fn chunk(&self, index: u64) -> Option<&Bytes> {
        self.chunks.get(&index).map(|(_, bytes)| bytes)
    }
}

/// An array whose chunks can be looked up and replaced.
#[derive(Clone, Debug)]
pub struct ArrayIndex {
    root: ArrayRoot,
    /// Lists that were looked at or changed, by level and number; shared with copies of the index.
    lists: BTreeMap<(u8, u64), Arc<Vec<Id>>>,
    parts: Arc<ArrayParts>,
}

impl ArrayIndex {
    /// An array none of whose chunks is known: all of them are to be set. O(chunks).
    #[must_use]
    pub fn blank(form: Option<String>, dtype: String, shape: Vec<u64>, size_bytes: u64) -> Self {
        let chunks = chunks_of(size_bytes);
        let level = level_of(chunks);
        let mut lists = BTreeMap::new();
        for below in 0..level {
            let width = width_of(chunks, below);
            for number in 0..width.div_ceil(LIST_MAX as u64) {
                let length = (width - number * LIST_MAX as u64).min(LIST_MAX as u64);
                lists.insert((below, number), Arc::new(vec![Id([0; 32]); length as usize]));
            }
        }
        ArrayIndex {
            root: ArrayRoot {
                form,
                dtype,
                shape,
                size_bytes,
                level,
                ids: vec![Id([0; 32]); width_of(chunks, level) as usize],
            },
            lists,
            parts: Arc::default(),
        }
    }

    /// The array of a description; `parts` of what is not stored yet. O(1).
    #[must_use]
    pub fn of(root: ArrayRoot, parts: Option<Arc<ArrayParts>>) -> Self {
        ArrayIndex {
            root,
            lists: BTreeMap::new(),
            parts: parts.unwrap_or_default(),
        }
    }

    /// The description.
    #[must_use]
    pub fn root(&self) -> &ArrayRoot {
        &self.root
    }

    /// The same content as another array of as many bytes. O(1).
    #[must_use]
    pub fn described(mut self, form: Option<String>, dtype: String, shape: Vec<u64>) -> Self {
        (self.root.form, self.root.dtype, self.root.shape) = (form, dtype, shape);
        self
    }

    /// What was not stored yet.
    #[must_use]
    pub fn parts(&self) -> &Arc<ArrayParts> {
        &self.parts
    }

    /// Forgets the contents of what was stored meanwhile.
    pub fn clear_parts(&mut self) {
        self.parts = Arc::default();
    }

    /// The ids of level `level` from `number` times [`LIST_MAX`] on.
    fn list(&mut self, level: u8, number: u64, store: &dyn Lists) -> Result<&[Id]> {
        if level == self.root.level {
            return Ok(&self.root.ids);
        }
        if !self.lists.contains_key(&(level, number)) {
            let above = self.list(level + 1, number / LIST_MAX as u64, store)?;
            let at = (number % LIST_MAX as u64) as usize;
            let id = *above.get(at).ok_or_else(|| wrong("a chunk behind its end"))?;
            let bytes = match self.parts.lists.get(&(level, number)) {
                Some((_, bytes)) => bytes.clone(),
                None => store.list(&id)?,
            };
            let value = Value::decode(&bytes).map_err(|error| wrong(&error.to_string()))?;
            let (found, ids) = list_of(&value)?;
            let rest = width_of(self.root.chunks(), level).saturating_sub(number * LIST_MAX as u64);
            if found != level || ids.len() as u64 != rest.min(LIST_MAX as u64) {
                return Err(wrong("a list that does not fit its place"));
            }
            self.lists.insert((level, number), Arc::new(ids));
        }
        let list = self.lists.get(&(level, number));
        list.map(|list| &list[..])
            .ok_or_else(|| wrong("a list that is not there"))
    }

    /// The place of an id in a list that was looked at.
    fn slot(&mut self, level: u8, index: u64) -> Option<&mut Id> {
        let list = if level == self.root.level {
            &mut self.root.ids
        } else {
            Arc::make_mut(self.lists.get_mut(&(level, index / LIST_MAX as u64))?)
        };
        // At the top there is one list, of at most this length.
        list.get_mut((index % LIST_MAX as u64) as usize)
    }

    /// The id of chunk `index`; all zero if it is blank. O(levels), a read for a list that was not looked at yet.
    ///
    /// # Errors
    /// What `store` says; [`Error::Corrupt`] behind the end.
    pub fn chunk(&mut self, index: u64, store: &dyn Lists) -> Result<Id> {
        if index >= self.root.chunks() {
            return Err(wrong("a chunk behind its end"));
        }
        let list = self.list(0, index / LIST_MAX as u64, store)?;
        let id = list.get((index % LIST_MAX as u64) as usize);
        id.copied().ok_or_else(|| wrong("a chunk behind its end"))
    }

    /// Gives chunks other contents; one whose bytes are left out is in the store already. O(changes + lists of them), hashes the lists.
    /// Fails before anything is changed.
    ///
    /// # Errors
    /// As [`ArrayIndex::chunk`].
    pub fn set(&mut self, changes: BTreeMap<u64, (Id, Option<Bytes>)>, store: &dyn Lists) -> Result<()> {
        if let Some((last, _)) = changes.last_key_value() {
            self.chunk(*last, store)?;
        }
        let numbers: BTreeSet<u64> = changes.keys().map(|index| index / LIST_MAX as u64).collect();
        for number in &numbers {
            self.list(0, *number, store)?;
        }
        for (index, (id, bytes)) in changes {
            if let Some(slot) = self.slot(0, index) {
                *slot = id;
            }
            let parts = Arc::make_mut(&mut self.parts);
            match bytes {
                Some(bytes) => drop(parts.chunks.insert(index, (id, bytes))),
                None => drop(parts.chunks.remove(&index)),
            }
        }
        let mut dirty = numbers;
        for level in 0..self.root.level {
            let mut above = BTreeSet::new();
            for number in dirty {
                let Some(ids) = self.lists.get(&(level, number)) else {
                    continue;
                };
                let bytes = encode_list(level, ids);
                let id = Kind::Array.id_of(&bytes);
                Arc::make_mut(&mut self.parts)
                    .lists
                    .insert((level, number), (id, bytes));
                if let Some(slot) = self.slot(level + 1, number) {
                    *slot = id;
                }
                above.insert(number / LIST_MAX as u64);
            }
            dirty = above;
        }
        Ok(())
    }

    /// The array to be put into a tree.
    #[must_use]
    pub fn pending(&self) -> Pending {
        Pending::Array {
            root: self.root.encode(),
            parts: self.parts.clone(),
        }
    }
}
