//! Which object a revision names, where that is plain; git says everything about others.

use std::fs;

use pyi_engine::git::{Object, ObjectKind, Oid, RefValue};
use pyi_git::commit::Commit;
use pyi_git::oid::OidPrefix;
use pyi_git::refname::{RefNameOptions, check_ref_format};
use pyi_git::tag::Tag;
use pyi_git::tree::{TreeIter, canonical_mode};

use super::repository::GitRepository;
use super::{Native, Reason};

/// What stands before and behind a short name, in the order in which git looks.
pub(crate) const RULES: [(&str, &str); 6] = [
    ("", ""),
    ("refs/", ""),
    ("refs/tags/", ""),
    ("refs/heads/", ""),
    ("refs/remotes/", ""),
    ("refs/remotes/", "/HEAD"),
];
/// Symbolic refs that point at symbolic refs: git follows fewer.
const SYMBOLIC_MAX: usize = 5;
/// Git takes no shorter ones.
const ABBREVIATION_MIN: usize = 4;
/// The shortest that git prints by itself.
const ABBREVIATION_DEFAULT: usize = 7;
/// Tags of tags of tags.
const TAGS_MAX: usize = 64;

fn doubt() -> Reason {
    Reason::new("revision")
}

/// A ref that a name stands for.
pub(crate) struct Ref {
    /// The name of the ref that holds the object.
    pub(crate) name: Vec<u8>,
    pub(crate) oid: Oid,
}

/// The ref that `name` (in full) leads to. One that leads nowhere is in doubt: git warns of some.
pub(crate) fn follow(repository: &GitRepository, name: &[u8]) -> Native<Option<Ref>> {
    let mut at = name.to_vec();
    for _ in 0..SYMBOLIC_MAX {
        let value = repository.git().read_ref(&at)?;
        // Old symbolic refs are links in the file system.
        if value.is_some() && fs::symlink_metadata(repository.git().ref_path(&at)).is_ok_and(|file| file.is_symlink()) {
            return Err(doubt());
        }
        match value {
            Some(RefValue::Object(oid)) => return Ok(Some(Ref { name: at, oid })),
            Some(RefValue::Symbolic(next)) => at = next,
            None if at == name => return Ok(None),
            None => return Err(doubt()),
        }
    }
    Err(doubt())
}

/// The ref with a short name, if there is exactly one.
pub(crate) fn by_short_name(repository: &GitRepository, name: &[u8]) -> Native<Option<Ref>> {
    let name = if name == b"@" { b"HEAD" } else { name };
    let one_level = RefNameOptions {
        one_level: true,
        ..RefNameOptions::default()
    };
    check_ref_format(name, one_level).map_err(|_| doubt())?;
    // These are refs of another work tree, too.
    if name.starts_with(b"main-worktree/") || name.starts_with(b"worktrees/") {
        return Err(doubt());
    }
    let mut found = None;
    for (before, behind) in RULES {
        let full = [before.as_bytes(), name, behind.as_bytes()].concat();
        if before.is_empty() && !full.starts_with(b"refs/") {
            // Other files of the git directory are no refs, but git has words for some of them.
            let is_special = full.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
            let there = fs::symlink_metadata(repository.git().ref_path(&full)).is_ok();
            if !there {
                continue;
            }
            if !is_special {
                return Err(doubt());
            }
        }
        if let Some(one) = follow(repository, &full)?
            && found.replace(one).is_some()
        {
            return Err(doubt());
        }
    }
    Ok(found)
}

/// The object that a revision names.
pub(crate) fn resolve(repository: &GitRepository, revision: &[u8]) -> Native<Oid> {
    let end = revision.iter().position(|byte| matches!(byte, b'^' | b'~' | b':'));
    let (base, mut rest) = revision.split_at(end.unwrap_or(revision.len()));
    if base.is_empty() || base.starts_with(b"-") || base.windows(2).any(|pair| pair == b".." || pair == b"@{") {
        return Err(doubt());
    }
    let mut oid = resolve_base(repository, base)?;
    while let Some((&mark, behind)) = rest.split_first() {
        (oid, rest) = match mark {
            b'~' => {
                let (count, behind) = number(behind)?;
                (ancestor(repository, oid, count)?, behind)
            }
            b'^' if behind.first() == Some(&b'{') => {
                let close = behind.iter().position(|&byte| byte == b'}').ok_or_else(doubt)?;
                let kind = behind.get(1..close).unwrap_or_default();
                (
                    peel(repository, oid, kind)?,
                    behind.get(close + 1..).unwrap_or_default(),
                )
            }
            b'^' => {
                let (which, behind) = number(behind)?;
                (parent(repository, oid, which)?, behind)
            }
            b':' => return entry_at(repository, oid, behind),
            // Several revisions in one word: `^@`, `^!`, `^-`.
            _ => return Err(doubt()),
        };
    }
    Ok(oid)
}

