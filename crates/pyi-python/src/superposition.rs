//! `Superposition`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyi_engine::Superposition as EngineSuperposition;
use pyo3::prelude::*;

use crate::checkpoint::Checkpoint;
use crate::convert::seconds;
use crate::errors::{short, work};
use crate::workspace::Workspace;

/// How long a wait goes on before it looks for signals.
const SLICE: Duration = Duration::from_millis(50);

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
    fn candidates(&self, py: Python<'_>) -> PyResult<Vec<Workspace>> {
        let candidates = work(py, || self.inner.candidates())?;
        Ok(candidates.into_iter().map(|inner| Workspace { inner }).collect())
    }

    /// The weights, one a candidate.
    #[getter]
    fn weights(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        work(py, || self.inner.weights())
    }

    /// Adds a workspace as a candidate (weight 1 by default); its index.
    #[pyo3(signature = (ws, weight = None))]
    fn add(&self, py: Python<'_>, ws: &Bound<'_, Workspace>, weight: Option<f64>) -> PyResult<usize> {
        let workspace = Arc::clone(&ws.get().inner);
        work(py, || self.inner.add(workspace, weight.unwrap_or(1.0)))
    }

    /// Gives a candidate another weight.
    fn weigh(&self, py: Python<'_>, i: usize, weight: f64) -> PyResult<()> {
        work(py, || self.inner.weigh(i, weight))
    }

    /// The index of the candidate of the greatest weight, or with a seed of one drawn by weight. Nothing collapses.
    #[pyo3(signature = (*, seed = None))]
    fn observe(&self, seed: Option<u64>) -> PyResult<usize> {
        short(self.inner.observe(seed))
    }

    /// Makes a candidate the outcome: the branch moves to it, every other candidate is released, in one step.
    #[pyo3(signature = (i, *, onto = "main"))]
    fn collapse(&self, py: Python<'_>, i: usize, onto: &str) -> PyResult<Checkpoint> {
        Ok(Checkpoint {
            inner: work(py, || self.inner.collapse(i, onto))?,
        })
    }

    /// Waits until it collapsed, here or in another process; the outcome, or None when the time (seconds) is over.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Checkpoint>> {
        let until = seconds("timeout", timeout)?.map(|timeout| Instant::now() + timeout);
        loop {
            // In slices, so that Ctrl-C is heard.
            let left = until.map_or(SLICE, |until| {
                until.saturating_duration_since(Instant::now()).min(SLICE)
            });
            if let Some(inner) = work(py, || self.inner.wait(Some(left)))? {
                return Ok(Some(Checkpoint { inner }));
            }
            py.check_signals()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
        }
    }

    fn __repr__(&self) -> String {
        let name = self
            .inner
            .name()
            .map_or_else(|| "unnamed".to_owned(), |name| format!("{name:?}"));
        format!("<Superposition {name}>")
    }
}
