//! The `format` file: says that a directory is a store, of which version, and gives it a name. It is read before
//! anything else, so that a store from the future is refused and not misread.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::id::{nibble, to_hex};
use crate::vfs::{OpenMode, Vfs, read_full, write_whole};

/// Longest `format` file that is read.
const LIMIT_BYTES: usize = 64 * 1024;

const FIRST_LINE: &str = "pyi-store 1\n";

/// Content of the `format` file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Format {
    pub(crate) store: [u8; 16],
    pub(crate) created_ns: u64,
}

impl Format {
    pub(crate) fn render(&self) -> String {
        let rest = format!(
            "hash blake3\nstore {}\ncreated {}\n",
            to_hex(&self.store),
            self.created_ns
        );
        let crc = crc32c::crc32c(format!("{FIRST_LINE}{rest}").as_bytes());
        // Second, so that a file that was cut somewhere does not look like an older one without this line.
        format!("{FIRST_LINE}crc {crc:08x}\n{rest}")
    }

    /// Whether the bytes are what was once written, as far as can be told: the checksum fits, or (files of earlier versions have
    /// none) every line is one that was written then. O(length).
    pub(crate) fn is_sound(bytes: &[u8]) -> bool {
        let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.ends_with('\n')) else {
            return false;
        };
        let Some(rest) = text.strip_prefix(FIRST_LINE) else {
            return false;
        };
        if let Some((crc, rest)) = rest.strip_prefix("crc ").and_then(|rest| rest.split_once('\n')) {
            let found = crc32c::crc32c(format!("{FIRST_LINE}{rest}").as_bytes());
            return crc == format!("{found:08x}");
        }
        let lines: Vec<&str> = rest.lines().collect();
        matches!(lines.as_slice(), ["hash blake3", store, created]
            if store.strip_prefix("store ").is_some_and(|name| parse_name(name).is_some_and(|id| to_hex(&id) == name))
            && created.strip_prefix("created ").is_some_and(|time| time.parse::<u64>().is_ok_and(|ns| ns.to_string() == time)))
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
        assert!(Format::is_sound(text.as_bytes()));
        let earlier = "pyi-store 1\nhash blake3\nstore 0123456789abcdef0123456789abcdef\ncreated 12\n";
        assert!(Format::is_sound(earlier.as_bytes()));
        for (at, byte) in text.bytes().enumerate() {
            for bit in 0..8 {
                let mut flipped = text.clone().into_bytes();
                flipped[at] = byte ^ 1 << bit;
                assert!(!Format::is_sound(&flipped), "bit {bit} of byte {at}");
            }
            assert!(!Format::is_sound(&text.as_bytes()[..at]), "cut at {at}");
        }
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
