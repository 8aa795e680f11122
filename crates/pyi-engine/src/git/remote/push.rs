//! The answers of receive-pack: a push moves branches, tags, or a workspace, each by compare-and-swap, or says why not in git's words.

use std::collections::HashSet;
use std::sync::Arc;

use pyi_cas::{Bytes, Guard, Id, RefOutcome, RefTransaction};
use pyi_git::Oid;
use pyi_git::pktline::{BAND_PACK, PACKET_MAX_BYTES, write_band, write_flush, write_line};
use pyi_git::refname::{RefNameOptions, check_ref_format};
use pyi_git::remote::push::{PushCommand, PushRequest};
use pyi_tree::refs::{Lease, WorkspaceRecord, branch_key, decode_branch, tag_key, workspace_key};

use super::land::{Onto, Receiver};
use super::quarantine::{Quarantine, Spool};
use super::refs::workspace_branch;
use super::{GitRemote, View};
use crate::{Error, ErrorKind, Result, paths};

/// Commands of a push, in bytes.
const COMMANDS_MAX_BYTES: usize = 16 << 20;
/// How often a workspace is moved to when only its lease changed meanwhile.
const ATTEMPTS: usize = 16;

/// How much a push may bring.
#[derive(Clone, Copy, Debug)]
pub struct PushLimits {
    /// In all.
    pub max_bytes: u64,
    /// One object, unfolded.
    pub max_object_bytes: u64,
}

impl Default for PushLimits {
    fn default() -> Self {
        PushLimits {
            max_bytes: 2 << 30,
            max_object_bytes: 1 << 30,
        }
    }
}

/// What became of one ref.
#[derive(Clone, Debug)]
pub struct MovedRef {
    /// Its full name.
    pub name: String,
    /// Where it was, as the client saw it.
    pub old: Oid,
    /// Where it was to go.
    pub new: Oid,
    /// Why it did not.
    pub refused: Option<String>,
}

/// A push under way.
pub struct Push {
    remote: GitRemote,
    limits: PushLimits,
    head: Vec<u8>,
    /// The commands are looked for when so many bytes are there: each time twice as many as before.
    look_at_bytes: usize,
    request: Option<PushRequest>,
    spool: Spool,
    moved: Vec<MovedRef>,
}

/// A ref that is to be moved, when everything for it is stored.
struct Prepared {
    transaction: RefTransaction,
    /// For a workspace: where its head was.
    head: Option<Id>,
}

impl GitRemote {
    /// Begins to receive a push.
    ///
    /// # Errors
    /// `Closed`; `InvalidArgument` if nothing can be pushed here.
    pub fn receive(&self, limits: PushLimits) -> Result<Push> {
        self.engine().open()?;
        if matches!(self.view, View::Checkpoint(_) | View::Superposition(_)) {
            return Err(Error::invalid("this address is read-only"));
        }
        Ok(Push {
            remote: self.clone(),
            limits,
            head: Vec::new(),
            look_at_bytes: 0,
            request: None,
            spool: Spool::new(&self.shared.spooled),
            moved: Vec::new(),
        })
    }
}

