//! The git names of a workspace's directories and files, and what of them a git repository does not have yet.
//!
//! What the map knows is neither read nor hashed, and what the target has is not looked into, so an export costs what
//! changed. No recursion, and every directory once, however often it occurs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pyi_cas::{Bytes, Id, IdMap, Kind};
use pyi_git::tree::{TreeIter, encode_tree};
use pyi_git::{ObjectFormat, ObjectKind, Oid, hash_object, path};
use pyi_tree::{Mode, Node, Pending, Row, directory_row};

use super::map::{MapEntry, MapKind};
use super::odb::ObjectDatabase;
use super::odd::OddTrees;
use crate::engine::Engine;
use crate::{Error, Result};

/// Contents that are kept from hashing to writing, in bytes; beyond that they are read again.
const HELD_BYTES: usize = 8 << 20;

/// An object that the target needs.
pub(crate) struct Planned {
    pub(crate) oid: Oid,
    pub(crate) kind: ObjectKind,
    content: Source,
}

enum Source {
    Held(Bytes),
    Stored(Id),
}

impl Planned {
    pub(crate) fn new(oid: Oid, kind: ObjectKind, content: Bytes) -> Self {
        Planned {
            oid,
            kind,
            content: Source::Held(content),
        }
    }

    /// The content.
    pub(crate) fn content(&self, engine: &Engine) -> Result<Bytes> {
        match &self.content {
            Source::Held(content) => Ok(content.clone()),
            Source::Stored(id) => stored(engine, id),
        }
    }
}

fn stored(engine: &Engine, id: &Id) -> Result<Bytes> {
    let found = engine.store().get(Kind::Blob, id)?;
    found.ok_or_else(|| Error::corrupt(format!("blob {id} is missing from the store; run `pyi scrub`")))
}

/// What a directory is in git.
#[derive(Clone, Copy)]
struct Named {
    oid: Oid,
    /// Whether the node alone gives this tree: nothing odd and no empty directory below.
    canonical: bool,
}

/// One directory on the way.
struct Frame {
    node: Arc<Node>,
    rows: Vec<(Arc<Node>, usize)>,
    next: usize,
    path_len: usize,
    /// The raw tree may count here, so directories without files are looked at too.
    may_be_odd: bool,
    children: Vec<(Vec<u8>, u32, Oid)>,
    /// Names of directories without files, which git does not have.
    empty: HashSet<Vec<u8>>,
    canonical: bool,
}

/// An export under way.
pub(crate) struct Exporter<'a> {
    engine: &'a Engine,
    format: ObjectFormat,
    odd: OddTrees,
    target: Option<&'a ObjectDatabase>,
    named: IdMap<Named>,
    fresh: Vec<MapEntry>,
    planned: HashSet<Oid>,
    held_bytes: usize,
    /// What the target needs, parts before wholes.
    pub(crate) plan: Vec<Planned>,
    /// Trees that do not follow from their nodes, so that the map cannot hold them.
    pub(crate) uncommon: Vec<(Oid, Bytes)>,
}

impl<'a> Exporter<'a> {
    /// Names contents in `format`; with a target, plans what it lacks.
    pub(crate) fn new(
        engine: &'a Engine,
        format: ObjectFormat,
        odd: OddTrees,
        target: Option<&'a ObjectDatabase>,
    ) -> Self {
        engine.git_map.refresh();
        Exporter {
            engine,
            format,
            odd,
            target,
            named: IdMap::default(),
            fresh: Vec::new(),
            planned: HashSet::new(),
            held_bytes: 0,
            plan: Vec::new(),
            uncommon: Vec::new(),
        }
    }

