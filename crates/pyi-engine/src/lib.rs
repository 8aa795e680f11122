//! Repositories, workspaces, materialize and capture, git interop.
