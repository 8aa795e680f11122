//! A git directory for a materialized directory, which borrows the source's objects and never writes to the source.
//!
//! `HEAD` is a branch of its own at the imported commit, and the index lists that commit's files with what `stat` said of
//! those that are as they were there: so `git status` shows exactly what the workspace changed since the import, and reads
//! nothing else. Of a workspace in which git commands were run, HEAD, refs, reflogs and index are copied instead, with the objects that the source lacks.
//! What is written here (objects of commits, refs, reflogs) stays here.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_git::config::Config;
use pyi_git::index::{Index, IndexEntry, IndexVersion};
use pyi_git::index_ext::CacheTree;
use pyi_git::tree::TreeIter;
use pyi_git::{ObjectFormat, ObjectKind, Oid};
use pyi_tree::cbor::Value;

use super::materialize::Written;
use super::os::index_stat;
use crate::engine::Engine;
use crate::git::GitSource;
use crate::git::work::{copy_to, format_of, git_directory};
use crate::workspace::Content;
use crate::{Error, Result};

/// The branch of a workspace without a name.
const BRANCH: &str = "pyi";
/// Trees are nested at most this deep; a path has 4,096 bytes.
const DEPTH_MAX: usize = 2048;

/// Where content came from.
pub(super) struct Source {
    pub(super) format: ObjectFormat,
    /// Whose objects are borrowed; a workspace that has commits of its own need not come from anywhere.
    repository: Option<Arc<GitSource>>,
    start: Start,
}

/// What the git directory starts with.
enum Start {
    /// A branch at a commit, and the index of its tree.
    Imported { commit: Oid, tree: Oid },
    /// What git commands left in the workspace.
    Own(Box<Content>),
}

/// Where the content of a workspace came from; `None` if it is not from git.
///
/// # Errors
/// `Git` if neither the recorded repository nor the one that the store stands in has the commit.
pub(super) fn source(engine: &Engine, content: &Content) -> Result<Option<Source>> {
    let git = &content.git;
    let text = |key: &str| git.get(key).and_then(Value::as_text);
    let is_own = content.git_directory.is_some() || git_directory(git).is_some();
    let imported = match (text("commit"), text("tree")) {
        (Some(commit), Some(tree)) => {
            let name = |hex: &str| {
                Oid::from_hex(hex.as_bytes())
                    .map_err(|error| Error::corrupt(format!("checkpoint: git: {hex:?}: {error}")))
            };
            Some((name(commit)?, name(tree)?))
        }
        _ => None,
    };
    let recorded = git.get("source").and_then(Value::as_bytes).map(path_of);
    // A repository that was moved took the store in it along.
    let places = recorded.iter().chain(&engine.git_dir);
    for place in places {
        let Ok(repository) = engine.git_map.source(place) else {
            continue;
        };
        if is_own && repository.format() == format_of(git) {
            return Ok(Some(Source {
                format: repository.format(),
                repository: Some(repository),
                start: Start::Own(Box::new(content.clone())),
            }));
        }
        if let Some((commit, tree)) = imported
            && repository.objects().contains(&commit)?
        {
            return Ok(Some(Source {
                format: commit.format(),
                repository: Some(repository),
                start: Start::Imported { commit, tree },
            }));
        }
    }
    match (imported, recorded) {
        (None, None) if is_own => Ok(Some(Source {
            format: format_of(git),
            repository: None,
            start: Start::Own(Box::new(content.clone())),
        })),
        (None, _) => Ok(None),
        (Some((commit, _)), recorded) => Err(Error::git(format!(
            "commit {commit} is not in {}, which this was imported from; bring it back, or materialize with git=False",
            recorded.map_or_else(|| "the repository".to_owned(), |path| path.display().to_string())
        ))),
    }
}

