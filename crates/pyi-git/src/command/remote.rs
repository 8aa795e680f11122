//! `git remote`: which there are.

use std::collections::BTreeMap;

use super::args::{self, Takes};
use super::{Call, Run, unavailable};

/// What the configuration says of a remote.
#[derive(Default)]
struct Remote {
    fetch: Vec<Vec<u8>>,
    push: Vec<Vec<u8>>,
}

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(call, argv, &[("v|verbose", Takes::Nothing)])?;
    let remotes = remotes(call)?;
    match &given.rest[..] {
        [] => {
            for (name, remote) in &remotes {
                if !given.has("verbose") {
                    call.line(&[name]);
                    continue;
                }
                let push = if remote.push.is_empty() {
                    &remote.fetch
                } else {
                    &remote.push
                };
                let fetch = remote.fetch.iter().take(1).map(|url| (url, &b" (fetch)"[..]));
                for (url, what) in fetch.chain(push.iter().map(|url| (url, &b" (push)"[..]))) {
                    call.line(&[name, b"\t", url, what]);
                }
            }
            Ok(0)
        }
        [verb, name] if verb == b"get-url" && given.options.is_empty() => match remotes.get(name) {
            Some(remote) => {
                if let Some(url) = remote.fetch.first() {
                    call.line(&[url]);
                }
                Ok(0)
            }
            None => unavailable("git remote of one that is not there"),
        },
        _ => unavailable("git remote with these arguments"),
    }
}

fn remotes(call: &Call<'_>) -> Run<BTreeMap<Vec<u8>, Remote>> {
    let mut remotes: BTreeMap<Vec<u8>, Remote> = BTreeMap::new();
    for entry in call.config.entries() {
        let name = match (entry.section.as_str(), &entry.subsection) {
            // Addresses that stand for others.
            ("url", _) => return unavailable("url.<base>.insteadOf"),
            ("remote", Some(name)) => name,
            _ => continue,
        };
        let remote = remotes.entry(name.clone()).or_default();
        match (entry.key.as_str(), &entry.value) {
            ("url", Some(url)) if !url.is_empty() => remote.fetch.push(url.clone()),
            ("pushurl", Some(url)) if !url.is_empty() => remote.push.push(url.clone()),
            ("fetch" | "push" | "tagopt" | "prune" | "prunetags" | "mirror" | "followremotehead", Some(_)) => {}
            _ => return unavailable("such a setting of a remote"),
        }
    }
    if remotes.values().any(|remote| remote.fetch.is_empty()) {
        return unavailable("a remote without an address");
    }
    Ok(remotes)
}
