//! Objects: reading commits, abbreviating names.

use std::ops::Range;
use std::sync::Arc;

use super::{Call, Run, unavailable};
use crate::commit::Commit;
use crate::oid_set::OidMap;
use crate::signature::Signature;
use crate::tag::Tag;
use crate::{Object, ObjectKind, Oid};

/// A commit that was read; its text is shared with who read it.
#[derive(Clone, Debug)]
pub(crate) struct ReadCommit {
    pub(crate) oid: Oid,
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    pub(crate) encoding: Option<Vec<u8>>,
    pub(crate) seconds: i64,
    text: Arc<Vec<u8>>,
    author: Range<usize>,
    committer: Range<usize>,
    message_at: usize,
}

impl ReadCommit {
    fn parse(oid: &Oid, object: &Object) -> Option<(Self, bool)> {
        let text = object.data.clone();
        let commit = Commit::parse(oid.format(), &text).ok()?;
        let seconds = seconds(commit.committer);
        // Up to there every line has the length that it must have.
        let hex = oid.format().hex_len();
        let author_at = b"tree \nauthor ".len() + hex + commit.parents.len() * (b"parent \n".len() + hex);
        let author = author_at..author_at + commit.author.len();
        let committer_at = author.end + b"\ncommitter ".len();
        let read = ReadCommit {
            oid: *oid,
            tree: commit.tree,
            encoding: commit.encoding().map(|name| name.into_owned()),
            seconds: seconds.unwrap_or(0),
            committer: committer_at..committer_at + commit.committer.len(),
            author,
            message_at: text.len() - commit.message.len(),
            parents: commit.parents,
            text,
        };
        Some((read, seconds.is_some()))
    }

    /// The author line's value.
    pub(crate) fn author(&self) -> &[u8] {
        self.text.get(self.author.clone()).unwrap_or_default()
    }

    /// The committer line's value.
    pub(crate) fn committer(&self) -> &[u8] {
        self.text.get(self.committer.clone()).unwrap_or_default()
    }

    /// What was said.
    pub(crate) fn message(&self) -> &[u8] {
        self.text.get(self.message_at..).unwrap_or_default()
    }

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

    /// The same commit for people, from one of the encodings of which every byte is a letter.
    pub(crate) fn in_utf8(&self) -> Run<ReadCommit> {
        let name = self.encoding.as_deref().unwrap_or_default();
        let letters: &[(u8, char)] = if name.eq_ignore_ascii_case(b"ISO-8859-1") {
            &[]
        } else if name.eq_ignore_ascii_case(b"ISO-8859-15") {
            &LATIN_9
        } else {
            return unavailable("a commit message that is not UTF-8");
        };
        let mut text = Vec::with_capacity(self.text.len() + 64);
        let mut add = |part: &[u8]| {
            let start = text.len();
            for &byte in part {
                let other = letters.iter().find(|(known, _)| *known == byte);
                let letter = other.map_or(char::from(byte), |(_, letter)| *letter);
                text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            start..text.len()
        };
        let (author, committer) = (add(self.author()), add(self.committer()));
        let message_at = add(self.message()).start;
        Ok(ReadCommit {
            author,
            committer,
            message_at,
            text: Arc::new(text),
            ..self.clone()
        })
    }

    /// Refuses a commit whose author and committer only git can show.
    pub(crate) fn check_signatures(&self) -> Run<()> {
        // What is shown of a line that git would not write is git's to say.
        match is_plain(self.author()) && is_plain(self.committer()) {
            true => Ok(()),
            false => unavailable("a malformed signature"),
        }
    }

    /// The first paragraph in one line.
    pub(crate) fn subject(&self) -> Vec<u8> {
        subject(self.message())
    }
}

/// Letters of ISO-8859-15 that are others in ISO-8859-1, whose bytes are the first letters of Unicode.
const LATIN_9: [(u8, char); 8] = [
    (0xa4, '\u{20ac}'),
    (0xa6, '\u{160}'),
    (0xa8, '\u{161}'),
    (0xb4, '\u{17d}'),
    (0xb8, '\u{17e}'),
    (0xbc, '\u{152}'),
    (0xbd, '\u{153}'),
    (0xbe, '\u{178}'),
];

/// Commits that were read on the way to others, for who walks the same way next.
#[derive(Default)]
pub(crate) struct Commits {
    kept: OidMap<ReadCommit>,
    kept_bytes: usize,
}

/// When so many bytes of them are kept, they are forgotten.
const KEPT_BYTES: usize = 2 << 20;
/// What a commit costs beside its text.
const KEPT_EACH_BYTES: usize = 256;

impl Commits {
    fn take(&mut self, oid: &Oid) -> Option<ReadCommit> {
        // Nothing is found out about an empty map before the key is hashed.
        (!self.kept.is_empty()).then(|| self.kept.remove(oid))?
    }

