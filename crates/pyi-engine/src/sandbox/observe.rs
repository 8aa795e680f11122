//! One file on disk against what is known of it: unchanged, or its new content.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use pyi_cas::{Batch, Bytes, Id, Kind};
use pyi_tree::tree::Content;
use pyi_tree::{Mode, Node, Pending};

use super::os::{Dir, FileType, Stat, stat_fd};
use super::stat_cache::{Known, StatCache, StatWriter, is_racy};
use crate::engine::{Engine, now_ns};
use crate::{Error, Result};

/// Bytes of contents after which a batch is committed.
const BATCH_BYTES: usize = 4 << 20;
/// A file that changes while it is read is read again so many times.
const READ_ATTEMPTS: usize = 4;

/// What a file turned out to be.
pub(super) enum Observed {
    /// It is not there any more.
    Gone,
    /// A directory.
    Directory,
    /// A socket, fifo or device: not captured.
    Special,
    /// As it was.
    Unchanged,
    /// Only its mode changed.
    Mode(Mode),
    /// It has this mode and content.
    Content(Mode, Content),
}

/// Takes contents: up to `keep_bytes` of them stay in memory until the next checkpoint, the others are stored at once.
struct Sink {
    keep_bytes: usize,
    batch: Batch,
    /// Something was given out by its id alone: the store has it, and nothing reaches it yet.
    relied: bool,
}

impl Sink {
    fn take(&mut self, engine: &Engine, id: &Id, content: Vec<u8>) -> Result<Content> {
        if content.len() <= self.keep_bytes {
            self.keep_bytes -= content.len();
            return Ok(Content::Bytes(Bytes::from(content)));
        }
        self.keep_bytes = 0;
        self.relied = true;
        if !engine.store().contains_hint(id) {
            let known = |chunk: &Id| engine.store().contains_hint(chunk);
            self.batch.put_chunked(Kind::Blob, id, &content, &known)?;
        }
        if self.batch.size_bytes() >= BATCH_BYTES {
            engine.store().commit(&mut self.batch)?;
        }
        Ok(Content::Stored {
            id: *id,
            size_bytes: content.len() as u64,
        })
    }
}

/// Looks at files, with the stat cache of their directory.
pub(super) struct Observer<'a> {
    pub(super) engine: &'a Engine,
    /// The directory, for messages.
    pub(super) root: PathBuf,
    cache: StatCache,
    cache_path: PathBuf,
    writer: StatWriter,
    cache_changed: bool,
    sink: Sink,
    pub(super) files_read: u64,
    pub(super) bytes_read: u64,
    pub(super) unsettled: u64,
}

impl<'a> Observer<'a> {
    pub(super) fn new(engine: &'a Engine, root: PathBuf, cache_path: PathBuf, keep_bytes: usize) -> Self {
        Observer {
            engine,
            root,
            cache: StatCache::read(&cache_path),
            cache_path,
            writer: StatWriter::default(),
            cache_changed: false,
            sink: Sink {
                keep_bytes,
                batch: Batch::new(),
                relied: false,
            },
            files_read: 0,
            bytes_read: 0,
            unsettled: 0,
        }
    }

    /// An error of the system about `path` (relative to the root).
    pub(super) fn failed(&self, action: &str, path: &[u8], error: &io::Error) -> Error {
        use std::os::unix::ffi::OsStrExt;
        Error::io(action, &self.root.join(std::ffi::OsStr::from_bytes(path)), error)
    }

    /// Whether the content of a file with this stamp is known.
    pub(super) fn knows(&mut self, path: &[u8], stat: &Stat) -> bool {
        self.cache
            .get(path)
            .is_some_and(|known| !known.is_racy && known.stamp == stat.stamp)
    }

