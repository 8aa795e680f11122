//! From words to a verb: options before it, its own parser, help.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use crate::commands::{self, Verb};
use crate::context::{Context, print};
use crate::failure::{DONE, Failure, Result, USAGE};
use crate::handover;

/// Options that may stand before the verb. `-C` alone may stand before a git command too, which has it under the same name.
#[derive(Debug, Default)]
pub(crate) struct Leading {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) store: Option<PathBuf>,
    pub(crate) json: bool,
    /// How many arguments these are.
    pub(crate) taken: usize,
}

impl Leading {
    /// Reads them up to the first argument that is none of them.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self> {
        let mut leading = Leading::default();
        while let Some(word) = args.get(leading.taken).and_then(|word| word.to_str()) {
            let value = args.get(leading.taken + 1).map(PathBuf::from);
            match word {
                "-C" | "--store" if value.is_none() => {
                    return Err(Failure::usage(format!("{word} needs a directory; see pyi --help")));
                }
                "-C" => leading.directories.extend(value),
                "--store" => leading.store = value,
                "--json" => {
                    leading.json = true;
                    leading.taken += 1;
                    continue;
                }
                _ => break,
            }
            leading.taken += 2;
        }
        Ok(leading)
    }

    /// Goes to the directory that `-C` names (one after the other, as git does).
    pub(crate) fn enter(&self) -> Result<()> {
        for directory in self
            .directories
            .iter()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            std::env::set_current_dir(directory).map_err(|error| {
                Failure::usage(format!(
                    "cannot enter {}: {error}; -C takes a directory that is there",
                    directory.display()
                ))
            })?;
        }
        Ok(())
    }
}

/// Parses the arguments behind a verb and runs it.
pub(crate) fn run(verb: &Verb, args: &[OsString], mut leading: Leading) -> Result<u8> {
    let name = format!("pyi {}", verb.name);
    let parser = parser(verb).bin_name(&*name).no_binary_name(true);
    let matches = match parser.try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            print(error.to_string().as_bytes())?;
            return Ok(DONE);
        }
        Err(error) => return Err(wrong_usage(&name, &error)),
    };
    leading
        .directories
        .extend(matches.get_many::<PathBuf>("directory").into_iter().flatten().cloned());
    leading.enter()?;
    let store = matches.get_one::<PathBuf>("store").cloned().or(leading.store);
    let context = Context::new(store.or_else(named_store), leading.json || matches.get_flag("json"));
    (verb.run)(&matches, &context).map_err(|failure| failure.or_see(&name))
}

/// The store that the environment names.
pub(crate) fn named_store() -> Option<PathBuf> {
    std::env::var_os("PYI_STORE")
        .filter(|store| !store.is_empty())
        .map(PathBuf::from)
}

/// The parser of one verb, common options included.
fn parser(verb: &Verb) -> Command {
    let command = Command::new(verb.name).about(verb.about);
    (verb.arguments)(command).disable_help_flag(true).args(anywhere()).arg(
        common("help")
            .short('h')
            .long("help")
            .action(ArgAction::Help)
            .help("Print this help"),
    )
}

fn common(name: &'static str) -> Arg {
    Arg::new(name).help_heading("Common options").display_order(100)
}

/// The options that may stand before a verb as well as behind it.
fn anywhere() -> [Arg; 3] {
    [
        common("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print one JSON document on standard output"),
        common("store")
            .long("store")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::DirPath)
            .help("The store [default: PYI_STORE, or that of the repository here or above]"),
        common("directory")
            .short('C')
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::DirPath)
            .action(ArgAction::Append)
            .help("Run as if started in DIR"),
    ]
}

/// Everything that is wrong with the arguments, in one line.
fn wrong_usage(name: &str, error: &clap::Error) -> Failure {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let words: Vec<&str> = first.split_whitespace().collect();
    Failure::new(
        USAGE,
        format!("{}; see {name} --help", words.join(" ").trim_end_matches('.')),
    )
}

/// The whole command as one parser, for completion.
pub(crate) fn whole() -> Command {
    let mut command = Command::new("pyi")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .args(anywhere())
        .arg(
            Arg::new("workspace")
                .short('w')
                .long("workspace")
                .value_name("NAME")
                .help("Run a git command on this workspace"),
        )
        .disable_help_subcommand(true);
    for verb in commands::VERBS {
        command = command.subcommand(parser(verb));
    }
    for verb in commands::PYTHON_VERBS {
        let rest = Arg::new("arguments").num_args(0..).value_hint(ValueHint::AnyPath);
        command = command.subcommand(Command::new(verb.name).about(verb.about).arg(rest));
    }
    let verbs: Vec<&'static str> = commands::VERBS
        .iter()
        .map(|verb| verb.name)
        .chain(commands::PYTHON_VERBS.iter().map(|verb| verb.name))
        .collect();
    let topic = Arg::new("topic").value_name("VERB").value_parser(verbs);
    command.subcommand(
        Command::new("help")
            .about("Print the help of a verb")
            .disable_help_flag(true)
            .arg(topic),
    )
}

