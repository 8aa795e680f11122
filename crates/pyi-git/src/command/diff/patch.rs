//! The unified form.

use ::bytes::Bytes;

use super::hunks::{Change, changes_of, lines};
use super::similarity::is_binary;
use super::{Options, Pair, side_name};
use crate::command::quote::quoted_as;
use crate::command::{Call, Run, Version, say};

/// So many bytes of the line that a hunk is in are shown.
const FUNCTION_BYTES: usize = 80;

/// Prints one file's patch.
pub(crate) fn print(call: &mut Call<'_>, pair: &Pair, options: &Options) -> Run<()> {
    if let (Some(old), Some(new)) = (&pair.old, &pair.new)
        && old.kind() != new.kind()
    {
        // Another kind of file: the old one goes, the new one comes.
        let gone = Pair {
            new: None,
            ..pair.clone()
        };
        let came = Pair {
            old: None,
            ..pair.clone()
        };
        print(call, &gone, options)?;
        return print(call, &came, options);
    }
    crate::command::attributes::check_diff(call, &pair.new_path, true)?;
    let (a, b) = (quoted_as(&pair.old_path, b"a/"), quoted_as(&pair.new_path, b"b/"));
    call.line(&[b"diff --git ", &a, b" ", &b]);
    let mode = |version: &Version| format!("{:06o}", version.mode).into_bytes();
    let (old_name, new_name) = (side_name(call, pair.old.as_ref())?, side_name(call, pair.new.as_ref())?);
    let mut same_mode = None;
    match (&pair.old, &pair.new) {
        (Some(old), Some(new)) if old.mode != new.mode => {
            call.line(&[b"old mode ", &mode(old)]);
            call.line(&[b"new mode ", &mode(new)]);
        }
        (Some(old), Some(_)) => same_mode = Some(mode(old)),
        (None, Some(new)) => call.line(&[b"new file mode ", &mode(new)]),
        (Some(old), None) => call.line(&[b"deleted file mode ", &mode(old)]),
        (None, None) => {}
    }
    if pair.renamed {
        let alike = format!("similarity index {}%", pair.score * 100 / 60_000);
        call.line(&[alike.as_bytes()]);
        call.line(&[b"rename from ", &quoted_as(&pair.old_path, b"")]);
        call.line(&[b"rename to ", &quoted_as(&pair.new_path, b"")]);
    }
    if old_name == new_name {
        return Ok(());
    }
    let (from, to) = (call.short_or_null(&old_name)?, call.short_or_null(&new_name)?);
    let index = format!("index {from}..{to}");
    match same_mode {
        Some(mode) => call.line(&[index.as_bytes(), b" ", &mode]),
        None => call.line(&[index.as_bytes()]),
    }
    let (old, new) = contents(call, pair)?;
    let label = |side: &Option<Version>, name: Vec<u8>| if side.is_some() { name } else { b"/dev/null".to_vec() };
    let (a, b) = (label(&pair.old, a), label(&pair.new, b));
    if is_binary(&old) || is_binary(&new) {
        call.line(&[b"Binary files ", &a, b" and ", &b, b" differ"]);
        return Ok(());
    }
    let (old_lines, new_lines) = (lines(&old), lines(&new));
    let changes = changes_of(&old_lines, &new_lines);
    if changes.is_empty() {
        return Ok(());
    }
    let tab = |path: &[u8], name: &[u8]| {
        if name != b"/dev/null" && path.contains(&b' ') {
            &b"\t"[..]
        } else {
            b""
        }
    };
    call.line(&[b"--- ", &a, tab(&pair.old_path, &a)]);
    call.line(&[b"+++ ", &b, tab(&pair.new_path, &b)]);
    write_hunks(&mut call.out, &old_lines, &new_lines, &changes, options.context);
    Ok(())
}

/// Both contents; nothing for a side that is not there.
pub(crate) fn contents(call: &mut Call<'_>, pair: &Pair) -> Run<(Bytes, Bytes)> {
    let mut read = |side: &Option<Version>| match side {
        Some(version) => call.site.content(version),
        None => Ok(Bytes::new()),
    };
    Ok((read(&pair.old)?, read(&pair.new)?))
}

impl Call<'_> {
    /// The abbreviated name; of no object, as many zeros.
    pub(crate) fn short_or_null(&mut self, oid: &crate::Oid) -> Run<String> {
        if oid.is_null() {
            let len = self.site.abbreviation_len()?;
            return Ok("0".repeat(len));
        }
        self.short(oid)
    }
}

/// Whether a hunk may be said to be in this line.
fn is_function(line: &[u8]) -> bool {
    line.first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_' || *byte == b'$')
}

fn write_hunks(out: &mut Vec<u8>, old: &[&[u8]], new: &[&[u8]], changes: &[Change], context: usize) {
    let mut rest = changes;
    // The line that the hunk before was in, and up to where lines were looked at.
    let mut function: &[u8] = b"";
    let mut looked = 0;
    while let Some(first) = rest.first() {
        let mut count = 1;
        while let (Some(last), Some(next)) = (rest.get(count - 1), rest.get(count)) {
            if next.old.start - last.old.end > 2 * context {
                break;
            }
            count += 1;
        }
        let (group, after) = rest.split_at(count);
        rest = after;
        let Some(last) = group.last() else { return };
        let lead = first.old.start.min(context).min(first.new.start);
        let trail = context.min(old.len() - last.old.end).min(new.len() - last.new.end);
        let (old_start, new_start) = (first.old.start - lead, first.new.start - lead);
        let (old_end, new_end) = (last.old.end + trail, last.new.end + trail);
        let range = |start: usize, len: usize| match len {
            0 => format!("{start},0"),
            1 => format!("{}", start + 1),
            _ => format!("{},{len}", start + 1),
        };
        let above = old.get(looked..old_start).unwrap_or_default();
        if let Some(line) = above.iter().rev().find(|line| is_function(line)) {
            function = line
                .get(..line.len().min(FUNCTION_BYTES))
                .unwrap_or(line)
                .trim_ascii_end();
        }
        looked = old_start.max(looked);
        let header = format!(
            "@@ -{} +{} @@",
            range(old_start, old_end - old_start),
            range(new_start, new_end - new_start)
        );
        out.extend_from_slice(header.as_bytes());
        if !function.is_empty() {
            // Where a line was cut, or has no UTF-8, it ends with the last whole letter.
            let letters = match std::str::from_utf8(function) {
                Ok(all) => all.len(),
                Err(error) => error.valid_up_to(),
            };
            say(out, &[b" ", function.get(..letters).unwrap_or_default()]);
        }
        out.push(b'\n');
        let mut at = old_start;
        for change in group {
            write_lines(out, b' ', old.get(at..change.old.start));
            write_lines(out, b'-', old.get(change.old.clone()));
            write_lines(out, b'+', new.get(change.new.clone()));
            at = change.old.end;
        }
        write_lines(out, b' ', old.get(at..old_end));
    }
}

fn write_lines(out: &mut Vec<u8>, sign: u8, lines: Option<&[&[u8]]>) {
    for line in lines.unwrap_or_default() {
        say(out, &[&[sign], line]);
        if !line.ends_with(b"\n") {
            out.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}
