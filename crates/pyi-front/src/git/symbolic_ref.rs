//! `git symbolic-ref NAME`: which ref a symbolic one points at.

use pyi_engine::git::RefValue;
use pyi_git::argv::Parsed;

use super::repository::GitRepository;
use super::{Answer, Command, Input, Native, Reason};

pub(super) const COMMAND: Command = Command {
    name: "symbolic-ref",
    options: &["quiet", "short"],
    run,
};

fn run(parsed: &Parsed<'_>, repository: &GitRepository, _: &Input) -> Native<Answer> {
    let operands: Vec<_> = parsed.operands().collect();
    // Others than HEAD have rules of their own about names.
    if operands != [b"HEAD"] {
        return Err(Reason::new("operands"));
    }
    let Some(RefValue::Symbolic(target)) = repository.git().read_ref(b"HEAD")? else {
        return Err(Reason::new("revision"));
    };
    let short = match target.strip_prefix(b"refs/heads/") {
        _ if !parsed.is_on("short") => &target[..],
        // Only a branch whose short name is nobody else's.
        Some(short) => {
            let plain = super::revision::RULES.iter().all(|(before, behind)| {
                let other = [before.as_bytes(), short, behind.as_bytes()].concat();
                other == target
                    || (std::fs::symlink_metadata(repository.git().ref_path(&other)).is_err()
                        && matches!(repository.git().read_ref(&other), Ok(None)))
            });
            if !plain {
                return Err(Reason::new("revision"));
            }
            short
        }
        None => return Err(Reason::new("revision")),
    };
    // One that points at another symbolic ref is followed by git.
    if let Some(RefValue::Symbolic(_)) = repository.git().read_ref(&target)? {
        return Err(Reason::new("revision"));
    }
    Ok(Answer::done([short, b"\n"].concat()))
}
