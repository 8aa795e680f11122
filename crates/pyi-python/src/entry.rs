//! Entries, changes, conflicts, events: plain data for Python.

use std::sync::Arc;

use pyi_engine::{Change as EngineChange, Conflict as EngineConflict, Entry as EngineEntry, Event as EngineEvent};
use pyi_engine::{EntryIds, Repository};
use pyo3::prelude::*;

use crate::convert::{text, value_to};
use crate::errors::work;

/// What stands at a path.
#[pyclass(frozen, module = "pyi._native")]
#[derive(Clone)]
pub(crate) struct Entry {
    inner: EngineEntry,
    ids: EntryIds,
}

impl Entry {
    pub(crate) fn new(inner: EngineEntry, repository: &Repository) -> Self {
        Entry {
            inner,
            ids: repository.entry_ids(),
        }
    }

    fn of(entry: Option<EngineEntry>, repository: &Repository) -> Option<Entry> {
        entry.map(|entry| Entry::new(entry, repository))
    }
}

#[pymethods]
impl Entry {
    /// The repository-relative path.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text(py, &self.inner.path)
    }

    /// "file", "symlink", "dir" or "gitlink".
    #[getter]
    fn kind(&self) -> &'static str {
        self.inner.kind().name()
    }

    /// Permission bits: 0o644, 0o755 (also directories), 0o777 (symlinks), 0 (gitlinks).
    #[getter]
    fn mode(&self) -> u32 {
        self.inner.permissions()
    }

    /// Bytes of content, or below a directory.
    #[getter]
    fn size(&self) -> u64 {
        self.inner.size_bytes
    }

    /// 64 hex digits: the id of the content or of the directory's node; of a gitlink the commit's name, padded with zeros.
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<String> {
        work(py, || Ok(self.ids.of(&self.inner)?.to_string()))
    }

    fn __repr__(&self) -> String {
        let path = String::from_utf8_lossy(&self.inner.path);
        format!(
            "Entry({:?}, {:?}, {:#o}, {} bytes)",
            path,
            self.kind(),
            self.mode(),
            self.inner.size_bytes
        )
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Entry>() else {
            return Ok(false);
        };
        let other = other.get();
        Ok(self.inner.path == other.inner.path
            && self.inner.mode == other.inner.mode
            && self.inner.size_bytes == other.inner.size_bytes
            && self.id(py)? == other.id(py)?)
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        static STATE: std::sync::OnceLock<RandomState> = std::sync::OnceLock::new();
        STATE
            .get_or_init(RandomState::new)
            .hash_one((&self.inner.path, self.inner.size_bytes))
    }
}

/// One difference between two versions.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Change {
    path: Vec<u8>,
    /// "added", "removed", "modified", "mode" or "moved".
    #[pyo3(get)]
    kind: &'static str,
    /// What stood there before (of a moved file: at its old path).
    #[pyo3(get)]
    old: Option<Entry>,
    /// What stands there now.
    #[pyo3(get)]
    new: Option<Entry>,
}

impl Change {
    pub(crate) fn list(changes: Vec<EngineChange>, repository: &Repository) -> Vec<Change> {
        let convert = |change: EngineChange| Change {
            path: change.path,
            kind: change.kind.name(),
            old: Entry::of(change.old, repository),
            new: Entry::of(change.new, repository),
        };
        changes.into_iter().map(convert).collect()
    }
}

#[pymethods]
impl Change {
    /// The path; of a moved file the new one.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text(py, &self.path)
    }

    fn __repr__(&self) -> String {
        format!("Change({:?}, {:?})", String::from_utf8_lossy(&self.path), self.kind)
    }
}

/// A path that both sides of a merge changed in ways that do not fit together.
#[pyclass(frozen, module = "pyi._native")]
#[derive(Clone)]
pub(crate) struct MergeConflict {
    path: Arc<[u8]>,
    /// What clashes, in words.
    #[pyo3(get)]
    reason: String,
    /// What stood there before.
    #[pyo3(get)]
    base: Option<Entry>,
    /// What stands there on our side.
    #[pyo3(get)]
    ours: Option<Entry>,
    /// What stands there on their side.
    #[pyo3(get)]
    theirs: Option<Entry>,
}

#[pymethods]
impl MergeConflict {
    /// The path (for a key of the state: "state:" and the key).
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text(py, &self.path)
    }

    fn __repr__(&self) -> String {
        format!(
            "MergeConflict({:?}, {:?})",
            String::from_utf8_lossy(&self.path),
            self.reason
        )
    }
}

/// The outcome of a merge.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct MergeResult {
    /// Empty if the merge was clean.
    #[pyo3(get)]
    conflicts: Vec<MergeConflict>,
    /// Whether the workspace was changed: it was clean, or what clashed was kept.
    #[pyo3(get)]
    applied: bool,
}

impl MergeConflict {
    pub(crate) fn list(conflicts: Vec<EngineConflict>, repository: &Repository) -> Vec<MergeConflict> {
        let convert = |found: EngineConflict| MergeConflict {
            path: Arc::from(found.path),
            reason: found.reason.into_owned(),
            base: Entry::of(found.base, repository),
            ours: Entry::of(found.ours, repository),
            theirs: Entry::of(found.theirs, repository),
        };
        conflicts.into_iter().map(convert).collect()
    }
}

impl MergeResult {
    pub(crate) fn new(conflicts: Vec<EngineConflict>, keeps: bool, repository: &Repository) -> Self {
        MergeResult {
            applied: keeps || conflicts.is_empty(),
            conflicts: MergeConflict::list(conflicts, repository),
        }
    }
}

#[pymethods]
impl MergeResult {
    /// Whether the merge was applied.
    #[getter]
    fn clean(&self) -> bool {
        self.conflicts.is_empty()
    }

    fn __bool__(&self) -> bool {
        self.clean()
    }

    fn __repr__(&self) -> String {
        format!(
            "MergeResult(clean={}, conflicts={})",
            self.clean(),
            self.conflicts.len()
        )
    }
}

/// Unix seconds of unix nanoseconds.
pub(crate) fn time_of(time_ns: u64) -> f64 {
    time_ns as f64 / 1e9
}

/// An event of the journal.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Event {
    inner: EngineEvent,
    /// Its place in the journal.
    #[pyo3(get)]
    index: u64,
}

impl Event {
    pub(crate) fn new(index: u64, inner: EngineEvent) -> Self {
        Event { inner, index }
    }
}

#[pymethods]
impl Event {
    /// What kind of event.
    #[getter]
    fn kind(&self) -> &str {
        &self.inner.kind
    }

    /// When it was appended, unix seconds.
    #[getter]
    fn time(&self) -> f64 {
        time_of(self.inner.time_ns)
    }

    /// What its maker recorded.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        value_to(py, &self.inner.data)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Event({:?}, {})", self.inner.kind, self.data(py)?.repr()?))
    }
}
