//! Deterministic CBOR: the encoding of checkpoints, state values, journal batches and ref values.
//!
//! RFC 8949 with the core deterministic encoding of section 4.2.1 (shortest heads, definite lengths, map keys in ascending order
//! of their encodings, none twice), except that floats are always 64 bits wide, so that a NaN's bits survive. The decoder accepts exactly what the
//! encoder writes: one value has one encoding, and so one id. Ours rather than a library because the libraries at hand decode any
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
    /// A mapping with text keys, in any order (the encoding sorts them).
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
        match self {
            Value::Null => out.push(0xf6),
            Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
            Value::Int(number) if *number >= 0 => head(out, 0, *number as u64),
            Value::Int(number) => head(out, 1, (-1 - *number) as u64),
            Value::Big(negative, magnitude) => {
                out.push(if *negative { 0xc3 } else { 0xc2 });
                head(out, 2, magnitude.len() as u64);
                out.extend_from_slice(magnitude);
            }
            Value::Float(number) => {
                out.push(0xfb);
                out.extend_from_slice(&number.to_bits().to_be_bytes());
            }
            Value::Bytes(bytes) => put_bytes(out, bytes),
            Value::Text(text) => put_text(out, text),
            Value::Array(items) => {
                head(out, 4, items.len() as u64);
                for item in items {
                    item.encode_into(out);
                }
            }
            Value::Map(pairs) => {
                head(out, 5, pairs.len() as u64);
                let mut sorted: Vec<&(String, Value)> = pairs.iter().collect();
                // Byte order of the encoded keys is the order of (length, text).
                sorted.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
                for (key, value) in sorted {
                    head(out, 3, key.len() as u64);
                    out.extend_from_slice(key.as_bytes());
                    value.encode_into(out);
                }
            }
        }
    }

    /// Parses exactly one value. O(size).
    ///
    /// # Errors
    /// [`CborError`]: anything but the deterministic encoding of one value.
    pub fn decode(bytes: &[u8]) -> Result<Value, CborError> {
        let mut reader = Reader { bytes };
        let value = reader.value(0)?;
        if reader.bytes.is_empty() {
            Ok(value)
        } else {
            Err(CborError::Trailing)
        }
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

/// As [`Value::Bytes`].
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, 2, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// As [`Value::Text`].
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
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

    fn text(&mut self, low: u8) -> Result<String, CborError> {
        let bytes = self.counted(low)?;
        Ok(std::str::from_utf8(bytes)
            .map_err(|_| CborError::NotCanonical)?
            .to_owned())
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

    fn value(&mut self, depth: usize) -> Result<Value, CborError> {
        if depth > DEPTH_MAX {
            return Err(CborError::TooDeep);
        }
        let first = self.take(1)?[0];
        let (major, low) = (first >> 5, first & 0x1f);
        Ok(match major {
            0 => Value::Int(i128::from(self.number(low)?)),
            1 => Value::Int(-1 - i128::from(self.number(low)?)),
            2 => Value::Bytes(self.counted(low)?.to_vec()),
            3 => Value::Text(self.text(low)?),
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
                    let first = self.take(1)?[0];
                    if first >> 5 != 3 {
                        return Err(CborError::Unsupported);
                    }
                    let key = self.text(first & 0x1f)?;
                    if pairs
                        .last()
                        .is_some_and(|(last, _)| (last.len(), last) >= (key.len(), &key))
                    {
                        return Err(CborError::NotCanonical);
                    }
                    pairs.push((key, self.value(depth + 1)?));
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
