//! Git's commands on a workspace: no directory, no lock, no process.
//!
//! A command works on a copy of the workspace's pointers (files, and the git directory, which is one more tree of the checkpoint), and what it
//! changed is put into the workspace at the end, wholly or not at all; if the workspace changed meanwhile, the command runs again.
//! `docs/design/015-git-on-workspaces.md` has the layout of the git directory.

mod copy;
mod directory;
mod objects;
mod received;
mod site;

use std::sync::Arc;

use pyi_git::command::{self, Environment, Outcome};
use pyi_tree::Tree;
use pyi_tree::cbor::Value;

use crate::commit::{adopt, store_checkpoint};
use crate::conflicts::kept_in;
use crate::engine::Engine;
use crate::workspace::{Content, HEAVY, Workspace};
use crate::{Error, Result};
pub(crate) use copy::copy_to;
pub(crate) use directory::KEY as GIT_DIRECTORY;
pub(crate) use directory::{OwnCommit, format_of, git_directory, head_of, own_commit, with_directory};
pub(crate) use received::{Arrived, receive};
use site::WorkSite;

/// How often a command runs again because the workspace changed under it.
const TRIES: usize = 16;

/// What a command starts from.
struct Start {
    content: Content,
}

impl Start {
    /// Whether the workspace is still what it was.
    fn holds(&self, now: &Content) -> bool {
        let same = |a: &Option<Tree>, b: &Option<Tree>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a.root(), b.root()),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(self.content.files.root(), now.files.root())
            && same(&self.content.git_directory, &now.git_directory)
            && Arc::ptr_eq(&self.content.git, &now.git)
    }
}

impl Workspace {
    /// Runs a git command on the workspace: its files are the work tree; HEAD, refs, index, stash and reflogs are its own, and go with its
    /// checkpoints. `git commit` makes a commit and a checkpoint. Output and status are git's; what is not done answers so, with status 128, and
    /// changes nothing.
    ///
    /// # Errors
    /// `Conflict` if others change the workspace all the time; `LeaseLost`; `Git` if the history's source is not there; `Corrupt`;
    /// `Storage`. Nothing was changed then.
    pub fn git(&self, argv: &[Vec<u8>], input: &[u8], env: &Environment) -> Result<Outcome> {
        self.run_git(argv, input, env, None)
    }

    /// As [`Workspace::git`]; and whatever the command changed is a checkpoint when this returns, with this message where the command has none of
    /// its own. For callers that do not keep the workspace: what they did is there for the next one. A command that changes nothing makes no checkpoint
    /// and takes no lease.
    ///
    /// # Errors
    /// As [`Workspace::git`].
    pub fn git_kept(&self, argv: &[Vec<u8>], input: &[u8], env: &Environment, message: &str) -> Result<Outcome> {
        self.run_git(argv, input, env, Some(message))
    }

    fn run_git(&self, argv: &[Vec<u8>], input: &[u8], env: &Environment, keep: Option<&str>) -> Result<Outcome> {
        self.engine.open()?;
        for _ in 0..TRIES {
            let start = Start {
                content: (**self.content.lock()).clone(),
            };
            if kept_in(&start.content.git).is_some() {
                return Ok(Outcome {
                    stderr: b"pyi: git on a workspace with unresolved conflicts is not available; resolve them (ws.conflicts, ws.resolve)\n".to_vec(),
                    status: 128,
                    unavailable: true,
                    ..Outcome::default()
                });
            }
            // What is imported, named or stored on the way is reached by nothing until the end.
            let _section = self.engine.store().section();
            let mut site = WorkSite::new(&self.engine, &start.content)?;
            let outcome = command::run(&mut site, argv, input, env).map_err(engine_error)?;
            site.keep_names();
            if outcome.unavailable || outcome.undone || !site.is_changed() {
                return Ok(outcome);
            }
            if self.take_over(&start, site, keep)? {
                return Ok(outcome);
            }
        }
        Err(Error::conflict(
            "the workspace is changed by others all the time; give each agent a fork of its own",
        ))
    }

    /// Puts in what a command changed; `false` if the workspace changed meanwhile.
    fn take_over(&self, start: &Start, site: WorkSite<'_>, keep: Option<&str>) -> Result<bool> {
        let kept = match &site.commit {
            Some((oid, message)) => Some((
                Value::Map(vec![("git_commit".to_owned(), Value::Text(oid.to_hex()))]),
                message.clone(),
            )),
            None => keep.map(|message| (Value::Null, message.to_owned())),
        };
        if kept.is_some() {
            self.engine.make_room();
        }
        let mut content = self.content.lock();
        self.check_lease(&mut content)?;
        if !start.holds(&content) {
            return Ok(false);
        }
        let pins: Vec<_> = site
            .relied
            .iter()
            .map(|id| Arc::new(self.engine.store().pin(id)))
            .collect();
        let (files, git_directory) = site.finish()?;
        content.rely_on(pins);
        let before = (content.files.clone(), content.git_directory.clone(), content.dirty);
        content.files = files;
        content.git_directory = Some(git_directory);
        content.changed(HEAVY);
        let Some((metadata, message)) = kept else {
            return Ok(true);
        };
        let made = self.make_checkpoint(&mut content, metadata, &message);
        if made.is_err() {
            (content.files, content.git_directory, content.dirty) = before;
        }
        drop(content);
        made?;
        self.engine.warm.used(&self.weak);
        self.engine.acknowledge(self.engine.durability)?;
        Ok(true)
    }

    /// The checkpoint of what a command changed.
    fn make_checkpoint(&self, content: &mut Content, metadata: Value, message: &str) -> Result<()> {
        let mut batch = self.engine.take_batch();
        let stored = store_checkpoint(&self.engine, content, message, metadata, &mut batch);
        self.engine.give_batch(batch);
        let (snapshot, place) = stored?;
        self.move_name(content, snapshot.id, None, "commit", vec![place])?;
        adopt(content, snapshot);
        Ok(())
    }
}

/// The engine's error behind a failure.
fn engine_error(failure: command::Failure) -> Error {
    match failure.downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => Error::git(other.to_string()),
    }
}

/// The tree below one entry of another one.
fn subtree(engine: &Engine, tree: &Tree, path: &[u8]) -> Result<Option<Tree>> {
    match tree.find(path, &engine.loader)? {
        Some(found) if found.mode() == pyi_tree::Mode::Directory => {
            Ok(Some(Tree::from_root(found.child(&engine.loader)?.clone())))
        }
        _ => Ok(None),
    }
}
