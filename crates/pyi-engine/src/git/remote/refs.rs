//! What each view offers as refs.

use std::collections::BTreeMap;

use pyi_cas::{Id, IdSet};
use pyi_git::remote::advertise::{Offer, OfferedRef};
use pyi_git::{ObjectKind, Oid};
use pyi_tree::refs::{
    Origin, SuperpositionRecord, WorkspaceRecord, decode_branch, decode_tag, part_prefix, superposition_key,
    workspace_key,
};

use super::notes::WEIGHTS;
use super::tags::read_tag;
use super::{GitRemote, View};
use crate::engine::Engine;
use crate::history::History;
use crate::repository::name_of;
use crate::{Error, ErrorKind, Result, paths};

/// Checkpoints of a workspace that are listed.
const CHECKPOINTS_MAX: usize = 1_000;
/// Where a workspace's checkpoints stand.
const CHECKPOINTS: &[u8] = b"refs/pyi/checkpoints/";
/// A workspace's content.
const WORK: &[u8] = b"refs/pyi/work";
/// The branch of what has no other name for it.
const BRANCH: &str = "main";

/// The record of a superposition.
pub(crate) fn superposition(engine: &Engine, name: &str) -> Result<SuperpositionRecord> {
    paths::check_name("superposition", name)?;
    match engine.store().refs().get(&superposition_key(name))? {
        Some(value) => {
            let mut record = SuperpositionRecord::decode(&value)?;
            if record.parts > 0 {
                for (_, part) in engine.store().refs().scan(&part_prefix(name))? {
                    record.take_part(&part)?;
                }
            }
            Ok(record)
        }
        None => Err(Error::not_found(format!("superposition {name:?} does not exist"))),
    }
}

/// A workspace's record.
pub(crate) fn workspace(engine: &Engine, name: &str) -> Result<WorkspaceRecord> {
    match engine.store().refs().get(&workspace_key(name))? {
        Some(value) => Ok(WorkspaceRecord::decode(&value)?),
        None => Err(Error::not_found(format!("workspace {name:?} does not exist"))),
    }
}

/// The full name of the one branch that a workspace with this record is.
pub(crate) fn workspace_branch(record: &WorkspaceRecord) -> String {
    let name = record.origin.as_ref().map(|origin| origin.branch.as_str());
    format!("refs/heads/{}", name.filter(|name| !name.is_empty()).unwrap_or(BRANCH))
}

impl GitRemote {
    /// Looks at every checkpoint that a name reaches, so that commits are found that only followed from one: the map that remembers them may be
    /// deleted at any time. `false` if that was done before and nothing moved since. O(checkpoints).
    pub(crate) fn relearn(&self) -> Result<bool> {
        let engine = self.engine();
        let now = engine.store().refs().generation();
        if !self.shared.registry.lock().begin_relearning(now) {
            return Ok(false);
        }
        let mut heads = Vec::new();
        for (_, value) in engine.store().refs().scan(b"b/")? {
            heads.push(decode_branch(&value)?);
        }
        for (_, value) in engine.store().refs().scan(b"w/")? {
            heads.push(WorkspaceRecord::decode(&value)?.head);
        }
        for (_, value) in engine.store().refs().scan(b"t/")? {
            heads.extend(decode_tag(&value)?.1);
        }
        let mut seen = IdSet::default();
        while let Some(id) = heads.pop() {
            if seen.insert(id)
                && let Some(root) = engine.ancestor(&id)?
            {
                if super::commits::format_of(&root) == self.format {
                    self.chain(&id)?;
                }
                heads.extend(&root.parents);
            }
        }
        Ok(true)
    }

    /// Where the workspace of this view came from.
    pub(crate) fn origin(&self) -> Result<Option<Origin>> {
        match &self.view {
            View::Workspace(name) => Ok(workspace(self.engine(), name)?.origin),
            _ => Ok(None),
        }
    }

