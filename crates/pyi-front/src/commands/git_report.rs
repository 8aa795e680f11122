//! `pyi git-report`: which git commands ran here, which in git, and why.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Verb;
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::git::report::{self, Counts, Way};
use crate::json::{Json, object};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "git-report",
    about: "Show which git commands ran natively, and why others did not",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("reset")
                .long("reset")
                .action(ArgAction::SetTrue)
                .help("Forget the counts, and turn on again what a difference turned off"),
        )
        .after_help(
            "Nothing is counted with PYI_GIT_REPORT=off. PYI_GIT_NATIVE=off lets git run everything.\n\n\
             Examples:\n  pyi git-report\n  pyi git-report --json\n  pyi git-report --reset",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let Some(directory) = report::directory() else {
        return Err(Failure::negative(
            "there is no place for a report; set HOME or XDG_STATE_HOME",
        ));
    };
    let failed =
        |error: std::io::Error| Failure::failed(format!("{}: {error}; check its permissions", directory.display()));
    let counts = report::read(&directory).map_err(failed)?;
    let off = report::turned_off(&directory);
    let reset = matches.get_flag("reset");
    if reset {
        report::reset(&directory).map_err(failed)?;
    }
    let json = || {
        object([
            ("directory", Json::from(directory.as_os_str().as_encoded_bytes())),
            ("native_commands", crate::git::names().map(Json::from).collect()),
            (
                "commands",
                Json::Object(
                    counts
                        .iter()
                        .map(|(name, ways)| (name.clone(), command_json(ways)))
                        .collect(),
                ),
            ),
            ("off", off.iter().map(|name| Json::from(name.as_str())).collect()),
            ("reset", Json::Bool(reset)),
        ])
    };
    context.answer(json, || lines(&counts, &off, reset))?;
    Ok(DONE)
}

type Ways = std::collections::BTreeMap<(Way, String), u64>;

fn total(ways: &Ways, way: Way) -> u64 {
    ways.iter()
        .filter(|((of, _), _)| *of == way)
        .map(|(_, count)| count)
        .sum()
}

fn command_json(ways: &Ways) -> Json {
    let reasons = ways.iter().filter(|((way, _), _)| *way == Way::Git);
    object([
        ("native", Json::from(total(ways, Way::Native))),
        ("git", total(ways, Way::Git).into()),
        ("equal", total(ways, Way::Equal).into()),
        ("mismatch", total(ways, Way::Mismatch).into()),
        (
            "reasons",
            Json::Object(
                reasons
                    .map(|((_, reason), count)| (reason.clone(), Json::from(*count)))
                    .collect(),
            ),
        ),
    ])
}

fn lines(counts: &Counts, off: &[String], reset: bool) -> Vec<u8> {
    let mut rows = Vec::new();
    for (name, ways) in counts {
        for ((way, reason), count) in ways {
            rows.push(vec![
                name.clone(),
                way.name().to_owned(),
                count.to_string(),
                reason.clone(),
            ]);
        }
    }
    rows.extend(
        off.iter()
            .map(|name| vec![name.clone(), "off".into(), String::new(), "a difference".into()]),
    );
    if rows.is_empty() {
        return b"nothing was counted yet\n".to_vec();
    }
    let mut out = text::table(&rows, 2);
    if reset {
        out.extend_from_slice(b"forgotten from here on\n");
    }
    out
}
