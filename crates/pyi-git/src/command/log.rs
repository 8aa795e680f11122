//! `git log`.

use super::args::{self, Given, Takes};
use super::date::DateForm;
use super::diff::{Format, Options, Pair, TABLE, pairs, print};
use super::follow::Follow;
use super::names::ReadCommit;
use super::pathspec::Pathspec;
use super::pretty::{Pretty, Style};
use super::refs::Head;
use super::revision::range;
use super::walk::Walk;
use super::{Call, Run, View, unavailable};
use crate::ObjectKind;

/// Options about how commits look.
pub(crate) const LOOKS: &[(&str, Takes)] = &[
    ("oneline", Takes::Nothing),
    ("pretty", Takes::Optional),
    ("format", Takes::Value),
    ("abbrev-commit", Takes::Nothing),
    ("no-abbrev-commit", Takes::Nothing),
    ("date", Takes::Value),
    ("decorate", Takes::Optional),
    ("no-decorate", Takes::Nothing),
    ("no-notes", Takes::Nothing),
];

pub(crate) fn style(call: &Call<'_>, given: &Given) -> Run<Style> {
    let mut style = Style {
        pretty: Pretty::Medium,
        date: DateForm::Normal,
        short_names: false,
        decorate: false,
    };
    for (name, value) in &given.options {
        match name.as_str() {
            "oneline" => {
                style.pretty = Pretty::Oneline { short: false };
                style.short_names = true;
            }
            "pretty" | "format" => {
                let text = value.as_deref().unwrap_or(b"medium");
                style.pretty = match Pretty::from_name(text) {
                    Some(pretty) => pretty,
                    None => {
                        return unavailable(format!(
                            "git {} --{name}={}",
                            call.command,
                            String::from_utf8_lossy(text)
                        ));
                    }
                };
            }
            "abbrev-commit" => style.short_names = true,
            "no-abbrev-commit" => style.short_names = false,
            "date" => {
                let text = value.as_deref().unwrap_or_default();
                style.date = match DateForm::from_name(text) {
                    Some(form) => form,
                    None => return unavailable(format!("--date={}", String::from_utf8_lossy(text))),
                };
            }
            "decorate" => {
                style.decorate = match value.as_deref() {
                    None | Some(b"short") => true,
                    Some(b"no" | b"auto") => false,
                    Some(_) => return unavailable("--decorate=full"),
                };
            }
            "no-decorate" => style.decorate = false,
            _ => {}
        }
    }
    Ok(style)
}

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let mut table: Vec<(&str, Takes)> = TABLE.to_vec();
    table.extend_from_slice(LOOKS);
    table.extend([
        ("#", Takes::Value),
        ("n|max-count", Takes::Value),
        ("skip", Takes::Value),
        ("reverse", Takes::Nothing),
        ("first-parent", Takes::Nothing),
        ("no-merges", Takes::Nothing),
        ("merges", Takes::Nothing),
        ("all", Takes::Nothing),
        ("grep", Takes::Value),
        ("author", Takes::Value),
        ("i|regexp-ignore-case", Takes::Nothing),
        ("since|after", Takes::Value),
        ("until|before", Takes::Value),
        ("follow", Takes::Nothing),
    ]);
    let given = args::parse(call, argv, &table)?;
    let style = style(call, &given)?;
    let options = Options::from(call, &given)?;
    if options.zero {
        return unavailable("git log -z");
    }
    let limit = given.limit()?;
    let (revisions, paths) = call.revisions_and_paths(&given.rest, given.dashes)?;
    let pathspec = Pathspec::parse(call, &paths)?;
    let first_parent = given.has("first-parent");
    let mut follow = match given.has("follow") {
        true if ["skip", "reverse", "first-parent"]
            .into_iter()
            .any(|name| given.has(name)) =>
        {
            return unavailable("git log --follow with other ways to choose commits");
        }
        true => Some(Follow::new(call, &pathspec)?),
        false => None,
    };
    let within = if follow.is_some() {
        Pathspec::default()
    } else {
        pathspec.clone()
    };
    let mut walk = Walk::new(within, first_parent);
    if let Some(text) = given.value("after") {
        let since = call.point_in_time(text)?;
        walk.stop_before(since);
    }
    let until = match given.value("before") {
        Some(text) => Some(call.point_in_time(text)?),
        None => None,
    };
    start(call, &mut walk, &revisions, given.has("all"))?;
    let wanted = Wanted::of(&given)?;
    if !wanted.authors.is_empty() && call.has_mailmap()? {
        return unavailable("git log --author where people are shown under other names");
    }
    let mut skip = given.number("skip")?.unwrap_or(0);
    let mut shown = Vec::new();
    while limit.is_none_or(|limit| shown.len() < limit) {
        let Some(commit) = walk.next(call)? else { break };
        let merge = commit.parents.len() > 1;
        if (merge && given.has("no-merges")) || (!merge && given.has("merges")) {
            continue;
        }
        if until.is_some_and(|until| commit.seconds > until) || !wanted.is(&commit)? {
            continue;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        let pairs = match &mut follow {
            Some(follow) => {
                let pairs = follow.differences(call, &commit, &options)?;
                if pairs.is_empty() {
                    continue;
                }
                Some(pairs)
            }
            None => None,
        };
        shown.push((commit, pairs));
    }
    if given.has("reverse") {
        shown.reverse();
    }
    let is_merge = |commit: &ReadCommit| commit.parents.len() > 1;
    // Along first parents, a merge is shown against the first.
    if first_parent && !options.formats.is_empty() && shown.iter().any(|(commit, _)| is_merge(commit)) {
        return unavailable("the differences of a merge");
    }
    for (number, (commit, pairs)) in shown.iter().enumerate() {
        if number > 0 {
            separate(call, &style, &options);
        }
        match pairs {
            Some(pairs) => show_pairs(call, commit, &style, &options, pairs)?,
            None => show(call, commit, &style, &options, &pathspec)?,
        }
    }
    Ok(0)
}

