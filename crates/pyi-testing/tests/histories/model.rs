//! What a repository must hold, as plain dictionaries: checkpoints with their contents, what names lead to, and since when that survives what.

use std::collections::{BTreeMap, BTreeSet};

use pyi_engine::Id;

use super::view::View;

/// What is known of a checkpoint that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is there.
    Sure,
    /// Nothing kept it when something was removed: it is there as a whole, or not.
    Perhaps,
    /// It was not durable when the power went, and nothing names it: parts of it may be missing, which is an error and never wrong bytes.
    Unflushed,
}

/// A checkpoint.
#[derive(Clone, Debug)]
pub struct Saved {
    pub id: Id,
    pub view: View,
    /// Those that the model knows.
    pub parents: Vec<usize>,
    pub fate: Fate,
    /// Which process made it.
    pub who: usize,
    /// It survives a loss of power.
    pub durable: bool,
}

/// Something that the ref log has a value for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    Branch(u8),
    Name(u8),
    Kept(usize),
}

/// What a key leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub head: usize,
    /// Flushed behind the head.
    pub journal: Option<Vec<u64>>,
}

impl Place {
    pub fn at(head: usize) -> Place {
        Place { head, journal: None }
    }
}

/// The model.
#[derive(Clone, Default, Debug)]
pub struct Model {
    pub saved: Vec<Saved>,
    pub refs: BTreeMap<Key, Place>,
    /// What happened to refs that may not be durable, and by whom; what each was before that is first.
    since: Vec<(usize, Key, Option<Place>)>,
}

/// No process: what was there before, or what a dead one did.
pub const NOBODY: usize = usize::MAX;

impl Model {
    pub fn known(&self, id: &Id) -> Option<usize> {
        self.saved.iter().position(|saved| saved.id == *id)
    }

    /// Takes note of a checkpoint.
    pub fn save(&mut self, who: usize, id: Id, view: View, parents: &[Id]) -> usize {
        if let Some(known) = self.known(&id) {
            // It may have been gone, and is stored again.
            let saved = &mut self.saved[known];
            if saved.fate != Fate::Sure {
                (saved.durable, saved.who) = (false, who);
            }
            saved.fate = Fate::Sure;
            return known;
        }
        let parents = parents.iter().filter_map(|parent| self.known(parent)).collect();
        self.saved.push(Saved {
            id,
            view,
            parents,
            fate: Fate::Sure,
            who,
            durable: false,
        });
        self.saved.len() - 1
    }

    pub fn set(&mut self, who: usize, key: Key, place: Option<Place>) {
        if !self.since.iter().any(|(_, known, _)| *known == key) {
            self.since.push((NOBODY, key, self.refs.get(&key).cloned()));
        }
        self.since.push((who, key, place.clone()));
        match place {
            Some(place) => self.refs.insert(key, place),
            None => self.refs.remove(&key),
        };
    }

    /// Everything so far survives a loss of power.
    pub fn flushed(&mut self) {
        self.since.clear();
        self.saved.iter_mut().for_each(|saved| saved.durable = true);
    }

    /// Everything that this process did so far survives a loss of power, and all that a checkpoint reaches.
    pub fn flushed_by(&mut self, who: usize, made: usize) {
        for key in self.keys() {
            let last = self.since.iter().rposition(|(by, of, _)| (*by, *of) == (who, key));
            let mut at = 0;
            self.since.retain(|(_, of, _)| {
                at += 1;
                *of != key || last.is_none_or(|last| at > last)
            });
        }
        let reached = self.closure(vec![made]);
        for (at, saved) in self.saved.iter_mut().enumerate() {
            saved.durable |= saved.who == who || reached.contains(&at);
        }
    }

    /// A process is gone; the next one does not know what it left unflushed.
    pub fn gone(&mut self, who: usize) {
        let saved = self.saved.iter_mut().map(|saved| &mut saved.who);
        let all = saved.chain(self.since.iter_mut().map(|(by, _, _)| by));
        all.filter(|by| **by == who).for_each(|by| *by = NOBODY);
    }

