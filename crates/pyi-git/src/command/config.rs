//! `git config`, on the workspace's own file, and which settings other commands know of.

use super::args::{self, Takes};
use super::config_file::edit;
use super::{Call, Run, Stop, say, unavailable};
use crate::config::{Config, ConfigEntry};

/// Sections that change what commands print or do, in ways that are not done.
const SECTIONS: [&str; 17] = [
    "color",
    "column",
    "i18n",
    "advice",
    "status",
    "log",
    "format",
    "filter",
    "checkout",
    "commit",
    "tag",
    "stash",
    "alias",
    "branch",
    "extensions",
    "include",
    "includeif",
];
/// The same of single settings.
const KEYS: [(&str, &str); 12] = [
    ("core", "quotepath"),
    ("core", "ignorecase"),
    ("core", "filemode"),
    ("core", "autocrlf"),
    ("core", "eol"),
    ("core", "excludesfile"),
    ("core", "attributesfile"),
    ("core", "abbrev"),
    ("core", "commentchar"),
    ("core", "symlinks"),
    ("core", "logallrefupdates"),
    ("core", "bare"),
];

/// Refuses configuration that other commands would not follow.
pub(crate) fn check(config: &Config) -> Run<()> {
    for entry in config.entries() {
        let key = (entry.section.as_str(), entry.key.as_str());
        let harmless =
            matches!(key, ("commit", "gpgsign") | ("tag", "gpgsign")) && entry.value.as_deref() == Some(b"false");
        let diff = entry.section == "diff" && entry.key != "renames";
        if !harmless && (SECTIONS.contains(&entry.section.as_str()) || KEYS.contains(&key) || diff) {
            return unavailable(format!("the setting {}.{}", entry.section, entry.key));
        }
    }
    Ok(())
}

/// Section, subsection and key of a name.
pub(crate) fn split_name(name: &[u8]) -> Option<(String, Option<Vec<u8>>, String)> {
    let first = name.iter().position(|&byte| byte == b'.')?;
    let last = name.iter().rposition(|&byte| byte == b'.')?;
    let word = |bytes: &[u8]| {
        let good = !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        good.then(|| String::from_utf8_lossy(bytes).to_ascii_lowercase())
    };
    let section = word(name.get(..first)?)?;
    let key = word(name.get(last + 1..)?).filter(|key| key.starts_with(|letter: char| letter.is_ascii_alphabetic()))?;
    let subsection = (last > first).then(|| name.get(first + 1..last).unwrap_or_default().to_vec());
    Some((section, subsection, key))
}

fn full_name(entry: &ConfigEntry) -> Vec<u8> {
    match &entry.subsection {
        Some(part) => [entry.section.as_bytes(), b".", part, b".", entry.key.as_bytes()].concat(),
        None => [entry.section.as_bytes(), b".", entry.key.as_bytes()].concat(),
    }
}

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let (verb, rest) = match argv.split_first() {
        Some((word, rest)) if matches!(word.as_slice(), b"get" | b"set" | b"unset" | b"list") => {
            (word.as_slice(), rest)
        }
        _ => (&b""[..], argv),
    };
    let given = args::parse(
        call,
        rest,
        &[
            ("get", Takes::Nothing),
            ("unset", Takes::Nothing),
            ("l|list", Takes::Nothing),
            ("local", Takes::Nothing),
            ("z|null", Takes::Nothing),
        ],
    )?;
    let named = given.last_of(&["get", "unset", "list"]).map_or(verb, str::as_bytes);
    let verb = match (named, given.rest.len()) {
        (b"", 1) => b"get",
        (b"", 2) => &b"set"[..],
        (verb, _) => verb,
    };
    let zero = given.has("null");
    let config = match given.has("local") {
        true => own(call)?,
        false => call.config.clone(),
    };
    match (verb, &given.rest[..]) {
        (b"list", []) => {
            let mut out = Vec::new();
            for entry in config.entries() {
                let name = full_name(entry);
                match (&entry.value, zero) {
                    (Some(value), false) => say(&mut out, &[&name, b"=", value, b"\n"]),
                    (Some(value), true) => say(&mut out, &[&name, b"\n", value, b"\0"]),
                    (None, false) => say(&mut out, &[&name, b"\n"]),
                    (None, true) => say(&mut out, &[&name, b"\0"]),
                }
            }
            call.out.extend_from_slice(&out);
            Ok(0)
        }
        (b"get", [name]) => {
            let (section, subsection, key) = parse_name(call, name, false)?;
            match config
                .get(&section, subsection.as_deref(), &key)
                .map(|value| value.map(<[u8]>::to_vec))
            {
                Some(value) => {
                    let end: &[u8] = if zero { b"\0" } else { b"\n" };
                    say(&mut call.out, &[&value.unwrap_or_default(), end]);
                    Ok(0)
                }
                None => Err(Stop::Exit(1)),
            }
        }
        (b"set", [name, value]) => {
            parse_name(call, name, true)?;
            change(call, name, Some(value))
        }
        (b"unset", [name]) => {
            let (section, subsection, key) = parse_name(call, name, true)?;
            let config = own(call)?;
            if config.get(&section, subsection.as_deref(), &key).is_none() {
                return Err(Stop::Exit(5));
            }
            change(call, name, None)
        }
        _ => unavailable("git config with these arguments"),
    }
}

/// The settings of the repository's own file.
fn own(call: &mut Call<'_>) -> Run<Config> {
    let text = call.site.admin(b"config")?.unwrap_or_default();
    match Config::parse(&text) {
        Ok(config) => Ok(config),
        Err(_) => unavailable("git config in a file that cannot be read"),
    }
}

/// Section, subsection and key.
pub(crate) type Name = (String, Option<Vec<u8>>, String);

fn parse_name(call: &mut Call<'_>, name: &[u8], writes: bool) -> Run<Name> {
    if let Some(name) = split_name(name) {
        return Ok(name);
    }
    let (text, half) = (String::from_utf8_lossy(name).into_owned(), if writes { 2 } else { 1 });
    let (what, status) = match name.iter().rposition(|&byte| byte == b'.') {
        None | Some(0) => ("key does not contain a section", half),
        Some(last) if last + 1 == name.len() => ("key does not contain variable name", half),
        Some(_) => ("invalid key", 1),
    };
    call.error(format!("{what}: {text}"));
    Err(Stop::Exit(status))
}

/// Writes the file with one setting changed.
fn change(call: &mut Call<'_>, name: &[u8], value: Option<&[u8]>) -> Run<i32> {
    let text = call.site.admin(b"config")?.unwrap_or_default();
    match edit(&text, name, value) {
        Some(text) => {
            call.site.set_admin(b"config", Some(text.into()))?;
            Ok(0)
        }
        None => unavailable("git config of a key with several values, or in a file with odd lines"),
    }
}
