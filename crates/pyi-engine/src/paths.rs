//! Paths of a workspace: relative, POSIX, bytes; what git refuses in a tree is refused (decision 11).

use crate::{Error, Result};

/// Checks a path of a file or directory.
///
/// # Errors
/// `InvalidPath` for an empty path, an absolute one, empty, `.` and `..` components, NUL, `.git` in any disguise, more than 4,096 bytes.
pub(crate) fn check(path: &[u8]) -> Result<()> {
    pyi_git::path::validate_path(path)
        .map_err(|error| Error::invalid_path(format!("{:?}: {error}", String::from_utf8_lossy(path))))
}

/// Checks a path of a directory; `""` is the root, and a `/` at the end is taken off.
///
/// # Errors
/// As [`check`].
pub(crate) fn directory(path: &[u8]) -> Result<&[u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if !path.is_empty() {
        check(path)?;
    }
    Ok(path)
}

/// Checks the name of a branch, workspace or superposition: what git allows in a branch name.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    pyi_git::refname::check_branch_name(name.as_bytes())
        .map_err(|error| Error::invalid(format!("{what} name {name:?}: {error}")))
}
