//! Patches: what differs between two sets of files is written as git writes it. An applier that knows nothing of how that was made reads it, and has to come
//! from the one set to the other one, with every count in it right.

use std::collections::{BTreeMap, HashMap};

use pyi_cas::Bytes;
use pyi_git::command::{self, Change, Environment, Failure, Found, Outcome, Site, Version, View};
use pyi_git::config::Config;
use pyi_git::oid::OidPrefix;
use pyi_git::path::validate_path;
use pyi_git::{Object, ObjectFormat, ObjectKind, Oid, hash_object};

const FILES_MAX: usize = 4;
const CONTEXTS: [&str; 8] = ["0", "1", "2", "3", "4", "10", "99999", "18446744073709551615"];
const LINK: u32 = 0o120_000;
/// Where git looks for a zero byte to tell that a file is no text.
const PROBE_BYTES: usize = 8000;

/// Modes and contents by path.
type Files = BTreeMap<Vec<u8>, (u32, Bytes)>;

/// First how: bits 0 to 2 the context, 6 contents in which each byte is a line, 7 renames. Then files: sides and modes, the path's length and the path, the
/// old and the new length (two bytes each) and content.
pub fn patch(data: &[u8]) {
    let Some((how, mut rest)) = data.split_first() else {
        return;
    };
    let (mut old, mut new) = (Files::new(), Files::new());
    while let Some((path, before, after)) = file(&mut rest, how & 0x40 != 0) {
        let is_apart = |known: &Vec<u8>| {
            let above = |a: &[u8], b: &[u8]| {
                b.strip_prefix(a)
                    .is_some_and(|end| matches!(end.first(), None | Some(b'/')))
            };
            !above(known, &path) && !above(&path, known)
        };
        if validate_path(&path).is_err() || !old.keys().chain(new.keys()).all(is_apart) {
            continue;
        }
        old.extend(before.map(|file| (path.clone(), file)));
        new.extend(after.map(|file| (path, file)));
        if old.len() + new.len() >= 2 * FILES_MAX {
            break;
        }
    }
    let context = CONTEXTS[usize::from(how & 7)];
    let renames = if how & 0x80 == 0 { "--no-renames" } else { "-M" };
    let mut site = Memory::new(&old, &new);
    let unified = format!("-U{context}");
    let said = site.diff(&[&unified, renames]);
    site.diff(&[renames, "--stat", "--summary", "--shortstat"]);
    site.diff(&[renames, "--name-status"]);
    if said.status != 0 {
        return;
    }
    let mut applied = Applier::new(&old, &new, context.parse().unwrap_or(usize::MAX));
    applied.read(&said.stdout);
    assert_eq!(applied.result(), new);
    let counted = site.diff(&[renames, "--numstat", "-z"]);
    assert_eq!(applied.numbers, counted.stdout);
}

/// One file of the input.
#[allow(clippy::type_complexity)]
fn file(rest: &mut &[u8], by_lines: bool) -> Option<(Vec<u8>, Option<(u32, Bytes)>, Option<(u32, Bytes)>)> {
    fn take<'d>(rest: &mut &'d [u8], count: usize) -> &'d [u8] {
        let (taken, left) = rest.split_at(count.min(rest.len()));
        *rest = left;
        taken
    }
    let &[sides, length] = take(rest, 2) else { return None };
    let path = take(rest, usize::from(length % 32)).to_vec();
    let mut side = |shift: u8| -> Option<(u32, Bytes)> {
        let bits = sides >> shift;
        let &[low, high] = take(rest, 2) else { return None };
        let bytes = take(rest, usize::from(u16::from_le_bytes([low, high])));
        let mut content = Vec::new();
        for byte in bytes {
            match by_lines {
                true => content.extend_from_slice(format!("line {}\n", byte & 0x3f).as_bytes()),
                false => content.push(*byte),
            }
        }
        if by_lines && bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
            content.pop();
        }
        let mode = [0o100_644, 0o100_755, LINK, LINK][usize::from(bits >> 1 & 3)];
        (bits & 1 != 0).then(|| (mode, content.into()))
    };
    let before = side(0);
    let after = side(4);
    Some((path, before, after))
}

/// Two sets of files as the index and the work tree of a repository without anything else.
struct Memory {
    old: Files,
    new: Files,
    contents: HashMap<Oid, Bytes>,
}

fn name_of(content: &[u8]) -> Oid {
    hash_object(ObjectFormat::Sha1, ObjectKind::Blob, content)
}

