//! `git ls-tree TREE`: what is in a tree.

use std::io::Write;

use pyi_engine::git::{ObjectKind, Oid};
use pyi_git::argv::Parsed;
use pyi_git::tree::{MODE_GITLINK, MODE_TREE, TreeIter, canonical_mode};

use super::repository::GitRepository;
use super::revision::{abbreviate, peel, read, resolve};
use super::{Answer, Command, Input, Native, Reason};

pub(super) const COMMAND: Command = Command {
    name: "ls-tree",
    options: &[
        "d",
        "full-name",
        "full-tree",
        "long",
        "name-only",
        "name-status",
        "object-only",
        "r",
        "t",
        "z",
        "abbrev",
    ],
    run,
};

/// Trees in trees.
const DEPTH_MAX: usize = 256;

/// What is shown of an entry, and of which.
#[derive(Default)]
pub(super) struct Line {
    names_only: bool,
    objects_only: bool,
    sizes: bool,
    zero: bool,
    recurse: bool,
    show_trees: bool,
    trees_only: bool,
    /// Digits of object names.
    digits: Option<Option<usize>>,
}

fn run(parsed: &Parsed<'_>, repository: &GitRepository, _: &Input) -> Native<Answer> {
    let operands: Vec<_> = parsed.operands().collect();
    let ([revision], None) = (operands.as_slice(), parsed.separator()) else {
        return Err(Reason::new("operands"));
    };
    // From below the top, git shows what is below there.
    if !repository.prefix().is_empty() && !parsed.is_on("full-tree") {
        return Err(Reason::new("directory"));
    }
    let digits = match parsed.last("abbrev") {
        None => None,
        Some(given) => match given.value {
            None => Some(None),
            Some(value) => {
                let digits = std::str::from_utf8(value)
                    .ok()
                    .and_then(|value| value.parse::<usize>().ok());
                let plain = value.iter().all(u8::is_ascii_digit) && digits.is_some_and(|digits| digits >= 4);
                Some(Some(
                    digits.filter(|_| plain).ok_or_else(|| Reason::of("option", "abbrev"))?,
                ))
            }
        },
    };
    let line = Line {
        names_only: parsed.is_on("name-only") || parsed.is_on("name-status"),
        objects_only: parsed.is_on("object-only"),
        sizes: parsed.is_on("long"),
        zero: parsed.is_on("z"),
        recurse: parsed.is_on("r"),
        show_trees: parsed.is_on("t"),
        trees_only: parsed.is_on("d"),
        digits,
    };
    let formats = [line.names_only, line.objects_only, line.sizes];
    // Two words for the same, but not at once.
    if parsed.is_on("name-only") && parsed.is_on("name-status") {
        return Err(Reason::new("options"));
    }
    if formats.iter().filter(|&&on| on).count() > 1 || (line.trees_only && line.recurse) {
        return Err(Reason::new("options"));
    }
    let tree = peel(repository, resolve(repository, revision)?, b"tree")?;
    let object = read(repository, &tree)?;
    let mut out = Vec::new();
    list(repository, &object.data, b"", &line, &mut out)?;
    let answer = Answer::done(out);
    answer.check_quotes(repository)?;
    Ok(answer)
}

/// Appends the lines of a tree.
pub(super) fn list(
    repository: &GitRepository,
    tree: &[u8],
    above: &[u8],
    line: &Line,
    out: &mut Vec<u8>,
) -> Native<()> {
    list_below(repository, tree, above, line, out, 0)
}

fn list_below(
    repository: &GitRepository,
    tree: &[u8],
    above: &[u8],
    line: &Line,
    out: &mut Vec<u8>,
    depth: usize,
) -> Native<()> {
    if depth > DEPTH_MAX {
        return Err(Reason::new("repository"));
    }
    for entry in TreeIter::new(repository.git().format(), tree) {
        let entry = entry.map_err(|_| Reason::new("repository"))?;
        let path = [above, entry.name].concat();
        let mode = canonical_mode(entry.mode);
        let is_tree = mode == MODE_TREE;
        // Another repository is neither a tree nor a file.
        let is_shown = match mode {
            MODE_TREE => !line.recurse || line.show_trees,
            MODE_GITLINK => true,
            _ => !line.trees_only,
        };
        if is_shown {
            show(repository, mode, entry.oid, &path, line, out)?;
        }
        if is_tree && line.recurse {
            let below = read(repository, &entry.oid)?;
            if below.kind != ObjectKind::Tree {
                return Err(Reason::new("repository"));
            }
            list_below(
                repository,
                &below.data,
                &[&path[..], b"/"].concat(),
                line,
                out,
                depth + 1,
            )?;
        }
    }
    Ok(())
}

fn show(repository: &GitRepository, mode: u32, oid: Oid, path: &[u8], line: &Line, out: &mut Vec<u8>) -> Native<()> {
    // Git quotes these.
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if !line.zero && !line.objects_only && !path.iter().all(plain) {
        return Err(Reason::new("quoted-name"));
    }
    let kind = match mode {
        MODE_TREE => "tree",
        MODE_GITLINK => "commit",
        _ => "blob",
    };
    let name = |oid: &Oid| match line.digits {
        Some(digits) => abbreviate(repository, oid, digits),
        None => Ok(oid.to_hex()),
    };
    if line.objects_only {
        out.extend(name(&oid)?.as_bytes());
    } else if line.names_only {
        out.extend(path);
    } else {
        let _ = write!(out, "{mode:06o} {kind} {}", name(&oid)?);
        if line.sizes {
            let size = match kind {
                "blob" => {
                    let (kind, size) = repository
                        .objects()?
                        .info(&oid)?
                        .ok_or_else(|| Reason::new("repository"))?;
                    if kind != ObjectKind::Blob {
                        return Err(Reason::new("repository"));
                    }
                    size.to_string()
                }
                _ => "-".to_owned(),
            };
            let _ = write!(out, " {size:>7}");
        }
        out.push(b'\t');
        out.extend(path);
    }
    out.push(if line.zero { 0 } else { b'\n' });
    Ok(())
}
