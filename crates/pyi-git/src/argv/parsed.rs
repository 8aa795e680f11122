//! What an argument vector says.

use super::table::{OptionId, Table};

/// An argument vector, taken apart. It borrows the words.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    pub(super) items: Vec<Given<'a>>,
    pub(super) globals: usize,
    pub(super) command: Option<Table>,
    /// The command itself, where a subcommand's table is in use.
    pub(super) top: Option<Table>,
    pub(super) command_at: usize,
    pub(super) separator: Option<usize>,
}

/// One thing that was given.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What it is.
    pub kind: Kind,
    /// The word that it stands in, whole.
    pub word: &'a [u8],
    /// An option's value.
    pub value: Option<&'a [u8]>,
    /// Which word of the vector it is in.
    pub at: u32,
}

/// What a word, or a letter of a word, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No option: a revision, a path, ...
    Operand,
    /// An option.
    Option {
        /// Which.
        id: OptionId,
        /// Whether it was said with `no-`.
        negated: bool,
    },
    /// `-<number>`; the value is the number.
    Number,
    /// An option of a command whose options are not all known.
    Opaque,
}

impl<'a> Given<'a> {
    /// The option's name without `no-`, or its letter if it has no other.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Option { id, .. } => Some(id.name()),
            _ => None,
        }
    }

    /// The option, and whether it was said with `no-`.
    #[must_use]
    pub fn option(&self) -> Option<(OptionId, bool)> {
        match self.kind {
            Kind::Option { id, negated } => Some((id, negated)),
            _ => None,
        }
    }

    /// The word, if it is an operand.
    #[must_use]
    pub fn operand(&self) -> Option<&'a [u8]> {
        (self.kind == Kind::Operand).then_some(self.word)
    }
}

impl<'a> Parsed<'a> {
    /// The command; `None` if there is none (`git`, `git --exec-path`). Git turns `--version` and `--help` into commands.
    #[must_use]
    pub fn command(&self) -> Option<&'static str> {
        self.top.map(Table::name)
    }

    /// The subcommand, if the first operand was one; it is not among the operands.
    #[must_use]
    pub fn subcommand(&self) -> Option<&'static str> {
        let (top, table) = (self.top?, self.command?);
        table.name().get(top.name().len() + 1..).filter(|name| !name.is_empty())
    }

    /// Where in the vector the command stands; what follows are its arguments.
    #[must_use]
    pub fn command_at(&self) -> usize {
        self.command_at
    }

    /// The options of git itself, in order.
    #[must_use]
    pub fn globals(&self) -> &[Given<'a>] {
        self.items.get(..self.globals).unwrap_or_default()
    }

    /// The last option of git itself with this name (`C`, `git-dir`).
    #[must_use]
    pub fn global(&self, name: &str) -> Option<&Given<'a>> {
        self.globals().iter().rev().find(|given| given.name() == Some(name))
    }

    /// What was given to the command, options and operands, in order.
    #[must_use]
    pub fn given(&self) -> &[Given<'a>] {
        self.items.get(self.globals..).unwrap_or_default()
    }

    /// The options of the command, in order.
    pub fn options(&self) -> impl DoubleEndedIterator<Item = &Given<'a>> {
        self.given().iter().filter(|given| given.kind != Kind::Operand)
    }

    /// The operands, in order.
    pub fn operands(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.given().iter().filter_map(Given::operand)
    }

    /// How many operands stand before `--`; `None` if there is no `--`.
    #[must_use]
    pub fn separator(&self) -> Option<usize> {
        self.separator
    }

    /// The last time that an option was given, with or without `no-`.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Given<'a>> {
        self.given().iter().rev().find(|given| given.name() == Some(name))
    }

    /// Whether an option is on (`Some(true)`), off by `no-` (`Some(false)`), or was not given. The last word counts.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.last(name)?.option().map(|(_, negated)| !negated)
    }

    /// Whether an option is on.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }

    /// The value of an option as it was last given; `None` if it was not, was turned off, or has no value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        let given = self.last(name)?;
        given
            .value
            .filter(|_| given.option().is_some_and(|(_, negated)| !negated))
    }

    /// The values of an option that counts each time; `no-` forgets those before it.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let given = self.given();
        let off = |given: &Given<'a>| given.value.is_none() && given.option().is_some_and(|(_, negated)| negated);
        let from = given
            .iter()
            .rposition(|given| given.name() == Some(name) && off(given))
            .map_or(0, |at| at + 1);
        let name = name.to_owned();
        let rest = given.get(from..).unwrap_or_default();
        rest.iter()
            .filter(move |given| given.name() == Some(&name))
            .filter_map(|given| given.value)
    }

    /// How many times an option was given since it was last turned off.
    #[must_use]
    pub fn times(&self, name: &str) -> usize {
        let named = self.given().iter().rev().filter(|given| given.name() == Some(name));
        named
            .take_while(|given| given.option().is_some_and(|(_, negated)| !negated))
            .count()
    }
}
