//! The commit that a repository inside a directory stands at.

use std::fs;
use std::path::{Path, PathBuf};

use pyi_git::Oid;
use pyi_git::refname::check_ref_format;

use crate::locate::{common_dir, git_dir};

/// Symbolic refs are followed this far, as in git.
const SYMREF_DEPTH: usize = 5;

/// The commit of the work tree at the first of `places` that has one: they are layers of one directory, upper first, and a
/// ref may be in any of them. `None` if there is no commit, or none that is found in loose or packed refs.
pub(super) fn head_commit(places: &[PathBuf]) -> Option<Oid> {
    let git_dirs: Vec<PathBuf> = places.iter().filter_map(|place| directory_of(place)).collect();
    let mut name = "HEAD".to_owned();
    for _ in 0..SYMREF_DEPTH {
        let text = git_dirs.iter().find_map(|dir| read(dir, &name))?;
        match text.strip_prefix("ref:") {
            Some(target) => name = checked(target.trim())?.to_owned(),
            None => return Oid::from_hex(text.trim().as_bytes()).ok().filter(|oid| !oid.is_null()),
        }
    }
    None
}

/// The git directory of a place; one that a layer holds in part only counts too.
fn directory_of(place: &Path) -> Option<PathBuf> {
    let dot_git = place.join(".git");
    if dot_git.is_dir() {
        Some(dot_git)
    } else {
        git_dir(place).ok().flatten()
    }
}

fn checked(name: &str) -> Option<&str> {
    let options = pyi_git::refname::RefNameOptions::default();
    (name.starts_with("refs/") && check_ref_format(name.as_bytes(), options).is_ok()).then_some(name)
}

fn read(dir: &Path, name: &str) -> Option<String> {
    if let Ok(text) = fs::read_to_string(dir.join(name)) {
        return Some(text);
    }
    let common = common_dir(dir).ok()?;
    fs::read_to_string(common.join(name))
        .ok()
        .or_else(|| packed(&common, name))
}

fn packed(common: &Path, name: &str) -> Option<String> {
    let text = fs::read(common.join("packed-refs")).ok()?;
    let lines = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"#") && !line.starts_with(b"^"));
    for line in lines {
        let Some(space) = line.iter().position(|&byte| byte == b' ') else {
            continue;
        };
        if &line[space + 1..] == name.as_bytes() {
            return String::from_utf8(line[..space].to_vec()).ok();
        }
    }
    None
}
