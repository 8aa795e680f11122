//! Capture of the upper layer of real overlays. Each is mounted by `unshare` in a mount namespace of its own, a script
//! works in it, and the upper layer is captured from outside, as `pyi race` does it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

mod sandbox_common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use pyi_engine::{CaptureOptions, CaptureReport, ErrorKind, Ignore, MaterializeOptions, Repository, Value, Workspace};
use sandbox_common::*;
use tempfile::TempDir;

struct Overlay {
    scratch: TempDir,
    repo: Repository,
    workspace: Arc<Workspace>,
    options: CaptureOptions,
}

impl Overlay {
    fn new() -> Option<Self> {
        let scratch = scratch();
        let source = sample_repository(scratch.path(), "sha1");
        let repo = open(scratch.path());
        let workspace = import(&repo, &source);
        for dir in ["upper", "work", "at"] {
            fs::create_dir(scratch.path().join(dir)).unwrap();
        }
        workspace
            .materialize(&scratch.path().join("lower"), &MaterializeOptions::default())
            .unwrap();
        let base = Some(*workspace.head().id());
        let upper = Some(scratch.path().join("upper"));
        let options = CaptureOptions {
            ignore: Ignore::Git,
            upper,
            base,
            excludes_file: None,
        };
        let overlay = Overlay {
            scratch,
            repo,
            workspace,
            options,
        };
        match overlay.try_run("true", "redirect_dir=off,metacopy=off,index=off,xino=off") {
            Ok(()) => Some(overlay),
            Err(reason) => {
                eprintln!("skipped: no overlay mounts here: {reason}");
                None
            }
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Runs a shell script in the merged directory, and copies what it saw at its end to `seen`.
    fn try_run(&self, script: &str, options: &str) -> Result<(), String> {
        let mount = format!(
            "set -e; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,{options} at; \
             rm -rf seen; cd at; {script}\n cp -a . ../seen"
        );
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &mount])
            .current_dir(self.scratch.path())
            .output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn run(&self, script: &str) -> CaptureReport {
        self.try_run(script, "redirect_dir=off,metacopy=off,index=off,xino=off")
            .unwrap();
        self.capture()
    }

    fn capture(&self) -> CaptureReport {
        self.workspace.capture_report(&self.at("lower"), &self.options).unwrap()
    }

    fn check(&self) {
        assert_eq!(in_workspace(&self.workspace), on_disk(&self.at("seen")));
    }
}

fn paths(report: &CaptureReport) -> Vec<String> {
    report
        .changes
        .iter()
        .map(|change| String::from_utf8_lossy(&change.path).into_owned())
        .collect()
}

#[test]
fn every_kind_of_change() {
    let Some(overlay) = Overlay::new() else { return };
    let report =
        overlay.run("echo changed > README; echo new > src/new; rm bin/run; chmod +x src/main.py; ln -s x link");
    assert_eq!(paths(&report), ["README", "bin/run", "link", "src/main.py", "src/new"]);
    assert_eq!(report.files_read, 4);
    overlay.check();
    std::thread::sleep(std::time::Duration::from_millis(40));
    overlay.capture();
    let again = overlay.capture();
    assert_eq!(
        (again.files_read, again.changes.len()),
        (0, 0),
        "files of the upper layer are not read again"
    );

    overlay.workspace.checkpoint("", Value::Null).unwrap();
    // A file that came and goes leaves no trace in the upper layer.
    let report =
        overlay.run("rm src/new link; git -c user.name=a checkout -q README; rm -r src/deep; mkdir -p empty/er");
    assert_eq!(
        paths(&report),
        ["README", "empty/er", "link", "src/deep/er/x", "src/new"]
    );
    overlay.check();

    // Directories that replace: opaque ones, files where directories stood, and the reverse.
    overlay.run("rm -r src; mkdir src; echo only > src/only; rm -r bin; echo file > bin; rm README; mkdir README; echo x > README/x");
    overlay.check();
    overlay.run("rm -r README bin; mkdir bin; mv src other; echo back > src.py");
    overlay.check();
    overlay.run("mv other src; rmdir bin; rm -r empty");
    overlay.check();
    assert!(overlay.repo.stats().is_ok());
}

#[test]
fn ignore_rules_of_both_layers() {
    let Some(overlay) = Overlay::new() else { return };
    let report =
        overlay.run("echo > src/x.pyc; mkdir -p build src/__pycache__; echo > build/x; echo > src/__pycache__/y.pyc");
    assert_eq!(paths(&report), Vec::<String>::new());
    let report = overlay.run("echo '*.tmp' > .gitignore; echo > src/a.tmp; echo > src/b");
    assert_eq!(
        paths(&report),
        [".gitignore", "build/x", "src/__pycache__/y.pyc", "src/b", "src/x.pyc"]
    );
    // What was captured once is tracked from then on.
    let report = overlay.run("echo '*.pyc' >> .gitignore; echo 2 > src/x.pyc; echo > src/z.pyc");
    assert_eq!(paths(&report), [".gitignore", "src/x.pyc"]);
    let report = overlay.run("git add -A; git -c user.name=a -c user.email=a@b commit -qm x");
    assert_eq!(paths(&report), Vec::<String>::new(), ".git is never captured");
}

#[test]
fn random_work_in_rounds() {
    let Some(mut overlay) = Overlay::new() else { return };
    overlay.options.ignore = Ignore::None;
    // A fixed generator, so that a failure can be seen again.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let names = [
        "src",
        "bin",
        "README",
        "src/deep",
        "src/main.py",
        "new",
        "new/x",
        "src/link",
        "src/deep/er",
        "b/c/d",
        "bin/run",
    ];
    for _ in 0..25 {
        let mut script = String::new();
        for _ in 0..6 {
            let (a, b) = (names[next(11) as usize], names[next(11) as usize]);
            script += &match next(7) {
                0 => format!("rm -rf {a} || true; "),
                1 => format!("mv -T {a} {b} 2>/dev/null || true; "),
                2 => format!("mkdir -p {a} 2>/dev/null || true; "),
                3 => format!("chmod 755 {a} 2>/dev/null || true; "),
                4 => format!("ln -sfn {b} {a} 2>/dev/null || true; "),
                _ => format!(
                    "mkdir -p $(dirname {a}) 2>/dev/null && test ! -L {a} && echo {} > {a} 2>/dev/null || true; ",
                    next(5)
                ),
            };
        }
        overlay.run(&script);
        overlay.check();
        if next(3) == 0 {
            overlay.workspace.checkpoint("", Value::Null).unwrap();
        }
    }
}

