//! Records of the ref log: encoding, decoding, and finding the next whole record behind bytes that are none.
//!
//! A writer masks the body so that the magic does not occur in it. Otherwise a value could hold a crafted record, which
//! readers would find and apply if the record around it were torn.

use crate::bytes_le::{Cursor, array_at, set_at, u32_at, u64_at};
use crate::error::{Error, Result};
use crate::refstate::OperationId;
use crate::store::{Guard, RangeChange, RefRange, RefTransaction};

/// Bytes of a log's header.
pub(crate) const LOG_HEADER_BYTES: u64 = 64;
/// Largest body.
pub(crate) const BODY_MAX_BYTES: usize = 64 << 20;
/// Added to the type of a record that has ranges, so that who does not know them says so.
const WITH_RANGES: u8 = 4;
/// No more keys than about this are read from the ranges of a damaged record.
const SALVAGED_MAX: usize = 1 << 20;
/// Bytes of a record before its body.
const PREFIX_BYTES: usize = 12;
const LOG_MAGIC: &[u8; 8] = b"PYIREF1\n";
/// Begins the message of the snapshot of a log that was made after a loss of power.
const RECOVERED: &str = "after a loss of power; durable before it: ";
pub(crate) const MAGIC: [u8; 4] = 0x3146_4552u32.to_le_bytes();

/// What a record does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Transaction(OperationId, RefTransaction),
    Seal,
    Snapshot(RefTransaction),
}

/// Name of a log's file.
pub(crate) fn log_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// Why a log was made after a loss of power, before which the logs were durable up to here (number, offset).
pub(crate) fn recovered_message(durable: (u64, u64)) -> String {
    format!("{RECOVERED}{} {}", durable.0, durable.1)
}

/// The place in the message of a snapshot, if it is one of these.
pub(crate) fn durable_before(message: &str) -> Option<(u64, u64)> {
    let (number, offset) = message.strip_prefix(RECOVERED)?.split_once(' ')?;
    Some((number.parse().ok()?, offset.parse().ok()?))
}

/// A place in the history of the refs: log number << 32 | offset behind a record.
pub(crate) fn log_position(number: u64, offset: u64) -> u64 {
    number << 32 | offset & 0xffff_ffff
}

/// The 64 bytes at the start of a log.
pub(crate) fn encode_log_header(number: u64, store: &[u8; 16]) -> [u8; 64] {
    let mut bytes = [0u8; 64];
    set_at(&mut bytes, 0, LOG_MAGIC);
    set_at(&mut bytes, 8, &1u32.to_le_bytes());
    set_at(&mut bytes, 16, &number.to_le_bytes());
    set_at(&mut bytes, 24, store);
    let crc = crc32c::crc32c(&bytes[..40]);
    set_at(&mut bytes, 40, &crc.to_le_bytes());
    bytes
}

/// Checks a log's header. Errors: `Corrupt`, `UnsupportedFormat`.
pub(crate) fn check_log_header(bytes: &[u8], number: u64, store: &[u8; 16], place: &str) -> Result<()> {
    let damaged = || Error::corrupt("the header of a ref log", place);
    if bytes.len() < 64 || bytes[..8] != *LOG_MAGIC || u32_at(bytes, 40) != crc32c::crc32c(&bytes[..40]) {
        return Err(damaged());
    }
    let (version, flags) = (u32_at(bytes, 8), u32_at(bytes, 12));
    if version != 1 || flags != 0 {
        return Err(Error::UnsupportedFormat {
            found: format!("ref log version {version}, flags {flags} in {place}"),
        });
    }
    if u64_at(bytes, 16) != number || array_at::<16>(bytes, 24) != *store {
        return Err(damaged());
    }
    Ok(())
}

/// Bytes of a record. Errors: `InvalidArgument` if something is longer than the format holds. O(length).
pub(crate) fn encode(action: &Action, time_ns: u64) -> Result<Vec<u8>> {
    match action {
        Action::Transaction(operation, transaction) => encode_transaction(*operation, transaction, &[], time_ns),
        Action::Seal => encode_body(2, [0; 16], &RefTransaction::default(), &[], time_ns),
        Action::Snapshot(transaction) => encode_body(3, [0; 16], transaction, &[], time_ns),
    }
}

