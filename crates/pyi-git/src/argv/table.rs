//! The options of git's commands, read from `options.txt` when this is compiled.
//!
//! The text is written by `tools/git_tables.py`, which explains its lines. The tables are numbers that point into it: nothing has to be relocated or
//! set up when a program starts.

const TEXT: &str = include_str!("options.txt");
const BYTES: &[u8] = TEXT.as_bytes();
const COUNTS: Counts = count();
const DATA: Data = read();

static OPTIONS: [Entry; COUNTS.options] = DATA.options;
static SHORTS: [Short; COUNTS.shorts] = DATA.shorts;
static TABLES: [TableEntry; COUNTS.tables] = DATA.tables;

/// Sets that one table can take options from.
const SETS_MAX: usize = 3;
/// No set.
const NO_SET: u16 = u16::MAX;

/// What stands behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    None,
    /// A value: attached, or the next word.
    Required,
    /// A value if it is attached.
    Optional,
    /// A value, attached.
    Attached,
}

#[derive(Clone, Copy)]
struct Entry {
    name_at: u16,
    name_len: u8,
    short: u8,
    value: Value,
    negatable: bool,
}

#[derive(Clone, Copy)]
struct Short {
    letter: u8,
    option: u16,
}

#[derive(Clone, Copy)]
struct TableEntry {
    name_at: u16,
    name_len: u8,
    flags: u8,
    options: (u16, u16),
    shorts: (u16, u16),
    sets: [u16; SETS_MAX],
}

const KEEPS_UNKNOWN: u8 = 1;
const WRITTEN_OUT: u8 = 2;
const STOPS: u8 = 4;
const NUMBERS: u8 = 8;
const SUBCOMMANDS: u8 = 16;
const OPEN: u8 = 32;

/// An option of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OptionId(u16);

/// The options of a command, or a set that several commands share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table(u16);

fn text(at: u16, len: u8) -> &'static str {
    let at = usize::from(at);
    TEXT.get(at..at + usize::from(len)).unwrap_or_default()
}

impl OptionId {
    fn entry(self) -> Entry {
        OPTIONS[usize::from(self.0)]
    }

    /// The long name, as it is listed (`no-verify`); empty if it has only a letter.
    #[must_use]
    pub fn long(self) -> &'static str {
        let entry = self.entry();
        text(entry.name_at, entry.name_len)
    }

    /// What it is about: the long name without `no-`, or the letter.
    #[must_use]
    pub fn name(self) -> &'static str {
        let entry = self.entry();
        if entry.name_len == 0 {
            // The text has the letter behind `- `.
            return text(entry.name_at + 2, 1);
        }
        let long = self.long();
        long.strip_prefix("no-").unwrap_or(long)
    }

    /// The letter of its short form.
    #[must_use]
    pub fn short(self) -> Option<u8> {
        Some(self.entry().short).filter(|&letter| letter != b'-')
    }

    /// What stands behind it.
    #[must_use]
    pub fn value(self) -> Value {
        self.entry().value
    }

    /// Whether `--no-` in front of the long name turns it off.
    #[must_use]
    pub fn is_negatable(self) -> bool {
        self.entry().negatable
    }

    /// Whether its listed name says no itself.
    #[must_use]
    pub fn says_no(self) -> bool {
        self.long().starts_with("no-")
    }
}

impl std::fmt::Debug for OptionId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.short() {
            Some(letter) if self.long().is_empty() => write!(out, "-{}", char::from(letter)),
            _ => write!(out, "--{}", self.long()),
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Table({})", self.name())
    }
}

impl Table {
    /// The options of git itself.
    pub(super) const GIT: Table = Table(find_table(b"git"));
    /// What every command takes that git's own parser serves.
    pub(super) const EVERY: Table = Table(find_table(b"*"));

    /// All tables, by name.
    pub fn all() -> impl Iterator<Item = Table> {
        (0..TABLES.len()).map(|at| Table(at as u16))
    }

    /// The table of a command; of a subcommand by both words (`stash push`). O(log commands).
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Table> {
        let found = TABLES.binary_search_by(|entry| text(entry.name_at, entry.name_len).as_bytes().cmp(name));
        found.ok().map(|at| Table(at as u16))
    }

    /// As [`Table::of`], for names that a user may give: the tables that are sets are nobody's command.
    #[must_use]
    pub fn of_command(name: &[u8]) -> Option<Table> {
        if name.contains(&b' ') || name == b"git" || name == b"*" {
            return None;
        }
        Table::of(name).filter(|table| !table.name().starts_with('+'))
    }

