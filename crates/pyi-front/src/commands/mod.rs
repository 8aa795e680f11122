//! The verbs: one file each.

mod backup;
mod capture;
mod changes;
mod checkpoint;
mod checkpoints;
mod collapse;
mod completion;
mod export;
mod fork;
mod fsck_store;
mod git_report;
mod git_shim;
mod import;
mod join;
mod materialize;
mod publish;
mod race;
mod reclaim;
mod resolve;
mod restore_backup;
mod rewind;
mod scrub;
mod serve;
mod stats;
mod swarm;
mod token;
mod undo;
mod workspace_git;
mod workspaces;

use clap::{ArgMatches, Command};
use pyi_engine::{Change, Conflict, Entry, Repository};

use crate::context::Context;
use crate::failure::Result;
use crate::json::{Json, object};
use crate::text;
pub(crate) use workspace_git::run as workspace_git;

/// A verb that runs in this process.
pub(crate) struct Verb {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// What it is for, in one line.
    pub(crate) about: &'static str,
    /// Adds its arguments and the rest of its help to a parser.
    pub(crate) arguments: fn(Command) -> Command,
    /// Runs it; the exit status.
    pub(crate) run: fn(&ArgMatches, &Context) -> Result<u8>,
}

/// A verb that Python runs.
pub(crate) struct PythonVerb {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// What it is for, in one line.
    pub(crate) about: &'static str,
}

/// The native verbs.
pub(crate) const VERBS: &[Verb] = &[
    import::VERB,
    fork::VERB,
    checkpoint::VERB,
    rewind::VERB,
    checkpoints::VERB,
    changes::VERB,
    join::VERB,
    resolve::VERB,
    collapse::VERB,
    materialize::VERB,
    capture::VERB,
    publish::VERB,
    export::VERB,
    workspaces::VERB,
    stats::VERB,
    undo::VERB,
    reclaim::VERB,
    fsck_store::VERB,
    git_report::VERB,
    git_shim::VERB,
    completion::VERB,
];

/// The verbs in Python.
pub(crate) const PYTHON_VERBS: &[PythonVerb] = &[
    race::VERB,
    swarm::VERB,
    scrub::VERB,
    backup::VERB,
    restore_backup::VERB,
    serve::VERB,
    token::VERB,
];

/// The verbs as the help lists them.
pub(crate) const GROUPS: &[(&str, &[&str])] = &[
    ("Many attempts at once", &["race", "swarm", "collapse"]),
    ("In and out", &["import", "export", "materialize", "capture"]),
    (
        "Workspaces",
        &[
            "fork",
            "checkpoint",
            "rewind",
            "join",
            "resolve",
            "publish",
            "workspaces",
        ],
    ),
    ("Looking", &["checkpoints", "changes", "stats"]),
    (
        "Care of the store",
        &["undo", "reclaim", "fsck-store", "scrub", "backup", "restore-backup"],
    ),
    ("Stock git clients", &["serve", "token"]),
    ("As git", &["git-report", "git-shim"]),
    ("Your shell", &["completion"]),
];

/// The native verb of this name.
pub(crate) fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// The Python verb of this name.
pub(crate) fn python_verb(name: &str) -> Option<&'static PythonVerb> {
    PYTHON_VERBS.iter().find(|verb| verb.name == name)
}

/// An entry of a workspace, or null.
fn entry_json(repository: &Repository, entry: Option<&Entry>) -> Result<Json> {
    let Some(entry) = entry else { return Ok(Json::Null) };
    Ok(object([
        ("path", Json::from(entry.path.as_slice())),
        ("type", entry.kind().name().into()),
        ("mode", format!("{:04o}", entry.permissions()).into()),
        ("size", entry.size_bytes.into()),
        ("id", Json::from(&repository.entry_ids().of(entry)?)),
    ]))
}

/// A change, as the Python API has it.
fn change_json(repository: &Repository, change: &Change) -> Result<Json> {
    Ok(object([
        ("path", Json::from(change.path.as_slice())),
        ("kind", change.kind.name().into()),
        ("old", entry_json(repository, change.old.as_ref())?),
        ("new", entry_json(repository, change.new.as_ref())?),
    ]))
}

/// Changes, one line each.
fn change_lines(changes: &[Change]) -> Vec<u8> {
    changes.iter().flat_map(text::change).collect()
}

/// A conflict, as the Python API has it.
fn conflict_json(repository: &Repository, conflict: &Conflict) -> Result<Json> {
    Ok(object([
        ("path", Json::from(conflict.path.as_slice())),
        ("reason", Json::from(&*conflict.reason)),
        ("base", entry_json(repository, conflict.base.as_ref())?),
        ("ours", entry_json(repository, conflict.ours.as_ref())?),
        ("theirs", entry_json(repository, conflict.theirs.as_ref())?),
    ]))
}

/// Conflicts, one line each.
fn conflict_lines(conflicts: &[Conflict]) -> Vec<u8> {
    let mut lines = Vec::new();
    for conflict in conflicts {
        lines.extend_from_slice(b"C ");
        lines.extend(text::quoted(&conflict.path));
        lines.extend_from_slice(format!(": {}\n", conflict.reason).as_bytes());
    }
    lines
}

/// Changes as an array.
fn changes_json(repository: &Repository, changes: &[Change]) -> Result<Json> {
    Ok(Json::Array(
        changes
            .iter()
            .map(|change| change_json(repository, change))
            .collect::<Result<_>>()?,
    ))
}
