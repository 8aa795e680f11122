//! `git hash-object --stdin`: the name of what is read.

use pyi_engine::git::ObjectKind;
use pyi_git::argv::Parsed;
use pyi_git::hash_object;

use super::repository::GitRepository;
use super::{Answer, Command, Input, Native, Reason};

pub(super) const COMMAND: Command = Command {
    name: "hash-object",
    options: &["no-filters", "stdin", "t"],
    run,
};

/// The contents of blobs only: git checks other kinds first.
fn run(parsed: &Parsed<'_>, repository: &GitRepository, input: &Input) -> Native<Answer> {
    let is_blob = parsed.value("t").is_none_or(|kind| kind == b"blob");
    if parsed.times("stdin") != 1 || !is_blob || parsed.operands().next().is_some() {
        return Err(Reason::new("operands"));
    }
    let oid = hash_object(repository.git().format(), ObjectKind::Blob, input.read()?);
    Ok(Answer::done(format!("{oid}\n").into_bytes()))
}
