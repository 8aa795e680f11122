//! Persistent Merkle trees over the object store: nodes, diff, merge, checkpoints.
