//! Sets and maps of object names, whose keys are hashes already.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::oid::Oid;

/// A map by object name.
pub type OidMap<V> = HashMap<Oid, V, BuildHasherDefault<Fold>>;
/// A set of object names.
pub type OidSet = HashSet<Oid, BuildHasherDefault<Fold>>;

/// Folds the half of a name that is hashed into a word. Who makes up names so that they fall together has to find them by trying, as with git's own tables.
#[derive(Default, Clone, Copy, Debug)]
pub struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 ^= value as u64 ^ ((value >> 64) as u64).rotate_left(29);
    }
}