fn version((mode, content): &(u32, Bytes)) -> Version {
    let mut id = [0; 32];
    id[..20].copy_from_slice(name_of(content).as_bytes());
    Version {
        mode: *mode,
        id,
        size_bytes: content.len() as u64,
        unsaved: None,
    }
}

impl Memory {
    fn new(old: &Files, new: &Files) -> Self {
        let all = old.values().chain(new.values());
        Memory {
            old: old.clone(),
            new: new.clone(),
            contents: all.map(|(_, content)| (name_of(content), content.clone())).collect(),
        }
    }

    fn diff(&mut self, options: &[&str]) -> Outcome {
        let mut argv = vec![b"diff".to_vec()];
        argv.extend(options.iter().map(|option| option.as_bytes().to_vec()));
        command::run(self, &argv, b"", &Environment::new()).unwrap()
    }
}

fn not_asked<T>() -> Result<T, Failure> {
    Err("nothing of this is asked".into())
}

impl Site for Memory {
    fn format(&self) -> ObjectFormat {
        ObjectFormat::Sha1
    }
    fn now(&self) -> i64 {
        0
    }
    fn settings(&self) -> Option<Config> {
        Some(Config::default())
    }
    fn changes(&mut self, _: View, _: View) -> Result<Vec<Change>, Failure> {
        self.tracked_changes(View::Index, &[])
    }
    fn tracked_changes(&mut self, _: View, _: &[Vec<u8>]) -> Result<Vec<Change>, Failure> {
        let mut both: BTreeMap<&Vec<u8>, Change> = BTreeMap::new();
        for (path, file) in &self.old {
            let change = Change {
                path: path.clone(),
                old: Some(version(file)),
                new: None,
            };
            both.insert(path, change);
        }
        for (path, file) in &self.new {
            let change = both.entry(path).or_insert_with(|| Change {
                path: path.clone(),
                old: None,
                new: None,
            });
            change.new = Some(version(file));
        }
        let differ = |change: &Change| match (&change.old, &change.new) {
            (Some(old), Some(new)) => (old.mode, old.id) != (new.mode, new.id),
            _ => true,
        };
        Ok(both.into_values().filter(differ).collect())
    }
    fn files(&mut self, _: View, _: &[u8]) -> Result<Vec<(Vec<u8>, Version)>, Failure> {
        not_asked()
    }
    fn find(&mut self, view: View, path: &[u8]) -> Result<Option<Found>, Failure> {
        let files = if view == View::Work { &self.new } else { &self.old };
        Ok(files.get(path).map(|file| Found::File(version(file))))
    }
    fn content(&mut self, version: &Version) -> Result<Bytes, Failure> {
        let name = self.name(version)?;
        Ok(self.contents[&name].clone())
    }
    fn name(&mut self, version: &Version) -> Result<Oid, Failure> {
        Ok(Oid::from_bytes(ObjectFormat::Sha1, &version.id[..20]).unwrap())
    }
    fn object(&mut self, oid: &Oid) -> Result<Option<Object>, Failure> {
        let found = self.contents.get(oid);
        Ok(found.map(|content| Object::new(ObjectKind::Blob, content.to_vec())))
    }
    fn with_prefix(&mut self, hex: &[u8]) -> Result<Vec<Oid>, Failure> {
        let prefix = OidPrefix::from_hex(hex)?;
        let all = self.contents.keys().copied();
        Ok(all.filter(|oid| prefix.matches(oid.as_bytes())).take(2).collect())
    }
    fn abbreviation_len(&mut self) -> Result<usize, Failure> {
        Ok(7)
    }
    fn keep_object(&mut self, _: ObjectKind, _: Vec<u8>) -> Result<Oid, Failure> {
        not_asked()
    }
    fn index_tree(&mut self) -> Result<Oid, Failure> {
        not_asked()
    }
    fn stage(&mut self, _: &[u8], _: Option<&Version>) -> Result<(), Failure> {
        not_asked()
    }
    fn set_index(&mut self, _: View) -> Result<(), Failure> {
        not_asked()
    }
    fn put(&mut self, _: &[u8], _: Option<&Version>) -> Result<(), Failure> {
        not_asked()
    }
    fn admin(&mut self, _: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }
    fn admin_names(&mut self, _: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        Ok(Vec::new())
    }
    fn set_admin(&mut self, _: &[u8], _: Option<Bytes>) -> Result<(), Failure> {
        not_asked()
    }
    fn committed(&mut self, _: &Oid, _: &[u8]) -> Result<(), Failure> {
        not_asked()
    }
}

