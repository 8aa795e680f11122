//! Who runs a git command: switches, the report, the shim, and what a difference does.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{PYI, Place, Said};

fn with(place: &Place, switch: &str, args: &[&str]) -> Said {
    Said::of(
        place
            .command(PYI)
            .env("PYI_GIT_NATIVE", switch)
            .args(args)
            .output()
            .unwrap(),
    )
}

fn counted(place: &Place) -> serde_json::Value {
    place.pyi(&["git-report", "--json"]).json()["commands"].clone()
}

#[test]
fn decisions_are_counted_with_their_reason() {
    let place = Place::new();
    for args in [
        &["rev-parse", "HEAD"][..],
        &["rev-parse", "HEAD"],
        &["rev-parse", "--all"],
        &["describe", "--match=secret-words"],
        &["log", "--no-such-option"],
        &["secret-alias"],
        &["--no-such-global"],
        &["rev-parse", "--verify", "secret-branch"],
        &["-c", "core.abbrev=9", "rev-parse", "HEAD"],
    ] {
        place.pyi(args);
    }
    let environment = place
        .command(PYI)
        .env("GIT_TRACE", "0")
        .args(["rev-parse", "HEAD"])
        .output()
        .unwrap();
    assert!(environment.status.success());
    let counts = counted(&place);
    assert_eq!(
        (&counts["rev-parse"]["native"], &counts["rev-parse"]["git"]),
        (&2.into(), &4.into())
    );
    let reasons = &counts["rev-parse"]["reasons"];
    for reason in ["option all", "revision", "config core", "environment GIT_TRACE"] {
        assert_eq!(reasons[reason], 1, "{reason}: {reasons}");
    }
    assert_eq!(counts["describe"]["reasons"]["command"], 1);
    assert_eq!(counts["log"]["reasons"]["usage unknown-option"], 1);
    assert_eq!(counts["-"]["reasons"]["usage unknown-command"], 1);
    let log = place.path("home/.local/state/pyi/git-report.log");
    assert!(!fs::read_to_string(&log).unwrap().contains("secret"));
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    place.ok(&["git-report", "--reset"]);
    assert!(!log.exists());
    assert_eq!(place.ok(&["git-report"]), "nothing was counted yet\n");
}

#[test]
fn counting_can_be_turned_off_and_never_gets_in_the_way() {
    let place = Place::new();
    let head = place.git(&["rev-parse", "HEAD"]);
    let run = |name: &str, value: &std::ffi::OsStr| {
        Said::of(
            place
                .command(PYI)
                .env(name, value)
                .args(["rev-parse", "HEAD"])
                .output()
                .unwrap(),
        )
    };
    assert_eq!(run("PYI_GIT_REPORT", "off".as_ref()).text(), head);
    assert_eq!(counted(&place), serde_json::json!({}));
    // A state directory that cannot be one.
    let file = place.path("project/README.md");
    let said = run("XDG_STATE_HOME", file.as_os_str());
    assert_eq!((said.text(), said.err.as_str()), (head, ""));
}

#[test]
fn the_switch_decides() {
    let place = Place::new();
    let head = place.git(&["rev-parse", "HEAD"]);
    for (switch, native) in [
        ("auto", 1),
        ("off", 1),
        ("unknown", 1),
        ("only=ls-tree", 1),
        ("only=ls-tree,rev-parse", 2),
        ("only", 3),
    ] {
        assert_eq!(with(&place, switch, &["rev-parse", "HEAD"]).text(), head);
        assert_eq!(counted(&place)["rev-parse"]["native"], native, "{switch}");
    }
    with(&place, "only", &["describe"]).fails(3, "cannot run natively here (command)");
    place.git(&["config", "pyi.native.rev-parse", "false"]);
    with(&place, "only", &["rev-parse", "HEAD"]).fails(3, "(switch)");
    assert_eq!(with(&place, "auto", &["rev-parse", "HEAD"]).text(), head);
}

