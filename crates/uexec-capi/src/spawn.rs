//! Starting a program in a new process, in the manner of `posix_spawn(3)`: the answer is an errno.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;

use uexec_core::Errno;
use uexec_core::lookup::candidates;
use uexec_linux::spawn::{Failure, Spawn, Step};
use uexec_process::{Formats, SpawnError, loader};

use crate::error::uexec_error;
use crate::strings::{string, strings};

type Array = *const *const c_char;

/// `UEXEC_SPAWN_*` of `uexec.h`.
mod flag {
    pub(super) const SETPGROUP: u32 = 1;
    pub(super) const SETSID: u32 = 2;
    pub(super) const SETUID: u32 = 4;
    pub(super) const SETGID: u32 = 8;
    pub(super) const SETGROUPS: u32 = 16;
    pub(super) const SETSIGMASK: u32 = 32;
    pub(super) const SETSIGDEF: u32 = 64;
    pub(super) const ALLFORMATS: u32 = 128;
    pub(super) const ALL: u32 = 255;
}

/// `struct uexec_how` of `uexec.h`.
#[allow(non_camel_case_types, reason = "the name in C")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct uexec_how {
    /// `sizeof(struct uexec_how)`.
    pub size: usize,
    /// `UEXEC_SPAWN_*`.
    pub flags: u32,
    /// Standard input, output and error of the child; -1 for the caller's.
    pub stdio: [c_int; 3],
    /// Working directory; null for the caller's.
    pub dir: *const c_char,
    /// Process group; 0 for a new one.
    pub pgroup: libc::pid_t,
    /// User.
    pub uid: libc::uid_t,
    /// Group.
    pub gid: libc::gid_t,
    /// How many supplementary groups.
    pub ngroups: u32,
    /// Which.
    pub groups: *const libc::gid_t,
    /// Signal mask; signal 1 is bit 0.
    pub sigmask: u64,
    /// Signals that get their default action.
    pub sigdefault: u64,
    /// Where a descriptor of the child is stored; null if none is wanted.
    pub pidfd: *mut c_int,
}

/// Starts the program at `path`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_spawn(
    pid: *mut libc::pid_t,
    path: *const c_char,
    how: *const uexec_how,
    argv: Array,
    envp: Array,
) -> c_int {
    // SAFETY: the caller's pointers.
    unsafe { spawn(pid, path, how, argv, envp, |path| Ok(vec![path.to_bytes().to_vec()])) }
}

/// Starts the program `file`, looked for in the caller's `PATH`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_spawnp(
    pid: *mut libc::pid_t,
    file: *const c_char,
    how: *const uexec_how,
    argv: Array,
    envp: Array,
) -> c_int {
    use std::os::unix::ffi::OsStrExt;
    let path = std::env::var_os("PATH");
    let search = |file: &CStr| candidates(file.to_bytes(), path.as_ref().map(|p| p.as_bytes()));
    // SAFETY: the caller's pointers.
    unsafe { spawn(pid, file, how, argv, envp, search) }
}

unsafe fn spawn(
    pid: *mut libc::pid_t,
    path: *const c_char,
    how: *const uexec_how,
    argv: Array,
    envp: Array,
    search: impl FnOnce(&CStr) -> Result<Vec<Vec<u8>>, Errno>,
) -> c_int {
    let fail = |call, errno| uexec_error::of_spawn(&SpawnError::call(call, errno)).remember();
    // SAFETY: null, or the caller's string.
    let Some(path) = (unsafe { string(path) }) else { return fail("path", Errno::EFAULT) };
    // SAFETY: null, or the caller's structure.
    let how = unsafe { how.as_ref() };
    if how.is_some_and(|h| h.size != size_of::<uexec_how>() || h.flags & !flag::ALL != 0) {
        return fail("how", Errno::EINVAL);
    }
    let found = search(path).unwrap_or_default().into_iter().filter_map(|p| CString::new(p).ok());
    let mut tried: Vec<CString> = found.collect();
    // An empty name is judged by the child, after its steps.
    if tried.is_empty() {
        tried.push(path.into());
    }
    // SAFETY: the caller's structure, which outlives the call.
    let steps = unsafe { steps(how) };
    // SAFETY: the caller's array.
    let argv = unsafe { strings(argv) };
    // SAFETY: the caller's array.
    let envp = unsafe { strings(envp) };
    let all = how.is_some_and(|h| h.flags & flag::ALLFORMATS != 0);
    let formats = if all { Formats::All } else { Formats::Kernel };
    let loader = match loader(formats) {
        Ok(loader) => loader,
        Err(error) => return uexec_error::of_spawn(&error).remember(),
    };
    let pidfd = how.map_or(std::ptr::null_mut(), |h| h.pidfd);
    let spawn = Spawn {
        loader: Some(loader),
        steps: &steps,
        candidates: &tried,
        shell: false,
        argv: &argv,
        envp: &envp,
        pidfd: !pidfd.is_null(),
    };
    // SAFETY: the caller names open descriptors.
    let spawned = match unsafe { spawn.spawn() } {
        Ok(spawned) => spawned,
        Err(Failure::Exec(i, errno)) => {
            let path = tried.get(i).map(CString::as_c_str).unwrap_or(path);
            let error = SpawnError::of_program(path, &argv, &envp, formats, errno);
            return uexec_error::of_spawn(&error).remember();
        }
        Err(Failure::Step(i, errno)) => {
            return fail(steps.get(i).map_or("set-up", Step::name), errno);
        }
        Err(Failure::Call(call, errno)) => return fail(call, errno),
    };
    if !pid.is_null() {
        // SAFETY: not null, so it is the caller's variable.
        unsafe { pid.write(spawned.pid) };
    }
    if let Some(fd) = spawned.pidfd {
        // SAFETY: one was wanted, so that this is the caller's variable.
        unsafe { pidfd.write(std::os::fd::IntoRawFd::into_raw_fd(fd)) };
    }
    0
}

/// What the child does to itself.
unsafe fn steps<'a>(how: Option<&'a uexec_how>) -> Vec<Step<'a>> {
    let Some(how) = how else { return Vec::new() };
    let has = |flag| how.flags & flag != 0;
    let mut steps = Vec::new();
    if has(flag::SETSIGDEF) {
        steps.push(Step::DefaultSignals(how.sigdefault));
    }
    if has(flag::SETSID) {
        steps.push(Step::Session);
    }
    if has(flag::SETPGROUP) {
        steps.push(Step::ProcessGroup(how.pgroup));
    }
    for (from, to) in how.stdio.into_iter().zip(0..).filter(|(from, _)| *from >= 0) {
        steps.push(Step::Dup { from, to });
    }
    if has(flag::SETGROUPS) && how.ngroups == 0 {
        steps.push(Step::Groups(&[]));
    } else if has(flag::SETGROUPS) {
        // SAFETY: the caller's array of so many.
        let groups = unsafe { std::slice::from_raw_parts(how.groups, how.ngroups as usize) };
        steps.push(Step::Groups(groups));
    }
    if has(flag::SETGID) {
        steps.push(Step::Gid(how.gid));
    }
    if has(flag::SETUID) {
        steps.push(Step::Uid(how.uid));
    }
    // SAFETY: null, or the caller's string.
    if let Some(dir) = unsafe { string(how.dir) } {
        steps.push(Step::Chdir(dir));
    }
    if has(flag::SETSIGMASK) {
        steps.push(Step::SignalMask(how.sigmask));
    }
    steps
}
