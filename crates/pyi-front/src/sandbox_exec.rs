//! `pyi sandbox-exec`: run one command in a private copy-on-write view of a directory.
//!
//! ```text
//! pyi sandbox-exec [--lower L --upper U --work W --at A] [--chdir D] [--parent PID] [--pid-ns] -- ARGV...
//! ```
//!
//! With the four directories, an overlay of `U` on `L` is mounted at `A` inside a mount namespace of this
//! command alone. `A` is usually `L` itself: absolute paths that were written into `L` (a virtual environment,
//! `node_modules/.bin`) stay valid, and every candidate of a race sees the same path. The kernel takes the
//! mount away with the last process of the namespace, so there is nothing to unmount after `kill -9`.
//!
//! The command dies with whoever started it (`PR_SET_PDEATHSIG`). With `--pid-ns` it runs in a process
//! namespace of its own: whatever it leaves behind, daemons in their own session included, dies with it. Without
//! it the process group is the boundary.
//!
//! Root needs no more than that; anybody else gets a user namespace in which only their own user and group
//! exist. Exit status: the command's (128 + n after signal n), 126 if it is not executable, 127 if it does not
//! exist, 125 if the view could not be made, with one line on stderr that says why.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

/// The view could not be made, or the arguments are wrong.
const EXIT_FAILED: i32 = 125;
const EXIT_NOT_EXECUTABLE: i32 = 126;
const EXIT_NOT_FOUND: i32 = 127;
const EXIT_SIGNAL_BASE: i32 = 128;

/// `volatile` leaves out every sync: the upper layer is read back in this boot or thrown away, and without it the
/// unmount of each candidate would flush the whole file system below. The four switches keep the upper layer
/// self-contained: a renamed directory or a changed mode is copied up whole, so that capture finds bytes there.
const OVERLAY_OPTIONS: [&str; 2] = [
    "redirect_dir=off,index=off,metacopy=off,xino=off,volatile",
    "redirect_dir=off,index=off,metacopy=off,xino=off",
];

/// In a user namespace overlayfs keeps its marks in `user.*` attributes, and then refuses even to be told that the
/// other switches are off: they are.
const OVERLAY_OPTIONS_MAPPED: [&str; 2] = ["userxattr,index=off,xino=off,volatile", "userxattr"];

/// Run with `args` (those behind the verb) and return the exit status.
pub(crate) fn run(args: &[OsString]) -> i32 {
    match Options::parse(args).and_then(|options| options.launch()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("pyi sandbox-exec: {error}");
            EXIT_FAILED
        }
    }
}

