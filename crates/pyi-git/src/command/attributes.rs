//! What `.gitattributes` asks for that is not done: conversions of content, and drivers for differences.

use std::collections::HashMap;
use std::sync::Arc;

use ::bytes::Bytes;

use super::{Call, Change, Failure, Found, Run, Version, View, unavailable};
use crate::ignore::{IgnoreStack, PatternList};
use crate::path::directories_above;

/// From this length on git does not read a line.
const LINE_MAX_BYTES: usize = 2048;

/// What a line asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Line endings.
    pub text: bool,
    /// Line endings that may be others than `\n` in the work tree.
    pub eol: bool,
    /// Filters, `$Id$`, encodings: content is not what stands in the file.
    pub convert: bool,
    /// Whether a file counts as binary.
    pub diff: bool,
    /// In which line a hunk is said to be.
    pub driver: bool,
}

impl Asked {
    fn add(&mut self, other: Asked) {
        self.text |= other.text;
        self.eol |= other.eol;
        self.convert |= other.convert;
        self.diff |= other.diff;
        self.driver |= other.driver;
    }
}

/// Names that stand for other words (`[attr]name words`).
type Macros = HashMap<String, Asked>;

fn asked(words: &str, macros: &Macros) -> Asked {
    let mut asked = Asked::default();
    for word in words.split_ascii_whitespace() {
        let word = word.trim_start_matches(['-', '!']);
        match word.split('=').next().unwrap_or(word) {
            // Git warns of line endings that will be others when the file is written again.
            "eol" if word != "eol=lf" => asked.convert = true,
            "text" => asked.text = true,
            "eol" | "crlf" => (asked.text, asked.eol) = (true, true),
            "binary" => asked.diff = true,
            "diff" if word.contains('=') => asked.driver = true,
            "diff" => asked.diff = true,
            "filter" | "ident" | "working-tree-encoding" => asked.convert = true,
            name => {
                if let Some(meant) = macros.get(name) {
                    asked.add(*meant);
                }
            }
        }
    }
    asked
}

/// The lines of one file; `None`: it has some that are not understood.
type Lines = Option<Vec<(IgnoreStack, Asked)>>;

fn lines(directory: &[u8], text: &[u8], macros: &mut Macros) -> Lines {
    let text = String::from_utf8_lossy(text);
    let is_meant = |line: &&str| !line.is_empty() && !line.starts_with('#');
    // Git warns of long lines, and passes them over.
    if text.lines().any(|line| line.len() >= LINE_MAX_BYTES) {
        return None;
    }
    // Twice: they may be made of those that come later.
    for _ in 0..2 {
        for line in text.lines().map(str::trim).filter(is_meant) {
            let Some(line) = line.strip_prefix("[attr]") else {
                continue;
            };
            let (name, words) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            // Git allows them at the top only.
            if !directory.is_empty() || name.is_empty() || !name.chars().all(is_plain) || name == "binary" {
                return None;
            }
            let meant = asked(words, macros);
            macros.entry(name.to_owned()).or_default().add(meant);
        }
    }
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(is_meant) {
        if line.starts_with("[attr]") {
            continue;
        }
        if line.starts_with(['"', '!']) {
            return None;
        }
        let (pattern, words) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let mut stack = IgnoreStack::new(false);
        stack.push_directory(directory, PatternList::parse(pattern.as_bytes()).into());
        lines.push((stack, asked(words, macros)));
    }
    Some(lines)
}

/// The `.gitattributes` files that were read so far.
#[derive(Default)]
pub struct Attributes {
    lines: HashMap<Vec<u8>, Option<Arc<Lines>>>,
    macros: Macros,
}

impl Attributes {
    /// What is asked for a path, by all files of attributes above it; `None` if one of them is not understood. `read` gives the content of a file, if it
    /// is there.
    ///
    /// # Errors
    /// What `read` says.
    pub fn asked(
        &mut self,
        path: &[u8],
        mut read: impl FnMut(&[u8]) -> Result<Option<Bytes>, Failure>,
    ) -> Result<Option<Asked>, Failure> {
        let mut all = Asked::default();
        for directory in [&b""[..]].into_iter().chain(directories_above(path)) {
            let known = match self.lines.get(directory) {
                Some(known) => known.clone(),
                None => {
                    let name = match directory {
                        [] => b".gitattributes".to_vec(),
                        _ => [directory, b"/.gitattributes"].concat(),
                    };
                    let found = read(&name)?.map(|text| Arc::new(lines(directory, &text, &mut self.macros)));
                    self.lines.insert(directory.to_vec(), found.clone());
                    found
                }
            };
            let Some(known) = known else { continue };
            let Some(known) = &*known else { return Ok(None) };
            for (stack, asked) in known {
                if stack.matched(path, false).is_some() {
                    all.add(*asked);
                }
            }
        }
        Ok(Some(all))
    }
}

/// What is asked for a path.
fn for_path(call: &mut Call<'_>, path: &[u8]) -> Run<Asked> {
    let site = &mut *call.site;
    let found = Attributes::default().asked(path, |name| {
        let mut found = site.find(View::Work, name)?;
        if found.is_none() {
            found = site.find(View::Index, name)?;
        }
        match found {
            Some(Found::File(version)) => Ok(Some(site.content(&version)?)),
            _ => Ok(None),
        }
    })?;
    match found {
        Some(asked) => Ok(asked),
        None => unavailable("a .gitattributes file with quoted patterns, or macros below the top"),
    }
}

fn name(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Refuses what would be stored otherwise than it stands in the work tree.
pub(crate) fn check_content<'c>(call: &mut Call<'_>, changes: impl Iterator<Item = &'c Change>) -> Run<()> {
    for change in changes {
        let Some(new) = &change.new else { continue };
        if new.kind() != 0o100_000 {
            continue;
        }
        let asked = for_path(call, &change.path)?;
        if asked.convert {
            return unavailable(format!(
                "a filter or encoding in .gitattributes for {:?}",
                name(&change.path)
            ));
        }
        if asked.text && call.site.content(new)?.windows(2).any(|pair| pair == b"\r\n") {
            return unavailable(format!(
                "the conversion of line endings of {:?} by .gitattributes",
                name(&change.path)
            ));
        }
    }
    Ok(())
}

/// Refuses to write what would be written otherwise than it is stored.
pub(crate) fn check_written(call: &mut Call<'_>, path: &[u8], version: &Version) -> Run<()> {
    if version.kind() == 0o100_000 {
        let asked = for_path(call, path)?;
        if asked.convert {
            return unavailable(format!("a filter or encoding in .gitattributes for {:?}", name(path)));
        }
    }
    Ok(())
}

/// Refuses what would be shown in another way.
pub(crate) fn check_diff(call: &mut Call<'_>, path: &[u8], patch: bool) -> Run<()> {
    let asked = for_path(call, path)?;
    if asked.diff || (patch && asked.driver) {
        return unavailable(format!("a diff driver in .gitattributes for {:?}", name(path)));
    }
    Ok(())
}
