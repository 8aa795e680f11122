//! The commands that `pyi-git` does over a work tree: what has to be so that they may run here, and how.
//!
//! Their options are read where they are done; what is not known there comes back as not done, and git does it. Whatever has something to say on stderr is
//! git's too. A command that writes does so when its whole answer is known, under git's locks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use pyi_engine::git::{DiskSite, Environment, PartlyWritten, Unsupported, read_regular};
use pyi_git::argv::Parsed;
use pyi_git::command::{self, Failure};
use pyi_git::config::{Config, parse_bool};

use super::repository::{GitRepository, SYSTEM_CONFIG};
use super::{ANY, Answer, Command, Input, Native, Reason, diagnostics};

/// Git's status for what it could not do.
const FATAL: u8 = 128;

macro_rules! commands {
    ($($constant:ident $name:literal)*) => { $(
        pub(super) const $constant: Command = Command { name: $name, options: ANY, run };
    )* };
}
commands! {
    ADD "add"
    BRANCH "branch"
    CHECKOUT "checkout"
    COMMIT "commit"
    CONFIG "config"
    DIFF "diff"
    FOR_EACH_REF "for-each-ref"
    LOG "log"
    LS_FILES "ls-files"
    MERGE_BASE "merge-base"
    MV "mv"
    REFLOG "reflog"
    REMOTE "remote"
    RESET "reset"
    RESTORE "restore"
    REV_LIST "rev-list"
    RM "rm"
    SHOW "show"
    STASH "stash"
    STATUS "status"
    SWITCH "switch"
    TAG "tag"
}

/// Sections whose settings change what these commands say or do.
const SECTIONS_REFUSED: &[&str] = &[
    "add",
    "column",
    "commitgraph",
    "format",
    "interactive",
    "notes",
    "status",
    "submodule",
];
/// The same of commands that write.
const SECTIONS_REFUSED_WRITING: &[&str] = &["gc", "hook", "maintenance", "rerere", "trailer"];
/// The same of commands that write files of the work tree.
const SECTIONS_REFUSED_MOVING: &[&str] = &["checkout", "merge", "reset", "stash"];
/// Advice that these commands give.
const ADVICE_REFUSED: &[&str] = &["detachedhead", "resetnorefreshwarning"];
/// Commands that write files of the work tree, or keep its index to themselves.
const MOVING: &[&str] = &["checkout", "mv", "reset", "restore", "rm", "stash", "switch"];
/// Those after which nothing is in the middle of a merge.
const ENDING: &[&str] = &["checkout", "commit", "reset", "stash", "switch"];
/// Those that say how it went on stderr.
const TELLING: &[&str] = &["checkout", "switch"];
/// Settings of `core` that must be on, and off, if they are there.
const CORE_ON: &[&str] = &["filemode", "symlinks", "trustctime", "logallrefupdates"];
const CORE_OFF: &[&str] = &["ignorecase", "fsmonitor", "untrackedcache", "autocrlf"];
/// Variables that commands read.
const VARIABLES: &[&str] = &[
    "COLUMNS",
    "EMAIL",
    "GIT_AUTHOR_DATE",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    "GIT_COMMITTER_DATE",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
];

