//! From words to what they say.

use std::ffi::{OsStr, OsString};

use super::parsed::{Given, Kind, Parsed};
use super::refusal::{Refusal, RefusalKind};
use super::table::{OptionId, Table, Value};

/// A word of an argument vector.
pub trait Word {
    /// Its bytes.
    fn bytes(&self) -> &[u8];
}

impl Word for OsString {
    fn bytes(&self) -> &[u8] {
        self.as_encoded_bytes()
    }
}

impl Word for &OsStr {
    fn bytes(&self) -> &[u8] {
        self.as_encoded_bytes()
    }
}

macro_rules! words {
    ($($kind:ty),*) => { $(impl Word for $kind {
        fn bytes(&self) -> &[u8] {
            self.as_ref()
        }
    })* };
}
words!(&[u8], Vec<u8>, &str, String);

type Result<'a, T> = std::result::Result<T, Refusal<'a>>;

/// Reads what stands behind `git`.
///
/// # Errors
/// A [`Refusal`] for words that mean nothing; aliases are unknown commands here.
pub fn parse<W: Word>(words: &[W]) -> Result<'_, Parsed<'_>> {
    let mut reader = Reader::new(words);
    let mut named = None;
    while let Some(word) = reader.word() {
        if !word.starts_with(b"-") {
            break;
        }
        let Some(id) = reader.global(Table::GIT, word)? else {
            return Err(reader.refusal(RefusalKind::UnknownOption, word));
        };
        // Git makes a command of these, with what follows as its arguments.
        named = match id.long() {
            "version" => Table::of(b"version"),
            "help" => Table::of(b"help"),
            _ => continue,
        };
        break;
    }
    reader.parsed.globals = reader.parsed.items.len();
    if named.is_none() {
        let Some(word) = reader.word() else {
            reader.parsed.command_at = reader.at;
            return Ok(reader.parsed);
        };
        named = Table::of_command(word);
        if named.is_none() {
            return Err(reader.refusal(RefusalKind::UnknownCommand, word));
        }
        reader.at += 1;
    }
    // Behind the command, or behind the option that stands for it.
    reader.parsed.command_at = reader.at - 1;
    reader.command(named)
}

/// Reads the arguments of a command that is known already.
///
/// # Errors
/// As [`parse`].
pub fn parse_command<'a, W: Word>(command: &'a [u8], words: &'a [W]) -> Result<'a, Parsed<'a>> {
    let reader = Reader::new(words);
    let Some(table) = Table::of_command(command) else {
        return Err(reader.refusal(RefusalKind::UnknownCommand, command));
    };
    reader.command(Some(table))
}

struct Reader<'a, W> {
    words: &'a [W],
    at: usize,
    parsed: Parsed<'a>,
}

impl<'a, W: Word> Reader<'a, W> {
    fn new(words: &'a [W]) -> Self {
        let parsed = Parsed {
            items: Vec::with_capacity(words.len() + 2),
            globals: 0,
            command: None,
            top: None,
            command_at: 0,
            separator: None,
        };
        Reader { words, at: 0, parsed }
    }

