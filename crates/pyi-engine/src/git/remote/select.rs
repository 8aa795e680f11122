//! Which objects go into a pack.
//!
//! A commit's tree is compared with the trees of its parents, as far as the client has or gets those: what stands at the same place there is not looked
//! into. Nothing recurses, and nothing is looked at twice.

use pyi_git::oid_set::{OidMap, OidSet};
use pyi_git::remote::fetch::FetchRequest;
use pyi_git::remote::filter::Filter;
use pyi_git::tag::Tag;
use pyi_git::tree::{MODE_GITLINK, TreeBeside, TreeIter};
use pyi_git::{ObjectKind, Oid};

use super::GitRemote;
use super::history::Commits;
use super::objects::Content;
use crate::{Error, Result};

/// Trees that were looked at are kept for the comparison with their next versions, up to so many bytes.
const TREES_KEPT_BYTES: usize = 8 << 20;
/// Commits that the client has whose trees a commit is compared with that comes without its parents.
const COMPARED_MAX: usize = 2;

/// What goes into a pack.
#[derive(Default)]
pub(crate) struct Selection {
    pub(crate) commits: Vec<Oid>,
    pub(crate) tags: Vec<Oid>,
    /// Trees and blobs.
    pub(crate) others: Vec<Oid>,
    /// Of some of these: what stood at the same place before. It comes before them, or the client has it.
    pub(crate) bases: OidMap<DeltaBase>,
}

/// What an object may be a delta of.
#[derive(Clone, Copy)]
pub(crate) struct DeltaBase {
    pub(crate) oid: Oid,
    /// It does not come with the pack: the client has it.
    pub(crate) is_external: bool,
}

impl Selection {
    pub(crate) fn count(&self) -> usize {
        self.commits.len() + self.tags.len() + self.others.len()
    }
}

/// What is wanted, sorted by kind.
#[derive(Default)]
pub(crate) struct Wants {
    pub(crate) commits: Vec<Oid>,
    tags: Vec<Oid>,
    trees: Vec<Oid>,
    blobs: Vec<Oid>,
}

impl GitRemote {
    /// Sorts what is wanted; tags bring what they are at.
    ///
    /// # Errors
    /// `NotFound`, in git's words, for what is not there.
    pub(crate) fn sort_wants(&self, oids: &[Oid]) -> Result<Wants> {
        let mut wants = Wants::default();
        let mut seen = OidSet::default();
        let mut waiting: Vec<Oid> = oids.iter().rev().copied().collect();
        while let Some(oid) = waiting.pop() {
            if !seen.insert(oid) {
                continue;
            }
            let kind = match self.shared.infos.lock().has(&oid) {
                true => Some(ObjectKind::Commit),
                false => None,
            };
            let kind = match kind {
                Some(kind) => Some(kind),
                None => self.kind(&oid)?,
            };
            match kind {
                Some(ObjectKind::Commit) => wants.commits.push(oid),
                Some(ObjectKind::Tree) => wants.trees.push(oid),
                Some(ObjectKind::Blob) => wants.blobs.push(oid),
                Some(ObjectKind::Tag) => {
                    wants.tags.push(oid);
                    if let Some((_, data)) = self.read(&oid)? {
                        let tag = Tag::parse(self.format, &data);
                        waiting.push(tag.map_err(|error| Error::git(format!("tag {oid}: {error}")))?.target);
                    }
                }
                None => return Err(Error::not_found(format!("upload-pack: not our ref {oid}"))),
            }
        }
        Ok(wants)
    }

    fn kind(&self, oid: &Oid) -> Result<Option<ObjectKind>> {
        let mut info = self.info(oid)?;
        if info.is_none() && self.relearn()? {
            info = self.info(oid)?;
        }
        Ok(info.map(|(kind, _)| kind))
    }

