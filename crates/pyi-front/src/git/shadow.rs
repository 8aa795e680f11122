//! `PYI_GIT_NATIVE=shadow`: git runs too, its answer is given, and a difference turns the command off.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Stdio};

use super::report::{self, Way};
use super::{Answer, Input};
use crate::failure::{Failure, Result};
use crate::handover;

pub(crate) fn compare(args: &[OsString], name: &str, answer: &Answer, input: &Input) -> Result<u8> {
    let Some(git) = handover::installed_git() else {
        return handover::git(args);
    };
    let failed =
        |error: std::io::Error| Failure::failed(format!("cannot run {}: {error}; reinstall git", git.display()));
    let mut command = Command::new(&git);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let read = input.whole.get();
    command.stdin(if read.is_some() {
        Stdio::piped()
    } else {
        Stdio::inherit()
    });
    let mut child = command.spawn().map_err(failed)?;
    // Git reads all of its input before it answers, in the commands that read it at all.
    if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), read) {
        let _ = stdin.write_all(bytes);
    }
    let said = child.wait_with_output().map_err(failed)?;
    let same =
        said.stderr == answer.err && said.stdout == answer.out && said.status.code() == Some(i32::from(answer.status));
    report::count(name, if same { Way::Equal } else { Way::Mismatch }, "");
    if !same {
        report::turn_off(name);
    }
    let given = Answer {
        out: said.stdout,
        err: said.stderr,
        status: said
            .status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(128),
    };
    super::write(&given)
}
