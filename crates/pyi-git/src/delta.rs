//! Deltas: an object described by what to copy from another and what to insert.
//!
//! Source: gitformat-pack(5) "Deltified representation". A delta begins with the sizes of base and result (seven bits a
//! byte, low bits first), then instructions: a byte with its top bit set copies from the base (offset and size follow,
//! bytes that are zero left out), another that is not zero inserts that many bytes, and zero is reserved.

/// What can be wrong with a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It ends inside its header or an instruction.
    #[error("delta is truncated")]
    Truncated,
    /// A size takes more than 64 bits.
    #[error("delta declares a size over 64 bits")]
    Varint,
    /// It was made for a base of another size.
    #[error("delta wants a base of {expected} bytes and was given one of {actual}")]
    BaseSize {
        /// The size in the delta's header.
        expected: u64,
        /// The size of the base at hand.
        actual: u64,
    },
    /// A copy reaches beyond the base.
    #[error("delta copies beyond its base")]
    CopyRange,
    /// The instructions make more or less than the declared result.
    #[error("delta does not make the {0} bytes it declares")]
    ResultSize(u64),
    /// The reserved instruction.
    #[error("delta uses the reserved instruction 0")]
    Reserved,
    /// The declared result is over the caller's limit.
    #[error("delta makes {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// The declared size of the result.
        size: u64,
        /// The limit that was given.
        limit: u64,
    },
}

/// The sizes of base and result, and what is left: the instructions.
pub fn delta_sizes(delta: &[u8]) -> Result<(u64, u64, &[u8]), DeltaError> {
    let (base, rest) = size(delta)?;
    let (result, rest) = size(rest)?;
    Ok((base, result, rest))
}

/// Applies a delta. A result over `limit` bytes is refused before any memory is taken for it.
pub fn apply_delta(base: &[u8], delta: &[u8], limit: u64) -> Result<Vec<u8>, DeltaError> {
    let (expected, result_size, mut code) = delta_sizes(delta)?;
    if expected != base.len() as u64 {
        return Err(DeltaError::BaseSize {
            expected,
            actual: base.len() as u64,
        });
    }
    if result_size > limit {
        return Err(DeltaError::TooLarge {
            size: result_size,
            limit,
        });
    }
    let wrong_size = DeltaError::ResultSize(result_size);
    let target = usize::try_from(result_size).map_err(|_| wrong_size)?;
    // A few bytes of delta can declare any size: take at most what the base and the delta make plausible at once.
    let plausible = base
        .len()
        .saturating_mul(2)
        .saturating_add(delta.len())
        .saturating_add(1 << 20);
    let mut out = Vec::with_capacity(target.min(plausible));
    while let Some((&op, rest)) = code.split_first() {
        code = rest;
        let piece = if op & 0x80 != 0 {
            let (offset, rest) = sparse(code, op & 0x0f)?;
            let (size, rest) = sparse(rest, (op >> 4) & 0x07)?;
            code = rest;
            let size = if size == 0 { 0x1_0000 } else { size };
            base.get(offset..)
                .and_then(|from| from.get(..size))
                .ok_or(DeltaError::CopyRange)?
        } else if op != 0 {
            let (piece, rest) = code.split_at_checked(usize::from(op)).ok_or(DeltaError::Truncated)?;
            code = rest;
            piece
        } else {
            return Err(DeltaError::Reserved);
        };
        if piece.len() > target - out.len() {
            return Err(wrong_size);
        }
        out.extend_from_slice(piece);
    }
    if out.len() == target { Ok(out) } else { Err(wrong_size) }
}

/// A little-endian number of which only the bytes marked in `mask` are written.
#[inline]
fn sparse(mut code: &[u8], mask: u8) -> Result<(usize, &[u8]), DeltaError> {
    let mut value = 0usize;
    for bit in 0..4 {
        if mask & (1 << bit) != 0 {
            let (&byte, rest) = code.split_first().ok_or(DeltaError::Truncated)?;
            value |= usize::from(byte) << (8 * bit);
            code = rest;
        }
    }
    Ok((value, code))
}

/// A number of seven bits a byte, low bits first, the top bit saying that more follow.
fn size(mut data: &[u8]) -> Result<(u64, &[u8]), DeltaError> {
    let mut value = 0u64;
    let mut shift = 0u32;
    loop {
        let (&byte, rest) = data.split_first().ok_or(DeltaError::Truncated)?;
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || (bits << shift) >> shift != bits {
            return Err(DeltaError::Varint);
        }
        value |= bits << shift;
        shift += 7;
        data = rest;
        if byte & 0x80 == 0 {
            return Ok((value, data));
        }
    }
}
