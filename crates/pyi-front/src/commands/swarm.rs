//! `pyi swarm`, which `python/pyi/cli/swarm.py` implements.

use super::PythonVerb;

pub(super) const VERB: PythonVerb = PythonVerb {
    name: "swarm",
    about: "Many agents at once on one repository, measured and verified",
};
