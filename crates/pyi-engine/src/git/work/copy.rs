//! The git directory of a workspace as one that git reads: for a real directory that the workspace is materialized into.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use pyi_cas::Bytes;
use pyi_git::command::{Site, log_name};
use pyi_git::commit::Commit;
use pyi_git::config::Config;
use pyi_git::tag::Tag;
use pyi_git::{ObjectKind, Oid};

use super::engine_error;
use super::site::WorkSite;
use crate::engine::Engine;
use crate::git::GitSource;
use crate::git::export::odd_trees;
use crate::git::object_writer::write_objects;
use crate::git::tree_export::{Exporter, Planned};
use crate::workspace::Content;
use crate::{Error, Result};

/// Files of a git directory.
type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// What else has to be written.
pub(crate) struct Copied {
    /// `HEAD`, refs and reflogs, by their names in a git directory.
    pub(crate) files: Files,
    /// The tree of the index.
    pub(crate) index: Oid,
    /// Who the workspace's configuration says commits: `name` and `email`.
    pub(crate) user: Vec<(&'static str, Vec<u8>)>,
}

/// Writes into `target` what HEAD, the refs, the reflogs and the index of a workspace reach and `target` lacks. O(what it lacks).
///
/// # Errors
/// `Git` for history that cannot be read; `Corrupt`; `Storage`.
pub(crate) fn copy_to(engine: &Arc<Engine>, content: &Content, target: &GitSource) -> Result<Copied> {
    let _section = engine.store().section();
    let mut site = WorkSite::new(engine, content)?;
    let (files, roots) = administration(&mut site)?;
    let odd = odd_trees(engine, &site.git, site.format)?;
    let mut exporter = Exporter::new(engine, site.format, odd, Some(target.objects()));
    let index = exporter.tree(site.index_root())?;
    let mut seen = HashSet::new();
    let mut waiting: Vec<Oid> = roots.into_iter().collect();
    while let Some(oid) = waiting.pop() {
        if oid.is_null() || !seen.insert(oid) || target.objects().contains_now(&oid) {
            continue;
        }
        let object = site.read_object(&oid)?.ok_or_else(|| lost(&oid))?;
        match object.kind {
            ObjectKind::Commit => {
                let commit = Commit::parse(site.format, &object.data).map_err(|error| wrong(&oid, &error))?;
                let files = site.files_of(&oid)?;
                if exporter.tree(files.root())? != commit.tree {
                    // Git would write this tree in another form: its own bytes, or nothing.
                    let raw = site.read_object(&commit.tree)?.ok_or_else(|| lost(&commit.tree))?;
                    exporter.plan.push(planned(commit.tree, ObjectKind::Tree, &raw.data));
                }
                waiting.extend(commit.parents);
            }
            ObjectKind::Tag => {
                let tag = Tag::parse(site.format, &object.data).map_err(|error| wrong(&oid, &error))?;
                waiting.push(tag.target);
            }
            ObjectKind::Tree => {
                exporter.tree(site.files_of(&oid)?.root())?;
            }
            ObjectKind::Blob => {}
        }
        exporter.plan.push(planned(oid, object.kind, &object.data));
    }
    write_objects(target, engine, &exporter.plan)?;
    exporter.keep_names();
    let config = site.admin(b"config").map_err(engine_error)?.unwrap_or_default();
    let config = Config::parse(&config).unwrap_or_default();
    let user = ["name", "email"].into_iter();
    let user = user.filter_map(|key| Some((key, config.value("user", None, key)?.to_vec())));
    Ok(Copied {
        files,
        index,
        user: user.collect(),
    })
}

/// The files of refs and reflogs as git has them, and all objects that they name.
fn administration(site: &mut WorkSite<'_>) -> Result<(Files, HashSet<Oid>)> {
    let mut files = Files::new();
    let mut names = vec![b"HEAD".to_vec(), b"ORIG_HEAD".to_vec()];
    for below in [&b"refs"[..], b"logs"] {
        names.extend(site.admin_names(below).map_err(engine_error)?);
    }
    let mut named = HashSet::new();
    for name in names {
        let Some(text) = site.admin(&name).map_err(engine_error)? else {
            continue;
        };
        let (file, words) = match log_name::split(&name) {
            // How many lines a log has is no line of it.
            Some((_, b"")) => continue,
            Some((of, _)) => (log_name::log(of), 2),
            None => (name, 1),
        };
        let hex = text.split(|byte| byte.is_ascii_whitespace()).take(words);
        named.extend(hex.filter_map(|hex| Oid::from_hex(hex).ok()));
        files.entry(file).or_default().extend_from_slice(&text);
    }
    Ok((files, named))
}

fn planned(oid: Oid, kind: ObjectKind, data: &[u8]) -> Planned {
    Planned::new(oid, kind, Bytes::copy_from_slice(data))
}

fn lost(oid: &Oid) -> Error {
    Error::git(format!(
        "object {oid} of the workspace's history is nowhere; bring the repository back that it came from, or materialize with git=False"
    ))
}

fn wrong(oid: &Oid, error: &dyn std::fmt::Display) -> Error {
    Error::corrupt(format!("object {oid} of a workspace: {error}; run `pyi scrub`"))
}
