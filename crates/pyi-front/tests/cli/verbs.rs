//! The verbs from import to export, as text: what people see.

use std::fs;

use crate::common::{Place, snapshot};
use pyi_engine::{Repository, RepositoryOptions, Version};

/// Runs each line, and keeps what it said, as a terminal would show it.
fn session(place: &Place, lines: &[&str]) -> String {
    let mut shown = String::new();
    for line in lines {
        let args: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
        let said = place.pyi(&args);
        shown += &format!("$ pyi {line}\n{}{}", said.text(), said.err);
        if said.status != 0 {
            shown += &format!("[exit status {}]\n", said.status);
        }
    }
    place.normal(&shown)
}

#[test]
fn a_workspace_goes_out_and_comes_back() {
    let place = Place::new();
    let mut shown = session(
        &place,
        &["import", "import", "fork fix", "fork fix", "materialize fix ../fix"],
    );
    place.write("fix/src/app.py", "def add(a, b):\n    return a + b\n");
    place.write("fix/NEW.md", "new\n");
    place.write("fix/noise.log", "noise\n");
    fs::remove_file(place.path("fix/README.md")).unwrap();
    shown += &session(
        &place,
        &[
            "capture fix ../fix -m 'Repair'",
            "capture fix ../fix",
            "changes fix",
            "changes fix --stat",
            "changes fix -p",
            "changes main fix --exit-code",
            "changes main main --exit-code",
            "checkpoint fix -m 'mark'",
            "checkpoints fix",
            "checkpoints main -n 1",
            "workspaces",
            "rewind fix fix^",
            "publish fix main",
            "publish fix main --expect none",
            "publish fix other --expect main",
            "publish fix done --expect none",
            "export fix --branch repaired -m 'Repaired'",
            "export fix --branch main",
            "workspaces --drop fix",
            "workspaces --drop fix",
            "workspaces",
        ],
    );
    snapshot("round_trip.txt", &shown);
    assert_eq!(
        place.git(&["show", "repaired:src/app.py"]),
        "def add(a, b):\n    return a + b\n"
    );
    assert_eq!(
        place.git(&["log", "-1", "--format=%s %an", "repaired"]),
        "Repaired Ann\n"
    );
    assert_eq!(place.git(&["status", "--porcelain"]), "", "the work tree was touched");
}

#[test]
fn joins_are_clean_or_change_nothing() {
    let place = Place::imported();
    for (name, readme, other) in [
        ("a", "# A\n\nOne.\nTwo.\nThree.\n", "a.txt"),
        ("b", "# B\n\nOne.\nTwo.\nThree.\n", "b.txt"),
    ] {
        place.ok(&["fork", name]);
        place.ok(&["materialize", name, &format!("../{name}"), "--no-git"]);
        place.write(&format!("{name}/{other}"), "x\n");
        place.ok(&["capture", name, &format!("../{name}")]);
        place.write(&format!("{name}/README.md"), readme);
        place.ok(&["capture", name, &format!("../{name}")]);
    }
    let shown = session(
        &place,
        &[
            "join a b^ -m 'take_b.txt'",
            "join a b^",
            "changes a^ a",
            "join a b",
            "checkpoints a -n 2",
        ],
    );
    snapshot("join.txt", &shown);
    let conflict = place.pyi(&["join", "a", "b", "--json"]);
    assert_eq!(conflict.status, 1);
    let json: serde_json::Value = serde_json::from_slice(&conflict.out).unwrap();
    assert_eq!(
        (&json["clean"], &json["conflicts"][0]["path"]),
        (&false.into(), &"README.md".into())
    );
}

#[test]
fn kept_conflicts_are_settled_later() {
    let place = Place::imported();
    for name in ["a", "b"] {
        place.ok(&["fork", name]);
        place.ok(&["materialize", name, &format!("../{name}"), "--no-git"]);
        place.write(&format!("{name}/README.md"), &format!("# {name}\n"));
        place.write(&format!("{name}/both.txt"), &format!("{name}\n"));
        place.write(&format!("{name}/third.txt"), &format!("{name}\n"));
        place.ok(&["capture", name, &format!("../{name}")]);
    }
    place.write("merged.txt", "of both\n");
    let shown = session(
        &place,
        &[
            "resolve a",
            "join a b --keep",
            "resolve a",
            "resolve a README.md nothing-here --ours",
            "resolve a README.md",
            "resolve a README.md --theirs",
            "resolve a both.txt --file ../merged.txt -m by-hand",
            "resolve a --all --ours",
            "changes a^ a",
            "changes b a",
            "checkpoints a -n 4",
        ],
    );
    snapshot("resolve.txt", &shown);
    place.ok(&["join", "b", "a"]);
    assert_eq!(place.ok(&["changes", "a", "b"]), "", "settled for the other as well");
}

