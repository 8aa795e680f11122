//! Which untracked paths are ignored, by the `.gitignore` files of the work tree and `info/exclude`.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Call, Found, Run, View};
use crate::ignore::{IgnoreStack, PatternList};

/// The rules that were read so far.
#[derive(Default)]
pub(crate) struct Ignored {
    lists: HashMap<Vec<u8>, Option<Arc<PatternList>>>,
    exclude: Option<Arc<PatternList>>,
}

impl Ignored {
    pub(crate) fn new(call: &mut Call<'_>) -> Run<Self> {
        let exclude = call.site.admin(b"info/exclude")?;
        Ok(Ignored {
            lists: HashMap::new(),
            exclude: exclude.map(|file| Arc::new(PatternList::parse(&file))),
        })
    }

    /// Whether a path is ignored, by itself or because a directory above it is.
    pub(crate) fn is_ignored(&mut self, call: &mut Call<'_>, path: &[u8], directory: bool) -> Run<bool> {
        let mut stack = IgnoreStack::new(false);
        if let Some(exclude) = &self.exclude {
            stack.push_exclude(exclude.clone());
        }
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        let mut above: &[u8] = b"";
        for end in ends.map(Some).chain([None]) {
            if let Some(list) = self.list(call, above)? {
                stack.push_directory(above, list);
            }
            let (part, is_directory) = match end {
                Some(end) => (path.get(..end).unwrap_or(path), true),
                None => (path, directory),
            };
            match stack.matched(part, is_directory) {
                Some(true) => return Ok(true),
                _ if end.is_none() => return Ok(false),
                _ => above = part,
            }
        }
        Ok(false)
    }

    fn list(&mut self, call: &mut Call<'_>, directory: &[u8]) -> Run<Option<Arc<PatternList>>> {
        if let Some(known) = self.lists.get(directory) {
            return Ok(known.clone());
        }
        let path = match directory {
            b"" => b".gitignore".to_vec(),
            _ => [directory, b"/.gitignore"].concat(),
        };
        let list = match call.site.find(View::Work, &path)? {
            Some(Found::File(version)) if version.kind() == 0o100_000 => {
                Some(Arc::new(PatternList::parse(&call.site.content(&version)?)))
            }
            _ => None,
        };
        self.lists.insert(directory.to_vec(), list.clone());
        Ok(list)
    }
}
