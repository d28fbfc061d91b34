//! System calls that rustix does not have, each behind a safe function. Nothing is decided here.

pub(crate) mod child;
pub(crate) mod dump;

use core::ffi::CStr;

use rustix::fd::{AsRawFd, BorrowedFd};

use uexec_core::Errno;

use crate::arch::{nr, syscall6};

pub(crate) mod ia32;
pub(crate) mod listener;
pub(crate) mod pass_on;
pub(crate) mod schedule;
pub(crate) mod thread;
pub(crate) mod tracer;

pub(crate) fn result(ret: i64) -> Result<u64, Errno> {
    if (-4095..0).contains(&ret) { Err(Errno(-ret as u16)) } else { Ok(ret as u64) }
}

/// A system call whose arguments are numbers only.
///
/// Callers in this file pass calls that touch no memory of the process.
fn plain(nr: u64, args: [u64; 6]) -> Result<u64, Errno> {
    // SAFETY: private to this file, and used only for calls that neither read nor write memory
    // and do not change mappings.
    result(unsafe { syscall6(nr, args) })
}

const AT_EMPTY_PATH: u64 = 0x1000;
const AT_EACCESS: u64 = 0x200;
const AT_EXECVE_CHECK: u64 = 0x1_0000;

/// Asks the kernel whether it would execute the open file: `execveat(2)` with
/// `AT_EXECVE_CHECK`. Nothing is executed: kernels that do not know the flag say `EINVAL`.
pub(crate) fn execve_check(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = c"";
    let argv = [path.as_ptr() as u64, 0];
    let envp = &raw const argv[1] as u64;
    execveat(fd, argv.as_ptr() as u64, envp)
}

/// Asks the kernel whether it would open the file for execution, and no more: the arguments,
/// which come next, cannot be read, so that the answer of a file that may be opened is `EFAULT`.
pub(crate) fn exec_open_check(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match execveat(fd, u64::MAX, u64::MAX) {
        Err(Errno::EFAULT) => Ok(()),
        other => other,
    }
}

fn execveat(fd: BorrowedFd<'_>, argv: u64, envp: u64) -> Result<(), Errno> {
    let path = c"".as_ptr() as u64;
    let flags = AT_EMPTY_PATH | AT_EXECVE_CHECK;
    let args = [fd.as_raw_fd() as u64, path, argv, envp, flags, 0];
    // SAFETY: path and arrays are valid or refused by the kernel; with this flag it never
    // replaces the process.
    result(unsafe { syscall6(nr::EXECVEAT, args) }).map(drop)
}

/// `faccessat2(2)` of an open file: may the effective user execute it?
pub(crate) fn access_exec(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let args = [fd.as_raw_fd() as u64, c"".as_ptr() as u64, 1, AT_EMPTY_PATH | AT_EACCESS, 0, 0];
    // SAFETY: the path is a static C string.
    result(unsafe { syscall6(nr::FACCESSAT2, args) }).map(drop)
}

/// Reads an extended attribute of an open file; returns how much of `buf` it fills.
pub(crate) fn fgetxattr(fd: BorrowedFd<'_>, name: &CStr, buf: &mut [u8]) -> Result<usize, Errno> {
    let args = [
        fd.as_raw_fd() as u64,
        name.as_ptr() as u64,
        buf.as_mut_ptr() as u64,
        buf.len() as u64,
        0,
        0,
    ];
    // SAFETY: the kernel writes at most `buf.len()` bytes to `buf`.
    result(unsafe { syscall6(nr::FGETXATTR, args) }).map(|n| n as usize)
}

/// Pairs of the auxiliary vector this process was started with (`PR_GET_AUXV`, Linux 6.4).
pub(crate) fn own_auxv(buf: &mut [[u64; 2]]) -> Result<(), Errno> {
    const PR_GET_AUXV: u64 = 0x4155_5856;
    let args = [PR_GET_AUXV, buf.as_mut_ptr() as u64, size_of_val(buf) as u64, 0, 0, 0];
    // SAFETY: the kernel writes at most so many bytes to `buf`, and any bytes are valid numbers.
    result(unsafe { syscall6(nr::PRCTL, args) }).map(drop)
}

