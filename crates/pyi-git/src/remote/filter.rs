//! Which objects a partial clone leaves out.
//!
//! Source: git-rev-list(1) `--filter`. What a client names itself is never left out.

use super::{RequestError, lossy};
use crate::object::ObjectKind;

/// Filters combined by `combine:` at most.
const PARTS_MAX: usize = 16;

/// What is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Blobs of this size and above; 0: all of them.
    pub blob_limit_bytes: Option<u64>,
    /// Trees and blobs at this depth and below: 0 is a commit's tree.
    pub tree_depth: Option<u64>,
    /// Everything but objects of this kind.
    pub only: Option<ObjectKind>,
}

impl Filter {
    /// Reads a filter: `blob:none`, `blob:limit=<n>[kmg]`, `tree:<depth>`, `object:type=<kind>`, and several as `combine:<one>+<two>`.
    ///
    /// # Errors
    /// [`RequestError::Filter`] for any other.
    pub fn parse(text: &[u8]) -> Result<Self, RequestError> {
        let wrong = || RequestError::Filter(lossy(text));
        let mut filter = Filter::default();
        match text.strip_prefix(b"combine:") {
            Some(parts) => {
                for (number, part) in parts.split(|&byte| byte == b'+').enumerate() {
                    let part = unquote(part).ok_or_else(wrong)?;
                    if number >= PARTS_MAX || !filter.add(&part) {
                        return Err(wrong());
                    }
                }
            }
            None => {
                if !filter.add(text) {
                    return Err(wrong());
                }
            }
        }
        Ok(filter)
    }

    fn add(&mut self, part: &[u8]) -> bool {
        let smaller = |old: Option<u64>, new: u64| Some(old.map_or(new, |old| old.min(new)));
        if part == b"blob:none" {
            self.blob_limit_bytes = Some(0);
        } else if let Some(limit) = part.strip_prefix(b"blob:limit=") {
            let Some(limit) = size(limit) else { return false };
            self.blob_limit_bytes = smaller(self.blob_limit_bytes, limit);
        } else if let Some(depth) = part.strip_prefix(b"tree:") {
            let Some(depth) = crate::bytes::decimal(depth) else {
                return false;
            };
            self.tree_depth = smaller(self.tree_depth, depth);
        } else if let Some(kind) = part.strip_prefix(b"object:type=") {
            let Some(kind) = ObjectKind::from_bytes(kind) else {
                return false;
            };
            self.only = Some(kind);
        } else {
            return false;
        }
        true
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether objects of this kind may come at all.
    #[must_use]
    pub fn takes(&self, kind: ObjectKind) -> bool {
        self.only.is_none_or(|only| only == kind)
    }
}

fn size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text.split_last()? {
        (b'k' | b'K', digits) => (digits, 10),
        (b'm' | b'M', digits) => (digits, 20),
        (b'g' | b'G', digits) => (digits, 30),
        _ => (text, 0),
    };
    crate::bytes::decimal(digits)?.checked_mul(1 << shift)
}

/// Takes the percent signs out of one part of a combined filter.
fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_git_writes_them() {
        let filter = |text: &str| Filter::parse(text.as_bytes());
        assert_eq!(filter("blob:none").unwrap().blob_limit_bytes, Some(0));
        assert_eq!(filter("blob:limit=1k").unwrap().blob_limit_bytes, Some(1024));
        assert_eq!(filter("tree:0").unwrap().tree_depth, Some(0));
        let both = filter("combine:blob:none+tree%3A3").unwrap();
        assert_eq!((both.blob_limit_bytes, both.tree_depth), (Some(0), Some(3)));
        assert!(filter("object:type=commit").unwrap().takes(ObjectKind::Commit));
        for bad in [
            "",
            "blob:",
            "blob:limit=",
            "blob:limit=99999999999g",
            "sparse:oid=main",
            "tree:x",
            "combine:",
            "combine:tree%3",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
