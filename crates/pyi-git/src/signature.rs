//! Who and when: `"Name <mail> 1700000000 +0100"` in commits and tags, and how git cleans a name before writing it.
//!
//! Source: git-commit-tree(1) "Commit information", "Date formats". History contains every kind of malformed line, so
//! reading splits at the last `>` and keeps what it finds as bytes; only writing insists on the form.

/// What can be wrong with a signature line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No `<mail>` part.
    #[error("signature has no <mail> part")]
    Mail,
    /// The seconds or the offset are no numbers.
    #[error("signature has a malformed date")]
    Date,
}

/// A name, a mail address and a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name; may be empty.
    pub name: Vec<u8>,
    /// The mail address, without brackets; may be empty.
    pub mail: Vec<u8>,
    /// Seconds since 1970.
    pub seconds: i64,
    /// Offset from UTC in minutes.
    pub offset_minutes: i32,
    /// Whether an offset of zero was written `-0000`, which means "not known" and must come back as it was.
    pub negative_zero: bool,
}

impl Signature {
    /// A signature at this time, with name and mail cleaned as git cleans them.
    #[must_use]
    pub fn new(name: &[u8], mail: &[u8], seconds: i64, offset_minutes: i32) -> Self {
        Self {
            name: sanitize(name),
            mail: sanitize(mail),
            seconds,
            offset_minutes,
            negative_zero: false,
        }
    }

    /// Reads a line (without the `author ` in front of it and the newline behind it).
    pub fn parse(line: &[u8]) -> Result<Self, SignatureError> {
        let open = line.iter().position(|&b| b == b'<').ok_or(SignatureError::Mail)?;
        let close = line
            .iter()
            .rposition(|&b| b == b'>')
            .filter(|&c| c > open)
            .ok_or(SignatureError::Mail)?;
        let name = line.get(..open).unwrap_or_default();
        let mail = line.get(open + 1..close).unwrap_or_default();
        let mut words = line
            .get(close + 1..)
            .unwrap_or_default()
            .split(|b| b.is_ascii_whitespace())
            .filter(|w| !w.is_empty());
        let seconds = words.next().and_then(integer).ok_or(SignatureError::Date)?;
        let zone = words.next().unwrap_or(b"+0000");
        let (sign, digits) = match zone.split_first() {
            Some((b'+', digits)) => (1, digits),
            Some((b'-', digits)) => (-1, digits),
            _ => return Err(SignatureError::Date),
        };
        let zone = integer(digits)
            .filter(|z| (0..=99_999).contains(z))
            .ok_or(SignatureError::Date)?;
        let minutes = i32::try_from(zone / 100 * 60 + zone % 100).map_err(|_| SignatureError::Date)?;
        Ok(Self {
            name: name.trim_ascii_end().to_vec(),
            mail: mail.to_vec(),
            seconds,
            offset_minutes: sign * minutes,
            negative_zero: sign < 0 && minutes == 0,
        })
    }

    /// The line, without a newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.name.len() + self.mail.len() + 24);
        out.extend_from_slice(&self.name);
        if !self.name.is_empty() {
            out.push(b' ');
        }
        out.push(b'<');
        out.extend_from_slice(&self.mail);
        let minutes = self.offset_minutes.unsigned_abs();
        let sign = if self.offset_minutes < 0 || self.negative_zero {
            '-'
        } else {
            '+'
        };
        let tail = format!("> {} {sign}{:02}{:02}", self.seconds, minutes / 60, minutes % 60);
        out.extend_from_slice(tail.as_bytes());
        out
    }
}

/// A name or mail address as git writes it.
///
/// Leading and trailing bytes that are "crud" (control characters, space and the punctuation `, : ; < > " \ '`) go,
/// and so does every `<`, `>` and newline inside. (Git before 2.45 counted the full stop among them.)
#[must_use]
pub fn sanitize(text: &[u8]) -> Vec<u8> {
    let is_crud = |b: &u8| *b <= 32 || matches!(*b, b',' | b':' | b';' | b'<' | b'>' | b'"' | b'\\' | b'\'');
    let start = text.iter().position(|b| !is_crud(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !is_crud(b)).map_or(start, |last| last + 1);
    let kept = text.get(start..end).unwrap_or_default();
    kept.iter()
        .copied()
        .filter(|b| !matches!(b, b'<' | b'>' | b'\n'))
        .collect()
}

/// A decimal number, perhaps negative.
fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { -value } else { value })
}
