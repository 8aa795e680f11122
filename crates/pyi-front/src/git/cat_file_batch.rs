//! `git cat-file --batch` and `--batch-check`: an answer for each line that is read.
//!
//! Full names of objects are answered here. Any other line is put to a git that runs beside, with the same options, so that refs are read as they are at
//! that moment and everything odd is said in git's words.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pyi_engine::git::{ObjectDatabase, Oid};
use pyi_git::argv::Parsed;

use super::repository::GitRepository;
use super::{Answer, Input, Native, Reason};
use crate::handover;

/// Git's status for what went wrong.
const FATAL: u8 = 128;

pub(super) fn run(parsed: &Parsed<'_>, repository: &GitRepository, input: &Input) -> Native<Answer> {
    let alone = parsed.options().count() == 1 || (parsed.options().count() == 2 && parsed.is_on("buffer"));
    let has_format = parsed.options().any(|given| given.value.is_some());
    if !input.may_stream || !alone || has_format || parsed.operands().next().is_some() || parsed.separator().is_some() {
        return Err(Reason::new("operands"));
    }
    let objects = repository.objects()?;
    let contents = parsed.is_on("batch");
    let status = match answer_lines(repository, objects, contents) {
        Ok(status) => status,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fatal: {error}");
            FATAL
        }
    };
    Ok(Answer::with_status(Vec::new(), status))
}

/// The status: git's, if it had to answer and gave up.
fn answer_lines(repository: &GitRepository, objects: &ObjectDatabase, contents: bool) -> std::io::Result<u8> {
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut beside = None;
    let mut line = Vec::new();
    loop {
        // Whoever waits for an answer before the next question gets it.
        if input.buffer().is_empty() {
            out.flush()?;
        }
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            out.flush()?;
            return Ok(0);
        }
        let asked = line.strip_suffix(b"\n").unwrap_or(&line);
        if !answer(repository, objects, contents, asked, &mut out)? {
            let git = match &mut beside {
                Some(git) => git,
                none => none.insert(Beside::start(repository, contents)?),
            };
            if !git.ask(asked, contents, &mut out)? {
                out.flush()?;
                return Ok(git.end());
            }
        }
    }
}

/// Answers a line, if it is the name of an object that is there.
fn answer(
    repository: &GitRepository,
    objects: &ObjectDatabase,
    contents: bool,
    asked: &[u8],
    out: &mut impl Write,
) -> std::io::Result<bool> {
    let format = repository.git().format();
    let Some(oid) = Oid::from_hex(asked).ok().filter(|oid| oid.format() == format) else {
        return Ok(false);
    };
    if contents {
        let Ok(Some(object)) = objects.read(&oid) else {
            return Ok(false);
        };
        writeln!(out, "{oid} {} {}", object.kind, object.data.len())?;
        out.write_all(&object.data)?;
        out.write_all(b"\n")?;
    } else {
        let Ok(Some((kind, size))) = objects.info(&oid) else {
            return Ok(false);
        };
        writeln!(out, "{oid} {kind} {size}")?;
    }
    Ok(true)
}

/// A git that answers what is not answered here.
struct Beside {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Beside {
    fn start(repository: &GitRepository, contents: bool) -> std::io::Result<Self> {
        let git =
            handover::installed_git().ok_or_else(|| std::io::Error::other("there is no git on PATH; install git"))?;
        let mut child = Command::new(git)
            .arg("-C")
            .arg(repository.here())
            .args(["cat-file", if contents { "--batch" } else { "--batch-check" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let closed = || std::io::Error::other("git has no pipes");
        let questions = Some(child.stdin.take().ok_or_else(closed)?);
        let answers = BufReader::new(child.stdout.take().ok_or_else(closed)?);
        Ok(Beside {
            child,
            questions,
            answers,
        })
    }

    /// Puts one question, and passes the answer on; `false` if it ended instead, and has said why.
    fn ask(&mut self, asked: &[u8], contents: bool, out: &mut impl Write) -> std::io::Result<bool> {
        let gone = || std::io::Error::other("git ended before it answered");
        let questions = self.questions.as_mut().ok_or_else(gone)?;
        questions.write_all(&[asked, b"\n"].concat())?;
        let mut header = Vec::new();
        if self.answers.read_until(b'\n', &mut header)? == 0 {
            return Ok(false);
        }
        out.write_all(&header)?;
        if let Some(size) = content_size(&header).filter(|_| contents) {
            // The line end behind the content too.
            let copied = std::io::copy(&mut (&mut self.answers).take(size + 1), out)?;
            if copied != size + 1 {
                return Err(gone());
            }
        }
        Ok(true)
    }

    /// Its status, when it is gone.
    fn end(&mut self) -> u8 {
        self.questions = None;
        let status = self.child.wait().ok().and_then(|status| status.code());
        status.and_then(|status| u8::try_from(status).ok()).unwrap_or(FATAL)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It ends when it has nothing to read.
        self.questions = None;
        let _ = self.child.wait();
    }
}

/// The size in `NAME KIND SIZE`; none for an answer without content.
fn content_size(header: &[u8]) -> Option<u64> {
    let header = std::str::from_utf8(header.strip_suffix(b"\n")?).ok()?;
    let mut words = header.split(' ');
    let (name, kind, size) = (words.next()?, words.next()?, words.next()?);
    Oid::from_hex(name.as_bytes()).ok()?;
    let is_kind = matches!(kind, "blob" | "tree" | "commit" | "tag");
    if !is_kind || words.next().is_some() {
        return None;
    }
    size.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::content_size;

    #[test]
    fn an_answer_says_whether_content_follows() {
        let name = "d95f3ad14dee633a758d2e331151e950dd13e4ed";
        assert_eq!(content_size(format!("{name} blob 12\n").as_bytes()), Some(12));
        assert_eq!(content_size(format!("{name} missing\n").as_bytes()), None);
        assert_eq!(content_size(format!("{name} blob 12 missing\n").as_bytes()), None);
        assert_eq!(content_size(b"blob commit 5\n"), None);
        assert_eq!(content_size(b" missing\n"), None);
    }
}
