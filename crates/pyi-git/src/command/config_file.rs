//! A configuration file with one setting changed: comments, layout and whatever else stands in it stay.

use super::config::{Name, split_name};
use super::say;
use crate::config::Config;

/// What a part of a file is. All of a file belongs to one part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Comment,
    /// A header; whether it is that of the setting's section.
    Header(bool),
    /// A setting, to the end of its line; whether it is the one.
    Setting(bool),
}

struct Part {
    kind: Kind,
    begin: usize,
    end: usize,
}

/// Names as the file has them, of a header and a line below it.
fn name_of(header: &[u8], line: &[u8]) -> Option<Name> {
    let config = Config::parse(&[header, b"\n", line, b"\n"].concat()).ok()?;
    let entry = config.entries().first()?;
    Some((entry.section.clone(), entry.subsection.clone(), entry.key.clone()))
}

/// The parts of a file; `None` if something in it is not plain: other line ends, lines that go on, headers in the old form.
fn parts(file: &[u8], wanted: &Name) -> Option<Vec<Part>> {
    if file.iter().any(|byte| matches!(byte, b'\r' | 0)) {
        return None;
    }
    let to_line_end = |at: usize| {
        let rest = file.get(at..).unwrap_or_default();
        at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
    };
    let (mut parts, mut header): (Vec<Part>, &[u8]) = (Vec::new(), b"");
    let mut at = 0;
    while let Some(&byte) = file.get(at) {
        let begin = at;
        let kind = match byte {
            b' ' | b'\t' | b'\n' => {
                let rest = file.get(at..)?;
                let len = rest.iter().position(|byte| !b" \t\n".contains(byte));
                at += len.unwrap_or(rest.len());
                Kind::Space
            }
            b'#' | b';' => {
                at = to_line_end(at);
                Kind::Comment
            }
            b'[' => {
                at += header_len(file.get(at..)?)?;
                header = file.get(begin..at)?;
                let (section, subsection, _) = name_of(header, b"x")?;
                Kind::Header((&section, &subsection) == (&wanted.0, &wanted.1))
            }
            _ if byte.is_ascii_alphabetic() => {
                let end = to_line_end(at);
                let line = file.get(begin..end)?;
                if line.ends_with(b"\\") {
                    return None;
                }
                at = (end + 1).min(file.len());
                Kind::Setting(name_of(header, line)? == *wanted)
            }
            _ => return None,
        };
        parts.push(Part { kind, begin, end: at });
    }
    Some(parts)
}

/// How long a header is, which begins here.
fn header_len(text: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'.' if !quoted => return None,
            b']' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The file with a setting that has a new value, or (`None`) is gone. `name` is written as it is given. Nothing is answered for a file that is not plain, and
/// for a setting that is there more than once.
pub(crate) fn edit(file: &[u8], name: &[u8], value: Option<&[u8]>) -> Option<Vec<u8>> {
    let wanted = split_name(name)?;
    let parts = parts(file, &wanted)?;
    let mut found = parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.kind == Kind::Setting(true));
    let at = found.next().map(|(at, _)| at);
    if found.next().is_some() {
        return None;
    }
    let last_dot = name.iter().rposition(|&byte| byte == b'.')?;
    let key = name.get(last_dot + 1..)?;
    let (kept, rest) = match (at, value) {
        (None, None) => return None,
        (Some(at), Some(_)) => (before(file, parts.get(at)?.begin), parts.get(at)?.end),
        (Some(at), None) => {
            let (begin, end) = emptied(&parts, at).unwrap_or((parts.get(at)?.begin, parts.get(at)?.end));
            (before(file, begin), end)
        }
        (None, Some(_)) => {
            let end = end_of_section(&parts).unwrap_or(file.len());
            // With the end of a header's line.
            let is_cut = file.get(end) == Some(&b'\n') && end > 0 && file.get(end - 1) != Some(&b'\n');
            let end = end + usize::from(is_cut);
            (end, end)
        }
    };
    let mut out = file.get(..kept)?.to_vec();
    if out.last().is_some_and(|&byte| byte != b'\n') {
        out.push(b'\n');
    }
    if let Some(value) = value {
        if end_of_section(&parts).is_none() {
            write_header(&mut out, name.get(..last_dot)?);
        }
        say(&mut out, &[b"\t", key, b" = ", &written(value), b"\n"]);
    }
    out.extend_from_slice(file.get(rest..)?);
    Some(out)
}

