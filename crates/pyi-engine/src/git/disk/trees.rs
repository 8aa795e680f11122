//! Trees against trees and against the index: only what differs is read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use pyi_git::command::{Change, Failure, Version};
use pyi_git::commit::Commit;
use pyi_git::index_ext::CacheTree;
use pyi_git::index_view::IndexView;
use pyi_git::path::validate_component;
use pyi_git::tree::{MODE_GITLINK, MODE_TREE, TreeIter, compare_names};
use pyi_git::{Object, ObjectKind, Oid};

use super::super::directory::GitDirectory;
use super::files::stored;
use super::unsupported;

/// Trees in trees.
const DEPTH_MAX: usize = 512;
/// Trees that are kept for when they are needed again.
const KEPT: usize = 4096;

/// One entry of a tree.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) oid: Oid,
}

impl Row {
    pub(super) fn is_tree(&self) -> bool {
        self.mode == MODE_TREE
    }

    fn version(&self) -> Version {
        stored(self.mode, &self.oid)
    }
}

/// Trees that were read.
#[derive(Default)]
pub(super) struct Trees {
    read: HashMap<Oid, Arc<Vec<Row>>>,
    /// The trees of commits that were asked for.
    tops: HashMap<Oid, Oid>,
    /// Trees and commits that nobody else sees yet.
    made: HashMap<Oid, Object>,
}

/// Whether a directory (`""`: the top) has, or is in, what is asked for.
fn leads(within: &[Vec<u8>], path: &[u8]) -> bool {
    let below = |path: &[u8], of: &[u8]| {
        path.strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || of.is_empty() || rest.first() == Some(&b'/'))
    };
    within.is_empty() || within.iter().any(|one| below(path, one) || below(one, path))
}

fn rows_of(git: &GitDirectory, object: &Object) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    for entry in TreeIter::new(git.format(), &object.data) {
        let entry = entry?;
        let is_after = |last: &Row| {
            let is_tree = entry.canonical_mode() == MODE_TREE;
            let order = compare_names(&last.name, last.is_tree(), entry.name, is_tree);
            order.is_lt() && last.name != entry.name
        };
        // Git shows what it finds, in the order that it finds, and writes none of it.
        if validate_component(entry.name).is_err() || !rows.last().is_none_or(is_after) {
            return unsupported("a malformed tree");
        }
        rows.push(Row {
            name: entry.name.to_vec(),
            mode: entry.canonical_mode(),
            oid: entry.oid,
        });
    }
    Ok(rows)
}

impl Trees {
    /// An object that was made, and may be asked for before it is written.
    pub(super) fn add(&mut self, oid: Oid, object: Object) {
        self.made.insert(oid, object);
    }

    fn object(&self, git: &GitDirectory, oid: &Oid) -> Result<Option<Object>, Failure> {
        match self.made.get(oid) {
            Some(object) => Ok(Some(object.clone())),
            None => Ok(git.objects()?.read(oid)?),
        }
    }

    /// The entries of a tree.
    pub(super) fn read(&mut self, git: &GitDirectory, oid: &Oid) -> Result<Arc<Vec<Row>>, Failure> {
        if let Some(known) = self.read.get(oid) {
            return Ok(known.clone());
        }
        let mut rows = Vec::new();
        if *oid != git.format().empty_tree() {
            let object = match self.object(git, oid)? {
                Some(object) if object.kind == ObjectKind::Tree => object,
                _ => return unsupported("a missing object"),
            };
            rows = rows_of(git, &object)?;
        }
        Ok(self.keep(oid, rows))
    }

    fn keep(&mut self, oid: &Oid, rows: Vec<Row>) -> Arc<Vec<Row>> {
        if self.read.len() >= KEPT {
            self.read.clear();
        }
        let rows = Arc::new(rows);
        self.read.insert(*oid, rows.clone());
        rows
    }

    /// The tree of a commit, tag or tree.
    pub(super) fn of(&mut self, git: &GitDirectory, oid: &Oid) -> Result<Oid, Failure> {
        if self.read.contains_key(oid) || *oid == git.format().empty_tree() {
            return Ok(*oid);
        }
        if let Some(tree) = self.tops.get(oid) {
            return Ok(*tree);
        }
        let mut at = *oid;
        for _ in 0..64 {
            let Some(object) = self.object(git, &at)? else {
                return unsupported("a missing object");
            };
            match object.kind {
                ObjectKind::Tree => {
                    let rows = rows_of(git, &object)?;
                    self.keep(&at, rows);
                    return Ok(at);
                }
                ObjectKind::Commit => {
                    let tree = Commit::parse(git.format(), &object.data)?.tree;
                    // A walk asks for each twice: as what came after, and before.
                    if self.tops.len() >= KEPT {
                        self.tops.clear();
                    }
                    self.tops.insert(*oid, tree);
                    return Ok(tree);
                }
                ObjectKind::Tag => at = pyi_git::tag::Tag::parse(git.format(), &object.data)?.target,
                ObjectKind::Blob => break,
            }
        }
        unsupported("something else than a tree")
    }

