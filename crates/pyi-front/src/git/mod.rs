//! Git's commands: which run here, and which the installed git runs.
//!
//! [`run`] reads the arguments, asks whether everything that is in play is supported, and only then does anything. What it cannot do exactly, wrong
//! usage among it, goes to the installed git as it stands, with nothing written before (`docs/design/014-git-commands.md`).
//! One file each for the commands; [`COMMANDS`] names them.

mod cat_file;
mod cat_file_batch;
mod diagnostics;
mod environment;
mod hash_object;
mod ls_tree;
mod porcelain;
pub(crate) mod report;
mod repository;
mod rev_parse;
mod revision;
mod shadow;
mod show_ref;
mod switch;
mod symbolic_ref;

use std::cell::{Cell, OnceCell};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd};

use pyi_engine::Error;
use pyi_git::argv::{self, Kind, Parsed};

use crate::failure::{Failure, Result};
use crate::handover;
use report::Way;
use repository::GitRepository;
use switch::Switch;

/// A command that runs here.
pub(crate) struct Command {
    /// Its name.
    name: &'static str,
    /// The options that it knows, by their long name, or their letter where they have none. Others are git's.
    options: &'static [&'static str],
    /// What it answers.
    run: fn(&Parsed<'_>, &GitRepository, &Input) -> Native<Answer>,
}

/// The commands that run here.
const COMMANDS: &[Command] = &[
    cat_file::COMMAND,
    hash_object::COMMAND,
    ls_tree::COMMAND,
    rev_parse::COMMAND,
    show_ref::COMMAND,
    symbolic_ref::COMMAND,
    porcelain::ADD,
    porcelain::BRANCH,
    porcelain::CHECKOUT,
    porcelain::COMMIT,
    porcelain::CONFIG,
    porcelain::DIFF,
    porcelain::FOR_EACH_REF,
    porcelain::LOG,
    porcelain::LS_FILES,
    porcelain::MERGE_BASE,
    porcelain::MV,
    porcelain::REFLOG,
    porcelain::REMOTE,
    porcelain::RESET,
    porcelain::RESTORE,
    porcelain::REV_LIST,
    porcelain::RM,
    porcelain::SHOW,
    porcelain::STASH,
    porcelain::STATUS,
    porcelain::SWITCH,
    porcelain::TAG,
];

/// The options of a command that reads them itself.
const ANY: &[&str] = &["*"];

/// The names of the commands that run here.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name)
}

/// What a command says and how it ends. Nothing is written before all of it is known; but what answers line by line has written when it
/// returns, and cannot give up any more, and walks through a history show what they have ([`Input::show`]): git says the rest if they give up.
pub(crate) struct Answer {
    out: Vec<u8>,
    /// What goes to stderr, which git writes before what it has buffered for stdout.
    err: Vec<u8>,
    status: u8,
}

impl Answer {
    fn with_status(out: Vec<u8>, status: u8) -> Self {
        Answer {
            out,
            err: Vec::new(),
            status,
        }
    }

    /// Whether nothing in it is quoted that the configuration wants as it is: `\\303`, which a file may have as well. For each command that says paths, before
    /// it writes anything.
    fn check_quotes(&self, repository: &GitRepository) -> Native<()> {
        let quoted = |part: &[u8]| matches!(part, [b'\\', b'2' | b'3', b'0'..=b'7', b'0'..=b'7']);
        let has_quoted = |text: &[u8]| text.windows(4).any(quoted);
        if repository.shows_all_bytes() && (has_quoted(&self.out) || has_quoted(&self.err)) {
            return Err(Reason::of("config", "core"));
        }
        Ok(())
    }

    fn done(out: Vec<u8>) -> Self {
        Answer::with_status(out, 0)
    }
}

/// What came of trying; the error is why git has to do it.
pub(crate) type Native<T> = std::result::Result<T, Reason>;

/// Why git has to do it, in words that say nothing about what the user works on.
#[derive(Debug)]
pub(crate) struct Reason(String);

impl Reason {
    fn new(what: &str) -> Self {
        Reason(what.to_owned())
    }

    fn of(kind: &str, what: &str) -> Self {
        Reason(format!("{kind} {what}"))
    }
}

/// Damage, races and the like: git has its own words for them.
impl From<Error> for Reason {
    fn from(_: Error) -> Self {
        Reason::new("repository")
    }
}

/// Standard input, read when a command asks for it: what shadows it gets the same bytes.
pub(crate) struct Input {
    whole: OnceCell<Vec<u8>>,
    /// Whether a command may answer while it reads.
    may_stream: bool,
    /// How many bytes of the answer were written while it was made.
    shown_bytes: Cell<u64>,
    /// Why writing them failed, if it did.
    show_failure: OnceCell<std::io::Error>,
    /// What stands behind the command.
    words: Vec<OsString>,
}

impl Input {
    /// Writes a part of an answer. (A reader who went away ends this process by its signal, as it ends git.)
    fn show(&self, part: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(part).and_then(|()| out.flush());
        self.shown_bytes.set(self.shown_bytes.get() + part.len() as u64);
        written.map_err(|error| {
            let kind = error.kind();
            let _ = self.show_failure.set(error);
            kind.into()
        })
    }

    fn read(&self) -> Native<&[u8]> {
        if let Some(bytes) = self.whole.get() {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|_| Reason::new("input"))?;
        Ok(self.whole.get_or_init(|| bytes))
    }

