//! The decoders of this crate as functions of bytes, for the fuzzers in `fuzz/`; there only with `--cfg fuzzing`. Each tries the
//! bytes as they are, and once more with the checksums set right, since no fuzzer guesses those. What a decoder must never do is
//! asserted.

use std::io;
use std::sync::Arc;

use crate::bytes_le::{set_at, u32_at, u64_at};
use crate::encoding::{self, Payload};
use crate::frame;
use crate::id::Id;
use crate::index::{ENTRY_BYTES, SealedIndex, encode_index};
use crate::log_records::{LogRecord, Piece, log_records};
use crate::merged_index::{BLOCK_BYTES, Broken, MergedIndex, body_at};
use crate::prefix::HexPrefix;
use crate::record::{self, HEADER_BYTES, is_whole};
use crate::reflog::LOG_HEADER_BYTES;
use crate::segment::{SEGMENT_HEADER_BYTES, check_header, scan};
use crate::splice;
use crate::vfs::{Mapped, SharedWords, VfsFile};
use crate::{batch, reflog};

/// Bytes in the place of a file.
#[derive(Debug)]
struct Memory(Vec<u8>);

impl Mapped for Memory {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl VfsFile for Memory {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }
    fn append(&self, _: &[u8]) -> io::Result<usize> {
        refused()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }
    fn sync_data(&self) -> io::Result<()> {
        refused()
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        refused()
    }
    fn try_lock_exclusive(&self) -> io::Result<bool> {
        refused()
    }
    fn is_locked(&self) -> io::Result<bool> {
        refused()
    }
    fn map_readonly(&self) -> io::Result<Arc<dyn Mapped>> {
        refused()
    }
    fn map_shared(&self, _: usize) -> io::Result<Arc<dyn SharedWords>> {
        refused()
    }
}

/// A segment: its header, the scan, and the index that is made of it.
pub fn segment(data: &[u8]) {
    segment_as_is(data);
    let mut repaired = data.to_vec();
    let mut at = SEGMENT_HEADER_BYTES as usize;
    while at + HEADER_BYTES <= repaired.len() {
        let length = u32_at(&repaired, at + 4);
        let end = at as u64 + HEADER_BYTES as u64 + u64::from(length);
        if end > repaired.len() as u64 {
            at += 8;
            continue;
        }
        // A place that is odd on purpose stays wrong.
        if repaired[at + 10] & 0x80 == 0 {
            record::finish(&mut repaired[at..], length, at as u64);
        }
        at = record::padded(end) as usize;
    }
    segment_as_is(&repaired);
}

fn segment_as_is(data: &[u8]) {
    let file = Memory(data.to_vec());
    let _ = check_header(&file, 1, &[7; 16], "memory");
    let Ok(found) = scan(&file, SEGMENT_HEADER_BYTES, u64::MAX) else {
        return;
    };
    let mut last = SEGMENT_HEADER_BYTES;
    for record in &found.records {
        assert!(record.offset >= last, "records overlap");
        last = record.offset + record.header.record_bytes();
        assert!(is_whole(&data[record.offset as usize..], &record.header, record.offset));
    }
    assert!(last.max(SEGMENT_HEADER_BYTES) == found.end || found.records.is_empty());
    assert!(found.gaps.iter().all(|(offset, length)| offset + length <= found.end));
    let index =
        SealedIndex::from_bytes(encode_index(1, &found, 0)).unwrap_or_else(|| unreachable!("own index refused"));
    for record in &found.records {
        assert!(
            index.lookup(&record.header.id).is_some(),
            "an own index misses a record"
        );
    }
}

/// A sealed index.
pub fn index(data: &[u8]) {
    index_as_is(data.to_vec());
    let mut repaired = data.to_vec();
    if repaired.len() >= 64 {
        let rows = u64_at(&repaired, 32) % 1_000;
        set_at(&mut repaired, 32, &rows.to_le_bytes());
        let rows_end = 64 + rows as usize * ENTRY_BYTES;
        let words = repaired.len().saturating_sub(rows_end) / 8;
        set_at(&mut repaired, 12, &(words as u32).to_le_bytes());
        repaired.truncate(rows_end + words * 8);
        set_at(&mut repaired, 0, b"PYIIDX1\n");
        set_at(&mut repaired, 8, &1u32.to_le_bytes());
        set_at(&mut repaired, 16, &7u64.to_le_bytes());
        let crc = crc32c::crc32c(&repaired[64..]);
        set_at(&mut repaired, 48, &crc.to_le_bytes());
        let crc = crc32c::crc32c(&repaired[..52]);
        set_at(&mut repaired, 52, &crc.to_le_bytes());
        index_as_is(repaired);
    }
}

