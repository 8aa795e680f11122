//! Which seeds a soak runs.

use std::ops::Range;

/// Those of `PYI_SEEDS` (`485..1000`) if it is set.
pub fn seeds(all: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("PYI_SEEDS") else {
        return all;
    };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}
