//! The present content into a directory.
//!
//! A job is one directory: it is made and filled relative to its parent's descriptor, and its subdirectories become jobs.
//! Two threads take jobs from one stack. Whatever was made is noted, so that an error takes all of it away again.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use pyi_cas::{Id, Kind};
use pyi_git::{ObjectFormat, ObjectKind, Oid, hash_object};
use pyi_tree::{Mode, Node};

use super::os::{Dir, Stat, set_mtime, set_mtime_at, stat_fd};
use super::private_git::{self, Source};
use super::stat_cache::{Known, StatWriter, sandbox_cache_path, walk_order};
use crate::engine::{Engine, now_ns};
use crate::workspace::Workspace;
use crate::{Error, Result};

/// File systems take names up to this long.
const NAME_MAX_BYTES: usize = 255;
/// Below this many files one thread does it.
const FILES_FOR_THREADS: u64 = 200;
const THREADS: usize = 2;

/// How to materialize.
#[derive(Clone, Debug)]
pub struct MaterializeOptions {
    /// Make a private git directory if the content came from a git repository.
    pub git: bool,
}

impl Default for MaterializeOptions {
    fn default() -> Self {
        MaterializeOptions { git: true }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaterializeReport {
    /// Files and symlinks.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Directories below the given one; submodules are empty ones.
    pub directories: u64,
    /// Whether there is a private git directory.
    pub git: bool,
}

/// A file that was written.
pub(super) struct Written {
    pub(super) path: Vec<u8>,
    pub(super) mode: Mode,
    pub(super) id: Id,
    pub(super) stat: Stat,
    /// Git's name of the content, if it was asked for.
    pub(super) oid: Option<Oid>,
}

/// What was made so far, in any order.
#[derive(Default)]
struct Made {
    files: Vec<Written>,
    directories: Vec<Vec<u8>>,
}

struct Job {
    parent: Arc<Dir>,
    /// Empty for the root, which is there already.
    name: Vec<u8>,
    path: Vec<u8>,
    node: Arc<Node>,
}

#[derive(Default)]
struct Jobs {
    stack: Vec<Job>,
    busy: usize,
    failed: Option<Error>,
}

struct Writer<'a> {
    engine: &'a Engine,
    root: &'a Path,
    format: Option<ObjectFormat>,
    /// Every file gets this time of modification, a second before anything was written: whoever writes to a file later
    /// leaves another one, even within the same tick of the clock. So neither git nor the stat cache has to doubt.
    mtime_seconds: i64,
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

impl Workspace {
    /// Writes the present content into `directory`, which must be absent or empty. Files get 0644 or 0755 less the umask;
    /// submodules become empty directories. If the content came from git and the options say so, a private git directory
    /// makes `git status`, `diff`, `log` and `commit` work there; the source repository is not touched. O(content).
    ///
    /// # Errors
    /// `InvalidArgument` if the directory holds something, or is inside the store; `InvalidPath` for names that the file system
    /// refuses or takes for the same; `Storage` (a full disk), `Git` if the source is gone. Nothing is left behind then.
    pub fn materialize(&self, directory: &Path, options: &MaterializeOptions) -> Result<MaterializeReport> {
        self.engine.open()?;
        let (content, pins) = {
            let content = self.content.lock();
            (content.clone(), content.all_pins())
        };
        let files = content.files.clone();
        let source = if options.git {
            private_git::source(&self.engine, &content)?
        } else {
            None
        };
        if source.is_some() {
            self.engine.git_map.refresh();
        }
        let mut target = Target::prepare(directory, &self.engine.path)?;
        let result = fill(self, files.root(), &target, source.as_ref());
        match result {
            Ok(report) => {
                target.made.clear();
                let path =
                    std::fs::canonicalize(&target.path).map_err(|error| Error::io("find", &target.path, &error))?;
                self.content.lock().synced.set(&path, files, pins);
                Ok(report)
            }
            Err(error) => {
                target.remove();
                Err(error)
            }
        }
    }
}

fn fill(
    workspace: &Workspace,
    root: &Arc<Node>,
    target: &Target,
    source: Option<&Source>,
) -> Result<MaterializeReport> {
    let dir = Arc::new(Dir::open(&target.path).map_err(|error| Error::io("open", &target.path, &error))?);
    let writer = Writer {
        engine: &workspace.engine,
        root: &target.path,
        format: source.map(|source| source.format),
        mtime_seconds: i64::try_from(now_ns() / 1_000_000_000).unwrap_or(1) - 1,
        jobs: Mutex::new(Jobs::default()),
        changed: Condvar::new(),
    };
    let job = Job {
        parent: dir.clone(),
        name: Vec::new(),
        path: Vec::new(),
        node: root.clone(),
    };
    writer.jobs.lock().stack.push(job);
    let mut made = Made::default();
    if root.files() < FILES_FOR_THREADS {
        writer.work(&mut made);
    } else {
        let parts = std::thread::scope(|scope| {
            let start = || {
                scope.spawn(|| {
                    let mut made = Made::default();
                    writer.work(&mut made);
                    made
                })
            };
            let threads: Vec<_> = (1..THREADS).map(|_| start()).collect();
            writer.work(&mut made);
            threads
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        let mut failed = writer.jobs.lock();
        for part in parts {
            match part {
                Ok(part) => {
                    made.files.extend(part.files);
                    made.directories.extend(part.directories);
                }
                Err(_) => failed.failed = Some(Error::corrupt("a thread of materialize stopped; report this as a bug")),
            }
        }
    }
    let result = match writer.jobs.into_inner().failed {
        Some(error) => Err(error),
        None => finish(workspace, &mut made, target, source),
    };
    if result.is_err() {
        made.remove(&dir);
    }
    result
}

fn finish(
    workspace: &Workspace,
    made: &mut Made,
    target: &Target,
    source: Option<&Source>,
) -> Result<MaterializeReport> {
    made.files.sort_unstable_by(|a, b| walk_order(&a.path, &b.path));
    if let Some(source) = source {
        private_git::create(&workspace.engine, &target.path, source, workspace.name(), &made.files)?;
    }
    let mut cache = StatWriter::default();
    for file in &made.files {
        cache.push(
            &file.path,
            &Known {
                stamp: file.stat.stamp,
                id: file.id,
                is_racy: false,
            },
        );
    }
    let path = sandbox_cache_path(&workspace.engine.path, &target.path)?;
    if let Ok(canonical) = std::fs::canonicalize(&target.path) {
        cache.write(&path, &canonical);
    }
    Ok(MaterializeReport {
        files: made.files.len() as u64,
        bytes: made.files.iter().map(|file| file.stat.stamp.size_bytes).sum(),
        directories: made.directories.len() as u64,
        git: source.is_some(),
    })
}

impl Writer<'_> {
    /// Does jobs until there are none and none can come.
    fn work(&self, made: &mut Made) {
        loop {
            let job = {
                let mut jobs = self.jobs.lock();
                loop {
                    if jobs.failed.is_some() {
                        return;
                    }
                    if let Some(job) = jobs.stack.pop() {
                        jobs.busy += 1;
                        break job;
                    }
                    if jobs.busy == 0 {
                        return;
                    }
                    self.changed.wait(&mut jobs);
                }
            };
            let mut found = Vec::new();
            let done = self.directory(job, made, &mut found);
            let mut jobs = self.jobs.lock();
            jobs.busy -= 1;
            match done {
                Ok(()) => jobs.stack.append(&mut found),
                Err(error) => jobs.failed = jobs.failed.take().or(Some(error)),
            }
            drop(jobs);
            self.changed.notify_all();
        }
    }

    fn directory(&self, job: Job, made: &mut Made, found: &mut Vec<Job>) -> Result<()> {
        let dir = if job.name.is_empty() {
            job.parent
        } else {
            self.make_directory(&job.parent, &job.name, &job.path, made)?;
            let opened = job.parent.directory(&job.name);
            Arc::new(opened.map_err(|error| self.failed("open", &job.path, &error))?)
        };
        self.entries(&dir, &job.path, &job.node, made, found)
    }

    fn make_directory(&self, parent: &Dir, name: &[u8], path: &[u8], made: &mut Made) -> Result<()> {
        parent
            .make_directory(name)
            .map_err(|error| self.failed("create", path, &error))?;
        made.directories.push(path.to_vec());
        Ok(())
    }

    fn entries(
        &self,
        dir: &Arc<Dir>,
        above: &[u8],
        node: &Arc<Node>,
        made: &mut Made,
        found: &mut Vec<Job>,
    ) -> Result<()> {
        for index in 0..node.len() {
            let mode = node.mode(index);
            if mode == Mode::Piece {
                self.entries(dir, above, node.child(index, &self.engine.loader)?, made, found)?;
                continue;
            }
            let name = node.name(index);
            let path = if above.is_empty() {
                name.to_vec()
            } else {
                [above, b"/", name].concat()
            };
            if name.len() > NAME_MAX_BYTES {
                let path = String::from_utf8_lossy(&path);
                return Err(Error::invalid_path(format!(
                    "{path:?}: a name of {} bytes, and file systems take 255; rename it to materialize",
                    name.len()
                )));
            }
            match mode {
                Mode::Directory => {
                    let node = node.child(index, &self.engine.loader)?.clone();
                    found.push(Job {
                        parent: dir.clone(),
                        name: name.to_vec(),
                        path,
                        node,
                    });
                }
                Mode::Gitlink => self.make_directory(dir, name, &path, made)?,
                _ => self.file(dir, name, path, node, index, made)?,
            }
        }
        Ok(())
    }

    fn file(&self, dir: &Dir, name: &[u8], path: Vec<u8>, node: &Node, index: usize, made: &mut Made) -> Result<()> {
        let row = node.row(index);
        let content = self.engine.content(&row.id, node.pending(index))?;
        let id = if row.is_dirty() {
            Kind::Blob.id_of(&content)
        } else {
            row.id
        };
        let mut written = Written {
            path,
            mode: row.mode,
            id,
            stat: Stat::default(),
            oid: None,
        };
        let fill = |error: io::Error| self.failed("write", &written.path, &error);
        let stat = if row.mode == Mode::Symlink {
            dir.symlink(&content, name)
                .map_err(|error| self.failed("create", &written.path, &error))?;
            set_mtime_at(dir, name, self.mtime_seconds)
                .and_then(|()| dir.stat(name))
                .map_err(fill)
        } else {
            let permissions = if row.mode == Mode::Executable { 0o755 } else { 0o644 };
            let created = dir.create(name, permissions);
            let mut file = created.map_err(|error| self.failed("create", &written.path, &error))?;
            file.write_all(&content)
                .and_then(|()| set_mtime(&file, self.mtime_seconds))
                .and_then(|()| stat_fd(file.as_raw_fd()))
                .map_err(fill)
        };
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) => {
                made.files.push(written);
                return Err(error);
            }
        };
        written.stat = stat;
        written.oid = self.format.map(|format| {
            let known = self.engine.git_map.by_id(format, &id);
            known.unwrap_or_else(|| hash_object(format, ObjectKind::Blob, &content))
        });
        made.files.push(written);
        Ok(())
    }

    fn failed(&self, action: &str, path: &[u8], error: &io::Error) -> Error {
        use std::os::unix::ffi::OsStrExt;
        let shown = String::from_utf8_lossy(path);
        match error.raw_os_error() {
            Some(libc::EEXIST) => Error::invalid_path(format!(
                "{shown:?}: this file system takes its name for that of another entry; rename one, or use another file system"
            )),
            Some(libc::ENAMETOOLONG | libc::EILSEQ | libc::EINVAL) if action == "create" => Error::invalid_path(
                format!("{shown:?}: the file system refuses this name or target ({error}); rename it"),
            ),
            _ => Error::io(action, &self.root.join(std::ffi::OsStr::from_bytes(path)), error),
        }
    }
}

impl Made {
    /// Takes away what was made. Only that: what somebody else put there stays, and the directories above it.
    fn remove(&mut self, root: &Arc<Dir>) {
        self.directories.sort_unstable_by(|a, b| walk_order(a, b));
        let entries = self.files.iter().map(|file| (&file.path, false));
        let entries = entries.chain(self.directories.iter().rev().map(|path| (path, true)));
        for (path, is_directory) in entries {
            let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
                Some(slash) => (path.get(..slash), path.get(slash + 1..).unwrap_or_default()),
                None => (None, path.as_slice()),
            };
            let mut dir = Ok(root.clone());
            for name in parent.into_iter().flat_map(|parent| parent.split(|&byte| byte == b'/')) {
                dir = dir.and_then(|dir: Arc<Dir>| dir.directory(name).map(Arc::new));
            }
            if let Ok(dir) = dir {
                let _ = dir.unlink(name, is_directory);
            }
        }
    }
}

