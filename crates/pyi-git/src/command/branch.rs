//! `git branch`.

use super::args::{self, Given, Takes};
use super::merge_base::is_ancestor;
use super::quote::quoted;
use super::refs::{HEADS, Head};
use super::{Call, Run, Stop, log_name, say, unavailable};
use crate::wildmatch::{WildOptions, wildmatch};
use crate::{ObjectKind, Oid};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("l|list", Takes::Nothing),
            ("a|all", Takes::Nothing),
            ("r|remotes", Takes::Nothing),
            ("d|delete", Takes::Nothing),
            ("D", Takes::Nothing),
            ("m|move", Takes::Nothing),
            ("M", Takes::Nothing),
            ("f|force", Takes::Nothing),
            ("q|quiet", Takes::Nothing),
            ("show-current", Takes::Nothing),
            ("no-color", Takes::Nothing),
            ("v|verbose", Takes::Nothing),
            ("format", Takes::Value),
        ],
    )?;
    let modes = [
        given.has("show-current"),
        given.has("delete") || given.has("D"),
        given.has("move") || given.has("M"),
        given.has("list"),
    ];
    if modes.into_iter().filter(|given| *given).count() > 1 {
        return unavailable("git branch with options that exclude each other");
    }
    if given.has("show-current") {
        if let Head::Branch(name) = call.head()? {
            call.line(&[name.strip_prefix(HEADS).unwrap_or(&name)]);
        }
        return Ok(0);
    }
    if given.has("delete") || given.has("D") {
        return delete(call, &given);
    }
    if given.has("move") || given.has("M") {
        return rename(call, &given);
    }
    if call.site.is_directory() && (given.has("all") || given.has("remotes")) {
        return list_remotes(call, &given);
    }
    if given.has("remotes") {
        return unavailable("git branch -r");
    }
    if given.options.iter().filter(|(name, _)| name == "verbose").count() > 1 {
        return unavailable("git branch -vv");
    }
    if given.has("format") && !given.rest.is_empty() && !given.has("list") {
        return unavailable("git branch --format of a branch that is to be made");
    }
    if given.rest.is_empty() || given.has("list") {
        return list(call, &given);
    }
    if given.has("verbose") || given.has("all") {
        return unavailable("git branch -v with a name");
    }
    let Some((name, rest)) = given.rest.split_first() else {
        return Ok(0);
    };
    if rest.len() > 1 {
        return unavailable("git branch with three names");
    }
    let full = call.branch_name(name)?;
    let start = rest.first().map_or(&b"HEAD"[..], Vec::as_slice).to_vec();
    let text = String::from_utf8_lossy(name).into_owned();
    let old = call.read_ref(&full)?;
    if old.is_some() {
        if !given.has("force") {
            return Err(call.die(format!("a branch named '{text}' already exists")));
        }
        if call.head()? == Head::Branch(full.clone()) {
            return unavailable("git branch -f of the current branch");
        }
    }
    if call.site.is_directory()
        && let Some((from, _)) = call.find_ref(&start)?
        && from.starts_with(b"refs/remotes/")
    {
        return unavailable("git branch of a remote's branch, which it would follow");
    }
    let Some(oid) = call.resolve_commit(&start)? else {
        if super::revision::is_meeting(&start) {
            return unavailable("git branch from where revisions meet");
        }
        if let Some(found) = call.resolve(&start)? {
            let kind = call.kind(&found)?;
            call.error(format!("object {found} is a {kind}, not a commit"));
            let start = String::from_utf8_lossy(&start).into_owned();
            return Err(call.die(format!("not a valid branch point: '{start}'")));
        }
        let start = match (rest.first(), call.head()?) {
            (None, Head::Branch(name)) => name.strip_prefix(HEADS).unwrap_or(&name).to_vec(),
            _ => start,
        };
        let start = String::from_utf8_lossy(&start).into_owned();
        return Err(call.die(format!("not a valid object name: '{start}'")));
    };
    // Without a start it is the current branch that is named.
    let start = match call.head()? {
        Head::Branch(head) if rest.is_empty() => head.strip_prefix(HEADS).unwrap_or(&head).to_vec(),
        _ => start,
    };
    call.update_ref(&full, Some(&oid), &log_name::branch(old.is_some(), &start))?;
    Ok(0)
}

