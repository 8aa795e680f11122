//! Which paths a tree may hold: what git refuses, in every disguise, on every platform.
//!
//! Source: git-config(1) `core.protectNTFS` and `core.protectHFS`, the `.git` checks of git-fsck(1). A repository that
//! is checked out on Windows or macOS must not be able to write into `.git` under a name that those file systems take
//! for the same: another case, trailing dots and spaces, a stream (`.git:x`), the short name `git~1`, code points that
//! HFS+ ignores. Both protections are always on here. We also refuse what git leaves to its callers: NUL and paths over
//! 4,096 bytes. Ordinary ASCII paths pass in one scan over their bytes; only a component that begins with `.` or has
//! `~`, `\` or a lead byte of the ignorable code points is looked at closely.

/// Longest whole path, in bytes: `PATH_MAX` of Linux, beyond which nothing could be materialized.
pub const MAX_PATH_BYTES: usize = 4096;
/// Longest single component, in bytes.
pub const MAX_COMPONENT_BYTES: usize = 65_535;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// There is nothing.
    #[error("path is empty")]
    Empty,
    /// It begins with `/`.
    #[error("path is absolute")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("path has an empty component")]
    EmptyComponent,
    /// A component `.`.
    #[error("path has the component \".\"")]
    Dot,
    /// A component `..`.
    #[error("path has the component \"..\"")]
    DotDot,
    /// A component that is `.git`, or that some file system takes for it.
    #[error("path has a component that is .git or may be taken for it")]
    DotGit,
    /// A symbolic link that is `.gitmodules`, or may be taken for it.
    #[error("symbolic link is .gitmodules or may be taken for it")]
    GitmodulesLink,
    /// A component with `/` in it.
    #[error("component contains a slash")]
    Slash,
    /// A NUL byte.
    #[error("path contains a NUL byte")]
    Nul,
    /// Over [`MAX_PATH_BYTES`].
    #[error("path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// Over [`MAX_COMPONENT_BYTES`].
    #[error("path component is longer than {MAX_COMPONENT_BYTES} bytes")]
    ComponentTooLong,
}

/// The directories above a path, the topmost first; not the root, and not the path itself. O(path).
pub fn directories_above(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| path.get(..at).unwrap_or_default())
}

/// Whether a path leads out of the work tree, or into the git directory. It is asked of every entry: no more than a look at its beginning.
pub(crate) fn leads_out(path: &[u8]) -> bool {
    match path {
        [b'/', ..] => true,
        [b'.', g, i, t, rest @ ..] => {
            [*g, *i, *t].eq_ignore_ascii_case(b"git") && matches!(rest.first(), None | Some(b'/'))
        }
        _ => false,
    }
}

/// What a byte asks for: nothing, the end of a component, a closer look at the component, refusal.
const PLAIN: u8 = 0;
const CLOSER: u8 = 1;
const SLASH: u8 = 2;
const NUL: u8 = 3;

static CLASS: [u8; 256] = {
    let mut table = [PLAIN; 256];
    table[b'~' as usize] = CLOSER;
    table[b'\\' as usize] = CLOSER;
    // Every code point that HFS+ ignores begins with one of these in UTF-8.
    table[0xe2] = CLOSER;
    table[0xef] = CLOSER;
    table[b'/' as usize] = SLASH;
    table[0] = NUL;
    table
};

/// Whether a whole path, relative to the repository, may be in a tree.
pub fn validate_path(path: &[u8]) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(if path.contains(&0) {
            PathError::Nul
        } else {
            PathError::TooLong
        });
    }
    if path.first() == Some(&b'/') {
        return Err(PathError::Absolute);
    }
    let mut start = 0;
    let mut closer = false;
    for (at, &byte) in path.iter().enumerate() {
        match CLASS[usize::from(byte)] {
            PLAIN => {}
            SLASH => {
                finish_component(path.get(start..at).unwrap_or_default(), closer)?;
                start = at + 1;
                closer = false;
            }
            NUL => return Err(PathError::Nul),
            _ => closer = true,
        }
    }
    finish_component(path.get(start..).unwrap_or_default(), closer)
}

/// Whether one name may be in a tree.
pub fn validate_component(name: &[u8]) -> Result<(), PathError> {
    let mut closer = false;
    for &byte in name {
        match CLASS[usize::from(byte)] {
            PLAIN => {}
            SLASH => return Err(PathError::Slash),
            NUL => return Err(PathError::Nul),
            _ => closer = true,
        }
    }
    if name.len() > MAX_COMPONENT_BYTES {
        return Err(PathError::ComponentTooLong);
    }
    finish_component(name, closer)
}

