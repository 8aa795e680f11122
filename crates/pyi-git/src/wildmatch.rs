//! Matching a path against a shell pattern, as ignore rules, pathspecs and refspecs use it.
//!
//! Source: gitignore(5) "PATTERN FORMAT", fnmatch(3), glob(7); the corners are settled by asking `git check-ignore`.
//! `?`, `*` and `[...]` do not match `/`; `**` does where it stands between slashes or ends of the pattern. Matching
//! remembers one place to go back to for `*` and one for `**`, which is enough because neither can gain from an earlier
//! one: time stays within the product of the lengths (its square for `**`), whatever the pattern.

/// What differs between uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WildOptions {
    /// Letters match in either case (`core.ignoreCase`). Like git, only the text and plain letters of the pattern are
    /// lowered: an upper-case letter that is escaped, or alone in brackets, matches nothing.
    pub ignore_case: bool,
    /// `*`, `?` and `[...]` do not match `/`; `**` may.
    pub pathname: bool,
}

/// Whether all of `text` matches all of `pattern`.
#[must_use]
pub fn wildmatch(pattern: &[u8], text: &[u8], options: WildOptions) -> bool {
    Matcher { pattern, text, options }.run()
}

/// Whether the pattern has a byte with a special meaning.
#[must_use]
pub fn has_wildcard(pattern: &[u8]) -> bool {
    literal_len(pattern) < pattern.len()
}

/// How many bytes of the pattern stand before the first with a special meaning.
#[must_use]
pub fn literal_len(pattern: &[u8]) -> usize {
    pattern
        .iter()
        .position(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
        .unwrap_or(pattern.len())
}

/// A place to go back to: pattern position after the star, text position to try next.
#[derive(Clone, Copy)]
struct Retry {
    pattern: usize,
    text: usize,
    /// A `**/`: the next try is after the next slash, not at the next byte.
    at_slash: bool,
}

struct Matcher<'a> {
    pattern: &'a [u8],
    text: &'a [u8],
    options: WildOptions,
}

