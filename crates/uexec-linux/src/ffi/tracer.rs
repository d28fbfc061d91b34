//! System calls of a tracer that follows a whole tree of processes, each behind a safe function.

use core::ffi::CStr;

use uexec_core::Errno;

use super::{fs_ids, plain, result};
use crate::arch::{nr, syscall6};

const KILL: u64 = 62;
const SETGROUPS: u64 = 116;
const WAITID: u64 = 247;
const CLOSE_RANGE: u64 = 436;

/// How a stopped thread goes on (`ptrace(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Until something that was asked for happens.
    Cont = 7,
    /// Likewise, or until it enters or leaves a system call.
    Syscall = 24,
    /// Until it has carried out one instruction.
    Step = 9,
    /// For itself, no longer traced.
    Detach = 17,
    /// It stays stopped, as a job does, and may be continued by others.
    Listen = 0x4208,
}

/// Lets a stopped thread go on, with a signal or 0. That it has been killed is no error.
pub(crate) fn resume(tid: i32, how: Resume, signal: i32) -> Result<(), Errno> {
    match plain(nr::PTRACE, [how as u64, tid as u64, 0, signal as u64, 0, 0]) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What comes with an event: a new thread's id, or the id a thread had before its exec.
pub(crate) fn event_message(tid: i32) -> Result<u64, Errno> {
    const PTRACE_GETEVENTMSG: u64 = 0x4201;
    let mut message = 0u64;
    let args = [PTRACE_GETEVENTMSG, tid as u64, 0, (&raw mut message) as u64, 0, 0];
    // SAFETY: writes an unsigned long.
    result(unsafe { syscall6(nr::PTRACE, args) }).map(|_| message)
}

/// The signals that a stopped thread blocks: bit 0 is signal 1.
pub(crate) fn signal_mask_of(tid: i32) -> Result<u64, Errno> {
    const PTRACE_GETSIGMASK: u64 = 0x420a;
    let mut mask = 0u64;
    let args = [PTRACE_GETSIGMASK, tid as u64, 8, (&raw mut mask) as u64, 0, 0];
    // SAFETY: writes eight bytes.
    result(unsafe { syscall6(nr::PTRACE, args) }).map(|_| mask)
}

/// Sets them.
pub(crate) fn set_signal_mask_of(tid: i32, mask: u64) -> Result<(), Errno> {
    const PTRACE_SETSIGMASK: u64 = 0x420b;
    let args = [PTRACE_SETSIGMASK, tid as u64, 8, (&raw const mask) as u64, 0, 0];
    // SAFETY: reads eight bytes.
    result(unsafe { syscall6(nr::PTRACE, args) }).map(drop)
}

/// Says anew what is reported of a stopped thread, and of those it will make.
pub(crate) fn set_options(tid: i32, options: u64) -> Result<(), Errno> {
    const PTRACE_SETOPTIONS: u64 = 0x4200;
    plain(nr::PTRACE, [PTRACE_SETOPTIONS, tid as u64, 0, options, 0, 0]).map(drop)
}

/// `struct ptrace_syscall_info` (`include/uapi/linux/ptrace.h`, Linux 5.3).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct CallInfo {
    op: u8,
    pad: [u8; 3],
    pub(crate) arch: u32,
    instruction: u64,
    pub(crate) stack: u64,
    words: [u64; 8],
}

impl CallInfo {
    /// A call that a filter has told of.
    pub(crate) const fn of_filter(arch: u32, number: u32, args: [u64; 6]) -> CallInfo {
        let [a, b, c, d, e, f] = args;
        let words = [number as u64, a, b, c, d, e, f, 0];
        CallInfo { op: 3, pad: [0; 3], arch, instruction: 0, stack: 0, words }
    }

    /// Number and arguments of the call that is being entered, or that the filter has reported.
    pub(crate) fn entered(&self) -> Option<(u64, [u64; 6])> {
        let [number, a, b, c, d, e, f, _] = self.words;
        matches!(self.op, 1 | 3).then_some((number, [a, b, c, d, e, f]))
    }

    /// Whether the thread is at the beginning of a call, stopped there for that alone.
    pub(crate) const fn enters(&self) -> bool {
        self.op == 1
    }

    /// What the call that is being left has returned.
    pub(crate) fn left(&self) -> Option<i64> {
        (self.op == 2).then_some(self.words[0] as i64)
    }
}