#[test]
fn a_difference_turns_a_command_off() {
    let place = Place::new();
    let said = with(&place, "shadow", &["ls-tree", "HEAD"]);
    assert_eq!(said.text(), place.git(&["ls-tree", "HEAD"]));
    let input = fs::File::open(place.path("project/README.md")).unwrap();
    let mut hash = place.command(PYI);
    hash.env("PYI_GIT_NATIVE", "shadow")
        .args(["hash-object", "--stdin"])
        .stdin(input);
    assert_eq!(
        Said::of(hash.output().unwrap()).text(),
        place.git(&["hash-object", "README.md"])
    );
    let counts = counted(&place);
    assert_eq!(
        (&counts["ls-tree"]["equal"], &counts["hash-object"]["equal"]),
        (&1.into(), &1.into())
    );
    // A git that says something else.
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("git"), "#!/bin/sh\necho other; echo words >&2; exit 7\n").unwrap();
    fs::set_permissions(other.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut shadow = place.command(PYI);
    shadow
        .env("PYI_GIT_NATIVE", "shadow")
        .env("PATH", &other)
        .args(["ls-tree", "HEAD"]);
    let said = Said::of(shadow.output().unwrap());
    assert_eq!(
        (said.status, said.text().as_str(), said.err.as_str()),
        (7, "other\n", "words\n")
    );
    with(&place, "only", &["ls-tree", "HEAD"]).fails(3, "(switch)");
    assert!(with(&place, "only", &["rev-parse", "HEAD"]).err.is_empty());
    assert_eq!(
        place.pyi(&["git-report", "--json"]).json()["off"],
        serde_json::json!(["ls-tree"])
    );
    assert!(place.ok(&["git-report", "--reset"]).contains("a difference"));
    assert!(with(&place, "only", &["ls-tree", "HEAD"]).err.is_empty());
}

#[test]
fn the_shim_is_git() {
    let place = Place::new();
    let said = place.ok(&["git-shim", "../shim"]);
    assert!(said.contains("first on PATH"), "{said}");
    place.ok(&["git-shim", "../shim"]);
    let shim = place.path("shim/git");
    for args in [
        &["rev-parse", "HEAD"][..],
        &["log", "--oneline"],
        &["stats"],
        &["git-report"],
    ] {
        let ours = Said::of(place.command(&shim).args(args).output().unwrap());
        let theirs = place.run("git", args);
        assert_eq!(
            (ours.status, ours.out, ours.err),
            (theirs.status, theirs.out, theirs.err),
            "{args:?}"
        );
    }
    // A copy is git as well; what somebody else put there stays.
    fs::remove_file(&shim).unwrap();
    fs::copy(PYI, &shim).unwrap();
    let ours = Said::of(place.command(&shim).args(["status", "-sb"]).output().unwrap());
    assert_eq!(ours.text(), place.git(&["status", "-sb"]));
    place.pyi(&["git-shim", "../shim"]).fails(1, "is there already");
}

