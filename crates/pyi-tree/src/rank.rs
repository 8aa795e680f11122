//! Where a large directory is cut: a rule on the name alone (format v1, section 7).
//!
//! As the rule sees nothing but the name, equal content has equal nodes whatever its history.

/// The highest rank; pieces of higher levels than this do not occur.
pub(crate) const RANK_MAX: u8 = 8;

/// The rank of `name`: an entry of rank r begins a node on every level below r. One name in
/// 32 has rank 1 or more, one in 1,024 rank 2 or more. O(length of the name).
pub(crate) fn rank(name: &[u8]) -> u8 {
    // FNV-1a 64 with the finalizer of MurmurHash3, both in the public domain.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in name {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    ((hash.trailing_zeros() / 5) as u8).min(RANK_MAX)
}

/// Whether an entry of this name begins a node of `level`, wherever it stands.
pub(crate) fn begins(name: &[u8], level: u8) -> bool {
    rank(name) > level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_in_32_begins_a_piece_and_the_rule_is_frozen() {
        let names = 100_000;
        let ranked = (0..names).filter(|n| begins(format!("file-{n}").as_bytes(), 0)).count();
        assert!((names / 40..names / 26).contains(&ranked), "{ranked}");
        // Frozen values: a change of the rule changes every id of a large directory.
        let first: Vec<u32> = (0..200_000_u32)
            .filter(|n| rank(format!("{n}").as_bytes()) >= 3)
            .take(3)
            .collect();
        assert_eq!(first, FROZEN);
    }

    const FROZEN: [u32; 3] = [49118, 79179, 85445];
}
