//! Which commits a client lacks: from what it wants, back to what it has, or as far as it wants to see.

use std::collections::{BinaryHeap, VecDeque};

use pyi_git::oid_set::{OidMap, OidSet};
use pyi_git::remote::fetch::{Deepen, FetchRequest};
use pyi_git::{ObjectKind, Oid};

use super::GitRemote;
use crate::{Error, Result};

const WANTED: u8 = 1;
const HAD: u8 = 2;
const QUEUED: u8 = 4;
const SEEN_WANTED: u8 = 8;
const SEEN_HAD: u8 = 16;

/// Commits to send, and where history is cut.
#[derive(Default)]
pub(crate) struct Commits {
    /// What the client lacks, children before parents as far as dates tell.
    pub(crate) list: Vec<Oid>,
    /// What was seen of what the client has.
    pub(crate) had: OidSet,
    /// Commits that are sent without their parents, which the client must know.
    pub(crate) shallow: Vec<Oid>,
    /// Commits of which the client now gets the parents.
    pub(crate) unshallow: Vec<Oid>,
    /// All at which the history that is sent is cut.
    cut: OidSet,
}

impl Commits {
    /// Whether the parents of a commit are not sent.
    pub(crate) fn is_cut(&self, oid: &Oid) -> bool {
        self.cut.contains(oid)
    }
}

impl GitRemote {
    /// The commits of a request. `wants` and `haves` are commits that are there. O(commits between).
    pub(crate) fn select_commits(&self, request: &FetchRequest, wants: &[Oid], haves: &[Oid]) -> Result<Commits> {
        let client: OidSet = request.shallow.iter().copied().collect();
        let mut commits = Commits::default();
        if request.deepen == Deepen::No {
            commits.cut.clone_from(&client);
        } else {
            self.cut_history(request, wants, &client, &mut commits)?;
        }
        let mut paint = Paint {
            remote: self,
            flags: OidMap::default(),
            queue: BinaryHeap::new(),
            open: 0,
            // What the client has of a commit whose history is cut is no reason not to send what lies behind.
            through: request.deepen != Deepen::No,
        };
        for want in wants {
            paint.mark(want, WANTED)?;
        }
        for have in haves {
            paint.mark(have, HAD)?;
        }
        paint.run(&commits.cut, &client, &mut commits.list)?;
        commits
            .list
            .retain(|oid| paint.flags.get(oid).is_some_and(|flags| flags & HAD == 0));
        commits.had = paint
            .flags
            .iter()
            .filter(|(_, flags)| **flags & HAD != 0)
            .map(|(oid, _)| *oid)
            .collect();
        Ok(commits)
    }

    /// Finds where the wanted history ends.
    fn cut_history(&self, request: &FetchRequest, wants: &[Oid], client: &OidSet, commits: &mut Commits) -> Result<()> {
        let mut inside = OidSet::default();
        match request.deepen {
            Deepen::Depth(depth) => {
                let relative = request.deepen_relative && !client.is_empty();
                let mut starts: Vec<Oid> = wants.to_vec();
                let mut depth = depth;
                // What the client has whole stays so, however near it is to another end of its history.
                let mut whole = OidSet::default();
                if relative {
                    self.reach(wants, &mut whole, &|oid, _| !client.contains(oid))?;
                    whole.retain(|oid| !client.contains(oid));
                    // Counted from where the client's history ends, in what is wanted.
                    self.reach(wants, &mut inside, &|_, _| true)?;
                    starts = client.iter().filter(|oid| inside.contains(*oid)).copied().collect();
                    depth = depth.saturating_add(1);
                }
                let mut levels: OidMap<u32> = OidMap::default();
                let mut queue: VecDeque<(Oid, u32)> = starts.into_iter().map(|oid| (oid, 1)).collect();
                while let Some((oid, level)) = queue.pop_front() {
                    if levels.get(&oid).is_some_and(|known| *known <= level) {
                        continue;
                    }
                    levels.insert(oid, level);
                    let parents = &self.commit(&oid)?.parents;
                    if level < depth {
                        queue.extend(parents.iter().map(|parent| (*parent, level + 1)));
                    }
                }
                for (oid, level) in &levels {
                    if *level >= depth && !whole.contains(oid) && !self.commit(oid)?.parents.is_empty() {
                        commits.cut.insert(*oid);
                    }
                }
                if relative {
                    inside.clear();
                    let cut = &commits.cut;
                    self.reach(wants, &mut inside, &|oid, _| !cut.contains(oid))?;
                } else {
                    inside = levels.into_keys().collect();
                }
            }
            Deepen::Since(_) | Deepen::Not => {
                let mut hidden = OidSet::default();
                if !request.deepen_not.is_empty() {
                    let offer = self.offer(&|_| true)?;
                    let hide = request.deepen_not.iter().map(|name| {
                        let full = [b"refs/heads/", b"refs/tags/".as_slice()].map(|prefix| [prefix, name].concat());
                        let found = offer.find(name).or(offer.find(&full[0])).or(offer.find(&full[1]));
                        let found = found.ok_or_else(|| {
                            Error::git(format!("deepen-not is not a ref: {}", String::from_utf8_lossy(name)))
                        })?;
                        Ok(found.peeled.unwrap_or(found.oid))
                    });
                    let hide: Vec<Oid> = hide.collect::<Result<_>>()?;
                    self.reach(&hide, &mut hidden, &|_, _| true)?;
                }
                let since = match request.deepen {
                    Deepen::Since(seconds) => seconds,
                    _ => i64::MIN,
                };
                let is_in = |oid: &Oid, seconds: i64| seconds >= since && !hidden.contains(oid);
                let mut waiting = wants.to_vec();
                while let Some(oid) = waiting.pop() {
                    let info = self.commit(&oid)?;
                    if !is_in(&oid, info.seconds) || !inside.insert(oid) {
                        continue;
                    }
                    for parent in &info.parents {
                        if is_in(parent, self.commit(parent)?.seconds) {
                            waiting.push(*parent);
                        } else {
                            commits.cut.insert(oid);
                        }
                    }
                }
            }
            Deepen::No => {}
        }
        if inside.is_empty() && !wants.is_empty() && matches!(request.deepen, Deepen::Since(_) | Deepen::Not) {
            return Err(Error::git("no commits selected for shallow requests"));
        }
        let mut shallow: Vec<Oid> = commits.cut.difference(client).copied().collect();
        shallow.sort_unstable();
        let unshallow = client
            .iter()
            .filter(|oid| inside.contains(*oid) && !commits.cut.contains(*oid));
        let mut unshallow: Vec<Oid> = unshallow.copied().collect();
        unshallow.sort_unstable();
        (commits.shallow, commits.unshallow) = (shallow, unshallow);
        Ok(())
    }

