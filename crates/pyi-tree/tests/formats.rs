//! Checkpoints, CBOR and ref values: what is written is read, what is not canonical is refused.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pyi_cas::Id;
use pyi_tree::CheckpointRoot;
use pyi_tree::cbor::{CborError, DEPTH_MAX, Value};
use pyi_tree::refs::{
    CandidateRecord, Fate, Lease, Link, Origin, PART_CANDIDATES, SuperpositionRecord, WorkspaceRecord, branch_key,
    decode_branch, part_key, superposition_key, workspace_key,
};

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
            git: std::sync::Arc::default(),
            unknown: vec![("x-future".to_owned(), Value::Int(7))],
        };
        prop_assert_eq!(CheckpointRoot::decode(&root.encode()).unwrap(), root);
    }

    #[test]
    fn ref_values_survive_and_any_bytes_are_refused_or_parse(bytes in proptest::collection::vec(any::<u8>(), 0..80), weights in proptest::collection::vec(0.0..10.0_f64, 0..4)) {
        let _ = WorkspaceRecord::decode(&bytes);
        if let Ok(mut record) = SuperpositionRecord::decode(&bytes) {
            let _ = record.take_part(&bytes);
        }
        let _ = CheckpointRoot::decode(&bytes);
        let mut record = superposition(&weights);
        record.settle();
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
            lease: Lease {
                epoch: u64::MAX,
                owner: [9; 16],
            },
        },
        WorkspaceRecord {
            head: Id([6; 32]),
            origin: None,
            journal: None,
            lease: Lease::default(),
        },
    ] {
        assert_eq!(WorkspaceRecord::decode(&record.encode()).unwrap(), record);
    }
}

fn int(number: i128) -> Value {
    Value::Int(number)
}

#[test]
fn the_encoding_is_that_of_rfc_8949() {
    // From appendix A of the RFC, and every width of a head at both its ends.
    for (value, hex) in [
        (int(0), "00"),
        (int(23), "17"),
        (int(24), "1818"),
        (int(100), "1864"),
        (int(255), "18ff"),
        (int(256), "190100"),
        (int(1000), "1903e8"),
        (int(65_535), "19ffff"),
        (int(65_536), "1a00010000"),
        (int(1_000_000), "1a000f4240"),
        (int(4_294_967_295), "1affffffff"),
        (int(4_294_967_296), "1b0000000100000000"),
        (int(18_446_744_073_709_551_615), "1bffffffffffffffff"),
        (int(-1), "20"),
        (int(-100), "3863"),
        (int(-1000), "3903e7"),
        (int(-18_446_744_073_709_551_616), "3bffffffffffffffff"),
        (
            Value::Big(false, vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
            "c249010000000000000000",
        ),
        (
            Value::Big(true, vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
            "c349010000000000000000",
        ),
        (Value::Float(1.1), "fb3ff199999999999a"),
        (Value::Bool(false), "f4"),
        (Value::Bool(true), "f5"),
        (Value::Null, "f6"),
        (Value::Bytes(vec![1, 2, 3, 4]), "4401020304"),
        (Value::Text("\u{fc}".to_owned()), "62c3bc"),
        (Value::Array(vec![int(1), Value::Array(vec![int(2)])]), "82018102"),
        (Value::Array(vec![Value::Null; 25]), &format!("9819{}", "f6".repeat(25))),
        (
            Value::Map(vec![("bb".to_owned(), int(2)), ("c".to_owned(), int(1))]),
            "a261630162626202",
        ),
    ] {
        let bytes = value.encode();
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, hex, "{value:?}");
        assert_eq!(Value::decode(&bytes).unwrap().encode(), bytes);
    }
}

#[test]
fn a_value_is_asked_for_what_it_is() {
    let map = Value::Map(vec![("a".to_owned(), int(1)), ("b".to_owned(), int(2))]);
    assert_eq!(map.get("b"), Some(&int(2)));
    assert_eq!(map.get("c"), None);
    assert_eq!(int(1).get("a"), None);
    let (text, bytes) = (Value::Text("t".to_owned()), Value::Bytes(vec![7]));
    let array = Value::Array(vec![Value::Null]);
    assert_eq!((text.as_text(), bytes.as_text()), (Some("t"), None));
    assert_eq!((bytes.as_bytes(), text.as_bytes()), (Some(&[7][..]), None));
    assert_eq!((array.as_array(), text.as_array()), (Some(&[Value::Null][..]), None));
    assert_eq!(
        (int(7).as_u64(), int(-1).as_u64(), text.as_u64()),
        (Some(7), None, None)
    );
}

#[test]
fn values_nest_128_deep_and_no_deeper() {
    for (levels, taken) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
        let arrays = [vec![0x81; levels], vec![0xf6]].concat();
        assert_eq!(Value::decode(&arrays).is_ok(), taken, "{levels}");
        let maps = [[0xa1, 0x61, b'k'].repeat(levels), vec![0xf6]].concat();
        assert_eq!(Value::decode(&maps).is_ok(), taken, "{levels}");
    }
}

#[test]
fn each_kind_of_ref_has_keys_of_its_own() {
    assert_eq!(branch_key("main"), b"b/main");
    assert_eq!(workspace_key("main"), b"w/main");
    assert_eq!(superposition_key("main"), b"s/main");
}

