//! Configuration files: sections, keys, values.
//!
//! Source: git-config(1) "Syntax". A file is a list of assignments; the same key may be given many times, and the last
//! one wins unless all are wanted. Following `include.path` and `includeIf` is IO and so the caller's: it walks
//! [`Config::entries`] in order and pushes what it reads with [`Config::append`] at the place of the include.

/// What can be wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A line that is no section header, assignment or comment, or is malformed.
    #[error("bad config line {0}")]
    Line(u32),
    /// A value that is no number, or too large a one.
    #[error("bad numeric config value {0:?}")]
    Number(String),
    /// A value that is neither a boolean nor a number.
    #[error("bad boolean config value {0:?}")]
    Boolean(String),
}

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The section, in lower case; empty before the first header.
    pub section: String,
    /// The subsection as written (in lower case if it was given in the old form `[section.sub]`).
    pub subsection: Option<Vec<u8>>,
    /// The key, in lower case.
    pub key: String,
    /// The value; `None` for a key without `=`, which means true.
    pub value: Option<Vec<u8>>,
    /// The line that the key stands in, from 1.
    pub line: u32,
}

impl ConfigEntry {
    fn is(&self, section: &str, subsection: Option<&[u8]>, key: &str) -> bool {
        self.key.eq_ignore_ascii_case(key)
            && self.section.eq_ignore_ascii_case(section)
            && self.subsection.as_deref() == subsection
    }
}

/// The assignments of one or more files, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    entries: Vec<ConfigEntry>,
}

impl Config {
    /// Reads a file.
    pub fn parse(file: &[u8]) -> Result<Self, ConfigError> {
        let data = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let mut parser = Parser { data, at: 0, line: 1 };
        let mut entries = Vec::new();
        // Git takes assignments before the first section too, under no section at all.
        let mut section: (String, Option<Vec<u8>>) = Default::default();
        while let Some(byte) = parser.next() {
            match byte {
                b'\n' | b' ' | b'\t' | b'\r' => {}
                b'#' | b';' => parser.skip_line(),
                b'[' => section = parser.section()?,
                b if b.is_ascii_alphabetic() => {
                    let (name, subsection) = section.clone();
                    let line = parser.line;
                    let (key, value) = parser.assignment(b)?;
                    entries.push(ConfigEntry {
                        section: name,
                        subsection,
                        key,
                        value,
                        line,
                    });
                }
                _ => return Err(ConfigError::Line(parser.line)),
            }
        }
        Ok(Self { entries })
    }

    /// Every assignment, in order.
    #[must_use]
    pub fn entries(&self) -> &[ConfigEntry] {
        &self.entries
    }

    /// Adds the assignments of a file of higher precedence.
    pub fn append(&mut self, other: &Self) {
        self.entries.extend_from_slice(&other.entries);
    }

    /// Adds one assignment, as `-c` does.
    pub fn push(&mut self, entry: ConfigEntry) {
        self.entries.push(entry);
    }

    /// Every assignment of a key, the last one last. Section and key are compared in any case, the subsection exactly.
    pub fn all<'a>(
        &'a self,
        section: &'a str,
        subsection: Option<&'a [u8]>,
        key: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a ConfigEntry> {
        self.entries.iter().filter(move |e| e.is(section, subsection, key))
    }

    /// The last value of a key; the inner `None` is a key without value.
    #[must_use]
    pub fn get(&self, section: &str, subsection: Option<&[u8]>, key: &str) -> Option<Option<&[u8]>> {
        let last = self.entries.iter().rfind(|e| e.is(section, subsection, key));
        last.map(|e| e.value.as_deref())
    }

    /// The last value of a key as bytes; a key without value counts as not there.
    #[must_use]
    pub fn value(&self, section: &str, subsection: Option<&[u8]>, key: &str) -> Option<&[u8]> {
        self.get(section, subsection, key).flatten()
    }

    /// The last value of a key as a boolean.
    pub fn boolean(&self, section: &str, subsection: Option<&[u8]>, key: &str) -> Result<Option<bool>, ConfigError> {
        self.get(section, subsection, key).map(parse_bool).transpose()
    }

    /// The last value of a key as a number.
    pub fn integer(&self, section: &str, subsection: Option<&[u8]>, key: &str) -> Result<Option<i64>, ConfigError> {
        self.value(section, subsection, key).map(parse_int).transpose()
    }

    /// The subsections of a section, each once, in order of first appearance.
    #[must_use]
    pub fn subsections(&self, section: &str) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = Vec::new();
        for entry in self.entries.iter().filter(|e| e.section.eq_ignore_ascii_case(section)) {
            if let Some(name) = entry.subsection.as_deref()
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }
}

/// A boolean: no value, `true`, `yes`, `on` and numbers but 0 are true; an empty value, `false`, `no`, `off`, 0 false.
pub fn parse_bool(value: Option<&[u8]>) -> Result<bool, ConfigError> {
    let Some(value) = value else { return Ok(true) };
    let is = |words: [&str; 3]| words.iter().any(|w| value.eq_ignore_ascii_case(w.as_bytes()));
    if is(["true", "yes", "on"]) {
        return Ok(true);
    }
    if value.is_empty() || is(["false", "no", "off"]) {
        return Ok(false);
    }
    // Git reads the number as a C int here, and so 3g is no boolean.
    match parse_int(value).map(i32::try_from) {
        Ok(Ok(number)) => Ok(number != 0),
        _ => Err(ConfigError::Boolean(String::from_utf8_lossy(value).into_owned())),
    }
}

