//! Tags that were pushed: `t/<name>` in the ref log, as git has no checkpoint to tag.

use pyi_cas::{Bytes, Id};
use pyi_git::remote::push::PushCommand;
use pyi_git::tag::Tag;
use pyi_git::{ObjectFormat, ObjectKind, Oid};
use pyi_tree::cbor::Value;
use pyi_tree::refs::decode_tag;

use super::GitRemote;
use super::quarantine::Quarantine;
use crate::git::tree_import::ObjectReader;
use crate::{Error, Result};

/// Tags of tags.
const TAGS_MAX: usize = 16;

/// A pushed tag.
pub(crate) struct PushedTag {
    pub(crate) value: Vec<u8>,
    pub(crate) place: Option<(u64, u64)>,
}

/// What a value of the ref log says of a tag: the object that it is at, and the tag objects on the way to the commit.
pub(crate) fn read_tag(format: ObjectFormat, value: &[u8]) -> Result<Option<(Oid, Vec<Bytes>)>> {
    let wrong = || Error::corrupt("ref log: a tag that cannot be read");
    let (value, _) = decode_tag(value)?;
    let raw = value.get("oid").and_then(Value::as_bytes).ok_or_else(wrong)?;
    if value.get("format").and_then(Value::as_text) != Some(format.name()) {
        return Ok(None);
    }
    let oid = Oid::from_bytes(format, raw).map_err(|_| wrong())?;
    let objects = value.get("objects").and_then(Value::as_array).unwrap_or_default();
    let objects = objects.iter().filter_map(Value::as_bytes).map(Bytes::copy_from_slice);
    Ok(Some((oid, objects.collect())))
}

impl GitRemote {
    /// Makes the value for a tag that is pushed; the commit that it leads to becomes a checkpoint if it is not in a source.
    ///
    /// # Errors
    /// `GitError` for a tag of something else than a commit; as `land`.
    pub(crate) fn land_tag(&self, command: &PushCommand, quarantine: &Quarantine<'_>) -> Result<PushedTag> {
        let mut objects = Vec::new();
        let mut at = command.new;
        loop {
            let object = quarantine.read_object(&at)?;
            let object = object.ok_or_else(|| quarantine.missing_object(&at, "for a tag"))?;
            match object.kind {
                ObjectKind::Commit => break,
                ObjectKind::Tag if objects.len() < TAGS_MAX => {
                    let tag = Tag::parse(self.format, &object.data);
                    at = tag.map_err(|error| Error::git(format!("tag {at}: {error}")))?.target;
                    objects.push(Value::Bytes(object.data.to_vec()));
                }
                ObjectKind::Tag => return Err(Error::git("too many tags of tags")),
                kind => {
                    return Err(Error::git(format!(
                        "a tag of a {kind}: only commits can be tagged here"
                    )));
                }
            }
        }
        let in_source = !quarantine.sent(&at)
            && self.known_checkpoint(&at)?.is_none()
            && self.sources().iter().any(|source| source.objects().contains_now(&at));
        let mut pairs = vec![
            ("oid".to_owned(), Value::Bytes(command.new.as_bytes().to_vec())),
            ("format".to_owned(), Value::Text(self.format.name().to_owned())),
            ("objects".to_owned(), Value::Array(objects)),
        ];
        let mut place = None;
        if !in_source {
            let landed = self.land(&at, quarantine, None)?;
            let Id(id) = landed.checkpoint;
            pairs.push(("checkpoint".to_owned(), Value::Bytes(id.to_vec())));
            place = landed.place;
        }
        Ok(PushedTag {
            value: Value::Map(pairs).encode(),
            place,
        })
    }
}
