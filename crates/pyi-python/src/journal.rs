//! `Journal`, and the journals of checkpoints.

use std::sync::Arc;

use pyi_engine::{Checkpoint, Id, JournalView, Query, Workspace};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice, PyString};

use crate::convert::{SMALL_BYTES, Text, encode_value};
use crate::entry::{Event, time_of};
use crate::errors::{invalid, short, work};

/// The append-only list of events of a workspace.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Journal {
    pub(crate) inner: Arc<Workspace>,
}

/// The journal of a checkpoint, to be read.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct JournalAt {
    pub(crate) inner: Checkpoint,
}

/// The data of an event without any: an empty map.
const NO_DATA: &[u8] = &[0xa0];

#[pymethods]
impl Journal {
    /// Appends an event; data is JSON-like or bytes.
    #[pyo3(signature = (kind, **data))]
    fn append(&self, py: Python<'_>, kind: &Bound<'_, PyString>, data: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let kind = kind
            .to_str()
            .map_err(|_| invalid("an event's kind with lone surrogates cannot be stored"))?;
        let mut encoded = Vec::new();
        let data = match data {
            None => NO_DATA,
            Some(data) => {
                encoded.reserve(128);
                encode_value(data.as_any(), 0, &mut encoded)?;
                &encoded
            }
        };
        if data.len() > SMALL_BYTES || self.inner.is_busy() {
            return work(py, || self.inner.journal_append_encoded(kind, data));
        }
        short(self.inner.journal_append_encoded(kind, data))
    }

    /// Makes the events so far durable by themselves, without a checkpoint.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        work(py, || self.inner.flush_journal())
    }

    /// The id of the last batch of events, which names everything before it; None for an empty journal.
    #[getter]
    fn tip(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let tip = work(py, || self.inner.journal_tip())?;
        Ok(tip.map(|tip| tip.to_string()))
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.inner.journal_len()).unwrap_or(usize::MAX)
    }

    /// The events as they are now.
    fn __iter__(&self, py: Python<'_>) -> PyResult<JournalIterator> {
        Ok(JournalIterator::all(work(py, || self.inner.journal())?))
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        item(py, work(py, || self.inner.journal())?, index)
    }

    /// Events of a kind, in a span of time (unix seconds) or of indexes, at most `limit`, in their order.
    #[pyo3(signature = (*, kind = None, since = None, until = None, start = None, stop = None, limit = None))]
    #[allow(clippy::too_many_arguments)]
    fn query(
        &self,
        py: Python<'_>,
        kind: Option<Text>,
        since: Option<f64>,
        until: Option<f64>,
        start: Option<i64>,
        stop: Option<i64>,
        limit: Option<i64>,
    ) -> PyResult<JournalIterator> {
        let view = work(py, || self.inner.journal())?;
        query(py, view, kind, since, until, (start, stop, limit))
    }

    /// Checks the chain of batches from the first event to the last, and that `tip` is one of its tips; the number of events at that tip.
    #[pyo3(signature = (tip = None))]
    fn verify(&self, py: Python<'_>, tip: Option<&str>) -> PyResult<u64> {
        let view = work(py, || {
            self.inner.journal_tip()?;
            self.inner.journal()
        })?;
        verify(py, &view, tip)
    }
}

#[pymethods]
impl JournalAt {
    /// The id of the last batch of events, which names everything before it; None for an empty journal.
    #[getter]
    fn tip(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let tip = work(py, || self.inner.journal()?.tip())?;
        Ok(tip.map(|tip| tip.to_string()))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let length = work(py, || Ok(self.inner.journal()?.len()))?;
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<JournalIterator> {
        Ok(JournalIterator::all(work(py, || self.inner.journal())?))
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        item(py, work(py, || self.inner.journal())?, index)
    }

    /// As `Journal.query`.
    #[pyo3(signature = (*, kind = None, since = None, until = None, start = None, stop = None, limit = None))]
    #[allow(clippy::too_many_arguments)]
    fn query(
        &self,
        py: Python<'_>,
        kind: Option<Text>,
        since: Option<f64>,
        until: Option<f64>,
        start: Option<i64>,
        stop: Option<i64>,
        limit: Option<i64>,
    ) -> PyResult<JournalIterator> {
        let view = work(py, || self.inner.journal())?;
        query(py, view, kind, since, until, (start, stop, limit))
    }

    /// As `Journal.verify`.
    #[pyo3(signature = (tip = None))]
    fn verify(&self, py: Python<'_>, tip: Option<&str>) -> PyResult<u64> {
        let view = work(py, || self.inner.journal())?;
        verify(py, &view, tip)
    }
}

/// An event by its index, or a list of events by a slice.
fn item<'py>(py: Python<'py>, mut view: JournalView, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(slice) = index.cast::<PySlice>() {
        let length = isize::try_from(view.len()).unwrap_or(isize::MAX);
        let wanted = slice.indices(length)?;
        let events = work(py, || {
            let mut events = Vec::new();
            let mut at = wanted.start;
            for _ in 0..wanted.slicelength {
                let place = at as u64;
                events.extend(view.get(place)?.map(|event| (place, event)));
                at += wanted.step;
            }
            Ok(events)
        })?;
        let events: Vec<Event> = events.into_iter().map(|(at, event)| Event::new(at, event)).collect();
        return Ok(events.into_pyobject(py)?.into_any());
    }
    let out_of_range = || PyIndexError::new_err("journal index out of range");
    let index: i64 = index.extract().map_err(|error: PyErr| {
        match error.is_instance_of::<pyo3::exceptions::PyOverflowError>(py) {
            true => out_of_range(),
            false => error,
        }
    })?;
    let place = if index < 0 {
        view.len().checked_add_signed(index)
    } else {
        u64::try_from(index).ok()
    };
    let place = place.ok_or_else(out_of_range)?;
    let event = work(py, || view.get(place))?.ok_or_else(out_of_range)?;
    Ok(Bound::new(py, Event::new(place, event))?.into_any())
}

