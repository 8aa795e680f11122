//! `pyi fsck-store`: the quick check of a store's structure.

use clap::{ArgMatches, Command};

use super::Verb;
use crate::context::Context;
use crate::failure::{DONE, NEGATIVE, Result};
use crate::json::{Json, object};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "fsck-store",
    about: "Check the store's structure quickly: headers, indexes, ref log, refs",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command.after_help(
        "Reads no contents: `pyi scrub` does. Exit status: 0 all is well, 1 something is damaged.\n\n\
         Examples:\n  \
         pyi fsck-store\n  \
         pyi fsck-store --json --store /srv/agents.pyi",
    )
}

fn run(_: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let report = repository.check()?;
    let clean = report.faults.is_empty() && report.broken.is_empty();
    let json = || {
        let places = report.faults.iter().map(|fault| {
            object([
                ("file", Json::from(fault.file.to_string().as_str())),
                ("offset", fault.offset.into()),
                ("length", fault.length.into()),
                ("flaw", fault.flaw.word().into()),
            ])
        });
        let broken = report
            .broken
            .iter()
            .map(|(name, id)| object([("ref", Json::from(name.as_str())), ("missing", Json::from(id))]));
        object([
            ("clean", clean.into()),
            ("objects", report.objects.into()),
            ("segments", report.segments.into()),
            ("refs", report.refs.into()),
            ("places", places.collect()),
            ("broken", broken.collect()),
            ("seconds", Json::Float(report.seconds)),
        ])
    };
    let lines = || {
        let mut lines = String::new();
        for fault in &report.faults {
            lines.push_str(&format!("damaged: {fault}\n"));
        }
        for (name, id) in &report.broken {
            lines.push_str(&format!("broken: {name} needs {id}, which is not there\n"));
        }
        let verdict = if clean {
            "all is well"
        } else {
            "damaged; `pyi scrub` tells what that affects and repairs it"
        };
        lines.push_str(&format!(
            "{} in {}, {}: {verdict}\n",
            text::count(report.objects, "object"),
            text::count(report.segments, "segment"),
            text::count(report.refs, "ref"),
        ));
        lines.into_bytes()
    };
    context.answer(json, lines)?;
    Ok(if clean { DONE } else { NEGATIVE })
}
