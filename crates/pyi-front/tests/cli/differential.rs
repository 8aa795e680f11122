//! What runs natively against git itself: generated argument vectors on repositories of many kinds, compared in all that can be seen.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::{PYI, Place, Said};

/// A generator that gives the same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }
}

const COMMANDS: &[(&str, &[&str])] = &[
    (
        "rev-parse",
        &[
            "--abbrev-ref",
            "--symbolic-full-name",
            "--short",
            "--short=4",
            "--short=12",
            "--short=x",
            "--verify",
            "-q",
            "--quiet",
            "--show-toplevel",
            "--git-dir",
            "--absolute-git-dir",
            "--show-prefix",
            "--show-cdup",
            "--is-inside-work-tree",
            "--is-inside-git-dir",
            "--is-bare-repository",
            "--is-shallow-repository",
            "--git-common-dir",
            "--all",
            "--not",
            "--abbrev-ref=loose",
            "--end-of-options",
            "--sq",
            "--symbolic",
            "--revs-only",
            "--no-such",
        ],
    ),
    ("symbolic-ref", &["--short", "-q", "--no-recurse", "--bogus"]),
    (
        "cat-file",
        &[
            "-t",
            "-s",
            "-p",
            "-e",
            "-e",
            "-p",
            "--textconv",
            "--filters",
            "blob",
            "commit",
            "tree",
            "tag",
            "-x",
        ],
    ),
    (
        "show-ref",
        &[
            "--heads",
            "--branches",
            "--tags",
            "--head",
            "-d",
            "--dereference",
            "-s",
            "--hash",
            "--hash=7",
            "--verify",
            "-q",
            "--quiet",
            "--exists",
            "--no-head",
            "--abbrev",
            "--zz",
        ],
    ),
    (
        "ls-tree",
        &[
            "-r",
            "-t",
            "-d",
            "-l",
            "-z",
            "--name-only",
            "--name-status",
            "--object-only",
            "--long",
            "--full-name",
            "--full-tree",
            "--abbrev",
            "--abbrev=9",
            "--abbrev=2",
            "--format=%(path)",
            "--no-full-tree",
            "-q",
        ],
    ),
    (
        "hash-object",
        &[
            "--stdin",
            "--no-filters",
            "-t",
            "blob",
            "-w",
            "README.md",
            "--literally",
        ],
    ),
];

const REVISIONS: &[&str] = &[
    "HEAD",
    "HEAD",
    "HEAD",
    "@",
    "main",
    "refs/heads/main",
    "heads/main",
    "topic",
    "topic/deep",
    "v1",
    "v1^{}",
    "v2",
    "tags/v1",
    "same",
    "twice",
    "HEAD~1",
    "HEAD~2",
    "HEAD^",
    "HEAD^2",
    "HEAD^0",
    "HEAD~0",
    "HEAD~99",
    "main^{tree}",
    "HEAD^{commit}",
    "v1^{commit}",
    "v1^{tag}",
    "HEAD:README.md",
    "HEAD:src",
    "HEAD:src/app.py",
    "HEAD:",
    "HEAD:nothing",
    "HEAD:src/",
    "HEAD:./README.md",
    ":README.md",
    "origin",
    "origin/main",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "config",
    "HEAD@{0}",
    "@{-1}",
    "main@{u}",
    "nothing",
    "-",
    "main..topic",
    "^main",
    "HEAD^{/First}",
    ":/First",
    "deadbeef",
    "0000000000000000000000000000000000000000",
    "README.md",
    "v1-1-gabcdef",
    "HEAD^^",
    "HEAD^1~1",
    "",
    "refs/heads/dangling",
    "beef",
    "--",
    "refs/heads",
    "HEAD~",
    "HEAD^{}",
    "HEAD^{blob}",
    "tree-tag",
];