/// What went wrong, and in which step.
#[derive(Debug)]
enum Failure {
    Usage(String),
    Orphaned(libc::pid_t),
    System(String, io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => write!(f, "{text} (pyi starts this verb itself; see `pyi race --help`)"),
            Self::Orphaned(parent) => write!(f, "process {parent}, which started this one, is gone"),
            Self::System(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

/// The last error of the system, as the failure of `step`.
fn failed(step: impl Into<String>) -> Failure {
    Failure::System(step.into(), io::Error::last_os_error())
}

fn c_string(text: &OsStr) -> Result<CString, Failure> {
    CString::new(text.as_bytes()).map_err(|_| Failure::Usage(format!("{text:?} contains a NUL byte")))
}

/// The four directories of an overlay.
#[derive(Debug, PartialEq, Eq)]
struct Overlay {
    lower: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    at: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    overlay: Option<Overlay>,
    directory: Option<PathBuf>,
    parent: Option<libc::pid_t>,
    pid_ns: bool,
    argv: Vec<OsString>,
}

impl Options {
    fn parse(args: &[OsString]) -> Result<Self, Failure> {
        let (mut lower, mut upper, mut work, mut at) = (None, None, None, None);
        let (mut directory, mut parent, mut pid_ns) = (None, None, false);
        let mut rest = args.iter();
        let argv: Vec<OsString> = loop {
            let Some(flag) = rest.next() else {
                return Err(Failure::Usage("no command behind `--`".into()));
            };
            let name = flag.to_string_lossy();
            match &*name {
                "--" => break rest.cloned().collect(),
                "--pid-ns" => {
                    pid_ns = true;
                    continue;
                }
                _ => {}
            }
            let value = rest
                .next()
                .ok_or_else(|| Failure::Usage(format!("{name} needs a value")))?;
            match &*name {
                "--lower" => lower = Some(PathBuf::from(value)),
                "--upper" => upper = Some(PathBuf::from(value)),
                "--work" => work = Some(PathBuf::from(value)),
                "--at" => at = Some(PathBuf::from(value)),
                "--chdir" => directory = Some(PathBuf::from(value)),
                "--parent" => {
                    let number = value.to_string_lossy().parse();
                    parent = Some(number.map_err(|_| Failure::Usage(format!("--parent {value:?} is no number")))?);
                }
                _ => return Err(Failure::Usage(format!("unknown option {name}"))),
            }
        };
        if argv.is_empty() {
            return Err(Failure::Usage("no command behind `--`".into()));
        }
        let overlay = match (lower, upper, work, at) {
            (Some(lower), Some(upper), Some(work), Some(at)) => Some(Overlay { lower, upper, work, at }),
            (None, None, None, None) => None,
            _ => {
                return Err(Failure::Usage("--lower, --upper, --work and --at go together".into()));
            }
        };
        Ok(Self {
            overlay,
            directory,
            parent,
            pid_ns,
            argv,
        })
    }

    /// Make the view, run the command in it, wait for it.
    fn launch(&self) -> Result<i32, Failure> {
        let command = Command::new(&self.argv)?;
        if self.overlay.is_some() || self.pid_ns {
            let mapped = enter_namespaces(self.pid_ns)?;
            if let Some(overlay) = &self.overlay {
                overlay.mount(mapped)?;
            }
        }
        // Behind the namespaces: a change of credentials clears the setting.
        die_with_parent(self.parent)?;
        if let Some(directory) = self
            .directory
            .as_ref()
            .or(self.overlay.as_ref().map(|overlay| &overlay.at))
        {
            std::env::set_current_dir(directory)
                .map_err(|error| Failure::System(format!("enter {}", directory.display()), error))?;
        }
        let status = if self.pid_ns {
            supervise_namespace(&command)?
        } else {
            supervise(&command)?
        };
        if let Some(overlay) = &self.overlay {
            // Here and not at exit, where the kernel would do it later and in its own time.
            let at = c_string(overlay.at.as_os_str())?;
            // SAFETY: a NUL-terminated path that outlives the call.
            unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
        }
        Ok(status)
    }
}

impl Overlay {
    fn mount(&self, mapped: bool) -> Result<(), Failure> {
        let at = c_string(self.at.as_os_str())?;
        let variants = if mapped {
            &OVERLAY_OPTIONS_MAPPED
        } else {
            &OVERLAY_OPTIONS
        };
        for (tried, switches) in variants.iter().enumerate() {
            let mut options = Vec::with_capacity(256);
            for (key, path) in [
                ("lowerdir", &self.lower),
                ("upperdir", &self.upper),
                ("workdir", &self.work),
            ] {
                options.extend_from_slice(key.as_bytes());
                options.push(b'=');
                push_escaped(&mut options, path.as_os_str().as_bytes());
                options.push(b',');
            }
            options.extend_from_slice(switches.as_bytes());
            let options = c_string(OsStr::from_bytes(&options))?;
            // SAFETY: all pointers are NUL-terminated strings that outlive the call.
            let result = unsafe {
                libc::mount(
                    c"pyi".as_ptr(),
                    at.as_ptr(),
                    c"overlay".as_ptr(),
                    libc::MS_NODEV,
                    options.as_ptr().cast(),
                )
            };
            if result == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            let last = tried + 1 == variants.len();
            if last || error.raw_os_error() != Some(libc::EINVAL) {
                return Err(Failure::System(
                    format!("mount an overlay at {}", self.at.display()),
                    error,
                ));
            }
        }
        Ok(())
    }
}

/// overlayfs reads `,` as the end of an option and `:` as the next lower layer; a backslash takes that away.
fn push_escaped(options: &mut Vec<u8>, path: &[u8]) {
    for &byte in path {
        if matches!(byte, b',' | b':' | b'\\') {
            options.push(b'\\');
        }
        options.push(byte);
    }
}

/// A private mount namespace (and process namespace). Says whether it took a user namespace to get there.
fn enter_namespaces(pid_ns: bool) -> Result<bool, Failure> {
    // SAFETY: these calls only read the process's credentials.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let wanted = libc::CLONE_NEWNS | if pid_ns { libc::CLONE_NEWPID } else { 0 };
    // SAFETY: unshare takes flags only; the process has one thread.
    let mut mapped = uid != 0 || unsafe { libc::unshare(wanted) } != 0;
    if mapped {
        // SAFETY: as above. A root without CAP_SYS_ADMIN (a container's) comes here too.
        if unsafe { libc::unshare(wanted | libc::CLONE_NEWUSER) } != 0 {
            return Err(failed("make a private namespace (user namespaces may be disabled)"));
        }
        write_map("/proc/self/setgroups", "deny")?;
        write_map("/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
        write_map("/proc/self/gid_map", &format!("{gid} {gid} 1"))?;
        mapped = true;
    }
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the strings are static; source, type and data may be null for a change of propagation.
    if unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) } != 0 {
        return Err(failed("make the mounts private"));
    }
    Ok(mapped)
}

fn write_map(path: &str, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::System(format!("write {path}"), error))
}

/// Ask for SIGTERM when the starter dies; [`kill_group`] turns it into the end of the whole group.
fn die_with_parent(parent: Option<libc::pid_t>) -> Result<(), Failure> {
    let handler = kill_group as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler calls only async-signal-safe functions; prctl reads two integers.
    let result = unsafe {
        libc::signal(libc::SIGTERM, handler);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong)
    };
    if result != 0 {
        return Err(failed("ask for the parent's death signal"));
    }
    // SAFETY: getppid has no preconditions. Without this check a parent that died a moment ago goes unnoticed.
    match parent {
        Some(expected) if unsafe { libc::getppid() } != expected => Err(Failure::Orphaned(expected)),
        _ => Ok(()),
    }
}

