//! What changed in a directory, back to the workspace.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_cas::{Id, Pin};
use pyi_tree::{Sealer, Tree, seal};

use super::observe::Observer;
use super::os::Dir;
use super::overlay::overlaid;
use super::private_git::source_git_dir;
use super::rules::Rules;
use super::scan::{Scan, apply, replay};
use super::stat_cache::sandbox_cache_path;
use crate::compare::changes;
use crate::engine::Engine;
use crate::entry::Change;
use crate::workspace::{HEAVY, Workspace};
use crate::{Error, Result};

/// Contents beyond this are stored at once; up to it they wait in memory for the next checkpoint.
const KEEP_BYTES: usize = 64 << 20;
/// What makes whoever counts bytes look at the size of the store.
const MUCH_BYTES: u64 = 1 << 30;
/// How often a capture starts again because the workspace was edited meanwhile.
const ATTEMPTS: usize = 5;

/// Which files are left out of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ignore {
    /// What git ignores, unless the workspace has it already.
    #[default]
    Git,
    /// None.
    None,
}

/// How to capture.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// Which files are left out.
    pub ignore: Ignore,
    /// The upper layer of an overlay whose lower layer is the directory: only it is read, O(changed). The workspace's files
    /// become those of `base` seen through it.
    pub upper: Option<PathBuf>,
    /// With `upper`: the checkpoint that the directory was materialized from; the workspace's head if `None`.
    pub base: Option<Id>,
    /// The user's `core.excludesFile` (by default `$XDG_CONFIG_HOME/git/ignore`), if it is to be obeyed.
    pub excludes_file: Option<PathBuf>,
}

/// What a capture did.
#[derive(Clone, Debug, Default)]
pub struct CaptureReport {
    /// What changed in the workspace, in the byte order of paths.
    pub changes: Vec<Change>,
    /// Entries that were looked at.
    pub entries: u64,
    /// Files and symlinks whose content was read; untouched ones are not.
    pub files_read: u64,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Files that kept changing while they were read: what was read last was taken, and will be read again.
    pub unsettled: u64,
}

impl Workspace {
    /// Makes the workspace's files equal to those of `directory`: added, modified, removed, modes, symlinks, empty
    /// directories; all or nothing. Sockets, fifos and devices are left out, `.git` always. Untouched files are not read
    /// again. O(entries), or O(changed) with an `upper`.
    ///
    /// # Errors
    /// `InvalidPath` for a name that a workspace refuses; `InvalidArgument` for an upper layer with references;
    /// `NotFound` if there is no such directory or base; `Conflict` if the workspace is edited without pause; `Storage`.
    /// The workspace is as it was then.
    pub fn capture(&self, directory: &Path, options: &CaptureOptions) -> Result<Vec<Change>> {
        Ok(self.capture_report(directory, options)?.changes)
    }

    /// [`Workspace::capture`], with counts.
    ///
    /// # Errors
    /// As [`Workspace::capture`].
    pub fn capture_report(&self, directory: &Path, options: &CaptureOptions) -> Result<CaptureReport> {
        self.engine.open()?;
        let directory = open_root(directory)?.1;
        // What is found in the store, or stored early, is reached by nothing until the end.
        let _section = self.engine.store().section();
        match &options.upper {
            None => self.capture_directory(&directory, options),
            Some(upper) => self.capture_upper(&directory, upper, options),
        }
    }

    fn capture_directory(&self, directory: &Path, options: &CaptureOptions) -> Result<CaptureReport> {
        let synced = self.content.lock().synced.get(directory);
        if let Some((base, pins)) = synced {
            return self.capture_since(directory, base, pins, options);
        }
        for _ in 0..ATTEMPTS {
            let files = self.files()?;
            let (dir, root) = open_root(directory)?;
            let rules = self.rules(options, &[&root]);
            let mut scan = start(&self.engine, root, rules, KEEP_BYTES)?;
            scan.run(&dir, files.root())?;
            scan.observer.finish()?;
            let mut after = files.clone();
            apply(&mut after, std::mem::take(&mut scan.edits), &self.engine)?;
            let pin = self.keep(&scan, &mut after)?;
            if let Some(report) = self.adopt_capture(&scan, &files, after.clone(), Some(&files), pin)? {
                let mut content = self.content.lock();
                let pins = content.all_pins();
                content.synced.set(directory, after, pins);
                return Ok(report);
            }
        }
        Err(Error::conflict(
            "the workspace was edited while its directory was captured; stop the edits and capture again",
        ))
    }

    /// Captures what changed in a directory since this workspace was last the same as it; what was changed here meanwhile stays, but
    /// where the directory changed too.
    fn capture_since(
        &self,
        directory: &Path,
        base: Tree,
        mut pins: Vec<Arc<Pin>>,
        options: &CaptureOptions,
    ) -> Result<CaptureReport> {
        let (dir, root) = open_root(directory)?;
        let rules = self.rules(options, &[&root]);
        let mut scan = start(&self.engine, root, rules, KEEP_BYTES)?;
        scan.run(&dir, base.root())?;
        scan.observer.finish()?;
        let edits = std::mem::take(&mut scan.edits);
        let mut seen = base;
        apply(&mut seen, edits.clone(), &self.engine)?;
        pins.extend(self.keep(&scan, &mut seen)?);
        let mut content = self.content.lock();
        let before = content.files.clone();
        let mut after = before.clone();
        replay(&mut after, edits, &self.engine)?;
        let report = self.report(&scan, &before, &after)?;
        if !report.changes.is_empty() {
            self.check_lease(&mut content)?;
        }
        content.synced.set(directory, seen, pins.clone());
        if !report.changes.is_empty() {
            // What the directory has now may be in the store for its own sake only.
            content.rely_on(pins);
            content.files = after;
            content.changed(HEAVY);
        }
        Ok(report)
    }

