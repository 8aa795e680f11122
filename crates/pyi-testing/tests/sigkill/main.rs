//! SIGKILL in every call to the file system: real processes on a real disk die before a call, behind it, or in the middle of a write, whatever they
//! are at. What they acknowledged is there, what they were at is there wholly or not at all, and who opens the store goes on at once.
//!
//! `every_call` takes minutes and goes through all calls; what runs by default is a sample, whose seed is printed (`PYI_SEED` repeats it,
//! `PYI_MORTAL_CALLS` says how many deaths a role dies).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../common/files.rs"]
mod common;
mod roles;
mod script;
#[path = "../common/view.rs"]
mod view;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::copy_dir;
use pyi_cas::{Flaw, OsFs};
use pyi_engine::{Durability, Id, ScrubOptions};
use pyi_testing::{Doom, Moment, MortalFs, Operation, Rng};
use roles::{Role, prepare, roles};
use script::{Live, Model, Step, World, collect, forget, limits, open};
use view::View;

const ROLE: &str = "PYI_MORTAL";
/// Openers of every kind look at the remains of so many writers.
const REMAINS: u64 = 8;

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "say {text}").unwrap();
    out.flush().unwrap();
}

/// Not a test by itself: what the processes that die run.
#[test]
fn this_process_as_a_helper() {
    let Ok(text) = std::env::var(ROLE) else { return };
    let words: Vec<&str> = text.splitn(5, ' ').collect();
    let number = |nth: usize| words[nth].parse::<u64>().unwrap();
    let role = &roles(REMAINS)[number(0) as usize];
    let doom = Doom {
        moment: Moment::ALL[number(1) as usize],
        call: number(2),
    };
    let files = MortalFs::new(doom, |operation: Operation, path: &Path| {
        say(&format!("dies {operation:?} {}", path.display()));
    });
    files.begin();
    let mut live = Live::new(
        Arc::new(files.clone()),
        Path::new(words[4]),
        role.options.clone(),
        role.durability,
        number(3),
    )
    .unwrap();
    for step in &role.script {
        let made = live.run(*step).unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
        say(&format!("done {}", made.map_or("-".to_owned(), |id| id.to_string())));
    }
    live.repository.close().unwrap();
    say(&format!("calls {}", files.calls()));
}

fn start(nth: usize, doom: Doom, version: u64, directory: &Path) -> Child {
    let moment = Moment::ALL.iter().position(|moment| *moment == doom.moment).unwrap();
    let task = format!("{nth} {moment} {} {version} {}", doom.call, directory.display());
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "this_process_as_a_helper", "--nocapture", "--test-threads=1"])
        .env(ROLE, task)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// What is known of a process that has ended.
#[derive(Debug)]
struct End {
    /// What each acknowledged step said.
    acknowledged: Vec<Option<Id>>,
    /// In which call it died; `None`: it lived to the end.
    died: Option<String>,
    /// Calls that counted, if it lived.
    calls: u64,
}

fn await_end(child: Child) -> End {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut end = End {
        acknowledged: Vec::new(),
        died: None,
        calls: 0,
    };
    for line in text
        .lines()
        .filter_map(|line| line.split_once("say ").map(|(_, rest)| rest))
    {
        match line.split_once(' ').unwrap() {
            ("done", id) => end.acknowledged.push(id.parse().ok()),
            ("dies", call) => end.died = Some(call.to_owned()),
            ("calls", calls) => end.calls = calls.parse().unwrap(),
            _ => panic!("{line}"),
        }
    }
    let killed = output.status.signal() == Some(libc::SIGKILL);
    assert!(
        killed == end.died.is_some() && (killed || output.status.success()),
        "{:?}, {:?}\n{text}",
        output.status,
        end.died
    );
    end
}

/// What runs have counted.
#[derive(Default, Debug)]
struct Count {
    deaths: u64,
    acknowledged: u64,
    /// The step in which a process died was done all the same.
    done_anyway: u64,
    by_operation: BTreeMap<String, u64>,
    /// Faults that scrubs named behind a death, none of which anything misses.
    faults: BTreeMap<&'static str, u64>,
    collections: u64,
}

/// A role with the store that it begins on.
struct Stage<'a> {
    nth: usize,
    role: &'a Role,
    scratch: tempfile::TempDir,
    model: Model,
}