/// The (common) git directory that content came from, if it is still there.
pub(super) fn source_git_dir(engine: &Engine, git: &Value) -> Option<PathBuf> {
    let recorded = git.get("source").and_then(Value::as_bytes).map(path_of);
    recorded
        .into_iter()
        .chain(engine.git_dir.clone())
        .find(|path| path.join("objects").is_dir())
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Makes `<directory>/.git`. On an error nothing of it is left. `written` is in the order of a walk.
pub(super) fn create(
    engine: &Arc<Engine>,
    directory: &Path,
    source: &Source,
    name: Option<&str>,
    written: &[Written],
) -> Result<()> {
    let git = directory.join(".git");
    fs::create_dir(&git).map_err(|error| Error::io("create", &git, &error))?;
    let filled = fill(engine, &git, source, name.unwrap_or(BRANCH), written);
    if filled.is_err() {
        let _ = fs::remove_dir_all(&git);
    }
    filled
}

fn fill(engine: &Arc<Engine>, git: &Path, source: &Source, branch: &str, written: &[Written]) -> Result<()> {
    let objects = git.join("objects/info");
    fs::create_dir_all(&objects).map_err(|error| Error::io("create", &objects, &error))?;
    if let Some(repository) = &source.repository {
        let from = repository.common_dir();
        write(&objects.join("alternates"), &alternates(&from.join("objects")))?;
        for copied in ["info/exclude", "info/attributes", "shallow"] {
            if let Some(text) = read(&from.join(copied))? {
                write(&git.join(copied), &text)?;
            }
        }
    }
    let index = match &source.start {
        Start::Imported { commit, tree } => {
            let head = format!("refs/heads/{branch}");
            write(&git.join(&head), format!("{commit}\n").as_bytes())?;
            write(&git.join("config"), &config(source, &[]))?;
            write(&git.join("HEAD"), format!("ref: {head}\n").as_bytes())?;
            match &source.repository {
                Some(repository) => index(repository, tree, written)?,
                None => Index::new(source.format),
            }
        }
        Start::Own(content) => {
            // The configuration says which hash the objects have.
            write(&git.join("config"), &config(source, &[]))?;
            let path = fs::canonicalize(git).map_err(|error| Error::io("open", git, &error))?;
            let target = GitSource::open_git_dir(path)?;
            let copied = copy_to(engine, content, &target)?;
            write(&git.join("config"), &config(source, &copied.user))?;
            fs::create_dir_all(git.join("refs/heads")).map_err(|error| Error::io("create", git, &error))?;
            for (name, text) in &copied.files {
                write(&git.join(std::ffi::OsStr::from_bytes(name)), text)?;
            }
            target.objects().refresh()?;
            index(&target, &copied.index, written)?
        }
    };
    let index = index
        .encode(IndexVersion::Lowest)
        .map_err(|error| Error::git(error.to_string()))?;
    write(&git.join("index"), &index)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let written = match fs::write(path, content) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) => fs::create_dir_all(parent).and_then(|()| fs::write(path, content)),
            None => Err(error),
        },
        other => other,
    };
    written.map_err(|error| Error::io("write", path, &error))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

/// One line: the source's objects; quoted as git does if it must be.
fn alternates(objects: &Path) -> Vec<u8> {
    let path = objects.as_os_str().as_bytes();
    let mut line = Vec::new();
    if path.contains(&b'\n') || path.starts_with(b"\"") || path.starts_with(b"#") {
        line.push(b'"');
        for byte in path {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
                other => line.push(*other),
            }
        }
        line.push(b'"');
    } else {
        line.extend_from_slice(path);
    }
    line.push(b'\n');
    line
}

