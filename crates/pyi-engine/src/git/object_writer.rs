//! Writing objects into a git repository: a few as loose objects, many as one pack.
//!
//! Everything goes to a temporary name first, with the prefixes that `git gc` clears away after a crash; a pack gets its name before its
//! index does, because git finds packs by their indexes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pyi_git::object::encode_loose;
use pyi_git::pack_write::PackWriter;

use super::layout::Sharing;
use super::odb::loose_path;
use super::source::GitSource;
use super::tree_export::Planned;
use crate::engine::{Engine, now_ns};
use crate::{Error, Result};

/// More objects than this go into a pack.
const LOOSE_MAX: usize = 200;
/// Bytes of a pack that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// How hard a pack is compressed: it is for `git gc` to do better.
const LEVEL: u32 = 1;

/// Writes the objects, parts before wholes. What is written before an error is harmless: nothing refers to it.
///
/// # Errors
/// `Storage`; `Corrupt` if a content is missing from the store.
pub(crate) fn write_objects(target: &GitSource, engine: &Engine, plan: &[Planned]) -> Result<()> {
    if plan.len() > LOOSE_MAX {
        return write_pack(target, engine, plan);
    }
    let objects = target.objects().objects_dir();
    for planned in plan {
        let path = loose_path(objects, &planned.oid);
        let dir = path.parent().unwrap_or(objects);
        make_directory(dir, target.layout.sharing)?;
        let mut temporary = Temporary::new(dir, "tmp_obj_")?;
        temporary.write(&encode_loose(planned.kind, &planned.content(engine)?))?;
        temporary.land(&path, target.layout.sharing)?;
    }
    Ok(())
}

fn write_pack(target: &GitSource, engine: &Engine, plan: &[Planned]) -> Result<()> {
    let sharing = target.layout.sharing;
    let dir = target.objects().objects_dir().join("pack");
    make_directory(&dir, sharing)?;
    let wrong = |error: pyi_git::pack_write::PackWriteError| Error::git(format!("{}: {error}", dir.display()));
    let count = u32::try_from(plan.len()).map_err(|_| Error::git("more objects than a pack can hold"))?;
    let mut pack = Temporary::new(&dir, "tmp_pack_")?;
    let mut out = Vec::with_capacity(WRITE_BYTES);
    let mut writer = PackWriter::new(target.format(), count, LEVEL, &mut out);
    for planned in plan {
        writer.add_named(planned.oid, planned.kind, &planned.content(engine)?, &mut out);
        if out.len() >= WRITE_BYTES {
            pack.write(&out)?;
            out.clear();
        }
    }
    let finished = writer.finish(&mut out).map_err(wrong)?;
    pack.write(&out)?;
    pack.sync()?;
    let mut index = Temporary::new(&dir, "tmp_idx_")?;
    index.write(&finished.index)?;
    index.sync()?;
    let path = dir.join(format!("pack-{}.pack", finished.checksum));
    pack.land(&path, sharing)?;
    index.land(&path.with_extension("idx"), sharing)
}

fn make_directory(dir: &Path, sharing: Sharing) -> Result<()> {
    let failed = |error: io::Error| Error::io("create", dir, &error);
    match fs::DirBuilder::new().mode(0o777).create(dir) {
        Ok(()) if sharing == Sharing::Umask => Ok(()),
        Ok(()) => {
            let mode = fs::metadata(dir).map_err(failed)?.permissions().mode();
            fs::set_permissions(dir, fs::Permissions::from_mode(sharing.of_directory(mode))).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A file that goes away unless it lands.
struct Temporary {
    path: PathBuf,
    file: File,
    landed: bool,
}

impl Temporary {
    fn new(dir: &Path, prefix: &str) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{prefix}{:x}_{number:x}_{:x}", std::process::id(), now_ns()));
            match OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path) {
                Ok(file) => {
                    return Ok(Temporary {
                        path,
                        file,
                        landed: false,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path, &error)),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| Error::io("write", &self.path, &error))
    }

    fn sync(&mut self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|error| Error::io("flush", &self.path, &error))
    }

    fn land(mut self, path: &Path, sharing: Sharing) -> Result<()> {
        if sharing != Sharing::Umask {
            let failed = |error: io::Error| Error::io("set permissions of", &self.path, &error);
            let mode = self.file.metadata().map_err(failed)?.permissions().mode();
            let mode = fs::Permissions::from_mode(sharing.of_file(mode));
            self.file.set_permissions(mode).map_err(failed)?;
        }
        fs::rename(&self.path, path).map_err(|error| Error::io("create", path, &error))?;
        self.landed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.landed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