/// `struct procmap_query` (`include/uapi/linux/fs.h`, Linux 6.11).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct MapQuery {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    dev: [u32; 2],
    name_size: u32,
    build_id_size: u32,
    name_addr: u64,
    build_id_addr: u64,
}

/// The mapping that covers `addr` or is the next above it, asked of an open `/proc/PID/maps`,
/// with its name.
pub(crate) fn map_query(
    fd: BorrowedFd<'_>,
    addr: u64,
    name: &mut [u8; 32],
) -> Result<MapQuery, Errno> {
    const PROCMAP_QUERY: u64 = 0xc068_6611;
    const COVERING_OR_NEXT: u64 = 0x10;
    let mut query = MapQuery {
        size: size_of::<MapQuery>() as u64,
        query_flags: COVERING_OR_NEXT,
        query_addr: addr,
        name_size: name.len() as u32,
        name_addr: name.as_mut_ptr() as u64,
        ..MapQuery::default()
    };
    let args = [fd.as_raw_fd() as u64, PROCMAP_QUERY, (&raw mut query) as u64, 0, 0, 0];
    // SAFETY: the kernel writes to `query` and at most `name.len()` bytes to `name`.
    result(unsafe { syscall6(nr::IOCTL, args) })?;
    Ok(query)
}

/// `_LINUX_CAPABILITY_VERSION_3` and "this thread" (`capget(2)`).
pub(crate) const CAP_HEADER: [u32; 2] = [0x2008_0522, 0];

/// Effective, permitted and inheritable capabilities of this thread.
pub(crate) fn capget() -> Result<[u64; 3], Errno> {
    let header = CAP_HEADER;
    let mut data = [[0u32; 3]; 2];
    let args = [(&raw const header) as u64, (&raw mut data) as u64, 0, 0, 0, 0];
    // SAFETY: version 3 reads the 8-byte header and writes two triples of words.
    result(unsafe { syscall6(nr::CAPGET, args) })?;
    let word = |i: usize| u64::from(data[0][i]) | u64::from(data[1][i]) << 32;
    Ok([word(0), word(1), word(2)])
}

/// Sets them, in the same order.
pub(crate) fn capset(sets: [u64; 3]) -> Result<(), Errno> {
    let header = CAP_HEADER;
    let data = [0, 32].map(|shift| sets.map(|set| (set >> shift) as u32));
    let args = [(&raw const header) as u64, (&raw const data) as u64, 0, 0, 0, 0];
    // SAFETY: version 3 reads the 8-byte header and two triples of words.
    result(unsafe { syscall6(nr::CAPSET, args) }).map(drop)
}

/// `prctl(2)` with numbers only.
pub(crate) fn prctl(option: u64, a: u64, b: u64) -> Result<u64, Errno> {
    plain(nr::PRCTL, [option, a, b, 0, 0, 0])
}

/// A `prctl(2)` that answers by writing a word.
pub(crate) fn prctl_word(option: u64) -> Result<u64, Errno> {
    let mut word = 0u64;
    // SAFETY: the options used write an int or a long.
    result(unsafe { syscall6(nr::PRCTL, [option, (&raw mut word) as u64, 0, 0, 0, 0]) })?;
    Ok(word)
}

/// `personality(2)` that asks.
pub(crate) fn personality() -> u32 {
    plain(nr::PERSONALITY, [0xffff_ffff, 0, 0, 0, 0, 0]).unwrap_or(0) as u32
}

/// `personality(2)` that sets.
pub(crate) fn set_personality(persona: u32) -> Result<(), Errno> {
    plain(nr::PERSONALITY, [persona.into(), 0, 0, 0, 0, 0]).map(drop)
}

