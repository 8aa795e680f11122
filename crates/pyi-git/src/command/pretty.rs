//! Commits as `log` and `show` print them.

use super::date::{DateForm, format_date};
use super::names::ReadCommit;
use super::refs::{HEADS, Head, TAGS};
use super::{Call, Run, say, unavailable};
use crate::Oid;
use crate::signature::Signature;

/// A form of `--pretty`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pretty {
    Oneline {
        short: bool,
    },
    Short,
    Medium,
    Full,
    Fuller,
    /// A format; whether a newline ends each (`tformat`) or stands between them.
    Format(Vec<u8>, bool),
}

/// How commits are shown.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) pretty: Pretty,
    pub(crate) date: DateForm,
    pub(crate) short_names: bool,
    pub(crate) decorate: bool,
}

impl Pretty {
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"oneline" => Pretty::Oneline { short: false },
            b"short" => Pretty::Short,
            b"medium" => Pretty::Medium,
            b"full" => Pretty::Full,
            b"fuller" => Pretty::Fuller,
            _ => {
                if let Some(format) = name.strip_prefix(b"format:") {
                    Pretty::Format(format.to_vec(), false)
                } else if let Some(format) = name.strip_prefix(b"tformat:") {
                    Pretty::Format(format.to_vec(), true)
                } else if name.contains(&b'%') {
                    Pretty::Format(name.to_vec(), true)
                } else {
                    return None;
                }
            }
        })
    }
}

fn who(line: &[u8]) -> Signature {
    Signature::parse(line).unwrap_or(Signature {
        name: line.to_vec(),
        mail: Vec::new(),
        seconds: 0,
        offset_minutes: 0,
        negative_zero: false,
    })
}

fn date(signature: &Signature, form: DateForm) -> String {
    format_date(signature.seconds, signature.offset_minutes, form)
}

/// The lines of a message without the empty ones around them.
fn message_lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = message.trim_ascii_end();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line.trim_ascii_end())
    })
    .skip_while(|line| line.is_empty())
}

