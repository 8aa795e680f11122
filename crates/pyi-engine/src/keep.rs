//! Checkpoints that are kept whatever retention says, until they are given up.

use pyi_cas::{Guard, Id, RefOutcome, RefTransaction};
use pyi_tree::refs::{decode_kept, kept_key, kept_value};

use crate::repository::Repository;
use crate::{Error, Result};

impl Repository {
    /// Keeps a checkpoint, and all it reaches, from being collected. Keeping it twice is keeping it once.
    ///
    /// # Errors
    /// `NotFound` if this repository has no such checkpoint.
    pub fn keep(&self, id: &Id) -> Result<()> {
        self.engine.open()?;
        let _section = self.engine.store().section();
        self.engine.hold(id)?;
        let transaction = RefTransaction {
            puts: vec![(kept_key(id), Some(kept_value()))],
            message: format!("keep {id}"),
            ..RefTransaction::default()
        };
        self.engine.commit_refs(&transaction)?;
        Ok(())
    }

    /// Gives up a checkpoint that was kept: retention decides from now on.
    ///
    /// # Errors
    /// `NotFound` if it is not kept.
    pub fn unkeep(&self, id: &Id) -> Result<()> {
        let transaction = RefTransaction {
            guards: vec![(kept_key(id), Guard::Present)],
            puts: vec![(kept_key(id), None)],
            message: format!("unkeep {id}"),
            ..RefTransaction::default()
        };
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => Ok(()),
            RefOutcome::Conflict { .. } => Err(Error::not_found(format!(
                "checkpoint {id} is not kept; repo.kept() lists those that are"
            ))),
        }
    }

    /// The checkpoints that are kept, in the order of their ids.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn kept(&self) -> Result<Vec<Id>> {
        let kept = self.refs()?.scan(b"k/")?;
        kept.iter().map(|(key, _)| Ok(decode_kept(key)?)).collect()
    }
}
