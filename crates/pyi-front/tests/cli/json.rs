//! `--json`: one document on stdout, of a shape that stays.

use crate::common::Place;
use serde_json::Value;

/// The keys of an object, in order.
fn keys(value: &Value) -> String {
    let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.join(" ")
}

#[test]
fn every_verb_has_its_shape() {
    let place = Place::new();
    // serde_json sorts keys.
    let ask = |args: &[&str]| place.pyi(&[args, &["--json"]].concat()).json();
    assert_eq!(keys(&ask(&["import"])), "branch bytes checkpoint commit files store");
    assert_eq!(keys(&ask(&["fork", "w"])), "checkpoint from workspace");
    assert_eq!(
        keys(&ask(&["materialize", "w", "../w"])),
        "bytes checkpoint directories directory files git"
    );
    place.write("w/new.txt", "1\n2\n");
    let captured = ask(&["capture", "w", "../w"]);
    assert_eq!(keys(&captured), "changes checkpoint made workspace");
    assert_eq!(captured["changes"][0]["path"], "new.txt");
    assert_eq!(keys(&captured["changes"][0]["new"]), "id mode path size type");
    assert_eq!(
        keys(&ask(&["checkpoint", "w", "-m", "é \"q\"\n2"])),
        "changes checkpoint made workspace"
    );
    let changes = ask(&["changes", "w", "--stat", "-p"]);
    assert_eq!(keys(&changes), "changes new old");
    assert_eq!(
        keys(&changes["changes"][0]),
        "deletions insertions kind new old patch path"
    );
    assert_eq!(changes["changes"][0]["insertions"], 2);
    let log = ask(&["checkpoints", "w"]);
    assert_eq!(keys(&log[0]), "id message metadata names parents time tree");
    assert_eq!(log[0]["message"], "é \"q\"\n2");
    assert_eq!(log[0]["parents"][0], log[1]["id"]);
    assert_eq!(log.as_array().unwrap().len(), 3);
    assert_eq!(
        keys(&ask(&["workspaces"])[0]),
        "checkpoint dirty files message name time"
    );
    assert_eq!(keys(&ask(&["rewind", "w", "w^"])), "checkpoint previous workspace");
    assert_eq!(keys(&ask(&["fork", "v"])), "checkpoint from workspace");
    assert_eq!(
        keys(&ask(&["join", "v", "w"])),
        "changes checkpoint clean conflicts workspace"
    );
    assert_eq!(keys(&ask(&["resolve", "v"])), "checkpoint conflicts resolved workspace");
    assert_eq!(
        keys(&ask(&["publish", "w", "main"])),
        "branch checkpoint previous workspace"
    );
    assert_eq!(
        keys(&ask(&["export", "w", "-b", "x"])),
        "branch checkpoint commit repository"
    );
    assert_eq!(keys(&ask(&["workspaces", "--drop", "v"])), "dropped");
    let stats = ask(&["stats"]);
    assert_eq!(
        keys(&stats),
        "branches bytes_logical bytes_stored damaged dedup_ratio files_logical objects segments store superpositions workspaces"
    );
    assert_eq!(stats["branches"]["main"], ask(&["checkpoints", "-n", "1"])[0]["id"]);
    let history = ask(&["undo", "--list", "--steps", "2"]);
    assert_eq!(keys(&history[0]), "message moves position time");
    assert_eq!(history[0]["message"], "drop v");
    assert_eq!(keys(&history[0]["moves"][0]), "after before kind name");
    let undone = ask(&["undo"]);
    assert_eq!(
        (&undone["message"], &undone["moves"][0]["name"]),
        (&"undo drop v".into(), &"v".into())
    );
    assert_eq!(
        keys(&ask(&["reclaim"])),
        "bytes_after bytes_before live_bytes objects_removed seconds segments_removed"
    );
    assert_eq!(
        keys(&ask(&["git-report"])),
        "commands directory native_commands off reset"
    );
    assert_eq!(keys(&ask(&["git-shim", "../shim"])), "program shim");
    assert_eq!(keys(&ask(&["completion", "bash"])), "script shell");
}

#[test]
fn json_may_be_asked_for_before_the_verb() {
    let place = Place::imported();
    assert!(place.pyi(&["--json", "stats"]).json().is_object());
}

#[test]
fn an_error_prints_no_document() {
    let place = Place::imported();
    let said = place.pyi(&["checkpoints", "nope", "--json"]);
    said.fails(1, "nope");
    assert!(said.out.is_empty());
}
