//! A named superposition in the ref log.
//!
//! One with few candidates is one value. A large one keeps its candidates in parts of [`PART_CANDIDATES`] under keys of their own, so
//! that weighing one of a thousand writes a part and not the whole; the value itself is small then, and is what every change of the
//! structure is guarded by.

use pyi_cas::Id;

use super::{bytes, decode, id};
use crate::cbor::Value;
use crate::{Error, Result};

/// So many candidates stand in a part, and in the record itself if there are no more.
pub const PART_CANDIDATES: usize = 64;
/// More parts than this are damage.
const PARTS_MAX: u64 = 1 << 20;

/// What has become of a candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It can be chosen.
    #[default]
    Living,
    /// It failed a check: it is never chosen, and keeps its name to be looked at.
    Failed,
    /// It was pruned; its name is free.
    Pruned,
    /// Nobody renewed it in time; its name is free.
    Decayed,
    /// Its name was dropped.
    Dropped,
}

impl Fate {
    const ALL: [Fate; 5] = [Fate::Living, Fate::Failed, Fate::Pruned, Fate::Decayed, Fate::Dropped];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fate::Living => "living",
            Fate::Failed => "failed",
            Fate::Pruned => "pruned",
            Fate::Decayed => "decayed",
            Fate::Dropped => "dropped",
        }
    }

    /// Whether the candidate still has its name.
    #[must_use]
    pub fn has_name(self) -> bool {
        matches!(self, Fate::Living | Fate::Failed)
    }
}

/// A candidate. Its number never changes, and no other candidate gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateRecord {
    /// Its workspace's name.
    pub name: String,
    /// Its weight.
    pub weight: f64,
    /// When it decays, unix nanoseconds.
    pub deadline_ns: Option<u64>,
    /// What has become of it.
    pub fate: Fate,
}

/// Another superposition that collapses together with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The other's name.
    pub other: String,
    /// Which of ours goes with which of theirs, ascending; each number once on its side.
    pub pairs: Vec<(u64, u64)>,
}

/// A named superposition.
#[derive(Clone, Debug, PartialEq)]
pub struct SuperpositionRecord {
    /// The checkpoint that all candidates were forked from.
    pub base: Id,
    /// When it was made, unix nanoseconds: tells it from another one that had the name before.
    pub made_ns: u64,
    /// Counts the changes of the structure, so that no two states of it are alike.
    pub version: u64,
    /// So long a candidate lives that nobody renews.
    pub ttl_ns: Option<u64>,
    /// When the last candidate decays, unix nanoseconds.
    pub deadline_ns: Option<u64>,
    /// The candidates; without those in parts that were not taken in yet.
    pub candidates: Vec<CandidateRecord>,
    /// How many parts hold the candidates; 0: they stand here.
    pub parts: u32,
    /// The superposition, and its candidate, that this one was forked from.
    pub outer: Option<(String, u64)>,
    /// Superpositions that were forked from our candidates: number, name.
    pub inner: Vec<(u64, String)>,
    /// Superpositions that collapse together with this one.
    pub links: Vec<Link>,
    /// The branch that moves when this one collapses because another one does.
    pub onto: Option<String>,
    /// Once collapsed: the winner's number and its checkpoint.
    pub collapsed: Option<(u64, Id)>,
    /// Nothing but this record names the outcome: no branch moved.
    pub keeps_outcome: bool,
}

impl SuperpositionRecord {
    /// A superposition without candidates.
    #[must_use]
    pub fn new(base: Id) -> Self {
        SuperpositionRecord {
            base,
            made_ns: 0,
            version: 0,
            ttl_ns: None,
            deadline_ns: None,
            candidates: Vec::new(),
            parts: 0,
            outer: None,
            inner: Vec::new(),
            links: Vec::new(),
            onto: None,
            collapsed: None,
            keeps_outcome: false,
        }
    }