impl Stage<'_> {
    fn new(nth: usize, role: &Role) -> Option<Stage<'_>> {
        let scratch = tempfile::tempdir().unwrap();
        let model = prepare(role, &scratch.path().join("store"), |doom, directory| {
            let end = await_end(start(0, doom, 0, directory));
            end.died.map(|_| end.acknowledged.len())
        })?;
        Some(Stage {
            nth,
            role,
            scratch,
            model,
        })
    }

    /// Lets the process die so and looks at what is left; `false` if it lived.
    fn kill(&self, doom: Doom, count: &mut Count) -> Result<bool, String> {
        let scratch = tempfile::tempdir_in(self.scratch.path()).unwrap();
        let directory = scratch.path().join("store");
        for extension in ["", "source"] {
            let from = self.scratch.path().join("store").with_extension(extension);
            if from.exists() {
                copy_dir(&from, &directory.with_extension(extension));
            }
        }
        let company = self.role.company.then(|| Company::new(&directory));
        let end = {
            let child = start(self.nth, doom, self.model.version, &directory);
            match &company {
                Some(company) => company.work_beside(|| await_end(child))?,
                None => await_end(child),
            }
        };
        let Some(call) = &end.died else { return Ok(false) };
        count.deaths += 1;
        count.acknowledged += end.acknowledged.len() as u64;
        let operation = call.split_once(' ').map_or(call.as_str(), |(operation, _)| operation);
        *count.by_operation.entry(operation.to_owned()).or_default() += 1;
        self.check(&directory, &end, company, count)
            .map_err(|error| format!("{error}\nafter {} steps, in {call}", end.acknowledged.len()))?;
        Ok(true)
    }

    /// What is expected behind the acknowledged steps, and, if there is one, behind the step that was begun.
    fn expected(&self, end: &End) -> (Model, Option<Model>, Vec<(Id, View)>) {
        let mut model = self.model.clone();
        let mut saved = Vec::new();
        for (step, id) in self.role.script.iter().zip(&end.acknowledged) {
            if let (Some(view), Some(id)) = (model.apply(*step), id) {
                saved.push((*id, view));
            }
        }
        let next = self.role.script.get(end.acknowledged.len()).map(|step| {
            let mut next = model.clone();
            next.apply(*step);
            next
        });
        (model, next, saved)
    }

    fn check(&self, directory: &Path, end: &End, company: Option<Company>, count: &mut Count) -> Result<(), String> {
        let told = |error: pyi_engine::Error| format!("{:?}: {error}", error.kind());
        let (mut done, mut begun, saved) = self.expected(end);
        let forgets = self.role.company || matches!(self.role.start, roles::Start::Damaged(_));
        // Who lives goes on first: nobody waits for the dead.
        if let Some(company) = company {
            let view = company.check()?;
            for model in [Some(&mut done), begun.as_mut()].into_iter().flatten() {
                model.world.names.insert("parent".to_owned(), view.clone());
            }
        }
        let mut live = Live::new(Arc::new(OsFs), directory, limits(), Durability::Process, 2_000_000).map_err(told)?;
        if matches!(self.role.start, roles::Start::Damaged(_)) {
            live.run(Step::Heal)
                .map_err(|error| format!("repair: {}", told(error)))?;
        }
        let found = World::of(&live.repository)?;
        let mut model = match begun {
            _ if found == done.world => done,
            Some(begun) if found == begun.world => {
                count.done_anyway += 1;
                begun
            }
            begun => {
                let begun = begun.map(|model| model.world);
                return Err(format!(
                    "found {found:#?}\nacknowledged {:#?}\nbegun {begun:#?}",
                    done.world
                ));
            }
        };
        for (id, view) in saved.iter().filter(|_| !forgets) {
            let found = View::of_checkpoint(&live.repository, id)?;
            if found != *view {
                return Err(format!("checkpoint {id} is {found:?}, was {view:?}"));
            }
        }
        // It goes on, also where the dead one was.
        model.version = 2_000_000;
        for step in [
            Step::Fork("next"),
            Step::Save("next", 2, 500, Durability::Process),
            Step::Publish("next"),
            Step::Save("next", 1, 50, Durability::Power),
        ] {
            live.run(step)
                .map_err(|error| format!("afterwards, {step:?}: {}", told(error)))?;
            model.apply(step);
        }
        if model.world.names.contains_key("a") {
            let step = Step::Save("a", 1, 300, Durability::Process);
            live.run(step).map_err(told)?;
            model.apply(step);
        }
        live.repository.close().map_err(told)?;
        drop(live);
        let repository = open(Arc::new(OsFs), directory, &limits(), Durability::Process).map_err(told)?;
        let found = World::of(&repository)?;
        if found != model.world {
            return Err(format!("afterwards: found {found:#?}\nexpected {:#?}", model.world));
        }
        let scrubbed = repository.scrub(&ScrubOptions::default()).map_err(told)?;
        if !scrubbed.damaged.is_empty() || scrubbed.faults.iter().any(|fault| fault.flaw != Flaw::Garbage) {
            return Err(format!("scrub: {:?} {:?}", scrubbed.damaged, scrubbed.faults));
        }
        for fault in &scrubbed.faults {
            *count.faults.entry(fault.flaw.word()).or_default() += 1;
        }
        if count.deaths.is_multiple_of(4) {
            count.collections += 1;
            self.check_collection(&repository, &model)?;
        }
        Ok(())
    }

    /// The next collector is not hindered, and leaves what lives and little more.
    fn check_collection(&self, repository: &pyi_engine::Repository, model: &Model) -> Result<(), String> {
        let told = |error: pyi_engine::Error| format!("collection: {:?}: {error}", error.kind());
        forget(repository).map_err(told)?;
        let report = collect(repository, false).map_err(told)?;
        if report.gave_up.is_some() || report.bytes_after * 10 > report.live_bytes * 12 {
            return Err(format!("collection: {report:?}"));
        }
        let found = World::of(repository)?;
        if found == model.world {
            Ok(())
        } else {
            Err(format!(
                "after a collection: found {found:#?}\nexpected {:#?}",
                model.world
            ))
        }
    }
}

