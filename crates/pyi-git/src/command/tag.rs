//! `git tag`.

use std::cmp::Ordering;

use super::args::{self, Takes};
use super::identity::Capacity;
use super::refs::TAGS;
use super::{Call, Run, Stop, say, unavailable};
use crate::ObjectKind;
use crate::refname::{RefNameOptions, check_ref_format};
use crate::wildmatch::{WildOptions, wildmatch};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("l|list", Takes::Nothing),
            ("d|delete", Takes::Nothing),
            ("f|force", Takes::Nothing),
            ("a|annotate", Takes::Nothing),
            ("m|message", Takes::Value),
            ("sort", Takes::Value),
        ],
    )?;
    let makes = ["annotate", "message", "force"].into_iter().any(|name| given.has(name));
    let is_mixed = (given.has("list") || given.has("delete")) && makes;
    if is_mixed || (given.has("list") && given.has("delete")) || (makes && given.rest.is_empty()) {
        return unavailable("git tag with options that exclude each other");
    }
    if given.has("delete") {
        let mut failed = false;
        for name in &given.rest {
            let full = [TAGS, name].concat();
            let Some(oid) = call.read_ref(&full)? else {
                let name = String::from_utf8_lossy(name).into_owned();
                call.error(format!("tag '{name}' not found."));
                failed = true;
                continue;
            };
            call.update_ref(&full, None, b"")?;
            let short = call.short(&oid)?;
            say(
                &mut call.out,
                &[b"Deleted tag '", name, b"' (was ", short.as_bytes(), b")\n"],
            );
        }
        return if failed { Err(Stop::Exit(1)) } else { Ok(0) };
    }
    let messages = given.values("message");
    let is_list = given.has("list") || (given.rest.is_empty() && messages.is_empty() && !given.has("annotate"));
    if given.has("sort") && !is_list {
        return unavailable("git tag --sort of nothing");
    }
    if is_list {
        let mut refs = call.refs(TAGS)?;
        if let Some(key) = given.value("sort") {
            if given.values("sort").len() > 1
                || call.config.entries().iter().any(|entry| entry.section == "versionsort")
            {
                return unavailable("git tag with several orders");
            }
            let (is_reverse, key) = match key.strip_prefix(b"-") {
                Some(key) => (true, key),
                None => (false, key),
            };
            match key {
                b"refname" => {}
                b"v:refname" | b"version:refname" => {
                    if refs.iter().any(|(name, _)| !is_comparable(name)) {
                        return unavailable("versions with zeros before a number");
                    }
                    refs.sort_by(|(a, _), (b, _)| by_version(a, b));
                }
                _ => return unavailable("git tag in such an order"),
            }
            if is_reverse {
                refs.reverse();
            }
        }
        for (full, _) in refs {
            let name = full.strip_prefix(TAGS).unwrap_or(&full);
            if given.rest.is_empty()
                || given
                    .rest
                    .iter()
                    .any(|pattern| wildmatch(pattern, name, WildOptions::default()))
            {
                call.line(&[name]);
            }
        }
        return Ok(0);
    }
    let annotated = given.has("annotate") || !messages.is_empty();
    if annotated && messages.is_empty() {
        return unavailable("git tag -a without -m (there is no editor)");
    }
    let (name, target) = match &given.rest[..] {
        [name] => (name.clone(), b"HEAD".to_vec()),
        [name, target] => (name.clone(), target.clone()),
        _ => return unavailable("git tag with these arguments"),
    };
    let text = String::from_utf8_lossy(&name).into_owned();
    let full = [TAGS, name.as_slice()].concat();
    if name.starts_with(b"-")
        || std::str::from_utf8(&name).is_err()
        || check_ref_format(&full, RefNameOptions::default()).is_err()
    {
        return Err(call.die(format!("'{text}' is not a valid tag name.")));
    }
    let Some(oid) = call.resolve(&target)? else {
        let target = String::from_utf8_lossy(&target).into_owned();
        return Err(call.die(format!("Failed to resolve '{target}' as a valid ref.")));
    };
    // Read whole: git gives no ref to what is damaged.
    let Some(object) = call.site.object(&oid)? else {
        return unavailable("git tag of an object that is not there");
    };
    let old = call.read_ref(&full)?;
    if old.is_some() && !given.has("force") {
        return Err(call.die(format!("tag '{text}' already exists")));
    }
    let new = if annotated {
        let mut message = Vec::new();
        for part in messages {
            if !message.is_empty() {
                message.push(b'\n');
            }
            say(&mut message, &[part, b"\n"]);
        }
        let message = super::commit::clean(&message);
        if message.is_empty() {
            return unavailable("git tag with an empty message");
        }
        if message.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"#")) {
            return unavailable("a message with comments");
        }
        // Git has advice about it.
        if object.kind == ObjectKind::Tag && call.site.is_directory() {
            return unavailable("git tag of a tag");
        }
        let tagger = call.identity(Capacity::Committer)?.to_bytes();
        let header = format!("object {oid}\ntype {}\ntag {text}\ntagger ", object.kind.as_str());
        let raw = [header.as_bytes(), &tagger, b"\n\n", &message].concat();
        call.site.keep_object(ObjectKind::Tag, raw)?
    } else {
        oid
    };
    call.update_ref(&full, Some(&new), b"")?;
    if let Some(old) = old.filter(|old| *old != new) {
        let short = call.short(&old)?;
        say(
            &mut call.out,
            &[b"Updated tag '", &name, b"' (was ", short.as_bytes(), b")\n"],
        );
    }
    Ok(0)
}

/// Whether no number in a name begins with a zero: such ones are compared like fractions.
fn is_comparable(name: &[u8]) -> bool {
    let starts =
        |at: usize| name.get(at) == Some(&b'0') && (at == 0 || !name.get(at - 1).is_some_and(u8::is_ascii_digit));
    !(0..name.len()).any(|at| starts(at) && name.get(at + 1).is_some_and(u8::is_ascii_digit))
}

/// Numbers in names count as numbers.
fn by_version(a: &[u8], b: &[u8]) -> Ordering {
    let Some(at) = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at)) else {
        return Ordering::Equal;
    };
    // Where the digits begin among which they differ, and how many there are.
    let digits = |text: &[u8]| {
        let before = text.get(..at).unwrap_or_default();
        let start = at - before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let rest = text.get(start..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let (one, other) = (digits(a), digits(b));
    match one > 0 && other > 0 && one != other {
        true => one.cmp(&other),
        false => a.get(at).cmp(&b.get(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order() {
        let sorted = [
            "v", "v1", "v1.2", "v1.2-rc1", "v1.2.1", "v1.9", "v1.10", "v1.10.0", "v2", "v10", "w",
        ];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(by_version(a.as_bytes(), b.as_bytes()), at.cmp(&other), "{a} {b}");
            }
        }
        assert!(is_comparable(b"v1.0.10"));
        assert!(!is_comparable(b"v1.01"));
    }
}