    /// Brings what follows from the candidates up to date: where they stand, and when the last one decays. O(candidates).
    pub fn settle(&mut self) {
        let timed = self
            .candidates
            .iter()
            .filter(|one| matches!(one.fate, Fate::Living | Fate::Decayed));
        let mut deadlines = timed.map(|one| one.deadline_ns);
        // One that lives for ever keeps the whole; so does none at all, as others can be added.
        self.deadline_ns = deadlines
            .try_fold(None, |last: Option<u64>, deadline| Some(last.max(Some(deadline?))))
            .flatten();
        self.parts = if self.candidates.len() <= PART_CANDIDATES {
            0
        } else {
            u32::try_from(self.candidates.len().div_ceil(PART_CANDIDATES)).unwrap_or(u32::MAX)
        };
    }

    /// The value for the ref log: without the candidates if they stand in parts. O(candidates that stand here).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let here = if self.parts == 0 { &self.candidates[..] } else { &[] };
        let mut pairs = vec![("base".to_owned(), bytes(&self.base))];
        candidates_into(&mut pairs, here);
        let mut number = |key: &str, value: Option<u64>| {
            pairs.extend(value.map(|value| (key.to_owned(), Value::Int(i128::from(value)))));
        };
        number("deadline", self.deadline_ns);
        number("ttl", self.ttl_ns);
        number("made", Some(self.made_ns).filter(|time| *time > 0));
        number("version", Some(self.version).filter(|version| *version > 0));
        number("parts", Some(u64::from(self.parts)).filter(|parts| *parts > 0));
        if let Some((winner, checkpoint)) = &self.collapsed {
            number("winner", Some(*winner));
            pairs.push(("result".to_owned(), bytes(checkpoint)));
        }
        if let Some((name, index)) = &self.outer {
            pairs.push(("outer".to_owned(), pair(*index, name)));
        }
        if !self.inner.is_empty() {
            let inner = self.inner.iter().map(|(index, name)| pair(*index, name)).collect();
            pairs.push(("inner".to_owned(), Value::Array(inner)));
        }
        if !self.links.is_empty() {
            let links = self.links.iter().map(link_value).collect();
            pairs.push(("links".to_owned(), Value::Array(links)));
        }
        if let Some(onto) = &self.onto {
            pairs.push(("onto".to_owned(), Value::Text(onto.clone())));
        }
        if self.keeps_outcome {
            pairs.push(("keeps".to_owned(), Value::Bool(true)));
        }
        Value::Map(pairs).encode()
    }

    /// The value of part `number`. O(candidates of the part).
    #[must_use]
    pub fn encode_part(&self, number: u32) -> Vec<u8> {
        let from = (number as usize * PART_CANDIDATES).min(self.candidates.len());
        let to = (from + PART_CANDIDATES).min(self.candidates.len());
        let mut pairs = Vec::new();
        candidates_into(&mut pairs, &self.candidates[from..to]);
        Value::Map(pairs).encode()
    }

    /// Parses a value of the ref log. If [`SuperpositionRecord::parts`] is not 0, the candidates are still to be taken in.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn decode(value: &[u8]) -> Result<Self> {
        let value = decode(value, "superposition")?;
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let mut record = SuperpositionRecord::new(id(value.get("base")).ok_or_else(wrong)?);
        record.deadline_ns = number("deadline");
        record.candidates = candidates_of(&value)?;
        if value.get("deadlines").is_none() {
            // What was written before candidates had times of their own.
            for candidate in &mut record.candidates {
                candidate.deadline_ns = record.deadline_ns;
            }
        }
        record.made_ns = number("made").unwrap_or(0);
        record.version = number("version").unwrap_or(0);
        record.ttl_ns = number("ttl");
        let parts = number("parts").unwrap_or(0);
        record.parts = u32::try_from(parts)
            .ok()
            .filter(|_| parts <= PARTS_MAX)
            .ok_or_else(wrong)?;
        if record.parts > 0 && !record.candidates.is_empty() {
            return Err(wrong());
        }
        record.outer = value
            .get("outer")
            .map(pair_of)
            .transpose()?
            .map(|(index, name)| (name, index));
        record.inner = list(&value, "inner", pair_of)?;
        record.links = list(&value, "links", link_of)?;
        record.onto = value.get("onto").and_then(Value::as_text).map(str::to_owned);
        record.collapsed = number("winner").zip(id(value.get("result")));
        record.keeps_outcome = value.get("keeps") == Some(&Value::Bool(true));
        Ok(record)
    }

    /// The outcome, if nothing but this record names it.
    #[must_use]
    pub fn kept_outcome(&self) -> Option<Id> {
        let (_, outcome) = self.collapsed.filter(|_| self.keeps_outcome)?;
        Some(outcome)
    }

    /// Takes in the candidates of the next part. O(candidates of the part).
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn take_part(&mut self, value: &[u8]) -> Result<()> {
        self.candidates.extend(candidates_of(&decode(value, "superposition")?)?);
        Ok(())
    }
}

