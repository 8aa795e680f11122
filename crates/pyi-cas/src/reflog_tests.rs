//! Records of the ref log: round trips, and what stands behind torn ones.

use super::*;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(MAGIC.to_vec()),
        Just(MAGIC.map(|byte| byte ^ 1).to_vec()),
    ]
}

fn range() -> impl Strategy<Value = RefRange> {
    let change = prop_oneof![Just(RangeChange::Delete), value().prop_map(RangeChange::Create)];
    ("[wx/]{0,3}[a-z/]", 0u32..2000, 1u32..2000, change).prop_map(|(prefix, start, length, change)| RefRange {
        prefix: prefix.into_bytes(),
        numbers: start..start + length,
        change,
    })
}

fn transaction() -> impl Strategy<Value = RefTransaction> {
    let guard = prop_oneof![
        Just(Guard::Absent),
        Just(Guard::Present),
        value().prop_map(Guard::Equals)
    ];
    (
        proptest::collection::vec((value(), guard), 0..4),
        proptest::collection::vec((value(), proptest::option::of(value())), 0..4),
        "[a-zREF1ä]{0,20}",
        any::<u64>(),
        proptest::collection::vec(any::<(u64, u64)>(), 0..3),
        proptest::collection::vec(range(), 0..3),
    )
        .prop_map(|(guards, puts, message, epoch, dependencies, ranges)| RefTransaction {
            guards,
            puts,
            ranges,
            message,
            epoch,
            dependencies,
        })
}

fn place() -> String {
    "x".into()
}

proptest! {
    #[test]
    fn round_trip(transaction in transaction(), id in any::<[u8; 16]>()) {
        for action in [Action::Transaction(id, transaction.clone()), Action::Seal, Action::Snapshot(transaction.clone())] {
            let mut bytes = encode(&action, 9).unwrap();
            let length = bytes.len();
            bytes.extend_from_slice(b"what follows");
            prop_assert_eq!(decode(&bytes, place).unwrap(), Some((action, length)));
            prop_assert_eq!(decode(&bytes[..length - 1], place).unwrap(), None);
        }
    }

    #[test]
    fn a_flipped_bit_is_no_record(transaction in transaction(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(&Action::Transaction([1; 16], transaction), 9).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(decode(&bytes, place).unwrap(), None);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, place);
        let _ = next_record(&bytes, place);
        decode_body(&bytes, false);
        decode_body(&bytes, true);
        salvage_keys(&bytes);
    }
}

/// A value that holds a whole crafted record must not become one when the record around it is torn.
#[test]
fn a_record_within_a_value_is_never_found() {
    let inner = encode(
        &Action::Transaction(
            [2; 16],
            RefTransaction {
                puts: vec![(b"b/main".to_vec(), None)],
                ..Default::default()
            },
        ),
        9,
    )
    .unwrap();
    let outer = RefTransaction {
        puts: vec![(b"k".to_vec(), Some(inner))],
        ..Default::default()
    };
    let bytes = encode(&Action::Transaction([1; 16], outer), 9).unwrap();
    assert_eq!(bytes.windows(4).filter(|w| **w == MAGIC).count(), 1);
    for cut in 0..bytes.len() {
        assert_eq!(next_record(&bytes[..cut], place).unwrap(), None);
    }
}

#[test]
fn a_whole_record_behind_a_torn_one_is_found() {
    let record = encode(&Action::Transaction([1; 16], RefTransaction::default()), 9).unwrap();
    for cut in 1..record.len() {
        let mut bytes = record[..cut].to_vec();
        bytes.extend_from_slice(&record);
        assert_eq!(decode(&bytes, place).unwrap(), None);
        assert_eq!(next_record(&bytes, place).unwrap(), Some(cut));
    }
}

