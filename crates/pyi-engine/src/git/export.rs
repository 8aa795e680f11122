//! A workspace becomes a commit on a branch of a git repository.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use pyi_git::commit::Commit;
use pyi_git::signature::Signature;
use pyi_git::{ObjectFormat, ObjectKind, Oid, hash_object};
use pyi_tree::cbor::Value;

use super::command::{complaint, git, git_reading, run};
use super::object_writer::write_objects;
use super::odd::OddTrees;
use super::source::GitSource;
use super::tree_export::{Exporter, Planned};
use super::work::{OwnCommit, git_directory, head_of, own_commit};
use crate::checkpoint::Checkpoint;
use crate::engine::{Engine, now_ns};
use crate::workspace::Workspace;
use crate::{Error, Result, paths};

/// The message of a commit, and of a checkpoint, that has none.
const MESSAGE: &str = "PYI export";

/// What to export, and as what.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// The branch of the repository, without `refs/heads/`.
    pub branch: String,
    /// The commit's message; by default the head checkpoint's.
    pub message: Option<String>,
    /// `Name <mail>`; by default who git says.
    pub author: Option<String>,
    /// The commit's parents, as revisions of the repository; by default the commit that the workspace was imported from, if the repository
    /// has it.
    pub parents: Option<Vec<String>>,
}

/// The `git` of a checkpoint counts for a format only if it was recorded in that format.
pub(crate) fn odd_trees(engine: &Engine, git: &Value, format: ObjectFormat) -> Result<OddTrees> {
    if git.get("format").and_then(Value::as_text) == Some(format.name()) {
        OddTrees::load(engine, git)
    } else {
        Ok(OddTrees::default())
    }
}

impl Checkpoint {
    /// The name that git gives to the tree of these files. Nothing is written but the map.
    ///
    /// # Errors
    /// `GitError` for a submodule of the other format; `Corrupt`.
    pub fn git_tree(&self, format: ObjectFormat) -> Result<Oid> {
        let snapshot = self.engine.hold(self.id())?;
        let odd = odd_trees(&self.engine, &snapshot.root.git, format)?;
        let mut exporter = Exporter::new(&self.engine, format, odd, None);
        let oid = exporter.tree(snapshot.files.root())?;
        exporter.keep_names();
        Ok(oid)
    }
}

impl Workspace {
    /// The name that git gives to the tree of the files as they are now, checkpointed or not. Nothing is written but the map.
    ///
    /// # Errors
    /// As [`Checkpoint::git_tree`].
    pub fn git_tree(&self, format: ObjectFormat) -> Result<Oid> {
        self.engine.open()?;
        let content = self.content.lock();
        let (files, git) = (content.files.clone(), content.git.clone());
        drop(content);
        let odd = odd_trees(&self.engine, &git, format)?;
        let mut exporter = Exporter::new(&self.engine, format, odd, None);
        let oid = exporter.tree(files.root())?;
        exporter.keep_names();
        Ok(oid)
    }

    /// Writes the files as a commit into a git repository and moves a branch to it by compare-and-swap; returns the commit's name.
    /// A workspace with uncheckpointed changes is checkpointed first. Empty directories are dropped, as git has none.
    ///
    /// The branch must not exist, or be at one of the commit's parents, and no work tree may have it checked out. The repository's
    /// work trees and indexes are not touched.
    ///
    /// # Errors
    /// `Conflict` for a branch that is elsewhere or checked out; `NotFound` for a repository or parent that is not there;
    /// `InvalidArgument`; `GitError`; `Storage`. No branch moved then.
    pub fn export_git(&self, repository: &Path, options: &ExportOptions) -> Result<String> {
        self.engine.open()?;
        let branch = options.branch.as_str();
        paths::check_name("branch", branch)?;
        if options.message.as_ref().is_some_and(|message| message.contains('\0')) {
            return Err(Error::invalid("a commit message cannot hold a NUL character"));
        }
        self.check_resolved()?;
        let target = self.engine.git_map.source(repository)?;
        target.objects().refresh()?;
        let old = target.branch(branch)?;
        if self.is_dirty() {
            self.checkpoint(options.message.as_deref().unwrap_or(MESSAGE), Value::Null)?;
        }
        let head = self.content.lock().head.clone();
        let odd = odd_trees(&self.engine, &head.root.git, target.format())?;
        let mut exporter = Exporter::new(&self.engine, target.format(), odd, Some(target.objects()));
        let made = made_here(&self.engine, &head.root.git, &target)?;
        let own = Some(&made).filter(|made| !made.commits.is_empty() && options.parents.is_none());
        let parents = match own {
            Some(made) => vec![made.head],
            None => parents(&target, &head.root.git, options.parents.as_deref())?,
        };
        for (oid, commit) in own.into_iter().flat_map(|made| &made.commits) {
            exporter.tree(commit.files.root())?;
            let planned = Planned::new(*oid, ObjectKind::Commit, commit.raw.clone());
            exporter.plan.push(planned);
        }
        let tree = exporter.tree(head.files.root())?;
        if let Some(made) = own
            && options.message.is_none()
            && options.author.is_none()
            && made.tree == Some(tree)
        {
            // Nothing was changed since the last commit: that is what is exported.
            let name = made.head;
            if old == Some(name) {
                return Ok(name.to_hex());
            }
            if let Some(old) = old.filter(|old| !made.bases.contains(old)) {
                return Err(not_a_parent(&target, branch, &old, &made.bases));
            }
            refuse_checked_out(&target, branch)?;
            write_objects(&target, &self.engine, &exporter.plan)?;
            exporter.keep_names();
            move_branch(&target, branch, &name, old)?;
            return Ok(name.to_hex());
        }
        let message = options.message.as_deref().filter(|message| !message.is_empty());
        let commit = encode_commit(&target, tree, &parents, message.unwrap_or(&head.root.message), options)?;
        let name = hash_object(target.format(), ObjectKind::Commit, &commit);
        if old == Some(name) {
            return Ok(name.to_hex());
        }
        let below = own.map_or(&[][..], |made| &made.bases);
        if let Some(old) = old.filter(|old| !parents.contains(old) && !below.contains(old)) {
            return Err(not_a_parent(&target, branch, &old, &parents));
        }
        refuse_checked_out(&target, branch)?;
        exporter
            .plan
            .push(Planned::new(name, ObjectKind::Commit, commit.into()));
        write_objects(&target, &self.engine, &exporter.plan)?;
        exporter.keep_names();
        move_branch(&target, branch, &name, old)?;
        Ok(name.to_hex())
    }
}

