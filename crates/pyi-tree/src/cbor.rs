//! Deterministic CBOR: the encoding of checkpoints, state values, journal batches and ref values.
//!
//! RFC 8949 with the core deterministic encoding of section 4.2.1 (shortest heads, definite lengths, map keys in ascending order
//! of their encodings, none twice), except that floats are always 64 bits wide, so that a NaN's bits survive. The decoder accepts exactly what the
//! encoder writes: one value has one encoding, and so one id. In *ordered* encodings (state values, journal batches) the order of a map's keys is part of
//! the value, as it is in Python: they stand as they came, none twice. Ours rather than a library because the libraries at hand decode any
//! CBOR, and a second encoding of the same value would break that.

/// How deeply values may be nested; deeper ones are refused, so that hostile input cannot exhaust the stack.
pub const DEPTH_MAX: usize = 128;

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number from -2^64 to 2^64 - 1.
    Int(i128),
    /// A whole number outside that: whether it is negative, and the big-endian magnitude without leading zeros (of `-1 - n` if
    /// negative).
    Big(bool, Vec<u8>),
    /// A 64-bit float.
    Float(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// A list.
    Array(Vec<Value>),
    /// A mapping with text keys, in any order (the encoding sorts them, unless it is an ordered one).
    Map(Vec<(String, Value)>),
}

/// What is wrong with an encoding or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The bytes end inside a value.
    #[error("the encoding ends inside a value")]
    Truncated,
    /// There are bytes behind the value.
    #[error("there are bytes behind the value")]
    Trailing,
    /// Not the one deterministic encoding.
    #[error("not the deterministic encoding of a value")]
    NotCanonical,
    /// A type of CBOR that is not used here.
    #[error("a type that is not used here")]
    Unsupported,
    /// Nested too deeply.
    #[error("nested more than 128 levels deep")]
    TooDeep,
}

impl Value {
    /// The value under `key` of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(pairs) => pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// The bytes, if it is some.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Value::Bytes(bytes) = self {
            Some(bytes)
        } else {
            None
        }
    }

    /// The number, if it is one from 0 to 2^64 - 1.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Value::Int(number) = self {
            u64::try_from(*number).ok()
        } else {
            None
        }
    }

    /// The list, if it is one.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The encoding. O(size).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.encode_into(&mut out);
        out
    }

    /// Appends the encoding to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.write(out, true);
    }

    /// The ordered encoding: maps keep the order of their keys. O(size).
    #[must_use]
    pub fn encode_ordered(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out, false);
        out
    }

    fn write(&self, out: &mut Vec<u8>, sort: bool) {
        match self {
            Value::Null => put::null(out),
            Value::Bool(value) => put::bool(out, *value),
            Value::Int(number) => put::int(out, *number),
            Value::Big(negative, magnitude) => put::big(out, *negative, magnitude),
            Value::Float(number) => put::float(out, *number),
            Value::Bytes(bytes) => put::bytes(out, bytes),
            Value::Text(text) => put::text(out, text),
            Value::Array(items) => {
                put::array(out, items.len());
                for item in items {
                    item.write(out, sort);
                }
            }
            Value::Map(pairs) => {
                put::map(out, pairs.len());
                // Byte order of the encoded keys is the order of (length, text).
                if sort && !pairs.is_sorted_by(|a, b| (a.0.len(), &a.0) <= (b.0.len(), &b.0)) {
                    let mut sorted: Vec<&(String, Value)> = pairs.iter().collect();
                    sorted.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
                    write_pairs(out, sorted.into_iter(), sort);
                } else {
                    write_pairs(out, pairs.iter(), sort);
                }
            }
        }
    }

    /// Parses exactly one value. O(size).
    ///
    /// # Errors
    /// [`CborError`]: anything but the deterministic encoding of one value.
    pub fn decode(bytes: &[u8]) -> Result<Value, CborError> {
        Self::read(Reader { bytes, sorted: true })
    }

    /// Parses exactly one value in the ordered encoding. O(size).
    ///
    /// # Errors
    /// [`CborError`]: anything but the ordered encoding of one value.
    pub fn decode_ordered(bytes: &[u8]) -> Result<Value, CborError> {
        Self::read(Reader { bytes, sorted: false })
    }

    fn read(mut reader: Reader<'_>) -> Result<Value, CborError> {
        let value = reader.value(0)?;
        if reader.bytes.is_empty() {
            Ok(value)
        } else {
            Err(CborError::Trailing)
        }
    }
}

