//! What is kept although nobody names it any more, and for how long. Stands in the ref log under `c/retention`, for all processes.

use std::time::Duration;

use pyi_cas::{RefOutcome, RefTransaction};
use pyi_tree::cbor::Value;

use crate::engine::Engine;
use crate::repository::Repository;
use crate::{Error, Result};

pub(crate) const RETENTION_KEY: &[u8] = b"c/retention";

/// What a collection leaves of what branches, names and pins do not reach themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// Checkpoints that nothing reaches stay for so long after they were made. Also how far back an undo goes, at least.
    pub age: Duration,
    /// So many former heads of each branch and named workspace stay.
    pub heads: u64,
    /// So many checkpoints stay behind each head, itself included, by their parents; `None`: all of them.
    pub history: Option<u64>,
    /// With `history`: of the older ones, the last of each day (UTC) stays for so many days.
    pub per_day: Option<u32>,
    /// Candidates of living superpositions that weigh less go back to the base.
    pub weight: Option<f64>,
    /// The store collects by itself to stay below so many bytes; `None`: only when it is told to.
    pub cap_bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            age: Duration::from_secs(24 * 3600),
            heads: 100,
            history: None,
            per_day: None,
            weight: None,
            cap_bytes: None,
        }
    }
}

impl Retention {
    fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::invalid(format!("retention: {what}")));
        if self.history == Some(0) {
            return wrong("history is at least 1: the head itself");
        }
        if self.weight.is_some_and(|weight| !weight.is_finite() || weight < 0.0) {
            return wrong("weight is a finite number of at least 0");
        }
        if self.per_day.is_some() && self.history.is_none() {
            return wrong("per_day is about what is older than history, so history has to be given too");
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let number = |number: u64| Value::Int(i128::from(number));
        let age = u64::try_from(self.age.as_nanos()).unwrap_or(u64::MAX);
        let mut pairs = vec![
            ("age".to_owned(), number(age)),
            ("heads".to_owned(), number(self.heads)),
        ];
        let optional = [
            ("history", self.history.map(number)),
            ("per_day", self.per_day.map(|days| number(u64::from(days)))),
            ("weight", self.weight.map(Value::Float)),
            ("cap", self.cap_bytes.map(number)),
        ];
        pairs.extend(
            optional
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?))),
        );
        Value::Map(pairs).encode()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        let value = Value::decode(value).map_err(|error| Error::corrupt(format!("ref log: retention: {error}")))?;
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let usual = Retention::default();
        let weight = match value.get("weight") {
            Some(Value::Float(weight)) => Some(*weight),
            _ => None,
        };
        Ok(Retention {
            age: number("age").map_or(usual.age, Duration::from_nanos),
            heads: number("heads").unwrap_or(usual.heads),
            history: number("history").filter(|history| *history > 0),
            per_day: number("per_day").map(|days| u32::try_from(days).unwrap_or(u32::MAX)),
            weight,
            cap_bytes: number("cap"),
        })
    }
}

impl Retention {
    /// What the refs say.
    pub(crate) fn read(engine: &Engine) -> Result<Self> {
        let value = engine.store().refs().get(RETENTION_KEY)?;
        value.map_or(Ok(Retention::default()), |value| Retention::decode(&value))
    }
}

impl Repository {
    /// What retention keeps.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn retention(&self) -> Result<Retention> {
        self.engine.open()?;
        Retention::read(&self.engine)
    }

    /// Sets what retention keeps, for all processes from now on. Nothing is removed before the next collection.
    ///
    /// # Errors
    /// `InvalidArgument` for what makes no sense; `Storage`.
    pub fn set_retention(&self, retention: &Retention) -> Result<()> {
        retention.check()?;
        let value = retention.encode();
        let refs = self.refs()?;
        if refs.get(RETENTION_KEY)?.as_deref() == Some(&value[..]) {
            return Ok(());
        }
        let transaction = RefTransaction {
            puts: vec![(RETENTION_KEY.to_vec(), Some(value))],
            message: "set retention".to_owned(),
            ..RefTransaction::default()
        };
        match self.engine.commit_refs(&transaction)? {
            RefOutcome::Done => Ok(()),
            RefOutcome::Conflict { .. } => Err(Error::conflict("retention was changed meanwhile; set it again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_set() {
        for retention in [
            Retention::default(),
            Retention {
                age: Duration::ZERO,
                heads: 0,
                history: Some(3),
                per_day: Some(7),
                weight: Some(0.25),
                cap_bytes: Some(1 << 40),
            },
        ] {
            retention.check().unwrap();
            assert_eq!(Retention::decode(&retention.encode()).unwrap(), retention);
        }
        let refused = [
            Retention {
                history: Some(0),
                ..Retention::default()
            },
            Retention {
                per_day: Some(1),
                ..Retention::default()
            },
            Retention {
                weight: Some(f64::NAN),
                ..Retention::default()
            },
        ];
        assert!(refused.iter().all(|retention| retention.check().is_err()));
    }
}
