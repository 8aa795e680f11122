//! The native `pyi` command; called as `git`, it is git.
//!
//! [`main`] looks at no more of the command line than it needs to see who is meant: a verb of the engine (one file
//! each in [`commands`]), a verb written in Python ([`python`]), or git ([`git`]). Only the parser of the one
//! verb that runs is built, so that `pyi --version` and a hand-over to git cost next to nothing.
//!
//! Exit status: 0 done, 1 a negative answer, 2 wrong usage, 3 a failed run; git's own for git commands.

mod cli;
mod commands;
mod context;
mod failure;
mod git;
mod handover;
mod json;
mod patch;
mod python;
mod revision;
mod sandbox_exec;
mod text;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use cli::Leading;
use failure::Result;

fn main() -> ExitCode {
    // Whoever reads our output and has enough ends us without a word, as it ends git; and git and Python, which take
    // our place, start with the signal as they would without us.
    // SAFETY: sets a default disposition in a process with one thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    let result = if Path::new(&called).file_name() == Some(OsStr::new("git")) {
        git::run(&args)
    } else {
        dispatch(&args)
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // A closed stderr is no reason to say anything else.
            let _ = writeln!(std::io::stderr(), "error: {}", failure.line());
            ExitCode::from(failure.status)
        }
    }
}

/// Runs what the arguments name; the exit status.
fn dispatch(args: &[OsString]) -> Result<u8> {
    let leading = Leading::parse(args)?;
    let Some(word) = args.get(leading.taken) else {
        return cli::print_help(true);
    };
    let rest = args.get(leading.taken + 1..).unwrap_or_default();
    match word.to_str() {
        Some("--version" | "-V" | "-v") => return cli::print_version(),
        Some("--help" | "-h") => return cli::print_help(false),
        Some("help") => {
            if let Some(status) = cli::help(rest)? {
                return Ok(status);
            }
        }
        Some("sandbox-exec") => {
            let status = sandbox_exec::run(rest);
            return Ok(u8::try_from(status).unwrap_or(failure::FAILED));
        }
        Some("-w" | "--workspace") => {
            return commands::workspace_git(rest.first(), rest.get(1..).unwrap_or_default(), leading);
        }
        Some(word) if word.starts_with("--workspace=") => {
            let name = OsString::from(word.trim_start_matches("--workspace="));
            return commands::workspace_git(Some(&name), rest, leading);
        }
        Some(name) => {
            if let Some(verb) = commands::python_verb(name) {
                return python::run(verb.name, rest, &leading);
            }
            if let Some(verb) = commands::verb(name) {
                return cli::run(verb, rest, leading);
            }
        }
        None => {}
    }
    // Git's names always mean git; a word that nobody knows is git's to complain about.
    git::run(args)
}