#[test]
fn a_batch_answers_line_by_line() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    let place = Place::new();
    place.git(&["tag", "-a", "-m", "One", "v1"]);
    let objects = place.git(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    let mut questions: Vec<String> = objects.lines().map(str::to_owned).collect();
    let first = questions[0].clone();
    questions.extend(
        [
            "HEAD",
            "v1",
            "HEAD:README.md",
            "HEAD:./app.py",
            "nothing",
            "",
            "two words",
            &"0".repeat(40),
            &first[..8],
            &first.to_uppercase(),
            " x",
        ]
        .map(str::to_owned),
    );
    questions.push(first.clone());
    place.write("questions", &(questions.join("\n") + "\nHEAD^{tree}"));
    for args in [
        &["cat-file", "--batch"][..],
        &["cat-file", "--batch-check"],
        &["cat-file", "--batch", "--buffer"],
        &["-C", "src", "cat-file", "--batch-check"],
    ] {
        let say = |program: &str| {
            let input = fs::File::open(place.path("questions")).unwrap();
            Said::of(place.command(program).args(args).stdin(input).output().unwrap())
        };
        let (ours, theirs) = (say(PYI), say("git"));
        assert_eq!(
            (ours.status, ours.out, ours.err),
            (theirs.status, theirs.out, theirs.err),
            "{args:?}"
        );
    }
    assert_eq!(counted(&place)["cat-file"]["native"], 4);
    // Whoever asks one by one gets answers one by one, and sees refs as they are by then.
    let mut child = place
        .command(PYI)
        .args(["cat-file", "--batch-check"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ask = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        line
    };
    ask.write_all(format!("{first}\n").as_bytes()).unwrap();
    assert!(line().starts_with(&first));
    ask.write_all(b"later\n").unwrap();
    assert_eq!(line(), "later missing\n");
    let head = place.git(&["rev-parse", "HEAD"]);
    place.git(&["branch", "later"]);
    ask.write_all(b"later\n").unwrap();
    assert!(line().starts_with(head.trim()));
    drop(ask);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_users_configuration_is_where_the_environment_says() {
    let place = Place::new();
    place.write("home/.gitconfig", "[core]\n\tabbrev = 12\n");
    place.write("global", "[core]\n\tabbrev = 6\n");
    place.write("plain", "[user]\n\tname = Ann\n");
    for (variable, file, native) in [
        ("GIT_CONFIG_GLOBAL", "plain", true),
        ("GIT_CONFIG_GLOBAL", "nowhere", true),
        ("GIT_CONFIG_GLOBAL", "global", false),
        ("GIT_CONFIG_GLOBAL", "", false),
        ("GIT_CONFIG_SYSTEM", "plain", false),
        ("GIT_CONFIG_SYSTEM", "global", false),
        ("GIT_CONFIG_GLOBAL", "home", false),
    ] {
        let value = if file.is_empty() { "".into() } else { place.path(file) };
        let say = |program: &str, switch: &str| {
            let mut command = place.command(program);
            command
                .env_remove("GIT_CONFIG_NOSYSTEM")
                .env(variable, &value)
                .env("PYI_GIT_NATIVE", switch);
            Said::of(command.args(["rev-parse", "--short", "HEAD"]).output().unwrap())
        };
        let (ours, theirs) = (say(PYI, "auto"), say("git", "auto"));
        assert_eq!(
            (ours.status, ours.out, ours.err),
            (theirs.status, theirs.out, theirs.err),
            "{variable}={file}"
        );
        assert_eq!(say(PYI, "only").status == 0, native, "{variable}={file}");
    }
}

#[test]
fn old_and_odd_repositories_are_gits() {
    let place = Place::new();
    std::os::unix::fs::symlink("main", place.path("project/.git/refs/heads/link")).unwrap();
    let same = |args: &[&str]| {
        let (ours, theirs) = (place.pyi(args), place.run("git", args));
        assert_eq!(
            (ours.status, ours.out, ours.err),
            (theirs.status, theirs.out, theirs.err),
            "{args:?}"
        );
        with(&place, "only", args).fails(3, "cannot run natively here");
    };
    same(&["rev-parse", "link"]);
    same(&["rev-parse", "--abbrev-ref", "link"]);
    same(&["show-ref"]);
    place.git(&["config", "extensions.objectFormat", "sha256"]);
    same(&["rev-parse", "HEAD"]);
}

#[test]
fn repositories_of_others_are_gits_to_refuse() {
    let place = Place::new();
    // SAFETY: has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    std::os::unix::fs::chown(place.path("project/.git"), Some(65534), None).unwrap();
    let (ours, theirs) = (
        place.pyi(&["rev-parse", "HEAD"]),
        place.run("git", &["rev-parse", "HEAD"]),
    );
    assert_eq!(
        (ours.status, &ours.out, &ours.err),
        (theirs.status, &theirs.out, &theirs.err)
    );
    with(&place, "only", &["rev-parse", "HEAD"]).fails(3, "(owner)");
}
