//! Merges, whose differences are shown from all parents at once: here only those of which there is nothing to show.

use super::hunks::changes;
use super::patch::contents;
use super::similarity::is_binary;
use super::{Call, Pair};
use crate::command::Run;

/// So many lines apart, two changes are not shown together. Git's hunks have three lines around them, and grow over gaps.
const APART_LINES: usize = 12;

/// Whether nothing is shown of a file that differs from both parents, since each change stands alone and comes from one side. `false`: perhaps.
/// O(lines + differences).
pub(crate) fn shows_nothing(call: &mut Call<'_>, sides: [&Pair; 2]) -> Run<bool> {
    let mut places = Vec::with_capacity(2);
    for pair in sides {
        let (Some(old), Some(new)) = (&pair.old, &pair.new) else {
            return Ok(false);
        };
        if pair.renamed || old.mode != new.mode || new.kind() != 0o100_000 {
            return Ok(false);
        }
        crate::command::attributes::check_diff(call, pair.path(), true)?;
        let (old, new) = contents(call, pair)?;
        if is_binary(&old) || is_binary(&new) {
            return Ok(false);
        }
        places.push(
            changes(&old, &new)
                .into_iter()
                .map(|change| change.new)
                .collect::<Vec<_>>(),
        );
    }
    let [first, second] = &places[..] else { return Ok(false) };
    let is_apart = |one: &std::ops::Range<usize>| {
        let far = |other: &std::ops::Range<usize>| {
            one.end + APART_LINES <= other.start || other.end + APART_LINES <= one.start
        };
        second.iter().all(far)
    };
    Ok(first.iter().all(is_apart))
}