    /// The objects for these commits. O(objects).
    pub(crate) fn select_objects(
        &self,
        request: &FetchRequest,
        wants: &Wants,
        commits: &Commits,
        haves: &[Oid],
    ) -> Result<Selection> {
        let mut selection = Selection::default();
        let mut chooser = Chooser {
            remote: self,
            filter: request.filter,
            seen: OidMap::default(),
            chosen: Vec::new(),
            bases: OidMap::default(),
            with_bases: false,
            with_external: false,
            trees: OidMap::default(),
            trees_bytes: 0,
        };
        let sent: OidSet = commits.list.iter().copied().collect();
        let compares = !haves.is_empty() || !request.shallow.is_empty();
        let mut bases = Vec::new();
        for have in haves.iter().take(COMPARED_MAX) {
            bases.push(self.commit(have)?.tree);
        }
        let mut looked_at = OidSet::default();
        // Parents first, so that what came with them is known.
        for oid in commits.list.iter().rev() {
            let info = self.commit(oid)?;
            let mut against = Vec::new();
            // What a source packed is copied from there with the deltas that it has.
            let is_ours = compares || self.shared.registry.lock().made(oid).is_some();
            let mut is_settled = is_ours && request.filter.is_nothing();
            for parent in &info.parents {
                let is_sent = sent.contains(parent) && !commits.is_cut(oid);
                // By wrong dates a parent may come later: then what it is made of may not be there yet.
                let is_known = looked_at.contains(parent);
                if commits.had.contains(parent) || (is_sent && (is_ours || is_known)) {
                    against.push(self.commit(parent)?.tree);
                    is_settled &= !is_sent || is_known;
                }
            }
            if compares && against.is_empty() {
                against.clone_from(&bases);
            }
            chooser.with_bases = is_settled;
            chooser.with_external = compares && request.thin_pack;
            chooser.tree(info.tree, against)?;
            looked_at.insert(*oid);
        }
        chooser.with_bases = false;
        for tree in &wants.trees {
            chooser.tree(*tree, Vec::new())?;
        }
        for named in wants.trees.iter().chain(&wants.blobs) {
            // What the client names is what it wants, whatever the filter says.
            if chooser.seen.get(named).is_none_or(|depth| *depth == LEFT_OUT) {
                chooser.seen.insert(*named, 0);
                chooser.chosen.push(*named);
            }
        }
        selection.others = chooser.chosen;
        selection.bases = chooser.bases;
        if request.filter.takes(ObjectKind::Commit) {
            selection.commits.clone_from(&commits.list);
        }
        selection.tags.clone_from(&wants.tags);
        Ok(selection)
    }

    /// Annotated tags of what is sent, which come along. O(commits + tags), memory for the tags.
    pub(crate) fn tags_along(&self, selection: &Selection) -> Result<Vec<Oid>> {
        let offer = self.offer(&|name| b"refs/tags/".starts_with(name) || name.starts_with(b"refs/tags/"))?;
        let known: OidSet = selection.tags.iter().copied().collect();
        let annotated = offer.refs.iter().filter_map(|tag| Some((tag.oid, tag.peeled?)));
        let mut along: Vec<(Oid, Oid)> = annotated.filter(|(oid, _)| !known.contains(oid)).collect();
        let asked: OidSet = along.iter().map(|(_, peeled)| *peeled).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let is_asked = |oid: &&Oid| asked.contains(*oid);
        let sent: OidSet = selection.commits.iter().filter(is_asked).copied().collect();
        along.retain(|(_, peeled)| sent.contains(peeled));
        Ok(along.into_iter().map(|(oid, _)| oid).collect())
    }
}

/// The depth of what was seen and left out.
const LEFT_OUT: u64 = u64::MAX;

struct Chooser<'a> {
    remote: &'a GitRemote,
    filter: Filter,
    /// At which depth a tree was looked into; blobs have no depth.
    seen: OidMap<u64>,
    chosen: Vec<Oid>,
    bases: OidMap<DeltaBase>,
    /// Whether what a tree is compared with is chosen already, or had by the client.
    with_bases: bool,
    /// Whether the latter may be a base.
    with_external: bool,
    /// Contents of trees that were looked at.
    trees: OidMap<Content>,
    trees_bytes: usize,
}

/// A tree on the way, and what stands at its place in what the client has.
struct Frame {
    tree: Oid,
    against: Vec<Oid>,
    depth: u64,
}

