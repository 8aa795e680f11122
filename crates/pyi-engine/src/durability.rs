//! What an answer means: the durability classes, and waiting for the one that was asked for.

use std::path::PathBuf;
use std::str::FromStr;

use pyi_cas::{RefOutcome, RefTransaction};

use crate::engine::Engine;
use crate::{Error, Result};

/// What an acknowledged change survives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Durability {
    /// Nothing: the repository lives as long as its handle.
    Memory,
    /// `kill -9` of any process.
    #[default]
    Process,
    /// A loss of power.
    Power,
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "memory" => Ok(Durability::Memory),
            "process" => Ok(Durability::Process),
            "power" => Ok(Durability::Power),
            _ => Err(Error::invalid(format!(
                "durability {name:?}: \"memory\", \"process\" or \"power\""
            ))),
        }
    }
}

impl Engine {
    /// Moves refs, and waits until that survives what this repository promises.
    pub(crate) fn commit_refs(&self, transaction: &RefTransaction) -> Result<RefOutcome> {
        self.open()?;
        let outcome = {
            // A collector that seals and removes a segment waits for the change that may depend on it.
            let _section = self.store().section();
            self.store().refs().commit(transaction)?
        };
        if outcome == RefOutcome::Done {
            self.acknowledge(self.durability)?;
        }
        Ok(outcome)
    }

    /// Waits until everything so far survives what the class promises. Shares one flush with whoever else waits.
    ///
    /// # Errors
    /// `Storage`: what was done stands and is seen by everybody, but may not survive a loss of power.
    pub(crate) fn acknowledge(&self, durability: Durability) -> Result<()> {
        if durability == Durability::Power {
            self.store().wait_durable()?;
        }
        Ok(())
    }
}

/// A directory for the derived files of a repository in memory; removed with it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// # Errors
    /// `Storage`.
    pub(crate) fn new() -> Result<Self> {
        let mut random = [0u8; 8];
        pyi_cas::Vfs::random(&pyi_cas::OsFs, &mut random)
            .map_err(|error| Error::io("name", &std::env::temp_dir(), &error))?;
        let name = format!("pyi-memory-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|error| Error::io("create", &path, &error))?;
        Ok(Scratch(path))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
