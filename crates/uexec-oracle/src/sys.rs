//! The system calls of a tracer, each behind a safe function. Nothing is decided here.
//!
//! All but one act on another process, which is named by its id; what they write of this one is
//! the place that a reference gives them.

use std::io;
use std::mem::MaybeUninit;

use libc::{c_int, c_long, c_void, pid_t};

/// What `waitpid(2)` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It has ended with this status.
    Exited(i32),
    /// A signal has killed it.
    Killed(i32),
    /// It is about to get this signal.
    Signal(i32),
    /// It enters or leaves a system call.
    Syscall,
    /// A `PTRACE_EVENT_*` stop.
    Event(i32),
}

fn ok(ret: c_long) -> io::Result<c_long> {
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Whether somebody has the file open for writing: a lease for reading can then not be had.
pub(crate) fn has_writers(file: &std::fs::File) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: a descriptor and numbers are passed.
    let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } == 0;
    !leased && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

/// Waits for one process, or with -1 for any process this thread has started or traces.
pub(crate) fn wait(pid: pid_t) -> io::Result<(pid_t, Status)> {
    let mut status: c_int = 0;
    let flags = libc::__WALL | if pid == -1 { libc::__WNOTHREAD } else { 0 };
    loop {
        // SAFETY: writes one int to a valid place.
        let got = unsafe { libc::waitpid(pid, &raw mut status, flags) };
        match ok(got.into()) {
            Ok(_) => return Ok((got, decode(status))),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn decode(status: c_int) -> Status {
    if libc::WIFEXITED(status) {
        return Status::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Status::Killed(libc::WTERMSIG(status));
    }
    match (status >> 16, libc::WSTOPSIG(status)) {
        (0, s) if s == libc::SIGTRAP | 0x80 => Status::Syscall,
        (0, s) => Status::Signal(s),
        (event, _) => Status::Event(event),
    }
}

/// `ptrace(2)` requests whose arguments are numbers only.
fn ptrace_plain(request: libc::c_uint, pid: pid_t, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: private to this file, and used only for requests that neither read nor write this
    // process's memory.
    let ret = unsafe { libc::ptrace(request, pid, addr, data) };
    ok(ret).map(drop)
}

/// Sets the options; the tracee dies with its tracer whatever they are.
pub(crate) fn set_options(pid: pid_t, options: c_int) -> io::Result<()> {
    let options = options | libc::PTRACE_O_EXITKILL;
    ptrace_plain(libc::PTRACE_SETOPTIONS, pid, 0, options as usize)
}

/// How a stopped tracee goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    /// Until something happens.
    Cont,
    /// Until it enters or leaves a system call.
    Syscall,
    /// One instruction.
    Step,
}

/// Lets a tracee go on, with a signal or 0.
pub(crate) fn resume(pid: pid_t, how: Go, signal: i32) -> io::Result<()> {
    let request = match how {
        Go::Cont => libc::PTRACE_CONT,
        Go::Syscall => libc::PTRACE_SYSCALL,
        Go::Step => libc::PTRACE_SINGLESTEP,
    };
    ptrace_plain(request, pid, 0, signal as usize)
}

/// Lets a tracee go without tracing it any longer.
pub(crate) fn detach(pid: pid_t) -> io::Result<()> {
    ptrace_plain(libc::PTRACE_DETACH, pid, 0, 0)
}

/// Fills a structure of integers by a `ptrace(2)` request that writes to `data`.
fn ptrace_get<T: Integers>(request: libc::c_uint, pid: pid_t) -> io::Result<T> {
    let mut data = MaybeUninit::<T>::zeroed();
    let addr = if request == PTRACE_GET_SYSCALL_INFO { size_of::<T>() } else { 0 };
    // SAFETY: the requests used write at most the structure they are defined with, which `T` is.
    let ret = unsafe { libc::ptrace(request, pid, addr, data.as_mut_ptr().cast::<c_void>()) };
    ok(ret)?;
    // SAFETY: zeroed before and made of integers, so any bytes the kernel wrote are valid.
    Ok(unsafe { data.assume_init() })
}

/// Marks structures that consist of integers only.
trait Integers {}
impl Integers for libc::user_regs_struct {}
impl Integers for libc::user_fpregs_struct {}
impl Integers for SyscallInfo {}

/// General registers.
pub(crate) fn registers(pid: pid_t) -> io::Result<libc::user_regs_struct> {
    ptrace_get(libc::PTRACE_GETREGS, pid)
}

/// x87 and SSE registers.
pub(crate) fn fp_registers(pid: pid_t) -> io::Result<libc::user_fpregs_struct> {
    ptrace_get(libc::PTRACE_GETFPREGS, pid)
}

const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;

/// `struct ptrace_syscall_info` (`ptrace(2)`, Linux 5.3), for a stop at the entry.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct SyscallInfo {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
    pub(crate) nr: u64,
    pub(crate) args: [u64; 6],
    ret_data: u64,
}

/// The system call that a tracee is about to make; `None` when it stopped after one.
pub(crate) fn syscall_entry(pid: pid_t) -> io::Result<Option<SyscallInfo>> {
    const ENTRY: u8 = 1;
    let info: SyscallInfo = ptrace_get(PTRACE_GET_SYSCALL_INFO, pid)?;
    Ok((info.op == ENTRY).then_some(info))
}

/// Id of the process that a fork event is about, or other news of an event.
pub(crate) fn event_message(pid: pid_t) -> io::Result<u64> {
    let mut message = 0u64;
    let to = (&raw mut message).cast::<c_void>();
    // SAFETY: writes one unsigned long to a valid place.
    let ret = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, 0usize, to) };
    ok(ret).map(|_| message)
}

/// Reads another process's memory; how much there is of it.
pub(crate) fn read_memory(pid: pid_t, addr: u64, buf: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: addr as *mut c_void, iov_len: buf.len() };
    // SAFETY: writes at most `buf.len()` bytes to `buf`; the other side is not our memory.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    ok(n as c_long).map(|n| n as usize)
}

/// Kills a child and waits until it is gone.
pub(crate) fn kill_and_reap(pid: pid_t) {
    // SAFETY: no memory is involved; the child has not been waited for, so the id is still its.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    while let Ok((_, status)) = wait(pid) {
        if matches!(status, Status::Exited(_) | Status::Killed(_)) {
            break;
        }
    }
}

/// The head of the robust-futex list of a stopped process, 0 for none.
pub(crate) fn robust_list(pid: pid_t) -> io::Result<u64> {
    let (mut head, mut len) = (0u64, 0u64);
    let (to_head, to_len) = (&raw mut head, &raw mut len);
    // SAFETY: writes two words to valid places.
    let ret = unsafe { libc::syscall(libc::SYS_get_robust_list, pid, to_head, to_len) };
    ok(ret).map(|_| head)
}
