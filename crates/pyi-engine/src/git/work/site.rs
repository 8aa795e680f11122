//! A workspace as git's commands see it.

use std::collections::HashMap;
use std::sync::Arc;

use pyi_cas::{Bytes, Id};
use pyi_git::command::{Change, Failure, Found, Site, Version, View};
use pyi_git::path::directories_above;
use pyi_git::{Object, ObjectFormat, ObjectKind, Oid, hash_object};
use pyi_tree::cbor::Value;
use pyi_tree::tree::Content as NewContent;
use pyi_tree::{Mode, Pending, Row, Sealer, Tree, Walk, seal};

use super::directory::{format_of, initial, object_path, read, remove, write};
use super::subtree;
use crate::engine::{Engine, now_ns};
use crate::git::GitSource;
use crate::git::export::odd_trees;
use crate::git::map::{MapEntry, MapKind};
use crate::git::tree_export::Exporter;
use crate::workspace::Content;
use crate::{Error, Result};

/// What a call of a command gets.
type Answer<T> = std::result::Result<T, Failure>;

/// Digits of a name that is cut short, at least.
const ABBREVIATION: usize = 7;

/// A workspace, and what a command changed of it.
pub(super) struct WorkSite<'e> {
    pub(super) engine: &'e Arc<Engine>,
    pub(super) format: ObjectFormat,
    pub(super) git: Arc<Value>,
    files: Tree,
    index: Tree,
    pub(super) directory: Tree,
    changed: bool,
    /// The commit that was made, and its message.
    pub(super) commit: Option<(Oid, String)>,
    /// The repository that the history is in, once it was looked for.
    pub(super) source: Option<Option<Arc<GitSource>>>,
    pub(super) trees: HashMap<Oid, Tree>,
    pub(super) own_names: Option<Vec<Oid>>,
    fresh: Vec<MapEntry>,
    /// What the store has and perhaps nothing reaches.
    pub(super) relied: Vec<Id>,
}

fn version(row: &Row, pending: Option<&Pending>) -> Version {
    let unsaved = match pending {
        Some(Pending::Blob(content)) if row.is_dirty() => Some(content.clone()),
        _ => None,
    };
    Version {
        mode: row.mode.unix(),
        id: if unsaved.is_some() { [0; 32] } else { row.id.0 },
        size_bytes: row.size_bytes,
        unsaved,
    }
}

fn content_of(version: &Version) -> NewContent {
    match &version.unsaved {
        Some(content) => NewContent::Bytes(content.clone()),
        None => NewContent::Stored {
            id: Id(version.id),
            size_bytes: version.size_bytes,
        },
    }
}

fn mode_of(mode: u32) -> Mode {
    match mode {
        0o100_755 => Mode::Executable,
        0o120_000 => Mode::Symlink,
        0o160_000 => Mode::Gitlink,
        _ => Mode::File,
    }
}

