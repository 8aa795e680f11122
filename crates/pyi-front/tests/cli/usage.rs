//! Help, completion, wrong usage: statuses and one line each.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::common::{PYI, Place, Said, snapshot};

const NATIVE: [&str; 16] = [
    "import",
    "fork",
    "checkpoint",
    "rewind",
    "checkpoints",
    "changes",
    "join",
    "resolve",
    "collapse",
    "materialize",
    "capture",
    "publish",
    "export",
    "workspaces",
    "stats",
    "completion",
];

#[test]
fn the_list_of_verbs() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    snapshot("help.txt", &help);
    assert_eq!(place.ok(&["help"]), help);
    assert_eq!(place.ok(&["-h"]), help);
    let bare = place.pyi(&[]);
    assert_eq!((bare.status, bare.text(), bare.err), (2, String::new(), help));
    assert_eq!(
        place.ok(&["--version"]),
        format!("pyi version {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn every_verb_explains_itself() {
    let place = Place::new();
    let mut all = String::new();
    for verb in NATIVE {
        let help = place.ok(&[verb, "--help"]);
        assert_eq!(place.ok(&["help", verb]), help);
        assert!(help.contains(&format!("Usage: pyi {verb} ")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 132), "{help}");
        all += &format!("$ pyi {verb} --help\n{help}\n");
    }
    snapshot("verbs_help.txt", &all);
    let (ours, theirs) = (place.pyi(&["help", "-g"]), place.run("git", &["help", "-g"]));
    assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()));
}

#[test]
fn wrong_usage_is_one_line_and_2() {
    let place = Place::imported();
    for (args, part) in [
        (&["fork"][..], "<NAME>"),
        (&["fork", ""], "empty"),
        (&["fork", "a", "b"], "unexpected argument 'b'"),
        (&["fork", "--wat"], "--wat"),
        (&["fork", "bad..name"], "bad..name"),
        (&["checkpoints", "-n", "x"], "invalid value 'x'"),
        (&["checkpoints", "main^2"], "main^2"),
        (&["import", "--history", "some"], "some"),
        (&["completion", "tcsh"], "tcsh"),
        (&["-w"], "needs the name of a workspace"),
        (&["-w", "w"], "needs a git command"),
        (&["-w", "w", "fork", "v"], "fork is no git command"),
        (&["-C"], "-C needs a directory"),
        (&["-C", "nowhere", "stats"], "nowhere"),
        (&["checkpoint", "w", "--no-ignore"], "--dir"),
    ] {
        place.pyi(args).fails(2, part);
    }
}

#[test]
fn negative_answers_are_1() {
    let place = Place::imported();
    place.ok(&["fork", "w"]);
    for (args, part) in [
        (&["fork", "w"][..], "exists already"),
        (&["checkpoint", "nope"], "pyi fork nope"),
        (&["rewind", "w", "nope"], "nope"),
        (&["publish", "w", "other", "--expect", "main"], "--expect none makes it"),
        (&["collapse", "nope", "0"], "no superposition"),
        (&["workspaces", "--drop", "nope"], "nothing was dropped"),
        (&["stats", "--store", "nowhere"], "pyi import"),
    ] {
        place.pyi(args).fails(1, part);
    }
    // With --exit-code, 1 means differences and nothing else.
    place.pyi(&["changes", "nope", "--exit-code"]).fails(3, "nope");
}

#[test]
fn a_failed_run_is_3() {
    let place = Place::imported();
    std::fs::write(place.path("project/.git/pyi/format"), "not a store").unwrap();
    let said = place.pyi(&["stats"]);
    assert_eq!((said.status, said.err.lines().count()), (3, 1), "{said:?}");
}

#[test]
fn arguments_that_are_not_utf8() {
    let place = Place::imported();
    place.ok(&["fork", "w"]);
    let odd = OsStr::from_bytes(b"d\xff");
    let said = Said::of(place.command(PYI).args(["materialize", "w"]).arg(odd).output().unwrap());
    assert_eq!(said.status, 0, "{said:?}");
    std::fs::write(
        place.path("project").join(odd).join(OsStr::from_bytes(b"n\xe9w\n")),
        "x",
    )
    .unwrap();
    let captured = place
        .command(PYI)
        .args(["capture", "w", "--json"])
        .arg(odd)
        .output()
        .unwrap();
    let said = Said::of(captured);
    assert!(said.text().contains(r#""path": "n\udce9w\n""#), "{said:?}");
    assert_eq!(place.ok(&["changes", "w"]), "A \"n\\351w\\n\"\n");
    for args in [&["fork"][..], &["checkpoints"], &["checkpoint", "w", "-m"]] {
        let said = Said::of(place.command(PYI).args(args).arg(odd).output().unwrap());
        said.fails(2, "UTF-8");
    }
}

#[test]
fn completion_knows_all_verbs() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.ok(&["completion", shell]);
        for verb in NATIVE.iter().chain(&["race", "swarm"]) {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
        if place.command(shell).arg("--version").output().is_ok() {
            place.write("script", &script);
            let said = place.run(shell, &["-n", "../script"]);
            assert_eq!((said.status, said.err), (0, String::new()), "{shell}");
        }
    }
}

#[test]
fn a_reader_who_has_enough_is_no_error() {
    let place = Place::imported();
    let script = format!("'{PYI}' completion bash | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}");
    let said = Said::of(place.command("bash").args(["-c", &script]).output().unwrap());
    assert!(
        said.err.is_empty() && matches!(said.text().trim(), "0" | "141"),
        "{said:?}"
    );
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said = Said::of(place.command(PYI).arg("--version").stdout(full).output().unwrap());
    said.fails(3, "standard output");
}
