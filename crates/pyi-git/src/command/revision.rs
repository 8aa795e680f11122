//! Which object a revision names: gitrevisions(7), as far as agents use it.

use super::refs::Head;
use super::{Call, Found, Run, View, unavailable};
use crate::refname::{RefNameOptions, check_ref_format};
use crate::{ObjectKind, Oid};

/// Arguments.
pub(crate) type Words = Vec<Vec<u8>>;

/// Where a short name is looked for, in order.
const PLACES: [&[u8]; 5] = [b"", b"refs/", b"refs/tags/", b"refs/heads/", b"refs/remotes/"];

/// The same with what may stand behind it, for those who must find all.
const RULES: [(&[u8], &[u8]); 6] = [
    (b"", b""),
    (b"refs/", b""),
    (b"refs/tags/", b""),
    (b"refs/heads/", b""),
    (b"refs/remotes/", b""),
    (b"refs/remotes/", b"/HEAD"),
];

/// Whether a word means where two revisions meet (`a...b`), to commands that take one commit.
pub(crate) fn is_meeting(word: &[u8]) -> bool {
    word.windows(3).any(|part| part == b"...")
}

impl Call<'_> {
    /// The full name of the ref that a name means, and its object.
    pub(crate) fn find_ref(&mut self, name: &[u8]) -> Run<Option<(Vec<u8>, Oid)>> {
        if name == b"HEAD" || name == b"@" {
            return Ok(self.head_oid()?.map(|oid| (b"HEAD".to_vec(), oid)));
        }
        if self.site.is_directory() {
            return self.find_only_ref(name);
        }
        for place in PLACES {
            let full = [place, name].concat();
            if full.starts_with(b"refs/")
                && let Some(oid) = self.read_ref(&full)?
            {
                return Ok(Some((full, oid)));
            }
        }
        Ok(None)
    }

    /// The same where git warns of names that mean several things, and knows files of the git directory as refs.
    fn find_only_ref(&mut self, name: &[u8]) -> Run<Option<(Vec<u8>, Oid)>> {
        let one_level = RefNameOptions {
            one_level: true,
            ..RefNameOptions::default()
        };
        if check_ref_format(name, one_level).is_err() {
            return Ok(None);
        }
        if name.starts_with(b"main-worktree/") || name.starts_with(b"worktrees/") {
            return unavailable("a ref of another work tree");
        }
        let mut found = None;
        for (before, behind) in RULES {
            let full = [before, name, behind].concat();
            if before.is_empty() && !full.starts_with(b"refs/") {
                if self.site.admin(&full)?.is_some() {
                    return unavailable("a file of the git directory as a revision");
                }
                continue;
            }
            if let Some(oid) = self.read_ref(&full)?
                && found.replace((full, oid)).is_some()
            {
                return unavailable("a name that is ambiguous");
            }
        }
        let is_hex = name.iter().all(u8::is_ascii_hexdigit);
        if found.is_some() && is_hex && name.len() >= 4 {
            return unavailable("a ref whose name could be an object's");
        }
        Ok(found)
    }

    /// The object that a revision names; `None` if it names none.
    pub(crate) fn resolve(&mut self, text: &[u8]) -> Run<Option<Oid>> {
        if let Some(path) = text.strip_prefix(b":") {
            let path = path.strip_prefix(b"0:").unwrap_or(path);
            if path.is_empty() || path.starts_with(b"/") || path.starts_with(b"(") || path.starts_with(b"!") {
                return Ok(None);
            }
            if !self.prefix.is_empty() && path.starts_with(b".") {
                return unavailable("a path of the index that may be relative");
            }
            return self.in_view(View::Index, path);
        }
        if let Some(colon) = text.iter().position(|&byte| byte == b':')
            && let Some(tree) = self.resolve(text.get(..colon).unwrap_or_default())?
        {
            let path = text.get(colon + 1..).unwrap_or_default();
            let Some(tree) = self.peel(&tree, Some(ObjectKind::Tree))? else {
                return Ok(None);
            };
            let relative = match path.starts_with(b"./") || path.starts_with(b"../") {
                true => Some(self.path_of(path)?),
                false => None,
            };
            let path = relative.as_deref().unwrap_or(path);
            let path = path.strip_suffix(b"/").unwrap_or(path);
            return if path.is_empty() {
                Ok(Some(tree))
            } else {
                self.in_view(View::Of(tree), path)
            };
        }
        // Several revisions in one word.
        if text.windows(2).any(|pair| matches!(pair, b"^@" | b"^!" | b"^-")) {
            return unavailable(format!("the revision {}", String::from_utf8_lossy(text)));
        }
        let end = text
            .iter()
            .position(|byte| matches!(byte, b'^' | b'~'))
            .unwrap_or(text.len());
        let Some(mut oid) = self.base(text.get(..end).unwrap_or_default())? else {
            return Ok(None);
        };
        let mut rest = text.get(end..).unwrap_or_default();
        while let Some((&sign, after)) = rest.split_first() {
            if sign == b'^' && after.starts_with(b"{") {
                let Some(close) = after.iter().position(|&byte| byte == b'}') else {
                    return Ok(None);
                };
                let kind = match after.get(1..close).unwrap_or_default() {
                    b"" => None,
                    word if word.starts_with(b"/") => return unavailable("a revision ^{/text}"),
                    b"object" => {
                        rest = after.get(close + 1..).unwrap_or_default();
                        continue;
                    }
                    word => match ObjectKind::from_bytes(word) {
                        Some(kind) => Some(kind),
                        None => return Ok(None),
                    },
                };
                let Some(peeled) = self.peel(&oid, kind)? else {
                    return unavailable(format!("{} of another kind of object", String::from_utf8_lossy(text)));
                };
                oid = peeled;
                rest = after.get(close + 1..).unwrap_or_default();
                continue;
            }
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = std::str::from_utf8(after.get(..digits).unwrap_or_default()).unwrap_or("");
            let number: usize = if number.is_empty() {
                1
            } else {
                number.parse().unwrap_or(usize::MAX)
            };
            rest = after.get(digits..).unwrap_or_default();
            let Some(mut commit) = self.peel(&oid, Some(ObjectKind::Commit))? else {
                return Ok(None);
            };
            if sign == b'~' {
                for _ in 0..number {
                    match self.parents(&commit)?.first() {
                        Some(parent) => commit = *parent,
                        None => return Ok(None),
                    }
                }
            } else if sign == b'^' && number > 0 {
                match self.parents(&commit)?.get(number - 1) {
                    Some(parent) => commit = *parent,
                    None => return Ok(None),
                }
            } else if sign != b'^' {
                return Ok(None);
            }
            oid = commit;
        }
        Ok(Some(oid))
    }

    fn in_view(&mut self, view: View, path: &[u8]) -> Run<Option<Oid>> {
        match self.site.find(view, path)? {
            Some(Found::File(version)) => Ok(Some(self.site.name(&version)?)),
            Some(Found::Directory) if view != View::Index => unavailable("the name of a tree inside a commit"),
            _ => Ok(None),
        }
    }

    fn base(&mut self, name: &[u8]) -> Run<Option<Oid>> {
        if let Some(at) = name.windows(2).position(|pair| pair == b"@{") {
            let (base, inner) = (
                name.get(..at).unwrap_or_default(),
                name.get(at + 2..).unwrap_or_default(),
            );
            if base.is_empty()
                && let Some(number) = before(name)
            {
                return match self.branch_before(number)? {
                    Some(branch) => self.resolve_commit(&branch),
                    None => Ok(None),
                };
            }
            let number = inner
                .strip_suffix(b"}")
                .and_then(|inner| std::str::from_utf8(inner).ok()?.parse::<u64>().ok());
            let number = number.filter(|_| !self.site.is_directory());
            let Some(number) = number else {
                return unavailable(format!("the revision {}", String::from_utf8_lossy(name)));
            };
            let full = match (base, self.head()?) {
                (b"", Head::Branch(branch)) => branch,
                (b"" | b"@", _) => b"HEAD".to_vec(),
                (base, _) => match self.find_ref(base)? {
                    Some((full, _)) => full,
                    None => return Ok(None),
                },
            };
            if let Some(entry) = self.logged(&full, number)? {
                return Ok(Some(entry.new));
            }
            let oldest = match number.checked_sub(1) {
                Some(before) => self.logged(&full, before)?,
                None => None,
            };
            return match oldest {
                Some(entry) if !entry.old.is_null() => Ok(Some(entry.old)),
                _ => unavailable(format!(
                    "the revision {}, which the reflog does not reach,",
                    String::from_utf8_lossy(name)
                )),
            };
        }
        let is_hex = name.iter().all(u8::is_ascii_hexdigit);
        if is_hex && name.len() == self.site.format().hex_len() {
            return Ok(Oid::from_hex(name).ok());
        }
        if let Some((_, oid)) = self.find_ref(name)? {
            return Ok(Some(oid));
        }
        // What `git describe` says: `v1-3-gabcdef0`.
        let tail = name
            .windows(2)
            .rposition(|pair| pair == b"-g")
            .and_then(|at| name.get(at + 2..));
        if tail.is_some_and(|tail| tail.len() >= 4 && tail.iter().all(u8::is_ascii_hexdigit)) {
            return unavailable(format!("the revision {}", String::from_utf8_lossy(name)));
        }
        if is_hex && name.len() >= 4 {
            let hex = name.to_ascii_lowercase();
            let mut found = self.site.with_prefix(&hex)?;
            if found.is_empty() {
                found = self.site.with_prefix_anywhere(&hex)?;
            }
            return match found[..] {
                [one] => Ok(Some(one)),
                [] => Ok(None),
                _ => unavailable(format!("the ambiguous name {}", String::from_utf8_lossy(name))),
            };
        }
        Ok(None)
    }

    /// The commit that a revision names, through tags.
    pub(crate) fn resolve_commit(&mut self, text: &[u8]) -> Run<Option<Oid>> {
        match self.resolve(text)? {
            Some(oid) => self.peel(&oid, Some(ObjectKind::Commit)),
            None => Ok(None),
        }
    }

    /// Git's complaint about an argument that is neither a revision nor a path.
    pub(crate) fn ambiguous(&mut self, text: &[u8]) -> super::Stop {
        match self.misspelt(text) {
            Ok(Some(message)) => return self.die(message),
            Ok(None) => {}
            Err(stop) => return stop,
        }
        self.die(
            [
                b"ambiguous argument '",
                text,
                b"': unknown revision or path not in the working tree.\nUse '--' to separate paths from revisions, like this:\n'git <command> [<revision>...] -- [<file>...]'",
            ]
            .concat(),
        )
    }

    /// What is wrong with `<revision>:<path>`.
    fn misspelt(&mut self, text: &[u8]) -> Run<Option<Vec<u8>>> {
        let Some(colon) = text.iter().position(|&byte| byte == b':') else {
            return Ok(None);
        };
        let (revision, path) = (
            text.get(..colon).unwrap_or_default(),
            text.get(colon + 1..).unwrap_or_default(),
        );
        let on_disk = match self.site.find(View::Work, path.strip_suffix(b"/").unwrap_or(path)) {
            Ok(found) => found.is_some() && !path.is_empty(),
            Err(_) => return unavailable("a path that cannot be"),
        };
        if revision.is_empty() {
            let known = self.means_path(View::Index, path)?;
            if path.starts_with(b"/") || path.first().is_some_and(u8::is_ascii_digit) || known {
                return unavailable("such a path of the index");
            }
            let what: &[u8] = match on_disk {
                true => b"' exists on disk, but not in the index",
                false => b"' does not exist (neither on disk nor in the index)",
            };
            return Ok(Some([b"path '", path, what].concat()));
        }
        if path.starts_with(b"./") || path.starts_with(b"../") {
            return unavailable("a path relative to a directory in a revision");
        }
        let Some(oid) = self.resolve(revision)? else {
            if revision.len() >= 4 && revision.iter().all(u8::is_ascii_hexdigit) {
                return unavailable("an abbreviated name that is not known here");
            }
            return Ok(Some([b"invalid object name '", revision, b"'."].concat()));
        };
        if self.peel(&oid, Some(ObjectKind::Tree))?.is_none() {
            return unavailable("a path in something else than a commit or tree");
        }
        let what: &[u8] = if on_disk {
            b"' exists on disk, but not in '"
        } else {
            b"' does not exist in '"
        };
        Ok(Some([b"path '", path, what, revision, b"'"].concat()))
    }

    fn means_path(&mut self, view: View, path: &[u8]) -> Run<bool> {
        Ok(matches!(self.site.find(view, path), Ok(Some(_))))
    }

    /// Splits arguments into revisions and paths, as git guesses: the first that is no revision must be a path, and all after it.
    pub(crate) fn revisions_and_paths(&mut self, rest: &[Vec<u8>], dashes: Option<usize>) -> Run<(Words, Words)> {
        let mut revisions = Vec::new();
        let mut at = 0;
        let end = dashes.unwrap_or(rest.len());
        while let Some(word) = rest.get(..end).and_then(|rest| rest.get(at)) {
            if !self.is_revision(word)? {
                // A word that begins with `^` cannot have been meant as a path.
                if dashes.is_some() || word.starts_with(b"^") {
                    let word = String::from_utf8_lossy(word).into_owned();
                    return Err(self.die(format!("bad revision '{word}'")));
                }
                break;
            }
            if dashes.is_none() && self.is_file_name(word) {
                let word = String::from_utf8_lossy(word).into_owned();
                return Err(self.die(format!("ambiguous argument '{word}': both revision and filename\nUse '--' to separate paths from revisions, like this:\n'git <command> [<revision>...] -- [<file>...]'")));
            }
            revisions.push(word.clone());
            at += 1;
        }
        let paths = rest.get(at..).unwrap_or_default();
        if dashes.is_none() {
            for (number, path) in paths.iter().enumerate() {
                if self.is_there(path)? {
                    continue;
                }
                if number > 0 {
                    let path = String::from_utf8_lossy(path).into_owned();
                    if self.is_revision(path.as_bytes())? {
                        return unavailable("a revision after a path");
                    }
                }
                return Err(self.ambiguous(path));
            }
        }
        Ok((revisions, paths.to_vec()))
    }

    /// Whether a word that is a revision names something in the work tree, too.
    pub(crate) fn is_file_name(&mut self, word: &[u8]) -> bool {
        !word.is_empty() && self.find_file(word).ok().flatten().is_some()
    }

    /// What stands in the work tree at a word, as it is.
    pub(crate) fn find_file(&mut self, word: &[u8]) -> Run<Option<Found>> {
        let path = [self.prefix.as_slice(), word].concat();
        Ok(self.site.find(View::Work, &path)?)
    }

    fn is_there(&mut self, path: &[u8]) -> Run<bool> {
        if path.is_empty() {
            return Ok(false);
        }
        if path.starts_with(b":") && path != b":/" {
            return unavailable("a pathspec with magic");
        }
        // What stands behind one is meant as it is; git takes it back only before it looks for patterns.
        if path.contains(&b'\\') {
            return unavailable("a path with a backslash");
        }
        if path.iter().any(|byte| b"*?[".contains(byte)) || path == b":/" {
            return Ok(true);
        }
        let path = self.path_of(path)?;
        Ok(path.is_empty() || self.site.find(View::Work, &path)?.is_some())
    }

    fn is_revision(&mut self, word: &[u8]) -> Run<bool> {
        let word = word.strip_prefix(b"^").unwrap_or(word);
        if let Some((from, to, _)) = range(word) {
            for end in [&from, &to] {
                if self.resolve(end)?.is_none() {
                    if end.len() >= 4 && end.iter().all(u8::is_ascii_hexdigit) {
                        return unavailable("an abbreviated name that is not known here");
                    }
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Ok(self.resolve(word)?.is_some())
    }
}

/// The number of `@{-<number>}`.
pub(crate) fn before(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"@{-")?.strip_suffix(b"}")?;
    std::str::from_utf8(digits)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number > 0)
}

/// The ends of `a..b` and `a...b` (then `true`); an end that is not there is HEAD.
pub(crate) fn range(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>, bool)> {
    let at = text.windows(2).position(|pair| pair == b"..")?;
    let symmetric = text.get(at + 2) == Some(&b'.');
    let end = |part: &[u8]| {
        if part.is_empty() {
            b"HEAD".to_vec()
        } else {
            part.to_vec()
        }
    };
    let from = text.get(..at).unwrap_or_default();
    let to = text.get(at + 2 + usize::from(symmetric)..).unwrap_or_default();
    // `..` alone is a path.
    if from.is_empty() && to.is_empty() {
        return None;
    }
    Some((end(from), end(to), symmetric))
}