#[test]
fn references_are_refused() {
    let Some(overlay) = Overlay::new() else { return };
    let before = in_workspace(&overlay.workspace);
    let refused = |script: &str, options: &str| {
        if let Err(reason) = overlay.try_run(script, options) {
            eprintln!("skipped: {options}: {reason}");
            return;
        }
        let error = overlay
            .workspace
            .capture(&overlay.at("lower"), &overlay.options)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert_eq!(in_workspace(&overlay.workspace), before);
        for dir in ["upper", "work"] {
            fs::remove_dir_all(overlay.at(dir)).unwrap();
            fs::create_dir(overlay.at(dir)).unwrap();
        }
    };
    refused("mv src renamed", "redirect_dir=on,metacopy=off");
    refused("chmod 700 README", "redirect_dir=on,metacopy=on");
}

#[test]
fn a_repository_that_an_agent_makes_is_captured_as_its_files() {
    let Some(overlay) = Overlay::new() else { return };
    let commit = "git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x";
    let report = overlay.run(&format!(
        "mkdir sub; cd sub; git init -q; echo 1 > committed; git add -A; {commit}; echo 2 > more; cd .."
    ));
    assert_eq!(paths(&report), ["sub/committed", "sub/more"]);
    overlay.run("rm -r sub");
    assert!(!overlay.workspace.exists(b"sub").unwrap());
}
