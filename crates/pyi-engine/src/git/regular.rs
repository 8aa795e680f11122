//! Files that others made, read whole: only regular ones of a sane size, so that no pipe is waited for and no device read for ever.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Files of a git directory above this are no files of a git directory: packs and the index are mapped.
const SIZE_MAX_BYTES: u64 = 1 << 30;

/// The content of a regular file. O(size).
///
/// # Errors
/// As for opening and reading a file; `InvalidData` for what is no regular file, or one of more than a gibibyte.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    read_with(path, 0, SIZE_MAX_BYTES)
}

/// The same; a symlink is an error (`ELOOP`).
pub(crate) fn read_regular_itself(path: &Path) -> io::Result<Vec<u8>> {
    read_with(path, libc::O_NOFOLLOW, SIZE_MAX_BYTES)
}

/// What a regular file begins with, at most so many bytes. O(bytes).
///
/// # Errors
/// As [`read_regular`].
pub(crate) fn read_start(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_with(path, 0, bytes_max)
}

fn read_with(path: &Path, flags: libc::c_int, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | flags).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    if !about.is_file() || about.len() > SIZE_MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no regular file, or a huge one",
        ));
    }
    let mut content = Vec::with_capacity(usize::try_from(about.len().min(bytes_max)).unwrap_or(0) + 1);
    // One that grows meanwhile is read as far.
    file.take(bytes_max).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn pipes_devices_and_huge_files_are_not_read() -> io::Result<()> {
        let top = tempfile::tempdir()?;
        let path = |name: &str| top.path().join(name);
        fs::write(path("plain"), "ref: refs/heads/main\n")?;
        std::os::unix::fs::symlink("plain", path("link"))?;
        std::os::unix::fs::symlink("/dev/zero", path("zero"))?;
        File::create(path("huge"))?.set_len(SIZE_MAX_BYTES + 1)?;
        let pipe = std::ffi::CString::new(path("pipe").as_os_str().as_bytes())?;
        // SAFETY: a path that is a C string.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        assert_eq!(read_regular(&path("plain"))?, b"ref: refs/heads/main\n");
        assert_eq!(read_regular(&path("link"))?, b"ref: refs/heads/main\n");
        assert_eq!(read_start(&path("plain"), 3)?, b"ref");
        for odd in ["zero", "huge", "pipe"] {
            let error = read_regular(&path(odd)).map(|content| content.len());
            assert_eq!(
                error.map_err(|error| error.kind()),
                Err(io::ErrorKind::InvalidData),
                "{odd}"
            );
        }
        let error = |path: &Path| read_regular_itself(path).map_err(|error| error.raw_os_error());
        assert_eq!(error(&path("link")), Err(Some(libc::ELOOP)));
        assert_eq!(error(top.path()), Err(Some(libc::EISDIR)));
        assert_eq!(error(&path("none")), Err(Some(libc::ENOENT)));
        Ok(())
    }
}
