//! Three-way merge of trees: by path, and by lines within a text file. Conflicts are data.

use std::sync::Arc;

use bytes::Bytes;

use crate::cursor::{Place, differing, same_node, same_row};
use crate::diff::Side;
use crate::text_merge::merge_text;
use crate::tree::Content;
use crate::{Loader, Mode, Node, Pending, Result, Tree};

/// Where contents come from that a merge by lines has to read.
pub trait Contents {
    /// The content of a file.
    ///
    /// # Errors
    /// What the store says.
    fn read(&self, side: &Side) -> Result<Bytes>;
}

/// A path that both sides changed in ways that do not fit together.
#[derive(Clone, Debug)]
pub struct MergeConflict {
    /// The path.
    pub path: Vec<u8>,
    /// What clashes, in words.
    pub reason: &'static str,
    /// What stood there before.
    pub base: Option<Side>,
    /// What stands there on our side.
    pub ours: Option<Side>,
    /// What stands there on their side.
    pub theirs: Option<Side>,
}

/// The outcome of a merge.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Our tree with their changes; at the paths in conflict, our side.
    pub tree: Tree,
    /// Empty if the merge is clean.
    pub conflicts: Vec<MergeConflict>,
}

/// Merges flat mappings (the state) key by key: names may hold any byte, contents are not merged.
/// O(difference between base and theirs * log keys).
///
/// # Errors
/// What the loader says.
pub fn merge_flat(base: &Tree, ours: &Tree, theirs: &Tree, loader: &dyn Loader) -> Result<Merged> {
    let (mut tree, mut conflicts) = (ours.clone(), Vec::new());
    differing(
        Some(base.root()),
        Some(theirs.root()),
        loader,
        &mut |name, base, theirs| {
            let mine = crate::directory::find(ours.root(), name, loader)?;
            if same(mine, theirs) {
                return Ok(());
            }
            if !same(mine, base) {
                let (base, ours, theirs) = (base.map(Side::of), mine.map(Side::of), theirs.map(Side::of));
                let reason = "both sides changed this key";
                conflicts.push(MergeConflict {
                    path: name.to_vec(),
                    reason,
                    base,
                    ours,
                    theirs,
                });
                return Ok(());
            }
            match theirs {
                None => tree.remove_name(name, loader).map(drop),
                Some(place) => tree.put_name(name, place.0.mode(place.1), content_of(place), loader),
            }
        },
    )?;
    Ok(Merged { tree, conflicts })
}

fn content_of((node, index): Place<'_>) -> Content {
    let row = node.row(index);
    match node.pending(index) {
        Some(Pending::Blob(content)) => Content::Sized {
            content: content.clone(),
            size: row.size_bytes,
        },
        Some(pending) => Content::Array {
            pending: pending.clone(),
            size_bytes: row.size_bytes,
        },
        None => Content::Stored {
            id: row.id,
            size_bytes: row.size_bytes,
        },
    }
}

struct Merge<'a> {
    loader: &'a dyn Loader,
    contents: &'a dyn Contents,
    tree: Tree,
    conflicts: Vec<MergeConflict>,
}

/// Merges what changed from `base` to `theirs` into `ours`. O(difference between base and theirs * depth); O(1) where one
/// side did not change a directory.
///
/// # Errors
/// What the loader and `contents` say.
pub fn merge(base: &Tree, ours: &Tree, theirs: &Tree, loader: &dyn Loader, contents: &dyn Contents) -> Result<Merged> {
    let mut run = Merge {
        loader,
        contents,
        tree: ours.clone(),
        conflicts: Vec::new(),
    };
    run.directory(&[], base.root(), ours.root(), theirs.root())?;
    Ok(Merged {
        tree: run.tree,
        conflicts: run.conflicts,
    })
}