fn run(parsed: &Parsed<'_>, repository: &GitRepository, input: &Input) -> Native<Answer> {
    let name = parsed.command().unwrap_or_default();
    let moves = MOVING.contains(&name);
    let writes = moves || matches!(name, "add" | "branch" | "commit" | "config" | "tag");
    if std::io::stdout().is_terminal() {
        return Err(Reason::new("terminal"));
    }
    check_locale()?;
    match name {
        "config" => check_sources(input)?,
        _ => check_config(repository, writes)?,
    }
    check_place(repository)?;
    if moves {
        check_moving(repository)?;
    }
    // The note of a merge goes with what ends it.
    let only_looks = name == "stash" && matches!(input.words.first(), Some(verb) if verb == "list" || verb == "show");
    if ENDING.contains(&name) && !only_looks && repository.git().has("AUTO_MERGE") {
        return Err(Reason::new("repository-state"));
    }
    repository.objects()?;
    repository.check_history()?;
    if matches!(name, "log" | "show") {
        check_notes(repository)?;
    }
    // After `clone --no-checkout` all files are still to come.
    if matches!(name, "checkout" | "reset" | "switch") && !has_index(repository) {
        return Err(Reason::new("no-index"));
    }
    // A branch may be in use in another work tree.
    if name == "branch" && fs::symlink_metadata(repository.git().path().join("worktrees")).is_ok() {
        return Err(Reason::new("work-trees"));
    }
    let excludes = excludes(repository.config())?;
    let open = DiskSite::open(
        repository.top(),
        repository.git(),
        repository.config().clone(),
        &excludes,
    );
    // The process ends with the command: nothing is freed piece by piece before.
    let mut site = ManuallyDrop::new(open.map_err(reason)?);
    if moves {
        site.compare_by_seconds();
    }
    if !writes {
        site.only_look();
    }
    // What is quoted is looked at when all of it is there.
    if input.may_stream && matches!(name, "log" | "rev-list") && !repository.shows_all_bytes() {
        site.show_early(Box::new(|part| input.show(part)));
    }
    if site.is_in_progress() {
        return Err(Reason::new("repository-state"));
    }
    if matches!(name, "checkout" | "reset" | "switch") && site.remembers_conflicts().map_err(reason)? {
        return Err(Reason::new("resolved-conflicts"));
    }
    let mut words: Vec<Vec<u8>> = vec![name.as_bytes().to_vec()];
    words.extend(input.words.iter().map(|word| word.as_bytes().to_vec()));
    let takes_input = name == "commit"
        && input
            .words
            .iter()
            .any(|word| word.as_bytes().starts_with(b"-F") || word == "--file=-");
    let bytes = if takes_input { input.read()? } else { &[] };
    let prefix = repository.prefix();
    let outcome = command::run_below(&mut *site, prefix, &words, bytes, &environment()).map_err(reason)?;
    if outcome.unavailable {
        return Err(Reason::new("not-done"));
    }
    let status = u8::try_from(outcome.status).map_err(|_| Reason::new("status"))?;
    let is_told = status == 0 && TELLING.contains(&name);
    // Git makes an index even where there is nothing to commit.
    if name == "commit" && status > 0 && !has_index(repository) {
        return Err(Reason::new("no-index"));
    }
    let is_undone = outcome.undone && site.has_staged();
    let is_known = !site.has_staged()
        && diagnostics::known(status, &outcome)
            .is_some_and(|words| !diagnostics::are_doubtful(&words, repository.top(), prefix));
    // Who holds the lock is what git complains of first.
    if status > 0 && fs::symlink_metadata(repository.git().path().join("index.lock")).is_ok() {
        return Err(Reason::new("locked"));
    }
    let is_told = is_told || is_known;
    if (!outcome.stderr.is_empty() && !is_told) || is_undone || (status > 1 && !is_known) {
        return Err(Reason::new("diagnostics"));
    }
    let answer = Answer {
        out: outcome.stdout,
        err: outcome.stderr,
        status,
    };
    answer.check_quotes(repository)?;
    if is_known {
        return Ok(answer);
    }
    if moves && site.removes_below(&started_below(repository)?) {
        return Err(Reason::new("directory"));
    }
    let is_refreshed = site.is_stale() && refreshes(name, parsed);
    if is_refreshed && ((status > 0 && name != "commit") || is_partial(name, input, status)) {
        return Err(Reason::new("refresh"));
    }
    // Where git runs too, it is git that writes.
    if input.may_stream && is_refreshed && !writes {
        // A diff of some files makes git look at all.
        site.refresh().map_err(reason)?;
    }
    if input.may_stream && writes {
        // With files of another revision git leaves the index alone.
        let given = |long: &str, letter: &str| {
            let known = |word: &OsString| word == letter || word.as_bytes().starts_with(long.as_bytes());
            input.words.iter().any(known)
        };
        let is_foreign =
            name == "restore" && given("--source", "-s") && !(given("--staged", "-S") || given("-SW", "-WS"));
        let is_dry = matches!(name, "mv" | "rm") && input.words.iter().any(|word| is_dry(word.as_bytes()));
        match site.finish(is_refreshed || (moves && !is_foreign && !is_dry)) {
            Ok(()) => {}
            // Git would do it a second time.
            Err(failure) if failure.is::<PartlyWritten>() => {
                return Ok(Answer {
                    out: Vec::new(),
                    err: format!("fatal: {failure}\n").into_bytes(),
                    status: FATAL,
                });
            }
            Err(failure) => return Err(reason(failure)),
        }
    }
    Ok(answer)
}

