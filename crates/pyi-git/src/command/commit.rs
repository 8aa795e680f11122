//! `git commit`.

use super::args::{self, Given, Takes};
use super::date::{DateForm, format_date};
use super::diff::{Format, Options, Pair, print};
use super::identity::Capacity;
use super::names::ReadCommit;
use super::pathspec::Pathspec;
use super::refs::{HEADS, Head};
use super::status::{Untracked, collect};
use super::status_long::About;
use super::{Call, Run, Stop, View, say, unavailable};
use crate::commit::Commit;
use crate::signature::Signature;
use crate::{ObjectKind, Oid};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    // Git works on an index beside the one that is there until the commit is made.
    call.all_or_nothing = true;
    let given = args::parse(
        call,
        argv,
        &[
            ("m|message", Takes::Value),
            ("F|file", Takes::Value),
            ("a|all", Takes::Nothing),
            ("amend", Takes::Nothing),
            ("no-edit", Takes::Nothing),
            ("allow-empty", Takes::Nothing),
            ("allow-empty-message", Takes::Nothing),
            ("q|quiet", Takes::Nothing),
            ("author", Takes::Value),
            ("date", Takes::Value),
            ("reset-author", Takes::Nothing),
            ("n|no-verify", Takes::Nothing),
            ("no-gpg-sign", Takes::Nothing),
            ("no-status", Takes::Nothing),
        ],
    )?;
    if !given.rest.is_empty() {
        return refuse_unknown(call, &given);
    }
    let head = call.head_oid()?;
    let amended = match (given.has("amend"), head) {
        (false, _) => None,
        (true, None) => return Err(call.die("You have nothing to amend.")),
        (true, Some(head)) => Some(call.commit(&head)?),
    };
    if let Some(commit) = &amended {
        commit.check_signatures()?;
    }
    if given.has("reset-author") && amended.is_none() {
        return Err(call.die("--reset-author can be used only with -C, -c or --amend."));
    }
    if given.has("all") {
        let tracked = call.site.tracked_changes(View::Index, &[])?;
        super::attributes::check_content(call, tracked.iter())?;
        for change in &tracked {
            call.site.stage(&change.path, change.new.as_ref())?;
        }
    } else {
        call.site.look_at_files()?;
    }
    let text = message(call, &given, amended.as_ref())?;
    call.site.drafted(&clean(&text))?;
    let author = author(call, &given, amended.as_ref())?;
    let committer = call.identity(Capacity::Committer)?;
    let parents = match &amended {
        Some(commit) => commit.parents.clone(),
        None => head.into_iter().collect(),
    };
    let base = parents.first().copied();
    let empty = call
        .site
        .changes(base.map_or(View::Empty, View::Of), View::Index)?
        .is_empty();
    if empty && !given.has("allow-empty") && parents.len() < 2 {
        let status = collect(call, base, &Pathspec::default(), Untracked::Normal)?;
        let about = match amended {
            Some(_) => About::Amending,
            None => About::Committing,
        };
        super::status_long::print(call, &status, Untracked::Normal, about)?;
        if amended.is_some() {
            call.err.extend_from_slice(b"You asked to amend the most recent commit, but doing so would make\nit empty. You can repeat your command with --allow-empty, or you can\nremove the commit entirely with \"git reset HEAD^\".\n");
        }
        return Ok(1);
    }
    let text = clean(&text);
    if text.is_empty() && !given.has("allow-empty-message") {
        call.err
            .extend_from_slice(b"Aborting commit due to empty commit message.\n");
        return Ok(1);
    }
    if std::str::from_utf8(&text).is_err() || text.contains(&0) {
        return unavailable("a commit message that is not UTF-8");
    }
    let oid = store(call, &parents, &author, &committer, &text)?;
    let what = match (&amended, parents.is_empty()) {
        (Some(_), _) => "commit (amend): ",
        (None, true) => "commit (initial): ",
        (None, false) => "commit: ",
    };
    // The reflog gets the first line of it.
    let line = [what.as_bytes(), &text].concat();
    call.move_head(&oid, &line)?;
    call.site.committed(&oid, &text)?;
    if !given.has("quiet") {
        // A date that is not the one of now.
        let is_dated = given.has("date") || (amended.is_some() && !given.has("reset-author"));
        summary(call, &oid, base, amended.is_some(), is_dated)?;
    }
    Ok(0)
}

/// Paths that are given to a commit, and that neither the index nor HEAD has: mostly words of a message that lost its quotes.
fn refuse_unknown(call: &mut Call<'_>, given: &Given) -> Run<i32> {
    // What git says first is about something else.
    let is_plain = |(name, _): &(String, Option<Vec<u8>>)| matches!(name.as_str(), "message" | "quiet" | "no-verify");
    if !given.options.iter().all(is_plain) || given.values("message").is_empty() {
        return unavailable("git commit of paths");
    }
    let pathspec = Pathspec::parse(call, &given.rest)?;
    let mut views = vec![View::Index];
    views.extend(call.head_oid()?.map(View::Of));
    let mut unknown = Vec::new();
    for item in &pathspec.items {
        let mut is_known = false;
        for view in &views {
            is_known = is_known || call.means_something(item, *view)?;
        }
        if !is_known {
            unknown.push(item.given.clone());
        }
    }
    if unknown.is_empty() {
        return unavailable("git commit of paths");
    }
    for given in unknown {
        call.error(
            [
                b"pathspec '",
                given.as_slice(),
                b"' did not match any file(s) known to git",
            ]
            .concat(),
        );
    }
    Ok(1)
}

