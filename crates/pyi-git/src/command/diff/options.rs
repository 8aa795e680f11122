//! Options that all commands share that show differences.

use crate::command::args::{Given, Takes};
use crate::command::quote::quoted;
use crate::command::{Call, Run, say, unavailable};

use super::Pair;

/// As many lines around a change as git can count to.
const CONTEXT_MAX: usize = 1 << 30;

/// The options' names.
pub(crate) const TABLE: &[(&str, Takes)] = &[
    ("u|p|patch", Takes::Nothing),
    ("s|no-patch", Takes::Nothing),
    ("U|unified", Takes::Value),
    ("stat", Takes::Optional),
    ("shortstat", Takes::Nothing),
    ("numstat", Takes::Nothing),
    ("summary", Takes::Nothing),
    ("name-only", Takes::Nothing),
    ("name-status", Takes::Nothing),
    ("patch-with-stat", Takes::Nothing),
    ("M|find-renames", Takes::Optional),
    ("no-renames", Takes::Nothing),
    ("no-color", Takes::Nothing),
    ("color", Takes::Optional),
    ("no-ext-diff", Takes::Nothing),
    ("no-textconv", Takes::Nothing),
    ("z", Takes::Nothing),
];

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Patch,
    Stat,
    ShortStat,
    NumStat,
    Summary,
    NameOnly,
    NameStatus,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) formats: Vec<Format>,
    /// `-s`.
    pub(crate) nothing: bool,
    pub(crate) context: usize,
    /// How alike files must be, of 60,000; `None`: renames are not looked for.
    pub(crate) renames: Option<u32>,
    pub(crate) zero: bool,
    pub(crate) width: usize,
}

impl Options {
    /// Nothing asked for, and what the configuration says.
    pub(crate) fn new(call: &Call<'_>) -> Run<Self> {
        let renames = match call.config.value("diff", None, "renames") {
            None => true,
            Some(text) => match crate::config::parse_bool(Some(text)) {
                Ok(flag) => flag,
                Err(_) => return unavailable("diff.renames=copies"),
            },
        };
        let columns = call
            .variable("COLUMNS")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        Ok(Options {
            formats: Vec::new(),
            nothing: false,
            context: 3,
            renames: renames.then_some(super::similarity::HALF),
            zero: false,
            width: columns.filter(|columns| *columns > 0).unwrap_or(80),
        })
    }

    pub(crate) fn from(call: &Call<'_>, given: &Given) -> Run<Self> {
        let mut options = Options::new(call)?;
        for (name, value) in &given.options {
            let format = match name.as_str() {
                "patch" => Format::Patch,
                "unified" => {
                    let Some(count) = given.number("unified")? else {
                        continue;
                    };
                    // Beyond an int git counts in its own way.
                    if count > CONTEXT_MAX {
                        return unavailable(format!("git --unified={count}"));
                    }
                    options.context = count;
                    Format::Patch
                }
                "stat" => {
                    if value.is_some() {
                        return unavailable("git --stat=<width>");
                    }
                    Format::Stat
                }
                "patch-with-stat" => {
                    options.formats.push(Format::Patch);
                    Format::Stat
                }
                "shortstat" => Format::ShortStat,
                "numstat" => Format::NumStat,
                "summary" => Format::Summary,
                "name-only" => Format::NameOnly,
                "name-status" => Format::NameStatus,
                "no-patch" => {
                    options.nothing = true;
                    options.formats.clear();
                    continue;
                }
                "no-renames" => {
                    options.renames = None;
                    continue;
                }
                "find-renames" => {
                    if value.is_some() {
                        return unavailable("git -M<similarity>");
                    }
                    options.renames = Some(super::similarity::HALF);
                    continue;
                }
                "z" => {
                    options.zero = true;
                    continue;
                }
                // Nothing is coloured that goes to no terminal.
                "color" if matches!(value.as_deref(), Some(b"never" | b"auto")) => continue,
                "color" => return unavailable("colours"),
                _ => continue,
            };
            options.nothing = false;
            options.formats.push(format);
        }
        let has_name = |name: &str| given.has(name);
        if has_name("no-patch") && (has_name("name-only") || has_name("name-status")) {
            return unavailable("--name-only or --name-status with -s");
        }
        let names = [Format::NameOnly, Format::NameStatus]
            .into_iter()
            .filter(|format| options.has(*format))
            .count();
        if names > 1
            || (names == 1
                && options
                    .formats
                    .iter()
                    .any(|format| !matches!(format, Format::NameOnly | Format::NameStatus)))
        {
            return unavailable("--name-only or --name-status with another form of output");
        }
        if options.zero && options.has(Format::Patch) {
            return unavailable("-z with a patch");
        }
        Ok(options)
    }

    /// How alike files have to be if nobody says.
    pub(crate) const fn half() -> u32 {
        crate::command::diff::similarity::HALF
    }

    pub(crate) fn has(&self, format: Format) -> bool {
        self.formats.contains(&format)
    }

    /// A patch, if nothing else was asked for.
    pub(crate) fn or_patch(&mut self) {
        if self.formats.is_empty() && !self.nothing {
            self.formats.push(Format::Patch);
        }
    }
}

/// A line of `--name-only` or `--name-status`.
pub(crate) fn name_line(call: &mut Call<'_>, pair: &Pair, status: bool, zero: bool) {
    let (between, end): (&[u8], &[u8]) = if zero { (b"\0", b"\0") } else { (b"\t", b"\n") };
    let write = |path: &[u8]| if zero { path.to_vec() } else { quoted(path) };
    let mut line = Vec::new();
    if status {
        line.push(pair.letter());
        if pair.renamed {
            line.extend_from_slice(format!("{:03}", pair.score * 100 / 60_000).as_bytes());
        }
        line.extend_from_slice(between);
        if pair.renamed {
            say(&mut line, &[&write(&pair.old_path), between]);
        }
    }
    say(&mut line, &[&write(pair.path()), end]);
    call.out.extend_from_slice(&line);
}