impl Chooser<'_> {
    fn tree(&mut self, root: Oid, against: Vec<Oid>) -> Result<()> {
        let mut stack = vec![Frame {
            tree: root,
            against,
            depth: 0,
        }];
        while let Some(frame) = stack.pop() {
            self.visit(frame, &mut stack)?;
        }
        Ok(())
    }

    fn visit(&mut self, frame: Frame, stack: &mut Vec<Frame>) -> Result<()> {
        if frame.against.contains(&frame.tree) {
            return Ok(());
        }
        let limit = self.filter.tree_depth;
        if limit.is_some_and(|limit| frame.depth >= limit) {
            return Ok(());
        }
        match self.seen.get(&frame.tree) {
            // Without a limit the depth says nothing; with one, a tree nearer to the root shows more.
            Some(depth) if limit.is_none() || *depth <= frame.depth => return Ok(()),
            Some(_) => {}
            None if self.filter.takes(ObjectKind::Tree) => {
                self.chosen.push(frame.tree);
                self.base(&frame.tree, frame.against.first());
            }
            None => {}
        }
        self.seen.insert(frame.tree, frame.depth);
        let data = self.read_tree(&frame.tree)?;
        let others = frame
            .against
            .iter()
            // Only saves looking: what cannot be read is compared with nothing.
            .filter_map(|oid| self.read_tree(oid).ok())
            .collect::<Vec<_>>();
        let format = self.remote.format;
        let mut theirs: Vec<TreeBeside<'_>> = others.iter().map(|other| TreeBeside::new(format, other)).collect();
        let mut entries = TreeIter::new(format, &data);
        loop {
            if let Some(first) = theirs.first_mut() {
                first.skip_same(&mut entries);
            }
            let Some(entry) = entries.next() else { break };
            let entry = entry.map_err(|error| Error::git(format!("tree {}: {error}", frame.tree)))?;
            if entry.canonical_mode() == MODE_GITLINK {
                continue;
            }
            let mut same = false;
            let mut against = Vec::new();
            for other in &mut theirs {
                if let Some(oid) = other.find(&entry) {
                    same |= oid == entry.oid;
                    against.push(oid);
                }
            }
            if same {
                continue;
            }
            if entry.is_tree() {
                let skip = limit.is_none() && self.seen.contains_key(&entry.oid);
                if !skip {
                    stack.push(Frame {
                        tree: entry.oid,
                        against,
                        depth: frame.depth + 1,
                    });
                }
            } else {
                self.blob(&entry.oid, against.first(), frame.depth + 1)?;
            }
        }
        Ok(())
    }

    /// Takes note of what an object that was just chosen may be a delta of. As that was chosen before it, there are no circles.
    fn base(&mut self, oid: &Oid, before: Option<&Oid>) {
        let Some(before) = before.filter(|before| self.with_bases && *before != oid) else {
            return;
        };
        let is_external = match self.seen.get(before) {
            Some(depth) if *depth == LEFT_OUT => return,
            Some(_) => false,
            None if self.with_external => true,
            None => return,
        };
        let base = DeltaBase {
            oid: *before,
            is_external,
        };
        self.bases.insert(*oid, base);
    }

    fn blob(&mut self, oid: &Oid, before: Option<&Oid>, depth: u64) -> Result<()> {
        if self.seen.get(oid).is_some_and(|known| *known != LEFT_OUT)
            || self.filter.tree_depth.is_some_and(|limit| depth >= limit)
        {
            return Ok(());
        }
        let wanted = self.filter.takes(ObjectKind::Blob)
            && match self.filter.blob_limit_bytes {
                None => true,
                Some(0) => false,
                Some(limit) => self.remote.info(oid)?.is_some_and(|(_, size)| size < limit),
            };
        if wanted {
            self.chosen.push(*oid);
            self.base(oid, before);
        }
        self.seen.insert(*oid, if wanted { depth } else { LEFT_OUT });
        Ok(())
    }

    fn read_tree(&mut self, oid: &Oid) -> Result<Content> {
        if let Some(data) = self.trees.get(oid) {
            return Ok(data.clone());
        }
        match self.remote.read_needed(oid)? {
            (ObjectKind::Tree, data) => {
                if self.trees_bytes + data.len() > TREES_KEPT_BYTES {
                    self.trees.clear();
                    self.trees_bytes = 0;
                }
                self.trees_bytes += data.len();
                self.trees.insert(*oid, data.clone());
                Ok(data)
            }
            (kind, _) => Err(Error::git(format!("{oid} is a {kind}, not a tree"))),
        }
    }
}
