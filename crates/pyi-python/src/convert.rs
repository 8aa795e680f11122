//! Between Python's objects and the engine's: paths, data, values, ids.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyi_engine::{Bytes, Id, Value, Version, encode};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
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

/// A path: `str` (surrogateescape) or `bytes`; as a rule the memory of the object that was given.
#[derive(Default)]
pub(crate) struct PathArg<'a>(pub(crate) Cow<'a, [u8]>);

impl<'a, 'py> FromPyObject<'a, 'py> for PathArg<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            return match object.extract::<&'a str>() {
                Ok(text) => Ok(PathArg(Cow::Borrowed(text.as_bytes()))),
                Err(_) => Ok(PathArg(Cow::Owned(encode(&text)?))),
            };
        }
        if let Ok(bytes) = object.extract::<&'a [u8]>() {
            return Ok(PathArg(Cow::Borrowed(bytes)));
        }
        Err(PyTypeError::new_err(format!(
            "a path is str or bytes, not {}",
            object.get_type().name()?
        )))
    }
}

/// As [`PathArg`], with memory of its own.
pub(crate) struct PathBytes(pub(crate) Vec<u8>);

impl<'a, 'py> FromPyObject<'a, 'py> for PathBytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        PathArg::extract(object).map(|path| PathBytes(path.0.into_owned()))
    }
}

/// The bytes of a `str` with lone surrogates, which become the bytes they stand for.
fn encode(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
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

/// Text: `str` that has a UTF-8.
pub(crate) struct Text(pub(crate) String);

impl<'a, 'py> FromPyObject<'a, 'py> for Text {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let text = object
            .cast::<PyString>()
            .map_err(|_| PyTypeError::new_err(format!("a str, not {}", object.get_type())))?;
        let text = text
            .to_str()
            .map_err(|_| invalid("text with lone surrogates has no UTF-8"))?;
        Ok(Text(text.to_owned()))
    }
}

/// A count or an offset: an `int` from 0 to 2^64 - 1.
#[derive(Clone, Copy)]
pub(crate) struct Count(pub(crate) u64);

impl Count {
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Count {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract::<u64>().map(Count).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(object.py()) {
                return invalid(format!("{}: a whole number from 0 to 2**64 - 1", object.to_owned()));
            }
            error
        })
    }
}

/// The pairs of a mapping.
pub(crate) fn items<'py>(what: &str, mapping: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if !mapping.hasattr("items")? {
        return Err(PyTypeError::new_err(format!(
            "{what}: a mapping, not {}",
            mapping.get_type()
        )));
    }
    mapping.call_method0("items")
}

/// A number that a `float` can hold: an `int` may be too large for one.
#[derive(Clone, Copy)]
pub(crate) struct Number(pub(crate) f64);

impl<'a, 'py> FromPyObject<'a, 'py> for Number {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract::<f64>().map(Number).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(object.py()) {
                return invalid("an int that is too large for a float: a finite number below 2**1023 is meant");
            }
            error
        })
    }
}

/// Data to write: anything with the buffer protocol, or `str` as UTF-8. Large contents are not copied before [`Data::bytes`] is called,
/// which needs no GIL.
pub(crate) enum Data {
    Ready(Bytes),
    /// Bytes that may be changed by their owner, who cannot free or move them meanwhile.
    Borrowed(PyBuffer<u8>),
}

impl Data {
    pub(crate) fn len(&self) -> usize {
        match self {
            Data::Ready(bytes) => bytes.len(),
            Data::Borrowed(buffer) => buffer.len_bytes(),
        }
    }

    /// The content: shared where nobody can change it, else a copy.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Data::Ready(bytes) => bytes.clone(),
            Data::Borrowed(_) => Bytes::copy_from_slice(self.peek()),
        }
    }

    /// Whether nobody can change what [`Data::peek`] shows.
    pub(crate) fn is_stable(&self) -> bool {
        matches!(self, Data::Ready(_))
    }

    /// The content where it stands.
    pub(crate) fn peek(&self) -> &[u8] {
        match self {
            Data::Ready(bytes) => bytes,
            // SAFETY: the buffer is C-contiguous (checked when it was taken), and its owner keeps the memory as long as it is exported.
            // Programs that write to it at the same time may tear what is copied, as with every buffer that threads share.
            Data::Borrowed(buffer) if buffer.len_bytes() > 0 => unsafe {
                std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes())
            },
            Data::Borrowed(_) => &[],
        }
    }
}