    /// The table of one of its subcommands. O(subcommands).
    #[must_use]
    pub fn subcommand(self, word: &[u8]) -> Option<Table> {
        let own = self.name();
        let below = TABLES.get(usize::from(self.0) + 1..).unwrap_or_default();
        let mut at = self.0;
        for entry in below {
            at += 1;
            let name = text(entry.name_at, entry.name_len).as_bytes();
            let rest = name.strip_prefix(own.as_bytes())?.strip_prefix(b" ")?;
            if rest == word {
                return Some(Table(at));
            }
        }
        None
    }

    fn entry(self) -> &'static TableEntry {
        &TABLES[usize::from(self.0)]
    }

    /// The command's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let entry = self.entry();
        text(entry.name_at, entry.name_len)
    }

    fn has(self, flag: u8) -> bool {
        self.entry().flags & flag != 0
    }

    /// Whether options that are not its own go to its sets, which know no abbreviations.
    #[must_use]
    pub fn keeps_unknown(self) -> bool {
        self.has(KEEPS_UNKNOWN)
    }

    /// Whether each option is a word of its own, written out.
    #[must_use]
    pub fn is_written_out(self) -> bool {
        self.has(WRITTEN_OUT)
    }

    /// Whether options end at the first operand.
    #[must_use]
    pub fn stops_at_operand(self) -> bool {
        self.has(STOPS)
    }

    /// Whether `-<number>` is an option.
    #[must_use]
    pub fn takes_numbers(self) -> bool {
        self.has(NUMBERS)
    }

    /// Whether the first operand may be a subcommand.
    #[must_use]
    pub fn has_subcommands(self) -> bool {
        self.has(SUBCOMMANDS)
    }

    /// Whether it may have options that are not listed.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.has(OPEN)
    }

    /// Its own options.
    pub fn options(self) -> impl Iterator<Item = OptionId> {
        let (first, end) = self.entry().options;
        (first..end).map(OptionId)
    }

    /// The sets that it takes options from besides.
    pub fn sets(self) -> impl Iterator<Item = Table> {
        self.entry().sets.into_iter().filter(|&set| set != NO_SET).map(Table)
    }

    /// Its own option of this name. O(log options).
    #[must_use]
    pub fn long(self, name: &[u8]) -> Option<OptionId> {
        let (first, end) = self.entry().options;
        let own = OPTIONS.get(usize::from(first)..usize::from(end)).unwrap_or_default();
        let found = own.binary_search_by(|entry| text(entry.name_at, entry.name_len).as_bytes().cmp(name));
        found
            .ok()
            .map(|at| OptionId(first + at as u16))
            .filter(|_| !name.is_empty())
    }

    /// Its own options whose names begin so. O(log options + found).
    pub fn beginning(self, start: &[u8]) -> impl Iterator<Item = OptionId> {
        let (first, end) = self.entry().options;
        let own = OPTIONS.get(usize::from(first)..usize::from(end)).unwrap_or_default();
        let from = own.partition_point(|entry| text(entry.name_at, entry.name_len).as_bytes() < start);
        (first + from as u16..end)
            .map(OptionId)
            .take_while(move |option| option.long().as_bytes().starts_with(start))
            .filter(|option| !option.long().is_empty())
    }

    /// Its own option with this letter. O(letters).
    #[must_use]
    pub fn short(self, letter: u8) -> Option<OptionId> {
        let (first, end) = self.entry().shorts;
        let own = SHORTS.get(usize::from(first)..usize::from(end)).unwrap_or_default();
        own.iter()
            .find(|short| short.letter == letter)
            .map(|short| OptionId(short.option))
    }
}

// What follows runs in the compiler.

struct Counts {
    options: usize,
    shorts: usize,
    tables: usize,
}

struct Data {
    options: [Entry; COUNTS.options],
    shorts: [Short; COUNTS.shorts],
    tables: [TableEntry; COUNTS.tables],
}

const fn line_end(mut at: usize) -> usize {
    while BYTES[at] != b'\n' {
        at += 1;
    }
    at
}

const fn word_end(mut at: usize) -> usize {
    while BYTES[at] != b'\n' && BYTES[at] != b' ' {
        at += 1;
    }
    at
}

/// Where an option's letter stands.
const fn letter_at(line: usize) -> usize {
    word_end(line) + 1
}

const fn count() -> Counts {
    let mut counts = Counts {
        options: 0,
        shorts: 0,
        tables: 0,
    };
    let mut at = 0;
    while at < BYTES.len() {
        match BYTES[at] {
            b'#' => {}
            b'@' => counts.tables += 1,
            _ => {
                counts.options += 1;
                if BYTES[letter_at(at)] != b'-' {
                    counts.shorts += 1;
                }
            }
        }
        at = line_end(at) + 1;
    }
    counts
}