    /// Looks at `name` in `dir`, `path` from the root on; `old` is what stood there.
    pub(super) fn look(
        &mut self,
        dir: &Dir,
        name: &[u8],
        path: &[u8],
        old: Option<(&Node, usize)>,
    ) -> Result<Observed> {
        let stat = match dir.stat(name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Observed::Gone),
            Err(error) => return Err(self.failed("stat", path, &error)),
        };
        let mut mode = match mode_of(&stat) {
            Ok(mode) => mode,
            Err(other) => return Ok(other),
        };
        let cached = self.cache.get(path);
        if let Some(known) = cached.filter(|known| !known.is_racy && known.stamp == stat.stamp) {
            let compared = compare(old, mode, &known.id, stat.stamp.size_bytes);
            let size_bytes = stat.stamp.size_bytes;
            let observed = match compared {
                Some(observed) => Some(observed),
                None if self.engine.store().contains(&known.id)? => {
                    self.sink.relied = true;
                    Some(Observed::Content(
                        mode,
                        Content::Stored {
                            id: known.id,
                            size_bytes,
                        },
                    ))
                }
                None => None,
            };
            if let Some(observed) = observed {
                self.writer.push(path, &known);
                return Ok(observed);
            }
        }
        self.cache_changed = true;
        let (content, known) = match self.read(dir, name, path, stat)? {
            Ok(read) => read,
            Err(observed) => return Ok(observed),
        };
        self.writer.push(path, &known);
        self.files_read += 1;
        self.bytes_read += content.len() as u64;
        if let Ok(now) = mode_of(&Stat {
            stamp: known.stamp,
            ..stat
        }) {
            mode = now;
        }
        match compare(old, mode, &known.id, content.len() as u64) {
            Some(observed) => Ok(observed),
            None => Ok(Observed::Content(
                mode,
                self.sink.take(self.engine, &known.id, content)?,
            )),
        }
    }

    /// Reads a file or link until it holds still; after that many attempts what was read last is taken, and read again
    /// the next time.
    fn read(
        &mut self,
        dir: &Dir,
        name: &[u8],
        path: &[u8],
        mut before: Stat,
    ) -> Result<std::result::Result<(Vec<u8>, Known), Observed>> {
        let gone = |error: &io::Error| {
            matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ELOOP | libc::ENXIO | libc::EINVAL | libc::EISDIR)
            )
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let began_ns = i64::try_from(now_ns()).unwrap_or(i64::MAX);
            let read = match before.file_type() {
                FileType::Symlink => dir.read_link(name).and_then(|target| Ok((target, dir.stat(name)?))),
                _ => read_file(dir, name, before.stamp.size_bytes),
            };
            let (content, after) = match read {
                Ok(read) => read,
                Err(error) if gone(&error) && attempt < READ_ATTEMPTS => match dir.stat(name) {
                    Ok(stat) => {
                        before = stat;
                        match mode_of(&before) {
                            Ok(_) => continue,
                            Err(observed) => return Ok(Err(observed)),
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Observed::Gone)),
                    Err(error) => return Err(self.failed("stat", path, &error)),
                },
                Err(error) => return Err(self.failed("read", path, &error)),
            };
            let is_still = after.stamp == before.stamp && content.len() as u64 == after.stamp.size_bytes;
            if is_still || attempt >= READ_ATTEMPTS {
                self.unsettled += u64::from(!is_still);
                let id = Kind::Blob.id_of(&content);
                let is_racy = !is_still || is_racy(&after.stamp, began_ns);
                return Ok(Ok((
                    content,
                    Known {
                        stamp: after.stamp,
                        id,
                        is_racy,
                    },
                )));
            }
            before = after;
            if let Err(observed) = mode_of(&before) {
                return Ok(Err(observed));
            }
        }
    }

    /// Whether what was observed names objects that nothing reaches yet.
    pub(super) fn relies_on_store(&self) -> bool {
        self.sink.relied
    }

    /// Stores what is left and writes the stat cache if it differs from the one that was read.
    pub(super) fn finish(&mut self) -> Result<()> {
        if !self.sink.batch.is_empty() {
            self.engine.store().commit(&mut self.sink.batch)?;
        }
        if self.cache_changed || self.writer.len() != self.cache.len() {
            std::mem::take(&mut self.writer).write(&self.cache_path, &self.root);
        }
        Ok(())
    }
}

fn read_file(dir: &Dir, name: &[u8], size_bytes: u64) -> io::Result<(Vec<u8>, Stat)> {
    let mut file = dir.file(name)?;
    // One byte more than expected, so that the end is seen without another call that only grows the buffer.
    let mut content = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0).saturating_add(1));
    file.read_to_end(&mut content)?;
    Ok((content, stat_fd(file.as_raw_fd())?))
}

fn mode_of(stat: &Stat) -> std::result::Result<Mode, Observed> {
    match stat.file_type() {
        FileType::File if stat.stamp.mode & 0o100 != 0 => Ok(Mode::Executable),
        FileType::File => Ok(Mode::File),
        FileType::Symlink => Ok(Mode::Symlink),
        FileType::Directory => Err(Observed::Directory),
        FileType::Character | FileType::Other => Err(Observed::Special),
    }
}

/// Whether what stood there has this id; `None` if the content differs.
fn compare(old: Option<(&Node, usize)>, mode: Mode, id: &Id, size_bytes: u64) -> Option<Observed> {
    let (node, index) = old?;
    let row = node.row(index);
    let same_kind = row.mode == mode || (row.mode.is_file() && mode.is_file());
    if !same_kind || row.size_bytes != size_bytes {
        return None;
    }
    let same = match node.pending(index) {
        Some(Pending::Blob(content)) => Kind::Blob.id_of(content) == *id,
        _ => row.id == *id,
    };
    same.then_some(if row.mode == mode {
        Observed::Unchanged
    } else {
        Observed::Mode(mode)
    })
}
