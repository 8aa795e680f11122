//! Verbs that are written in Python: this process becomes `python -m pyi VERB ...`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::Leading;
use crate::failure::{Failure, Result};

/// Becomes the Python command. Comes back only if there is no interpreter, or none that knows the package.
pub(crate) fn run(verb: &str, args: &[OsString], leading: &Leading) -> Result<u8> {
    leading.enter()?;
    let python = interpreter();
    if !has_package(&python)? {
        return Err(not_importable(&python));
    }
    let mut command = Command::new(&python);
    // -P: the current directory is somebody's repository, and a `json.py` in it is not Python's.
    command.args(["-P", "-m", "pyi", verb]);
    if leading.json {
        command.arg("--json");
    }
    command.args(args);
    if let Some(store) = &leading.store {
        command.env("PYI_STORE", store);
    }
    Err(cannot_run(&python, &command.exec()))
}

/// `PYI_PYTHON`, or the interpreter beside this program (in a virtual environment they stand together), or the one on PATH.
fn interpreter() -> PathBuf {
    if let Some(named) = std::env::var_os("PYI_PYTHON").filter(|named| !named.is_empty()) {
        return named.into();
    }
    let directory = std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(Path::to_path_buf));
    let beside = directory
        .into_iter()
        .flat_map(|directory| ["python3", "python"].map(|name| directory.join(name)));
    beside
        .into_iter()
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| "python3".into())
}

/// Whether `pyi` can be imported: a look into the environment's directory, or the interpreter's own answer.
fn has_package(python: &Path) -> Result<bool> {
    let library = python
        .parent()
        .and_then(Path::parent)
        .map(|environment| environment.join("lib"));
    let versions = library
        .and_then(|library| fs::read_dir(library).ok())
        .into_iter()
        .flatten()
        .flatten();
    let is_there = |version: fs::DirEntry| version.path().join("site-packages/pyi/__main__.py").is_file();
    if python.is_absolute() && versions.into_iter().any(is_there) {
        return Ok(true);
    }
    let code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pyi') is None)";
    let mut probe = Command::new(python);
    probe
        .args(["-P", "-c", code])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(probe.status().map_err(|error| cannot_run(python, &error))?.success())
}

fn not_importable(python: &Path) -> Failure {
    Failure::failed(format!(
        "{} cannot import pyi (or is older than 3.11); install the package there, or set PYI_PYTHON to the interpreter that has it",
        python.display()
    ))
}

fn cannot_run(python: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "cannot run {}: {error}; this verb needs Python 3.11 or later, set PYI_PYTHON to it",
        python.display()
    ))
}
