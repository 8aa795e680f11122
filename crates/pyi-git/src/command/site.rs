//! What a command works on: a work tree, an index, refs and objects, wherever they are.

use ::bytes::Bytes;

use crate::config::Config;
use crate::{Object, ObjectFormat, ObjectKind, Oid};

/// What went wrong below the commands: not git's affair, but the caller's.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One version of a file, symlink or submodule.
#[derive(Clone, Debug)]
pub struct Version {
    /// As in git's trees.
    pub mode: u32,
    /// Names the content, by the site's own hash; a submodule's commit, zero-padded. Zero while `unsaved` is there.
    pub id: [u8; 32],
    /// Bytes of the content.
    pub size_bytes: u64,
    /// The content if the site has not stored it yet.
    pub unsaved: Option<Bytes>,
}

impl Version {
    /// Whether two versions have the same content; O(content) only where neither was stored yet. Two that are equal and stored differently may count as
    /// different: the site sees to that.
    #[must_use]
    pub fn same_content(&self, other: &Version) -> bool {
        match (&self.unsaved, &other.unsaved) {
            (None, None) => self.id == other.id,
            (Some(a), Some(b)) => a == b,
            _ => false,
        }
    }

    /// The kind of file that the mode says.
    #[must_use]
    pub const fn kind(&self) -> u32 {
        self.mode & 0o170_000
    }
}

/// A set of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// No file.
    Empty,
    /// The work tree.
    Work,
    /// The index.
    Index,
    /// A tree, or the tree of a commit.
    Of(Oid),
}

/// A path whose versions differ between two views.
#[derive(Clone, Debug)]
pub struct Change {
    /// The path.
    pub path: Vec<u8>,
    /// What the old view has there.
    pub old: Option<Version>,
    /// What the new view has there.
    pub new: Option<Version>,
}

/// What stands at a path.
#[derive(Clone, Debug)]
pub enum Found {
    /// A file, symlink or submodule.
    File(Version),
    /// A directory.
    Directory,
}

/// A ref's full name, and the object that it leads to.
pub type Ref = (Vec<u8>, Oid);

/// A repository with a work tree. Nothing that a command changes is seen by others before the command ends.
pub trait Site {
    /// The hash that names objects.
    fn format(&self) -> ObjectFormat;

    /// The time, seconds since 1970.
    fn now(&self) -> i64;

    /// What differs between two views, in the byte order of whole paths. O(difference).
    ///
    /// # Errors
    /// What the site says, here and in all other calls.
    fn changes(&mut self, old: View, new: View) -> Result<Vec<Change>, Failure>;

    /// As [`Site::changes`], but of paths that are, or are below, one of `within` (none: of all); more may be answered.
    ///
    /// # Errors
    /// What the site says.
    fn changes_within(&mut self, old: View, new: View, within: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        let _ = within;
        self.changes(old, new)
    }

    /// The answer so far, in the middle of a long walk: somebody may read no more than its beginning. What is taken leaves `out`. O(what is taken).
    ///
    /// # Errors
    /// What the site says.
    fn show(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let _ = out;
        Ok(())
    }

    /// This is the tree of a commit that was read: who asks for the files of the commit need not read it again. O(1).
    fn note_tree(&mut self, commit: &Oid, tree: &Oid) {
        let _ = (commit, tree);
    }

    /// Whether two views (of trees or nothing) differ in a path that is meant; paths are, or are below, one of `within`. O(what is looked at until then).
    ///
    /// # Errors
    /// What the site says.
    fn changes_any(
        &mut self,
        old: View,
        new: View,
        within: &[Vec<u8>],
        is_meant: &dyn Fn(&[u8]) -> bool,
    ) -> Result<bool, Failure> {
        let changes = self.changes_within(old, new, within)?;
        Ok(changes.iter().any(|change| is_meant(&change.path)))
    }

    /// The refs whose full names begin so (with a slash at the end), in byte order, each with the object that it leads to; `None`: they are to be asked for
    /// one by one. O(refs).
    ///
    /// # Errors
    /// What the site says.
    fn refs_below(&mut self, prefix: &[u8]) -> Result<Option<Vec<Ref>>, Failure> {
        let _ = prefix;
        Ok(None)
    }

    /// Whether there are symbolic refs whose full names begin so. O(refs).
    ///
    /// # Errors
    /// What the site says.
    fn has_symbolic_refs(&mut self, prefix: &[u8]) -> Result<bool, Failure> {
        let _ = prefix;
        Ok(false)
    }

