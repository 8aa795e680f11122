//! The files of a work tree: looked at, compared with the index, listed. No symlink is followed.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use pyi_cas::Bytes;
use pyi_git::command::{Asked, Failure, Version};
use pyi_git::index::IndexStat;
use pyi_git::index_view::EntryView;
use pyi_git::{ObjectFormat, ObjectKind, Oid, hash_object};

use super::super::regular::read_regular;
use super::pending::Refreshed;
use super::{DiskSite, unsupported};
use crate::Error;
use crate::sandbox::os::{Dir, FileType, Stat, index_stat};

/// Begins the id of a version that is a file of the work tree, followed by its number: no object's name begins so.
const MARK: [u8; 16] = [0xff; 16];

/// More bytes of one file than this are not held in memory.
const CONTENT_MAX_BYTES: u64 = 256 << 20;

/// A file of the work tree that was looked at.
pub(super) struct WorkFile {
    path: Vec<u8>,
    pub(super) stat: Stat,
    content: Option<Bytes>,
    oid: Option<Oid>,
}

/// The directories from the top to where files are looked at, open.
#[derive(Default)]
pub(super) struct Place {
    /// Where each name ends in the path, and the directory; `None`: there is none there.
    open: Vec<(usize, Option<Dir>)>,
    path: Vec<u8>,
}

/// The version of an object.
pub(super) fn stored(mode: u32, oid: &Oid) -> Version {
    let mut id = [0; 32];
    if let Some(start) = id.get_mut(..oid.as_bytes().len()) {
        start.copy_from_slice(oid.as_bytes());
    }
    Version {
        mode,
        id,
        size_bytes: 0,
        unsaved: None,
    }
}

/// The object of a version.
pub(super) fn oid_of(format: ObjectFormat, version: &Version) -> Result<Oid, Failure> {
    let raw = version.id.get(..format.raw_len()).unwrap_or_default();
    Ok(Oid::from_bytes(format, raw)?)
}

fn number_of(version: &Version) -> Option<usize> {
    let number = version.id.strip_prefix(&MARK)?.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*number)).ok()
}

/// Git's mode of a file.
pub(super) fn mode_of(stat: &Stat) -> Option<u32> {
    match stat.file_type() {
        FileType::Symlink => Some(0o120_000),
        FileType::File if stat.stamp.mode & 0o100 != 0 => Some(0o100_755),
        FileType::File => Some(0o100_644),
        _ => None,
    }
}

impl Place {
    /// The directory in which a path stands, and the path's last name; `None` if there is no such directory.
    pub(super) fn of<'s, 'p>(&'s mut self, top: &'s Dir, path: &'p [u8]) -> io::Result<Option<(&'s Dir, &'p [u8])>> {
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let (directory, name) = match slash {
            Some(slash) => (
                path.get(..slash).unwrap_or_default(),
                path.get(slash + 1..).unwrap_or_default(),
            ),
            None => (&b""[..], path),
        };
        if directory == self.path && (directory.is_empty() || !self.open.is_empty()) {
            return Ok(match self.open.last() {
                Some((_, directory)) => directory.as_ref().map(|directory| (directory, name)),
                None => Some((top, name)),
            });
        }
        let is_above = |end: usize| {
            directory.get(..end) == self.path.get(..end) && matches!(directory.get(end), None | Some(b'/'))
        };
        let keep = self.open.iter().take_while(|(end, _)| is_above(*end)).count();
        self.open.truncate(keep);
        self.path.clear();
        self.path.extend_from_slice(directory);
        let mut at = self.open.last().map_or(0, |(end, _)| end + 1);
        while at < directory.len() {
            let rest = directory.get(at..).unwrap_or_default();
            let len = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let above = match self.open.last() {
                Some((_, above)) => above.as_ref(),
                None => Some(top),
            };
            let opened = match above {
                None => None,
                Some(above) => match above.passage(rest.get(..len).unwrap_or_default()) {
                    Ok(opened) => Some(opened),
                    Err(error) if is_absent(&error) => None,
                    Err(error) => return Err(error),
                },
            };
            self.open.push((at + len, opened));
            at += len + 1;
        }
        Ok(match self.open.last() {
            Some((_, directory)) => directory.as_ref().map(|directory| (directory, name)),
            None => Some((top, name)),
        })
    }

    /// What stands at a path.
    pub(super) fn stat(&mut self, top: &Dir, path: &[u8]) -> io::Result<Option<Stat>> {
        let Some((directory, name)) = self.of(top, path)? else {
            return Ok(None);
        };
        match directory.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether nothing stands there, or not a directory where one has to be.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

/// What an entry of the index says of its file.
#[derive(Clone, Copy)]
pub(super) struct Known<'e> {
    path: &'e [u8],
    oid: Oid,
    mode: u32,
    stat: IndexStat,
}

impl<'e> From<&EntryView<'e>> for Known<'e> {
    fn from(entry: &EntryView<'e>) -> Self {
        Known {
            path: entry.path(),
            oid: entry.oid(),
            mode: entry.mode(),
            stat: entry.stat(),
        }
    }
}

