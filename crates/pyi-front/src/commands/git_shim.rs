//! `pyi git-shim DIR`: a `git` that is this program.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{path, place};
use crate::context::Context;
use crate::failure::{DONE, Failure, Result};
use crate::json::{Json, object};

pub(super) const VERB: Verb = Verb {
    name: "git-shim",
    about: "Put a `git` into a directory that is this program",
    arguments,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(place("into", "DIR", "The directory; made if it is not there").required(true))
        .after_help(
            "Called as `git`, the program is only git: what it cannot do exactly, the git behind it on PATH does.\n\n\
             Examples:\n  pyi git-shim ~/.local/share/pyi/bin\n  PATH=~/.local/share/pyi/bin:$PATH git status",
        )
}

fn run(matches: &ArgMatches, context: &Context) -> Result<u8> {
    let Some(directory) = path(matches, "into") else {
        return Err(Failure::usage("name a directory"));
    };
    let us = std::env::current_exe().and_then(fs::canonicalize);
    let us = us.map_err(|error| Failure::failed(format!("this program cannot be found: {error}; reinstall pyi")))?;
    let shim = put(directory, &us)?;
    let json = || {
        object([
            ("shim", Json::from(shim.as_os_str().as_encoded_bytes())),
            ("program", us.as_os_str().as_encoded_bytes().into()),
        ])
    };
    let text = || {
        let first = format!("put {} first on PATH to use it\n", directory.display());
        format!("{} is {}\n{first}", shim.display(), us.display()).into_bytes()
    };
    context.answer(json, text)?;
    Ok(DONE)
}

fn put(directory: &Path, us: &Path) -> Result<PathBuf> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("{}: {error}; name another directory", directory.display()));
    fs::create_dir_all(directory).map_err(failed)?;
    let shim = directory.join("git");
    if fs::symlink_metadata(&shim).is_ok() {
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let ours = fs::metadata(&shim)
            .ok()
            .zip(fs::metadata(us).ok())
            .is_some_and(|(a, b)| same(a, b));
        if ours {
            return Ok(shim);
        }
        return Err(Failure::negative(format!(
            "{} is there already; name another directory, or remove it",
            shim.display()
        )));
    }
    symlink(us, &shim).map_err(failed)?;
    Ok(shim)
}
