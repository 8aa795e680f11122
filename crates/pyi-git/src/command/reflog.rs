//! `git reflog`: where a ref was.

use super::args;
use super::choose::NUMBERS;
use super::refs::{HEADS, TAGS};
use super::{Call, Run, unavailable};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let argv = match argv.first().map(Vec::as_slice) {
        Some(b"show") => argv.get(1..).unwrap_or_default(),
        Some(verb @ (b"expire" | b"delete" | b"exists" | b"list")) => {
            return unavailable(format!("git reflog {}", String::from_utf8_lossy(verb)));
        }
        _ => argv,
    };
    let given = args::parse(call, argv, NUMBERS)?;
    let limit = given.limit()?;
    let name: &[u8] = match &given.rest[..] {
        [] => b"HEAD",
        [one] if given.dashes.is_none() && call.site.is_directory() && call.is_file_name(one) => {
            return unavailable("git reflog of what is a ref and a file");
        }
        [one] if given.dashes.is_none() => one,
        _ => return unavailable("git reflog of paths"),
    };
    let Some((full, _)) = call.find_ref(name)? else {
        if name == b"HEAD" || call.resolve(name)?.is_some() {
            return unavailable("git reflog of what is no ref");
        }
        return Err(call.ambiguous(name));
    };
    let strange = name.starts_with(b"@") || (full.starts_with(TAGS) && !name.starts_with(HEADS));
    if strange {
        return unavailable("git reflog of a tag, or of @");
    }
    let mut back = 0;
    while limit.is_none_or(|limit| back < limit as u64) {
        let Some(entry) = call.logged(&full, back)? else { break };
        if entry.new.is_null() {
            return unavailable("git reflog of a branch that was gone for a while");
        }
        let short = call.short(&entry.new)?;
        let number = format!("@{{{back}}}: ");
        call.line(&[short.as_bytes(), b" ", name, number.as_bytes(), &entry.message]);
        back += 1;
    }
    Ok(0)
}
