//! Who looks things up by their ids while a collector is at its end, and behind it.

use crate::*;

/// A section began while the collector was at its end, and looked something up only when that had ended. What it took for condemned, and so
/// for something to be spared, was gone; but the file was still open, so it could be read.
#[test]
fn what_is_looked_up_behind_the_end_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let mut batch = Batch::new();
    let ids = [1, 2].map(|seed| batch.put_new(Kind::Checkpoint, &content(seed, 200)).unwrap());
    store.commit(&mut batch).unwrap();
    let below = put(&store, &content(3, 200));
    let other = open_with(directory.path(), tiny());
    for id in &ids {
        assert!(other.get(Kind::Checkpoint, id).unwrap().is_some());
    }
    let mut section = None;
    let mut mark = Roots::with(&store, |call| {
        if call == 3 {
            section = Some(other.section());
        }
    });
    let collected = store.collect(&mut mark, &everything()).unwrap();
    drop(mark);
    assert_eq!((collected.gave_up, collected.objects_removed), (None, 3));
    assert!(section.is_some());
    assert!(other.get(Kind::Checkpoint, &ids[0]).unwrap().is_none());
    assert!(!other.contains(&ids[1]).unwrap() && !other.contains(&below).unwrap());
}

/// Others look up things that nobody keeps, one after the other, in every phase. The collector comes to an end all the same: who looks up something
/// while it decides waits, and is told that it is gone.
#[test]
fn looking_things_up_does_not_keep_a_collector_from_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), tiny());
    let mut batch = Batch::new();
    let ids: Vec<Id> = (0..40)
        .map(|seed| batch.put_new(Kind::Checkpoint, &content(seed, 200)).unwrap())
        .collect();
    store.commit(&mut batch).unwrap();
    let other = open_with(directory.path(), tiny());
    let (mut answered, mut calls) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let (ask, asked) = std::sync::mpsc::channel::<Id>();
        let (answer, answers) = std::sync::mpsc::channel();
        let other = &other;
        scope.spawn(move || {
            for id in asked {
                let section = other.section();
                let found = other.get(Kind::Checkpoint, &id).unwrap().is_some();
                drop(section);
                answer.send((id, found)).unwrap();
            }
        });
        let mut mark = Roots::with(&store, |call| {
            calls = call;
            ask.send(ids[call]).unwrap();
            // While it decides there is no answer.
            answered.extend(answers.recv_timeout(Duration::from_millis(300)).ok());
        });
        let collected = store.collect(&mut mark, &everything()).unwrap();
        drop(mark);
        assert_eq!(collected.gave_up, None);
        assert!(collected.objects_removed > 20);
        drop(ask);
        let late: Vec<(Id, bool)> = answers.iter().collect();
        assert!(
            late.last().is_some_and(|last| last.0 == ids[calls]),
            "asked while it decided"
        );
        assert!(late.iter().all(|(_, found)| !found), "{late:?}");
        assert_eq!(answered.len() + late.len(), calls);
    });
    // Found in the first look, before anything was to be removed, it was of no interest to anybody in the end.
    for (at, (id, found)) in answered.into_iter().enumerate() {
        assert!(found);
        assert_eq!(store.get(Kind::Checkpoint, &id).unwrap().is_some(), at > 0, "{at}");
    }
}
