//! Running a history on two processes and on the model at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pyi_engine::{Bytes, Fate, GcOptions, Id, Keep, Repository, RepositoryOptions, Superposition, Value};
use pyi_engine::{Version, Workspace};
use tempfile::TempDir;

use super::model::{Candidate, Deadline, Model, Sup};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default, Debug)]
pub(super) struct Counts {
    pub(super) operations: u64,
    pub(super) collapsed: u64,
    pub(super) refused: u64,
    pub(super) crashes: u64,
    pub(super) races: u64,
    store: Option<(TempDir, u64)>,
}

pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

fn open(store: &Path) -> Repository {
    let options = RepositoryOptions {
        store: Some(store.join("store")),
        cache_bytes: 1 << 20,
        trees_bytes: Some(1 << 19),
        ..RepositoryOptions::default()
    };
    Repository::open(store, &options).unwrap()
}

/// A process: a repository, and what it holds on to.
pub(super) struct Process {
    pub(super) repository: Repository,
    handles: BTreeMap<usize, Arc<Superposition>>,
    workspaces: Vec<Arc<Workspace>>,
}

impl Process {
    fn start(store: &Path) -> Self {
        Process {
            repository: open(store),
            handles: BTreeMap::new(),
            workspaces: Vec::new(),
        }
    }
}

pub(super) struct World {
    pub(super) store: PathBuf,
    /// Tells names of one history from those of another in the same store.
    pub(super) tag: String,
    pub(super) processes: Vec<Process>,
    pub(super) names: Vec<String>,
    pub(super) model: Model,
    pub(super) rng: Rng,
    pub(super) written: u64,
    pub(super) trace: Vec<String>,
}

pub(super) fn history(seed: u64, counts: &mut Counts) {
    // A store serves some histories, one after the other.
    let (dir, used) = counts.store.take().filter(|(_, used)| *used < 25).unwrap_or_else(|| {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        (dir.unwrap(), 0)
    });
    let store = dir.path().to_owned();
    counts.store = Some((dir, used + 1));
    let mut world = World {
        processes: vec![Process::start(&store), Process::start(&store)],
        store,
        tag: format!("h{seed}-"),
        names: Vec::new(),
        model: Model::default(),
        rng: Rng(seed),
        written: 0,
        trace: Vec::new(),
    };
    let base = world.base();
    let steps = 4 + world.rng.below(20);
    for _ in 0..steps {
        counts.operations += 1;
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step(base, counts)));
        if told.is_err() {
            eprintln!("seed {seed}:\n  {}", world.trace.join("\n  "));
            panic!("seed {seed} failed; PYI_HISTORIES=1 PYI_SEED={seed} runs it alone");
        }
    }
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.crash(1);
        world.check(1);
        world.finish();
    }));
    if told.is_err() {
        eprintln!("seed {seed}:\n  {}", world.trace.join("\n  "));
        panic!("seed {seed} failed at its end; PYI_HISTORIES=1 PYI_SEED={seed} runs it alone");
    }
}

impl World {
    fn base(&mut self) -> Id {
        let workspace = self.processes[0].repository.workspace("main").unwrap();
        workspace.write(b"v", Bytes::from_static(b"base"), None).unwrap();
        *workspace.checkpoint("base", Value::Null).unwrap().id()
    }

    /// Something that was never written.
    fn text(&mut self) -> String {
        self.written += 1;
        format!("{}{}", self.tag, self.written)
    }

    pub(super) fn branch(&mut self) -> String {
        format!("{}b{}", self.tag, self.rng.below(4))
    }