impl Known<'_> {
    /// Whether this stat data is that of the file, and the file cannot have changed since the index was written without anything to see.
    pub(super) fn is_same(&self, stat: &Stat, index_time: (u32, u32)) -> bool {
        let now = index_stat(stat);
        let known = IndexStat {
            dev: now.dev,
            ..self.stat
        };
        now == known && mode_of(stat) == Some(self.mode) && (now.mtime_seconds, now.mtime_nanos) < index_time
    }
}

/// Whether git, which knows seconds only, sees nothing changed.
pub(super) fn is_same_second(now: &IndexStat, known: &IndexStat) -> bool {
    let nanos = IndexStat {
        mtime_nanos: known.mtime_nanos,
        ctime_nanos: known.ctime_nanos,
        ..*now
    };
    nanos == *known
}

/// What became of an entry of the index.
pub(super) enum Seen {
    Same,
    Gone,
    Changed(Version),
}

impl DiskSite<'_> {
    pub(super) fn io(&self, what: &str, path: &[u8], error: &io::Error) -> Failure {
        Error::io(what, &self.top.join(std::ffi::OsStr::from_bytes(path)), error).into()
    }

    pub(super) fn stat(&mut self, path: &[u8]) -> Result<Option<Stat>, Failure> {
        let mut place = std::mem::take(&mut self.place);
        let found = place.stat(&self.root, path);
        self.place = place;
        found.map_err(|error| self.io("look at", path, &error))
    }

    /// The version that stands in the work tree with this stat.
    pub(super) fn work_version(&mut self, path: &[u8], stat: &Stat) -> Result<Version, Failure> {
        let Some(mode) = mode_of(stat) else {
            return unsupported("a file that is no file");
        };
        let mut id = [0; 32];
        let number = (self.work.len() as u64).to_le_bytes();
        for (to, from) in id.iter_mut().zip(MARK.iter().chain(&number)) {
            *to = *from;
        }
        self.work.push(WorkFile {
            path: path.to_vec(),
            stat: *stat,
            content: None,
            oid: None,
        });
        Ok(Version {
            mode,
            id,
            size_bytes: stat.stamp.size_bytes,
            unsaved: None,
        })
    }

    /// The file of the work tree that a version is.
    pub(super) fn work_file(&self, version: &Version) -> Option<&WorkFile> {
        self.work.get(number_of(version)?)
    }

    /// What git would store of a file of the work tree.
    pub(super) fn work_content(&mut self, version: &Version) -> Result<Option<Bytes>, Failure> {
        let Some(number) = number_of(version) else {
            return Ok(None);
        };
        let Some(file) = self.work.get(number) else {
            return unsupported("a file that was not looked at");
        };
        if let Some(content) = &file.content {
            return Ok(Some(content.clone()));
        }
        let path = file.path.clone();
        let content = self.read_work(&path, version.mode)?;
        if version.mode != 0o120_000 {
            self.refuse_conversion(&path, &content)?;
        }
        if let Some(file) = self.work.get_mut(number) {
            file.content = Some(content.clone());
        }
        Ok(Some(content))
    }

    /// The name of a file of the work tree.
    pub(super) fn work_oid(&mut self, version: &Version) -> Result<Option<Oid>, Failure> {
        let Some(number) = number_of(version) else {
            return Ok(None);
        };
        if let Some(oid) = self.work.get(number).and_then(|file| file.oid) {
            return Ok(Some(oid));
        }
        let Some(content) = self.work_content(version)? else {
            return Ok(None);
        };
        let oid = hash_object(self.format, ObjectKind::Blob, &content);
        if let Some(file) = self.work.get_mut(number) {
            file.oid = Some(oid);
        }
        Ok(Some(oid))
    }

    pub(super) fn read_work(&mut self, path: &[u8], mode: u32) -> Result<Bytes, Failure> {
        let mut place = std::mem::take(&mut self.place);
        let read = (|| {
            let Some((directory, name)) = place.of(&self.root, path)? else {
                return Err(io::Error::from_raw_os_error(libc::ENOENT));
            };
            if mode == 0o120_000 {
                return directory.read_link(name);
            }
            let file = directory.file(name)?;
            // Without its size a file of 2 KB is read in eight pieces.
            let size_bytes = file.metadata()?.len().min(CONTENT_MAX_BYTES);
            let mut content = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0) + 1);
            file.take(CONTENT_MAX_BYTES + 1).read_to_end(&mut content)?;
            Ok(content)
        })();
        self.place = place;
        match read {
            // Git does not hold large ones in memory.
            Ok(content) if content.len() as u64 > CONTENT_MAX_BYTES => unsupported("so much content"),
            Ok(content) => Ok(content.into()),
            Err(error) => Err(self.io("read", path, &error)),
        }
    }

    /// Attributes can ask for other content than the file has.
    fn refuse_conversion(&mut self, path: &[u8], content: &[u8]) -> Result<(), Failure> {
        match self.asked(path)? {
            Asked { convert: true, .. } => unsupported("attributes"),
            Asked { text: true, .. } if content.contains(&b'\r') => unsupported("attributes"),
            _ => Ok(()),
        }
    }

    /// The same of a file that is written.
    pub(super) fn refuse_writing(&mut self, path: &[u8], content: &[u8]) -> Result<(), Failure> {
        if self.asked(path)?.eol {
            return unsupported("attributes");
        }
        self.refuse_conversion(path, content)
    }

    /// What attributes ask for a path.
    fn asked(&mut self, path: &[u8]) -> Result<Asked, Failure> {
        let mut attributes = std::mem::take(&mut self.attributes);
        let asked = attributes.asked(path, |name| {
            match self.stat(name)? {
                Some(stat) if mode_of(&stat).is_some_and(|mode| mode != 0o120_000) => {
                    return Ok(Some(self.read_work(name, 0o100_644)?));
                }
                Some(_) => return unsupported("a .gitattributes that is no file"),
                None => {}
            }
            let view = self.view()?;
            let Ok(at) = view.position(name) else {
                return Ok(None);
            };
            let oid = view.entry(at).oid();
            match self.git.objects()?.read(&oid)? {
                Some(object) => Ok(Some(object.data.to_vec().into())),
                None => unsupported("a missing object"),
            }
        });
        self.attributes = attributes;
        match asked? {
            None => unsupported("attributes"),
            Some(asked) => Ok(asked),
        }
    }

    /// Compares an entry of the index with what stands in the work tree.
    pub(super) fn look(&mut self, entry: &EntryView<'_>) -> Result<Seen, Failure> {
        let entry = Known::from(entry);
        if let Some(planned) = self.pending.plan.at(entry.path) {
            let same = |version: &Version| {
                let oid = oid_of(self.format, version)?;
                Ok::<_, Failure>((oid, version.mode) == (entry.oid, entry.mode))
            };
            return Ok(match planned {
                None => Seen::Gone,
                Some(version) if same(version)? => Seen::Same,
                Some(version) => Seen::Changed(version.clone()),
            });
        }
        let path = entry.path;
        let Some(stat) = self.stat(path)? else {
            return Ok(Seen::Gone);
        };
        if stat.file_type() == FileType::Directory {
            // A repository in it would be a submodule.
            let inside = [path, b"/.git"].concat();
            return match self.stat(&inside)? {
                Some(_) => unsupported("a repository in the work tree"),
                None => Ok(Seen::Gone),
            };
        }
        if entry.is_same(&stat, self.index_time) {
            return Ok(Seen::Same);
        }
        let version = self.work_version(path, &stat)?;
        let same_kind = version.kind() == entry.mode & 0o170_000;
        let now = index_stat(&stat);
        if same_kind && (now.size == entry.stat.size || entry.stat.size == 0) {
            if self.work_oid(&version)? == Some(entry.oid) {
                let refreshed = Refreshed::of(entry.oid, version.mode, now);
                self.pending.refreshed.insert(path.to_vec(), refreshed);
                if version.mode == entry.mode {
                    let known = IndexStat {
                        dev: now.dev,
                        ..entry.stat
                    };
                    if !is_same_second(&now, &known) {
                        self.stale.push(path.to_vec());
                    }
                    return Ok(Seen::Same);
                }
                // With the stat of the file, for who stages it.
                return Ok(Seen::Changed(version));
            }
        } else if same_kind && version.kind() == 0o100_000 && self.has_attributes {
            // Of another size: it differs, unless it is converted.
            self.work_content(&version)?;
        }
        Ok(Seen::Changed(version))
    }

    /// As [`DiskSite::look`], for what git does not look at: nothing is written down about it.
    pub(super) fn glance(&mut self, entry: &EntryView<'_>) -> Result<Seen, Failure> {
        let is_known = self.pending.refreshed.contains_key(entry.path());
        let stale = self.stale.len();
        let seen = self.look(entry);
        if !is_known {
            self.pending.refreshed.remove(entry.path());
            self.stale.truncate(stale);
        }
        seen
    }

    /// Whether a file has the stat data of its entry; where that proves nothing, its content.
    pub(super) fn is_untouched(&mut self, entry: &EntryView<'_>) -> Result<bool, Failure> {
        let Some(stat) = self.stat(entry.path())? else {
            return Ok(false);
        };
        let known = Known::from(entry);
        if known.is_same(&stat, self.index_time) {
            return Ok(true);
        }
        // Git compares seconds; a file that is another one since then has another content, most of the time.
        let now = index_stat(&stat);
        let then = IndexStat {
            dev: now.dev,
            ..known.stat
        };
        Ok(is_same_second(&now, &then) && matches!(self.look(entry)?, Seen::Same))
    }

    /// A file of the git directory, as it stands.
    pub(super) fn git_file(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.git.path().join(std::ffi::OsStr::from_bytes(name));
        match read_regular(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::io("read", &path, &error).into()),
        }
    }
}
