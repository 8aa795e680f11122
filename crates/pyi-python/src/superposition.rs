//! `Superposition`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyi_engine::{Error, ErrorKind, Fate, Keep, Onto, Ready, Superposition as EngineSuperposition};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::checkpoint::Checkpoint;
use crate::convert::{Count, Number, Text, seconds};
use crate::errors::{invalid, raise, short, work};
use crate::workspace::Workspace;

/// How long a wait goes on before it looks for signals.
const SLICE: Duration = Duration::from_millis(50);

/// Candidate workspaces forked from one checkpoint, of which one is chosen.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Superposition {
    pub(crate) inner: Arc<EngineSuperposition>,
}

/// What `onto=` was: a branch or a workspace.
enum OntoArg {
    Branch(String),
    Workspace(Arc<pyi_engine::Workspace>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for OntoArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(workspace) = object.cast::<Workspace>() {
            return Ok(OntoArg::Workspace(Arc::clone(&workspace.get().inner)));
        }
        if let Ok(branch) = object.cast::<PyString>() {
            return Ok(OntoArg::Branch(Text::extract(branch.as_any().as_borrowed())?.0));
        }
        Err(PyTypeError::new_err(format!(
            "onto is the name of a branch or a Workspace, not {}",
            object.get_type()
        )))
    }
}

impl OntoArg {
    fn of(&self) -> Onto<'_> {
        match self {
            OntoArg::Branch(branch) => Onto::Branch(branch),
            OntoArg::Workspace(workspace) => Onto::Workspace(workspace),
        }
    }
}

impl Superposition {
    /// Checkpoints a candidate if need be and lets `verify` look at it, in a workspace of its own. No lock is held.
    fn check(&self, py: Python<'_>, i: usize, verify: &Bound<'_, PyAny>) -> PyResult<Option<Ready>> {
        let (ready, inner) = work(py, || {
            let ready = self.inner.ready(i)?;
            let checkpoint = ready.checkpoint();
            let workspace = checkpoint.repository().workspace_at(*checkpoint.id())?;
            Ok((ready, workspace))
        })?;
        let verdict = verify.call1((Workspace { inner },))?;
        if verdict.hasattr("__await__")? {
            // A coroutine is true, whatever it would have said: every candidate would pass unseen.
            if let Ok(close) = verdict.getattr("close") {
                close.call0()?;
            }
            return Err(invalid(
                "verify is async: give a plain function, such as lambda ws: asyncio.run(check(ws)), in a thread without a loop",
            ));
        }
        if verdict.is_truthy()? {
            return Ok(Some(ready));
        }
        work(py, || self.inner.reject(i))?;
        Ok(None)
    }
}

#[pymethods]
impl Superposition {
    /// The name, or None.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    /// The candidates by their numbers; empty after the collapse.
    #[getter]
    fn candidates(&self, py: Python<'_>) -> PyResult<Vec<Workspace>> {
        let candidates = work(py, || self.inner.candidates())?;
        Ok(candidates.into_iter().map(|inner| Workspace { inner }).collect())
    }

    /// The weights, one a candidate; 0 for one that cannot be chosen.
    #[getter]
    fn weights(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        work(py, || self.inner.weights())
    }

