//! A directory as a new branch.

use std::path::Path;
use std::sync::Arc;

use pyi_cas::{Batch, Kind};
use pyi_tree::cbor::Value;
use pyi_tree::{CheckpointRoot, Sealer, Tree, seal};

use super::capture::{open_root, start};
use super::scan::apply;
use crate::engine::now_ns;
use crate::repository::Repository;
use crate::workspace::Workspace;
use crate::{Error, Result};

impl Repository {
    /// Takes in everything in `directory` but `.git`, `.pyi` and the store itself, as a checkpoint and a new branch. A
    /// repository inside it becomes a gitlink; sockets, fifos and devices are left out. Memory: one file, one batch of
    /// 4 MB, and the tree. The stat cache is left, so that a later capture reads what changed only.
    ///
    /// # Errors
    /// `Conflict` if the branch exists; `InvalidPath` for a name that a workspace refuses; `NotFound`, `Storage`. There
    /// is no branch then.
    pub fn import_dir(&self, directory: &Path, branch: &str) -> Result<Arc<Workspace>> {
        self.engine.open()?;
        self.check_new_branch(branch)?;
        let (dir, root) = open_root(directory)?;
        let _section = self.engine.store().section();
        let message = format!("import {}", root.display());
        let mut files = Tree::default();
        let mut scan = start(&self.engine, root, None, 0)?;
        scan.run(&dir, files.root())?;
        scan.observer.finish()?;
        apply(&mut files, std::mem::take(&mut scan.edits), &self.engine)?;
        let mut batch = Batch::default();
        let mut sealer = Sealer::new(self.engine.store(), &mut batch);
        let root = CheckpointRoot {
            files: seal(files.root_mut(), &mut sealer)?,
            state: None,
            journal: None,
            parents: Vec::new(),
            time_ns: now_ns(),
            message,
            metadata: Value::Null,
            git: Arc::default(),
            unknown: Vec::new(),
        };
        let id = sealer.object(Kind::Checkpoint, &root.encode())?;
        let stored = self.engine.store().commit(&mut batch).map_err(Error::from)?;
        self.land_import(branch, &id, stored)
    }
}
