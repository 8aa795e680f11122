//! Choosing without deciding.

use pyi_tree::refs::{CandidateRecord, Fate, SuperpositionRecord};

use super::desk::Desk;
use super::{Superposition, fate_at};
use crate::engine::now_ns;
use crate::{Error, Result};

/// A random number from a seed (splitmix64; Steele, Lea, Flood, 2014), as a float from 0 to below 1.
fn sample(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Superposition {
    /// Chooses without collapsing: the candidate of the greatest weight (of equals the first), or with a seed one drawn with
    /// probability proportional to its weight, always the same for the same seed and weights. Only those count that can be chosen,
    /// here and in every superposition that collapses together with this one. O(candidates).
    ///
    /// # Errors
    /// `Conflict` after the collapse, or if no candidate is left; `InvalidArgument` if all weights are 0.
    pub fn observe(&self, seed: Option<u64>) -> Result<usize> {
        let record = {
            let cache = self.fresh()?;
            cache.check_living()?;
            cache.record.clone()
        };
        let weights = self.chances(&record)?;
        choose(&weights, seed)
    }

    /// The weight of each candidate, `None` for those that cannot be chosen.
    fn chances(&self, record: &SuperpositionRecord) -> Result<Vec<Option<f64>>> {
        let now_ns = now_ns();
        let weight = |one: &CandidateRecord| (fate_at(one, now_ns) == Fate::Living).then_some(one.weight);
        let mut weights: Vec<Option<f64>> = record.candidates.iter().map(weight).collect();
        if !record.links.is_empty() {
            let desk = Desk::for_key(self.engine(), &self.key);
            let partners = super::group::component(&desk, &self.key)?;
            for (index, weight) in weights.iter_mut().enumerate() {
                let has_all = partners.iter().all(|(partner, map)| {
                    let theirs = map.get(&(index as u64)).and_then(|at| usize::try_from(*at).ok());
                    let theirs = theirs.and_then(|at| partner.record.candidates.get(at));
                    theirs.is_some_and(|one| fate_at(one, now_ns) == Fate::Living)
                });
                *weight = weight.filter(|_| has_all);
            }
        }
        Ok(weights)
    }
}

fn choose(weights: &[Option<f64>], seed: Option<u64>) -> Result<usize> {
    let chances = || {
        weights
            .iter()
            .enumerate()
            .filter_map(|(index, weight)| Some((index, (*weight)?)))
    };
    if chances().next().is_none() {
        return Err(Error::conflict(
            "no candidate is left that can be chosen: all failed, decayed or were pruned; add one",
        ));
    }
    let total: f64 = chances().map(|(_, weight)| weight).sum();
    if total <= 0.0 {
        return Err(Error::invalid(
            "every weight is 0, so none can be chosen; weigh a candidate first",
        ));
    }
    if let Some(seed) = seed {
        let mut left = sample(seed) * total;
        for (index, weight) in chances() {
            left -= weight;
            if left < 0.0 {
                return Ok(index);
            }
        }
    }
    let (mut best, mut most) = (0, f64::NEG_INFINITY);
    for (index, weight) in chances() {
        if weight > most {
            (best, most) = (index, weight);
        }
    }
    Ok(best)
}
