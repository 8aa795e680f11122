//! Which removed files stand somewhere else now: files of the same content, and files that are alike at least by half.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use pyi_cas::{Id, Kind};

use crate::diff::{Difference, Side, diff};
use crate::merge::Contents;
use crate::{Loader, Mode, Pending, Result, Tree};

/// Files above this are compared by their ids only.
const ALIKE_MAX_BYTES: u64 = 1 << 20;
/// More pairs of a removed and an added file than this are not compared by content.
const PAIRS_MAX: usize = 250_000;
/// Two files are one that moved if at least so many percent of the larger one stand in the other one too, as in git.
const ALIKE_MIN_PERCENT: u64 = 50;

/// From the old path to the new one.
pub(crate) type Moves = BTreeMap<Vec<u8>, Moved>;

/// Where a file stands now.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) path: Vec<u8>,
    pub(crate) side: Side,
}

struct File {
    path: Vec<u8>,
    side: Side,
}

/// Finds the files that moved from `base` to `side`; such that changed on the way only if they stood at one of the `wanted` paths.
/// O(difference) for the others, and for these O(wanted * added) comparisons.
pub(crate) fn moves(
    base: &Tree,
    side: &Tree,
    wanted: &HashSet<Vec<u8>>,
    loader: &dyn Loader,
    contents: &dyn Contents,
) -> Result<Moves> {
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for Difference { path, old, new } in diff(base, side, loader)? {
        match (old, new) {
            (Some(side), None) if side.row.mode.is_file() => removed.push(File { path, side }),
            (None, Some(side)) if side.row.mode.is_file() => added.push(File { path, side }),
            _ => {}
        }
    }
    let mut found = Moves::new();
    exact(&removed, &mut added, &mut found);
    removed.retain(|file| wanted.contains(&file.path) && !found.contains_key(&file.path));
    if !removed.is_empty() && !added.is_empty() && removed.len().saturating_mul(added.len()) <= PAIRS_MAX {
        alike(&removed, &mut added, contents, &mut found)?;
    }
    Ok(found)
}

fn id_of(side: &Side) -> Id {
    match &side.pending {
        Some(Pending::Blob(content)) => Kind::Blob.id_of(content),
        _ => side.row.id,
    }
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Pairs files of one content, those of one name first. Empty files are all alike, and no sign of a move.
fn exact(removed: &[File], added: &mut Vec<File>, found: &mut Moves) {
    let mut by_id: HashMap<Id, Vec<usize>> = HashMap::new();
    for (index, file) in added
        .iter()
        .enumerate()
        .filter(|(_, file)| file.side.row.size_bytes > 0)
    {
        by_id.entry(id_of(&file.side)).or_default().push(index);
    }
    let mut taken = HashSet::new();
    for same_name in [true, false] {
        for file in removed.iter().filter(|file| file.side.row.size_bytes > 0) {
            if found.contains_key(&file.path) {
                continue;
            }
            let Some(there) = by_id.get_mut(&id_of(&file.side)) else {
                continue;
            };
            let at = there
                .iter()
                .position(|at| !same_name || name(&added[*at].path) == name(&file.path));
            if let Some(at) = at {
                let index = there.remove(at);
                taken.insert(index);
                found.insert(file.path.clone(), moved(&added[index]));
            }
        }
    }
    let mut index = 0;
    added.retain(|_| {
        index += 1;
        !taken.contains(&(index - 1))
    });
}

fn moved(file: &File) -> Moved {
    Moved {
        path: file.path.clone(),
        side: file.side.clone(),
    }
}

/// Pairs files that are alike, the most alike first, of equals those of one name.
fn alike(removed: &[File], added: &mut [File], contents: &dyn Contents, found: &mut Moves) -> Result<()> {
    let hashes = RandomState::new();
    let olds = read(removed, contents, &hashes)?;
    let news = read(added, contents, &hashes)?;
    let mut pairs = Vec::new();
    for (at_old, old) in olds.iter().enumerate() {
        for (at_new, new) in news.iter().enumerate() {
            if let Some(percent) = percent_alike(old, new) {
                let same_name = name(&removed[at_old].path) == name(&added[at_new].path);
                pairs.push((percent, same_name, at_old, at_new));
            }
        }
    }
    pairs.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then((a.2, a.3).cmp(&(b.2, b.3))));
    let (mut old_taken, mut new_taken) = (HashSet::new(), HashSet::new());
    for (_, _, at_old, at_new) in pairs {
        if !old_taken.contains(&at_old) && !new_taken.contains(&at_new) {
            old_taken.insert(at_old);
            new_taken.insert(at_new);
            found.insert(removed[at_old].path.clone(), moved(&added[at_new]));
        }
    }
    Ok(())
}

/// How many bytes of a file are in lines of each kind.
struct Lines {
    size_bytes: u64,
    bytes_by_line: HashMap<u64, u64>,
}

/// `None` for what is too large.
fn read(files: &[File], contents: &dyn Contents, hashes: &RandomState) -> Result<Vec<Option<Lines>>> {
    let read = |file: &File| {
        let row = &file.side.row;
        if row.size_bytes > ALIKE_MAX_BYTES || row.size_bytes == 0 || !matches!(row.mode, Mode::File | Mode::Executable)
        {
            return Ok(None);
        }
        let content: Bytes = contents.read(&file.side)?;
        let mut bytes_by_line = HashMap::new();
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            // Long lines, as binary files have, are compared in pieces.
            for piece in line.chunks(64) {
                *bytes_by_line.entry(hashes.hash_one(piece)).or_insert(0) += piece.len() as u64;
            }
        }
        Ok(Some(Lines {
            size_bytes: content.len() as u64,
            bytes_by_line,
        }))
    };
    files.iter().map(read).collect()
}

fn percent_alike(old: &Option<Lines>, new: &Option<Lines>) -> Option<u64> {
    let (old, new) = (old.as_ref()?, new.as_ref()?);
    let larger = old.size_bytes.max(new.size_bytes);
    if old.size_bytes.min(new.size_bytes) * 100 < larger * ALIKE_MIN_PERCENT {
        return None;
    }
    let common = |(line, bytes): (&u64, &u64)| new.bytes_by_line.get(line).map_or(0, |there| *there.min(bytes));
    let common: u64 = old.bytes_by_line.iter().map(common).sum();
    let percent = common * 100 / larger;
    (percent >= ALIKE_MIN_PERCENT).then_some(percent)
}
