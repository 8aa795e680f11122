//! Conflicts of a merge as part of a workspace's content: kept by checkpoints, resolved one by one, merged again like files.
//!
//! All that clashed stands in one tree, whose node is named under `conflicts` in what a checkpoint knows for git (format v1, section 8):
//! `0/<path>` says what clashes, `1/<path>`, `2/<path>` and `3/<path>` are the base's, our and their version, as git numbers them. Keys of
//! the state stand one level below `s0` to `s3`, as names that may hold any byte.

use std::borrow::Cow;
use std::sync::Arc;

use pyi_cas::{Batch, Bytes, Id};
use pyi_tree::cbor::Value;
use pyi_tree::diff::Side;
use pyi_tree::merge::{Contents, MergeConflict, Merged, content_of_side, merge};
use pyi_tree::text_merge::{Labels, merge_text_marked};
use pyi_tree::tree::Content as NewContent;
use pyi_tree::{Mode, Sealer, Tree, Walk, WalkEntry, seal};

use crate::compare::Conflict;
use crate::engine::Engine;
use crate::entry::Entry;
use crate::workspace::{Content, HEAVY, Workspace, write_file};
use crate::{Error, Result, paths};

/// Where the tree is named.
const KEY: &str = "conflicts";
/// What conflicts of the state's keys are told by.
const STATE: &[u8] = b"state:";
const LABELS: Labels<'static> = Labels {
    ours: "ours",
    base: "base",
    theirs: "theirs",
};

/// Which version settles a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// What stands there now.
    Present,
    /// The version before both changed it.
    Base,
    /// Ours.
    Ours,
    /// Theirs.
    Theirs,
    /// This content.
    Data(Bytes),
}

/// The tree of conflicts that are not resolved.
pub(crate) fn kept_in(git: &Value) -> Option<Id> {
    Id::try_from(git.get(KEY)?.as_bytes()?).ok()
}

/// The path of a conflict in the tree: of its text (0) or of one of its versions (1 to 3).
fn place(stage: u8, path: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let stage = b'0' + stage;
    match path.strip_prefix(STATE) {
        Some(key) => (vec![b's', stage], Some(key)),
        None => ([&[stage, b'/'], path].concat(), None),
    }
}

impl Engine {
    /// The tree of an id of [`kept_in`]; an empty one for none.
    pub(crate) fn kept_tree(&self, id: Option<Id>) -> Result<Tree> {
        id.map_or_else(|| Ok(Tree::default()), |id| self.tree(&id))
    }
}

/// Merges what is not resolved in the base's, our and their version: what one side resolved is resolved. `None` if ours stays.
pub(crate) fn merge_kept(engine: &Engine, [base, ours, theirs]: [Option<Id>; 3]) -> Result<Option<Tree>> {
    if theirs == base || theirs == ours {
        return Ok(None);
    }
    let [base, ours, theirs] = [
        engine.kept_tree(base)?,
        engine.kept_tree(ours)?,
        engine.kept_tree(theirs)?,
    ];
    // Where both changed one, ours stays.
    Ok(Some(merge(&base, &ours, &theirs, &engine.loader, engine)?.tree))
}

fn put_flat(
    tree: &mut Tree,
    directory: &[u8],
    name: &[u8],
    put: Option<(Mode, NewContent)>,
    engine: &Engine,
) -> Result<()> {
    let mut below = match tree.find(directory, &engine.loader)? {
        Some(found) => Tree::from_root(found.child(&engine.loader)?.clone()),
        None => Tree::default(),
    };
    match put {
        Some((mode, content)) => below.put_name(name, mode, content, &engine.loader)?,
        None => {
            below.remove_name(name, &engine.loader)?;
        }
    }
    if below.root().is_empty() {
        return Ok(tree.remove(directory, &engine.loader)?);
    }
    Ok(tree.put_directory(directory, below.root().clone(), &engine.loader)?)
}

/// Adds one conflict to the tree; `versions` are the trees in which directories stand.
fn add(tree: &mut Tree, path: &[u8], found: &MergeConflict, versions: [&Tree; 3], engine: &Engine) -> Result<()> {
    remove(tree, path, engine)?;
    let reason = Some((
        Mode::File,
        NewContent::Bytes(Bytes::from_static(found.reason.as_bytes())),
    ));
    put(tree, 0, path, reason, engine)?;
    let sides = [&found.base, &found.ours, &found.theirs];
    for (at, (side, version)) in sides.into_iter().zip(versions).enumerate() {
        let Some(side) = side else { continue };
        let stage = at as u8 + 1;
        if side.row.mode == Mode::Directory {
            let node = version.directory(&found.path, &engine.loader)?.clone();
            tree.put_directory(&place(stage, path).0, node, &engine.loader)?;
        } else {
            put(tree, stage, path, Some((side.row.mode, content_of_side(side))), engine)?;
        }
    }
    Ok(())
}