/// Where a stopped thread is.
pub(crate) fn call_info(tid: i32) -> Result<CallInfo, Errno> {
    const PTRACE_GET_SYSCALL_INFO: u64 = 0x420e;
    let mut info = CallInfo::default();
    let len = size_of::<CallInfo>() as u64;
    let args = [PTRACE_GET_SYSCALL_INFO, tid as u64, len, (&raw mut info) as u64, 0, 0];
    // SAFETY: writes at most so many bytes, and any bytes are valid numbers.
    result(unsafe { syscall6(nr::PTRACE, args) }).map(|_| info)
}

/// `struct rusage`: times as seconds and microseconds, then counts.
pub(crate) type Rusage = [u64; 18];

/// Something that has happened to a traced thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// The thread.
    pub(crate) tid: i32,
    /// `CLD_…`: 1 to 3 when it has ended, else it has stopped.
    pub(crate) code: i32,
    /// Exit status, or signal, or what it stopped for.
    pub(crate) status: i32,
    /// What it and the children it waited for have used so far.
    pub(crate) usage: Rusage,
}

impl Report {
    /// It has ended (`CLD_EXITED`, `CLD_KILLED`, `CLD_DUMPED`).
    pub(crate) const fn is_end(&self) -> bool {
        matches!(self.code, 1..=3)
    }
}

/// Whom to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Anybody, and the report stays.
    Look,
    /// Anybody who has something to report already, and the report stays.
    LookNow,
    /// This one, if it has something to report already, and the report stays.
    LookAt(i32),
    /// This one, whose report is taken.
    Take(i32),
    /// Anybody whom this very thread traces, and whose report is taken.
    TakeAny,
}

/// `waitid(2)`. `None` if nothing has happened yet.
pub(crate) fn wait(whom: Whom) -> Result<Option<Report>, Errno> {
    const P_ALL: u64 = 0;
    const P_PID: u64 = 1;
    const EXITED_STOPPED_ALL: u64 = 4 | 2 | 0x4000_0000;
    const WNOWAIT: u64 = 0x0100_0000;
    const WNOHANG: u64 = 1;
    const WNOTHREAD: u64 = 0x2000_0000;
    let (kind, id, more) = match whom {
        Whom::Look => (P_ALL, 0, WNOWAIT),
        Whom::LookNow => (P_ALL, 0, WNOWAIT | WNOHANG),
        Whom::LookAt(tid) => (P_PID, tid as u64, WNOWAIT | WNOHANG),
        Whom::Take(tid) => (P_PID, tid as u64, WNOHANG),
        Whom::TakeAny => (P_ALL, 0, WNOTHREAD),
    };
    let mut info = [0i32; 32];
    let mut usage: Rusage = [0; 18];
    let (to, used) = ((&raw mut info) as u64, (&raw mut usage) as u64);
    loop {
        let args = [kind, id, to, EXITED_STOPPED_ALL | more, used, 0];
        // SAFETY: writes a `siginfo_t` of 128 bytes and a `struct rusage` of 144.
        match result(unsafe { syscall6(WAITID, args) }) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    // si_signo, si_errno, si_code, then after four bytes of room si_pid, si_uid, si_status.
    let [_, _, code, _, tid, _, status, ..] = info;
    Ok((tid != 0).then_some(Report { tid, code, status, usage }))
}

/// Reads memory of another process, page by page; returns how much could be read. One call takes
/// 64 KiB at most.
pub(crate) fn read_memory(pid: i32, addr: u64, to: &mut [u8]) -> usize {
    const PAGE: u64 = 4096;
    let mut parts = [[0u64; 2]; 17];
    let (mut at, mut left, mut count) = (addr, to.len() as u64, 0);
    // A part is read as a whole or not at all, so none may reach beyond a page.
    for part in &mut parts {
        let len = left.min(PAGE - at % PAGE);
        if len == 0 {
            break;
        }
        *part = [at, len];
        count += 1;
        let Some(next) = at.checked_add(len) else { break };
        at = next;
        left -= len;
    }
    let local = [to.as_mut_ptr() as u64, to.len() as u64];
    let (to, from) = ((&raw const local) as u64, parts.as_ptr() as u64);
    let args = [pid as u64, to, 1, from, count, 0];
    // SAFETY: reads the descriptions, and writes at most `to.len()` bytes to `to`.
    result(unsafe { syscall6(nr::PROCESS_VM_READV, args) }).unwrap_or(0) as usize
}

/// Writes to memory of a stopped thread, whatever protects it there; zeros fill the last word.
pub(crate) fn write_memory(tid: i32, addr: u64, from: &[u8]) -> Result<(), Errno> {
    const PTRACE_POKEDATA: u64 = 5;
    for (i, bytes) in from.chunks(8).enumerate() {
        let word = bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        plain(nr::PTRACE, [PTRACE_POKEDATA, tid as u64, addr + i as u64 * 8, word, 0, 0])?;
    }
    Ok(())
}

/// Sets this thread's supplementary groups (`setgroups(2)`; the C library would set all threads').
pub(crate) fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    let args = [groups.len() as u64, groups.as_ptr() as u64, 0, 0, 0, 0];
    // SAFETY: reads so many words.
    result(unsafe { syscall6(SETGROUPS, args) }).map(drop)
}

