//! One exec, asked of three: the kernel (a child that calls `execve(2)`), the command, and the
//! library (a child that plans). The child is set up the same way for each.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use uexec_core::{Errno, Exec, KERNEL_FORMATS};

use super::place::{one_at_a_time, uexec};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The exec failed with this errno.
    Errno(Errno),
    /// It started and ended with this status.
    Exit(i32),
    /// It, or the exec after its point of no return, was killed.
    Signal(i32),
}

/// Death by a failure after the point of no return.
pub(crate) const DEATH: End = End::Signal(libc::SIGSEGV);

/// What came of it, and what was written on the way.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) end: End,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

type Before = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// An exec to be tried.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) path: Vec<u8>,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) envp: Vec<Vec<u8>>,
    pub(crate) options: Vec<OsString>,
    cwd: PathBuf,
    nobody: bool,
    before: Vec<Before>,
}

impl Ask {
    /// A program in a directory, with its path as only argument and one environment string.
    pub(crate) fn new(cwd: &Path, path: impl Into<Vec<u8>>) -> Ask {
        let path = path.into();
        Ask {
            argv: vec![path.clone()],
            path,
            envp: vec![b"X=1".to_vec()],
            options: vec![],
            cwd: cwd.to_owned(),
            nobody: false,
            before: vec![],
        }
    }

    pub(crate) fn args(mut self, args: &[&[u8]]) -> Ask {
        self.argv.extend(args.iter().map(|a| a.to_vec()));
        self
    }

    /// With this environment.
    pub(crate) fn env(mut self, env: &[&[u8]]) -> Ask {
        self.envp = env.iter().map(|e| e.to_vec()).collect();
        self
    }

    /// An option for the command.
    pub(crate) fn option(mut self, option: impl Into<OsString>) -> Ask {
        self.options.push(option.into());
        self
    }

    /// As a user without privilege: another one, when the tests run as root.
    pub(crate) fn nobody(mut self) -> Ask {
        self.nobody = super::root();
        self
    }

