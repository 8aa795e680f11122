//! `git rev-parse`: where the repository is, and what revisions name.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use pyi_git::Oid;
use pyi_git::argv::{Kind, Parsed};

use super::repository::GitRepository;
use super::revision::{RULES, abbreviate, by_short_name, resolve};
use super::{Answer, Command, Input, Native, Reason};

pub(super) const COMMAND: Command = Command {
    name: "rev-parse",
    options: &[
        "abbrev-ref",
        "absolute-git-dir",
        "git-dir",
        "is-bare-repository",
        "is-inside-git-dir",
        "is-inside-work-tree",
        "is-shallow-repository",
        "quiet",
        "short",
        "show-cdup",
        "show-prefix",
        "show-toplevel",
        "symbolic-full-name",
        "verify",
    ],
    run,
};

/// How revisions are shown.
#[derive(Default)]
struct Show {
    full_name: bool,
    abbreviated_name: bool,
    short: Option<Option<usize>>,
}

fn run(parsed: &Parsed<'_>, repository: &GitRepository, _: &Input) -> Native<Answer> {
    if parsed.separator().is_some() {
        return Err(Reason::new("operands"));
    }
    // Either asks for one revision.
    let verify = parsed.is_on("verify") || parsed.is_on("short");
    if verify {
        let alone = parsed
            .options()
            .all(|given| matches!(given.name(), Some("verify" | "quiet" | "short")));
        if !alone || parsed.operands().count() != 1 {
            return Err(Reason::new("operands"));
        }
    } else if parsed.flag("quiet").is_some() {
        return Err(Reason::of("option", "quiet"));
    }
    let mut out = Vec::new();
    let mut show = Show::default();
    for given in parsed.given() {
        let Kind::Option { id, .. } = given.kind else {
            revision(repository, given.word, &show, &mut out)?;
            continue;
        };
        let name = id.name();
        if given.value.is_some() && name != "short" {
            return Err(Reason::of("option", name));
        }
        option(repository, name, given.value, &mut show, &mut out)?;
    }
    // It is shown at the end, with all options in force.
    if verify {
        out.clear();
        for operand in parsed.operands() {
            revision(repository, operand, &show, &mut out)?;
        }
    }
    Ok(Answer::done(out))
}

fn option(
    repository: &GitRepository,
    name: &str,
    value: Option<&[u8]>,
    show: &mut Show,
    out: &mut Vec<u8>,
) -> Native<()> {
    let prefix = repository.prefix();
    let top = repository.top().as_os_str().as_bytes();
    let boolean = |value: bool| if value { &b"true"[..] } else { b"false" };
    let mut line = |parts: &[&[u8]]| {
        out.extend(parts.concat());
        out.push(b'\n');
    };
    match name {
        "abbrev-ref" => show.abbreviated_name = true,
        "symbolic-full-name" => show.full_name = true,
        "verify" | "quiet" => {}
        "short" => {
            let digits = value.map(|value| std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()));
            let plain = value.is_none_or(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
            if !plain || digits == Some(None) {
                return Err(Reason::of("option", "short"));
            }
            show.short = Some(digits.flatten());
        }
        "show-toplevel" => line(&[top]),
        "git-dir" if prefix.is_empty() => line(&[b".git"]),
        "git-dir" | "absolute-git-dir" => line(&[top, if top.ends_with(b"/") { b".git" } else { b"/.git" }]),
        "show-prefix" => line(&[prefix]),
        "show-cdup" => line(&[&b"../".repeat(prefix.iter().filter(|&&byte| byte == b'/').count())]),
        "is-inside-work-tree" => line(&[boolean(true)]),
        "is-inside-git-dir" | "is-bare-repository" => line(&[boolean(false)]),
        "is-shallow-repository" => {
            let shallow = fs::symlink_metadata(repository.git().path().join("shallow")).is_ok();
            if shallow {
                return Err(Reason::new("shallow-or-grafted"));
            }
            line(&[boolean(false)]);
        }
        other => return Err(Reason::of("option", other)),
    }
    Ok(())
}

fn revision(repository: &GitRepository, word: &[u8], show: &Show, out: &mut Vec<u8>) -> Native<()> {
    if show.full_name || show.abbreviated_name {
        let found = by_short_name(repository, word)?.ok_or_else(|| Reason::new("revision"))?;
        if word.iter().all(u8::is_ascii_hexdigit) {
            // May be an object's name too.
            return Err(Reason::new("revision"));
        }
        let short = if show.abbreviated_name {
            shortest(repository, &found.name)?
        } else {
            &found.name
        };
        out.extend_from_slice(short);
    } else {
        let oid: Oid = resolve(repository, word)?;
        match show.short {
            Some(digits) => out.extend(abbreviate(repository, &oid, digits)?.as_bytes()),
            None => oid.write_hex(out),
        }
    }
    out.push(b'\n');
    Ok(())
}

/// The shortest name of a ref, if it is plain that nothing else has it.
fn shortest<'a>(repository: &GitRepository, name: &'a [u8]) -> Native<&'a [u8]> {
    if !name.starts_with(b"refs/") {
        return Ok(name);
    }
    let doubt = || Reason::new("revision");
    let short = [&b"refs/heads/"[..], b"refs/tags/", b"refs/remotes/"]
        .iter()
        .find_map(|start| name.strip_prefix(*start))
        .ok_or_else(doubt)?;
    if short.ends_with(b"/HEAD") {
        return Err(doubt());
    }
    for (before, behind) in RULES {
        let other = [before.as_bytes(), short, behind.as_bytes()].concat();
        if other == name {
            continue;
        }
        // A file beside the refs counts only if it is one; that is git's to say.
        let there = fs::symlink_metadata(repository.git().ref_path(&other)).is_ok();
        let is_refs_directory = before.starts_with("refs/") && repository.git().ref_path(&other).is_dir();
        if (there && !is_refs_directory) || repository.git().read_ref(&other)?.is_some() {
            return Err(doubt());
        }
    }
    Ok(short)
}
