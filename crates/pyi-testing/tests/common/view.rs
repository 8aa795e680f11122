//! What a workspace or checkpoint of the engine holds, small enough to be compared after every step: a file's content follows from a number, which
//! stands at its begin.

use std::collections::BTreeMap;
use std::fmt;

use pyi_engine::{Bytes, Error, Repository, StateValue, Value, Workspace};

/// A file's number: whose it is, how long, and which version.
pub fn number(file: u64, bytes: u64, version: u64) -> u64 {
    version << 24 | (bytes & 0xffff) << 8 | (file & 0xff)
}

/// The content of a number. Versions of a file have most of it in common; there is no line break, so that no two versions merge.
pub fn content(number: u64) -> Bytes {
    let (file, length, version) = (number & 0xff, number >> 8 & 0xffff, number >> 24);
    let mut word = (file + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(16 + length as usize + 8);
    bytes.extend_from_slice(format!("{number:016x}").as_bytes());
    for at in 0..length.div_ceil(8) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        let changed = if (at + version).is_multiple_of(11) { version } else { 0 };
        bytes.extend_from_slice(&((word ^ changed) | 0x8080_8080_8080_8080).to_le_bytes());
    }
    bytes.truncate(16 + length as usize);
    Bytes::from(bytes)
}

/// Files by path with the numbers of their contents, values of the state, events of the journal.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct View {
    pub files: BTreeMap<String, u64>,
    pub state: BTreeMap<String, u64>,
    pub journal: Vec<u64>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<String> = (self.files.iter())
            .map(|(path, number)| format!("{path}={number:x}"))
            .collect();
        write!(f, "[{} | {:?} | {:?}]", files.join(" "), self.state, self.journal)
    }
}

impl View {
    /// What a workspace holds, every byte compared. The error says what is wrong.
    pub fn of(workspace: &Workspace) -> Result<View, String> {
        let told = |error: Error| format!("{:?}: {error}", error.kind());
        let mut view = View::default();
        for entry in workspace.walk(b"").map_err(told)? {
            let path = entry.map_err(told)?.path;
            let name = String::from_utf8_lossy(&path).into_owned();
            let bytes = workspace
                .read(&path)
                .map_err(|error| format!("{name}: {}", told(error)))?;
            let head = bytes.get(..16).and_then(|head| std::str::from_utf8(head).ok());
            let number = head.and_then(|head| u64::from_str_radix(head, 16).ok());
            match number {
                Some(number) if bytes == content(number) => view.files.insert(name, number),
                _ => return Err(format!("{name} has wrong bytes")),
            };
        }
        for key in workspace.state_keys().map_err(told)? {
            let Some(StateValue::Value(Value::Int(value))) = workspace.state_get(&key).map_err(told)? else {
                return Err(format!("state {key:?} is no number"));
            };
            view.state.insert(key, value as u64);
        }
        let mut journal = workspace.journal().map_err(told)?;
        for index in 0..journal.len() {
            let event = journal.get(index).map_err(told)?.ok_or("an event is missing")?;
            view.journal.push(event.kind.parse().map_err(|_| "a strange event")?);
        }
        Ok(view)
    }

    /// The same of a checkpoint.
    pub fn of_checkpoint(repository: &Repository, id: &pyi_engine::Id) -> Result<View, String> {
        let workspace = repository
            .workspace_at(*id)
            .map_err(|error| format!("{:?}: {error}", error.kind()))?;
        View::of(&workspace)
    }
}
