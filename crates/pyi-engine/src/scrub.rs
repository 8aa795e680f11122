//! Scrub, repair and the quick check of a repository: the store's own findings, and what they mean for branches, workspaces and checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pyi_cas::{Fault, FileStore, Flaw, Id, Kind, ObjectStore, OpenOptions, OsFs, StoreFile};

use crate::closure::{Affected, Reached, Scope, walk};
use crate::mark::trees_of;
use crate::repository::{Repository, name_of};
use crate::{Error, ErrorKind, Result};

/// What a scrub found, and what a repair made of it.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// Whole objects.
    pub checked: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damaged places.
    pub faults: Vec<Fault>,
    /// Objects without a whole copy: damaged, or missing though something names them. What was repaired stays in the list.
    pub damaged: BTreeMap<Id, (Kind, Affected)>,
    /// Objects with a damaged copy and a whole one.
    pub healed: Vec<(Id, Kind)>,
    /// All that the damaged objects affect.
    pub affected: Affected,
    /// Those of the damaged and healed objects that are whole now.
    pub repaired: BTreeSet<Id>,
    /// Those of the damaged places that are whole now.
    pub mended: Vec<Fault>,
    /// How long it took.
    pub seconds: f64,
    /// What damaged records say that they were, where nobody misses it.
    claimed: Vec<(Id, Kind)>,
    /// Every checkpoint that has a record.
    checkpoints: Vec<Id>,
    /// Whether something may be missing that nothing in the store tells of any more.
    unexplained: bool,
}

impl ScrubReport {
    /// Whether everything is whole, be it after a repair.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.iter().all(|fault| self.mended.contains(fault))
            && self.damaged.keys().all(|id| self.repaired.contains(id))
    }
}