/// Reads a patch as people describe it (`man git-diff`, "Generating patch text with -p"), and does what it says.
struct Applier<'f> {
    old: &'f Files,
    new: &'f Files,
    context: usize,
    gone: Vec<Vec<u8>>,
    came: Vec<(Vec<u8>, (u32, Bytes))>,
    /// What `--numstat -z` has to say.
    numbers: Vec<u8>,
    /// Lines that one file's patch adds and takes; `None`: it is binary.
    counts: Option<(usize, usize)>,
}

/// What stands before the hunks of a file.
#[derive(Default)]
struct Header<'p> {
    names: &'p [u8],
    renamed: Option<(Vec<u8>, Vec<u8>)>,
    modes: (Option<u32>, Option<u32>),
    index: Option<(&'p [u8], &'p [u8])>,
}

impl<'f> Applier<'f> {
    fn new(old: &'f Files, new: &'f Files, context: usize) -> Self {
        Applier {
            old,
            new,
            context,
            gone: Vec::new(),
            came: Vec::new(),
            numbers: Vec::new(),
            counts: None,
        }
    }

    fn result(&self) -> Files {
        let mut files = self.old.clone();
        for path in &self.gone {
            assert!(files.remove(path).is_some(), "{path:?} goes twice");
        }
        for (path, file) in &self.came {
            assert!(
                files.insert(path.clone(), file.clone()).is_none(),
                "{path:?} comes twice"
            );
        }
        files
    }

    fn read(&mut self, patch: &[u8]) {
        let mut lines: Vec<&[u8]> = patch.split_inclusive(|byte| *byte == b'\n').collect();
        lines.reverse();
        let mut last: Option<(Vec<u8>, (usize, usize))> = None;
        while let Some(line) = lines.pop() {
            let mut header = Header {
                names: cut(line, b"diff --git ").expect("a patch begins"),
                ..Header::default()
            };
            while let Some(line) = lines.last() {
                if !header.takes(line) {
                    break;
                }
                lines.pop();
            }
            let before = self.gone.len();
            let (from, to) = self.file(&header, &mut lines);
            // A file that becomes one of another kind goes and comes, in two patches: one number.
            let is_second = last.take().filter(|(path, _)| *path == to && header.modes.0.is_none());
            let mut numbers = match self.counts {
                Some((added, taken)) => format!("{added}\t{taken}\t"),
                None => "-\t-\t".to_owned(),
            };
            if let Some((_, _)) = &is_second {
                // Counted as one difference, which may be smaller than all lines: what it is is looked at elsewhere.
                let at = self.numbers.iter().rev().skip(1).position(|byte| *byte == 0);
                self.numbers.truncate(at.map_or(0, |at| self.numbers.len() - 1 - at));
                numbers = self.one_number(&to);
            }
            self.numbers.extend_from_slice(numbers.as_bytes());
            match from == to {
                true => self.numbers.extend_from_slice(&[&to[..], b"\0"].concat()),
                false => self
                    .numbers
                    .extend_from_slice(&[b"\0", &from[..], b"\0", &to, b"\0"].concat()),
            }
            let goes = self.gone.len() > before && header.modes.1.is_none() && header.renamed.is_none();
            last = goes.then(|| (from, self.counts.unwrap_or_default()));
        }
    }

    /// The numbers of a file of which both sides are there, by the same command: a patch of two files of the same kind.
    fn one_number(&self, path: &[u8]) -> String {
        let plain = |files: &Files| Files::from([(b"x".to_vec(), (0o100_644, files[path].1.clone()))]);
        let (old, new) = (plain(self.old), plain(self.new));
        let said = Memory::new(&old, &new).diff(&["-U0"]);
        let mut alone = Applier::new(&old, &new, 0);
        alone.read(&said.stdout);
        match alone.counts {
            None if !said.stdout.is_empty() => "-\t-\t".to_owned(),
            None if is_binary(&old[&b"x"[..]].1) => "-\t-\t".to_owned(),
            counts => {
                let (added, taken) = counts.unwrap_or_default();
                format!("{added}\t{taken}\t")
            }
        }
    }