impl Merge<'_> {
    fn directory(&mut self, path: &[u8], base: &Arc<Node>, ours: &Arc<Node>, theirs: &Arc<Node>) -> Result<()> {
        if same_node(base, theirs) || same_node(ours, theirs) {
            return Ok(());
        }
        if same_node(base, ours) {
            return self.tree.put_directory(path, theirs.clone(), self.loader);
        }
        differing(Some(base), Some(theirs), self.loader, &mut |name, base, theirs| {
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name);
            let ours = crate::directory::find(ours, name, self.loader)?;
            self.entry(&below, base, ours, theirs)
        })
    }

    fn node(&self, place: Option<Place<'_>>) -> Result<Option<Arc<Node>>> {
        match place {
            Some((node, index)) if node.mode(index) == Mode::Directory => {
                Ok(Some(node.child(index, self.loader)?.clone()))
            }
            _ => Ok(None),
        }
    }

    fn entry(
        &mut self,
        path: &[u8],
        base: Option<Place<'_>>,
        ours: Option<Place<'_>>,
        theirs: Option<Place<'_>>,
    ) -> Result<()> {
        if same(ours, theirs) {
            return Ok(());
        }
        if same(ours, base) {
            return self.take(path, theirs);
        }
        let (base_dir, our_dir, their_dir) = (self.node(base)?, self.node(ours)?, self.node(theirs)?);
        let empty = || Arc::new(Node::empty(0));
        let base_node = base_dir.clone().unwrap_or_else(empty);
        match (&our_dir, &their_dir) {
            (Some(our_dir), Some(their_dir)) => return self.directory(path, &base_node, our_dir, their_dir),
            (Some(our_dir), None) if theirs.is_none() && base_dir.is_some() => {
                self.directory(path, &base_node, our_dir, &empty())?;
                if self.tree.directory(path, self.loader)?.is_empty() {
                    self.tree.remove(path, self.loader)?;
                }
                return Ok(());
            }
            (None, Some(their_dir)) if ours.is_none() && base_dir.is_some() => {
                return self.directory(path, &base_node, &empty(), their_dir);
            }
            _ => {}
        }
        let sides = (base.map(Side::of), ours.map(Side::of), theirs.map(Side::of));
        let reason = match (&sides.1, &sides.2) {
            (Some(our), Some(their)) if our.row.mode.is_file() && their.row.mode.is_file() => {
                match self.files(path, sides.0.as_ref(), our, their)? {
                    Some(reason) => reason,
                    None => return Ok(()),
                }
            }
            (Some(_), Some(_)) if sides.0.is_none() => "both sides added something else here",
            (Some(_), Some(_)) => "both sides changed this in ways that do not fit together",
            (None, _) => "we removed what they changed",
            (_, None) => "they removed what we changed",
        };
        let (base, ours, theirs) = sides;
        self.conflicts.push(MergeConflict {
            path: path.to_vec(),
            reason,
            base,
            ours,
            theirs,
        });
        Ok(())
    }

    /// Merges two files; the reason if they conflict.
    fn files(&mut self, path: &[u8], base: Option<&Side>, ours: &Side, theirs: &Side) -> Result<Option<&'static str>> {
        let base = base.filter(|base| base.row.mode.is_file());
        let (our_text, their_text) = (self.contents.read(ours)?, self.contents.read(theirs)?);
        let mode = match base {
            Some(base) if base.row.mode == ours.row.mode => theirs.row.mode,
            _ if ours.row.mode == theirs.row.mode => ours.row.mode,
            Some(_) => ours.row.mode,
            None => return Ok(Some("both sides added this with different modes")),
        };
        let merged = match base {
            _ if our_text == their_text => our_text.to_vec(),
            None => return Ok(Some("both sides added this with different contents")),
            Some(base) => match merge_text(&self.contents.read(base)?, &our_text, &their_text) {
                Some(text) => text,
                None if [&our_text, &their_text].iter().any(|text| text.contains(&0)) => {
                    return Ok(Some("both sides changed this binary file"));
                }
                None => return Ok(Some("both sides changed the same lines")),
            },
        };
        self.tree
            .put(path, mode, Content::Bytes(Bytes::from(merged)), self.loader)?;
        Ok(None)
    }

    fn take(&mut self, path: &[u8], theirs: Option<Place<'_>>) -> Result<()> {
        let Some((node, index)) = theirs else {
            return self.tree.remove(path, self.loader);
        };
        let row = node.row(index);
        let is_directory = row.mode == Mode::Directory;
        if self
            .tree
            .find(path, self.loader)?
            .is_some_and(|there| (there.mode() == Mode::Directory) != is_directory)
        {
            self.tree.remove(path, self.loader)?;
        }
        if is_directory {
            return self
                .tree
                .put_directory(path, node.child(index, self.loader)?.clone(), self.loader);
        }
        self.tree.put(path, row.mode, content_of((node, index)), self.loader)
    }
}

fn same(a: Option<Place<'_>>, b: Option<Place<'_>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same_row((a.0, a.1), (b.0, b.1)),
        _ => false,
    }
}
