//! The examples in docs/reference/cli.md run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{PYI, Place, Said};

/// The commands of all ```console blocks but those behind `<!-- no-test -->`: the lines after `$ `, with what continues them.
fn commands(text: &str) -> String {
    let mut commands = String::new();
    let (mut inside, mut marked) = (false, false);
    for line in text.lines() {
        match line {
            "```console" => inside = !marked,
            "```" => inside = false,
            _ if inside => {
                if let Some(command) = line.strip_prefix("$ ").or(line.strip_prefix("> ")) {
                    commands += command;
                    commands.push('\n');
                }
            }
            _ => {}
        }
        if !line.trim().is_empty() {
            marked = line == "<!-- no-test -->";
        }
    }
    commands
}

#[test]
fn the_reference_runs() {
    let place = Place::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let text = fs::read_to_string(file).unwrap();
    fs::create_dir(place.path("bin")).unwrap();
    symlink(PYI, place.path("bin/pyi")).unwrap();
    let mut path = place.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let script = format!("set -euo pipefail\nset -x\n{}", commands(&text));
    let said = place
        .command("bash")
        .env("PATH", path)
        .env("TMPDIR", place.top.path())
        .args(["-c", &script])
        .output();
    let said = Said::of(said.unwrap());
    assert_eq!(said.status, 0, "{said:?}");
    for line in [
        "import",
        "fork",
        "checkpoint",
        "rewind",
        "checkpoints",
        "changes",
        "join",
        "collapse",
        "materialize",
    ] {
        assert!(
            text.contains(&format!("## pyi {line}\n")),
            "{line} is not in the reference"
        );
    }
    for line in [
        "capture",
        "publish",
        "export",
        "workspaces",
        "stats",
        "undo",
        "reclaim",
        "git-report",
        "git-shim",
        "completion",
        "race",
        "swarm",
    ] {
        assert!(
            text.contains(&format!("## pyi {line}\n")),
            "{line} is not in the reference"
        );
    }
}