/// Another process with the store open: this one.
struct Company {
    live: parking_lot::Mutex<(Live, Model)>,
    /// A checkpoint that only this workspace keeps.
    held: Arc<pyi_engine::Workspace>,
    is_held: View,
}

impl Company {
    fn new(directory: &Path) -> Company {
        let mut live = Live::new(Arc::new(OsFs), directory, limits(), Durability::Process, 500_000).unwrap();
        live.run(Step::Save("parent", 1, 200, Durability::Process)).unwrap();
        let view = View::of(&live.repository.view_workspace("parent").unwrap()).unwrap();
        let held = live.repository.open_workspace("parent").unwrap().fork().unwrap();
        held.journal_append("7", pyi_engine::Value::Map(Vec::new())).unwrap();
        held.checkpoint("held", pyi_engine::Value::Null).unwrap();
        let mut is_held = view.clone();
        is_held.journal.push(7);
        let mut model = Model::of(World::default(), 500_001);
        model.world.names.insert("parent".to_owned(), view);
        Company {
            live: parking_lot::Mutex::new((live, model)),
            held,
            is_held,
        }
    }

    /// Writes on and on while the other one lives. The error is that of the one that lives.
    fn work_beside<T>(&self, wait: impl FnOnce() -> T) -> Result<T, String> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (live, model) = &mut *self.live.lock();
                while !over.load(Ordering::SeqCst) {
                    let step = Step::Save("parent", 2, 250, Durability::Process);
                    live.run(step).map_err(|error| format!("of the living: {error}"))?;
                    model.apply(step);
                    std::thread::sleep(Duration::from_micros(300));
                }
                Ok(())
            });
            // Also if waiting fails, or the writer would go on for ever.
            let ended = catch_unwind(AssertUnwindSafe(wait));
            over.store(true, Ordering::SeqCst);
            let written = writer.join().unwrap_or_else(|payload| resume_unwind(payload));
            let ended = ended.unwrap_or_else(|payload| resume_unwind(payload));
            written.map(|()| ended)
        })
    }

    /// What the workspace of the one that lives holds, after it went on.
    fn check(self) -> Result<View, String> {
        let (mut live, mut model) = self.live.into_inner();
        for _ in 0..2 {
            let step = Step::Save("parent", 2, 250, Durability::Process);
            live.run(step).map_err(|error| format!("of the living: {error}"))?;
            model.apply(step);
        }
        let held = View::of(&self.held).map_err(|error| format!("held: {error}"))?;
        if held != self.is_held {
            return Err(format!("held {held:?}, not {:?}", self.is_held));
        }
        let view = View::of(&live.repository.view_workspace("parent").unwrap())?;
        if view != model.world.names["parent"] {
            return Err(format!(
                "of the living: {view:?}, not {:?}",
                model.world.names["parent"]
            ));
        }
        live.repository.close().map_err(|error| error.to_string())?;
        Ok(view)
    }
}

