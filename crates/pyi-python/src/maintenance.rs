//! What scrubs, repairs and backups need of the kernel. The verbs themselves are `pyi.backup`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use pyi_engine::{Affected, Fault, Image, Repository, ScrubOptions, ScrubReport};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::convert::{Directory, copied};
use crate::errors::raise;

/// Long work with the GIL released. No fork waits for it: the store lets forks in between its steps.
fn long<T: Send>(py: Python<'_>, run: impl FnOnce() -> pyi_engine::Result<T> + Send) -> PyResult<T> {
    py.detach(run).map_err(|error| raise(&error))
}

/// The files of a store at one moment, held open.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct StoreImage {
    inner: Image,
}

#[pymethods]
impl StoreImage {
    /// The store's name: 32 hex digits.
    #[getter]
    fn store(&self) -> &str {
        &self.inner.store
    }

    /// The end of the refs: log number << 32 | offset.
    #[getter]
    fn position(&self) -> u64 {
        self.inner.position
    }

    /// When it was taken, unix nanoseconds.
    #[getter]
    fn taken_ns(&self) -> u64 {
        self.inner.taken_ns
    }

    /// Objects in the store.
    #[getter]
    fn objects(&self) -> u64 {
        self.inner.objects
    }

    /// The content of the format file.
    #[getter]
    fn format<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.format)
    }

    /// Segments and logs: name in the store, length, seal (hex digits, empty if there is none), whether nothing is ever appended to it.
    #[getter]
    fn files(&self) -> Vec<(String, u64, String, bool)> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let files = self.inner.files.iter();
        files
            .map(|file| (file.file.to_string(), file.length, hex(&file.seal), file.is_final))
            .collect()
    }

    /// Up to `size` bytes at `offset` of the file of this number.
    fn read<'py>(&self, py: Python<'py>, file: usize, offset: u64, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let Some(found) = self.inner.files.get(file) else {
            return Err(PyIndexError::new_err("no such file in the image"));
        };
        let bytes = long(py, || Ok(found.read(offset, size)?))?;
        copied(py, &bytes)
    }
}

/// What a scrub found, kept for a repair.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct ScrubCore {
    repository: Repository,
    report: Mutex<ScrubReport>,
}

#[pymethods]
impl ScrubCore {
    /// Repairs with what these stores have, and with what is left of this one.
    fn repair(&self, py: Python<'_>, sources: Vec<PathBuf>) -> PyResult<()> {
        let mut report = self.report.lock().clone();
        let paths: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
        let (result, report) = py.detach(|| (self.repository.repair(&mut report, &paths), report));
        *self.report.lock() = report;
        result.map_err(|error| raise(&error))
    }

    /// Ids of damaged objects that are not repaired.
    fn lost(&self) -> Vec<String> {
        let lost = self.report.lock().lost();
        lost.into_iter().map(|(id, _)| id.to_string()).collect()
    }

    /// Everything, as plain data.
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.report.lock();
        let facts = PyDict::new(py);
        facts.set_item("checked", report.checked)?;
        facts.set_item("bytes", report.bytes)?;
        facts.set_item("seconds", report.seconds)?;
        facts.set_item("clean", report.is_clean())?;
        let by_id = PyDict::new(py);
        let kinds = PyDict::new(py);
        for (id, (kind, who)) in &report.damaged {
            by_id.set_item(id.to_string(), affected(py, who)?)?;
            kinds.set_item(id.to_string(), kind.to_string())?;
        }
        facts.set_item("damaged", kinds)?;
        facts.set_item("affected_by", by_id)?;
        facts.set_item("affected", affected(py, &report.affected)?)?;
        let texts = |ids: &mut dyn Iterator<Item = &pyi_engine::Id>| ids.map(ToString::to_string).collect::<Vec<_>>();
        facts.set_item("healed", texts(&mut report.healed.iter().map(|(id, _)| id)))?;
        facts.set_item("repaired", texts(&mut report.repaired.iter()))?;
        let places: PyResult<Vec<_>> = report
            .faults
            .iter()
            .map(|fault| {
                let place = place(py, fault)?;
                place.set_item("mended", report.mended.contains(fault))?;
                Ok(place)
            })
            .collect();
        facts.set_item("places", places?)?;
        Ok(facts)
    }
}

fn place<'py>(py: Python<'py>, fault: &Fault) -> PyResult<Bound<'py, PyDict>> {
    let place = PyDict::new(py);
    place.set_item("file", fault.file.to_string())?;
    place.set_item("offset", fault.offset)?;
    place.set_item("length", fault.length)?;
    place.set_item("flaw", fault.flaw.word())?;
    place.set_item("id", fault.id.map(|id| id.to_string()))?;
    let keys = fault.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
    place.set_item("keys", keys.collect::<Vec<_>>())?;
    Ok(place)
}