/// Bytes of the record of a transaction that depends on these places too. Errors and cost as [`encode`].
pub(crate) fn encode_transaction(
    operation: OperationId,
    transaction: &RefTransaction,
    places: &[(u64, u64)],
    time_ns: u64,
) -> Result<Vec<u8>> {
    encode_body(1, operation, transaction, places, time_ns)
}

fn encode_body(
    kind: u8,
    operation: OperationId,
    transaction: &RefTransaction,
    places: &[(u64, u64)],
    time_ns: u64,
) -> Result<Vec<u8>> {
    let dependencies = transaction.dependencies.iter().chain(places);
    let guards = transaction.guards.iter().map(|(key, guard)| match guard {
        Guard::Equals(value) => key.len() + value.len() + 8,
        Guard::Absent | Guard::Present => key.len() + 8,
    });
    let puts = transaction.puts.iter();
    let puts = puts.map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 8);
    let ranges = transaction.ranges.iter();
    let ranges = ranges.map(|range| range.prefix.len() + range_value(range).len() + 15);
    let mut bytes = Vec::with_capacity(guards.chain(puts).chain(ranges).sum::<usize>() + 256);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 8]);
    let with_ranges = !transaction.ranges.is_empty();
    bytes.push(if with_ranges { kind | WITH_RANGES } else { kind });
    bytes.push(0); // mask
    for count in [
        transaction.guards.len(),
        transaction.puts.len(),
        transaction.dependencies.len() + places.len(),
    ] {
        bytes.extend_from_slice(&length_u32(count, "a transaction")?.to_le_bytes());
    }
    bytes.extend_from_slice(&transaction.epoch.to_le_bytes());
    bytes.extend_from_slice(&operation);
    bytes.extend_from_slice(&time_ns.to_le_bytes());
    for (key, guard) in &transaction.guards {
        let (kind, value): (u8, &[u8]) = match guard {
            Guard::Absent => (0, &[]),
            Guard::Equals(value) => (1, value),
            Guard::Present => (2, &[]),
        };
        push_pair(&mut bytes, key, kind, value)?;
    }
    for (key, value) in &transaction.puts {
        push_pair(
            &mut bytes,
            key,
            u8::from(value.is_some()),
            value.as_deref().unwrap_or_default(),
        )?;
    }
    if with_ranges {
        push_ranges(&mut bytes, &transaction.ranges)?;
    }
    for (segment, offset) in dependencies {
        bytes.extend_from_slice(&segment.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    let message = transaction.message.as_bytes();
    bytes.extend_from_slice(&length_u16(message.len(), "the message of a ref transaction")?.to_le_bytes());
    bytes.extend_from_slice(message);
    let body = bytes.len() - PREFIX_BYTES;
    if body > BODY_MAX_BYTES {
        return Err(Error::invalid(format!(
            "a ref transaction of {body} bytes; at most 64 MiB are possible"
        )));
    }
    set_at(&mut bytes, 8, &(body as u32).to_le_bytes());
    // A snapshot is a file of its own that appears whole, so it cannot be torn and needs no mask.
    if kind != 3 {
        mask(&mut bytes[PREFIX_BYTES + 1..])?;
    }
    let crc = crc32c::crc32c(&bytes[8..]);
    set_at(&mut bytes, 4, &crc.to_le_bytes());
    Ok(bytes)
}

fn length_u32(length: usize, what: &str) -> Result<u32> {
    u32::try_from(length).map_err(|_| Error::invalid(format!("{what} of 4 GiB or more")))
}

fn length_u16(length: usize, what: &str) -> Result<u16> {
    u16::try_from(length).map_err(|_| Error::invalid(format!("{what} has {length} bytes; at most 65535 are possible")))
}

fn push_pair(bytes: &mut Vec<u8>, key: &[u8], kind: u8, value: &[u8]) -> Result<()> {
    bytes.extend_from_slice(&length_u16(key.len(), "a ref key")?.to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.push(kind);
    bytes.extend_from_slice(&length_u32(value.len(), "a ref value")?.to_le_bytes());
    bytes.extend_from_slice(value);
    Ok(())
}

fn range_value(range: &RefRange) -> &[u8] {
    match &range.change {
        RangeChange::Create(value) => value,
        RangeChange::Delete => &[],
    }
}

fn push_ranges(bytes: &mut Vec<u8>, ranges: &[RefRange]) -> Result<()> {
    bytes.extend_from_slice(&length_u32(ranges.len(), "a transaction")?.to_le_bytes());
    for range in ranges {
        if !range.is_sound() {
            return Err(Error::invalid(format!(
                "ref keys {:?} behind a prefix of {} bytes: give 1 to {} of them, and a prefix that does not end in a digit",
                range.numbers,
                range.prefix.len(),
                RefRange::MAX
            )));
        }
        bytes.extend_from_slice(&range.numbers.start.to_le_bytes());
        bytes.extend_from_slice(&range.numbers.end.to_le_bytes());
        let creates = matches!(range.change, RangeChange::Create(_));
        push_pair(bytes, &range.prefix, u8::from(creates), range_value(range))?;
    }
    Ok(())
}

/// Chooses the mask (the first byte) with which the rest does not hold the magic, and applies it. Zero in all but one of
/// millions of cases.
fn mask(bytes: &mut [u8]) -> Result<()> {
    let rest = &mut bytes[1..];
    for key in 0..=255u8 {
        let wanted = MAGIC.map(|byte| byte ^ key);
        if find(rest, &wanted).is_none() {
            if key != 0 {
                rest.iter_mut().for_each(|byte| *byte ^= key);
            }
            bytes[0] = key;
            return Ok(());
        }
    }
    Err(Error::invalid(
        "a ref transaction whose values hold the log's magic under every mask; shorten it",
    ))
}

fn find(bytes: &[u8], wanted: &[u8; 4]) -> Option<usize> {
    // By its third byte, which is the rarest of the magic in keys and messages.
    memchr::memchr_iter(wanted[2], bytes)
        .filter_map(|at| at.checked_sub(2))
        .find(|at| bytes[*at..].starts_with(wanted))
}

/// The record at the start of `bytes` and its length, or `None` if no whole one stands there. Errors: `UnsupportedFormat` for
/// a record of an unknown type, `Corrupt` for one with a right checksum that makes no sense.
pub(crate) fn decode(bytes: &[u8], place: impl Fn() -> String) -> Result<Option<(Action, usize)>> {
    if bytes.len() < PREFIX_BYTES || bytes[..4] != MAGIC {
        return Ok(None);
    }
    let length = u32_at(bytes, 8) as usize;
    if length > BODY_MAX_BYTES || bytes.len() - PREFIX_BYTES < length {
        return Ok(None);
    }
    let end = PREFIX_BYTES + length;
    if u32_at(bytes, 4) != crc32c::crc32c(&bytes[8..end]) {
        return Ok(None);
    }
    let body = &bytes[PREFIX_BYTES..end];
    let nonsense = || Error::corrupt("a record of the ref log (its checksum is right)", place());
    let (kind, mask) = (*body.first().ok_or_else(nonsense)?, *body.get(1).ok_or_else(nonsense)?);
    if !matches!(kind, 1..=3 | 5 | 7) {
        return Err(Error::UnsupportedFormat {
            found: format!("ref record type {kind} at {}", place()),
        });
    }
    let unmasked: Vec<u8>;
    let rest = if mask == 0 {
        &body[2..]
    } else {
        unmasked = body[2..].iter().map(|byte| byte ^ mask).collect();
        &unmasked
    };
    let with_ranges = kind & WITH_RANGES != 0;
    let (operation, transaction) = decode_body(rest, with_ranges).ok_or_else(nonsense)?;
    let action = match kind & !WITH_RANGES {
        1 => Action::Transaction(operation, transaction),
        2 => Action::Seal,
        _ => Action::Snapshot(transaction),
    };
    Ok(Some((action, end)))
}

/// When the whole record at the start of `bytes` was made, unix ns. O(1).
pub(crate) fn time_ns(bytes: &[u8]) -> u64 {
    // Behind type, mask, three counts, the epoch and the operation's id.
    const AT: usize = PREFIX_BYTES + 2 + 12 + 8 + 16;
    match (bytes.get(PREFIX_BYTES + 1), bytes.get(AT..AT + 8)) {
        (Some(mask), Some(time)) => u64_at(time, 0) ^ u64::from_le_bytes([*mask; 8]),
        _ => 0,
    }
}

/// The keys that a damaged record at the start of `bytes` sets or deletes, as far as it can still be read.
pub(crate) fn salvage_keys(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some(mask) = bytes.get(PREFIX_BYTES + 1) else {
        return Vec::new();
    };
    let body: Vec<u8> = bytes[PREFIX_BYTES + 2..].iter().map(|byte| byte ^ mask).collect();
    let mut keys = Vec::new();
    let mut cursor = Cursor(&body);
    let with_ranges = bytes[PREFIX_BYTES] & WITH_RANGES != 0;
    let _ = walk_pairs(&mut cursor, with_ranges, &mut keys);
    keys
}

fn walk_pairs(cursor: &mut Cursor<'_>, with_ranges: bool, keys: &mut Vec<Vec<u8>>) -> Option<()> {
    let (guards, puts, _) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    cursor.take(8 + 16 + 8)?;
    for _ in 0..guards {
        take_pair(cursor)?;
    }
    for _ in 0..puts {
        let (key, _, _) = take_pair(cursor)?;
        keys.push(key.to_vec());
    }
    if with_ranges {
        for _ in 0..cursor.u32()? {
            let range = take_range(cursor)?;
            if keys.len() > SALVAGED_MAX {
                return None;
            }
            keys.extend(range.keys());
        }
    }
    Some(())
}

fn decode_body(bytes: &[u8], with_ranges: bool) -> Option<(OperationId, RefTransaction)> {
    let mut cursor = Cursor(bytes);
    let (guards, puts, dependencies) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    let mut transaction = RefTransaction {
        epoch: cursor.u64()?,
        ..RefTransaction::default()
    };
    let operation = cursor.array()?;
    let _time_ns = cursor.u64()?;
    for _ in 0..guards {
        let (key, kind, value) = take_pair(&mut cursor)?;
        let guard = match kind {
            0 => Guard::Absent,
            1 => Guard::Equals(value.to_vec()),
            2 => Guard::Present,
            _ => return None,
        };
        transaction.guards.push((key.to_vec(), guard));
    }
    for _ in 0..puts {
        let (key, kind, value) = take_pair(&mut cursor)?;
        let value = match kind {
            0 => None,
            1 => Some(value.to_vec()),
            _ => return None,
        };
        transaction.puts.push((key.to_vec(), value));
    }
    if with_ranges {
        for _ in 0..cursor.u32()? {
            transaction.ranges.push(take_range(&mut cursor)?);
        }
    }
    for _ in 0..dependencies {
        transaction.dependencies.push((cursor.u64()?, cursor.u64()?));
    }
    let length = cursor.u16()?;
    transaction.message = String::from_utf8_lossy(cursor.take(usize::from(length))?).into_owned();
    cursor.0.is_empty().then_some((operation, transaction))
}

fn take_pair<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], u8, &'a [u8])> {
    let length = cursor.u16()?;
    let key = cursor.take(usize::from(length))?;
    let kind = cursor.u8()?;
    let length = cursor.u32()?;
    let value = cursor.take(usize::try_from(length).ok()?)?;
    Some((key, kind, value))
}

