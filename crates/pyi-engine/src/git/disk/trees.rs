//! Trees against trees and against the index: only what differs is read.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use pyi_git::command::{Change, Failure, Version};
use pyi_git::commit::Commit;
use pyi_git::index_ext::CacheTree;
use pyi_git::index_view::IndexView;
use pyi_git::oid_set::OidMap;
use pyi_git::tree::{MODE_GITLINK, MODE_TREE, TreeEntry, TreeIter, compare_names, is_well_formed};
use pyi_git::{Object, ObjectKind, Oid};

use super::super::directory::GitDirectory;
use super::files::stored;
use super::unsupported;

/// Trees in trees.
const DEPTH_MAX: usize = 512;
/// Commits whose trees are remembered.
const TOPS: usize = 4096;
/// Trees that are kept for when they are needed again: twice as many bytes at most, and one tree more.
const KEPT_BYTES: usize = 4 << 20;
/// What a small one costs beside its content.
const KEPT_EACH_BYTES: usize = 128;

/// What a tree has under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) mode: u32,
    pub(super) oid: Oid,
}

impl Row {
    fn of(entry: &TreeEntry<'_>) -> Self {
        Row {
            mode: entry.canonical_mode(),
            oid: entry.oid,
        }
    }

    pub(super) fn is_tree(&self) -> bool {
        self.mode == MODE_TREE
    }

    pub(super) fn version(&self) -> Version {
        stored(self.mode, &self.oid)
    }
}

/// A tree as it stands, with names in order.
type Content = Arc<Vec<u8>>;

/// What is told of a file that differs: its path, and what each side has there; whether to go on.
pub(super) type Told<'t> = dyn FnMut(&[u8], Option<Row>, Option<Row>) -> bool + 't;

/// Trees that were read.
#[derive(Default)]
pub(super) struct Trees {
    /// Those that were asked for since `older` was made of them.
    kept: OidMap<Content>,
    kept_bytes: usize,
    older: OidMap<Content>,
    /// The trees of commits that were asked for.
    tops: OidMap<Oid>,
    /// Trees and commits that nobody else sees yet.
    made: OidMap<Object>,
    /// Whether what is read is only looked at.
    only_looks: bool,
}

/// Whether a directory (`""`: the top) has, or is in, what is asked for.
fn leads(within: &[Vec<u8>], path: &[u8]) -> bool {
    let below = |path: &[u8], of: &[u8]| {
        path.strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || of.is_empty() || rest.first() == Some(&b'/'))
    };
    within.is_empty() || within.iter().any(|one| below(path, one) || below(one, path))
}

fn entries<'c>(git: &GitDirectory, content: &'c Content) -> impl Iterator<Item = TreeEntry<'c>> + use<'c> {
    // It was found to be well-formed.
    TreeIter::new(git.format(), content).map_while(Result::ok)
}

impl Trees {
    /// An object that was made, and may be asked for before it is written.
    pub(super) fn add(&mut self, oid: Oid, object: Object) {
        self.made.insert(oid, object);
    }

    /// Nothing is written that depends on what is read: packs are taken at their word.
    pub(super) fn only_look(&mut self) {
        self.only_looks = true;
    }

    fn object(&self, git: &GitDirectory, oid: &Oid) -> Result<Option<Object>, Failure> {
        match self.made.get(oid) {
            Some(object) => Ok(Some(object.clone())),
            None if self.only_looks => Ok(git.objects()?.look(oid)?),
            None => Ok(git.objects()?.read(oid)?),
        }
    }

    /// The content of a tree.
    pub(super) fn read(&mut self, git: &GitDirectory, oid: &Oid) -> Result<Content, Failure> {
        if let Some(known) = self.kept.get(oid) {
            return Ok(known.clone());
        }
        if let Some(known) = self.older.remove(oid) {
            return Ok(self.keep(oid, known));
        }
        if *oid == git.format().empty_tree() {
            return Ok(Content::default());
        }
        match self.object(git, oid)? {
            Some(object) if object.kind == ObjectKind::Tree => self.check(git, oid, object),
            _ => unsupported("a missing object"),
        }
    }

    /// Git shows what it finds, in the order that it finds, and writes none of it.
    fn check(&mut self, git: &GitDirectory, oid: &Oid, object: Object) -> Result<Content, Failure> {
        if !is_well_formed(git.format(), &object.data) {
            return unsupported("a malformed tree");
        }
        Ok(self.keep(oid, object.data))
    }

    fn keep(&mut self, oid: &Oid, content: Content) -> Content {
        if self.kept_bytes >= KEPT_BYTES {
            self.older = std::mem::take(&mut self.kept);
            self.kept_bytes = 0;
        }
        self.kept_bytes += content.len() + KEPT_EACH_BYTES;
        self.kept.insert(*oid, content.clone());
        content
    }