    /// One file's patch; its two names.
    fn file(&mut self, header: &Header<'_>, lines: &mut Vec<&[u8]>) -> (Vec<u8>, Vec<u8>) {
        let (from, to) = header.both();
        let is_new = header.modes.0.is_none() && header.modes.1.is_some();
        let is_gone = header.modes.0.is_some() && header.modes.1.is_none();
        let (old_mode, before) = match is_new {
            true => (0, Bytes::new()),
            false => self.old[&from].clone(),
        };
        assert!(header.modes.0.is_none_or(|mode| mode == old_mode));
        let mode = header.modes.1.unwrap_or(old_mode);
        self.counts = Some((0, 0));
        let mut after = before.clone();
        if let Some(line) = lines.pop_if(|line| line.starts_with(b"Binary files ")) {
            let label = |name: &[u8], letter: &[u8], there: bool| match there {
                true => quoted(&[letter, name].concat()),
                false => b"/dev/null".to_vec(),
            };
            let (a, b) = (label(&from, b"a/", !is_new), label(&to, b"b/", !is_gone));
            assert_eq!(line, [b"Binary files ", &a[..], b" and ", &b, b" differ\n"].concat());
            // What is in it is not told.
            after = if is_gone { Bytes::new() } else { self.new[&to].1.clone() };
            assert!(is_binary(&before) || is_binary(&after));
            self.counts = None;
        } else if lines.last().is_some_and(|line| line.starts_with(b"--- ")) {
            for (word, letter, there, name) in [("--- ", "a/", !is_new, &from), ("+++ ", "b/", !is_gone, &to)] {
                let given = cut(lines.pop().unwrap(), word.as_bytes()).expect("both names");
                let given = given.strip_suffix(b"\t").unwrap_or(given);
                let name = match there {
                    true => quoted(&[letter.as_bytes(), name].concat()),
                    false => b"/dev/null".to_vec(),
                };
                assert_eq!(given, name);
            }
            after = self.hunks(&before, lines).into();
        } else if header.index.is_some() {
            // Without a line there is nothing to show.
            let other = if is_gone { Bytes::new() } else { self.new[&to].1.clone() };
            assert!(before.is_empty() && other.is_empty(), "no hunk");
        } else if is_binary(&before) {
            self.counts = None;
        }
        if let Some((a, b)) = header.index {
            let is_of = |given: &[u8], there: bool, content: &[u8]| match there {
                true => name_of(content).to_string().as_bytes().starts_with(given),
                false => given.iter().all(|byte| *byte == b'0'),
            };
            assert!(is_of(a, !is_new, &before) && is_of(b, !is_gone, &after));
        }
        if !is_new {
            self.gone.push(from.clone());
        }
        if !is_gone {
            self.came.push((to.clone(), (mode, after)));
        }
        (from, to)
    }

    fn hunks(&mut self, before: &[u8], lines: &mut Vec<&[u8]>) -> Vec<u8> {
        let old: Vec<&[u8]> = before.split_inclusive(|byte| *byte == b'\n').collect();
        let (mut out, mut at, mut made) = (Vec::new(), 0, 0);
        let (mut added, mut taken) = (0, 0);
        while let Some(line) = lines.pop_if(|line| line.starts_with(b"@@ -")) {
            let text = String::from_utf8_lossy(line);
            let mut words = text.split(' ').skip(1);
            let mut range = |sign: char| -> (usize, usize) {
                let word = words.next().and_then(|word| word.strip_prefix(sign)).expect("a range");
                let (start, count) = word.split_once(',').unwrap_or((word, "1"));
                let (start, count) = (start.parse::<usize>().unwrap(), count.parse().unwrap());
                // A range without lines is named by the line before it.
                (if count == 0 { start } else { start - 1 }, count)
            };
            let ((start, old_count), (new_start, new_count)) = (range('-'), range('+'));
            assert!(
                start >= at && start + old_count <= old.len(),
                "hunks in order, and in the file"
            );
            out.extend(old[at..start].concat());
            made += start - at;
            at = start;
            assert_eq!(made, new_start, "where the new lines stand");
            let (mut lead, mut trail, mut changed) = (0, 0, false);
            while at < start + old_count || made < new_start + new_count {
                let line = lines.pop().expect("as many lines as the hunk says");
                let (sign, text) = line.split_first().unwrap();
                let text = match lines.pop_if(|line| line.starts_with(b"\\ No newline")) {
                    Some(_) => text.strip_suffix(b"\n").unwrap(),
                    None => text,
                };
                if *sign != b'+' {
                    assert_eq!(text, old[at], "the old line");
                    at += 1;
                }
                if *sign != b'-' {
                    out.extend_from_slice(text);
                    made += 1;
                }
                match sign {
                    b'+' => added += 1,
                    b'-' => taken += 1,
                    b' ' if !changed => lead += 1,
                    b' ' => trail += 1,
                    _ => panic!("a line of a hunk begins with {sign}"),
                }
                if *sign != b' ' {
                    (changed, trail) = (true, 0);
                }
            }
            assert_eq!((at, made), (start + old_count, new_start + new_count));
            assert!(changed && lead <= self.context && trail <= self.context);
        }
        assert!(added + taken > 0);
        self.counts = Some((added, taken));
        out.extend(old[at..].concat());
        out
    }
}

