//! The attempts themselves, each the whole life of a process: what they change dies with it.

use std::io::{self, Write};
use std::path::Path;

use crate::args::doctor::Attempt;
use crate::tree::namespace::{self, Tried};
use crate::userns;

/// Makes the attempt; prints the errno, a blank and the call when it fails.
pub(crate) fn attempt(which: Attempt) -> u8 {
    let done = match which {
        Attempt::Userns => userns::enter().map_err(|e| ("unshare(CLONE_NEWUSER)", e)),
        Attempt::Binfmt => own_binfmt_misc(),
        Attempt::Exe => return print_exe(),
        Attempt::Tree => super::trial::kernel_runs(&super::trial::x86_64())
            .map_err(|e| ("a child", io::Error::other(e))),
        Attempt::SetMm => core("prctl(PR_SET_MM_MAP)", uexec_linux::attempt::set_mm()),
        Attempt::PolicyCheck => {
            core("execveat(AT_EXECVE_CHECK)", uexec_linux::attempt::execve_check())
        }
        Attempt::Ptrace => core("ptrace(PTRACE_TRACEME)", uexec_linux::attempt::trace_me()),
        Attempt::Notify => core("asking a process aside", crate::tree::ask_aside()),
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

fn core(call: &'static str, done: Result<(), uexec_core::Errno>) -> Tried {
    done.map_err(|e| (call, io::Error::from_raw_os_error(e.0.into())))
}

/// Namespaces of its own, `binfmt_misc` mounted there, and a rule in it that takes no file.
fn own_binfmt_misc() -> Tried {
    let rule = |place: &Path| {
        std::fs::write(place.join("register"), ":uexec-doctor:E::uexec-doctor::/uexec:")
            .map_err(|e| ("registering a rule", e))
    };
    namespace::enter(rule)
}

fn print_exe() -> u8 {
    let exe = rustix::fs::readlink("/proc/self/exe", Vec::new()).unwrap_or_default();
    let mut out = io::stdout().lock();
    u8::from(out.write_all(exe.as_bytes()).and_then(|()| out.flush()).is_err())
}
