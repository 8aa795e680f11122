//! The store on disk. Any number of processes open one directory to read and write; each writer appends to a segment of its
//! own, and nobody waits for anybody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::batch::Batch;
use crate::boot::Boot;
use crate::collect::{self, CollectOptions, Collected, Mark};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::evacuate::mend;
use crate::file_refs::{Access, FileRefs};
use crate::fork;
use crate::format::Format;
use crate::group::GroupCommit;
use crate::id::{Id, to_hex};
use crate::kind::Kind;
use crate::merge::merge_if_due;
use crate::prefix::HexPrefix;
use crate::retired::Retired;
use crate::segment::Damage;
use crate::session::{Pin, Section, Sessions};
use crate::shared::Shared;
use crate::sparing::{Collector, Found};
use crate::store::{Committed, ObjectStore, RefStore, StoreStats};
use crate::survey;
use crate::vfs::Vfs;
use crate::writer::Writer;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Create the store if there is none.
    pub create: bool,
    /// Write nothing at all, not even hints; works in a directory without write permission.
    pub read_only: bool,
    /// A segment is sealed when the next batch would take it past this. 64 MiB; smaller in tests.
    pub segment_limit_bytes: u64,
    /// A ref log is sealed when it is longer than this. 4 MiB; smaller in tests.
    pub ref_log_limit_bytes: u64,
    /// Segments are filled with zeros so far ahead, so that flushes are quick; 0: not at all, until somebody waits for the power class.
    pub write_ahead_bytes: u64,
    /// A writer that is busy fills the system's cache with pages of its segment in steps of so many bytes (not flushed); 0: not at all.
    pub page_ahead_bytes: u64,
    /// Seal on a thread beside the commit. Off where a test needs every step in order.
    pub background_seal: bool,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            create: false,
            read_only: false,
            segment_limit_bytes: 64 << 20,
            ref_log_limit_bytes: 4 << 20,
            write_ahead_bytes: 0,
            page_ahead_bytes: 256 << 10,
            background_seal: true,
        }
    }
}

