//! `git rm`.

use super::args::{self, Takes};
use super::pathspec::Pathspec;
use super::{Call, Found, Run, Version, View, say, unavailable};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[
            ("r|recursive", Takes::Nothing),
            ("cached", Takes::Nothing),
            ("f|force", Takes::Nothing),
            ("n|dry-run", Takes::Nothing),
            ("q|quiet", Takes::Nothing),
            ("ignore-unmatch", Takes::Nothing),
        ],
    )?;
    if given.rest.is_empty() {
        // Below the top, everything here is meant.
        if !call.prefix.is_empty() {
            return unavailable("git rm of a whole directory that is not named");
        }
        return Err(call.die("No pathspec was given. Which files should I remove?"));
    }
    let pathspec = Pathspec::parse(call, &given.rest)?;
    let files = call.matching(&pathspec, View::Index)?;
    let mut found = false;
    for item in &pathspec.items {
        let matches = files.iter().any(|(path, _)| item.matches(path));
        if !matches && !given.has("ignore-unmatch") {
            let message = [b"pathspec '", item.given.as_slice(), b"' did not match any files"].concat();
            return Err(call.die(message));
        }
        found |= matches;
        let exact = files.iter().any(|(path, _)| *path == item.path);
        let wild = item.given.iter().any(|byte| b"*?[".contains(byte));
        if matches && !exact && !wild && !given.has("recursive") {
            let what = if item.path.is_empty() {
                b"."
            } else {
                item.given.as_slice()
            };
            let message = [b"not removing '", what, b"' recursively without -r"].concat();
            return Err(call.die(message));
        }
    }
    if !found {
        return Ok(0);
    }
    let cached = given.has("cached");
    if !given.has("force") {
        refuse_changed(call, &files, cached)?;
    }
    for (path, _) in &files {
        if !given.has("quiet") {
            // Git does not quote here.
            call.line(&[b"rm '", path, b"'"]);
        }
        if given.has("dry-run") {
            continue;
        }
        call.site.stage(path, None)?;
        if !cached {
            take_away(call, path)?;
        }
    }
    Ok(0)
}

/// Takes a file out of the work tree. In a directory, one that is gone already leaves directories behind that may be empty.
pub(crate) fn take_away(call: &mut Call<'_>, path: &[u8]) -> Run<()> {
    match call.site.find(View::Work, path)? {
        Some(Found::File(_)) => call.site.put(path, None)?,
        found if !call.site.is_directory() => drop(found),
        None => call.site.put(path, None)?,
        Some(Found::Directory) => return unavailable("a directory where a file was"),
    }
    Ok(())
}

/// Files that would lose something.
fn refuse_changed(call: &mut Call<'_>, files: &[(Vec<u8>, Version)], cached: bool) -> Run<()> {
    let (mut both, mut staged, mut local) = (Vec::new(), Vec::new(), Vec::new());
    let head = call.head_oid()?;
    for (path, index) in files {
        let version = |found: Option<Found>| match found {
            Some(Found::File(version)) => Some(version),
            _ => None,
        };
        let Some(work) = version(call.site.find(View::Work, path)?) else {
            continue;
        };
        let committed = match head {
            Some(head) => version(call.site.find(View::Of(head), path)?),
            None => None,
        };
        let work_differs = match call.site.is_as_indexed(path, true)? {
            Some(same) => !same,
            None => call.differs(Some(&work), Some(index))?,
        };
        let head_differs = call.differs(committed.as_ref(), Some(index))?;
        match (work_differs, head_differs) {
            (true, true) => both.push(path.clone()),
            (false, true) if !cached => staged.push(path.clone()),
            (true, false) if !cached => local.push(path.clone()),
            _ => {}
        }
    }
    let kinds: [(Vec<Vec<u8>>, &str, &str); 3] = [
        (
            both,
            "staged content different from both the\nfile and the HEAD",
            "(use -f to force removal)",
        ),
        (
            staged,
            "changes staged in the index",
            "(use --cached to keep the file, or -f to force removal)",
        ),
        (
            local,
            "local modifications",
            "(use --cached to keep the file, or -f to force removal)",
        ),
    ];
    let mut refused = false;
    for (paths, what, hint) in kinds {
        if paths.is_empty() {
            continue;
        }
        refused = true;
        let subject = if paths.len() == 1 { "file has" } else { "files have" };
        call.error(format!("the following {subject} {what}:"));
        for path in &paths {
            say(&mut call.err, &[b"    ", path, b"\n"]);
        }
        say(&mut call.err, &[hint.as_bytes(), b"\n"]);
    }
    if refused { Err(super::Stop::Exit(1)) } else { Ok(()) }
}

impl Call<'_> {
    /// Whether two versions differ in mode or content.
    pub(crate) fn differs(&mut self, a: Option<&Version>, b: Option<&Version>) -> Run<bool> {
        Ok(match (a, b) {
            (None, None) => false,
            (Some(a), Some(b)) => {
                a.mode != b.mode
                    || (!a.same_content(b)
                        && (self.site.size(a)? != self.site.size(b)?
                            || self.site.content(a)? != self.site.content(b)?))
            }
            _ => true,
        })
    }
}