    fn word(&self) -> Option<&'a [u8]> {
        self.words.get(self.at).map(Word::bytes)
    }

    fn refusal(&self, kind: RefusalKind, word: &'a [u8]) -> Refusal<'a> {
        let command = self.parsed.command.map_or("", Table::name);
        Refusal {
            kind,
            command,
            word,
            at: self.at,
        }
    }

    fn push(&mut self, at: usize, kind: Kind, word: &'a [u8], value: Option<&'a [u8]>) {
        let at = at as u32;
        self.parsed.items.push(Given { kind, word, value, at });
    }

    /// An option of git itself; none if it is none. Each is a word of its own, written out.
    fn global(&mut self, table: Table, word: &'a [u8]) -> Result<'a, Option<OptionId>> {
        let (id, attached) = match word.strip_prefix(b"--") {
            Some(long) => {
                let (name, attached) = split(long);
                (table.long(name), attached)
            }
            None => match word {
                [_, letter] => (table.short(*letter), None),
                _ => (None, None),
            },
        };
        // Where a letter stands for a long option too, the table has it so.
        let Some(id) = id else { return Ok(None) };
        let is_letter = id.long().len() == 1;
        if is_letter && word.starts_with(b"--") {
            return Ok(None);
        }
        let at = self.at;
        let value = self.value_of(id, word, attached, None)?;
        self.push(at, Kind::Option { id, negated: false }, word, value);
        self.at += 1;
        Ok(Some(id))
    }

    /// The value for an option, which may be the next word.
    fn value_of(
        &mut self,
        id: OptionId,
        word: &'a [u8],
        attached: Option<&'a [u8]>,
        rest: Option<&'a [u8]>,
    ) -> Result<'a, Option<&'a [u8]>> {
        let attached = attached.or(rest.filter(|rest| !rest.is_empty()));
        match (id.value(), attached) {
            (Value::None, None) | (Value::Optional, _) | (Value::Required | Value::Attached, Some(_)) => Ok(attached),
            (Value::None, Some(_)) => Err(self.refusal(RefusalKind::UnexpectedValue, word)),
            (Value::Attached, None) => Err(self.refusal(RefusalKind::MissingValue, word)),
            (Value::Required, None) => match self.words.get(self.at + 1) {
                Some(next) => {
                    self.at += 1;
                    Ok(Some(next.bytes()))
                }
                None => Err(self.refusal(RefusalKind::MissingValue, word)),
            },
        }
    }

    fn command(mut self, table: Option<Table>) -> Result<'a, Parsed<'a>> {
        self.parsed.command = table;
        self.parsed.top = table;
        let Some(mut table) = table else { return Ok(self.parsed) };
        let mut operands = 0;
        let mut options_end = false;
        while let Some(word) = self.word() {
            if word == b"--" && self.parsed.separator.is_none() {
                self.parsed.separator = Some(operands);
                options_end = true;
            } else if options_end || !word.starts_with(b"-") || word == b"-" {
                if operands == 0
                    && !options_end
                    && table.has_subcommands()
                    && let Some(found) = table.subcommand(word)
                {
                    table = found;
                    self.parsed.command = Some(table);
                } else {
                    self.push(self.at, Kind::Operand, word, None);
                    operands += 1;
                    options_end |= table.stops_at_operand();
                }
            } else if word == b"--end-of-options" && !table.is_open() {
                options_end = true;
            } else if let Some(long) = word.strip_prefix(b"--") {
                self.long(table, word, long)?;
            } else {
                self.letters(table, word)?;
            }
            self.at += 1;
        }
        Ok(self.parsed)
    }

    fn long(&mut self, table: Table, word: &'a [u8], long: &'a [u8]) -> Result<'a, ()> {
        let (name, attached) = split(long);
        let found = match written_out(table, name) {
            Some(found) => found,
            None => match self.abbreviated(table, word, name)? {
                Some(found) => found,
                None if table.is_open() => {
                    self.push(self.at, Kind::Opaque, word, None);
                    return Ok(());
                }
                None => return Err(self.refusal(RefusalKind::UnknownOption, word)),
            },
        };
        let (id, off) = found;
        let at = self.at;
        let value = if off {
            if attached.is_some() {
                return Err(self.refusal(RefusalKind::UnexpectedValue, word));
            }
            None
        } else {
            self.value_of(id, word, attached, None)?
        };
        // `--no-no-verify` is `--verify`.
        let negated = off != id.says_no();
        self.push(at, Kind::Option { id, negated }, word, value);
        Ok(())
    }

    /// The one option that begins so.
    fn abbreviated(&self, table: Table, word: &'a [u8], name: &[u8]) -> Result<'a, Option<(OptionId, bool)>> {
        let mut found = None;
        for part in std::iter::once(table).chain(table.sets()) {
            if part.is_written_out() || part.keeps_unknown() || table.keeps_unknown() {
                continue;
            }
            let on = part.beginning(name).map(|id| (id, false));
            let stem = if b"no-".starts_with(name) {
                Some(&b""[..])
            } else {
                name.strip_prefix(b"no-")
            };
            let off = stem
                .into_iter()
                .flat_map(|stem| part.beginning(stem))
                .filter(|id| id.is_negatable());
            for option in on.chain(off.map(|id| (id, true))) {
                if found.is_some_and(|found| found != option) {
                    return Err(self.refusal(RefusalKind::AmbiguousOption, word));
                }
                found = Some(option);
            }
        }
        Ok(found)
    }

    /// `-abc`, `-n5`, `-5`.
    fn letters(&mut self, table: Table, word: &'a [u8]) -> Result<'a, ()> {
        let letters = word.get(1..).unwrap_or_default();
        let parts = || std::iter::once(table).chain(table.sets());
        let first = letters.first().copied().unwrap_or_default();
        let home = parts().find(|part| part.short(first).is_some());
        if home.is_none() && letters.iter().all(u8::is_ascii_digit) && parts().any(Table::takes_numbers) {
            self.push(self.at, Kind::Number, word, Some(letters));
            return Ok(());
        }
        // Letters share a word only with those that the same part of git reads.
        let implicit = || Some(Table::EVERY).filter(|table| letters.len() == 1 && table.short(first).is_some());
        let Some(home) = home.or_else(implicit) else {
            if table.is_open() {
                self.push(self.at, Kind::Opaque, word, None);
                return Ok(());
            }
            return Err(self.refusal(RefusalKind::UnknownOption, word));
        };
        let (mut rest, at) = (letters, self.at);
        while let Some((letter, behind)) = rest.split_first() {
            let Some(id) = home.short(*letter) else {
                return Err(self.refusal(RefusalKind::UnknownOption, word));
            };
            let negated = id.says_no();
            if id.value() == Value::None {
                if !behind.is_empty() && home.is_written_out() {
                    return Err(self.refusal(RefusalKind::UnknownOption, word));
                }
                self.push(at, Kind::Option { id, negated }, word, None);
                rest = behind;
                continue;
            }
            let value = self.value_of(id, word, None, Some(behind))?;
            self.push(at, Kind::Option { id, negated }, word, value);
            break;
        }
        Ok(())
    }
}

/// The option with this name, and whether `no-` turned it off.
fn written_out(table: Table, name: &[u8]) -> Option<(OptionId, bool)> {
    let find = |part: Table| {
        part.long(name).map(|id| (id, false)).or_else(|| {
            let stem = name.strip_prefix(b"no-")?;
            part.long(stem).filter(|id| id.is_negatable()).map(|id| (id, true))
        })
    };
    std::iter::once(table)
        .chain(table.sets())
        .find_map(find)
        .or_else(|| find(Table::EVERY))
}

fn split(long: &[u8]) -> (&[u8], Option<&[u8]>) {
    match long.iter().position(|&byte| byte == b'=') {
        Some(at) => (long.get(..at).unwrap_or_default(), long.get(at + 1..)),
        None => (long, None),
    }
}
