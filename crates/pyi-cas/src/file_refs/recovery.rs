//! Refs after a loss of power: what names something that did not reach the disk goes back to its last whole version
//! (`docs/design/009-durability-and-garbage.md`, section 3).

use std::sync::Arc;

use super::log::{Log, create_log, open_log};
use super::{FileRefs, Fold};
use crate::error::{Error, Result};
use crate::reflog::{self, Action, LOG_HEADER_BYTES};
use crate::segment::Damage;
use crate::vfs::read_full;

impl FileRefs {
    /// Folds the logs once more, without the records that depend on what was lost. If there is one, the state becomes a new log, so that
    /// every later opener agrees whatever is written to the segments then. A reader only keeps it in memory. Errors: `Storage`, `Corrupt`,
    /// `UnsupportedFormat`. O(bytes of the logs since the last one that depends on nothing lost).
    pub(super) fn recover(&mut self, numbers: &[u64]) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let whole = |segment, offset| shared.is_whole(segment, offset);
        // A snapshot depends on places too. The newest one that is whole is where to begin.
        let mut first = numbers.len().saturating_sub(1);
        while first > 0
            && numbers[first - 1] + 1 == numbers[first]
            && !self.is_snapshot_whole(numbers[first], &whole)?
        {
            first -= 1;
        }
        let mut fold = Fold {
            whole: Some(&whole),
            ..Fold::default()
        };
        let mut log = self.log_numbered(numbers[first])?;
        self.fold(&mut log, &mut fold)?;
        fold.skip_snapshot = true;
        for number in &numbers[first + 1..] {
            let next = self.log_numbered(*number)?;
            log = Log {
                state: log.state,
                ..next
            };
            self.fold(&mut log, &mut fold)?;
        }
        // Holes behind what was ever durable are what the loss of power took, and no damage.
        let durable = shared.control.as_ref().map_or((0, 0), |control| control.refs_durable());
        let holes: Vec<Damage> = {
            let damage = self.damage.get_mut();
            damage
                .extract_if(.., |place| (place.number, place.offset) >= durable)
                .collect()
        };
        // Zeros or a torn record at the end: once somebody appends behind them, they would look like damage.
        let length = log
            .file
            .len()
            .map_err(|error| Error::storage("read", self.path(log.number), error))?;
        let whole_end = log.sealed || length <= log.offset;
        if fold.lost.is_empty() && holes.is_empty() && whole_end && first + 1 == numbers.len() {
            return Ok(());
        }
        self.holes = holes;
        let mut lost = fold.lost;
        lost.sort_unstable();
        lost.dedup();
        self.lost = lost;
        if self.read_only {
            self.log = log.into();
            return Ok(());
        }
        let next = log.number + 1;
        self.settle_places(&mut log.state);
        let (vfs, store) = (shared.vfs.as_ref(), &shared.store);
        let message = reflog::recovered_message(durable);
        create_log(vfs, &self.directory, next, store, &log.state, &message)?;
        self.log = self.log_numbered(next)?.into();
        Ok(())
    }

    fn log_numbered(&self, number: u64) -> Result<Log> {
        let shared = &self.shared;
        open_log(
            shared.vfs.as_ref(),
            &self.directory,
            number,
            &shared.store,
            self.read_only,
        )
    }

    /// Whether the state that a log begins with depends on nothing that is lost. A snapshot that cannot be read is for the fold to judge.
    fn is_snapshot_whole(&self, number: u64, whole: &dyn Fn(u64, u64) -> bool) -> Result<bool> {
        let log = self.log_numbered(number)?;
        let path = self.path(number);
        let failed = |error| Error::storage("read", &path, error);
        let length = log.file.len().map_err(failed)?.saturating_sub(LOG_HEADER_BYTES);
        let mut bytes = vec![0u8; usize::try_from(length).unwrap_or(0)];
        let n = read_full(log.file.as_ref(), &mut bytes, LOG_HEADER_BYTES).map_err(failed)?;
        let snapshot = reflog::decode(&bytes[..n], || path.display().to_string())?;
        Ok(match snapshot {
            Some((Action::Snapshot(snapshot), _)) => snapshot.dependencies.iter().all(|place| whole(place.0, place.1)),
            _ => true,
        })
    }
}
