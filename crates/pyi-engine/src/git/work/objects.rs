//! Objects by their git names, as a workspace sees them: made in it, in the store, or in the repository that it was imported from.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use pyi_cas::Bytes;
use pyi_git::commit::Commit;
use pyi_git::oid::OidPrefix;
use pyi_git::tree::encode_tree;
use pyi_git::{Object, ObjectKind, Oid, hash_object};
use pyi_tree::cbor::Value;
use pyi_tree::{Mode, Tree};

use super::directory::{named, object_path, read};
use super::site::WorkSite;
use super::subtree;
use crate::git::GitSource;
use crate::git::map::{MapEntry, MapKind};
use crate::git::odd::OddTrees;
use crate::git::tree_export::Exporter;
use crate::git::tree_import::Importer;
use crate::{Error, Result};

impl WorkSite<'_> {
    /// The repository that the history is in; `None` if there is none.
    pub(super) fn source(&mut self) -> Result<Option<Arc<GitSource>>> {
        if let Some(known) = &self.source {
            return Ok(known.clone());
        }
        let recorded = self.git.get("source").and_then(Value::as_bytes);
        let Some(path) = recorded.map(|bytes| Path::new(OsStr::from_bytes(bytes)).to_path_buf()) else {
            self.source = Some(None);
            return Ok(None);
        };
        // A repository that was moved took the store in it along.
        let places = std::iter::once(&path).chain(&self.engine.git_dir);
        let found = places
            .filter_map(|place| self.engine.git_map.source(place).ok())
            .find(|source| source.format() == self.format);
        if found.is_none() {
            return Err(Error::git(format!(
                "the history of this workspace is in {}, which cannot be opened; bring it back",
                path.display()
            )));
        }
        self.source = Some(found.clone());
        Ok(found)
    }

    /// An object; `None` if nobody has it.
    pub(super) fn read_object(&mut self, oid: &Oid) -> Result<Option<Object>> {
        for kind in [ObjectKind::Commit, ObjectKind::Tag, ObjectKind::Tree] {
            if let Some(raw) = read(self.engine, &self.directory, &object_path(oid, kind.as_str()))? {
                return Ok(Some(Object::new(kind, raw.to_vec())));
            }
        }
        let known = self.engine.git_map.by_oid(oid);
        match known {
            Some(entry) if entry.kind == MapKind::Blob && self.engine.store().contains(&entry.id)? => {
                return Ok(Some(Object::new(
                    ObjectKind::Blob,
                    self.engine.blob(&entry.id)?.to_vec(),
                )));
            }
            Some(entry) if entry.kind == MapKind::Tree && self.engine.store().contains(&entry.id)? => {
                let raw = self.tree_bytes(&self.engine.tree(&entry.id)?)?;
                if hash_object(self.format, ObjectKind::Tree, &raw) == *oid {
                    return Ok(Some(Object::new(ObjectKind::Tree, raw)));
                }
            }
            Some(entry) if entry.kind == MapKind::Commit => {
                if let Some(raw) = self.pushed(&entry)? {
                    return Ok(Some(Object::new(ObjectKind::Commit, raw)));
                }
            }
            _ => {}
        }
        if *oid == self.format.empty_tree() {
            return Ok(Some(Object::new(ObjectKind::Tree, Vec::new())));
        }
        match self.source()? {
            Some(source) => source.objects().read(oid),
            None => Ok(None),
        }
    }

    /// A commit that was pushed: its checkpoint has the bytes.
    fn pushed(&self, entry: &MapEntry) -> Result<Option<Vec<u8>>> {
        let Some(root) = self.engine.ancestor(&entry.id)? else {
            return Ok(None);
        };
        let about = root.metadata.get("git").and_then(|git| git.get("raw"));
        let raw = about.and_then(Value::as_bytes).map(<[u8]>::to_vec);
        Ok(raw.filter(|raw| hash_object(self.format, ObjectKind::Commit, raw) == entry.oid))
    }

    /// Git's form of one directory, whose parts get names on the way.
    fn tree_bytes(&self, tree: &Tree) -> Result<Vec<u8>> {
        let mut exporter = Exporter::new(self.engine, self.format, OddTrees::default(), None);
        exporter.tree(tree.root())?;
        exporter.keep_names();
        let mut walk = pyi_tree::Walk::entries(tree.root().clone(), b"");
        let mut entries: Vec<(Vec<u8>, u32, Oid)> = Vec::new();
        while let Some(entry) = walk.next(&self.engine.loader)? {
            let oid = match entry.row.mode {
                Mode::Gitlink => self.submodule(&entry.row),
                _ => self.engine.git_map.by_id(self.format, &entry.row.id),
            };
            if let Some(oid) = oid {
                entries.push((entry.path, entry.row.mode.unix(), oid));
            }
        }
        encode_tree(self.format, &entries).map_err(|error| Error::git(error.to_string()))
    }

    /// The commit of a submodule.
    pub(super) fn submodule(&self, row: &pyi_tree::Row) -> Option<Oid> {
        let len = usize::try_from(row.size_bytes).ok()?;
        Oid::from_bytes(self.format, row.id.0.get(..len)?).ok()
    }

    /// The files of a commit or tree.
    pub(super) fn files_of(&mut self, oid: &Oid) -> Result<Tree> {
        if let Some(known) = self.trees.get(oid) {
            return Ok(known.clone());
        }
        let files = self.find_files(oid)?;
        self.trees.insert(*oid, files.clone());
        Ok(files)
    }

    fn find_files(&mut self, oid: &Oid) -> Result<Tree> {
        if read(self.engine, &self.directory, &object_path(oid, "commit"))?.is_some() {
            let files = subtree(self.engine, &self.directory, &object_path(oid, "files"))?;
            return Ok(files.unwrap_or_default());
        }
        let mut tree = *oid;
        if named(&self.git, "commit") == Some(*oid)
            && let Some(known) = named(&self.git, "tree")
        {
            tree = known;
        } else if self
            .engine
            .git_map
            .by_oid(oid)
            .is_none_or(|entry| entry.kind != MapKind::Tree)
        {
            let object = self
                .read_object(oid)?
                .ok_or_else(|| Error::git(format!("object {oid} is missing from the history's source")))?;
            match object.kind {
                ObjectKind::Tree => {}
                ObjectKind::Commit => {
                    let commit = Commit::parse(self.format, &object.data);
                    tree = commit
                        .map_err(|error| Error::git(format!("commit {oid}: {error}")))?
                        .tree;
                }
                kind => return Err(Error::git(format!("{oid} is a {kind}, not a commit"))),
            }
        }
        if tree == self.format.empty_tree() {
            return Ok(Tree::default());
        }
        if let Some(entry) = self
            .engine
            .git_map
            .by_oid(&tree)
            .filter(|entry| entry.kind == MapKind::Tree)
            && self.engine.store().contains(&entry.id)?
        {
            self.relied.push(entry.id);
            return self.engine.tree(&entry.id);
        }
        let Some(source) = self.source()? else {
            return Err(Error::git(format!(
                "tree {tree} is in no repository that is known here"
            )));
        };
        let mut importer = Importer::new(self.engine, &*source);
        let imported = importer.tree(&tree)?;
        importer.into_stored()?;
        self.relied.push(imported.row.id);
        self.engine.tree(&imported.row.id)
    }

    /// Files and directories whose git names begin so and that only the store has: up to two. O(those that begin so), as a rule.
    pub(super) fn mapped_so(&mut self, hex: &[u8]) -> Result<Vec<Oid>> {
        let Ok(prefix) = OidPrefix::from_hex(hex) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for oid in self.engine.git_map.beginning(self.format, &prefix) {
            if found.len() < 2 && self.read_object(&oid)?.is_some() {
                found.push(oid);
            }
        }
        Ok(found)
    }

    /// Objects whose names begin so; of those that only the store has, commits and tags.
    pub(super) fn named_so(&mut self, hex: &[u8]) -> Result<Vec<Oid>> {
        let Ok(prefix) = OidPrefix::from_hex(hex) else {
            return Ok(Vec::new());
        };
        if self.own_names.is_none() {
            let mut names = Vec::new();
            if let Some(objects) = subtree(self.engine, &self.directory, b"objects")? {
                let mut walk = pyi_tree::Walk::entries(objects.root().clone(), b"");
                while let Some(entry) = walk.next(&self.engine.loader)? {
                    names.extend(Oid::from_hex(&entry.path));
                }
            }
            self.own_names = Some(names);
        }
        let own = self.own_names.as_deref().unwrap_or_default();
        let first = own.partition_point(|oid| oid.as_bytes() < &prefix.low()[..self.format.raw_len()]);
        let mut found: Vec<Oid> = own
            .iter()
            .skip(first)
            .take_while(|oid| prefix.matches(oid.as_bytes()))
            .take(2)
            .copied()
            .collect();
        if let Some(source) = self.source()? {
            found.extend(source.objects().beginning(&prefix, 2)?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Keeps an object in the git directory.
    pub(super) fn keep(&mut self, oid: &Oid, kind: ObjectKind, raw: Vec<u8>) -> Result<()> {
        let path = object_path(oid, kind.as_str());
        super::directory::write(self.engine, &mut self.directory, &path, Some(Bytes::from(raw)))?;
        self.own_names = None;
        Ok(())
    }
}