/// Makes the commit of the index.
pub(crate) fn store(
    call: &mut Call<'_>,
    parents: &[Oid],
    author: &Signature,
    committer: &Signature,
    text: &[u8],
) -> Run<Oid> {
    let raw = Commit {
        tree: call.site.index_tree()?,
        parents: parents.to_vec(),
        author: &author.to_bytes(),
        committer: &committer.to_bytes(),
        headers: Vec::new(),
        message: text,
    }
    .encode();
    Ok(call.site.keep_object(ObjectKind::Commit, raw)?)
}

fn message(call: &mut Call<'_>, given: &Given, amended: Option<&ReadCommit>) -> Run<Vec<u8>> {
    let lines = given.values("message");
    match (lines.is_empty(), given.value("file")) {
        (false, Some(_)) => Err(call.die("options '-m' and '-F' cannot be used together")),
        (false, None) => {
            let mut text: Vec<u8> = Vec::new();
            for part in lines {
                if !text.is_empty() {
                    text.push(b'\n');
                }
                text.extend_from_slice(part);
                if !part.ends_with(b"\n") {
                    text.push(b'\n');
                }
            }
            Ok(text)
        }
        (true, Some(b"-")) => Ok(call.input.to_vec()),
        (true, Some(_)) => unavailable("git commit -F of a file (give the message as -F - and input)"),
        (true, None) => match amended {
            Some(commit) if given.has("no-edit") => {
                if commit.encoding.is_some() {
                    return unavailable("a commit message that is not UTF-8");
                }
                Ok(commit.message().to_vec())
            }
            _ => unavailable("git commit without -m or -F (there is no editor)"),
        },
    }
}

fn author(call: &mut Call<'_>, given: &Given, amended: Option<&ReadCommit>) -> Run<Signature> {
    let mut author = match amended.filter(|_| !given.has("reset-author")) {
        Some(commit) => match Signature::parse(commit.author()) {
            Ok(author) => author,
            Err(_) => return unavailable("amending a commit whose author line is malformed"),
        },
        None => call.identity(Capacity::Author)?,
    };
    if let Some(who) = given.value("author") {
        let open = who.iter().position(|&byte| byte == b'<');
        let (Some(open), Some(b'>')) = (open, who.last()) else {
            return unavailable("git commit --author without a <mail>");
        };
        let (name, mail) = (
            who.get(..open).unwrap_or_default(),
            who.get(open + 1..who.len() - 1).unwrap_or_default(),
        );
        author = Signature::new(name.trim_ascii(), mail, author.seconds, author.offset_minutes);
        call.refuse_dots(&author)?;
    }
    if author.name.is_empty() {
        return unavailable("an author without a name");
    }
    if let Some(date) = given.value("date") {
        let date = date.to_vec();
        (author.seconds, author.offset_minutes) = call.date(&date)?;
        author.negative_zero = false;
    }
    Ok(author)
}

/// A message without spaces at the ends of lines, and without empty lines but single ones between others.
pub(crate) fn clean(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut gap = false;
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            gap = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut gap) {
            out.push(b'\n');
        }
        say(&mut out, &[line, b"\n"]);
    }
    out
}

/// What git says after a commit.
fn summary(call: &mut Call<'_>, oid: &Oid, base: Option<Oid>, is_amended: bool, is_dated: bool) -> Run<()> {
    let commit = call.commit(oid)?;
    let place = match call.head()? {
        Head::Branch(name) => name.strip_prefix(HEADS).unwrap_or(&name).to_vec(),
        Head::Detached(_) => b"detached HEAD".to_vec(),
    };
    let root: &[u8] = if commit.parents.is_empty() && !is_amended {
        b" (root-commit)"
    } else {
        b""
    };
    let short = call.short(oid)?;
    let subject = commit.subject();
    call.line(&[b"[", &place, root, b" ", short.as_bytes(), b"] ", &subject]);
    let who = |line: &[u8]| Signature::parse(line).map_err(|_| Stop::Unavailable("a malformed signature".into()));
    let (author, committer) = (who(commit.author())?, who(commit.committer())?);
    if (&author.name, &author.mail) != (&committer.name, &committer.mail) {
        call.line(&[b" Author: ", &author.name, b" <", &author.mail, b">"]);
    }
    if is_dated {
        let date = format_date(author.seconds, author.offset_minutes, DateForm::Normal);
        call.line(&[b" Date: ", date.as_bytes()]);
    }
    if commit.parents.len() > 1 {
        return Ok(());
    }
    let changes = call.site.changes(base.map_or(View::Empty, View::Of), View::Of(*oid))?;
    let pairs: Vec<Pair> = changes.into_iter().map(Pair::of).collect();
    let mut options = Options::new(call)?;
    options.formats = vec![Format::ShortStat, Format::Summary];
    let how = super::diff::Renames::default();
    let pairs = match options.renames {
        Some(_) => super::diff::find_renames(call, pairs, &how)?,
        None => pairs,
    };
    print(call, &pairs, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cleaned_as_git_cleans_them() {
        assert_eq!(clean(b"\n\n a  \n\n\n\nb\t\nc\n\n"), b" a\n\nb\nc\n");
        assert_eq!(clean(b" \n\t\n"), b"");
        assert_eq!(clean(b"x"), b"x\n");
    }
}