#[test]
fn limits_and_the_future() {
    let long = RefTransaction {
        message: "m".repeat(65_536),
        ..Default::default()
    };
    assert!(matches!(
        encode(&Action::Transaction([0; 16], long), 0),
        Err(Error::InvalidArgument { .. })
    ));
    let long = RefTransaction {
        puts: vec![(vec![0; 65_536], None)],
        ..Default::default()
    };
    assert!(matches!(
        encode(&Action::Transaction([0; 16], long), 0),
        Err(Error::InvalidArgument { .. })
    ));
    let large = RefTransaction {
        puts: vec![(vec![0], Some(vec![0; BODY_MAX_BYTES]))],
        ..Default::default()
    };
    assert!(matches!(
        encode(&Action::Transaction([0; 16], large), 0),
        Err(Error::InvalidArgument { .. })
    ));
    for (prefix, numbers) in [("", 0..1), ("w/1", 0..1), ("w/", 1..1), ("w/", 0..RefRange::MAX + 1)] {
        let wrong = RefTransaction {
            ranges: vec![RefRange {
                prefix: prefix.into(),
                numbers,
                change: RangeChange::Delete,
            }],
            ..Default::default()
        };
        assert!(matches!(
            encode(&Action::Transaction([0; 16], wrong), 0),
            Err(Error::InvalidArgument { .. })
        ));
    }
    let mut bytes = encode(&Action::Seal, 0).unwrap();
    bytes[PREFIX_BYTES] = 8;
    let crc = crc32c::crc32c(&bytes[8..]);
    set_at(&mut bytes, 4, &crc.to_le_bytes());
    assert!(matches!(decode(&bytes, place), Err(Error::UnsupportedFormat { .. })));
    let header = encode_log_header(3, &[1; 16]);
    assert!(check_log_header(&header, 3, &[1; 16], "x").is_ok());
    assert!(matches!(
        check_log_header(&header, 4, &[1; 16], "x"),
        Err(Error::Corrupt { .. })
    ));
    assert!(matches!(
        check_log_header(&header, 3, &[2; 16], "x"),
        Err(Error::Corrupt { .. })
    ));
}

/// A value one bit off the magic makes a damaged record look like two torn ones.
#[test]
fn a_bit_that_makes_a_magic_is_damage() {
    let mut value = MAGIC.to_vec();
    value[2] ^= 4;
    value.extend_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0, 9, 9]);
    let transaction = RefTransaction {
        puts: vec![(b"k".to_vec(), Some(value.clone()))],
        ..RefTransaction::default()
    };
    let record = encode(&Action::Transaction([1; 16], transaction), 9).unwrap();
    let at = record.windows(value.len()).position(|bytes| bytes == value).unwrap();
    let mut flipped = record.clone();
    flipped[at + 2] ^= 4;
    assert!(matches!(broken(&flipped, place).unwrap(), Broken::Damaged));
    // Torn where the magic of another one stands.
    let torn = [&record[..at], &record[..record.len() - 1]].concat();
    assert!(matches!(broken(&torn, place).unwrap(), Broken::Torn(length) if length == at));
    assert!(matches!(broken(&torn[at..], place).unwrap(), Broken::Torn(length) if length == torn.len() - at));
}

/// Two torn prefixes of any lengths, also those that are as long as one record together.
#[test]
fn torn_prefixes_in_a_row_are_torn() {
    let record = encode(&Action::Transaction([1; 16], RefTransaction::default()), 9).unwrap();
    for (one, two) in (1..record.len()).flat_map(|one| (1..record.len()).map(move |two| (one, two))) {
        let torn = [&record[..one], &record[..two]].concat();
        let mut at = 0;
        while at < torn.len() {
            match broken(&torn[at..], place).unwrap() {
                Broken::Torn(length) => at += length,
                // One byte was missing, and the first of the next magic stands there: a whole record with a damaged end.
                other => {
                    assert!(one + two.min(3) >= record.len() && two < 4, "{one} {two} {other:?}");
                    break;
                }
            }
        }
    }
}
