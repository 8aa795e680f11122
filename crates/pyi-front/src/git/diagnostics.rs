//! What git says when a command fails before it does anything, in the few cases that are said here, too.
//!
//! They are what people and agents run into all the time: paths and revisions that are not there. Everything else is left to git.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyi_git::command::Outcome;
use pyi_git::path::directories_above;

/// Lines, by what stands before and behind the word that they are about.
const LINES: &[(&[u8], &[u8])] = &[
    (b"error: pathspec '", b"' did not match any file(s) known to git"),
    (b"fatal: pathspec '", b"' did not match any files"),
    (
        b"fatal: ambiguous argument '",
        b"': unknown revision or path not in the working tree.",
    ),
    (b"fatal: bad source, source=", b""),
    (b"fatal: destination exists, source=", b""),
    (b"fatal: not under version control, source=", b""),
    (b"fatal: not removing '", b"' recursively without -r"),
    (b"fatal: No pathspec was given. Which files should I remove?", b""),
];
const DESTINATION: &[u8] = b", destination=";
/// What stands behind one of them.
const BEHIND: &[&[u8]] = &[
    b"Use '--' to separate paths from revisions, like this:",
    b"'git <command> [<revision>...] -- [<file>...]'",
];

/// A path or revision that a line is about.
pub(crate) struct Word<'o> {
    text: &'o [u8],
    /// It may be either.
    is_revision: bool,
}

/// What stands in a line of [`LINES`] between its beginning and its end.
fn words_of(line: &[u8]) -> Option<Vec<Word<'_>>> {
    let (before, rest) = LINES
        .iter()
        .find_map(|(before, behind)| Some((before, line.strip_prefix(*before)?.strip_suffix(*behind)?)))?;
    let is_revision = before.starts_with(b"fatal: ambiguous");
    // Of moves both are named.
    let split = rest.windows(DESTINATION.len()).position(|part| part == DESTINATION);
    let texts = match split {
        Some(at) => vec![rest.get(..at)?, rest.get(at + DESTINATION.len()..)?],
        None => vec![rest],
    };
    Some(texts.into_iter().map(|text| Word { text, is_revision }).collect())
}

/// The words that a failed command complains of, if it said nothing but such lines. O(what it said).
pub(crate) fn known(status: u8, outcome: &Outcome) -> Option<Vec<Word<'_>>> {
    let expected = match status {
        1 => &b"error: "[..],
        128 => b"fatal: ",
        _ => return None,
    };
    let said = outcome.stderr.strip_suffix(b"\n")?;
    // In its place git shows a question mark.
    let is_shown = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\n');
    if !said.iter().all(is_shown) {
        return None;
    }
    if !outcome.stdout.is_empty() || !said.starts_with(expected) {
        return None;
    }
    let mut words = Vec::new();
    for (number, line) in said.split(|&byte| byte == b'\n').enumerate() {
        if number > 0 && BEHIND.contains(&line) {
            continue;
        }
        if number > 0 && !line.starts_with(b"error: ") {
            return None;
        }
        words.extend(words_of(line)?);
    }
    // Before the first commit there are other words for these.
    let is_head = |word: &Word<'_>| word.text.starts_with(b"HEAD") || word.text.starts_with(b"@");
    (!words.iter().any(is_head)).then_some(words)
}

/// Whether git might say something else of these words: it sees where links lead, what is outside, and its own directory. `prefix` is where the command runs,
/// below `top`. O(directories above them) looks at files.
pub(crate) fn are_doubtful(words: &[Word<'_>], top: &Path, prefix: &[u8]) -> bool {
    let bases = [top.to_owned(), top.join(OsStr::from_bytes(prefix))];
    words.iter().any(|word| {
        let mut parts = word.text.split(|&byte| byte == b'/');
        let leads_out = parts.any(|part| part == b".." || part.eq_ignore_ascii_case(b".git"));
        let is_seen = |base: &PathBuf| {
            let about = |path: &[u8]| fs::symlink_metadata(base.join(OsStr::from_bytes(path)));
            directories_above(word.text).any(|above| about(above).is_ok_and(|about| about.is_symlink()))
                || (word.is_revision && about(word.text).is_ok())
        };
        leads_out || bases.iter().any(is_seen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(status: u8, outcome: &Outcome) -> bool {
        known(status, outcome).is_some()
    }

    fn outcome(stdout: &str, stderr: &str) -> Outcome {
        Outcome {
            stdout: stdout.into(),
            stderr: stderr.into(),
            ..Outcome::default()
        }
    }

    #[test]
    fn only_what_was_compared_is_said_here() {
        let one = "error: pathspec 'x' did not match any file(s) known to git\n";
        assert!(is_known(1, &outcome("", one)));
        assert!(is_known(1, &outcome("", &one.repeat(2))));
        assert!(!is_known(128, &outcome("", one)));
        assert!(!is_known(1, &outcome("said", one)));
        assert!(!is_known(1, &outcome("", &format!("{one}hint: more\n"))));
        assert!(!is_known(1, &outcome("", "")));
        assert!(is_known(
            128,
            &outcome("", "fatal: pathspec 'a\\b' did not match any files\n")
        ));
        assert!(!is_known(128, &outcome("", "fatal: something else\n")));
        assert!(!is_known(1, &outcome("", &one.replace('x', "HEAD"))));
    }
}
