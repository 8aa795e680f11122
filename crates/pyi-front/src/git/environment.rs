//! What the environment says to git: all of it has to be without effect here.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Native, Reason};

/// Variables that change nothing for commands that read refs and objects.
const HARMLESS: &[&str] = &[
    "GIT_ALLOW_PROTOCOL",
    "GIT_ASKPASS",
    // What is read without it is read here, or git's to read.
    "GIT_ATTR_NOSYSTEM",
    "GIT_AUTHOR_DATE",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    // `repository.rs` stops there too.
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMITTER_DATE",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
    // Which files are read; `repository.rs` reads them.
    "GIT_CONFIG_GLOBAL",
    // The system's are looked at in any case.
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    // Of repositories that are made.
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_EDITOR",
    // Where git finds its other programs.
    "GIT_EXEC_PATH",
    "GIT_MERGE_AUTOEDIT",
    "GIT_MERGE_VERBOSITY",
    "GIT_OPTIONAL_LOCKS",
    "GIT_PAGER",
    "GIT_PERL_FATAL_WARNINGS",
    "GIT_PROTOCOL",
    "GIT_PROTOCOL_FROM_USER",
    "GIT_PROXY_COMMAND",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_SEQUENCE_EDITOR",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_SSL_NO_VERIFY",
    "GIT_SSL_VERSION",
    "GIT_TEMPLATE_DIR",
    "GIT_TERMINAL_PROMPT",
    // How traces look that other variables ask for.
    "GIT_TRACE2_EVENT_NESTING",
    "GIT_TRACE_BARE",
    // Of git's own test suite: for its scripts, or about what is not done here.
    "GIT_TEST_BUILTIN_HASH",
    "GIT_TEST_CHAIN_LINT",
    "GIT_TEST_CHECK_CACHE_TREE",
    "GIT_TEST_DEFAULT_HASH",
    "GIT_TEST_DEFAULT_INITIAL_BRANCH_NAME",
    "GIT_TEST_DEFAULT_REF_FORMAT",
    ABBREVIATIONS_OFF,
    "GIT_TEST_EXEC_PATH",
    "GIT_TEST_EXT_CHAIN_LINT",
    "GIT_TEST_FSYNC",
    "GIT_TEST_INSTALLED",
    "GIT_TEST_MAINT_AUTO_DETACH",
    "GIT_TEST_MAINT_SCHEDULER",
    "GIT_TEST_MERGE_ALGORITHM",
];

/// With it, git refuses options that are not written out.
const ABBREVIATIONS_OFF: &str = "GIT_TEST_DISALLOW_ABBREVIATED_OPTIONS";

/// Whether options may be abbreviated.
pub(crate) fn allows_abbreviations() -> bool {
    std::env::var_os(ABBREVIATIONS_OFF).is_none()
}

/// Directories in and above which git does not look for a repository, unless it begins there. An empty one says that those behind it are without links.
pub(crate) fn ceilings() -> Vec<PathBuf> {
    let given = std::env::var_os("GIT_CEILING_DIRECTORIES").unwrap_or_default();
    let mut is_plain = false;
    let mut ceilings = Vec::new();
    for path in std::env::split_paths(&given) {
        is_plain |= path.as_os_str().is_empty();
        if !path.is_absolute() {
            continue;
        }
        ceilings.extend(if is_plain {
            Some(path)
        } else {
            std::fs::canonicalize(path).ok()
        });
    }
    ceilings
}

/// Whether no variable is set that only git understands.
pub(crate) fn check() -> Native<()> {
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") && !HARMLESS.iter().any(|known| name.as_bytes() == known.as_bytes()) {
            let told = name
                .to_str()
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
            return Err(Reason::of("environment", told.unwrap_or("GIT_*")));
        }
    }
    Ok(())
}