/// A resource limit, soft and hard (`getrlimit(2)`); `None` where it may not be asked.
///
/// rustix takes it that this cannot fail. A seccomp filter can refuse it, though, and a limit that
/// nobody has written must not be handed on.
pub(crate) fn limit(resource: u64) -> Option<[u64; 2]> {
    let mut limit = [0u64; 2];
    let to = (&raw mut limit) as u64;
    // SAFETY: asks for this process's own; the kernel writes both 64-bit words.
    let asked = result(unsafe { syscall6(nr::PRLIMIT64, [0, resource, 0, to, 0, 0]) });
    // SAFETY: likewise.
    let asked =
        asked.or_else(|_| result(unsafe { syscall6(nr::GETRLIMIT, [resource, to, 0, 0, 0, 0]) }));
    asked.ok().map(|_| limit)
}

/// Whether this is a signal handler's alternate stack (`sigaltstack(2)`).
pub(crate) fn is_on_alternate_stack() -> bool {
    const SS_ONSTACK: u64 = 1;
    let mut old = [0u64; 3];
    // SAFETY: asks; fills the three words.
    let asked = unsafe { syscall6(nr::SIGALTSTACK, [0, (&raw mut old) as u64, 0, 0, 0, 0]) };
    result(asked).is_ok() && old[1] & SS_ONSTACK != 0
}

/// File-system user and group id of this thread (`setfsuid(2)` with an id that cannot be).
pub(crate) fn fs_ids() -> (u32, u32) {
    let ask = |nr| plain(nr, [u64::from(u32::MAX), 0, 0, 0, 0, 0]).unwrap_or(0) as u32;
    (ask(nr::SETFSUID), ask(nr::SETFSGID))
}

/// Which ids are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    User,
    Group,
}

/// Real, effective and saved id (`getresuid(2)`, `getresgid(2)`).
pub(crate) fn res_ids(which: Ids) -> (u32, u32, u32) {
    let mut ids = [0u32; 3];
    let [r, e, s] = &mut ids;
    let nr = if which == Ids::User { nr::GETRESUID } else { nr::GETRESGID };
    let args = [(r as *mut u32) as u64, (e as *mut u32) as u64, (s as *mut u32) as u64, 0, 0, 0];
    // SAFETY: the kernel writes one 32-bit id to each of three valid places.
    let _ = result(unsafe { syscall6(nr, args) });
    (ids[0], ids[1], ids[2])
}

/// What this process does on a signal: 0 default, 1 ignored, else the handler's address.
pub(crate) fn signal_handler(signal: u64) -> Result<u64, Errno> {
    let mut action = [0u64; 4];
    let args = [signal, 0, (&raw mut action) as u64, 8, 0, 0];
    // SAFETY: only asks; the kernel writes its 32-byte `struct sigaction`.
    result(unsafe { syscall6(nr::RT_SIGACTION, args) })?;
    Ok(action[0])
}

/// This thread's signal mask.
pub(crate) fn signal_mask() -> u64 {
    let mut mask = 0u64;
    let args = [0, 0, (&raw mut mask) as u64, 8, 0, 0];
    // SAFETY: only asks; the kernel writes 8 bytes.
    let _ = result(unsafe { syscall6(nr::RT_SIGPROCMASK, args) });
    mask
}

/// Dies by `SIGSEGV` as a process does whose exec fails after the point of no return (PIPE-50).
pub(crate) fn die_by_segv() -> ! {
    die_by(11)
}

/// Dies by a signal with its default action and without a core dump.
pub(crate) fn die_by(signal: u64) -> ! {
    const PR_SET_DUMPABLE: u64 = 4;
    let _ = prctl(PR_SET_DUMPABLE, 0, 0);
    let default = [0u64; 4];
    // SAFETY: sets the default action from a valid 32-byte `struct sigaction`.
    let _ =
        unsafe { syscall6(nr::RT_SIGACTION, [signal, (&raw const default) as u64, 0, 8, 0, 0]) };
    let none = !(1u64 << (signal.clamp(1, 64) - 1));
    // SAFETY: SIG_SETMASK from a valid 8-byte set.
    let _ = unsafe { syscall6(nr::RT_SIGPROCMASK, [2, (&raw const none) as u64, 0, 8, 0, 0]) };
    let _ = thread::queue_signal(thread::gettid(), signal, 0);
    // Not reached: the signal is unblocked and has its default action.
    loop {
        let _ = plain(nr::EXIT_GROUP, [128 + signal, 0, 0, 0, 0, 0]);
    }
}