/// Sets this thread's file-system ids (`setfsuid(2)`, which says of no failure); whether it has them
/// now.
pub(crate) fn set_fs_ids(uid: u32, gid: u32) -> bool {
    for (number, id) in [(nr::SETFSGID, gid), (nr::SETFSUID, uid)] {
        let _ = plain(number, [id.into(), 0, 0, 0, 0, 0]);
    }
    fs_ids() == (uid, gid)
}

/// Makes a copy of this process, as `fork(2)`: 0 in the child. `signal` is sent to the parent at the
/// child's end; a child with none is not seen by `wait(2)` (`__WCLONE`).
///
/// # Safety
/// This process must have no other thread, or the child must not need what those had locked.
pub(crate) unsafe fn fork(signal: u64) -> Result<i32, Errno> {
    // SAFETY: no flag and no stack: a copy; the rest is the caller's promise.
    result(unsafe { syscall6(nr::CLONE, [signal, 0, 0, 0, 0, 0]) }).map(|pid| pid as i32)
}

/// Waits for a child, whatever has become of it.
pub(crate) fn wait_child(pid: i32) {
    while plain(nr::WAIT4, [pid as u64, 0, 0, 0, 0, 0]) == Err(Errno::EINTR) {}
}

/// Kills the process of a thread; that it has ended is no error.
pub(crate) fn kill(tid: i32) {
    let _ = plain(KILL, [tid as u64, 9, 0, 0, 0, 0]);
}

/// Ends this process at once.
pub(crate) fn exit(status: u8) -> ! {
    loop {
        let _ = plain(nr::EXIT_GROUP, [status.into(), 0, 0, 0, 0, 0]);
    }
}

/// Closes the descriptors from the first to the last.
pub(crate) fn close_range(first: u32, last: u32) {
    if first <= last && plain(CLOSE_RANGE, [first.into(), last.into(), 0, 0, 0, 0]).is_err() {
        // Before Linux 5.9.
        for fd in first..=last.min(4096) {
            let _ = plain(nr::CLOSE, [fd.into(), 0, 0, 0, 0, 0]);
        }
    }
}

/// Installs a system call filter: instructions as `seccomp(2)` has them.
pub(crate) fn install_filter(program: &[u64]) -> Result<(), Errno> {
    const SECCOMP_SET_MODE_FILTER: u64 = 1;
    let filter: [u64; 2] = [program.len() as u64, program.as_ptr() as u64];
    let args = [SECCOMP_SET_MODE_FILTER, 0, (&raw const filter) as u64, 0, 0, 0];
    // SAFETY: the kernel reads the 16-byte description and the instructions it names.
    result(unsafe { syscall6(nr::SECCOMP, args) }).map(drop)
}

/// Executes a file by the kernel: returns only on failure. The pointers end with a null.
///
/// # Safety
/// Every pointer but the last of both lists is to a C string.
pub(crate) unsafe fn execve(path: &CStr, argv: &[*const u8], envp: &[*const u8]) -> Errno {
    const EXECVE: u64 = 59;
    let args = [path.as_ptr() as u64, argv.as_ptr() as u64, envp.as_ptr() as u64, 0, 0, 0];
    // SAFETY: the path is a C string; the lists are as the caller promises.
    result(unsafe { syscall6(EXECVE, args) }).err().unwrap_or(Errno::EINVAL)
}
