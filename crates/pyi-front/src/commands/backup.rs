//! `pyi backup`, which `python/pyi/cli/backup.py` implements.

use super::PythonVerb;

pub(super) const VERB: PythonVerb = PythonVerb {
    name: "backup",
    about: "Copy the store to a directory or an S3 bucket, only what is new",
};