/// Bytes of this process's memory that stay as they are for its whole life: the vdso's code.
///
/// `None` when `addr` is 0 or the length is unreasonable.
pub(crate) fn vdso_code(addr: u64, len: u64) -> Option<&'static [u8]> {
    if addr == 0 || !(4096..=1 << 20).contains(&len) {
        return None;
    }
    // SAFETY: the kernel maps the vdso readable at the address it gave in AT_SYSINFO_EHDR, so
    // long as it says; the bytes are never written.
    Some(unsafe { core::slice::from_raw_parts(addr as *const u8, len as usize) })
}

/// Whether the page at `addr` belongs to some mapping.
pub(crate) fn is_mapped(addr: u64) -> bool {
    let mut resident = [0u8; 1];
    let args = [addr, 4096, resident.as_mut_ptr() as u64, 0, 0, 0];
    // SAFETY: stores one byte, for one page, in the live array.
    result(unsafe { syscall6(nr::MINCORE, args) }).is_ok()
}

/// Whether the vdso's code is sealed (`mseal(2)`, done by the kernel itself where it is built so):
/// it then can neither be moved nor unmapped.
pub(crate) fn is_vdso_sealed(code: u64) -> bool {
    const PROT_READ_EXEC: u64 = 5;
    is_sealed(code, PROT_READ_EXEC)
}

/// Whether a mapping with this protection is.
pub(crate) fn is_sealed(start: u64, prot: u64) -> bool {
    // Asks for what it has already, which changes nothing.
    plain(nr::MPROTECT, [start, 4096, prot, 0, 0, 0]) == Err(Errno::EPERM)
}

/// Whether the caller has such a keyring (`KEYCTL_GET_KEYRING_ID(2const)`).
pub(crate) fn has_keyring(id: i32) -> bool {
    plain(nr::KEYCTL, [0, id as u32 as u64, 0, 0, 0, 0]).is_ok()
}

/// Takes all keys out of a keyring; where that is forbidden, nobody can use it any more.
pub(crate) fn clear_keyring(id: i32) {
    const KEYCTL_REVOKE: u64 = 3;
    const KEYCTL_CLEAR: u64 = 7;
    let id = id as u32 as u64;
    if plain(nr::KEYCTL, [KEYCTL_CLEAR, id, 0, 0, 0, 0]).is_err() {
        let _ = plain(nr::KEYCTL, [KEYCTL_REVOKE, id, 0, 0, 0, 0]);
    }
}

/// A descriptor by its number, for the length of one exec; `None` for a negative number.
///
/// It may turn out not to be open: every call then answers `EBADF`.
pub(crate) fn borrow_fd(fd: i32) -> Option<BorrowedFd<'static>> {
    if fd < 0 {
        return None;
    }
    // SAFETY: not -1; it is only handed to system calls while the caller's exec is going on, and
    // the caller owns it.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Where libc has registered this thread's restartable sequence area; 0 when it has none or says
/// nothing about it (glibc before 2.35).
pub(crate) fn rseq_area() -> u64 {
    crate::arch::rseq_area()
}

/// `RSEQ_SIG` of glibc on x86-64.
pub(crate) const RSEQ_SIG: u64 = 0x5305_3053;
/// Length of an rseq area as it first was, which older C libraries register.
pub(crate) const RSEQ_LEN: u64 = 32;

/// Drops the calling thread's registration of a restartable sequence area of this length, or of the
/// original one.
pub(crate) fn drop_rseq(area: u64, len: u64) {
    for len in [len, RSEQ_LEN] {
        // The kernel only forgets about the area.
        if area == 0 || plain(nr::RSEQ, [area, len, 1, RSEQ_SIG, 0, 0]).is_ok() {
            return;
        }
    }
}

