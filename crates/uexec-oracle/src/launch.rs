//! A start of a program: what is executed, and by a process in which state. The child touches no
//! lock and no heap between fork and exec.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use libc::{c_char, pid_t};

use crate::state::State;

/// Statuses of a child from here on mean that a [`State`] could not be set up; below it is the
/// errno of `execve(2)`.
pub(crate) const SETUP_FAILED: i32 = 200;

/// A program to be started, with arguments and environment.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The path that is executed.
    pub path: CString,
    /// The arguments, the first one included.
    pub argv: Vec<CString>,
    /// The environment.
    pub envp: Vec<CString>,
    /// Whether addresses are randomised; otherwise the personality is that of `setarch -R`.
    pub randomize: bool,
    /// What is done, in order, before the exec.
    pub states: Vec<State>,
    /// Where standard output and error go; nowhere by default.
    pub output: Option<Arc<File>>,
}

fn c_string(text: impl AsRef<OsStr>) -> CString {
    let bytes: Vec<u8> = text.as_ref().as_bytes().iter().copied().take_while(|b| *b != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

impl Exec {
    /// This program, with its path as only argument, in an empty environment, not randomised.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Exec {
        let path = c_string(path.as_ref());
        Exec {
            argv: vec![path.clone()],
            path,
            envp: Vec::new(),
            randomize: false,
            states: Vec::new(),
            output: None,
        }
    }

    /// More arguments. Like all text here they end at their first NUL.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Exec {
        self.argv.extend(args.into_iter().map(c_string));
        self
    }

    /// More environment strings, with or without `=`.
    #[must_use]
    pub fn envs<T: AsRef<OsStr>>(mut self, envs: impl IntoIterator<Item = T>) -> Exec {
        self.envp.extend(envs.into_iter().map(c_string));
        self
    }

    /// Something done before the exec.
    #[must_use]
    pub fn state(mut self, state: State) -> Exec {
        self.states.push(state);
        self
    }

    /// The same start by `uexec run`, with its options: the kernel starts `uexec`, and that the
    /// program. The path needs a slash, or `uexec` would look in `PATH`.
    #[must_use]
    pub fn through(&self, uexec: &Path, options: &[&str]) -> Exec {
        let path = c_string(uexec);
        let mut argv = vec![path.clone(), c_string("run")];
        argv.extend(options.iter().map(c_string));
        if let Some(argv0) = self.argv.first().filter(|a| **a != self.path) {
            argv.extend([c_string("--argv0"), argv0.clone()]);
        }
        argv.push(self.path.clone());
        argv.extend(self.argv.iter().skip(1).cloned());
        Exec { path, argv, ..self.clone() }
    }
}

/// Forks and starts. A traced child stops by `SIGSTOP` before anything else.
pub(crate) fn spawn(exec: &Exec, traced: bool) -> io::Result<pid_t> {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&exec.argv), pointers(&exec.envp));
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let output = exec.output.as_ref().map_or(null.as_raw_fd(), |f| f.as_raw_fd());
    let _lock = crate::file_lock();
    // SAFETY: the child only makes system calls on what was prepared above, until it execs or
    // ends; it takes no lock and does not allocate.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => child(exec, &argv, &envp, [null.as_raw_fd(), output], traced),
        pid => Ok(pid),
    }
}

/// The child's whole life before its exec.
fn child(
    exec: &Exec,
    argv: &[*const c_char],
    envp: &[*const c_char],
    [input, output]: [RawFd; 2],
    traced: bool,
) -> ! {
    if traced {
        // SAFETY: numbers only.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize) };
        // SAFETY: numbers only; stops here until the tracer is ready.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
    for (from, to) in [(input, 0), (output, 1), (output, 2)] {
        // SAFETY: numbers only.
        unsafe { libc::dup2(from, to) };
    }
    // SAFETY: numbers only. Nobody uses a descriptor above 2 between here and the exec.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    // SAFETY: numbers only: Rust's runtime ignores SIGPIPE, most programs' parents do not.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if !exec.randomize {
        // SAFETY: numbers only.
        unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    }
    for (i, state) in exec.states.iter().enumerate() {
        if !state.apply() {
            quit(SETUP_FAILED + i.min(50) as i32);
        }
    }
    // SAFETY: the path and both arrays are NUL-terminated, and the arrays end with a null pointer.
    unsafe { libc::execve(exec.path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    quit(io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Whatever this process starts from now on has no random addresses, and nor has what that starts.
pub fn no_aslr_from_now_on() {
    // SAFETY: numbers only; counts from the next exec on.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
}

fn quit(status: i32) -> ! {
    // SAFETY: ends the process at once; nothing of the parent's is flushed or run.
    unsafe { libc::_exit(status) }
}

/// Starts without tracing and waits for the end. Returns the status, negative for the signal that
/// killed it.
///
/// # Errors
/// When there can be no child.
pub fn run(exec: &Exec) -> io::Result<i32> {
    let pid = spawn(exec, false)?;
    loop {
        match crate::sys::wait(pid)?.1 {
            crate::sys::Status::Exited(code) => return Ok(code),
            crate::sys::Status::Killed(signal) => return Ok(-signal),
            _ => {}
        }
    }
}

/// Replaces this process by a program with this process's environment, by `execve(2)` and nothing
/// else.
pub fn execve(program: &[std::ffi::OsString]) -> io::Error {
    let argv: Vec<CString> = program.iter().map(c_string).collect();
    let pair = |(k, v): (std::ffi::OsString, std::ffi::OsString)| {
        c_string(OsStr::from_bytes(&[k.as_bytes(), b"=", v.as_bytes()].concat()))
    };
    let envp: Vec<CString> = std::env::vars_os().map(pair).collect();
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv_pointers, envp) = (pointers(&argv), pointers(&envp));
    // SAFETY: all strings and both arrays are as execve wants them.
    unsafe { libc::execve(argv_pointers[0], argv_pointers.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}
