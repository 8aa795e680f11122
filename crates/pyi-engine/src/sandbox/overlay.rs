//! The upper layer of an overlay against the tree that its lower layer was materialized from. O(upper).
//!
//! Overlayfs keeps in the upper layer what was written, a *whiteout* for what was removed (a character device 0:0, or an
//! empty file with an attribute), and marks a directory that replaces the lower one as *opaque*. Directories that were
//! renamed by reference (`redirect_dir`) and files without their data (`metacopy`) are refused: whoever mounts switches
//! both off.

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyi_tree::{Mode, Node, Tree};

use super::observe::Observed;
use super::os::{Dir, FileType, Names, Stat, attribute};
use super::scan::{Edit, Left, Scan, vanished};
use crate::{Error, Result};

const OPAQUE: [&CStr; 2] = [c"trusted.overlay.opaque", c"user.overlay.opaque"];
const WHITEOUT: [&CStr; 2] = [c"trusted.overlay.whiteout", c"user.overlay.whiteout"];
const REDIRECT: [&CStr; 2] = [c"trusted.overlay.redirect", c"user.overlay.redirect"];
const METACOPY: [&CStr; 2] = [c"trusted.overlay.metacopy", c"user.overlay.metacopy"];

/// A directory of the merged view.
struct Merged<'a> {
    upper: &'a Dir,
    names: &'a Names,
    /// The same directory in the lower layer, if it shows through.
    lower: Option<Dir>,
    /// In the tree that the lower layer was materialized from.
    base: Option<Arc<Node>>,
    /// In the workspace as it is: what was captured before.
    current: Option<Arc<Node>>,
    in_ignored: bool,
}

type Row = Option<(Arc<Node>, usize)>;