impl Push {
    /// Takes in what arrived. O(bytes).
    ///
    /// # Errors
    /// `InvalidArgument` for what is no push; `QuotaExceeded` above the limit; `Storage`.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        if self.request.is_none() {
            self.head.extend_from_slice(bytes);
            if self.head.len() >= self.look_at_bytes || self.head.len() > COMMANDS_MAX_BYTES {
                self.look()?;
            }
        } else {
            self.spool.write(bytes, &self.remote.engine().path)?;
        }
        if self.spool.length() > self.limits.max_bytes {
            let limit = self.limits.max_bytes;
            let message = format!("the pack is longer than {limit} bytes, which is the limit of this server");
            return Err(Error::new(ErrorKind::QuotaExceeded, message));
        }
        Ok(())
    }

    /// Reads the commands, if all of them are there.
    fn look(&mut self) -> Result<()> {
        let parsed = PushRequest::parse(&self.head, self.remote.format);
        match parsed.map_err(|error| Error::invalid(error.to_string()))? {
            Some((request, used)) => {
                let head = std::mem::take(&mut self.head);
                let rest = head.get(used..).unwrap_or_default();
                self.spool.write(rest, &self.remote.engine().path)?;
                self.request = Some(request);
            }
            None if self.head.len() > COMMANDS_MAX_BYTES => {
                return Err(Error::invalid("more commands than a push may have"));
            }
            None => self.look_at_bytes = self.head.len() * 2,
        }
        Ok(())
    }

    /// What became of each ref, after [`Push::finish`].
    #[must_use]
    pub fn moved(&self) -> &[MovedRef] {
        &self.moved
    }

    /// Everything has arrived: moves what can be moved, and returns the answer.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no push. What is wrong with the pack or the refs is said in the answer.
    pub fn finish(&mut self) -> Result<Vec<u8>> {
        if self.request.is_none() {
            self.look()?;
        }
        let Some(request) = self.request.take() else {
            return Err(Error::invalid("the push is cut short"));
        };
        if request.has_certificate {
            return Err(Error::invalid(
                "signed pushes are not accepted here: push without --signed",
            ));
        }
        // A client that has much to send asks first whether it may.
        if request.commands.is_empty() {
            return Ok(Vec::new());
        }
        let remote = self.remote.clone();
        remote.engine().open()?;
        remote.engine().git_map.refresh();
        let spool = std::mem::replace(&mut self.spool, Spool::new(&remote.shared.spooled));
        let engine = remote.engine().clone();
        let _section = engine.store().section();
        // What the remote offers has to be known for what the client built on it to be found.
        let offered = remote.offer(&|_| false).map(drop);
        let quarantine = match offered {
            Err(error) => Err(error),
            Ok(()) if request.has_pack() && spool.length() > 0 => {
                Quarantine::open(&remote, spool, self.limits.max_object_bytes)
            }
            Ok(()) => Ok(Quarantine::empty(&remote)),
        };
        let mut unpacked = "ok".to_owned();
        let refused: Vec<Option<String>> = match &quarantine {
            Ok(quarantine) => remote.move_refs(&request, quarantine),
            Err(error) => {
                unpacked = one_line(error);
                request
                    .commands
                    .iter()
                    .map(|_| Some("unpacker error".to_owned()))
                    .collect()
            }
        };
        for (command, refused) in request.commands.iter().zip(refused) {
            self.moved.push(MovedRef {
                name: String::from_utf8_lossy(&command.name).into_owned(),
                old: command.old,
                new: command.new,
                refused,
            });
        }
        Ok(self.report(&request, &unpacked))
    }

    fn report(&self, request: &PushRequest, unpacked: &str) -> Vec<u8> {
        if !request.report {
            return Vec::new();
        }
        let mut report = Vec::new();
        write_line(&format!("unpack {unpacked}"), &mut report);
        for moved in &self.moved {
            match &moved.refused {
                None => write_line(&format!("ok {}", moved.name), &mut report),
                Some(why) => write_line(&format!("ng {} {why}", moved.name), &mut report),
            }
        }
        write_flush(&mut report);
        if !request.side_band {
            return report;
        }
        let mut out = Vec::new();
        write_band(BAND_PACK, &report, PACKET_MAX_BYTES, &mut out);
        write_flush(&mut out);
        out
    }
}

fn one_line(error: &Error) -> String {
    error.to_string().replace(['\n', '\r'], " ")
}

