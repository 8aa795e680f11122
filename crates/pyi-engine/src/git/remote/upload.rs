//! The answers of upload-pack: from the bytes of a request to the pieces of its answer.

use std::fmt::Write as _;
use std::sync::Arc;

use pyi_git::Oid;
use pyi_git::pktline::{
    BAND_ERROR, BAND_PACK, BAND_PROGRESS, PacketReader, write_band, write_data, write_delimiter, write_flush,
    write_line,
};
use pyi_git::remote::advertise::{Service, write_ls_refs, write_refs, write_service, write_v2};
use pyi_git::remote::fetch::{Acknowledge, Command, Deepen, FetchRequest, LsRefsRequest};

use super::chosen::CloneKey;
use super::pack::PackMaker;
use super::select::Wants;
use super::{AGENT, GitRemote};
use crate::hold::Held;
use crate::{Error, ErrorKind, Result};

/// Bytes of an answer that are handed out at once.
const PIECE_BYTES: usize = 256 << 10;
/// Wanted checkpoints that are held while they are sent.
const HELD_MAX: usize = 256;
/// Commits that are named by the client and compared at most: more tell nothing.
const HAVES_MAX: usize = 1 << 16;

/// An answer under way.
pub struct UploadResponse {
    remote: GitRemote,
    ready: Option<Vec<u8>>,
    stage: Stage,
    error: Option<Error>,
    /// Keeps what is being sent from being collected, also when its ref moves on meanwhile.
    held: Vec<Arc<Held>>,
    packet_bytes: Option<usize>,
    progress: bool,
    /// A flush belongs behind the pack (protocol v2 ends every section so, and so does a side band).
    flush: bool,
}

enum Stage {
    Select(Box<(FetchRequest, Vec<Oid>)>),
    Pack(Box<PackMaker>, u32),
    Over,
}

fn refused(error: &pyi_git::remote::RequestError) -> Error {
    Error::invalid(error.to_string())
}

/// Whether somebody who asks for these prefixes may be interested in names that begin with `name`.
fn of_interest(request: &LsRefsRequest, name: &[u8]) -> bool {
    request.wants(name) || request.prefixes.iter().any(|prefix| prefix.starts_with(name))
}