impl<'e> WorkSite<'e> {
    pub(super) fn new(engine: &'e Arc<Engine>, content: &Content) -> Result<Self> {
        engine.git_map.refresh();
        let git = content.git.clone();
        let known = match (&content.git_directory, super::git_directory(&git)) {
            (Some(tree), _) => Some(tree.clone()),
            (None, Some(id)) => Some(engine.tree(&id)?),
            (None, None) => None,
        };
        let is_new = known.is_none();
        let directory = match known {
            Some(tree) => tree,
            None => initial(
                engine,
                &git,
                content.origin.as_deref().map(|origin| origin.branch.as_str()),
            )?,
        };
        let mut site = WorkSite {
            engine,
            format: format_of(&git),
            files: content.files.clone(),
            index: subtree(engine, &directory, b"index")?.unwrap_or_default(),
            git,
            directory,
            changed: false,
            commit: None,
            source: None,
            trees: HashMap::new(),
            own_names: None,
            fresh: Vec::new(),
            relied: Vec::new(),
        };
        if is_new && let Some(commit) = super::directory::named(&site.git, "commit") {
            site.index = site.files_of(&commit)?;
        }
        Ok(site)
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn index_root(&self) -> &Arc<pyi_tree::Node> {
        self.index.root()
    }

    /// Puts what was named into the map.
    pub(super) fn keep_names(&mut self) {
        self.engine.git_map.append(&self.fresh);
        self.fresh.clear();
    }

    /// The files, and the git directory with the index in it.
    pub(super) fn finish(mut self) -> Result<(Tree, Tree)> {
        if self.index.root().is_empty() {
            remove(self.engine, &mut self.directory, b"index")?;
        } else {
            let index = self.index.root().clone();
            self.directory.put_directory(b"index", index, &self.engine.loader)?;
        }
        Ok((self.files, self.directory))
    }

    fn tree(&mut self, view: View) -> Result<Tree> {
        Ok(match view {
            View::Empty => Tree::default(),
            View::Work => self.files.clone(),
            View::Index => self.index.clone(),
            View::Of(oid) => self.files_of(&oid)?,
        })
    }

    fn blob_name(&mut self, version: &Version) -> Result<Oid> {
        if version.unsaved.is_none() {
            let id = Id(version.id);
            if version.mode == 0o160_000 {
                let row = Row {
                    mode: Mode::Gitlink,
                    id,
                    size_bytes: version.size_bytes,
                    files: 1,
                };
                return self
                    .submodule(&row)
                    .ok_or_else(|| Error::git("a submodule of another object format"));
            }
            if let Some(oid) = self.engine.git_map.by_id(self.format, &id) {
                return Ok(oid);
            }
            let oid = hash_object(self.format, ObjectKind::Blob, &self.engine.blob(&id)?);
            self.fresh.push(MapEntry {
                oid,
                id,
                kind: MapKind::Blob,
                size_bytes: version.size_bytes,
                files: 1,
            });
            return Ok(oid);
        }
        let content = version.unsaved.clone().unwrap_or_default();
        Ok(hash_object(self.format, ObjectKind::Blob, &content))
    }

    fn put_into(&self, tree: &mut Tree, path: &[u8], version: Option<&Version>) -> Result<()> {
        let loader = &self.engine.loader;
        let Some(version) = version else {
            return remove(self.engine, tree, path);
        };
        crate::paths::check(path)?;
        // What stands in the way: a file where a directory has to be, or a directory where the file comes.
        for above in directories_above(path) {
            match tree.find(above, loader)? {
                None => break,
                Some(found) if found.mode() == Mode::Directory => {}
                Some(_) => {
                    tree.remove(above, loader)?;
                    break;
                }
            }
        }
        if tree
            .find(path, loader)?
            .is_some_and(|found| found.mode() == Mode::Directory)
        {
            tree.remove(path, loader)?;
        }
        Ok(tree.put(path, mode_of(version.mode), content_of(version), loader)?)
    }

    /// Stores the index's nodes and contents, so that what is named once is known by its id.
    fn seal_index(&mut self) -> Result<()> {
        if self.index.root().is_empty() || self.index.root().id().is_some() {
            return Ok(());
        }
        let mut batch = self.engine.take_batch();
        let sealed = {
            let mut sealer = Sealer::new(self.engine.store(), &mut batch);
            seal(self.index.root_mut(), &mut sealer).map(|_| std::mem::take(&mut sealer.blobs))
        };
        let stored = sealed.map_err(Error::from).and_then(|blobs| {
            if !batch.is_empty() {
                self.engine.store().commit(&mut batch)?;
            }
            Ok(blobs)
        });
        self.engine.give_batch(batch);
        for (id, blob) in stored? {
            self.engine.remember_blob(&id, &blob);
        }
        self.relied.extend(self.index.root().id());
        Ok(())
    }

    fn name_index(&mut self) -> Result<Oid> {
        if self.index.root().is_empty() {
            return Ok(self.format.empty_tree());
        }
        self.engine.check_cap()?;
        self.seal_index()?;
        let odd = odd_trees(self.engine, &self.git, self.format)?;
        let mut exporter = Exporter::new(self.engine, self.format, odd, None);
        let oid = exporter.tree(self.index.root())?;
        exporter.keep_names();
        for (oid, raw) in std::mem::take(&mut exporter.uncommon) {
            let source = self.source()?;
            if !source.is_some_and(|source| source.objects().contains_now(&oid)) {
                self.keep(&oid, ObjectKind::Tree, raw.to_vec())?;
            }
        }
        Ok(oid)
    }

    fn list(&self, tree: &Tree, below: &[u8]) -> Result<Vec<(Vec<u8>, Version)>> {
        let root = match tree.find(below, &self.engine.loader)? {
            _ if below.is_empty() => tree.root().clone(),
            Some(found) if found.mode() == Mode::Directory => found.child(&self.engine.loader)?.clone(),
            Some(found) => return Ok(vec![(below.to_vec(), version(&found.row(), found.pending()))]),
            None => return Ok(Vec::new()),
        };
        let mut walk = Walk::files(root, below);
        let mut files = Vec::new();
        while let Some(entry) = walk.next(&self.engine.loader)? {
            files.push((entry.path, version(&entry.row, entry.pending.as_ref())));
        }
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }
}

/// A path that no workspace can hold is one at which nothing stands.
fn is_path(path: &[u8]) -> bool {
    crate::paths::check(path).is_ok()
}

impl Site for WorkSite<'_> {
    fn format(&self) -> ObjectFormat {
        self.format
    }

    fn now(&self) -> i64 {
        i64::try_from(now_ns() / 1_000_000_000).unwrap_or(0)
    }

