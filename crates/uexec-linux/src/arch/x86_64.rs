//! x86-64: raw system calls, and the trampoline that carries a list of [`MicroOp`]s out.
//!
//! The trampoline is a few instructions that are copied to memory of their own and run there
//! while everything else is unmapped. It uses no stack, calls nothing and allocates nothing.
//! This room never decides; it is handed a finished list.

use core::arch::{asm, global_asm};

#[path = "x86_64/ia32.rs"]
pub(crate) mod ia32;

#[path = "x86_64_threads.rs"]
mod threads;

pub(crate) use threads::*;

/// Makes a system call.
///
/// # Safety
/// The call must be sound with these arguments: pointers valid for what the kernel does with
/// them, and no memory that Rust owns is unmapped or changed behind its back.
#[inline]
pub(crate) unsafe fn syscall6(nr: u64, args: [u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: the instruction clobbers rcx and r11 only, both declared; what the kernel does with
    // the arguments is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// What a micro operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// Ends the list: `rt_sigreturn` with the frame at `args[0]` and `args[1]` as selector of the
    /// data segments.
    End = 0,
    /// System call `args[0]` with arguments `args[1..]`; an error ends the process.
    MustCall = 1,
    /// The same; an error is ignored.
    MayCall = 2,
    /// The same; success skips the next operation.
    CallOrElse = 3,
    /// Copies `args[2]` bytes from `args[1]` to `args[0]`.
    Copy = 4,
    /// Zeroes `args[1]` bytes at `args[0]`.
    Zero = 5,
}

/// One step of the trampoline: 64 bytes, read by the assembly below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct MicroOp {
    /// What.
    pub(crate) kind: Kind,
    pad: u32,
    /// With what.
    pub(crate) args: [u64; 7],
}

impl MicroOp {
    pub(crate) const fn new(kind: Kind, args: [u64; 7]) -> MicroOp {
        MicroOp { kind, pad: 0, args }
    }

    /// As the trampoline reads it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `MicroOp` is `repr(C)` made of integers without padding between them.
        unsafe {
            core::slice::from_raw_parts((&raw const *self).cast::<u8>(), size_of::<MicroOp>())
        }
    }
}

global_asm!(
    ".pushsection .text.uexec_trampoline, \"ax\", @progbits",
    ".globl uexec_trampoline_start",
    ".hidden uexec_trampoline_start",
    ".globl uexec_trampoline_end",
    ".hidden uexec_trampoline_end",
    "uexec_trampoline_start:", // rdi: first operation
    "mov rbx, rdi",            // rbx walks the list
    "cld",                     // rep moves upwards
    "2:",
    "mov ebp, [rbx]", // what to do
    "cmp ebp, 3",
    "ja 5f",
    "test ebp, ebp",
    "jz 7f",
    "mov rax, [rbx + 8]", // a system call: its number
    "mov rdi, [rbx + 16]",
    "mov rsi, [rbx + 24]",
    "mov rdx, [rbx + 32]",
    "mov r10, [rbx + 40]",
    "mov r8, [rbx + 48]",
    "mov r9, [rbx + 56]",
    "syscall",
    "cmp rax, -4096", // unsigned above: an errno
    "ja 4f",
    "cmp ebp, 3",
    "jne 3f",
    "add rbx, 64", // it worked: skip the alternative
    "3:",
    "add rbx, 64", // next operation
    "jmp 2b",
    "4:",
    "cmp ebp, 1", // an error: may it be ignored?
    "jne 3b",
    "hlt", // no: a privileged instruction kills by SIGSEGV, as the kernel would
    "5:",
    "mov rdi, [rbx + 8]", // copy or zero: destination
    "cmp ebp, 4",
    "jne 6f",
    "mov rsi, [rbx + 16]",
    "mov rcx, [rbx + 24]",
    "rep movsb",
    "jmp 3b",
    "6:",
    "mov rcx, [rbx + 16]",
    "xor eax, eax",
    "rep stosb",
    "jmp 3b",
    "7:",
    "mov rsp, [rbx + 8]", // the end: registers, mask and FPU come from a signal frame
    "mov eax, [rbx + 16]", // the data segments, which it does not set
    "mov ds, eax",
    "mov es, eax",
    "mov eax, 15", // rt_sigreturn
    "syscall",
    "hlt", // it does not return
    "uexec_trampoline_end:",
    ".popsection",
);