/// Where what stands before a setting ends: blanks on its line go with it.
fn before(file: &[u8], begin: usize) -> usize {
    let head = file.get(..begin).unwrap_or_default();
    let blanks = head
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_whitespace() && **byte != b'\n');
    begin - blanks.count()
}

/// Where the last header or setting of the section ends.
fn end_of_section(parts: &[Part]) -> Option<usize> {
    let (mut inside, mut end) = (false, None);
    for part in parts {
        if let Kind::Header(ours) = part.kind {
            inside = ours;
        }
        if inside && matches!(part.kind, Kind::Header(_) | Kind::Setting(_)) {
            end = Some(part.end);
        }
    }
    end
}

/// The range of a section, with the space before it, that has nothing but the setting: no other one, and no comment that could be about it.
fn emptied(parts: &[Part], at: usize) -> Option<(usize, usize)> {
    let mut first = at;
    let mut has_header = false;
    while let Some(above) = first.checked_sub(1) {
        match parts.get(above)?.kind {
            Kind::Comment => return None,
            Kind::Setting(_) if !has_header => return None,
            Kind::Setting(_) | Kind::Header(false) => break,
            Kind::Header(true) => has_header = true,
            Kind::Space => {}
        }
        first = above;
    }
    let mut next = at + 1;
    while let Some(part) = parts.get(next) {
        match part.kind {
            Kind::Comment | Kind::Setting(_) => return None,
            Kind::Header(false) => break,
            Kind::Header(true) | Kind::Space => next += 1,
        }
    }
    let end = match parts.get(next) {
        Some(part) => part.begin,
        None => parts.last()?.end,
    };
    Some((parts.get(first)?.begin, end))
}

fn write_header(out: &mut Vec<u8>, section: &[u8]) {
    let Some(dot) = section.iter().position(|&byte| byte == b'.') else {
        return say(out, &[b"[", section, b"]\n"]);
    };
    let (section, subsection) = (
        section.get(..dot).unwrap_or_default(),
        section.get(dot + 1..).unwrap_or_default(),
    );
    say(out, &[b"[", section, b" \""]);
    for &byte in subsection {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.extend_from_slice(b"\"]\n");
}

fn written(value: &[u8]) -> Vec<u8> {
    let quotes =
        value.first() == Some(&b' ') || value.last() == Some(&b' ') || value.iter().any(|byte| b";#\r".contains(byte));
    let mut out = Vec::with_capacity(value.len() + 2);
    let quote: &[u8] = if quotes { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    for &byte in value {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out.extend_from_slice(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::edit;

    fn changed(file: &str, name: &str, value: Option<&str>) -> Option<String> {
        let out = edit(file.as_bytes(), name.as_bytes(), value.map(str::as_bytes))?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_else_stands_there_stays() {
        let file = "# mine\n[core]\n\tbare = false ; why\n\n[user]\n  name=A # who\n; end\n";
        let new = "# mine\n[core]\n\tbare = false ; why\n\n[user]\n\tname = B\n; end\n";
        assert_eq!(changed(file, "user.name", Some("B")).unwrap(), new);
        let new = "# mine\n[core]\n\tbare = false ; why\n\n[user]\n  name=A # who\n\temail = e\n; end\n";
        assert_eq!(changed(file, "user.email", Some("e")).unwrap(), new);
        let new = [file, "[remote \"o\\\"x\"]\n\turl = \" a#b\"\n"].concat();
        assert_eq!(changed(file, "remote.o\"x.url", Some(" a#b")).unwrap(), new);
    }

    #[test]
    fn an_empty_section_goes_unless_a_comment_is_about_it() {
        let file = "[a]\n\tx = 1\n\n[b]\n\ty = 2\n[c]\n\tz = 3\n";
        assert_eq!(changed(file, "b.y", None).unwrap(), "[a]\n\tx = 1\n[c]\n\tz = 3\n");
        assert_eq!(
            changed("[a]\n\tx = 1\n# b\n[b]\n\ty = 2\n", "b.y", None).unwrap(),
            "[a]\n\tx = 1\n# b\n[b]\n"
        );
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        for file in [
            "[a]\r\n\tx = 1\n",
            "[a]\n\tx = 1 \\\n 2\n",
            "[a.b]\n\tx = 1\n",
            "[a]\n\tx = 1\n\tx = 2\n",
            "[a\n",
        ] {
            assert_eq!(changed(file, "a.x", Some("3")), None, "{file:?}");
        }
    }
}
