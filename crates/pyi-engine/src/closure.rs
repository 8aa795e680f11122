//! What is reached from where: which names and checkpoints an object that is damaged or missing takes with it. Each node is looked at once;
//! a node's damage is that of everything below it, so a damaged object finds all that rest on it without going down again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use pyi_cas::{Id, IdMap, IdSet, Kind};
use pyi_tree::array::named_by;
use pyi_tree::refs::{SuperpositionRecord, WorkspaceRecord, decode_branch, decode_tag};
use pyi_tree::{CheckpointRoot, Mode, Node};

use crate::engine::Engine;
use crate::mark::trees_of;
use crate::repository::name_of;
use crate::retention::Retention;
use crate::superposition::is_living;
use crate::{ErrorKind, Result};

/// Damage below something: numbers of damaged objects, ascending; `None`: all is whole.
type Below = Option<Rc<[u32]>>;

/// No array has lists above lists above lists any further.
const ARRAY_DEPTH_MAX: usize = 8;

/// Who is affected by damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Branches whose head cannot be read in full.
    pub branches: BTreeSet<String>,
    /// Named workspaces, likewise.
    pub workspaces: BTreeSet<String>,
    /// Living superpositions whose base cannot be read in full.
    pub superpositions: BTreeSet<String>,
    /// Tags that were pushed and whose commit cannot be read in full.
    pub tags: BTreeSet<String>,
    /// Checkpoints that are kept, likewise: what the ref is called.
    pub kept: BTreeSet<String>,
    /// Branches, workspaces and tags whose head is whole and one of whose earlier checkpoints is not.
    pub histories: BTreeSet<String>,
    /// Checkpoints that cannot be read in full.
    pub checkpoints: BTreeSet<Id>,
}

impl Affected {
    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Affected::default()
    }

    pub(crate) fn merge(&mut self, other: &Affected) {
        self.branches.extend(other.branches.iter().cloned());
        self.workspaces.extend(other.workspaces.iter().cloned());
        self.superpositions.extend(other.superpositions.iter().cloned());
        self.tags.extend(other.tags.iter().cloned());
        self.kept.extend(other.kept.iter().cloned());
        self.histories.extend(other.histories.iter().cloned());
        self.checkpoints.extend(other.checkpoints.iter().copied());
    }
}

/// What kind of name it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Branch,
    Workspace,
    Superposition,
    Tag,
    Kept,
}

struct Name {
    family: Family,
    name: String,
    /// Checkpoints that it names.
    heads: Vec<Id>,
    /// The node of a journal that was flushed after the head.
    journal: Option<Id>,
}

/// What a walk found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached {
    /// Objects that are damaged or missing, and whom they affect.
    pub(crate) lost: BTreeMap<Id, (Kind, Affected)>,
    /// The same for all of them together.
    pub(crate) affected: Affected,
}

/// What to look at.
pub(crate) struct Scope<'a> {
    /// Objects that are known to have no whole copy.
    pub(crate) damaged: &'a [(Id, Kind)],
    /// Checkpoints to look at besides those that a name leads to.
    pub(crate) checkpoints: &'a [Id],
    /// Whether a parent that is not there is damage; else it may have been collected.
    pub(crate) parents: bool,
}

/// Looks at everything that names lead to. O(nodes), one read each, one lookup for each content.
pub(crate) fn walk(engine: &Engine, scope: &Scope<'_>) -> Result<Reached> {
    let mut walker = Walker {
        engine,
        damaged: scope.damaged.iter().copied().collect(),
        lost: Vec::new(),
        number: IdMap::default(),
        nodes: IdMap::default(),
        checkpoints: IdMap::default(),
        parents: IdMap::default(),
        missing_parents: scope.parents,
        ends_histories: Retention::read(engine)?.history.is_some(),
    };
    let names = names(engine)?;
    let heads = names.iter().flat_map(|name| name.heads.iter().copied());
    let named: IdSet = heads.clone().collect();
    let damaged = scope.damaged.iter().filter(|(_, kind)| *kind == Kind::Checkpoint);
    let all = heads
        .chain(scope.checkpoints.iter().copied())
        .chain(damaged.map(|(id, _)| *id));
    walker.walk_checkpoints(all.collect(), &named)?;
    walker.report(&names)
}