/// Whether this thread has an area registered that nobody knows of: then no other can be.
pub(crate) fn has_unknown_rseq() -> bool {
    #[repr(C, align(32))]
    struct Area([u64; RSEQ_LEN as usize / 8]);
    let mut area = Area([0; 4]);
    if rseq_area() != 0 {
        return false;
    }
    let at = (&raw mut area) as u64;
    // SAFETY: the kernel writes to the area as long as it is registered, and it is a local.
    let registered = result(unsafe { syscall6(nr::RSEQ, [at, RSEQ_LEN, 0, RSEQ_SIG, 0, 0]) });
    if registered.is_ok() {
        drop_rseq(at, RSEQ_LEN);
    }
    core::hint::black_box(&mut area.0);
    registered == Err(Errno::EINVAL)
}

/// A number above all open descriptors of this process.
///
/// `select(2)`, "BUGS": descriptors in the sets beyond the size of the process's table are
/// ignored, others must be open. So the smallest power of two is looked for that is ignored.
fn descriptor_table_size() -> i32 {
    const LARGEST: usize = 1 << 20;
    let mut size = 64;
    let mut set = alloc::vec![0u64; size / 64 + 1];
    while size < LARGEST {
        set.clear();
        set.resize(size / 64 + 1, 0);
        set[size / 64] = 1;
        let zero = [0u64; 2];
        let args = [size as u64 + 1, set.as_mut_ptr() as u64, 0, 0, (&raw const zero) as u64, 0];
        // SAFETY: the kernel reads and writes the one set of `size + 1` bits, and the time, which
        // is zero and stays so.
        let ignored = result(unsafe { syscall6(nr::SELECT, args) }) == Ok(0);
        // An open descriptor that is not ready looks the same as an ignored one.
        if ignored && is_cloexec(size as i32).is_none() {
            break;
        }
        size *= 2;
    }
    size as i32
}

/// How many descriptors are asked about at a time.
const POLLED: usize = 256;

/// Calls `each` for every open descriptor from `from` up to `to`, at most [`POLLED`].
fn open_descriptors(from: i32, to: i32, each: &mut dyn FnMut(i32)) {
    const POLLNVAL: u16 = 0x20;
    let entry = |fd: i32| u64::from(fd as u32);
    let mut list = [0u64; POLLED];
    let count = usize::try_from(to - from).unwrap_or(0).min(list.len());
    for (slot, fd) in list.iter_mut().zip(from..to) {
        *slot = entry(fd);
    }
    let args = [list.as_mut_ptr() as u64, count as u64, 0, 0, 0, 0];
    // SAFETY: `struct pollfd` is a 32-bit descriptor and two 16-bit sets, 8 bytes; the kernel
    // reads and writes `count` of them.
    let polled = result(unsafe { syscall6(nr::POLL, args) }).is_ok();
    for slot in &list[..count] {
        // Where poll cannot be used (RLIMIT_NOFILE is lower by now) every number is a candidate.
        if !polled || (slot >> 48) as u16 & POLLNVAL == 0 {
            each(*slot as u32 as i32);
        }
    }
}

/// Calls `each` for every open descriptor. Asks in blocks which are open at all, up to where the
/// kernel says that it has no more.
pub(crate) fn each_descriptor(each: &mut dyn FnMut(i32)) {
    let end = descriptor_table_size();
    let mut from = 0;
    while from < end {
        let to = end.min(from + POLLED as i32);
        open_descriptors(from, to, each);
        from = to;
    }
}

/// Whether a descriptor of this process is close-on-exec; `None` if it is not open.
#[must_use]
pub fn is_cloexec(fd: i32) -> Option<bool> {
    let fd = borrow_fd(fd)?;
    rustix::io::fcntl_getfd(fd).ok().map(|f| f.contains(rustix::io::FdFlags::CLOEXEC))
}

/// An error of rustix as one of the core's.
pub(crate) fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error() as u16)
}
