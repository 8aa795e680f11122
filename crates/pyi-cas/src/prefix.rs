//! Abbreviated ids: some hex digits from the front, as people type them.

use crate::error::{Error, Result};
use crate::id::{Id, nibble};

/// Ids that are returned for an ambiguous abbreviation; enough to show that it is one.
pub(crate) const RESULTS: usize = 8;

/// Hex digits that an id begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HexPrefix {
    /// The digits, with zeros behind them: the lowest id that matches.
    pub(crate) lowest: Id,
    digits: usize,
}

impl HexPrefix {
    pub(crate) fn parse(hex: &str) -> Result<HexPrefix> {
        let digits = hex.as_bytes();
        if digits.len() > 64 {
            return Err(Error::invalid(format!(
                "an id has at most 64 hex digits, {hex:?} has {}",
                digits.len()
            )));
        }
        let mut lowest = [0u8; 32];
        for (i, digit) in digits.iter().enumerate() {
            let value = nibble(*digit)
                .ok_or_else(|| Error::invalid(format!("{hex:?} is no abbreviated id: only 0-9 and a-f are allowed")))?;
            lowest[i / 2] |= if i % 2 == 0 { value << 4 } else { value };
        }
        Ok(HexPrefix {
            lowest: Id(lowest),
            digits: digits.len(),
        })
    }

    /// The first byte of every match, if the digits fix it.
    pub(crate) fn first_byte(&self) -> Option<u8> {
        (self.digits >= 2).then_some(self.lowest.0[0])
    }

    pub(crate) fn matches(&self, id: &Id) -> bool {
        let whole = self.digits / 2;
        id.0[..whole] == self.lowest.0[..whole]
            && (self.digits & 1 == 0 || id.0[whole] >> 4 == self.lowest.0[whole] >> 4)
    }

    /// Sorts what was found and keeps the first few.
    pub(crate) fn finish(&self, mut found: Vec<Id>) -> Vec<Id> {
        found.sort_unstable();
        found.dedup();
        found.truncate(RESULTS);
        found
    }
}
