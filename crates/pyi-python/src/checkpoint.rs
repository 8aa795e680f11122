//! `Checkpoint` and walks.

use pyi_engine::{Checkpoint as EngineCheckpoint, EntryWalk, History, Repository};
use pyo3::prelude::*;

use crate::convert::{Count, PathArg, content, value_to, window};
use crate::entry::Entry;
use crate::errors::{raise, short, work};
use crate::journal::JournalAt;

/// An immutable version of a workspace.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Checkpoint {
    pub(crate) inner: EngineCheckpoint,
}

#[pymethods]
impl Checkpoint {
    /// 64 hex digits: names files, state, journal, git and metadata together.
    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    /// What its maker said of it.
    #[getter]
    fn message(&self) -> &str {
        &self.inner.root().message
    }

    /// Ids of the checkpoints that this one follows.
    #[getter]
    fn parents(&self) -> Vec<String> {
        self.inner.root().parents.iter().map(ToString::to_string).collect()
    }

    /// When it was made, unix seconds.
    #[getter]
    fn time(&self) -> f64 {
        self.inner.root().time_ns as f64 / 1e9
    }

    /// The id of the root node of its files: equal for equal content.
    #[getter]
    fn tree(&self) -> String {
        self.inner.root().files.to_string()
    }

    /// JSON-like data of its maker.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.inner.root().metadata {
            pyi_engine::Value::Null => Ok(pyo3::types::PyDict::new(py).into_any()),
            metadata => value_to(py, metadata),
        }
    }

    /// What git knows of this content (commit, tree, source), or None.
    #[getter]
    fn git<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        value_to(py, &self.inner.root().git)
    }

    /// The content of a file, or the target of a symlink.
    #[pyo3(signature = (path, *, offset = Count(0), size = None), text_signature = "(self, path, *, offset=0, size=None)")]
    fn read<'py>(
        &self,
        py: Python<'py>,
        path: PathArg,
        offset: Count,
        size: Option<Count>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = match short(self.inner.read_from_memory(&path.0))? {
            Some(found) => found,
            None => work(py, || self.inner.read(&path.0))?,
        };
        content(py, window(found, offset.size(), size.map(Count::size)))
    }

    /// Goes through everything below `directory` but the directories themselves.
    #[pyo3(signature = (directory = PathArg::default()))]
    fn walk(&self, py: Python<'_>, directory: PathArg) -> PyResult<Walk> {
        let walk = work(py, || self.inner.walk(&directory.0))?;
        Ok(Walk::new(walk, self.inner.repository()))
    }

    /// The journal as it was.
    #[getter]
    fn journal(&self) -> JournalAt {
        JournalAt {
            inner: self.inner.clone(),
        }
    }

    /// Returns when the checkpoint, and everything that it reaches, survives a loss of power.
    fn wait_durable(&self, py: Python<'_>) -> PyResult<()> {
        work(py, || self.inner.wait_durable())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Checkpoint>()
            .is_ok_and(|other| other.get().inner.id() == self.inner.id())
    }

    fn __hash__(&self) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.inner.id().0[..8]);
        u64::from_le_bytes(word)
    }

    fn __repr__(&self) -> String {
        let id = self.inner.id().to_string();
        format!("Checkpoint({:?}, {:?})", &id[..12], self.inner.root().message)
    }
}

/// A walk through entries.
#[pyclass(module = "pyi._native")]
pub(crate) struct Walk {
    inner: EntryWalk,
    repository: Repository,
}

impl Walk {
    pub(crate) fn new(inner: EntryWalk, repository: Repository) -> Self {
        Walk { inner, repository }
    }
}

#[pymethods]
impl Walk {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<Entry>> {
        let next = py.detach(|| {
            let _gate = pyi_engine::enter();
            self.inner.next()
        });
        match next {
            None => Ok(None),
            Some(Ok(entry)) => Ok(Some(Entry::new(entry, &self.repository))),
            Some(Err(error)) => Err(raise(&error)),
        }
    }
}

/// Checkpoints, newest first.
#[pyclass(module = "pyi._native")]
pub(crate) struct Log {
    pub(crate) inner: History,
}

#[pymethods]
impl Log {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<Checkpoint>> {
        let next = py.detach(|| {
            let _gate = pyi_engine::enter();
            self.inner.next()
        });
        match next {
            None => Ok(None),
            Some(Ok(inner)) => Ok(Some(Checkpoint { inner })),
            Some(Err(error)) => Err(raise(&error)),
        }
    }
}
