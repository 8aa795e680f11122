//! `git rev-parse`.

use super::refs::{HEADS, Head, TAGS};
use super::revision::range;
use super::{Call, Run, Stop, unavailable};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let (mut verify, mut quiet, mut short, mut abbrev_ref, mut symbolic_full) = (false, false, None, false, false);
    let mut revisions: Vec<&[u8]> = Vec::new();
    for word in argv {
        match word.as_slice() {
            b"--verify" => verify = true,
            b"-q" | b"--quiet" => quiet = true,
            b"--short" => {
                short = Some(None);
                verify = true;
            }
            b"--abbrev-ref" => abbrev_ref = true,
            b"--symbolic-full-name" => symbolic_full = true,
            b"--is-inside-work-tree" => call.line(&[b"true"]),
            b"--is-bare-repository" | b"--is-inside-git-dir" | b"--is-shallow-repository" => call.line(&[b"false"]),
            b"--show-prefix" | b"--show-cdup" => call.line(&[b""]),
            b"--show-object-format" => {
                let name = call.site.format().name();
                call.line(&[name.as_bytes()]);
            }
            word if word.starts_with(b"--short=") => {
                let digits = word
                    .get(8..)
                    .and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
                match digits {
                    Some(digits) => short = Some(Some(digits)),
                    None => return unavailable(format!("git rev-parse {}", String::from_utf8_lossy(word))),
                }
                verify = true;
            }
            word if word.starts_with(b"-") => {
                return unavailable(format!("git rev-parse {}", String::from_utf8_lossy(word)));
            }
            word => revisions.push(word),
        }
    }
    if verify && revisions.len() != 1 {
        if quiet {
            return Err(Stop::Exit(1));
        }
        return Err(call.die("Needed a single revision"));
    }
    for revision in revisions {
        if abbrev_ref || symbolic_full {
            symbolic(call, revision, abbrev_ref)?;
            continue;
        }
        if let Some((from, to, symmetric)) = range(revision).filter(|_| !verify) {
            let (from, to) = (call.resolve(&from)?, call.resolve(&to)?);
            let (Some(from), Some(to), false) = (from, to, symmetric) else {
                return unavailable(format!("git rev-parse {}", String::from_utf8_lossy(revision)));
            };
            call.line(&[to.to_hex().as_bytes()]);
            call.line(&[b"^", from.to_hex().as_bytes()]);
            continue;
        }
        let (sign, text): (&[u8], &[u8]) = match revision.strip_prefix(b"^") {
            Some(rest) => (b"^", rest),
            None => (b"", revision),
        };
        let Some(oid) = call.resolve(text)? else {
            if verify {
                if quiet {
                    return Err(Stop::Exit(1));
                }
                return Err(call.die("Needed a single revision"));
            }
            if call
                .site
                .find(super::View::Work, revision)
                .is_ok_and(|found| found.is_some())
            {
                return unavailable("git rev-parse of a path");
            }
            call.line(&[revision]);
            return Err(call.ambiguous(revision));
        };
        let name = match short {
            None => oid.to_hex(),
            Some(None) => call.short(&oid)?,
            Some(Some(digits)) => call.short_of(&oid, digits)?,
        };
        call.line(&[sign, name.as_bytes()]);
    }
    Ok(0)
}

fn symbolic(call: &mut Call<'_>, revision: &[u8], abbreviated: bool) -> Run<()> {
    let full = if revision == b"HEAD" || revision == b"@" {
        match call.head()? {
            Head::Branch(name) if call.read_ref(&name)?.is_some() => name,
            Head::Branch(_) => {
                call.line(&[revision]);
                return Err(call.ambiguous(revision));
            }
            Head::Detached(_) => b"HEAD".to_vec(),
        }
    } else {
        match call.find_ref(revision)? {
            Some((name, _)) => name,
            None => return unavailable("git rev-parse --abbrev-ref of something else than a ref"),
        }
    };
    let short = full
        .strip_prefix(HEADS)
        .or(full.strip_prefix(TAGS))
        .unwrap_or(&full)
        .to_vec();
    call.line(&[if abbreviated { &short } else { &full }]);
    Ok(())
}