fn put(tree: &mut Tree, stage: u8, path: &[u8], what: Option<(Mode, NewContent)>, engine: &Engine) -> Result<()> {
    match (place(stage, path), what) {
        ((directory, Some(key)), what) => put_flat(tree, &directory, key, what, engine),
        ((path, None), Some((mode, content))) => Ok(tree.put(&path, mode, content, &engine.loader)?),
        ((path, None), None) => Ok(tree.remove(&path, &engine.loader)?),
    }
}

/// Finds a conflict's text or one of its versions.
fn find(tree: &Tree, stage: u8, path: &[u8], engine: &Engine) -> Result<Option<Side>> {
    let side = |found: pyi_tree::Found<'_>| Side {
        row: found.row(),
        pending: found.pending().cloned(),
    };
    match place(stage, path) {
        (path, None) => Ok(tree.find(&path, &engine.loader)?.map(side)),
        (directory, Some(key)) => match tree.find(&directory, &engine.loader)? {
            Some(found) => {
                let below = Tree::from_root(found.child(&engine.loader)?.clone());
                Ok(below.find_name(key, &engine.loader)?.map(side))
            }
            None => Ok(None),
        },
    }
}

/// Takes a conflict out of the tree; whether there was one.
fn remove(tree: &mut Tree, path: &[u8], engine: &Engine) -> Result<bool> {
    let is_there = find(tree, 0, path, engine)?.is_some();
    for stage in 0..4 {
        if find(tree, stage, path, engine)?.is_some() {
            put(tree, stage, path, None, engine)?;
            remove_empty(tree, place(stage, path).0, engine)?;
        }
    }
    Ok(is_there)
}

/// Removes the directories above that nothing is left in, so that a tree without conflicts is empty.
fn remove_empty(tree: &mut Tree, mut path: Vec<u8>, engine: &Engine) -> Result<()> {
    while let Some(end) = path.iter().rposition(|byte| *byte == b'/') {
        path.truncate(end);
        match tree.find(&path, &engine.loader)? {
            Some(found) if found.child(&engine.loader)?.is_empty() => tree.remove(&path, &engine.loader)?,
            _ => break,
        }
    }
    Ok(())
}

/// Puts what clashed into the tree of conflicts, and what is to be seen of it into the files.
pub(crate) fn keep(
    engine: &Engine,
    kept: &mut Tree,
    files: &mut Merged,
    state: &[MergeConflict],
    versions: [&Tree; 3],
) -> Result<()> {
    for found in &files.conflicts {
        if found.path.starts_with(STATE) {
            // It would be taken for a key of the state, and settled there.
            let path = String::from_utf8_lossy(&found.path);
            return Err(Error::invalid(format!(
                "{path:?}: a file whose path begins with \"state:\" clashes, which cannot be kept; settle it in a fork of the other side and merge that"
            )));
        }
        add(kept, &found.path, found, versions, engine)?;
        show(engine, &mut files.tree, found)?;
    }
    for found in state {
        let path = [STATE, &found.path].concat();
        add(kept, &path, found, versions, engine)?;
    }
    Ok(())
}

/// Shows a conflict in the files: text with markers, anything else as ours or, without that, theirs.
fn show(engine: &Engine, files: &mut Tree, found: &MergeConflict) -> Result<()> {
    let put = |files: &mut Tree, mode, content| {
        // Where something else stands in the way, that stays, and the conflict says the rest.
        let mut edited = files.clone();
        if edited.put(&found.path, mode, content, &engine.loader).is_ok() {
            *files = edited;
        }
    };
    match (&found.ours, &found.theirs) {
        // A file that both moved, each to another place, is at these and not where it was.
        (Some(_), Some(_)) if files.find(&found.path, &engine.loader)?.is_none() => {}
        (Some(ours), Some(theirs)) if ours.row.mode.is_file() && theirs.row.mode.is_file() => {
            let base = match found.base.as_ref().filter(|base| base.row.mode.is_file()) {
                Some(base) => engine.read(base)?,
                None => Bytes::new(),
            };
            let texts = (engine.read(ours)?, engine.read(theirs)?);
            if let Some((text, _)) = merge_text_marked(&base, &texts.0, &texts.1, LABELS) {
                put(files, ours.row.mode, NewContent::Bytes(Bytes::from(text)));
            }
        }
        (None, Some(theirs)) if theirs.row.mode != Mode::Directory => {
            put(files, theirs.row.mode, content_of_side(theirs));
        }
        _ => {}
    }
    Ok(())
}

impl Workspace {
    /// Makes a tree of conflicts part of the content. It is stored at once, and pinned until a checkpoint names it.
    pub(crate) fn set_kept(&self, content: &mut Content, mut kept: Tree) -> Result<()> {
        let mut pairs = match &*content.git {
            Value::Map(pairs) => pairs.clone(),
            _ => Vec::new(),
        };
        pairs.retain(|(key, _)| key != KEY);
        if !kept.root().is_empty() {
            let _section = self.engine.store().section();
            let mut batch = Batch::default();
            let id = seal(kept.root_mut(), &mut Sealer::new(self.engine.store(), &mut batch))?;
            if !batch.is_empty() {
                self.engine.store().commit(&mut batch)?;
            }
            content.rely_on([Arc::new(self.engine.store().pin(&id))]);
            pairs.push((KEY.to_owned(), Value::Bytes(id.0.to_vec())));
        }
        content.git = Arc::new(if pairs.is_empty() {
            Value::Null
        } else {
            Value::Map(pairs)
        });
        Ok(())
    }

