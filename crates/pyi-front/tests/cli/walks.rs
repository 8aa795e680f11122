//! Histories of random shape, many commits of one second among them: `log`, `rev-list` and `merge-base` go through them as git does.
//!
//! `PYI_GIT_SEED` and `PYI_GIT_REPOSITORIES` make it run others, and more.

use crate::common::Place;
use crate::scene::Dice;
use crate::work_tree::{answer, is_handed_over, number};

const COMMITS: usize = 25;
const COMMANDS: usize = 40;

/// What `git fast-import` makes a history of.
fn history(dice: &mut Dice) -> String {
    let seconds = [1, 3, 1000][dice.roll(3)];
    let mut out = String::new();
    for at in 1..=COMMITS {
        let date = 1_700_000_000 + dice.roll(seconds);
        out += &format!(
            "commit refs/heads/b{at}\nmark :{at}\ncommitter C <c@x> {date} +0000\ndata 3\nm{}\n",
            at % 10
        );
        let wanted = if at == 1 || dice.roll(20) == 0 {
            0
        } else {
            [1, 1, 1, 1, 2, 2, 3][dice.roll(7)]
        };
        let mut parents: Vec<usize> = Vec::new();
        for _ in 0..wanted {
            let parent = at - 1 - dice.roll((at - 1).min(6));
            if !parents.contains(&parent) {
                out += &format!("{} :{parent}\n", if parents.is_empty() { "from" } else { "merge" });
                parents.push(parent);
            }
        }
        for _ in 0..dice.roll(3) {
            let path = dice.pick(&["a", "b", "d/c", "d/e/f"]);
            out += &format!("M 100644 inline {path}\ndata 1\n{}\n", dice.roll(3));
        }
    }
    out
}

fn command(dice: &mut Dice, names: &[String]) -> Vec<String> {
    let one = |dice: &mut Dice| names[dice.roll(names.len())].clone();
    let (a, b) = (one(dice), one(dice));
    let mut words: Vec<String> = Vec::new();
    let mut add = |line: &str| words.extend(line.split_whitespace().map(str::to_owned));
    let kind = dice.roll(5);
    if kind == 0 {
        add(dice.pick(&["merge-base", "merge-base --all", "merge-base --is-ancestor"]));
        add(&format!("{a} {b}"));
        return words;
    }
    add([
        "rev-list",
        "rev-list --parents",
        "rev-list --count",
        "log --format=%H%P --name-status",
    ][kind - 1]);
    for option in [
        "--first-parent",
        "--reverse",
        "--no-merges",
        "--merges",
        "-n 4",
        "--skip 2",
        "--all",
    ] {
        if dice.roll(6) == 0 {
            add(option);
        }
    }
    match dice.roll(6) {
        0 => add(&a),
        1 => add(&format!("{a} {b}")),
        2 => add(&format!("{a}..{b}")),
        3 => add(&format!("{a}...{b}")),
        4 => add(&format!("{a} ^{b}")),
        _ => add("HEAD"),
    }
    add(dice.pick(&["", "", "-- a", "-- d", "-- a d/e", "-- *c"]));
    words
}

#[test]
fn histories_are_walked_as_git_walks_them() {
    let mut counts = [0; 2];
    let mut differences = Vec::new();
    for repository in 0..number("PYI_GIT_REPOSITORIES", 3) as u64 {
        let seed = number("PYI_GIT_SEED", 1) as u64;
        let mut dice = Dice(0x2545_f491_4f6c_dd1d ^ (seed << 32 | (repository + 1)));
        let place = Place::new();
        place.fast_import(&history(&mut dice));
        let names: Vec<String> = (1..=COMMITS)
            .map(|at| place.git(&["rev-parse", &format!("b{at}")]).trim().to_owned())
            .collect();
        for at in (1..COMMITS).filter(|at| at % 4 != 0) {
            place.git(&["update-ref", "-d", &format!("refs/heads/b{at}")]);
        }
        place.git(&["symbolic-ref", "HEAD", &format!("refs/heads/b{COMMITS}")]);
        for _ in 0..COMMANDS {
            let words = command(&mut dice, &names);
            let ours = place.only(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let is_native = !is_handed_over(&ours);
            counts[usize::from(is_native)] += 1;
            if is_native {
                let theirs = place.command("git").args(&words).output().unwrap();
                if answer(&ours) != answer(&theirs) {
                    differences.push(format!(
                        "{words:?}\n ours {:?}\n git  {:?}",
                        answer(&ours),
                        answer(&theirs)
                    ));
                }
            }
        }
    }
    println!("{} native, {} git's", counts[1], counts[0]);
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(counts[1] > counts[0], "{counts:?}");
}
