//! `git log --follow`: one file, under the names that it had before.

use super::diff::{FULL, KEPT, Options, Pair, Renames, count_alike, find_renames};
use super::names::ReadCommit;
use super::pathspec::Pathspec;
use super::{Call, Found, Run, Version, View, unavailable};

/// The file, by the name that it has in the commits that come next.
pub(crate) struct Follow {
    path: Vec<u8>,
}

impl Follow {
    /// The one path that was given.
    pub(crate) fn new(call: &mut Call<'_>, pathspec: &Pathspec) -> Run<Self> {
        let [item] = &pathspec.items[..] else {
            return unavailable("git log --follow of anything but one path");
        };
        if item.wild || item.path.is_empty() || item.given.ends_with(b"/") || item.given.starts_with(b":") {
            return unavailable("git log --follow of a pattern");
        }
        if let Some(head) = call.head_oid()?
            && matches!(call.site.find(View::Of(head), &item.path)?, Some(Found::Directory))
        {
            return unavailable("git log --follow of a directory");
        }
        Ok(Follow {
            path: item.path.clone(),
        })
    }

    /// What a commit did to the file; nothing: it is not shown. O(what the commit changed) where the file appears, else O(depth).
    pub(crate) fn differences(
        &mut self,
        call: &mut Call<'_>,
        commit: &ReadCommit,
        options: &Options,
    ) -> Run<Vec<Pair>> {
        if commit.parents.len() > 1 {
            return Ok(Vec::new());
        }
        let old = commit.parents.first().map_or(View::Empty, |parent| View::Of(*parent));
        let new = View::Of(commit.oid);
        let mut changes = call.site.changes_within(old, new, std::slice::from_ref(&self.path))?;
        let below = [self.path.as_slice(), b"/"].concat();
        if changes.iter().any(|change| change.path.starts_with(&below)) {
            return unavailable("git log --follow of what was a directory");
        }
        changes.retain(|change| change.path == self.path);
        let is_new = changes.iter().any(|change| change.old.is_none());
        if !is_new || old == View::Empty {
            return Ok(changes.into_iter().map(Pair::of).collect());
        }
        let mut pairs: Vec<Pair> = changes.into_iter().map(Pair::of).collect();
        let removed: Vec<Pair> = call
            .site
            .changes(old, new)?
            .into_iter()
            .filter(|change| change.new.is_none())
            .map(Pair::of)
            .collect();
        let mut stay = call.site.files(old, b"")?;
        stay.retain(|(path, _)| removed.iter().all(|pair| pair.old_path != *path));
        pairs.extend(removed);
        // Where copies are looked for too, base names count for nothing before the scores.
        let how = Renames {
            minimum: options.renames.unwrap_or_else(Options::half),
            basenames: false,
        };
        let mut found = find_renames(call, pairs, &how)?;
        found.retain(|pair| pair.new_path == self.path && pair.new.is_some());
        if let Some(pair) = found.first() {
            if Self::may_be_copied(call, pair, &stay, how.minimum)? {
                return unavailable("git log --follow of a file that may be copied");
            }
            self.path.clone_from(&pair.old_path);
        }
        Ok(found)
    }

    /// Whether git could take the new file for a copy of one that stays. O(files), and the contents of those of a similar size.
    fn may_be_copied(call: &mut Call<'_>, pair: &Pair, stay: &[(Vec<u8>, Version)], minimum: u32) -> Run<bool> {
        let Some(new) = &pair.new else { return Ok(false) };
        let is_moved = pair.old.is_some();
        let name = call.site.name(new)?;
        for (_, version) in stay {
            if call.site.name(version)? == name {
                return Ok(true);
            }
        }
        if is_moved && pair.score == FULL {
            return Ok(false);
        }
        let least = if is_moved { pair.score } else { minimum };
        let alike = count_alike(call, new, stay.iter().map(|(_, version)| version), least)?;
        // What was moved goes before what is copied, if it is among the best.
        Ok(if is_moved { alike >= KEPT } else { alike > 0 })
    }
}
