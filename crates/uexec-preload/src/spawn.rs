//! `posix_spawn(3)` and `posix_spawnp(3)`, and those of glibc 2.39 that answer a descriptor.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;
use std::os::fd::IntoRawFd;

use uexec_capi::strings::{string, strings};
use uexec_core::lookup::candidates;
use uexec_linux::spawn::{Failure, Loader, Spawn, Spawned, Step};

use crate::actions::{self, Actions};
use crate::arena::Arena;
use crate::cancel::Uncancelled;
use crate::exec::{Verdict, decide, takes_too_much};
use crate::family::search_path;
use crate::kernel::Array;
use crate::rules;

type Attributes = libc::posix_spawnattr_t;

/// One of libc's functions: its name, what it tells the caller, whether it searches.
macro_rules! in_place_of {
    ($name:ident, $told:path, $searches:literal) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            told: *mut c_int,
            path: *const c_char,
            file_actions: *const Actions,
            attributes: *const Attributes,
            argv: Array,
            envp: Array,
        ) -> c_int {
            let told = $told(told);
            // SAFETY: the caller's.
            unsafe { start(told, path, file_actions, attributes, argv, envp, $searches) }
        }
    };
}

in_place_of!(posix_spawn, Started::Pid, false);
in_place_of!(posix_spawnp, Started::Pid, true);
in_place_of!(pidfd_spawn, Started::Pidfd, false);
in_place_of!(pidfd_spawnp, Started::Pidfd, true);

/// Where the caller wants to be told of the child.
#[derive(Clone, Copy)]
enum Started {
    /// Its number; may be null.
    Pid(*mut libc::pid_t),
    /// A descriptor of it.
    Pidfd(*mut c_int),
}

unsafe fn start(
    started: Started,
    path: *const c_char,
    file_actions: *const Actions,
    attributes: *const Attributes,
    argv: Array,
    envp: Array,
    search: bool,
) -> c_int {
    let _uncancelled = Uncancelled::new();
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
    let (mut steps, mask) = match unsafe { of_attributes(attributes) } {
        Ok(steps) => steps,
        Err(errno) => return errno,
    };
    // SAFETY: the caller's structure.
    let Some(of_actions) = (unsafe { actions::steps(file_actions) }) else { return libc::EINVAL };
    steps.extend(of_actions);
    steps.extend(mask.map(Step::SignalMask));
    // SAFETY: the caller's array.
    let words = unsafe { strings(argv) };
    // SAFETY: the caller's array.
    let environment = unsafe { strings(envp) };
    let wants_pidfd = matches!(started, Started::Pidfd(_));
    // SAFETY: the caller's pointers.
    let spawned =
        match unsafe { spawn(&tried, &steps, &words, &environment, (argv, envp), wants_pidfd) } {
            Ok(spawned) => spawned,
            Err(errno) => return errno,
        };
    match (started, spawned.pidfd) {
        (Started::Pid(pid), _) if pid.is_null() => {}
        // SAFETY: not null, so it is the caller's variable.
        (Started::Pid(pid), _) => unsafe { pid.write(spawned.pid) },
        // SAFETY: the caller's variable.
        (Started::Pidfd(place), Some(fd)) => unsafe { place.write(fd.into_raw_fd()) },
        (Started::Pidfd(_), None) => return libc::ENOSYS,
    }
    0
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
    pidfd: bool,
) -> Result<Spawned, c_int> {
    let by = |loader: Option<&Loader>| {
        let spawn = Spawn { loader, steps, candidates: tried, shell: false, argv, envp, pidfd };
        // SAFETY: the caller of posix_spawn(3) names open descriptors, or is told if not.
        unsafe { spawn.spawn() }
    };
    let failure = match Loader::new(&rules::image()) {
        Ok(loader) => match by(Some(&loader)) {
            Ok(spawned) => return Ok(spawned),
            Err(failure) => failure,
        },
        Err(errno) => Failure::Call("memfd_create", errno),
    };
    let kernels = match failure {
        Failure::Exec(_, errno) | Failure::Call(_, errno) if takes_too_much(errno.0.into()) => true,
        Failure::Exec(i, _) => tried.get(i).is_some_and(|path| {
            // SAFETY: the caller's arrays.
            let verdict = unsafe { decide(libc::AT_FDCWD, path, arrays.0, arrays.1, 0) };
            matches!(verdict, Verdict::Kernel)
        }),
        _ => false,
    };
    let failure = match kernels.then(|| by(None)) {
        Some(Ok(spawned)) => return Ok(spawned),
        Some(Err(failure)) => failure,
        None => failure,
    };
    Err(failure.errno().0.into())
}

/// What the attributes say, in the order in which libc does it, and the signal mask, which comes
/// last.
unsafe fn of_attributes<'a>(
    attributes: *const Attributes,
) -> Result<(Vec<Step<'a>>, Option<u64>), c_int> {
    let mut steps = Vec::new();
    if attributes.is_null() {
        return Ok((steps, None));
    }
    let mut flags = 0;
    // SAFETY: the caller's attributes, and a variable of ours; so everywhere below.
    unsafe { libc::posix_spawnattr_getflags(attributes, &raw mut flags) };
    let has = |flag: c_int| c_int::from(flags) & flag != 0;
    const USEVFORK: c_int = 0x40;
    const SETSID: c_int = 0x80;
    const SETCGROUP: c_int = 0x100;
    let known = libc::POSIX_SPAWN_RESETIDS
        | libc::POSIX_SPAWN_SETPGROUP
        | libc::POSIX_SPAWN_SETSIGDEF
        | libc::POSIX_SPAWN_SETSIGMASK
        | libc::POSIX_SPAWN_SETSCHEDPARAM
        | libc::POSIX_SPAWN_SETSCHEDULER
        | USEVFORK
        | SETSID;
    match c_int::from(flags) & !known {
        0 => {}
        // What glibc 2.39 says where it cannot.
        SETCGROUP => return Err(libc::ENOTSUP),
        _ => return Err(libc::EINVAL),
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
    Ok((steps, mask))
}

/// As long as libc's `sigset_t`, of which the kernel knows the first word.
const EMPTY: [u64; 16] = [0; 16];
const _: () = assert!(size_of::<libc::sigset_t>() <= size_of_val(&EMPTY));
