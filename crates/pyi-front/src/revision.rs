//! What a word on the command line names: a workspace, a branch, or a checkpoint, with `^` and `~N` behind it for its ancestors.

use std::collections::HashMap;
use std::sync::Arc;

use pyi_engine::{Checkpoint, ErrorKind, Id, Repository, Workspace};

use crate::failure::{Failure, Result};

/// How help texts explain the word.
pub(crate) const REVISION_HELP: &str = "A revision is a workspace, a branch, or a checkpoint (at least 8 digits of its id), with `^` \
    or `~N` behind\nit for its first parent or Nth ancestor. If a workspace and a branch of one name differ, say \
    `workspace:NAME`\nor `branch:NAME`.";

/// What kind of thing was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Workspace(String),
    Branch(String),
    Checkpoint,
}

/// A resolved word.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    pub(crate) named: Named,
    pub(crate) id: Id,
}

impl Revision {
    /// Finds what `spec` names.
    pub(crate) fn resolve(repository: &Repository, spec: &str) -> Result<Self> {
        let at = spec.find(['^', '~']).unwrap_or(spec.len());
        let (name, steps) = spec.split_at(at);
        let steps = steps_back(spec, steps)?;
        let mut revision = Revision::named(repository, name)?;
        for _ in 0..steps {
            let checkpoint = repository.checkpoint(&revision.id.to_string())?;
            let Some(parent) = checkpoint.root().parents.first() else {
                return Err(Failure::negative(format!(
                    "{spec:?} goes back beyond the first checkpoint; `pyi checkpoints {name}` lists what there is"
                )));
            };
            revision = Revision {
                named: Named::Checkpoint,
                id: *parent,
            };
        }
        Ok(revision)
    }

    fn named(repository: &Repository, name: &str) -> Result<Self> {
        let (kind, bare) = name.split_once(':').map_or(("", name), |(kind, bare)| (kind, bare));
        let branch = if matches!(kind, "" | "branch") {
            found(repository.branch(bare))?
        } else {
            None
        };
        let workspace = if matches!(kind, "" | "workspace") {
            found(repository.view_workspace(bare))?.map(|workspace| *workspace.head().id())
        } else {
            None
        };
        let (named, id) = match (workspace, branch) {
            (Some(workspace), Some(branch)) if workspace != branch => {
                return Err(Failure::usage(format!(
                    "{bare:?} is a workspace and a branch, at different checkpoints; say workspace:{bare} or branch:{bare}"
                )));
            }
            (Some(id), _) => (Named::Workspace(bare.to_owned()), id),
            (None, Some(id)) => (Named::Branch(bare.to_owned()), id),
            (None, None) if kind.is_empty() && looks_like_id(bare) => {
                (Named::Checkpoint, *repository.checkpoint(bare)?.id())
            }
            (None, None) => {
                return Err(Failure::negative(format!(
                    "no workspace, branch or checkpoint {name:?}; `pyi workspaces` and `pyi stats` list what there is"
                )));
            }
        };
        Ok(Revision { named, id })
    }

    /// The branch that is meant where nothing is said: `main`, or else the only one there is.
    pub(crate) fn default_branch(repository: &Repository) -> Result<String> {
        let branches = repository.branches()?;
        if branches.contains_key("main") {
            return Ok("main".into());
        }
        let mut names = branches.into_keys();
        match (names.next(), names.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Failure::negative("there is no branch yet; `pyi import` makes one")),
            (Some(_), Some(_)) => Err(Failure::usage(
                "there are several branches and none is main; say which, `pyi stats` lists them",
            )),
        }
    }

    /// The word, or the default branch.
    pub(crate) fn or_default(repository: &Repository, spec: Option<&str>) -> Result<(Self, String)> {
        let spec = match spec {
            Some(spec) => spec.to_owned(),
            None => format!("branch:{}", Revision::default_branch(repository)?),
        };
        let revision = Revision::resolve(repository, &spec)?;
        Ok((revision, spec.strip_prefix("branch:").unwrap_or(&spec).to_owned()))
    }

    /// A view of its content: the named workspace itself, or an unnamed one.
    pub(crate) fn workspace(&self, repository: &Repository) -> Result<Arc<Workspace>> {
        Ok(match &self.named {
            Named::Workspace(name) => repository.view_workspace(name)?,
            Named::Branch(_) => repository.workspace_at(self.id)?,
            Named::Checkpoint => repository.workspace_at(self.id)?,
        })
    }

    /// The checkpoint.
    pub(crate) fn checkpoint(&self, repository: &Repository) -> Result<Checkpoint> {
        checkpoint(repository, &self.id)
    }
}

/// A checkpoint by its id.
pub(crate) fn checkpoint(repository: &Repository, id: &Id) -> Result<Checkpoint> {
    Ok(repository.checkpoint(&id.to_string())?)
}

/// A named workspace. The remedy is the command line's.
pub(crate) fn open_workspace(repository: &Repository, name: &str) -> Result<Arc<Workspace>> {
    found(repository.open_workspace(name))?.ok_or_else(|| {
        Failure::negative(format!(
            "workspace {name:?} does not exist; `pyi workspaces` lists them, `pyi fork {name}` makes it"
        ))
    })
}

/// What stands where: the names of branches and workspaces by the checkpoint that they are at.
pub(crate) fn names_by_head(repository: &Repository) -> Result<HashMap<Id, Vec<String>>> {
    let mut names: HashMap<Id, Vec<String>> = HashMap::new();
    for (branch, id) in repository.branches()? {
        names.entry(id).or_default().push(branch);
    }
    for workspace in repository.workspaces()? {
        if let Some(open) = found(repository.view_workspace(&workspace))? {
            names.entry(*open.head().id()).or_default().push(workspace);
        }
    }
    Ok(names)
}

/// Turns `NotFound` into `None`.
pub(crate) fn found<T>(result: pyi_engine::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn looks_like_id(word: &str) -> bool {
    (4..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// How many first parents `^`, `~` and `~N`, in any number, go back.
fn steps_back(spec: &str, suffix: &str) -> Result<u64> {
    let mut steps: u64 = 0;
    let mut rest = suffix;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        let digits = if first == '~' {
            rest.bytes().take_while(u8::is_ascii_digit).count()
        } else {
            0
        };
        let (number, tail) = rest.split_at(digits);
        rest = tail;
        let step = if number.is_empty() {
            Some(1)
        } else {
            number.parse().ok()
        };
        let known = matches!(first, '^' | '~').then_some(step).flatten();
        steps = known.and_then(|step| steps.checked_add(step)).ok_or_else(|| {
            Failure::usage(format!(
                "{spec:?}: behind a name may stand `^` and `~N` only; see pyi changes --help"
            ))
        })?;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_count_parents() {
        for (suffix, steps) in [("", 0), ("^", 1), ("~", 1), ("~0", 0), ("~12", 12), ("^^~2", 4)] {
            assert_eq!(steps_back("x", suffix).unwrap(), steps, "{suffix}");
        }
        for suffix in ["^2", "~x", "~99999999999999999999999", "^{tree}"] {
            assert_eq!(steps_back("x", suffix).unwrap_err().status, 2, "{suffix}");
        }
    }
}
