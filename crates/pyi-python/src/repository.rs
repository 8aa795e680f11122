//! `Repository` and `open`.

use std::collections::BTreeMap;

use pyi_engine::git::History;
use pyi_engine::{GcOptions, Repository as EngineRepository, RepositoryOptions, Value, Version};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::checkpoint::Checkpoint;
use crate::convert::{Count, Directory, Number, Text, checkpoint_id, seconds, value_from, version};
use crate::errors::{invalid, work};
use crate::maintenance;
use crate::retention::{Changes, GcReport, Given, Operation, Retention};
use crate::superposition::Superposition;
use crate::workspace::{Expected, Workspace, durability_named, is_text};

/// One store, shared by any number of processes, with its branches, workspaces and superpositions.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct Repository {
    pub(crate) inner: EngineRepository,
}

/// Opens the repository for a work tree, git directory, other directory or store.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
#[pyo3(
    signature = (path, *, create = true, durability = "process", store = None, cache_bytes = Count(32 << 20), trees_bytes = None, cap_bytes = None),
    text_signature = "(path, *, create=True, durability='process', store=None, cache_bytes=33554432, trees_bytes=None, cap_bytes=None)"
)]
pub(crate) fn open(
    py: Python<'_>,
    path: Directory,
    create: bool,
    durability: &str,
    store: Option<Directory>,
    cache_bytes: Count,
    trees_bytes: Option<Count>,
    cap_bytes: Option<Count>,
) -> PyResult<Repository> {
    let cap_bytes = cap_bytes.map(|bytes| bytes.0);
    if cap_bytes == Some(0) {
        return Err(invalid(
            "cap_bytes=0: no store is that small; None leaves the cap as it is",
        ));
    }
    let options = RepositoryOptions {
        create,
        durability: durability_named(durability)?,
        store: store.map(|store| store.0),
        cap_bytes,
        cache_bytes: cache_bytes.size(),
        trees_bytes: trees_bytes.map(Count::size),
    };
    let inner = work(py, || EngineRepository::open(&path.0, &options))?;
    Ok(Repository { inner })
}

#[pymethods]
impl Repository {
    /// The store's directory.
    #[getter]
    fn path(&self) -> std::path::PathBuf {
        self.inner.path().to_path_buf()
    }

    /// Whether close() was called.
    #[getter]
    fn closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Closes the repository; idempotent.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        work(py, || self.inner.close())
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (_kind, _error, _trace, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: Option<&Bound<'_, PyAny>>,
        _error: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let closed = if self.closed() { ", closed" } else { "" };
        format!("<Repository {}{closed}>", self.inner.path().display())
    }

    /// Gives back the memory of what the store has; it is loaded again where it is needed.
    fn trim(&self, py: Python<'_>) -> PyResult<()> {
        work(py, || {
            self.inner.trim()?;
            // SAFETY: it may be called at any time, from any thread. What the allocator keeps for the next allocations would else
            // stay with the process.
            unsafe { libmimalloc_sys::mi_collect(true) };
            Ok(())
        })
    }

