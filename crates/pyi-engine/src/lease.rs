//! Who may write to a named workspace.
//!
//! A name has one owner: the session (one opened repository) whose lease stands in the workspace's record. Opening a workspace takes the
//! lease, from whomever; the owner before learns it at its next write. Every move of the name is guarded by the record it was last
//! seen with, so the check here decides nothing: it tells an owner early that what it writes will not get in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyi_cas::{Guard, RefOutcome, RefTransaction};
use pyi_tree::refs::{Lease, WorkspaceRecord, workspace_key};

use crate::engine::now_ns;
use crate::repository::Repository;
use crate::workspace::{Content, Workspace};
use crate::{Error, ErrorKind, Result};

/// How often a lease is tried for when others move the name at the same time.
const ATTEMPTS: usize = 64;
/// Names in the registry at which it is swept for the first time.
const SWEEP_MIN: usize = 1024;

/// What a handle of a named workspace knows of its name.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// The value in the ref log, as last written or read.
    pub(crate) value: Vec<u8>,
    /// This handle's lease; `None` for a view, which takes one with its first write.
    lease: Option<Lease>,
    /// The ref generation at which the value was last known to stand.
    seen: u64,
}

impl Claim {
    /// A handle that only reads so far.
    pub(crate) fn view(value: Vec<u8>) -> Self {
        Claim {
            value,
            lease: None,
            seen: 0,
        }
    }

    /// A handle that owns the name; `seen` is a ref generation from before the value was written.
    pub(crate) fn owner(value: Vec<u8>, lease: Lease, seen: u64) -> Self {
        Claim {
            value,
            lease: Some(lease),
            seen,
        }
    }

    pub(crate) fn lease(&self) -> Lease {
        self.lease.unwrap_or_default()
    }

    /// Takes note of a move that was made with this claim's value as the guard. `before` and `after` are the ref generations around it: if
    /// nobody else moved anything meanwhile, the next write need not look.
    pub(crate) fn moved(&mut self, value: Vec<u8>, before: u64, after: u64) {
        self.value = value;
        if self.seen == before && after == before.wrapping_add(1) {
            self.seen = after;
        }
    }
}

/// This engine's part in leases: what it signs them with, and which handles it gave out.
pub(crate) struct Leases {
    session: [u8; 16],
    /// The highest epoch that this session signed.
    epoch: AtomicU64,
    handles: Mutex<Handles>,
}

struct Handles {
    by_name: HashMap<Arc<str>, Weak<Workspace>>,
    sweep_at: usize,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Leases {
            session: random(),
            epoch: AtomicU64::new(0),
            handles: Mutex::new(Handles {
                by_name: HashMap::new(),
                sweep_at: SWEEP_MIN,
            }),
        }
    }

    /// A lease like no other, with an epoch above `before`.
    pub(crate) fn next(&self, before: u64) -> Lease {
        let above = |last: u64| Some(last.max(before).saturating_add(1));
        let last = self.epoch.fetch_update(Ordering::AcqRel, Ordering::Acquire, above);
        Lease {
            epoch: last.unwrap_or(before).max(before).saturating_add(1),
            owner: self.owner(),
        }
    }

    /// What this process signs with: the child of a fork is another owner than its parent.
    fn owner(&self) -> [u8; 16] {
        let mut owner = self.session;
        let generation = (pyi_cas::process_generation() - 1).to_le_bytes();
        owner.iter_mut().zip(generation).for_each(|(byte, part)| *byte ^= part);
        owner
    }

    pub(crate) fn handle(&self, name: &str) -> Option<Arc<Workspace>> {
        self.handles.lock().by_name.get(name).and_then(Weak::upgrade)
    }

    /// Makes `workspace` the handle that others get under its name, unless there is another one than `instead_of` by now.
    fn register(&self, name: &Arc<str>, workspace: &Weak<Workspace>, instead_of: Option<&Arc<Workspace>>) -> bool {
        let mut handles = self.handles.lock();
        if let Some(known) = handles.by_name.get(name).and_then(Weak::upgrade)
            && !instead_of.is_some_and(|old| Arc::ptr_eq(old, &known))
        {
            return false;
        }
        handles.put(name, workspace);
        true
    }

    /// As `register`, whatever is there.
    pub(crate) fn replace(&self, name: &Arc<str>, workspace: &Weak<Workspace>) {
        self.handles.lock().put(name, workspace);
    }
}

