//! Garbage collection: the one collector of a store marks what lives, copies it out of segments that hold much else, and removes them.
//! The protocol, and why nobody loses anything, is in `docs/design/009-durability-and-garbage.md`.

#[path = "compact.rs"]
mod compact;

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::file_store::FileStore;
use crate::fork;
use crate::gc_file::{GcFile, Phase, VICTIMS_MAX};
use crate::id::{Id, IdSet};
use crate::output::{Outputs, UNFINISHED};
use crate::peers::{Peers, Stuck};
use crate::shared::Shared;
use crate::store::ObjectStore;
use crate::survey::{Victim, expand, places, read_record, sealed_indexes, segment_in, survey};

/// How often the collector starts again because something came back to life, before it lets nothing more come back.
const ROUNDS: usize = 3;
/// Bytes of an id in a ref's value.
const ID_BYTES: usize = 32;

/// What lives, as the owner of the refs' meaning knows it.
pub trait Mark {
    /// Adds to `live` all that refs (as they are now) and `pins` reach; what is in `live` already need not be walked again. It is called
    /// several times, and must not hold locks of the store, nor run within a section. `pins` may be of any kind.
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> Result<()>;

    /// Called before each `mark`, before the pins for it are read: who pins something and has not seen yet what this says is among them. Must not
    /// hold locks of the store, nor run within a section.
    fn announce(&mut self) -> Result<()> {
        Ok(())
    }

    /// The object whose content is the best base for a delta of `id` (a newer version of the same path); `None`: no hint.
    fn delta_base(&self, id: &Id) -> Option<Id> {
        let _ = id;
        None
    }
}

/// How a collection is done.
#[derive(Clone, Copy)]
pub struct CollectOptions<'a> {
    /// A sealed segment with a smaller dead share than this is left as it is; 0.0: every segment with a dead byte goes.
    pub dead_share: f64,
    /// Rewrite every sealed segment, and store what lives in the smallest way.
    pub compact: bool,
    /// How long to wait for the section of another process before giving up.
    pub patience: Duration,
    /// Called with the phase and how far it is, from 0.0 to 1.0.
    pub progress: Option<&'a (dyn Fn(&'static str, f64) + Sync)>,
}

impl Default for CollectOptions<'_> {
    fn default() -> Self {
        CollectOptions {
            dead_share: 0.1,
            compact: false,
            patience: Duration::from_secs(10),
            progress: None,
        }
    }
}

impl std::fmt::Debug for CollectOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CollectOptions")
            .field("dead_share", &self.dead_share)
            .field("compact", &self.compact)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What a collection did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Bytes in segments before.
    pub bytes_before: u64,
    /// Bytes in segments after.
    pub bytes_after: u64,
    /// Bytes of the records of live objects, one copy of each.
    pub live_bytes: u64,
    /// Objects that are gone.
    pub objects_removed: u64,
    /// Live objects.
    pub objects_live: u64,
    /// Segments that are gone.
    pub segments_removed: u64,
    /// Segments that the copies went to.
    pub segments_written: u64,
    /// Why nothing was removed, if something kept the collector from it.
    pub gave_up: Option<String>,
}

/// Why a collection ends early.
enum Stop {
    Error(Error),
    GaveUp(Stuck),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

type Step<T> = std::result::Result<T, Stop>;

fn unstuck<T>(result: Result<std::result::Result<T, Stuck>>) -> Step<T> {
    result?.map_err(Stop::GaveUp)
}

/// Tells everybody that nobody collects, however the collection ends.
struct Running<'a> {
    store: &'a FileStore,
    gc: &'a GcFile,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.store.refs.keep_trail(false);
        end(self.gc);
        self.store.collector.end();
    }
}

/// Takes back what is condemned; what is gone is gone.
pub(crate) fn end(gc: &GcFile) {
    if gc.phase() != Phase::Idle {
        gc.set(Phase::Idle, &[]);
        gc.move_epoch();
    }
}