/// The configuration; who commits is `user`, else who the source says.
fn config(source: &Source, own: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let sha256 = source.format == ObjectFormat::Sha256;
    let mut text = format!(
        "[core]\n\trepositoryformatversion = {}\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n[gc]\n\tauto = 0\n",
        u8::from(sha256)
    )
    .into_bytes();
    if sha256 {
        text.extend_from_slice(b"[extensions]\n\tobjectFormat = sha256\n");
    }
    let theirs = source.repository.as_ref();
    let theirs = theirs.and_then(|theirs| read(&theirs.common_dir().join("config")).ok().flatten());
    let theirs = theirs.unwrap_or_default();
    let theirs = Config::parse(&theirs).unwrap_or_default();
    let mut user = Vec::new();
    for key in ["name", "email"] {
        let own = own.iter().find(|(known, _)| *known == key);
        if let Some(value) = own.map(|(_, value)| &value[..]).or(theirs.value("user", None, key)) {
            user.extend_from_slice(format!("\t{key} = \"").as_bytes());
            for byte in value {
                match byte {
                    b'\n' => user.extend_from_slice(b"\\n"),
                    b'"' | b'\\' => user.extend_from_slice(&[b'\\', *byte]),
                    other => user.push(*other),
                }
            }
            user.extend_from_slice(b"\"\n");
        }
    }
    if !user.is_empty() {
        text.extend_from_slice(b"[user]\n");
        text.extend_from_slice(&user);
    }
    text
}

/// The index of a tree: its files, and what is known of those that are on disk as they are there.
fn index(repository: &GitSource, tree: &Oid, written: &[Written]) -> Result<Index> {
    let mut index = Index::new(repository.format());
    index.entries.reserve_exact(written.len());
    let mut listing = Listing {
        repository,
        index,
        written,
        at: 0,
    };
    let root = listing.tree(tree, &mut Vec::new(), Vec::new(), 0)?;
    let mut index = listing.index;
    // A walk and the index order siblings differently where one's name begins with the other's.
    index.entries.sort_unstable_by(IndexEntry::compare);
    index.entries.dedup_by(|a, b| a.path == b.path);
    index.cache_tree = Some(root);
    Ok(index)
}

struct Listing<'a> {
    repository: &'a GitSource,
    index: Index,
    written: &'a [Written],
    /// The entry of `written` that comes next.
    at: usize,
}

impl Listing<'_> {
    /// Adds the files of a tree and what is below it; returns what the index's extension says of it.
    fn tree(&mut self, oid: &Oid, path: &mut Vec<u8>, name: Vec<u8>, depth: usize) -> Result<CacheTree> {
        let repository = self.repository;
        let object = match repository.objects().read(oid)? {
            Some(object) if object.kind == ObjectKind::Tree && depth < DEPTH_MAX => object,
            // Every repository has the empty tree, whether it is stored or not.
            None if *oid == repository.format().empty_tree() => {
                return Ok(CacheTree {
                    name,
                    tree: Some((0, *oid)),
                    children: Vec::new(),
                });
            }
            _ => return Err(repository.missing(oid, "of a commit")),
        };
        let before = self.index.entries.len();
        let mut children = Vec::new();
        for entry in TreeIter::new(repository.format(), &object.data) {
            let entry = entry.map_err(|error| Error::git(format!("tree {oid}: {error}")))?;
            let length = path.len();
            path.extend_from_slice(entry.name);
            if entry.is_tree() {
                path.push(b'/');
                children.push(self.tree(&entry.oid, path, entry.name.to_vec(), depth + 1)?);
            } else {
                let mut added = IndexEntry::new(path, entry.canonical_mode(), entry.oid);
                if let Some(file) = self.find(path)
                    && file.mode.unix() == added.mode
                    && file.oid == Some(added.oid)
                {
                    added.stat = index_stat(&file.stat);
                }
                self.index.entries.push(added);
            }
            path.truncate(length);
        }
        let count = u32::try_from(self.index.entries.len() - before).unwrap_or(u32::MAX);
        // Git orders subtrees in this extension by length, then by name.
        children.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then_with(|| a.name.cmp(&b.name)));
        Ok(CacheTree {
            name,
            tree: Some((count, *oid)),
            children,
        })
    }

    /// The file that was written there. O(1) if it follows the one asked for before, else O(log files).
    fn find(&mut self, path: &[u8]) -> Option<&Written> {
        if self.written.get(self.at).is_none_or(|file| file.path != path) {
            let order = |file: &Written| super::stat_cache::walk_order(&file.path, path);
            self.at = self.written.binary_search_by(order).ok()?;
        }
        self.at += 1;
        self.written.get(self.at - 1)
    }
}