    /// Remembers the tree of a commit, for a while.
    pub(super) fn note(&mut self, commit: &Oid, tree: &Oid) {
        if self.tops.len() >= TOPS {
            self.tops.clear();
        }
        self.tops.insert(*commit, *tree);
    }

    /// The tree of a commit, tag or tree.
    pub(super) fn of(&mut self, git: &GitDirectory, oid: &Oid) -> Result<Oid, Failure> {
        if self.kept.contains_key(oid) || self.older.contains_key(oid) || *oid == git.format().empty_tree() {
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
                    self.check(git, &at, object)?;
                    return Ok(at);
                }
                ObjectKind::Commit => {
                    let tree = Commit::parse(git.format(), &object.data)?.tree;
                    self.note(oid, &tree);
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
            mode: MODE_TREE,
            oid: tree,
        };
        for name in path.split(|&byte| byte == b'/') {
            if !at.is_tree() {
                return Ok(None);
            }
            let content = self.read(git, &at.oid)?;
            let found = entries(git, &content).find(|entry| entry.name == name);
            match found {
                Some(entry) => at = Row::of(&entry),
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
        let content = self.read(git, tree)?;
        for entry in entries(git, &content) {
            let (path, row) = ([above, entry.name].concat(), Row::of(&entry));
            if row.is_tree() {
                self.list(git, &row.oid, &[&path[..], b"/"].concat(), found, depth + 1)?;
            } else {
                found(path, row.version());
            }
        }
        Ok(())
    }

    /// Tells what differs between two trees, until it is told to stop: whether it was not. What is the same in both is passed over as it stands.
    pub(super) fn diff(
        &mut self,
        git: &GitDirectory,
        sides: (Option<Oid>, Option<Oid>),
        above: &[u8],
        within: &[Vec<u8>],
        told: &mut Told<'_>,
        depth: usize,
    ) -> Result<bool, Failure> {
        if sides.0 == sides.1 {
            return Ok(true);
        }
        if depth > DEPTH_MAX {
            return unsupported("trees that are too deep");
        }
        let mut read = |side: Option<Oid>| match side {
            Some(oid) => self.read(git, &oid),
            None => Ok(Content::default()),
        };
        let (old, new) = (read(sides.0)?, read(sides.1)?);
        let (mut a, mut b) = (TreeIter::new(git.format(), &old), TreeIter::new(git.format(), &new));
        let mut path = above.to_vec();
        loop {
            a.skip_same(&mut b);
            let next = (a.peek().and_then(Result::ok), b.peek().and_then(Result::ok));
            let order = match &next {
                (None, None) => return Ok(true),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => compare_names(a.name, a.is_tree(), b.name, b.is_tree()),
            };
            let from = next.0.filter(|_| order.is_le());
            let to = next.1.filter(|_| order.is_ge());
            if from.is_some() {
                a.next();
            }
            if to.is_some() {
                b.next();
            }
            let Some(either) = from.as_ref().or(to.as_ref()) else {
                return Ok(true);
            };
            path.truncate(above.len());
            path.extend_from_slice(either.name);
            if !leads(within, &path) {
                continue;
            }
            let is_tree = either.is_tree();
            let (from, to) = (from.as_ref().map(Row::of), to.as_ref().map(Row::of));
            // A mode can be written in several ways.
            if from == to {
                continue;
            }
            let goes_on = if is_tree {
                path.push(b'/');
                let sides = (from.map(|row| row.oid), to.map(|row| row.oid));
                self.diff(git, sides, &path, within, told, depth + 1)?
            } else {
                told(&path, from, to)
            };
            if !goes_on {
                return Ok(false);
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
        let content = match tree {
            Some(tree) => self.read(git, &tree)?,
            None => Content::default(),
        };
        let mut rows = entries(git, &content).peekable();
        let mut next = at.range.start;
        loop {
            let item = at.item(next);
            let order = match (rows.peek(), &item) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(row), Some((name, range))) => compare_names(row.name, row.is_tree(), name, range.is_some()),
            };
            let row = if order.is_le() { rows.next() } else { None };
            let item = item.filter(|_| order.is_ge());
            let name = match (&row, &item) {
                (Some(row), _) => row.name,
                (None, Some((name, _))) => name,
                (None, None) => return Ok(()),
            };
            let path = [at.above, name].concat();
            let row = row.as_ref().map(Row::of);
            let is_directory = row.map_or(matches!(&item, Some((_, Some(_)))), |row| row.is_tree());
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
                    old: row.map(|row| row.version()),
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