/// An open store on disk.
pub struct FileStore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) refs: FileRefs,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) options: OpenOptions,
    /// Asked for, or all that the permissions allow.
    pub(crate) read_only: bool,
    pub(crate) directory: PathBuf,
    pub(crate) writer: Mutex<Option<Writer>>,
    flushing: GroupCommit,
    /// What a loss of power took from unsealed segments, found at the opening.
    lost: Vec<Damage>,
    /// Threads that seal, each with the process generation it was started in: after a fork they exist in the parent only.
    sealing: Mutex<Vec<(u64, JoinHandle<()>)>>,
    closed: AtomicBool,
    /// The thread that collects here.
    pub(crate) collector: Collector,
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl FileStore {
    /// Opens the store in `directory` (only to read, if the permissions allow no more), or creates it if that is asked for. Errors: `NotFound` if there is none,
    /// `UnsupportedFormat`, `Corrupt` (format file or ref log), `Storage`. O(segments + bytes in unsealed segments).
    pub fn open(vfs: Arc<dyn Vfs>, directory: &Path, options: OpenOptions) -> Result<FileStore> {
        let format_path = directory.join("format");
        let (segments, refs) = (directory.join("segments"), directory.join("refs"));
        let found = Format::read(vfs.as_ref(), &format_path)?;
        let format = match found {
            Some(format) => format,
            None if options.create && !options.read_only => {
                create_durably(vfs.as_ref(), directory)?;
                for path in [&segments, &refs] {
                    vfs.create_dir_all(path)
                        .map_err(|error| Error::storage("create", path, error))?;
                }
                // Before the format's name: where that survives a power loss, the directories do.
                sync_dir(vfs.as_ref(), directory)?;
                Format::create(vfs.as_ref(), &format_path)?
            }
            None => {
                return Err(Error::NotFound {
                    what: format!("a store in {}", directory.display()),
                });
            }
        };
        let control = Control::open(vfs.as_ref(), &directory.join("control"), !options.read_only)?.map(Arc::new);
        // Who cannot write the control file cannot tell others of a commit, so it only reads.
        let read_only = options.read_only || !control.as_ref().is_some_and(|control| control.is_writable());
        let boot = Boot::look(vfs.as_ref(), directory)?;
        let mut shared = Shared::new(Arc::clone(&vfs), segments, format.store, control, boot.tag());
        shared.page_ahead_bytes = options.page_ahead_bytes;
        shared
            .write_ahead_bytes
            .store(options.write_ahead_bytes, Ordering::Relaxed);
        shared.look_again(true)?;
        let shared = Arc::new(shared);
        // The first log is created before anything is stored, so a store with segments and no log has lost it.
        let create_log = !read_only && shared.segments().is_empty();
        let refs_directory = refs.clone();
        let access = Access {
            read_only,
            create_log,
            recover: boot.is_new,
            limit_bytes: options.ref_log_limit_bytes,
        };
        let refs = FileRefs::open(Arc::clone(&shared), refs, access)?;
        if create_log {
            // Who created the format or the log may have died before its name was durable. From here on segments can appear,
            // and refs can be flushed, so it has to be.
            sync_dir(vfs.as_ref(), directory)?;
            sync_dir(vfs.as_ref(), &refs_directory)?;
        }
        let mut lost = Vec::new();
        if !read_only {
            if boot.is_new {
                lost = mend(&shared, || refs.renew());
            }
            // Before anything is written that could be taken for what was lost.
            boot.note(vfs.as_ref(), directory)?;
        }
        let sessions = Sessions::new(vfs, directory.to_path_buf(), read_only);
        Ok(FileStore {
            shared,
            refs,
            sessions: Arc::new(sessions),
            options,
            read_only,
            directory: directory.to_path_buf(),
            writer: Mutex::new(None),
            flushing: GroupCommit::default(),
            lost,
            sealing: Mutex::default(),
            closed: AtomicBool::new(false),
            collector: Collector::default(),
        })
    }

    /// The directory that the store lives in. O(1).
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The store's name: 32 hex digits that no other store has. O(1).
    pub fn name(&self) -> String {
        to_hex(&self.shared.store)
    }

    /// Ends the use of the store: gives back its segment, waits for sealing to end. Later calls return `Closed`. Calling it
    /// again does nothing. Errors: none today.
    pub fn close(&self) -> Result<()> {
        let _gate = fork::enter();
        self.closed.store(true, Ordering::Release);
        self.refs.close();
        self.drop_writer();
        self.sessions.close();
        // The gate is kept, so a fork waits for this, and with it for the threads that are waited for here.
        self.shared.awaits_sealing.store(true, Ordering::Release);
        self.await_sealing();
        Ok(())
    }

    fn drop_writer(&self) {
        if let Some(writer) = self.writer.lock().take() {
            writer.release();
        }
    }

    /// Seals the segment of this store and those of dead writers, small as they may be. What cannot be sealed now stays as it is.
    pub(crate) fn seal_free(&self) -> Result<()> {
        let mut retired = {
            let _gate = fork::enter();
            let mut writer = self.writer.lock();
            let generation = self.shared.vfs.process_generation();
            match writer.take() {
                Some(own) if own.generation == generation && own.holds_records() => vec![own.retire()],
                Some(own) if own.generation != generation => {
                    own.release();
                    Vec::new()
                }
                own => {
                    *writer = own;
                    Vec::new()
                }
            }
        };
        self.await_sealing();
        {
            let _gate = fork::enter();
            retired.extend(Writer::retire_free(&self.shared)?);
        }
        seal_all(&self.shared, retired);
        Ok(())
    }

    fn await_sealing(&self) {
        let running = std::mem::take(&mut *self.sealing.lock());
        for (generation, thread) in running {
            if generation != self.shared.vfs.process_generation() {
                // Joining a thread of the parent would wait for ever.
                std::mem::forget(thread);
                continue;
            }
            // A thread that panicked has left its segment unsealed, which the next opener makes good.
            let _ = thread.join();
        }
    }

    /// Makes it safe to remove objects: a loss of power brings nothing back that reached them.
    pub(crate) fn settle(&self) -> Result<()> {
        self.flush()?;
        self.refs.renew()
    }

    /// Bytes in segments, without what is filled ahead. O(segments).
    pub(crate) fn segment_bytes(&self) -> Result<u64> {
        let _gate = fork::enter();
        let mut bytes = 0;
        for segment in self.shared.segments() {
            let path = self.shared.segment_path(segment.number);
            // What is filled ahead with zeros holds nothing.
            let committed = segment.marks.committed();
            if committed > 0 && !segment.tail.lock().sealed {
                bytes += committed;
                continue;
            }
            bytes += match segment.file.len() {
                Ok(length) => length,
                // Removed, and never opened here.
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(Error::storage("read", &path, error)),
            };
        }
        Ok(bytes)
    }

    /// Where this store's own segment ends, if that is the one.
    pub(crate) fn own_end(&self, number: u64) -> Option<u64> {
        let writer = self.writer.lock();
        writer
            .as_ref()
            .filter(|writer| writer.segment.number == number)
            .map(Writer::end)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    fn seal(&self, retired: Vec<Retired>) {
        if retired.is_empty() {
            return;
        }
        if !self.options.background_seal {
            seal_all(&self.shared, retired);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let mut sealing = self.sealing.lock();
        sealing.retain(|(_, thread)| !thread.is_finished());
        let builder = std::thread::Builder::new().name("pyi-seal".into());
        // If no thread can be had, the segments stay unsealed for now, which is allowed: the next opener seals them.
        if let Ok(thread) = builder.spawn(move || seal_all(&shared, retired)) {
            sealing.push((self.shared.vfs.process_generation(), thread));
        }
    }

    /// Makes sure that there is a writer with room for so many bytes.
    fn ready<'a>(&self, writer: &'a mut Option<Writer>, bytes: u64) -> Result<&'a mut Writer> {
        let limit = self.options.segment_limit_bytes;
        // After a fork the segment is the parent's.
        let generation = self.shared.vfs.process_generation();
        if let Some(inherited) = writer.take_if(|writer| writer.generation != generation) {
            inherited.release();
        }
        // What is taken has room for this batch, so this ends.
        while writer.as_ref().is_none_or(|writer| !writer.has_room(bytes, limit)) {
            if let Some(full) = writer.take() {
                self.seal(vec![full.retire()]);
            }
            let (taken, retired) = Writer::take(&self.shared, bytes, limit)?;
            *writer = Some(taken);
            self.seal(retired);
        }
        writer.as_mut().ok_or(Error::Closed)
    }
}