impl GitRemote {
    /// Moves the refs of a push; for each, why it was not moved.
    fn move_refs(&self, request: &PushRequest, quarantine: &Quarantine<'_>) -> Vec<Option<String>> {
        let mut refused: Vec<Option<String>> = Vec::with_capacity(request.commands.len());
        let mut together = RefTransaction {
            message: "push".to_owned(),
            ..RefTransaction::default()
        };
        let (mut names, mut repeated) = (HashSet::new(), HashSet::new());
        for command in &request.commands {
            if !names.insert(&command.name) {
                repeated.insert(&command.name);
            }
        }
        for command in &request.commands {
            let done = if repeated.contains(&command.name) {
                let name = String::from_utf8_lossy(&command.name);
                Err(Error::conflict(format!(
                    "multiple updates for ref '{name}' not allowed"
                )))
            } else if request.atomic {
                self.prepare(command, quarantine).map(|prepared| {
                    together.guards.extend(prepared.transaction.guards);
                    together.puts.extend(prepared.transaction.puts);
                    together.dependencies.extend(prepared.transaction.dependencies);
                    together.epoch = together.epoch.max(prepared.transaction.epoch);
                })
            } else {
                self.move_ref(command, quarantine)
            };
            refused.push(done.err().map(|error| one_line(&error)));
        }
        if request.atomic {
            let failed = refused.iter().any(Option::is_some);
            let why = match failed {
                true => Some("atomic transaction failed".to_owned()),
                false => self.apply(&together).err().map(|error| one_line(&error)),
            };
            for one in refused.iter_mut().filter(|one| one.is_none()) {
                one.clone_from(&why);
            }
        }
        refused
    }

    fn move_ref(&self, command: &PushCommand, quarantine: &Quarantine<'_>) -> Result<()> {
        let mut prepared = self.prepare(command, quarantine)?;
        for _ in 0..ATTEMPTS {
            let Err(error) = self.apply(&prepared.transaction) else {
                return Ok(());
            };
            // Somebody opened the workspace, or flushed its journal: the head is where it was.
            let (Some(head), View::Workspace(name)) = (prepared.head, &self.view) else {
                return Err(error);
            };
            let value = self.engine().store().refs().get(&workspace_key(name))?;
            let Some(value) = value.filter(|_| error.kind() == ErrorKind::Conflict) else {
                return Err(error);
            };
            if WorkspaceRecord::decode(&value)?.head != head {
                return Err(error);
            }
            prepared = self.prepare(command, quarantine)?;
        }
        Err(Error::conflict("failed to update ref"))
    }

    fn apply(&self, transaction: &RefTransaction) -> Result<()> {
        if transaction.puts.is_empty() {
            return Ok(());
        }
        match self.engine().commit_refs(transaction)? {
            RefOutcome::Done => Ok(()),
            RefOutcome::Conflict { .. } => Err(Error::conflict("failed to update ref")),
        }
    }

