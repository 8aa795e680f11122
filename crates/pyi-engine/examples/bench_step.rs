//! Agents that change one file of 1 KB and checkpoint, again and again: what a step takes, and how many there are a second.
//!
//! `cargo run --release -p pyi-engine --example bench_step -- <files> <agents> <threads> <steps of all> [any|own|near|hundred] [<processes>]`
//! Edits go anywhere in the tree; with `own` each agent has eight files of its own that it edits, anywhere (of 191 recorded runs of agents nine in ten
//! edited no more, half of them two); with `near` all edit the same 100 files. With `hundred` a step changes 100 files, and what hashing its objects
//! side by side and one append of as many bytes take is measured in turns with it. With more than one process the agents are shared out among
//! them, all on one store, and each has as many threads.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pyi_engine::{Bytes, Kind, Repository, RepositoryOptions, Value, Workspace};

#[path = "../../pyi-python/src/allocator.rs"]
mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn path(mut number: u64, levels: u32) -> Vec<u8> {
    let mut parts = vec![format!("file{:02}.txt", number % 20)];
    for _ in 1..levels {
        number /= 20;
        parts.push(format!("dir{:02}", number % 20));
    }
    parts.reverse();
    parts.join("/").into_bytes()
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn content(state: &mut u64) -> Bytes {
    let words: Vec<u8> = (0..128).flat_map(|_| random(state).to_le_bytes()).collect();
    Bytes::from(words)
}

/// Contents that never were before, made quickly: where they begin is random, and each has a number.
struct Pool {
    bytes: Vec<u8>,
    number: u64,
}

impl Pool {
    fn new(mut seed: u64) -> Pool {
        let bytes = (0..POOL_BYTES / 8)
            .flat_map(|_| random(&mut seed).to_le_bytes())
            .collect();
        Pool {
            bytes,
            number: seed & 0xffff_ffff_0000_0000,
        }
    }

    fn content(&mut self, seed: &mut u64) -> Bytes {
        let from = random(seed) as usize % (POOL_BYTES - 1024);
        let mut content = self.bytes[from..from + 1024].to_vec();
        self.number += 1;
        content[..8].copy_from_slice(&self.number.to_le_bytes());
        Bytes::from(content)
    }
}

const POOL_BYTES: usize = 1 << 20;
/// Files that an agent edits with `own`.
const OWN_FILES: u64 = 8;

/// One of the files that are an agent's own.
fn own_file(agent: usize, seed: &mut u64) -> u64 {
    random(&mut (agent as u64 * OWN_FILES + random(seed) % OWN_FILES))
}

#[inline(never)]
fn step(workspace: &Workspace, path: &[u8], data: Bytes) {
    workspace.write(path, data, None).unwrap();
    workspace.checkpoint("", Value::Null).unwrap();
}

#[inline(never)]
fn step_of_many(workspace: &Workspace, edits: &[(Vec<u8>, Bytes)]) {
    let files = edits.iter().map(|(path, data)| (&path[..], data.clone(), None));
    workspace.write_many(files).unwrap();
    workspace.checkpoint("", Value::Null).unwrap();
}

/// Steps of 100 changes, beside the least that their objects can cost: each level hashed in one call, and one append.
fn hundred(repository: &Repository, workspace: &Workspace, files: u64, levels: u32, steps: u64) {
    let mut log = tempfile::tempfile_in(std::env::var("PYI_BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let (mut seed, mut ours, mut floor) = (7, Vec::new(), Vec::new());
    for _ in 0..steps {
        let edits: Vec<(Vec<u8>, Bytes)> = (0..100)
            .map(|_| (path(random(&mut seed) % files, levels), content(&mut seed)))
            .collect();
        let before = repository.stats().unwrap();
        let begin = Instant::now();
        step_of_many(workspace, &edits);
        ours.push(begin.elapsed().as_nanos() as u32);
        let after = repository.stats().unwrap();
        let contents: Vec<&[u8]> = edits.iter().map(|(_, data)| &data[..]).collect();
        let stored = vec![1; (after.bytes_stored - before.bytes_stored) as usize];
        // What was hashed besides the contents: nodes of about 1.2 KB each.
        let nodes = (after.bytes_hashed - before.bytes_hashed - 102_400) as usize / 1200;
        let node = vec![2; 1200];
        let begin = Instant::now();
        std::hint::black_box(Kind::Blob.ids_of(&contents));
        std::hint::black_box(Kind::Node.ids_of(&vec![&node[..]; nodes]));
        log.write_all(&stored).unwrap();
        floor.push(begin.elapsed().as_nanos() as u32);
    }
    ours.sort_unstable();
    floor.sort_unstable();
    let middle = |times: &[u32]| f64::from(times[times.len() / 2]) / 1000.0;
    println!(
        "{files} files, 100 changes a step: p50 {:.0} us, floor {:.0} us, {:.2}x",
        middle(&ours),
        middle(&floor),
        middle(&ours) / middle(&floor)
    );
}

/// The checkpoint that the agents of a process begin with, of the store in the working directory: a process is one of several.
const BASE: &str = "PYI_BENCH_BASE";

struct Load {
    files: u64,
    levels: u32,
    agents: usize,
    threads: usize,
    steps: u64,
    mode: String,
    processes: usize,
}

impl Load {
    fn asked_for() -> Load {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let number = |at: usize, otherwise: u64| arguments.get(at).map_or(otherwise, |text| text.parse().unwrap());
        let files = number(0, 100_000);
        let mut levels = 1;
        while 20_u64.pow(levels) < files {
            levels += 1;
        }
        Load {
            files,
            levels,
            agents: number(1, 1) as usize,
            threads: number(2, 1) as usize,
            steps: number(3, 20_000),
            mode: arguments.get(4).cloned().unwrap_or_default(),
            processes: number(5, 1) as usize,
        }
    }

    /// What each step took, in nanoseconds. Seeds are counted from `first_seed`.
    fn run(&self, workspaces: &[Arc<Workspace>], first_seed: u64) -> Vec<u32> {
        let (threads, levels) = (self.threads, self.levels);
        let within = if self.mode == "near" { 100 } else { self.files };
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|thread| {
                    let next = &next;
                    scope.spawn(move || {
                        let (mut seed, mut times) = (thread as u64 + first_seed, Vec::new());
                        let mut pool = Pool::new(seed);
                        // An agent belongs to one thread at a time.
                        let mut own: Vec<usize> = (0..workspaces.len())
                            .filter(|agent| agent % threads == thread)
                            .collect();
                        if own.is_empty() {
                            own.push(thread % workspaces.len());
                        }
                        while next.fetch_add(1, Ordering::Relaxed) < self.steps {
                            let agent = own[(random(&mut seed) % own.len() as u64) as usize];
                            let workspace = &workspaces[agent];
                            let file = match &self.mode[..] {
                                "own" => own_file(agent + first_seed as usize * self.agents, &mut seed),
                                _ => random(&mut seed),
                            };
                            let (path, data) = (path(file % within, levels), pool.content(&mut seed));
                            let before = Instant::now();
                            step(workspace, &path, data);
                            times.push(before.elapsed().as_nanos() as u32);
                        }
                        times
                    })
                })
                .collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// One of several processes: says that it is ready, waits for the others, and hands over its times.
    fn run_beside_others(&self, base: &str) {
        let repository = Repository::open(".".as_ref(), &RepositoryOptions::default()).unwrap();
        let (base, first_seed) = base.split_once(' ').unwrap();
        let base = base.parse().unwrap();
        let workspaces: Vec<_> = (0..self.agents)
            .map(|_| repository.workspace_at(base).unwrap())
            .collect();
        let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
        output.write_all(b"r").unwrap();
        output.flush().unwrap();
        input.read_exact(&mut [0]).unwrap();
        for time in self.run(&workspaces, first_seed.parse().unwrap()) {
            output.write_all(&time.to_le_bytes()).unwrap();
        }
    }

    /// Lets several processes run this load, and returns what each step took.
    fn run_processes(&self, place: &std::path::Path, base: &Workspace) -> (Vec<u32>, f64) {
        let each = |whole: u64| (whole / self.processes as u64).to_string();
        let mut running: Vec<Child> = (0..self.processes)
            .map(|process| {
                let numbers = [
                    self.files.to_string(),
                    each(self.agents as u64),
                    self.threads.to_string(),
                    each(self.steps),
                ];
                Command::new(std::env::current_exe().unwrap())
                    .args(numbers)
                    .arg(&self.mode)
                    .env(BASE, format!("{} {}", base.head().id(), 100 * (process + 1)))
                    .current_dir(place)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for process in &mut running {
            process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        }
        let begin = Instant::now();
        for process in &mut running {
            process.stdin.take().unwrap().write_all(b"g").unwrap();
        }
        let mut times = Vec::new();
        for process in running {
            let output = process.wait_with_output().unwrap();
            assert!(output.status.success());
            times.extend(output.stdout.as_chunks().0.iter().map(|time| u32::from_le_bytes(*time)));
        }
        (times, begin.elapsed().as_secs_f64())
    }
}

fn main() {
    let load = Load::asked_for();
    if let Ok(base) = std::env::var(BASE) {
        return load.run_beside_others(&base);
    }
    let Load {
        files,
        levels,
        agents,
        threads,
        steps,
        processes,
        ..
    } = load;
    let place = tempfile::tempdir_in(std::env::var("PYI_BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let repository = Repository::open(place.path(), &RepositoryOptions::default()).unwrap();
    let base = repository.workspace("main").unwrap();
    let mut seed = 1;
    for from in (0..files).step_by(10_000) {
        let batch: Vec<(Vec<u8>, Bytes)> = (from..files.min(from + 10_000))
            .map(|file| (path(file, levels), content(&mut seed)))
            .collect();
        base.write_many(batch.iter().map(|(path, data)| (&path[..], data.clone(), None)))
            .unwrap();
    }
    base.checkpoint("", Value::Null).unwrap();
    if load.mode == "hundred" {
        return hundred(&repository, &base, files, levels, steps);
    }
    let stored = repository.stats().unwrap().bytes_stored;
    let (mut times, seconds) = if processes > 1 {
        load.run_processes(place.path(), &base)
    } else {
        let workspaces: Vec<Arc<Workspace>> = (0..agents).map(|_| base.fork().unwrap()).collect();
        let begin = Instant::now();
        let times = load.run(&workspaces, 100);
        (times, begin.elapsed().as_secs_f64())
    };
    let grown = repository.stats().unwrap().bytes_stored - stored;
    times.sort_unstable();
    let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]) / 1000.0;
    let beside = if processes > 1 {
        format!("{processes} processes, ")
    } else {
        String::new()
    };
    println!(
        "{files} files, {agents} agents, {beside}{threads} threads: {:.0}/s, p50 {:.1} p95 {:.1} p99 {:.1} us, {} bytes a step",
        times.len() as f64 / seconds,
        at(0.5),
        at(0.95),
        at(0.99),
        grown / times.len() as u64,
    );
}
