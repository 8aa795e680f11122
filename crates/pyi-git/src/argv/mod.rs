//! Git's command line: which options there are, and what an argument vector says.
//!
//! [`parse`] reads the words behind `git`: options of git itself, the command, its options and operands. It knows every command
//! of git and what each takes from a table of facts ([`table`]), and does nothing: what is wrong with the words is a [`Refusal`],
//! what they mean is for the command to say.
//!
//! ```
//! use pyi_git::argv;
//!
//! let words = ["-C", "sub", "log", "--max-count=3", "-p", "--no-notes", "main", "--", "src"];
//! let parsed = argv::parse(&words).unwrap();
//! assert_eq!(parsed.command(), Some("log"));
//! assert_eq!(parsed.global("C").and_then(|given| given.value), Some(&b"sub"[..]));
//! assert_eq!(parsed.value("max-count"), Some(&b"3"[..]));
//! assert_eq!((parsed.flag("patch"), parsed.flag("notes"), parsed.flag("raw")), (Some(true), Some(false), None));
//! assert_eq!(parsed.operands().collect::<Vec<_>>(), [&b"main"[..], b"src"]);
//! assert_eq!(parsed.separator(), Some(1));
//! ```
//!
//! One vector is allocated for all that was given. O(words x log options).

mod parse;
mod parsed;
mod refusal;
pub mod table;
#[cfg(test)]
mod tests;

pub use parse::{Word, parse, parse_command};
pub use parsed::{Given, Kind, Parsed};
pub use refusal::{Refusal, RefusalKind};