/// Commits of a workspace that a repository does not have.
struct Made {
    head: Oid,
    /// The tree of the last one.
    tree: Option<Oid>,
    /// Parents first.
    commits: Vec<(Oid, OwnCommit)>,
    /// What they stand on, and they themselves: where the branch may be.
    bases: Vec<Oid>,
}

/// The commits that `git commit` made in a workspace, from its HEAD back to what the target has.
fn made_here(engine: &Engine, git: &Value, target: &GitSource) -> Result<Made> {
    let mut made = Made {
        head: target.format().null_oid(),
        tree: None,
        commits: Vec::new(),
        bases: Vec::new(),
    };
    let Some(directory) = git_directory(git) else {
        return Ok(made);
    };
    let directory = engine.tree(&directory)?;
    let Some(head) = head_of(engine, &directory)?.filter(|head| head.format() == target.format()) else {
        return Ok(made);
    };
    made.head = head;
    let mut seen = HashSet::new();
    let mut stack = vec![(head, false)];
    while let Some((oid, ready)) = stack.pop() {
        if !ready && !seen.insert(oid) {
            continue;
        }
        let Some(commit) = own_commit(engine, &directory, &oid)? else {
            made.bases.push(oid);
            continue;
        };
        let parsed = Commit::parse(target.format(), &commit.raw)
            .map_err(|error| Error::corrupt(format!("commit {oid} of the workspace: {error}; run `pyi scrub`")))?;
        if oid == head {
            made.tree = Some(parsed.tree);
        }
        if ready {
            made.bases.push(oid);
            made.commits.push((oid, commit));
        } else {
            stack.push((oid, true));
            stack.extend(parsed.parents.iter().map(|parent| (*parent, false)));
        }
    }
    Ok(made)
}

/// The parents of the new commit.
fn parents(target: &Arc<GitSource>, git: &Value, given: Option<&[String]>) -> Result<Vec<Oid>> {
    if let Some(given) = given {
        let mut parents = Vec::with_capacity(given.len());
        for rev in given {
            let oid = target.resolve(rev)?;
            if !parents.contains(&oid) {
                parents.push(oid);
            }
        }
        return Ok(parents);
    }
    let imported = git
        .get("commit")
        .and_then(Value::as_text)
        .and_then(|hex| Oid::from_hex(hex.as_bytes()).ok());
    let Some(imported) = imported.filter(|oid| oid.format() == target.format()) else {
        return Ok(Vec::new());
    };
    let object = target.objects().read(&imported)?;
    Ok(object
        .filter(|object| object.kind == ObjectKind::Commit)
        .map(|_| imported)
        .into_iter()
        .collect())
}

fn encode_commit(
    target: &GitSource,
    tree: Oid,
    parents: &[Oid],
    message: &str,
    options: &ExportOptions,
) -> Result<Vec<u8>> {
    let committer = identity(target, "GIT_COMMITTER_IDENT")?;
    let author = match &options.author {
        Some(author) => parse_author(author, &committer)?,
        None => identity(target, "GIT_AUTHOR_IDENT")?,
    };
    let message = message.trim_end_matches('\n');
    let message = if message.is_empty() { MESSAGE } else { message };
    let message = format!("{}\n", message.replace('\0', ""));
    let commit = Commit {
        tree,
        parents: parents.to_vec(),
        author: &author.to_bytes(),
        committer: &committer.to_bytes(),
        headers: Vec::new(),
        message: message.as_bytes(),
    };
    Ok(commit.encode())
}