struct Collection<'a> {
    store: &'a FileStore,
    shared: &'a Shared,
    gc: &'a GcFile,
    peers: Peers<'a>,
    options: &'a CollectOptions<'a>,
    /// Epoch in which the collection began.
    since: u64,
    live: IdSet,
    /// What is in `live` only because something that lives is read through it. What it reaches itself does not live.
    needed: IdSet,
    /// Records whose references are in `live`, by slot and position.
    expanded: HashSet<(u32, u32)>,
    /// Live objects that have a whole copy outside of the victims.
    placed: IdSet,
    victims: Vec<Victim>,
    outputs: Outputs<'a>,
}

/// Runs a collection; see [`crate::ObjectStore::collect`].
pub(crate) fn collect(store: &FileStore, mark: &mut dyn Mark, options: &CollectOptions<'_>) -> Result<Collected> {
    let shared = store.shared.as_ref();
    let taken = store.sessions.session()?.ok_or(Error::Closed)?;
    let gc = &taken.gc;
    let Some(_lock) = GcFile::lock(shared.vfs.as_ref(), &store.sessions.gc_path())? else {
        return Ok(Collected {
            gave_up: Some("another process is collecting garbage".into()),
            ..Collected::default()
        });
    };
    // What a collector that died left. It may have removed something and not said so.
    if gc.phase() != Phase::Idle {
        shared.announce_segments();
    }
    end(gc);
    remove_debris(shared)?;
    look(shared)?;
    if shared.unsealed().iter().any(|segment| shared.is_failed(segment)) {
        // One whose flush failed is not sealed; what is in it goes elsewhere first.
        store.flush()?;
    }
    store.seal_free()?;
    look(shared)?;
    let mut collected = Collected {
        bytes_before: store.segment_bytes()?,
        ..Collected::default()
    };
    store.refs.keep_trail(true)?;
    store.collector.begin();
    let running = Running { store, gc };
    let mut collection = Collection {
        store,
        shared,
        gc,
        peers: Peers::new(
            shared.vfs.as_ref(),
            store.sessions.sessions_path(),
            gc,
            options.patience,
        ),
        options,
        since: gc.epoch(),
        live: IdSet::default(),
        needed: IdSet::default(),
        expanded: HashSet::new(),
        placed: IdSet::default(),
        victims: Vec::new(),
        outputs: Outputs::new(shared, store.options.segment_limit_bytes),
    };
    let stopped = collection.run(mark, &mut collected).err();
    collected.segments_written = collection.outputs.published;
    drop(running);
    match stopped {
        Some(Stop::Error(error)) => return Err(error),
        Some(Stop::GaveUp(why)) => collected.gave_up = Some(why),
        None => {}
    }
    look(shared)?;
    let left = survey(shared, &HashSet::new(), &collection.live, 1.0, false)?;
    (collected.live_bytes, collected.objects_live) = (left.live_bytes, left.objects_live);
    collected.bytes_after = store.segment_bytes()?;
    collection.progress("remove", 1.0);
    Ok(collected)
}

/// Looks at everything that any process did.
fn look(shared: &Shared) -> Result<()> {
    let _gate = fork::enter();
    shared.look_anew()
}

/// Removes unfinished outputs of collectors that died, and indexes whose segment is gone. The highest number of all keeps its index,
/// as it must not be used again.
fn remove_debris(shared: &Shared) -> Result<()> {
    let failed = |error| Error::storage("list", &shared.directory, error);
    for name in shared.vfs.list(&shared.directory).map_err(failed)? {
        if name.ends_with(UNFINISHED) {
            let _ = shared.vfs.remove(&shared.directory.join(name));
        }
    }
    let listing = shared.list()?;
    let (segments, indexed) = (&listing.segments, &listing.indexed);
    let highest = segments.iter().chain(indexed).chain(&listing.merged).max().copied();
    for number in indexed.iter().copied() {
        let gone = !segments.contains(&number) && Some(number) != highest;
        if gone && matches!(shared.vfs.exists(&shared.segment_path(number)), Ok(false)) {
            let _ = shared.vfs.remove(&shared.index_path(number));
        }
    }
    Ok(())
}