/// Whether git would write down what it found out about files, for commands to come that only look at the index.
fn refreshes(name: &str, parsed: &Parsed<'_>) -> bool {
    let optional = name != "status"
        || (!parsed
            .globals()
            .iter()
            .any(|given| given.name() == Some("optional-locks"))
            && std::env::var_os("GIT_OPTIONAL_LOCKS").is_none_or(|value| value != "0"));
    optional && matches!(name, "add" | "commit" | "diff" | "status")
}

/// Whether a word says that nothing is to be done.
fn is_dry(word: &[u8]) -> bool {
    word.starts_with(b"--dry") || (word.starts_with(b"-") && !word.starts_with(b"--") && word.contains(&b'n'))
}

/// Whether git writes down less than what was found out.
fn is_partial(name: &str, input: &Input, status: u8) -> bool {
    let words = || input.words.iter().map(|word| word.as_bytes());
    match name {
        "add" => words().any(|word| is_dry(word) || word.iter().any(|byte| b"*?[\\".contains(byte))),
        "diff" => words().any(|word| matches!(word, b"--quiet" | b"--exit-code")),
        // An index that all files were put into goes with the commit that is not made.
        "commit" if status > 0 => words().any(|word| {
            let is_letters = word.starts_with(b"-") && !word.starts_with(b"--");
            word == b"--all" || (is_letters && word.contains(&b'a'))
        }),
        _ => false,
    }
}

/// Where the program was started, from the top, with a slash behind.
fn started_below(repository: &GitRepository) -> Native<Vec<u8>> {
    let doubt = || Reason::new("directory");
    let here = std::env::current_dir()
        .and_then(fs::canonicalize)
        .map_err(|_| doubt())?;
    let below = here.strip_prefix(repository.top()).unwrap_or(std::path::Path::new(""));
    Ok([below.as_os_str().as_bytes(), b"/"].concat())
}

fn reason(failure: Failure) -> Reason {
    match failure.downcast_ref::<Unsupported>() {
        Some(Unsupported(what)) => Reason::of("unsupported", what),
        None => Reason::new("repository"),
    }
}

/// Messages are in English here.
fn check_locale() -> Native<()> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = named("LC_ALL")
        .or_else(|| named("LC_MESSAGES"))
        .or_else(|| named("LANG"));
    let Some(locale) = locale else { return Ok(()) };
    let locale = locale.as_bytes();
    let base = locale
        .split(|byte| matches!(byte, b'.' | b'@'))
        .next()
        .unwrap_or(locale);
    let is_plain = matches!(base, b"C" | b"POSIX") || base == b"en" || base.starts_with(b"en_");
    if !is_plain {
        return Err(Reason::new("locale"));
    }
    Ok(())
}

/// An index that is there keeps its version.
fn has_index(repository: &GitRepository) -> bool {
    fs::symlink_metadata(repository.git().path().join("index")).is_ok()
}

fn check_config(repository: &GitRepository, writes: bool) -> Native<()> {
    for entry in repository.config().entries() {
        let (section, key) = (entry.section.as_str(), entry.key.as_str());
        let value = entry.value.as_deref();
        let flag = parse_bool(value).ok();
        let sound = match section {
            "core" if CORE_ON.contains(&key) => flag == Some(true),
            "core" if CORE_OFF.contains(&key) => flag == Some(false),
            "core" => true,
            "color" => value != Some(b"always"),
            "advice" => key != "statushints",
            "diff" => key == "renames" && flag.is_some(),
            "commit" | "tag" => key == "gpgsign" && flag == Some(false),
            "branch" => entry.subsection.is_some(),
            "log" => key == "showsignature" && flag == Some(false),
            "index" => !writes || (matches!(key, "version" | "threads") && has_index(repository)),
            _ if SECTIONS_REFUSED.contains(&section) => false,
            _ => !(writes && SECTIONS_REFUSED_WRITING.contains(&section)),
        };
        if !sound {
            let known = ["core", "color", "advice", "diff", "commit", "log", "tag", "branch"];
            let known = known.iter().chain(SECTIONS_REFUSED).chain(SECTIONS_REFUSED_WRITING);
            let told = known.into_iter().find(|known| **known == section).unwrap_or(&"core");
            return Err(Reason::of("config", told));
        }
    }
    Ok(())
}