impl ObjectStore for FileStore {
    fn get(&self, kind: Kind, id: &Id) -> Result<Option<Bytes>> {
        let _gate = fork::enter();
        self.check_open()?;
        let seen = self.shared.seen();
        match self.shared.read_known(kind, id) {
            Ok(None) => {}
            // A checkpoint that somebody found by its id may get a new ref, so a collector has to know.
            Ok(_) if kind == Kind::Checkpoint && self.goes(id, Found::ByName)? => return Ok(None),
            Ok(found) => return Ok(found),
            // Another writer may have stored a whole copy meanwhile.
            Err(error) => {
                let again = self
                    .shared
                    .refresh_since(seen)
                    .and_then(|_| self.shared.read_known(kind, id));
                return again.map_err(|_| error);
            }
        }
        if self.shared.refresh_since(seen)? {
            self.shared.read_known(kind, id)
        } else {
            Ok(None)
        }
    }

    fn contains(&self, id: &Id) -> Result<bool> {
        let _gate = fork::enter();
        self.check_open()?;
        let seen = self.shared.seen();
        let known = self.shared.knows(id)? || self.shared.refresh_since(seen)? && self.shared.knows(id)?;
        Ok(known && !self.goes(id, Found::Below)?)
    }

    fn contains_hint(&self, id: &Id) -> bool {
        let _gate = fork::enter();
        !self.sessions.is_unprotected() && self.shared.can_rely_on(id)
    }

    fn contains_recent_hint(&self, id: &Id) -> bool {
        let _gate = fork::enter();
        !self.sessions.is_unprotected() && self.shared.can_rely_on_recent(id)
    }

    fn reliance_epoch(&self) -> Option<u64> {
        let _gate = fork::enter();
        if self.sessions.is_unprotected() {
            None
        } else {
            self.shared.reliance_epoch()
        }
    }

    fn stands_alone_hint(&self, id: &Id) -> bool {
        let _gate = fork::enter();
        !self.sessions.is_unprotected() && self.shared.stands_alone(id)
    }

    fn commit(&self, batch: &mut Batch) -> Result<Committed> {
        let _gate = fork::enter();
        self.check_open()?;
        if self.read_only {
            let error = io::Error::from_raw_os_error(libc::EROFS);
            return Err(Error::storage("write to the read-only store", &self.directory, error));
        }
        if batch.is_empty() {
            return Ok(Committed::default());
        }
        self.sessions.check_protected()?;
        let mut guard = self.writer.lock();
        // Again under the lock: a close in between would leave this writer's segment locked.
        self.check_open()?;
        let writer = self.ready(&mut guard, batch.size_bytes() as u64)?;
        match writer.append(&self.shared, batch) {
            Ok(committed) => {
                let order = writer.order();
                drop(guard);
                if let Some(order) = order {
                    order.fill();
                }
                batch.clear();
                Ok(committed)
            }
            Err(failure) => {
                if !failure.keep
                    && let Some(writer) = guard.take()
                {
                    writer.release();
                }
                Err(failure.error)
            }
        }
    }

    fn is_ready(&self) -> bool {
        let limit = self.options.segment_limit_bytes;
        let has_room = |writer: &Writer| writer.has_room(READY_BYTES, limit);
        let writer = self.writer.try_lock();
        writer.is_some_and(|writer| writer.as_ref().is_some_and(has_room))
    }

