//! Ids, sizes, times and paths as text for people.

use pyi_engine::{Change, ChangeKind, EntryKind, Id};

/// Digits of an id that text output shows; enough to go on with.
const ID_DIGITS: usize = 12;

/// The first digits of an id.
pub(crate) fn short(id: &Id) -> String {
    let mut text = id.to_string();
    text.truncate(ID_DIGITS);
    text
}

/// A size: `512 B`, `3.4 kB`, `12 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 999.5 {
            let digits = usize::from(unit != "B" && size < 9.95);
            return format!("{size:.digits$} {unit}");
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A time in UTC, to the second: `2026-11-22T12:04:14Z`; with `nanos` to the nanosecond.
pub(crate) fn time(time_ns: u64, nanos: bool) -> String {
    let seconds = time_ns / 1_000_000_000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = if nanos {
        format!(".{:09}", time_ns % 1_000_000_000)
    } else {
        String::new()
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The first line of a message, without control characters.
pub(crate) fn first_line(message: &str) -> String {
    message
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|character| !character.is_control())
        .collect()
}

/// A path for one line of text: as it is, or in git's C-style quotes if it holds control characters, quotes, backslashes or bytes
/// that are not UTF-8.
pub(crate) fn quoted(path: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| *byte >= b' ' && !matches!(byte, b'"' | b'\\' | 0x7f);
    if path.iter().all(plain) && std::str::from_utf8(path).is_ok() {
        return path.to_vec();
    }
    let mut out = vec![b'"'];
    for chunk in path.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\r' => out.extend_from_slice(b"\\r"),
                byte if plain(&byte) => out.push(byte),
                byte => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        }
    }
    out.push(b'"');
    out
}

/// One line for a change: `A path`, `D path`, `M path`, `R old -> new`; a directory ends with `/`.
pub(crate) fn change(change: &Change) -> Vec<u8> {
    let letter = match change.kind {
        ChangeKind::Added => b'A',
        ChangeKind::Removed => b'D',
        ChangeKind::Modified | ChangeKind::Mode => b'M',
        ChangeKind::Moved => b'R',
    };
    let mut line = vec![letter, b' '];
    if let (ChangeKind::Moved, Some(old)) = (change.kind, &change.old) {
        line.extend(quoted(&old.path));
        line.extend_from_slice(b" -> ");
    }
    line.extend(quoted(&change.path));
    let entry = change.new.as_ref().or(change.old.as_ref());
    if entry.is_some_and(|entry| entry.kind() == EntryKind::Directory) {
        line.push(b'/');
    }
    line.push(b'\n');
    line
}

/// Lines whose cells stand below each other, the first `left` columns flush left and the others right; the last one is free.
pub(crate) fn table(rows: &[Vec<String>], left: usize) -> Vec<u8> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let last = index + 1 == row.len();
            let padding = " ".repeat(width - cell.chars().count());
            match (index < left, last) {
                (true, true) => line.push_str(cell),
                (true, false) => line.extend([cell, &*padding, "  "]),
                (false, _) => line.extend([&*padding, cell, if last { "" } else { "  " }]),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0, false), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400_000_000_000, false), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_795_348_800_000_000_007, true), "2026-11-22T12:00:00.000000007Z");
        assert_eq!(time(4_107_542_399_000_000_000, false), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn sizes_have_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (12_345, "12 kB"),
            (9_940_000, "9.9 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn paths_are_quoted_only_where_they_must_be() {
        assert_eq!(quoted("a b/ä".as_bytes()), "a b/ä".as_bytes());
        assert_eq!(quoted(b"a\tb\"\\\x01\xff"), b"\"a\\tb\\\"\\\\\\001\\377\"");
    }

    #[test]
    fn tables_line_up() {
        let rows = [
            vec!["a".into(), "1".into(), "x".into()],
            vec!["bcd".into(), "22".into(), "y".into()],
        ];
        assert_eq!(table(&rows, 1), b"a     1  x\nbcd  22  y\n");
    }
}