#[test]
fn a_branch_holds_the_32_bytes_of_an_id() {
    assert_eq!(decode_branch(&[7; 32]).unwrap(), Id([7; 32]));
    for wrong in [&[7; 31][..], &[7; 33], b""] {
        assert!(
            decode_branch(wrong)
                .unwrap_err()
                .to_string()
                .contains("no checkpoint id")
        );
    }
}

/// A superposition with something in every field.
fn superposition(weights: &[f64]) -> SuperpositionRecord {
    let fates = [Fate::Living, Fate::Failed, Fate::Pruned, Fate::Decayed, Fate::Dropped];
    let candidate = |(at, weight): (usize, &f64)| CandidateRecord {
        name: format!("c{weight}"),
        weight: *weight,
        deadline_ns: Some(9 + at as u64),
        fate: fates[at % 5],
    };
    SuperpositionRecord {
        made_ns: 17,
        version: 3,
        ttl_ns: Some(5),
        candidates: weights.iter().enumerate().map(candidate).collect(),
        outer: Some(("outer".to_owned(), 2)),
        inner: vec![(1, "inner".to_owned())],
        links: vec![Link {
            other: "other".to_owned(),
            pairs: vec![(0, 1), (1, 0)],
        }],
        onto: Some("main".to_owned()),
        collapsed: Some((0, Id([4; 32]))),
        keeps_outcome: true,
        ..SuperpositionRecord::new(Id([3; 32]))
    }
}

#[test]
fn a_superposition_has_a_weight_for_each_candidate() {
    let map = |weights: usize| {
        let names = ["a", "b"].map(|name| Value::Text(name.to_owned())).to_vec();
        Value::Map(vec![
            ("base".to_owned(), Value::Bytes(vec![3; 32])),
            ("candidates".to_owned(), Value::Array(names)),
            ("weights".to_owned(), Value::Array(vec![Value::Float(2.0); weights])),
            ("deadline".to_owned(), Value::Int(9)),
        ])
    };
    assert!(SuperpositionRecord::decode(&map(1).encode()).is_err());
    // As versions wrote it in which all candidates had one time to live.
    let record = SuperpositionRecord::decode(&map(2).encode()).unwrap();
    let found: Vec<_> = record
        .candidates
        .iter()
        .map(|one| (&*one.name, one.deadline_ns))
        .collect();
    assert_eq!(found, [("a", Some(9)), ("b", Some(9))]);
}

#[test]
fn a_large_superposition_stands_in_parts() {
    let mut record = superposition(&vec![1.5; 2 * PART_CANDIDATES + 1]);
    record.settle();
    assert_eq!(record.parts, 3);
    assert!(record.encode().len() < 300);
    let mut again = SuperpositionRecord::decode(&record.encode()).unwrap();
    assert!(again.candidates.is_empty());
    for part in 0..3 {
        again.take_part(&record.encode_part(part)).unwrap();
    }
    assert_eq!(again, record);
    assert!(part_key("a", 1) < part_key("a", 256) && !part_key("a/b", 0).starts_with(&part_key("a", 0)[..4]));
    // One without a deadline keeps all of it.
    record.candidates[0].deadline_ns = None;
    record.settle();
    assert_eq!(record.deadline_ns, None);
    record.candidates[0].fate = Fate::Failed;
    record.settle();
    assert_eq!(record.deadline_ns, Some(9 + 2 * PART_CANDIDATES as u64));
}

#[test]
fn what_is_not_deterministic_is_refused() {
    for (bytes, error) in [
        (&[0x18, 0x05][..], CborError::NotCanonical), // 5 in two bytes
        (&[0x18, 0x17][..], CborError::NotCanonical),
        (&[0x19, 0x00, 0xff], CborError::NotCanonical),
        (&[0x1a, 0x00, 0x00, 0xff, 0xff], CborError::NotCanonical),
        (&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], CborError::NotCanonical),
        (&[0x1c], CborError::Unsupported),
        (&[0x62, 0xc3], CborError::Truncated),
        (&[0x61, 0xff], CborError::NotCanonical),      // no UTF-8
        (&[0xa1, 0x01, 0x01], CborError::Unsupported), // a key that is no text
        (
            &[0xa2, 0x62, b'a', b'a', 0x01, 0x61, b'b', 0x01],
            CborError::NotCanonical,
        ), // the longer key first
        (&[0xc2, 0x61, b'a'], CborError::Unsupported), // a bignum of text
        (&[0xc2, 0x48, 1, 0, 0, 0, 0, 0, 0, 0], CborError::NotCanonical), // 8 bytes
        (&[0xc2, 0x49, 0, 1, 0, 0, 0, 0, 0, 0, 0], CborError::NotCanonical), // a leading zero
        (&[0xc4, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0], CborError::Unsupported),
        (&[0xc1, 0x01], CborError::Unsupported), // another tag
        (&[0xf7], CborError::Unsupported),       // undefined
        (&[0x82, 0x01], CborError::Truncated),
        (&[], CborError::Truncated),
        (&[0x5f, 0xff][..], CborError::Unsupported), // indefinite length
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
        git: std::sync::Arc::default(),
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