    fn step(&mut self, base: Id, counts: &mut Counts) {
        let process = self.rng.below(2);
        let sup = self.rng.below(self.model.sups.len());
        if self.model.sups.is_empty() || self.rng.one_in(8) {
            return self.superpose(process, base);
        }
        match self.rng.below(20) {
            0..=2 => self.write(sup, true),
            3 => self.write(sup, false),
            4 => self.change(process, sup, "add"),
            5 | 6 => self.change(process, sup, "weigh"),
            7 => self.change(process, sup, "renew"),
            8 => self.change(process, sup, "expire"),
            9 => self.change(process, sup, "reject"),
            10 => self.prune(process, sup),
            11 | 12 => self.entangle(process, sup),
            13 => self.nest(sup),
            14 => self.collapse_inner(sup, counts),
            15 => self.drop(process, sup),
            16 => self.race(sup, counts),
            17 => {
                counts.crashes += 1;
                self.crash(process);
                self.check(process);
            }
            _ => self.collapse(process, sup, counts),
        }
        if self.rng.one_in(6) {
            self.check(process);
        }
    }

    /// A handle, in the one process that has it if there is no name; `None` if it can not be had, and should not.
    pub(super) fn handle(&mut self, process: usize, sup: usize) -> Option<Arc<Superposition>> {
        let process = if self.model.sups[sup].is_named { process } else { 0 };
        if let Some(known) = self.processes[process].handles.get(&sup) {
            return Some(known.clone());
        }
        if !self.model.sups[sup].is_named || !self.is_latest(sup) {
            return None;
        }
        let opened = self.processes[process].repository.superposition(&self.names[sup]);
        assert_eq!(opened.is_ok(), self.model.sups[sup].is_living(), "{:?}", opened.err());
        let opened = opened.ok()?;
        self.processes[process].handles.insert(sup, opened.clone());
        Some(opened)
    }

    /// Whether no other superposition has had the name since.
    pub(super) fn is_latest(&self, sup: usize) -> bool {
        !self.names[sup + 1..].contains(&self.names[sup])
    }

    fn made(&mut self, process: usize, handle: Arc<Superposition>, sup: Sup, name: String) {
        self.names.push(name);
        self.processes[process].handles.insert(self.model.sups.len(), handle);
        self.model.sups.push(sup);
    }

    fn superpose(&mut self, process: usize, base: Id) {
        let is_named = !self.rng.one_in(3);
        let mut name = format!("{}s{}", self.tag, self.model.sups.len());
        let dead = (0..self.model.sups.len())
            .find(|at| self.model.sups[*at].is_named && !self.model.sups[*at].is_living() && self.is_latest(*at));
        if let Some(dead) = dead.filter(|_| is_named && self.rng.one_in(2)) {
            name.clone_from(&self.names[dead]);
            let knows = |sup: &Sup| sup.outer.is_some() || !sup.links.is_empty();
            let gone = if knows(&self.model.sups[dead]) || !self.model.inner(dead, |_| true).is_empty() {
                self.model.below(vec![dead])
            } else {
                BTreeSet::from([dead])
            };
            if self.model.sups[dead].is_there() {
                self.model.let_go(&gone);
            }
            self.model.sups[dead].is_gone = true;
        }
        let source = Version::Id(base);
        self.superpose_from(process, &source, base, "base".to_owned(), is_named, name, None);
    }

    #[allow(clippy::too_many_arguments)]
    fn superpose_from(
        &mut self,
        process: usize,
        source: &Version,
        base: Id,
        content: String,
        is_named: bool,
        name: String,
        outer: Option<(usize, usize)>,
    ) {
        let process = if is_named { process } else { 0 };
        let count = if self.rng.one_in(40) { 70 } else { 1 + self.rng.below(4) };
        let ttl = [None, Some(HOUR), Some(Duration::ZERO)][if self.rng.one_in(12) { 2 } else { self.rng.below(2) }];
        let weights: Vec<f64> = (0..count).map(|_| self.rng.below(5) as f64).collect();
        self.trace.push(format!(
            "superpose {name} {is_named} {count} ttl {ttl:?} outer {outer:?} in {process}"
        ));
        let named = is_named.then_some(name.as_str());
        let repository = &self.processes[process].repository;
        let made = repository
            .superpose(source, count, Some(weights.clone()), ttl, named)
            .unwrap();
        let deadline = match ttl {
            None => Deadline::Never,
            Some(Duration::ZERO) => Deadline::Past,
            Some(_) => Deadline::Later,
        };
        let candidate = |(index, weight): (usize, &f64)| Candidate {
            name: format!("{name}/{index}"),
            weight: *weight,
            deadline,
            recorded: Fate::Living,
            head: base,
            content: content.clone(),
            dirty: None,
        };
        let sup = Sup {
            is_named,
            base,
            renewed: deadline,
            candidates: weights.iter().enumerate().map(candidate).collect(),
            links: BTreeMap::new(),
            outer,
            onto: None,
            is_collapsed: false,
            is_gone: false,
        };
        self.made(process, made, sup, name);
    }

