//! `git status` for people, which `git commit` prints too when there is nothing to commit.

use super::diff::Pair;
use super::quote::quoted;
use super::refs::{HEADS, Head, TAGS};
use super::status::{Status, Untracked};
use super::{Call, Run, log_name, unavailable};

/// What HEAD is called when it is on no branch: `at v1`, `from 1a2b3c4`; `None`: nobody knows.
pub(crate) fn detached(call: &mut Call<'_>) -> Run<Option<(bool, Vec<u8>)>> {
    let head = call.head_oid()?;
    let mut back = 0;
    while let Some(entry) = call.logged(b"HEAD", back)? {
        back += 1;
        let Some((_, Some(target))) = log_name::moved(&entry.message) else {
            continue;
        };
        let is_at = head == Some(entry.new);
        if let Some((name, oid)) = call.find_ref(target)? {
            let peeled = call.peel(&oid, Some(crate::ObjectKind::Commit))?;
            if name != b"HEAD" && peeled == Some(entry.new) {
                let short = name.strip_prefix(TAGS).or_else(|| name.strip_prefix(b"refs/remotes/"));
                let name = short.unwrap_or(&name).to_vec();
                return Ok(Some((is_at, name)));
            }
        }
        let short = call.short(&entry.new)?.into_bytes();
        return Ok(Some((is_at, short)));
    }
    Ok(None)
}

fn row(call: &mut Call<'_>, pair: &Pair) {
    let label: &[u8] = match pair.letter() {
        b'A' => b"new file:   ",
        b'D' => b"deleted:    ",
        b'R' => b"renamed:    ",
        b'T' => b"typechange: ",
        _ => b"modified:   ",
    };
    let new = quoted(&call.relative(&pair.new_path));
    if pair.renamed {
        let old = quoted(&call.relative(&pair.old_path));
        call.line(&[b"\t", label, &old, b" -> ", &new]);
    } else {
        call.line(&[b"\t", label, &new]);
    }
}

/// How far a branch is from what it follows.
fn print_tracking(call: &mut Call<'_>, branch: &[u8], about: About) -> Run<()> {
    let before = call.out.len();
    tracking_lines(call, branch, about)?;
    if call.out.len() > before {
        call.out.push(b'\n');
    }
    Ok(())
}

/// The same, without an empty line behind.
pub(crate) fn tracking_lines(call: &mut Call<'_>, branch: &[u8], about: About) -> Run<()> {
    let Some(tracking) = call.tracking(branch)? else {
        return Ok(());
    };
    let name = tracking.name.as_slice();
    let commits = |count: usize| format!("{count} commit{}", if count == 1 { "" } else { "s" });
    match tracking.apart {
        None => {
            call.line(&[b"Your branch is based on '", name, b"', but the upstream is gone."]);
            call.line(&[b"  (use \"git branch --unset-upstream\" to fixup)"]);
        }
        Some((0, 0)) => call.line(&[b"Your branch is up to date with '", name, b"'."]),
        Some((ahead, 0)) => {
            let ahead = commits(ahead);
            call.line(&[b"Your branch is ahead of '", name, b"' by ", ahead.as_bytes(), b"."]);
            call.line(&[b"  (use \"git push\" to publish your local commits)"]);
        }
        Some((0, behind)) => {
            let behind = commits(behind);
            let end = b", and can be fast-forwarded.";
            call.line(&[b"Your branch is behind '", name, b"' by ", behind.as_bytes(), end]);
            call.line(&[b"  (use \"git pull\" to update your local branch)"]);
        }
        // The words are others in git before 2.41.
        Some(_) if about == About::Status && call.site.is_directory() => {
            return unavailable("a branch that has diverged");
        }
        Some((ahead, behind)) => {
            call.line(&[b"Your branch and '", name, b"' have diverged,"]);
            let both = format!("and have {ahead} and {behind} different commits each, respectively.");
            call.line(&[both.as_bytes()]);
            if about == About::Status {
                call.line(&[b"  (use \"git pull\" if you want to integrate the remote branch with yours)"]);
            }
        }
    }
    Ok(())
}

/// What it is printed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Status,
    /// A commit that was not made.
    Committing,
    /// One that would have replaced the last commit.
    Amending,
}

/// Prints it all.
pub(crate) fn print(call: &mut Call<'_>, status: &Status, untracked: Untracked, about: About) -> Run<()> {
    let amend = about == About::Amending;
    match call.head()? {
        Head::Branch(name) => {
            call.line(&[b"On branch ", name.strip_prefix(HEADS).unwrap_or(&name)]);
            print_tracking(call, &name, about)?;
        }
        Head::Detached(_) => match detached(call)? {
            Some((at, name)) => {
                let word: &[u8] = if at {
                    b"HEAD detached at "
                } else {
                    b"HEAD detached from "
                };
                call.line(&[word, &name]);
            }
            None => call.line(&[b"Not currently on any branch."]),
        },
    }
    let initial = status.head.is_none();
    if initial {
        let words: &[u8] = if about == About::Status {
            b"No commits yet"
        } else {
            b"Initial commit"
        };
        call.line(&[b"\n", words, b"\n"]);
    }
    if !status.staged.is_empty() {
        call.line(&[b"Changes to be committed:"]);
        call.line(&[match (initial, amend) {
            (true, _) => &b"  (use \"git rm --cached <file>...\" to unstage)"[..],
            (false, false) => b"  (use \"git restore --staged <file>...\" to unstage)",
            (false, true) => b"  (use \"git restore --source=HEAD^1 --staged <file>...\" to unstage)",
        }]);
        for pair in &status.staged {
            row(call, pair);
        }
        call.out.push(b'\n');
    }
    if !status.changed.is_empty() {
        call.line(&[b"Changes not staged for commit:"]);
        let gone = status.changed.iter().any(|pair| pair.new.is_none());
        call.line(&[match gone {
            true => &b"  (use \"git add/rm <file>...\" to update what will be committed)"[..],
            false => b"  (use \"git add <file>...\" to update what will be committed)",
        }]);
        call.line(&[b"  (use \"git restore <file>...\" to discard changes in working directory)"]);
        for pair in &status.changed {
            row(call, pair);
        }
        call.out.push(b'\n');
    }
    if !status.untracked.is_empty() {
        call.line(&[b"Untracked files:"]);
        call.line(&[b"  (use \"git add <file>...\" to include in what will be committed)"]);
        for path in &status.untracked {
            let path = quoted(&call.relative(path));
            call.line(&[b"\t", &path]);
        }
        call.out.push(b'\n');
    } else if untracked == Untracked::No && !status.staged.is_empty() {
        call.line(&[b"Untracked files not listed (use -u option to show untracked files)"]);
    }
    if !status.staged.is_empty() {
        return Ok(());
    }
    call.line(&[if amend {
        &b"No changes"[..]
    } else if !status.changed.is_empty() {
        b"no changes added to commit (use \"git add\" and/or \"git commit -a\")"
    } else if !status.untracked.is_empty() {
        b"nothing added to commit but untracked files present (use \"git add\" to track)"
    } else if initial {
        b"nothing to commit (create/copy files and use \"git add\" to track)"
    } else if untracked == Untracked::No {
        b"nothing to commit (use -u to show untracked files)"
    } else {
        b"nothing to commit, working tree clean"
    }]);
    Ok(())
}