fn take_range(cursor: &mut Cursor<'_>) -> Option<RefRange> {
    let (start, end) = (cursor.u32()?, cursor.u32()?);
    let (prefix, kind, value) = take_pair(cursor)?;
    let range = RefRange {
        prefix: prefix.to_vec(),
        numbers: start..end,
        change: match kind {
            0 => RangeChange::Delete,
            1 => RangeChange::Create(value.to_vec()),
            _ => return None,
        },
    };
    range.is_sound().then_some(range)
}

/// Offset of the next whole record behind the start of `bytes`, if there is one.
pub(crate) fn next_record(bytes: &[u8], place: impl Fn() -> String) -> Result<Option<usize>> {
    let mut from = 1;
    while from < bytes.len() {
        let Some(at) = find(&bytes[from..], &MAGIC) else { break };
        let at = from + at;
        if decode(&bytes[at..], &place)?.is_some() {
            return Ok(Some(at));
        }
        from = at + 1;
    }
    Ok(None)
}

/// What bytes are at which no whole record stands.
#[derive(Debug)]
pub(crate) enum Broken {
    /// So many bytes of a write that ended early: the writer died, or the disk was full. Nobody was told that it stands.
    Torn(usize),
    /// A whole record and its length; its magic or its length field is damaged, and its checksum proves all the rest.
    Repaired(Box<Action>, usize),
    /// What no writer leaves behind.
    Damaged,
}

