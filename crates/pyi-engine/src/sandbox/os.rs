//! System calls relative to an open directory. No path is followed through a symlink; names are bytes.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyi_git::index::IndexStat;

/// What `lstat` says of a file, as far as anybody here asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stat {
    pub(crate) stamp: Stamp,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The device number of a device file.
    pub(crate) rdev: u64,
}

/// What tells one version of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stamp {
    pub(crate) mtime_ns: i64,
    pub(crate) ctime_ns: i64,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size_bytes: u64,
    pub(crate) mode: u32,
}

/// The stat data that git keeps of a file.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "git keeps the low 32 bits"
)]
pub(crate) fn index_stat(stat: &Stat) -> IndexStat {
    let split = |ns: i64| (ns.div_euclid(1_000_000_000) as u32, ns.rem_euclid(1_000_000_000) as u32);
    let (ctime, mtime) = (split(stat.stamp.ctime_ns), split(stat.stamp.mtime_ns));
    IndexStat {
        ctime_seconds: ctime.0,
        ctime_nanos: ctime.1,
        mtime_seconds: mtime.0,
        mtime_nanos: mtime.1,
        dev: stat.stamp.dev as u32,
        ino: stat.stamp.ino as u32,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.stamp.size_bytes as u32,
    }
}

/// What kind of thing stands in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileType {
    File,
    Symlink,
    Directory,
    Character,
    Other,
}

impl Stat {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the widths of these fields differ between platforms"
    )]
    fn of(raw: &libc::stat) -> Self {
        let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Stat {
            stamp: Stamp {
                mtime_ns: ns(raw.st_mtime as i64, raw.st_mtime_nsec as i64),
                ctime_ns: ns(raw.st_ctime as i64, raw.st_ctime_nsec as i64),
                dev: raw.st_dev as u64,
                ino: raw.st_ino as u64,
                size_bytes: raw.st_size as u64,
                mode: raw.st_mode as u32,
            },
            uid: raw.st_uid,
            gid: raw.st_gid,
            rdev: raw.st_rdev as u64,
        }
    }

    pub(crate) fn file_type(&self) -> FileType {
        match self.stamp.mode & libc::S_IFMT {
            libc::S_IFREG => FileType::File,
            libc::S_IFLNK => FileType::Symlink,
            libc::S_IFDIR => FileType::Directory,
            libc::S_IFCHR => FileType::Character,
            _ => FileType::Other,
        }
    }
}

/// The entries of a directory, sorted by name.
#[derive(Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    items: Vec<(u32, u32, u8)>,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn name(&self, index: usize) -> &[u8] {
        let (start, end, _) = self.items[index];
        &self.bytes[start as usize..end as usize]
    }

    /// The type, unless the file system does not say it here.
    pub(crate) fn file_type(&self, index: usize) -> Option<FileType> {
        match self.items[index].2 {
            libc::DT_REG => Some(FileType::File),
            libc::DT_LNK => Some(FileType::Symlink),
            libc::DT_DIR => Some(FileType::Directory),
            libc::DT_CHR => Some(FileType::Character),
            libc::DT_UNKNOWN => None,
            _ => Some(FileType::Other),
        }
    }

    /// Appends an entry; names ascend.
    pub(crate) fn push(&mut self, name: &[u8], file_type: FileType) {
        let kind = match file_type {
            FileType::File => libc::DT_REG,
            FileType::Symlink => libc::DT_LNK,
            FileType::Directory => libc::DT_DIR,
            FileType::Character => libc::DT_CHR,
            FileType::Other => libc::DT_FIFO,
        };
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.items.push((start, self.bytes.len() as u32, kind));
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.items
            .binary_search_by(|(start, end, _)| self.bytes[*start as usize..*end as usize].cmp(name))
            .ok()
    }
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