impl Handles {
    fn put(&mut self, name: &Arc<str>, workspace: &Weak<Workspace>) {
        self.by_name.insert(name.clone(), workspace.clone());
        if self.by_name.len() >= self.sweep_at {
            self.by_name.retain(|_, handle| handle.strong_count() > 0);
            self.sweep_at = (self.by_name.len() * 2).max(SWEEP_MIN);
        }
    }
}

/// Sixteen random bytes.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: the buffer is valid for writes of its length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == bytes.len() as isize {
        return bytes;
    }
    // A system without the call: what no other session has in common with this one.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&now_ns().to_le_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(&(std::ptr::from_ref(&bytes) as usize).to_le_bytes());
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    bytes
}

impl Workspace {
    /// Makes sure that this handle may write; a view takes the lease. O(1): one load as long as no ref moved, one look at the record if
    /// one did. Nothing at all without a name.
    ///
    /// # Errors
    /// `LeaseLost` if somebody else owns the name by now.
    pub(crate) fn check_lease(&self, content: &mut Content) -> Result<()> {
        let Some(claim) = &content.claim else { return Ok(()) };
        let now = self.engine.store().refs().generation();
        let owner = claim.lease.map(|lease| lease.owner);
        if claim.seen == now && owner == Some(self.engine.leases.owner()) {
            return Ok(());
        }
        self.look_at_lease(content, now)
    }

    #[cold]
    fn look_at_lease(&self, content: &mut Content, now: u64) -> Result<()> {
        let (Some(name), Some(claim)) = (self.name(), &mut content.claim) else {
            return Ok(());
        };
        let Some(value) = self.engine.store().refs().get(&workspace_key(name))? else {
            // The name was dropped, which the next move will say; until then there is no other owner.
            return Ok(());
        };
        let Some(lease) = claim.lease else {
            return self.take_lease(content, value.to_vec());
        };
        if lease.owner != self.engine.leases.owner()
            || value[..] != claim.value[..] && WorkspaceRecord::decode(&value)?.lease != lease
        {
            return Err(lease_lost(name));
        }
        claim.seen = now;
        Ok(())
    }

    /// Takes the lease of the name whose value is `value` and goes to where its record stands.
    fn take_lease(&self, content: &mut Content, mut value: Vec<u8>) -> Result<()> {
        let Some(name) = self.shared_name() else { return Ok(()) };
        let refs = self.engine.store().refs();
        for _ in 0..ATTEMPTS {
            if content.claim.as_ref().is_none_or(|claim| claim.value != value) {
                *content = Content::of_record(&self.engine, name, value)?;
            }
            let Some(claim) = &mut content.claim else { return Ok(()) };
            let mut record = WorkspaceRecord::decode(&claim.value)?;
            record.lease = self.engine.leases.next(record.lease.epoch);
            let new = record.encode();
            let seen = refs.generation();
            let transaction = RefTransaction {
                guards: vec![(workspace_key(name), Guard::Equals(claim.value.clone()))],
                puts: vec![(workspace_key(name), Some(new.clone()))],
                message: format!("open {name}"),
                epoch: record.lease.epoch,
                ..RefTransaction::default()
            };
            let _section = self.engine.store().section();
            match refs.commit(&transaction)? {
                RefOutcome::Done => {
                    *claim = Claim::owner(new, record.lease, seen);
                    self.engine.leases.replace(name, &self.weak);
                    return Ok(());
                }
                RefOutcome::Conflict { found: Some(found), .. } => value = found,
                RefOutcome::Conflict { found: None, .. } => return Err(no_such(name)),
            }
        }
        Err(Error::conflict(format!(
            "workspace {name:?} is moved by others all the time; stop them and open it again"
        )))
    }

