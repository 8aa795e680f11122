//! `git mv`.

use super::args::{self, Takes};
use super::{Call, Found, Run, View, unavailable};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("f|force", Takes::Nothing),
            ("v|verbose", Takes::Nothing),
            ("n|dry-run", Takes::Nothing),
        ],
    )?;
    let mut paths: Vec<Vec<u8>> = Vec::new();
    for word in &given.rest {
        let path = call.path_of(word)?;
        if path.is_empty() {
            return unavailable(format!("git mv {}", String::from_utf8_lossy(word)));
        }
        paths.push(path);
    }
    let Some((target, sources)) = paths.split_last() else {
        return unavailable("git mv without paths");
    };
    if sources.is_empty() {
        return unavailable("git mv of one path");
    }
    let into = matches!(call.site.find(View::Work, target)?, Some(Found::Directory));
    if sources.len() > 1 && !into {
        let target = String::from_utf8_lossy(given.rest.last().map_or(&b""[..], Vec::as_slice)).into_owned();
        return Err(call.die(format!("destination '{target}' is not a directory")));
    }
    let slash = given.rest.last().is_some_and(|word| word.ends_with(b"/"));
    let (dry, verbose) = (given.has("dry-run"), given.has("verbose"));
    let mut moves: Vec<Move> = Vec::new();
    for source in sources {
        let name = source.rsplit(|&byte| byte == b'/').next().unwrap_or(source);
        let to = if into {
            [target.as_slice(), b"/", name].concat()
        } else {
            target.clone()
        };
        moves.push(Move {
            from: source.clone(),
            to,
            inside: false,
        });
    }
    let mut at = 0;
    while let Some(one) = moves.get(at).cloned() {
        at += 1;
        if dry {
            call.line(&[b"Checking rename of '", &one.from, b"' to '", &one.to, b"'"]);
        }
        // What is in a directory goes with it.
        if one.inside {
            if call.site.find(View::Work, &one.from)?.is_none() {
                let message = [b"bad source, source=", one.from.as_slice(), b", destination=", &one.to].concat();
                return Err(call.die(message));
            }
            continue;
        }
        let there = call.site.find(View::Work, &one.from)?;
        if slash && !into && matches!(there, Some(Found::File(_))) {
            return unavailable("git mv to a directory that is not there");
        }
        if let Some(bad) = refuse(call, &one, there.as_ref(), given.has("force"), verbose)? {
            let message = [bad.as_bytes(), b", source=", &one.from, b", destination=", &one.to].concat();
            return Err(call.die(message));
        }
        if matches!(there, Some(Found::Directory)) {
            for (path, _) in call.site.files(View::Index, &one.from)? {
                let rest = path.get(one.from.len()..).unwrap_or_default();
                let to = [one.to.as_slice(), rest].concat();
                moves.push(Move {
                    from: path,
                    to,
                    inside: true,
                });
            }
        }
    }
    for (number, one) in moves.iter().enumerate() {
        if dry || verbose {
            call.line(&[b"Renaming ", &one.from, b" to ", &one.to]);
        }
        if dry || one.inside {
            continue;
        }
        if let Some(end) = one.to.iter().rposition(|&byte| byte == b'/') {
            let above = one.to.get(..end).unwrap_or_default();
            if !matches!(call.site.find(View::Work, above)?, Some(Found::Directory)) {
                if number > 0 {
                    return unavailable("git mv that fails after the first file");
                }
                let message = [
                    b"renaming '".as_slice(),
                    &one.from,
                    b"' failed: No such file or directory",
                ]
                .concat();
                return Err(call.die(message));
            }
        }
        rename(call, one)?;
    }
    Ok(0)
}

/// One file or directory that is to be moved.
#[derive(Clone)]
struct Move {
    from: Vec<u8>,
    to: Vec<u8>,
    /// It is in a directory that is moved.
    inside: bool,
}

/// Why something cannot be moved.
fn refuse(
    call: &mut Call<'_>,
    one: &Move,
    there: Option<&Found>,
    force: bool,
    verbose: bool,
) -> Run<Option<&'static str>> {
    let (from, to) = (&one.from, &one.to);
    let Some(there) = there else {
        return Ok(Some("bad source"));
    };
    let below = to.strip_prefix(from.as_slice());
    if below.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")) {
        return Ok(Some("can not move directory into itself"));
    }
    let taken = call.site.find(View::Work, to)?;
    if matches!(there, Found::Directory) {
        if taken.is_some() {
            return Ok(Some("destination already exists"));
        }
        let empty = call.site.files(View::Index, from)?.is_empty();
        return Ok(empty.then_some("source directory is empty"));
    }
    if !matches!(call.site.find(View::Index, from)?, Some(Found::File(_))) {
        return Ok(Some("not under version control"));
    }
    match taken {
        None => Ok(None),
        Some(Found::Directory) => unavailable("git mv onto a directory"),
        Some(Found::File(_)) if !force => Ok(Some("destination exists")),
        Some(Found::File(_)) => {
            if verbose {
                let message = [b"warning: overwriting '", to.as_slice(), b"'\n"].concat();
                call.err.extend_from_slice(&message);
            }
            Ok(None)
        }
    }
}

fn rename(call: &mut Call<'_>, one: &Move) -> Run<()> {
    if call.site.relocate(&one.from, &one.to)? {
        return Ok(());
    }
    let index = call.site.files(View::Index, &one.from)?;
    let work = call.site.files(View::Work, &one.from)?;
    let new = |path: &[u8]| [one.to.as_slice(), path.get(one.from.len()..).unwrap_or_default()].concat();
    for (path, version) in &work {
        call.site.put(path, None)?;
        call.site.put(&new(path), Some(version))?;
    }
    for (path, version) in &index {
        call.site.stage(path, None)?;
        call.site.stage(&new(path), Some(version))?;
    }
    Ok(())
}