    /// The values that a key may have after a loss of power.
    pub fn allowed(&self, key: Key) -> Vec<Option<Place>> {
        let mut values: Vec<Option<Place>> = (self.since.iter())
            .filter(|(_, changed, _)| *changed == key)
            .map(|(_, _, place)| place.clone())
            .collect();
        values.push(self.refs.get(&key).cloned());
        values
    }

    /// Keys that have, or lately had, a value.
    pub fn keys(&self) -> BTreeSet<Key> {
        let lately = self.since.iter().map(|(_, key, _)| *key);
        self.refs.keys().copied().chain(lately).collect()
    }

    /// What these and all names lead to, with the parents.
    pub fn reached(&self, from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut waiting: Vec<usize> = from.into_iter().collect();
        waiting.extend(self.refs.values().map(|place| place.head));
        self.closure(waiting)
    }

    fn closure(&self, mut waiting: Vec<usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        while let Some(next) = waiting.pop() {
            // One that may be gone may have cut the history: what is behind it is kept only by what else leads there.
            if reached.insert(next) && self.saved[next].fate == Fate::Sure {
                waiting.extend(&self.saved[next].parents);
            }
        }
        reached
    }

    /// A collection may have removed what is not reached.
    pub fn collected(&mut self, reached: &BTreeSet<usize>) {
        for (at, saved) in self.saved.iter_mut().enumerate() {
            if !reached.contains(&at) && saved.fate == Fate::Sure {
                saved.fate = Fate::Perhaps;
            }
        }
    }

    /// The power went, and this is what the refs are now; all of it is on the disk.
    pub fn lost_power(&mut self, refs: BTreeMap<Key, Place>) {
        self.refs = refs;
        let reached = self.reached([]);
        for (at, saved) in self.saved.iter_mut().enumerate() {
            if !saved.durable && !reached.contains(&at) {
                saved.fate = Fate::Unflushed;
            }
        }
        self.flushed();
    }

    /// The newest checkpoint that both come from, if it is known for certain.
    pub fn ancestor(&self, a: usize, b: usize) -> Option<usize> {
        let (a, b) = (self.closure(vec![a]), self.closure(vec![b]));
        let sure = a.union(&b).all(|at| self.saved[*at].fate == Fate::Sure);
        a.intersection(&b).max().copied().filter(|_| sure)
    }
}

/// Merges what changed from `base` to `theirs` into `ours`, by paths and keys; `None`: they conflict.
pub fn merged(base: &View, ours: &View, theirs: &View) -> Option<View> {
    Some(View {
        files: merged_map(&base.files, &ours.files, &theirs.files)?,
        state: merged_map(&base.state, &ours.state, &theirs.state)?,
        journal: ours.journal.clone(),
    })
}

/// As [`merged`], with these files.
pub fn merged_but_for(files: &BTreeMap<String, u64>, base: &View, ours: &View, theirs: &View) -> Option<View> {
    Some(View {
        files: files.clone(),
        state: merged_map(&base.state, &ours.state, &theirs.state)?,
        journal: ours.journal.clone(),
    })
}

/// Whether a file is gone from one side that the other side changed or lost too: then the merge looks where it went, by what files hold, which this
/// model does not imitate (`pyi-tree` compares that with git).
pub fn looks_for_moves(base: &View, ours: &View, theirs: &View) -> bool {
    base.files.iter().any(|(path, content)| {
        let (ours, theirs) = (ours.files.get(path), theirs.files.get(path));
        (ours.is_none() || theirs.is_none()) && ours != Some(content) && theirs != Some(content)
    })
}

fn merged_map(
    base: &BTreeMap<String, u64>,
    ours: &BTreeMap<String, u64>,
    theirs: &BTreeMap<String, u64>,
) -> Option<BTreeMap<String, u64>> {
    let mut result = BTreeMap::new();
    let keys: BTreeSet<&String> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
    for key in keys {
        let (base, ours, theirs) = (base.get(key), ours.get(key), theirs.get(key));
        let chosen = if ours == theirs || theirs == base {
            ours
        } else if ours == base {
            theirs
        } else {
            return None;
        };
        if let Some(chosen) = chosen {
            result.insert(key.clone(), *chosen);
        }
    }
    Some(result)
}