/// Tells what stands at the start of `bytes`, which are not empty and go on to the next whole record, or to the end of the log
/// if there is none. Errors: as [`decode`]. O(bytes).
pub(crate) fn broken(bytes: &[u8], place: impl Fn() -> String) -> Result<Broken> {
    let whole = (bytes.len() >= PREFIX_BYTES).then(|| u32_at(bytes, 8) as usize);
    if bytes[..bytes.len().min(4)] != MAGIC[..bytes.len().min(4)] {
        if let Some(length) = whole
            && let Some((action, length)) = repair(bytes, length, &place)?
        {
            return Ok(Broken::Repaired(Box::new(action), length));
        }
        // The first byte of the magic occurs in it once, so this cannot be cut in two ways.
        let begun = prefix_of_magic(bytes);
        return Ok(if begun > 0 {
            Broken::Torn(begun)
        } else {
            Broken::Damaged
        });
    }
    // No torn record holds the magic, so it ends where the magic stands again.
    let end = find(&bytes[1..], &MAGIC).map_or(bytes.len(), |at| at + 1);
    let Some(length) = whole else {
        return Ok(Broken::Torn(end));
    };
    // A damaged length: whole, if the checksum fits with the right one. A few bytes of the next torn magic may follow.
    for tail in 0..MAGIC.len() {
        let Some(length) = end.checked_sub(tail + PREFIX_BYTES) else {
            break;
        };
        if (tail == 0 || bytes[end - tail..end] == MAGIC[..tail])
            && let Some((action, length)) = repair(bytes, length, &place)?
        {
            return Ok(Broken::Repaired(Box::new(action), length));
        }
    }
    let total = PREFIX_BYTES + length;
    // Where the magic stands within the header, the length is not one, unless that magic is none.
    let header = end >= PREFIX_BYTES
        && !(1..MAGIC.len()).any(|tail| {
            // Nor where a magic that is torn itself begins within it.
            end - tail < PREFIX_BYTES && bytes[end - tail..end] == MAGIC[..tail]
        });
    let declared = header && (length > BODY_MAX_BYTES || total <= end);
    let flipped = end < bytes.len() && total <= bytes.len() && total > end && flipped_into_magic(&bytes[..total], end);
    Ok(if declared || flipped {
        Broken::Damaged
    } else {
        Broken::Torn(end)
    })
}

