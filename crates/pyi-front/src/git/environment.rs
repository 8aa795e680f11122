//! What the environment says to git: all of it has to be without effect here.

use std::os::unix::ffi::OsStrExt;

use super::{Native, Reason};

/// Variables that change nothing for commands that read refs and objects.
const HARMLESS: &[&str] = &[
    "GIT_ALLOW_PROTOCOL",
    "GIT_ASKPASS",
    "GIT_AUTHOR_DATE",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    "GIT_COMMITTER_DATE",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
    // Which files are read; `repository.rs` reads them.
    "GIT_CONFIG_GLOBAL",
    // The system's are looked at in any case.
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_EDITOR",
    "GIT_MERGE_AUTOEDIT",
    "GIT_MERGE_VERBOSITY",
    "GIT_OPTIONAL_LOCKS",
    "GIT_PAGER",
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
    "GIT_TERMINAL_PROMPT",
];

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
