//! `posix_spawn(3)` and `posix_spawnp(3)`.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;

use uexec_capi::strings::{string, strings};
use uexec_core::lookup::candidates;
use uexec_linux::spawn::{Failure, Loader, Spawn, Step};

use crate::actions::{self, Actions};
use crate::arena::Arena;
use crate::exec::{Verdict, decide};
use crate::family::search_path;
use crate::kernel::Array;
use crate::rules;

type Attributes = libc::posix_spawnattr_t;

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn(
    pid: *mut libc::pid_t,
    path: *const c_char,
    file_actions: *const Actions,
    attributes: *const Attributes,
    argv: Array,
    envp: Array,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { start(pid, path, file_actions, attributes, argv, envp, false) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawnp(
    pid: *mut libc::pid_t,
    file: *const c_char,
    file_actions: *const Actions,
    attributes: *const Attributes,
    argv: Array,
    envp: Array,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { start(pid, file, file_actions, attributes, argv, envp, true) }
}

unsafe fn start(
    pid: *mut libc::pid_t,
    path: *const c_char,
    file_actions: *const Actions,
    attributes: *const Attributes,
    argv: Array,
    envp: Array,
    search: bool,
) -> c_int {
    let Some(_arena) = Arena::enter() else { return libc::ENOMEM };
    // SAFETY: null, or the caller's string.
    let Some(name) = (unsafe { string(path) }) else { return libc::EFAULT };
    let found = match search {
        true => candidates(name.to_bytes(), search_path()),
        false => Ok(Vec::new()),
    };
    // An empty name is judged by the child, after attributes and actions.
    let found = found.unwrap_or_default().into_iter().filter_map(|p| CString::new(p).ok());
    let mut tried: Vec<CString> = found.collect();
    if tried.is_empty() {
        tried.push(name.into());
    }
    // SAFETY: the caller's structure.
    let Some((mut steps, mask)) = (unsafe { of_attributes(attributes) }) else {
        return libc::EINVAL;
    };
    // SAFETY: the caller's structure.
    let Some(of_actions) = (unsafe { actions::steps(file_actions) }) else { return libc::EINVAL };
    steps.extend(of_actions);
    steps.extend(mask.map(Step::SignalMask));
    // SAFETY: the caller's array.
    let words = unsafe { strings(argv) };
    // SAFETY: the caller's array.
    let environment = unsafe { strings(envp) };
    // SAFETY: the caller's pointers.
    match unsafe { spawn(&tried, &steps, &words, &environment, (argv, envp)) } {
        Ok(made) => {
            if !pid.is_null() {
                // SAFETY: not null, so it is the caller's variable.
                unsafe { pid.write(made) };
            }
            0
        }
        Err(errno) => errno,
    }
}

/// Starts a program: loaded by uexec, or, where only the kernel can do it, by the kernel.
///
/// # Safety
/// Both arrays are those of the strings.
pub(crate) unsafe fn spawn(
    tried: &[CString],
    steps: &[Step<'_>],
    argv: &[&CStr],
    envp: &[&CStr],
    arrays: (Array, Array),
) -> Result<libc::pid_t, c_int> {
    let loader = Loader::new(&rules::image()).map_err(|e| c_int::from(e.0))?;
    let spawn = Spawn {
        loader: Some(&loader),
        steps,
        candidates: tried,
        shell: false,
        argv,
        envp,
        pidfd: false,
    };
    // SAFETY: the caller of posix_spawn(3) names open descriptors.
    let failure = match unsafe { spawn.spawn() } {
        Ok(spawned) => return Ok(spawned.pid),
        Err(failure) => failure,
    };
    let kernels = match failure {
        Failure::Exec(_, uexec_core::Errno::E2BIG) => true,
        Failure::Exec(i, _) => tried.get(i).is_some_and(|path| {
            // SAFETY: the caller's arrays.
            let verdict = unsafe { decide(libc::AT_FDCWD, path, arrays.0, arrays.1, 0) };
            matches!(verdict, Verdict::Kernel)
        }),
        _ => false,
    };
    if !kernels {
        return Err(failure.errno().0.into());
    }
    // SAFETY: likewise.
    let spawned = unsafe { Spawn { loader: None, ..spawn }.spawn() };
    spawned.map(|s| s.pid).map_err(|failure| failure.errno().0.into())
}

/// What the attributes say, in the order in which libc does it, and the signal mask, which comes
/// last. `None` for what is not known here.
unsafe fn of_attributes<'a>(attributes: *const Attributes) -> Option<(Vec<Step<'a>>, Option<u64>)> {
    let mut steps = Vec::new();
    if attributes.is_null() {
        return Some((steps, None));
    }
    let mut flags = 0;
    // SAFETY: the caller's attributes, and a variable of ours; so everywhere below.
    unsafe { libc::posix_spawnattr_getflags(attributes, &raw mut flags) };
    let has = |flag: c_int| c_int::from(flags) & flag != 0;
    const USEVFORK: c_int = 0x40;
    const SETSID: c_int = 0x80;
    let known = libc::POSIX_SPAWN_RESETIDS
        | libc::POSIX_SPAWN_SETPGROUP
        | libc::POSIX_SPAWN_SETSIGDEF
        | libc::POSIX_SPAWN_SETSIGMASK
        | libc::POSIX_SPAWN_SETSCHEDPARAM
        | libc::POSIX_SPAWN_SETSCHEDULER
        | USEVFORK
        | SETSID;
    if c_int::from(flags) & !known != 0 {
        return None;
    }
    if has(libc::POSIX_SPAWN_SETSIGDEF) {
        let mut set = EMPTY;
        // SAFETY: see above.
        unsafe { libc::posix_spawnattr_getsigdefault(attributes, set.as_mut_ptr().cast()) };
        steps.push(Step::DefaultSignals(set[0]));
    }
    if has(libc::POSIX_SPAWN_SETSCHEDPARAM | libc::POSIX_SPAWN_SETSCHEDULER) {
        let mut param = libc::sched_param { sched_priority: 0 };
        // SAFETY: see above.
        unsafe { libc::posix_spawnattr_getschedparam(attributes, &raw mut param) };
        let mut policy = 0;
        // SAFETY: see above.
        unsafe { libc::posix_spawnattr_getschedpolicy(attributes, &raw mut policy) };
        let policy = has(libc::POSIX_SPAWN_SETSCHEDULER).then_some(policy);
        steps.push(Step::Scheduler(policy, param.sched_priority));
    }
    if has(SETSID) {
        steps.push(Step::Session);
    }
    if has(libc::POSIX_SPAWN_SETPGROUP) {
        let mut group = 0;
        // SAFETY: see above.
        unsafe { libc::posix_spawnattr_getpgroup(attributes, &raw mut group) };
        steps.push(Step::ProcessGroup(group));
    }
    if has(libc::POSIX_SPAWN_RESETIDS) {
        steps.push(Step::ResetIds);
    }
    let mask = has(libc::POSIX_SPAWN_SETSIGMASK).then(|| {
        let mut set = EMPTY;
        // SAFETY: see above.
        unsafe { libc::posix_spawnattr_getsigmask(attributes, set.as_mut_ptr().cast()) };
        set[0]
    });
    Some((steps, mask))
}

/// As long as libc's `sigset_t`, of which the kernel knows the first word.
const EMPTY: [u64; 16] = [0; 16];
const _: () = assert!(size_of::<libc::sigset_t>() <= size_of_val(&EMPTY));