    /// Whether this handle is the one to give out for a name whose value is `value`: it owns it, or it is a view, which then goes to where
    /// the name stands.
    fn is_handle_for(&self, value: &[u8]) -> Result<bool> {
        let mut content = self.content.lock();
        let (Some(name), Some(claim)) = (self.shared_name(), &content.claim) else {
            return Ok(false);
        };
        match claim.lease {
            Some(lease) => Ok(lease.owner == self.engine.leases.owner()
                && (claim.value[..] == *value || WorkspaceRecord::decode(value)?.lease == lease)),
            None => {
                if claim.value[..] != *value {
                    *content = Content::of_record(&self.engine, name, value.to_vec())?.into();
                }
                Ok(true)
            }
        }
    }

    /// Why a move of the name did not apply, when its value was `found` then.
    pub(crate) fn moved_elsewhere(&self, content: &Content, found: Option<&[u8]>) -> Error {
        let name = self.name().unwrap_or_default();
        let lease = content.claim.as_ref().and_then(|claim| claim.lease);
        let theirs = found.and_then(|value| WorkspaceRecord::decode(value).ok());
        if lease.is_some() && theirs.is_some_and(|record| Some(record.lease) != lease) {
            return lease_lost(name);
        }
        Error::conflict(format!(
            "workspace {name:?} was moved or dropped by somebody else; open it again"
        ))
    }
}

impl Repository {
    /// A named workspace, at its last checkpoint and with the journal that was flushed since. Takes the lease: the owner until now, in
    /// whichever process, can read on and write no more. The handle of this repository that owns the name already is given out again,
    /// with what was changed in it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn open_workspace(&self, name: &str) -> Result<Arc<Workspace>> {
        for _ in 0..ATTEMPTS {
            let workspace = self.view_workspace(name)?;
            let mut content = workspace.content.lock();
            let taken = workspace.check_lease(&mut content);
            drop(content);
            match taken {
                Ok(()) => return Ok(workspace),
                // Somebody took it between the two looks.
                Err(error) if error.kind() == ErrorKind::LeaseLost => {}
                Err(error) => return Err(error),
            }
        }
        Err(lease_lost(name))
    }

    /// As [`Repository::open_workspace`], to read: the lease stays where it is, until something is written through the handle.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn view_workspace(&self, name: &str) -> Result<Arc<Workspace>> {
        self.engine.open()?;
        let leases = &self.engine.leases;
        loop {
            let Some(value) = self.engine.store().refs().get(&workspace_key(name))? else {
                return Err(no_such(name));
            };
            let known = leases.handle(name);
            if let Some(known) = &known {
                if known.is_handle_for(&value)? {
                    return Ok(known.clone());
                }
                // The value may be from before what the handle has just done: another thread took the lease through it.
                if self.engine.store().refs().get(&workspace_key(name))?.as_ref() != Some(&value) {
                    continue;
                }
            }
            let shared: Arc<str> = Arc::from(name);
            let content = Content::of_record(&self.engine, name, value.to_vec())?;
            let workspace = Workspace::new(self.engine.clone(), content, Some(shared.clone()));
            // Two threads that look for one name get one handle.
            if leases.register(&shared, &workspace.weak, known.as_ref()) {
                return Ok(workspace);
            }
        }
    }
}

fn no_such(name: &str) -> Error {
    Error::not_found(format!(
        "workspace {name:?} does not exist; `pyi workspaces` lists them, fork(name) makes one"
    ))
}

fn lease_lost(name: &str) -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        format!(
            "workspace {name:?} was opened by somebody else, who owns it now; open_workspace({name:?}) takes it back at its last \
             checkpoint, fork() keeps what was changed here"
        ),
    )
}