const OPEN_DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// Calls `call` with `name` as a C string.
fn with_c<T>(name: &[u8], call: impl FnOnce(*const libc::c_char) -> T) -> io::Result<T> {
    if name.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut short = [0u8; 256];
    if let Some(start) = short.get_mut(..name.len())
        && name.len() < 256
    {
        start.copy_from_slice(name);
        return Ok(call(short.as_ptr().cast()));
    }
    let mut long = name.to_vec();
    long.push(0);
    Ok(call(long.as_ptr().cast()))
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = checked(result)?;
    // SAFETY: the call that returned `fd` opened it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Dir {
    /// Opens a directory by its path, whose last component is no symlink.
    pub(crate) fn open(path: &Path) -> io::Result<Dir> {
        // SAFETY: the path is a C string for the length of the call.
        let fd = with_c(path.as_os_str().as_bytes(), |path| unsafe {
            libc::open(path, OPEN_DIRECTORY)
        })?;
        owned(fd).map(Dir)
    }

    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn open_at(&self, name: &[u8], flags: i32, mode: u32) -> io::Result<OwnedFd> {
        // SAFETY: the name is a C string and the descriptor open for the length of the call.
        let fd = with_c(name, |name| unsafe {
            libc::openat(self.fd(), name, flags | libc::O_CLOEXEC, mode)
        })?;
        owned(fd)
    }

    pub(crate) fn directory(&self, name: &[u8]) -> io::Result<Dir> {
        self.open_at(name, OPEN_DIRECTORY, 0).map(Dir)
    }

    /// A directory that is only passed through: what stands in it can be reached, its entries cannot be listed.
    pub(crate) fn passage(&self, name: &[u8]) -> io::Result<Dir> {
        self.open_at(name, OPEN_DIRECTORY | libc::O_PATH, 0).map(Dir)
    }

    pub(crate) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        self.make_directory_with(name, 0o755)
    }

    /// Makes a directory with a mode, as far as the process's mask allows it.
    pub(crate) fn make_directory_with(&self, name: &[u8], mode: libc::mode_t) -> io::Result<()> {
        // SAFETY: as in `open_at`.
        checked(with_c(name, |name| unsafe { libc::mkdirat(self.fd(), name, mode) })?).map(drop)
    }

    /// Moves an entry to a directory of the same file system; a file that has the name there goes.
    pub(crate) fn rename(&self, name: &[u8], to: &Dir, new_name: &[u8]) -> io::Result<()> {
        let moved = with_c(name, |name| {
            // SAFETY: both are C strings, and both descriptors open, for the length of the call.
            with_c(new_name, |new_name| unsafe {
                libc::renameat(self.fd(), name, to.fd(), new_name)
            })
        })??;
        checked(moved).map(drop)
    }

    /// Makes a file that must not exist.
    pub(crate) fn create(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        self.open_at(name, flags, mode).map(File::from)
    }

    /// Opens a file to read it; what is not a regular file does not block.
    pub(crate) fn file(&self, name: &[u8]) -> io::Result<File> {
        self.open_at(
            name,
            libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY,
            0,
        )
        .map(File::from)
    }

    pub(crate) fn symlink(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        let made = with_c(target, |target| {
            // SAFETY: both are C strings for the length of the call.
            with_c(name, |name| unsafe { libc::symlinkat(target, self.fd(), name) })
        })??;
        checked(made).map(drop)
    }

    pub(crate) fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        let mut target = vec![0u8; libc::PATH_MAX as usize + 1];
        // SAFETY: the buffer has the length that is passed.
        let length = with_c(name, |name| unsafe {
            libc::readlinkat(self.fd(), name, target.as_mut_ptr().cast(), target.len())
        })?;
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        target.truncate(length);
        Ok(target)
    }

    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        let mut raw = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the buffer is a stat; the name a C string.
        let result = with_c(name, |name| unsafe {
            libc::fstatat(self.fd(), name, raw.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW)
        })?;
        checked(result)?;
        // SAFETY: the call succeeded and so filled it.
        Ok(Stat::of(unsafe { raw.assume_init_ref() }))
    }

    pub(crate) fn stat_self(&self) -> io::Result<Stat> {
        stat_fd(self.fd())
    }

    /// Removes an entry; nothing to do if it is gone.
    pub(crate) fn unlink(&self, name: &[u8], is_directory: bool) -> io::Result<()> {
        let flags = if is_directory { libc::AT_REMOVEDIR } else { 0 };
        // SAFETY: as in `open_at`.
        match checked(with_c(name, |name| unsafe { libc::unlinkat(self.fd(), name, flags) })?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The entries but `.` and `..`, sorted.
    pub(crate) fn list(&self) -> io::Result<Names> {
        const HEADER_BYTES: usize = 19;
        let mut names = Names::default();
        // Not zeroed: most directories fill a part of one page, and pages that nobody touches cost nothing.
        let mut buffer: Vec<u8> = Vec::with_capacity(32 << 10);
        loop {
            // SAFETY: the buffer has the capacity that is passed.
            let filled =
                unsafe { libc::syscall(libc::SYS_getdents64, self.fd(), buffer.as_mut_ptr(), buffer.capacity()) };
            let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
            if filled == 0 {
                break;
            }
            // SAFETY: the call wrote so many bytes.
            unsafe { buffer.set_len(filled) };
            let mut rest = &buffer[..];
            // struct linux_dirent64: inode 8, offset 8, length of the record 2, type 1, name to the first NUL.
            while let (Some(&[low, high]), Some(&kind)) = (rest.get(16..18).and_then(|b| b.first_chunk()), rest.get(18))
            {
                let length = usize::from(u16::from_ne_bytes([low, high]));
                let Some((record, tail)) = rest.split_at_checked(length.max(HEADER_BYTES)) else {
                    break;
                };
                rest = tail;
                let name = &record[HEADER_BYTES..];
                let name = &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())];
                if name != b"." && name != b".." {
                    let start = names.bytes.len() as u32;
                    names.bytes.extend_from_slice(name);
                    names.items.push((start, names.bytes.len() as u32, kind));
                }
            }
        }
        let bytes = &names.bytes;
        names
            .items
            .sort_unstable_by(|a, b| bytes[a.0 as usize..a.1 as usize].cmp(&bytes[b.0 as usize..b.1 as usize]));
        Ok(names)
    }

    /// The value of an extended attribute of this directory, `None` if it has none.
    pub(crate) fn attribute(&self, name: &std::ffi::CStr) -> io::Result<Option<Vec<u8>>> {
        attribute(self.fd(), name)
    }
}

