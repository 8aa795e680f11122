//! What a collector reads of all sessions of a store: whether sections of an epoch still run, and what is pinned.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, Ordering::SeqCst, fence};
use std::time::{Duration, Instant};

use crate::bytes_le::set_at;
use crate::error::{Error, Result};
use crate::gc_file::GcFile;
use crate::id::Id;
use crate::session::{FIRST_BYTES, FREE, MAGIC, OVERFLOW, RELEASED, SLOTS_AT, WORDS_PER_SLOT, active_word};
use crate::vfs::{OpenMode, SharedWords, Vfs, VfsFile};

/// First and longest pause while sections are waited for.
const PAUSE: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// A living session of somebody.
struct Peer {
    name: String,
    file: Arc<dyn VfsFile>,
    words: Arc<dyn SharedWords>,
}

/// What a session's file turned out to be.
enum Look {
    Living(Peer),
    Unborn,
    /// Its owner has ended, or died.
    Gone,
    Damaged(Stuck),
}

/// The sessions of a store.
pub(crate) struct Peers<'a> {
    vfs: &'a dyn Vfs,
    directory: PathBuf,
    gc: &'a GcFile,
    patience: Duration,
}

/// Why a collector cannot go on, in words for people.
pub(crate) type Stuck = String;

impl<'a> Peers<'a> {
    pub(crate) fn new(vfs: &'a dyn Vfs, directory: PathBuf, gc: &'a GcFile, patience: Duration) -> Peers<'a> {
        Peers {
            vfs,
            directory,
            gc,
            patience,
        }
    }

    fn failed(&self, name: &str) -> impl Fn(io::Error) -> Error + use<> {
        let path = self.directory.join(name);
        move |error| Error::storage("read", &path, error)
    }

    /// The living sessions; removes what dead ones left behind. O(sessions).
    ///
    /// A pin can go from one session to a new one, and the old one end, between the listing and a look into it. So where one is gone, those that
    /// came meanwhile are looked for, until none is.
    fn living(&self) -> Result<std::result::Result<Vec<Peer>, Stuck>> {
        let mut living: Vec<Peer> = Vec::new();
        let mut known = HashSet::new();
        loop {
            let names = match self.vfs.list(&self.directory) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(Error::storage("list", &self.directory, error)),
            };
            let mut is_one_gone = false;
            for name in names {
                if known.contains(&name) {
                    continue;
                }
                match self.look(&name)? {
                    Look::Living(peer) => {
                        living.push(peer);
                        known.insert(name);
                    }
                    Look::Unborn => {}
                    Look::Gone => is_one_gone = true,
                    Look::Damaged(stuck) => return Ok(Err(stuck)),
                }
            }
            if !is_one_gone {
                return Ok(Ok(living));
            }
        }
    }

    fn look(&self, name: &str) -> Result<Look> {
        let path = self.directory.join(name);
        let file = match self.vfs.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Gone),
            Err(error) => return Err(self.failed(name)(error)),
        };
        if is_dead(self.vfs, file.as_ref(), &path).map_err(self.failed(name))? {
            return Ok(Look::Gone);
        }
        let length = file.len().map_err(self.failed(name))?;
        if length < FIRST_BYTES as u64 {
            // Its owner is making it, so its first section will see this epoch.
            return Ok(Look::Unborn);
        }
        let length = usize::try_from(length).unwrap_or(FIRST_BYTES) & !7;
        let words = file.map_shared(length).map_err(self.failed(name))?;
        if words.words()[0].load(SeqCst) != MAGIC {
            return Ok(Look::Damaged(format!(
                "{} is damaged; remove it once its process has ended",
                path.display()
            )));
        }
        let name = name.to_owned();
        Ok(Look::Living(Peer { name, file, words }))
    }

    /// Moves the epoch and waits until every section that began before has ended.
    pub(crate) fn grace(&self) -> Result<std::result::Result<(), Stuck>> {
        let epoch = self.gc.epoch();
        // Sections that a collector that gave up did not wait for have this parity.
        if let Err(stuck) = self.wait(active_word(epoch + 1))? {
            return Ok(Err(stuck));
        }
        self.gc.move_epoch();
        self.wait(active_word(epoch))
    }

    fn wait(&self, word: usize) -> Result<std::result::Result<(), Stuck>> {
        let begin = Instant::now();
        let mut peers = match self.living()? {
            Ok(peers) => peers,
            Err(stuck) => return Ok(Err(stuck)),
        };
        let mut pause = PAUSE;
        loop {
            peers.retain(|peer| peer.words.words()[word].load(SeqCst) != 0);
            if peers.is_empty() {
                return Ok(Ok(()));
            }
            if pause == PAUSE_MAX || begin.elapsed() >= self.patience {
                // Somebody may have died in a section.
                let mut still = Vec::new();
                for peer in peers {
                    let path = self.directory.join(&peer.name);
                    if !is_dead(self.vfs, peer.file.as_ref(), &path).map_err(self.failed(&peer.name))? {
                        still.push(peer);
                    }
                }
                peers = still;
            }
            if let Some(peer) = peers.first()
                && begin.elapsed() >= self.patience
            {
                let process = peer.words.words()[2].load(SeqCst);
                return Ok(Err(format!(
                    "process {process} has been in the middle of an operation for {:.1} s; is it stopped?",
                    begin.elapsed().as_secs_f64()
                )));
            }
            if !peers.is_empty() {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// What is pinned, and what was until a moment in a collection that began in epoch `since`. O(pins).
    pub(crate) fn pins(&self, since: u64) -> Result<std::result::Result<Vec<Id>, Stuck>> {
        let living = match self.living()? {
            Ok(living) => living,
            Err(stuck) => return Ok(Err(stuck)),
        };
        // Who pins, then looks for what the collector has said: one of the two sees the other.
        fence(SeqCst);
        let mut pins = Vec::new();
        for peer in living {
            let words = peer.words.words();
            if words[OVERFLOW].load(SeqCst) != 0 {
                let process = words[2].load(SeqCst);
                return Ok(Err(format!(
                    "process {process} holds more pins than its session has room for"
                )));
            }
            pins.extend(
                words[SLOTS_AT..]
                    .chunks_exact(WORDS_PER_SLOT)
                    .filter_map(|slot| pinned(slot, since)),
            );
        }
        pins.sort_unstable();
        pins.dedup();
        Ok(Ok(pins))
    }
}

/// Whether nobody holds the lock of this session any more; then its file is removed. Its owner may only be about to lock it:
/// it looks for the file once it has the lock.
fn is_dead(vfs: &dyn Vfs, file: &dyn VfsFile, path: &Path) -> io::Result<bool> {
    if file.is_locked()? || !file.try_lock_exclusive()? {
        return Ok(false);
    }
    match vfs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

fn pinned(slot: &[AtomicU64], since: u64) -> Option<Id> {
    loop {
        let state = slot[4].load(SeqCst);
        if state & 3 == FREE || state & 3 == RELEASED && state >> 2 < since {
            return None;
        }
        let mut id = [0u8; 32];
        for (part, word) in slot[..4].iter().enumerate() {
            set_at(&mut id, part * 8, &word.load(Ordering::Relaxed).to_le_bytes());
        }
        fence(Ordering::Acquire);
        if slot[4].load(SeqCst) == state {
            return Some(Id(id));
        }
    }
}
