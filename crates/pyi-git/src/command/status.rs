//! `git status`.

use std::collections::BTreeMap;

use super::args::{self, Takes};
use super::diff::{Options, Pair, pairs, side_name};
use super::ignored::Ignored;
use super::pathspec::{Pathspec, relative};
use super::quote::{quoted, quoted_space};
use super::refs::{HEADS, Head};
use super::{Call, Found, Run, View, say, unavailable};
use crate::Oid;
use crate::path::directories_above;

/// Which untracked files are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untracked {
    No,
    Normal,
    All,
}

/// How the three views differ.
pub(crate) struct Status {
    pub(crate) head: Option<Oid>,
    /// From the commit to the index.
    pub(crate) staged: Vec<Pair>,
    /// From the index to the work tree.
    pub(crate) changed: Vec<Pair>,
    pub(crate) untracked: Vec<Vec<u8>>,
}

/// Compares; `against` is HEAD, or what a commit will stand on.
pub(crate) fn collect(
    call: &mut Call<'_>,
    against: Option<Oid>,
    pathspec: &Pathspec,
    untracked: Untracked,
) -> Run<Status> {
    let mut options = Options::new(call)?;
    let old = against.map_or(View::Empty, View::Of);
    let staged = pairs(call, old, View::Index, pathspec, &options)?;
    options.renames = None;
    if untracked != Untracked::No {
        call.site
            .expect_untracked(untracked == Untracked::Normal, false, &pathspec.roots());
    }
    let changed = pairs(call, View::Index, View::Work, pathspec, &options)?;
    let untracked = match untracked {
        Untracked::No => Vec::new(),
        _ => list_untracked(call, pathspec, untracked == Untracked::Normal)?,
    };
    Ok(Status {
        head: against,
        staged,
        changed,
        untracked,
    })
}