    /// Who runs the command after all reads what was read from the beginning.
    fn give_back(&self) -> std::io::Result<()> {
        let Some(bytes) = self.whole.get() else { return Ok(()) };
        // SAFETY: the name ends with a zero; the descriptor is new, and nobody else's.
        let mut file = unsafe {
            let file = libc::memfd_create(c"input".as_ptr(), libc::MFD_CLOEXEC);
            if file < 0 {
                return Err(std::io::Error::last_os_error());
            }
            File::from_raw_fd(file)
        };
        file.write_all(bytes)?;
        file.rewind()?;
        // SAFETY: both are open; the copy stays open for the program that comes.
        match unsafe { libc::dup2(file.as_raw_fd(), libc::STDIN_FILENO) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// Runs a git command, or becomes the git that does.
pub(crate) fn run(args: &[OsString]) -> Result<u8> {
    let switch = Switch::from_environment();
    let parsed = match argv::parse(args) {
        Ok(parsed) => parsed,
        Err(refusal) => {
            let reason = Reason::of("usage", refusal.kind.name());
            return hand_over(args, &switch, refusal.command, &reason, 0);
        }
    };
    let name = parsed.command().unwrap_or_default();
    let input = Input {
        whole: OnceCell::new(),
        may_stream: !switch.is_shadow(),
        shown_bytes: Cell::new(0),
        show_failure: OnceCell::new(),
        words: args.get(parsed.command_at() + 1..).unwrap_or_default().to_vec(),
    };
    match answer(&parsed, &switch, &input) {
        Ok(answer) if switch.is_shadow() => shadow::compare(args, name, &answer, &input),
        Ok(answer) => {
            report::count(name, Way::Native, "");
            write(&answer)
        }
        Err(reason) => {
            // How much of it was written is not known, and git could write no more.
            if let Some(error) = input.show_failure.get() {
                return Ok(cannot_write("'stdout'", error));
            }
            let given_back = input.give_back();
            given_back
                .map_err(|error| Failure::failed(format!("cannot pass the input on: {error}; run `git` itself")))?;
            hand_over(args, &switch, name, &reason, input.shown_bytes.get())
        }
    }
}

fn hand_over(args: &[OsString], switch: &Switch, name: &'static str, reason: &Reason, shown_bytes: u64) -> Result<u8> {
    if switch.is_only() {
        return Err(Failure::failed(format!(
            "`git {name}` cannot run natively here ({}); unset PYI_GIT_NATIVE to let git run it",
            reason.0
        )));
    }
    report::count(name, Way::Git, &reason.0);
    if shown_bytes > 0 {
        return handover::rest_of_git(args, shown_bytes);
    }
    handover::git(args)
}

/// The answer to a command, if it can be given here.
fn answer(parsed: &Parsed<'_>, switch: &Switch, input: &Input) -> Native<Answer> {
    let Some(command) = COMMANDS.iter().find(|command| Some(command.name) == parsed.command()) else {
        return Err(Reason::new("command"));
    };
    if !switch.allows(command.name) || report::is_off(command.name) {
        return Err(Reason::new("switch"));
    }
    let listed = command.options != ANY;
    for given in parsed.given().iter().filter(|_| listed) {
        match given.kind {
            Kind::Operand => {}
            Kind::Option { id, negated } => {
                let long = if id.long().is_empty() { id.name() } else { id.long() };
                if negated || !command.options.contains(&long) {
                    return Err(Reason::of("option", long));
                }
            }
            Kind::Number | Kind::Opaque => return Err(Reason::new("option")),
        }
    }
    environment::check()?;
    if listed && !environment::allows_abbreviations() {
        refuse_abbreviations(parsed)?;
    }
    // Packs stay mapped until the process ends, with the command: each that is unmapped interrupts the processor of whoever looks after the locks.
    let repository = ManuallyDrop::new(GitRepository::open(parsed)?);
    if repository
        .config()
        .boolean("pyi", Some(b"native"), command.name)
        .ok()
        .flatten()
        == Some(false)
    {
        return Err(Reason::new("switch"));
    }
    if repository.config().get("pager", None, command.name).is_some() {
        return Err(Reason::of("config", "pager"));
    }
    (command.run)(parsed, &repository, input)
}

/// Options have to be written out.
fn refuse_abbreviations(parsed: &Parsed<'_>) -> Native<()> {
    for given in parsed.given() {
        let Kind::Option { id, .. } = given.kind else { continue };
        let Some(long) = given.word.strip_prefix(b"--") else {
            continue;
        };
        if long.split(|&byte| byte == b'=').next() != Some(id.long().as_bytes()) {
            return Err(Reason::new("abbreviation"));
        }
    }
    Ok(())
}

fn write(answer: &Answer) -> Result<u8> {
    // A closed stderr changes nothing about what was done.
    let _ = std::io::stderr().write_all(&answer.err);
    let mut out = std::io::stdout().lock();
    match out.write_all(&answer.out).and_then(|()| out.flush()) {
        Ok(()) => Ok(answer.status),
        Err(error) => Ok(cannot_write("standard output", &error)),
    }
}

/// Says it as git does, which calls its output one thing while it makes an answer, and another at its end; the exit status.
fn cannot_write(output: &str, error: &std::io::Error) -> u8 {
    let text = error.to_string();
    let why = text.split(" (os error ").next().unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "fatal: write failure on {output}: {why}");
    128
}
