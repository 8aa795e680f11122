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
        let parts: Vec<&[u8]> = word
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        if word.starts_with(b"/") || parts.is_empty() || parts.contains(&&b".."[..]) {
            return unavailable(format!("git mv {}", String::from_utf8_lossy(word)));
        }
        paths.push(parts.join(&b'/'));
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
    let mut moves: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for source in sources {
        let name = source.rsplit(|&byte| byte == b'/').next().unwrap_or(source);
        let to = if into {
            [target.as_slice(), b"/", name].concat()
        } else {
            target.clone()
        };
        let there = call.site.find(View::Work, source)?;
        let bad = match there {
            None => Some("bad source"),
            Some(Found::Directory) => {
                if to.starts_with(source) && to.get(source.len()) == Some(&b'/') || to == *source {
                    Some("can not move directory into itself")
                } else if call.site.files(View::Index, source)?.is_empty() {
                    Some("source directory is empty")
                } else {
                    None
                }
            }
            Some(Found::File(_)) => {
                let tracked = matches!(call.site.find(View::Index, source)?, Some(Found::File(_)));
                let taken = call.site.find(View::Work, &to)?;
                match (tracked, taken) {
                    (false, _) => Some("not under version control"),
                    (_, Some(Found::File(_))) if !given.has("force") => Some("destination exists"),
                    (_, Some(Found::Directory)) => return unavailable("git mv onto a directory"),
                    _ => None,
                }
            }
        };
        if slash && !into && bad.is_none() && matches!(there, Some(Found::File(_))) {
            return unavailable("git mv to a directory that is not there");
        }
        if let Some(bad) = bad {
            let message = [bad.as_bytes(), b", source=", source, b", destination=", &to].concat();
            return Err(call.die(message));
        }
        if let Some(end) = to.iter().rposition(|&byte| byte == b'/') {
            let above = to.get(..end).unwrap_or_default();
            if !matches!(call.site.find(View::Work, above)?, Some(Found::Directory)) {
                let message = [b"renaming '".as_slice(), source, b"' failed: No such file or directory"].concat();
                return Err(call.die(message));
            }
        }
        moves.push((source.clone(), to));
    }
    for (from, to) in moves {
        if given.has("dry-run") {
            return unavailable("git mv --dry-run");
        }
        if given.has("verbose") {
            call.line(&[b"Renaming ", &from, b" to ", &to]);
        }
        let index = call.site.files(View::Index, &from)?;
        let work = call.site.files(View::Work, &from)?;
        let new = |path: &[u8]| [to.as_slice(), path.get(from.len()..).unwrap_or_default()].concat();
        for (path, version) in &work {
            call.site.put(path, None)?;
            call.site.put(&new(path), Some(version))?;
        }
        for (path, version) in &index {
            call.site.stage(path, None)?;
            call.site.stage(&new(path), Some(version))?;
        }
    }
    Ok(0)
}