    fn find_prefix(&self, hex: &str, kind: Kind) -> Result<Vec<Id>> {
        let _gate = fork::enter();
        self.check_open()?;
        let prefix = HexPrefix::parse(hex)?;
        self.shared.refresh_since(self.shared.seen())?;
        let mut found = self.shared.recent.find(&prefix, kind as u8);
        found.extend(self.shared.find_sealed(&prefix, kind as u8)?);
        Ok(prefix.finish(found))
    }

    fn stats(&self) -> Result<StoreStats> {
        let _gate = fork::enter();
        self.check_open()?;
        self.shared.refresh_since(self.shared.seen())?;
        let mut stats = StoreStats {
            damage: self.shared.damage(),
            lost: self.lost.iter().chain(self.refs.holes()).copied().collect(),
            lost_refs: self.refs.lost().to_vec(),
            ..StoreStats::default()
        };
        stats.damage.extend(self.refs.damage()?);
        stats.objects = self.shared.recent.len() as u64 + self.shared.sealed().objects();
        for segment in self.shared.segments() {
            stats.segments += 1;
            stats.segments_sealed += u64::from(segment.tail.lock().sealed);
        }
        stats.bytes_stored = self.segment_bytes()?;
        Ok(stats)
    }

    fn close(&self) -> Result<()> {
        FileStore::close(self)
    }

    fn flush(&self) -> Result<()> {
        let _gate = fork::enter();
        self.check_open()?;
        self.shared.refresh_since(self.shared.seen())?;
        self.flushing.run(|| self.make_durable())
    }

    fn wait_durable(&self) -> Result<()> {
        let _gate = fork::enter();
        self.check_open()?;
        if self.shared.write_ahead_bytes.load(Ordering::Relaxed) == 0 {
            let bytes = WRITE_AHEAD_BYTES.min(self.options.segment_limit_bytes / 4);
            self.shared.write_ahead_bytes.store(bytes, Ordering::Relaxed);
        }
        self.flushing.run(|| self.make_durable())
    }

    fn refs(&self) -> &dyn RefStore {
        &self.refs
    }

    fn section(&self) -> Section {
        self.sessions.section(&self.shared)
    }

    fn pin(&self, id: &Id) -> Pin {
        self.sessions.pin(id)
    }

    fn ids(&self, kind: Kind) -> Result<Vec<Id>> {
        let _gate = fork::enter();
        self.check_open()?;
        self.shared.refresh_since(self.shared.seen())?;
        self.shared.ids(kind)
    }

    fn record_bytes(&self, id: &Id) -> Option<u64> {
        let _gate = fork::enter();
        let (_, location) = self.shared.places(id).ok()?.into_iter().next()?;
        Some(crate::condemned::record_bytes(location.length))
    }

    fn parts(&self, id: &Id) -> Result<Vec<Id>> {
        let _gate = fork::enter();
        self.check_open()?;
        survey::parts(&self.shared, id)
    }

    fn collect(&self, mark: &mut dyn Mark, options: &CollectOptions<'_>) -> Result<Collected> {
        self.check_open()?;
        if self.read_only {
            let error = io::Error::from_raw_os_error(libc::EROFS);
            return Err(Error::storage(
                "collect garbage of the read-only store in",
                &self.directory,
                error,
            ));
        }
        collect::collect(self, mark, options)
    }

    fn on_disk(&self) -> Option<&FileStore> {
        Some(self)
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// Creates a directory and what is missing above it so that it survives power loss: each level is made only when the one above it
/// is durable, and the name of one that is there already may not be yet, as its creator may have died.
fn create_durably(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let there = vfs
        .exists(path)
        .map_err(|error| Error::storage("look for", path, error))?;
    if !there {
        create_durably(vfs, parent)?;
        vfs.create_dir_all(path)
            .map_err(|error| Error::storage("create", path, error))?;
    }
    match sync_dir(vfs, parent) {
        // A directory that may not be read cannot be flushed; its names are its owner's business.
        Err(Error::Storage { source, .. }) if there && source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

pub(crate) fn sync_dir(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    vfs.sync_dir(path).map_err(|error| Error::storage("flush", path, error))
}

/// So far ahead segments are filled for the power class.
const WRITE_AHEAD_BYTES: u64 = 4 << 20;
/// A small commit has no more bytes than this.
const READY_BYTES: u64 = 64 << 10;

fn seal_all(shared: &Shared, retired: Vec<Retired>) {
    for segment in retired {
        // A segment that cannot be sealed now (the disk is full) stays as it is; the next opener tries again.
        let _ = segment.seal(shared);
    }
    merge_if_due(shared);
}
