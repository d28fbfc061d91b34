//! The attempts themselves, each the whole life of a process: what they change dies with it.

use std::io::{self, Write};
use std::path::Path;

use rustix::mount::{MountFlags, mount};
use rustix::process::{getgid, getuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::args::doctor::Attempt;
use crate::userns;

/// Makes the attempt; prints the errno, a blank and the call when it fails.
pub(crate) fn attempt(which: Attempt) -> u8 {
    let done = match which {
        Attempt::Userns => userns::enter().map_err(|e| ("unshare(CLONE_NEWUSER)", e)),
        Attempt::Binfmt => own_binfmt_misc(),
        Attempt::Exe => return print_exe(),
        Attempt::SetMm => core("prctl(PR_SET_MM_MAP)", uexec_linux::attempt::set_mm()),
        Attempt::PolicyCheck => {
            core("execveat(AT_EXECVE_CHECK)", uexec_linux::attempt::execve_check())
        }
        Attempt::Ptrace => core("ptrace(PTRACE_TRACEME)", uexec_linux::attempt::trace_me()),
        Attempt::Seccomp => core("seccomp(2)", uexec_linux::attempt::filter_for_tracer()),
    };
    match done {
        Ok(()) => 0,
        Err((call, error)) => {
            let _ = writeln!(io::stdout(), "{} {call}", error.raw_os_error().unwrap_or(0));
            1
        }
    }
}

type Tried = Result<(), (&'static str, io::Error)>;

fn core(call: &'static str, done: Result<(), uexec_core::Errno>) -> Tried {
    done.map_err(|e| (call, io::Error::from_raw_os_error(e.0.into())))
}

/// Namespaces of its own, `binfmt_misc` mounted there, and a rule in it that takes no file.
fn own_binfmt_misc() -> Tried {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    // SAFETY: new namespaces touch neither memory nor descriptors, and there is one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
        .map_err(|e| ("unshare(CLONE_NEWUSER|CLONE_NEWNS)", e.into()))?;
    let write = |path: &str, text: String| std::fs::write(path, text);
    write("/proc/self/setgroups", "deny".into())
        .and_then(|()| write("/proc/self/uid_map", format!("0 {uid} 1")))
        .and_then(|()| write("/proc/self/gid_map", format!("0 {gid} 1")))
        .map_err(|e| ("writing the id maps", e))?;
    // Any directory does: nobody else sees what is mounted here.
    let usual = Path::new("/proc/sys/fs/binfmt_misc");
    let place = if usual.is_dir() { usual } else { Path::new("/proc") };
    mount("binfmt_misc", place, "binfmt_misc", MountFlags::empty(), None)
        .map_err(|e| ("mounting binfmt_misc", e.into()))?;
    std::fs::write(place.join("register"), ":uexec-doctor:E::uexec-doctor::/uexec:")
        .map_err(|e| ("registering a rule", e))
}

fn print_exe() -> u8 {
    let exe = rustix::fs::readlink("/proc/self/exe", Vec::new()).unwrap_or_default();
    let mut out = io::stdout().lock();
    u8::from(out.write_all(exe.as_bytes()).and_then(|()| out.flush()).is_err())
}
