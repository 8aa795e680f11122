//! A repository as git remotes: the bytes of requests in, the bytes of answers out. Moving them is Python's.

use parking_lot::Mutex;
use pyi_engine::git::remote::{
    GitRemote as EngineRemote, GitServer as EngineServer, Push as EnginePush, PushLimits, Service, UploadResponse, View,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{invalid, work};
use crate::repository::Repository;

/// A repository whose branches, workspaces, superpositions and checkpoints are git remotes.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct GitServer {
    inner: EngineServer,
}

/// One address of a repository.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct GitRemote {
    inner: EngineRemote,
}

/// A push under way.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Push {
    inner: Mutex<EnginePush>,
}

/// The pieces of an answer; an iterator.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct UploadAnswer {
    inner: Mutex<UploadResponse>,
}

fn service(name: &str) -> PyResult<Service> {
    Service::from_name(name).ok_or_else(|| invalid(format!("service={name:?}: git-upload-pack or git-receive-pack")))
}

#[pymethods]
impl GitServer {
    #[new]
    fn new(repository: &Repository) -> Self {
        GitServer {
            inner: EngineServer::new(&repository.inner),
        }
    }

    /// What is at an address: kind is "repository", "workspace", "superposition" or "checkpoint".
    #[pyo3(signature = (kind = "repository", name = ""))]
    fn view(&self, py: Python<'_>, kind: &str, name: &str) -> PyResult<GitRemote> {
        let view = match kind {
            "repository" => View::Repository,
            "workspace" => View::Workspace(name.to_owned()),
            "superposition" => View::Superposition(name.to_owned()),
            "checkpoint" => View::Checkpoint(work(py, || self.inner.checkpoint_named(name))?),
            other => {
                return Err(invalid(format!(
                    "kind={other:?}: repository, workspace, superposition or checkpoint"
                )));
            }
        };
        Ok(GitRemote {
            inner: work(py, || self.inner.view(view))?,
        })
    }
}

#[pymethods]
impl GitRemote {
    /// The hash that names objects: "sha1" or "sha256".
    #[getter]
    fn object_format(&self) -> &'static str {
        self.inner.format().name()
    }

    /// What the server says first, in `version` 0, 1 or 2 of the protocol.
    #[pyo3(signature = (service, version = 0, *, http = true))]
    fn advertise<'py>(&self, py: Python<'py>, service: &str, version: u8, http: bool) -> PyResult<Bound<'py, PyBytes>> {
        let service = self::service(service)?;
        let bytes = work(py, || self.inner.advertise(service, version, http))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Begins to receive a push.
    #[pyo3(signature = (*, max_bytes = 2 << 30, max_object_bytes = 1 << 30))]
    fn receive(&self, py: Python<'_>, max_bytes: u64, max_object_bytes: u64) -> PyResult<Push> {
        let limits = PushLimits {
            max_bytes,
            max_object_bytes,
        };
        Ok(Push {
            inner: Mutex::new(work(py, || self.inner.receive(limits))?),
        })
    }

    /// The answer to a request of git-upload-pack.
    fn upload(&self, py: Python<'_>, version: u8, body: &[u8]) -> PyResult<UploadAnswer> {
        let response = work(py, || self.inner.upload(version, body))?;
        Ok(UploadAnswer {
            inner: Mutex::new(response),
        })
    }
}

#[pymethods]
impl Push {
    /// Takes in what arrived.
    fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        work(py, || self.inner.lock().feed(data))
    }

    /// Everything has arrived: moves what can be moved, and returns the answer.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let answer = work(py, || self.inner.lock().finish())?;
        Ok(PyBytes::new(py, &answer))
    }

    /// What became of each ref: name, where it was, where it was to go, and why it did not.
    #[getter]
    fn moved(&self) -> Vec<(String, String, String, Option<String>)> {
        let moved = self.inner.lock();
        let moved = moved.moved().iter();
        moved
            .map(|one| {
                (
                    one.name.clone(),
                    one.old.to_hex(),
                    one.new.to_hex(),
                    one.refused.clone(),
                )
            })
            .collect()
    }
}

#[pymethods]
impl UploadAnswer {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let piece = py.detach(|| {
            let _gate = pyi_engine::enter();
            self.inner.lock().next_piece()
        });
        Ok(piece.map(|piece| PyBytes::new(py, &piece)))
    }

    /// What went wrong on the way, which the client was told.
    #[getter]
    fn error(&self) -> Option<String> {
        self.inner.lock().error().map(ToString::to_string)
    }
}