/// Calls of a process that lives.
fn calls(stage: &Stage<'_>, moment: Moment) -> u64 {
    let scratch = tempfile::tempdir_in(stage.scratch.path()).unwrap();
    let directory = scratch.path().join("store");
    for extension in ["", "source"] {
        let from = stage.scratch.path().join("store").with_extension(extension);
        if from.exists() {
            copy_dir(&from, &directory.with_extension(extension));
        }
    }
    let doom = Doom { moment, call: u64::MAX };
    let company = stage.role.company.then(|| Company::new(&directory));
    let end = await_end(start(stage.nth, doom, stage.model.version, &directory));
    drop(company);
    assert!(end.calls > 5, "{}: {} calls", stage.role.name, end.calls);
    end.calls
}

fn kill(stage: &Stage<'_>, doom: Doom, count: &mut Count) -> bool {
    stage.kill(doom, count).unwrap_or_else(|error| {
        panic!(
            "{error}\nrole {} ({}): {:?}, {doom:?}",
            stage.nth, stage.role.name, stage.role.start
        )
    })
}

/// Deaths of the roles of that name, at calls that chance chooses.
fn sample(name: &str) {
    let seed = std::env::var("PYI_SEED").map_or_else(|_| pyi_cas::Vfs::now_ns(&OsFs), |seed| seed.parse().unwrap());
    let deaths: u64 = std::env::var("PYI_MORTAL_CALLS").map_or(30, |calls| calls.parse().unwrap());
    println!("PYI_SEED={seed}");
    let mut rng = Rng::new(seed);
    let all = roles(REMAINS);
    let named: Vec<usize> = (0..all.len()).filter(|nth| all[*nth].name.starts_with(name)).collect();
    let mut count = Count::default();
    while count.deaths < deaths {
        let nth = named[rng.below(named.len() as u64) as usize];
        let Some(stage) = Stage::new(nth, &all[nth]) else {
            continue;
        };
        let moment = Moment::ALL[rng.below(4) as usize];
        let calls = calls(&stage, moment);
        for _ in 0..8.min(deaths) {
            let call = rng.below(calls);
            kill(&stage, Doom { moment, call }, &mut count);
        }
    }
    println!("{name}: {count:?}");
}

#[test]
fn some_deaths_of_writers() {
    sample("writer");
}

#[test]
fn some_deaths_of_openers() {
    sample("opener");
}

#[test]
fn some_deaths_of_collectors() {
    sample("collector");
}

#[test]
fn some_deaths_in_a_compaction() {
    sample("compaction");
}

#[test]
fn some_deaths_in_a_repair() {
    sample("repair");
}

/// Every call of every role, in every way. `PYI_MORTAL_ROLE` chooses one, by its name.
#[test]
#[ignore = "soak: minutes"]
fn every_call() {
    let chosen = std::env::var("PYI_MORTAL_ROLE").ok();
    let (mut deaths, mut acknowledged) = (0, 0);
    for (nth, role) in roles(REMAINS).iter().enumerate() {
        if chosen.as_ref().is_some_and(|chosen| chosen != role.name) {
            continue;
        }
        let Some(stage) = Stage::new(nth, role) else {
            println!("{nth} {}: {:?} lived", role.name, role.start);
            continue;
        };
        for moment in Moment::ALL {
            let mut count = Count::default();
            for call in 0.. {
                if !kill(&stage, Doom { moment, call }, &mut count) {
                    break;
                }
            }
            println!("{nth} {}, {moment:?}: {count:?}", role.name);
            std::io::stdout().flush().unwrap();
            deaths += count.deaths;
            acknowledged += count.acknowledged;
        }
    }
    println!("{deaths} deaths, {acknowledged} acknowledged steps, 0 lost, 0 half-applied");
    assert!(deaths > 0);
}
