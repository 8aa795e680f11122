//! Diff and merge of workspaces and checkpoints.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use pyi_cas::{Id, Kind, Pin};
use pyi_tree::diff::{Difference, Side, diff};
use pyi_tree::merge::{MergeConflict, merge, merge_flat};
use pyi_tree::{Mode, Pending, Tree};

use crate::checkpoint::Checkpoint;
use crate::conflicts::{keep, kept_in, merge_kept};
use crate::engine::Engine;
use crate::entry::{Change, ChangeKind, Entry};
use crate::history::common_ancestor;
use crate::workspace::{HEAVY, Workspace};
use crate::{Error, ErrorKind, Result};

/// What to compare or merge with.
#[derive(Clone)]
pub enum Version {
    /// A workspace's present content.
    Workspace(Arc<Workspace>),
    /// A checkpoint.
    Checkpoint(Checkpoint),
    /// A checkpoint by its id.
    Id(Id),
}

struct Parts {
    files: Tree,
    state: Tree,
    /// What clashed in earlier merges and is not resolved.
    conflicts: Option<Id>,
    head: Id,
    pins: Vec<Arc<Pin>>,
}

impl Version {
    fn parts(&self, engine: &Arc<Engine>) -> Result<Parts> {
        let id = match self {
            Version::Workspace(workspace) => {
                if !Arc::ptr_eq(&workspace.engine, engine) {
                    return Err(Error::invalid(
                        "the other workspace belongs to another repository: compare checkpoints that are in this one",
                    ));
                }
                let mut content = workspace.content.lock();
                content.settle_arrays(None)?;
                return Ok(Parts {
                    files: content.files.clone(),
                    state: content.state.clone(),
                    conflicts: kept_in(&content.git),
                    head: content.head.id,
                    pins: content.all_pins(),
                });
            }
            Version::Checkpoint(checkpoint) => *checkpoint.id(),
            Version::Id(id) => *id,
        };
        let snapshot = engine.hold(&id)?;
        Ok(Parts {
            files: snapshot.files.clone(),
            state: snapshot.state.clone(),
            conflicts: kept_in(&snapshot.root.git),
            head: id,
            pins: vec![snapshot.pin.clone()],
        })
    }
}

/// A conflict of a merge.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The path (for a key of the state: `state:` and the key).
    pub path: Vec<u8>,
    /// What clashes, in words.
    pub reason: Cow<'static, str>,
    /// What stood there before.
    pub base: Option<Entry>,
    /// What stands there on our side.
    pub ours: Option<Entry>,
    /// What stands there on their side.
    pub theirs: Option<Entry>,
}

/// The changes from `old` to `new`, in the byte order of paths.
pub(crate) fn changes(engine: &Engine, old: &Tree, new: &Tree, renames: bool) -> Result<Vec<Change>> {
    let mut found: Vec<Change> = diff(old, new, &engine.loader)?.into_iter().map(change_of).collect();
    if renames {
        found = pair_moved(engine, found)?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn change_of(difference: Difference) -> Change {
    let Difference { path, old, new } = difference;
    let kind = match (&old, &new) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        (Some(old), Some(new)) => {
            if old.row.mode.is_file() && new.row.mode.is_file() && same_content(old, new) {
                ChangeKind::Mode
            } else {
                ChangeKind::Modified
            }
        }
    };
    let entry = |side: Option<Side>| side.map(|side| Entry::of_side(&path, &side));
    Change {
        kind,
        old: entry(old),
        new: entry(new),
        path: path.clone(),
    }
}

/// Whether two sides, known to differ in something, hold the same bytes. O(size) for what was not stored yet.
fn same_content(old: &Side, new: &Side) -> bool {
    let id = |side: &Side| match &side.pending {
        Some(Pending::Blob(content)) => Kind::Blob.id_of(content),
        _ => side.row.id,
    };
    old.row.size_bytes == new.row.size_bytes && id(old) == id(new)
}

/// Joins a removed and an added file of the same content into one moved file. O(changes).
fn pair_moved(engine: &Engine, changes: Vec<Change>) -> Result<Vec<Change>> {
    let mut removed: HashMap<(Id, Mode), Vec<usize>> = HashMap::new();
    for (index, change) in changes.iter().enumerate().rev() {
        if let (ChangeKind::Removed, Some(old)) = (change.kind, &change.old)
            && old.mode != Mode::Directory
            && old.size_bytes > 0
        {
            removed.entry((old.id(engine)?, old.mode)).or_default().push(index);
        }
    }
    let mut moved_from: HashMap<usize, usize> = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        if let (ChangeKind::Added, Some(new)) = (change.kind, &change.new)
            && new.mode != Mode::Directory
            && let Some(source) = removed.get_mut(&(new.id(engine)?, new.mode)).and_then(Vec::pop)
        {
            moved_from.insert(index, source);
        }
    }
    let gone: std::collections::HashSet<usize> = moved_from.values().copied().collect();
    let olds: HashMap<usize, Option<Entry>> = gone.iter().map(|index| (*index, changes[*index].old.clone())).collect();
    let mut result = Vec::with_capacity(changes.len());
    for (index, mut change) in changes.into_iter().enumerate() {
        if let Some(source) = moved_from.get(&index) {
            change.kind = ChangeKind::Moved;
            change.old = olds.get(source).cloned().flatten();
        }
        if !gone.contains(&index) {
            result.push(change);
        }
    }
    Ok(result)
}

