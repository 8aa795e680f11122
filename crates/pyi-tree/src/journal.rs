//! The journal's place in a tree: batches of events under their index, each naming the batch before it (format v1, section 9).

use bytes::Bytes;
use pyi_cas::{Id, Kind};

use crate::cbor::{Reader, Value, put};
use crate::tree::Content;
use crate::{Error, Loader, Mode, Node, Pending, Result, Tree};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What kind of event: `message`, `tool`, ...
    pub kind: String,
    /// When it was appended, unix nanoseconds; never before the event before it.
    pub time_ns: u64,
    /// What its maker recorded: a map, its keys in their order.
    pub data: Value,
}

/// Events in their encoding that are in no batch yet. Cloning is O(bytes).
#[derive(Clone, Debug, Default)]
pub struct EventBuffer {
    encoded: Vec<u8>,
    count: usize,
    last_ns: u64,
}

impl EventBuffer {
    /// Adds an event; `data` is the ordered encoding of a map. O(bytes).
    pub fn push(&mut self, kind: &str, time_ns: u64, data: &[u8]) {
        put::array(&mut self.encoded, 3);
        put::text(&mut self.encoded, kind);
        put::int(&mut self.encoded, i128::from(time_ns));
        self.encoded.extend_from_slice(data);
        self.count += 1;
        self.last_ns = time_ns;
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes all events out and keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.count = 0;
    }

    /// The time of the last event, if there is one.
    #[must_use]
    pub fn last_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.last_ns)
    }

    /// The batch of these events behind the batch `previous`. O(bytes).
    #[must_use]
    pub fn batch(&self, previous: Option<&Id>) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded.len() + 48);
        put::array(&mut out, 2);
        match previous {
            Some(id) => put::bytes(&mut out, &id.0),
            None => put::null(&mut out),
        }
        put::array(&mut out, self.count);
        out.extend_from_slice(&self.encoded);
        Bytes::from(out)
    }
}

/// The journal of a workspace as a tree: a batch of events is one row. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub struct JournalTree {
    tree: Tree,
    /// The time of the last event, once it is known.
    last_ns: Option<u64>,
}

impl JournalTree {
    /// The journal under a root node.
    #[must_use]
    pub fn from_tree(tree: Tree) -> Self {
        JournalTree { tree, last_ns: None }
    }

    /// The tree, to be sealed.
    pub fn tree_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The number of events. O(1).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.tree.root().size_bytes()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time of the last event, if it is known: 0 if there is none.
    #[must_use]
    pub fn last_ns(&self) -> Option<u64> {
        if self.is_empty() { Some(0) } else { self.last_ns }
    }

    /// Remembers the time of the last event.
    pub fn set_last_ns(&mut self, last_ns: u64) {
        self.last_ns = Some(last_ns);
    }

    /// Appends the events as a batch. O(log batches + bytes of the batch before, if it was not stored yet).
    ///
    /// # Errors
    /// What the loader says.
    pub fn append(&mut self, events: &EventBuffer, loader: &dyn Loader) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let previous = self.tip(loader)?;
        let name = self.len().to_be_bytes();
        // The name may hold a byte that is '/', so it goes in as one entry and not as a path.
        let content = Content::Sized {
            content: events.batch(previous.as_ref()),
            size: events.len() as u64,
        };
        self.tree.put_name(&name, Mode::Value, content, loader)?;
        self.last_ns = events.last_ns();
        Ok(())
    }

    /// The id of the last batch, which names all before it; `None` for an empty journal. O(log batches), hashes a batch that was not
    /// stored yet.
    ///
    /// # Errors
    /// What the loader says.
    pub fn tip(&self, loader: &dyn Loader) -> Result<Option<Id>> {
        let Some(last) = self.len().checked_sub(1) else {
            return Ok(None);
        };
        let batch = self.batch_of(last, loader)?;
        let batch = batch.ok_or_else(|| Error::corrupt("journal: its length does not fit its batches"))?;
        Ok(Some(batch.id()))
    }

    /// The batch that holds event `index`: its first index and its bytes' place. O(log batches).
    ///
    /// # Errors
    /// What the loader says.
    pub fn batch_of(&self, index: u64, loader: &dyn Loader) -> Result<Option<Batch>> {
        let mut node = self.tree.root();
        let name = index.to_be_bytes();
        while node.level() > 0 {
            let at = match node.search(&name) {
                Ok(at) => at,
                Err(at) => at.saturating_sub(1),
            };
            node = node.child(at, loader)?;
        }
        batch_in(node, &name, index)
    }
}

