//! Tracked arrays: an array of the state in memory, with a note of which chunks are there and which were touched.
//!
//! A live array belongs to one key of one workspace. Chunks are fetched when they are first needed. Whoever writes says so before and after;
//! whoever looks at the state (a checkpoint, a fork, a diff) first moves what was touched into it. An array whose key was assigned or
//! restored meanwhile is *detached*: what was in memory can still be read, and writing to it is refused.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyi_cas::Pin;
use pyi_tree::array::{ArrayIndex, CHUNK_BYTES};
use pyi_tree::tree::Content as NewContent;
use pyi_tree::{Mode, Tree};

use crate::absorb::{self, Expect, absorb};
use crate::engine::Engine;
use crate::memory::{BULK_BYTES, Memory, Source};
use crate::region::Region;
use crate::workspace::{Content, HEAVY, Workspace};
use crate::{Error, Result};

/// A set of chunks.
struct Bits(Vec<AtomicU64>);

impl Bits {
    fn new(count: usize) -> Self {
        Bits((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn has(&self, at: usize) -> bool {
        self.0
            .get(at / 64)
            .is_some_and(|word| word.load(Ordering::Acquire) & (1 << (at % 64)) != 0)
    }

    /// Adds one; `true` if it was not there.
    fn add(&self, at: usize) -> bool {
        self.0
            .get(at / 64)
            .is_some_and(|word| word.fetch_or(1 << (at % 64), Ordering::AcqRel) & (1 << (at % 64)) == 0)
    }

    /// Takes all out.
    fn take(&self) -> Vec<u64> {
        let mut taken = Vec::new();
        for (at, word) in self.0.iter().enumerate() {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                taken.push(at as u64 * 64 + u64::from(bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
        taken
    }
}

/// An array of the state, in memory.
pub struct LiveArray {
    engine: Arc<Engine>,
    key: String,
    dtype: String,
    shape: Vec<u64>,
    memory: Memory,
    chunks: usize,
    here: Bits,
    missing: AtomicUsize,
    touched: Bits,
    /// Whether anything may be in `touched`.
    is_touched: AtomicBool,
    detached: AtomicBool,
    inner: Mutex<Inner>,
    /// Never held for long: windows are closed by whoever drops them.
    windows: Mutex<Windows>,
}

struct Inner {
    index: ArrayIndex,
    /// Keep the chunks that were not fetched yet.
    pins: Vec<Arc<Pin>>,
}

/// Stretches that somebody may write to at any time.
#[derive(Default)]
struct Windows {
    open: Vec<(u64, Range<usize>)>,
    next: u64,
}

impl LiveArray {
    /// NumPy's type string.
    #[must_use]
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// The lengths of its axes.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Where its content stands. What was not fetched yet is zero there.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The number of chunks.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// The number of chunks that were not fetched yet.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing.load(Ordering::Acquire)
    }

    /// Whether its key holds something else by now.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// The number of chunks that were touched since the state last took them in. O(chunks / 64).
    #[must_use]
    pub fn touched(&self) -> usize {
        let words = self.touched.0.iter();
        words
            .map(|word| word.load(Ordering::Acquire).count_ones() as usize)
            .sum()
    }

    fn is_touched(&self) -> bool {
        self.is_touched.load(Ordering::Acquire)
    }

    fn chunks_in(&self, from: u64, to: u64) -> Range<usize> {
        let end = self.memory.size_bytes() as u64;
        let (from, to) = (from.min(end) as usize, to.min(end) as usize);
        from / CHUNK_BYTES..to.div_ceil(CHUNK_BYTES)
    }

    /// Fetches what of a region is not here yet. O(stretches), a read, a hash and a copy for each chunk that is missing.
    ///
    /// # Errors
    /// `Corrupt`, `Storage`, `Closed`.
    pub fn fetch(&self, region: &Region) -> Result<()> {
        let mut wanted: Vec<Range<usize>> = Vec::new();
        if self.missing() > 0 {
            region.stretches(&mut |from, to| wanted.push(self.chunks_in(from, to)));
        }
        wanted.into_iter().try_for_each(|range| self.fetch_chunks(range))
    }

    /// Fetches chunks that are not here yet. As [`LiveArray::fetch`].
    ///
    /// # Errors
    /// As [`LiveArray::fetch`].
    pub fn fetch_chunks(&self, chunks: Range<usize>) -> Result<()> {
        let chunks = chunks.start.min(self.chunks)..chunks.end.min(self.chunks);
        if self.missing() == 0 || chunks.clone().all(|number| self.here.has(number)) {
            return Ok(());
        }
        self.engine.open()?;
        if chunks.len() * CHUNK_BYTES >= BULK_BYTES {
            let end = (chunks.end * CHUNK_BYTES).min(self.memory.size_bytes());
            self.memory.fill_soon(chunks.start * CHUNK_BYTES, end);
        }
        let mut inner = self.inner.lock();
        for number in chunks {
            if self.here.has(number) {
                continue;
            }
            let bytes = absorb::chunk(&self.engine, &mut inner.index, number as u64)?;
            self.memory.put(number * CHUNK_BYTES, &bytes);
            if self.here.add(number) && self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                inner.pins.clear();
            }
        }
        Ok(())
    }

    /// Notes that a region was written to. O(chunks of it).
    pub fn mark(&self, region: &Region) {
        region.stretches(&mut |from, to| self.mark_chunks(self.chunks_in(from, to)));
    }

    /// Notes that chunks were written to.
    pub fn mark_chunks(&self, chunks: Range<usize>) {
        for number in chunks {
            self.touched.add(number);
        }
        self.is_touched.store(true, Ordering::Release);
    }

    /// Opens a stretch of bytes to writers that say nothing: it counts as written to until [`LiveArray::close_window`].
    pub fn open_window(&self, from: usize, to: usize) -> u64 {
        let chunks = self.chunks_in(from as u64, to as u64);
        let mut windows = self.windows.lock();
        let number = windows.next;
        windows.next += 1;
        windows.open.push((number, chunks.clone()));
        self.mark_chunks(chunks);
        number
    }

    /// Ends what [`LiveArray::open_window`] began.
    pub fn close_window(&self, number: u64) {
        let mut windows = self.windows.lock();
        let Some(at) = windows.open.iter().position(|(other, _)| *other == number) else {
            return;
        };
        let (_, chunks) = windows.open.swap_remove(at);
        self.mark_chunks(chunks);
    }

    /// Moves what was touched into the state. O(touched).
    fn settle(&self, state: &mut Tree, pins: Vec<Arc<Pin>>) -> Result<Option<Pin>> {
        let mut inner = self.inner.lock();
        self.is_touched.store(false, Ordering::Release);
        for (_, chunks) in &self.windows.lock().open {
            for number in chunks.clone() {
                self.touched.add(number);
            }
        }
        let mut chunks = self.touched.take();
        // What is not here cannot have been written to.
        chunks.retain(|number| self.here.has(*number as usize));
        let settled = self.settle_chunks(&mut inner, state, pins, &chunks);
        if settled.is_err() {
            for number in &chunks {
                self.touched.add(*number as usize);
            }
            self.is_touched.store(true, Ordering::Release);
        }
        if !self.windows.lock().open.is_empty() {
            self.is_touched.store(true, Ordering::Release);
        }
        settled
    }

    fn settle_chunks(
        &self,
        inner: &mut Inner,
        state: &mut Tree,
        pins: Vec<Arc<Pin>>,
        chunks: &[u64],
    ) -> Result<Option<Pin>> {
        let loader = &self.engine.loader;
        let found = state.find_name(self.key.as_bytes(), loader)?;
        if found.is_some_and(|found| found.pending().is_none()) {
            inner.index.clear_parts();
        }
        let mut index = inner.index.clone();
        let source = Source::of_memory(&self.memory);
        let pin = absorb(
            &self.engine,
            &mut index,
            source,
            chunks.iter().copied(),
            Expect::Changed,
        )?;
        let mut next = state.clone();
        put(&mut next, &self.key, &index, &pin, loader)?;
        *state = next;
        inner.index = index;
        if self.missing() > 0 {
            // Chunks that were not fetched yet are among those that the present content relies on.
            inner.pins = pins;
        }
        Ok(pin)
    }
}

/// Puts an array into the state; with a pin, it is in the store.
pub(crate) fn put(
    state: &mut Tree,
    key: &str,
    index: &ArrayIndex,
    stored: &Option<Pin>,
    loader: &dyn pyi_tree::Loader,
) -> Result<()> {
    let size_bytes = index.root().size_bytes;
    let content = match stored {
        Some(_) => NewContent::Stored {
            id: pyi_cas::Kind::Array.id_of(&index.root().encode()),
            size_bytes,
        },
        None => NewContent::Array {
            pending: index.pending(),
            size_bytes,
        },
    };
    Ok(state.put_name(key.as_bytes(), Mode::Array, content, loader)?)
}

/// An array that belongs to a workspace: detached when it is let go.
struct Attached(Arc<LiveArray>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.detached.store(true, Ordering::Release);
    }
}

/// The tracked arrays of a workspace. A copy of a workspace has none.
#[derive(Default)]
pub(crate) struct LiveArrays(Vec<Attached>);

impl Clone for LiveArrays {
    fn clone(&self) -> Self {
        LiveArrays::default()
    }
}

impl LiveArrays {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is anything that the state does not have yet.
    pub(crate) fn is_touched(&self) -> bool {
        self.0.iter().any(|array| array.0.is_touched())
    }

    /// Lets the array of a key go, together with what was touched in it.
    pub(crate) fn detach(&mut self, key: &str) {
        self.0.retain(|array| array.0.key != key);
    }

    /// Lets all go.
    pub(crate) fn detach_all(&mut self) {
        self.0.clear();
    }

    fn find(&self, key: &str) -> Option<&Arc<LiveArray>> {
        self.0.iter().map(|array| &array.0).find(|array| array.key == key)
    }
}

impl Content {
    /// Moves what was touched in tracked arrays (in that of one key) into the state. O(touched).
    pub(crate) fn settle_arrays(&mut self, only: Option<&str>) -> Result<()> {
        if self.live.0.is_empty() {
            return Ok(());
        }
        let mut live = std::mem::take(&mut self.live.0);
        let mut settled = Ok(());
        for array in &live {
            if settled.is_ok() && array.0.is_touched() && only.is_none_or(|key| key == array.0.key) {
                let pins = self.all_pins();
                settled = array.0.settle(&mut self.state, pins).map(|pin| {
                    self.keep_array(&array.0.key, pin);
                    self.changed(HEAVY);
                });
            }
        }
        // Nobody looks at it any more, and the state has all of it.
        live.retain(|array| array.0.is_touched() || Arc::strong_count(&array.0) > 1);
        self.live.0 = live;
        settled
    }

    /// Lets go of the tracked arrays whose keys have something else in `state`.
    pub(crate) fn detach_changed(&mut self, state: &Tree, engine: &Engine) -> Result<()> {
        let mut changed = Vec::new();
        for array in &self.live.0 {
            let key = array.0.key.as_bytes();
            let (old, new) = (
                self.state.find_name(key, &engine.loader)?,
                state.find_name(key, &engine.loader)?,
            );
            let same = match (&old, &new) {
                (Some(old), Some(new)) => old.is_same_content(new),
                _ => false,
            };
            if !same {
                changed.push(array.0.key.clone());
            }
        }
        for key in changed {
            self.live.detach(&key);
        }
        Ok(())
    }
}

impl Workspace {
    /// The array under `key` as one that is fetched when it is looked at and tracks what is written to it; the same one for every caller, as
    /// long as the key is not assigned or restored. O(log keys); nothing of the content is read.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` if something else than an array is there.
    pub fn state_array(&self, key: &str) -> Result<Arc<LiveArray>> {
        self.engine.open()?;
        let mut content = self.content.lock();
        if let Some(array) = content.live.find(key) {
            return Ok(array.clone());
        }
        let missing = || {
            Error::not_found(format!(
                "state key {key:?}: there is none; list(ws.state) shows what there is"
            ))
        };
        if key.is_empty() {
            return Err(missing());
        }
        let found = content.state.find_name(key.as_bytes(), &self.engine.loader)?;
        let found = found.ok_or_else(missing)?;
        let index = match found.row().mode {
            Mode::Array => crate::state::index_of(&self.engine, &found)?,
            _ => return Err(no_array(key, "a value")),
        };
        if let Some(form) = &index.root().form {
            return Err(no_array(key, form));
        }
        let memory = Memory::zeroed(size_of_array(&index)?)?;
        let pins = content.all_pins();
        let array = self.live_array(key, index, memory, pins, false);
        content.live.0.push(Attached(array.clone()));
        Ok(array)
    }

    /// Stores an array whose memory the caller hands over, and tracks it from then on: the content is not copied. O(bytes), one hash.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad key; `LeaseLost`; `Storage`, `QuotaExceeded`.
    pub fn state_adopt(&self, key: &str, dtype: &str, shape: &[u64], memory: Memory) -> Result<Arc<LiveArray>> {
        self.engine.open()?;
        crate::state::check_key(key)?;
        let _section = self.engine.store().section();
        let size_bytes = memory.size_bytes() as u64;
        let mut index = self.index_for(key, None, dtype, shape, size_bytes)?.0;
        let chunks = 0..index.root().chunks();
        let pin = absorb(
            &self.engine,
            &mut index,
            Source::of_memory(&memory),
            chunks,
            Expect::Changed,
        )?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let mut state = content.state.clone();
        put(&mut state, key, &index, &pin, &self.engine.loader)?;
        content.live.detach(key);
        content.state = state;
        content.changed(HEAVY);
        content.keep_array(key, pin);
        let array = self.live_array(key, index, memory, Vec::new(), true);
        content.live.0.push(Attached(array.clone()));
        Ok(array)
    }

    fn live_array(
        &self,
        key: &str,
        index: ArrayIndex,
        memory: Memory,
        pins: Vec<Arc<Pin>>,
        is_here: bool,
    ) -> Arc<LiveArray> {
        let chunks = memory.size_bytes().div_ceil(CHUNK_BYTES);
        let here = Bits::new(chunks);
        if is_here {
            for number in 0..chunks {
                here.add(number);
            }
        }
        Arc::new(LiveArray {
            engine: self.engine.clone(),
            key: key.to_owned(),
            dtype: index.root().dtype.clone(),
            shape: index.root().shape.clone(),
            chunks,
            here,
            missing: AtomicUsize::new(if is_here { 0 } else { chunks }),
            touched: Bits::new(chunks),
            is_touched: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            inner: Mutex::new(Inner { index, pins }),
            windows: Mutex::default(),
            memory,
        })
    }

    /// Whether `array` may be written to now.
    ///
    /// # Errors
    /// `Conflict` if its key was assigned, removed or restored; `LeaseLost`.
    pub fn check_array(&self, array: &LiveArray) -> Result<()> {
        self.engine.open()?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        if array.is_detached() {
            return Err(Error::conflict(format!(
                "state key {:?} was assigned, removed or restored since this array was taken from it; take it again with ws.state.array",
                array.key
            )));
        }
        Ok(())
    }
}

fn no_array(key: &str, what: &str) -> Error {
    Error::invalid(format!(
        "state key {key:?} holds no array but {what}; read it with ws.state[{key:?}]"
    ))
}

pub(crate) fn size_of_array(index: &ArrayIndex) -> Result<usize> {
    usize::try_from(index.root().size_bytes).map_err(|_| Error::invalid("an array that does not fit into memory"))
}