fn write_pairs<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = &'a (String, Value)>, sort: bool) {
    for (key, value) in pairs {
        put::text(out, key);
        value.write(out, sort);
    }
}

/// Writes encodings piece by piece, for makers that have no [`Value`] at hand. Who writes a map writes as many keys, none twice,
/// each before its value.
pub mod put {
    use super::head;

    /// Nothing.
    pub fn null(out: &mut Vec<u8>) {
        out.push(0xf6);
    }

    /// True or false.
    pub fn bool(out: &mut Vec<u8>, value: bool) {
        out.push(if value { 0xf5 } else { 0xf4 });
    }

    /// A whole number from -2^64 to 2^64 - 1.
    pub fn int(out: &mut Vec<u8>, number: i128) {
        if number >= 0 {
            head(out, 0, number as u64);
        } else {
            head(out, 1, (-1 - number) as u64);
        }
    }

    /// A whole number outside that, as in [`Value::Big`](super::Value::Big).
    pub fn big(out: &mut Vec<u8>, negative: bool, magnitude: &[u8]) {
        out.push(if negative { 0xc3 } else { 0xc2 });
        bytes(out, magnitude);
    }

    /// A 64-bit float.
    pub fn float(out: &mut Vec<u8>, number: f64) {
        out.push(0xfb);
        out.extend_from_slice(&number.to_bits().to_be_bytes());
    }

    /// Bytes.
    pub fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
        head(out, 2, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    /// Text.
    pub fn text(out: &mut Vec<u8>, text: &str) {
        head(out, 3, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }

    /// The head of a list of so many items, which follow.
    pub fn array(out: &mut Vec<u8>, items: usize) {
        head(out, 4, items as u64);
    }

    /// The head of a map of so many pairs, which follow.
    pub fn map(out: &mut Vec<u8>, pairs: usize) {
        head(out, 5, pairs as u64);
    }
}

fn head(out: &mut Vec<u8>, major: u8, number: u64) {
    let major = major << 5;
    if number < 24 {
        out.push(major | number as u8);
    } else if number <= 0xff {
        out.extend_from_slice(&[major | 24, number as u8]);
    } else if number <= 0xffff {
        out.push(major | 25);
        out.extend_from_slice(&(number as u16).to_be_bytes());
    } else if number <= 0xffff_ffff {
        out.push(major | 26);
        out.extend_from_slice(&(number as u32).to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Major types, for what is written without a [`Value`] in between.
pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const MAP: u8 = 5;

/// Appends the head of a number, an array or a map.
pub(crate) fn put_head(out: &mut Vec<u8>, major: u8, number: u64) {
    head(out, major, number);
}

pub(crate) use put::{bytes as put_bytes, text as put_text};

/// Reads values from the front of `bytes`.
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    /// Keys of maps have to be in the deterministic order; else in any, none twice.
    pub(crate) sorted: bool,
}

/// Maps with more keys than this are looked through for doubles with a set.
const FEW_KEYS: usize = 16;

fn has_double(pairs: &[(String, Value)]) -> bool {
    if pairs.len() <= FEW_KEYS {
        return (1..pairs.len()).any(|at| pairs[..at].iter().any(|(key, _)| *key == pairs[at].0));
    }
    let mut seen = std::collections::HashSet::with_capacity(pairs.len());
    !pairs.iter().all(|(key, _)| seen.insert(key.as_str()))
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CborError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(CborError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self, low: u8) -> Result<u64, CborError> {
        let (width, least) = match low {
            0..=23 => return Ok(u64::from(low)),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(CborError::Unsupported),
        };
        let number = self
            .take(width)?
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        if number < least {
            Err(CborError::NotCanonical)
        } else {
            Ok(number)
        }
    }

    fn counted(&mut self, low: u8) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(self.number(low)?).map_err(|_| CborError::Truncated)?;
        self.take(length)
    }

    fn text(&mut self, low: u8) -> Result<&'a str, CborError> {
        std::str::from_utf8(self.counted(low)?).map_err(|_| CborError::NotCanonical)
    }

    /// The head of a list, and how many items follow.
    pub(crate) fn array_head(&mut self) -> Result<usize, CborError> {
        let first = self.take(1)?[0];
        if first >> 5 == 4 {
            self.count(first & 0x1f)
        } else {
            Err(CborError::Unsupported)
        }
    }

    /// A text that is not copied.
    pub(crate) fn text_item(&mut self) -> Result<&'a str, CborError> {
        let first = self.take(1)?[0];
        if first >> 5 == 3 {
            self.text(first & 0x1f)
        } else {
            Err(CborError::Unsupported)
        }
    }

    /// Passes over a value without making one; returns its bytes. Checks what it has to look at, so not the order of keys. O(items).
    pub(crate) fn skip(&mut self, depth: usize) -> Result<&'a [u8], CborError> {
        let all = self.bytes;
        if depth > DEPTH_MAX {
            return Err(CborError::TooDeep);
        }
        let first = self.take(1)?[0];
        let (major, low) = (first >> 5, first & 0x1f);
        match major {
            0 | 1 => drop(self.number(low)?),
            2 | 3 => drop(self.counted(low)?),
            4 | 5 => {
                for _ in 0..self.count(low)? {
                    if major == 5 {
                        self.text_item()?;
                    }
                    self.skip(depth + 1)?;
                }
            }
            6 if low == 2 || low == 3 => drop(self.skip(depth + 1)?),
            7 if (20..=22).contains(&low) => {}
            7 if low == 27 => drop(self.take(8)?),
            _ => return Err(CborError::Unsupported),
        }
        Ok(&all[..all.len() - self.bytes.len()])
    }