/// The directory to fill, and those that were made for it.
struct Target {
    path: PathBuf,
    /// Directories that were not there, the outermost first.
    made: Vec<PathBuf>,
}

impl Target {
    fn prepare(directory: &Path, store: &Path) -> Result<Self> {
        let failed = |action: &str, error: &io::Error| match error.raw_os_error() {
            Some(libc::ENAMETOOLONG) => Error::invalid_path(format!("{}: {error}", directory.display())),
            _ => Error::io(action, directory, error),
        };
        let mut target = Target {
            path: std::path::absolute(directory).map_err(|e| failed("open", &e))?,
            made: Vec::new(),
        };
        let path = target.path.clone();
        // What exists decides where this is; inside the store nothing is made.
        let nearest = path.ancestors().find_map(|above| std::fs::canonicalize(above).ok());
        let store = std::fs::canonicalize(store).map_err(|error| Error::io("open", store, &error))?;
        if nearest.is_some_and(|nearest| nearest.starts_with(&store)) {
            return Err(Error::invalid(format!(
                "{} is inside the store; choose another directory",
                path.display()
            )));
        }
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|above| above.symlink_metadata().is_err())
            .collect();
        for above in missing.into_iter().rev() {
            match std::fs::create_dir(above) {
                Ok(()) => target.made.push(above.to_path_buf()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    target.remove();
                    return Err(failed("create", &error));
                }
            }
        }
        let opened =
            std::fs::canonicalize(&path).and_then(|path| Ok((std::fs::read_dir(&path)?.next().is_none(), path)));
        match opened {
            Ok((true, path)) => target.path = path,
            Ok((false, _)) => {
                return Err(Error::invalid(format!(
                    "{} is not empty; materialize into a new directory, or capture this one",
                    path.display()
                )));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
                return Err(Error::invalid(format!("{} is not a directory", path.display())));
            }
            Err(error) => {
                target.remove();
                return Err(failed("open", &error));
            }
        }
        Ok(target)
    }

    fn remove(&self) {
        for made in self.made.iter().rev() {
            let _ = std::fs::remove_dir(made);
        }
    }
}
