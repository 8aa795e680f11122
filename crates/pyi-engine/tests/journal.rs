//! The journal: queries find what a plain scan finds, the chain shows what was there before, going back loses nothing.
#![allow(clippy::unwrap_used)]

use pyi_engine::{ErrorKind, JournalView, Query, Repository, RepositoryOptions, Value, Workspace};

fn data(number: u64) -> Value {
    Value::Map(vec![("n".to_owned(), Value::Int(i128::from(number)))])
}

fn number(view: &mut JournalView, index: u64) -> i128 {
    let Some(Value::Int(number)) = view.get(index).unwrap().unwrap().data.get("n").cloned() else {
        unreachable!()
    };
    number
}

fn fill(workspace: &Workspace, events: std::ops::Range<u64>) {
    for event in events {
        let kind = if event % 100 == 0 { "rare" } else { "often" };
        workspace.journal_append(kind, data(event)).unwrap();
    }
}

#[test]
fn a_query_finds_what_a_scan_finds() {
    let directory = tempfile::tempdir().unwrap();
    let repository = Repository::open(directory.path(), &RepositoryOptions::default()).unwrap();
    let workspace = repository.workspace("main").unwrap();
    // Some stored, some in the tree, some fresh.
    fill(&workspace, 0..700);
    workspace.checkpoint("", Value::Null).unwrap();
    fill(&workspace, 700..1100);
    let mut view = workspace.journal().unwrap();
    assert_eq!(
        (view.len(), number(&mut view, 0), number(&mut view, 1099)),
        (1100, 0, 1099)
    );
    let events: Vec<_> = (0..1100).map(|index| view.get(index).unwrap().unwrap()).collect();
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    for (kind, since, until, start, stop) in [
        (None, None, None, 0, None),
        (Some("rare"), None, None, 0, None),
        (Some("rare"), Some(150), Some(950), 0, None),
        (Some("often"), None, Some(3), 0, Some(1000)),
        (Some("none"), None, None, 0, None),
        (None, Some(1099), None, 1098, Some(5000)),
        (None, None, None, 2000, None),
        (None, Some(500), Some(400), 0, None),
    ] {
        let query = Query {
            kind: kind.map(str::to_owned),
            since_ns: since.map(|at: usize| events[at].time_ns),
            until_ns: until.map(|at: usize| events[at].time_ns),
            start,
            stop,
        };
        let wanted: Vec<u64> = (0..1100)
            .filter(|index| {
                let event = &events[*index as usize];
                *index >= start
                    && stop.is_none_or(|stop| *index < stop)
                    && kind.is_none_or(|kind| event.kind == kind)
                    && query.since_ns.is_none_or(|since| event.time_ns >= since)
                    && query.until_ns.is_none_or(|until| event.time_ns < until)
            })
            .collect();
        let mut range = view.range(&query).unwrap();
        let mut found = Vec::new();
        while let Some((index, event)) = view.find(range.clone(), kind).unwrap() {
            assert_eq!(event, events[index as usize]);
            found.push(index);
            range.start = index + 1;
        }
        assert_eq!(found, wanted, "{query:?}");
    }
}

#[test]
fn the_chain_shows_whether_a_journal_goes_on_from_another() {
    let directory = tempfile::tempdir().unwrap();
    let repository = Repository::open(directory.path(), &RepositoryOptions::default()).unwrap();
    let workspace = repository.workspace("main").unwrap();
    let empty = workspace.journal().unwrap();
    assert_eq!((empty.tip().unwrap(), empty.verify(None).unwrap().events), (None, 0));
    fill(&workspace, 0..10);
    let early = workspace.journal_tip().unwrap().unwrap();
    fill(&workspace, 10..600);
    let first = workspace.checkpoint("", Value::Null).unwrap();
    fill(&workspace, 600..605);
    let later = workspace.journal().unwrap();
    let verified = later.verify(Some(&early)).unwrap();
    assert_eq!((verified.events, verified.known_events), (605, Some(10)));
    assert_eq!(verified.tip, later.tip().unwrap());
    let second = workspace.checkpoint("", Value::Null).unwrap();
    let old_tip = second.journal().unwrap().tip().unwrap().unwrap();

    // Going back and on: the tip that was left is in the checkpoint that was left, and in no chain of this workspace.
    workspace.restore(first.id()).unwrap();
    fill(&workspace, 900..903);
    let now = workspace.journal().unwrap();
    assert_eq!(now.verify(Some(&early)).unwrap().events, 603);
    let error = now.verify(Some(&old_tip)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("does not go on"), "{error}");
    let mut left = second.journal().unwrap();
    assert_eq!((left.len(), number(&mut left, 604)), (605, 604));
    assert_eq!(left.verify(Some(&old_tip)).unwrap().known_events, Some(605));
}
