//! Random generators as a session looks at them behind each step: in the memory where they keep their states. That needs no Python for most.
//! `python/pyi/longrun/memory.py` finds the places and compares them with what the generators say in public; `docs/design/012-sessions.md` has the
//! records' bytes.

use parking_lot::Mutex;
use pyi_engine::Workspace;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat};

use crate::errors::invalid;
use crate::state::store;

/// Bytes of some object.
#[derive(Clone, Copy)]
struct Place {
    address: usize,
    size_bytes: usize,
}

impl Place {
    /// # Safety
    ///
    /// The object lives, and nobody writes to these bytes while the slice is in use: `memory.py` found and compared the places, and who draws holds
    /// the GIL, or draws in another thread while the step is saved, which a session does not allow.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller answers for it.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.size_bytes) }
    }
}

/// What a record is made of.
enum Form {
    /// These bytes, one after the other.
    Plain(Vec<Place>),
    /// A Mersenne Twister.
    Twister(Twister),
}

/// Where a Mersenne Twister has what.
struct Twister {
    words: Place,
    position: Place,
    spare: Spare,
    /// Where the words are kept in the state.
    key: String,
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
/// Bytes of a Mersenne Twister's words, and of its position.
const WORDS_BYTES: usize = 4 * 624;
const POSITION_BYTES: usize = 4;
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

fn place((address, size_bytes): (usize, usize), expected_bytes: usize) -> PyResult<Place> {
    if size_bytes != expected_bytes {
        return Err(invalid(format!(
            "{size_bytes} bytes of a generator where {expected_bytes} belong"
        )));
    }
    Ok(Place { address, size_bytes })
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

    /// A Mersenne Twister: its words, which are kept in the state under `key`, its position, and its spare number, which is the attribute
    /// `gauss_next` of `spare_of` or what stands at `spare_at`.
    #[staticmethod]
    #[pyo3(signature = (owner, same, key, *, words, position, spare_of = None, spare_at = None))]
    fn twister(
        owner: Py<PyAny>,
        same: Vec<(usize, usize)>,
        key: String,
        words: (usize, usize),
        position: (usize, usize),
        spare_of: Option<Py<PyAny>>,
        spare_at: Option<(usize, usize)>,
    ) -> PyResult<Self> {
        let spare = match (spare_of, spare_at) {
            (Some(source), _) => Spare::Attribute(source),
            (None, Some(at)) => Spare::Memory(place(at, SPARE_BYTES)?),
            (None, None) => Spare::None,
        };
        Ok(GeneratorView {
            _owner: owner,
            same: places(same),
            form: Form::Twister(Twister {
                words: place(words, WORDS_BYTES)?,
                position: place(position, POSITION_BYTES)?,
                spare,
                key,
            }),
        })
    }
}

impl GeneratorView {
    /// What must not change, as it is. O(its bytes).
    fn picture(&self) -> Vec<u8> {
        let mut picture = Vec::with_capacity(self.same.iter().map(|place| place.size_bytes).sum());
        for place in &self.same {
            // SAFETY: see `Place::bytes`; `_owner` is alive.
            picture.extend_from_slice(unsafe { place.bytes() });
        }
        picture
    }

    fn is_as_in(&self, picture: &[u8]) -> bool {
        let mut rest = picture;
        self.same.iter().all(|place| {
            let Some((before, behind)) = rest.split_at_checked(place.size_bytes) else {
                return false;
            };
            rest = behind;
            // SAFETY: see `Place::bytes`; `_owner` is alive.
            before == unsafe { place.bytes() }
        })
    }

