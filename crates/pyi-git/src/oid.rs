//! Object names: which hash a repository uses, a name's bytes and hex form, and the hasher that makes one.
//!
//! Source: gitglossary(7) "object name", gitformat-pack(5) "SHA-256 repositories". An object's name is the hash of
//! `"<kind> <size in decimal>\0"` followed by its content; a repository uses SHA-1 (20 bytes) or SHA-256 (32 bytes)
//! throughout (`extensions.objectFormat`). Both hashes take the CPU's SHA instructions when it has them, chosen at run
//! time by the crates. Unlike git we do not run SHA-1 with collision detection; names computed here are derived data,
//! identity inside PYI is BLAKE3.

use std::fmt;
use std::hash::{Hash, Hasher as StdHasher};

use sha1::Digest;

use crate::object::ObjectKind;

/// The longest raw object name, that of SHA-256.
pub const MAX_OID_LEN: usize = 32;

/// What the tree without entries is called: asked for with every tree of a walk.
const EMPTY_TREE_SHA1: [u8; MAX_OID_LEN] = [
    0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee, 0x49,
    0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];
const EMPTY_TREE_SHA256: [u8; MAX_OID_LEN] = [
    0x6e, 0xf1, 0x9b, 0x41, 0x22, 0x5c, 0x53, 0x69, 0xf1, 0xc1, 0x04, 0xd4, 0x5d, 0x8d, 0x85, 0xef, 0xa9, 0xb0, 0x57,
    0xb5, 0x3b, 0x14, 0xb4, 0xb9, 0xb9, 0x39, 0xdd, 0x74, 0xde, 0xcc, 0x53, 0x21,
];

/// The hash function of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectFormat {
    /// SHA-1: 20 bytes, 40 hex digits.
    #[default]
    Sha1,
    /// SHA-256: 32 bytes, 64 hex digits.
    Sha256,
}

impl ObjectFormat {
    /// Bytes in a raw object name.
    #[must_use]
    pub const fn raw_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Digits in a hexadecimal object name.
    #[must_use]
    pub const fn hex_len(self) -> usize {
        self.raw_len() * 2
    }

    /// The value of `extensions.objectFormat`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// The format of that name (`sha1`, `sha256`), in any case, as git's configuration takes it.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Sha1, Self::Sha256]
            .into_iter()
            .find(|f| name.eq_ignore_ascii_case(f.name().as_bytes()))
    }

    /// The number that stands for the hash in multi-pack-index and other chunk files.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 2,
        }
    }

    /// The name of all zero bytes, git's "no object".
    #[must_use]
    pub const fn null_oid(self) -> Oid {
        Oid {
            bytes: [0; MAX_OID_LEN],
            format: self,
        }
    }

    /// The name of the empty blob.
    #[must_use]
    pub fn empty_blob(self) -> Oid {
        hash_object(self, ObjectKind::Blob, b"")
    }

    /// The name of the tree without entries.
    #[must_use]
    pub const fn empty_tree(self) -> Oid {
        Oid {
            bytes: match self {
                Self::Sha1 => EMPTY_TREE_SHA1,
                Self::Sha256 => EMPTY_TREE_SHA256,
            },
            format: self,
        }
    }
}

/// Why bytes or text are no object name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// The length fits no hash.
    #[error("an object name has 40 or 64 hex digits (20 or 32 bytes), not {0}")]
    Length(usize),
    /// A character that is no hex digit.
    #[error("byte {0} of an object name is no hex digit")]
    Digit(usize),
}

/// An object's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oid {
    /// The name, then zeros, so that the derived order and equality are those of the name.
    bytes: [u8; MAX_OID_LEN],
    format: ObjectFormat,
}

impl Oid {
    /// The name with these raw bytes, whose number must be that of `format`.
    pub fn from_bytes(format: ObjectFormat, raw: &[u8]) -> Result<Self, OidError> {
        let mut bytes = [0; MAX_OID_LEN];
        // Fixed lengths, so that this is a few moves: it runs for every entry of every tree.
        match format {
            ObjectFormat::Sha1 => {
                let raw: &[u8; 20] = raw.try_into().map_err(|_| OidError::Length(raw.len()))?;
                if let Some(start) = bytes.first_chunk_mut() {
                    *start = *raw;
                }
            }
            ObjectFormat::Sha256 => bytes = *<&[u8; 32]>::try_from(raw).map_err(|_| OidError::Length(raw.len()))?,
        }
        Ok(Self { bytes, format })
    }

    /// Reads 40 or 64 hex digits of either case; the number of digits decides the format.
    pub fn from_hex(hex: &[u8]) -> Result<Self, OidError> {
        let format = match hex.len() {
            40 => ObjectFormat::Sha1,
            64 => ObjectFormat::Sha256,
            other => return Err(OidError::Length(other)),
        };
        let mut bytes = [0; MAX_OID_LEN];
        for (i, (to, pair)) in bytes.iter_mut().zip(hex.chunks_exact(2)).enumerate() {
            if let [high, low] = *pair {
                let high = digit_value(high).ok_or(OidError::Digit(2 * i))?;
                let low = digit_value(low).ok_or(OidError::Digit(2 * i + 1))?;
                *to = high << 4 | low;
            }
        }
        Ok(Self { bytes, format })
    }

