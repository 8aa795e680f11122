//! The objects of a git repository: loose, packed, or borrowed from another one through `info/alternates`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use pyi_git::delta_cache::DeltaCache;
use pyi_git::object::{decode_loose, decode_loose_header};
use pyi_git::oid::OidPrefix;
use pyi_git::{Object, ObjectFormat, ObjectKind, Oid};

use super::layout::Layout;
use super::packs::{Checked, Located, PackList};
use super::regular::{read_regular, read_start};
use crate::{Error, Result};

/// Memory for delta bases of one reading thread, in bytes.
const DELTA_CACHE_BYTES: usize = 16 << 20;
/// Caches that are kept between reads.
const CACHES_KEPT: usize = 2;
/// So much of a loose object has its header, whatever its deflater was: the tables of a block take less than 300 bytes.
const LOOSE_START_BYTES: u64 = 512;
/// Objects above this are refused: an object of the store is smaller too.
const OBJECT_MAX_BYTES: u64 = u32::MAX as u64;
/// Repositories that borrow from others that borrow: git follows as many, and says so of more.
const ALTERNATES_DEPTH_MAX: usize = 5;

/// The objects of one repository. All calls may be made from any thread.
pub struct ObjectDatabase {
    objects: PathBuf,
    format: ObjectFormat,
    packs: RwLock<Arc<PackList>>,
    next_pack: Mutex<u32>,
    max_object_bytes: u64,
    has_odd_alternates: bool,
    caches: Mutex<Vec<DeltaCache>>,
}

impl ObjectDatabase {
    /// The objects of the repository with this (common) git directory.
    ///
    /// # Errors
    /// `GitError` if the repository's configuration cannot be read; `Storage`.
    pub fn open(common_git_dir: &Path) -> Result<Self> {
        let layout = Layout::read(common_git_dir)?;
        Self::of_format(common_git_dir, layout.format)
    }

    pub(crate) fn of_format(common_git_dir: &Path, format: ObjectFormat) -> Result<Self> {
        Self::limited(common_git_dir, format, OBJECT_MAX_BYTES)
    }

    /// The same for objects of a known hash; those above a size are refused, before memory is taken for them.
    pub(crate) fn limited(common_git_dir: &Path, format: ObjectFormat, max_object_bytes: u64) -> Result<Self> {
        let objects = common_git_dir.join("objects");
        let mut next_pack = 0;
        let (dirs, has_odd_alternates) = object_dirs(&objects);
        let list = PackList::scan(dirs, format, max_object_bytes, None, &mut next_pack)?;
        Ok(ObjectDatabase {
            objects,
            format,
            packs: RwLock::new(Arc::new(list)),
            next_pack: Mutex::new(next_pack),
            max_object_bytes,
            has_odd_alternates,
            caches: Mutex::new(Vec::new()),
        })
    }

    /// The repository's hash.
    #[must_use]
    pub fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Whether objects are borrowed in a way that git has something to say about: from where nothing is, or through too many others.
    pub(crate) fn has_odd_alternates(&self) -> bool {
        self.has_odd_alternates
    }

    /// The directory into which new objects go.
    pub(crate) fn objects_dir(&self) -> &Path {
        &self.objects
    }

    /// Reads an object, checked against its name; `None` if the repository does not have it.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if only damaged copies exist; `Storage`.
    pub fn read(&self, oid: &Oid) -> Result<Option<Object>> {
        self.read_checked(oid, Checked::ByName)
    }

    /// Reads an object to show it or to walk on from it: what is packed is checked as git checks it then, by the checksums of what it was unfolded from.
    /// Hashing everything again would cost more than unfolding it. `None` if the repository does not have it.
    ///
    /// # Errors
    /// As [`ObjectDatabase::read`].
    pub(crate) fn look(&self, oid: &Oid) -> Result<Option<Object>> {
        self.read_checked(oid, Checked::ByPack)
    }

    fn read_checked(&self, oid: &Oid, checked: Checked) -> Result<Option<Object>> {
        if oid.format() != self.format {
            return Ok(None);
        }
        let mut cache = self.take_cache();
        let found = self.read_with(oid, checked, &mut cache);
        self.give_cache(cache);
        found
    }