impl Workspace {
    /// The changes from `other` (the head if `None`) to the present content. O(difference). With `renames`, a file that
    /// was removed and one of the same content that was added are one change.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub fn diff(&self, other: Option<&Version>, renames: bool) -> Result<Vec<Change>> {
        self.engine.open()?;
        let (files, head) = {
            let content = self.content.lock();
            (content.files.clone(), content.head.clone())
        };
        let other = other.map(|version| version.parts(&self.engine)).transpose()?;
        let old = other.as_ref().map_or(&head.files, |parts| &parts.files);
        changes(&self.engine, old, &files, renames)
    }

    /// Merges what changed from `base` to `other` into the present content, three-way by paths and lines; applied only if it
    /// is clean. `base` of `None` is the newest common ancestor of both heads, or nothing if they have none. The other head
    /// becomes a further parent of the next checkpoint.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`. Conflicts are no error but the result; it is empty if the merge was applied.
    pub fn merge(&self, other: &Version, base: Option<&Version>) -> Result<Vec<Conflict>> {
        self.merge_with(other, base, false)
    }

    /// As [`Workspace::merge`], and applied also if it is not clean: what clashes becomes part of the content. A text file then has all
    /// three versions between markers, anything else is as on our side (or theirs, if we have none), and
    /// [`Workspace::conflicts`] lists all of it until it is [resolved](Workspace::resolve).
    ///
    /// # Errors
    /// As [`Workspace::merge`]; `Storage`.
    pub fn merge_keeping(&self, other: &Version, base: Option<&Version>) -> Result<Vec<Conflict>> {
        self.merge_with(other, base, true)
    }

    fn merge_with(&self, other: &Version, base: Option<&Version>, keeps: bool) -> Result<Vec<Conflict>> {
        self.engine.open()?;
        let theirs = other.parts(&self.engine)?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        content.settle_arrays(None)?;
        let ancestor = common_ancestor(&self.engine, &content.head.id, &theirs.head)?;
        let base = match base {
            Some(version) => Some(version.parts(&self.engine)?),
            None => match ancestor.map(|id| Version::Id(id).parts(&self.engine)).transpose() {
                // Retention cut the history there, and left no more than its name.
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                found => found?,
            },
        };
        let (base_files, base_state, base_conflicts, _base_pins) = base.map_or_else(Default::default, |base| {
            (base.files, base.state, base.conflicts, base.pins)
        });
        let (loader, engine) = (&self.engine.loader, &*self.engine);
        let mut files = merge(&base_files, &content.files, &theirs.files, loader, engine)?;
        let state = merge_flat(&base_state, &content.state, &theirs.state, loader)?;
        let of_files = files.conflicts.iter().map(|found| conflict_of("", found));
        let of_state = state.conflicts.iter().map(|found| conflict_of("state:", found));
        let conflicts: Vec<Conflict> = of_files.chain(of_state).collect();
        let earlier = [base_conflicts, kept_in(&content.git), theirs.conflicts];
        let mut kept = merge_kept(engine, earlier)?;
        if keeps && !conflicts.is_empty() {
            let trees = [&base_files, &content.files, &theirs.files];
            let mut tree = kept.unwrap_or(engine.kept_tree(earlier[1])?);
            keep(engine, &mut tree, &mut files, &state.conflicts, trees)?;
            kept = Some(tree);
        }
        let changed = !Arc::ptr_eq(files.tree.root(), content.files.root())
            || !Arc::ptr_eq(state.tree.root(), content.state.root());
        let is_news = ancestor != Some(theirs.head) && !content.merged.contains(&theirs.head);
        if (conflicts.is_empty() || keeps) && (changed || is_news || kept.is_some()) {
            content.detach_changed(&state.tree, &self.engine)?;
            if let Some(kept) = kept {
                self.set_kept(&mut content, kept)?;
            }
            content.files = files.tree;
            content.state = state.tree;
            content.changed(HEAVY);
            content.rely_on(theirs.pins);
            if is_news {
                content.merged.push(theirs.head);
            }
        }
        Ok(conflicts)
    }
}

fn conflict_of(prefix: &str, found: &MergeConflict) -> Conflict {
    let entry = |side: &Option<Side>| side.as_ref().map(|side| Entry::of_side(&found.path, side));
    Conflict {
        path: [prefix.as_bytes(), &found.path].concat(),
        reason: Cow::Borrowed(found.reason),
        base: entry(&found.base),
        ours: entry(&found.ours),
        theirs: entry(&found.theirs),
    }
}
