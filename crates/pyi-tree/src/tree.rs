//! A directory tree as a value: clone it in O(1), edit the clone, drop it if the edit failed.
//!
//! Paths are bytes with `/` between components, without one at either end; `""` is the root. The caller checked them
//! (which names are allowed is not this crate's business); what stands in their way is checked here.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use pyi_cas::{Id, IdMap, Kind, ObjectStore};

use crate::directory::{self, Entry};
use crate::node::UNSTORED;
use crate::{Error, Mode, Node, Pending, Result, Row};

/// Where nodes come from that are not in memory.
pub trait Loader: Sync {
    /// The node with this id.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the store has no such node or it does not parse; what the store says.
    fn load(&self, id: &Id) -> Result<Arc<Node>>;
}

/// Loads nodes from a store, and shares those that some tree still holds.
pub struct StoreLoader {
    store: Arc<dyn ObjectStore>,
    living: Mutex<Living>,
}

#[derive(Default)]
struct Living {
    nodes: IdMap<Weak<Node>>,
    sweep_at: usize,
}

impl StoreLoader {
    /// A loader over `store`.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        StoreLoader {
            store,
            living: Mutex::new(Living {
                nodes: IdMap::default(),
                sweep_at: 1024,
            }),
        }
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }
}

impl Loader for StoreLoader {
    fn load(&self, id: &Id) -> Result<Arc<Node>> {
        if let Some(node) = self.living.lock().nodes.get(id).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let Some(bytes) = self.store.get(Kind::Node, id)? else {
            return Err(Error::corrupt(format!("node {id} is missing from the store")));
        };
        let node = Arc::new(Node::decode(&bytes, *id)?.counted_as_loaded());
        let mut living = self.living.lock();
        if living.nodes.len() >= living.sweep_at {
            living.nodes.retain(|_, node| node.strong_count() > 0);
            living.sweep_at = (living.nodes.len() * 2).max(1024);
        }
        living.nodes.insert(*id, Arc::downgrade(&node));
        Ok(node)
    }
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    node: &'a Arc<Node>,
    index: usize,
}

impl<'a> Found<'a> {
    /// The row. O(1).
    #[must_use]
    pub fn row(&self) -> Row {
        self.node.row(self.index)
    }

    /// What the entry is. O(1).
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.node.mode(self.index)
    }

    /// The content if it was not stored yet.
    #[must_use]
    pub fn pending(&self) -> Option<&'a Pending> {
        self.node.pending(self.index)
    }

    /// Whether another entry holds the same, as far as can be told without entering directories. O(content) where both were not
    /// stored yet.
    #[must_use]
    pub fn is_same_content(&self, other: &Found<'_>) -> bool {
        crate::cursor::same_row((self.node, self.index), (other.node, other.index))
    }

    /// The node of a directory.
    ///
    /// # Errors
    /// What the loader says.
    pub fn child(&self, loader: &dyn Loader) -> Result<&'a Arc<Node>> {
        self.node.child(self.index, loader)
    }
}

/// What to put at a path.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes that the next [`crate::seal()`] stores.
    Bytes(Bytes),
    /// An array that the next [`crate::seal()`] stores; `size_bytes` is that of its content.
    Array {
        /// What to store.
        pending: Pending,
        /// Bytes of the array's content.
        size_bytes: u64,
    },
    /// Something that the store has already (for a gitlink: the padded commit name).
    Stored {
        /// Its id.
        id: Id,
        /// Its size.
        size_bytes: u64,
    },
    /// Bytes whose row has a size of its own (a journal batch: its events).
    Sized {
        /// The bytes.
        content: Bytes,
        /// What the row says.
        size: u64,
    },
}

