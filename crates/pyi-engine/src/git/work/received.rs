//! What a push does to the git directory of a workspace.

use std::sync::Arc;

use pyi_cas::{Bytes, Id};
use pyi_git::command::{self, Site, View};
use pyi_git::{ObjectKind, Oid};
use pyi_tree::Tree;
use pyi_tree::refs::Origin;

use super::directory::object_path;
use super::engine_error;
use super::site::WorkSite;
use crate::Result;
use crate::engine::Engine;
use crate::hold::Held;
use crate::workspace::Content;

/// A commit that the workspace gets.
#[derive(Clone)]
pub(crate) struct Arrived {
    pub(crate) oid: Oid,
    pub(crate) raw: Bytes,
    /// The node of its files.
    pub(crate) files: Id,
}

/// The git directory of the workspace that is at `held`, after a push of `tip`, which is one of `commits`: they are in it, HEAD's branch and the index are at
/// `tip`, the reflogs say so, and all else is what it was. In the caller's section; nothing is stored but names. O(commits, changed).
///
/// # Errors
/// `Git` if the workspace's own state cannot be read; `Corrupt`; `Storage`.
pub(crate) fn receive(
    engine: &Arc<Engine>,
    held: &Arc<Held>,
    origin: Option<&Origin>,
    commits: &[Arrived],
    tip: &Oid,
) -> Result<Tree> {
    let content = Content::of(held.clone(), origin.cloned());
    let mut site = WorkSite::new(engine, &content)?;
    for commit in commits {
        site.keep(&commit.oid, ObjectKind::Commit, commit.raw.to_vec())?;
        let files = engine.tree(&commit.files)?;
        if !files.root().is_empty() {
            let path = object_path(&commit.oid, "files");
            site.directory
                .put_directory(&path, files.root().clone(), &engine.loader)?;
        }
    }
    command::receive(&mut site, tip).map_err(engine_error)?;
    site.set_index(View::Of(*tip)).map_err(engine_error)?;
    site.keep_names();
    Ok(site.finish()?.1)
}
