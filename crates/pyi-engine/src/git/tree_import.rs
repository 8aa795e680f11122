//! Bringing git's trees and blobs into the store, bottom-up, in batches.
//!
//! What the map knows and the store has is not read again, so the next commit of a history costs its changed trees. No
//! recursion: a hostile repository may nest as deeply as it likes. A tree that is not canonical all the way down never
//! gets into the map; it is built again for every commit, once each.

use std::collections::HashMap;
use std::sync::Arc;

use pyi_cas::{Batch, Committed, Id, Kind};
use pyi_git::tree::{self, TreeIter};
use pyi_git::{Object, ObjectKind, Oid, path};
use pyi_tree::{Mode, Row, Sealer, build_directory, directory_row, seal};

use super::map::{MapEntry, MapKind};
use super::odd::{ODD_MAX, OddTree, OddTrees};
use super::source::GitSource;
use crate::engine::Engine;
use crate::{Error, Result};

/// A batch is committed when it has grown to this.
const BATCH_BYTES: usize = 4 << 20;

/// Where an import finds git's objects.
pub(crate) trait ObjectReader: Sync {
    /// An object, checked against its name; `None` if it is not there.
    ///
    /// # Errors
    /// `Corrupt`; `Storage`.
    fn read_object(&self, oid: &Oid) -> Result<Option<Object>>;

    /// The error for an object that should be there.
    fn missing_object(&self, oid: &Oid, what_for: &str) -> Error;
}

impl ObjectReader for GitSource {
    fn read_object(&self, oid: &Oid) -> Result<Option<Object>> {
        self.objects().read(oid)
    }

    fn missing_object(&self, oid: &Oid, what_for: &str) -> Error {
        self.missing(oid, what_for)
    }
}

/// A directory that was imported.
#[derive(Clone)]
pub(crate) struct Imported {
    /// The row that names it in its parent.
    pub(crate) row: Row,
    /// Where it or something below it is odd; empty if it is canonical all the way down.
    pub(crate) odd: Arc<OddTrees>,
}

/// One tree on the way.
struct Frame {
    oid: Oid,
    raw: Arc<Vec<u8>>,
    /// Offset of the path, without the slash, where this directory's own name begins.
    path_len: usize,
    entries: Vec<(Vec<u8>, Mode, Oid)>,
    next: usize,
    rows: Vec<(Vec<u8>, Row)>,
    is_odd: bool,
    odd: OddTrees,
}

/// An import under way.
pub(crate) struct Importer<'a> {
    engine: &'a Engine,
    source: &'a dyn ObjectReader,
    batch: Batch,
    /// Entries whose objects are in the batch.
    fresh: Vec<MapEntry>,
    fresh_at: HashMap<Oid, usize>,
    /// Trees that the map cannot hold.
    uncommon: HashMap<Oid, Imported>,
    committed: Committed,
}

impl<'a> Importer<'a> {
    pub(crate) fn new(engine: &'a Engine, source: &'a dyn ObjectReader) -> Self {
        engine.git_map.refresh();
        Importer {
            engine,
            source,
            batch: engine.take_batch(),
            fresh: Vec::new(),
            fresh_at: HashMap::new(),
            uncommon: HashMap::new(),
            committed: Committed::default(),
        }
    }

