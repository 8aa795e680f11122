//! The records of a ref log one after the other, and what stands between them.
//!
//! Whoever reads a log reads it here, so that all see the same: the whole records, and damaged ones that their checksum proves. What a writer
//! left that died in its write is passed over.

use crate::error::Result;
use crate::reflog::{self, Action, Broken, LOG_HEADER_BYTES};

/// What stands somewhere in a log.
pub(crate) enum Piece {
    Record(LogRecord),
    Damage(LogDamage),
}

/// A record, from and to which offset of the log.
pub(crate) struct LogRecord {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) time_ns: u64,
    pub(crate) action: Action,
    /// Its magic or its length is damaged.
    pub(crate) is_repaired: bool,
}

impl LogRecord {
    /// Whether the log begins with it.
    pub(crate) fn is_first(&self) -> bool {
        self.start == LOG_HEADER_BYTES
    }
}

/// Bytes that are no record, up to the next one or to the end.
pub(crate) struct LogDamage {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// No record follows, so that it may be one on its way, or the zeros that a loss of power leaves.
    pub(crate) is_last: bool,
}

/// See [`log_records`].
pub(crate) struct LogRecords<'b, N> {
    bytes: &'b [u8],
    base: u64,
    name: N,
    at: usize,
    /// Where the next whole record stands behind bytes that are none; `None` inside: there is none.
    next: Option<Option<usize>>,
}

/// Goes through `bytes`, which stand in a log from the offset `base` on; `name` is that of the log. An error is the last piece:
/// `UnsupportedFormat` for a record of an unknown type, `Corrupt` for one with a right checksum that makes no sense. O(bytes).
pub(crate) fn log_records<N: Fn() -> String>(bytes: &[u8], base: u64, name: N) -> LogRecords<'_, N> {
    LogRecords {
        bytes,
        base,
        name,
        at: 0,
        next: None,
    }
}

/// The same of a log that was read with its header.
pub(crate) fn whole_log<N: Fn() -> String>(bytes: &[u8], name: N) -> LogRecords<'_, N> {
    let behind_header = bytes.get(LOG_HEADER_BYTES as usize..).unwrap_or_default();
    log_records(behind_header, LOG_HEADER_BYTES, name)
}

impl<N: Fn() -> String> LogRecords<'_, N> {
    /// What stands at the present place; `None` for what is passed over.
    fn piece(&mut self) -> Result<Option<Piece>> {
        let at = self.at;
        let rest = &self.bytes[at..];
        let start = self.base + at as u64;
        let place = || format!("{} offset {start}", (self.name)());
        let (action, length, is_repaired) = match reflog::decode(rest, place)? {
            Some((action, length)) => {
                self.next = None;
                (action, length, false)
            }
            None => {
                let next = match self.next {
                    Some(known) => known,
                    None => *self
                        .next
                        .insert(reflog::next_record(rest, place)?.map(|skip| at + skip)),
                };
                let end = next.unwrap_or(self.bytes.len());
                match reflog::broken(&self.bytes[at..end], place)? {
                    Broken::Repaired(action, length) => (*action, length, true),
                    // A log appears with its first record whole, so that one is never torn.
                    Broken::Torn(length) if start != LOG_HEADER_BYTES => {
                        self.at += length;
                        return Ok(None);
                    }
                    Broken::Torn(_) | Broken::Damaged => {
                        self.at = end;
                        return Ok(Some(Piece::Damage(LogDamage {
                            start,
                            end: self.base + end as u64,
                            is_last: next.is_none(),
                        })));
                    }
                }
            }
        };
        self.at += length;
        Ok(Some(Piece::Record(LogRecord {
            start,
            end: start + length as u64,
            time_ns: reflog::time_ns(rest),
            action,
            is_repaired,
        })))
    }
}

impl<N: Fn() -> String> Iterator for LogRecords<'_, N> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        while self.at < self.bytes.len() {
            match self.piece() {
                Ok(None) => {}
                Ok(Some(piece)) => return Some(Ok(piece)),
                Err(error) => {
                    self.at = self.bytes.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
