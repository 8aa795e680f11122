//! The journal's place in a tree: batches of events under their index (format v1, section 9).

use bytes::Bytes;

use crate::cbor::Value;
use crate::tree::Content;
use crate::{Error, Loader, Mode, Node, Pending, Result, Tree};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What kind of event: `message`, `tool`, ...
    pub kind: String,
    /// When it was appended, unix nanoseconds.
    pub time_ns: u64,
    /// What its maker recorded: a map.
    pub data: Value,
}

/// The journal of a workspace as a tree: a batch of events is one row. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub struct JournalTree {
    tree: Tree,
}

impl JournalTree {
    /// The journal under a root node.
    #[must_use]
    pub fn from_tree(tree: Tree) -> Self {
        JournalTree { tree }
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

    /// Appends a batch. O(log batches).
    ///
    /// # Errors
    /// What the loader says.
    pub fn append(&mut self, events: &[Event], loader: &dyn Loader) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let batch = events
            .iter()
            .map(|event| {
                Value::Array(vec![
                    Value::Text(event.kind.clone()),
                    Value::Int(i128::from(event.time_ns)),
                    event.data.clone(),
                ])
            })
            .collect();
        let content = Bytes::from(Value::Array(batch).encode());
        let name = self.len().to_be_bytes();
        // The name may hold a byte that is '/', so it goes in as one entry and not as a path.
        let content = Content::Sized {
            content,
            size: events.len() as u64,
        };
        self.tree.put_name(&name, Mode::Value, content, loader)
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

/// Parses a batch's bytes.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Event>> {
    let wrong = || Error::corrupt("journal: a batch that does not parse");
    let value = Value::decode(bytes).map_err(|_| wrong())?;
    let mut events = Vec::new();
    for item in value.as_array().ok_or_else(wrong)? {
        let [Value::Text(kind), time, data @ Value::Map(_)] = item.as_array().ok_or_else(wrong)? else {
            return Err(wrong());
        };
        let time_ns = time.as_u64().ok_or_else(wrong)?;
        events.push(Event {
            kind: kind.clone(),
            time_ns,
            data: data.clone(),
        });
    }
    Ok(events)
}