fn names(engine: &Engine) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for (key, value) in engine.store().refs().scan(b"")? {
        let Some(family) = family(&key) else { continue };
        let name = name_of(&key).unwrap_or_else(|_| String::from_utf8_lossy(&key).into_owned());
        let mut found = Name {
            family,
            name,
            heads: Vec::new(),
            journal: None,
        };
        match family {
            Family::Branch => found.heads.push(decode_branch(&value)?),
            Family::Workspace => {
                let record = WorkspaceRecord::decode(&value)?;
                found.heads.push(record.head);
                found.journal = record.journal;
            }
            Family::Superposition => {
                let record = SuperpositionRecord::decode(&value)?;
                // One that collapsed or decayed keeps nothing but an outcome that no branch has.
                found.heads.extend(record.kept_outcome());
                if is_living(&record) {
                    found.heads.push(record.base);
                }
                if found.heads.is_empty() {
                    continue;
                }
            }
            // One at a commit of a source keeps nothing here.
            Family::Tag => match decode_tag(&value)?.1 {
                Some(kept) => found.heads.push(kept),
                None => continue,
            },
            // The checkpoint is the key itself, or the value.
            Family::Kept => found.heads.extend(
                found
                    .name
                    .parse::<Id>()
                    .ok()
                    .or_else(|| <[u8; 32]>::try_from(&value[..]).ok().map(Id)),
            ),
        }
        names.push(found);
    }
    Ok(names)
}

fn family(key: &[u8]) -> Option<Family> {
    match key.get(..2)? {
        b"b/" => Some(Family::Branch),
        b"w/" => Some(Family::Workspace),
        b"s/" => Some(Family::Superposition),
        b"t/" => Some(Family::Tag),
        b"k/" => Some(Family::Kept),
        _ => None,
    }
}

struct Walker<'a> {
    engine: &'a Engine,
    damaged: IdMap<Kind>,
    lost: Vec<(Id, Kind)>,
    number: IdMap<u32>,
    nodes: IdMap<Below>,
    checkpoints: IdMap<Below>,
    parents: IdMap<Vec<Id>>,
    missing_parents: bool,
    /// Retention keeps only the last part of each history.
    ends_histories: bool,
}

/// A node that is being looked at: its children are first.
struct Open {
    id: Id,
    node: Node,
    next: usize,
    below: BTreeSet<u32>,
    /// The damage of the one child that has any, to be shared.
    only: Below,
}

