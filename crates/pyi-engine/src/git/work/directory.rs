//! The git directory of a workspace: a tree of its own, laid out much as git lays its directory out.
//!
//! | path | what |
//! |---|---|
//! | `HEAD`, `ORIG_HEAD`, `config`, `info/exclude` | as git's |
//! | `refs/...` | a ref each: the hexadecimal name and a newline |
//! | `logs/<ref>/@<number>` | a line of a reflog each, from 0; `logs/<ref>/@`: how many |
//! | `index/...` | the index, as a tree of files |
//! | `objects/<name>/commit`, `/tag`, `/tree` | an object that was made here |
//! | `objects/<name>/files/...` | a commit's files |
//!
//! Without one, HEAD is the branch that the workspace came from, at the commit that was imported, and the index is that commit's.

use std::sync::Arc;

use pyi_cas::{Bytes, Id};
use pyi_git::{ObjectFormat, Oid};
use pyi_tree::cbor::Value;
use pyi_tree::tree::Content as NewContent;
use pyi_tree::{Mode, Tree};

use super::subtree;
use crate::Result;
use crate::engine::Engine;

/// Where a checkpoint's `git` names it.
pub(crate) const KEY: &str = "dir";
/// The branch of what came from nowhere.
const BRANCH: &str = "main";

/// The node of the git directory, if there is one.
pub(crate) fn git_directory(git: &Value) -> Option<Id> {
    Id::try_from(git.get(KEY)?.as_bytes()?).ok()
}

/// `git` with this git directory.
pub(crate) fn with_directory(git: &Arc<Value>, id: &Id) -> Arc<Value> {
    if git_directory(git) == Some(*id) {
        return git.clone();
    }
    let mut pairs = match &**git {
        Value::Map(pairs) => pairs.clone(),
        _ => Vec::new(),
    };
    pairs.retain(|(key, _)| key != KEY);
    pairs.push((KEY.to_owned(), Value::Bytes(id.0.to_vec())));
    Arc::new(Value::Map(pairs))
}

/// The hash that a workspace's commits have.
pub(crate) fn format_of(git: &Value) -> ObjectFormat {
    let name = git.get("format").and_then(Value::as_text);
    name.and_then(|name| ObjectFormat::from_name(name.as_bytes()))
        .unwrap_or_default()
}

/// An object name that `git` holds.
pub(super) fn named(git: &Value, key: &str) -> Option<Oid> {
    let hex = git.get(key).and_then(Value::as_text)?;
    Oid::from_hex(hex.as_bytes()).ok()
}

/// What a workspace starts with, but for the index.
pub(super) fn initial(engine: &Engine, git: &Value, branch: Option<&str>) -> Result<Tree> {
    let mut tree = Tree::default();
    let branch = format!(
        "refs/heads/{}",
        branch.filter(|name| !name.is_empty()).unwrap_or(BRANCH)
    );
    write(engine, &mut tree, b"HEAD", Some(format!("ref: {branch}\n").into()))?;
    if let Some(commit) = named(git, "commit") {
        write(engine, &mut tree, branch.as_bytes(), Some(format!("{commit}\n").into()))?;
    }
    Ok(tree)
}

/// A file of the git directory.
pub(super) fn read(engine: &Engine, tree: &Tree, name: &[u8]) -> Result<Option<Bytes>> {
    match tree.find(name, &engine.loader)? {
        Some(found) if found.mode() == Mode::File => Ok(Some(engine.content(&found.row().id, found.pending())?)),
        _ => Ok(None),
    }
}

/// Writes or removes a file; directories that are empty then go too.
pub(super) fn write(engine: &Engine, tree: &mut Tree, name: &[u8], content: Option<Bytes>) -> Result<()> {
    match content {
        Some(content) => Ok(tree.put(name, Mode::File, NewContent::Bytes(content), &engine.loader)?),
        None => remove(engine, tree, name),
    }
}

/// Removes what stands at a path, if something does, and directories above it that are empty then.
pub(super) fn remove(engine: &Engine, tree: &mut Tree, path: &[u8]) -> Result<()> {
    if tree.find(path, &engine.loader)?.is_none() {
        return Ok(());
    }
    tree.remove(path, &engine.loader)?;
    let mut path = path;
    while let Some(slash) = path.iter().rposition(|&byte| byte == b'/') {
        path = path.get(..slash).unwrap_or_default();
        if !tree.directory(path, &engine.loader)?.is_empty() {
            break;
        }
        tree.remove(path, &engine.loader)?;
    }
    Ok(())
}

/// Where an object that was made here stands.
pub(super) fn object_path(oid: &Oid, part: &str) -> Vec<u8> {
    format!("objects/{oid}/{part}").into_bytes()
}

/// The commit that HEAD is at.
pub(crate) fn head_of(engine: &Engine, directory: &Tree) -> Result<Option<Oid>> {
    let Some(head) = read(engine, directory, b"HEAD")? else {
        return Ok(None);
    };
    let head = head.trim_ascii();
    let text = match head.strip_prefix(b"ref: ") {
        Some(name) => read(engine, directory, name)?.unwrap_or_default(),
        None => Bytes::copy_from_slice(head),
    };
    Ok(Oid::from_hex(text.trim_ascii()).ok())
}

/// A commit that was made in a workspace.
pub(crate) struct OwnCommit {
    /// Its bytes.
    pub(crate) raw: Bytes,
    /// Its files.
    pub(crate) files: Tree,
}

/// A commit that was made here; `None` if it was not.
pub(crate) fn own_commit(engine: &Engine, directory: &Tree, oid: &Oid) -> Result<Option<OwnCommit>> {
    let Some(raw) = read(engine, directory, &object_path(oid, "commit"))? else {
        return Ok(None);
    };
    let files = subtree(engine, directory, &object_path(oid, "files"))?.unwrap_or_default();
    Ok(Some(OwnCommit { raw, files }))
}