impl Call<'_> {
    /// One commit, without what comes between commits.
    pub(crate) fn show_commit(&mut self, commit: &ReadCommit, style: &Style) -> Run<()> {
        if !commit.is_utf8() {
            let shown = commit.in_utf8()?;
            return self.show_in_utf8(&shown, style);
        }
        self.show_in_utf8(commit, style)
    }

    fn show_in_utf8(&mut self, commit: &ReadCommit, style: &Style) -> Run<()> {
        let name = if style.short_names || matches!(style.pretty, Pretty::Oneline { short: true }) {
            self.short(&commit.oid)?
        } else {
            commit.oid.to_hex()
        };
        let decoration = if style.decorate {
            self.decoration(&commit.oid, true)?
        } else {
            Vec::new()
        };
        if let Pretty::Oneline { .. } = style.pretty {
            let subject = commit.subject();
            self.line(&[name.as_bytes(), &decoration, b" ", &subject]);
            return Ok(());
        }
        if let Pretty::Format(format, newline) = &style.pretty {
            let text = self.expand(format, commit, style)?;
            say(&mut self.out, &[&text]);
            if *newline {
                self.out.push(b'\n');
            }
            return Ok(());
        }
        commit.check_signatures()?;
        self.line(&[b"commit ", name.as_bytes(), &decoration]);
        if commit.parents.len() > 1 {
            let mut line = b"Merge:".to_vec();
            for parent in &commit.parents {
                let name = self.short(parent)?;
                say(&mut line, &[b" ", name.as_bytes()]);
            }
            self.line(&[&line]);
        }
        let author = self.shown_person(who(commit.author()))?;
        let label: &[u8] = if style.pretty == Pretty::Fuller {
            b"Author:     "
        } else {
            b"Author: "
        };
        self.line(&[label, &author.name, b" <", &author.mail, b">"]);
        match style.pretty {
            Pretty::Medium => {
                let date = date(&author, style.date);
                self.line(&[b"Date:   ", date.as_bytes()]);
            }
            Pretty::Full => {
                let committer = self.shown_person(who(commit.committer()))?;
                self.line(&[b"Commit: ", &committer.name, b" <", &committer.mail, b">"]);
            }
            Pretty::Fuller => {
                let committer = self.shown_person(who(commit.committer()))?;
                let dates = (date(&author, style.date), date(&committer, style.date));
                self.line(&[b"AuthorDate: ", dates.0.as_bytes()]);
                self.line(&[b"Commit:     ", &committer.name, b" <", &committer.mail, b">"]);
                self.line(&[b"CommitDate: ", dates.1.as_bytes()]);
            }
            _ => {}
        }
        let mut lines = message_lines(commit.message()).peekable();
        if lines.peek().is_none() {
            return Ok(());
        }
        self.out.push(b'\n');
        if style.pretty == Pretty::Short {
            for line in lines.take_while(|line| !line.is_empty()) {
                self.line(&[b"    ", line]);
            }
            return Ok(());
        }
        for line in lines {
            match style.pretty {
                Pretty::Medium | Pretty::Full | Pretty::Fuller if memchr::memchr(b'\t', line).is_some() => {
                    let expanded = tabs(line)?;
                    self.line(&[b"    ", &expanded]);
                }
                _ => self.line(&[b"    ", line]),
            }
        }
        Ok(())
    }

    /// ` (HEAD -> main, tag: v1)`, or nothing.
    pub(crate) fn decoration(&mut self, oid: &Oid, wrapped: bool) -> Run<Vec<u8>> {
        let head = self.head()?;
        let at_head = self.head_oid()? == Some(*oid);
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut current: Option<Vec<u8>> = None;
        if at_head {
            match head {
                Head::Branch(name) => {
                    let short = name.strip_prefix(HEADS).unwrap_or(&name).to_vec();
                    names.push([b"HEAD -> ", short.as_slice()].concat());
                    current = Some(name);
                }
                Head::Detached(_) => names.push(b"HEAD".to_vec()),
            }
        }
        let mut refs = self.refs(b"refs/")?;
        refs.reverse();
        for (name, at) in refs {
            let peeled = if name.starts_with(TAGS) {
                self.peel(&at, None)?
            } else {
                Some(at)
            };
            if peeled != Some(*oid) || Some(&name) == current.as_ref() {
                continue;
            }
            if let Some(short) = name.strip_prefix(TAGS) {
                names.push([b"tag: ", short].concat());
            } else if let Some(short) = name.strip_prefix(HEADS) {
                names.push(short.to_vec());
            } else if let Some(short) = name.strip_prefix(b"refs/remotes/") {
                names.push(short.to_vec());
            } else if name == b"refs/stash" {
                names.push(name);
            } else if name.starts_with(b"refs/replace/") {
                return unavailable("replaced objects");
            }
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let list = names.join(&b", "[..]);
        Ok(if wrapped {
            [b" (", list.as_slice(), b")"].concat()
        } else {
            list
        })
    }

    fn expand(&mut self, format: &[u8], commit: &ReadCommit, style: &Style) -> Run<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = format;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte != b'%' {
                out.push(byte);
                continue;
            }
            let Some((&letter, after)) = rest.split_first() else {
                out.push(b'%');
                break;
            };
            let second = after.first().copied();
            let mut used = 1;
            match letter {
                b'%' => out.push(b'%'),
                b'n' => out.push(b'\n'),
                b'H' => out.extend_from_slice(commit.oid.to_hex().as_bytes()),
                b'h' => out.extend_from_slice(self.short(&commit.oid)?.as_bytes()),
                b'T' => out.extend_from_slice(commit.tree.to_hex().as_bytes()),
                b't' => out.extend_from_slice(self.short(&commit.tree)?.as_bytes()),
                b'P' | b'p' => {
                    for (number, parent) in commit.parents.iter().enumerate() {
                        if number > 0 {
                            out.push(b' ');
                        }
                        let name = if letter == b'P' {
                            parent.to_hex()
                        } else {
                            self.short(parent)?
                        };
                        out.extend_from_slice(name.as_bytes());
                    }
                }
                b's' => out.extend_from_slice(&commit.subject()),
                b'b' | b'B' => out.extend_from_slice(&body(commit.message(), letter == b'B')),
                b'f' => {
                    let first = message_lines(commit.message()).next().unwrap_or_default();
                    out.extend_from_slice(&file_name(first));
                }
                b'd' => out.extend_from_slice(&self.decoration(&commit.oid, true)?),
                b'D' => out.extend_from_slice(&self.decoration(&commit.oid, false)?),
                b'e' => out.extend_from_slice(commit.encoding.as_deref().unwrap_or_default()),
                b'x' => {
                    let digits = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                    match digits.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                        Some(byte) => {
                            out.push(byte);
                            used = 3;
                        }
                        None => out.extend_from_slice(b"%x"),
                    }
                }
                b'C' => {
                    // Colours are off.
                    let named = [&b"red"[..], b"green", b"blue", b"reset"]
                        .into_iter()
                        .find(|name| after.starts_with(name));
                    if let Some(name) = named {
                        used = 1 + name.len();
                    } else if let (Some(b'('), Some(close)) = (second, after.iter().position(|&byte| byte == b')')) {
                        if after.starts_with(b"(always") {
                            return unavailable("a colour in a format");
                        }
                        used = 2 + close;
                    } else {
                        out.extend_from_slice(b"%C");
                    }
                }
                b'a' | b'c' => {
                    commit.check_signatures()?;
                    let signature = who(if letter == b'a' {
                        commit.author()
                    } else {
                        commit.committer()
                    });
                    let text = |form| date(&signature, form).into_bytes();
                    let part = match second {
                        Some(b'n') => signature.name.clone(),
                        Some(b'e') => signature.mail.clone(),
                        Some(b'l') => signature
                            .mail
                            .split(|&byte| byte == b'@')
                            .next()
                            .unwrap_or_default()
                            .to_vec(),
                        Some(b'd') => text(style.date),
                        Some(b'D') => text(DateForm::Rfc),
                        Some(b'i') => text(DateForm::Iso),
                        Some(b'I') => text(DateForm::IsoStrict),
                        Some(b's') => text(DateForm::Short),
                        Some(b't') => text(DateForm::Unix),
                        Some(second) => {
                            return unavailable(format!("%{}{} in a format", char::from(letter), char::from(second)));
                        }
                        None => vec![b'%', letter],
                    };
                    out.extend_from_slice(&part);
                    used = 1 + usize::from(second.is_some());
                }
                _ if b"gGNmwSR<>+- (".contains(&letter) => {
                    return unavailable(format!("%{} in a format", char::from(letter)));
                }
                _ => {
                    out.extend_from_slice(&[b'%', letter]);
                }
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(out)
    }
}

