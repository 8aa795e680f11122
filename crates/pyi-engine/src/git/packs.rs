//! The packs of a repository: mapped when first needed, found through their own indexes or a multi-pack-index.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use memmap2::Mmap;
use pyi_git::delta_cache::DeltaCache;
use pyi_git::midx::MultiPackIndex;
use pyi_git::oid::OidPrefix;
use pyi_git::pack::{PackError, PackLimits, PackReader};
use pyi_git::pack_entry::EntryHeader;
use pyi_git::pack_index::{PackIndex, PrefixMatch};
use pyi_git::{Object, ObjectFormat, ObjectKind, Oid};

use crate::{Error, Result};

/// How long after a directory changed a look at it may have missed another change: coarse file system clocks.
const CLOCK_GRAIN: Duration = Duration::from_millis(50);

/// How an object that is read from a pack is known to be the one that was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Its content has that name.
    ByName,
    /// The pack's index says where it is, and what it was unfolded from has the right checksums and sizes.
    ByPack,
}

/// One pack.
pub(crate) struct Pack {
    /// The path of its `.pack` file.
    path: PathBuf,
    number: u32,
    in_midx: bool,
    /// Objects above this are refused.
    max_object_bytes: u64,
    reader: OnceLock<std::result::Result<PackReader<Mmap>, Error>>,
    /// Where the entries begin, ascending, each with its position in the index.
    order: OnceLock<Vec<(u64, u32)>>,
}

/// An object as a pack holds it.
#[derive(Clone)]
pub(crate) struct Located {
    pub(crate) pack: Arc<Pack>,
    pub(crate) offset: u64,
}

/// An entry of a pack, checked against the CRC in its index.
pub(crate) struct PackedEntry<'a> {
    pub(crate) header: EntryHeader,
    pub(crate) deflated: &'a [u8],
}

impl Pack {
    fn reader(&self, format: ObjectFormat) -> std::result::Result<&PackReader<Mmap>, &Error> {
        self.reader.get_or_init(|| self.open(format)).as_ref()
    }

    /// Tells packs apart.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The entry at `offset` as it stands; `None` if it is damaged, or the index has no checksum for it. O(entry), and once O(entries log
    /// entries).
    pub(crate) fn entry(&self, format: ObjectFormat, offset: u64) -> Option<PackedEntry<'_>> {
        let reader = self.reader(format).ok()?;
        let order = self
            .order
            .get_or_init(|| reader.index().in_pack_order().unwrap_or_default());
        let at = order.binary_search_by_key(&offset, |entry| entry.0).ok()?;
        let end = order.get(at + 1).map_or(reader.end(), |next| next.0);
        let whole = reader.raw(offset, end)?;
        if reader.index().crc32_at(order.get(at)?.1)? != pyi_git::pack_stream::crc32(whole) {
            return None;
        }
        let header = reader.entry_header(offset).ok()?;
        let deflated = reader.raw(header.data_offset, end)?;
        Some(PackedEntry { header, deflated })
    }

    /// Where the object of this name is, if this pack has it.
    pub(crate) fn find(&self, oid: &Oid) -> Option<u64> {
        self.reader(oid.format()).ok()?.index().find(oid).ok().flatten()
    }

    /// Kind and size of the object at `offset`, not unfolded.
    pub(crate) fn info(&self, format: ObjectFormat, offset: u64, cache: &mut DeltaCache) -> Option<(ObjectKind, u64)> {
        self.reader(format).ok()?.info_at(offset, cache).ok()
    }

    fn open(&self, format: ObjectFormat) -> Result<PackReader<Mmap>> {
        let index_path = self.path.with_extension("idx");
        let pack = map(&self.path)?;
        let index =
            PackIndex::parse(format, map(&index_path)?).map_err(|error| damaged(&index_path, &error.to_string()))?;
        // The last bytes of a pack are its checksum, which the index repeats: this finds a pack that was cut short.
        let trailer = pack.len().checked_sub(format.raw_len()).and_then(|at| pack.get(at..));
        if index.pack_checksum().as_ref().map(Oid::as_bytes) != trailer {
            return Err(damaged(&self.path, "it is cut short or does not belong to its index"));
        }
        let reader = PackReader::new(pack, index, self.number);
        let reader = reader.map_err(|error| damaged(&self.path, &error.to_string()))?;
        Ok(reader.with_limits(PackLimits {
            max_object_bytes: self.max_object_bytes,
            ..PackLimits::default()
        }))
    }

    fn damage(&self, error: &PackError) -> Error {
        damaged(&self.path, &error.to_string())
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::corrupt(format!(
        "{}: {what}; `git fsck` tells more, a fresh clone or `git fetch` repairs it",
        path.display()
    ))
}

