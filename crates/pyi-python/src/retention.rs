//! What collections keep and do, and the history of refs: plain data for Python.

use std::time::Duration;

use pyi_engine::{GcReport as EngineReport, Operation as EngineOperation};
use pyi_engine::{RefMove as EngineMove, Retention as EngineRetention};
use pyo3::prelude::*;
use pyo3::types::PyEllipsis;

use crate::convert::{Count, Number, seconds};
use crate::errors::invalid;

/// What a collection leaves of what is not named.
#[pyclass(frozen, eq, module = "pyi._native")]
#[derive(Clone, PartialEq)]
pub(crate) struct Retention {
    inner: EngineRetention,
}

/// An argument that may be left out, which is something else than None.
pub(crate) enum Given<T> {
    Left,
    As(T),
}

impl<'a, 'py, T: FromPyObject<'a, 'py>> FromPyObject<'a, 'py> for Given<T> {
    type Error = T::Error;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> Result<Self, T::Error> {
        if object.is_instance_of::<PyEllipsis>() {
            Ok(Given::Left)
        } else {
            T::extract(object).map(Given::As)
        }
    }
}

impl<T> Given<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Given::Left => Given::Left,
            Given::As(value) => Given::As(change(value)),
        }
    }

    fn put(self, to: &mut T) -> bool {
        match self {
            Given::Left => false,
            Given::As(value) => {
                *to = value;
                true
            }
        }
    }
}

/// The arguments of `retention()`.
pub(crate) struct Changes {
    pub(crate) age: Given<Number>,
    pub(crate) heads: Given<Count>,
    pub(crate) history: Given<Option<Count>>,
    pub(crate) per_day: Given<Option<Count>>,
    pub(crate) weight: Given<Option<Number>>,
    pub(crate) cap_bytes: Given<Option<Count>>,
}

impl Changes {
    /// Applies them; whether there are any.
    pub(crate) fn apply(self, to: &mut EngineRetention) -> PyResult<bool> {
        let mut any = false;
        if let Given::As(age) = self.age {
            to.age = seconds("age", Some(age))?.unwrap_or(Duration::ZERO);
            any = true;
        }
        any |= self.heads.map(|heads| heads.0).put(&mut to.heads);
        any |= self
            .history
            .map(|history| history.map(|count| count.0))
            .put(&mut to.history);
        let per_day = |count: Count| u32::try_from(count.0).unwrap_or(u32::MAX);
        any |= self.per_day.map(|count| count.map(per_day)).put(&mut to.per_day);
        any |= self
            .weight
            .map(|weight| weight.map(|weight| weight.0))
            .put(&mut to.weight);
        any |= self
            .cap_bytes
            .map(|cap| cap.map(|bytes| bytes.0))
            .put(&mut to.cap_bytes);
        if to.cap_bytes == Some(0) {
            return Err(invalid("cap_bytes=0: no store is that small; None is no cap"));
        }
        Ok(any)
    }
}

impl From<EngineRetention> for Retention {
    fn from(inner: EngineRetention) -> Self {
        Retention { inner }
    }
}

#[pymethods]
impl Retention {
    /// Seconds for which a checkpoint that nothing names is kept.
    #[getter]
    fn age(&self) -> f64 {
        self.inner.age.as_secs_f64()
    }

    /// Former heads of each branch and named workspace that are kept.
    #[getter]
    fn heads(&self) -> u64 {
        self.inner.heads
    }

    /// Checkpoints that are kept behind each head, or None: all.
    #[getter]
    fn history(&self) -> Option<u64> {
        self.inner.history
    }

    /// Of older ones, one a day is kept for so many days, or None.
    #[getter]
    fn per_day(&self) -> Option<u32> {
        self.inner.per_day
    }

    /// Candidates of living superpositions that weigh less go back to the base, or None.
    #[getter]
    fn weight(&self) -> Option<f64> {
        self.inner.weight
    }

