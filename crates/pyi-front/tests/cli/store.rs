//! `pyi undo` and `pyi reclaim`.

use crate::common::Place;

#[test]
fn what_was_done_is_taken_back_unless_somebody_went_on() {
    let place = Place::imported();
    place.ok(&["fork", "a"]);
    place.ok(&["fork", "b"]);
    place.ok(&["workspaces", "--drop", "a"]);
    let list = place.ok(&["undo", "--list", "--steps", "3"]);
    let messages: Vec<&str> = list
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split_once("Z ").map_or(line, |(_, message)| message))
        .collect();
    assert_eq!(messages.len(), 3, "{list}");
    assert!(
        messages[0].ends_with("drop a") && messages[2].ends_with("fork a"),
        "{list}"
    );
    // The oldest of them, by its position: `a` is not what that fork left.
    let position = list.lines().filter(|line| !line.starts_with(' ')).nth(2).unwrap();
    let position = position.split(' ').next().unwrap();
    place
        .pyi(&["undo", "--at", position])
        .fails(1, "workspace \"a\" moved since");
    place.ok(&["undo"]);
    assert!(place.ok(&["workspaces"]).contains("a "));
    place.ok(&["undo", "--steps", "3"]);
    assert!(
        place
            .ok(&["undo", "--list"])
            .starts_with(|first: char| first.is_ascii_digit())
    );
    place.pyi(&["undo", "--steps", "9999"]).fails(1, "undo --list");
    place.pyi(&["undo", "--at", "1"]).fails(1, "undo --list");
    place.pyi(&["undo", "--steps", "0"]).fails(2, "at least 1");
    place.pyi(&["undo", "--steps", "1", "--at", "1"]).fails(2, "--at");
}

#[test]
fn an_undo_can_be_undone() {
    let place = Place::imported();
    place.ok(&["fork", "a"]);
    let undone = place.ok(&["undo"]);
    assert!(undone.starts_with("undo fork a\n  workspace a from "), "{undone}");
    assert!(!place.ok(&["workspaces"]).contains("a "));
    place.ok(&["undo"]);
    assert!(place.ok(&["workspaces"]).contains("a "));
}

#[test]
fn space_comes_back_and_what_is_named_stays() {
    let place = Place::imported();
    place.ok(&["fork", "a"]);
    place.ok(&["materialize", "a", "../a", "--no-git"]);
    for number in 0..5 {
        place.write(&format!("a/{number}"), &"0123456789abcdef".repeat(4000 + number));
        place.ok(&["capture", "a", "../a"]);
    }
    let before = place.ok(&["checkpoints", "a"]);
    place.ok(&["reclaim"]);
    assert_eq!(place.ok(&["checkpoints", "a"]), before, "a day has not passed");
    let said = place.ok(&["reclaim", "--keep-last", "2", "--budget", "1G", "--compact"]);
    assert!(said.contains(" before; "), "{said}");
    place.ok(&["materialize", "a", "../again", "--no-git"]);
    assert_eq!(std::fs::read(place.path("again/4")).unwrap().len(), 16 * 4004);
    place
        .pyi(&["reclaim", "--budget", "100"])
        .fails(1, "nothing was removed");
    place.pyi(&["reclaim", "--budget", "lots"]).fails(2, "500M");
    place.pyi(&["reclaim", "--keep-last", "0"]).fails(2, "keep-last");
    assert_eq!(place.pyi(&["reclaim"]).err, "", "no bar where there is no terminal");
}