    /// What stands at a path of a tree.
    pub(super) fn find(&mut self, git: &GitDirectory, tree: Oid, path: &[u8]) -> Result<Option<Row>, Failure> {
        let mut at = Row {
            name: Vec::new(),
            mode: MODE_TREE,
            oid: tree,
        };
        for name in path.split(|&byte| byte == b'/') {
            if !at.is_tree() {
                return Ok(None);
            }
            let rows = self.read(git, &at.oid)?;
            match rows.iter().find(|row| row.name == name) {
                Some(row) => at = row.clone(),
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// All files of a tree, with `above` before their names.
    pub(super) fn list(
        &mut self,
        git: &GitDirectory,
        tree: &Oid,
        above: &[u8],
        found: &mut dyn FnMut(Vec<u8>, Version),
        depth: usize,
    ) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return unsupported("trees that are too deep");
        }
        for row in self.read(git, tree)?.iter() {
            let path = [above, &row.name].concat();
            if row.is_tree() {
                self.list(git, &row.oid, &[&path[..], b"/"].concat(), found, depth + 1)?;
            } else {
                found(path, row.version());
            }
        }
        Ok(())
    }

    /// What differs between two trees.
    pub(super) fn diff(
        &mut self,
        git: &GitDirectory,
        sides: (Option<Oid>, Option<Oid>),
        above: &[u8],
        within: &[Vec<u8>],
        out: &mut Vec<Change>,
        depth: usize,
    ) -> Result<(), Failure> {
        if sides.0 == sides.1 || depth > DEPTH_MAX {
            return if depth > DEPTH_MAX {
                unsupported("trees that are too deep")
            } else {
                Ok(())
            };
        }
        let mut read = |side: Option<Oid>| match side {
            Some(oid) => self.read(git, &oid),
            None => Ok(Arc::default()),
        };
        let (old, new) = (read(sides.0)?, read(sides.1)?);
        let (mut a, mut b) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => pyi_git::tree::compare_names(&a.name, a.is_tree(), &b.name, b.is_tree()),
            };
            let from = if order.is_le() { a.next() } else { None };
            let to = if order.is_ge() { b.next() } else { None };
            if let (Some(from), Some(to)) = (from, to)
                && (from.mode, from.oid) == (to.mode, to.oid)
            {
                continue;
            }
            let Some(either) = from.or(to) else { return Ok(()) };
            let path = [above, &either.name].concat();
            if !leads(within, &path) {
                continue;
            }
            if either.is_tree() {
                let below = [&path[..], b"/"].concat();
                let sides = (from.map(|row| row.oid), to.map(|row| row.oid));
                self.diff(git, sides, &below, within, out, depth + 1)?;
            } else {
                let (old, new) = (from.map(Row::version), to.map(Row::version));
                out.push(Change { path, old, new });
            }
        }
    }

    /// What differs from a tree to the index; directories that the index knows to be equal to their tree are not looked at.
    pub(super) fn diff_index(
        &mut self,
        git: &GitDirectory,
        tree: Option<Oid>,
        at: &Below<'_>,
        out: &mut Vec<Change>,
        depth: usize,
    ) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return unsupported("trees that are too deep");
        }
        if let (Some(tree), Some((_, known))) = (tree, at.known.and_then(|known| known.tree.as_ref()))
            && tree == *known
        {
            // Git looks into the top all the same: of a malformed one it shows what the index, which is in order, cannot hold.
            if depth == 0 {
                self.read(git, &tree)?;
            }
            return Ok(());
        }
        let rows = match tree {
            Some(tree) => self.read(git, &tree)?,
            None => Arc::default(),
        };
        let mut rows = rows.iter().peekable();
        let mut next = at.range.start;
        loop {
            let item = at.item(next);
            let order = match (rows.peek(), &item) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(row), Some((name, range))) => {
                    pyi_git::tree::compare_names(&row.name, row.is_tree(), name, range.is_some())
                }
            };
            let row = if order.is_le() { rows.next() } else { None };
            let item = item.filter(|_| order.is_ge());
            let name = match (row, &item) {
                (Some(row), _) => row.name.as_slice(),
                (None, Some((name, _))) => name,
                (None, None) => return Ok(()),
            };
            let path = [at.above, name].concat();
            let is_directory = row.map_or(matches!(&item, Some((_, Some(_)))), Row::is_tree);
            let entry = item.is_some().then(|| at.view.entry(next));
            let range = match item {
                Some((_, Some(range))) => range,
                Some((_, None)) => next..next + 1,
                None => next..next,
            };
            next = range.end;
            if !leads(at.within, &path) {
                continue;
            }
            if is_directory {
                let above = [&path[..], b"/"].concat();
                let known = at
                    .known
                    .and_then(|known| known.children.iter().find(|child| child.name == name));
                let below = Below {
                    above: &above,
                    range,
                    known,
                    ..*at
                };
                self.diff_index(git, row.map(|row| row.oid), &below, out, depth + 1)?;
                continue;
            }
            let same = matches!((row, entry), (Some(row), Some(entry))
                if row.mode == entry.mode() && row.oid.as_bytes() == entry.raw_oid());
            if !same {
                out.push(Change {
                    path,
                    old: row.map(Row::version),
                    new: entry.map(|entry| stored(entry.mode(), &entry.oid())),
                });
            }
        }
    }
}