unsafe extern "C" {
    static uexec_trampoline_start: [u8; 0];
    static uexec_trampoline_end: [u8; 0];
}

/// The trampoline's machine code; runs at any address, entered with the list in `rdi`.
pub(crate) fn trampoline() -> &'static [u8] {
    let start = (&raw const uexec_trampoline_start).cast::<u8>();
    let end = (&raw const uexec_trampoline_end).cast::<u8>();
    // SAFETY: both symbols bound the same section of this program's text, start before end.
    let len = unsafe { end.offset_from_unsigned(start) };
    // SAFETY: those bytes are mapped readable for as long as the program runs and never change.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// Enters the trampoline.
///
/// # Safety
/// `code` must be a copy of [`trampoline`] in executable memory and `list` a list of operations
/// ended by [`Kind::End`]; both must survive what the list does, and whoever calls must be ready
/// to be replaced: nothing of this program runs afterwards.
pub(crate) unsafe fn enter(code: u64, list: u64) -> ! {
    // SAFETY: never returns, so nothing that the trampoline clobbers is ever used again; the rest
    // is the caller's promise.
    unsafe { asm!("jmp {}", in(reg) code, in("rdi") list, options(noreturn)) }
}

/// A frame for `rt_sigreturn(2)` that sets all registers at once, resets FPU and vector state to
/// what a new process has (no saved state is given), sets the signal mask and removes the
/// alternate stack. Layout: `struct ucontext`, `arch/x86/include/uapi/asm/ucontext.h`, 6.18.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Frame {
    uc_flags: u64,
    uc_link: u64,
    ss_sp: u64,
    ss_flags: u32,
    ss_pad: u32,
    ss_size: u64,
    r8_to_r15: [u64; 8],
    rdi: u64,
    rsi: u64,
    rbp_rbx_rdx: [u64; 3],
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err_trapno_oldmask_cr2: [u64; 4],
    fpstate: u64,
    reserved: [u64; 8],
    sigmask: u64,
}

/// `SS_DISABLE` of `sigaltstack(2)`.
const SS_DISABLE: u32 = 2;
/// `UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`: `ss` is taken from the frame.
const UC_SS: u64 = 6;

impl Frame {
    /// As the kernel reads it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `Frame` is `repr(C)` made of integers without padding between them.
        unsafe { core::slice::from_raw_parts((&raw const *self).cast::<u8>(), size_of::<Frame>()) }
    }

    /// Goes on at `rip` as a new process does, with `rax`, `rdi` and `rsi` set for a last call.
    pub(crate) fn new(rip: u64, rsp: u64, rbp: u64, call: [u64; 3], sigmask: u64) -> Frame {
        Frame {
            uc_flags: UC_SS,
            ss_flags: SS_DISABLE,
            rax: call[0],
            rdi: call[1],
            rsi: call[2],
            rbp_rbx_rdx: [rbp, 0, 0],
            rsp,
            rip,
            eflags: 0x202,
            cs: 0x33,
            ss: 0x2b,
            sigmask,
            ..Frame::default()
        }
    }
}

/// The address of the thread's rseq area as glibc publishes it: thread pointer plus
/// `__rseq_offset`, if `__rseq_size` is not 0. Other C libraries lack both symbols, which are
/// therefore weak: 0.
pub(crate) fn rseq_area() -> u64 {
    let (offset, size, tp): (*const i64, *const u32, u64);
    // SAFETY: loads two addresses from the global offset table and the thread control block's
    // pointer to itself, which the x86-64 ABI puts at fs:0.
    unsafe {
        asm!(
            ".weak __rseq_offset",
            ".weak __rseq_size",
            "mov {0}, [rip + __rseq_offset@GOTPCREL]",
            "mov {1}, [rip + __rseq_size@GOTPCREL]",
            "mov {2}, fs:0",
            out(reg) offset, out(reg) size, out(reg) tp,
            options(nostack, readonly, preserves_flags),
        );
    }
    if offset.is_null() || size.is_null() {
        return 0;
    }
    // SAFETY: not null, so it is glibc's constant.
    let size = unsafe { size.read() };
    // SAFETY: likewise.
    let offset = unsafe { offset.read() };
    if size == 0 { 0 } else { tp.wrapping_add_signed(offset) }
}