extern "C" fn kill_group(_signal: libc::c_int) {
    // SAFETY: both are async-signal-safe. Only a group of our own is ours to kill.
    unsafe {
        if libc::getpgrp() == libc::getpid() {
            libc::kill(0, libc::SIGKILL);
        }
        libc::_exit(EXIT_SIGNAL_BASE + libc::SIGTERM);
    }
}

/// Run the command as a child and wait for it.
fn supervise(command: &Command) -> Result<i32, Failure> {
    match fork()? {
        0 => command.exec(libc::SIGKILL),
        child => wait_for(child),
    }
}

/// Run the command below an init process of its own, whose end is the end of everything below it.
fn supervise_namespace(command: &Command) -> Result<i32, Failure> {
    match fork()? {
        0 => exit(become_init(command).unwrap_or_else(|error| {
            eprintln!("pyi sandbox-exec: {error}");
            EXIT_FAILED
        })),
        init => wait_for(init),
    }
}

/// Process 1 of the namespace: mount its /proc, start the command, reap what is orphaned.
fn become_init(command: &Command) -> Result<i32, Failure> {
    // SAFETY: prctl reads two integers. SIGKILL from the parent namespace is the one signal that init cannot ignore.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) } != 0 {
        return Err(failed("ask for the parent's death signal"));
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: static strings, no data.
    if unsafe {
        libc::mount(
            c"proc".as_ptr(),
            c"/proc".as_ptr(),
            c"proc".as_ptr(),
            flags,
            ptr::null(),
        )
    } != 0
    {
        return Err(failed("mount /proc"));
    }
    match fork()? {
        0 => command.exec(0),
        child => wait_for(child),
    }
}

fn fork() -> Result<libc::pid_t, Failure> {
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(failed("start a process")),
        pid => Ok(pid),
    }
}

/// Wait until `child` ends, reaping others on the way, and translate its status.
fn wait_for(child: libc::pid_t) -> Result<i32, Failure> {
    loop {
        let mut status = 0;
        // SAFETY: status is a valid place for one integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid == child {
            return Ok(if libc::WIFSIGNALED(status) {
                EXIT_SIGNAL_BASE + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            });
        }
        if pid == -1 && io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return Err(failed("wait for the command"));
        }
    }
}

fn exit(status: i32) -> ! {
    // SAFETY: ends the forked child at once, without running the parent's exit handlers a second time.
    unsafe { libc::_exit(status) }
}

/// The command's arguments, ready for exec.
struct Command {
    strings: Vec<CString>,
}

impl Command {
    fn new(argv: &[OsString]) -> Result<Self, Failure> {
        let strings = argv
            .iter()
            .map(|argument| c_string(argument))
            .collect::<Result<_, _>>()?;
        Ok(Self { strings })
    }

    /// Become the command; `death_signal` (0: none) comes when the parent dies.
    fn exec(&self, death_signal: libc::c_int) -> ! {
        let mut pointers: Vec<*const libc::c_char> = self.strings.iter().map(|text| text.as_ptr()).collect();
        pointers.push(ptr::null());
        // SAFETY: the argument vector is null-terminated and its strings outlive the call. Rust's runtime ignores
        // SIGPIPE and that would be inherited; the caught SIGTERM goes back to its default by itself.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            if death_signal != 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, death_signal as libc::c_ulong);
            }
            libc::execvp(pointers[0], pointers.as_ptr());
        }
        let error = io::Error::last_os_error();
        let name: &CStr = &self.strings[0];
        eprintln!("pyi sandbox-exec: {}: {error}", name.to_string_lossy());
        exit(if error.raw_os_error() == Some(libc::ENOENT) {
            EXIT_NOT_FOUND
        } else {
            EXIT_NOT_EXECUTABLE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Failure> {
        Options::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_four_directories_go_together() {
        assert!(parse(&["--lower", "/l", "--", "true"]).is_err());
        let options = parse(&[
            "--lower", "/l", "--upper", "/u", "--work", "/w", "--at", "/l", "--", "true", "--", "x",
        ]);
        assert!(matches!(options, Ok(Options { overlay: Some(_), ref argv, .. }) if argv == &["true", "--", "x"]));
    }

    #[test]
    fn a_command_is_required() {
        for words in [
            &["--pid-ns"][..],
            &["--pid-ns", "--"],
            &["--chdir"],
            &["--wat", "1", "--", "true"],
            &[],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn separators_in_paths_are_escaped() {
        let mut options = Vec::new();
        push_escaped(&mut options, b"/a:b,c\\d");
        assert_eq!(options, b"/a\\:b\\,c\\\\d");
    }
}
