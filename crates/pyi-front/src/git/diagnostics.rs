//! What git says when a command fails before it does anything, in the few cases that are said here, too.
//!
//! They are what people and agents run into all the time: paths and revisions that are not there. Everything else is left to git.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyi_git::command::Outcome;

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

/// Whether a command failed with nothing but such lines.
pub(crate) fn is_known(status: u8, outcome: &Outcome) -> bool {
    let expected = match status {
        1 => &b"error: "[..],
        128 => b"fatal: ",
        _ => return false,
    };
    let said = outcome.stderr.strip_suffix(b"\n").unwrap_or_default();
    let mut lines = said.split(|&byte| byte == b'\n');
    // Before the first commit there are other words for these.
    let is_head = |word: &[u8]| word.starts_with(b"HEAD") || word.starts_with(b"@");
    let is_one = |line: &[u8]| {
        LINES.iter().any(|(before, behind)| {
            line.strip_prefix(*before)
                .is_some_and(|rest| rest.ends_with(behind) && !is_head(rest))
        })
    };
    let first = lines.next().unwrap_or_default();
    outcome.stdout.is_empty()
        && first.starts_with(expected)
        && is_one(first)
        && lines.all(|line| BEHIND.contains(&line) || (line.starts_with(b"error: ") && is_one(line)))
}

/// Whether git might say something else of the words that a known failure is about: it sees where links lead, what is outside, and its own directory.
/// `prefix` is where the command runs, below `top`.
pub(crate) fn is_doubtful(outcome: &Outcome, top: &Path, prefix: &[u8]) -> bool {
    let bases = [top.to_owned(), top.join(OsStr::from_bytes(prefix))];
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
    let mut doubtful = false;
    for line in outcome.stderr.split(|&byte| byte == b'\n') {
        for (before, behind) in LINES {
            let Some(rest) = line.strip_prefix(*before).and_then(|rest| rest.strip_suffix(*behind)) else {
                continue;
            };
            let is_revision = before.starts_with(b"fatal: ambiguous");
            // Of moves both words are named.
            let split = rest.windows(DESTINATION.len()).position(|part| part == DESTINATION);
            let (first, second) = match split {
                Some(at) => (rest.get(..at), rest.get(at + DESTINATION.len()..)),
                None => (Some(rest), None),
            };
            for word in [first, second].into_iter().flatten() {
                let mut parts = word.split(|&byte| byte == b'/');
                doubtful |= parts.any(|part| part == b".." || part.eq_ignore_ascii_case(b".git"));
                for base in &bases {
                    let path = base.join(OsStr::from_bytes(word));
                    let within = path.ancestors().skip(1).take_while(|above| above.starts_with(base));
                    doubtful |= within.into_iter().any(is_link) || (is_revision && fs::symlink_metadata(&path).is_ok());
                }
            }
        }
    }
    doubtful
}

#[cfg(test)]
mod tests {
    use super::*;

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
