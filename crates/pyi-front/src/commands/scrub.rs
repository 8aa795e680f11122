//! `pyi scrub`, which `python/pyi/cli/scrub.py` implements.

use super::PythonVerb;

pub(super) const VERB: PythonVerb = PythonVerb {
    name: "scrub",
    about: "Read and check everything in the store; repair it",
};
