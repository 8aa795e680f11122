//! A part of an array, as NumPy describes it, and the stretches of bytes that cover it. Knows no arrays.

use pyi_tree::array::CHUNK_BYTES;

/// A part of an array: what a program looks at or writes to, as NumPy describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Where its first element is, in bytes.
    pub offset: u64,
    /// Bytes of an element.
    pub item_bytes: u64,
    /// Lengths of its axes and the bytes from one element to the next along each (they may be negative).
    pub axes: Vec<(u64, i64)>,
}

impl Region {
    /// Calls `visit` with stretches of bytes that together cover the region, as closely as chunks tell them apart.
    pub(crate) fn stretches(&self, visit: &mut dyn FnMut(u64, u64)) {
        if self.item_bytes == 0 || self.axes.iter().any(|(length, _)| *length == 0) {
            return;
        }
        let mut first = self.offset;
        // Upwards along every axis, the longest step first.
        let mut axes: Vec<(u64, u64)> = Vec::with_capacity(self.axes.len());
        for (length, step) in &self.axes {
            if *step < 0 {
                first = first.saturating_sub((length - 1).saturating_mul(step.unsigned_abs()));
            }
            if *length > 1 && *step != 0 {
                axes.push((*length, step.unsigned_abs()));
            }
        }
        axes.sort_by_key(|axis| std::cmp::Reverse(axis.1));
        walk(first, &axes, self.item_bytes, visit);
    }
}

fn walk(first: u64, axes: &[(u64, u64)], item_bytes: u64, visit: &mut dyn FnMut(u64, u64)) {
    let span = axes.iter().fold(item_bytes, |span, (length, step)| {
        span.saturating_add((length - 1).saturating_mul(*step))
    });
    let Some(((length, step), below)) = axes.split_first() else {
        return visit(first, first.saturating_add(span));
    };
    let inner = span - (length - 1).saturating_mul(*step);
    // Between two steps there is no room for a chunk: one stretch is as good.
    if step.saturating_sub(inner) < CHUNK_BYTES as u64 && below.iter().all(|(_, step)| *step < CHUNK_BYTES as u64) {
        return visit(first, first.saturating_add(span));
    }
    for number in 0..*length {
        walk(
            first.saturating_add(number.saturating_mul(*step)),
            below,
            item_bytes,
            visit,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exactly_the_chunks_of_its_elements_are_covered(
            axes in proptest::collection::vec((0u64..5, prop_oneof![-9i64..9, -200_000i64..200_000]), 0..4),
            item_bytes in 1u64..20,
            offset in 2_500_000u64..2_600_000,
        ) {
            let region = Region { offset, item_bytes, axes: axes.clone() };
            let mut covered = BTreeSet::new();
            region.stretches(&mut |from, to| {
                covered.extend(from / CHUNK_BYTES as u64..to.div_ceil(CHUNK_BYTES as u64));
            });
            let mut starts = vec![offset as i64];
            for (length, step) in &axes {
                starts = starts
                    .iter()
                    .flat_map(|start| (0..*length as i64).map(move |number| start + number * step))
                    .collect();
            }
            let wanted: BTreeSet<u64> = starts
                .iter()
                .flat_map(|start| (0..item_bytes).map(move |byte| (*start as u64 + byte) / CHUNK_BYTES as u64))
                .collect();
            prop_assert_eq!(covered, wanted);
        }
    }
}
