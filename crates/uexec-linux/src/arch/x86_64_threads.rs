//! x86-64: what is needed to stop, end and replace threads. Like the rest of the room it decides
//! nothing.

use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .text.uexec_thread, \"ax\", @progbits",
    ".globl uexec_restorer",
    ".hidden uexec_restorer",
    "uexec_restorer:", // where a signal handler returns to
    "mov eax, 15",     // rt_sigreturn
    "syscall",
    ".globl uexec_exit_thread",
    ".hidden uexec_exit_thread",
    "uexec_exit_thread:", // where a stopped thread is pointed to
    "xor edi, edi",
    "mov eax, 60", // exit: of this thread only
    "syscall",
    "hlt",
    ".popsection",
);

unsafe extern "C" {
    fn uexec_restorer();
    fn uexec_exit_thread();
}

/// Address that signal handlers return to (`sa_restorer`).
pub(crate) fn restorer() -> u64 {
    uexec_restorer as *const () as u64
}

/// Address at which a thread ends itself, whatever its registers are.
pub(crate) fn exit_thread_stub() -> u64 {
    uexec_exit_thread as *const () as u64
}

/// Calls `f` on another stack.
///
/// # Safety
/// `top` must be the end of memory that is large enough for `f` and used by nobody else;
/// `argument` what `f` expects.
pub(crate) unsafe fn on_stack(top: u64, f: extern "C" fn(u64) -> !, argument: u64) -> ! {
    // SAFETY: the stack is aligned as the ABI wants it before a call, and nothing of the old one
    // is needed any more, as `f` does not return; the rest is the caller's promise.
    unsafe {
        asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {f}",
            "hlt",
            top = in(reg) top & !15,
            f = in(reg) f,
            in("rdi") argument,
            options(noreturn),
        )
    }
}

/// The same for an `f` that returns.
///
/// # Safety
/// As for [`on_stack`].
pub(crate) unsafe fn call_on_stack(top: u64, f: extern "C" fn(u64), argument: u64) {
    // SAFETY: the stack is aligned as the ABI wants it before a call; the old one is kept in a register
    // that `f` preserves. The rest is the caller's promise.
    unsafe {
        asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {f}",
            "mov rsp, r12",
            top = in(reg) top & !15,
            f = in(reg) f,
            in("rdi") argument,
            out("r12") _,
            clobber_abi("C"),
        )
    }
}

/// `clone(2)` with a stack and a function for the child, which does not return from it. Returns
/// what the parent gets.
///
/// # Safety
/// As for [`on_stack`]; `f` must neither use thread-local storage nor take a lock if the flags
/// share memory. No tid pointers are passed.
pub(crate) unsafe fn clone_into(
    flags: u64,
    top: u64,
    f: extern "C" fn(u64) -> !,
    argument: u64,
) -> i64 {
    let ret: i64;
    // SAFETY: the parent's registers but those declared are unchanged; the child starts on its own
    // aligned stack and never leaves `f`.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "hlt",
            "2:",
            inlateout("rax") 56u64 => ret,
            in("rdi") flags,
            in("rsi") top & !15,
            in("rdx") 0u64,
            in("r10") 0u64,
            in("r8") 0u64,
            in("r12") f,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    ret
}

/// General registers as `ptrace(2)` hands them over: `struct user_regs_struct`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Regs([u64; 27]);

impl Regs {
    /// Makes the thread go on at `rip` as if a function had been called there, outside of the
    /// system call it may have been stopped in.
    pub(crate) fn call(&mut self, rip: u64, stack_top: u64, argument: u64) {
        const RDI: usize = 14;
        const ORIG_RAX: usize = 15;
        const RIP: usize = 16;
        const CS: usize = 17;
        const EFLAGS: usize = 18;
        const RSP: usize = 19;
        const SS: usize = 20;
        let new = [
            (RDI, argument),
            (ORIG_RAX, u64::MAX),
            (RIP, rip),
            (CS, 0x33),
            (EFLAGS, 0x202),
            // Where the return address would be.
            (RSP, (stack_top & !15).wrapping_sub(8)),
            (SS, 0x2b),
        ];
        for (register, value) in new {
            self.0[register] = value;
        }
    }

    /// Makes the system call that the thread is at the beginning of another one, of the same kind.
    pub(crate) fn change_call(&mut self, i386: bool, number: u64, args: [u64; 5]) {
        const ORIG_RAX: usize = 15;
        // rdi, rsi, rdx, r10, r8; ebx, ecx, edx, esi, edi.
        let places = if i386 { [5, 11, 12, 13, 14] } else { [14, 13, 12, 7, 9] };
        for (place, value) in places.into_iter().zip(args) {
            self.0[place] = value;
        }
        self.0[ORIG_RAX] = number;
    }

    /// Has the thread, which is leaving a system call, make that one again with these arguments:
    /// its instruction has two bytes, of whatever kind it is.
    pub(crate) fn call_again(&mut self, i386: bool, number: u64, args: [u64; 5]) {
        const RAX: usize = 10;
        const ORIG_RAX: usize = 15;
        const RIP: usize = 16;
        self.change_call(i386, number, args);
        self.0[RAX] = number;
        self.0[ORIG_RAX] = u64::MAX;
        self.0[RIP] = self.0[RIP].wrapping_sub(2);
    }

    /// Gives a system call this sixth argument.
    pub(crate) fn set_sixth(&mut self, i386: bool, value: u64) {
        // ebp; r9.
        self.0[if i386 { 4 } else { 8 }] = value;
    }

    /// Number and arguments of the system call that the thread is in, which may be one of the i386
    /// kind.
    pub(crate) const fn system_call(&self, i386: bool) -> (u64, [u64; 6]) {
        let [_, _, _, _, rbp, rbx, _, r10, r9, r8, _, rcx, rdx, rsi, rdi, number, ..] = self.0;
        match i386 {
            true => (number, [rbx, rcx, rdx, rsi, rdi, rbp]),
            false => (number, [rdi, rsi, rdx, r10, r8, r9]),
        }
    }
}
