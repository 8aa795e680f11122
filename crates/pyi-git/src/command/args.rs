//! Reading a command's options. Whatever is not in the command's table is not done, and said so.

use super::{Call, Run, unavailable};

/// Whether an option takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    /// `-m x`, `-mx`, `--message x`, `--message=x`.
    Value,
    /// `--stat`, `--stat=x`; `-U`: `-U3`.
    Optional,
}

/// An option's names, short ones first, and what it takes; the last name is what it is called.
pub(crate) type Table<'t> = &'t [(&'t str, Takes)];

/// What was given.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) options: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) rest: Vec<Vec<u8>>,
    /// How many of `rest` stood before `--`, if there was one.
    pub(crate) dashes: Option<usize>,
}

impl Given {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| known == name)
    }

    /// The last value of an option.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.options.iter().rev().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_deref())
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        let all = self.options.iter().filter(|(known, _)| known == name);
        all.filter_map(|(_, value)| value.as_deref()).collect()
    }

    /// Which of these came last.
    pub(crate) fn last_of<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        let found = |known: &String| names.iter().find(|name| *name == known).copied();
        self.options.iter().rev().find_map(|(known, _)| found(known))
    }

    /// How many commits at most: `-<number>` or `--max-count`, whichever came last; the others have to be numbers too.
    pub(crate) fn limit(&self) -> Run<Option<usize>> {
        let mut limit = None;
        for (name, value) in &self.options {
            if matches!(name.as_str(), "#" | "max-count") {
                let value = value.as_deref().unwrap_or_default();
                limit = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                if limit.is_none() {
                    return unavailable(format!("--{name} {}", String::from_utf8_lossy(value)));
                }
            }
        }
        Ok(limit)
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Run<Option<usize>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => unavailable(format!("--{name} {}", String::from_utf8_lossy(value))),
        }
    }
}

/// Reads options and other arguments in any order; after `--` everything is an argument. `#` in the table stands for `-<number>`.
pub(crate) fn parse(call: &Call<'_>, argv: &[Vec<u8>], table: Table<'_>) -> Run<Given> {
    let mut given = Given::default();
    let mut at = 0;
    while let Some(word) = argv.get(at) {
        at += 1;
        if given.dashes.is_some() || word.len() < 2 || !word.starts_with(b"-") {
            given.rest.push(word.clone());
        } else if word == b"--" {
            given.dashes = Some(given.rest.len());
        } else if let Some(long) = word.strip_prefix(b"--") {
            let (name, value) = match long.iter().position(|&byte| byte == b'=') {
                Some(at) => (long.get(..at).unwrap_or_default(), long.get(at + 1..)),
                None => (long, None),
            };
            let (name, takes) = look_up(call, table, name, word)?;
            let value = match (takes, value) {
                (Takes::Nothing, Some(_)) => return not_done(call, word),
                (Takes::Value, None) => {
                    at += 1;
                    match argv.get(at - 1) {
                        Some(value) => Some(value.clone()),
                        None => return not_done(call, word),
                    }
                }
                (_, value) => value.map(<[u8]>::to_vec),
            };
            given.options.push((name, value));
        } else {
            let mut short = word.get(1..).unwrap_or_default();
            if short.iter().all(u8::is_ascii_digit) && table.iter().any(|(name, _)| *name == "#") {
                given.options.push(("#".to_owned(), Some(short.to_vec())));
                continue;
            }
            while let Some((&first, rest)) = short.split_first() {
                let (name, takes) = look_up(call, table, &[first], word)?;
                short = rest;
                let value = match takes {
                    Takes::Nothing => None,
                    Takes::Optional => Some(std::mem::take(&mut short).to_vec()).filter(|value| !value.is_empty()),
                    Takes::Value if short.is_empty() => {
                        at += 1;
                        match argv.get(at - 1) {
                            Some(value) => Some(value.clone()),
                            None => return not_done(call, word),
                        }
                    }
                    Takes::Value => Some(std::mem::take(&mut short).to_vec()),
                };
                given.options.push((name, value));
            }
        }
    }
    Ok(given)
}

fn look_up(call: &Call<'_>, table: Table<'_>, name: &[u8], word: &[u8]) -> Run<(String, Takes)> {
    for (names, takes) in table {
        if names.split('|').any(|known| known.as_bytes() == name)
            && let Some(called) = names.split('|').next_back()
        {
            return Ok((called.to_owned(), *takes));
        }
    }
    not_done(call, word)
}

fn not_done<T>(call: &Call<'_>, word: &[u8]) -> Run<T> {
    unavailable(format!("git {} {}", call.command, String::from_utf8_lossy(word)))
}
