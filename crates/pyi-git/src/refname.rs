//! Which names refs may have.
//!
//! Source: git-check-ref-format(1), whose ten rules the errors follow.

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefNameError {
    /// Nothing, or two slashes in a row, or one at an end.
    #[error("ref name has an empty component")]
    EmptyComponent,
    /// A component begins with a dot.
    #[error("ref name has a component that begins with a dot")]
    LeadingDot,
    /// A component ends with `.lock`.
    #[error("ref name has a component that ends with .lock")]
    Lock,
    /// Only one component, where a category such as `heads/` is needed.
    #[error("ref name has only one component")]
    OneLevel,
    /// `..` anywhere.
    #[error("ref name contains \"..\"")]
    DoubleDot,
    /// A control character, space, `~`, `^`, `:`, `?`, `[`, `\`, or a `*` that is not allowed.
    #[error("ref name contains the byte {0:#04x}")]
    Byte(u8),
    /// It ends with a dot.
    #[error("ref name ends with a dot")]
    TrailingDot,
    /// `@{` anywhere.
    #[error("ref name contains \"@{{\"")]
    AtBrace,
    /// It is `@`.
    #[error("ref name is \"@\"")]
    At,
    /// A branch that begins with `-`, or is called `HEAD`.
    #[error("a branch cannot have this name")]
    Branch,
}

/// What is allowed beyond a full ref name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefNameOptions {
    /// A single component, such as `HEAD` (`--allow-onelevel`).
    pub one_level: bool,
    /// One `*`, as in refspecs (`--refspec-pattern`).
    pub pattern: bool,
}

/// Whether git takes the name for a ref: `git check-ref-format`.
pub fn check_ref_format(name: &[u8], options: RefNameOptions) -> Result<(), RefNameError> {
    if name == b"@" {
        return Err(RefNameError::At);
    }
    let mut stars_left = usize::from(options.pattern);
    let mut components = 0usize;
    for component in name.split(|&b| b == b'/') {
        components += 1;
        if component.is_empty() {
            return Err(RefNameError::EmptyComponent);
        }
        if component.first() == Some(&b'.') {
            return Err(RefNameError::LeadingDot);
        }
        let mut last = 0;
        for &byte in component {
            match byte {
                0..=32 | 127 | b'~' | b'^' | b':' | b'?' | b'[' | b'\\' => return Err(RefNameError::Byte(byte)),
                b'*' if stars_left == 0 => return Err(RefNameError::Byte(byte)),
                b'*' => stars_left -= 1,
                b'.' if last == b'.' => return Err(RefNameError::DoubleDot),
                b'{' if last == b'@' => return Err(RefNameError::AtBrace),
                _ => {}
            }
            last = byte;
        }
        if component.ends_with(b".lock") {
            return Err(RefNameError::Lock);
        }
    }
    if name.last() == Some(&b'.') {
        return Err(RefNameError::TrailingDot);
    }
    if components < 2 && !options.one_level {
        return Err(RefNameError::OneLevel);
    }
    Ok(())
}

/// Whether git takes the name for a branch (without `refs/heads/`): `git check-ref-format --branch`.
pub fn check_branch_name(name: &[u8]) -> Result<(), RefNameError> {
    if name.first() == Some(&b'-') || name == b"HEAD" {
        return Err(RefNameError::Branch);
    }
    let mut full = b"refs/heads/".to_vec();
    full.extend_from_slice(name);
    check_ref_format(&full, RefNameOptions::default())
}

/// The name with a leading slash removed and runs of slashes made one: `git check-ref-format --normalize`.
#[must_use]
pub fn normalize(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        if byte != b'/' || !matches!(out.last(), None | Some(b'/')) {
            out.push(byte);
        }
    }
    out
}
