//! What is behind `Workspace.state`: the Python class `pyi.state.State` makes a `MutableMapping` of it.

use std::sync::Arc;

use pyi_engine::{Bytes, NewArray, StateValue, Workspace};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::array::{ArrayCore, Large, StoredArray, handed};
use crate::convert::{Data, SMALL_BYTES, Text, encode_value, value_to};
use crate::errors::{invalid, short, work};

/// Bytes above this are stored in chunks, as arrays are.
const LARGE_BYTES: usize = pyi_engine::ARRAY_CHUNK_BYTES;

/// Stores a value that is encoded.
pub(crate) fn store(py: Python<'_>, workspace: &Workspace, key: &str, encoded: Vec<u8>) -> PyResult<()> {
    if encoded.len() <= SMALL_BYTES && !workspace.is_busy() {
        return short(workspace.state_set_encoded(key, Bytes::from(encoded)));
    }
    work(py, || workspace.state_set_encoded(key, Bytes::from(encoded)))
}

/// The state of a workspace, one call an operation.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct StateCore {
    pub(crate) inner: Arc<Workspace>,
    hidden: Option<Hidden>,
}

/// Keys that are neither listed nor changed.
struct Hidden {
    /// What they begin with.
    prefix: String,
    /// Whose they are.
    owner: String,
}

impl StateCore {
    pub(crate) fn new(inner: Arc<Workspace>) -> Self {
        StateCore { inner, hidden: None }
    }

    fn is_hidden(&self, key: &str) -> bool {
        let hidden = self.hidden.as_ref();
        hidden.is_some_and(|hidden| key.starts_with(&hidden.prefix))
    }

    fn check(&self, key: &str) -> PyResult<()> {
        match &self.hidden {
            Some(Hidden { prefix, owner }) if self.is_hidden(key) => Err(invalid(format!(
                "state key {key:?}: keys that begin with {prefix:?} belong to {owner}; take another one"
            ))),
            _ => Ok(()),
        }
    }
}

#[pymethods]
impl StateCore {
    /// The same state without the keys that begin with `prefix`, which belong to `owner`: they are not listed, and cannot be set or removed.
    fn hiding(&self, prefix: String, owner: String) -> Self {
        StateCore {
            inner: Arc::clone(&self.inner),
            hidden: Some(Hidden { prefix, owner }),
        }
    }

    /// The value under `key`, or `default`. What is stored in chunks comes as a `StoredArray`.
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyString>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // Nothing is stored under a key that has no UTF-8.
        let Ok(key) = key.to_str() else { return Ok(default) };
        match work(py, || self.inner.state_get(key))? {
            None => Ok(default),
            Some(StateValue::Value(value)) => value_to(py, &value),
            Some(StateValue::Array(array)) => Ok(Bound::new(py, StoredArray::new(array))?.into_any()),
        }
    }

    /// Stores a value; False if it is none of the plain types, and nothing was stored.
    fn set(&self, py: Python<'_>, key: Text, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let is_plain = value.is_none()
            || value.is_instance_of::<PyString>()
            || value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyBool>()
            || value.is_instance_of::<PyFloat>()
            || value.is_instance_of::<PyDict>()
            || value.is_instance_of::<PyList>()
            || value.is_instance_of::<PyTuple>()
            || (value.is_exact_instance_of::<PyBytes>() && value.len()? <= LARGE_BYTES);
        if is_plain {
            self.set_value(py, key, value)?;
        }
        Ok(is_plain)
    }

    /// Stores a plain value or bytes, whatever their size, in one piece.
    fn set_value(&self, py: Python<'_>, key: Text, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check(&key.0)?;
        let mut encoded = Vec::with_capacity(64);
        encode_value(value, 0, &mut encoded)?;
        store(py, &self.inner, &key.0, encoded)
    }

    /// Stores the content of a buffer in chunks.
    fn set_array(
        &self,
        py: Python<'_>,
        key: Text,
        form: Option<String>,
        dtype: String,
        shape: Vec<u64>,
        data: Data,
    ) -> PyResult<()> {
        self.check(&key.0)?;
        work(py, || {
            let array = NewArray {
                form,
                dtype,
                shape,
                // SAFETY: the slice lives as long as `data`, which outlives this closure; the engine keeps no part of it.
                bytes: Bytes::from_static(unsafe { std::mem::transmute::<&[u8], &'static [u8]>(data.peek()) }),
                is_stable: data.is_stable(),
            };
            self.inner.state_set_array(&key.0, &array)
        })
    }

    /// The array under `key`, tracked.
    fn array(&self, py: Python<'_>, key: Text) -> PyResult<ArrayCore> {
        self.check(&key.0)?;
        let live = work(py, || self.inner.state_array(&key.0))?;
        Ok(ArrayCore {
            workspace: Arc::clone(&self.inner),
            live: Large::new(live),
        })
    }

    /// Stores an array whose memory is handed over, and tracks it.
    fn adopt(
        &self,
        py: Python<'_>,
        key: Text,
        dtype: &str,
        shape: Vec<u64>,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<ArrayCore> {
        self.check(&key.0)?;
        let memory = handed(buffer)?;
        let live = work(py, || self.inner.state_adopt(&key.0, dtype, &shape, memory))?;
        Ok(ArrayCore {
            workspace: Arc::clone(&self.inner),
            live: Large::new(live),
        })
    }

    /// Takes a key away; False if it is not there.
    fn remove(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<bool> {
        let Ok(key) = key.to_str() else { return Ok(false) };
        self.check(key)?;
        work(py, || self.inner.state_remove(key))
    }

    /// The keys, sorted.
    fn keys(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let mut keys = work(py, || self.inner.state_keys())?;
        keys.retain(|key| !self.is_hidden(key));
        Ok(keys)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        if self.hidden.is_some() {
            return self.keys(py).map(|keys| keys.len());
        }
        Ok(usize::try_from(self.inner.state_len()).unwrap_or(usize::MAX))
    }
}
