//! Between Python's objects and the engine's: paths, data, values, ids.

use std::ffi::CStr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyi_engine::{Bytes, Id, Value, Version};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple};

use crate::checkpoint::Checkpoint;
use crate::errors::{invalid, raise};
use crate::workspace::Workspace;

const UTF8: &CStr = c"utf-8";
const SURROGATE_ESCAPE: &CStr = c"surrogateescape";
/// Contents above this are handed out without a copy, as a memoryview.
const COPY_MAX_BYTES: usize = 16 << 10;
/// Data above this is taken in with the GIL released.
pub(crate) const SMALL_BYTES: usize = 16 << 10;

/// A path: `str` (surrogateescape) or `bytes`.
pub(crate) struct PathArg(pub(crate) Vec<u8>);

impl<'a, 'py> FromPyObject<'a, 'py> for PathArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            return Ok(PathArg(encode(&text)?));
        }
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(PathArg(bytes.as_bytes().to_vec()));
        }
        Err(PyTypeError::new_err(format!(
            "a path is str or bytes, not {}",
            object.get_type().name()?
        )))
    }
}

/// The bytes of a `str`, lone surrogates as the bytes they stand for.
fn encode(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    if let Ok(text) = text.to_str() {
        return Ok(text.as_bytes().to_vec());
    }
    // SAFETY: `text` is a live str object and both strings are NUL-terminated; a new reference or null comes back.
    let encoded = unsafe {
        Bound::from_owned_ptr_or_err(
            text.py(),
            pyo3::ffi::PyUnicode_AsEncodedString(text.as_ptr(), UTF8.as_ptr(), SURROGATE_ESCAPE.as_ptr()),
        )
    };
    let encoded = encoded.map_err(|_| invalid("a path with a surrogate that stands for no byte; pass bytes"))?;
    Ok(encoded.cast::<PyBytes>()?.as_bytes().to_vec())
}

/// A `str` for bytes, with surrogateescape where they are not UTF-8.
pub(crate) fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(PyString::new(py, text).into_any());
    }
    // SAFETY: pointer and length are those of a live slice, the error handler's name is NUL-terminated; a new reference or
    // null comes back.
    unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            pyo3::ffi::PyUnicode_DecodeUTF8(
                bytes.as_ptr().cast(),
                bytes.len() as pyo3::ffi::Py_ssize_t,
                SURROGATE_ESCAPE.as_ptr(),
            ),
        )
    }
}

/// A directory of the file system: `str`, `bytes` or `os.PathLike`.
pub(crate) struct Directory(pub(crate) PathBuf);

impl<'a, 'py> FromPyObject<'a, 'py> for Directory {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let bytes = py.import("os")?.call_method1("fsencode", (object,))?;
        let bytes = bytes.cast::<PyBytes>()?.as_bytes().to_vec();
        Ok(Directory(PathBuf::from(std::ffi::OsString::from_vec(bytes))))
    }
}

/// Data to write: anything with the buffer protocol, or `str` as UTF-8.
pub(crate) struct Data(pub(crate) Bytes);

impl<'a, 'py> FromPyObject<'a, 'py> for Data {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Data(Bytes::copy_from_slice(bytes.as_bytes())));
        }
        if let Ok(text) = object.cast::<PyString>() {
            let text = text
                .to_str()
                .map_err(|_| invalid("text with lone surrogates has no UTF-8; pass bytes"))?;
            return Ok(Data(Bytes::copy_from_slice(text.as_bytes())));
        }
        buffer(&object).map(Data)
    }
}

/// A copy of what a buffer holds, in C order.
pub(crate) fn buffer(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let py = object.py();
    let view = PyMemoryView::from(object).map_err(|_| {
        PyTypeError::new_err(format!(
            "data is str or has the buffer protocol (bytes, bytearray, memoryview, array), not {}",
            object.get_type()
        ))
    })?;
    if let Ok(flat) = PyBuffer::<u8>::get(&view)
        && flat.is_c_contiguous()
    {
        return Ok(Bytes::from(flat.to_vec(py)?));
    }
    let bytes = view.call_method0("tobytes")?;
    Ok(Bytes::copy_from_slice(bytes.cast::<PyBytes>()?.as_bytes()))
}

/// A read-only buffer over content that the engine holds.
#[pyclass(frozen, module = "pyi._native")]
struct Content(Bytes);

#[pymethods]
impl Content {
    // SAFETY: called by Python's buffer machinery only, which passes valid pointers.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut pyo3::ffi::Py_buffer, flags: i32) -> PyResult<()> {
        let content = slf.get().0.clone();
        // SAFETY: `view` is valid; the bytes are immutable and live as long as `slf`, to which the buffer keeps a reference.
        let filled = unsafe {
            pyo3::ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                content.as_ptr().cast_mut().cast(),
                content.len() as pyo3::ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

/// Content for Python: `bytes` when small, else a memoryview without a copy.
pub(crate) fn content<'py>(py: Python<'py>, bytes: Bytes) -> PyResult<Bound<'py, PyAny>> {
    if bytes.len() <= COPY_MAX_BYTES {
        return Ok(PyBytes::new(py, &bytes).into_any());
    }
    let owner = Bound::new(py, Content(bytes))?;
    Ok(PyMemoryView::from(owner.as_any())?.into_any())
}

/// The part of `bytes` from `offset` on, at most `size` long.
pub(crate) fn window(bytes: Bytes, offset: usize, size: Option<usize>) -> Bytes {
    let start = offset.min(bytes.len());
    let end = size.map_or(bytes.len(), |size| start.saturating_add(size).min(bytes.len()));
    if start == 0 && end == bytes.len() {
        bytes
    } else {
        bytes.slice(start..end)
    }
}

