//! Since when nothing can have been lost: a file that holds the system's boot id. Who finds another one there looks at the refs before
//! anything else is written (`docs/design/009-durability-and-garbage.md`, section 3).

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::id::to_hex;
use crate::vfs::{OpenMode, Vfs, read_full, write_whole};

/// Name of the file in the store's directory.
pub(crate) const BOOT_FILE: &str = "boot";

/// What is known of the time since the system started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Boot {
    id: Option<[u8; 16]>,
    /// The power may have been lost since somebody last wrote here.
    pub(crate) is_new: bool,
}

impl Boot {
    /// Compares the system's id with the one in the store. Errors: `Storage`. One small read.
    pub(crate) fn look(vfs: &dyn Vfs, directory: &Path) -> Result<Boot> {
        let path = directory.join(BOOT_FILE);
        let failed = |error| Error::storage("read", &path, error);
        let id = vfs.boot_id().map_err(failed)?;
        let known = match vfs.open(&path, OpenMode::Read) {
            Ok(file) => {
                let mut text = [0u8; 33];
                let n = read_full(file.as_ref(), &mut text, 0).map_err(failed)?;
                text[..n].to_vec()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Boot {
            id,
            is_new: id.is_none_or(|id| known != render(&id)),
        })
    }

    /// Notes that the refs were looked at in this boot. It may get lost again with the power, which only means another look. Errors: `Storage`.
    pub(crate) fn note(&self, vfs: &dyn Vfs, directory: &Path) -> Result<()> {
        let (Some(id), true) = (self.id, self.is_new) else {
            return Ok(());
        };
        let path = directory.join(BOOT_FILE);
        write_whole(vfs, &path, &render(&id), true).map_err(|error| Error::storage("write", &path, error))?;
        Ok(())
    }

    /// A number for this boot; marks with another one count as unknown.
    pub(crate) fn tag(&self) -> u64 {
        let id = self.id.unwrap_or([0; 16]);
        crate::bytes_le::u64_at(&id, 0) | 1
    }
}

fn render(id: &[u8; 16]) -> Vec<u8> {
    format!("{}\n", to_hex(id)).into_bytes()
}