    /// Runs in the child before anything else is.
    pub(crate) fn before(mut self, f: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Ask {
        self.before.push(Arc::new(f));
        self
    }

    /// With another soft limit.
    pub(crate) fn limit(self, which: libc::__rlimit_resource_t, soft: u64) -> Ask {
        self.before(move || set_limit(which, soft))
    }

    /// With nothing randomised.
    pub(crate) fn no_aslr(self) -> Ask {
        self.before(|| uexec_linux::set_personality(0x4_0000).map_err(raw))
    }

    fn set_up(&self) -> io::Result<()> {
        std::env::set_current_dir(&self.cwd)?;
        for before in &self.before {
            before()?;
        }
        if self.nobody { become_nobody() } else { Ok(()) }
    }

    /// A child that does this instead of executing anything.
    fn child(&self, instead: impl Fn(&Ask) -> io::Error + Send + Sync + 'static) -> Seen {
        let ask = self.clone();
        // Never executed: `instead` comes before it.
        let mut command = Command::new("/proc/self/exe");
        let hook = move || {
            if let Err(error) = ask.set_up() {
                eprintln!("setting the child up: {error}");
                leave(99);
            }
            Err(instead(&ask))
        };
        // SAFETY: the tests start children one at a time, glibc makes its allocator usable after
        // fork(2), and nothing else in the hook takes a lock.
        unsafe { command.pre_exec(hook) };
        finish(&mut command)
    }

    /// What the kernel does.
    pub(crate) fn kernel(&self) -> Seen {
        self.child(Ask::execve)
    }

    fn execve(&self) -> io::Error {
        let strings = |all: &[Vec<u8>]| -> Vec<CString> {
            all.iter().map(|s| CString::new(s.clone()).unwrap()).collect()
        };
        let pointers = |all: &[CString]| -> Vec<*const libc::c_char> {
            all.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let path = CString::new(self.path.clone()).unwrap();
        let (argv, envp) = (strings(&self.argv), strings(&self.envp));
        let (argv, envp) = (pointers(&argv), pointers(&envp));
        // SAFETY: path, both arrays and their strings live until the call returns, if it does.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        io::Error::last_os_error()
    }

    /// What the library decides. A plan that can be carried out counts as `Exit(0)`.
    pub(crate) fn library(&self) -> Seen {
        self.child(|ask| {
            let exec = Exec {
                path: ask.path.clone(),
                argv: ask.argv.clone(),
                envp: ask.envp.clone(),
                ..Exec::default()
            };
            let mut host = uexec_linux::Host::new();
            match uexec_core::plan(exec, &mut host, &KERNEL_FORMATS) {
                Err(error) => raw(error.errno()),
                Ok(plan) if plan.death.is_some() => uexec_linux::die(),
                Ok(_) => leave(0),
            }
        })
    }

    /// `uexec VERB` of this exec.
    fn command(&self, verb: &[&str]) -> Command {
        let os = |s: &Vec<u8>| OsString::from_vec(s.clone());
        let mut command = Command::new(uexec());
        command.args(verb).args(&self.options);
        if self.argv[0] != self.path {
            command.arg("--argv0").arg(os(&self.argv[0]));
        }
        if self.path.starts_with(b"-") {
            command.arg("--");
        }
        command.arg(os(&self.path)).args(self.argv[1..].iter().map(os)).env_clear();
        for pair in &self.envp {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let name = halves.next().unwrap_or_default().to_vec();
            let value = halves.next().unwrap_or_default().to_vec();
            command.env(OsString::from_vec(name), OsString::from_vec(value));
        }
        let ask = self.clone();
        // SAFETY: as in `child`.
        unsafe { command.pre_exec(move || ask.set_up()) };
        command
    }

    /// What `uexec explain` says: as text and as JSON.
    pub(crate) fn explain(&self) -> (Seen, serde_json::Value) {
        let text = finish(&mut self.command(&["explain"]));
        let json = finish(&mut self.command(&["explain", "--json"]));
        assert_eq!(json.end, text.end, "{json:?}");
        let value = serde_json::from_slice(&json.stdout);
        (text, value.unwrap_or_else(|error| panic!("{error}: {json:?}")))
    }

    /// What the command does.
    pub(crate) fn uexec(&self) -> Seen {
        let mut seen = finish(&mut self.command(&["run"]));
        if let End::Exit(status) = seen.end
            && let Some(errno) = named_errno(&seen.stderr)
        {
            let right = if errno == Errno::ENOENT { 127 } else { 126 };
            assert_eq!(status, right, "exit status of {errno:?}: {}", seen.stderr);
            seen.end = End::Errno(errno);
        }
        seen
    }
}

/// The errno that a message's first line names.
fn named_errno(message: &str) -> Option<Errno> {
    let line = message.lines().next()?.strip_prefix("uexec: ")?;
    let name = line.rsplit_once('(')?.1.split(')').next()?;
    (1..200).map(Errno).find(|e| e.name() == name)
}

/// Runs a command that reads nothing.
pub(crate) fn finish(command: &mut Command) -> Seen {
    finish_with(command.stdin(Stdio::null()))
}

/// Runs a command whose standard input is set.
pub(crate) fn finish_with(command: &mut Command) -> Seen {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = {
        let _lock = one_at_a_time();
        command.spawn()
    };
    match spawned.and_then(|child| child.wait_with_output()) {
        Ok(output) => Seen::from(output),
        Err(error) => Seen {
            end: End::Errno(Errno(error.raw_os_error().unwrap_or(0) as u16)),
            stdout: vec![],
            stderr: String::new(),
        },
    }
}

impl From<Output> for Seen {
    fn from(output: Output) -> Seen {
        let status = output.status;
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => End::Exit(code),
            (None, signal) => End::Signal(signal.unwrap_or(0)),
        };
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Seen { end, stdout: output.stdout, stderr }
    }
}

pub(crate) fn raw(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0.into())
}

fn leave(status: i32) -> ! {
    // SAFETY: ends the child at once; it has nothing to clean up.
    unsafe { libc::_exit(status) }
}

/// 0 or -1 as a result.
pub(crate) fn check(ret: i32) -> io::Result<()> {
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The id of the user without privilege.
pub(crate) const NOBODY: u32 = 65_534;

fn become_nobody() -> io::Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: likewise.
    check(unsafe { libc::setgid(NOBODY) })?;
    // SAFETY: likewise.
    check(unsafe { libc::setuid(NOBODY) })
}

fn set_limit(which: libc::__rlimit_resource_t, soft: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the structure.
    check(unsafe { libc::getrlimit(which, &raw mut limit) })?;
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: the kernel reads the structure.
    check(unsafe { libc::setrlimit(which, &raw const limit) })
}
