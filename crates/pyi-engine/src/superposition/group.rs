//! Superpositions that collapse together.
//!
//! A link says which candidates of two superpositions go with which. Links are kept on both sides and make a forest: one that would
//! close a ring has to say what follows from the others already, and is not kept then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pyi_cas::RefOutcome;
use pyi_tree::refs::{Link, SuperpositionRecord};

use super::desk::{self, Desk, Loaded, Plan};
use super::{ATTEMPTS, Superposition, check_choosable, check_living};
use crate::engine::now_ns;
use crate::{Error, Result, paths};

/// Which candidate of one superposition goes with which of another one.
pub(super) type Mapping = BTreeMap<u64, u64>;

/// What is linked with the superposition under `key`, however far away, each with the mapping from its candidates to theirs. One
/// that is not there any more is left out; its neighbours' mappings lead nowhere then.
pub(super) fn component(desk: &Desk<'_>, key: &str) -> Result<Vec<(Loaded, Mapping)>> {
    let Some(start) = desk.load(key)? else {
        return Ok(Vec::new());
    };
    let same: Mapping = (0..start.record.candidates.len() as u64)
        .map(|index| (index, index))
        .collect();
    let mut seen = BTreeSet::from([key.to_owned()]);
    let (mut found, mut at) = (vec![(start, same)], 0);
    while at < found.len() {
        for link in &found[at].0.record.clone().links {
            if !seen.insert(link.other.clone()) {
                continue;
            }
            let onward: Mapping = link.pairs.iter().copied().collect();
            let map = found[at]
                .1
                .iter()
                .filter_map(|(ours, via)| Some((*ours, *onward.get(via)?)));
            let map = map.collect();
            match desk.load(&link.other)? {
                Some(other) if other.record.collapsed.is_none() => found.push((other, map)),
                // Without it nothing can be chosen.
                _ => found.iter_mut().for_each(|(_, map)| map.clear()),
            }
        }
        at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Which candidate of each linked superposition is chosen together with candidate `index` of the first one.
pub(super) fn chosen_with(desk: &Desk<'_>, first: Loaded, index: usize) -> Result<Vec<(Loaded, usize)>> {
    let now_ns = now_ns();
    check_living(&first.record)?;
    check_choosable(&first.record, index, now_ns)?;
    let mut group = vec![(first, index)];
    let mut at = 0;
    while at < group.len() {
        let links = group[at].0.record.links.clone();
        let from = group[at].1;
        for link in links {
            if group.iter().any(|(known, _)| known.name == link.other) {
                continue;
            }
            let with = named(&link.other);
            let pair = link.pairs.iter().find(|(ours, _)| *ours == from as u64);
            let theirs = pair.and_then(|(_, theirs)| usize::try_from(*theirs).ok()).ok_or_else(|| {
                Error::conflict(format!(
                    "candidate {from} goes with none of {with}, so they cannot collapse together; entangle again with a mapping \
                     that has it"
                ))
            })?;
            let other = desk.load(&link.other)?.ok_or_else(|| {
                Error::conflict(format!(
                    "{with}, which this one collapses together with, is not there any more"
                ))
            })?;
            let cannot = |error: Error| Error::new(error.kind(), format!("in {with}: {error}"));
            check_living(&other.record).map_err(cannot)?;
            check_choosable(&other.record, theirs, now_ns).map_err(cannot)?;
            group.push((other, theirs));
        }
        at += 1;
    }
    Ok(group)
}

fn named(key: &str) -> String {
    if desk::is_local(key) {
        "the entangled superposition".to_owned()
    } else {
        format!("superposition {key:?}")
    }
}

/// A mapping as given: each number once on its side, and in range.
fn checked(mapping: Option<&[(usize, usize)]>, ours: usize, theirs: usize) -> Result<Mapping> {
    let Some(pairs) = mapping else {
        if ours != theirs {
            return Err(Error::invalid(format!(
                "{ours} candidates here and {theirs} there: say with mapping={{i: j}} which go together"
            )));
        }
        return Ok((0..ours as u64).map(|index| (index, index)).collect());
    };
    let (mut map, mut taken) = (Mapping::new(), BTreeSet::new());
    for (i, j) in pairs {
        if *i >= ours || *j >= theirs {
            return Err(Error::invalid(format!(
                "{i} with {j}: there are {ours} candidates here and {theirs} there, counted from 0"
            )));
        }
        let is_new = map.insert(*i as u64, *j as u64).is_none();
        if !taken.insert(*j) || !is_new {
            return Err(Error::invalid(format!(
                "{i} with {j}: a candidate goes with one other candidate only"
            )));
        }
    }
    if map.is_empty() {
        return Err(Error::invalid(
            "an empty mapping: no candidate could be chosen any more",
        ));
    }
    Ok(map)
}

/// The superpositions that this one was forked in, from the next one outwards.
fn outers(desk: &Desk<'_>, record: &SuperpositionRecord) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut outer = record.outer.clone();
    while let Some((name, _)) = outer {
        if found.contains(&name) {
            break;
        }
        outer = desk.load(&name)?.and_then(|one| one.record.outer.clone());
        found.push(name);
    }
    Ok(found)
}

fn linked(record: &SuperpositionRecord, other: &str, map: &Mapping) -> SuperpositionRecord {
    let mut record = record.clone();
    record.links.retain(|link| link.other != other);
    record.links.push(Link {
        other: other.to_owned(),
        pairs: map.iter().map(|(ours, theirs)| (*ours, *theirs)).collect(),
    });
    record
}

impl Superposition {
    /// Links two superpositions: they collapse together or not at all, in one step. `mapping` says which candidate here goes with which
    /// there (`None`: those of the same number); a candidate that goes with none cannot be chosen. Where `other` collapses
    /// because this one does, branch `onto` moves to its outcome; without one no branch does, and the outcome is kept under its name.
    /// Both have names, or neither. Once more with the same partner adds pairs.
    ///
    /// # Errors
    /// `InvalidArgument` for a mapping that is none, for a superposition with itself, for one with a name and one without; `Conflict`
    /// if what is entangled already says otherwise, if one was forked from a candidate of the other, or if one collapsed. Nothing changed
    /// then.
    pub fn entangle(
        &self,
        other: &Superposition,
        mapping: Option<&[(usize, usize)]>,
        onto: Option<&str>,
    ) -> Result<()> {
        if !Arc::ptr_eq(self.engine(), other.engine()) {
            return Err(Error::invalid(
                "the other superposition belongs to another repository: only those of one repository collapse together",
            ));
        }
        if self.key == other.key {
            return Err(Error::invalid("a superposition cannot be entangled with itself"));
        }
        if self.is_local() != other.is_local() {
            return Err(Error::invalid(
                "one has a name and the other has none, so that other processes could not see both; name both or neither",
            ));
        }
        if let Some(onto) = onto {
            paths::check_name("branch", onto)?;
        }
        for _ in 0..ATTEMPTS {
            // For the errors of handles that are out of date.
            for one in [self, other] {
                one.fresh()?.check_living()?;
            }
            let desk = Desk::for_key(self.engine(), &self.key);
            let (Some(ours), Some(theirs)) = (desk.load(&self.key)?, desk.load(&other.key)?) else {
                continue;
            };
            let plan = plan_link(&desk, &ours, &theirs, mapping, onto)?;
            if plan.is_empty() {
                return Ok(());
            }
            if desk.commit(plan)? == RefOutcome::Done {
                drop(desk);
                return self.engine().acknowledge(self.engine().durability);
            }
        }
        Err(desk::busy(&self.key))
    }
}

fn plan_link(
    desk: &Desk<'_>,
    ours: &Loaded,
    theirs: &Loaded,
    mapping: Option<&[(usize, usize)]>,
    onto: Option<&str>,
) -> Result<Plan> {
    check_living(&ours.record)?;
    check_living(&theirs.record)?;
    let mut map = checked(mapping, ours.record.candidates.len(), theirs.record.candidates.len())?;
    let group = component(desk, &ours.name)?;
    let direct = ours.record.links.iter().find(|link| link.other == theirs.name);
    let mut is_new = true;
    if let Some((_, known)) = group.iter().find(|(other, _)| other.name == theirs.name) {
        let contradicts = |(i, j): (&u64, &u64)| {
            let other = known.get(i);
            other.is_some_and(|known| known != j) || known.iter().any(|(a, b)| a != i && b == j)
        };
        let is_beyond = map.keys().any(|i| !known.contains_key(i));
        if map.iter().any(contradicts) || (is_beyond && direct.is_none()) {
            return Err(Error::conflict(
                "they are entangled already, and that says which candidates go together; this mapping says otherwise",
            ));
        }
        is_new = is_beyond;
        if let Some(direct) = direct {
            map.extend(direct.pairs.iter().copied());
        }
    } else {
        check_nesting(desk, ours, theirs, &group)?;
    }
    let mut plan = Plan::new(format!("entangle {}", ours.name.trim_start_matches('\0')));
    let turned: Mapping = map.iter().map(|(ours, theirs)| (*theirs, *ours)).collect();
    let mut changed = (*theirs.record).clone();
    if is_new {
        plan.replace(ours, linked(&ours.record, &theirs.name, &map));
        changed = linked(&changed, &ours.name, &turned);
    }
    if onto.is_some() {
        changed.onto = onto.map(str::to_owned);
    }
    if changed != *theirs.record {
        plan.replace(theirs, changed);
    }
    Ok(plan)
}

/// Refuses to link what cannot collapse together, as one was forked from a candidate of the other.
fn check_nesting(desk: &Desk<'_>, ours: &Loaded, theirs: &Loaded, group: &[(Loaded, Mapping)]) -> Result<()> {
    let others = component(desk, &theirs.name)?;
    let mut all = vec![ours, theirs];
    all.extend(group.iter().chain(&others).map(|(one, _)| one));
    let names: BTreeSet<&str> = all.iter().map(|one| one.name.as_str()).collect();
    for one in &all {
        if let Some(outer) = outers(desk, &one.record)?
            .iter()
            .find(|outer| names.contains(outer.as_str()))
        {
            return Err(Error::conflict(format!(
                "{} was forked from a candidate of {}, which it would have to collapse together with",
                named(&one.name),
                named(outer)
            )));
        }
    }
    Ok(())
}
