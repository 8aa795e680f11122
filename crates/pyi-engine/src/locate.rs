//! Where a store lives: in the git directory of a repository when there is one, else in `.pyi/` (decision 13).

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A store's place, and the git directory that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The store's directory.
    pub store: PathBuf,
    /// The (common) git directory of the repository, if there is one.
    pub git_dir: Option<PathBuf>,
}

/// The git directory of a work tree, of a linked work tree (through its `.git` file), or of a bare repository; `None` if
/// `path` is none of these. Only `path` itself is looked at, not its parents.
///
/// # Errors
/// `GitError` if a `.git` file does not say where to go on.
pub fn git_dir(path: &Path) -> Result<Option<PathBuf>> {
    if is_git_dir(path) {
        return Ok(Some(path.to_path_buf()));
    }
    let dot_git = path.join(".git");
    if dot_git.is_dir() {
        return Ok(if is_git_dir(&dot_git) { Some(dot_git) } else { None });
    }
    let Ok(text) = fs::read_to_string(&dot_git) else {
        return Ok(None);
    };
    let Some(target) = text.strip_prefix("gitdir:").map(str::trim) else {
        return Err(Error::git(format!(
            "{}: not a git file; repair or remove it",
            dot_git.display()
        )));
    };
    Ok(Some(path.join(target)))
}

/// The directory that holds objects and branches: `git_dir` itself, or for a linked work tree the repository's.
///
/// # Errors
/// A `commondir` file that cannot be read.
pub fn common_dir(git_dir: &Path) -> Result<PathBuf> {
    let file = git_dir.join("commondir");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(git_dir.join(text.trim())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(git_dir.to_path_buf()),
        Err(error) => Err(Error::io("read", &file, &error)),
    }
}

fn is_git_dir(path: &Path) -> bool {
    path.join("HEAD").exists() && (path.join("objects").is_dir() || path.join("commondir").is_file())
}

fn is_store(path: &Path) -> bool {
    path.join("segments").is_dir()
        && fs::read(path.join("format")).is_ok_and(|format| format.starts_with(b"pyi-store "))
}

/// Where the store for `path` is or would be. A path that is a store itself is taken as such.
///
/// # Errors
/// As [`git_dir`].
pub fn locate(path: &Path) -> Result<Place> {
    if is_store(path) {
        let git = path.parent().filter(|parent| is_git_dir(parent)).map(Path::to_path_buf);
        return Ok(Place {
            store: path.to_path_buf(),
            git_dir: git,
        });
    }
    match git_dir(path)? {
        Some(found) => {
            let common = common_dir(&found)?;
            let common = fs::canonicalize(&common).map_err(|error| Error::io("open", &common, &error))?;
            Ok(Place {
                store: common.join("pyi"),
                git_dir: Some(common),
            })
        }
        None => Ok(Place {
            store: path.join(".pyi"),
            git_dir: None,
        }),
    }
}