    /// Stores what is in the batch, and remembers what it was in git.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.committed = self.engine.store().commit(&mut self.batch)?;
        }
        self.engine.git_map.append(&self.fresh);
        self.fresh.clear();
        self.fresh_at.clear();
        Ok(())
    }

    /// Stores what is left; where the last of it stands.
    pub(crate) fn into_stored(mut self) -> Result<Committed> {
        self.flush()?;
        Ok(self.committed)
    }

    /// Adds an object that is not git's, a checkpoint for one.
    pub(crate) fn seal<T>(&mut self, add: impl FnOnce(&Engine, &mut Sealer<'_>) -> Result<T>) -> Result<T> {
        let added = add(self.engine, &mut Sealer::new(self.engine.store(), &mut self.batch))?;
        self.flush_if_full()?;
        Ok(added)
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.batch.size_bytes() >= BATCH_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// What this git object is here, if the store still has it.
    fn known(&self, oid: &Oid, kind: MapKind) -> Result<Option<MapEntry>> {
        if let Some(&at) = self.fresh_at.get(oid) {
            return Ok(self.fresh.get(at).copied().filter(|entry| entry.kind == kind));
        }
        let Some(entry) = self.engine.git_map.by_oid(oid).filter(|entry| entry.kind == kind) else {
            return Ok(None);
        };
        let store = self.engine.store();
        Ok((store.contains_hint(&entry.id) || store.contains(&entry.id)?).then_some(entry))
    }

    fn remember(&mut self, entry: MapEntry) {
        self.fresh_at.insert(entry.oid, self.fresh.len());
        self.fresh.push(entry);
    }

    /// Imports a commit's tree.
    ///
    /// # Errors
    /// `GitError` for what is missing or malformed and `InvalidPath` for what git refuses in a tree, with the path; `Corrupt` with the
    /// damaged file; what the store says.
    pub(crate) fn tree(&mut self, root: &Oid) -> Result<Imported> {
        if let Some(imported) = self.known_tree(root)? {
            return Ok(imported);
        }
        let mut path = Vec::new();
        let mut stack = vec![self.frame(root, &path)?];
        loop {
            let Some(frame) = stack.last_mut() else {
                return Err(Error::git("an import without a tree"));
            };
            let Some((name, mode, oid)) = frame.entries.get(frame.next).cloned() else {
                let Some(frame) = stack.pop() else { continue };
                path.truncate(frame.path_len);
                let imported = self.finish(frame, &path)?;
                let Some(parent) = stack.last_mut() else {
                    return Ok(imported);
                };
                parent.add(&path, imported)?;
                continue;
            };
            frame.next += 1;
            path.truncate(frame.path_len);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            check_name(&path, &name, mode)?;
            if mode != Mode::Directory {
                let row = self.leaf(&oid, mode, &path)?;
                frame.rows.push((name, row));
                continue;
            }
            match self.known_tree(&oid)? {
                Some(imported) => frame.add(&path, imported)?,
                None => {
                    let child = self.frame(&oid, &path)?;
                    stack.push(child);
                }
            }
        }
    }

    fn known_tree(&self, oid: &Oid) -> Result<Option<Imported>> {
        if let Some(imported) = self.uncommon.get(oid) {
            return Ok(Some(imported.clone()));
        }
        Ok(self.known(oid, MapKind::Tree)?.map(|entry| Imported {
            row: Row {
                mode: Mode::Directory,
                id: entry.id,
                size_bytes: entry.size_bytes,
                files: entry.files,
            },
            odd: Arc::default(),
        }))
    }

    fn read(&self, oid: &Oid, kind: ObjectKind, path: &[u8]) -> Result<Arc<Vec<u8>>> {
        let at = || format!("{:?}", String::from_utf8_lossy(path));
        let found = self.source.read_object(oid).map_err(|error| located(error, &at()))?;
        let Some(object) = found else {
            // The empty tree exists in every repository, stored or not.
            if kind == ObjectKind::Tree && *oid == oid.format().empty_tree() {
                return Ok(Arc::default());
            }
            return Err(self.source.missing_object(oid, &format!("({kind} at path {})", at())));
        };
        if object.kind != kind {
            return Err(Error::git(format!(
                "{}: {oid} is a {}, not a {kind}; `git fsck` tells more",
                at(),
                object.kind
            )));
        }
        Ok(object.data)
    }

    fn frame(&self, oid: &Oid, path: &[u8]) -> Result<Frame> {
        let raw = self.read(oid, ObjectKind::Tree, path)?;
        let mut entries = Vec::new();
        for entry in TreeIter::new(oid.format(), &raw) {
            let entry = entry.map_err(|error| {
                let path = String::from_utf8_lossy(path);
                Error::git(format!("tree {oid} at path {path:?}: {error}; `git fsck` tells more"))
            })?;
            entries.push((entry.name.to_vec(), mode_of(entry.mode), entry.oid));
        }
        Ok(Frame {
            oid: *oid,
            is_odd: !tree::is_canonical(oid.format(), &raw),
            raw,
            path_len: path.len(),
            rows: Vec::with_capacity(entries.len()),
            entries,
            next: 0,
            odd: OddTrees::default(),
        })
    }

    /// The row of a file, symlink or submodule; its content is in the store or the batch then.
    fn leaf(&mut self, oid: &Oid, mode: Mode, path: &[u8]) -> Result<Row> {
        if mode == Mode::Gitlink {
            let mut id = [0; 32];
            let name = oid.as_bytes();
            id[..name.len()].copy_from_slice(name);
            return Ok(Row {
                mode,
                id: Id(id),
                size_bytes: name.len() as u64,
                files: 1,
            });
        }
        if let Some(entry) = self.known(oid, MapKind::Blob)? {
            return Ok(Row {
                mode,
                id: entry.id,
                size_bytes: entry.size_bytes,
                files: 1,
            });
        }
        let content = self.read(oid, ObjectKind::Blob, path)?;
        let id = Kind::Blob.id_of(&content);
        if !self.engine.store().contains_hint(&id) {
            let engine = self.engine;
            let known = |chunk: &Id| engine.store().contains_hint(chunk);
            self.batch.put_chunked(Kind::Blob, &id, &content, &known)?;
        }
        let size_bytes = content.len() as u64;
        drop(content);
        self.remember(MapEntry {
            oid: *oid,
            id,
            kind: MapKind::Blob,
            size_bytes,
            files: 1,
        });
        self.flush_if_full()?;
        Ok(Row {
            mode,
            id,
            size_bytes,
            files: 1,
        })
    }

    /// All entries of a tree are there: its node.
    fn finish(&mut self, mut frame: Frame, path: &[u8]) -> Result<Imported> {
        frame.rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = frame.rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let name = String::from_utf8_lossy(&twice[0].0);
            let path = String::from_utf8_lossy(path);
            return Err(Error::invalid_path(format!(
                "{path:?}: git's tree {} has two entries named {name:?}; `git fsck` tells more",
                frame.oid
            )));
        }
        let rows = frame.rows.iter().map(|(name, row)| (name.as_slice(), *row, None));
        let mut node = build_directory(rows)?;
        let mut sealer = Sealer::new(self.engine.store(), &mut self.batch);
        let id = seal(&mut node, &mut sealer)?;
        let row = directory_row(&node)?;
        if frame.is_odd {
            frame.odd.insert(
                Vec::new(),
                OddTree {
                    node: id,
                    raw: frame.raw,
                },
            );
        }
        let imported = Imported {
            row,
            odd: Arc::new(frame.odd),
        };
        if imported.odd.is_empty() {
            let (size_bytes, files) = (row.size_bytes, row.files);
            self.remember(MapEntry {
                oid: frame.oid,
                id,
                kind: MapKind::Tree,
                size_bytes,
                files,
            });
        } else {
            self.uncommon.insert(frame.oid, imported.clone());
        }
        self.flush_if_full()?;
        Ok(imported)
    }
}

