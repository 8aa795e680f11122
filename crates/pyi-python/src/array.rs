//! What is behind `State.array`: memory, and notes of what of it is there and what was written to. The Python class
//! `pyi.arrays.TrackedArray` makes an array of it.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use pyi_engine::{ARRAY_CHUNK_BYTES, LiveArray, Memory, Region, StoredArray as EngineArray, Workspace};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{Count, export};
use crate::errors::{invalid, work};

/// A tracked array, one call an operation. A region is where NumPy has it: the offset of its first element, bytes of an element, and
/// (length, step in bytes) of each axis.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct ArrayCore {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) live: Large<Arc<LiveArray>>,
}

/// Something whose end may take a while: a gigabyte goes back to the system page by page, and other threads need not wait for that.
pub(crate) struct Large<T: Send>(ManuallyDrop<T>);

impl<T: Send> Large<T> {
    pub(crate) fn new(inner: T) -> Self {
        Large(ManuallyDrop::new(inner))
    }
}

impl<T: Send> Deref for Large<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send> Drop for Large<T> {
    fn drop(&mut self) {
        // SAFETY: nothing looks at it after this.
        let inner = unsafe { ManuallyDrop::take(&mut self.0) };
        Python::attach(|py| {
            py.detach(|| {
                // What it kept in the store is given back too.
                let _gate = pyi_engine::enter();
                drop(inner);
            });
        });
    }
}

fn region(offset: Count, item_bytes: Count, axes: Vec<(u64, i64)>) -> Region {
    Region {
        offset: offset.0,
        item_bytes: item_bytes.0,
        axes,
    }
}

#[pymethods]
impl ArrayCore {
    /// NumPy's type string.
    #[getter]
    fn dtype(&self) -> &str {
        self.live.dtype()
    }

    /// The lengths of the axes.
    #[getter]
    fn shape(&self) -> Vec<u64> {
        self.live.shape().to_vec()
    }

    /// Chunks of the whole.
    #[getter]
    fn chunks(&self) -> usize {
        self.live.chunks()
    }

    /// Bytes of a chunk.
    #[getter]
    fn chunk_bytes(&self) -> usize {
        ARRAY_CHUNK_BYTES
    }

    /// Chunks that were not fetched yet.
    #[getter]
    fn missing(&self) -> usize {
        self.live.missing()
    }

    /// Chunks that were written to since the state last took them in.
    #[getter]
    fn touched(&self) -> usize {
        self.live.touched()
    }

    /// Whether the key holds something else by now.
    #[getter]
    fn detached(&self) -> bool {
        self.live.is_detached()
    }

    /// Fetches what of a region is not here yet.
    fn fetch(&self, py: Python<'_>, offset: Count, item_bytes: Count, axes: Vec<(u64, i64)>) -> PyResult<()> {
        if self.live.missing() == 0 {
            return Ok(());
        }
        let region = region(offset, item_bytes, axes);
        work(py, || self.live.fetch(&region))
    }

    /// Refuses if this array must not be written to; else fetches a region and notes that it is being written to.
    fn begin(&self, py: Python<'_>, offset: Count, item_bytes: Count, axes: Vec<(u64, i64)>) -> PyResult<()> {
        let region = region(offset, item_bytes, axes);
        work(py, || {
            self.workspace.check_array(&self.live)?;
            self.live.fetch(&region)?;
            self.live.mark(&region);
            Ok(())
        })
    }

    /// Notes that a region was written to. Who writes calls `begin` before and this after.
    fn end(&self, offset: Count, item_bytes: Count, axes: Vec<(u64, i64)>) {
        self.live.mark(&region(offset, item_bytes, axes));
    }

    /// As `begin` and `end`, for chunks by their numbers.
    fn begin_chunks(&self, py: Python<'_>, chunks: Vec<u64>) -> PyResult<()> {
        work(py, || {
            self.workspace.check_array(&self.live)?;
            for chunk in &chunks {
                let chunk = usize::try_from(*chunk).unwrap_or(usize::MAX);
                self.live.fetch_chunks(chunk..chunk.saturating_add(1))?;
                self.live.mark_chunks(chunk..chunk.saturating_add(1));
            }
            Ok(())
        })
    }

    /// As `end`, for chunks by their numbers.
    fn end_chunks(&self, chunks: Vec<u64>) {
        for chunk in chunks {
            let chunk = usize::try_from(chunk).unwrap_or(usize::MAX);
            self.live.mark_chunks(chunk..chunk.saturating_add(1));
        }
    }

    /// The memory as a buffer, to be read. What was not fetched is zero in it.
    fn memory(&self) -> ArrayMemory {
        ArrayMemory {
            live: Large::new(Arc::clone(&self.live)),
            is_writable: false,
            window: None,
        }
    }

