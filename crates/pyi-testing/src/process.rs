//! A process on a simulated disk: the [`Vfs`] that one opened store gets.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use pyi_cas::{OpenMode, Vfs, VfsFile};

use crate::disk::{Disk, Inner};
use crate::fault::{Fault, Operation};
use crate::file::File;

/// A process. Clones are the same process.
#[derive(Clone, Debug)]
pub struct Process {
    pub(crate) disk: Disk,
    pub(crate) id: u64,
}

impl Process {
    /// Its number on this disk.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Calls that it has made.
    pub fn calls(&self) -> u64 {
        self.disk.calls(self.id)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&self) {
        self.disk.kill(self.id);
    }

    /// A change of names; what a fault does half of, it does wholly.
    fn names(
        &self,
        operation: Operation,
        path: &Path,
        effect: impl FnOnce(&mut Inner) -> io::Result<()>,
    ) -> io::Result<()> {
        self.disk.call(self.id, operation, path, |inner, fault| match fault {
            Fault::HalfThenError(errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => effect(inner),
        })
    }
}

impl Vfs for Process {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let operation = match mode {
            OpenMode::CreateNew => Operation::Create,
            _ => Operation::Open,
        };
        self.disk.call(self.id, operation, path, |inner, fault| {
            if let Fault::HalfThenError(errno) = fault {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let node = match mode {
                OpenMode::CreateNew => inner.state.create(path)?,
                _ => inner.state.open(path)?,
            };
            let file = File {
                process: self.clone(),
                path: path.to_path_buf(),
                node,
                handle: inner.new_handle(),
                mode,
                append_end: AtomicU64::default(),
            };
            Ok(Arc::new(file) as Arc<dyn VfsFile>)
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let effect = |inner: &mut Inner, _| inner.state.list(directory);
        self.disk.call(self.id, Operation::List, directory, effect)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.names(Operation::CreateDirAll, path, |inner| inner.state.create_dir_all(path))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.names(Operation::Remove, path, |inner| inner.state.remove(path))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.names(Operation::Link, to, |inner| inner.state.link(from, to))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.names(Operation::Rename, to, |inner| inner.state.rename(from, to))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk
            .call(self.id, Operation::SyncDir, path, |inner, fault| match fault {
                Fault::Lie => Ok(()),
                Fault::FlushLost(errno) => {
                    inner.state.lose_dir(path)?;
                    Err(io::Error::from_raw_os_error(errno))
                }
                Fault::HalfThenError(errno) => Err(io::Error::from_raw_os_error(errno)),
                _ => inner.state.sync_dir(path),
            })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let effect = |inner: &mut Inner, _| Ok(inner.state.exists(path));
        self.disk.call(self.id, Operation::Exists, path, effect)
    }

    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.with(|inner| inner.rng.fill(buffer));
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.disk.with(|inner| inner.clock_ns)
    }

    fn boot_id(&self) -> io::Result<Option<[u8; 16]>> {
        let boot = self.disk.with(|inner| inner.boot);
        Ok(Some(u128::from(boot).to_le_bytes()))
    }

    fn process_generation(&self) -> u64 {
        1
    }
}