/// A number as C reads it (decimal, `0x` hexadecimal, `0` octal), perhaps followed by `k`, `m` or `g` (times 1024).
pub fn parse_int(value: &[u8]) -> Result<i64, ConfigError> {
    let bad = || ConfigError::Number(String::from_utf8_lossy(value).into_owned());
    integer(value).ok_or_else(bad)
}

fn integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (text, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 1 << 10),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 1 << 20),
        b'g' | b'G' => (text.get(..text.len() - 1)?, 1 << 30),
        _ => (text, 1i128),
    };
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?) * factor;
    i64::try_from(if negative { -number } else { number })
        .ok()
        .filter(|&n| n != i64::MIN)
}

struct Parser<'a> {
    data: &'a [u8],
    at: usize,
    line: u32,
}

impl Parser<'_> {
    /// The next byte; a carriage return before a newline is passed over.
    fn next(&mut self) -> Option<u8> {
        let Some(&(mut byte)) = self.data.get(self.at) else {
            // Git takes the end of the file for a newline, once, and counts it.
            self.line += u32::from(self.at == self.data.len());
            self.at = self.data.len() + 1;
            return None;
        };
        self.at += 1;
        if byte == b'\r' && self.data.get(self.at) == Some(&b'\n') {
            self.at += 1;
            byte = b'\n';
        }
        self.line += u32::from(byte == b'\n');
        Some(byte)
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|b| b != b'\n') {}
    }

    /// The error for the present line; like git, the next one if a newline is what was wrong.
    fn bad(&self) -> ConfigError {
        ConfigError::Line(self.line)
    }

    /// A section header, of which the `[` has been read.
    fn section(&mut self) -> Result<(String, Option<Vec<u8>>), ConfigError> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some(b']') if !name.is_empty() => break,
                Some(b @ (b' ' | b'\t' | b'\r' | b'\n')) => {
                    let quoted = self.quoted_subsection(b)?;
                    return Ok(split_section(&name, Some(quoted)));
                }
                Some(b) if b.is_ascii_alphanumeric() || b == b'-' || b == b'.' => {
                    name.push(char::from(b.to_ascii_lowercase()));
                }
                _ => return Err(self.bad()),
            }
        }
        Ok(split_section(&name, None))
    }

    fn quoted_subsection(&mut self, space: u8) -> Result<Vec<u8>, ConfigError> {
        let mut byte = Some(space);
        while let Some(b' ' | b'\t' | b'\r') = byte {
            byte = self.next();
        }
        match byte {
            Some(b'"') => {}
            None | Some(b'\n') => return Err(ConfigError::Line(self.line - 1)),
            _ => return Err(self.bad()),
        }
        let mut name = Vec::new();
        loop {
            let byte = match self.next() {
                Some(b'"') => break,
                Some(b'\\') => self.next(),
                other => other,
            };
            match byte {
                None | Some(b'\n') => return Err(ConfigError::Line(self.line - 1)),
                Some(b) => name.push(b),
            }
        }
        match self.next() {
            Some(b']') => Ok(name),
            _ => Err(self.bad()),
        }
    }

    /// A key, of which the first byte has been read, and its value.
    fn assignment(&mut self, first: u8) -> Result<(String, Option<Vec<u8>>), ConfigError> {
        let mut key = String::from(char::from(first.to_ascii_lowercase()));
        let mut byte = self.next();
        while let Some(b) = byte.filter(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            key.push(char::from(b.to_ascii_lowercase()));
            byte = self.next();
        }
        while let Some(b' ' | b'\t') = byte {
            byte = self.next();
        }
        match byte {
            None | Some(b'\n') => Ok((key, None)),
            Some(b'=') => Ok((key, Some(self.value()?))),
            _ => Err(self.bad()),
        }
    }

    fn value(&mut self) -> Result<Vec<u8>, ConfigError> {
        let mut out = Vec::new();
        // Where the value ends if nothing but space follows.
        let mut end = 0;
        let mut quoted = false;
        loop {
            let byte = match self.next() {
                None | Some(b'\n') if quoted => return Err(ConfigError::Line(self.line - 1)),
                None | Some(b'\n') => break,
                Some(b'#' | b';') if !quoted => {
                    self.skip_line();
                    break;
                }
                Some(b @ (b' ' | b'\t' | b'\r')) if !quoted => {
                    if !out.is_empty() {
                        out.push(b);
                    }
                    continue;
                }
                Some(b'"') => {
                    quoted = !quoted;
                    end = out.len();
                    continue;
                }
                Some(b'\\') => match self.next() {
                    None | Some(b'\n') => {
                        end = out.len();
                        continue;
                    }
                    Some(b't') => b'\t',
                    Some(b'b') => 8,
                    Some(b'n') => b'\n',
                    Some(b @ (b'\\' | b'"')) => b,
                    _ => return Err(self.bad()),
                },
                Some(b) => b,
            };
            out.push(byte);
            end = out.len();
        }
        out.truncate(end);
        Ok(out)
    }
}

/// Section and subsection of a header: what follows the first dot of the unquoted part is subsection too.
fn split_section(name: &str, quoted: Option<Vec<u8>>) -> (String, Option<Vec<u8>>) {
    let Some((section, sub)) = name.split_once('.') else {
        return (name.to_owned(), quoted);
    };
    let mut whole = sub.as_bytes().to_vec();
    if let Some(quoted) = quoted {
        whole.push(b'.');
        whole.extend_from_slice(&quoted);
    }
    (section.to_owned(), Some(whole))
}
