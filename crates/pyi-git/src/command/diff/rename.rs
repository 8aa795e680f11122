//! Files that were moved: what was removed and what was added, paired by how alike they are.
//!
//! First equal contents, then equal base names that are alike enough, then whatever is most alike.

use std::collections::HashMap;

use super::Pair;
use super::similarity::{FULL, HALF, Pieces, may_be_alike, score};
use crate::command::{Call, Run, Version};

/// More files than this, squared, are compared with equal contents only.
const LIMIT: usize = 1000;
/// Best matches that are kept for each added file.
pub(crate) const KEPT: usize = 4;
/// More equal contents than this are not searched for the best name.
const EQUAL_MAX: usize = 100;

/// How to look.
pub(crate) struct Renames {
    pub(crate) minimum: u32,
    /// Whether base names that stand once on each side are tried first.
    pub(crate) basenames: bool,
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

struct Search<'c, 'call> {
    call: &'c mut Call<'call>,
    /// What was removed, and whether a new file took it.
    old: Vec<(Pair, bool)>,
    /// What was added, and which old one it is, with a score.
    new: Vec<(Pair, Option<(usize, u32)>)>,
    pieces: HashMap<(bool, usize), Pieces>,
    /// Sizes of the old contents and of the new ones, as far as they were asked for.
    sizes: [Vec<Option<u64>>; 2],
}

/// The pairs with renames in the place of what was removed and added.
pub(crate) fn find_renames(call: &mut Call<'_>, pairs: Vec<Pair>, how: &Renames) -> Run<Vec<Pair>> {
    let removed = pairs.iter().any(|pair| pair.new.is_none());
    let added = pairs.iter().any(|pair| pair.old.is_none());
    if !removed || !added {
        return Ok(pairs);
    }
    let (mut old, mut new, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for pair in pairs {
        match (&pair.old, &pair.new) {
            (Some(_), None) => old.push((pair, false)),
            (None, Some(_)) => new.push((pair, None)),
            _ => rest.push(pair),
        }
    }
    let mut search = Search {
        call,
        sizes: [vec![None; old.len()], vec![None; new.len()]],
        old,
        new,
        pieces: HashMap::new(),
    };
    search.equal()?;
    let (left_old, left_new) = search.left();
    if left_old > 0 && left_new > 0 && how.minimum < FULL {
        if how.basenames {
            search.same_base_names(how.minimum + (FULL - how.minimum) / 2)?;
        }
        let (left_old, left_new) = search.left();
        if left_old * left_new <= LIMIT * LIMIT {
            search.alike(how.minimum)?;
        }
    }
    let Search { old, new, .. } = search;
    for (pair, found) in &new {
        let from = found.and_then(|(at, score)| Some((old.get(at)?, score)));
        rest.push(match from {
            Some(((from, _), score)) => Pair {
                old_path: from.old_path.clone(),
                old: from.old.clone(),
                score,
                renamed: true,
                ..pair.clone()
            },
            None => pair.clone(),
        });
    }
    rest.extend(old.into_iter().filter(|(_, taken)| !taken).map(|(pair, _)| pair));
    rest.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(rest)
}

impl Search<'_, '_> {
    fn left(&self) -> (usize, usize) {
        let old = self.old.iter().filter(|(_, taken)| !taken).count();
        (old, self.new.iter().filter(|(_, found)| found.is_none()).count())
    }

    fn take(&mut self, old: usize, new: usize, score: u32) {
        if let (Some((_, taken)), Some((_, found))) = (self.old.get_mut(old), self.new.get_mut(new)) {
            *taken = true;
            *found = Some((old, score));
        }
    }

    fn equal(&mut self) -> Run<()> {
        let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, (pair, _)) in self.old.iter().enumerate() {
            if let Some(version) = &pair.old {
                by_name.entry(self.call.site.name(version)?).or_default().push(at);
            }
        }
        for new in 0..self.new.len() {
            let Some((pair, _)) = self.new.get(new) else { continue };
            let Some(version) = pair.new.clone() else { continue };
            let path = pair.new_path.clone();
            let name = self.call.site.name(&version)?;
            let mut best: Option<(usize, u32)> = None;
            for &at in by_name.get(&name).into_iter().flatten().take(EQUAL_MAX) {
                let Some((old, taken)) = self.old.get(at) else { continue };
                let Some(before) = &old.old else { continue };
                let regular = before.kind() == 0o100_000 && version.kind() == 0o100_000;
                if *taken || (!regular && before.mode != version.mode) {
                    continue;
                }
                let score = 1 + u32::from(base_name(&old.old_path) == base_name(&path));
                if best.is_none_or(|(_, known)| score > known) {
                    best = Some((at, score));
                }
            }
            if let Some((at, _)) = best {
                self.take(at, new, FULL);
            }
        }
        Ok(())
    }

    fn score(&mut self, old: usize, new: usize, minimum: u32) -> Run<u32> {
        let (Some((from, _)), Some((to, _))) = (self.old.get(old), self.new.get(new)) else {
            return Ok(0);
        };
        let (Some(before), Some(after)) = (&from.old, &to.new) else {
            return Ok(0);
        };
        if before.kind() != 0o100_000 || after.kind() != 0o100_000 {
            return Ok(0);
        }
        let [old_sizes, new_sizes] = &mut self.sizes;
        let (mut before_bytes, mut after_bytes) = (0, 0);
        for (sizes, at, version, size_bytes) in [
            (old_sizes, old, before, &mut before_bytes),
            (new_sizes, new, after, &mut after_bytes),
        ] {
            let Some(known) = sizes.get_mut(at) else { continue };
            *size_bytes = match *known {
                Some(known) => known,
                None => *known.insert(self.call.site.size(version)?),
            };
        }
        if !may_be_alike(before_bytes, after_bytes, minimum) {
            return Ok(0);
        }
        let (before, after) = (before.clone(), after.clone());
        self.prepare((false, old), &before)?;
        self.prepare((true, new), &after)?;
        match (self.pieces.get(&(false, old)), self.pieces.get(&(true, new))) {
            (Some(a), Some(b)) => Ok(score(a, before_bytes, b, after_bytes)),
            _ => Ok(0),
        }
    }

    fn prepare(&mut self, key: (bool, usize), version: &Version) -> Run<()> {
        if !self.pieces.contains_key(&key) {
            let content = self.call.site.content(version)?;
            self.pieces.insert(key, Pieces::of(&content));
        }
        Ok(())
    }

    fn same_base_names(&mut self, minimum: u32) -> Run<()> {
        let mut old: HashMap<Vec<u8>, Option<usize>> = HashMap::new();
        let mut new: HashMap<Vec<u8>, Option<usize>> = HashMap::new();
        for (at, (pair, taken)) in self.old.iter().enumerate() {
            if !taken {
                let unique = old.entry(base_name(&pair.old_path).to_vec());
                unique.and_modify(|known| *known = None).or_insert(Some(at));
            }
        }
        for (at, (pair, found)) in self.new.iter().enumerate() {
            if found.is_none() {
                let unique = new.entry(base_name(&pair.new_path).to_vec());
                unique.and_modify(|known| *known = None).or_insert(Some(at));
            }
        }
        for at in 0..self.old.len() {
            let Some((pair, false)) = self.old.get(at) else {
                continue;
            };
            let name = base_name(&pair.old_path);
            if let (Some(Some(from)), Some(Some(to))) = (old.get(name), new.get(name))
                && *from == at
            {
                let to = *to;
                let score = self.score(at, to, minimum)?;
                if score >= minimum {
                    self.take(at, to, score);
                }
            }
        }
        Ok(())
    }

    fn alike(&mut self, minimum: u32) -> Run<()> {
        // (score, same base name, new, old)
        let mut all: Vec<(u32, bool, usize, usize)> = Vec::new();
        for new in 0..self.new.len() {
            if !matches!(self.new.get(new), Some((_, None))) {
                continue;
            }
            let mut kept: Vec<(u32, bool, usize, usize)> = Vec::new();
            for old in 0..self.old.len() {
                let Some((pair, false)) = self.old.get(old) else {
                    continue;
                };
                let same = self
                    .new
                    .get(new)
                    .is_some_and(|(to, _)| base_name(&pair.old_path) == base_name(&to.new_path));
                let score = self.score(old, new, minimum)?;
                let one = (score, same, new, old);
                if kept.len() < KEPT {
                    kept.push(one);
                    continue;
                }
                let worst = kept
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, known)| (known.0, known.1))
                    .map(|(at, _)| at);
                if let Some(worst) = worst.and_then(|at| kept.get_mut(at))
                    && (one.0, one.1) > (worst.0, worst.1)
                {
                    *worst = one;
                }
            }
            all.extend(kept);
        }
        all.sort_by_key(|one| std::cmp::Reverse((one.0, one.1)));
        for (score, _, new, old) in all {
            if score < minimum {
                break;
            }
            let free = matches!(self.new.get(new), Some((_, None))) && matches!(self.old.get(old), Some((_, false)));
            if free {
                self.take(old, new, score);
            }
        }
        Ok(())
    }
}

/// How many files are as much like another one as this. O(contents of a similar size).
pub(crate) fn count_alike<'v>(
    call: &mut Call<'_>,
    new: &Version,
    others: impl Iterator<Item = &'v Version>,
    minimum: u32,
) -> Run<usize> {
    if new.kind() != 0o100_000 {
        return Ok(0);
    }
    let size_bytes = call.site.size(new)?;
    let pieces = Pieces::of(&call.site.content(new)?);
    let mut count = 0;
    for other in others.filter(|other| other.kind() == 0o100_000) {
        let other_bytes = call.site.size(other)?;
        if may_be_alike(other_bytes, size_bytes, minimum) {
            let other = Pieces::of(&call.site.content(other)?);
            count += usize::from(score(&other, other_bytes, &pieces, size_bytes) >= minimum);
        }
    }
    Ok(count)
}

/// The ordinary way.
impl Default for Renames {
    fn default() -> Self {
        Renames {
            minimum: HALF,
            basenames: true,
        }
    }
}