fn affected<'py>(py: Python<'py>, who: &Affected) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    found.set_item("branches", who.branches.iter().collect::<Vec<_>>())?;
    found.set_item("workspaces", who.workspaces.iter().collect::<Vec<_>>())?;
    found.set_item("superpositions", who.superpositions.iter().collect::<Vec<_>>())?;
    found.set_item("tags", who.tags.iter().collect::<Vec<_>>())?;
    found.set_item("kept", who.kept.iter().collect::<Vec<_>>())?;
    found.set_item("histories", who.histories.iter().collect::<Vec<_>>())?;
    let checkpoints = who.checkpoints.iter().map(ToString::to_string);
    found.set_item("checkpoints", checkpoints.collect::<Vec<_>>())?;
    Ok(found)
}

/// Scrubs; `progress(done_bytes, total_bytes)` is called on the way, and ends it by raising.
pub(crate) fn scrub(
    py: Python<'_>,
    repository: &Repository,
    bytes_per_second: Option<u64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<ScrubCore> {
    let raised: Mutex<Option<PyErr>> = Mutex::new(None);
    let tell = |done: u64, total: u64| {
        Python::attach(|py| {
            let called = match &progress {
                Some(progress) => progress.call1(py, (done, total)).map(drop),
                None => Ok(()),
            };
            // Also for Ctrl-C.
            match called.and_then(|()| py.check_signals()) {
                Ok(()) => true,
                Err(error) => {
                    *raised.lock() = Some(error);
                    false
                }
            }
        })
    };
    let options = ScrubOptions {
        bytes_per_second,
        progress: Some(&tell),
    };
    let result = long(py, || repository.scrub(&options));
    if let Some(error) = raised.into_inner() {
        return Err(error);
    }
    Ok(ScrubCore {
        repository: repository.clone(),
        report: Mutex::new(result?),
    })
}

/// The quick check, as plain data.
pub(crate) fn check<'py>(py: Python<'py>, repository: &Repository) -> PyResult<Bound<'py, PyDict>> {
    let report = long(py, || repository.check())?;
    let facts = PyDict::new(py);
    let places: PyResult<Vec<_>> = report.faults.iter().map(|fault| place(py, fault)).collect();
    facts.set_item("places", places?)?;
    let broken: BTreeMap<String, String> = report
        .broken
        .iter()
        .map(|(name, id)| (name.clone(), id.to_string()))
        .collect();
    facts.set_item("broken", broken)?;
    facts.set_item("refs", report.refs)?;
    facts.set_item("objects", report.objects)?;
    facts.set_item("segments", report.segments)?;
    facts.set_item("seconds", report.seconds)?;
    Ok(facts)
}

/// The store's files at this moment.
pub(crate) fn image(py: Python<'_>, repository: &Repository) -> PyResult<StoreImage> {
    Ok(StoreImage {
        inner: long(py, || repository.image())?,
    })
}

/// What names lead to and is not there: id to what it affects.
pub(crate) fn missing<'py>(py: Python<'py>, repository: &Repository) -> PyResult<Bound<'py, PyDict>> {
    let lost = long(py, || repository.missing())?;
    let found = PyDict::new(py);
    for (id, (_, who)) in &lost {
        found.set_item(id.to_string(), affected(py, who)?)?;
    }
    Ok(found)
}

/// The positions of a repository's ref logs: position, unix ns, message.
pub(crate) fn positions(py: Python<'_>, repository: &Repository) -> PyResult<Vec<(u64, u64, String)>> {
    let found = long(py, || repository.log_positions())?;
    Ok(found
        .into_iter()
        .map(|at| (at.position, at.time_ns, at.message))
        .collect())
}

/// The positions of the ref logs in a directory, of the store of this name.
#[pyfunction(name = "_log_positions_in")]
pub(crate) fn log_positions_in(py: Python<'_>, directory: Directory, store: &str) -> PyResult<Vec<(u64, u64, String)>> {
    let found = long(py, || pyi_engine::positions_in(&directory.0, store))?;
    Ok(found
        .into_iter()
        .map(|at| (at.position, at.time_ns, at.message))
        .collect())
}

/// Makes a store of files that were laid out; returns the position that its refs are at.
#[pyfunction(name = "_assemble_store")]
#[pyo3(signature = (directory, position, sealed))]
pub(crate) fn assemble_store(
    py: Python<'_>,
    directory: Directory,
    position: Option<u64>,
    sealed: Vec<u64>,
) -> PyResult<u64> {
    long(py, || pyi_engine::assemble(&directory.0, position, &sealed))
}