    /// The memory as a buffer, to be written to by those who say so.
    fn writable(&self) -> ArrayMemory {
        ArrayMemory {
            live: Large::new(Arc::clone(&self.live)),
            is_writable: true,
            window: None,
        }
    }

    /// The memory as a buffer, in which a stretch of bytes counts as written to as long as the buffer lives.
    fn window(&self, py: Python<'_>, start: Count, stop: Count) -> PyResult<ArrayMemory> {
        let end = self.live.memory().size_bytes();
        if start.0 > stop.0 || stop.0 > end as u64 {
            return Err(invalid(format!("{}:{}: not a stretch of {end} bytes", start.0, stop.0)));
        }
        let chunks = start.size() / ARRAY_CHUNK_BYTES..stop.size().div_ceil(ARRAY_CHUNK_BYTES);
        let window = work(py, || {
            self.workspace.check_array(&self.live)?;
            self.live.fetch_chunks(chunks)?;
            Ok(self.live.open_window(start.size(), stop.size()))
        })?;
        Ok(ArrayMemory {
            live: Large::new(Arc::clone(&self.live)),
            is_writable: true,
            window: Some(window),
        })
    }
}

/// A buffer over the memory of a tracked array.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct ArrayMemory {
    live: Large<Arc<LiveArray>>,
    is_writable: bool,
    window: Option<u64>,
}

impl Drop for ArrayMemory {
    fn drop(&mut self) {
        if let Some(window) = self.window {
            self.live.close_window(window);
        }
    }
}

#[pymethods]
impl ArrayMemory {
    // SAFETY: called by Python's buffer machinery only, which passes valid pointers.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut pyo3::ffi::Py_buffer, flags: i32) -> PyResult<()> {
        let own = slf.get();
        let memory = own.live.memory();
        // SAFETY: `view` is valid; the array, and with it the memory, lives as long as `slf`.
        unsafe {
            export(
                slf.as_any(),
                view,
                flags,
                memory.start(),
                memory.size_bytes(),
                own.is_writable,
            )
        }
    }
}

/// An array that was read: its content as a buffer of its own, and what NumPy needs to know of it.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct StoredArray {
    inner: Large<EngineArray>,
}

impl StoredArray {
    pub(crate) fn new(inner: EngineArray) -> Self {
        StoredArray {
            inner: Large::new(inner),
        }
    }
}

#[pymethods]
impl StoredArray {
    /// "bytes", "arrow", "pickle", or None for a NumPy array.
    #[getter]
    fn form(&self) -> Option<&str> {
        self.inner.form.as_deref()
    }

    /// NumPy's type string.
    #[getter]
    fn dtype(&self) -> &str {
        &self.inner.dtype
    }

    /// The lengths of the axes.
    #[getter]
    fn shape(&self) -> Vec<u64> {
        self.inner.shape.clone()
    }

    /// The content as bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let inner = &*self.inner;
        PyBytes::new_with(py, inner.memory.size_bytes(), |bytes| {
            // Nobody else has seen these bytes yet.
            py.detach(|| inner.memory.copy_to(bytes));
            Ok(())
        })
    }

    // SAFETY: called by Python's buffer machinery only, which passes valid pointers.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut pyo3::ffi::Py_buffer, flags: i32) -> PyResult<()> {
        let memory = &slf.get().inner.memory;
        // SAFETY: `view` is valid; the memory lives as long as `slf` and belongs to nobody else.
        unsafe { export(slf.as_any(), view, flags, memory.start(), memory.size_bytes(), true) }
    }
}

/// Memory that a Python buffer keeps: an object that exports it, writable.
pub(crate) struct Handed(#[allow(dead_code)] Py<PyAny>);

/// Takes over the memory of a writable, C-contiguous buffer of bytes.
pub(crate) fn handed(buffer: &Bound<'_, PyAny>) -> PyResult<Memory> {
    let view = pyo3::types::PyMemoryView::from(buffer)?;
    let bytes = pyo3::buffer::PyBuffer::<u8>::get(&view)?;
    if bytes.readonly() || !bytes.is_c_contiguous() {
        return Err(invalid("only writable, C-contiguous memory can be handed over"));
    }
    let owner = Box::new(Handed(view.unbind().into_any()));
    // SAFETY: the memoryview exports the buffer as long as it lives, so its memory stays where it is. It may be given up by any
    // thread: PyO3 puts the reference off until somebody has the GIL.
    Ok(unsafe { Memory::foreign(bytes.buf_ptr().cast(), bytes.len_bytes(), owner) })
}
