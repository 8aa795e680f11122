//! Going back along checkpoints, and what two versions have in common.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use pyi_cas::{Id, IdMap};

use crate::checkpoint::Checkpoint;
use crate::engine::Engine;
use crate::{Error, Result};

/// Checkpoints from some heads on, newest first; each once. Where retention cut the history, it ends.
pub struct History {
    engine: Arc<Engine>,
    queue: BinaryHeap<(u64, Id)>,
    seen: IdMap<()>,
    left: Option<usize>,
}

impl History {
    pub(crate) fn from(engine: Arc<Engine>, head: Id, limit: Option<usize>) -> Result<Self> {
        let root = engine.root(&head)?;
        let mut history = History {
            engine,
            queue: BinaryHeap::new(),
            seen: IdMap::default(),
            left: limit,
        };
        history.queue.push((root.time_ns, head));
        history.seen.insert(head, ());
        Ok(history)
    }
}

impl Iterator for History {
    type Item = Result<Checkpoint>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == Some(0) {
            return None;
        }
        let (_, id) = self.queue.pop()?;
        self.left = self.left.map(|left| left - 1);
        let root = match self.engine.root(&id) {
            Ok(root) => root,
            Err(error) => return Some(Err(error)),
        };
        for parent in &root.parents {
            if self.seen.insert(*parent, ()).is_none() {
                match self.engine.ancestor(parent) {
                    Ok(Some(above)) => self.queue.push((above.time_ns, *parent)),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        }
        Some(Ok(Checkpoint::new(self.engine.clone(), id, root)))
    }
}

/// The newest common ancestor of two checkpoints (either may be it), or `None`. O(checkpoints newer than it).
///
/// # Errors
/// `Corrupt` if an ancestor is damaged. History that retention cut has ended.
pub(crate) fn common_ancestor(engine: &Arc<Engine>, a: &Id, b: &Id) -> Result<Option<Id>> {
    const BOTH: u8 = 3;
    if a == b {
        return Ok(Some(*a));
    }
    // One that follows the other directly: nothing that is common to both is newer.
    for (above, below) in [(a, b), (b, a)] {
        if engine.root(below)?.parents.contains(above) && engine.ancestor(above)?.is_some() {
            return Ok(Some(*above));
        }
    }
    let mut colour: HashMap<Id, u8> = HashMap::new();
    let mut queue = BinaryHeap::new();
    for (id, bit) in [(a, 1), (b, 2)] {
        colour.insert(*id, bit);
        queue.push((engine.root(id)?.time_ns, *id));
    }
    let _section = engine.store().section();
    // Newest first: a parent is never newer than its child, clocks permitting, so what is met first with both
    // colours is the newest common ancestor.
    while let Some((_, id)) = queue.pop() {
        let bits = colour.get(&id).copied().unwrap_or(0);
        if bits == BOTH {
            return Ok(Some(id));
        }
        for parent in &engine.root(&id)?.parents {
            let known = colour.entry(*parent).or_insert(0);
            if *known | bits != *known {
                *known |= bits;
                if let Some(above) = engine.ancestor(parent)? {
                    queue.push((above.time_ns, *parent));
                }
            }
        }
    }
    Ok(None)
}

/// The one checkpoint whose id begins with `prefix` (at least 8 digits).
///
/// # Errors
/// `NotFound`; `InvalidArgument` if the prefix is no prefix of an id or fits several.
pub(crate) fn resolve(engine: &Arc<Engine>, prefix: &str) -> Result<Id> {
    let wrong = |why: &str| Error::invalid(format!("checkpoint id {prefix:?}: {why}"));
    if prefix.len() < 8 || prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong(
            "an id is 64 lower-case hex digits, or at least the first 8 of them",
        ));
    }
    if prefix.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong("the digits are lower-case"));
    }
    if let Ok(id) = prefix.parse::<Id>() {
        engine.root(&id)?;
        return Ok(id);
    }
    let found = engine.store().find_prefix(prefix, pyi_cas::Kind::Checkpoint)?;
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(Error::not_found(format!(
            "checkpoint {prefix} is not in this repository; `pyi checkpoints` lists what is"
        ))),
        _ => Err(wrong("several checkpoints begin so; give more digits")),
    }
}
