//! All files and directories of a disk, found by path, without locks, processes or faults.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

use crate::content::Content;
use crate::directory::Directory;
use crate::fate::Fate;

const ROOT: u64 = 0;

/// A file or a directory.
#[derive(Clone)]
enum Node {
    File(Content),
    Directory(Directory),
}

/// The tree.
#[derive(Clone)]
pub(crate) struct State {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    pub(crate) sector: usize,
}

impl State {
    /// An empty root.
    pub(crate) fn new(sector: usize) -> State {
        State {
            nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]),
            next: ROOT + 1,
            sector,
        }
    }

    fn directory(&mut self, node: u64) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<u64> {
        let mut node = ROOT;
        for name in names(path) {
            node = self.directory(node)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(u64, &'a str)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(path.parent().unwrap_or(Path::new("/")))?, name))
    }

    fn add(&mut self, node: Node) -> u64 {
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        number
    }

    /// The content of an open file; it outlives its names.
    pub(crate) fn file(&mut self, node: u64) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(crate) fn open(&mut self, path: &Path) -> io::Result<u64> {
        let node = self.find(path)?;
        self.file(node).map(|_| node)
    }

    pub(crate) fn create(&mut self, path: &Path) -> io::Result<u64> {
        let (parent, name) = self.parent(path)?;
        if self.directory(parent)?.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = self.add(Node::File(Content::default()));
        self.directory(parent)?.set(name, node);
        Ok(node)
    }

    pub(crate) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut node = ROOT;
        for name in names(path) {
            node = match self.directory(node)?.get(name) {
                Some(found) => found,
                None => {
                    let made = self.add(Node::Directory(Directory::default()));
                    self.directory(node)?.set(name, made);
                    made
                }
            };
        }
        self.directory(node).map(|_| ())
    }

    pub(crate) fn list(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let node = self.find(path)?;
        Ok(self.directory(node)?.names().cloned().collect())
    }

    pub(crate) fn exists(&mut self, path: &Path) -> bool {
        self.find(path).is_ok()
    }

    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.open(path)?;
        let (parent, name) = self.parent(path)?;
        self.directory(parent)?.remove(name);
        Ok(())
    }

    pub(crate) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.open(from)?;
        let (parent, name) = self.parent(to)?;
        let directory = self.directory(parent)?;
        if directory.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.set(name, node);
        Ok(())
    }

    /// Atomic within a directory; between two it is a link and a removal, as nothing in the store needs more.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.open(from)?;
        let (old_parent, old) = self.parent(from)?;
        let (parent, name) = self.parent(to)?;
        if old_parent == parent {
            self.directory(parent)?.rename(old, name, node);
        } else {
            self.directory(parent)?.set(name, node);
            self.directory(old_parent)?.remove(old);
        }
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        self.directory(node)?.sync();
        Ok(())
    }

    pub(crate) fn lose_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        self.directory(node)?.lose();
        Ok(())
    }

    /// A copy that shares no memory with living processes.
    pub(crate) fn frozen(&mut self) -> State {
        let sector = self.sector;
        let copy = |node: &mut Node| match node {
            Node::File(content) => Node::File(content.frozen(sector)),
            Node::Directory(directory) => Node::Directory(directory.clone()),
        };
        State {
            nodes: self
                .nodes
                .iter_mut()
                .map(|(number, node)| (*number, copy(node)))
                .collect(),
            ..*self
        }
    }

    /// Number of unflushed changes.
    pub(crate) fn changes(&self) -> usize {
        self.nodes.values().map(Node::changes).sum()
    }

    /// What is there after a power loss in which the changes went so, in the order of the nodes. O(files + bytes changed).
    pub(crate) fn crash(&self, fates: &[Fate]) -> State {
        let mut rest = fates;
        let mut nodes = BTreeMap::new();
        for (number, node) in &self.nodes {
            let (own, others) = rest.split_at(node.changes().min(rest.len()));
            rest = others;
            let after = match node {
                Node::File(content) => Node::File(content.crash(own)),
                Node::Directory(directory) => Node::Directory(directory.crash(own)),
            };
            nodes.insert(*number, after);
        }
        // What has no name any more is gone.
        let mut reachable = vec![ROOT];
        let mut kept = BTreeMap::new();
        while let Some(number) = reachable.pop() {
            let Some(node) = nodes.remove(&number) else { continue };
            if let Node::Directory(directory) = &node {
                reachable.extend(directory.durable_nodes());
            }
            kept.insert(number, node);
        }
        State {
            nodes: kept,
            next: self.next,
            sector: self.sector,
        }
    }
}

impl Node {
    fn changes(&self) -> usize {
        match self {
            Node::File(content) => content.changes(),
            Node::Directory(directory) => directory.changes(),
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}
