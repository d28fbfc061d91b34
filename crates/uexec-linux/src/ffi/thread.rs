//! System calls about threads: of this process, and of a helper that traces it. None uses
//! thread-local storage, allocates or takes a lock.

use core::ffi::CStr;
use core::sync::atomic::AtomicU32;

use uexec_core::Errno;

use super::{plain, result};
use crate::arch::{Regs, clone_into, nr, syscall6};

/// Id of the calling thread.
pub(crate) fn gettid() -> i32 {
    plain(nr::GETTID, [0; 6]).unwrap_or(0) as i32
}

/// Id of this process.
pub(crate) fn getpid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// Whether there is such a thread in this process.
pub(crate) fn is_thread(tid: i32) -> bool {
    is_thread_of(getpid(), tid)
}

/// Whether there is such a thread in a process.
pub(crate) fn is_thread_of(pid: i32, tid: i32) -> bool {
    plain(nr::TGKILL, [pid as u64, tid as u64, 0, 0, 0, 0]) != Err(Errno::ESRCH)
}

/// `siginfo_t`.
pub(crate) type SigInfo = [u64; 16];

/// The `si_code` of a signal that a process has queued.
pub(crate) const SI_QUEUE: i32 = -1;

/// Queues a signal with a value to a thread of this process.
pub(crate) fn queue_signal(tid: i32, signal: u64, value: u64) -> Result<(), Errno> {
    let mut info: SigInfo = [0; 16];
    // si_signo and si_errno, si_code; si_pid and si_uid; si_value.
    info[0] = signal;
    info[1] = u64::from(SI_QUEUE as u32);
    info[2] = getpid() as u64;
    info[3] = value;
    queue_info(tid, signal, &info)
}

/// Queues a signal with all that comes with it to a thread of this process.
pub(crate) fn queue_info(tid: i32, signal: u64, info: &SigInfo) -> Result<(), Errno> {
    let to = core::ptr::from_ref(info) as u64;
    // SAFETY: the kernel reads 128 bytes.
    result(unsafe {
        syscall6(nr::RT_TGSIGQUEUEINFO, [getpid() as u64, tid as u64, signal, to, 0, 0])
    })
    .map(drop)
}

/// Queues a signal with all that comes with it to this process.
pub(crate) fn queue_to_process(signal: u64, info: &SigInfo) -> Result<(), Errno> {
    let to = core::ptr::from_ref(info) as u64;
    // SAFETY: the kernel reads 128 bytes.
    result(unsafe { syscall6(nr::RT_SIGQUEUEINFO, [getpid() as u64, signal, to, 0, 0, 0]) })
        .map(drop)
}

/// Signals that are pending for the calling thread or the process.
pub(crate) fn pending() -> u64 {
    let mut set = 0u64;
    // SAFETY: writes 8 bytes.
    let _ = unsafe { syscall6(nr::RT_SIGPENDING, [(&raw mut set) as u64, 8, 0, 0, 0, 0]) };
    set
}

/// Takes a pending signal of the calling thread, or of the process, off its queue.
pub(crate) fn take_signal(signal: u64, info: &mut SigInfo) -> Result<(), Errno> {
    let set = 1u64 << (signal - 1);
    let now = [0u64; 2];
    let args = [(&raw const set) as u64, (&raw mut *info) as u64, (&raw const now) as u64, 8, 0, 0];
    // SAFETY: reads the set and the time, writes 128 bytes.
    result(unsafe { syscall6(nr::RT_SIGTIMEDWAIT, args) }).map(drop)
}

/// `struct sigaction` as the kernel knows it: handler, flags, restorer, mask.
pub(crate) type SigAction = [u64; 4];

/// What is done on a signal.
pub(crate) fn action(signal: u64) -> Result<SigAction, Errno> {
    let mut old: SigAction = [0; 4];
    let args = [signal, 0, (&raw mut old) as u64, 8, 0, 0];
    // SAFETY: only asks; writes 32 bytes.
    result(unsafe { syscall6(nr::RT_SIGACTION, args) }).map(|_| old)
}

/// Sets what is done on a signal.
///
/// # Safety
/// A handler must be sound to be called at any instruction of any thread.
pub(crate) unsafe fn set_action(signal: u64, new: &SigAction) -> Result<(), Errno> {
    let args = [signal, core::ptr::from_ref(new) as u64, 0, 8, 0, 0];
    // SAFETY: reads 32 bytes; the handler is the caller's promise.
    result(unsafe { syscall6(nr::RT_SIGACTION, args) }).map(drop)
}