/// What the quick check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Damaged places.
    pub faults: Vec<Fault>,
    /// Refs whose checkpoint, or a root node of it, is not there: the key, and what is missing.
    pub broken: Vec<(String, Id)>,
    /// Refs that were looked at.
    pub refs: u64,
    /// Objects in the store.
    pub objects: u64,
    /// Segments.
    pub segments: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Repository {
    fn disk(&self) -> Result<&FileStore> {
        self.engine.open()?;
        self.engine
            .store()
            .on_disk()
            .ok_or_else(|| Error::invalid("a repository in memory has no files; open one in a directory"))
    }

    /// Reads and checks everything that the store holds, and finds what damage affects. Changes nothing.
    ///
    /// # Errors
    /// `Storage`, `UnsupportedFormat`, `Closed`. O(bytes).
    pub fn scrub(&self, options: &pyi_cas::ScrubOptions<'_>) -> Result<ScrubReport> {
        let start = Instant::now();
        let mut found = self.disk()?.scrub(options)?;
        // What a damaged record says that it is counts where nobody could miss it: a checkpoint may have no name.
        let claimed = found.claimed.iter().filter(|(_, kind)| *kind == Kind::Checkpoint);
        found.damaged.extend(claimed.copied());
        let mut report = ScrubReport {
            checked: found.objects,
            bytes: found.bytes,
            unexplained: found.faults.iter().any(is_unexplained) || !found.orphans.is_empty(),
            faults: found.faults,
            healed: found.healed,
            claimed: found.claimed,
            checkpoints: found.checkpoints,
            ..ScrubReport::default()
        };
        let reached = report.walk(self, &found.damaged)?;
        report.take(reached, &found.damaged);
        for (number, ids) in found.orphans {
            // A collection leaves indexes whose objects nobody misses.
            let unknown = ids.is_empty() && !report.damaged.is_empty();
            if unknown || ids.iter().any(|(id, _)| report.damaged.contains_key(id)) {
                report.faults.push(Fault {
                    file: StoreFile::Segment(number),
                    offset: 0,
                    length: 0,
                    flaw: Flaw::Missing,
                    id: None,
                    keys: Vec::new(),
                });
            }
        }
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Repairs what a scrub of this repository found: from what is left of it, and with what `sources` (other stores) have. Contents are checked
    /// against their ids. The report says what became whole.
    ///
    /// # Errors
    /// `NotFound` for a source that is no store; `Storage`, `Closed`. What was repaired before stays repaired. O(damaged objects).
    pub fn repair(&self, report: &mut ScrubReport, sources: &[&Path]) -> Result<()> {
        let start = Instant::now();
        let store = self.disk()?;
        let mut others = Vec::new();
        for source in sources {
            let options = OpenOptions {
                read_only: true,
                ..OpenOptions::default()
            };
            let directory = crate::locate::locate(source)?.store;
            others.push(FileStore::open(Arc::new(OsFs), &directory, options)?);
        }
        for (id, kind) in &report.healed {
            if let Ok(Some(content)) = store.get(*kind, id) {
                store.put_back(*kind, id, &content, &report.spots(id))?;
                report.repaired.insert(*id);
            }
        }
        report.salvage(store)?;
        // What can be written in its place is so before anything is appended: a writer has damaged segments sealed.
        for append in [false, true] {
            self.put_back_lost(report, &others, append)?;
        }
        store.look_again_at(&report.faults)?;
        let left: Vec<Fault> = (report.faults.iter())
            .filter(|fault| !report.mended.contains(fault))
            .cloned()
            .collect();
        report.mended.extend(store.mend(&left)?);
        if report.lost().is_empty() {
            // Nobody misses anything of a segment that is gone: then it is not missing.
            report
                .mended
                .extend(left.into_iter().filter(|fault| fault.flaw == Flaw::Missing));
        }
        for fault in store.look_again_at(&report.faults)? {
            if !report.mended.contains(&fault) {
                report.mended.push(fault);
            }
        }
        report.seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Puts back what is lost and what a damaged record claims to be, as far as it can be had.
    fn put_back_lost(&self, report: &mut ScrubReport, others: &[FileStore], append: bool) -> Result<()> {
        let store = self.disk()?;
        loop {
            let mut progress = false;
            let mut wanted: Vec<(Id, Kind)> = report.lost();
            let unmissed = report.claimed.iter().filter(|(id, _)| !report.repaired.contains(id));
            wanted.extend(unmissed.filter(|(id, _)| !report.damaged.contains_key(id)));
            for (id, kind) in &wanted {
                let Some(content) = store.salvage(*kind, id).or_else(|| fetch(others, *kind, id)) else {
                    continue;
                };
                let spots = report.spots(id);
                let done = match append {
                    true => Some(store.put_back(*kind, id, &content, &spots)?),
                    false => store.put_in_place(*kind, id, &content, &spots)?,
                };
                if done.is_some() {
                    report.repaired.insert(*id);
                    progress = true;
                }
            }
            if !progress {
                break;
            }
            // A node that is there again shows what else is missing below it.
            let lost = report.lost();
            let reached = report.walk(self, &lost)?;
            report.take(reached, &lost);
        }
        Ok(())
    }

    /// The quick check: files, headers, indexes, the newest ref log; every ref's checkpoint and root nodes are there. Reads no contents.
    ///
    /// # Errors
    /// `Storage`, `UnsupportedFormat`, `Closed`. O(bytes of indexes + refs).
    pub fn check(&self) -> Result<CheckReport> {
        let start = Instant::now();
        let store = self.disk()?;
        let mut report = CheckReport {
            faults: store.check()?,
            ..CheckReport::default()
        };
        for (key, head) in self.heads()? {
            report.refs += 1;
            match self.engine.root(&head) {
                Ok(root) => {
                    for node in trees_of(&root).into_iter().flatten() {
                        if !store.contains(&node)? {
                            report.broken.push((key.clone(), node));
                        }
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                    report.broken.push((key, head));
                }
                Err(error) => return Err(error),
            }
        }
        let stats = store.stats()?;
        (report.objects, report.segments) = (stats.objects, stats.segments);
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Branches and named workspaces with their heads; the names as in the ref log.
    fn heads(&self) -> Result<Vec<(String, Id)>> {
        let mut heads = Vec::new();
        let refs = self.engine.store().refs();
        for (key, value) in refs.scan(b"b/")? {
            heads.push((format!("b/{}", name_of(&key)?), pyi_tree::refs::decode_branch(&value)?));
        }
        for (key, value) in refs.scan(b"w/")? {
            let record = pyi_tree::refs::WorkspaceRecord::decode(&value)?;
            heads.push((format!("w/{}", name_of(&key)?), record.head));
        }
        Ok(heads)
    }

    /// What names lead to and is not there. Reads every node, no contents.
    ///
    /// # Errors
    /// `Storage`, `Closed`. O(nodes).
    pub fn missing(&self) -> Result<BTreeMap<Id, (Kind, Affected)>> {
        self.engine.open()?;
        let scope = Scope {
            damaged: &[],
            checkpoints: &[],
            parents: false,
        };
        Ok(walk(&self.engine, &scope)?.lost)
    }
}

impl ScrubReport {
    fn walk(&self, repository: &Repository, damaged: &[(Id, Kind)]) -> Result<Reached> {
        let scope = Scope {
            damaged,
            checkpoints: &self.checkpoints,
            parents: self.unexplained,
        };
        walk(&repository.engine, &scope)
    }

    /// Adds what a walk found; what is damaged and reached by nobody is in the list as well.
    fn take(&mut self, reached: Reached, damaged: &[(Id, Kind)]) {
        for (id, kind) in damaged {
            self.damaged.entry(*id).or_insert((*kind, Affected::default()));
        }
        for (id, found) in reached.lost {
            self.damaged
                .entry(id)
                .and_modify(|known| known.1.merge(&found.1))
                .or_insert(found);
        }
        self.affected.merge(&reached.affected);
    }

    /// Damaged places where the record of an object may have stood: those that say so, then those of which nobody knows whose they were.
    fn spots(&self, id: &Id) -> Vec<&Fault> {
        let known =
            |other: Id| self.damaged.contains_key(&other) || self.healed.iter().any(|(healed, _)| *healed == other);
        let named = self.faults.iter().filter(|fault| fault.id == Some(*id));
        let others = self
            .faults
            .iter()
            .filter(|fault| fault.id.is_none_or(|other| !known(other)));
        named
            .chain(others.filter(|fault| fault.id != Some(*id)))
            .filter(|fault| fault.flaw == Flaw::Record)
            .collect()
    }

    /// Puts back what damaged records still hold: only their headers were hit.
    fn salvage(&mut self, store: &FileStore) -> Result<()> {
        let mut found = Vec::new();
        for fault in &self.faults {
            if let Some((kind, id, content)) = store.salvage_at(fault) {
                store.put_back(kind, &id, &content, &[fault])?;
                // What the header said before may have been a wrong id.
                found.push((id, fault.clone()));
            }
        }
        for (id, fault) in found {
            self.repaired.insert(id);
            self.faults
                .iter_mut()
                .filter(|known| **known == fault)
                .for_each(|known| known.id = Some(id));
        }
        Ok(())
    }

    /// Damaged objects that are not repaired yet.
    #[must_use]
    pub fn lost(&self) -> Vec<(Id, Kind)> {
        let lost = self.damaged.iter().filter(|(id, _)| !self.repaired.contains(*id));
        lost.map(|(id, (kind, _))| (*id, *kind)).collect()
    }
}

/// Whether objects may have gone here that nothing names.
fn is_unexplained(fault: &Fault) -> bool {
    matches!(fault.file, StoreFile::Segment(_))
        && matches!(
            fault.flaw,
            Flaw::Record | Flaw::Short | Flaw::Unreadable | Flaw::Missing | Flaw::Header
        )
}

fn fetch(sources: &[FileStore], kind: Kind, id: &Id) -> Option<pyi_cas::Bytes> {
    // A source may be damaged itself: the next one is asked then.
    sources.iter().find_map(|source| source.get(kind, id).ok().flatten())
}