fn wrong() -> Error {
    Error::corrupt("ref log: a superposition that does not parse")
}

fn candidates_into(pairs: &mut Vec<(String, Value)>, candidates: &[CandidateRecord]) {
    let mut all = |key: &str, of: &dyn Fn(&CandidateRecord) -> Value| {
        pairs.push((key.to_owned(), Value::Array(candidates.iter().map(of).collect())));
    };
    all("candidates", &|candidate| Value::Text(candidate.name.clone()));
    all("weights", &|candidate| Value::Float(candidate.weight));
    if candidates.iter().any(|candidate| candidate.deadline_ns.is_some()) {
        all("deadlines", &|candidate| {
            candidate
                .deadline_ns
                .map_or(Value::Null, |time| Value::Int(i128::from(time)))
        });
    }
    if candidates.iter().any(|candidate| candidate.fate != Fate::Living) {
        all("fates", &|candidate| Value::Int(candidate.fate as i128));
    }
}

fn candidates_of(value: &Value) -> Result<Vec<CandidateRecord>> {
    let array = |key: &str| value.get(key).and_then(Value::as_array);
    let (names, weights) = (
        array("candidates").ok_or_else(wrong)?,
        array("weights").ok_or_else(wrong)?,
    );
    let (deadlines, fates) = (array("deadlines"), array("fates"));
    let fits = |other: &[Value]| other.len() == names.len();
    if !fits(weights) || !deadlines.is_none_or(fits) || !fates.is_none_or(fits) {
        return Err(wrong());
    }
    let mut candidates = Vec::with_capacity(names.len());
    for (at, (name, weight)) in names.iter().zip(weights).enumerate() {
        let (Some(name), Value::Float(weight)) = (name.as_text(), weight) else {
            return Err(wrong());
        };
        let fate = match fates.map(|fates| fates[at].as_u64()) {
            None => Fate::Living,
            Some(code) => *code
                .and_then(|code| Fate::ALL.get(usize::try_from(code).ok()?))
                .ok_or_else(wrong)?,
        };
        candidates.push(CandidateRecord {
            name: name.to_owned(),
            weight: *weight,
            deadline_ns: deadlines.and_then(|deadlines| deadlines[at].as_u64()),
            fate,
        });
    }
    Ok(candidates)
}

fn pair(index: u64, name: &str) -> Value {
    Value::Array(vec![Value::Int(i128::from(index)), Value::Text(name.to_owned())])
}

fn pair_of(value: &Value) -> Result<(u64, String)> {
    match value.as_array() {
        Some([index, name]) => index.as_u64().zip(name.as_text().map(str::to_owned)).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

fn link_value(link: &Link) -> Value {
    let numbers = link.pairs.iter().flat_map(|(ours, theirs)| [*ours, *theirs]);
    let numbers = numbers.map(|number| Value::Int(i128::from(number))).collect();
    Value::Array(vec![Value::Text(link.other.clone()), Value::Array(numbers)])
}

fn link_of(value: &Value) -> Result<Link> {
    let Some([other, numbers]) = value.as_array() else {
        return Err(wrong());
    };
    let (other, numbers) = (
        other.as_text().ok_or_else(wrong)?,
        numbers.as_array().ok_or_else(wrong)?,
    );
    let (chunks, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong());
    }
    let pairs = chunks.iter().map(|[ours, theirs]| ours.as_u64().zip(theirs.as_u64()));
    Ok(Link {
        other: other.to_owned(),
        pairs: pairs.collect::<Option<_>>().ok_or_else(wrong)?,
    })
}

fn list<T>(value: &Value, key: &str, of: fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    match value.get(key) {
        None => Ok(Vec::new()),
        Some(items) => items.as_array().ok_or_else(wrong)?.iter().map(of).collect(),
    }
}
