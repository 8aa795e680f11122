//! Objects by their git names, wherever they come from.

use std::sync::Arc;

use pyi_cas::{Bytes, Id, Kind};
use pyi_git::commit::Commit;
use pyi_git::oid_set::OidMap;
use pyi_git::tag::Tag;
use pyi_git::tree::encode_tree;
use pyi_git::{Object, ObjectKind, Oid};
use pyi_tree::{Loader, Mode, Node, Tree};

use super::GitRemote;
use super::commits::checkpoint_in_map;
use crate::git::GitSource;
use crate::git::map::MapKind;
use crate::git::odd::OddTrees;
use crate::git::packs::Located;
use crate::git::tree_export::Exporter;
use crate::{Error, Result};

/// Commits whose headers are remembered.
const INFOS_MAX: usize = 1 << 20;
/// Tags of tags of tags.
const TAGS_MAX: usize = 64;

/// What a walk has to know of a commit.
pub(crate) struct CommitInfo {
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    pub(crate) seconds: i64,
}

/// The headers of commits, and what tags lead to.
#[derive(Default)]
pub(crate) struct CommitInfos {
    commits: OidMap<Arc<CommitInfo>>,
    peeled: OidMap<Option<Oid>>,
}

impl CommitInfos {
    /// Whether this is a commit that was looked at before.
    pub(crate) fn has(&self, oid: &Oid) -> bool {
        self.commits.contains_key(oid)
    }
}

/// Content that is either shared with a cache of packs or with the store.
#[derive(Clone)]
pub(crate) enum Content {
    Packed(Arc<Vec<u8>>),
    Stored(Bytes),
}

impl std::ops::Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Content::Packed(data) => data,
            Content::Stored(data) => data,
        }
    }
}

impl GitRemote {
    pub(crate) fn sources(&self) -> Vec<Arc<GitSource>> {
        self.shared.sources.lock().clone()
    }

    /// An object; `None` if nobody has it.
    ///
    /// # Errors
    /// `Corrupt`; `Storage`.
    pub(crate) fn read(&self, oid: &Oid) -> Result<Option<(ObjectKind, Content)>> {
        if let Some(found) = self.read_own(oid)? {
            return Ok(Some(found));
        }
        for source in self.sources() {
            if let Some(object) = source.objects().read(oid)? {
                return Ok(Some((object.kind, Content::Packed(object.data))));
            }
        }
        self.remake(oid)
    }

    /// An object that has to be there: before it is missing, everything is looked at again, as the map may have been deleted.
    ///
    /// # Errors
    /// `GitError` if nobody has it; as [`GitRemote::read`].
    pub(crate) fn read_needed(&self, oid: &Oid) -> Result<(ObjectKind, Content)> {
        let mut found = self.read(oid)?;
        if found.is_none() && *oid == self.format.empty_tree() {
            return Ok((ObjectKind::Tree, Content::Stored(Bytes::new())));
        }
        if found.is_none() && self.relearn()? {
            found = self.read(oid)?;
        }
        found.ok_or_else(|| {
            Error::git(format!(
                "object {oid} is missing from the history's source; `git fsck` there tells more"
            ))
        })
    }

    /// The same as an object that owns its content.
    pub(crate) fn read_object(&self, oid: &Oid) -> Result<Option<Object>> {
        Ok(self.read(oid)?.map(|(kind, content)| match content {
            Content::Packed(data) => Object { kind, data },
            Content::Stored(data) => Object::new(kind, data.to_vec()),
        }))
    }

    /// An object that follows from the store.
    fn read_own(&self, oid: &Oid) -> Result<Option<(ObjectKind, Content)>> {
        {
            let registry = self.shared.registry.lock();
            if let Some(made) = registry.made(oid) {
                return Ok(Some((ObjectKind::Commit, Content::Stored(made.raw.clone()))));
            }
            if let Some(tree) = registry.tree(oid) {
                return Ok(Some((ObjectKind::Tree, Content::Stored(tree.clone()))));
            }
            if let Some((kind, raw)) = registry.loose(oid) {
                return Ok(Some((*kind, Content::Stored(raw.clone()))));
            }
        }
        let engine = self.engine();
        let Some(entry) = engine.git_map.by_oid(oid) else {
            return Ok(None);
        };
        match entry.kind {
            MapKind::Blob => {
                let content = engine.store().get(Kind::Blob, &entry.id)?;
                Ok(content.map(|content| (ObjectKind::Blob, Content::Stored(content))))
            }
            MapKind::Tree => {
                if !engine.store().contains(&entry.id)? {
                    return Ok(None);
                }
                let raw = self.tree_bytes(&entry.id)?;
                Ok(Some((ObjectKind::Tree, Content::Stored(raw.into()))))
            }
            MapKind::Commit => Ok(None),
        }
    }

    /// A commit that another process made, or this one longer ago.
    fn remake(&self, oid: &Oid) -> Result<Option<(ObjectKind, Content)>> {
        let engine = self.engine();
        let Some(id) = checkpoint_in_map(engine, oid) else {
            return Ok(None);
        };
        if engine.ancestor(&id)?.is_none() {
            return Ok(None);
        }
        self.chain(&id)?;
        if self.shared.registry.lock().made(oid).is_none() {
            let origin = self.origin()?;
            self.work(&engine.hold(&id)?, origin.as_ref())?;
        }
        let made = self.shared.registry.lock().made(oid).cloned();
        Ok(made.map(|made| (ObjectKind::Commit, Content::Stored(made.raw))))
    }