/// Which commits are asked for by what they say.
struct Wanted {
    messages: Vec<Vec<u8>>,
    authors: Vec<Vec<u8>>,
    ignore_case: bool,
}

impl Wanted {
    fn of(given: &Given) -> Run<Self> {
        let texts = |name: &str| -> Run<Vec<Vec<u8>>> {
            let values = given.values(name);
            // What means itself in a pattern too.
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" _-:/#@<>,;=!\"'%&~".contains(byte);
            if values.iter().any(|text| text.is_empty() || !text.iter().all(plain)) {
                return unavailable(format!("git log --{name} of a pattern"));
            }
            Ok(values.into_iter().map(<[u8]>::to_vec).collect())
        };
        Ok(Wanted {
            messages: texts("grep")?,
            authors: texts("author")?,
            ignore_case: given.has("regexp-ignore-case"),
        })
    }

    fn is(&self, commit: &ReadCommit) -> Run<bool> {
        if !self.authors.is_empty() {
            commit.check_signatures()?;
        }
        let found = |texts: &[Vec<u8>], text: &[u8]| {
            texts.is_empty()
                || texts.iter().any(|wanted| {
                    let same = |part: &[u8]| match self.ignore_case {
                        true => part.eq_ignore_ascii_case(wanted),
                        false => part == wanted.as_slice(),
                    };
                    text.windows(wanted.len()).any(same)
                })
        };
        // The time is no part of who it was.
        let end = commit
            .author
            .iter()
            .rposition(|&byte| byte == b'>')
            .map_or(0, |at| at + 1);
        let author = commit.author.get(..end).unwrap_or_default();
        Ok(found(&self.messages, &commit.message) && found(&self.authors, author))
    }
}

/// What stands between two commits.
fn separate(call: &mut Call<'_>, style: &Style, options: &Options) {
    let oneline = matches!(style.pretty, Pretty::Oneline { .. });
    match &style.pretty {
        Pretty::Format(_, false) => call.out.push(b'\n'),
        Pretty::Format(_, true) if options.formats.is_empty() => {}
        Pretty::Format(_, true) => {}
        _ if oneline => {}
        _ => call.out.push(b'\n'),
    }
}

/// Where a walk begins and what it leaves out.
pub(crate) fn start(call: &mut Call<'_>, walk: &mut Walk, revisions: &[Vec<u8>], all: bool) -> Run<()> {
    if all && !revisions.is_empty() {
        // Which of the same second comes first depends on where it stands.
        return unavailable("--all with other revisions");
    }
    let mut tips = Vec::new();
    let commit = |call: &mut Call<'_>, text: &[u8]| match call.resolve_commit(text)? {
        Some(oid) => Ok(oid),
        None => unavailable(format!("git log of {}", String::from_utf8_lossy(text))),
    };
    if revisions.is_empty() && !all {
        match call.head_oid()? {
            Some(head) => tips.push(head),
            None => {
                let Head::Branch(name) = call.head()? else {
                    return Ok(());
                };
                let name = name.strip_prefix(super::refs::HEADS).unwrap_or(&name);
                let message = format!(
                    "your current branch '{}' does not have any commits yet",
                    String::from_utf8_lossy(name)
                );
                return Err(call.die(message));
            }
        }
    }
    for text in revisions {
        if let Some(text) = text.strip_prefix(b"^") {
            let oid = commit(call, text)?;
            walk.exclude(call, &oid)?;
        } else if let Some((from, to, symmetric)) = range(text) {
            let (from, to) = (commit(call, &from)?, commit(call, &to)?);
            if symmetric {
                for base in call.merge_bases(&from, &to)? {
                    walk.exclude(call, &base)?;
                }
                tips.push(from);
            } else {
                walk.exclude(call, &from)?;
            }
            tips.push(to);
        } else {
            tips.push(commit(call, text)?);
        }
    }
    if all {
        for (_, oid) in call.refs(b"refs/")? {
            if let Some(commit) = call.peel(&oid, Some(ObjectKind::Commit))? {
                tips.push(commit);
            }
        }
        tips.extend(call.head_oid()?);
    }
    for tip in tips {
        walk.add(call, &tip)?;
    }
    Ok(())
}

/// One commit, and its differences if they were asked for.
pub(crate) fn show(
    call: &mut Call<'_>,
    commit: &ReadCommit,
    style: &Style,
    options: &Options,
    pathspec: &Pathspec,
) -> Run<()> {
    if options.formats.is_empty() || commit.parents.len() > 1 {
        return call.show_commit(commit, style);
    }
    let old = commit.parents.first().map_or(View::Empty, |parent| View::Of(*parent));
    let pairs = pairs(call, old, View::Of(commit.oid), pathspec, options)?;
    show_pairs(call, commit, style, options, &pairs)
}

/// One commit, and differences that were found.
fn show_pairs(call: &mut Call<'_>, commit: &ReadCommit, style: &Style, options: &Options, pairs: &[Pair]) -> Run<()> {
    call.show_commit(commit, style)?;
    if options.formats.is_empty() || pairs.is_empty() {
        return Ok(());
    }
    match &style.pretty {
        Pretty::Oneline { .. } => {}
        Pretty::Format(_, false) => call.out.extend_from_slice(b"\n"),
        Pretty::Format(_, true) => call.out.push(b'\n'),
        _ => {
            let both = options.has(Format::Patch) && options.has(Format::Stat);
            if both {
                call.out.extend_from_slice(b"---\n");
            } else {
                call.out.push(b'\n');
            }
        }
    }
    print(call, pairs, options)
}