    /// The git name of the tree under `root`.
    ///
    /// # Errors
    /// `GitError` for a submodule of the other format, `InvalidPath` for a symlink that git refuses; `Corrupt`; `Storage`.
    pub(crate) fn tree(&mut self, root: &Arc<Node>) -> Result<Oid> {
        let mut path = Vec::new();
        if let Some(named) = self.known(root.id(), &path) {
            return Ok(named.oid);
        }
        let mut stack = vec![self.frame(root.clone(), &path)?];
        loop {
            let Some(frame) = stack.last_mut() else {
                return Err(Error::git("an export without a tree"));
            };
            let Some((piece, index)) = frame.rows.get(frame.next).cloned() else {
                let Some(frame) = stack.pop() else { continue };
                path.truncate(frame.path_len);
                let named = self.finish(frame, &path)?;
                let Some(parent) = stack.last_mut() else {
                    return Ok(named.oid);
                };
                parent.add(&path, named);
                continue;
            };
            frame.next += 1;
            let (name, row) = (piece.name(index), piece.row(index));
            path.truncate(frame.path_len);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if row.mode != Mode::Directory {
                let oid = self.leaf(&row, piece.pending(index), &path, name)?;
                frame.children.push((name.to_vec(), row.mode.unix(), oid));
                continue;
            }
            if row.files == 0 {
                frame.canonical = false;
                frame.empty.insert(name.to_vec());
                if !frame.may_be_odd {
                    continue;
                }
            }
            match self.known(Some(row.id).filter(|_| !row.is_dirty()), &path) {
                Some(named) => frame.add(&path, named),
                None => {
                    let child = piece.child(index, &self.engine.loader)?.clone();
                    stack.push(self.frame(child, &path)?);
                }
            }
        }
    }

    /// What a directory is in git, if that need not be found out.
    fn known(&self, id: Option<Id>, path: &[u8]) -> Option<Named> {
        let id = id.filter(|_| !self.odd.touches(path))?;
        if let Some(named) = self.named.get(&id) {
            return Some(*named);
        }
        let oid = self.engine.git_map.by_id(self.format, &id)?;
        self.has(&oid).then_some(Named { oid, canonical: true })
    }

    /// Whether nothing has to be done for this object.
    fn has(&self, oid: &Oid) -> bool {
        self.target.is_none_or(|target| target.contains_now(oid))
    }

    fn frame(&self, node: Arc<Node>, path: &[u8]) -> Result<Frame> {
        let mut rows = Vec::new();
        let mut waiting = vec![node.clone()];
        while let Some(piece) = waiting.pop() {
            for index in 0..piece.len() {
                if piece.level() == 0 {
                    rows.push((piece.clone(), index));
                } else {
                    // Pieces are taken from the end of the list: the last one goes in first.
                    waiting.push(piece.child(piece.len() - 1 - index, &self.engine.loader)?.clone());
                }
            }
        }
        Ok(Frame {
            may_be_odd: self.odd.at(path).is_some_and(|odd| Some(odd.node) == node.id()),
            children: Vec::with_capacity(rows.len()),
            node,
            rows,
            next: 0,
            path_len: path.len(),
            empty: HashSet::new(),
            canonical: true,
        })
    }

    fn leaf(&mut self, row: &Row, pending: Option<&Pending>, path: &[u8], name: &[u8]) -> Result<Oid> {
        let at = || String::from_utf8_lossy(path).into_owned();
        let checked = match row.mode {
            Mode::Symlink => path::validate_symlink_component(name),
            _ => path::validate_component(name),
        };
        checked.map_err(|error| Error::invalid_path(format!("{:?}: {error}; rename it before the export", at())))?;
        match row.mode {
            Mode::File | Mode::Executable | Mode::Symlink => {}
            Mode::Gitlink => {
                let len = usize::try_from(row.size_bytes).unwrap_or(0);
                let oid = row
                    .id
                    .0
                    .get(..len)
                    .and_then(|raw| Oid::from_bytes(self.format, raw).ok());
                return oid.ok_or_else(|| {
                    Error::git(format!(
                        "{:?}: a submodule of another object format than {}; remove it, or export to a repository of its format",
                        at(),
                        self.format.name()
                    ))
                });
            }
            _ => {
                return Err(Error::corrupt(format!(
                    "{:?}: not an entry of a directory of files",
                    at()
                )));
            }
        }
        let known = if row.is_dirty() {
            None
        } else {
            self.engine.git_map.by_id(self.format, &row.id)
        };
        if let Some(oid) = known.filter(|oid| self.planned.contains(oid) || self.has(oid)) {
            return Ok(oid);
        }
        let content = match pending {
            Some(Pending::Blob(content)) => content.clone(),
            Some(Pending::Array { .. }) => return Err(Error::corrupt(format!("{:?}: an array among files", at()))),
            None => stored(self.engine, &row.id)?,
        };
        let oid = known.unwrap_or_else(|| hash_object(self.format, ObjectKind::Blob, &content));
        if known.is_none() && !row.is_dirty() {
            let (id, size_bytes) = (row.id, row.size_bytes);
            self.remember(MapEntry {
                oid,
                id,
                kind: MapKind::Blob,
                size_bytes,
                files: 1,
            });
        }
        self.plan(oid, ObjectKind::Blob, content, Some(row.id).filter(|_| !row.is_dirty()));
        Ok(oid)
    }

