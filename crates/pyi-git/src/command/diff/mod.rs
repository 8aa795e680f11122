//! `git diff`, and the differences that other commands show.

mod combined;
mod hunks;
mod options;
mod patch;
mod rename;
mod similarity;
mod slide;
mod stat;

use super::pathspec::Pathspec;
use super::revision::range;
use super::{Call, Change, Run, Version, View, args, unavailable};
use crate::{ObjectKind, Oid};
pub(crate) use combined::shows_nothing;
pub(crate) use options::{Format, Options, TABLE};
pub(crate) use rename::{KEPT, Renames, count_alike, find_renames};
pub(crate) use similarity::FULL;
use stat::summary_line;

/// What happened to a file.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) old_path: Vec<u8>,
    pub(crate) new_path: Vec<u8>,
    pub(crate) old: Option<Version>,
    pub(crate) new: Option<Version>,
    /// How alike a renamed file is, of 60,000.
    pub(crate) score: u32,
    pub(crate) renamed: bool,
}

impl Pair {
    pub(crate) fn of(change: Change) -> Self {
        Pair {
            old_path: change.path.clone(),
            new_path: change.path,
            old: change.old,
            new: change.new,
            score: 0,
            renamed: false,
        }
    }

    /// The letter of `--name-status`.
    pub(crate) fn letter(&self) -> u8 {
        match (&self.old, &self.new) {
            _ if self.renamed => b'R',
            (None, _) => b'A',
            (_, None) => b'D',
            (Some(old), Some(new)) if old.kind() != new.kind() => b'T',
            _ => b'M',
        }
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.new_path
    }
}

/// What differs between two views, with renames found.
pub(crate) fn pairs(
    call: &mut Call<'_>,
    old: View,
    new: View,
    pathspec: &Pathspec,
    options: &Options,
) -> Run<Vec<Pair>> {
    let within = pathspec.roots();
    // What is not tracked is no change.
    let mut changes = match new {
        View::Work => call.site.tracked_changes(old, &within)?,
        _ => call.site.changes_within(old, new, &within)?,
    };
    changes.retain(|change| pathspec.matches(&change.path));
    let pairs = changes.into_iter().map(Pair::of).collect();
    match options.renames {
        Some(minimum) => find_renames(
            call,
            pairs,
            &Renames {
                minimum,
                basenames: true,
            },
        ),
        None => Ok(pairs),
    }
}

/// Prints pairs in all the forms that were asked for.
pub(crate) fn print(call: &mut Call<'_>, pairs: &[Pair], options: &Options) -> Run<()> {
    let mut before = false;
    if options
        .formats
        .iter()
        .any(|format| matches!(format, Format::NameOnly | Format::NameStatus))
    {
        let status = options.has(Format::NameStatus);
        for pair in pairs {
            options::name_line(call, pair, status, options.zero);
        }
        before = true;
    }
    if [Format::Stat, Format::ShortStat, Format::NumStat]
        .into_iter()
        .any(|format| options.has(format))
    {
        let stats = stat::stats(call, pairs, options)?;
        if options.has(Format::NumStat) {
            stat::numbers(call, &stats, options.zero);
        }
        if options.has(Format::Stat) {
            stat::graph(call, &stats, options);
            stat::short(call, &stats);
        }
        if options.has(Format::ShortStat) {
            stat::short(call, &stats);
        }
        before = true;
    }
    if options.has(Format::Summary) {
        for pair in pairs {
            if let Some(line) = summary_line(pair) {
                call.line(&[&line]);
                before = true;
            }
        }
    }
    if options.has(Format::Patch) {
        if before && !pairs.is_empty() {
            call.out.push(b'\n');
        }
        for pair in pairs {
            patch::print(call, pair, options)?;
        }
    }
    Ok(())
}

/// `git diff`.
pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let mut table: Vec<(&str, args::Takes)> = TABLE.to_vec();
    table.extend([
        ("staged|cached", args::Takes::Nothing),
        ("quiet", args::Takes::Nothing),
        ("exit-code", args::Takes::Nothing),
    ]);
    let given = args::parse(call, argv, &table)?;
    let mut options = Options::from(call, &given)?;
    options.or_patch();
    let (revisions, paths) = call.revisions_and_paths(&given.rest, given.dashes)?;
    let pathspec = Pathspec::parse(call, &paths)?;
    let cached = given.has("cached");
    let (old, new) = views(call, &revisions, cached)?;
    let pairs = pairs(call, old, new, &pathspec, &options)?;
    call.site.was_about(&|path| pathspec.matches(path));
    if !given.has("quiet") {
        print(call, &pairs, &options)?;
    }
    let differs = !pairs.is_empty() && (given.has("quiet") || given.has("exit-code"));
    Ok(i32::from(differs))
}

/// What a `git diff` compares.
fn views(call: &mut Call<'_>, revisions: &[Vec<u8>], cached: bool) -> Run<(View, View)> {
    let tree = |call: &mut Call<'_>, text: &[u8]| -> Run<View> {
        let found = call.resolve(text)?;
        let found = match found {
            Some(oid) => match call.peel(&oid, Some(ObjectKind::Tree))? {
                Some(_) => call.peel(&oid, None)?,
                None => None,
            },
            None => None,
        };
        match found {
            Some(oid) => Ok(View::Of(oid)),
            None => unavailable("git diff of something else than commits and trees"),
        }
    };
    if cached {
        let old = match revisions {
            [] => call.head_oid()?.map_or(View::Empty, View::Of),
            [one] if range(one).is_none() => tree(call, one)?,
            _ => return unavailable("git diff --cached of several revisions"),
        };
        return Ok((old, View::Index));
    }
    match revisions {
        [] => Ok((View::Index, View::Work)),
        [one] => match range(one) {
            None if one.starts_with(b"^") => unavailable("git diff ^<revision>"),
            None => Ok((tree(call, one)?, View::Work)),
            Some((from, to, false)) => Ok((tree(call, &from)?, tree(call, &to)?)),
            Some((from, to, true)) => {
                let (Some(a), Some(b)) = (call.resolve_commit(&from)?, call.resolve_commit(&to)?) else {
                    return unavailable("git diff a...b of something else than commits");
                };
                match call.merge_bases(&a, &b)?[..] {
                    [base] => Ok((View::Of(base), View::Of(b))),
                    [] => {
                        let text = String::from_utf8_lossy(one).into_owned();
                        Err(call.die(format!("{text}: no merge base")))
                    }
                    _ => unavailable("git diff a...b with several merge bases"),
                }
            }
        },
        [from, to] if range(from).is_none() && range(to).is_none() && !from.starts_with(b"^") => {
            Ok((tree(call, from)?, tree(call, to)?))
        }
        _ => unavailable("git diff of several revisions"),
    }
}

/// The name of one side: of nothing, zeros.
pub(crate) fn side_name(call: &mut Call<'_>, side: Option<&Version>) -> Run<Oid> {
    match side {
        Some(version) => Ok(call.site.name(version)?),
        None => Ok(call.site.format().null_oid()),
    }
}
