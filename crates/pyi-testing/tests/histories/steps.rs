//! What histories are made of.

use proptest::prelude::*;

/// One thing that a process does. Numbers of workspaces and checkpoints are taken modulo those that there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A workspace at a branch, or an empty one.
    Start {
        who: usize,
        branch: u8,
    },
    /// A workspace at a checkpoint.
    At {
        who: usize,
        nth: usize,
    },
    /// Takes over a named workspace.
    Open {
        who: usize,
        name: u8,
    },
    Write {
        slot: usize,
        path: usize,
        bytes: u64,
    },
    Remove {
        slot: usize,
        path: usize,
    },
    Rename {
        slot: usize,
        path: usize,
        to: usize,
    },
    Set {
        slot: usize,
        key: u8,
    },
    Unset {
        slot: usize,
        key: u8,
    },
    Event {
        slot: usize,
    },
    /// Makes the journal's tail durable.
    Tail {
        slot: usize,
    },
    Checkpoint {
        slot: usize,
        power: bool,
    },
    Fork {
        slot: usize,
    },
    ForkNamed {
        slot: usize,
        name: u8,
    },
    Restore {
        slot: usize,
        nth: usize,
    },
    MergeWorkspace {
        slot: usize,
        other: usize,
    },
    /// With a checkpoint as the base, or the common ancestor.
    MergeCheckpoint {
        slot: usize,
        nth: usize,
        base: Option<usize>,
    },
    Publish {
        slot: usize,
        branch: u8,
        wrong: bool,
    },
    Close {
        slot: usize,
    },
    DropName {
        who: usize,
        name: u8,
    },
    DeleteBranch {
        who: usize,
        branch: u8,
    },
    Keep {
        who: usize,
        nth: usize,
    },
    Unkeep {
        who: usize,
        nth: usize,
    },
    Scrub {
        who: usize,
    },
    Flush {
        who: usize,
    },
    Reopen {
        who: usize,
    },
    Kill {
        who: usize,
    },
}

impl Op {
    /// Whose repository it needs, if that is not a workspace's.
    pub fn who(&self) -> Option<usize> {
        match self {
            Op::Start { who, .. }
            | Op::At { who, .. }
            | Op::Open { who, .. }
            | Op::DropName { who, .. }
            | Op::DeleteBranch { who, .. }
            | Op::Keep { who, .. }
            | Op::Unkeep { who, .. }
            | Op::Scrub { who }
            | Op::Flush { who }
            | Op::Reopen { who }
            | Op::Kill { who } => Some(*who),
            _ => None,
        }
    }
}

impl Op {
    /// The workspace that it is about, if it is about one.
    pub fn slot(&self) -> Option<usize> {
        match self {
            Op::Write { slot, .. }
            | Op::Remove { slot, .. }
            | Op::Rename { slot, .. }
            | Op::Set { slot, .. }
            | Op::Unset { slot, .. }
            | Op::Event { slot }
            | Op::Tail { slot }
            | Op::Checkpoint { slot, .. }
            | Op::Fork { slot }
            | Op::ForkNamed { slot, .. }
            | Op::Restore { slot, .. }
            | Op::MergeWorkspace { slot, .. }
            | Op::MergeCheckpoint { slot, .. }
            | Op::Publish { slot, .. }
            | Op::Close { slot } => Some(*slot),
            _ => None,
        }
    }

    /// Whether it changes the workspace, which takes the ownership of its name.
    pub fn changes(&self) -> bool {
        self.slot().is_some() && !matches!(self, Op::Fork { .. } | Op::ForkNamed { .. } | Op::Close { .. })
    }
}

/// A collection, with what others do before each of its phases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collection {
    pub who: usize,
    pub compact: bool,
    pub plan: Vec<Vec<Op>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    Op(Op),
    Collect(Collection),
}

/// How a process ends in the middle of its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Death {
    /// In which call of the work to the file system.
    pub call: u64,
    /// In the middle of a write, or behind the call.
    pub half: bool,
    /// The power goes: what becomes of what was not flushed.
    pub power: Option<u64>,
}

