//! `Superposition`.

use std::sync::Arc;

use pyi_engine::Superposition as EngineSuperposition;
use pyo3::prelude::*;

use crate::checkpoint::Checkpoint;
use crate::convert::seconds;
use crate::errors::{short, work};
use crate::workspace::Workspace;

/// Candidate workspaces forked from one checkpoint, of which one is chosen.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Superposition {
    pub(crate) inner: Arc<EngineSuperposition>,
}

#[pymethods]
impl Superposition {
    /// The name, or None.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    /// The candidates; empty after the collapse.
    #[getter]
    fn candidates(&self) -> Vec<Workspace> {
        self.inner
            .candidates()
            .into_iter()
            .map(|inner| Workspace { inner })
            .collect()
    }

    /// The weights, one a candidate.
    #[getter]
    fn weights(&self) -> Vec<f64> {
        self.inner.weights()
    }

    /// Adds a workspace as a candidate (weight 1 by default); its index.
    #[pyo3(signature = (workspace, weight = None))]
    fn add(&self, py: Python<'_>, workspace: &Bound<'_, Workspace>, weight: Option<f64>) -> PyResult<usize> {
        let workspace = Arc::clone(&workspace.get().inner);
        work(py, || self.inner.add(workspace, weight.unwrap_or(1.0)))
    }

    /// Gives a candidate another weight.
    fn weigh(&self, py: Python<'_>, index: usize, weight: f64) -> PyResult<()> {
        work(py, || self.inner.weigh(index, weight))
    }

    /// The index of the candidate of the greatest weight, or with a seed of one drawn by weight. Nothing collapses.
    #[pyo3(signature = (*, seed = None))]
    fn observe(&self, seed: Option<u64>) -> PyResult<usize> {
        short(self.inner.observe(seed))
    }

    /// Makes a candidate the outcome: the branch moves to it, every other candidate is released, in one step.
    #[pyo3(signature = (index, *, onto = "main"))]
    fn collapse(&self, py: Python<'_>, index: usize, onto: &str) -> PyResult<Checkpoint> {
        Ok(Checkpoint {
            inner: work(py, || self.inner.collapse(index, onto))?,
        })
    }

    /// Waits until it collapsed, here or in another process; the outcome, or None when the time (seconds) is over.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Checkpoint>> {
        let timeout = seconds("timeout", timeout)?;
        let outcome = work(py, || self.inner.wait(timeout))?;
        Ok(outcome.map(|inner| Checkpoint { inner }))
    }

    fn __repr__(&self) -> String {
        let name = self
            .inner
            .name()
            .map_or_else(|| "unnamed".to_owned(), |name| format!("{name:?}"));
        format!("<Superposition {name}, {} candidates>", self.inner.candidates().len())
    }
}