    /// The process that writes to a candidate.
    pub(super) fn writer(&self, sup: usize, index: usize) -> usize {
        if self.model.sups[sup].is_named { index % 2 } else { 0 }
    }

    pub(super) fn workspace(&mut self, sup: usize, index: usize) -> Arc<Workspace> {
        let writer = self.writer(sup, index);
        if !self.model.sups[sup].is_named {
            return self.processes[0].handles[&sup].candidates().unwrap()[index].clone();
        }
        let name = &self.model.sups[sup].candidates[index].name;
        let process = &mut self.processes[writer];
        let workspace = process.repository.open_workspace(name).unwrap();
        process.workspaces.push(workspace.clone());
        workspace
    }

    pub(super) fn some_candidate(&mut self, sup: usize) -> usize {
        self.rng.below(self.model.sups[sup].candidates.len())
    }

    fn write(&mut self, sup: usize, is_saved: bool) {
        let index = self.some_candidate(sup);
        let this = &self.model.sups[sup];
        if !this.is_there() || !this.candidates[index].has_name() {
            return;
        }
        let text = self.text();
        self.trace
            .push(format!("write {}/{index} {text} saved {is_saved}", self.names[sup]));
        let workspace = self.workspace(sup, index);
        workspace.write(b"v", Bytes::from(text.clone()), None).unwrap();
        let candidate = &mut self.model.sups[sup].candidates[index];
        candidate.dirty = Some(text.clone());
        if is_saved {
            candidate.head = *workspace.checkpoint("step", Value::Null).unwrap().id();
            (candidate.content, candidate.dirty) = (text, None);
        }
    }

    fn change(&mut self, process: usize, sup: usize, verb: &str) {
        let index = self.rng.below(self.model.sups[sup].candidates.len() + 1);
        let Some(handle) = self.handle(process, sup) else {
            return;
        };
        self.trace
            .push(format!("{verb} {}/{index} in {process}", self.names[sup]));
        let (base, sup_now) = (self.model.sups[sup].base, self.model.sups[sup].clone());
        let is_living = sup_now.is_living();
        let may = is_living && sup_now.choosable(index);
        let weight = self.rng.below(9) as f64;
        let (result, may) = match verb {
            "weigh" => (handle.weigh(index, weight), may),
            "renew" => (
                handle.renew(Some(index), None),
                may && sup_now.renewed != Deadline::Never,
            ),
            "expire" => (handle.renew(Some(index), Some(Duration::ZERO)), may),
            "reject" => (handle.reject(index), may),
            _ => {
                let process = if sup_now.is_named { process } else { 0 };
                let repository = &self.processes[process].repository;
                let source = repository.workspace_at(base).unwrap();
                let name = format!("{}x{}", self.tag, self.written);
                self.written += 1;
                let fork = if sup_now.is_named {
                    source.fork_named(&name)
                } else {
                    source.fork()
                };
                let fork = fork.unwrap();
                let added = handle.add(fork.clone(), weight);
                if added.is_err() && sup_now.is_named {
                    repository.drop_name(&name).unwrap();
                }
                self.processes[process].workspaces.push(fork);
                if let Ok(index) = &added {
                    assert_eq!(*index, sup_now.candidates.len());
                    let content = self.base_content(sup);
                    self.model.sups[sup].candidates.push(Candidate {
                        name,
                        weight,
                        deadline: sup_now.renewed,
                        recorded: Fate::Living,
                        head: base,
                        content,
                        dirty: None,
                    });
                }
                let is_twice = handle.candidates().unwrap().last().cloned();
                if let Some(last) = is_twice.filter(|_| added.is_ok()) {
                    assert!(handle.add(last, 1.0).is_err(), "a workspace is a candidate once");
                }
                (added.map(drop), is_living)
            }
        };
        assert_eq!(result.is_ok(), may, "{verb}: {:?}", result.err());
        if !may {
            return;
        }
        let sup = &mut self.model.sups[sup];
        match verb {
            "weigh" => {
                sup.candidates[index].weight = weight;
                return;
            }
            "renew" => sup.candidates[index].deadline = sup.renewed,
            "expire" => sup.candidates[index].deadline = Deadline::Past,
            "reject" => sup.candidates[index].recorded = Fate::Failed,
            _ => {}
        }
        // Those that decayed before go with it; the one that comes or expires now does not.
        let kept = sup.candidates.get(index).map(|one| one.recorded);
        let added = sup.candidates[sup_now.candidates.len()..].to_vec();
        sup.candidates.truncate(sup_now.candidates.len());
        sup.sweep();
        sup.candidates.extend(added);
        if let (Some(kept), true) = (kept, verb == "expire" || verb == "renew") {
            sup.candidates[index].recorded = kept;
        }
    }