fn prefix_of_magic(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .zip(MAGIC)
        .take_while(|(byte, magic)| **byte == *magic)
        .count()
}

/// The record at the start of `bytes`, read with the right magic and this length; `None` if its checksum does not fit then.
fn repair(bytes: &[u8], length: usize, place: impl Fn() -> String) -> Result<Option<(Action, usize)>> {
    if length > BODY_MAX_BYTES || bytes.len() - PREFIX_BYTES < length {
        return Ok(None);
    }
    let length_bytes = (length as u32).to_le_bytes();
    let body = &bytes[PREFIX_BYTES..PREFIX_BYTES + length];
    if crc32c::crc32c_append(crc32c::crc32c(&length_bytes), body) != u32_at(bytes, 4) {
        return Ok(None);
    }
    let mut record = bytes[..PREFIX_BYTES + length].to_vec();
    set_at(&mut record, 0, &MAGIC);
    set_at(&mut record, 8, &length_bytes);
    decode(&record, place)
}

/// Whether the magic at `at` stands there because one bit of this record flipped, so that it only looks torn.
fn flipped_into_magic(record: &[u8], at: usize) -> bool {
    let mut record = record.to_vec();
    let last = (at + MAGIC.len()).min(record.len());
    (at..last).any(|byte| {
        (0..8).any(|bit| {
            record[byte] ^= 1 << bit;
            let whole = u32_at(&record, 4) == crc32c::crc32c(&record[8..]);
            record[byte] ^= 1 << bit;
            whole
        })
    })
}

#[cfg(test)]
#[path = "reflog_tests.rs"]
mod tests;
