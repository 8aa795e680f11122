//! Three-way merge of trees: by path, and by lines within a text file. A file that one side moved is merged where it stands now.
//! Conflicts are data.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::cursor::{Place, differing, same_node, same_row};
use crate::diff::Side;
use crate::moves::{Moves, moves};
use crate::text_merge::merge_text;
use crate::tree::Content;
use crate::{Loader, Mode, Node, Pending, Result, Tree, Walk};

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
    content_of_side(&Side::of((node, index)))
}

/// What a side holds, to be put somewhere else.
#[must_use]
pub fn content_of_side(side: &Side) -> Content {
    let row = &side.row;
    match &side.pending {
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

/// A file of the base that is gone from a side, while the other one changed it or has it no more either.
struct Parted {
    path: Vec<u8>,
    base: Side,
    ours: Option<Side>,
    theirs: Option<Side>,
}

const WE_REMOVED: &str = "we removed what they changed";
const THEY_REMOVED: &str = "they removed what we changed";

struct Merge<'a> {
    loader: &'a dyn Loader,
    contents: &'a dyn Contents,
    base: &'a Tree,
    ours: &'a Tree,
    theirs: &'a Tree,
    tree: Tree,
    conflicts: Vec<MergeConflict>,
    parted: Vec<Parted>,
}

/// Merges what changed from `base` to `theirs` into `ours`. O(difference between base and theirs * depth); O(1) where one
/// side did not change a directory. Only if a file is gone from one side that the other side changed or lacks too, both differences are
/// looked through for where it went.
///
/// # Errors
/// What the loader and `contents` say.
pub fn merge(base: &Tree, ours: &Tree, theirs: &Tree, loader: &dyn Loader, contents: &dyn Contents) -> Result<Merged> {
    let mut run = Merge {
        loader,
        contents,
        base,
        ours,
        theirs,
        tree: ours.clone(),
        conflicts: Vec::new(),
        parted: Vec::new(),
    };
    if !same_node(ours.root(), theirs.root()) {
        run.directory(&[], base.root(), ours.root(), theirs.root())?;
        run.settle_moves()?;
    }
    Ok(Merged {
        tree: run.tree,
        conflicts: run.conflicts,
    })
}

impl Merge<'_> {
    fn directory(&mut self, path: &[u8], base: &Arc<Node>, ours: &Arc<Node>, theirs: &Arc<Node>) -> Result<()> {
        if same_node(base, theirs) {
            return Ok(());
        }
        if same_node(ours, theirs) {
            return self.changed_alike(path, base, ours);
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
            return match (ours, self.node(base)?, self.node(ours)?) {
                (None, _, _) => self.both_removed(path, base),
                (_, Some(base), Some(ours)) => self.changed_alike(path, &base, &ours),
                _ => Ok(()),
            };
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
        if let (Some(base), ours, theirs) = &sides
            && base.row.mode.is_file()
            && ours.iter().chain(theirs).all(|side| side.row.mode.is_file())
            && (ours.is_none() || theirs.is_none())
        {
            self.parted.push(Parted {
                path: path.to_vec(),
                base: base.clone(),
                ours: ours.clone(),
                theirs: theirs.clone(),
            });
            return Ok(());
        }
        let reason = match (&sides.1, &sides.2) {
            (Some(our), Some(their)) if our.row.mode.is_file() && their.row.mode.is_file() => {
                match self.files(path, sides.0.as_ref(), our, their)? {
                    Some(reason) => reason,
                    None => return Ok(()),
                }
            }
            (Some(_), Some(_)) if sides.0.is_none() => "both sides added something else here",
            (Some(_), Some(_)) => "both sides changed this in ways that do not fit together",
            (None, _) => WE_REMOVED,
            (_, None) => THEY_REMOVED,
        };
        self.conflict(path, reason, sides);
        Ok(())
    }

    fn conflict(&mut self, path: &[u8], reason: &'static str, sides: (Option<Side>, Option<Side>, Option<Side>)) {
        let (base, ours, theirs) = sides;
        self.conflicts.push(MergeConflict {
            path: path.to_vec(),
            reason,
            base,
            ours,
            theirs,
        });
    }

    /// Looks for files that both sides removed from a directory that is the same on both.
    fn changed_alike(&mut self, path: &[u8], base: &Arc<Node>, now: &Arc<Node>) -> Result<()> {
        differing(Some(base), Some(now), self.loader, &mut |name, base, now| {
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name);
            match (now, self.node(base)?, self.node(now)?) {
                (None, _, _) => self.both_removed(&below, base),
                (_, Some(base), Some(now)) => self.changed_alike(&below, &base, &now),
                _ => Ok(()),
            }
        })
    }

    /// Notes files that neither side has any more: both may have moved them.
    fn both_removed(&mut self, path: &[u8], base: Option<Place<'_>>) -> Result<()> {
        let mut part = |path: Vec<u8>, base: Side| {
            if base.row.mode.is_file() {
                self.parted.push(Parted {
                    path,
                    base,
                    ours: None,
                    theirs: None,
                });
            }
        };
        let Some(place) = base else { return Ok(()) };
        if place.0.mode(place.1) != Mode::Directory {
            part(path.to_vec(), Side::of(place));
            return Ok(());
        }
        let mut walk = Walk::files(place.0.child(place.1, self.loader)?.clone(), path);
        while let Some(entry) = walk.next(self.loader)? {
            let (row, pending) = (entry.row, entry.pending);
            part(entry.path, Side { row, pending });
        }
        Ok(())
    }

    /// Merges what a side moved, and what the other side did to it, where it stands now.
    fn settle_moves(&mut self) -> Result<()> {
        let parted = std::mem::take(&mut self.parted);
        if parted.is_empty() {
            return Ok(());
        }
        let wanted: HashSet<Vec<u8>> = parted.iter().map(|one| one.path.clone()).collect();
        let find = |side: &Tree, is_needed: bool| match is_needed {
            true => moves(self.base, side, &wanted, self.loader, self.contents),
            false => Ok(Moves::new()),
        };
        let ours = find(self.ours, parted.iter().any(|one| one.ours.is_none()))?;
        let theirs = find(self.theirs, parted.iter().any(|one| one.theirs.is_none()))?;
        for Parted {
            path,
            base,
            ours: our_side,
            theirs: their_side,
        } in parted
        {
            let (we_moved, they_moved) = (ours.get(&path), theirs.get(&path));
            match (our_side, their_side) {
                (None, Some(their_side)) => match we_moved {
                    Some(to) if self.theirs.find(&to.path, self.loader)?.is_none() && self.can_hold(&to.path)? => {
                        self.moved_files(&to.path, &base, &to.side, &their_side)?;
                    }
                    _ => self.conflict(&path, WE_REMOVED, (Some(base), None, Some(their_side))),
                },
                (Some(our_side), None) => match they_moved {
                    Some(to) if self.ours.find(&to.path, self.loader)?.is_none() && self.can_hold(&to.path)? => {
                        self.tree.remove(&path, self.loader)?;
                        self.remove_empty_above(&path)?;
                        let content = content_of_side(&our_side);
                        self.tree.put(&to.path, our_side.row.mode, content, self.loader)?;
                        self.moved_files(&to.path, &base, &our_side, &to.side)?;
                    }
                    _ => self.conflict(&path, THEY_REMOVED, (Some(base), Some(our_side), None)),
                },
                _ => match (we_moved, they_moved) {
                    (Some(our), Some(their)) if our.path == their.path => {
                        let known = self.conflicts.iter().position(|one| one.path == our.path);
                        if let Some(known) = known {
                            self.conflicts.remove(known);
                            self.moved_files(&our.path, &base, &our.side, &their.side)?;
                        }
                    }
                    (Some(our), Some(their)) => {
                        let sides = (Some(base), Some(our.side.clone()), Some(their.side.clone()));
                        self.conflict(&path, "both sides moved this, each to another place", sides);
                    }
                    (Some(our), None) => {
                        let sides = (Some(base), Some(our.side.clone()), None);
                        self.conflict(&our.path, "they removed what we moved here", sides);
                    }
                    (None, Some(their)) => {
                        let sides = (Some(base), None, Some(their.side.clone()));
                        self.conflict(&their.path, "we removed what they moved here", sides);
                    }
                    (None, None) => {}
                },
            }
        }
        Ok(())
    }

    /// Whether a file can be put here: nothing but directories stands above.
    fn can_hold(&self, path: &[u8]) -> Result<bool> {
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(end, _)| end);
        for end in ends {
            if let Some(above) = self.tree.find(&path[..end], self.loader)?
                && above.mode() != Mode::Directory
            {
                return Ok(false);
            }
        }
        let here = self.tree.find(path, self.loader)?;
        Ok(here.is_none_or(|here| here.mode().is_file()))
    }

    fn moved_files(&mut self, path: &[u8], base: &Side, ours: &Side, theirs: &Side) -> Result<()> {
        if let Some(reason) = self.files(path, Some(base), ours, theirs)? {
            let sides = (Some(base.clone()), Some(ours.clone()), Some(theirs.clone()));
            self.conflict(path, reason, sides);
        }
        Ok(())
    }

    /// Takes away the directories above what they moved, as far as nothing is left in them and they have them no more.
    fn remove_empty_above(&mut self, path: &[u8]) -> Result<()> {
        let mut above = path;
        while let Some(end) = above.iter().rposition(|byte| *byte == b'/') {
            above = &above[..end];
            let is_empty = self.tree.directory(above, self.loader)?.is_empty();
            if !is_empty || self.theirs.find(above, self.loader)?.is_some() {
                break;
            }
            self.tree.remove(above, self.loader)?;
        }
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
