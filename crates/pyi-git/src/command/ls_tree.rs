//! `git ls-tree`.

use super::args::{self, Given, Takes};
use super::quote::quoted;
use super::{Call, Run, say, unavailable};
use crate::tree::TreeIter;
use crate::{ObjectKind, Oid};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("r", Takes::Nothing),
            ("t", Takes::Nothing),
            ("d", Takes::Nothing),
            ("z", Takes::Nothing),
            ("l|long", Takes::Nothing),
            ("name-status|name-only", Takes::Nothing),
            ("object-only", Takes::Nothing),
            ("full-tree", Takes::Nothing),
            ("full-name", Takes::Nothing),
        ],
    )?;
    let forms = ["long", "name-only", "object-only"];
    if forms.into_iter().filter(|form| given.has(form)).count() > 1 {
        return unavailable("git ls-tree in two forms at once");
    }
    if given.dashes.is_some() {
        return unavailable("git ls-tree --");
    }
    let Some((name, paths)) = given.rest.split_first() else {
        return unavailable("git ls-tree without a tree");
    };
    for path in paths {
        let odd = |part: &[u8]| part == b"." || part == b"..";
        if path.is_empty() || path.starts_with(b"/") || path.split(|&byte| byte == b'/').any(odd) {
            return unavailable(format!("the path {:?}", String::from_utf8_lossy(path)));
        }
    }
    let Some(oid) = call.resolve(name)? else {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(call.die(format!("Not a valid object name {name}")));
    };
    let Some(tree) = call.peel(&oid, Some(ObjectKind::Tree))? else {
        return Err(call.die("not a tree object"));
    };
    list(call, &given, &tree, b"", paths)?;
    Ok(0)
}

/// What becomes of an entry.
struct Meant {
    shown: bool,
    entered: bool,
}

/// Whether an entry is meant by the paths: by itself, as part of a directory that is, or on the way to one.
fn meant(path: &[u8], is_tree: bool, paths: &[Vec<u8>], recursive: bool) -> Meant {
    if paths.is_empty() {
        return Meant {
            shown: true,
            entered: recursive,
        };
    }
    let mut meant = Meant {
        shown: false,
        entered: false,
    };
    for given in paths {
        let bare = given.strip_suffix(b"/").unwrap_or(given);
        let below =
            |longer: &[u8], shorter: &[u8]| longer.strip_prefix(shorter).is_some_and(|rest| rest.starts_with(b"/"));
        if path == bare && (is_tree || !given.ends_with(b"/")) || below(path, bare) {
            meant.shown = true;
            meant.entered |= recursive;
        }
        if is_tree && below(given, path) {
            meant.shown = true;
            meant.entered = true;
        }
    }
    meant
}

fn list(call: &mut Call<'_>, given: &Given, tree: &Oid, above: &[u8], paths: &[Vec<u8>]) -> Run<()> {
    let raw = call.read(tree)?;
    for entry in TreeIter::new(tree.format(), &raw.data) {
        let Ok(entry) = entry else {
            return unavailable("a malformed tree");
        };
        let path = [above, entry.name].concat();
        let what = meant(&path, entry.is_tree(), paths, given.has("r"));
        let entered = entry.is_tree() && what.entered;
        let shown =
            what.shown && (!entered || given.has("t") || given.has("d")) && (entry.is_tree() || !given.has("d"));
        if shown {
            show(call, given, &path, entry.mode, &entry.oid)?;
        }
        if entered {
            list(call, given, &entry.oid, &[path.as_slice(), b"/"].concat(), paths)?;
        }
    }
    Ok(())
}

fn show(call: &mut Call<'_>, given: &Given, path: &[u8], mode: u32, oid: &Oid) -> Run<()> {
    let zero = given.has("z");
    let end: &[u8] = if zero { b"\0" } else { b"\n" };
    let path = if zero { path.to_vec() } else { quoted(path) };
    let name = oid.to_hex();
    if given.has("name-only") {
        say(&mut call.out, &[&path, end]);
        return Ok(());
    }
    if given.has("object-only") {
        say(&mut call.out, &[name.as_bytes(), end]);
        return Ok(());
    }
    let kind = match mode & 0o170_000 {
        0o040_000 => "tree",
        0o160_000 => "commit",
        _ => "blob",
    };
    let mut start = format!("{mode:06o} {kind} {name}");
    if given.has("long") {
        let size = match kind {
            "blob" => match call.site.info(oid)? {
                Some((_, size_bytes)) => size_bytes.to_string(),
                None => return Err(call.die(format!("bad object {oid}"))),
            },
            _ => "-".to_owned(),
        };
        start.push_str(&format!(" {size:>7}"));
    }
    say(&mut call.out, &[start.as_bytes(), b"\t", &path, end]);
    Ok(())
}