    /// Adds what is reachable to `seen`; `follow` says whether to go on to the parents of a commit.
    fn reach(&self, from: &[Oid], seen: &mut OidSet, follow: &dyn Fn(&Oid, i64) -> bool) -> Result<()> {
        let mut waiting = from.to_vec();
        while let Some(oid) = waiting.pop() {
            if !seen.insert(oid) {
                continue;
            }
            let info = self.commit(&oid)?;
            if follow(&oid, info.seconds) {
                waiting.extend(&info.parents);
            }
        }
        Ok(())
    }

    /// Whether every wanted commit has one of the common ones before it, so that nothing is gained by asking for more.
    /// O(commits not older than the common ones).
    pub(crate) fn is_enough(&self, wants: &[Oid], common: &[Oid]) -> Result<bool> {
        let Some(oldest) = (common.iter().map(|oid| self.commit(oid).map(|info| info.seconds)))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .min()
        else {
            return Ok(false);
        };
        let common: OidSet = common.iter().copied().collect();
        'wants: for want in wants {
            let mut seen = OidSet::default();
            let mut waiting = vec![*want];
            while let Some(oid) = waiting.pop() {
                if common.contains(&oid) {
                    continue 'wants;
                }
                if !seen.insert(oid) {
                    continue;
                }
                let info = self.commit(&oid)?;
                if info.seconds >= oldest {
                    waiting.extend(&info.parents);
                }
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// Commits, behind tags too, among objects that are there; the others are left out.
    pub(crate) fn commits_among(&self, oids: &[Oid]) -> Result<Vec<Oid>> {
        let mut commits = Vec::with_capacity(oids.len());
        for oid in oids {
            if self.shared.infos.lock().has(oid) {
                commits.push(*oid);
                continue;
            }
            let oid = self.peel(oid)?.unwrap_or(*oid);
            if self.info(&oid)?.is_some_and(|(kind, _)| kind == ObjectKind::Commit) {
                commits.push(oid);
            }
        }
        Ok(commits)
    }
}

/// Two colours that run down from two sides, newest commits first.
struct Paint<'a> {
    remote: &'a GitRemote,
    flags: OidMap<u8>,
    queue: BinaryHeap<(i64, Oid)>,
    /// Commits in the queue that are wanted and, for all that is known, not had.
    open: usize,
    through: bool,
}

impl Paint<'_> {
    fn counts(&self, flags: u8) -> bool {
        flags & QUEUED != 0 && flags & WANTED != 0 && flags & SEEN_WANTED == 0 && (self.through || flags & HAD == 0)
    }

    fn mark(&mut self, oid: &Oid, colour: u8) -> Result<()> {
        let before = self.flags.get(oid).copied().unwrap_or(0);
        if before & colour != 0 {
            return Ok(());
        }
        let after = before | colour | QUEUED;
        self.open += usize::from(self.counts(after));
        self.open -= usize::from(self.counts(before));
        self.flags.insert(*oid, after);
        if before & QUEUED == 0 {
            self.queue.push((self.remote.commit(oid)?.seconds, *oid));
        }
        Ok(())
    }

    fn run(&mut self, cut: &OidSet, client: &OidSet, list: &mut Vec<Oid>) -> Result<()> {
        let mut oldest = i64::MAX;
        while let Some((seconds, oid)) = self.queue.pop() {
            let flags = self.flags.get(&oid).copied().unwrap_or(0);
            if self.open == 0 && seconds < oldest {
                // Nothing older can be both wanted and had, clocks permitting; where they do not, something is sent twice.
                break;
            }
            let mut now = flags;
            self.open -= usize::from(self.counts(flags));
            now &= !QUEUED;
            let info = self.remote.commit(&oid)?;
            if flags & HAD != 0 && flags & SEEN_HAD == 0 {
                now |= SEEN_HAD;
            }
            let wanted = flags & WANTED != 0 && flags & SEEN_WANTED == 0 && (self.through || flags & HAD == 0);
            if wanted {
                now |= SEEN_WANTED;
            }
            self.flags.insert(oid, now);
            if flags & HAD != 0 && flags & SEEN_HAD == 0 && !client.contains(&oid) {
                for parent in &info.parents {
                    self.mark(parent, HAD)?;
                }
            }
            if wanted {
                oldest = oldest.min(seconds);
                list.push(oid);
                if !cut.contains(&oid) {
                    for parent in &info.parents {
                        self.mark(parent, WANTED)?;
                    }
                }
            }
        }
        Ok(())
    }
}
