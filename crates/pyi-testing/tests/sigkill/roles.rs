//! What processes there are: on which store each begins, what it does, and how it has the store open.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pyi_cas::{OpenOptions, OsFs};
use pyi_engine::Durability;
use pyi_testing::{Doom, Moment};

use super::common::{copy_dir, files};
use super::script::Step::{self, *};
use super::script::{Live, Model, World, limits, open};

const PROCESS: Durability = Durability::Process;
const POWER: Durability = Durability::Power;

/// A process that dies.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: &'static str,
    /// What made the store before.
    pub start: Start,
    pub script: Vec<Step>,
    pub durability: Durability,
    pub options: OpenOptions,
    /// Another process writes meanwhile.
    pub company: bool,
}

#[derive(Clone, Debug)]
pub enum Start {
    /// There is no store yet.
    Nothing,
    /// These steps, by a process that closed it.
    Steps(Vec<Step>),
    /// The same, then damage; an undamaged copy stands beside it.
    Damaged(Vec<Step>),
    /// A writer that died so; with `true` the system was started anew since.
    Dead(Doom, bool),
}

/// Everything that a writer does.
fn writing(class: Durability) -> Vec<Step> {
    vec![
        Fork("a"),
        Save("a", 2, 300, class),
        Publish("a"),
        Save("a", 3, 900, class),
        Journal("a"),
        Save("a", 1, 40, class),
        Fork("b"),
        Save("b", 2, 1_500, class),
        Flush,
        Publish("b"),
        Restore("a", 1),
        Save("a", 1, 500, class),
        Publish("a"),
        Keep("b"),
        Superpose("s", "a"),
        Save("s/1", 2, 200, class),
        Collapse("s", "won"),
        Save("b", 1, 7_000, POWER),
        Drop("b"),
        Reopen,
        Save("a", 2, 700, class),
        DeleteBranch("b"),
        Journal("a"),
        Save("a", 1, 100, class),
        Publish("a"),
    ]
}

/// Many versions, most of them garbage.
fn garbage() -> Vec<Step> {
    let mut steps = vec![Fork("a"), Fork("b"), Fork("parent"), Forget];
    for round in 0..4 {
        steps.extend([
            Save("a", 2, 600 + round, PROCESS),
            Save("b", 3, 400, PROCESS),
            Save("parent", 1, 300, PROCESS),
        ]);
        if round == 1 {
            steps.extend([Publish("a"), Keep("b")]);
        }
        let loose = ["l0", "l1", "l2", "l3"][round as usize];
        steps.extend([Fork(loose), Save(loose, 3, 900, PROCESS), Drop(loose)]);
    }
    steps
}

fn opening() -> Vec<Step> {
    vec![
        Fork("opener"),
        Save("opener", 2, 300, PROCESS),
        Publish("opener"),
        Save("opener", 2, 3_000, POWER),
        Reopen,
        Save("opener", 1, 100, PROCESS),
    ]
}

/// All roles. `remains` says after how many deaths of writers somebody opens the store.
pub fn roles(remains: u64) -> Vec<Role> {
    let role = |name, start, script| Role {
        name,
        start,
        script,
        durability: PROCESS,
        options: limits(),
        company: false,
    };
    let mut roles = vec![
        role("writer", Start::Nothing, writing(PROCESS)),
        Role {
            durability: POWER,
            options: OpenOptions {
                write_ahead_bytes: 16_000,
                ..limits()
            },
            ..role("writer at power", Start::Nothing, writing(POWER))
        },
        Role {
            options: OpenOptions {
                background_seal: true,
                ..limits()
            },
            ..role("writer that seals beside", Start::Nothing, writing(PROCESS))
        },
        Role {
            company: true,
            ..role(
                "collector",
                Start::Steps(garbage()),
                vec![Collect, Save("a", 1, 300, PROCESS), Collect],
            )
        },
        Role {
            company: true,
            ..role(
                "compaction",
                Start::Steps(garbage()),
                vec![Compact, Save("a", 3, 600, PROCESS), Compact],
            )
        },
        role(
            "repair",
            Start::Damaged(garbage()),
            vec![Heal, Save("a", 1, 300, PROCESS), Collect],
        ),
    ];
    for nth in 0..remains {
        let moment = Moment::ALL[nth as usize % 3];
        // Spread over all that a writer does; it writes about 60 times.
        let call = (7 + nth * 37) % if moment == Moment::Within { 60 } else { 160 };
        for (name, boot) in [("opener", false), ("opener after a start of the system", true)] {
            let doom = Doom { moment, call };
            roles.push(role(name, Start::Dead(doom, boot), opening()));
        }
    }
    roles
}

/// Makes the store that a role begins on, and says what is in it. `None`: the writer ended before its death.
pub fn prepare(role: &Role, directory: &Path, kill_writer: impl Fn(Doom, &Path) -> Option<usize>) -> Option<Model> {
    match &role.start {
        Start::Nothing => Some(Model::default()),
        Start::Steps(steps) => Some(run(steps, directory)),
        Start::Damaged(steps) => {
            let model = run(steps, directory);
            copy_dir(directory, &directory.with_extension("source"));
            damage(directory);
            Some(model)
        }
        Start::Dead(doom, boot) => {
            kill_writer(*doom, directory)?;
            // What is there is read in a copy, so that nobody but the one that is to die recovers anything.
            let copy = directory.with_extension("copy");
            copy_dir(directory, &copy);
            let repository = open(Arc::new(OsFs), &copy, &limits(), PROCESS).unwrap();
            let world = World::of(&repository).unwrap();
            drop(repository);
            fs::remove_dir_all(&copy).unwrap();
            if *boot && directory.join("boot").exists() {
                fs::write(directory.join("boot"), format!("{}\n", "ab".repeat(16))).unwrap();
            }
            Some(Model::of(world, 1_000))
        }
    }
}

fn run(steps: &[Step], directory: &Path) -> Model {
    let mut model = Model::default();
    let mut live = Live::new(Arc::new(OsFs), directory, limits(), PROCESS, 0).unwrap();
    for step in steps {
        live.run(*step).unwrap();
        model.apply(*step);
    }
    live.repository.close().unwrap();
    model
}

/// Bits flipped, a sector zeroed, a tail cut off, a header and an index spoiled, an index gone: each in another segment.
fn damage(directory: &Path) {
    let segments = files(&directory.join("segments"), "seg");
    assert!(segments.len() > 6, "{segments:?}");
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    change(&segments[0], &|bytes| bytes[200] ^= 4);
    change(&segments[0], &|bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 64;
    });
    change(&segments[1], &|bytes| bytes[512..1_024].fill(0));
    change(&segments[2], &|bytes| bytes.truncate(bytes.len() - 700));
    change(&segments[3], &|bytes| bytes[17] ^= 1);
    change(&segments[4].with_extension("idx"), &|bytes| bytes[100] ^= 1);
    fs::remove_file(segments[5].with_extension("idx")).unwrap();
}