    /// What is offered now. `wanted` says which names are of interest: what is not is left out where that saves work.
    ///
    /// # Errors
    /// `NotFound` if the workspace or superposition is gone; `GitError` if a source is; `Corrupt`; `Storage`.
    pub fn offer(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Offer> {
        self.engine().open()?;
        self.engine().git_map.refresh();
        let mut refs = BTreeMap::new();
        let _section = self.engine().store().section();
        let head = match &self.view {
            View::Repository => self.offer_branches(&mut refs, wanted)?,
            View::Workspace(name) => self.offer_workspace(name, &mut refs, wanted)?,
            View::Superposition(name) => self.offer_candidates(name, &mut refs, wanted)?,
            View::Checkpoint(id) => {
                let held = self.engine().hold(id)?;
                let name = format!("refs/heads/{BRANCH}");
                if let Some(oid) = self.work(&held, None)? {
                    refs.insert(name.clone().into_bytes(), oid);
                }
                name
            }
        };
        let mut offered = Vec::with_capacity(refs.len());
        for (name, oid) in refs {
            let peeled = if name.starts_with(b"refs/tags/") {
                self.peel(&oid)?
            } else {
                None
            };
            offered.push(OfferedRef { name, oid, peeled });
        }
        Ok(Offer {
            head: Some(head.into_bytes()),
            refs: offered,
        })
    }

    fn offer_branches(&self, refs: &mut BTreeMap<Vec<u8>, Oid>, wanted: &dyn Fn(&[u8]) -> bool) -> Result<String> {
        let mut head: Option<String> = None;
        for (key, value) in self.engine().store().refs().scan(b"b/")? {
            let name = name_of(&key)?;
            let id = decode_branch(&value)?;
            if head.is_none() || name == BRANCH {
                head = Some(name.clone());
            }
            if super::commits::format_of(&*self.engine().root(&id)?) != self.format {
                continue;
            }
            match self.chain(&id) {
                Ok(Some(oid)) => drop(refs.insert(format!("refs/heads/{name}").into_bytes(), oid)),
                Ok(None) => {}
                // What git cannot hold is not offered; the other branches are.
                Err(error) if matches!(error.kind(), ErrorKind::Git | ErrorKind::InvalidPath) && name != BRANCH => {}
                Err(error) => return Err(error),
            }
        }
        if wanted(b"refs/tags/") {
            for source in self.sources().iter().filter(|source| source.format() == self.format) {
                let last = self.shared.tags.lock().get(source.common_dir()).cloned();
                let tags = source.tags(last)?;
                refs.extend(tags.names.iter().map(|(name, oid)| (name.clone(), *oid)));
                self.shared.tags.lock().insert(source.common_dir().to_path_buf(), tags);
            }
            for (key, value) in self.engine().store().refs().scan(b"t/")? {
                if let Some((oid, objects)) = read_tag(self.format, &value)? {
                    refs.insert(format!("refs/tags/{}", name_of(&key)?).into_bytes(), oid);
                    let objects = objects.into_iter().map(|raw| (ObjectKind::Tag, raw));
                    let mut registry = self.shared.registry.lock();
                    registry.add_loose(self.format, objects.collect());
                }
            }
        }
        Ok(format!("refs/heads/{}", head.as_deref().unwrap_or(BRANCH)))
    }

    fn offer_workspace(
        &self,
        name: &str,
        refs: &mut BTreeMap<Vec<u8>, Oid>,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<String> {
        let engine = self.engine();
        let record = workspace(engine, name)?;
        let held = engine.hold_named(&record.head)?;
        let branch = workspace_branch(&record);
        if let Some(oid) = self.work(&held, record.origin.as_ref())? {
            refs.insert(branch.clone().into_bytes(), oid);
            refs.insert(WORK.to_vec(), oid);
        }
        if wanted(CHECKPOINTS) {
            let since_ns = match &record.origin {
                Some(origin) => engine.ancestor(&origin.head)?.map_or(0, |root| root.time_ns),
                None => 0,
            };
            let mut history = History::from(engine.clone(), record.head, Some(CHECKPOINTS_MAX))?;
            while let Some(checkpoint) = history.next().transpose()? {
                let full = [CHECKPOINTS, checkpoint.id().to_string().as_bytes()].concat();
                if checkpoint.root().time_ns < since_ns {
                    break;
                }
                if wanted(&full)
                    && let Some(oid) = self.work(&engine.hold(checkpoint.id())?, record.origin.as_ref())?
                {
                    refs.insert(full, oid);
                }
            }
        }
        Ok(branch)
    }

    fn offer_candidates(
        &self,
        name: &str,
        refs: &mut BTreeMap<Vec<u8>, Oid>,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<String> {
        let engine = self.engine();
        let record = superposition(engine, name)?;
        let mut offer = |label: String, id: &Id, origin: Option<&Origin>| -> Result<Option<Oid>> {
            let oid = self.work(&engine.hold_named(id)?, origin)?;
            if let Some(oid) = oid {
                refs.insert(label.into_bytes(), oid);
            }
            Ok(oid)
        };
        offer(format!("refs/heads/{BRANCH}"), &record.base, None)?;
        let mut offered = Vec::new();
        for (number, candidate) in record.candidates.iter().enumerate() {
            if let Ok(own) = workspace(engine, &candidate.name) {
                let oid = offer(format!("refs/heads/candidate/{number}"), &own.head, own.origin.as_ref())?;
                offered.extend(oid.map(|oid| (number, oid)));
            }
        }
        if wanted(WEIGHTS)
            && let Some(notes) = self.weights(&record, &offered)?
        {
            refs.insert(WEIGHTS.to_vec(), notes);
        }
        Ok(format!("refs/heads/{BRANCH}"))
    }
}
