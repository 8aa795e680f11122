//! What `.gitattributes` asks for that is not done: conversions of content, and drivers for differences.

use super::{Call, Change, Found, Run, Version, View, unavailable};
use crate::ignore::{IgnoreStack, PatternList};

/// What a line asks for.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// Line endings.
    text: bool,
    /// Filters, `$Id$`, encodings: content is not what stands in the file.
    convert: bool,
    /// Whether a file counts as binary.
    diff: bool,
    /// In which line a hunk is said to be.
    driver: bool,
}

fn asked(words: &str) -> Asked {
    let mut asked = Asked::default();
    for word in words.split_ascii_whitespace() {
        let word = word.trim_start_matches(['-', '!']);
        match word.split('=').next().unwrap_or(word) {
            "text" | "eol" | "crlf" => asked.text = true,
            "binary" => asked.diff = true,
            "diff" if word.contains('=') => asked.driver = true,
            "diff" => asked.diff = true,
            "filter" | "ident" | "working-tree-encoding" => asked.convert = true,
            _ => {}
        }
    }
    asked
}

/// What is asked for a path, by all files of attributes above it.
fn for_path(call: &mut Call<'_>, path: &[u8]) -> Run<Asked> {
    let mut all = Asked::default();
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    for end in [0].into_iter().chain(ends) {
        let directory = path.get(..end).unwrap_or_default();
        let name = match end {
            0 => b".gitattributes".to_vec(),
            _ => [directory, b"/.gitattributes"].concat(),
        };
        let mut found = call.site.find(View::Work, &name)?;
        if found.is_none() {
            found = call.site.find(View::Index, &name)?;
        }
        let Some(Found::File(version)) = found else { continue };
        let text = call.site.content(&version)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with("[attr]") || line.starts_with('"') {
                return unavailable("a .gitattributes file with macros or quoted patterns");
            }
            let (pattern, words) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let mut stack = IgnoreStack::new(false);
            stack.push_directory(directory, PatternList::parse(pattern.as_bytes()).into());
            if stack.matched(path, false).is_some() {
                let asked = asked(words);
                all.text |= asked.text;
                all.convert |= asked.convert;
                all.diff |= asked.diff;
                all.driver |= asked.driver;
            }
        }
    }
    Ok(all)
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