/// What is asked often; `R` is a revision.
const USUAL: &[&str] = &[
    "rev-parse R",
    "rev-parse HEAD R",
    "rev-parse --verify R",
    "rev-parse -q --verify R",
    "rev-parse --short R",
    "rev-parse --short=4 R",
    "rev-parse --verify --short=9 R",
    "rev-parse --abbrev-ref R",
    "rev-parse --abbrev-ref HEAD",
    "rev-parse --symbolic-full-name R",
    "rev-parse --show-toplevel --show-prefix --show-cdup",
    "rev-parse --git-dir --absolute-git-dir --is-inside-work-tree",
    "rev-parse --is-bare-repository --is-inside-git-dir --is-shallow-repository HEAD",
    "symbolic-ref HEAD",
    "symbolic-ref --short HEAD",
    "symbolic-ref -q HEAD",
    "cat-file -t R",
    "cat-file -s R",
    "cat-file -p R",
    "cat-file -e R",
    "cat-file commit R",
    "cat-file blob HEAD:README.md",
    "cat-file -p HEAD:README.md",
    "show-ref",
    "show-ref -d",
    "show-ref --head --tags",
    "show-ref --heads -s",
    "show-ref main same",
    "show-ref --verify refs/heads/main HEAD",
    "show-ref -q --verify refs/heads/nothing",
    "ls-tree R",
    "ls-tree -r R",
    "ls-tree -r -t -l HEAD",
    "ls-tree --full-tree --name-only -r R",
    "ls-tree -d --abbrev R",
    "ls-tree -z -r HEAD",
    "ls-tree --object-only R",
    "hash-object --stdin",
    "hash-object -t blob --stdin --no-filters",
];

/// Makes `project` one of the kinds of repositories that there are; the directories to run in, and the names of its objects.
fn prepare(place: &Place, kind: usize) -> (Vec<&'static str>, Vec<String>) {
    let git = |args: &[&str]| place.git(args);
    if kind == 8 {
        fs::remove_dir_all(place.path("project/.git")).unwrap();
        git(&["init", "-q", "-b", "main", "--object-format=sha256", "."]);
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "First"]);
    }
    for (number, file) in [
        "src/app.py",
        "README.md",
        "src/deep/more.txt",
        "src/deep/naïve \"name\"",
    ]
    .iter()
    .enumerate()
    {
        fs::create_dir_all(place.path("project/src/deep")).unwrap();
        // Names with quotes only in some of them, or every listing would be git's.
        if number == 3 && !kind.is_multiple_of(3) {
            continue;
        }
        place.write(&format!("project/{file}"), &format!("change {number}\n"));
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", &format!("Change {number}")]);
    }
    symlink("README.md", place.path("project/link")).unwrap();
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "A link"]);
    git(&["branch", "topic", "HEAD~1"]);
    git(&["branch", "deep/topic", "HEAD~2"]);
    git(&["tag", "-a", "-m", "One", "v1", "HEAD~1"]);
    git(&["tag", "-a", "-m", "Of a tag", "v2", "v1"]);
    git(&["tag", "tree-tag", "HEAD^{tree}"]);
    git(&["branch", "same"]);
    git(&["tag", "twice"]);
    git(&["merge", "-q", "--no-ff", "-m", "Merge", "deep/topic"]);
    git(&["update-ref", "ORIG_HEAD", "HEAD~1"]);
    git(&["update-ref", "refs/remotes/origin/main", "HEAD~1"]);
    git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    let objects = git(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    let objects: Vec<String> = objects.lines().map(str::to_owned).collect();
    match kind {
        1 => drop(git(&["gc", "-q"])),
        2 => drop(git(&["checkout", "-q", "--detach", "HEAD~1"])),
        3 => drop(git(&["tag", "same", "HEAD~1"])),
        4 => {
            git(&["pack-refs", "--all"]);
            git(&["branch", "beef"]);
        }
        5 => drop(git(&["replace", "HEAD", "HEAD~1"])),
        6 => drop(git(&["checkout", "-q", "--orphan", "fresh"])),
        7 => {
            git(&["config", "core.abbrev", "10"]);
            git(&["config", "alias.st", "status"]);
        }
        9 => drop(git(&["symbolic-ref", "refs/heads/dangling", "refs/heads/gone"])),
        10 => {
            git(&["worktree", "add", "-q", "../linked", "topic"]);
            return (vec!["linked", "project"], objects);
        }
        11 => {
            git(&["clone", "-q", "--bare", ".", "../bare.git"]);
            return (vec!["bare.git", "project/.git", "project"], objects);
        }
        12 => drop(git(&["config", "core.quotepath", "maybe"])),
        13 => fs::write(
            place.path("home/.gitconfig"),
            "[core]\n\tcompression = 99\n[user]\n\tname = X\n",
        )
        .unwrap(),
        14 => fs::write(place.path("project/.git/refs/heads/broken"), "no object name\n").unwrap(),
        15 => {
            git(&["repack", "-q", "-a", "-d", "--write-midx"]);
            fs::write(
                place.path("home/.gitconfig"),
                "[user]\n\tname = X\n[push]\n\tdefault = simple\n[init]\n\tdefaultBranch = main\n",
            )
            .unwrap();
        }
        _ => {}
    }
    (vec!["project", "project", "project/src"], objects)
}