impl Content {
    fn into_entry(self, mode: Mode) -> Entry {
        let (id, size_bytes, pending) = match self {
            Content::Bytes(content) => (UNSTORED, content.len() as u64, Some(Pending::Blob(content))),
            Content::Array { pending, size_bytes } => (UNSTORED, size_bytes, Some(pending)),
            Content::Stored { id, size_bytes } => (id, size_bytes, None),
            Content::Sized { content, size } => (UNSTORED, size, Some(Pending::Blob(content))),
        };
        Entry {
            row: Row {
                mode,
                id,
                size_bytes,
                files: 1,
            },
            child: None,
            pending,
        }
    }
}

/// A directory tree. Cloning is O(1).
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree {
            root: Arc::new(Node::empty(0)),
        }
    }
}

fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|&byte| byte == b'/') {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

impl Tree {
    /// The tree under a root node.
    #[must_use]
    pub fn from_root(root: Arc<Node>) -> Self {
        Tree { root }
    }

    /// The same tree with nothing in memory but its root; the rest comes from the store on use. `None` if not all of it is stored.
    /// O(entries of the root).
    #[must_use]
    pub fn cold(&self) -> Option<Self> {
        Some(Tree {
            root: Arc::new(self.root.cold()?),
        })
    }

    /// The root node.
    #[must_use]
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// The root node, to be sealed in place.
    pub fn root_mut(&mut self) -> &mut Arc<Node> {
        &mut self.root
    }

    /// The entry at `path` (not the root), or `None`. O(depth * log entries).
    ///
    /// # Errors
    /// What the loader says.
    pub fn find(&self, path: &[u8], loader: &dyn Loader) -> Result<Option<Found<'_>>> {
        let mut dir = &self.root;
        let mut rest = path;
        loop {
            let (name, below) = split(rest);
            let Some((node, index)) = directory::find(dir, name, loader)? else {
                return Ok(None);
            };
            let Some(below) = below else {
                return Ok(Some(Found { node, index }));
            };
            if node.mode(index) != Mode::Directory {
                return Ok(None);
            }
            (dir, rest) = (node.child(index, loader)?, below);
        }
    }

    /// The node of the directory at `path`, `""` for the root.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidPath`] if something else stands there; what the loader says.
    pub fn directory(&self, path: &[u8], loader: &dyn Loader) -> Result<&Arc<Node>> {
        if path.is_empty() {
            return Ok(&self.root);
        }
        let found = self.find(path, loader)?.ok_or_else(|| Error::not_found(path))?;
        if found.mode() != Mode::Directory {
            return Err(Error::invalid_path(path, "this is not a directory; use stat or read"));
        }
        found.child(loader)
    }

    /// Puts `content` at `path`; missing directories are made. O(depth * log entries), plus the copy of the path's nodes.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] if `path` stands below something that is no directory, or is a directory itself. The tree may
    /// then be half-edited: edit a clone.
    pub fn put(&mut self, path: &[u8], mode: Mode, content: Content, loader: &dyn Loader) -> Result<()> {
        let mut put = Putting::entry(content.into_entry(mode));
        put_path(&mut self.root, path, path, &mut put, loader)
    }

    /// Puts a file at `path` as [`Tree::put`] does. Without a mode it keeps that of the file that stands there, or is an ordinary one. Costs as that.
    ///
    /// # Errors
    /// As [`Tree::put`]; [`Error::InvalidPath`] if a symlink or a submodule stands there.
    pub fn put_file(&mut self, path: &[u8], mode: Option<Mode>, content: Content, loader: &dyn Loader) -> Result<()> {
        let mut put = Putting {
            entry: Some(content.into_entry(Mode::File)),
            file: Some(mode),
        };
        put_path(&mut self.root, path, path, &mut put, loader)
    }

    /// Puts `content` directly under the root as `name`, which may hold any byte (state keys, journal indexes). O(log entries).
    ///
    /// # Errors
    /// [`Error::InvalidPath`] for an empty or too long name; what the loader says.
    pub fn put_name(&mut self, name: &[u8], mode: Mode, content: Content, loader: &dyn Loader) -> Result<()> {
        directory::put(&mut self.root, name, content.into_entry(mode), loader)
    }

    /// The entry `name` directly under the root. O(log entries).
    ///
    /// # Errors
    /// What the loader says.
    pub fn find_name(&self, name: &[u8], loader: &dyn Loader) -> Result<Option<Found<'_>>> {
        Ok(directory::find(&self.root, name, loader)?.map(|(node, index)| Found { node, index }))
    }

    /// Takes the entry `name` directly under the root away; `false` if there is none. O(log entries).
    ///
    /// # Errors
    /// What the loader says.
    pub fn remove_name(&mut self, name: &[u8], loader: &dyn Loader) -> Result<bool> {
        Ok(directory::take(&mut self.root, name, loader)?.is_some())
    }

    /// Makes a directory and those above it; one that exists is left as it is.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn make_directory(&mut self, path: &[u8], loader: &dyn Loader) -> Result<()> {
        if let Some(found) = self.find(path, loader)? {
            if found.mode() == Mode::Directory {
                return Ok(());
            }
            return Err(Error::invalid_path(path, "a file stands here; remove or move it first"));
        }
        self.put_directory(path, Arc::new(Node::empty(0)), loader)
    }

    /// Puts a whole directory at `path`, in place of the directory that stands there. O(depth * log entries).
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn put_directory(&mut self, path: &[u8], node: Arc<Node>, loader: &dyn Loader) -> Result<()> {
        if path.is_empty() {
            self.root = node;
            return Ok(());
        }
        put_path(
            &mut self.root,
            path,
            path,
            &mut Putting::entry(Entry::directory(node)?),
            loader,
        )
    }

    /// Takes away what stands at `path`, directories with all that is below. The directory above stays, even if
    /// it is empty then. O(depth * log entries).
    ///
    /// # Errors
    /// [`Error::NotFound`]; what the loader says.
    pub fn remove(&mut self, path: &[u8], loader: &dyn Loader) -> Result<()> {
        self.take(path, loader).map(drop)
    }

    fn take(&mut self, path: &[u8], loader: &dyn Loader) -> Result<Entry> {
        if self.find(path, loader)?.is_none() {
            return Err(Error::not_found(path));
        }
        take_path(&mut self.root, path, loader)?.ok_or_else(|| Error::not_found(path))
    }

    /// Moves what stands at `old` to `new`. A file replaces a file; a directory replaces nothing. O(depth * log entries)
    /// for directories of any size.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing stands at `old`; [`Error::InvalidPath`] if `new` is taken or below `old`.
    pub fn rename(&mut self, old: &[u8], new: &[u8], loader: &dyn Loader) -> Result<()> {
        let found = self.find(old, loader)?.ok_or_else(|| Error::not_found(old))?;
        if old == new {
            return Ok(());
        }
        if new.starts_with(old) && new.get(old.len()) == Some(&b'/') {
            return Err(Error::invalid_path(new, "a directory cannot be moved into itself"));
        }
        let is_directory = found.mode() == Mode::Directory;
        if let Some(there) = self.find(new, loader)?
            && (is_directory || there.mode() == Mode::Directory)
        {
            return Err(Error::invalid_path(
                new,
                "something stands here already; remove it first",
            ));
        }
        let entry = self.take(old, loader)?;
        put_path(&mut self.root, new, new, &mut Putting::entry(entry), loader)
    }

    /// Changes the mode of a file, keeping its content.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what the loader says.
    pub fn set_mode(&mut self, path: &[u8], mode: Mode, loader: &dyn Loader) -> Result<()> {
        let mut entry = self.take(path, loader)?;
        entry.row.mode = mode;
        put_path(&mut self.root, path, path, &mut Putting::entry(entry), loader)
    }
}

