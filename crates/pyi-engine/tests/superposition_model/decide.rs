//! Deciding, by one process or by both at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyi_engine::{Id, Onto, Superposition};

use super::model::Collapse;
use super::run::{Counts, World};

impl World {
    fn contents(&self, process: usize, winners: &BTreeMap<usize, usize>) -> BTreeMap<usize, String> {
        let content = |(sup, index): (&usize, &usize)| {
            let candidate = &self.model.sups[*sup].candidates[*index];
            let here = candidate.dirty.clone().filter(|_| self.writer(*sup, *index) == process);
            (*sup, here.unwrap_or_else(|| candidate.content.clone()))
        };
        winners.iter().map(content).collect()
    }

    /// What was checkpointed on the way to a collapse that was refused.
    fn resync(&mut self) {
        for sup in 0..self.model.sups.len() {
            for index in 0..self.model.sups[sup].candidates.len() {
                let candidate = &self.model.sups[sup].candidates[index];
                let is_there = self.model.sups[sup].is_there() && candidate.has_name();
                if candidate.dirty.is_none() || !is_there {
                    continue;
                }
                let workspace = self.workspace(sup, index);
                let candidate = &mut self.model.sups[sup].candidates[index];
                if let (false, Some(text)) = (workspace.is_dirty(), candidate.dirty.clone()) {
                    (candidate.head, candidate.content, candidate.dirty) = (*workspace.head().id(), text, None);
                }
            }
        }
    }

    pub(super) fn collapse(&mut self, process: usize, sup: usize, counts: &mut Counts) {
        let Some(handle) = self.handle(process, sup) else {
            return;
        };
        let process = if self.model.sups[sup].is_named { process } else { 0 };
        let index = if self.rng.one_in(4) {
            self.some_candidate(sup)
        } else {
            handle.observe(Some(self.rng.next())).unwrap_or(0)
        };
        let branch = self.branch();
        self.trace.push(format!(
            "collapse {}/{index} onto {branch} in {process}",
            self.names[sup]
        ));
        let may = self.model.collapse(sup, index, Some(&branch));
        let result = handle.collapse(index, &branch);
        assert_eq!(result.is_ok(), may.is_some(), "{:?}", result.err());
        let Ok(result) = result else {
            counts.refused += 1;
            return self.resync();
        };
        counts.collapsed += 1;
        self.collapsed(process, may.unwrap(), Some((sup, &branch, *result.id())));
    }

    fn collapsed(&mut self, process: usize, what: Collapse, first: Option<(usize, &str, Id)>) {
        let contents = self.contents(process, &what.winners);
        let repository = &self.processes[process].repository;
        let branches = repository.branches().unwrap();
        for (sup, content) in contents {
            let this = &mut self.model.sups[sup];
            let branch = match first {
                Some((first, branch, id)) if first == sup => {
                    assert_eq!(branches[branch], id);
                    Some(branch.to_owned())
                }
                _ => this.onto.clone(),
            };
            this.is_collapsed = true;
            this.links.clear();
            if let Some(branch) = branch {
                let id = branches[&branch];
                let now = repository.workspace_at(id).unwrap().read(b"v").unwrap();
                assert_eq!(now, content.as_bytes(), "{branch}");
                self.model.branches.insert(branch, id);
            }
        }
        self.model.let_go(&what.gone);
        self.check(process);
    }

    /// Onto the candidate that it was forked from.
    pub(super) fn collapse_inner(&mut self, sup: usize, counts: &mut Counts) {
        let Some((outer, at)) = self.model.sups[sup].outer else {
            return;
        };
        let target = self.model.sups[outer].candidates[at].clone();
        if !self.model.sups[outer].is_there() || !target.has_name() {
            return;
        }
        let process = self.writer(outer, at);
        let Some(handle) = self.handle(process, sup) else {
            return;
        };
        let index = self.some_candidate(sup);
        self.trace.push(format!(
            "collapse {}/{index} onto its base in {process}",
            self.names[sup]
        ));
        let is_free = target.dirty.is_none() && target.head == self.model.sups[sup].base;
        let may = self.model.collapse(sup, index, None).filter(|_| is_free);
        let workspace = self.workspace(outer, at);
        let result = handle.collapse_onto(index, Onto::Workspace(&workspace));
        assert_eq!(result.is_ok(), may.is_some(), "{:?}", result.err());
        let Ok(result) = result else {
            counts.refused += 1;
            return self.resync();
        };
        counts.collapsed += 1;
        let what = may.unwrap();
        let content = self.contents(process, &what.winners)[&sup].clone();
        let target = &mut self.model.sups[outer].candidates[at];
        (target.head, target.content) = (*result.id(), content.clone());
        assert_eq!(workspace.read(b"v").unwrap(), content.as_bytes());
        // A branch that an earlier link said is for when another one takes it along.
        let onto = self.model.sups[sup].onto.take();
        self.collapsed(process, what, None);
        self.model.sups[sup].onto = onto;
    }

    /// Both processes decide at the same time.
    pub(super) fn race(&mut self, sup: usize, counts: &mut Counts) {
        // What one of them has not checkpointed yet comes along or not, depending on which is first.
        let mut candidates = self.model.sups.iter().flat_map(|sup| &sup.candidates);
        if !self.model.sups[sup].is_named || candidates.any(|one| one.dirty.is_some()) {
            return;
        }
        let (Some(here), Some(there)) = (self.handle(0, sup), self.handle(1, sup)) else {
            return;
        };
        counts.races += 1;
        let choices = [0, 1].map(|_| (self.some_candidate(sup), self.branch()));
        self.trace.push(format!("race {} {choices:?}", self.names[sup]));
        let may = [0, 1].map(|at: usize| self.model.collapse(sup, choices[at].0, Some(&choices[at].1)));
        let expected = usize::from(may.iter().any(Option::is_some));
        let results = std::thread::scope(|scope| {
            let run = |handle: Arc<Superposition>, at: usize| {
                let (index, branch) = choices[at].clone();
                scope.spawn(move || handle.collapse(index, &branch))
            };
            [run(here, 0), run(there, 1)].map(|thread| thread.join().unwrap())
        });
        assert_eq!(results.iter().filter(|one| one.is_ok()).count(), expected, "one winner");
        for ((at, result), may) in results.into_iter().enumerate().zip(may) {
            if let Ok(result) = result {
                counts.collapsed += 1;
                let what = may.expect("only what is allowed wins");
                self.collapsed(at, what, Some((sup, &choices[at].1, *result.id())));
            }
        }
        self.resync();
    }
}
