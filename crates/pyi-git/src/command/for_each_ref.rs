//! `git for-each-ref`.

use super::args::{self, Takes};
use super::{Call, Run, unavailable};
use crate::Oid;
use crate::wildmatch::{WildOptions, wildmatch};

const FORMAT: &[u8] = b"%(objectname) %(objecttype)\t%(refname)";

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let table: &[(&str, Takes)] = &[
        ("format", Takes::Value),
        ("count", Takes::Value),
        ("sort", Takes::Value),
    ];
    let given = args::parse(call, argv, table)?;
    if given.values("sort").iter().any(|key| *key != b"refname") {
        return unavailable("git for-each-ref --sort");
    }
    let count = given.number("count")?;
    if count == Some(0) {
        return unavailable("git for-each-ref --count=0");
    }
    let format = given.value("format").unwrap_or(FORMAT).to_vec();
    let pathname = WildOptions {
        pathname: true,
        ..WildOptions::default()
    };
    let is_meant = |name: &[u8]| {
        given.rest.is_empty()
            || given.rest.iter().any(|pattern| {
                let rest = name.strip_prefix(pattern.as_slice());
                rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/') || pattern.ends_with(b"/"))
                    || wildmatch(pattern, name, pathname)
            })
    };
    let mut refs = call.refs(b"refs/")?;
    refs.retain(|(name, _)| is_meant(name));
    refs.truncate(count.unwrap_or(usize::MAX));
    for (name, oid) in refs {
        let line = expand(call, &format, &name, &oid)?;
        call.line(&[&line]);
    }
    Ok(0)
}

fn expand(call: &mut Call<'_>, format: &[u8], name: &[u8], oid: &Oid) -> Run<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = format;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let close = after.iter().position(|&byte| byte == b')');
        let atom = after
            .strip_prefix(b"(")
            .and_then(|inner| inner.get(..close?.checked_sub(1)?));
        match (after.first(), atom) {
            (Some(b'%'), _) => {
                out.push(b'%');
                rest = after.get(1..).unwrap_or_default();
                continue;
            }
            (Some(b'('), Some(b"refname")) => out.extend_from_slice(name),
            (Some(b'('), Some(b"refname:short")) => out.extend_from_slice(&call.shorten(name)?),
            (Some(b'('), Some(b"objectname")) => out.extend_from_slice(oid.to_hex().as_bytes()),
            (Some(b'('), Some(b"objectname:short")) => out.extend_from_slice(call.short(oid)?.as_bytes()),
            (Some(b'('), Some(b"objecttype")) => out.extend_from_slice(call.read(oid)?.kind.as_str().as_bytes()),
            _ => return unavailable("git for-each-ref --format with this"),
        }
        rest = after.get(close.map_or(0, |close| close + 1)..).unwrap_or_default();
    }
    Ok(out)
}