const fn read() -> Data {
    assert!(BYTES.len() < u16::MAX as usize);
    let entry = Entry {
        name_at: 0,
        name_len: 0,
        short: b'-',
        value: Value::None,
        negatable: false,
    };
    let table = TableEntry {
        name_at: 0,
        name_len: 0,
        flags: 0,
        options: (0, 0),
        shorts: (0, 0),
        sets: [NO_SET; SETS_MAX],
    };
    let mut data = Data {
        options: [entry; COUNTS.options],
        shorts: [Short { letter: 0, option: 0 }; COUNTS.shorts],
        tables: [table; COUNTS.tables],
    };
    let (mut options, mut shorts, mut tables) = (0, 0, 0);
    let mut at = 0;
    while at < BYTES.len() {
        match BYTES[at] {
            b'#' => {}
            b'@' => {
                data.tables[tables] = header(at, options, shorts);
                tables += 1;
            }
            _ => {
                let option = read_option(at);
                if option.short != b'-' {
                    data.shorts[shorts] = Short {
                        letter: option.short,
                        option: options as u16,
                    };
                    shorts += 1;
                }
                data.options[options] = option;
                options += 1;
                data.tables[tables - 1].options.1 = options as u16;
                data.tables[tables - 1].shorts.1 = shorts as u16;
            }
        }
        at = line_end(at) + 1;
    }
    data
}

/// `LONG SHORT VALUE`, where the last is `.`, `=`, `?`, `~` or `~?`, and perhaps `!`.
const fn read_option(at: usize) -> Entry {
    let letter = letter_at(at);
    let value = letter + 2;
    let end = line_end(at);
    let has_long = BYTES[at] != b'-';
    Entry {
        name_at: at as u16,
        name_len: if has_long { (letter - 1 - at) as u8 } else { 0 },
        short: BYTES[letter],
        value: match BYTES[value] {
            b'.' => Value::None,
            b'=' => Value::Required,
            b'?' => Value::Optional,
            _ if BYTES[value + 1] == b'?' => Value::Optional,
            _ => Value::Attached,
        },
        negatable: BYTES[end - 1] == b'!',
    }
}

/// `@NAME FLAGS +SET ...`; a name may have a space in it, so that flags are the first word that is no name.
const fn header(at: usize, options: usize, shorts: usize) -> TableEntry {
    let end = line_end(at);
    // Flags are followed by a set or the end of the line.
    let mut flags_at = word_end(at) + 1;
    let mut next = word_end(flags_at);
    while next < end && BYTES[next + 1] != b'+' {
        flags_at = next + 1;
        next = word_end(flags_at);
    }
    let mut flags = 0;
    let mut letter = flags_at;
    while letter < next {
        flags |= match BYTES[letter] {
            b'k' => KEEPS_UNKNOWN,
            b'x' => WRITTEN_OUT,
            b's' => STOPS,
            b'n' => NUMBERS,
            b'g' => SUBCOMMANDS,
            b'o' => OPEN,
            other => {
                assert!(other == b'.', "a flag that nobody knows");
                0
            }
        };
        letter += 1;
    }
    let mut sets = [NO_SET; SETS_MAX];
    let mut count = 0;
    while next < end {
        let set = next + 1;
        next = word_end(set);
        sets[count] = find_set(set, next);
        count += 1;
    }
    TableEntry {
        name_at: (at + 1) as u16,
        name_len: (flags_at - 1 - (at + 1)) as u8,
        flags,
        options: (options as u16, options as u16),
        shorts: (shorts as u16, shorts as u16),
        sets,
    }
}

/// The number of the table that a set names: `+diff` itself, or the command behind the `+`, `_` for a space.
const fn find_set(from: usize, to: usize) -> u16 {
    let mut table = 0;
    let mut at = 0;
    loop {
        assert!(at < BYTES.len(), "a set that is not there");
        if BYTES[at] == b'@' {
            if same_name(at + 1, from, to) || same_name(at + 1, from + 1, to) {
                return table;
            }
            table += 1;
        }
        at = line_end(at) + 1;
    }
}

const fn find_table(wanted: &[u8]) -> u16 {
    let mut table = 0;
    let mut at = 0;
    loop {
        assert!(at < BYTES.len(), "a table that is not there");
        if BYTES[at] == b'@' {
            let mut same = 0;
            while same < wanted.len() && BYTES[at + 1 + same] == wanted[same] {
                same += 1;
            }
            if same == wanted.len() && BYTES[at + 1 + same] == b' ' {
                return table;
            }
            table += 1;
        }
        at = line_end(at) + 1;
    }
}

const fn same_name(mut name: usize, mut from: usize, to: usize) -> bool {
    while from < to {
        let byte = if BYTES[from] == b'_' { b' ' } else { BYTES[from] };
        if BYTES[name] != byte {
            return false;
        }
        name += 1;
        from += 1;
    }
    // Behind a name of one word stand flags; sets of two words are written with `_`.
    BYTES[name] == b' '
}