/// Where a batch's bytes are.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The index of its first event.
    pub first: u64,
    /// The row that names its bytes.
    pub row: crate::Row,
    /// The bytes if they were not stored yet.
    pub pending: Option<Pending>,
}

impl Batch {
    /// The id of its bytes. O(1), hashes them if they were not stored yet.
    #[must_use]
    pub fn id(&self) -> Id {
        match &self.pending {
            Some(Pending::Blob(bytes)) => Kind::Blob.id_of(bytes),
            _ => self.row.id,
        }
    }
}

fn batch_in(node: &Node, name: &[u8], index: u64) -> Result<Option<Batch>> {
    let at = match node.search(name) {
        Ok(at) => at,
        Err(0) => return Ok(None),
        Err(at) => at - 1,
    };
    let first = <[u8; 8]>::try_from(node.name(at)).map(u64::from_be_bytes);
    let first = first.map_err(|_| Error::corrupt("journal: a batch without an index"))?;
    let row = node.row(at);
    if index - first >= row.size_bytes {
        return Ok(None);
    }
    Ok(Some(Batch {
        first,
        row,
        pending: node.pending(at).cloned(),
    }))
}

/// A batch whose events are made one by one.
#[derive(Clone, Debug)]
pub struct EventBatch {
    bytes: Bytes,
    /// The batch before this one; `None` for the first.
    pub previous: Option<Id>,
    /// Where each event is: kind (start, end), time, data (start, end).
    events: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    kind: (u32, u32),
    time_ns: u64,
    data: (u32, u32),
}

impl EventBatch {
    /// Parses a batch's bytes; data are looked at when an event is made. O(bytes).
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let wrong = || Error::corrupt("journal: a batch that does not parse");
        if u32::try_from(bytes.len()).is_err() {
            return Err(wrong());
        }
        let (previous, events) = parse(&bytes).ok_or_else(wrong)?;
        Ok(EventBatch {
            bytes,
            previous,
            events,
        })
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The bytes of the data of event `at`; `None` behind the end.
    #[must_use]
    pub fn size_bytes(&self, at: usize) -> Option<usize> {
        let (start, end) = self.events.get(at)?.data;
        Some((end - start) as usize)
    }

    /// The kind of event `at`; empty behind the end.
    #[must_use]
    pub fn kind(&self, at: usize) -> &str {
        let place = self.events.get(at).map_or((0, 0), |event| event.kind);
        let bytes = self.bytes.get(place.0 as usize..place.1 as usize).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The time of event `at`; 0 behind the end.
    #[must_use]
    pub fn time_ns(&self, at: usize) -> u64 {
        self.events.get(at).map_or(0, |event| event.time_ns)
    }

    /// Event `at`, `None` behind the end. O(bytes of its data).
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn event(&self, at: usize) -> Result<Option<Event>> {
        let Some(place) = self.events.get(at) else {
            return Ok(None);
        };
        let data = self.bytes.get(place.data.0 as usize..place.data.1 as usize);
        let data = Value::decode_ordered(data.unwrap_or_default());
        let Ok(data @ Value::Map(_)) = data else {
            return Err(Error::corrupt("journal: an event's data that do not parse"));
        };
        Ok(Some(Event {
            kind: self.kind(at).to_owned(),
            time_ns: place.time_ns,
            data,
        }))
    }
}

fn parse(bytes: &[u8]) -> Option<(Option<Id>, Vec<Place>)> {
    let mut reader = Reader { bytes, sorted: false };
    let at = |rest: &[u8]| (bytes.len() - rest.len()) as u32;
    if reader.array_head().ok()? != 2 {
        return None;
    }
    let previous = match reader.value(0).ok()? {
        Value::Null => None,
        Value::Bytes(id) => Some(Id(id.try_into().ok()?)),
        _ => return None,
    };
    let count = reader.array_head().ok()?;
    let mut events = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        if reader.array_head().ok()? != 3 {
            return None;
        }
        let kind = reader.text_item().ok()?;
        let kind_end = at(reader.bytes);
        let time_ns = reader.value(0).ok()?.as_u64()?;
        let data_start = at(reader.bytes);
        reader.skip(0).ok()?;
        events.push(Place {
            kind: (kind_end - kind.len() as u32, kind_end),
            time_ns,
            data: (data_start, at(reader.bytes)),
        });
    }
    (reader.bytes.is_empty() && count > 0).then_some((previous, events))
}
