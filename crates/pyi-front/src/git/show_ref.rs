//! `git show-ref`: refs and what they are at.

use std::collections::BTreeMap;

use pyi_engine::git::{Oid, RefValue};
use pyi_git::argv::Parsed;

use super::repository::GitRepository;
use super::revision::{follow, peel};
use super::{Answer, Command, Input, Native, Reason};

pub(super) const COMMAND: Command = Command {
    name: "show-ref",
    options: &[
        "branches",
        "dereference",
        "hash",
        "head",
        "heads",
        "quiet",
        "tags",
        "verify",
    ],
    run,
};

fn run(parsed: &Parsed<'_>, repository: &GitRepository, _: &Input) -> Native<Answer> {
    let quiet = parsed.is_on("quiet");
    // A number of digits stays in force, whatever is said later.
    if parsed
        .options()
        .any(|given| given.name() == Some("hash") && given.value.is_some())
    {
        return Err(Reason::of("option", "hash"));
    }
    let names_too = !parsed.is_on("hash");
    // Git names what a tag leads to even then.
    if !names_too && parsed.is_on("dereference") {
        return Err(Reason::of("option", "dereference"));
    }
    let mut out = Vec::new();
    let mut show = |name: &[u8], oid: Oid, peel_tags: bool| -> Native<()> {
        // Git stops at a ref whose object is missing.
        if !repository.objects()?.contains(&oid)? {
            return Err(Reason::new("repository"));
        }
        if quiet {
            return Ok(());
        }
        let mut line = |oid: &Oid, mark: &[u8]| {
            oid.write_hex(&mut out);
            if names_too {
                out.extend([b" ", name, mark].concat());
            }
            out.push(b'\n');
        };
        line(&oid, b"");
        if peel_tags {
            let behind = peel(repository, oid, b"")?;
            if behind != oid {
                line(&behind, b"^{}");
            }
        }
        Ok(())
    };
    let peel_tags = parsed.is_on("dereference");
    if parsed.is_on("verify") {
        let mixed = ["heads", "branches", "tags", "head"]
            .iter()
            .any(|name| parsed.flag(name).is_some());
        if mixed || parsed.operands().next().is_none() {
            return Err(Reason::new("operands"));
        }
        for name in parsed.operands() {
            if !name.starts_with(b"refs/") && name != b"HEAD" {
                return Err(Reason::new("operands"));
            }
            let found = follow(repository, name)?.ok_or_else(|| Reason::new("revision"))?;
            show(name, found.oid, peel_tags)?;
        }
        return Ok(Answer::done(out));
    }
    if parsed.separator().is_some() {
        return Err(Reason::new("operands"));
    }
    let patterns: Vec<_> = parsed.operands().collect();
    let heads = parsed.is_on("heads") || parsed.is_on("branches");
    let tags = parsed.is_on("tags");
    let mut found_any = false;
    for (name, oid) in all(repository, parsed.is_on("head"))? {
        let of_kind = (heads && name.starts_with(b"refs/heads/")) || (tags && name.starts_with(b"refs/tags/"));
        let is_head = name == b"HEAD";
        let named = |pattern: &&[u8]| {
            name.strip_suffix(*pattern)
                .is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
        };
        let wanted = is_head || ((of_kind || !(heads || tags)) && (patterns.is_empty() || patterns.iter().any(named)));
        if wanted {
            found_any = true;
            show(&name, oid, peel_tags)?;
        }
    }
    let status = u8::from(!found_any);
    Ok(Answer::with_status(out, status))
}

/// All refs and what they lead to.
fn all(repository: &GitRepository, with_head: bool) -> Native<BTreeMap<Vec<u8>, Oid>> {
    let mut refs = BTreeMap::new();
    for (name, value) in repository.git().refs()? {
        let oid = match value {
            RefValue::Object(oid) => oid,
            // One that leads nowhere is git's to complain about.
            RefValue::Symbolic(_) => follow(repository, &name)?.ok_or_else(|| Reason::new("revision"))?.oid,
        };
        refs.insert(name, oid);
    }
    if with_head && let Some(head) = follow(repository, b"HEAD")? {
        refs.insert(b"HEAD".to_vec(), head.oid);
    }
    Ok(refs)
}
