//! The native `pyi` command; called as `git`, it is git.
//!
//! [`main`] looks at no more of the command line than it needs to see who is meant: a verb of the engine (one file
//! each in [`commands`]), a verb written in Python ([`python`]), or git ([`git`]). Only the parser of the one
//! verb that runs is built, so that `pyi --version` and a hand-over to git cost next to nothing.
//!
//! Exit status: 0 done, 1 a negative answer, 2 wrong usage, 3 a failed run; git's own for git commands.

#![cfg_attr(not(test), no_main)]

mod arena;
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

use arena::Arena;
use cli::Leading;
use failure::Result;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

#[global_allocator]
static MEMORY: Arena = Arena::new();

/// What the C library calls. The standard library's own beginning reads where the stack stands from `/proc`, and makes another one for what it says when
/// that overflows: a tenth of what a short command costs.
///
/// # Safety
/// `words` are `count` C strings, as the C library passes them.
#[cfg(not(test))]
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: libc::c_int, words: *const *const libc::c_char) -> libc::c_int {
    use std::ffi::CStr;
    use std::os::unix::ffi::OsStrExt;
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: as the caller says.
    let word = |at: usize| OsStr::from_bytes(unsafe { CStr::from_ptr(*words.add(at)) }.to_bytes()).to_owned();
    let words: Vec<OsString> = (0..count).map(word).collect();
    open_standard_files();
    let status = std::panic::catch_unwind(|| start(words)).unwrap_or(PANICKED);
    // Nobody else writes out what a command left in the buffer.
    let _ = std::io::stdout().flush();
    libc::c_int::from(status)
}

/// The exit status of a program that panicked.
#[cfg(not(test))]
const PANICKED: u8 = 101;

/// A file that is opened must not become standard output because that is closed.
#[cfg(not(test))]
fn open_standard_files() {
    let end = |fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    };
    let mut ends = [end(0), end(1), end(2)];
    // SAFETY: three descriptors to ask about, and a path that is a C string.
    unsafe {
        if libc::poll(ends.as_mut_ptr(), 3, 0) < 0 {
            return;
        }
        for end in ends {
            if end.revents & libc::POLLNVAL != 0 {
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            }
        }
    }
}

/// Runs what the words say; the exit status.
#[cfg_attr(test, allow(dead_code, reason = "tests have a beginning of their own"))]
fn start(words: Vec<OsString>) -> u8 {
    // Whoever reads our output and has enough ends us without a word, as it ends git; and git and Python, which take
    // our place, start with the signal as they would without us.
    // SAFETY: sets a default disposition in a process with one thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut words = words.into_iter();
    let called = words.next().unwrap_or_default();
    let args: Vec<OsString> = words.collect();
    let result = if Path::new(&called).file_name() == Some(OsStr::new("git")) {
        git::run(&args)
    } else {
        dispatch(&args)
    };
    match result {
        Ok(status) => status,
        Err(failure) => {
            // A closed stderr is no reason to say anything else.
            let _ = writeln!(std::io::stderr(), "error: {}", failure.line());
            failure.status
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
