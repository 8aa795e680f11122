//! `Workspace`.

use std::sync::Arc;

use pyi_engine::{Bytes, CaptureOptions, Durability, Expect, ExportOptions, Ignore, MaterializeOptions, Take, Value};
use pyi_engine::{Checkpoint as EngineCheckpoint, Workspace as EngineWorkspace};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyEllipsis, PyString, PyType};

use crate::checkpoint::{Checkpoint, Log, Walk};
use crate::convert::{
    Count, Data, Directory, PathArg, PathBytes, SMALL_BYTES, Text, checkpoint_id, content, items, text, value_from,
    version, window,
};
use crate::entry::{Change, Entry, MergeConflict, MergeResult};
use crate::errors::{invalid, short, work};
use crate::git::{GitResult, environment};
use crate::journal::Journal;
use crate::state::StateCore;

/// A mutable copy-on-write view: files, state, journal and a head.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Workspace {
    pub(crate) inner: Arc<EngineWorkspace>,
}

/// What `expect=` was: left out, None, or a checkpoint.
pub(crate) enum Expected<'py> {
    Default,
    Absent,
    Is(Bound<'py, PyAny>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Expected<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(if object.is_none() {
            Expected::Absent
        } else if object.is_instance_of::<PyEllipsis>() {
            Expected::Default
        } else {
            Expected::Is(object.to_owned())
        })
    }
}

/// The durability class of this name.
pub(crate) fn durability_named(name: &str) -> PyResult<Durability> {
    short(name.parse())
}

/// Makes a checkpoint. One of few changes in no large tree keeps the GIL: it takes about ten microseconds, and who gives the GIL away to busy
/// threads may wait for it for milliseconds.
pub(crate) fn save(
    py: Python<'_>,
    workspace: &EngineWorkspace,
    message: &str,
    metadata: Value,
    durability: Option<Durability>,
) -> PyResult<EngineCheckpoint> {
    let make = || match durability {
        None => workspace.checkpoint(message, metadata),
        Some(durability) => workspace.checkpoint_as(message, metadata, durability),
    };
    if workspace.is_light(durability) {
        return short(make());
    }
    work(py, make)
}

#[pymethods]
impl Workspace {
    /// Runs a git command on the workspace's own HEAD, refs, index and files. `input` is what it reads; `env` the variables that it sees (by
    /// default those of the process that say who commits, and when).
    #[pyo3(signature = (*argv, input = None, env = None))]
    fn git(
        &self,
        py: Python<'_>,
        argv: Vec<PathBytes>,
        input: Option<Data>,
        env: Option<Bound<'_, PyAny>>,
    ) -> PyResult<GitResult> {
        let argv: Vec<Vec<u8>> = argv.into_iter().map(|word| word.0).collect();
        let env = environment(py, env)?;
        let input = input.map(|data| data.bytes()).unwrap_or_default();
        let outcome = work(py, || self.inner.git(&argv, &input, &env))?;
        Ok(GitResult { outcome })
    }

    /// The name, or None.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    /// The last checkpoint that this workspace made or was restored to.
    #[getter]
    fn head(&self) -> Checkpoint {
        Checkpoint {
            inner: self.inner.head(),
        }
    }

    /// Whether anything was changed since the head.
    #[getter]
    fn dirty(&self) -> bool {
        self.inner.is_dirty()
    }

