//! What a server says first: its refs and what it can do; and the answer to `ls-refs`.

use super::fetch::LsRefsRequest;
use crate::oid::{ObjectFormat, Oid};
use crate::pktline::{write_data, write_flush, write_line};

/// The service a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Fetching.
    UploadPack,
    /// Pushing.
    ReceivePack,
}

impl Service {
    /// The service of this name (`git-upload-pack`, `git-receive-pack`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "git-upload-pack" => Some(Service::UploadPack),
            "git-receive-pack" => Some(Service::ReceivePack),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Service::UploadPack => "git-upload-pack",
            Service::ReceivePack => "git-receive-pack",
        }
    }
}

/// A ref as it is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedRef {
    /// Its full name.
    pub name: Vec<u8>,
    /// What it is at.
    pub oid: Oid,
    /// What the tag that it is at leads to in the end, if it is at a tag.
    pub peeled: Option<Oid>,
}

/// All refs that are offered, sorted by name, and where HEAD points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The ref that HEAD stands for; it may not exist yet.
    pub head: Option<Vec<u8>>,
    /// The refs, without HEAD, sorted.
    pub refs: Vec<OfferedRef>,
}

impl Offer {
    /// The ref of this name; `HEAD` is what it stands for. O(log refs).
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&OfferedRef> {
        let name = match (&self.head, name) {
            (Some(head), b"HEAD") => head,
            _ => name,
        };
        let at = self
            .refs
            .binary_search_by(|known| known.name.as_slice().cmp(name))
            .ok()?;
        self.refs.get(at)
    }
}

/// What upload-pack can do in v0 and v1, but for what depends on the repository.
const UPLOAD: &str = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative \
                      no-progress include-tag multi_ack_detailed no-done allow-tip-sha1-in-want allow-reachable-sha1-in-want filter";
/// What receive-pack can do.
const RECEIVE: &str = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options";

/// The line that HTTP puts in front of the advertisement of v0 and v1.
pub fn write_service(service: Service, out: &mut Vec<u8>) {
    write_line(&format!("# service={}", service.name()), out);
    write_flush(out);
}

/// The advertisement of v0 (`version` 0) and v1.
pub fn write_refs(service: Service, version: u8, offer: &Offer, format: ObjectFormat, agent: &str, out: &mut Vec<u8>) {
    if version == 1 {
        write_line("version 1", out);
    }
    let mut words = match service {
        Service::UploadPack => UPLOAD.to_owned().into_bytes(),
        Service::ReceivePack => RECEIVE.to_owned().into_bytes(),
    };
    let head = offer.find(b"HEAD").filter(|_| service == Service::UploadPack);
    if let (Some(_), Some(target)) = (head, &offer.head) {
        words.extend_from_slice(b" symref=HEAD:");
        words.extend_from_slice(target);
    }
    words.extend_from_slice(format!(" object-format={} agent={agent}", format.name()).as_bytes());
    let mut words = Some(words);
    let mut line = |oid: &Oid, name: &[u8], out: &mut Vec<u8>| {
        let mut text = Vec::with_capacity(name.len() + 64);
        oid.write_hex(&mut text);
        text.push(b' ');
        text.extend_from_slice(name);
        if let Some(words) = words.take() {
            text.push(0);
            text.extend_from_slice(&words);
        }
        text.push(b'\n');
        write_data(&text, out);
    };
    if let Some(head) = head {
        line(&head.oid, b"HEAD", out);
    }
    for known in &offer.refs {
        line(&known.oid, &known.name, out);
        if let (Some(peeled), Service::UploadPack) = (&known.peeled, service) {
            line(peeled, &[&known.name[..], b"^{}"].concat(), out);
        }
    }
    if head.is_none() && offer.refs.is_empty() {
        line(&format.null_oid(), b"capabilities^{}", out);
    }
    write_flush(out);
}

/// The advertisement of v2.
pub fn write_v2(format: ObjectFormat, agent: &str, out: &mut Vec<u8>) {
    write_line("version 2", out);
    write_line(&format!("agent={agent}"), out);
    write_line("ls-refs=unborn", out);
    // `ref-in-want` is understood and not offered: when a ref moves between listing and fetching, git's own clone writes down
    // the name from the list and has the objects of the other.
    write_line("fetch=shallow wait-for-done filter", out);
    write_line("server-option", out);
    write_line(&format!("object-format={}", format.name()), out);
    write_line("object-info", out);
    write_flush(out);
}

/// The answer to `ls-refs`.
pub fn write_ls_refs(request: &LsRefsRequest, offer: &Offer, out: &mut Vec<u8>) {
    let mut line = |oid: Option<&Oid>, name: &[u8], target: Option<&[u8]>, peeled: Option<&Oid>| {
        let mut text = Vec::with_capacity(name.len() + 64);
        match oid {
            Some(oid) => oid.write_hex(&mut text),
            None => text.extend_from_slice(b"unborn"),
        }
        text.push(b' ');
        text.extend_from_slice(name);
        if let Some(target) = target.filter(|_| request.symrefs) {
            text.extend_from_slice(b" symref-target:");
            text.extend_from_slice(target);
        }
        if let Some(peeled) = peeled.filter(|_| request.peel) {
            text.extend_from_slice(b" peeled:");
            peeled.write_hex(&mut text);
        }
        text.push(b'\n');
        write_data(&text, out);
    };
    if let Some(target) = offer.head.as_deref().filter(|_| request.wants(b"HEAD")) {
        match offer.find(target) {
            Some(head) => line(Some(&head.oid), b"HEAD", Some(target), None),
            None if request.unborn => line(None, b"HEAD", Some(target), None),
            None => {}
        }
    }
    for known in offer.refs.iter().filter(|known| request.wants(&known.name)) {
        line(Some(&known.oid), &known.name, None, known.peeled.as_ref());
    }
    write_flush(out);
}