/// What [`put_path`] puts.
struct Putting {
    entry: Option<Entry>,
    /// A file in the place of nothing or a file, which keeps the mode of that one unless this says another.
    file: Option<Option<Mode>>,
}

impl Putting {
    fn entry(entry: Entry) -> Putting {
        Putting {
            entry: Some(entry),
            file: None,
        }
    }

    /// The entry for a place where this stands.
    fn take(&mut self, path: &[u8], there: Option<Mode>) -> Result<Option<Entry>> {
        let Some(mut entry) = self.entry.take() else {
            return Ok(None);
        };
        let is_directory = entry.row.mode == Mode::Directory;
        let refused = match there {
            Some(Mode::Directory) if !is_directory => "a directory stands here; remove or move it first",
            Some(old) if old != Mode::Directory && is_directory => "a file stands here; remove or move it first",
            Some(Mode::Symlink) if self.file.is_some() => {
                "a symlink stands here, and symlinks are not followed; remove it first"
            }
            Some(Mode::Gitlink) if self.file.is_some() => "a submodule stands here; remove it first",
            _ => "",
        };
        if !refused.is_empty() {
            return Err(Error::invalid_path(path, refused));
        }
        if let Some(mode) = self.file {
            entry.row.mode = mode.or(there.filter(|old| old.is_file())).unwrap_or(Mode::File);
        }
        Ok(Some(entry))
    }
}

