//! How git writes paths: as they are, or between quotes with C's escapes.

/// The path, in quotes if a byte of it needs them (`core.quotePath` as by default: bytes above 127 do).
pub(crate) fn quoted(path: &[u8]) -> Vec<u8> {
    quoted_as(path, b"")
}

/// The same with something before the path, inside the quotes.
pub(crate) fn quoted_as(path: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    if !path.iter().any(|&byte| needs_quotes(byte)) {
        out.extend_from_slice(path);
        return out;
    }
    out.insert(0, b'"');
    for &byte in path {
        escape(byte, &mut out);
    }
    out.push(b'"');
    out
}

/// As [`quoted`], and in quotes for a space too.
pub(crate) fn quoted_space(path: &[u8]) -> Vec<u8> {
    let plain = quoted(path);
    if path.contains(&b' ') && plain.first() != Some(&b'"') {
        return [b"\"", path, b"\""].concat();
    }
    plain
}

fn needs_quotes(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\'
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        0x07 => b'a',
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0b => b'v',
        0x0c => b'f',
        b'\r' => b'r',
        b'"' | b'\\' => byte,
        _ if needs_quotes(byte) => {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            return;
        }
        _ => {
            out.push(byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_gits() {
        assert_eq!(quoted(b"a b/c"), b"a b/c");
        assert_eq!(quoted_space(b"a b/c"), b"\"a b/c\"");
        assert_eq!(quoted("ä\t\"".as_bytes()), b"\"\\303\\244\\t\\\"\"");
        assert_eq!(quoted_as("ä".as_bytes(), b"a/"), b"\"a/\\303\\244\"");
        assert_eq!(quoted_as(b"x", b"a/"), b"a/x");
    }
}