    fn base_content(&self, sup: usize) -> String {
        let repository = &self.processes[0].repository;
        let workspace = repository.workspace_at(self.model.sups[sup].base).unwrap();
        String::from_utf8(workspace.read(b"v").unwrap().to_vec()).unwrap()
    }

    fn prune(&mut self, process: usize, sup: usize) {
        let Some(handle) = self.handle(process, sup) else {
            return;
        };
        let keep = 1 + self.rng.below(3);
        self.trace
            .push(format!("prune {} to {keep} in {process}", self.names[sup]));
        let this = &self.model.sups[sup];
        let mut heaviest: Vec<usize> = (0..this.candidates.len())
            .filter(|index| this.choosable(*index))
            .collect();
        heaviest.sort_by(|a, b| {
            this.candidates[*b]
                .weight
                .total_cmp(&this.candidates[*a].weight)
                .then(a.cmp(b))
        });
        let stay: BTreeSet<usize> = heaviest.into_iter().take(keep).collect();
        let gone: Vec<usize> = (0..this.candidates.len())
            .filter(|index| !stay.contains(index) && this.candidates[*index].has_name())
            .collect();
        let below = self.model.below(self.model.inner(sup, |index| gone.contains(&index)));
        let may = this.is_living() && (gone.is_empty() || self.model.may_go(&below, &BTreeSet::new()));
        let result = handle.prune(Keep::Count(keep));
        assert_eq!(
            result.as_ref().ok(),
            may.then_some(&gone),
            "{:?}",
            result.as_ref().err()
        );
        if may {
            for index in gone {
                self.model.sups[sup].candidates[index].recorded = Fate::Pruned;
            }
            self.model.let_go(&below);
        }
    }