fn put_path(dir: &mut Arc<Node>, path: &[u8], rest: &[u8], put: &mut Putting, loader: &dyn Loader) -> Result<()> {
    let (name, below) = split(rest);
    let spot = directory::spot(dir, name, loader)?;
    let Some(below) = below else {
        let Some(entry) = put.take(path, spot.mode)? else {
            return Ok(());
        };
        return directory::put_at(dir, &spot, name, entry, loader);
    };
    match spot.mode {
        Some(Mode::Directory) => directory::edit_child_at(dir, &spot, name, loader, &mut |child| {
            put_path(child, path, below, put, loader)
        }),
        Some(_) => {
            let above = &path[..path.len() - below.len() - 1];
            Err(Error::invalid_path(
                path,
                format!(
                    "{:?} is not a directory (a symlink is never followed); remove or move it first",
                    String::from_utf8_lossy(above)
                ),
            ))
        }
        None => {
            let mut child = Arc::new(Node::empty(0));
            put_path(&mut child, path, below, put, loader)?;
            directory::put(dir, name, Entry::directory(child)?, loader)
        }
    }
}

fn take_path(dir: &mut Arc<Node>, rest: &[u8], loader: &dyn Loader) -> Result<Option<Entry>> {
    let (name, below) = split(rest);
    let Some(below) = below else {
        return directory::take(dir, name, loader);
    };
    let mut taken = None;
    directory::edit_child(dir, name, loader, &mut |child| {
        taken = take_path(child, below, loader)?;
        Ok(())
    })?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use pyi_cas::{Batch, MemoryStore};

    use super::*;

    #[test]
    fn a_loader_forgets_the_nodes_that_no_tree_holds() {
        let store = Arc::new(MemoryStore::new());
        let mut ids = Vec::new();
        let mut batch = Batch::new();
        for number in 0..5000 {
            let mut node = Arc::new(Node::empty(0));
            let content = Content::Sized {
                content: Bytes::new(),
                size: number,
            };
            directory::put(
                &mut node,
                b"n",
                content.into_entry(Mode::Value),
                &StoreLoader::new(store.clone()),
            )
            .unwrap();
            ids.push(crate::seal(&mut node, &mut crate::Sealer::new(&*store, &mut batch)).unwrap());
        }
        store.commit(&mut batch).unwrap();
        let loader = StoreLoader::new(store);
        let held = loader.load(&ids[0]).unwrap();
        for id in &ids {
            loader.load(id).unwrap();
            assert!(loader.living.lock().nodes.len() <= 1024);
        }
        assert!(Arc::ptr_eq(&held, &loader.load(&ids[0]).unwrap()));
        // While many are held, the loader goes through them once for every doubling only.
        let all: Vec<Arc<Node>> = ids.iter().map(|id| loader.load(id).unwrap()).collect();
        assert_eq!(loader.living.lock().nodes.len(), all.len());
        assert!(loader.living.lock().sweep_at > all.len() + all.len() / 10);
    }
}