#[test]
fn a_patch_applies() {
    let place = Place::imported();
    place.ok(&["fork", "w"]);
    place.ok(&["materialize", "w", "../w", "--no-git"]);
    let many: String = (0..200).map(|line| format!("line {line}\n")).collect();
    place.write("w/many lines.txt", &many);
    place.ok(&["capture", "w", "../w"]);
    fs::create_dir(place.path("before")).unwrap();
    place.ok(&["materialize", "w", "../before", "--no-git"]);
    place.write(
        "w/many lines.txt",
        &many
            .replace("line 7\n", "seven\n")
            .replace("line 150\n", "")
            .replace("line 199\n", "end"),
    );
    place.write("w/tab\there", "no newline");
    place.write("w/empty", "");
    place.write("w/run.sh", "#!/bin/sh\n");
    fs::remove_file(place.path("w/README.md")).unwrap();
    fs::rename(place.path("w/src/app.py"), place.path("w/src/main.py")).unwrap();
    std::os::unix::fs::symlink("run.sh", place.path("w/link")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(place.path("w/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    place.ok(&["capture", "w", "../w"]);
    for renames in [
        &["changes", "w^", "w", "-p"][..],
        &["changes", "w^", "w", "-p", "--renames"],
    ] {
        let patch = place.ok(renames);
        let target = tempfile::tempdir().unwrap();
        let copy = place.run("cp", &["-a", "../before/.", target.path().to_str().unwrap()]);
        assert_eq!(copy.status, 0);
        place.write("patch", &patch);
        let patch_file = place.path("patch");
        let applied = place
            .command("git")
            .current_dir(target.path())
            .arg("apply")
            .arg(patch_file)
            .output()
            .unwrap();
        assert!(
            applied.status.success(),
            "{}\n{patch}",
            String::from_utf8_lossy(&applied.stderr)
        );
        let compared = place.run(
            "diff",
            &["-r", "--no-dereference", target.path().to_str().unwrap(), "../w"],
        );
        assert_eq!((compared.status, compared.text()), (0, String::new()));
    }
    assert!(
        place
            .ok(&["changes", "w^", "w", "--renames"])
            .contains("R src/app.py -> src/main.py\n")
    );
}

#[test]
fn collapse_chooses_one_candidate() {
    let place = Place::imported();
    let options = RepositoryOptions {
        create: false,
        ..RepositoryOptions::default()
    };
    let repository = Repository::open(&place.path("project"), &options).unwrap();
    let base = Version::Id(repository.branch("main").unwrap());
    for name in ["one", "two"] {
        let superposition = repository.superpose(&base, 3, None, None, Some(name)).unwrap();
        superposition.weigh(2, 5.0).unwrap();
        let candidate = &superposition.candidates().unwrap()[2];
        candidate
            .write(b"won.txt", name.as_bytes().to_vec().into(), None)
            .unwrap();
        candidate.checkpoint("candidate", pyi_engine::Value::Null).unwrap();
    }
    drop(repository);
    let shown = session(
        &place,
        &[
            "stats --json --wat",
            "workspaces",
            "collapse one",
            "collapse one 1 --best",
            "collapse one 7",
            "collapse one --best",
            "collapse one --best",
            "collapse two 2",
            "collapse two 2 --onto second",
            "workspaces",
            "changes main",
        ],
    );
    snapshot("collapse.txt", &shown);
}

#[test]
fn names_may_be_ambiguous_and_go_back() {
    let place = Place::imported();
    place.ok(&["fork", "main"]);
    assert!(place.ok(&["checkpoints", "main"]).contains("(main, main)"));
    place.ok(&["checkpoint", "main", "-m", "ahead"]);
    place
        .pyi(&["checkpoints", "main"])
        .fails(2, "workspace:main or branch:main");
    assert_eq!(place.id("workspace:main^"), place.id("branch:main"));
    place
        .pyi(&["changes", "workspace:main~2"])
        .fails(1, "beyond the first checkpoint");
    place
        .pyi(&["changes", "branch:nope"])
        .fails(1, "no workspace, branch or checkpoint");
    let id = place.id("branch:main");
    assert_eq!(place.id(&id[..8]), id);
    place.pyi(&["checkpoints", &id[..7]]).fails(2, "at least the first 8");
    place
        .pyi(&["checkpoints", "0123456789ab"])
        .fails(1, "not in this repository");
}

#[test]
fn stores_are_found_from_below_from_outside_and_from_materialized_directories() {
    let place = Place::imported();
    let stats = place.ok(&["stats"]);
    assert_eq!(place.ok(&["-C", "src", "stats"]), stats);
    assert_eq!(place.ok(&["stats", "-C", "src", "-C", "."]), stats);
    let store = place.path("project/.git/pyi");
    let store = store.to_str().unwrap();
    for args in [
        &["-C", "..", "--store", store, "stats"][..],
        &["stats", "-C", "..", "--store", store],
    ] {
        assert_eq!(place.ok(args), stats);
    }
    let outside = place
        .command(crate::common::PYI)
        .env("PYI_STORE", store)
        .args(["-C", "..", "stats"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(outside.stdout).unwrap(), stats);
    place.pyi(&["-C", "..", "stats"]).fails(1, "no repository");
    place.ok(&["fork", "w"]);
    place.ok(&["materialize", "w", "../w"]);
    place.write("w/src/x.py", "x\n");
    let inside = place.ok(&["-C", "../w/src", "capture", "w", ".."]);
    assert!(inside.starts_with("A src/x.py\nw is at "), "{inside}");
    place.ok(&["-C", "../w", "export", "w", "-b", "from-inside"]);
    assert_eq!(place.git(&["show", "from-inside:src/x.py"]), "x\n");
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}

#[test]
fn directories_are_imported_too() {
    let place = Place::new();
    fs::create_dir_all(place.path("data/deep")).unwrap();
    place.write("data/deep/file", "content");
    let said = place
        .pyi(&["-C", "..", "import", "data", "--branch", "data", "--json"])
        .json();
    assert_eq!(
        (&said["files"], &said["bytes"], &said["commit"]),
        (&1.into(), &7.into(), &serde_json::Value::Null)
    );
    assert!(place.path("data/.pyi/format").is_file());
    place
        .pyi(&["-C", "../data", "import", "--dir", "--rev", "HEAD", "--branch", "x"])
        .fails(2, "--rev and --history");
    place.pyi(&["import", "../nothing"]).fails(2, "is no directory");
    let unknown = place.pyi(&["import", "--rev", "nothing", "--branch", "x"]);
    assert!(
        unknown.status == 1 && unknown.err.contains("\"nothing\""),
        "{unknown:?}"
    );
    place.ok(&["import", ".", "--dir", "--branch", "plain"]);
    place.ok(&["import", "../data", "--branch", "data"]);
    assert_eq!(
        place.ok(&["-C", "../data", "fork", "w"]).split(',').nth(1),
        Some(" from data\n")
    );
    assert_eq!(place.ok(&["changes", "data"]), "A deep/file\n");
}

#[test]
fn the_users_ignore_list_is_obeyed() {
    let place = Place::imported();
    fs::create_dir_all(place.path("home/.config/git")).unwrap();
    place.write("home/.config/git/ignore", "*.mine\n");
    place.ok(&["fork", "w"]);
    place.ok(&["materialize", "w", "../w"]);
    for name in ["a.mine", "b.log", "c.other", "d.txt"] {
        place.write(&format!("w/{name}"), "x");
    }
    let shown = place.ok(&["capture", "w", "../w"]);
    assert!(shown.starts_with("A c.other\nA d.txt\nw is at"), "{shown}");
    place.write("home/.gitconfig", "[core]\n\texcludesFile = ~/list\n");
    place.write("home/list", "*.other\n");
    place.ok(&["rewind", "w", "w^"]);
    let shown = place.ok(&["capture", "w", "../w"]);
    assert!(shown.starts_with("A a.mine\nA d.txt\nw is at"), "{shown}");
    let shown = place.ok(&["checkpoint", "w", "--dir", "../w", "--no-ignore"]);
    assert!(shown.starts_with("A b.log\nA c.other\nw is at"), "{shown}");
}
