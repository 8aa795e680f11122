//! `git for-each-ref`.

use super::args::{self, Takes};
use super::{Call, Run, unavailable};
use crate::wildmatch::{WildOptions, wildmatch};

const FORMAT: &[u8] = b"%(objectname) %(objecttype)\t%(refname)";

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("format", Takes::Value),
            ("sort", Takes::Value),
            ("count", Takes::Value),
        ],
    )?;
    let mut refs = call.refs(b"refs/")?;
    if !given.rest.is_empty() {
        refs.retain(|(name, _)| given.rest.iter().any(|pattern| matches(pattern, name)));
    }
    match given.values("sort")[..] {
        [] | [b"refname"] => {}
        [b"-refname"] => refs.reverse(),
        _ => return unavailable("git for-each-ref --sort of anything but refname"),
    }
    if let Some(count) = given.number("count")? {
        if count == 0 {
            return unavailable("git for-each-ref --count=0");
        }
        refs.truncate(count);
    }
    let format = given.value("format").unwrap_or(FORMAT).to_vec();
    super::ref_format::check_format(&format)?;
    for (name, oid) in refs {
        let line = call.format_ref(&format, &name, &oid)?;
        call.line(&[&line]);
    }
    Ok(0)
}

/// A whole name, the directories of one, or a pattern.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if let Some(rest) = name.strip_prefix(pattern)
        && (rest.is_empty() || rest.starts_with(b"/") || pattern.ends_with(b"/"))
    {
        return true;
    }
    let options = WildOptions {
        pathname: true,
        ..WildOptions::default()
    };
    wildmatch(pattern, name, options)
}