const ABOUT: &str = "The state engine under a swarm of AI agents; every git command works under its own name";

pub(crate) fn print_version() -> Result<u8> {
    print(concat!("pyi version ", env!("CARGO_PKG_VERSION"), "\n").as_bytes())?;
    Ok(DONE)
}

/// The list of verbs; on stderr and with the status of wrong usage if there was no verb at all.
pub(crate) fn print_help(missing: bool) -> Result<u8> {
    let mut text = format!(
        "{ABOUT}.\n\nUsage: pyi [-C DIR] [--store DIR] VERB [ARGUMENTS]\n       pyi GIT-COMMAND [ARGUMENTS]\n       pyi -w WORKSPACE GIT-COMMAND [ARGUMENTS]\n"
    );
    for (title, group) in commands::GROUPS {
        let _ = write!(text, "\n{title}:\n");
        for name in *group {
            let native = commands::verb(name).map(|verb| verb.about);
            let about = native
                .or(commands::python_verb(name).map(|verb| verb.about))
                .unwrap_or_default();
            let _ = writeln!(text, "  {name:<14} {about}");
        }
    }
    text.push_str(
        "\nEverything else is git's: `pyi status`, `pyi log`, `pyi commit` do what git does, with its exit status.\n\
         `pyi -w WORKSPACE status` does it on a named workspace, without a directory.\n\
         \n`pyi VERB --help` and `pyi help VERB` tell more. Engine verbs take --json, --store DIR (or PYI_STORE) and -C DIR.\n\
         Exit status: 0 done, 1 a negative answer, 2 wrong usage, 3 a failed run.\n",
    );
    if missing {
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Ok(USAGE);
    }
    print(text.as_bytes())?;
    Ok(DONE)
}

/// `pyi help [VERB]`; `None` if it is git's to help.
pub(crate) fn help(rest: &[OsString]) -> Result<Option<u8>> {
    let Some(topic) = rest.first() else {
        return print_help(false).map(Some);
    };
    let name = topic.to_str().unwrap_or_default();
    let flag = [OsString::from("--help")];
    if let Some(verb) = commands::verb(name) {
        return run(verb, &flag, Leading::default()).map(Some);
    }
    if let Some(verb) = commands::python_verb(name) {
        return crate::python::run(verb.name, &flag, &Leading::default()).map(Some);
    }
    if handover::installed_git().is_none() && !name.starts_with('-') {
        return Err(Failure::usage(format!(
            "pyi has no verb {name:?}; `pyi help` lists them"
        )));
    }
    Ok(None)
}

/// A required text argument.
pub(crate) fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    optional(matches, name).unwrap_or_default()
}

/// An optional text argument.
pub(crate) fn optional<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// An optional path.
pub(crate) fn path<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a PathBuf> {
    matches.get_one::<PathBuf>(name)
}

/// A positional text argument.
pub(crate) fn word(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value).help(help).value_parser(not_empty)
}

fn not_empty(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() {
        Err("it is empty".into())
    } else {
        Ok(text.to_owned())
    }
}

/// A positional path argument.
pub(crate) fn place(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name(value)
        .help(help)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::DirPath)
}

/// An option with a text value.
pub(crate) fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    word(name, value, help).long(name)
}

/// An option without a value.
pub(crate) fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

/// `-m`, `--message`.
pub(crate) fn message(help: &'static str) -> Arg {
    Arg::new("message")
        .short('m')
        .long("message")
        .value_name("TEXT")
        .help(help)
        .value_parser(value_parser!(String))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn every_parser_is_sound() {
        whole().debug_assert();
        for verb in commands::VERBS {
            parser(verb).debug_assert();
        }
    }

    #[test]
    fn every_verb_is_in_one_group() {
        let mut listed: Vec<&str> = commands::GROUPS
            .iter()
            .flat_map(|(_, group)| group.iter().copied())
            .collect();
        listed.sort_unstable();
        let natives = commands::VERBS.iter().map(|verb| verb.name);
        let mut known: Vec<&str> = natives
            .chain(commands::PYTHON_VERBS.iter().map(|verb| verb.name))
            .collect();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn leading_options_end_at_the_verb() {
        let leading = Leading::parse(&words(&["-C", "a", "--json", "-C", "b", "stats", "--store", "x"])).unwrap();
        assert_eq!((leading.taken, leading.json, leading.store), (5, true, None));
        assert_eq!(leading.directories, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(Leading::parse(&words(&["--no-pager", "log"])).unwrap().taken, 0);
        assert!(Leading::parse(&words(&["--store"])).is_err());
    }

    #[test]
    fn help_is_complete() {
        for verb in commands::VERBS {
            let help = parser(verb).render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}: no examples", verb.name);
            assert!(help.contains("--json") && help.contains("--store"), "{}", verb.name);
        }
    }
}
