//! Commands on work trees against git itself: generated repositories, generated commands; answers and what is on disk afterwards are compared.
//!
//! `PYI_GIT_SEED`, `PYI_GIT_REPOSITORIES` and `PYI_GIT_VECTORS` (commands in each) make it run others, and more. It prints for each command and each kind
//! of repository how many ran, how many of them were equal, and how many ran natively. With `PYI_GIT_WHY` it prints why git ran the others, with
//! `PYI_GIT_REPOSITORY=N` only one of the repositories, with `PYI_GIT_KEEP=DIR` it keeps the directories of what differed.

use std::process::Output;

use crate::beside::{Beside, Tally};
use crate::common::Place;
use crate::every_command::lines_of_native_commands;
use crate::scene::Scene;
use crate::work_tree_words::{MOVING, READING, WRITING};

pub(crate) fn answer(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

pub(crate) fn is_handed_over(output: &Output) -> bool {
    output.status.code() == Some(3) && String::from_utf8_lossy(&output.stderr).contains("cannot run natively here")
}

pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs generated commands; `part` makes tests that run side by side different.
fn compare(part: u64) {
    let (seed, each) = (number("PYI_GIT_SEED", 1) as u64, number("PYI_GIT_VECTORS", 25));
    let mut tally = Tally::default();
    for repository in 0..number("PYI_GIT_REPOSITORIES", 5) as u64 {
        if number("PYI_GIT_REPOSITORY", repository as usize) as u64 != repository {
            continue;
        }
        let place = Place::new();
        let mut scene = Scene::new(&place, seed << 32 | part << 24 | (repository + 1));
        scene.build();
        let mut beside = Beside::new(&scene);
        let rarely = lines_of_native_commands();
        for _ in 0..each {
            scene.clock += 1;
            let (writes, lines) = match scene.dice.roll(6) {
                0 => (true, WRITING),
                1 | 2 => (true, MOVING),
                _ => (false, READING),
            };
            // Files change between commands.
            if scene.dice.roll(4) == 0 {
                let times = scene.dice.roll(3);
                scene.mutate(times);
            }
            let (writes, line) = match scene.dice.roll(4) {
                0 => (false, rarely[scene.dice.roll(rarely.len())].as_str()),
                _ => (writes, scene.dice.pick(lines)),
            };
            let words = scene.words(line);
            let directory = scene.dice.pick(&scene.directories.clone()).to_owned();
            let mut at = scene.world().join(&directory);
            if !at.is_dir() {
                at = scene.project();
            }
            let is_fresh = scene.dice.roll(6) > 0;
            let compared = beside.run(&scene, &at, &words, writes, is_fresh);
            let command = line.split(' ').next().unwrap_or_default();
            let told = format!("{words:?} in {directory}, repository {repository} of seed {seed}");
            tally.count(&scene, command, &told, &compared);
            // With conflicts everything is git's.
            if scene.dice.roll(4) == 0 && !scene.git(&["ls-files", "-u"]).stdout.is_empty() {
                scene.git(&["reset", "-q", "--hard"]);
            }
        }
    }
    let (ran, native) = tally.finish("work trees");
    // Many repositories are odd on purpose; git has the word there.
    assert!(native * 5 > ran, "only {native} of {ran} ran natively");
}

#[test]
fn work_trees_are_to_us_what_they_are_to_git() {
    compare(1);
}

#[test]
fn other_work_trees_are_to_us_what_they_are_to_git() {
    compare(2);
}
