//! Flushing a store: what has to be flushed, and what becomes of a segment whose flush fails.

use std::io;

use crate::error::{Error, Result};
use crate::evacuate::evacuate;
use crate::file_store::FileStore;
use crate::shared::Segment;
use crate::vfs::OpenMode;

impl FileStore {
    /// Flushes all that this process committed or has seen and that may not be durable: segments, then their names, then the refs, which
    /// must not reach the disk alone.
    pub(crate) fn make_durable(&self) -> Result<()> {
        let is_gone = self.know_places()?;
        for segment in self.shared.unsealed() {
            if let Err(error) = segment.flush(&self.shared) {
                self.give_up(&segment).map_err(|_| error)?;
            }
        }
        if is_gone { self.refs.renew() } else { self.refs.flush() }
    }

    /// Gets to know the segments that refs depend on, so that they are flushed as well: a change of refs stands on those before it, whoever made
    /// them, and after a loss of power these count only with all that they depend on. Looks at files only if others stored something that
    /// refs depend on and this process has not seen. Whether refs depend on a segment that a collector removed since: they must not, as nobody could tell
    /// it from one that was lost.
    fn know_places(&self) -> Result<bool> {
        self.refs.follow()?;
        let is_unknown = |number, offset| match self.shared.segment_numbered(number) {
            Some(segment) => segment.marks.committed() < offset && !segment.tail.lock().sealed,
            None => offset > 0,
        };
        if self.refs.depend_on(is_unknown) {
            self.shared.refresh_since(self.shared.seen())?;
        }
        if self.refs.depend_on(is_unknown) {
            // It is gone; or its writer died before it told anybody, somebody else found what it left, and a ref depends on that now.
            self.shared.look_anew()?;
        }
        let is_gone = |number, offset| offset > 0 && self.shared.segment_numbered(number).is_none();
        Ok(!self.read_only && self.refs.depend_on(is_gone))
    }

    /// Copies a segment whose flush failed to a new one, and lets the refs depend on it no more. This store's own is removed then and the
    /// new one takes its place; another writer's is left to that one.
    fn give_up(&self, segment: &Segment) -> Result<()> {
        if self.read_only {
            let error = io::Error::from_raw_os_error(libc::EROFS);
            return Err(Error::storage("write to the read-only store", &self.directory, error));
        }
        let mut guard = self.writer.lock();
        let own = guard.take_if(|writer| writer.segment.number == segment.number);
        let copy = match evacuate(&self.shared, segment) {
            Ok(copy) => copy,
            Err(error) => {
                // Nothing more goes into it: what stands there is read by whoever can.
                if let Some(own) = own {
                    own.release();
                }
                return Err(error);
            }
        };
        segment.marks.raise_durable(segment.marks.committed());
        if guard.is_none() {
            *guard = Some(copy);
        } else {
            copy.release();
        }
        drop(guard);
        let renewed = self.refs.renew();
        match own {
            Some(own) if renewed.is_ok() => own.abandon(&self.shared),
            Some(own) => own.release(),
            None if renewed.is_ok() => self.remove_ownerless(segment),
            None => {}
        }
        renewed
    }

    /// Removes a segment that was copied elsewhere, if its writer is dead.
    fn remove_ownerless(&self, segment: &Segment) {
        let path = self.shared.segment_path(segment.number);
        if let Ok(file) = self.shared.vfs.open(&path, OpenMode::ReadWrite)
            && file.try_lock_exclusive().unwrap_or(false)
        {
            self.shared.remove(segment);
        }
    }
}