    fn report(&self, scan: &Scan<'_>, before: &Tree, after: &Tree) -> Result<CaptureReport> {
        Ok(CaptureReport {
            changes: changes(&self.engine, before, after, false)?,
            entries: scan.entries,
            files_read: scan.observer.files_read,
            bytes_read: scan.observer.bytes_read,
            unsettled: scan.observer.unsettled,
        })
    }

    fn capture_upper(&self, lower: &Path, upper: &Path, options: &CaptureOptions) -> Result<CaptureReport> {
        let (files, head) = {
            let content = self.content.lock();
            (content.files.clone(), content.head.id)
        };
        let held = self.engine.hold(&options.base.unwrap_or(head))?;
        let base = held.files.clone();
        let (upper_dir, root) = open_root(upper)?;
        let (lower_dir, lower) = open_root(lower)?;
        let rules = self.rules(options, &[&root, &lower]);
        let mut scan = start(&self.engine, root, rules, 0)?;
        scan.run_upper(&upper_dir, lower_dir, &lower, base.root(), files.root())?;
        scan.observer.finish()?;
        let mut after = overlaid(&base, std::mem::take(&mut scan.edits), &self.engine)?;
        let pin = self.keep(&scan, &mut after)?;
        // The files are those of the base, which need not be reachable either.
        let pins = pin.into_iter().chain([held.pin.clone()]);
        match self.adopt_capture(&scan, &files, after, None, pins)? {
            Some(report) => Ok(report),
            None => Err(Error::conflict("the workspace was edited meanwhile; capture again")),
        }
    }

    /// Makes `after` the files, unless they are not `expected` any more: `None` then.
    fn adopt_capture(
        &self,
        scan: &Scan<'_>,
        before: &Tree,
        after: Tree,
        expected: Option<&Tree>,
        pins: impl IntoIterator<Item = Arc<Pin>>,
    ) -> Result<Option<CaptureReport>> {
        let report = self.report(scan, before, &after)?;
        if report.changes.is_empty() {
            return Ok(Some(report));
        }
        let mut content = self.content.lock();
        if expected.is_some_and(|expected| !Arc::ptr_eq(expected.root(), content.files.root())) {
            return Ok(None);
        }
        self.check_lease(&mut content)?;
        content.rely_on(pins);
        content.files = after;
        content.changed(HEAVY);
        Ok(Some(report))
    }

    /// Pins what a scan found in the store or put there, by storing the nodes above it. O(changed); nothing if it found none.
    fn keep(&self, scan: &Scan<'_>, files: &mut Tree) -> Result<Option<Arc<Pin>>> {
        if !scan.observer.relies_on_store() {
            return Ok(None);
        }
        let mut batch = self.engine.take_batch();
        let sealed = seal(files.root_mut(), &mut Sealer::new(self.engine.store(), &mut batch));
        let stored = sealed.map_err(Error::from).and_then(|id| {
            self.engine.store().commit(&mut batch)?;
            Ok(id)
        });
        self.engine.give_batch(batch);
        // How much was stored early is not known here, but much.
        self.engine.grown(MUCH_BYTES);
        Ok(Some(Arc::new(self.engine.store().pin(&stored?))))
    }

    fn rules(&self, options: &CaptureOptions, layers: &[&Path]) -> Option<Rules> {
        if options.ignore == Ignore::None {
            return None;
        }
        let git = self.content.lock().git.clone();
        let own = layers.iter().find_map(|layer| {
            let git_dir = crate::locate::git_dir(layer)
                .ok()
                .flatten()
                .unwrap_or_else(|| layer.join(".git"));
            let exclude = crate::locate::common_dir(&git_dir)
                .unwrap_or(git_dir)
                .join("info/exclude");
            exclude.exists().then_some(exclude)
        });
        let exclude = own.or_else(|| Some(source_git_dir(&self.engine, &git)?.join("info/exclude")));
        let files: Vec<&Path> = options
            .excludes_file
            .iter()
            .chain(&exclude)
            .map(PathBuf::as_path)
            .collect();
        Some(Rules::new(&files))
    }
}

/// Opens a directory to be scanned; also gives its canonical path.
pub(super) fn open_root(directory: &Path) -> Result<(Dir, PathBuf)> {
    let failed = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::ENOENT) => Error::not_found(format!("{}: no such directory", directory.display())),
        Some(libc::ENOTDIR) => Error::invalid(format!("{}: not a directory", directory.display())),
        _ => Error::io("open", directory, &error),
    };
    let canonical = std::fs::canonicalize(directory).map_err(failed)?;
    Ok((Dir::open(&canonical).map_err(failed)?, canonical))
}

/// A scan of the directory at the canonical path `root`.
pub(super) fn start(engine: &Engine, root: PathBuf, rules: Option<Rules>, keep_bytes: usize) -> Result<Scan<'_>> {
    let cache = sandbox_cache_path(&engine.path, &root)?;
    let store = Dir::open(&engine.path).and_then(|dir| dir.stat_self()).ok();
    Ok(Scan {
        observer: Observer::new(engine, root, cache, keep_bytes),
        rules,
        store: store.map(|stat| (stat.stamp.dev, stat.stamp.ino)),
        edits: Vec::new(),
        path: Vec::new(),
        entries: 0,
    })
}
