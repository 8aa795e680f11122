//! A node's bytes: the header, the rows, the names, and what makes them canonical (format v1, section 7).

use crate::node::Row;
use crate::{Error, Mode, NAME_MAX_BYTES, Result};

pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const ROW_BYTES: usize = 48;
pub(crate) const NODE_TYPE: u8 = 1;
const NAME_END_MAX: usize = 0x00ff_ffff;
const LEVEL_MAX: u8 = crate::rank::RANK_MAX + 1;

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The 48 bytes of a row whose name ends at `name_end` of the names area.
pub(crate) fn encode_row(row: &Row, name_end: usize) -> [u8; ROW_BYTES] {
    let mut bytes = [0; ROW_BYTES];
    bytes[..32].copy_from_slice(&row.id.0);
    bytes[32..40].copy_from_slice(&row.size_bytes.to_le_bytes());
    bytes[40..44].copy_from_slice(&row.files.to_le_bytes());
    bytes[44..].copy_from_slice(&(name_end as u32 | (u32::from(row.mode as u8) << 24)).to_le_bytes());
    bytes
}

/// Refuses a name that format v1 cannot hold; `names_end` is the length of the names area with it.
pub(crate) fn check_name(name: &[u8], names_end: usize) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        return Err(Error::invalid_path(name, "a name has 1 to 4096 bytes; shorten it"));
    }
    if names_end > NAME_END_MAX {
        return Err(Error::invalid_path(
            name,
            "the names of one directory piece exceed 16 MiB; use shorter ones",
        ));
    }
    Ok(())
}

/// Whether `bytes` are a canonical node; the error says what is wrong.
pub(crate) fn check(bytes: &[u8]) -> std::result::Result<(), &'static str> {
    if bytes.len() < HEADER_BYTES || bytes[0] != NODE_TYPE || bytes[1] > LEVEL_MAX {
        return Err("no node header");
    }
    let (level, count, names_bytes) = (bytes[1], u32_at(bytes, 4) as usize, u32_at(bytes, 32) as usize);
    let rows_end = count
        .checked_mul(ROW_BYTES)
        .and_then(|size| size.checked_add(HEADER_BYTES));
    let Some(rows_end) = rows_end.filter(|end| end.checked_add(names_bytes) == Some(bytes.len())) else {
        return Err("its length does not fit its header");
    };
    if bytes[2..4] != [0, 0] || bytes[36..40] != [0; 4] {
        return Err("a reserved byte is set");
    }
    let (mut files, mut size, mut start) = (0_u64, 0_u64, 0_usize);
    let mut previous: &[u8] = &[];
    for index in 0..count {
        let at = HEADER_BYTES + ROW_BYTES * index;
        let word = u32_at(bytes, at + 44);
        let (end, mode) = ((word & 0x00ff_ffff) as usize, Mode::from_number((word >> 24) as u8));
        let mode = mode.map_err(|_| "an unknown mode")?;
        if end <= start || end > names_bytes || end - start > NAME_MAX_BYTES {
            return Err("a name out of bounds");
        }
        let name = &bytes[rows_end + start..rows_end + end];
        if index > 0 && name <= previous {
            return Err("names out of order");
        }
        if (mode == Mode::Piece) != (level > 0) {
            return Err("a row that its level does not allow");
        }
        let below = u32_at(bytes, at + 40);
        if bytes[at..at + 32] == [0; 32] || (!mode.has_node() && below != 1) {
            return Err("a row without content");
        }
        files += u64::from(below);
        size = size.wrapping_add(u64_at(bytes, at + 32));
        (previous, start) = (name, end);
    }
    if start != names_bytes || files != u64_at(bytes, 16) || size != u64_at(bytes, 24) {
        return Err("its totals do not fit its rows");
    }
    if level == 0 && u64_at(bytes, 8) != count as u64 {
        return Err("its count does not fit its rows");
    }
    if level > 0 && count == 0 {
        return Err("no piece");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_node_have_16_mib_at_most() {
        assert!(check_name(b"x", NAME_END_MAX).is_ok());
        let error = check_name(b"x", NAME_END_MAX + 1).unwrap_err();
        assert!(error.to_string().contains("exceed 16 MiB"));
    }
}