impl Collection<'_> {
    fn progress(&self, phase: &'static str, share: f64) {
        if let Some(progress) = self.options.progress {
            progress(phase, share);
        }
    }

    fn run(&mut self, mark: &mut dyn Mark, collected: &mut Collected) -> Step<()> {
        // What is sealed from here on may hold what a section has just stored, so it is left for the next collector.
        let candidates: HashSet<u64> = sealed_indexes(self.shared)?.iter().map(|index| index.number).collect();
        self.progress("mark", 0.0);
        self.mark(mark)?;
        let options = self.options;
        let found = survey(
            self.shared,
            &candidates,
            &self.live,
            options.dead_share,
            options.compact,
        )?;
        self.victims = found.victims;
        self.victims.truncate(VICTIMS_MAX);
        if options.compact {
            self.compact(mark)?;
        }
        self.copy(Some("copy"))?;
        // A segment in which something that lives cannot be read stays: somebody may still be able to repair it.
        self.victims.retain(|victim| victim.removable);
        if self.victims.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u64> = self.victims.iter().map(|victim| victim.number).collect();
        for round in 0..ROUNDS {
            self.progress("condemned", round as f64 / ROUNDS as f64);
            self.gc.set(Phase::Condemned, &numbers);
            unstuck(self.peers.grace())?;
            self.mark(mark)?;
            self.copy(Some("condemned"))?;
            self.progress("closing", round as f64 / ROUNDS as f64);
            let vetoes = self.gc.vetoes();
            self.gc.set_phase(Phase::Closing);
            unstuck(self.peers.grace())?;
            self.mark(mark)?;
            if self.copy(Some("closing"))? == 0 {
                self.gc.set_phase(Phase::Removing);
                if self.gc.vetoes() == vetoes {
                    return self.remove(collected);
                }
            }
        }
        self.decide(mark)?;
        self.remove(collected)
    }

    /// Takes a last look at what is alive, while those who find something in victims by its id wait. Their pins were set before, and no section relies on
    /// victims without one, so nothing new can come up: this ends. O(what was found since the look before).
    fn decide(&mut self, mark: &mut dyn Mark) -> Step<()> {
        // Who waits keeps a fork waiting, and the fork would keep the collector waiting. Nobody is called meanwhile who may wait for the fork.
        let _gate = fork::enter();
        self.gc.set_phase(Phase::Deciding);
        loop {
            let vetoes = self.gc.vetoes();
            self.mark(mark)?;
            if self.copy(None)? == 0 && self.gc.vetoes() == vetoes {
                break;
            }
        }
        self.gc.set_phase(Phase::Removing);
        Ok(())
    }

    /// Adds to `live` what is live now: what refs reach, what pins reach, and what refs reached at any time since the collection began,
    /// as a running section may have read it then. O(what is new), as far as `mark` keeps to that.
    fn mark(&mut self, mark: &mut dyn Mark) -> Step<()> {
        mark.announce()?;
        // Whoever marks goes by `live` in what was followed before, and these were not: they may be reached by now.
        for id in &self.needed {
            self.live.remove(id);
        }
        // In this order: an object is known here before a value that names it is looked at, and pins are read behind the values, as
        // who replaces a value by a pin sets the pin first.
        let values = self.store.refs.take_trail()?;
        look(self.shared)?;
        let mut roots = unstuck(self.peers.pins(self.since))?;
        let windows = values.iter().flat_map(|value| value.windows(ID_BYTES));
        for id in windows.filter_map(|window| window.try_into().ok()).map(Id) {
            if !self.live.contains(&id) && !places(self.shared, &id)?.is_empty() {
                roots.push(id);
            }
        }
        mark.mark(&roots, &mut self.live)?;
        // What is still not reached stays among these.
        self.needed.retain(|id| self.live.insert(*id));
        expand(self.shared, &mut self.live, &mut self.needed, &mut self.expanded)?;
        Ok(())
    }

    /// Copies what lives in victims and has no whole copy elsewhere; returns how many objects. Says how far it is, if there is a phase to be told. O(objects in victims +
    /// bytes copied).
    fn copy(&mut self, phase: Option<&'static str>) -> Step<u64> {
        let numbers: HashSet<u64> = self.victims.iter().map(|victim| victim.number).collect();
        let (mut copied, mut unreadable) = (0, Vec::new());
        for at in 0..self.victims.len() {
            let victim = &self.victims[at];
            let mut entries: Vec<_> = victim
                .index
                .entries()
                .filter(|entry| self.live.contains(&entry.id) && !self.placed.contains(&entry.id))
                .collect();
            // In the order in which they were written: what is referred to comes first, and the disk reads on.
            entries.sort_unstable_by_key(|entry| entry.offset);
            for entry in entries {
                let location = crate::shared::entry_location(victim.index.slot, &entry);
                if !self.stands_elsewhere(&entry.id, &numbers)? {
                    let Some(record) = read_record(self.shared, &victim.segment, &entry.id, &location)? else {
                        unreadable.push((entry.id, at));
                        continue;
                    };
                    self.outputs.push(record)?;
                    copied += 1;
                }
                self.placed.insert(entry.id);
            }
            if let Some(phase) = phase {
                self.progress(phase, (at + 1) as f64 / self.victims.len() as f64);
            }
        }
        self.outputs.publish()?;
        for (id, at) in unreadable {
            if !self.placed.contains(&id) {
                self.victims[at].removable = false;
            }
        }
        Ok(copied)
    }

    /// Whether a whole copy stands in a segment that stays. A read, for the few objects that have two.
    fn stands_elsewhere(&self, id: &Id, victims: &HashSet<u64>) -> Result<bool> {
        for (number, location) in places(self.shared, id)? {
            if victims.contains(&number) {
                continue;
            }
            if let Some(segment) = segment_in(self.shared, location.slot)
                && read_record(self.shared, &segment, id, &location)?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the victims. From here on nothing is taken back.
    fn remove(&mut self, collected: &mut Collected) -> Step<()> {
        if !self.gc.says(Phase::Removing, self.victims.len()) {
            return Err(Stop::GaveUp("the gc file was damaged meanwhile; repeat".into()));
        }
        self.progress("remove", 0.0);
        self.store.settle()?;
        let vfs = self.shared.vfs.as_ref();
        let mut gone = Vec::new();
        let mut failure = None;
        for victim in self.victims.iter().filter(|victim| victim.removable) {
            let path = self.shared.segment_path(victim.number);
            match vfs.remove(&path) {
                Ok(()) => gone.push(victim),
                Err(error) if error.kind() == io::ErrorKind::NotFound => gone.push(victim),
                Err(error) => failure = failure.or(Some(Error::storage("remove", &path, error))),
            }
        }
        // Behind their segments: a segment without an index would be taken for a dead writer's.
        let _ = remove_debris(self.shared);
        let _ = vfs.sync_dir(&self.shared.directory);
        self.shared.announce_segments();
        look(self.shared)?;
        let mut removed = IdSet::default();
        for victim in &gone {
            let dead = victim.index.entries().map(|entry| entry.id);
            for id in dead.filter(|id| !self.live.contains(id)) {
                if places(self.shared, &id)?.is_empty() {
                    removed.insert(id);
                }
            }
        }
        collected.segments_removed = gone.len() as u64;
        collected.objects_removed = removed.len() as u64;
        failure.map_or(Ok(()), |error| Err(Stop::Error(error)))
    }
}
