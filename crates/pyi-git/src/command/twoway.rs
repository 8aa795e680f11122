//! From one commit to another in a directory, with what was changed and is the same in both left alone.

use std::collections::HashSet;

use super::{Call, Change, Found, Run, Version, View, unavailable};
use crate::Oid;
use crate::path::directories_above;

/// The index and the work tree go from one commit to another. What git would refuse, and whatever else is not plain, is git's.
pub(crate) fn switch(call: &mut Call<'_>, from: Option<Oid>, to: &Oid) -> Run<()> {
    if from.is_none() {
        return unavailable("a checkout before the first commit");
    }
    let old = from.map_or(View::Empty, View::Of);
    let mut writes: Vec<Change> = Vec::new();
    for change in call.site.changes(old, View::Of(*to))? {
        let indexed = match call.site.find(View::Index, &change.path)? {
            Some(Found::File(version)) => Some(version),
            _ => None,
        };
        let same = |a: Option<&Version>, b: Option<&Version>| match (a, b) {
            (Some(a), Some(b)) => a.mode == b.mode && a.same_content(b),
            (None, None) => true,
            _ => false,
        };
        if indexed.is_some() && same(indexed.as_ref(), change.new.as_ref()) {
            continue;
        }
        if !same(indexed.as_ref(), change.old.as_ref()) && (indexed.is_some() || change.new.is_some()) {
            return unavailable("a checkout over what was staged");
        }
        let there = call.site.find(View::Work, &change.path)?;
        match &indexed {
            None if matches!(there, Some(Found::File(_))) => {
                return unavailable("a checkout over a file that is not tracked");
            }
            // Staged to go, and gone with the commit.
            None if change.new.is_none() => continue,
            Some(_) if there.is_some() && call.site.is_as_indexed(&change.path, true)? != Some(true) => {
                return unavailable("a checkout over a file that was changed");
            }
            _ => {}
        }
        writes.push(change);
    }
    refuse_clashes(call, &writes)?;
    for change in writes.iter().filter(|change| change.new.is_none()) {
        call.site.stage(&change.path, None)?;
        super::rm::take_away(call, &change.path)?;
    }
    for change in &writes {
        if let Some(new) = &change.new {
            call.site.stage(&change.path, Some(new))?;
            call.site.put(&change.path, Some(new))?;
        }
    }
    // Its trees are known if it is all of the commit.
    if call.site.changes(View::Index, View::Of(*to))?.is_empty() {
        call.site.set_index(View::Of(*to))?;
    }
    Ok(())
}

/// What the index has where a directory, or a file in place of one, comes has to be what the commit takes away.
fn refuse_clashes(call: &mut Call<'_>, writes: &[Change]) -> Run<()> {
    let gone: HashSet<&[u8]> = writes
        .iter()
        .filter(|change| change.new.is_none())
        .map(|change| change.path.as_slice())
        .collect();
    for change in writes.iter().filter(|change| change.new.is_some()) {
        for above in directories_above(&change.path) {
            if !gone.contains(above) && matches!(call.site.find(View::Index, above)?, Some(Found::File(_))) {
                return unavailable("a checkout in which a staged file becomes a directory");
            }
        }
        if matches!(call.site.find(View::Index, &change.path)?, Some(Found::Directory)) {
            let below = call.site.files(View::Index, &change.path)?;
            if below.iter().any(|(path, _)| !gone.contains(path.as_slice())) {
                return unavailable("a checkout in which a directory with staged files becomes a file");
            }
        }
    }
    Ok(())
}
