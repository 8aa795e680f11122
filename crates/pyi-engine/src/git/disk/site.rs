//! A work tree that is a directory, as git's commands see it.

use std::ffi::OsStr;
use std::fs;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use pyi_cas::Bytes;
use pyi_git::command::log_name::{self, LOGS};
use pyi_git::command::{Change, Failure, Found, Ref, Site, Version, View};
use pyi_git::config::Config;
use pyi_git::oid::OidPrefix;
use pyi_git::refname::{RefNameOptions, check_ref_format};
use pyi_git::{Object, ObjectFormat, ObjectKind, Oid};

use super::files::{Seen, oid_of, stored};
use super::trees::Row;
use super::untracked::Asked;
use super::{DiskSite, unsupported};
use crate::engine::now_ns;
use crate::sandbox::os::FileType;

/// Digits of a name that is cut short, at least.
const ABBREVIATION: usize = 7;

impl Site for DiskSite<'_> {
    fn format(&self) -> ObjectFormat {
        self.format
    }

    fn now(&self) -> i64 {
        i64::try_from(now_ns() / 1_000_000_000).unwrap_or(0)
    }

    fn settings(&self) -> Option<Config> {
        Some(self.config.clone())
    }

    fn is_directory(&self) -> bool {
        true
    }

    fn plain_file(&mut self, path: &[u8]) -> Result<Option<Bytes>, Failure> {
        match self.stat(path)? {
            None => Ok(None),
            Some(stat) if stat.file_type() == FileType::File => self.read_work(path, 0o100_644).map(Some),
            Some(_) => unsupported("a file that is no file"),
        }
    }

    fn top(&self) -> Option<&[u8]> {
        Some(self.top.as_os_str().as_bytes())
    }

    fn zone_minutes(&self, seconds: i64) -> i32 {
        let mut local = std::mem::MaybeUninit::<libc::tm>::uninit();
        let seconds: libc::time_t = seconds;
        // SAFETY: the pointers are to a time and to room for its parts; the zone is read by the call itself (`localtime_r` after `tzset`).
        let filled = unsafe {
            tzset();
            libc::localtime_r(&raw const seconds, local.as_mut_ptr())
        };
        if filled.is_null() {
            return 0;
        }
        // SAFETY: the call filled it.
        let offset = unsafe { local.assume_init_ref() }.tm_gmtoff;
        i32::try_from(offset / 60).unwrap_or(0)
    }

    fn changes(&mut self, old: View, new: View) -> Result<Vec<Change>, Failure> {
        self.changes_within(old, new, &[])
    }

    fn changes_within(&mut self, old: View, new: View, within: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        match (old, new) {
            (View::Index, View::Index) => Ok(Vec::new()),
            (old, View::Index) => {
                let tree = self.tree_of(old)?;
                self.staged(tree, within)
            }
            (View::Index, new) => {
                let tree = self.tree_of(new)?;
                let mut changes = self.staged(tree, within)?;
                for change in &mut changes {
                    std::mem::swap(&mut change.old, &mut change.new);
                }
                Ok(changes)
            }
            (old, new) => {
                let sides = (self.tree_of(old)?, self.tree_of(new)?);
                let mut changes = Vec::new();
                let mut told = |path: &[u8], old: Option<Row>, new: Option<Row>| {
                    changes.push(Change {
                        path: path.to_vec(),
                        old: old.map(|row| row.version()),
                        new: new.map(|row| row.version()),
                    });
                    true
                };
                self.trees.diff(self.git, sides, b"", within, &mut told, 0)?;
                Ok(changes)
            }
        }
    }

    fn show(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        match &mut self.early {
            Some(early) => Ok(early.show(out)?),
            None => Ok(()),
        }
    }

    fn note_tree(&mut self, commit: &Oid, tree: &Oid) {
        self.trees.note(commit, tree);
    }

    fn changes_any(
        &mut self,
        old: View,
        new: View,
        within: &[Vec<u8>],
        is_meant: &dyn Fn(&[u8]) -> bool,
    ) -> Result<bool, Failure> {
        let sides = (self.tree_of(old)?, self.tree_of(new)?);
        let mut told = |path: &[u8], _: Option<Row>, _: Option<Row>| !is_meant(path);
        Ok(!self.trees.diff(self.git, sides, b"", within, &mut told, 0)?)
    }

    fn refs_below(&mut self, prefix: &[u8]) -> Result<Option<Vec<Ref>>, Failure> {
        if !self.pending.is_empty() {
            return Ok(None);
        }
        let refs = self.all_refs()?;
        let from = refs.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        let found = from.take_while(|(name, _)| name.starts_with(prefix));
        Ok(Some(found.map(|(name, oid)| (name.clone(), *oid)).collect()))
    }

    fn has_symbolic_refs(&mut self, prefix: &[u8]) -> Result<bool, Failure> {
        self.all_refs()?;
        Ok(self.symbolic.iter().any(|name| name.starts_with(prefix)))
    }

    fn tracked_changes(&mut self, old: View, within: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        match old {
            View::Index => self.changed(within),
            old => {
                let tree = self.tree_of(old)?;
                self.changed_since(tree, within)
            }
        }
    }

    fn untracked(
        &mut self,
        collapse: bool,
        ignored: bool,
        within: &[Vec<u8>],
    ) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        self.find_untracked(Asked {
            collapse,
            ignored,
            within: within.to_vec(),
        })
        .map(Some)
    }

    fn expect_untracked(&mut self, collapse: bool, ignored: bool, within: &[Vec<u8>]) {
        self.asked = Some(Asked {
            collapse,
            ignored,
            within: within.to_vec(),
        });
    }

    fn size(&mut self, version: &Version) -> Result<u64, Failure> {
        if let Some(file) = self.work_file(version) {
            return Ok(file.stat.stamp.size_bytes);
        }
        let oid = oid_of(self.format, version)?;
        Ok(self.info(&oid)?.map_or(0, |(_, size_bytes)| size_bytes))
    }

    fn files(&mut self, view: View, below: &[u8]) -> Result<Vec<(Vec<u8>, Version)>, Failure> {
        let mut found = Vec::new();
        match view {
            View::Empty => {}
            View::Index => {
                self.settle()?;
                let view = self.view()?;
                let mut range = view.below(below);
                if range.is_empty()
                    && let Ok(at) = view.position(below)
                {
                    range = at..at + 1;
                }
                for entry in range.map(|at| view.entry(at)) {
                    found.push((entry.path().to_vec(), stored(entry.mode(), &entry.oid())));
                }
            }
            View::Of(oid) => {
                let mut tree = self.trees.of(self.git, &oid)?;
                let mut above = Vec::new();
                if !below.is_empty() {
                    match self.trees.find(self.git, tree, below)? {
                        Some(row) if row.is_tree() => tree = row.oid,
                        Some(row) => return Ok(vec![(below.to_vec(), stored(row.mode, &row.oid))]),
                        None => return Ok(found),
                    }
                    above = [below, b"/"].concat();
                }
                let mut add = |path, version| found.push((path, version));
                self.trees.list(self.git, &tree, &above, &mut add, 0)?;
            }
            View::Work => return unsupported("the whole work tree"),
        }
        Ok(found)
    }

    fn find(&mut self, view: View, path: &[u8]) -> Result<Option<Found>, Failure> {
        let odd = |part: &[u8]| matches!(part, b"" | b"." | b"..") || part.contains(&0);
        if path.is_empty() {
            return Ok(Some(Found::Directory));
        }
        if path.split(|&byte| byte == b'/').any(odd) {
            // `a/` and the like mean what they mean to git.
            return if path.len() == 1 || view != View::Work {
                Ok(None)
            } else {
                unsupported("a path")
            };
        }
        match view {
            View::Empty => Ok(None),
            View::Work if self.pending.plan.has_below(path) => Ok(Some(Found::Directory)),
            View::Work if self.pending.plan.at(path).is_some() => {
                let planned = self.pending.plan.at(path).flatten();
                Ok(planned.cloned().map(Found::File))
            }
            View::Work => match self.stat(path)? {
                None => Ok(None),
                Some(stat) if stat.file_type() == FileType::Directory => Ok(Some(Found::Directory)),
                Some(stat) => Ok(Some(Found::File(self.work_version(path, &stat)?))),
            },
            View::Index => {
                self.settle()?;
                let view = self.view()?;
                if let Ok(at) = view.position(path) {
                    let entry = view.entry(at);
                    return Ok(Some(Found::File(stored(entry.mode(), &entry.oid()))));
                }
                Ok((!view.below(path).is_empty()).then_some(Found::Directory))
            }
            View::Of(oid) => {
                let tree = self.trees.of(self.git, &oid)?;
                let row = self.trees.find(self.git, tree, path)?;
                Ok(row.map(|row| match row.is_tree() {
                    true => Found::Directory,
                    false => Found::File(stored(row.mode, &row.oid)),
                }))
            }
        }
    }

    fn content(&mut self, version: &Version) -> Result<Bytes, Failure> {
        if let Some(content) = self.work_content(version)? {
            return Ok(content);
        }
        let oid = oid_of(self.format, version)?;
        if version.mode == 0o160_000 {
            return Ok(format!("Subproject commit {oid}\n").into());
        }
        match self.object(&oid)? {
            Some(object) if object.kind == ObjectKind::Blob => {
                Ok(Arc::try_unwrap(object.data).unwrap_or_else(|data| data.to_vec()).into())
            }
            _ => unsupported("a missing object"),
        }
    }

    fn name(&mut self, version: &Version) -> Result<Oid, Failure> {
        match self.work_oid(version)? {
            Some(oid) => Ok(oid),
            None => oid_of(self.format, version),
        }
    }

    fn object(&mut self, oid: &Oid) -> Result<Option<Object>, Failure> {
        if let Some(object) = self.pending.object(oid) {
            return Ok(Some(object.clone()));
        }
        match self.read_object(oid)? {
            Some(object) => Ok(Some(object)),
            None => unsupported("a missing object"),
        }
    }

    fn info(&mut self, oid: &Oid) -> Result<Option<(ObjectKind, u64)>, Failure> {
        if let Some(object) = self.pending.object(oid) {
            return Ok(Some((object.kind, object.data.len() as u64)));
        }
        match self.git.objects()?.info(oid)? {
            Some(info) => Ok(Some(info)),
            None => unsupported("a missing object"),
        }
    }

    fn with_prefix(&mut self, hex: &[u8]) -> Result<Vec<Oid>, Failure> {
        let prefix = OidPrefix::from_hex(hex)?;
        let mut found = self.git.beginning(&prefix, 2)?;
        found.extend(self.pending.names().filter(|oid| prefix.matches(oid.as_bytes())));
        found.sort_unstable();
        found.dedup();
        found.truncate(2);
        Ok(found)
    }

    fn abbreviation_len(&mut self) -> Result<usize, Failure> {
        let Some(packed) = self.git.objects()?.packed_count()? else {
            return unsupported("the count of objects");
        };
        let bits = packed.checked_ilog2().map_or(0, |bits| bits as usize + 1);
        Ok(bits.div_ceil(2).max(ABBREVIATION))
    }

    fn keep_object(&mut self, kind: ObjectKind, raw: Vec<u8>) -> Result<Oid, Failure> {
        let oid = pyi_git::hash_object(self.format, kind, &raw);
        self.keep(oid, kind, raw);
        Ok(oid)
    }

    fn index_tree(&mut self) -> Result<Oid, Failure> {
        self.name_index()
    }

    fn stage(&mut self, path: &[u8], version: Option<&Version>) -> Result<(), Failure> {
        self.stage_entry(path, version)
    }

    fn set_index(&mut self, view: View) -> Result<(), Failure> {
        self.become_view(view)
    }

    fn put(&mut self, path: &[u8], version: Option<&Version>) -> Result<(), Failure> {
        self.plan_file(path, version)
    }

    fn relocate(&mut self, from: &[u8], to: &[u8]) -> Result<bool, Failure> {
        self.plan_move(from, to).map(|()| true)
    }

    fn is_as_indexed(&mut self, path: &[u8], by_content: bool) -> Result<Option<bool>, Failure> {
        self.settle()?;
        let view = self.view()?;
        Ok(Some(match view.position(path) {
            Err(_) => false,
            Ok(at) if by_content => matches!(self.look(&view.entry(at))?, Seen::Same),
            Ok(at) => self.is_untouched(&view.entry(at))?,
        }))
    }

    fn look_at_files(&mut self) -> Result<(), Failure> {
        self.look_around()
    }

    fn was_about(&mut self, is_meant: &dyn Fn(&[u8]) -> bool) {
        self.stale.retain(|path| is_meant(path));
    }

    fn admin(&mut self, name: &[u8]) -> Result<Option<Bytes>, Failure> {
        if let Some(pending) = self.pending.admin(name) {
            return Ok(pending);
        }
        if name.starts_with(LOGS) {
            return self.log_entry(name);
        }
        if name == b"info/exclude" {
            return Ok(self.exclude.clone());
        }
        if !name.starts_with(b"refs/") {
            let found = self.git_file(name)?;
            if name == b"HEAD"
                && let Some(target) = found.as_deref().and_then(|text| text.strip_prefix(b"ref:"))
                && !is_branch(target.trim_ascii())
            {
                return unsupported("a HEAD that is broken");
            }
            if name == b"HEAD" && self.head.is_none() {
                self.head.clone_from(&found);
            }
            if name == b"config" && self.pending.config.is_none() {
                self.pending.config.clone_from(&found);
            }
            return Ok(found.map(Bytes::from));
        }
        let oid = match &self.refs {
            Some(refs) => refs.get(name).copied(),
            None => self.follow(name)?,
        };
        self.seen.entry(name.to_vec()).or_insert(oid);
        Ok(oid.map(|oid| format!("{oid}\n").into()))
    }

    fn admin_names(&mut self, below: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        if let Some(name) = below.strip_prefix(LOGS) {
            let there =
                fs::symlink_metadata(self.git.path().join(OsStr::from_bytes(below))).is_ok_and(|log| log.is_file());
            return Ok(if there { vec![log_name::count(name)] } else { Vec::new() });
        }
        let prefix = [below, b"/"].concat();
        let refs = self.all_refs()?;
        let names = refs.keys().filter(|name| name.starts_with(&prefix));
        Ok(names.cloned().collect())
    }

    fn set_admin(&mut self, name: &[u8], content: Option<Bytes>) -> Result<(), Failure> {
        self.set_pending(name, content)
    }

    fn append_log(&mut self, name: &[u8], line: &[u8]) -> Result<bool, Failure> {
        self.append_pending(name, line)
    }

    fn drafted(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.pending.message = Some(message.to_vec());
        Ok(())
    }

    fn committed(&mut self, _: &Oid, message: &[u8]) -> Result<(), Failure> {
        self.drafted(message)
    }
}

/// Whether it is the name of a branch: HEAD may say anything else, and git has something to say about it.
fn is_branch(name: &[u8]) -> bool {
    name.starts_with(b"refs/heads/") && check_ref_format(name, RefNameOptions::default()).is_ok()
}

unsafe extern "C" {
    /// Reads which zone is local.
    fn tzset();
}