fn vector(dice: &mut Dice, hex: &[String]) -> Vec<String> {
    if dice.roll(3) > 0 {
        let line = dice.pick(USUAL);
        let mut word = |word: &str| match (word, dice.roll(4)) {
            ("R", 0) => hex[dice.roll(hex.len())].clone(),
            // What comes first in the list names something.
            ("R", 1 | 2) => dice.pick(&REVISIONS[..24]).to_owned(),
            ("R", _) => dice.pick(REVISIONS).to_owned(),
            _ => word.to_owned(),
        };
        return line.split(' ').map(&mut word).collect();
    }
    let (command, options) = COMMANDS[dice.roll(COMMANDS.len())];
    let mut args = Vec::new();
    match dice.roll(16) {
        0 => args.extend(["-C".into(), dice.pick(&["src", ".", "..", "nowhere", ""]).into()]),
        1 => args.push("--no-pager".into()),
        2 => args.extend([
            "-c".into(),
            dice.pick(&["core.abbrev=5", "user.name=x", "core.quotepath=off", "bad", "alias.x=y"])
                .into(),
        ]),
        _ => {}
    }
    args.push(command.to_owned());
    for _ in 0..[0, 1, 1, 1, 2, 2, 3][dice.roll(7)] {
        args.push(dice.pick(options).to_owned());
    }
    // Two would make symbolic-ref write.
    let operands = match command {
        "hash-object" => 0,
        "symbolic-ref" => dice.roll(2),
        _ => [0, 1, 1, 1, 1, 1, 2, 3][dice.roll(8)],
    };
    for _ in 0..operands {
        let word = match dice.roll(8) {
            0 => hex[dice.roll(hex.len())].clone(),
            1 => {
                let name = &hex[dice.roll(hex.len())];
                name[..4 + dice.roll(10)].to_owned()
            }
            _ => dice.pick(REVISIONS).to_owned(),
        };
        args.push(word);
    }
    if dice.roll(30) == 0 {
        let at = dice.roll(args.len() + 1);
        args.insert(at, "--".into());
    }
    args
}

/// Runs generated vectors on these kinds of repositories: `PYI_GIT_VECTORS` on each, others with another `PYI_GIT_SEED`.
fn compare(kinds: std::ops::Range<usize>, native_percent_min: usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let (seed, each) = (
        number("PYI_GIT_SEED").unwrap_or(1),
        number("PYI_GIT_VECTORS").unwrap_or(25),
    );
    let (mut native, mut all, mut differences) = (0, 0, Vec::new());
    for kind in kinds {
        let place = Place::new();
        let (directories, hex) = prepare(&place, kind);
        let mut dice = Dice((seed * 1000 + kind + 1) as u64);
        for _ in 0..each {
            let args = vector(&mut dice, &hex);
            let directory = place.path(directories[dice.roll(directories.len())]);
            let say = |program: &str| {
                let mut command = place.command(program);
                command.current_dir(&directory).args(&args);
                command.stdin(fs::File::open(place.path("project/README.md")).unwrap());
                let output = command.output().unwrap();
                (
                    output.status.code(),
                    output.stdout,
                    String::from_utf8_lossy(&output.stderr).into_owned(),
                )
            };
            let (theirs, ours) = (say("git"), say(PYI));
            all += 1;
            if ours != theirs {
                differences.push(format!(
                    "kind {kind}, in {}: {args:?}\n ours {ours:?}\n git  {theirs:?}",
                    directory.display()
                ));
            }
        }
        let report = Said::of(place.command(PYI).args(["git-report", "--json"]).output().unwrap()).json();
        let counts = report["commands"].as_object().unwrap().values();
        native += counts
            .map(|command| command["native"].as_u64().unwrap() as usize)
            .sum::<usize>();
    }
    assert!(
        differences.is_empty(),
        "{} of {all}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    println!("{native} of {all} ran natively");
    // Many are wrong or odd on purpose; git has the word there.
    assert!(
        native * 100 > all * native_percent_min,
        "only {native} of {all} ran natively"
    );
}

#[test]
fn native_commands_say_what_git_says() {
    compare(0..4, 30);
}

#[test]
fn native_commands_say_what_git_says_where_names_are_odd() {
    compare(4..8, 20);
}

#[test]
fn native_commands_say_what_git_says_of_other_kinds_of_repositories() {
    compare(8..12, 20);
}

#[test]
fn native_commands_say_what_git_says_where_something_is_broken() {
    compare(12..16, 15);
}
