//! `pyi -w NAME GIT-COMMAND`: git's commands on a named workspace, without a directory.
//!
//! What a command changes is a checkpoint of the workspace when it ends: the next command is another process. A command that only looks takes no
//! lease, so that whoever owns the workspace goes on. All exit statuses are git's: 128 for whatever git has no status for.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use pyi_engine::ErrorKind;
use pyi_engine::git::{ENVIRONMENT, Environment, Outcome, REMEDY, reads_input};

use crate::cli::{Leading, named_store};
use crate::commands;
use crate::context::{Context, print};
use crate::failure::{Failure, Result};
use crate::revision::found;

/// Git's status for what it could not do.
const FATAL: u8 = 128;
/// How often a command runs again because another process moved the workspace meanwhile.
const TRIES: usize = 16;
/// Characters of a checkpoint's message.
const MESSAGE_CHARACTERS: usize = 72;

/// Runs a git command on a workspace; the exit status.
pub(crate) fn run(name: Option<&OsString>, argv: &[OsString], leading: Leading) -> Result<u8> {
    let usage = "`pyi -w NAME status` runs `git status` on the workspace NAME";
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(Failure::usage(format!("-w needs the name of a workspace; {usage}")));
    };
    let Some(name) = name.to_str() else {
        return Err(Failure::usage(format!(
            "no workspace has a name that is not UTF-8; {usage}"
        )));
    };
    let Some(word) = argv.first() else {
        return Err(Failure::usage(format!("-w {name} needs a git command; {usage}")));
    };
    if leading.json {
        return Err(Failure::usage(format!("--json is not for git commands; {usage}")));
    }
    let verb = word.to_str().unwrap_or_default();
    if commands::verb(verb).is_some() || commands::python_verb(verb).is_some() {
        return Err(Failure::usage(format!(
            "{verb} is no git command; see pyi {verb} --help"
        )));
    }
    answer(name, argv, leading).map_err(|failure| failure.with_status(FATAL))
}

fn answer(name: &str, argv: &[OsString], leading: Leading) -> Result<u8> {
    leading.enter()?;
    let context = Context::new(leading.store.or_else(named_store), false);
    let repository = context.repository()?;
    let message = message(argv);
    let argv: Vec<Vec<u8>> = argv.iter().map(|word| word.as_bytes().to_vec()).collect();
    let environment: Environment = ENVIRONMENT
        .into_iter()
        .filter_map(|name| Some((name.as_bytes().to_vec(), std::env::var_os(name)?.into_vec())))
        .collect();
    let mut input = Vec::new();
    if reads_input(&argv) {
        let read = std::io::stdin().lock().read_to_end(&mut input);
        read.map_err(|error| Failure::failed(format!("cannot read standard input: {error}; nothing was changed")))?;
    }
    let mut tries = 0;
    let outcome = loop {
        tries += 1;
        let workspace = found(repository.view_workspace(name))?.ok_or_else(|| {
            Failure::negative(format!(
                "workspace {name:?} does not exist; `pyi workspaces` lists them, `pyi fork {name}` makes it"
            ))
        })?;
        match workspace.git_kept(&argv, &input, &environment, &message) {
            // Another process moved it between two looks: nothing of this was kept.
            Err(error) if tries < TRIES && matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::Conflict) => {}
            answered => break answered?,
        }
    };
    say(name, outcome)
}

fn say(name: &str, outcome: Outcome) -> Result<u8> {
    print(&outcome.stdout)?;
    let mut error = outcome.stderr;
    if outcome.unavailable {
        let remedy = format!("`pyi materialize {name} DIR` makes a real work tree, run git there");
        error = String::from_utf8_lossy(&error).replace(REMEDY, &remedy).into_bytes();
    }
    // A closed stderr changes nothing about what was done.
    let _ = std::io::stderr().write_all(&error);
    Ok(u8::try_from(outcome.status).unwrap_or(FATAL))
}

/// What the checkpoint of a command is called.
fn message(argv: &[OsString]) -> String {
    let mut text = "git".to_owned();
    for word in argv {
        text.push(' ');
        text.push_str(&word.to_string_lossy());
    }
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(MESSAGE_CHARACTERS).collect()
}