/// What the index does not have and no rule ignores; `collapse`: a directory stands for all in it.
pub(crate) fn list_untracked(call: &mut Call<'_>, pathspec: &Pathspec, collapse: bool) -> Run<Vec<Vec<u8>>> {
    if let Some(mut found) = call.site.untracked(collapse, false, &pathspec.roots())? {
        let mut ignored = Ignored::new(call)?;
        if super::add::missing_directory(call, pathspec, &mut ignored)?.is_some() {
            return unavailable("a directory that is not there");
        }
        if collapse && pathspec.is_wild() {
            return unavailable("wildcards with directories that are not tracked");
        }
        for item in &pathspec.items {
            let above =
                |path: &Vec<u8>| path.ends_with(b"/") && item.path.len() > path.len() && item.path.starts_with(path);
            if found.iter().any(above) {
                return unavailable("a path below a directory that is not tracked");
            }
        }
        found.retain(|path| pathspec.matches(path));
        return Ok(found);
    }
    let mut ignored = Ignored::new(call)?;
    let mut found: Vec<Vec<u8>> = Vec::new();
    let changes = call.site.changes(View::Index, View::Work)?;
    for change in changes {
        if change.old.is_some() || change.new.is_none() || !pathspec.matches(&change.path) {
            continue;
        }
        if collapse
            && found
                .last()
                .is_some_and(|last| last.ends_with(b"/") && change.path.starts_with(last))
        {
            continue;
        }
        if ignored.is_ignored(call, &change.path, false)? {
            continue;
        }
        let shown = match collapse {
            true => collapsed(call, pathspec, &change.path)?,
            false => None,
        };
        found.push(shown.unwrap_or(change.path));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The topmost directory above a path in which nothing is tracked and all is meant, with a slash.
fn collapsed(call: &mut Call<'_>, pathspec: &Pathspec, path: &[u8]) -> Run<Option<Vec<u8>>> {
    for above in directories_above(path) {
        let directory = [above, b"/"].concat();
        if pathspec.matches(&directory) && !matches!(call.site.find(View::Index, above)?, Some(Found::Directory)) {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// How it is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Long,
    Short,
    Porcelain,
    Second,
}

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("s|short", Takes::Nothing),
            ("long", Takes::Nothing),
            ("b|branch", Takes::Nothing),
            ("no-branch", Takes::Nothing),
            ("porcelain", Takes::Optional),
            ("z|null", Takes::Nothing),
            ("u|untracked-files", Takes::Optional),
            ("no-renames", Takes::Nothing),
            ("ahead-behind", Takes::Nothing),
            ("no-ahead-behind", Takes::Nothing),
        ],
    )?;
    for name in ["no-renames", "no-ahead-behind"] {
        if given.has(name) {
            return unavailable(format!("git status --{name}"));
        }
    }
    let zero = given.has("null");
    let mut form = match given.last_of(&["short", "long", "porcelain"]) {
        Some("short") => Form::Short,
        Some("porcelain") => match given.value("porcelain") {
            None | Some(b"v1" | b"1") => Form::Porcelain,
            Some(b"v2" | b"2") => Form::Second,
            Some(other) => {
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(call.die(format!("unsupported porcelain version '{other}'")));
            }
        },
        _ => Form::Long,
    };
    if zero && given.has("long") {
        return unavailable("git status --long -z");
    }
    if zero && form == Form::Long {
        form = Form::Porcelain;
    }
    let mut untracked = Untracked::Normal;
    if given.has("untracked-files") {
        untracked = match given.value("untracked-files") {
            None | Some(b"all") => Untracked::All,
            Some(b"normal") => Untracked::Normal,
            Some(b"no") => Untracked::No,
            Some(other) => {
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(call.die(format!("Invalid untracked files mode '{other}'")));
            }
        };
    }
    let pathspec = Pathspec::parse(call, &given.rest)?;
    let head = call.head_oid()?;
    let status = collect(call, head, &pathspec, untracked)?;
    let branch = given.last_of(&["branch", "no-branch"]) == Some("branch");
    match form {
        Form::Long => {
            super::status_long::print(call, &status, untracked, super::status_long::About::Status)?;
        }
        Form::Short | Form::Porcelain => {
            if branch {
                branch_line(call, status.head.is_none(), zero)?;
            }
            short(call, &status, zero, form == Form::Short);
        }
        Form::Second => {
            if branch {
                branch_lines(call, status.head, zero)?;
            }
            second(call, &status, zero)?;
        }
    }
    Ok(0)
}

fn branch_line(call: &mut Call<'_>, initial: bool, zero: bool) -> Run<()> {
    call.out.extend_from_slice(b"## ");
    let head = call.head()?;
    match &head {
        Head::Branch(name) => {
            let before: &[u8] = if initial { b"No commits yet on " } else { b"" };
            let name = name.strip_prefix(HEADS).unwrap_or(name);
            say(&mut call.out, &[before, name]);
            let full = [HEADS, name].concat();
            if let Some(tracking) = call.tracking(&full)? {
                say(&mut call.out, &[b"...", &tracking.name, tracking.brackets().as_bytes()]);
            }
        }
        Head::Detached(_) => call.out.extend_from_slice(b"HEAD (no branch)"),
    }
    call.out.push(if zero { 0 } else { b'\n' });
    Ok(())
}

fn branch_lines(call: &mut Call<'_>, head: Option<Oid>, zero: bool) -> Run<()> {
    let end: &[u8] = if zero { b"\0" } else { b"\n" };
    let oid = head.map_or("(initial)".to_owned(), |oid| oid.to_hex());
    let name = match call.head()? {
        Head::Branch(name) => name.strip_prefix(HEADS).unwrap_or(&name).to_vec(),
        Head::Detached(_) => b"(detached)".to_vec(),
    };
    say(
        &mut call.out,
        &[b"# branch.oid ", oid.as_bytes(), end, b"# branch.head ", &name, end],
    );
    if let Head::Branch(full) = call.head()?
        && let Some(tracking) = call.tracking(&full)?
    {
        say(&mut call.out, &[b"# branch.upstream ", &tracking.name, end]);
        if let Some((ahead, behind)) = tracking.apart {
            let apart = format!("# branch.ab +{ahead} -{behind}");
            say(&mut call.out, &[apart.as_bytes(), end]);
        }
    }
    Ok(())
}

/// What is known of a path: staged and changed.
type Row<'s> = (Option<&'s Pair>, Option<&'s Pair>);

fn rows(status: &Status) -> BTreeMap<&[u8], Row<'_>> {
    let mut rows: BTreeMap<&[u8], Row<'_>> = BTreeMap::new();
    for pair in &status.staged {
        rows.entry(pair.path()).or_default().0 = Some(pair);
    }
    for pair in &status.changed {
        rows.entry(pair.path()).or_default().1 = Some(pair);
    }
    rows
}