    fn changes(&mut self, old: View, new: View) -> Answer<Vec<Change>> {
        let (old, new) = (self.tree(old)?, self.tree(new)?);
        let side = |side: pyi_tree::diff::Side| {
            (side.row.mode != Mode::Directory).then(|| version(&side.row, side.pending.as_ref()))
        };
        let found = pyi_tree::diff::diff(&old, &new, &self.engine.loader).map_err(Error::from)?;
        let mut changes: Vec<Change> = found
            .into_iter()
            .map(|one| Change {
                path: one.path,
                old: one.old.and_then(side),
                new: one.new.and_then(side),
            })
            .filter(|change| change.old.is_some() || change.new.is_some())
            .collect();
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }

    fn files(&mut self, view: View, below: &[u8]) -> Answer<Vec<(Vec<u8>, Version)>> {
        let tree = self.tree(view)?;
        Ok(self.list(&tree, below)?)
    }

    fn find(&mut self, view: View, path: &[u8]) -> Answer<Option<Found>> {
        if !is_path(path) {
            return Ok(None);
        }
        let tree = self.tree(view)?;
        let found = tree.find(path, &self.engine.loader).map_err(Error::from)?;
        Ok(found.map(|found| match found.mode() {
            Mode::Directory => Found::Directory,
            _ => Found::File(version(&found.row(), found.pending())),
        }))
    }

    fn content(&mut self, version: &Version) -> Answer<Bytes> {
        if version.mode == 0o160_000 {
            let oid = self.blob_name(version)?;
            return Ok(format!("Subproject commit {oid}\n").into());
        }
        match &version.unsaved {
            Some(content) => Ok(content.clone()),
            None => Ok(self.engine.blob(&Id(version.id))?),
        }
    }

    fn name(&mut self, version: &Version) -> Answer<Oid> {
        Ok(self.blob_name(version)?)
    }

    fn object(&mut self, oid: &Oid) -> Answer<Option<Object>> {
        Ok(self.read_object(oid)?)
    }

    fn with_prefix(&mut self, hex: &[u8]) -> Answer<Vec<Oid>> {
        Ok(self.named_so(hex)?)
    }

    fn with_prefix_anywhere(&mut self, hex: &[u8]) -> Answer<Vec<Oid>> {
        Ok(self.mapped_so(hex)?)
    }

    fn abbreviation_len(&mut self) -> Answer<usize> {
        let packed = match self.source()? {
            // Where a multi-pack-index counts otherwise, names are as short as they may be.
            Some(source) => source.objects().packed_count()?.unwrap_or(0),
            None => 0,
        };
        // As git reckons: of 2^n objects two share n/2 bits, four to a digit.
        let bits = packed.checked_ilog2().map_or(0, |bits| bits as usize + 1);
        Ok(bits.div_ceil(2).max(ABBREVIATION))
    }

    fn keep_object(&mut self, kind: ObjectKind, raw: Vec<u8>) -> Answer<Oid> {
        let oid = hash_object(self.format, kind, &raw);
        self.keep(&oid, kind, raw)?;
        if kind == ObjectKind::Commit {
            if !self.index.root().is_empty() {
                let files = self.index.root().clone();
                let path = object_path(&oid, "files");
                self.directory
                    .put_directory(&path, files, &self.engine.loader)
                    .map_err(Error::from)?;
            }
            self.trees.insert(oid, self.index.clone());
        }
        self.changed = true;
        Ok(oid)
    }

    fn index_tree(&mut self) -> Answer<Oid> {
        Ok(self.name_index()?)
    }

    fn stage(&mut self, path: &[u8], version: Option<&Version>) -> Answer<()> {
        let mut index = std::mem::take(&mut self.index);
        let put = self.put_into(&mut index, path, version);
        self.index = index;
        self.changed = true;
        Ok(put?)
    }

    fn set_index(&mut self, view: View) -> Answer<()> {
        self.index = self.tree(view)?;
        self.changed = true;
        Ok(())
    }

    fn put(&mut self, path: &[u8], version: Option<&Version>) -> Answer<()> {
        let mut files = std::mem::take(&mut self.files);
        let put = self.put_into(&mut files, path, version);
        self.files = files;
        self.changed = true;
        Ok(put?)
    }

    fn admin(&mut self, name: &[u8]) -> Answer<Option<Bytes>> {
        Ok(read(self.engine, &self.directory, name)?)
    }

    fn admin_names(&mut self, below: &[u8]) -> Answer<Vec<Vec<u8>>> {
        let tree = self.directory.clone();
        let directory = matches!(tree.find(below, &self.engine.loader).map_err(Error::from)?, Some(found) if found.mode() == Mode::Directory);
        if !directory {
            return Ok(Vec::new());
        }
        Ok(self.list(&tree, below)?.into_iter().map(|(name, _)| name).collect())
    }

    fn set_admin(&mut self, name: &[u8], content: Option<Bytes>) -> Answer<()> {
        write(self.engine, &mut self.directory, name, content)?;
        self.changed = true;
        Ok(())
    }

    fn committed(&mut self, oid: &Oid, message: &[u8]) -> Answer<()> {
        let message = String::from_utf8_lossy(message).trim_end_matches('\n').to_owned();
        self.commit = Some((*oid, message));
        Ok(())
    }
}
