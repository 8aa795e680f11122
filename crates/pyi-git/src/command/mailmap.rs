//! `.mailmap`: the names that people are shown under.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Call, Run, View};
use crate::signature::Signature;

/// The name and address that take the place of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    name: Option<Vec<u8>>,
    mail: Option<Vec<u8>>,
}

/// What stands in the file, by address in small letters.
#[derive(Debug, Default)]
pub(crate) struct Mailmap {
    by_mail: HashMap<Vec<u8>, Shown>,
    /// The same for one of the names that an address has.
    by_both: HashMap<(Vec<u8>, Vec<u8>), Shown>,
}

impl Mailmap {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut map = Mailmap::default();
        for line in text.split(|&byte| byte == b'\n') {
            if line.starts_with(b"#") {
                continue;
            }
            let Some((new_name, first, rest)) = person(line).filter(|(_, mail, _)| !mail.is_empty()) else {
                continue;
            };
            let (old_name, mail, new_mail) = match person(rest) {
                Some((name, second, _)) => (name, second, Some(first.to_vec())),
                None => (None, first, None),
            };
            let mail = mail.to_ascii_lowercase();
            let new_name = new_name.map(<[u8]>::to_vec);
            match old_name {
                Some(old) => {
                    let shown = Shown {
                        name: new_name,
                        mail: new_mail,
                    };
                    map.by_mail.entry(mail.clone()).or_default();
                    map.by_both.insert((mail, old.to_ascii_lowercase()), shown);
                }
                None => {
                    let shown = map.by_mail.entry(mail).or_default();
                    shown.name = new_name.or(shown.name.take());
                    shown.mail = new_mail.or(shown.mail.take());
                }
            }
        }
        map
    }

    /// Puts who is shown in the place of who signed.
    fn apply(&self, who: &mut Signature) {
        if self.by_mail.is_empty() {
            return;
        }
        let mail = who.mail.to_ascii_lowercase();
        let Some(general) = self.by_mail.get(&mail) else { return };
        let own = self.by_both.get(&(mail, who.name.to_ascii_lowercase()));
        let shown = own.unwrap_or(general);
        if let Some(mail) = &shown.mail {
            who.mail.clone_from(mail);
        }
        if let Some(name) = &shown.name {
            who.name.clone_from(name);
        }
    }
}

/// A name, a mail address, and what is behind them.
type Person<'t> = (Option<&'t [u8]>, &'t [u8], &'t [u8]);

/// `Name <mail>` and what is behind it.
fn person(text: &[u8]) -> Option<Person<'_>> {
    let open = text.iter().position(|&byte| byte == b'<')?;
    let inside = text.get(open + 1..)?;
    let close = inside.iter().position(|&byte| byte == b'>')?;
    let name = text.get(..open)?.trim_ascii();
    let name = Some(name).filter(|name| !name.is_empty());
    Some((name, inside.get(..close)?, inside.get(close + 1..)?))
}

impl Call<'_> {
    /// Whether people are shown under other names.
    pub(crate) fn has_mailmap(&mut self) -> Run<bool> {
        Ok(self.site.find(View::Work, b".mailmap")?.is_some())
    }

    /// Who is shown for who signed.
    pub(crate) fn shown_person(&mut self, mut who: Signature) -> Run<Signature> {
        let map = match &self.mailmap {
            Some(map) => map.clone(),
            None => {
                let text = self.site.plain_file(b".mailmap")?.unwrap_or_default();
                let map = Arc::new(Mailmap::parse(&text));
                self.mailmap = Some(map.clone());
                map
            }
        };
        map.apply(&mut who);
        Ok(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_shown_as_the_file_says() {
        let map = Mailmap::parse(
            b"# Comment <a@b>\nAnn Example <ann@old>\n<new@x> <OLD@x>\nBoth <both@new> <both@old>\n\
              One <one@new> Two <shared@x>\n  Spaced Out   <s@x>  \nno address\nNobody <>\n",
        );
        let shown = |name: &str, mail: &str| {
            let mut who = Signature::new(name.as_bytes(), mail.as_bytes(), 0, 0);
            map.apply(&mut who);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&who.name), text(&who.mail))
        };
        let of = |name: &str, mail: &str| (name.to_owned(), mail.to_owned());
        assert_eq!(shown("a", "Ann@Old"), of("Ann Example", "Ann@Old"));
        assert_eq!(shown("keeps", "old@x"), of("keeps", "new@x"));
        assert_eq!(shown("x", "both@old"), of("Both", "both@new"));
        assert_eq!(shown("tWo", "shared@X"), of("One", "one@new"));
        assert_eq!(shown("three", "shared@x"), of("three", "shared@x"));
        assert_eq!(shown("x", "s@x"), of("Spaced Out", "s@x"));
        assert_eq!(shown("x", "a@b"), of("x", "a@b"));
    }
}
