//! Bounds-checked reads of big-endian integers and small text helpers, shared by the binary formats.
//!
//! Git writes every multi-byte integer in network byte order. Each helper answers `None` past the end, so that a parser
//! turns a short input into its own typed error with `ok_or` and no index expression can panic.

/// The big-endian 16-bit integer at `at`.
pub(crate) fn be16(data: &[u8], at: usize) -> Option<u16> {
    let raw = data.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*raw))
}

/// The big-endian 32-bit integer at `at`.
pub(crate) fn be32(data: &[u8], at: usize) -> Option<u32> {
    let raw = data.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*raw))
}

/// The big-endian 64-bit integer at `at`.
pub(crate) fn be64(data: &[u8], at: usize) -> Option<u64> {
    let raw = data.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*raw))
}

/// The bytes before the first `needle`, and those after it.
pub(crate) fn split_once(data: &[u8], needle: u8) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|&b| b == needle)?;
    Some((data.get(..at)?, data.get(at + 1..)?))
}

/// A plain decimal number: digits only, no sign, no overflow, no leading zero unless it is `0` itself.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text.first() == Some(&b'0')) {
        return None;
    }
    let mut value: u64 = 0;
    for &b in text {
        if !b.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
    }
    Some(value)
}
