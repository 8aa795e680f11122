//! A repository over a store that is open already: on a simulated disk, behind a file system that counts or kills, with limits of its own.

use std::sync::Arc;

use pyi_cas::FileStore;

use crate::durability::Durability;
use crate::engine::Engine;
use crate::repository::{Repository, RepositoryOptions};
use crate::{Error, Result};

impl Repository {
    /// A repository over an open store, whatever its files are on. Of the options only `durability`, `cache_bytes` and
    /// `trees_bytes` count. What the engine derives (git's names, caches of directories) stands at the store's path on the real file system, if anywhere. O(1).
    ///
    /// # Errors
    /// `InvalidArgument` for [`Durability::Memory`]: the store is on a disk.
    pub fn over(store: FileStore, options: &RepositoryOptions) -> Result<Self> {
        if options.durability == Durability::Memory {
            return Err(Error::invalid(
                "a store with files has durability \"process\" or \"power\"; for \"memory\" use Repository::open",
            ));
        }
        let path = store.directory().to_path_buf();
        let engine = Engine::new(Arc::new(store), path, None, options, None);
        Ok(Repository {
            engine: Arc::new(engine),
        })
    }
}
