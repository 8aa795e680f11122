//! Objects: reading commits, abbreviating names.

use super::{Call, Run, unavailable};
use crate::commit::Commit;
use crate::signature::Signature;
use crate::tag::Tag;
use crate::{Object, ObjectKind, Oid};

/// A commit that was read.
#[derive(Clone, Debug)]
pub(crate) struct ReadCommit {
    pub(crate) oid: Oid,
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    pub(crate) author: Vec<u8>,
    pub(crate) committer: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) encoding: Option<Vec<u8>>,
    pub(crate) seconds: i64,
    /// The author or committer is written as git does not write them: what is shown of them is git's to say.
    pub(crate) is_odd: bool,
}

impl ReadCommit {
    /// Whether the message is in UTF-8, as far as the commit says.
    pub(crate) fn is_utf8(&self) -> bool {
        self.encoding
            .as_deref()
            .is_none_or(|name| name.eq_ignore_ascii_case(b"utf-8") || name.eq_ignore_ascii_case(b"utf8"))
    }

    /// [`ReadCommit::subject`] for people, who get all messages in UTF-8.
    pub(crate) fn shown_subject(&self) -> Run<Vec<u8>> {
        match self.is_utf8() {
            true => Ok(self.subject()),
            false => unavailable("a commit message that is not UTF-8"),
        }
    }

    /// Refuses a commit whose author and committer only git can show.
    pub(crate) fn check_signatures(&self) -> Run<()> {
        match self.is_odd {
            true => unavailable("a malformed signature"),
            false => Ok(()),
        }
    }

    /// The first paragraph in one line.
    pub(crate) fn subject(&self) -> Vec<u8> {
        subject(&self.message)
    }
}

/// Whether a signature is `NAME <MAIL> SECONDS ZONE` and nothing else, and git shows of it what stands there. Some have no name, or a zone of six digits.
fn is_plain(line: &[u8]) -> bool {
    let Ok(signature) = Signature::parse(line) else {
        return false;
    };
    let plain = |part: &[u8]| !part.iter().any(|byte| b"<>".contains(byte));
    let known = signature.to_bytes();
    let zone_at = |text: &[u8]| text.iter().rposition(|&byte| byte == b' ').map_or(0, |at| at + 1);
    let same = |line: &[u8]| {
        let (before, zone) = line.split_at(zone_at(line));
        let (sign, digits) = zone.split_at_checked(1).unwrap_or_default();
        let short = digits
            .strip_prefix(b"0")
            .filter(|_| digits.len() == 6)
            .unwrap_or(digits);
        known == [before, sign, short].concat()
    };
    let is_same = same(line) || (signature.name.is_empty() && line.strip_prefix(b" ").is_some_and(same));
    plain(&signature.name) && plain(&signature.mail) && signature.seconds >= 0 && is_same
}

/// When somebody committed, if the line leaves no doubt about it.
fn seconds(line: &[u8]) -> Option<i64> {
    let behind = line.rsplit(|&byte| byte == b'>').next()?.strip_prefix(b" ")?;
    let digits = behind.split(|&byte| byte == b' ').next()?;
    let is_number = (1..=12).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// The first paragraph of a message in one line.
pub(crate) fn subject(message: &[u8]) -> Vec<u8> {
    let mut lines = message
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii_end)
        .skip_while(|line| line.is_empty());
    let mut out: Vec<u8> = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(line);
    }
    out
}

impl Call<'_> {
    pub(crate) fn read(&mut self, oid: &Oid) -> Run<Object> {
        match self.site.object(oid)? {
            Some(object) => Ok(object),
            None => Err(self.die(format!("bad object {oid}"))),
        }
    }

    /// What an object is.
    pub(crate) fn kind(&mut self, oid: &Oid) -> Run<ObjectKind> {
        match self.site.info(oid)? {
            Some((kind, _)) => Ok(kind),
            None => Err(self.die(format!("bad object {oid}"))),
        }
    }

    /// A commit.
    pub(crate) fn commit(&mut self, oid: &Oid) -> Run<ReadCommit> {
        let object = self.read(oid)?;
        let parsed = match object.kind {
            ObjectKind::Commit => Commit::parse(oid.format(), &object.data).ok(),
            _ => None,
        };
        let Some(commit) = parsed else {
            return Err(self.die(format!("bad object {oid}")));
        };
        // Git reads as much of others as it can.
        let Some(seconds) = seconds(commit.committer) else {
            return unavailable("a malformed signature");
        };
        Ok(ReadCommit {
            oid: *oid,
            tree: commit.tree,
            author: commit.author.to_vec(),
            committer: commit.committer.to_vec(),
            message: commit.message.to_vec(),
            encoding: commit.encoding().map(|name| name.into_owned()),
            seconds,
            is_odd: !is_plain(commit.author) || !is_plain(commit.committer),
            parents: commit.parents,
        })
    }

    /// What a tag leads to in the end.
    pub(crate) fn peel(&mut self, oid: &Oid, kind: Option<ObjectKind>) -> Run<Option<Oid>> {
        let mut at = *oid;
        for _ in 0..64 {
            // What is no tag need not be unfolded to see that.
            if kind.is_none() && self.site.info(&at)?.is_some_and(|(kind, _)| kind != ObjectKind::Tag) {
                return Ok(Some(at));
            }
            let Some(object) = self.site.object(&at)? else {
                return Ok(None);
            };
            if Some(object.kind) == kind {
                return Ok(Some(at));
            }
            match (object.kind, kind) {
                (ObjectKind::Tag, _) => match Tag::parse(at.format(), &object.data) {
                    Ok(tag) => at = tag.target,
                    Err(_) => return Ok(None),
                },
                (_, None) => return Ok(Some(at)),
                (ObjectKind::Commit, Some(ObjectKind::Tree)) => match Commit::parse(at.format(), &object.data) {
                    Ok(commit) => at = commit.tree,
                    Err(_) => return Ok(None),
                },
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The shortest name of an object that git would print.
    pub(crate) fn short(&mut self, oid: &Oid) -> Run<String> {
        let len = self.site.abbreviation_len()?;
        self.short_of(oid, len)
    }

    /// The same, of at least so many digits.
    pub(crate) fn short_of(&mut self, oid: &Oid, len: usize) -> Run<String> {
        let hex = oid.to_hex();
        let mut len = len.clamp(4, hex.len());
        while let Some(part) = hex.get(..len).filter(|part| part.len() < hex.len()) {
            let others = self.site.with_prefix(part.as_bytes())?;
            if others.iter().all(|other| other == oid) {
                return Ok(part.to_owned());
            }
            len += 1;
        }
        Ok(hex)
    }
}