    /// The key-value mapping.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let core = StateCore::new(Arc::clone(&self.inner));
        static STATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        STATE.import(py, "pyi.state", "State")?.call1((core,))
    }

    /// The append-only list of events.
    #[getter]
    fn journal(&self) -> Journal {
        Journal {
            inner: Arc::clone(&self.inner),
        }
    }

    #[allow(clippy::unused_self)]
    fn __bool__(&self) -> bool {
        true
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.inner.len()).unwrap_or(usize::MAX)
    }

    fn __repr__(&self) -> String {
        let head = self.inner.head().id().to_string();
        let name = self
            .inner
            .name()
            .map_or_else(|| "unnamed".to_owned(), |name| format!("{name:?}"));
        let dirty = if self.inner.is_dirty() { ", dirty" } else { "" };
        format!(
            "<Workspace {name} at {}, {} files{dirty}>",
            &head[..12],
            self.inner.len()
        )
    }

    /// The content of a file (or the target of a symlink): bytes, or above 16 KB a memoryview without a copy.
    #[pyo3(signature = (path, *, offset = Count(0), size = None), text_signature = "(self, path, *, offset=0, size=None)")]
    fn read<'py>(
        &self,
        py: Python<'py>,
        path: PathArg,
        offset: Count,
        size: Option<Count>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = match short(self.inner.read_from_memory(&path.0))? {
            Some(found) => found,
            None => work(py, || self.inner.read(&path.0))?,
        };
        content(py, window(found, offset.size(), size.map(Count::size)))
    }

    /// The contents of many files, in order.
    fn read_many<'py>(&self, py: Python<'py>, paths: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let paths = paths
            .try_iter()?
            .map(|path| path?.extract::<PathBytes>())
            .collect::<PyResult<Vec<_>>>()?;
        let found = work(py, || {
            paths
                .iter()
                .map(|path| self.inner.read(&path.0))
                .collect::<Result<Vec<Bytes>, _>>()
        })?;
        found.into_iter().map(|bytes| content(py, bytes)).collect()
    }

    /// The target of a symlink.
    fn readlink<'py>(&self, py: Python<'py>, path: PathArg) -> PyResult<Bound<'py, PyAny>> {
        let target = work(py, || self.inner.read_link(&path.0))?;
        text(py, &target)
    }

    /// Writes a file; missing directories are made. `mode` is 0o644 or 0o755; by default the old one stays.
    #[pyo3(signature = (path, data, *, mode = None))]
    fn write(&self, py: Python<'_>, path: PathArg, data: Data, mode: Option<Count>) -> PyResult<()> {
        // What is beyond 32 bits is refused as any other mode.
        let mode = mode.map(|mode| u32::try_from(mode.0).unwrap_or(u32::MAX));
        if data.len() <= SMALL_BYTES && !self.inner.is_busy() {
            return short(self.inner.write(&path.0, data.bytes(), mode));
        }
        work(py, || self.inner.write(&path.0, data.bytes(), mode))
    }

    /// Writes many files, all or none.
    fn write_many(&self, py: Python<'_>, files: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut parsed: Vec<(Vec<u8>, Data)> = Vec::new();
        for pair in items("files", files)?.try_iter()? {
            let (path, data): (PathBytes, Data) = pair?.extract()?;
            parsed.push((path.0, data));
        }
        work(py, || {
            // Copied before the workspace is locked.
            let files: Vec<(&[u8], Bytes)> = parsed.iter().map(|(path, data)| (&path[..], data.bytes())).collect();
            self.inner
                .write_many(files.into_iter().map(|(path, data)| (path, data, None)))
        })
    }

    /// Makes a directory and those above it; one that exists is left as it is.
    fn mkdir(&self, py: Python<'_>, path: PathArg) -> PyResult<()> {
        work(py, || self.inner.make_directory(&path.0))
    }

    /// Makes a symlink; nothing may stand at `path`.
    fn symlink(&self, py: Python<'_>, path: PathArg, target: PathArg) -> PyResult<()> {
        work(py, || self.inner.symlink(&path.0, Bytes::from(target.0.into_owned())))
    }

    /// Takes away a file, or a directory with all that is below it.
    fn remove(&self, py: Python<'_>, path: PathArg) -> PyResult<()> {
        work(py, || self.inner.remove(&path.0))
    }

    /// Moves a file or directory.
    #[pyo3(name = "move")]
    fn rename(&self, py: Python<'_>, old: PathArg, new: PathArg) -> PyResult<()> {
        work(py, || self.inner.rename(&old.0, &new.0))
    }

    /// Whether something stands at `path`.
    fn exists(&self, py: Python<'_>, path: PathArg) -> PyResult<bool> {
        work(py, || self.inner.exists(&path.0))
    }

    /// What stands at `path`.
    fn stat(&self, py: Python<'_>, path: PathArg) -> PyResult<Entry> {
        let entry = work(py, || self.inner.stat(&path.0))?;
        Ok(Entry::new(entry, &self.inner.repository()))
    }

    /// The entries of a directory, sorted.
    #[pyo3(signature = (directory = PathArg::default()))]
    fn list(&self, py: Python<'_>, directory: PathArg) -> PyResult<Vec<Entry>> {
        let entries = work(py, || self.inner.list(&directory.0))?;
        let repository = self.inner.repository();
        Ok(entries
            .into_iter()
            .map(|entry| Entry::new(entry, &repository))
            .collect())
    }

    /// Goes through everything below `directory` but the directories themselves.
    #[pyo3(signature = (directory = PathArg::default()))]
    fn walk(&self, py: Python<'_>, directory: PathArg) -> PyResult<Walk> {
        let walk = work(py, || self.inner.walk(&directory.0))?;
        Ok(Walk::new(walk, self.inner.repository()))
    }

    /// Makes a checkpoint of files, state, journal and metadata under one id, durable when this returns.
    #[pyo3(signature = (message = Text(String::new()), *, metadata = None, durability = None), text_signature = "(self, message='', *, metadata=None, durability=None)")]
    fn checkpoint(
        &self,
        py: Python<'_>,
        message: Text,
        metadata: Option<&Bound<'_, PyDict>>,
        durability: Option<&str>,
    ) -> PyResult<Checkpoint> {
        let durability = durability.map(durability_named).transpose()?;
        let metadata = metadata.map_or(Ok(Value::Null), |metadata| value_from(metadata.as_any()))?;
        let inner = save(py, &self.inner, &message.0, metadata, durability)?;
        Ok(Checkpoint { inner })
    }

    /// Makes the content that of a checkpoint; uncheckpointed changes are dropped.
    fn restore(&self, py: Python<'_>, checkpoint: &Bound<'_, PyAny>) -> PyResult<()> {
        let id = checkpoint_id(checkpoint, &self.inner.repository())?;
        work(py, || self.inner.restore(&id))
    }

    /// A copy of the present content, uncheckpointed changes included; with a name, one that other processes can open.
    #[pyo3(signature = (name = None))]
    fn fork(&self, py: Python<'_>, name: Option<Text>) -> PyResult<Workspace> {
        let inner = match name {
            None if !self.inner.is_busy() && !self.inner.has_touched() => short(self.inner.fork())?,
            None => work(py, || self.inner.fork())?,
            Some(name) => work(py, || self.inner.fork_named(&name.0))?,
        };
        Ok(Workspace { inner })
    }

    /// The changes from `other` (a workspace, checkpoint or id; the head by default) to this workspace.
    #[pyo3(signature = (other = None, *, renames = false))]
    fn diff(&self, py: Python<'_>, other: Option<&Bound<'_, PyAny>>, renames: bool) -> PyResult<Vec<Change>> {
        let repository = self.inner.repository();
        let other = other.map(|other| version(other, &repository)).transpose()?;
        let changes = work(py, || self.inner.diff(other.as_ref(), renames))?;
        Ok(Change::list(changes, &repository))
    }

    /// Merges `other` into this workspace, three-way by paths and lines; applied only if it is clean, or with conflicts="keep".
    #[pyo3(signature = (other, *, base = None, conflicts = "refuse"))]
    fn merge(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        base: Option<&Bound<'_, PyAny>>,
        conflicts: &str,
    ) -> PyResult<MergeResult> {
        let keeps = match conflicts {
            "refuse" => false,
            "keep" => true,
            other => return Err(invalid(format!("conflicts={other:?}: \"refuse\" or \"keep\""))),
        };
        let repository = self.inner.repository();
        let other = version(other, &repository)?;
        let base = base.map(|base| version(base, &repository)).transpose()?;
        let found = work(py, || match keeps {
            true => self.inner.merge_keeping(&other, base.as_ref()),
            false => self.inner.merge(&other, base.as_ref()),
        })?;
        Ok(MergeResult::new(found, keeps, &repository))
    }

    /// What clashed in merges that were kept, and is not resolved.
    #[getter]
    fn conflicts(&self, py: Python<'_>) -> PyResult<Vec<MergeConflict>> {
        let found = work(py, || self.inner.conflicts())?;
        Ok(MergeConflict::list(found, &self.inner.repository()))
    }

    /// Settles a conflict that was kept: with `data`, with what stands there, or with one version (`take`: "ours", "theirs", "base").
    #[pyo3(signature = (path, data = None, *, take = None))]
    fn resolve(&self, py: Python<'_>, path: PathArg, data: Option<Data>, take: Option<&str>) -> PyResult<()> {
        let take = match (data, take) {
            (None, None) => Take::Present,
            (Some(data), None) => Take::Data(data.bytes()),
            (None, Some("ours")) => Take::Ours,
            (None, Some("theirs")) => Take::Theirs,
            (None, Some("base")) => Take::Base,
            (None, Some(other)) => {
                return Err(invalid(format!("take={other:?}: \"ours\", \"theirs\" or \"base\"")));
            }
            (Some(_), Some(_)) => return Err(invalid("data or take=, one of the two")),
        };
        work(py, || self.inner.resolve(&path.0, &take))
    }

    /// The checkpoints from the head on, newest first.
    #[pyo3(signature = (limit = None))]
    fn log(&self, py: Python<'_>, limit: Option<Count>) -> PyResult<Log> {
        let head = *self.inner.head().id();
        let inner = work(py, || self.inner.repository().log(&head, limit.map(Count::size)))?;
        Ok(Log { inner })
    }

    /// Moves a branch to the head by compare-and-swap. By default it must be where this workspace came from; with None it must
    /// not exist.
    #[pyo3(signature = (branch, *, expect = Expected::Default), text_signature = "(self, branch, *, expect=...)")]
    fn publish(&self, py: Python<'_>, branch: Text, expect: Expected<'_>) -> PyResult<()> {
        let expect = match expect {
            Expected::Default => Expect::Origin,
            Expected::Absent => Expect::Absent,
            Expected::Is(checkpoint) => Expect::Is(checkpoint_id(&checkpoint, &self.inner.repository())?),
        };
        work(py, || self.inner.publish(&branch.0, expect))
    }

    /// Writes the present content into a directory (absent or empty), with a private git directory that borrows the source's objects.
    #[pyo3(signature = (directory, *, git = true))]
    fn materialize(&self, py: Python<'_>, directory: Directory, git: bool) -> PyResult<()> {
        let options = MaterializeOptions { git };
        work(py, || self.inner.materialize(&directory.0, &options).map(drop))
    }

    /// Takes what changed in a directory back into this workspace; the changes. `ignore` is "git" or "none". With `upper`, the upper
    /// layer of an overlay over `directory`, only that is read, and the files become those of the checkpoint `base` (the head by
    /// default) seen through it.
    #[pyo3(signature = (directory, *, ignore = "git", upper = None, base = None, excludes_file = None))]
    fn capture(
        &self,
        py: Python<'_>,
        directory: Directory,
        ignore: &str,
        upper: Option<Directory>,
        base: Option<&Bound<'_, PyAny>>,
        excludes_file: Option<Directory>,
    ) -> PyResult<Vec<Change>> {
        let repository = self.inner.repository();
        let ignore = match ignore {
            "git" => Ignore::Git,
            "none" => Ignore::None,
            other => return Err(invalid(format!("ignore={other:?}: \"git\" or \"none\""))),
        };
        let options = CaptureOptions {
            ignore,
            upper: upper.map(|upper| upper.0),
            base: base.map(|base| checkpoint_id(base, &repository)).transpose()?,
            excludes_file: excludes_file.map(|file| file.0),
        };
        let changes = work(py, || self.inner.capture(&directory.0, &options))?;
        Ok(Change::list(changes, &repository))
    }

    /// Makes the content a commit on a branch of a git repository; the commit's name. The parent is the commit that this workspace
    /// was imported from. A branch that is checked out is refused.
    #[pyo3(signature = (repository, branch, *, message = None, author = None, parents = None))]
    fn export_git(
        &self,
        py: Python<'_>,
        repository: Directory,
        branch: String,
        message: Option<String>,
        author: Option<String>,
        parents: Option<Vec<String>>,
    ) -> PyResult<String> {
        let options = ExportOptions {
            branch,
            message,
            author,
            parents,
        };
        work(py, || self.inner.export_git(&repository.0, &options))
    }
}

/// The name or id of a branch or checkpoint, where either will do.
pub(crate) fn is_text(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyString>()
}
