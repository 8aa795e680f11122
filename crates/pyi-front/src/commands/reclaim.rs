//! `pyi reclaim`: what nobody keeps is removed.

use std::io::{IsTerminal, Write};

use clap::{Arg, ArgMatches, Command, value_parser};
use pyi_engine::GcOptions;

use super::Verb;
use crate::cli::flag;
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "reclaim",
    about: "Give back the space of what nothing keeps any more",
    arguments,
    run,
};

/// Characters of the progress bar.
const BAR: usize = 30;

fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("budget")
                .long("budget")
                .value_name("BYTES")
                .value_parser(bytes)
                .help("At most so much may stay (K, M, G, T: 1024 to the power of 1 to 4) [default: the store's cap]"),
        )
        .arg(flag("compact", "Rewrite everything, with the best compression"))
        .arg(
            Arg::new("keep-last")
                .long("keep-last")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("From now on keep only the last N checkpoints behind each head"),
        )
        .after_help(
            "Branches, named workspaces, kept checkpoints, living superpositions and what any process works on stay, with their history;\n\
             so does everything younger than the retention (24 hours, and the last 100 heads of each branch and workspace). With a\n\
             budget the oldest of what only retention keeps goes until the rest fits. If what is named does not fit, nothing is\n\
             removed (exit status 1). Others go on reading and writing meanwhile.\n\n\
             Examples:\n  \
             pyi reclaim\n  \
             pyi reclaim --budget 2G\n  \
             pyi reclaim --keep-last 50 --compact",
        )
}

/// A number of bytes, perhaps with a unit.
fn bytes(word: &str) -> std::result::Result<u64, String> {
    let (digits, shift) = match word.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&word[..at], 10),
        Some((at, 'M' | 'm')) => (&word[..at], 20),
        Some((at, 'G' | 'g')) => (&word[..at], 30),
        Some((at, 'T' | 't')) => (&word[..at], 40),
        _ => (word, 0),
    };
    let number = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift));
    number.ok_or_else(|| "a number of bytes, such as 500M".to_owned())
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    if let Some(last) = matches.get_one::<u64>("keep-last") {
        let mut retention = repository.retention()?;
        retention.history = Some(*last);
        repository.set_retention(&retention)?;
    }
    let show = std::io::stderr().is_terminal();
    let options = GcOptions {
        budget_bytes: matches.get_one::<u64>("budget").copied(),
        compact: matches.get_flag("compact"),
        progress: show.then_some(&bar as &(dyn Fn(&'static str, f64) + Sync)),
        ..GcOptions::default()
    };
    let report = repository.gc(&options);
    if show {
        // The bar leaves nothing behind.
        let _ = write!(std::io::stderr(), "\r{:width$}\r", "", width = BAR + 24);
    }
    let report = report?;
    if let Some(why) = &report.gave_up {
        return Err(Failure::failed(format!(
            "nothing was removed: {why}; run `pyi reclaim` again"
        )));
    }
    context.answer(
        || {
            object([
                ("bytes_before", Json::from(report.bytes_before)),
                ("bytes_after", report.bytes_after.into()),
                ("live_bytes", report.live_bytes.into()),
                ("objects_removed", report.objects_removed.into()),
                ("segments_removed", report.segments_removed.into()),
                ("seconds", Json::Float(report.seconds)),
            ])
        },
        || {
            format!(
                "{} stored, {} before; {} removed\n",
                text::size(report.bytes_after),
                text::size(report.bytes_before),
                text::count(report.objects_removed, "object")
            )
            .into_bytes()
        },
    )?;
    Ok(DONE)
}

/// Draws how far it is.
fn bar(phase: &'static str, share: f64) {
    let full = ((share.clamp(0.0, 1.0) * BAR as f64) as usize).min(BAR);
    let line = format!("\r[{}{}] {phase:<16}", "#".repeat(full), ".".repeat(BAR - full));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("17"), Ok(17));
        assert_eq!(bytes("500M"), Ok(500 << 20));
        assert_eq!(bytes("2t"), Ok(2 << 40));
        for wrong in ["", "M", "-1", "1.5G", "99999999999T", "1Z"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
