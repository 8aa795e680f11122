//! The `format` file: says that a directory is a store, of which version, and gives it a name. It is read before
//! anything else, so that a store from the future is refused and not misread.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::id::{nibble, to_hex};
use crate::vfs::{OpenMode, Vfs, read_full, write_whole};

/// Longest `format` file that is read.
const LIMIT_BYTES: usize = 64 * 1024;

/// Content of the `format` file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Format {
    pub(crate) store: [u8; 16],
    pub(crate) created_ns: u64,
}

impl Format {
    pub(crate) fn render(&self) -> String {
        format!(
            "pyi-store 1\nhash blake3\nstore {}\ncreated {}\n",
            to_hex(&self.store),
            self.created_ns
        )
    }

    pub(crate) fn parse(text: &str, place: &str) -> Result<Format> {
        let mut lines = text.lines();
        let damaged = |what: &str| Error::corrupt(format!("the format file ({what})"), place);
        match lines.next().and_then(|line| line.strip_prefix("pyi-store ")) {
            Some("1") => {}
            Some(version) => {
                return Err(Error::UnsupportedFormat {
                    found: format!("store version {version:?} in {place}"),
                });
            }
            None => return Err(damaged("its first line is not \"pyi-store 1\"")),
        }
        let (mut store, mut created_ns) = (None, 0);
        for line in lines {
            match line.split_once(' ') {
                Some(("hash", "blake3")) => {}
                Some(("hash", other)) => {
                    return Err(Error::UnsupportedFormat {
                        found: format!("hash {other:?} in {place}"),
                    });
                }
                Some(("store", value)) => store = parse_name(value),
                Some(("created", value)) => created_ns = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let store = store.ok_or_else(|| damaged("the line with the store's name is missing"))?;
        Ok(Format { store, created_ns })
    }

    /// Reads the file; `None` if there is none. Errors: `UnsupportedFormat`, `Corrupt`, `Storage`.
    pub(crate) fn read(vfs: &dyn Vfs, path: &Path) -> Result<Option<Format>> {
        let file = match vfs.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::storage("open", path, error)),
        };
        let mut buffer = vec![0u8; LIMIT_BYTES];
        let n = read_full(file.as_ref(), &mut buffer, 0).map_err(|error| Error::storage("read", path, error))?;
        Format::parse(&String::from_utf8_lossy(&buffer[..n]), &path.display().to_string()).map(Some)
    }

    /// Creates the file, or reads what another creator put there first.
    pub(crate) fn create(vfs: &dyn Vfs, path: &Path) -> Result<Format> {
        let mut format = Format {
            store: [0; 16],
            created_ns: vfs.now_ns(),
        };
        vfs.random(&mut format.store)
            .map_err(|error| Error::storage("name", path, error))?;
        let won = write_whole(vfs, path, format.render().as_bytes(), false)
            .map_err(|error| Error::storage("create", path, error))?;
        if won {
            return Ok(format);
        }
        Format::read(vfs, path)?.ok_or_else(|| Error::NotFound {
            what: path.display().to_string(),
        })
    }
}

/// Sixteen bytes from 32 hex digits.
pub(crate) fn parse_name(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut out = [0u8; 16];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_and_parses_and_refuses_the_future() {
        let format = Format {
            store: [0xab; 16],
            created_ns: 12,
        };
        let text = format.render();
        assert_eq!(Format::parse(&text, "f").ok(), Some(format));
        assert_eq!(Format::parse(&format!("{text}later stuff\n"), "f").ok(), Some(format));
        let newer = text.replace("pyi-store 1", "pyi-store 2");
        assert!(matches!(
            Format::parse(&newer, "f"),
            Err(Error::UnsupportedFormat { .. })
        ));
        let hash = text.replace("blake3", "sha4");
        assert!(matches!(
            Format::parse(&hash, "f"),
            Err(Error::UnsupportedFormat { .. })
        ));
        assert!(matches!(Format::parse("", "f"), Err(Error::Corrupt { .. })));
        assert!(matches!(
            Format::parse("pyi-store 1\nhash blake3\n", "f"),
            Err(Error::Corrupt { .. })
        ));
    }
}
