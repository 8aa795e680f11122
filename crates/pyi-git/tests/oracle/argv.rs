//! The parser takes what git's parser takes, and refuses what it refuses, for the same reason.
//!
//! Behind every word stands `-h`: git reads options in order, so it complains of the word, or prints its usage and does nothing.

use pyi_git::ObjectFormat;
use pyi_git::argv::table::{Table, Value};
use pyi_git::argv::{RefusalKind, parse};

use crate::repo::Repo;

/// They speak to somebody, or wait.
const NOT_RUN: &[&str] = &[
    "credential-cache",
    "credential-store",
    "receive-pack",
    "upload-pack",
    "send-pack",
];

/// Where git's parser has exceptions that ours leaves to it: a value that is three words; options that are another's second name, so
/// that what begins both is not ambiguous.
const EXCEPTIONS: &[&str] = &["update-index --cacheinfo=", "clone --rec", "clone --no-rec"];

fn version_of_the_table() -> &'static str {
    let text = include_str!("../../src/argv/options.txt");
    let line = text.lines().next().unwrap();
    line.strip_prefix("# git ").unwrap().split(':').next().unwrap()
}

/// What git says is wrong with a word, if anything.
fn complaint(repo: &Repo, words: &[&str]) -> Option<RefusalKind> {
    let output = repo.run(words, b"");
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.starts_with("error: "))?;
    let kinds = [
        ("error: unknown option", RefusalKind::UnknownOption),
        ("error: unknown switch", RefusalKind::UnknownOption),
        ("error: did you mean", RefusalKind::UnknownOption),
        ("error: ambiguous option", RefusalKind::AmbiguousOption),
    ];
    let begun = kinds
        .into_iter()
        .find(|(start, _)| line.starts_with(start))
        .map(|(_, kind)| kind);
    // Other errors are about values, which the parser does not look into.
    begun.or_else(|| match line {
        line if line.ends_with("takes no value") || line.contains("isn't available") => {
            Some(RefusalKind::UnexpectedValue)
        }
        line if line.ends_with("requires a value") => Some(RefusalKind::MissingValue),
        _ => None,
    })
}

/// Every `every`th of the words that there are for the options of all commands.
fn compare(every: usize) {
    let repo = Repo::new(ObjectFormat::Sha1);
    let installed = String::from_utf8(repo.git(&["version"])).unwrap();
    if installed.trim() != format!("git version {}", version_of_the_table()) {
        return;
    }
    let (mut compared, mut differences) = (0, Vec::new());
    let mut number = 0;
    for table in Table::all() {
        let name: Vec<&str> = table.name().split(' ').collect();
        let plain = !table.keeps_unknown() && !table.is_written_out() && !table.is_open() && !table.stops_at_operand();
        let is_command = Table::of_command(name[0].as_bytes()).is_some();
        if !plain
            || !is_command
            || NOT_RUN.contains(&name[0])
            || table.short(b'h').is_some()
            || table.options().next().is_none()
        {
            continue;
        }
        let mut words = vec!["--no-such-option".to_owned(), "--no".to_owned(), "-%".to_owned()];
        for option in table.options() {
            if let Some(letter) = option.short() {
                words.push(format!("-{}", char::from(letter)));
            }
            let long = option.long();
            if long.is_empty() {
                continue;
            }
            words.extend([
                format!("--{long}"),
                format!("--{long}=1"),
                format!("--no-{long}"),
                format!("--no-{long}=1"),
            ]);
            words.extend(
                [long.len() / 3, long.len() / 2, long.len() - 1].map(|length| format!("--{}", &long[..length.max(1)])),
            );
            words.push(format!("--no-{}", &long[..long.len().div_ceil(2)]));
        }
        for word in words {
            number += 1;
            if number % every != 0 {
                continue;
            }
            let with = |last: &[&str]| -> Vec<String> {
                name.iter()
                    .chain([&word.as_str()])
                    .chain(last)
                    .map(|word| (*word).to_owned())
                    .collect()
            };
            // A value, should one be asked for.
            let line = with(&["1", "-h"]);
            let borrowed: Vec<&str> = line.iter().map(String::as_str).collect();
            let ours = parse(&borrowed).err().map(|refusal| refusal.kind);
            let theirs = complaint(&repo, &borrowed);
            compared += 1;
            let text = borrowed.join(" ");
            if ours != theirs && !EXCEPTIONS.iter().any(|start| text.starts_with(start)) {
                differences.push(format!("git {}: ours {ours:?}, git {theirs:?}", borrowed.join(" ")));
            }
        }
        for option in table
            .options()
            .filter(|option| option.value() == Value::Required && !option.long().is_empty())
        {
            let word = format!("--{}", option.long());
            let line: Vec<&str> = name.iter().copied().chain([word.as_str()]).collect();
            let ours = parse(&line).err().map(|refusal| refusal.kind);
            assert_eq!(ours, Some(RefusalKind::MissingValue), "{line:?}");
        }
    }
    assert!(compared > 100, "{compared}");
    assert!(
        differences.is_empty(),
        "{} of {compared}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn words_are_taken_and_refused_as_git_does() {
    let every = std::env::var("PYI_GIT_EVERY_WORD")
        .ok()
        .map_or(16, |every| every.parse().unwrap());
    compare(every);
}