/// Gives a signal its default action.
pub(crate) fn set_default(signal: u64) {
    // SAFETY: no code of the program is called any more by this.
    let _ = unsafe { set_action(signal, &[0; 4]) };
}

/// Ignores a signal, and forgets where it is pending.
pub(crate) fn set_ignored(signal: u64) {
    // SAFETY: likewise.
    let _ = unsafe { set_action(signal, &[1, 0, 0, 0]) };
}

/// Sets the signal mask of the calling thread; returns the old one.
pub(crate) fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    let args = [2, (&raw const mask) as u64, (&raw mut old) as u64, 8, 0, 0];
    // SAFETY: SIG_SETMASK: reads and writes 8 bytes each.
    let _ = unsafe { syscall6(nr::RT_SIGPROCMASK, args) };
    old
}

/// Waits while the word is `value`, at most so long; also returns for other reasons.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, micros: u64) {
    let time = [micros / 1_000_000, micros % 1_000_000 * 1000];
    // Not the private kind: the helper is a process of its own.
    let args = [word.as_ptr() as u64, 0, value.into(), (&raw const time) as u64, 0, 0];
    // SAFETY: reads the word and the time.
    let _ = unsafe { syscall6(nr::FUTEX, args) };
}

/// Wakes everybody who waits on the word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE reads no memory.
    let _ = unsafe { syscall6(nr::FUTEX, [word.as_ptr() as u64, 1, i32::MAX as u64, 0, 0, 0]) };
}

/// Wakes so many who wait on the futex at this address.
pub(crate) fn futex_wake_at(at: u64, count: u32) {
    let _ = plain(nr::FUTEX, [at, 1, count.into(), 0, 0, 0]);
}

/// Passes on a lock that the kernel knows waiters of.
pub(crate) fn futex_unlock_pi(at: u64) {
    const FUTEX_UNLOCK_PI: u64 = 7;
    let _ = plain(nr::FUTEX, [at, FUTEX_UNLOCK_PI, 0, 0, 0, 0]);
}

/// Whether there is a futex that can be written to at this address: 0 is added to it. One who waits may
/// be woken, and looks again.
pub(crate) fn futex_is_writable(at: u64) -> bool {
    const FUTEX_WAKE_OP: u64 = 5;
    const ADD: u64 = 1 << 28;
    plain(nr::FUTEX, [at, FUTEX_WAKE_OP, 0, 0, at, ADD]).is_ok()
}

/// The head of the calling thread's list of robust futexes.
pub(crate) fn robust_list() -> Option<u64> {
    let (mut head, mut len) = (0u64, 0u64);
    let args = [0, (&raw mut head) as u64, (&raw mut len) as u64, 0, 0, 0];
    // SAFETY: fills the two words.
    result(unsafe { syscall6(nr::GET_ROBUST_LIST, args) }).ok()?;
    (head != 0 && len == 24).then_some(head)
}

/// Lets others run.
pub(crate) fn sched_yield() {
    let _ = plain(nr::SCHED_YIELD, [0; 6]);
}

/// Sleeps, or not so long.
pub(crate) fn sleep(micros: u64) {
    let time = [micros / 1_000_000, micros % 1_000_000 * 1000];
    // SAFETY: reads the time.
    let _ = unsafe { syscall6(nr::NANOSLEEP, [(&raw const time) as u64, 0, 0, 0, 0, 0]) };
}

/// Ends the calling thread, and it alone.
pub(crate) fn exit_thread() -> ! {
    loop {
        let _ = plain(nr::EXIT, [0; 6]);
    }
}

/// `unshare(2)`.
pub(crate) fn unshare(flags: u64) -> Result<(), Errno> {
    plain(nr::UNSHARE, [flags, 0, 0, 0, 0, 0]).map(drop)
}

/// What `kcmp(2)` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    Memory = 1,
    Files = 2,
    Fs = 3,
}

/// Whether two tasks share something.
pub(crate) fn kcmp(a: i32, b: i32, what: Shared) -> Result<bool, Errno> {
    plain(nr::KCMP, [a as u64, b as u64, what as u64, 0, 0, 0]).map(|order| order == 0)
}

/// Destroys an AIO context (`io_destroy(2)`); waits for what is under way.
pub(crate) fn io_destroy(context: u64) {
    // Waits until nothing is written to memory on its behalf any more; the ring goes with it, of
    // which Rust knows nothing.
    let _ = plain(nr::IO_DESTROY, [context, 0, 0, 0, 0, 0]);
}