    /// The raw bytes, 20 or 32 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.format.raw_len()).unwrap_or(&self.bytes)
    }

    /// The hash that made the name.
    #[must_use]
    pub const fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Whether this is the all-zero name.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.bytes == [0; MAX_OID_LEN]
    }

    /// The name in lower-case hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let mut text = Vec::with_capacity(self.format.hex_len());
        self.write_hex(&mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Appends the name in lower-case hex.
    pub fn write_hex(&self, out: &mut Vec<u8>) {
        // All of it at once: a history is full of names.
        let mut hex = [0; 2 * MAX_OID_LEN];
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(self.bytes) {
            *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
        }
        out.extend_from_slice(hex.get(..self.format.hex_len()).unwrap_or(&hex));
    }
}

impl Hash for Oid {
    /// Half of the name is enough to spread keys, and a name is as random as any hash already.
    fn hash<H: StdHasher>(&self, state: &mut H) {
        if let Some(half) = self.bytes.first_chunk() {
            state.write_u128(u128::from_le_bytes(*half));
        }
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({})", self.to_hex())
    }
}

impl std::str::FromStr for Oid {
    type Err = OidError;

    fn from_str(s: &str) -> Result<Self, OidError> {
        Self::from_hex(s.as_bytes())
    }
}

/// An abbreviated object name: at least one leading hex digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OidPrefix {
    /// The smallest raw name that begins with the digits.
    low: [u8; MAX_OID_LEN],
    digits: usize,
}

impl OidPrefix {
    /// Reads 1 to 64 hex digits of either case.
    pub fn from_hex(hex: &[u8]) -> Result<Self, OidError> {
        if hex.is_empty() || hex.len() > 2 * MAX_OID_LEN {
            return Err(OidError::Length(hex.len()));
        }
        let mut low = [0; MAX_OID_LEN];
        for (i, &digit) in hex.iter().enumerate() {
            let value = digit_value(digit).ok_or(OidError::Digit(i))?;
            if let Some(byte) = low.get_mut(i / 2) {
                *byte |= if i % 2 == 0 { value << 4 } else { value };
            }
        }
        Ok(Self { low, digits: hex.len() })
    }

    /// How many digits were given.
    #[must_use]
    pub const fn digits(&self) -> usize {
        self.digits
    }

    /// The digits followed by zeros: where a binary search for the prefix begins.
    #[must_use]
    pub const fn low(&self) -> &[u8; MAX_OID_LEN] {
        &self.low
    }

    /// Whether the raw name begins with the digits.
    #[must_use]
    pub fn matches(&self, raw: &[u8]) -> bool {
        let whole = self.digits / 2;
        if raw.get(..whole) != self.low.get(..whole) || raw.len() * 2 < self.digits {
            return false;
        }
        self.digits.is_multiple_of(2) || raw.get(whole).map(|b| b >> 4) == self.low.get(whole).map(|b| b >> 4)
    }
}

/// A running hash in the repository's format.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-1 so far.
    Sha1(sha1::Sha1),
    /// SHA-256 so far.
    Sha256(sha2::Sha256),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1(_) => "Hasher(sha1)",
            Self::Sha256(_) => "Hasher(sha256)",
        })
    }
}

impl Hasher {
    /// An empty hash.
    #[must_use]
    pub fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Self::Sha1(sha1::Sha1::new()),
            ObjectFormat::Sha256 => Self::Sha256(sha2::Sha256::new()),
        }
    }

    /// The hash of an object of which the header has been taken in; feed the content, all `size` bytes of it.
    #[must_use]
    pub fn for_object(format: ObjectFormat, kind: ObjectKind, size: u64) -> Self {
        let mut hasher = Self::new(format);
        hasher.update(crate::object::header(kind, size).as_bytes());
        hasher
    }

    /// Takes more bytes in.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha1(h) => h.update(data),
            Self::Sha256(h) => h.update(data),
        }
    }

    /// The name.
    #[must_use]
    pub fn finish(self) -> Oid {
        let mut bytes = [0; MAX_OID_LEN];
        let format = match self {
            Self::Sha1(h) => {
                bytes.iter_mut().zip(h.finalize()).for_each(|(to, from)| *to = from);
                ObjectFormat::Sha1
            }
            Self::Sha256(h) => {
                bytes.iter_mut().zip(h.finalize()).for_each(|(to, from)| *to = from);
                ObjectFormat::Sha256
            }
        };
        Oid { bytes, format }
    }
}

/// The name of an object with this content.
#[must_use]
pub fn hash_object(format: ObjectFormat, kind: ObjectKind, content: &[u8]) -> Oid {
    let mut hasher = Hasher::for_object(format, kind, content.len() as u64);
    hasher.update(content);
    hasher.finish()
}

/// The hash of plain bytes without an object header: what trailers of packs and index files hold.
#[must_use]
pub fn hash_bytes(format: ObjectFormat, data: &[u8]) -> Oid {
    let mut hasher = Hasher::new(format);
    hasher.update(data);
    hasher.finish()
}

const fn digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_tree_is_known_by_heart() {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            assert_eq!(format.empty_tree(), hash_object(format, ObjectKind::Tree, b""));
            let name = format.empty_tree();
            let hex: String = name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((name.to_hex(), Oid::from_hex(hex.as_bytes())), (hex, Ok(name)));
        }
    }
}
