//! Verbs in Python: which interpreter starts, with which arguments.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::{PYI, Place, Said};

/// An interpreter that says how it was called. `knows` is its answer to whether it can import the package.
fn interpreter(file: &Path, knows: bool) {
    let status = u8::from(!knows);
    let script = format!(
        "#!/bin/sh\nif [ \"$2\" = -c ]; then exit {status}; fi\nprintf '%s|' \"${{0##*/}}\" \"$@\" \"$PYI_STORE\" \"$PWD\"\nexit 7\n"
    );
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, script).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_named_interpreter_gets_the_arguments_as_they_are() {
    let place = Place::new();
    let python = place.path("python/named");
    interpreter(&python, true);
    let odd = OsStr::from_bytes(b"caf\xe9");
    let run = |args: &[&OsStr]| {
        place
            .command(PYI)
            .env("PYI_PYTHON", &python)
            .args(args)
            .output()
            .unwrap()
    };
    let words: Vec<&OsStr> = ["race", ".", "-n", "8", "--agent", "a b", "--", "--json"]
        .map(OsStr::new)
        .into();
    let said = run(&[&words[..], &[odd]].concat());
    let top = fs::canonicalize(place.path("project")).unwrap();
    let expected = [
        b"named|-P|-m|pyi|race|.|-n|8|--agent|a b|--|--json|caf\xe9||",
        top.as_os_str().as_bytes(),
        b"|",
    ]
    .concat();
    assert_eq!((said.status.code(), said.stdout), (Some(7), expected));
    let said = Said::of(run(
        &["-C", "src", "--store", "/s", "--json", "swarm", "x"].map(OsStr::new)
    ));
    assert_eq!(
        said.text(),
        format!("named|-P|-m|pyi|swarm|--json|x|/s|{}/src|", top.display())
    );
    assert!(
        Said::of(run(&["help", "race"].map(OsStr::new)))
            .text()
            .starts_with("named|-P|-m|pyi|race|--help|")
    );
}

#[test]
fn the_interpreter_beside_the_program_comes_before_the_one_on_path() {
    let place = Place::new();
    let program = place.path("venv/bin/pyi");
    interpreter(&place.path("venv/bin/python3"), true);
    interpreter(&place.path("path/python3"), true);
    fs::copy(PYI, &program).unwrap();
    let run = |program: &OsStr| {
        let path = std::env::join_paths([place.path("path"), "/usr/bin".into(), "/bin".into()]).unwrap();
        Said::of(place.command(program).env("PATH", path).arg("race").output().unwrap())
    };
    assert_eq!(run(program.as_os_str()).status, 7);
    fs::write(place.path("venv/bin/python3"), "#!/bin/sh\nexit 9\n").unwrap();
    run(program.as_os_str()).fails(3, "venv/bin/python3 cannot import pyi");
    fs::remove_file(place.path("venv/bin/python3")).unwrap();
    assert!(run(program.as_os_str()).text().starts_with("python3|-P|-m|pyi|race|"));
    // A link to the program is the program.
    interpreter(&place.path("venv/bin/python"), true);
    std::os::unix::fs::symlink(&program, place.path("home/pyi")).unwrap();
    assert!(
        run(place.path("home/pyi").as_os_str())
            .text()
            .starts_with("python|-P|-m|pyi|race|")
    );
}

#[test]
fn an_interpreter_without_the_package_is_refused_with_the_remedy() {
    let place = Place::new();
    let python = place.path("python/without");
    interpreter(&python, false);
    let run = |python: &Path| {
        Said::of(
            place
                .command(PYI)
                .env("PYI_PYTHON", python)
                .arg("race")
                .output()
                .unwrap(),
        )
    };
    run(&python).fails(3, "set PYI_PYTHON to the interpreter that has it");
    run(Path::new("/nonexistent/python")).fails(3, "cannot run /nonexistent/python");
}

#[test]
fn a_sandbox_runs_its_command() {
    let place = Place::new();
    let said = place.pyi(&["sandbox-exec", "--chdir", "src", "--", "sh", "-c", "ls; exit 5"]);
    assert_eq!((said.status, said.text()), (5, "app.py\n".to_owned()));
    assert_eq!(place.pyi(&["sandbox-exec"]).status, 125);
}