/// Deletes a POSIX timer.
pub(crate) fn timer_delete(id: u64) -> Result<(), Errno> {
    plain(nr::TIMER_DELETE, [id, 0, 0, 0, 0, 0]).map(drop)
}

/// Closes a descriptor by its number.
///
/// # Safety
/// Nobody may use it any more.
pub(crate) unsafe fn close(fd: i32) {
    // SAFETY: numbers only; the rest is the caller's promise.
    let _ = unsafe { syscall6(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0]) };
}

/// Starts a process that shares memory, descriptors and directories with this one and runs `f`;
/// its end sends no signal. Returns its id.
///
/// # Safety
/// As for [`clone_into`].
pub(crate) unsafe fn start_helper(
    stack_top: u64,
    f: extern "C" fn(u64) -> !,
    argument: u64,
) -> Result<i32, Errno> {
    const CLONE_VM: u64 = 0x100;
    const CLONE_FS: u64 = 0x200;
    const CLONE_FILES: u64 = 0x400;
    // SAFETY: the caller's promise.
    let ret = unsafe { clone_into(CLONE_VM | CLONE_FS | CLONE_FILES, stack_top, f, argument) };
    result(ret).map(|pid| pid as i32)
}

/// Whether to wait.
pub(crate) const WNOHANG: u64 = 1;

/// `wait4(2)` for one child or tracee, of any kind: its status, or `None` when there is no news.
pub(crate) fn wait(pid: i32, flags: u64) -> Result<Option<u32>, Errno> {
    const WALL: u64 = 0x4000_0000;
    let mut status = 0u32;
    loop {
        let args = [pid as u64, (&raw mut status) as u64, WALL | flags, 0, 0, 0];
        // SAFETY: writes one int.
        match result(unsafe { syscall6(nr::WAIT4, args) }) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(status)),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Requests of `ptrace(2)` that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    Seize = 0x4206,
    Interrupt = 0x4207,
    Detach = 17,
}

/// A request whose arguments are numbers.
pub(crate) fn ptrace(request: Trace, tid: i32, data: u64) -> Result<(), Errno> {
    plain(nr::PTRACE, [request as u64, tid as u64, 0, data, 0, 0]).map(drop)
}

/// General registers of a stopped thread.
pub(crate) fn registers(tid: i32) -> Result<Regs, Errno> {
    const PTRACE_GETREGS: u64 = 12;
    let mut regs = Regs::default();
    let args = [PTRACE_GETREGS, tid as u64, 0, (&raw mut regs) as u64, 0, 0];
    // SAFETY: writes one `struct user_regs_struct`.
    result(unsafe { syscall6(nr::PTRACE, args) }).map(|_| regs)
}

/// Sets them.
///
/// # Safety
/// The thread must be sound to go on with them.
pub(crate) unsafe fn set_registers(tid: i32, regs: &Regs) -> Result<(), Errno> {
    const PTRACE_SETREGS: u64 = 13;
    let args = [PTRACE_SETREGS, tid as u64, 0, core::ptr::from_ref(regs) as u64, 0, 0];
    // SAFETY: reads one `struct user_regs_struct`; the rest is the caller's promise.
    result(unsafe { syscall6(nr::PTRACE, args) }).map(drop)
}

/// A word of this process's memory; `EFAULT` where there is none.
pub(crate) fn peek(addr: u64) -> Result<u64, Errno> {
    let mut word = 0u64;
    let (to, from) = ([(&raw mut word) as u64, 8], [addr, 8]);
    let args = [getpid() as u64, (&raw const to) as u64, 1, (&raw const from) as u64, 1, 0];
    // SAFETY: reads two descriptions of 16 bytes and writes 8 bytes to `word`.
    result(unsafe { syscall6(nr::PROCESS_VM_READV, args) })?;
    Ok(word)
}

/// Replaces this process by a program, by the kernel's own `execveat(2)`.
///
/// # Safety
/// Both arrays must hold pointers to C strings and end with a null pointer.
pub(crate) unsafe fn kernel_exec(
    fd: i32,
    path: &CStr,
    argv: *const u64,
    envp: *const u64,
    flags: u32,
) -> Errno {
    let path = path.as_ptr() as u64;
    let args = [fd as u64, path, argv as u64, envp as u64, flags.into(), 0];
    // SAFETY: the path is a C string; the arrays are the caller's promise.
    let ret = unsafe { syscall6(nr::EXECVEAT, args) };
    result(ret).err().unwrap_or(Errno::EINVAL)
}