    /// What clashed in merges that were [kept](Workspace::merge_keeping), until it is resolved; sorted. O(conflicts).
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn conflicts(&self) -> Result<Vec<Conflict>> {
        self.engine.open()?;
        let kept = kept_in(&self.content.lock().git);
        let tree = self.engine.kept_tree(kept)?;
        let mut conflicts = Vec::new();
        for (directory, prefix) in [(&b"0"[..], &b""[..]), (b"s0", STATE)] {
            let Some(found) = tree.find(directory, &self.engine.loader)? else {
                continue;
            };
            let mut walk = Walk::files(found.child(&self.engine.loader)?.clone(), b"");
            while let Some(reason) = walk.next(&self.engine.loader)? {
                conflicts.push(self.conflict(&tree, [prefix, &reason.path].concat(), &reason)?);
            }
        }
        Ok(conflicts)
    }

    fn conflict(&self, tree: &Tree, path: Vec<u8>, reason: &WalkEntry) -> Result<Conflict> {
        let text = self.engine.content(&reason.row.id, reason.pending.as_ref())?;
        let entry = |stage| -> Result<Option<Entry>> {
            let side = find(tree, stage, &path, &self.engine)?;
            Ok(side.map(|side| Entry::of_side(&path, &side)))
        };
        Ok(Conflict {
            reason: Cow::Owned(String::from_utf8_lossy(&text).into_owned()),
            base: entry(1)?,
            ours: entry(2)?,
            theirs: entry(3)?,
            path,
        })
    }

    /// Settles one conflict that was kept (of a key of the state: `state:` and the key), for good with the next checkpoint.
    ///
    /// # Errors
    /// `NotFound` if nothing clashes there; `InvalidArgument` for data for a key of the state; `InvalidPath` if something is in the way.
    /// Nothing changed then.
    pub fn resolve(&self, path: &[u8], take: &Take) -> Result<()> {
        self.engine.open()?;
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        let mut kept = self.engine.kept_tree(kept_in(&content.git))?;
        let stage = match take {
            Take::Base => 1,
            Take::Ours => 2,
            Take::Theirs => 3,
            Take::Present | Take::Data(_) => 0,
        };
        let version = find(&kept, stage, path, &self.engine)?;
        let directory = match &version {
            Some(side) if stage > 0 && side.row.mode == Mode::Directory => {
                Some(kept.directory(&place(stage, path).0, &self.engine.loader)?.clone())
            }
            _ => None,
        };
        if !remove(&mut kept, path, &self.engine)? {
            let path = String::from_utf8_lossy(path);
            return Err(Error::not_found(format!(
                "{path:?}: nothing clashes here; `conflicts` lists what does"
            )));
        }
        let (mut files, mut state) = (content.files.clone(), content.state.clone());
        match (path.strip_prefix(STATE), take) {
            (_, Take::Present) => {}
            (Some(_), Take::Data(_)) => {
                return Err(Error::invalid(
                    "a key of the state is resolved by assigning it, or by a version",
                ));
            }
            (Some(key), _) => match &version {
                Some(side) => state.put_name(key, side.row.mode, content_of_side(side), &self.engine.loader)?,
                None => {
                    state.remove_name(key, &self.engine.loader)?;
                }
            },
            (None, Take::Data(data)) => {
                paths::check(path)?;
                write_file(&mut files, path, data.clone(), None, &self.engine)?;
            }
            (None, _) => {
                if files.find(path, &self.engine.loader)?.is_some() {
                    files.remove(path, &self.engine.loader)?;
                }
                match (&version, directory) {
                    (_, Some(node)) => files.put_directory(path, node, &self.engine.loader)?,
                    (Some(side), None) => files.put(path, side.row.mode, content_of_side(side), &self.engine.loader)?,
                    (None, None) => {}
                }
            }
        }
        // What stays of a version is named by the files or the state from now on, and pinned until they are checkpointed.
        let pin = kept_in(&content.git).map(|id| Arc::new(self.engine.store().pin(&id)));
        content.rely_on(pin);
        content.detach_changed(&state, &self.engine)?;
        self.set_kept(&mut content, kept)?;
        content.files = files;
        content.state = state;
        content.changed(HEAVY);
        Ok(())
    }

    /// # Errors
    /// `Conflict` if something that clashes was kept and is not resolved.
    pub(crate) fn check_resolved(&self) -> Result<()> {
        match self.conflicts()?.first() {
            None => Ok(()),
            Some(first) => Err(Error::conflict(format!(
                "{:?} is not resolved: {}; resolve(path, ...) settles it",
                String::from_utf8_lossy(&first.path),
                first.reason
            ))),
        }
    }
}