    /// The words of a Mersenne Twister, as they are.
    fn words(&self) -> Vec<u8> {
        match &self.form {
            Form::Plain(_) => Vec::new(),
            // SAFETY: see `Place::bytes`; `_owner` is alive.
            Form::Twister(twister) => unsafe { twister.words.bytes() }.to_vec(),
        }
    }
}

/// Copies what stands at these places over `record`. False if that has another length.
fn take(places: &[Place], record: &mut [u8]) -> bool {
    let mut rest = record;
    for place in places {
        let Some((before, behind)) = rest.split_at_mut_checked(place.size_bytes) else {
            return false;
        };
        // SAFETY: see `Place::bytes`; the view that has the places has their owner.
        before.copy_from_slice(unsafe { place.bytes() });
        rest = behind;
    }
    rest.is_empty()
}

impl Spare {
    /// The number, if there is one. `None` if what is there is no such number.
    fn read(&self, py: Python<'_>) -> PyResult<Option<Option<f64>>> {
        Ok(match self {
            Spare::None => Some(None),
            Spare::Attribute(source) => {
                let found = source.bind(py).getattr(pyo3::intern!(py, "gauss_next"))?;
                match found.cast_exact::<PyFloat>() {
                    Ok(number) => Some(Some(number.value())),
                    Err(_) => found.is_none().then_some(None),
                }
            }
            Spare::Memory(place) => {
                // SAFETY: see `Place::bytes`; the view that has the place has its owner.
                let bytes = unsafe { place.bytes() };
                let (has, number) = (&bytes[..4], &bytes[8..SPARE_BYTES]);
                let number = number.try_into().map(f64::from_ne_bytes);
                Some(number.ok().filter(|_| has != [0; 4].as_slice()))
            }
        })
    }
}

/// A generator of a session, with its last record.
struct Known {
    /// A `pyi.longrun.generators.Kept`.
    kept: Py<PyAny>,
    label: Vec<u8>,
    last: Option<Last>,
    /// Words were stored that `kept` does not know of.
    is_behind: bool,
}

/// The last record of a generator with a view, and what was in its memory then.
struct Last {
    view: Py<GeneratorView>,
    picture: Vec<u8>,
    words: Vec<u8>,
    record: Vec<u8>,
}

impl Known {
    fn of(kept: &Bound<'_, PyAny>) -> PyResult<Self> {
        let label = kept.getattr("label")?.cast_into::<PyBytes>()?;
        Ok(Known {
            kept: kept.clone().unbind(),
            label: label.as_bytes().to_vec(),
            last: None,
            is_behind: false,
        })
    }

    /// Brings the last record up to date without Python, if that can be done; new words of a Mersenne Twister are stored.
    fn renew(&mut self, py: Python<'_>, workspace: &Workspace) -> PyResult<bool> {
        let Some(last) = &mut self.last else {
            return Ok(false);
        };
        let view = last.view.get();
        if !view.is_as_in(&last.picture) {
            return Ok(false);
        }
        let twister = match &view.form {
            Form::Plain(taken) => return Ok(take(taken, &mut last.record)),
            Form::Twister(twister) => twister,
        };
        let Ok(record) = <&mut [u8; TWISTER_BYTES]>::try_from(&mut last.record[..]) else {
            return Ok(false);
        };
        let Some(spare) = twister.spare.read(py)? else {
            return Ok(false);
        };
        // SAFETY: see `Place::bytes`; the view has the owner.
        let (words, position) = unsafe { (twister.words.bytes(), twister.position.bytes()) };
        record[..4].copy_from_slice(position);
        record[4] = u8::from(spare.is_some());
        record[5..13].copy_from_slice(&spare.unwrap_or(0.0).to_ne_bytes());
        if words != last.words {
            last.words.copy_from_slice(words);
            record[13..].copy_from_slice(&crc32fast::hash(&last.words).to_ne_bytes());
            let mut encoded = Vec::with_capacity(WORDS_BYTES + 3);
            pyi_engine::encode::bytes(&mut encoded, &last.words);
            self.is_behind = true;
            store(py, workspace, &twister.key, encoded)?;
        }
        Ok(true)
    }

    /// Asks for a record, which may store something in the state.
    fn ask<'py>(&mut self, state: &Bound<'py, PyAny>, trust: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = state.py();
        self.last = None;
        let kept = self.kept.bind(py);
        // Before it is asked: what changes from here on is seen the next time.
        let view = kept.getattr(pyo3::intern!(py, "view"))?;
        let before = view.cast_into::<GeneratorView>().ok();
        let before = before.map(|view| (view.get().picture(), view.get().words(), view));
        let trusted = PyDict::new(py);
        trusted.set_item(pyo3::intern!(py, "trust"), trust && !self.is_behind)?;
        let record = kept.call_method(pyo3::intern!(py, "save"), (state,), Some(&trusted))?;
        self.is_behind = false;
        if let (Some((picture, words, view)), Ok(record)) = (before, record.cast_exact::<PyBytes>()) {
            // Another view than before is of other memory.
            if kept.getattr(pyo3::intern!(py, "view"))?.is(&view) {
                self.last = Some(Last {
                    view: view.unbind(),
                    picture,
                    words,
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
        workspace: &Workspace,
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
            if trust && known.renew(py, workspace)? {
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
