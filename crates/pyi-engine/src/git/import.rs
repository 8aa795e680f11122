//! A commit of a git repository becomes a checkpoint and a branch.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use pyi_cas::{Id, Kind};
use pyi_git::commit::Commit;
use pyi_git::{Object, Oid};
use pyi_tree::CheckpointRoot;
use pyi_tree::cbor::Value;

use super::source::GitSource;
use super::tree_import::Importer;
use crate::engine::now_ns;
use crate::repository::Repository;
use crate::workspace::Workspace;
use crate::{Error, Result};

/// How much history an import brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// The one commit; what came before stays in the source.
    #[default]
    Lazy,
    /// Every commit that can be reached, each as a checkpoint.
    Full,
}

impl Repository {
    /// Imports the commit that `rev` names from the git repository at `source` (a work tree, a linked one, a git directory, a bare
    /// repository): its whole content is stored, as a checkpoint, and `branch` is made for it.
    ///
    /// What was imported before is not read again: the next commit of a history costs its changed trees.
    ///
    /// # Errors
    /// `Conflict` if the branch exists; `NotFound` if there is no such repository or revision; `GitError` for objects that are
    /// missing (with the path and the remedy) or malformed; `InvalidPath` for names that git refuses; `Corrupt` for damaged packs
    /// and objects; `Storage`. No branch was made then.
    pub fn import_git(&self, source: &Path, rev: &str, branch: &str, history: History) -> Result<Arc<Workspace>> {
        self.check_new_branch(branch)?;
        let source = self.engine.git_map.source(source)?;
        let tip = source.resolve(rev)?;
        // What is found in the store is reached by nothing until the branch stands.
        let _section = self.engine.store().section();
        let mut importer = Importer::new(&self.engine, &*source);
        let head = match history {
            History::Lazy => {
                let object = source.commit(&tip)?;
                let commit = parse(&source, &tip, &object)?;
                checkpoint(&mut importer, &source, &tip, &commit, Vec::new(), now_ns())?
            }
            History::Full => full(&mut importer, &source, &tip)?,
        };
        let stored = importer.into_stored()?;
        self.land_import(branch, &head, stored)
    }
}

/// Makes a checkpoint of every commit from `tip` on, parents first. No recursion: histories are long.
fn full(importer: &mut Importer<'_>, source: &GitSource, tip: &Oid) -> Result<Id> {
    let mut done: HashMap<Oid, Id> = HashMap::new();
    let mut stack: Vec<(Oid, Vec<Oid>)> = Vec::new();
    let parents_of = |oid: &Oid| -> Result<Vec<Oid>> {
        let object = source.commit(oid)?;
        let mut parents = parse(source, oid, &object)?.parents;
        parents.reverse();
        Ok(parents)
    };
    stack.push((*tip, parents_of(tip)?));
    while let Some((oid, waiting)) = stack.last_mut() {
        if let Some(parent) = waiting.pop() {
            if !done.contains_key(&parent) {
                stack.push((parent, parents_of(&parent)?));
            }
            continue;
        }
        let oid = *oid;
        stack.pop();
        if done.contains_key(&oid) {
            continue;
        }
        let object = source.commit(&oid)?;
        let commit = parse(source, &oid, &object)?;
        let parents = commit
            .parents
            .iter()
            .filter_map(|parent| done.get(parent).copied())
            .collect();
        let seconds = commit
            .committer()
            .map_or(0, |signature| u64::try_from(signature.seconds).unwrap_or(0));
        let time_ns = seconds.saturating_mul(1_000_000_000);
        done.insert(oid, checkpoint(importer, source, &oid, &commit, parents, time_ns)?);
    }
    done.get(tip)
        .copied()
        .ok_or_else(|| Error::git(format!("commit {tip} was not imported")))
}

fn parse<'a>(source: &GitSource, oid: &Oid, object: &'a Object) -> Result<Commit<'a>> {
    Commit::parse(source.format(), &object.data)
        .map_err(|error| Error::git(format!("commit {oid}: {error}; `git fsck` tells more")))
}

/// Imports a commit's tree and puts the checkpoint for it into the batch.
fn checkpoint(
    importer: &mut Importer<'_>,
    source: &GitSource,
    oid: &Oid,
    commit: &Commit<'_>,
    parents: Vec<Id>,
    time_ns: u64,
) -> Result<Id> {
    let imported = importer.tree(&commit.tree)?;
    let text = |text: String| Value::Text(text);
    importer.seal(|engine, sealer| {
        let mut git = vec![
            ("commit".to_owned(), text(oid.to_hex())),
            ("tree".to_owned(), text(commit.tree.to_hex())),
            ("format".to_owned(), text(source.format().name().to_owned())),
            (
                "source".to_owned(),
                Value::Bytes(source.common_dir().as_os_str().as_bytes().to_vec()),
            ),
        ];
        if !imported.odd.is_empty() {
            git.push(("odd".to_owned(), imported.odd.store(engine, sealer)?));
        }
        let root = CheckpointRoot {
            files: imported.row.id,
            state: None,
            journal: None,
            parents,
            time_ns,
            message: message(commit),
            metadata: Value::Map(vec![("git".to_owned(), Value::Map(about(commit)))]),
            git: Arc::new(Value::Map(git)),
            unknown: Vec::new(),
        };
        Ok(sealer.object(Kind::Checkpoint, &root.encode())?)
    })
}

/// The commit's message as text, without the newlines at its end.
pub(crate) fn message(commit: &Commit<'_>) -> String {
    let latin = commit.encoding().is_some_and(|encoding| {
        [&b"iso-8859-1"[..], b"iso8859-1", b"latin1", b"latin-1"]
            .iter()
            .any(|name| encoding.eq_ignore_ascii_case(name))
    });
    let text = if latin {
        commit.message.iter().map(|&byte| char::from(byte)).collect()
    } else {
        String::from_utf8_lossy(commit.message).into_owned()
    };
    text.trim_end_matches('\n').to_owned()
}

/// Who wrote the commit, and when.
pub(crate) fn about(commit: &Commit<'_>) -> Vec<(String, Value)> {
    let mut about = Vec::new();
    match commit.author() {
        Ok(author) => {
            let name = String::from_utf8_lossy(&author.name).into_owned();
            let mail = String::from_utf8_lossy(&author.mail);
            about.push((
                "author".to_owned(),
                Value::Text(format!("{name} <{mail}>").trim_start().to_owned()),
            ));
            about.push(("time".to_owned(), Value::Int(i128::from(author.seconds))));
        }
        Err(_) => about.push((
            "author".to_owned(),
            Value::Text(String::from_utf8_lossy(commit.author).into_owned()),
        )),
    }
    about
}