/// Whether one name may be that of a symbolic link: git reads `.gitmodules` and must not follow a link there.
pub fn validate_symlink_component(name: &[u8]) -> Result<(), PathError> {
    validate_component(name)?;
    let last = ntfs_parts(name).last().unwrap_or(name);
    let is_modules = is_hfs_name(name, b"gitmodules")
        || is_ntfs_name(last, b".gitmodules")
        || is_ntfs_short_name(last, b"gitmod", b"gi7eba");
    if is_modules {
        Err(PathError::GitmodulesLink)
    } else {
        Ok(())
    }
}

#[inline]
fn finish_component(name: &[u8], closer: bool) -> Result<(), PathError> {
    match name.first() {
        None => Err(PathError::EmptyComponent),
        Some(b'.') => closer_look(name),
        _ if closer => closer_look(name),
        _ => Ok(()),
    }
}

#[cold]
fn closer_look(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"." => return Err(PathError::Dot),
        b".." => return Err(PathError::DotDot),
        _ => {}
    }
    let ntfs = ntfs_parts(name).any(|part| is_ntfs_name(part, b".git") || is_ntfs_name(part, b"git~1"));
    if ntfs || is_hfs_name(name, b"git") {
        Err(PathError::DotGit)
    } else {
        Ok(())
    }
}

/// The parts of a name that stand for themselves on NTFS, which takes a backslash for a separator.
///
/// Like git, not one at the very beginning: `\\.git` is taken. Git on Windows refuses every backslash anyway.
fn ntfs_parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = usize::from(name.first() == Some(&b'\\'));
    name.get(first..).unwrap_or_default().split(|&b| b == b'\\').skip(first)
}

/// Whether NTFS takes `name` for `wanted`: in any case, followed by nothing but dots and spaces, or by a stream.
fn is_ntfs_name(name: &[u8], wanted: &[u8]) -> bool {
    let Some((head, tail)) = name.split_at_checked(wanted.len()) else {
        return false;
    };
    if !head.eq_ignore_ascii_case(wanted) {
        return false;
    }
    let end = tail.iter().find(|b| !matches!(b, b' ' | b'.'));
    matches!(end, None | Some(b':'))
}

/// Whether `name` may be the 8.3 short name of a file: `prefix~1` to `~4`, or the hashed form `hashed~1` and onwards,
/// which gives digits the place of letters as they need it.
fn is_ntfs_short_name(name: &[u8], prefix: &[u8], hashed: &[u8]) -> bool {
    let ends = |tail: &[u8]| {
        let end = tail.iter().find(|b| !matches!(b, b' ' | b'.'));
        matches!(end, None | Some(b':'))
    };
    if let Some((head, tail)) = name.split_at_checked(prefix.len())
        && head.eq_ignore_ascii_case(prefix)
        && let [b'~', b'1'..=b'4', tail @ ..] = tail
    {
        return ends(tail);
    }
    let Some((head, tail)) = name.split_at_checked(8) else {
        return false;
    };
    let Some(tilde) = head.iter().position(|&b| b == b'~').filter(|&at| at <= hashed.len()) else {
        return false;
    };
    let digits = head.get(tilde + 1..).unwrap_or_default();
    hashed
        .get(..tilde)
        .is_some_and(|h| head.get(..tilde).is_some_and(|n| n.eq_ignore_ascii_case(h)))
        && digits.first().is_some_and(|d| (b'1'..=b'9').contains(d))
        && digits.iter().all(u8::is_ascii_digit)
        && ends(tail)
}

/// Whether HFS+ takes `name` for a dot and `wanted`: in any case, with ignorable code points anywhere.
fn is_hfs_name(name: &[u8], wanted: &[u8]) -> bool {
    let mut wanted = [b'.'].into_iter().chain(wanted.iter().copied());
    let mut rest = name;
    loop {
        rest = skip_ignorable(rest);
        match (rest.split_first(), wanted.next()) {
            (None, None) => return true,
            (Some((have, tail)), Some(want)) if have.to_ascii_lowercase() == want => rest = tail,
            _ => return false,
        }
    }
}

/// Skips code points that HFS+ ignores in names: U+200C to 200F, U+202A to 202E, U+206A to 206F, U+FEFF.
fn skip_ignorable(mut name: &[u8]) -> &[u8] {
    loop {
        name = match name {
            [0xe2, 0x80, 0x8c..=0x8f | 0xaa..=0xae, rest @ ..] => rest,
            [0xe2, 0x81, 0xaa..=0xaf, rest @ ..] => rest,
            [0xef, 0xbb, 0xbf, rest @ ..] => rest,
            _ => return name,
        };
    }
}
