//! What is behind `Workspace.state`: the Python class `pyi.state.State` makes a `MutableMapping` of it.

use std::sync::Arc;

use pyi_engine::{ArrayValue, StateValue, Workspace};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::convert::{buffer, value_from, value_to};
use crate::errors::{invalid, work};

/// The state of a workspace, one call an operation.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct StateCore {
    pub(crate) inner: Arc<Workspace>,
}

#[pymethods]
impl StateCore {
    /// The value under `key`, or `default`.
    fn get<'py>(&self, py: Python<'py>, key: &str, default: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match work(py, || self.inner.state_get(key))? {
            None => Ok(default),
            Some(StateValue::Value(value)) => value_to(py, &value),
            Some(StateValue::Array(array)) => array_to(py, &array),
        }
    }

    /// Stores a value.
    fn set(&self, py: Python<'_>, key: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = key
            .to_str()
            .map_err(|_| invalid("a state key with lone surrogates cannot be stored"))?;
        let value = match array_from(value)? {
            Some(array) => StateValue::Array(array),
            None => StateValue::Value(value_from(value, 0)?),
        };
        work(py, || self.inner.state_set(key, &value))
    }

    /// Takes a key away; False if it is not there.
    fn remove(&self, py: Python<'_>, key: &str) -> PyResult<bool> {
        work(py, || self.inner.state_remove(key))
    }

    /// The keys, sorted.
    fn keys(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        work(py, || self.inner.state_keys())
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.inner.state_len()).unwrap_or(usize::MAX)
    }
}

/// A NumPy array as the engine holds it; `None` for anything else. NumPy is not imported for this: where there is an array,
/// it was imported already.
fn array_from(object: &Bound<'_, PyAny>) -> PyResult<Option<ArrayValue>> {
    let py = object.py();
    let Some(numpy) = py
        .import("sys")?
        .getattr("modules")?
        .call_method1("get", ("numpy",))
        .ok()
        .filter(|m| !m.is_none())
    else {
        return Ok(None);
    };
    if !object.is_instance(&numpy.getattr("ndarray")?)? {
        return Ok(None);
    }
    let dtype = object.getattr("dtype")?;
    if dtype.getattr("hasobject")?.is_truthy()? || !dtype.getattr("names")?.is_none() {
        return Err(invalid(format!(
            "an array of dtype {dtype}: object and structured arrays cannot be stored; store their columns as arrays"
        )));
    }
    let flat = numpy.call_method1("ascontiguousarray", (object,))?;
    let bytes = flat
        .call_method1("view", ("u1",))
        .or_else(|_| flat.call_method0("tobytes"));
    Ok(Some(ArrayValue {
        dtype: dtype.getattr("str")?.extract()?,
        shape: object.getattr("shape")?.extract()?,
        bytes: buffer(&bytes?)?,
    }))
}

/// A writable copy of an array, as NumPy's.
fn array_to<'py>(py: Python<'py>, array: &ArrayValue) -> PyResult<Bound<'py, PyAny>> {
    let numpy = py.import("numpy")?;
    let bytes = PyBytes::new(py, &array.bytes);
    let dtype = numpy.call_method1("dtype", (&array.dtype,))?;
    let flat = numpy.call_method1("frombuffer", (bytes, dtype))?;
    flat.call_method1("reshape", (array.shape.clone(),))?
        .call_method0("copy")
}