    /// The canonical tree of a directory node, whose parts the map knows.
    fn tree_bytes(&self, id: &Id) -> Result<Vec<u8>> {
        let engine = self.engine();
        let node = engine.loader.load(id)?;
        if let Some(raw) = self.tree_from_names(&node)? {
            return Ok(raw);
        }
        // Somebody deleted the map: find the names out again.
        let mut exporter = Exporter::new(engine, self.format, OddTrees::default(), None);
        exporter.tree(Tree::from_root(node.clone()).root())?;
        exporter.keep_names();
        self.tree_from_names(&node)?.ok_or_else(|| {
            Error::corrupt(format!(
                "directory {id} holds what git has no name for; run `pyi scrub`"
            ))
        })
    }

    fn tree_from_names(&self, node: &Arc<Node>) -> Result<Option<Vec<u8>>> {
        let engine = self.engine();
        let mut entries: Vec<(Vec<u8>, u32, Oid)> = Vec::new();
        let mut waiting = vec![node.clone()];
        while let Some(piece) = waiting.pop() {
            for index in 0..piece.len() {
                if piece.level() > 0 {
                    waiting.push(piece.child(index, &engine.loader)?.clone());
                    continue;
                }
                let row = piece.row(index);
                let oid = if row.mode == Mode::Gitlink {
                    let len = usize::try_from(row.size_bytes).unwrap_or(0);
                    row.id
                        .0
                        .get(..len)
                        .and_then(|raw| Oid::from_bytes(self.format, raw).ok())
                } else {
                    engine.git_map.by_id(self.format, &row.id)
                };
                let Some(oid) = oid else { return Ok(None) };
                entries.push((piece.name(index).to_vec(), row.mode.unix(), oid));
            }
        }
        let encoded = encode_tree(self.format, &entries);
        encoded.map(Some).map_err(|error| Error::git(error.to_string()))
    }

    /// Kind and size of an object, with as little work as there is.
    pub(crate) fn info(&self, oid: &Oid) -> Result<Option<(ObjectKind, u64)>> {
        if let Some(entry) = self.engine().git_map.by_oid(oid)
            && entry.kind == MapKind::Blob
        {
            return Ok(Some((ObjectKind::Blob, entry.size_bytes)));
        }
        for source in self.sources() {
            if let Some(info) = source.objects().info(oid)? {
                return Ok(Some(info));
            }
        }
        Ok(self.read(oid)?.map(|(kind, content)| (kind, content.len() as u64)))
    }

    /// Where a pack of a source holds the object.
    pub(crate) fn locate(&self, sources: &[Arc<GitSource>], oid: &Oid) -> Option<Located> {
        sources.iter().find_map(|source| source.objects().locate(oid))
    }

    /// Whether this commit can be read.
    pub(crate) fn has_commit(&self, oid: &Oid) -> bool {
        self.commit(oid).is_ok()
    }

    /// Whether somebody has the object.
    pub(crate) fn has(&self, oid: &Oid) -> Result<bool> {
        let registry = self.shared.registry.lock();
        let known = registry.made(oid).is_some() || registry.tree(oid).is_some() || registry.loose(oid).is_some();
        drop(registry);
        if known || self.sources().iter().any(|source| source.objects().contains_now(oid)) {
            return Ok(true);
        }
        let engine = self.engine();
        match engine.git_map.by_oid(oid) {
            Some(entry) if entry.kind == MapKind::Commit => Ok(self.remake(oid)?.is_some()),
            Some(entry) => Ok(engine.store().contains(&entry.id)?),
            None => Ok(false),
        }
    }

    /// What a walk has to know of a commit.
    ///
    /// # Errors
    /// `NotFound` if it is not there; `GitError` if it is no commit.
    pub(crate) fn commit(&self, oid: &Oid) -> Result<Arc<CommitInfo>> {
        if let Some(info) = self.shared.infos.lock().commits.get(oid) {
            return Ok(info.clone());
        }
        let mut found = self.read(oid)?;
        if found.is_none() && self.relearn()? {
            found = self.read(oid)?;
        }
        let Some((kind, data)) = found else {
            return Err(Error::not_found(format!("commit {oid} is not in this repository")));
        };
        if kind != ObjectKind::Commit {
            return Err(Error::git(format!("{oid} is a {kind}, not a commit")));
        }
        let commit = Commit::parse(self.format, &data).map_err(|error| Error::git(format!("commit {oid}: {error}")))?;
        let info = Arc::new(CommitInfo {
            tree: commit.tree,
            seconds: commit.committer().map_or(0, |signature| signature.seconds),
            parents: commit.parents,
        });
        let mut infos = self.shared.infos.lock();
        if infos.commits.len() >= INFOS_MAX {
            infos.commits.clear();
        }
        infos.commits.insert(*oid, info.clone());
        Ok(info)
    }

    /// What a tag leads to in the end; `None` if the object is no tag.
    pub(crate) fn peel(&self, oid: &Oid) -> Result<Option<Oid>> {
        if let Some(known) = self.shared.infos.lock().peeled.get(oid) {
            return Ok(*known);
        }
        let mut at = *oid;
        for _ in 0..TAGS_MAX {
            // The commits that most tags are at need not be unfolded to see that they are none.
            if self.info(&at)?.is_none_or(|(kind, _)| kind != ObjectKind::Tag) {
                break;
            }
            let Some((_, data)) = self.read(&at)? else { break };
            at = Tag::parse(self.format, &data)
                .map_err(|error| Error::git(format!("tag {at}: {error}")))?
                .target;
        }
        let peeled = (at != *oid).then_some(at);
        let mut infos = self.shared.infos.lock();
        if infos.peeled.len() >= INFOS_MAX {
            infos.peeled.clear();
        }
        infos.peeled.insert(*oid, peeled);
        Ok(peeled)
    }
}