    /// The numbers of the candidates that can be chosen.
    #[getter]
    fn living(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        let fates = work(py, || self.inner.fates())?;
        let living = fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Living);
        Ok(living.map(|(index, _)| index).collect())
    }

    /// What has become of each candidate: "living", "failed", "pruned", "decayed" or "dropped".
    #[getter]
    fn fates(&self, py: Python<'_>) -> PyResult<Vec<&'static str>> {
        let fates = work(py, || self.inner.fates())?;
        Ok(fates.into_iter().map(Fate::name).collect())
    }

    /// When each candidate decays if nobody renews it, unix seconds; None for never.
    #[getter]
    fn deadlines(&self, py: Python<'_>) -> PyResult<Vec<Option<f64>>> {
        let deadlines = work(py, || self.inner.deadlines_ns())?;
        let seconds = |deadline: Option<u64>| deadline.map(|time| time as f64 / 1e9);
        Ok(deadlines.into_iter().map(seconds).collect())
    }

    /// The superposition of whose candidate this one was forked (None if that has no name) and the candidate's number, or None.
    #[getter]
    fn outer(&self, py: Python<'_>) -> PyResult<Option<(Option<String>, u64)>> {
        work(py, || self.inner.outer())
    }

    /// The names of the superpositions that this one is entangled with directly, sorted.
    #[getter]
    fn entangled(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        work(py, || self.inner.entangled())
    }

    /// Adds a workspace as a candidate (weight 1 by default); its number.
    #[pyo3(signature = (ws, weight = None))]
    fn add(&self, py: Python<'_>, ws: &Bound<'_, Workspace>, weight: Option<Number>) -> PyResult<usize> {
        let workspace = Arc::clone(&ws.get().inner);
        work(py, || self.inner.add(workspace, weight.map_or(1.0, |weight| weight.0)))
    }

    /// Gives a candidate another weight.
    fn weigh(&self, py: Python<'_>, i: Count, weight: Number) -> PyResult<()> {
        work(py, || self.inner.weigh(i.size(), weight.0))
    }

    /// Gives a candidate, or all that live, another time to live (seconds; by default that of the superposition).
    #[pyo3(signature = (i = None, *, ttl = None))]
    fn renew(&self, py: Python<'_>, i: Option<Count>, ttl: Option<Number>) -> PyResult<()> {
        let ttl = seconds("ttl", ttl)?;
        work(py, || self.inner.renew(i.map(Count::size), ttl))
    }

    /// Notes that a candidate failed a check: it is never chosen.
    fn reject(&self, py: Python<'_>, i: Count) -> PyResult<()> {
        work(py, || self.inner.reject(i.size()))
    }

    /// Lets go of all but the `keep` heaviest candidates, or those that hold at most `budget_bytes` in changed files; the
    /// numbers of those that went.
    #[pyo3(signature = (*, keep = None, budget_bytes = None))]
    fn prune(&self, py: Python<'_>, keep: Option<Count>, budget_bytes: Option<Count>) -> PyResult<Vec<usize>> {
        let keep = match (keep, budget_bytes) {
            (Some(count), None) => Keep::Count(count.size()),
            (None, Some(bytes)) => Keep::Bytes(bytes.0),
            _ => return Err(invalid("prune(keep=...) or prune(budget_bytes=...), one of the two")),
        };
        work(py, || self.inner.prune(keep))
    }

    /// The number of the candidate of the greatest weight, or with a seed of one drawn by weight. With `verify`, a callable that takes a
    /// workspace, one that passes: those that fail are rejected. Nothing collapses.
    #[pyo3(signature = (*, seed = None, verify = None))]
    fn observe(&self, py: Python<'_>, seed: Option<Count>, verify: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
        let Some(verify) = verify.filter(|verify| !verify.is_none()) else {
            return short(self.inner.observe(seed.map(|seed| seed.0)));
        };
        let seed = seed.map(|seed| seed.0);
        loop {
            let index = work(py, || self.inner.observe(seed))?;
            if self.check(py, index, verify)?.is_some() {
                return Ok(index);
            }
        }
    }

    /// Makes a candidate the outcome: the branch (or workspace) `onto` moves to it, every other candidate is let go, in one step. With
    /// `verify`, a callable that takes a workspace, only if it passes; else it is rejected.
    #[pyo3(signature = (i, *, onto = OntoArg::Branch("main".to_owned()), verify = None), text_signature = "(self, i, *, onto='main', verify=None)")]
    fn collapse(
        &self,
        py: Python<'_>,
        i: Count,
        onto: OntoArg,
        verify: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Checkpoint> {
        let i = i.size();
        let Some(verify) = verify.filter(|verify| !verify.is_none()) else {
            let inner = work(py, || self.inner.collapse_onto(i, onto.of()))?;
            return Ok(Checkpoint { inner });
        };
        let Some(ready) = self.check(py, i, verify)? else {
            return Err(raise(&Error::new(
                ErrorKind::Conflict,
                format!(
                    "candidate {i} failed its check and is never chosen; observe(verify=...) finds one that passes"
                ),
            )));
        };
        let inner = work(py, || self.inner.collapse_ready(&ready, onto.of()))?;
        Ok(Checkpoint { inner })
    }

    /// Links two superpositions: they collapse together or not at all. `mapping` says which candidate here goes with which there: a
    /// dict, or a list by number; by default those of the same number. `onto` is the branch that moves to the other's outcome.
    #[pyo3(signature = (other, mapping = None, *, onto = None))]
    fn entangle(
        &self,
        py: Python<'_>,
        other: &Bound<'_, Superposition>,
        mapping: Option<&Bound<'_, PyAny>>,
        onto: Option<Text>,
    ) -> PyResult<()> {
        let pairs = mapping.filter(|mapping| !mapping.is_none()).map(pairs_of).transpose()?;
        let other = Arc::clone(&other.get().inner);
        work(py, || {
            self.inner
                .entangle(&other, pairs.as_deref(), onto.as_ref().map(|onto| onto.0.as_str()))
        })
    }

    /// Waits until it collapsed, here or in another process; the outcome, or None when the time (seconds) is over.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<Number>) -> PyResult<Option<Checkpoint>> {
        // A time beyond what the clock can count never comes.
        let until = seconds("timeout", timeout)?.and_then(|timeout| Instant::now().checked_add(timeout));
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

fn number(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    object.extract::<Count>().map(Count::size)
}

/// Pairs of numbers from a dict, or from a list whose place is the first one.
fn pairs_of(mapping: &Bound<'_, PyAny>) -> PyResult<Vec<(usize, usize)>> {
    if let Ok(mapping) = mapping.cast::<PyDict>() {
        return mapping.iter().map(|(i, j)| Ok((number(&i)?, number(&j)?))).collect();
    }
    mapping
        .try_iter()?
        .enumerate()
        .map(|(i, j)| Ok((i, number(&j?)?)))
        .collect()
}
