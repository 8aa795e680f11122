//! Real git as the oracle: what it writes we read, what we write it reads, and both say the same.
//!
//! Every test makes its own repositories in a temporary directory, with no configuration but its own. Damage tests cut
//! and flip bytes of files that git wrote and ask for a typed error or a right answer, never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod argv;
mod config;
mod damage;
mod ignore;
mod index;
mod names;
mod objects;
mod packs;
mod repo;