    fn plan(&mut self, oid: Oid, kind: ObjectKind, content: Bytes, stored: Option<Id>) {
        if self.target.is_none() || self.has(&oid) || !self.planned.insert(oid) {
            return;
        }
        let content = match stored {
            Some(id) if self.held_bytes + content.len() > HELD_BYTES => Source::Stored(id),
            _ => {
                self.held_bytes += content.len();
                Source::Held(content)
            }
        };
        self.plan.push(Planned { oid, kind, content });
    }

    fn remember(&mut self, entry: MapEntry) {
        self.fresh.push(entry);
        if self.fresh.len() >= 4096 {
            self.keep_names();
        }
    }

    /// Puts what was found out into the map.
    pub(crate) fn keep_names(&mut self) {
        self.engine.git_map.append(&self.fresh);
        self.fresh.clear();
    }

    fn finish(&mut self, frame: Frame, path: &[u8]) -> Result<Named> {
        let raw = self
            .odd
            .at(path)
            .filter(|odd| frame.may_be_odd && same_entries(&frame.children, &odd.raw, self.format));
        let (bytes, canonical) = match raw {
            Some(odd) => (odd.raw.as_ref().clone(), false),
            None => {
                let mut children = frame.children;
                children.retain(|(name, _, _)| !frame.empty.contains(name));
                let bytes = encode_tree(self.format, &children)
                    .map_err(|error| Error::git(format!("{:?}: {error}", String::from_utf8_lossy(path))))?;
                (bytes, frame.canonical)
            }
        };
        let oid = hash_object(self.format, ObjectKind::Tree, &bytes);
        let named = Named { oid, canonical };
        if let Some(id) = frame.node.id() {
            if canonical {
                let row = directory_row(&frame.node)?;
                let (size_bytes, files) = (row.size_bytes, row.files);
                self.remember(MapEntry {
                    oid,
                    id,
                    kind: MapKind::Tree,
                    size_bytes,
                    files,
                });
            }
            if !self.odd.touches(path) {
                self.named.insert(id, named);
            }
        }
        let bytes = Bytes::from(bytes);
        if !canonical && self.target.is_none() {
            self.uncommon.push((oid, bytes.clone()));
        }
        self.plan(oid, ObjectKind::Tree, bytes, None);
        Ok(named)
    }
}

impl Frame {
    /// Adds the child directory whose path is `path`.
    fn add(&mut self, path: &[u8], child: Named) {
        let start = if self.path_len == 0 { 0 } else { self.path_len + 1 };
        let name = path.get(start..).unwrap_or_default();
        self.canonical &= child.canonical;
        self.children.push((name.to_vec(), Mode::Directory.unix(), child.oid));
    }
}

/// Whether a raw tree names exactly these children.
fn same_entries(children: &[(Vec<u8>, u32, Oid)], raw: &[u8], format: ObjectFormat) -> bool {
    let by_name: HashMap<&[u8], (u32, Oid)> = children
        .iter()
        .map(|(name, mode, oid)| (name.as_slice(), (*mode, *oid)))
        .collect();
    let mut count = 0;
    let all = TreeIter::new(format, raw).all(|entry| {
        count += 1;
        entry.is_ok_and(|entry| by_name.get(entry.name) == Some(&(entry.canonical_mode(), entry.oid)))
    });
    all && count == children.len() && by_name.len() == count
}