impl Matcher<'_> {
    fn run(&self) -> bool {
        let (mut p, mut t) = (0, 0);
        let mut star: Option<Retry> = None;
        let mut deep: Option<Retry> = None;
        loop {
            if let Some(next) = self.stars(p, t) {
                let (retry, crosses) = next;
                if crosses {
                    (deep, star) = (Some(retry), None);
                } else {
                    star = Some(retry);
                }
                (p, t) = (retry.pattern, retry.text);
                continue;
            }
            if p == self.pattern.len() && t == self.text.len() {
                return true;
            }
            match self.one(p, t) {
                Ok(Some(next)) => {
                    p = next;
                    t += 1;
                    continue;
                }
                Ok(None) => {}
                Err(Malformed) => return false,
            }
            // Give the nearer star one byte more if it may take it, else the farther one.
            let advanced = star.and_then(|r| self.advance(r, !self.options.pathname));
            if let Some(retry) = advanced {
                star = Some(retry);
                (p, t) = (retry.pattern, retry.text);
                continue;
            }
            let Some(retry) = deep.and_then(|r| self.advance(r, true)) else {
                return false;
            };
            (deep, star) = (Some(retry), None);
            (p, t) = (retry.pattern, retry.text);
        }
    }

    /// If stars begin at `p`: where to go on, and whether they cross slashes.
    fn stars(&self, p: usize, t: usize) -> Option<(Retry, bool)> {
        let count = self.pattern.get(p..)?.iter().take_while(|&&b| b == b'*').count();
        if count == 0 {
            return None;
        }
        let after = p + count;
        let rest = self.pattern.get(after..).unwrap_or_default();
        if !self.options.pathname {
            return Some((
                Retry {
                    pattern: after,
                    text: t,
                    at_slash: false,
                },
                true,
            ));
        }
        let bounded = count > 1
            && (p == 0 || self.pattern.get(p - 1) == Some(&b'/'))
            && (rest.is_empty() || rest.first() == Some(&b'/') || rest.starts_with(b"\\/"));
        if !bounded {
            return Some((
                Retry {
                    pattern: after,
                    text: t,
                    at_slash: false,
                },
                false,
            ));
        }
        if rest.first() == Some(&b'/') {
            return Some((
                Retry {
                    pattern: after + 1,
                    text: t,
                    at_slash: true,
                },
                true,
            ));
        }
        Some((
            Retry {
                pattern: after,
                text: t,
                at_slash: false,
            },
            true,
        ))
    }

    /// The next try of a star that may or may not take a slash.
    fn advance(&self, retry: Retry, crosses: bool) -> Option<Retry> {
        let rest = self.text.get(retry.text..)?;
        let taken = if retry.at_slash {
            rest.iter().position(|&b| b == b'/')? + 1
        } else {
            let &byte = rest.first()?;
            if byte == b'/' && !crosses {
                return None;
            }
            1
        };
        Some(Retry {
            text: retry.text + taken,
            ..retry
        })
    }

    /// Matches one byte of text with what stands at `p`; the pattern position after it.
    fn one(&self, p: usize, t: usize) -> Result<Option<usize>, Malformed> {
        let (Some(&want), Some(&have)) = (self.pattern.get(p), self.text.get(t)) else {
            return Ok(None);
        };
        let folded = self.fold(have);
        match want {
            b'?' => Ok((have != b'/' || !self.options.pathname).then_some(p + 1)),
            b'\\' => {
                // A backslash at the end matches nothing.
                let Some(&escaped) = self.pattern.get(p + 1) else {
                    return Err(Malformed);
                };
                Ok((folded == escaped).then_some(p + 2))
            }
            b'[' => {
                let (matched, next) = self.class(p + 1, have)?;
                Ok((matched && (have != b'/' || !self.options.pathname)).then_some(next))
            }
            _ => Ok((folded == self.fold(want)).then_some(p + 1)),
        }
    }

    /// Matches a byte with the bracket expression whose inside begins at `p`.
    fn class(&self, mut p: usize, have: u8) -> Result<(bool, usize), Malformed> {
        let negated = matches!(self.pattern.get(p), Some(b'!' | b'^'));
        if negated {
            p += 1;
        }
        let lower = self.fold(have);
        let mut matched = false;
        let mut previous: Option<u8> = None;
        let mut first = true;
        loop {
            let &byte = self.pattern.get(p).ok_or(Malformed)?;
            if byte == b']' && !first {
                return Ok((matched != negated, p + 1));
            }
            first = false;
            if byte == b'[' && self.pattern.get(p + 1) == Some(&b':') {
                if let Some((inside, next)) = self.posix_class(p + 2, have)? {
                    matched |= inside;
                    previous = None;
                    p = next;
                    continue;
                }
            } else if byte == b'-'
                && let Some(low) = previous
                && self.pattern.get(p + 1).is_some_and(|&b| b != b']')
            {
                let (high, next) = self.class_byte(p + 1)?;
                matched |= (low..=high).contains(&lower);
                if self.options.ignore_case && lower.is_ascii_lowercase() {
                    matched |= (low..=high).contains(&lower.to_ascii_uppercase());
                }
                previous = None;
                p = next;
                continue;
            }
            let (literal, next) = self.class_byte(p)?;
            matched |= literal == lower;
            previous = Some(literal);
            p = next;
        }
    }

    /// A byte inside brackets, perhaps escaped.
    fn class_byte(&self, p: usize) -> Result<(u8, usize), Malformed> {
        match self.pattern.get(p) {
            Some(b'\\') => self.pattern.get(p + 1).map(|&b| (b, p + 2)).ok_or(Malformed),
            Some(&byte) => Ok((byte, p + 1)),
            None => Err(Malformed),
        }
    }

    /// `[:name:]`, of which the name begins at `p`; `None` if there is no `:]`, so that `[` is an ordinary byte.
    fn posix_class(&self, p: usize, have: u8) -> Result<Option<(bool, usize)>, Malformed> {
        let rest = self.pattern.get(p..).unwrap_or_default();
        let len = rest.iter().position(|&b| b == b']').ok_or(Malformed)?;
        let Some((b':', name)) = rest.get(..len).and_then(|inside| inside.split_last()) else {
            return Ok(None);
        };
        let have = self.fold(have);
        let inside = match name {
            b"alnum" => have.is_ascii_alphanumeric(),
            b"alpha" => have.is_ascii_alphabetic(),
            b"blank" => matches!(have, b' ' | b'\t'),
            b"cntrl" => have.is_ascii_control(),
            b"digit" => have.is_ascii_digit(),
            b"graph" => have.is_ascii_graphic(),
            b"lower" => have.is_ascii_lowercase(),
            b"print" => have.is_ascii_graphic() || have == b' ',
            b"punct" => have.is_ascii_punctuation(),
            b"space" => have.is_ascii_whitespace() || have == 0x0b,
            b"upper" => have.is_ascii_uppercase() || (self.options.ignore_case && have.is_ascii_lowercase()),
            b"xdigit" => have.is_ascii_hexdigit(),
            _ => return Err(Malformed),
        };
        Ok(Some((inside, p + len + 1)))
    }

    fn fold(&self, byte: u8) -> u8 {
        if self.options.ignore_case {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    }
}

/// A bracket without end, an unknown class, a backslash at the end: the pattern matches nothing.
struct Malformed;