fn short(call: &mut Call<'_>, status: &Status, zero: bool, relative: bool) {
    let shown = |call: &Call<'_>, path: &[u8]| match relative {
        true => quoted_space(&call.relative(path)),
        false => quoted_space(path),
    };
    for (path, (staged, changed)) in rows(status) {
        let letter = |pair: Option<&Pair>| pair.map_or(b' ', Pair::letter);
        let letters = [letter(staged), letter(changed), b' '];
        let renamed = staged.filter(|pair| pair.renamed);
        match (zero, renamed) {
            (true, Some(pair)) => say(&mut call.out, &[&letters, path, b"\0", &pair.old_path, b"\0"]),
            (true, None) => say(&mut call.out, &[&letters, path, b"\0"]),
            (false, Some(pair)) => {
                let (old, new) = (shown(call, &pair.old_path), shown(call, path));
                call.line(&[&letters, &old, b" -> ", &new]);
            }
            (false, None) => {
                let path = shown(call, path);
                call.line(&[&letters, &path]);
            }
        }
    }
    for path in &status.untracked {
        if zero {
            say(&mut call.out, &[b"?? ", path, b"\0"]);
        } else {
            let path = shown(call, path);
            call.line(&[b"?? ", &path]);
        }
    }
}

fn second(call: &mut Call<'_>, status: &Status, zero: bool) -> Run<()> {
    let end: &[u8] = if zero { b"\0" } else { b"\n" };
    let prefix = call.prefix.clone();
    let show = |path: &[u8]| {
        if zero {
            path.to_vec()
        } else {
            quoted(&relative(&prefix, path))
        }
    };
    for (path, (staged, changed)) in rows(status) {
        let letter = |pair: Option<&Pair>| pair.map_or('.', |pair| char::from(pair.letter()));
        let (x, y) = (letter(staged), letter(changed));
        let index = match (staged, changed) {
            (Some(pair), _) => pair.new.clone(),
            (None, Some(pair)) => pair.old.clone(),
            (None, None) => None,
        };
        let head = match staged {
            Some(pair) => pair.old.clone(),
            None => index.clone(),
        };
        let work = match changed {
            Some(pair) => pair.new.clone(),
            None => index.clone(),
        };
        let mode = |version: &Option<super::Version>| version.as_ref().map_or(0, |version| version.mode);
        let sub = |version: &Option<super::Version>| version.as_ref().is_some_and(|version| version.mode == 0o160_000);
        if sub(&head) || sub(&index) || sub(&work) {
            return unavailable("git status --porcelain=v2 of a submodule");
        }
        let (head_name, index_name) = (side_name(call, head.as_ref())?, side_name(call, index.as_ref())?);
        let renamed = staged.filter(|pair| pair.renamed);
        let start = format!(
            "{} {x}{y} N... {:06o} {:06o} {:06o} {head_name} {index_name} ",
            if renamed.is_some() { 2 } else { 1 },
            mode(&head),
            mode(&index),
            mode(&work)
        );
        call.out.extend_from_slice(start.as_bytes());
        match renamed {
            Some(pair) => {
                let score = format!("R{} ", pair.score * 100 / 60_000);
                let between: &[u8] = if zero { b"\0" } else { b"\t" };
                say(
                    &mut call.out,
                    &[score.as_bytes(), &show(path), between, &show(&pair.old_path), end],
                );
            }
            None => say(&mut call.out, &[&show(path), end]),
        }
    }
    for path in &status.untracked {
        say(&mut call.out, &[b"? ", &show(path), end]);
    }
    Ok(())
}
