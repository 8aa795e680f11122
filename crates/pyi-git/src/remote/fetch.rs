//! What a client asks an upload-pack for: commands of protocol v2, and the one request of v0 and v1.
//!
//! Over HTTP every request is whole in itself: it repeats what was agreed on before. So parsing is all there is to remember here.

use super::filter::Filter;
use super::{LINES_MAX, RequestError, capability, number, oid, unexpected};
use crate::oid::{ObjectFormat, Oid};
use crate::pktline::{Packet, PacketReader};

/// How much history is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deepen {
    /// As much as there is, or as the client has.
    #[default]
    No,
    /// So many commits from each wanted one on; relative: from where the client's history ends.
    Depth(u32),
    /// Commits from this time on (unix seconds).
    Since(i64),
    /// What is not reachable from `deepen_not`.
    Not,
}

/// How acknowledgements are spelled in v0 and v1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// The first common commit, once.
    #[default]
    Once,
    /// `continue` for each.
    Continue,
    /// `common` and `ready`.
    Detailed,
}

/// Where the pack goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SideBand {
    /// It follows as it is.
    #[default]
    None,
    /// In packets of 1,000 bytes.
    Small,
    /// In packets of 65,520 bytes.
    Large,
}

impl SideBand {
    /// Bytes of a packet at most; `None` without a side band.
    #[must_use]
    pub fn packet_bytes(self) -> Option<usize> {
        match self {
            SideBand::None => None,
            SideBand::Small => Some(1_000),
            SideBand::Large => Some(crate::pktline::PACKET_MAX_BYTES),
        }
    }
}

/// What is to be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchRequest {
    /// Objects by name.
    pub wants: Vec<Oid>,
    /// Refs by name, as they are at the moment of the answer (v2).
    pub want_refs: Vec<Vec<u8>>,
    /// What the client has, newest first.
    pub haves: Vec<Oid>,
    /// The client will ask no more: the pack is to follow.
    pub done: bool,
    /// Commits whose parents the client does not have.
    pub shallow: Vec<Oid>,
    /// How much history is wanted.
    pub deepen: Deepen,
    /// The depth counts from `shallow`.
    pub deepen_relative: bool,
    /// Refs whose history is not wanted.
    pub deepen_not: Vec<Vec<u8>>,
    /// What is left out.
    pub filter: Filter,
    /// Deltas against what the client has are welcome.
    pub thin_pack: bool,
    /// Deltas that name their base by its distance are welcome.
    pub ofs_delta: bool,
    /// Nothing for people to read.
    pub no_progress: bool,
    /// Annotated tags of what is sent are to come along.
    pub include_tag: bool,
    /// Never begin the pack before `done` (v2).
    pub wait_for_done: bool,
    /// How to acknowledge (v0, v1).
    pub acknowledge: Acknowledge,
    /// Nothing follows the wants: the client asks for where history is cut, and no more yet (v0, v1 over HTTP).
    pub only_wants: bool,
    /// The pack may follow at once when enough is known (v0, v1 over HTTP).
    pub no_done: bool,
    /// Where the pack goes.
    pub side_band: SideBand,
}

/// What refs are to be listed (v2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LsRefsRequest {
    /// Say what symbolic refs point at.
    pub symrefs: bool,
    /// Say what tags point at.
    pub peel: bool,
    /// List a HEAD that has no commit yet.
    pub unborn: bool,
    /// Only refs that begin with one of these; none: all.
    pub prefixes: Vec<Vec<u8>>,
}

impl LsRefsRequest {
    /// Whether a ref is asked for.
    #[must_use]
    pub fn wants(&self, name: &[u8]) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// A command of protocol v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ls-refs`.
    LsRefs(LsRefsRequest),
    /// `fetch`.
    Fetch(Box<FetchRequest>),
    /// `object-info`: the sizes of these objects.
    ObjectInfo(Vec<Oid>),
}