    fn entangle(&mut self, process: usize, a: usize) {
        let b = self.rng.below(self.model.sups.len());
        let (Some(ours), Some(theirs)) = (self.handle(process, a), self.handle(process, b)) else {
            return;
        };
        let (m, n) = (self.model.sups[a].candidates.len(), self.model.sups[b].candidates.len());
        let mut pairs: Vec<(usize, usize)> = (0..m).map(|i| (i, i % n)).collect();
        let turn = self.rng.below(n);
        pairs.iter_mut().for_each(|(_, j)| *j = (*j + turn) % n);
        if !self.rng.one_in(5) {
            pairs.truncate(n);
        }
        let onto = self.rng.one_in(2).then(|| self.branch());
        let map: BTreeMap<usize, usize> = pairs.iter().copied().collect();
        self.trace.push(format!(
            "entangle {} {} {map:?} onto {onto:?} in {process}",
            self.names[a], self.names[b]
        ));
        let may = self.model.entangle(a, b, &map);
        let result = ours.entangle(&theirs, Some(&pairs), onto.as_deref());
        assert_eq!(result.is_ok(), may.is_some(), "{:?}", result.err());
        let Some(pairs) = may else { return };
        if onto.is_some() {
            self.model.sups[b].onto = onto;
        }
        if !pairs.is_empty() {
            self.model.sups[b]
                .links
                .insert(a, pairs.iter().map(|(i, j)| (*j, *i)).collect());
            self.model.sups[a].links.insert(b, pairs);
        }
    }

    fn nest(&mut self, sup: usize) {
        let index = self.some_candidate(sup);
        let this = &self.model.sups[sup];
        let candidate = this.candidates[index].clone();
        // Of one that is there by name only, as its time is over, nothing is forked here.
        if !this.is_living() || candidate.fate() != Fate::Living || candidate.dirty.is_some() {
            return;
        }
        let (is_named, name) = (this.is_named, format!("{}s{}", self.tag, self.model.sups.len()));
        let from = self.workspace(sup, index);
        let outer = Some((sup, index));
        let writer = self.writer(sup, index);
        let source = Version::Workspace(from);
        self.superpose_from(
            writer,
            &source,
            candidate.head,
            candidate.content,
            is_named,
            name,
            outer,
        );
    }

    fn drop(&mut self, process: usize, sup: usize) {
        let this = &self.model.sups[sup];
        if !this.is_named || !this.is_there() {
            return;
        }
        let repository = &self.processes[process].repository;
        let index = self.rng.below(this.candidates.len());
        if self.rng.one_in(2) && this.candidates[index].has_name() {
            self.trace.push(format!("drop {}", this.candidates[index].name));
            repository.drop_name(&this.candidates[index].name).unwrap();
            let candidate = &mut self.model.sups[sup].candidates[index];
            (candidate.recorded, candidate.dirty) = (Fate::Dropped, None);
        } else {
            self.trace.push(format!("drop {}", self.names[sup]));
            repository.drop_name(&self.names[sup]).unwrap();
            let gone = self.model.below(vec![sup]);
            self.model.let_go(&gone);
        }
    }

    /// A process ends without a word, and another one comes.
    fn crash(&mut self, process: usize) {
        self.trace.push(format!("crash {process}"));
        // What has no name dies with the process that has it.
        if process == 0 {
            let local = (0..self.model.sups.len())
                .filter(|at| !self.model.sups[*at].is_named)
                .collect();
            self.model.let_go(&local);
        }
        for sup in 0..self.model.sups.len() {
            for index in 0..self.model.sups[sup].candidates.len() {
                if self.writer(sup, index) == process {
                    self.model.sups[sup].candidates[index].dirty = None;
                }
            }
        }
        self.processes[process] = Process::start(&self.store);
    }

    /// Leaves nothing behind for the next history in this store; sometimes a collection clears away what decayed.
    fn finish(&mut self) {
        let repository = self.processes[1].repository.clone();
        if self.rng.one_in(200) {
            repository.gc(&GcOptions::default()).unwrap();
            for sup in &mut self.model.sups {
                if sup.is_there() {
                    sup.sweep();
                }
            }
            self.check(1);
        }
        for at in 0..self.model.sups.len() {
            if self.model.sups[at].is_named && self.model.sups[at].is_there() {
                repository.drop_name(&self.names[at]).unwrap();
                let gone = self.model.below(vec![at]);
                self.model.let_go(&gone);
            }
        }
        self.check(1);
        for (branch, id) in std::mem::take(&mut self.model.branches) {
            repository.delete_branch(&branch, Some(id)).unwrap();
        }
    }
}