    fn read_with(&self, oid: &Oid, checked: Checked, cache: &mut DeltaCache) -> Result<Option<Object>> {
        let mut damage = None;
        let mut list = self.packs.read().clone();
        let mut looked_again = false;
        loop {
            if let Some(object) = list.read(oid, checked, cache, &mut damage) {
                return Ok(Some(object));
            }
            for dir in &list.object_dirs {
                match read_loose(dir, oid, self.max_object_bytes) {
                    Ok(None) => {}
                    Ok(found) => return Ok(found),
                    Err(error) => drop(damage.get_or_insert(error)),
                }
            }
            // Somebody may have packed it since the packs were listed.
            match if looked_again { None } else { self.reload(&list)? } {
                Some(newer) => list = newer,
                None => return damage.map_or(Ok(None), Err),
            }
            looked_again = true;
        }
    }

    /// Lists the packs again if there may be others than those in `seen`.
    fn reload(&self, seen: &Arc<PackList>) -> Result<Option<Arc<PackList>>> {
        let mut next_pack = self.next_pack.lock();
        let current = self.packs.read().clone();
        if !Arc::ptr_eq(&current, seen) {
            return Ok(Some(current));
        }
        if !seen.is_stale() {
            return Ok(None);
        }
        let dirs = object_dirs(&self.objects).0;
        let list = PackList::scan(dirs, self.format, self.max_object_bytes, Some(seen), &mut next_pack)?;
        let list = Arc::new(list);
        *self.packs.write() = list.clone();
        Ok(Some(list))
    }

    /// Lists the packs again if they may have changed: an opened pack that git has removed since must not count as there.
    pub(crate) fn refresh(&self) -> Result<()> {
        let seen = self.packs.read().clone();
        self.reload(&seen).map(drop)
    }

    /// Whether the repository has the object. Its content is not looked at.
    ///
    /// # Errors
    /// `Storage`.
    pub fn contains(&self, oid: &Oid) -> Result<bool> {
        if self.contains_now(oid) {
            return Ok(true);
        }
        let seen = self.packs.read().clone();
        Ok(self.reload(&seen)?.is_some() && self.contains_now(oid))
    }

    /// Where the object is packed, if it is.
    pub(crate) fn locate(&self, oid: &Oid) -> Option<Located> {
        if oid.format() != self.format {
            return None;
        }
        self.packs.read().locate(oid)
    }

    /// Kind and size of an object, which is not unfolded for it. `None` if the repository does not have it. O(1) for what is loose or whole.
    ///
    /// # Errors
    /// As [`ObjectDatabase::read`].
    pub fn info(&self, oid: &Oid) -> Result<Option<(ObjectKind, u64)>> {
        if let Some(located) = self.locate(oid) {
            let mut cache = self.take_cache();
            let info = located.pack.info(self.format, located.offset, &mut cache);
            self.give_cache(cache);
            if info.is_some() {
                return Ok(info);
            }
        }
        if oid.format() == self.format {
            let list = self.packs.read().clone();
            let loose = list.object_dirs.iter().find_map(|dir| loose_info(dir, oid));
            if loose.is_some() {
                return Ok(loose);
            }
        }
        let object = self.read(oid)?;
        Ok(object.map(|object| (object.kind, object.data.len() as u64)))
    }

    /// The objects whose names begin so, sorted, each once; at most `limit`.
    ///
    /// # Errors
    /// `Storage`; damage in the index of a pack.
    pub(crate) fn beginning(&self, prefix: &OidPrefix, limit: usize) -> Result<Vec<Oid>> {
        // With one digit there would be sixteen directories; git takes no less than four.
        let loose = self.loose_from(prefix.low().first().copied().unwrap_or_default())?;
        self.beginning_among(prefix, limit, &loose)
    }

