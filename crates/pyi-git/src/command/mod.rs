//! What git's commands do, over a [`Site`]: output, diagnostics and exit status are git's, byte for byte, as with a pipe.
//!
//! Each command is one file. A command, option or situation that is not done exactly answers so, with status 128, and
//! changes nothing ([`Outcome::unavailable`]). `docs/design/015-git-on-workspaces.md` has the rules, `docs/guides/git-workspaces.md` the list.

mod add;
mod args;
mod attributes;
mod branch;
mod cat_file;
mod checkout;
mod choose;
mod clean;
mod commit;
mod config;
mod config_file;
mod date;
mod diff;
mod follow;
mod for_each_ref;
mod identity;
mod ignored;
mod log;
pub mod log_name;
mod ls_files;
mod ls_tree;
mod mailmap;
mod merge_base;
mod mv;
mod names;
mod pathspec;
mod pretty;
mod quote;
mod ref_format;
mod reflog;
mod refs;
mod remote;
mod reset;
mod restore;
mod rev_list;
mod rev_parse;
mod revision;
mod rm;
mod show;
mod show_ref;
mod since;
mod site;
mod stash;
mod status;
mod status_long;
mod tag;
mod tracking;
mod twoway;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use attributes::{Asked, Attributes};
pub use site::{Change, Failure, Found, Ref, Site, Version, View};

use crate::Oid;
use crate::config::{Config, ConfigEntry};

/// The variables that a command sees.
pub type Environment = BTreeMap<Vec<u8>, Vec<u8>>;

/// The variables of a process that commands look at.
pub const ENVIRONMENT: [&str; 8] = [
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_DATE",
    "EMAIL",
    "COLUMNS",
];

/// What an answer about something that is not done tells people to do, in words of the Python API.
pub const REMEDY: &str = "ws.materialize(directory) makes a real work tree, run git there";

/// Whether a command may look at its standard input: for callers that have to wait for it. O(arguments).
#[must_use]
pub fn reads_input(argv: &[Vec<u8>]) -> bool {
    argv.iter().any(|word| {
        matches!(word.as_slice(), b"-" | b"-F-" | b"--file=-" | b"--pathspec-from-file=-")
            || word.starts_with(b"--batch")
            || word.starts_with(b"--stdin")
    })
}

/// What a command answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit status.
    pub status: i32,
    /// Whether this is no answer of git's: the command, or something about it, is not done. Nothing was changed then.
    pub unavailable: bool,
    /// Whether what the site was told on the way is to be given up: the command was all or nothing, and failed.
    pub undone: bool,
}

/// Why a command ends early.
pub(crate) enum Stop {
    /// It said what it had to say.
    Exit(i32),
    /// This is not done.
    Unavailable(String),
    /// The site could not.
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failure(failure)
    }
}

/// What a command's part returns.
pub(crate) type Run<T> = Result<T, Stop>;

/// One command at work.
pub(crate) struct Call<'a> {
    pub(crate) site: &'a mut dyn Site,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) input: &'a [u8],
    pub(crate) env: &'a Environment,
    pub(crate) config: Config,
    /// What it is called, for messages.
    pub(crate) command: String,
    /// From the top to the directory that arguments are relative to, with a slash behind; empty at the top.
    pub(crate) prefix: Vec<u8>,
    /// Who is shown for whom, once it was asked for.
    pub(crate) mailmap: Option<Arc<mailmap::Mailmap>>,
    /// Commits that were read already.
    pub(crate) commits: names::Commits,
    /// Whether nothing is kept of what the command did, should it fail. Of others what they did before they failed stays, as git leaves it: `add` of a
    /// file that is ignored and one that is not, `tag -d` of a tag that is there and one that is not.
    pub(crate) all_or_nothing: bool,
}

impl Call<'_> {
    /// Ends with git's `fatal:`.
    pub(crate) fn die(&mut self, message: impl AsRef<[u8]>) -> Stop {
        say(&mut self.err, &[b"fatal: ", message.as_ref(), b"\n"]);
        Stop::Exit(128)
    }

    /// Says git's `error:`.
    pub(crate) fn error(&mut self, message: impl AsRef<[u8]>) {
        say(&mut self.err, &[b"error: ", message.as_ref(), b"\n"]);
    }

    pub(crate) fn line(&mut self, parts: &[&[u8]]) {
        say(&mut self.out, parts);
        self.out.push(b'\n');
    }
}