    /// Checks a command and stores what it needs.
    fn prepare(&self, command: &PushCommand, quarantine: &Quarantine<'_>) -> Result<Prepared> {
        let name = std::str::from_utf8(&command.name).ok();
        let name = name.filter(|name| check_ref_format(name.as_bytes(), RefNameOptions::default()).is_ok());
        let name = name.ok_or_else(|| Error::invalid("funny refname"))?;
        let (branch, tag) = (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/"));
        match (&self.view, branch, tag) {
            (View::Repository, Some(branch), _) => self.prepare_branch(branch, command, quarantine),
            (View::Repository, _, Some(tag)) => self.prepare_tag(tag, command, quarantine),
            (View::Workspace(workspace), ..) => self.prepare_workspace(workspace, name, command, quarantine),
            (View::Repository, ..) => Err(Error::invalid("only branches and tags can be pushed here")),
            _ => Err(Error::invalid("this address is read-only")),
        }
    }

    fn prepare_branch(&self, branch: &str, command: &PushCommand, quarantine: &Quarantine<'_>) -> Result<Prepared> {
        paths::check_name("branch", branch).map_err(|_| Error::invalid("funny refname"))?;
        let key = branch_key(branch);
        let value = self.engine().store().refs().get(&key)?;
        let head = value.as_deref().map(decode_branch).transpose()?;
        let now = head.map(|id| self.chain(&id)).transpose()?.flatten();
        check_old(command, now)?;
        let guard = value.map_or(Guard::Absent, |value| Guard::Equals(value.to_vec()));
        let mut transaction = RefTransaction {
            guards: vec![(key.clone(), guard)],
            message: format!("push {branch}"),
            ..RefTransaction::default()
        };
        if command.new.is_null() {
            if head.is_none() {
                return Ok(Prepared {
                    transaction,
                    head: None,
                });
            }
            if self.head_branch()?.as_deref() == Some(branch) {
                return Err(Error::invalid("deletion of the current branch prohibited"));
            }
            transaction.puts.push((key, None));
        } else {
            let landed = self.land(&command.new, quarantine, None)?;
            transaction.puts.push((key, Some(landed.checkpoint.0.to_vec())));
            transaction.dependencies.extend(landed.place);
        }
        Ok(Prepared {
            transaction,
            head: None,
        })
    }

    fn head_branch(&self) -> Result<Option<String>> {
        let branches = self.engine().store().refs().scan(b"b/")?;
        let main = branches.iter().find(|(key, _)| key == b"b/main").or(branches.first());
        main.map(|(key, _)| crate::repository::name_of(key)).transpose()
    }

    fn prepare_tag(&self, tag: &str, command: &PushCommand, quarantine: &Quarantine<'_>) -> Result<Prepared> {
        let key = tag_key(tag);
        let value = self.engine().store().refs().get(&key)?;
        let full = format!("refs/tags/{tag}");
        let offer = self.offer(&|name| b"refs/tags/".starts_with(name) || name.starts_with(b"refs/tags/"))?;
        check_old(command, offer.find(full.as_bytes()).map(|found| found.oid))?;
        let guard = value
            .as_ref()
            .map_or(Guard::Absent, |value| Guard::Equals(value.to_vec()));
        let mut transaction = RefTransaction {
            guards: vec![(key.clone(), guard)],
            message: format!("push tag {tag}"),
            ..RefTransaction::default()
        };
        if command.new.is_null() {
            if value.is_none() {
                return Err(Error::invalid(
                    "the tag is one of the repository that was imported; delete it there",
                ));
            }
            transaction.puts.push((key, None));
        } else {
            let pushed = self.land_tag(command, quarantine)?;
            transaction.puts.push((key, Some(pushed.value)));
            transaction.dependencies.extend(pushed.place);
        }
        Ok(Prepared {
            transaction,
            head: None,
        })
    }

    fn prepare_workspace(
        &self,
        workspace: &str,
        name: &str,
        command: &PushCommand,
        quarantine: &Quarantine<'_>,
    ) -> Result<Prepared> {
        let engine = self.engine();
        let key = workspace_key(workspace);
        let value: Bytes = engine
            .store()
            .refs()
            .get(&key)?
            .ok_or_else(|| Error::not_found("the workspace was dropped"))?;
        let record = WorkspaceRecord::decode(&value)?;
        let branch = workspace_branch(&record);
        if name != branch {
            return Err(Error::invalid(format!("a workspace is one branch: push to {branch}")));
        }
        if command.new.is_null() {
            return Err(Error::invalid("deletion prohibited: drop the workspace instead"));
        }
        let held = engine.hold_named(&record.head)?;
        check_old(command, self.work(&held, record.origin.as_ref())?)?;
        let onto = Onto {
            head: Some(record.head),
            state: held.root.state,
            journal: record.journal.or(held.root.journal),
            workspace: Some(Arc::new(Receiver {
                held,
                origin: record.origin.clone(),
            })),
        };
        let landed = self.land(&command.new, quarantine, Some(&onto))?;
        let lease = Lease {
            owner: [0; 16],
            ..engine.leases.next(record.lease.epoch)
        };
        let moved = WorkspaceRecord {
            head: landed.checkpoint,
            journal: None,
            lease,
            origin: record.origin,
        };
        let transaction = RefTransaction {
            guards: vec![(key.clone(), Guard::Equals(value.to_vec()))],
            puts: vec![(key, Some(moved.encode()))],
            message: format!("push to {workspace}"),
            epoch: lease.epoch,
            dependencies: landed.place.into_iter().collect(),
            ..RefTransaction::default()
        };
        Ok(Prepared {
            transaction,
            head: Some(record.head),
        })
    }
}

/// The ref has to be where the client saw it.
fn check_old(command: &PushCommand, now: Option<Oid>) -> Result<()> {
    match now {
        Some(now) if now == command.old => Ok(()),
        Some(_) if command.old.is_null() => Err(Error::conflict("reference already exists")),
        Some(_) => Err(Error::conflict("incorrect old value provided")),
        None if command.old.is_null() || command.new.is_null() => Ok(()),
        None => Err(Error::conflict("reference does not exist")),
    }
}