/// A directory of the index.
pub(super) struct Below<'i> {
    pub(super) view: &'i IndexView,
    /// Its path, with a slash behind; empty for the top.
    pub(super) above: &'i [u8],
    /// Its entries.
    pub(super) range: Range<usize>,
    /// What is known of its tree.
    pub(super) known: Option<&'i CacheTree>,
    pub(super) within: &'i [Vec<u8>],
}

impl<'i> Below<'i> {
    /// The file or directory that begins at an entry: its name, and the entries of a directory.
    fn item(&self, at: usize) -> Option<(&'i [u8], Option<Range<usize>>)> {
        if at >= self.range.end {
            return None;
        }
        let path = self.view.path(at);
        let rest = path.get(self.above.len()..)?;
        let Some(slash) = rest.iter().position(|&byte| byte == b'/') else {
            return Some((rest, None));
        };
        let (name, prefix_len) = (rest.get(..slash)?, self.above.len() + slash + 1);
        let known = self
            .known
            .and_then(|known| known.children.iter().find(|child| child.name == name));
        // A directory whose tree is known says how many entries it has.
        let end = match known.and_then(|known| known.tree.as_ref()) {
            // One without entries would never end; git takes no notice of it either.
            Some((count, _)) if *count > 0 => at + *count as usize,
            _ => self.view.end_of(at..self.range.end, path.get(..prefix_len)?),
        };
        Some((name, Some(at..end.min(self.range.end))))
    }
}

/// The trees of the index, all of them: what is known is kept, the others are made. `made` gets what is new.
pub(super) fn build(
    view: &IndexView,
    range: Range<usize>,
    above: usize,
    known: Option<CacheTree>,
    name: &[u8],
    made: &mut dyn FnMut(Oid, Vec<u8>),
) -> Result<CacheTree, Failure> {
    if let Some(known) = &known
        && known
            .tree
            .as_ref()
            .is_some_and(|(count, _)| *count as usize == range.len())
    {
        return Ok(known.clone());
    }
    let format = view.format();
    let mut old = known.map(|known| known.children).unwrap_or_default();
    let mut children = Vec::new();
    let mut rows: Vec<(&[u8], u32, Oid)> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let (entry, path) = (view.entry(at), view.path(at));
        let rest = path.get(above..).unwrap_or_default();
        let Some(slash) = rest.iter().position(|&byte| byte == b'/') else {
            if entry.mode() == MODE_GITLINK || entry.stage() != 0 {
                return unsupported("a submodule or conflict");
            }
            rows.push((rest, entry.mode(), entry.oid()));
            at += 1;
            continue;
        };
        let child = rest.get(..slash).unwrap_or_default();
        let prefix = path.get(..above + slash + 1).unwrap_or_default();
        let end = view.end_of(at..range.end, prefix);
        let found = old
            .iter()
            .position(|old| old.name == child)
            .map(|found| old.swap_remove(found));
        if prefix.iter().filter(|byte| **byte == b'/').count() > DEPTH_MAX {
            return unsupported("trees that are too deep");
        }
        let built = build(view, at..end, above + slash + 1, found, child, made)?;
        if let Some((_, oid)) = &built.tree {
            rows.push((child, MODE_TREE, *oid));
        }
        children.push(built);
        at = end;
    }
    // Git keeps them by length, then by name.
    children.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    let raw = pyi_git::tree::encode_tree(format, &rows)?;
    let oid = pyi_git::hash_object(format, ObjectKind::Tree, &raw);
    made(oid, raw);
    Ok(CacheTree {
        name: name.to_vec(),
        tree: Some((u32::try_from(range.len())?, oid)),
        children,
    })
}

/// What is known of the trees above a path is not so any more.
pub(super) fn forget(root: &mut CacheTree, path: &[u8]) {
    let mut at = root;
    let mut rest = path;
    loop {
        at.tree = None;
        let Some(slash) = rest.iter().position(|&byte| byte == b'/') else {
            at.children.retain(|child| child.name != rest);
            return;
        };
        let name = rest.get(..slash).unwrap_or_default();
        rest = rest.get(slash + 1..).unwrap_or_default();
        match at.children.iter_mut().find(|child| child.name == name) {
            Some(child) => at = child,
            None => return,
        }
    }
}