/// The line with spaces for tabs, each up to the next multiple of eight.
fn tabs(line: &[u8]) -> Run<Vec<u8>> {
    if !line.is_ascii() {
        return unavailable("tabs among letters whose width is not known");
    }
    let mut out = Vec::with_capacity(line.len() + 8);
    for &byte in line {
        match byte {
            b'\t' => out.resize((out.len() / 8 + 1) * 8, b' '),
            0x20..0x7f => out.push(byte),
            _ => return unavailable("tabs among letters whose width is not known"),
        }
    }
    Ok(out)
}

/// The message after its first paragraph, or all of it.
fn body(message: &[u8], whole: bool) -> Vec<u8> {
    let start = message.iter().position(|&byte| byte != b'\n').unwrap_or(message.len());
    let mut rest = message.get(start..).unwrap_or_default();
    if whole {
        return rest.to_vec();
    }
    loop {
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let blank = rest.get(..end).unwrap_or_default().trim_ascii().is_empty();
        rest = rest.get(end + 1..).unwrap_or_default();
        if blank {
            break;
        }
    }
    let start = rest.iter().position(|&byte| byte != b'\n').unwrap_or(rest.len());
    rest.get(start..).unwrap_or_default().to_vec()
}

/// `%f`: the first line as a file name.
fn file_name(subject: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut gap = false;
    for (at, &byte) in subject.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' {
            if gap && !out.is_empty() {
                out.push(b'-');
            }
            gap = false;
            if byte == b'.' && at > 0 && subject.get(at - 1) == Some(&b'.') {
                continue;
            }
            out.push(byte);
        } else {
            gap = true;
        }
    }
    while matches!(out.last(), Some(b'.' | b'-')) {
        out.pop();
    }
    out
}