impl Walker<'_> {
    /// The number of an object that is lost.
    fn lose(&mut self, id: Id, kind: Kind) -> u32 {
        let next = self.lost.len() as u32;
        *self.number.entry(id).or_insert_with(|| {
            self.lost.push((id, kind));
            next
        })
    }

    fn lost(&mut self, id: Id, kind: Kind) -> Below {
        Some(Rc::from([self.lose(id, kind)]))
    }

    /// The content, or `None` if it is lost.
    fn get(&mut self, kind: Kind, id: &Id) -> Result<Option<pyi_cas::Bytes>> {
        if self.damaged.contains_key(id) {
            return Ok(None);
        }
        match self.engine.store().get(kind, id).map_err(crate::Error::from) {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn has(&self, id: &Id) -> Result<bool> {
        Ok(!self.damaged.contains_key(id) && self.engine.store().contains(id)?)
    }

    fn walk_checkpoints(&mut self, mut queue: Vec<Id>, named: &IdSet) -> Result<()> {
        let mut from_parent = IdSet::default();
        while let Some(id) = queue.pop() {
            if self.checkpoints.contains_key(&id) {
                continue;
            }
            let below = match self
                .get(Kind::Checkpoint, &id)?
                .map(|bytes| CheckpointRoot::decode(&bytes))
            {
                Some(Ok(root)) => {
                    let mut below = BTreeSet::new();
                    for node in trees_of(&root).into_iter().flatten() {
                        below.extend(self.node(node)?.iter().flat_map(|found| found.iter().copied()));
                    }
                    from_parent.extend(root.parents.iter().copied());
                    queue.extend(root.parents.iter().copied());
                    self.parents.insert(id, root.parents);
                    (!below.is_empty()).then(|| below.into_iter().collect())
                }
                None if self.is_collected(&id, named, &from_parent) => None,
                // One that does not parse is what its maker wrote, and nobody can read it.
                Some(Err(_)) | None => self.lost(id, Kind::Checkpoint),
            };
            self.checkpoints.insert(id, below);
        }
        Ok(())
    }

    /// Whether a checkpoint that is not there is one of those that retention gave up, and no damage.
    fn is_collected(&self, id: &Id, named: &IdSet, from_parent: &IdSet) -> bool {
        !self.missing_parents && from_parent.contains(id) && !named.contains(id) && !self.damaged.contains_key(id)
    }

    /// The damage below a node. No recursion: trees are deep.
    fn node(&mut self, root: Id) -> Result<Below> {
        let mut stack: Vec<Open> = Vec::new();
        let mut below = self.enter(root, &mut stack)?;
        while let Some(top) = stack.last_mut() {
            if let Some(found) = below.take() {
                top.only = match top.below.is_empty() {
                    true => found.clone(),
                    false => None,
                };
                top.below.extend(found.iter().flat_map(|found| found.iter().copied()));
            }
            if top.next == top.node.len() {
                let Some(done) = stack.pop() else { break };
                let found: Below = match done.only {
                    Some(shared) if shared.len() == done.below.len() => Some(shared),
                    _ => (!done.below.is_empty()).then(|| done.below.into_iter().collect()),
                };
                self.nodes.insert(done.id, found.clone());
                below = Some(found);
                continue;
            }
            let row = top.node.row(top.next);
            top.next += 1;
            below = match row.mode {
                Mode::Gitlink => None,
                Mode::Directory | Mode::Piece => self.enter(row.id, &mut stack)?,
                Mode::Array => Some(self.array(row.id, 0)?),
                Mode::File | Mode::Executable | Mode::Symlink | Mode::Value => Some(self.blob(row.id)?),
            };
        }
        Ok(below.flatten())
    }

    /// The damage of a node if it is known; else it goes on the stack.
    fn enter(&mut self, id: Id, stack: &mut Vec<Open>) -> Result<Option<Below>> {
        if let Some(known) = self.nodes.get(&id) {
            return Ok(Some(known.clone()));
        }
        let node = self
            .get(Kind::Node, &id)?
            .and_then(|bytes| Node::decode(&bytes, id).ok());
        let Some(node) = node else {
            let below = self.lost(id, Kind::Node);
            self.nodes.insert(id, below.clone());
            return Ok(Some(below));
        };
        stack.push(Open {
            id,
            node,
            next: 0,
            below: BTreeSet::new(),
            only: None,
        });
        Ok(None)
    }

    fn blob(&mut self, id: Id) -> Result<Below> {
        Ok(if self.has(&id)? {
            None
        } else {
            self.lost(id, Kind::Blob)
        })
    }

    /// The damage of an array: of its description, its lists and its chunks.
    fn array(&mut self, id: Id, depth: usize) -> Result<Below> {
        if let Some(known) = self.nodes.get(&id) {
            return Ok(known.clone());
        }
        let content = self.get(Kind::Array, &id)?.and_then(|bytes| named_by(&bytes).ok());
        let below = match content {
            Some((kind, ids)) if depth < ARRAY_DEPTH_MAX => {
                let mut below = BTreeSet::new();
                for id in ids {
                    let found = match kind {
                        Kind::Array => self.array(id, depth + 1)?,
                        _ => self.blob(id)?,
                    };
                    below.extend(found.iter().flat_map(|found| found.iter().copied()));
                }
                (!below.is_empty()).then(|| below.into_iter().collect())
            }
            _ => self.lost(id, Kind::Array),
        };
        self.nodes.insert(id, below.clone());
        Ok(below)
    }

    fn report(mut self, names: &[Name]) -> Result<Reached> {
        let mut of: HashMap<u32, Affected> = HashMap::new();
        for (id, below) in &self.checkpoints {
            for number in below.iter().flat_map(|below| below.iter()) {
                of.entry(*number).or_default().checkpoints.insert(*id);
            }
        }
        for name in names {
            let mut below: BTreeSet<u32> = BTreeSet::new();
            for head in &name.heads {
                let known = self.checkpoints.get(head).cloned().flatten();
                below.extend(known.iter().flat_map(|below| below.iter().copied()));
            }
            if let Some(journal) = name.journal {
                below.extend(self.node(journal)?.iter().flat_map(|below| below.iter().copied()));
            }
            let earlier = match name.family {
                Family::Branch | Family::Workspace | Family::Tag if !self.lost.is_empty() => self.history(&name.heads),
                _ => BTreeSet::new(),
            };
            for number in &below {
                let affected = of.entry(*number).or_default();
                let list = match name.family {
                    Family::Branch => &mut affected.branches,
                    Family::Workspace => &mut affected.workspaces,
                    Family::Superposition => &mut affected.superpositions,
                    Family::Tag => &mut affected.tags,
                    Family::Kept => &mut affected.kept,
                };
                list.insert(name.name.clone());
            }
            for number in earlier.difference(&below) {
                of.entry(*number).or_default().histories.insert(name.name.clone());
            }
        }
        let mut reached = Reached::default();
        for (number, (id, kind)) in self.lost.iter().enumerate() {
            let affected = of.remove(&(number as u32)).unwrap_or_default();
            if !self.damaged.contains_key(id) && self.was_collected(&affected)? {
                continue;
            }
            reached.affected.merge(&affected);
            reached.lost.insert(*id, (*kind, affected));
        }
        Ok(reached)
    }

    /// Whether what is missing was given up by a collection: nothing but checkpoints from before it leads there, that nothing names and
    /// that retention need not have kept. Their roots can stay behind for a while, in a segment that was not worth rewriting.
    fn was_collected(&self, affected: &Affected) -> Result<bool> {
        let collected_ns = self.engine.collected_ns()?;
        let named = [
            &affected.branches,
            &affected.workspaces,
            &affected.superpositions,
            &affected.tags,
            &affected.kept,
        ];
        if collected_ns == 0 || named.iter().any(|names| !names.is_empty()) {
            return Ok(false);
        }
        if !affected.histories.is_empty() && !self.ends_histories {
            return Ok(false);
        }
        for id in &affected.checkpoints {
            match self.engine.root(id) {
                Ok(root) if root.time_ns > collected_ns => return Ok(false),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The damage of everything that led to these checkpoints.
    fn history(&self, heads: &[Id]) -> BTreeSet<u32> {
        let mut seen: IdSet = heads.iter().copied().collect();
        let mut queue = heads.to_vec();
        let mut found = BTreeSet::new();
        while let Some(id) = queue.pop() {
            let below = self.checkpoints.get(&id).cloned().flatten();
            found.extend(below.iter().flat_map(|below| below.iter().copied()));
            for parent in self.parents.get(&id).into_iter().flatten() {
                if seen.insert(*parent) {
                    queue.push(*parent);
                }
            }
        }
        found
    }
}
