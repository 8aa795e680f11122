//! `pyi serve`, which `python/pyi/cli/serve.py` implements.

use super::PythonVerb;

pub(super) const VERB: PythonVerb = PythonVerb {
    name: "serve",
    about: "Serve repositories and workspaces as git remotes over HTTP",
};