/// Unix nanoseconds of unix seconds.
fn nanoseconds(what: &str, seconds: Option<f64>) -> PyResult<Option<u64>> {
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds.is_nan() => Err(invalid(format!("{what}={seconds}: unix seconds"))),
        Some(seconds) => {
            // The first nanosecond whose time, as an event tells it, is not before `seconds`: a float cannot tell all of them apart.
            // What is too large or too small becomes the largest or the smallest.
            let near = (seconds * 1e9) as u64;
            let (mut low, mut high) = (near.saturating_sub(NEAR_NS), near.saturating_add(NEAR_NS));
            while low < high {
                let middle = u64::midpoint(low, high);
                match time_of(middle) < seconds {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            Ok(Some(low))
        }
    }
}

/// A float of seconds is nearer than this to the nanosecond that it was made of, until the year 2500.
const NEAR_NS: u64 = 4096;

fn query(
    py: Python<'_>,
    mut view: JournalView,
    kind: Option<Text>,
    since: Option<f64>,
    until: Option<f64>,
    (start, stop, limit): (Option<i64>, Option<i64>, Option<i64>),
) -> PyResult<JournalIterator> {
    // As slices count: negative numbers from the end.
    let length = view.len();
    let place = |index: i64| u64::try_from(index).unwrap_or_else(|_| length.saturating_add_signed(index));
    let limit = limit.map(u64::try_from).transpose();
    let limit = limit.map_err(|_| invalid("limit: a whole number of at least 0"))?;
    let wanted = Query {
        kind: kind.map(|kind| kind.0),
        since_ns: nanoseconds("since", since)?,
        until_ns: nanoseconds("until", until)?,
        start: start.map_or(0, place),
        stop: stop.map(place),
    };
    let range = work(py, || view.range(&wanted))?;
    Ok(JournalIterator {
        view,
        next: range.start,
        end: range.end,
        kind: wanted.kind,
        left: limit.unwrap_or(u64::MAX),
    })
}

fn verify(py: Python<'_>, view: &JournalView, tip: Option<&str>) -> PyResult<u64> {
    let tip: Option<Id> = tip
        .map(|tip| {
            tip.parse()
                .map_err(|_| invalid(format!("{tip:?}: a tip has 64 hex digits")))
        })
        .transpose()?;
    let found = work(py, || view.verify(tip.as_ref()))?;
    Ok(found.known_events.unwrap_or(found.events))
}

/// Goes through a journal.
#[pyclass(module = "pyi._native")]
pub(crate) struct JournalIterator {
    view: JournalView,
    next: u64,
    end: u64,
    kind: Option<String>,
    left: u64,
}

impl JournalIterator {
    fn all(view: JournalView) -> Self {
        JournalIterator {
            next: 0,
            end: view.len(),
            kind: None,
            left: u64::MAX,
            view,
        }
    }
}

#[pymethods]
impl JournalIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<Event>> {
        if self.left == 0 || self.next >= self.end {
            return Ok(None);
        }
        let range = self.next..self.end;
        // Most events are in the batch that was read last, which is a matter of a microsecond.
        let size_bytes = self.view.bytes_at_hand(self.next);
        let found = match self.kind.is_none() && size_bytes.is_some_and(|size| size <= SMALL_BYTES) {
            true => short(self.view.find(range, None))?,
            false => work(py, || self.view.find(range, self.kind.as_deref()))?,
        };
        let Some((index, event)) = found else {
            self.next = self.end;
            return Ok(None);
        };
        self.next = index + 1;
        self.left -= 1;
        Ok(Some(Event::new(index, event)))
    }
}
