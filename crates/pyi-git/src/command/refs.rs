//! HEAD, branches, tags, and their reflogs.

use super::identity::Capacity;
use super::{Call, Run, log_name};
use crate::Oid;
use crate::path::directories_above;
use crate::refname::check_branch_name;

/// What HEAD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// On this branch, by its full name; it may have no commit yet.
    Branch(Vec<u8>),
    Detached(Oid),
}

/// One line of a reflog.
pub(crate) struct Logged {
    pub(crate) old: Oid,
    pub(crate) new: Oid,
    pub(crate) message: Vec<u8>,
}

pub(crate) const HEADS: &[u8] = b"refs/heads/";
pub(crate) const TAGS: &[u8] = b"refs/tags/";

impl Call<'_> {
    pub(crate) fn head(&mut self) -> Run<Head> {
        let text = self.site.admin(b"HEAD")?.unwrap_or_default();
        let text = text.trim_ascii();
        if let Some(name) = text.strip_prefix(b"ref: ") {
            return Ok(Head::Branch(name.to_vec()));
        }
        match Oid::from_hex(text) {
            Ok(oid) => Ok(Head::Detached(oid)),
            Err(_) => Err(self.die("not a git repository (or any of the parent directories): .git")),
        }
    }

    pub(crate) fn head_oid(&mut self) -> Run<Option<Oid>> {
        match self.head()? {
            Head::Detached(oid) => Ok(Some(oid)),
            Head::Branch(name) => self.read_ref(&name),
        }
    }

    /// The object that a full name is at.
    pub(crate) fn read_ref(&mut self, name: &[u8]) -> Run<Option<Oid>> {
        let text = self.site.admin(name)?;
        Ok(text.and_then(|text| Oid::from_hex(text.trim_ascii()).ok()))
    }

    /// All refs below a prefix, in byte order.
    pub(crate) fn refs(&mut self, prefix: &[u8]) -> Run<Vec<(Vec<u8>, Oid)>> {
        let below = prefix.strip_suffix(b"/").unwrap_or(prefix);
        if let Some(found) = self.site.refs_below(&[below, b"/"].concat())? {
            return Ok(found);
        }
        let mut found = Vec::new();
        for name in self.site.admin_names(below)? {
            if let Some(oid) = self.read_ref(&name)? {
                found.push((name, oid));
            }
        }
        Ok(found)
    }

    /// Moves, makes or (`None`) removes a ref, and logs it; HEAD's log too if HEAD is that branch.
    pub(crate) fn update_ref(&mut self, name: &[u8], new: Option<&Oid>, message: &[u8]) -> Run<()> {
        let old = self.read_ref(name)?;
        let head = self.head()?;
        let Some(new) = new else {
            self.site.set_admin(name, None)?;
            for log in self.site.admin_names(&log_name::log(name))? {
                // Another branch's log may stand below.
                if log_name::split(&log).is_some_and(|(of, _)| of == name) {
                    self.site.set_admin(&log, None)?;
                }
            }
            return Ok(());
        };
        self.refuse_clash(name)?;
        let null = self.site.format().null_oid();
        // A ref that stays where it is is not written, and has nothing to log; HEAD, if it is that branch, has.
        let moved = old != Some(*new);
        if moved {
            self.site
                .set_admin(name, Some(format!("{new}\n").into_bytes().into()))?;
        }
        let old = old.unwrap_or(null);
        if moved && (name.starts_with(HEADS) || name == b"refs/stash") {
            self.add_log(name, &old, new, message)?;
        }
        if head == Head::Branch(name.to_vec()) {
            self.add_log(b"HEAD", &old, new, message)?;
        }
        Ok(())
    }

    /// A ref cannot be a directory of refs.
    fn refuse_clash(&mut self, name: &[u8]) -> Run<()> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for above in directories_above(name) {
            if self.read_ref(above)?.is_some() {
                let (name, above) = (text(name), text(above));
                return Err(self.die(format!(
                    "cannot lock ref '{name}': '{above}' exists; cannot create '{name}'"
                )));
            }
        }
        if self.site.admin(name)?.is_none()
            && let Some(below) = self.site.admin_names(name)?.first()
        {
            let (name, below) = (text(name), text(below));
            return Err(self.die(format!(
                "cannot lock ref '{name}': '{below}' exists; cannot create '{name}'"
            )));
        }
        Ok(())
    }

    /// HEAD becomes a branch or a commit; one that stays at its commit has nothing to log.
    pub(crate) fn set_head(&mut self, head: &Head, message: &[u8]) -> Run<()> {
        if matches!(head, Head::Detached(_)) && self.head()? == *head {
            return Ok(());
        }
        let null = self.site.format().null_oid();
        let old = self.head_oid()?.unwrap_or(null);
        let text = match head {
            Head::Branch(name) => [b"ref: ", name.as_slice(), b"\n"].concat(),
            Head::Detached(oid) => format!("{oid}\n").into_bytes(),
        };
        self.site.set_admin(b"HEAD", Some(text.into()))?;
        let new = self.head_oid()?.unwrap_or(null);
        if !message.is_empty() {
            self.add_log(b"HEAD", &old, &new, message)?;
        }
        Ok(())
    }

    /// Moves HEAD's branch, or HEAD itself.
    pub(crate) fn move_head(&mut self, new: &Oid, message: &[u8]) -> Run<()> {
        match self.head()? {
            Head::Branch(name) => self.update_ref(&name, Some(new), message),
            Head::Detached(_) => self.set_head(&Head::Detached(*new), message),
        }
    }

    fn log_len(&mut self, name: &[u8]) -> Run<u64> {
        let text = self.site.admin(&log_name::count(name))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Ok(text.trim().parse().unwrap_or(0))
    }

    pub(crate) fn add_log(&mut self, name: &[u8], old: &Oid, new: &Oid, message: &[u8]) -> Run<()> {
        let who = self.identity(Capacity::Committer)?.to_bytes();
        // The first line, in which white space is single spaces.
        let line = message.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let message = words.collect::<Vec<_>>().join(&b' ');
        let line = [format!("{old} {new} ").as_bytes(), &who, b"\t", &message, b"\n"].concat();
        if self.site.append_log(name, &line)? {
            return Ok(());
        }
        let number = self.log_len(name)?;
        self.site.set_admin(&log_name::line(name, number), Some(line.into()))?;
        let count = format!("{}\n", number + 1).into_bytes();
        Ok(self.site.set_admin(&log_name::count(name), Some(count.into()))?)
    }

    /// The entry of a reflog, 0 being the newest.
    pub(crate) fn logged(&mut self, name: &[u8], back: u64) -> Run<Option<Logged>> {
        let len = self.log_len(name)?;
        let Some(number) = len.checked_sub(back + 1) else {
            return Ok(None);
        };
        let Some(line) = self.site.admin(&log_name::line(name, number))? else {
            return Ok(None);
        };
        let hex = self.site.format().hex_len();
        let oid = |at: usize| line.get(at..at + hex).and_then(|hex| Oid::from_hex(hex).ok());
        let (Some(old), Some(new)) = (oid(0), oid(hex + 1)) else {
            return Ok(None);
        };
        // Where nothing was said there is no tab either.
        let tab = line.iter().position(|&byte| byte == b'\t').unwrap_or(line.len());
        let message = line.get(tab + 1..).unwrap_or_default().trim_ascii_end().to_vec();
        Ok(Some(Logged { old, new, message }))
    }

    /// The branch, or the name of the commit, that HEAD was at `number` checkouts ago.
    pub(crate) fn branch_before(&mut self, number: u64) -> Run<Option<Vec<u8>>> {
        let (mut back, mut left) = (0, number);
        while let Some(entry) = self.logged(b"HEAD", back)? {
            back += 1;
            if let Some((from, _)) = log_name::moved(&entry.message) {
                left -= 1;
                if left == 0 {
                    return Ok(Some(from.to_vec()));
                }
            }
        }
        Ok(None)
    }

    /// Takes the newest entry of a reflog away.
    pub(crate) fn pop_log(&mut self, name: &[u8]) -> Run<()> {
        let len = self.log_len(name)?;
        let Some(last) = len.checked_sub(1) else {
            return Ok(());
        };
        self.site.set_admin(&log_name::line(name, last), None)?;
        let count = (last > 0).then(|| format!("{last}\n").into_bytes().into());
        Ok(self.site.set_admin(&log_name::count(name), count)?)
    }

    /// The full name of a branch, if git allows the name.
    pub(crate) fn branch_name(&mut self, name: &[u8]) -> Run<Vec<u8>> {
        if check_branch_name(name).is_err()
            || std::str::from_utf8(name).is_err()
            || name.contains(&b'@') && name.starts_with(b"@{")
        {
            let name = String::from_utf8_lossy(name).into_owned();
            self.err.extend_from_slice(format!("fatal: '{name}' is not a valid branch name\nhint: See `man git check-ref-format`\nhint: Disable this message with \"git config advice.refSyntax false\"\n").as_bytes());
            return Err(super::Stop::Exit(128));
        }
        Ok([HEADS, name].concat())
    }
}