    /// What the store may take before it collects by itself, or None.
    #[getter]
    fn cap_bytes(&self) -> Option<u64> {
        self.inner.cap_bytes
    }

    fn __repr__(&self) -> String {
        let number = |value: Option<String>| value.unwrap_or_else(|| "None".to_owned());
        format!(
            "Retention(age={:?}, heads={}, history={}, per_day={}, weight={}, cap_bytes={})",
            self.age(),
            self.heads(),
            number(self.history().map(|value| value.to_string())),
            number(self.per_day().map(|value| value.to_string())),
            number(self.weight().map(|value| format!("{value:?}"))),
            number(self.cap_bytes().map(|value| value.to_string())),
        )
    }
}

/// What a collection did.
#[pyclass(frozen, get_all, module = "pyi._native")]
pub(crate) struct GcReport {
    /// Bytes in segments before.
    bytes_before: u64,
    /// Bytes in segments afterwards.
    bytes_after: u64,
    /// Bytes of what stays.
    live_bytes: u64,
    /// Objects that are gone.
    objects_removed: u64,
    /// Segment files that are gone.
    segments_removed: u64,
    /// How long it took.
    seconds: f64,
    /// Why nothing was removed, or None.
    gave_up: Option<String>,
}

impl From<EngineReport> for GcReport {
    fn from(report: EngineReport) -> Self {
        GcReport {
            bytes_before: report.bytes_before,
            bytes_after: report.bytes_after,
            live_bytes: report.live_bytes,
            objects_removed: report.objects_removed,
            segments_removed: report.segments_removed,
            seconds: report.seconds,
            gave_up: report.gave_up,
        }
    }
}

#[pymethods]
impl GcReport {
    fn __repr__(&self) -> String {
        format!(
            "<GcReport {} to {} bytes, {} objects removed, {:.3} s{}>",
            self.bytes_before,
            self.bytes_after,
            self.objects_removed,
            self.seconds,
            if self.gave_up.is_some() { ", gave up" } else { "" }
        )
    }
}

/// One operation of the history.
#[pyclass(frozen, get_all, module = "pyi._native")]
pub(crate) struct Operation {
    /// Where it stands; later ones are greater.
    position: u64,
    /// When, as seconds since 1970.
    time: f64,
    /// What it was.
    message: String,
    /// What it did to each ref.
    moves: Vec<Py<RefMove>>,
}

/// What an operation did to one ref.
#[pyclass(frozen, get_all, module = "pyi._native")]
pub(crate) struct RefMove {
    /// "branch", "workspace", "superposition", "kept" or "setting".
    kind: &'static str,
    /// Its name.
    name: String,
    /// The id of the checkpoint where it stood before, or None.
    before: Option<String>,
    /// The id of the checkpoint where it stood afterwards, or None.
    after: Option<String>,
}

impl From<EngineMove> for RefMove {
    fn from(one: EngineMove) -> Self {
        RefMove {
            kind: one.kind.name(),
            name: one.name,
            before: one.before.map(|id| id.to_string()),
            after: one.after.map(|id| id.to_string()),
        }
    }
}

impl Operation {
    pub(crate) fn new(py: Python<'_>, operation: EngineOperation) -> PyResult<Self> {
        let moves = operation.moves.into_iter();
        Ok(Operation {
            position: operation.position,
            time: operation.time_ns as f64 / 1e9,
            message: operation.message,
            moves: moves
                .map(|one| Py::new(py, RefMove::from(one)))
                .collect::<PyResult<_>>()?,
        })
    }
}

#[pymethods]
impl Operation {
    fn __repr__(&self) -> String {
        format!("<Operation {:?} at {}>", self.message, self.position)
    }
}

#[pymethods]
impl RefMove {
    fn __repr__(&self) -> String {
        let at = |id: &Option<String>| id.as_ref().map_or("nowhere", |id| &id[..12]).to_owned();
        format!(
            "<RefMove {} {:?}: {} to {}>",
            self.kind,
            self.name,
            at(&self.before),
            at(&self.after)
        )
    }
}