/// Memory of a Python object that never changes: `bytes`, or the UTF-8 of a `str`.
struct Frozen {
    _owner: Py<PyAny>,
    start: *const u8,
    size_bytes: usize,
}

// SAFETY: the memory is never written to, and a reference to a Python object may be dropped by any thread.
unsafe impl Send for Frozen {}
// SAFETY: as above.
unsafe impl Sync for Frozen {}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the owner lives as long as this, never changes, and keeps its memory where it is.
        unsafe { std::slice::from_raw_parts(self.start, self.size_bytes) }
    }
}

/// The bytes of an object that never changes: a copy when they are few, else the object's own memory.
fn frozen(owner: &Bound<'_, PyAny>, bytes: &[u8]) -> Bytes {
    if bytes.len() <= COPY_MAX_BYTES {
        return Bytes::copy_from_slice(bytes);
    }
    Bytes::from_owner(Frozen {
        start: bytes.as_ptr(),
        size_bytes: bytes.len(),
        _owner: owner.clone().unbind(),
    })
}

impl<'a, 'py> FromPyObject<'a, 'py> for Data {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Data::Ready(frozen(&object, bytes.as_bytes())));
        }
        if let Ok(text) = object.cast::<PyString>() {
            let text = text
                .to_str()
                .map_err(|_| invalid("text with lone surrogates has no UTF-8; pass bytes"))?;
            return Ok(Data::Ready(frozen(&object, text.as_bytes())));
        }
        buffer(&object)
    }
}

/// What a buffer holds, in C order.
fn buffer(object: &Bound<'_, PyAny>) -> PyResult<Data> {
    let view = PyMemoryView::from(object).map_err(|_| {
        PyTypeError::new_err(format!(
            "data is str or has the buffer protocol (bytes, bytearray, memoryview, array), not {}",
            object.get_type()
        ))
    })?;
    let view = if view.getattr("format")?.eq("B")? {
        view.into_any()
    } else if view.getattr("c_contiguous")?.is_truthy()? && view.getattr("nbytes")?.is_truthy()? {
        // Not every format can be cast, and then there is nothing for it but a copy.
        match view.call_method1("cast", ("B",)) {
            Ok(flat) => flat,
            Err(_) => view.call_method0("tobytes")?,
        }
    } else {
        view.call_method0("tobytes")?
    };
    if let Ok(flat) = PyBuffer::<u8>::get(&view)
        && flat.is_c_contiguous()
    {
        return Ok(Data::Borrowed(flat));
    }
    let bytes = view.call_method0("tobytes")?;
    Ok(Data::Ready(frozen(&bytes, bytes.cast::<PyBytes>()?.as_bytes())))
}

/// Fills in a buffer over memory that `owner` keeps.
///
/// # Safety
/// `view` is one that Python's buffer machinery passed, and the memory lives as long as `owner`.
pub(crate) unsafe fn export(
    owner: &Bound<'_, PyAny>,
    view: *mut pyo3::ffi::Py_buffer,
    flags: i32,
    start: *mut u8,
    size_bytes: usize,
    is_writable: bool,
) -> PyResult<()> {
    // SAFETY: the caller's promise; the buffer keeps a reference to `owner`.
    let filled = unsafe {
        pyo3::ffi::PyBuffer_FillInfo(
            view,
            owner.as_ptr(),
            start.cast(),
            size_bytes as pyo3::ffi::Py_ssize_t,
            i32::from(!is_writable),
            flags,
        )
    };
    if filled == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(owner.py()))
    }
}

/// A read-only buffer over content that the engine holds.
#[pyclass(frozen, module = "pyi._native")]
struct Content(Bytes);

