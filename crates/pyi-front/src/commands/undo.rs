//! `pyi undo`: branches and names go back to where they stood.

use clap::{Arg, ArgMatches, Command, value_parser};
use pyi_engine::{Operation, RefMove};

use super::Verb;
use crate::cli::flag;
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "undo",
    about: "Take back what was done to branches and workspaces",
    arguments,
    run,
};

/// Operations that `--list` shows if nothing else is said.
const LISTED: usize = 20;

fn arguments(command: Command) -> Command {
    let number = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .help(help)
            .value_parser(value_parser!(u64))
    };
    command
        .arg(flag("list", "Only show the last operations, newest first"))
        .arg(number("steps", "N", "Take back (or list) the last N operations [default: 1; listed: 20]"))
        .arg(number("at", "POSITION", "Take back the operation that --list shows there, and no other").conflicts_with("steps"))
        .after_help(
            "Publish, collapse, checkpoint, rewind, fork, drop, import: what they did to branches and named workspaces is put back in\n\
             one step, if it still stands; what somebody else did since is never taken away (exit status 1). An undo is an\n\
             operation itself, so a second one takes the first one back. How far it goes is a matter of retention: 24 hours or the\n\
             last 100 operations, whatever is more, unless the store says otherwise.\n\n\
             A line of the list has the position, the time (UTC), what it was, and where it moved what.\n\n\
             Examples:\n  \
             pyi undo --list\n  \
             pyi undo\n  \
             pyi undo --steps 3",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let steps = matches.get_one::<u64>("steps").copied();
    let steps = steps.map(|steps| usize::try_from(steps).unwrap_or(usize::MAX));
    let at = matches.get_one::<u64>("at").copied();
    if steps == Some(0) {
        return Err(Failure::usage(
            "--steps 0: there is nothing to take back; give at least 1",
        ));
    }
    if matches.get_flag("list") {
        let mut history = match at {
            Some(at) => repository
                .history(None)?
                .into_iter()
                .filter(|one| one.position == at)
                .collect(),
            None => repository.history(Some(steps.unwrap_or(LISTED)))?,
        };
        history.truncate(steps.unwrap_or(usize::MAX));
        context.answer(
            || history.iter().map(operation_json).collect(),
            || history.iter().flat_map(|one| lines(one, true).into_bytes()).collect(),
        )?;
        return Ok(DONE);
    }
    let undone = match at {
        Some(at) => repository.undo_at(at)?,
        None => repository.undo(steps.unwrap_or(1))?,
    };
    context.answer(|| operation_json(&undone), || lines(&undone, false).into_bytes())?;
    Ok(DONE)
}

fn operation_json(operation: &Operation) -> Json {
    let one = |moved: &RefMove| {
        object([
            ("kind", Json::from(moved.kind.name())),
            ("name", moved.name.as_str().into()),
            ("before", moved.before.as_ref().into()),
            ("after", moved.after.as_ref().into()),
        ])
    };
    object([
        ("position", operation.position.into()),
        ("time", text::time(operation.time_ns, true).into()),
        ("message", operation.message.as_str().into()),
        ("moves", operation.moves.iter().map(one).collect()),
    ])
}

/// An operation: one line, and one for each ref that it moved.
fn lines(operation: &Operation, with_place: bool) -> String {
    let mut lines = if with_place {
        format!(
            "{} {} {}\n",
            operation.position,
            text::time(operation.time_ns, false),
            text::first_line(&operation.message)
        )
    } else {
        format!("{}\n", text::first_line(&operation.message))
    };
    for moved in &operation.moves {
        let at = |id: &Option<pyi_engine::Id>| id.as_ref().map_or_else(|| "nowhere".to_owned(), text::short);
        let way = match (&moved.before, &moved.after) {
            (None, None) => String::new(),
            (Some(before), Some(after)) if before == after => format!(" stays at {}", text::short(before)),
            (before, after) => format!(" from {} to {}", at(before), at(after)),
        };
        lines += &format!("  {} {}{way}\n", moved.kind.name(), moved.name);
    }
    lines
}