fn index_as_is(data: Vec<u8>) {
    let ids = ids_in(&data, 64);
    let Some(index) = SealedIndex::from_bytes(data) else {
        return;
    };
    for at in 0..index.len() {
        let _ = index.entry(at);
    }
    for id in &ids {
        let _ = index.lookup(id);
        let hex = id.to_hex();
        if let Ok(prefix) = HexPrefix::parse(&hex[..usize::from(id.0[0] % 64)]) {
            let _ = index.find(&prefix, 1);
        }
    }
}

/// What may be ids in the bytes: those of rows of the usual length.
fn ids_in(data: &[u8], from: usize) -> Vec<Id> {
    let rows = data.get(from..).unwrap_or_default();
    rows.chunks(ENTRY_BYTES)
        .filter_map(|row| Id::try_from(row.get(..32)?).ok())
        .take(64)
        .collect()
}

/// A merged index.
pub fn merged_index(data: &[u8]) {
    merged_as_is(data.to_vec(), false);
    let mut repaired = data.to_vec();
    if repaired.len() < 64 {
        return;
    }
    let covered = (u32_at(&repaired, 32) % 8 + 1) as usize;
    set_at(&mut repaired, 32, &(covered as u32).to_le_bytes());
    let body = body_at(covered);
    if repaired.len() <= body {
        return;
    }
    let body_bytes = (repaired.len() - body) & !7;
    let rows = (u64_at(&repaired, 24) as usize % 1_000).min(body_bytes / ENTRY_BYTES);
    let words = (body_bytes - rows * ENTRY_BYTES) / 8;
    repaired.truncate(body + rows * ENTRY_BYTES + words * 8);
    let mut left = rows as u64;
    for place in 0..covered {
        let at = 64 + place * 32;
        let of_it = if place + 1 == covered {
            left
        } else {
            u64_at(&repaired, at + 16) % (left + 1)
        };
        left -= of_it;
        set_at(&mut repaired, at, &(place as u64 + 1).to_le_bytes());
        set_at(&mut repaired, at + 16, &of_it.to_le_bytes());
    }
    let checksums: Vec<u8> = repaired[body..]
        .chunks(BLOCK_BYTES)
        .flat_map(|block| crc32c::crc32c(block).to_le_bytes())
        .collect();
    set_at(&mut repaired, 0, b"PYIMIX1\n");
    set_at(&mut repaired, 8, &1u32.to_le_bytes());
    set_at(&mut repaired, 12, &(words as u32).to_le_bytes());
    set_at(&mut repaired, 16, &(covered as u64).to_le_bytes());
    set_at(&mut repaired, 24, &(rows as u64).to_le_bytes());
    let crc = crc32c::crc32c(&repaired[64..body]);
    set_at(&mut repaired, 40, &crc.to_le_bytes());
    set_at(&mut repaired, 44, &crc32c::crc32c(&checksums).to_le_bytes());
    let crc = crc32c::crc32c(&repaired[..48]);
    set_at(&mut repaired, 48, &crc.to_le_bytes());
    repaired.extend_from_slice(&checksums);
    merged_as_is(repaired, true);
}

fn merged_as_is(data: Vec<u8>, repaired: bool) {
    if data.len() < 64 {
        return;
    }
    let (number, covered) = (u64_at(&data, 16), u32_at(&data, 32) as usize % 1_000);
    let ids = ids_in(&data, body_at(covered));
    let Some(index) = MergedIndex::from_map(Arc::new(Memory(data)), number) else {
        assert!(!repaired, "a head with right checksums is refused");
        return;
    };
    for place in (0..index.covered().len()).step_by(2) {
        index.bind(place, place as u32);
    }
    // Unsorted rows, whose checksums are right, may be found or not; a lookup must end, and say so.
    for id in &ids {
        let found = index.each_copy(id, |slot, entry| {
            assert!(entry.id == *id && slot % 2 == 0);
            false
        });
        assert!(found == Ok(false) || found == Err(Broken));
        if let Ok(prefix) = HexPrefix::parse(&id.to_hex()[..usize::from(id.0[0] % 64)]) {
            let _ = index.find(&prefix, 1);
        }
    }
    assert!(index.check_all().is_ok() || !repaired);
    let _ = (index.objects(), index.table().len());
    index.forget(0);
}

