//! Object ids: 32 bytes of BLAKE3, and maps keyed by them. An id is already uniform, so hashing it again would only cost
//! time: the hasher takes eight of its bytes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::str::FromStr;

use crate::error::{Error, Result};

/// Name of an object: BLAKE3-256 of its plain content in the context of its kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(pub [u8; 32]);

/// Map keyed by id.
pub type IdMap<V> = HashMap<Id, V, BuildHasherDefault<IdHasher>>;
/// Set of ids.
pub type IdSet = HashSet<Id, BuildHasherDefault<IdHasher>>;

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Id {
    /// Reads 64 hex digits, upper or lower case. Errors: `InvalidArgument`. O(1).
    pub fn parse_hex(text: &str) -> Result<Id> {
        let digits = text.as_bytes();
        let mut out = [0u8; 32];
        if digits.len() != 64 {
            return Err(Error::invalid(format!(
                "an object id has 64 hex digits, this has {}",
                digits.len()
            )));
        }
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => {
                    return Err(Error::invalid(format!(
                        "{text:?} is not an object id: only 0-9 and a-f are allowed"
                    )));
                }
            }
        }
        Ok(Id(out))
    }

    /// 64 lower-case hex digits. O(1).
    pub fn to_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// The bytes. O(1).
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// First eight bytes as a number in the order of ids; what interpolation works on.
    pub(crate) fn leading(&self) -> u64 {
        leading(&self.0)
    }
}

/// First eight bytes, big-endian; `bytes` has at least eight.
pub(crate) fn leading(bytes: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(word)
}

pub(crate) fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(HEX[usize::from(byte >> 4)] as char);
        text.push(HEX[usize::from(byte & 15)] as char);
    }
    text
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_hex())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", to_hex(&self.0[..6]))
    }
}

impl FromStr for Id {
    type Err = Error;
    fn from_str(text: &str) -> Result<Id> {
        Id::parse_hex(text)
    }
}

impl From<[u8; 32]> for Id {
    fn from(bytes: [u8; 32]) -> Id {
        Id(bytes)
    }
}

impl TryFrom<&[u8]> for Id {
    type Error = Error;
    fn try_from(bytes: &[u8]) -> Result<Id> {
        <[u8; 32]>::try_from(bytes)
            .map(Id)
            .map_err(|_| Error::invalid(format!("an object id has 32 bytes, this has {}", bytes.len())))
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// Hasher for ids only: takes bytes 8..16. The first bytes choose shards and order indexes, so they are left alone.
#[derive(Default, Clone, Copy, Debug)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let part = if bytes.len() >= 16 { &bytes[8..16] } else { bytes };
        let mut word = [0u8; 8];
        let n = part.len().min(8);
        word[..n].copy_from_slice(&part[..n]);
        self.0 ^= u64::from_le_bytes(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses() {
        let id = Id(std::array::from_fn(|i| (i * 7) as u8));
        assert_eq!(id.to_hex().parse::<Id>().ok(), Some(id));
        assert_eq!(Id::parse_hex(&id.to_hex().to_uppercase()).ok(), Some(id));
        assert_eq!(format!("{id}"), id.to_hex());
        assert_eq!(format!("{id:?}"), "Id(00070e151c23)");
        assert!(Id::parse_hex("00").is_err());
        assert!(Id::parse_hex(&"g".repeat(64)).is_err());
        assert!(Id::parse_hex(&"é".repeat(32)).is_err());
    }

    #[test]
    fn maps_by_id_spread_what_they_hold() {
        use std::hash::BuildHasher;
        let hash = |id: &Id| BuildHasherDefault::<IdHasher>::default().hash_one(id);
        let ids: Vec<Id> = (0..=255u8)
            .map(|byte| Id(std::array::from_fn(|i| byte.wrapping_mul(i as u8))))
            .collect();
        let hashes: HashSet<u64> = ids.iter().map(hash).collect();
        assert_eq!(hashes.len(), ids.len());
        let mut number = [0; 32];
        number[8..16].copy_from_slice(&0x0102_0304_0506_0708_u64.to_le_bytes());
        assert_eq!(hash(&Id(number)), 0x0102_0304_0506_0708, "bytes 8 to 16, as they are");
    }
}
