//! Comparing what a process sees with the model.

use std::collections::BTreeMap;

use pyi_engine::Fate;

use super::model::Candidate;
use super::run::World;

impl World {
    /// Compares what a process sees with the model.
    pub(super) fn check(&mut self, process: usize) {
        let repository = self.processes[process].repository.clone();
        let mine = |names: Vec<String>| -> Vec<String> {
            names.into_iter().filter(|name| name.starts_with(&self.tag)).collect()
        };
        let sups = &self.model.sups;
        let mut living: Vec<String> = (0..sups.len())
            .filter(|at| sups[*at].is_named && sups[*at].is_living())
            .map(|at| self.names[at].clone())
            .collect();
        living.sort();
        assert_eq!(mine(repository.superpositions().unwrap()), living);
        let there = sups.iter().filter(|sup| sup.is_named && sup.is_there());
        let candidates = there.flat_map(|sup| sup.candidates.iter().filter(|one| one.has_name()));
        let mut names: Vec<String> = candidates.map(|one| one.name.clone()).collect();
        names.sort();
        assert_eq!(
            mine(repository.workspaces().unwrap()),
            names,
            "no candidate is lost, none is kept"
        );
        let branches = repository.branches().unwrap();
        let branches: BTreeMap<_, _> = branches
            .into_iter()
            .filter(|(name, _)| name.starts_with(&self.tag))
            .collect();
        assert_eq!(branches, self.model.branches);
        for at in 0..self.model.sups.len() {
            let Some(handle) = self.handle(process, at) else {
                continue;
            };
            let sup = &self.model.sups[at];
            if !sup.is_there() {
                assert!(handle.collapse(0, "never").is_err());
                // Once the name has been given again, an outcome that this handle had not seen is forgotten.
                if self.is_latest(at) {
                    assert_eq!(handle.outcome().unwrap().is_some(), sup.is_collapsed);
                }
                continue;
            }
            let fates: Vec<Fate> = sup.candidates.iter().map(Candidate::fate).collect();
            assert_eq!(handle.fates().unwrap(), fates, "{}", self.names[at]);
            let weight = |one: &Candidate| if one.fate() == Fate::Living { one.weight } else { 0.0 };
            assert_eq!(
                handle.weights().unwrap(),
                sup.candidates.iter().map(weight).collect::<Vec<_>>()
            );
            let mut linked: Vec<String> = sup.links.keys().map(|other| self.names[*other].clone()).collect();
            linked.retain(|_| sup.is_named);
            linked.sort();
            assert_eq!(handle.entangled().unwrap(), linked);
            for (index, one) in sup
                .candidates
                .iter()
                .enumerate()
                .filter(|(_, one)| one.has_name() && sup.is_named)
            {
                let read = repository.view_workspace(&one.name).unwrap().read(b"v").unwrap();
                let content = one
                    .dirty
                    .as_ref()
                    .filter(|_| self.writer(at, index) == process)
                    .unwrap_or(&one.content);
                assert_eq!(read, content.as_bytes(), "{}", one.name);
            }
        }
    }
}