/// The value (up to 4 KB) of an extended attribute of an open file, `None` if it has none.
pub(crate) fn attribute(fd: RawFd, name: &std::ffi::CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0u8; 4096];
    // SAFETY: the buffer has the length that is passed.
    let length = unsafe { libc::fgetxattr(fd, name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    match usize::try_from(length) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(_) => match io::Error::last_os_error() {
            // No permission for `trusted.*` means that it cannot be told; the kernel shows them to root alone.
            error if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::ENOTSUP | libc::EPERM)) => Ok(None),
            error => Err(error),
        },
    }
}

pub(crate) fn stat_fd(fd: RawFd) -> io::Result<Stat> {
    let mut raw = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer is a stat.
    checked(unsafe { libc::fstat(fd, raw.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and so filled it.
    Ok(Stat::of(unsafe { raw.assume_init_ref() }))
}

/// Sets the time of modification of an open file, in whole seconds; the time of access stays.
pub(crate) fn set_mtime(file: &File, seconds: i64) -> io::Result<()> {
    let times = times(seconds);
    // SAFETY: two timespecs, as the call wants.
    checked(unsafe { libc::futimens(file.as_raw_fd(), times.as_ptr()) }).map(drop)
}

/// As [`set_mtime`], of a symlink.
pub(crate) fn set_mtime_at(dir: &Dir, name: &[u8], seconds: i64) -> io::Result<()> {
    let times = times(seconds);
    // SAFETY: two timespecs; the name is a C string.
    let result = with_c(name, |name| unsafe {
        libc::utimensat(dir.fd(), name, times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW)
    })?;
    checked(result).map(drop)
}

fn times(seconds: i64) -> [libc::timespec; 2] {
    let keep = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::UTIME_OMIT,
    };
    [
        keep,
        libc::timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        },
    ]
}
