//! `pyi race`, which `python/pyi/cli/race.py` implements.

use super::PythonVerb;

pub(super) const VERB: PythonVerb = PythonVerb {
    name: "race",
    about: "N candidates for one task, the best becomes a commit",
};