    /// Checkpoints several workspaces in one append, with one message and metadata for all; returns the checkpoints in their order.
    #[pyo3(
        signature = (workspaces, message = Text(String::new()), *, metadata = None, durability = None),
        text_signature = "(self, workspaces, message='', *, metadata=None, durability=None)"
    )]
    fn checkpoint_many(
        &self,
        py: Python<'_>,
        workspaces: Vec<PyRef<'_, Workspace>>,
        message: Text,
        metadata: Option<&Bound<'_, PyDict>>,
        durability: Option<&str>,
    ) -> PyResult<Vec<Checkpoint>> {
        let durability = durability.map(durability_named).transpose()?;
        let metadata = metadata.map_or(Ok(Value::Null), |metadata| value_from(metadata.as_any()))?;
        let workspaces: Vec<_> = workspaces.iter().map(|workspace| workspace.inner.clone()).collect();
        let made = work(py, || {
            let durability = durability.unwrap_or_else(|| self.inner.durability());
            self.inner
                .checkpoint_many(&workspaces, &message.0, &metadata, durability)
        })?;
        Ok(made.into_iter().map(|inner| Checkpoint { inner }).collect())
    }

    /// Imports the commit that `rev` names from a git repository, as a checkpoint and a new branch. `history` is "lazy" (older commits
    /// stay in the source) or "full" (each becomes a checkpoint).
    #[pyo3(
        signature = (source, rev = Text("HEAD".to_owned()), branch = Text("main".to_owned()), *, history = "lazy"),
        text_signature = "(self, source, rev='HEAD', branch='main', *, history='lazy')"
    )]
    fn import_git(
        &self,
        py: Python<'_>,
        source: Directory,
        rev: Text,
        branch: Text,
        history: &str,
    ) -> PyResult<Workspace> {
        let (rev, branch) = (rev.0.as_str(), branch.0.as_str());
        let history = match history {
            "lazy" => History::Lazy,
            "full" => History::Full,
            other => return Err(invalid(format!("history={other:?}: \"lazy\" or \"full\""))),
        };
        Ok(Workspace {
            inner: work(py, || self.inner.import_git(&source.0, rev, branch, history))?,
        })
    }

    /// Imports a directory (all but `.git` and the store), as a checkpoint and a new branch.
    #[pyo3(signature = (directory, branch = Text("main".to_owned())), text_signature = "(self, directory, branch='main')")]
    fn import_dir(&self, py: Python<'_>, directory: Directory, branch: Text) -> PyResult<Workspace> {
        Ok(Workspace {
            inner: work(py, || self.inner.import_dir(&directory.0, &branch.0))?,
        })
    }

    /// An unnamed workspace at the head of a branch, or at the checkpoint `at`.
    #[pyo3(signature = (branch = Text("main".to_owned()), *, at = None), text_signature = "(self, branch='main', *, at=None)")]
    fn workspace(&self, py: Python<'_>, branch: Text, at: Option<&Bound<'_, PyAny>>) -> PyResult<Workspace> {
        let inner = match at {
            None => work(py, || self.inner.workspace(&branch.0))?,
            Some(at) => {
                let id = checkpoint_id(at, &self.inner)?;
                work(py, || self.inner.workspace_at(id))?
            }
        };
        Ok(Workspace { inner })
    }

    /// A named workspace to read, at its last checkpoint: its owner keeps it until something is written through this handle.
    fn view_workspace(&self, py: Python<'_>, name: Text) -> PyResult<Workspace> {
        Ok(Workspace {
            inner: work(py, || self.inner.view_workspace(&name.0))?,
        })
    }

    /// A named workspace, at its last checkpoint. Takes the lease: its owner until now can read on and write no more.
    fn open_workspace(&self, py: Python<'_>, name: Text) -> PyResult<Workspace> {
        Ok(Workspace {
            inner: work(py, || self.inner.open_workspace(&name.0))?,
        })
    }

    /// The names of all named workspaces, sorted.
    fn workspaces(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        work(py, || self.inner.workspaces())
    }

    /// Gives up the name of a workspace, or of a superposition together with those of its candidates.
    fn drop(&self, py: Python<'_>, name: Text) -> PyResult<()> {
        work(py, || self.inner.drop_name(&name.0))
    }

    /// All branches: name to checkpoint id.
    fn branches(&self, py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
        let branches = work(py, || self.inner.branches())?;
        Ok(branches.into_iter().map(|(name, id)| (name, id.to_string())).collect())
    }

    /// Deletes a branch; with `expect` only if it is at that checkpoint.
    #[pyo3(signature = (name, *, expect = Expected::Default), text_signature = "(self, name, *, expect=...)")]
    fn delete_branch(&self, py: Python<'_>, name: Text, expect: Expected<'_>) -> PyResult<()> {
        let expect = match expect {
            Expected::Default => None,
            Expected::Absent => return Err(invalid("expect=None: a branch that does not exist cannot be deleted")),
            Expected::Is(checkpoint) => Some(checkpoint_id(&checkpoint, &self.inner)?),
        };
        work(py, || self.inner.delete_branch(&name.0, expect))
    }

    /// A checkpoint by its id or an unambiguous prefix of at least 8 digits.
    fn get_checkpoint(&self, py: Python<'_>, id: Text) -> PyResult<Checkpoint> {
        Ok(Checkpoint {
            inner: work(py, || self.inner.checkpoint(&id.0))?,
        })
    }

    /// Forks `n` candidates from a workspace, checkpoint, id or branch.
    #[pyo3(signature = (base, n, *, weights = None, ttl = None, name = None))]
    fn superpose(
        &self,
        py: Python<'_>,
        base: &Bound<'_, PyAny>,
        n: Count,
        weights: Option<Vec<Number>>,
        ttl: Option<Number>,
        name: Option<Text>,
    ) -> PyResult<Superposition> {
        let branch = if is_text(base) {
            self.inner.branch(&base.extract::<Text>()?.0).ok()
        } else {
            None
        };
        let base = match branch {
            Some(id) => Version::Id(id),
            None => version(base, &self.inner)?,
        };
        let weights = weights.map(|weights| weights.iter().map(|weight| weight.0).collect());
        let (n, ttl) = (n.size(), seconds("ttl", ttl)?);
        let name = name.as_ref().map(|name| name.0.as_str());
        Ok(Superposition {
            inner: work(py, || self.inner.superpose(&base, n, weights, ttl, name))?,
        })
    }

    /// A named superposition, reattached.
    fn superposition(&self, py: Python<'_>, name: Text) -> PyResult<Superposition> {
        Ok(Superposition {
            inner: work(py, || self.inner.superposition(&name.0))?,
        })
    }

    /// Whether a workspace was opened through this very object.
    fn _owns(&self, workspace: &Workspace) -> bool {
        workspace.inner.is_in(&self.inner)
    }

    /// The names of all living named superpositions, sorted.
    fn superpositions(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        work(py, || self.inner.superpositions())
    }

    /// Keeps a checkpoint, and all it reaches, whatever retention says.
    fn keep(&self, py: Python<'_>, checkpoint: &Bound<'_, PyAny>) -> PyResult<()> {
        let id = checkpoint_id(checkpoint, &self.inner)?;
        work(py, || self.inner.keep(&id))
    }

    /// Gives up a checkpoint that was kept.
    fn unkeep(&self, py: Python<'_>, checkpoint: &Bound<'_, PyAny>) -> PyResult<()> {
        let id = checkpoint_id(checkpoint, &self.inner)?;
        work(py, || self.inner.unkeep(&id))
    }

    /// The ids of the checkpoints that are kept.
    fn kept(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let kept = work(py, || self.inner.kept())?;
        Ok(kept.iter().map(ToString::to_string).collect())
    }

    /// The last operations on branches, names, kept checkpoints and settings, newest first.
    #[pyo3(signature = (limit = None))]
    fn history(&self, py: Python<'_>, limit: Option<Count>) -> PyResult<Vec<Operation>> {
        let history = work(py, || self.inner.history(limit.map(Count::size)))?;
        history.into_iter().map(|one| Operation::new(py, one)).collect()
    }

    /// Takes back the last operations, or the one at `position`, if what they left still stands; what that did.
    #[pyo3(signature = (steps = Count(1), *, position = None), text_signature = "(self, steps=1, *, position=None)")]
    fn undo(&self, py: Python<'_>, steps: Count, position: Option<Count>) -> PyResult<Operation> {
        let undone = work(py, || match position {
            Some(position) => self.inner.undo_at(position.0),
            None => self.inner.undo(steps.size()),
        })?;
        Operation::new(py, undone)
    }

    /// What retention keeps; what is given is set, for all processes.
    #[pyo3(
        signature = (
            *, age = Given::Left, heads = Given::Left, history = Given::Left, per_day = Given::Left, weight = Given::Left,
            cap_bytes = Given::Left
        ),
        text_signature = "(self, *, age=..., heads=..., history=..., per_day=..., weight=..., cap_bytes=...)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn retention(
        &self,
        py: Python<'_>,
        age: Given<Number>,
        heads: Given<Count>,
        history: Given<Option<Count>>,
        per_day: Given<Option<Count>>,
        weight: Given<Option<Number>>,
        cap_bytes: Given<Option<Count>>,
    ) -> PyResult<Retention> {
        let changes = Changes {
            age,
            heads,
            history,
            per_day,
            weight,
            cap_bytes,
        };
        let mut retention = work(py, || self.inner.retention())?;
        if changes.apply(&mut retention)? {
            work(py, || self.inner.set_retention(&retention))?;
        }
        Ok(retention.into())
    }

    /// Removes what neither refs nor workspaces nor retention keep, and what is oldest of what only retention keeps until the rest fits
    /// into `budget_bytes`. `compact` rewrites everything.
    #[pyo3(signature = (*, budget_bytes = None, compact = false))]
    fn gc(&self, py: Python<'_>, budget_bytes: Option<Count>, compact: bool) -> PyResult<GcReport> {
        let options = GcOptions {
            budget_bytes: budget_bytes.map(|budget| budget.0),
            compact,
            ..GcOptions::default()
        };
        Ok(work(py, || self.inner.gc(&options))?.into())
    }

    /// Makes everything so far durable against power loss.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        work(py, || self.inner.flush())
    }

    /// Reads and checks everything; with `repair_from` repairs it. See `pyi.backup.repair`.
    #[pyo3(signature = (*, repair_from = None, bytes_per_second = None, progress = None))]
    fn scrub<'py>(
        slf: &Bound<'py, Self>,
        repair_from: Option<&Bound<'py, PyAny>>,
        bytes_per_second: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = slf.py().import("pyi.backup.repair")?.getattr("scrub")?;
        call.call1((slf, repair_from, bytes_per_second, progress))
    }

    /// Copies what is new to a directory or an `s3://` URL. See `pyi.backup.save`.
    #[pyo3(signature = (target, *, progress = None))]
    fn backup<'py>(
        slf: &Bound<'py, Self>,
        target: &Bound<'py, PyAny>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = slf.py().import("pyi.backup.save")?.getattr("back_up")?;
        call.call1((slf, target, progress))
    }

    /// Every change of branches, workspaces and superpositions that the ref logs still hold, oldest first.
    fn log_positions<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let call = slf.py().import("pyi.backup.report")?.getattr("log_positions")?;
        call.call1((slf,))
    }

    fn _log_positions(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64, String)>> {
        maintenance::positions(py, &self.inner)
    }

    #[pyo3(signature = (bytes_per_second = None, progress = None))]
    fn _scrub(
        &self,
        py: Python<'_>,
        bytes_per_second: Option<u64>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<maintenance::ScrubCore> {
        maintenance::scrub(py, &self.inner, bytes_per_second, progress)
    }

    fn _check<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        maintenance::check(py, &self.inner)
    }

    fn _image(&self, py: Python<'_>) -> PyResult<maintenance::StoreImage> {
        maintenance::image(py, &self.inner)
    }

    fn _missing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        maintenance::missing(py, &self.inner)
    }

    /// Counts: objects, segments, bytes_stored, bytes_logical, files_logical, dedup_ratio, bytes_hashed, bytes_trees_made, bytes_trees_loaded, branches,
    /// workspaces, damaged, lost_refs.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = work(py, || self.inner.stats())?;
        let found = PyDict::new(py);
        found.set_item("objects", stats.objects)?;
        found.set_item("segments", stats.segments)?;
        found.set_item("bytes_stored", stats.bytes_stored)?;
        found.set_item("bytes_logical", stats.bytes_logical)?;
        found.set_item("files_logical", stats.files_logical)?;
        let ratio = if stats.bytes_stored == 0 {
            0.0
        } else {
            stats.bytes_logical as f64 / stats.bytes_stored as f64
        };
        found.set_item("dedup_ratio", ratio)?;
        found.set_item("bytes_hashed", stats.bytes_hashed)?;
        found.set_item("bytes_trees_made", stats.bytes_trees_made)?;
        found.set_item("bytes_trees_loaded", stats.bytes_trees_loaded)?;
        found.set_item("branches", stats.branches)?;
        found.set_item("workspaces", stats.workspaces)?;
        found.set_item("damaged", stats.damaged)?;
        found.set_item("lost_refs", stats.lost_refs)?;
        Ok(found)
    }
}
