//! Git's formats and language: objects, packs, index, ignore rules. No IO.
//!
//! Everything here works on byte slices the caller has read or mapped, and gives byte vectors back; nothing opens a
//! file, reads an environment variable or starts a process. That is what lets one implementation serve a `.git`
//! directory and a virtual workspace alike, and what makes every parser a function that a fuzzer can call.
//!
//! | module | noun | git's description of it |
//! |---|---|---|
//! | [`oid`] | object names and their hash | gitglossary(7), hash-function-transition |
//! | [`object`] | object kinds, loose objects | gitformat-loose, `git cat-file` |
//! | [`tree`], [`commit`], [`tag`], [`signature`] | what is inside an object | `git mktree`, `git commit-tree`, `git mktag` |
//! | [`pack`], [`pack_entry`], [`pack_index`], [`delta`], [`delta_make`], [`delta_cache`], [`midx`], [`pack_write`], [`pack_stream`], [`pack_receive`] | packs | gitformat-pack(5) |
//! | [`index`], [`index_ext`], [`index_view`] | `.git/index` | gitformat-index(5) |
//! | [`ignore`], [`wildmatch`] | ignore rules | gitignore(5) |
//! | [`path`], [`refname`] | which names git takes | git-check-ref-format(1), `core.protectNTFS`, `core.protectHFS` |
//! | [`config`] | configuration files | git-config(1) |
//! | [`argv`] | argument vectors | git(1) and the pages of its commands |
//! | [`pktline`], [`remote`] | what git programs say to each other | gitprotocol-common(5), gitprotocol-v2(5), gitprotocol-pack(5) |
//!
//! Input is hostile until shown otherwise: every parser checks its bounds, names the place where the bytes went wrong
//! in a typed error, takes a limit wherever the input could make it allocate, and never panics.

#![forbid(unsafe_code)]

pub mod argv;
mod bytes;
pub mod command;
pub mod commit;
pub mod config;
pub mod delta;
pub mod delta_cache;
pub mod delta_make;
pub mod ignore;
pub mod index;
pub mod index_ext;
pub mod index_view;
pub mod midx;
pub mod object;
pub mod oid;
pub mod oid_set;
pub mod pack;
pub mod pack_entry;
pub mod pack_index;
pub mod pack_receive;
pub mod pack_stream;
pub mod pack_write;
pub mod path;
pub mod pktline;
pub mod refname;
pub mod remote;
pub mod signature;
pub mod tag;
pub mod tree;
pub mod wildmatch;
mod zlib;

pub use object::{Object, ObjectKind};
pub use oid::{Hasher, ObjectFormat, Oid, hash_object};
