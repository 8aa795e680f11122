//! A simulated disk for the store, a model of what the store must hold, and generators of histories. For tests only.
//!
//! A [`Disk`] keeps what is durable apart from what is only in the page cache. Each [`Process`] on it is a
//! [`pyi_cas::Vfs`]; killing one loses its locks and nothing else, while a power loss ([`Snapshot::crash`]) loses, keeps or
//! tears any part of what was not flushed. Everything is deterministic: time and randomness come from the disk's seed.

mod content;
mod directory;
mod disk;
mod driver;
mod fate;
mod fault;
mod file;
mod history;
mod model;
mod mortal;
mod process;
mod rng;
mod state;

pub use disk::{Disk, Snapshot};
pub use driver::Driver;
pub use fate::{Fate, Subsets};
pub use fault::{Call, Fault, Killed, Operation, until_killed};
pub use history::{Step, steps};
pub use model::{Event, Expectation, Found, Model, Outcome};
pub use mortal::{Doom, Moment, MortalFs};
pub use process::Process;
pub use rng::Rng;
