//! The real file system. Descriptors are close-on-exec; locks are OFD locks on byte 0, which belong to the open file and
//! not to the process, so that two engines in one process exclude each other as well, and which die with the process.

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use memmap2::{Mmap, MmapOptions, MmapRaw};

use crate::fork;
use crate::vfs::{Mapped, OpenMode, SharedWords, Vfs, VfsFile, WriteMap};
use crate::write_map::OsWriteMap;

/// The operating system's files.
#[derive(Clone, Copy, Default, Debug)]
pub struct OsFs;

impl Vfs for OsFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o666);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::Append => options.append(true),
        };
        let writable = mode != OpenMode::Read;
        let file = ManuallyDrop::new(options.open(path)?);
        Ok(Arc::new(OsFile {
            file,
            writable,
            locked_in: AtomicU64::new(0),
            place: AtomicUsize::new(0),
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(directory)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            // SAFETY: pointer and length describe the rest of the caller's buffer.
            let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
            match usize::try_from(n) {
                Ok(n) => done += n,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn boot_id(&self) -> io::Result<Option<[u8; 16]>> {
        match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(text) => Ok(parse_boot_id(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn process_generation(&self) -> u64 {
        fork::generation()
    }
}

/// The sixteen bytes of a UUID.
fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.trim().bytes().filter(|byte| *byte != b'-').collect();
    crate::format::parse_name(std::str::from_utf8(&digits).ok()?)
}

#[derive(Debug)]
struct OsFile {
    /// Not closed by itself: after a fork the number may be somebody else's.
    file: ManuallyDrop<File>,
    writable: bool,
    /// Fork generation of the process that locked it; 0 as long as it is not locked.
    locked_in: AtomicU64,
    /// Where the descriptor is registered with the fork handler, if it is locked.
    place: AtomicUsize,
}

impl OsFile {
    /// Fails if the descriptor was closed in this process by the fork handler.
    fn ours(&self) -> io::Result<&File> {
        match self.locked_in.load(Ordering::Acquire) {
            0 => Ok(&self.file),
            generation if generation == fork::generation() => Ok(&self.file),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    fn lock_request(kind: libc::c_int) -> libc::flock {
        // SAFETY: `flock` is plain data; zero is a valid value of every field, and `l_pid` must be 0 for OFD locks.
        let mut request: libc::flock = unsafe { std::mem::zeroed() };
        request.l_type = kind as libc::c_short;
        request.l_whence = libc::SEEK_SET as libc::c_short;
        request.l_start = 0;
        request.l_len = 1;
        request
    }

    fn lock_call(&self, command: libc::c_int, request: &mut libc::flock) -> io::Result<()> {
        // SAFETY: the descriptor is open and `request` outlives the call.
        match unsafe { libc::fcntl(self.file.as_raw_fd(), command, std::ptr::from_mut(request)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl VfsFile for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.ours()?.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.ours()?.write_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.ours()?, bytes)
    }

    fn append_end(&self) -> Option<u64> {
        // An append leaves the position of the open file behind what it wrote (POSIX, write), and nothing else here moves it.
        io::Seek::stream_position(&mut self.ours().ok()?).ok()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.ours()?.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.ours()?.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.ours()?.sync_data()
    }

    fn forget_cached(&self) {
        if let Ok(file) = self.ours() {
            // SAFETY: only passes numbers; the descriptor is open. The answer does not matter.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let length = libc::off_t::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // SAFETY: only passes numbers; the descriptor is open.
        match unsafe { libc::fallocate(self.ours()?.as_raw_fd(), 0, 0, length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn try_lock_exclusive(&self) -> io::Result<bool> {
        let descriptor = self.ours()?.as_raw_fd();
        if self.locked_in.load(Ordering::Acquire) != 0 {
            return Ok(true);
        }
        // Registered before it is locked: a fork in between closes the child's copy in any case.
        let generation = fork::generation();
        let place = fork::register(descriptor).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOLCK))?;
        let result = self.lock_call(libc::F_OFD_SETLK, &mut OsFile::lock_request(libc::F_WRLCK));
        match result {
            Ok(()) => {
                self.place.store(place, Ordering::Relaxed);
                self.locked_in.store(generation, Ordering::Release);
                Ok(true)
            }
            Err(error) => {
                fork::unregister(place);
                match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EACCES) => Ok(false),
                    _ => Err(error),
                }
            }
        }
    }

    fn is_locked(&self) -> io::Result<bool> {
        // A read lock is asked about, as the handle may be read-only; an exclusive holder conflicts with it all the same.
        let mut request = OsFile::lock_request(libc::F_RDLCK);
        self.lock_call(libc::F_OFD_GETLK, &mut request)?;
        Ok(request.l_type != libc::F_UNLCK as libc::c_short)
    }

    fn map_readonly(&self) -> io::Result<Arc<dyn Mapped>> {
        // SAFETY: sealed indexes are replaced by rename and never changed in place, so the bytes stay as they are.
        let map = unsafe { MmapOptions::new().map(self.ours()?)? };
        Ok(Arc::new(MappedFile(map)))
    }

    fn map_pages(&self, from: u64, to: u64) -> Option<Box<dyn WriteMap>> {
        let map = OsWriteMap::of(self.ours().ok()?, from, to)?;
        Some(Box::new(map))
    }

    fn map_shared(&self, length: usize) -> io::Result<Arc<dyn SharedWords>> {
        let mut options = MmapOptions::new();
        options.len(length);
        let file = self.ours()?;
        let map = if self.writable {
            options.map_raw(file)?
        } else {
            options.map_raw_read_only(file)?
        };
        Ok(Arc::new(SharedFile(map)))
    }
}

impl Drop for OsFile {
    fn drop(&mut self) {
        let generation = *self.locked_in.get_mut();
        if generation != 0 {
            if generation != fork::generation() {
                return; // closed by the fork handler
            }
            fork::unregister(*self.place.get_mut());
            // Unlocked by hand: a child forked in this very moment may still share the description.
            let _ = self.lock_call(libc::F_OFD_SETLK, &mut OsFile::lock_request(libc::F_UNLCK));
        }
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

struct MappedFile(Mmap);

impl Mapped for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

struct SharedFile(MmapRaw);

impl SharedWords for SharedFile {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: a mapping is page-aligned and lives as long as `self`; all processes use it through atomics only.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), self.0.len() / 8) }
    }
}