/// A step of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub work: Work,
    pub death: Option<Death>,
}

fn op() -> impl Strategy<Value = Op> {
    let (who, slot, nth, path, name) = (0..2usize, 0..8usize, 0..64usize, 0..6usize, 0..3u8);
    let bytes = prop_oneof![4 => 0..60u64, 2 => 60..500u64, 1 => 500..2_500u64];
    prop_oneof![
        3 => (who.clone(), 0..2u8).prop_map(|(who, branch)| Op::Start { who, branch }),
        3 => (who.clone(), nth.clone()).prop_map(|(who, nth)| Op::At { who, nth }),
        4 => (who.clone(), name.clone()).prop_map(|(who, name)| Op::Open { who, name }),
        16 => (slot.clone(), path.clone(), bytes).prop_map(|(slot, path, bytes)| Op::Write { slot, path, bytes }),
        2 => (slot.clone(), path.clone()).prop_map(|(slot, path)| Op::Remove { slot, path }),
        2 => (slot.clone(), path.clone(), path).prop_map(|(slot, path, to)| Op::Rename { slot, path, to }),
        3 => (slot.clone(), 0..3u8).prop_map(|(slot, key)| Op::Set { slot, key }),
        1 => (slot.clone(), 0..3u8).prop_map(|(slot, key)| Op::Unset { slot, key }),
        2 => slot.clone().prop_map(|slot| Op::Event { slot }),
        2 => slot.clone().prop_map(|slot| Op::Tail { slot }),
        16 => (slot.clone(), any::<bool>()).prop_map(|(slot, power)| Op::Checkpoint { slot, power }),
        4 => slot.clone().prop_map(|slot| Op::Fork { slot }),
        4 => (slot.clone(), name.clone()).prop_map(|(slot, name)| Op::ForkNamed { slot, name }),
        4 => (slot.clone(), nth.clone()).prop_map(|(slot, nth)| Op::Restore { slot, nth }),
        4 => (slot.clone(), slot.clone()).prop_map(|(slot, other)| Op::MergeWorkspace { slot, other }),
        4 => (slot.clone(), nth.clone(), proptest::option::of(nth.clone()))
            .prop_map(|(slot, nth, base)| Op::MergeCheckpoint { slot, nth, base }),
        6 => (slot.clone(), 0..2u8, proptest::bool::weighted(0.2))
            .prop_map(|(slot, branch, wrong)| Op::Publish { slot, branch, wrong }),
        3 => slot.prop_map(|slot| Op::Close { slot }),
        2 => (who.clone(), name).prop_map(|(who, name)| Op::DropName { who, name }),
        1 => (who.clone(), 0..2u8).prop_map(|(who, branch)| Op::DeleteBranch { who, branch }),
        2 => (who.clone(), nth.clone()).prop_map(|(who, nth)| Op::Keep { who, nth }),
        1 => (who.clone(), nth).prop_map(|(who, nth)| Op::Unkeep { who, nth }),
        1 => who.clone().prop_map(|who| Op::Scrub { who }),
        2 => who.clone().prop_map(|who| Op::Flush { who }),
        2 => who.clone().prop_map(|who| Op::Reopen { who }),
        1 => who.prop_map(|who| Op::Kill { who }),
    ]
}

fn collection() -> impl Strategy<Value = Collection> {
    let plan = proptest::collection::vec(proptest::collection::vec(op(), 0..3), 0..6);
    (0..2usize, proptest::bool::weighted(0.25), plan).prop_map(|(who, compact, plan)| Collection { who, compact, plan })
}

/// Histories of up to so many steps.
pub fn histories(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let work = prop_oneof![
        12 => op().prop_map(Work::Op),
        1 => collection().prop_map(Work::Collect),
    ];
    let death = (0..40u64, any::<bool>(), proptest::option::of(any::<u64>())).prop_map(|(call, half, power)| Death {
        call,
        half,
        power,
    });
    let step = (work, proptest::option::weighted(0.05, death)).prop_map(|(work, death)| Step { work, death });
    proptest::collection::vec(step, most / 6..=most)
}
