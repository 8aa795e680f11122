//! `pyi token`, which `python/pyi/cli/token.py` implements.

use super::PythonVerb;

pub(super) const VERB: PythonVerb = PythonVerb {
    name: "token",
    about: "Create, list and revoke tokens for a server",
};
