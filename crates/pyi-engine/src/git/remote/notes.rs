//! What the candidates of a superposition weigh, as git notes on their commits: `refs/notes/weights`.
//!
//! Source: git-notes(1), gitformat of a notes tree: the name of an entry is that of the object which the note is about. The notes follow from the record
//! alone, so every process gives them the same names; a weight that changes makes other notes, with no history between the two.

use std::collections::BTreeMap;

use pyi_cas::Bytes;
use pyi_git::commit::Commit;
use pyi_git::signature::Signature;
use pyi_git::tree::encode_tree;
use pyi_git::{ObjectKind, Oid, hash_object};
use pyi_tree::refs::{CandidateRecord, Fate, SuperpositionRecord};

use super::GitRemote;
use super::commits::{MAIL, NAME};
use crate::{Error, Result};

/// Where the weights stand; `git log --notes=weights` shows them.
pub(crate) const WEIGHTS: &[u8] = b"refs/notes/weights";
const MODE_FILE: u32 = 0o100_644;

impl GitRemote {
    /// Makes the notes on candidates, given by their number and their commit; the commit of the notes, if there are any. O(candidates).
    pub(crate) fn weights(&self, record: &SuperpositionRecord, offered: &[(usize, Oid)]) -> Result<Option<Oid>> {
        let mut texts: BTreeMap<Oid, String> = BTreeMap::new();
        for (number, oid) in offered {
            if let Some(candidate) = record.candidates.get(*number) {
                *texts.entry(*oid).or_default() += &line(*number, candidate);
            }
        }
        if texts.is_empty() {
            return Ok(None);
        }
        let mut objects = Vec::with_capacity(texts.len() + 2);
        let mut entries = Vec::with_capacity(texts.len());
        for (commit, text) in texts {
            let blob = hash_object(self.format, ObjectKind::Blob, text.as_bytes());
            objects.push((ObjectKind::Blob, Bytes::from(text)));
            entries.push((commit.to_hex(), MODE_FILE, blob));
        }
        let raw = encode_tree(self.format, &entries).map_err(|error| Error::git(error.to_string()))?;
        let tree = hash_object(self.format, ObjectKind::Tree, &raw);
        objects.push((ObjectKind::Tree, Bytes::from(raw)));
        let seconds = i64::try_from(record.made_ns / 1_000_000_000).unwrap_or(0);
        let signature = Signature::new(NAME, MAIL, seconds, 0).to_bytes();
        let raw = Commit {
            tree,
            parents: Vec::new(),
            author: &signature,
            committer: &signature,
            headers: Vec::new(),
            message: b"Weights of the candidates\n",
        }
        .encode();
        let oid = hash_object(self.format, ObjectKind::Commit, &raw);
        objects.push((ObjectKind::Commit, Bytes::from(raw)));
        self.shared.registry.lock().add_loose(self.format, objects);
        Ok(Some(oid))
    }
}

fn line(number: usize, candidate: &CandidateRecord) -> String {
    let fate = match candidate.fate {
        Fate::Failed => ", failed its check",
        _ => "",
    };
    format!("candidate/{number}: weight {}{fate}\n", candidate.weight)
}
