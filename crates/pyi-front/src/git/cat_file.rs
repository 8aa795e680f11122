//! `git cat-file`: one object, its kind or its size.

use pyi_engine::git::ObjectKind;
use pyi_git::argv::Parsed;

use super::cat_file_batch;
use super::ls_tree::{Line, list};
use super::repository::GitRepository;
use super::revision::{read, resolve};
use super::{Answer, Command, Input, Native, Reason};

pub(super) const COMMAND: Command = Command {
    name: "cat-file",
    options: &["batch", "batch-check", "buffer", "e", "p", "s", "t"],
    run,
};

fn run(parsed: &Parsed<'_>, repository: &GitRepository, input: &Input) -> Native<Answer> {
    if parsed.is_on("batch") || parsed.is_on("batch-check") {
        return cat_file_batch::run(parsed, repository, input);
    }
    let operands: Vec<_> = parsed.operands().collect();
    let options: Vec<_> = parsed.options().filter_map(|given| given.name()).collect();
    match (options.as_slice(), operands.as_slice()) {
        (["p"], [object]) => pretty(repository, object),
        ([what], [object]) => facts(repository, what, object),
        ([], [kind, object]) => content(repository, kind, object),
        _ => Err(Reason::new("operands")),
    }
}

fn facts(repository: &GitRepository, what: &str, object: &[u8]) -> Native<Answer> {
    let oid = resolve(repository, object)?;
    let (kind, size) = repository
        .objects()?
        .info(&oid)?
        .ok_or_else(|| Reason::new("revision"))?;
    Ok(Answer::done(match what {
        "t" => format!("{kind}\n").into_bytes(),
        "s" => format!("{size}\n").into_bytes(),
        _ => Vec::new(),
    }))
}

fn pretty(repository: &GitRepository, object: &[u8]) -> Native<Answer> {
    let oid = resolve(repository, object)?;
    let object = read(repository, &oid)?;
    if object.kind != ObjectKind::Tree {
        return Ok(Answer::done(object.data.to_vec()));
    }
    let mut out = Vec::new();
    list(repository, &object.data, b"", &Line::default(), &mut out)?;
    let answer = Answer::done(out);
    answer.check_quotes(repository)?;
    Ok(answer)
}

/// The content of an object that is of the kind that is asked for; what is behind it is git's to find.
fn content(repository: &GitRepository, kind: &[u8], object: &[u8]) -> Native<Answer> {
    let oid = resolve(repository, object)?;
    let object = read(repository, &oid)?;
    if object.kind.to_string().as_bytes() != kind {
        return Err(Reason::new("revision"));
    }
    Ok(Answer::done(object.data.to_vec()))
}