const NESTED_MAX: usize = pyi_engine::VALUE_DEPTH_MAX - 8;

/// A JSON-like value or bytes from Python.
pub(crate) fn value_from(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > NESTED_MAX {
        return Err(invalid(
            "a value nested more than 120 levels deep (or containing itself)",
        ));
    }
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(value) = object.cast::<PyBool>() {
        return Ok(Value::Bool(value.is_true()));
    }
    if let Ok(text) = object.cast::<PyString>() {
        let text = text
            .to_str()
            .map_err(|_| invalid("text with lone surrogates cannot be stored; use bytes"))?;
        return Ok(Value::Text(text.to_owned()));
    }
    if let Ok(number) = object.cast::<PyInt>() {
        return int_from(number);
    }
    if let Ok(number) = object.cast::<PyFloat>() {
        return Ok(Value::Float(number.value()));
    }
    if let Ok(map) = object.cast::<PyDict>() {
        let mut pairs = Vec::with_capacity(map.len());
        for (key, value) in map.iter() {
            let Ok(key) = key.cast::<PyString>() else {
                return Err(invalid(format!(
                    "a mapping key of type {}: keys are str",
                    key.get_type()
                )));
            };
            let key = key
                .to_str()
                .map_err(|_| invalid("a key with lone surrogates cannot be stored"))?
                .to_owned();
            pairs.push((key, value_from(&value, depth + 1)?));
        }
        // The order that the encoding gives, so that what was assigned compares equal to what is read.
        return Ok(Value::Map(pairs));
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let items = object
            .try_iter()?
            .map(|item| value_from(&item?, depth + 1))
            .collect::<PyResult<_>>()?;
        return Ok(Value::Array(items));
    }
    if object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyByteArray>()
        || object.is_instance_of::<PyMemoryView>()
    {
        return Ok(Value::Bytes(buffer(object)?.to_vec()));
    }
    // NumPy's scalars are neither int nor float, but turn into them.
    if let Ok(item) = object.getattr("item")
        && object.hasattr("dtype")?
        && let Ok(plain) = item.call0()
        && !plain.is(object)
    {
        return value_from(&plain, depth + 1);
    }
    Err(invalid(format!(
        "a value of type {}: None, bool, int, float, str, bytes, list, dict and (by itself) a NumPy array can be stored",
        object.get_type()
    )))
}

fn int_from(number: &Bound<'_, PyInt>) -> PyResult<Value> {
    if let Ok(small) = number.extract::<i64>() {
        return Ok(Value::Int(i128::from(small)));
    }
    let negative = number.lt(0)?;
    // CBOR counts negative numbers from -1 downwards.
    let magnitude = if negative {
        number.call_method0("__invert__")?
    } else {
        number.clone().into_any()
    };
    let bits: usize = magnitude.call_method0("bit_length")?.extract()?;
    let bytes = magnitude.call_method1("to_bytes", (bits.div_ceil(8), "big"))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes().to_vec();
    if bytes.len() > 8 {
        return Ok(Value::Big(negative, bytes));
    }
    let number = bytes
        .iter()
        .fold(0_i128, |number, byte| number << 8 | i128::from(*byte));
    Ok(Value::Int(if negative { -1 - number } else { number }))
}

/// A value for Python.
pub(crate) fn value_to<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::Int(number) => match i64::try_from(*number) {
            Ok(small) => small.into_pyobject(py)?.into_any(),
            Err(_) => number.into_pyobject(py)?.into_any(),
        },
        Value::Big(negative, magnitude) => {
            let int = py.get_type::<PyInt>();
            let number = int.call_method1("from_bytes", (PyBytes::new(py, magnitude), "big"))?;
            if *negative {
                number.call_method0("__invert__")?
            } else {
                number
            }
        }
        Value::Float(number) => PyFloat::new(py, *number).into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(value_to(py, item)?)?;
            }
            list.into_any()
        }
        Value::Map(pairs) => {
            let dict = PyDict::new(py);
            for (key, item) in pairs {
                dict.set_item(key, value_to(py, item)?)?;
            }
            dict.into_any()
        }
    })
}

/// A workspace, checkpoint or id.
pub(crate) fn version(object: &Bound<'_, PyAny>, repository: &pyi_engine::Repository) -> PyResult<Version> {
    if let Ok(workspace) = object.cast::<Workspace>() {
        return Ok(Version::Workspace(Arc::clone(&workspace.get().inner)));
    }
    Ok(Version::Id(checkpoint_id(object, repository)?))
}

/// The id of a checkpoint given as such or by its id.
pub(crate) fn checkpoint_id(object: &Bound<'_, PyAny>, repository: &pyi_engine::Repository) -> PyResult<Id> {
    if let Ok(checkpoint) = object.cast::<Checkpoint>() {
        return Ok(*checkpoint.get().inner.id());
    }
    if let Ok(text) = object.cast::<PyString>() {
        return repository
            .checkpoint(text.to_str()?)
            .map(|found| *found.id())
            .map_err(|error| raise(&error));
    }
    Err(PyTypeError::new_err(format!(
        "a Checkpoint or an id (str), not {}",
        object.get_type()
    )))
}

/// A time span in seconds from Python.
pub(crate) fn seconds(what: &str, seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    Duration::try_from_secs_f64(seconds)
        .map(Some)
        .map_err(|_| invalid(format!("{what}={seconds}: seconds, a number of at least 0")))
}