fn map(path: &Path) -> Result<Mmap> {
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| Error::io("open", path, &error))?;
    // SAFETY: git never changes a pack or an index in place: it writes a new file and removes the old one, which a
    // mapping survives. Whoever cuts a mapped file short stops this process with SIGBUS, as they do git itself.
    unsafe { Mmap::map(&file) }.map_err(|error| Error::io("map", path, &error))
}

/// A multi-pack-index, and the packs that it numbers, as far as they are there.
type Midx = (MultiPackIndex<Mmap>, Vec<Option<Arc<Pack>>>);

/// The packs of a repository and its alternates, as they were at one moment.
pub(crate) struct PackList {
    pub(crate) object_dirs: Vec<PathBuf>,
    max_object_bytes: u64,
    packs: Vec<Arc<Pack>>,
    midx: Vec<Midx>,
    looked_at: Vec<(PathBuf, Option<SystemTime>)>,
    when: SystemTime,
    last_hit: AtomicUsize,
}

impl PackList {
    /// Looks at the directories; packs that `old` had open stay open. Objects above `max_object_bytes` count as damaged.
    pub(crate) fn scan(
        object_dirs: Vec<PathBuf>,
        format: ObjectFormat,
        max_object_bytes: u64,
        old: Option<&PackList>,
        next_number: &mut u32,
    ) -> Result<Self> {
        let when = SystemTime::now();
        let mut list = PackList {
            looked_at: Vec::new(),
            packs: Vec::new(),
            midx: Vec::new(),
            when,
            last_hit: AtomicUsize::new(0),
            object_dirs: Vec::new(),
            max_object_bytes,
        };
        for objects in &object_dirs {
            let dir = objects.join("pack");
            list.looked_at.push((dir.clone(), modified(&dir)));
            list.scan_directory(&dir, format, old, next_number)?;
        }
        list.object_dirs = object_dirs;
        Ok(list)
    }

