//! `pyi collapse`: one candidate of a superposition becomes the branch.

use std::sync::Arc;

use clap::{Arg, ArgGroup, ArgMatches, Command, value_parser};
use pyi_engine::{ErrorKind, Repository, Superposition};

use super::Verb;
use crate::cli::{flag, option, text, word};
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};
use crate::revision::found;
use crate::text;

pub(super) const VERB: Verb = Verb {
    name: "collapse",
    about: "Choose one candidate of a superposition, release the others",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(word("superposition", "SUPERPOSITION", "Its name").required(true))
        .arg(Arg::new("index").value_name("INDEX").value_parser(value_parser!(usize)).help("The candidate, counted from 0"))
        .arg(flag("best", "The candidate with the greatest weight; of equals the first"))
        .group(ArgGroup::new("which").args(["index", "best"]).required(true))
        .arg(option("onto", "BRANCH", "The branch that moves to it").default_value("main"))
        .after_help(
            "The branch must be where the candidates were forked, or not exist. It moves, the other candidates are released and\n\
             waiters are told in one atomic step; if somebody else was first, nothing happens and the exit status is 1.\n\n\
             Examples:\n  \
             pyi collapse repair 3\n  \
             pyi collapse repair --best --onto fixed",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let repository = context.repository()?;
    let name = text(matches, "superposition");
    let superposition = open(&repository, name)?;
    let index = match matches.get_one::<usize>("index") {
        Some(index) => *index,
        None => superposition.observe(None)?,
    };
    let weight = superposition.weights()?.get(index).copied();
    let candidates = superposition.candidates()?.len();
    let onto = text(matches, "onto");
    let head = superposition
        .collapse(index, onto)
        .map_err(|error| refused(&repository, name, onto, error))?;
    context.answer(
        || {
            object([
                ("superposition", Json::from(name)),
                ("index", Json::from(index as u64)),
                ("weight", weight.map_or(Json::Null, Json::Float)),
                ("candidates", Json::from(candidates as u64)),
                ("branch", Json::from(onto)),
                ("checkpoint", Json::from(head.id())),
            ])
        },
        || {
            format!(
                "{onto} is at {}, candidate {index} of {candidates}\n",
                text::short(head.id())
            )
            .into_bytes()
        },
    )?;
    Ok(DONE)
}

fn open(repository: &Repository, name: &str) -> Result<Arc<Superposition>> {
    found(repository.superposition(name))?.ok_or_else(|| {
        Failure::negative(format!(
            "no superposition {name:?} that has not collapsed or decayed; `pyi stats` lists those there are"
        ))
    })
}

fn refused(repository: &Repository, name: &str, onto: &str, error: pyi_engine::Error) -> Failure {
    let is_living = repository.superposition(name).is_ok();
    match repository.branch(onto) {
        // Somebody else's collapse ends the superposition; what else conflicts is the branch.
        Ok(now) if error.kind() == ErrorKind::Conflict && is_living => Failure::negative(format!(
            "branch {onto:?} is at {}, which is not where the candidates were forked; --onto NAME makes another branch",
            text::short(&now)
        )),
        _ => error.into(),
    }
}
