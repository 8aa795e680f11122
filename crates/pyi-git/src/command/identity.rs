//! Who authors and commits: the environment, then the configuration, then PYI.

use super::date::parse_date;
use super::{Call, Run, unavailable};
use crate::signature::Signature;

/// Who signs what nobody else does.
const NAME: &[u8] = b"PYI";
const MAIL: &[u8] = b"pyi@localhost";

/// In which capacity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capacity {
    Author,
    Committer,
}

impl Capacity {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Capacity::Author => ("AUTHOR", "author"),
            Capacity::Committer => ("COMMITTER", "committer"),
        }
    }
}

impl Call<'_> {
    pub(crate) fn variable(&self, name: &str) -> Option<&[u8]> {
        self.env.get(name.as_bytes()).map(Vec::as_slice)
    }

    /// Who does this now.
    pub(crate) fn identity(&mut self, capacity: Capacity) -> Run<Signature> {
        let (upper, lower) = capacity.words();
        let given = |call: &Self, part: &str, key: &str| {
            let env = call.variable(&format!("GIT_{upper}_{part}")).map(<[u8]>::to_vec);
            let own = || call.config.value(lower, None, key).map(<[u8]>::to_vec);
            let user = || call.config.value("user", None, key).map(<[u8]>::to_vec);
            env.filter(|value| part == "NAME" || !value.is_empty())
                .or_else(own)
                .or_else(user)
        };
        let mail = given(self, "EMAIL", "email").or_else(|| self.variable("EMAIL").map(<[u8]>::to_vec));
        let name = given(self, "NAME", "name");
        if self.site.is_directory() && (mail.is_none() || name.is_none()) {
            return unavailable("an identity that git would have to guess");
        }
        let mail = mail.unwrap_or_else(|| MAIL.to_vec());
        let name = name.unwrap_or_else(|| NAME.to_vec());
        let (seconds, offset_minutes) = match self.variable(&format!("GIT_{upper}_DATE")) {
            Some(text) if !text.is_empty() => {
                let text = text.to_vec();
                self.date(&text)?
            }
            _ => {
                let now = self.site.now();
                (now, self.site.zone_minutes(now))
            }
        };
        let signature = Signature::new(&name, &mail, seconds, offset_minutes);
        self.refuse_dots(&signature)?;
        if signature.name.is_empty() {
            let mail = String::from_utf8_lossy(&signature.mail).into_owned();
            return Err(self.die(format!("empty ident name (for <{mail}>) not allowed")));
        }
        Ok(signature)
    }

    /// Until git 2.45, dots around a name went too.
    pub(crate) fn refuse_dots(&self, signature: &Signature) -> Run<()> {
        let has_dots = |part: &[u8]| part.starts_with(b".") || part.ends_with(b".");
        if self.site.is_directory() && (has_dots(&signature.name) || has_dots(&signature.mail)) {
            return unavailable("dots around a name");
        }
        Ok(())
    }

    /// A date that was given.
    pub(crate) fn date(&mut self, text: &[u8]) -> Run<(i64, i32)> {
        if self.site.is_directory() && !has_zone(text) {
            return unavailable("a date without a zone");
        }
        match parse_date(text) {
            Some(date) => Ok(date),
            None => unavailable(format!("the date {:?}", String::from_utf8_lossy(text))),
        }
    }
}

/// Whether a date says its zone.
fn has_zone(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let last = text
        .rsplit(|byte| matches!(byte, b' ' | b':' | b'T'))
        .next()
        .unwrap_or(text);
    let digits = |part: &[u8]| part.len() == 4 && part.iter().all(u8::is_ascii_digit);
    last.ends_with(b"Z")
        || last
            .iter()
            .position(|byte| matches!(byte, b'+' | b'-'))
            .is_some_and(|at| digits(last.get(at + 1..).unwrap_or_default()))
}
