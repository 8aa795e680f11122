//! `pyi completion`: the script that completes pyi's verbs and options in a shell.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches, Command};
use clap_complete::{Shell, generate};

use super::Verb;
use crate::cli::{text, whole};
use crate::context::Context;
use crate::failure::{DONE, Result};
use crate::json::{Json, object};

pub(super) const VERB: Verb = Verb {
    name: "completion",
    about: "Print the completion script for a shell",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(["bash", "zsh", "fish"])
                .help("The shell"),
        )
        .after_help(
            "Examples:\n  \
             pyi completion bash > ~/.local/share/bash-completion/completions/pyi\n  \
             pyi completion zsh > ~/.zfunc/_pyi\n  \
             pyi completion fish > ~/.config/fish/completions/pyi.fish",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let name = text(matches, "shell");
    let shell = match name {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    let mut command = whole();
    generate(shell, &mut command, "pyi", &mut script);
    if shell == Shell::Fish {
        script.extend(words_for_fish(&command).into_bytes());
    }
    let json = object([("shell", Json::from(name)), ("script", Json::from(script.as_slice()))]);
    context.answer(|| json, || script)?;
    Ok(DONE)
}

/// The words that may stand behind a verb: what clap writes for fish has options and no words.
fn words_for_fish(command: &Command) -> String {
    let mut lines = String::new();
    for verb in command.get_subcommands() {
        let words: Vec<String> = verb
            .get_positionals()
            .flat_map(Arg::get_possible_values)
            .map(|word| word.get_name().to_owned())
            .collect();
        if !words.is_empty() {
            let _ = writeln!(
                lines,
                "complete -c pyi -n \"__fish_pyi_using_subcommand {}\" -f -a \"{}\"",
                verb.get_name(),
                words.join(" ")
            );
        }
    }
    lines
}
