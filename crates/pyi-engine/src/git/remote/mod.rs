//! A repository, a workspace or a checkpoint as a git remote: what a fetch offers and what a push does.
//!
//! [`GitServer`] knows one repository; [`GitServer::view`] is one address of it. The protocol's bytes are those of `pyi_git::remote`; moving them is
//! the caller's. What is offered is made when it is asked for: trees and blobs follow from nodes and contents through the map, commits that
//! were imported are read from their source, commits that were pushed from the checkpoints that they became, and every other checkpoint
//! is a commit that follows from it. `docs/design/013-remote.md` has the rules.

mod chosen;
mod commits;
mod history;
mod land;
mod notes;
mod objects;
mod pack;
mod push;
mod quarantine;
mod refs;
mod select;
mod tags;
mod upload;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use pyi_cas::Id;
use pyi_git::ObjectFormat;
use pyi_tree::refs::{WorkspaceRecord, decode_branch, workspace_key};

use crate::engine::Engine;
use crate::git::GitSource;
use crate::git::source_refs::Tags;
use crate::repository::Repository;
use crate::{Error, Result, paths};
use chosen::Chosen;
use commits::Registry;
use objects::CommitInfos;
pub use push::{MovedRef, Push, PushLimits};
pub use pyi_git::remote::advertise::{Offer, OfferedRef, Service};
pub use upload::UploadResponse;

/// What the server calls itself.
pub(crate) const AGENT: &str = concat!("pyi/", env!("CARGO_PKG_VERSION"));

/// What of a repository is at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// The branches.
    Repository,
    /// A named workspace.
    Workspace(String),
    /// The candidates of a named superposition.
    Superposition(String),
    /// One checkpoint, to read.
    Checkpoint(Id),
}

/// What the views of one repository share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) infos: Mutex<CommitInfos>,
    pub(crate) sources: Mutex<Vec<Arc<GitSource>>>,
    pub(crate) tags: Mutex<HashMap<PathBuf, Arc<Tags>>>,
    pub(crate) chosen: Mutex<Chosen>,
    /// Bytes of packs that are arriving, in memory.
    pub(crate) spooled: Arc<AtomicUsize>,
}

/// A repository as git remotes. Cloning is O(1).
#[derive(Clone)]
pub struct GitServer {
    shared: Arc<Shared>,
}

/// One address. Cloning is O(1).
#[derive(Clone)]
pub struct GitRemote {
    pub(crate) shared: Arc<Shared>,
    pub(crate) view: View,
    pub(crate) format: ObjectFormat,
}

impl GitServer {
    /// Serves this repository.
    #[must_use]
    pub fn new(repository: &Repository) -> Self {
        GitServer {
            shared: Arc::new(Shared {
                engine: repository.engine.clone(),
                registry: Mutex::default(),
                infos: Mutex::default(),
                sources: Mutex::default(),
                tags: Mutex::default(),
                chosen: Mutex::default(),
                spooled: Arc::default(),
            }),
        }
    }

    /// The checkpoint of an id or an unambiguous prefix of at least 8 digits.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument`.
    pub fn checkpoint_named(&self, id: &str) -> Result<Id> {
        self.shared.engine.open()?;
        crate::history::resolve(&self.shared.engine, id)
    }

    /// What is at an address.
    ///
    /// # Errors
    /// `NotFound` if there is no such workspace, superposition or checkpoint; `Closed`; `Storage`.
    pub fn view(&self, view: View) -> Result<GitRemote> {
        let engine = &self.shared.engine;
        engine.open()?;
        let refs = engine.store().refs();
        let head = match &view {
            View::Repository => {
                let branches = refs.scan(b"b/")?;
                let main = branches.iter().find(|(key, _)| key == b"b/main").or(branches.first());
                main.map(|(_, value)| decode_branch(value)).transpose()?
            }
            View::Workspace(name) => {
                paths::check_name("workspace", name)?;
                let value = refs.get(&workspace_key(name))?;
                let value = value.ok_or_else(|| Error::not_found(format!("workspace {name:?} does not exist")))?;
                Some(WorkspaceRecord::decode(&value)?.head)
            }
            View::Superposition(name) => Some(refs::superposition(engine, name)?.base),
            View::Checkpoint(id) => Some(*id),
        };
        let format = match head {
            Some(id) => commits::format_of(&*engine.root(&id)?),
            None => ObjectFormat::default(),
        };
        Ok(GitRemote {
            shared: self.shared.clone(),
            view,
            format,
        })
    }
}

impl GitRemote {
    /// The hash that names objects here.
    #[must_use]
    pub fn format(&self) -> ObjectFormat {
        self.format
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }
}
