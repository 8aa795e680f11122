//! What `--format` of `git for-each-ref` and `git branch` says about a ref.

use super::date::{DateForm, format_date};
use super::names::ReadCommit;
use super::refs::{HEADS, Head, TAGS};
use super::{Call, Run, say, unavailable};
use crate::signature::Signature;
use crate::{ObjectKind, Oid};

/// Refuses a format with a field that is not done, even where there is no ref to show: git looks through it first.
pub(crate) fn check_format(format: &[u8]) -> Run<()> {
    let mut rest = format;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if rest.first() == Some(&b'%') {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let Some(inner) = rest.strip_prefix(b"(") else { continue };
        let Some(end) = inner.iter().position(|&byte| byte == b')') else {
            return unavailable("a format with a parenthesis that is not closed");
        };
        let atom = inner.get(..end).unwrap_or_default();
        let (name, form) = match atom.iter().position(|&byte| byte == b':') {
            Some(at) => (atom.get(..at).unwrap_or_default(), atom.get(at + 1..)),
            None => (atom, None),
        };
        let is_known = match (name, form) {
            (b"refname" | b"objectname", form) => form.is_none_or(|form| form == b"short"),
            (b"contents", form) => form == Some(b"subject"),
            (b"authordate" | b"committerdate" | b"creatordate", form) => {
                form.is_none_or(|form| DateForm::from_name(form).is_some())
            }
            (
                b"objecttype" | b"HEAD" | b"subject" | b"tree" | b"authorname" | b"authoremail" | b"committername"
                | b"committeremail",
                form,
            ) => form.is_none(),
            _ => false,
        };
        if !is_known {
            return unavailable(format!("the field %({})", String::from_utf8_lossy(atom)));
        }
        rest = inner.get(end + 1..).unwrap_or_default();
    }
    Ok(())
}

impl Call<'_> {
    /// A ref's name as short as it may be.
    pub(crate) fn short_ref(&mut self, full: &[u8]) -> Run<Vec<u8>> {
        let places: [&[u8]; 4] = [HEADS, TAGS, b"refs/remotes/", b"refs/"];
        let Some(short) = places.iter().find_map(|place| full.strip_prefix(*place)) else {
            return Ok(full.to_vec());
        };
        let mut others = vec![short.to_vec()];
        others.extend(places.iter().map(|place| [place, short].concat()));
        for other in others {
            if other != full && self.site.admin(&other)?.is_some() {
                return unavailable("the short name of an ambiguous ref");
            }
        }
        Ok(short.to_vec())
    }

    /// One line about a ref.
    pub(crate) fn format_ref(&mut self, format: &[u8], full: &[u8], oid: &Oid) -> Run<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = format;
        while let Some((&first, after)) = rest.split_first() {
            if first != b'%' {
                out.push(first);
                rest = after;
            } else if let Some(inner) = after.strip_prefix(b"(") {
                let Some(end) = inner.iter().position(|&byte| byte == b')') else {
                    return unavailable("a format with a parenthesis that is not closed");
                };
                let atom = inner.get(..end).unwrap_or_default();
                let text = self.ref_atom(atom, full, oid)?;
                out.extend_from_slice(&text);
                rest = inner.get(end + 1..).unwrap_or_default();
            } else if after.first() == Some(&b'%') {
                out.push(b'%');
                rest = after.get(1..).unwrap_or_default();
            } else {
                let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
                    return unavailable("a format with a single %");
                };
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
        }
        Ok(out)
    }

    fn ref_atom(&mut self, atom: &[u8], full: &[u8], oid: &Oid) -> Run<Vec<u8>> {
        Ok(match atom {
            b"refname" => full.to_vec(),
            b"refname:short" => self.short_ref(full)?,
            b"objectname" => oid.to_hex().into_bytes(),
            b"objectname:short" => self.short(oid)?.into_bytes(),
            b"objecttype" => self.read(oid)?.kind.as_str().into(),
            b"HEAD" => match self.head()? == Head::Branch(full.to_vec()) {
                true => b"*".to_vec(),
                false => b" ".to_vec(),
            },
            _ => {
                let commit = match self.read(oid)?.kind {
                    ObjectKind::Commit => self.commit(oid)?,
                    _ => return unavailable(format!("%({}) of a tag", String::from_utf8_lossy(atom))),
                };
                return commit_atom(atom, &commit);
            }
        })
    }
}

fn commit_atom(atom: &[u8], commit: &ReadCommit) -> Run<Vec<u8>> {
    let (name, form) = match atom.iter().position(|&byte| byte == b':') {
        Some(at) => (
            atom.get(..at).unwrap_or_default(),
            Some(atom.get(at + 1..).unwrap_or_default()),
        ),
        None => (atom, None),
    };
    let missing = || unavailable(format!("the field %({})", String::from_utf8_lossy(atom)));
    let (line, part) = match name {
        b"subject" if form.is_none() => return commit.shown_subject(),
        b"contents" if form == Some(b"subject") => return commit.shown_subject(),
        b"tree" if form.is_none() => return Ok(commit.tree.to_hex().into_bytes()),
        _ => match name {
            b"authorname" => (commit.author(), 0),
            b"authoremail" => (commit.author(), 1),
            b"authordate" => (commit.author(), 2),
            b"committername" => (commit.committer(), 0),
            b"committeremail" => (commit.committer(), 1),
            b"committerdate" | b"creatordate" => (commit.committer(), 2),
            _ => return missing(),
        },
    };
    commit.check_signatures()?;
    let Ok(who) = Signature::parse(line) else {
        return unavailable("a malformed signature");
    };
    let mut out = Vec::new();
    match (part, form) {
        (0, None) => out.extend_from_slice(&who.name),
        (1, None) => say(&mut out, &[b"<", &who.mail, b">"]),
        (2, form) => match DateForm::from_name(form.unwrap_or(b"default")) {
            Some(form) => out.extend_from_slice(format_date(who.seconds, who.offset_minutes, form).as_bytes()),
            None => return missing(),
        },
        _ => return missing(),
    }
    Ok(out)
}