/// Makes a branch that must not exist.
pub(crate) fn create(call: &mut Call<'_>, name: &[u8], start: &[u8], oid: &Oid, force: bool) -> Run<Vec<u8>> {
    let full = call.branch_name(name)?;
    let old = call.read_ref(&full)?;
    if old.is_some() && !force {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(call.die(format!("a branch named '{name}' already exists")));
    }
    call.update_ref(&full, Some(oid), &log_name::branch(old.is_some(), start))?;
    Ok(full)
}

fn list(call: &mut Call<'_>, given: &Given) -> Run<i32> {
    if given.has("force") || call.site.has_symbolic_refs(HEADS)? {
        return unavailable("branches that stand for others");
    }
    let head = call.head()?;
    let wanted = |name: &[u8]| {
        given.rest.is_empty()
            || given
                .rest
                .iter()
                .any(|pattern| wildmatch(pattern, name, WildOptions::default()))
    };
    let mut rows: Vec<(bool, Vec<u8>, Oid)> = Vec::new();
    if let Head::Detached(oid) = head
        && given.rest.is_empty()
    {
        let name = match super::status_long::detached(call)? {
            Some((true, name)) => [b"(HEAD detached at ", name.as_slice(), b")"].concat(),
            Some((false, name)) => [b"(HEAD detached from ", name.as_slice(), b")"].concat(),
            None => b"(no branch)".to_vec(),
        };
        rows.push((true, name, oid));
    }
    for (full, oid) in call.refs(HEADS)? {
        let name = full.strip_prefix(HEADS).unwrap_or(&full);
        if wanted(name) {
            rows.push((head == Head::Branch(full.clone()), name.to_vec(), oid));
        }
    }
    if let Some(format) = given.value("format") {
        if given.has("verbose") || matches!(head, Head::Detached(_)) {
            return unavailable("git branch --format with -v, or detached");
        }
        super::ref_format::check_format(format)?;
        for (_, name, oid) in rows {
            let line = call.format_ref(format, &[HEADS, name.as_slice()].concat(), &oid)?;
            call.line(&[&line]);
        }
        return Ok(0);
    }
    let width = rows.iter().map(|(_, name, _)| name.len()).max().unwrap_or(0);
    for (current, name, oid) in rows {
        let mark: &[u8] = if current { b"* " } else { b"  " };
        if given.has("verbose") {
            let commit = call.commit(&oid)?;
            let short = call.short(&oid)?;
            let padding = vec![b' '; width - name.len()];
            let tracking = match current && matches!(head, Head::Detached(_)) {
                true => None,
                false => call.tracking(&[HEADS, name.as_slice()].concat())?,
            };
            let apart = tracking.map_or_else(String::new, |tracking| tracking.brackets());
            let subject = commit.shown_subject()?;
            call.line(&[
                mark,
                &name,
                &padding,
                b" ",
                short.as_bytes(),
                apart.as_bytes(),
                b" ",
                &subject,
            ]);
        } else {
            call.line(&[mark, &name]);
        }
    }
    Ok(0)
}

/// Branches of remotes too.
fn list_remotes(call: &mut Call<'_>, given: &Given) -> Run<i32> {
    const REMOTES: &[u8] = b"refs/remotes/";
    if !given.rest.is_empty() || given.has("verbose") {
        return unavailable("git branch -a with these arguments");
    }
    if given.has("all") {
        if given.has("remotes") {
            return unavailable("git branch -a -r");
        }
        list(call, given)?;
    }
    let before: &[u8] = if given.has("all") { b"  remotes/" } else { b"  " };
    if call.site.has_symbolic_refs(REMOTES)? {
        return unavailable("branches that stand for others");
    }
    for (full, _) in call.refs(REMOTES)? {
        let name = full.strip_prefix(REMOTES).unwrap_or(&full);
        if full.ends_with(b"/HEAD") {
            return unavailable("a symbolic ref of a remote");
        }
        call.line(&[before, name]);
    }
    Ok(0)
}