/// Numbers of the system calls that lists are made of (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub(crate) mod nr {
    pub(crate) const CLOSE: u64 = 3;
    pub(crate) const POLL: u64 = 7;
    pub(crate) const DUP2: u64 = 33;
    pub(crate) const FCNTL: u64 = 72;
    pub(crate) const MMAP: u64 = 9;
    pub(crate) const MPROTECT: u64 = 10;
    pub(crate) const MINCORE: u64 = 27;
    pub(crate) const MUNMAP: u64 = 11;
    pub(crate) const SIGALTSTACK: u64 = 131;
    pub(crate) const RT_SIGACTION: u64 = 13;
    pub(crate) const RT_SIGPROCMASK: u64 = 14;
    pub(crate) const SCHED_YIELD: u64 = 24;
    pub(crate) const NANOSLEEP: u64 = 35;
    pub(crate) const EXIT: u64 = 60;
    pub(crate) const PTRACE: u64 = 101;
    pub(crate) const RT_SIGPENDING: u64 = 127;
    pub(crate) const RT_SIGQUEUEINFO: u64 = 129;
    pub(crate) const RT_SIGTIMEDWAIT: u64 = 128;
    pub(crate) const GETTID: u64 = 186;
    pub(crate) const FUTEX: u64 = 202;
    pub(crate) const SCHED_SETAFFINITY: u64 = 203;
    pub(crate) const SCHED_GETAFFINITY: u64 = 204;
    pub(crate) const IO_DESTROY: u64 = 207;
    pub(crate) const TGKILL: u64 = 234;
    pub(crate) const SET_MEMPOLICY: u64 = 238;
    pub(crate) const GET_MEMPOLICY: u64 = 239;
    pub(crate) const IOPRIO_SET: u64 = 251;
    pub(crate) const IOPRIO_GET: u64 = 252;
    pub(crate) const UNSHARE: u64 = 272;
    pub(crate) const RT_TGSIGQUEUEINFO: u64 = 297;
    pub(crate) const PROCESS_VM_READV: u64 = 310;
    pub(crate) const KCMP: u64 = 312;
    pub(crate) const SCHED_SETATTR: u64 = 314;
    pub(crate) const SCHED_GETATTR: u64 = 315;
    pub(crate) const IOCTL: u64 = 16;
    pub(crate) const SELECT: u64 = 23;
    pub(crate) const MREMAP: u64 = 25;
    pub(crate) const MADVISE: u64 = 28;
    pub(crate) const CLONE: u64 = 56;
    pub(crate) const WAIT4: u64 = 61;
    pub(crate) const GETRLIMIT: u64 = 97;
    pub(crate) const SETRESUID: u64 = 117;
    pub(crate) const GETRESUID: u64 = 118;
    pub(crate) const SETRESGID: u64 = 119;
    pub(crate) const GETRESGID: u64 = 120;
    pub(crate) const CAPGET: u64 = 125;
    pub(crate) const CAPSET: u64 = 126;
    pub(crate) const PERSONALITY: u64 = 135;
    pub(crate) const MUNLOCKALL: u64 = 152;
    pub(crate) const PRCTL: u64 = 157;
    pub(crate) const ARCH_PRCTL: u64 = 158;
    pub(crate) const SETRLIMIT: u64 = 160;
    pub(crate) const SETFSUID: u64 = 122;
    pub(crate) const SETFSGID: u64 = 123;
    pub(crate) const SET_TID_ADDRESS: u64 = 218;
    pub(crate) const TIMER_DELETE: u64 = 226;
    pub(crate) const SET_ROBUST_LIST: u64 = 273;
    pub(crate) const GET_ROBUST_LIST: u64 = 274;
    pub(crate) const KEYCTL: u64 = 250;
    pub(crate) const FGETXATTR: u64 = 193;
    pub(crate) const EXIT_GROUP: u64 = 231;
    pub(crate) const PRLIMIT64: u64 = 302;
    pub(crate) const SECCOMP: u64 = 317;
    pub(crate) const EXECVEAT: u64 = 322;
    pub(crate) const RSEQ: u64 = 334;
    pub(crate) const FACCESSAT2: u64 = 439;
}