    fn scan_directory(
        &mut self,
        dir: &Path,
        format: ObjectFormat,
        old: Option<&PackList>,
        next_number: &mut u32,
    ) -> Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", dir, &error)),
        };
        // A multi-pack-index that is damaged or of a version we do not know costs time only: each pack has its own index.
        let midx_path = dir.join("multi-pack-index");
        let midx = if midx_path.exists() {
            map(&midx_path)
                .ok()
                .and_then(|bytes| MultiPackIndex::parse(format, bytes).ok())
        } else {
            None
        };
        let names = midx.as_ref().map(|midx| midx.pack_names().to_vec()).unwrap_or_default();
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| Error::io("read", dir, &error))?.path();
            if path.extension().is_none_or(|extension| extension != "idx") {
                continue;
            }
            let in_midx = path
                .file_name()
                .is_some_and(|name| names.iter().any(|known| known.as_slice() == name.as_encoded_bytes()));
            let path = path.with_extension("pack");
            let time = modified(&path);
            let known = old.and_then(|old| {
                old.packs
                    .iter()
                    .find(|pack| pack.path == path && pack.in_midx == in_midx)
            });
            let pack = known.cloned().unwrap_or_else(|| {
                *next_number += 1;
                Arc::new(Pack {
                    path,
                    number: *next_number,
                    in_midx,
                    max_object_bytes: self.max_object_bytes,
                    reader: OnceLock::new(),
                    order: OnceLock::new(),
                })
            });
            found.push((time, pack));
        }
        // Newest first: what is asked for is more often in a young pack.
        found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.path.cmp(&b.1.path)));
        let found: Vec<_> = found.into_iter().map(|(_, pack)| pack).collect();
        if let Some(midx) = midx {
            let of = |name: &Vec<u8>| {
                let named = |pack: &&Arc<Pack>| {
                    let own = pack.path.with_extension("idx");
                    own.file_name()
                        .is_some_and(|own| own.as_encoded_bytes() == name.as_slice())
                };
                found.iter().find(named).cloned()
            };
            let packs = midx.pack_names().iter().map(of).collect();
            self.midx.push((midx, packs));
        }
        self.packs.extend(found);
        Ok(())
    }

    /// Whether the directories may hold other packs by now.
    pub(crate) fn is_stale(&self) -> bool {
        self.looked_at.iter().any(|(dir, then)| {
            let now = modified(dir);
            now != *then || now.is_some_and(|now| now + CLOCK_GRAIN > self.when)
        })
    }

    /// Reads an object. Damage met on the way goes to `damage`: another copy may be whole.
    pub(crate) fn read(
        &self,
        oid: &Oid,
        checked: Checked,
        cache: &mut DeltaCache,
        damage: &mut Option<Error>,
    ) -> Option<Object> {
        let is_named = |object: &Object| checked == Checked::ByPack || object.oid(oid.format()) == *oid;
        let mut every_pack = false;
        for (midx, packs) in &self.midx {
            match midx.find(oid) {
                Ok(None) => {}
                Ok(Some((number, offset))) => {
                    let pack = packs.get(number as usize).and_then(Option::as_ref);
                    if let Some(pack) = pack
                        && let Ok(reader) = pack.reader(oid.format())
                    {
                        match reader.read_at(offset, cache) {
                            Ok(object) if is_named(&object) => return Some(object),
                            Ok(_) => note(damage, pack.damage(&PackError::NameMismatch { oid: *oid })),
                            Err(error) => note(damage, pack.damage(&error)),
                        }
                    }
                    every_pack = true;
                }
                Err(_) => every_pack = true,
            }
        }
        self.each(every_pack, |pack| match pack.reader(oid.format()) {
            Ok(reader) => match reader.read(oid, cache) {
                Ok(found) => match found {
                    Some(object) if !is_named(&object) => {
                        note(damage, pack.damage(&PackError::NameMismatch { oid: *oid }));
                        None
                    }
                    found => found,
                },
                Err(error) => {
                    note(damage, pack.damage(&error));
                    None
                }
            },
            Err(error) => {
                // A pack that is gone was packed anew by somebody: the next look at the directory finds the new one.
                if error.errno() != Some(libc::ENOENT) {
                    note(damage, error.clone());
                }
                None
            }
        })
    }

    /// Whether some pack lists the object.
    pub(crate) fn contains(&self, oid: &Oid) -> bool {
        if self.midx.iter().any(|(midx, _)| matches!(midx.find(oid), Ok(Some(_)))) {
            return true;
        }
        let listed = |pack: &Pack| {
            let reader = pack.reader(oid.format()).ok()?;
            reader.index().find(oid).ok().flatten()
        };
        self.each(false, listed).is_some()
    }

    /// The packed objects whose names begin so; those above `limit` of a pack are left out.
    pub(crate) fn beginning(&self, format: ObjectFormat, prefix: &OidPrefix, limit: usize) -> Result<Vec<Oid>> {
        let mut found = Vec::new();
        for pack in &self.packs {
            let index = pack.reader(format).map_err(Error::clone)?.index();
            let (from, to) = match index.prefix(prefix) {
                PrefixMatch::None => continue,
                PrefixMatch::One(at) => (at, at + 1),
                PrefixMatch::Many(from, to) => (from, to),
            };
            found.extend((from..to).take(limit).filter_map(|at| index.oid_at(at)));
        }
        Ok(found)
    }

    /// How many objects the packs have; those in two packs count twice. `None` if a multi-pack-index counts otherwise.
    pub(crate) fn count(&self, format: ObjectFormat) -> Result<Option<u64>> {
        if !self.midx.is_empty() {
            return Ok(None);
        }
        let mut count = 0;
        for pack in &self.packs {
            count += u64::from(pack.reader(format).map_err(Error::clone)?.index().len());
        }
        Ok(Some(count))
    }

    /// Where an object is packed, if it is.
    pub(crate) fn locate(&self, oid: &Oid) -> Option<Located> {
        for (midx, packs) in &self.midx {
            if let Ok(Some((number, offset))) = midx.find(oid)
                && let Some(Some(pack)) = packs.get(number as usize)
            {
                let pack = pack.clone();
                return Some(Located { pack, offset });
            }
        }
        let first = self.last_hit.load(Ordering::Relaxed);
        let rest = (0..self.packs.len()).filter(|&index| index != first);
        std::iter::once(first).chain(rest).find_map(|index| {
            let pack = self.packs.get(index).filter(|pack| !pack.in_midx)?;
            let offset = pack.find(oid)?;
            self.last_hit.store(index, Ordering::Relaxed);
            let pack = pack.clone();
            Some(Located { pack, offset })
        })
    }

    /// Asks the packs one after the other, beginning with the one that had the answer the last time.
    fn each<T>(&self, every_pack: bool, mut ask: impl FnMut(&Pack) -> Option<T>) -> Option<T> {
        let first = self.last_hit.load(Ordering::Relaxed);
        let rest = (0..self.packs.len()).filter(|&index| index != first);
        for index in std::iter::once(first).chain(rest) {
            let Some(pack) = self.packs.get(index) else { continue };
            if pack.in_midx && !every_pack {
                continue;
            }
            if let Some(answer) = ask(pack) {
                self.last_hit.store(index, Ordering::Relaxed);
                return Some(answer);
            }
        }
        None
    }
}

fn note(damage: &mut Option<Error>, error: Error) {
    damage.get_or_insert(error);
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