    /// The same, with these for the loose objects.
    pub(crate) fn beginning_among(&self, prefix: &OidPrefix, limit: usize, loose: &[Oid]) -> Result<Vec<Oid>> {
        let mut found = self.packs.read().beginning(self.format, prefix, limit)?;
        found.extend(loose.iter().filter(|oid| prefix.matches(oid.as_bytes())));
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    /// The loose objects whose names begin with this byte.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) fn loose_from(&self, first: u8) -> Result<Vec<Oid>> {
        let list = self.packs.read().clone();
        let mut found = Vec::new();
        for dir in &list.object_dirs {
            let fan = format!("{first:02x}");
            let path = dir.join(&fan);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(error) => return Err(Error::io("list", &path, &error)),
            };
            for entry in entries {
                let name = entry.map_err(|error| Error::io("list", &path, &error))?.file_name();
                let hex = [fan.as_bytes(), name.as_bytes()].concat();
                found.extend(Oid::from_hex(&hex).ok().filter(|oid| oid.format() == self.format));
            }
        }
        Ok(found)
    }

    /// How many objects are packed, as git estimates it; `None` if that cannot be told.
    ///
    /// # Errors
    /// `Storage`; damage in the index of a pack.
    pub fn packed_count(&self) -> Result<Option<u64>> {
        self.packs.read().clone().count(self.format)
    }

    fn take_cache(&self) -> DeltaCache {
        let kept = self.caches.lock().pop();
        kept.unwrap_or_else(|| DeltaCache::new(DELTA_CACHE_BYTES))
    }

    fn give_cache(&self, cache: DeltaCache) {
        let mut caches = self.caches.lock();
        if caches.len() < CACHES_KEPT {
            caches.push(cache);
        }
    }

    /// As [`ObjectDatabase::contains`], without another look at the pack directories; a false `false` costs a second copy.
    pub(crate) fn contains_now(&self, oid: &Oid) -> bool {
        if oid.format() != self.format {
            return false;
        }
        let list = self.packs.read().clone();
        list.contains(oid) || list.object_dirs.iter().any(|dir| loose_path(dir, oid).exists())
    }
}

/// Where a loose object stands in an object directory.
pub(crate) fn loose_path(objects: &Path, oid: &Oid) -> PathBuf {
    let hex = oid.to_hex();
    let (fan, rest) = hex.split_at(2);
    objects.join(fan).join(rest)
}

fn read_loose(objects: &Path, oid: &Oid, max_bytes: u64) -> Result<Option<Object>> {
    let path = loose_path(objects, oid);
    let file = match read_regular(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("read", &path, &error)),
    };
    let damaged = |what: String| {
        Error::corrupt(format!(
            "{}: {what}; `git fsck` tells more, a fresh clone repairs it",
            path.display()
        ))
    };
    let object = decode_loose(&file, max_bytes).map_err(|error| damaged(error.to_string()))?;
    if object.oid(oid.format()) != *oid {
        return Err(damaged("it holds another object than its name says".to_owned()));
    }
    Ok(Some(object))
}

/// What the header of a loose object says; `None` where that cannot be told. O(1).
fn loose_info(objects: &Path, oid: &Oid) -> Option<(ObjectKind, u64)> {
    let start = read_start(&loose_path(objects, oid), LOOSE_START_BYTES).ok()?;
    decode_loose_header(&start).ok()
}

/// The object directory and those it borrows from, each once; whether git would complain of one of them.
fn object_dirs(objects: &Path) -> (Vec<PathBuf>, bool) {
    // Hardly any repository borrows: then there is nothing that could come twice.
    if fs::symlink_metadata(objects.join("info/alternates")).is_err() {
        return (vec![objects.to_path_buf()], false);
    }
    let mut dirs = Vec::new();
    let mut seen = HashSet::new();
    let mut is_odd = false;
    let mut waiting = vec![(objects.to_path_buf(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        // One that is not there ends nothing: the object that is missed will.
        let Ok(real) = fs::canonicalize(&dir) else {
            is_odd = true;
            continue;
        };
        if !seen.insert(real) {
            continue;
        }
        let text = read_regular(&dir.join("info/alternates")).unwrap_or_default();
        let lines: Vec<_> = text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty() && line.first() != Some(&b'#'))
            .map(|line| {
                is_odd |= line.first() == Some(&b'"');
                (dir.join(OsStr::from_bytes(line)), depth + 1)
            })
            .collect();
        is_odd |= depth > ALTERNATES_DEPTH_MAX && !lines.is_empty();
        waiting.extend(lines.into_iter().rev());
        dirs.push(dir);
    }
    (dirs, is_odd)
}
