//! A process that is slow at the wrong moment.
#![allow(unreachable_pub, missing_docs)]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pyi_cas::{OpenMode, Vfs, VfsFile};
use pyi_testing::Process;

/// A process that stands still behind the creation of its first file of a sort, or before it, while something else happens.
pub struct Slow(
    pub Process,
    pub Mutex<Option<Box<dyn FnOnce() + Send>>>,
    pub fn(&Path) -> bool,
    pub bool,
);

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Vfs for Slow {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let meddle = match mode == OpenMode::CreateNew && (self.2)(path) {
            true => self.1.lock().unwrap().take().unwrap_or_else(|| Box::new(|| ())),
            false => Box::new(|| ()),
        };
        if self.3 {
            meddle();
            return self.0.open(path, mode);
        }
        let file = self.0.open(path, mode)?;
        meddle();
        Ok(file)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.list(directory)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Vfs::exists(&self.0, path)
    }
    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.0.random(buffer)
    }
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
    fn boot_id(&self) -> io::Result<Option<[u8; 16]>> {
        self.0.boot_id()
    }
    fn process_generation(&self) -> u64 {
        self.0.process_generation()
    }
}
