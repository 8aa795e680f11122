//! `git cat-file`.

use super::args::{self, Takes};
use super::{Call, Run, Stop, say, unavailable};
use crate::tree::TreeIter;
use crate::{Object, ObjectKind, Oid};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("t", Takes::Nothing),
            ("s", Takes::Nothing),
            ("p", Takes::Nothing),
            ("e", Takes::Nothing),
            ("batch", Takes::Nothing),
            ("batch-check", Takes::Nothing),
        ],
    )?;
    match given.options.len() {
        0 => typed(call, &given.rest),
        1 if given.has("batch") || given.has("batch-check") => batch(call, given.has("batch"), &given.rest),
        1 => one(call, &given),
        _ => unavailable("git cat-file with several options"),
    }
}

fn find(call: &mut Call<'_>, name: &[u8], quiet: bool) -> Run<(Oid, Object)> {
    let Some(oid) = call.resolve(name)? else {
        if quiet && name.len() == call.site.format().hex_len() {
            return Err(Stop::Exit(1));
        }
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(call.die(format!("Not a valid object name {name}")));
    };
    match call.site.object(&oid)? {
        Some(object) => Ok((oid, object)),
        None if quiet => Err(Stop::Exit(1)),
        None => unavailable("git cat-file of an object that is not there"),
    }
}

fn typed(call: &mut Call<'_>, rest: &[Vec<u8>]) -> Run<i32> {
    let [kind, name] = rest else {
        return unavailable("git cat-file with these arguments");
    };
    let Some(kind) = ObjectKind::from_bytes(kind) else {
        let kind = String::from_utf8_lossy(kind).into_owned();
        return Err(call.die(format!("invalid object type \"{kind}\"")));
    };
    let (oid, _) = find(call, name, false)?;
    let Some(peeled) = call.peel(&oid, Some(kind))? else {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(call.die(format!("git cat-file {name}: bad file")));
    };
    let object = call.read(&peeled)?;
    call.out.extend_from_slice(&object.data);
    Ok(0)
}

fn one(call: &mut Call<'_>, given: &args::Given) -> Run<i32> {
    let [name] = &given.rest[..] else {
        return unavailable("git cat-file with these arguments");
    };
    let (oid, object) = find(call, name, given.has("e"))?;
    if given.has("t") {
        call.line(&[object.kind.as_str().as_bytes()]);
    } else if given.has("s") {
        call.line(&[object.data.len().to_string().as_bytes()]);
    } else if given.has("p") {
        if object.kind != ObjectKind::Tree {
            call.out.extend_from_slice(&object.data);
            return Ok(0);
        }
        for entry in TreeIter::new(oid.format(), &object.data) {
            let Ok(entry) = entry else { break };
            let kind = match entry.canonical_mode() {
                crate::tree::MODE_TREE => "tree",
                crate::tree::MODE_GITLINK => "commit",
                _ => "blob",
            };
            let start = format!("{:06o} {kind} {}\t", entry.canonical_mode(), entry.oid);
            let name = super::quote::quoted(entry.name);
            say(&mut call.out, &[start.as_bytes(), &name, b"\n"]);
        }
    }
    Ok(0)
}

fn batch(call: &mut Call<'_>, whole: bool, rest: &[Vec<u8>]) -> Run<i32> {
    if !rest.is_empty() {
        return unavailable("git cat-file --batch with arguments");
    }
    let input = call.input;
    for name in input.split_inclusive(|&byte| byte == b'\n') {
        let name = name.strip_suffix(b"\n").unwrap_or(name);
        let found = match call.resolve(name)? {
            Some(oid) => call.site.object(&oid)?.map(|object| (oid, object)),
            None => None,
        };
        let Some((oid, object)) = found else {
            call.line(&[name, b" missing"]);
            continue;
        };
        let line = format!("{oid} {} {}", object.kind.as_str(), object.data.len());
        call.line(&[line.as_bytes()]);
        if whole {
            say(&mut call.out, &[&object.data, b"\n"]);
        }
    }
    Ok(0)
}