/// Who git says it is: from its configuration and environment. Where git refuses to guess, PYI signs itself.
fn identity(target: &GitSource, variable: &str) -> Result<Signature> {
    let mut command = git_reading(target.git_dir());
    command.args(["var", variable]);
    let output = run(command)?;
    if output.status.success()
        && let Ok(signature) = Signature::parse(output.stdout.trim_ascii_end())
    {
        return Ok(signature);
    }
    let seconds = i64::try_from(now_ns() / 1_000_000_000).unwrap_or(0);
    Ok(Signature::new(b"PYI", b"pyi@localhost", seconds, 0))
}

fn parse_author(author: &str, committer: &Signature) -> Result<Signature> {
    let wrong = || Error::invalid(format!("author {author:?}: write it as `Name <mail>`"));
    if let Ok(signature) = Signature::parse(author.as_bytes())
        && !author.trim_end().ends_with('>')
    {
        return Ok(signature);
    }
    let (name, mail) = author
        .trim_end()
        .strip_suffix('>')
        .and_then(|rest| rest.split_once('<'))
        .ok_or_else(wrong)?;
    let signature = Signature::new(
        name.as_bytes(),
        mail.as_bytes(),
        committer.seconds,
        committer.offset_minutes,
    );
    if signature.name.is_empty() && signature.mail.is_empty() {
        Err(wrong())
    } else {
        Ok(signature)
    }
}

fn not_a_parent(target: &GitSource, branch: &str, old: &Oid, parents: &[Oid]) -> Error {
    let parents: Vec<String> = parents.iter().map(Oid::to_hex).collect();
    let parents = if parents.is_empty() {
        "none".to_owned()
    } else {
        parents.join(", ")
    };
    Error::conflict(format!(
        "branch {branch:?} of {} is at {old}, which is no parent of the export (parents: {parents}); \
         choose another branch, or give parents=[{old}]",
        target.common_dir().display()
    ))
}

/// # Errors
/// `Conflict` if a work tree has the branch checked out, or is in the middle of rebasing it.
fn refuse_checked_out(target: &GitSource, branch: &str) -> Result<()> {
    let full = format!("refs/heads/{branch}");
    let refused = |place: &Path| {
        Error::conflict(format!(
            "branch {branch:?} is checked out in the work tree of {}; export to another branch and merge it there",
            place.display()
        ))
    };
    let common = target.common_dir();
    if !target.layout.refs_are_files {
        let mut command = git_reading(common);
        command.args(["worktree", "list", "--porcelain", "-z"]);
        let output = run(command)?;
        if !output.status.success() {
            return Err(Error::git(format!(
                "git cannot list work trees: {}",
                complaint(&output)
            )));
        }
        let line = format!("branch {full}");
        return match output
            .stdout
            .split(|&byte| byte == 0)
            .any(|part| part == line.as_bytes())
        {
            true => Err(refused(common)),
            false => Ok(()),
        };
    }
    let mut places = Vec::new();
    if !target.layout.bare {
        places.push(common.to_path_buf());
    }
    if let Ok(linked) = fs::read_dir(common.join("worktrees")) {
        places.extend(linked.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    }
    for place in places {
        for file in ["HEAD", "rebase-merge/head-name", "rebase-apply/head-name"] {
            let text = fs::read(place.join(file)).unwrap_or_default();
            let text = text.trim_ascii_end();
            let name = text.strip_prefix(b"ref:").map_or(text, <[u8]>::trim_ascii_start);
            if name == full.as_bytes() {
                return Err(refused(&place));
            }
        }
    }
    Ok(())
}

/// Moves the branch if it still is what it was.
fn move_branch(target: &GitSource, branch: &str, new: &Oid, old: Option<Oid>) -> Result<()> {
    let expected = old.unwrap_or(target.format().null_oid());
    let mut command = git(target.common_dir());
    command
        .args(["update-ref", "-m", "pyi: export"])
        .arg(format!("refs/heads/{branch}"));
    command.args([new.to_hex(), expected.to_hex()]);
    let output = run(command)?;
    if output.status.success() {
        return Ok(());
    }
    let now = target.branch(branch)?;
    if now != old {
        let name = |oid: Option<Oid>| oid.map_or("nowhere".to_owned(), |oid| oid.to_hex());
        return Err(Error::conflict(format!(
            "branch {branch:?} of {} moved during the export, from {} to {}; export again",
            target.common_dir().display(),
            name(old),
            name(now)
        )));
    }
    Err(Error::git(format!(
        "git did not move branch {branch:?}: {}",
        complaint(&output)
    )))
}
