//! What the lines of a ref's log are called in the git directory that a [`Site`](super::Site) shows, whatever stands on a disk: a line each, how many
//! there are, and the line that comes next without anybody having counted. And what the lines say that are read again.

/// What all names of lines begin with, as the names of git's own files of them.
pub const LOGS: &[u8] = b"logs/";
/// Behind the ref's name. It is searched for from the end: a part of a ref's name may begin so.
const LINE: &[u8] = b"/@";
const NEXT: &[u8] = b"+";

const MOVING: &[u8] = b"checkout: moving from ";
const TO: &[u8] = b" to ";

/// The line with this number, the oldest being 0.
#[must_use]
pub fn line(of: &[u8], number: u64) -> Vec<u8> {
    [LOGS, of, LINE, format!("{number:016x}").as_bytes()].concat()
}

/// How many lines there are, as a decimal number and a newline.
#[must_use]
pub fn count(of: &[u8]) -> Vec<u8> {
    [LOGS, of, LINE].concat()
}

/// The line that goes behind all others, whatever its number.
#[must_use]
pub fn next(of: &[u8]) -> Vec<u8> {
    [LOGS, of, LINE, NEXT].concat()
}

/// What all lines of a ref's log are below.
#[must_use]
pub fn log(of: &[u8]) -> Vec<u8> {
    [LOGS, of].concat()
}

/// The ref, and which of its lines: a number of hexadecimal digits, or nothing for how many there are; `None` for a name of anything else.
#[must_use]
pub fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = name.strip_prefix(LOGS)?;
    let at = rest.windows(LINE.len()).rposition(|part| part == LINE)?;
    Some((rest.get(..at)?, rest.get(at + LINE.len()..)?))
}

/// What HEAD's log says of a checkout.
pub(crate) fn moving(from: &[u8], to: &[u8]) -> Vec<u8> {
    [MOVING, from, TO, to].concat()
}

/// From where, and to where if that is said, a checkout went.
pub(crate) fn moved(message: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let names = message.strip_prefix(MOVING)?;
    match names.windows(TO.len()).position(|part| part == TO) {
        Some(at) => Some((names.get(..at)?, names.get(at + TO.len()..))),
        None => Some((names, None)),
    }
}

/// What the logs say of a reset.
pub(crate) fn reset(to: &[u8]) -> Vec<u8> {
    [b"reset: moving to ", to].concat()
}

/// What a branch's log says of its beginning, or of its being put elsewhere.
pub(crate) fn branch(existed: bool, start: &[u8]) -> Vec<u8> {
    let what: &[u8] = if existed {
        b"branch: Reset to "
    } else {
        b"branch: Created from "
    };
    [what, start].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_says_whose_line_it_is(of in "refs/heads/[a@/+]{1,8}", number in any::<u64>()) {
            let (of, number) = (of.as_bytes(), number);
            let digits = format!("{number:016x}");
            for (name, which) in [(line(of, number), digits.as_bytes()), (count(of), b""), (next(of), NEXT)] {
                prop_assert_eq!(split(&name), Some((of, which)));
            }
            prop_assert!(line(of, number).starts_with(&log(of)));
            prop_assert_eq!(split(of), None);
        }

        #[test]
        fn a_checkout_is_read_as_it_was_written(from in "[a-z/@]{1,8}", to in "[a-z @]{1,8}") {
            let (from, to) = (from.as_bytes(), to.as_bytes());
            let (moving, reset) = (moving(from, to), reset(to));
            prop_assert_eq!(moved(&moving), Some((from, Some(to))));
            prop_assert_eq!(moved(&reset), None);
        }
    }

    /// Workspaces keep these names in their checkpoints.
    #[test]
    fn the_names_are_for_good() {
        assert_eq!(line(b"HEAD", 26), b"logs/HEAD/@000000000000001a");
        assert_eq!(count(b"refs/heads/main"), b"logs/refs/heads/main/@");
        assert_eq!(moved(b"checkout: moving from main"), Some((&b"main"[..], None)));
    }
}
