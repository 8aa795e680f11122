//! `pyi stats`: what a repository holds.

use clap::{ArgMatches, Command};

use super::Verb;
use crate::context::Context;
use crate::failure::{DONE, Result};
use crate::json::{Json, object};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "stats",
    about: "Show what the store holds, and its branches",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command.after_help(
        "Logical bytes are those of the files of all branches and named workspaces, as if each were stored on its own.\n\n\
         Examples:\n  \
         pyi stats\n  \
         pyi stats --json --store /srv/agents.pyi",
    )
}

fn run(_: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let stats = repository.stats()?;
    let branches = repository.branches()?;
    let superpositions = repository.superpositions()?;
    let ratio = match stats.bytes_stored {
        0 => None,
        stored => Some(stats.bytes_logical as f64 / stored as f64),
    };
    let json = || {
        let branches = branches
            .iter()
            .map(|(name, id)| (name.clone(), Json::from(id)))
            .collect();
        object([
            ("store", Json::from(repository.path().as_os_str().as_encoded_bytes())),
            ("objects", stats.objects.into()),
            ("segments", stats.segments.into()),
            ("bytes_stored", stats.bytes_stored.into()),
            ("bytes_logical", stats.bytes_logical.into()),
            ("files_logical", stats.files_logical.into()),
            ("dedup_ratio", ratio.map_or(Json::Null, Json::Float)),
            ("workspaces", stats.workspaces.into()),
            ("damaged", stats.damaged.into()),
            ("branches", Json::Object(branches)),
            (
                "superpositions",
                superpositions.iter().map(|name| Json::from(name.as_str())).collect(),
            ),
        ])
    };
    let lines = || {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let shared = ratio
            .filter(|ratio| *ratio >= 1.0)
            .map(|ratio| format!(" ({ratio:.1} times what is stored)"))
            .unwrap_or_default();
        let mut rows = vec![
            row("store", repository.path().display().to_string()),
            row(
                "objects",
                format!("{} in {}", stats.objects, text::count(stats.segments, "segment")),
            ),
            row("stored", text::size(stats.bytes_stored)),
            row(
                "logical",
                format!(
                    "{} in {}{shared}",
                    text::size(stats.bytes_logical),
                    text::count(stats.files_logical, "file")
                ),
            ),
            row("workspaces", stats.workspaces.to_string()),
        ];
        if stats.damaged > 0 {
            rows.push(row("damaged", text::count(stats.damaged, "place")));
        }
        rows.extend(superpositions.iter().map(|name| row("superposition", name.clone())));
        rows.extend(
            branches
                .iter()
                .map(|(name, id)| row("branch", format!("{} {name}", text::short(id)))),
        );
        text::table(&rows, 2)
    };
    context.answer(json, lines)?;
    Ok(DONE)
}
