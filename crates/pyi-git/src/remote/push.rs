//! What a client asks a receive-pack for: which refs to move, from where to where; the pack follows.

use super::{RequestError, capability, oid, unexpected};
use crate::oid::{ObjectFormat, Oid};
use crate::pktline::{Packet, PacketError, PacketReader};

/// Commands of one push at most.
const COMMANDS_MAX: usize = 100_000;
/// Push options at most.
const OPTIONS_MAX: usize = 1_000;

/// One ref to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCommand {
    /// Where the client saw it; null: nowhere.
    pub old: Oid,
    /// Where it is to go; null: away.
    pub new: Oid,
    /// Its full name.
    pub name: Vec<u8>,
}

/// A push, up to the pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushRequest {
    /// What is to be moved.
    pub commands: Vec<PushCommand>,
    /// Options for whoever handles the push.
    pub options: Vec<Vec<u8>>,
    /// All or none.
    pub atomic: bool,
    /// The client wants to know what became of each ref.
    pub report: bool,
    /// The same, in the second version.
    pub report_v2: bool,
    /// The answer goes on a side band.
    pub side_band: bool,
    /// Nothing for people to read.
    pub quiet: bool,
    /// Commits at which the client's history ends.
    pub shallow: Vec<Oid>,
    /// The push is signed.
    pub has_certificate: bool,
}

impl PushRequest {
    /// Reads the commands at the start of a push, and how many bytes they take; the pack begins behind them. `None` if more bytes have to
    /// come first.
    ///
    /// # Errors
    /// [`RequestError`]. O(bytes).
    pub fn parse(data: &[u8], format: ObjectFormat) -> Result<Option<(Self, usize)>, RequestError> {
        match Self::read(data, format) {
            Err(RequestError::Packet(PacketError::Truncated(_)) | RequestError::Truncated) => Ok(None),
            Err(error) => Err(error),
            Ok(found) => Ok(Some(found)),
        }
    }

    fn read(data: &[u8], format: ObjectFormat) -> Result<(Self, usize), RequestError> {
        let mut packets = PacketReader::new(data);
        let mut request = PushRequest::default();
        let (mut first, mut push_options) = (true, false);
        loop {
            let line = match packets.next()?.ok_or(RequestError::Truncated)? {
                Packet::Flush => break,
                packet => packet.text().ok_or_else(|| unexpected(b"0001"))?,
            };
            if let Some(hex) = line.strip_prefix(b"shallow ") {
                request.shallow.push(oid(hex, line)?);
                continue;
            }
            let (line, words) = crate::bytes::split_once(line, 0).unwrap_or((line, b""));
            if first {
                push_options = request.capabilities(words, format)?;
                first = false;
            }
            if line.starts_with(b"push-cert") {
                request.has_certificate = true;
                continue;
            }
            if request.has_certificate {
                // What a certificate says is not believed, so it is not read either.
                continue;
            }
            if request.commands.len() >= COMMANDS_MAX {
                return Err(RequestError::TooMany(COMMANDS_MAX));
            }
            request.commands.push(command(line, format)?);
        }
        if push_options && (request.has_certificate || !request.commands.is_empty()) {
            loop {
                match packets.next()?.ok_or(RequestError::Truncated)? {
                    Packet::Flush => break,
                    packet => {
                        if request.options.len() >= OPTIONS_MAX {
                            return Err(RequestError::TooMany(OPTIONS_MAX));
                        }
                        let option = packet.text().ok_or_else(|| unexpected(b"0001"))?;
                        request.options.push(option.to_vec());
                    }
                }
            }
        }
        Ok((request, packets.position()))
    }

    fn capabilities(&mut self, words: &[u8], format: ObjectFormat) -> Result<bool, RequestError> {
        let has = |name: &str| capability(words, name).is_some();
        self.report_v2 = has("report-status-v2");
        self.report = self.report_v2 || has("report-status");
        self.atomic = has("atomic");
        self.side_band = has("side-band-64k");
        self.quiet = has("quiet");
        if let Some(client) = capability(words, "object-format")
            && client != format.name().as_bytes()
        {
            return Err(RequestError::Format {
                server: format.name(),
                client: super::lossy(client),
            });
        }
        Ok(has("push-options"))
    }

    /// Whether a pack follows: not if refs only go away.
    #[must_use]
    pub fn has_pack(&self) -> bool {
        self.commands.iter().any(|command| !command.new.is_null())
    }
}

fn command(line: &[u8], format: ObjectFormat) -> Result<PushCommand, RequestError> {
    let length = format.hex_len();
    let (old, rest) = line.split_at_checked(length).ok_or_else(|| unexpected(line))?;
    let rest = rest.strip_prefix(b" ").ok_or_else(|| unexpected(line))?;
    let (new, rest) = rest.split_at_checked(length).ok_or_else(|| unexpected(line))?;
    let name = rest
        .strip_prefix(b" ")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| unexpected(line))?;
    Ok(PushCommand {
        old: oid(old, line)?,
        new: oid(new, line)?,
        name: name.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pktline::{write_data, write_flush, write_line};

    #[test]
    fn commands_are_read_as_soon_as_they_are_whole() {
        let (a, b, none) = ("1".repeat(40), "2".repeat(40), "0".repeat(40));
        let mut body = Vec::new();
        let words = "report-status-v2 side-band-64k atomic push-options object-format=sha1 agent=git/2";
        write_data(format!("{a} {b} refs/heads/main\0 {words}").as_bytes(), &mut body);
        write_line(&format!("{none} {a} refs/tags/v 1"), &mut body);
        write_flush(&mut body);
        write_line("ci.skip", &mut body);
        write_flush(&mut body);
        let end = body.len();
        body.extend_from_slice(b"PACK....");
        for cut in 0..end {
            assert_eq!(PushRequest::parse(&body[..cut], ObjectFormat::Sha1), Ok(None), "{cut}");
        }
        let (request, used) = PushRequest::parse(&body, ObjectFormat::Sha1).unwrap().unwrap();
        assert_eq!(used, end);
        assert_eq!(request.commands.len(), 2);
        assert_eq!(request.commands[1].name, b"refs/tags/v 1");
        assert!(request.commands[1].old.is_null() && request.has_pack());
        assert!(request.atomic && request.report && request.report_v2 && request.side_band && !request.quiet);
        assert_eq!(request.options, [b"ci.skip"]);
        for bad in ["0009refs\n0000", "0008abcd0000", "0001"] {
            assert!(PushRequest::parse(bad.as_bytes(), ObjectFormat::Sha1).is_err(), "{bad}");
        }
    }
}