fn resolve_base(repository: &GitRepository, base: &[u8]) -> Native<Oid> {
    let is_hex = base.iter().all(u8::is_ascii_hexdigit);
    let found = by_short_name(repository, base)?;
    let hex_len = repository.git().format().hex_len();
    match found {
        // Git warns of a name that could be an object's too.
        Some(_) if is_hex && base.len() >= ABBREVIATION_MIN => Err(doubt()),
        Some(found) => Ok(found.oid),
        None if is_hex && base.len() == hex_len => Oid::from_hex(base).map_err(|_| doubt()),
        None if is_hex && (ABBREVIATION_MIN..hex_len).contains(&base.len()) => {
            repository.objects()?;
            let prefix = OidPrefix::from_hex(base).map_err(|_| doubt())?;
            match repository.git().beginning(&prefix, 2)?.as_slice() {
                [one] => Ok(*one),
                _ => Err(doubt()),
            }
        }
        None => Err(doubt()),
    }
}

/// Digits, 1 if there are none.
fn number(text: &[u8]) -> Native<(u32, &[u8])> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok((1, rest));
    }
    let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    Ok((value.ok_or_else(doubt)?, rest))
}

pub(crate) fn read(repository: &GitRepository, oid: &Oid) -> Native<Object> {
    repository.objects()?.read(oid)?.ok_or_else(doubt)
}

/// The object behind tags, of this kind if one is named.
pub(crate) fn peel(repository: &GitRepository, oid: Oid, kind: &[u8]) -> Native<Oid> {
    let mut at = oid;
    for _ in 0..TAGS_MAX {
        let object = read(repository, &at)?;
        match (object.kind, kind) {
            (_, b"object") => return Ok(at),
            (ObjectKind::Tag, b"" | b"commit" | b"tree") => {
                let tag = Tag::parse(repository.git().format(), &object.data).map_err(|_| doubt())?;
                // Git stops at a tag that says another kind than its object has.
                if tag.target_kind != read(repository, &tag.target)?.kind {
                    return Err(doubt());
                }
                at = tag.target;
            }
            (_, b"") | (ObjectKind::Commit, b"commit") | (ObjectKind::Tree, b"tree") => return Ok(at),
            (ObjectKind::Commit, b"tree") => {
                let commit = Commit::parse(repository.git().format(), &object.data).map_err(|_| doubt())?;
                return Ok(commit.tree);
            }
            _ => return Err(doubt()),
        }
    }
    Err(doubt())
}

fn parent(repository: &GitRepository, oid: Oid, which: u32) -> Native<Oid> {
    repository.check_history()?;
    let commit = peel(repository, oid, b"commit")?;
    let Some(which) = which.checked_sub(1) else {
        return Ok(commit);
    };
    let object = read(repository, &commit)?;
    let parsed = Commit::parse(repository.git().format(), &object.data).map_err(|_| doubt())?;
    parsed.parents.get(which as usize).copied().ok_or_else(doubt)
}

fn ancestor(repository: &GitRepository, oid: Oid, count: u32) -> Native<Oid> {
    let mut at = parent(repository, oid, 0)?;
    for _ in 0..count {
        at = parent(repository, at, 1)?;
    }
    Ok(at)
}

/// `REVISION:path`.
fn entry_at(repository: &GitRepository, oid: Oid, path: &[u8]) -> Native<Oid> {
    let mut at = peel(repository, oid, b"tree")?;
    if path.is_empty() {
        return Ok(at);
    }
    let mut names = path.split(|&byte| byte == b'/').peekable();
    while let Some(name) = names.next() {
        if matches!(name, b"" | b"." | b"..") {
            return Err(doubt());
        }
        let tree = read(repository, &at)?;
        if tree.kind != ObjectKind::Tree {
            return Err(doubt());
        }
        let entry = TreeIter::new(repository.git().format(), &tree.data)
            .find_map(|entry| entry.ok().filter(|entry| entry.name == name))
            .ok_or_else(doubt)?;
        if names.peek().is_some() && canonical_mode(entry.mode) != pyi_git::tree::MODE_TREE {
            return Err(doubt());
        }
        at = entry.oid;
    }
    Ok(at)
}

/// The shortest name of an object of at least `digits` digits (git's own number if it is `None`) that no other object has.
pub(crate) fn abbreviate(repository: &GitRepository, oid: &Oid, digits: Option<usize>) -> Native<String> {
    let objects = repository.objects()?;
    let hex = oid.to_hex();
    let digits = match digits {
        Some(digits) => digits.clamp(ABBREVIATION_MIN, hex.len()),
        None => {
            let count = objects.packed_count()?.ok_or_else(doubt)?;
            // Half as many digits as the count has bits, and one bit more for luck.
            let bits = (u64::BITS - count.leading_zeros()) as usize;
            bits.div_ceil(2).max(ABBREVIATION_DEFAULT)
        }
    };
    for digits in digits..hex.len() {
        let short = hex.get(..digits).unwrap_or_default();
        let prefix = OidPrefix::from_hex(short.as_bytes()).map_err(|_| doubt())?;
        if repository.git().beginning(&prefix, 2)?.iter().all(|found| found == oid) {
            return Ok(short.to_owned());
        }
    }
    Ok(hex)
}
