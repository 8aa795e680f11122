//! `git show-ref` and `git symbolic-ref`.

use super::args::{self, Takes};
use super::refs::{HEADS, Head, TAGS};
use super::{Call, Run, Stop, say, unavailable};
use crate::{ObjectKind, Oid};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("branches|heads", Takes::Nothing),
            ("tags", Takes::Nothing),
            ("head", Takes::Nothing),
            ("verify", Takes::Nothing),
            ("q|quiet", Takes::Nothing),
            ("s|hash", Takes::Optional),
            ("d|dereference", Takes::Nothing),
        ],
    )?;
    let digits = match given.value("hash") {
        Some(_) => return unavailable("git show-ref --hash=<n>"),
        None => given.has("hash"),
    };
    let (quiet, peeled) = (given.has("quiet"), given.has("dereference"));
    // Git names what a tag leads to even then.
    if digits && peeled {
        return unavailable("git show-ref --hash --dereference");
    }
    if given.has("verify") {
        if given.rest.is_empty() {
            return Err(call.die("--verify requires a reference"));
        }
        for name in &given.rest {
            let found = match name.as_slice() {
                b"HEAD" => call.head_oid()?,
                full if full.starts_with(b"refs/") => call.read_ref(full)?,
                _ => None,
            };
            match found {
                Some(oid) => show(call, name, &oid, quiet, digits, peeled)?,
                None if quiet => return Err(Stop::Exit(1)),
                None => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    return Err(call.die(format!("'{name}' - not a valid ref")));
                }
            }
        }
        return Ok(0);
    }
    let mut refs = call.refs(b"refs/")?;
    if given.has("heads") || given.has("tags") {
        refs.retain(|(name, _)| {
            (given.has("heads") && name.starts_with(HEADS)) || (given.has("tags") && name.starts_with(TAGS))
        });
    }
    let meant = |name: &[u8]| {
        given.rest.is_empty()
            || given.rest.iter().any(|pattern| {
                name.strip_suffix(pattern.as_slice())
                    .is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
            })
    };
    refs.retain(|(name, _)| meant(name));
    if given.has("head")
        && let Some(oid) = call.head_oid()?
    {
        refs.insert(0, (b"HEAD".to_vec(), oid));
    }
    for (name, oid) in &refs {
        show(call, name, oid, quiet, digits, peeled)?;
    }
    Ok(i32::from(refs.is_empty()))
}

fn show(call: &mut Call<'_>, name: &[u8], oid: &Oid, quiet: bool, only_name: bool, peeled: bool) -> Run<()> {
    if quiet {
        return Ok(());
    }
    let mut lines = vec![(*oid, name.to_vec())];
    if peeled
        && call.kind(oid)? == ObjectKind::Tag
        && let Some(target) = call.peel(oid, None)?
    {
        lines.push((target, [name, b"^{}"].concat()));
    }
    for (oid, name) in lines {
        let oid = oid.to_hex();
        if only_name {
            call.line(&[oid.as_bytes()]);
        } else {
            call.line(&[oid.as_bytes(), b" ", &name]);
        }
    }
    Ok(())
}

pub(crate) fn run_symbolic(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(call, argv, &[("q|quiet", Takes::Nothing), ("short", Takes::Nothing)])?;
    let [name] = &given.rest[..] else {
        return unavailable("git symbolic-ref to set one");
    };
    if name != b"HEAD" {
        return unavailable("git symbolic-ref of anything but HEAD");
    }
    match call.head()? {
        Head::Branch(full) => {
            let shown = if given.has("short") {
                call.short_ref(&full)?
            } else {
                full
            };
            say(&mut call.out, &[&shown, b"\n"]);
            Ok(0)
        }
        Head::Detached(_) if given.has("quiet") => Ok(1),
        Head::Detached(_) => Err(call.die("ref HEAD is not a symbolic ref")),
    }
}