impl<'p> Header<'p> {
    /// Whether the line is one of what stands before the hunks.
    fn takes(&mut self, line: &'p [u8]) -> bool {
        let mode = |text: &[u8]| u32::from_str_radix(std::str::from_utf8(text).unwrap(), 8).unwrap();
        if let Some(text) = cut(line, b"old mode ").or(cut(line, b"deleted file mode ")) {
            self.modes.0 = Some(mode(text));
        } else if let Some(text) = cut(line, b"new mode ").or(cut(line, b"new file mode ")) {
            self.modes.1 = Some(mode(text));
        } else if let Some(name) = cut(line, b"rename from ") {
            self.renamed = Some((unquoted(name), Vec::new()));
        } else if let Some(name) = cut(line, b"rename to ") {
            self.renamed.as_mut().expect("from where").1 = unquoted(name);
        } else if let Some(text) = cut(line, b"index ") {
            let text = text.split(|byte| *byte == b' ').next().unwrap();
            let at = text.windows(2).position(|two| two == b"..").unwrap();
            self.index = Some((&text[..at], &text[at + 2..]));
        } else {
            return line.starts_with(b"similarity index ");
        }
        true
    }

    /// Both names. Where they are the same, each is half of what stands behind `diff --git`.
    fn both(&self) -> (Vec<u8>, Vec<u8>) {
        if let Some(both) = &self.renamed {
            let names = [
                quoted(&[b"a/", &both.0[..]].concat()),
                b" ".to_vec(),
                quoted(&[b"b/", &both.1[..]].concat()),
            ];
            assert_eq!(self.names, names.concat());
            return both.clone();
        }
        let half = self.names.len() / 2;
        let (a, b) = (&self.names[..half], &self.names[half + 1..]);
        assert_eq!(self.names[half], b' ');
        let (a, b) = (unquoted(a), unquoted(b));
        let (a, b) = (a.strip_prefix(b"a/").unwrap(), b.strip_prefix(b"b/").unwrap());
        assert_eq!(a, b);
        (a.to_vec(), b.to_vec())
    }
}

fn is_binary(content: &[u8]) -> bool {
    content.iter().take(PROBE_BYTES).any(|byte| *byte == 0)
}

/// What stands behind a word, without the end of the line.
fn cut<'l>(line: &'l [u8], word: &[u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(word)?;
    Some(rest.strip_suffix(b"\n").expect("a whole line"))
}

/// A name that git put into quotes, or one that needed none.
fn unquoted(text: &[u8]) -> Vec<u8> {
    let Some(inside) = text.strip_prefix(b"\"") else {
        return text.to_vec();
    };
    let inside = inside.strip_suffix(b"\"").expect("a quote at the end");
    let mut out = Vec::new();
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let letter = *bytes.next().unwrap();
        out.push(match letter {
            b'0'..=b'3' => {
                let mut digit = || bytes.next().unwrap() - b'0';
                (letter - b'0') << 6 | digit() << 3 | digit()
            }
            other => *ESCAPES
                .iter()
                .find(|(known, _)| *known == other)
                .map(|(_, byte)| byte)
                .unwrap(),
        });
    }
    assert_eq!(quoted(&out), text, "quoted as git does it");
    out
}

const ESCAPES: [(u8, u8); 9] = [
    (b'a', 7),
    (b'b', 8),
    (b't', 9),
    (b'n', 10),
    (b'v', 11),
    (b'f', 12),
    (b'r', 13),
    (b'"', b'"'),
    (b'\\', b'\\'),
];

fn quoted(name: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| (b' '..127).contains(byte) && !matches!(byte, b'"' | b'\\');
    if name.iter().all(plain) {
        return name.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in name {
        match ESCAPES.iter().find(|(_, meant)| meant == byte) {
            Some((letter, _)) => out.extend_from_slice(&[b'\\', *letter]),
            None if plain(byte) => out.push(*byte),
            None => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
    out.push(b'"');
    out
}
