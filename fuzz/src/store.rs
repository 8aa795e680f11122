//! A whole store made of the bytes: opened, read, written to, opened again. Files of a store come in pieces: what file (a byte), a
//! length (two bytes), the content.

use std::path::Path;
use std::sync::Arc;

use pyi_cas::{Batch, FileStore, Kind, ObjectStore, OpenMode, OpenOptions, Vfs};
use pyi_testing::Disk;

/// What a piece's first byte chooses from.
pub const FILES: [&str; 12] = [
    "segments/0000000000000001.seg",
    "segments/0000000000000002.seg",
    "segments/0000000000000003.seg",
    "segments/0000000000000001.idx",
    "segments/0000000000000002.idx",
    "segments/0000000000000002.mix",
    "refs/0000000000000001.log",
    "refs/0000000000000002.log",
    "control",
    "segments/merged.tmp-0011223344556677",
    "boot",
    "gc",
];

/// The store's `format`.
pub const FORMAT: &str = "pyi-store 1\nhash blake3\nstore 07070707070707070707070707070707\ncreated 1\n";

fn write(vfs: &dyn Vfs, name: &str, content: &[u8]) {
    let path = Path::new("/s").join(name);
    // The first piece of a file counts.
    if let Ok(file) = vfs.open(&path, OpenMode::CreateNew) {
        let mut at = 0;
        while at < content.len() {
            at += file
                .write_at(&content[at..], at as u64)
                .expect("the simulated disk writes");
        }
    }
}

fn options(read_only: bool) -> OpenOptions {
    OpenOptions {
        create: false,
        read_only,
        segment_limit_bytes: 2_000,
        ref_log_limit_bytes: 1_000,
        background_seal: false,
        ..OpenOptions::default()
    }
}

pub fn store(data: &[u8]) {
    let disk = Disk::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(disk.process());
    for directory in ["/s/segments", "/s/refs", "/s/sessions"] {
        vfs.create_dir_all(Path::new(directory))
            .expect("the simulated disk creates");
    }
    write(vfs.as_ref(), "format", FORMAT.as_bytes());
    let mut rest = data;
    while let Some(([which, low, high], behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (content, next) = behind.split_at(length);
        write(vfs.as_ref(), FILES[usize::from(*which) % FILES.len()], content);
        rest = next;
    }
    for read_only in [true, false] {
        let Ok(store) = FileStore::open(Arc::clone(&vfs), Path::new("/s"), options(read_only)) else {
            continue;
        };
        let _ = store.stats();
        for id in store.find_prefix("", Kind::Blob).unwrap_or_default() {
            // Whatever an index says: what is served has the id that was asked for.
            if let Ok(Some(content)) = store.get(Kind::Blob, &id) {
                assert_eq!(Kind::Blob.id_of(&content), id);
            }
        }
        let _ = store.refs().get(b"b/main");
        if read_only {
            continue;
        }
        let mut stored = Vec::new();
        for number in 0..20u8 {
            let mut batch = Batch::new();
            let content = vec![number; 300];
            let id = batch.put_new(Kind::Blob, &content).expect("small");
            if store.commit(&mut batch).is_ok() {
                stored.push((id, content));
            }
        }
        drop(store);
        let again =
            FileStore::open(Arc::clone(&vfs), Path::new("/s"), options(false)).expect("what opened once opens again");
        for (id, content) in stored {
            let found = again.get(Kind::Blob, &id);
            assert!(
                matches!(&found, Ok(Some(bytes)) if *bytes == content),
                "what was committed is gone: {found:?}"
            );
        }
    }
}
