//! A directory: names in the cache, names on the disk, and the changes in between, each of which a power loss may drop alone.

use std::collections::BTreeMap;

use crate::fate::Fate;

/// An unflushed change of names.
#[derive(Clone, Debug)]
enum Change {
    Set(String, u64),
    Remove(String),
    /// Atomic: the old name goes and the new one appears together.
    Rename(String, String, u64),
}

/// A directory's names and the nodes they stand for.
#[derive(Clone, Default, Debug)]
pub(crate) struct Directory {
    cached: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Change>,
}

impl Directory {
    pub(crate) fn get(&self, name: &str) -> Option<u64> {
        self.cached.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.cached.keys()
    }

    /// The nodes that have a durable name.
    pub(crate) fn durable_nodes(&self) -> impl Iterator<Item = u64> + '_ {
        self.durable.values().copied()
    }

    pub(crate) fn set(&mut self, name: &str, node: u64) {
        self.note(Change::Set(name.to_owned(), node));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.note(Change::Remove(name.to_owned()));
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, node: u64) {
        self.note(Change::Rename(from.to_owned(), to.to_owned(), node));
    }

    fn note(&mut self, change: Change) {
        apply(&mut self.cached, &change);
        self.pending.push(change);
    }

    /// Makes the names durable.
    pub(crate) fn sync(&mut self) {
        self.durable = self.cached.clone();
        self.pending.clear();
    }

    /// A flush that fails and forgets: the names stay in the cache only.
    pub(crate) fn lose(&mut self) {
        self.pending.clear();
    }

    /// Number of unflushed changes.
    pub(crate) fn changes(&self) -> usize {
        self.pending.len()
    }

    /// The directory after a power loss in which the changes went so.
    pub(crate) fn crash(&self, fates: &[Fate]) -> Directory {
        let mut names = self.durable.clone();
        for (change, fate) in self.pending.iter().zip(fates) {
            if matches!(fate, Fate::Kept | Fate::TornTail) {
                apply(&mut names, change);
            }
        }
        Directory {
            cached: names.clone(),
            durable: names,
            pending: Vec::new(),
        }
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Set(name, node) => {
            names.insert(name.clone(), *node);
        }
        Change::Remove(name) => {
            names.remove(name);
        }
        Change::Rename(from, to, node) => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}