impl GitRemote {
    /// What a server says first, for `version` 0, 1 or 2 of the protocol; `http`: with the line that HTTP wants in front.
    ///
    /// # Errors
    /// As [`GitRemote::offer`].
    pub fn advertise(&self, service: Service, version: u8, http: bool) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if service == Service::UploadPack && version == 2 {
            write_v2(self.format, AGENT, &mut out);
            return Ok(out);
        }
        if http {
            write_service(service, &mut out);
        }
        // A client that cannot say what it wants gets no list of every checkpoint.
        let offer = self.offer(&|name| !name.starts_with(b"refs/pyi/checkpoints/"))?;
        // Nobody pushes in version 2: who offers to speak it is answered as if it had not.
        let version = if version == 2 { 0 } else { version };
        write_refs(service, version, &offer, self.format, AGENT, &mut out);
        Ok(out)
    }

    /// Answers a request of `version` 0, 1 or 2 whose body this is, over a stateless connection.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no request. What goes wrong later is said to the client in the answer.
    pub fn upload(&self, version: u8, body: &[u8]) -> Result<UploadResponse> {
        self.engine().open()?;
        if body.is_empty() {
            return Err(Error::invalid("the request is empty"));
        }
        self.engine().git_map.refresh();
        let mut response = UploadResponse {
            remote: self.clone(),
            ready: None,
            stage: Stage::Over,
            error: None,
            held: Vec::new(),
            packet_bytes: Some(pyi_git::pktline::PACKET_MAX_BYTES),
            progress: false,
            flush: true,
        };
        let mut out = Vec::new();
        let done = if version == 2 {
            self.upload_v2(body, &mut response, &mut out)
        } else {
            self.upload_v0(body, &mut response, &mut out)
        };
        match done {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::InvalidArgument => return Err(error),
            Err(error) => {
                response.stage = Stage::Over;
                write_data(format!("ERR {error}").as_bytes(), &mut out);
                response.error = Some(error);
            }
        }
        response.ready = Some(out);
        Ok(response)
    }

    fn upload_v2(&self, body: &[u8], response: &mut UploadResponse, out: &mut Vec<u8>) -> Result<()> {
        let mut packets = PacketReader::new(body);
        let command = Command::parse(&mut packets, self.format).map_err(|error| refused(&error))?;
        match command {
            None => Ok(()),
            Some(Command::LsRefs(request)) => {
                let offer = self.offer(&|name| of_interest(&request, name))?;
                write_ls_refs(&request, &offer, out);
                Ok(())
            }
            Some(Command::ObjectInfo(oids)) => {
                write_line("size", out);
                for oid in oids {
                    let info = self.info(&oid)?;
                    write_line(
                        &format!("{oid} {}", info.map_or(String::new(), |(_, size)| size.to_string())),
                        out,
                    );
                }
                write_flush(out);
                Ok(())
            }
            Some(Command::Fetch(request)) => self.fetch_v2(*request, response, out),
        }
    }

    fn fetch_v2(&self, mut request: FetchRequest, response: &mut UploadResponse, out: &mut Vec<u8>) -> Result<()> {
        let named = self.resolve_names(&request.want_refs)?;
        request.wants.extend(named.iter().map(|(_, oid)| *oid));
        let wants = self.sort_wants(&request.wants)?;
        let common = self.common(&request)?;
        let asks = !request.wants.is_empty() || !request.haves.is_empty();
        if asks && !request.done {
            write_line("acknowledgments", out);
            if common.is_empty() {
                write_line("NAK", out);
            }
            for oid in &common {
                write_line(&format!("ACK {oid}"), out);
            }
            let is_ready = !request.wait_for_done && !common.is_empty() && self.is_ready(&wants, &common)?;
            if !is_ready {
                write_flush(out);
                return Ok(());
            }
            write_line("ready", out);
            write_delimiter(out);
        }
        if request.wants.is_empty() {
            write_flush(out);
            return Ok(());
        }
        if request.deepen != Deepen::No {
            write_line("shallow-info", out);
            self.write_cut(&request, &wants, out)?;
            write_delimiter(out);
        }
        if !named.is_empty() {
            write_line("wanted-refs", out);
            for (name, oid) in &named {
                write_data(&[oid.to_hex().as_bytes(), b" ", name, b"\n"].concat(), out);
            }
            write_delimiter(out);
        }
        write_line("packfile", out);
        response.progress = !request.no_progress;
        response.stage = Stage::Select(Box::new((request, common)));
        Ok(())
    }

    fn resolve_names(&self, names: &[Vec<u8>]) -> Result<Vec<(Vec<u8>, Oid)>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let offer = self.offer(&|_| true)?;
        let resolve = |name: &Vec<u8>| match offer.find(name) {
            Some(found) => Ok((name.clone(), found.oid)),
            None => Err(Error::not_found(format!(
                "unknown ref {}",
                String::from_utf8_lossy(name)
            ))),
        };
        names.iter().map(resolve).collect()
    }

    /// What of the client's history is here.
    fn common(&self, request: &FetchRequest) -> Result<Vec<Oid>> {
        let mut common = Vec::new();
        for have in request.haves.iter().take(HAVES_MAX) {
            if self.has(have)? {
                common.push(*have);
            }
        }
        Ok(common)
    }

    fn is_ready(&self, wants: &Wants, common: &[Oid]) -> Result<bool> {
        self.is_enough(&wants.commits, &self.commits_among(common)?)
    }

    fn write_cut(&self, request: &FetchRequest, wants: &Wants, out: &mut Vec<u8>) -> Result<()> {
        let commits = self.select_commits(request, &wants.commits, &[])?;
        // Without newlines, as git sends them: libgit2 takes no others.
        for oid in &commits.shallow {
            write_data(format!("shallow {oid}").as_bytes(), out);
        }
        for oid in &commits.unshallow {
            write_data(format!("unshallow {oid}").as_bytes(), out);
        }
        Ok(())
    }

    fn upload_v0(&self, body: &[u8], response: &mut UploadResponse, out: &mut Vec<u8>) -> Result<()> {
        let request = FetchRequest::parse_v0(body, self.format).map_err(|error| refused(&error))?;
        let Some(request) = request else { return Ok(()) };
        let wants = self.sort_wants(&request.wants)?;
        if request.deepen != Deepen::No {
            self.write_cut(&request, &wants, out)?;
            write_flush(out);
        }
        if request.only_wants {
            return Ok(());
        }
        let common = self.common(&request)?;
        let is_ready = !common.is_empty() && self.is_ready(&wants, &common)?;
        match request.acknowledge {
            Acknowledge::Once => {
                if let Some(first) = common.first() {
                    write_line(&format!("ACK {first}"), out);
                }
            }
            Acknowledge::Continue => {
                for oid in &common {
                    write_line(&format!("ACK {oid} continue"), out);
                }
            }
            Acknowledge::Detailed => {
                for oid in &common {
                    write_line(&format!("ACK {oid} common"), out);
                }
                if let Some(last) = common.last().filter(|_| is_ready && !request.done) {
                    write_line(&format!("ACK {last} ready"), out);
                }
            }
        }
        let detailed = request.acknowledge == Acknowledge::Detailed;
        if !request.done {
            let at_once = detailed && request.no_done && is_ready;
            if request.acknowledge != Acknowledge::Once || common.is_empty() {
                write_line("NAK", out);
            }
            if !at_once {
                return Ok(());
            }
        }
        match common.last() {
            Some(last) if request.acknowledge != Acknowledge::Once => write_line(&format!("ACK {last}"), out),
            Some(_) => {}
            None if request.done => write_line("NAK", out),
            None => {}
        }
        response.packet_bytes = request.side_band.packet_bytes();
        response.flush = response.packet_bytes.is_some();
        response.progress = response.flush && !request.no_progress;
        response.stage = Stage::Select(Box::new((request, common)));
        Ok(())
    }
}

