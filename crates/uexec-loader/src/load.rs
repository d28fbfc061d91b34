//! What the program does: reads how it was started, plans, prepares. The last step, which replaces
//! it, is left to its entry.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use rustix::fd::{FromRawFd, OwnedFd};
use uexec_core::abi::at;
use uexec_core::world::{At, Sysctl};
use uexec_core::{Errno, Exec, ExecError, Handover, Privileges, Stage, flags, plan};
use uexec_linux::{Caller, Home, Host, Prepared, prepare_at, spawn};

use crate::config::{Call, Config};

/// What the kernel gave the loader.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Its arguments, without NUL.
    pub argv: Vec<Vec<u8>>,
    /// The environment, which is the program's.
    pub envp: Vec<Vec<u8>>,
    /// The auxiliary vector, without its end.
    pub auxv: Vec<(u64, u64)>,
    /// What `AT_EXECFN` points to.
    pub execfn: Vec<u8>,
    /// Where that is.
    pub execfn_at: u64,
}

impl Start {
    /// An entry of the auxiliary vector.
    #[must_use]
    pub fn aux(&self, key: u64) -> Option<u64> {
        self.auxv.iter().find(|p| p.0 == key).map(|p| p.1)
    }
}

/// Why there is nothing to be run.
#[derive(Clone, Debug)]
pub enum Failed {
    /// Refused: what to say, and the exit status.
    Exit(String, u8),
    /// The kernel would have killed the program.
    Death,
}

/// Decides, and does what can still be undone. `random_break`: the loader's own break was placed at
/// random, so `kernel.randomize_va_space` is 2.
///
/// # Errors
/// See [`Failed`].
///
/// # Safety
/// `home` must be this program's, which must have been started by the kernel, and have done nothing
/// but to map memory where there was room.
pub unsafe fn load(
    start: Start,
    mut config: Config,
    random_break: bool,
    home: Home,
) -> Result<Prepared, Failed> {
    let mut host = match &config.known {
        Some(known) => Host::just_started(known, &start.auxv),
        None => Host::new(),
    };
    // The kernel has just executed this program, and placed its stack.
    host.facts_mut().creds.settled = true;
    host.facts_mut().stack_end = Some(home.stack.end);
    if random_break {
        host.learn(Sysctl::RandomizeVaSpace, 2);
    }
    let mut report = None;
    let (mut exec, close) = match (config.call.take(), start.aux(at::EXECFD)) {
        (Some(call), _) => called(start, call),
        (None, Some(fd)) => {
            // SAFETY: the kernel has opened it for this program, which knows it by this number only.
            host.after_exec(unsafe { OwnedFd::from_raw_fd(fd as i32) });
            (handed_over(start, fd as i32), None)
        }
        (None, None) => {
            report = report_to(&start);
            directly(start)?
        }
    };
    let rules = config.misc();
    let formats = config.formats(&rules);
    exec.interps = config.interps;
    let name = String::from_utf8_lossy(&exec.filename()).into_owned();
    let fail = |error: ExecError| match report {
        Some(fd) => {
            spawn::report(fd, error.errno(), spawn::EXEC);
            Failed::Exit(String::new(), 127)
        }
        None => Failed::of(&name, &error),
    };
    let plan = plan(exec, &mut host, &formats).map_err(fail)?;
    if plan.death.is_some() {
        return Err(Failed::Death);
    }
    let caller = Caller::untouched().closing(close).closing(report);
    // It is needed until all of this program is gone.
    let plan = Box::leak(Box::new(plan));
    // SAFETY: the caller's promise.
    unsafe { prepare_at(home, plan, host, &caller) }.map_err(fail)
}

/// An exec in whose place the kernel was made to execute the loader.
fn called(start: Start, call: Call) -> (Exec, Option<i32>) {
    let exec = Exec {
        at: call.dir.map_or(At::Cwd, At::Fd),
        path: call.path,
        flags: call.flags,
        fd_cloexec: call.close,
        argv: start.argv,
        envp: start.envp,
        untold: true,
        ..Exec::default()
    };
    (exec, call.dir.filter(|_| call.close))
}

/// An exec that the kernel has done for the most part: MISC-25, MISC-26, MISC-31.
fn handed_over(start: Start, fd: i32) -> Exec {
    let secureexec = start.aux(at::SECURE) == Some(1);
    let comm = own_comm(&start.execfn).then(|| dentry_name(fd)).flatten();
    Exec {
        at: At::Fd(fd),
        path: Vec::new(),
        flags: flags::AT_EMPTY_PATH,
        argv: start.argv.into_iter().skip(2).collect(),
        envp: start.envp,
        // What there was to be granted has been granted.
        privileges: Privileges::Ignore,
        untold: true,
        handover: Some(Handover { filename: start.execfn, comm, secureexec }),
        ..Exec::default()
    }
}

/// An exec by a descriptor gives the task the name of the file that is mapped (PIPE-30): the
/// loader's, where it ought to be the program's.
fn own_comm(execfn: &[u8]) -> bool {
    let Some(number) = execfn.strip_prefix(b"/dev/fd/") else { return false };
    let mut comm = [0u8; 16];
    let now = rustix::fs::open(
        "/proc/thread-self/comm",
        rustix::fs::OFlags::RDONLY,
        rustix::fs::Mode::empty(),
    )
    .and_then(|f| rustix::io::read(f, &mut comm));
    !number.contains(&b'/')
        && now.is_ok_and(|n| comm.get(..n).is_some_and(|c| c.trim_ascii_end() != number))
}

fn dentry_name(fd: i32) -> Option<Vec<u8>> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{fd}"), Vec::new()).ok()?.into_bytes();
    let name = path.rsplit(|b| *b == b'/').next()?;
    Some(name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec())
}

/// The descriptor that an error goes to, if there is somebody who waits for one.
fn report_to(start: &Start) -> Option<i32> {
    let digits = start.argv.first()?.strip_prefix(spawn::TAG.as_bytes())?.strip_prefix(b":")?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// An exec of the loader's own: see the crate's documentation.
fn directly(start: Start) -> Result<(Exec, Option<i32>), Failed> {
    let mut argv = start.argv.into_iter().skip(1);
    let usage = || Failed::Exit("uexec-loader: it is not for people; see uexec run\n".into(), 125);
    let (Some(at), Some(path)) = (argv.next(), argv.next()) else { return Err(usage()) };
    let (number, close) = match at.strip_prefix(b"-") {
        Some(number) => (number, true),
        None => (at.as_slice(), false),
    };
    let fd: Option<i32> = match number {
        [] if close => None,
        digits => {
            Some(core::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).ok_or_else(usage)?)
        }
    };
    let exec = Exec {
        at: fd.map_or(At::Cwd, At::Fd),
        flags: if path.is_empty() { flags::AT_EMPTY_PATH } else { 0 },
        path,
        fd_cloexec: close && fd.is_some(),
        argv: argv.collect(),
        envp: start.envp,
        untold: true,
        ..Exec::default()
    };
    Ok((exec, fd.filter(|_| close)))
}

impl Failed {
    fn of(name: &str, error: &ExecError) -> Failed {
        let refusal = &error.refusal;
        let status = match (refusal.stage, error.errno()) {
            (Stage::Carry, _) => 125,
            (_, Errno::ENOENT) => 127,
            _ => 126,
        };
        let file = match refusal.file.is_empty() || refusal.file == name.as_bytes() {
            true => String::new(),
            false => format!("{}: ", String::from_utf8_lossy(&refusal.file)),
        };
        Failed::Exit(format!("uexec: {name}: {}: {file}{}\n", error.errno(), refusal.why()), status)
    }
}
