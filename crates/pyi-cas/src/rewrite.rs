//! Recoding many objects at once, on several threads, in an order that does not depend on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use crate::error::Result;
use crate::id::{Id, IdMap, IdSet};
use crate::kind::Kind;
use crate::recode::{Recoded, Recoder};

/// Objects that a thread takes at once.
const RUN: usize = 64;
/// Finished runs that wait for the one before them, for each thread.
const RUNS_AHEAD: usize = 4;

/// An object to be recoded, and the one that it may become a delta on; from [`crate::recode::plan`].
pub(crate) type Planned = (Kind, Id, Option<Id>);

/// Takes what became of an object: `None` if there is none, or why it could not be read.
pub(crate) type Write<'a> = dyn FnMut(Kind, &Id, Result<Option<Recoded>>) -> Result<()> + 'a;

/// Recodes `objects` and hands each to `write`, in order, with the error of reading it in its place if there was one. `read` gives the
/// content of an object and is called from `threads` threads; where a base cannot be read, the object is stored whole.
///
/// Errors: those of `write`, which end it, and `Storage` if there is no memory. O(contents); a few runs of objects are in memory.
pub(crate) fn recode_all(
    objects: &[Planned],
    read: &(dyn Fn(Kind, &Id) -> Result<Option<Bytes>> + Sync),
    threads: usize,
    write: &mut Write<'_>,
) -> Result<()> {
    let threads = threads.clamp(1, objects.len().div_ceil(RUN).max(1));
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    if threads == 1 {
        let mut recoder = Recoder::new()?;
        for planned in objects {
            write(planned.0, &planned.1, recode(&mut recoder, planned, read))?;
        }
        return Ok(());
    }
    let runs: Vec<&[Planned]> = objects.chunks(RUN).collect();
    let recoders: Vec<Recoder> = (0..threads).map(|_| Recoder::new()).collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(threads * RUNS_AHEAD);
        for mut recoder in recoders {
            let (sender, runs, next, stop) = (sender.clone(), &runs, &next, &stop);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(at).filter(|_| !stop.load(Ordering::Relaxed)) else {
                        return;
                    };
                    let recoded: Vec<_> = run.iter().map(|planned| recode(&mut recoder, planned, read)).collect();
                    if sender.send((at, recoded)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut due) = (BTreeMap::new(), 0);
        let mut take = |at: usize, recoded: Vec<Result<Option<Recoded>>>| -> Result<()> {
            waiting.insert(at, recoded);
            while let Some(recoded) = waiting.remove(&due) {
                for ((kind, id, _), recoded) in runs[due].iter().zip(recoded) {
                    write(*kind, id, recoded)?;
                }
                due += 1;
            }
            Ok(())
        };
        for (at, recoded) in &receiver {
            if let Err(error) = take(at, recoded) {
                // The threads end at their next look; dropping the receiver wakes those that wait to send.
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    })
}

fn recode(
    recoder: &mut Recoder,
    (kind, id, base): &Planned,
    read: &(dyn Fn(Kind, &Id) -> Result<Option<Bytes>> + Sync),
) -> Result<Option<Recoded>> {
    let Some(content) = read(*kind, id)? else {
        return Ok(None);
    };
    let base = base.and_then(|base| Some((base, read(*kind, &base).ok().flatten()?)));
    let base = base.as_ref().map(|(id, content)| (id, &content[..]));
    Ok(Some(recoder.encode(&content, base)))
}

/// Which chunk of a newer version each chunk of an older one is likely to be a delta on: between chunks that both have, the first on
/// the first, the second on the second. Adds to `newer_of`; chunks that have something newer already keep it. O(chunks).
pub(crate) fn link_chunks(older: &[Id], newer: &[Id], newer_of: &mut IdMap<Id>) {
    let places: IdMap<usize> = newer.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let shared: IdSet = older.iter().filter(|id| places.contains_key(*id)).copied().collect();
    let mut at = 0;
    for id in older {
        if let Some(place) = places.get(id) {
            at = place + 1;
            continue;
        }
        if let Some(counterpart) = newer.get(at).filter(|counterpart| !shared.contains(*counterpart)) {
            newer_of.entry(*id).or_insert(*counterpart);
            at += 1;
        } else if let Some(before) = at.checked_sub(1).and_then(|before| newer.get(before)) {
            // More chunks than there were: the neighbour still shares some of it.
            newer_of.entry(*id).or_insert(*before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::recode::plan;
    use parking_lot::Mutex;

    fn versions(count: usize) -> Vec<(Id, Bytes)> {
        let mut text: Vec<u8> = (0..300u32)
            .flat_map(|i| format!("{i} {}\n", i * i).into_bytes())
            .collect();
        (0..count)
            .map(|i| {
                let at = i * 31 % text.len();
                text[at] = b'a' + (i % 26) as u8;
                (Kind::Blob.id_of(&text), Bytes::from(text.clone()))
            })
            .collect()
    }

    #[test]
    fn the_result_is_the_same_with_any_number_of_threads() {
        let versions = versions(500);
        let contents: IdMap<Bytes> = versions.iter().cloned().collect();
        let ids: Vec<Id> = versions.iter().map(|(id, _)| *id).collect();
        let places: IdMap<usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let order = plan(&ids, &|id| places[id].checked_sub(1).map(|at| ids[at]), &|_| false);
        let planned: Vec<Planned> = order.iter().map(|(id, base)| (Kind::Blob, *id, *base)).collect();
        let gone = ids[100];
        let run = |threads: usize| {
            let mut all = Vec::new();
            let read = |_: Kind, id: &Id| Ok(contents.get(id).filter(|_| *id != gone).cloned());
            recode_all(&planned, &read, threads, &mut |_, id, recoded| {
                all.push((*id, recoded.unwrap()));
                Ok(())
            })
            .unwrap();
            all
        };
        let one = run(1);
        assert_eq!(
            one.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            order.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        );
        assert!(one.iter().all(|(id, recoded)| recoded.is_none() == (*id == gone)));
        let deltas = one
            .iter()
            .flat_map(|(_, recoded)| recoded)
            .filter(|recoded| recoded.is_delta())
            .count();
        assert!((490..500).contains(&deltas), "{deltas}");
        assert_eq!(one, run(3));
        assert_eq!(one, run(64));
    }

    #[test]
    fn an_error_of_the_writer_ends_it_and_one_of_the_reader_is_handed_on() {
        let planned: Vec<Planned> = (0..10_000u32)
            .map(|i| (Kind::Blob, Kind::Blob.id_of(&i.to_le_bytes()), None))
            .collect();
        let reads = Mutex::new(0);
        let read = |_: Kind, _: &Id| {
            *reads.lock() += 1;
            Err(Error::corrupt("something", "somewhere"))
        };
        let mut written = 0;
        let result = recode_all(&planned, &read, 4, &mut |_, _, recoded| {
            assert!(matches!(recoded, Err(Error::Corrupt { .. })));
            written += 1;
            if written == 100 { Err(Error::Closed) } else { Ok(()) }
        });
        assert!(matches!(result, Err(Error::Closed)));
        assert!(written == 100 && *reads.lock() < 5_000);
        recode_all(&[], &read, 4, &mut |_, _, _| Ok(())).unwrap();
    }

    #[test]
    fn chunks_are_linked_between_those_that_both_have() {
        let id = |i: u8| Id([i; 32]);
        let ids = |list: &[u8]| list.iter().map(|i| id(*i)).collect::<Vec<_>>();
        let links = |older: &[u8], newer: &[u8]| {
            let mut newer_of = IdMap::default();
            link_chunks(&ids(older), &ids(newer), &mut newer_of);
            let mut links: Vec<(u8, u8)> = newer_of.iter().map(|(a, b)| (a.0[0], b.0[0])).collect();
            links.sort();
            links
        };
        assert_eq!(links(&[1, 2, 3, 4], &[1, 9, 3, 8]), [(2, 9), (4, 8)]);
        assert_eq!(links(&[1, 2, 5, 3], &[1, 9, 3]), [(2, 9), (5, 9)]);
        assert_eq!(links(&[1, 2, 3], &[1, 3]), [(2, 1)]);
        assert_eq!(links(&[7], &[]), []);
        assert_eq!(links(&[5, 1], &[1]), []);
    }
}