impl UploadResponse {
    /// What went wrong on the way, for the log.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The next piece of the answer; `None` at its end. What goes wrong on the way is said to the client, and the answer ends. O(piece), but
    /// for the piece in which objects are chosen: O(objects).
    pub fn next_piece(&mut self) -> Option<Vec<u8>> {
        if let Some(ready) = self.ready.take() {
            let mut ready = ready;
            if let Stage::Select(_) = self.stage {
                self.say("Enumerating objects...\n", &mut ready);
            }
            if !ready.is_empty() {
                return Some(ready);
            }
        }
        let mut out = Vec::new();
        match self.step(&mut out) {
            Ok(()) if out.is_empty() => None,
            Ok(()) => Some(out),
            Err(error) => {
                self.stage = Stage::Over;
                let text = format!("pyi: {error}\n");
                match self.packet_bytes {
                    Some(bytes) => write_band(BAND_ERROR, text.as_bytes(), bytes, &mut out),
                    None => write_data(format!("ERR {text}").as_bytes(), &mut out),
                }
                self.error = Some(error);
                Some(out)
            }
        }
    }

    fn say(&self, text: &str, out: &mut Vec<u8>) {
        if let (true, Some(bytes)) = (self.progress, self.packet_bytes) {
            write_band(BAND_PROGRESS, text.as_bytes(), bytes, out);
        }
    }

    fn step(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut raw = Vec::new();
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => return Ok(()),
            Stage::Select(request) => {
                let (request, common) = *request;
                let remote = self.remote.clone();
                let _section = remote.engine().store().section();
                let wants = remote.sort_wants(&request.wants)?;
                for want in wants.commits.iter().take(HELD_MAX) {
                    let checkpoint = remote.shared.registry.lock().checkpoint(want);
                    if let Some(id) = checkpoint {
                        self.held.push(remote.engine().hold(&id)?);
                    }
                }
                let haves = remote.commits_among(&common)?;
                let key = CloneKey::of(&request, &haves);
                let known = key.as_ref().and_then(|key| remote.shared.chosen.lock().get(key));
                let selection = match known {
                    Some(selection) => selection,
                    None => {
                        let commits = remote.select_commits(&request, &wants.commits, &haves)?;
                        let selection = Arc::new(remote.select_objects(&request, &wants, &commits, &haves)?);
                        if let Some(key) = key {
                            remote.shared.chosen.lock().put(key, selection.clone());
                        }
                        selection
                    }
                };
                let tags = match request.include_tag {
                    true => remote.tags_along(&selection)?,
                    false => Vec::new(),
                };
                let maker = PackMaker::new(&remote, &selection, &tags, request.ofs_delta, &mut raw)?;
                self.say(&format!("Enumerating objects: {}, done.\n", maker.count()), out);
                self.stage = Stage::Pack(Box::new(maker), 0);
            }
            Stage::Pack(mut maker, mut told) => {
                let more = maker.write(PIECE_BYTES, &mut raw)?;
                let percent = u64::from(maker.written()) * 100 / u64::from(maker.count().max(1));
                let percent = percent as u32;
                if percent >= told + 10 || !more {
                    told = percent;
                    let mut text = format!("Sending objects: {percent:3}% ({}/{})", maker.written(), maker.count());
                    if more {
                        text.push('\r');
                    } else {
                        let _ = write!(text, ", done.\nTotal {} objects\n", maker.count());
                    }
                    self.say(&text, out);
                }
                if more {
                    self.stage = Stage::Pack(maker, told);
                }
            }
        }
        match self.packet_bytes {
            Some(bytes) => write_band(BAND_PACK, &raw, bytes, out),
            None if out.is_empty() => *out = raw,
            None => out.extend_from_slice(&raw),
        }
        if let (Stage::Over, true) = (&self.stage, self.flush) {
            write_flush(out);
        }
        Ok(())
    }
}
