//! Answers that are shown while they are made: a walk through a long history may be read by somebody who stops after the first lines.

use std::io;
use std::time::{Duration, Instant};

use crate::Error;

/// So much is shown at once,
const BYTES: usize = 8 << 10;
/// or what there is after this time.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes parts of an answer as they come.
pub type Sink<'r> = Box<dyn FnMut(&[u8]) -> io::Result<()> + 'r>;

/// Where an answer is shown.
pub(super) struct Early<'r> {
    sink: Sink<'r>,
    last: Instant,
}

impl<'r> Early<'r> {
    pub(super) fn new(sink: Sink<'r>) -> Self {
        let last = Instant::now();
        Early { sink, last }
    }

    /// Shows `out` and empties it, if it is worth a call or was long in coming.
    pub(super) fn show(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if out.is_empty() || (out.len() < BYTES && self.last.elapsed() < PAUSE) {
            return Ok(());
        }
        let written = (self.sink)(out);
        written.map_err(|error| Error::io("write", std::path::Path::new("standard output"), &error))?;
        out.clear();
        self.last = Instant::now();
        Ok(())
    }
}
