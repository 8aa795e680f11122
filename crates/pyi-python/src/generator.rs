//! Random generators as a session looks at them behind each step: in the memory where they keep their states. What did not change, or changed
//! only where a record is made of it, needs no Python. `python/pyi/longrun/memory.py` finds the places and compares them with what the
//! generators say in public; `docs/design/012-sessions.md` has the records' bytes.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat};

use crate::errors::invalid;

/// Bytes of some object.
#[derive(Clone, Copy)]
struct Place {
    address: usize,
    size_bytes: usize,
}

impl Place {
    /// # Safety
    ///
    /// The object lives, and nobody writes to these bytes while the slice is in use.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller answers for it.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.size_bytes) }
    }
}

/// What a record is made of.
enum Form {
    /// These bytes, one after the other.
    Plain(Vec<Place>),
    /// A Mersenne Twister: where its position stands, and its spare normal number. The words are what must not change.
    Twister { position: Place, spare: Spare },
}

/// Where a Mersenne Twister has the normal number that was left over.
enum Spare {
    None,
    /// `gauss_next` of a `random.Random`.
    Attribute(Py<PyAny>),
    /// An int that says whether there is one, four bytes of nothing, the number.
    Memory(Place),
}

/// Bytes of [`Spare::Memory`].
const SPARE_BYTES: usize = 16;
/// Bytes of a Mersenne Twister's record: position, whether there is a spare number, the number, the checksum of the words.
const TWISTER_BYTES: usize = 17;

/// Where a random generator keeps its state.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct GeneratorView {
    /// Keeps the memory alive.
    _owner: Py<PyAny>,
    /// Where nothing may have changed since the last record, or the generator is asked for a new one.
    same: Vec<Place>,
    form: Form,
}

fn places(places: Vec<(usize, usize)>) -> Vec<Place> {
    let place = |(address, size_bytes)| Place { address, size_bytes };
    places.into_iter().map(place).collect()
}

#[pymethods]
impl GeneratorView {
    /// A generator whose record is `taken`, while `same` does not change: addresses and sizes in bytes, in memory that lives as long as `owner`.
    #[new]
    fn new(owner: Py<PyAny>, same: Vec<(usize, usize)>, taken: Vec<(usize, usize)>) -> Self {
        GeneratorView {
            _owner: owner,
            same: places(same),
            form: Form::Plain(places(taken)),
        }
    }

    /// A Mersenne Twister: `same` has its words, `position` is an address, and the spare number is the attribute `gauss_next` of `spare_of`, or
    /// at the address `spare_at`.
    #[staticmethod]
    #[pyo3(signature = (owner, same, position, *, spare_of = None, spare_at = None))]
    fn twister(
        owner: Py<PyAny>,
        same: Vec<(usize, usize)>,
        position: usize,
        spare_of: Option<Py<PyAny>>,
        spare_at: Option<usize>,
    ) -> Self {
        let spare = match (spare_of, spare_at) {
            (Some(source), _) => Spare::Attribute(source),
            (None, Some(address)) => Spare::Memory(Place {
                address,
                size_bytes: SPARE_BYTES,
            }),
            (None, None) => Spare::None,
        };
        let position = Place {
            address: position,
            size_bytes: 4,
        };
        GeneratorView {
            _owner: owner,
            same: places(same),
            form: Form::Twister { position, spare },
        }
    }
}

impl GeneratorView {
    /// What must not change, as it is. O(its bytes).
    fn picture(&self, _py: Python<'_>) -> Vec<u8> {
        let mut picture = Vec::with_capacity(self.same.iter().map(|place| place.size_bytes).sum());
        for place in &self.same {
            // SAFETY: the places are in memory of `_owner`; they were found and compared by `memory.py`. Whoever draws holds the GIL or
            // draws in another thread at the same time as the step is saved, which a session does not allow.
            picture.extend_from_slice(unsafe { place.bytes() });
        }
        picture
    }

    fn is_as_in(&self, _py: Python<'_>, picture: &[u8]) -> bool {
        let mut rest = picture;
        self.same.iter().all(|place| {
            let Some((before, behind)) = rest.split_at_checked(place.size_bytes) else {
                return false;
            };
            rest = behind;
            // SAFETY: as in `picture`.
            before == unsafe { place.bytes() }
        })
    }