/// More prefixes than this are as good as none.
const PREFIXES_MAX: usize = 65_536;

impl Command {
    /// Reads the next command of a connection; `None` at its end (nothing, or a flush by itself).
    ///
    /// # Errors
    /// [`RequestError`]. O(bytes).
    pub fn parse(packets: &mut PacketReader<'_>, format: ObjectFormat) -> Result<Option<Self>, RequestError> {
        let mut name: Option<&[u8]> = None;
        let mut has_arguments = false;
        loop {
            match packets.next()? {
                None if name.is_none() => return Ok(None),
                None => return Err(RequestError::Truncated),
                Some(Packet::Flush) => break,
                Some(Packet::Delimiter) => {
                    has_arguments = true;
                    break;
                }
                Some(packet) => {
                    let line = packet.text().ok_or_else(|| unexpected(b"0002"))?;
                    if let Some(found) = line.strip_prefix(b"command=") {
                        name = Some(found);
                    } else if let Some(client) = line.strip_prefix(b"object-format=")
                        && client != format.name().as_bytes()
                    {
                        return Err(mismatch(format, client));
                    }
                }
            }
        }
        let Some(name) = name else {
            return if has_arguments {
                Err(unexpected(b"0001"))
            } else {
                Ok(None)
            };
        };
        let mut lines = Lines {
            packets,
            over: !has_arguments,
            left: LINES_MAX,
        };
        match name {
            b"ls-refs" => ls_refs(&mut lines).map(|request| Some(Command::LsRefs(request))),
            b"fetch" => fetch(&mut lines).map(|request| Some(Command::Fetch(Box::new(request)))),
            b"object-info" => object_info(&mut lines).map(|oids| Some(Command::ObjectInfo(oids))),
            other => Err(RequestError::Line(format!("command={}", super::lossy(other)))),
        }
    }
}

fn mismatch(format: ObjectFormat, client: &[u8]) -> RequestError {
    RequestError::Format {
        server: format.name(),
        client: super::lossy(client),
    }
}

/// The lines up to a flush.
struct Lines<'r, 'a> {
    packets: &'r mut PacketReader<'a>,
    over: bool,
    left: usize,
}

impl<'a> Lines<'_, 'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, RequestError> {
        if self.over {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or(RequestError::TooMany(LINES_MAX))?;
        match self.packets.next()? {
            None => Err(RequestError::Truncated),
            Some(Packet::Flush) => {
                self.over = true;
                Ok(None)
            }
            Some(packet) => packet.text().map(Some).ok_or_else(|| unexpected(b"0001")),
        }
    }
}

fn ls_refs(lines: &mut Lines<'_, '_>) -> Result<LsRefsRequest, RequestError> {
    let mut request = LsRefsRequest::default();
    let mut count = 0;
    while let Some(line) = lines.next()? {
        match line {
            b"symrefs" => request.symrefs = true,
            b"peel" => request.peel = true,
            b"unborn" => request.unborn = true,
            _ => {
                let prefix = line.strip_prefix(b"ref-prefix ").ok_or_else(|| unexpected(line))?;
                count += 1;
                if count < PREFIXES_MAX {
                    request.prefixes.push(prefix.to_vec());
                }
            }
        }
    }
    if count >= PREFIXES_MAX {
        request.prefixes.clear();
    }
    Ok(request)
}

fn object_info(lines: &mut Lines<'_, '_>) -> Result<Vec<Oid>, RequestError> {
    let mut oids = Vec::new();
    while let Some(line) = lines.next()? {
        if let Some(hex) = line.strip_prefix(b"oid ") {
            oids.push(oid(hex, line)?);
        } else if line != b"size" {
            return Err(unexpected(line));
        }
    }
    Ok(oids)
}