#[pymethods]
impl Content {
    // SAFETY: called by Python's buffer machinery only, which passes valid pointers.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut pyo3::ffi::Py_buffer, flags: i32) -> PyResult<()> {
        let content = slf.get().0.clone();
        // SAFETY: `view` is valid; the bytes are immutable and live as long as `slf`.
        unsafe {
            export(
                slf.as_any(),
                view,
                flags,
                content.as_ptr().cast_mut(),
                content.len(),
                false,
            )
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

/// Bytes as `bytes`, with the GIL released while many are copied.
pub(crate) fn copied<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if bytes.len() <= SMALL_BYTES {
        return Ok(PyBytes::new(py, bytes));
    }
    PyBytes::new_with(py, bytes.len(), |copy| {
        // Nobody else has seen these bytes yet.
        py.detach(|| copy.copy_from_slice(bytes));
        Ok(())
    })
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
pub(crate) fn value_from(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let mut encoded = Vec::with_capacity(64);
    encode_value(object, 0, &mut encoded)?;
    Value::decode_ordered(&encoded).map_err(|error| invalid(format!("a value that cannot be stored: {error}")))
}

/// Appends the ordered encoding of a JSON-like value or bytes. O(items), all of them under the GIL.
pub(crate) fn encode_value(object: &Bound<'_, PyAny>, depth: usize, out: &mut Vec<u8>) -> PyResult<()> {
    if depth > NESTED_MAX {
        return Err(invalid(
            "a value nested more than 120 levels deep (or containing itself)",
        ));
    }
    if let Ok(text) = object.cast::<PyString>() {
        let text = text
            .to_str()
            .map_err(|_| invalid("text with lone surrogates cannot be stored; use bytes"))?;
        encode::text(out, text);
    } else if let Ok(value) = object.cast::<PyBool>() {
        encode::bool(out, value.is_true());
    } else if let Ok(number) = object.cast::<PyInt>() {
        encode_int(number, out)?;
    } else if object.is_none() {
        encode::null(out);
    } else if let Ok(number) = object.cast::<PyFloat>() {
        encode::float(out, number.value());
    } else if let Ok(map) = object.cast::<PyDict>() {
        encode::map(out, map.len());
        for (key, value) in map.iter() {
            let Ok(key) = key.cast::<PyString>() else {
                return Err(invalid(format!(
                    "a mapping key of type {}: keys are str",
                    key.get_type()
                )));
            };
            let key = key
                .to_str()
                .map_err(|_| invalid("a key with lone surrogates cannot be stored"))?;
            encode::text(out, key);
            encode_value(&value, depth + 1, out)?;
        }
    } else if let Ok(list) = object.cast::<PyList>() {
        encode::array(out, list.len());
        // Nothing in here runs other programs' code but what turns NumPy's scalars into numbers; a list that shrinks meanwhile is refused.
        let count = list.len();
        for index in 0..count {
            let item = list
                .get_item(index)
                .map_err(|_| invalid("a list that changed while it was stored"))?;
            encode_value(&item, depth + 1, out)?;
        }
        if list.len() != count {
            return Err(invalid("a list that changed while it was stored"));
        }
    } else if let Ok(tuple) = object.cast::<PyTuple>() {
        encode::array(out, tuple.len());
        for item in tuple.iter() {
            encode_value(&item, depth + 1, out)?;
        }
    } else if let Ok(bytes) = object.cast::<PyBytes>() {
        encode::bytes(out, bytes.as_bytes());
    } else if object.is_instance_of::<PyByteArray>() || object.is_instance_of::<PyMemoryView>() {
        encode::bytes(out, buffer(object)?.peek());
    } else if let Some(plain) = numpy_scalar(object)? {
        encode_value(&plain, depth + 1, out)?;
    } else {
        return Err(invalid(format!(
            "a value of type {}: None, bool, int, float, str, bytes, list, dict and (by themselves) NumPy arrays, buffers and \
             data frames can be stored; anything else with ws.state.pickle",
            object.get_type()
        )));
    }
    Ok(())
}

/// NumPy's scalars are neither int nor float, but turn into them.
fn numpy_scalar<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !object.hasattr("dtype")? || object.hasattr("__len__")? {
        return Ok(None);
    }
    let Ok(plain) = object.call_method0("item") else {
        return Ok(None);
    };
    Ok((!plain.is(object)).then_some(plain))
}

fn encode_int(number: &Bound<'_, PyInt>, out: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(small) = number.extract::<i64>() {
        encode::int(out, i128::from(small));
        return Ok(());
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
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    if bytes.len() > 8 {
        encode::big(out, negative, bytes);
        return Ok(());
    }
    let number = bytes
        .iter()
        .fold(0_i128, |number, byte| number << 8 | i128::from(*byte));
    encode::int(out, if negative { -1 - number } else { number });
    Ok(())
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
            .checkpoint(&Text::extract(text.as_borrowed().as_any().as_borrowed())?.0)
            .map(|found| *found.id())
            .map_err(|error| raise(&error));
    }
    Err(PyTypeError::new_err(format!(
        "a Checkpoint or an id (str), not {}",
        object.get_type()
    )))
}

/// A time span in seconds from Python.
pub(crate) fn seconds(what: &str, seconds: Option<Number>) -> PyResult<Option<Duration>> {
    let Some(Number(seconds)) = seconds else {
        return Ok(None);
    };
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| {
        invalid(format!(
            "{what}={seconds:?}: seconds, a finite number of at least 0 and below 2**64"
        ))
    })
}
