//! What superpositions should do, said again in few words: nothing here knows of records, keys or processes.

use std::collections::{BTreeMap, BTreeSet};

use pyi_engine::{Fate, Id};

/// When a candidate decays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deadline {
    Never,
    Later,
    Past,
}

#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) weight: f64,
    pub(super) deadline: Deadline,
    /// As recorded: one whose time is over may still be called living here.
    pub(super) recorded: Fate,
    /// Its last checkpoint, and what is written in it.
    pub(super) head: Id,
    pub(super) content: String,
    /// What was written since; dies with the process that wrote it.
    pub(super) dirty: Option<String>,
}

impl Candidate {
    pub(super) fn fate(&self) -> Fate {
        match self.recorded {
            Fate::Living if self.deadline == Deadline::Past => Fate::Decayed,
            fate => fate,
        }
    }

    pub(super) fn has_name(&self) -> bool {
        matches!(self.recorded, Fate::Living | Fate::Failed)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sup {
    pub(super) is_named: bool,
    pub(super) base: Id,
    /// When one that is added or renewed decays.
    pub(super) renewed: Deadline,
    pub(super) candidates: Vec<Candidate>,
    pub(super) links: BTreeMap<usize, BTreeMap<usize, usize>>,
    pub(super) outer: Option<(usize, usize)>,
    pub(super) onto: Option<String>,
    pub(super) is_collapsed: bool,
    pub(super) is_gone: bool,
}

impl Sup {
    pub(super) fn is_there(&self) -> bool {
        !self.is_collapsed && !self.is_gone
    }

    pub(super) fn is_living(&self) -> bool {
        let mut timed = self
            .candidates
            .iter()
            .filter(|one| matches!(one.recorded, Fate::Living | Fate::Decayed));
        let some = timed.clone().next().is_some();
        self.is_there() && !(some && timed.all(|one| one.deadline == Deadline::Past))
    }

    pub(super) fn choosable(&self, index: usize) -> bool {
        self.candidates.get(index).is_some_and(|one| one.fate() == Fate::Living)
    }

    /// Those whose time is over lose their names.
    pub(super) fn sweep(&mut self) {
        for one in &mut self.candidates {
            one.recorded = one.fate_if_living();
        }
    }
}

impl Candidate {
    fn fate_if_living(&self) -> Fate {
        if self.recorded == Fate::Living {
            self.fate()
        } else {
            self.recorded
        }
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) sups: Vec<Sup>,
    pub(super) branches: BTreeMap<String, Id>,
}

/// What a collapse does: winners by superposition, and superpositions that go along.
pub(super) struct Collapse {
    pub(super) winners: BTreeMap<usize, usize>,
    pub(super) gone: BTreeSet<usize>,
}

impl Model {
    /// What is linked with `sup`, directly or not, with the mapping there.
    pub(super) fn component(&self, sup: usize) -> BTreeMap<usize, BTreeMap<usize, usize>> {
        let same: BTreeMap<usize, usize> = (0..self.sups[sup].candidates.len()).map(|at| (at, at)).collect();
        let mut found = BTreeMap::from([(sup, same)]);
        let mut waiting = vec![sup];
        while let Some(next) = waiting.pop() {
            let here: BTreeMap<usize, usize> = found[&next].clone();
            for (other, pairs) in &self.sups[next].links {
                if !found.contains_key(other) {
                    let map = here.iter().filter_map(|(from, via)| Some((*from, *pairs.get(via)?)));
                    found.insert(*other, map.collect());
                    waiting.push(*other);
                }
            }
        }
        found.remove(&sup);
        found
    }

    pub(super) fn inner(&self, sup: usize, meant: impl Fn(usize) -> bool) -> Vec<usize> {
        let is_inner = |at: &usize| {
            let one = &self.sups[*at];
            one.is_there() && one.outer.is_some_and(|(outer, index)| outer == sup && meant(index))
        };
        (0..self.sups.len()).filter(is_inner).collect()
    }

    pub(super) fn below(&self, first: Vec<usize>) -> BTreeSet<usize> {
        let (mut all, mut waiting) = (BTreeSet::new(), first);
        while let Some(next) = waiting.pop() {
            if all.insert(next) {
                waiting.extend(self.inner(next, |_| true));
            }
        }
        all
    }

    /// Whether nothing of these is linked with something that stays.
    pub(super) fn may_go(&self, gone: &BTreeSet<usize>, also: &BTreeSet<usize>) -> bool {
        let mut links = gone.iter().flat_map(|one| self.sups[*one].links.keys());
        links.all(|other| gone.contains(other) || also.contains(other))
    }

    /// What choosing this candidate would do; `None` if it is refused. `branch` is where the first one goes.
    pub(super) fn collapse(&self, sup: usize, index: usize, branch: Option<&str>) -> Option<Collapse> {
        let mut winners = BTreeMap::from([(sup, index)]);
        for (other, map) in self.component(sup) {
            winners.insert(other, *map.get(&index)?);
        }
        let mut branches = BTreeSet::new();
        let mut losers = Vec::new();
        for (one, index) in &winners {
            let this = &self.sups[*one];
            if !this.is_living() || !this.choosable(*index) {
                return None;
            }
            let onto = if *one == sup { branch } else { this.onto.as_deref() };
            if let Some(onto) = onto {
                let stands = self.branches.get(onto);
                if !branches.insert(onto) || stands.is_some_and(|id| *id != this.base) {
                    return None;
                }
            }
            if self
                .inner(*one, |at| at == *index)
                .iter()
                .any(|inner| self.sups[*inner].is_living())
            {
                return None;
            }
            losers.extend(self.inner(*one, |at| at != *index));
        }
        let (gone, together) = (self.below(losers), winners.keys().copied().collect());
        self.may_go(&gone, &together).then_some(Collapse { winners, gone })
    }

    pub(super) fn let_go(&mut self, gone: &BTreeSet<usize>) {
        for one in gone {
            self.sups[*one].is_gone = true;
        }
        for sup in &mut self.sups {
            sup.links.retain(|other, _| !gone.contains(other));
        }
    }

    /// The outer ones of this one.
    fn outers(&self, sup: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut at = self.sups[sup].outer;
        while let Some((outer, _)) = at {
            if !found.insert(outer) || !self.sups[outer].is_there() {
                break;
            }
            at = self.sups[outer].outer;
        }
        found
    }

    /// The links that an entanglement makes; `None` if it is refused.
    pub(super) fn entangle(&self, a: usize, b: usize, map: &BTreeMap<usize, usize>) -> Option<BTreeMap<usize, usize>> {
        let (ours, theirs) = (&self.sups[a], &self.sups[b]);
        let is_injective = map.values().collect::<BTreeSet<_>>().len() == map.len();
        let fits = map
            .iter()
            .all(|(i, j)| *i < ours.candidates.len() && *j < theirs.candidates.len());
        if a == b || ours.is_named != theirs.is_named || !ours.is_living() || !theirs.is_living() {
            return None;
        }
        if map.is_empty() || !is_injective || !fits {
            return None;
        }
        let known = self.component(a);
        let direct = ours.links.get(&b);
        if let Some(known) = known.get(&b) {
            let agrees = |(i, j): (&usize, &usize)| {
                known.get(i).is_none_or(|known| known == j) && !known.iter().any(|(x, y)| x != i && y == j)
            };
            let is_beyond = map.keys().any(|i| !known.contains_key(i));
            if !map.iter().all(agrees) || (is_beyond && direct.is_none()) {
                return None;
            }
            return Some(match direct {
                Some(direct) => direct.iter().chain(map).map(|(i, j)| (*i, *j)).collect(),
                None => BTreeMap::new(),
            });
        }
        let mut all: BTreeSet<usize> = known.into_keys().chain(self.component(b).into_keys()).collect();
        all.extend([a, b]);
        let is_nested = all
            .iter()
            .any(|one| self.outers(*one).iter().any(|outer| all.contains(outer)));
        (!is_nested).then(|| map.clone())
    }
}
