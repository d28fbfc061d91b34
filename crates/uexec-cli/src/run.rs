//! `uexec run`: finds the program, plans, prepares, commits.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use uexec_core::error::Refusal;
use uexec_core::world::At;
use uexec_core::{
    Errno, Exec, ExecError, KERNEL_FORMATS, Plan, Privileges, Reason, Stage, flags, plan,
};
use uexec_linux::{Caller, Host, die, prepare};

use crate::args::Run;
use crate::{OWN_FAILURE, report, userns};

/// Runs the program; returns an exit status only when it could not be started.
pub(crate) fn run(mut args: Run) -> u8 {
    if args.no_aslr || args.seed.is_some() {
        // Where it is not possible, -v says what differs.
        let _ = uexec_linux::restart_unrandomized();
    }
    if args.userns
        && let Err(error) = userns::enter()
    {
        report::say(format_args!("no own user namespace: {error}"));
        return OWN_FAILURE;
    }
    let argv = std::mem::take(&mut args.program);
    let name = argv.first().cloned().unwrap_or_default();
    let verbose = args.verbose;
    let (mut host, exec, _stdin) = match set_up(args, argv) {
        Ok(parts) => parts,
        Err(error) => {
            report::say(format_args!("{}: {error}", name.display()));
            return OWN_FAILURE;
        }
    };
    let plan = match find_and_plan(exec, &mut host) {
        Ok(plan) => plan,
        Err(error) => {
            report::print(name.as_bytes(), &error);
            return status(&error);
        }
    };
    if verbose > 1 {
        for event in plan.story.events() {
            report::say(format_args!("{:<13} {}", event.stage.as_str(), event.what));
        }
    }
    if let Some(death) = &plan.death {
        let error = ExecError::new(death.clone(), plan.chain.clone(), plan.story.clone());
        report::print(name.as_bytes(), &error);
        die();
    }
    match prepare(&plan, host, &Caller::fresh()) {
        Ok(prepared) => {
            if verbose > 0 {
                for difference in prepared.differences() {
                    report::say(format_args!("not as under the kernel: {difference}"));
                }
            }
            // SAFETY: this process has had one thread since the kernel started it, and it was not
            // started by sharing memory with anybody, as exec gave it an own address space.
            unsafe { prepared.commit() }
        }
        Err(error) => {
            report::print(name.as_bytes(), &error);
            OWN_FAILURE
        }
    }
}

/// The exec as asked for on the command line.
fn set_up(args: Run, words: Vec<OsString>) -> std::io::Result<(Host, Exec, Option<OwnedFd>)> {
    let mut host = Host::new();
    if args.no_aslr {
        host.no_aslr();
    }
    if let Some(seed) = args.seed {
        host.seed(seed);
    }
    let mut argv: Vec<Vec<u8>> = words.into_iter().map(OsString::into_vec).collect();
    let path = argv.first().cloned().unwrap_or_default();
    if let (Some(first), Some(name)) = (argv.first_mut(), args.argv0) {
        *first = name.into_vec();
    }
    let mut exec = Exec {
        path,
        argv,
        envp: environment(args.clear_env, args.env),
        privileges: if args.no_privileges { Privileges::Ignore } else { Privileges::Refuse },
        interp: args.interp.map(OsString::into_vec),
        untold: args.verbose < 2,
        ..Exec::default()
    };
    let mut stdin = None;
    if exec.path == b"-" {
        let fd = program_from_stdin()?;
        exec.at = At::Fd(fd.as_raw_fd());
        exec.fd_cloexec = uexec_linux::is_cloexec(fd.as_raw_fd()).unwrap_or(false);
        exec.flags = flags::AT_EMPTY_PATH;
        exec.path.clear();
        stdin = Some(fd);
    }
    Ok((host, exec, stdin))
}

fn environment(clear: bool, set: Vec<OsString>) -> Vec<Vec<u8>> {
    let mut envp: Vec<Vec<u8>> = match clear {
        true => Vec::new(),
        false => uexec_linux::environment(),
    };
    for pair in set {
        let pair = pair.into_vec();
        let name = pair.iter().position(|b| *b == b'=').map_or(pair.len(), |i| i + 1);
        let same = |e: &&mut Vec<u8>| e.get(..name) == pair.get(..name);
        match envp.iter_mut().find(same) {
            Some(old) => *old = pair,
            None => envp.push(pair),
        }
    }
    envp
}

/// Reads a program from standard input into memory.
fn program_from_stdin() -> std::io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let mut program = Vec::new();
    std::io::stdin().lock().read_to_end(&mut program)?;
    // A script's interpreter has to open the descriptor, so it must stay open then.
    let mut flags = MemfdFlags::CLOEXEC;
    flags.set(MemfdFlags::CLOEXEC, !program.starts_with(b"#!"));
    let fd = memfd_create(c"stdin", flags)?;
    let mut file = std::fs::File::from(fd);
    std::io::Write::write_all(&mut file, &program)?;
    // Nobody may have it open for writing while it is executed: keep a reading descriptor only.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut open = rustix::fs::OFlags::RDONLY;
    open.set(rustix::fs::OFlags::CLOEXEC, flags.contains(MemfdFlags::CLOEXEC));
    Ok(rustix::fs::open(path, open, rustix::fs::Mode::empty())?)
}

/// Plans the exec; a name without a slash is looked for in PATH as `execvp(3)` does.
fn find_and_plan(exec: Exec, host: &mut Host) -> Result<Plan, ExecError> {
    if exec.path.contains(&b'/') || exec.at != At::Cwd || exec.path.is_empty() {
        return plan(exec, host, &KERNEL_FORMATS);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
    let not_in_path = Refusal::new(Stage::Path, Reason::NotInPath);
    let mut missing = ExecError::from(not_in_path);
    let mut denied = None;
    for dir in path.as_bytes().split(|b| *b == b':') {
        let mut candidate = dir.to_vec();
        if !dir.is_empty() {
            candidate.push(b'/');
        }
        candidate.extend_from_slice(&exec.path);
        match plan(Exec { path: candidate, ..exec.clone() }, host, &KERNEL_FORMATS) {
            Err(e) if e.errno() == Errno::EACCES => denied = denied.or(Some(e)),
            Err(e) if goes_on(e.errno()) => {
                // A program that is there but misses its interpreter says more than one that is
                // not there.
                if e.refusal.stage > Stage::Open && missing.refusal.stage == Stage::Path {
                    missing = e;
                }
            }
            other => return other,
        }
    }
    Err(denied.unwrap_or(missing))
}

/// Errors after which `execvp(3)` tries the next directory, besides `EACCES` (ERR-71).
fn goes_on(errno: Errno) -> bool {
    const ETIMEDOUT: Errno = Errno(110);
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | ETIMEDOUT)
}

/// 127 for what is not there, 126 for what is refused, 125 for what uexec could not do.
fn status(error: &ExecError) -> u8 {
    match (error.refusal.stage, error.errno()) {
        (Stage::Carry, _) => OWN_FAILURE,
        (_, Errno::ENOENT) => 127,
        _ => 126,
    }
}