fn fetch(lines: &mut Lines<'_, '_>) -> Result<FetchRequest, RequestError> {
    let mut request = FetchRequest {
        side_band: SideBand::Large,
        ..FetchRequest::default()
    };
    while let Some(line) = lines.next()? {
        match line {
            b"done" => request.done = true,
            b"thin-pack" => request.thin_pack = true,
            b"ofs-delta" => request.ofs_delta = true,
            b"no-progress" => request.no_progress = true,
            b"include-tag" => request.include_tag = true,
            b"wait-for-done" => request.wait_for_done = true,
            b"deepen-relative" => request.deepen_relative = true,
            _ => {
                if let Some(hex) = line.strip_prefix(b"want ") {
                    request.wants.push(oid(hex, line)?);
                } else if let Some(hex) = line.strip_prefix(b"have ") {
                    request.haves.push(oid(hex, line)?);
                } else if let Some(name) = line.strip_prefix(b"want-ref ") {
                    request.want_refs.push(name.to_vec());
                } else if !history_line(line, &mut request)? {
                    return Err(unexpected(line));
                }
            }
        }
    }
    Ok(request)
}

/// The lines about how much is wanted, which all versions share.
fn history_line(line: &[u8], request: &mut FetchRequest) -> Result<bool, RequestError> {
    if let Some(hex) = line.strip_prefix(b"shallow ") {
        request.shallow.push(oid(hex, line)?);
    } else if let Some(depth) = line.strip_prefix(b"deepen ") {
        let depth: u32 = number(depth, line)?;
        request.deepen = if depth == 0 { Deepen::No } else { Deepen::Depth(depth) };
    } else if let Some(seconds) = line.strip_prefix(b"deepen-since ") {
        request.deepen = Deepen::Since(number(seconds, line)?);
    } else if let Some(name) = line.strip_prefix(b"deepen-not ") {
        request.deepen_not.push(name.to_vec());
        if request.deepen == Deepen::No {
            request.deepen = Deepen::Not;
        }
    } else if let Some(filter) = line.strip_prefix(b"filter ") {
        request.filter = Filter::parse(filter)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

impl FetchRequest {
    /// Reads the request of protocol v0 or v1 over HTTP; `None` if nothing is wanted.
    ///
    /// # Errors
    /// [`RequestError`]. O(bytes).
    pub fn parse_v0(body: &[u8], format: ObjectFormat) -> Result<Option<Self>, RequestError> {
        let mut packets = PacketReader::new(body);
        let mut request = FetchRequest::default();
        for number in 0.. {
            if number > LINES_MAX {
                return Err(RequestError::TooMany(LINES_MAX));
            }
            let line = match packets.next()? {
                Some(Packet::Flush) => break,
                Some(packet) => packet.text().ok_or_else(|| unexpected(b"0001"))?,
                None if request.wants.is_empty() => return Ok(None),
                None => return Err(RequestError::Truncated),
            };
            if let Some(want) = line.strip_prefix(b"want ") {
                let (hex, words) = want.split_at(want.len().min(format.hex_len()));
                if request.wants.is_empty() {
                    request.capabilities(words, format)?;
                }
                request.wants.push(oid(hex, line)?);
            } else if !history_line(line, &mut request)? {
                return Err(unexpected(line));
            }
        }
        if request.wants.is_empty() {
            return Ok(None);
        }
        request.only_wants = packets.rest().is_empty();
        // Haves come in groups with a flush behind each, or with `done` behind all.
        for number in 0.. {
            if number > LINES_MAX {
                return Err(RequestError::TooMany(LINES_MAX));
            }
            let Some(packet) = packets.next()? else { break };
            let Some(line) = packet.text() else { continue };
            if line == b"done" {
                request.done = true;
                break;
            }
            let hex = line.strip_prefix(b"have ").ok_or_else(|| unexpected(line))?;
            request.haves.push(oid(hex, line)?);
        }
        Ok(Some(request))
    }

    fn capabilities(&mut self, words: &[u8], format: ObjectFormat) -> Result<(), RequestError> {
        let has = |name: &str| capability(words, name).is_some();
        self.acknowledge = match (has("multi_ack_detailed"), has("multi_ack")) {
            (true, _) => Acknowledge::Detailed,
            (_, true) => Acknowledge::Continue,
            _ => Acknowledge::Once,
        };
        self.side_band = match (has("side-band-64k"), has("side-band")) {
            (true, _) => SideBand::Large,
            (_, true) => SideBand::Small,
            _ => SideBand::None,
        };
        self.no_done = has("no-done");
        self.thin_pack = has("thin-pack");
        self.ofs_delta = has("ofs-delta");
        self.no_progress = has("no-progress");
        self.include_tag = has("include-tag");
        self.deepen_relative = has("deepen-relative");
        match capability(words, "object-format") {
            Some(client) if client != format.name().as_bytes() => Err(mismatch(format, client)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pktline::{write_data, write_delimiter, write_flush, write_line};

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn a_fetch_of_v2_is_read() {
        let mut body = Vec::new();
        write_line("command=fetch", &mut body);
        write_data(b"agent=git/2.47", &mut body);
        write_line("object-format=sha1", &mut body);
        write_delimiter(&mut body);
        for line in [
            "thin-pack",
            "ofs-delta",
            "deepen 3",
            "filter blob:none",
            &format!("shallow {B}"),
            &format!("want {A}"),
            &format!("have {B}"),
            "want-ref refs/heads/x",
            "done",
        ] {
            write_line(line, &mut body);
        }
        write_flush(&mut body);
        let mut packets = PacketReader::new(&body);
        let Some(Command::Fetch(request)) = Command::parse(&mut packets, ObjectFormat::Sha1).unwrap() else {
            panic!("no fetch")
        };
        let oid = |hex: &str| Oid::from_hex(hex.as_bytes()).unwrap();
        assert_eq!(
            (&request.wants, &request.haves, &request.shallow),
            (&vec![oid(A)], &vec![oid(B)], &vec![oid(B)])
        );
        assert!(request.done && request.thin_pack && request.ofs_delta && !request.include_tag);
        assert_eq!(
            (request.deepen, request.filter.blob_limit_bytes),
            (Deepen::Depth(3), Some(0))
        );
        assert_eq!(request.want_refs, [b"refs/heads/x"]);
        assert_eq!(Command::parse(&mut packets, ObjectFormat::Sha1), Ok(None));
        for end in 1..body.len() {
            assert!(
                Command::parse(&mut PacketReader::new(&body[..end]), ObjectFormat::Sha1).is_err(),
                "{end}"
            );
        }
        assert!(matches!(
            Command::parse(&mut PacketReader::new(&body), ObjectFormat::Sha256),
            Err(RequestError::Format { .. })
        ));
    }

    #[test]
    fn a_request_of_v0_is_read() {
        let mut body = Vec::new();
        write_line(
            &format!("want {A} multi_ack_detailed no-done side-band-64k ofs-delta agent=x"),
            &mut body,
        );
        write_line(&format!("want {B}"), &mut body);
        write_line("deepen 1", &mut body);
        write_flush(&mut body);
        write_line(&format!("have {B}"), &mut body);
        write_flush(&mut body);
        write_line("done", &mut body);
        let request = FetchRequest::parse_v0(&body, ObjectFormat::Sha1).unwrap().unwrap();
        assert_eq!((request.wants.len(), request.haves.len(), request.done), (2, 1, true));
        assert_eq!(
            (request.acknowledge, request.side_band),
            (Acknowledge::Detailed, SideBand::Large)
        );
        assert!(request.no_done && request.ofs_delta && !request.thin_pack);
        assert_eq!(FetchRequest::parse_v0(b"0000", ObjectFormat::Sha1), Ok(None));
        assert_eq!(FetchRequest::parse_v0(b"", ObjectFormat::Sha1), Ok(None));
    }
}
