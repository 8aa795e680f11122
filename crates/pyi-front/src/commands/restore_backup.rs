//! `pyi restore-backup`, which `python/pyi/cli/backup.py` implements.

use super::PythonVerb;

pub(super) const VERB: PythonVerb = PythonVerb {
    name: "restore-backup",
    about: "Make a store of a backup, as of any position or time",
};