    /// Makes the record before the one of now. False if it takes more than a look at the memory.
    fn renew(&self, py: Python<'_>, record: &mut [u8]) -> PyResult<bool> {
        match &self.form {
            Form::Plain(taken) => {
                let mut rest = record;
                for place in taken {
                    let Some((before, behind)) = rest.split_at_mut_checked(place.size_bytes) else {
                        return Ok(false);
                    };
                    // SAFETY: as in `picture`.
                    before.copy_from_slice(unsafe { place.bytes() });
                    rest = behind;
                }
                Ok(rest.is_empty())
            }
            Form::Twister { position, spare } => {
                let Ok(record) = <&mut [u8; TWISTER_BYTES]>::try_from(record) else {
                    return Ok(false);
                };
                let number = match spare {
                    Spare::None => None,
                    Spare::Attribute(source) => {
                        let found = source.bind(py).getattr(pyo3::intern!(py, "gauss_next"))?;
                        match found.cast_exact::<PyFloat>() {
                            Ok(number) => Some(number.value()),
                            Err(_) if found.is_none() => None,
                            Err(_) => return Ok(false),
                        }
                    }
                    Spare::Memory(place) => {
                        // SAFETY: as in `picture`.
                        let bytes = unsafe { place.bytes() };
                        let (has, number) = (&bytes[..4], &bytes[8..16]);
                        let number = number.try_into().map(f64::from_ne_bytes);
                        number.ok().filter(|_| has != [0; 4].as_slice())
                    }
                };
                // SAFETY: as in `picture`.
                record[..4].copy_from_slice(unsafe { position.bytes() });
                record[4] = u8::from(number.is_some());
                record[5..13].copy_from_slice(&number.unwrap_or(0.0).to_ne_bytes());
                Ok(true)
            }
        }
    }
}

/// A generator of a session, with its last record.
struct Known {
    /// A `pyi.longrun.generators.Kept`.
    kept: Py<PyAny>,
    label: Vec<u8>,
    last: Option<Last>,
}

/// The last record of a generator with a view, and what must not have changed since.
struct Last {
    view: Py<GeneratorView>,
    picture: Vec<u8>,
    record: Vec<u8>,
}

impl Known {
    fn of(kept: &Bound<'_, PyAny>) -> PyResult<Self> {
        let label = kept.getattr("label")?.cast_into::<PyBytes>()?;
        Ok(Known {
            kept: kept.clone().unbind(),
            label: label.as_bytes().to_vec(),
            last: None,
        })
    }

    /// Brings the last record up to date without Python, if that can be done.
    fn renew(&mut self, py: Python<'_>) -> PyResult<bool> {
        let Some(last) = &mut self.last else {
            return Ok(false);
        };
        let view = last.view.get();
        Ok(view.is_as_in(py, &last.picture) && view.renew(py, &mut last.record)?)
    }

    /// Asks for a record, which may store something in the state.
    fn ask<'py>(&mut self, state: &Bound<'py, PyAny>, trust: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = state.py();
        self.last = None;
        let kept = self.kept.bind(py);
        // Before it is asked: what changes from here on is seen the next time.
        let view = kept.getattr(pyo3::intern!(py, "view"))?;
        let before = match view.cast_into::<GeneratorView>() {
            Ok(view) => Some((view.get().picture(py), view)),
            Err(_) => None,
        };
        let trusted = PyDict::new(py);
        trusted.set_item(pyo3::intern!(py, "trust"), trust)?;
        let record = kept.call_method(pyo3::intern!(py, "save"), (state,), Some(&trusted))?;
        if let (Some((picture, view)), Ok(record)) = (before, record.cast_exact::<PyBytes>()) {
            // Another view than before is of other memory.
            if kept.getattr(pyo3::intern!(py, "view"))?.is(&view) {
                self.last = Some(Last {
                    view: view.unbind(),
                    picture,
                    record: record.as_bytes().to_vec(),
                });
            }
        }
        Ok(record)
    }
}

/// The generators of a session, in the order of their names' registration.
#[derive(Default)]
pub(crate) struct Generators {
    known: Mutex<Vec<Known>>,
}

impl Generators {
    /// Calls `found` with each one's label and record: bytes, or what else stands for it. `kept` maps names to `Kept`; `trust` says that what was
    /// stored in the state for the last records is still there.
    pub(crate) fn records<'py>(
        &self,
        kept: &Bound<'py, PyDict>,
        state: &Bound<'py, PyAny>,
        trust: bool,
        mut found: impl FnMut(&[u8], Record<'_, 'py>) -> PyResult<()>,
    ) -> PyResult<()> {
        let py = kept.py();
        // Asking runs Python, which must not find a lock.
        let mut known = std::mem::take(&mut *self.known.lock());
        known.truncate(kept.len());
        for (number, (_, one)) in kept.iter().enumerate() {
            if known.get(number).is_none_or(|known| !known.kept.is(&one)) {
                known.truncate(number);
                known.push(Known::of(&one)?);
            }
            let known = known.get_mut(number).ok_or_else(|| invalid("a generator was lost"))?;
            if trust && known.renew(py)? {
                if let Some(last) = &known.last {
                    found(&known.label, Record::Bytes(&last.record))?;
                }
                continue;
            }
            let record = known.ask(state, trust)?;
            match record.cast_exact::<PyBytes>() {
                Ok(record) => found(&known.label, Record::Bytes(record.as_bytes()))?,
                Err(_) => found(&known.label, Record::Other(&record))?,
            }
        }
        *self.known.lock() = known;
        Ok(())
    }
}

/// What is kept of a generator.
pub(crate) enum Record<'a, 'py> {
    Bytes(&'a [u8]),
    Other(&'a Bound<'py, PyAny>),
}