/// The system's configuration is read here wherever it may be, which is more than git reads: what it says about a key that is asked for, only git knows.
fn check_sources(input: &Input) -> Native<()> {
    let words: Vec<&[u8]> = input.words.iter().map(|word| word.as_bytes()).collect();
    let mut operands: Vec<&[u8]> = words.iter().copied().filter(|word| !word.starts_with(b"-")).collect();
    let has_verb = matches!(operands.first(), Some(&(b"get" | b"list" | b"set" | b"unset")));
    let writes = matches!(operands.first(), Some(&(b"set" | b"unset"))) || words.contains(&&b"--unset"[..]);
    if writes || words.contains(&&b"--local"[..]) || (!has_verb && operands.len() == 2) {
        return Ok(());
    }
    if has_verb {
        operands.remove(0);
    }
    let key = operands
        .first()
        .and_then(|name| name.rsplit(|&byte| byte == b'.').next());
    let mut paths: Vec<PathBuf> = SYSTEM_CONFIG.iter().map(PathBuf::from).collect();
    paths.extend(std::env::var_os("GIT_CONFIG_SYSTEM").map(PathBuf::from));
    for path in paths {
        let text = match read_regular(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(_) => return Err(Reason::of("config", "system")),
        };
        let file = Config::parse(&text).map_err(|_| Reason::of("config", "malformed"))?;
        let is_meant = |known: &str| key.is_none_or(|key| key.eq_ignore_ascii_case(known.as_bytes()));
        if file.entries().iter().any(|entry| is_meant(&entry.key)) {
            return Err(Reason::of("config", "system"));
        }
    }
    Ok(())
}

/// What else there may be to heed for who writes files or moves HEAD.
fn check_moving(repository: &GitRepository) -> Native<()> {
    for entry in repository.config().entries() {
        if let Some(told) = SECTIONS_REFUSED_MOVING.iter().find(|known| **known == entry.section) {
            return Err(Reason::of("config", told));
        }
        if entry.section == "advice" && ADVICE_REFUSED.contains(&entry.key.as_str()) {
            return Err(Reason::of("config", "advice"));
        }
    }
    // Another work tree may be on the branch.
    if fs::symlink_metadata(repository.git().path().join("worktrees")).is_ok() {
        return Err(Reason::new("worktrees"));
    }
    Ok(())
}

/// Below the top, paths are relative to where one is.
fn check_place(repository: &GitRepository) -> Native<()> {
    // In patterns, this part would have to be taken as it is.
    if repository.prefix().iter().any(|byte| b"*?[\\:".contains(byte)) {
        return Err(Reason::new("directory"));
    }
    let places = [
        config_home().map(|home| home.join("git/attributes")),
        Some("/etc/gitattributes".into()),
    ];
    if places
        .into_iter()
        .flatten()
        .any(|path| fs::symlink_metadata(path).is_ok())
    {
        return Err(Reason::new("attributes"));
    }
    Ok(())
}

/// What is shown beside commits.
fn check_notes(repository: &GitRepository) -> Native<()> {
    let has_notes = fs::symlink_metadata(repository.git().path().join("refs/notes")).is_ok()
        || repository
            .git()
            .packed_refs()?
            .windows(12)
            .any(|part| part == b" refs/notes/");
    if has_notes {
        return Err(Reason::new("notes"));
    }
    Ok(())
}

fn config_home() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")))
}

/// The user's own file of what is ignored.
fn excludes(config: &Config) -> Native<Vec<PathBuf>> {
    let doubt = || Reason::of("config", "core.excludesfile");
    let Some(value) = config.get("core", None, "excludesfile") else {
        return Ok(config_home().map(|home| home.join("git/ignore")).into_iter().collect());
    };
    let value = value.ok_or_else(doubt)?;
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let path = match value.strip_prefix(b"~/") {
        Some(rest) => {
            let home = std::env::var_os("HOME").ok_or_else(doubt)?;
            PathBuf::from(home).join(std::ffi::OsString::from_vec(rest.to_vec()))
        }
        None => PathBuf::from(std::ffi::OsString::from_vec(value.to_vec())),
    };
    if !path.is_absolute() {
        return Err(doubt());
    }
    Ok(vec![path])
}

fn environment() -> Environment {
    let mut variables = BTreeMap::new();
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            variables.insert(name.as_bytes().to_vec(), value.into_vec());
        }
    }
    variables
}