/// Appends all parts.
pub(crate) fn say(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// This is not done (yet).
pub(crate) fn unavailable<T>(what: impl Into<String>) -> Run<T> {
    Err(Stop::Unavailable(what.into()))
}

/// Runs `git` with these arguments (without `git` itself).
///
/// # Errors
/// What the site says; nothing is answered then.
pub fn run(site: &mut dyn Site, argv: &[Vec<u8>], input: &[u8], env: &Environment) -> Result<Outcome, Failure> {
    run_below(site, b"", argv, input, env)
}

/// The same in a directory of the work tree: `prefix` is its path from the top, with a slash behind.
///
/// # Errors
/// As [`run`].
pub fn run_below(
    site: &mut dyn Site,
    prefix: &[u8],
    argv: &[Vec<u8>],
    input: &[u8],
    env: &Environment,
) -> Result<Outcome, Failure> {
    let mut call = Call {
        site,
        out: Vec::new(),
        err: Vec::new(),
        input,
        env,
        config: Config::default(),
        command: String::new(),
        prefix: prefix.to_vec(),
        mailmap: None,
        commits: names::Commits::default(),
        all_or_nothing: false,
    };
    let ended = start(&mut call, argv);
    let (mut outcome, unavailable) = match ended {
        Ok(status) | Err(Stop::Exit(status)) => (
            Outcome {
                status,
                ..Outcome::default()
            },
            None,
        ),
        Err(Stop::Failure(failure)) => return Err(failure),
        Err(Stop::Unavailable(what)) => (Outcome::default(), Some(what)),
    };
    if let Some(what) = unavailable {
        outcome.status = 128;
        outcome.unavailable = true;
        let what = what.replace(['\n', '\r'], " ");
        outcome.stderr = format!("pyi: {what} is not available on a virtual workspace yet; {REMEDY}\n").into_bytes();
        return Ok(outcome);
    }
    outcome.undone = call.all_or_nothing && outcome.status > 0;
    outcome.stdout = call.out;
    outcome.stderr = call.err;
    Ok(outcome)
}

/// Moves HEAD's branch (or a HEAD that is on none) to a commit that was pushed, as receive-pack does, with its line in the reflogs. Index and work tree
/// are the caller's.
///
/// # Errors
/// What the site says; a configuration that cannot be read.
pub fn receive(site: &mut dyn Site, new: &Oid) -> Result<(), Failure> {
    let mut call = Call {
        site,
        out: Vec::new(),
        err: Vec::new(),
        input: &[],
        env: &Environment::default(),
        config: Config::default(),
        command: "receive-pack".to_owned(),
        prefix: Vec::new(),
        mailmap: None,
        commits: names::Commits::default(),
        all_or_nothing: false,
    };
    let moved = read_config(&mut call).and_then(|_| call.move_head(new, b"push"));
    match moved {
        Ok(()) => Ok(()),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Unavailable(what)) => Err(what.into()),
        Err(Stop::Exit(_)) => Err(String::from_utf8_lossy(&call.err).trim_end().to_owned().into()),
    }
}

/// Reads the configuration; whether the site has looked through it already.
fn read_config(call: &mut Call<'_>) -> Run<bool> {
    if let Some(config) = call.site.settings() {
        call.config = config;
        return Ok(true);
    }
    if let Some(file) = call.site.admin(b"config")? {
        match Config::parse(&file) {
            Ok(config) => call.config = config,
            Err(error) => return Err(call.die(format!("bad config: {error}"))),
        }
    }
    Ok(false)
}

/// Global options, then the command.
fn start(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let is_checked = read_config(call)?;
    let mut at = 0;
    while let Some(word) = argv.get(at) {
        match word.as_slice() {
            b"-c" => {
                at += 1;
                let Some(pair) = argv.get(at) else {
                    return unavailable("git -c without a value");
                };
                let Some(entry) = assignment(pair) else {
                    return unavailable(format!("git -c {}", String::from_utf8_lossy(pair)));
                };
                call.config.push(entry);
            }
            b"--no-pager" | b"-P" | b"--no-optional-locks" => {}
            b"-C" if argv.get(at + 1).is_some_and(|place| place == b"." || place.is_empty()) => at += 1,
            word if word.starts_with(b"-") => {
                return unavailable(format!("git {}", String::from_utf8_lossy(word)));
            }
            _ => break,
        }
        at += 1;
    }
    let Some(command) = argv.get(at) else {
        return unavailable("git without a command");
    };
    let rest = argv.get(at + 1..).unwrap_or_default();
    if !is_checked {
        config::check(&call.config)?;
    }
    call.command = String::from_utf8_lossy(command).into_owned();
    match command.as_slice() {
        b"init" => init(call, rest),
        b"status" => status::run(call, rest),
        b"add" | b"stage" => add::run(call, rest),
        b"rm" => rm::run(call, rest),
        b"mv" => mv::run(call, rest),
        b"commit" => commit::run(call, rest),
        b"log" => log::run(call, rest),
        b"diff" => diff::run(call, rest),
        b"show" => show::run(call, rest),
        b"rev-parse" => rev_parse::run(call, rest),
        b"branch" => branch::run(call, rest),
        b"checkout" => checkout::run(call, rest),
        b"switch" => checkout::run_switch(call, rest),
        b"restore" => restore::run(call, rest),
        b"reset" => reset::run(call, rest),
        b"ls-files" => ls_files::run(call, rest),
        b"cat-file" => cat_file::run(call, rest),
        b"tag" => tag::run(call, rest),
        b"config" => config::run(call, rest),
        b"stash" => stash::run(call, rest),
        b"merge-base" => merge_base::run(call, rest),
        b"rev-list" => rev_list::run(call, rest),
        b"for-each-ref" => for_each_ref::run(call, rest),
        b"show-ref" => show_ref::run(call, rest),
        b"symbolic-ref" => show_ref::run_symbolic(call, rest),
        b"ls-tree" => ls_tree::run(call, rest),
        b"reflog" => reflog::run(call, rest),
        b"remote" => remote::run(call, rest),
        b"clean" => clean::run(call, rest),
        _ => unavailable(format!("git {}", call.command)),
    }
}

/// A workspace is a repository already.
fn init(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let options = args::parse(call, argv, &[("q|quiet", args::Takes::Nothing)])?;
    if !options.rest.is_empty() {
        return unavailable("git init of a directory");
    }
    if !options.has("quiet") {
        call.out
            .extend_from_slice(b"Reinitialized existing Git repository in .git/\n");
    }
    Ok(0)
}

/// `section.subsection.key=value`.
fn assignment(pair: &[u8]) -> Option<ConfigEntry> {
    let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (pair.get(..at)?, Some(pair.get(at + 1..)?.to_vec())),
        None => (pair, None),
    };
    let (section, subsection, key) = config::split_name(name)?;
    Some(ConfigEntry {
        section,
        subsection,
        key,
        value,
        line: 0,
    })
}
