//! Checkpoints, CBOR and ref values: what is written is read, what is not canonical is refused.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pyi_cas::Id;
use pyi_tree::CheckpointRoot;
use pyi_tree::cbor::{CborError, Value};
use pyi_tree::refs::{Origin, SuperpositionRecord, WorkspaceRecord};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Int(i128::from(number))),
        any::<u64>().prop_map(|number| Value::Int(i128::from(number))),
        any::<u64>().prop_map(|number| Value::Int(-1 - i128::from(number))),
        any::<f64>()
            .prop_filter("equality of NaN", |number| !number.is_nan())
            .prop_map(Value::Float),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ".{0,12}".prop_map(Value::Text),
        (any::<bool>(), proptest::collection::vec(1..=255_u8, 9..20)).prop_map(|(sign, bytes)| Value::Big(sign, bytes)),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
                Value::Map(pairs)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_and_have_one_encoding(value in value()) {
        let bytes = value.encode();
        prop_assert_eq!(Value::decode(&bytes).unwrap(), value);
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = Value::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes);
        }
    }

    #[test]
    fn checkpoints_survive(metadata in value(), message in ".{0,40}", time_ns in any::<u64>(), parents in proptest::collection::vec(any::<[u8; 32]>(), 0..3)) {
        let metadata = Value::Map(vec![("m".to_owned(), metadata)]);
        let root = CheckpointRoot {
            files: Id([1; 32]),
            state: Some(Id([2; 32])),
            journal: None,
            parents: parents.into_iter().map(Id).collect(),
            time_ns,
            message,
            metadata,
            git: Value::Null,
            unknown: vec![("x-future".to_owned(), Value::Int(7))],
        };
        prop_assert_eq!(CheckpointRoot::decode(&root.encode()).unwrap(), root);
    }

    #[test]
    fn ref_values_survive_and_any_bytes_are_refused_or_parse(bytes in proptest::collection::vec(any::<u8>(), 0..80), weights in proptest::collection::vec(0.0..10.0_f64, 0..4)) {
        let _ = WorkspaceRecord::decode(&bytes);
        let _ = SuperpositionRecord::decode(&bytes);
        let _ = CheckpointRoot::decode(&bytes);
        let record = SuperpositionRecord {
            base: Id([3; 32]),
            candidates: weights.iter().map(|weight| format!("c{weight}")).collect(),
            weights,
            deadline_ns: Some(9),
            collapsed: Some((0, Id([4; 32]))),
        };
        prop_assert_eq!(SuperpositionRecord::decode(&record.encode()).unwrap(), record);
    }
}

#[test]
fn a_workspace_record_survives() {
    let origin = Some(Origin {
        branch: "main".to_owned(),
        head: Id([5; 32]),
    });
    for record in [
        WorkspaceRecord {
            head: Id([6; 32]),
            origin,
            journal: Some(Id([7; 32])),
        },
        WorkspaceRecord {
            head: Id([6; 32]),
            origin: None,
            journal: None,
        },
    ] {
        assert_eq!(WorkspaceRecord::decode(&record.encode()).unwrap(), record);
    }
}

#[test]
fn what_is_not_deterministic_is_refused() {
    for (bytes, error) in [
        (&[0x18, 0x05][..], CborError::NotCanonical), // 5 in two bytes
        (&[0x5f, 0xff][..], CborError::Unsupported),  // indefinite length
        (&[0xa2, 0x61, b'b', 0x01, 0x61, b'a', 0x01], CborError::NotCanonical), // keys out of order
        (&[0xa2, 0x61, b'a', 0x01, 0x61, b'a', 0x01], CborError::NotCanonical), // a key twice
        (&[0xf9, 0x00, 0x00], CborError::Unsupported), // a half float
        (&[0xc2, 0x41, 0x01], CborError::NotCanonical), // a bignum that fits 64 bits
        (&[0x01, 0x01], CborError::Trailing),
        (
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            CborError::Truncated,
        ),
    ] {
        assert_eq!(Value::decode(bytes), Err(error), "{bytes:?}");
    }
    let deep = vec![0x81; 1000];
    assert_eq!(Value::decode(&deep), Err(CborError::TooDeep));
}

#[test]
fn a_checkpoint_without_its_parts_is_corrupt() {
    let whole = CheckpointRoot {
        files: Id([1; 32]),
        state: None,
        journal: None,
        parents: Vec::new(),
        time_ns: 1,
        message: String::new(),
        metadata: Value::Null,
        git: Value::Null,
        unknown: Vec::new(),
    };
    let Value::Map(pairs) = Value::decode(&whole.encode()).unwrap() else {
        unreachable!()
    };
    assert_eq!(pairs.len(), 4);
    for missing in 0..pairs.len() {
        let mut some = pairs.clone();
        some.remove(missing);
        assert!(
            CheckpointRoot::decode(&Value::Map(some).encode())
                .unwrap_err()
                .to_string()
                .contains("corrupt")
        );
    }
}
