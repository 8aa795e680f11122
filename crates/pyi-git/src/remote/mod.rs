//! The protocols between git programs: requests as they are parsed, answers as they are printed.
//!
//! Source: gitprotocol-v2(5), gitprotocol-pack(5), gitprotocol-http(5), gitprotocol-capabilities(5). A request is parsed from the whole of
//! its bytes, whose number the caller limits; nothing here knows which objects exist.

pub mod advertise;
pub mod fetch;
pub mod filter;
pub mod push;

use crate::oid::{Oid, OidError};
use crate::pktline::PacketError;

/// What can be wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The packets cannot be read.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A line that has no place here.
    #[error("unexpected line {0:?}")]
    Line(String),
    /// A line whose object name is none.
    #[error("line {line:?}: {error}")]
    Oid {
        /// The line.
        line: String,
        /// What is wrong with the name.
        error: OidError,
    },
    /// The request ends too early.
    #[error("the request is cut short")]
    Truncated,
    /// More lines of a kind than anybody needs.
    #[error("the request has more than {0} lines")]
    TooMany(usize),
    /// A filter that is not known.
    #[error("invalid filter-spec '{0}'")]
    Filter(String),
    /// An object format that is not that of the repository.
    #[error("mismatched object format: server {server}; client {client}")]
    Format {
        /// Ours.
        server: &'static str,
        /// Theirs.
        client: String,
    },
}

/// More lines than this in one request are refused.
pub const LINES_MAX: usize = 1 << 20;

fn lossy(line: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(line).into_owned();
    if text.len() > 200 {
        let end = (0..=200).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn unexpected(line: &[u8]) -> RequestError {
    RequestError::Line(lossy(line))
}

fn oid(hex: &[u8], line: &[u8]) -> Result<Oid, RequestError> {
    Oid::from_hex(hex).map_err(|error| RequestError::Oid {
        line: lossy(line),
        error,
    })
}

fn number<T: std::str::FromStr>(text: &[u8], line: &[u8]) -> Result<T, RequestError> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| unexpected(line))
}

/// The value of a capability in a list of words; empty if it stands there without one.
#[must_use]
pub fn capability<'a>(words: &'a [u8], name: &str) -> Option<&'a [u8]> {
    words.split(|&byte| byte == b' ').find_map(|word| {
        let rest = word.strip_prefix(name.as_bytes())?;
        match rest.split_first() {
            None => Some(rest),
            Some((b'=', value)) => Some(value),
            Some(_) => None,
        }
    })
}