/// A ref log behind its header: records, what is torn or damaged between them.
pub fn ref_log(data: &[u8]) {
    ref_log_as_is(data);
    let mut repaired = data.to_vec();
    let mut at = 0;
    while at + 12 <= repaired.len() {
        let length = u32_at(&repaired, at + 8) as usize;
        let end = at.saturating_add(12).saturating_add(length);
        if end > repaired.len() {
            at += 1;
            continue;
        }
        set_at(&mut repaired, at, &reflog::MAGIC);
        let crc = crc32c::crc32c(&repaired[at + 8..end]);
        set_at(&mut repaired, at + 4, &crc.to_le_bytes());
        at = end;
    }
    ref_log_as_is(&repaired);
}

fn ref_log_as_is(data: &[u8]) {
    let name = || "memory".to_string();
    let end = LOG_HEADER_BYTES + data.len() as u64;
    let mut at = LOG_HEADER_BYTES;
    for piece in log_records(data, LOG_HEADER_BYTES, name) {
        let Ok(piece) = piece else { return };
        let (from, to) = match &piece {
            Piece::Record(record) => (record.start, record.end),
            Piece::Damage(damage) => (damage.start, damage.end),
        };
        // In order; what is passed over lies between them.
        assert!(at <= from && from < to && to <= end);
        at = to;
        let Piece::Record(LogRecord { action, time_ns, .. }) = piece else {
            continue;
        };
        // What was read can be written, and is read as the same again.
        if let Ok(bytes) = reflog::encode(&action, time_ns)
            && !format!("{action:?}").contains('\u{fffd}')
        {
            let again = reflog::decode(&bytes, name).ok().flatten().map(|(action, _)| action);
            assert_eq!(format!("{:?}", Some(action)), format!("{again:?}"));
        }
    }
}

/// A batch as it goes to the disk, read as a segment: whatever the contents, every record is found.
pub fn batch(data: &[u8]) {
    let mut batch = batch::Batch::new();
    for part in data.split(|byte| *byte == 0) {
        let _ = batch.put_new(crate::Kind::Blob, part);
    }
    let mut segment = vec![0; SEGMENT_HEADER_BYTES as usize];
    segment.extend_from_slice(batch.finish(SEGMENT_HEADER_BYTES));
    let found = scan(&Memory(segment.clone()), SEGMENT_HEADER_BYTES, u64::MAX);
    assert!(found.is_ok_and(|found| found.records.len() == batch.len() && found.gaps.is_empty() && !found.torn));
}

/// A payload of every encoding; a frame, as it is and made from the bytes with one byte changed.
pub fn payload(data: &[u8]) {
    for encoding in 0..=5 {
        if let Ok(Some(Payload::Chunks(list))) = encoding::parse(encoding, data) {
            let rows: Vec<(Id, u32)> = list.rows().collect();
            assert_eq!(encoding::ChunkList::encode(&rows), data);
        }
    }
    let cut = data.len().min(usize::from(data.first().copied().unwrap_or(0)));
    let (base, content) = data.split_at(cut);
    if let Ok(made) = splice::apply(content, base) {
        assert!(
            made.len() <= base.len() + content.len(),
            "a splice makes more than it has"
        );
    }
    for dictionary in [&[][..], base] {
        let _ = frame::decompress(&mut data.to_vec(), cut, dictionary);
        let Some(mut compressor) = frame::Compressor::new() else {
            return;
        };
        let Some(made) = compressor.compress(content, dictionary, 3) else {
            continue;
        };
        let mut bytes = [&[0; 4], made].concat();
        if frame::can_be_base(dictionary) {
            let again = frame::decompress(&mut bytes.clone(), 4, dictionary);
            assert_eq!(again.as_deref(), Ok(content), "a frame that was made is not read");
        }
        let at = 4 + cut % made.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= base.last().copied().unwrap_or(1);
        }
        let _ = frame::decompress(&mut bytes, 4, dictionary);
    }
}