    fn keep(&mut self, commit: ReadCommit) {
        if self.kept_bytes >= KEPT_BYTES {
            *self = Commits::default();
        }
        self.kept_bytes += commit.text.len() + KEPT_EACH_BYTES;
        self.kept.insert(commit.oid, commit);
    }
}

/// Whether a signature is `NAME <MAIL> SECONDS ZONE` and nothing else, and git shows of it what stands there. Some have no name, or a zone of six digits.
fn is_plain(line: &[u8]) -> bool {
    is_common(line) || is_read_as_it_stands(line)
}

/// Whether it is one of those that nearly all are: decided without taking it apart.
fn is_common(line: &[u8]) -> bool {
    let odd = |part: &[u8]| part.is_empty() || part.iter().any(|byte| b"<>".contains(byte));
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let split = || {
        let (name, rest) = line.split_at_checked(memchr::memchr(b'<', line)?)?;
        let (mail, rest) = rest.get(1..)?.split_at_checked(memchr::memchr(b'>', rest)? - 1)?;
        let (seconds, zone) = rest.strip_prefix(b"> ")?.split_last_chunk::<5>()?;
        Some((name.strip_suffix(b" ")?, mail, seconds.strip_suffix(b" ")?, zone))
    };
    let Some((name, mail, seconds, [sign, zone @ ..])) = split() else {
        return false;
    };
    let is_time = number(seconds) && seconds.len() <= 12 && (seconds.len() == 1 || !seconds.starts_with(b"0"));
    let is_zone = matches!(sign, b'+' | b'-') && number(zone) && zone.get(2).is_some_and(|tens| *tens < b'6');
    !odd(name) && !odd(mail) && name.trim_ascii_end() == name && is_time && is_zone
}

fn is_read_as_it_stands(line: &[u8]) -> bool {
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
        if let Some(known) = self.commits.take(oid) {
            return Ok(known);
        }
        let object = self.read(oid)?;
        let parsed = match object.kind {
            ObjectKind::Commit => ReadCommit::parse(oid, &object),
            _ => None,
        };
        match parsed {
            Some((commit, true)) => Ok(commit),
            // Git reads as much of others as it can.
            Some((_, false)) => unavailable("a malformed signature"),
            None => Err(self.die(format!("bad object {oid}"))),
        }
    }

    /// The parents of a commit of which more will be asked soon.
    pub(crate) fn parents(&mut self, oid: &Oid) -> Run<Vec<Oid>> {
        let commit = self.commit(oid)?;
        let parents = commit.parents.clone();
        self.commits.keep(commit);
        Ok(parents)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_look_agrees_with_the_slow_one() {
        let parts: [&[&str]; 5] = [
            &["A B", "", " ", "A ", "A\t", " A", "A<", "A>", "\u{e9}"],
            &[" <", "<", "  <", " <<"],
            &["a@b", "", "a b", "a<b", "a>b"],
            &["> ", ">", ">  ", ">> "],
            &[
                "1700000000 +0100",
                "0 -0000",
                "0 +0000",
                "01 +0000",
                "1 +0160",
                "1 +01000",
                "1 +010",
                "1  +0100",
                "-1 +0000",
                "1 0100",
                "1234567890123 +0000",
                "1 +0100 ",
                "x +0100",
                "1",
                "",
                "1 -9959",
            ],
        ];
        let mut common = 0;
        let mut lines = vec![String::new()];
        for part in parts {
            lines = lines
                .iter()
                .flat_map(|line| part.iter().map(move |more| format!("{line}{more}")))
                .collect();
        }
        for line in lines {
            if is_common(line.as_bytes()) {
                assert!(is_read_as_it_stands(line.as_bytes()), "{line:?}");
                common += 1;
            }
        }
        assert!(common > 10, "{common}");
    }

    #[test]
    fn old_encodings_are_shown_in_utf8() {
        let text = |name: &str| {
            let head = format!("tree {}\nauthor ", "0".repeat(40)).into_bytes();
            let rest = format!(" <a@b> 1 +0000\ncommitter C <c@d> 2 +0000\nencoding {name}\n\n").into_bytes();
            [&head[..], b"J\xf6rg", &rest, b"5 \xa4\n"].concat()
        };
        let read = |name: &str| {
            let object = Object::new(ObjectKind::Commit, text(name));
            let commit = ReadCommit::parse(&object.oid(crate::ObjectFormat::Sha1), &object)
                .unwrap()
                .0;
            commit.in_utf8().ok().map(|shown| {
                (
                    shown.author().to_vec(),
                    shown.committer().to_vec(),
                    shown.message().to_vec(),
                )
            })
        };
        let shown = |message: &str| {
            let author = "J\u{f6}rg <a@b> 1 +0000".as_bytes().to_vec();
            Some((author, b"C <c@d> 2 +0000".to_vec(), message.as_bytes().to_vec()))
        };
        assert_eq!(read("ISO-8859-15"), shown("5 \u{20ac}\n"));
        assert_eq!(read("iso-8859-1"), shown("5 \u{a4}\n"));
        assert_eq!(read("KOI8-R"), None);
    }
}
