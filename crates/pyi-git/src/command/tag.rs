//! `git tag`.

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
    if given.has("list") || (given.rest.is_empty() && messages.is_empty() && !given.has("annotate")) {
        for (full, _) in call.refs(TAGS)? {
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
        let kind = match call.site.object(&oid)? {
            // Git has advice about it.
            Some(object) if object.kind == ObjectKind::Tag && call.site.is_directory() => {
                return unavailable("git tag of a tag");
            }
            Some(object) => object.kind,
            None => return unavailable("git tag of an object that is not there"),
        };
        let tagger = call.identity(Capacity::Committer)?.to_bytes();
        let header = format!("object {oid}\ntype {}\ntag {text}\ntagger ", kind.as_str());
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