    /// A count of items, each of which has at least one byte still to come.
    fn count(&mut self, low: u8) -> Result<usize, CborError> {
        let count = usize::try_from(self.number(low)?).map_err(|_| CborError::Truncated)?;
        if count > self.bytes.len() {
            Err(CborError::Truncated)
        } else {
            Ok(count)
        }
    }

    pub(crate) fn value(&mut self, depth: usize) -> Result<Value, CborError> {
        if depth > DEPTH_MAX {
            return Err(CborError::TooDeep);
        }
        let first = self.take(1)?[0];
        let (major, low) = (first >> 5, first & 0x1f);
        Ok(match major {
            0 => Value::Int(i128::from(self.number(low)?)),
            1 => Value::Int(-1 - i128::from(self.number(low)?)),
            2 => Value::Bytes(self.counted(low)?.to_vec()),
            3 => Value::Text(self.text(low)?.to_owned()),
            4 => {
                let count = self.count(low)?;
                let mut items = Vec::with_capacity(count.min(1024));
                for _ in 0..count {
                    items.push(self.value(depth + 1)?);
                }
                Value::Array(items)
            }
            5 => {
                let count = self.count(low)?;
                let mut pairs: Vec<(String, Value)> = Vec::with_capacity(count.min(1024));
                for _ in 0..count {
                    let key = self.text_item()?.to_owned();
                    if self.sorted
                        && pairs
                            .last()
                            .is_some_and(|(last, _)| (last.len(), last) >= (key.len(), &key))
                    {
                        return Err(CborError::NotCanonical);
                    }
                    pairs.push((key, self.value(depth + 1)?));
                }
                if !self.sorted && has_double(&pairs) {
                    return Err(CborError::NotCanonical);
                }
                Value::Map(pairs)
            }
            6 if low == 2 || low == 3 => {
                let first = self.take(1)?[0];
                if first >> 5 != 2 {
                    return Err(CborError::Unsupported);
                }
                let magnitude = self.counted(first & 0x1f)?;
                if magnitude.len() <= 8 || magnitude[0] == 0 {
                    return Err(CborError::NotCanonical);
                }
                Value::Big(low == 3, magnitude.to_vec())
            }
            7 => match low {
                20 => Value::Bool(false),
                21 => Value::Bool(true),
                22 => Value::Null,
                27 => {
                    let mut bits = [0; 8];
                    bits.copy_from_slice(self.take(8)?);
                    Value::Float(f64::from_bits(u64::from_be_bytes(bits)))
                }
                _ => return Err(CborError::Unsupported),
            },
            _ => return Err(CborError::Unsupported),
        })
    }
}
