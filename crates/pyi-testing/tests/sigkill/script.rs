//! What the processes do, step by step, and what the names of the store must lead to behind each step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pyi_cas::{FileStore, OpenOptions, Vfs};
use pyi_engine::{
    Durability, Expect, GcOptions, GcReport, Id, Repository, RepositoryOptions, Retention, ScrubOptions, Value,
    Version, Workspace,
};

use super::view::{View, content, number};

/// A step that is acknowledged as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A named workspace from nothing.
    Fork(&'static str),
    /// Changes so many files of so many bytes, a value and the journal, and makes a checkpoint.
    Save(&'static str, u64, u64, Durability),
    /// Makes an event durable without a checkpoint.
    Journal(&'static str),
    /// Moves the branch of that name.
    Publish(&'static str),
    /// Goes so many checkpoints back.
    Restore(&'static str, usize),
    Drop(&'static str),
    DeleteBranch(&'static str),
    /// Keeps the head.
    Keep(&'static str),
    /// Two named candidates from the head of a workspace.
    Superpose(&'static str, &'static str),
    /// Of the second candidate, onto a branch.
    Collapse(&'static str, &'static str),
    /// Everything so far survives a loss of power.
    Flush,
    /// Closes the store and opens it again.
    Reopen,
    /// From now on nothing stays but what is named.
    Forget,
    Collect,
    Compact,
    /// Finds what is damaged and repairs it from the store beside this one.
    Heal,
}

/// What all names lead to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct World {
    pub branches: BTreeMap<String, View>,
    pub names: BTreeMap<String, View>,
    pub kept: Vec<View>,
    pub superpositions: BTreeSet<String>,
}

impl World {
    /// What is there, with every byte read; the error says what is wrong.
    pub fn of(repository: &Repository) -> Result<World, String> {
        let told = |error: pyi_engine::Error| error.to_string();
        let mut world = World::default();
        for (name, id) in repository.branches().map_err(told)? {
            let view = View::of_checkpoint(repository, &id).map_err(|error| format!("branch {name}: {error}"))?;
            world.branches.insert(name, view);
        }
        for name in repository.workspaces().map_err(told)? {
            let workspace = repository.view_workspace(&name).map_err(told)?;
            let view = View::of(&workspace).map_err(|error| format!("workspace {name}: {error}"))?;
            world.names.insert(name, view);
        }
        for id in repository.kept().map_err(told)? {
            let view = View::of_checkpoint(repository, &id).map_err(|error| format!("kept {id}: {error}"))?;
            world.kept.push(view);
        }
        world.kept.sort();
        world.superpositions.extend(repository.superpositions().map_err(told)?);
        Ok(world)
    }
}

/// What is expected.
#[derive(Clone, Default, Debug)]
pub struct Model {
    pub world: World,
    saved: BTreeMap<String, Vec<View>>,
    pub version: u64,
}

impl Model {
    /// Nothing but a world that is there already; versions go on behind `version`.
    pub fn of(world: World, version: u64) -> Model {
        Model {
            world,
            version,
            ..Model::default()
        }
    }

    /// What a step makes of it. The view of the checkpoint that it makes, if it makes one.
    pub fn apply(&mut self, step: Step) -> Option<View> {
        let world = &mut self.world;
        match step {
            Step::Fork(name) => {
                world.names.insert(name.to_owned(), View::default());
            }
            Step::Save(name, files, bytes, _) => {
                self.version += 1;
                let view = world.names.get_mut(name).unwrap();
                for (path, number) in changes(self.version, files, bytes) {
                    view.files.insert(path, number);
                }
                view.state.insert("step".to_owned(), self.version);
                view.journal.push(self.version);
                self.saved.entry(name.to_owned()).or_default().push(view.clone());
                return Some(view.clone());
            }
            Step::Journal(name) => {
                self.version += 1;
                world.names.get_mut(name).unwrap().journal.push(self.version);
            }
            Step::Publish(name) => {
                let head = world.names[name].clone();
                world.branches.insert(name.to_owned(), head);
            }
            Step::Restore(name, back) => {
                let saved = &self.saved[name];
                let view = saved[saved.len() - 1 - back].clone();
                world.names.insert(name.to_owned(), view);
            }
            Step::Drop(name) => {
                world.names.remove(name);
                self.saved.remove(name);
            }
            Step::DeleteBranch(name) => {
                world.branches.remove(name);
            }
            Step::Keep(name) => {
                world.kept.push(world.names[name].clone());
                world.kept.sort();
            }
            Step::Superpose(name, base) => {
                world.superpositions.insert(name.to_owned());
                let view = world.names[base].clone();
                for candidate in 0..2 {
                    world.names.insert(format!("{name}/{candidate}"), view.clone());
                }
            }
            Step::Collapse(name, branch) => {
                let view = world.names[&format!("{name}/1")].clone();
                world.branches.insert(branch.to_owned(), view);
                world.superpositions.remove(name);
                for candidate in 0..2 {
                    world.names.remove(&format!("{name}/{candidate}"));
                }
            }
            Step::Flush | Step::Reopen | Step::Forget | Step::Collect | Step::Compact | Step::Heal => {}
        }
        None
    }
}

/// The files that version so-and-so changes.
fn changes(version: u64, files: u64, bytes: u64) -> impl Iterator<Item = (String, u64)> {
    (0..files).map(move |nth| {
        let file = (version + nth) % 7;
        (format!("d{}/f{file}", file % 3), number(file, bytes + 8 * nth, version))
    })
}

/// A process with the store open.
pub struct Live {
    files: Arc<dyn Vfs>,
    directory: PathBuf,
    options: OpenOptions,
    durability: Durability,
    pub repository: Repository,
    open: BTreeMap<String, Arc<Workspace>>,
    saved: BTreeMap<String, Vec<Id>>,
    version: u64,
}

/// Limits so small that segments are sealed and logs rotated all the time.
pub fn limits() -> OpenOptions {
    OpenOptions {
        create: true,
        read_only: false,
        segment_limit_bytes: 6_000,
        ref_log_limit_bytes: 1_500,
        write_ahead_bytes: 0,
        page_ahead_bytes: 1_000,
        background_seal: false,
    }
}

pub fn open(
    files: Arc<dyn Vfs>,
    directory: &Path,
    options: &OpenOptions,
    durability: Durability,
) -> pyi_engine::Result<Repository> {
    let store = FileStore::open(files, directory, options.clone())?;
    let options = RepositoryOptions {
        durability,
        cache_bytes: 1 << 20,
        trees_bytes: Some(1 << 19),
        ..RepositoryOptions::default()
    };
    Repository::over(store, &options)
}

/// Nothing stays but what is named, and every segment with a dead byte is rewritten.
pub fn collect(repository: &Repository, compact: bool) -> pyi_engine::Result<GcReport> {
    repository.gc(&GcOptions {
        budget_bytes: Some(1 << 40),
        compact,
        patience: Duration::from_secs(20),
        progress: None,
    })
}

pub fn forget(repository: &Repository) -> pyi_engine::Result<()> {
    repository.set_retention(&Retention {
        age: Duration::ZERO,
        heads: 0,
        ..Retention::default()
    })
}

impl Live {
    pub fn new(
        files: Arc<dyn Vfs>,
        directory: &Path,
        options: OpenOptions,
        durability: Durability,
        version: u64,
    ) -> pyi_engine::Result<Live> {
        let repository = open(Arc::clone(&files), directory, &options, durability)?;
        Ok(Live {
            files,
            directory: directory.to_path_buf(),
            options,
            durability,
            repository,
            open: BTreeMap::new(),
            saved: BTreeMap::new(),
            version,
        })
    }

    fn workspace(&mut self, name: &str) -> pyi_engine::Result<Arc<Workspace>> {
        if let Some(workspace) = self.open.get(name) {
            return Ok(workspace.clone());
        }
        let workspace = self.repository.open_workspace(name)?;
        self.open.insert(name.to_owned(), workspace.clone());
        Ok(workspace)
    }

    fn event(&mut self, workspace: &Workspace) -> pyi_engine::Result<()> {
        self.version += 1;
        workspace.journal_append(&self.version.to_string(), Value::Map(Vec::new()))
    }

    /// Makes a step; the checkpoint that it made.
    pub fn run(&mut self, step: Step) -> pyi_engine::Result<Option<Id>> {
        let repository = self.repository.clone();
        match step {
            Step::Fork(name) => {
                let workspace = repository.workspace("main")?.fork_named(name)?;
                self.open.insert(name.to_owned(), workspace);
            }
            Step::Save(name, files, bytes, class) => {
                let workspace = self.workspace(name)?;
                self.event(&workspace)?;
                for (path, number) in changes(self.version, files, bytes) {
                    workspace.write(path.as_bytes(), content(number), None)?;
                }
                let value = Value::Int(i128::from(self.version));
                workspace.state_set("step", &value)?;
                let made = *workspace.checkpoint_as("a step", Value::Null, class)?.id();
                self.saved.entry(name.to_owned()).or_default().push(made);
                return Ok(Some(made));
            }
            Step::Journal(name) => {
                let workspace = self.workspace(name)?;
                self.event(&workspace)?;
                workspace.flush_journal()?;
            }
            Step::Publish(name) => {
                let expect = match repository.branches()?.get(name) {
                    Some(id) => Expect::Is(*id),
                    None => Expect::Absent,
                };
                self.workspace(name)?.publish(name, expect)?;
            }
            Step::Restore(name, back) => {
                let saved = &self.saved[name];
                let id = saved[saved.len() - 1 - back];
                self.workspace(name)?.restore(&id)?;
            }
            Step::Drop(name) => {
                self.open.remove(name);
                self.saved.remove(name);
                repository.drop_name(name)?;
            }
            Step::DeleteBranch(name) => repository.delete_branch(name, None)?,
            Step::Keep(name) => repository.keep(self.workspace(name)?.head().id())?,
            Step::Superpose(name, base) => {
                let base = Version::Workspace(self.workspace(base)?);
                repository.superpose(&base, 2, None, None, Some(name))?;
            }
            Step::Collapse(name, branch) => {
                repository.superposition(name)?.collapse(1, branch)?;
                self.open.retain(|open, _| !open.starts_with(name));
            }
            Step::Flush => repository.flush()?,
            Step::Reopen => {
                self.open.clear();
                repository.close()?;
                self.repository = open(Arc::clone(&self.files), &self.directory, &self.options, self.durability)?;
            }
            Step::Forget => forget(&repository)?,
            Step::Collect | Step::Compact => {
                collect(&repository, step == Step::Compact)?;
            }
            Step::Heal => {
                let mut report = repository.scrub(&ScrubOptions::default())?;
                repository.repair(&mut report, &[&self.directory.with_extension("source")])?;
            }
        }
        Ok(None)
    }
}
