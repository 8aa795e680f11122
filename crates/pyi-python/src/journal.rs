//! `Journal`.

use std::sync::Arc;

use pyi_engine::{JournalView, Value, Workspace};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::value_from;
use crate::entry::Event;
use crate::errors::{short, work};

/// The append-only list of events of a workspace.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Journal {
    pub(crate) inner: Arc<Workspace>,
}

#[pymethods]
impl Journal {
    /// Appends an event; data is JSON-like or bytes.
    #[pyo3(signature = (kind, **data))]
    fn append(&self, kind: &str, data: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let data = data.map_or(Ok(Value::Map(Vec::new())), |data| value_from(data.as_any(), 0))?;
        short(self.inner.journal_append(kind, data))
    }

    /// Makes the events so far durable by themselves, without a checkpoint.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        work(py, || self.inner.flush_journal())
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.inner.journal_len()).unwrap_or(usize::MAX)
    }

    /// The events as they are now.
    fn __iter__(&self, py: Python<'_>) -> PyResult<JournalIterator> {
        Ok(JournalIterator {
            view: work(py, || self.inner.journal())?,
            next: 0,
        })
    }

    fn __getitem__(&self, py: Python<'_>, index: i64) -> PyResult<Event> {
        let wanted = work(py, || {
            let mut view = self.inner.journal()?;
            let index = if index < 0 {
                view.len().checked_add_signed(index)
            } else {
                u64::try_from(index).ok()
            };
            index.map_or(Ok(None), |index| view.get(index))
        })?;
        wanted
            .map(Event::new)
            .ok_or_else(|| PyIndexError::new_err(format!("journal index {index} out of range")))
    }
}

/// Goes through a journal.
#[pyclass(module = "pyi._native")]
pub(crate) struct JournalIterator {
    view: JournalView,
    next: u64,
}

#[pymethods]
impl JournalIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self) -> PyResult<Option<Event>> {
        let event = short(self.view.get(self.next))?;
        self.next += u64::from(event.is_some());
        Ok(event.map(Event::new))
    }
}
