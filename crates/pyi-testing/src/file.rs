//! An open file of a simulated process. The lock belongs to this handle, as OFD locks do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyi_cas::{Mapped, OpenMode, SharedWords, VfsFile, WriteMap};

use crate::disk::Inner;
use crate::fault::{Fault, Operation};
use crate::process::Process;

/// An open file description.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) process: Process,
    pub(crate) path: PathBuf,
    pub(crate) node: u64,
    pub(crate) handle: u64,
    pub(crate) mode: OpenMode,
    /// Where its last append ended.
    pub(crate) append_end: AtomicU64,
}

impl File {
    fn call<T>(&self, operation: Operation, effect: impl FnOnce(&mut Inner, Fault) -> io::Result<T>) -> io::Result<T> {
        let Process { disk, id } = &self.process;
        disk.call(*id, operation, &self.path, effect)
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.mode {
            OpenMode::Read => Err(io::Error::from_raw_os_error(libc::EBADF)),
            _ => Ok(()),
        }
    }

    /// Writes at an offset (or at the end), or as much of it as the fault lets through.
    fn put(&self, inner: &mut Inner, fault: Fault, bytes: &[u8], offset: Option<u64>) -> io::Result<usize> {
        self.check_writable()?;
        let sector = inner.state.sector;
        let content = inner.state.file(self.node)?;
        let offset = offset.map_or(content.len(), to_usize);
        let part = match fault {
            Fault::Short => bytes.len().div_ceil(2),
            Fault::HalfThenError(_) => bytes.len() / 2,
            _ => bytes.len(),
        };
        content.write(&bytes[..part], offset, sector);
        match fault {
            Fault::HalfThenError(errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(part),
        }
    }

    fn resize(&self, operation: Operation, length: impl FnOnce(usize) -> usize) -> io::Result<()> {
        self.call(operation, |inner, fault| {
            self.check_writable()?;
            if let Fault::HalfThenError(errno) = fault {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let content = inner.state.file(self.node)?;
            content.set_len(length(content.len()));
            Ok(())
        })
    }
}

impl VfsFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(Operation::Read, |inner, fault| {
            let sector = inner.state.sector;
            let content = inner.state.file(self.node)?;
            let bytes = match fault {
                Fault::HalfThenError(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Fault::Stale => content.durable(),
                _ => content.cached(sector),
            };
            let from = match fault {
                Fault::Misdirected(further) => to_usize(offset.saturating_add(further)),
                _ => to_usize(offset),
            };
            let available = bytes.get(from..).unwrap_or_default();
            let mut n = buffer.len().min(available.len());
            if fault == Fault::Short {
                n = n.div_ceil(2);
            }
            buffer[..n].copy_from_slice(&available[..n]);
            if let Fault::Flip(bit) = fault
                && n > 0
            {
                let bit = to_usize(bit) % (n * 8);
                buffer[bit / 8] ^= 1 << (bit % 8);
            }
            Ok(n)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.call(Operation::Write, |inner, fault| {
            self.put(inner, fault, bytes, Some(offset))
        })
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.call(Operation::Append, |inner, fault| {
            let written = self.put(inner, fault, bytes, None);
            let end = inner.state.file(self.node)?.len() as u64;
            self.append_end.store(end, Ordering::Relaxed);
            written
        })
    }

    fn append_end(&self) -> Option<u64> {
        Some(self.append_end.load(Ordering::Relaxed))
    }

    fn len(&self) -> io::Result<u64> {
        self.call(Operation::Len, |inner, _| Ok(inner.state.file(self.node)?.len() as u64))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.resize(Operation::SetLen, |_| to_usize(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(Operation::SyncData, |inner, fault| {
            let sector = inner.state.sector;
            let content = inner.state.file(self.node)?;
            match fault {
                Fault::Lie => Ok(()),
                Fault::FlushLost(errno) => {
                    content.lose(sector);
                    Err(io::Error::from_raw_os_error(errno))
                }
                Fault::HalfThenError(errno) => Err(io::Error::from_raw_os_error(errno)),
                _ => {
                    content.sync(sector);
                    Ok(())
                }
            }
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.resize(Operation::Allocate, |now| now.max(to_usize(length)))
    }

    fn try_lock_exclusive(&self) -> io::Result<bool> {
        self.call(Operation::Lock, |inner, _| {
            Ok(inner.lock(self.node, self.handle, self.process.id))
        })
    }

    fn is_locked(&self) -> io::Result<bool> {
        self.call(Operation::IsLocked, |inner, _| {
            Ok(inner.is_locked(self.node, self.handle))
        })
    }

    fn map_readonly(&self) -> io::Result<Arc<dyn Mapped>> {
        self.call(Operation::MapReadonly, |inner, fault| {
            let sector = inner.state.sector;
            let mut bytes = Arc::clone(inner.state.file(self.node)?.cached(sector));
            if let Fault::Flip(bit) = fault
                && !bytes.is_empty()
            {
                let bit = to_usize(bit) % (bytes.len() * 8);
                Arc::make_mut(&mut bytes)[bit / 8] ^= 1 << (bit % 8);
            }
            Ok(Arc::new(Frozen(bytes)) as Arc<dyn Mapped>)
        })
    }

    fn map_pages(&self, from: u64, to: u64) -> Option<Box<dyn WriteMap>> {
        let file = File {
            process: self.process.clone(),
            path: self.path.clone(),
            handle: self.process.disk.with(Inner::new_handle),
            append_end: AtomicU64::new(0),
            ..*self
        };
        Some(Box::new(Pages { file, from, to }))
    }

    fn map_shared(&self, length: usize) -> io::Result<Arc<dyn SharedWords>> {
        self.call(Operation::MapShared, |inner, _| {
            let view = inner.state.file(self.node)?.map_shared(length);
            let view = view.ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Arc::new(view) as Arc<dyn SharedWords>)
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.process.disk.with(|inner| inner.unlock(self.node, self.handle));
    }
}

/// Pages that are mapped to be written to. A handle of its own, as a mapping outlives the descriptor.
struct Pages {
    file: File,
    from: u64,
    to: u64,
}

impl WriteMap for Pages {
    fn put(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let end = offset + bytes.len() as u64;
        if offset < self.from || end > self.to {
            return Ok(0);
        }
        self.file.call(Operation::Write, |inner, fault| {
            let length = inner.state.file(self.file.node)?.len() as u64;
            assert!(end <= length, "SIGBUS: {end} in a mapped file of {length} bytes");
            self.file.put(inner, fault, bytes, Some(offset))
        })
    }
}

/// A file mapped to read, as it was then.
struct Frozen(Arc<Vec<u8>>);

impl Mapped for Frozen {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Offsets beyond what memory can hold are beyond the end of every simulated file.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