fn delete(call: &mut Call<'_>, given: &Given) -> Run<i32> {
    if call.site.is_directory() && !(given.has("D") || given.has("force")) {
        return unavailable("git branch -d, which compares with what the branch follows");
    }
    if given.rest.is_empty() {
        return Err(call.die("branch name required"));
    }
    let force = given.has("D") || given.has("force");
    let mut failed = false;
    for name in &given.rest {
        let full = [HEADS, name].concat();
        let text = String::from_utf8_lossy(name).into_owned();
        if call.head()? == Head::Branch(full.clone()) {
            call.error(format!(
                "cannot delete branch '{text}' used by worktree at '{}'",
                WORKTREE
            ));
            return unavailable("git branch -d of the current branch");
        }
        let Some(oid) = call.read_ref(&full)? else {
            call.error(format!("branch '{text}' not found"));
            failed = true;
            continue;
        };
        if !force {
            let merged = match call.head_oid()? {
                Some(head) => is_ancestor(call, &oid, &head)?,
                None => false,
            };
            if !merged {
                call.error(format!("the branch '{text}' is not fully merged"));
                call.err.extend_from_slice(format!("hint: If you are sure you want to delete it, run 'git branch -D {text}'\nhint: Disable this message with \"git config advice.forceDeleteBranch false\"\n").as_bytes());
                failed = true;
                continue;
            }
        }
        call.update_ref(&full, None, b"")?;
        if !given.has("quiet") {
            let short = call.short(&oid)?;
            say(
                &mut call.out,
                &[b"Deleted branch ", name, b" (was ", short.as_bytes(), b").\n"],
            );
        }
    }
    if failed { Err(Stop::Exit(1)) } else { Ok(0) }
}

/// Where git would say that the work tree is.
const WORKTREE: &str = ".";

fn rename(call: &mut Call<'_>, given: &Given) -> Run<i32> {
    if call.site.is_directory() {
        return unavailable("git branch -m, which takes the reflog with it");
    }
    let head = call.head()?;
    let (old, new) = match &given.rest[..] {
        [new] => match &head {
            Head::Branch(full) => (full.strip_prefix(HEADS).unwrap_or(full).to_vec(), new.clone()),
            Head::Detached(_) => return Err(call.die("cannot rename the current branch while not on any")),
        },
        [old, new] => (old.clone(), new.clone()),
        _ => return Err(call.die("branch name required")),
    };
    let (old_full, new_full) = ([HEADS, old.as_slice()].concat(), call.branch_name(&new)?);
    let Some(oid) = call.read_ref(&old_full)? else {
        if head == Head::Branch(old_full) {
            return unavailable("git branch -m without a commit");
        }
        let old = String::from_utf8_lossy(&quoted(&old)).into_owned();
        return Err(call.die(format!("no branch named '{old}'")));
    };
    if old_full != new_full && call.read_ref(&new_full)?.is_some() && !given.has("M") && !given.has("force") {
        let new = String::from_utf8_lossy(&new).into_owned();
        return Err(call.die(format!("a branch named '{new}' already exists")));
    }
    if old_full == new_full {
        return Ok(0);
    }
    if call.peel(&oid, Some(ObjectKind::Commit))?.is_none() {
        return unavailable("git branch -m of something else than a commit");
    }
    let message = [b"Branch: renamed ", old_full.as_slice(), b" to ", &new_full].concat();
    call.update_ref(&old_full, None, b"")?;
    call.update_ref(&new_full, Some(&oid), &message)?;
    if head == Head::Branch(old_full) {
        call.set_head(&Head::Branch(new_full), &message)?;
    }
    Ok(0)
}