impl Scan<'_> {
    /// Collects the edits that turn `base` into `lower` seen through `upper`. The observer's root is the upper layer.
    pub(super) fn run_upper(
        &mut self,
        upper: &Dir,
        lower: Dir,
        lower_root: &Path,
        base: &Arc<Node>,
        current: &Arc<Node>,
    ) -> Result<()> {
        let names = self.list(upper)?;
        let merged = Merged {
            upper,
            names: &names,
            lower: Some(lower),
            base: Some(base.clone()),
            current: Some(current.clone()),
            in_ignored: false,
        };
        self.merged(&merged, lower_root).map(drop)
    }

    fn merged(&mut self, dir: &Merged<'_>, lower_root: &Path) -> Result<Left> {
        let entered = match &mut self.rules {
            Some(rules) if !dir.in_ignored => match (dir.names.contains(b".gitignore"), &dir.lower) {
                (true, _) => rules.enter(&self.path, dir.upper),
                (false, Some(lower)) => rules.enter(&self.path, lower),
                (false, None) => false,
            },
            _ => false,
        };
        let mut left = Left::Nothing;
        for index in 0..dir.names.len() {
            let name = dir.names.name(index);
            self.entries += 1;
            if name != b".git" && self.at(name, |scan| scan.layered(dir, name, lower_root))? == Left::Ignored {
                left = Left::Ignored;
            }
        }
        if let (true, Some(rules)) = (entered, &mut self.rules) {
            rules.leave();
        }
        Ok(left)
    }

    fn row(&self, node: Option<&Arc<Node>>, name: &[u8]) -> Result<Row> {
        let Some(node) = node else { return Ok(None) };
        let loader = &self.observer.engine.loader;
        let mut node = node.clone();
        while node.level() > 0 {
            let piece = match node.search(name) {
                Ok(index) => index,
                Err(index) => index.saturating_sub(1),
            };
            let child = node.child(piece, loader)?.clone();
            node = child;
        }
        Ok(node.search(name).ok().map(|index| (node, index)))
    }

    fn child(&self, row: &Row) -> Result<Option<Arc<Node>>> {
        match row {
            Some((node, index)) if node.mode(*index) == Mode::Directory => {
                Ok(Some(node.child(*index, &self.observer.engine.loader)?.clone()))
            }
            _ => Ok(None),
        }
    }

    /// One entry of the upper layer.
    fn layered(&mut self, dir: &Merged<'_>, name: &[u8], lower_root: &Path) -> Result<Left> {
        let stat = match dir.upper.stat(name) {
            Ok(stat) => stat,
            Err(error) if vanished(&error) => return Ok(Left::Nothing),
            Err(error) => return Err(self.observer.failed("stat", &self.path, &error)),
        };
        let base = self.row(dir.base.as_ref(), name)?;
        let current = self.row(dir.current.as_ref(), name)?;
        let found = stat.file_type();
        let is_hidden = match found {
            FileType::Character | FileType::Other => true,
            FileType::File => stat.stamp.size_bytes == 0 && self.is_marked(dir.upper, name, WHITEOUT)?,
            FileType::Symlink | FileType::Directory => false,
        };
        if is_hidden {
            self.remove_if(base.is_some());
            return Ok(Left::Nothing);
        }
        let is_tracked = base.is_some() || current.is_some();
        let is_ignored = dir.in_ignored || self.is_ignored(found == FileType::Directory);
        if found == FileType::Directory {
            return self.layered_directory(dir, name, &base, &current, is_ignored, lower_root);
        }
        let stood = base.as_ref().map(|(node, index)| node.mode(*index));
        let in_the_way = matches!(stood, Some(Mode::Directory | Mode::Gitlink));
        if is_ignored && !is_tracked {
            return Ok(Left::Ignored);
        }
        if !is_tracked || found == FileType::Symlink {
            self.check_new(name, found)?;
        }
        self.refuse_references(dir.upper, name, &stat)?;
        let old = if in_the_way {
            None
        } else {
            base.as_ref().map(|(node, index)| (&**node, *index))
        };
        let observed = self.observer.look(dir.upper, name, &self.path, old)?;
        // Gone, or a directory by now: the next capture sees what it is.
        let is_gone = matches!(observed, Observed::Gone | Observed::Special | Observed::Directory);
        self.remove_if(in_the_way || (is_gone && base.is_some()));
        self.put(observed);
        Ok(Left::Nothing)
    }

    fn remove_if(&mut self, stands: bool) {
        if stands {
            self.edits.push(Edit::Remove(self.path.clone()));
        }
    }

    fn layered_directory(
        &mut self,
        dir: &Merged<'_>,
        name: &[u8],
        base: &Row,
        current: &Row,
        is_ignored: bool,
        lower_root: &Path,
    ) -> Result<Left> {
        let Some(upper) = self.open(dir.upper, name)? else {
            return Ok(Left::Nothing);
        };
        if self.attribute_of(&upper, REDIRECT)?.is_some() {
            return Err(self.refused("a renamed directory (redirect_dir)"));
        }
        let is_opaque = self.attribute_of(&upper, OPAQUE)?.is_some_and(|value| value == b"y");
        let lower = match (&dir.lower, is_opaque) {
            (Some(lower), false) => lower.directory(name).ok(),
            _ => None,
        };
        let stood = base.as_ref().map(|(node, index)| node.mode(*index));
        let was_directory = stood == Some(Mode::Directory);
        // A directory in the place of a file, or one that replaces the lower one.
        let replaces = stood.is_some_and(|mode| !matches!(mode, Mode::Directory | Mode::Gitlink));
        self.remove_if(replaces || (was_directory && is_opaque));
        let names = self.list(&upper)?;
        let mut places = vec![self.real_path()];
        if let Some(lower) = lower.as_ref().map(|_| lower_root.join(self.relative())) {
            places.push(lower);
        }
        let is_current = current
            .as_ref()
            .is_some_and(|(node, index)| node.mode(*index) == Mode::Directory);
        if is_ignored && !was_directory && !is_current && stood != Some(Mode::Gitlink) {
            return Ok(Left::Ignored);
        }
        let child = Merged {
            upper: &upper,
            names: &names,
            lower,
            base: if is_opaque { None } else { self.child(base)? },
            current: self.child(current)?,
            in_ignored: is_ignored,
        };
        if let (Some(Mode::Gitlink), Some((node, index))) = (stood, base) {
            self.kept_gitlink(&places, &names, (node, *index), |scan| scan.merged(&child, lower_root))?;
            return Ok(Left::Nothing);
        }
        if !was_directory {
            crate::paths::check(&self.path)?;
        }
        let before = self.edits.len();
        let left = self.merged(&child, lower_root)?;
        let is_new = !was_directory || is_opaque;
        // What the lower layer has and the tree has not was left out of the tree before.
        if is_new && child.lower.is_none() && left == Left::Nothing && self.edits.len() == before {
            self.edits.push(Edit::MakeDirectory(self.path.clone()));
        }
        Ok(left)
    }

    fn relative(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(&self.path))
    }

    fn refused(&self, what: &str) -> Error {
        Error::invalid(format!(
            "{}: the upper layer has {what}; mount the overlay with redirect_dir=off,metacopy=off",
            self.real_path().display()
        ))
    }

    fn refuse_references(&mut self, dir: &Dir, name: &[u8], stat: &Stat) -> Result<()> {
        if stat.file_type() != FileType::File || self.observer.knows(&self.path, stat) {
            return Ok(());
        }
        if self.is_marked(dir, name, METACOPY)? {
            return Err(self.refused("a file without its data (metacopy)"));
        }
        Ok(())
    }

    fn is_marked(&self, dir: &Dir, name: &[u8], attributes: [&CStr; 2]) -> Result<bool> {
        let failed = |error: std::io::Error| self.observer.failed("read the attributes of", &self.path, &error);
        let file = match dir.file(name) {
            Ok(file) => file,
            Err(error) if vanished(&error) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        for name in attributes {
            if attribute(file.as_raw_fd(), name).map_err(failed)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn attribute_of(&self, dir: &Dir, names: [&CStr; 2]) -> Result<Option<Vec<u8>>> {
        for name in names {
            let value = dir.attribute(name);
            let value = value.map_err(|error| self.observer.failed("read the attributes of", &self.path, &error))?;
            if value.is_some() {
                return Ok(value);
            }
        }
        Ok(None)
    }
}

/// `base` with the upper layer's edits applied.
pub(super) fn overlaid(base: &Tree, edits: Vec<Edit>, engine: &crate::engine::Engine) -> Result<Tree> {
    let mut tree = base.clone();
    super::scan::apply(&mut tree, edits, engine)?;
    Ok(tree)
}