impl Drop for Importer<'_> {
    fn drop(&mut self) {
        self.engine.give_batch(std::mem::take(&mut self.batch));
    }
}

impl Frame {
    /// Adds a child directory, whose path is `path`.
    fn add(&mut self, path: &[u8], child: Imported) -> Result<()> {
        let start = if self.path_len == 0 { 0 } else { self.path_len + 1 };
        let name = path.get(start..).unwrap_or_default();
        // Export drops a directory without files, so this form of the tree has to be kept.
        self.is_odd |= child.row.files == 0;
        self.odd.adopt(name, &child.odd);
        if self.odd.len() > ODD_MAX {
            let path = String::from_utf8_lossy(path);
            return Err(Error::git(format!(
                "{path:?}: more than {ODD_MAX} trees that git would write in another form"
            )));
        }
        self.rows.push((name.to_vec(), child.row));
        Ok(())
    }
}

/// The error with the path at which it was met; those of the file system name their file and keep their number.
fn located(error: Error, at: &str) -> Error {
    if error.errno().is_some() {
        error
    } else {
        Error::new(error.kind(), format!("{at}: {error}"))
    }
}

fn mode_of(mode: u32) -> Mode {
    match tree::canonical_mode(mode) {
        tree::MODE_FILE => Mode::File,
        tree::MODE_EXECUTABLE => Mode::Executable,
        tree::MODE_SYMLINK => Mode::Symlink,
        tree::MODE_TREE => Mode::Directory,
        _ => Mode::Gitlink,
    }
}

fn check_name(path: &[u8], name: &[u8], mode: Mode) -> Result<()> {
    let refused = |error: path::PathError| {
        Error::invalid_path(format!(
            "{:?}: {error}; git refuses such a name too",
            String::from_utf8_lossy(path)
        ))
    };
    if path.len() > path::MAX_PATH_BYTES {
        return Err(refused(path::PathError::TooLong));
    }
    if mode == Mode::Symlink {
        path::validate_symlink_component(name).map_err(refused)
    } else {
        path::validate_component(name).map_err(refused)
    }
}
