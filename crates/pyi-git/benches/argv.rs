//! How long an argument vector takes: `cargo bench -p pyi-git --bench argv`.
//!
//! `PYI_GIT_COMMANDS` names a file of JSON lines with `"git": "git ..."` in them (what agents ran); without it some made-up lines are measured.
//! Criterion measures one pass over all; before it, p50, p95, p99 and the worst line are printed, each line the median of many runs.

use std::hint::black_box;
use std::time::Instant;

use criterion::Criterion;
use pyi_git::argv::parse;

const LINES: &[&str] = &[
    "git status",
    "git status --porcelain=v2 --branch -z",
    "git diff main...HEAD --stat -- . :!vendor",
    "git log --oneline --graph --decorate -20 --format=%H",
    "git -C sub -c core.pager=cat show HEAD~3:file --no-patch",
    "git commit -am message --no-verify --author A",
    "git add -A -- a b c d e f g h",
    "git rev-parse --abbrev-ref HEAD",
    "git checkout -b topic origin/main",
    "git stash push -m wip --include-untracked",
    "git commit --mess text --no-ed",
    "git log --no-such-option",
];
const RUNS: usize = 201;
const BATCH: usize = 50;

/// The words of a line, as a shell takes plain ones and quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(mark) if character == mark => quote = None,
            None if matches!(character, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

fn lines() -> Vec<Vec<String>> {
    let text = std::env::var_os("PYI_GIT_COMMANDS").map(|path| std::fs::read_to_string(path).unwrap());
    let recorded = text.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let (_, rest) = line.split_once("\"git\": \"")?;
        let (said, _) = rest.rsplit_once("\"}")?;
        Some(said.replace("\\n", " ").replace("\\\"", "\"").replace("\\\\", "\\"))
    });
    let mut lines: Vec<String> = recorded.collect();
    if lines.is_empty() {
        lines = LINES.iter().map(|line| (*line).to_owned()).collect();
    }
    lines.iter().map(|line| words(line).split_off(1)).collect()
}

fn main() {
    let lines = lines();
    let mut each: Vec<(f64, &Vec<String>)> = lines
        .iter()
        .map(|line| {
            let mut runs: Vec<f64> = (0..RUNS)
                .map(|_| {
                    let start = Instant::now();
                    for _ in 0..BATCH {
                        let _ = black_box(parse(black_box(line)));
                    }
                    start.elapsed().as_nanos() as f64 / BATCH as f64
                })
                .collect();
            runs.sort_by(f64::total_cmp);
            (runs[RUNS / 2], line)
        })
        .collect();
    each.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |share: f64| each[((each.len() - 1) as f64 * share) as usize].0;
    let (worst_ns, line) = each[each.len() - 1];
    println!(
        "{} lines: p50 {:.0} ns, p95 {:.0} ns, p99 {:.0} ns, worst {worst_ns:.0} ns ({} words)",
        each.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        line.len()
    );
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("argv/all lines", |bench| {
        bench.iter(|| lines.iter().filter(|line| parse(black_box(line)).is_ok()).count());
    });
    criterion.final_summary();
}