    /// What differs between a view and the work tree, of the paths that the index or the view has: what the index does not have counts as gone, whatever
    /// stands in the work tree. `within` as for [`Site::changes_within`].
    ///
    /// # Errors
    /// What the site says.
    fn tracked_changes(&mut self, old: View, within: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        let _ = within;
        let mut changes = self.changes(old, View::Work)?;
        if old == View::Index {
            changes.retain(|change| change.old.is_some());
            return Ok(changes);
        }
        let mut kept = Vec::with_capacity(changes.len());
        for change in changes {
            if matches!(self.find(View::Index, &change.path)?, Some(Found::File(_))) {
                kept.push(change);
            }
        }
        for gone in self.changes(old, View::Index)? {
            if gone.old.is_some() && gone.new.is_none() {
                kept.push(gone);
            }
        }
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(kept)
    }

    /// The paths of the work tree that the index does not have and no rule ignores (`ignored`: those too), sorted; `collapse`: a directory in which nothing is
    /// tracked and something is found stands for all in it, with a slash behind. `None`: the site leaves it to who asks.
    ///
    /// # Errors
    /// What the site says.
    fn untracked(
        &mut self,
        collapse: bool,
        ignored: bool,
        within: &[Vec<u8>],
    ) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let _ = (collapse, ignored, within);
        Ok(None)
    }

    /// [`Site::untracked`] will be asked for this, after [`Site::tracked_changes`] or [`Site::changes`]: a site may look for both at the same time.
    fn expect_untracked(&mut self, collapse: bool, ignored: bool, within: &[Vec<u8>]) {
        let _ = (collapse, ignored, within);
    }

    /// How many bytes a version's content has.
    ///
    /// # Errors
    /// What the site says.
    fn size(&mut self, version: &Version) -> Result<u64, Failure> {
        Ok(version.size_bytes)
    }

    /// The configuration, if whoever runs commands here has read and checked it; else it is the file of the git directory.
    fn settings(&self) -> Option<Config> {
        None
    }

    /// Whether the work tree is a directory, in which git could run as well: whatever git would ask elsewhere is then not done.
    fn is_directory(&self) -> bool {
        false
    }

    /// A file of the work tree that git itself reads (`.mailmap`), as it stands there; `None`: there is no such file.
    ///
    /// # Errors
    /// What the site says.
    fn plain_file(&mut self, path: &[u8]) -> Result<Option<Bytes>, Failure> {
        match self.find(View::Work, path)? {
            Some(Found::File(version)) if version.kind() == 0o100_000 => self.content(&version).map(Some),
            _ => Ok(None),
        }
    }

    /// The path of the work tree, where it is a directory.
    fn top(&self) -> Option<&[u8]> {
        None
    }

    /// Minutes by which local time is ahead of UTC.
    fn zone_minutes(&self, seconds: i64) -> i32 {
        let _ = seconds;
        0
    }

    /// All files below a directory (`""`: all), in the byte order of whole paths. O(files below).
    ///
    /// # Errors
    /// What the site says.
    fn files(&mut self, view: View, below: &[u8]) -> Result<Vec<(Vec<u8>, Version)>, Failure>;

    /// What stands at a path of a view. O(depth).
    ///
    /// # Errors
    /// What the site says.
    fn find(&mut self, view: View, path: &[u8]) -> Result<Option<Found>, Failure>;

    /// The content of a version; of a submodule, what git shows for it.
    ///
    /// # Errors
    /// What the site says.
    fn content(&mut self, version: &Version) -> Result<Bytes, Failure>;

    /// The git name of a version's content. O(1) if it was ever named.
    ///
    /// # Errors
    /// What the site says.
    fn name(&mut self, version: &Version) -> Result<Oid, Failure>;

    /// An object; `None` if there is none of this name.
    ///
    /// # Errors
    /// What the site says.
    fn object(&mut self, oid: &Oid) -> Result<Option<Object>, Failure>;

    /// What an object is, and how many bytes it has; `None` if there is none of this name. Its content need not be looked at, so that damage may be
    /// missed.
    ///
    /// # Errors
    /// What the site says.
    fn info(&mut self, oid: &Oid) -> Result<Option<(ObjectKind, u64)>, Failure> {
        let object = self.object(oid)?;
        Ok(object.map(|object| (object.kind, object.data.len() as u64)))
    }

    /// Up to two objects whose names begin with these hexadecimal digits.
    ///
    /// # Errors
    /// What the site says.
    fn with_prefix(&mut self, hex: &[u8]) -> Result<Vec<Oid>, Failure>;

    /// The same among objects that [`Site::with_prefix`] leaves out because only a look at each says whether it is still there: asked
    /// where it found none, for a name that somebody typed.
    ///
    /// # Errors
    /// What the site says.
    fn with_prefix_anywhere(&mut self, hex: &[u8]) -> Result<Vec<Oid>, Failure> {
        let _ = hex;
        Ok(Vec::new())
    }

    /// Digits of an abbreviated name, where they are unambiguous.
    ///
    /// # Errors
    /// What the site says.
    fn abbreviation_len(&mut self) -> Result<usize, Failure>;

    /// Keeps a commit (whose tree is the index's) or a tag.
    ///
    /// # Errors
    /// What the site says.
    fn keep_object(&mut self, kind: ObjectKind, raw: Vec<u8>) -> Result<Oid, Failure>;

    /// The git name of the index's tree. O(changed directories).
    ///
    /// # Errors
    /// What the site says.
    fn index_tree(&mut self) -> Result<Oid, Failure>;

    /// Puts a version into the index, or takes the path out. Whatever stands in the way goes.
    ///
    /// # Errors
    /// What the site says.
    fn stage(&mut self, path: &[u8], version: Option<&Version>) -> Result<(), Failure>;

    /// The index becomes what a view is. O(1).
    ///
    /// # Errors
    /// What the site says.
    fn set_index(&mut self, view: View) -> Result<(), Failure>;

    /// Puts a version into the work tree, or takes the path out, and directories that are empty then.
    ///
    /// # Errors
    /// What the site says.
    fn put(&mut self, path: &[u8], version: Option<&Version>) -> Result<(), Failure>;

    /// Moves a file or directory of the work tree, with what the index has of it; `false`: the site leaves it to who asks.
    ///
    /// # Errors
    /// What the site says.
    fn relocate(&mut self, from: &[u8], to: &[u8]) -> Result<bool, Failure> {
        let _ = (from, to);
        Ok(false)
    }

    /// Whether the work tree has at a path what the index has; not `by_content`: as far as can be seen without reading the file, so that one that was
    /// touched counts as another. `None`: the site leaves it to who asks.
    ///
    /// # Errors
    /// What the site says.
    fn is_as_indexed(&mut self, path: &[u8], by_content: bool) -> Result<Option<bool>, Failure> {
        let _ = (path, by_content);
        Ok(None)
    }

    /// Git looks at all tracked files now, and writes down what it finds out about them. A site does the same where it costs little, or where some files
    /// show that its index knows nothing of them. O(1) otherwise.
    ///
    /// # Errors
    /// What the site says.
    fn look_at_files(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// A comparison was about these paths only: what the site found out about others on the way would not have been met by git.
    fn was_about(&mut self, is_meant: &dyn Fn(&[u8]) -> bool) {
        let _ = is_meant;
    }

    /// A file of the git directory: `HEAD`, `refs/heads/main`, `config`, ...
    ///
    /// # Errors
    /// What the site says.
    fn admin(&mut self, name: &[u8]) -> Result<Option<Bytes>, Failure>;

    /// The names of all files of the git directory below one of its directories, in byte order.
    ///
    /// # Errors
    /// What the site says.
    fn admin_names(&mut self, below: &[u8]) -> Result<Vec<Vec<u8>>, Failure>;

    /// Writes or removes a file of the git directory.
    ///
    /// # Errors
    /// What the site says.
    fn set_admin(&mut self, name: &[u8], content: Option<Bytes>) -> Result<(), Failure>;

    /// A line goes behind those of a ref's log; false: the site wants it by its number ([`Site::set_admin`]).
    ///
    /// # Errors
    /// What the site says.
    fn append_log(&mut self, name: &[u8], line: &[u8]) -> Result<bool, Failure> {
        let _ = (name, line);
        Ok(false)
    }

    /// A commit with this message is about to be made; perhaps there is nothing to commit.
    ///
    /// # Errors
    /// What the site says.
    fn drafted(&mut self, message: &[u8]) -> Result<(), Failure> {
        let _ = message;
        Ok(())
    }

    /// The command made this commit, with this message: it becomes a checkpoint too.
    ///
    /// # Errors
    /// What the site says.
    fn committed(&mut self, oid: &Oid, message: &[u8]) -> Result<(), Failure>;
}
